//! Functions that drivers have wrong, and the loss: values and gradients beside `f64`, on flex and on wgpu.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use wavecube_burn::{cross_entropy, exponential, logistic, silu, softplus};

use crate::support::{devices, flex, read, tensor, values};

/// Of either sign, from next to nothing to where exponentials are 0.
fn arguments() -> Vec<f64> {
    let mut all = vec![0.0];
    for exponent in -30..=18 {
        let x = 2.0_f64.powf(f64::from(exponent) / 2.0 - 1.5) as f32;
        all.extend([f64::from(x), -f64::from(x)]);
    }
    all.retain(|x| x.abs() < 80.0);
    all.extend([-80.0, 80.0, 1e3, -1e3, 1e30]);
    all
}

/// `1/(1 + e⁻ˣ)` without a loss of digits.
fn sigma(x: f64) -> f64 {
    if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }
}

struct Function {
    name: &'static str,
    of: fn(Tensor<1>) -> Tensor<1>,
    value: fn(f64) -> f64,
    slope: fn(f64) -> f64,
}

const FUNCTIONS: [Function; 4] = [
    Function { name: "logistic", of: logistic::<1>, value: sigma, slope: |x| sigma(x) * sigma(-x) },
    Function {
        name: "softplus",
        of: softplus::<1>,
        value: |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
        slope: sigma,
    },
    Function {
        name: "silu",
        of: silu::<1>,
        value: |x| x * sigma(x),
        slope: |x| sigma(x) * (1.0 + x * sigma(-x)),
    },
    Function { name: "exponential", of: exponential::<1>, value: f64::exp, slope: f64::exp },
];

/// Roundings of `f32` that a value or a slope may be off, relative to it: the exponential of the driver is a few, and
/// its argument is rounded by as much as it is large.
fn roundings(x: f64) -> f64 {
    (8.0 + 2.0 * x.abs().min(100.0)) * f64::from(f32::EPSILON)
}

#[test]
fn functions_are_right_wherever_they_run() {
    for device in devices() {
        for Function { name, of, value, slope } in FUNCTIONS {
            let xs: Vec<f64> =
                arguments().into_iter().filter(|x| name != "exponential" || *x < 80.0).collect();
            let x = tensor(&xs, [xs.len()], DType::F32, &device.clone().autodiff()).require_grad();
            let y = of(x.clone());
            let gradients = y.clone().sum().backward();
            let found = read(y.inner());
            let slopes = read(x.grad(&gradients).unwrap());
            for (i, &x) in xs.iter().enumerate() {
                for (what, found, expected) in
                    [("value", found[i], value(x)), ("slope", slopes[i], slope(x))]
                {
                    // The slope of x σ(x) passes through zero.
                    let scale =
                        if name == "silu" { expected.abs().max(sigma(x)) } else { expected.abs() };
                    let allowed = roundings(x) * scale + f64::from(f32::MIN_POSITIVE);
                    assert!(
                        (found - expected).abs() <= allowed,
                        "{name} {what} at {x:e} on {device:?}: {found:e} for {expected:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_nan_stays_one() {
    for device in devices() {
        for Function { name, of, .. } in FUNCTIONS {
            let xs = [f64::NAN, 0.5, -f64::NAN];
            let x = tensor(&xs, [3], DType::F32, &device.clone().autodiff()).require_grad();
            let y = of(x.clone());
            let gradients = y.clone().sum().backward();
            for (what, found) in
                [("value", read(y.inner())), ("slope", read(x.grad(&gradients).unwrap()))]
            {
                let is_nan = found.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
                assert_eq!(is_nan, [true, false, true], "{name} {what} on {device:?}: {found:?}");
            }
        }
        let infinite = tensor(&[f64::INFINITY, f64::NEG_INFINITY], [2], DType::F32, &device);
        assert_eq!(read(logistic(infinite.clone())), [1.0, 0.0], "{device:?}");
        assert_eq!(read(softplus(infinite)), [f64::INFINITY, 0.0], "{device:?}");
    }
}

/// The mean loss and its gradient in `f64`.
fn exact(logits: &[f64], targets: &[usize], classes: usize) -> (f64, Vec<f64>) {
    let (mut loss, mut gradient) = (0.0, Vec::new());
    for (row, &target) in logits.chunks_exact(classes).zip(targets) {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
        loss += sum.ln() - (row[target] - most);
        gradient.extend(
            row.iter()
                .enumerate()
                .map(|(c, x)| (x - most).exp() / sum - f64::from(u8::from(c == target))),
        );
    }
    let rows = targets.len() as f64;
    (loss / rows, gradient.into_iter().map(|x| x / rows).collect())
}

fn loss(logits: &[f64], targets: &[usize], classes: usize, device: &Device) -> (f64, Vec<f64>) {
    let device = device.clone().autodiff();
    let rows = targets.len();
    let logits = tensor(logits, [rows, classes], DType::F32, &device).require_grad();
    let targets: Vec<i32> = targets.iter().map(|&target| target as i32).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [rows]), &device);
    let nats = cross_entropy(logits.clone(), targets).unwrap();
    let gradients = nats.backward();
    (read(nats.inner())[0], read(logits.grad(&gradients).unwrap()))
}

#[test]
fn losses_are_those_of_f64() {
    for device in devices() {
        for (rows, classes) in [(1, 1), (1, 2), (3, 7), (70, 33), (130, 256)] {
            let targets: Vec<usize> = (0..rows).map(|i| i * 7 % classes).collect();
            // From all alike to a model that is sure: the sum of exponentials is next to 1.
            for scale in [0.0, 1e-6, 1e-3, 1.0, 10.0, 40.0, 1e4] {
                let logits: Vec<f64> = values(rows * classes, 5)
                    .into_iter()
                    .map(|x| f64::from((x * scale + 3.0) as f32))
                    .collect();
                let (expected, by_logit) = exact(&logits, &targets, classes);
                let (found, gradient) = loss(&logits, &targets, classes, &device);
                let eps = f64::from(f32::EPSILON);
                // The mean is a sum of as many rows, each of which may round it the same way.
                let allowed = (8.0 + rows as f64 / 4.0) * eps * (1.0 + expected.abs());
                let case = format!("{rows} {classes} {scale:e} {device:?}");
                assert!((found - expected).abs() <= allowed, "{case}: {found} for {expected}");
                for (found, expected) in gradient.iter().zip(by_logit) {
                    // A logit is known to a rounding of its own size.
                    let allowed = eps * (16.0 + 8.0 * scale.min(100.0)) / rows as f64;
                    assert!(
                        (found - expected).abs() <= allowed,
                        "{case}: {found:e} for {expected:e}"
                    );
                }
            }
        }
    }
}

/// Wherever it stands, the target's place or any other.
#[test]
fn the_loss_of_what_is_no_distribution_is_nan() {
    let (rows, classes) = (3, 9);
    let targets = [4, 0, 8];
    for device in devices() {
        for bad in [f64::NAN, f64::INFINITY] {
            for class in 0..classes {
                let mut logits = values(rows * classes, 2);
                logits[classes + class] = bad;
                let (found, gradient) = loss(&logits, &targets, classes, &device);
                assert!(found.is_nan(), "{bad} at {class} on {device:?}: {found}");
                let row = &gradient[classes..2 * classes];
                assert!(row.iter().any(|x| x.is_nan()), "{bad} at {class} on {device:?}: {row:?}");
                let others = gradient[..classes].iter().chain(&gradient[2 * classes..]);
                assert!(others.clone().all(|x| x.is_finite()), "{bad} at {class} on {device:?}");
            }
        }
        let mut logits = values(rows * classes, 2);
        logits[classes..2 * classes].fill(f64::NEG_INFINITY);
        assert!(loss(&logits, &targets, classes, &device).0.is_nan(), "{device:?}");
        // One of them is a probability of 0.
        let mut logits = values(rows * classes, 2);
        logits[classes + 5] = f64::NEG_INFINITY;
        let (found, gradient) = loss(&logits, &targets, classes, &device);
        let (expected, _) = exact(&logits, &targets, classes);
        assert!((found - expected).abs() < 1e-6 && gradient[classes + 5] == 0.0, "{device:?}");
        logits[classes] = f64::NEG_INFINITY;
        assert_eq!(loss(&logits, &targets, classes, &device).0, f64::INFINITY, "{device:?}");
    }
}

#[test]
fn what_is_no_loss_is_refused() {
    let logits = Tensor::<2>::zeros([2, 3], &flex());
    let targets = |count: usize| Tensor::<1, Int>::zeros([count], &flex());
    assert!(cross_entropy(logits, targets(3)).is_err());
    assert!(cross_entropy(Tensor::zeros([0, 3], &flex()), targets(0)).is_err());
}
