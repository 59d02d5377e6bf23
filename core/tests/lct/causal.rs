//! The one-sided transform: chirp, causal convolution, chirp against the masked kernel.

use rand::Rng;
use rand::rngs::StdRng;
use wavecube_core::Complex64;
use wavecube_core::lct::{Abcd, CausalGrid, CausalTables};

use crate::{reference, sampling};

fn convolve(tables: &CausalTables, x: &[Complex64]) -> Vec<Complex64> {
    (0..x.len())
        .map(|u| {
            let sum: Complex64 =
                (0..=u).map(|t| tables.filter[u - t] * (tables.input[t] * x[t])).sum();
            tables.output[u] * sum
        })
        .collect()
}

/// Entries in sixteenths, `b` a power of two: every phase of the kernel on dyadic points is exact in
/// `f64`, and the reference has no rounding but its sums'.
fn dyadic(rng: &mut StdRng) -> Abcd {
    let mut sixteenths = |range: i32| f64::from(rng.random_range(-range..=range)) / 16.0;
    let (a, d) = (sixteenths(24), sixteenths(24));
    let b = [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0][rng.random_range(0..6)];
    Abcd::new(a, b, (a * d - 1.0) / b, d).unwrap()
}

#[test]
fn matches_the_masked_kernel() {
    let mut rng = sampling::rng("causal");
    for (n, spacing) in [(1, 0.25), (2, 0.5), (33, 0.125), (256, 0.0625)] {
        for start in [0.0, -0.5 * (f64::from(n) - 1.0)] {
            let m = dyadic(&mut rng);
            let n = n as usize;
            let tables = CausalTables::new(&m, &CausalGrid { n, start, spacing }).unwrap();
            let x = sampling::noise(&mut rng, n);
            let dense = reference::lct_causal(m.entries(), n, start, spacing);
            let want = reference::apply(&dense, &x);
            // Three factors within ε each, of unit phases that a random sum averages: no √n.
            sampling::close("dyadic parameters", &convolve(&tables, &x), &want, 3e-15);
        }
    }
}

#[test]
fn matches_the_masked_kernel_for_any_matrix() {
    let mut rng = sampling::rng("causal, any matrix");
    for n in [5, 64, 200] {
        let m = sampling::matrix(&mut rng, 2.0);
        if m.b().abs() < 0.05 {
            continue;
        }
        let spacing = 1.0 / (n as f64).sqrt();
        let grid = CausalGrid { n, start: 0.0, spacing };
        let tables = CausalTables::new(&m, &grid).unwrap();
        let x = sampling::noise(&mut rng, n);
        let dense = reference::lct_causal(m.entries(), n, 0.0, spacing);
        // Here the reference rounds phases of up to π·n·(|a| + 2 + |d|)/|b|, three times.
        let phase =
            core::f64::consts::PI * n as f64 * (m.a().abs() + 2.0 + m.d().abs()) / m.b().abs();
        let tolerance = 3e-15 + 3.0 * f64::EPSILON * phase;
        sampling::close("causal", &convolve(&tables, &x), &reference::apply(&dense, &x), tolerance);
    }
}

#[test]
fn the_tables_do_not_depend_on_the_length() {
    // What streaming generation relies on: bit for bit.
    let m = Abcd::from_abc(0.7, -1.3, 0.4).unwrap();
    let at = |n| CausalTables::new(&m, &CausalGrid { n, start: 0.0, spacing: 0.1 }).unwrap();
    let (short, long) = (at(10), at(1000));
    assert_eq!(short.input, long.input[..10]);
    assert_eq!(short.filter, long.filter[..10]);
    assert_eq!(short.output, long.output[..10]);
}
