//! Convolutions from their sums.

use wavecube::Complex64;

/// `y_t = Σ_{s ≤ t} h_{t−s} x_s`.
pub fn causal(x: &[Complex64], h: &[Complex64]) -> Vec<Complex64> {
    (0..x.len()).map(|t| x[..=t].iter().rev().zip(h).map(|(x, h)| x * h).sum()).collect()
}
