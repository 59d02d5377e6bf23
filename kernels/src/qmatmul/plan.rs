//! Every decision and every validation of the family. Pure host code: a plan is made from a problem
//! and a device's limits, and can be inspected without a device.

use wavecube_core::{
    Dtype, Error, Fragment, Layout, Limits, Result,
    quant::{BLOCK, Scheme},
};

use super::configs::{Algorithm, GemvConfig, GradientConfig, MatrixConfig, TileConfig};
use crate::grid::grid;

/// The most rows of activations that a unit carries: so many results are worth one read of a weight.
const ROWS: usize = 8;
/// The units that share the sums of a row of the weight on a GPU: neighbours read neighbouring words.
const SHARE: usize = 32;
/// Fragments where a device has no matrix units: few elements a unit, which a software driver compiles in seconds.
const WRITTEN_OUT: Fragment = Fragment { lanes: 32, rows: 8, columns: 8, inputs: 16 };
/// The units of a cube. Emulated ones take their time whether they have results or not: with 8 columns each, so many
/// have the 256 outputs of a small weight, and large ones are as quick as by 64.
const UNITS: usize = 128;
const EMULATED_UNITS: usize = 32;
/// The most units that quantise a row of activations, each at least half a block of it.
const ROW_UNITS: usize = 64;
/// The units that a device wants at least, before sums are cut into parts.
const FILL: usize = 1 << 15;
const EMULATED_FILL: usize = 1 << 11;
/// The blocks, or rows of the weight, that a unit has left at least when they are.
const TERMS: usize = 4;
/// The turns of a unit's loops: lavapipe (Mesa 22.3) ends them after 65535 in all, without a word. A block of
/// the naive kernel takes nine.
const TURNS: usize = 1 << 12;

/// Which algorithm to use; [`Strategy::Auto`] is right unless they are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// [`Strategy::Gemv`] up to eight rows and wherever units are processor cores or are emulated; beyond,
    /// [`Strategy::Matrix`] on a device with matrix units for the type of the activations, and [`Strategy::Tiled`] on
    /// others with the shared memory for it.
    #[default]
    Auto,
    /// One unit an element of the result: baseline and cross-check.
    Naive,
    /// Weight words read once for up to eight rows of activations, from memory to registers.
    Gemv,
    /// Weights dequantised into shared memory, squares of results in registers. For activations in floats.
    Tiled,
    /// Weights dequantised into shared memory in the type of the activations, `f16` or `bf16`, and multiplied by matrix
    /// units. A device without them does the same by ordinary multiplications, slowly: for tests.
    Matrix,
}

/// In which numbers products are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Number {
    /// In `f32`, with activations as they are.
    Float,
    /// In whole numbers: every row of activations is quantised to 8 bits first, symmetrically, with a scale of
    /// its own.
    Integer,
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// `y[m, n] = Σ_k x[m, k] W[n, k]`.
    Forward(Number),
    /// `dx[m, k] = Σ_n g[m, n] W[n, k]`, in `f32`.
    Gradient,
}

/// Which parts a result has after its sum: `residual + silu(gate)·(sum + bias)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Epilogue {
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether there is a gate.
    pub gate: bool,
    /// Whether there is a residual.
    pub residual: bool,
}

impl Epilogue {
    /// How many.
    pub fn count(self) -> usize {
        [self.bias, self.gate, self.residual].into_iter().filter(|part| *part).count()
    }
}

/// A product with a packed weight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QmatmulProblem {
    /// The operation, for errors.
    pub op: &'static str,
    /// What is computed.
    pub task: Task,
    /// The activations, `[…, k]`, or the gradient, `[…, n]`, whose rows lie one step apart.
    pub x: Layout,
    /// Outputs and inputs of the weight: `[n, k]`.
    pub weight: [usize; 2],
    /// The scheme of the weight.
    pub scheme: Scheme,
    /// Storage type of activations and result.
    pub dtype: Dtype,
    /// The algorithm.
    pub strategy: Strategy,
    /// What else the result is made of; nothing for a gradient.
    pub epilogue: Epilogue,
}

/// The launches of a product. Immutable host data; make it once, launch it often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QmatmulPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// What is computed.
    pub task: Task,
    /// The kernel.
    pub algorithm: Algorithm,
    /// Why this one.
    pub reason: &'static str,
    /// Rows of activations; 0 if there is nothing to do.
    pub m: usize,
    /// Outputs and inputs of the weight.
    pub weight: [usize; 2],
    /// The scheme of the weight.
    pub scheme: Scheme,
    /// Blocks of a row of the weight.
    pub blocks: usize,
    /// Where the activations begin, the step from row to row, and from element to element.
    pub x: [usize; 3],
    /// One past the last element of the activations.
    pub x_end: usize,
    /// Whether rows of whole blocks are made of the activations first.
    pub arranged: bool,
    /// The parts that sums are cut into, and the terms of each: blocks, or rows of the weight.
    pub splits: usize,
    /// The terms of a part.
    pub terms: usize,
    /// What else the result is made of.
    pub epilogue: Epilogue,
    /// Whether a second launch makes the results of the sums: of parts of them, or because a kernel would bind more
    /// buffers than the device lets it.
    pub apart: bool,
    /// The cubes along the rows and the columns of the result.
    pub result_cubes: [usize; 2],
    /// The grid.
    pub cubes: [usize; 3],
    /// The grid of one cube a row, for activations that are quantised first.
    pub row_cubes: [usize; 3],
    /// The units of those cubes, a power of two.
    pub row_units: usize,
    /// Storage type.
    pub dtype: Dtype,
    /// Bytes that must move at least: weight once, activations once, result once.
    pub floor_bytes: u64,
}

/// Rows of activations: how many, and where they begin, the step from row to row and from element to element.
fn rows(op: &'static str, argument: &'static str, x: &Layout) -> Result<(usize, [usize; 3])> {
    let (shape, strides) = (x.shape(), x.strides());
    let Some(last) = x.rank().checked_sub(1) else {
        let expected = "at least one axis";
        return Err(Error::Length { op, argument, expected, found: 0 });
    };
    let mut rows = 1usize;
    let mut row_step = 0;
    for axis in (0..last).rev().filter(|&axis| shape[axis] != 1) {
        if rows == 1 {
            row_step = strides[axis];
        } else if row_step.checked_mul(rows) != Some(strides[axis]) && !x.is_empty() {
            let (expected, found) = ("go by one step from row to row", strides.to_vec());
            return Err(Error::Strides { op, argument, expected, found });
        }
        rows = rows.saturating_mul(shape[axis]);
    }
    Ok((if x.is_empty() { 0 } else { rows }, [x.offset(), row_step, strides[last]]))
}

impl QmatmulPlan {
    /// Plans a product.
    ///
    /// # Errors
    /// [`Error::Dtype`] for `f64` or a type that the device lacks; [`Error::Shape`] if rows have not the length
    /// of the weight's; [`Error::Strides`] if they do not lie one step apart; [`Error::Length`] for a weight of
    /// nothing; [`Error::Unsupported`] for a strategy or an epilogue that the task has not; [`Error::Limit`] if the
    /// device has no room.
    pub fn new(problem: &QmatmulProblem, limits: &Limits) -> Result<Self> {
        let QmatmulProblem { op, task, ref x, weight, scheme, dtype, epilogue, .. } = *problem;
        let argument = if task == Task::Gradient { "g" } else { "x" };
        let [n, k] = weight;
        if n == 0 || k == 0 {
            let expected = "at least one output and one input";
            return Err(Error::Length { op, argument: "weight", expected, found: 0 });
        }
        if dtype == Dtype::F64 {
            let expected = "f16, bf16 or f32";
            return Err(Error::Dtype { op, argument, expected, found: dtype });
        }
        limits.check_dtype(op, argument, dtype)?;
        let inputs = if task == Task::Gradient { n } else { k };
        if x.shape().last() != Some(&inputs) {
            let mut expected = x.shape().to_vec();
            expected.pop();
            expected.push(inputs);
            return Err(Error::Shape { op, argument, expected, found: x.shape().to_vec() });
        }
        if task == Task::Gradient && epilogue.count() > 0 {
            let reason = "a gradient is made of its sums alone";
            return Err(Error::Unsupported { op, argument: "epilogue", reason });
        }
        let (m, x_place) = rows(op, argument, x)?;
        let x_end = x.end().unwrap_or(usize::MAX);
        let blocks = k.div_ceil(BLOCK);
        let (mut algorithm, reason) = choose(problem, m, limits)?;

        let [out_rows, out_columns] = algorithm.reach();
        let results = if task == Task::Gradient { k } else { n };
        let result_cubes = [m.div_ceil(out_rows).max(1), results.div_ceil(out_columns)];
        let cubes = result_cubes[0].saturating_mul(result_cubes[1]);
        let all_terms = if task == Task::Gradient { n } else { blocks };
        let (splits, terms) = splits(&algorithm, all_terms, cubes, limits);
        // The activations, as whole numbers with what they are steps of; the weight; and the sums or the result.
        let x_buffers = if task == Task::Forward(Number::Integer) { 2 } else { 1 };
        let buffers = x_buffers + if scheme.symmetric { 2 } else { 3 } + 1;
        let apart =
            splits > 1 || epilogue.count() > 0 && buffers + epilogue.count() > limits.bindings;
        limits.check_bindings(op, buffers + if apart { 0 } else { epilogue.count() })?;
        if apart {
            limits.check_bindings(op, 2 + epilogue.count())?;
        }
        match &mut algorithm {
            Algorithm::Tiled(config) => config.whole = !apart,
            Algorithm::Matrix(config) => config.whole = !apart,
            _ => {}
        }

        // Indices are of 32 bits, and no product of lengths below overflows when these do not.
        let size = |lengths: [usize; 3], bytes: usize| {
            let elements = lengths.into_iter().try_fold(1usize, usize::checked_mul);
            let elements = elements.unwrap_or(usize::MAX);
            if elements > u32::MAX as usize {
                let (available, required) = (u64::from(u32::MAX), elements as u64);
                return Err(Error::Limit {
                    op,
                    resource: "elements of an index",
                    available,
                    required,
                });
            }
            limits.check_buffer(op, elements as u64 * bytes as u64)
        };
        size([x_end, 1, 1], dtype.size())?;
        size([n, blocks, BLOCK], 1)?;
        size([m, blocks, BLOCK], dtype.size())?;
        size([m, results, splits], if apart { 4 } else { dtype.size() })?;

        let in_order = x_place[0] == 0 && x_place[2] == 1 && (x_place[1] == k || m <= 1);
        let (scale_bytes, groups) = (scheme.scale.size(), scheme.group.count(k));
        let a_group = scale_bytes + usize::from(!scheme.symmetric);
        let weight_bytes = n * (k * scheme.bits.count()).div_ceil(8) + n * groups * a_group;
        Ok(Self {
            op,
            task,
            algorithm,
            reason,
            m,
            weight,
            scheme,
            blocks,
            x: x_place,
            x_end,
            arranged: task == Task::Forward(Number::Float)
                && !(in_order && k.is_multiple_of(BLOCK)),
            splits,
            terms,
            epilogue,
            apart,
            result_cubes,
            cubes: grid(op, cubes.saturating_mul(splits), limits)?,
            row_cubes: grid(op, m.max(1), limits)?,
            row_units: if limits.serial {
                1
            } else {
                1 << limits.units_per_cube.min(ROW_UNITS).min(2 * blocks).ilog2()
            },
            dtype,
            floor_bytes: (weight_bytes + m * (n + k) * dtype.size()) as u64,
        })
    }

    /// The length of a row of the result.
    pub fn results(&self) -> usize {
        self.weight[usize::from(self.task == Task::Gradient)]
    }

    /// What the plan does and why, for people.
    ///
    /// ```
    /// use wavecube_core::{Dtype, Layout, Limits, quant::{Bits, Group, ScaleType, Scheme}};
    /// use wavecube_kernels::qmatmul::{Epilogue, Number, QmatmulPlan, QmatmulProblem, Strategy, Task};
    /// let problem = QmatmulProblem {
    ///     op: "qmatmul",
    ///     task: Task::Forward(Number::Float),
    ///     x: Layout::contiguous(&[1, 4096]),
    ///     weight: [4096, 4096],
    ///     scheme: Scheme { bits: Bits::Four, symmetric: true, group: Group::Of128, scale: ScaleType::F16 },
    ///     dtype: Dtype::F16,
    ///     strategy: Strategy::Auto,
    ///     epilogue: Epilogue::default(),
    /// };
    /// let plan = QmatmulPlan::new(&problem, &Limits::HOPPER)?;
    /// assert!(plan.describe().contains("gemv"));
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn describe(&self) -> String {
        let Self { m, weight: [n, k], scheme, splits, reason, .. } = self;
        let kernel = match self.algorithm {
            Algorithm::Naive { units, .. } => format!("naive, {units} units a cube"),
            Algorithm::Gemv(GemvConfig { rows, columns, share, units, number, .. }) => format!(
                "gemv in {number:?} numbers, {rows} × {columns} results for {share} of {units} units"
            ),
            Algorithm::Tiled(config) => format!(
                "tiled, {0} × {0} results a cube of {1} units, {2} bytes shared",
                4 * config.width,
                config.width * config.width,
                config.shared_bytes()
            ),
            Algorithm::Matrix(config) => format!(
                "matrix units{}, {} × {} results a cube of {} planes, {} bytes shared",
                if config.native { "" } else { ", written out" },
                config.rows(),
                config.columns(),
                config.planes,
                config.shared_bytes()
            ),
            Algorithm::Transposed(GradientConfig { rows, units, .. }) => {
                format!("transposed, 16 results of {rows} rows a unit, {units} units a cube")
            }
        };
        let arranged = if self.arranged { ", rows arranged first" } else { "" };
        let apart = if self.apart && *splits == 1 { ", the epilogue apart" } else { "" };
        format!(
            "{m} rows by [{n}, {k}] {scheme}: {kernel}, {splits} parts{arranged}{apart}; {reason}"
        )
    }
}

fn choose(
    problem: &QmatmulProblem,
    m: usize,
    limits: &Limits,
) -> Result<(Algorithm, &'static str)> {
    let QmatmulProblem { op, task, weight: [_, k], scheme, dtype, strategy, .. } = *problem;
    let bits = scheme.bits.count() as u32;
    let most = if limits.serial { 1 } else { limits.units_per_cube };
    let units = most.min(if limits.emulated { EMULATED_UNITS } else { UNITS });
    let number = match task {
        Task::Gradient => {
            let rows = if m > 1 { 4 } else { 1 };
            let reason = "a weight is read along its rows, its sums run across them";
            return Ok((Algorithm::Transposed(GradientConfig { bits, rows, units }), reason));
        }
        Task::Forward(number) => number,
    };
    if number == Number::Integer && !matches!(strategy, Strategy::Auto | Strategy::Gemv) {
        let reason = "whole numbers are multiplied by the strategy Gemv; Auto takes it";
        return Err(Error::Unsupported { op, argument: "strategy", reason });
    }
    if strategy == Strategy::Matrix && dtype == Dtype::F32 {
        let reason = "matrix units multiply f16 and bf16; Auto takes what multiplies f32";
        return Err(Error::Unsupported { op, argument: "strategy", reason });
    }
    let width = if m > 32 { 16 } else { 8 };
    let tiles = [width, 8].map(|width| TileConfig { bits, width, whole: true });
    let fits = |tile: &&TileConfig| {
        tile.width * tile.width <= most && tile.shared_bytes() <= limits.shared_bytes
    };
    let tile = tiles.iter().find(fits).copied();
    let by_fragments = |fragment, native| {
        let (below, planes, split) = (1, 1, dtype == Dtype::Bf16);
        MatrixConfig { bits, fragment, native, split, below, planes, whole: true }
    };
    let native = limits.fragment(dtype).map(|fragment| by_fragments(fragment, true));
    let many = m > ROWS && number == Number::Float && !limits.emulated && !limits.serial;
    match strategy {
        Strategy::Naive => return Ok((Algorithm::Naive { bits, units }, "asked for")),
        Strategy::Tiled => {
            let tile = tile.ok_or_else(|| no_room(op, tiles[1].shared_bytes(), limits))?;
            return Ok((Algorithm::Tiled(tile), "asked for"));
        }
        Strategy::Matrix => {
            let least = native.unwrap_or_else(|| by_fragments(WRITTEN_OUT, false));
            let config = least.largest(m, limits);
            let config = config.ok_or_else(|| no_room(op, least.shared_bytes(), limits))?;
            return Ok((Algorithm::Matrix(config), "asked for"));
        }
        Strategy::Auto if many => {
            if let Some(config) = native.and_then(|config| config.largest(m, limits)) {
                let reason = "many rows: matrix units multiply weights dequantised once for all";
                return Ok((Algorithm::Matrix(config), reason));
            }
            if let Some(tile) = tile {
                let reason = "many rows: weights are dequantised once for all rows of a square";
                return Ok((Algorithm::Tiled(tile), reason));
            }
        }
        Strategy::Auto | Strategy::Gemv => {}
    }
    let rows = m.min(ROWS).next_power_of_two();
    // An emulated unit keeps what a GPU has no registers for in a processor's cache, and pays for loads.
    let columns = if limits.emulated && rows > 2 { 8 } else { 4 };
    // Neighbours on a GPU read neighbouring words; emulated ones read the same activations.
    let blocks = k.div_ceil(BLOCK);
    let wanted = if limits.emulated { 1 } else { SHARE.min(blocks.next_power_of_two()) };
    let wanted = if wanted < SHARE && wanted > 1 { SHARE / 4 } else { wanted };
    // Without the instruction it takes more work, and on a processor more time to compile.
    let bytes = number == Number::Integer && !limits.emulated && !limits.serial;
    let shared = |share: usize| {
        let units = units / share * share;
        GemvConfig { bits, number, bytes, rows, columns, share, units }
    };
    let config = match shared(wanted) {
        config if config.units > 0 && config.cells() * 4 <= limits.shared_bytes => config,
        _ => shared(1),
    };
    let reason = match (strategy, number) {
        (Strategy::Gemv, _) => "asked for",
        (_, Number::Integer) => "whole numbers are multiplied in registers",
        _ if m <= ROWS => "few rows: every weight word is read once",
        _ => "no shared memory worth using: weight words stay in the cache from rows to rows",
    };
    Ok((Algorithm::Gemv(config), reason))
}

fn no_room(op: &'static str, required: usize, limits: &Limits) -> Error {
    let required = required as u64;
    let available = (limits.shared_bytes as u64).min(required - 1);
    Error::Limit { op, resource: "shared memory and units of a cube", available, required }
}

/// Into how many parts the sums are cut, and the terms of each.
fn splits(
    algorithm: &Algorithm,
    all_terms: usize,
    cubes: usize,
    limits: &Limits,
) -> (usize, usize) {
    let fill = if limits.serial {
        4 * limits.units_per_cube
    } else if limits.emulated {
        EMULATED_FILL
    } else {
        FILL
    };
    let wanted = fill / cubes.saturating_mul(algorithm.units()).max(1);
    let worth = all_terms / (TERMS * algorithm.share());
    let needed = all_terms.div_ceil(TURNS * algorithm.share());
    let splits = wanted.min(worth).max(needed).max(1);
    let terms = all_terms.div_ceil(splits).next_multiple_of(algorithm.stage());
    (all_terms.div_ceil(terms), terms)
}
