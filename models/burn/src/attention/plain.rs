//! Attention by operations that every backend has: two products and what lies between them.
//!
//! A masked weight is 0, and 0 times a NaN is one. So where a result is not finite, all is done again pair by pair on the
//! host, and no query is touched by a key that it does not see.

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::{FloatDType, TensorData},
};

use super::{
    options::{Attention, Sizes},
    pairs,
};
use crate::host;

/// What is added to the scores, `[batch, heads, n, m]`, and what multiplies the weights, `[batch, 1, n, 1]`: 0 for a
/// query that sees no key. An axis along which all is the same is 1 long.
struct Tables {
    offsets: TensorData,
    alive: TensorData,
}

impl Tables {
    fn new(options: &Attention, sizes: &Sizes) -> Self {
        let Sizes { n, m, .. } = *sizes;
        let batch = if options.alike() { 1 } else { sizes.batch };
        let heads = options.slopes().map_or(1, <[f32]>::len);
        let mut offsets = vec![f64::NEG_INFINITY; batch * heads * n * m];
        let mut alive = Vec::with_capacity(batch * n);
        for sequence in 0..batch {
            for query in 0..n {
                let sight = options.sight(sizes, sequence, query);
                alive.push(f64::from(u8::from(!sight.is_nothing())));
                for head in 0..heads {
                    let row = &mut offsets[((sequence * heads + head) * n + query) * m..][..m];
                    if sight.is_nothing() {
                        row.fill(0.0);
                    }
                    let slope = f64::from(options.slope(head));
                    sight.all().for_each(|key| row[key] = -slope * sight.distance(key) as f64);
                }
            }
        }
        Self {
            offsets: TensorData::new(offsets, [batch, heads, n, m]),
            alive: TensorData::new(alive, [batch, 1, n, 1]),
        }
    }
}

/// What the scores become.
struct Weights<B: Backend> {
    /// `[batch, heads, n, m]`.
    all: FloatTensor<B>,
    /// The hyperbolic tangents under a soft cap.
    tanh: Option<FloatTensor<B>>,
    /// `[batch, heads, n]`.
    log_sums: FloatTensor<B>,
}

fn transposed<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_swap_dims(x, 2, 3)
}

impl<B: Backend> Weights<B> {
    fn new(options: &Attention, sizes: &Sizes, q: &FloatTensor<B>, k: FloatTensor<B>) -> Self {
        let Sizes { batch, heads, n, m, d, .. } = *sizes;
        let (dtype, device) = (q.dtype(), q.device());
        let table = |data: TensorData| B::float_from_data(data.convert_dtype(dtype), &device);
        let Tables { offsets, alive } = Tables::new(options, sizes);
        let folded = B::float_reshape(q.clone(), sizes.folded().into());
        let folded = B::float_mul_scalar(folded, options.factor(d).into());
        let scores = B::float_matmul(folded, transposed::<B>(k));
        let scores = B::float_reshape(scores, [batch, heads, n, m].into());
        let (scores, tanh) = match options.cap() {
            Some(cap) => {
                let tanh = B::float_tanh(B::float_div_scalar(scores, cap.into()));
                (B::float_mul_scalar(tanh.clone(), cap.into()), Some(tanh))
            }
            None => (scores, None),
        };
        let scores = B::float_add(scores, table(offsets));
        let most = B::float_max_dim(scores.clone(), 3);
        let weights = B::float_exp(B::float_sub(scores, most.clone()));
        let sums = B::float_sum_dim(weights.clone(), 3);
        // The logarithm of 0 is −∞, and that of 1 adds nothing.
        let dead = alive.iter::<f64>().map(f64::ln).collect::<Vec<_>>();
        let dead = table(TensorData::new(dead, alive.shape().clone()));
        let log_sums = B::float_add(B::float_add(most, B::float_log(sums.clone())), dead);
        let weights = B::float_mul(B::float_div(weights, sums), table(alive));
        Self { all: weights, tanh, log_sums: B::float_reshape(log_sums, [batch, heads, n].into()) }
    }
}

fn finite<B: Backend>(x: &FloatTensor<B>) -> bool {
    host::numbers::<B>(x.clone()).iter().all(|x| x.is_finite())
}

/// The result, and the logarithm of the sum of every query's exponentials in `f32`.
pub(super) fn attention<B: Backend>(
    options: &Attention,
    [q, k, v]: [FloatTensor<B>; 3],
) -> [FloatTensor<B>; 2] {
    let sizes = Sizes::new(&q.shape(), &k.shape());
    let Sizes { batch, kv_heads, m, .. } = sizes;
    let [_, _, rows, _] = sizes.folded();
    let Weights { all: weights, log_sums, .. } = Weights::<B>::new(options, &sizes, &q, k.clone());
    let weights = B::float_reshape(weights, [batch, kv_heads, rows, m].into());
    let out = B::float_reshape(B::float_matmul(weights, v.clone()), q.shape());
    let single = |log_sums| B::float_cast(log_sums, FloatDType::F32);
    if finite::<B>(&out) {
        return [out, single(log_sums)];
    }
    let [host_q, host_k, host_v] = [&q, &k, &v].map(|x| host::numbers::<B>(x.clone()));
    let [out, exact] = pairs::attention(options, &sizes, [&host_q, &host_k, &host_v]);
    [host::upload::<B>(&q, out), single(host::upload::<B>(&log_sums, exact))]
}

/// The gradients of `q`, `k` and `v`.
pub(super) fn attention_vjp<B: Backend>(
    options: &Attention,
    [q, k, v]: [FloatTensor<B>; 3],
    out: FloatTensor<B>,
    grad: &FloatTensor<B>,
) -> [FloatTensor<B>; 3] {
    let sizes = Sizes::new(&q.shape(), &k.shape());
    let Sizes { batch, heads, kv_heads, n, m, d } = sizes;
    let [_, _, rows, _] = sizes.folded();
    let Weights { all: weights, tanh, .. } = Weights::<B>::new(options, &sizes, &q, k.clone());
    let fold = |x: &FloatTensor<B>| B::float_reshape(x.clone(), sizes.folded().into());
    let pairs_of = |x, heads, rows| B::float_reshape(x, [batch, heads, rows, m].into());
    let by_weight = B::float_matmul(fold(grad), transposed::<B>(v.clone()));
    let mean = B::float_sum_dim(B::float_mul(grad.clone(), out), 3);
    let by_weight = B::float_sub(pairs_of(by_weight, heads, n), mean);
    let mut by_product = B::float_mul(weights.clone(), by_weight);
    if let Some(tanh) = tanh {
        let square = B::float_mul(tanh.clone(), tanh);
        let slope = B::float_add_scalar(B::float_neg(square), 1.0.into());
        by_product = B::float_mul(by_product, slope);
    }
    let by_product = B::float_mul_scalar(by_product, options.factor(d).into());
    let [weights, by_product] = [weights, by_product].map(|x| pairs_of(x, kv_heads, rows));
    let by_q = B::float_matmul(by_product.clone(), k.clone());
    let gradients = [
        B::float_reshape(by_q, q.shape()),
        B::float_matmul(transposed::<B>(by_product), fold(&q)),
        B::float_matmul(transposed::<B>(weights), fold(grad)),
    ];
    if gradients.iter().all(finite::<B>) {
        return gradients;
    }
    let numbers = [&q, &k, &v, grad].map(|x| host::numbers::<B>(x.clone()));
    let numbers = numbers.each_ref().map(Vec::as_slice);
    let [by_q, by_k, by_v] = pairs::attention_vjp(options, &sizes, numbers);
    [(&q, by_q), (&k, by_k), (&v, by_v)].map(|(like, values)| host::upload::<B>(like, values))
}
