//! Products with quantised weights, square ones and those of models' networks, with groups of 128, and their
//! gradients. A case's lines are the rows of the activations, its points the results of a row.

use wavecube::{
    Complex64, Device, Dtype, Number, QmatmulOptions, QuantizedComplexWeight, QuantizedWeight,
    Result, Tensor,
    quant::{Bits, Group, PackedWeight, ScaleType, Scheme},
};

use super::{Case, Peer, Prepared, lines::sample};
use crate::{
    Rng,
    reference::qmatmul::{in_steps, product, transposed},
    tensor,
};

/// Rows that are held against the reference.
const COVERED: usize = 3;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let floats = [("qmatmul/w4a16", Bits::Four), ("qmatmul/w8a16", Bits::Eight)];
    for (op, bits) in floats {
        for shape in
            [[1, 4096], [1, 2048], [8, 2048], [64, 2048], [16, 1024], [32, 1024], [256, 1024]]
        {
            let [m, n] = shape;
            cases.push(forward(op, Dtype::F32, bits, Number::Float, [m, n, n]));
        }
    }
    for dtype in [Dtype::F16, Dtype::Bf16] {
        for m in [1, 16, 64] {
            cases.push(forward("qmatmul/w4a16", dtype, Bits::Four, Number::Float, [m, 1024, 1024]));
        }
    }
    // Up and down in the networks of a model 768 wide, and up in the demo's.
    for (op, n, k) in
        [("qmatmul/up", 3072, 768), ("qmatmul/down", 768, 3072), ("qmatmul/demo", 256, 64)]
    {
        for m in [1, 8, 64] {
            cases.push(forward(op, Dtype::F32, Bits::Four, Number::Float, [m, n, k]));
        }
    }
    for (op, bits) in [("qmatmul/w4a8", Bits::Four), ("qmatmul/w8a8", Bits::Eight)] {
        for m in [1, 64] {
            cases.push(forward(op, Dtype::F32, bits, Number::Integer, [m, 2048, 2048]));
        }
    }
    cases.push(with_bias());
    cases.extend([1, 64].map(vjp));
    cases.extend([false, true].map(complex));
    cases
}

/// A weight of `[n, k]` with random codes, and the numbers that they stand for.
fn weight(
    device: &Device,
    rng: &mut Rng,
    bits: Bits,
    [n, k]: [usize; 2],
) -> Result<(QuantizedWeight, Vec<f64>)> {
    let scheme = Scheme { bits, symmetric: false, group: Group::Of128, scale: ScaleType::F16 };
    let mut codes = |count: usize| -> Vec<u8> {
        let eight = (0..count.div_ceil(8)).flat_map(|_| rng.int(0, usize::MAX).to_le_bytes());
        eight.take(count).map(|byte| byte & bits.largest() as u8).collect()
    };
    let groups = n * scheme.group.count(k);
    let (codes, zeros) = (codes(n * k), codes(groups));
    let scales: Vec<f32> = (0..groups).map(|_| rng.uniform(0.5, 2.0) as f32).collect();
    let packed = PackedWeight::pack(scheme, [n, k], &codes, &scales, &zeros)?;
    let exact = packed.dequantize().into_iter().map(f64::from).collect();
    Ok((QuantizedWeight::upload(device, &packed)?, exact))
}

fn real(values: &[Complex64]) -> Vec<f64> {
    values.iter().map(|v| v.re).collect()
}

fn complex_of(values: Vec<f64>) -> Vec<Complex64> {
    values.into_iter().map(|v| Complex64::new(v, 0.0)).collect()
}

/// Rows of random numbers, and as they were rounded.
fn rows(
    device: &Device,
    rng: &mut Rng,
    dtype: Dtype,
    shape: [usize; 2],
) -> Result<(Tensor, Vec<f64>)> {
    let (x, exact) = tensor(device, &rng.real(shape[0] * shape[1]), dtype, false, &shape)?;
    Ok((x, real(&exact)))
}

/// Sums of `n` products in `f32`, whose roundings add like random numbers.
fn gate(n: usize) -> f64 {
    2.0 * f64::from(f32::EPSILON) * (n as f64).sqrt()
}

fn bytes([m, n, k]: [usize; 3], bits: Bits, dtype: Dtype) -> usize {
    n * k * bits.count() / 8 + 3 * n * k.div_ceil(128) + dtype.size() * m * (n + k)
}

fn forward(
    op: &'static str,
    dtype: Dtype,
    bits: Bits,
    number: Number,
    [m, n, k]: [usize; 3],
) -> Case {
    let stored = if dtype.size() == 2 { dtype.epsilon() } else { 0.0 };
    Case {
        op,
        dtype,
        rows: m,
        n,
        bytes: bytes([m, n, k], bits, dtype),
        // An activation halfway between two steps may go to either.
        gate: stored + if number == Number::Integer { 1e-3 } else { gate(k) },
        peer: match dtype {
            Dtype::F32 => Peer::Matmul { k, bits: bits.count() as u32 },
            _ => Peer::Nothing,
        },
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (weight, w) = weight(device, rng, bits, [n, k])?;
            let (x, xs) = rows(device, rng, dtype, [m, k])?;
            let covered = sample(rng, m, COVERED);
            let options = QmatmulOptions { number, ..QmatmulOptions::default() };
            let call: Box<dyn Fn() -> Result<Tensor>> = match number {
                Number::Float => Box::new(move || wavecube::qmatmul(&x, &weight)),
                Number::Integer => Box::new(move || wavecube::qmatmul_with(&x, &weight, &options)),
            };
            let lines = covered.clone();
            Ok(Prepared::lines(call, n, covered, move || {
                let row = |row: &usize| {
                    let x = &xs[row * k..][..k];
                    product(
                        &if number == Number::Integer { in_steps(x) } else { x.to_vec() },
                        &w,
                        k,
                    )
                };
                complex_of(lines.iter().flat_map(row).collect())
            }))
        }),
    }
}

/// In place of what the result held, with a bias.
fn with_bias() -> Case {
    let [m, n] = [8, 2048];
    Case {
        op: "qmatmul/into",
        dtype: Dtype::F32,
        rows: m,
        n,
        bytes: bytes([m, n, n], Bits::Four, Dtype::F32) + 4 * n,
        gate: gate(n),
        peer: Peer::Nothing,
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (weight, w) = weight(device, rng, Bits::Four, [n, n])?;
            let (x, xs) = rows(device, rng, Dtype::F32, [m, n])?;
            let (bias, biases) = tensor(device, &rng.real(n), Dtype::F32, false, &[n])?;
            let out = Tensor::empty(device, Dtype::F32, false, &[m, n])?;
            let options = QmatmulOptions { bias: Some(bias), ..QmatmulOptions::default() };
            let call = move || {
                wavecube::qmatmul_into(&x, &weight, &options, &out)?;
                Ok(out.clone())
            };
            Ok(Prepared::lines(call, n, (0..m).collect(), move || {
                let sums = product(&xs, &w, n).into_iter().zip(biases.iter().cycle());
                complex_of(sums.map(|(sum, bias)| sum + bias.re).collect())
            }))
        }),
    }
}

fn vjp(m: usize) -> Case {
    let n = 2048;
    Case {
        op: "qmatmul/vjp",
        dtype: Dtype::F32,
        rows: m,
        n,
        bytes: bytes([m, n, n], Bits::Four, Dtype::F32),
        gate: gate(n),
        peer: Peer::Nothing,
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (weight, w) = weight(device, rng, Bits::Four, [n, n])?;
            let (g, gs) = rows(device, rng, Dtype::F32, [m, n])?;
            let covered = sample(rng, m, COVERED);
            let lines = covered.clone();
            Ok(Prepared::lines(
                move || wavecube::qmatmul_vjp(&g, &weight),
                n,
                covered,
                move || {
                    let row = |row: &usize| transposed(&gs[row * n..][..n], &w, n);
                    complex_of(lines.iter().flat_map(row).collect())
                },
            ))
        }),
    }
}

/// With a complex weight, or the gradient of that.
fn complex(gradient: bool) -> Case {
    let [m, n] = [4, 1024];
    Case {
        op: if gradient { "qmatmul/complex_vjp" } else { "qmatmul/complex" },
        dtype: Dtype::F32,
        rows: m,
        n,
        bytes: 2 * bytes([m, n, n], Bits::Four, Dtype::F32),
        gate: 2.0 * gate(n),
        peer: Peer::Nothing,
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (re, w_re) = weight(device, rng, Bits::Four, [n, n])?;
            let (im, w_im) = weight(device, rng, Bits::Four, [n, n])?;
            let weight = QuantizedComplexWeight::new(&re, &im)?;
            let (x, xs) = tensor(device, &rng.complex(m * n), Dtype::F32, true, &[m, n])?;
            let call: Box<dyn Fn() -> Result<Tensor>> = if gradient {
                Box::new(move || wavecube::qmatmul_complex_vjp(&x, &weight))
            } else {
                Box::new(move || wavecube::qmatmul_complex(&x, &weight))
            };
            Ok(Prepared::lines(call, n, (0..m).collect(), move || {
                let by = if gradient { transposed } else { product };
                let im_of = |v: &Complex64| v.im;
                let (re, im) = (real(&xs), xs.iter().map(im_of).collect::<Vec<_>>());
                let [rr, ri, ir, ii] =
                    [by(&re, &w_re, n), by(&re, &w_im, n), by(&im, &w_re, n), by(&im, &w_im, n)];
                // The gradient is a product with the conjugate.
                let sign = if gradient { -1.0 } else { 1.0 };
                (0..rr.len())
                    .map(|i| Complex64::new(rr[i] - sign * ii[i], ir[i] + sign * ri[i]))
                    .collect()
            }))
        }),
    }
}
