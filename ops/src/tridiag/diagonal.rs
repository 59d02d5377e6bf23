//! The diagonal of the resolvent, and its gradients.

use wavecube_core::{Error, Layout, Result};
use wavecube_kernels::tridiag::{Task, TridiagPlan, tridiag_launch, tridiag_vjp_launch};

use super::{Pivots, Tridiagonal, TridiagonalGradients, gradients::Apart};
use crate::Tensor;

const OP: &str = "resolvent_diagonal";
const VJP: &str = "resolvent_diagonal_vjp";

/// The diagonal of `(H − z)⁻¹` for a batch of tridiagonal `H`.
///
/// `a`: `[…, n]`, `b` (above the diagonal) and `c` (below it): `[…, n − 1]`, real or complex, `b` and `c`
/// alike; `z`: `[…]`, complex, one shift a sequence. All have one storage type, `f32` or `f64`, and any
/// strides. A batch axis is that of the others or 1, where sequences share an operand.
///
/// The same input on the same device gives the same bits, and a batch the bits of its sequences one by
/// one.
///
/// # Errors
/// [`Error::Dtype`] for 16 bits, for a real `z`, or if types differ; [`Error::Shape`] if shapes do not belong
/// together; [`Error::Length`] if sequences have no elements; [`Error::Limit`] if they are longer than the
/// device allows. A vanishing pivot is no error but data: see [`Pivots`].
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, resolvent_diagonal};
/// let device = Device::best()?;
/// // [[2, 1], [1, 3]] − i.
/// let a = Tensor::from_slice(&device, &[2.0f32, 3.0], &[1, 2])?;
/// let b = Tensor::from_slice(&device, &[1.0f32], &[1, 1])?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(0.0, 1.0)], &[1])?;
/// let resolvent = resolvent_diagonal(&a, &b, &b, &z)?;
/// let g: Vec<Complex32> = resolvent.diagonal.read()?;
/// let determinant = Complex32::new(2.0, -1.0) * Complex32::new(3.0, -1.0) - 1.0;
/// assert!((g[0] - Complex32::new(3.0, -1.0) / determinant).norm() < 1e-6);
/// assert_eq!(resolvent.pivots.read()?, [None]);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn resolvent_diagonal(a: &Tensor, b: &Tensor, c: &Tensor, z: &Tensor) -> Result<Resolvent> {
    Tridiagonal::new(a, b, c, z).resolvent_diagonal()
}

/// The gradients of [`resolvent_diagonal`] from the gradient `g` of its diagonal: exact, in `O(n)`, each of
/// its operand's shape, summed over the sequences that share the operand.
///
/// # Errors
/// As [`resolvent_diagonal`], with [`Error::Shape`] if `g` has not the shape of the diagonal.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, resolvent_diagonal_vjp};
/// let device = Device::best()?;
/// // d/da of Re 1/(a − z) is Re −1/(a − z)²: here −1/(2 − i)² = −(3 + 4i)/25.
/// let a = Tensor::from_slice(&device, &[2.0f32], &[1])?;
/// let b = Tensor::from_slice::<f32>(&device, &[], &[0])?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(0.0, 1.0)], &[])?;
/// let g = Tensor::from_slice(&device, &[Complex32::ONE], &[1])?;
/// let gradients = resolvent_diagonal_vjp(&a, &b, &b, &z, &g)?;
/// assert!((gradients.a.read::<f32>()?[0] + 3.0 / 25.0).abs() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn resolvent_diagonal_vjp(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    z: &Tensor,
    g: &Tensor,
) -> Result<TridiagonalGradients> {
    Tridiagonal::new(a, b, c, z).resolvent_diagonal_vjp(g)
}

/// The diagonal of a resolvent, and where it broke down.
#[derive(Debug, Clone)]
pub struct Resolvent {
    /// `[…, n]`, complex, contiguous.
    pub diagonal: Tensor,
    /// The first vanishing pivot of every sequence.
    pub pivots: Pivots,
}

impl Tridiagonal {
    /// The diagonal of the inverse.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`].
    pub fn resolvent_diagonal(&self) -> Result<Resolvent> {
        let layout = Layout::contiguous(&self.shape(OP)?);
        let plan = self.plan(OP, Task::Diagonal, &layout)?;
        let diagonal = Tensor::empty(self.a.device(), self.a.dtype(), true, layout.shape())?;
        let pivots = self.run(&plan, &diagonal)?;
        Ok(Resolvent { diagonal, pivots })
    }

    /// The diagonal of the inverse into a tensor that exists: of the diagonal's shape, any strides, apart
    /// from the operands.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`]; [`Error::Overlap`] if the memory of the output and of an operand meet;
    /// [`Error::Strides`] if two elements of the output share a place.
    pub fn resolvent_diagonal_into(&self, diagonal: &mut Tensor) -> Result<Pivots> {
        self.check_along(OP, "diagonal", diagonal)?;
        let plan = self.plan(OP, Task::Diagonal, diagonal.layout())?;
        for (first, operand) in self.operands() {
            if operand.overlaps(diagonal) {
                return Err(Error::Overlap { op: OP, first, second: "diagonal" });
            }
        }
        self.run(&plan, diagonal)
    }

    /// The gradients of every operand from the gradient `g` of the diagonal.
    ///
    /// # Errors
    /// As [`resolvent_diagonal_vjp`].
    pub fn resolvent_diagonal_vjp(&self, g: &Tensor) -> Result<TridiagonalGradients> {
        self.diagonal_vjp_apart(g)?.summed(self)
    }

    /// The same of every sequence on its own.
    pub(super) fn diagonal_vjp_apart(&self, g: &Tensor) -> Result<Apart> {
        let shape = self.check_along(VJP, "g", g)?;
        let plan = self.plan(VJP, Task::Vjp, g.layout())?;
        let apart = Apart::new(self, &shape, &plan)?;
        let client = self.a.device().client();
        tridiag_vjp_launch(client, &self.bindings(), g.handle(), apart.buffers(), &plan)?;
        Ok(apart)
    }

    fn run(&self, plan: &TridiagPlan, diagonal: &Tensor) -> Result<Pivots> {
        let device = self.a.device();
        let pivots = Pivots::of(device, plan);
        let bindings = self.bindings();
        tridiag_launch(device.client(), &bindings, diagonal.handle(), pivots.handle(), plan)?;
        Ok(pivots)
    }
}
