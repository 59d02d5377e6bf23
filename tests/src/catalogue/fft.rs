//! Fourier transforms.

use wavecube::{Complex64, Direction, Dtype, Normalization, Tensor};

use super::{Case, Lines, POINTS, Peer, dense_lines};
use crate::reference;

const NORM: Normalization = Normalization::Ortho;

pub(super) fn cases() -> Vec<Case> {
    let forward = |op, n| c2c(op, Direction::Forward, Dtype::F32, n);
    let mut cases = Vec::new();
    for n in (6..=14).map(|bits| 1 << bits) {
        cases.push(forward("fft/forward", n));
    }
    cases.push(forward("fft/forward", POINTS));
    for n in [60, 105, 243, 1000, 1001, 1536, 3000, 10_000] {
        cases.push(forward("fft/smooth", n));
    }
    for n in [127, 1009, 4099] {
        cases.push(forward("fft/prime", n));
    }
    cases.push(c2c("fft/inverse", Direction::Inverse, Dtype::F32, 4096));
    for dtype in [Dtype::F16, Dtype::F64] {
        cases.push(c2c("fft/forward", Direction::Forward, dtype, 1024));
    }
    for n in [256, 4096] {
        cases.push(r2c(n));
        cases.push(c2r(n));
        cases.push(strided(n));
    }
    cases.push(naive(64));
    cases
}

/// The error of an FFT grows as `ε log₂ N`; 4 covers the constant of every algorithm here.
fn gate(dtype: Dtype, n: usize) -> f64 {
    let arithmetic = 4.0 * dtype.compute().epsilon() * (n as f64).log2().max(1.0);
    // Half storage rounds each result once more.
    if dtype == Dtype::F16 { arithmetic + dtype.epsilon() } else { arithmetic }
}

fn transform(x: &Tensor, axis: isize, direction: Direction) -> wavecube::Result<Tensor> {
    match direction {
        Direction::Forward => wavecube::fft(x, axis, NORM),
        Direction::Inverse => wavecube::ifft(x, axis, NORM),
    }
}

fn c2c(op: &'static str, direction: Direction, dtype: Dtype, n: usize) -> Case {
    // Others have single precision forwards.
    let others = dtype == Dtype::F32 && direction == Direction::Forward;
    let peer = if others { Peer::Fft } else { Peer::Nothing };
    Lines { peer, ..Lines::complex(op, dtype, n, gate(dtype, n)) }.case(
        move |x, axis| transform(x, axis, direction),
        move |x| reference::fft::rows(x, n, direction, NORM),
    )
}

fn strided(n: usize) -> Case {
    Lines { axis: 0, ..Lines::complex("fft/strided", Dtype::F32, n, gate(Dtype::F32, n)) }.case(
        |x, axis| wavecube::fft(x, axis, NORM),
        move |x| reference::fft::rows(x, n, Direction::Forward, NORM),
    )
}

fn r2c(n: usize) -> Case {
    let bins = n / 2 + 1;
    let lines = Lines::complex("fft/r2c", Dtype::F32, n, gate(Dtype::F32, n));
    Lines { ends: [(n, false), (bins, true)], ..lines }.case(
        |x, axis| wavecube::rfft(x, axis, NORM),
        move |x| {
            reference::fft::rows(x, n, Direction::Forward, NORM)
                .chunks(n)
                .flat_map(|row| row[..bins].to_vec())
                .collect()
        },
    )
}

fn c2r(n: usize) -> Case {
    let bins = n / 2 + 1;
    let lines = Lines::complex("fft/c2r", Dtype::F32, n, gate(Dtype::F32, n));
    Lines { ends: [(bins, true), (n, false)], ..lines }.case(
        move |x, axis| wavecube::irfft(x, n, axis, NORM),
        move |x| {
            let full: Vec<_> =
                x.chunks(bins).flat_map(|row| reference::fft::hermitian(row, n)).collect();
            reference::fft::rows(&full, n, Direction::Inverse, NORM)
                .iter()
                .map(|v| Complex64::new(v.re, 0.0))
                .collect()
        },
    )
}

fn naive(n: usize) -> Case {
    // A sum of N terms in one accumulator: c ε √N.
    let gate = 4.0 * Dtype::F32.epsilon() * (n as f64).sqrt();
    let lines = Lines::complex("fft/naive", Dtype::F32, n, gate);
    Lines { covered: dense_lines(n), ..lines }.case(
        |x, axis| wavecube::dft_naive(x, axis, Direction::Forward, NORM),
        move |x| {
            x.chunks(n).flat_map(|row| reference::fft::dft(row, Direction::Forward, NORM)).collect()
        },
    )
}
