//! Device code of channels mixed by magnitude and by phase.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    kernel::{Pair, dot, load, pair, scaled, stored},
    plan::{BLOCK, SHARE},
};
use crate::{
    constant,
    functions::{is_infinite, is_nan, nan},
    lines::{Lines, line},
};

/// `Σ_k a_k s_k` and `Σ_k c_k x_k` of `SHARE` lines.
#[derive(CubeType)]
struct Sums<F: Float> {
    sizes: Vector<F, Const<SHARE>>,
    re: Vector<F, Const<SHARE>>,
    im: Vector<F, Const<SHARE>>,
}

#[cube]
fn zeros<F: Float>() -> Vector<F, Const<SHARE>> {
    Vector::new(F::new(0.0))
}

/// `√(|z|² + ε²)`, where no square overflows or vanishes.
#[cube]
fn plain_size<F: Float>(z: Pair<F>, epsilon: F) -> F {
    (dot::<F>(z, z) + epsilon * epsilon).sqrt()
}

/// `√(|z|² + ε²)` as `scaled · inverse`, the latter a power of two and `power` one over it.
#[derive(CubeType)]
struct Size<F: Float> {
    power: F,
    inverse: F,
    scaled: F,
}

/// Of any normal numbers.
#[cube]
fn size<F: Float>(z: Pair<F>, epsilon: F) -> Size<F> {
    let bytes = F::size().comptime();
    let [far, near, up, down] = comptime!(
        (if bytes == 8 { [350, -350, 700, -700] } else { [40, -40, 84, -84] })
            .map(|n| 2f64.powi(n))
    );
    let one = F::new(1.0);
    let largest = max(max(z.re.abs(), z.im.abs()), epsilon);
    let (up, down) = (constant::<F>(up), constant::<F>(down));
    let large = largest > constant::<F>(far);
    let small = largest < constant::<F>(near);
    let power = select(large, down, select(small, up, one));
    let epsilon = epsilon * power;
    let scaled =
        (dot::<F>(scaled::<F>(z, power), scaled::<F>(z, power)) + epsilon * epsilon).sqrt();
    // A driver's root or maximum may have lost it.
    let lost = is_nan::<F>(z.re) || is_nan::<F>(z.im);
    Size::<F> {
        power,
        inverse: select(large, up, select(small, down, one)),
        scaled: select(lost, nan::<F>(scaled), scaled),
    }
}

/// `z` by its size.
#[cube]
fn divided<F: Float>(z: Pair<F>, by: &Size<F>) -> Pair<F> {
    pair::<F>(z.re * by.power / by.scaled, z.im * by.power / by.scaled)
}

/// The entries of both matrices that make one result: the first, the step to the next, and how many.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
struct Entries {
    first: usize,
    step: usize,
    count: usize,
}

/// The sums for the lines of `x` that begin at `begins`. For the value `s` is the magnitude of `x`; for the
/// adjoint it is the real part of `s`, and `c` is conjugated. Sums run over blocks of terms, then over
/// the blocks: the rounding error grows with the root of both lengths, not with their product's.
#[cube]
fn sums<F: Float>(
    x: &[Vector<F, Const<2>>],
    s: &[Vector<F, Const<2>>],
    begins: &Sequence<usize>,
    x_step: usize,
    a: &[F],
    c: &[Vector<F, Const<2>>],
    entries: Entries,
    epsilon: F,
    #[comptime] adjoint: bool,
) -> Sums<F> {
    let block = comptime!(BLOCK);
    let mut sizes = zeros::<F>();
    let mut re = zeros::<F>();
    let mut im = zeros::<F>();
    for b in 0..entries.count.div_ceil(block) {
        let mut block_sizes = zeros::<F>();
        let mut block_re = zeros::<F>();
        let mut block_im = zeros::<F>();
        for k in b * block..min((b + 1) * block, entries.count) {
            let mut x_re = Vector::<F, Const<SHARE>>::empty();
            let mut x_im = Vector::<F, Const<SHARE>>::empty();
            let mut x_size = Vector::<F, Const<SHARE>>::empty();
            #[unroll]
            for r in 0..comptime!(SHARE) {
                let at = begins[r] + k * x_step;
                let value = load::<F, F>(x, at);
                x_re.insert(r, value.re);
                x_im.insert(r, value.im);
                if comptime!(adjoint) {
                    x_size.insert(r, s[at].extract(0usize));
                } else {
                    x_size.insert(r, plain_size::<F>(value, epsilon));
                }
            }
            let at = entries.first + k * entries.step;
            let entry = load::<F, F>(c, at);
            let c_re = Vector::<F, Const<SHARE>>::new(entry.re);
            let c_im = Vector::<F, Const<SHARE>>::new(if comptime!(adjoint) {
                -entry.im
            } else {
                entry.im
            });
            block_sizes += Vector::<F, Const<SHARE>>::new(a[at]) * x_size;
            block_re += c_re * x_re - c_im * x_im;
            block_im += c_re * x_im + c_im * x_re;
        }
        sizes += block_sizes;
        re += block_re;
        im += block_im;
    }
    Sums::<F> { sizes, re, im }
}

/// [`Sums::sizes`] of a value's lines with magnitudes of any size.
#[cube]
fn any_sizes<F: Float>(
    x: &[Vector<F, Const<2>>],
    begins: &Sequence<usize>,
    x_step: usize,
    a: &[F],
    entries: Entries,
    epsilon: F,
) -> Vector<F, Const<SHARE>> {
    let block = comptime!(BLOCK);
    let mut sizes = zeros::<F>();
    for b in 0..entries.count.div_ceil(block) {
        let mut block_sizes = zeros::<F>();
        for k in b * block..min((b + 1) * block, entries.count) {
            let mut x_size = Vector::<F, Const<SHARE>>::empty();
            #[unroll]
            for r in 0..comptime!(SHARE) {
                let of = size::<F>(load::<F, F>(x, begins[r] + k * x_step), epsilon);
                x_size.insert(r, of.scaled * of.inverse);
            }
            let entry = a[entries.first + k * entries.step];
            block_sizes += Vector::<F, Const<SHARE>>::new(entry) * x_size;
        }
        sizes += block_sizes;
    }
    sizes
}

/// The line `r` of a group that begins with line `first`; beyond the last line, the last.
#[cube]
fn member(lines: &Lines, first: usize, #[comptime] r: usize) -> usize {
    min(first + r, lines.rows - 1)
}

/// The sums for result `o` of the lines of `y` from `first`.
#[cube]
fn mixed<F: Float>(
    y: &[Vector<F, Const<2>>],
    a: &[F],
    c: &[Vector<F, Const<2>>],
    lines: &Lines,
    first: usize,
    o: usize,
    epsilon: F,
) -> Sums<F> {
    let mut begins = Sequence::<usize>::new();
    #[unroll]
    for r in 0..comptime!(SHARE) {
        begins.push(line(lines, member(lines, first, r), 0usize));
    }
    let entries = Entries { first: o * lines.n, step: 1usize.runtime(), count: lines.n };
    let step = lines.strides[0usize];
    let mut of = sums::<F>(y, y, &begins, step, a, c, entries, epsilon, false);
    // Squares that overflow show in their sum, and those that vanish are nothing beside that of `ε`, unless it does.
    let bytes = F::size().comptime();
    let least = comptime!(2f64.powi(if bytes == 8 { -450 } else { -50 }));
    let tiny = epsilon < constant::<F>(least);
    let mut unfit = tiny;
    #[unroll]
    for r in 0..comptime!(SHARE) {
        unfit = unfit || !is_plain::<F>(of.sizes.extract(r));
    }
    if unfit {
        let sizes = any_sizes::<F>(y, &begins, step, a, entries, epsilon);
        #[unroll]
        for r in 0..comptime!(SHARE) {
            // The others keep their bits, whatever is in this one's neighbours.
            let plain = of.sizes.extract(r);
            let keeps = is_plain::<F>(plain) && !tiny;
            of.sizes.insert(r, select(keeps, plain, sizes.extract(r)));
        }
    }
    of
}

#[cube]
fn is_plain<F: Float>(sum: F) -> bool {
    !is_nan::<F>(sum) && !is_infinite::<F>(sum)
}

/// A unit an output of `SHARE` lines.
#[cube(launch_unchecked)]
pub(super) fn phase_mix_forward<F: Float>(
    y: &[Vector<F, Const<2>>],
    a: &[F],
    c: &[Vector<F, Const<2>>],
    z: &mut [Vector<F, Const<2>>],
    lines: &Lines,
    outputs: usize,
    epsilon: InputScalar,
    #[define(F)] _dtype: ElemType,
) {
    let unit = ABSOLUTE_POS;
    let o = unit % outputs;
    let first = unit / outputs * comptime!(SHARE);
    if first < lines.rows {
        let epsilon = epsilon.get::<F>();
        let of = mixed::<F>(y, a, c, lines, first, o, epsilon);
        #[unroll]
        for r in 0..comptime!(SHARE) {
            if first + r < lines.rows {
                let turned = pair::<F>(of.re.extract(r), of.im.extract(r));
                let u = divided::<F>(turned, &size::<F>(turned, epsilon));
                let z_o = scaled::<F>(u, of.sizes.extract(r));
                z[(first + r) * outputs + o] = stored::<F, F>(z_o);
            }
        }
    }
}

/// The gradients by both sums of an output of `SHARE` lines, a unit each; that by the sum of magnitudes
/// in the place of a real part.
#[cube(launch_unchecked)]
pub(super) fn phase_mix_slopes<F: Float>(
    y: &[Vector<F, Const<2>>],
    a: &[F],
    c: &[Vector<F, Const<2>>],
    g: &[Vector<F, Const<2>>],
    by_sizes: &mut [Vector<F, Const<2>>],
    by_turned: &mut [Vector<F, Const<2>>],
    lines: &Lines,
    outputs: usize,
    epsilon: InputScalar,
    #[define(F)] _dtype: ElemType,
) {
    let unit = ABSOLUTE_POS;
    let o = unit % outputs;
    let first = unit / outputs * comptime!(SHARE);
    if first < lines.rows {
        let epsilon = epsilon.get::<F>();
        let of = mixed::<F>(y, a, c, lines, first, o, epsilon);
        #[unroll]
        for r in 0..comptime!(SHARE) {
            if first + r < lines.rows {
                let row = first + r;
                let g = load::<F, F>(g, line(lines, row, 1usize) + o * lines.strides[1usize]);
                let turned = pair::<F>(of.re.extract(r), of.im.extract(r));
                let size = size::<F>(turned, epsilon);
                let u = divided::<F>(turned, &size);
                let along = dot::<F>(u, g);
                let share = of.sizes.extract(r) * size.power / size.scaled;
                let across = pair::<F>(g.re - along * u.re, g.im - along * u.im);
                let at = row * outputs + o;
                by_sizes[at] = stored::<F, F>(pair::<F>(along, F::new(0.0)));
                by_turned[at] = stored::<F, F>(scaled::<F>(across, share));
            }
        }
    }
}

/// The gradient by an input of `SHARE` lines, a unit each, and the input's magnitude, from what
/// [`phase_mix_slopes`] leaves.
#[cube(launch_unchecked)]
pub(super) fn phase_mix_adjoint<F: Float>(
    y: &[Vector<F, Const<2>>],
    a: &[F],
    c: &[Vector<F, Const<2>>],
    by_sizes: &[Vector<F, Const<2>>],
    by_turned: &[Vector<F, Const<2>>],
    y_gradient: &mut [Vector<F, Const<2>>],
    sizes: &mut [F],
    lines: &Lines,
    outputs: usize,
    epsilon: InputScalar,
    #[define(F)] _dtype: ElemType,
) {
    let unit = ABSOLUTE_POS;
    let i = unit % lines.n;
    let first = unit / lines.n * comptime!(SHARE);
    if first < lines.rows {
        let epsilon = epsilon.get::<F>();
        let mut begins = Sequence::<usize>::new();
        #[unroll]
        for r in 0..comptime!(SHARE) {
            begins.push(member(lines, first, r) * outputs);
        }
        let entries = Entries { first: i, step: lines.n, count: outputs };
        let step = 1usize.runtime();
        let of = sums::<F>(by_turned, by_sizes, &begins, step, a, c, entries, epsilon, true);
        #[unroll]
        for r in 0..comptime!(SHARE) {
            if first + r < lines.rows {
                let row = first + r;
                let y = load::<F, F>(y, line(lines, row, 0usize) + i * lines.strides[0usize]);
                let magnitude = size::<F>(y, epsilon);
                let along = scaled::<F>(divided::<F>(y, &magnitude), of.sizes.extract(r));
                let turned = pair::<F>(of.re.extract(r), of.im.extract(r));
                let at = row * lines.n + i;
                y_gradient[at] =
                    stored::<F, F>(pair::<F>(along.re + turned.re, along.im + turned.im));
                sizes[at] = magnitude.scaled * magnitude.inverse;
            }
        }
    }
}
