//! Tridiagonal operators: the diagonal of the resolvent, solutions and the determinant, with their
//! gradients.
//!
//! `T = H − z` has the diagonal `a_k − z`, `b_k` above it and `c_k` below it. The diagonal of its inverse,
//! `G_k = (T⁻¹)_kk`, and its determinant depend on the products `p_k = b_k c_k` alone, which may be given
//! in their place. Gradients of complex tensors are `∂ℓ/∂Re + i ∂ℓ/∂Im`. The recursions, their order of
//! work and their error are described in [`wavecube_kernels::tridiag`].
//!
//! Operators may have any scale whose operands and results are normal numbers, `2^±100` in `f32` and `2^±900` in `f64`, and
//! be graded from one end to the other: errors are those of scale 1. A result that is not finite has an index in
//! [`Pivots`]; what a NaN or an infinity makes of results stays in its own sequence.

mod determinant;
mod diagonal;
mod factors;
mod gradients;
mod kept;
mod pivots;
mod solve;

pub use diagonal::{Resolvent, resolvent_diagonal, resolvent_diagonal_vjp};
pub use factors::{Pivoting, TridiagonalFactors};
pub use gradients::TridiagonalGradients;
pub use kept::Kept;
pub use pivots::Pivots;
pub use solve::{Solution, SolveGradients};

use wavecube_core::{Error, Layout, Result};
use wavecube_kernels::tridiag::{
    OffDiagonals, Strategy, Task, TridiagBindings, TridiagPlan, TridiagProblem,
};

use crate::Tensor;

/// A batch of operators `H − z` by their operands: all that can be asked of them, products in place of `b`
/// and `c`, results into tensors that exist, and the choice of the algorithm.
///
/// `a`: `[…, n]`, `b` (above the diagonal) and `c` (below it): `[…, n − 1]`, real or complex, `b` and `c`
/// alike; `z`: `[…]`, complex, one shift a sequence. All have one storage type, `f32` or `f64`, and any
/// strides. A batch axis is that of the others or 1, where sequences share an operand.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, Tridiagonal};
/// let device = Device::best()?;
/// let a = Tensor::from_slice(&device, &[0.5f32; 3 * 100], &[3, 100])?;
/// // One set of products for all three sequences.
/// let p = Tensor::from_slice(&device, &[1.0f32; 99], &[1, 99])?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(0.1, 1.0)], &[1])?;
/// let resolvent = Tridiagonal::of_products(&a, &p, &z).resolvent_diagonal()?;
/// assert_eq!(resolvent.diagonal.shape(), [3, 100]);
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tridiagonal {
    a: Tensor,
    b: Tensor,
    c: Option<Tensor>,
    z: Tensor,
    strategy: Strategy,
    mixed: bool,
    pivoting: Pivoting,
}

impl Tridiagonal {
    /// Operands as above. Nothing is checked before they are used.
    pub fn new(a: &Tensor, b: &Tensor, c: &Tensor, z: &Tensor) -> Self {
        Self { c: Some(c.clone()), ..Self::of_products(a, b, z) }
    }

    /// With `p_k = b_k c_k` in place of `b` and `c`.
    pub fn of_products(a: &Tensor, p: &Tensor, z: &Tensor) -> Self {
        let [a, b, z] = [a, p, z].map(Tensor::clone);
        let (strategy, pivoting) = (Strategy::Auto, Pivoting::None);
        Self { a, b, c: None, z, strategy, mixed: false, pivoting }
    }

    /// The same operators by the serial recursion, one unit a sequence: a baseline for benchmarks and a
    /// cross-check.
    #[must_use]
    pub fn serially(&self) -> Self {
        Self { strategy: Strategy::Serial, ..self.clone() }
    }

    /// The same operators, `f32`, with the diagonal's scan over chunks in `f16` and the recursion within
    /// chunks, from half a chunk before them, in `f32`: its errors, and how they grow for small `Im z`, are
    /// in [`wavecube_kernels::tridiag`]. All else, gradients too, is as without. A device without `f16`
    /// answers with [`Error::Dtype`].
    ///
    /// ```
    /// use wavecube::{Complex32, Device, Dtype, Error, Tensor, Tridiagonal};
    /// let device = Device::best()?;
    /// let a = Tensor::from_slice(&device, &[-2.0f32; 1000], &[1, 1000])?;
    /// let p = Tensor::from_slice(&device, &[1.0f32; 999], &[1, 999])?;
    /// let z = Tensor::from_slice(&device, &[Complex32::I], &[1])?;
    /// let operators = Tridiagonal::of_products(&a, &p, &z);
    /// let exact = operators.resolvent_diagonal()?.diagonal.read::<Complex32>()?;
    /// match operators.mixed().resolvent_diagonal() {
    ///     Ok(mixed) => {
    ///         let mixed = mixed.diagonal.read::<Complex32>()?;
    ///         assert!(exact.iter().zip(&mixed).all(|(x, y)| (x - y).norm() < 1e-4));
    ///     }
    ///     Err(error) => assert!(!device.limits().f16 && matches!(error, Error::Dtype { .. })),
    /// }
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    #[must_use]
    pub fn mixed(&self) -> Self {
        Self { mixed: true, ..self.clone() }
    }

    fn operands(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let b = if self.c.is_some() { "b" } else { "p" };
        let operands = [("a", Some(&self.a)), (b, Some(&self.b)), ("c", self.c.as_ref())];
        let operands = operands.into_iter().chain([("z", Some(&self.z))]);
        operands.filter_map(|(name, operand)| Some((name, operand?)))
    }

    /// The shape of the diagonal: on every batch axis the length that is not 1.
    fn shape(&self, op: &'static str) -> Result<Vec<usize>> {
        let rank = self.a.layout().axis(op, -1)?;
        let mut shape = self.a.shape().to_vec();
        for (argument, operand) in self.operands() {
            self.a.check_same(op, argument, operand)?;
            let axes = if argument == "z" { rank } else { rank + 1 };
            if operand.shape().len() != axes {
                let (expected, found) = (shape[..axes].to_vec(), operand.shape().to_vec());
                return Err(Error::Shape { op, argument, expected, found });
            }
            for (whole, &len) in shape[..rank].iter_mut().zip(operand.shape()) {
                if *whole == 1 {
                    *whole = len;
                }
            }
        }
        self.z.check_complex(op, "z", true)?;
        if let Some(c) = &self.c {
            c.check_complex(op, "c", self.b.is_complex())?;
        }
        Ok(shape)
    }

    /// Accepts a complex tensor of the operators' kind and of the shape of the diagonal, which it returns.
    fn check_along(
        &self,
        op: &'static str,
        argument: &'static str,
        tensor: &Tensor,
    ) -> Result<Vec<usize>> {
        self.check_shape(op, argument, tensor, self.shape(op)?)
    }

    /// The same for right sides, along whose batch axes the operators may be shared.
    fn check_right_side(
        &self,
        op: &'static str,
        argument: &'static str,
        tensor: &Tensor,
    ) -> Result<Vec<usize>> {
        let mut shape = self.shape(op)?;
        let batch = shape.len() - 1;
        for (whole, &len) in shape[..batch].iter_mut().zip(tensor.shape()) {
            if *whole == 1 {
                *whole = len;
            }
        }
        self.check_shape(op, argument, tensor, shape)
    }

    fn check_shape(
        &self,
        op: &'static str,
        argument: &'static str,
        tensor: &Tensor,
        expected: Vec<usize>,
    ) -> Result<Vec<usize>> {
        tensor.check_complex(op, argument, true)?;
        self.a.check_same(op, argument, tensor)?;
        if tensor.shape() == expected {
            return Ok(expected);
        }
        let found = tensor.shape().to_vec();
        Err(Error::Shape { op, argument, expected, found })
    }

    fn plan(&self, op: &'static str, task: Task, diagonal: &Layout) -> Result<TridiagPlan> {
        let b = self.b.layout().clone();
        let problem = TridiagProblem {
            op,
            task,
            a: self.a.layout().clone(),
            off_diagonals: match &self.c {
                Some(c) => OffDiagonals::Separate { upper: b, lower: c.layout().clone() },
                None => OffDiagonals::Product(b),
            },
            z: self.z.layout().clone(),
            diagonal: diagonal.clone(),
            dtype: self.a.dtype(),
            complex: [self.a.is_complex(), self.b.is_complex()],
            strategy: self.strategy,
            mixed: self.mixed,
        };
        TridiagPlan::new(&problem, self.a.device().limits())
    }

    fn bindings(&self) -> TridiagBindings {
        TridiagBindings {
            a: self.a.handle().clone(),
            b: self.b.handle().clone(),
            c: self.c.as_ref().map(|c| c.handle().clone()),
            z: self.z.handle().clone(),
        }
    }
}
