//! Device code of a pass's two ends: where the points of a transform lie, how they are read and
//! written, and the hooks that multiply them on the way.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::{
    butterfly::Registers,
    chain::{Load, Store},
    pass::{HookConfig, PassConfig},
};

/// Where the points of the transforms lie. All counts are in elements of the operand.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Geometry {
    /// The lengths of the batch axes, slowest first.
    pub(crate) batch: Sequence<usize>,
    /// The steps of source and target along each of them.
    pub(crate) source_steps: Sequence<usize>,
    pub(crate) target_steps: Sequence<usize>,
    /// The steps of the hooks' tables, hook by hook.
    pub(crate) table_steps: Sequence<usize>,
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
    /// A factor on every stored point.
    pub(crate) scale: InputScalar,
}

/// A complex table in the compute type.
pub(crate) type ComplexTable<F> = Box<[Vector<F, Const<2>>]>;

/// Where the points of a pass lie and what they are multiplied with.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Frame<F: Float> {
    pub(crate) geometry: Geometry,
    /// `e^{−2πi j/n}` for `j < n`, `n` the points of all turns.
    pub(crate) twiddles: ComplexTable<F>,
    /// The two-level twiddle of a four-step transform, or nothing.
    pub(crate) turn: Sequence<ComplexTable<F>>,
    /// The order in which Rader's algorithm takes its points, or nothing.
    pub(crate) powers: Sequence<ComplexTable<F>>,
    /// What a convolution lacks that wraps around, or nothing.
    pub(crate) wrap: Sequence<ComplexTable<F>>,
    /// The hooks' tables: load, filter, store.
    pub(crate) hooks: Sequence<ComplexTable<F>>,
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
        let mut begin = 0usize;
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
            let power = frame.powers[0usize][b + lane].extract(0usize);
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
) {
    #[unroll]
    for h in 0..comptime!(hooks.len()) {
        let table = &frame.hooks[comptime!(first + h)];
        let factor = table[row.tables[comptime!(first + h)] + i];
        multiply_by::<F>(x, slot, factor, comptime!(hooks[h].conjugate));
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
    let re = F::cast_from(value.extract(comptime!(lane * parts)));
    let im = if comptime!(parts == 2) {
        F::cast_from(value.extract(comptime!(lane * parts + 1)))
    } else {
        F::new(0.0)
    };
    x.set(slot, re, im);
    if comptime!(matches!(load, Load::Hermitian { .. })) {
        x.set(slot, re, select(2 * point > period, -im, im));
    }
    if comptime!(matches!(load, Load::Hermitian { halved: true })) {
        let alone = point == 0 || 2 * point == period;
        let weight = select(alone, F::new(1.0), F::new(0.5));
        x.set(slot, x.re[slot] * weight, x.im[slot] * weight);
    }
    if comptime!(config.padded) {
        let zero = F::new(0.0);
        x.set(slot, select(inside, x.re[slot], zero), select(inside, x.im[slot], zero));
    }
    apply_hooks::<F>(x, slot, point, row, frame, 0usize, comptime!(config.load_hooks.clone()));
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
    apply_hooks::<F>(x, slot, point, row, frame, first, comptime!(config.filter_hooks.clone()));
}

/// Rader's algorithm convolves the points `1 … n`. Where the register holds frequency `i = 0` of them, their
/// sum, it gives the spectrum its point 0 and takes in the signal's: a constant of the convolution
/// is `n` times as much here, and the filter has −1 for it.
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
    let times = F::cast_from(comptime!(config.n));
    let (re, im) = (origin.re[0usize], origin.im[0usize]);
    if i == 0 && row.active {
        origin.set(1usize, (x.re[slot] + re) * times, (x.im[slot] + im) * times);
        finish::<F>(&mut origin, 1usize, 0usize, 0usize, row, frame, config.clone());
        let mut value = Vector::<O, NO>::empty();
        give::<O, F, NO>(&mut value, 0usize, origin.re[1usize], origin.im[1usize], config.clone());
        target[row.target] = value;
    }
    let zero = F::new(0.0);
    let (re, im) = (select(i == 0, re * times, zero), select(i == 0, im * times, zero));
    x.set(slot, x.re[slot] - re, x.im[slot] - im);
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
        let table = &frame.turn[0usize];
        let low = comptime!(config.turn_low);
        let turn = i * row.inner;
        let inverse = comptime!(config.stages[config.stages.len() - 1].inverse);
        multiply_by::<F>(x, slot, table[turn % low], inverse);
        multiply_by::<F>(x, slot, table[low + turn / low], inverse);
    }
    let first = comptime!(config.load_hooks.len() + config.filter_hooks.len());
    apply_hooks::<F>(x, slot, point, row, frame, first, comptime!(config.store_hooks.clone()));
    let mut scale = frame.geometry.scale.get::<F>();
    if comptime!(matches!(config.store, Store::Half { doubled: true })) {
        let alone = point == 0 || 2 * point == frame.geometry.period;
        scale = select(alone, scale, scale * F::new(2.0));
    }
    x.set(slot, x.re[slot] * scale, x.im[slot] * scale);
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
