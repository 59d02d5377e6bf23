//! Device code beside the chains: pointwise factors and permutations, dense matrices, and the
//! reductions that gradients end in.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::prelude::*;

use super::configs::{DenseConfig, MomentConfig, PointConfig};
use crate::{
    fft::ComplexTable,
    lines::{Lines, line},
};

/// Tables that may be absent.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Factors<F: Float> {
    /// The factor on the way in.
    pub(crate) before: Sequence<ComplexTable<F>>,
    /// The factor on the way out.
    pub(crate) after: Sequence<ComplexTable<F>>,
    /// Which point of the source becomes point `j`.
    pub(crate) indices: Sequence<Box<[u32]>>,
}

/// A dense matrix and how it is read: entry `(i, k)` is at `i·row_step + k·column_step`.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct MatrixShape {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) row_step: usize,
    pub(crate) column_step: usize,
}

/// `y_j = after_j · x_{indices_j}`, converting between storage types; a real source is taken as
/// complex, a real target gets the real part.
#[cube(launch_unchecked)]
pub(crate) fn pointwise<I: Float, O: Float, F: Float, NI: Size, NO: Size>(
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    lines: &Lines,
    factors: &Factors<F>,
    #[comptime] config: PointConfig,
    #[define(I, O, F)] _dtypes: [ElemType; 3],
) {
    let e = ABSOLUTE_POS;
    if e < lines.rows * lines.n {
        let row = e / lines.n;
        let j = e % lines.n;
        let mut from = j;
        if comptime!(config.gathered) {
            let indices = &factors.indices[0usize];
            from = indices[j] as usize;
        }
        let x = source[line(lines, row, 0usize) + from * lines.strides[0usize]];
        let mut re = F::cast_from(x.extract(0usize));
        let mut im = F::new(0.0);
        if comptime!(config.parts[0] == 2) {
            im = F::cast_from(x.extract(1usize));
        }
        if comptime!(config.multiplied) {
            let after = &factors.after[0usize];
            let w = after[j];
            let x_re = re;
            re = x_re * w.extract(0usize) - im * w.extract(1usize);
            im = x_re * w.extract(1usize) + im * w.extract(0usize);
        }
        let mut y = Vector::<O, NO>::empty();
        y.insert(0usize, O::cast_from(re));
        if comptime!(config.parts[1] == 2) {
            y.insert(1usize, O::cast_from(im));
        }
        target[line(lines, row, 1usize) + j * lines.strides[1usize]] = y;
    }
}

/// `y_j = c₀ x_j + c₁ X_j + c₂ x_{n−1−j} + c₃ X_{n−1−j}`: a function of the DFT from one transform.
#[cube(launch_unchecked)]
pub(crate) fn combine<E: Float, F: Float, N: Size>(
    source: &[Vector<E, N>],
    spectrum: &[Vector<E, N>],
    target: &mut [Vector<E, N>],
    lines: &Lines,
    factors: &Factors<F>,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let e = ABSOLUTE_POS;
    if e < lines.rows * lines.n {
        let row = e / lines.n;
        let j = e % lines.n;
        let mirrored = lines.n - 1 - j;
        let x = line(lines, row, 0usize);
        let z = line(lines, row, 1usize);
        let mut values = Sequence::<Vector<E, N>>::new();
        values.push(source[x + j * lines.strides[0usize]]);
        values.push(spectrum[z + j * lines.strides[1usize]]);
        values.push(source[x + mirrored * lines.strides[0usize]]);
        values.push(spectrum[z + mirrored * lines.strides[1usize]]);
        let weights = &factors.after[0usize];
        let mut re = F::new(0.0);
        let mut im = F::new(0.0);
        #[unroll]
        for l in 0..4usize {
            let value = values[l];
            let x_re = F::cast_from(value.extract(0usize));
            let x_im = F::cast_from(value.extract(1usize));
            let w = weights[l];
            re += x_re * w.extract(0usize) - x_im * w.extract(1usize);
            im += x_re * w.extract(1usize) + x_im * w.extract(0usize);
        }
        let mut y = Vector::<E, N>::empty();
        y.insert(0usize, E::cast_from(re));
        y.insert(1usize, E::cast_from(im));
        target[line(lines, row, 2usize) + j * lines.strides[2usize]] = y;
    }
}

/// `y = after · A · before · x` for every line. Sums run over blocks of `config.block` terms, then
/// over the blocks: the rounding error grows with the root of both lengths, not with their product's.
#[cube(launch_unchecked)]
pub(crate) fn dense<I: Float, O: Float, F: Float, NI: Size, NO: Size, NM: Size, NR: Size>(
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    matrix: &[Vector<F, NM>],
    lines: &Lines,
    shape: &MatrixShape,
    factors: &Factors<F>,
    #[comptime] config: DenseConfig,
    #[define(I, O, F)] _dtypes: [ElemType; 3],
) {
    if comptime!(config.tile > 1) {
        dense_tiled::<I, O, F, NI, NO, NM, NR>(
            source, target, matrix, lines, shape, factors, config,
        );
    } else {
        dense_naive::<I, O, F, NI, NO, NM>(source, target, matrix, lines, shape, factors, config);
    }
}

#[cube]
fn load_point<I: Float, F: Float, N: Size>(
    source: &[Vector<I, N>],
    at: usize,
    k: usize,
    factors: &Factors<F>,
    #[comptime] config: DenseConfig,
) -> (F, F) {
    let x = source[at];
    let mut re = F::cast_from(x.extract(0usize));
    let mut im = F::cast_from(x.extract(1usize));
    if comptime!(config.before) {
        let before = &factors.before[0usize];
        let w = before[k];
        let x_re = re;
        re = x_re * w.extract(0usize) - im * w.extract(1usize);
        im = x_re * w.extract(1usize) + im * w.extract(0usize);
    }
    (re, im)
}

#[cube]
fn store_point<O: Float, F: Float, N: Size>(
    target: &mut [Vector<O, N>],
    at: usize,
    i: usize,
    re: F,
    im: F,
    factors: &Factors<F>,
    #[comptime] config: DenseConfig,
) {
    let mut y_re = re;
    let mut y_im = im;
    if comptime!(config.after) {
        let after = &factors.after[0usize];
        let w = after[i];
        y_re = re * w.extract(0usize) - im * w.extract(1usize);
        y_im = re * w.extract(1usize) + im * w.extract(0usize);
    }
    let mut y = Vector::<O, N>::empty();
    y.insert(0usize, O::cast_from(y_re));
    y.insert(1usize, O::cast_from(y_im));
    target[at] = y;
}

/// One unit an output point.
#[cube]
fn dense_naive<I: Float, O: Float, F: Float, NI: Size, NO: Size, NM: Size>(
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    matrix: &[Vector<F, NM>],
    lines: &Lines,
    shape: &MatrixShape,
    factors: &Factors<F>,
    #[comptime] config: DenseConfig,
) {
    let e = ABSOLUTE_POS;
    if e < lines.rows * shape.outputs {
        let row = e / shape.outputs;
        let i = e % shape.outputs;
        let from = line(lines, row, 0usize);
        let block = comptime!(config.block);
        let mut re = F::new(0.0);
        let mut im = F::new(0.0);
        for b in 0..shape.inputs.div_ceil(block) {
            let mut block_re = F::new(0.0);
            let mut block_im = F::new(0.0);
            for k in b * block..min((b + 1) * block, shape.inputs) {
                let (x_re, x_im) = load_point::<I, F, NI>(
                    source,
                    from + k * lines.strides[0usize],
                    k,
                    factors,
                    config,
                );
                let a = matrix[i * shape.row_step + k * shape.column_step];
                let a_re = a.extract(0usize);
                block_re += a_re * x_re;
                block_im += a_re * x_im;
                if comptime!(config.complex) {
                    let mut a_im = a.extract(1usize);
                    if comptime!(config.conjugate) {
                        a_im = -a_im;
                    }
                    block_re -= a_im * x_im;
                    block_im += a_im * x_re;
                }
            }
            re += block_re;
            im += block_im;
        }
        let at = line(lines, row, 1usize) + i * lines.strides[1usize];
        store_point::<O, F, NO>(target, at, i, re, im, factors, config);
    }
}

/// A cube computes `reach` outputs of `reach` lines, a unit `side` of both in registers; matrix and
/// lines pass through shared memory in blocks of `tile` terms, `side` neighbours in an element.
#[cube]
fn dense_tiled<I: Float, O: Float, F: Float, NI: Size, NO: Size, NM: Size, NR: Size>(
    source: &[Vector<I, NI>],
    target: &mut [Vector<O, NO>],
    matrix: &[Vector<F, NM>],
    lines: &Lines,
    shape: &MatrixShape,
    factors: &Factors<F>,
    #[comptime] config: DenseConfig,
) {
    let tile = comptime!(config.tile);
    let side = comptime!(config.side);
    // Rows of a block are one element longer than they must be: columns fall into different banks.
    let pitch = comptime!(tile + 1);
    let room = comptime!(tile * (tile + 1));
    let imaginary = comptime!(if config.complex { room } else { 1 });
    let mut matrix_re = Shared::<[Vector<F, NR>]>::new_slice(room);
    let mut matrix_im = Shared::<[Vector<F, NR>]>::new_slice(imaginary);
    let mut x_re = Shared::<[Vector<F, NR>]>::new_slice(room);
    let mut x_im = Shared::<[Vector<F, NR>]>::new_slice(room);

    let unit = UNIT_POS as usize;
    let low = unit % tile;
    let high = unit / tile;
    let reach = comptime!(config.reach());
    let tiles = shape.outputs.div_ceil(reach);
    let first_output = (CUBE_POS % tiles) * reach;
    // This unit computes the outputs from `first_output + low · side` on of the lines from here on.
    let first_row = (CUBE_POS / tiles) * reach + high * side;

    let mut begins = Sequence::<usize>::new();
    let mut re = Array::<Vector<F, NR>>::new(side);
    let mut im = Array::<Vector<F, NR>>::new(side);
    #[unroll]
    for r in 0..side {
        begins.push(line(lines, min(first_row + r, lines.rows - 1), 0usize));
        re[r] = Vector::new(F::new(0.0));
        im[r] = Vector::new(F::new(0.0));
    }

    for b in 0..shape.inputs.div_ceil(tile) {
        let first = b * tile;
        let k = min(first + low, shape.inputs - 1);
        let inside = first + low < shape.inputs;
        let mut points_re = Vector::<F, NR>::empty();
        let mut points_im = Vector::<F, NR>::empty();
        // Neighbouring units read neighbouring entries, whichever way the matrix lies.
        let (a_output, a_input) =
            if comptime!(config.transposed) { (low, high) } else { (high, low) };
        let a_k = min(first + a_input, shape.inputs - 1);
        let mut entries_re = Vector::<F, NR>::empty();
        let mut entries_im = Vector::<F, NR>::empty();
        #[unroll]
        for r in 0..side {
            let at = begins[r] + k * lines.strides[0usize];
            let (p_re, p_im) = load_point::<I, F, NI>(source, at, k, factors, config);
            points_re.insert(r, select(inside, p_re, F::new(0.0)));
            points_im.insert(r, select(inside, p_im, F::new(0.0)));
            let a_i = min(first_output + a_output * side + r, shape.outputs - 1);
            let a = matrix[a_i * shape.row_step + a_k * shape.column_step];
            entries_re.insert(r, a.extract(0usize));
            if comptime!(config.complex) {
                entries_im.insert(r, a.extract(1usize));
            }
        }
        x_re[low * pitch + high] = points_re;
        x_im[low * pitch + high] = points_im;
        matrix_re[a_input * pitch + a_output] = entries_re;
        if comptime!(config.complex) {
            matrix_im[a_input * pitch + a_output] = entries_im;
        }
        sync_cube();

        let mut block_re = Array::<Vector<F, NR>>::new(side);
        let mut block_im = Array::<Vector<F, NR>>::new(side);
        #[unroll]
        for r in 0..side {
            block_re[r] = Vector::new(F::new(0.0));
            block_im[r] = Vector::new(F::new(0.0));
        }
        for k in 0..tile {
            let v_re = x_re[k * pitch + high];
            let v_im = x_im[k * pitch + high];
            let a_re = matrix_re[k * pitch + low];
            #[unroll]
            for r in 0..side {
                block_re[r] += a_re * Vector::new(v_re.extract(r));
                block_im[r] += a_re * Vector::new(v_im.extract(r));
            }
            if comptime!(config.complex) {
                let a_im = matrix_im[k * pitch + low];
                let a_im = if comptime!(config.conjugate) { -a_im } else { a_im };
                #[unroll]
                for r in 0..side {
                    block_re[r] -= a_im * Vector::new(v_im.extract(r));
                    block_im[r] += a_im * Vector::new(v_re.extract(r));
                }
            }
        }
        #[unroll]
        for r in 0..side {
            re[r] += block_re[r];
            im[r] += block_im[r];
        }
        sync_cube();
    }
    #[unroll]
    for r in 0..side {
        if first_row + r < lines.rows {
            let at = line(lines, first_row + r, 1usize);
            let values_re = re[r];
            let values_im = im[r];
            #[unroll]
            for c in 0..side {
                let i = first_output + low * side + c;
                if i < shape.outputs {
                    let (y_re, y_im) = (values_re.extract(c), values_im.extract(c));
                    let at = at + i * lines.strides[1usize];
                    store_point::<O, F, NO>(target, at, i, y_re, y_im, factors, config);
                }
            }
        }
    }
}

/// Partial sums of `Re(w_j · conj(g_j) · y_j)` over every line: one for each cube, in a fixed order.
#[cube(launch_unchecked)]
pub(crate) fn moment<E: Float, F: Float, N: Size>(
    y: &[Vector<E, N>],
    g: &[Vector<E, N>],
    partials: &mut [F],
    lines: &Lines,
    factors: &Factors<F>,
    first: usize,
    cubes: usize,
    #[comptime] config: MomentConfig,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let units = comptime!(config.units);
    let unit = UNIT_POS as usize;
    let weights = &factors.after[0usize];
    let mut sum = F::new(0.0);
    if CUBE_POS < cubes {
        let mut e = CUBE_POS * units + unit;
        while e < lines.rows * lines.n {
            let row = e / lines.n;
            let j = e % lines.n;
            let a = y[line(lines, row, 0usize) + j * lines.strides[0usize]];
            let b = g[line(lines, row, 1usize) + j * lines.strides[1usize]];
            let y_re = F::cast_from(a.extract(0usize));
            let y_im = F::cast_from(a.extract(1usize));
            let g_re = F::cast_from(b.extract(0usize));
            let g_im = F::cast_from(b.extract(1usize));
            let w = weights[j];
            sum += w.extract(0usize) * (g_re * y_re + g_im * y_im)
                - w.extract(1usize) * (g_re * y_im - g_im * y_re);
            e += cubes * units;
        }
    }
    let mut shared = Shared::<[F]>::new_slice(units);
    shared[unit] = sum;
    #[unroll]
    for level in 0..comptime!(units.ilog2() as usize) {
        let half = comptime!(units >> (level + 1));
        sync_cube();
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
    }
    if unit == 0 && CUBE_POS < cubes {
        partials[first + CUBE_POS] = shared[0usize];
    }
}

/// `out_p = Σ_s jacobian[p, s] · Σ_i partials[s, i]`, one unit an output.
#[cube(launch_unchecked)]
pub(crate) fn finish<F: Float>(
    partials: &[F],
    jacobian: &[F],
    out: &mut [F],
    sums: usize,
    terms: usize,
    outputs: usize,
    #[define(F)] _dtype: ElemType,
) {
    let p = ABSOLUTE_POS;
    if p < outputs {
        let mut total = F::new(0.0);
        for s in 0..sums {
            let mut sum = F::new(0.0);
            for i in 0..terms {
                sum += partials[s * terms + i];
            }
            total += jacobian[p * sums + s] * sum;
        }
        out[p] = total;
    }
}

/// `z_k = Σ conj(x_k) · g_k` over the lines that share one result, one after the other.
#[cube(launch_unchecked)]
pub(crate) fn correlate<E: Float, F: Float, N: Size>(
    x: &[Vector<E, N>],
    g: &[Vector<E, N>],
    target: &mut [Vector<E, N>],
    kept: &Lines,
    summed: &Lines,
    #[define(E, F)] _dtypes: [ElemType; 2],
) {
    let e = ABSOLUTE_POS;
    if e < kept.rows * kept.n {
        let row = e / kept.n;
        let k = e % kept.n;
        let x_begin = line(kept, row, 0usize) + k * kept.strides[0usize];
        let g_begin = line(kept, row, 1usize) + k * kept.strides[1usize];
        let mut re = F::new(0.0);
        let mut im = F::new(0.0);
        for r in 0..summed.rows {
            let a = x[x_begin + line(summed, r, 0usize)];
            let b = g[g_begin + line(summed, r, 1usize)];
            let x_re = F::cast_from(a.extract(0usize));
            let x_im = F::cast_from(a.extract(1usize));
            let g_re = F::cast_from(b.extract(0usize));
            let g_im = F::cast_from(b.extract(1usize));
            re += x_re * g_re + x_im * g_im;
            im += x_re * g_im - x_im * g_re;
        }
        let mut z = Vector::<E, N>::empty();
        z.insert(0usize, E::cast_from(re));
        z.insert(1usize, E::cast_from(im));
        target[line(kept, row, 2usize) + k * kept.strides[2usize]] = z;
    }
}
