//! The operations: values, adjoints, gradients of parameters, and wgpu against flex.

use std::f64::consts::{FRAC_PI_2, PI};

use burn::tensor::{DType, Device, Tensor};
use wavecube_burn::{
    LctPlan, Normalization, Parameters, counts, fft, ifft, irfft, lct, matrix, rfft,
};

use crate::support::{by_kernels, close, devices_with_kernels, flex, read, tensor, values};

const NORMS: [Normalization; 3] =
    [Normalization::Backward, Normalization::Ortho, Normalization::Forward];

#[test]
fn fft_is_its_definition() {
    for n in [1, 2, 3, 8, 12, 17] {
        let x = values(2 * n, n as u64);
        let expected: Vec<f64> = (0..n)
            .flat_map(|k| {
                let mut sum = [0.0; 2];
                for j in 0..n {
                    let (s, c) = (-2.0 * PI * ((j * k) % n) as f64 / n as f64).sin_cos();
                    sum[0] += x[2 * j] * c - x[2 * j + 1] * s;
                    sum[1] += x[2 * j] * s + x[2 * j + 1] * c;
                }
                sum
            })
            .collect();
        let y = fft(tensor(&x, [1, n, 2], DType::F64, &flex()), Normalization::Backward).unwrap();
        close(&read(y), &expected, 1e-13);
    }
}

#[test]
fn inverses_undo_and_rfft_is_half_of_fft() {
    for (norm, n) in NORMS.into_iter().flat_map(|norm| [1, 2, 7, 16].map(|n| (norm, n))) {
        let x = values(6 * n, 5);
        let there = fft(tensor(&x, [3, n, 2], DType::F64, &flex()), norm).unwrap();
        close(&read(ifft(there, norm).unwrap()), &x, 1e-13);

        let signal = tensor(&x, [6, n], DType::F64, &flex());
        let half: Tensor<3> = rfft(signal.clone(), norm).unwrap();
        let whole: Tensor<3> = Tensor::stack(vec![signal.clone(), signal.zeros_like()], 2);
        let whole = fft(whole, norm).unwrap().narrow(1, 0, n / 2 + 1);
        close(&read(half.clone()), &read(whole), 1e-13);
        close(&read(irfft::<3, 2>(half, n, norm).unwrap()), &x, 1e-13);
    }
}

#[test]
fn adjoints_pass_the_dot_product_test() {
    let device = flex().autodiff();
    let n = 9;
    for norm in NORMS {
        let check = |run: &dyn Fn(Tensor<3>) -> Tensor<3>, shape: [usize; 3]| {
            let count = shape.iter().product();
            let x = tensor(&values(count, 1), shape, DType::F64, &device).require_grad();
            let y = run(x.clone());
            let weights =
                tensor(&values(y.shape().num_elements(), 2), y.dims(), DType::F64, &device);
            let gradients = (y * weights.clone()).sum().backward();
            let gradient = read(x.grad(&gradients).unwrap());
            let v = values(count, 3);
            let direct =
                read((run(tensor(&v, shape, DType::F64, &device)) * weights).sum().inner())[0];
            let through: f64 = gradient.iter().zip(&v).map(|(g, v)| g * v).sum();
            close(&[through], &[direct], 1e-12);
        };
        check(&|x| fft(x, norm).unwrap(), [2, n, 2]);
        check(&|x| ifft(x, norm).unwrap(), [2, n, 2]);
        for n in [8, n] {
            check(&|x| rfft(x.reshape([2, n]), norm).unwrap(), [2, n, 1]);
            check(&|x| irfft::<3, 2>(x, n, norm).unwrap().reshape([2, n, 1]), [2, n / 2 + 1, 2]);
        }
    }
}

/// The smooth kernel next to `b = 0` has a plain body alone.
const SMOOTH: &str = "causal, degenerate";

/// A transform, and the parameter values it is tried at.
struct Case {
    name: &'static str,
    values: Vec<f64>,
    plan: fn(usize, &[f64]) -> LctPlan,
}

fn cases() -> Vec<Case> {
    let shear =
        |n, v: &[f64]| LctPlan::shear(n, [v[0], v[1], v[2]], Parameters::Shear, 1e-3).unwrap();
    let lie = |n, v: &[f64]| LctPlan::shear(n, [v[0], v[1], v[2]], Parameters::Lie, 0.05).unwrap();
    let causal = |n, v: &[f64]| {
        LctPlan::causal(n, n + 3, [v[0], v[1], v[2]], Parameters::Shear, 0.05).unwrap()
    };
    let causal_lie = |n, v: &[f64]| {
        LctPlan::causal(n, n + 3, [v[0], v[1], v[2]], Parameters::Lie, 0.05).unwrap()
    };
    let fractional = |n, v: &[f64]| LctPlan::fractional(n, v[0]).unwrap();
    vec![
        Case { name: "shear", values: vec![-0.7, 1.2, 0.4], plan: shear },
        Case { name: "shear at zero", values: vec![0.0, 0.0, 0.0], plan: shear },
        Case { name: "lie", values: vec![0.2, 0.9, -0.5], plan: lie },
        Case { name: "lie, degenerate", values: vec![0.3, 0.02, -0.8], plan: lie },
        Case { name: "lie, degenerate, turned", values: vec![0.4, 0.03, 0.9], plan: lie },
        Case { name: "causal", values: vec![-0.7, 1.2, 0.4], plan: causal },
        Case { name: "causal, b < 0", values: vec![0.3, -0.8, 0.1], plan: causal },
        Case { name: SMOOTH, values: vec![0.3, 0.01, 0.1], plan: causal },
        Case { name: "causal lie", values: vec![0.1, 0.9, -0.5], plan: causal_lie },
        Case { name: "fractional", values: vec![0.8], plan: fractional },
        Case {
            name: "fractional at the Fourier transform",
            values: vec![FRAC_PI_2],
            plan: fractional,
        },
    ]
}

fn parameters(values: &[f64], dtype: DType, device: &Device) -> Tensor<1> {
    tensor(values, [values.len()], dtype, device)
}

#[test]
fn lct_gradients_match_finite_differences() {
    let device = flex().autodiff();
    for case in cases() {
        for adjoint in [false, true] {
            for n in [1, 6, 7] {
                let plan = |values: &[f64]| {
                    let plan = (case.plan)(n, values);
                    if adjoint { plan.inverse() } else { Ok(plan) }
                };
                // The causal transform has no inverse.
                if plan(&case.values).is_err() {
                    continue;
                }
                let x = values(4 * n, 1);
                let w = values(4 * n, 2);
                let loss = |x: &[f64], p: &[f64]| {
                    let x = tensor(x, [2, n, 2], DType::F64, &flex());
                    let y = lct(x, parameters(p, DType::F64, &flex()), &plan(p).unwrap()).unwrap();
                    read(y).iter().zip(&w).map(|(y, w)| y * w).sum::<f64>()
                };
                let tracked = tensor(&x, [2, n, 2], DType::F64, &device).require_grad();
                let learned = parameters(&case.values, DType::F64, &device).require_grad();
                let plan = plan(&case.values).unwrap();
                let y = lct(tracked.clone(), learned.clone(), &plan).unwrap();
                let weights = tensor(&w, [2, n, 2], DType::F64, &device);
                let gradients = (y * weights).sum().backward();

                let step = 1e-5;
                let slopes: Vec<f64> = (0..case.values.len())
                    .map(|index| {
                        let moved = |by: f64| {
                            let mut p = case.values.clone();
                            p[index] += by;
                            loss(&x, &p)
                        };
                        (moved(step) - moved(-step)) / (2.0 * step)
                    })
                    .collect();
                let gradient = read(learned.grad(&gradients).unwrap());
                let scale = slopes.iter().fold(1.0_f64, |m, s| m.max(s.abs()));
                for (found, expected) in gradient.iter().zip(&slopes) {
                    assert!(
                        (found - expected).abs() <= 1e-6 * scale,
                        "{} (adjoint: {adjoint}, n = {n}): {gradient:?} instead of {slopes:?}",
                        case.name
                    );
                }
                // The map is linear in x: the gradient is exact along any direction.
                let v = values(4 * n, 3);
                let gradient = read(tracked.grad(&gradients).unwrap());
                let through: f64 = gradient.iter().zip(&v).map(|(g, v)| g * v).sum();
                close(&[through], &[loss(&v, &case.values)], 1e-11);
            }
        }
    }
}

#[test]
fn lct_inverse_undoes_and_is_unitary() {
    for case in cases() {
        for n in [1, 8, 15] {
            let plan = (case.plan)(n, &case.values);
            let Ok(inverse) = plan.clone().inverse() else { continue };
            let x = values(2 * n, 4);
            let p = parameters(&case.values, DType::F64, &flex());
            let there = lct(tensor(&x, [n, 2], DType::F64, &flex()), p.clone(), &plan).unwrap();
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
            close(&[norm(&read(there.clone()))], &[norm(&x)], 1e-12);
            close(&read(lct(there, p, &inverse).unwrap()), &x, 1e-12);
        }
    }
}

#[test]
fn every_way_to_the_fourier_transform_agrees() {
    let n = 64;
    let x = values(2 * n, 6);
    let input = || tensor(&x, [n, 2], DType::F64, &flex());
    let run = |values: &[f64], plan: &LctPlan| {
        read(lct(input(), parameters(values, DType::F64, &flex()), plan).unwrap())
    };
    let fractional = run(&[FRAC_PI_2], &LctPlan::fractional(n, FRAC_PI_2).unwrap());
    let dense = matrix::centred_dft(n, 1);
    let expected: Vec<f64> = (0..n)
        .flat_map(|u| {
            (0..n).fold([0.0; 2], |[re, im], t| {
                let m = dense.entry(u, t);
                let (a, b) = (x[2 * t], x[2 * t + 1]);
                [re + m.re * a - m.im * b, im + m.re * b + m.im * a]
            })
        })
        .collect();
    close(&fractional, &expected, 1e-13);
    // Shears are true to it inside the window only: a narrow Gaussian stays there.
    let gaussian: Vec<f64> =
        (0..n).flat_map(|j| [(-PI * matrix::grid(n, j).powi(2) / n as f64).exp(), 0.0]).collect();
    let of_gaussian = |values: [f64; 3], parameters_are: Parameters| {
        let plan = LctPlan::shear(n, values, parameters_are, 1e-3).unwrap();
        let input = tensor(&gaussian, [n, 2], DType::F64, &flex());
        read(lct(input, parameters(&values, DType::F64, &flex()), &plan).unwrap())
    };
    let eighth = |re: f64, im: f64| {
        // (i b)^(−1/2) at b = 1 is e^(−iπ/4): the shears carry it, the plain transform does not.
        let (s, c) = (-PI / 4.0).sin_cos();
        [re * c - im * s, re * s + im * c]
    };
    let turned: Vec<f64> = gaussian.chunks(2).flat_map(|pair| eighth(pair[0], pair[1])).collect();
    close(&of_gaussian([-1.0, 1.0, -1.0], Parameters::Shear), &turned, 1e-6);
    close(&of_gaussian([0.0, FRAC_PI_2, -FRAC_PI_2], Parameters::Lie), &turned, 1e-6);
}

#[test]
fn causal_outputs_do_not_see_the_future() {
    for case in cases().into_iter().filter(|case| case.name.starts_with("causal")) {
        let n = 12;
        let plan = (case.plan)(n, &case.values);
        let run = |x: &[f64]| {
            let p = parameters(&case.values, DType::F32, &flex());
            read(lct(tensor(x, [n, 2], DType::F32, &flex()), p, &plan).unwrap())
        };
        let x = values(2 * n, 7);
        let before = run(&x);
        for t in 0..n {
            let mut changed = x.clone();
            changed[2 * t] += 1.0;
            let after = run(&changed);
            assert_eq!(before[..2 * t], after[..2 * t], "{}: input {t}", case.name);
            assert_ne!(before[2 * t..2 * t + 2], after[2 * t..2 * t + 2], "{}: {t}", case.name);
        }
    }
}

#[test]
fn kernels_agree_with_flex() {
    let n = 24;
    let x = values(4 * n, 8);
    let w = values(8 * n, 9);
    let run = |device: &Device, op: &dyn Fn(Tensor<3>) -> Tensor<3>| {
        let device = device.clone().autodiff();
        let input = tensor(&x, [2, n, 2], DType::F32, &device).require_grad();
        let y = op(input.clone());
        let count = y.shape().num_elements();
        let weights = tensor(&w[..count], y.dims(), DType::F32, &device);
        let gradients = (y.clone() * weights).sum().backward();
        (read(y.inner()), read(input.grad(&gradients).unwrap()))
    };
    let compare = |operations: [&str; 2], op: &dyn Fn(Tensor<3>) -> Tensor<3>| {
        let (expected, expected_gradient) = run(&flex(), op);
        for device in devices_with_kernels() {
            let (found, found_gradient) = by_kernels(&operations, || run(&device, op));
            close(&found, &expected, 2e-6);
            close(&found_gradient, &expected_gradient, 2e-6);
        }
    };
    // The norm is a factor in a table: one is enough to compare the kernels by.
    let norm = Normalization::Backward;
    compare(["fft"; 2], &|x| fft(x, norm).unwrap());
    compare(["fft"; 2], &|x| ifft(x, norm).unwrap());
    compare(["rfft", "rfft_vjp"], &|x| rfft(x.reshape([2, 2 * n]), norm).unwrap());
    compare(["irfft", "irfft_vjp"], &|x| {
        irfft::<3, 2>(x, 2 * n - 2, norm).unwrap().reshape([2, 2 * n - 2, 1])
    });
    // Each kind of plan once: every kernel is compiled for it on the spot.
    let kinds = ["shear", "lie, degenerate", "causal", SMOOTH, "causal lie", "fractional"];
    for case in cases().into_iter().filter(|case| kinds.contains(&case.name)) {
        for adjoint in [false, true] {
            let plan = (case.plan)(n, &case.values);
            if adjoint && case.name != "shear" {
                continue;
            }
            let plan = if adjoint { plan.inverse().unwrap() } else { plan };
            let run = |device: &Device| {
                let device = device.clone().autodiff();
                let p = parameters(&case.values, DType::F32, &device).require_grad();
                let input = tensor(&x, [2, n, 2], DType::F32, &device).require_grad();
                let y = lct(input.clone(), p.clone(), &plan).unwrap();
                let weights = tensor(&w[..4 * n], [2, n, 2], DType::F32, &device);
                let gradients = (y.clone() * weights).sum().backward();
                (
                    read(y.inner()),
                    read(input.grad(&gradients).unwrap()),
                    read(p.grad(&gradients).unwrap()),
                )
            };
            let expected = run(&flex());
            for device in devices_with_kernels() {
                let found = if case.name == SMOOTH {
                    let fell_back = || counts().get("lct").map_or(0, |count| count.fell_back);
                    let before = fell_back();
                    let found = run(&device);
                    assert_eq!(fell_back(), before + 1);
                    found
                } else {
                    by_kernels(&["lct", "lct_vjp"], || run(&device))
                };
                close(&found.0, &expected.0, 2e-6);
                close(&found.1, &expected.1, 2e-6);
                close(&found.2, &expected.2, 1e-4);
            }
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let x = || tensor(&values(24, 1), [2, 4, 3], DType::F32, &flex());
    assert!(fft(x(), Normalization::Ortho).unwrap_err().to_string().contains("[2, 4, 2]"));
    let empty: Tensor<2> = Tensor::zeros([0, 2], &flex());
    assert!(fft(empty, Normalization::Ortho).unwrap_err().to_string().contains("at least 1"));
    let plan = LctPlan::fractional(4, 0.3).unwrap();
    assert!(lct(x(), Tensor::zeros([1], &flex()), &plan).is_err());
    let pair = tensor(&values(8, 1), [4, 2], DType::F32, &flex());
    assert!(lct(pair, Tensor::zeros([3], &flex()), &plan).is_err());
    assert!(LctPlan::fractional(0, 0.3).is_err());
    assert!(LctPlan::fractional(4, f64::NAN).is_err());
    assert!(LctPlan::shear(4, [0.0, f64::INFINITY, 0.0], Parameters::Lie, 1e-3).is_err());
    assert!(LctPlan::causal(5, 4, [0.0, 1.0, 0.0], Parameters::Shear, 1e-3).is_err());
    let x = tensor(&values(10, 1), [5, 2], DType::F32, &flex());
    assert!(irfft::<2, 1>(x.clone(), 12, Normalization::Ortho).is_err());
    assert!(irfft::<2, 2>(x, 8, Normalization::Ortho).is_err());
}

#[test]
fn long_lines_run_by_kernels() {
    for device in devices_with_kernels() {
        by_kernels(&["fft", "lct", "lct_vjp"], || long_lines(&device));
    }
}

fn long_lines(device: &Device) {
    let n = 1 << 16;
    let mut impulse = vec![0.0; 2 * n];
    impulse[0] = 1.0;
    let y = fft(tensor(&impulse, [n, 2], DType::F32, device), Normalization::Backward).unwrap();
    let y = read(y);
    assert!(y.chunks(2).all(|pair| (pair[0] - 1.0).abs() + pair[1].abs() < 1e-6));

    let device = device.clone().autodiff();
    let run = |values: [f64; 3], plan: LctPlan| {
        let p = parameters(&values, DType::F32, &device).require_grad();
        let x = tensor(&impulse, [n, 2], DType::F32, &device).require_grad();
        let y = lct(x.clone(), p.clone(), &plan).unwrap();
        let gradients = y.clone().square().sum().backward();
        let slope = read(p.grad(&gradients).unwrap());
        assert!(slope.iter().all(|slope| slope.is_finite()), "{slope:?}");
        read(y.inner())
    };
    // Chirps that cancel around nothing.
    let nothing = [0.25, 0.0, -0.25];
    let y = run(nothing, LctPlan::shear(n, nothing, Parameters::Shear, 1e-3).unwrap());
    assert!((y[0] - 1.0).abs() < 1e-5 && y[2..].iter().all(|y| y.abs() < 1e-5));
    // An impulse at the start becomes the kernel, whose magnitude is (|b| n)^(−1/2) everywhere.
    let b = [0.0, 4.0, 0.0];
    let y = run(b, LctPlan::causal(n, n, b, Parameters::Shear, 1e-3).unwrap());
    let expected = 1.0 / (4.0 * n as f64).sqrt();
    assert!(y.chunks(2).all(|pair| (pair[0].hypot(pair[1]) / expected - 1.0).abs() < 1e-2));
}
