//! Chains: how a transform with its hooks is laid over passes.

use wavecube_core::{
    Complex64, Dtype, Error, Limits, Result,
    fft::{
        Direction, bluestein_chirp, bluestein_filter, factorize, padded_len, root_of_unity,
        twiddles,
    },
};

use super::{
    pass::{
        Algorithm, Exchange, HookConfig, Operand, Pass, PassConfig, Stage, points_per_unit, room,
    },
    plan::Strategy,
};

/// One multiplication of a point by a table entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hook {
    /// The table.
    pub table: Table,
    /// Multiply by the conjugate instead.
    pub conjugate: bool,
    /// How far the table moves along each batch axis; empty for one table for all transforms.
    pub strides: Vec<usize>,
}

impl Hook {
    /// A hook by the same table for every transform.
    pub fn shared(table: Table) -> Self {
        Self { table, conjugate: false, strides: Vec::new() }
    }
}

/// A complex table in the compute type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// `e^{−2πi j/n}`, `j < n`.
    Twiddles {
        /// The length of the transform.
        n: usize,
    },
    /// `e^{−2πi j/n}` in two levels: `low` fine entries `j < low`, then the coarse `j = low·i`.
    Turn {
        /// The length of the whole transform.
        n: usize,
        /// The number of fine entries, a power of two.
        low: usize,
    },
    /// [`bluestein_chirp`].
    Chirp {
        /// The length of the transform.
        n: usize,
        /// Its direction.
        direction: Direction,
    },
    /// [`bluestein_filter`].
    ChirpFilter {
        /// The length of the transform.
        n: usize,
        /// The length of the convolution.
        padded: usize,
        /// The direction.
        direction: Direction,
    },
    /// A table of the caller, by its place in the bindings.
    Bound(usize),
}

impl Table {
    /// The entries, or `None` for a table that the caller binds.
    pub fn build(&self) -> Option<Vec<Complex64>> {
        match *self {
            Self::Twiddles { n } => Some(twiddles(n)),
            Self::Turn { n, low } => {
                let fine = (0..low as u64).map(|j| root_of_unity(j, n as u64));
                let coarse =
                    (0..n.div_ceil(low) as u64).map(|j| root_of_unity(j * low as u64, n as u64));
                Some(fine.chain(coarse).collect())
            }
            Self::Chirp { n, direction } => Some(bluestein_chirp(n, direction)),
            Self::ChirpFilter { n, padded, direction } => {
                Some(bluestein_filter(n, padded, direction))
            }
            Self::Bound(_) => None,
        }
    }
}

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
    /// A factor on the result.
    pub scale: Scale,
    /// Storage type.
    pub dtype: Dtype,
    /// The algorithm.
    pub strategy: Strategy,
}

/// Points a unit aims to hold, which is its largest power-of-two radix too: enough to hide latency,
/// few enough for the register file. A point of `f64` takes four registers, two of `f32`.
const fn points_aim(compute: Dtype) -> usize {
    if matches!(compute, Dtype::F64) { 8 } else { 16 }
}

/// No unit may hold more while few units suffice. With 26 points of `f32`, two butterflies of radix 13,
/// `ptxas` spills for the sake of occupancy (length 1001 on `sm_90a`).
const fn points_max(compute: Dtype, limits: &Limits) -> usize {
    match (compute, limits.emulated) {
        (Dtype::F64, _) => 16,
        (_, false) => 24,
        (_, true) => 32,
    }
}

/// More units than this leave each of them fewer than 128 registers of a GPU; they hold more points
/// instead, up to twice as many as they aim at.
const UNITS_MAX: usize = 512;

fn needs_many_units(n: usize, compute: Dtype) -> bool {
    n.div_ceil(points_aim(compute)) > UNITS_MAX
}

/// Units a cube aims to have.
const UNITS_PER_CUBE: usize = 128;
/// Neighbouring transforms that one cube should carry when they, not the points, are adjacent.
const ACROSS_ROWS: usize = 8;

/// The bytes of shared memory that a device reaches at once: one word from each of 32 banks.
const BANKS: usize = 128;

/// Units for a transform of `n` points: the fewest wasted slots, then the fewest units.
fn units_for(n: usize, radices: &[usize], lanes: usize, compute: Dtype, limits: &Limits) -> usize {
    let points =
        |units| radices.iter().map(|&r| points_per_unit(n, r, units, lanes)).max().unwrap_or(1);
    let aim = points_aim(compute);
    let most =
        points_max(compute, limits).max(if needs_many_units(n, compute) { 2 * aim } else { 0 });
    let fewest = n.div_ceil(most);
    (fewest..=n.div_ceil(aim / 2).min(UNITS_MAX.max(fewest)))
        .filter(|&units| points(units) <= most)
        .min_by_key(|&units| {
            let points = points(units);
            (units * points, points.abs_diff(aim), units)
        })
        .unwrap_or(n.div_ceil(2))
}

/// Puts an even radix first and one last, so that neighbouring butterflies touch neighbouring points
/// in every stage, and returns how many a unit takes side by side: two, where each stage has an even
/// number, two points are no more than 16 bytes and the registers of two butterflies are to be had:
/// on `sm_80` and `sm_90a` a tenth of the kernels spilled.
fn side_by_side(n: usize, radices: &mut [usize], compute: Dtype, limits: &Limits) -> usize {
    let even = |r: &usize| r.is_multiple_of(2);
    let evens = radices.iter().filter(|r| even(r)).count();
    if !limits.emulated || compute == Dtype::F64 || evens < 2 {
        return 1;
    }
    radices.sort_by_key(|r| (!even(r), core::cmp::Reverse(*r)));
    let last_even = radices.iter().rposition(even).unwrap_or(0);
    radices[last_even..].rotate_left(1);
    debug_assert!(radices.iter().all(|r| (n / r).is_multiple_of(2)));
    2
}

/// The shape of a pass.
struct Shape {
    radices: Vec<usize>,
    units: usize,
    lanes: usize,
    rows: usize,
    across: bool,
    algorithm: Algorithm,
    exchange: Exchange,
    pad: usize,
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

/// The grid for `cubes` cubes, as flat as the device allows.
pub(crate) fn grid(op: &'static str, cubes: usize, limits: &Limits) -> Result<[usize; 3]> {
    let [x, y, z] = limits.cube_count;
    let rows = cubes.div_ceil(x.max(1));
    let planes = rows.div_ceil(y.max(1));
    if planes > z {
        return Err(Error::Limit {
            op,
            resource: "cubes in a launch",
            available: (x as u64).saturating_mul(y as u64).saturating_mul(z as u64),
            required: cubes as u64,
        });
    }
    Ok([cubes.min(x), rows.min(y), planes])
}

impl Chain {
    fn rows(&self) -> usize {
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
    /// [`Error::Limit`] if the transform is longer than two passes reach: a cube has not the shared memory
    /// or the units for one of them; or if the grid is too large.
    pub fn passes(&self, limits: &Limits) -> Result<Vec<Pass>> {
        if self.rows() == 0 {
            return Ok(Vec::new());
        }
        let chain = self.merged();
        if chain.strategy == Strategy::Naive && !chain.round_trip {
            return Ok(vec![chain.naive(limits)?]);
        }
        if factorize(chain.n, 16).is_none() {
            return chain.bluestein(limits);
        }
        if let Ok(shape) = chain.shape(limits) {
            return Ok(vec![chain.single(&shape, limits)?.widened()]);
        }
        let (first, second) = balanced_split(chain.n);
        let rows = chain.rows();
        let outer = chain.shape_of(first, rows * second, true, limits)?;
        let inner = chain.shape_of(second, rows * first, !chain.round_trip, limits)?;
        chain.four_step(&outer, &inner, limits)
    }

    fn shape(&self, limits: &Limits) -> Result<Shape> {
        let across = self.batch.last().is_some_and(|axis| {
            axis.len > 1 && axis.source < self.source.stride && axis.target < self.target.stride
        });
        self.shape_of(self.n, self.rows(), across, limits)
    }

    /// The shape of a pass over transforms of `n` points, or what of the device is too small for one.
    fn shape_of(&self, n: usize, rows: usize, across: bool, limits: &Limits) -> Result<Shape> {
        let (op, compute) = (self.op, self.dtype.compute());
        // A round trip in which units hold many points spilled on `sm_80` with radix 16.
        let crowded = self.round_trip && needs_many_units(n, compute) && !limits.serial;
        let largest = if crowded { 8 } else { points_aim(compute) };
        let mut radices = factorize(n, largest).ok_or(Error::Length {
            op,
            argument: "n_fft",
            expected: "a product of primes up to 13 in one pass",
            found: n,
        })?;
        if radices.is_empty() {
            radices.push(1);
        }
        // A single stage exchanges nothing.
        let shared = if radices.len() == 1 { 0 } else { compute.size() };
        let holds = |numbers: usize| numbers.saturating_mul(shared) <= limits.shared_bytes;
        let too_little_memory = |numbers: usize| Error::Limit {
            op,
            resource: "bytes of shared memory in a cube",
            available: limits.shared_bytes as u64,
            required: numbers.saturating_mul(shared) as u64,
        };
        // Where a cube has one unit, no other unit is there to share a transform with.
        if limits.serial || limits.units_per_cube == 1 {
            let numbers = n.saturating_mul(4);
            if !holds(numbers) {
                return Err(too_little_memory(numbers));
            }
            return Ok(Shape {
                radices,
                units: 1,
                lanes: 1,
                rows: 1,
                across: false,
                algorithm: Algorithm::Serial,
                exchange: Exchange::Whole,
                pad: 0,
            });
        }
        let lanes = side_by_side(n, &mut radices, compute, limits);
        let units = units_for(n, &radices, lanes, compute, limits);
        let numbers = |exchange: Exchange, pad: usize, rows: usize| {
            room(n / lanes, pad).saturating_mul(exchange.parts() * lanes).saturating_mul(rows)
        };
        let exchange = [Exchange::Whole, Exchange::InTurn]
            .into_iter()
            .find(|&exchange| holds(numbers(exchange, 0, 1)))
            .ok_or_else(|| too_little_memory(numbers(Exchange::InTurn, 0, 1)))?;
        if units > limits.units_per_cube {
            return Err(Error::Limit {
                op,
                resource: "units in a cube",
                available: limits.units_per_cube as u64,
                required: units as u64,
            });
        }
        let pad = BANKS / (exchange.parts() * lanes * compute.size());
        let pad = if holds(numbers(exchange, pad, 1)) { pad } else { 0 };
        let wanted =
            if across { ACROSS_ROWS.max(UNITS_PER_CUBE / units) } else { UNITS_PER_CUBE / units };
        let mut per_cube = 1;
        while per_cube * 2 <= wanted
            && per_cube < rows
            && per_cube * 2 * units <= limits.units_per_cube
            && holds(numbers(exchange, pad, per_cube * 2))
        {
            per_cube *= 2;
        }
        Ok(Shape {
            radices,
            units,
            lanes,
            rows: per_cube,
            across,
            algorithm: Algorithm::Registers,
            exchange,
            pad,
        })
    }

    /// One pass of `shape` that does the whole chain.
    fn single(&self, shape: &Shape, limits: &Limits) -> Result<Pass> {
        let mut all: Vec<Stage> = stages(&shape.radices, self.direction).collect();
        let mut filter_after = None;
        if self.round_trip {
            filter_after = Some(all.len() - 1);
            let back: Vec<usize> = shape.radices.iter().rev().copied().collect();
            all.extend(stages(&back, self.direction.reversed()));
        }
        let compiled = |hooks: &[Hook]| {
            hooks
                .iter()
                .map(|hook| HookConfig {
                    conjugate: hook.conjugate,
                    per_row: hook.strides.iter().any(|&s| s != 0),
                })
                .collect::<Vec<_>>()
        };
        Ok(Pass {
            config: PassConfig {
                n: self.n,
                stages: all,
                filter_after,
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
                padded: self.source.len < self.n,
                cropped: self.target.len < self.n,
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
            hooks: [&self.load_hooks, &self.filter_hooks, &self.store_hooks]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            cubes: grid(self.op, self.rows().div_ceil(shape.rows), limits)?,
        })
    }

    fn naive(&self, limits: &Limits) -> Result<Pass> {
        let units = if limits.serial { 1 } else { limits.units_per_cube.min(UNITS_PER_CUBE) };
        let shape = Shape {
            radices: vec![self.n],
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

    /// A length with a prime factor above 13 as a padded convolution with a chirp; a round trip as
    /// two of them through the work space.
    fn bluestein(&self, limits: &Limits) -> Result<Vec<Pass>> {
        let n = self.n;
        let padded = padded_len(2 * n - 1);
        let convolution = |direction, hooks: [&[Hook]; 2], scale: f64| {
            let shared = |table| Hook { strides: vec![0; self.batch.len()], ..Hook::shared(table) };
            let chirp = shared(Table::Chirp { n, direction });
            let with = |hooks: &[Hook]| [core::slice::from_ref(&chirp), hooks].concat();
            Chain {
                n: padded,
                direction: Direction::Forward,
                round_trip: true,
                source: End { len: self.source.len.min(n), ..self.source },
                target: End { len: self.target.len.min(n), ..self.target },
                load_hooks: with(hooks[0]),
                filter_hooks: vec![shared(Table::ChirpFilter { n, padded, direction })],
                store_hooks: with(hooks[1]),
                scale: (scale / padded as f64).into(),
                ..self.clone()
            }
        };
        if !self.round_trip {
            let hooks = [self.load_hooks.as_slice(), &self.store_hooks];
            return convolution(self.direction, hooks, self.scale.get()).passes(limits);
        }
        // Between the two the spectra lie behind the room that long convolutions take for themselves.
        let mut between = self.batch.clone();
        let mut next = n;
        for axis in between.iter_mut().rev() {
            axis.target = next;
            next *= axis.len;
        }
        let space = End { offset: self.rows() * padded, stride: 1, len: n };
        let there = Chain {
            batch: between.clone(),
            target: space,
            store: Store::Complex,
            ..convolution(self.direction, [&self.load_hooks, &self.filter_hooks], 1.0)
        };
        let back = Chain {
            batch: between
                .iter()
                .zip(&self.batch)
                .map(|(space, own)| BatchAxis { source: space.target, ..*own })
                .collect(),
            source: space,
            load: Load::Complex,
            ..convolution(self.direction.reversed(), [&[], &self.store_hooks], self.scale.get())
        };
        let (mut passes, mut second) = (there.passes(limits)?, back.passes(limits)?);
        for pass in &mut passes {
            if pass.target == Operand::Output {
                pass.target = Operand::Workspace;
            }
        }
        for pass in &mut second {
            if pass.source == Operand::Input {
                pass.source = Operand::Workspace;
            }
        }
        passes.append(&mut second);
        Ok(passes)
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
        let mut middle = Chain {
            target: space(1),
            store: Store::Complex,
            store_hooks: Vec::new(),
            scale: Scale::ONE,
            ..middle
        }
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
