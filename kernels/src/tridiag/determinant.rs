//! The logarithm of the absolute value of the determinant.
//!
//! The first of the four numbers that a chunk is, `A`, is its determinant up to the power of two that it
//! was divided by, those of the scaled elements among them. With the exponents kept, which are exact, the root of a tree is the determinant: no
//! division, no sum of logarithms, and no pivot to vanish. One logarithm a sequence is left, by a series,
//! since a device's own has no `f64` and an error of its maker's choice.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use core::f64::consts::{LN_2, SQRT_2};

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::Result;

use super::{
    launch::{Enqueue, TridiagBindings},
    plan::{Task, TileConfig, TridiagPlan},
    scan::{
        Complex, common_renormaliser, exponent, get, load_four, neutral, product, put,
        renormaliser, scaled, size,
    },
};
use crate::{
    constant, elem_type,
    launch::{count, holds},
};

/// `ln x` for `x` from 1 to 8, by `2 artanh((m − 1)/(m + 1))` for `x = m·2^e`, `m` between `√½` and `√2`.
#[cube]
fn logarithm<F: Float>(x: F, #[comptime] double: bool) -> F {
    let s = renormaliser::<F>(x);
    let high = x * s > constant::<F>(SQRT_2);
    let one = F::new(1.0);
    let m = x * s * select(high, F::new(0.5), one);
    let e = select(high, one, F::new(0.0)) - exponent::<F>(s);
    let t = (m - one) / (m + one);
    let square = t * t;
    // t² is below 0.0295: the first term left out is below a rounding.
    let terms = comptime!(if double { 12 } else { 6 });
    let mut series = Sequence::<F>::new();
    series.push(F::new(0.0));
    #[unroll]
    for i in 0..terms {
        let odd = comptime!(2.0 * (terms - 1 - i) as f64 + 1.0);
        let sum = series[0usize];
        series.insert(0usize, sum * square + constant::<F>(comptime!(1.0 / odd)));
    }
    let sum = series[0usize];
    F::new(2.0) * t * sum + e * constant::<F>(LN_2)
}

/// An exponent in two numbers, each a whole one that the type holds exactly: `far · 4096 + near`. Sequences are long, and
/// elements of any scale.
const FAR: f64 = 4096.0;

/// Moves what `near` has of whole multiples to the other number.
#[cube]
fn carried<F: Float>(near: F) -> F {
    (near * constant::<F>(1.0 / FAR) + F::new(0.5)).floor()
}

/// `ln |a 2^(far · 4096 + near)|`: minus infinity where `a` is 0.
#[cube]
fn logarithm_of_size<F: Float>(a: Complex<F>, far: F, near: F, #[comptime] double: bool) -> F {
    let s = renormaliser::<F>(size::<F>(a));
    let re = a.re * s;
    let im = a.im * s;
    let square = re * re + im * im;
    let half = F::new(0.5) * logarithm::<F>(square, double);
    let near = half + (near - exponent::<F>(s)) * constant::<F>(LN_2);
    let value = near + far * constant::<F>(FAR * LN_2);
    // Of 0 it is minus infinity, and a NaN stays one.
    select(square > F::new(0.0), value, F::new(-1.0) / square)
}

/// The determinants, from what the chunks of every sequence are: one cube a sequence, its chunks dealt to
/// its units in order, then a tree. Fixed order: the same bits every time.
#[cube(launch_unchecked)]
fn determinant<F: Float>(
    tiles: &[F],
    exponents: &[F],
    out: &mut [F],
    rows: usize,
    tiles_a_row: usize,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let units = comptime!(config.units);
    let unit = UNIT_POS as usize;
    let row = CUBE_POS;
    let share = tiles_a_row.div_ceil(units);
    let first = min(unit * share, tiles_a_row);
    let last = min(first + share, tiles_a_row);
    // A cube beyond the last row works on that row again, and stores nothing.
    let base = min(row, rows - 1) * tiles_a_row;
    // A unit's numbers lie in its slot, and its exponent behind all slots of the first two numbers.
    let near = units + unit;
    let far = near + comptime!(config.nodes());
    put::<F>(&mut cells, unit, neutral::<F>(false), config);
    cells[near] = F::new(0.0);
    cells[far] = F::new(0.0);
    for t in first..last {
        let whole =
            product::<F>(get::<F>(&mut cells, unit, config), load_four::<F>(tiles, base + t));
        let s = common_renormaliser::<F>(whole);
        put::<F>(&mut cells, unit, scaled::<F>(whole, s), config);
        let sum = cells[near] + exponents[base + t] - exponent::<F>(s);
        let multiples = carried::<F>(sum);
        cells[near] = sum - multiples * constant::<F>(FAR);
        cells[far] += multiples;
    }
    for level in 0..comptime!(config.levels()) {
        let step = 1usize << level;
        sync_cube();
        if unit.is_multiple_of(2 * step) {
            let l = get::<F>(&mut cells, unit, config);
            let r = get::<F>(&mut cells, unit + step, config);
            let whole = product::<F>(l, r);
            let s = common_renormaliser::<F>(whole);
            put::<F>(&mut cells, unit, scaled::<F>(whole, s), config);
            let sum = cells[near] + cells[near + step] - exponent::<F>(s);
            let multiples = carried::<F>(sum);
            cells[near] = sum - multiples * constant::<F>(FAR);
            let right = cells[far + step];
            cells[far] += right + multiples;
        }
    }
    if unit == 0 && row < rows {
        let whole = get::<F>(&mut cells, unit, config);
        out[row] =
            logarithm_of_size::<F>(whole.a, cells[far], cells[near], comptime!(config.double));
    }
}

/// Enqueues `ln |det T|`, one real number a sequence, contiguous. `Ok` means enqueued: a fault of the device
/// shows on the next read.
///
/// # Errors
/// [`Error::Length`](wavecube_core::Error::Length) if a buffer is shorter than the plan reaches, [`Error::Unsupported`](wavecube_core::Error::Unsupported) for a plan of
/// another task.
pub fn determinant_launch(
    client: &Client,
    bindings: &TridiagBindings,
    logarithm: &Handle,
    plan: &TridiagPlan,
) -> Result<()> {
    let enqueue = Enqueue { client, bindings, plan };
    enqueue.check(Task::Determinant, None)?;
    holds(plan.op, "logarithm", logarithm, (plan.dtype, 1), plan.lines.rows)?;
    if plan.lines.rows == 0 {
        return Ok(());
    }
    let [tiles, exponents] = enqueue.reduced();
    // SAFETY: `TridiagPlan::new` makes one cube a sequence at least, the kernel keeps sequences below
    // `rows` and chunks below `rows · tiles`, for each of which there are eight numbers and an exponent.
    unsafe {
        determinant::launch_unchecked(
            client,
            count(plan.carry_cubes),
            CubeDim::new_1d(plan.carry.units as u32),
            enqueue.numbers(&tiles, 1),
            enqueue.numbers(&exponents, 1),
            enqueue.numbers(logarithm, 1),
            plan.lines.rows,
            plan.tiles,
            plan.carry,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}
