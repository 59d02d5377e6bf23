//! Causal attention on Burn tensors.
//!
//! `softmax(q kᵀ/√d + mask + bias) v` for `q` of `[batch, heads, n, d]` and `k`, `v` of `[batch, heads, m, d]`; the last
//! query stands at the last key, and sees the keys up to its own place.

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
#[cfg(feature = "fusion")]
use burn::tensor::DType;
use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{FloatDType, Tensor, TensorData},
};
use cubecl::server::Handle;
use wavecube::Attended;
use wavecube_core::{Error, Result};

#[cfg(feature = "flex")]
use crate::flex_attention;
use crate::operation::{Kept, Op, Operation, run};

/// What the distance of a query and a key does to their score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bias {
    /// Nothing.
    #[default]
    None,
    /// It is subtracted, times `2^(−8h/H)` for head `h = 1 … H` (Press, Smith and Lewis, *Train short, test long*,
    /// 2022, section 3).
    Alibi,
}

impl Bias {
    /// What the distance is multiplied by, a number a head.
    pub(crate) fn slopes(self, heads: usize) -> Option<Vec<f32>> {
        let slope = |head: usize| (-8.0 * (head + 1) as f64 / heads as f64).exp2() as f32;
        (self == Self::Alibi).then(|| (0..heads).map(slope).collect())
    }
}

/// What the kernels are asked for.
pub(crate) fn causal(heads: usize, bias: Bias) -> wavecube::Attention {
    match bias.slopes(heads) {
        Some(slopes) => wavecube::Attention::causal().alibi(&slopes),
        None => wavecube::Attention::causal(),
    }
}

/// The result, and the logarithm of the sum of every query's exponentials (`[batch, heads, n]`), from `q`, `k` and `v`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausalAttention(Bias);

impl Operation<3, 0, 2> for CausalAttention {
    const NAME: &'static str = "attention";
    const COMPLEX: [bool; 3] = [false; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [q, ..]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [q.to_vec(), q[..3].to_vec()]
    }

    #[cfg(feature = "fusion")]
    fn dtypes(&self, first: DType) -> [DType; 2] {
        [first, DType::F32]
    }

    fn kernel(
        &self,
        [q, k, v]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let Attended { out, lse } = wavecube::attention(q, k, v, &causal(q.shape()[1], self.0))?;
        Ok([out, lse])
    }

    fn plain<B: Backend>(
        &self,
        [q, k, v]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        plain_attention::<B>(&q, k, v, self.0).into()
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [q, k, v]: [&FlexTensor; 3], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 2]> {
        flex_attention::attention(q, k, v, self.0)
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1, 2], results: &[0, 1] }
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        Some(CausalAttentionVjp(self.0).into())
    }
}

/// The gradients of `q`, `k` and `v`, from these, both results and the gradient of the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausalAttentionVjp(Bias);

impl Operation<6, 0, 3> for CausalAttentionVjp {
    const NAME: &'static str = "attention_vjp";
    const COMPLEX: [bool; 6] = [false; 6];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [q, k, v, ..]: [&[usize]; 6]) -> [Vec<usize>; 3] {
        [q, k, v].map(<[usize]>::to_vec)
    }

    fn kernel(
        &self,
        [q, k, v, out, lse, grad]: [&wavecube::Tensor; 6],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 3]> {
        let attended = Attended { out: out.clone(), lse: lse.clone() };
        let options = causal(q.shape()[1], self.0);
        let by = wavecube::attention_vjp([q, k, v], &options, &attended, grad)?;
        Ok([by.q, by.k, by.v])
    }

    fn plain<B: Backend>(
        &self,
        [q, k, v, out, _, grad]: [FloatTensor<B>; 6],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 3] {
        plain_attention_vjp::<B>([q, k, v], out, grad, self.0).into()
    }

    #[cfg(feature = "flex")]
    fn flex(
        &self,
        [q, k, v, out, lse, grad]: [&FlexTensor; 6],
        []: [&FlexTensor; 0],
    ) -> Option<[FlexTensor; 3]> {
        flex_attention::attention_vjp([q, k, v], [out, lse, grad], self.0)
    }

    fn vjp(&self, _: [&[usize]; 6]) -> Option<Op> {
        None
    }
}

fn scale<B: Backend>(q: &FloatTensor<B>) -> f64 {
    1.0 / (q.shape()[3] as f64).sqrt()
}

/// What is added to the scores, `[1, heads, n, m]`, or `[1, 1, n, m]` where it is the same for all: the mask and the
/// bias.
fn offsets([heads, n, m]: [usize; 3], bias: Bias) -> TensorData {
    let slopes = bias.slopes(heads).unwrap_or_else(|| vec![0.0]);
    let offset = |at: usize, slope: f32| {
        // Query `i` stands at key `i + m − n`.
        let (position, key) = (at / m + m - n, at % m);
        if key > position { f32::NEG_INFINITY } else { -slope * (position - key) as f32 }
    };
    let all = slopes.iter().flat_map(|&slope| (0..n * m).map(move |at| offset(at, slope)));
    TensorData::new(all.collect::<Vec<_>>(), [1, slopes.len(), n, m])
}

/// The largest score of every query, and all their exponentials relative to it.
fn exponentials<B: Backend>(
    q: &FloatTensor<B>,
    k: FloatTensor<B>,
    bias: Bias,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (dtype, device) = (q.dtype(), q.device());
    let offsets = offsets([q.shape()[1], q.shape()[2], k.shape()[2]], bias).convert_dtype(dtype);
    let q = B::float_mul_scalar(q.clone(), scale::<B>(q).into());
    let scores = B::float_matmul(q, B::float_swap_dims(k, 2, 3));
    let scores = B::float_add(scores, B::float_from_data(offsets, &device));
    let most = B::float_max_dim(scores.clone(), 3);
    (most.clone(), B::float_exp(B::float_sub(scores, most)))
}

fn plain_attention<B: Backend>(
    q: &FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    bias: Bias,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shape = q.shape();
    let (most, weights) = exponentials::<B>(q, k, bias);
    let sums = B::float_sum_dim(weights.clone(), 3);
    let out = B::float_div(B::float_matmul(weights, v), sums.clone());
    let lse = B::float_add(most, B::float_log(sums));
    let lse = B::float_reshape(lse, [shape[0], shape[1], shape[2]].into());
    (out, B::float_cast(lse, FloatDType::F32))
}

fn plain_attention_vjp<B: Backend>(
    [q, k, v]: [FloatTensor<B>; 3],
    out: FloatTensor<B>,
    grad: FloatTensor<B>,
    bias: Bias,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let scale = scale::<B>(&q);
    let (_, weights) = exponentials::<B>(&q, k.clone(), bias);
    let weights = B::float_div(weights.clone(), B::float_sum_dim(weights, 3));
    let transposed = |x| B::float_swap_dims(x, 2, 3);
    let by_v = B::float_matmul(transposed(weights.clone()), grad.clone());
    let inner = B::float_sum_dim(B::float_mul(grad.clone(), out), 3);
    let by_weight = B::float_sub(B::float_matmul(grad, transposed(v)), inner);
    let by_score = B::float_mul_scalar(B::float_mul(weights, by_weight), scale.into());
    let by_k = B::float_matmul(transposed(by_score.clone()), q);
    (B::float_matmul(by_score, k), by_k, by_v)
}

/// Causal attention: `q` of `[batch, heads, n, d]`, `k` and `v` of `[batch, heads, m, d]` with `n ≤ m`;
/// differentiable in all three.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes do not belong together, [`Error::Length`] for more queries than keys or for
/// none.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{Bias, attention};
///
/// let device = Device::flex();
/// let x = Tensor::<4>::from_data([[[[0.0], [0.0]]]], &device);
/// let v = Tensor::<4>::from_data([[[[2.0], [4.0]]]], &device);
/// // Queries of zeros see all keys alike: the mean of the values so far.
/// let y = attention(x.clone(), x, v, Bias::None)?.into_data();
/// y.assert_approx_eq::<f32>(&[[[[2.0], [3.0]]]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, bias: Bias) -> Result<Tensor<4>> {
    const OP: &str = "attention";
    let [batch, heads, n, d] = q.dims();
    let m = k.dims()[2];
    for (argument, found) in [("k", k.dims()), ("v", v.dims())] {
        let expected = [batch, heads, m, d];
        if found != expected {
            let (expected, found) = (expected.to_vec(), found.to_vec());
            return Err(Error::Shape { op: OP, argument, expected, found });
        }
    }
    if n == 0 || n > m {
        let expected = "at least 1, and at most the number of keys";
        return Err(Error::Length { op: OP, argument: "q", expected, found: n });
    }
    let [out, _] = run(CausalAttention(bias), [q, k, v].map(Tensor::into_dispatch), [])?;
    Ok(Tensor::from_dispatch(out))
}
