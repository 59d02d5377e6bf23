//! Plans of tridiagonal operators from arbitrary shapes, strides, tasks and limits, and elements kept by
//! arbitrary flags: no panic, no overflow, no index outside its buffer, and errors that name the argument.

#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use wavecube_core::{Dtype, Error, Layout, Limits};
use wavecube_kernels::{sum::SumPlan, tridiag::{
    Algorithm, CompactPlan, KeptElements, OffDiagonals, Strategy, Task, TridiagPlan,
    TridiagProblem,
}};

mod device;

use device::{Device, Length};

#[derive(Arbitrary, Debug)]
struct Input {
    task: u8,
    dtype: u8,
    complex: [bool; 2],
    products: bool,
    serial: bool,
    mixed: bool,
    n: Length,
    /// What the elements beside the diagonal have too many, which is mostly nothing.
    longer: u8,
    /// The batch axes: their length, and for every operand whether it is shared along them.
    batch: Vec<(Length, [bool; 5])>,
    /// Strides in place of row-major ones.
    strides: Option<Vec<Length>>,
    offset: u16,
    flags: Vec<bool>,
    limits: Device,
}

fn problem(input: &Input) -> Option<TridiagProblem> {
    let batch = input.batch.get(..input.batch.len().min(4))?;
    let n = input.n.get();
    let layout = |operand: usize, len: Option<usize>| {
        let axes = batch.iter().map(|(len, shared)| if shared[operand] { 1 } else { len.get() });
        let shape: Vec<usize> = axes.chain(len).collect();
        let Some(strides) = &input.strides else { return Some(Layout::contiguous(&shape)) };
        let strides = strides.iter().map(Length::get).cycle().skip(operand);
        let strides: Vec<usize> = strides.take(shape.len()).collect();
        Layout::strided(&shape, &strides, usize::from(input.offset)).ok()
    };
    let beside = Some(n.saturating_sub(1).saturating_add(usize::from(input.longer / 250)));
    Some(TridiagProblem {
        op: "test",
        task: match input.task % 8 {
            0 => Task::Diagonal,
            1 => Task::Vjp,
            2 => Task::Determinant,
            3 => Task::DeterminantVjp,
            4 => Task::Solve { conjugate: false },
            5 => Task::Solve { conjugate: true },
            6 => Task::Factor,
            _ => Task::SolveVjp,
        },
        a: layout(0, Some(n))?,
        off_diagonals: if input.products {
            OffDiagonals::Product(layout(1, beside)?)
        } else {
            OffDiagonals::Separate { upper: layout(1, beside)?, lower: layout(2, beside)? }
        },
        z: layout(3, None)?,
        diagonal: layout(4, Some(n))?,
        dtype: [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::Bf16][usize::from(input.dtype % 4)],
        complex: input.complex,
        strategy: if input.serial { Strategy::Serial } else { Strategy::Auto },
        mixed: input.mixed,
    })
}

fuzz_target!(|input: Input| {
    let limits = input.limits.limits();
    if let Some(problem) = problem(&input) {
        match TridiagPlan::new(&problem, &limits) {
            Ok(plan) => {
                check_plan(&problem, &plan, &limits);
                check_kept(&input.flags, plan, &limits);
            }
            Err(error) => check_error(&error),
        }
    }
    let shape: Vec<usize> = input.batch.iter().map(|(len, _)| len.get() % 64).collect();
    let summed =
        input.batch.iter().zip(&shape).map(|((_, shared), &len)| if shared[0] { 1 } else { len });
    match SumPlan::new("test", &shape, &summed.collect::<Vec<_>>(), Dtype::F32, &limits) {
        Ok(plan) => assert!(plan.units <= limits.units_per_cube && plan.share <= plan.units),
        Err(error) => check_error(&error),
    }
});

/// What holds of every plan, so that its launches need no further check.
fn check_plan(problem: &TridiagProblem, plan: &TridiagPlan, limits: &Limits) {
    assert!(!plan.describe().is_empty());
    assert!(limits.bindings >= 7, "a kernel of the family binds up to 7 buffers");
    if matches!(problem.task, Task::Vjp | Task::DeterminantVjp | Task::SolveVjp) {
        let (n, rows) = (plan.lines.n, plan.lines.rows);
        let ([shifts, lower], [diagonal, beside]) =
            (plan.gradient_places(n), plan.gradient_numbers(n, plan.tiles));
        assert_eq!(2 * (shifts + rows * plan.tiles), diagonal);
        let parts = if problem.complex[1] { 2 } else { 1 };
        assert!(plan.tile.product || (lower + rows * (n - 1)) * parts == beside);
    }
    assert!(plan.units >= 1 && plan.units <= limits.units_per_cube);
    assert!(plan.carry.units >= 1 && plan.carry.units <= limits.units_per_cube);
    for (cubes, available) in
        plan.cubes.iter().chain(&plan.carry_cubes).zip(limits.cube_count.repeat(2))
    {
        assert!(*cubes <= available, "{cubes} cubes where {available} may be");
    }
    if plan.lines.rows == 0 {
        return;
    }
    let cubes: usize = plan.cubes.iter().product();
    match plan.algorithm {
        Algorithm::Chunked => {
            assert!(plan.tile.shared_bytes() <= limits.shared_bytes);
            assert!(plan.tile.units * plan.tile.elements >= plan.lines.n && plan.tiles == 1);
            assert!(
                cubes.saturating_mul(plan.tile.rows) >= plan.lines.rows,
                "some sequences are left out"
            );
        }
        Algorithm::Streamed => {
            // The scan's chunks lie half a chunk beside those of the walks where it is mixed.
            let overlap = plan.tile.overlap();
            assert!(plan.tiles * plan.tile.elements - overlap >= plan.lines.n);
            assert!(
                cubes.saturating_mul(plan.units) >= plan.lines.rows.saturating_mul(plan.tiles),
                "some chunks are left out"
            );
        }
        Algorithm::Serial => {
            assert!(cubes.saturating_mul(plan.units) >= plan.lines.rows, "some sequences are left out");
            assert_eq!(plan.segments().map(|(first, last)| last - first).sum::<usize>(), plan.lines.n);
        }
    }
    assert_eq!(plan.tile.overlap() > 0, problem.mixed && problem.task == Task::Diagonal);
    if plan.lines.rows.saturating_mul(plan.lines.n) > 1 << 12 {
        return;
    }
    let lengths = [plan.lines.n, plan.lines.n.max(2) - 1, plan.lines.n.max(2) - 1, 1, plan.lines.n];
    for row in 0..plan.lines.rows {
        for operand in 0..5 {
            let mut rest = row;
            let mut at = plan.lines.offsets[operand];
            for (len, steps) in plan.lines.batch.iter().rev() {
                at += rest % len * steps[operand];
                rest /= len;
            }
            let last = at + (lengths[operand] - 1) * plan.lines.strides[operand];
            // What is spare is a buffer of one element.
            assert!(last < plan.ends[operand].max(1), "operand {operand} is read at {last}");
        }
    }
}

fn check_kept(flags: &[bool], plan: TridiagPlan, limits: &Limits) {
    let n = plan.lines.n;
    let elements = match KeptElements::new("test", flags, n) {
        Ok(elements) => elements,
        Err(error) => return check_error(&error),
    };
    assert_eq!(elements.kept.len(), elements.rows * elements.most);
    assert_eq!(elements.ranks.len(), flags.len());
    for (row, flags) in flags.chunks(n).enumerate() {
        let kept = &elements.kept[row * elements.most..][..elements.most];
        let count = flags.iter().filter(|&&keep| keep).count();
        assert!(kept[..count].iter().all(|&k| flags[k as usize]) && kept[..count].is_sorted());
        assert!(kept[count..].iter().all(|&k| k == u32::MAX));
        let last = elements.ranks[row * n + n - 1] as usize;
        assert!(last == count && count >= 1 && elements.gap < n);
    }
    match CompactPlan::new(plan, &elements, limits) {
        Ok(plan) => assert!(plan.units >= 1 && plan.units <= limits.units_per_cube),
        Err(error) => check_error(&error),
    }
}

/// Errors are for people: they name the operation and what is wrong.
fn check_error(error: &Error) {
    assert!(error.to_string().starts_with("test:"), "{error}");
    match error {
        Error::Shape { argument, .. }
        | Error::Strides { argument, .. }
        | Error::Length { argument, .. }
        | Error::Dtype { argument, .. }
        | Error::Unsupported { argument, .. } => assert!(!argument.is_empty(), "{error}"),
        Error::Limit { resource, available, required, .. } => {
            assert!(!resource.is_empty() && required > available, "{error}");
        }
        Error::Axis { .. } => {}
        other => panic!("an unexpected kind of error: {other}"),
    }
}
