//! Attention: values and gradients by definition, and wgpu against flex.

use burn::tensor::{DType, Device};
use wavecube_burn::{Bias, attention};

use crate::support::{by_kernels, close, devices_with_kernels, flex, read, tensor, values};

const HEADS: usize = 3;

/// The result for `n` queries and `m` keys of `d` numbers, head by head.
fn by_definition([q, k, v]: [&[f64]; 3], [n, m, d]: [usize; 3], bias: Bias) -> Vec<f64> {
    let mut out = vec![0.0; q.len()];
    for (row, out) in out.chunks_mut(d).enumerate() {
        let (head, i) = (row / n, row % n);
        let dot = |j: usize| -> f64 {
            let k = &k[(head * m + j) * d..][..d];
            let score = q[row * d..][..d].iter().zip(k).map(|(q, k)| q * k).sum::<f64>()
                / (d as f64).sqrt();
            // Slopes of three heads: `2^(−8/3)`, `2^(−16/3)`, `2^(−8)`.
            let slope = 2.0_f64.powf(-8.0 / 3.0 * (head % HEADS + 1) as f64);
            let distance = (m - n + i - j) as f64;
            if bias == Bias::Alibi { score - slope * distance } else { score }
        };
        let weights: Vec<f64> = (0..=m - n + i).map(|j| dot(j).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (j, weight) in weights.iter().enumerate() {
            let v = &v[(head * m + j) * d..][..d];
            out.iter_mut().zip(v).for_each(|(out, v)| *out += weight / total * v);
        }
    }
    out
}

/// The result and the gradients of a weighted sum of it.
fn with_gradients(
    [n, m, d]: [usize; 3],
    bias: Bias,
    dtype: DType,
    device: &Device,
) -> [Vec<f64>; 4] {
    let device = device.clone().autodiff();
    let operand = |len: usize, seed: u64| {
        tensor(&values(2 * HEADS * len * d, seed), [2, HEADS, len, d], dtype, &device)
    };
    let [q, k, v] =
        [operand(n, 1), operand(m, 2), operand(m, 3)].map(burn::tensor::Tensor::require_grad);
    let y = attention(q.clone(), k.clone(), v.clone(), bias).unwrap();
    let gradients = (y.clone() * operand(n, 4)).sum().backward();
    let [by_q, by_k, by_v] = [q, k, v].map(|x| read(x.grad(&gradients).unwrap()));
    [read(y.inner()), by_q, by_k, by_v]
}

#[test]
fn attention_is_what_it_is_defined_as() {
    for sizes @ [n, m, d] in [[1, 1, 4], [5, 5, 8], [3, 9, 8]] {
        let [q, k, v] =
            [(n, 1), (m, 2), (m, 3)].map(|(len, seed)| values(2 * HEADS * len * d, seed));
        for bias in [Bias::None, Bias::Alibi] {
            let [y, ..] = with_gradients(sizes, bias, DType::F64, &flex());
            // Slopes are `f32`.
            let tolerance = if bias == Bias::None { 1e-14 } else { 1e-7 };
            close(&y, &by_definition([&q, &k, &v], sizes, bias), tolerance);
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let sizes @ [n, m, d] = [4, 6, 4];
    for bias in [Bias::None, Bias::Alibi] {
        let [_, gradients @ ..] = with_gradients(sizes, bias, DType::F64, &flex());
        let mut operands =
            [(n, 1), (m, 2), (m, 3)].map(|(len, seed)| values(2 * HEADS * len * d, seed));
        let weights = values(2 * HEADS * n * d, 4);
        for which in 0..3 {
            let direction = values(operands[which].len(), 9);
            let slope: f64 = gradients[which].iter().zip(&direction).map(|(g, d)| g * d).sum();
            let mut loss = |step: f64| -> f64 {
                let still = operands[which].clone();
                operands[which].iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
                let y = by_definition([&operands[0], &operands[1], &operands[2]], sizes, bias);
                operands[which] = still;
                y.iter().zip(&weights).map(|(y, w)| y * w).sum()
            };
            let difference = (loss(1e-5) - loss(-1e-5)) / 2e-5;
            let tolerance = 2e-7 * (1.0 + slope.abs());
            assert!((difference - slope).abs() < tolerance, "{bias:?}: {difference} {slope}");
        }
    }
}

#[test]
fn kernels_agree_with_plain_bodies() {
    let cases = [([1, 7, 16], Bias::None), ([19, 19, 16], Bias::None), ([19, 23, 16], Bias::Alibi)];
    for (sizes, bias) in cases {
        let plain = with_gradients(sizes, bias, DType::F64, &flex());
        for device in devices_with_kernels() {
            let kernels = by_kernels(&["attention", "attention_vjp"], || {
                with_gradients(sizes, bias, DType::F32, &device)
            });
            for (kernel, plain) in kernels.iter().zip(&plain) {
                close(kernel, plain, 4e-6);
            }
        }
    }
}

#[test]
fn shapes_that_do_not_belong_together_are_refused() {
    let x = |len| tensor(&values(HEADS * len * 4, 1), [1, HEADS, len, 4], DType::F32, &flex());
    assert!(attention(x(3), x(3), x(3), Bias::None).is_ok());
    assert!(attention(x(3), x(3), x(2), Bias::None).is_err());
    assert!(attention(x(4), x(3), x(3), Bias::None).is_err());
}

/// On flex, where masked weights are zeros in a product: a number that is not finite shows wherever it is seen, and
/// nowhere else.
#[test]
fn what_is_masked_never_enters() {
    let (n, d) = (6, 8);
    for (which, row) in [(0, 2), (1, 2), (1, 5), (2, 4), (2, 0)] {
        for bad in [f64::NAN, f64::INFINITY] {
            let device = flex().autodiff();
            let operand = |index: usize| {
                let mut values = values(n * d, 7 + index as u64);
                if index == which {
                    values[row * d..(row + 1) * d].fill(bad);
                }
                tensor(&values, [1, 1, n, d], DType::F32, &device).require_grad()
            };
            let [q, k, v] = [0, 1, 2].map(operand);
            let y = attention(q.clone(), k.clone(), v.clone(), Bias::None).unwrap();
            let gradients = y.clone().sum().backward();
            let sees = |query: usize| if which == 0 { query == row } else { query >= row };
            for (query, y) in read(y.inner()).chunks(d).enumerate() {
                let good = y.iter().all(|y| y.is_finite());
                assert_eq!(good, !sees(query), "{bad} in {which} {row}: row {query} is {y:?}");
            }
            let rows = |x: &burn::tensor::Tensor<4>| -> Vec<bool> {
                let gradient = read(x.grad(&gradients).unwrap());
                gradient.chunks(d).map(|row| row.iter().all(|x| x.is_finite())).collect()
            };
            let (by_q, by_k, by_v) = (rows(&q), rows(&k), rows(&v));
            for (query, &good) in by_q.iter().enumerate() {
                assert_eq!(good, !sees(query), "{bad} in {which} {row}: by query {query}");
            }
            // A key's gradients come from the queries that see it.
            let last_bad = (0..n).filter(|&query| sees(query)).max().unwrap();
            for key in 0..n {
                let touched = (key..=last_bad).any(sees);
                assert_eq!(by_k[key], !touched, "{bad} in {which} {row}: by key {key}");
                // The weights of a value do not depend on it.
                assert!(by_v[key] || touched, "{bad} in {which} {row}: by value {key}");
            }
        }
    }
}
