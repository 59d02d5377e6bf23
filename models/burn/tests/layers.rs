//! Products, norms and squares of what is above zero beside sums in `f64`, wherever they run.

use burn::tensor::{DType, Device, Tensor};
use wavecube_burn::{AdamStep, RotaryTables, adam_w, linear, rms_norm, rotary, squared_relu};
use wavecube_core::Error;

use crate::support::{by_kernels, devices, flex, read, tensor, values};

const EPSILON: f64 = 1e-5;
const ULP: f64 = f32::EPSILON as f64;

/// The numbers as the device has them, and the tensor.
fn operand<const D: usize>(
    values: &[f64],
    shape: [usize; D],
    device: &Device,
) -> (Vec<f64>, Tensor<D>) {
    let rounded = values.iter().map(|&x| f64::from(x as f32)).collect();
    let x = tensor(values, shape, DType::F32, &device.clone().autodiff());
    (rounded, x.require_grad())
}

/// `|found − expected| ≤ allowed`, element by element.
#[track_caller]
fn within(what: &str, found: &[f64], expected: &[(f64, f64)]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, (expected, allowed))) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= *allowed, "{what}[{i}]: {found} is not {expected}");
    }
}

/// A sum, and what `f32` may be off: a rounding a term and a few more.
fn sum(terms: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (size, count) = terms.clone().fold((0.0, 0.0), |(size, n), t| (size + t.abs(), n + 1.0));
    (terms.sum(), size * ULP * (2.0 + f64::sqrt(count)) + f64::from(f32::MIN_POSITIVE))
}

#[test]
fn products_of_rows() {
    for device in devices() {
        for ([batch, time], inputs, outputs) in
            [([1, 1], 1, 1), ([2, 3], 5, 7), ([3, 17], 33, 20), ([1, 300], 64, 96)]
        {
            for scale in [1.0, 2.0_f64.powi(-60), 2.0_f64.powi(60)] {
                let what = format!("{device:?} {batch}x{time} {inputs} to {outputs}, {scale:e}");
                let rows = batch * time;
                let scaled: Vec<f64> =
                    values(rows * inputs, 1).into_iter().map(|x| x * scale).collect();
                let (x, x_tensor) = operand(&scaled, [batch, time, inputs], &device);
                let (w, w_tensor) =
                    operand(&values(inputs * outputs, 2), [inputs, outputs], &device);
                let (g, g_tensor) =
                    operand(&values(rows * outputs, 3), [batch, time, outputs], &device);
                let y = linear(x_tensor.clone(), w_tensor.clone()).unwrap();
                assert_eq!(y.dims(), [batch, time, outputs], "{what}");
                let gradients = (y.clone() * g_tensor.detach()).sum().backward();
                let each = |rows: usize, columns: usize| {
                    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
                };
                let expected: Vec<_> = each(rows, outputs)
                    .map(|(i, j)| sum((0..inputs).map(|k| x[i * inputs + k] * w[k * outputs + j])))
                    .collect();
                within(&format!("{what}: y"), &read(y.inner()), &expected);
                let expected: Vec<_> = each(rows, inputs)
                    .map(
                        |(i, k)| sum((0..outputs).map(|j| g[i * outputs + j] * w[k * outputs + j])),
                    )
                    .collect();
                let found = read(x_tensor.grad(&gradients).unwrap());
                within(&format!("{what}: by x"), &found, &expected);
                let expected: Vec<_> = each(inputs, outputs)
                    .map(|(k, j)| sum((0..rows).map(|i| x[i * inputs + k] * g[i * outputs + j])))
                    .collect();
                let found = read(w_tensor.grad(&gradients).unwrap());
                within(&format!("{what}: by w"), &found, &expected);
            }
        }
    }
}

#[test]
fn norms_of_rows() {
    for device in devices() {
        for (rows, n) in [(1, 1), (3, 2), (7, 33), (40, 256), (600, 48)] {
            for scale in [1.0, 2.0_f64.powi(-60), 2.0_f64.powi(60), 2.0_f64.powi(100)] {
                let what = format!("{device:?} {rows}x{n}, {scale:e}");
                let scaled: Vec<f64> = values(rows * n, 1).into_iter().map(|x| x * scale).collect();
                let (x, x_tensor) = operand(&scaled, [rows, n], &device);
                let (gain, gain_tensor) = operand(&values(n, 2), [n], &device);
                let (g, g_tensor) = operand(&values(rows * n, 3), [rows, n], &device);
                let (y, gradients) = by_kernels(&["rms_norm", "rms_norm_vjp"], || {
                    let y = rms_norm(x_tensor.clone(), gain_tensor.clone(), EPSILON).unwrap();
                    (y.clone(), (y * g_tensor.detach()).sum().backward())
                });
                let (mut expected, mut by_x) = (Vec::new(), Vec::new());
                let mut normal = Vec::new();
                for (x, g) in x.chunks(n).zip(g.chunks(n)) {
                    let mean = x.iter().map(|x| x * x).sum::<f64>() / n as f64;
                    let root = 1.0 / (mean + EPSILON).sqrt();
                    let terms = (0..n).map(|j| gain[j] * g[j] * x[j] * root);
                    let size: f64 = terms.clone().map(f64::abs).sum::<f64>() / n as f64;
                    let mean = terms.sum::<f64>() / n as f64;
                    for j in 0..n {
                        let one = x[j] * root;
                        normal.push(one);
                        expected.push((one * gain[j], 8.0 * ULP * (one * gain[j]).abs()));
                        let allowed = (gain[j] * g[j]).abs() + one.abs() * size;
                        let value = root * (gain[j] * g[j] - one * mean);
                        by_x.push((value, 16.0 * ULP * root * allowed));
                    }
                }
                within(&format!("{what}: y"), &read(y.inner()), &expected);
                let found = read(x_tensor.grad(&gradients).unwrap());
                // What is below the least normal number may be taken for zero.
                for (_, allowed) in &mut by_x {
                    *allowed += f64::from(f32::MIN_POSITIVE);
                }
                within(&format!("{what}: by x"), &found, &by_x);
                let by_gain: Vec<_> = (0..n)
                    .map(|j| sum((0..rows).map(|i| normal[i * n + j] * g[i * n + j])))
                    .map(|(value, allowed)| (value, 8.0 * allowed))
                    .collect();
                let found = read(gain_tensor.grad(&gradients).unwrap());
                within(&format!("{what}: by gain"), &found, &by_gain);
            }
        }
    }
}

/// The kernels sum the gradient of the gains in `f32`.
#[test]
fn gradients_have_the_types_of_their_operands() {
    for device in devices() {
        if !device.supports_dtype(DType::F16) {
            continue;
        }
        let device = device.autodiff();
        let operand = |count, seed, shape: [usize; 1]| {
            tensor(&values(count, seed), shape, DType::F16, &device).require_grad()
        };
        let (x, gain) = (operand(24, 1, [24]).reshape([3, 8]), operand(8, 2, [8]));
        let gradients = rms_norm(x, gain.clone(), EPSILON).unwrap().sum().backward();
        let by_gain = gain.grad(&gradients).unwrap();
        assert_eq!(by_gain.dtype(), DType::F16, "{device:?}");
        assert!(read(by_gain).iter().all(|x| x.is_finite()));
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    for device in devices() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut x = values(5 * 24, 1);
            x[2 * 24 + 7] = bad;
            let x_tensor = tensor(&x, [5, 24], DType::F32, &device);
            let gain = tensor(&[1.0; 24], [24], DType::F32, &device);
            let y = read(rms_norm(x_tensor.clone(), gain, EPSILON).unwrap());
            let w = tensor(&values(24 * 3, 2), [24, 3], DType::F32, &device);
            let product = read(linear(x_tensor.clone(), w).unwrap());
            for row in 0..5 {
                let normal = &y[row * 24..(row + 1) * 24];
                assert_eq!(
                    normal.iter().all(|y| y.is_nan()),
                    row == 2,
                    "{device:?} {bad}: {normal:?}"
                );
                assert_eq!(normal.iter().any(|y| !y.is_finite()), row == 2, "{device:?} {bad}");
                let product = &product[row * 3..(row + 1) * 3];
                assert_eq!(product.iter().all(|y| !y.is_finite()), row == 2, "{device:?} {bad}");
            }
            let squares = read(squared_relu(x_tensor));
            for (i, (y, x)) in squares.iter().zip(&x).enumerate() {
                assert_eq!(y.is_nan(), x.is_nan(), "{device:?} {bad} {i}");
            }
        }
    }
}

#[test]
fn squares_of_what_is_above_zero() {
    for device in devices() {
        let mut all = values(40_001, 4);
        all.extend([0.0, -0.0, 1e18, -1e18, 1e-18]);
        let (x, x_tensor) = operand(&all, [all.len()], &device);
        let (g, g_tensor) = operand(&values(all.len(), 5), [all.len()], &device);
        let y = squared_relu(x_tensor.clone());
        let gradients = (y.clone() * g_tensor.detach()).sum().backward();
        let least = f64::from(f32::MIN_POSITIVE);
        let exact = |value: f64| (value, 2.0 * ULP * value.abs() + least);
        let squares: Vec<_> = x.iter().map(|x| exact(x.max(0.0).powi(2))).collect();
        within(&format!("{device:?}: y"), &read(y.inner()), &squares);
        let slopes: Vec<_> = x.iter().zip(&g).map(|(x, g)| exact(2.0 * x.max(0.0) * g)).collect();
        let found = read(x_tensor.grad(&gradients).unwrap());
        within(&format!("{device:?}: slope"), &found, &slopes);
    }
}

#[test]
fn pairs_turn_by_their_angles_and_gradients_back() {
    for device in devices() {
        for (shape, from) in [([1, 1, 1, 2], 0), ([2, 3, 7, 10], 4), ([1, 4, 65, 32], 1000)] {
            let [batch, heads, time, dim] = shape;
            let (count, half) = (batch * heads * time * dim, dim / 2);
            let tables = RotaryTables::new(from..from + time, dim, 10_000.0, &device).unwrap();
            // As heads lie behind a product: positions before heads.
            let (x, x_tensor) = operand(&values(count, 1), [batch, time, heads, dim], &device);
            let (g, g_tensor) = operand(&values(count, 2), shape, &device);
            let y = rotary(x_tensor.clone().swap_dims(1, 2), &tables).unwrap();
            let gradients = (y.clone() * g_tensor.detach()).sum().backward();
            let (mut turned, mut back) = (vec![(0.0, 0.0); count], vec![(0.0, 0.0); count]);
            for (at, turned) in turned.iter_mut().enumerate() {
                let [i, t] = [at % dim, at / dim % time];
                let [head, row] = [at / (dim * time) % heads, at / (dim * time * heads)];
                let pair = i % half;
                let angle = (from + t) as f64 * 1e4_f64.powf(-(pair as f64) / half as f64);
                let (sin, cos) = angle.sin_cos();
                let place = |i: usize| ((row * time + t) * heads + head) * dim + i;
                let line = at - i;
                let allowed = |a: f64, b: f64| 4.0 * ULP * (a.abs() + b.abs());
                let [low, high] = [x[place(pair)], x[place(pair + half)]];
                let value = if i < half { low * cos - high * sin } else { high * cos + low * sin };
                *turned = (value, allowed(low, high));
                let [low, high] = [g[line + pair], g[line + pair + half]];
                let value = if i < half { low * cos + high * sin } else { high * cos - low * sin };
                back[place(i)] = (value, allowed(low, high));
            }
            let what = format!("{device:?} {shape:?}");
            within(&format!("{what}: y"), &read(y.inner()), &turned);
            within(&format!("{what}: by x"), &read(x_tensor.grad(&gradients).unwrap()), &back);
        }
    }
}

#[test]
fn steps_of_adam() {
    for device in devices() {
        let len = 20_003;
        let place = |values: &[f64]| tensor(values, [values.len()], DType::F32, &device);
        let rounded = |values: Vec<f64>| -> Vec<f64> {
            values.into_iter().map(|x| f64::from(x as f32)).collect()
        };
        let mut p = rounded(values(len, 1));
        let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
        let mut found = [place(&p), place(&m), place(&v)];
        for (time, factor) in [(1, 1.0), (2, 0.25), (3, 1.0)] {
            let mut g = rounded(values(len, 1 + time as u64));
            // A parameter that no gradient reaches only decays.
            g[..10].fill(0.0);
            let step =
                AdamStep { rate: 0.01, weight_decay: 0.1, betas: [0.9, 0.95], epsilon: 1e-8, time };
            let [parameters, first, second] = found;
            found = adam_w(parameters, [first, second], place(&g), place(&[factor]), step).unwrap();
            for i in 0..len {
                let g = g[i] * factor;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.95 * v[i] + 0.05 * g * g;
                let [first, second] = [(m[i], 0.9_f64), (v[i], 0.95)]
                    .map(|(moment, beta)| moment / (1.0 - beta.powi(time as i32)));
                p[i] = p[i] * (1.0 - 0.001) - 0.01 * first / (second.sqrt() + 1e-8);
            }
            let what = format!("{device:?}, step {time}");
            for (name, found, expected, size) in [
                ("parameters", &found[0], &p, 0.1),
                ("first", &found[1], &m, 1.0),
                ("second", &found[2], &v, 1.0),
            ] {
                let allowed = |x: f64| (x, 16.0 * ULP * (x.abs() + size));
                let expected: Vec<_> = expected.iter().map(|&x| allowed(x)).collect();
                within(&format!("{what}: {name}"), &read(found.clone()), &expected);
            }
        }
    }
}

#[test]
fn bad_input_is_an_error() {
    let zeros = |shape: [usize; 2]| Tensor::<2>::zeros(shape, &flex());
    let gain = |n: usize| Tensor::<1>::ones([n], &flex());
    let error = linear(zeros([2, 3]), zeros([4, 5])).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "w", .. }), "{error}");
    let error = rms_norm(zeros([2, 3]), gain(4), EPSILON).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "gain", .. }), "{error}");
    let error = rms_norm(zeros([2, 0]), gain(0), EPSILON).unwrap_err();
    assert!(matches!(error, Error::Length { argument: "x", .. }), "{error}");
    for epsilon in [0.0, -1.0, f64::NAN] {
        let error = rms_norm(zeros([2, 3]), gain(3), epsilon).unwrap_err();
        assert!(matches!(error, Error::Value { argument: "epsilon", .. }), "{error}");
    }
    let step =
        AdamStep { rate: 0.1, weight_decay: 0.0, betas: [0.9, 0.999], epsilon: 1e-8, time: 0 };
    let error = adam_w(gain(3), [gain(3), gain(3)], gain(3), gain(1), step).unwrap_err();
    assert!(matches!(error, Error::Length { argument: "time", .. }), "{error}");
    let error = adam_w(gain(3), [gain(3), gain(2)], gain(3), gain(1), step).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "second", .. }), "{error}");
    let error = RotaryTables::new(0..4, 3, 1e4, &flex()).unwrap_err();
    assert!(matches!(error, Error::Length { argument: "dim", .. }), "{error}");
    let tables = RotaryTables::new(0..4, 6, 1e4, &flex()).unwrap();
    let error = rotary(Tensor::<4>::zeros([1, 1, 5, 6], &flex()), &tables).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "tables", .. }), "{error}");
    assert_eq!(linear(zeros([0, 3]), zeros([3, 5])).unwrap().dims(), [0, 5]);
    let of_nothing = linear(zeros([2, 0]), zeros([0, 5])).unwrap();
    assert_eq!(read(of_nothing), [0.0; 10]);
}
