//! Causal attention where the host is the device: products of whole matrices, and between them one pass over the scores,
//! on all threads.
//!
//! A masked weight is 0, and 0 times a NaN is one. So where a result is not finite, all is done again pair by pair, and
//! no query is touched by a key that it does not see.

use burn::backend::{Flex, TensorMetadata, flex::FlexTensor, ops::FloatTensorOps};
use rayon::prelude::*;

use crate::{
    Bias,
    flex::{numbers, slice, tensor},
    rows::{all_finite, softmax_row, softmax_row_again, softmax_row_vjp},
};

/// Scores that are worth handing to another thread.
const SHARED: usize = 32 * 1024;

struct Sizes {
    batch: usize,
    heads: usize,
    /// Queries.
    n: usize,
    /// Keys.
    m: usize,
    d: usize,
    scale: f32,
    slopes: Vec<f32>,
}

impl Sizes {
    fn new(q: &FlexTensor, k: &FlexTensor, bias: Bias) -> Self {
        let [batch, heads, n, d] = q.shape().dims();
        let m = k.shape()[2];
        let slopes = bias.slopes(heads).unwrap_or_else(|| vec![0.0; heads]);
        Self { batch, heads, n, m, d, scale: 1.0 / (d as f32).sqrt(), slopes }
    }

    /// How many keys a query sees.
    fn seen(&self, query: usize) -> usize {
        query + 1 + self.m - self.n
    }

    /// So many heads at a time that a task has enough to do.
    fn heads_a_task(&self) -> usize {
        SHARED.div_ceil(self.n * self.m).max(1)
    }

    /// The scores of all heads without their biases, `[batch, heads, n, m]`.
    fn scores(&self, q: &FlexTensor, k: &FlexTensor) -> FlexTensor {
        let q = Flex::float_mul_scalar(q.clone(), self.scale.into());
        Flex::float_matmul(q, transposed(k))
    }
}

fn transposed(x: &FlexTensor) -> FlexTensor {
    Flex::float_swap_dims(x.clone(), 2, 3)
}

/// The result, and the logarithm of the sum of every query's exponentials; nothing where numbers are not `f32`.
pub(crate) fn attention(
    q: &FlexTensor,
    k: &FlexTensor,
    v: &FlexTensor,
    bias: Bias,
) -> Option<[FlexTensor; 2]> {
    numbers(q)?;
    let sizes = Sizes::new(q, k, bias);
    let Sizes { batch, heads, n, m, .. } = sizes;
    let mut scores = sizes.scores(q, k);
    let mut log_sums = vec![0.0; batch * heads * n];
    let task = sizes.heads_a_task();
    scores
        .storage_mut::<f32>()
        .par_chunks_mut(task * n * m)
        .zip(log_sums.par_chunks_mut(task * n))
        .enumerate()
        .for_each(|(first, (scores, log_sums))| {
            let rows = scores.chunks_exact_mut(m).zip(log_sums);
            for (row, (scores, log_sum)) in rows.enumerate() {
                let slope = sizes.slopes[(first * task + row / n) % heads];
                *log_sum = softmax_row(scores, sizes.seen(row % n), slope);
            }
        });
    let out = Flex::float_matmul(scores, v.clone());
    if all_finite(&log_sums) && all_finite(slice(&out)) {
        return Some([out, tensor(log_sums, [batch, heads, n])]);
    }
    Some(pair_by_pair(&sizes, [&numbers(q)?, &numbers(k)?, &numbers(v)?].map(slice)))
}

/// The gradients of `q`, `k` and `v`.
pub(crate) fn attention_vjp(
    [q, k, v]: [&FlexTensor; 3],
    [out, log_sums, grad]: [&FlexTensor; 3],
    bias: Bias,
) -> Option<[FlexTensor; 3]> {
    numbers(q)?;
    let sizes = Sizes::new(q, k, bias);
    let Sizes { heads, n, m, d, scale, .. } = sizes;
    let [out, log_sums, grad] = [numbers(out)?, numbers(log_sums)?, numbers(grad)?];
    let mut weights = sizes.scores(q, k);
    let mut by_score = Flex::float_matmul(grad.clone(), transposed(v));
    let task = sizes.heads_a_task();
    weights
        .storage_mut::<f32>()
        .par_chunks_mut(task * n * m)
        .zip(by_score.storage_mut::<f32>().par_chunks_mut(task * n * m))
        .zip(slice(&log_sums).par_chunks(task * n))
        .zip(slice(&out).par_chunks(task * n * d).zip(slice(&grad).par_chunks(task * n * d)))
        .enumerate()
        .for_each(|(first, (((weights, by_score), log_sums), (out, grad)))| {
            let rows = weights.chunks_exact_mut(m).zip(by_score.chunks_exact_mut(m));
            let ends = out.chunks_exact(d).zip(grad.chunks_exact(d));
            for (row, (((weights, by_score), log_sum), (out, grad))) in
                rows.zip(log_sums).zip(ends).enumerate()
            {
                let (seen, slope) =
                    (sizes.seen(row % n), sizes.slopes[(first * task + row / n) % heads]);
                softmax_row_again(weights, seen, slope, *log_sum);
                softmax_row_vjp(by_score, weights, seen, out, grad, scale);
            }
        });
    let gradients = [
        Flex::float_matmul(by_score.clone(), k.clone()),
        Flex::float_matmul(transposed(&by_score), q.clone()),
        Flex::float_matmul(transposed(&weights), grad.clone()),
    ];
    if gradients.iter().all(|gradient| all_finite(slice(gradient))) {
        return Some(gradients);
    }
    let [q, k, v] = [numbers(q)?, numbers(k)?, numbers(v)?];
    Some(pair_by_pair_vjp(&sizes, [&q, &k, &v, &grad].map(slice)))
}

/// The weights of a query's keys, and the logarithm of their sum.
fn weights(sizes: &Sizes, q: &[f32], keys: &[f32], slope: f32) -> (Vec<f64>, f64) {
    let keys = keys.chunks_exact(sizes.d);
    let last = keys.len() as f64 - 1.0;
    let score = |(at, key): (usize, &[f32])| {
        let product: f64 = q.iter().zip(key).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        product * f64::from(sizes.scale) - f64::from(slope) * (last - at as f64)
    };
    let scores: Vec<f64> = keys.enumerate().map(score).collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
    (scores.iter().map(|score| (score - most).exp() / sum).collect(), most + sum.ln())
}

/// Calls `with` for every query: its number among all, the slope of its head, and the numbers of the keys that it sees.
fn queries(sizes: &Sizes, mut with: impl FnMut(usize, f32, std::ops::Range<usize>)) {
    for row in 0..sizes.batch * sizes.heads * sizes.n {
        let head = row / sizes.n;
        let keys = head * sizes.m..head * sizes.m + sizes.seen(row % sizes.n);
        with(row, sizes.slopes[head % sizes.heads], keys);
    }
}

fn line(of: &[f32], row: usize, d: usize) -> &[f32] {
    &of[row * d..(row + 1) * d]
}

fn pair_by_pair(sizes: &Sizes, [q, k, v]: [&[f32]; 3]) -> [FlexTensor; 2] {
    let Sizes { batch, heads, n, d, .. } = *sizes;
    let (mut out, mut log_sums) = (Vec::with_capacity(q.len()), Vec::new());
    queries(sizes, |row, slope, keys| {
        let (weights, log_sum) =
            weights(sizes, line(q, row, d), &k[keys.start * d..keys.end * d], slope);
        log_sums.push(log_sum as f32);
        out.extend((0..d).map(|i| {
            let values = keys.clone().map(|key| f64::from(v[key * d + i]));
            weights.iter().zip(values).map(|(weight, value)| weight * value).sum::<f64>() as f32
        }));
    });
    [tensor(out, [batch, heads, n, d]), tensor(log_sums, [batch, heads, n])]
}

fn pair_by_pair_vjp(sizes: &Sizes, [q, k, v, grad]: [&[f32]; 4]) -> [FlexTensor; 3] {
    let Sizes { batch, heads, n, m, d, scale, .. } = *sizes;
    let [mut by_q, mut by_k, mut by_v] = [q, k, v].map(|of| vec![0.0_f64; of.len()]);
    queries(sizes, |row, slope, keys| {
        let (weights, _) = weights(sizes, line(q, row, d), &k[keys.start * d..keys.end * d], slope);
        let grad = line(grad, row, d);
        let by_weight: Vec<f64> = keys
            .clone()
            .map(|key| {
                line(v, key, d).iter().zip(grad).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            })
            .collect();
        let mean: f64 = weights.iter().zip(&by_weight).map(|(a, b)| a * b).sum();
        for ((key, weight), by_weight) in keys.zip(weights).zip(by_weight) {
            let by_score = f64::from(scale) * weight * (by_weight - mean);
            for i in 0..d {
                by_q[row * d + i] += by_score * f64::from(k[key * d + i]);
                by_k[key * d + i] += by_score * f64::from(q[row * d + i]);
                by_v[key * d + i] += weight * f64::from(grad[i]);
            }
        }
    });
    let rounded = |of: Vec<f64>, rows| {
        tensor(of.into_iter().map(|x| x as f32).collect(), [batch, heads, rows, d])
    };
    [rounded(by_q, n), rounded(by_k, m), rounded(by_v, m)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
    use rand_distr::StandardNormal;

    fn random(seed: u64, shape: [usize; 4]) -> FlexTensor {
        let mut random = StdRng::seed_from_u64(seed);
        tensor((0..shape.iter().product()).map(|_| random.sample(StandardNormal)).collect(), shape)
    }

    #[track_caller]
    fn close(found: &FlexTensor, expected: &FlexTensor) {
        assert_eq!(found.shape(), expected.shape());
        let found = numbers(found).unwrap();
        for (i, (found, expected)) in slice(&found).iter().zip(slice(expected)).enumerate() {
            assert!(
                (found - expected).abs() <= 4e-6 * (1.0 + expected.abs()),
                "{i}: {found} {expected}"
            );
        }
    }

    /// Of every head, with fewer queries than keys and with as many; in one task and in several.
    #[test]
    fn products_are_what_pairs_are() {
        for [batch, heads, n, m, d] in [
            [1, 1, 1, 1, 1],
            [2, 3, 5, 9, 4],
            [1, 2, 17, 17, 8],
            [2, 5, 100, 110, 16],
            [3, 1, 1, 40, 2],
        ] {
            let [q, k, v] =
                [(1, n), (2, m), (3, m)].map(|(i, rows)| random(i, [batch, heads, rows, d]));
            let grad = random(4, [batch, heads, n, d]);
            for bias in [Bias::None, Bias::Alibi] {
                let sizes = Sizes::new(&q, &k, bias);
                let [out, log_sums] = attention(&q, &k, &v, bias).unwrap();
                let expected = pair_by_pair(&sizes, [&q, &k, &v].map(slice));
                close(&out, &expected[0]);
                close(&log_sums, &expected[1]);
                let found = attention_vjp([&q, &k, &v], [&out, &log_sums, &grad], bias).unwrap();
                let expected = pair_by_pair_vjp(&sizes, [&q, &k, &v, &grad].map(slice));
                for (found, expected) in found.iter().zip(&expected) {
                    close(found, expected);
                }
            }
        }
    }
}
