//! Passes: one trip through memory each, with what is compiled into its kernel and what is not.

use wavecube_core::Dtype;

use super::{
    chain::{BatchAxis, End, Load, Scale, Store},
    table::{Hook, Table},
};

/// One butterfly stage of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stage {
    /// The butterfly's size.
    pub radix: usize,
    /// The product of the radices before it in the same transform.
    pub before: usize,
    /// The sign of the exponent.
    pub inverse: bool,
}

/// How a pass is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// All points in registers, exchanged through shared memory.
    Registers,
    /// A unit a transform, points in its work space.
    Serial,
    /// The definition.
    Naive,
}

/// How two stages exchange their points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// Real and imaginary parts at once.
    Whole,
    /// Real parts, then imaginary parts, through the same memory: half the room, twice the barriers.
    InTurn,
}

impl Exchange {
    /// The numbers of a point that are exchanged at once.
    pub fn parts(self) -> usize {
        match self {
            Self::Whole => 2,
            Self::InTurn => 1,
        }
    }
}

/// A hook's part that is compiled into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookConfig {
    /// Multiply by the conjugate.
    pub conjugate: bool,
    /// The table is one of the caller's, in a buffer of its own.
    pub bound: bool,
    /// The table moves with the batch.
    pub per_row: bool,
}

/// What is compiled into a pass's kernel: two passes with equal configurations share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PassConfig {
    /// The length of the transform inside the pass.
    pub n: usize,
    /// Its stages; in a round trip, the way back follows.
    pub stages: Vec<Stage>,
    /// The stage after which the filter applies.
    pub filter_after: Option<usize>,
    /// The turns in which a round trip takes its spectrum, every `turns`-th frequency in each: for a
    /// signal of `n` points among `turns · n`, the others zero, of whose result as many are wanted.
    pub turns: usize,
    /// In Rader's round trip, the primitive root modulo `n + 1` whose powers order its points; else 0.
    pub root: usize,
    /// Units that share a transform.
    pub units: usize,
    /// Neighbouring butterflies that a unit takes side by side, 1 or 2, so that it moves neighbouring
    /// points in one access. Of a unit on its own, the elements of its vectors.
    pub lanes: usize,
    /// The ends, source and target, where `lanes` points are one access.
    pub wide: [bool; 2],
    /// Transforms that share a cube.
    pub rows: usize,
    /// Neighbouring units work on neighbouring transforms instead of neighbouring points; of a unit on its own,
    /// the elements of its vectors.
    pub across: bool,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The exchange.
    pub exchange: Exchange,
    /// One cell of the exchange is left free after as many, so that strided writes meet different
    /// banks; 0 where there is no room for it.
    pub pad: usize,
    /// How points are read.
    pub load: Load,
    /// How points are written.
    pub store: Store,
    /// Points of the source, filter and target interleave with the fastest batch axis: the logical
    /// index is `i · step + inner`.
    pub interleaved: [bool; 3],
    /// The signal is a few points longer than `n`, and the convolution wraps around onto them: two turns of
    /// Bluestein's.
    pub wrapped: bool,
    /// Some points do not exist in the source.
    pub padded: bool,
    /// Some points are not stored.
    pub cropped: bool,
    /// The fine entries of the four-step twiddle, 0 without one.
    pub turn_low: usize,
    /// The hooks on the way in.
    pub load_hooks: Vec<HookConfig>,
    /// The hooks on the spectrum.
    pub filter_hooks: Vec<HookConfig>,
    /// The hooks on the way out.
    pub store_hooks: Vec<HookConfig>,
}

impl PassConfig {
    /// The registers that a unit needs for its points.
    pub fn registers(&self) -> usize {
        let points = |s: &Stage| points_per_unit(self.n, s.radix, self.units, self.lanes);
        self.stages.iter().map(points).max().unwrap_or(1)
    }

    /// All hooks in the order of their tables: load, filter, store.
    pub fn hooks(&self) -> Vec<HookConfig> {
        [&self.load_hooks, &self.filter_hooks, &self.store_hooks]
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// The bytes of shared memory that a cube needs.
    pub fn shared_bytes(&self, compute: Dtype) -> usize {
        if self.stages.len() < 2 || self.algorithm == Algorithm::Naive {
            return 0;
        }
        let numbers = match self.algorithm {
            Algorithm::Serial => serial_room(self.n) * self.together() * self.rows,
            _ => self.exchange.parts() * self.lanes * self.room() * self.rows,
        };
        numbers * compute.size()
    }

    /// The transforms that a unit on its own carries at once.
    pub fn together(&self) -> usize {
        if self.across { self.lanes } else { 1 }
    }

    /// The configuration of the ends for one transform of those that a unit on its own carries at once.
    pub(super) fn of_one(&self) -> Self {
        Self { lanes: self.lanes / self.together(), ..self.clone() }
    }

    /// The numbers in a cell of the exchange, or of the work space of a unit on its own.
    pub fn cell_numbers(&self) -> usize {
        match self.algorithm {
            Algorithm::Serial => self.lanes,
            _ => self.exchange.parts() * self.lanes,
        }
    }

    /// The cells of the exchange that a transform takes.
    pub fn room(&self) -> usize {
        room(self.n / self.lanes, self.pad)
    }
}

/// An operand of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The caller's input.
    Input,
    /// The caller's output.
    Output,
    /// The work space between passes.
    Workspace,
}

/// One trip through memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pass {
    /// What is compiled.
    pub config: PassConfig,
    /// Where points come from.
    pub source: Operand,
    /// Where they go.
    pub target: Operand,
    /// The batch, slowest axis first; never empty.
    pub batch: Vec<BatchAxis>,
    /// The source's geometry.
    pub source_end: End,
    /// The target's geometry.
    pub target_end: End,
    /// The steps of interleaved logical indices: source, filter, target.
    pub steps: [usize; 3],
    /// The length of the whole transform, for the symmetry of real ones.
    pub period: usize,
    /// A factor on every point that is read.
    pub scale: Scale,
    /// The twiddles of the stages.
    pub twiddles: Table,
    /// The twiddle between the steps of a four-step transform.
    pub turn: Option<Table>,
    /// What a convolution lacks that wraps around.
    pub wrap: Option<Table>,
    /// The hooks in the order load, filter, store, with a stride for every batch axis.
    pub hooks: Vec<Hook>,
    /// The grid.
    pub cubes: [usize; 3],
}

impl Pass {
    /// The number of transforms.
    pub fn rows(&self) -> usize {
        self.batch.iter().map(|axis| axis.len).product()
    }

    /// One past the last element that the pass writes.
    pub(super) fn target_extent(&self) -> usize {
        let step = if self.config.interleaved[2] { self.steps[2] } else { 1 };
        let points = self.config.n * self.config.turns * step + usize::from(self.config.root > 0);
        let points = points.min(self.target_end.len);
        let last = self.batch.iter().map(|axis| (axis.len - 1) * axis.target).sum::<usize>();
        self.target_end.offset + last + (points - 1) * self.target_end.stride + 1
    }

    /// Decides which ends are read and written several points at a time: those where neighbouring
    /// points of every transform are neighbours in memory, aligned, and all there or all missing.
    pub(super) fn widened(mut self) -> Self {
        let lanes = self.config.lanes;
        let aligned = |end: &End, interleaved: bool, step: fn(&BatchAxis) -> usize| {
            let whole = end.len >= self.config.n || end.len.is_multiple_of(lanes);
            let steps = self.batch.iter().filter(|axis| axis.len > 1).map(step);
            let mut begins = steps.chain([end.offset]);
            end.stride == 1 && !interleaved && whole && begins.all(|at| at.is_multiple_of(lanes))
        };
        let [at_source, _, at_target] = self.config.interleaved;
        let source = matches!(self.config.load, Load::Complex | Load::Real)
            && aligned(&self.source_end, at_source, |axis| axis.source);
        let target = matches!(self.config.store, Store::Complex | Store::Real)
            && aligned(&self.target_end, at_target, |axis| axis.target);
        let apart = self.config.algorithm == Algorithm::Serial && self.config.across;
        self.config.wide = [source, target].map(|wide| wide && lanes > 1 && !apart);
        self
    }

    /// The order of the points in Rader's algorithm.
    pub fn powers(&self) -> Option<Table> {
        (self.config.root > 0).then_some(Table::RaderPowers { n: self.config.n + 1 })
    }

    /// Every table that the pass reads.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        let hooks = self.hooks.iter().map(|hook| hook.table);
        // The kernel knows where these begin: no pass has two of the three.
        let others = [self.turn, self.powers(), self.wrap].into_iter().flatten();
        core::iter::once(self.twiddles).chain(others).chain(hooks)
    }

    /// The tables that are not the caller's, one after the other in one buffer, each once: a device may have no more
    /// than eight buffers for a kernel, and the caller may bring four of them.
    pub fn packed(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        for table in self.tables() {
            if !matches!(table, Table::Bound(_)) && !tables.contains(&table) {
                tables.push(table);
            }
        }
        tables
    }

    /// Where each hook's table begins in its buffer.
    pub(super) fn table_begins(&self) -> Vec<usize> {
        let packed = self.packed();
        let begin = |hook: &Hook| match packed.iter().position(|table| *table == hook.table) {
            Some(place) => packed[..place].iter().map(Table::entries).sum(),
            None => 0,
        };
        self.hooks.iter().map(begin).collect()
    }

    /// The buffers that the kernel binds: both operands, the packed tables, and the caller's.
    pub fn bindings(&self) -> usize {
        3 + self.config.hooks().iter().filter(|hook| hook.bound).count()
    }
}

/// The points that a unit holds when `units` share the butterflies of a stage, `lanes` side by side.
pub(super) fn points_per_unit(n: usize, radix: usize, units: usize, lanes: usize) -> usize {
    (n / radix / lanes).div_ceil(units) * radix * lanes
}

/// The numbers that a unit on its own takes for one part of a transform of `n` points: where parts are far apart, a line
/// of a cache more, so that parts a power of two apart do not fall onto the same lines.
pub(super) fn serial_pitch(n: usize) -> usize {
    if n < FAR { n } else { n.saturating_add(SPARE) }
}

/// The numbers of the work space of a unit on its own: two halves of two parts each.
pub(super) fn serial_room(n: usize) -> usize {
    serial_pitch(n).saturating_mul(4)
}

/// A line of a processor's cache, in `f32`.
const SPARE: usize = 16;
/// Points from which parts of a work space share lines with each other.
const FAR: usize = 256;

/// The room of `cells` cells with a free one after every `pad`. An odd number then, so that
/// neighbouring transforms begin in different banks.
pub(super) fn room(cells: usize, pad: usize) -> usize {
    cells.checked_div(pad).map_or(cells, |free| cells.saturating_add(free) | 1)
}
