//! Device code of the diagonal: loading a chunk, the chunked scan, and the serial recursion.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    plan::TileConfig,
    scan::{
        Complex, Four, Values, choose, complex, fall, four, mul, neutral, nothing, put, real,
        reciprocal, renormalised, rise, store_four, sub, taxicab, times,
    },
};
use crate::constant;

/// Complex numbers in a buffer.
pub(super) type Pairs<F> = [Vector<F, Const<2>>];

/// Where the elements of the operands lie: 0 is `a`, 1 `b` or `p`, 2 `c`, 3 `z`, 4 the diagonal or
/// its gradient. All counts are in elements of the operand.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Geometry {
    /// The lengths of the batch axes, slowest first.
    pub(super) batch: Sequence<usize>,
    /// The steps along the batch axes, operand by operand.
    pub(super) steps: Sequence<usize>,
    /// Where each operand begins.
    pub(super) offsets: Sequence<usize>,
    /// The step from element to element of each operand.
    pub(super) strides: Sequence<usize>,
    /// The number of sequences.
    pub(super) rows: usize,
    /// The elements of a sequence.
    pub(super) n: usize,
    /// The tiles of a sequence.
    pub(super) tiles: usize,
}

/// Where operand `operand` of sequence `row` begins.
#[cube]
pub(super) fn begin(geometry: &Geometry, row: usize, #[comptime] operand: usize) -> usize {
    let rank = geometry.batch.len().comptime();
    let mut rest = row;
    let mut at = geometry.offsets[operand];
    #[unroll]
    for d in 0..rank {
        let axis = comptime!(rank - 1 - d);
        let mut coordinate = rest;
        if comptime!(d + 1 < rank) {
            coordinate = rest % geometry.batch[axis];
            rest /= geometry.batch[axis];
        }
        at += coordinate * geometry.steps[comptime!(operand * rank + axis)];
    }
    at
}

/// Where one sequence begins, and its shift.
#[derive(CubeType)]
pub(super) struct Row<F: Float> {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) c: usize,
    pub(super) g: usize,
    pub(super) z: Complex<F>,
}

#[cube]
pub(super) fn locate<F: Float>(geometry: &Geometry, z: &Pairs<F>, row: usize) -> Row<F> {
    let shift = z[begin(geometry, row, 3usize)];
    Row::<F> {
        a: begin(geometry, row, 0usize),
        b: begin(geometry, row, 1usize),
        c: begin(geometry, row, 2usize),
        g: begin(geometry, row, 4usize),
        z: complex::<F>(shift.extract(0usize), shift.extract(1usize)),
    }
}

#[cube]
pub(super) fn element<F: Float, N: Size>(
    x: &[Vector<F, N>],
    at: usize,
    #[comptime] is_complex: bool,
) -> Complex<F> {
    let value = x[at];
    if comptime!(is_complex) {
        complex::<F>(value.extract(0usize), value.extract(1usize))
    } else {
        complex::<F>(value.extract(0usize), F::new(0.0))
    }
}

/// `d_k = a_k − z`, for `k < n`.
#[cube]
pub(super) fn diagonal<F: Float, NA: Size>(
    a: &[Vector<F, NA>],
    row: &Row<F>,
    k: usize,
    geometry: &Geometry,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let value =
        element::<F, NA>(a, row.a + k * geometry.strides[0usize], comptime!(config.complex[0]));
    sub::<F>(value, row.z)
}

/// `b_k` or `c_k`: operand 1 or 2. The last element of a sequence has none and reads another.
#[cube]
pub(super) fn off_diagonal<F: Float, NB: Size>(
    x: &[Vector<F, NB>],
    first: usize,
    k: usize,
    geometry: &Geometry,
    #[comptime] operand: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let there = min(k, max(geometry.n, 2usize) - 2);
    element::<F, NB>(x, first + there * geometry.strides[operand], comptime!(config.complex[1]))
}

/// `p_k = b_k c_k`, and 0 behind the last.
#[cube]
pub(super) fn product<F: Float, NB: Size>(
    b: &[Vector<F, NB>],
    c: &[Vector<F, NB>],
    row: &Row<F>,
    k: usize,
    geometry: &Geometry,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let upper = off_diagonal::<F, NB>(b, row.b, k, geometry, 1usize, config);
    let value = if comptime!(config.product) {
        upper
    } else {
        let lower = off_diagonal::<F, NB>(c, row.c, k, geometry, 2usize, config);
        times::<F>(upper, lower, comptime!(config.complex[1]))
    };
    choose::<F>(k + 1 < geometry.n, value, real::<F>(0.0f32))
}

/// Which chunk of which sequence a unit works on.
#[derive(CubeType)]
pub(super) struct Share {
    /// The sequence, or the last one where there is none.
    pub(super) row: usize,
    /// The unit among those of the sequence.
    pub(super) unit: usize,
    /// The unit's first element.
    pub(super) first: usize,
    /// Where the sequence's nodes begin in shared memory.
    pub(super) nodes: usize,
    /// Whether the sequence exists: the last cube may have units to spare.
    pub(super) active: bool,
}

#[cube]
pub(super) fn share(geometry: &Geometry, #[comptime] config: TileConfig) -> Share {
    let units = comptime!(config.units);
    let member = UNIT_POS as usize / units;
    let unit = UNIT_POS as usize % units;
    let row = CUBE_POS * comptime!(config.rows) + member;
    Share {
        row: min(row, geometry.rows - 1),
        unit,
        first: unit * comptime!(config.elements),
        nodes: member * comptime!(2 * config.units),
        active: row < geometry.rows,
    }
}

/// The elements of a chunk, in registers.
#[derive(CubeType)]
pub(super) struct Chunk<F: Float> {
    pub(super) d: Values<F>,
    pub(super) p: Values<F>,
}

#[cube]
pub(super) fn chunk<F: Float, NA: Size, NB: Size>(
    a: &[Vector<F, NA>],
    b: &[Vector<F, NB>],
    c: &[Vector<F, NB>],
    row: &Row<F>,
    first: usize,
    geometry: &Geometry,
    #[comptime] config: TileConfig,
) -> Chunk<F> {
    let mut d = Values::<F>::new(comptime!(config.elements));
    let mut p = Values::<F>::new(comptime!(config.elements));
    #[unroll]
    for e in 0..comptime!(config.elements) {
        let k = min(first + e, geometry.n - 1);
        d.set(e, diagonal::<F, NA>(a, row, k, geometry, config));
        p.set(e, product::<F, NB>(b, c, row, k, geometry, config));
    }
    Chunk::<F> { d, p }
}

/// What a chunk does to `L` and `R`. Elements beyond the sequence do nothing.
#[cube]
pub(super) fn composite<F: Float>(
    chunk: &Chunk<F>,
    first: usize,
    n: usize,
    #[comptime] config: TileConfig,
) -> Four<F> {
    let start = neutral::<F>(false);
    let mut a = Values::<F>::new(1usize);
    let mut b = Values::<F>::new(1usize);
    let mut p = Values::<F>::new(1usize);
    let mut q = Values::<F>::new(1usize);
    a.set(0usize, start.a);
    b.set(0usize, start.b);
    p.set(0usize, start.p);
    q.set(0usize, start.q);
    #[unroll]
    for e in 0..comptime!(config.elements) {
        let inside = first + e < n;
        let d = chunk.d.get(e);
        let off = chunk.p.get(e);
        let is_complex = comptime!(config.complex[1]);
        let old = four::<F>(a.get(0usize), b.get(0usize), p.get(0usize), q.get(0usize));
        let next = four::<F>(
            sub::<F>(mul::<F>(old.a, d), old.p),
            sub::<F>(mul::<F>(old.b, d), old.q),
            times::<F>(old.a, off, is_complex),
            times::<F>(old.b, off, is_complex),
        );
        let next = if comptime!(e % 2 == 1) { renormalised::<F>(next) } else { next };
        a.set(0usize, choose::<F>(inside, next.a, old.a));
        b.set(0usize, choose::<F>(inside, next.b, old.b));
        p.set(0usize, choose::<F>(inside, next.p, old.p));
        q.set(0usize, choose::<F>(inside, next.q, old.q));
    }
    four::<F>(a.get(0usize), b.get(0usize), p.get(0usize), q.get(0usize))
}

/// Whether nothing but rounding is left of `value`, a difference of terms whose sizes add up to `terms`.
/// What is not finite does not vanish: it comes from a pivot that did, or from an operand.
#[cube]
fn vanishes<F: Float>(value: Complex<F>, terms: F, #[comptime] config: TileConfig) -> bool {
    let epsilon =
        constant::<F>(comptime!(if config.double { f64::EPSILON } else { f32::EPSILON as f64 }));
    taxicab::<F>(value) <= epsilon * terms && is_finite::<F>(terms, config)
}

#[cube]
fn is_finite<F: Float>(x: F, #[comptime] config: TileConfig) -> bool {
    x <= constant::<F>(comptime!(if config.double { f64::MAX } else { f32::MAX as f64 }))
}

/// Whether a recursion ends at one element: `d − L`, `d − R` or `d − L − R` vanishes, or an operand is not
/// finite.
#[cube]
fn breaks_down<F: Float>(
    d: Complex<F>,
    p: Complex<F>,
    l: Complex<F>,
    r: Complex<F>,
    #[comptime] config: TileConfig,
) -> bool {
    let u = sub::<F>(d, l);
    let v = sub::<F>(d, r);
    let operands = is_finite::<F>(taxicab::<F>(d) + taxicab::<F>(p), config);
    let (size_d, size_l, size_r) = (taxicab::<F>(d), taxicab::<F>(l), taxicab::<F>(r));
    // A select, since a NaN answers every comparison with `false`, and its opposite too.
    select(operands, 0u32, 1u32) == 1u32
        || vanishes::<F>(u, size_d + size_l, config)
        || vanishes::<F>(v, size_d + size_r, config)
        || vanishes::<F>(sub::<F>(u, r), size_d + size_l + size_r, config)
}

/// What every chunk of long sequences does to `L` and `R`: the first of their launches.
#[cube(launch_unchecked)]
pub(super) fn reduce<F: Float, NA: Size, NB: Size>(
    a: &[Vector<F, NA>],
    b: &[Vector<F, NB>],
    c: &[Vector<F, NB>],
    z: &Pairs<F>,
    chunks: &mut [F],
    geometry: &Geometry,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let chunk = ABSOLUTE_POS;
    if chunk < geometry.rows * geometry.tiles {
        let row = locate::<F>(geometry, z, chunk / geometry.tiles);
        let first = chunk % geometry.tiles * comptime!(config.elements);
        let is_complex = comptime!(config.complex[1]);
        let mut a_re = F::new(1.0);
        let mut a_im = F::new(0.0);
        let mut b_re = F::new(0.0);
        let mut b_im = F::new(0.0);
        let mut p_re = F::new(0.0);
        let mut p_im = F::new(0.0);
        let mut q_re = F::new(-1.0);
        let mut q_im = F::new(0.0);
        for k in first..min(first + comptime!(config.elements), geometry.n) {
            let d = diagonal::<F, NA>(a, &row, k, geometry, config);
            let p = product::<F, NB>(b, c, &row, k, geometry, config);
            let old_a = complex::<F>(a_re, a_im);
            let old_b = complex::<F>(b_re, b_im);
            let next = renormalised::<F>(four::<F>(
                sub::<F>(mul::<F>(old_a, d), complex::<F>(p_re, p_im)),
                sub::<F>(mul::<F>(old_b, d), complex::<F>(q_re, q_im)),
                times::<F>(old_a, p, is_complex),
                times::<F>(old_b, p, is_complex),
            ));
            a_re = next.a.re;
            a_im = next.a.im;
            b_re = next.b.re;
            b_im = next.b.im;
            p_re = next.p.re;
            p_im = next.p.im;
            q_re = next.q.re;
            q_im = next.q.im;
        }
        let whole = four::<F>(
            complex::<F>(a_re, a_im),
            complex::<F>(b_re, b_im),
            complex::<F>(p_re, p_im),
            complex::<F>(q_re, q_im),
        );
        store_four::<F>(chunks, chunk, whole);
    }
}

/// The diagonal, a chunk of each sequence a unit, a sequence a tile.
#[cube(launch_unchecked)]
pub(super) fn chunked<F: Float, NA: Size, NB: Size>(
    a: &[Vector<F, NA>],
    b: &[Vector<F, NB>],
    c: &[Vector<F, NB>],
    z: &Pairs<F>,
    out: &mut Pairs<F>,
    pivots: &mut [u32],
    geometry: &Geometry,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let share = share(geometry, config);
    let row = locate::<F>(geometry, z, share.row);
    let n = geometry.n;
    let elements = comptime!(config.elements);
    let chunk = chunk::<F, NA, NB>(a, b, c, &row, share.first, geometry, config);
    let mine = composite::<F>(&chunk, share.first, n, config);
    put::<F>(&mut cells, share.nodes + comptime!(config.units) + share.unit, mine, config);
    rise::<F>(&mut cells, share.nodes, share.unit, false, config);
    let root = nothing::<F>();
    let enters = fall::<F>(&mut cells, share.nodes, share.unit, root, false, config);

    let is_complex = comptime!(config.complex[1]);
    let mut l = Values::<F>::new(elements);
    l.set(0usize, mul::<F>(enters.a, reciprocal::<F>(enters.b)));
    #[unroll]
    for e in 1..elements {
        let previous = comptime!(e - 1);
        let u = sub::<F>(chunk.d.get(previous), l.get(previous));
        l.set(e, times::<F>(reciprocal::<F>(u), chunk.p.get(previous), is_complex));
    }
    // 1/v of the right neighbour.
    let mut w = Values::<F>::new(1usize);
    w.set(0usize, mul::<F>(enters.p, reciprocal::<F>(enters.q)));
    let mut flag = Sequence::<F>::new();
    // A place in the tile is exact in every type of number.
    flag.push(F::cast_from(comptime!(config.units * config.elements) as u32));
    #[unroll]
    for i in 0..elements {
        let e = comptime!(elements - 1 - i);
        let k = share.first + e;
        let inside = k < n;
        let d = chunk.d.get(e);
        let r = times::<F>(w.get(0usize), chunk.p.get(e), is_complex);
        let v = sub::<F>(d, r);
        w.set(0usize, choose::<F>(inside, reciprocal::<F>(v), w.get(0usize)));
        if inside && share.active {
            let g = reciprocal::<F>(sub::<F>(sub::<F>(d, l.get(e)), r));
            let mut value = Vector::<F, Const<2>>::empty();
            value.insert(0usize, g.re);
            value.insert(1usize, g.im);
            out[row.g + k * geometry.strides[4usize]] = value;
        }
        let bad = breaks_down::<F>(d, chunk.p.get(e), l.get(e), r, config);
        let at = F::cast_from((share.unit * elements + e) as u32);
        let last = flag[0usize];
        flag.insert(0usize, select(bad && inside, at, last));
    }

    // The smallest of the cube's, through the memory of the tree.
    sync_cube();
    let slot = share.nodes + share.unit;
    cells[slot] = flag[0usize];
    for level in 0..comptime!(config.levels()) {
        let width = comptime!(config.units / 2) >> level;
        sync_cube();
        if share.unit < width {
            cells[slot] = min(cells[slot], cells[slot + width]);
        }
    }
    if share.unit == 0 && share.active {
        let smallest = u32::cast_from(cells[slot]);
        let none = comptime!(config.units * config.elements) as u32;
        pivots[share.row] = select(smallest < none, smallest, 0xffff_ffffu32);
    }
}

/// Which elements of which sequence one unit walks over: all of them, a segment a launch, or the chunk
/// of a long sequence.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Segment {
    pub(super) first: usize,
    pub(super) last: usize,
}

/// The walk of one unit.
#[derive(CubeType)]
pub(super) struct Walk {
    pub(super) row: usize,
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) active: bool,
}

#[cube]
pub(super) fn walk(segment: &Segment, geometry: &Geometry, #[comptime] config: TileConfig) -> Walk {
    let position = ABSOLUTE_POS;
    if comptime!(config.carried) {
        let elements = comptime!(config.elements);
        let first = position % geometry.tiles * elements;
        Walk {
            row: position / geometry.tiles,
            first,
            last: min(first + elements, geometry.n),
            active: position < geometry.rows * geometry.tiles,
        }
    } else {
        Walk {
            row: position,
            first: segment.first,
            last: segment.last,
            active: position < geometry.rows,
        }
    }
}

/// What enters the walk of a recursion: the ratio that the scan over chunks has found, or what the last
/// segment left behind, and zero where the recursion begins.
#[cube]
pub(super) fn entering_ratio<F: Float>(
    state: &[F],
    slot: usize,
    begins: bool,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let kept = complex::<F>(state[slot], state[slot + 1]);
    if comptime!(config.carried) {
        let under = complex::<F>(state[slot + 2], state[slot + 3]);
        mul::<F>(kept, reciprocal::<F>(under))
    } else {
        choose::<F>(begins, real::<F>(0.0f32), kept)
    }
}

/// The diagonal, one unit a sequence or a chunk: `L` on the way there (`pass` 0), kept in the output's
/// place, `R` on the way back (`pass` 1).
#[cube(launch_unchecked)]
pub(super) fn serial<F: Float, NA: Size, NB: Size>(
    a: &[Vector<F, NA>],
    b: &[Vector<F, NB>],
    c: &[Vector<F, NB>],
    z: &Pairs<F>,
    entering: &[F],
    left: &mut [F],
    out: &mut Pairs<F>,
    pivots: &mut [u32],
    segment: &Segment,
    geometry: &Geometry,
    #[comptime] pass: usize,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let walk = walk(segment, geometry, config);
    if walk.active {
        let row = locate::<F>(geometry, z, walk.row);
        let is_complex = comptime!(config.complex[1]);
        let begins = if comptime!(pass == 0) { walk.first == 0 } else { walk.last == geometry.n };
        let place = ABSOLUTE_POS;
        let slot = place * 8 + comptime!(4 * pass);
        let start = entering_ratio::<F>(entering, slot, begins, config);
        let mut re = start.re;
        let mut im = start.im;
        if comptime!(pass == 0) {
            for k in walk.first..walk.last {
                let l_re = re;
                let l_im = im;
                let l = complex::<F>(l_re, l_im);
                let mut kept = Vector::<F, Const<2>>::empty();
                kept.insert(0usize, l.re);
                kept.insert(1usize, l.im);
                out[row.g + k * geometry.strides[4usize]] = kept;
                let u = sub::<F>(diagonal::<F, NA>(a, &row, k, geometry, config), l);
                let p = product::<F, NB>(b, c, &row, k, geometry, config);
                let next = times::<F>(reciprocal::<F>(u), p, is_complex);
                re = next.re;
                im = next.im;
            }
        } else {
            let fresh = begins || comptime!(config.carried);
            let mut flag = select(fresh, 0xffff_ffffu32, pivots[place]);
            for i in walk.first..walk.last {
                let k = walk.last - 1 - (i - walk.first);
                let w_re = re;
                let w_im = im;
                let at = row.g + k * geometry.strides[4usize];
                let kept = out[at];
                let l = complex::<F>(kept.extract(0usize), kept.extract(1usize));
                let d = diagonal::<F, NA>(a, &row, k, geometry, config);
                let p = product::<F, NB>(b, c, &row, k, geometry, config);
                let r = times::<F>(complex::<F>(w_re, w_im), p, is_complex);
                let g = reciprocal::<F>(sub::<F>(sub::<F>(d, l), r));
                let mut value = Vector::<F, Const<2>>::empty();
                value.insert(0usize, g.re);
                value.insert(1usize, g.im);
                out[at] = value;
                if breaks_down::<F>(d, p, l, r, config) {
                    flag = k as u32;
                }
                let next = reciprocal::<F>(sub::<F>(d, r));
                re = next.re;
                im = next.im;
            }
            pivots[place] = flag;
        }
        if comptime!(!config.carried) {
            left[slot] = re;
            left[slot + 1] = im;
        }
    }
}
