//! Products against the dequantised weight in `f64`: every number of rows, every scheme, every strategy.

use wavecube::{
    Complex64, Device, Dtype, Limits, Number, QmatmulOptions, QmatmulStrategy, QuantizedWeight,
    Tensor, qmatmul_into, qmatmul_vjp, qmatmul_with,
    quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme},
};
use wavecube_kernels::qmatmul::{
    Algorithm, Epilogue, QmatmulBindings, QmatmulPlan, QmatmulProblem, Task, WeightBindings,
    qmatmul_launch,
};
use wavecube_testing::{
    Rng, assert_close, devices, halves, nan_filled, read,
    reference::qmatmul::{in_steps, product, transposed},
    rounded, tensor,
};

use super::{BITS, schemes};

/// Numbers of rows: around every one that is a kernel of its own.
const ROWS: [usize; 15] = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 64, 128, 768];

pub(super) const W4: Scheme =
    Scheme { bits: Bits::Four, symmetric: false, group: Group::Of64, scale: ScaleType::F16 };

pub(super) fn complex(values: &[f64]) -> Vec<Complex64> {
    values.iter().map(|v| Complex64::new(*v, 0.0)).collect()
}

pub(super) fn real(values: &[Complex64]) -> Vec<f64> {
    values.iter().map(|v| v.re).collect()
}

pub(super) fn packed(rng: &mut Rng, shape: [usize; 2], scheme: Scheme) -> PackedWeight {
    let values: Vec<f32> = rng.real(shape[0] * shape[1]).iter().map(|v| v.re as f32).collect();
    PackedWeight::quantize(&values, shape, scheme, Clip::None).unwrap()
}

pub(super) fn exact(weight: &PackedWeight) -> Vec<f64> {
    weight.dequantize().into_iter().map(f64::from).collect()
}

/// Rows, as they were rounded.
pub(super) fn rows(
    device: &Device,
    rng: &mut Rng,
    dtype: Dtype,
    shape: [usize; 2],
) -> (Tensor, Vec<f64>) {
    let values = rng.real(shape[0] * shape[1]);
    let (x, exact) = tensor(device, &values, dtype, false, &shape).unwrap();
    (x, real(&exact))
}

/// The gates that every product is asked for, and that of rounding: a sum of `k` products in `f32`, whose
/// roundings add like random numbers, and one of its storage type.
pub(super) fn assert_right(what: &str, found: &[f64], expected: &[f64], k: usize, dtype: Dtype) {
    // To the nearest in `bf16`, results are off by a thousandth in the mean already.
    let expected = &real(&rounded(&complex(expected), dtype))[..];
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    let error = sum(&mut found.iter().zip(expected).map(|(a, b)| (a - b).abs()));
    let size = sum(&mut expected.iter().map(|v| v.abs()));
    assert!(error <= 1e-3 * size, "{what}: mean relative error {:e}", error / size);
    let bound = f64::from(f32::EPSILON) * (k as f64).sqrt();
    let stored = if dtype.size() == 2 { dtype.epsilon() } else { 0.0 };
    assert!((bound + stored).powi(2) <= 5e-4, "the bound is below the gate of the mean square");
    assert_close(what, &complex(found), &complex(expected), bound + stored);
}

/// A plan for a device of other limits.
pub(super) fn plan_of(
    x: &Tensor,
    weight: &PackedWeight,
    task: Task,
    strategy: QmatmulStrategy,
    limits: &Limits,
) -> QmatmulPlan {
    let problem = QmatmulProblem {
        op: "test",
        task,
        x: x.layout().clone(),
        weight: weight.shape(),
        scheme: weight.scheme(),
        dtype: x.dtype(),
        strategy,
        epilogue: Epilogue::default(),
    };
    QmatmulPlan::new(&problem, limits).unwrap()
}

/// A product by a plan, in memory that was full of NaN.
pub(super) fn launched(x: &Tensor, weight: &PackedWeight, plan: &QmatmulPlan) -> Vec<f64> {
    let device = x.device();
    let out = nan_filled(device, x.dtype(), false, &[plan.m, plan.results()]).unwrap();
    let part = |words: &[u32]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        device.client().create_from_slice(&bytes)
    };
    let zeros = (!weight.zeros().is_empty()).then(|| part(weight.zeros()));
    let bindings = QmatmulBindings {
        x: x.handle().clone(),
        weight: WeightBindings {
            words: part(weight.words()),
            scales: part(weight.scales()),
            zeros,
        },
        epilogue: wavecube_kernels::qmatmul::EpilogueBindings::default(),
        out: out.handle().clone(),
    };
    qmatmul_launch(device.client(), &bindings, plan).unwrap();
    real(&read(&out))
}

/// Both.
fn planned(
    x: &Tensor,
    weight: &PackedWeight,
    task: Task,
    strategy: QmatmulStrategy,
    limits: &Limits,
) -> (QmatmulPlan, Vec<f64>) {
    let plan = plan_of(x, weight, task, strategy, limits);
    let found = launched(x, weight, &plan);
    (plan, found)
}

#[test]
fn every_number_of_rows_and_every_scheme() {
    let mut rng = Rng::fresh();
    for device in devices() {
        for m in ROWS {
            for scheme in schemes() {
                let (n, k) = (2 * rng.int(8, 20) + 1, 2 * rng.int(40, 80) + 1);
                let weight = packed(&mut rng, [n, k], scheme);
                let on_device = QuantizedWeight::upload(device, &weight).unwrap();
                let (x, xs) = rows(device, &mut rng, Dtype::F32, [m, k]);
                let y = nan_filled(device, Dtype::F32, false, &[m, n]).unwrap();
                qmatmul_into(&x, &on_device, &QmatmulOptions::default(), &y).unwrap();
                let what = format!("{device} {m}×{n}×{k} {scheme}, seed {}", rng.seed);
                let expected = product(&xs, &exact(&weight), k);
                assert_right(&what, &real(&read(&y)), &expected, k, Dtype::F32);
            }
        }
    }
}

/// Every kernel, as a GPU and as a device of one unit a cube would take them, and whole blocks beside odd rows.
#[test]
fn every_strategy() {
    let mut rng = Rng::fresh();
    let strategies = [
        QmatmulStrategy::Auto,
        QmatmulStrategy::Naive,
        QmatmulStrategy::Gemv,
        QmatmulStrategy::Tiled,
    ];
    for device in devices() {
        let gpu = Limits { emulated: false, serial: device.limits().serial, ..*device.limits() };
        let one = Limits { serial: true, ..gpu };
        for (limits, strategy) in
            strategies.into_iter().map(|strategy| (&gpu, strategy)).chain([(&one, strategies[0])])
        {
            if strategy == QmatmulStrategy::Tiled && limits.units_per_cube < 64 {
                continue;
            }
            for (m, n, k, bits) in [
                (1, 33, 2080, Bits::Four),
                (1, 33, 2081, Bits::Eight),
                (9, 67, 96, Bits::Four),
                (40, 131, 97, Bits::Eight),
            ] {
                let scheme = Scheme { bits, ..W4 };
                let weight = packed(&mut rng, [n, k], scheme);
                let (x, xs) = rows(device, &mut rng, Dtype::F32, [m, k]);
                let task = Task::Forward(Number::Float);
                let (plan, found) = planned(&x, &weight, task, strategy, limits);
                let what = format!("{device} {}, seed {}", plan.describe(), rng.seed);
                assert_right(&what, &found, &product(&xs, &exact(&weight), k), k, Dtype::F32);
            }
        }
    }
}

#[test]
fn half_activations() {
    let mut rng = Rng::fresh();
    let half = |device| halves(device).map(move |dtype| (device, dtype));
    for (device, dtype) in devices().iter().flat_map(half) {
        for (m, n, k) in [(1, 37, 129), (9, 20, 64)] {
            let weight = packed(&mut rng, [n, k], W4);
            let (x, xs) = rows(device, &mut rng, dtype, [m, k]);
            let on_device = QuantizedWeight::upload(device, &weight).unwrap();
            let y = nan_filled(device, dtype, false, &[m, n]).unwrap();
            qmatmul_into(&x, &on_device, &QmatmulOptions::default(), &y).unwrap();
            let what = format!("{device} {dtype} {m}×{n}×{k}, seed {}", rng.seed);
            let expected = product(&xs, &exact(&weight), k);
            assert_right(&what, &real(&read(&y)), &expected, k, dtype);
            // In whole numbers, and the gradient.
            let options = QmatmulOptions { number: Number::Integer, ..QmatmulOptions::default() };
            let y = qmatmul_with(&x, &on_device, &options).unwrap();
            let steps: Vec<f64> = xs.chunks(k).flat_map(in_steps).collect();
            let expected = complex(&product(&steps, &exact(&weight), k));
            assert_close(&what, &read(&y), &expected, 1e-3 + dtype.epsilon());
            let (g, gs) = rows(device, &mut rng, dtype, [m, n]);
            let dx = real(&read(&qmatmul_vjp(&g, &on_device).unwrap()));
            assert_right(&what, &dx, &transposed(&gs, &exact(&weight), k), n, dtype);
            // The numbers that codes stand for are those of the host, in the type.
            let numbers = on_device.dequantize(dtype).unwrap();
            let expected = rounded(&complex(&exact(&weight)), dtype);
            assert!(read(&numbers) == expected, "{what}");
        }
    }
}

/// Of whole activations with a largest of 127 and weights of scale 1 the result is a whole number: exact, a code at a
/// time and, as for a GPU, four at a time.
#[test]
fn sums_of_whole_numbers_are_exact() {
    let mut rng = Rng::fresh();
    for device in devices() {
        let gpu = Limits { emulated: false, ..*device.limits() };
        for bits in BITS {
            for symmetric in [true, false] {
                for (limits, m) in [(device.limits(), rng.int(1, 12)), (&gpu, 2)] {
                    let scheme =
                        Scheme { bits, symmetric, group: Group::Of32, scale: ScaleType::F16 };
                    assert_exact(&mut rng, device, limits, m, scheme);
                }
            }
        }
    }
}

fn assert_exact(rng: &mut Rng, device: &Device, limits: &Limits, m: usize, scheme: Scheme) {
    let [n, k] = [2 * rng.int(4, 9) + 1, 2 * rng.int(100, 150) + 1];
    let largest = scheme.bits.largest() as usize;
    let mut codes =
        |count: usize| -> Vec<u8> { (0..count).map(|_| rng.int(0, largest) as u8).collect() };
    let groups = n * scheme.group.count(k);
    let (codes, zeros) = (codes(n * k), codes(if scheme.symmetric { 0 } else { groups }));
    let weight = PackedWeight::pack(scheme, [n, k], &codes, &vec![1.0; groups], &zeros).unwrap();
    let mut whole =
        |i: usize| if i.is_multiple_of(k) { 127.0 } else { rng.int(0, 254) as f64 - 127.0 };
    let xs: Vec<f64> = (0..m * k).map(&mut whole).collect();
    let (x, _) = tensor(device, &complex(&xs), Dtype::F32, false, &[m, k]).unwrap();
    let task = Task::Forward(Number::Integer);
    let (plan, found) = planned(&x, &weight, task, QmatmulStrategy::Auto, limits);
    let expected = product(&xs, &exact(&weight), k);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        // Sums below 2²⁴ are exact; the scale of a row, 127/127, may be off by a rounding or two.
        assert!(expected.abs() < f64::from(1 << 24));
        let bound = 4.0 * f64::from(f32::EPSILON) * expected.abs();
        assert!(
            (found - expected).abs() <= bound,
            "{device} {}: {found} at {i}, not {expected}, seed {}",
            plan.describe(),
            rng.seed
        );
    }
}

#[test]
fn quantised_activations() {
    let mut rng = Rng::fresh();
    for device in devices() {
        let gpu = Limits { emulated: false, ..*device.limits() };
        for (limits, m, bits) in [
            (device.limits(), 1, Bits::Four),
            (device.limits(), 17, Bits::Eight),
            (&gpu, 2, Bits::Eight),
        ] {
            let (n, k) = (2 * rng.int(8, 20) + 1, 2 * rng.int(500, 600) + 1);
            let weight = packed(&mut rng, [n, k], Scheme { bits, ..W4 });
            let (x, xs) = rows(device, &mut rng, Dtype::F32, [m, k]);
            let task = Task::Forward(Number::Integer);
            let (plan, found) = planned(&x, &weight, task, QmatmulStrategy::Auto, limits);
            let what = format!("{device} {}, seed {}", plan.describe(), rng.seed);
            let steps: Vec<f64> = xs.chunks(k).flat_map(in_steps).collect();
            let expected = product(&steps, &exact(&weight), k);
            // An activation within a rounding of the middle between two steps may go to either: of 127
            // steps' width one in some ten thousand, each of which moves a result by a step of one weight.
            assert_close(&what, &complex(&found), &complex(&expected), 1e-3);
        }
    }
}

/// Rows of other steps: views of a larger tensor, and a transposed one.
#[test]
fn rows_of_any_steps() {
    let mut rng = Rng::fresh();
    for device in devices() {
        let (m, n, k) = (3, 11, 45);
        let weight = packed(&mut rng, [n, k], W4);
        let on_device = QuantizedWeight::upload(device, &weight).unwrap();
        let (x, _) = rows(device, &mut rng, Dtype::F32, [k + 4, 2 * m]);
        let columns = x.permuted(&[1, 0]).unwrap();
        let view = columns.narrowed(0, 1, m).unwrap().narrowed(1, 3, k).unwrap();
        let xs: Vec<f64> = real(&read(&view));
        let y = wavecube::qmatmul(&view, &on_device).unwrap();
        let expected = product(&xs, &exact(&weight), k);
        assert_right(&format!("{device}"), &real(&read(&y)), &expected, k, Dtype::F32);
    }
}

#[test]
fn epilogues() {
    let mut rng = Rng::fresh();
    for device in devices() {
        let (n, k) = (19, 320);
        let weight = packed(&mut rng, [n, k], W4);
        let on_device = QuantizedWeight::upload(device, &weight).unwrap();
        // As it is, and with sums in parts.
        for (m, parts) in [(2, 7), (2, 1), (2, 2), (2, 4), (70, 7)] {
            let (x, xs) = rows(device, &mut rng, Dtype::F32, [m, k]);
            let (bias, biases) = rows(device, &mut rng, Dtype::F32, [1, n]);
            let bias = Tensor::from_handle(
                device,
                bias.handle().clone(),
                Dtype::F32,
                false,
                wavecube::Layout::contiguous(&[n]),
            )
            .unwrap();
            let (gate, gates) = rows(device, &mut rng, Dtype::F32, [m, n]);
            let (residual, residuals) = rows(device, &mut rng, Dtype::F32, [m, n]);
            let expected: Vec<f64> = product(&xs, &exact(&weight), k)
                .into_iter()
                .enumerate()
                .map(|(i, sum)| {
                    let sum = if parts & 1 != 0 { sum + biases[i % n] } else { sum };
                    let silu = gates[i] / (1.0 + (-gates[i]).exp());
                    let sum = if parts & 2 != 0 { sum * silu } else { sum };
                    if parts & 4 != 0 { sum + residuals[i] } else { sum }
                })
                .collect();
            let options = QmatmulOptions {
                bias: (parts & 1 != 0).then_some(bias),
                gate: (parts & 2 != 0).then_some(gate),
                residual: (parts & 4 != 0).then_some(residual),
                ..QmatmulOptions::default()
            };
            let y = nan_filled(device, Dtype::F32, false, &[m, n]).unwrap();
            qmatmul_into(&x, &on_device, &options, &y).unwrap();
            let plan = on_device.plan(&x, &options).unwrap();
            let what = format!("{device} {} with {parts}, seed {}", plan.describe(), rng.seed);
            assert_right(&what, &real(&read(&y)), &expected, k, Dtype::F32);
        }
    }
}

/// Down the rows of the weight; by hand, by the dot-product test, and with sums in parts.
#[test]
fn gradients() {
    let mut rng = Rng::fresh();
    for device in devices() {
        for (m, n, k, bits) in
            [(1, 300, 33, Bits::Four), (6, 41, 97, Bits::Eight), (33, 65, 128, Bits::Four)]
        {
            let weight = packed(&mut rng, [n, k], Scheme { bits, ..W4 });
            let (g, gs) = rows(device, &mut rng, Dtype::F32, [m, n]);
            let task = Task::Gradient;
            let strategy = QmatmulStrategy::Auto;
            let (plan, found) = planned(&g, &weight, task, strategy, device.limits());
            let what = format!("{device} {}, seed {}", plan.describe(), rng.seed);
            assert_right(&what, &found, &transposed(&gs, &exact(&weight), k), n, Dtype::F32);
            // ⟨g, W x⟩ = ⟨Wᵀ g, x⟩.
            let on_device = QuantizedWeight::upload(device, &weight).unwrap();
            let (x, xs) = rows(device, &mut rng, Dtype::F32, [m, k]);
            let y = real(&read(&wavecube::qmatmul(&x, &on_device).unwrap()));
            let dx = real(&read(&wavecube::qmatmul_vjp(&g, &on_device).unwrap()));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let size = dot(&y, &y).sqrt() * dot(&gs, &gs).sqrt();
            let off = (dot(&gs, &y) - dot(&dx, &xs)).abs();
            assert!(off < 1e-5 * size, "{what}: {off} of {size}");
        }
    }
}

/// The gradient by both parts of a complex row is that of the real product's definition.
#[test]
fn complex_weights() {
    let mut rng = Rng::fresh();
    for device in devices() {
        let (m, n, k) = (3, 7, 37);
        let [re, im] =
            [W4, Scheme { bits: Bits::Eight, ..W4 }].map(|s| packed(&mut rng, [n, k], s));
        let parts = [&re, &im].map(|part| QuantizedWeight::upload(device, part).unwrap());
        let weight = wavecube::QuantizedComplexWeight::new(&parts[0], &parts[1]).unwrap();
        let w: Vec<Complex64> =
            exact(&re).into_iter().zip(exact(&im)).map(|(re, im)| Complex64::new(re, im)).collect();
        let (x, xs) = tensor(device, &rng.complex(m * k), Dtype::F32, true, &[m, k]).unwrap();
        let (g, gs) = tensor(device, &rng.complex(m * n), Dtype::F32, true, &[m, n]).unwrap();
        let sum = |terms: &mut dyn Iterator<Item = Complex64>| terms.sum::<Complex64>();
        let mut y = Vec::new();
        let mut dx = Vec::new();
        for row in 0..m {
            let (x, g) = (&xs[row * k..][..k], &gs[row * n..][..n]);
            y.extend(w.chunks(k).map(|w| sum(&mut x.iter().zip(w).map(|(x, w)| x * w))));
            let column = |j: usize| w[j..].iter().step_by(k);
            dx.extend((0..k).map(|j| sum(&mut g.iter().zip(column(j)).map(|(g, w)| g * w.conj()))));
        }
        let bound = 4e-7 * (k as f64).sqrt();
        let found = wavecube::qmatmul_complex(&x, &weight).unwrap();
        assert_eq!(found.shape(), [m, n]);
        assert_close("product", &read(&found), &y, bound);
        let found = wavecube::qmatmul_complex_vjp(&g, &weight).unwrap();
        assert_eq!(found.shape(), [m, k]);
        assert_close("gradient", &read(&found), &dx, bound);
    }
}

/// Quantised on the device and on the host, weights are the same up to roundings of the range.
#[test]
fn devices_quantise_as_the_host_does() {
    let mut rng = Rng::fresh();
    for device in devices() {
        for scheme in schemes() {
            let [n, k] = [rng.int(1, 6), rng.int(1, 150)];
            let values: Vec<f32> = rng.real(n * k).iter().map(|v| 1e-3 * v.re as f32).collect();
            let host = PackedWeight::quantize(&values, [n, k], scheme, Clip::None).unwrap();
            let x = Tensor::from_slice(device, &values, &[n, k]).unwrap();
            let weight = QuantizedWeight::quantize(&x, scheme).unwrap();
            let found = weight.download().unwrap();
            let what = format!("{device} {scheme} {n}×{k}, seed {}", rng.seed);
            let off = host.codes().iter().zip(found.codes()).filter(|(a, b)| **a != *b).count();
            // A value between two codes, or a scale between two numbers of its type, may go to either.
            assert!(off * 50 <= n * k + 150, "{what}: {off} codes differ");
            assert!(
                host.codes().iter().zip(found.codes()).all(|(a, b)| a.abs_diff(b) <= 1),
                "{what}"
            );
            let [a, b] = [&host, &found].map(|w| complex(&exact(w)));
            let step = if scheme.bits == Bits::Four { 0.1 } else { 0.01 };
            assert_close(&what, &b, &a, step);
            let back = weight.dequantize(Dtype::F32).unwrap();
            assert_eq!(back.read::<f32>().unwrap(), found.dequantize(), "{what}");
        }
    }
}

/// The kernels that this family has are those that the cases above took.
#[test]
fn limits_choose_the_kernel() {
    let plan = |m: usize, limits: &Limits| {
        let problem = QmatmulProblem {
            op: "test",
            task: Task::Forward(Number::Float),
            x: wavecube::Layout::contiguous(&[m, 4096]),
            weight: [4096, 4096],
            scheme: W4,
            dtype: Dtype::F16,
            strategy: QmatmulStrategy::Auto,
            epilogue: Epilogue::default(),
        };
        QmatmulPlan::new(&problem, limits).unwrap().algorithm
    };
    assert!(matches!(plan(8, &Limits::HOPPER), Algorithm::Gemv(config) if config.share == 32));
    let bare = Limits { f16_fragment: None, ..Limits::HOPPER };
    assert!(matches!(plan(9, &bare), Algorithm::Tiled(config) if config.width == 8));
    assert!(matches!(plan(768, &bare), Algorithm::Tiled(config) if config.width == 16));
    for (m, below) in [(9, 1), (17, 2), (33, 4), (768, 4)] {
        let Algorithm::Matrix(config) = plan(m, &Limits::HOPPER) else {
            panic!("{m} rows by {:?}", plan(m, &Limits::HOPPER))
        };
        assert!(config.native && (config.below, config.planes) == (below, 4), "{m}: {config:?}");
    }
    assert!(matches!(plan(768, &Limits::LAVAPIPE), Algorithm::Gemv(config) if config.share == 1));
    assert!(matches!(plan(768, &Limits::cpu(4)), Algorithm::Gemv(config) if config.units == 1));
}
