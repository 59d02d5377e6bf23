//! The result and its log-sum-exp.

use wavecube::{Complex64, Dtype, Tensor, attention, attention_into};
use wavecube_testing::{
    Rng, assert_close, devices, halves, nan_filled, read, reference::attention::Attention, rounded,
    tensor,
};

use super::{Operands, complex};

#[test]
fn awkward_sizes() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (batch, heads, len, dim) in [
            (1, [1, 1], [1, 1], 64),
            (2, [4, 2], [111, 111], 64),
            (1, [2, 1], [17, 989], 64),
            (1, [3, 3], [33, 31], 17),
            (1, [6, 2], [5, 70], 256),
            // Decoding: one query a sequence, with splits.
            (2, [4, 1], [1, 989], 64),
            (1, [2, 2], [1, 1500], 64),
        ] {
            let problem = Attention::causal(batch, heads, len, dim);
            Operands::new(device, &mut rng, problem, Dtype::F32, 1.0).check(1.0);
        }
        for dtype in halves(device) {
            let problem = Attention::causal(2, [4, 2], [40, 111], 64);
            Operands::new(device, &mut rng, problem, dtype, 1.0).check(1.0);
        }
    }
}

#[test]
fn every_mask() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let causal = Attention::causal(3, [4, 2], [50, 77], 64);
        let slopes: Vec<f64> = (0..4).map(|head| f64::from(0.5f32.powi(head))).collect();
        let lengths = vec![[50, 77], [0, 13], [31, 8]];
        for problem in [
            Attention { right: None, ..causal.clone() },
            Attention { left: Some(9), ..causal.clone() },
            Attention { left: Some(5), right: Some(5), ..causal.clone() },
            Attention { soft_cap: Some(0.75), scale: 0.5, ..causal.clone() },
            Attention { slopes: Some(slopes.clone()), ..causal.clone() },
            Attention { slopes: Some(slopes), right: None, ..causal.clone() },
            Attention { lengths: Some(lengths.clone()), ..causal.clone() },
            Attention { lengths: Some(lengths), right: Some(2), left: Some(2), ..causal.clone() },
            // More queries than keys: the first see nothing.
            Attention { len: [77, 50], ..causal },
        ] {
            Operands::new(device, &mut rng, problem, Dtype::F32, 1.0).check(1.0);
        }
    }
}

/// Scores up to some hundreds, whose exponentials would overflow.
#[test]
fn large_logits() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for size in [30.0, 300.0] {
            let problem = Attention::causal(1, [2, 2], [60, 60], 64);
            Operands::new(device, &mut rng, problem, Dtype::F32, size).check(size);
        }
    }
}

/// One query against many keys: 196 splits, joined in order.
#[test]
fn many_keys() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let problem = Attention::causal(1, [1, 1], [1, 100_003], 64);
        Operands::new(device, &mut rng, problem, Dtype::F32, 1.0).check(1.0);
    }
}

#[test]
fn the_naive_kernel_agrees() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let problem = Attention {
            lengths: Some(vec![[40, 66], [20, 3]]),
            soft_cap: Some(2.0),
            ..Attention::causal(2, [4, 2], [40, 66], 32)
        };
        let operands = Operands::new(device, &mut rng, problem, Dtype::F32, 1.0);
        operands.check_by(&operands.options.clone().naively(), 1.0);
    }
}

/// Heads behind positions, as a linear layer leaves them; queries in the middle of a buffer; a result full
/// of NaN.
#[test]
fn strides_offsets_and_a_given_result() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let problem = Attention::causal(2, [4, 4], [37, 37], 64);
        let operands = Operands::new(device, &mut rng, problem, Dtype::F32, 1.0);
        let [q, k, v, _] = &operands.exact;
        let (expected, _) = operands.problem.forward(q, k, v);
        // [batch, positions, 3, heads, dim]
        let mut mixed = vec![f32::NAN; 2 * 37 * 3 * 4 * 64];
        for (which, values) in [q, k, v].into_iter().enumerate() {
            for (i, value) in values.iter().enumerate() {
                let [b, head, t, d] = [i / 64 / 37 / 4, i / 64 / 37 % 4, i / 64 % 37, i % 64];
                mixed[(((b * 37 + t) * 3 + which) * 4 + head) * 64 + d] = *value as f32;
            }
        }
        let mixed = Tensor::from_slice(device, &mixed, &[2, 37, 12, 64]).unwrap();
        let part = |which: usize| {
            mixed.narrowed(2, 4 * which, 4).unwrap().permuted(&[0, 2, 1, 3]).unwrap()
        };
        let out = nan_filled(device, Dtype::F32, false, &[2, 37, 4, 64]).unwrap();
        let mut out = out.permuted(&[0, 2, 1, 3]).unwrap();
        attention_into(&part(0), &part(1), &part(2), &operands.options, &mut out).unwrap();
        assert_close(&operands.what, &read(&out), &complex(&expected), operands.gate(1.0));
    }
}

#[test]
fn the_same_bits_twice_and_in_any_batch() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for len in [[45, 90], [1, 1200]] {
            let lengths: Vec<_> = (0..3).map(|_| [len[0], rng.int(len[0], len[1])]).collect();
            let problem = Attention {
                lengths: Some(lengths.clone()),
                ..Attention::causal(3, [2, 1], len, 64)
            };
            let operands = Operands::new(device, &mut rng, problem, Dtype::F32, 1.0);
            let causal = wavecube::Attention::causal();
            let alike = [causal.clone(), causal.tiled()];
            let [q, k, v, _] = &operands.tensors;
            let numbers = 2 * len[0] * 64;
            let alone = |x: &Tensor, b, n| x.narrowed(0, b, 1).unwrap().narrowed(2, 0, n).unwrap();
            for (options, causal) in operands.strategies().iter().zip(&alike) {
                let what = format!("{} {options:?}", operands.what);
                let whole = read(&operands.attended_by(options).out);
                assert_eq!(whole, read(&operands.attended_by(options).out), "{what}");
                for (b, &[_, n_k]) in lengths.iter().enumerate() {
                    let (q, k, v) = (alone(q, b, len[0]), alone(k, b, n_k), alone(v, b, n_k));
                    let found = read(&attention(&q, &k, &v, causal).unwrap().out);
                    assert_eq!(found, whole[b * numbers..][..numbers], "{b}: {what}");
                }
            }
        }
    }
}

/// A query of zeros takes the mean of two values, exact in `f32` where they are neighbours, and then half-way between
/// two numbers of 16 bits: the result is the host's rounding of it, to nearest and to even.
#[test]
fn halves_are_rounded_to_even() {
    let (rows, dim) = (12, 64);
    for (device, dtype) in devices().iter().flat_map(|d| halves(d).map(move |dtype| (d, dtype))) {
        let mut rng = Rng::fresh();
        let number = |bits: usize| match dtype {
            Dtype::F16 => half::f16::from_bits(bits as u16).to_f64(),
            _ => half::bf16::from_bits(bits as u16).to_f64(),
        };
        let infinity = if dtype == Dtype::F16 { 0x7c00 } else { 0x7f80 };
        let mut values = vec![Complex64::ZERO; 2 * rows * dim];
        let mut expected = Vec::new();
        for i in 0..rows * dim {
            let (sign, bits) = (rng.int(0, 1) << 15, rng.int(0x400, 0x7000));
            let pair = match i {
                0 => [infinity, 0],
                1 => [0x8000 | infinity, 0],
                2 => [infinity, 0x8000 | infinity],
                3 => [infinity + 1, 0],
                _ if i % 3 == 0 => [sign | bits, sign | rng.int(0x400, 0x7000)],
                _ => [sign | bits, sign | (bits + 1)],
            };
            let pair = pair.map(number);
            let (row, d) = (i / dim, i % dim);
            values[2 * row * dim + d].re = pair[0];
            values[(2 * row + 1) * dim + d].re = pair[1];
            expected.push(Complex64::new(
                f64::from(f32::midpoint(pair[0] as f32, pair[1] as f32)),
                0.0,
            ));
        }
        let expected = rounded(&expected, dtype);
        let zeros = vec![Complex64::ZERO; 4 * rows * dim];
        let put = |values: &[Complex64], heads, len| {
            let values = &values[..rows * heads * len * dim];
            tensor(device, values, dtype, false, &[rows, heads, len, dim]).unwrap().0
        };
        let (k, v) = (put(&zeros, 1, 2), put(&values, 1, 2));
        for queries in [1, 2] {
            let q = put(&zeros, 2, queries);
            let out = attention(&q, &k, &v, &wavecube::Attention::bidirectional()).unwrap().out;
            for (at, found) in read(&out).iter().enumerate() {
                let expected = expected[at / dim / queries / 2 * dim + at % dim].re;
                let same = found.re == expected || (found.re.is_nan() && expected.is_nan());
                let what = format!("{device} {dtype} {queries} queries, seed {}", rng.seed);
                assert!(same, "{what}: {} for {expected} at {at}", found.re);
            }
        }
    }
}
