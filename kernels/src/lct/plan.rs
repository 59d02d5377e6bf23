//! Every decision and every validation of the family. Pure host code.

use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use super::{
    configs::{DenseConfig, MomentConfig, PointConfig, check_operand, check_output},
    program::{Stage, Transform},
};
use crate::{
    fft::{BatchAxis, Chain, End, FftPlan, Hook, Load, Store, Strategy, Table},
    grid::grid,
    lines::{LinesOf, merged},
};

/// Units of the pointwise kernels' cubes, where the device allows.
const UNITS: usize = 256;
/// The most partial sums that a reduction ends in.
const PARTIALS: usize = 64;
/// The terms that a unit of a reduction sums up before another cube is worth it.
const TERMS: usize = 16;

/// The stages of a program on strided tensors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LctProblem {
    /// The operation, for errors.
    pub op: &'static str,
    /// The trips through memory; lengths must follow from one to the next.
    pub stages: Vec<Stage>,
    /// The axis, counting from the end if negative.
    pub axis: isize,
    /// Storage type of both operands.
    pub dtype: Dtype,
    /// Input, in complex elements.
    pub input: Layout,
    /// Output, in complex elements.
    pub output: Layout,
    /// Whether the input is real.
    pub real_input: bool,
    /// Store only the real part.
    pub real_output: bool,
}

/// What a pointwise launch needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PointPlan {
    /// The geometry: source, target.
    pub lines: LinesOf,
    /// What is compiled.
    pub config: PointConfig,
    /// Storage types of source and target.
    pub dtypes: [Dtype; 2],
    /// The factor, by its place in the bound tables.
    pub factor: Option<usize>,
    /// The indices, by their place in the bound index tables.
    pub gather: Option<usize>,
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
}

/// One launch of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// A chain of DFTs and factors.
    Transform(FftPlan),
    /// A factor and a permutation.
    Pointwise(PointPlan),
}

/// The launches of a transform. Immutable host data; make it once, launch it often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LctPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// The launches; nothing if the batch is empty.
    pub steps: Vec<Step>,
    /// The layout of every step's result but the last: contiguous temporaries.
    pub between: Vec<Layout>,
    /// One past the last element that is read of the input.
    pub input_end: usize,
    /// One past the last element that is written of the output.
    pub output_end: usize,
    /// Storage type.
    pub dtype: Dtype,
    /// The real numbers in an element of the input and of the output.
    pub parts: [usize; 2],
}

/// The cubes for `work` units of `units`.
fn flat(op: &'static str, work: usize, units: usize, limits: &Limits) -> Result<[usize; 3]> {
    grid(op, work.div_ceil(units).max(1), limits)
}

fn units(limits: &Limits) -> usize {
    if limits.serial { 1 } else { limits.units_per_cube.min(UNITS) }
}

impl PointPlan {
    /// A pointwise launch from `source` to `target`, whose batch shapes the caller has compared.
    ///
    /// # Errors
    /// [`Error::Limit`] if the grid is too large.
    pub fn new(
        op: &'static str,
        operands: [(&Layout, Dtype, usize); 2],
        axis: usize,
        tables: (Option<usize>, Option<usize>),
        limits: &Limits,
    ) -> Result<Self> {
        let [(source, source_dtype, source_parts), (target, target_dtype, target_parts)] = operands;
        let n = target.shape()[axis];
        let lines = LinesOf::new(&[source, target], axis, n);
        let units = units(limits);
        let cubes = flat(op, lines.rows.saturating_mul(n), units, limits)?;
        let (factor, gather) = tables;
        let tables = [factor, gather].iter().flatten().count();
        limits.check_bindings(op, 2 + tables)?;
        Ok(Self {
            lines,
            config: PointConfig {
                multiplied: factor.is_some(),
                gathered: gather.is_some(),
                parts: [source_parts, target_parts],
            },
            dtypes: [source_dtype, target_dtype],
            factor,
            gather,
            units,
            cubes,
        })
    }
}

impl LctPlan {
    /// Validates `problem` and lays every stage over launches.
    ///
    /// # Errors
    /// [`Error::Axis`], [`Error::Shape`], [`Error::Length`] or [`Error::Strides`] for a malformed problem,
    /// [`Error::Dtype`] if the device lacks the element type, [`Error::Limit`] if a buffer or a transform
    /// is too long for it.
    ///
    /// ```
    /// use wavecube_core::{Complex64, Dtype, Layout, Limits, lct::{Abcd, ShearFactors}};
    /// use wavecube_kernels::lct::{LctPlan, LctProblem, Program, shear_factors};
    ///
    /// let m = ShearFactors::new(&Abcd::fractional_fourier(0.6))?;
    /// let program = Program::of_factors(256, &shear_factors(256, &m.passes(), m.phase())?);
    /// let layout = Layout::contiguous(&[8, 256]);
    /// let plan = LctPlan::new(&LctProblem {
    ///     op: "lct_shear",
    ///     stages: program.stages.clone(),
    ///     axis: -1,
    ///     dtype: Dtype::F32,
    ///     input: layout.clone(),
    ///     output: layout,
    ///     real_input: false,
    ///     real_output: false,
    /// }, &Limits::HOPPER)?;
    /// // Chirp, DFT, chirp, inverse DFT, chirp: one trip through memory.
    /// assert_eq!(plan.steps.len(), 1);
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(problem: &LctProblem, limits: &Limits) -> Result<Self> {
        let LctProblem { op, stages, dtype, input, output, .. } = problem;
        let (op, dtype) = (*op, *dtype);
        limits.check_dtype(op, "input", dtype)?;
        let axis = input.axis(op, problem.axis)?;
        let n = input.shape()[axis];
        if n == 0 {
            return Err(Error::Length { op, argument: "input", expected: "at least 1", found: 0 });
        }
        let with = |len: usize| {
            let mut shape = input.shape().to_vec();
            shape[axis] = len;
            shape
        };
        let lengths = |stage: &Stage| match stage {
            Stage::Transform(transform) => (transform.input_len, transform.output_len),
            Stage::Pointwise { .. } => (n, n),
        };
        let first = stages.first().map_or(n, |stage| lengths(stage).0);
        let last = stages.last().map_or(n, |stage| lengths(stage).1);
        check_operand(op, "input", input, &with(first), dtype, limits)?;
        check_operand(op, "output", output, &with(last), dtype, limits)?;
        check_output(op, output)?;

        let parts =
            [if problem.real_input { 1 } else { 2 }, if problem.real_output { 1 } else { 2 }];
        let mut plan = Self {
            op,
            steps: Vec::new(),
            between: Vec::new(),
            input_end: input.end().unwrap_or(usize::MAX),
            output_end: output.end().unwrap_or(usize::MAX),
            dtype,
            parts,
        };
        if output.is_empty() {
            return Ok(plan);
        }
        let mut source = input.clone();
        for (i, stage) in stages.iter().enumerate() {
            let ends = [i == 0 && problem.real_input, i + 1 == stages.len() && problem.real_output];
            let target = if i + 1 == stages.len() {
                output.clone()
            } else {
                let temporary = Layout::contiguous(&with(lengths(stage).1));
                check_operand(op, "output", &temporary, temporary.shape(), dtype, limits)?;
                plan.between.push(temporary.clone());
                temporary
            };
            plan.steps.push(match stage {
                Stage::Transform(transform) => {
                    let chain = chain(op, transform, axis, dtype, [&source, &target], ends);
                    let end = |layout: &Layout| layout.end().unwrap_or(usize::MAX);
                    Step::Transform(FftPlan::of_chain(
                        &chain,
                        [end(&source), end(&target)],
                        limits,
                    )?)
                }
                Stage::Pointwise { factor, gather } => {
                    let parts = ends.map(|real| if real { 1 } else { 2 });
                    let operands = [(&source, dtype, parts[0]), (&target, dtype, parts[1])];
                    Step::Pointwise(PointPlan::new(op, operands, axis, (*factor, *gather), limits)?)
                }
            });
            source = target;
        }
        Ok(plan)
    }
}

fn chain(
    op: &'static str,
    transform: &Transform,
    axis: usize,
    dtype: Dtype,
    [source, target]: [&Layout; 2],
    [real_input, real_output]: [bool; 2],
) -> Chain {
    let hook = |table: Option<usize>| -> Vec<Hook> {
        table.iter().map(|&i| Hook::shared(Table::Bound(i))).collect()
    };
    let end =
        |layout: &Layout, len| End { offset: layout.offset(), stride: layout.strides()[axis], len };
    let batch = (0..source.rank()).filter(|&i| i != axis).map(|i| BatchAxis {
        len: source.shape()[i],
        source: source.strides()[i],
        target: target.strides()[i],
    });
    Chain {
        op,
        n: transform.n,
        period: transform.n,
        direction: transform.direction,
        round_trip: transform.filter.is_some(),
        batch: batch.collect(),
        source: end(source, transform.input_len),
        target: end(target, transform.output_len),
        load: match (real_input, transform.reversed) {
            (true, _) => Load::Real,
            (false, true) => Load::Reversed,
            (false, false) => Load::Complex,
        },
        store: if real_output { Store::Real } else { Store::Complex },
        load_hooks: hook(transform.before),
        filter_hooks: hook(transform.filter),
        store_hooks: hook(transform.after),
        scale: transform.scale,
        dtype,
        strategy: Strategy::Auto,
    }
}

/// A dense matrix along one axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DenseProblem {
    /// The operation, for errors.
    pub op: &'static str,
    /// The matrix as it is stored, row-major: rows, columns.
    pub matrix: [usize; 2],
    /// Whether its entries are complex.
    pub complex: bool,
    /// Apply its transpose.
    pub transposed: bool,
    /// Apply its conjugate.
    pub conjugate: bool,
    /// A factor on the way in.
    pub before: bool,
    /// A factor on the way out.
    pub after: bool,
    /// The axis, counting from the end if negative.
    pub axis: isize,
    /// Storage type of both operands.
    pub dtype: Dtype,
    /// Input, in complex elements.
    pub input: Layout,
    /// Output, in complex elements.
    pub output: Layout,
}

/// What a dense launch needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DensePlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// The geometry: source, target.
    pub lines: LinesOf,
    /// Points of the input and of the output.
    pub lengths: [usize; 2],
    /// The matrix's step from output to output and from input to input.
    pub steps: [usize; 2],
    /// What is compiled.
    pub config: DenseConfig,
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// Storage type.
    pub dtype: Dtype,
    /// One past the last elements of input and output.
    pub ends: [usize; 2],
    /// The floating-point operations.
    pub flop: u64,
}

impl DensePlan {
    /// Validates `problem` and chooses the tile.
    ///
    /// # Errors
    /// As [`LctPlan::new`].
    pub fn new(problem: &DenseProblem, limits: &Limits) -> Result<Self> {
        let DenseProblem { op, dtype, input, output, .. } = problem;
        let (op, dtype) = (*op, *dtype);
        limits.check_dtype(op, "input", dtype)?;
        let axis = input.axis(op, problem.axis)?;
        let [rows, columns] = problem.matrix;
        let (outputs, inputs) = if problem.transposed { (columns, rows) } else { (rows, columns) };
        if inputs == 0 || outputs == 0 {
            return Err(Error::Length { op, argument: "input", expected: "at least 1", found: 0 });
        }
        let with = |len: usize| {
            let mut shape = input.shape().to_vec();
            shape[axis] = len;
            shape
        };
        check_operand(op, "input", input, &with(inputs), dtype, limits)?;
        check_operand(op, "output", output, &with(outputs), dtype, limits)?;
        check_output(op, output)?;
        let compute = dtype.compute();
        let entry = compute.size() * if problem.complex { 2 } else { 1 };
        let bytes = rows.checked_mul(columns).and_then(|entries| entries.checked_mul(entry));
        limits.check_buffer(op, bytes.map_or(u64::MAX, |bytes| bytes as u64))?;
        let tables = usize::from(problem.before) + usize::from(problem.after);
        limits.check_bindings(op, 3 + tables)?;

        let lines = LinesOf::new(&[input, output], axis, outputs);
        let config = DenseConfig {
            tile: 1,
            side: 1,
            block: 1,
            complex: problem.complex,
            transposed: problem.transposed,
            conjugate: problem.conjugate,
            before: problem.before,
            after: problem.after,
        }
        .fit([lines.rows, outputs], compute, limits);
        let (units, work) = if config.tile > 1 {
            let tiles = outputs.div_ceil(config.reach());
            let squared = config.tile * config.tile;
            let cubes = tiles.saturating_mul(lines.rows.div_ceil(config.reach()));
            (squared, cubes.saturating_mul(squared))
        } else {
            (units(limits), lines.rows.saturating_mul(outputs))
        };
        let multiplications = if problem.complex { 8 } else { 4 };
        Ok(Self {
            op,
            lengths: [inputs, outputs],
            steps: if problem.transposed { [1, columns] } else { [columns, 1] },
            config,
            units,
            cubes: flat(op, work, units, limits)?,
            dtype,
            ends: [input.end().unwrap_or(usize::MAX), output.end().unwrap_or(usize::MAX)],
            flop: multiplications * (lines.rows as u64) * (inputs as u64) * (outputs as u64),
            lines,
        })
    }
}

/// The reductions `Σ Re(w_j conj(g_j) y_j)` over a whole tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MomentPlan {
    /// The geometry: `y`, `g`.
    pub lines: LinesOf,
    /// What is compiled.
    pub config: MomentConfig,
    /// Partial sums, one a cube.
    pub partials: usize,
    /// Storage type.
    pub dtype: Dtype,
}

impl MomentPlan {
    /// The reduction over `y` and `g`, tensors of one shape, along `axis`.
    ///
    /// # Errors
    /// As [`LctPlan::new`].
    pub fn new(
        op: &'static str,
        [y, g]: [&Layout; 2],
        axis: isize,
        dtype: Dtype,
        limits: &Limits,
    ) -> Result<Self> {
        limits.check_dtype(op, "g", dtype)?;
        // `y`, `g`, the weights and the sums.
        limits.check_bindings(op, 4)?;
        let axis = y.axis(op, axis)?;
        check_operand(op, "g", g, y.shape(), dtype, limits)?;
        let n = y.shape()[axis];
        let lines = LinesOf::new(&[y, g], axis, n);
        let units = if limits.serial { 1 } else { 1 << limits.units_per_cube.min(UNITS).ilog2() };
        let partials = lines.rows.saturating_mul(n).div_ceil(units * TERMS).clamp(1, PARTIALS);
        Ok(Self { lines, config: MomentConfig { units }, partials, dtype })
    }
}

/// `z_k = Σ conj(x_k) g_k` over the lines that share one result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CorrelationPlan {
    /// The results: `x`, `g`, target.
    pub kept: LinesOf,
    /// The lines that one result sums: `x`, `g`.
    pub summed: LinesOf,
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// Storage type.
    pub dtype: Dtype,
}

impl CorrelationPlan {
    /// `x` and `g` of one shape; `target` has length 1 on the batch axes that are summed and theirs on
    /// the others.
    ///
    /// # Errors
    /// As [`LctPlan::new`].
    pub fn new(
        op: &'static str,
        [x, g]: [&Layout; 2],
        target: &Layout,
        axis: usize,
        dtype: Dtype,
        limits: &Limits,
    ) -> Result<Self> {
        check_operand(op, "g", g, x.shape(), dtype, limits)?;
        check_output(op, target)?;
        limits.check_bindings(op, 3)?;
        let n = x.shape()[axis];
        let summed_axis = |i: usize| target.shape()[i] == 1 && x.shape()[i] != 1;
        let batch = || (0..x.rank()).filter(|&i| i != axis);
        let kept: Vec<usize> = batch().filter(|&i| !summed_axis(i)).collect();
        let summed: Vec<usize> = batch().filter(|&i| summed_axis(i)).collect();
        let strides = |i: usize| vec![x.strides()[i], g.strides()[i], target.strides()[i]];
        let rows = |axes: &[usize]| axes.iter().map(|&i| x.shape()[i]).product();
        let kept = LinesOf {
            batch: merged(3, kept.iter().map(|&i| (x.shape()[i], strides(i)))),
            offsets: vec![x.offset(), g.offset(), target.offset()],
            strides: strides(axis),
            rows: rows(&kept),
            n,
        };
        let summed = LinesOf {
            batch: merged(3, summed.iter().map(|&i| (x.shape()[i], strides(i)))),
            offsets: vec![0; 3],
            strides: vec![0; 3],
            rows: rows(&summed),
            n: 1,
        };
        let units = units(limits);
        let cubes = flat(op, kept.rows.saturating_mul(n), units, limits)?;
        Ok(Self { kept, summed, units, cubes, dtype })
    }
}

/// `y = c₀ x + c₁ X + c₂ P x + c₃ P X`, `P` the reversal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CombinePlan {
    /// The geometry: `x`, `X`, `y`.
    pub lines: LinesOf,
    /// Units of a cube.
    pub units: usize,
    /// The grid.
    pub cubes: [usize; 3],
    /// Storage type.
    pub dtype: Dtype,
}

impl CombinePlan {
    /// The combination of tensors of one shape.
    ///
    /// # Errors
    /// As [`LctPlan::new`].
    pub fn new(
        op: &'static str,
        layouts: [&Layout; 3],
        axis: usize,
        dtype: Dtype,
        limits: &Limits,
    ) -> Result<Self> {
        let shape = layouts[0].shape();
        check_operand(op, "spectrum", layouts[1], shape, dtype, limits)?;
        check_operand(op, "output", layouts[2], shape, dtype, limits)?;
        check_output(op, layouts[2])?;
        // The layouts' tensors and the weights.
        limits.check_bindings(op, 4)?;
        let lines = LinesOf::new(&layouts, axis, shape[axis]);
        let units = units(limits);
        let cubes = flat(op, lines.rows.saturating_mul(lines.n), units, limits)?;
        Ok(Self { lines, units, cubes, dtype })
    }
}
