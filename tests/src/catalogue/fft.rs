//! Fourier transforms.

use wavecube::{Complex64, Direction, Dtype, Normalization, Tensor};

use super::{
    Case, POINTS, Peer,
    lines::{Lines, dense_lines},
};
use crate::{nan_filled, reference};

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
    cases.extend([into(256), in_place(256), planes(256), planes_back(256)]);
    cases.extend([c2c_vjp(Direction::Forward, 1024), c2c_vjp(Direction::Inverse, 1024)]);
    cases.extend([r2c_vjp(1024), c2r_vjp(1024)]);
    cases
}

/// The error of an FFT grows as `ε log₂ N`; 4 covers the constant of every algorithm here.
fn gate(dtype: Dtype, n: usize) -> f64 {
    let arithmetic = 4.0 * dtype.compute().epsilon() * (n as f64).log2().max(1.0);
    // Half storage rounds each result once more.
    if dtype.size() == 2 { arithmetic + dtype.epsilon() } else { arithmetic }
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

/// A sixteenth of the points: the kernels are timed elsewhere.
fn small(op: &'static str, n: usize) -> Lines {
    Lines { points: POINTS / 16, ..Lines::complex(op, Dtype::F32, n, gate(Dtype::F32, n)) }
}

/// Spectra as columns.
fn into(n: usize) -> Case {
    small("fft/into", n).case(
        |x, axis| {
            let columns = [x.shape()[1], x.shape()[0]];
            let mut y = nan_filled(x.device(), x.dtype(), true, &columns)?.permuted(&[1, 0])?;
            wavecube::fft_into(x, &mut y, axis, Direction::Forward, NORM)?;
            Ok(y)
        },
        move |x| reference::fft::rows(x, n, Direction::Forward, NORM),
    )
}

/// Forward, then back in the memory of the spectrum.
fn in_place(n: usize) -> Case {
    let lines = small("fft/in_place", n);
    Lines { gate: 2.0 * lines.gate, ..lines }.case(
        |x, axis| {
            let mut y = wavecube::fft(x, axis, NORM)?;
            wavecube::fft_in_place(&mut y, axis, Direction::Inverse, NORM)?;
            Ok(y)
        },
        <[Complex64]>::to_vec,
    )
}

/// One plane, along both axes.
fn planes(n: usize) -> Case {
    let lines = small("fft/fftn", n);
    Lines { gate: 2.0 * lines.gate, ..lines }.case(
        |x, _| wavecube::fftn(x, &[0, 1], Direction::Forward, NORM),
        move |x| plane(x, n, Direction::Forward, NORM),
    )
}

/// With the norm whose adjoint has another factor.
fn planes_back(n: usize) -> Case {
    let lines = small("fft/fftn_vjp", n);
    Lines { gate: 2.0 * lines.gate, ..lines }.case(
        |g, _| wavecube::fftn_vjp(g, &[0, 1], Direction::Forward, Normalization::Backward),
        move |g| plane(g, n, Direction::Inverse, Normalization::Forward),
    )
}

/// Rows of `n` points and the columns across them.
fn plane(x: &[Complex64], n: usize, direction: Direction, norm: Normalization) -> Vec<Complex64> {
    let rows = x.len() / n;
    let along = reference::fft::rows(x, n, direction, norm);
    let across = reference::fft::rows(&reference::transposed(&along, n), rows, direction, norm);
    reference::transposed(&across, rows)
}

/// The adjoint of a transform is the one back with the same factor: 1 forward and 1/N back, as
/// `Normalization::Backward` has it, are 1 back and 1/N forward.
fn c2c_vjp(direction: Direction, n: usize) -> Case {
    let norm = Normalization::Backward;
    let op = match direction {
        Direction::Forward => "fft/forward_vjp",
        Direction::Inverse => "fft/inverse_vjp",
    };
    small(op, n).case(
        move |g, axis| match direction {
            Direction::Forward => wavecube::fft_vjp(g, axis, norm),
            Direction::Inverse => wavecube::ifft_vjp(g, axis, norm),
        },
        move |g| reference::fft::rows(g, n, direction.reversed(), Normalization::Forward),
    )
}

/// Bin `k` contributes `Re(g_k* exp(−2πi kn/N) x_n)`: the real part of the bins transformed back, with
/// nothing in the place of those that were not kept.
fn r2c_vjp(n: usize) -> Case {
    let bins = n / 2 + 1;
    Lines { ends: [(bins, true), (n, false)], ..small("fft/r2c_vjp", n) }.case(
        move |g, axis| wavecube::rfft_vjp(g, n, axis, Normalization::Backward),
        move |g| {
            let full: Vec<_> = g
                .chunks(bins)
                .flat_map(|row| [row, &vec![Complex64::ZERO; n - bins]].concat())
                .collect();
            let back = reference::fft::rows(&full, n, Direction::Inverse, Normalization::Forward);
            back.iter().map(|v| Complex64::from(v.re)).collect()
        },
    )
}

/// Every bin stands for its mirror image too, save the first and, for even `N`, the last.
fn c2r_vjp(n: usize) -> Case {
    let bins = n / 2 + 1;
    Lines { ends: [(n, false), (bins, true)], ..small("fft/c2r_vjp", n) }.case(
        |g, axis| wavecube::irfft_vjp(g, axis, Normalization::Backward),
        move |g| {
            let spectra = reference::fft::rows(g, n, Direction::Forward, Normalization::Forward);
            let times = |k: usize| if k == 0 || 2 * k == n { 1.0 } else { 2.0 };
            spectra
                .chunks(n)
                .flat_map(|row| row[..bins].iter().enumerate().map(|(k, v)| times(k) * v))
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
