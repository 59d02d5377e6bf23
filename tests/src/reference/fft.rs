//! The discrete Fourier transform from its definition, and by rustfft in `f64` for long ones.

use std::f64::consts::TAU;

use wavecube::{Complex64, Direction, Dtype, Normalization};

fn scale(direction: Direction, norm: Normalization, n: usize) -> f64 {
    match (norm, direction) {
        (Normalization::Ortho, _) => 1.0 / (n as f64).sqrt(),
        (Normalization::Backward, Direction::Inverse)
        | (Normalization::Forward, Direction::Forward) => 1.0 / n as f64,
        _ => 1.0,
    }
}

/// The definition, `O(N²)`. The phase index is reduced modulo `N` in integers.
pub fn dft(x: &[Complex64], direction: Direction, norm: Normalization) -> Vec<Complex64> {
    let n = x.len();
    let sign = if direction == Direction::Forward { -1.0 } else { 1.0 };
    let roots: Vec<Complex64> =
        (0..n).map(|j| Complex64::from_polar(1.0, sign * TAU * j as f64 / n as f64)).collect();
    let factor = scale(direction, norm, n);
    (0..n).map(|k| (0..n).map(|i| x[i] * roots[i * k % n]).sum::<Complex64>() * factor).collect()
}

/// rustfft in `f64`: independent of wavecube, and quick at any length.
pub fn fft(x: &[Complex64], direction: Direction, norm: Normalization) -> Vec<Complex64> {
    let mut planner = rustfft::FftPlanner::new();
    let mut y = x.to_vec();
    match direction {
        Direction::Forward => planner.plan_fft_forward(x.len()),
        Direction::Inverse => planner.plan_fft_inverse(x.len()),
    }
    .process(&mut y);
    let factor = scale(direction, norm, x.len());
    for v in &mut y {
        *v *= factor;
    }
    y
}

/// Every row of `x`, `n` points each.
pub fn rows(
    x: &[Complex64],
    n: usize,
    direction: Direction,
    norm: Normalization,
) -> Vec<Complex64> {
    x.chunks(n).flat_map(|row| fft(row, direction, norm)).collect()
}

/// The full spectrum of a real signal from its first `n/2 + 1` bins, with a real bin 0 and, for even
/// `n`, a real last bin.
pub fn hermitian(bins: &[Complex64], n: usize) -> Vec<Complex64> {
    (0..n)
        .map(|k| {
            let mirrored = 2 * k > n;
            let bin = bins[if mirrored { n - k } else { k }];
            if k == 0 || 2 * k == n {
                Complex64::new(bin.re, 0.0)
            } else if mirrored {
                bin.conj()
            } else {
                bin
            }
        })
        .collect()
}

/// 4 ε log₂ N: an FFT's error grows with the number of its stages.
pub fn bound(dtype: Dtype, n: usize) -> f64 {
    4.0 * dtype.compute().epsilon() * (n as f64).log2().max(1.0)
}
