//! Every decision and every validation of the family. Pure host code.

use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use crate::{grid::grid, lines::LinesOf};

/// Units of a cube, where the device allows.
const UNITS: usize = 256;
/// The longest line that a unit of an emulated device walks alone, to save the barriers.
const ALONE: usize = 1024;
/// The lines whose channels a unit mixes by magnitude and phase: entries of the matrices are read once for all.
pub(super) const SHARE: usize = 4;
/// The terms of a sum that are added one after the other.
pub(super) const BLOCK: usize = 64;

/// What is done to every element; see [`mixing`](super).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Map {
    /// `max(|z| + w, 0) z/|z|`.
    ModRelu,
    /// `½ (1 + cos arg z) z`.
    Cardioid,
    /// `e^{iw} z`.
    Rotate,
    /// `z/(1 + e^{−w})`.
    Gate,
    /// `(|z|, arg z)`.
    Polar,
    /// `r e^{iφ}` from `(r, φ)`.
    Cartesian,
}

impl Map {
    /// Whether there is a `w`.
    pub fn is_weighted(self) -> bool {
        matches!(self, Self::ModRelu | Self::Rotate | Self::Gate)
    }

    /// Whether arithmetic and roots are enough.
    fn is_algebraic(self) -> bool {
        matches!(self, Self::ModRelu | Self::Cardioid)
    }
}

fn shape_error(
    op: &'static str,
    argument: &'static str,
    expected: &[usize],
    found: &Layout,
) -> Error {
    Error::Shape { op, argument, expected: expected.to_vec(), found: found.shape().to_vec() }
}

/// As a normal number of the type that is computed in: a smaller one may be 0 on the device, and the root of zeros then
/// has no inverse.
fn check_epsilon(op: &'static str, epsilon: f64, dtype: Dtype) -> Result<()> {
    let (range, expected) = match dtype {
        Dtype::F64 => (f64::MIN_POSITIVE..=f64::MAX, "from 2.3e-308 up and finite"),
        _ => (
            f32::MIN_POSITIVE.into()..=f32::MAX.into(),
            "from 1.2e-38 up and finite in f32, which is computed in",
        ),
    };
    if range.contains(&epsilon) {
        return Ok(());
    }
    Err(Error::Value { op, argument: "epsilon", expected, found: epsilon })
}

fn check_buffer(
    op: &'static str,
    layout: &Layout,
    parts: usize,
    dtype: Dtype,
    limits: &Limits,
) -> Result<()> {
    let bytes = layout.end().and_then(|end| end.checked_mul(parts * dtype.size()));
    limits.check_buffer(op, bytes.map_or(u64::MAX, |bytes| bytes as u64))
}

/// `w` as if it had the shape of `z`: it has the rank, and on every axis 1 or the length there.
fn broadcast(op: &'static str, w: &Layout, z: &Layout) -> Result<Layout> {
    let fits = w.rank() == z.rank()
        && w.shape().iter().zip(z.shape()).all(|(&len, &whole)| len == 1 || len == whole);
    if !fits {
        return Err(shape_error(op, "w", z.shape(), w));
    }
    let steps = w.strides().iter().zip(w.shape());
    let strides: Vec<usize> =
        steps.map(|(&stride, &len)| if len == 1 { 0 } else { stride }).collect();
    Layout::strided(z.shape(), &strides, w.offset())
}

/// Checks what every op here does: `z` with an axis, `g` of its shape, types, buffers. Returns the lines of
/// `z`, `w` and `g` along the last axis, with `z` in the place of what is absent.
fn lines(
    op: &'static str,
    [z, w, g]: [Option<&Layout>; 3],
    (dtype, parts): (Dtype, usize),
    limits: &Limits,
) -> Result<(LinesOf, [usize; 3])> {
    limits.check_dtype(op, "z", dtype)?;
    let nothing = Layout::contiguous(&[]);
    let z = z.unwrap_or(&nothing);
    let axis = z.axis(op, -1)?;
    check_buffer(op, z, parts, dtype, limits)?;
    check_buffer(op, &Layout::contiguous(z.shape()), parts, dtype, limits)?;
    let w = match w {
        Some(w) => {
            check_buffer(op, w, 1, dtype, limits)?;
            Some(broadcast(op, w, z)?)
        }
        None => None,
    };
    if let Some(g) = g {
        if g.shape() != z.shape() {
            return Err(shape_error(op, "g", z.shape(), g));
        }
        check_buffer(op, g, parts, dtype, limits)?;
    }
    let layouts = [Some(z), w.as_ref(), g].map(|layout| layout.unwrap_or(z));
    let end = |layout: &Layout| layout.end().unwrap_or(usize::MAX);
    Ok((LinesOf::new(&layouts, axis, z.shape()[axis]), layouts.map(end)))
}

/// How a map reaches a device. Pure host data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MapPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// What is done.
    pub map: Map,
    /// The geometry: `z`, `w`, `g`.
    pub lines: LinesOf,
    /// One past the last element of each.
    pub ends: [usize; 3],
    /// Whether the gradient is what is wanted.
    pub gradient: bool,
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// Storage type.
    pub dtype: Dtype,
}

impl MapPlan {
    /// A map of `z`, with `w` where it has one, or with `g` its gradient.
    ///
    /// # Errors
    /// [`Error::Axis`] for a `z` without an axis, [`Error::Shape`] if the shapes do not belong together,
    /// [`Error::Dtype`] for a type that the device or the map lacks, [`Error::Unsupported`] for a `w` too many
    /// or too few, [`Error::Limit`] if a buffer or the grid exceeds it.
    ///
    /// ```
    /// use wavecube_core::{Dtype, Layout, Limits};
    /// use wavecube_kernels::mixing::{Map, MapPlan};
    ///
    /// let z = Layout::contiguous(&[16, 64]);
    /// let bias = Layout::contiguous(&[1, 64]);
    /// let operands = [Some(&z), Some(&bias), None];
    /// let plan = MapPlan::new("mod_relu", Map::ModRelu, operands, Dtype::F32, &Limits::HOPPER)?;
    /// assert_eq!(plan.cubes, [4, 1, 1]);
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(
        op: &'static str,
        map: Map,
        operands: [Option<&Layout>; 3],
        dtype: Dtype,
        limits: &Limits,
    ) -> Result<Self> {
        if map.is_weighted() != operands[1].is_some() {
            let reason = "modReLU, rotation and gate take one, the other maps take none";
            return Err(Error::Unsupported { op, argument: "w", reason });
        }
        if dtype == Dtype::F64 && !map.is_algebraic() {
            let expected =
                "f16, bf16 or f32: sines, exponentials and angles are in single precision";
            return Err(Error::Dtype { op, argument: "z", expected, found: dtype });
        }
        let gradient = operands[2].is_some();
        // The operand and the result; with `w` one more, and with gradients `g` and that of `w`.
        let weights = usize::from(map.is_weighted());
        let buffers = if gradient { 3 + 2 * weights } else { 2 + weights };
        limits.check_bindings(op, buffers)?;
        let (lines, ends) = lines(op, operands, (dtype, 2), limits)?;
        let units = if limits.serial { 1 } else { limits.units_per_cube.min(UNITS) };
        let cubes = grid(op, lines.rows.saturating_mul(lines.n).div_ceil(units).max(1), limits)?;
        Ok(Self { op, map, lines, ends, gradient, units, cubes, dtype })
    }
}

/// What is compiled into the norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NormConfig {
    /// The units that share a line, a power of two.
    pub units: usize,
    /// The lines of a cube, a power of two.
    pub lines: usize,
}

/// How a norm reaches a device. Pure host data.
#[derive(Debug, Clone, PartialEq)]
pub struct RmsNormPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// The geometry: `z`, `w`, `g`.
    pub lines: LinesOf,
    /// One past the last element of each.
    pub ends: [usize; 3],
    /// Whether the gradient is what is wanted.
    pub gradient: bool,
    /// What the mean of the squares gets added.
    pub epsilon: f64,
    /// The parts of an element: 1 of a real one, 2 of a complex one.
    pub parts: usize,
    /// What is compiled.
    pub config: NormConfig,
    /// The grid.
    pub cubes: [usize; 3],
    /// Storage type.
    pub dtype: Dtype,
}

impl RmsNormPlan {
    /// The norm of the lines of `z` along the last axis, with factors `w`, or with `g` its gradient; for elements of a
    /// storage type in so many parts, 1 or 2.
    ///
    /// # Errors
    /// [`Error::Axis`] for a `z` without an axis, [`Error::Length`] for lines of no elements,
    /// [`Error::Shape`] if the shapes do not belong together, [`Error::Value`] for an `epsilon` that is no
    /// normal number above zero, [`Error::Dtype`] for a type that the device lacks, [`Error::Limit`] if a buffer or the grid
    /// exceeds it.
    pub fn new(
        op: &'static str,
        [z, w, g]: [Option<&Layout>; 3],
        epsilon: f64,
        (dtype, parts): (Dtype, usize),
        limits: &Limits,
    ) -> Result<Self> {
        check_epsilon(op, epsilon, dtype)?;
        limits.check_bindings(op, if g.is_some() { 5 } else { 3 })?;
        let (lines, ends) = lines(op, [z, w, g], (dtype, parts), limits)?;
        if lines.n == 0 {
            return Err(Error::Length { op, argument: "z", expected: "at least 1", found: 0 });
        }
        let room = limits.shared_bytes / dtype.compute().size();
        let most =
            if limits.serial { 1 } else { UNITS.min(limits.units_per_cube).min(room).max(1) };
        let alone = limits.emulated && lines.n <= ALONE;
        let share = if alone { 1 } else { most.min(lines.n) };
        let units = 1 << share.ilog2();
        let config = NormConfig { units, lines: (1 << most.ilog2()) / units };
        let cubes = grid(op, lines.rows.div_ceil(config.lines).max(1), limits)?;
        Ok(Self { op, lines, ends, gradient: g.is_some(), epsilon, parts, config, cubes, dtype })
    }
}

/// Channels mixed by magnitude and by phase.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseMixProblem {
    /// The operation, for errors.
    pub op: &'static str,
    /// The channels along the last axis, in complex elements.
    pub y: Layout,
    /// The gradient of the result, where that of the operands is wanted.
    pub g: Option<Layout>,
    /// The number of results of a line.
    pub outputs: usize,
    /// Below which a magnitude fades to nothing.
    pub epsilon: f64,
    /// Storage type.
    pub dtype: Dtype,
}

/// How such a problem reaches a device. Pure host data.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseMixPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// The geometry: `y`, `g`.
    pub lines: LinesOf,
    /// One past the last element of each.
    pub ends: [usize; 2],
    /// The number of results of a line.
    pub outputs: usize,
    /// Whether the gradient is what is wanted.
    pub gradient: bool,
    /// Below which a magnitude fades to nothing.
    pub epsilon: f64,
    /// Units of a cube.
    pub units: usize,
    /// The grids of the kernels with a unit an output, and with a unit an input.
    pub cubes: [[usize; 3]; 2],
    /// Storage type.
    pub dtype: Dtype,
}

impl PhaseMixPlan {
    /// Validates `problem` and lays out the grids.
    ///
    /// # Errors
    /// [`Error::Axis`] for a `y` without an axis, [`Error::Length`] for no inputs or no outputs, [`Error::Shape`] for
    /// a `g` that is not of the result's shape, [`Error::Value`] for an `epsilon` that is not positive,
    /// [`Error::Dtype`] for 16 bits or a type that the device lacks, [`Error::Limit`] if a buffer or the grid exceeds it.
    ///
    /// ```
    /// use wavecube_core::{Dtype, Layout, Limits};
    /// use wavecube_kernels::mixing::{PhaseMixPlan, PhaseMixProblem};
    ///
    /// let y = Layout::contiguous(&[1000, 32]);
    /// let (op, dtype) = ("phase_mix", Dtype::F32);
    /// let problem = PhaseMixProblem { op, y, g: None, outputs: 32, epsilon: 1e-4, dtype };
    /// assert_eq!(PhaseMixPlan::new(&problem, &Limits::HOPPER)?.cubes[0], [32, 1, 1]);
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(problem: &PhaseMixProblem, limits: &Limits) -> Result<Self> {
        let PhaseMixProblem { op, y, g, outputs, epsilon, dtype } = problem;
        let (op, outputs, epsilon, dtype) = (*op, *outputs, *epsilon, *dtype);
        check_epsilon(op, epsilon, dtype)?;
        limits.check_dtype(op, "y", dtype)?;
        if dtype != dtype.compute() {
            let expected = "f32 or f64";
            return Err(Error::Dtype { op, argument: "y", expected, found: dtype });
        }
        limits.check_bindings(op, if g.is_some() { 7 } else { 4 })?;
        let axis = y.axis(op, -1)?;
        let inputs = y.shape()[axis];
        for (argument, found) in [("y", inputs), ("outputs", outputs)] {
            if found == 0 {
                return Err(Error::Length { op, argument, expected: "at least 1", found });
            }
        }
        let mut result = y.shape().to_vec();
        result[axis] = outputs;
        for layout in [y, &Layout::contiguous(y.shape()), &Layout::contiguous(&result)] {
            check_buffer(op, layout, 2, dtype, limits)?;
        }
        check_buffer(op, &Layout::contiguous(&[outputs, inputs]), 2, dtype, limits)?;
        if let Some(g) = g {
            if g.shape() != result {
                return Err(shape_error(op, "g", &result, g));
            }
            check_buffer(op, g, 2, dtype, limits)?;
        }
        let layouts = [y, g.as_ref().unwrap_or(y)];
        let lines = LinesOf::new(&layouts, axis, inputs);
        let units = if limits.serial { 1 } else { limits.units_per_cube.min(UNITS) };
        let groups = lines.rows.div_ceil(SHARE);
        let cubes =
            |each: usize| grid(op, groups.saturating_mul(each).div_ceil(units).max(1), limits);
        Ok(Self {
            op,
            ends: layouts.map(|layout| layout.end().unwrap_or(usize::MAX)),
            outputs,
            gradient: g.is_some(),
            epsilon,
            units,
            cubes: [cubes(outputs)?, cubes(inputs)?],
            dtype,
            lines,
        })
    }
}
