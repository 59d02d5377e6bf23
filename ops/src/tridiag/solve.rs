//! Solutions of tridiagonal systems, and their gradients.

use wavecube_core::{Error, Result};
use wavecube_kernels::tridiag::{Task, TridiagSolution, solve_launch, solve_vjp_launch};

use super::{Pivoting, Pivots, Tridiagonal, TridiagonalGradients, gradients::Apart};
use crate::Tensor;

const OP: &str = "solve";
const VJP: &str = "solve_vjp";

/// The solution of tridiagonal systems, and where it broke down.
#[derive(Debug, Clone)]
pub struct Solution {
    /// `[…, n]`, complex, contiguous.
    pub x: Tensor,
    /// The first vanishing pivot of every sequence.
    pub pivots: Pivots,
}

/// The gradients of a solution.
#[derive(Debug, Clone)]
pub struct SolveGradients {
    /// Of the operators' operands.
    pub operators: TridiagonalGradients,
    /// Of the right side, `[…, n]`, complex.
    pub r: Tensor,
}

impl Tridiagonal {
    /// The solution `x` of `T x = r`, for one right side a sequence: `r`, `[…, n]`, complex, any strides.
    /// Several right sides are sequences that share their operands: a batch axis of length 1.
    ///
    /// Rows are not exchanged: where `H` is real with `b_k c_k ≥ 0` and `Im z > 0` no pivot is smaller than
    /// `Im z`. Elsewhere one may vanish, which [`Solution::pivots`] reports, even where `T` has an inverse; then
    /// [`Tridiagonal::pivoting`] solves, and [`Tridiagonal::factor`] where there are more right sides to come.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`](crate::resolvent_diagonal), with
    /// [`Error::Unsupported`] for operators of products, which do not determine a
    /// solution, and [`Error::Shape`] if `r` has not the shape of the diagonal.
    ///
    /// ```
    /// use wavecube::{Complex32, Device, Tensor, Tridiagonal};
    /// let device = Device::best()?;
    /// // [[2, 1], [1, 3]] x = [4, 7].
    /// let a = Tensor::from_slice(&device, &[2.0f32, 3.0], &[2])?;
    /// let b = Tensor::from_slice(&device, &[1.0f32], &[1])?;
    /// let z = Tensor::from_slice(&device, &[Complex32::ZERO], &[])?;
    /// let r = Tensor::from_slice(&device, &[Complex32::from(4.0), Complex32::from(7.0)], &[2])?;
    /// let x: Vec<Complex32> = Tridiagonal::new(&a, &b, &b, &z).solve(&r)?.x.read()?;
    /// assert!((x[0] - 1.0).norm() < 1e-6 && (x[1] - 2.0).norm() < 1e-6);
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn solve(&self, r: &Tensor) -> Result<Solution> {
        if self.pivoting == Pivoting::Partial {
            self.check_right_side(OP, "r", r)?;
            return self.factored(OP)?.solve(r);
        }
        self.solve_by(OP, "r", r, false)
    }

    /// The gradients of every operand and of the right side, from the solution `x` that
    /// [`Tridiagonal::solve`] gave and its gradient `g`. That of the right side is `T⁻ᴴ g`, one more
    /// solution, of the operator with `b` and `c` in each other's place; those of the operators are products
    /// of its elements and of `x`.
    ///
    /// # Errors
    /// As [`Tridiagonal::solve`], of `x` and `g` in place of `r`.
    ///
    /// ```
    /// use wavecube::{Complex32, Device, Tensor, Tridiagonal};
    /// let device = Device::best()?;
    /// // x = r/a: its derivatives are 1/a and −x/a.
    /// let a = Tensor::from_slice(&device, &[2.0f32], &[1])?;
    /// let b = Tensor::from_slice::<f32>(&device, &[], &[0])?;
    /// let z = Tensor::from_slice(&device, &[Complex32::ZERO], &[])?;
    /// let operator = Tridiagonal::new(&a, &b, &b, &z);
    /// let r = Tensor::from_slice(&device, &[Complex32::from(6.0)], &[1])?;
    /// let g = Tensor::from_slice(&device, &[Complex32::ONE], &[1])?;
    /// let gradients = operator.solve_vjp(&operator.solve(&r)?.x, &g)?;
    /// assert!((gradients.r.read::<Complex32>()?[0] - 0.5).norm() < 1e-6);
    /// assert!((gradients.operators.a.read::<f32>()?[0] + 1.5).abs() < 1e-6);
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn solve_vjp(&self, x: &Tensor, g: &Tensor) -> Result<SolveGradients> {
        let shape = self.check_right_side(VJP, "x", x)?;
        if self.check_right_side(VJP, "g", g)? != shape {
            let found = g.shape().to_vec();
            return Err(Error::Shape { op: VJP, argument: "g", expected: shape, found });
        }
        if self.pivoting == Pivoting::Partial {
            return self.factored(VJP)?.solve_vjp(x, g);
        }
        let plan = self.plan(VJP, Task::SolveVjp, x.layout())?;
        let apart = Apart::new(self, &shape, &plan)?;
        let r = self.transposed().solve_by(VJP, "g", g, true)?.x;
        let along = [x.handle(), r.handle()];
        let client = self.a.device().client();
        solve_vjp_launch(client, &self.bindings(), along, apart.buffers(), &plan)?;
        Ok(SolveGradients { operators: apart.summed(self)?, r })
    }

    /// The same operators with `b` and `c` in each other's place.
    fn transposed(&self) -> Self {
        let mut operators = self.clone();
        if let Some(c) = &mut operators.c {
            std::mem::swap(&mut operators.b, c);
        }
        operators
    }

    fn solve_by(
        &self,
        op: &'static str,
        argument: &'static str,
        r: &Tensor,
        conjugate: bool,
    ) -> Result<Solution> {
        let shape = self.check_right_side(op, argument, r)?;
        let plan = self.plan(op, Task::Solve { conjugate }, r.layout())?;
        let device = self.a.device();
        let x = Tensor::empty(device, self.a.dtype(), true, &shape)?;
        let pivots = Pivots::of(device, &plan);
        let solution = TridiagSolution {
            r: r.handle().clone(),
            x: x.handle().clone(),
            pivots: pivots.handle().clone(),
        };
        solve_launch(device.client(), &self.bindings(), &solution, &plan)?;
        Ok(Solution { x, pivots })
    }
}
