//! Linear maps of complex channels.

use wavecube_core::{Error, Layout, Result};
use wavecube_kernels::{
    lct::{DenseBindings, DensePlan, DenseProblem, dense_launch, upload_real},
    mixing::{OuterPlan, outer_launch},
};

use crate::{
    Tensor,
    sum::{sum_plan, summed},
};

/// A product with a dense matrix, as it is stored or conjugate-transposed, along `axis`.
struct Product<'a> {
    op: &'static str,
    /// `[rows, columns]`, contiguous, real or complex.
    matrix: &'a Tensor,
    adjoint: bool,
    axis: isize,
}

impl Product<'_> {
    /// Into `output`, the layout of a fresh tensor of the shape `shape`.
    fn run(&self, x: &Tensor, output: &Layout, shape: &[usize]) -> Result<Tensor> {
        let Self { op, matrix, adjoint, axis } = *self;
        let problem = DenseProblem {
            op,
            matrix: [matrix.shape()[0], matrix.shape()[1]],
            complex: matrix.is_complex(),
            transposed: adjoint,
            conjugate: adjoint,
            before: false,
            after: false,
            axis,
            dtype: x.dtype(),
            input: x.layout().clone(),
            output: output.clone(),
        };
        let plan = DensePlan::new(&problem, x.device().limits())?;
        let y = Tensor::empty(x.device(), x.dtype(), true, shape)?;
        let bindings = DenseBindings {
            input: x.handle().clone(),
            output: y.handle().clone(),
            matrix: matrix.handle().clone(),
            before: None,
            after: None,
        };
        dense_launch(x.device().client(), &bindings, &plan)?;
        Ok(y)
    }
}

/// Accepts a complex tensor in `f32` or `f64`.
fn check_linear(op: &'static str, argument: &'static str, x: &Tensor) -> Result<()> {
    x.check_complex(op, argument, true)?;
    if x.dtype() == x.dtype().compute() {
        return Ok(());
    }
    let expected = "f32 or f64";
    Err(Error::Dtype { op, argument, expected, found: x.dtype() })
}

/// Accepts the matrix `w` (`[outputs, inputs]`) of a linear map of `x` (`[…, inputs]`).
fn check_map(op: &'static str, x: &Tensor, w: &Tensor) -> Result<()> {
    check_linear(op, "x", x)?;
    check_linear(op, "w", w)?;
    x.check_same(op, "w", w)?;
    w.check_contiguous(op, "w")?;
    let inputs = x.shape()[x.layout().axis(op, -1)?];
    if w.shape().len() == 2 && w.shape()[1] == inputs {
        return Ok(());
    }
    let expected = vec![w.shape().first().copied().unwrap_or(1), inputs];
    Err(Error::Shape { op, argument: "w", expected, found: w.shape().to_vec() })
}

fn with_last(shape: &[usize], len: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = len;
    }
    shape
}

/// `y_o = Σ_i w_{oi} x_i` over the last axis: a linear map of complex channels, four real products in one pass.
///
/// `x`: complex, `[…, inputs]`, any strides; `w`: complex, `[outputs, inputs]`, contiguous; both `f32` or `f64`.
///
/// # Errors
/// [`Error::Dtype`] for real operands, 16 bits or types that differ, [`Error::Shape`] if the shapes do not belong
/// together, [`Error::Strides`] for a `w` with strides, [`Error::Length`] for no inputs or no outputs,
/// [`Error::Axis`] for an `x` without an axis, [`Error::Limit`] if the device has no room.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, complex_linear};
/// let device = Device::best()?;
/// let i = Complex32::I;
/// let x = Tensor::from_slice(&device, &[Complex32::ONE, i], &[1, 2])?;
/// let w = Tensor::from_slice(&device, &[i, Complex32::ONE], &[1, 2])?;
/// let y: Vec<Complex32> = complex_linear(&x, &w)?.read()?;
/// assert!((y[0] - 2.0 * i).norm() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn complex_linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    const OP: &str = "complex_linear";
    check_map(OP, x, w)?;
    let shape = with_last(x.shape(), w.shape()[0]);
    let product = Product { op: OP, matrix: w, adjoint: false, axis: -1 };
    product.run(x, &Layout::contiguous(&shape), &shape)
}

/// `Σ g xᴴ` over all lines, `[outputs, inputs]`, of `x` (`[…, inputs]`, real or complex) and `g` (`[…, outputs]`, complex),
/// contiguous both.
pub(super) fn outer(op: &'static str, x: &Tensor, g: &Tensor) -> Result<Tensor> {
    let length = |tensor: &Tensor| tensor.shape().last().copied().unwrap_or(1);
    let [outputs, inputs] = [length(g), length(x)];
    let lines = x.shape()[..x.shape().len() - 1].iter().product();
    let (device, dtype) = (x.device(), x.dtype());
    if lines == 0 {
        let zeros = upload_real(device.client(), &vec![0.0; 2 * outputs * inputs], dtype);
        let layout = Layout::contiguous(&[outputs, inputs]);
        return Tensor::from_handle(device, zeros, dtype, true, layout);
    }
    let sizes = [lines, inputs, outputs];
    let plan = OuterPlan::new(op, sizes, x.is_complex(), dtype, device.limits())?;
    let sums = Tensor::empty(device, dtype, true, &[plan.shares, outputs, inputs])?;
    let total = sum_plan(op, &sums, &[1, outputs, inputs])?;
    outer_launch(device.client(), [x.handle(), g.handle()], sums.handle(), &plan)?;
    summed(&sums, total, &[outputs, inputs])
}

/// The gradients `[∂x, ∂w]` of [`complex_linear`] from the gradient `g` of its result:
/// `∂x = wᴴ g`, `∂w = Σ g xᴴ` over all lines. `x` and `g` contiguous.
///
/// # Errors
/// As [`complex_linear`]; [`Error::Strides`] for an `x` or a `g` with strides.
pub fn complex_linear_vjp(x: &Tensor, w: &Tensor, g: &Tensor) -> Result<[Tensor; 2]> {
    const OP: &str = "complex_linear_vjp";
    check_map(OP, x, w)?;
    check_linear(OP, "g", g)?;
    x.check_same(OP, "g", g)?;
    x.check_contiguous(OP, "x")?;
    g.check_contiguous(OP, "g")?;
    let outputs = w.shape()[0];
    let expected = with_last(x.shape(), outputs);
    if g.shape() != expected {
        return Err(Error::Shape { op: OP, argument: "g", expected, found: g.shape().to_vec() });
    }
    let by_w = outer(OP, x, g)?;
    let by_x = Product { op: OP, matrix: w, adjoint: true, axis: -1 };
    let by_x = by_x.run(g, &Layout::contiguous(x.shape()), x.shape())?;
    Ok([by_x, by_w])
}
