//! Plans from arbitrary shapes, strides, axes and limits: no panic, no overflow, no plan that goes
//! beyond what was asked for, and errors that name the operation and the argument.

#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use wavecube_core::{
    Dtype, Error, Layout, Limits,
    fft::{Direction, Normalization},
};
use wavecube_kernels::fft::{Algorithm, FftPlan, FftProblem, Kind, Pass, Strategy};

mod device;
#[path = "../../tests/src/reach.rs"]
mod reach;

use device::{Device, Length};

#[derive(Arbitrary, Debug)]
struct Input {
    kind: u8,
    inverse: bool,
    norm: u8,
    axis: i8,
    any_axis: Option<isize>,
    dtype: u8,
    naive: bool,
    n_fft: Length,
    /// The axes: length, stride of the input, stride of the output.
    axes: Vec<(Length, Length, Length)>,
    /// Whether the layouts are the strides above, or row-major ones that fit the transform.
    strided: bool,
    offsets: [u16; 2],
    limits: Device,
}

fn problem(input: &Input) -> Option<FftProblem> {
    let kind = match input.kind % 5 {
        0 => Kind::C2C,
        1 => Kind::R2C { doubled: false },
        2 => Kind::R2C { doubled: true },
        3 => Kind::C2R { halved: false },
        _ => Kind::C2R { halved: true },
    };
    let n_fft = input.n_fft.get();
    let axes = input.axes.get(..input.axes.len().min(5))?;
    let rank = axes.len();
    let axis = input.any_axis.unwrap_or(isize::from(input.axis));
    let mut shape: Vec<usize> = axes.iter().map(|(len, _, _)| len.get()).collect();
    let strides = |which: fn(&(Length, Length, Length)) -> usize| axes.iter().map(which).collect();
    let (from, to): (Vec<usize>, Vec<usize>) = (strides(|a| a.1.get()), strides(|a| a.2.get()));
    let layout = |shape: &[usize], strides: &[usize], offset| {
        if input.strided {
            Layout::strided(shape, strides, usize::from(offset)).ok()
        } else {
            Some(Layout::contiguous(shape))
        }
    };
    // Lengths that fit the transform get the fuzzer past the first checks.
    let place = if axis < 0 { axis.checked_add_unsigned(rank) } else { Some(axis) };
    let place = place.and_then(|i| usize::try_from(i).ok()).filter(|&i| i < rank);
    let fit = |shape: &mut Vec<usize>, len| {
        if let Some(place) = place {
            shape[place] = len;
        }
    };
    let bins = n_fft / 2 + 1;
    let (source, target) = match kind {
        Kind::C2C => (n_fft, n_fft),
        Kind::R2C { .. } => (n_fft, bins),
        Kind::C2R { .. } => (bins, n_fft),
    };
    fit(&mut shape, source);
    let from = layout(&shape, &from, input.offsets[0])?;
    fit(&mut shape, target);
    let to = layout(&shape, &to, input.offsets[1])?;
    Some(FftProblem {
        kind,
        n_fft,
        direction: if input.inverse { Direction::Inverse } else { Direction::Forward },
        norm: [Normalization::Backward, Normalization::Ortho, Normalization::Forward]
            [usize::from(input.norm % 3)],
        axis,
        dtype: [Dtype::F16, Dtype::Bf16, Dtype::F32, Dtype::F64][usize::from(input.dtype % 4)],
        input: from,
        output: to,
        strategy: if input.naive { Strategy::Naive } else { Strategy::Auto },
    })
}

fuzz_target!(|input: Input| {
    let Some(problem) = problem(&input) else { return };
    let limits = input.limits.limits();
    match FftPlan::new(&problem, &limits) {
        Ok(plan) => {
            check_plan(&problem, &plan, &limits);
            let points = |pass: &Pass| pass.rows().saturating_mul(pass.config.n);
            if plan.passes.iter().all(|pass| points(pass) <= 1 << 12) {
                reach::check(&plan, &[]).expect("every index is within its buffer");
            }
        }
        Err(error) => check_error(&error),
    }
});

/// What holds of every plan, so that its launch needs no further check.
fn check_plan(problem: &FftProblem, plan: &FftPlan, limits: &Limits) {
    assert!(!plan.describe().is_empty());
    let bytes = |elements: usize, parts: usize| {
        elements.checked_mul(parts * problem.dtype.size()).expect("no overflow") as u64
    };
    assert!(bytes(plan.input_end, plan.parts[0]) <= limits.buffer_bytes);
    assert!(bytes(plan.output_end, plan.parts[1]) <= limits.buffer_bytes);
    for pass in &plan.passes {
        let units = pass.config.units.checked_mul(pass.config.rows).expect("no overflow");
        assert!(units >= 1 && units <= limits.units_per_cube, "{units} units in a cube");
        // A processor core's work space has its cache to itself.
        let (required, available) = (
            pass.config.shared_bytes(problem.dtype.compute()),
            if limits.serial {
                limits.cache_bytes.saturating_mul(pass.config.rows)
            } else {
                limits.shared_bytes
            },
        );
        assert!(required <= available, "{required} bytes of work space where there are {available}");
        for (cubes, available) in pass.cubes.iter().zip(limits.cube_count) {
            assert!(*cubes <= available, "{cubes} cubes where {available} may be");
        }
        let cubes: usize = pass.cubes.iter().product();
        // By the definition a unit makes one output; every other algorithm gives a cube whole rows.
        let (carried, wanted) = match pass.config.algorithm {
            Algorithm::Naive => (pass.config.units, pass.rows() * pass.config.n),
            // The units of a serial device go on until every row is done.
            _ if limits.serial => (1, 1),
            _ => (pass.config.rows, pass.rows()),
        };
        assert!(cubes * carried >= wanted, "some rows are left out");
        if problem.n_fft <= 1 << 12 {
            for table in pass.tables() {
                if let Some(entries) = table.build() {
                    assert!(entries.iter().all(|w| w.re.is_finite() && w.im.is_finite()));
                }
            }
        }
    }
}

/// Errors are for people: they name the operation and what is wrong.
fn check_error(error: &Error) {
    assert!(error.to_string().starts_with("fft:"), "{error}");
    match error {
        Error::Shape { argument, .. }
        | Error::Strides { argument, .. }
        | Error::Length { argument, .. }
        | Error::Dtype { argument, .. }
        | Error::Value { argument, .. }
        | Error::Unsupported { argument, .. } => assert!(!argument.is_empty(), "{error}"),
        Error::Limit { resource, available, required, .. } => {
            assert!(!resource.is_empty() && required > available, "{error}");
        }
        Error::Axis { rank, found, .. } => {
            let rank = isize::try_from(*rank).expect("a rank");
            assert!(*found >= rank || *found < -rank, "{error}");
        }
        _ => {}
    }
}
