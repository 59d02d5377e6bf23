//! How every transform of this family reaches the device.

use std::sync::Arc;

use cubecl::{client::Client, server::Handle};
use wavecube_core::{Complex64, Dtype, Error, Layout, Result, lct::chirp_generator};
use wavecube_kernels::{
    fft::FftPlan,
    lct::{
        DenseBindings, DensePlan, DenseProblem, LctBindings, LctPlan, LctProblem, Moment,
        MomentPlan, Program, Resident, Stage, Step, dense_launch, lct_launch, moments_launch,
        upload_complex,
    },
};

use super::cache::{Key, Loaded};
use crate::{
    Device, Tensor,
    call::{SIGNAL, of_call},
};

/// The axis and its length, which must not be 0, of a complex tensor.
pub(super) fn complex_axis(op: &'static str, x: &Tensor, axis: isize) -> Result<(usize, usize)> {
    x.check_complex(op, "x", true)?;
    x.device().limits().check_dtype(op, "x", x.dtype())?;
    length_of(op, x, axis)
}

pub(crate) fn length_of(op: &'static str, x: &Tensor, axis: isize) -> Result<(usize, usize)> {
    let along = x.layout().axis(op, axis)?;
    let n = x.shape()[along];
    if n == 0 {
        return Err(Error::Length { op, argument: "x", expected: "at least 1", found: 0 });
    }
    check_line(op, x, n)?;
    Ok((along, n))
}

/// Accepts lines of `n` points that fit a buffer. Strides of zero make lines of any length out of nothing,
/// and their tables would be made on the host before any plan could refuse them.
pub(super) fn check_line(op: &'static str, x: &Tensor, n: usize) -> Result<()> {
    let bytes = (n as u64).saturating_mul(2 * x.dtype().compute().size() as u64);
    x.device().limits().check_buffer(op, bytes)
}

fn plan_of(device: &Device, problem: LctProblem) -> Result<Arc<LctPlan>> {
    if let Some(plan) = device.lct().plan(&problem) {
        return Ok(plan);
    }
    let plan = Arc::new(LctPlan::new(&problem, device.limits())?);
    device.lct().keep_plan(problem, &plan);
    Ok(plan)
}

/// Runs a program on every line of a complex tensor: the one that is kept for this operation, this length
/// and these `values`, or the one that `build` makes for the length. All that its tables depend on has to be
/// in `values`.
pub(super) fn run(
    op: &'static str,
    x: &Tensor,
    axis: isize,
    values: &[f64],
    build: impl FnOnce(usize) -> Result<Program>,
) -> Result<Tensor> {
    let (plan, loaded) = prepared(op, x, None, axis, values, build).map_err(of_call(op, SIGNAL))?;
    let mut shape = x.shape().to_vec();
    shape[x.layout().axis(op, axis)?] = loaded.output_len;
    let y = Tensor::empty(x.device(), x.dtype(), true, &shape)?;
    launch(&plan, x, &y, loaded.resident.clone())?;
    Ok(y)
}

/// [`run`] into a tensor that [`check_output`] has accepted.
pub(super) fn run_into(
    op: &'static str,
    x: &Tensor,
    output: &Tensor,
    axis: isize,
    values: &[f64],
    build: impl FnOnce(usize) -> Result<Program>,
) -> Result<()> {
    let (plan, loaded) =
        prepared(op, x, Some(output), axis, values, build).map_err(of_call(op, SIGNAL))?;
    launch(&plan, x, output, loaded.resident.clone())
}

/// Accepts an output of the input's shape, type and device, apart from it, with a place for every element.
pub(super) fn check_output(op: &'static str, x: &Tensor, output: &Tensor) -> Result<()> {
    x.check_complex(op, "x", true)?;
    output.check_complex(op, "output", true)?;
    x.check_same(op, "output", output)?;
    if x.shape() != output.shape() {
        return Err(Error::Shape {
            op,
            argument: "output",
            expected: x.shape().to_vec(),
            found: output.shape().to_vec(),
        });
    }
    if !output.layout().is_injective() {
        return Err(Error::Strides {
            op,
            argument: "output",
            expected: "give every element a place of its own",
            found: output.layout().strides().to_vec(),
        });
    }
    if x.overlaps(output) {
        return Err(Error::Overlap { op, first: "x", second: "output" });
    }
    Ok(())
}

/// The plan and the tables of a program, into `output` or a contiguous tensor that is still to be made.
fn prepared(
    op: &'static str,
    x: &Tensor,
    output: Option<&Tensor>,
    axis: isize,
    values: &[f64],
    build: impl FnOnce(usize) -> Result<Program>,
) -> Result<(Arc<LctPlan>, Arc<Loaded>)> {
    let (along, n) = complex_axis(op, x, axis)?;
    let key = Key::new(op, n, values, x.dtype());
    let device = x.device();
    let problem = |stages: &[Stage], output_len: usize| {
        let mut shape = x.shape().to_vec();
        shape[along] = output_len;
        LctProblem {
            op,
            stages: stages.to_vec(),
            axis,
            dtype: x.dtype(),
            input: x.layout().clone(),
            output: output.map_or_else(|| Layout::contiguous(&shape), |y| y.layout().clone()),
            real_input: false,
            real_output: false,
        }
    };
    if let Some(loaded) = device.lct().program(&key) {
        return Ok((plan_of(device, problem(&loaded.stages, loaded.output_len))?, loaded));
    }
    // Everything is checked before the first byte goes to the device.
    let program = build(n)?;
    let plan = plan_of(device, problem(&program.stages, program.output_len))?;
    let resident = Resident::upload(device.client(), &program, x.dtype().compute());
    let bytes = program.bytes() * x.dtype().compute().size() / 4;
    let Program { stages, output_len, .. } = program;
    let loaded = Arc::new(Loaded { stages, output_len, resident });
    device.lct().keep_program(key, &loaded, bytes);
    Ok((plan, loaded))
}

/// Enqueues a plan on tensors that it was made for.
pub(crate) fn launch(plan: &LctPlan, x: &Tensor, y: &Tensor, resident: Resident) -> Result<()> {
    let device = x.device();
    let tables = |step: &Step| match step {
        Step::Transform(fft) => fft_tables(device, fft),
        Step::Pointwise(_) => Vec::new(),
    };
    let bindings = LctBindings {
        input: x.handle().clone(),
        output: y.handle().clone(),
        tables: plan.steps.iter().map(tables).collect(),
        resident,
    };
    lct_launch(device.client(), &bindings, plan)
}

fn fft_tables(device: &Device, plan: &FftPlan) -> Vec<Handle> {
    device.tables(plan)
}

/// A dense matrix on the device.
pub(super) struct Matrix {
    pub(super) handle: Handle,
    /// Rows and columns as stored.
    pub(super) shape: [usize; 2],
    pub(super) complex: bool,
}

/// The square matrix that is kept under `recipe` and `values`, or the one that `upload` makes: its
/// entries, real or complex, in the compute type of `x`.
pub(super) fn kept_matrix(
    op: &'static str,
    x: &Tensor,
    (recipe, values): (&'static str, &[f64]),
    n: usize,
    complex: bool,
    upload: impl FnOnce(&Client, Dtype) -> Result<Handle>,
) -> Result<Matrix> {
    let (device, compute) = (x.device(), x.dtype().compute());
    let key = Key::new(recipe, n, values, compute);
    if let Some(handle) = device.lct().matrix(&key) {
        return Ok(Matrix { handle, shape: [n, n], complex });
    }
    let element = compute.size() as u64 * if complex { 2 } else { 1 };
    let bytes = (n as u64).saturating_mul(n as u64).saturating_mul(element);
    device.limits().check_buffer(op, bytes)?;
    let handle = upload(device.client(), compute)?;
    device.lct().keep_matrix(key, &handle);
    Ok(Matrix { handle, shape: [n, n], complex })
}

/// How a dense matrix is applied.
#[derive(Clone, Copy, Default)]
pub(super) struct Applied<'a> {
    pub(super) transposed: bool,
    pub(super) conjugate: bool,
    pub(super) before: Option<&'a [Complex64]>,
    pub(super) after: Option<&'a [Complex64]>,
}

/// The product of a dense matrix with every line.
pub(super) fn dense(
    op: &'static str,
    x: &Tensor,
    axis: isize,
    matrix: &Matrix,
    how: Applied<'_>,
) -> Result<Tensor> {
    let (along, _) = complex_axis(op, x, axis)?;
    let mut shape = x.shape().to_vec();
    shape[along] = matrix.shape[usize::from(how.transposed)];
    let plan = dense_plan(op, x, &Layout::contiguous(&shape), axis, matrix, how)?;
    let y = Tensor::empty(x.device(), x.dtype(), true, &shape)?;
    launch_dense(x, &y, matrix, how, &plan)?;
    Ok(y)
}

/// [`dense`] into a tensor apart from the input.
pub(super) fn dense_into(
    op: &'static str,
    x: &Tensor,
    output: &Tensor,
    axis: isize,
    matrix: &Matrix,
    how: Applied<'_>,
) -> Result<()> {
    let plan = dense_plan(op, x, output.layout(), axis, matrix, how)?;
    launch_dense(x, output, matrix, how, &plan)
}

fn dense_plan(
    op: &'static str,
    x: &Tensor,
    output: &Layout,
    axis: isize,
    matrix: &Matrix,
    how: Applied<'_>,
) -> Result<DensePlan> {
    let problem = DenseProblem {
        op,
        matrix: matrix.shape,
        complex: matrix.complex,
        transposed: how.transposed,
        conjugate: how.conjugate,
        before: how.before.is_some(),
        after: how.after.is_some(),
        axis,
        dtype: x.dtype(),
        input: x.layout().clone(),
        output: output.clone(),
    };
    DensePlan::new(&problem, x.device().limits()).map_err(of_call(op, SIGNAL))
}

fn launch_dense(
    x: &Tensor,
    y: &Tensor,
    matrix: &Matrix,
    how: Applied<'_>,
    plan: &DensePlan,
) -> Result<()> {
    let client = x.device().client();
    let upload = |table: &[Complex64]| upload_complex(client, table, x.dtype().compute());
    let bindings = DenseBindings {
        input: x.handle().clone(),
        output: y.handle().clone(),
        matrix: matrix.handle.clone(),
        before: how.before.map(upload),
        after: how.after.map(upload),
    };
    dense_launch(client, &bindings, plan)
}

/// One sum `Σ Re(w_j conj(g_j) y_j)` of a gradient.
pub(super) struct Sum<'a> {
    pub(super) y: &'a Tensor,
    pub(super) g: &'a Tensor,
    pub(super) weights: Vec<Complex64>,
}

/// `jacobian` (a row for each parameter) times the vector of sums: a real tensor of the compute type,
/// one element a parameter.
pub(super) fn gradient(
    op: &'static str,
    axis: isize,
    sums: &[Sum<'_>],
    jacobian: &[Vec<f64>],
) -> Result<Tensor> {
    gradient_from(op, axis, sums, jacobian, &vec![0.0; jacobian.len()])
}

/// [`gradient`] plus `constants`.
pub(super) fn gradient_from(
    op: &'static str,
    axis: isize,
    sums: &[Sum<'_>],
    jacobian: &[Vec<f64>],
    constants: &[f64],
) -> Result<Tensor> {
    let Some(first) = sums.first() else {
        return Err(Error::Unsupported { op, argument: "sums", reason: "there is no parameter" });
    };
    let device = first.y.device();
    let (dtype, compute) = (first.y.dtype(), first.y.dtype().compute());
    let plans = sums
        .iter()
        .map(|sum| {
            check_pair(op, sum.y, sum.g, axis)?;
            MomentPlan::new(op, [sum.y.layout(), sum.g.layout()], axis, dtype, device.limits())
        })
        .collect::<Result<Vec<_>>>()?;
    let moments: Vec<Moment> = sums
        .iter()
        .zip(plans)
        .map(|(sum, plan)| Moment {
            plan,
            y: sum.y.handle().clone(),
            g: sum.g.handle().clone(),
            weights: upload_complex(device.client(), &sum.weights, compute),
        })
        .collect();
    let handle = moments_launch(device.client(), op, &moments, jacobian, constants, compute)?;
    Tensor::from_handle(device, handle, compute, false, Layout::contiguous(&[jacobian.len()]))
}

/// The length of the axis of a signal whose result has the shape of the signal, and so has its gradient `g`.
pub(super) fn check_pair(op: &'static str, x: &Tensor, g: &Tensor, axis: isize) -> Result<usize> {
    let (_, n) = complex_axis(op, x, axis)?;
    check_gradient(op, x, g, axis, n)?;
    Ok(n)
}

/// Accepts the gradient `g` of a result with `outputs` points a line, and the signal's other axes.
pub(super) fn check_gradient(
    op: &'static str,
    x: &Tensor,
    g: &Tensor,
    axis: isize,
    outputs: usize,
) -> Result<()> {
    let (along, _) = complex_axis(op, x, axis)?;
    x.check_same(op, "g", g)?;
    g.check_complex(op, "g", true)?;
    let mut expected = x.shape().to_vec();
    expected[along] = outputs;
    if g.shape() == expected {
        return Ok(());
    }
    Err(Error::Shape { op, argument: "g", expected, found: g.shape().to_vec() })
}

/// Accepts tables whose entries the compute type of `x` can hold.
pub(super) fn check_fits<'a>(
    op: &'static str,
    argument: &'static str,
    x: &Tensor,
    mut values: impl Iterator<Item = &'a Complex64>,
) -> Result<()> {
    let largest = match x.dtype().compute() {
        Dtype::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    };
    // Written so that NaN does not fit.
    match values.find(|v| !(v.re.abs() <= largest && v.im.abs() <= largest)) {
        None => Ok(()),
        Some(found) => Err(Error::Value {
            op,
            argument,
            expected: "such that the factors it makes fit the compute type",
            found: found.norm(),
        }),
    }
}

/// The weights of the derivative by a chirp's rate: `∂/∂q = iπ n_j²/N`.
pub(super) fn rate_weights(n: usize) -> Vec<Complex64> {
    chirp_generator(n).into_iter().map(|w| Complex64::new(0.0, w)).collect()
}
