//! Every decision and every validation of the family. Pure host code: a plan is made from a problem
//! and a device's limits, and can be inspected without a device.

use core::fmt::Write as _;

use wavecube_core::{
    Dtype, Error, Layout, Limits, Result,
    fft::{Direction, Normalization},
};

use super::{
    chain::{BatchAxis, Chain, End, Load, Store},
    pass::{Algorithm, Operand, Pass},
    table::Table,
};

/// Which of the three transforms a problem asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Complex to complex, both of the transform's length.
    C2C,
    /// Real to the `n/2 + 1` non-negative frequencies, always forward.
    R2C {
        /// Doubles every bin that stands for two: the adjoint of [`Kind::C2R`].
        doubled: bool,
    },
    /// `n/2 + 1` non-negative frequencies to real, always inverse. The imaginary part of bin 0 and,
    /// for even `n`, of bin `n/2` does not enter the result.
    C2R {
        /// Halves every bin that stands for two: the adjoint of [`Kind::R2C`].
        halved: bool,
    },
}

/// Which algorithm to use; [`Strategy::Auto`] is right unless they are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// One pass while it fits, four steps beyond, Bluestein for large prime factors.
    #[default]
    Auto,
    /// The definition, `n` multiplications an output: baseline and cross-check.
    Naive,
}

/// A transform along one axis of a strided tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FftProblem {
    /// Complex or real ends.
    pub kind: Kind,
    /// The transform's length `n`. For real transforms, of the real side.
    pub n_fft: usize,
    /// The sign of the exponent.
    pub direction: Direction,
    /// Where `1/n` goes.
    pub norm: Normalization,
    /// The axis, counting from the end if negative.
    pub axis: isize,
    /// Storage type of both operands.
    pub dtype: Dtype,
    /// Input, in complex elements for a complex input and in reals for a real one.
    pub input: Layout,
    /// Output, likewise.
    pub output: Layout,
    /// The algorithm.
    pub strategy: Strategy,
}

/// The passes of a transform. Immutable host data; make it once, launch it often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FftPlan {
    /// The trips through memory, in order.
    pub passes: Vec<Pass>,
    /// The buffers of tables that they need, those of the caller left out: of every buffer the tables in it, one after
    /// the other.
    pub tables: Vec<Vec<Table>>,
    /// Complex elements of work space, in the compute type.
    pub workspace: usize,
    /// One past the last element that is read of the input, in its elements.
    pub input_end: usize,
    /// One past the last element that is written of the output, in its elements.
    pub output_end: usize,
    /// Storage type of input and output.
    pub dtype: Dtype,
    /// The real numbers in an element of the input and of the output.
    pub parts: [usize; 2],
    /// Bytes that the transform must move at least: input once, output once.
    pub floor_bytes: u64,
}

const OP: &str = "fft";

impl FftProblem {
    /// A complex transform of a contiguous tensor along `axis`, into one of the same shape.
    pub fn c2c(shape: &[usize], axis: isize, direction: Direction, norm: Normalization) -> Self {
        let layout = Layout::contiguous(shape);
        let n_fft = layout.axis(OP, axis).map_or(0, |a| shape[a]);
        Self {
            kind: Kind::C2C,
            n_fft,
            direction,
            norm,
            axis,
            dtype: Dtype::F32,
            input: layout.clone(),
            output: layout,
            strategy: Strategy::Auto,
        }
    }

    /// The lengths along the axis that input and output must have.
    fn lengths(&self) -> (usize, usize) {
        let bins = self.n_fft / 2 + 1;
        match self.kind {
            Kind::C2C => (self.n_fft, self.n_fft),
            Kind::R2C { .. } => (self.n_fft, bins),
            Kind::C2R { .. } => (bins, self.n_fft),
        }
    }

    /// The real numbers in an element of the input and of the output.
    fn parts(&self) -> [usize; 2] {
        match self.kind {
            Kind::C2C => [2, 2],
            Kind::R2C { .. } => [1, 2],
            Kind::C2R { .. } => [2, 1],
        }
    }

    /// Checks everything that can be checked without buffers, and states the problem as a chain.
    fn chain(&self, limits: &Limits) -> Result<Chain> {
        limits.check_dtype(OP, "input", self.dtype)?;
        let axis = self.input.axis(OP, self.axis)?;
        if self.n_fft == 0 {
            return Err(Error::Length {
                op: OP,
                argument: "n_fft",
                expected: "at least 1",
                found: 0,
            });
        }
        let (input_len, output_len) = self.lengths();
        let with = |len| {
            let mut shape = self.input.shape().to_vec();
            shape[axis] = len;
            shape
        };
        for (argument, layout, len) in
            [("input", &self.input, input_len), ("output", &self.output, output_len)]
        {
            if layout.shape() != with(len) {
                return Err(Error::Shape {
                    op: OP,
                    argument,
                    expected: with(len),
                    found: layout.shape().to_vec(),
                });
            }
        }
        if !self.output.is_injective() {
            return Err(Error::Strides {
                op: OP,
                argument: "output",
                expected: "give every element a place of its own",
                found: self.output.strides().to_vec(),
            });
        }
        for (layout, parts) in [(&self.input, self.parts()[0]), (&self.output, self.parts()[1])] {
            let bytes = layout
                .end()
                .and_then(|end| end.checked_mul(parts * self.dtype.size()))
                .and_then(|bytes| u64::try_from(bytes).ok())
                .unwrap_or(u64::MAX);
            limits.check_buffer(OP, bytes)?;
        }
        let batch = (0..self.input.rank())
            .filter(|&i| i != axis)
            .map(|i| BatchAxis {
                len: self.input.shape()[i],
                source: self.input.strides()[i],
                target: self.output.strides()[i],
            })
            .collect();
        let end = |layout: &Layout, len| End {
            offset: layout.offset(),
            stride: layout.strides()[axis],
            len,
        };
        let (load, store, source_len) = match self.kind {
            Kind::C2C => (Load::Complex, Store::Complex, self.n_fft),
            Kind::R2C { doubled } => (Load::Real, Store::Half { doubled }, self.n_fft),
            Kind::C2R { halved } => (Load::Hermitian { halved }, Store::Real, self.n_fft),
        };
        let direction = match self.kind {
            Kind::C2C => self.direction,
            Kind::R2C { .. } => Direction::Forward,
            Kind::C2R { .. } => Direction::Inverse,
        };
        Ok(Chain {
            op: OP,
            n: self.n_fft,
            period: self.n_fft,
            direction,
            round_trip: false,
            batch,
            source: end(&self.input, source_len),
            target: end(&self.output, output_len),
            load,
            store,
            load_hooks: Vec::new(),
            filter_hooks: Vec::new(),
            store_hooks: Vec::new(),
            scale: self.norm.scale(direction, self.n_fft).into(),
            dtype: self.dtype,
            strategy: self.strategy,
        })
    }
}

impl FftPlan {
    /// Validates `problem` and decides how a device with `limits` carries it out.
    ///
    /// # Errors
    /// [`Error::Axis`], [`Error::Shape`], [`Error::Length`] or [`Error::Strides`] for a malformed
    /// problem, [`Error::Dtype`] if the device lacks the element type, [`Error::Limit`] if a buffer
    /// or the transform is too long for it.
    ///
    /// ```
    /// use wavecube_core::{Limits, fft::{Direction, Normalization}};
    /// use wavecube_kernels::fft::{FftPlan, FftProblem};
    ///
    /// let problem = FftProblem::c2c(&[16, 4096], -1, Direction::Forward, Normalization::Ortho);
    /// let plan = FftPlan::new(&problem, &Limits::HOPPER)?;
    /// assert_eq!(plan.passes.len(), 1);
    /// println!("{}", plan.describe());
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(problem: &FftProblem, limits: &Limits) -> Result<Self> {
        let chain = problem.chain(limits)?;
        let end = |layout: &Layout| layout.end().unwrap_or(usize::MAX);
        Self::of_chain(&chain, [end(&problem.input), end(&problem.output)], limits)
    }

    /// Lays a chain over passes. `ends` are one past the last elements it reads and writes.
    ///
    /// # Errors
    /// As [`Chain::passes`]; [`Error::Limit`] if the work space exceeds a buffer.
    pub fn of_chain(chain: &Chain, ends: [usize; 2], limits: &Limits) -> Result<Self> {
        if chain.batch.iter().any(|axis| axis.len == 0) {
            return Ok(Self::nothing(chain.dtype));
        }
        let passes = chain.passes(limits)?;
        let workspace = passes
            .iter()
            .filter(|pass| pass.target == Operand::Workspace)
            .map(Pass::target_extent)
            .max()
            .unwrap_or(0);
        limits.check_buffer(chain.op, (workspace * 2 * chain.dtype.compute().size()) as u64)?;
        let parts = [
            if chain.load == Load::Real { 1 } else { 2 },
            if chain.store == Store::Real { 1 } else { 2 },
        ];
        let rows: usize = chain.batch.iter().map(|axis| axis.len).product();
        let read = match chain.load {
            Load::Hermitian { .. } => chain.n / 2 + 1,
            _ => chain.source.len.min(chain.n),
        };
        let points = read * parts[0] + chain.target.len.min(chain.n) * parts[1];
        let mut tables: Vec<Vec<Table>> = Vec::new();
        for pass in &passes {
            limits.check_bindings(chain.op, pass.bindings())?;
            let packed = pass.packed();
            let entries: usize = packed.iter().map(Table::entries).sum();
            limits.check_buffer(chain.op, (entries * 2 * chain.dtype.compute().size()) as u64)?;
            if !tables.contains(&packed) {
                tables.push(packed);
            }
        }
        Ok(Self {
            passes,
            tables,
            workspace,
            input_end: ends[0],
            output_end: ends[1],
            dtype: chain.dtype,
            parts,
            floor_bytes: (rows * points * chain.dtype.size()) as u64,
        })
    }

    /// The plan of an empty batch, whose other lengths may be of any size.
    fn nothing(dtype: Dtype) -> Self {
        Self {
            passes: Vec::new(),
            tables: Vec::new(),
            workspace: 0,
            input_end: 0,
            output_end: 0,
            dtype,
            parts: [2, 2],
            floor_bytes: 0,
        }
    }

    /// Whether input and output may be the same elements of the same buffer: every element is then
    /// read before any is written in its place.
    pub fn in_place(&self) -> bool {
        let naive = self.passes.iter().any(|pass| pass.config.algorithm == Algorithm::Naive);
        self.parts[0] == self.parts[1] && !naive
    }

    /// The plan in words, a line a pass.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        if self.passes.is_empty() {
            text.push_str("nothing to do: the batch is empty\n");
        }
        for (i, pass) in self.passes.iter().enumerate() {
            let config = &pass.config;
            let radices: Vec<String> =
                config.stages.iter().map(|stage| stage.radix.to_string()).collect();
            let form = match (config.root, config.turns, config.wrapped) {
                (0, 1, _) => "",
                (0, _, false) => " in two turns",
                (0, _, true) => " in two turns that wrap around",
                _ => " in Rader's order",
            };
            let _ = writeln!(
                text,
                "pass {}: {} transforms of {} points{form}, {:?} {}, {} units x {} rows a cube, {} cubes, \
                 {} bytes shared, {:?} to {:?}",
                i + 1,
                pass.rows(),
                config.n,
                config.algorithm,
                radices.join("x"),
                config.units,
                config.rows,
                pass.cubes.iter().product::<usize>(),
                config.shared_bytes(self.dtype.compute()),
                pass.source,
                pass.target,
            );
        }
        let _ = write!(
            text,
            "moves {} bytes at least, {} complex elements of work space",
            self.floor_bytes, self.workspace
        );
        text
    }
}
