//! Batched Fourier transforms: C2C, R2C, C2R, of any length, along any axis.
//!
//! # Formula
//! `X[k] = s · Σ_{n<N} x[n] e^{∓2πi nk/N}`, minus forward, plus inverse; `s` is 1, `1/√N` or `1/N`
//! as [`Normalization`](wavecube_core::fft::Normalization) says, with NumPy's names.
//!
//! # Operands
//! Complex elements are two adjacent reals, real part first; shapes, strides and offsets count
//! complex elements for complex operands and reals for real ones. Inputs have any strides, zero
//! included; an output's strides give every element a place of its own. A real signal of length `N`
//! has the spectrum `0 … N/2`, `N/2 + 1` bins, and comes back from it; the imaginary part of bin 0
//! and, for even `N`, of the last bin does not enter. Storage is f16, bf16, f32 or f64; 16 bits compute in
//! f32.
//!
//! # Supported
//! Every length of at least 1 up to about the square of what fits shared memory; every axis; empty
//! batches; in place for C2C where input and output are the same elements.
//!
//! # Rejected
//! An axis that does not exist, length 0, shapes that do not belong together, outputs that write one
//! place twice, types that the device lacks, buffers beyond its largest, lengths beyond two passes:
//! all in [`FftPlan::new`], before anything is enqueued.
//!
//! # Work mapping
//! Stockham's autosort. A cube carries several transforms; a unit holds 16 to 32 points of one in
//! registers, and the points change places through shared memory between two butterfly stages:
//! `8N` bytes of it a transform in f32 and a sixteenth more so that strided writes meet different
//! banks, or half of it with real and imaginary parts in turn. Radices 2 to 16, so that 4096 points
//! take three stages. Where units are emulated, one takes two neighbouring butterflies side by side if
//! a length has two even radices, and so moves two points in one access of 16 bytes, in shared memory
//! and, where they lie next to each other, in global memory. Where neighbouring transforms rather than points are
//! adjacent in memory, neighbouring units take neighbouring transforms. A length that does not fit
//! splits as `N = N₁ N₂` into two passes with the twiddles and the transpose folded in.
//!
//! A prime `p` beyond 13 whose `p − 1` has no such factor is Rader's correlation of `p − 1` points, with the
//! points read and written in the order of a primitive root's powers. Any other length with a large prime
//! factor is Bluestein's convolution with a chirp. Where the points of a padded round trip do not fit, half
//! of them zero and half of its results dropped again, the even and the odd frequencies are taken in two
//! turns, each a round trip of half the length, so that one pass reaches `N` points, not `2N − 1`. A few points more
//! wrap around: the two turns are a cyclic convolution, and the few pairs of points are added to it whose distance
//! shares its place with another one.
//!
//! On processor cores, and where a cube has but one unit, one unit carries a transform between two halves
//! of its work space, without a barrier. A core works in vectors of 32 bytes: their elements are neighbouring points of a
//! transform where the square of their number divides its length (of half of it where there are few transforms), else
//! neighbouring transforms. Its work space, `16N` bytes in f32, may
//! take a core's second cache. Load, filter and store hooks multiply points by tables on their way, so that chirps,
//! filters and padding cost no pass of their own: a [`Chain`] is all of these, and a round trip
//! (transform, filter, transform back) moves `16N` bytes while it fits and `48N` beyond.
//!
//! # Cost
//! `5 N log₂ N` flop for C2C (Rader: twice that and a little; Bluestein: 4 to 5 times). Bytes: `16N` in one pass, `32N` in
//! two, `8N` for R2C and C2R in one, in f32; so memory is the limit everywhere.
//!
//! # Error
//! Tables are built in f64. The relative L2 error stays below `4 ε log₂ N`.
//!
//! # References
//! Cooley and Tukey 1965; Stockham 1966 (autosort); Rader 1968; Bluestein 1970 (chirp); Bailey 1990 (four
//! steps); Van Loan, *Computational Frameworks for the Fast Fourier Transform*, 1992.

mod butterfly;
mod chain;
mod convolution;
mod ends;
mod exchange;
mod kernel;
mod launch;
mod pass;
mod plan;
mod serial;
mod shape;
mod table;
mod wrap;

pub use chain::*;
pub(crate) use ends::ComplexTable;
pub use launch::{FftBindings, fft_launch, upload_packed, upload_tables};
pub use pass::*;
pub use plan::{FftPlan, FftProblem, Kind, Strategy};
pub use table::{Hook, Table};
