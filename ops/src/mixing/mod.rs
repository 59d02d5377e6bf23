//! Complex numbers element by element, by magnitude and phase; their norm, that of real ones, and their linear maps over
//! channels.
//!
//! The formulas, their gradients and what a NaN or an infinity in each operand gives are in
//! [`wavecube_kernels::mixing`]. A gradient by a complex operand is `∂ℓ/∂Re + i ∂ℓ/∂Im`.

mod linear;
mod phase_mix;

use wavecube_core::{Layout, Result};
use wavecube_kernels::mixing::{
    Map, MapBindings, MapGradients, MapPlan, RmsNormPlan, map_launch, map_vjp_launch,
    rms_norm_launch, rms_norm_vjp_launch,
};

pub use linear::{complex_linear, complex_linear_vjp};
pub use phase_mix::{phase_mix, phase_mix_vjp};

use crate::{
    Tensor,
    sum::{sum_plan, summed},
};

fn operands<'a>(
    op: &'static str,
    z: &'a Tensor,
    w: Option<&'a Tensor>,
    g: Option<&'a Tensor>,
) -> Result<[Option<&'a Layout>; 3]> {
    for (argument, operand, complex) in [("w", w, false), ("g", g, z.is_complex())] {
        if let Some(operand) = operand {
            operand.check_complex(op, argument, complex)?;
            z.check_same(op, argument, operand)?;
        }
    }
    Ok([Some(z), w, g].map(|operand| operand.map(Tensor::layout)))
}

fn map(op: &'static str, kind: Map, z: &Tensor, w: Option<&Tensor>) -> Result<Tensor> {
    z.check_complex(op, "z", true)?;
    let layouts = operands(op, z, w, None)?;
    let plan = MapPlan::new(op, kind, layouts, z.dtype(), z.device().limits())?;
    let y = Tensor::empty(z.device(), z.dtype(), true, z.shape())?;
    map_launch(z.device().client(), &bindings(z, w), y.handle(), &plan)?;
    Ok(y)
}

fn bindings(z: &Tensor, w: Option<&Tensor>) -> MapBindings {
    MapBindings { z: z.handle().clone(), w: w.map(|w| w.handle().clone()) }
}

/// The gradient of `z`, and that of `w` for every element of `z`.
fn map_gradients(
    op: &'static str,
    kind: Map,
    z: &Tensor,
    w: Option<&Tensor>,
    g: &Tensor,
) -> Result<(Tensor, Option<Tensor>)> {
    z.check_complex(op, "z", true)?;
    let layouts = operands(op, z, w, Some(g))?;
    let plan = MapPlan::new(op, kind, layouts, z.dtype(), z.device().limits())?;
    let by_z = Tensor::empty(z.device(), z.dtype(), true, z.shape())?;
    let by_w = match w {
        Some(_) => Some(Tensor::empty(z.device(), z.dtype().compute(), false, z.shape())?),
        None => None,
    };
    let gradients = MapGradients {
        z: by_z.handle().clone(),
        w: by_w.as_ref().map(|by_w| by_w.handle().clone()),
    };
    map_vjp_launch(z.device().client(), &bindings(z, w), g.handle(), &gradients, &plan)?;
    Ok((by_z, by_w))
}

fn weighted_vjp(op: &'static str, kind: Map, [z, w, g]: [&Tensor; 3]) -> Result<[Tensor; 2]> {
    let (by_z, by_w) = map_gradients(op, kind, z, Some(w), g)?;
    let by_w = by_w.unwrap_or_else(|| by_z.clone());
    let sum = sum_plan(op, &by_w, w.shape())?;
    Ok([by_z, summed(&by_w, sum, w.shape())?])
}

/// `max(|z| + w, 0) z/|z|` for every element: modReLU, which keeps phases and cuts magnitudes below `−w`.
///
/// `z`: complex, any shape with an axis; `w`: real, of the rank of `z` and 1 on every axis that shares it. Zero
/// stays zero. 16 bits are computed in `f32`.
///
/// # Errors
/// [`Error::Dtype`](crate::Error::Dtype) for a real `z`, a complex `w` or types that differ, [`Error::Shape`](crate::Error::Shape) if the shapes do
/// not belong together, [`Error::Axis`](crate::Error::Axis) for a `z` without an axis, [`Error::Limit`](crate::Error::Limit) if the device has no room.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, mod_relu};
/// let device = Device::best()?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(3.0, 4.0), Complex32::new(0.0, 1.0)], &[1, 2])?;
/// let bias = Tensor::from_slice(&device, &[-2.5f32], &[1, 1])?;
/// let y: Vec<Complex32> = mod_relu(&z, &bias)?.read()?;
/// assert!((y[0] - Complex32::new(1.5, 2.0)).norm() < 1e-6);
/// assert_eq!(y[1], Complex32::ZERO);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn mod_relu(z: &Tensor, w: &Tensor) -> Result<Tensor> {
    map("mod_relu", Map::ModRelu, z, Some(w))
}

/// The gradients `[∂z, ∂w]` of [`mod_relu`] from the gradient `g` of its result; that of `w` in the compute
/// type, summed over what shares it. Where `z = 0` both are 0.
///
/// # Errors
/// As [`mod_relu`].
pub fn mod_relu_vjp(z: &Tensor, w: &Tensor, g: &Tensor) -> Result<[Tensor; 2]> {
    weighted_vjp("mod_relu_vjp", Map::ModRelu, [z, w, g])
}

/// `½ (1 + cos arg z) z` for every element: the cardioid, which cuts negative numbers on the real axis and keeps phases.
///
/// # Errors
/// As [`mod_relu`].
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, cardioid};
/// let device = Device::best()?;
/// let z = [Complex32::new(2.0, 0.0), Complex32::new(-2.0, 0.0), Complex32::new(0.0, 2.0)];
/// let y: Vec<Complex32> = cardioid(&Tensor::from_slice(&device, &z, &[3])?)?.read()?;
/// assert_eq!(y, [z[0], Complex32::ZERO, z[2] / 2.0]);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn cardioid(z: &Tensor) -> Result<Tensor> {
    map("cardioid", Map::Cardioid, z, None)
}

/// The gradient of [`cardioid`] from the gradient `g` of its result; `½ g` where `z = 0`.
///
/// # Errors
/// As [`mod_relu`].
pub fn cardioid_vjp(z: &Tensor, g: &Tensor) -> Result<Tensor> {
    Ok(map_gradients("cardioid_vjp", Map::Cardioid, z, None, g)?.0)
}

/// `e^{iw} z` for every element, `w` in radians: rotary phases.
///
/// `w` as in [`mod_relu`]. Its sine and cosine are to a few `ε` for every `w`, whatever the driver's are.
///
/// # Errors
/// As [`mod_relu`]; [`Error::Dtype`](crate::Error::Dtype) for `f64`.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, phase_rotate};
/// let device = Device::best()?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(1.0, 2.0); 2], &[2])?;
/// let angle = Tensor::from_slice(&device, &[0.0, std::f32::consts::FRAC_PI_2], &[2])?;
/// let y: Vec<Complex32> = phase_rotate(&z, &angle)?.read()?;
/// assert!((y[0] - Complex32::new(1.0, 2.0)).norm() < 1e-6);
/// assert!((y[1] - Complex32::new(-2.0, 1.0)).norm() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn phase_rotate(z: &Tensor, w: &Tensor) -> Result<Tensor> {
    map("phase_rotate", Map::Rotate, z, Some(w))
}

/// The gradients `[∂z, ∂w]` of [`phase_rotate`] from the gradient `g` of its result; that of `w` in the
/// compute type, summed over what shares it.
///
/// # Errors
/// As [`phase_rotate`].
pub fn phase_rotate_vjp(z: &Tensor, w: &Tensor, g: &Tensor) -> Result<[Tensor; 2]> {
    weighted_vjp("phase_rotate_vjp", Map::Rotate, [z, w, g])
}

/// `z/(1 + e^{−w})` for every element: a gate for frequencies or channels. `w` as in [`mod_relu`].
///
/// # Errors
/// As [`mod_relu`]; [`Error::Dtype`](crate::Error::Dtype) for `f64`.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, sigmoid_gate};
/// let device = Device::best()?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(1.0, -2.0); 2], &[2])?;
/// let w = Tensor::from_slice(&device, &[0.0f32, -200.0], &[2])?;
/// let y: Vec<Complex32> = sigmoid_gate(&z, &w)?.read()?;
/// assert_eq!(y, [Complex32::new(0.5, -1.0), Complex32::new(0.0, 0.0)]);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn sigmoid_gate(z: &Tensor, w: &Tensor) -> Result<Tensor> {
    map("sigmoid_gate", Map::Gate, z, Some(w))
}

/// The gradients `[∂z, ∂w]` of [`sigmoid_gate`] from the gradient `g` of its result; that of `w` in the
/// compute type, summed over what shares it.
///
/// # Errors
/// As [`sigmoid_gate`].
pub fn sigmoid_gate_vjp(z: &Tensor, w: &Tensor, g: &Tensor) -> Result<[Tensor; 2]> {
    weighted_vjp("sigmoid_gate_vjp", Map::Gate, [z, w, g])
}

/// The pairs `(|z|, arg z)`, the angle in `(−π, π]` and 0 for zero, in the places of real and imaginary part.
///
/// # Errors
/// As [`mod_relu`]; [`Error::Dtype`](crate::Error::Dtype) for `f64`.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, from_polar, to_polar};
/// let device = Device::best()?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(0.0, -2.0)], &[1])?;
/// let polar = to_polar(&z)?;
/// let pair: Vec<Complex32> = polar.read()?;
/// assert!((pair[0] - Complex32::new(2.0, -std::f32::consts::FRAC_PI_2)).norm() < 1e-6);
/// let back: Vec<Complex32> = from_polar(&polar)?.read()?;
/// assert!((back[0] - Complex32::new(0.0, -2.0)).norm() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn to_polar(z: &Tensor) -> Result<Tensor> {
    map("to_polar", Map::Polar, z, None)
}

/// The gradient of [`to_polar`] from the pairs `g` of gradients by magnitude and angle; 0 where `z = 0`.
///
/// # Errors
/// As [`to_polar`].
pub fn to_polar_vjp(z: &Tensor, g: &Tensor) -> Result<Tensor> {
    Ok(map_gradients("to_polar_vjp", Map::Polar, z, None, g)?.0)
}

/// `r e^{iφ}` from the pairs `(r, φ)` in the places of real and imaginary part.
///
/// # Errors
/// As [`to_polar`].
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, from_polar};
/// let device = Device::best()?;
/// let pair = Tensor::from_slice(&device, &[Complex32::new(2.0, std::f32::consts::PI)], &[1])?;
/// let z: Vec<Complex32> = from_polar(&pair)?.read()?;
/// assert!((z[0] - Complex32::new(-2.0, 0.0)).norm() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn from_polar(pairs: &Tensor) -> Result<Tensor> {
    map("from_polar", Map::Cartesian, pairs, None)
}

/// The pairs of gradients by magnitude and angle of [`from_polar`], from the gradient `g` of its result.
///
/// # Errors
/// As [`to_polar`].
pub fn from_polar_vjp(pairs: &Tensor, g: &Tensor) -> Result<Tensor> {
    Ok(map_gradients("from_polar_vjp", Map::Cartesian, pairs, None, g)?.0)
}

/// `w_j z_j / √(mean |z|² + ε)` along the last axis, the root mean square norm of complex channels; phases stay.
///
/// `z`: complex, `[…, n]`; `w`: real, of the rank of `z` and 1 on every axis that shares it. The sum has a
/// fixed order: the same input on the same device gives the same bits.
///
/// # Errors
/// As [`mod_relu`]; [`Error::Length`](crate::Error::Length) for lines of no elements, [`Error::Value`](crate::Error::Value) for an `epsilon` that is no
/// normal number above zero of `f32`, or of `f64` for operands of that.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, complex_rms_norm};
/// let device = Device::best()?;
/// let z = Tensor::from_slice(&device, &[Complex32::new(3.0, 4.0), Complex32::ZERO], &[1, 2])?;
/// let w = Tensor::from_slice(&device, &[2.0f32], &[1, 1])?;
/// let y: Vec<Complex32> = complex_rms_norm(&z, &w, 1e-6)?.read()?;
/// let root = 12.5f32.sqrt();
/// assert!((y[0] - Complex32::new(6.0, 8.0) / root).norm() < 1e-5);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn complex_rms_norm(z: &Tensor, w: &Tensor, epsilon: f64) -> Result<Tensor> {
    z.check_complex("complex_rms_norm", "z", true)?;
    norm("complex_rms_norm", z, w, epsilon)
}

/// The gradients `[∂z, ∂w]` of [`complex_rms_norm`] from the gradient `g` of its result; that of `w` in the
/// compute type, summed over what shares it.
///
/// # Errors
/// As [`complex_rms_norm`].
pub fn complex_rms_norm_vjp(
    z: &Tensor,
    w: &Tensor,
    epsilon: f64,
    g: &Tensor,
) -> Result<[Tensor; 2]> {
    z.check_complex("complex_rms_norm_vjp", "z", true)?;
    norm_vjp("complex_rms_norm_vjp", z, w, epsilon, g)
}

/// `w_j z_j / √(mean z² + ε)` along the last axis, the root mean square norm of real channels: as [`complex_rms_norm`],
/// with a real `z`.
///
/// # Errors
/// As [`complex_rms_norm`].
///
/// ```
/// use wavecube::{Device, Tensor, rms_norm};
/// let device = Device::best()?;
/// let z = Tensor::from_slice(&device, &[3.0f32, 4.0], &[1, 2])?;
/// let w = Tensor::from_slice(&device, &[1.0f32, 2.0], &[1, 2])?;
/// let y: Vec<f32> = rms_norm(&z, &w, 1e-6)?.read()?;
/// assert!((y[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-5);
/// assert!((y[1] - 8.0 / 12.5f32.sqrt()).abs() < 1e-5);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn rms_norm(z: &Tensor, w: &Tensor, epsilon: f64) -> Result<Tensor> {
    z.check_complex("rms_norm", "z", false)?;
    norm("rms_norm", z, w, epsilon)
}

/// The gradients `[∂z, ∂w]` of [`rms_norm`] from the gradient `g` of its result, as [`complex_rms_norm_vjp`].
///
/// # Errors
/// As [`complex_rms_norm`].
pub fn rms_norm_vjp(z: &Tensor, w: &Tensor, epsilon: f64, g: &Tensor) -> Result<[Tensor; 2]> {
    z.check_complex("rms_norm_vjp", "z", false)?;
    norm_vjp("rms_norm_vjp", z, w, epsilon, g)
}

fn norm(op: &'static str, z: &Tensor, w: &Tensor, epsilon: f64) -> Result<Tensor> {
    let layouts = operands(op, z, Some(w), None)?;
    let number = (z.dtype(), parts(z));
    let plan = RmsNormPlan::new(op, layouts, epsilon, number, z.device().limits())?;
    let y = Tensor::empty(z.device(), z.dtype(), z.is_complex(), z.shape())?;
    rms_norm_launch(z.device().client(), [z.handle(), w.handle(), y.handle()], &plan)?;
    Ok(y)
}

fn norm_vjp(
    op: &'static str,
    z: &Tensor,
    w: &Tensor,
    epsilon: f64,
    g: &Tensor,
) -> Result<[Tensor; 2]> {
    let layouts = operands(op, z, Some(w), Some(g))?;
    let number = (z.dtype(), parts(z));
    let plan = RmsNormPlan::new(op, layouts, epsilon, number, z.device().limits())?;
    let by_z = Tensor::empty(z.device(), z.dtype(), z.is_complex(), z.shape())?;
    let by_w = Tensor::empty(z.device(), z.dtype().compute(), false, z.shape())?;
    let sum = sum_plan(op, &by_w, w.shape())?;
    let gradients = [by_z.handle(), by_w.handle()];
    let read = [z.handle(), w.handle(), g.handle()];
    rms_norm_vjp_launch(z.device().client(), read, gradients, &plan)?;
    Ok([by_z, summed(&by_w, sum, w.shape())?])
}

/// The parts of an element.
fn parts(z: &Tensor) -> usize {
    if z.is_complex() { 2 } else { 1 }
}
