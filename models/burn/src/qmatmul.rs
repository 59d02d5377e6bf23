//! Products with packed weights on Burn tensors.
//!
//! `y[…, n] = Σ_k x[…, k] W[n, k]`, with `W` in 4 or 8 bits as [`wavecube_core::quant`] packs it: its words, scales
//! and zero points are integer tensors of 32 bits. A weight is frozen: gradients are those of `x`.

use burn::{
    backend::{
        Backend, Dispatch, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    module::{Module, Param, ParamId, Reparameterization},
    tensor::{DType, Device, Int, Shape, Tensor, TensorData},
};
use cubecl::server::Handle;
use num_complex::Complex64;
use wavecube::{QuantizedComplexWeight, QuantizedWeight, WeightBindings};
use wavecube_core::{
    Error, Result,
    quant::{PackedWeight, Scheme},
};

#[cfg(feature = "fusion")]
use crate::mixing::with_lines;
use crate::{
    dense, host,
    mixing::{channels, product},
    operation::{Op, Operation, run},
};

/// What the words of a packed weight mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedFormat {
    /// How numbers became codes.
    pub scheme: Scheme,
    /// Outputs and inputs: `[n, k]`.
    pub shape: [usize; 2],
}

/// The parts of a packed weight as one of the kernels'.
fn packed(
    x: &wavecube::Tensor,
    [words, scales, zeros]: [&Handle; 3],
    format: PackedFormat,
) -> QuantizedWeight {
    let zeros = (!format.scheme.symmetric).then(|| zeros.clone());
    let bindings = WeightBindings { words: words.clone(), scales: scales.clone(), zeros };
    QuantizedWeight::from_bindings(x.device(), format.scheme, format.shape, bindings)
}

/// `[…, n]` from `x` (`[…, k]`) and the words, scales and zero points of a weight; a symmetric scheme has one word of
/// zero points, which is not used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Qmatmul(PackedFormat);

impl Operation<1, 3, 1> for Qmatmul {
    const NAME: &'static str = "qmatmul";
    const COMPLEX: [bool; 1] = [false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [with_last(x, self.0.shape[0])]
    }

    fn kernel(
        &self,
        [x]: [&wavecube::Tensor; 1],
        parts: [&Handle; 3],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::qmatmul(x, &packed(x, parts, self.0))?])
    }

    /// By the weights that the codes stand for: right everywhere, quick nowhere.
    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        parts: [IntTensor<B>; 3],
    ) -> [FloatTensor<B>; 1] {
        let shape = with_last(&x.shape(), self.0.shape[0]);
        let weights = dequantized::<B>(parts, self.0);
        [dense::apply::<B>(x, weights, self.0.shape, true, shape)]
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        Some(QmatmulVjp(self.0).into())
    }
}

/// The gradient of `x`, `[…, k]`, from that of the result, `[…, n]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QmatmulVjp(PackedFormat);

impl Operation<1, 3, 1> for QmatmulVjp {
    const NAME: &'static str = "qmatmul_vjp";
    const COMPLEX: [bool; 1] = [false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [grad]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [with_last(grad, self.0.shape[1])]
    }

    fn kernel(
        &self,
        [grad]: [&wavecube::Tensor; 1],
        parts: [&Handle; 3],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::qmatmul_vjp(grad, &packed(grad, parts, self.0))?])
    }

    fn plain<B: Backend>(
        &self,
        [grad]: [FloatTensor<B>; 1],
        parts: [IntTensor<B>; 3],
    ) -> [FloatTensor<B>; 1] {
        let shape = with_last(&grad.shape(), self.0.shape[1]);
        let weights = dequantized::<B>(parts, self.0);
        [dense::apply::<B>(grad, weights, self.0.shape, false, shape)]
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        None
    }
}

/// `[…, n, 2]` from the pairs `x` (`[…, k, 2]`) and the words, scales and zero points of a real and an imaginary part,
/// or back to `[…, k, 2]` by the conjugate, which is the gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QmatmulComplex {
    formats: [PackedFormat; 2],
    back: bool,
}

impl Operation<1, 6, 1> for QmatmulComplex {
    const NAME: &'static str = "qmatmul_complex";
    const COMPLEX: [bool; 1] = [true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [with_lines(x, self.outputs())]
    }

    fn kernel(
        &self,
        [x]: [&wavecube::Tensor; 1],
        [a, b, c, d, e, f]: [&Handle; 6],
    ) -> Result<[wavecube::Tensor; 1]> {
        let [re, im] = self.formats;
        let weight =
            QuantizedComplexWeight::new(&packed(x, [a, b, c], re), &packed(x, [d, e, f], im))?;
        let product =
            if self.back { wavecube::qmatmul_complex_vjp } else { wavecube::qmatmul_complex };
        Ok([product(x, &weight)?])
    }

    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        [a, b, c, d, e, f]: [IntTensor<B>; 6],
    ) -> [FloatTensor<B>; 1] {
        let [re, im] = self.formats;
        let parts =
            dequantized::<B>([a, b, c], re).into_iter().zip(dequantized::<B>([d, e, f], im));
        let weights: Vec<_> = parts.map(|(re, im)| Complex64::new(re, im)).collect();
        [product::<B>(x, &weights, re.shape, self.back)]
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        Some(Self { back: !self.back, ..*self }.into())
    }
}

#[cfg(feature = "fusion")]
impl QmatmulComplex {
    fn outputs(&self) -> usize {
        self.formats[0].shape[usize::from(self.back)]
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

/// Whether products on a device read packed weights. Flex has none that do: a weight of numbers is quicker there.
pub fn multiplies_packed(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    if device.clone().inner() == Device::flex() {
        return false;
    }
    let _ = device;
    true
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

    fn parts(&self) -> [IntTensor<Dispatch>; 3] {
        [&self.words, &self.scales, &self.zeros].map(|part| part.val().into_dispatch())
    }
}

/// A packed map, or a stack of them, takes the place of its numbers, of which nothing is left but the length of the
/// stack; whoever asks for numbers gets those that the codes stand for.
impl Reparameterization for PackedTensor {
    const NAME: &'static str = "packed";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let [outputs, inputs] = self.shape();
        // The rows of the identity pick the columns of the matrix, exactly.
        let identity = Tensor::<2>::eye(inputs, &base.device());
        let numbers = qmatmul(identity, self).expect("the identity has the width of the map");
        let mut shape = base.dims()[..D - 2].to_vec();
        let maps: usize = shape.iter().product();
        shape.extend([inputs, outputs / maps]);
        let numbers = numbers.reshape([inputs, maps, outputs / maps]).swap_dims(0, 1);
        numbers.reshape(Shape::from(shape))
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
/// use wavecube_burn::{PackedTensor, qmatmul};
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
    let [y] = run(Qmatmul(weight.format), [x.into_dispatch()], weight.parts())?;
    Ok(Tensor::from_dispatch(y))
}

/// `x Wᵀ` with the complex weight `re + i im`: `[…, n, 2]` from `x` of `[…, k, 2]`; differentiable in `x`. The parts may
/// have different schemes.
///
/// # Errors
///
/// [`Error::Length`] when `x` has not `k` pairs a row, [`Error::Shape`] when its last axis is not a pair or the parts
/// have different shapes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_core::quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme};
/// use wavecube_burn::{PackedTensor, qmatmul_complex};
///
/// let device = Device::flex();
/// let scheme = Scheme { bits: Bits::Four, symmetric: true, group: Group::Of32, scale: ScaleType::F16 };
/// let part = |value: f32| {
///     Ok(PackedTensor::upload(&PackedWeight::quantize(&[value], [1, 1], scheme, Clip::None)?, &device))
/// };
/// let x = Tensor::<2>::from_data([[3.0, 4.0]], &device);
/// // (3 + 4i)(2 − i)
/// let y = qmatmul_complex(x, &part(2.0)?, &part(-1.0)?)?.into_data();
/// y.assert_approx_eq::<f32>(&[[10.0, 5.0]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn qmatmul_complex<const D: usize>(
    x: Tensor<D>,
    re: &PackedTensor,
    im: &PackedTensor,
) -> Result<Tensor<D>> {
    const OP: &str = "qmatmul_complex";
    if re.shape() != im.shape() {
        let (expected, found) = (re.shape().to_vec(), im.shape().to_vec());
        return Err(Error::Shape { op: OP, argument: "im", expected, found });
    }
    let found = channels(OP, "x", &x.dims())?;
    if found != re.shape()[1] {
        let expected = "the inputs of the weight in every row";
        return Err(Error::Length { op: OP, argument: "x", expected, found });
    }
    let operation = QmatmulComplex { formats: [re.format, im.format], back: false };
    let ([a, b, c], [d, e, f]) = (re.parts(), im.parts());
    let [y] = run(operation, [x.into_dispatch()], [a, b, c, d, e, f])?;
    Ok(Tensor::from_dispatch(y))
}
