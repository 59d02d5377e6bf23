//! Elimination with row interchanges: factors once, solutions often.
//!
//! # Formula
//! `P T = L U`, row by row from the first: of the rows `k` and `k + 1` the one with the larger element in column `k` is the
//! pivot, by the sum of the absolute values of its parts. `L` has one multiplier a row, not larger than 1 in that size, and
//! `U` three diagonals. `T x = r` then takes a way there through `L` and one back through `U`; `Tᵀ x = r` one there through
//! `Uᵀ` and one back through `Lᵀ`.
//!
//! # Operands
//! Those of a solution. Factors are eight numbers an element, contiguous, sequence after sequence: the multiplier, the
//! reciprocal of the pivot, and the two elements of `U` beside it; and whether the rows were exchanged.
//!
//! # Supported, rejected
//! As of solutions. Every operator that has an inverse has factors, whatever its minors. A pivot of which no more is left
//! than rounding is reported as data, with the place of its row.
//!
//! # Work mapping
//! A unit a sequence, 16384 elements a launch: there is nothing to scan, since which row is the pivot depends on all rows
//! before. Many sequences or short ones are what it is for.
//!
//! # Cost
//! About 40 flop an element for the factors and 30 for a solution; in `f32` 52 bytes and 60.
//!
//! # Reference
//! Higham, *Accuracy and Stability of Numerical Algorithms* (2002), section 9.6; the order of work is that of LAPACK's
//! `gttrf` and `gttrs`.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    kernel::{is_finite, is_lost, vanishes},
    operands::{Operands, Pairs, Segment, diagonal, element, leave, locate, pair, sides, store},
    plan::TileConfig,
    scan::{add, choose, complex, conjugate, mul, real, reciprocal, sub, taxicab},
};
use crate::lines::{Lines, line};

/// The numbers of an element's factors.
pub(super) const NUMBERS: usize = 8;

/// Factors of every sequence. What the next row has become lies in its place between two launches: in the order of the
/// factors how large its terms were, its diagonal, and what lies beside that.
#[cube(launch_unchecked)]
pub(super) fn factor<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    factors: &mut [F],
    swaps: &mut [u32],
    pivots: &mut [u32],
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let beside = &operands.beside;
    let geometry = &beside.geometry;
    let index = ABSOLUTE_POS;
    if index < geometry.lines.rows {
        let n = geometry.lines.n;
        let row = locate::<F, NA, NB>(operands, index);
        let base = index * n;
        let begins = segment.first == 0;
        let kept = (base + segment.first) * comptime!(NUMBERS);
        let own = diagonal::<F, NA>(&operands.a, &row, segment.first, geometry, config);
        let above = sides::<F, NB>(beside, &row, segment.first, config).above;
        let d = choose::<F>(begins, own, pair::<F, F>(&*factors, kept + 2));
        let u = choose::<F>(begins, above, pair::<F, F>(&*factors, kept + 4));
        let mut d_re = d.re;
        let mut d_im = d.im;
        let mut u_re = u.re;
        let mut u_im = u.im;
        let mut terms = select(begins, taxicab::<F>(own), factors[kept]);
        let mut flag = select(begins, comptime!(u32::MAX), pivots[2 * index]);
        for k in segment.first..segment.last {
            let at = (base + k) * comptime!(NUMBERS);
            let (old_d_re, old_d_im) = (d_re, d_im);
            let (old_u_re, old_u_im) = (u_re, u_im);
            let d = complex::<F>(old_d_re, old_d_im);
            let u = complex::<F>(old_u_re, old_u_im);
            let below = sides::<F, NB>(beside, &row, k, config).below;
            let next = min(k + 1, n - 1);
            let d_next = diagonal::<F, NA>(&operands.a, &row, next, geometry, config);
            let u_next = sides::<F, NB>(beside, &row, next, config).above;
            // Behind the last row there is none: what is read there is eliminated by 0.
            let swapped = taxicab::<F>(below) > taxicab::<F>(d);
            let pivot = choose::<F>(swapped, below, d);
            let inverse = reciprocal::<F>(pivot);
            let multiplier = mul::<F>(choose::<F>(swapped, d, below), inverse);
            let first = choose::<F>(swapped, d_next, u);
            let second = choose::<F>(swapped, u_next, real::<F>(0.0f32));
            let subtracted = mul::<F>(multiplier, first);
            let remaining = choose::<F>(swapped, u, d_next);
            let value = sub::<F>(remaining, subtracted);
            let zero = real::<F>(0.0f32);
            let value_u =
                sub::<F>(choose::<F>(swapped, zero, u_next), mul::<F>(multiplier, second));
            leave::<F>(factors, at, multiplier);
            leave::<F>(factors, at + 2, inverse);
            leave::<F>(factors, at + 4, first);
            leave::<F>(factors, at + 6, second);
            swaps[base + k] = select(swapped, 1u32, 0u32);
            // An exchanged row is the operator's own: nothing of it was rounded off.
            let size = select(swapped, taxicab::<F>(below), terms);
            let fine = is_finite::<F>(taxicab::<F>(pivot), config)
                && is_finite::<F>(taxicab::<F>(u), config)
                && is_finite::<F>(taxicab::<F>(below), config)
                && is_finite::<F>(taxicab::<F>(d), config);
            // A select, since a NaN answers every comparison with `false`.
            let bad = vanishes::<F>(pivot, size, config) || select(fine, 0u32, 1u32) == 1u32;
            if bad && flag == comptime!(u32::MAX) {
                flag = k as u32;
            }
            terms = taxicab::<F>(remaining) + taxicab::<F>(subtracted);
            d_re = value.re;
            d_im = value.im;
            u_re = value_u.re;
            u_im = value_u.im;
        }
        if segment.last < n {
            let at = (base + segment.last) * comptime!(NUMBERS);
            factors[at] = terms;
            leave::<F>(factors, at + 2, complex::<F>(d_re, d_im));
            leave::<F>(factors, at + 4, complex::<F>(u_re, u_im));
        }
        pivots[2 * index] = flag;
        pivots[2 * index + 1] = comptime!(u32::MAX);
    }
}

/// The factors and the right side of every sequence: 0 is the factors, counted in elements, 1 the right side.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Ways {
    lines: Lines,
}

/// There, through `L`: what is left of row `k` meets row `k + 1`, whose own lies in its place between two launches.
#[cube(launch_unchecked)]
pub(super) fn lower_right<F: Float>(
    factors: &[F],
    swaps: &[u32],
    r: &Pairs<F>,
    x: &mut Pairs<F>,
    geometry: &Ways,
    segment: &Segment,
    #[define(F)] _dtype: ElemType,
) {
    let lines = &geometry.lines;
    if ABSOLUTE_POS < lines.rows {
        let n = lines.n;
        let base = line(lines, ABSOLUTE_POS, 0usize);
        let first_r = line(lines, ABSOLUTE_POS, 1usize);
        let step = lines.strides[1usize];
        let out = ABSOLUTE_POS * n;
        let given = element::<F, Const<2>>(r, first_r + segment.first * step, true);
        let kept = element::<F, Const<2>>(&*x, out + segment.first, true);
        let start = choose::<F>(segment.first == 0, given, kept);
        let mut re = start.re;
        let mut im = start.im;
        for k in segment.first..segment.last {
            let old_re = re;
            let old_im = im;
            let here = complex::<F>(old_re, old_im);
            let next = min(k + 1, n - 1);
            let given = element::<F, Const<2>>(r, first_r + next * step, true);
            let swapped = swaps[base + k] == 1;
            let first = choose::<F>(swapped, given, here);
            let second = choose::<F>(swapped, here, given);
            let l = pair::<F, F>(factors, (base + k) * comptime!(NUMBERS));
            store::<F, Const<2>>(x, out + k, first, true);
            let value = sub::<F>(second, mul::<F>(l, first));
            re = value.re;
            im = value.im;
        }
        if segment.last < n {
            store::<F, Const<2>>(x, out + segment.last, complex::<F>(re, im), true);
        }
    }
}

/// And back, through `U`.
#[cube(launch_unchecked)]
pub(super) fn upper_left<F: Float>(
    factors: &[F],
    broken: &[u32],
    x: &mut Pairs<F>,
    pivots: &mut [u32],
    geometry: &Ways,
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let lines = &geometry.lines;
    let index = ABSOLUTE_POS;
    if index < lines.rows {
        let n = lines.n;
        let base = line(lines, index, 0usize);
        let out = index * n;
        let zero = real::<F>(0.0f32);
        let after = min(segment.last, n - 1);
        let last = min(segment.last + 1, n - 1);
        let near = element::<F, Const<2>>(&*x, out + after, true);
        let far = element::<F, Const<2>>(&*x, out + last, true);
        let near = choose::<F>(segment.last < n, near, zero);
        let far = choose::<F>(segment.last + 1 < n, far, zero);
        let mut one_re = near.re;
        let mut one_im = near.im;
        let mut two_re = far.re;
        let mut two_im = far.im;
        let fresh = segment.last == n;
        let mut lost = select(fresh, comptime!(u32::MAX), pivots[2 * index + 1]);
        for i in segment.first..segment.last {
            let k = segment.last - 1 - (i - segment.first);
            let old_one_re = one_re;
            let old_one_im = one_im;
            let old_two_re = two_re;
            let old_two_im = two_im;
            let one = complex::<F>(old_one_re, old_one_im);
            let two = complex::<F>(old_two_re, old_two_im);
            let at = (base + k) * comptime!(NUMBERS);
            let taken = add::<F>(
                mul::<F>(pair::<F, F>(factors, at + 4), one),
                mul::<F>(pair::<F, F>(factors, at + 6), two),
            );
            let given = element::<F, Const<2>>(&*x, out + k, true);
            let rest = sub::<F>(given, choose::<F>(k + 1 < n, taken, zero));
            let value = mul::<F>(rest, pair::<F, F>(factors, at + 2));
            store::<F, Const<2>>(x, out + k, value, true);
            if is_lost::<F>(value, config) {
                lost = k as u32;
            }
            two_re = one.re;
            two_im = one.im;
            one_re = value.re;
            one_im = value.im;
        }
        pivots[2 * index] = broken[2 * (base / n)];
        pivots[2 * index + 1] = lost;
    }
}

/// Of the transposed operator there, through the transpose of `U`, with the conjugate of the right side.
#[cube(launch_unchecked)]
pub(super) fn upper_right<F: Float>(
    factors: &[F],
    r: &Pairs<F>,
    x: &mut Pairs<F>,
    geometry: &Ways,
    segment: &Segment,
    #[define(F)] _dtype: ElemType,
) {
    let lines = &geometry.lines;
    if ABSOLUTE_POS < lines.rows {
        let n = lines.n;
        let base = line(lines, ABSOLUTE_POS, 0usize);
        let first_r = line(lines, ABSOLUTE_POS, 1usize);
        let step = lines.strides[1usize];
        let out = ABSOLUTE_POS * n;
        let zero = real::<F>(0.0f32);
        let before = max(segment.first, 1usize) - 1;
        let first = max(segment.first, 2usize) - 2;
        let near = element::<F, Const<2>>(&*x, out + before, true);
        let far = element::<F, Const<2>>(&*x, out + first, true);
        let near = choose::<F>(segment.first > 0, near, zero);
        let far = choose::<F>(segment.first > 1, far, zero);
        let mut one_re = near.re;
        let mut one_im = near.im;
        let mut two_re = far.re;
        let mut two_im = far.im;
        for k in segment.first..segment.last {
            let old_one_re = one_re;
            let old_one_im = one_im;
            let old_two_re = two_re;
            let old_two_im = two_im;
            let one = complex::<F>(old_one_re, old_one_im);
            let two = complex::<F>(old_two_re, old_two_im);
            // Column k of U: its elements lie with the rows before.
            let before = (base + max(k, 1usize) - 1) * comptime!(NUMBERS);
            let first = (base + max(k, 2usize) - 2) * comptime!(NUMBERS);
            let by_one = mul::<F>(pair::<F, F>(factors, before + 4), one);
            let by_two = mul::<F>(pair::<F, F>(factors, first + 6), two);
            let taken = add::<F>(by_one, choose::<F>(k > 1, by_two, zero));
            let given = conjugate::<F>(element::<F, Const<2>>(r, first_r + k * step, true));
            let rest = sub::<F>(given, choose::<F>(k > 0, taken, zero));
            let value = mul::<F>(rest, pair::<F, F>(factors, (base + k) * comptime!(NUMBERS) + 2));
            store::<F, Const<2>>(x, out + k, value, true);
            two_re = one.re;
            two_im = one.im;
            one_re = value.re;
            one_im = value.im;
        }
    }
}

/// And back, through the transpose of `L`, to the conjugate of the solution. What row `k + 1` has become is settled once
/// it need not be exchanged with row `k` any more.
#[cube(launch_unchecked)]
pub(super) fn lower_left<F: Float>(
    factors: &[F],
    swaps: &[u32],
    broken: &[u32],
    x: &mut Pairs<F>,
    pivots: &mut [u32],
    geometry: &Ways,
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let lines = &geometry.lines;
    let index = ABSOLUTE_POS;
    if index < lines.rows {
        let n = lines.n;
        let base = line(lines, index, 0usize);
        let out = index * n;
        let zero = real::<F>(0.0f32);
        let fresh = segment.last == n;
        let after = element::<F, Const<2>>(&*x, out + min(segment.last, n - 1), true);
        let start = choose::<F>(fresh, zero, after);
        let mut re = start.re;
        let mut im = start.im;
        let mut lost = select(fresh, comptime!(u32::MAX), pivots[2 * index + 1]);
        for i in segment.first..segment.last {
            let k = segment.last - 1 - (i - segment.first);
            let old_re = re;
            let old_im = im;
            let behind = complex::<F>(old_re, old_im);
            let inside = k + 1 < n;
            let here = element::<F, Const<2>>(&*x, out + k, true);
            let l = pair::<F, F>(factors, (base + k) * comptime!(NUMBERS));
            let value = sub::<F>(here, choose::<F>(inside, mul::<F>(l, behind), zero));
            let swapped = inside && swaps[base + k] == 1;
            let first = choose::<F>(swapped, behind, value);
            let second = conjugate::<F>(choose::<F>(swapped, value, behind));
            if inside {
                store::<F, Const<2>>(x, out + k + 1, second, true);
                if is_lost::<F>(second, config) {
                    lost = (k + 1) as u32;
                }
            }
            re = first.re;
            im = first.im;
        }
        let last = complex::<F>(re, im);
        if segment.first == 0 {
            store::<F, Const<2>>(x, out, conjugate::<F>(last), true);
            if is_lost::<F>(last, config) {
                lost = 0u32;
            }
        } else {
            store::<F, Const<2>>(x, out + segment.first, last, true);
        }
        pivots[2 * index] = broken[2 * (base / n)];
        pivots[2 * index + 1] = lost;
    }
}
