//! Device code of the Hadamard rotation, which spreads what is large in one channel over all of them, and
//! of rotary positions.

#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, and buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{tile::Rows, tiles::TileConfig};

/// Rotates every row by the orthonormal Hadamard matrix of the largest power of two that divides the head,
/// block by block. Its own inverse. Ends in a barrier.
#[cube]
pub(super) fn hadamard<W: Size>(rows: &mut Rows<W>, #[comptime] config: TileConfig) {
    let vectors = comptime!(config.vectors());
    let lanes = comptime!(config.lanes);
    let block = comptime!(1usize << config.dim.trailing_zeros());
    let factor = f32::new(comptime!((1.0 / (block as f64).sqrt()) as f32));
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        let value = rows[item] * Vector::new(factor);
        if comptime!(lanes == 4) {
            let (a, b) = (value.extract(0usize), value.extract(1usize));
            let (c, d) = (value.extract(2usize), value.extract(3usize));
            let (sum, difference) = (a + b, a - b);
            let (other_sum, other_difference) = (c + d, c - d);
            let mut turned = Vector::<f32, W>::empty();
            turned.insert(0usize, sum + other_sum);
            turned.insert(1usize, difference + other_difference);
            turned.insert(2usize, sum - other_sum);
            turned.insert(3usize, difference - other_difference);
            rows[item] = turned;
        } else {
            rows[item] = value;
        }
        item += CUBE_DIM as usize;
    }
    sync_cube();
    let mut step = comptime!(1usize).runtime();
    while step < comptime!(block / lanes) {
        let mut pair = UNIT_POS as usize;
        while pair < comptime!(config.rows * config.vectors() / 2) {
            let row = pair / comptime!(vectors / 2);
            let within = pair % comptime!(vectors / 2);
            let at = row * vectors + within / step * 2 * step + within % step;
            let (low, high) = (rows[at], rows[at + step]);
            rows[at] = low + high;
            rows[at + step] = low - high;
            pair += CUBE_DIM as usize;
        }
        sync_cube();
        step *= 2;
    }
}

/// Channel `channel` of the head of `dim` numbers from `at` on, turned by its position: the pairs
/// `(x_i, x_{i + dim/2})` by the angles whose cosines and sines are row `position` of `table`.
#[cube]
pub(super) fn turned<N: Float>(
    x: &[N],
    at: usize,
    channel: usize,
    table: &[f32],
    position: usize,
    #[comptime] dim: usize,
) -> f32 {
    let half = comptime!(dim / 2);
    let lower = channel < half;
    let angle = (position * half + channel % half) * 2;
    let other = select(lower, channel + half, channel - half);
    let sign = select(lower, -1.0f32, 1.0f32);
    f32::cast_from(x[at + channel]) * table[angle]
        + sign * f32::cast_from(x[at + other]) * table[angle + 1]
}
