//! Factors by elimination with row interchanges: once, and solutions often.

use wavecube_core::{Error, Layout, Result};
use wavecube_kernels::tridiag::{
    FactorBindings, FactorPlan, Task, TridiagPlan, factor_launch, factored_launch, solve_vjp_launch,
};

use super::{Pivots, Solution, SolveGradients, Tridiagonal, gradients::Apart};
use crate::Tensor;

const OP: &str = "factor";
const SOLVE: &str = "solve";
const VJP: &str = "solve_vjp";

/// Whether rows are exchanged where a pivot is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pivoting {
    /// Rows keep their order: the recursions of the diagonal, which many units share. An operator of which a leading or a
    /// trailing block has no inverse breaks down.
    #[default]
    None,
    /// Of two rows the one with the larger element is the pivot, as in LAPACK's `gtsv`: every operator that has an inverse
    /// has a solution. One unit carries a sequence.
    Partial,
}

/// The factors of a batch of operators, for any number of right sides.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, Tridiagonal};
/// let device = Device::best()?;
/// // All ones: the block of the first two rows has no inverse, and that of all four has.
/// let a = Tensor::from_slice(&device, &[1.0f32; 4], &[4])?;
/// let b = Tensor::from_slice(&device, &[1.0f32; 3], &[3])?;
/// let z = Tensor::from_slice(&device, &[Complex32::ZERO], &[])?;
/// let factors = Tridiagonal::new(&a, &b, &b, &z).factor()?;
/// assert_eq!(factors.pivots().read()?, [None]);
/// for x in [[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, -1.0]] {
///     let r = [x[0] + x[1], x[0] + x[1] + x[2], x[1] + x[2] + x[3], x[2] + x[3]];
///     let r = Tensor::from_slice(&device, &r.map(Complex32::from), &[4])?;
///     let found: Vec<Complex32> = factors.solve(&r)?.x.read()?;
///     assert!(found.iter().zip(x).all(|(found, x)| (found - x).norm() < 1e-5));
/// }
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TridiagonalFactors {
    of: Tridiagonal,
    shape: Vec<usize>,
    plan: TridiagPlan,
    bindings: FactorBindings,
    pivots: Pivots,
}

impl Tridiagonal {
    /// The same operators with or without exchanges of rows in [`Tridiagonal::solve`] and [`Tridiagonal::solve_vjp`]. All
    /// else is as without.
    ///
    /// ```
    /// use wavecube::{Complex32, Device, Pivoting, Tensor, Tridiagonal};
    /// let device = Device::best()?;
    /// // [[0, 2], [1, 0]] x = [6, 5].
    /// let a = Tensor::from_slice(&device, &[0.0f32; 2], &[2])?;
    /// let b = Tensor::from_slice(&device, &[2.0f32], &[1])?;
    /// let c = Tensor::from_slice(&device, &[1.0f32], &[1])?;
    /// let z = Tensor::from_slice(&device, &[Complex32::ZERO], &[])?;
    /// let r = Tensor::from_slice(&device, &[Complex32::from(6.0), Complex32::from(5.0)], &[2])?;
    /// let operators = Tridiagonal::new(&a, &b, &c, &z);
    /// assert_eq!(operators.solve(&r)?.pivots.read()?, [Some(0)]);
    /// let solution = operators.pivoting(Pivoting::Partial).solve(&r)?;
    /// assert_eq!(solution.pivots.read()?, [None]);
    /// let x: Vec<Complex32> = solution.x.read()?;
    /// assert!((x[0] - 5.0).norm() < 1e-5 && (x[1] - 3.0).norm() < 1e-5);
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    #[must_use]
    pub fn pivoting(&self, pivoting: Pivoting) -> Self {
        Self { pivoting, ..self.clone() }
    }

    /// The factors of the operators by elimination with row interchanges, whatever [`Tridiagonal::pivoting`] says. They
    /// take 36 bytes an element in `f32`, 68 in `f64`.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`](crate::resolvent_diagonal), with [`Error::Unsupported`] for operators of products.
    pub fn factor(&self) -> Result<TridiagonalFactors> {
        self.factored(OP)
    }

    pub(super) fn factored(&self, op: &'static str) -> Result<TridiagonalFactors> {
        let shape = self.shape(op)?;
        let nothing = Layout::strided(&shape, &vec![0; shape.len()], 0)?;
        let plan = self.plan(op, Task::Factor, &nothing)?;
        let device = self.a.device();
        let elements = plan.lines.rows * plan.lines.n;
        let room = |bytes: usize| device.client().empty(bytes.max(16));
        let pivots = Pivots::of(device, &plan);
        let bindings = FactorBindings {
            factors: room(elements * FactorPlan::NUMBERS * plan.dtype.size()),
            swaps: room(elements * size_of::<u32>()),
            pivots: pivots.handle().clone(),
        };
        factor_launch(device.client(), &self.bindings(), &bindings, &plan)?;
        Ok(TridiagonalFactors { of: self.clone(), shape, plan, bindings, pivots })
    }
}

impl TridiagonalFactors {
    /// The first vanishing pivot of every operator: the row from which on none is left that depends on no other.
    pub fn pivots(&self) -> &Pivots {
        &self.pivots
    }

    /// The solution `x` of `T x = r`, for one right side a sequence: `r`, `[…, n]`, complex, any strides. Several right
    /// sides of one operator are sequences along an axis on which the operator has length 1.
    ///
    /// # Errors
    /// [`Error::Dtype`] if `r` is real or of another type, [`Error::Shape`] if it does not belong to the operators,
    /// [`Error::Limit`] if the device has no room.
    pub fn solve(&self, r: &Tensor) -> Result<Solution> {
        self.solve_by(SOLVE, "r", r, false)
    }

    /// The gradients of every operand and of the right side, from the solution `x` that [`TridiagonalFactors::solve`] gave
    /// and its gradient `g`: as [`Tridiagonal::solve_vjp`], by the same factors.
    ///
    /// # Errors
    /// As [`TridiagonalFactors::solve`], of `x` and `g` in place of `r`.
    pub fn solve_vjp(&self, x: &Tensor, g: &Tensor) -> Result<SolveGradients> {
        let shape = self.of.check_right_side(VJP, "x", x)?;
        if self.of.check_right_side(VJP, "g", g)? != shape {
            let found = g.shape().to_vec();
            return Err(Error::Shape { op: VJP, argument: "g", expected: shape, found });
        }
        let plan = self.of.plan(VJP, Task::SolveVjp, x.layout())?;
        let apart = Apart::new(&self.of, &shape, &plan)?;
        let r = self.solve_by(VJP, "g", g, true)?.x;
        let along = [x.handle(), r.handle()];
        let client = self.of.a.device().client();
        solve_vjp_launch(client, &self.of.bindings(), along, apart.buffers(), &plan)?;
        Ok(SolveGradients { operators: apart.summed(&self.of)?, r })
    }

    fn solve_by(
        &self,
        op: &'static str,
        argument: &'static str,
        r: &Tensor,
        transposed: bool,
    ) -> Result<Solution> {
        let shape = self.of.check_right_side(op, argument, r)?;
        let device = self.of.a.device();
        let plan = FactorPlan::new(op, &self.plan, &self.shape, r.layout(), device.limits())?;
        let x = Tensor::empty(device, self.of.a.dtype(), true, &shape)?;
        let pivots = Pivots::one_a_sequence(device, plan.lines.rows);
        let along = [r.handle(), x.handle(), pivots.handle()];
        factored_launch(device.client(), &self.bindings, along, transposed, &plan)?;
        Ok(Solution { x, pivots })
    }
}
