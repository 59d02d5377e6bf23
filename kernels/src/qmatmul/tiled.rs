//! Device code of the product for many rows: tiles in shared memory.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::prelude::*;

use super::{
    configs::TileConfig,
    kernel::{Epilogue, Shape, across, place, store, store_sum},
    weight::{Four, VECTORS, Weight, group_of, scale_of, shift_of, weights_at, words_of, zero_of},
};

/// A square of results a cube, four by four a unit. A block of every row of the square, of activations and of
/// dequantised weights, lies in shared memory; its vectors run along the inputs, so that neither is turned.
#[cube(launch_unchecked)]
pub(super) fn tiled<F: Float, O: Float>(
    x: &[Four<F>],
    weight: &Weight,
    epilogue: &Epilogue<F>,
    out: &mut [O],
    shape: &Shape,
    #[comptime] config: TileConfig,
    #[define(F, O)] _dtypes: [ElemType; 2],
) {
    let (bits, width) = (comptime!(config.bits), comptime!(config.width));
    // Units that load a row together, and the vectors of each.
    let loaders = comptime!(config.loaders());
    let each = comptime!(VECTORS / config.loaders());
    let pitch = comptime!(TileConfig::PITCH);
    let mut values = Shared::<[Four<f32>]>::new_slice(comptime!(config.cells()));
    let mut weights = Shared::<[Four<f32>]>::new_slice(comptime!(config.cells()));
    let unit = UNIT_POS as usize;
    let place = place(shape);
    let (first_row, first_column) =
        (place.m_cube * comptime!(4 * config.width), place.n_cube * comptime!(4 * config.width));
    let (low, high) = (unit % width, unit / width);
    let mut totals = Array::<f32>::new(16usize);
    #[unroll]
    for i in 0..16usize {
        totals[i] = f32::new(0.0);
    }

    let line = unit / loaders;
    let x_row = min(first_row + line, shape.m - 1);
    let weight_row = min(first_column + line, shape.n - 1);
    for block in place.first..place.last {
        let group = group_of(&weight.format, weight_row, block);
        let scale = scale_of(weight, group);
        let zero = zero_of(weight, group, bits);
        let begin = (x_row * weight.format.blocks + block) * VECTORS;
        #[unroll]
        for i in 0..each {
            let v = unit % loaders + comptime!(i * config.loaders());
            let words = words_of(weight, weight_row, block, v, bits);
            weights[line * pitch + v] = weights_at(words, shift_of(v, bits), scale, zero, bits);
        }
        #[unroll]
        for i in 0..each {
            let v = unit % loaders + comptime!(i * config.loaders());
            values[line * pitch + v] = Four::<f32>::cast_from(x[begin + v]);
        }
        sync_cube();
        for v in 0..VECTORS {
            // Rows and columns of a unit lie `width` apart: its neighbours read other banks.
            let mut rows = Sequence::<Four<f32>>::new();
            #[unroll]
            for r in 0..4usize {
                rows.push(values[(high + comptime!(r * config.width)) * pitch + v]);
            }
            #[unroll]
            for c in 0..4usize {
                let column = weights[(low + comptime!(c * config.width)) * pitch + v];
                #[unroll]
                for r in 0..4usize {
                    totals[comptime!(4 * r + c)] += across::<f32>(rows[r] * column);
                }
            }
        }
        sync_cube();
    }
    #[unroll]
    for i in 0..16usize {
        let row = first_row + high + comptime!(i / 4 * config.width);
        let column = first_column + low + comptime!(i % 4 * config.width);
        if comptime!(config.whole) {
            store::<F, O>(out, totals[i], row, column, place.split, shape, epilogue);
        } else {
            // Without the addresses of an epilogue: beside those of `f16` they take more registers than there are.
            store_sum::<O>(out, totals[i], row, column, place.split, shape);
        }
    }
}
