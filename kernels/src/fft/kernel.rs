//! Device code. One cube carries whole transforms: load with the load hook, butterflies with
//! exchanges through shared memory between them, store with the store hook.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::prelude::*;

use super::{
    butterfly::{Real, Registers, butterfly, slot},
    ends::{
        Frame, Row, bundle, filter_point, join_origin, load_points, locate, multiply_by,
        store_points,
    },
    exchange::{butterfly_of, exchange, full, rounds, settle},
    pass::{Algorithm, PassConfig, Stage},
    serial::stockham_serial,
    wrap::{Wrap, complete, fold, wrap_of},
};

/// Multiplies the inputs of butterfly `b` of stage `s` by their twiddles `w^k`,
/// `w = e^{−2πi (b mod before)/(before·radix)}`. Powers of two of `w` come from the table, the
/// others are products of at most three of them. Butterflies that are the elements of vectors share
/// their twiddles.
#[cube]
pub(super) fn twiddle<T: Real, F: Float>(
    x: &mut Registers<T>,
    #[comptime] first: usize,
    b: usize,
    twiddles: &[Vector<F, Const<2>>],
    #[comptime] config: PassConfig,
    #[comptime] s: usize,
) {
    let stage = comptime!(config.stages[s]);
    let radix = comptime!(stage.radix);
    if comptime!(stage.before > 1) {
        let step = comptime!(config.turns * config.n / (stage.before * radix));
        let j = (b % comptime!(stage.before)) * step;
        let mut powers = Registers::<F>::new(radix);
        #[unroll]
        for turn in 1..radix {
            let k = comptime!(power_in_turn(turn, radix));
            if comptime!(k.is_power_of_two()) {
                let factor = twiddles[j * k];
                let im = factor.extract(1usize);
                if comptime!(stage.inverse) {
                    powers.set(k, factor.extract(0usize), -im);
                } else {
                    powers.set(k, factor.extract(0usize), im);
                }
            } else {
                powers.product(k);
            }
            let (re, im) = (T::cast_from(powers.re[k]), T::cast_from(powers.im[k]));
            x.multiply(comptime!(first + k), re, im);
        }
    }
}

/// The order of a butterfly's powers: the largest power of two first, then every smaller one right before its product
/// with that, so that few of them are alive at once.
fn power_in_turn(turn: usize, radix: usize) -> usize {
    let half = radix.next_power_of_two() / 2;
    let pairs = 2 * (radix - half - 1);
    match turn - 1 {
        0 => half,
        at if at <= pairs => at.div_ceil(2) + (at + 1) % 2 * half,
        at => at - pairs / 2,
    }
}

/// The place in the natural order of stage `s`'s output `k` of butterfly `b`.
#[cube]
pub(super) fn place(
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
        } else if comptime!(rows == 1) {
            (unit % units, 0usize)
        } else {
            (unit % units, unit / units)
        };
        if comptime!(config.algorithm == Algorithm::Registers) {
            let row = locate(&frame.geometry, CUBE_POS * rows + member, config.clone());
            stockham_registers::<I, O, F, NI, NO, NX>(
                unit, member, &row, source, target, frame, config,
            );
        } else {
            stockham_serial::<I, O, F, NI, NO, NX>(member, source, target, frame, config);
        }
    }
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
    let last = comptime!(config.stages.len() - 1);
    let radix = comptime!(config.stages[last].radix);
    let butterflies = comptime!(config.n / radix);
    let lanes = comptime!(config.lanes);
    let room = comptime!(if last == 0 { 0 } else { config.room() });
    let mut cells = Shared::<[Vector<F, NX>]>::new_slice(comptime!(max(room * config.rows, 1)));
    let begin = member * room;
    let mut x = Registers::<F>::new(comptime!(config.registers()));
    let mut sum = Registers::<F>::new(comptime!(config.registers()));
    let first = butterfly_of(unit, 0usize, config.clone());
    let mut wrap = wrap_of::<I, F, NI>(first, row, source, frame, config.clone());
    #[unroll]
    for turn in 0..comptime!(config.turns) {
        #[unroll]
        for s in 0..=last {
            stage::<I, O, F, NI, NO>(
                &mut x,
                unit,
                row,
                source,
                target,
                frame,
                s,
                turn,
                config.clone(),
            );
            if comptime!(config.filter_after == Some(s)) {
                // The way back begins with the same radix: every value is where it is needed.
                let radix = comptime!(config.stages[s].radix);
                settle::<F>(&mut x, radix, comptime!(rounds(&config, s) * lanes));
            } else if comptime!(s < last) {
                if comptime!(s > 0 || turn > 0) {
                    sync_cube();
                }
                exchange::<F, NX>(&mut x, &mut cells, begin, unit, s, config.clone());
            }
        }
        settle::<F>(&mut x, radix, comptime!(rounds(&config, last) * lanes));
        if comptime!(config.turns > 1) {
            add_turn::<F>(&mut x, &mut sum, &mut wrap, unit, &frame.tables, turn, config.clone());
        }
    }
    if row.active {
        #[unroll]
        for round in 0..comptime!(rounds(&config, last)) {
            let b = butterfly_of(unit, round, config.clone());
            if comptime!(full(&config, last, round)) || b < butterflies {
                let taken = bundle::<F>(b, frame, config.clone());
                if comptime!(config.wrapped && round == 0) {
                    complete::<O, F, NO>(
                        &mut wrap,
                        &mut x,
                        radix,
                        &taken,
                        row,
                        target,
                        frame,
                        config.clone(),
                    );
                }
                #[unroll]
                for k in 0..radix {
                    let slot = comptime!(round * lanes * radix + k);
                    let offset = comptime!(k * butterflies);
                    store_points::<O, F, NO>(
                        &mut x,
                        slot,
                        radix,
                        &taken,
                        offset,
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

/// The butterflies of stage `s`, after the loads if it is the first and before the filter if that
/// comes next.
#[cube]
fn stage<I: Float, O: Float, F: Float, NI: Size, NO: Size>(
    x: &mut Registers<F>,
    unit: usize,
    row: &Row,
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    frame: &Frame<F>,
    #[comptime] s: usize,
    #[comptime] turn: usize,
    #[comptime] config: PassConfig,
) {
    let lanes = comptime!(config.lanes);
    let radix = comptime!(config.stages[s].radix);
    let inverse = comptime!(config.stages[s].inverse);
    let butterflies = comptime!(config.n / radix);
    #[unroll]
    for round in 0..comptime!(rounds(&config, s)) {
        let b = butterfly_of(unit, round, config.clone());
        let first = comptime!(round * lanes * radix);
        if comptime!(s == 0) {
            let b = existing_butterfly(b, round, config.clone(), s);
            let taken = bundle::<F>(b, frame, config.clone());
            #[unroll]
            for k in 0..radix {
                let slot = comptime!(first + k);
                let offset = comptime!(k * butterflies);
                load_points::<I, F, NI>(
                    x,
                    slot,
                    radix,
                    &taken,
                    offset,
                    row,
                    source,
                    frame,
                    config.clone(),
                );
            }
            if comptime!(config.wrapped && round == 0) {
                fold::<I, F, NI>(x, radix, b, turn, row, source, frame, config.clone());
            }
            if comptime!(turn > 0) {
                modulate::<F>(x, first, b, &frame.tables, s, turn, config.clone());
            }
        }
        #[unroll]
        for lane in 0..lanes {
            let b = b + lane;
            let first = comptime!(first + lane * radix);
            twiddle::<F, F>(x, first, b, &frame.tables, config.clone(), s);
            butterfly::<F>(x, first, 1usize, radix, inverse);
            if comptime!(config.filter_after == Some(s)) {
                if comptime!(config.root > 0 && lane == 0) {
                    join_origin::<I, O, F, NI, NO>(
                        x,
                        first,
                        b,
                        row,
                        source,
                        target,
                        frame,
                        config.clone(),
                    );
                }
                #[unroll]
                for k in 0..radix {
                    let slot = comptime!(first + slot(radix, k));
                    let mut i = b + comptime!(k * butterflies);
                    if comptime!(!full(&config, s, round)) {
                        i = min(i, comptime!(config.n - 1));
                    }
                    filter_point::<F>(x, slot, i, row, frame, turn, config.clone());
                }
            }
        }
    }
}

/// Butterfly `b` of stage `s`, or the last that a unit has where there is no such one.
#[cube]
fn existing_butterfly(
    b: usize,
    #[comptime] round: usize,
    #[comptime] config: PassConfig,
    #[comptime] s: usize,
) -> usize {
    if comptime!(full(&config, s, round)) {
        b
    } else {
        min(b, comptime!(config.n / config.stages[s].radix - config.lanes))
    }
}

/// Multiplies the points of `lanes` butterflies, in their natural order, by `w^{turn · i}` with `i` a
/// point's place and `w` the root of unity of all turns: by the table's entry for the butterfly and by a constant
/// for the point in it.
#[cube]
fn modulate<F: Float>(
    x: &mut Registers<F>,
    #[comptime] first: usize,
    b: usize,
    twiddles: &[Vector<F, Const<2>>],
    #[comptime] s: usize,
    #[comptime] turn: usize,
    #[comptime] config: PassConfig,
) {
    let Stage { radix, inverse, .. } = comptime!(config.stages[s]);
    #[unroll]
    for lane in 0..comptime!(config.lanes) {
        let factor = twiddles[(b + lane) * turn];
        #[unroll]
        for k in 0..radix {
            let slot = comptime!(first + lane * radix + k);
            x.rotate(slot, comptime!(k * turn), comptime!(radix * config.turns), inverse);
            multiply_by::<F>(x, slot, factor, inverse);
        }
    }
}

/// Adds the results of a turn, in their natural order, to those of the turns before.
#[cube]
fn add_turn<F: Float>(
    x: &mut Registers<F>,
    sum: &mut Registers<F>,
    wrap: &mut Wrap<F>,
    unit: usize,
    twiddles: &[Vector<F, Const<2>>],
    #[comptime] turn: usize,
    #[comptime] config: PassConfig,
) {
    let last = comptime!(config.stages.len() - 1);
    let radix = comptime!(config.stages[last].radix);
    #[unroll]
    for round in 0..comptime!(rounds(&config, last)) {
        let first = comptime!(round * config.lanes * radix);
        if comptime!(turn > 0) {
            let b = butterfly_of(unit, round, config.clone());
            let b = existing_butterfly(b, round, config.clone(), last);
            modulate::<F>(x, first, b, twiddles, last, turn, config.clone());
        }
        #[unroll]
        for slot in first..comptime!(first + config.lanes * radix) {
            if comptime!(turn > 0) {
                if comptime!(config.wrapped && round == 0 && slot.is_multiple_of(radix)) {
                    let even = (sum.re[slot], sum.im[slot]);
                    wrap.unfold(comptime!(slot / radix), even, (x.re[slot], x.im[slot]));
                }
                x.add(slot, sum.re[slot], sum.im[slot]);
            }
            sum.set(slot, x.re[slot], x.im[slot]);
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
        load_points::<I, F, NI>(
            &mut x,
            0usize,
            1usize,
            &bundle::<F>(i, frame, config.clone()),
            0usize,
            &row,
            source,
            frame,
            config.clone(),
        );
        multiply_by::<F>(&mut x, 0usize, frame.tables[turn], inverse);
        re += x.re[0usize];
        im += x.im[0usize];
        turn += k;
        turn = select(turn >= n, turn - n, turn);
    }
    if row.active {
        x.set(0usize, re, im);
        store_points::<O, F, NO>(
            &mut x,
            0usize,
            1usize,
            &bundle::<F>(k, frame, config.clone()),
            0usize,
            &row,
            target,
            frame,
            config.clone(),
        );
    }
}
