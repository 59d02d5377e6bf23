//! Files of packed weights, any parts of one, and plans of products with them: refused with a reason, or right.

#![no_main]

mod device;

use device::{Device, Length};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use wavecube_core::{
    Dtype, Error, Layout,
    quant::{Bits, Group, PackedWeight, ScaleType, Scheme, from_bytes, to_bytes},
};
use wavecube_kernels::qmatmul::{Epilogue, Number, QmatmulPlan, QmatmulProblem, Strategy, Task};

#[derive(Arbitrary, Debug)]
struct Input {
    file: Vec<u8>,
    eight: bool,
    symmetric: bool,
    group: u8,
    scale: u8,
    n: Length,
    k: Length,
    parts: [Vec<u32>; 3],
    /// Parts as long as they should be, from those above in turns.
    fitting: bool,
    m: Length,
    task: u8,
    strategy: u8,
    epilogue: u8,
    half: bool,
    limits: Device,
}

fuzz_target!(|input: Input| {
    if let Ok(weights) = from_bytes(&input.file) {
        let again = to_bytes(&weights).and_then(|bytes| from_bytes(&bytes));
        assert_eq!(again, Ok(weights));
    }
    let scheme = Scheme {
        bits: if input.eight { Bits::Eight } else { Bits::Four },
        symmetric: input.symmetric,
        group: [Group::Of32, Group::Of64, Group::Of128, Group::Channel]
            [usize::from(input.group % 4)],
        scale: [ScaleType::F16, ScaleType::Bf16, ScaleType::F32][usize::from(input.scale % 3)],
    };
    let shape = [input.n.get(), input.k.get()];
    weight(&input, scheme, shape);
    plan(&input, scheme, shape);
});

/// A weight of any words: its codes are packed again to the same.
fn weight(input: &Input, scheme: Scheme, [n, k]: [usize; 2]) {
    let [mut words, mut scales, mut zeros] = input.parts.clone();
    let small = n < 64 && k < 1024;
    if input.fitting && small {
        let groups = n * scheme.group.count(k);
        let resize = |part: &mut Vec<u32>, len: usize| {
            *part = part.iter().chain(&[0x3c00_3c00]).copied().cycle().take(len).collect();
        };
        resize(&mut words, n * k.div_ceil(32) * scheme.bits.count());
        resize(&mut scales, groups.div_ceil(4 / scheme.scale.size()));
        resize(&mut zeros, if scheme.symmetric { 0 } else { groups.div_ceil(4) });
    }
    match PackedWeight::from_parts(scheme, [n, k], words, scales, zeros) {
        Ok(weight) => {
            assert_eq!(weight.codes().len(), n * k);
            assert_eq!(weight.dequantize().len(), n * k);
            assert!(weight.dequantize().iter().all(|value| !value.is_nan()));
            let named = [("weight".to_owned(), weight)];
            let bytes = to_bytes(&named).expect("one weight has one name");
            let read = from_bytes(&bytes).expect("what is written can be read");
            assert_eq!(read[0].1.codes(), named[0].1.codes());
            assert_eq!(read[0].1.dequantize(), named[0].1.dequantize());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn plan(input: &Input, scheme: Scheme, weight: [usize; 2]) {
    let limits = input.limits.limits();
    let task = match input.task % 3 {
        0 => Task::Forward(Number::Float),
        1 => Task::Forward(Number::Integer),
        _ => Task::Gradient,
    };
    let inputs = weight[usize::from(task != Task::Gradient)];
    let problem = QmatmulProblem {
        op: "test",
        task,
        x: Layout::contiguous(&[input.m.get(), inputs]),
        weight,
        scheme,
        dtype: if input.half { Dtype::F16 } else { Dtype::F32 },
        strategy: [
            Strategy::Auto,
            Strategy::Naive,
            Strategy::Gemv,
            Strategy::Tiled,
            Strategy::Matrix,
        ][usize::from(input.strategy % 5)],
        epilogue: Epilogue {
            bias: input.epilogue & 1 != 0,
            gate: input.epilogue & 2 != 0,
            residual: input.epilogue & 4 != 0,
        },
    };
    match QmatmulPlan::new(&problem, &limits) {
        Ok(plan) => {
            assert!(!plan.describe().is_empty());
            assert!((1..=limits.units_per_cube).contains(&plan.algorithm.units()));
            let [rows, columns] = plan.algorithm.reach();
            assert!(plan.result_cubes[0] * rows >= plan.m);
            assert!(plan.result_cubes[1] * columns >= plan.results());
            for (cubes, available) in plan.cubes.iter().zip(limits.cube_count) {
                assert!(*cubes <= available);
            }
        }
        Err(Error::Limit { resource, available, required, .. }) => {
            assert!(!resource.is_empty() && required > available);
        }
        Err(error) => assert!(error.to_string().starts_with("test:"), "{error}"),
    }
}
