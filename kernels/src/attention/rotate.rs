//! Device code of the Hadamard rotation that spreads what is large in one channel over all of them.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::{kernel::Stored, plan::Storage, tile::Rows, tiles::TileConfig};

/// For quantised keys: what the shift of the keys adds to the products of every row, and then the rows
/// rotated as the keys were. Otherwise nothing.
#[cube]
pub(super) fn rotate_rows<E: Numeric, W: Size, WE: Size>(
    rows: &mut Rows<W>,
    shifts: &mut Shared<[f32]>,
    cache: &Stored<E, WE>,
    kv_head: usize,
    #[comptime] config: TileConfig,
) {
    if comptime!(config.storage != Storage::Float) {
        let vectors = comptime!(config.vectors());
        let mut row = UNIT_POS as usize;
        while row < comptime!(config.rows) {
            let mut total = f32::new(0.0);
            for c in 0..vectors {
                let value = rows[row * vectors + c];
                #[unroll]
                for lane in 0..comptime!(config.lanes) {
                    let channel = c * comptime!(config.lanes) + lane;
                    total += value.extract(lane) * cache.shift[kv_head * config.dim + channel];
                }
            }
            shifts[row] = total;
            row += CUBE_DIM as usize;
        }
        sync_cube();
    }
}
