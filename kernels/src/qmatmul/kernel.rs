//! Device code of the product: rows of activations beside rows of the weight.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::prelude::*;

use super::{
    configs::GemvConfig,
    weight::{
        Four, VECTORS, Weight, bytes_of, codes_at, group_of, scale_of, shift_of, weights_at,
        words_of, zero_of,
    },
};
use crate::functions::silu;

/// The sizes of a product, and how its work is cut.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Shape {
    /// Rows of the activations.
    pub(super) m: usize,
    /// Elements of a row of the result.
    pub(super) n: usize,
    /// Cubes along `m`, and along `n`.
    pub(super) m_cubes: usize,
    pub(super) n_cubes: usize,
    /// The parts that a sum is cut into, and the terms of each: in blocks, or in rows of the weight.
    pub(super) splits: usize,
    pub(super) terms: usize,
    /// All terms.
    pub(super) all_terms: usize,
}

/// What a result is made of after the sum: `residual + silu(gate)·(sum + bias)`, of what there is.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Epilogue<F: Float> {
    pub(super) bias: ComptimeOption<Box<[F]>>,
    pub(super) gate: ComptimeOption<Box<[F]>>,
    pub(super) residual: ComptimeOption<Box<[F]>>,
}

/// Where a cube works. Cubes along `m` come first: they read the same weights.
#[derive(CubeType)]
pub(super) struct Place {
    pub(super) m_cube: usize,
    pub(super) n_cube: usize,
    /// From `splits` on there is nothing to do: the grid is larger than the work.
    pub(super) split: usize,
    /// The terms of its sum: none for a cube without work.
    pub(super) first: usize,
    pub(super) last: usize,
}

#[cube]
pub(super) fn place(shape: &Shape) -> Place {
    let rest = CUBE_POS / shape.m_cubes;
    let split = rest / shape.n_cubes;
    let first = min(split, shape.splits) * shape.terms;
    Place {
        m_cube: CUBE_POS % shape.m_cubes,
        n_cube: rest % shape.n_cubes,
        split,
        first: min(first, shape.all_terms),
        last: min(first + shape.terms, shape.all_terms),
    }
}

/// The result of a sum.
#[cube]
fn finished<F: Float>(
    sum: f32,
    row: usize,
    column: usize,
    n: usize,
    epilogue: &Epilogue<F>,
) -> f32 {
    let at = row * n + column;
    let mut value = sum;
    #[comptime]
    if let ComptimeOption::Some(bias) = &epilogue.bias {
        value += f32::cast_from(bias[column]);
    }
    #[comptime]
    if let ComptimeOption::Some(gate) = &epilogue.gate {
        value *= silu(f32::cast_from(gate[at]));
    }
    #[comptime]
    if let ComptimeOption::Some(residual) = &epilogue.residual {
        value += f32::cast_from(residual[at]);
    }
    value
}

/// Whether a sum is one of the result's, or of its part's.
#[cube]
fn is_result(row: usize, column: usize, split: usize, shape: &Shape) -> bool {
    row < shape.m && column < shape.n && split < shape.splits
}

/// Stores a sum without an epilogue if it is one of the result's, or of its part's.
#[cube]
pub(super) fn store_sum<O: Float>(
    out: &mut [O],
    sum: f32,
    row: usize,
    column: usize,
    split: usize,
    shape: &Shape,
) {
    if is_result(row, column, split, shape) {
        out[(split * shape.m + row) * shape.n + column] = O::cast_from(sum);
    }
}

/// Stores the result of a sum if it is one of the result's, or of its part's.
#[cube]
pub(super) fn store<F: Float, O: Float>(
    out: &mut [O],
    sum: f32,
    row: usize,
    column: usize,
    split: usize,
    shape: &Shape,
    epilogue: &Epilogue<F>,
) {
    if is_result(row, column, split, shape) {
        let at = (split * shape.m + row) * shape.n + column;
        out[at] = O::cast_from(finished::<F>(sum, row, column, shape.n, epilogue));
    }
}

/// The sum of four numbers.
#[cube]
pub(super) fn across<N: Numeric>(four: Four<N>) -> N {
    (four.extract(0usize) + four.extract(1usize)) + (four.extract(2usize) + four.extract(3usize))
}

/// One unit an element of the result: the definition.
#[cube(launch_unchecked)]
pub(super) fn naive<F: Float, O: Float>(
    x: &[Four<F>],
    weight: &Weight,
    epilogue: &Epilogue<F>,
    out: &mut [O],
    shape: &Shape,
    #[comptime] bits: u32,
    #[define(F, O)] _dtypes: [ElemType; 2],
) {
    let place = place(shape);
    let at = place.n_cube * (CUBE_DIM as usize) + UNIT_POS as usize;
    let column = min(at, shape.n - 1);
    let mut sum = Four::<f32>::new(f32::new(0.0));
    for block in place.first..place.last {
        let group = group_of(&weight.format, column, block);
        let scale = scale_of(weight, group);
        let zero = zero_of(weight, group, bits);
        let begin = (place.m_cube * weight.format.blocks + block) * VECTORS;
        for v in 0..VECTORS {
            let words = words_of(weight, column, block, v, bits);
            let weights = weights_at(words, shift_of(v, bits), scale, zero, bits);
            sum += Four::<f32>::cast_from(x[begin + v]) * weights;
        }
    }
    store::<F, O>(out, across::<f32>(sum), place.m_cube, at, place.split, shape, epilogue);
}

/// Activations of a product: as they are, or as whole numbers.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Activations<F: Float> {
    pub(super) values: ComptimeOption<Box<[Four<F>]>>,
    pub(super) codes: ComptimeOption<Codes>,
}

/// Activations as whole numbers of 8 bits, raised by 128, in the layout of weights of 8 bits, and the largest magnitude
/// of every row, which 127 stands for.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Codes {
    pub(super) codes: Box<[Four<u32>]>,
    pub(super) largest: Box<[f32]>,
}

/// Where a unit, or a cube, works: on some rows of activations from `row` on, some rows of the weight from `column` on.
#[derive(CubeType)]
pub(super) struct Corner {
    pub(super) row: usize,
    pub(super) column: usize,
}

/// Adds the products of one block, in floats.
#[cube]
fn add_block<F: Float>(
    totals: &mut Array<f32>,
    x: &[Four<F>],
    weight: &Weight,
    corner: &Corner,
    block: usize,
    shape: &Shape,
    #[comptime] config: GemvConfig,
) {
    let bits = comptime!(config.bits);
    let mut scales = Sequence::<f32>::new();
    let mut zeros = Sequence::<u32>::new();
    #[unroll]
    for c in 0..comptime!(config.columns) {
        let group = group_of(&weight.format, min(corner.column + c, shape.n - 1), block);
        scales.push(scale_of(weight, group));
        zeros.push(zero_of(weight, group, bits));
    }
    #[unroll]
    for half in 0..2usize {
        let mut words = Sequence::<Four<u32>>::new();
        #[unroll]
        for c in 0..comptime!(config.columns) {
            let column = min(corner.column + c, shape.n - 1);
            words.push(words_of(weight, column, block, comptime!(half * 4), bits));
        }
        for quarter in 0..4usize {
            let v = quarter + half * 4;
            let mut weights = Sequence::<Four<f32>>::new();
            #[unroll]
            for c in 0..comptime!(config.columns) {
                let shift = shift_of(v, bits);
                weights.push(weights_at(words[c], shift, scales[c], zeros[c], bits));
            }
            #[unroll]
            for r in 0..comptime!(config.rows) {
                let row = min(corner.row + r, shape.m - 1);
                let at = (row * weight.format.blocks + block) * VECTORS + v;
                let values = Four::<f32>::cast_from(x[at]);
                #[unroll]
                for c in 0..comptime!(config.columns) {
                    totals[comptime!(r * config.columns + c)] += across::<f32>(values * weights[c]);
                }
            }
        }
    }
}

/// Adds the products of one block: sums of whole numbers, exact in floats, and then their scale.
#[cube]
fn add_block_of_codes(
    totals: &mut Array<f32>,
    x: &[Four<u32>],
    weight: &Weight,
    corner: &Corner,
    block: usize,
    shape: &Shape,
    #[comptime] config: GemvConfig,
) {
    let bits = comptime!(config.bits);
    let results = comptime!(config.rows * config.columns);
    let mut sums = Array::<f32>::new(results);
    #[unroll]
    for i in 0..results {
        sums[i] = f32::new(0.0);
    }
    let mut scales = Sequence::<f32>::new();
    let mut zeros = Sequence::<Four<f32>>::new();
    #[unroll]
    for c in 0..comptime!(config.columns) {
        let group = group_of(&weight.format, min(corner.column + c, shape.n - 1), block);
        scales.push(scale_of(weight, group));
        zeros.push(Four::<f32>::new(f32::cast_from(zero_of(weight, group, bits))));
    }
    #[unroll]
    for half in 0..2usize {
        let mut words = Sequence::<Four<u32>>::new();
        #[unroll]
        for c in 0..comptime!(config.columns) {
            let column = min(corner.column + c, shape.n - 1);
            words.push(words_of(weight, column, block, comptime!(half * 4), bits));
        }
        for quarter in 0..4usize {
            let mut steps = Sequence::<Four<f32>>::new();
            #[unroll]
            for c in 0..comptime!(config.columns) {
                let codes = codes_at(words[c], shift_of(quarter + half * 4, bits), bits);
                steps.push(Four::<f32>::cast_from(codes) - zeros[c]);
            }
            #[unroll]
            for r in 0..comptime!(config.rows) {
                let row = min(corner.row + r, shape.m - 1);
                let at = (row * weight.format.blocks + block) * 2 + half;
                let codes = codes_at(x[at], shift_of(quarter, 8u32), 8u32);
                let values = Four::<f32>::cast_from(codes) - Four::<f32>::new(f32::new(128.0));
                #[unroll]
                for c in 0..comptime!(config.columns) {
                    sums[comptime!(r * config.columns + c)] += across::<f32>(values * steps[c]);
                }
            }
        }
    }
    #[unroll]
    for i in 0..results {
        totals[i] += sums[i] * scales[comptime!(i % config.columns)];
    }
}

/// The same by products of four bytes at a time, an instruction of its own on many a GPU. Bytes have signs there, so
/// that codes of 8 bits count from 128; the rest of a zero point is taken off the sums.
#[cube]
fn add_block_of_bytes(
    totals: &mut Array<f32>,
    x: &[Four<u32>],
    weight: &Weight,
    corner: &Corner,
    block: usize,
    shape: &Shape,
    #[comptime] config: GemvConfig,
) {
    let (bits, columns) = (comptime!(config.bits), comptime!(config.columns));
    let mut sums = Array::<i32>::new(comptime!(config.rows * config.columns));
    let mut of_rows = Array::<i32>::new(comptime!(config.rows));
    #[unroll]
    for r in 0..comptime!(config.rows) {
        of_rows[r] = 0i32;
        #[unroll]
        for c in 0..columns {
            sums[comptime!(r * config.columns + c)] = 0i32;
        }
    }
    for half in 0..2usize {
        let mut words = Sequence::<Four<i32>>::new();
        #[unroll]
        for c in 0..columns {
            let column = min(corner.column + c, shape.n - 1);
            words.push(bytes_of(words_of(weight, column, block, half * 4, bits), half, bits));
        }
        #[unroll]
        for r in 0..comptime!(config.rows) {
            let row = min(corner.row + r, shape.m - 1);
            let at = (row * weight.format.blocks + block) * 2 + half;
            let values = bytes_of(x[at], half, 8u32);
            #[unroll]
            for i in 0..4usize {
                let value = values.extract(i);
                of_rows[r] = dp4a(value, 0x0101_0101i32, of_rows[r]);
                #[unroll]
                for c in 0..columns {
                    let at = comptime!(r * config.columns + c);
                    sums[at] = dp4a(value, words[c].extract(i), sums[at]);
                }
            }
        }
    }
    #[unroll]
    for c in 0..columns {
        let column = min(corner.column + c, shape.n - 1);
        let group = group_of(&weight.format, column, block);
        let scale = scale_of(weight, group);
        let middle = comptime!(if bits == 8 { 128i32 } else { 0i32 });
        let zero = i32::cast_from(zero_of(weight, group, bits)) - middle;
        #[unroll]
        for r in 0..comptime!(config.rows) {
            let at = comptime!(r * config.columns + c);
            totals[at] += f32::cast_from(sums[at] - zero * of_rows[r]) * scale;
        }
    }
}

/// A sum of whole activations in steps of `largest/127`, of which those below the normal numbers may be 0: the sum is
/// divided then.
#[cube]
fn in_steps(sum: f32, largest: f32) -> f32 {
    let steps = f32::new(127.0);
    let fine = largest > f32::new(comptime!(128.0 * f32::MIN_POSITIVE));
    select(fine, sum, sum / steps) * select(fine, largest / steps, largest)
}

/// `rows · columns` results a unit, or a part of their sums where `share` units share them: weight words are
/// read once for all rows, activations once for all columns.
#[cube(launch_unchecked)]
pub(super) fn gemv<F: Float, O: Float>(
    x: &Activations<F>,
    weight: &Weight,
    epilogue: &Epilogue<F>,
    out: &mut [O],
    shape: &Shape,
    #[comptime] config: GemvConfig,
    #[define(F, O)] _dtypes: [ElemType; 2],
) {
    let (share, units) = (comptime!(config.share), comptime!(config.units));
    let (rows, columns) = (comptime!(config.rows), comptime!(config.columns));
    let results = comptime!(config.rows * config.columns);
    let unit = UNIT_POS as usize;
    let place = place(shape);
    let cube_column = place.n_cube * comptime!(config.units / config.share * config.columns);
    let corner = Corner { row: place.m_cube * rows, column: cube_column + unit / share * columns };
    let mut totals = Array::<f32>::new(results);
    #[unroll]
    for i in 0..results {
        totals[i] = f32::new(0.0);
    }
    // A unit behind the last row of the weight goes along with its neighbours: a loop that some units never enter
    // makes Mesa 25's software driver follow a null pointer.
    #[comptime]
    if let ComptimeOption::Some(x) = &x.values {
        for block in range_stepped(place.first + unit % share, place.last, share) {
            add_block::<F>(&mut totals, x, weight, &corner, block, shape, config);
        }
    }
    #[comptime]
    if let ComptimeOption::Some(x) = &x.codes {
        for block in range_stepped(place.first + unit % share, place.last, share) {
            if comptime!(config.bytes) {
                add_block_of_bytes(&mut totals, &x.codes, weight, &corner, block, shape, config);
            } else {
                add_block_of_codes(&mut totals, &x.codes, weight, &corner, block, shape, config);
            }
        }
        #[unroll]
        for i in 0..results {
            let row = min(corner.row + comptime!(i / config.columns), shape.m - 1);
            totals[i] = in_steps(totals[i], x.largest[row]);
        }
    }
    if comptime!(config.share == 1) {
        #[unroll]
        for i in 0..results {
            let (row, column) = (
                corner.row + comptime!(i / config.columns),
                corner.column + comptime!(i % config.columns),
            );
            store::<F, O>(out, totals[i], row, column, place.split, shape, epilogue);
        }
    } else {
        let mut cells = Shared::<[f32]>::new_slice(comptime!(config.cells()));
        #[unroll]
        for i in 0..results {
            cells[unit * results + i] = totals[i];
        }
        sync_cube();
        // Every result is summed by one unit, in the order of the units that shared it.
        for result in range_stepped(unit, comptime!(config.units / config.share * results), units) {
            let i = result % results;
            let team = result / results;
            let mut sum = f32::new(0.0);
            for s in 0..share {
                sum += cells[(team * share + s) * results + i];
            }
            let (row, column) =
                (corner.row + i / columns, cube_column + team * columns + i % columns);
            store::<F, O>(out, sum, row, column, place.split, shape, epilogue);
        }
    }
}

/// The parts of sums, added in order.
#[cube(launch_unchecked)]
pub(super) fn add_splits<F: Float>(
    parts: &[f32],
    epilogue: &Epilogue<F>,
    out: &mut [F],
    shape: &Shape,
    splits: usize,
    #[define(F)] _dtype: ElemType,
) {
    let len = shape.m * shape.n;
    if ABSOLUTE_POS < len {
        let mut sum = f32::new(0.0);
        for split in 0..splits {
            sum += parts[split * len + ABSOLUTE_POS];
        }
        let (row, column) = (ABSOLUTE_POS / shape.n, ABSOLUTE_POS % shape.n);
        out[ABSOLUTE_POS] = F::cast_from(finished::<F>(sum, row, column, shape.n, epilogue));
    }
}

/// Where the rows of activations lie.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Rows {
    pub(super) offset: usize,
    pub(super) row_step: usize,
    pub(super) step: usize,
    pub(super) m: usize,
    pub(super) k: usize,
    /// Blocks of a row.
    pub(super) blocks: usize,
}

/// The element of a row, and zero behind its last.
#[cube]
pub(super) fn element<F: Float>(x: &[F], rows: &Rows, row: usize, k: usize) -> F {
    let at = rows.offset + row * rows.row_step + min(k, rows.k - 1) * rows.step;
    select(k < rows.k, x[at], F::new(0.0))
}

/// Rows of any steps and any length, as rows of whole blocks: zeros behind the last element.
#[cube(launch_unchecked)]
pub(super) fn arrange<F: Float>(
    x: &[F],
    arranged: &mut [Four<F>],
    rows: &Rows,
    #[define(F)] _dtype: ElemType,
) {
    let vectors = rows.blocks * VECTORS;
    let row = ABSOLUTE_POS / vectors;
    if row < rows.m {
        let mut four = Four::<F>::empty();
        #[unroll]
        for i in 0..4usize {
            four.insert(i, element::<F>(x, rows, row, ABSOLUTE_POS % vectors * 4 + i));
        }
        arranged[ABSOLUTE_POS] = four;
    }
}
