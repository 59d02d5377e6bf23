//! Gradients of the operators' operands.

use cubecl::server::Handle;
use wavecube_core::{Layout, Result};
use wavecube_kernels::{
    sum::SumPlan,
    tridiag::{TridiagGradients, TridiagPlan},
};

use super::Tridiagonal;
use crate::{
    Tensor,
    sum::{sum_plan, summed},
};

/// The gradients of a [`Tridiagonal`]'s operands, each of its operand's shape and kind.
#[derive(Debug, Clone)]
pub struct TridiagonalGradients {
    /// Of the diagonal.
    pub a: Tensor,
    /// Of the elements above the diagonal, or of the products.
    pub b: Tensor,
    /// Of the elements below the diagonal; nothing where products were given.
    pub c: Option<Tensor>,
    /// Of the shifts.
    pub z: Tensor,
}

/// The gradients of every sequence on its own, two to a buffer, and the sums over what shares an operand, planned before
/// anything is enqueued.
pub(super) struct Apart {
    buffers: TridiagGradients,
    a: Tensor,
    b: Tensor,
    c: Option<Tensor>,
    z: Tensor,
    sums: [Option<SumPlan>; 4],
}

impl Apart {
    /// Room for the gradients of `of`, whose diagonal has the shape `shape`.
    pub(super) fn new(of: &Tridiagonal, shape: &[usize], plan: &TridiagPlan) -> Result<Self> {
        let (batch, n, op) = (&shape[..shape.len() - 1], plan.lines.n, plan.op);
        let device = of.a.device();
        let size = of.a.dtype().size();
        let room = |numbers: usize| {
            // A buffer of no bytes is not one everywhere.
            let bytes = numbers.max(2) * size;
            device.limits().check_buffer(op, bytes as u64)?;
            Ok(device.client().empty(bytes))
        };
        let [diagonal, beside] = plan.gradient_numbers(n, plan.tiles);
        let buffers = TridiagGradients { diagonal: room(diagonal)?, beside: room(beside)? };
        let [a, beside_a] = [&buffers.diagonal, &buffers.beside];
        let [shifts, lower] = plan.gradient_places(n);
        let part = |handle: &Handle, from: usize, operand: &Tensor, len: usize| {
            let shape: Vec<usize> = batch.iter().copied().chain([len]).collect();
            let layout = Layout::contiguous(&shape);
            let (dtype, complex) = (operand.dtype(), operand.is_complex());
            let element = size * if complex { 2 } else { 1 };
            // Where there is no second part there is nothing behind the first.
            let begin = if layout.is_empty() { 0 } else { (from * element) as u64 };
            let handle = handle.clone().offset_start(begin);
            Tensor::from_handle(device, handle, dtype, complex, layout)
        };
        let (a, z) = (part(a, 0, &of.a, n)?, part(a, shifts, &of.z, plan.tiles)?);
        let b = part(beside_a, 0, &of.b, n - 1)?;
        let c = of.c.as_ref().map(|c| part(beside_a, lower, c, n - 1)).transpose()?;
        let sums = [
            sum_plan(op, &a, of.a.shape())?,
            sum_plan(op, &b, of.b.shape())?,
            c.as_ref()
                .zip(of.c.as_ref())
                .map_or(Ok(None), |(c, of)| sum_plan(op, c, of.shape()))?,
            sum_plan(op, &z, &[of.z.shape(), &[1]].concat())?,
        ];
        Ok(Self { buffers, a, b, c, z, sums })
    }

    /// Where a launch puts them.
    pub(super) fn buffers(&self) -> &TridiagGradients {
        &self.buffers
    }

    /// The gradients of the operands of `of`.
    pub(super) fn summed(self, of: &Tridiagonal) -> Result<TridiagonalGradients> {
        let [sum_a, sum_b, sum_c, sum_z] = self.sums;
        Ok(TridiagonalGradients {
            a: summed(&self.a, sum_a, of.a.shape())?,
            b: summed(&self.b, sum_b, of.b.shape())?,
            c: match (&self.c, &of.c) {
                (Some(c), Some(of)) => Some(summed(c, sum_c, of.shape())?),
                _ => None,
            },
            z: summed(&self.z, sum_z, of.z.shape())?,
        })
    }
}
