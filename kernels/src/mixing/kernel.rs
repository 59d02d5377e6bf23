//! Device code of the maps and of the norm.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::plan::{Map, NormConfig};
use crate::{
    constant,
    functions::{angle, cos_sin, dividing_power, is_infinite, is_nan, nan, sigmoid_parts},
    lines::{Lines, line},
};

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
    /// A power of two, and the magnitude times it, by which quotients are right; both 1 for zero.
    power: F,
    scaled: F,
}

/// Without squares that overflow or vanish. What has no magnitude, NaN in either part, has NaN in all of them, and
/// what is infinite has no direction.
#[cube]
fn direction<F: Float>(z: Pair<F>) -> Direction<F> {
    let (zero, one) = (F::new(0.0), F::new(1.0));
    // Of NaN and a number this is the number.
    let largest = max(z.re.abs(), z.im.abs());
    let there = largest > zero;
    let power = select(there, dividing_power::<F>(largest), one);
    let unit = select(there, largest * power, one);
    let re = z.re * power / unit;
    let im = z.im * power / unit;
    let norm = select(there, (re * re + im * im).sqrt(), one);
    let lost = is_nan::<F>(z.re) || is_nan::<F>(z.im);
    let infinite = is_infinite::<F>(largest);
    let none = nan::<F>(largest);
    let size = select(there && !infinite, largest * norm, largest);
    let aimless = lost || infinite;
    Direction::<F> {
        size: select(lost, none, size),
        u: pair::<F>(select(aimless, none, re / norm), select(aimless, none, im / norm)),
        power,
        scaled: select(lost, none, unit * norm),
    }
}

/// `½ (1 + cos φ)` of a direction as the product of two numbers, as small as each other where it is nearly 0, and
/// without the difference of near numbers where the cosine is negative.
#[cube]
fn cardioid_parts<F: Float>(u: Pair<F>) -> (F, F) {
    let (half, one) = (F::new(0.5), F::new(1.0));
    let back = u.re < F::new(0.0);
    let (ahead, behind) = (one + u.re, u.im / select(back, one - u.re, one));
    (half * select(back, u.im, one), select(back, behind, ahead))
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

/// [`cos_sin`] in the compute type.
#[cube]
fn turn<F: Float>(angle: F) -> (F, F) {
    let (cos, sin) = cos_sin(f32::cast_from(angle));
    (F::cast_from(cos), F::cast_from(sin))
}

/// [`sigmoid_parts`] in the compute type.
#[cube]
fn gate_parts<F: Float>(w: F) -> (F, F) {
    let (first, second) = sigmoid_parts(f32::cast_from(w));
    (F::cast_from(first), F::cast_from(second))
}

/// What modReLU cuts: so that what is compared with NaN stays.
#[cube]
fn is_cut<F: Float>(size: F, w: F) -> bool {
    size <= -w
}

#[cube]
fn value<F: Float>(z: Pair<F>, w: F, #[comptime] map: Map) -> Pair<F> {
    if comptime!(map == Map::ModRelu) {
        let of = direction::<F>(z);
        let zero = F::new(0.0);
        // Not by the magnitude, which may overflow where the result does not.
        let (re, im) = (z.re + w * of.u.re, z.im + w * of.u.im);
        let cut = is_cut::<F>(of.size, w);
        pair::<F>(select(cut, zero, re), select(cut, zero, im))
    } else if comptime!(map == Map::Cardioid) {
        let of = direction::<F>(z);
        let (first, second) = cardioid_parts::<F>(of.u);
        scaled::<F>(scaled::<F>(z, first), second)
    } else if comptime!(map == Map::Rotate) {
        let (cos, sin) = turn::<F>(w);
        turned::<F>(z, cos, sin)
    } else if comptime!(map == Map::Gate) {
        let (first, second) = gate_parts::<F>(w);
        scaled::<F>(scaled::<F>(z, first), second)
    } else if comptime!(map == Map::Polar) {
        let of = direction::<F>(z);
        pair::<F>(of.size, F::cast_from(angle(f32::cast_from(z.re), f32::cast_from(z.im))))
    } else {
        let (cos, sin) = turn::<F>(z.im);
        pair::<F>(z.re * cos, z.re * sin)
    }
}

#[cube]
fn by_z<F: Float>(z: Pair<F>, w: F, g: Pair<F>, #[comptime] map: Map) -> Pair<F> {
    if comptime!(map == Map::ModRelu) {
        let of = direction::<F>(z);
        let zero = F::new(0.0);
        // What turns the number is stretched by `1 + w/s`: without the difference of near numbers, and `w/s` may be
        // infinite where there is nothing to stretch.
        let cross = of.u.re * g.im - of.u.im * g.re;
        let share = w * of.power / of.scaled;
        let across = select(is_infinite::<F>(share) && cross == zero, zero, share * cross);
        let (re, im) = (g.re - across * of.u.im, g.im + across * of.u.re);
        let cut = is_cut::<F>(of.size, w) || (of.size == zero && !is_nan::<F>(w));
        pair::<F>(select(cut, zero, re), select(cut, zero, im))
    } else if comptime!(map == Map::Cardioid) {
        let of = direction::<F>(z);
        // `Re(z̄ g)/s` without the quotient of small numbers.
        let along = F::new(0.5) * dot::<F>(of.u, g);
        let (first, second) = cardioid_parts::<F>(of.u);
        let kept = scaled::<F>(scaled::<F>(g, first), second);
        let sin = of.u.im;
        pair::<F>(kept.re + along * sin * sin, kept.im - along * sin * of.u.re)
    } else if comptime!(map == Map::Rotate) {
        let (cos, sin) = turn::<F>(w);
        turned::<F>(g, cos, -sin)
    } else if comptime!(map == Map::Gate) {
        let (first, second) = gate_parts::<F>(w);
        scaled::<F>(scaled::<F>(g, first), second)
    } else if comptime!(map == Map::Polar) {
        let of = direction::<F>(z);
        turned::<F>(pair::<F>(g.re, g.im * of.power / of.scaled), of.u.re, of.u.im)
    } else {
        let (cos, sin) = turn::<F>(z.im);
        let back = turned::<F>(g, cos, -sin);
        pair::<F>(back.re, z.re * back.im)
    }
}

#[cube]
fn by_w<F: Float>(z: Pair<F>, w: F, g: Pair<F>, #[comptime] map: Map) -> F {
    if comptime!(map == Map::ModRelu) {
        let of = direction::<F>(z);
        let along = dot::<F>(of.u, g);
        select(is_nan::<F>(w), w, select(is_cut::<F>(of.size, w), F::new(0.0), along))
    } else if comptime!(map == Map::Rotate) {
        let y = value::<F>(z, w, map);
        y.re * g.im - y.im * g.re
    } else {
        // `σ(w) σ(−w)`, of which each has its part for either operand.
        let (first, second) = gate_parts::<F>(w);
        let (other, last) = gate_parts::<F>(-w);
        dot::<F>(scaled::<F>(z, first * other), scaled::<F>(g, second * last))
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

/// An element a unit.
#[cube(launch_unchecked)]
pub(super) fn map_forward<E: Float, F: Float>(
    z: &[Vector<E, Const<2>>],
    w: ComptimeOption<&[E]>,
    y: &mut [Vector<E, Const<2>>],
    lines: &Lines,
    #[comptime] map: Map,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let e = ABSOLUTE_POS;
    if e < lines.rows * lines.n {
        let (at_z, at_w, _) = places(lines, e / lines.n, e % lines.n);
        let w: ComptimeOption<F> = w.map(|w| F::cast_from(w[at_w]));
        let result = value::<F>(load::<E, F>(z, at_z), w.unwrap_or(F::new(0.0)), map);
        y[e] = stored::<E, F>(result);
    }
}

/// The gradients of an element a unit.
#[cube(launch_unchecked)]
pub(super) fn map_backward<E: Float, F: Float>(
    z: &[Vector<E, Const<2>>],
    w: ComptimeOption<&[E]>,
    g: &[Vector<E, Const<2>>],
    z_gradient: &mut [Vector<E, Const<2>>],
    w_gradient: ComptimeOption<&mut [F]>,
    lines: &Lines,
    #[comptime] map: Map,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let e = ABSOLUTE_POS;
    if e < lines.rows * lines.n {
        let (at_z, at_w, at_g) = places(lines, e / lines.n, e % lines.n);
        let z = load::<E, F>(z, at_z);
        let g = load::<E, F>(g, at_g);
        let w: ComptimeOption<F> = w.map(|w| F::cast_from(w[at_w]));
        let w = w.unwrap_or(F::new(0.0));
        z_gradient[e] = stored::<E, F>(by_z::<F>(z, w, g, map));
        #[comptime]
        if let ComptimeOption::Some(w_gradient) = w_gradient {
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

/// The inverse of a root, `power · inverse`: either is a normal number.
#[derive(CubeType)]
struct Root<F: Float> {
    power: F,
    inverse: F,
    /// One over the number of elements.
    per_element: F,
}

/// The elements that a unit on its own adds in a turn: an emulated one has 65535 turns.
const STRIDE: usize = 8;

/// A number of `P` parts in the compute type.
#[cube]
fn number<E: Float, F: Float, P: Size>(x: &[Vector<E, P>], at: usize) -> Vector<F, P> {
    Vector::cast_from(x[at])
}

#[cube]
fn times<F: Float, P: Size>(a: Vector<F, P>, by: F) -> Vector<F, P> {
    a * Vector::new(by)
}

/// The sum over the parts, `Re(ā b)`.
#[cube]
fn inner<F: Float, P: Size>(a: Vector<F, P>, b: Vector<F, P>) -> F {
    let products = a * b;
    let mut sum = products.extract(0usize);
    #[unroll]
    for part in 1..P::value() {
        sum += products.extract(part);
    }
    sum
}

/// `1/√(mean |z|² + ε)` of line `row`. Where squares overflow or vanish, each unit adds those of a multiple of the line
/// itself, which needs no barrier. Of what is not finite in the line, NaN.
#[cube]
fn inverse_root<E: Float, F: Float, P: Size>(
    z: &[Vector<E, P>],
    lines: &Lines,
    row: usize,
    place: usize,
    epsilon: F,
    cells: &mut Shared<[F]>,
    #[comptime] config: NormConfig,
) -> Root<F> {
    let units = comptime!(config.units);
    let from = line(lines, row, 0usize);
    let mut square = F::new(0.0);
    for turn in 0..lines.n.div_ceil(units) {
        let j = turn * units + place;
        if j < lines.n {
            let z = number::<E, F, P>(z, from + j * lines.strides[0usize]);
            square += inner::<F, P>(z, z);
        }
    }
    let per_element = F::new(1.0) / F::cast_from(lines.n as u32);
    let sum = total::<F>(square, cells, config);
    // Below the first, squares that vanished count.
    let size = F::size().comptime();
    let [least, up, down] = comptime!(
        (if size == 8 { [-900, 700, -700] } else { [-100, 84, -84] }).map(|n| 2f64.powi(n))
    );
    let mut mean = sum * per_element + epsilon;
    let mut power = F::new(1.0);
    let low = mean < constant::<F>(least);
    if low || is_infinite::<F>(mean) || is_nan::<F>(mean) {
        power = select(low, constant::<F>(up), constant::<F>(down));
        square = F::new(0.0);
        for turn in 0..lines.n.div_ceil(comptime!(STRIDE)) {
            #[unroll]
            for i in 0..comptime!(STRIDE) {
                let j = turn * comptime!(STRIDE) + i;
                let at = from + min(j, lines.n - 1) * lines.strides[0usize];
                let z = times::<F, P>(number::<E, F, P>(z, at), power);
                square += select(j < lines.n, inner::<F, P>(z, z), F::new(0.0));
            }
        }
        mean = square * per_element + epsilon * power * power;
    }
    let inverse = F::new(1.0) / mean.sqrt();
    let lost = is_infinite::<F>(mean) || is_nan::<F>(mean);
    Root::<F> { power, inverse: select(lost, nan::<F>(mean), inverse), per_element }
}

/// By a root.
#[cube]
fn divided<F: Float, P: Size>(z: Vector<F, P>, root: &Root<F>) -> Vector<F, P> {
    times::<F, P>(times::<F, P>(z, root.power), root.inverse)
}

/// `config.units` units a line.
#[cube(launch_unchecked)]
pub(super) fn rms_norm_forward<E: Float, F: Float, P: Size>(
    z: &[Vector<E, P>],
    w: &[E],
    y: &mut [Vector<E, P>],
    lines: &Lines,
    epsilon: InputScalar,
    #[comptime] config: NormConfig,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let units = comptime!(config.units);
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.lines * config.units));
    let (wanted, place) = share(config);
    let row = min(wanted, lines.rows - 1);
    let root =
        inverse_root::<E, F, P>(z, lines, row, place, epsilon.get::<F>(), &mut cells, config);
    if wanted < lines.rows {
        for turn in 0..lines.n.div_ceil(units) {
            let j = turn * units + place;
            if j < lines.n {
                let (at_z, at_w, _) = places(lines, row, j);
                let one = divided::<F, P>(number::<E, F, P>(z, at_z), &root);
                y[row * lines.n + j] = Vector::cast_from(times::<F, P>(one, F::cast_from(w[at_w])));
            }
        }
    }
}

/// The gradients, `config.units` units a line.
#[cube(launch_unchecked)]
pub(super) fn rms_norm_backward<E: Float, F: Float, P: Size>(
    z: &[Vector<E, P>],
    w: &[E],
    g: &[Vector<E, P>],
    z_gradient: &mut [Vector<E, P>],
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
    let root =
        inverse_root::<E, F, P>(z, lines, row, place, epsilon.get::<F>(), &mut cells, config);
    let mut along = F::new(0.0);
    for turn in 0..lines.n.div_ceil(units) {
        let j = turn * units + place;
        if j < lines.n {
            let (at_z, at_w, at_g) = places(lines, row, j);
            let one = divided::<F, P>(number::<E, F, P>(z, at_z), &root);
            along += F::cast_from(w[at_w]) * inner::<F, P>(one, number::<E, F, P>(g, at_g));
        }
    }
    let mean = total::<F>(along, &mut cells, config) * root.per_element;
    if wanted < lines.rows {
        for turn in 0..lines.n.div_ceil(units) {
            let j = turn * units + place;
            if j < lines.n {
                let (at_z, at_w, at_g) = places(lines, row, j);
                let one = divided::<F, P>(number::<E, F, P>(z, at_z), &root);
                let g = number::<E, F, P>(g, at_g);
                let passed = times::<F, P>(g, F::cast_from(w[at_w]));
                let rest = passed - times::<F, P>(one, mean);
                let at = row * lines.n + j;
                z_gradient[at] = Vector::cast_from(divided::<F, P>(rest, &root));
                w_gradient[at] = inner::<F, P>(one, g);
            }
        }
    }
}
