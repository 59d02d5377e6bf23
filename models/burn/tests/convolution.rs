//! Causal convolutions: values, gradients, and kernels against flex.

use burn::tensor::{DType, Device, Tensor};
use num_complex::Complex64;
use wavecube_burn::causal_convolution;

use crate::support::{by_kernels, close, devices_with_kernels, flex, read, tensor, values};

const BATCH: usize = 2;
const CHANNELS: usize = 3;
/// Points and taps: none beyond, fewer, more, one.
const SIZES: [[usize; 2]; 5] = [[1, 1], [7, 3], [5, 12], [24, 24], [31, 1]];

fn operands([n, taps]: [usize; 2], seed: u64) -> [Vec<f64>; 2] {
    [values(BATCH * CHANNELS * n * 2, seed), values(CHANNELS * taps * 2, seed + 1)]
}

fn complex(pairs: &[f64]) -> Vec<Complex64> {
    pairs.chunks_exact(2).map(|pair| Complex64::new(pair[0], pair[1])).collect()
}

/// `Σ_{s ≤ t} h_{t−s} x_s`.
fn by_definition(x: &[f64], h: &[f64], [n, taps]: [usize; 2]) -> Vec<f64> {
    let (x, h) = (complex(x), complex(h));
    let mut y = Vec::new();
    for (row, line) in x.chunks_exact(n).enumerate() {
        let filter = &h[row % CHANNELS * taps..][..taps];
        for t in 0..n {
            let sum: Complex64 = (0..=t.min(taps - 1)).map(|lag| filter[lag] * line[t - lag]).sum();
            y.extend([sum.re, sum.im]);
        }
    }
    y
}

fn signal(values: &[f64], n: usize, dtype: DType, device: &Device) -> Tensor<4> {
    tensor(values, [BATCH, CHANNELS, n, 2], dtype, device)
}

fn filter(values: &[f64], taps: usize, dtype: DType, device: &Device) -> Tensor<3> {
    tensor(values, [CHANNELS, taps, 2], dtype, device)
}

fn run(x: &[f64], h: &[f64], [n, taps]: [usize; 2]) -> Vec<f64> {
    let (x, h) = (signal(x, n, DType::F64, &flex()), filter(h, taps, DType::F64, &flex()));
    read(causal_convolution(x, h).unwrap())
}

#[test]
fn convolutions_are_sums_of_products() {
    for sizes in SIZES {
        let [x, h] = operands(sizes, 1);
        close(&run(&x, &h, sizes), &by_definition(&x, &h, sizes), 1e-14);
    }
}

/// Result, and gradients of `x` and `h` of a weighted sum of it.
fn with_gradients([n, taps]: [usize; 2], dtype: DType, device: &Device) -> [Vec<f64>; 3] {
    let [x, h] = operands([n, taps], 2);
    let device = device.clone().autodiff();
    let x = signal(&x, n, dtype, &device).require_grad();
    let h = filter(&h, taps, dtype, &device).require_grad();
    let y = causal_convolution(x.clone(), h.clone()).unwrap();
    let weights = signal(&values(BATCH * CHANNELS * n * 2, 4), n, dtype, &device);
    let gradients = (y.clone() * weights).sum().backward();
    [read(y.inner()), read(x.grad(&gradients).unwrap()), read(h.grad(&gradients).unwrap())]
}

#[test]
fn gradients_match_finite_differences() {
    for sizes in SIZES {
        let [x, h] = operands(sizes, 2);
        let weights = values(x.len(), 4);
        let loss = |x: &[f64], h: &[f64]| -> f64 {
            by_definition(x, h, sizes).iter().zip(&weights).map(|(y, w)| y * w).sum()
        };
        // The loss is linear in either operand, so a step of one is exact.
        let slopes = |of: &[f64], loss: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
            let moved = |i: usize| {
                let mut moved = of.to_vec();
                moved[i] += 1.0;
                loss(&moved) - loss(of)
            };
            (0..of.len()).map(moved).collect()
        };
        let [_, by_x, by_h] = with_gradients(sizes, DType::F64, &flex());
        close(&by_x, &slopes(&x, &|x| loss(x, &h)), 1e-13);
        close(&by_h, &slopes(&h, &|h| loss(&x, h)), 1e-13);
    }
}

#[test]
fn kernels_agree_with_flex() {
    for sizes in [[1, 1], [24, 24], [300, 17]] {
        let expected = with_gradients(sizes, DType::F32, &flex());
        for device in devices_with_kernels() {
            let found = by_kernels(&["causal_convolution", "causal_convolution_vjp"], || {
                with_gradients(sizes, DType::F32, &device)
            });
            for (found, expected) in found.iter().zip(&expected) {
                close(found, expected, 2e-6);
            }
        }
    }
}

#[test]
fn wrong_operands_are_errors() {
    let x = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &flex());
    let h = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &flex());
    for (x, h, argument) in [
        (x([2, 3, 4, 3]), h([3, 4, 2]), "`x`"),
        (x([2, 3, 0, 2]), h([3, 4, 2]), "`x`"),
        (x([2, 3, 4, 2]), h([2, 4, 2]), "`h`"),
        (x([2, 3, 4, 2]), h([3, 4, 1]), "`h`"),
        (x([2, 3, 4, 2]), h([3, 0, 2]), "`h`"),
    ] {
        let message = causal_convolution(x, h).unwrap_err().to_string();
        assert!(message.contains(argument), "{message}");
    }
}
