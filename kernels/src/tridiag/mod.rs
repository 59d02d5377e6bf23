//! Tridiagonal operators: the diagonal of the resolvent, and its exact gradient.
//!
//! # Formula
//! `T = H − z`, with diagonal `d_k = a_k − z`, upper elements `b_k` and lower elements `c_k`, which enter
//! only as `p_k = b_k c_k`. Wanted is `G_k = (T⁻¹)_kk` for every `k`. With
//! `u_k = d_k − L_k`, `L_{k+1} = p_k/u_k`, `L_0 = 0` and `v_k = d_k − R_k`, `R_{k−1} = p_{k−1}/v_k`, `R_{n−1} = 0`,
//! it is `G_k = 1/(d_k − L_k − R_k)`. Leading and trailing minors, the textbook's form, overflow `f32` at
//! `n ≈ 120` and are nowhere here.
//!
//! The gradient, from `s_k = conj(g_k) G_k²`: `X_{k+1} = p_k (s_k + X_k)/v_{k+1}²` goes right,
//! `Y_{k−1} = s_k + p_k Y_k/u_k²` goes left, and `∂d_k = −(X_k + Y_{k−1})`,
//! `∂p_k = (s_k + X_k)/v_{k+1} + Y_k/u_k`, `∂b = c ∂p`, `∂c = b ∂p`, `∂z = −Σ ∂d`; conjugated for a complex
//! operand, the real part for a real one: `∂ℓ/∂Re + i ∂ℓ/∂Im`. The shortcut `−g G²` is not the gradient.
//!
//! # Operands
//! `a`: `[…, n]`, `b` and `c`, or `p`: `[…, n − 1]`, each real or complex (two adjacent reals, real part
//! first); `z`: `[…]`, complex; `G`: `[…, n]`, complex. Any strides; batch axes of length 1 are shared by
//! the sequences. One type of number, `f32` or `f64`. Nothing is regularised and nothing is clamped: for
//! `a` real, `p ≥ 0` and `Im z = η > 0` all pivots have at least the size `η`. Elsewhere one may vanish,
//! which is reported as data, the first place in every tile: where `d − L`, `d − R` or `d − L − R` is not
//! larger than `ε` times its terms, or an operand is not finite. Results of that sequence are then what the
//! divisions gave.
//!
//! # Supported
//! Every length from 1 below 2³², empty batches, sequences that share operands. Elements between
//! `2^±60` in size: renormalisation takes two steps at a time.
//!
//! # Rejected
//! Sequences of no elements, shapes that do not belong together, outputs that write one place twice,
//! `f16`, types that the device lacks, buffers and grids beyond it: all in [`TridiagPlan::new`].
//!
//! # Work mapping
//! A unit holds 8 elements in registers and makes them one Möbius map, four complex numbers, divided
//! by a power of two after every other step: exact, since only ratios matter. The same four numbers
//! serve `L` and `R`. A tree over the units, 64 (in `f64`: 128) bytes of shared memory a unit, joins them
//! on the way up and hands every unit what enters it from either side on the way down; then the ratio
//! recursions run inside the chunks. Up to 512 units share a sequence, 4096 elements in one launch;
//! several short ones share a cube of 64 units; longer ones take tiles of 2048, a launch that reduces
//! them, a scan over the tiles, and a launch that finishes. The gradient's affine recursions go through
//! the same tree: one launch, or five. On processor cores, and as [`Strategy::Serial`], a unit carries a
//! sequence, 16384 elements a launch.
//!
//! # Cost
//! About 100 flop an element, 160 for the gradient. Bytes an element in `f32`, real operands: 20, or 12
//! where sequences share `p`; for the gradient 28 and 16. Long sequences are read twice (the gradient:
//! three times).
//!
//! # Error
//! Against the dense inverse in `f64`: see `tests/tests/tridiag.rs`, which holds the bounds.
//!
//! # References
//! Usmani, *Linear Algebra Appl.* 212 (1994), eq. (2) for the minors; Meurant, *SIAM J. Matrix Anal.* 13
//! (1992), section 2 for the ratios; Blelloch, *Prefix sums and their applications* (1990) for the tree.

mod gradient;
mod kernel;
mod launch;
mod plan;
mod scan;

pub use launch::{
    TridiagBindings, TridiagGradients, sum_launch, tridiag_launch, tridiag_vjp_launch,
};
pub use plan::{
    Algorithm, OffDiagonals, Strategy, SumPlan, Task, TileConfig, TridiagPlan, TridiagProblem,
};
