//! Flex, Burn's CPU backend: the plain bodies, and passes over rows where those would take many trips through memory.

use burn::{
    backend::{
        Flex, TensorMetadata,
        flex::FlexTensor,
        ops::ActivationOps,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, TensorData},
};
use rayon::prelude::*;

use super::{
    AttentionBackend, Bias, ConvolutionBackend, ElementaryBackend, FftBackend, LctBackend,
    LossBackend, QmatmulBackend, TridiagBackend,
    attention::{plain_attention, plain_attention_vjp},
    elementary::plain_softplus,
    flex_attention,
    host::words,
    loss::{plain_cross_entropy, plain_cross_entropy_vjp},
    rows::{cross_entropy_row, cross_entropy_row_vjp},
};

impl AttentionBackend for Flex {
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: Bias,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        flex_attention::attention(&q, &k, &v, bias)
            .unwrap_or_else(|| plain_attention::<Self>(&q, k, v, bias))
    }

    fn causal_attention_vjp(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        bias: Bias,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        match flex_attention::attention_vjp([&q, &k, &v], [&out, &lse, &grad], bias) {
            Some([by_q, by_k, by_v]) => (by_q, by_k, by_v),
            None => plain_attention_vjp::<Self>([q, k, v], out, grad, bias),
        }
    }
}

impl ConvolutionBackend for Flex {}
impl FftBackend for Flex {}
impl LctBackend for Flex {}
impl QmatmulBackend for Flex {}
impl TridiagBackend for Flex {}

impl ElementaryBackend for Flex {
    // The host's own functions are right.
    fn logistic(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::sigmoid(x)
    }

    fn softplus(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let Some(x) = numbers(&x) else {
            return plain_softplus::<Self>(x);
        };
        // One pass instead of the twenty of a polynomial by whole tensors. The exponential of a NaN is one.
        let softplus = |&x: &f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let values: Vec<f32> = slice(&x).iter().map(softplus).collect();
        FlexTensor::from_data(TensorData::new(values, x.shape()))
    }
}

/// The numbers of a tensor in order, where they are `f32`.
pub(super) fn numbers(x: &FlexTensor) -> Option<FlexTensor> {
    (x.dtype() == DType::F32).then(|| x.to_contiguous())
}

pub(super) fn slice(x: &FlexTensor) -> &[f32] {
    let start = x.layout().start_offset();
    &x.storage::<f32>()[start..start + x.layout().num_elements()]
}

/// Rows that a task takes: so many that handing it over costs little beside them.
fn rows_a_task(width: usize) -> usize {
    (16 * 1024 / width.max(1)).max(1)
}

impl LossBackend for Flex {
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let Some(logits) = numbers(&logits) else {
            return plain_cross_entropy::<Self>(logits, targets);
        };
        let [rows, classes] = logits.shape().dims();
        let targets = words::<Self>(targets);
        let task = rows_a_task(classes);
        // Summed in the order of the rows, whatever the threads.
        let sums: Vec<f64> = slice(&logits)
            .par_chunks(task * classes)
            .zip(targets.par_chunks(task))
            .map(|(logits, targets)| {
                let row = |(row, &target)| cross_entropy_row(row, target as usize);
                logits.chunks_exact(classes).zip(targets).map(row).sum()
            })
            .collect();
        let mean = sums.iter().sum::<f64>() / rows as f64;
        FlexTensor::from_data(TensorData::new(vec![mean as f32], [1]))
    }

    fn cross_entropy_vjp(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let Some(logits) = numbers(&logits) else {
            return plain_cross_entropy_vjp::<Self>(logits, targets, grad);
        };
        let [rows, classes] = logits.shape().dims();
        let targets = words::<Self>(targets);
        let scale = slice(&grad)[0] / rows as f32;
        let task = rows_a_task(classes);
        let mut gradient = vec![0.0; rows * classes];
        gradient
            .par_chunks_mut(task * classes)
            .zip(slice(&logits).par_chunks(task * classes))
            .zip(targets.par_chunks(task))
            .for_each(|((gradient, logits), targets)| {
                let rows = gradient.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
                for ((gradient, logits), &target) in rows.zip(targets) {
                    cross_entropy_row_vjp(logits, target as usize, scale, gradient);
                }
            });
        FlexTensor::from_data(TensorData::new(gradient, [rows, classes]))
    }
}
