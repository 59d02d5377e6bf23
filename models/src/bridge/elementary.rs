//! The logistic function and the softplus, right to a few roundings on every device.
//!
//! What drivers have is not: through CubeCL `log1p(x)` is `ln(1 + x)`, 0 at 1e-8; llvmpipe's logarithm is off by 7e-4 of
//! itself near 1; SwiftShader's exponential of a NaN is infinite, and a NaN is lost where numbers are clamped or
//! compared. Here both functions stand on the exponential of what is not above zero, on divisions and on a polynomial,
//! and hand a NaN on.

use burn::{
    backend::{
        Backend, Dispatch, TensorMetadata, backend_extension, get_or_init_device_settings,
        tensor::{BoolTensor, FloatTensor},
    },
    tensor::Tensor,
};

/// Elementary functions that a backend can run.
///
/// The bodies given here are those for drivers. A backend whose own functions are right overrides them.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu")),
    Flex,
    Autodiff,
    Fusion: cfg(feature = "fusion")
)]
pub trait ElementaryBackend: Backend {
    /// `1/(1 + e⁻ˣ)`.
    #[cfg_attr(feature = "fusion", fusion(dtype = x, shape = x))]
    fn logistic(x: FloatTensor<Self>) -> FloatTensor<Self> {
        plain_logistic::<Self>(x)
    }

    /// `ln(1 + eˣ)`.
    #[cfg_attr(feature = "fusion", fusion(dtype = x, shape = x))]
    fn softplus(x: FloatTensor<Self>) -> FloatTensor<Self> {
        plain_softplus::<Self>(x)
    }
}

fn is_nan<B: Backend>(x: FloatTensor<B>) -> BoolTensor<B> {
    let settings = get_or_init_device_settings::<B>(&x.device());
    B::float_is_nan(x, settings.bool_dtype)
}

/// `y`, and a NaN where `x` is one.
pub(super) fn keeping_nan<B: Backend>(y: FloatTensor<B>, x: FloatTensor<B>) -> FloatTensor<B> {
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
pub(super) fn plain_softplus<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
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

/// `1/(1 + e⁻ˣ)`, differentiable; a NaN stays one, in the gradient too.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_models::bridge::logistic;
///
/// let x = Tensor::<1>::from_data([0.0, -200.0, 200.0], &Device::flex());
/// logistic(x).into_data().assert_approx_eq::<f32>(&[0.5, 0.0, 1.0].into(), Default::default());
/// ```
pub fn logistic<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as ElementaryBackend>::logistic(x.into_dispatch()))
}

/// `ln(1 + eˣ)`, differentiable; a NaN stays one, in the gradient too.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_models::bridge::softplus;
///
/// let x = Tensor::<1>::from_data([-200.0, 0.0, 200.0], &Device::flex());
/// let expected = [0.0, std::f32::consts::LN_2, 200.0];
/// softplus(x).into_data().assert_approx_eq::<f32>(&expected.into(), Default::default());
/// ```
pub fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as ElementaryBackend>::softplus(x.into_dispatch()))
}

/// `x σ(x)`, differentiable.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * logistic(x)
}

/// `eˣ`, differentiable; a NaN stays one.
pub fn exponential<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().exp().mask_where(x.clone().is_nan(), x)
}
