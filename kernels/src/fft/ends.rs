//! Device code of a pass's two ends: where the points of a transform lie, how they are read and
//! written, and the hooks that multiply them on the way.

#![allow(
    clippy::needless_pass_by_value,
    clippy::needless_range_loop,
    reason = "values known at compile time pass by value, and the macro unrolls loops over ranges alone"
)]

use cubecl::prelude::*;

use super::{
    butterfly::Registers,
    chain::{Load, Store},
    pass::{HookConfig, PassConfig},
};
use crate::constant;

/// Where the points of the transforms lie. All counts are in elements of the operand.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Geometry {
    /// The lengths of the batch axes, slowest first.
    pub(crate) batch: Sequence<usize>,
    /// The steps of source and target along each of them.
    pub(crate) source_steps: Sequence<usize>,
    pub(crate) target_steps: Sequence<usize>,
    /// The steps of the hooks' tables, hook by hook, and where each begins.
    pub(crate) table_steps: Sequence<usize>,
    pub(crate) table_begins: Sequence<usize>,
    /// The number of transforms.
    pub(crate) rows: usize,
    pub(crate) source_offset: usize,
    pub(crate) source_stride: usize,
    /// Points beyond this one load as zero.
    pub(crate) source_len: usize,
    pub(crate) target_offset: usize,
    pub(crate) target_stride: usize,
    /// Points beyond this one are not stored.
    pub(crate) target_len: usize,
    /// The steps of the logical index where points interleave with the fastest batch axis.
    pub(crate) source_step: usize,
    pub(crate) filter_step: usize,
    pub(crate) target_step: usize,
    /// The length of the whole transform.
    pub(crate) period: usize,
    /// A factor on every point that is read.
    pub(crate) scale: InputScalar,
}

/// A complex table in the compute type.
pub(crate) type ComplexTable<F> = Box<[Vector<F, Const<2>>]>;

/// Where the points of a pass lie and what they are multiplied with.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Frame<F: Float> {
    pub(crate) geometry: Geometry,
    /// The plan's own tables, one after the other, as [`Pass::packed`](super::pass::Pass::packed) has them. First
    /// `e^{−2πi j/n}` for `j < n`, `n` the points of all turns. Then what some passes have, no pass two of them: the
    /// two-level twiddle of a four-step transform, the order in which Rader's algorithm takes its points, or what a
    /// convolution lacks that wraps around. Then those of hooks.
    pub(crate) tables: ComplexTable<F>,
    /// The caller's tables: load, filter, store.
    pub(crate) bound: Sequence<ComplexTable<F>>,
}

/// Where the table begins that follows the twiddles.
pub(super) fn behind_twiddles(config: &PassConfig) -> usize {
    config.n * config.turns
}

/// The place of hook `h` among the caller's tables.
fn place_among_bound(config: &PassConfig, h: usize) -> usize {
    config.hooks()[..h].iter().filter(|hook| hook.bound).count()
}

/// Where one transform begins in every operand.
#[derive(CubeType)]
pub(super) struct Row {
    source: usize,
    target: usize,
    /// Where it begins in each hook's table.
    tables: Sequence<usize>,
    /// The coordinate on the fastest batch axis.
    inner: usize,
    /// Whether the transform exists: the last cube may have units to spare.
    pub(super) active: bool,
}

#[cube]
pub(super) fn locate(geometry: &Geometry, row: usize, #[comptime] config: PassConfig) -> Row {
    let active = row < geometry.rows;
    let rank = geometry.batch.len().comptime();
    let mut at = Sequence::<usize>::new();
    let mut rest = min(row, geometry.rows - 1);
    let mut source = geometry.source_offset;
    let mut target = geometry.target_offset;
    #[unroll]
    for d in 0..rank {
        let axis = comptime!(rank - 1 - d);
        let mut coordinate = rest;
        if comptime!(d + 1 < rank) {
            coordinate = rest % geometry.batch[axis];
            rest /= geometry.batch[axis];
        }
        source += coordinate * geometry.source_steps[axis];
        target += coordinate * geometry.target_steps[axis];
        at.push(coordinate);
    }
    let mut tables = Sequence::<usize>::new();
    #[unroll]
    for hook in 0..comptime!(config.hooks().len()) {
        let mut begin = geometry.table_begins[hook];
        if comptime!(config.hooks()[hook].per_row) {
            #[unroll]
            for d in 0..rank {
                begin += at[d] * geometry.table_steps[comptime!((hook + 1) * rank - 1 - d)];
            }
        }
        tables.push(begin);
    }
    let inner = at[0usize];
    Row { source, target, tables, inner, active }
}

/// A butterfly of the first or the last stage, and its neighbours that a unit takes beside it.
#[derive(CubeType)]
pub(super) struct Bundle {
    /// The first of them.
    pub(super) b: usize,
    /// In Rader's order the first point of each, read once for all of its points; else nothing.
    powers: Sequence<usize>,
}

#[cube]
pub(super) fn bundle<F: Float>(
    b: usize,
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) -> Bundle {
    let mut powers = Sequence::<usize>::new();
    if comptime!(config.root > 0) {
        #[unroll]
        for lane in 0..comptime!(config.lanes) {
            let entry = b + comptime!(lane + behind_twiddles(&config));
            let power = frame.tables[entry].extract(0usize);
            powers.push(usize::cast_from(i32::cast_from(power)));
        }
    }
    Bundle { b, powers }
}

/// The point of the whole transform that a pass reads (end 0) or writes (2) as point `offset` of the
/// butterfly `lane` of a bundle.
#[cube]
fn point_of<F: Float>(
    bundle: &Bundle,
    #[comptime] lane: usize,
    #[comptime] offset: usize,
    row: &Row,
    frame: &Frame<F>,
    #[comptime] end: usize,
    #[comptime] config: PassConfig,
) -> usize {
    if comptime!(config.root > 0) {
        let modulus = comptime!(config.n + 1);
        bundle.powers[lane] * comptime!(power_modulo(config.root, offset, modulus)) % modulus
    } else {
        logical::<F>(bundle.b + lane + offset, row, frame, end, config)
    }
}

/// The point of the whole transform that a pass knows as point `i` when it reads (end 0), filters (1) or
/// writes (2).
#[cube]
fn logical<F: Float>(
    i: usize,
    row: &Row,
    frame: &Frame<F>,
    #[comptime] end: usize,
    #[comptime] config: PassConfig,
) -> usize {
    let geometry = &frame.geometry;
    if comptime!(config.interleaved[end]) {
        let step = match comptime!(end) {
            0 => geometry.source_step,
            1 => geometry.filter_step,
            _ => geometry.target_step,
        };
        i * step + row.inner
    } else {
        i
    }
}

fn power_modulo(base: usize, exponent: usize, modulus: usize) -> usize {
    (0..exponent).fold(1, |power, _| power * base % modulus)
}

#[cube]
pub(super) fn multiply_by<F: Float>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    factor: Vector<F, Const<2>>,
    #[comptime] conjugate: bool,
) {
    let im = factor.extract(1usize);
    if comptime!(conjugate) {
        x.multiply(slot, factor.extract(0usize), -im);
    } else {
        x.multiply(slot, factor.extract(0usize), im);
    }
}

/// Multiplies a register by the entries `i` of the hooks in `first .. first + hooks.len()`.
#[cube]
fn apply_hooks<F: Float>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    i: usize,
    row: &Row,
    frame: &Frame<F>,
    #[comptime] first: usize,
    #[comptime] hooks: Vec<HookConfig>,
    #[comptime] config: PassConfig,
) {
    #[unroll]
    for h in 0..comptime!(hooks.len()) {
        let entry = row.tables[comptime!(first + h)] + i;
        let hook = comptime!(hooks[h]);
        let conjugate = comptime!(hook.conjugate);
        if comptime!(hook.bound) {
            let table = &frame.bound[comptime!(place_among_bound(&config, first + h))];
            multiply_by::<F>(x, slot, table[entry], conjugate);
        } else {
            multiply_by::<F>(x, slot, frame.tables[entry], conjugate);
        }
    }
}

/// Loads the points `offset` of a bundle's butterflies into the registers `slot`, `slot + step` …, one
/// for each lane, with the load hooks.
#[cube]
pub(super) fn load_points<E: Float, F: Float, N: Size>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    #[comptime] step: usize,
    bundle: &Bundle,
    #[comptime] offset: usize,
    row: &Row,
    source: &[Vector<E, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let lanes = comptime!(config.lanes);
    if comptime!(config.wide[0]) {
        let (inside, point) = existing(bundle.b + offset, &frame.geometry, config.clone());
        let values = source[(row.source + point) / lanes];
        #[unroll]
        for lane in 0..lanes {
            let to = comptime!(slot + lane * step);
            accept::<E, F, N>(
                x,
                to,
                values,
                lane,
                inside,
                point + lane,
                row,
                frame,
                config.clone(),
            );
        }
    } else {
        #[unroll]
        for lane in 0..lanes {
            let i = point_of::<F>(bundle, lane, offset, row, frame, 0usize, config.clone());
            let to = comptime!(slot + lane * step);
            load_point::<E, F, N>(x, to, i, row, source, frame, config.clone());
        }
    }
}

/// Loads point `i` of the whole transform into the register `slot`, with the load hooks, where the source is
/// read point by point.
#[cube]
pub(super) fn load_point<E: Float, F: Float, N: Size>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    i: usize,
    row: &Row,
    source: &[Vector<E, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let geometry = &frame.geometry;
    let (inside, point) = existing(i, geometry, config.clone());
    let place = source_place(point, geometry, config.clone());
    let value = source[row.source + place * geometry.source_stride];
    accept::<E, F, N>(x, slot, value, 0usize, inside, point, row, frame, config);
}

/// Whether the source has a point, and the point or, if not, one that may be read in its stead.
#[cube]
fn existing(point: usize, geometry: &Geometry, #[comptime] config: PassConfig) -> (bool, usize) {
    let inside = point < geometry.source_len;
    let point = if comptime!(config.padded) { select(inside, point, 0usize) } else { point };
    (inside, point)
}

/// The place of a point in the source, before its stride.
#[cube]
fn source_place(point: usize, geometry: &Geometry, #[comptime] config: PassConfig) -> usize {
    if comptime!(matches!(config.load, Load::Hermitian { .. })) {
        // Bin k > n/2 is the conjugate of bin n − k.
        select(2 * point > geometry.period, geometry.period - point, point)
    } else if comptime!(config.load == Load::Reversed) {
        geometry.period - 1 - point
    } else {
        point
    }
}

/// Takes the element `lane` of what was read as a point of a transform.
#[cube]
fn accept<E: Float, F: Float, N: Size>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    value: Vector<E, N>,
    #[comptime] lane: usize,
    inside: bool,
    point: usize,
    row: &Row,
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let load = comptime!(config.load);
    let parts = comptime!(if load == Load::Real { 1usize } else { 2usize });
    let period = frame.geometry.period;
    let zero = F::new(0.0);
    let re = F::cast_from(value.extract(comptime!(lane * parts)));
    if comptime!(load == Load::Real) {
        x.set(slot, re, zero);
    } else {
        let mut im = F::cast_from(value.extract(comptime!(lane * parts + 1)));
        let mut times = F::new(1.0);
        if comptime!(matches!(load, Load::Hermitian { .. })) {
            // A bin that is its own mirror image is real: whatever its imaginary part holds, it is not a part of
            // the spectrum of a real signal.
            let alone = point == 0 || 2 * point == period;
            im = select(alone, zero, select(2 * point > period, -im, im));
            times = select(alone, times, F::new(0.5));
        }
        if comptime!(load == (Load::Hermitian { halved: true })) {
            x.set(slot, re * times, im * times);
        } else {
            x.set(slot, re, im);
        }
    }
    if comptime!(config.padded) {
        x.set(slot, select(inside, x.re[slot], zero), select(inside, x.im[slot], zero));
    }
    let hooks = comptime!(config.load_hooks.clone());
    apply_hooks::<F>(x, slot, point, row, frame, 0usize, hooks, config);
}

/// Runs the filter hooks on a register that holds frequency `i` of a turn.
#[cube]
pub(super) fn filter_point<F: Float>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    i: usize,
    row: &Row,
    frame: &Frame<F>,
    #[comptime] turn: usize,
    #[comptime] config: PassConfig,
) {
    let i = i * comptime!(config.turns) + turn;
    let point = logical::<F>(i, row, frame, 1usize, config.clone());
    let first = comptime!(config.load_hooks.len());
    let hooks = comptime!(config.filter_hooks.clone());
    apply_hooks::<F>(x, slot, point, row, frame, first, hooks, config);
}

/// Rader's algorithm convolves the points `1 … n`. Where the register holds frequency `i = 0` of them, their
/// sum, it gives the spectrum its point 0 and takes in the signal's: a constant of the convolution has the filter's
/// entry −1, and no factor `1/n`.
#[cube]
pub(super) fn join_origin<I: Float, O: Float, F: Float, NI: Size, NO: Size>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    i: usize,
    row: &Row,
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let mut origin = Registers::<F>::new(2usize);
    load_point::<I, F, NI>(&mut origin, 0usize, 0usize, row, source, frame, config.clone());
    let share = constant::<F>(comptime!(1.0 / config.n as f64));
    let (re, im) = (origin.re[0usize], origin.im[0usize]);
    if i == 0 && row.active {
        origin.set(1usize, x.re[slot] + re, x.im[slot] + im);
        finish::<F>(&mut origin, 1usize, 0usize, 0usize, row, frame, config.clone());
        let mut value = Vector::<O, NO>::empty();
        give::<O, F, NO>(&mut value, 0usize, origin.re[1usize], origin.im[1usize], config.clone());
        target[row.target] = value;
    }
    let (sum_re, sum_im) = (x.re[slot], x.im[slot]);
    x.set(
        slot,
        select(i == 0, sum_re * share - re, sum_re),
        select(i == 0, sum_im * share - im, sum_im),
    );
}

/// Stores the registers `slot`, `slot + step` … as the points `offset` of a bundle's butterflies, with the
/// four-step twiddle and the store hooks.
#[cube]
pub(super) fn store_points<E: Float, F: Float, N: Size>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    #[comptime] step: usize,
    bundle: &Bundle,
    #[comptime] offset: usize,
    row: &Row,
    target: &mut [Vector<E, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let lanes = comptime!(config.lanes);
    let geometry = &frame.geometry;
    if comptime!(config.wide[1]) {
        let i = bundle.b + offset;
        if !comptime!(config.cropped) || i < geometry.target_len {
            let mut values = Vector::<E, N>::empty();
            #[unroll]
            for lane in 0..lanes {
                let from = comptime!(slot + lane * step);
                finish::<F>(x, from, i + lane, i + lane, row, frame, config.clone());
                give::<E, F, N>(&mut values, lane, x.re[from], x.im[from], config.clone());
            }
            target[(row.target + i) / lanes] = values;
        }
    } else {
        #[unroll]
        for lane in 0..lanes {
            let point = point_of::<F>(bundle, lane, offset, row, frame, 2usize, config.clone());
            if !comptime!(config.cropped) || point < geometry.target_len {
                let from = comptime!(slot + lane * step);
                let i = bundle.b + lane + offset;
                finish::<F>(x, from, i, point, row, frame, config.clone());
                let mut value = Vector::<E, N>::empty();
                give::<E, F, N>(&mut value, 0usize, x.re[from], x.im[from], config.clone());
                target[row.target + point * geometry.target_stride] = value;
            }
        }
    }
}

/// Multiplies output `i` of a transform, which is `point` of the target, by all that it is to be
/// multiplied with.
#[cube]
fn finish<F: Float>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    i: usize,
    point: usize,
    row: &Row,
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    if comptime!(config.turn_low > 0) {
        let low = comptime!(config.turn_low);
        let fine = comptime!(behind_twiddles(&config));
        let turn = i * row.inner;
        let inverse = comptime!(config.stages[config.stages.len() - 1].inverse);
        multiply_by::<F>(x, slot, frame.tables[turn % low + fine], inverse);
        multiply_by::<F>(x, slot, frame.tables[turn / low + comptime!(fine + low)], inverse);
    }
    let first = comptime!(config.load_hooks.len() + config.filter_hooks.len());
    let hooks = comptime!(config.store_hooks.clone());
    apply_hooks::<F>(x, slot, point, row, frame, first, hooks, config.clone());
    let scale = frame.geometry.scale.get::<F>();
    let (re, im) = (x.re[slot], x.im[slot]);
    if comptime!(matches!(config.store, Store::Half { .. })) {
        // A bin that is its own mirror image is real, and has no effect by an imaginary part.
        let alone = point == 0 || 2 * point == frame.geometry.period;
        let times =
            comptime!(if config.store == (Store::Half { doubled: true }) { 2.0f32 } else { 1.0 });
        let times = scale * F::new(times);
        x.set(slot, select(alone, re * scale, re * times), select(alone, F::new(0.0), im * times));
    } else {
        x.set(slot, re * scale, im * scale);
    }
}

/// Puts a point into element `lane` of what is to be written.
#[cube]
fn give<E: Float, F: Float, N: Size>(
    value: &mut Vector<E, N>,
    #[comptime] lane: usize,
    re: F,
    im: F,
    #[comptime] config: PassConfig,
) {
    let parts = comptime!(if config.store == Store::Real { 1usize } else { 2usize });
    value.insert(comptime!(lane * parts), E::cast_from(re));
    if comptime!(parts == 2) {
        value.insert(comptime!(lane * parts + 1), E::cast_from(im));
    }
}
