//! wavecube's operations as differentiable operations of [Burn](burn), on every backend.
//!
//! | functions | what they are |
//! |---|---|
//! | [`fft()`], [`ifft`], [`fftn`], [`rfft`], [`irfft`] | Fourier transforms |
//! | [`lct()`], [`lct2`] and [`lct_fixed`] with an [`LctPlan`] | transforms of learned parameters, below |
//! | [`causal_convolution`], [`spectral_filter()`] | lines with a filter a channel, by its taps or by its spectrum |
//! | [`complex_linear`], [`phase_mix`], [`complex_rms_norm`] | complex channels mixed, and their norm |
//! | [`mod_relu`], [`cardioid`], [`phase_rotate`], [`sigmoid_gate`], [`to_polar`], [`from_polar`] | maps of complex elements |
//! | [`resolvent`], [`resolvent_kept`] | resolvents of tridiagonal operators, of all elements or causal ([`Sides`]), or of a part of them |
//! | [`tridiagonal_solve`], [`log_determinant`] | tridiagonal systems |
//! | [`attention()`] with [`Attention`], [`Cache`] | attention of any mask, and keys and values of texts that are kept |
//! | [`rotary()`] with [`RotaryTables`] | rotary positions |
//! | [`qmatmul()`], [`qmatmul_complex`] | products with a weight of 4 or 8 bits, a [`PackedTensor`] |
//! | [`linear`], [`rms_norm`], [`squared_relu`], [`adam_w`] | what a network is made of and trained by, in few passes where the host is the device |
//! | [`cross_entropy`], [`logistic`], [`softplus`] | functions that drivers get wrong |
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use wavecube_burn::{Normalization, fft};
//!
//! let x = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 0.0]], &Device::flex());
//! let y = fft(x, Normalization::Backward)?.into_data();
//! y.assert_approx_eq::<f32>(&[[1.0, 0.0], [1.0, 0.0]].into(), Default::default());
//! # Ok::<(), wavecube_core::Error>(())
//! ```
//!
//! | plans | of the linear maps of a line that have few parameters |
//! |---|---|
//! | [`shear`](LctPlan::shear), [`shear_of`](LctPlan::shear_of) | linear canonical transforms as three shears: of rates, of a Lie form, of a matrix |
//! | [`chirp`](LctPlan::chirp), [`fresnel`](LctPlan::fresnel), [`scaling`](LctPlan::scaling), [`fourier`](LctPlan::fourier) | one factor of them |
//! | [`fractional`](LctPlan::fractional), [`framed`](LctPlan::framed), [`framed_samples`](LctPlan::framed_samples), [`framed_resampled`](LctPlan::framed_resampled) | exact groups, in the eigenbasis of the DFT |
//! | [`weighted`](LctPlan::weighted), [`weil`](LctPlan::weil) | exact groups made of DFTs: powers, and integer matrices |
//! | [`scaled`](LctPlan::scaled), [`czt_of`](LctPlan::czt_of) | onto other grids |
//! | [`causal`](LctPlan::causal) | without sight of what comes after |
//! | [`complex`](LctPlan::complex) | complex matrices, the Laplace transform among them |
//! | [`czt`](LctPlan::czt), [`czt_spiral`](LctPlan::czt_spiral) | chirp-z transforms: spectra at any frequencies |
//!
//! A complex tensor is a real tensor whose last axis is the pair (re, im): `[.., n, 2]` is `n`
//! complex numbers, and every transform runs along `n`, the last axis but one.
//!
//! # Who runs what
//! - **Every `CubeCL` backend** (features `wgpu`, `cuda`, `cpu`) runs the kernels of the `wavecube` crate. Where these
//!   do not take the operands (an element type or a size that the device lacks), a plain body runs instead, which is
//!   slower: [`counts()`] says how often, and why. Any other error of a kernel is the error of the call, or a panic in
//!   a backward pass, which has no errors.
//! - **flex** (Burn's own CPU backend, feature `flex`) runs the plain bodies: one matrix product with a matrix built in
//!   `f64` on the host ([`matrix`]), the recursions of a resolvent and the transforms of a convolution in `f64`. They
//!   are the oracle of the parity tests. Attention and the loss have bodies of their own there, whose passes between
//!   the products take one trip through memory on all threads.
//! - **Autodiff** makes every operation one node of its graph, so the backward pass of a kernel is a kernel too.
//! - **Fusion** (feature `fusion`) defers each call as one opaque operation.
//!
//! Parameters that are learned reach the host as `f64` once per call, where tables and matrices
//! are built from them; their gradients are exact, on every backend.
//!
//! # To add an operation
//! A type with its options that implements `Operation`: shapes, kernel, plain body, and the operation that is its
//! gradient; a line in the table of `operation.rs`; a function that checks arguments and calls `run`. Routing, autodiff
//! and fusion are written once, for the table.

#[cfg(not(any(feature = "flex", feature = "wgpu", feature = "cuda", feature = "cpu")))]
compile_error!(
    "wavecube-burn runs on a backend: choose a feature, `flex`, `wgpu`, `cuda` or `cpu`"
);

mod adam;
mod attention;
mod autodiff;
mod cache;
mod convolution;
mod counts;
#[cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu"))]
mod cube;
mod dense;
mod elementary;
mod fft;
#[cfg(feature = "flex")]
mod flex;
mod host;
#[cfg(feature = "flex")]
mod host_product;
mod lct;
mod loss;
mod maps;
mod mixing;
mod norm;
mod operation;
#[cfg(all(any(feature = "wgpu", feature = "cuda", feature = "cpu"), not(feature = "fusion")))]
mod pages;
#[cfg(not(all(
    any(feature = "wgpu", feature = "cuda", feature = "cpu"),
    not(feature = "fusion")
)))]
#[path = "no_pages.rs"]
mod pages;
mod product;
mod qmatmul;
mod rotary;
#[cfg(feature = "flex")]
mod rows;
mod spectral_filter;
mod systems;
mod tensors;
mod tridiag;

pub mod matrix;

pub use adam::{AdamStep, adam_w};
pub use attention::{Attention, alibi_slopes, attention};
pub use cache::{Cache, CacheConfig, CacheType, UnknownCacheType, indices};
pub use convolution::causal_convolution;
pub use counts::{Count, counts};
pub use elementary::{exponential, logistic, silu, softplus, squared_relu};
pub use fft::{fft, fftn, ifft, irfft, rfft};
pub use lct::{LctPlan, Parameters, lct, lct_fixed, lct2, parameters_to_host};
pub use loss::cross_entropy;
pub use maps::{cardioid, from_polar, mod_relu, phase_rotate, sigmoid_gate, to_polar};
pub use mixing::{complex_linear, complex_rms_norm, phase_mix};
pub use norm::rms_norm;
pub use product::linear;
pub use qmatmul::{PackedFormat, PackedTensor, multiplies_packed, qmatmul, qmatmul_complex};
pub use rotary::{ROTARY_BASE, RotaryTables, rotary, rotary_angle};
pub use spectral_filter::spectral_filter;
pub use systems::{log_determinant, tridiagonal_solve};
pub use tridiag::{Sides, resolvent, resolvent_kept};
pub use wavecube_core::{
    fft::{Direction, Normalization},
    lct::{Abcd, ComplexAbcd, Frame, Lie, OutputGrid, WeilMatrix},
};
