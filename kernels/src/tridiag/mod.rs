//! Tridiagonal operators: the diagonal of the resolvent, solutions, the determinant, and exact gradients.
//!
//! # Formula
//! `T = H − z`, with diagonal `d_k = a_k − z`, upper elements `b_k` and lower elements `c_k`, which enter all
//! but solutions only as `p_k = b_k c_k`. With
//! `u_k = d_k − L_k`, `L_{k+1} = p_k/u_k`, `L_0 = 0` and `v_k = d_k − R_k`, `R_{k−1} = p_{k−1}/v_k`, `R_{n−1} = 0`,
//!
//! - the diagonal of the inverse is `G_k = (T⁻¹)_kk = 1/(d_k − L_k − R_k)`;
//! - the solution of `T x = r` is `x_k = G_k (r_k + X_k + Y_k)`, with `X_{k+1} = −c_k (r_k + X_k)/u_k` and
//!   `Y_{k−1} = −b_{k−1} (r_k + Y_k)/v_k`;
//! - `ln |det T| = Σ ln |u_k|`, though no `u_k` is divided by: the determinant is built up from those of
//!   chunks, as a number and a power of two.
//!
//! Leading and trailing minors, the textbook's form, overflow `f32` at `n ≈ 120` and are nowhere here.
//!
//! The gradient of the diagonal, from `s_k = conj(g_k) G_k²`: `X_{k+1} = p_k (s_k + X_k)/v_{k+1}²` goes right,
//! `Y_{k−1} = s_k + p_k Y_k/u_k²` goes left, and `∂d_k = −(X_k + Y_{k−1})`,
//! `∂p_k = (s_k + X_k)/v_{k+1} + Y_k/u_k`, `∂b = c ∂p`, `∂c = b ∂p`, `∂z = −Σ ∂d`; conjugated for a complex
//! operand, the real part for a real one: `∂ℓ/∂Re + i ∂ℓ/∂Im`. The shortcut `−g G²` is not the gradient.
//! That of `g ln |det T|` is `∂d_k = g G_k` and `∂p_k = −g G_k/v_{k+1}`. That of a solution is `∂r = λ = T⁻ᴴ g`
//! and `∂T_ij = −λ_i conj(x_j)`.
//!
//! # Operands
//! `a`: `[…, n]`, `b` and `c`, or `p`: `[…, n − 1]`, each real or complex (two adjacent reals, real part
//! first); `z`: `[…]`, complex; `G`, `r`: `[…, n]`, complex; of `ln |det T|` the gradient, real: `[…]`. Any
//! strides; batch axes of length 1 are shared by the sequences. Solutions, logarithms and gradients are
//! contiguous. One type of number, `f32` or `f64`. Nothing is regularised and nothing clamped, and the recursions exchange
//! no rows: for
//! `a` real, `p ≥ 0` and `Im z = η > 0` all pivots have at least the size `η`. Elsewhere one may vanish,
//! which is reported as data, the first place of every sequence or, of a long one, of every chunk: where
//! `d − L`, `d − R` or `d − L − R` is not larger than `ε` times its terms, or an operand is not finite.
//! Results of that sequence are then what the divisions gave. Beside it the first place is kept of which the result is not
//! finite, for results beyond the largest number and right sides that are not finite. Determinants have no pivots: of a
//! singular operator the logarithm is minus infinity. Elimination with row interchanges, [`factor_launch`], solves where
//! the recursions break down.
//!
//! | NaN or an infinity in | gives, in its own sequence alone | and is reported |
//! | --- | --- | --- |
//! | `a`, `b`, `c`, `p` | NaN in every result and gradient | where it lies |
//! | `z` | the same | at the first element |
//! | `r`, or the gradient of a result | NaN, of an infinity infinities too, in the solution or the gradients that it is for | at the first element, for the solution |
//!
//! # Scales
//! Operators of every scale whose operands and results are normal numbers: elements between `2^±100` in `f32` and
//! `2^±900` in `f64`, `b` and `c` as unlike as they like, graded along the chain too. Where products are given they are to
//! be normal numbers themselves. Rows and columns may be multiplied by powers of two, which rounds nothing: exponents that
//! make all elements alike follow from an element and its neighbours (`scaling.rs`), the maps of chunks are of elements so
//! scaled, and errors are those of an operator of scale 1. Solutions of sequences beyond 2048 elements have maps in the
//! right side's own units: what neighbouring chunks multiply them by, `c_k/u_k` for element after element, is to stay
//! within range.
//!
//! # Skipped elements
//! [`Compact`] leaves out elements. A kept one keeps its `a_k` and its link to the right, `b_k` and `c_k`, which
//! then ends at the next kept one, so that symmetry and `p ≥ 0` stay. The recursions run over the kept
//! elements alone, and the diagonal is linear between them. It is that of another operator, not of the whole
//! one: the Schur complement, which has the diagonal of the whole one, needs every element.
//!
//! # The mixed mode
//! [`TridiagProblem::mixed`] scans chunks in `f16` and walks through each in `f32`, from half a chunk, 32
//! elements, before it. A step of either recursion multiplies an error by `p/u²`, in the mean at most
//! `e^(−η)` for operators of the model's size, so that little of what `f16` rounded off reaches the chunk.
//! The maps are of scaled elements, so that scales do not matter to `f16`. The gradient is that of the diagonal in `f32`.
//!
//! # Supported
//! Every length from 1 below 2³², empty batches, sequences that share operands, devices that bind 7 buffers to a kernel.
//!
//! # Rejected
//! Sequences of no elements, shapes that do not belong together, outputs that write one place twice,
//! operands in 16 bits, solutions and factors from products, a mixed mode of `f64` or without `f16`, types that the device
//! lacks, buffers and grids beyond it: all in [`TridiagPlan::new`].
//!
//! # Work mapping
//! A unit makes its chunk of a sequence one Möbius map, four complex numbers, divided by a power of two
//! on the way: exact, since only ratios matter. The same four numbers serve `L` and `R`. A scan joins
//! the chunks and hands every unit what enters its chunk from either side; then the ratio recursions
//! run inside it. Affine recursions, those of the gradient and of solutions, go the same way.
//!
//! - [`Algorithm::Chunked`], up to 4096 elements, for gradients and solutions 2048 (`f64`: 2048, or 1024 in
//!   32 KiB of shared memory, and 1024): 8 elements a unit (`f64`: 4), in registers, a tree up and down 64
//!   (`f64`: 128) bytes of shared memory a unit. One launch. Short sequences share a cube of 64 units.
//! - [`Algorithm::Streamed`], beyond, and for determinants and the mixed mode of any length: 64 elements a
//!   unit, read again in every launch, and a scan over the chunks, one cube a sequence, in a launch of its
//!   own: four launches, seven for the gradient and for solutions, two for determinants.
//!   Of determinants on processor cores or emulated units, 256 elements where there are chunks enough, and 16384 of 64
//!   sequences or more.
//! - [`Algorithm::Serial`], on processor cores, for 16 sequences or more where units are emulated, and by
//!   [`Strategy::Serial`]: a unit carries a sequence,
//!   16384 elements a launch.
//!
//! The gradient of a solution is one more solution and one launch that multiplies. Skipped elements cost two
//! launches more than the diagonal of those that are kept, and three more for gradients.
//!
//! # Cost
//! About 100 flop an element, 160 for the gradient and for solutions, 40 for determinants, and as many operations on whole
//! numbers, for exponents, as one of these recursions has flop. Bytes an element
//! in `f32`, real operands: 20, or 12
//! where sequences share `p`; for the gradient 32 and 20; for solutions 28, for determinants 12. Long sequences
//! are read three times, and their gradient goes through 32 bytes of work space an element, their solution
//! through 16.
//!
//! # Error
//! Largest error over largest value, `f32`, on the software driver against `f64`. The operators of the model
//! (`a = v − 2`, `b = c = 1`, `z = iη`): `G` 2e-7 at `η = 1`, 4e-7 from 10⁵ elements on, 5e-6 at 0.01, 3e-5 at
//! 0.001; gradients twice that of `G`. Near the spectrum draws differ: the serial recursion does what rounding the
//! operands does (at most 1.3 times that in 60 draws of 2 × 2048 elements), chunks in the mean three times as much at
//! `η = 0.01` and 12 times in the worst of 80, where a chunk's product takes what enters it nearly to nothing (`G` up to
//! 1.7e-4 at 0.01 and 3.6e-4 at 0.001). `p < 0`: 7e-7. Complex
//! operands with `Im z = 2`: 2e-7. In `f64`: 7e-16 to 4e-14. Mixed: as `f32` for the model's operators, whose
//! disorder forgets as well; for even ones, `a` constant, 1e-7 at `η = 0.3`, 2e-5 at 0.1 and 6e-4 at 0.01.
//! Solutions: 1e-7 to 4e-7, 7e-7
//! for the model's at `η = 0.1`; in `f64` 6e-16. Logarithms of determinants: half a unit in the last place of
//! the result, and 2e-7.
//!
//! # References
//! Usmani, *Linear Algebra Appl.* 212 (1994), eq. (2) for the minors; Meurant, *SIAM J. Matrix Anal.* 13
//! (1992), section 2 for the ratios; Blelloch, *Prefix sums and their applications* (1990) for the tree.

mod compact;
mod determinant;
mod factor;
mod factor_launch;
mod gradient;
mod gradient_walks;
mod kernel;
mod launch;
mod leading;
mod operands;
mod plan;
mod scaling;
mod scan;
mod solve;
mod solve_walks;

pub use compact::{Compact, CompactPlan, KeptBindings, KeptElements};
pub use determinant::determinant_launch;
pub use factor_launch::{FactorBindings, FactorPlan, factor_launch, factored_launch};
pub use launch::{TridiagBindings, TridiagGradients, tridiag_launch, tridiag_vjp_launch};
pub use leading::{LeadingPlan, leading_launch, leading_vjp_launch};
pub use plan::{Algorithm, OffDiagonals, Strategy, Task, TileConfig, TridiagPlan, TridiagProblem};
pub use solve::{TridiagSolution, solve_launch, solve_vjp_launch};
