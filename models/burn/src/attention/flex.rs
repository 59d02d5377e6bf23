//! Attention where the host is the device: products of whole matrices, and between them one pass over the scores, on all
//! threads.
//!
//! A masked weight is 0, and 0 times a NaN is one. So where a result is not finite, all is done again pair by pair, and
//! no query is touched by a key that it does not see.

use burn::backend::{Flex, TensorMetadata, flex::FlexTensor, ops::FloatTensorOps};
use rayon::prelude::*;

use super::{
    options::{Attention, Sizes},
    pairs,
};
use crate::{
    flex::{numbers, slice, tensor},
    rows::{SeenRow, all_finite, softmax_row, softmax_row_vjp},
};

/// Scores that are worth handing to another thread.
const SHARED: usize = 32 * 1024;

fn transposed(x: FlexTensor) -> FlexTensor {
    Flex::float_swap_dims(x, 2, 3)
}

/// Queries, or what has their shape, with the heads that share keys as more rows of one.
fn folded(sizes: &Sizes, x: &FlexTensor) -> FlexTensor {
    if sizes.heads == sizes.kv_heads {
        return x.clone();
    }
    Flex::float_reshape(x.clone(), sizes.folded().into())
}

/// So many heads at a time that a task has enough to do.
fn heads_a_task(sizes: &Sizes) -> usize {
    SHARED.div_ceil(sizes.n * sizes.m).max(1)
}

/// The products of queries and keys, in the order of `[batch, heads, n, m]`.
fn products(options: &Attention, sizes: &Sizes, q: &FlexTensor, k: &FlexTensor) -> FlexTensor {
    let q = Flex::float_mul_scalar(folded(sizes, q), options.factor(sizes.d).into());
    Flex::float_matmul(q, transposed(k.clone()))
}

/// What a row of scores is made of.
fn seen_row(options: &Attention, sizes: &Sizes, row: usize) -> SeenRow {
    let [sequence, head, query] = sizes.place(row);
    let sight = options.sight(sizes, sequence, query);
    SeenRow {
        position: sight.position,
        prefix: sight.prefix,
        keys: sight.keys,
        slope: options.slope(head),
        cap: options.cap(),
        scale: options.factor(sizes.d) as f32,
    }
}

/// The result, and the logarithm of the sum of every query's exponentials; nothing where numbers are not `f32`.
pub(super) fn attention(
    options: &Attention,
    [q, k, v]: [&FlexTensor; 3],
) -> Option<[FlexTensor; 2]> {
    numbers(q)?;
    let sizes = Sizes::new(&q.shape(), &k.shape());
    let Sizes { batch, heads, n, m, .. } = sizes;
    let mut scores = products(options, &sizes, q, k);
    let mut log_sums = vec![0.0; batch * heads * n];
    let rows_a_task = heads_a_task(&sizes) * n;
    scores
        .storage_mut::<f32>()
        .par_chunks_mut(rows_a_task * m)
        .zip(log_sums.par_chunks_mut(rows_a_task))
        .enumerate()
        .for_each(|(task, (scores, log_sums))| {
            for (row, (scores, log_sum)) in scores.chunks_exact_mut(m).zip(log_sums).enumerate() {
                let seen = seen_row(options, &sizes, task * rows_a_task + row);
                *log_sum = softmax_row(scores, &seen);
            }
        });
    let out = Flex::float_reshape(Flex::float_matmul(scores, v.clone()), sizes.queries().into());
    if all_finite(slice(&out)) {
        return Some([out, tensor(log_sums, [batch, heads, n])]);
    }
    let numbers = [q, k, v].map(doubles);
    let [out, log_sums] = pairs::attention(options, &sizes, numbers.each_ref().map(Vec::as_slice));
    Some([singles(out, sizes.queries()), singles(log_sums, [batch, heads, n])])
}

/// The gradients of `q`, `k` and `v`.
pub(super) fn attention_vjp(
    options: &Attention,
    [q, k, v]: [&FlexTensor; 3],
    [out, log_sums, grad]: [&FlexTensor; 3],
) -> Option<[FlexTensor; 3]> {
    numbers(q)?;
    let sizes = Sizes::new(&q.shape(), &k.shape());
    let Sizes { batch, kv_heads, n, m, d, .. } = sizes;
    let [out, log_sums, grad] = [numbers(out)?, numbers(log_sums)?, numbers(grad)?];
    let mut weights = products(options, &sizes, q, k);
    let mut by_product = Flex::float_matmul(folded(&sizes, &grad), transposed(v.clone()));
    let rows_a_task = heads_a_task(&sizes) * n;
    weights
        .storage_mut::<f32>()
        .par_chunks_mut(rows_a_task * m)
        .zip(by_product.storage_mut::<f32>().par_chunks_mut(rows_a_task * m))
        .zip(slice(&log_sums).par_chunks(rows_a_task))
        .zip(slice(&out).par_chunks(rows_a_task * d).zip(slice(&grad).par_chunks(rows_a_task * d)))
        .enumerate()
        .for_each(|(task, (((weights, by_product), log_sums), (out, grad)))| {
            let rows = weights.chunks_exact_mut(m).zip(by_product.chunks_exact_mut(m));
            let ends = out.chunks_exact(d).zip(grad.chunks_exact(d));
            for (row, (((weights, by_product), &log_sum), (out, grad))) in
                rows.zip(log_sums).zip(ends).enumerate()
            {
                let seen = seen_row(options, &sizes, task * rows_a_task + row);
                softmax_row_vjp(weights, by_product, &seen, log_sum, [out, grad]);
            }
        });
    let by_q = Flex::float_matmul(by_product.clone(), k.clone());
    let gradients = [
        Flex::float_reshape(by_q, sizes.queries().into()),
        Flex::float_matmul(transposed(by_product), folded(&sizes, q)),
        Flex::float_matmul(transposed(weights), folded(&sizes, &grad)),
    ];
    if gradients.iter().all(|gradient| all_finite(slice(gradient))) {
        return Some(gradients);
    }
    let numbers = [q, k, v, &grad].map(doubles);
    let [by_q, by_k, by_v] =
        pairs::attention_vjp(options, &sizes, numbers.each_ref().map(Vec::as_slice));
    let keys = [batch, kv_heads, m, d];
    Some([singles(by_q, sizes.queries()), singles(by_k, keys), singles(by_v, keys)])
}

fn doubles(x: &FlexTensor) -> Vec<f64> {
    slice(&x.to_contiguous()).iter().map(|&x| f64::from(x)).collect()
}

fn singles<const D: usize>(of: Vec<f64>, shape: [usize; D]) -> FlexTensor {
    tensor(of.into_iter().map(|x| x as f32).collect(), shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alibi_slopes;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
    use rand_distr::StandardNormal;

    fn random(seed: u64, shape: [usize; 4]) -> FlexTensor {
        let mut random = StdRng::seed_from_u64(seed);
        tensor((0..shape.iter().product()).map(|_| random.sample(StandardNormal)).collect(), shape)
    }

    #[track_caller]
    fn close(found: &FlexTensor, expected: &[f64]) {
        let found = numbers(found).unwrap();
        assert_eq!(slice(&found).len(), expected.len());
        for (i, (&found, &expected)) in slice(&found).iter().zip(expected).enumerate() {
            let same = f64::from(found) == expected;
            let off = (f64::from(found) - expected).abs();
            assert!(same || off <= 4e-6 * (1.0 + expected.abs()), "{i}: {found} {expected}");
        }
    }

    fn is_what_pairs_are(options: &Attention, [batch, heads, kv_heads, n, m, d]: [usize; 6]) {
        let q = random(1, [batch, heads, n, d]);
        let [k, v] = [2, 3].map(|seed| random(seed, [batch, kv_heads, m, d]));
        let grad = random(4, [batch, heads, n, d]);
        let sizes = Sizes::new(&q.shape(), &k.shape());
        let exact = [&q, &k, &v, &grad].map(doubles);
        let [exact_q, exact_k, exact_v, exact_grad] = exact.each_ref().map(Vec::as_slice);
        let [out, log_sums] = attention(options, [&q, &k, &v]).unwrap();
        let expected = pairs::attention(options, &sizes, [exact_q, exact_k, exact_v]);
        close(&out, &expected[0]);
        close(&log_sums, &expected[1]);
        let found = attention_vjp(options, [&q, &k, &v], [&out, &log_sums, &grad]).unwrap();
        let expected =
            pairs::attention_vjp(options, &sizes, [exact_q, exact_k, exact_v, exact_grad]);
        for (found, expected) in found.iter().zip(&expected) {
            close(found, expected);
        }
    }

    /// Of every head, with fewer queries than keys and with as many; in one task and in several.
    #[test]
    fn products_are_what_pairs_are() {
        for sizes @ [_, heads, ..] in [
            [1, 1, 1, 1, 1, 1],
            [2, 3, 3, 5, 9, 4],
            [2, 6, 2, 9, 5, 3],
            [1, 2, 1, 17, 17, 8],
            [2, 5, 5, 100, 110, 16],
            [3, 1, 1, 1, 40, 2],
        ] {
            for options in [Attention::causal(), Attention::bidirectional()] {
                let slopes = alibi_slopes(heads);
                is_what_pairs_are(&options, sizes);
                is_what_pairs_are(&options.clone().alibi(&slopes), sizes);
                let all = options.window(3).prefix(1).soft_cap(1.5).scale(-0.7);
                is_what_pairs_are(&all, sizes);
                is_what_pairs_are(&all.alibi(&slopes), sizes);
            }
        }
    }
}
