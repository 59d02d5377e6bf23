//! Device code: values change places between two stages of a transform whose points lie in registers.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::{
    butterfly::{Registers, slot},
    kernel::place,
    pass::{Exchange, PassConfig, Stage},
};

/// The rounds in which `units` units take the butterflies of stage `s`, `lanes` at a time.
pub(super) fn rounds(config: &PassConfig, s: usize) -> usize {
    (config.n / config.stages[s].radix / config.lanes).div_ceil(config.units)
}

/// Whether a round has work for every unit.
pub(super) fn full(config: &PassConfig, s: usize, round: usize) -> bool {
    (round + 1) * config.units * config.lanes <= config.n / config.stages[s].radix
}

/// The first butterfly that `unit` takes in a round.
#[cube]
pub(super) fn butterfly_of(
    unit: usize,
    #[comptime] round: usize,
    #[comptime] config: PassConfig,
) -> usize {
    (unit + comptime!(round * config.units)) * comptime!(config.lanes)
}

/// Gives the outputs of stage `s` to the units that take them on in the next one.
#[cube]
pub(super) fn exchange<F: Float, NX: Size>(
    x: &mut Registers<F>,
    cells: &mut Shared<[Vector<F, NX>]>,
    begin: usize,
    unit: usize,
    #[comptime] s: usize,
    #[comptime] config: PassConfig,
) {
    #[unroll]
    for part in 0usize..comptime!(3 - config.exchange.parts()) {
        if comptime!(part > 0) {
            sync_cube();
        }
        spread::<F, NX>(&*x, cells, begin, unit, config.clone(), s, part);
        sync_cube();
        gather::<F, NX>(x, &*cells, begin, unit, config.clone(), comptime!(s + 1), part);
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
pub(super) fn settle<F: Float>(
    x: &mut Registers<F>,
    #[comptime] radix: usize,
    #[comptime] rounds: usize,
) {
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
