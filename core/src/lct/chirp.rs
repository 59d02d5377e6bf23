//! The centred grid and its chirps.
//!
//! The grid of length `N` is `n_j = j − (N − 1)/2`, `j = 0 … N − 1`: integers for odd `N`,
//! half-integers for even `N`, symmetric about zero in both cases. Its points are the positions
//! `x_j = n_j/√N`, in which the DFT's time and frequency axes have the same units.

use core::f64::consts::PI;

use num_complex::Complex64;

use super::dd::Dd;
use super::table_length;
use crate::{Error, Result};

/// Twice the grid point `n_j`, an exact integer for either parity of `n`.
pub(super) fn doubled_point(n: usize, j: usize) -> f64 {
    (2 * j) as f64 - (n as f64 - 1.0)
}

/// The points `n_j = j − (n − 1)/2` of the centred grid.
///
/// ```
/// assert_eq!(wavecube_core::lct::centred_grid(3), [-1.0, 0.0, 1.0]);
/// assert_eq!(wavecube_core::lct::centred_grid(2), [-0.5, 0.5]);
/// ```
pub fn centred_grid(n: usize) -> Vec<f64> {
    (0..n).map(|j| 0.5 * doubled_point(n, j)).collect()
}

/// The chirp `exp(iπ rate n_j²/n)` on the centred grid: what `L(rate)` multiplies by.
///
/// The phase is formed and reduced modulo 2π in double-double arithmetic, so each entry is within
/// 4e-16 of the exact chirp of the given `rate`, at any length. The rounding of `rate` itself is the
/// caller's: it turns the last entry by `π ε |rate| n/8` at most.
///
/// # Errors
/// [`Error::Length`] if `n` is 0 or more than 2³¹, [`Error::Value`] if `rate` is not finite or so large that the phase
/// overflows.
///
/// ```
/// let table = wavecube_core::lct::chirp_table(4, 2.0)?;
/// // n₀ = −3/2: exp(iπ·2·(9/4)/4) = exp(iπ·9/8)
/// assert!((table[0].arg() - (9.0 / 8.0 - 2.0) * core::f64::consts::PI).abs() < 1e-15);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn chirp_table(n: usize, rate: f64) -> Result<Vec<Complex64>> {
    table_length("chirp_table", "n", n)?;
    quadratic_table(Dd::new(rate).over(Dd::new(4.0 * n as f64)), n, |j| doubled_point(n, j)).ok_or(
        Error::Value {
            op: "chirp_table",
            argument: "rate",
            expected: "finite, and small enough that its phases are",
            found: rate,
        },
    )
}

/// The factor by which a chirp's derivative with respect to its rate differs from the chirp:
/// `∂/∂rate exp(iπ rate n_j²/n) = i·w_j·exp(iπ rate n_j²/n)` with `w_j = π n_j²/n`.
///
/// ```
/// let w = wavecube_core::lct::chirp_generator(3);
/// assert_eq!(w[1], 0.0);
/// ```
pub fn chirp_generator(n: usize) -> Vec<f64> {
    (0..n)
        .map(|j| {
            let doubled = doubled_point(n, j);
            PI * (doubled * doubled) / (4.0 * n as f64)
        })
        .collect()
}

/// `exp(iπ rate s(j)²)` for `j < n`, or nothing if a phase is not finite.
pub(super) fn quadratic_table(
    rate: Dd,
    n: usize,
    point: impl Fn(usize) -> f64,
) -> Option<Vec<Complex64>> {
    (0..n)
        .map(|j| {
            let s = point(j);
            let phase = Dd::product(s, s).times(rate);
            phase.is_finite().then(|| phase.cis_pi())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rational_rates_match_integer_phases() {
        // rate = p/2^s is exact, and so is p·(2n)² mod 2^s·8N in integers.
        for (n, p, shift) in
            [(1usize, 3i128, 0u32), (8, -5, 1), (1023, 77, 6), (1 << 20, 12_345, 10)]
        {
            let rate = p as f64 / f64::from(1u32 << shift);
            let table = chirp_table(n, rate).unwrap();
            let turn = (8 * n as i128) << shift;
            for j in [0, n / 3, n / 2, n - 1] {
                let doubled = 2 * j as i128 - (n as i128 - 1);
                let phase = (p * doubled * doubled).rem_euclid(turn);
                let want = Dd::new(2.0 * phase as f64).over(Dd::new(turn as f64)).cis_pi();
                // Two evaluations, each within one and a half roundings of a unit-modulus value.
                assert!((table[j] - want).norm() < 5e-16, "n = {n}, j = {j}");
            }
        }
    }

    #[test]
    fn rejects_what_has_no_phase() {
        assert!(matches!(chirp_table(0, 1.0), Err(Error::Length { .. })));
        for rate in [f64::NAN, f64::INFINITY, f64::MAX] {
            assert!(matches!(chirp_table(1024, rate), Err(Error::Value { .. })));
        }
    }
}
