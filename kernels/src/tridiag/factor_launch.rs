//! Factors and the solutions from them: plan and launches.

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use super::{
    factor::{NUMBERS, WaysLaunch, factor, lower_left, lower_right, upper_left, upper_right},
    launch::{Enqueue, TridiagBindings, parts},
    operands::SegmentLaunch,
    plan::{SERIAL_UNITS, Task, TileConfig, TridiagPlan, segments},
};
use crate::{
    elem_type,
    grid::grid,
    launch::{buffer, count, holds},
    lines::{LinesOf, lines_arg, merged},
};

/// The most buffers that a kernel binds which solves from factors.
const BINDINGS: usize = 5;

/// The factors of a planned batch of operators.
#[derive(Debug, Clone)]
pub struct FactorBindings {
    /// [`FactorPlan::NUMBERS`] numbers an element, contiguous.
    pub factors: Handle,
    /// Whether the rows of an element and of the next were exchanged: a number of 32 bits an element.
    pub swaps: Handle,
    /// Where a pivot vanishes: [`TridiagPlan::pivots`] numbers of 32 bits.
    pub pivots: Handle,
}

/// Enqueues the factors of the operators of a plan of [`Task::Factor`]. `Ok` means enqueued: a fault of the device shows
/// on the next read.
///
/// # Errors
/// As [`tridiag_launch`](super::tridiag_launch).
pub fn factor_launch(
    client: &Client,
    bindings: &TridiagBindings,
    factors: &FactorBindings,
    plan: &TridiagPlan,
) -> Result<()> {
    let enqueue = Enqueue { client, bindings, plan };
    enqueue.check(Task::Factor, None)?;
    let TridiagPlan { op, lines: LinesOf { rows, n, .. }, dtype, .. } = *plan;
    holds(op, "factors", &factors.factors, (dtype, NUMBERS), rows * n)?;
    // A flag and a pivot take as much as an f32.
    holds(op, "swaps", &factors.swaps, (Dtype::F32, 1), rows * n)?;
    holds(op, "pivots", &factors.pivots, (Dtype::F32, 1), plan.pivots())?;
    if rows == 0 {
        return Ok(());
    }
    let [na, nb] = plan.tile.complex.map(parts);
    for (first, last) in plan.segments() {
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, which `Enqueue::check` has compared
        // with the buffers; the kernel keeps sequences below `rows` and elements below `n`, for each of which there are
        // factors and a flag.
        unsafe {
            factor::launch_unchecked(
                client,
                count(plan.cubes),
                enqueue.dim(),
                na,
                nb,
                enqueue.operands(),
                enqueue.numbers(&factors.factors, 1),
                buffer(&factors.swaps, Dtype::F32, 1),
                buffer(&factors.pivots, Dtype::F32, 1),
                SegmentLaunch::new(first, last),
                plan.tile,
                elem_type(dtype),
            );
        }
    }
    Ok(())
}

/// The launches of a solution from factors. Immutable host data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FactorPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// The sequences, none if there is nothing to do: of the factors and of the right side.
    pub lines: LinesOf,
    /// One past the last element of the factors and of the right side.
    pub ends: [usize; 2],
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// What is compiled into the kernels.
    pub tile: TileConfig,
    /// Storage type.
    pub dtype: Dtype,
}

impl FactorPlan {
    /// The numbers of an element's factors.
    pub const NUMBERS: usize = NUMBERS;

    /// Validates a right side for the factors that `plan` made of operators of the shape `operators`, whose batch axes are
    /// those of the right side or 1.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two do not belong together, [`Error::Limit`] if a buffer, the grid or what a kernel binds
    /// exceeds the device's.
    pub fn new(
        op: &'static str,
        plan: &TridiagPlan,
        operators: &[usize],
        r: &Layout,
        limits: &Limits,
    ) -> Result<Self> {
        let factors = Layout::contiguous(operators);
        let rank = operators.len().saturating_sub(1);
        let fits = r.rank() == operators.len()
            && r.shape().get(rank) == operators.get(rank)
            && r.shape().iter().zip(operators).all(|(&r, &of)| of == 1 || of == r);
        if !fits || operators.is_empty() {
            let (expected, found) = (operators.to_vec(), r.shape().to_vec());
            return Err(Error::Shape { op, argument: "r", expected, found });
        }
        limits.check_bindings(op, BINDINGS)?;
        let (n, dtype) = (operators[rank], plan.dtype);
        let bytes = |numbers: Option<usize>| {
            let bytes = numbers.and_then(|numbers| numbers.checked_mul(dtype.size()));
            limits.check_buffer(op, bytes.map_or(u64::MAX, |bytes| bytes as u64))
        };
        bytes(r.end().and_then(|end| end.checked_mul(2)))?;
        bytes(Layout::contiguous(r.shape()).end().and_then(|end| end.checked_mul(2)))?;
        let batch = merged(
            2,
            (0..rank).map(|axis| {
                let shared = operators[axis] == 1;
                let step = if shared { 0 } else { factors.strides()[axis] };
                (r.shape()[axis], vec![step, r.strides()[axis]])
            }),
        );
        let rows = r.shape()[..rank].iter().product();
        let lines = LinesOf {
            batch,
            offsets: vec![0, r.offset()],
            strides: vec![1, r.strides()[rank]],
            rows,
            n,
        };
        let units = if limits.serial { 1 } else { SERIAL_UNITS.min(limits.units_per_cube) };
        let end = |layout: &Layout| if rows == 0 { 0 } else { layout.end().unwrap_or(usize::MAX) };
        let ends = [end(&factors), end(r)];
        let cubes = grid(op, rows.div_ceil(units), limits)?;
        Ok(Self { op, lines, ends, units, cubes, tile: plan.tile, dtype })
    }

    /// How many numbers of 32 bits the pivots take.
    pub fn pivots(&self) -> usize {
        2 * self.lines.rows
    }
}

/// Enqueues the solutions of `T x = r`, or `transposed` of `Tᴴ x = r`, from factors; `x` is contiguous. `pivots` takes
/// those of the factors, and where a result is not finite.
///
/// # Errors
/// [`Error::Length`] if a buffer is shorter than the plan reaches.
pub fn factored_launch(
    client: &Client,
    factors: &FactorBindings,
    [r, x, pivots]: [&Handle; 3],
    transposed: bool,
    plan: &FactorPlan,
) -> Result<()> {
    let FactorPlan { op, lines: LinesOf { rows, n, .. }, ends, dtype, tile, .. } = *plan;
    holds(op, "factors", &factors.factors, (dtype, NUMBERS), ends[0])?;
    holds(op, "swaps", &factors.swaps, (Dtype::F32, 1), ends[0])?;
    holds(op, "pivots of the factors", &factors.pivots, (Dtype::F32, 1), 2 * (ends[0] / n))?;
    holds(op, "r", r, (dtype, 2), ends[1])?;
    holds(op, "x", x, (dtype, 2), rows * n)?;
    holds(op, "pivots", pivots, (Dtype::F32, 1), plan.pivots())?;
    if rows == 0 {
        return Ok(());
    }
    let cubes = || count(plan.cubes);
    let dim = CubeDim::new_1d(plan.units as u32);
    let flags = |handle: &Handle| buffer(handle, Dtype::F32, 1);
    let numbers = || buffer(&factors.factors, dtype, 1);
    let pairs = |handle: &Handle| buffer(handle, dtype, 2);
    let ways = || WaysLaunch::new(lines_arg(&plan.lines));
    let elem = elem_type(dtype);
    for (first, last) in segments(n) {
        let segment = SegmentLaunch::new(first, last);
        let (swaps, r, x) = (flags(&factors.swaps), pairs(r), pairs(x));
        // SAFETY: `FactorPlan::new` bounds elements by the layouts' ends, which are compared with the buffers above; the
        // kernels keep sequences below `rows` and elements below `n`.
        unsafe {
            if transposed {
                upper_right::launch_unchecked(
                    client,
                    cubes(),
                    dim,
                    numbers(),
                    r,
                    x,
                    ways(),
                    segment,
                    elem,
                );
            } else {
                lower_right::launch_unchecked(
                    client,
                    cubes(),
                    dim,
                    numbers(),
                    swaps,
                    r,
                    x,
                    ways(),
                    segment,
                    elem,
                );
            }
        }
    }
    for (first, last) in segments(n).rev() {
        let segment = SegmentLaunch::new(first, last);
        let (swaps, broken) = (flags(&factors.swaps), flags(&factors.pivots));
        let (x, pivots) = (pairs(x), flags(pivots));
        // SAFETY: as above, by `FactorPlan::new`; there are two pivots for every sequence.
        unsafe {
            if transposed {
                lower_left::launch_unchecked(
                    client,
                    cubes(),
                    dim,
                    numbers(),
                    swaps,
                    broken,
                    x,
                    pivots,
                    ways(),
                    segment,
                    tile,
                    elem,
                );
            } else {
                // SAFETY: the same, by `FactorPlan::new`.
                upper_left::launch_unchecked(
                    client,
                    cubes(),
                    dim,
                    numbers(),
                    broken,
                    x,
                    pivots,
                    ways(),
                    segment,
                    tile,
                    elem,
                );
            }
        }
    }
    Ok(())
}
