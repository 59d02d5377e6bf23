//! From bindings and plans to enqueued kernels.

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Complex64, Dtype, Error, Result};

use super::{
    kernel::{
        FactorsLaunch, MatrixShapeLaunch, combine, correlate, dense, finish, moment, pointwise,
    },
    plan::{CombinePlan, CorrelationPlan, DensePlan, LctPlan, MomentPlan, PointPlan, Step},
    program::Program,
};
use crate::{
    elem_type,
    fft::{FftBindings, fft_launch},
    launch::{buffer, count, holds},
    lines::lines_arg,
};

/// The tables of a [`Program`] on a device.
#[derive(Debug, Clone, Default)]
pub struct Resident {
    /// Complex tables in the compute type.
    pub tables: Vec<Handle>,
    /// Index tables.
    pub indices: Vec<Handle>,
}

impl Resident {
    /// Uploads the tables of a program in the compute type `compute`.
    pub fn upload(client: &Client, program: &Program, compute: Dtype) -> Self {
        Self {
            tables: program.tables.iter().map(|t| upload_complex(client, t, compute)).collect(),
            indices: program
                .indices
                .iter()
                .map(|indices| client.create_from_slice(u32::as_bytes(indices)))
                .collect(),
        }
    }
}

/// Uploads complex values in the compute type.
pub fn upload_complex(client: &Client, values: &[Complex64], compute: Dtype) -> Handle {
    let parts: Vec<f64> = values.iter().flat_map(|w| [w.re, w.im]).collect();
    upload_real(client, &parts, compute)
}

/// Uploads real values in the compute type.
pub fn upload_real(client: &Client, values: &[f64], compute: Dtype) -> Handle {
    match compute {
        Dtype::F64 => client.create_from_slice(f64::as_bytes(values)),
        _ => {
            let narrowed: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            client.create_from_slice(f32::as_bytes(&narrowed))
        }
    }
}

/// The buffers of a planned transform. Input and output lie apart.
#[derive(Debug, Clone)]
pub struct LctBindings {
    /// The elements that are read.
    pub input: Handle,
    /// The elements that are written.
    pub output: Handle,
    /// For every step that is a transform the tables of its plan, in the plan's order; nothing for the
    /// others.
    pub tables: Vec<Vec<Handle>>,
    /// The program's tables.
    pub resident: Resident,
}

fn missing(op: &'static str, argument: &'static str, found: usize) -> Error {
    Error::Length { op, argument, expected: "one buffer for every table of the plan", found }
}

fn factors_arg<F: Float>(
    before: Option<&Handle>,
    after: Option<&Handle>,
    indices: Option<&Handle>,
    compute: Dtype,
) -> FactorsLaunch<F> {
    let table = |handle: Option<&Handle>| {
        let mut sequence = SequenceArg::new();
        if let Some(handle) = handle {
            sequence.push(buffer(handle, compute, 2));
        }
        sequence
    };
    let mut gather = SequenceArg::new();
    if let Some(handle) = indices {
        gather.push(buffer(handle, Dtype::F32, 1));
    }
    FactorsLaunch::new(table(before), table(after), gather)
}

/// Enqueues a planned transform.
///
/// # Errors
/// [`Error::Length`] if a buffer is shorter than the plan's layouts reach or a table is missing.
pub fn lct_launch(client: &Client, bindings: &LctBindings, plan: &LctPlan) -> Result<()> {
    let op = plan.op;
    holds(op, "input", &bindings.input, (plan.dtype, plan.parts[0]), plan.input_end)?;
    holds(op, "output", &bindings.output, (plan.dtype, plan.parts[1]), plan.output_end)?;
    let mut source = bindings.input.clone();
    for (i, step) in plan.steps.iter().enumerate() {
        let target = match plan.between.get(i) {
            Some(layout) => client.empty(layout.len().max(1) * 2 * plan.dtype.size()),
            None => bindings.output.clone(),
        };
        match step {
            Step::Transform(fft) => {
                let Some(tables) = bindings.tables.get(i).cloned() else {
                    return Err(missing(op, "tables", bindings.tables.len()));
                };
                let bound = bindings.resident.tables.clone();
                let bindings = FftBindings { input: source, output: target.clone(), tables, bound };
                fft_launch(client, &bindings, fft)?;
            }
            Step::Pointwise(point) => {
                pointwise_launch(client, op, [&source, &target], &bindings.resident, point)?;
            }
        }
        source = target;
    }
    Ok(())
}

/// Enqueues a pointwise launch.
///
/// # Errors
/// [`Error::Length`] if a table is missing.
pub fn pointwise_launch(
    client: &Client,
    op: &'static str,
    [source, target]: [&Handle; 2],
    resident: &Resident,
    plan: &PointPlan,
) -> Result<()> {
    let found = |place: Option<usize>, all: &[Handle]| match place {
        None => Ok(None),
        Some(i) => all.get(i).cloned().map(Some).ok_or_else(|| missing(op, "tables", all.len())),
    };
    let factor = found(plan.factor, &resident.tables)?;
    let indices = found(plan.gather, &resident.indices)?;
    let compute = plan.dtypes[0].compute();
    let [source_parts, target_parts] = plan.config.parts;
    // SAFETY: the guard in the kernel keeps every unit within `rows · n` points, whose places
    // `LctPlan::new` has bounded by the layouts' ends and `lct_launch` by the buffers; index tables hold
    // values below `n`.
    unsafe {
        pointwise::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            source_parts,
            target_parts,
            buffer(source, plan.dtypes[0], source_parts),
            buffer(target, plan.dtypes[1], target_parts),
            lines_arg(&plan.lines),
            factors_arg(None, factor.as_ref(), indices.as_ref(), compute),
            plan.config,
            [elem_type(plan.dtypes[0]), elem_type(plan.dtypes[1]), elem_type(compute)],
        );
    }
    Ok(())
}

/// The buffers of a dense product.
#[derive(Debug, Clone)]
pub struct DenseBindings {
    /// The elements that are read.
    pub input: Handle,
    /// The elements that are written, apart from the input.
    pub output: Handle,
    /// The matrix in the compute type, row-major.
    pub matrix: Handle,
    /// The factor on the way in.
    pub before: Option<Handle>,
    /// The factor on the way out.
    pub after: Option<Handle>,
}

/// Enqueues a product with a dense matrix.
///
/// # Errors
/// [`Error::Length`] if a buffer is too short or a table is missing.
pub fn dense_launch(client: &Client, bindings: &DenseBindings, plan: &DensePlan) -> Result<()> {
    let (op, dtype, compute) = (plan.op, plan.dtype, plan.dtype.compute());
    let [inputs, outputs] = plan.lengths;
    let parts = if plan.config.complex { 2 } else { 1 };
    holds(op, "input", &bindings.input, (dtype, 2), plan.ends[0])?;
    holds(op, "output", &bindings.output, (dtype, 2), plan.ends[1])?;
    holds(op, "matrix", &bindings.matrix, (compute, parts), inputs * outputs)?;
    for (wanted, handle, len) in [
        (plan.config.before, &bindings.before, inputs),
        (plan.config.after, &bindings.after, outputs),
    ] {
        match handle {
            Some(handle) => holds(op, "tables", handle, (compute, 2), len)?,
            None if wanted => return Err(missing(op, "tables", 0)),
            None => {}
        }
    }
    if plan.lines.rows == 0 {
        return Ok(());
    }
    let [row_step, column_step] = plan.steps;
    // SAFETY: the kernel clamps every index it loads from, and guards every index it stores to, by the
    // lengths and the number of lines, which `DensePlan::new` has compared with the layouts and the
    // lines above with the buffers.
    unsafe {
        dense::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            2,
            2,
            parts,
            plan.config.side,
            buffer(&bindings.input, dtype, 2),
            buffer(&bindings.output, dtype, 2),
            buffer(&bindings.matrix, compute, parts),
            lines_arg(&plan.lines),
            MatrixShapeLaunch::new(inputs, outputs, row_step, column_step),
            factors_arg(bindings.before.as_ref(), bindings.after.as_ref(), None, compute),
            plan.config,
            [elem_type(dtype), elem_type(dtype), elem_type(compute)],
        );
    }
    Ok(())
}

/// One sum of a gradient: `Σ Re(w_j conj(g_j) y_j)`.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The geometry.
    pub plan: MomentPlan,
    /// `y`.
    pub y: Handle,
    /// `g`.
    pub g: Handle,
    /// `w`, complex in the compute type, one for each point of a line.
    pub weights: Handle,
}

/// Enqueues the sums and `constants + jacobian · sums`, a row of the Jacobian and a constant for each
/// output; returns the buffer of the outputs in the compute type.
///
/// # Errors
/// [`Error::Length`] if the Jacobian has not a column for each sum and a row for each constant, or weights
/// are too few.
pub fn moments_launch(
    client: &Client,
    op: &'static str,
    moments: &[Moment],
    jacobian: &[Vec<f64>],
    constants: &[f64],
    compute: Dtype,
) -> Result<Handle> {
    if jacobian.len() != constants.len() || jacobian.iter().any(|row| row.len() != moments.len()) {
        return Err(Error::Length {
            op,
            argument: "jacobian",
            expected: "a column for each sum",
            found: jacobian.first().map_or(0, Vec::len),
        });
    }
    for moment in moments {
        holds(op, "weights", &moment.weights, (compute, 2), moment.plan.lines.n)?;
    }
    let terms = moments.iter().map(|m| m.plan.partials).max().unwrap_or(1);
    // Cubes that a shorter sum does not launch leave their terms at zero. One more sum, of the single
    // term 1, carries the constants.
    let mut preset = vec![0.0; (moments.len() + 1) * terms];
    preset[moments.len() * terms] = 1.0;
    let partials = upload_real(client, &preset, compute);
    for (s, Moment { plan, y, g, weights }) in moments.iter().enumerate() {
        if plan.lines.rows == 0 {
            continue;
        }
        let dtype = plan.dtype;
        // SAFETY: the loop in the kernel keeps `e` below `rows · n`, whose places `MomentPlan::new` has
        // bounded by the layouts; cube `i < partials` writes term `s · terms + i` of the buffer above.
        unsafe {
            moment::launch_unchecked(
                client,
                CubeCount::Static(plan.partials as u32, 1, 1),
                CubeDim::new_1d(plan.config.units as u32),
                2,
                buffer(y, dtype, 2),
                buffer(g, dtype, 2),
                buffer(&partials, compute, 1),
                lines_arg(&plan.lines),
                factors_arg(None, Some(weights), None, compute),
                s * terms,
                plan.partials,
                plan.config,
                [elem_type(dtype), elem_type(compute)],
            );
        }
    }
    let outputs = jacobian.len();
    let out = client.empty(outputs.max(1) * compute.size());
    let rows = jacobian.iter().zip(constants).flat_map(|(row, c)| row.iter().chain([c]));
    let matrix = upload_real(client, &rows.copied().collect::<Vec<_>>(), compute);
    // SAFETY: unit `p < outputs` reads row `p` of the Jacobian and every partial sum, and writes `out[p]`.
    unsafe {
        finish::launch_unchecked(
            client,
            CubeCount::Static(outputs.max(1) as u32, 1, 1),
            CubeDim::new_1d(1),
            buffer(&partials, compute, 1),
            buffer(&matrix, compute, 1),
            buffer(&out, compute, 1),
            moments.len() + 1,
            terms,
            outputs,
            elem_type(compute),
        );
    }
    Ok(out)
}

/// Enqueues the sum of products over the lines that share one result.
pub fn correlate_launch(client: &Client, [x, g, target]: [&Handle; 3], plan: &CorrelationPlan) {
    if plan.kept.rows == 0 {
        return;
    }
    let (dtype, compute) = (plan.dtype, plan.dtype.compute());
    // SAFETY: `CorrelationPlan::new` has bounded every place by the layouts of the tensors, which were
    // made with their buffers; the guard keeps units within the results.
    unsafe {
        correlate::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            2,
            buffer(x, dtype, 2),
            buffer(g, dtype, 2),
            buffer(target, dtype, 2),
            lines_arg(&plan.kept),
            lines_arg(&plan.summed),
            [elem_type(dtype), elem_type(compute)],
        );
    }
}

/// Enqueues the combination of a signal, its spectrum and their mirror images with four `weights`,
/// complex in the compute type.
///
/// # Errors
/// [`Error::Length`] if there are fewer than four.
pub fn combine_launch(
    client: &Client,
    [x, spectrum, target]: [&Handle; 3],
    weights: &Handle,
    plan: &CombinePlan,
) -> Result<()> {
    let (dtype, compute) = (plan.dtype, plan.dtype.compute());
    holds("frft_weighted", "weights", weights, (compute, 2), 4)?;
    if plan.lines.rows == 0 {
        return Ok(());
    }
    // SAFETY: `CombinePlan::new` has bounded every place by the layouts of the tensors, which were made
    // with their buffers; the guard keeps units within the points.
    unsafe {
        combine::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            2,
            buffer(x, dtype, 2),
            buffer(spectrum, dtype, 2),
            buffer(target, dtype, 2),
            lines_arg(&plan.lines),
            factors_arg(None, Some(weights), None, compute),
            [elem_type(dtype), elem_type(compute)],
        );
    }
    Ok(())
}
