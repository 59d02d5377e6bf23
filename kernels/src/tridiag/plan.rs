//! Every decision and every validation of the family. Pure host code: a plan is made from a problem
//! and a device's limits, and can be inspected without a device.

use core::fmt::Write as _;

use wavecube_core::{Dtype, Error, Layout, Limits, Result};

use crate::{
    grid::grid,
    lines::{LinesOf, merged},
};

/// The elements of a sequence that a unit holds in registers, in single precision; in double half as many.
const ELEMENTS: usize = 8;
/// The most units that share a sequence, so that 4096 elements are one tile.
const UNITS: usize = 512;
/// The same for solutions and gradients, with more registers each: `ptxas` spills 16 to 68 bytes for 512.
const AFFINE_UNITS: usize = 256;
/// The elements of a chunk of a longer sequence, which stays in memory.
const LONG: usize = 64;
/// The same of a determinant where units are emulated, or processor cores, and there are chunks enough.
const LONGER: usize = 256;
/// The most units that share the scan over such chunks.
const CARRY_UNITS: usize = 256;
/// Units that a cube has at least, where there are sequences for them.
pub(super) const FILL: usize = 64;
/// Units of a cube where one unit carries a sequence.
pub(super) const SERIAL_UNITS: usize = 32;
/// The sequences from which one unit each is quicker where units are emulated: a level of a tree costs such
/// a device all units, whether they have work or not (lavapipe: 16 sequences of 4096, 4.5 against 16.5 ms).
const EMULATED_ROWS: usize = 16;
/// The sequences or chunks from which every core has some. A determinant of so many sequences there has most of them in
/// one chunk each.
const CHUNK_EACH: usize = 2 * SERIAL_UNITS;
/// The elements that one launch of a serial recursion takes: lavapipe (Mesa 22.3) ends a unit's loops after
/// 65535 turns in all, without a word, and other drivers end launches that take seconds.
pub(super) const SEGMENT: usize = 1 << 14;
/// Numbers at whose multiples a part of a buffer may be bound as a buffer of its own: 256 bytes is the most that devices
/// ask for.
const ALIGNED: usize = 64;
/// The most buffers that a kernel of the family binds: those of the operators, and three more.
const BINDINGS: usize = 7;
/// The real numbers of what a tile does, and of what enters it.
pub(super) const SCAN_PARTS: usize = 8;

/// Which algorithm to use; [`Strategy::Auto`] is right unless they are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// The chunked scan; the serial recursion where units are processor cores, or are emulated and there
    /// are sequences for them.
    #[default]
    Auto,
    /// The ratio recursion, one unit a sequence: baseline and cross-check.
    Serial,
}

/// The elements beside the diagonal. They enter the results only as the products `p_k = b_k c_k`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OffDiagonals {
    /// `b`, above the diagonal, and `c`, below it.
    Separate {
        /// `b_k = T[k, k + 1]`.
        upper: Layout,
        /// `c_k = T[k + 1, k]`.
        lower: Layout,
    },
    /// The products themselves.
    Product(Layout),
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// The diagonal of the inverse.
    Diagonal,
    /// The gradient of every operand from that of the diagonal.
    Vjp,
    /// The logarithm of the absolute value of the determinant.
    Determinant,
    /// The gradient of every operand from that of the logarithm.
    DeterminantVjp,
    /// The solution for one right side a sequence.
    Solve {
        /// Whether the right side and the solution are conjugated.
        conjugate: bool,
    },
    /// The gradient of every operand from the solution and the gradient of the right side.
    SolveVjp,
    /// Factors by elimination with row interchanges.
    Factor,
}

impl Task {
    fn is_gradient(self) -> bool {
        matches!(self, Self::Vjp | Self::DeterminantVjp | Self::SolveVjp)
    }
}

/// Tridiagonal operators along the last axis of strided tensors. All layouts but that of `z` have one
/// rank, `z` has one axis less; batch axes of operands are those of the diagonal, or 1 where sequences
/// share an operand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TridiagProblem {
    /// The operation, for errors.
    pub op: &'static str,
    /// What is computed.
    pub task: Task,
    /// The diagonal of `H`, `n` elements.
    pub a: Layout,
    /// The elements beside it, `n − 1`.
    pub off_diagonals: OffDiagonals,
    /// The shift, one complex number a sequence.
    pub z: Layout,
    /// What belongs to the elements of the diagonal: the diagonal of the inverse, its gradient, the right
    /// side, or the solution, complex; for the determinant its gradient, real, and nothing forward. Its
    /// shape is that of the problem.
    pub diagonal: Layout,
    /// Storage type of every operand.
    pub dtype: Dtype,
    /// Whether `a`, and the elements beside it, are complex.
    pub complex: [bool; 2],
    /// The algorithm.
    pub strategy: Strategy,
    /// Whether the scan of the diagonal runs in `f16`.
    pub mixed: bool,
}

/// The algorithm of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A chunk of a sequence a unit, in registers, and a scan across the units of a cube.
    Chunked,
    /// A chunk of a sequence a unit, in memory, and a scan over chunks in a launch of its own.
    Streamed,
    /// A sequence a unit.
    Serial,
}

/// What is compiled into the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileConfig {
    /// The elements of a chunk.
    pub elements: usize,
    /// The units that share a tile, a power of two.
    pub units: usize,
    /// The sequences that share a cube.
    pub rows: usize,
    /// Whether `a`, and the elements beside it, are complex.
    pub complex: [bool; 2],
    /// Whether products are bound in place of `b` and `c`.
    pub product: bool,
    /// Whether numbers are `f64`.
    pub double: bool,
    /// Whether what enters a chunk is read: the scan over chunks has its own launch.
    pub carried: bool,
    /// Whether the determinant is what is wanted, or its gradient.
    pub determinant: bool,
    /// Whether a determinant's sequences are one chunk each: half of what a chunk does is of no use then.
    pub alone: bool,
    /// Whether the scan over chunks runs in `f16`.
    pub mixed: bool,
}

impl TileConfig {
    /// By how many elements a walk begins before its chunk, so that it forgets the rounding of a coarser
    /// scan: half a chunk, by which the scan's chunks lie beside those of the walks.
    pub fn overlap(&self) -> usize {
        if self.mixed { self.elements / 2 } else { 0 }
    }

    /// The places of a tree's nodes in shared memory, of all the cube's sequences.
    pub fn nodes(&self) -> usize {
        2 * self.units * self.rows
    }

    /// The real numbers in shared memory.
    pub fn cells(&self) -> usize {
        SCAN_PARTS * self.nodes()
    }

    /// The steps from the leaves to the root.
    pub fn levels(&self) -> usize {
        self.units.ilog2() as usize
    }

    /// The bytes of shared memory that a cube needs.
    pub fn shared_bytes(&self) -> usize {
        self.cells() * if self.double { 8 } else { 4 }
    }
}

/// The launches of a problem. Immutable host data; make it once, launch it often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TridiagPlan {
    /// The operation, for errors.
    pub op: &'static str,
    /// What is computed.
    pub task: Task,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// What is compiled into the kernels that walk over elements.
    pub tile: TileConfig,
    /// What is compiled into the scan over tiles.
    pub carry: TileConfig,
    /// The sequences, none if there is nothing to do: of `a`, `b`, `c`, `z` and the diagonal.
    pub lines: LinesOf,
    /// One past the last element of each operand.
    pub ends: [usize; 5],
    /// The chunks of a long sequence, and 1 for a short one.
    pub tiles: usize,
    /// Units of a cube.
    pub units: usize,
    /// The grid of the kernels that walk over elements.
    pub cubes: [usize; 3],
    /// The grid of the scan over tiles.
    pub carry_cubes: [usize; 3],
    /// Storage type.
    pub dtype: Dtype,
    /// Bytes that must move at least: operands once, results once.
    pub floor_bytes: u64,
}

/// The product of some lengths, or more than any buffer holds.
fn product(lengths: &[usize]) -> usize {
    lengths.iter().try_fold(1usize, |total, &len| total.checked_mul(len)).unwrap_or(usize::MAX)
}

/// The segments of a sequence of `n` elements that one unit carries, first to last.
pub(super) fn segments(n: usize) -> impl DoubleEndedIterator<Item = (usize, usize)> {
    (0..n.div_ceil(SEGMENT)).map(move |i| (i * SEGMENT, n.min((i + 1) * SEGMENT)))
}

impl TridiagProblem {
    fn shape_error(&self, argument: &'static str, expected: Vec<usize>, found: &Layout) -> Error {
        Error::Shape { op: self.op, argument, expected, found: found.shape().to_vec() }
    }

    /// Accepts an operand of `len` elements a sequence, or one a sequence, whose batch axes are those
    /// of the diagonal or 1; returns its steps along them.
    fn steps(
        &self,
        argument: &'static str,
        layout: &Layout,
        len: Option<usize>,
        limits: &Limits,
    ) -> Result<Vec<usize>> {
        let rank = self.diagonal.rank() - 1;
        let batch = &self.diagonal.shape()[..rank];
        let mut expected = batch.to_vec();
        expected.extend(len);
        let fits = layout.rank() == expected.len()
            && layout.shape()[..rank]
                .iter()
                .zip(batch)
                .all(|(&len, &whole)| len == 1 || len == whole)
            && layout.shape().get(rank).copied() == len;
        if !fits {
            return Err(self.shape_error(argument, expected, layout));
        }
        let parts = match argument {
            "a" if !self.complex[0] => 1,
            "b" | "c" | "p" if !self.complex[1] => 1,
            _ if self.task == Task::DeterminantVjp && argument == "g" => 1,
            _ => 2,
        };
        let bytes = layout.end().and_then(|end| end.checked_mul(parts * self.dtype.size()));
        limits.check_buffer(self.op, bytes.map_or(u64::MAX, |bytes| bytes as u64))?;
        let steps = layout.strides()[..rank].iter().zip(layout.shape());
        Ok(steps.map(|(&step, &len)| if len == 1 { 0 } else { step }).collect())
    }
}

impl TridiagPlan {
    /// Validates `problem` and decides how a device with `limits` carries it out.
    ///
    /// # Errors
    /// [`Error::Axis`] for operands without an axis, [`Error::Length`] for sequences of no elements or
    /// of 2³² − 1 and more, [`Error::Shape`] or [`Error::Strides`] for a malformed problem,
    /// [`Error::Dtype`] for 16 bits and for a type that the device lacks, [`Error::Limit`] if a buffer or
    /// the grid exceeds it.
    ///
    /// ```
    /// use wavecube_core::{Dtype, Layout, Limits};
    /// use wavecube_kernels::tridiag::{OffDiagonals, Strategy, Task, TridiagPlan, TridiagProblem};
    ///
    /// let full = Layout::contiguous(&[16, 4096]);
    /// let plan = TridiagPlan::new(
    ///     &TridiagProblem {
    ///         op: "resolvent_diagonal",
    ///         task: Task::Diagonal,
    ///         a: full.clone(),
    ///         off_diagonals: OffDiagonals::Product(Layout::contiguous(&[1, 4095])),
    ///         z: Layout::contiguous(&[16]),
    ///         diagonal: full,
    ///         dtype: Dtype::F32,
    ///         complex: [false, false],
    ///         strategy: Strategy::Auto,
    ///         mixed: false,
    ///     },
    ///     &Limits::HOPPER,
    /// )?;
    /// assert_eq!(plan.tiles, 1);
    /// println!("{}", plan.describe());
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(problem: &TridiagProblem, limits: &Limits) -> Result<Self> {
        let op = problem.op;
        limits.check_bindings(op, BINDINGS)?;
        limits.check_dtype(op, "a", problem.dtype)?;
        if problem.dtype != problem.dtype.compute() {
            let expected = "f32 or f64: in 16 bits the diagonal alone would cost 2.7e-4 or more";
            return Err(Error::Dtype { op, argument: "a", expected, found: problem.dtype });
        }
        if problem.mixed {
            if problem.dtype != Dtype::F32 {
                let expected = "f32, where the scan is to run in f16";
                return Err(Error::Dtype { op, argument: "a", expected, found: problem.dtype });
            }
            limits.check_dtype(op, "the scan", Dtype::F16)?;
        }
        let rank = problem.diagonal.axis(op, -1)?;
        let n = problem.diagonal.shape()[rank];
        if n == 0 || n >= u32::MAX as usize {
            let expected = "at least 1 and below 2^32 - 1";
            return Err(Error::Length { op, argument: "a", expected, found: n });
        }
        let placeholder = Layout::contiguous(&[]);
        let (b, c, is_product) = match &problem.off_diagonals {
            OffDiagonals::Separate { upper, lower } => (upper, lower, false),
            OffDiagonals::Product(product) => (product, &placeholder, true),
        };
        let a_steps = problem.steps("a", &problem.a, Some(n), limits)?;
        let b_name = if is_product { "p" } else { "b" };
        let b_steps = problem.steps(b_name, b, Some(n - 1), limits)?;
        let c_steps =
            if is_product { vec![0; rank] } else { problem.steps("c", c, Some(n - 1), limits)? };
        let z_steps = problem.steps("z", &problem.z, None, limits)?;
        if is_product && matches!(problem.task, Task::Solve { .. } | Task::SolveVjp | Task::Factor)
        {
            let reason = "a solution depends on the elements above and below the diagonal apart";
            return Err(Error::Unsupported { op, argument: "p", reason });
        }
        let name = match problem.task {
            Task::Diagonal | Task::Determinant | Task::Factor => "diagonal",
            Task::Vjp | Task::DeterminantVjp => "g",
            Task::Solve { .. } => "r",
            Task::SolveVjp => "x",
        };
        let g_steps = problem.steps(name, &problem.diagonal, Some(n), limits)?;
        if problem.task == Task::Diagonal && !problem.diagonal.is_injective() {
            return Err(Error::Strides {
                op,
                argument: "diagonal",
                expected: "give every element a place of its own",
                found: problem.diagonal.strides().to_vec(),
            });
        }

        let shape = &problem.diagonal.shape()[..rank];
        let rows = product(shape);
        let size = problem.dtype.size();
        // A sequence of one element has nothing beside it: the kernels read a place of a spare buffer.
        let alone = n == 1;
        let layouts = [&problem.a, b, c, &problem.z, &problem.diagonal];
        let forward = matches!(problem.task, Task::Determinant | Task::Factor);
        let spare = [false, alone, alone || is_product, false, forward];
        let steps = [a_steps, b_steps, c_steps, z_steps, g_steps];
        let read = |operand: usize, value: usize| if spare[operand] { 0 } else { value };
        let batch = merged(
            5,
            (0..rank).map(|axis| {
                let at = (0..5).map(|operand| read(operand, steps[operand][axis]));
                (shape[axis], at.collect())
            }),
        );
        let along = |layout: &Layout| layout.strides().get(rank).copied().unwrap_or(0);
        let lines = LinesOf {
            batch,
            offsets: (0..5).map(|operand| read(operand, layouts[operand].offset())).collect(),
            strides: (0..5).map(|operand| read(operand, along(layouts[operand]))).collect(),
            rows,
            n,
        };
        let end = |operand: usize| layouts[operand].end().unwrap_or(usize::MAX);
        let ends = if rows == 0 { [0; 5] } else { [0, 1, 2, 3, 4].map(|i| read(i, end(i))) };

        // A tree has a root and a leaf at least.
        let tree = 2 * SCAN_PARTS * size;
        let serial = limits.serial
            || problem.strategy == Strategy::Serial
            || problem.task == Task::Factor
            || (limits.emulated && rows >= EMULATED_ROWS)
            || limits.shared_bytes < tree;
        let config = TileConfig {
            elements: if problem.dtype == Dtype::F64 { ELEMENTS / 2 } else { ELEMENTS },
            units: 1,
            rows: 1,
            complex: problem.complex,
            product: is_product,
            double: problem.dtype == Dtype::F64,
            carried: false,
            determinant: matches!(problem.task, Task::Determinant | Task::DeterminantVjp),
            alone: false,
            mixed: problem.mixed && problem.task == Task::Diagonal,
        };
        // What needs no ratio within a chunk, or a coarser one, has no use for registers.
        let tiled = config.mixed || matches!(problem.task, Task::Determinant | Task::SolveVjp);
        if tiled && problem.task != Task::SolveVjp && limits.shared_bytes < tree {
            return Err(Error::Limit {
                op,
                resource: "bytes of shared memory in a cube",
                available: limits.shared_bytes as u64,
                required: tree as u64,
            });
        }
        let fit = |most: usize| {
            let nodes = limits.shared_bytes / (SCAN_PARTS * size);
            let most = most.min(limits.units_per_cube).min(nodes / 2).max(1);
            1usize << most.ilog2()
        };
        let chunks = n.div_ceil(config.elements);
        let most = if problem.task == Task::Diagonal { UNITS } else { AFFINE_UNITS };
        let algorithm = match () {
            () if tiled => Algorithm::Streamed,
            () if serial => Algorithm::Serial,
            () if chunks <= fit(most) => Algorithm::Chunked,
            () => Algorithm::Streamed,
        };
        let (tile, tiles, units, cubes) = match algorithm {
            Algorithm::Serial => {
                let most = if limits.serial { 1 } else { SERIAL_UNITS };
                let units = most.min(limits.units_per_cube);
                (config, 1, units, rows.div_ceil(units))
            }
            Algorithm::Chunked => {
                let units = chunks.next_power_of_two();
                let together = (FILL / units).clamp(1, fit(most) / units);
                let tile = TileConfig { units, rows: together, ..config };
                (tile, 1, units * together, rows.div_ceil(together))
            }
            Algorithm::Streamed => {
                let determinant = problem.task == Task::Determinant;
                let longer = determinant && (limits.emulated || limits.serial);
                let elements = match () {
                    () if longer && rows >= CHUNK_EACH => SEGMENT,
                    () if longer && rows.saturating_mul(n) >= CHUNK_EACH * LONGER => LONGER,
                    () => LONG,
                };
                let tile = TileConfig { elements, carried: true, ..config };
                let tiles = (n + tile.overlap()).div_ceil(elements);
                let tile = TileConfig { alone: determinant && tiles == 1, ..tile };
                // In double precision half as many, with more registers each: `ptxas` spills 8 bytes for 64.
                let fill = if config.double { FILL / 2 } else { FILL };
                let fill = if elements > LONG { SERIAL_UNITS } else { fill };
                let units = if limits.serial { 1 } else { fill.min(limits.units_per_cube) };
                (tile, tiles, units, rows.saturating_mul(tiles).div_ceil(units))
            }
        };
        let sharing = if limits.serial { 1 } else { CARRY_UNITS };
        let carry = TileConfig { units: fit(tiles.next_power_of_two().min(sharing)), ..config };

        // What is allocated on the way has its limits too.
        let all = |elements: usize, numbers: usize| {
            let bytes = product(&[rows, elements, numbers, size]);
            limits.check_buffer(op, bytes as u64)
        };
        let in_memory = algorithm != Algorithm::Chunked;
        if in_memory {
            all(tiles, SCAN_PARTS)?;
        }
        if problem.task != Task::Diagonal && in_memory {
            all(n, SCAN_PARTS)?;
        }
        let parts = |complex: bool| if complex { 2 } else { 1 };
        if problem.task.is_gradient() {
            // Two gradients share a buffer.
            all(n, parts(problem.complex[0]) + 2)?;
            all(n, 2 * parts(problem.complex[1]))?;
        }
        let a_len = problem.a.len().saturating_mul(parts(problem.complex[0]));
        let c_len = if is_product { 0 } else { c.len() };
        let b_len = b.len().saturating_add(c_len).saturating_mul(parts(problem.complex[1]));
        let operands = a_len.saturating_add(b_len).saturating_add(2 * problem.z.len().min(1 << 40));
        let trips = if problem.task.is_gradient() { 2 } else { 1 };
        let along = match problem.task {
            Task::Diagonal | Task::Vjp => 2,
            Task::Solve { .. } | Task::SolveVjp => 4,
            Task::Determinant | Task::DeterminantVjp => 0,
            Task::Factor => SCAN_PARTS,
        };
        let numbers = operands
            .saturating_mul(trips)
            .saturating_add(problem.diagonal.len().saturating_mul(along));
        Ok(Self {
            op,
            task: problem.task,
            algorithm,
            tile,
            carry,
            lines,
            ends,
            tiles,
            units,
            cubes: grid(op, cubes, limits)?,
            carry_cubes: grid(op, rows, limits)?,
            dtype: problem.dtype,
            floor_bytes: (numbers as u64).saturating_mul(size as u64),
        })
    }

    /// The segments of a sequence that one unit carries, first to last.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = (usize, usize)> + use<> {
        segments(self.lines.n)
    }

    /// How many places the first vanishing pivots and the first lost results take: two a chunk of long sequences, and
    /// two of each short one.
    pub fn pivots(&self) -> usize {
        2 * self.lines.rows * self.tiles
    }

    /// Where in the buffers of gradients of sequences of `len` elements the second gradient begins: of the shifts, in
    /// complex numbers, and of the elements below the diagonal, in elements.
    pub fn gradient_places(&self, len: usize) -> [usize; 2] {
        let [a, b] = self.gradient_firsts(len);
        [a / 2, if self.tile.complex[1] { b / 2 } else { b }]
    }

    /// The numbers of the first gradients, with what lies behind them.
    fn gradient_firsts(&self, len: usize) -> [usize; 2] {
        let [a, b] = self.tile.complex.map(|complex| if complex { 2 } else { 1 });
        let rows = self.lines.rows;
        [rows * len * a, rows * (len - 1) * b].map(|numbers| numbers.next_multiple_of(ALIGNED))
    }

    /// How many numbers the two buffers of gradients hold, of sequences of `len` elements and of shifts in `tiles` parts.
    pub fn gradient_numbers(&self, len: usize, tiles: usize) -> [usize; 2] {
        let [a, b] = self.gradient_firsts(len);
        let [complex_a, complex_b] = self.tile.complex.map(|complex| if complex { 2 } else { 1 });
        let rows = self.lines.rows;
        let beside = rows * (len - 1) * complex_b;
        [
            if tiles == 0 { rows * len * complex_a } else { a + 2 * rows * tiles },
            if self.tile.product { beside } else { b + beside },
        ]
    }

    /// The plan in words.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        if self.lines.rows == 0 {
            text.push_str("nothing to do: the batch is empty\n");
            return text;
        }
        let cubes: usize = self.cubes.iter().product();
        match self.algorithm {
            Algorithm::Serial => {
                let _ = writeln!(
                    text,
                    "{} sequences of {} elements, one unit each, {} units a cube, {cubes} cubes",
                    self.lines.rows, self.lines.n, self.units
                );
            }
            Algorithm::Chunked => {
                let _ = writeln!(
                    text,
                    "{} sequences of {} elements, {} units of {} elements each, {} sequences a cube, \
                     {cubes} cubes, {} bytes shared, 1 launch",
                    self.lines.rows,
                    self.lines.n,
                    self.tile.units,
                    self.tile.elements,
                    self.tile.rows,
                    self.tile.shared_bytes(),
                );
            }
            Algorithm::Streamed => {
                let _ = writeln!(
                    text,
                    "{} sequences of {} elements, {} chunks of {} elements each, {} units a cube, \
                     {cubes} cubes, {} units scan the chunks, {}",
                    self.lines.rows,
                    self.lines.n,
                    self.tiles,
                    self.tile.elements,
                    self.units,
                    self.carry.units,
                    match self.task {
                        Task::SolveVjp | Task::Factor => "1 launch",
                        Task::Determinant => "2 launches",
                        Task::Diagonal | Task::DeterminantVjp => "4 launches",
                        Task::Vjp | Task::Solve { .. } => "7 launches",
                    },
                );
            }
        }
        let _ = write!(text, "moves {} bytes at least", self.floor_bytes);
        text
    }
}
