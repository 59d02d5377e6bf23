//! Linear canonical transforms: products of chirps, DFTs, permutations and dense matrices along one axis
//! of a strided complex tensor.
//!
//! `(T f)(u) = (ib)^(−1/2) ∫ exp(iπ(a x² − 2xu + d u²)/b) f(x) dx`; what each discretisation keeps of it is
//! said in [`wavecube_core::lct`], which builds every table in `f64`. Here they become launches:
//!
//! - A [`Program`] is a product of [`Factor`]s as trips through memory. Neighbouring tables are multiplied
//!   into one, the centred DFT is the residues' DFT between linear phases that join the tables beside them,
//!   `F^∓1 · diag · F^±1` becomes the round trip of one [`crate::fft::Chain`], reversals become the order in
//!   which points are read. `L(r₂) U(r₁) L(r₀)` is one trip; so is a causal or chirp-z convolution.
//! - [`DensePlan`]: `diag · A · diag` with a real or complex matrix, its transpose or adjoint: the
//!   eigenbasis of the DFT, resampling, complex `M`.
//! - [`MomentPlan`]: `Σ Re(w_j g_j* y_j)`, what the gradient by a chirp's rate or an angle comes to, and
//!   [`moments_launch`]: a Jacobian times a vector of such sums.
//! - [`CombinePlan`]: a weighted sum of `x`, `Fx` and their mirror images. [`CorrelationPlan`]: the spectrum
//!   of a shared filter's gradient.
//!
//! **Arguments.** Complex elements, real part first, any strides and offset; input and output apart, the
//! output injective. Storage `f16`, `bf16`, `f32`, `f64`; tables and sums in the compute type (`f32` for 16 bits).
//! Temporaries between stages are contiguous, in the storage type.
//!
//! **Sign, normalisation.** As in the formula; DFTs are unitary. Phases come from tables: no kernel calls a
//! sine or cosine.
//!
//! **Supported.** Any length from 1 that two passes reach: with a prime factor above 13 a round trip is two
//! chained Bluestein convolutions through the work space. **Rejected**, before anything is enqueued: an empty
//! axis, other shapes, outputs with shared places, types the device lacks, buffers or grids beyond it.
//!
//! **Work mapping.** Chains as in [`crate::fft`]. Pointwise kernels: one unit a point, 256 a cube. Dense:
//! cubes of `t × t` units make `rt` outputs of `rt` lines, a unit `r × r` of them in registers: `t` = 16,
//! or 8, or one unit an output where the device has too few units or is serial; `r` = 4 (2 in f64), or less
//! where that leaves few cubes; shared memory `(3 or 4)·rt(t + 1)` elements. Sums: at most
//! 64 cubes, a tree in each, then one unit adds the partial sums in order: the same bits every time.
//!
//! **Bytes and flop** (`f32`, a point): a chain in one pass 16, a pointwise factor 16, weighted 16 + 24; a
//! dense real matrix `4N²` flop a line, a complex one `8N²`.
//!
//! **Error** (relative L2, `f32`): chains as the FFT, `O(ε log N)`; dense 2e-7 at `N` = 255 (two products,
//! lavapipe), sums run over blocks of a tile; a gradient's sums `O(ε √terms)`.
//!
//! Reference: Healy, Kutay, Ozaktas, Sheridan (eds.), *Linear Canonical Transforms*, Springer (2016);
//! Koç, Ozaktas, Candan, Kutay, IEEE Trans. Signal Process. 56 (2008).

mod configs;
mod kernel;
mod launch;
mod plan;
mod program;

pub use crate::lines::LinesOf;
pub use configs::{DenseConfig, MomentConfig, PointConfig};
pub use launch::{
    DenseBindings, LctBindings, Moment, Resident, combine_launch, correlate_launch, dense_launch,
    lct_launch, moments_launch, pointwise_launch, upload_complex, upload_real,
};
pub use plan::{
    CombinePlan, CorrelationPlan, DensePlan, DenseProblem, LctPlan, LctProblem, MomentPlan,
    PointPlan, Step,
};
pub use program::{
    Factor, Program, Stage, Transform, adjoint, centred_dft, scaled_factors, shear_factors,
    shear_spectrum_factors, weil_factors,
};
