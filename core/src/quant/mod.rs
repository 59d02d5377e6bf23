//! Quantised weights on the host: schemes, rounding, the packed layout, files.
//!
//! A weight matrix `W[n, k]` of `n` outputs and `k` inputs is kept as whole numbers `q` of 4 or 8 bits with a
//! scale `s`, and perhaps a zero point `z`, for every group of neighbours along `k`:
//!
//! ```text
//! W[i, j] ≈ s·(q − z),    0 ≤ q < 2^bits
//! ```
//!
//! Of a symmetric scheme `z` is `2^(bits − 1)` and is not stored.
//!
//! # Layout, version 1
//! A row is cut into blocks of 32 codes, the last filled up with zero points. With `h = j / 16`,
//! `b = j % 16 / 4` and `i = j % 4` for the place `j` in its block,
//!
//! ```text
//! INT4: 4 words a block, code j in word i,      at bit 8b + 4h
//! INT8: 8 words a block, code j in word 4h + i, at bit 8b
//! ```
//!
//! So `w >> (8b + 4h) & 15` of a block's four words are four neighbours along `k`, which meet a vector of four
//! activations; and `w & 0x0f0f0f0f`, `w >> 4 & 0x0f0f0f0f` of one word are four codes each in the places that
//! 8-bit activations of the same layout have, for a dot product of bytes. Scales and zero points are those of
//! groups in order, row by row, without gaps: scales of 16 bits two to a word, zero points four, the first in
//! the lowest bits. The last group of a row ends with the row where the group does not divide `k`.
//!
//! # Bytes
//! `n·k·bits/8` of codes, and for every group 2 or 4 of its scale and 1 of its zero point.

mod file;
mod quantize;
mod scheme;
mod weight;

pub use file::{from_bytes, load, save, to_bytes};
pub use quantize::Clip;
pub use scheme::{Bits, Group, ScaleType, Scheme};
pub use weight::{BLOCK, PackedWeight};
