//! Device code. One cube carries whole transforms: load with the load hook, butterflies with
//! exchanges through shared memory between them, store with the store hook.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::prelude::*;

use super::{
    butterfly::{Registers, butterfly, slot},
    chain::{Load, Store},
    pass::{Algorithm, Exchange, HookConfig, PassConfig, Stage},
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
    /// `e^{−2πi j/n}` for `j < n`.
    pub(crate) twiddles: ComplexTable<F>,
    /// The two-level twiddle of a four-step transform, or nothing.
    pub(crate) turn: Sequence<ComplexTable<F>>,
    /// The hooks' tables: load, filter, store.
    pub(crate) hooks: Sequence<ComplexTable<F>>,
}

/// Where one transform begins in every operand.
#[derive(CubeType)]
struct Row {
    source: usize,
    target: usize,
    /// Where it begins in each hook's table.
    tables: Sequence<usize>,
    /// The coordinate on the fastest batch axis.
    inner: usize,
    /// Whether the transform exists: the last cube may have units to spare.
    active: bool,
}

#[cube]
fn locate(geometry: &Geometry, row: usize, #[comptime] config: PassConfig) -> Row {
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

/// The logical index of a pass's point `i` at one end.
#[cube]
fn logical(i: usize, row: &Row, step: usize, #[comptime] interleaved: bool) -> usize {
    if comptime!(interleaved) { i * step + row.inner } else { i }
}

#[cube]
fn multiply_by<F: Float>(
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

/// Loads the points `i`, `i + 1` … of a transform into the registers `slot`, `slot + step` …, one
/// for each lane, with the load hooks.
#[cube]
fn load_points<E: Float, F: Float, N: Size>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    #[comptime] step: usize,
    i: usize,
    row: &Row,
    source: &[Vector<E, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let lanes = comptime!(config.lanes);
    if comptime!(config.wide[0]) {
        let (inside, point) = existing(i, &frame.geometry, config.clone());
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
            let geometry = &frame.geometry;
            let i = logical(i + lane, row, geometry.source_step, comptime!(config.interleaved[0]));
            let (inside, point) = existing(i, geometry, config.clone());
            let place = source_place(point, geometry, config.clone());
            let value = source[row.source + place * geometry.source_stride];
            let to = comptime!(slot + lane * step);
            accept::<E, F, N>(x, to, value, 0usize, inside, point, row, frame, config.clone());
        }
    }
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

/// Runs the filter hooks on a register that holds frequency `i`.
#[cube]
fn filter_point<F: Float>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    i: usize,
    row: &Row,
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let point = logical(i, row, frame.geometry.filter_step, comptime!(config.interleaved[1]));
    let first = comptime!(config.load_hooks.len());
    apply_hooks::<F>(x, slot, point, row, frame, first, comptime!(config.filter_hooks.clone()));
}

/// Stores the registers `slot`, `slot + step` … as the points `i`, `i + 1` … of a transform, with the
/// four-step twiddle and the store hooks.
#[cube]
fn store_points<E: Float, F: Float, N: Size>(
    x: &mut Registers<F>,
    #[comptime] slot: usize,
    #[comptime] step: usize,
    i: usize,
    row: &Row,
    target: &mut [Vector<E, N>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let lanes = comptime!(config.lanes);
    let geometry = &frame.geometry;
    if comptime!(config.wide[1]) {
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
            let i = i + lane;
            let point = logical(i, row, geometry.target_step, comptime!(config.interleaved[2]));
            if !comptime!(config.cropped) || point < geometry.target_len {
                let from = comptime!(slot + lane * step);
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

/// Multiplies the inputs of butterfly `b` of stage `s` by their twiddles `w^k`,
/// `w = e^{−2πi (b mod before)/(before·radix)}`. Powers of two of `w` come from the table, the
/// others are products of at most three of them.
#[cube]
fn twiddle<F: Float>(
    x: &mut Registers<F>,
    #[comptime] first: usize,
    b: usize,
    twiddles: &[Vector<F, Const<2>>],
    #[comptime] config: PassConfig,
    #[comptime] s: usize,
) {
    let stage = comptime!(config.stages[s]);
    let radix = comptime!(stage.radix);
    if comptime!(stage.before > 1) {
        let step = comptime!(config.n / (stage.before * radix));
        let j = (b % comptime!(stage.before)) * step;
        let mut powers = Registers::<F>::new(radix);
        #[unroll]
        for k in 1..radix {
            let top = comptime!(1usize << (usize::BITS - 1 - k.leading_zeros()));
            if comptime!(top == k) {
                let factor = twiddles[j * k];
                let im = factor.extract(1usize);
                if comptime!(stage.inverse) {
                    powers.set(k, factor.extract(0usize), -im);
                } else {
                    powers.set(k, factor.extract(0usize), im);
                }
            } else {
                powers.set(k, powers.re[top], powers.im[top]);
                powers.multiply(k, powers.re[comptime!(k - top)], powers.im[comptime!(k - top)]);
            }
            x.multiply(comptime!(first + k), powers.re[k], powers.im[k]);
        }
    }
}

/// The place in the natural order of stage `s`'s output `k` of butterfly `b`.
#[cube]
fn place(
    b: usize,
    #[comptime] k: usize,
    #[comptime] config: PassConfig,
    #[comptime] s: usize,
) -> usize {
    let stage = comptime!(config.stages[s]);
    let before = comptime!(stage.before);
    if comptime!(before * stage.radix == config.n) {
        b + comptime!(k * before)
    } else if comptime!(before == 1) {
        b * comptime!(stage.radix) + k
    } else {
        let j = b % before;
        (b - j) * comptime!(stage.radix) + j + comptime!(k * before)
    }
}

/// A pass: every transform is loaded once and stored once.
#[cube(launch_unchecked)]
pub(crate) fn pass<I: Float, O: Float, F: Float, NI: Size, NO: Size, NX: Size>(
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
    #[define(I, O, F)] _dtypes: [ElemType; 3],
) {
    if comptime!(config.algorithm == Algorithm::Naive) {
        definition::<I, O, F, NI, NO>(source, target, frame, config);
    } else {
        let unit = UNIT_POS as usize;
        let rows = comptime!(config.rows);
        let units = comptime!(config.units);
        let (unit, member) = if comptime!(config.across) {
            (unit / rows, unit % rows)
        } else {
            (unit % units, unit / units)
        };
        let row = locate(&frame.geometry, CUBE_POS * rows + member, config.clone());
        if comptime!(config.algorithm == Algorithm::Registers) {
            stockham_registers::<I, O, F, NI, NO, NX>(
                unit, member, &row, source, target, frame, config,
            );
        } else {
            stockham_serial::<I, O, F, NI, NO>(&row, source, target, frame, config);
        }
    }
}

/// The rounds in which `units` units take the butterflies of stage `s`, `lanes` at a time.
fn rounds(config: &PassConfig, s: usize) -> usize {
    (config.n / config.stages[s].radix / config.lanes).div_ceil(config.units)
}

/// Whether a round has work for every unit.
fn full(config: &PassConfig, s: usize, round: usize) -> bool {
    (round + 1) * config.units * config.lanes <= config.n / config.stages[s].radix
}

/// The first butterfly that `unit` takes in a round.
#[cube]
fn butterfly_of(unit: usize, #[comptime] round: usize, #[comptime] config: PassConfig) -> usize {
    (unit + comptime!(round * config.units)) * comptime!(config.lanes)
}

/// Stockham's autosort with every point in a register: `units` units share a transform, and the
/// values change places through shared memory between two stages. Register
/// `(round · lanes + lane) · radix + k` holds point `k` of butterfly `butterfly_of(round) + lane`.
#[cube]
fn stockham_registers<I: Float, O: Float, F: Float, NI: Size, NO: Size, NX: Size>(
    unit: usize,
    member: usize,
    row: &Row,
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let n = comptime!(config.n);
    let lanes = comptime!(config.lanes);
    let last = comptime!(config.stages.len() - 1);
    let room = comptime!(if last == 0 { 0 } else { config.room() });
    let mut cells = Shared::<[Vector<F, NX>]>::new_slice(comptime!(max(room * config.rows, 1)));
    let begin = member * room;
    let mut x = Registers::<F>::new(comptime!(config.registers()));

    #[unroll]
    for s in 0..=last {
        let radix = comptime!(config.stages[s].radix);
        let inverse = comptime!(config.stages[s].inverse);
        let butterflies = comptime!(n / radix);
        #[unroll]
        for round in 0..comptime!(rounds(&config, s)) {
            let b = butterfly_of(unit, round, config.clone());
            let first = comptime!(round * lanes * radix);
            if comptime!(s == 0) {
                let b = if comptime!(full(&config, s, round)) {
                    b
                } else {
                    min(b, comptime!(butterflies - lanes))
                };
                #[unroll]
                for k in 0..radix {
                    let slot = comptime!(first + k);
                    let i = b + comptime!(k * butterflies);
                    load_points::<I, F, NI>(
                        &mut x,
                        slot,
                        radix,
                        i,
                        row,
                        source,
                        frame,
                        config.clone(),
                    );
                }
            }
            #[unroll]
            for lane in 0..lanes {
                let b = b + lane;
                let first = comptime!(first + lane * radix);
                twiddle::<F>(&mut x, first, b, &frame.twiddles, config.clone(), s);
                butterfly::<F>(&mut x, first, 1usize, radix, inverse);
                if comptime!(config.filter_after == Some(s)) {
                    #[unroll]
                    for k in 0..radix {
                        let slot = comptime!(first + slot(radix, k));
                        let i = min(b + comptime!(k * butterflies), comptime!(n - 1));
                        filter_point::<F>(&mut x, slot, i, row, frame, config.clone());
                    }
                }
            }
        }
        if comptime!(config.filter_after == Some(s)) {
            // The way back begins with the same radix: every value is where it is needed.
            settle::<F>(&mut x, radix, comptime!(rounds(&config, s) * lanes));
        } else if comptime!(s < last) {
            if comptime!(s > 0) {
                sync_cube();
            }
            let turns = comptime!(if config.exchange == Exchange::Whole { 1usize } else { 2usize });
            #[unroll]
            for part in 0usize..turns {
                if comptime!(part > 0) {
                    sync_cube();
                }
                spread::<F, NX>(&x, &mut cells, begin, unit, config.clone(), s, part);
                sync_cube();
                let next = comptime!(s + 1);
                gather::<F, NX>(&mut x, &cells, begin, unit, config.clone(), next, part);
            }
        } else if row.active {
            #[unroll]
            for round in 0..comptime!(rounds(&config, s)) {
                let b = butterfly_of(unit, round, config.clone());
                if comptime!(full(&config, s, round)) || b < butterflies {
                    #[unroll]
                    for k in 0..radix {
                        let slot = comptime!(round * lanes * radix + slot(radix, k));
                        let i = b + comptime!(k * butterflies);
                        store_points::<O, F, NO>(
                            &mut x,
                            slot,
                            radix,
                            i,
                            row,
                            target,
                            frame,
                            config.clone(),
                        );
                    }
                }
            }
        }
    }
}

/// The cell of the exchange that holds point `i`.
#[cube]
fn cell(i: usize, #[comptime] config: PassConfig) -> usize {
    let cell = i / comptime!(config.lanes);
    if comptime!(config.pad == 0) { cell } else { cell + cell / comptime!(config.pad) }
}

/// Moves the outputs of every butterfly into natural order. No instruction comes of it.
#[cube]
fn settle<F: Float>(x: &mut Registers<F>, #[comptime] radix: usize, #[comptime] rounds: usize) {
    #[unroll]
    for round in 0..rounds {
        let mut y = Registers::<F>::new(radix);
        #[unroll]
        for k in 0..radix {
            let from = comptime!(round * radix + slot(radix, k));
            y.set(k, x.re[from], x.im[from]);
        }
        #[unroll]
        for k in 0..radix {
            x.set(comptime!(round * radix + k), y.re[k], y.im[k]);
        }
    }
}

/// Writes the outputs of stage `s` to shared memory, in the order of the next stage: both parts, or
/// the real (0) or imaginary (1) one. Neighbours share a cell: outputs of one butterfly in the first
/// stage, the same output of neighbouring butterflies in the others.
#[cube]
fn spread<F: Float, NX: Size>(
    x: &Registers<F>,
    cells: &mut Shared<[Vector<F, NX>]>,
    begin: usize,
    unit: usize,
    #[comptime] config: PassConfig,
    #[comptime] s: usize,
    #[comptime] part: usize,
) {
    let Stage { radix, before, .. } = comptime!(config.stages[s]);
    let lanes = comptime!(config.lanes);
    #[unroll]
    for round in 0..comptime!(rounds(&config, s)) {
        let b = butterfly_of(unit, round, config.clone());
        if comptime!(full(&config, s, round)) || b < comptime!(config.n / radix) {
            #[unroll]
            for j in 0..radix {
                // Output k of butterfly b + lane begins a cell.
                let (lane, k) = comptime!(if before == 1 {
                    (j * lanes / radix, j * lanes % radix)
                } else {
                    (0, j)
                });
                let mut value = Vector::<F, NX>::empty();
                #[unroll]
                for next in 0..lanes {
                    let (lane, k) =
                        comptime!(if before == 1 { (lane, k + next) } else { (next, k) });
                    let from = comptime!((round * lanes + lane) * radix + slot(radix, k));
                    let to = comptime!(config.exchange.parts() * next);
                    if comptime!(part == 0) {
                        value.insert(to, x.re[from]);
                    } else {
                        value.insert(to, x.im[from]);
                    }
                    if comptime!(config.exchange == Exchange::Whole) {
                        value.insert(comptime!(to + 1), x.im[from]);
                    }
                }
                let i = place(b + lane, k, config.clone(), s);
                cells[begin + cell(i, config.clone())] = value;
            }
        }
    }
}

/// Reads the inputs of stage `s` from shared memory: both parts, or the one that was written.
#[cube]
fn gather<F: Float, NX: Size>(
    x: &mut Registers<F>,
    cells: &Shared<[Vector<F, NX>]>,
    begin: usize,
    unit: usize,
    #[comptime] config: PassConfig,
    #[comptime] s: usize,
    #[comptime] part: usize,
) {
    let radix = comptime!(config.stages[s].radix);
    let lanes = comptime!(config.lanes);
    let butterflies = comptime!(config.n / radix);
    #[unroll]
    for round in 0..comptime!(rounds(&config, s)) {
        let mut b = butterfly_of(unit, round, config.clone());
        if comptime!(!full(&config, s, round)) {
            b = min(b, comptime!(butterflies - lanes));
        }
        #[unroll]
        for k in 0..radix {
            let value = cells[begin + cell(b + comptime!(k * butterflies), config.clone())];
            #[unroll]
            for lane in 0..lanes {
                let slot = comptime!((round * lanes + lane) * radix + k);
                let from = comptime!(config.exchange.parts() * lane);
                if comptime!(part == 0) {
                    x.re.insert(slot, value.extract(from));
                } else {
                    x.im.insert(slot, value.extract(from));
                }
                if comptime!(config.exchange == Exchange::Whole) {
                    x.im.insert(slot, value.extract(comptime!(from + 1)));
                }
            }
        }
    }
}

/// Stockham's autosort by one unit, for processor cores: no barrier, the stages go back and forth
/// between two halves of a work space.
#[cube]
fn stockham_serial<I: Float, O: Float, F: Float, NI: Size, NO: Size>(
    row: &Row,
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let n = comptime!(config.n);
    let last = comptime!(config.stages.len() - 1);
    let mut space = Shared::<[F]>::new_slice(comptime!(if last == 0 { 1 } else { 4 * n }));
    #[unroll]
    for s in 0..=last {
        let radix = comptime!(config.stages[s].radix);
        let inverse = comptime!(config.stages[s].inverse);
        let butterflies = comptime!(n / radix);
        let from = comptime!((s % 2) * 2 * n);
        let to = comptime!(((s + 1) % 2) * 2 * n);
        for b in 0..butterflies {
            let mut x = Registers::<F>::new(radix);
            #[unroll]
            for k in 0..radix {
                let i = b + comptime!(k * butterflies);
                if comptime!(s == 0) {
                    load_points::<I, F, NI>(
                        &mut x,
                        k,
                        1usize,
                        i,
                        row,
                        source,
                        frame,
                        config.clone(),
                    );
                } else {
                    x.set(k, space[from + i], space[from + n + i]);
                }
            }
            twiddle::<F>(&mut x, 0usize, b, &frame.twiddles, config.clone(), s);
            butterfly::<F>(&mut x, 0usize, 1usize, radix, inverse);
            #[unroll]
            for k in 0..radix {
                let register = comptime!(slot(radix, k));
                if comptime!(config.filter_after == Some(s)) {
                    let i = b + comptime!(k * butterflies);
                    filter_point::<F>(&mut x, register, i, row, frame, config.clone());
                }
                let i = place(b, k, config.clone(), s);
                if comptime!(s < last) {
                    space[to + i] = x.re[register];
                    space[to + n + i] = x.im[register];
                } else {
                    store_points::<O, F, NO>(
                        &mut x,
                        register,
                        1usize,
                        i,
                        row,
                        target,
                        frame,
                        config.clone(),
                    );
                }
            }
        }
    }
}

/// The definition: one unit an output point, `n` multiplications each, twiddles from the table.
#[cube]
fn definition<I: Float, O: Float, F: Float, NI: Size, NO: Size>(
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let n = comptime!(config.n);
    let inverse = comptime!(config.stages[0].inverse);
    let k = ABSOLUTE_POS % n;
    let row = locate(&frame.geometry, ABSOLUTE_POS / n, config.clone());
    let mut x = Registers::<F>::new(1usize);
    let mut re = F::new(0.0);
    let mut im = F::new(0.0);
    let mut turn = 0usize;
    for i in 0..n {
        load_points::<I, F, NI>(&mut x, 0usize, 1usize, i, &row, source, frame, config.clone());
        multiply_by::<F>(&mut x, 0usize, frame.twiddles[turn], inverse);
        re += x.re[0usize];
        im += x.im[0usize];
        turn += k;
        turn = select(turn >= n, turn - n, turn);
    }
    if row.active {
        x.set(0usize, re, im);
        store_points::<O, F, NO>(&mut x, 0usize, 1usize, k, &row, target, frame, config.clone());
    }
}
