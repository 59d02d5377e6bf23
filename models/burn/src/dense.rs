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

/// `M x`, or `Mᴴ x`, for every line of the pairs `x` (`[.., n, 2]`).
fn product<B: Backend>(x: FloatTensor<B>, m: &ComplexMatrix, adjoint: bool) -> FloatTensor<B> {
    let mut shape = x.shape().to_vec();
    let line = shape.len() - 2;
    shape[line] = if adjoint { m.inputs() } else { m.outputs() };
    apply::<B>(x, m.interleaved(), [2 * m.inputs(), 2 * m.outputs()], adjoint, shape)
}

/// `F^turns` of the centred DFT, or its inverse.
fn turn<B: Backend>(x: FloatTensor<B>, n: usize, turns: u8, inverse: bool) -> FloatTensor<B> {
    if turns == 0 {
        return x;
    }
    product::<B>(x, &matrix::centred_dft(n, turns), inverse)
}

/// `axis` in the place of lines, or back.
fn lines<B: Backend>(x: FloatTensor<B>, axis: usize) -> FloatTensor<B> {
    let last = x.shape().rank() - 2;
    if axis == last { x } else { B::float_swap_dims(x, axis, last) }
}

pub(crate) fn lct<B: Backend>(x: FloatTensor<B>, plan: &LctPlan, axis: usize) -> FloatTensor<B> {
    let (before, after) = plan.turns();
    let matrix = plan.matrix();
    let x = lines::<B>(x, axis);
    let y = if plan.is_adjoint() {
        let x = turn::<B>(x, plan.n(), after, true);
        turn::<B>(product::<B>(x, &matrix, true), plan.outputs(), before, true)
    } else {
        let x = turn::<B>(x, plan.n(), before, false);
        turn::<B>(product::<B>(x, &matrix, false), plan.outputs(), after, false)
    };
    lines::<B>(y, axis)
}

pub(crate) fn lct_vjp<B: Backend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    plan: &LctPlan,
    axis: usize,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (before, after) = plan.turns();
    let adjoint = plan.is_adjoint();
    // Bring both ends to the part that has parameters: y = F^after · S · F^before x, or
    // y = F^−before · Sᴴ · F^−after x.
    let (first, last) = if adjoint { (after, before) } else { (before, after) };
    let inner = turn::<B>(lines::<B>(x, axis), plan.n(), first, adjoint);
    let outer = turn::<B>(lines::<B>(grad, axis), plan.outputs(), last, !adjoint);
    let grad_parameters = parameter_gradient::<B>(inner, outer.clone(), plan);
    let grad_inner = product::<B>(outer, &plan.matrix(), !adjoint);
    let by_x = turn::<B>(grad_inner, plan.n(), first, !adjoint);
    (lines::<B>(by_x, axis), grad_parameters)
}

/// `Σ_rows grad · (x dR/dp)` for each parameter: one product `xᵀ·grad`, then three inner products.
fn parameter_gradient<B: Backend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    plan: &LctPlan,
) -> FloatTensor<B> {
    let x = rows::<B>(x, 2 * plan.n());
    let grad = rows::<B>(grad, 2 * plan.outputs());
    // The derivative of the adjoint is the transpose: swap the roles instead of the tables.
    let gram = if plan.is_adjoint() {
        B::float_matmul(B::float_transpose(grad), x)
    } else {
        B::float_matmul(B::float_transpose(x), grad)
    };
    let entries = gram.shape().num_elements();
    let gram = B::float_reshape(gram, [1, entries].into());
    let derivatives: Vec<_> = plan.derivatives().iter().map(ComplexMatrix::interleaved).collect();
    let jacobian = plan.jacobian();
    let parameters = plan.parameters();
    let mut table = vec![0.0; entries * parameters];
    for (index, row) in table.chunks_exact_mut(parameters).enumerate() {
        for (parameter, out) in row.iter_mut().enumerate() {
            *out = derivatives
                .iter()
                .zip(jacobian)
                .map(|(derivative, row)| derivative[index] * row[parameter])
                .sum();
        }
    }
    let table = upload_as::<B>(&gram, table, &[entries, parameters]);
    B::float_reshape(B::float_matmul(gram, table), [parameters].into())
}
