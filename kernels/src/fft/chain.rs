//! Chains: how a transform with its hooks is laid over passes.

use wavecube_core::{
    Dtype, Error, Limits, Result,
    fft::{Direction, factorize},
};

use super::{
    pass::{Algorithm, Exchange, HookConfig, Operand, Pass, PassConfig, Stage},
    plan::Strategy,
    shape::{Shape, UNITS_PER_CUBE, one_unit},
    table::{Hook, Table},
};
use crate::grid::grid;

/// One axis of the batch: its length and the steps of both operands, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchAxis {
    /// The number of transforms along the axis.
    pub len: usize,
    /// The step of the source.
    pub source: usize,
    /// The step of the target.
    pub target: usize,
}

/// How points are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Load {
    /// Complex elements.
    Complex,
    /// Complex elements, the last one first.
    Reversed,
    /// Real elements, imaginary part zero.
    Real,
    /// `n/2 + 1` complex elements, the others their mirrored conjugates.
    Hermitian {
        /// Halve every bin that stands for two.
        halved: bool,
    },
}

/// How points are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Store {
    /// Complex elements.
    Complex,
    /// The real part.
    Real,
    /// The first `n/2 + 1` complex elements.
    Half {
        /// Double every bin that stands for two.
        doubled: bool,
    },
}

/// One end of a chain: which elements, where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct End {
    /// The place of the first element.
    pub offset: usize,
    /// The step from point to point.
    pub stride: usize,
    /// How many points exist; the others are zero on the way in and dropped on the way out.
    pub len: usize,
}

/// A real factor, kept as its bits so that what holds it can be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scale(u64);

impl Scale {
    /// No factor.
    pub const ONE: Self = Self(1f64.to_bits());

    /// The factor.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Scale {
    fn from(factor: f64) -> Self {
        Self(factor.to_bits())
    }
}

/// The general form of everything this family does: load hooks, a transform (or a transform, a
/// filter and the transform back), store hooks, over a batch. The linear canonical transforms and
/// convolutions are chains too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The operation, for errors.
    pub op: &'static str,
    /// The transform's length.
    pub n: usize,
    /// The length whose symmetry real ends have: `n`, or less where `n` is padded.
    pub period: usize,
    /// The direction of the (first) transform.
    pub direction: Direction,
    /// Transform back after multiplying with the filter hooks.
    pub round_trip: bool,
    /// The batch, slowest axis first.
    pub batch: Vec<BatchAxis>,
    /// The end that is read.
    pub source: End,
    /// The end that is written.
    pub target: End,
    /// How points are read.
    pub load: Load,
    /// How points are written.
    pub store: Store,
    /// Multiplications on the way in.
    pub load_hooks: Vec<Hook>,
    /// Multiplications of the spectrum; only in a round trip.
    pub filter_hooks: Vec<Hook>,
    /// Multiplications on the way out.
    pub store_hooks: Vec<Hook>,
    /// A factor on the result. It is taken on the way out: on the way in, what it makes small would lose digits to
    /// devices that take numbers below the normal ones for zero.
    pub scale: Scale,
    /// Storage type.
    pub dtype: Dtype,
    /// The algorithm.
    pub strategy: Strategy,
}

/// The stages of one transform in `direction`.
fn stages(radices: &[usize], direction: Direction) -> impl Iterator<Item = Stage> {
    let inverse = direction == Direction::Inverse;
    radices.iter().scan(1, move |before, &radix| {
        let stage = Stage { radix, before: *before, inverse };
        *before *= radix;
        Some(stage)
    })
}

/// The two factors of a four-step transform, as close to each other as `n` allows.
fn balanced_split(n: usize) -> (usize, usize) {
    let mut best = (1, n);
    let mut d = 1;
    while d * d <= n {
        if n.is_multiple_of(d) {
            best = (d, n / d);
        }
        d += 1;
    }
    best
}

/// Points of all transforms together: no product of lengths that a plan takes overflows below it.
const POINTS_MAX: usize = 1 << 40;

impl Chain {
    pub(super) fn rows(&self) -> usize {
        self.batch.iter().map(|axis| axis.len).product()
    }

    /// Merges batch axes that every operand and table crosses in one even step, and gives every
    /// hook a stride for each axis that is left.
    fn merged(&self) -> Self {
        let steps = |axis: usize| {
            let BatchAxis { source, target, .. } = self.batch[axis];
            let hooks = [&self.load_hooks, &self.filter_hooks, &self.store_hooks];
            let tables = hooks.into_iter().flatten();
            let tables = tables.map(move |h| h.strides.get(axis).copied().unwrap_or(0));
            [source, target].into_iter().chain(tables).collect::<Vec<_>>()
        };
        let mut axes: Vec<(usize, Vec<usize>)> = Vec::new();
        for (i, axis) in self.batch.iter().enumerate().filter(|(_, axis)| axis.len > 1) {
            let inner = steps(i);
            match axes.last_mut() {
                Some((len, outer))
                    if outer
                        .iter()
                        .zip(&inner)
                        .all(|(&o, &i)| Some(o) == i.checked_mul(axis.len)) =>
                {
                    *len *= axis.len;
                    *outer = inner;
                }
                _ => axes.push((axis.len, inner)),
            }
        }
        if axes.is_empty() {
            let hooks = self.load_hooks.len() + self.filter_hooks.len() + self.store_hooks.len();
            axes.push((1, vec![0; 2 + hooks]));
        }
        let mut merged = self.clone();
        merged.batch = axes
            .iter()
            .map(|(len, steps)| BatchAxis { len: *len, source: steps[0], target: steps[1] })
            .collect();
        let hooks = merged.load_hooks.iter_mut().chain(&mut merged.filter_hooks);
        for (h, hook) in hooks.chain(&mut merged.store_hooks).enumerate() {
            hook.strides = axes.iter().map(|(_, steps)| steps[2 + h]).collect();
        }
        merged
    }

    /// Lays the chain over passes.
    ///
    /// # Errors
    /// [`Error::Limit`] if there are more than 2⁴⁰ points; if the transform is longer than two passes reach,
    /// because a cube has not the shared memory or the units for one of them; or if the grid is too large.
    pub fn passes(&self, limits: &Limits) -> Result<Vec<Pass>> {
        let lengths = self.batch.iter().map(|axis| axis.len).chain([self.n]);
        if lengths.clone().any(|len| len == 0) {
            return Ok(Vec::new());
        }
        let points = lengths.fold(1, usize::saturating_mul);
        if points > POINTS_MAX {
            return Err(Error::Limit {
                op: self.op,
                resource: "points of all transforms",
                available: POINTS_MAX as u64,
                required: points as u64,
            });
        }
        let chain = self.merged();
        if chain.strategy == Strategy::Naive && !chain.round_trip {
            return Ok(vec![chain.naive(limits)?]);
        }
        if factorize(chain.n, 16).is_none() {
            return chain.convolutions(limits);
        }
        if let Ok(shape) = chain.shape_of_one_pass(limits) {
            return Ok(vec![chain.single(&shape, limits)?.widened()]);
        }
        let (first, second) = balanced_split(chain.n);
        let rows = chain.rows();
        let outer = chain.shape_of(first, 1, rows * second, true, limits)?;
        let inner = chain.shape_of(second, 1, rows * first, !chain.round_trip, limits)?;
        chain.four_step(&outer, &inner, limits)
    }

    /// The shape of a pass that does the whole chain. Half of a padded round trip's points are zero and half
    /// of its results are dropped: where all of them do not fit shared memory at once, the spectrum is taken in
    /// two turns, each a round trip of half the length. Kernels with two turns are quicker in any
    /// case, by a quarter on lavapipe, but it compiles them three times as long; and ten times
    /// as long where even half of the points have to go in turn.
    pub(super) fn shape_of_one_pass(&self, limits: &Limits) -> Result<Shape> {
        let halves = |end: End| end.len.saturating_mul(2) <= self.n;
        let padded = self.round_trip && halves(self.source) && halves(self.target);
        let fits = |shape: &Shape| shape.exchange == Exchange::Whole;
        let shape = self.shape(1, limits);
        // A unit alone has no place to keep the results of the first turn.
        let at_once = shape.as_ref().is_ok_and(fits);
        if at_once || !padded || !self.n.is_multiple_of(2) || one_unit(limits) {
            return shape;
        }
        self.shape(2, limits).ok().filter(fits).map_or(shape, Ok)
    }

    /// One pass of `shape` that does the whole chain.
    pub(super) fn single(&self, shape: &Shape, limits: &Limits) -> Result<Pass> {
        let n = self.n / shape.turns;
        let mut all: Vec<Stage> = stages(&shape.radices, self.direction).collect();
        let mut filter_after = None;
        if self.round_trip {
            filter_after = Some(all.len() - 1);
            let mut back = shape.radices.clone();
            if shape.algorithm == Algorithm::Registers {
                back.reverse();
            }
            all.extend(stages(&back, self.direction.reversed()));
        }
        let compiled = |hooks: &[Hook]| {
            hooks
                .iter()
                .map(|hook| HookConfig {
                    conjugate: hook.conjugate,
                    bound: matches!(hook.table, Table::Bound(_)),
                    per_row: hook.strides.iter().any(|&s| s != 0),
                })
                .collect::<Vec<_>>()
        };
        Ok(Pass {
            config: PassConfig {
                n,
                stages: all,
                filter_after,
                turns: shape.turns,
                root: 0,
                units: shape.units,
                lanes: shape.lanes,
                wide: [false; 2],
                rows: shape.rows,
                across: shape.across,
                algorithm: shape.algorithm,
                exchange: shape.exchange,
                pad: shape.pad,
                load: self.load,
                store: self.store,
                interleaved: [false; 3],
                wrapped: false,
                padded: self.source.len < n,
                cropped: self.target.len < n,
                turn_low: 0,
                load_hooks: compiled(&self.load_hooks),
                filter_hooks: compiled(&self.filter_hooks),
                store_hooks: compiled(&self.store_hooks),
            },
            source: Operand::Input,
            target: Operand::Output,
            batch: self.batch.clone(),
            source_end: self.source,
            target_end: self.target,
            steps: [1; 3],
            period: self.period,
            scale: self.scale,
            twiddles: Table::Twiddles { n: self.n },
            turn: None,
            wrap: None,
            hooks: [&self.load_hooks, &self.filter_hooks, &self.store_hooks]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            // The units of a serial device share all transforms out among themselves.
            cubes: grid(
                self.op,
                if limits.serial { 1 } else { self.rows().div_ceil(shape.rows) },
                limits,
            )?,
        })
    }

    fn naive(&self, limits: &Limits) -> Result<Pass> {
        let units = if limits.serial { 1 } else { limits.units_per_cube.min(UNITS_PER_CUBE) };
        let shape = Shape {
            radices: vec![self.n],
            turns: 1,
            units,
            lanes: 1,
            rows: 1,
            across: false,
            algorithm: Algorithm::Naive,
            exchange: Exchange::Whole,
            pad: 0,
        };
        let mut pass = self.single(&shape, limits)?;
        let outputs = self.rows().saturating_mul(self.n);
        pass.cubes = grid(self.op, outputs.div_ceil(units), limits)?;
        Ok(pass)
    }

    /// `n = first · second`, index `i = i₁·second + i₂`, frequency `k = k₁ + k₂·first`: transforms
    /// over `i₁`, the twiddles `w^{i₂ k₁}`, transforms over `i₂`. The work space holds every
    /// transform as `[first][second]`. A round trip turns back in the second pass: transforms over
    /// `i₂`, filter, inverse transforms, twiddles; a third pass mirrors the first.
    fn four_step(&self, outer: &Shape, inner: &Shape, limits: &Limits) -> Result<Vec<Pass>> {
        let first = outer.radices.iter().product::<usize>();
        let second = inner.radices.iter().product::<usize>();
        let low = (self.n.isqrt() + 1).next_power_of_two();
        let turn = Some(Table::Turn { n: self.n, low });
        let space = |stride| End { offset: 0, stride, len: usize::MAX };
        let all_points =
            |end: End| if end.len < self.n { end } else { End { len: usize::MAX, ..end } };

        // The batch with one more axis for the transforms of a pass. In the work space transforms
        // follow one another; at the caller's ends the logical index covers the new axis.
        let batch = |len: usize, step: usize, at_source: bool, at_target: bool| {
            let mut batch = self.batch.clone();
            let mut next = self.n;
            for axis in batch.iter_mut().rev() {
                if !at_source {
                    axis.source = next;
                }
                if !at_target {
                    axis.target = next;
                }
                next *= axis.len;
            }
            let step_of = |outside| if outside { 0 } else { step };
            batch.push(BatchAxis { len, source: step_of(at_source), target: step_of(at_target) });
            batch
        };
        let hooks = |hooks: &[Hook]| -> Vec<Hook> {
            let longer = |h: &Hook| Hook { strides: [&h.strides[..], &[0]].concat(), ..h.clone() };
            hooks.iter().map(longer).collect()
        };

        let mut forward = Chain {
            n: first,
            round_trip: false,
            batch: batch(second, 1, true, false),
            source: all_points(self.source),
            target: space(second),
            store: Store::Complex,
            load_hooks: hooks(&self.load_hooks),
            filter_hooks: Vec::new(),
            store_hooks: Vec::new(),
            scale: Scale::ONE,
            ..self.clone()
        }
        .single(outer, limits)?;
        forward.target = Operand::Workspace;
        forward.config.interleaved[0] = true;
        forward.config.padded = self.source.len < self.n;
        forward.config.turn_low = low;
        forward.steps[0] = second;
        forward.turn = turn;

        let middle = Chain {
            n: second,
            batch: batch(first, second, false, !self.round_trip),
            source: space(1),
            load: Load::Complex,
            load_hooks: Vec::new(),
            filter_hooks: hooks(&self.filter_hooks),
            scale: if self.round_trip { Scale::ONE } else { self.scale },
            ..self.clone()
        };
        if !self.round_trip {
            let mut middle = Chain {
                target: all_points(self.target),
                store_hooks: hooks(&self.store_hooks),
                ..middle
            }
            .single(inner, limits)?;
            middle.source = Operand::Workspace;
            middle.config.interleaved[2] = true;
            middle.config.cropped = self.target.len < self.n;
            middle.steps[2] = first;
            return Ok(vec![forward.widened(), middle.widened()]);
        }
        let mut middle =
            Chain { target: space(1), store: Store::Complex, store_hooks: Vec::new(), ..middle }
                .single(inner, limits)?;
        middle.source = Operand::Workspace;
        middle.target = Operand::Workspace;
        middle.config.interleaved[1] = true;
        middle.config.turn_low = low;
        middle.steps[1] = first;
        middle.turn = turn;

        let mut back = Chain {
            n: first,
            round_trip: false,
            direction: self.direction.reversed(),
            batch: batch(second, 1, false, true),
            source: space(second),
            target: all_points(self.target),
            load: Load::Complex,
            load_hooks: Vec::new(),
            filter_hooks: Vec::new(),
            store_hooks: hooks(&self.store_hooks),
            ..self.clone()
        }
        .single(outer, limits)?;
        back.source = Operand::Workspace;
        back.config.interleaved[2] = true;
        back.config.cropped = self.target.len < self.n;
        back.steps[2] = second;
        Ok([forward, middle, back].map(Pass::widened).into())
    }
}
