//! Activations and weights of any size: results are right wherever they and the operands are normal numbers.

use wavecube::{
    Complex64, Dtype, Number, QmatmulOptions, QmatmulStrategy, QuantizedWeight, Tensor,
    qmatmul_vjp, qmatmul_with,
    quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme},
};
use wavecube_testing::{
    Rng, assert_close, devices, read,
    reference::qmatmul::{in_steps, product, transposed},
    tensor,
};

use super::product::{assert_right, complex, exact, real};

/// Powers of two that activations and weights are multiplied by.
const POWERS: [[i32; 2]; 8] =
    [[0, 0], [100, -100], [-100, 100], [-125, 60], [118, -40], [60, 20], [-60, -20], [-10, 100]];

#[test]
fn products_of_any_size() {
    let mut rng = Rng::fresh();
    let ways = [
        (QmatmulStrategy::Naive, Number::Float),
        (QmatmulStrategy::Gemv, Number::Float),
        (QmatmulStrategy::Tiled, Number::Float),
        (QmatmulStrategy::Auto, Number::Integer),
    ];
    for device in devices() {
        for [of_x, of_w] in POWERS {
            for scale in [ScaleType::Bf16, ScaleType::F32] {
                let scheme =
                    Scheme { bits: Bits::Eight, symmetric: false, group: Group::Of64, scale };
                let (m, n, k) = (3, 9, 130);
                let mut codes =
                    |count| -> Vec<u8> { (0..count).map(|_| rng.int(0, 255) as u8).collect() };
                let groups = n * scheme.group.count(k);
                let (codes, zeros) = (codes(n * k), codes(groups));
                let scales: Vec<f32> =
                    (0..groups).map(|_| (rng.uniform(1.0, 2.0) * 2f64.powi(of_w)) as f32).collect();
                let weight = PackedWeight::pack(scheme, [n, k], &codes, &scales, &zeros).unwrap();
                let on_device = QuantizedWeight::upload(device, &weight).unwrap();
                let mut rows = |len: usize| {
                    let values: Vec<_> = (0..m * len)
                        .map(|_| {
                            let sign = if rng.int(0, 1) == 0 { -1.0 } else { 1.0 };
                            Complex64::new(sign * rng.uniform(1.0, 4.0) * 2f64.powi(of_x), 0.0)
                        })
                        .collect();
                    let (x, xs) = tensor(device, &values, Dtype::F32, false, &[m, len]).unwrap();
                    (x, real(&xs))
                };
                let (x, xs) = rows(k);
                let w = exact(&weight);
                let what = format!("{device} {scheme} 2^{of_x} by 2^{of_w}");
                for (strategy, number) in ways {
                    let options = QmatmulOptions { strategy, number, ..QmatmulOptions::default() };
                    let Ok(found) = qmatmul_with(&x, &on_device, &options) else { continue };
                    let (found, what) =
                        (real(&read(&found)), format!("{what}, {strategy:?} {number:?}"));
                    if number == Number::Float {
                        assert_right(&what, &found, &product(&xs, &w, k), k, Dtype::F32);
                    } else {
                        let steps: Vec<f64> = xs.chunks(k).flat_map(in_steps).collect();
                        let expected = complex(&product(&steps, &w, k));
                        assert_close(&what, &complex(&found), &expected, 1e-3);
                    }
                }
                let (g, gs) = rows(n);
                let found = real(&read(&qmatmul_vjp(&g, &on_device).unwrap()));
                assert_right(&what, &found, &transposed(&gs, &w, k), n, Dtype::F32);
            }
        }
    }
}

/// Quantised on the device as on the host, whatever the size, to the largest number there is.
#[test]
fn weights_of_any_size_have_codes() {
    let mut rng = Rng::fresh();
    for device in devices() {
        for power in [-110, -60, 60, 110, 128] {
            for (bits, symmetric) in [(Bits::Four, true), (Bits::Eight, false), (Bits::Four, false)]
            {
                for scale in [ScaleType::Bf16, ScaleType::F32] {
                    let scheme = Scheme { bits, symmetric, group: Group::Of32, scale };
                    let values: Vec<f32> = (0..80)
                        .map(|i| {
                            // Both ends of the range, and what lies between.
                            let part = [1.0, -1.0, rng.uniform(-1.0, 1.0)][i % 32 % 3];
                            let most = if power == 128 { f32::MAX } else { 2f32.powi(power) };
                            part as f32 * most
                        })
                        .collect();
                    let host =
                        PackedWeight::quantize(&values, [2, 40], scheme, Clip::None).unwrap();
                    let x = Tensor::from_slice(device, &values, &[2, 40]).unwrap();
                    let found = QuantizedWeight::quantize(&x, scheme).unwrap();
                    let what = format!("{device} {scheme} 2^{power}, seed {}", rng.seed);
                    let given: Vec<f64> = values.iter().map(|&v| v.into()).collect();
                    // A step and a half of the coarsest, and what a scale is rounded by.
                    let bound = if bits == Bits::Four { 0.2 } else { 0.02 };
                    for weight in [&host, &found.download().unwrap()] {
                        let exact = exact(weight);
                        assert!(exact.iter().all(|v| v.is_finite()), "{what}: {exact:?}");
                        assert_close(&what, &complex(&exact), &complex(&given), bound);
                    }
                    let on_device = found.dequantize(Dtype::F32).unwrap();
                    assert_eq!(
                        on_device.read::<f32>().unwrap(),
                        found.download().unwrap().dequantize()
                    );
                }
            }
        }
    }
}

/// Errors say what a scale has to be, and what it was.
#[test]
fn scales_that_no_device_multiplies_by_are_named() {
    let pack = |scale_type, scale: f32| {
        let scheme =
            Scheme { bits: Bits::Four, symmetric: true, group: Group::Of32, scale: scale_type };
        let packed = PackedWeight::pack(scheme, [1, 2], &[1, 2], &[scale], &[]);
        packed.map(|_| ()).map_err(|error| error.to_string())
    };
    for (scale_type, scale, part) in [
        (ScaleType::F32, 1e-39, "a normal number above zero, from 1.2e-38"),
        (ScaleType::Bf16, 1e-39, "a normal number of bf16"),
        (ScaleType::F16, 1e-9, "above zero as f16 has it, from 6e-8 to 65504, it is 0.00000000"),
        (ScaleType::F16, 1e5, "from 6e-8 to 65504, it is 100000"),
        (ScaleType::F32, f32::INFINITY, "it is inf"),
        (ScaleType::F16, f32::NAN, "it is NaN"),
    ] {
        let message = pack(scale_type, scale).unwrap_err();
        assert!(message.contains("`scales`") && message.contains(part), "{message}");
    }
    for (scale_type, scale) in
        [(ScaleType::F16, 6e-8), (ScaleType::F32, f32::MIN_POSITIVE), (ScaleType::Bf16, 2e-38)]
    {
        assert_eq!(pack(scale_type, scale), Ok(()));
    }
    let scheme =
        Scheme { bits: Bits::Four, symmetric: true, group: Group::Of32, scale: ScaleType::F16 };
    let large = PackedWeight::quantize(&[0.5, -2e6], [1, 2], scheme, Clip::None).unwrap_err();
    assert!(large.to_string().contains("2000000"), "the largest weight is the reason: {large}");
}

/// `silu` where `e^{−g}` overflows and the result is a normal number.
#[test]
fn gates_nearly_shut() {
    for device in devices() {
        let scheme =
            Scheme { bits: Bits::Four, symmetric: true, group: Group::Of32, scale: ScaleType::F32 };
        let gates: Vec<f32> = (0..64).map(|i| -60.0 - i as f32).collect();
        let n = gates.len();
        let packed = PackedWeight::pack(scheme, [n, 1], &vec![9; n], &vec![1.0; n], &[]).unwrap();
        let weight = QuantizedWeight::upload(device, &packed).unwrap();
        let x = Tensor::from_slice(device, &[1e20f32], &[1, 1]).unwrap();
        let gate = Some(Tensor::from_slice(device, &gates, &[1, n]).unwrap());
        let options = QmatmulOptions { gate, ..QmatmulOptions::default() };
        let found = real(&read(&qmatmul_with(&x, &weight, &options).unwrap()));
        for (found, gate) in found.into_iter().zip(gates.into_iter().map(f64::from)) {
            // `silu` itself is a normal number down to about −91.
            if gate > -91.0 {
                let expected = f64::from(1e20f32) * gate / (1.0 + (-gate).exp());
                assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{gate}: {found:e}");
            }
        }
    }
}
