//! Sums of outer products over lines, which gradients of matrices are: plan, device code and launch.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use super::kernel::{load, pair, stored};
use crate::{
    elem_type,
    grid::grid,
    launch::{buffer, count, holds},
};

/// A unit adds up a square of this many results a side: what it reads of a line serves them all.
const SIDE: usize = 4;
/// Units of a cube, where the device allows.
const UNITS: usize = 64;
/// The units that keep a device busy.
const BUSY: usize = 16384;
/// Lines of a share: at least, so that adding up the shares is little beside them, and at most, since loops
/// of emulated devices end there.
const LINES: [usize; 2] = [64, 32768];

/// `Σ_r g_r x_rᴴ` over lines. Pure host data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OuterPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// The number of lines.
    pub lines: usize,
    /// The numbers of a line of `x`.
    pub inputs: usize,
    /// The numbers of a line of `g`.
    pub outputs: usize,
    /// Whether `x` is complex; `g` always is.
    pub complex: bool,
    /// The shares of the lines that are added up apart.
    pub shares: usize,
    /// The lines of a share, but for the last.
    pub each: usize,
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// Storage type.
    pub dtype: Dtype,
}

impl OuterPlan {
    /// Of `x` `[lines, inputs]`, real or complex, and `g` `[lines, outputs]`, complex, contiguous both, in the shape
    /// `[shares, outputs, inputs]`, to be summed over the first axis.
    ///
    /// # Errors
    /// [`Error::Length`] for no inputs or no outputs, [`Error::Dtype`] for 16 bits or a type that the device lacks,
    /// [`Error::Limit`] if a buffer or the grid exceeds it.
    pub fn new(
        op: &'static str,
        [lines, inputs, outputs]: [usize; 3],
        complex: bool,
        dtype: Dtype,
        limits: &Limits,
    ) -> Result<Self> {
        limits.check_dtype(op, "x", dtype)?;
        if dtype != dtype.compute() {
            let expected = "f32 or f64";
            return Err(Error::Dtype { op, argument: "x", expected, found: dtype });
        }
        for (argument, found) in [("x", inputs), ("g", outputs)] {
            if found == 0 {
                return Err(Error::Length { op, argument, expected: "at least 1", found });
            }
        }
        limits.check_bindings(op, 3)?;
        let squares = inputs.div_ceil(SIDE).saturating_mul(outputs.div_ceil(SIDE));
        let shares = lines.div_ceil(LINES[0]).min(BUSY.div_ceil(squares));
        let shares = shares.max(lines.div_ceil(LINES[1])).max(1);
        let each = lines.div_ceil(shares);
        for shape in [[lines, inputs, 1], [lines, outputs, 1], [shares, outputs, inputs]] {
            let bytes = Layout::contiguous(&shape).len().saturating_mul(2 * dtype.size());
            limits.check_buffer(op, bytes as u64)?;
        }
        let units = if limits.serial { 1 } else { limits.units_per_cube.min(UNITS) };
        let cubes = grid(op, squares.saturating_mul(shares).div_ceil(units), limits)?;
        Ok(Self { op, lines, inputs, outputs, complex, shares, each, units, cubes, dtype })
    }
}

#[derive(CubeType, CubeLaunch)]
pub(crate) struct OuterShape {
    lines: usize,
    inputs: usize,
    outputs: usize,
    shares: usize,
    each: usize,
}

/// Inputs side by side.
type Row<F> = Vector<F, Const<SIDE>>;

/// A square of results of a share a unit.
#[cube(launch_unchecked)]
pub(super) fn outer<F: Float>(
    x: &[F],
    g: &[Vector<F, Const<2>>],
    sums: &mut [Vector<F, Const<2>>],
    shape: &OuterShape,
    #[comptime] complex: bool,
    #[define(F)] _dtype: ElemType,
) {
    let side = comptime!(SIDE);
    let across = shape.inputs.div_ceil(side);
    let squares = across * shape.outputs.div_ceil(side);
    let share = ABSOLUTE_POS / squares;
    let first_input = ABSOLUTE_POS % squares % across * side;
    let first_output = ABSOLUTE_POS % squares / across * side;
    let mut re = Array::<Row<F>>::new(side);
    let mut im = Array::<Row<F>>::new(side);
    #[unroll]
    for o in 0..side {
        re[o] = Row::<F>::new(F::new(0.0));
        im[o] = Row::<F>::new(F::new(0.0));
    }
    if share < shape.shares {
        for r in share * shape.each..min((share + 1) * shape.each, shape.lines) {
            let mut x_re = Row::<F>::empty();
            let mut x_im = Row::<F>::empty();
            #[unroll]
            for i in 0..side {
                let at = r * shape.inputs + min(first_input + i, shape.inputs - 1);
                if comptime!(complex) {
                    x_re.insert(i, x[2 * at]);
                    x_im.insert(i, x[2 * at + 1]);
                } else {
                    x_re.insert(i, x[at]);
                }
            }
            #[unroll]
            for o in 0..side {
                let at = r * shape.outputs + min(first_output + o, shape.outputs - 1);
                let value = load::<F, F>(g, at);
                let g_re = Row::<F>::new(value.re);
                let g_im = Row::<F>::new(value.im);
                re[o] += g_re * x_re;
                im[o] += g_im * x_re;
                if comptime!(complex) {
                    re[o] += g_im * x_im;
                    im[o] -= g_re * x_im;
                }
            }
        }
        #[unroll]
        for o in 0..side {
            let output = first_output + o;
            #[unroll]
            for i in 0..side {
                let input = first_input + i;
                if output < shape.outputs && input < shape.inputs {
                    let at = (share * shape.outputs + output) * shape.inputs + input;
                    sums[at] = stored::<F, F>(pair::<F>(re[o].extract(i), im[o].extract(i)));
                }
            }
        }
    }
}

/// Enqueues `Σ_r g_r x_rᴴ` over each share of the lines into `sums`, `[shares, outputs, inputs]`, complex.
///
/// # Errors
/// [`Error::Length`] if a buffer is shorter than the plan reaches; then nothing is enqueued.
pub fn outer_launch(
    client: &Client,
    [x, g]: [&Handle; 2],
    sums: &Handle,
    plan: &OuterPlan,
) -> Result<()> {
    let OuterPlan { op, lines, inputs, outputs, complex, shares, each, dtype, .. } = *plan;
    let parts = if complex { 2 } else { 1 };
    holds(op, "x", x, (dtype, parts), lines.saturating_mul(inputs))?;
    holds(op, "g", g, (dtype, 2), lines.saturating_mul(outputs))?;
    holds(op, "sums", sums, (dtype, 2), shares.saturating_mul(outputs).saturating_mul(inputs))?;
    // SAFETY: `holds` has compared the buffers with what the plan reaches; the kernel keeps lines below `lines`,
    // inputs below `inputs`, outputs below `outputs` and shares below `shares`.
    unsafe {
        outer::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            buffer(x, dtype, 1),
            buffer(g, dtype, 2),
            buffer(sums, dtype, 2),
            OuterShapeLaunch::new(lines, inputs, outputs, shares, each),
            complex,
            elem_type(dtype),
        );
    }
    Ok(())
}
