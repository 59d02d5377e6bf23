//! Convolutions from their sums.

use wavecube::{Complex64, Direction, Normalization};

use super::fft::fft;

/// `y_t = Σ_{s ≤ t} h_{t−s} x_s`.
pub fn causal(x: &[Complex64], h: &[Complex64]) -> Vec<Complex64> {
    (0..x.len()).map(|t| x[..=t].iter().rev().zip(h).map(|(x, h)| x * h).sum()).collect()
}

/// `Σ_{t ≥ s} h_{t−s}* g_t`: the adjoint of [`causal`] by the same filter.
pub fn ahead(g: &[Complex64], h: &[Complex64]) -> Vec<Complex64> {
    (0..g.len()).map(|s| g[s..].iter().zip(h).map(|(g, h)| h.conj() * g).sum()).collect()
}

/// The inverse transform of the spectrum times the filters.
pub fn spectral(x: &[Complex64], filters: &[Vec<Complex64>]) -> Vec<Complex64> {
    let mut spectrum = forward(x);
    for (k, value) in spectrum.iter_mut().enumerate() {
        *value *= filters.iter().map(|h| h[k]).product::<Complex64>();
    }
    fft(&spectrum, Direction::Inverse, Normalization::Backward)
}

/// The gradient of [`spectral`] by one filter, `other` being the other: `conj(h X) G / n`.
pub fn spectral_by_filter(x: &[Complex64], g: &[Complex64], other: &[Complex64]) -> Vec<Complex64> {
    let n = x.len() as f64;
    let (x, g) = (forward(x), forward(g));
    x.iter().zip(g).zip(other).map(|((x, g), h)| (x * h).conj() * g / n).collect()
}

fn forward(x: &[Complex64]) -> Vec<Complex64> {
    fft(x, Direction::Forward, Normalization::Backward)
}
