//! Fourier transforms of device tensors, with their gradients.
//!
//! Forward `X[k] = s Σ_n x[n] e^{−2πi nk/N}`, inverse with `+`; the factor `s` is that of
//! [`Normalization`]. Axes count from the end if negative. Inputs may have any strides. Gradients of
//! complex tensors are `∂ℓ/∂Re + i ∂ℓ/∂Im`, so the gradient of a linear map is its adjoint.

use wavecube_core::{
    Error, Layout, Result,
    fft::{Direction, Normalization},
};
use wavecube_kernels::fft::{FftBindings, FftPlan, FftProblem, Kind, Strategy, fft_launch};

use crate::Tensor;

/// The transform of a complex tensor along `axis`.
///
/// # Errors
/// [`Error::Dtype`] for a real tensor, [`Error::Axis`] if there is no such axis, [`Error::Length`] if
/// it is empty, [`Error::Limit`] if it is longer than the device allows.
///
/// ```
/// use wavecube::{Complex32, Device, Normalization, Tensor, fft};
/// let device = Device::best()?;
/// let impulse = [Complex32::new(1.0, 0.0), Complex32::ZERO, Complex32::ZERO];
/// let x = Tensor::from_slice(&device, &impulse, &[3])?;
/// let y: Vec<Complex32> = fft(&x, -1, Normalization::Backward)?.read()?;
/// assert!(y.iter().all(|v| (v - Complex32::new(1.0, 0.0)).norm() < 1e-6));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn fft(x: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2c(x, axis, Direction::Forward, norm)
}

/// The inverse transform of a complex tensor along `axis`.
///
/// # Errors
/// As [`fft`].
pub fn ifft(x: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2c(x, axis, Direction::Inverse, norm)
}

/// The gradient of [`fft`] with respect to its input, from the gradient `g` of its output.
///
/// # Errors
/// As [`fft`].
pub fn fft_vjp(g: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2c(g, axis, Direction::Inverse, norm.adjoint())
}

/// The gradient of [`ifft`] with respect to its input.
///
/// # Errors
/// As [`fft`].
pub fn ifft_vjp(g: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2c(g, axis, Direction::Forward, norm.adjoint())
}

/// [`fft`] or [`ifft`] with its result in the memory of its input.
///
/// # Errors
/// As [`fft`]; [`Error::Strides`] if two elements of the tensor share a place.
pub fn fft_in_place(
    x: &mut Tensor,
    axis: isize,
    direction: Direction,
    norm: Normalization,
) -> Result<()> {
    let problem = c2c_problem(x, axis, direction, norm)?;
    run(&problem, x, x)
}

/// [`fft`] or [`ifft`] into a tensor that exists: of the input's shape, any strides, apart from the
/// input or the very same elements.
///
/// # Errors
/// As [`fft`]; [`Error::Shape`] for another shape; [`Error::Overlap`] if the memory of both meets
/// without being the same; [`Error::Strides`] if two elements of the output share a place.
pub fn fft_into(
    x: &Tensor,
    output: &mut Tensor,
    axis: isize,
    direction: Direction,
    norm: Normalization,
) -> Result<()> {
    output.check_complex("fft", "output", true)?;
    x.check_same("fft", "output", output)?;
    let problem =
        FftProblem { output: output.layout().clone(), ..c2c_problem(x, axis, direction, norm)? };
    run(&problem, x, output)
}

/// [`fft`] along several axes, one after the other.
///
/// # Errors
/// As [`fft`]; [`Error::Unsupported`] if an axis is named twice.
pub fn fftn(
    x: &Tensor,
    axes: &[isize],
    direction: Direction,
    norm: Normalization,
) -> Result<Tensor> {
    let mut named = Vec::new();
    for &axis in axes {
        named.push(x.layout().axis("fftn", axis)?);
    }
    named.sort_unstable();
    named.dedup();
    let Some((&first, rest)) = axes.split_first().filter(|_| named.len() == axes.len()) else {
        return Err(Error::Unsupported {
            op: "fftn",
            argument: "axes",
            reason: "name at least one axis, and every axis once",
        });
    };
    let mut y = c2c(x, first, direction, norm)?;
    for &axis in rest {
        fft_in_place(&mut y, axis, direction, norm)?;
    }
    Ok(y)
}

/// The `n/2 + 1` non-negative frequencies of a real tensor along `axis`, where `n` is its length.
///
/// # Errors
/// As [`fft`], with [`Error::Dtype`] for a complex tensor.
pub fn rfft(x: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    r2c("rfft", x, axis, norm, false)
}

/// The real tensor of length `n` along `axis` whose [`rfft`] the input is. The imaginary part of bin
/// 0 and, for even `n`, of the last bin has no effect.
///
/// # Errors
/// As [`fft`]; [`Error::Shape`] if the axis has not `n/2 + 1` elements.
pub fn irfft(x: &Tensor, n: usize, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2r("irfft", x, n, axis, norm, false)
}

/// The gradient of [`rfft`] of a real tensor of length `n`, from the gradient of its output.
///
/// # Errors
/// As [`irfft`].
pub fn rfft_vjp(g: &Tensor, n: usize, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2r("rfft_vjp", g, n, axis, norm.adjoint(), true)
}

/// The gradient of [`irfft`], from the real gradient of its output.
///
/// # Errors
/// As [`rfft`].
pub fn irfft_vjp(g: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    r2c("irfft_vjp", g, axis, norm.adjoint(), true)
}

/// The definition, `O(N²)`, on the device: a baseline for benchmarks and a cross-check.
///
/// # Errors
/// As [`fft`].
pub fn dft_naive(
    x: &Tensor,
    axis: isize,
    direction: Direction,
    norm: Normalization,
) -> Result<Tensor> {
    let problem =
        FftProblem { strategy: Strategy::Naive, ..c2c_problem(x, axis, direction, norm)? };
    allocate_and_run(&problem, x, true)
}

fn c2c(x: &Tensor, axis: isize, direction: Direction, norm: Normalization) -> Result<Tensor> {
    allocate_and_run(&c2c_problem(x, axis, direction, norm)?, x, true)
}

fn c2c_problem(
    x: &Tensor,
    axis: isize,
    direction: Direction,
    norm: Normalization,
) -> Result<FftProblem> {
    x.check_complex("fft", "input", true)?;
    let along = x.layout().axis("fft", axis)?;
    Ok(FftProblem {
        kind: Kind::C2C,
        n_fft: x.shape()[along],
        direction,
        norm,
        axis,
        dtype: x.dtype(),
        input: x.layout().clone(),
        output: x.layout().clone(),
        strategy: Strategy::Auto,
    })
}

fn r2c(
    op: &'static str,
    x: &Tensor,
    axis: isize,
    norm: Normalization,
    doubled: bool,
) -> Result<Tensor> {
    x.check_complex(op, "input", false)?;
    let n_fft = x.shape()[x.layout().axis(op, axis)?];
    let direction = Direction::Forward;
    let problem =
        real_problem(x, Kind::R2C { doubled }, n_fft, n_fft / 2 + 1, axis, direction, norm)?;
    allocate_and_run(&problem, x, true)
}

fn c2r(
    op: &'static str,
    x: &Tensor,
    n: usize,
    axis: isize,
    norm: Normalization,
    halved: bool,
) -> Result<Tensor> {
    x.check_complex(op, "input", true)?;
    let direction = Direction::Inverse;
    let problem = real_problem(x, Kind::C2R { halved }, n, n, axis, direction, norm)?;
    allocate_and_run(&problem, x, false)
}

fn real_problem(
    x: &Tensor,
    kind: Kind,
    n_fft: usize,
    output_len: usize,
    axis: isize,
    direction: Direction,
    norm: Normalization,
) -> Result<FftProblem> {
    let along = x.layout().axis("fft", axis)?;
    let mut shape = x.shape().to_vec();
    shape[along] = output_len;
    Ok(FftProblem {
        kind,
        n_fft,
        direction,
        norm,
        axis,
        dtype: x.dtype(),
        input: x.layout().clone(),
        output: Layout::contiguous(&shape),
        strategy: Strategy::Auto,
    })
}

fn allocate_and_run(problem: &FftProblem, x: &Tensor, complex: bool) -> Result<Tensor> {
    let output = Layout::contiguous(problem.output.shape());
    let problem = FftProblem { output, ..problem.clone() };
    // Reject before allocating: the plan checks every argument.
    x.device().plan(&problem)?;
    let y = Tensor::empty(x.device(), x.dtype(), complex, problem.output.shape())?;
    run(&problem, x, &y)?;
    Ok(y)
}

fn run(problem: &FftProblem, x: &Tensor, y: &Tensor) -> Result<()> {
    let plan = x.device().plan(problem)?;
    if x.overlaps(y) && !(plan.in_place() && x.layout() == y.layout()) {
        return Err(Error::Overlap { op: "fft", first: "input", second: "output" });
    }
    enqueue(&plan, x, y, Vec::new())
}

/// Launches a plan on tensors that it was made for.
pub(crate) fn enqueue(
    plan: &FftPlan,
    x: &Tensor,
    y: &Tensor,
    bound: Vec<cubecl::server::Handle>,
) -> Result<()> {
    let device = x.device();
    let bindings = FftBindings {
        input: x.handle().clone(),
        output: y.handle().clone(),
        tables: device.tables(plan),
        bound,
    };
    fft_launch(device.client(), &bindings, plan)
}
