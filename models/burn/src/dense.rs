//! Transforms as dense matrices: a matrix built in `f64` on the host, applied as one matrix product.
//!
//! `O(n²)` a row, which at the channel counts of a small model is no slower than a linear layer;
//! right on every backend, and therefore the oracle that the kernels are compared with.

use burn::backend::{Backend, TensorMetadata, tensor::FloatTensor};

use crate::{
    host::upload_as,
    lct::LctPlan,
    matrix::{self, ComplexMatrix},
};

/// `[rows, width]` of any tensor whose trailing axes hold `width` numbers.
pub(crate) fn rows<B: Backend>(x: FloatTensor<B>, width: usize) -> FloatTensor<B> {
    let rows = x.shape().num_elements().checked_div(width).unwrap_or(0);
    B::float_reshape(x, [rows, width].into())
}

/// Multiplies the trailing `width_in` numbers of `x` by the real matrix `[width_in, width_out]`,
/// or by its transpose; the result has shape `shape`.
pub(crate) fn apply<B: Backend>(
    x: FloatTensor<B>,
    matrix: Vec<f64>,
    [width_in, width_out]: [usize; 2],
    transpose: bool,
    shape: Vec<usize>,
) -> FloatTensor<B> {
    let matrix = upload_as::<B>(&x, matrix, &[width_in, width_out]);
    let (matrix, width) =
        if transpose { (B::float_transpose(matrix), width_out) } else { (matrix, width_in) };
    B::float_reshape(B::float_matmul(rows::<B>(x, width), matrix), shape.into())
}

fn apply_square<B: Backend>(
    x: FloatTensor<B>,
    matrix: Vec<f64>,
    n: usize,
    transpose: bool,
) -> FloatTensor<B> {
    let shape = x.shape().to_vec();
    apply::<B>(x, matrix, [2 * n, 2 * n], transpose, shape)
}

/// `F^turns` of the centred DFT, or its inverse.
fn turn<B: Backend>(x: FloatTensor<B>, n: usize, turns: u8, inverse: bool) -> FloatTensor<B> {
    if turns == 0 {
        return x;
    }
    apply_square::<B>(x, matrix::centred_dft(n, turns).interleaved(), n, inverse)
}

pub(crate) fn lct<B: Backend>(x: FloatTensor<B>, plan: &LctPlan) -> FloatTensor<B> {
    let n = plan.n();
    let (before, after) = plan.turns();
    let matrix = plan.matrix().interleaved();
    if plan.is_adjoint() {
        let x = turn::<B>(x, n, after, true);
        turn::<B>(apply_square::<B>(x, matrix, n, true), n, before, true)
    } else {
        let x = turn::<B>(x, n, before, false);
        turn::<B>(apply_square::<B>(x, matrix, n, false), n, after, false)
    }
}

pub(crate) fn lct_vjp<B: Backend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    plan: &LctPlan,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let n = plan.n();
    let (before, after) = plan.turns();
    let adjoint = plan.is_adjoint();
    // Bring both ends to the part that has parameters: y = F^after · S · F^before x, or
    // y = F^−before · Sᴴ · F^−after x.
    let (first, last) = if adjoint { (after, before) } else { (before, after) };
    let inner = turn::<B>(x, n, first, adjoint);
    let outer = turn::<B>(grad, n, last, !adjoint);
    let grad_parameters = parameter_gradient::<B>(inner, outer.clone(), plan);
    let grad_inner = apply_square::<B>(outer, plan.matrix().interleaved(), n, !adjoint);
    (turn::<B>(grad_inner, n, first, !adjoint), grad_parameters)
}

/// `Σ_rows grad · (x dR/dp)` for each parameter: one product `xᵀ·grad`, then three inner products.
fn parameter_gradient<B: Backend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    plan: &LctPlan,
) -> FloatTensor<B> {
    let width = 2 * plan.n();
    let x = rows::<B>(x, width);
    let grad = rows::<B>(grad, width);
    // The derivative of the adjoint is the transpose: swap the roles instead of the tables.
    let gram = if plan.is_adjoint() {
        B::float_matmul(B::float_transpose(grad), x)
    } else {
        B::float_matmul(B::float_transpose(x), grad)
    };
    let gram = B::float_reshape(gram, [1, width * width].into());
    let derivatives: Vec<_> = plan.derivatives().iter().map(ComplexMatrix::interleaved).collect();
    let jacobian = plan.jacobian();
    let parameters = plan.parameters();
    let mut table = vec![0.0; width * width * parameters];
    for (index, row) in table.chunks_exact_mut(parameters).enumerate() {
        for (parameter, out) in row.iter_mut().enumerate() {
            *out = derivatives
                .iter()
                .zip(jacobian)
                .map(|(derivative, row)| derivative[index] * row[parameter])
                .sum();
        }
    }
    let table = upload_as::<B>(&gram, table, &[width * width, parameters]);
    B::float_reshape(B::float_matmul(gram, table), [parameters].into())
}
