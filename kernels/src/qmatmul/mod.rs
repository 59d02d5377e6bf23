//! Products of activations with a quantised weight.
//!
//! `y[m, n] = Σ_k x[m, k] W[n, k]` with `W[n, k] = s (q[n, k] − z)`: whole numbers `q` of 4 or 8 bits, and a scale
//! `s` and a zero point `z` for every group of neighbours along `k`. Then, of what is given,
//! `residual + silu(gate)·(y + bias)`, `silu(g) = g/(1 + e^{−g})`.
//!
//! # Arguments
//! `x`: `[…, k]`, `f16`, `bf16` or `f32`, with rows one step apart. The weight: words, scales and zero points in the
//! layout of [`wavecube_core::quant`]; scales in `bf16` are read as bits, so that a device need not have it. The
//! result, the gate and the residual: `[…, n]` of the type of `x`, contiguous; the bias: `[n]`.
//!
//! # Supported, rejected
//! Every `m`, `n` and `k` that 32-bit indices and the device's buffers hold: the last block of a row is filled up, and
//! rows of `x` that are not whole blocks, or not in order, are copied into such rows first. Rejected: `f64`, a type
//! that the device has not, a weight of no outputs or inputs, and rows that do not lie one step apart.
//!
//! # Work
//! - `gemv`: a unit makes up to 8 × 4 results, an emulated one 8 × 8. It reads 16 bytes of each row of the weight at
//!   a time, uses them for every row of `x`, and reads `x` once for all its columns. On a GPU 32 units share a sum, so
//!   that neighbours read neighbouring words, and one of them adds what they have, in order. Units of a software driver
//!   share nothing: they read the same `x` at the same time.
//! - `tiled`: 32² or 64² results a cube, 4 × 4 a unit; a block of every row, dequantised, in 9 or 18 KiB of shared
//!   memory.
//! - `matrix`, for `f16` and `bf16` on a device with matrix units: 16, 32 or 64 rows by 128 columns a cube of four planes,
//!   each with up to eight fragments of 16² sums in its registers; two blocks of every row, weights dequantised to the type
//!   of the activations, to two numbers each of `bf16`, in 35 or 55 KiB of shared memory at most, or for fewer planes. Weights of a column are
//!   divided by the power of two below its largest scale, and its sums multiplied by it: no scale overflows `f16`.
//!   Cubecl 0.11.3 has matrix units in CUDA and, by its feature `vulkan`, in SPIR-V; where there are none the same kernel
//!   makes its fragments with ordinary multiplications, for tests.
//! - `transposed`, for the gradient by `x`: a unit makes 16 neighbours of `k` for up to 4 rows, down the rows of `W`.
//! - `naive`: one unit a result.
//!
//! Where there are fewer units than the device takes, sums are cut into parts, which a second launch adds in order.
//! The same input on the same device gives the same bits.
//!
//! Kernels bind the weight's words, scales and zero points, the activations, one or two buffers of them, the result, and
//! what its epilogue has: nine at most. Where the device lets them bind fewer, as WebGPU's seven beside the scalars,
//! the epilogue is a launch of its own, and the plan says so.
//!
//! In whole numbers every row of `x` is quantised first, to `a = round(x/t)`, `t = max|x|/127`. Sums over a block of
//! 32 are exact in floats too, `|Σ a (q − z)| ≤ 32·127·255 < 2²⁴`, and made of floats where units are cores or emulated,
//! which multiply those more quickly. On a GPU four products are added at a time by cubecl's `dp4a`: of 4 bits,
//! `Σ a q − z Σ a`; of 8, whose bytes have signs, `Σ a (q − 128) − (z − 128) Σ a`. Cubecl 0.11.3 has the instruction for
//! it in CUDA C++ (its feature `cuda-cpp`; the default, LLVM, has not) and in SPIR-V (`vulkan`), and writes it out
//! elsewhere, in some 40 operations of which most are shared between the rows and columns of a unit. It tells nobody
//! which of these it does, so every GPU takes this way, and processors and emulated devices that of one code at a time.
//!
//! # Not done
//! - Dequantising once and then multiplying in floats. On llvmpipe that is slower than `gemv` (1024² in 4 bits, by
//!   turns with the quickest of three kernels of cubek-matmul 0.3.1 in `f32`, two runs: 256 rows take 1.5 and 1.7
//!   times as long, 768 1.6 and 1.5, 2048 0.9 and 1.1). On a GPU with matrix units it should be the better one for many rows, which has not been
//!   measured; cubek-matmul, 37 000 lines and 74 000 with what it needs, 131 MB of library in a dev build, is left to
//!   who needs it: [`dequantize_launch`] makes its operand.
//! - Matrix units for `f32`: theirs round operands to 10 bits. Products of `f32` are made by ordinary multipliers, `tiled`.
//! - Matrix units of devices whose planes differ in length, and of whole numbers.
//!
//! A complex weight is two real ones with scales of their own. Its product takes rows apart into real and imaginary
//! ones, multiplies all of them by either part of the weight, and adds what belongs together.
//!
//! # Flop and bytes
//! `2 m n k`, and at least the weight once, `n k bits/8` with `n k/group` scales, `m k` activations, `m n` results.
//!
//! # Error
//! Products and sums are in `f32`: against the same sum in `f64`, `c ε √k` relative to the size of its terms. Matrix units
//! take weights as `f16` has them, rounded by `2⁻¹¹` of each at most, or as the sum of two numbers of `bf16`, by `2⁻¹⁶`.
//! Whole numbers round activations by up to half of `t`. That holds for activations and scales of any size, as long as
//! a row's sums, products of the two, and the results are normal numbers.
//!
//! # What is no number
//!
//! | in | NaN | ∞, −∞ |
//! |---|---|---|
//! | `x`, and `g` of the gradient | NaN in all of its row's results | not finite in all of its row's; NaN in whole numbers |
//! | a weight, on its way to codes | an error, on the host and on the device | an error |
//! | a scale, from a file or packed | an error | an error |
//! | a scale, in memory that nobody checked | NaN in its column of results | not finite there |
//! | bias | NaN in its column | ∞, −∞ there, with a gate NaN where that is 0 |
//! | gate | NaN in its result | ∞: infinite or NaN; −∞: shut, the residual alone |
//! | residual | NaN in its result | ∞, −∞ there |
//!
//! All other results have the bits that they have without it.

mod complex;
mod configs;
mod gradient;
mod kernel;
mod launch;
mod matrix;
mod plan;
mod quantize;
mod tiled;
mod weight;

pub use complex::{JoinBindings, join_launch, split_launch};
pub use configs::{Algorithm, GemvConfig, GradientConfig, MatrixConfig, TileConfig};
pub use launch::{EpilogueBindings, QmatmulBindings, WeightBindings, qmatmul_launch};
pub use plan::{Epilogue, Number, QmatmulPlan, QmatmulProblem, Strategy, Task};
pub use quantize::{ConversionPlan, dequantize_launch, quantize_launch};
