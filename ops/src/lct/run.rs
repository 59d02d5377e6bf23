//! How every transform of this family reaches the device.

use std::sync::Arc;

use cubecl::server::Handle;
use wavecube_core::{Complex64, Error, Layout, Result, lct::chirp_generator};
use wavecube_kernels::{
    fft::FftPlan,
    lct::{
        DenseBindings, DensePlan, DenseProblem, LctBindings, LctPlan, LctProblem, Moment,
        MomentPlan, Program, Resident, Stage, Step, dense_launch, lct_launch, moments_launch,
        upload_complex,
    },
};

use super::cache::{Key, Loaded};
use crate::{Device, Tensor};

/// The axis and its length, which must not be 0, of a complex tensor.
pub(super) fn complex_axis(op: &'static str, x: &Tensor, axis: isize) -> Result<(usize, usize)> {
    x.check_complex(op, "input", true)?;
    x.device().limits().check_dtype(op, "input", x.dtype())?;
    length_of(op, x, axis)
}

pub(crate) fn length_of(op: &'static str, x: &Tensor, axis: isize) -> Result<(usize, usize)> {
    let along = x.layout().axis(op, axis)?;
    let n = x.shape()[along];
    if n == 0 {
        return Err(Error::Length { op, argument: "input", expected: "at least 1", found: 0 });
    }
    Ok((along, n))
}

fn plan_of(device: &Device, problem: LctProblem) -> Result<Arc<LctPlan>> {
    if let Some(plan) = device.lct().plan(&problem) {
        return Ok(plan);
    }
    let plan = Arc::new(LctPlan::new(&problem, device.limits())?);
    device.lct().keep_plan(problem, &plan);
    Ok(plan)
}

/// Runs the program that `build` makes, or the one that is kept under `key`, on a complex tensor.
pub(super) fn run(
    op: &'static str,
    x: &Tensor,
    axis: isize,
    key: Key,
    build: impl FnOnce() -> Result<Program>,
) -> Result<Tensor> {
    let (along, _) = complex_axis(op, x, axis)?;
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
            output: Layout::contiguous(&shape),
            real_input: false,
            real_output: false,
        }
    };
    let (plan, loaded) = if let Some(loaded) = device.lct().program(&key) {
        (plan_of(device, problem(&loaded.stages, loaded.output_len))?, loaded)
    } else {
        // Everything is checked before the first byte goes to the device.
        let program = build()?;
        let plan = plan_of(device, problem(&program.stages, program.output_len))?;
        let resident = Resident::upload(device.client(), &program, x.dtype().compute());
        let bytes = program.bytes() * x.dtype().compute().size() / 4;
        let Program { stages, output_len, .. } = program;
        let loaded = Arc::new(Loaded { stages, output_len, resident });
        device.lct().keep_program(key, &loaded, bytes);
        (plan, loaded)
    };
    let mut shape = x.shape().to_vec();
    shape[along] = loaded.output_len;
    let y = Tensor::empty(device, x.dtype(), true, &shape)?;
    launch(&plan, x, &y, loaded.resident.clone())?;
    Ok(y)
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
    let device = x.device();
    let mut shape = x.shape().to_vec();
    shape[along] = matrix.shape[usize::from(how.transposed)];
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
        output: Layout::contiguous(&shape),
    };
    let plan = DensePlan::new(&problem, device.limits())?;
    let y = Tensor::empty(device, x.dtype(), true, &shape)?;
    let upload = |table: &[Complex64]| upload_complex(device.client(), table, x.dtype().compute());
    let bindings = DenseBindings {
        input: x.handle().clone(),
        output: y.handle().clone(),
        matrix: matrix.handle.clone(),
        before: how.before.map(upload),
        after: how.after.map(upload),
    };
    dense_launch(device.client(), &bindings, &plan)?;
    Ok(y)
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
            check_pair(op, sum.y, sum.g)?;
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

/// A signal and the gradient of a result of the same shape must be of one kind.
pub(super) fn check_pair(op: &'static str, x: &Tensor, g: &Tensor) -> Result<()> {
    x.check_same(op, "g", g)?;
    g.check_complex(op, "g", true)?;
    if x.shape() != g.shape() {
        return Err(Error::Shape {
            op,
            argument: "g",
            expected: x.shape().to_vec(),
            found: g.shape().to_vec(),
        });
    }
    Ok(())
}

/// The weights of the derivative by a chirp's rate: `∂/∂q = iπ n_j²/N`.
pub(super) fn rate_weights(n: usize) -> Vec<Complex64> {
    chirp_generator(n).into_iter().map(|w| Complex64::new(0.0, w)).collect()
}
