//! Device code of the gradient: the forward recomputed, then two affine scans.

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
    kernel::{composite, scanned},
    operands::{
        Apart, Operands, Row, Segment, chunk, diagonal, element, entering_ratio, locate, lower,
        place, product, share, store, upper, walk,
    },
    plan::TileConfig,
    scan::{
        Complex, Values, add, choose, complex, conjugate, four, mul, real, reciprocal, scale,
        store_four, sub, times,
    },
};

/// `conj(g_k) G_k²`, the source of both recursions; for the determinant `g G_k`, which is the gradient of
/// `d_k` itself.
#[cube]
fn source<F: Float, NG: Size>(
    g: &[Vector<F, NG>],
    at: usize,
    diagonal: Complex<F>,
    #[comptime] determinant: bool,
) -> Complex<F> {
    let value = element::<F, NG>(g, at, !determinant);
    if comptime!(determinant) {
        scale::<F>(diagonal, value.re)
    } else {
        mul::<F>(mul::<F>(conjugate::<F>(value), diagonal), diagonal)
    }
}

/// Stores the gradients of element `k` of sequence `r`, of `a` and of what lies beside it, from those of
/// `d_k` and of `p_k`, in the usual convention: the conjugate for a complex parameter, the real part for a
/// real one.
#[cube]
fn store_element<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    gradients: &mut Apart<F, NA, NB>,
    row: &Row<F>,
    r: usize,
    k: usize,
    by_d: Complex<F>,
    by_p: Complex<F>,
    #[comptime] config: TileConfig,
) {
    let n = operands.geometry.lines.n;
    let [complex_a, complex_b] = comptime!(config.complex);
    store::<F, NA>(&mut gradients.a, r * n + k, conjugate::<F>(by_d), complex_a);
    if k + 1 < n {
        let at = r * (n - 1) + k;
        if comptime!(config.product) {
            store::<F, NB>(&mut gradients.b, at, conjugate::<F>(by_p), complex_b);
        } else {
            let above = upper::<F, NA, NB>(operands, row, k, config);
            let below = lower::<F, NA, NB>(operands, row, k, config);
            let by_b = times::<F>(by_p, below, complex_b);
            let by_c = times::<F>(by_p, above, complex_b);
            store::<F, NB>(&mut gradients.b, at, conjugate::<F>(by_b), complex_b);
            store::<F, NB>(&mut gradients.c, at, conjugate::<F>(by_c), complex_b);
        }
    }
}

/// The gradient, a chunk of each sequence a unit, a sequence a tile.
///
/// With `s_k = conj(g_k) G_k²`, `w_k = 1/v_{k+1}` and `h_k = 1/u_k`, `X` goes right and `Y` left:
/// `X_{k+1} = p_k w_k² (s_k + X_k)`, `Y_{k−1} = s_k + p_k h_k² Y_k`; then `∂d_k = −(X_k + Y_{k−1})` and
/// `∂p_k = (s_k + X_k) w_k + Y_k h_k`. The gradient of the logarithm of the determinant, from the real
/// part of `g`, needs neither: `∂d_k = g G_k` and `∂p_k = −g G_k w_k`.
#[cube(launch_unchecked)]
pub(super) fn chunked_vjp<F: Float, NA: Size, NB: Size, NG: Size>(
    operands: &Operands<F, NA, NB>,
    g: &[Vector<F, NG>],
    mut gradients: Apart<F, NA, NB>,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let share = share(&operands.geometry, config);
    let row = locate::<F, NA, NB>(operands, share.row);
    let n = operands.geometry.lines.n;
    let elements = comptime!(config.elements);
    let is_complex = comptime!(config.complex[1]);
    let determinant = comptime!(config.determinant);

    let chunk = chunk::<F, NA, NB>(operands, &row, share.first, config);
    let mine = composite::<F>(&chunk, share.first, n, config);
    let enters = scanned::<F>(&mut cells, &share, mine, false, config);

    // L, then 1/u, then 1/v of the right neighbour and the source, element by element.
    let mut l = Values::<F>::new(comptime!(elements + 1));
    let mut h = Values::<F>::new(elements);
    l.set(0usize, mul::<F>(enters.a, reciprocal::<F>(enters.b)));
    #[unroll]
    for e in 0..elements {
        let inverse = reciprocal::<F>(sub::<F>(chunk.d.get(e), l.get(e)));
        h.set(e, inverse);
        l.set(comptime!(e + 1), times::<F>(inverse, chunk.p.get(e), is_complex));
    }
    let mut w = Values::<F>::new(comptime!(elements + 1));
    let mut s = Values::<F>::new(elements);
    w.set(elements, mul::<F>(enters.p, reciprocal::<F>(enters.q)));
    #[unroll]
    for i in 0..elements {
        let e = comptime!(elements - 1 - i);
        let k = share.first + e;
        let inside = k < n;
        let d = chunk.d.get(e);
        let right = w.get(comptime!(e + 1));
        let r = times::<F>(right, chunk.p.get(e), is_complex);
        w.set(e, choose::<F>(inside, reciprocal::<F>(sub::<F>(d, r)), right));
        let value = reciprocal::<F>(sub::<F>(sub::<F>(d, l.get(e)), r));
        let at = place::<F>(&row, min(k, n - 1), &operands.geometry);
        s.set(
            e,
            choose::<F>(inside, source::<F, NG>(g, at, value, determinant), real::<F>(0.0f32)),
        );
    }

    let mut shift = Values::<F>::new(1usize);
    if comptime!(determinant) {
        #[unroll]
        for e in 0..elements {
            let k = share.first + e;
            let inside = k < n;
            let by_d = s.get(e);
            let by_p = scale::<F>(mul::<F>(by_d, w.get(comptime!(e + 1))), F::new(-1.0));
            if inside && share.active {
                let r = share.row;
                store_element::<F, NA, NB>(
                    operands,
                    &mut gradients,
                    &row,
                    r,
                    k,
                    by_d,
                    by_p,
                    config,
                );
            }
            let total = sub::<F>(shift.get(0usize), by_d);
            shift.set(0usize, choose::<F>(inside, total, shift.get(0usize)));
        }
    } else {
        // The chunk as an affine map of X, and of Y.
        let mut xa = Values::<F>::new(1usize);
        let mut xb = Values::<F>::new(1usize);
        let mut ya = Values::<F>::new(1usize);
        let mut yb = Values::<F>::new(1usize);
        xa.set(0usize, real::<F>(1.0f32));
        ya.set(0usize, real::<F>(1.0f32));
        #[unroll]
        for e in 0..elements {
            let inside = share.first + e < n;
            let p = chunk.p.get(e);
            let right = w.get(comptime!(e + 1));
            let factor = times::<F>(mul::<F>(right, right), p, is_complex);
            let moved = mul::<F>(factor, xa.get(0usize));
            let added = mul::<F>(factor, add::<F>(s.get(e), xb.get(0usize)));
            xa.set(0usize, choose::<F>(inside, moved, xa.get(0usize)));
            xb.set(0usize, choose::<F>(inside, added, xb.get(0usize)));
        }
        #[unroll]
        for i in 0..elements {
            let e = comptime!(elements - 1 - i);
            let inside = share.first + e < n;
            let own = h.get(e);
            let factor = times::<F>(mul::<F>(own, own), chunk.p.get(e), is_complex);
            let moved = mul::<F>(factor, ya.get(0usize));
            let added = add::<F>(s.get(e), mul::<F>(factor, yb.get(0usize)));
            ya.set(0usize, choose::<F>(inside, moved, ya.get(0usize)));
            yb.set(0usize, choose::<F>(inside, added, yb.get(0usize)));
        }
        let mine = four::<F>(xa.get(0usize), xb.get(0usize), ya.get(0usize), yb.get(0usize));
        // Every unit has read its leaf of the first tree.
        sync_cube();
        let enters = scanned::<F>(&mut cells, &share, mine, true, config);

        // y.get(e + 1) enters element e from the right, and y.get(e) leaves it.
        let mut y = Values::<F>::new(comptime!(elements + 1));
        y.set(elements, enters.p);
        #[unroll]
        for i in 0..elements {
            let e = comptime!(elements - 1 - i);
            let inside = share.first + e < n;
            let own = h.get(e);
            let right = y.get(comptime!(e + 1));
            let factor = times::<F>(mul::<F>(own, own), chunk.p.get(e), is_complex);
            let left = add::<F>(s.get(e), mul::<F>(factor, right));
            y.set(e, choose::<F>(inside, left, right));
        }
        let mut x = Values::<F>::new(1usize);
        x.set(0usize, enters.a);
        #[unroll]
        for e in 0..elements {
            let k = share.first + e;
            let inside = k < n;
            let p = chunk.p.get(e);
            let right = w.get(comptime!(e + 1));
            let whole = add::<F>(s.get(e), x.get(0usize));
            let by_d = add::<F>(x.get(0usize), y.get(e));
            let by_p =
                add::<F>(mul::<F>(whole, right), mul::<F>(y.get(comptime!(e + 1)), h.get(e)));
            if inside && share.active {
                let minus = scale::<F>(by_d, F::new(-1.0));
                let r = share.row;
                store_element::<F, NA, NB>(
                    operands,
                    &mut gradients,
                    &row,
                    r,
                    k,
                    minus,
                    by_p,
                    config,
                );
            }
            let total = add::<F>(shift.get(0usize), by_d);
            shift.set(0usize, choose::<F>(inside, total, shift.get(0usize)));
            x.set(0usize, mul::<F>(times::<F>(mul::<F>(right, right), p, is_complex), whole));
        }
    }

    // The sum over the tile, in the order of a tree.
    sync_cube();
    let slot = share.nodes + share.unit;
    let pitch = comptime!(config.nodes());
    let total = shift.get(0usize);
    cells[slot] = total.re;
    cells[slot + pitch] = total.im;
    for level in 0..comptime!(config.levels()) {
        let width = comptime!(config.units / 2) >> level;
        sync_cube();
        if share.unit < width {
            let re = cells[slot + width];
            let im = cells[slot + pitch + width];
            cells[slot] += re;
            cells[slot + pitch] += im;
        }
    }
    if share.unit == 0 && share.active {
        let total = complex::<F>(cells[slot], cells[slot + pitch]);
        store::<F, Const<2>>(&mut gradients.z, share.row, conjugate::<F>(total), true);
    }
}

/// The gradient, one unit a sequence or a chunk; between its passes four complex numbers an element lie
/// in `work`. Pass 0 goes right and leaves `L_k`. Pass 1 goes left and leaves `s_k`, `w_k`, `Y_{k−1}` and
/// `Y_k h_k`, if a unit carries the sequence; else `s_k`, `w_k` and `h_k`, and in `left` what the chunk does
/// to `X` and `Y`, and pass 2 goes left once more for `Y`. Pass 3 goes right for `X` and stores. The
/// gradient of the determinant needs neither and is stored by pass 1.
#[cube(launch_unchecked)]
pub(super) fn serial_vjp<F: Float, NA: Size, NB: Size, NG: Size>(
    operands: &Operands<F, NA, NB>,
    g: &[Vector<F, NG>],
    entering: &[F],
    left: &mut [F],
    work: &mut [F],
    mut gradients: Apart<F, NA, NB>,
    segment: &Segment,
    #[comptime] pass: usize,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let walk = walk(segment, &operands.geometry, config);
    if walk.active {
        let row = locate::<F, NA, NB>(operands, walk.row);
        let n = operands.geometry.lines.n;
        let is_complex = comptime!(config.complex[1]);
        let carried = comptime!(config.carried);
        let determinant = comptime!(config.determinant);
        let back = comptime!(pass == 1 || pass == 2);
        let begins = if comptime!(back) { walk.last == n } else { walk.first == 0 };
        let position = ABSOLUTE_POS;
        // Ratios and maps from the left lie in the first half, from the right in the second.
        let slot = position * 8 + comptime!(if back { 4usize } else { 0usize });
        let affine = comptime!(carried && pass >= 2);
        let start = if comptime!(affine) {
            complex::<F>(entering[slot], entering[slot + 1])
        } else {
            entering_ratio::<F, F>(entering, slot, begins, config)
        };
        let kept = complex::<F>(entering[slot + 2], entering[slot + 3]);
        let zero = real::<F>(0.0f32);
        let second = if comptime!(carried) { zero } else { choose::<F>(begins, zero, kept) };
        let mut re = start.re;
        let mut im = start.im;
        // Y where pass 1 carries it, the sum of `X + Y` in pass 3, the maps' constants in pass 1.
        let mut other_re = second.re;
        let mut other_im = second.im;
        let mut xa_re = F::new(1.0);
        let mut xa_im = F::new(0.0);
        let mut xb_re = F::new(0.0);
        let mut xb_im = F::new(0.0);
        let mut ya_re = F::new(1.0);
        let mut ya_im = F::new(0.0);
        for i in walk.first..walk.last {
            let k = if comptime!(back) { walk.last - 1 - (i - walk.first) } else { i };
            let at = (walk.row * n + k) * 8;
            let x_re = re;
            let x_im = im;
            let y_re = other_re;
            let y_im = other_im;
            let x = complex::<F>(x_re, x_im);
            let y = complex::<F>(y_re, y_im);
            let p = product::<F, NA, NB>(operands, &row, k, config);
            if comptime!(pass == 0) {
                work[at] = x.re;
                work[at + 1] = x.im;
                let u = sub::<F>(diagonal::<F, NA, NB>(operands, &row, k, config), x);
                let next = times::<F>(reciprocal::<F>(u), p, is_complex);
                re = next.re;
                im = next.im;
            } else if comptime!(pass == 1) {
                let l = complex::<F>(work[at], work[at + 1]);
                let d = diagonal::<F, NA, NB>(operands, &row, k, config);
                let u = sub::<F>(d, l);
                let r = times::<F>(x, p, is_complex);
                let value = reciprocal::<F>(sub::<F>(u, r));
                let at_g = place::<F>(&row, k, &operands.geometry);
                let s = source::<F, NG>(g, at_g, value, determinant);
                if comptime!(determinant) {
                    let by_p = scale::<F>(mul::<F>(s, x), F::new(-1.0));
                    let r = walk.row;
                    store_element::<F, NA, NB>(
                        operands,
                        &mut gradients,
                        &row,
                        r,
                        k,
                        s,
                        by_p,
                        config,
                    );
                    other_re = y_re - s.re;
                    other_im = y_im - s.im;
                } else {
                    let h = reciprocal::<F>(u);
                    let factor = times::<F>(mul::<F>(h, h), p, is_complex);
                    let next_y = add::<F>(s, mul::<F>(factor, y));
                    work[at] = s.re;
                    work[at + 1] = s.im;
                    work[at + 2] = x.re;
                    work[at + 3] = x.im;
                    if comptime!(carried) {
                        work[at + 4] = h.re;
                        work[at + 5] = h.im;
                        let moved = mul::<F>(factor, complex::<F>(ya_re, ya_im));
                        ya_re = moved.re;
                        ya_im = moved.im;
                        // An element to the left of those that the map of X has: it comes first.
                        let first = times::<F>(mul::<F>(x, x), p, is_complex);
                        let whole = mul::<F>(complex::<F>(xa_re, xa_im), first);
                        let constant = add::<F>(mul::<F>(whole, s), complex::<F>(xb_re, xb_im));
                        xa_re = whole.re;
                        xa_im = whole.im;
                        xb_re = constant.re;
                        xb_im = constant.im;
                    } else {
                        let half = mul::<F>(y, h);
                        work[at + 4] = next_y.re;
                        work[at + 5] = next_y.im;
                        work[at + 6] = half.re;
                        work[at + 7] = half.im;
                    }
                    other_re = next_y.re;
                    other_im = next_y.im;
                }
                let next = reciprocal::<F>(sub::<F>(d, r));
                re = next.re;
                im = next.im;
            } else if comptime!(pass == 2) {
                let s = complex::<F>(work[at], work[at + 1]);
                let h = complex::<F>(work[at + 4], work[at + 5]);
                let factor = times::<F>(mul::<F>(h, h), p, is_complex);
                let next = add::<F>(s, mul::<F>(factor, x));
                let half = mul::<F>(x, h);
                work[at + 4] = next.re;
                work[at + 5] = next.im;
                work[at + 6] = half.re;
                work[at + 7] = half.im;
                re = next.re;
                im = next.im;
            } else {
                let s = complex::<F>(work[at], work[at + 1]);
                let w = complex::<F>(work[at + 2], work[at + 3]);
                let from_right = complex::<F>(work[at + 4], work[at + 5]);
                let half = complex::<F>(work[at + 6], work[at + 7]);
                let whole = add::<F>(s, x);
                let by_d = add::<F>(x, from_right);
                let by_p = add::<F>(mul::<F>(whole, w), half);
                let minus = scale::<F>(by_d, F::new(-1.0));
                let r = walk.row;
                store_element::<F, NA, NB>(
                    operands,
                    &mut gradients,
                    &row,
                    r,
                    k,
                    minus,
                    by_p,
                    config,
                );
                other_re = y_re + by_d.re;
                other_im = y_im + by_d.im;
                let next = mul::<F>(times::<F>(mul::<F>(w, w), p, is_complex), whole);
                re = next.re;
                im = next.im;
            }
        }
        if comptime!(!carried) {
            left[slot] = re;
            left[slot + 1] = im;
            left[slot + 2] = other_re;
            left[slot + 3] = other_im;
        } else if comptime!(pass == 1 && !determinant) {
            let map = four::<F>(
                complex::<F>(xa_re, xa_im),
                complex::<F>(xb_re, xb_im),
                complex::<F>(ya_re, ya_im),
                complex::<F>(other_re, other_im),
            );
            store_four::<F>(left, position, map);
        }
        if comptime!(pass == 3 || (pass == 1 && determinant)) {
            let ends = if comptime!(back) { walk.first == 0 } else { walk.last == n };
            if comptime!(carried) || ends {
                let total = complex::<F>(other_re, -other_im);
                store::<F, Const<2>>(&mut gradients.z, position, total, true);
            }
        }
    }
}
