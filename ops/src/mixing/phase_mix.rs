//! Channels mixed by magnitude and by phase.

use wavecube_core::{Error, Layout, Result};
use wavecube_kernels::mixing::{
    PhaseMixBindings, PhaseMixGradients, PhaseMixPlan, PhaseMixProblem, phase_mix_launch,
    phase_mix_vjp_launch,
};

use super::linear::outer;
use crate::{
    Tensor,
    sum::{sum_plan, summed},
};

/// Accepts the matrices, `[outputs, inputs]`, of one shape; returns the plan and what is bound.
fn planned(
    op: &'static str,
    [y, magnitudes, directions]: [&Tensor; 3],
    g: Option<&Tensor>,
    epsilon: f64,
) -> Result<(PhaseMixPlan, PhaseMixBindings)> {
    y.check_complex(op, "y", true)?;
    let inputs = y.shape()[y.layout().axis(op, -1)?];
    let outputs = magnitudes.shape().first().copied().unwrap_or(1);
    for (argument, matrix, complex) in
        [("magnitudes", magnitudes, false), ("directions", directions, true)]
    {
        matrix.check_complex(op, argument, complex)?;
        y.check_same(op, argument, matrix)?;
        matrix.check_contiguous(op, argument)?;
        let expected = vec![outputs, inputs];
        if matrix.shape() != expected {
            let found = matrix.shape().to_vec();
            return Err(Error::Shape { op, argument, expected, found });
        }
    }
    if let Some(g) = g {
        g.check_complex(op, "g", true)?;
        y.check_same(op, "g", g)?;
    }
    let problem = PhaseMixProblem {
        op,
        y: y.layout().clone(),
        g: g.map(|g| g.layout().clone()),
        outputs,
        epsilon,
        dtype: y.dtype(),
    };
    let plan = PhaseMixPlan::new(&problem, y.device().limits())?;
    let bindings = PhaseMixBindings {
        y: y.handle().clone(),
        magnitudes: magnitudes.handle().clone(),
        directions: directions.handle().clone(),
    };
    Ok((plan, bindings))
}

/// `z = (A s) t/√(|t|² + ε²)` with `t = C y` and `s = √(|y|² + ε²)`, over the last axis: magnitudes of channels mixed by
/// `A`, their directions by `C`, apart from each other. Turning all channels turns the result with them.
///
/// `y`: complex, `[…, inputs]`, any strides; `magnitudes`, `A`: real, and `directions`, `C`: complex, both
/// `[outputs, inputs]`, contiguous; all `f32`, or all `f64`. `epsilon` is the magnitude below which a channel fades:
/// at zero the result is 0 and every gradient finite.
///
/// # Errors
/// [`Error::Dtype`] for a real `y` or `C`, a complex `A`, 16 bits or types that differ, [`Error::Shape`] if the shapes do
/// not belong together, [`Error::Strides`] for matrices with strides, [`Error::Value`] for an `epsilon` that is no
/// normal number above zero of their type, [`Error::Length`] for no inputs or no outputs, [`Error::Axis`] for a `y` without an axis, [`Error::Limit`] if the
/// device has no room.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, phase_mix};
/// let device = Device::best()?;
/// let y = Tensor::from_slice(&device, &[Complex32::new(3.0, 0.0), Complex32::new(0.0, 4.0)], &[1, 2])?;
/// let magnitudes = Tensor::from_slice(&device, &[1.0f32, 1.0], &[1, 2])?;
/// let directions = Tensor::from_slice(&device, &[Complex32::ZERO, Complex32::ONE], &[1, 2])?;
/// let z: Vec<Complex32> = phase_mix(&y, &magnitudes, &directions, 1e-4)?.read()?;
/// assert!((z[0] - Complex32::new(0.0, 7.0)).norm() < 1e-5);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn phase_mix(
    y: &Tensor,
    magnitudes: &Tensor,
    directions: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let (plan, bindings) = planned("phase_mix", [y, magnitudes, directions], None, epsilon)?;
    let mut shape = y.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = plan.outputs;
    }
    let z = Tensor::empty(y.device(), y.dtype(), true, &shape)?;
    phase_mix_launch(y.device().client(), &bindings, z.handle(), &plan)?;
    Ok(z)
}

/// The gradients `[∂y, ∂A, ∂C]` of [`phase_mix`] from the gradient `g` of its result. `y` contiguous, `g` of any strides.
///
/// # Errors
/// As [`phase_mix`]; [`Error::Strides`] for a `y` with strides.
pub fn phase_mix_vjp(
    y: &Tensor,
    magnitudes: &Tensor,
    directions: &Tensor,
    epsilon: f64,
    g: &Tensor,
) -> Result<[Tensor; 3]> {
    const OP: &str = "phase_mix_vjp";
    let (plan, bindings) = planned(OP, [y, magnitudes, directions], Some(g), epsilon)?;
    y.check_contiguous(OP, "y")?;
    let (device, dtype) = (y.device(), y.dtype());
    let [by_sizes, by_turned] = [
        Tensor::empty(device, dtype, true, g.shape())?,
        Tensor::empty(device, dtype, true, g.shape())?,
    ];
    let by_y = Tensor::empty(device, dtype, true, y.shape())?;
    let s = Tensor::empty(device, dtype, false, y.shape())?;
    let gradients = PhaseMixGradients {
        sizes: by_sizes.handle().clone(),
        turned: by_turned.handle().clone(),
        y: by_y.handle().clone(),
        s: s.handle().clone(),
    };
    phase_mix_vjp_launch(device.client(), &bindings, g.handle(), &gradients, &plan)?;
    let by_directions = outer(OP, y, &by_turned)?;
    // Its imaginary parts are 0, so that the sum of both parts is the real one.
    let pairs = outer(OP, &s, &by_sizes)?;
    let [outputs, inputs] = [plan.outputs, plan.lines.n];
    let parts = Layout::contiguous(&[outputs, inputs, 2]);
    let pairs = Tensor::from_handle(device, pairs.handle().clone(), dtype, false, parts)?;
    let sum = sum_plan(OP, &pairs, &[outputs, inputs, 1])?;
    let by_magnitudes = summed(&pairs, sum, &[outputs, inputs])?;
    Ok([by_y, by_magnitudes, by_directions])
}
