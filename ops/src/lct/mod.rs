//! Linear canonical transforms of device tensors, with their gradients.
//!
//! Complex tensors of any strides, along any axis, which counts from the end if negative. Gradients of
//! complex tensors are `∂ℓ/∂Re + i ∂ℓ/∂Im`, so the gradient of a linear map is its adjoint. Gradients of
//! parameters are real tensors in the compute type (`f32` for 16 bits), summed in a fixed order.
//!
//! | NaN or an infinity in | gives |
//! |---|---|
//! | a line of the signal | NaN wherever it has an effect, which is the whole line but for chirps, permutations and other matrices with zeros; in [`lct_causal`] what comes before it too, since one transform makes all outputs. Other lines: the bits they had |
//! | the signal, for a gradient by parameters | NaN: these are sums over all lines |
//! | a parameter | an error before anything is enqueued |
//!
//! Signals of any normal size have the relative error of any other: `2^±100` in `f32` and beyond, `2^±900` in `f64`.

mod algebraic;
mod cache;
mod framed;
mod grids;
mod run;
mod shear;

pub use algebraic::{
    frft_weighted, frft_weighted_angle_vjp, frft_weighted_vjp, laplace, laplace_vjp, lct_complex,
    lct_complex_param_vjp, lct_complex_vjp, lct_weil, lct_weil_vjp,
};
pub(crate) use cache::Kept;
pub use framed::{
    FramedGradients, FramedSignal, frft, frft_angle_vjp, frft_into, frft_vjp, lct_framed,
    lct_framed_vjp,
};
pub use grids::{
    czt, czt_param_vjp, czt_spiral, czt_spiral_param_vjp, czt_spiral_vjp, czt_vjp, lct_causal,
    lct_causal_jacobian_vjp, lct_causal_param_vjp, lct_causal_vjp, lct_czt, lct_czt_param_vjp,
    lct_czt_vjp, lct_scaled, lct_scaled_param_vjp, lct_scaled_vjp,
};
pub(crate) use run::length_of;
pub use shear::{
    chirp_multiply, chirp_multiply_rate_vjp, chirp_multiply_vjp, fourier, fourier_vjp, fresnel,
    fresnel_param_vjp, fresnel_vjp, lct_shear, lct_shear_factored, lct_shear_factored_param_vjp,
    lct_shear_factored_vjp, lct_shear_into, lct_shear_param_vjp, lct_shear_passes,
    lct_shear_passes_vjp, lct_shear_rate_vjp, lct_shear_vjp, lct2, lct2_param_vjp, lct2_vjp,
    scaling, scaling_param_vjp, scaling_vjp,
};
