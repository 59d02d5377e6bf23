//! From bindings and a plan to enqueued kernels.

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Result};

use super::{
    ends::{FrameLaunch, GeometryLaunch},
    kernel::pass,
    pass::{Operand, Pass},
    plan::FftPlan,
    table::Table,
};
use crate::{
    elem_type,
    launch::{alias_of_first, buffer, count, holds, sequence},
};

/// The buffers of a transform. Input and output may be one buffer where the plan is
/// [in place](FftPlan::in_place) and both layouts are equal; the work space is apart from both.
#[derive(Debug, Clone)]
pub struct FftBindings {
    /// The elements that are read.
    pub input: Handle,
    /// The elements that are written.
    pub output: Handle,
    /// The buffers of [`FftPlan::tables`], in that order, complex in the compute type.
    pub tables: Vec<Handle>,
    /// The caller's tables, by the index in [`Table::Bound`].
    pub bound: Vec<Handle>,
}

/// Uploads the tables of a plan, in the order that [`FftBindings::tables`] wants.
pub fn upload_tables(client: &Client, plan: &FftPlan) -> Vec<Handle> {
    plan.tables.iter().map(|tables| upload_packed(client, tables, plan.dtype.compute())).collect()
}

/// Uploads tables in the compute type `compute`, one after the other in one buffer.
pub fn upload_packed(client: &Client, tables: &[Table], compute: Dtype) -> Handle {
    let entries = tables.iter().filter_map(Table::build).flatten();
    let parts = entries.flat_map(|w| [w.re, w.im]);
    match compute {
        Dtype::F64 => client.create_from_slice(f64::as_bytes(&parts.collect::<Vec<f64>>())),
        _ => {
            let parts: Vec<f32> = parts.map(|v| v as f32).collect();
            client.create_from_slice(f32::as_bytes(&parts))
        }
    }
}

/// Enqueues a planned transform. `Ok` means enqueued: a fault of the device shows on the next read.
///
/// # Errors
/// [`Error::Length`] if a buffer is shorter than the plan's layouts reach or a table is missing.
pub fn fft_launch(client: &Client, bindings: &FftBindings, plan: &FftPlan) -> Result<()> {
    for (argument, handle, end, parts) in [
        ("input", &bindings.input, plan.input_end, plan.parts[0]),
        ("output", &bindings.output, plan.output_end, plan.parts[1]),
    ] {
        holds("fft", argument, handle, (plan.dtype, parts), end)?;
    }
    if bindings.tables.len() != plan.tables.len() {
        return Err(Error::Length {
            op: "fft",
            argument: "tables",
            expected: "the tables of the plan, in its order",
            found: bindings.tables.len(),
        });
    }
    let workspace = (plan.workspace > 0)
        .then(|| client.empty(plan.workspace * 2 * plan.dtype.compute().size()));
    for pass in &plan.passes {
        launch_pass(client, bindings, workspace.as_ref(), plan, pass)?;
    }
    Ok(())
}

fn launch_pass(
    client: &Client,
    bindings: &FftBindings,
    workspace: Option<&Handle>,
    plan: &FftPlan,
    plan_of_pass: &Pass,
) -> Result<()> {
    let compute = plan.dtype.compute();
    let operand = |operand: Operand| match (operand, workspace) {
        (Operand::Input, _) => (&bindings.input, plan.dtype, plan.parts[0]),
        (Operand::Workspace, Some(space)) => (space, compute, 2),
        (Operand::Output | Operand::Workspace, _) => (&bindings.output, plan.dtype, plan.parts[1]),
    };
    let config = &plan_of_pass.config;
    let numbers =
        |end: usize, parts: usize| if config.wide[end] { config.lanes * parts } else { parts };
    let (source, source_dtype, source_parts) = operand(plan_of_pass.source);
    let (target, target_dtype, target_parts) = operand(plan_of_pass.target);
    let (source_parts, target_parts) = (numbers(0, source_parts), numbers(1, target_parts));
    let missing = |argument, found| Error::Length {
        op: "fft",
        argument,
        expected: "one buffer for every one of the plan",
        found,
    };
    let packed = plan_of_pass.packed();
    let tables = plan.tables.iter().position(|tables| *tables == packed);
    let Some(tables) = tables.and_then(|i| bindings.tables.get(i)) else {
        return Err(missing("tables", bindings.tables.len()));
    };
    let mut bound = SequenceArg::new();
    for hook in &plan_of_pass.hooks {
        if let Table::Bound(i) = hook.table {
            let Some(table) = bindings.bound.get(i) else {
                return Err(missing("bound", bindings.bound.len()));
            };
            bound.push(buffer(table, compute, 2));
        }
    }

    let batch = &plan_of_pass.batch;
    let table_steps = plan_of_pass.hooks.iter().flat_map(|hook| hook.strides.iter().copied());
    let [source_step, filter_step, target_step] = plan_of_pass.steps;
    let geometry = GeometryLaunch::new(
        sequence(batch.iter().map(|axis| axis.len)),
        sequence(batch.iter().map(|axis| axis.source)),
        sequence(batch.iter().map(|axis| axis.target)),
        sequence(table_steps),
        sequence(plan_of_pass.table_begins().into_iter()),
        plan_of_pass.rows(),
        plan_of_pass.source_end.offset,
        plan_of_pass.source_end.stride,
        plan_of_pass.source_end.len.min(u32::MAX as usize),
        plan_of_pass.target_end.offset,
        plan_of_pass.target_end.stride,
        plan_of_pass.target_end.len.min(u32::MAX as usize),
        source_step,
        filter_step,
        target_step,
        plan_of_pass.period,
        InputScalar::new(plan_of_pass.scale.get(), elem_type(compute)),
    );
    let frame = FrameLaunch::new(geometry, buffer(tables, compute, 2), bound);

    let dim = CubeDim::new_1d((config.units * config.rows) as u32);
    let dtypes = [elem_type(source_dtype), elem_type(target_dtype), elem_type(compute)];
    let source_arg = buffer(source, source_dtype, source_parts);
    let target_arg = if same_memory(source, target) {
        alias_of_first(target, target_dtype, target_parts)
    } else {
        buffer(target, target_dtype, target_parts)
    };
    // SAFETY: `FftProblem::chain` bounds every index of input and output by the layouts' ends, which
    // `fft_launch` has compared with the buffers; `Chain::passes` bounds those of the work space by
    // its size, and those of a table by its length.
    unsafe {
        pass::launch_unchecked(
            client,
            count(plan_of_pass.cubes),
            dim,
            source_parts,
            target_parts,
            config.cell_numbers(),
            source_arg,
            target_arg,
            frame,
            config.clone(),
            dtypes,
        );
    }
    Ok(())
}

fn same_memory(a: &Handle, b: &Handle) -> bool {
    a.memory.descriptor() == b.memory.descriptor()
}
