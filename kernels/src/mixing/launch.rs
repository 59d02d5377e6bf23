//! From bindings and plans to enqueued kernels.

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Result};

use super::{
    kernel::{map_backward, map_forward, rms_norm_backward, rms_norm_forward},
    phase_mix::{phase_mix_adjoint, phase_mix_forward, phase_mix_slopes},
    plan::{MapPlan, PhaseMixPlan, RmsNormPlan},
};
use crate::{
    elem_type,
    launch::{buffer, count, holds},
    lines::{LinesOf, lines_arg},
};

/// The buffers of a map.
#[derive(Debug, Clone)]
pub struct MapBindings {
    /// The complex operand, or the pairs.
    pub z: Handle,
    /// The real operand, bound where the map has one.
    pub w: Option<Handle>,
}

/// Where gradients go, an element of each for every element of `z`, contiguous.
#[derive(Debug, Clone)]
pub struct MapGradients {
    /// Of `z`, complex, in the storage type.
    pub z: Handle,
    /// Of `w`, real, in the compute type, bound where the map has one.
    pub w: Option<Handle>,
}

/// Compares what is read with where the layouts end.
fn check(
    op: &'static str,
    operands: [Option<&Handle>; 3],
    ends: [usize; 3],
    (dtype, parts): (Dtype, usize),
) -> Result<()> {
    for (((name, parts), handle), end) in
        [("z", parts), ("w", 1), ("g", parts)].into_iter().zip(operands).zip(ends)
    {
        if let Some(handle) = handle {
            holds(op, name, handle, (dtype, parts), end)?;
        }
    }
    Ok(())
}

impl MapPlan {
    /// What the map reads of what is bound.
    fn weight<'a>(
        &self,
        argument: &'static str,
        w: Option<&'a Handle>,
    ) -> Result<Option<&'a Handle>> {
        if !self.map.is_weighted() {
            return Ok(None);
        }
        let expected = "bound, where the map has one";
        let missing = Error::Length { op: self.op, argument, expected, found: 0 };
        w.ok_or(missing).map(Some)
    }
}

/// Accepts a plan of the value, or of the gradient.
fn check_task(op: &'static str, planned: bool, gradient: bool) -> Result<()> {
    if planned == gradient {
        return Ok(());
    }
    let reason = "the plan was made for another task";
    Err(Error::Unsupported { op, argument: "plan", reason })
}

fn elements(lines: &LinesOf) -> usize {
    lines.rows.saturating_mul(lines.n)
}

/// A buffer, if there is one.
fn optional(handle: Option<&Handle>, dtype: Dtype) -> Option<BufferArg> {
    handle.map(|handle| buffer(handle, dtype, 1))
}

fn types(dtype: Dtype) -> [cubecl::ir::ElemType; 2] {
    [elem_type(dtype), elem_type(dtype.compute())]
}

/// Enqueues a map into `y`, contiguous.
///
/// # Errors
/// [`Error::Length`] if a buffer is missing or shorter than the plan reaches, [`Error::Unsupported`] for a
/// plan of the gradient; then nothing is enqueued.
pub fn map_launch(
    client: &Client,
    bindings: &MapBindings,
    y: &Handle,
    plan: &MapPlan,
) -> Result<()> {
    let MapPlan { op, map, dtype, .. } = *plan;
    check_task(plan.op, plan.gradient, false)?;
    let w = plan.weight("w", bindings.w.as_ref())?;
    check(op, [Some(&bindings.z), w, None], plan.ends, (dtype, 2))?;
    holds(op, "y", y, (dtype, 2), elements(&plan.lines))?;
    if elements(&plan.lines) == 0 {
        return Ok(());
    }
    // SAFETY: `MapPlan::new` has bounded every element of `z` and `w` by the layouts' ends, which `check` has
    // compared with the buffers; the kernel keeps elements below `rows · n`, which `y` holds.
    unsafe {
        map_forward::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            buffer(&bindings.z, dtype, 2),
            optional(w, dtype).into(),
            buffer(y, dtype, 2),
            lines_arg(&plan.lines),
            map,
            types(dtype),
        );
    }
    Ok(())
}

/// Enqueues the gradients of `z` and `w` from `g`, that of the result.
///
/// # Errors
/// As [`map_launch`], [`Error::Unsupported`] for a plan of the value.
pub fn map_vjp_launch(
    client: &Client,
    bindings: &MapBindings,
    g: &Handle,
    gradients: &MapGradients,
    plan: &MapPlan,
) -> Result<()> {
    let MapPlan { op, map, dtype, .. } = *plan;
    check_task(plan.op, plan.gradient, true)?;
    let w = plan.weight("w", bindings.w.as_ref())?;
    check(op, [Some(&bindings.z), w, Some(g)], plan.ends, (dtype, 2))?;
    holds(op, "gradient of z", &gradients.z, (dtype, 2), elements(&plan.lines))?;
    let by_w = plan.weight("gradient of w", gradients.w.as_ref())?;
    if let Some(by_w) = by_w {
        holds(op, "gradient of w", by_w, (dtype.compute(), 1), elements(&plan.lines))?;
    }
    if elements(&plan.lines) == 0 {
        return Ok(());
    }
    // SAFETY: as in `map_launch`, and for `g` and the gradients likewise.
    unsafe {
        map_backward::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            buffer(&bindings.z, dtype, 2),
            optional(w, dtype).into(),
            buffer(g, dtype, 2),
            buffer(&gradients.z, dtype, 2),
            optional(by_w, dtype.compute()).into(),
            lines_arg(&plan.lines),
            map,
            types(dtype),
        );
    }
    Ok(())
}

/// `ε` as a scalar of the compute type.
fn scalar(epsilon: f64, dtype: Dtype) -> InputScalar {
    InputScalar::new(epsilon, elem_type(dtype.compute()))
}

/// Enqueues the norm of the lines of `z`, with the factors `w`, into `y`, contiguous.
///
/// # Errors
/// As [`map_launch`].
pub fn rms_norm_launch(client: &Client, [z, w, y]: [&Handle; 3], plan: &RmsNormPlan) -> Result<()> {
    let (dtype, parts) = (plan.dtype, plan.parts);
    check_task(plan.op, plan.gradient, false)?;
    check(plan.op, [Some(z), Some(w), None], plan.ends, (dtype, parts))?;
    holds(plan.op, "y", y, (dtype, parts), elements(&plan.lines))?;
    if elements(&plan.lines) == 0 {
        return Ok(());
    }
    // SAFETY: `RmsNormPlan::new` has bounded every element of `z` and `w` by the layouts' ends, which `check`
    // has compared with the buffers; the kernel keeps lines below `rows` and elements below `n`.
    unsafe {
        rms_norm_forward::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d((plan.config.lines * plan.config.units) as u32),
            parts,
            buffer(z, dtype, parts),
            buffer(w, dtype, 1),
            buffer(y, dtype, parts),
            lines_arg(&plan.lines),
            scalar(plan.epsilon, dtype),
            plan.config,
            types(dtype),
        );
    }
    Ok(())
}

/// Enqueues the gradients of `z` and `w` from `g`, that of the result.
///
/// # Errors
/// As [`map_launch`].
pub fn rms_norm_vjp_launch(
    client: &Client,
    [z, w, g]: [&Handle; 3],
    [z_gradient, w_gradient]: [&Handle; 2],
    plan: &RmsNormPlan,
) -> Result<()> {
    let (dtype, parts) = (plan.dtype, plan.parts);
    check_task(plan.op, plan.gradient, true)?;
    check(plan.op, [Some(z), Some(w), Some(g)], plan.ends, (dtype, parts))?;
    holds(plan.op, "gradient of z", z_gradient, (dtype, parts), elements(&plan.lines))?;
    holds(plan.op, "gradient of w", w_gradient, (dtype.compute(), 1), elements(&plan.lines))?;
    if elements(&plan.lines) == 0 {
        return Ok(());
    }
    // SAFETY: as in `rms_norm_launch`, and for `g` and the gradients likewise.
    unsafe {
        rms_norm_backward::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d((plan.config.lines * plan.config.units) as u32),
            parts,
            buffer(z, dtype, parts),
            buffer(w, dtype, 1),
            buffer(g, dtype, parts),
            buffer(z_gradient, dtype, parts),
            buffer(w_gradient, dtype.compute(), 1),
            lines_arg(&plan.lines),
            scalar(plan.epsilon, dtype),
            plan.config,
            types(dtype),
        );
    }
    Ok(())
}

/// The operands of channels mixed by magnitude and by phase, matrices `[outputs, inputs]`, contiguous.
#[derive(Debug, Clone)]
pub struct PhaseMixBindings {
    /// The channels, complex.
    pub y: Handle,
    /// What mixes magnitudes, real.
    pub magnitudes: Handle,
    /// What mixes directions, complex.
    pub directions: Handle,
}

impl PhaseMixPlan {
    /// Compares what is bound with what the plan reads.
    fn check(&self, bindings: &PhaseMixBindings, g: Option<&Handle>) -> Result<()> {
        let Self { op, dtype, .. } = *self;
        let entries = self.outputs.saturating_mul(self.lines.n);
        check_task(op, self.gradient, g.is_some())?;
        holds(op, "y", &bindings.y, (dtype, 2), self.ends[0])?;
        holds(op, "magnitudes", &bindings.magnitudes, (dtype, 1), entries)?;
        holds(op, "directions", &bindings.directions, (dtype, 2), entries)?;
        match g {
            Some(g) => holds(op, "g", g, (dtype, 2), self.ends[1]),
            None => Ok(()),
        }
    }

    /// Elements of the result.
    fn results(&self) -> usize {
        self.lines.rows.saturating_mul(self.outputs)
    }
}

/// Enqueues `z = (A s) t/√(|t|² + ε²)`, `t = C y`, `s = √(|y|² + ε²)`, for every line of `y` into `z`, contiguous.
///
/// # Errors
/// As [`map_launch`].
pub fn phase_mix_launch(
    client: &Client,
    bindings: &PhaseMixBindings,
    z: &Handle,
    plan: &PhaseMixPlan,
) -> Result<()> {
    let dtype = plan.dtype;
    plan.check(bindings, None)?;
    holds(plan.op, "z", z, (dtype, 2), plan.results())?;
    if plan.lines.rows == 0 {
        return Ok(());
    }
    // SAFETY: `PhaseMixPlan::new` has bounded every element of `y` by its layout's end, which `check` has compared
    // with the buffer, as the matrices with their sizes; the kernel keeps lines below `rows`, results below `outputs`
    // and terms below `n`.
    unsafe {
        phase_mix_forward::launch_unchecked(
            client,
            count(plan.cubes[0]),
            CubeDim::new_1d(plan.units as u32),
            buffer(&bindings.y, dtype, 2),
            buffer(&bindings.magnitudes, dtype, 1),
            buffer(&bindings.directions, dtype, 2),
            buffer(z, dtype, 2),
            lines_arg(&plan.lines),
            plan.outputs,
            scalar(plan.epsilon, dtype),
            elem_type(dtype),
        );
    }
    Ok(())
}

/// Where the gradient of [`phase_mix_launch`] goes, contiguous.
#[derive(Debug, Clone)]
pub struct PhaseMixGradients {
    /// By `A s`, `[…, outputs]`, complex: in the real part, and 0.
    pub sizes: Handle,
    /// By `t`, `[…, outputs]`, complex.
    pub turned: Handle,
    /// By `y`, `[…, inputs]`, complex.
    pub y: Handle,
    /// Not a gradient: `s`, `[…, inputs]`, real. With it, `∂A = Σ ∂(A s) sᵀ` over all lines.
    pub s: Handle,
}

/// Enqueues the gradients from `g`, that of the result.
///
/// # Errors
/// As [`map_launch`], [`Error::Unsupported`] for a plan of the value.
pub fn phase_mix_vjp_launch(
    client: &Client,
    bindings: &PhaseMixBindings,
    g: &Handle,
    gradients: &PhaseMixGradients,
    plan: &PhaseMixPlan,
) -> Result<()> {
    let PhaseMixPlan { op, dtype, .. } = *plan;
    plan.check(bindings, Some(g))?;
    holds(op, "gradient of sizes", &gradients.sizes, (dtype, 2), plan.results())?;
    holds(op, "gradient of turned", &gradients.turned, (dtype, 2), plan.results())?;
    holds(op, "gradient of y", &gradients.y, (dtype, 2), elements(&plan.lines))?;
    holds(op, "s", &gradients.s, (dtype, 1), elements(&plan.lines))?;
    if plan.lines.rows == 0 {
        return Ok(());
    }
    // SAFETY: as in `phase_mix_launch`, by `PhaseMixPlan::new` and `check`, and for `g` and the gradients likewise.
    unsafe {
        phase_mix_slopes::launch_unchecked(
            client,
            count(plan.cubes[0]),
            CubeDim::new_1d(plan.units as u32),
            buffer(&bindings.y, dtype, 2),
            buffer(&bindings.magnitudes, dtype, 1),
            buffer(&bindings.directions, dtype, 2),
            buffer(g, dtype, 2),
            buffer(&gradients.sizes, dtype, 2),
            buffer(&gradients.turned, dtype, 2),
            lines_arg(&plan.lines),
            plan.outputs,
            scalar(plan.epsilon, dtype),
            elem_type(dtype),
        );
    }
    // SAFETY: as above, by `PhaseMixPlan::new` and `check`; inputs stay below `n`.
    unsafe {
        phase_mix_adjoint::launch_unchecked(
            client,
            count(plan.cubes[1]),
            CubeDim::new_1d(plan.units as u32),
            buffer(&bindings.y, dtype, 2),
            buffer(&bindings.magnitudes, dtype, 1),
            buffer(&bindings.directions, dtype, 2),
            buffer(&gradients.sizes, dtype, 2),
            buffer(&gradients.turned, dtype, 2),
            buffer(&gradients.y, dtype, 2),
            buffer(&gradients.s, dtype, 1),
            lines_arg(&plan.lines),
            plan.outputs,
            scalar(plan.epsilon, dtype),
            elem_type(dtype),
        );
    }
    Ok(())
}
