//! Products with packed weights on Burn tensors.
//!
//! `y[…, n] = Σ_k x[…, k] W[n, k]`, with `W` in 4 or 8 bits as [`wavecube_core::quant`] packs it: its words, scales
//! and zero points are integer tensors of 32 bits. A weight is frozen: gradients are those of `x`.

use burn::{
    backend::{
        Backend, Dispatch, TensorMetadata, backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    module::{Module, Param, ParamId},
    tensor::{DType, Device, Int, Tensor, TensorData},
};
use wavecube_core::{
    Error, Result,
    quant::{PackedWeight, Scheme},
};

use super::{host, plain};

/// What the words of a packed weight mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedFormat {
    /// How numbers became codes.
    pub scheme: Scheme,
    /// Outputs and inputs: `[n, k]`.
    pub shape: [usize; 2],
}

/// Products that a backend can run.
///
/// The bodies given here dequantise the weight on the host and multiply by that: right on every backend, quick on
/// none. A backend with kernels overrides them. A symmetric scheme has one word of zero points, which is not used.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu")),
    Flex,
    Autodiff,
    Fusion: cfg(feature = "fusion")
)]
pub trait QmatmulBackend: Backend {
    /// `[…, n]` from `x` (`[…, k]`).
    #[cfg_attr(feature = "fusion", fusion(meta = |x, _words, _scales, _zeros, format| {
        let shape = with_last(&x.shape.to_vec(), format.shape[0]);
        burn::backend::fusion::custom::TensorSpec::new(shape.into(), x.dtype)
    }))]
    fn qmatmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        scales: IntTensor<Self>,
        zeros: IntTensor<Self>,
        format: PackedFormat,
    ) -> FloatTensor<Self> {
        plain_qmatmul::<Self>(x, [words, scales, zeros], format)
    }

    /// The gradient of `x`, `[…, k]`, when `grad` (`[…, n]`) arrives at the result.
    #[cfg_attr(feature = "fusion", fusion(meta = |grad, _words, _scales, _zeros, format| {
        let shape = with_last(&grad.shape.to_vec(), format.shape[1]);
        burn::backend::fusion::custom::TensorSpec::new(shape.into(), grad.dtype)
    }))]
    fn qmatmul_vjp(
        grad: FloatTensor<Self>,
        words: IntTensor<Self>,
        scales: IntTensor<Self>,
        zeros: IntTensor<Self>,
        format: PackedFormat,
    ) -> FloatTensor<Self> {
        plain_qmatmul_vjp::<Self>(grad, [words, scales, zeros], format)
    }
}

/// A shape with rows of another length.
fn with_last(shape: &[usize], len: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = len;
    }
    shape
}

/// The weights that the parts stand for, `[n, k]`.
fn dequantized<B: Backend>(parts: [IntTensor<B>; 3], format: PackedFormat) -> Vec<f64> {
    let PackedFormat { scheme, shape } = format;
    let [words, scales, zeros] = parts.map(host::words::<B>);
    let zeros = if scheme.symmetric { Vec::new() } else { zeros };
    let weight = PackedWeight::from_parts(scheme, shape, words, scales, zeros);
    let weight = weight.expect("the parts are those of a packed weight");
    weight.dequantize().into_iter().map(f64::from).collect()
}

pub(super) fn plain_qmatmul<B: Backend>(
    x: FloatTensor<B>,
    parts: [IntTensor<B>; 3],
    format: PackedFormat,
) -> FloatTensor<B> {
    let shape = with_last(&x.shape().to_vec(), format.shape[0]);
    plain::apply::<B>(x, dequantized::<B>(parts, format), format.shape, true, shape)
}

pub(super) fn plain_qmatmul_vjp<B: Backend>(
    grad: FloatTensor<B>,
    parts: [IntTensor<B>; 3],
    format: PackedFormat,
) -> FloatTensor<B> {
    let shape = with_last(&grad.shape().to_vec(), format.shape[1]);
    plain::apply::<B>(grad, dequantized::<B>(parts, format), format.shape, false, shape)
}

/// Whether products on a device read packed weights. Flex has none that do: a weight of numbers is quicker there.
pub fn multiplies_packed(device: &Device) -> bool {
    device.clone().inner() != Device::flex()
}

/// A packed weight as tensors: 4 or 8 bits a weight, and its scales, in the memory of the device.
#[derive(Module, Debug)]
pub struct PackedTensor {
    words: Param<Tensor<1, Int>>,
    scales: Param<Tensor<1, Int>>,
    zeros: Param<Tensor<1, Int>>,
    #[module(skip)]
    format: PackedFormat,
}

impl PackedTensor {
    /// The same weight on `device`.
    pub fn upload(weight: &PackedWeight, device: &Device) -> Self {
        let part = |words: &[u32]| {
            let words: Vec<i32> = words.iter().map(|word| word.cast_signed()).collect();
            let len = words.len();
            let data = TensorData::new(words, [len]);
            Param::initialized(ParamId::new(), Tensor::from_data(data, (device, DType::I32)))
        };
        let zeros = if weight.zeros().is_empty() { &[0] } else { weight.zeros() };
        Self {
            words: part(weight.words()),
            scales: part(weight.scales()),
            zeros: part(zeros),
            format: PackedFormat { scheme: weight.scheme(), shape: weight.shape() },
        }
    }

    /// Outputs and inputs: `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        self.format.shape
    }
}

/// `x Wᵀ`: `[…, n]` from `x` of `[…, k]`; differentiable in `x`.
///
/// # Errors
///
/// [`Error::Length`] when `x` has not `k` elements a row.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_core::quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme};
/// use wavecube_models::bridge::{PackedTensor, qmatmul};
///
/// let device = Device::flex();
/// let scheme = Scheme { bits: Bits::Four, symmetric: true, group: Group::Of32, scale: ScaleType::F16 };
/// let weight = PackedWeight::quantize(&[7.0, 2.0, -7.0, 1.0], [2, 2], scheme, Clip::None)?;
/// let x = Tensor::<2>::from_data([[1.0, 10.0]], &device);
/// let y = qmatmul(x, &PackedTensor::upload(&weight, &device))?.into_data();
/// y.assert_approx_eq::<f32>(&[[27.0, 3.0]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn qmatmul<const D: usize>(x: Tensor<D>, weight: &PackedTensor) -> Result<Tensor<D>> {
    let found = x.dims().last().copied().unwrap_or(0);
    if found != weight.shape()[1] {
        let expected = "the inputs of the weight in every row";
        return Err(Error::Length { op: "qmatmul", argument: "x", expected, found });
    }
    let [words, scales, zeros] =
        [&weight.words, &weight.scales, &weight.zeros].map(|part| part.val().into_dispatch());
    let y = <Dispatch as QmatmulBackend>::qmatmul(
        x.into_dispatch(),
        words,
        scales,
        zeros,
        weight.format,
    );
    Ok(Tensor::from_dispatch(y))
}
