//! Random inputs with a seed to repeat them by, and errors with the worst index.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::{SystemTime, UNIX_EPOCH};
use wavecube_core::Complex64;
use wavecube_core::lct::Abcd;

/// A generator seeded afresh, or by `WAVECUBE_SEED`; the seed is shown when the test fails.
pub(crate) fn rng(test: &str) -> StdRng {
    let fresh = || {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos() as u64)
    };
    let seed = std::env::var("WAVECUBE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(fresh);
    println!("{test}: repeat with WAVECUBE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// White noise in the square `[−1, 1]²`.
pub(crate) fn noise(rng: &mut StdRng, n: usize) -> Vec<Complex64> {
    (0..n)
        .map(|_| Complex64::new(rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)))
        .collect()
}

/// A real matrix of singular values up to `stretch`, in any direction.
pub(crate) fn matrix(rng: &mut StdRng, stretch: f64) -> Abcd {
    let mut rotation = || Abcd::fractional_fourier(rng.random_range(-3.2..3.2));
    let (left, right) = (rotation(), rotation());
    left * Abcd::scaling(rng.random_range(1.0..stretch)).unwrap() * right
}

/// `Σ exp(iπ z (x − x₀)² + 2πi ξ₀ x)` on the centred grid: `count` Gaussians centred within `radius` of
/// the origin of the time–frequency plane (units of `1/√N` samples).
pub(crate) fn packet(rng: &mut StdRng, n: usize, radius: f64, count: usize) -> Vec<Complex64> {
    let root = (n as f64).sqrt();
    let mut x = vec![Complex64::ZERO; n];
    for _ in 0..count {
        let distance = radius * rng.random_range(0.0f64..1.0).sqrt();
        let angle = rng.random_range(-3.2f64..3.2);
        let (position, frequency) = (distance * angle.cos(), distance * angle.sin());
        let weight = Complex64::new(rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0));
        for (j, value) in x.iter_mut().enumerate() {
            let t = (j as f64 - (n as f64 - 1.0) / 2.0) / root;
            let gaussian = (-core::f64::consts::PI * (t - position).powi(2)).exp();
            *value +=
                weight * Complex64::from_polar(gaussian, core::f64::consts::TAU * frequency * t);
        }
    }
    x
}

pub(crate) fn norm(x: &[Complex64]) -> f64 {
    x.iter().map(Complex64::norm_sqr).sum::<f64>().sqrt()
}

/// `‖got − want‖/‖want‖`.
pub(crate) fn distance(got: &[Complex64], want: &[Complex64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference = got.iter().zip(want).map(|(g, w)| g - w).collect::<Vec<_>>();
    norm(&difference) / norm(want).max(f64::MIN_POSITIVE)
}

/// Fails if the relative L2 distance exceeds `tolerance`, with the worst entry.
#[track_caller]
pub(crate) fn close(what: &str, got: &[Complex64], want: &[Complex64], tolerance: f64) {
    let error = distance(got, want);
    println!("{what}: relative error {error:.2e}, allowed {tolerance:.2e}");
    let worst = (0..got.len())
        .max_by(|&i, &j| (got[i] - want[i]).norm().total_cmp(&(got[j] - want[j]).norm()))
        .unwrap_or(0);
    assert!(
        error <= tolerance,
        "{what}: {error:.3e} > {tolerance:.1e}, worst at {worst}: {} instead of {}",
        got[worst],
        want[worst]
    );
}

/// Fails if `|got − want|` exceeds `tolerance`.
#[track_caller]
pub(crate) fn near(what: &str, got: f64, want: f64, tolerance: f64) {
    let error = (got - want).abs();
    assert!(
        error <= tolerance,
        "{what}: {got} instead of {want}, off by {error:.2e} > {tolerance:.1e}"
    );
}
