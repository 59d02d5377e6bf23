//! Every plan: its gradients beside finite differences in `f64`, its inverse, and its kernels beside matrices in `f64`.

use burn::tensor::{DType, Device, Tensor};
use num_complex::Complex64;
use wavecube_burn::{
    Abcd, ComplexAbcd, Direction, LctPlan, Normalization, OutputGrid, WeilMatrix, fft, fftn, ifft,
    lct, lct_fixed, lct2,
};
use wavecube_core::{Error, Result};

use crate::support::{by_kernels, close, devices_with_kernels, flex, read, tensor, values};

/// A kind of plan: what is free, the parameters that this makes, and the plan that these make.
struct Case {
    name: &'static str,
    free: &'static [f64],
    parameters: fn(&[f64]) -> Vec<f64>,
    plan: fn(usize, &[f64]) -> Result<LctPlan>,
    unitary: bool,
}

/// `(a, b, c)`, and what more there is, with `d = (1 + bc)/a` in between.
fn of_matrix(free: &[f64]) -> Vec<f64> {
    let [a, b, c] = free[..3] else { unreachable!("a matrix has three free entries") };
    [&[a, b, c, (1.0 + b * c) / a], &free[3..]].concat()
}

/// The same of complex entries.
fn of_complex_matrix(free: &[f64]) -> Vec<f64> {
    let [a, b, c] = [0, 2, 4].map(|at| Complex64::new(free[at], free[at + 1]));
    let d = (1.0 + b * c) / a;
    [&free[..6], &[d.re, d.im]].concat()
}

fn own(free: &[f64]) -> Vec<f64> {
    free.to_vec()
}

fn matrix(p: &[f64]) -> Abcd {
    Abcd::new(p[0], p[1], p[2], p[3]).unwrap()
}

fn complex_matrix(p: &[f64]) -> ComplexAbcd {
    let entry = |at: usize| Complex64::new(p[2 * at], p[2 * at + 1]);
    ComplexAbcd::new(entry(0), entry(1), entry(2), entry(3)).unwrap()
}

/// More points than there are.
fn wider(n: usize) -> usize {
    n + n / 2 + 2
}

const CASES: [Case; 20] = [
    Case {
        name: "chirp",
        free: &[-0.7],
        parameters: own,
        plan: |n, p| LctPlan::chirp(n, p[0]),
        unitary: true,
    },
    Case {
        name: "fresnel",
        free: &[0.9],
        parameters: own,
        plan: |n, p| LctPlan::fresnel(n, p[0]),
        unitary: true,
    },
    Case {
        name: "fresnel of nothing",
        free: &[0.0],
        parameters: own,
        plan: |n, p| LctPlan::fresnel(n, p[0]),
        unitary: true,
    },
    Case {
        name: "scaling",
        free: &[1.4],
        parameters: own,
        plan: |n, p| LctPlan::scaling(n, p[0]),
        unitary: true,
    },
    Case {
        name: "scaling of nothing",
        free: &[1.0],
        parameters: own,
        plan: |n, p| LctPlan::scaling(n, p[0]),
        unitary: true,
    },
    Case {
        name: "shears of a matrix",
        free: &[0.8, 0.6, -0.3],
        parameters: of_matrix,
        plan: |n, p| LctPlan::shear_of(n, &matrix(p)),
        unitary: true,
    },
    Case {
        name: "shears of a matrix with DFTs",
        free: &[0.3, -1.1, 0.9],
        parameters: of_matrix,
        plan: |n, p| LctPlan::shear_of(n, &matrix(p)),
        unitary: true,
    },
    Case {
        name: "fractional",
        free: &[0.8],
        parameters: own,
        plan: |n, p| LctPlan::fractional(n, p[0]),
        unitary: true,
    },
    Case {
        name: "weighted",
        free: &[0.8],
        parameters: own,
        plan: |n, p| LctPlan::weighted(n, p[0]),
        unitary: true,
    },
    Case {
        name: "framed",
        free: &[0.8, 0.6, -0.3],
        parameters: of_matrix,
        plan: |n, p| LctPlan::framed(n, &matrix(p)),
        unitary: true,
    },
    Case {
        name: "framed, turned",
        free: &[-0.8, 0.6, 0.3],
        parameters: of_matrix,
        plan: |n, p| LctPlan::framed(n, &matrix(p)),
        unitary: true,
    },
    Case {
        name: "samples of framed",
        free: &[-0.8, -0.6, 0.3],
        parameters: of_matrix,
        plan: |n, p| LctPlan::framed_samples(n, &matrix(p)),
        unitary: true,
    },
    Case {
        name: "framed, resampled",
        free: &[0.8, -0.6, 0.3],
        parameters: of_matrix,
        plan: |n, p| LctPlan::framed_resampled(n, &matrix(p)),
        unitary: false,
    },
    Case {
        name: "scaled",
        free: &[0.8, 0.6, -0.3, 0.25],
        parameters: of_matrix,
        plan: |n, p| LctPlan::scaled(n, &matrix(p), p[4]),
        unitary: true,
    },
    Case {
        name: "scaled, b < 0",
        free: &[0.8, -0.9, 0.2, 0.3],
        parameters: of_matrix,
        plan: |n, p| LctPlan::scaled(n, &matrix(p), p[4]),
        unitary: true,
    },
    Case {
        name: "complex",
        free: &[0.8, 0.1, 0.7, -0.2, -0.3, 0.1],
        parameters: of_complex_matrix,
        plan: |n, p| LctPlan::complex(n, &complex_matrix(p)),
        unitary: false,
    },
    Case {
        name: "chirp-z",
        free: &[-0.13, 0.021],
        parameters: own,
        plan: |n, p| LctPlan::czt(n, wider(n), p[0], p[1]),
        unitary: false,
    },
    Case {
        name: "chirp-z to fewer",
        free: &[0.3, -0.04],
        parameters: own,
        plan: |n, p| LctPlan::czt(n, n / 3 + 1, p[0], p[1]),
        unitary: false,
    },
    Case {
        name: "spiral",
        free: &[0.7, 0.73, 0.989, -0.15],
        parameters: own,
        plan: |n, p| {
            let (a, w) = (Complex64::new(p[0], p[1]), Complex64::new(p[2], p[3]));
            LctPlan::czt_spiral(n, wider(n), a, w)
        },
        unitary: false,
    },
    Case {
        name: "chirp-z of a matrix",
        free: &[0.8, 0.6, -0.3, 0.2, -0.7, 0.11],
        parameters: of_matrix,
        plan: |n, p| {
            let output = OutputGrid { outputs: wider(n), first: p[5], step: p[6] };
            LctPlan::czt_of(n, &matrix(p), p[4], output)
        },
        unitary: false,
    },
];

/// What is not learned at all.
fn without_parameters(n: usize) -> Vec<(&'static str, LctPlan)> {
    let weil = |entries| LctPlan::weil(&WeilMatrix::new(n, entries).unwrap());
    vec![
        ("fourier", LctPlan::fourier(n, false).unwrap()),
        ("fourier, inverse", LctPlan::fourier(n, true).unwrap()),
        ("weil", weil([2, 3, 1, 2])),
        ("weil with one DFT", weil([0, 1, -1, 0])),
    ]
}

/// `f64` that are `f32` too, so that every device sees the same ones.
fn exact(count: usize, seed: u64) -> Vec<f64> {
    values(count, seed).into_iter().map(|value| f64::from(value as f32)).collect()
}

fn parameters(values: &[f64], dtype: DType, device: &Device) -> Tensor<1> {
    tensor(values, [values.len()], dtype, device)
}

/// The derivatives of `y` by everything in `p`, by central differences of the fourth order, whose steps move the
/// result by 3e-3 of its size at most: the fourth power of this, and rounding by a step, are some 1e-11 of it.
fn slopes(p: &[f64], y: impl Fn(&[f64]) -> Vec<f64>) -> Vec<Vec<f64>> {
    let at_rest = y(p);
    let slope = |index: usize| {
        let at = |by: f64| {
            let mut p = p.to_vec();
            p[index] += by;
            y(&p)
        };
        let apart =
            |a: Vec<f64>, b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let mut step = 1e-3;
        while norm(&apart(at(2.0 * step), &at_rest)) > 3e-3 * (1.0 + norm(&at_rest)) {
            step /= 4.0;
            assert!(step > 1e-9, "parameter {index} has no slope");
        }
        let [near, far] = [1.0, 2.0].map(|steps| apart(at(steps * step), &at(-steps * step)));
        near.iter().zip(far).map(|(near, far)| (8.0 * near - far) / (12.0 * step)).collect()
    };
    (0..p.len()).map(slope).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// The result, and the gradients of `x` and of the parameters for the gradient `w`.
struct Run {
    y: Vec<f64>,
    by_x: Vec<f64>,
    by_parameters: Vec<f64>,
}

fn run(plan: &LctPlan, p: &[f64], x: &[f64], w: &[f64], dtype: DType, device: &Device) -> Run {
    let device = device.clone().autodiff();
    let x = tensor(x, [2, plan.n(), 2], dtype, &device).require_grad();
    let p = parameters(p, dtype, &device).require_grad();
    let y = lct(x.clone(), p.clone(), plan).unwrap();
    let w = tensor(w, [2, plan.outputs(), 2], dtype, &device);
    let gradients = (y.clone() * w).sum().backward();
    Run {
        y: read(y.inner()),
        by_x: read(x.grad(&gradients).unwrap()),
        by_parameters: read(p.grad(&gradients).unwrap()),
    }
}

/// The gradients by what is free, of those by the parameters that it makes.
fn by_free(case: &Case, by_parameters: &[f64]) -> Vec<f64> {
    slopes(case.free, case.parameters).iter().map(|slope| dot(slope, by_parameters)).collect()
}

#[test]
fn gradients_match_finite_differences() {
    for (case, n) in CASES.iter().flat_map(|case| [1, 6, 7].map(|n| (case, n))) {
        for inverse in [false, true] {
            if inverse && !case.unitary {
                continue;
            }
            let plan = |free: &[f64]| {
                let plan = (case.plan)(n, &(case.parameters)(free)).unwrap();
                if inverse { plan.inverse().unwrap() } else { plan }
            };
            let at = plan(case.free);
            let p = (case.parameters)(case.free);
            let (x, w) = (values(4 * at.n(), 1), values(4 * at.outputs(), 2));
            let of = |free: &[f64], x: &[f64]| {
                let x = tensor(x, [2, at.n(), 2], DType::F64, &flex());
                read(lct_fixed(x, &plan(free)).unwrap())
            };
            let found = run(&at, &p, &x, &w, DType::F64, &flex());
            let at_rest = of(case.free, &x);
            close(&found.y, &at_rest, 0.0);
            let slopes = slopes(case.free, |free| of(free, &x));
            for (index, (found, slope)) in
                by_free(case, &found.by_parameters).iter().zip(&slopes).enumerate()
            {
                let size = norm(slope) + norm(&at_rest);
                let error = (found - dot(slope, &w)).abs();
                assert!(
                    error <= 1e-9 * size * norm(&w),
                    "{} (n = {n}, inverse: {inverse}), {index}: {found} instead of {}",
                    case.name,
                    dot(slope, &w)
                );
            }
            // The map is linear in x: the gradient is exact along any direction.
            let v = values(4 * at.n(), 3);
            close(&[dot(&found.by_x, &v)], &[dot(&of(case.free, &v), &w)], 1e-11);
        }
    }
}

#[test]
fn inverses_undo() {
    for n in [1, 6, 7] {
        let of_case = |case: &Case| (case.plan)(n, &(case.parameters)(case.free)).unwrap();
        let learned = CASES.iter().map(|case| (case.name, of_case(case)));
        for (name, plan) in learned.chain(without_parameters(n)) {
            let Ok(inverse) = plan.clone().inverse() else {
                assert!(!CASES.iter().any(|case| case.name == name && case.unitary), "{name}");
                continue;
            };
            let x = values(2 * n, 4);
            let there = lct_fixed(tensor(&x, [n, 2], DType::F64, &flex()), &plan).unwrap();
            close(&[norm(&read(there.clone()))], &[norm(&x)], 1e-12);
            close(&read(lct_fixed(there, &inverse).unwrap()), &x, 1e-12);
        }
    }
}

/// Of `n` points in `f32`: chirps are exact to rounding, and a transform adds a few roundings a stage.
fn rounding(n: usize) -> f64 {
    8.0 * f64::from(f32::EPSILON) * (1.0 + (n as f64).log2())
}

#[test]
fn kernels_agree_with_matrices() {
    for case in &CASES {
        for n in [1, 21] {
            let p = (case.parameters)(case.free);
            let plan = (case.plan)(n, &p).unwrap();
            let plans = if case.name == "scaled" && n > 1 {
                vec![plan.clone().inverse().unwrap(), plan]
            } else {
                vec![plan]
            };
            for plan in plans {
                let (x, w) = (exact(4 * plan.n(), 8), exact(4 * plan.outputs(), 9));
                let expected = run(&plan, &p, &x, &w, DType::F64, &flex());
                // A gradient by a parameter is a sum of as many terms as there are outputs, of either sign.
                let slopes = slopes(case.free, |free| {
                    let moved = (case.plan)(n, &(case.parameters)(free)).unwrap();
                    let x = exact(4 * n, 8);
                    read(lct_fixed(tensor(&x, [2, n, 2], DType::F64, &flex()), &moved).unwrap())
                });
                let tolerance = rounding(n + plan.outputs());
                for device in devices_with_kernels() {
                    let found = by_kernels(&["lct", "lct_vjp"], || {
                        run(&plan, &p, &x, &w, DType::F32, &device)
                    });
                    close(&found.y, &expected.y, tolerance);
                    close(&found.by_x, &expected.by_x, tolerance);
                    let [found, expected] =
                        [&found, &expected].map(|run| by_free(case, &run.by_parameters));
                    for ((found, expected), slope) in found.iter().zip(&expected).zip(&slopes) {
                        let size = (norm(slope) + norm(&x)) * norm(&w);
                        assert!(
                            (found - expected).abs() <= tolerance * size,
                            "{} (n = {n}): {found} instead of {expected} of {size}",
                            case.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn plans_without_parameters_run_by_kernels() {
    for n in [1, 21] {
        for (name, plan) in without_parameters(n) {
            let (x, w) = (exact(4 * n, 10), exact(4 * n, 11));
            let run = |device: &Device, dtype: DType| {
                let device = device.clone().autodiff();
                let x = tensor(&x, [2, n, 2], dtype, &device).require_grad();
                let y = lct_fixed(x.clone(), &plan).unwrap();
                let gradients =
                    (y.clone() * tensor(&w, [2, n, 2], dtype, &device)).sum().backward();
                (read(y.inner()), read(x.grad(&gradients).unwrap()))
            };
            let expected = run(&flex(), DType::F64);
            for device in devices_with_kernels() {
                let found = by_kernels(&["lct_fixed"], || run(&device, DType::F32));
                close(&found.0, &expected.0, rounding(n));
                close(&found.1, &expected.1, rounding(n));
            }
            let through = dot(&expected.0, &w) - dot(&expected.1, &x);
            assert!(through.abs() < 1e-12 * norm(&x) * norm(&w), "{name}: no adjoint");
        }
    }
}

/// `x` (`[n, 2]`) by a plan, in `f64`.
fn fixed(x: &[f64], plan: &LctPlan) -> Vec<f64> {
    read(lct_fixed(tensor(x, [plan.n(), 2], DType::F64, &flex()), plan).unwrap())
}

#[test]
fn plans_keep_their_promises() {
    let n = 15;
    let x = values(2 * n, 5);
    // The DFT is a chirp-z transform, on the circle and as a spiral.
    let whole = fft(tensor(&x, [n, 2], DType::F64, &flex()), Normalization::Backward).unwrap();
    let whole = read(whole);
    close(&fixed(&x, &LctPlan::czt(n, n, 0.0, 1.0 / n as f64).unwrap()), &whole, 1e-13);
    let w = Complex64::cis(-2.0 * std::f64::consts::PI / n as f64);
    close(&fixed(&x, &LctPlan::czt_spiral(n, n, Complex64::ONE, w).unwrap()), &whole, 1e-12);
    // So is the Weil representation of a quarter turn, up to the norm and an eighth root of 1.
    let weil = LctPlan::weil(&WeilMatrix::new(n, [0, 1, -1, 0]).unwrap());
    let turned = fixed(&x, &weil);
    let root = Complex64::new(turned[0], turned[1]) / Complex64::new(whole[0], whole[1]);
    assert!(((root * (n as f64).sqrt()).powu(8) - 1.0).norm() < 1e-12, "{root}");
    let expected: Vec<f64> = whole
        .chunks(2)
        .map(|pair| root * Complex64::new(pair[0], pair[1]))
        .flat_map(|value| [value.re, value.im])
        .collect();
    close(&turned, &expected, 1e-12);
    // A quarter turn is the centred DFT in every group that has one.
    let quarter = std::f64::consts::FRAC_PI_2;
    let fourier = fixed(&x, &LctPlan::fourier(n, false).unwrap());
    close(&fixed(&x, &LctPlan::weighted(n, quarter).unwrap()), &fourier, 1e-13);
    close(&fixed(&x, &LctPlan::fractional(n, quarter).unwrap()), &fourier, 1e-13);
    // Groups are additive.
    for plan in [LctPlan::chirp, LctPlan::fresnel, LctPlan::weighted] {
        let of = |x: &[f64], p: f64| fixed(x, &plan(n, p).unwrap());
        close(&of(&of(&x, 0.4), 0.7), &of(&x, 1.1), 1e-13);
    }
    // Samples on a free grid are the same from the kernel onto that grid, weighted by roots of the spacings.
    let m = Abcd::from_abc(0.8, 0.6, -0.3).unwrap();
    let scaled = LctPlan::scaled(n, &m, 0.25).unwrap();
    let step = scaled.output_spacing().unwrap();
    let first = -(n as f64 - 1.0) / 2.0 * step;
    let output = OutputGrid { outputs: n, first, step };
    let onto = fixed(&x, &LctPlan::czt_of(n, &m, 0.25, output).unwrap());
    let onto: Vec<f64> = onto.iter().map(|value| value * (step / 0.25).sqrt()).collect();
    close(&fixed(&x, &scaled), &onto, 1e-12);
    // A complex matrix without imaginary parts is the real one, where the step is that of the grid.
    let complex = LctPlan::complex(n, &ComplexAbcd::from(m)).unwrap();
    let grid = 1.0 / (n as f64).sqrt();
    let output = OutputGrid { outputs: n, first: -(n as f64 - 1.0) / 2.0 * grid, step: grid };
    let real = LctPlan::czt_of(n, &m, grid, output).unwrap();
    close(&fixed(&x, &complex), &fixed(&x, &real), 1e-12);
    // The frame of a rotation is that of the samples, and the rotation is the fractional transform.
    let framed = LctPlan::framed_samples(n, &Abcd::fractional_fourier(0.8)).unwrap();
    assert!((framed.output_spacing().unwrap() - grid).abs() < 1e-15);
    assert!(framed.frame().unwrap().q().abs() < 1e-15);
    close(&fixed(&x, &framed), &fixed(&x, &LctPlan::fractional(n, 0.8).unwrap()), 1e-12);
    // Magnification shrinks what it widens: a Gaussian stays inside the window.
    let n = 65;
    let gaussian = |width: f64| -> Vec<f64> {
        let point = |j: usize| (j as f64 - 32.0) / width;
        (0..n).flat_map(|j| [(-point(j).powi(2)).exp() / (width / 6.0).sqrt(), 0.0]).collect()
    };
    let wide = fixed(&gaussian(6.0), &LctPlan::scaling(n, 1.5).unwrap());
    close(&wide, &gaussian(9.0), 1e-5);
}

#[test]
fn planes_are_transformed_along_both_axes() {
    let shape @ [rows, columns, layers, _] = [6, 9, 3, 2];
    let first = LctPlan::shear_of(rows, &Abcd::from_abc(0.8, 0.6, -0.3).unwrap()).unwrap();
    let second = LctPlan::czt(columns, 4, 0.1, 0.05).unwrap();
    let values_of = [vec![0.8, 0.6, -0.3, (1.0 - 0.18) / 0.8], vec![0.1, 0.05]];
    let count = shape.iter().product();
    let (x, w) = (exact(count, 12), exact(rows * 4 * layers * 2, 13));
    let run = |device: &Device, dtype: DType, at_once: bool| {
        let device = device.clone().autodiff();
        let x = tensor(&x, shape, dtype, &device).require_grad();
        let learned = values_of.each_ref().map(|p| parameters(p, dtype, &device).require_grad());
        let y = if at_once {
            lct2(x.clone(), learned.clone(), [&first, &second], [0, 1]).unwrap()
        } else {
            let [p, q] = learned.clone();
            let y = lct(x.clone().swap_dims(0, 2), p, &first).unwrap().swap_dims(0, 2);
            lct(y.swap_dims(1, 2), q, &second).unwrap().swap_dims(1, 2)
        };
        let w = tensor(&w, [rows, 4, layers, 2], dtype, &device);
        let gradients = (y.clone() * w).sum().backward();
        let [p, q] = learned.map(|learned| read(learned.grad(&gradients).unwrap()));
        [read(y.inner()), read(x.grad(&gradients).unwrap()), p, q]
    };
    let expected = run(&flex(), DType::F64, false);
    for (found, expected) in run(&flex(), DType::F64, true).iter().zip(&expected) {
        close(found, expected, 1e-12);
    }
    for device in devices_with_kernels() {
        let found = by_kernels(&["lct", "lct_vjp"], || run(&device, DType::F32, true));
        for (found, expected) in found.iter().zip(&expected) {
            close(found, expected, rounding(rows * columns));
        }
    }
}

#[test]
fn several_axes_are_transformed_one_after_the_other() {
    let shape @ [rows, columns, layers, _] = [5, 6, 3, 2];
    let count: usize = shape.iter().product();
    let (x, w) = (exact(count, 14), exact(count, 15));
    for norm in [Normalization::Backward, Normalization::Ortho] {
        for direction in [Direction::Forward, Direction::Inverse] {
            let run = |device: &Device, dtype: DType, axes: Option<&[usize]>| {
                let device = device.clone().autodiff();
                let x = tensor(&x, shape, dtype, &device).require_grad();
                let one = |x| match direction {
                    Direction::Forward => fft(x, norm).unwrap(),
                    Direction::Inverse => ifft(x, norm).unwrap(),
                };
                let y = match axes {
                    Some(axes) => fftn(x.clone(), axes, direction, norm).unwrap(),
                    None => {
                        let y = one(x.clone()).swap_dims(0, 2);
                        one(y).swap_dims(0, 2)
                    }
                };
                let gradients = (y.clone() * tensor(&w, shape, dtype, &device)).sum().backward();
                [read(y.inner()), read(x.grad(&gradients).unwrap())]
            };
            let expected = run(&flex(), DType::F64, None);
            close(&[dot(&expected[1], &x)], &[dot(&expected[0], &w)], 1e-12);
            for (found, expected) in run(&flex(), DType::F64, Some(&[2, 0])).iter().zip(&expected) {
                close(found, expected, 1e-13);
            }
            for device in devices_with_kernels() {
                let found = by_kernels(&["fft"], || run(&device, DType::F32, Some(&[0, 2])));
                for (found, expected) in found.iter().zip(&expected) {
                    close(found, expected, rounding(rows * layers));
                }
            }
        }
    }
    // All of them undo each other.
    let all = [0, 1, 2];
    let there = tensor(&x, shape, DType::F64, &flex());
    let there = fftn(there, &all, Direction::Forward, Normalization::Forward).unwrap();
    let mean = read(there.clone())[0] * (rows * columns * layers) as f64;
    assert!((mean - x.iter().step_by(2).sum::<f64>()).abs() < 1e-12);
    let back = fftn(there, &all, Direction::Inverse, Normalization::Forward).unwrap();
    close(&read(back), &x, 1e-13);
}

#[test]
fn what_is_no_plan_is_an_error() {
    let value = |error: Error| matches!(error, Error::Value { .. });
    let length = |error: Error| matches!(error, Error::Length { .. });
    let m = Abcd::FOURIER;
    for plan in [LctPlan::chirp, LctPlan::fresnel, LctPlan::scaling, LctPlan::weighted] {
        assert!(value(plan(4, f64::NAN).unwrap_err()));
        assert!(length(plan(0, 0.5).unwrap_err()));
    }
    for plan in
        [LctPlan::shear_of, LctPlan::framed, LctPlan::framed_samples, LctPlan::framed_resampled]
    {
        assert!(length(plan(0, &m).unwrap_err()));
        assert!(value(plan(4, &Abcd::fractional_fourier(f64::NAN)).unwrap_err()));
    }
    assert!(value(LctPlan::scaling(4, 0.0).unwrap_err()));
    assert!(length(LctPlan::fourier(0, true).unwrap_err()));
    assert!(value(LctPlan::scaled(4, &Abcd::IDENTITY, 0.5).unwrap_err()));
    assert!(value(LctPlan::scaled(4, &m, 0.0).unwrap_err()));
    assert!(length(LctPlan::scaled(0, &m, 0.5).unwrap_err()));
    assert!(length(LctPlan::czt(0, 2, 0.0, 0.1).unwrap_err()));
    assert!(length(LctPlan::czt(2, 0, 0.0, 0.1).unwrap_err()));
    assert!(value(LctPlan::czt(2, 2, f64::INFINITY, 0.1).unwrap_err()));
    assert!(value(LctPlan::czt_spiral(2, 2, Complex64::ZERO, Complex64::ONE).unwrap_err()));
    let output = OutputGrid { outputs: 3, first: 0.0, step: 0.1 };
    assert!(value(LctPlan::czt_of(2, &Abcd::IDENTITY, 0.5, output).unwrap_err()));
    assert!(length(LctPlan::complex(1 << 15, &ComplexAbcd::laplace()).unwrap_err()));
    let scaling = Complex64::new(2.0, 0.0);
    let scaling = [scaling, Complex64::ZERO, Complex64::ZERO, scaling.inv()];
    let [a, b, c, d] = scaling;
    let scaling = LctPlan::complex(4, &ComplexAbcd::new(a, b, c, d).unwrap()).unwrap_err();
    assert!(matches!(scaling, Error::Unsupported { argument: "m", .. }), "{scaling}");
}

#[test]
fn what_does_not_fit_a_plan_is_an_error() {
    let x = || tensor(&values(24, 1), [3, 4, 2], DType::F32, &flex());
    let none = || Tensor::<1>::zeros([1], &flex());
    let chirp = |n| LctPlan::chirp(n, 0.3).unwrap();
    let unsupported = |error: Error| matches!(error, Error::Unsupported { .. });
    assert!(unsupported(lct(x(), none(), &LctPlan::fourier(4, false).unwrap()).unwrap_err()));
    assert!(unsupported(LctPlan::czt(4, 3, 0.0, 0.1).unwrap().inverse().unwrap_err()));
    let shape = |error: Error, expected: &[usize]| match error {
        Error::Shape { expected: found, .. } => assert_eq!(found, expected),
        other => panic!("{other}"),
    };
    shape(lct_fixed(x(), &chirp(5)).unwrap_err(), &[3, 5, 2]);
    shape(lct_fixed(Tensor::<1>::zeros([2], &flex()), &chirp(5)).unwrap_err(), &[5, 2]);
    shape(lct(x(), Tensor::zeros([2], &flex()), &chirp(4)).unwrap_err(), &[1]);
    let both = || [none(), none()];
    assert!(unsupported(lct2(x(), both(), [&chirp(4), &chirp(4)], [1, 1]).unwrap_err()));
    shape(lct2(x(), both(), [&chirp(3), &chirp(5)], [0, 1]).unwrap_err(), &[3, 5, 2]);
    shape(lct2(x(), both(), [&chirp(5), &chirp(4)], [0, 1]).unwrap_err(), &[5, 4, 2]);
    assert!(lct2(x(), both(), [&chirp(3), &chirp(2)], [0, 2]).is_err());

    let fftn = |x: Tensor<3>, axes: &[usize]| {
        fftn(x, axes, Direction::Forward, Normalization::Ortho).unwrap_err()
    };
    assert!(unsupported(fftn(x(), &[])));
    assert!(unsupported(fftn(x(), &[1, 1])));
    assert!(matches!(fftn(x(), &[0, 2]), Error::Axis { rank: 2, found: 2, .. }));
    assert!(matches!(fftn(Tensor::zeros([0, 4, 2], &flex()), &[0]), Error::Length { .. }));
    assert!(matches!(fftn(Tensor::zeros([3, 4, 3], &flex()), &[0]), Error::Shape { .. }));
}
