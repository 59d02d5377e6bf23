//! Products with packed weights: both devices against sums in `f64`, and their gradients.

use burn::tensor::{DType, Tensor};
use wavecube_burn::{PackedTensor, qmatmul, qmatmul_complex};
use wavecube_core::{
    Error,
    quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme},
};

use crate::support::{by_kernels, close, devices, flex, read, tensor, values};

/// `x W` or, transposed, `x Wᵀ` for the rows of `x`, with `W` of `[n, k]`.
fn product(x: &[f64], weight: &[f32], [n, k]: [usize; 2], transposed: bool) -> Vec<f64> {
    let (inputs, outputs) = if transposed { (k, n) } else { (n, k) };
    let at = |i: usize, o: usize| f64::from(weight[if transposed { o * k + i } else { i * k + o }]);
    let row = |x: &[f64]| -> Vec<f64> {
        (0..outputs).map(|o| (0..inputs).map(|i| x[i] * at(i, o)).sum()).collect()
    };
    x.chunks_exact(inputs).flat_map(row).collect()
}

#[test]
fn devices_agree_with_sums_in_f64() {
    let shape @ [n, k] = [33, 70];
    let numbers: Vec<f32> = values(n * k, 1).iter().map(|&value| value as f32).collect();
    let (group, scale) = (Group::Of32, ScaleType::F16);
    let schemes = [
        Scheme { bits: Bits::Four, symmetric: false, group, scale },
        Scheme { bits: Bits::Eight, symmetric: true, group: Group::Channel, scale: ScaleType::F32 },
    ];
    for (case, scheme) in schemes.into_iter().enumerate() {
        let weight = PackedWeight::quantize(&numbers, shape, scheme, Clip::Search).unwrap();
        let stands_for = weight.dequantize();
        for [batch, time] in [[1, 1], [2, 3]] {
            let x = values(batch * time * k, 10 + case as u64);
            let g = values(batch * time * n, 20 + case as u64);
            let [x32, g32] = [&x, &g].map(|all| -> Vec<f64> {
                all.iter().map(|&value| f64::from(value as f32)).collect()
            });
            let expected = product(&x32, &stands_for, shape, true);
            let gradient = product(&g32, &stands_for, shape, false);
            for device in devices() {
                let device = device.autodiff();
                let packed = PackedTensor::upload(&weight, &device);
                let input = tensor(&x, [batch, time, k], DType::F32, &device).require_grad();
                let y = by_kernels(&["qmatmul"], || qmatmul(input.clone(), &packed).unwrap());
                assert_eq!(y.dims(), [batch, time, n]);
                // A sum of k products rounds each and itself: a few ε √k of its size.
                let tolerance = 4.0 * f64::from(f32::EPSILON) * (k as f64).sqrt();
                close(&read(y.clone().inner()), &expected, tolerance);
                let g = tensor(&g, [batch, time, n], DType::F32, &device);
                let gradients = by_kernels(&["qmatmul_vjp"], || (y * g).sum().backward());
                let by_x = input.grad(&gradients).unwrap();
                close(&read(by_x), &gradient, tolerance);
            }
        }
    }
}

/// `x W` or, back, `x W*` for the rows of pairs `x`, in `f64`.
fn complex_product(x: &[f64], [re, im]: [&[f32]; 2], shape: [usize; 2], back: bool) -> Vec<f64> {
    let part = |offset: usize| -> Vec<f64> { x.iter().skip(offset).step_by(2).copied().collect() };
    let [x_re, x_im] = [0, 1].map(part);
    let by = |x: &[f64], weight: &[f32]| product(x, weight, shape, !back);
    let sign = if back { -1.0 } else { 1.0 };
    let (a, b, c, d) = (by(&x_re, re), by(&x_im, im), by(&x_re, im), by(&x_im, re));
    (0..a.len()).flat_map(|i| [a[i] - sign * b[i], sign * c[i] + d[i]]).collect()
}

#[test]
fn complex_products_agree_with_sums_in_f64() {
    let shape @ [n, k] = [33, 70];
    let (group, scale) = (Group::Of32, ScaleType::F16);
    // The two parts may be packed in different ways.
    let schemes = [
        Scheme { bits: Bits::Four, symmetric: false, group, scale },
        Scheme { bits: Bits::Eight, symmetric: true, group: Group::Channel, scale: ScaleType::F32 },
    ];
    let parts = [0, 1].map(|part: usize| {
        let numbers: Vec<f32> =
            values(n * k, 30 + part as u64).iter().map(|&value| value as f32).collect();
        PackedWeight::quantize(&numbers, shape, schemes[part], Clip::None).unwrap()
    });
    let stands_for = parts.each_ref().map(PackedWeight::dequantize);
    let stands_for = stands_for.each_ref().map(Vec::as_slice);
    for rows in [1, 5] {
        let round = |count, seed| -> Vec<f64> {
            values(count, seed).iter().map(|&value| f64::from(value as f32)).collect()
        };
        let (x, g) = (round(rows * k * 2, 32), round(rows * n * 2, 33));
        let expected = complex_product(&x, stands_for, shape, false);
        let gradient = complex_product(&g, stands_for, shape, true);
        for device in devices() {
            let device = device.autodiff();
            let [re, im] = parts.each_ref().map(|part| PackedTensor::upload(part, &device));
            let input = tensor(&x, [rows, k, 2], DType::F32, &device).require_grad();
            let run = || qmatmul_complex(input.clone(), &re, &im).unwrap();
            let y = by_kernels(&["qmatmul_complex"], run);
            assert_eq!(y.dims(), [rows, n, 2]);
            // As of real products, of twice as many terms.
            let tolerance = 4.0 * f64::from(f32::EPSILON) * (2.0 * k as f64).sqrt();
            close(&read(y.clone().inner()), &expected, tolerance);
            let g = tensor(&g, [rows, n, 2], DType::F32, &device);
            let gradients = by_kernels(&["qmatmul_complex"], || (y * g).sum().backward());
            close(&read(input.grad(&gradients).unwrap()), &gradient, tolerance);
        }
    }
}

#[test]
fn complex_operands_that_do_not_fit_are_refused() {
    let scheme =
        Scheme { bits: Bits::Four, symmetric: true, group: Group::Of64, scale: ScaleType::Bf16 };
    let [wide, square] = [[3, 4], [3, 3]].map(|shape @ [n, k]: [usize; 2]| {
        let weight = PackedWeight::quantize(&vec![1.0; n * k], shape, scheme, Clip::None).unwrap();
        PackedTensor::upload(&weight, &flex())
    });
    let refused = |shape: [usize; 3], im: &PackedTensor| {
        qmatmul_complex(Tensor::<3>::ones(shape, &flex()), &wide, im).unwrap_err()
    };
    let other = refused([2, 4, 2], &square);
    assert!(matches!(other, Error::Shape { argument: "im", .. }), "{other}");
    let width = refused([2, 3, 2], &wide);
    assert!(matches!(width, Error::Length { argument: "x", found: 3, .. }), "{width}");
    let real = refused([2, 4, 1], &wide);
    assert!(matches!(real, Error::Shape { argument: "x", .. }), "{real}");
}

#[test]
fn rows_of_another_width_are_refused() {
    let scheme =
        Scheme { bits: Bits::Four, symmetric: true, group: Group::Of64, scale: ScaleType::Bf16 };
    let weight = PackedWeight::quantize(&[1.0; 12], [3, 4], scheme, Clip::None).unwrap();
    let packed = PackedTensor::upload(&weight, &flex());
    let refused = qmatmul(Tensor::<2>::ones([4, 3], &flex()), &packed).unwrap_err();
    assert!(matches!(refused, Error::Length { argument: "x", found: 3, .. }), "{refused}");
}
