//! Every decision of attention. Pure host code, tested with no device.

use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use super::{
    problem::{AttentionProblem, GROUP, Mask, Storage, Strategy},
    tiles::TileConfig,
};
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
/// Numbers of queries that a streaming unit keeps, and as many sums: a core's first cache holds those of eight units.
/// Twice as many take twice as long to compile.
const STREAMED: usize = 256;
/// Numbers of a head that streams at most: its code is laid out in full.
const STREAMED_DIM: usize = 128;
/// The turns of all loops of a unit: lavapipe (Mesa 22.3) ends them after 65535 without a word.
const TURNS: usize = 60_000;
/// Buffers of the forward kernels: `q`, `k`, `v`, scales, tables, result and log-sum-exp. Those of the gradients have as
/// many: `q`, `k`, `v`, the result's gradient, what is known beforehand, and two results.
const BUFFERS: usize = 7;

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
    /// The algorithm, that of [`Strategy::Auto`] decided on.
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

impl AttentionPlan {
    /// Validates `problem` and decides how a device with `limits` carries it out.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Strides`] for a malformed problem, [`Error::Length`] for heads of more
    /// than 256 numbers, heads that do not divide, and 2³⁰ positions or more, [`Error::Value`] for a scale
    /// or a cap that is none, [`Error::Dtype`] for `f64` and for a type that the device lacks,
    /// [`Error::Limit`] if buffers, their number, the grid, shared memory or a loop exceed it.
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
        let AttentionProblem { op, dtype, storage, mask, .. } = *problem;
        let [batch, q_heads, kv_heads, q_len, kv_len, dim] = problem.sizes()?;
        problem.check_values()?;
        problem.check_layouts(limits)?;
        limits.check_bindings(op, BUFFERS)?;
        let lanes = problem.lanes();
        let group = q_heads / kv_heads;
        let rows = q_len.saturating_mul(group);
        let bounded = limits.emulated && !limits.serial;
        let streams = bounded && dim <= STREAMED_DIM;
        let several = q_len > 1 && storage == Storage::Float;
        let strategy = match problem.strategy {
            Strategy::Auto if streams && several => Strategy::Streaming,
            Strategy::Streaming if streams => Strategy::Streaming,
            Strategy::Naive => Strategy::Naive,
            _ => Strategy::Tiled,
        };
        let one = TileConfig::one(dim, lanes, storage);
        let one = TileConfig { capped: mask.soft_cap.is_some(), ..one };
        let most = match (limits.serial, limits.emulated) {
            (true, _) => 1,
            (_, true) => EMULATED_UNITS,
            _ => UNITS,
        };
        let naive = strategy == Strategy::Naive;
        let (tile, gradient_tile, units, turns) = match strategy {
            Strategy::Streaming => {
                let tile = one.streaming(STREAMED, limits);
                // Of rows and their values each, with sums of both.
                let gradient = one.streaming(STREAMED / 2, limits);
                (tile, gradient, tile.rows / tile.together, tile.streaming_turns())
            }
            Strategy::Naive => {
                let units = if limits.serial { 1 } else { limits.units_per_cube };
                (one, one.gradient(limits), FLAT_UNITS.min(units), 1)
            }
            Strategy::Auto | Strategy::Tiled => {
                let tile = one.forward(op, rows, limits)?;
                let units = tile.units(most.min(limits.units_per_cube));
                (tile, one.gradient(limits), units, tile.turns(units))
            }
        };
        // One query a sequence: its keys are what there is to share out.
        let wanted = if q_len == 1 { SPLIT } else { usize::MAX };
        let reach = if bounded { TURNS / turns * tile.keys } else { usize::MAX };
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

    /// Whether rows are kept in registers, and keys not shared.
    pub(super) fn streams(&self) -> bool {
        self.strategy == Strategy::Streaming
    }

    /// Bytes of shared memory of a cube of the forward kernel.
    pub fn shared_bytes(&self) -> usize {
        match self.strategy {
            Strategy::Naive => 0,
            Strategy::Streaming => self.tile.streaming_bytes(),
            Strategy::Auto | Strategy::Tiled => self.tile.forward_bytes(),
        }
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
            let (units, turns) = if self.streams() {
                (tile.rows / tile.together, tile.keys)
            } else {
                let units = tile.units(units.min(most));
                (units, 2 * tile.turns(units))
            };
            let reach = if limits.emulated && !limits.serial {
                (TURNS / turns).max(1) * tile.keys
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
