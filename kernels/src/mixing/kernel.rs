//! Device code of the maps and of the norm.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    phase::{angle, cos_sin},
    plan::{Map, NormConfig},
};
use crate::lines::{Lines, line};

/// A complex number, or a pair.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(super) struct Pair<F: Float> {
    pub(super) re: F,
    pub(super) im: F,
}

#[cube]
pub(super) fn pair<F: Float>(re: F, im: F) -> Pair<F> {
    Pair::<F> { re, im }
}

#[cube]
pub(super) fn load<E: Float, F: Float>(x: &[Vector<E, Const<2>>], at: usize) -> Pair<F> {
    let value = x[at];
    pair::<F>(F::cast_from(value.extract(0usize)), F::cast_from(value.extract(1usize)))
}

#[cube]
pub(super) fn stored<E: Float, F: Float>(value: Pair<F>) -> Vector<E, Const<2>> {
    let mut vector = Vector::<E, Const<2>>::empty();
    vector.insert(0usize, E::cast_from(value.re));
    vector.insert(1usize, E::cast_from(value.im));
    vector
}

/// Magnitude and direction; a number that is zero has no direction.
#[derive(CubeType)]
struct Direction<F: Float> {
    size: F,
    u: Pair<F>,
    /// `1/size`, or 0.
    inverse: F,
}

/// Without squares that overflow or vanish.
#[cube]
fn direction<F: Float>(z: Pair<F>) -> Direction<F> {
    let zero = F::new(0.0);
    let largest = max(z.re.abs(), z.im.abs());
    let there = largest > zero;
    let unit = select(there, largest, F::new(1.0));
    let re = z.re / unit;
    let im = z.im / unit;
    let norm = (re * re + im * im).sqrt();
    let safe = select(there, norm, F::new(1.0));
    let inverse = select(there, F::new(1.0) / safe, zero);
    Direction::<F> {
        size: largest * norm,
        u: pair::<F>(re * inverse, im * inverse),
        inverse: inverse / unit,
    }
}

/// `1 + cos φ` of a direction, without the difference of near numbers where the cosine is negative.
#[cube]
fn one_plus_cos<F: Float>(u: Pair<F>) -> F {
    let one = F::new(1.0);
    let back = u.re < F::new(0.0);
    select(back, u.im * u.im / select(back, one - u.re, one), one + u.re)
}

/// `Re(ā b)`.
#[cube]
pub(super) fn dot<F: Float>(a: Pair<F>, b: Pair<F>) -> F {
    a.re * b.re + a.im * b.im
}

#[cube]
pub(super) fn scaled<F: Float>(a: Pair<F>, by: F) -> Pair<F> {
    pair::<F>(a.re * by, a.im * by)
}

/// `e^{iφ} a`, from cosine and sine.
#[cube]
fn turned<F: Float>(a: Pair<F>, cos: F, sin: F) -> Pair<F> {
    pair::<F>(a.re * cos - a.im * sin, a.re * sin + a.im * cos)
}

#[cube]
fn sigmoid<F: Float>(w: F) -> F {
    F::new(1.0) / (F::new(1.0) + (-w).exp())
}

#[cube]
fn value<F: Float>(z: Pair<F>, w: F, #[comptime] map: Map) -> Pair<F> {
    if comptime!(map == Map::ModRelu) {
        let of = direction::<F>(z);
        scaled::<F>(of.u, max(of.size + w, F::new(0.0)))
    } else if comptime!(map == Map::Cardioid) {
        let of = direction::<F>(z);
        scaled::<F>(z, F::new(0.5) * one_plus_cos::<F>(of.u))
    } else if comptime!(map == Map::Rotate) {
        let (cos, sin) = cos_sin::<F>(w);
        turned::<F>(z, cos, sin)
    } else if comptime!(map == Map::Gate) {
        scaled::<F>(z, sigmoid::<F>(w))
    } else if comptime!(map == Map::Polar) {
        let of = direction::<F>(z);
        pair::<F>(of.size, angle::<F>(z.re, z.im))
    } else {
        let (cos, sin) = cos_sin::<F>(z.im);
        pair::<F>(z.re * cos, z.re * sin)
    }
}

#[cube]
fn by_z<F: Float>(z: Pair<F>, w: F, g: Pair<F>, #[comptime] map: Map) -> Pair<F> {
    if comptime!(map == Map::ModRelu) {
        let of = direction::<F>(z);
        let along = scaled::<F>(of.u, dot::<F>(of.u, g));
        let share = (of.size + w) * of.inverse;
        let re = along.re + share * (g.re - along.re);
        let im = along.im + share * (g.im - along.im);
        let passes = of.size + w > F::new(0.0) && of.size > F::new(0.0);
        let zero = F::new(0.0);
        pair::<F>(select(passes, re, zero), select(passes, im, zero))
    } else if comptime!(map == Map::Cardioid) {
        let half = F::new(0.5);
        let of = direction::<F>(z);
        // `Re(z̄ g)/s` without the quotient of small numbers.
        let along = half * dot::<F>(of.u, g);
        let kept = scaled::<F>(g, half * one_plus_cos::<F>(of.u));
        let sin = of.u.im;
        pair::<F>(kept.re + along * sin * sin, kept.im - along * sin * of.u.re)
    } else if comptime!(map == Map::Rotate) {
        let (cos, sin) = cos_sin::<F>(w);
        turned::<F>(g, cos, -sin)
    } else if comptime!(map == Map::Gate) {
        scaled::<F>(g, sigmoid::<F>(w))
    } else if comptime!(map == Map::Polar) {
        let of = direction::<F>(z);
        turned::<F>(pair::<F>(g.re, g.im * of.inverse), of.u.re, of.u.im)
    } else {
        let (cos, sin) = cos_sin::<F>(z.im);
        let back = turned::<F>(g, cos, -sin);
        pair::<F>(back.re, z.re * back.im)
    }
}

#[cube]
fn by_w<F: Float>(z: Pair<F>, w: F, g: Pair<F>, #[comptime] map: Map) -> F {
    if comptime!(map == Map::ModRelu) {
        let of = direction::<F>(z);
        select(of.size + w > F::new(0.0), dot::<F>(of.u, g), F::new(0.0))
    } else if comptime!(map == Map::Rotate) {
        let y = value::<F>(z, w, map);
        y.re * g.im - y.im * g.re
    } else {
        let open = sigmoid::<F>(w);
        open * (F::new(1.0) - open) * dot::<F>(z, g)
    }
}

/// Where the elements of one place lie: of `z`, `w` and `g`.
#[cube]
fn places(lines: &Lines, row: usize, j: usize) -> (usize, usize, usize) {
    (
        line(lines, row, 0usize) + j * lines.strides[0usize],
        line(lines, row, 1usize) + j * lines.strides[1usize],
        line(lines, row, 2usize) + j * lines.strides[2usize],
    )
}

/// `w` where the map has one.
#[cube]
fn weight<E: Float, F: Float>(w: &[E], at: usize, #[comptime] map: Map) -> F {
    if comptime!(map.is_weighted()) { F::cast_from(w[at]) } else { F::new(0.0) }
}

/// An element a unit.
#[cube(launch_unchecked)]
pub(super) fn map_forward<E: Float, F: Float>(
    z: &[Vector<E, Const<2>>],
    w: &[E],
    y: &mut [Vector<E, Const<2>>],
    lines: &Lines,
    #[comptime] map: Map,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let e = ABSOLUTE_POS;
    if e < lines.rows * lines.n {
        let (at_z, at_w, _) = places(lines, e / lines.n, e % lines.n);
        let result = value::<F>(load::<E, F>(z, at_z), weight::<E, F>(w, at_w, map), map);
        y[e] = stored::<E, F>(result);
    }
}

/// The gradients of an element a unit.
#[cube(launch_unchecked)]
pub(super) fn map_backward<E: Float, F: Float>(
    z: &[Vector<E, Const<2>>],
    w: &[E],
    g: &[Vector<E, Const<2>>],
    z_gradient: &mut [Vector<E, Const<2>>],
    w_gradient: &mut [F],
    lines: &Lines,
    #[comptime] map: Map,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let e = ABSOLUTE_POS;
    if e < lines.rows * lines.n {
        let (at_z, at_w, at_g) = places(lines, e / lines.n, e % lines.n);
        let z = load::<E, F>(z, at_z);
        let g = load::<E, F>(g, at_g);
        let w = weight::<E, F>(w, at_w, map);
        z_gradient[e] = stored::<E, F>(by_z::<F>(z, w, g, map));
        if comptime!(map.is_weighted()) {
            w_gradient[e] = by_w::<F>(z, w, g, map);
        }
    }
}

/// The sum of `mine` over the units of a line, in a fixed order.
#[cube]
fn total<F: Float>(mine: F, cells: &mut Shared<[F]>, #[comptime] config: NormConfig) -> F {
    if comptime!(config.units == 1) {
        mine
    } else {
        let unit = UNIT_POS as usize;
        let place = unit % comptime!(config.units);
        sync_cube();
        cells[unit] = mine;
        #[unroll]
        for level in 0..comptime!(config.units.ilog2() as usize) {
            let half = comptime!(config.units >> (level + 1));
            sync_cube();
            if place < half {
                let other = cells[unit + half];
                cells[unit] += other;
            }
        }
        sync_cube();
        cells[unit - place]
    }
}

/// The line that this unit works on, which may be beyond the last, and its place among the line's units.
#[cube]
fn share(#[comptime] config: NormConfig) -> (usize, usize) {
    let unit = UNIT_POS as usize;
    let units = comptime!(config.units);
    (CUBE_POS * comptime!(config.lines) + unit / units, unit % units)
}

/// `1/√(mean |z|² + ε)` of line `row`.
#[cube]
fn inverse_root<E: Float, F: Float>(
    z: &[Vector<E, Const<2>>],
    lines: &Lines,
    row: usize,
    place: usize,
    epsilon: F,
    cells: &mut Shared<[F]>,
    #[comptime] config: NormConfig,
) -> F {
    let units = comptime!(config.units);
    let from = line(lines, row, 0usize);
    let mut square = F::new(0.0);
    for turn in 0..lines.n.div_ceil(units) {
        let j = turn * units + place;
        if j < lines.n {
            let z = load::<E, F>(z, from + j * lines.strides[0usize]);
            square += dot::<F>(z, z);
        }
    }
    let sum = total::<F>(square, cells, config);
    F::new(1.0) / (sum / F::cast_from(lines.n as u32) + epsilon).sqrt()
}

/// `config.units` units a line.
#[cube(launch_unchecked)]
pub(super) fn rms_norm_forward<E: Float, F: Float>(
    z: &[Vector<E, Const<2>>],
    w: &[E],
    y: &mut [Vector<E, Const<2>>],
    lines: &Lines,
    epsilon: InputScalar,
    #[comptime] config: NormConfig,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let units = comptime!(config.units);
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.lines * config.units));
    let (wanted, place) = share(config);
    let row = min(wanted, lines.rows - 1);
    let root = inverse_root::<E, F>(z, lines, row, place, epsilon.get::<F>(), &mut cells, config);
    if wanted < lines.rows {
        for turn in 0..lines.n.div_ceil(units) {
            let j = turn * units + place;
            if j < lines.n {
                let (at_z, at_w, _) = places(lines, row, j);
                let factor = F::cast_from(w[at_w]) * root;
                y[row * lines.n + j] = stored::<E, F>(scaled::<F>(load::<E, F>(z, at_z), factor));
            }
        }
    }
}

/// The gradients, `config.units` units a line.
#[cube(launch_unchecked)]
pub(super) fn rms_norm_backward<E: Float, F: Float>(
    z: &[Vector<E, Const<2>>],
    w: &[E],
    g: &[Vector<E, Const<2>>],
    z_gradient: &mut [Vector<E, Const<2>>],
    w_gradient: &mut [F],
    lines: &Lines,
    epsilon: InputScalar,
    #[comptime] config: NormConfig,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let units = comptime!(config.units);
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.lines * config.units));
    let (wanted, place) = share(config);
    let row = min(wanted, lines.rows - 1);
    let root = inverse_root::<E, F>(z, lines, row, place, epsilon.get::<F>(), &mut cells, config);
    let mut along = F::new(0.0);
    for turn in 0..lines.n.div_ceil(units) {
        let j = turn * units + place;
        if j < lines.n {
            let (at_z, at_w, at_g) = places(lines, row, j);
            along += F::cast_from(w[at_w]) * dot::<F>(load::<E, F>(z, at_z), load::<E, F>(g, at_g));
        }
    }
    let mean = total::<F>(along, &mut cells, config) / F::cast_from(lines.n as u32);
    if wanted < lines.rows {
        for turn in 0..lines.n.div_ceil(units) {
            let j = turn * units + place;
            if j < lines.n {
                let (at_z, at_w, at_g) = places(lines, row, j);
                let z = load::<E, F>(z, at_z);
                let g = load::<E, F>(g, at_g);
                let passed = scaled::<F>(g, F::cast_from(w[at_w]));
                let back = mean * root * root;
                let re = (passed.re - z.re * back) * root;
                let im = (passed.im - z.im * back) * root;
                let at = row * lines.n + j;
                z_gradient[at] = stored::<E, F>(pair::<F>(re, im));
                w_gradient[at] = dot::<F>(z, g) * root;
            }
        }
    }
}
