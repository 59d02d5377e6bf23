//! Device code for processor cores: every unit carries transforms of its own, without a barrier.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::{
    butterfly::{Registers, butterfly, slot},
    ends::{Frame, Row, bundle, filter_point, join_origin, load_points, locate, store_points},
    kernel::{place, twiddle},
    pass::{PassConfig, serial_pitch, serial_room},
};

/// Stockham's autosort by a unit on its own: the stages go back and forth between two halves of the unit's
/// work space, whose cells are vectors of `W` elements.
///
/// Where these are `W` neighbouring transforms, they do all the same. Else a cell holds `W` neighbouring points, and the
/// stages before the last are those of `W` interleaved transforms of `n/W` points. The last one joins them:
/// its butterflies take the elements of a cell, and `W` neighbouring cells are turned so that their butterflies
/// again are the elements of vectors.
#[cube]
pub(super) fn stockham_serial<I: Float, O: Float, F: Float, NI: Size, NO: Size, NX: Size>(
    member: usize,
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let together = comptime!(config.together());
    let room = comptime!(if config.stages.len() == 1 {
        0
    } else {
        serial_room(config.n) * together / config.lanes
    });
    let mut space = Shared::<[Vector<F, NX>]>::new_slice(comptime!(max(room * config.rows, 1)));
    let bundles = frame.geometry.rows.div_ceil(together);
    let share = bundles.div_ceil(CUBE_COUNT * comptime!(config.rows));
    let first = (CUBE_POS * comptime!(config.rows) + member) * share;
    for bundle in first..min(first + share, bundles) {
        let mut rows = Sequence::<Row>::new();
        #[unroll]
        for row in 0..together {
            rows.push(locate(&frame.geometry, bundle * together + row, config.clone()));
        }
        transforms::<I, O, F, NI, NO, NX>(
            &rows,
            member * room,
            &mut space,
            source,
            target,
            frame,
            config.clone(),
        );
    }
}

/// Carries the transforms `rows` in the cells of the work space from `begin` on.
#[cube]
fn transforms<I: Float, O: Float, F: Float, NI: Size, NO: Size, NX: Size>(
    rows: &Sequence<Row>,
    begin: usize,
    space: &mut Shared<[Vector<F, NX>]>,
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    frame: &Frame<F>,
    #[comptime] config: PassConfig,
) {
    let lanes = comptime!(config.lanes);
    let together = comptime!(config.together());
    let of_one = comptime!(config.of_one());
    let points_of_one = comptime!(of_one.lanes);
    let last = comptime!(config.stages.len() - 1);
    let pitch = comptime!(serial_pitch(config.n) / points_of_one);
    #[unroll]
    for s in 0..=last {
        let stage = comptime!(config.stages[s]);
        let radix = comptime!(stage.radix);
        let butterflies = comptime!(config.n / radix);
        let groups = comptime!(butterflies / points_of_one);
        let joins = comptime!(points_of_one > 1 && stage.before == butterflies);
        let from = begin + comptime!((s % 2) * 2 * pitch);
        let to = begin + comptime!(((s + 1) % 2) * 2 * pitch);
        for group in 0..groups {
            let b = group * points_of_one;
            let taken = bundle::<F>(b, frame, of_one.clone());
            let mut x = Registers::<Vector<F, NX>>::new(radix);
            #[unroll]
            for k in 0..radix {
                if comptime!(s == 0) {
                    let mut points = Registers::<F>::new(lanes);
                    #[unroll]
                    for row in 0..together {
                        load_points::<I, F, NI>(
                            &mut points,
                            row,
                            1usize,
                            &taken,
                            comptime!(k * butterflies),
                            &rows[row],
                            source,
                            frame,
                            of_one.clone(),
                        );
                    }
                    pack::<F, NX>(&mut x, k, &points, lanes);
                } else {
                    let cell = if comptime!(joins) { b + k } else { group + k * groups };
                    x.set(k, space[from + cell], space[from + pitch + cell]);
                }
            }
            if comptime!(joins) {
                turn::<F, NX>(&mut x, lanes);
                twiddle_each::<F, NX>(&mut x, b, &frame.tables, config.clone(), s);
            } else {
                twiddle::<Vector<F, NX>, F>(
                    &mut x,
                    0usize,
                    group,
                    &frame.tables,
                    config.clone(),
                    s,
                );
            }
            butterfly::<Vector<F, NX>>(&mut x, 0usize, 1usize, radix, stage.inverse);
            #[unroll]
            for k in 0..radix {
                let register = comptime!(slot(radix, k));
                let offset = comptime!(k * butterflies);
                let mut points = Registers::<F>::new(lanes);
                #[unroll]
                for lane in 0..lanes {
                    let (re, im) = (x.re[register], x.im[register]);
                    points.set(lane, re.extract(lane), im.extract(lane));
                }
                if comptime!(config.filter_after == Some(s)) {
                    #[unroll]
                    for lane in 0..lanes {
                        let (row, at) =
                            comptime!(if config.across { (lane, 0) } else { (0, lane) });
                        let i = b + comptime!(at + offset);
                        if comptime!(config.root > 0 && k == 0 && at == 0) {
                            join_origin::<I, O, F, NI, NO>(
                                &mut points,
                                lane,
                                i,
                                &rows[row],
                                source,
                                target,
                                frame,
                                of_one.clone(),
                            );
                        }
                        filter_point::<F>(
                            &mut points,
                            lane,
                            i,
                            &rows[row],
                            frame,
                            0usize,
                            of_one.clone(),
                        );
                    }
                    pack::<F, NX>(&mut x, register, &points, lanes);
                }
                if comptime!(s < last) {
                    let cell = if comptime!(joins) {
                        group + comptime!(k * groups)
                    } else {
                        place(group, k, config.clone(), s)
                    };
                    space[to + cell] = x.re[register];
                    space[to + pitch + cell] = x.im[register];
                } else {
                    #[unroll]
                    for row in 0..together {
                        let here = &rows[row];
                        if comptime!(together == 1) || here.active {
                            store_points::<O, F, NO>(
                                &mut points,
                                row,
                                1usize,
                                &taken,
                                offset,
                                here,
                                target,
                                frame,
                                of_one.clone(),
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Sets value `slot` to the vectors of as many points.
#[cube]
fn pack<F: Float, N: Size>(
    x: &mut Registers<Vector<F, N>>,
    #[comptime] slot: usize,
    points: &Registers<F>,
    #[comptime] lanes: usize,
) {
    let mut re = Vector::<F, N>::empty();
    let mut im = Vector::<F, N>::empty();
    #[unroll]
    for lane in 0..lanes {
        re.insert(lane, points.re[lane]);
        im.insert(lane, points.im[lane]);
    }
    x.set(slot, re, im);
}

/// Turns a square of numbers, so that element `i` of vector `j` becomes element `j` of vector `i`: blocks of
/// half the side change places, then blocks of half of that.
#[cube]
fn turn<F: Float, N: Size>(x: &mut Registers<Vector<F, N>>, #[comptime] side: usize) {
    #[unroll]
    for step in 1..=comptime!(side.ilog2() as usize) {
        let half = comptime!(side >> step);
        #[unroll]
        for i in 0..side {
            if comptime!(i & half == 0) {
                let j = comptime!(i + half);
                let (re, im) = (x.re[i], x.im[i]);
                let (other_re, other_im) = (x.re[j], x.im[j]);
                let low = (
                    blocks::<F, N>(re, other_re, 0usize, half, side),
                    blocks::<F, N>(im, other_im, 0usize, half, side),
                );
                let high = (
                    blocks::<F, N>(re, other_re, half, half, side),
                    blocks::<F, N>(im, other_im, half, half, side),
                );
                x.set(i, low.0, low.1);
                x.set(j, high.0, high.1);
            }
        }
    }
}

/// One of every two blocks of `half` elements, the one that begins at element `from`: of `a`, then of `b`.
#[cube]
fn blocks<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    #[comptime] from: usize,
    #[comptime] half: usize,
    #[comptime] lanes: usize,
) -> Vector<F, N> {
    let mut merged = Vector::<F, N>::empty();
    #[unroll]
    for i in 0..lanes {
        if comptime!(i & half == 0) {
            merged.insert(i, a.extract(comptime!(i + from)));
        } else {
            merged.insert(i, b.extract(comptime!(i + from - half)));
        }
    }
    merged
}

/// Multiplies the inputs of the butterflies from `b` on by their twiddles, other ones in every element.
#[cube]
fn twiddle_each<F: Float, N: Size>(
    x: &mut Registers<Vector<F, N>>,
    b: usize,
    twiddles: &[Vector<F, Const<2>>],
    #[comptime] config: PassConfig,
    #[comptime] s: usize,
) {
    let stage = comptime!(config.stages[s]);
    let mut powers = Registers::<Vector<F, N>>::new(stage.radix);
    #[unroll]
    for k in 1..stage.radix {
        if comptime!(k.is_power_of_two()) {
            let mut points = Registers::<F>::new(config.lanes);
            #[unroll]
            for lane in 0..comptime!(config.lanes) {
                let factor = twiddles[(b + lane) * comptime!(k * config.turns)];
                let im = factor.extract(1usize);
                if comptime!(stage.inverse) {
                    points.set(lane, factor.extract(0usize), -im);
                } else {
                    points.set(lane, factor.extract(0usize), im);
                }
            }
            pack::<F, N>(&mut powers, k, &points, config.lanes);
        } else {
            powers.product(k);
        }
        x.multiply(k, powers.re[k], powers.im[k]);
    }
}
