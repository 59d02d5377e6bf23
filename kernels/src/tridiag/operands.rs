//! Device code of the operands: where their elements lie, which of them a unit works on, and loading
//! them.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::{
    plan::TileConfig,
    scan::{Complex, Values, choose, complex, mul, real, reciprocal, sub, times},
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

/// The operators.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Operands<F: Float, NA: Size, NB: Size> {
    pub(super) a: Box<[Vector<F, NA>]>,
    /// `b`, or the products.
    pub(super) b: Box<[Vector<F, NB>]>,
    pub(super) c: Box<[Vector<F, NB>]>,
    pub(super) z: Box<[Vector<F, Const<2>>]>,
    pub(super) geometry: Geometry,
}

/// Operands of every sequence apart, or their gradients: contiguous, sequence after sequence.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Apart<F: Float, NA: Size, NB: Size> {
    pub(super) a: Box<[Vector<F, NA>]>,
    /// `b`, or the products.
    pub(super) b: Box<[Vector<F, NB>]>,
    pub(super) c: Box<[Vector<F, NB>]>,
    /// For `z` a part of the gradient's sum for every tile.
    pub(super) z: Box<[Vector<F, Const<2>>]>,
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
pub(super) fn locate<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: usize,
) -> Row<F> {
    let shift = operands.z[line(&operands.geometry.lines, row, 3usize)];
    Row::<F> {
        a: line(&operands.geometry.lines, row, 0usize),
        b: line(&operands.geometry.lines, row, 1usize),
        c: line(&operands.geometry.lines, row, 2usize),
        g: line(&operands.geometry.lines, row, 4usize),
        z: complex::<F>(shift.extract(0usize), shift.extract(1usize)),
    }
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

/// `d_k = a_k − z`, for `k < n`.
#[cube]
pub(super) fn diagonal<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let at = row.a + k * operands.geometry.lines.strides[0usize];
    sub::<F>(element::<F, NA>(&operands.a, at, comptime!(config.complex[0])), row.z)
}

/// Element `k` of what lies beside the diagonal. The last element of a sequence has none and reads another.
#[cube]
fn beside<F: Float, NB: Size>(
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
pub(super) fn upper<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    beside::<F, NB>(&operands.b, row.b, k, &operands.geometry, 1usize, config)
}

/// `c_k`.
#[cube]
pub(super) fn lower<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    beside::<F, NB>(&operands.c, row.c, k, &operands.geometry, 2usize, config)
}

/// `p_k = b_k c_k`, and 0 behind the last.
#[cube]
pub(super) fn product<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    k: usize,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let above = upper::<F, NA, NB>(operands, row, k, config);
    let value = if comptime!(config.product) {
        above
    } else {
        let below = lower::<F, NA, NB>(operands, row, k, config);
        times::<F>(above, below, comptime!(config.complex[1]))
    };
    choose::<F>(k + 1 < operands.geometry.lines.n, value, real::<F>(0.0f32))
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

/// The elements of a chunk, in registers.
#[derive(CubeType)]
pub(super) struct Chunk<F: Float> {
    pub(super) d: Values<F>,
    pub(super) p: Values<F>,
}

#[cube]
pub(super) fn chunk<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    first: usize,
    #[comptime] config: TileConfig,
) -> Chunk<F> {
    let mut d = Values::<F>::new(comptime!(config.elements));
    let mut p = Values::<F>::new(comptime!(config.elements));
    #[unroll]
    for e in 0..comptime!(config.elements) {
        let k = min(first + e, operands.geometry.lines.n - 1);
        d.set(e, diagonal::<F, NA, NB>(operands, row, k, config));
        p.set(e, product::<F, NA, NB>(operands, row, k, config));
    }
    Chunk::<F> { d, p }
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

/// What enters the walk of a recursion: the ratio that the scan over chunks has found, or what the last
/// segment left behind, and zero where the recursion begins.
#[cube]
pub(super) fn entering_ratio<F: Float, H: Float>(
    state: &[H],
    slot: usize,
    begins: bool,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let kept = pair::<F, H>(state, slot);
    if comptime!(config.carried) {
        mul::<F>(kept, reciprocal::<F>(pair::<F, H>(state, slot + 2)))
    } else {
        choose::<F>(begins, real::<F>(0.0f32), kept)
    }
}

/// A complex number among numbers.
#[cube]
pub(super) fn pair<F: Float, H: Float>(numbers: &[H], at: usize) -> Complex<F> {
    complex::<F>(F::cast_from(numbers[at]), F::cast_from(numbers[at + 1]))
}
