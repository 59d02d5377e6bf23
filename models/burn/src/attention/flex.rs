//! Attention where the host is the device: a few queries at a time, whose scores stay in the cache of the thread that
//! works on them, with the keys that any of them sees.
//!
//! A masked weight is 0, and 0 times a NaN is one. So where a result is not finite, all is done again pair by pair, and
//! no query is touched by a key that it does not see.

use std::ops::Range;

use burn::{
    backend::{Flex, TensorMetadata, flex::FlexTensor, ops::FloatTensorOps},
    tensor::DType,
};
use rayon::prelude::*;

use super::{
    options::{Attention, Sizes},
    pairs,
};
use crate::{
    flex::{numbers, slice, tensor},
    host_product::{Matrix, product_into},
    rows::{SeenRow, all_finite, softmax_row, softmax_row_vjp},
};

/// Scores of a block: 128 KiB.
const SCORES: usize = 32 * 1024;

/// So many queries that their scores fit, a multiple of what the inner loops of a product take at a time.
fn queries_a_block(m: usize) -> usize {
    (SCORES / m).clamp(16, 64) / 16 * 16
}

/// `[batch, heads, rows, d]` where it lies.
struct Operand {
    tensor: FlexTensor,
    strides: [usize; 3],
    d: usize,
}

impl Operand {
    /// As it is, where the numbers of a head are adjacent, and else in order; nothing for numbers that are not `f32`.
    fn new(x: &FlexTensor) -> Option<Self> {
        let strides = |x: &FlexTensor| -> Option<[usize; 3]> {
            let &[sequence, head, row, 1] = x.layout().strides() else { return None };
            let [sequence, head, row] = [sequence, head, row].map(usize::try_from);
            Some([sequence.ok()?, head.ok()?, row.ok()?])
        };
        let [_, heads, rows, d]: [usize; 4] = x.shape().dims();
        match strides(x).filter(|_| x.dtype() == DType::F32) {
            Some(strides) => Some(Self { tensor: x.clone(), strides, d }),
            None => {
                let tensor = numbers(x)?;
                Some(Self { tensor, strides: [heads * rows * d, rows * d, d], d })
            }
        }
    }

    fn from(&self, [sequence, head, row]: [usize; 3]) -> &[f32] {
        let [by_sequence, by_head, by_row] = self.strides;
        let at = sequence * by_sequence + head * by_head + row * by_row;
        &self.tensor.storage::<f32>()[self.tensor.layout().start_offset() + at..]
    }

    /// Some rows of a head.
    fn rows(&self, [sequence, head]: [usize; 2], rows: &Range<usize>) -> Matrix<'_> {
        let numbers = self.from([sequence, head, rows.start]);
        Matrix::of_rows(numbers, [rows.len(), self.d], self.strides[2])
    }

    fn row(&self, place: [usize; 3]) -> &[f32] {
        &self.from(place)[..self.d]
    }
}

/// Neighbouring queries of a head.
struct Block {
    queries: Range<usize>,
    /// From the first to the last key that any of them sees.
    keys: Range<usize>,
    /// What each sees of these.
    rows: Vec<SeenRow>,
}

impl Block {
    fn new(
        options: &Attention,
        sizes: &Sizes,
        [sequence, head]: [usize; 2],
        queries: Range<usize>,
    ) -> Self {
        let seen_row = |query| {
            let sight = options.sight(sizes, sequence, query);
            SeenRow {
                position: sight.position,
                prefix: sight.prefix,
                keys: sight.keys,
                slope: options.slope(head),
                cap: options.cap(),
                scale: options.factor(sizes.d) as f32,
            }
        };
        let mut rows: Vec<SeenRow> = queries.clone().map(seen_row).collect();
        let seeing = || rows.iter().filter(|row| !row.keys.is_empty());
        let first = seeing().map(SeenRow::first).min().unwrap_or(0);
        let end = seeing().map(|row| row.keys.end).max().unwrap_or(0);
        for row in rows.iter_mut().filter(|row| !row.keys.is_empty()) {
            // Where one has a prefix, all begin at the first key.
            row.position -= first.cast_signed();
            row.keys = row.keys.start - first..row.keys.end - first;
        }
        Self { queries, keys: first..end, rows }
    }

    /// How many scores it has.
    fn scores(&self) -> usize {
        self.queries.len() * self.keys.len()
    }

    fn sizes(&self) -> [usize; 2] {
        [self.queries.len(), self.keys.len()]
    }
}

/// The result, and the logarithm of the sum of every query's exponentials; nothing where numbers are not `f32`.
///
/// Both lie as `[batch, n, heads, …]`, since what follows joins the heads of a position.
pub(super) fn attention(
    options: &Attention,
    [q, k, v]: [&FlexTensor; 3],
) -> Option<[FlexTensor; 2]> {
    let sizes = Sizes::new(&q.shape(), &k.shape());
    let Sizes { batch, heads, kv_heads, n, m, d } = sizes;
    let [queries, keys, values] = [Operand::new(q)?, Operand::new(k)?, Operand::new(v)?];
    let factor = options.factor(d) as f32;
    let mut out = vec![0.0; batch * n * heads * d];
    let mut log_sums = vec![f32::NEG_INFINITY; batch * n * heads];
    let count = queries_a_block(m);
    let of_block =
        |scores: &mut Vec<f32>, sequence, first, out: &mut [f32], log_sums: &mut [f32]| {
            for head in 0..heads {
                let here = first..first + log_sums.len() / heads;
                let block = Block::new(options, &sizes, [sequence, head], here);
                if block.keys.is_empty() {
                    continue;
                }
                let shared = [sequence, head * kv_heads / heads];
                let q = queries.rows([sequence, head], &block.queries);
                let [k, v] = [&keys, &values].map(|x| x.rows(shared, &block.keys));
                let width = block.keys.len();
                scores.resize(block.scores(), 0.0);
                product_into(scores, width, [q, k.transposed()], factor, false);
                let rows = scores.chunks_exact_mut(width).zip(&block.rows);
                for ((scores, seen), log_sums) in rows.zip(log_sums.chunks_exact_mut(heads)) {
                    log_sums[head] = softmax_row(scores, seen);
                }
                let weights = Matrix::new(scores, block.sizes());
                product_into(&mut out[head * d..], heads * d, [weights, v], 1.0, false);
            }
        };
    let of_sequences = out.par_chunks_mut(n * heads * d).zip(log_sums.par_chunks_mut(n * heads));
    of_sequences.enumerate().for_each(|(sequence, (out, log_sums))| {
        out.par_chunks_mut(count * heads * d)
            .zip(log_sums.par_chunks_mut(count * heads))
            .enumerate()
            .for_each_init(Vec::new, |scores, (index, (out, log_sums))| {
                of_block(scores, sequence, index * count, out, log_sums);
            });
    });
    if all_finite(&out) {
        let out = tensor(out, [batch, n, heads, d]);
        let log_sums = tensor(log_sums, [batch, n, heads]);
        return Some([out, log_sums].map(|x| Flex::float_swap_dims(x, 1, 2)));
    }
    let numbers = [q, k, v].map(doubles);
    let [out, log_sums] = pairs::attention(options, &sizes, numbers.each_ref().map(Vec::as_slice));
    Some([singles(out, sizes.queries()), singles(log_sums, [batch, heads, n])])
}

/// The gradients of `q`, `k` and `v`. A task has all queries of a head of keys, whose gradients it sums in their order.
pub(super) fn attention_vjp(
    options: &Attention,
    [q, k, v]: [&FlexTensor; 3],
    [out, log_sums, grad]: [&FlexTensor; 3],
) -> Option<[FlexTensor; 3]> {
    let sizes = Sizes::new(&q.shape(), &k.shape());
    let Sizes { batch, heads, kv_heads, n, m, d } = sizes;
    let [queries, keys, values] = [Operand::new(q)?, Operand::new(k)?, Operand::new(v)?];
    let [results, gradients] = [Operand::new(out)?, Operand::new(grad)?];
    let log_sums = numbers(log_sums)?;
    let log_sums = slice(&log_sums);
    let factor = options.factor(d) as f32;
    let (group, of_keys) = (heads / kv_heads, [batch, kv_heads, m, d]);
    let [mut by_q, mut by_k, mut by_v] =
        [heads * n, kv_heads * m, kv_heads * m].map(|rows| vec![0.0; batch * rows * d]);
    let count = queries_a_block(m);
    by_q.par_chunks_mut(group * n * d)
        .zip(by_k.par_chunks_mut(m * d).zip(by_v.par_chunks_mut(m * d)))
        .enumerate()
        .for_each_init(Default::default, |[weights, by_product]: &mut [Vec<f32>; 2], task| {
            let (index, (by_q, (by_k, by_v))) = task;
            let (sequence, shared) = (index / kv_heads, index % kv_heads);
            let rows = by_q.chunks_mut(n * d).zip(shared * group..).flat_map(|(by_q, head)| {
                by_q.chunks_mut(count * d).enumerate().map(move |(i, by_q)| (head, i * count, by_q))
            });
            for (head, first, by_q) in rows {
                let place = [sequence, head];
                let here = first..first + by_q.len() / d;
                let block = Block::new(options, &sizes, place, here);
                if block.keys.is_empty() {
                    continue;
                }
                let [q, grad] = [&queries, &gradients].map(|x| x.rows(place, &block.queries));
                let [k, v] = [&keys, &values].map(|x| x.rows([sequence, shared], &block.keys));
                let width = block.keys.len();
                for scores in [&mut *weights, &mut *by_product] {
                    scores.resize(block.scores(), 0.0);
                }
                product_into(weights, width, [q, k.transposed()], factor, false);
                product_into(by_product, width, [grad, v.transposed()], 1.0, false);
                let rows = weights.chunks_exact_mut(width).zip(by_product.chunks_exact_mut(width));
                for ((rows, seen), query) in rows.zip(&block.rows).zip(block.queries.clone()) {
                    let at = [sequence, head, query];
                    let ends = [&results, &gradients].map(|x| x.row(at));
                    let log_sum = log_sums[(sequence * heads + head) * n + query];
                    softmax_row_vjp(rows.0, rows.1, seen, log_sum, ends);
                }
                let [weights, by_product] =
                    [&*weights, &*by_product].map(|x| Matrix::new(x, block.sizes()));
                let seen = block.keys.start * d..block.keys.end * d;
                product_into(by_q, d, [by_product, k], 1.0, false);
                product_into(&mut by_k[seen.clone()], d, [by_product.transposed(), q], 1.0, true);
                product_into(&mut by_v[seen], d, [weights.transposed(), grad], 1.0, true);
            }
        });
    if [&by_q, &by_k, &by_v].into_iter().all(|gradient| all_finite(gradient)) {
        let by_q = tensor(by_q, sizes.queries());
        return Some([by_q, tensor(by_k, of_keys), tensor(by_v, of_keys)]);
    }
    let numbers = [q, k, v, grad].map(doubles);
    let [by_q, by_k, by_v] =
        pairs::attention_vjp(options, &sizes, numbers.each_ref().map(Vec::as_slice));
    Some([singles(by_q, sizes.queries()), singles(by_k, of_keys), singles(by_v, of_keys)])
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
                // Blocks whose first key is not the sequence's.
                is_what_pairs_are(&options.clone().window(3).alibi(&slopes), sizes);
                let all = options.window(3).prefix(1).soft_cap(1.5).scale(-0.7);
                is_what_pairs_are(&all, sizes);
                is_what_pairs_are(&all.alibi(&slopes), sizes);
            }
        }
    }
}
