//! What attention is asked for, and every validation of it. Pure host code.

use wavecube_core::{Dtype, Error, Layout, Limits, Result};

/// Beyond this many positions the masks' arithmetic would overflow.
const POSITIONS: usize = 1 << 30;

/// Which algorithm to use; [`Strategy::Auto`] is right unless they are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// [`Strategy::Streaming`] for several queries to keys that are stored as numbers, where units are emulated;
    /// otherwise [`Strategy::Tiled`].
    #[default]
    Auto,
    /// Tiles in shared memory, which the units of a cube load and work on together; the keys of a single query in
    /// splits.
    Tiled,
    /// Rows in registers, keys as they come from memory: nothing is shared. Heads of more than 128 numbers, and
    /// devices whose units are not emulated and have too few registers, take [`Strategy::Tiled`] instead.
    Streaming,
    /// One unit for a few numbers of a query's result: baseline and cross-check.
    Naive,
}

/// How a cache stores keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// As numbers of the queries' type.
    #[default]
    Float,
    /// Eight bits a number.
    Int8,
    /// Four bits a number.
    Int4,
}

/// Numbers that share a scale in a quantised cache.
pub const GROUP: usize = 32;

/// The first keys of every sequence of a quantised cache: they are kept as they come, and what is subtracted from those
/// behind is made of them.
pub const FIRST: usize = 16;

impl Storage {
    /// Bits of a number; of [`Storage::Float`] those of `dtype`.
    pub fn bits(self, dtype: Dtype) -> usize {
        match self {
            Self::Float => 8 * dtype.size(),
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    /// The code in the middle of the range, between two of them.
    pub(super) fn middle(self) -> f32 {
        (1u32 << (self.bits(Dtype::F32) - 1)) as f32 - 0.5
    }
}

/// Which keys a query sees, and what is done to its scores.
///
/// The last query stands at the last key: query `i` of `n_q` at position `p = n_k − n_q + i`, and it sees
/// the keys from `p − left` to `p + right`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mask {
    /// Multiplies the products of queries and keys.
    pub scale: f32,
    /// How far back a query sees; `None` is everything.
    pub left: Option<usize>,
    /// How far ahead a query sees: 0 is causal, `None` everything.
    pub right: Option<usize>,
    /// `c` of `c · tanh(score/c)`.
    pub soft_cap: Option<f32>,
}

/// Attention over batches of heads. `q` and `out`: `[batch, q_heads, n_q, dim]`; `k` and `v`:
/// `[batch, kv_heads, n_k, dim]`, or the pages of a cache, `[pages, kv_heads, page_size, dim]`. Any
/// strides, but the numbers of a head adjacent.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionProblem {
    /// The operation, for errors.
    pub op: &'static str,
    /// Queries.
    pub q: Layout,
    /// Keys.
    pub k: Layout,
    /// Values.
    pub v: Layout,
    /// The result.
    pub out: Layout,
    /// Type of queries, result, and of keys and values where they are stored as they are.
    pub dtype: Dtype,
    /// How keys and values are stored.
    pub storage: Storage,
    /// For the pages of a cache: how many pages a sequence has at most.
    pub paged: Option<usize>,
    /// The mask.
    pub mask: Mask,
    /// The algorithm.
    pub strategy: Strategy,
}

impl AttentionProblem {
    fn shape(&self, argument: &'static str, found: &Layout, expected: [usize; 4]) -> Result<()> {
        if found.shape() == expected {
            return Ok(());
        }
        let (op, expected, found) = (self.op, expected.to_vec(), found.shape().to_vec());
        Err(Error::Shape { op, argument, expected, found })
    }

    /// Batch, heads of queries and of keys, queries and keys of a sequence, numbers of a head.
    pub(super) fn sizes(&self) -> Result<[usize; 6]> {
        let op = self.op;
        let axes = |argument, layout: &Layout| {
            <[usize; 4]>::try_from(layout.shape()).map_err(|_| Error::Shape {
                op,
                argument,
                expected: vec![1, 1, 1, 1],
                found: layout.shape().to_vec(),
            })
        };
        let [batch, q_heads, q_len, dim] = axes("q", &self.q)?;
        let [outer, kv_heads, tokens, _] = axes("k", &self.k)?;
        self.shape("k", &self.k, [outer, kv_heads, tokens, dim])?;
        self.shape("v", &self.v, [outer, kv_heads, tokens, dim])?;
        self.shape("out", &self.out, [batch, q_heads, q_len, dim])?;
        if self.paged.is_none() {
            self.shape("k", &self.k, [batch, kv_heads, tokens, dim])?;
        }
        if dim == 0 || dim > 256 {
            let expected = "between 1 and 256 along the last axis";
            return Err(Error::Length { op, argument: "q", expected, found: dim });
        }
        if kv_heads == 0 || !q_heads.is_multiple_of(kv_heads) {
            let expected = "a divisor of the queries' heads";
            return Err(Error::Length { op, argument: "k", expected, found: kv_heads });
        }
        let kv_len = self.paged.map_or(tokens, |pages| pages.saturating_mul(tokens));
        for (argument, found) in [("q", q_len), ("k", kv_len)] {
            if found >= POSITIONS {
                let expected = "fewer than 2^30 positions";
                return Err(Error::Length { op, argument, expected, found });
            }
        }
        Ok([batch, q_heads, kv_heads, q_len, kv_len, dim])
    }

    pub(super) fn check_values(&self) -> Result<()> {
        let op = self.op;
        let Mask { scale, soft_cap, .. } = self.mask;
        if !scale.is_finite() {
            let (expected, found) = ("finite", f64::from(scale));
            return Err(Error::Value { op, argument: "scale", expected, found });
        }
        if let Some(cap) = soft_cap.filter(|cap| !(cap.is_finite() && *cap > 0.0)) {
            let (expected, found) = ("finite and above 0", f64::from(cap));
            return Err(Error::Value { op, argument: "soft_cap", expected, found });
        }
        Ok(())
    }

    pub(super) fn check_layouts(&self, limits: &Limits) -> Result<()> {
        let op = self.op;
        limits.check_dtype(op, "q", self.dtype)?;
        if self.dtype == Dtype::F64 {
            let expected = "f32, f16 or bf16";
            return Err(Error::Dtype { op, argument: "q", expected, found: self.dtype });
        }
        for (argument, layout) in
            [("q", &self.q), ("k", &self.k), ("v", &self.v), ("out", &self.out)]
        {
            if layout.shape()[3] > 1 && layout.strides()[3] != 1 {
                let expected = "be 1 along the last axis";
                let found = layout.strides().to_vec();
                return Err(Error::Strides { op, argument, expected, found });
            }
            let bytes = layout.end().and_then(|end| end.checked_mul(self.dtype.size()));
            limits.check_buffer(op, bytes.map_or(u64::MAX, |bytes| bytes as u64))?;
        }
        if !self.out.is_injective() {
            let expected = "give every element a place of its own";
            let found = self.out.strides().to_vec();
            return Err(Error::Strides { op, argument: "out", expected, found });
        }
        let quantised = self.storage != Storage::Float;
        if quantised && !self.q.shape()[3].is_multiple_of(GROUP) {
            let expected = "a multiple of 32 along the last axis, for a quantised cache";
            let found = self.q.shape()[3];
            return Err(Error::Length { op, argument: "q", expected, found });
        }
        let plain = matches!(self.strategy, Strategy::Naive | Strategy::Streaming);
        if quantised && (plain || self.paged.is_none()) {
            let reason = "only tiles read quantised numbers, and only from a cache";
            return Err(Error::Unsupported { op, argument: "storage", reason });
        }
        Ok(())
    }

    /// 4 where all tensors can be read four numbers at a time, otherwise 1.
    pub(super) fn lanes(&self) -> usize {
        let aligned = |layout: &&Layout| {
            layout.offset().is_multiple_of(4)
                && layout.shape()[3].is_multiple_of(4)
                && (0..3).all(|axis| {
                    layout.shape()[axis] <= 1 || layout.strides()[axis].is_multiple_of(4)
                })
        };
        if [&self.q, &self.k, &self.v, &self.out].iter().all(aligned) { 4 } else { 1 }
    }
}
