//! Products by matrix units. Where a device has none, as the software driver of Debian and Ubuntu, the same kernel is run
//! with its fragments written out.

use wavecube::{
    Complex64, Dtype, Limits, Number, QmatmulOptions, QmatmulStrategy, QuantizedWeight,
    qmatmul_into, quant::*,
};
use wavecube_kernels::qmatmul::{Algorithm, Task};
use wavecube_testing::{
    Rng, devices, halves, nan_filled, read, reference::qmatmul::product, tensor,
};

use super::{
    BITS, SCALES,
    product::{W4, assert_right, exact, launched, packed, plan_of, real, rows},
};

const FORWARD: Task = Task::Forward(Number::Float);

/// Every number of fragments, and rows, columns and inputs that fill none; sums in one part and in several.
#[test]
fn every_number_of_fragments() {
    let mut rng = Rng::fresh();
    for device in devices().iter().filter(|device| !device.limits().serial) {
        let gpu = Limits { emulated: false, ..*device.limits() };
        for dtype in halves(device) {
            for (i, m) in [1, 9, 16, 17, 33, 64, 65, 130].into_iter().enumerate() {
                let limits = if i % 2 == 0 { &gpu } else { device.limits() };
                let (n, k) = (rng.int(1, 200), rng.int(1, 700));
                let scheme = Scheme { bits: BITS[i / 2 % 2], symmetric: rng.int(0, 1) == 0, ..W4 };
                let weight = packed(&mut rng, [n, k], scheme);
                let (x, xs) = rows(device, &mut rng, dtype, [m, k]);
                let plan = plan_of(&x, &weight, FORWARD, QmatmulStrategy::Matrix, limits);
                let found = launched(&x, &weight, &plan);
                let what = format!("{device} {}, seed {}", plan.describe(), rng.seed);
                assert!(matches!(plan.algorithm, Algorithm::Matrix(_)), "{what}");
                assert_right(&what, &found, &product(&xs, &exact(&weight), k), k, dtype);
            }
        }
    }
}

/// Weights that overflow or vanish in `f16` where a column's are not brought near to one first.
#[test]
fn scales_of_any_size() {
    let mut rng = Rng::fresh();
    for device in devices().iter().filter(|device| !device.limits().serial) {
        for dtype in halves(device) {
            for scale in SCALES {
                let (m, n, k) = (20, 3, 256);
                let scheme = Scheme { group: Group::Of32, scale, symmetric: true, ..W4 };
                let codes: Vec<u8> = (0..n * k).map(|_| rng.int(1, 15) as u8).collect();
                // From group to group of a row, and from row to row.
                let sizes: [f32; 8] = match scale {
                    ScaleType::F16 => [3e-7, 1e-3, 0.1, 0.5, 2.0, 17.0, 4e-5, 6e-8],
                    _ => [3e-30, 1e-20, 0.1, 0.5, 1e-3, 2.0, 17.0, 2e-38],
                };
                let scales: Vec<f32> = (0..n * 8)
                    .map(|i| match (i / 8, scale) {
                        (0, _) => sizes[i % 8],
                        (1, ScaleType::F16) => 2e-7,
                        (1, _) => 4e-25,
                        _ => 3e3,
                    })
                    .collect();
                let weight = PackedWeight::pack(scheme, [n, k], &codes, &scales, &[]).unwrap();
                let on_device = QuantizedWeight::upload(device, &weight).unwrap();
                // Results of the first and the last row of the weight lie in the range of `f16`; bf16 and its scales
                // reach further.
                let (x, xs) = rows(device, &mut rng, dtype, [m, k]);
                let y = nan_filled(device, dtype, false, &[m, n]).unwrap();
                let options = QmatmulOptions {
                    strategy: QmatmulStrategy::Matrix,
                    ..QmatmulOptions::default()
                };
                qmatmul_into(&x, &on_device, &options, &y).unwrap();
                let (found, exact) = (real(&read(&y)), product(&xs, &exact(&weight), k));
                for column in 0..n {
                    let of = |all: &[f64]| all.iter().skip(column).step_by(n).copied().collect();
                    let (found, exact): (Vec<f64>, Vec<f64>) = (of(&found), of(&exact));
                    let largest = exact.iter().fold(0.0f64, |most, v| most.max(v.abs()));
                    let range = if dtype == Dtype::F16 { 1e-4..6e4 } else { 1e-35..1e38 };
                    if range.contains(&largest) {
                        let what =
                            format!("{device} {dtype} {scale:?}, row {column} of the weight");
                        assert_right(&what, &found, &exact, k, dtype);
                    }
                }
            }
        }
    }
}

/// As the sum of two numbers, as for `bf16`, which no driver here has, a weight keeps the bits that one has not.
#[test]
fn split_weights() {
    let mut rng = Rng::fresh();
    for device in devices().iter().filter(|device| !device.limits().serial && device.limits().f16) {
        let (m, n, k) = (3, 50, 100);
        let scheme = Scheme {
            bits: Bits::Eight,
            symmetric: true,
            group: Group::Channel,
            scale: ScaleType::F32,
        };
        // Numbers of seven bits by a scale of ten take more than the eleven of `f16`. Pairs of them add up to -1.
        let mut codes = vec![0u8; n * k];
        for pair in codes.chunks_mut(2) {
            let code = rng.int(1, 254) as u8;
            pair.copy_from_slice(&[code, 255 - code]);
        }
        let scales = vec![1.0 + 2f32.powi(-9); n];
        let weight = PackedWeight::pack(scheme, [n, k], &codes, &scales, &[]).unwrap();
        let ones = vec![Complex64::ONE; m * k];
        let (x, _) = tensor(device, &ones, Dtype::F16, false, &[m, k]).unwrap();
        let expected = -f64::from(scales[0]) * (k / 2) as f64;
        let mut plan = plan_of(&x, &weight, FORWARD, QmatmulStrategy::Matrix, device.limits());
        for split in [false, true] {
            let Algorithm::Matrix(config) = &mut plan.algorithm else { unreachable!() };
            config.split = split;
            assert!(config.shared_bytes() <= device.limits().shared_bytes);
            let found = launched(&x, &weight, &plan);
            let off = found.iter().fold(0.0f64, |most, v| most.max((v - expected).abs()));
            // Half of what the last bit of the result counts, and as many roundings as weights otherwise.
            let what = format!("{device}: {off} off {expected}, seed {}", rng.seed);
            assert!(
                if split { off <= 2f64.powi(-6) + 1e-5 } else { off > 2f64.powi(-5) },
                "{what}"
            );
        }
    }
}

/// In one part, and with sums in several.
#[test]
fn epilogue() {
    let mut rng = Rng::fresh();
    for device in devices().iter().filter(|device| !device.limits().serial) {
        for dtype in halves(device) {
            for (m, n, k) in [(9, 70, 64), (18, 33, 4096)] {
                let weight = packed(&mut rng, [n, k], W4);
                let on_device = QuantizedWeight::upload(device, &weight).unwrap();
                let (x, xs) = rows(device, &mut rng, dtype, [m, k]);
                let (bias, biases) = tensor(device, &rng.real(n), dtype, false, &[n]).unwrap();
                let (gate, gates) = rows(device, &mut rng, dtype, [m, n]);
                let (residual, residuals) = rows(device, &mut rng, dtype, [m, n]);
                let options = QmatmulOptions {
                    strategy: QmatmulStrategy::Matrix,
                    bias: Some(bias),
                    gate: Some(gate),
                    residual: Some(residual),
                    ..QmatmulOptions::default()
                };
                let y = nan_filled(device, dtype, false, &[m, n]).unwrap();
                qmatmul_into(&x, &on_device, &options, &y).unwrap();
                let sums = product(&xs, &exact(&weight), k);
                let expected: Vec<f64> = (0..m * n)
                    .map(|i| {
                        let silu = gates[i] / (1.0 + (-gates[i]).exp());
                        residuals[i] + silu * (sums[i] + biases[i % n].re)
                    })
                    .collect();
                let plan = on_device.plan(&x, &options).unwrap();
                let what = format!("{device} {}, seed {}", plan.describe(), rng.seed);
                assert_right(&what, &real(&read(&y)), &expected, k, dtype);
            }
        }
    }
}
