//! The chirp-z transform against its definition.

use core::f64::consts::{PI, TAU};

use rand::Rng;
use wavecube_core::Complex64;
use wavecube_core::lct::{CztTables, OutputGrid};

use crate::{reference, sampling};

fn apply(tables: &CztTables, x: &[Complex64]) -> Vec<Complex64> {
    let n = x.len();
    (0..tables.output.len())
        .map(|k| {
            let sum: Complex64 =
                (0..n).map(|j| tables.filter[k + n - 1 - j] * (tables.input[j] * x[j])).sum();
            tables.output[k] * sum
        })
        .collect()
}

#[test]
fn the_unit_circle_matches_the_definition() {
    let mut rng = sampling::rng("czt");
    for (n, outputs) in [(1, 1), (1, 7), (7, 1), (16, 16), (33, 50), (200, 90)] {
        let (start, step) = (rng.random_range(-0.5..0.5), rng.random_range(-0.02..0.02));
        let tables = CztTables::unit_circle(n, outputs, start, step).unwrap();
        let x = sampling::noise(&mut rng, n);
        // The definition's phases, summed directly: f = start + k·step is rounded to ε/2·|f|, and turns
        // sample j by 2πj times that.
        let want = (0..outputs)
            .map(|k| {
                let frequency = start + step * k as f64;
                (0..n)
                    .map(|j| {
                        let turns = frequency * j as f64;
                        x[j] * Complex64::from_polar(1.0, -TAU * (turns - turns.round()))
                    })
                    .sum()
            })
            .collect::<Vec<Complex64>>();
        // The largest of the outputs' sums may be √n below the norm of the terms when n is small.
        let tolerance = 4e-15 * (n as f64).sqrt() + TAU * f64::EPSILON * 3.0 * n as f64;
        sampling::close("unit circle", &apply(&tables, &x), &want, tolerance);
    }
}

#[test]
fn a_step_of_one_over_n_is_the_dft() {
    let mut rng = sampling::rng("czt as a DFT");
    for n in [1, 8, 31, 100] {
        let tables = CztTables::unit_circle(n, n, 0.0, 1.0 / n as f64).unwrap();
        let x = sampling::noise(&mut rng, n);
        let want = (0..n)
            .map(|k| {
                (0..n)
                    .map(|j| {
                        x[j] * Complex64::from_polar(1.0, -TAU * (j * k % n) as f64 / n as f64)
                    })
                    .sum()
            })
            .collect::<Vec<Complex64>>();
        // 1/n is rounded: it turns the last entry by π·ε·n.
        sampling::close("DFT", &apply(&tables, &x), &want, 1e-14 + PI * f64::EPSILON * n as f64);
    }
}

#[test]
fn spirals_match_the_definition() {
    let mut rng = sampling::rng("spiral");
    for (n, outputs) in [(1, 3), (12, 12), (30, 17)] {
        let mut point = |radius: f64| {
            let spread = rng.random_range(-radius..radius);
            Complex64::from_polar(1.0 + spread, rng.random_range(-3.0..3.0))
        };
        let (a, w) = (point(0.1), point(0.01));
        let tables = CztTables::spiral(n, outputs, a, w).unwrap();
        let x = sampling::noise(&mut rng, n);
        let want = reference::apply(&reference::czt(n, outputs, a, w), &x);
        // Powers by logarithms: ε·n²; magnitudes up to 1.01^(n²/2) cancel in the sum.
        let growth = 1.01f64.powi((n.max(outputs).pow(2) / 2) as i32);
        let tolerance = 4.0 * f64::EPSILON * (n.max(outputs).pow(2)) as f64 * growth;
        sampling::close("spiral", &apply(&tables, &x), &want, tolerance);
    }
}

#[test]
fn the_kernel_on_any_grid() {
    let mut rng = sampling::rng("lct by czt");
    for (n, outputs) in [(1, 4), (24, 24), (100, 60)] {
        let m = sampling::matrix(&mut rng, 2.0);
        if m.b().abs() < 0.1 {
            continue;
        }
        let spacing = 1.0 / (n as f64).sqrt();
        let (first, step) = (rng.random_range(-3.0..0.0), rng.random_range(-0.1..0.1));
        let grid = OutputGrid { outputs, first, step };
        let tables = CztTables::lct(&m, n, spacing, &grid).unwrap();
        let x = sampling::packet(&mut rng, n, 0.0, 1);
        let dense = reference::lct_czt(m.entries(), (n, spacing), (outputs, first, step));
        let want = reference::apply(&dense, &x);
        let terms = sampling::norm(&x) * spacing * (outputs as f64 / m.b().abs()).sqrt();
        // Phases of up to 60π/|b| in the reference; the result may be a small part of the terms.
        let tolerance = 1e-13 / m.b().abs() * terms / sampling::norm(&want).min(terms);
        sampling::close("kernel by czt", &apply(&tables, &x), &want, tolerance);
    }
}
