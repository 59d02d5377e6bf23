//! How many buffers kernels bind: what a device lets them, or the plan says so.

use wavecube::{
    Dtype, Error, Layout, Limits, Number, QmatmulStrategy,
    quant::{Bits, Group, ScaleType, Scheme},
};
use wavecube_kernels::qmatmul::{Epilogue, QmatmulPlan, QmatmulProblem, Task};

fn problem(task: Task, symmetric: bool, parts: u32) -> QmatmulProblem {
    QmatmulProblem {
        op: "test",
        task,
        x: Layout::contiguous(&[3, 64]),
        weight: [64, 64],
        scheme: Scheme { bits: Bits::Four, symmetric, group: Group::Of32, scale: ScaleType::F16 },
        dtype: Dtype::F32,
        strategy: QmatmulStrategy::Auto,
        epilogue: Epilogue { bias: parts & 1 != 0, gate: parts & 2 != 0, residual: parts & 4 != 0 },
    }
}

const TASKS: [Task; 3] =
    [Task::Forward(Number::Float), Task::Forward(Number::Integer), Task::Gradient];

#[test]
fn every_product_fits_what_webgpu_guarantees() {
    for task in TASKS {
        for (symmetric, parts) in
            [false, true].into_iter().flat_map(|s| (0..8).map(move |p| (s, p)))
        {
            let found = QmatmulPlan::new(&problem(task, symmetric, parts), &Limits::WEBGPU);
            if task == Task::Gradient && parts > 0 {
                assert!(matches!(found, Err(Error::Unsupported { argument: "epilogue", .. })));
            } else {
                assert!(found.is_ok(), "{task:?} {parts}: {found:?}");
            }
        }
    }
}

/// With ever fewer buffers the epilogue goes into a launch of its own, and then nothing goes.
#[test]
fn plans_count_what_kernels_bind() {
    for (task, symmetric, parts, least, together) in [
        (TASKS[0], true, 0, 4, 4),
        (TASKS[0], false, 0, 5, 5),
        (TASKS[0], false, 7, 5, 8),
        (TASKS[1], false, 7, 6, 9),
        (TASKS[1], true, 2, 5, 6),
        (TASKS[2], false, 0, 5, 5),
    ] {
        for bindings in 0..12 {
            let limits = Limits { bindings, ..Limits::LAVAPIPE };
            let found = QmatmulPlan::new(&problem(task, symmetric, parts), &limits);
            let what = format!("{task:?} {symmetric} {parts} by {bindings}: {found:?}");
            match &found {
                Ok(plan) => {
                    assert!(bindings >= least, "{what}");
                    assert!(plan.splits > 1 || plan.apart == (bindings < together), "{what}");
                }
                Err(Error::Limit { resource: "buffers in one kernel", .. }) => {
                    assert!(bindings < least, "{what}");
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
}

#[cfg(feature = "wgpu")]
mod on_a_device {
    use wavecube::{QmatmulOptions, QuantizedWeight, qmatmul_into};
    use wavecube_testing::{
        Rng, assert_close, nan_filled, read,
        reference::qmatmul::{in_steps, product},
        tensor, webgpu,
    };

    use super::{
        super::product::{W4, complex, exact, packed, rows},
        Dtype, Number, QmatmulStrategy,
    };

    /// Everything at once, where a kernel may bind seven buffers, by every kernel.
    #[test]
    fn everything_at_once() {
        let (device, mut rng) = (webgpu(), Rng::fresh());
        for (m, n, k) in [(3, 19, 96), (40, 33, 97), (2, 5, 4096)] {
            for (strategy, number) in [
                (QmatmulStrategy::Auto, Number::Float),
                (QmatmulStrategy::Naive, Number::Float),
                (QmatmulStrategy::Tiled, Number::Float),
                (QmatmulStrategy::Auto, Number::Integer),
            ] {
                let weight = packed(&mut rng, [n, k], W4);
                let on_device = QuantizedWeight::upload(&device, &weight).unwrap();
                let (x, xs) = rows(&device, &mut rng, Dtype::F32, [m, k]);
                let (bias, biases) =
                    tensor(&device, &rng.real(n), Dtype::F32, false, &[n]).unwrap();
                let (gate, gates) = rows(&device, &mut rng, Dtype::F32, [m, n]);
                let (residual, residuals) = rows(&device, &mut rng, Dtype::F32, [m, n]);
                let options = QmatmulOptions {
                    strategy,
                    number,
                    bias: Some(bias),
                    gate: Some(gate),
                    residual: Some(residual),
                };
                let y = nan_filled(&device, Dtype::F32, false, &[m, n]).unwrap();
                qmatmul_into(&x, &on_device, &options, &y).unwrap();
                let xs: Vec<f64> = match number {
                    Number::Float => xs,
                    Number::Integer => xs.chunks(k).flat_map(in_steps).collect(),
                };
                let sums = product(&xs, &exact(&weight), k);
                let expected: Vec<f64> = (0..m * n)
                    .map(|i| {
                        let silu = gates[i] / (1.0 + (-gates[i]).exp());
                        residuals[i] + silu * (sums[i] + biases[i % n].re)
                    })
                    .collect();
                let plan = on_device.plan(&x, &options).unwrap();
                let what = format!("{}, seed {}", plan.describe(), rng.seed);
                assert_close(&what, &read(&y), &complex(&expected), 1e-3);
            }
        }
    }
}
