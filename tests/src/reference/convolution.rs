//! Convolutions from their sums.

use wavecube::Complex64;

/// `y_t = Σ_{s ≤ t} h_{t−s} x_s`.
pub fn causal(x: &[Complex64], h: &[Complex64]) -> Vec<Complex64> {
    (0..x.len()).map(|t| x[..=t].iter().rev().zip(h).map(|(x, h)| x * h).sum()).collect()
}

/// `Σ_{t ≥ s} h_{t−s}* g_t`: the adjoint of [`causal`] by the same filter.
pub fn ahead(g: &[Complex64], h: &[Complex64]) -> Vec<Complex64> {
    (0..g.len()).map(|s| g[s..].iter().zip(h).map(|(g, h)| h.conj() * g).sum()).collect()
}
