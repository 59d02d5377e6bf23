//! Fourier transforms of device tensors, with their gradients.
//!
//! Forward `X[k] = s Σ_n x[n] e^{−2πi nk/N}`, inverse with `+`; the factor `s` is that of
//! [`Normalization`]. Axes count from the end if negative. Inputs may have any strides. Gradients of
//! complex tensors are `∂ℓ/∂Re + i ∂ℓ/∂Im`, so the gradient of a linear map is its adjoint.
//!
//! # What is not finite, and scale
//! Every line is transformed by itself.
//!
//! | in a line | gives |
//! |---|---|
//! | NaN, an infinity | NaN or an infinity wherever the element has an effect, which is the whole line in general; the other lines to the bit what they were |
//! | anything in the imaginary part of bin 0, and for even `n` of the last bin, for [`irfft`] and [`rfft_vjp`] | no effect, to the bit |
//! | a real signal, for [`rfft`] and [`irfft_vjp`] | an imaginary part of 0 in these bins |
//! | numbers of any normal size | the relative error of any other size. Factors are taken on the way in; a Vulkan driver may take them out of the sums again (Mesa does), and then `n` times the largest has to be a number |

use wavecube_core::{
    Error, Layout, Result,
    fft::{Direction, Normalization},
};
use wavecube_kernels::fft::{FftBindings, FftPlan, FftProblem, Kind, Strategy, fft_launch};

use crate::{
    Tensor,
    call::{GRADIENT, GRADIENT_OF_N, SIGNAL, SPECTRUM, of_call},
};

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
    c2c(x, axis, Direction::Forward, norm).map_err(of_call("fft", SIGNAL))
}

/// The inverse transform of a complex tensor along `axis`.
///
/// # Errors
/// As [`fft`].
///
/// ```
/// use wavecube::{Complex32, Device, Normalization, Tensor, fft, ifft};
/// let device = Device::best()?;
/// let signal: Vec<Complex32> = (0..10).map(|i| Complex32::new(i as f32, 1.0)).collect();
/// let x = Tensor::from_slice(&device, &signal, &[10])?;
/// let norm = Normalization::Backward; // 1/n on the way back
/// let back: Vec<Complex32> = ifft(&fft(&x, -1, norm)?, -1, norm)?.read()?;
/// assert!(back.iter().zip(&signal).all(|(a, b)| (a - b).norm() < 1e-5));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn ifft(x: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2c(x, axis, Direction::Inverse, norm).map_err(of_call("ifft", SIGNAL))
}

/// The gradient of [`fft`] with respect to its input, from the gradient `g` of its output.
///
/// # Errors
/// As [`fft`].
///
/// ```
/// use wavecube::{Complex32, Device, Normalization, Tensor, fft, fft_vjp};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(3.0, -4.0); 6], &[6])?;
/// // Of the loss ½‖y‖² the gradient at y is y; with the unitary norm it comes back as x.
/// let y = fft(&x, -1, Normalization::Ortho)?;
/// let gradient: Vec<Complex32> = fft_vjp(&y, -1, Normalization::Ortho)?.read()?;
/// assert!(gradient.iter().all(|v| (v - Complex32::new(3.0, -4.0)).norm() < 1e-5));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn fft_vjp(g: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2c(g, axis, Direction::Inverse, norm.adjoint()).map_err(of_call("fft_vjp", GRADIENT))
}

/// The gradient of [`ifft`] with respect to its input.
///
/// # Errors
/// As [`fft`].
pub fn ifft_vjp(g: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2c(g, axis, Direction::Forward, norm.adjoint()).map_err(of_call("ifft_vjp", GRADIENT))
}

/// [`fft`] or [`ifft`] with its result in the memory of its input.
///
/// # Errors
/// As [`fft`]; [`Error::Strides`] if two elements of the tensor share a place.
///
/// ```
/// use wavecube::{Complex32, Device, Direction, Normalization, Tensor, fft_in_place};
/// let device = Device::best()?;
/// let mut x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 8], &[8])?;
/// fft_in_place(&mut x, -1, Direction::Forward, Normalization::Forward)?;
/// let y: Vec<Complex32> = x.read()?;
/// assert!((y[0] - Complex32::new(1.0, 0.0)).norm() < 1e-6 && y[1].norm() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn fft_in_place(
    x: &mut Tensor,
    axis: isize,
    direction: Direction,
    norm: Normalization,
) -> Result<()> {
    let call = || run(&c2c_problem(x, axis, direction, norm)?, x, x);
    // What is wrong with the output is wrong with the one operand.
    let names = &[("input", "x"), ("n_fft", "x"), ("output", "x")];
    call().map_err(of_call("fft_in_place", names))
}

/// [`fft`] or [`ifft`] into a tensor that exists: of the input's shape, any strides, apart from the
/// input or the very same elements.
///
/// # Errors
/// As [`fft`]; [`Error::Shape`] for another shape; [`Error::Overlap`] if the memory of both meets
/// without being the same; [`Error::Strides`] if two elements of the output share a place.
///
/// ```
/// use wavecube::{Complex32, Device, Direction, Dtype, Normalization, Tensor, fft_into};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 12], &[3, 4])?;
/// // The spectra as columns: any strides will do for the output.
/// let columns = Tensor::empty(&device, Dtype::F32, true, &[4, 3])?;
/// let mut rows = columns.permuted(&[1, 0])?;
/// fft_into(&x, &mut rows, -1, Direction::Forward, Normalization::Backward)?;
/// let y: Vec<Complex32> = columns.read()?;
/// assert!((y[2] - Complex32::new(4.0, 0.0)).norm() < 1e-6 && y[3].norm() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn fft_into(
    x: &Tensor,
    output: &mut Tensor,
    axis: isize,
    direction: Direction,
    norm: Normalization,
) -> Result<()> {
    let call = || {
        output.check_complex("fft", "output", true)?;
        x.check_same("fft", "output", output)?;
        let problem = c2c_problem(x, axis, direction, norm)?;
        run(&FftProblem { output: output.layout().clone(), ..problem }, x, output)
    };
    call().map_err(of_call("fft_into", SIGNAL))
}

/// [`fft`] along several axes, one after the other.
///
/// # Errors
/// As [`fft`]; [`Error::Unsupported`] if an axis is named twice.
///
/// ```
/// use wavecube::{Complex32, Device, Direction, Normalization, Tensor, fftn};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 12], &[3, 4])?;
/// let y = fftn(&x, &[0, 1], Direction::Forward, Normalization::Backward)?;
/// assert!((y.read::<Complex32>()?[0] - Complex32::new(12.0, 0.0)).norm() < 1e-5);
/// # Ok::<(), wavecube::Error>(())
/// ```
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
    let in_call = of_call("fftn", SIGNAL);
    let mut y = c2c(x, first, direction, norm).map_err(&in_call)?;
    for &axis in rest {
        fft_in_place(&mut y, axis, direction, norm).map_err(&in_call)?;
    }
    Ok(y)
}

/// The gradient of [`fftn`] with respect to its input.
///
/// # Errors
/// As [`fftn`].
pub fn fftn_vjp(
    g: &Tensor,
    axes: &[isize],
    direction: Direction,
    norm: Normalization,
) -> Result<Tensor> {
    fftn(g, axes, direction.reversed(), norm.adjoint()).map_err(of_call("fftn_vjp", GRADIENT))
}

/// The `n/2 + 1` non-negative frequencies of a real tensor along `axis`, where `n` is its length. The imaginary part
/// of bin 0 and, for even `n`, of the last bin is zero.
///
/// # Errors
/// As [`fft`], with [`Error::Dtype`] for a complex tensor.
///
/// ```
/// use wavecube::{Complex32, Device, Normalization, Tensor, irfft, rfft};
/// let device = Device::best()?;
/// let signal: Vec<f32> = (0..9).map(|i| (i * i) as f32).collect();
/// let x = Tensor::from_slice(&device, &signal, &[9])?;
/// let spectrum = rfft(&x, -1, Normalization::Backward)?;
/// assert_eq!(spectrum.read::<Complex32>()?.len(), 5);
/// let back: Vec<f32> = irfft(&spectrum, 9, -1, Normalization::Backward)?.read()?;
/// assert!(back.iter().zip(&signal).all(|(a, b)| (a - b).abs() < 1e-4));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn rfft(x: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    r2c(x, axis, norm, false).map_err(of_call("rfft", SIGNAL))
}

/// The real tensor of length `n` along `axis` whose [`rfft`] the input is. The imaginary part of bin
/// 0 and, for even `n`, of the last bin has no effect, whatever it is.
///
/// # Errors
/// As [`fft`]; [`Error::Shape`] if the axis has not `n/2 + 1` elements.
///
/// ```
/// use wavecube::{Complex32, Device, Normalization, Tensor, irfft};
/// let device = Device::best()?;
/// // A constant has one bin.
/// let bins = [Complex32::new(6.0, 0.0), Complex32::ZERO, Complex32::ZERO, Complex32::ZERO];
/// let spectrum = Tensor::from_slice(&device, &bins, &[4])?;
/// let y: Vec<f32> = irfft(&spectrum, 6, -1, Normalization::Backward)?.read()?;
/// assert!(y.iter().all(|v| (v - 1.0).abs() < 1e-6));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn irfft(x: &Tensor, n: usize, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2r(x, n, axis, norm, false).map_err(of_call("irfft", SPECTRUM))
}

/// The gradient of [`rfft`] of a real tensor of length `n`, from the gradient of its output, whose imaginary part in bin
/// 0 and, for even `n`, the last bin has no effect.
///
/// # Errors
/// As [`irfft`].
pub fn rfft_vjp(g: &Tensor, n: usize, axis: isize, norm: Normalization) -> Result<Tensor> {
    c2r(g, n, axis, norm.adjoint(), true).map_err(of_call("rfft_vjp", GRADIENT_OF_N))
}

/// The gradient of [`irfft`], from the real gradient of its output: zero for the imaginary parts without effect.
///
/// # Errors
/// As [`rfft`].
pub fn irfft_vjp(g: &Tensor, axis: isize, norm: Normalization) -> Result<Tensor> {
    r2c(g, axis, norm.adjoint(), true).map_err(of_call("irfft_vjp", GRADIENT))
}

/// The definition, `O(N²)`, on the device: a baseline for benchmarks and a cross-check.
///
/// # Errors
/// As [`fft`].
///
/// ```
/// use wavecube::{Complex32, Device, Direction, Normalization, Tensor, dft_naive, fft};
/// let device = Device::best()?;
/// let signal: Vec<Complex32> = (0..20).map(|i| Complex32::new(i as f32, 1.0)).collect();
/// let x = Tensor::from_slice(&device, &signal, &[20])?;
/// let norm = Normalization::Ortho;
/// let slow: Vec<Complex32> = dft_naive(&x, -1, Direction::Forward, norm)?.read()?;
/// let fast: Vec<Complex32> = fft(&x, -1, norm)?.read()?;
/// assert!(slow.iter().zip(&fast).all(|(a, b)| (a - b).norm() < 1e-3));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn dft_naive(
    x: &Tensor,
    axis: isize,
    direction: Direction,
    norm: Normalization,
) -> Result<Tensor> {
    let call = || {
        let problem = c2c_problem(x, axis, direction, norm)?;
        allocate_and_run(&FftProblem { strategy: Strategy::Naive, ..problem }, x, true)
    };
    call().map_err(of_call("dft_naive", SIGNAL))
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

fn r2c(x: &Tensor, axis: isize, norm: Normalization, doubled: bool) -> Result<Tensor> {
    x.check_complex("fft", "input", false)?;
    let n_fft = x.shape()[x.layout().axis("fft", axis)?];
    let direction = Direction::Forward;
    let problem =
        real_problem(x, Kind::R2C { doubled }, n_fft, n_fft / 2 + 1, axis, direction, norm)?;
    allocate_and_run(&problem, x, true)
}

fn c2r(x: &Tensor, n: usize, axis: isize, norm: Normalization, halved: bool) -> Result<Tensor> {
    x.check_complex("fft", "input", true)?;
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
