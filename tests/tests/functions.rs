//! Elementary functions against `f64` on every device, over all normal numbers and what is none.

use cubecl::prelude::*;
use wavecube::{Complex64, Device, Dtype};
use wavecube_kernels::functions;
use wavecube_testing::{Rng, devices, nan_filled, read, tensor};

/// A function, its value, and what its error may be of that.
type Function = (u32, &'static str, fn(f64, f64) -> f64, f64);

const FUNCTIONS: [Function; 9] = [
    (0, "exp", |x, _| x.exp(), 3e-7),
    (1, "ln", |x, _| x.ln(), 3e-7),
    (2, "tanh", |x, _| x.tanh(), 4e-7),
    (3, "silu", |x, _| if x == f64::NEG_INFINITY { 0.0 } else { x / (1.0 + (-x).exp()) }, 8e-7),
    (4, "sigmoid", |x, _| 1.0 / (1.0 + (-x).exp()), 8e-7),
    (5, "cos", |x, _| x.cos(), f64::NAN),
    (6, "sin", |x, _| x.sin(), f64::NAN),
    (7, "angle", |x, y| y.atan2(x), 4e-7),
    (8, "slope of tanh", |x, _| x.cosh().powi(-2), 8e-7),
];
/// Of sine and cosine, whatever their value.
const OF_CIRCLE: f64 = 3e-7;

#[cube(launch_unchecked)]
fn apply(x: &[f32], y: &[f32], out: &mut [f32], #[comptime] function: u32) {
    let i = ABSOLUTE_POS;
    if i < x.len() {
        let x = x[i];
        if comptime!(function == 0) {
            out[i] = functions::exp(x);
        } else if comptime!(function == 1) {
            out[i] = functions::ln(x);
        } else if comptime!(function == 2) {
            let (value, _slope) = functions::tanh(x);
            out[i] = value;
        } else if comptime!(function == 3) {
            out[i] = functions::silu(x);
        } else if comptime!(function == 4) {
            let (first, second) = functions::sigmoid_parts(x);
            out[i] = first * second;
        } else if comptime!(function == 5) {
            let (cos, _sin) = functions::cos_sin(x);
            out[i] = cos;
        } else if comptime!(function == 6) {
            let (_cos, sin) = functions::cos_sin(x);
            out[i] = sin;
        } else if comptime!(function == 7) {
            out[i] = functions::angle(x, y[i]);
        } else {
            let (_value, slope) = functions::tanh(x);
            out[i] = slope;
        }
    }
}

fn run(device: &Device, x: &[f32], y: &[f32], function: u32) -> Vec<f64> {
    let upload = |values: &[f32]| {
        let values: Vec<_> = values.iter().map(|&v| Complex64::new(v.into(), 0.0)).collect();
        tensor(device, &values, Dtype::F32, false, &[values.len()]).unwrap().0
    };
    let (x, y) = (upload(x), upload(y));
    let out = nan_filled(device, Dtype::F32, false, x.shape()).unwrap();
    let units = if device.limits().serial { 1 } else { 64 };
    let len = x.shape()[0];
    // SAFETY: each buffer has `len` numbers, with which the kernel compares.
    unsafe {
        let [x, y, out] =
            [&x, &y, &out].map(|tensor| BufferArg::from_raw_parts(tensor.handle().clone(), len));
        apply::launch_unchecked(
            device.client(),
            CubeCount::Static(len.div_ceil(units) as u32, 1, 1),
            CubeDim::new_1d(units as u32),
            x,
            y,
            out,
            function,
        );
    }
    read(&out).iter().map(|v| v.re).collect()
}

/// Numbers of every exponent, where functions turn, and what is no number.
fn numbers(rng: &mut Rng) -> Vec<f32> {
    let mut numbers = vec![0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN];
    for exponent in -126..=127 {
        for _ in 0..8 {
            let size = (rng.uniform(1.0, 2.0) * 2f64.powi(exponent)) as f32;
            numbers.extend([size, -size]);
        }
        numbers.extend([2f32.powi(exponent), -2f32.powi(exponent)]);
    }
    for (from, to) in [(-110.0, 95.0), (-4.0, 4.0), (0.5, 2.0), (8000.0, 9000.0), (1e5, 1e7)] {
        numbers.extend((0..500).map(|_| rng.uniform(from, to) as f32));
    }
    // Near multiples of π/2, where a reduction loses most.
    numbers.extend((1..200).map(|i| (f64::from(i * i * i) * std::f64::consts::FRAC_PI_2) as f32));
    numbers
}

#[test]
fn functions_keep_their_bounds() {
    let mut rng = Rng::fresh();
    let x = numbers(&mut rng);
    // The other operand of an angle: of a size of its own, or nearly the same.
    let mut y = x.clone();
    for i in (1..y.len()).rev() {
        y.swap(i, rng.int(0, i));
    }
    for (i, y) in y.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0) {
        *y = x[i] * rng.uniform(-2.0, 2.0) as f32;
    }
    for y in y.iter_mut().filter(|y| y.is_subnormal()) {
        *y = 0.0;
    }
    for device in devices() {
        for (function, name, exact, bound) in FUNCTIONS {
            let found = run(device, &x, &y, function);
            for (i, found) in found.into_iter().enumerate() {
                let (x, y) = (f64::from(x[i]), f64::from(y[i]));
                let expected = exact(x, y);
                let what = format!("{device} {name}({x:e}, {y:e}), seed {}", rng.seed);
                let rounded = expected as f32;
                if expected.is_nan() {
                    assert!(found.is_nan(), "{what}: {found:e}, not NaN");
                } else if rounded.is_infinite() {
                    assert!(found == f64::from(rounded), "{what}: {found:e}, not {expected:e}");
                } else {
                    // What is below the normal numbers may be 0, and what an angle's operands flush to may be too; a
                    // slope is made of its fourth part.
                    let size = if bound.is_nan() { OF_CIRCLE } else { bound * expected.abs() };
                    let near_infinity = found.is_infinite() && expected.abs() > 3.4e38;
                    let off = (found - expected).abs();
                    assert!(
                        off <= size + 4.0 * f64::from(f32::MIN_POSITIVE) || near_infinity,
                        "{what}: {found:e}, not {expected:e}: off {:e}",
                        off / expected.abs()
                    );
                }
            }
        }
    }
}
