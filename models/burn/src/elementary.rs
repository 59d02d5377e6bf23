//! The logistic function and the softplus, right to a few roundings on every device.
//!
//! What drivers have is not: through CubeCL `log1p(x)` is `ln(1 + x)`, 0 at 1e-8; llvmpipe's logarithm is off by 7e-4 of
//! itself near 1; SwiftShader's exponential of a NaN is infinite, and a NaN is lost where numbers are clamped or
//! compared. Here both functions stand on the exponential of what is not above zero, on divisions and on a polynomial,
//! and hand a NaN on.

#[cfg(feature = "flex")]
use burn::backend::{
    Flex,
    flex::FlexTensor,
    ops::{ActivationOps, FloatTensorOps},
};
use burn::{
    backend::{
        Backend, TensorMetadata, get_or_init_device_settings,
        tensor::{BoolTensor, FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
#[cfg(feature = "flex")]
use rayon::prelude::*;

use crate::operation::{Kept, Op, Operation, run};
#[cfg(feature = "flex")]
use crate::{
    flex::{numbers, slice, tensor},
    rows::{TASK, squared_relu_row, squared_relu_row_vjp},
};

/// `1/(1 + e⁻ˣ)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logistic;

impl Operation<1, 0, 1> for Logistic {
    const NAME: &'static str = "logistic";
    const COMPLEX: [bool; 1] = [false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [plain_logistic::<B>(x)]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x]: [&FlexTensor; 1], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 1]> {
        // The host's own functions are right.
        Some([Flex::sigmoid(x.clone())])
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        Some(LogisticVjp.into())
    }
}

/// The gradient of `x`, from it and that of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogisticVjp;

impl Operation<2, 0, 1> for LogisticVjp {
    const NAME: &'static str = "logistic_vjp";
    const COMPLEX: [bool; 2] = [false; 2];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [x, grad]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        // σ(x) σ(−x): 1 − σ(x) would lose its digits where σ is next to 1.
        let below = plain_logistic::<B>(B::float_neg(x.clone()));
        [B::float_mul(grad, B::float_mul(plain_logistic::<B>(x), below))]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x, grad]: [&FlexTensor; 2], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 1]> {
        let below = Flex::sigmoid(Flex::float_neg(x.clone()));
        let slope = Flex::float_mul(Flex::sigmoid(x.clone()), below);
        Some([Flex::float_mul(grad.clone(), slope)])
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        None
    }
}

/// `ln(1 + eˣ)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Softplus;

impl Operation<1, 0, 1> for Softplus {
    const NAME: &'static str = "softplus";
    const COMPLEX: [bool; 1] = [false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [plain_softplus::<B>(x)]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x]: [&FlexTensor; 1], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 1]> {
        let x = numbers(x)?;
        // One pass instead of the twenty of a polynomial by whole tensors. The exponential of a NaN is one.
        let softplus = |&x: &f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
        Some([tensor(slice(&x).iter().map(softplus).collect(), x.shape())])
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        Some(SoftplusVjp.into())
    }
}

/// The gradient of `x`, from it and that of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SoftplusVjp;

impl Operation<2, 0, 1> for SoftplusVjp {
    const NAME: &'static str = "softplus_vjp";
    const COMPLEX: [bool; 2] = [false; 2];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [x, grad]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [B::float_mul(grad, plain_logistic::<B>(x))]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x, grad]: [&FlexTensor; 2], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 1]> {
        Some([Flex::float_mul(grad.clone(), Flex::sigmoid(x.clone()))])
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        None
    }
}

/// `max(x, 0)²`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SquaredRelu;

impl Operation<1, 0, 1> for SquaredRelu {
    const NAME: &'static str = "squared_relu";
    const COMPLEX: [bool; 1] = [false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let above = keeping_nan::<B>(B::float_clamp_min(x.clone(), 0.0.into()), x);
        [B::float_mul(above.clone(), above)]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x]: [&FlexTensor; 1], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 1]> {
        let x = numbers(x)?;
        let mut y = vec![0.0; slice(&x).len()];
        let parts = y.par_chunks_mut(TASK).zip(slice(&x).par_chunks(TASK));
        parts.for_each(|(y, x)| squared_relu_row(x, y));
        Some([tensor(y, x.shape())])
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        Some(SquaredReluVjp.into())
    }
}

/// The gradient of `x`, from it and that of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SquaredReluVjp;

impl Operation<2, 0, 1> for SquaredReluVjp {
    const NAME: &'static str = "squared_relu_vjp";
    const COMPLEX: [bool; 2] = [false; 2];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [x, grad]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let above = keeping_nan::<B>(B::float_clamp_min(x.clone(), 0.0.into()), x);
        [B::float_mul(B::float_mul_scalar(above, 2.0.into()), grad)]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x, grad]: [&FlexTensor; 2], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 1]> {
        let (x, grad) = (numbers(x)?, numbers(grad)?);
        let mut by_x = vec![0.0; slice(&x).len()];
        let read = slice(&x).par_chunks(TASK).zip(slice(&grad).par_chunks(TASK));
        let parts = by_x.par_chunks_mut(TASK).zip(read);
        parts.for_each(|(by_x, (x, grad))| squared_relu_row_vjp(x, grad, by_x));
        Some([tensor(by_x, x.shape())])
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        None
    }
}

fn is_nan<B: Backend>(x: FloatTensor<B>) -> BoolTensor<B> {
    let settings = get_or_init_device_settings::<B>(&x.device());
    B::float_is_nan(x, settings.bool_dtype)
}

/// `y`, and a NaN where `x` is one.
fn keeping_nan<B: Backend>(y: FloatTensor<B>, x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mask_where(y, is_nan::<B>(x.clone()), x)
}

/// `e^(−|x|)`, from 0 to 1.
fn decay<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_exp(B::float_neg(B::float_abs(x)))
}

/// With `e = e^(−|x|)`: `1/(1 + e)` above zero, and `e/(1 + e)` below.
fn plain_logistic<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let settings = get_or_init_device_settings::<B>(&x.device());
    let e = decay::<B>(x.clone());
    let above = B::float_recip(B::float_add_scalar(e.clone(), 1.0.into()));
    let below = B::float_mul(e, above.clone());
    let negative = B::float_lower_elem(x.clone(), 0.0.into(), settings.bool_dtype);
    keeping_nan::<B>(B::float_mask_where(above, negative, below), x)
}

/// `max(x, 0) + ln(1 + e)` with `e = e^(−|x|)`. The logarithm is `2 artanh s = 2 (s + s³/3 + s⁵/5 + …)` of
/// `s = e/(2 + e)`, at most 1/3: what is left out behind `s¹⁵` is below 2e-9 of it.
fn plain_softplus<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let e = decay::<B>(x.clone());
    let s = B::float_div(e.clone(), B::float_add_scalar(e, 2.0.into()));
    let square = B::float_mul(s.clone(), s.clone());
    let mut series = B::float_mul_scalar(square.clone(), (2.0 / 15.0).into());
    for odd in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        series = B::float_add_scalar(series, (2.0 / odd).into());
        series = B::float_mul(series, square.clone());
    }
    let logarithm = B::float_mul(B::float_add_scalar(series, 2.0.into()), s);
    keeping_nan::<B>(B::float_add(B::float_clamp_min(x.clone(), 0.0.into()), logarithm), x)
}

fn elementwise<const D: usize>(
    operation: impl Operation<1, 0, 1> + Into<Op>,
    x: Tensor<D>,
) -> Tensor<D> {
    let [y] = run(operation, [x.into_dispatch()], []).expect("it has a body for all operands");
    Tensor::from_dispatch(y)
}

/// `1/(1 + e⁻ˣ)`, differentiable; a NaN stays one, in the gradient too.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::logistic;
///
/// let x = Tensor::<1>::from_data([0.0, -200.0, 200.0], &Device::flex());
/// logistic(x).into_data().assert_approx_eq::<f32>(&[0.5, 0.0, 1.0].into(), Default::default());
/// ```
pub fn logistic<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    elementwise(Logistic, x)
}

/// `ln(1 + eˣ)`, differentiable; a NaN stays one, in the gradient too.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::softplus;
///
/// let x = Tensor::<1>::from_data([-200.0, 0.0, 200.0], &Device::flex());
/// let expected = [0.0, std::f32::consts::LN_2, 200.0];
/// softplus(x).into_data().assert_approx_eq::<f32>(&expected.into(), Default::default());
/// ```
pub fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    elementwise(Softplus, x)
}

/// `max(x, 0)²`, differentiable (So et al., *Primer*, 2021, section 3); a NaN stays one.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::squared_relu;
///
/// let x = Tensor::<1>::from_data([-2.0, 0.0, 3.0], &Device::flex());
/// squared_relu(x).into_data().assert_approx_eq::<f32>(&[0.0, 0.0, 9.0].into(), Default::default());
/// ```
pub fn squared_relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    elementwise(SquaredRelu, x)
}

/// `x σ(x)`, differentiable.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * logistic(x)
}

/// `eˣ`, differentiable; a NaN stays one.
pub fn exponential<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().exp().mask_where(x.clone().is_nan(), x)
}
