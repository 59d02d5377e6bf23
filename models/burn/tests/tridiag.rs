//! Resolvents of tridiagonal operators: values, gradients, causality, and wgpu against flex.

use burn::tensor::{DType, Device, Tensor};
use num_complex::Complex64;
use wavecube_burn::{Sides, resolvent, resolvent_kept};
use wavecube_core::Error;

use crate::support::{
    by_kernels, close, devices, devices_with_kernels, flex, read, tensor, values,
};

const SIDES: [Sides; 2] = [Sides::Both, Sides::Left];

/// Diagonals with a shift of 1, and positive products, for `rows` operators.
fn operands(rows: usize, n: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let d = values(rows * n, seed).into_iter().flat_map(|v| [v - 0.5, -1.0]).collect();
    (d, values(rows * (n - 1), seed + 1).into_iter().map(|v| v * v).collect())
}

/// From the minors: `θ_k` of the leading `k` rows, `φ_k` of those from `k` on.
fn by_minors(d: &[f64], p: &[f64], sides: Sides) -> Vec<f64> {
    let n = d.len() / 2;
    let d: Vec<_> = d.chunks(2).map(|d| Complex64::new(d[0], d[1])).collect();
    let mut theta = vec![Complex64::ONE, d[0]];
    let mut phi = vec![Complex64::ONE, d[n - 1]];
    for k in 1..n {
        theta.push(d[k] * theta[k] - p[k - 1] * theta[k - 1]);
        phi.push(d[n - 1 - k] * phi[k] - p[n - 1 - k] * phi[k - 1]);
    }
    let value = |k: usize| match sides {
        Sides::Both => theta[k] * phi[n - 1 - k] / theta[n],
        Sides::Left => theta[k] / theta[k + 1],
    };
    (0..n).flat_map(|k| [value(k).re, value(k).im]).collect()
}

fn run(d: &[f64], p: &[f64], n: usize, sides: Sides, dtype: DType, device: &Device) -> Vec<f64> {
    let rows = d.len() / (2 * n);
    let d = tensor(d, [rows, n, 2], dtype, device);
    let p = if n == 1 {
        Tensor::empty([rows, 0], (device, dtype))
    } else {
        tensor(p, [rows, n - 1], dtype, device)
    };
    read(resolvent(d, p, sides).unwrap())
}

#[test]
fn resolvents_are_ratios_of_minors() {
    for sides in SIDES {
        for n in [1, 2, 3, 9] {
            let (d, p) = operands(2, n, n as u64);
            let expected: Vec<f64> = (0..2)
                .flat_map(|row| {
                    by_minors(&d[row * 2 * n..][..2 * n], &p[row * (n - 1)..][..n - 1], sides)
                })
                .collect();
            close(&run(&d, &p, n, sides, DType::F64, &flex()), &expected, 1e-13);
        }
    }
}

/// Result, and gradients of `d` and `p` of a weighted sum of it.
fn with_gradients(n: usize, sides: Sides, dtype: DType, device: &Device) -> [Vec<f64>; 3] {
    let (d, p) = operands(3, n, 5);
    let device = device.clone().autodiff();
    let d = tensor(&d, [3, n, 2], dtype, &device).require_grad();
    let p = tensor(&p, [3, n - 1], dtype, &device).require_grad();
    let y = resolvent(d.clone(), p.clone(), sides).unwrap();
    let weights = tensor(&values(6 * n, 7), [3, n, 2], dtype, &device);
    let gradients = (y.clone() * weights).sum().backward();
    [read(y.inner()), read(d.grad(&gradients).unwrap()), read(p.grad(&gradients).unwrap())]
}

#[test]
fn gradients_match_finite_differences() {
    for sides in SIDES {
        for n in [2, 3, 8] {
            let (d, p) = operands(3, n, 5);
            let weights = values(6 * n, 7);
            let loss = |d: &[f64], p: &[f64]| -> f64 {
                let y = run(d, p, n, sides, DType::F64, &flex());
                y.iter().zip(&weights).map(|(y, w)| y * w).sum()
            };
            let slopes = |of: &[f64], loss: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
                (0..of.len())
                    .map(|i| {
                        let moved = |by: f64| {
                            let mut moved = of.to_vec();
                            moved[i] += by;
                            loss(&moved)
                        };
                        (moved(1e-6) - moved(-1e-6)) / 2e-6
                    })
                    .collect()
            };
            let [_, by_d, by_p] = with_gradients(n, sides, DType::F64, &flex());
            close(&by_d, &slopes(&d, &|d| loss(d, &p)), 1e-8);
            close(&by_p, &slopes(&p, &|p| loss(&d, p)), 1e-8);
        }
    }
}

#[test]
fn the_left_form_does_not_see_the_future() {
    let n = 40;
    for device in devices() {
        for (sides, causal) in [(Sides::Left, true), (Sides::Both, false)] {
            let (d, p) = operands(1, n, 3);
            let before = run(&d, &p, n, sides, DType::F32, &device);
            let mut changed = d.clone();
            changed[2 * 25] += 1.0;
            let after = run(&changed, &p, n, sides, DType::F32, &device);
            assert_eq!(before[..50] == after[..50], causal, "{sides:?}");
            assert_ne!(before[50..52], after[50..52], "{sides:?}");
        }
    }
}

#[test]
fn kernels_agree_with_flex() {
    for (sides, operations) in [
        (Sides::Both, ["resolvent_diagonal", "resolvent_diagonal_vjp"]),
        (Sides::Left, ["leading_resolvent", "leading_resolvent_vjp"]),
    ] {
        for n in [2, 24, 300] {
            let expected = with_gradients(n, sides, DType::F32, &flex());
            for device in devices_with_kernels() {
                let run = || with_gradients(n, sides, DType::F32, &device);
                let found = by_kernels(&operations, run);
                for (found, expected) in found.iter().zip(&expected) {
                    close(found, expected, 2e-6);
                }
            }
        }
    }
}

#[test]
fn wrong_operands_are_errors() {
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &flex());
    let beside = |shape: [usize; 2]| Tensor::<2>::zeros(shape, &flex());
    for (d, p, argument) in [
        (zeros([2, 4, 3]), beside([2, 3]), "`d`"),
        (zeros([2, 0, 2]), beside([2, 0]), "`d`"),
        (zeros([2, 4, 2]), beside([2, 4]), "`p`"),
        (zeros([2, 4, 2]), beside([1, 3]), "`p`"),
    ] {
        let message = resolvent(d, p, Sides::Left).unwrap_err().to_string();
        assert!(message.contains(argument), "{message}");
    }
}

/// Flags for `rows` sequences of `n`, of which the first keeps one element, the second all.
fn flags(rows: usize, n: usize) -> Vec<bool> {
    let kept = |row: usize, k: usize| match row {
        0 => k == n / 2,
        1 => true,
        _ => (k * k + row).is_multiple_of(3) || k == n / 3,
    };
    (0..rows).flat_map(|row| (0..n).map(move |k| kept(row, k))).collect()
}

/// Result and gradients of the resolvents of kept elements.
fn kept_with_gradients(
    [d, p, w]: [&[f64]; 3],
    keep: &[bool],
    [rows, n]: [usize; 2],
    dtype: DType,
    device: &Device,
) -> [Vec<f64>; 3] {
    let device = device.clone().autodiff();
    let d = tensor(d, [rows, n, 2], dtype, &device).require_grad();
    let p = tensor(p, [rows, n - 1], dtype, &device).require_grad();
    let y = resolvent_kept(d.clone(), p.clone(), keep).unwrap();
    let gradients = (y.clone() * tensor(w, [rows, n, 2], dtype, &device)).sum().backward();
    [read(y.inner()), read(d.grad(&gradients).unwrap()), read(p.grad(&gradients).unwrap())]
}

#[test]
fn kept_elements_make_shorter_operators_with_lines_between() {
    let shape @ [rows, n] = [4, 9];
    let (d, p) = operands(rows, n, 21);
    let (w, keep) = (values(2 * rows * n, 22), flags(rows, n));
    let of =
        |d: &[f64], p: &[f64]| kept_with_gradients([d, p, &w], &keep, shape, DType::F64, &flex());
    let [y, by_d, by_p] = of(&d, &p);
    for row in 0..rows {
        let kept: Vec<usize> = (0..n).filter(|&k| keep[row * n + k]).collect();
        let shorter: Vec<f64> =
            kept.iter().flat_map(|&k| d[2 * (row * n + k)..][..2].to_vec()).collect();
        let links: Vec<f64> =
            kept[..kept.len() - 1].iter().map(|&k| p[row * (n - 1) + k]).collect();
        let known = by_minors(&shorter, &links, Sides::Both);
        let expected: Vec<f64> = (0..2 * n)
            .map(|at| {
                let (k, part) = (at / 2, at % 2);
                let of = |rank: usize| known[2 * rank + part];
                match kept.iter().position(|&at| at >= k) {
                    None => of(kept.len() - 1),
                    Some(0) => of(0),
                    Some(next) => {
                        let (from, to) = (kept[next - 1], kept[next]);
                        let along = (k - from) as f64 / (to - from) as f64;
                        of(next - 1) + along * (of(next) - of(next - 1))
                    }
                }
            })
            .collect();
        close(&y[2 * row * n..][..2 * n], &expected, 1e-13);
    }
    let loss = |d: &[f64], p: &[f64]| of(d, p)[0].iter().zip(&w).map(|(y, w)| y * w).sum::<f64>();
    let slopes = |of: &[f64], loss: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
        let slope = |i: usize| {
            let moved = |by: f64| {
                let mut moved = of.to_vec();
                moved[i] += by;
                loss(&moved)
            };
            (moved(1e-6) - moved(-1e-6)) / 2e-6
        };
        (0..of.len()).map(slope).collect()
    };
    close(&by_d, &slopes(&d, &|d| loss(d, &p)), 1e-8);
    close(&by_p, &slopes(&p, &|p| loss(&d, p)), 1e-8);
}

#[test]
fn kept_elements_run_by_kernels() {
    for shape @ [rows, n] in [[3, 2], [4, 33]] {
        let (d, p) = operands(rows, n, 23);
        let w = values(2 * rows * n, 24);
        let all = flags(rows, n);
        // Flags of every sequence, and of one for all.
        for keep in [&all[..], &all[2 * n..][..n]] {
            let run = |dtype, device: &Device| {
                kept_with_gradients([&d, &p, &w], keep, shape, dtype, device)
            };
            let expected = run(DType::F32, &flex());
            for device in devices_with_kernels() {
                let operations = ["resolvent_kept", "resolvent_kept_vjp"];
                let found = by_kernels(&operations, || run(DType::F32, &device));
                for (found, expected) in found.iter().zip(&expected) {
                    close(found, expected, 2e-6);
                }
            }
        }
    }
}

#[test]
fn flags_that_do_not_fit_are_errors() {
    let refused = |n: usize, keep: &[bool]| {
        let d = Tensor::<3>::ones([2, n, 2], &flex());
        let error = resolvent_kept(d, Tensor::<2>::zeros([2, n - 1], &flex()), keep).unwrap_err();
        assert!(matches!(error, Error::Length { .. }), "{error}");
    };
    refused(3, &[true; 4]);
    refused(3, &[]);
    refused(3, &[false; 3]);
    refused(3, &[true, true, true, false, false, false]);
    refused(1, &[true]);
}
