//! Device code of the gradient: one unit a sequence or a chunk of a long one.
//!
//! Between the passes eight numbers an element lie in `work`. [`vjp_right`] leaves `L_k`. [`vjp_left`] leaves `s_k`,
//! `w_k = 1/v_{k+1}`, `h_k = 1/u_k` and, where a unit carries the sequence, `Y_{k−1}`; else, in `maps`, what the chunk does
//! to `X` and `Y`, and [`vjp_sources`] goes left once more for `Y`. [`vjp_store`] goes right for `X` and stores. The
//! gradient of the determinant needs neither `X` nor `Y` and is stored by [`determinant_left`].
//!
//! Walks are in the operator's own units: ratios of neighbours are within range where the products `p_k` are not. What
//! the maps of many chunks do is not, along a graded chain. They are of `X_k v_k` and of `Y_k v_{k+1}`, whose factors,
//! `R_k/v_k` and `R_k v_k/u_k²`, are those of one element.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    clippy::collapsible_if,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own; what is decided at compile time stands apart"
)]

use cubecl::prelude::*;

use super::{
    gradient::source,
    operands::{
        Apart, Beside, Operands, Row, Segment, begins, diagonal, element, entering_ratio,
        exponent_at, leave, locate, pair, place, sides, store, store_shift, through, walk,
    },
    plan::TileConfig,
    scan::{
        Complex, add, choose, complex, conjugate, four, mul, real, reciprocal, scale, store_four,
        sub, times,
    },
};

/// `whole · (w · x) + y · (h · x)`, of the determinant the first alone.
#[cube]
fn by_link<F: Float>(
    whole: Complex<F>,
    w: Complex<F>,
    y: Complex<F>,
    h: Complex<F>,
    x: Complex<F>,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let is_complex = comptime!(config.complex[1]);
    let first = mul::<F>(whole, times::<F>(w, x, is_complex));
    if comptime!(config.determinant) {
        first
    } else {
        add::<F>(first, mul::<F>(y, times::<F>(h, x, is_complex)))
    }
}

/// Stores the gradients of what lies beside element `k` of sequence `r`: `∂p_k = whole · w + y · h`, `∂b_k = c_k ∂p_k` and
/// `∂c_k = b_k ∂p_k`. A reciprocal pivot times an element is within range where `∂p_k` is not.
#[cube]
fn store_beside<F: Float, NA: Size, NB: Size>(
    beside: &Beside<F, NB>,
    gradients: &mut Apart<F, NA, NB>,
    row: &Row<F>,
    r: usize,
    k: usize,
    whole: Complex<F>,
    w: Complex<F>,
    y: Complex<F>,
    h: Complex<F>,
    #[comptime] config: TileConfig,
) {
    let n = beside.geometry.lines.n;
    let complex_b = comptime!(config.complex[1]);
    if k + 1 < n {
        let at = r * (n - 1) + k;
        if comptime!(config.product) {
            let value = by_link::<F>(whole, w, y, h, real::<F>(1.0f32), config);
            store::<F, NB>(&mut gradients.b, at, conjugate::<F>(value), complex_b);
        } else {
            let sides = sides::<F, NB>(beside, row, k, config);
            let by_b = by_link::<F>(whole, w, y, h, sides.below, config);
            let by_c = by_link::<F>(whole, w, y, h, sides.above, config);
            store::<F, NB>(&mut gradients.b, at, conjugate::<F>(by_b), complex_b);
            let at = gradients.lower + at;
            store::<F, NB>(&mut gradients.b, at, conjugate::<F>(by_c), complex_b);
        }
    }
}

/// The first pass: `L`. That of the determinant leaves in `state` what its way back has no buffer for: the shift, and
/// the gradient of the logarithm, and the ratio that enters from the right in place of its two numbers.
#[cube(launch_unchecked)]
pub(super) fn vjp_right<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    g: &[Vector<F, Const<1>>],
    state: &mut [F],
    work: &mut [F],
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let beside = &operands.beside;
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let row = locate::<F, NA, NB>(operands, walk.row);
        let n = geometry.lines.n;
        let slot = ABSOLUTE_POS * 8;
        let mut exponent = 0i32;
        if comptime!(config.carried) {
            exponent = exponent_at::<F, NA, NB>(operands, &row, walk.first, config);
        }
        let start = entering_ratio::<F, F>(&*state, slot, walk.first == 0, exponent, config);
        let mut re = start.re;
        let mut im = start.im;
        for k in walk.first..walk.last {
            let l_re = re;
            let l_im = im;
            let l = complex::<F>(l_re, l_im);
            leave::<F>(work, (walk.row * n + k) * 8, l);
            let u = sub::<F>(diagonal::<F, NA>(&operands.a, &row, k, geometry, config), l);
            let sides = sides::<F, NB>(beside, &row, k, config);
            let next = through::<F>(sides, reciprocal::<F>(u), config);
            re = next.re;
            im = next.im;
        }
        if comptime!(!config.carried) {
            leave::<F>(state, slot, complex::<F>(re, im));
        }
        if comptime!(config.determinant) {
            if comptime!(config.carried) || walk.last == n {
                let given = element::<F, Const<1>>(g, row.g, false);
                leave::<F>(state, slot, row.z);
                state[slot + 2] = given.re;
            }
            if comptime!(config.carried) {
                let last = walk.last;
                let exponent = -exponent_at::<F, NA, NB>(operands, &row, last, config);
                let w = entering_ratio::<F, F>(&*state, slot + 4, last == n, exponent, config);
                leave::<F>(state, slot + 4, w);
            }
        }
    }
}

/// The second pass: `R`, the source, and what a chunk does to `X` and `Y`, or `Y` itself.
#[cube(launch_unchecked)]
pub(super) fn vjp_left<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    g: &[Vector<F, Const<2>>],
    state: &mut [F],
    work: &mut [F],
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let beside = &operands.beside;
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let row = locate::<F, NA, NB>(operands, walk.row);
        let n = geometry.lines.n;
        let carried = comptime!(config.carried);
        let begins = walk.last == n;
        let position = ABSOLUTE_POS;
        let slot = position * 8 + 4;
        let mut exponent = 0i32;
        if comptime!(carried) {
            exponent = -exponent_at::<F, NA, NB>(operands, &row, walk.last, config);
        }
        let start = entering_ratio::<F, F>(&*state, slot, begins, exponent, config);
        let zero = real::<F>(0.0f32);
        let kept = pair::<F, F>(&*state, slot + 2);
        let second = if comptime!(carried) { zero } else { choose::<F>(begins, zero, kept) };
        let mut w_re = start.re;
        let mut w_im = start.im;
        // Y where a unit carries the sequence, and the constant of its map else.
        let mut y_re = second.re;
        let mut y_im = second.im;
        let mut xa_re = F::new(1.0);
        let mut xa_im = F::new(0.0);
        let mut xb_re = F::new(0.0);
        let mut xb_im = F::new(0.0);
        let mut ya_re = F::new(1.0);
        let mut ya_im = F::new(0.0);
        for i in walk.first..walk.last {
            let k = walk.last - 1 - (i - walk.first);
            let at = (walk.row * n + k) * 8;
            let old_re = w_re;
            let old_im = w_im;
            let old_y_re = y_re;
            let old_y_im = y_im;
            let w = complex::<F>(old_re, old_im);
            let y = complex::<F>(old_y_re, old_y_im);
            let sides = sides::<F, NB>(beside, &row, k, config);
            let l = pair::<F, F>(&*work, at);
            let d = diagonal::<F, NA>(&operands.a, &row, k, geometry, config);
            let u = sub::<F>(d, l);
            let r = through::<F>(sides, w, config);
            let v = sub::<F>(d, r);
            let value = reciprocal::<F>(sub::<F>(u, r));
            let given = element::<F, Const<2>>(g, place::<F>(&row, k, geometry), true);
            let s = source::<F>(given, value, false);
            let h = reciprocal::<F>(u);
            let next = reciprocal::<F>(v);
            leave::<F>(work, at, s);
            leave::<F>(work, at + 2, w);
            leave::<F>(work, at + 6, h);
            if comptime!(carried) {
                let factor = mul::<F>(mul::<F>(r, h), mul::<F>(v, h));
                let moved = mul::<F>(factor, complex::<F>(ya_re, ya_im));
                ya_re = moved.re;
                ya_im = moved.im;
                let constant = add::<F>(mul::<F>(v, s), mul::<F>(factor, y));
                y_re = constant.re;
                y_im = constant.im;
                // An element to the left of those that the map of X has: it comes first.
                let all = complex::<F>(xa_re, xa_im);
                let whole = mul::<F>(all, mul::<F>(r, next));
                let constant = add::<F>(mul::<F>(all, mul::<F>(r, s)), complex::<F>(xb_re, xb_im));
                xa_re = whole.re;
                xa_im = whole.im;
                xb_re = constant.re;
                xb_im = constant.im;
            } else {
                let factor = mul::<F>(through::<F>(sides, h, config), h);
                let next_y = add::<F>(s, mul::<F>(factor, y));
                leave::<F>(work, at + 4, next_y);
                y_re = next_y.re;
                y_im = next_y.im;
            }
            w_re = next.re;
            w_im = next.im;
        }
        if comptime!(carried) {
            let map = four::<F>(
                complex::<F>(xa_re, xa_im),
                complex::<F>(xb_re, xb_im),
                complex::<F>(ya_re, ya_im),
                complex::<F>(y_re, y_im),
            );
            store_four::<F>(state, position, map);
        } else {
            leave::<F>(state, slot, complex::<F>(w_re, w_im));
            leave::<F>(state, slot + 2, complex::<F>(y_re, y_im));
        }
    }
}

/// The second pass of the determinant, which stores: `∂d_k = g G_k` and `∂p_k = −g G_k w_k`.
#[cube(launch_unchecked)]
pub(super) fn determinant_left<F: Float, NA: Size, NB: Size>(
    a: &[Vector<F, NA>],
    beside: &Beside<F, NB>,
    state: &mut [F],
    work: &[F],
    mut gradients: Apart<F, NA, NB>,
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let n = geometry.lines.n;
        let carried = comptime!(config.carried);
        let position = ABSOLUTE_POS;
        let slot = position * 8;
        let row = begins::<F>(geometry, walk.row, pair::<F, F>(&*state, slot));
        let given = complex::<F>(state[slot + 2], F::new(0.0));
        let is_first = walk.last == n;
        let start = if comptime!(carried) {
            pair::<F, F>(&*state, slot + 4)
        } else {
            choose::<F>(is_first, real::<F>(0.0f32), pair::<F, F>(&*state, slot + 4))
        };
        let zero = real::<F>(0.0f32);
        let kept = pair::<F, F>(&*state, slot + 6);
        let sum = if comptime!(carried) { zero } else { choose::<F>(is_first, zero, kept) };
        let mut w_re = start.re;
        let mut w_im = start.im;
        let mut sum_re = sum.re;
        let mut sum_im = sum.im;
        for i in walk.first..walk.last {
            let k = walk.last - 1 - (i - walk.first);
            let old_re = w_re;
            let old_im = w_im;
            let w = complex::<F>(old_re, old_im);
            let sides = sides::<F, NB>(beside, &row, k, config);
            let l = pair::<F, F>(work, (walk.row * n + k) * 8);
            let d = diagonal::<F, NA>(a, &row, k, geometry, config);
            let r = through::<F>(sides, w, config);
            let value = reciprocal::<F>(sub::<F>(sub::<F>(d, l), r));
            let s = source::<F>(given, value, true);
            let minus = scale::<F>(s, F::new(-1.0));
            let complex_a = comptime!(config.complex[0]);
            let by_d = conjugate::<F>(s);
            store::<F, NA>(&mut gradients.a, walk.row * n + k, by_d, complex_a);
            let r_index = walk.row;
            store_beside::<F, NA, NB>(
                beside,
                &mut gradients,
                &row,
                r_index,
                k,
                minus,
                w,
                zero,
                zero,
                config,
            );
            sum_re -= s.re;
            sum_im -= s.im;
            let next = reciprocal::<F>(sub::<F>(d, r));
            w_re = next.re;
            w_im = next.im;
        }
        if comptime!(!carried) {
            leave::<F>(state, slot + 4, complex::<F>(w_re, w_im));
            leave::<F>(state, slot + 6, complex::<F>(sum_re, sum_im));
        }
        if comptime!(carried) || walk.first == 0 {
            let complex_a = comptime!(config.complex[0]);
            let total = complex::<F>(sum_re, -sum_im);
            store_shift::<F, NA, NB>(&mut gradients, position, total, complex_a);
        }
    }
}

/// The third pass, where chunks are many: `Y`.
#[cube(launch_unchecked)]
pub(super) fn vjp_sources<F: Float, NB: Size>(
    beside: &Beside<F, NB>,
    entering: &[F],
    work: &mut [F],
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let n = geometry.lines.n;
        let row = begins::<F>(geometry, walk.row, real::<F>(0.0f32));
        let map = pair::<F, F>(entering, ABSOLUTE_POS * 8 + 6);
        let w = pair::<F, F>(&*work, (walk.row * n + walk.last - 1) * 8 + 2);
        let start = mul::<F>(map, w);
        let mut re = start.re;
        let mut im = start.im;
        for i in walk.first..walk.last {
            let k = walk.last - 1 - (i - walk.first);
            let at = (walk.row * n + k) * 8;
            let y_re = re;
            let y_im = im;
            let s = pair::<F, F>(&*work, at);
            let h = pair::<F, F>(&*work, at + 6);
            let sides = sides::<F, NB>(beside, &row, k, config);
            let factor = mul::<F>(through::<F>(sides, h, config), h);
            let next = add::<F>(s, mul::<F>(factor, complex::<F>(y_re, y_im)));
            leave::<F>(work, at + 4, next);
            re = next.re;
            im = next.im;
        }
    }
}

/// The last pass: `X`, and all gradients.
#[cube(launch_unchecked)]
pub(super) fn vjp_store<F: Float, NA: Size, NB: Size>(
    beside: &Beside<F, NB>,
    state: &mut [F],
    work: &[F],
    mut gradients: Apart<F, NA, NB>,
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let n = geometry.lines.n;
        let carried = comptime!(config.carried);
        let complex_a = comptime!(config.complex[0]);
        let position = ABSOLUTE_POS;
        let slot = position * 8;
        let zero = real::<F>(0.0f32);
        let row = begins::<F>(geometry, walk.row, zero);
        let is_first = walk.first == 0;
        let kept = pair::<F, F>(&*state, slot + 2);
        let start = if comptime!(carried) {
            let before = walk.row * n + max(walk.first, 1usize) - 1;
            let w = pair::<F, F>(work, before * 8 + 2);
            mul::<F>(kept, w)
        } else {
            pair::<F, F>(&*state, slot)
        };
        let start = choose::<F>(is_first, zero, start);
        let sum = if comptime!(carried) { zero } else { choose::<F>(is_first, zero, kept) };
        let mut x_re = start.re;
        let mut x_im = start.im;
        let mut sum_re = sum.re;
        let mut sum_im = sum.im;
        for k in walk.first..walk.last {
            let at = (walk.row * n + k) * 8;
            let old_re = x_re;
            let old_im = x_im;
            let x = complex::<F>(old_re, old_im);
            let s = pair::<F, F>(work, at);
            let w = pair::<F, F>(work, at + 2);
            let left = pair::<F, F>(work, at + 4);
            let h = pair::<F, F>(work, at + 6);
            let behind = (walk.row * n + min(k + 1, n - 1)) * 8;
            let y = pair::<F, F>(work, behind + 4);
            let whole = add::<F>(s, x);
            let by_d = add::<F>(x, left);
            let minus = complex::<F>(-by_d.re, by_d.im);
            store::<F, NA>(&mut gradients.a, walk.row * n + k, minus, complex_a);
            let r = walk.row;
            store_beside::<F, NA, NB>(beside, &mut gradients, &row, r, k, whole, w, y, h, config);
            sum_re += by_d.re;
            sum_im += by_d.im;
            let sides = sides::<F, NB>(beside, &row, k, config);
            let next = mul::<F>(mul::<F>(through::<F>(sides, w, config), w), whole);
            x_re = next.re;
            x_im = next.im;
        }
        if comptime!(!carried) {
            leave::<F>(state, slot, complex::<F>(x_re, x_im));
            leave::<F>(state, slot + 2, complex::<F>(sum_re, sum_im));
        }
        if comptime!(carried) || walk.last == n {
            let total = complex::<F>(sum_re, -sum_im);
            store_shift::<F, NA, NB>(&mut gradients, position, total, complex_a);
        }
    }
}
