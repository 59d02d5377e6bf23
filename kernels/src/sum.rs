//! Sums over the axes along which lines share an operand, which gradients end in: plan, device code and launch.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use crate::{
    elem_type,
    grid::grid,
    launch::{buffer, count, holds, sequence},
};

/// Units of a cube.
const UNITS: usize = 64;
/// The terms of a sum from which several units share it.
const TERMS: usize = 256;

/// A sum over the axes along which lines share an operand. Pure host data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SumPlan {
    /// The axes that stay: length and step in the source.
    pub kept: Vec<(usize, usize)>,
    /// The axes that are summed over.
    pub summed: Vec<(usize, usize)>,
    /// The number of results.
    pub outputs: usize,
    /// The terms of each.
    pub terms: usize,
    /// The units that share a result.
    pub share: usize,
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// The type of the numbers.
    pub dtype: Dtype,
}

impl SumPlan {
    /// The sum of contiguous real numbers of the shape `full` to the shape `target`, whose axes are
    /// those of `full` or 1.
    ///
    /// # Errors
    /// [`Error::Shape`] if they are not, [`Error::Limit`] if the numbers exceed a buffer, or the grid is too
    /// large.
    pub fn new(
        op: &'static str,
        full: &[usize],
        target: &[usize],
        dtype: Dtype,
        limits: &Limits,
    ) -> Result<Self> {
        let fits = full.len() == target.len()
            && full.iter().zip(target).all(|(&whole, &len)| len == whole || len == 1);
        if !fits {
            let (expected, found) = (full.to_vec(), target.to_vec());
            return Err(Error::Shape { op, argument: "gradient", expected, found });
        }
        limits.check_bindings(op, 2)?;
        let layout = Layout::contiguous(full);
        let bytes = layout.len().saturating_mul(dtype.size());
        limits.check_buffer(op, bytes as u64)?;
        let mut kept: Vec<(usize, usize)> = Vec::new();
        let mut summed: Vec<(usize, usize)> = Vec::new();
        for axis in 0..full.len() {
            let (len, step) = (full[axis], layout.strides()[axis]);
            if len == 1 {
                continue;
            }
            let axes = if target[axis] == 1 { &mut summed } else { &mut kept };
            match axes.last_mut() {
                Some((total, outer)) if step.checked_mul(len) == Some(*outer) => {
                    *total = total.saturating_mul(len);
                    *outer = step;
                }
                _ => axes.push((len, step)),
            }
        }
        for axes in [&mut kept, &mut summed] {
            if axes.is_empty() {
                axes.push((1, 0));
            }
        }
        // An axis of no elements says nothing of how long the others are.
        let count = |axes: &[(usize, usize)]| {
            axes.iter().fold(1usize, |count, (len, _)| count.saturating_mul(*len))
        };
        let (outputs, terms) = (count(&kept), count(&summed));
        let units = if limits.serial { 1 } else { limits.units_per_cube.min(UNITS) };
        let fits = units.is_power_of_two() && units * dtype.size() <= limits.shared_bytes;
        let share = if terms > TERMS && fits { units } else { 1 };
        let cubes = grid(op, outputs.div_ceil(units / share).max(1), limits)?;
        Ok(Self { kept, summed, outputs, terms, share, units, cubes, dtype })
    }
}

/// The geometry of a sum: `out[i] = Σ_s source[place(i) + place(s)]`, in order.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Summation {
    /// The lengths and steps of the axes that stay, slowest first.
    pub(crate) kept: Sequence<usize>,
    pub(crate) kept_steps: Sequence<usize>,
    /// Those of the axes that are summed over.
    pub(crate) summed: Sequence<usize>,
    pub(crate) summed_steps: Sequence<usize>,
    pub(crate) outputs: usize,
    pub(crate) terms: usize,
}

#[cube]
fn place(lengths: &Sequence<usize>, steps: &Sequence<usize>, index: usize) -> usize {
    let rank = lengths.len().comptime();
    let mut rest = index;
    let mut at = 0usize;
    #[unroll]
    for d in 0..rank {
        let axis = comptime!(rank - 1 - d);
        at += (rest % lengths[axis]) * steps[axis];
        rest /= lengths[axis];
    }
    at
}

/// Sums over axes: gradients of operands that several lines share. `share` units a result, a power
/// of two, each with every `share`-th term, then a tree.
#[cube(launch_unchecked)]
pub(crate) fn sum<F: Float>(
    source: &[F],
    target: &mut [F],
    summation: &Summation,
    #[comptime] units: usize,
    #[comptime] share: usize,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS / share;
    let unit = ABSOLUTE_POS % share;
    let base = place(&summation.kept, &summation.kept_steps, min(i, summation.outputs - 1));
    let mut total = F::new(0.0);
    for turn in 0..summation.terms.div_ceil(share) {
        let s = turn * share + unit;
        if s < summation.terms {
            total += source[base + place(&summation.summed, &summation.summed_steps, s)];
        }
    }
    if comptime!(share > 1) {
        let mut cells = Shared::<[F]>::new_slice(units);
        let slot = UNIT_POS as usize;
        cells[slot] = total;
        for level in 0..comptime!(share.ilog2() as usize) {
            let width = comptime!(share / 2) >> level;
            sync_cube();
            if unit < width {
                let other = cells[slot + width];
                cells[slot] += other;
            }
        }
        if unit == 0 && i < summation.outputs {
            target[i] = cells[slot];
        }
    } else if i < summation.outputs {
        target[i] = total;
    }
}

/// Enqueues a planned sum.
///
/// # Errors
/// [`Error::Length`] if a buffer is too short.
pub fn sum_launch(client: &Client, source: &Handle, target: &Handle, plan: &SumPlan) -> Result<()> {
    const OP: &str = "sum";
    let terms = plan.outputs.saturating_mul(plan.terms);
    holds(OP, "source", source, (plan.dtype, 1), terms)?;
    holds(OP, "target", target, (plan.dtype, 1), plan.outputs)?;
    if plan.outputs == 0 {
        return Ok(());
    }
    let lengths = |axes: &[(usize, usize)]| sequence(axes.iter().map(|(len, _)| *len));
    let steps = |axes: &[(usize, usize)]| sequence(axes.iter().map(|(_, step)| *step));
    // SAFETY: `SumPlan::new` takes its steps from a contiguous layout of `outputs · terms` numbers; the
    // kernel keeps results below `outputs` and terms below `terms`.
    unsafe {
        sum::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            buffer(source, plan.dtype, 1),
            buffer(target, plan.dtype, 1),
            SummationLaunch::new(
                lengths(&plan.kept),
                steps(&plan.kept),
                lengths(&plan.summed),
                steps(&plan.summed),
                plan.outputs,
                plan.terms,
            ),
            plan.units,
            plan.share,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}
