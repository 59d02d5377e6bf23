//! Device code of the gradient: the forward recomputed, then two affine scans, a chunk of each sequence a unit.

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
        Apart, Beside, Operands, Row, chunk, element, locate, lower, place, share, store,
        store_shift, upper,
    },
    plan::TileConfig,
    scaling::normal_power,
    scan::{
        Complex, Values, add, choose, complex, conjugate, four, mul, real, reciprocal, scale, sub,
        times,
    },
};

/// `conj(g_k) G_k²`, the source of both recursions; for the determinant `g G_k`, which is the gradient of
/// `d_k` itself.
#[cube]
pub(super) fn source<F: Float>(
    g: Complex<F>,
    diagonal: Complex<F>,
    #[comptime] determinant: bool,
) -> Complex<F> {
    if comptime!(determinant) {
        scale::<F>(diagonal, g.re)
    } else {
        mul::<F>(mul::<F>(conjugate::<F>(g), diagonal), diagonal)
    }
}

/// Stores the gradients of element `k` of sequence `r`, of `a` and of what lies beside it, from those of the scaled
/// `d_k` and `p_k`, in the usual convention: the conjugate for a complex parameter, the real part for a real one. `here`
/// and `next` are the powers of two by which the element and the next were multiplied.
#[cube]
fn store_element<F: Float, NA: Size, NB: Size>(
    beside: &Beside<F, NB>,
    gradients: &mut Apart<F, NA, NB>,
    row: &Row<F>,
    r: usize,
    k: usize,
    by_d: Complex<F>,
    by_p: Complex<F>,
    here: F,
    next: F,
    #[comptime] config: TileConfig,
) {
    let n = beside.geometry.lines.n;
    let [complex_a, complex_b] = comptime!(config.complex);
    let natural = scale::<F>(by_d, here);
    store::<F, NA>(&mut gradients.a, r * n + k, conjugate::<F>(natural), complex_a);
    if k + 1 < n {
        let at = r * (n - 1) + k;
        let half = scale::<F>(by_p, here);
        if comptime!(config.product) {
            let value = scale::<F>(half, next);
            store::<F, NB>(&mut gradients.b, at, conjugate::<F>(value), complex_b);
        } else {
            let above = scale::<F>(upper::<F, NB>(beside, row, k, config), next);
            let below = scale::<F>(lower::<F, NB>(beside, row, k, config), next);
            let by_b = times::<F>(half, below, complex_b);
            let by_c = times::<F>(half, above, complex_b);
            store::<F, NB>(&mut gradients.b, at, conjugate::<F>(by_b), complex_b);
            let at = gradients.lower + at;
            store::<F, NB>(&mut gradients.b, at, conjugate::<F>(by_c), complex_b);
        }
    }
}

/// The gradient, a chunk of each sequence a unit, a sequence a tile.
///
/// With `s_k = conj(g_k) G_k²`, `w_k = 1/v_{k+1}` and `h_k = 1/u_k`, `X` goes right and `Y` left:
/// `X_{k+1} = p_k w_k² (s_k + X_k)`, `Y_{k−1} = s_k + p_k h_k² Y_k`; then `∂d_k = −(X_k + Y_{k−1})` and
/// `∂p_k = (s_k + X_k) w_k + Y_k h_k`. The gradient of the logarithm of the determinant, from the real
/// part of `g`, needs neither: `∂d_k = g G_k` and `∂p_k = −g G_k w_k`. All of the scaled operator.
#[cube(launch_unchecked)]
pub(super) fn chunked_vjp<F: Float, NA: Size, NB: Size, NG: Size>(
    operands: &Operands<F, NA, NB>,
    g: &[Vector<F, NG>],
    mut gradients: Apart<F, NA, NB>,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let geometry = &operands.beside.geometry;
    let share = share(geometry, config);
    let row = locate::<F, NA, NB>(operands, share.row);
    let n = geometry.lines.n;
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
        let at = place::<F>(&row, min(k, n - 1), geometry);
        let given = element::<F, NG>(g, at, !determinant);
        let exponent = chunk.e[e];
        // The loss does not change with the scale of the operator.
        let given = if comptime!(determinant) {
            given
        } else {
            scale::<F>(given, normal_power::<F>(-exponent))
        };
        s.set(e, choose::<F>(inside, source::<F>(given, value, determinant), real::<F>(0.0f32)));
    }

    let mut shift = Values::<F>::new(1usize);
    if comptime!(determinant) {
        #[unroll]
        for e in 0..elements {
            let k = share.first + e;
            let inside = k < n;
            let by_d = s.get(e);
            let by_p = scale::<F>(mul::<F>(by_d, w.get(comptime!(e + 1))), F::new(-1.0));
            let exponent = chunk.e[e];
            let exponent_next = chunk.e[comptime!(e + 1)];
            let here = normal_power::<F>(-exponent);
            let next = normal_power::<F>(-exponent_next);
            if inside && share.active {
                let r = share.row;
                store_element::<F, NA, NB>(
                    &operands.beside,
                    &mut gradients,
                    &row,
                    r,
                    k,
                    by_d,
                    by_p,
                    here,
                    next,
                    config,
                );
            }
            let total = sub::<F>(shift.get(0usize), scale::<F>(by_d, here));
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
            let exponent = chunk.e[e];
            let exponent_next = chunk.e[comptime!(e + 1)];
            let here = normal_power::<F>(-exponent);
            let next = normal_power::<F>(-exponent_next);
            if inside && share.active {
                let minus = scale::<F>(by_d, F::new(-1.0));
                let r = share.row;
                store_element::<F, NA, NB>(
                    &operands.beside,
                    &mut gradients,
                    &row,
                    r,
                    k,
                    minus,
                    by_p,
                    here,
                    next,
                    config,
                );
            }
            let total = add::<F>(shift.get(0usize), scale::<F>(by_d, here));
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
        let complex_a = comptime!(config.complex[0]);
        let total = conjugate::<F>(total);
        store_shift::<F, NA, NB>(&mut gradients, share.row, total, complex_a);
    }
}
