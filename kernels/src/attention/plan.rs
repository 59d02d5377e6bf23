//! Every decision and every validation of attention. Pure host code, tested with no device.

use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use super::tiles::TileConfig;
use crate::grid::grid;

/// Keys of a split of decoding. It depends on nothing, so that a sequence gives the same bits whoever
/// shares its batch.
const SPLIT: usize = 512;
/// Units of a cube at most.
const UNITS: usize = 128;
/// The same where units are emulated, which run after one another.
const EMULATED_UNITS: usize = 64;
/// Units of a cube of the kernel that makes the gradients of keys: with 128 it spills 32 bytes on `sm_80`.
const KEY_UNITS: usize = 64;
/// Units of a cube of kernels without shared memory.
const FLAT_UNITS: usize = 64;
/// The turns of all loops of a unit: lavapipe (Mesa 22.3) ends them after 65535 without a word.
const TURNS: usize = 60_000;
/// Beyond this many positions the masks' arithmetic would overflow.
const POSITIONS: usize = 1 << 30;

/// Which algorithm to use; [`Strategy::Auto`] is right unless they are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// Tiles in shared memory; the keys of a single query in splits.
    #[default]
    Auto,
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

impl Storage {
    /// Bits of a number; of [`Storage::Float`] those of `dtype`.
    pub fn bits(self, dtype: Dtype) -> usize {
        match self {
            Self::Float => 8 * dtype.size(),
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
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

/// Where a tensor of four axes begins, and its steps along the first three, in units of `lanes` numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Steps {
    /// The first number.
    pub offset: usize,
    /// To the next sequence or page.
    pub outer: usize,
    /// To the next head.
    pub head: usize,
    /// To the next position.
    pub token: usize,
}

impl Steps {
    pub(super) fn of(layout: &Layout, lanes: usize) -> Self {
        let [outer, head, token] = [0, 1, 2].map(|axis| layout.strides()[axis] / lanes);
        Self { offset: layout.offset() / lanes, outer, head, token }
    }
}

/// The launches of a problem. Immutable host data; make it once, launch it often.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// The algorithm.
    pub strategy: Strategy,
    /// What is compiled into the kernel.
    pub tile: TileConfig,
    /// What is compiled into the kernels of the gradient.
    pub gradient_tile: TileConfig,
    /// Sequences.
    pub batch: usize,
    /// Heads of the queries.
    pub q_heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Queries of a sequence at most.
    pub q_len: usize,
    /// Keys of a sequence at most.
    pub kv_len: usize,
    /// Tokens of a page; those of a sequence where there are no pages.
    pub page_size: usize,
    /// Pages of a sequence at most; 0 where there are none.
    pub table: usize,
    /// Where `q`, `k`, `v` and the result lie.
    pub steps: [Steps; 4],
    /// One past their last numbers.
    pub ends: [usize; 4],
    /// Keys of a split.
    pub split: usize,
    /// Splits of a sequence.
    pub splits: usize,
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// The mask.
    pub mask: Mask,
    /// Type of queries and result.
    pub dtype: Dtype,
    /// Bytes that must move at least: operands once, results once.
    pub floor_bytes: u64,
    /// Multiplications and additions, masked ones left out of a causal problem.
    pub flop: u64,
    /// The device, for the plans of further launches.
    pub limits: Limits,
}

fn product(lengths: &[usize]) -> u64 {
    lengths.iter().fold(1, |total, &len| total.saturating_mul(len as u64))
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
    fn sizes(&self) -> Result<[usize; 6]> {
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

    fn check_values(&self) -> Result<()> {
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

    fn check_layouts(&self, limits: &Limits) -> Result<()> {
        let op = self.op;
        limits.check_dtype(op, "q", self.dtype)?;
        if self.dtype == Dtype::F64 {
            let expected = "f32 or f16";
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
        if quantised && (self.strategy == Strategy::Naive || self.paged.is_none()) {
            let reason = "the naive kernel and tensors beside a cache hold numbers as they are";
            return Err(Error::Unsupported { op, argument: "storage", reason });
        }
        Ok(())
    }

    /// 4 where all tensors can be read four numbers at a time, otherwise 1.
    fn lanes(&self) -> usize {
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

impl AttentionPlan {
    /// Validates `problem` and decides how a device with `limits` carries it out.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Strides`] for a malformed problem, [`Error::Length`] for heads of more
    /// than 256 numbers, heads that do not divide, and 2³⁰ positions or more, [`Error::Value`] for a scale
    /// or a cap that is none, [`Error::Dtype`] for `f64` and for a type that the device lacks,
    /// [`Error::Limit`] if buffers, the grid, shared memory or a loop exceed it.
    ///
    /// ```
    /// use wavecube_core::{Dtype, Layout, Limits};
    /// use wavecube_kernels::attention::{AttentionPlan, AttentionProblem, Mask, Storage, Strategy};
    ///
    /// let (q, k) = (Layout::contiguous(&[1, 32, 1, 128]), Layout::contiguous(&[1, 8, 32768, 128]));
    /// let plan = AttentionPlan::new(
    ///     &AttentionProblem {
    ///         op: "attention",
    ///         q: q.clone(),
    ///         k: k.clone(),
    ///         v: k,
    ///         out: q,
    ///         dtype: Dtype::F32,
    ///         storage: Storage::Float,
    ///         paged: None,
    ///         mask: Mask { scale: 0.1, left: None, right: Some(0), soft_cap: None },
    ///         strategy: Strategy::Auto,
    ///     },
    ///     &Limits::HOPPER,
    /// )?;
    /// assert_eq!((plan.tile.rows, plan.splits), (4, 64));
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(problem: &AttentionProblem, limits: &Limits) -> Result<Self> {
        let AttentionProblem { op, dtype, storage, mask, strategy, .. } = *problem;
        let [batch, q_heads, kv_heads, q_len, kv_len, dim] = problem.sizes()?;
        problem.check_values()?;
        problem.check_layouts(limits)?;
        let lanes = problem.lanes();
        let group = q_heads / kv_heads;
        let rows = q_len.saturating_mul(group);
        let tile = TileConfig::forward(op, dim, lanes, rows, storage, limits)?;
        let gradient_tile = TileConfig::gradient(dim, lanes, limits);
        let most = match (limits.serial, limits.emulated) {
            (true, _) => 1,
            (_, true) => EMULATED_UNITS,
            _ => UNITS,
        };
        let naive = strategy == Strategy::Naive;
        let units = if naive {
            FLAT_UNITS.min(if limits.serial { 1 } else { limits.units_per_cube })
        } else {
            tile.units(most.min(limits.units_per_cube))
        };
        // One query a sequence: its keys are what there is to share out.
        let wanted = if q_len == 1 { SPLIT } else { usize::MAX };
        let bounded = limits.emulated && !limits.serial;
        let reach = if bounded { TURNS / tile.turns(units) * tile.keys } else { usize::MAX };
        let split = if naive { kv_len.max(1) } else { wanted.min(reach).min(kv_len.max(1)) };
        let splits = kv_len.div_ceil(split).max(1);
        if naive && bounded && kv_len.saturating_mul(tile.vectors() + 1) > TURNS {
            let (available, required) = (TURNS, kv_len.saturating_mul(tile.vectors() + 1));
            let (available, required) = (available as u64, required as u64);
            let resource = "turns of a naive kernel's loops";
            return Err(Error::Limit { op, resource, available, required });
        }
        let outputs = problem.out.len();
        let partial = (outputs as u64).saturating_mul(4 * splits as u64);
        if splits > 1 {
            limits.check_buffer(op, partial)?;
        }
        let cubes = if naive {
            (outputs / lanes).div_ceil(units)
        } else {
            let tiles = rows.div_ceil(tile.rows);
            batch.saturating_mul(kv_heads).saturating_mul(tiles).saturating_mul(splits)
        };
        let layouts = [&problem.q, &problem.k, &problem.v, &problem.out];
        let pairs = if mask.right == Some(0) && q_len > 1 && q_len <= kv_len {
            q_len * kv_len - q_len * (q_len - 1) / 2
        } else {
            q_len * kv_len
        };
        let stored = product(&[2, batch, kv_heads, kv_len, dim]);
        let scales = if storage == Storage::Float { 0 } else { stored / GROUP as u64 };
        let stored = stored.saturating_mul(storage.bits(dtype) as u64) / 8 + 4 * scales;
        Ok(Self {
            op,
            strategy,
            tile,
            gradient_tile,
            batch,
            q_heads,
            kv_heads,
            q_len,
            kv_len,
            page_size: if problem.paged.is_some() { problem.k.shape()[2] } else { kv_len.max(1) },
            table: problem.paged.unwrap_or(0),
            steps: layouts.map(|layout| Steps::of(layout, lanes)),
            ends: layouts.map(|layout| layout.end().unwrap_or(usize::MAX)),
            split,
            splits,
            units,
            cubes: grid(op, cubes, limits)?,
            mask,
            dtype,
            floor_bytes: stored.saturating_add(product(&[2, outputs, dtype.size()])),
            flop: product(&[4, batch, q_heads, pairs, dim]),
            limits: *limits,
        })
    }

    /// Rows of all sequences and heads: the numbers of the log-sum-exp.
    pub fn rows(&self) -> usize {
        self.batch * self.q_heads * self.q_len
    }

    /// Accepts the plan for the gradient's launches over tiles of queries, and over tiles of keys.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for the pages of a cache, [`Error::Limit`] if the grid or shared memory exceeds the
    /// device.
    pub fn gradient(&self) -> Result<[GradientLaunch; 2]> {
        let (op, tile, limits) = (self.op, self.gradient_tile, &self.limits);
        if self.table > 0 {
            let reason = "gradients are those of tensors, not of a cache";
            return Err(Error::Unsupported { op, argument: "k", reason });
        }
        if tile.rows == 0 {
            let available = limits.shared_bytes as u64;
            let required = TileConfig { rows: 1, keys: 1, ..tile }.gradient_bytes() as u64;
            return Err(Error::Limit { op, resource: "shared bytes", available, required });
        }
        let most = if limits.serial { 1 } else { limits.units_per_cube };
        let row_units = if limits.emulated { EMULATED_UNITS } else { UNITS };
        let rows = self.q_len.saturating_mul(self.q_heads / self.kv_heads);
        let heads = self.batch.saturating_mul(self.kv_heads);
        let launch = |own: usize, others: usize, units: usize| -> Result<GradientLaunch> {
            let units = tile.units(units.min(most));
            let reach = if limits.emulated && !limits.serial {
                (TURNS / (2 * tile.turns(units))).max(1) * tile.keys
            } else {
                usize::MAX
            };
            let cubes = grid(op, heads.saturating_mul(own.div_ceil(tile.rows)), limits)?;
            Ok(GradientLaunch { units, cubes, others, reach })
        };
        Ok([launch(rows, self.kv_len, row_units)?, launch(self.kv_len, rows, KEY_UNITS)?])
    }
}

/// How one of the gradient's two sums is enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradientLaunch {
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// Keys or rows that every cube goes over.
    pub others: usize,
    /// How many of them in a launch: the loops of emulated units have a limit.
    pub reach: usize,
}

impl GradientLaunch {
    /// The first and the end of every launch's keys or rows; one launch at least, which writes zeros.
    pub(super) fn ranges(&self) -> impl Iterator<Item = [usize; 2]> {
        let Self { others, reach, .. } = *self;
        (0..others.max(1))
            .step_by(reach)
            .map(move |first| [first, others.min(first.saturating_add(reach))])
    }
}
