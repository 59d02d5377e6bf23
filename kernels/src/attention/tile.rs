//! Device code of tiles: loading them, products of their rows, sums of their rows.

#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, and buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{geometry::is_seen, problem::Storage, tiles::TileConfig};

/// Rows of vectors in shared memory.
pub(super) type Rows<W> = Shared<[Vector<f32, W>]>;

#[cube]
pub(super) fn zero<W: Size>() -> Vector<f32, W> {
    Vector::new(f32::new(0.0))
}

/// The sum of a vector's numbers.
#[cube]
pub(super) fn total<W: Size>(value: Vector<f32, W>, #[comptime] config: TileConfig) -> f32 {
    let mut total = value.extract(0usize);
    #[unroll]
    for lane in 1..comptime!(config.lanes) {
        total += value.extract(lane);
    }
    total
}

#[cube]
pub(super) fn widened<E: Numeric, WE: Size, W: Size>(
    source: &[Vector<E, WE>],
    at: usize,
    #[comptime] config: TileConfig,
) -> Vector<f32, W> {
    let value = source[at];
    let mut wide = Vector::<f32, W>::empty();
    #[unroll]
    for lane in 0..comptime!(config.lanes) {
        wide.insert(lane, f32::cast_from(value.extract(lane)));
    }
    wide
}

/// Numbers of a quantised cache that are read at once, as four words.
pub(super) fn run(storage: Storage) -> usize {
    128 / storage.bits(wavecube_core::Dtype::F32)
}

/// How the codes of a group become numbers: by the upper half of its word the step between them, whose sign says
/// whether a key is less the shift, by the lower the middle of its range, both in `bf16`.
#[derive(CubeType)]
pub(super) struct Levels {
    step: f32,
    /// What code 0 stands for.
    least: f32,
}

#[cube]
pub(super) fn levels(word: u32, #[comptime] config: TileConfig) -> Levels {
    let step = f32::reinterpret(word & 0x7fff_0000u32);
    let middle = f32::reinterpret(word << 16u32);
    Levels { step, least: middle - step * f32::new(comptime!(config.storage.middle())) }
}

/// Writes a run to a row from vector `at` on. The first code of a word lies in its lowest bits.
#[cube]
pub(super) fn unpack<W: Size, WE: Size>(
    rows: &mut Rows<W>,
    at: usize,
    codes: Vector<u32, WE>,
    levels: &Levels,
    #[comptime] config: TileConfig,
) {
    let lanes = comptime!(config.lanes);
    let bits = comptime!(config.storage.bits(wavecube_core::Dtype::F32));
    #[unroll]
    for v in 0..comptime!(run(config.storage) / config.lanes) {
        let word = codes.extract(comptime!(v * lanes * bits / 32));
        let mut wide = Vector::<f32, W>::empty();
        #[unroll]
        for lane in 0..lanes {
            let shift = comptime!(((v * lanes + lane) * bits % 32) as u32);
            let code = i32::cast_from((word >> shift) & comptime!((1u32 << bits) - 1));
            wide.insert(lane, f32::cast_from(code) * levels.step + levels.least);
        }
        rows[at + v] = wide;
    }
}

/// A block of products: rows of one tile with rows of another.
#[derive(CubeType)]
pub(super) struct Block {
    /// The first row of the one tile; the others follow it.
    pub(super) first: usize,
    /// The first row of the other; the next is as many rows further as there are blocks side by side.
    pub(super) other: usize,
}

/// The place of block `item`.
#[cube]
pub(super) fn block(item: usize, #[comptime] config: TileConfig) -> Block {
    let width = comptime!(config.keys / config.across);
    Block { first: item / width * comptime!(config.together), other: item % width }
}

/// The products of a block's rows of `a` with its rows of `b`: all of the first row of `b`, then the next.
#[cube]
pub(super) fn products<W: Size>(
    a: &Rows<W>,
    b: &Rows<W>,
    block: &Block,
    #[comptime] config: TileConfig,
) -> Array<f32> {
    let together = comptime!(config.together);
    let across = comptime!(config.across);
    let vectors = comptime!(config.vectors());
    let stride = comptime!(config.keys / config.across * config.pitch());
    let mut sums = Array::<Vector<f32, W>>::new(comptime!(together * across));
    #[unroll]
    for m in 0..comptime!(together * across) {
        sums[m] = zero::<W>();
    }
    for c in 0..vectors {
        let mut rows = Array::<Vector<f32, W>>::new(together);
        #[unroll]
        for m in 0..together {
            rows[m] = a[(block.first + m) * vectors + c];
        }
        #[unroll]
        for n in 0..across {
            let other = b[block.other * comptime!(config.pitch()) + comptime!(n * stride) + c];
            #[unroll]
            for m in 0..together {
                sums[comptime!(n * together + m)] += rows[m] * other;
            }
        }
    }
    let mut found = Array::<f32>::new(comptime!(together * across));
    #[unroll]
    for m in 0..comptime!(together * across) {
        found[m] = total::<W>(sums[m], config);
    }
    found
}

/// Multiplies every row of `sums` by its number in `shrink`, and adds the rows of `b` by its weights; of a mixed tile
/// without those whose weight is marked as unseen.
#[cube]
pub(super) fn accumulate<W: Size>(
    sums: &mut Rows<W>,
    shrink: &Shared<[f32]>,
    weights: &Shared<[f32]>,
    b: &Rows<W>,
    #[comptime] mixed: bool,
    #[comptime] config: TileConfig,
) {
    let together = comptime!(config.together);
    let vectors = comptime!(config.vectors());
    let keys = comptime!(config.keys);
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows / config.together * config.vectors()) {
        let first = item / vectors * together;
        let c = item % vectors;
        let mut added = Array::<Vector<f32, W>>::new(together);
        #[unroll]
        for m in 0..together {
            added[m] = zero::<W>();
        }
        for t in 0..keys {
            let row = b[t * comptime!(config.pitch()) + c];
            #[unroll]
            for m in 0..together {
                let weight = weights[(first + m) * keys + t];
                if comptime!(mixed) {
                    if is_seen(weight) {
                        added[m] += Vector::new(weight) * row;
                    }
                } else {
                    added[m] += Vector::new(weight) * row;
                }
            }
        }
        #[unroll]
        for m in 0..together {
            let at = (first + m) * vectors + c;
            sums[at] = sums[at] * Vector::new(shrink[first + m]) + added[m];
        }
        item += CUBE_DIM as usize;
    }
}
