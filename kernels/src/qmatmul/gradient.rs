//! Device code of the gradient by the activations: the transposed product.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::prelude::*;

use super::{
    configs::GradientConfig,
    kernel::{Rows, Shape, place, store_sum},
    weight::{Four, Weight, group_of, scale_of, shift_of, weights_at, words_of, zero_of},
};

/// `dx[m, k] = Σ_n g[m, n] W[n, k]`: half a block of `k` a unit, for some rows, down the rows of the weight.
/// `Shape::n` is the length of a row of `dx` here.
#[cube(launch_unchecked)]
pub(super) fn transposed<F: Float, O: Float>(
    g: &[F],
    weight: &Weight,
    out: &mut [O],
    shape: &Shape,
    gradient: &Rows,
    #[comptime] config: GradientConfig,
    #[define(F, O)] _dtypes: [ElemType; 2],
) {
    let (bits, rows) = (comptime!(config.bits), comptime!(config.rows));
    let place = place(shape);
    let at = place.n_cube * comptime!(config.units) + UNIT_POS as usize;
    let block = min(at / 2, weight.format.blocks - 1);
    let first_vector = at % 2 * 4;
    let first_row = place.m_cube * rows;
    let mut totals = Array::<Four<f32>>::new(comptime!(4 * config.rows));
    #[unroll]
    for i in 0..comptime!(4 * config.rows) {
        totals[i] = Four::<f32>::new(f32::new(0.0));
    }
    for n in place.first..place.last {
        let group = group_of(&weight.format, n, block);
        let scale = scale_of(weight, group);
        let zero = zero_of(weight, group, bits);
        let words = words_of(weight, n, block, first_vector, bits);
        let mut values = Sequence::<Four<f32>>::new();
        #[unroll]
        for r in 0..rows {
            let row = min(first_row + r, shape.m - 1);
            let at = gradient.offset + row * gradient.row_step + n * gradient.step;
            values.push(Four::<f32>::new(f32::cast_from(g[at])));
        }
        #[unroll]
        for v in 0..4usize {
            let weights = weights_at(words, shift_of(first_vector + v, bits), scale, zero, bits);
            #[unroll]
            for r in 0..rows {
                totals[comptime!(4 * r + v)] += values[r] * weights;
            }
        }
    }
    #[unroll]
    for r in 0..rows {
        #[unroll]
        for v in 0..4usize {
            let four = totals[comptime!(4 * r + v)];
            #[unroll]
            for i in 0..4usize {
                let column = at * 16 + comptime!(4 * v + i);
                store_sum::<O>(out, four.extract(i), first_row + r, column, place.split, shape);
            }
        }
    }
}
