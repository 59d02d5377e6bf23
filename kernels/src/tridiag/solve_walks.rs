//! Device code of solutions: one unit a sequence or a chunk of a long one.
//!
//! Of a chunk that is one of many, [`solve_map`] finds what it does to `X` and to `Y`, and a scan what enters it. Then
//! [`solve_right`] goes right with `L` and `X` and leaves `r_k + X_k` and `L_k` in `work`, and [`solve_left`] goes left with
//! `R` and `Y` and stores. Behind the numbers of the elements there are eight for every walk: the ratio and the sum that
//! enter it from the left, and those from the right.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    kernel::{breaks_down, is_lost},
    operands::{
        Beside, Geometry, Operands, Pairs, Segment, begins, diagonal, entering_ratio, exponent_at,
        leave, locate, pair, place, sides, through, walk,
    },
    plan::TileConfig,
    scan::{add, choose, complex, mul, real, reciprocal, scale, sub, times},
    solve::{factor_left, factor_right, right_side, store_solution},
};

/// Where the state of a walk lies in `work`.
#[cube]
fn state_of(geometry: &Geometry, walk: usize) -> usize {
    geometry.lines.rows * geometry.lines.n * 4 + walk * 8
}

/// What a chunk of many does to `X`, or `back` to `Y`. The ratio that enters it is left in place of its two numbers.
#[cube(launch_unchecked)]
pub(super) fn solve_map<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    r: &Pairs<F>,
    work: &mut [F],
    maps: &mut [F],
    segment: &Segment,
    #[comptime] back: bool,
    #[comptime] is_conjugate: bool,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let beside = &operands.beside;
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let row = locate::<F, NA, NB>(operands, walk.row);
        let n = geometry.lines.n;
        let side = comptime!(if back { 4usize } else { 0usize });
        let slot = state_of(geometry, ABSOLUTE_POS) + side;
        let edge = if comptime!(back) { walk.last } else { walk.first };
        let e = exponent_at::<F, NA, NB>(operands, &row, edge, config);
        let begins = if comptime!(back) { walk.last == n } else { walk.first == 0 };
        let exponent = if comptime!(back) { -e } else { e };
        let ratio = entering_ratio::<F, F>(&*work, slot, begins, exponent, config);
        leave::<F>(work, slot, ratio);
        let mut re = ratio.re;
        let mut im = ratio.im;
        let mut sum_re = F::new(0.0);
        let mut sum_im = F::new(0.0);
        let mut all_re = F::new(1.0);
        let mut all_im = F::new(0.0);
        for i in walk.first..walk.last {
            let k = if comptime!(back) { walk.last - 1 - (i - walk.first) } else { i };
            let old_re = re;
            let old_im = im;
            let old_sum_re = sum_re;
            let old_sum_im = sum_im;
            let ratio = complex::<F>(old_re, old_im);
            let d = diagonal::<F, NA>(&operands.a, &row, k, geometry, config);
            let sides = sides::<F, NB>(beside, &row, k, config);
            let s = right_side::<F>(r, place::<F>(&row, k, geometry), is_conjugate);
            let whole = add::<F>(s, complex::<F>(old_sum_re, old_sum_im));
            let (next, factor) = if comptime!(back) {
                let inverse = reciprocal::<F>(sub::<F>(d, through::<F>(sides, ratio, config)));
                (inverse, factor_left::<F, NB>(beside, &row, k, inverse, config))
            } else {
                let h = reciprocal::<F>(sub::<F>(d, ratio));
                (through::<F>(sides, h, config), factor_right::<F, NB>(beside, &row, k, h, config))
            };
            re = next.re;
            im = next.im;
            let moved = mul::<F>(factor, whole);
            sum_re = moved.re;
            sum_im = moved.im;
            let all = mul::<F>(factor, complex::<F>(all_re, all_im));
            all_re = all.re;
            all_im = all.im;
        }
        let at = ABSOLUTE_POS * 8 + side;
        leave::<F>(maps, at, complex::<F>(all_re, all_im));
        leave::<F>(maps, at + 2, complex::<F>(sum_re, sum_im));
    }
}

/// The way to the right. Where it ends, the shift lies in place of the ratio: the way back has no buffer for it.
#[cube(launch_unchecked)]
pub(super) fn solve_right<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    r: &Pairs<F>,
    work: &mut [F],
    segment: &Segment,
    #[comptime] is_conjugate: bool,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let beside = &operands.beside;
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let row = locate::<F, NA, NB>(operands, walk.row);
        let n = geometry.lines.n;
        let slot = state_of(geometry, ABSOLUTE_POS);
        let zero = real::<F>(0.0f32);
        let begins = walk.first == 0;
        let ratio = choose::<F>(begins, zero, pair::<F, F>(&*work, slot));
        let sum = choose::<F>(begins, zero, pair::<F, F>(&*work, slot + 2));
        let mut re = ratio.re;
        let mut im = ratio.im;
        let mut sum_re = sum.re;
        let mut sum_im = sum.im;
        for k in walk.first..walk.last {
            let old_re = re;
            let old_im = im;
            let old_sum_re = sum_re;
            let old_sum_im = sum_im;
            let l = complex::<F>(old_re, old_im);
            let d = diagonal::<F, NA>(&operands.a, &row, k, geometry, config);
            let sides = sides::<F, NB>(beside, &row, k, config);
            let s = right_side::<F>(r, place::<F>(&row, k, geometry), is_conjugate);
            let whole = add::<F>(s, complex::<F>(old_sum_re, old_sum_im));
            let at = (walk.row * n + k) * 4;
            leave::<F>(work, at, whole);
            leave::<F>(work, at + 2, l);
            let h = reciprocal::<F>(sub::<F>(d, l));
            let next = through::<F>(sides, h, config);
            re = next.re;
            im = next.im;
            let factor = times::<F>(h, sides.below, comptime!(config.complex[1]));
            let moved = scale::<F>(mul::<F>(factor, whole), F::new(-1.0));
            sum_re = moved.re;
            sum_im = moved.im;
        }
        if comptime!(config.carried) || walk.last == n {
            leave::<F>(work, slot, row.z);
        } else {
            leave::<F>(work, slot, complex::<F>(re, im));
            leave::<F>(work, slot + 2, complex::<F>(sum_re, sum_im));
        }
    }
}

/// The way to the left.
#[cube(launch_unchecked)]
pub(super) fn solve_left<F: Float, NA: Size, NB: Size>(
    a: &[Vector<F, NA>],
    beside: &Beside<F, NB>,
    r: &Pairs<F>,
    work: &mut [F],
    x: &mut Pairs<F>,
    pivots: &mut [u32],
    segment: &Segment,
    #[comptime] is_conjugate: bool,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let n = geometry.lines.n;
        let position = ABSOLUTE_POS;
        let slot = state_of(geometry, position);
        let row = begins::<F>(geometry, walk.row, pair::<F, F>(&*work, slot));
        let zero = real::<F>(0.0f32);
        let is_first = walk.last == n;
        let ratio = choose::<F>(is_first, zero, pair::<F, F>(&*work, slot + 4));
        let sum = choose::<F>(is_first, zero, pair::<F, F>(&*work, slot + 6));
        let mut re = ratio.re;
        let mut im = ratio.im;
        let mut sum_re = sum.re;
        let mut sum_im = sum.im;
        let fresh = is_first || comptime!(config.carried);
        let mut flag = select(fresh, comptime!(u32::MAX), pivots[2 * position]);
        let mut lost = select(fresh, comptime!(u32::MAX), pivots[2 * position + 1]);
        for i in walk.first..walk.last {
            let k = walk.last - 1 - (i - walk.first);
            let old_re = re;
            let old_im = im;
            let old_sum_re = sum_re;
            let old_sum_im = sum_im;
            let sum = complex::<F>(old_sum_re, old_sum_im);
            let d = diagonal::<F, NA>(a, &row, k, geometry, config);
            let sides = sides::<F, NB>(beside, &row, k, config);
            let s = right_side::<F>(r, place::<F>(&row, k, geometry), is_conjugate);
            let at = (walk.row * n + k) * 4;
            let kept = pair::<F, F>(&*work, at);
            let l = pair::<F, F>(&*work, at + 2);
            let entering = through::<F>(sides, complex::<F>(old_re, old_im), config);
            let inverse = reciprocal::<F>(sub::<F>(d, entering));
            let g = reciprocal::<F>(sub::<F>(sub::<F>(d, l), entering));
            let value = mul::<F>(g, add::<F>(kept, sum));
            store_solution::<F>(x, walk.row * n + k, value, is_conjugate);
            if breaks_down::<F>(d, sides, l, entering, config) {
                flag = k as u32;
            }
            if is_lost::<F>(value, config) {
                lost = k as u32;
            }
            re = inverse.re;
            im = inverse.im;
            let factor = factor_left::<F, NB>(beside, &row, k, inverse, config);
            let moved = mul::<F>(factor, add::<F>(s, sum));
            sum_re = moved.re;
            sum_im = moved.im;
        }
        if comptime!(!config.carried) {
            leave::<F>(work, slot + 4, complex::<F>(re, im));
            leave::<F>(work, slot + 6, complex::<F>(sum_re, sum_im));
        }
        pivots[2 * position] = flag;
        pivots[2 * position + 1] = lost;
    }
}
