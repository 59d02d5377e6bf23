//! Attention with tiles in shared memory, from tensors or from the pages of a cache, and its gradients.
//!
//! # Formula
//! `s_ij = scale · q_i · k_j`, with a soft cap `c · tanh(s/c)`, less `slope · |p_i − j|` (`ALiBi`), for the keys
//! that query `i` sees; `P_ij = exp(s_ij − L_i)` with the log-sum-exp `L_i = ln Σ_j exp s_ij`;
//! `out_i = Σ_j P_ij v_j`. Query `i` of `n_q` stands at `p_i = n_k − n_q + i`, so that a causal mask is aligned at the
//! bottom right, and sees the keys from `p_i − left` to `p_i + right`. A query that sees no key gets zeros, and
//! `L = −∞`.
//!
//! From the gradient `g` of the result, with `P` made again from `L` and `D_i = g_i · out_i`:
//! `∂v_j = Σ_i P_ij g_i`, `∂s_ij = P_ij (g_i · v_j − D_i)`, times `1 − tanh²` under a cap,
//! `∂q_i = scale Σ_j ∂s_ij k_j`, `∂k_j = scale Σ_i ∂s_ij q_i`.
//!
//! # Operands
//! `q`, result: `[batch, q_heads, n_q, dim]`; `k`, `v`: `[batch, kv_heads, n_k, dim]` or pages,
//! `[pages, kv_heads, page_size, dim]`, with a table of pages for every sequence. Any strides, the numbers of a head
//! adjacent. `f32`, `f16` or `bf16`, sums in `f32`. Log-sum-exp and gradients are contiguous. `q_heads` is a multiple of
//! `kv_heads`: neighbouring heads of queries share one of keys. Every sequence may have its own lengths: padding is
//! not read and its results are zeros. Scores beyond the range of `f32` count as not seen below it; above it the
//! result is not a number.
//!
//! # Quantised caches
//! A code of 8 or 4 bits stands for one of 2⁸ or 2⁴ numbers from the least to the largest of 32 numbers of a token, in
//! even steps: step and middle are kept in `bf16`, in a word for both, the step rounded up so that all are reached.
//! Keys are stored less a mean a channel, and rotated by an orthonormal Hadamard matrix of the largest power of two
//! that divides the head, which spreads a large channel over all. Queries are rotated alike, and `q ·` mean is added
//! to every product, so that caps and `L` are those of the keys as they came.
//!
//! # Supported
//! Heads of 1 to 256 numbers, up to 2³⁰ positions, no queries, no keys. Quantised: multiples of 32.
//!
//! # Rejected
//! Shapes that do not belong together, heads of keys that do not divide those of queries, numbers of a head that are
//! not adjacent, outputs that write one place twice, `f64`, scales and caps that are none, gradients of a cache, what
//! the device has no room for: all in [`AttentionPlan::new`] and [`CachePlan::new`].
//!
//! # Work mapping
//! A cube takes up to 32 rows, queries times the heads that share keys, and walks over tiles of up to 32 keys that no
//! mask hides from all rows: loads keys and values, products of 4 rows with a key a unit, weights a unit a row, sums
//! of 4 rows and a vector of channels a unit; four barriers a tile. Shared memory: queries, sums, keys, values and
//! weights, in `f32`, as many rows and keys as fit, down to 32 KiB for every head. The tile of keys depends on head
//! and device alone, so a sequence gives the same bits in any batch. Of a quantised cache a unit reads four words of
//! codes at once, and their scale.
//!
//! Where units are emulated, several queries to keys that are stored as numbers stream instead
//! ([`Strategy::Streaming`]), in heads of up to 128 numbers: a unit keeps up to eight rows and their sums in registers,
//! and all units of a cube walk over the same keys as they come from memory. What is read of a key serves all rows of a
//! unit, and nothing waits for others; the scores of eight keys are kept before their values are added. The gradients
//! stream too.
//!
//! A single query a sequence has its keys in splits of 512, joined in their order by a second launch; where units are
//! emulated, long prefills are split too, since their loops have a limit. [`Strategy::Naive`] is the definition, a
//! unit for four numbers of a result. The gradient has a launch for the `D_i`, one over tiles of queries and one over
//! tiles of keys: every sum is one unit's, in order. Where units are emulated, long sequences take a launch for every
//! stretch of keys or queries, which adds to the last's sums as they were stored. A write into a cache turns, shifts,
//! rotates, quantises and stores in one launch each for keys and values.
//!
//! # Cost
//! `4 · n_q · n_k · dim` flop a head of queries, half when causal; gradients 2.5 times that. Decoding reads keys and
//! values once for all heads that share them: 9/8 byte a number in 8 bits, 5/8 in 4. No matrix instructions are used.
//!
//! # Error
//! Relative L2 on the software driver against `f64`, normal operands: 2e-7 to 4e-7 (NMSE 1e-13) in `f32`, 2e-4 in
//! `f16`; of quantised caches, keys with means of their own: NMSE 3.8e-5 in 8 bits, 1.0e-2 in 4, over all queries of
//! a prefill.
//!
//! # References
//! Milakov and Gimelshein 2018, algorithm 3 (online softmax); Dao, *FlashAttention-2*, 2023, algorithms 1 and 2;
//! Ashkboos et al., *Outlier-Free 4-Bit Inference in Rotated LLMs*, 2024 (rotated keys).

mod append;
mod append_launch;
mod geometry;
mod gradient;
mod gradient_launch;
mod gradient_streaming;
mod kernel;
mod launch;
mod plan;
mod problem;
mod rotate;
mod streaming;
mod tile;
mod tiles;

pub use append_launch::{
    CachePlan, CacheProblem, FreshBindings, Pool, TurnBindings, copy_pages_launch, mean_launch,
    turn_launch, write_launch,
};
pub use gradient_launch::{AttentionGradientBindings, attention_vjp_launch};
pub use launch::{AttentionBindings, attention_launch};
pub use plan::{AttentionPlan, GradientLaunch, Steps};
pub use problem::{AttentionProblem, GROUP, Mask, Storage, Strategy};
pub use tiles::TileConfig;
