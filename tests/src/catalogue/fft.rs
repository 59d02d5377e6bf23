//! Fourier transforms of about 2²⁰ points.

use wavecube::{Device, Direction, Dtype, Normalization, Tensor};

use super::{Case, Prepared};
use crate::{Rng, reference, tensor};

const POINTS: usize = 1 << 20;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in (6..=14).map(|bits| 1 << bits) {
        cases.push(c2c("fft/forward", Direction::Forward, Dtype::F32, n));
    }
    cases.push(c2c("fft/forward", Direction::Forward, Dtype::F32, POINTS));
    for n in [60, 105, 243, 1000, 1001, 1536, 3000, 10_000] {
        cases.push(c2c("fft/smooth", Direction::Forward, Dtype::F32, n));
    }
    for n in [127, 1009, 4099] {
        cases.push(c2c("fft/prime", Direction::Forward, Dtype::F32, n));
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
    cases
}

/// The error of an FFT grows as `ε log₂ N`; 4 covers the constant of every algorithm here.
fn gate(dtype: Dtype, n: usize) -> f64 {
    let arithmetic = 4.0 * dtype.compute().epsilon() * (n as f64).log2().max(1.0);
    // Half storage rounds each result once more.
    if dtype == Dtype::F16 { arithmetic + dtype.epsilon() } else { arithmetic }
}

fn size(rows: usize, n: usize) -> String {
    format!("b{rows}_n{n}")
}

fn transform(x: &Tensor, axis: isize, direction: Direction) -> wavecube::Result<Tensor> {
    match direction {
        Direction::Forward => wavecube::fft(x, axis, Normalization::Ortho),
        Direction::Inverse => wavecube::ifft(x, axis, Normalization::Ortho),
    }
}

fn c2c(op: &'static str, direction: Direction, dtype: Dtype, n: usize) -> Case {
    let rows = (POINTS / n).max(1);
    Case {
        op,
        dtype,
        size: size(rows, n),
        bytes: 4 * rows * n * dtype.size(),
        gate: gate(dtype, n),
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (x, exact) = tensor(device, &rng.complex(rows * n), dtype, true, &[rows, n])?;
            Ok(Prepared {
                call: Box::new(move || transform(&x, -1, direction)),
                expected: Box::new(move || {
                    reference::fft::rows(&exact, n, direction, Normalization::Ortho)
                }),
            })
        }),
    }
}

fn strided(n: usize) -> Case {
    let rows = POINTS / n;
    Case {
        op: "fft/strided",
        dtype: Dtype::F32,
        size: size(rows, n),
        bytes: 16 * rows * n,
        gate: gate(Dtype::F32, n),
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (x, exact) = tensor(device, &rng.complex(rows * n), Dtype::F32, true, &[n, rows])?;
            Ok(Prepared {
                call: Box::new(move || transform(&x, 0, Direction::Forward)),
                expected: Box::new(move || {
                    let turned: Vec<_> =
                        (0..rows * n).map(|i| exact[(i % n) * rows + i / n]).collect();
                    let spectrum =
                        reference::fft::rows(&turned, n, Direction::Forward, Normalization::Ortho);
                    (0..rows * n).map(|i| spectrum[(i % rows) * n + i / rows]).collect()
                }),
            })
        }),
    }
}

fn r2c(n: usize) -> Case {
    let rows = POINTS / n;
    let bins = n / 2 + 1;
    Case {
        op: "fft/r2c",
        dtype: Dtype::F32,
        size: size(rows, n),
        bytes: 4 * rows * (n + 2 * bins),
        gate: gate(Dtype::F32, n),
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (x, exact) = tensor(device, &rng.real(rows * n), Dtype::F32, false, &[rows, n])?;
            Ok(Prepared {
                call: Box::new(move || wavecube::rfft(&x, -1, Normalization::Ortho)),
                expected: Box::new(move || {
                    reference::fft::rows(&exact, n, Direction::Forward, Normalization::Ortho)
                        .chunks(n)
                        .flat_map(|row| row[..bins].to_vec())
                        .collect()
                }),
            })
        }),
    }
}

fn c2r(n: usize) -> Case {
    let rows = POINTS / n;
    let bins = n / 2 + 1;
    Case {
        op: "fft/c2r",
        dtype: Dtype::F32,
        size: size(rows, n),
        bytes: 4 * rows * (n + 2 * bins),
        gate: gate(Dtype::F32, n),
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (x, exact) =
                tensor(device, &rng.complex(rows * bins), Dtype::F32, true, &[rows, bins])?;
            Ok(Prepared {
                call: Box::new(move || wavecube::irfft(&x, n, -1, Normalization::Ortho)),
                expected: Box::new(move || {
                    let full: Vec<_> = exact
                        .chunks(bins)
                        .flat_map(|row| reference::fft::hermitian(row, n))
                        .collect();
                    reference::fft::rows(&full, n, Direction::Inverse, Normalization::Ortho)
                        .iter()
                        .map(|v| wavecube::Complex64::new(v.re, 0.0))
                        .collect()
                }),
            })
        }),
    }
}
