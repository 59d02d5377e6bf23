//! Device code of the product by matrix units: planes that multiply small matrices at once.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::{cmma, prelude::*};

use super::{
    configs::MatrixConfig,
    kernel::{Corner, Epilogue, Place, Shape, across, place, store, store_sum},
    weight::{Four, VECTORS, Weight, group_of, scale_of, shift_of, weights_at, words_of, zero_of},
};

/// Where shared memory begins that fragments are loaded from.
const ALIGNMENT: usize = 32;
/// The powers of two that columns are divided by end here: their inverses are normal numbers too.
const SMALLEST: f32 = 7.523_164e-37;
const LARGEST: f32 = 1.329_228e36;

/// What a cube holds of both operands, rows of inputs in shared memory.
#[derive(CubeType)]
struct Stage<F: Float> {
    values: Shared<[Four<F>]>,
    weights: Shared<[Four<F>]>,
    /// What the upper eight bits of weights leave, where these are split.
    rest: Shared<[Four<F>]>,
    /// The power of two that each column was divided by.
    powers: Shared<[f32]>,
}

/// The sums of a plane, `below` fragments of rows for each of `BESIDE` of columns: in matrix units, which keep the
/// order of elements to themselves, or written out, elements `lane`, `lane + lanes`, … of each fragment.
#[derive(CubeType)]
struct Sums {
    fragments: Sequence<cmma::Matrix<f32>>,
    numbers: Array<f32>,
}

#[cube]
fn zero_sums(#[comptime] config: MatrixConfig) -> Sums {
    let mut fragments = Sequence::<cmma::Matrix<f32>>::new();
    let mut numbers =
        Array::<f32>::new(comptime!(if config.native { 1 } else { config.numbers() }));
    if comptime!(config.native) {
        #[unroll]
        for _ in 0..comptime!(config.fragments()) {
            fragments.push(cmma::Matrix::<f32>::from_value(
                cmma::MatrixIdent::Accumulator,
                comptime!(config.fragment.rows),
                comptime!(config.fragment.columns),
                comptime!(config.fragment.inputs),
                cmma::MatrixLayout::Undefined,
                f32::new(0.0),
            ));
        }
    } else {
        for i in 0..comptime!(config.numbers()) {
            numbers[i] = f32::new(0.0);
        }
    }
    Sums { fragments, numbers }
}

/// The powers of two below the largest scale of each column, among the blocks of this part. Divided by them, weights of
/// 16 bits neither overflow nor vanish, whatever the scales are.
#[cube]
fn find_powers<F: Float>(
    stage: &mut Stage<F>,
    weight: &Weight,
    corner: &Corner,
    place: &Place,
    shape: &Shape,
    #[comptime] config: MatrixConfig,
) {
    #[unroll]
    for i in 0..comptime!(config.columns().div_ceil(config.units())) {
        let column = UNIT_POS as usize + comptime!(i * config.units());
        if column < comptime!(config.columns()) {
            let row = min(corner.column + column, shape.n - 1);
            let mut largest = f32::new(0.0);
            for block in range_stepped(place.first, place.last, weight.format.group_blocks) {
                largest = max(largest, scale_of(weight, group_of(&weight.format, row, block)));
            }
            let last = group_of(&weight.format, row, max(place.last, 1usize) - 1);
            largest = max(largest, scale_of(weight, last));
            let power = f32::reinterpret(u32::reinterpret(largest) & 0x7f80_0000u32);
            stage.powers[column] = clamp(power, f32::new(SMALLEST), f32::new(LARGEST));
        }
    }
}

/// One over a power of two, exactly.
#[cube]
fn inverse_of_power(power: f32) -> f32 {
    f32::reinterpret(0x7f00_0000u32 - u32::reinterpret(power))
}

/// Fills the stage with the blocks from `first` on, and with zeros from `last` on.
#[cube]
fn fill_stage<F: Float>(
    stage: &mut Stage<F>,
    x: &[Four<F>],
    weight: &Weight,
    corner: &Corner,
    first: usize,
    last: usize,
    shape: &Shape,
    #[comptime] config: MatrixConfig,
) {
    let bits = comptime!(config.bits);
    let pitch = comptime!(MatrixConfig::PITCH);
    let (blocks, vectors) =
        (comptime!(MatrixConfig::BLOCKS), comptime!(MatrixConfig::BLOCKS * VECTORS));
    #[unroll(config.native)]
    for i in 0..comptime!(config.weight_turns()) {
        let at = UNIT_POS as usize + i * comptime!(config.units());
        let (column, part) = (at / blocks, at % blocks);
        let row = min(corner.column + column, shape.n - 1);
        let block = min(first + part, last - 1);
        let group = group_of(&weight.format, row, block);
        let inside = f32::cast_from(first + part < last);
        let scale = inside * scale_of(weight, group) * inverse_of_power(stage.powers[column]);
        let zero = zero_of(weight, group, bits);
        // Rows of the stage begin in four banks; units that share one of them take turns of their own.
        let turn = column / 4 % 2 + part * 2;
        #[unroll(config.native)]
        for half in 0..2usize {
            let words = words_of(weight, row, block, half * 4, bits);
            #[unroll(config.native)]
            for quarter in 0..4usize {
                let v = (turn + quarter) % 4 + half * 4;
                let weights = weights_at(words, shift_of(v, bits), scale, zero, bits);
                let cell = column * pitch + part * VECTORS + v;
                if comptime!(config.split) {
                    // By its bits: drivers take a conversion there and back for nothing.
                    let bits = Four::<u32>::reinterpret(weights);
                    let upper = Four::<f32>::reinterpret(bits & Four::<u32>::new(0xffff_0000u32));
                    stage.weights[cell] = Four::<F>::cast_from(upper);
                    stage.rest[cell] = Four::<F>::cast_from(weights - upper);
                } else {
                    stage.weights[cell] = Four::<F>::cast_from(weights);
                }
            }
        }
    }
    #[unroll(config.native)]
    for i in 0..comptime!(config.value_turns()) {
        let at = UNIT_POS as usize + i * comptime!(config.units());
        let (line, v) = (at / vectors, at % vectors);
        let begin = (min(corner.row + line, shape.m - 1) * weight.format.blocks + first) * VECTORS;
        let mut four = Four::<F>::new(F::new(0.0));
        // Where weights are zero, activations must not be infinite.
        if first + v / VECTORS < last {
            four = x[begin + v];
        }
        stage.values[line * pitch + v] = four;
    }
}

/// A fragment of the weights, whose columns lie in rows of the stage.
#[cube]
fn columns_at<F: Float>(
    cells: &Shared<[Four<F>]>,
    begin: usize,
    #[comptime] config: MatrixConfig,
) -> cmma::Matrix<Four<F>> {
    cmma::Matrix::<Four<F>>::from_slice(
        cmma::MatrixIdent::B,
        comptime!(config.fragment.rows),
        comptime!(config.fragment.columns),
        comptime!(config.fragment.inputs),
        cmma::MatrixLayout::ColMajor,
        &cells[begin..cells.len()],
        comptime!(4 * MatrixConfig::PITCH as u32),
    )
}

/// Adds the products of a stage to the sums of a plane.
#[cube]
fn add_stage<F: Float>(
    sums: &mut Sums,
    stage: &Stage<F>,
    plane: usize,
    lane: usize,
    #[comptime] config: MatrixConfig,
) {
    let pitch = comptime!(MatrixConfig::PITCH);
    let [rows, columns, inputs] =
        comptime!([config.fragment.rows, config.fragment.columns, config.fragment.inputs]);
    let first_column = plane * comptime!(MatrixConfig::BESIDE * config.fragment.columns);
    if comptime!(config.native) {
        #[unroll]
        for step in 0..comptime!(MatrixConfig::INPUTS / config.fragment.inputs) {
            let v = comptime!(step * config.fragment.inputs / 4);
            let mut weights = Sequence::<cmma::Matrix<Four<F>>>::new();
            let mut rest = Sequence::<cmma::Matrix<Four<F>>>::new();
            #[unroll]
            for c in 0..comptime!(MatrixConfig::BESIDE) {
                let begin = (first_column + comptime!(c * config.fragment.columns)) * pitch + v;
                weights.push(columns_at::<F>(&stage.weights, begin, config));
                if comptime!(config.split) {
                    rest.push(columns_at::<F>(&stage.rest, begin, config));
                }
            }
            #[unroll]
            for r in 0..comptime!(config.below) {
                let begin = comptime!(r * config.fragment.rows * MatrixConfig::PITCH) + v;
                let values = cmma::Matrix::<Four<F>>::from_slice(
                    cmma::MatrixIdent::A,
                    rows,
                    columns,
                    inputs,
                    cmma::MatrixLayout::RowMajor,
                    &stage.values[begin..stage.values.len()],
                    comptime!(4 * MatrixConfig::PITCH as u32),
                );
                #[unroll]
                for c in 0..comptime!(MatrixConfig::BESIDE) {
                    let sum = &sums.fragments[comptime!(r * MatrixConfig::BESIDE + c)];
                    if comptime!(config.split) {
                        cmma::execute(&values, &rest[c], sum, sum);
                    }
                    cmma::execute(&values, &weights[c], sum, sum);
                }
            }
        }
    } else {
        for i in 0..comptime!(config.numbers()) {
            let (fragment, e) = (i / comptime!(config.each()), i % comptime!(config.each()));
            let at = lane + e * comptime!(config.fragment.lanes);
            let row = fragment / comptime!(MatrixConfig::BESIDE) * rows + at / columns;
            let column = fragment % comptime!(MatrixConfig::BESIDE) * columns + at % columns;
            let mut four = Four::<f32>::new(f32::new(0.0));
            for v in 0..comptime!(MatrixConfig::BLOCKS * VECTORS) {
                let values = Four::<f32>::cast_from(stage.values[row * pitch + v]);
                let cell = (first_column + column) * pitch + v;
                if comptime!(config.split) {
                    four += values * Four::<f32>::cast_from(stage.rest[cell]);
                }
                four += values * Four::<f32>::cast_from(stage.weights[cell]);
            }
            sums.numbers[i] += across::<f32>(four);
        }
    }
}

/// A rectangle of results a cube, a few fragments a plane. Blocks of every row of both operands lie in shared memory,
/// weights dequantised to the type of the activations, from which planes load their fragments.
#[cube(launch_unchecked)]
pub(super) fn matrix<F: Float, O: Float>(
    x: &[Four<F>],
    weight: &Weight,
    epilogue: &Epilogue<F>,
    out: &mut [O],
    shape: &Shape,
    #[comptime] config: MatrixConfig,
    #[define(F, O)] _dtypes: [ElemType; 2],
) {
    let lanes = comptime!(config.fragment.lanes);
    let (plane, lane) = (UNIT_POS as usize / lanes, UNIT_POS as usize % lanes);
    let place = place(shape);
    let corner = Corner {
        row: place.m_cube * comptime!(config.rows()),
        column: place.n_cube * comptime!(config.columns()),
    };
    let mut stage = Stage::<F> {
        values: Shared::new_aligned_slice(
            comptime!(config.rows() * MatrixConfig::PITCH),
            comptime!(ALIGNMENT),
        ),
        weights: Shared::new_aligned_slice(
            comptime!(config.columns() * MatrixConfig::PITCH),
            comptime!(ALIGNMENT),
        ),
        rest: Shared::new_aligned_slice(comptime!(config.rest_cells()), comptime!(ALIGNMENT)),
        powers: Shared::new_slice(comptime!(config.columns())),
    };
    let (columns, each) = (comptime!(config.fragment.columns), comptime!(config.each()));
    let beside = comptime!(MatrixConfig::BESIDE);
    let cells = comptime!(config.fragment.rows * config.fragment.columns);
    let mut numbers = Shared::<[f32]>::new_aligned_slice(
        comptime!(config.planes * config.fragment.rows * config.fragment.columns),
        comptime!(ALIGNMENT),
    );
    let mut sums = zero_sums(config);

    find_powers::<F>(&mut stage, weight, &corner, &place, shape, config);
    sync_cube();
    for first in range_stepped(place.first, place.last, comptime!(MatrixConfig::BLOCKS)) {
        fill_stage::<F>(&mut stage, x, weight, &corner, first, place.last, shape, config);
        sync_cube();
        add_stage::<F>(&mut sums, &stage, plane, lane, config);
        sync_cube();
    }

    #[unroll(config.native)]
    for i in 0..comptime!(config.fragments()) {
        if comptime!(config.native) {
            let end = numbers.len();
            cmma::store(
                &mut numbers[plane * cells..end],
                &sums.fragments[i],
                columns as u32,
                cmma::MatrixLayout::RowMajor,
            );
        } else {
            for e in 0..each {
                numbers[plane * cells + lane + e * lanes] = sums.numbers[i * each + e];
            }
        }
        sync_cube();
        for e in 0..each {
            let at = lane + e * lanes;
            let row = corner.row + i / beside * comptime!(config.fragment.rows) + at / columns;
            let in_cube = (plane * beside + i % beside) * columns + at % columns;
            let column = corner.column + in_cube;
            let sum = numbers[plane * cells + at] * stage.powers[in_cube];
            if comptime!(config.whole) {
                store::<F, O>(out, sum, row, column, place.split, shape, epilogue);
            } else {
                store_sum::<O>(out, sum, row, column, place.split, shape);
            }
        }
        sync_cube();
    }
}
