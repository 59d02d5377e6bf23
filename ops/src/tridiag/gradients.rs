//! Gradients of the operators' operands.

use wavecube_core::Result;
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

/// The gradients of every sequence on its own, and the sums over what shares an operand, planned before
/// anything is enqueued.
pub(super) struct Apart {
    a: Tensor,
    b: Tensor,
    c: Option<Tensor>,
    z: Tensor,
    sums: [Option<SumPlan>; 4],
}

impl Apart {
    /// Room for the gradients of `of`, whose diagonal has the shape `shape`.
    pub(super) fn new(of: &Tridiagonal, shape: &[usize], plan: &TridiagPlan) -> Result<Self> {
        let batch = &shape[..shape.len() - 1];
        let full = |operand: &Tensor, len: usize| {
            let shape: Vec<usize> = batch.iter().copied().chain([len]).collect();
            Tensor::empty(of.a.device(), of.a.dtype(), operand.is_complex(), &shape)
        };
        let a = full(&of.a, plan.lines.n)?;
        let b = full(&of.b, plan.lines.n - 1)?;
        let c = of.c.as_ref().map(|c| full(c, plan.lines.n - 1)).transpose()?;
        let z = full(&of.z, plan.tiles)?;
        let op = plan.op;
        let sums = [
            sum_plan(op, &a, of.a.shape())?,
            sum_plan(op, &b, of.b.shape())?,
            c.as_ref()
                .zip(of.c.as_ref())
                .map_or(Ok(None), |(c, of)| sum_plan(op, c, of.shape()))?,
            sum_plan(op, &z, &[of.z.shape(), &[1]].concat())?,
        ];
        Ok(Self { a, b, c, z, sums })
    }

    /// Where a launch puts them.
    pub(super) fn handles(&self) -> TridiagGradients {
        handles([&self.a, &self.b, &self.z], self.c.as_ref())
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

/// The buffers of contiguous tensors: `a`, `b` and `z`, and `c`.
pub(super) fn handles([a, b, z]: [&Tensor; 3], c: Option<&Tensor>) -> TridiagGradients {
    TridiagGradients {
        a: a.handle().clone(),
        b: b.handle().clone(),
        c: c.map(|c| c.handle().clone()),
        z: z.handle().clone(),
    }
}
