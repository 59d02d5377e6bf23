//! Operands of any size: with all of them multiplied by powers of two results are those of the definition, multiplied
//! likewise.

use wavecube::{
    Complex64, Device, Dtype, Limits, Tensor, cardioid, complex_rms_norm, complex_rms_norm_vjp,
    phase_mix, phase_mix_vjp, sigmoid_gate, sigmoid_gate_vjp, to_polar,
};
use wavecube_kernels::mixing::{
    Map, MapBindings, MapGradients, MapPlan, RmsNormPlan, map_launch, map_vjp_launch,
    rms_norm_launch, rms_norm_vjp_launch,
};
use wavecube_testing::{
    Rng, assert_close, devices, has, nan_filled, read,
    reference::mixing::{PhaseMix, gradients, value},
    tensor,
};

const MAPS: [Map; 6] =
    [Map::ModRelu, Map::Cardioid, Map::Rotate, Map::Gate, Map::Polar, Map::Cartesian];

/// Powers of two of `z` and of `g` by which products of the two are normal numbers as well.
fn powers(dtype: Dtype) -> Vec<[i32; 2]> {
    let each = if dtype == Dtype::F64 { 9 } else { 1 };
    let powers = [
        [0, 0],
        [100, 0],
        [-100, 0],
        [100, -60],
        [-100, 60],
        [63, 40],
        [-63, -40],
        [20, 80],
        [-20, -80],
    ];
    powers.map(|pair| pair.map(|power| each * power)).to_vec()
}

fn tolerance(dtype: Dtype) -> f64 {
    if dtype == Dtype::F64 { 1e-10 } else { 1e-6 }
}

/// Uploads these numbers times a power of two.
fn scaled(
    device: &Device,
    values: &[Complex64],
    power: i32,
    dtype: Dtype,
    complex: bool,
) -> Tensor {
    let values: Vec<_> = values.iter().map(|v| v * 2f64.powi(power)).collect();
    tensor(device, &values, dtype, complex, &[values.len()]).unwrap().0
}

/// Numbers of the type with few bits, so that none is rounded; and no zero with a sign, whose angle is −π in `f64`.
fn short(values: Vec<Complex64>) -> Vec<Complex64> {
    let short = |v: f64| (v * 1024.0).round() / 1024.0 + 0.0;
    values.into_iter().map(|v| Complex64::new(short(v.re), short(v.im))).collect()
}

/// Each part by a power of two of its own.
fn parts(values: &[Complex64], [re, im]: [i32; 2]) -> Vec<Complex64> {
    let by = |v: f64, power: i32| v * 2f64.powi(power);
    values.iter().map(|v| Complex64::new(by(v.re, re), by(v.im, im))).collect()
}

#[test]
fn maps_of_any_size() {
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            let mut rng = Rng::fresh();
            let n = 300;
            let away = |z: &Complex64| if (0.4..0.6).contains(&z.norm()) { z * 2.0 } else { *z };
            let z = short(rng.complex(n).iter().map(away).collect());
            let g = short(rng.complex(n));
            let w: Vec<_> =
                (0..n).map(|_| Complex64::new(rng.uniform(-0.55, -0.45), 0.0)).collect();
            let w = short(w);
            for map in MAPS {
                if dtype == Dtype::F64 && !matches!(map, Map::ModRelu | Map::Cardioid) {
                    continue;
                }
                for [of_z, of_g] in powers(dtype) {
                    let what =
                        format!("{device} {dtype} {map:?} 2^{of_z}, 2^{of_g}, seed {}", rng.seed);
                    // The size of `w` is that of a magnitude, or an angle or a gate; pairs are a magnitude and an angle.
                    let of_w = if map == Map::ModRelu { of_z } else { 0 };
                    let z_powers = if map == Map::Cartesian { [of_z, 0] } else { [of_z; 2] };
                    let g_powers = if map == Map::Polar { [of_g, of_g + of_z] } else { [of_g; 2] };
                    let flat = |values: Vec<Complex64>| scaled(device, &values, 0, dtype, true);
                    let (z_there, g_there) = (flat(parts(&z, z_powers)), flat(parts(&g, g_powers)));
                    let w_there = scaled(device, &w, of_w, dtype, false);
                    let weighted = map.is_weighted();
                    let layouts =
                        [Some(z_there.layout()), weighted.then(|| w_there.layout()), None];
                    let plan = MapPlan::new("test", map, layouts, dtype, device.limits()).unwrap();
                    let bindings = MapBindings {
                        z: z_there.handle().clone(),
                        w: weighted.then(|| w_there.handle().clone()),
                    };
                    let y = nan_filled(device, dtype, true, &[n]).unwrap();
                    map_launch(device.client(), &bindings, y.handle(), &plan).unwrap();
                    // Back to the size of the definition's.
                    let y_powers = match map {
                        Map::Polar => [-of_z, 0],
                        _ => [-of_z; 2],
                    };
                    let expected: Vec<_> =
                        z.iter().zip(&w).map(|(z, w)| value(map, *z, w.re)).collect();
                    assert_close(&what, &parts(&read(&y), y_powers), &expected, tolerance(dtype));

                    let layouts = [layouts[0], layouts[1], Some(g_there.layout())];
                    let plan = MapPlan::new("test", map, layouts, dtype, device.limits()).unwrap();
                    let by_z = nan_filled(device, dtype, true, &[n]).unwrap();
                    let by_w = nan_filled(device, dtype.compute(), false, &[n]).unwrap();
                    let into = MapGradients {
                        z: by_z.handle().clone(),
                        w: weighted.then(|| by_w.handle().clone()),
                    };
                    map_vjp_launch(device.client(), &bindings, g_there.handle(), &into, &plan)
                        .unwrap();
                    let expected =
                        z.iter().zip(&w).zip(&g).map(|((z, w), g)| gradients(map, *z, w.re, *g));
                    let (of_zs, of_ws): (Vec<_>, Vec<_>) =
                        expected.map(|(z, w)| (z, Complex64::new(w, 0.0))).unzip();
                    let z_powers = match map {
                        Map::Cartesian => [-of_g, -of_g - of_z],
                        _ => [-of_g; 2],
                    };
                    let close = |by: &str, found: &[Complex64], expected: &[Complex64]| {
                        // Terms of the size of `g` may cancel.
                        let beside = |values: &[Complex64]| [values, &g].concat();
                        let tolerance = tolerance(dtype).max(1e-9);
                        assert_close(
                            &format!("{what}, by {by}"),
                            &beside(found),
                            &beside(expected),
                            tolerance,
                        );
                    };
                    close("z", &parts(&read(&by_z), z_powers), &of_zs);
                    if weighted {
                        let power = if map == Map::ModRelu { -of_g } else { -of_g - of_z };
                        close("w", &parts(&read(&by_w), [power; 2]), &of_ws);
                    }
                }
            }
        }
    }
}

/// Where factors are far from 1 and results are not: gates nearly shut, cardioids near the negative axis.
#[test]
fn small_factors_of_large_numbers() {
    for device in devices() {
        let upload = |values: &[Complex64], complex| {
            tensor(device, values, Dtype::F32, complex, &[values.len()]).unwrap().0
        };
        let gates: Vec<_> = (0..150).map(|i| Complex64::new(-f64::from(i), 0.0)).collect();
        let z = vec![Complex64::new(2f64.powi(100), -2f64.powi(99)); gates.len()];
        let (z_there, w) = (upload(&z, true), upload(&gates, false));
        let y = read(&sigmoid_gate(&z_there, &w).unwrap());
        let g = vec![Complex64::new(1.0, 0.5); gates.len()];
        let [_, by_w] = sigmoid_gate_vjp(&z_there, &w, &upload(&g, true)).unwrap();
        for (i, (y, by_w)) in y.iter().zip(read(&by_w)).enumerate() {
            let w = -(i as f64);
            let expected = z[i] / (1.0 + (-w).exp());
            assert!((y - expected).norm() <= 1e-6 * expected.norm(), "{w}: {y} {expected}");
            let expected = (z[i].conj() * g[i]).re / (1.0 + (-w).exp()) / (1.0 + w.exp());
            assert!((by_w.re - expected).abs() <= 2e-6 * expected.abs(), "{w}: {by_w} {expected}");
        }
        let z: Vec<_> =
            (1..90).map(|i| Complex64::new(-2f64.powi(100), 2f64.powi(100 - i))).collect();
        for (found, z) in read(&cardioid(&upload(&z, true)).unwrap()).iter().zip(&z) {
            let expected = z * (0.5 * z.im.atan2(-z.re)).sin().powi(2);
            let off = (found - expected).norm();
            assert!(off <= 1e-6 * expected.norm(), "{z}: {found} {expected}");
        }
        // The largest numbers there are.
        let most = f64::from(f32::MAX) / 1.5;
        let z = [Complex64::new(most, -most / 2.0), Complex64::new(0.0, -1.4 * most)];
        for (found, z) in read(&to_polar(&upload(&z, true)).unwrap()).iter().zip(z) {
            assert!((found.re / z.norm() - 1.0).abs() < 1e-6, "{found}");
            assert!((found.im - z.arg()).abs() < 1e-6, "{found}");
        }
    }
}

/// The norm of `z` times a power of two from its definition, and both its gradients.
fn norm(
    z: &[Complex64],
    power: i32,
    w: &[f64],
    g: &[Complex64],
    epsilon: f64,
) -> [Vec<Complex64>; 3] {
    let n = z.len() as f64;
    let square = z.iter().map(Complex64::norm_sqr).sum::<f64>() / n;
    // By the power, since squares overflow in `f64` too.
    let root = square.sqrt().hypot(epsilon.sqrt() * 2f64.powi(-power));
    let unit: Vec<_> = z.iter().map(|z| z / root).collect();
    let dot = |a: Complex64, b: Complex64| (a.conj() * b).re;
    let mean = unit.iter().zip(w).zip(g).map(|((u, w), g)| w * dot(*u, *g)).sum::<f64>() / n;
    [
        unit.iter().zip(w).map(|(u, w)| u * w).collect(),
        unit.iter()
            .zip(w)
            .zip(g)
            .map(|((u, w), g)| (g * w - u * mean) / root * 2f64.powi(-power))
            .collect(),
        unit.iter().zip(g).map(|(u, g)| Complex64::new(dot(*u, *g), 0.0)).collect(),
    ]
}

#[test]
fn norms_of_any_size() {
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            let wide = if dtype == Dtype::F64 { 9 } else { 1 };
            for (power, epsilon) in [
                (0, 1e-5),
                (30, 1e-5),
                (64, 1e-5),
                (100, 1e-5),
                (110, 1e-5),
                (-30, 1e-5),
                (-64, 1e-5),
                (-100, 1e-5),
                (-30, 1e-30),
                (-40, 1.2e-38),
                (-60, 1.2e-38),
                (-100, 1.2e-38),
                (0, 1.2e-38),
                (60, 1e30),
            ] {
                for [rows, n] in [[3, 1], [3, 65], [2, 1500]] {
                    let mut rng = Rng::fresh();
                    let power = wide * power;
                    let epsilon = if wide == 9 && epsilon < 1e-20 { 1e-300 } else { epsilon };
                    let z = short(rng.complex(rows * n));
                    let (w, g) = (short(rng.real(n)), short(rng.complex(rows * n)));
                    let up = |values: &[Complex64], complex, shape: &[usize]| {
                        tensor(device, values, dtype, complex, shape).unwrap().0
                    };
                    let z_there = up(&parts(&z, [power; 2]), true, &[rows, n]);
                    let (w_there, g_there) = (up(&w, false, &[1, n]), up(&g, true, &[rows, n]));
                    let factors: Vec<f64> = w.iter().map(|w| w.re).collect();
                    let mut expected: [Vec<Complex64>; 3] = Default::default();
                    for (z, g) in z.chunks(n).zip(g.chunks(n)) {
                        for (all, line) in
                            expected.iter_mut().zip(norm(z, power, &factors, g, epsilon))
                        {
                            all.extend(line);
                        }
                    }
                    let what = format!(
                        "{device} {dtype} {rows} x {n} 2^{power} {epsilon:e}, seed {}",
                        rng.seed
                    );
                    for emulated in [device.limits().emulated, false] {
                        let limits = Limits { emulated, ..*device.limits() };
                        let plan = |g: Option<&Tensor>| {
                            let layouts = [
                                Some(z_there.layout()),
                                Some(w_there.layout()),
                                g.map(Tensor::layout),
                            ];
                            RmsNormPlan::new("test", layouts, epsilon, (dtype, 2), &limits).unwrap()
                        };
                        let fresh =
                            |complex| nan_filled(device, dtype, complex, &[rows, n]).unwrap();
                        let (y, by_z, by_w) = (fresh(true), fresh(true), fresh(false));
                        let (client, into) = (device.client(), [by_z.handle(), by_w.handle()]);
                        let operands = [z_there.handle(), w_there.handle(), g_there.handle()];
                        let forward = [operands[0], operands[1], y.handle()];
                        rms_norm_launch(client, forward, &plan(None)).unwrap();
                        rms_norm_vjp_launch(client, operands, into, &plan(Some(&g_there))).unwrap();
                        // A line of one number cancels but for its phase: beside what is subtracted.
                        let size = |values: &[Complex64]| {
                            values.iter().map(|v| v.norm()).fold(0.0, f64::max)
                        };
                        let beside = size(&expected[0]) * size(&g) / size(&parts(&z, [power; 2]));
                        let most = size(&expected[1]).max(beside);
                        for ((found, expected), most) in [y, by_z, by_w]
                            .iter()
                            .zip(&expected)
                            .zip([size(&expected[0]), most, size(&expected[2])])
                        {
                            for (found, expected) in read(found).iter().zip(expected) {
                                let off = (found - expected).norm();
                                assert!(
                                    off <= 8.0 * tolerance(dtype) * most,
                                    "{what}: {found} not {expected}, of {most:e}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a device takes for zero is no `ε`.
#[test]
fn epsilons_are_normal_numbers() {
    for device in devices() {
        let one =
            |complex| tensor(device, &[Complex64::ONE], Dtype::F32, complex, &[1, 1]).unwrap().0;
        let (z, w) = (one(true), one(false));
        for epsilon in [0.0, -1.0, 1e-39, 1e-300, 1e39, f64::INFINITY, f64::NAN] {
            let refused = |result: wavecube::Result<Tensor>| {
                let message = result.unwrap_err().to_string();
                assert!(message.contains("`epsilon`"), "{epsilon}: {message}");
            };
            refused(complex_rms_norm(&z, &w, epsilon));
            refused(phase_mix(&z, &w, &z, epsilon));
        }
        let [by_z, _] = complex_rms_norm_vjp(&z, &w, 1.2e-38, &z).unwrap();
        assert!(read(&by_z)[0].is_finite());
    }
}

#[test]
fn mixtures_of_any_size() {
    let [rows, inputs, outputs] = [5, 7, 3];
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            for [of_y, of_g] in powers(dtype) {
                let mut rng = Rng::fresh();
                let (y, g) =
                    (short(rng.complex(rows * inputs)), short(rng.complex(rows * outputs)));
                let (a, c) =
                    (short(rng.real(outputs * inputs)), short(rng.complex(outputs * inputs)));
                // Of magnitudes, as far as there are such numbers.
                let epsilon = 0.25;
                let up = |values: &[Complex64], power, complex, shape: [usize; 2]| {
                    let values: Vec<_> = values.iter().map(|v| v * 2f64.powi(power)).collect();
                    tensor(device, &values, dtype, complex, &shape).unwrap().0
                };
                let square = [outputs, inputs];
                let there = [
                    up(&y, of_y, true, [rows, inputs]),
                    up(&a, 0, false, square),
                    up(&c, 0, true, square),
                    up(&g, of_g, true, [rows, outputs]),
                ];
                let reference = PhaseMix {
                    inputs,
                    magnitudes: a.iter().map(|a| a.re).collect(),
                    directions: c.clone(),
                    epsilon,
                };
                let of_epsilon = epsilon * 2f64.powi(of_y);
                let [y_there, a_there, c_there, g_there] = &there;
                let z = phase_mix(y_there, a_there, c_there, of_epsilon).unwrap();
                let [by_y, by_a, by_c] =
                    phase_mix_vjp(y_there, a_there, c_there, of_epsilon, g_there).unwrap();
                let what = format!("{device} {dtype} 2^{of_y}, 2^{of_g}, seed {}", rng.seed);
                let back = |found: &Tensor, power: i32| parts(&read(found), [-power; 2]);
                let close = |by: &str, found: &[Complex64], expected: &[Complex64]| {
                    let bound = 16.0 * tolerance(dtype);
                    let beside = |values: &[Complex64]| [values, &g].concat();
                    assert_close(
                        &format!("{what}, {by}"),
                        &beside(found),
                        &beside(expected),
                        bound,
                    );
                };
                close("z", &back(&z, of_y), &reference.value(&y));
                close("by y", &back(&by_y, of_g), &reference.by_channels(&y, &g));
                let (magnitudes, directions) = reference.by_matrices(&y, &g);
                let magnitudes: Vec<_> =
                    magnitudes.iter().map(|&a| Complex64::new(a, 0.0)).collect();
                close("by A", &back(&by_a, of_g + of_y), &magnitudes);
                close("by C", &back(&by_c, of_g + of_y), &directions);
            }
        }
    }
}
