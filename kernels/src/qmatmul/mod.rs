//! Products of activations with a quantised weight.
//!
//! `y[m, n] = Σ_k x[m, k] W[n, k]` with `W[n, k] = s (q[n, k] − z)`: whole numbers `q` of 4 or 8 bits, and a scale
//! `s` and a zero point `z` for every group of neighbours along `k`. Then, of what is given,
//! `residual + silu(gate)·(y + bias)`, `silu(g) = g/(1 + e^{−g})`.
//!
//! # Arguments
//! `x`: `[…, k]`, `f16` or `f32`, with rows one step apart. The weight: words, scales and zero points in the layout
//! of [`wavecube_core::quant`]. The result, the gate and the residual: `[…, n]` of the type of `x`, contiguous;
//! the bias: `[n]`.
//!
//! # Supported, rejected
//! Every `m`, `n` and `k` that 32-bit indices and the device's buffers hold: the last block of a row is filled up, and
//! rows of `x` that are not whole blocks, or not in order, are copied into such rows first. Rejected: `f64`, a
//! weight of no outputs or inputs, and rows that do not lie one step apart.
//!
//! # Work
//! - `gemv`: a unit makes up to 8 × 4 results, an emulated one 8 × 8. It reads 16 bytes of each row of the weight at
//!   a time, uses them for every row of `x`, and reads `x` once for all its columns. On a GPU 32 units share a sum, so
//!   that neighbours read neighbouring words, and one of them adds what they have, in order. Units of a software driver
//!   share nothing: they read the same `x` at the same time.
//! - `tiled`: 32² or 64² results a cube, 4 × 4 a unit; a block of every row, dequantised, in 9 or 18 KiB of shared
//!   memory.
//! - `transposed`, for the gradient by `x`: a unit makes 16 neighbours of `k` for up to 4 rows, down the rows of `W`.
//! - `naive`: one unit a result.
//!
//! Where there are fewer units than the device takes, sums are cut into parts, which a second launch adds in order.
//! The same input on the same device gives the same bits.
//!
//! In whole numbers every row of `x` is quantised first, to `a = round(x/t)`, `t = max|x|/127`. Sums over a block of
//! 32 are exact, `|Σ a (q − z)| ≤ 32·127·255 < 2²⁴`, and become floats without a rounding.
//!
//! A complex weight is two real ones with scales of their own. Its product takes rows apart into real and imaginary
//! ones, multiplies all of them by either part of the weight, and adds what belongs together.
//!
//! # Flop and bytes
//! `2 m n k`, and at least the weight once, `n k bits/8` with `n k/group` scales, `m k` activations, `m n` results.
//!
//! # Error
//! Products and sums are in `f32`: against the same sum in `f64`, `c ε √k` relative to the size of its terms. Whole
//! numbers round activations by up to half of `t`.

mod complex;
mod gradient;
mod kernel;
mod launch;
mod plan;
mod quantize;
mod tiled;
mod weight;

pub use complex::{JoinBindings, join_launch, split_launch};
pub use launch::{EpilogueBindings, QmatmulBindings, WeightBindings, qmatmul_launch};
pub use plan::{
    Algorithm, GemvConfig, GradientConfig, Number, QmatmulPlan, QmatmulProblem, Strategy, Task,
    TileConfig,
};
pub use quantize::{ConversionPlan, dequantize_launch, quantize_launch};
