//! The causal form of the tridiagonal resolvent: of every leading block, the last diagonal element of its
//! inverse.
//!
//! With the diagonal `d_k` and the products `p_k` of the elements beside it,
//! `y_k = 1/(d_k − p_{k−1} y_{k−1})`: a function of the elements up to `k`, where the diagonal of the whole
//! inverse ([`resolvent_diagonal`](crate::resolvent_diagonal)) is one of all. The work is described in
//! [`wavecube_kernels::tridiag`].

use wavecube_core::{Error, Result};
use wavecube_kernels::tridiag::{LeadingPlan, leading_launch, leading_vjp_launch};

use crate::Tensor;

const OP: &str = "leading_resolvent";
const VJP: &str = "leading_resolvent_vjp";

/// For every `k` the element `(k, k)` of the inverse of the leading block of `k + 1` rows of `T`.
///
/// `d`: `[…, n]`, complex, the diagonal of `T` (with the shift in it, `a − z`); `p`: `[…, n − 1]`, real, the
/// products of the elements above and below it. Both contiguous, of one storage type, `f32` or `f64`. The
/// result has the shape of `d`. The same input on the same device gives the same bits.
///
/// Where `Im d < 0` and `p ≥ 0` no pivot vanishes. Where one does, the sequence is not finite from there on, and neither is
/// it where an operand is NaN or infinite. Elements may have any scale of which `p` and the result are normal numbers.
///
/// # Errors
/// [`Error::Dtype`] for 16 bits, a real `d`, a complex `p` or types that differ; [`Error::Shape`] if shapes do
/// not belong together; [`Error::Strides`] if a tensor is not contiguous; [`Error::Length`] for sequences of
/// no elements or of more than 2²² (2²¹ in `f64`); [`Error::Limit`] if the device has no room.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, leading_resolvent};
/// let device = Device::best()?;
/// let d = Tensor::from_slice(&device, &[Complex32::new(2.0, -1.0); 2], &[1, 2])?;
/// let p = Tensor::from_slice(&device, &[1.0f32], &[1, 1])?;
/// let y: Vec<Complex32> = leading_resolvent(&d, &p)?.read()?;
/// let first = Complex32::new(2.0, -1.0).inv();
/// assert!((y[0] - first).norm() < 1e-6);
/// assert!((y[1] - (Complex32::new(2.0, -1.0) - first).inv()).norm() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn leading_resolvent(d: &Tensor, p: &Tensor) -> Result<Tensor> {
    let plan = plan(OP, "d", d, p)?;
    let y = Tensor::empty(d.device(), d.dtype(), true, d.shape())?;
    leading_launch(d.device().client(), [d.handle(), p.handle(), y.handle()], &plan)?;
    Ok(y)
}

/// The gradients `[∂d, ∂p]` of [`leading_resolvent`] from its result `y` and the gradient `g` of that:
/// exact, in `O(n)`, of the shapes of `d` and `p`, `∂ℓ/∂Re + i ∂ℓ/∂Im` for `d`.
///
/// # Errors
/// As [`leading_resolvent`].
pub fn leading_resolvent_vjp(p: &Tensor, y: &Tensor, g: &Tensor) -> Result<[Tensor; 2]> {
    let plan = plan(VJP, "y", y, p)?;
    contiguous(VJP, "g", g, true)?;
    y.check_same(VJP, "g", g)?;
    if g.shape() != y.shape() {
        let (expected, found) = (y.shape().to_vec(), g.shape().to_vec());
        return Err(Error::Shape { op: VJP, argument: "g", expected, found });
    }
    let device = y.device();
    let by_d = Tensor::empty(device, y.dtype(), true, y.shape())?;
    let by_p = Tensor::empty(device, y.dtype(), false, p.shape())?;
    let gradients = [by_d.handle(), by_p.handle()];
    leading_vjp_launch(device.client(), [p.handle(), y.handle(), g.handle()], gradients, &plan)?;
    Ok([by_d, by_p])
}

fn contiguous(op: &'static str, argument: &'static str, x: &Tensor, complex: bool) -> Result<()> {
    x.check_complex(op, argument, complex)?;
    x.check_contiguous(op, argument)
}

/// The plan for a complex tensor `[…, n]` and products `[…, n − 1]`.
fn plan(op: &'static str, argument: &'static str, x: &Tensor, p: &Tensor) -> Result<LeadingPlan> {
    let axis = x.layout().axis(op, -1)?;
    contiguous(op, argument, x, true)?;
    contiguous(op, "p", p, false)?;
    x.check_same(op, "p", p)?;
    let n = x.shape()[axis];
    let mut expected = x.shape().to_vec();
    expected[axis] = n.saturating_sub(1);
    if p.shape() != expected {
        return Err(Error::Shape { op, argument: "p", expected, found: p.shape().to_vec() });
    }
    let rows = x.shape()[..axis].iter().product();
    LeadingPlan::new(op, rows, n, x.dtype(), x.device().limits())
}
