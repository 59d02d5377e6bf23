//! What is refused, and by which error; and what every plan keeps to.

use proptest::prelude::*;
use wavecube::{
    Device, Dtype, Error, Layout, Limits, Number, QmatmulOptions, QmatmulStrategy,
    QuantizedComplexWeight, QuantizedWeight, Tensor, qmatmul, qmatmul_into, qmatmul_vjp,
    qmatmul_with,
    quant::{BLOCK, Bits, Clip, Group, PackedWeight, ScaleType, Scheme},
};
use wavecube_kernels::qmatmul::{
    Algorithm, Epilogue, EpilogueBindings, QmatmulBindings, QmatmulPlan, QmatmulProblem, Task,
    WeightBindings, qmatmul_launch,
};
use wavecube_testing::devices;

const SCHEME: Scheme =
    Scheme { bits: Bits::Four, symmetric: false, group: Group::Of32, scale: ScaleType::F16 };

fn weight(device: &Device, [n, k]: [usize; 2]) -> QuantizedWeight {
    let packed = PackedWeight::quantize(&vec![1.0; n * k], [n, k], SCHEME, Clip::None);
    QuantizedWeight::upload(device, &packed.unwrap()).unwrap()
}

fn ones(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::from_slice(device, &vec![1.0f32; shape.iter().product()], shape).unwrap()
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    for device in devices() {
        let weight = weight(device, [5, 40]);
        let x = ones(device, &[3, 40]);
        let shape = |found: Result<Tensor, Error>, name: &str| {
            assert!(
                matches!(found, Err(Error::Shape { argument, .. }) if argument == name),
                "{name}: {found:?}"
            );
        };
        shape(qmatmul(&ones(device, &[3, 41]), &weight), "x");
        shape(qmatmul_vjp(&x, &weight), "g");
        for (argument, of) in [("bias", [1, 5]), ("gate", [3, 4]), ("residual", [2, 5])] {
            let part = Some(ones(device, &of));
            let mut options = QmatmulOptions::default();
            match argument {
                "bias" => options.bias = part,
                "gate" => options.gate = part,
                _ => options.residual = part,
            }
            shape(qmatmul_with(&x, &weight, &options), argument);
        }
        let default = QmatmulOptions::default();
        let into = |out: &Tensor| qmatmul_into(&x, &weight, &default, out).err();
        assert!(matches!(into(&ones(device, &[3, 6])), Some(Error::Shape { argument: "out", .. })));
        let turned = ones(device, &[5, 3]).permuted(&[1, 0]).unwrap();
        assert!(matches!(into(&turned), Some(Error::Strides { argument: "out", .. })));
        let square = self::weight(device, [40, 40]);
        let over = qmatmul_into(&x, &square, &default, &x);
        assert!(matches!(over, Err(Error::Overlap { first: "x", .. })), "{over:?}");
        let odd = ones(device, &[2, 3, 80]).permuted(&[1, 0, 2]).unwrap().narrowed(2, 0, 40);
        let odd = qmatmul(&odd.unwrap(), &weight);
        assert!(matches!(odd, Err(Error::Strides { argument: "x", .. })), "{odd:?}");
        let scalar = Tensor::from_slice(device, &[1.0f32], &[]).unwrap();
        assert!(qmatmul(&scalar, &weight).is_err());
        let complex = Tensor::empty(device, Dtype::F32, true, &[3, 40]).unwrap();
        assert!(matches!(qmatmul(&complex, &weight), Err(Error::Dtype { .. })));
        let double = Tensor::empty(device, Dtype::F64, false, &[3, 40]);
        if let Ok(double) = double {
            assert!(matches!(qmatmul(&double, &weight), Err(Error::Dtype { .. })));
        }
        for (number, strategy) in [
            (Number::Integer, QmatmulStrategy::Tiled),
            (Number::Integer, QmatmulStrategy::Matrix),
            (Number::Float, QmatmulStrategy::Matrix),
        ] {
            let options = QmatmulOptions { number, strategy, ..QmatmulOptions::default() };
            let found = qmatmul_with(&x, &weight, &options);
            assert!(matches!(found, Err(Error::Unsupported { .. })), "{found:?}");
        }
        let parts = QuantizedComplexWeight::new(&weight, &square);
        assert!(matches!(parts, Err(Error::Shape { argument: "im", .. })));
        let long = ones(device, &[1, 60_001]);
        let found = QuantizedWeight::quantize(&long, SCHEME);
        assert!(matches!(found, Err(Error::Length { .. })), "{found:?}");
        assert!(QuantizedWeight::quantize(&ones(device, &[40]), SCHEME).is_err());
        // No rows are no error, and no result.
        let none = qmatmul(&ones(device, &[0, 40]), &weight).unwrap();
        assert_eq!((none.shape(), none.read::<f32>().unwrap().len()), (&[0, 5][..], 0));
    }
}

/// A launch binds what its plan was made for.
#[test]
fn another_epilogue_than_planned_is_refused() {
    for device in devices() {
        let weight = weight(device, [5, 40]);
        let (x, out) = (ones(device, &[3, 40]), ones(device, &[3, 5]));
        let bias = ones(device, &[5]);
        let with = |bias: Option<&Tensor>| QmatmulOptions {
            bias: bias.cloned(),
            ..QmatmulOptions::default()
        };
        for (planned, bound) in [(None, Some(&bias)), (Some(&bias), None)] {
            let plan = weight.plan(&x, &with(planned)).unwrap();
            let packed = weight.download().unwrap();
            let part = |words: &[u32]| {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                device.client().create_from_slice(&bytes)
            };
            let bindings = QmatmulBindings {
                x: x.handle().clone(),
                weight: WeightBindings {
                    words: part(packed.words()),
                    scales: part(packed.scales()),
                    zeros: Some(part(packed.zeros())),
                },
                epilogue: EpilogueBindings {
                    bias: bound.map(|bias| bias.handle().clone()),
                    ..EpilogueBindings::default()
                },
                out: out.handle().clone(),
            };
            match qmatmul_launch(device.client(), &bindings, &plan) {
                Err(Error::Unsupported { argument: "bias", .. }) => assert!(bound.is_some()),
                Err(Error::Length { argument: "bias", .. }) => assert!(bound.is_none()),
                found => panic!("{found:?}"),
            }
            assert_eq!(out.read::<f32>().unwrap(), [1.0; 15]);
        }
    }
}

/// As on the host, wherever the value lies; and what is only large has codes.
#[test]
fn values_without_codes_are_refused_on_the_device() {
    for device in devices() {
        let found = |at: usize, value: f32, scheme: Scheme| {
            let mut values = vec![0.5f32; 3 * 70];
            values[at] = value;
            let host = PackedWeight::quantize(&values, [3, 70], scheme, Clip::None);
            let tensor = Tensor::from_slice(device, &values, &[3, 70]).unwrap();
            let found = QuantizedWeight::quantize(&tensor, scheme);
            assert_eq!(host.is_err(), found.is_err(), "{value} at {at}, {scheme}: {found:?}");
            found.err()
        };
        for (at, scale) in [(0, ScaleType::F16), (69, ScaleType::Bf16), (209, ScaleType::F32)] {
            for symmetric in [false, true] {
                let scheme = Scheme { symmetric, scale, ..SCHEME };
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let refused = found(at, value, scheme);
                    assert!(
                        matches!(refused, Some(Error::Value { expected: "finite", .. })),
                        "{value} at {at}, {scheme}: {refused:?}"
                    );
                }
                assert!(found(at, -9e5, scheme).is_none() || scale == ScaleType::F16);
                assert!(found(at, f32::MAX, scheme).is_some() == (scale == ScaleType::F16));
            }
        }
        // Just within the largest scale of `f16`, and just beyond what rounds to it.
        let scheme = Scheme { symmetric: true, ..SCHEME };
        assert!(found(5, 7.0 * 65519.0, scheme).is_none());
        assert!(found(5, 7.0 * 65521.0, scheme).is_some());
    }
}

#[test]
fn sizes_beyond_an_index_are_refused() {
    for (m, [n, k]) in [
        (usize::MAX / 2 + 2, [64, 64]),
        (1 << 30, [64, 64]),
        (1, [usize::MAX / 64, 64]),
        (1, [64, usize::MAX - 40]),
    ] {
        let problem = QmatmulProblem {
            op: "test",
            task: Task::Forward(Number::Float),
            x: Layout::contiguous(&[m, k]),
            weight: [n, k],
            scheme: SCHEME,
            dtype: Dtype::F32,
            strategy: QmatmulStrategy::Auto,
            epilogue: Epilogue::default(),
        };
        let found = QmatmulPlan::new(&problem, &Limits::HOPPER);
        assert!(matches!(found, Err(Error::Limit { .. })), "{m}×{n}×{k}: {found:?}");
    }
}

/// Where a device has no buffers of a type, the error names those that it has.
#[test]
fn types_that_a_device_lacks_are_refused() {
    for task in [Task::Forward(Number::Float), Task::Forward(Number::Integer), Task::Gradient] {
        let plan = |dtype: Dtype, limits: &Limits| {
            let problem = QmatmulProblem {
                op: "test",
                task,
                x: Layout::contiguous(&[3, 64]),
                weight: [64, 64],
                scheme: SCHEME,
                dtype,
                strategy: QmatmulStrategy::Auto,
                epilogue: Epilogue::default(),
            };
            QmatmulPlan::new(&problem, limits)
        };
        assert!(plan(Dtype::Bf16, &Limits::HOPPER).is_ok());
        let found = plan(Dtype::F64, &Limits::HOPPER);
        assert!(matches!(found, Err(Error::Dtype { expected: "f16, bf16 or f32", .. })));
        let expected = "f16, f32 or f64 on this device";
        let found = plan(Dtype::Bf16, &Limits::LAVAPIPE);
        assert!(
            matches!(found, Err(Error::Dtype { expected: e, found: Dtype::Bf16, .. }) if e == expected),
            "{found:?}"
        );
    }
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let odd = (1..2000usize, 0..100_000usize, any::<bool>(), any::<bool>());
    prop_oneof![
        Just(Limits::LAVAPIPE),
        Just(Limits::HOPPER),
        Just(Limits::cpu(3)),
        odd.prop_map(|(units_per_cube, shared_bytes, serial, emulated)| Limits {
            units_per_cube,
            shared_bytes,
            serial,
            emulated,
            ..Limits::HOPPER
        }),
    ]
}

proptest! {
    /// Every result has a cube, every term of a sum one part, and cubes keep to the device's limits.
    #[test]
    fn plans_cover_the_product(
        m in 0..2000usize,
        n in 1..5000usize,
        k in 1..200_000usize,
        task in prop::sample::select(vec![
            Task::Forward(Number::Float), Task::Forward(Number::Integer), Task::Gradient,
        ]),
        strategy in prop::sample::select(vec![
            QmatmulStrategy::Auto, QmatmulStrategy::Naive, QmatmulStrategy::Gemv, QmatmulStrategy::Tiled,
            QmatmulStrategy::Matrix,
        ]),
        dtype in prop::sample::select(vec![Dtype::F16, Dtype::Bf16, Dtype::F32]),
        limits in any_limits(),
    ) {
        let inputs = if task == Task::Gradient { n } else { k };
        let problem = QmatmulProblem {
            op: "test",
            task,
            x: Layout::contiguous(&[m, inputs]),
            weight: [n, k],
            scheme: SCHEME,
            dtype,
            strategy,
            epilogue: Epilogue::default(),
        };
        let plan = match QmatmulPlan::new(&problem, &limits) {
            Ok(plan) => plan,
            Err(error) => {
                let expected = matches!(error, Error::Limit { .. } | Error::Unsupported { .. });
                prop_assert!(expected || dtype == Dtype::Bf16 && !limits.bf16, "{error}");
                return Ok(());
            }
        };
        prop_assert!(plan.describe().contains(plan.reason));
        prop_assert!(plan.algorithm.units() <= limits.units_per_cube);
        prop_assert!(plan.row_units <= limits.units_per_cube && plan.row_units.is_power_of_two());
        let [rows, columns] = plan.algorithm.reach();
        prop_assert!(plan.result_cubes[0] * rows >= m && plan.result_cubes[1] * columns >= plan.results());
        let terms = if task == Task::Gradient { n } else { k.div_ceil(BLOCK) };
        prop_assert!(plan.splits * plan.terms >= terms && (plan.splits - 1) * plan.terms < terms);
        let cubes: usize = plan.cubes.iter().product();
        prop_assert!(cubes >= plan.result_cubes[0] * plan.result_cubes[1] * plan.splits);
        let shared = match plan.algorithm {
            Algorithm::Gemv(config) if config.share > 1 => {
                prop_assert_eq!(config.units % config.share, 0);
                4 * config.cells()
            }
            Algorithm::Tiled(config) => config.shared_bytes(),
            Algorithm::Matrix(config) => {
                prop_assert!(dtype != Dtype::F32 && config.native == limits.fragment(dtype).is_some());
                prop_assert_eq!(config.weight_turns() * config.units(), 2 * config.columns());
                prop_assert_eq!(config.value_turns() * config.units(), 16 * config.rows());
                prop_assert_eq!(plan.terms % 2, 0);
                config.shared_bytes()
            }
            _ => 0,
        };
        prop_assert!(shared <= limits.shared_bytes);
    }
}
