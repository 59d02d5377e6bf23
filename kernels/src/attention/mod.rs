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
//! not read and its results are zeros.
//!
//! # What is no number
//! A key that a query does not see, and all padding, may hold anything: it changes no bit of a result or a gradient.
//! What is seen shows as in the formula. Not a number in
//! - `q`: the row's result, log-sum-exp and `∂q`, and `∂k` and `∂v` of all keys it sees;
//! - `k`: all of that for every row that sees the key;
//! - `v`: its channel of the result of every row that sees it, the row's `∂q`, and `∂k` of all keys the row sees;
//! - the result's gradient: the row's `∂q`, `∂k` of all keys it sees, and that channel of their `∂v`.
//!
//! A score of minus infinity, or below -3.3e38, has a weight of zero; where all that are seen are such, and where one is
//! plus infinity, result and log-sum-exp are no numbers. An infinite value gives an infinite result, or none beside an
//! infinity of the other sign or a weight of zero. Of a quantised cache, not a number or an infinity in a value makes 32
//! of its channels none, and in a key all of its head; keys above 4e37 may do so too.
//!
//! # Quantised caches
//! A code of 8 or 4 bits stands for one of 2⁸ or 2⁴ numbers from the least to the largest of 32 numbers of a token, in
//! even steps: step and middle are kept in `bf16`, in a word for both, the step rounded up so that all are reached.
//! Keys are rotated by an orthonormal Hadamard matrix of the largest power of two that divides the head, which spreads
//! a large channel over all; queries are rotated alike.
//!
//! The first 16 keys of a sequence are kept in `f32`. Those behind are stored less a shift, the mean of the middle half
//! of the first 16 in every rotated channel, where that makes the ranges of the token smaller; the sign of the steps
//! says so. `q ·` shift is added to their products, so that caps and `L` are those of the keys as they came. What is
//! stored of a token depends on it and on the first 16 of its own sequence alone, so that writes may be split anywhere.
//!
//! Relative error of attention in 4 bits, causal, 257 tokens, 64 channels, all queries of 12 draws, by a model of the
//! codes in `f64` on the host. "Mean of `n`": less the mean of the first `n` keys, rotated, as a first write of `n` gave
//! it before; "page mean": less the mean of every 16 keys, once they are complete, the others in `f32`.
//!
//! | keys | mean of 1 | of 4 | of 256 | rotated alone | groups of 32 alone | page mean | first 16 exact, shift |
//! |---|---|---|---|---|---|---|---|
//! | normal | .117 | .105 | .101 | .101 | .101 | .100 | **.091** |
//! | means 20, −15, 10 in three channels, first key near 0 | .150 | .109 | .109 | .150 | .274 | .104 | **.085** |
//! | the same, first key alike | .118 | .106 | .104 | .223 | .426 | .102 | **.094** |
//! | means 0 to 6 over the channels | .119 | .105 | .102 | .340 | .152 | .101 | **.093** |
//! | 200 in a channel of the first key | .242 | .119 | .113 | .113 | .155 | .114 | **.078** |
//! | the same with the three means | .266 | .126 | .106 | .092 | .130 | .112 | **.077** |
//! | Student's t of 3 degrees | .141 | .127 | .120 | .122 | .187 | .120 | **.112** |
//! | scales and means as of a model, turned by position | .194 | .183 | .174 | .199 | .284 | **.136** | .157 |
//!
//! A page mean needs keys to be written twice, and makes what a query sees depend on when its page was complete.
//! Late queries gain little from the first 16 keys: of the last 64 of them alone, by 40 draws of keys turned by position,
//! a mean of 256 gives .168 where this gives .179, and .188 beside .190 with the three means.
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
//! stretch of keys or queries, which adds to the last's sums as they were stored. A write into a cache turns, rotates,
//! shifts, quantises and stores in one launch each for keys and values; the first keys of a sequence take one more, and
//! their shift another.
//!
//! Of keys that some rows of a cube see and others do not, every pair is told apart; elsewhere masked ones do not occur,
//! or add zero times zero. Every kernel binds at most 7 buffers: lengths, pages and slopes share one, scales and first
//! keys another.
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
    CachePlan, CacheProblem, FreshBindings, Pool, TurnBindings, copy_blocks_launch,
    copy_pages_launch, grow_launch, turn_launch, write_launch,
};
pub use gradient_launch::{AttentionGradientBindings, attention_vjp_launch};
pub use launch::{AttentionBindings, Tables, attention_launch};
pub use plan::{AttentionPlan, GradientLaunch, Steps};
pub use problem::{AttentionProblem, FIRST, GROUP, Mask, Storage, Strategy};
pub use tiles::TileConfig;
