//! Mixing of complex channels, maps of complex elements, filters of the spectrum and tridiagonal systems: kernels against plain bodies,
//! values and gradients, and gradients against finite differences.

use burn::tensor::{DType, Device, Shape, Tensor};
use wavecube_burn::{
    cardioid, complex_linear, complex_rms_norm, from_polar, log_determinant, mod_relu, phase_mix,
    phase_rotate, sigmoid_gate, spectral_filter, to_polar, tridiagonal_solve,
};

use crate::support::{by_kernels, close, devices_with_kernels, flex, read, tensor, values};

/// Operands of up to three axes, each `[batch, lines, elements]` and a pair if it is complex.
type Operands = Vec<Vec<f64>>;

struct Case {
    name: &'static str,
    /// The shapes of the operands.
    shapes: Vec<Vec<usize>>,
    of: fn(Vec<Tensor<4>>) -> Tensor<4>,
}

/// A real operand without the axis of pairs.
fn real<const D: usize>(x: &Tensor<4>) -> Tensor<D> {
    x.clone().reshape(Shape::from(x.dims()[4 - D - 1..3].to_vec()))
}

fn matrix<const D: usize>(x: &Tensor<4>) -> Tensor<D> {
    x.clone().reshape(Shape::from(x.dims()[4 - D..].to_vec()))
}

fn cases() -> Vec<Case> {
    let z = vec![2, 3, 5, 2];
    let case = |name, shapes: &[&[usize]], of| Case {
        name,
        shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
        of,
    };
    let mut cases = vec![
        case("cardioid", &[&z], |x| cardioid(x[0].clone()).unwrap()),
        case("to_polar", &[&z], |x| to_polar(x[0].clone()).unwrap()),
        case("from_polar", &[&z], |x| from_polar(x[0].clone()).unwrap()),
        case("complex_linear", &[&z, &[1, 4, 5, 2]], |x| {
            complex_linear(x[0].clone(), matrix(&x[1])).unwrap()
        }),
        case("phase_mix", &[&z, &[1, 4, 5, 1], &[1, 4, 5, 2]], |x| {
            phase_mix(x[0].clone(), real(&x[1]), matrix(&x[2]), 0.1).unwrap()
        }),
    ];
    // Shared by all, by lines, by channels, by nobody.
    for small in [[1, 1, 1, 1], [2, 1, 5, 1], [1, 3, 1, 1], [2, 3, 5, 1]] {
        cases.extend([
            case("mod_relu", &[&z, &small], |x| mod_relu(x[0].clone(), real::<3>(&x[1])).unwrap()),
            case("phase_rotate", &[&z, &small], |x| {
                phase_rotate(x[0].clone(), real::<3>(&x[1])).unwrap()
            }),
            case("sigmoid_gate", &[&z, &small], |x| {
                sigmoid_gate(x[0].clone(), real::<3>(&x[1])).unwrap()
            }),
            case("complex_rms_norm", &[&z, &small], |x| {
                complex_rms_norm(x[0].clone(), real::<3>(&x[1]), 1e-3).unwrap()
            }),
        ]);
    }
    // The shift keeps the pivots away from zero.
    let operators: [&[usize]; 4] = [&[2, 3, 5, 1], &[2, 3, 4, 1], &[2, 3, 4, 1], &[2, 3, 1, 2]];
    cases.push(case("tridiagonal_solve", &[&operators[..], &[&z]].concat(), |x| {
        let (a, z) = (real::<3>(&x[0]) + 4.0, x[3].clone().reshape([2, 3, 2]));
        tridiagonal_solve(a, real(&x[1]), real(&x[2]), z, x[4].clone()).unwrap()
    }));
    cases.push(case("log_determinant", &operators, |x| {
        let (a, z) = (real::<3>(&x[0]) + 4.0, x[3].clone().reshape([2, 3, 2]));
        let logarithm: Tensor<2> = log_determinant(a, real(&x[1]), real(&x[2]), z).unwrap();
        logarithm.reshape([2, 3, 1, 1])
    }));
    for filter in [[1, 1, 5, 2], [2, 1, 5, 2], [2, 3, 5, 2]] {
        cases.push(case("spectral_filter", &[&z, &filter], |x| {
            spectral_filter(x[0].clone(), x[1].clone()).unwrap()
        }));
    }
    cases
}

fn operands(case: &Case) -> Operands {
    let count = |shape: &Vec<usize>| shape.iter().product();
    case.shapes.iter().zip(3..).map(|(shape, seed)| values(count(shape), seed)).collect()
}

/// The result and a gradient for every operand.
fn with_gradients(case: &Case, operands: &Operands, dtype: DType, device: &Device) -> Operands {
    let device = device.clone().autodiff();
    let operands: Vec<Tensor<4>> = (operands.iter().zip(&case.shapes))
        .map(|(values, shape)| {
            let shape: [usize; 4] = shape.clone().try_into().unwrap();
            tensor(values, shape, dtype, &device).require_grad()
        })
        .collect();
    let y = (case.of)(operands.clone());
    let weights = tensor(&values(y.shape().num_elements(), 9), y.dims(), dtype, &device);
    let gradients = (y.clone() * weights).sum().backward();
    let by = operands.iter().map(|operand| read(operand.grad(&gradients).unwrap()));
    std::iter::once(read(y.inner())).chain(by).collect()
}

#[test]
fn kernels_agree_with_plain_bodies() {
    for case in cases() {
        let operands = operands(&case);
        let expected = with_gradients(&case, &operands, DType::F64, &flex());
        for device in devices_with_kernels() {
            let vjp = format!("{}_vjp", case.name);
            let run = || with_gradients(&case, &operands, DType::F32, &device);
            let found = by_kernels(&[case.name, &vjp], run);
            for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
                eprintln!("{} {:?}: part {part}", case.name, case.shapes);
                close(found, expected, 4e-6);
            }
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    for case in cases() {
        let operands = operands(&case);
        let all = with_gradients(&case, &operands, DType::F64, &flex());
        let loss = |operands: &Operands| -> f64 {
            let tensors = operands.iter().zip(&case.shapes).map(|(values, shape)| {
                let shape: [usize; 4] = shape.clone().try_into().unwrap();
                tensor(values, shape, DType::F64, &flex())
            });
            let y = read((case.of)(tensors.collect()));
            y.iter().zip(values(y.len(), 9)).map(|(y, weight)| y * weight).sum()
        };
        for (which, gradient) in all[1..].iter().enumerate() {
            // Along a direction, so that one pair of values holds all elements.
            let direction = values(gradient.len(), 12);
            let at = |step: f64| {
                let mut operands = operands.clone();
                let moved = operands[which].iter_mut().zip(&direction);
                moved.for_each(|(x, direction)| *x += step * direction);
                loss(&operands)
            };
            let step = 1e-6;
            let expected = (at(step) - at(-step)) / (2.0 * step);
            let found: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let size = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let what = format!("{} {:?} by operand {which}", case.name, case.shapes);
            assert!((found - expected).abs() <= 1e-6 * (1.0 + size), "{what}: {found} {expected}");
        }
    }
}

/// Where a magnitude is zero there is no direction: results and gradients are zero, not NaN.
#[test]
fn zeros_have_no_direction() {
    for device in [vec![flex()], devices_with_kernels()].concat() {
        let device = device.autodiff();
        let z = tensor(&[0.0, 0.0, 3.0, 4.0], [2, 2], DType::F32, &device).require_grad();
        let w = tensor(&[0.5], [1], DType::F32, &device);
        let y = mod_relu(z.clone(), w).unwrap();
        let by_z = read(z.grad(&y.clone().sum().backward()).unwrap());
        assert_eq!(read(y.inner())[..2], [0.0; 2], "{device:?}");
        assert_eq!(by_z[..2], [0.0; 2], "{device:?}");
        let y = to_polar(z.clone()).unwrap();
        let by_z = read(z.grad(&y.sum().backward()).unwrap());
        assert_eq!(by_z[..2], [0.0; 2], "{device:?}");
    }
}

#[test]
fn wrong_operands_are_errors() {
    let x = |shape: [usize; 3]| Tensor::<3>::ones(shape, &flex());
    let w = |shape: [usize; 2]| Tensor::<2>::ones(shape, &flex());
    for (message, argument) in [
        (cardioid(x([2, 3, 3])).unwrap_err(), "`z`"),
        (mod_relu(x([2, 3, 2]), w([2, 2])).unwrap_err(), "`w`"),
        (complex_linear(x([2, 3, 2]), x([4, 2, 2])).unwrap_err(), "`w`"),
        (phase_mix(x([2, 3, 2]), w([4, 2]), x([4, 3, 2]), 1e-4).unwrap_err(), "`magnitudes`"),
        (phase_mix(x([2, 3, 2]), w([4, 3]), x([4, 3, 2]), 0.0).unwrap_err(), "`epsilon`"),
        (complex_rms_norm(x([2, 3, 2]), w([2, 3]), f64::NAN).unwrap_err(), "`epsilon`"),
        (spectral_filter(x([2, 3, 2]), x([2, 1, 2])).unwrap_err(), "`h`"),
        (
            tridiagonal_solve(w([2, 3]), w([2, 3]), w([2, 2]), w([2, 2]), x([2, 3, 2]))
                .unwrap_err(),
            "`b`",
        ),
    ] {
        assert!(message.to_string().contains(argument), "{message}");
    }
}
