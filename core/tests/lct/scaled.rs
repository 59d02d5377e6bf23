//! Chirp, DFT, chirp onto the grid that carries its own spacing.

use core::f64::consts::PI;

use wavecube_core::Complex64;
use wavecube_core::lct::{Abcd, ScaledTables};

use crate::{reference, sampling};

fn apply(tables: &ScaledTables, x: &[Complex64]) -> Vec<Complex64> {
    let chirped = x.iter().zip(&tables.input).map(|(x, chirp)| x * chirp).collect::<Vec<_>>();
    let dft = reference::dft_power(x.len(), if tables.inverse { 3 } else { 1 });
    let y = reference::apply(&dft, &chirped);
    y.iter().zip(&tables.output).map(|(y, chirp)| y * chirp).collect()
}

#[test]
fn is_the_kernel_between_its_two_grids() {
    let mut rng = sampling::rng("scaled");
    for n in [1, 2, 9, 64, 200] {
        let m = sampling::matrix(&mut rng, 2.0);
        if m.b().abs() < 0.05 {
            continue;
        }
        let spacing = 0.9 / (n as f64).sqrt();
        let tables = ScaledTables::new(&m, n, spacing).unwrap();
        let x = sampling::noise(&mut rng, n);
        let y = apply(&tables, &x);
        sampling::near("norm", sampling::norm(&y) / sampling::norm(&x), 1.0, 1e-14);
        // The reference rounds phases of up to π·n/4·(|a|/|b| + 2 + |d||b|), three times.
        let sizes = (m.a() / m.b()).abs() + 2.0 + (m.d() * m.b()).abs();
        let tolerance = 1e-14 + 3.0 * f64::EPSILON * PI * n as f64 * sizes / 4.0;
        let want = reference::apply(&reference::lct_scaled(m.entries(), n, spacing), &x);
        sampling::close("scaled", &y, &want, tolerance);

        // The inverse matrix goes back to the grid it came from, and undoes it exactly.
        let back = ScaledTables::new(&m.inverse(), n, tables.output_spacing).unwrap();
        sampling::near("spacing", back.output_spacing / spacing, 1.0, 1e-15);
        sampling::close("there and back", &apply(&back, &y), &x, tolerance);
    }
}

#[test]
fn chains_carry_their_grid_and_compose() {
    // A Gaussian through two transforms of different output spacings, against the closed form.
    let n = 256;
    let z = Complex64::new(0.2, 0.9);
    let gaussian = |z: Complex64, x: f64| (Complex64::new(0.0, PI) * z * (x * x)).exp();
    let (m1, m2) = (Abcd::fractional_fourier(0.8), Abcd::from_abc(0.9, -0.7, 0.3).unwrap());
    let first = ScaledTables::new(&m1, n, 1.0 / 16.0).unwrap();
    let second = ScaledTables::new(&m2, n, first.output_spacing).unwrap();
    let weight = |spacing: f64| spacing.sqrt();
    let x = reference::grid(n)
        .iter()
        .map(|p| gaussian(z, p / 16.0) * weight(1.0 / 16.0))
        .collect::<Vec<_>>();
    let got = apply(&second, &apply(&first, &x));
    let (factor, moved) = reference::gaussian((m2 * m1).entries(), z);
    let sign = m2.metaplectic_sign(&m1);
    let want = reference::grid(n)
        .iter()
        .map(|p| {
            let u = p * second.output_spacing;
            sign * factor * gaussian(moved, u) * weight(second.output_spacing)
        })
        .collect::<Vec<_>>();
    sampling::close("two scaled transforms of a Gaussian", &got, &want, 1e-13);
}
