//! Hermite–Gauss functions, the eigenfunctions of the continuous Fourier transform.

use core::f64::consts::{LN_2, PI};

use crate::{Error, Result};

/// Binary orders of magnitude moved at once from the recurrence's values to their exponent.
const STEP: i32 = 512;

/// Beyond this every function of order below 2³¹ is zero in `f64`: turning points are at
/// `√((k + ½)/π)`, below 3·10⁴.
const FAR: f64 = 1e5;

/// The orthonormal Hermite–Gauss functions of order `0 … orders − 1` at `points`, row-major
/// `[orders, points]`: `h_k(x) = 2^(1/4) (2^k k!)^(−1/2) H_k(√(2π) x) exp(−π x²)`, of which
/// `exp(−2πixu)` makes `(−i)^k h_k(u)`.
///
/// The three-term recurrence runs upwards, where it is stable, on `h_k exp(π x²)` with a separate
/// exponent for each point: the Gaussian underflows at the ends of the grid of 1024 points, the
/// product does not.
///
/// # Errors
/// [`Error::Value`] if a point is not finite, [`Error::Length`] if the table exceeds 2³¹ entries.
///
/// ```
/// let h = wavecube_core::lct::hermite_gauss(2, &[0.0, 0.5])?;
/// assert!((h[0] - 2f64.powf(0.25)).abs() < 1e-15);
/// assert_eq!(h[2], 0.0); // h₁ is odd
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn hermite_gauss(orders: usize, points: &[f64]) -> Result<Vec<f64>> {
    const OP: &str = "hermite_gauss";
    if orders.saturating_mul(points.len()) > 1 << 31 {
        return Err(Error::Length {
            op: OP,
            argument: "orders",
            expected: "at most 2^31 divided by the number of points",
            found: orders,
        });
    }
    for &x in points {
        super::matrix::finite(OP, "points", x)?;
    }
    Ok(table(orders, points))
}

/// [`hermite_gauss`] for points known to be finite.
pub(super) fn table(orders: usize, points: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; orders * points.len()];
    for (j, &x) in points.iter().enumerate().filter(|(_, x)| x.abs() < FAR) {
        let u = (2.0 * PI).sqrt() * x;
        let gaussian = -PI * x * x;
        let (mut before, mut now) = (0.0, 2f64.powf(0.25));
        let mut exponent = 0;
        for k in 0..orders {
            out[k * points.len() + j] = now * (gaussian + f64::from(exponent) * LN_2).exp();
            let next_order = k as f64 + 1.0;
            let next =
                u * (2.0 / next_order).sqrt() * now - (k as f64 / next_order).sqrt() * before;
            (before, now) = (now, next);
            if now.abs() > 2f64.powi(STEP) {
                before *= 2f64.powi(-STEP);
                now *= 2f64.powi(-STEP);
                exponent += STEP;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthonormal_by_the_rectangle_rule() {
        // The rule is spectrally exact for functions that die inside the window: h_k, k ≤ 40, on
        // [−8, 8]; 2k + 1 < 2π·8² leaves tails below 1e-16.
        let points = super::super::centred_grid(256).iter().map(|n| n / 16.0).collect::<Vec<_>>();
        let h = table(41, &points);
        for k in 0..41 {
            for l in 0..=k {
                let dot = (0..256).map(|j| h[k * 256 + j] * h[l * 256 + j]).sum::<f64>() / 16.0;
                let want = f64::from(u8::from(k == l));
                // The exponential of a sum of magnitude 200 costs 200 ε.
                assert!((dot - want).abs() < 1e-13, "k = {k}, l = {l}: {dot:e}");
            }
        }
    }

    #[test]
    fn no_underflow_at_the_edge() {
        // The turning point of h_1023 is x = 18.05: it is far from zero at 16, where exp(−πx²) is 0.
        let h = table(1024, &[16.0]);
        assert_eq!((-PI * 256.0f64).exp(), 0.0);
        assert!(h[1023].abs() > 1e-2 && h[1023].abs() < 1.0);
        assert!(hermite_gauss(2, &[f64::NAN]).is_err());
        assert!(hermite_gauss(1 << 31, &[0.0, 1.0]).is_err());
    }
}
