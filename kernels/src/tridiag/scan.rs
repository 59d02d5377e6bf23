//! Device code of the scans: complex numbers, nodes of four of them, and the tree through shared
//! memory that hands every chunk what enters it from its left and from its right.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::prelude::*;

use super::{
    plan::{SCAN_PARTS, TileConfig},
    scaling::{exponent_of, is_double, power},
};

/// A complex number in two registers.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(super) struct Complex<F: Float> {
    pub(super) re: F,
    pub(super) im: F,
}

#[cube]
pub(super) fn complex<F: Float>(re: F, im: F) -> Complex<F> {
    Complex::<F> { re, im }
}

#[cube]
pub(super) fn real<F: Float>(re: f32) -> Complex<F> {
    complex::<F>(F::cast_from(re), F::new(0.0))
}

#[cube]
pub(super) fn add<F: Float>(a: Complex<F>, b: Complex<F>) -> Complex<F> {
    complex::<F>(a.re + b.re, a.im + b.im)
}

#[cube]
pub(super) fn sub<F: Float>(a: Complex<F>, b: Complex<F>) -> Complex<F> {
    complex::<F>(a.re - b.re, a.im - b.im)
}

#[cube]
pub(super) fn mul<F: Float>(a: Complex<F>, b: Complex<F>) -> Complex<F> {
    complex::<F>(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)
}

#[cube]
pub(super) fn scale<F: Float>(a: Complex<F>, s: F) -> Complex<F> {
    complex::<F>(a.re * s, a.im * s)
}

/// `a · p`, where `p` may be known to be real.
#[cube]
pub(super) fn times<F: Float>(
    a: Complex<F>,
    p: Complex<F>,
    #[comptime] is_complex: bool,
) -> Complex<F> {
    if comptime!(is_complex) { mul::<F>(a, p) } else { scale::<F>(a, p.re) }
}

#[cube]
pub(super) fn choose<F: Float>(condition: bool, a: Complex<F>, b: Complex<F>) -> Complex<F> {
    complex::<F>(select(condition, a.re, b.re), select(condition, a.im, b.im))
}

#[cube]
pub(super) fn conjugate<F: Float>(a: Complex<F>) -> Complex<F> {
    complex::<F>(a.re, -a.im)
}

/// The larger of the absolute values of the parts.
#[cube]
pub(super) fn size<F: Float>(a: Complex<F>) -> F {
    max(a.re.abs(), a.im.abs())
}

/// The sum of the absolute values of the parts; a NaN where one of them is.
#[cube]
pub(super) fn taxicab<F: Float>(a: Complex<F>) -> F {
    a.re.abs() + a.im.abs()
}

/// The power of two that brings `x > 0` to between 1 and 2, where `x` is within `2^±100`, in `f64` anywhere; beyond, it
/// brings it closer by that much. Multiplying by it rounds nothing.
#[cube]
pub(super) fn renormaliser<F: Float>(x: F) -> F {
    let double = is_double::<F>();
    if comptime!(double) {
        power::<F>(-exponent_of::<F>(x))
    } else {
        let narrow = f32::cast_from(x);
        let bounded = min(max(narrow, f32::new(7.888_609e-31)), f32::new(1.267_650_6e30));
        let exponent = u32::reinterpret(bounded) & 0x7f80_0000u32;
        F::cast_from(f32::reinterpret(0x7f00_0000u32 - exponent))
    }
}

/// The binary logarithm of what [`renormaliser`] gives.
#[cube]
pub(super) fn exponent<F: Float>(s: F) -> F {
    F::cast_from(exponent_of::<F>(s))
}

/// `1/a`, scaled so that the square of the absolute value stays within range.
#[cube]
pub(super) fn reciprocal<F: Float>(a: Complex<F>) -> Complex<F> {
    let s = renormaliser::<F>(size::<F>(a));
    let re = a.re * s;
    let im = a.im * s;
    // The scale is a power of two: it may come last, and a reciprocal takes fewer registers than a quotient.
    let inverse = F::new(1.0) / (re * re + im * im);
    complex::<F>(re * inverse * s, -(im * inverse * s))
}

/// Four complex numbers: what a chunk does to whatever enters it, or what enters it.
///
/// Of the recursions of `L` and `R`, a chunk `i … j` is `(A, B, P, Q)` up to a common factor: its
/// determinant, that without row `i`, `p_j` times that without row `j`, and `p_j` times that without
/// both. Then with `L = x/y` from the left, `L_{j+1} = (yP − xQ)/(yA − xB)`, and with `1/v_{j+1} = x/y`
/// from the right, `1/v_i = (yB − xQ)/(yA − xP)`.
///
/// Of the affine recursions of the gradient, a chunk is `X → a·X + b` from left to right and
/// `Y → p·Y + q` from right to left.
///
/// What enters is `x = a`, `y = b` from the left and `x = p`, `y = q` from the right; affine
/// recursions have no `y`.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(super) struct Four<F: Float> {
    pub(super) a: Complex<F>,
    pub(super) b: Complex<F>,
    pub(super) p: Complex<F>,
    pub(super) q: Complex<F>,
}

#[cube]
pub(super) fn four<F: Float>(
    a: Complex<F>,
    b: Complex<F>,
    p: Complex<F>,
    q: Complex<F>,
) -> Four<F> {
    Four::<F> { a, b, p, q }
}

/// The chunk of no elements.
#[cube]
pub(super) fn neutral<F: Float>(#[comptime] affine: bool) -> Four<F> {
    let one = real::<F>(1.0f32);
    let zero = real::<F>(0.0f32);
    if comptime!(affine) {
        four::<F>(one, zero, one, zero)
    } else {
        four::<F>(one, zero, zero, real::<F>(-1.0f32))
    }
}

/// What enters a whole sequence.
#[cube]
pub(super) fn nothing<F: Float>() -> Four<F> {
    let one = real::<F>(1.0f32);
    let zero = real::<F>(0.0f32);
    four::<F>(zero, one, zero, one)
}

/// The power of two that brings the largest of the four to between 1 and 2.
#[cube]
pub(super) fn common_renormaliser<F: Float>(x: Four<F>) -> F {
    let left = max(size::<F>(x.a), size::<F>(x.b));
    let right = max(size::<F>(x.p), size::<F>(x.q));
    renormaliser::<F>(max(left, right))
}

#[cube]
pub(super) fn scaled<F: Float>(x: Four<F>, s: F) -> Four<F> {
    four::<F>(scale::<F>(x.a, s), scale::<F>(x.b, s), scale::<F>(x.p, s), scale::<F>(x.q, s))
}

/// All four by one power of two: only their ratios matter.
#[cube]
pub(super) fn renormalised<F: Float>(x: Four<F>) -> Four<F> {
    scaled::<F>(x, common_renormaliser::<F>(x))
}

/// The chunk `l` and, to its right, the chunk `r` as one.
#[cube]
pub(super) fn joined<F: Float>(l: Four<F>, r: Four<F>, #[comptime] affine: bool) -> Four<F> {
    if comptime!(affine) {
        four::<F>(
            mul::<F>(r.a, l.a),
            add::<F>(mul::<F>(r.a, l.b), r.b),
            mul::<F>(l.p, r.p),
            add::<F>(mul::<F>(l.p, r.q), l.q),
        )
    } else {
        renormalised::<F>(product::<F>(l, r))
    }
}

/// What two chunks do to `L` and `R`, not renormalised: `A` is the determinant of both, if it was of each.
#[cube]
pub(super) fn product<F: Float>(l: Four<F>, r: Four<F>) -> Four<F> {
    four::<F>(
        sub::<F>(mul::<F>(l.a, r.a), mul::<F>(l.p, r.b)),
        sub::<F>(mul::<F>(l.b, r.a), mul::<F>(l.q, r.b)),
        sub::<F>(mul::<F>(l.a, r.p), mul::<F>(l.p, r.q)),
        sub::<F>(mul::<F>(l.b, r.p), mul::<F>(l.q, r.q)),
    )
}

/// What enters the right neighbour of chunk `node`, which `entering` enters, from the left.
#[cube]
pub(super) fn behind<F: Float>(
    node: Four<F>,
    entering: Four<F>,
    #[comptime] affine: bool,
) -> Four<F> {
    if comptime!(affine) {
        let x = add::<F>(mul::<F>(node.a, entering.a), node.b);
        four::<F>(x, entering.b, entering.p, entering.q)
    } else {
        let x = entering.a;
        let y = entering.b;
        let over = sub::<F>(mul::<F>(y, node.p), mul::<F>(x, node.q));
        let under = sub::<F>(mul::<F>(y, node.a), mul::<F>(x, node.b));
        let s = renormaliser::<F>(max(size::<F>(over), size::<F>(under)));
        four::<F>(scale::<F>(over, s), scale::<F>(under, s), entering.p, entering.q)
    }
}

/// What enters the left neighbour of chunk `node`, which `entering` enters, from the right.
#[cube]
pub(super) fn before<F: Float>(
    node: Four<F>,
    entering: Four<F>,
    #[comptime] affine: bool,
) -> Four<F> {
    if comptime!(affine) {
        let y = add::<F>(mul::<F>(node.p, entering.p), node.q);
        four::<F>(entering.a, entering.b, y, entering.q)
    } else {
        let x = entering.p;
        let y = entering.q;
        let over = sub::<F>(mul::<F>(y, node.b), mul::<F>(x, node.q));
        let under = sub::<F>(mul::<F>(y, node.a), mul::<F>(x, node.p));
        let s = renormaliser::<F>(max(size::<F>(over), size::<F>(under)));
        four::<F>(entering.a, entering.b, scale::<F>(over, s), scale::<F>(under, s))
    }
}

/// Complex numbers in registers. Every index is known at compile time, and setting a value gives a
/// new one its name.
#[derive(CubeType)]
pub(super) struct Values<F: Float> {
    re: Sequence<F>,
    im: Sequence<F>,
}

#[cube]
impl<F: Float> Values<F> {
    pub(super) fn new(#[comptime] len: usize) -> Values<F> {
        let mut re = Sequence::<F>::new();
        let mut im = Sequence::<F>::new();
        #[unroll]
        for _i in 0..len {
            re.push(F::new(0.0));
            im.push(F::new(0.0));
        }
        Values::<F> { re, im }
    }

    pub(super) fn set(&mut self, #[comptime] i: usize, value: Complex<F>) {
        self.re.insert(i, value.re);
        self.im.insert(i, value.im);
    }

    pub(super) fn get(&self, #[comptime] i: usize) -> Complex<F> {
        let re = self.re[i];
        let im = self.im[i];
        complex::<F>(re, im)
    }
}

/// A tree over the `units` chunks of each sequence that a cube holds, in shared memory: nodes 1 to
/// `2·units − 1`, the root first, the children of node `h` at `2h` and `2h + 1`. The parts of the
/// numbers lie apart, so that neighbouring nodes lie in neighbouring banks.
#[cube]
pub(super) fn put<F: Float>(
    cells: &mut Shared<[F]>,
    at: usize,
    x: Four<F>,
    #[comptime] config: TileConfig,
) {
    let pitch = comptime!(config.nodes());
    cells[at] = x.a.re;
    cells[at + pitch] = x.a.im;
    cells[at + comptime!(2 * pitch)] = x.b.re;
    cells[at + comptime!(3 * pitch)] = x.b.im;
    cells[at + comptime!(4 * pitch)] = x.p.re;
    cells[at + comptime!(5 * pitch)] = x.p.im;
    cells[at + comptime!(6 * pitch)] = x.q.re;
    cells[at + comptime!(7 * pitch)] = x.q.im;
}

#[cube]
pub(super) fn get<F: Float>(
    cells: &mut Shared<[F]>,
    at: usize,
    #[comptime] config: TileConfig,
) -> Four<F> {
    let pitch = comptime!(config.nodes());
    four::<F>(
        complex::<F>(cells[at], cells[at + pitch]),
        complex::<F>(cells[at + comptime!(2 * pitch)], cells[at + comptime!(3 * pitch)]),
        complex::<F>(cells[at + comptime!(4 * pitch)], cells[at + comptime!(5 * pitch)]),
        complex::<F>(cells[at + comptime!(6 * pitch)], cells[at + comptime!(7 * pitch)]),
    )
}

/// From the leaves, which the units have put, to the root. Fixed order: the same bits every time.
#[cube]
pub(super) fn rise<F: Float>(
    cells: &mut Shared<[F]>,
    begin: usize,
    unit: usize,
    #[comptime] affine: bool,
    #[comptime] config: TileConfig,
) {
    for level in 0..comptime!(config.levels()) {
        let width = comptime!(config.units / 2) >> level;
        sync_cube();
        if unit < width {
            let h = width + unit;
            let l = get::<F>(cells, begin + 2 * h, config);
            let r = get::<F>(cells, begin + 2 * h + 1, config);
            put::<F>(cells, begin + h, joined::<F>(l, r, affine), config);
        }
    }
    sync_cube();
}

/// From what enters the root, which is `entering`, to what enters this unit's leaf.
#[cube]
pub(super) fn fall<F: Float>(
    cells: &mut Shared<[F]>,
    begin: usize,
    unit: usize,
    entering: Four<F>,
    #[comptime] affine: bool,
    #[comptime] config: TileConfig,
) -> Four<F> {
    if unit == 0 {
        put::<F>(cells, begin + 1, entering, config);
    }
    for level in 0..comptime!(config.levels()) {
        let width = 1usize << level;
        sync_cube();
        if unit < width {
            let h = width + unit;
            let entering = get::<F>(cells, begin + h, config);
            let l = get::<F>(cells, begin + 2 * h, config);
            let r = get::<F>(cells, begin + 2 * h + 1, config);
            put::<F>(cells, begin + 2 * h, before::<F>(r, entering, affine), config);
            put::<F>(cells, begin + 2 * h + 1, behind::<F>(l, entering, affine), config);
        }
    }
    sync_cube();
    get::<F>(cells, begin + comptime!(config.units) + unit, config)
}

/// Eight numbers of a buffer.
#[cube]
pub(super) fn load_four<F: Float>(source: &[F], i: usize) -> Four<F> {
    let at = i * comptime!(SCAN_PARTS);
    four::<F>(
        complex::<F>(source[at], source[at + 1]),
        complex::<F>(source[at + 2], source[at + 3]),
        complex::<F>(source[at + 4], source[at + 5]),
        complex::<F>(source[at + 6], source[at + 7]),
    )
}

#[cube]
pub(super) fn store_four<F: Float>(target: &mut [F], i: usize, x: Four<F>) {
    let at = i * comptime!(SCAN_PARTS);
    target[at] = x.a.re;
    target[at + 1] = x.a.im;
    target[at + 2] = x.b.re;
    target[at + 3] = x.b.im;
    target[at + 4] = x.p.re;
    target[at + 5] = x.p.im;
    target[at + 6] = x.q.re;
    target[at + 7] = x.q.im;
}

/// What enters each tile of a sequence, from what the tiles do to it: one cube a sequence, `tiles`
/// dealt to its units in order. A unit's leaf keeps its state between two tiles. What enters is written from place
/// `begin` on: for ratios both numbers of either side, for affine recursions the second of each alone, since their ratio
/// has its place in the first.
#[cube(launch_unchecked)]
pub(super) fn carry<F: Float>(
    tiles: &[F],
    entering: &mut [F],
    begin: usize,
    rows: usize,
    count: usize,
    #[comptime] affine: bool,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let unit = UNIT_POS as usize;
    let leaf = comptime!(config.units) + unit;
    let row = CUBE_POS;
    let share = count.div_ceil(comptime!(config.units));
    let first = min(unit * share, count);
    let last = min(first + share, count);
    // A cube beyond the last row works on that row again, and stores nothing.
    let base = min(row, rows - 1) * count;
    put::<F>(&mut cells, leaf, neutral::<F>(affine), config);
    for t in first..last {
        let state = get::<F>(&mut cells, leaf, config);
        let next = load_four::<F>(tiles, base + t);
        put::<F>(&mut cells, leaf, joined::<F>(state, next, affine), config);
    }
    rise::<F>(&mut cells, 0usize, unit, affine, config);
    let mine = fall::<F>(&mut cells, 0usize, unit, nothing::<F>(), affine, config);
    for t in first..last {
        let state = get::<F>(&mut cells, leaf, config);
        if row < rows {
            let at = begin + (base + t) * comptime!(SCAN_PARTS);
            if comptime!(affine) {
                entering[at + 2] = state.a.re;
                entering[at + 3] = state.a.im;
            } else {
                entering[at] = state.a.re;
                entering[at + 1] = state.a.im;
                entering[at + 2] = state.b.re;
                entering[at + 3] = state.b.im;
            }
        }
        let next = load_four::<F>(tiles, base + t);
        put::<F>(&mut cells, leaf, behind::<F>(next, state, affine), config);
    }
    put::<F>(&mut cells, leaf, mine, config);
    for i in first..last {
        let t = last - 1 - (i - first);
        let state = get::<F>(&mut cells, leaf, config);
        if row < rows {
            let at = begin + (base + t) * comptime!(SCAN_PARTS);
            if comptime!(affine) {
                entering[at + 6] = state.p.re;
                entering[at + 7] = state.p.im;
            } else {
                entering[at + 4] = state.p.re;
                entering[at + 5] = state.p.im;
                entering[at + 6] = state.q.re;
                entering[at + 7] = state.q.im;
            }
        }
        let next = load_four::<F>(tiles, base + t);
        put::<F>(&mut cells, leaf, before::<F>(next, state, affine), config);
    }
}
