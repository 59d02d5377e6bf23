//! The Burn bridge: wavecube's operations as differentiable Burn operations.
//!
//! One trait a family, generated onto Burn's dispatch by `#[backend_extension]`:
//!
//! | trait | functions |
//! |---|---|
//! | [`AttentionBackend`] | [`attention()`], causal |
//! | [`ElementaryBackend`] | [`logistic`], [`softplus`] |
//! | [`FftBackend`] | [`fft()`], [`ifft`], [`rfft`], [`irfft`] |
//! | [`LctBackend`] | [`lct()`] with an [`LctPlan`]: shear, causal and fractional transforms of learned parameters |
//! | [`ConvolutionBackend`] | [`causal_convolution`] of lines with a filter a channel |
//! | [`LossBackend`] | [`cross_entropy`] |
//! | [`QmatmulBackend`] | [`qmatmul()`] with a weight of 4 or 8 bits, a [`PackedTensor`] |
//! | [`TridiagBackend`] | [`resolvent`] of tridiagonal operators, of all elements or causal ([`Sides`]) |
//!
//! Keys and values of texts are kept by a [`Cache`]: it lasts from one pass of a model to the next, so it is no
//! operation, and where it is in pages it takes tensors of Burn to the kernels by itself.
//!
//! A complex tensor is a real tensor whose last axis is the pair (re, im): `[.., n, 2]` is `n`
//! complex numbers, and every transform runs along `n`, the last axis but one.
//!
//! Who runs what:
//!
//! - **flex** (Burn's own CPU backend) runs the plain bodies of the traits: one matrix product with a
//!   matrix built in `f64` on the host ([`matrix`]), the recursions of a resolvent and the transforms of a
//!   convolution in `f64`. They are the oracle of the parity tests. Attention and the loss have bodies of their own
//!   there, whose passes between the products take one trip through memory on all threads.
//! - **Every `CubeCL` backend** (wgpu, CUDA, CPU) runs what `cube` says: the kernels of the
//!   `wavecube` crate where there are any, the plain bodies otherwise.
//! - **Autodiff** registers the vector-Jacobian products of the traits (`autodiff`), so the
//!   backward pass of a kernel is a kernel too.
//! - **Fusion** (off by default) defers each call as one opaque operation.
//!
//! Parameters that are learned reach the host as `f64` once per call, where tables and matrices
//! are built from them; their gradients are exact, on every backend.

mod attention;
mod autodiff;
mod cache;
mod convolution;
#[cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu"))]
mod cube;
mod elementary;
mod fft;
mod flex;
mod flex_attention;
mod host;
mod lct;
mod loss;
#[cfg(all(any(feature = "wgpu", feature = "cuda", feature = "cpu"), not(feature = "fusion")))]
mod pages;
#[cfg(not(all(
    any(feature = "wgpu", feature = "cuda", feature = "cpu"),
    not(feature = "fusion")
)))]
#[path = "no_pages.rs"]
mod pages;
mod plain;
mod qmatmul;
mod rows;
mod tridiag;

pub mod matrix;

pub use attention::{AttentionBackend, Bias, attention};
pub(crate) use cache::indices;
pub use cache::{Cache, CacheConfig, CacheType};
pub use convolution::{ConvolutionBackend, causal_convolution};
pub use elementary::{ElementaryBackend, exponential, logistic, silu, softplus};
pub use fft::{FftBackend, fft, ifft, irfft, rfft};
pub use lct::{LctBackend, LctPlan, Parameters, lct, parameters_to_host};
pub use loss::{LossBackend, cross_entropy};
pub use qmatmul::{PackedFormat, PackedTensor, QmatmulBackend, multiplies_packed, qmatmul};
pub use tridiag::{Sides, TridiagBackend, resolvent};
pub use wavecube_core::fft::Normalization;
