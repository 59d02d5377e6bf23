//! Device code of the diagonal: the chunked scan, and the serial recursion.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    operands::{
        Chunk, Operands, Pairs, Segment, Share, Sides, chunk, diagonal, entering_ratio,
        exponent_at, link, locate, only, place, share, sides, store, through, walk,
    },
    plan::TileConfig,
    scaling::{Wide, exponent_of, node_exponent, normal_power, settled},
    scan::{
        Complex, Four, Values, choose, common_renormaliser, complex, exponent, fall, four, mul,
        neutral, nothing, put, real, reciprocal, renormalised, rise, scale, size, store_four, sub,
        taxicab, times,
    },
};
use crate::constant;

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
        // Scaled elements are not much larger than 1, nor are those of a row that are not 0 all much smaller: the
        // numbers stay within range for several steps.
        let next = if comptime!(e % 4 == 3) { renormalised::<F>(next) } else { next };
        a.set(0usize, choose::<F>(inside, next.a, old.a));
        b.set(0usize, choose::<F>(inside, next.b, old.b));
        p.set(0usize, choose::<F>(inside, next.p, old.p));
        q.set(0usize, choose::<F>(inside, next.q, old.q));
    }
    four::<F>(a.get(0usize), b.get(0usize), p.get(0usize), q.get(0usize))
}

/// What enters a unit's chunk, from what all of them do. Nobody uses the tree any more where it begins.
#[cube]
pub(super) fn scanned<F: Float>(
    cells: &mut Shared<[F]>,
    share: &Share,
    mine: Four<F>,
    #[comptime] affine: bool,
    #[comptime] config: TileConfig,
) -> Four<F> {
    put::<F>(cells, share.nodes + comptime!(config.units) + share.unit, mine, config);
    rise::<F>(cells, share.nodes, share.unit, affine, config);
    let zero = real::<F>(0.0f32);
    let root = if comptime!(affine) { four::<F>(zero, zero, zero, zero) } else { nothing::<F>() };
    fall::<F>(cells, share.nodes, share.unit, root, affine, config)
}

/// Whether nothing but rounding is left of `value`, a difference of terms whose sizes add up to `terms`.
/// What is not finite does not vanish: it comes from a pivot that did, or from an operand.
#[cube]
pub(super) fn vanishes<F: Float>(
    value: Complex<F>,
    terms: F,
    #[comptime] config: TileConfig,
) -> bool {
    let epsilon =
        constant::<F>(comptime!(if config.double { f64::EPSILON } else { f32::EPSILON as f64 }));
    taxicab::<F>(value) <= epsilon * terms && is_finite::<F>(terms, config)
}

#[cube]
pub(super) fn is_finite<F: Float>(x: F, #[comptime] config: TileConfig) -> bool {
    x <= constant::<F>(comptime!(if config.double { f64::MAX } else { f32::MAX as f64 }))
}

/// Whether a recursion ends at one element: `d − L`, `d − R` or `d − L − R` vanishes, or an operand, `d` or one of those
/// beside it, is not finite.
#[cube]
pub(super) fn breaks_down<F: Float>(
    d: Complex<F>,
    beside: Sides<F>,
    l: Complex<F>,
    r: Complex<F>,
    #[comptime] config: TileConfig,
) -> bool {
    let u = sub::<F>(d, l);
    let v = sub::<F>(d, r);
    let operands = is_finite::<F>(taxicab::<F>(d), config)
        && is_finite::<F>(taxicab::<F>(beside.above), config)
        && is_finite::<F>(taxicab::<F>(beside.below), config);
    let (size_d, size_l, size_r) = (taxicab::<F>(d), taxicab::<F>(l), taxicab::<F>(r));
    // A select, since a NaN answers every comparison with `false`, and its opposite too.
    select(operands, 0u32, 1u32) == 1u32
        || vanishes::<F>(u, size_d + size_l, config)
        || vanishes::<F>(v, size_d + size_r, config)
        || vanishes::<F>(sub::<F>(u, r), size_d + size_l + size_r, config)
}

/// Whether a result is not finite, of which the reason may lie elsewhere.
#[cube]
pub(super) fn is_lost<F: Float>(x: Complex<F>, #[comptime] config: TileConfig) -> bool {
    // A select, as above.
    select(is_finite::<F>(taxicab::<F>(x), config), 0u32, 1u32) == 1u32
}

/// The place in the tile that is no element's: where no pivot vanishes and nothing is lost. Exact in every type of number.
#[cube]
pub(super) fn no_pivot<F: Float>(#[comptime] config: TileConfig) -> F {
    F::cast_from(comptime!(2 * config.units * config.elements) as u32)
}

/// The place of an element in the tile, from behind all places on where its result is lost and no pivot vanishes.
#[cube]
pub(super) fn flagged<F: Float>(
    position: usize,
    vanishes: bool,
    lost: bool,
    otherwise: F,
    #[comptime] config: TileConfig,
) -> F {
    let behind = comptime!(config.units * config.elements);
    let there = F::cast_from(position as u32);
    let later = min(F::cast_from((behind + position) as u32), otherwise);
    // Of two vanishing pivots the later call has the earlier place.
    select(vanishes, there, select(lost, later, otherwise))
}

/// The first vanishing pivot of a sequence and, where there is none, the first result that is lost, from those of its
/// units, through the memory of the tree.
#[cube]
pub(super) fn store_pivot<F: Float>(
    cells: &mut Shared<[F]>,
    pivots: &mut [u32],
    share: &Share,
    flag: F,
    #[comptime] config: TileConfig,
) {
    sync_cube();
    let slot = share.nodes + share.unit;
    cells[slot] = flag;
    for level in 0..comptime!(config.levels()) {
        let width = comptime!(config.units / 2) >> level;
        sync_cube();
        if share.unit < width {
            cells[slot] = min(cells[slot], cells[slot + width]);
        }
    }
    if share.unit == 0 && share.active {
        let behind = comptime!((config.units * config.elements) as u32);
        let smallest = u32::cast_from(cells[slot]);
        let none = comptime!(u32::MAX);
        let lost = select(smallest < 2 * behind, smallest - min(smallest, behind), none);
        pivots[2 * share.row] = select(smallest < behind, smallest, none);
        pivots[2 * share.row + 1] = select(smallest < behind, none, lost);
    }
}

#[cube]
fn cast<F: Float, H: Float>(x: Complex<F>) -> Complex<H> {
    complex::<H>(H::cast_from(x.re), H::cast_from(x.im))
}

/// What every chunk of long sequences does to `L` and `R`, scaled, computed in `H`: the first of their launches. Where it
/// is to be the determinant, the powers of two that were divided by are kept too.
#[cube(launch_unchecked)]
pub(super) fn reduce<F: Float, H: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    chunks: &mut [H],
    exponents: &mut [H],
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
    #[define(H)] _scanned: ElemType,
) {
    let chunk = ABSOLUTE_POS;
    let beside = &operands.beside;
    let geometry = &beside.geometry;
    if chunk < geometry.lines.rows * geometry.tiles {
        let n = geometry.lines.n;
        let row = locate::<F, NA, NB>(operands, chunk / geometry.tiles);
        let elements = comptime!(config.elements);
        // The scan's chunks begin by the overlap before those of the walks.
        let overlap = comptime!(config.overlap());
        let tile = chunk % geometry.tiles;
        let first = max(tile * elements, overlap) - overlap;
        let last = min((tile + 1) * elements - overlap, n);
        let is_complex = comptime!(config.complex[1]);
        let mut a_re = H::new(1.0);
        let mut a_im = H::new(0.0);
        let mut b_re = H::new(0.0);
        let mut b_im = H::new(0.0);
        let mut p_re = H::new(0.0);
        let mut p_im = H::new(0.0);
        let mut q_re = H::new(-1.0);
        let mut q_im = H::new(0.0);
        let mut divided_by = H::new(0.0);
        // The exponent of an element follows from its neighbours: the loop looks two elements ahead.
        let start = min(first, n - 1);
        let ahead = min(start + 1, n - 1);
        let d_first = diagonal::<F, NA>(&operands.a, &row, start, geometry, config);
        let d_next = diagonal::<F, NA>(&operands.a, &row, ahead, geometry, config);
        let link_first = link::<F, NB>(beside, &row, start, true, config);
        let mut e = exponent_at::<F, NA, NB>(operands, &row, start, config);
        let mut d_re = d_first.re;
        let mut d_im = d_first.im;
        let mut own = exponent_of::<F>(size::<F>(d_first));
        let mut next_re = d_next.re;
        let mut next_im = d_next.im;
        let mut next_own = exponent_of::<F>(size::<F>(d_next));
        let mut link_re = link_first.number.re;
        let mut link_im = link_first.number.im;
        let mut link_e = link_first.exponent;
        for k in first..last {
            let d_last = diagonal::<F, NA>(&operands.a, &row, min(k + 2, n - 1), geometry, config);
            let last_own = exponent_of::<F>(size::<F>(d_last));
            let link_next = link::<F, NB>(beside, &row, k + 1, true, config);
            let here = e;
            let next_e = node_exponent::<F>(link_e, link_next.exponent, own, next_own, last_own);
            let d = cast::<F, H>(scale::<F>(complex::<F>(d_re, d_im), normal_power::<F>(-here)));
            let product = Wide::<F> { number: complex::<F>(link_re, link_im), exponent: link_e };
            let p = cast::<F, H>(settled::<F>(product, here + next_e));
            d_re = next_re;
            d_im = next_im;
            own = next_own;
            next_re = d_last.re;
            next_im = d_last.im;
            next_own = last_own;
            link_re = link_next.number.re;
            link_im = link_next.number.im;
            link_e = link_next.exponent;
            e = next_e;

            let old_a = complex::<H>(a_re, a_im);
            let zero = real::<H>(0.0f32);
            let next_a = sub::<H>(mul::<H>(old_a, d), complex::<H>(p_re, p_im));
            let next_p = times::<H>(old_a, p, is_complex);
            let next = if comptime!(config.alone) {
                four::<H>(next_a, zero, next_p, zero)
            } else {
                let old_b = complex::<H>(b_re, b_im);
                let next_b = sub::<H>(mul::<H>(old_b, d), complex::<H>(q_re, q_im));
                four::<H>(next_a, next_b, next_p, times::<H>(old_b, p, is_complex))
            };
            a_re = next.a.re;
            a_im = next.a.im;
            b_re = next.b.re;
            b_im = next.b.im;
            p_re = next.p.re;
            p_im = next.p.im;
            q_re = next.q.re;
            q_im = next.q.im;
            if comptime!(config.determinant) {
                divided_by += H::cast_from(here);
            }
            // As in `composite`; the range of f16 is that of one step.
            if comptime!(config.mixed) || k % 4 == 3 {
                let s = common_renormaliser::<H>(next);
                a_re *= s;
                a_im *= s;
                b_re *= s;
                b_im *= s;
                p_re *= s;
                p_im *= s;
                q_re *= s;
                q_im *= s;
                if comptime!(config.determinant) {
                    divided_by -= exponent::<H>(s);
                }
            }
        }
        let whole = four::<H>(
            complex::<H>(a_re, a_im),
            complex::<H>(b_re, b_im),
            complex::<H>(p_re, p_im),
            complex::<H>(q_re, q_im),
        );
        store_four::<H>(chunks, chunk, whole);
        if comptime!(config.determinant) {
            exponents[chunk] = divided_by;
        }
    }
}

/// The diagonal, a chunk of each sequence a unit, a sequence a tile.
#[cube(launch_unchecked)]
pub(super) fn chunked<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    out: &mut Pairs<F>,
    pivots: &mut [u32],
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let geometry = &operands.beside.geometry;
    let share = share(geometry, config);
    let row = locate::<F, NA, NB>(operands, share.row);
    let n = geometry.lines.n;
    let elements = comptime!(config.elements);
    let chunk = chunk::<F, NA, NB>(operands, &row, share.first, config);
    let mine = composite::<F>(&chunk, share.first, n, config);
    let enters = scanned::<F>(&mut cells, &share, mine, false, config);

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
    flag.push(no_pivot::<F>(config));
    #[unroll]
    for i in 0..elements {
        let e = comptime!(elements - 1 - i);
        let k = share.first + e;
        let inside = k < n;
        let d = chunk.d.get(e);
        let r = times::<F>(w.get(0usize), chunk.p.get(e), is_complex);
        let v = sub::<F>(d, r);
        w.set(0usize, choose::<F>(inside, reciprocal::<F>(v), w.get(0usize)));
        let scaled_g = reciprocal::<F>(sub::<F>(sub::<F>(d, l.get(e)), r));
        let exponent = chunk.e[e];
        let g = scale::<F>(scaled_g, normal_power::<F>(-exponent));
        if inside && share.active {
            store::<F, Const<2>>(out, place::<F>(&row, k, geometry), g, true);
        }
        let bad = breaks_down::<F>(d, only::<F>(chunk.p.get(e)), l.get(e), r, config);
        let lost = is_lost::<F>(g, config);
        let last = flag[0usize];
        let position = share.unit * elements + e;
        let next = flagged::<F>(position, bad && inside, lost && inside, last, config);
        flag.insert(0usize, next);
    }

    store_pivot::<F>(&mut cells, pivots, &share, flag[0usize], config);
}

/// The diagonal, one unit a sequence or a chunk: `L` on the way there (`pass` 0), kept in the output's
/// place, `R` on the way back (`pass` 1). What enters a chunk may come from a coarser type, `H`: the walk
/// then begins by the overlap before the chunk, and has forgotten most of the error when it gets there. A unit that
/// carries a sequence finds in its `state` what the last segment left there.
#[cube(launch_unchecked)]
pub(super) fn serial<F: Float, H: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    state: &mut [H],
    out: &mut Pairs<F>,
    pivots: &mut [u32],
    segment: &Segment,
    #[comptime] pass: usize,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
    #[define(H)] _scanned: ElemType,
) {
    let beside = &operands.beside;
    let geometry = &beside.geometry;
    let walk = walk(segment, geometry, config);
    if walk.active {
        let row = locate::<F, NA, NB>(operands, walk.row);
        let overlap = comptime!(config.overlap());
        let tiles = geometry.tiles;
        let n = geometry.lines.n;
        let position = ABSOLUTE_POS;
        if comptime!(pass == 0) {
            let slot = position * 8;
            let first = max(walk.first, overlap) - overlap;
            let mut exponent = 0i32;
            if comptime!(config.carried) {
                exponent = exponent_at::<F, NA, NB>(operands, &row, first, config);
            }
            let start = entering_ratio::<F, H>(&*state, slot, walk.first == 0, exponent, config);
            let mut re = start.re;
            let mut im = start.im;
            for k in first..walk.last {
                let l_re = re;
                let l_im = im;
                let l = complex::<F>(l_re, l_im);
                if comptime!(overlap == 0) || k >= walk.first {
                    store::<F, Const<2>>(out, place::<F>(&row, k, geometry), l, true);
                }
                let u = sub::<F>(diagonal::<F, NA>(&operands.a, &row, k, geometry, config), l);
                let sides = sides::<F, NB>(beside, &row, k, config);
                let next = through::<F>(sides, reciprocal::<F>(u), config);
                re = next.re;
                im = next.im;
            }
            if comptime!(!config.carried) {
                state[slot] = H::cast_from(re);
                state[slot + 1] = H::cast_from(im);
            }
        } else {
            // With an overlap, the scan's chunk that ends behind this one is the next.
            let tile = position % tiles;
            let slot = if comptime!(overlap > 0) {
                (position - tile + min(tile + 1, tiles - 1)) * 8 + 4
            } else {
                position * 8 + 4
            };
            let begins = walk.last == n;
            let last = min(walk.last + overlap, n);
            let mut exponent = 0i32;
            if comptime!(config.carried) {
                exponent = -exponent_at::<F, NA, NB>(operands, &row, last, config);
            }
            let start = entering_ratio::<F, H>(&*state, slot, begins, exponent, config);
            let mut re = start.re;
            let mut im = start.im;
            let fresh = begins || comptime!(config.carried);
            let mut flag = select(fresh, comptime!(u32::MAX), pivots[2 * position]);
            let mut lost = select(fresh, comptime!(u32::MAX), pivots[2 * position + 1]);
            for i in walk.first..last {
                let k = last - 1 - (i - walk.first);
                let w_re = re;
                let w_im = im;
                let d = diagonal::<F, NA>(&operands.a, &row, k, geometry, config);
                let sides = sides::<F, NB>(beside, &row, k, config);
                let r = through::<F>(sides, complex::<F>(w_re, w_im), config);
                if comptime!(overlap == 0) || k < walk.last {
                    let at = place::<F>(&row, k, geometry);
                    let kept = out[at];
                    let l = complex::<F>(kept.extract(0usize), kept.extract(1usize));
                    let g = reciprocal::<F>(sub::<F>(sub::<F>(d, l), r));
                    store::<F, Const<2>>(out, at, g, true);
                    if breaks_down::<F>(d, sides, l, r, config) {
                        flag = k as u32;
                    }
                    if is_lost::<F>(g, config) {
                        lost = k as u32;
                    }
                }
                let next = reciprocal::<F>(sub::<F>(d, r));
                re = next.re;
                im = next.im;
            }
            pivots[2 * position] = flag;
            pivots[2 * position + 1] = lost;
            if comptime!(!config.carried) {
                state[slot] = H::cast_from(re);
                state[slot + 1] = H::cast_from(im);
            }
        }
    }
}
