//! The logarithm of the determinant, and its gradients.

use wavecube_core::{Error, Layout, Result};
use wavecube_kernels::tridiag::{Task, determinant_launch, tridiag_vjp_launch};

use super::{Tridiagonal, TridiagonalGradients, gradients::Apart};
use crate::Tensor;

const OP: &str = "log_determinant";
const VJP: &str = "log_determinant_vjp";

impl Tridiagonal {
    /// `ln |det T|`, real, one number a sequence: `[…]`. Nothing is divided by, so no pivot can vanish; of a
    /// singular operator it is minus infinity.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`](crate::resolvent_diagonal).
    ///
    /// ```
    /// use wavecube::{Complex32, Device, Tensor, Tridiagonal};
    /// let device = Device::best()?;
    /// // Minus one on 500 elements, nothing beside them, shifted by 1.
    /// let a = Tensor::from_slice(&device, &[-1.0f32; 500], &[500])?;
    /// let p = Tensor::from_slice(&device, &[0.0f32; 499], &[499])?;
    /// let z = Tensor::from_slice(&device, &[Complex32::ONE], &[])?;
    /// let logarithm = Tridiagonal::of_products(&a, &p, &z).log_determinant()?;
    /// // The determinant is 2⁵⁰⁰, far beyond f32.
    /// assert!((logarithm.read::<f32>()?[0] / (500.0 * 2.0f32.ln()) - 1.0).abs() < 1e-6);
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn log_determinant(&self) -> Result<Tensor> {
        let shape = self.shape(OP)?;
        let nothing = Layout::strided(&shape, &vec![0; shape.len()], 0)?;
        let plan = self.plan(OP, Task::Determinant, &nothing)?;
        let device = self.a.device();
        let logarithm = Tensor::empty(device, self.a.dtype(), false, &shape[..shape.len() - 1])?;
        determinant_launch(device.client(), &self.bindings(), logarithm.handle(), &plan)?;
        Ok(logarithm)
    }

    /// The gradients of every operand from the gradient `g` of [`Tridiagonal::log_determinant`]: real, of its
    /// shape, any strides. Exact: `∂d_k = g conj(G_k)`, and so on.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`](crate::resolvent_diagonal), with [`Error::Shape`] if `g` has not the shape
    /// of the logarithm and [`Error::Dtype`] if it is complex.
    ///
    /// ```
    /// use wavecube::{Complex32, Device, Tensor, Tridiagonal};
    /// let device = Device::best()?;
    /// // d/da of ln |a − z| is Re 1/(a − z): here Re 1/(2 − i) = 2/5.
    /// let a = Tensor::from_slice(&device, &[2.0f32], &[1])?;
    /// let p = Tensor::from_slice::<f32>(&device, &[], &[0])?;
    /// let z = Tensor::from_slice(&device, &[Complex32::I], &[])?;
    /// let g = Tensor::from_slice(&device, &[1.0f32], &[])?;
    /// let gradients = Tridiagonal::of_products(&a, &p, &z).log_determinant_vjp(&g)?;
    /// assert!((gradients.a.read::<f32>()?[0] - 0.4).abs() < 1e-6);
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn log_determinant_vjp(&self, g: &Tensor) -> Result<TridiagonalGradients> {
        g.check_complex(VJP, "g", false)?;
        self.a.check_same(VJP, "g", g)?;
        let shape = self.shape(VJP)?;
        let batch = &shape[..shape.len() - 1];
        if g.shape() != batch {
            let (expected, found) = (batch.to_vec(), g.shape().to_vec());
            return Err(Error::Shape { op: VJP, argument: "g", expected, found });
        }
        // One number a sequence, which all its elements read.
        let strides = [g.layout().strides(), &[0]].concat();
        let along = Layout::strided(&shape, &strides, g.layout().offset())?;
        let plan = self.plan(VJP, Task::DeterminantVjp, &along)?;
        let apart = Apart::new(self, &shape, &plan)?;
        let client = self.a.device().client();
        tridiag_vjp_launch(client, &self.bindings(), g.handle(), apart.buffers(), &plan)?;
        apart.summed(self)
    }
}
