//! Device code of the operands: where their elements lie, which of them a unit works on, and loading
//! them.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::{
    plan::TileConfig,
    scaling::{
        Wide, exponent_of, node_exponent, normal_power, raised, settled, where_wide, wide,
        wide_product,
    },
    scan::{Complex, Values, choose, complex, mul, real, reciprocal, scale, size, sub, times},
};
use crate::lines::{Lines, line};

/// Complex numbers in a buffer.
pub(super) type Pairs<F> = [Vector<F, Const<2>>];

/// Where the elements of the operands lie: 0 is `a`, 1 `b` or `p`, 2 `c`, 3 `z`, 4 what belongs to every
/// element of the diagonal. All counts are in elements of the operand.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Geometry {
    /// The sequences.
    pub(super) lines: Lines,
    /// The tiles of a sequence.
    pub(super) tiles: usize,
}

/// What lies beside the diagonals.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Beside<F: Float, NB: Size> {
    /// `b`, or the products.
    pub(super) b: Box<[Vector<F, NB>]>,
    pub(super) c: Box<[Vector<F, NB>]>,
    pub(super) geometry: Geometry,
}

/// The operators.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Operands<F: Float, NA: Size, NB: Size> {
    pub(super) a: Box<[Vector<F, NA>]>,
    pub(super) z: Box<[Vector<F, Const<2>>]>,
    pub(super) beside: Beside<F, NB>,
}

/// Operands of every sequence apart, or their gradients: contiguous, sequence after sequence, two to a buffer, the
/// second from the places that [`Places`] counts.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Apart<F: Float, NA: Size, NB: Size> {
    /// `a`, and behind it for `z` a part of the gradient's sum for every tile.
    pub(super) a: Box<[Vector<F, NA>]>,
    /// `b`, or the products, and behind it `c`.
    pub(super) b: Box<[Vector<F, NB>]>,
    /// The place of the first part of the sums, in pairs of numbers.
    pub(super) shifts: usize,
    /// The place of the first element of `c`.
    pub(super) lower: usize,
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

/// Where sequence `row` begins, of which the shift is known.
#[cube]
pub(super) fn begins<F: Float>(geometry: &Geometry, row: usize, z: Complex<F>) -> Row<F> {
    Row::<F> {
        a: line(&geometry.lines, row, 0usize),
        b: line(&geometry.lines, row, 1usize),
        c: line(&geometry.lines, row, 2usize),
        g: line(&geometry.lines, row, 4usize),
        z,
    }
}

#[cube]
pub(super) fn locate<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: usize,
) -> Row<F> {
    let geometry = &operands.beside.geometry;
    let shift = element::<F, Const<2>>(&operands.z, line(&geometry.lines, row, 3usize), true);
    begins::<F>(geometry, row, shift)
}

/// Where element `k` of what belongs to the diagonal lies.
#[cube]
pub(super) fn place<F: Float>(row: &Row<F>, k: usize, geometry: &Geometry) -> usize {
    row.g + k * geometry.lines.strides[4usize]
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

/// Stores a complex number as it is, or its real part where the buffer is of reals.
#[cube]
pub(super) fn store<F: Float, N: Size>(
    target: &mut [Vector<F, N>],
    at: usize,
    value: Complex<F>,
    #[comptime] is_complex: bool,
) {
    let mut stored = Vector::<F, N>::empty();
    stored.insert(0usize, value.re);
    if comptime!(is_complex) {
        stored.insert(1usize, value.im);
    }
    target[at] = stored;
}

/// Stores a part of the sum that is the gradient of a shift.
#[cube]
pub(super) fn store_shift<F: Float, NA: Size, NB: Size>(
    apart: &mut Apart<F, NA, NB>,
    at: usize,
    value: Complex<F>,
    #[comptime] is_complex: bool,
) {
    let pair = apart.shifts + at;
    if comptime!(is_complex) {
        store::<F, NA>(&mut apart.a, pair, value, true);
    } else {
        store::<F, NA>(&mut apart.a, 2 * pair, value, false);
        store::<F, NA>(&mut apart.a, 2 * pair + 1, complex::<F>(value.im, value.re), false);
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
    let at = row.a + k * geometry.lines.strides[0usize];
    sub::<F>(element::<F, NA>(a, at, comptime!(config.complex[0])), row.z)
}

/// Element `k` of what lies beside the diagonal. The last element of a sequence has none and reads another.
#[cube]
fn next_to<F: Float, NB: Size>(
    x: &[Vector<F, NB>],
    first: usize,
    k: usize,
    geometry: &Geometry,
    #[comptime] operand: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let there = min(k, max(geometry.lines.n, 2usize) - 2);
    element::<F, NB>(
        x,
        first + there * geometry.lines.strides[operand],
        comptime!(config.complex[1]),
    )
}

/// `b_k` or `p_k`.
#[cube]
pub(super) fn upper<F: Float, NB: Size>(
    beside: &Beside<F, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    next_to::<F, NB>(&beside.b, row.b, k, &beside.geometry, 1usize, config)
}

/// `c_k`.
#[cube]
pub(super) fn lower<F: Float, NB: Size>(
    beside: &Beside<F, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    next_to::<F, NB>(&beside.c, row.c, k, &beside.geometry, 2usize, config)
}

/// What lies beside element `k` of the diagonal: `b_k` and `c_k`, or `p_k` alone; 0 behind the last.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(super) struct Sides<F: Float> {
    pub(super) above: Complex<F>,
    pub(super) below: Complex<F>,
}

#[cube]
pub(super) fn sides<F: Float, NB: Size>(
    beside: &Beside<F, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> Sides<F> {
    let inside = k + 1 < beside.geometry.lines.n;
    let zero = real::<F>(0.0f32);
    let above = choose::<F>(inside, upper::<F, NB>(beside, row, k, config), zero);
    let below = if comptime!(config.product) {
        zero
    } else {
        choose::<F>(inside, lower::<F, NB>(beside, row, k, config), zero)
    };
    Sides::<F> { above, below }
}

/// A product that stands for both.
#[cube]
pub(super) fn only<F: Float>(product: Complex<F>) -> Sides<F> {
    Sides::<F> { above: product, below: real::<F>(0.0f32) }
}

/// `p_k x`. The product itself need not be within range: `c_k x`, of a reciprocal pivot, is.
#[cube]
pub(super) fn through<F: Float>(
    sides: Sides<F>,
    x: Complex<F>,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let is_complex = comptime!(config.complex[1]);
    if comptime!(config.product) {
        times::<F>(x, sides.above, is_complex)
    } else {
        times::<F>(times::<F>(x, sides.below, is_complex), sides.above, is_complex)
    }
}

/// `p_k`, and nothing where there is none.
#[cube]
pub(super) fn link<F: Float, NB: Size>(
    beside: &Beside<F, NB>,
    row: &Row<F>,
    k: usize,
    exists: bool,
    #[comptime] config: TileConfig,
) -> Wide<F> {
    let above = upper::<F, NB>(beside, row, k, config);
    let value = if comptime!(config.product) {
        wide::<F>(above)
    } else {
        let below = lower::<F, NB>(beside, row, k, config);
        wide_product::<F>(above, below, comptime!(config.complex[1]))
    };
    where_wide::<F>(exists && k + 1 < beside.geometry.lines.n, value)
}

/// The exponent of element `k` of the diagonal; anything where there is no such element.
#[cube]
pub(super) fn exponent_at<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> i32 {
    let n = operands.beside.geometry.lines.n;
    let own = min(k, n - 1);
    let before = max(own, 1usize) - 1;
    let left = link::<F, NB>(&operands.beside, row, before, own > 0, config);
    let right = link::<F, NB>(&operands.beside, row, own, true, config);
    node_exponent::<F>(
        left.exponent,
        right.exponent,
        own_exponent::<F, NA, NB>(operands, row, before, config),
        own_exponent::<F, NA, NB>(operands, row, own, config),
        own_exponent::<F, NA, NB>(operands, row, min(own + 1, n - 1), config),
    )
}

#[cube]
fn own_exponent<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> i32 {
    let d = diagonal::<F, NA>(&operands.a, row, k, &operands.beside.geometry, config);
    exponent_of::<F>(size::<F>(d))
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
        row: min(row, geometry.lines.rows - 1),
        unit,
        first: unit * comptime!(config.elements),
        nodes: member * comptime!(2 * config.units),
        active: row < geometry.lines.rows,
    }
}

/// The elements of a chunk, in registers, scaled, and their exponents, of the element behind them too.
#[derive(CubeType)]
pub(super) struct Chunk<F: Float> {
    pub(super) d: Values<F>,
    pub(super) p: Values<F>,
    pub(super) e: Sequence<i32>,
}

#[cube]
pub(super) fn chunk<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    first: usize,
    #[comptime] config: TileConfig,
) -> Chunk<F> {
    let beside = &operands.beside;
    let n = beside.geometry.lines.n;
    let elements = comptime!(config.elements);
    let mut d = Values::<F>::new(elements);
    let mut p = Values::<F>::new(elements);
    let mut e = Sequence::<i32>::new();
    // The exponents of what is known: of the diagonal from one before the chunk on, and of the products likewise.
    let mut own = Sequence::<i32>::new();
    let mut links = Sequence::<i32>::new();
    let before = max(min(first, n - 1), 1usize) - 1;
    let d_before = diagonal::<F, NA>(&operands.a, row, before, &beside.geometry, config);
    own.push(exponent_of::<F>(size::<F>(d_before)));
    let link_before = link::<F, NB>(beside, row, before, first > 0, config);
    links.push(link_before.exponent);
    #[unroll]
    for i in 0..comptime!(elements + 2) {
        let k = min(first + i, n - 1);
        let value = diagonal::<F, NA>(&operands.a, row, k, &beside.geometry, config);
        own.push(exponent_of::<F>(size::<F>(value)));
        if comptime!(i < elements) {
            d.set(i, value);
        }
        if comptime!(i <= elements) {
            let product = link::<F, NB>(beside, row, k, true, config);
            links.push(product.exponent);
            if comptime!(i < elements) {
                p.set(i, product.number);
            }
        }
    }
    #[unroll]
    for i in 0..comptime!(elements + 1) {
        e.push(node_exponent::<F>(
            links[i],
            links[comptime!(i + 1)],
            own[i],
            own[comptime!(i + 1)],
            own[comptime!(i + 2)],
        ));
    }
    #[unroll]
    for i in 0..elements {
        let next = e[comptime!(i + 1)];
        let here = e[i];
        d.set(i, scale::<F>(d.get(i), normal_power::<F>(-here)));
        let product = Wide::<F> { number: p.get(i), exponent: links[comptime!(i + 1)] };
        p.set(i, settled::<F>(product, here + next));
    }
    Chunk::<F> { d, p, e }
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
            first: min(first, geometry.lines.n),
            last: min(first + elements, geometry.lines.n),
            active: position < geometry.lines.rows * geometry.tiles,
        }
    } else {
        Walk {
            row: position,
            first: segment.first,
            last: segment.last,
            active: position < geometry.lines.rows,
        }
    }
}

/// What enters the walk of a recursion: the ratio that the scan over chunks has found, times the power of two that it
/// was divided by, or what the last segment left behind, and zero where the recursion begins.
#[cube]
pub(super) fn entering_ratio<F: Float, H: Float>(
    state: &[H],
    slot: usize,
    begins: bool,
    exponent: i32,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let kept = pair::<F, H>(state, slot);
    if comptime!(config.carried) {
        raised::<F>(mul::<F>(kept, reciprocal::<F>(pair::<F, H>(state, slot + 2))), exponent)
    } else {
        choose::<F>(begins, real::<F>(0.0f32), kept)
    }
}

/// A complex number among numbers.
#[cube]
pub(super) fn pair<F: Float, H: Float>(numbers: &[H], at: usize) -> Complex<F> {
    complex::<F>(F::cast_from(numbers[at]), F::cast_from(numbers[at + 1]))
}

/// Leaves a complex number among numbers.
#[cube]
pub(super) fn leave<F: Float>(numbers: &mut [F], at: usize, x: Complex<F>) {
    numbers[at] = x.re;
    numbers[at + 1] = x.im;
}
