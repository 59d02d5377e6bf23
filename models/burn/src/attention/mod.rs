//! Attention on Burn tensors.
//!
//! `softmax(scale · q kᵀ + mask + bias) v` for `q` of `[batch, heads, n, d]` and `k`, `v` of `[batch, kv_heads, m, d]`;
//! neighbouring heads of queries share one of keys, and the last query stands at the last key.

#[cfg(feature = "flex")]
mod flex;
mod options;
mod pairs;
mod plain;

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
use burn::{
    backend::{
        Backend,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Tensor},
};
use cubecl::server::Handle;
use options::Sizes;
use wavecube::Attended;
use wavecube_core::{Error, Result};

use crate::operation::{Kept, Op, Operation, run};

pub use options::{Attention, alibi_slopes};

/// The result, and the logarithm of the sum of every query's exponentials (`[batch, heads, n]`), from `q`, `k` and `v`.
#[derive(Debug, Clone)]
pub(crate) struct Attend(Attention);

impl Operation<3, 0, 2> for Attend {
    const NAME: &'static str = "attention";
    const COMPLEX: [bool; 3] = [false; 3];
    const STRIDED: [bool; 3] = [true; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [q, ..]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [q.to_vec(), q[..3].to_vec()]
    }

    fn dtypes(&self, first: DType) -> [DType; 2] {
        [first, DType::F32]
    }

    fn kernel(
        &self,
        [q, k, v]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let options = self.0.of_kernels(Self::NAME, &Sizes::new(q.shape(), k.shape()))?;
        let Attended { out, lse } = wavecube::attention(q, k, v, &options)?;
        Ok([out, lse])
    }

    fn plain<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        plain::attention::<B>(&self.0, operands)
    }

    #[cfg(feature = "flex")]
    fn flex(&self, operands: [&FlexTensor; 3], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 2]> {
        flex::attention(&self.0, operands)
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1, 2], results: &[0, 1] }
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        Some(AttendVjp(self.0.clone()).into())
    }
}

/// The gradients of `q`, `k` and `v`, from these, both results and the gradient of the first.
#[derive(Debug, Clone)]
pub(crate) struct AttendVjp(Attention);

impl Operation<6, 0, 3> for AttendVjp {
    const NAME: &'static str = "attention_vjp";
    const COMPLEX: [bool; 6] = [false; 6];
    const STRIDED: [bool; 6] = [true, true, true, false, false, false];

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
        let options = self.0.of_kernels(Self::NAME, &Sizes::new(q.shape(), k.shape()))?;
        let by = wavecube::attention_vjp([q, k, v], &options, &attended, grad)?;
        Ok([by.q, by.k, by.v])
    }

    fn plain<B: Backend>(
        &self,
        [q, k, v, out, _, grad]: [FloatTensor<B>; 6],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 3] {
        plain::attention_vjp::<B>(&self.0, [q, k, v], out, &grad)
    }

    #[cfg(feature = "flex")]
    fn flex(
        &self,
        [q, k, v, out, log_sums, grad]: [&FlexTensor; 6],
        []: [&FlexTensor; 0],
    ) -> Option<[FlexTensor; 3]> {
        flex::attention_vjp(&self.0, [q, k, v], [out, log_sums, grad])
    }

    fn vjp(&self, _: [&[usize]; 6]) -> Option<Op> {
        None
    }
}

/// Attention of any mask: `q` of `[batch, heads, n, d]`, `k` and `v` of `[batch, kv_heads, m, d]`, where `kv_heads`
/// divides `heads`, and neighbouring heads of queries share one of keys; differentiable in all three, each of the same
/// type. A query that sees no key gives zeros. Kernels read operands where they lie, whatever their strides, if the
/// numbers of a head are adjacent.
///
/// A key that a query does not see may hold anything, NaN and infinities too: it changes nothing of the query's result
/// or of its gradients.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes, slopes or lengths do not belong together, [`Error::Length`] for no queries, no keys
/// or heads of no numbers, for heads of keys that do not divide those of queries, and for lengths or a prefix beyond the
/// tensors, [`Error::Value`] for a window of 0, a cap that is not above 0, and for scales, caps or slopes that are not
/// finite.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{Attention, attention};
///
/// let device = Device::flex();
/// let x = Tensor::<4>::from_data([[[[0.0], [0.0]]]], &device);
/// let v = Tensor::<4>::from_data([[[[2.0], [4.0]]]], &device);
/// // Queries of zeros see all keys alike: the mean of the values so far.
/// let y = attention(x.clone(), x, v, &Attention::causal())?.into_data();
/// y.assert_approx_eq::<f32>(&[[[[2.0], [3.0]]]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    options: &Attention,
) -> Result<Tensor<4>> {
    const OP: &str = "attention";
    let [batch, heads, n, d] = q.dims();
    let [_, kv_heads, m, _] = k.dims();
    for (argument, found) in [("k", k.dims()), ("v", v.dims())] {
        let expected = [batch, kv_heads, m, d];
        if found != expected {
            let (expected, found) = (expected.to_vec(), found.to_vec());
            return Err(Error::Shape { op: OP, argument, expected, found });
        }
    }
    for (argument, expected, found) in [
        ("q", "at least one query", n),
        ("k", "at least one key", m),
        ("q", "at least 1 along the last axis", d),
    ] {
        if found == 0 {
            return Err(Error::Length { op: OP, argument, expected, found });
        }
    }
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        let expected = "a divisor of the queries' heads";
        return Err(Error::Length { op: OP, argument: "k", expected, found: kv_heads });
    }
    options.check(OP, &Sizes::new(&q.dims(), &k.dims()))?;
    let operands = [q, k, v].map(Tensor::into_dispatch);
    let [out, _] = run(Attend(options.clone()), operands, [])?;
    Ok(Tensor::from_dispatch(out))
}
