//! What is compiled into the kernels: a configuration an algorithm. Equal ones share a kernel.

use wavecube_core::{Fragment, Limits, quant::BLOCK};

use super::plan::Number;

/// What is compiled into the product for few rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GemvConfig {
    /// The bits of a code.
    pub bits: u32,
    /// In which numbers products are made.
    pub number: Number,
    /// Whether whole numbers are multiplied four bytes at a time.
    pub bytes: bool,
    /// The rows of activations that a unit carries.
    pub rows: usize,
    /// The rows of the weight.
    pub columns: usize,
    /// The units that share a sum.
    pub share: usize,
    /// The units of a cube.
    pub units: usize,
}

impl GemvConfig {
    /// The numbers in shared memory.
    pub fn cells(&self) -> usize {
        self.units * self.rows * self.columns
    }
}

/// What is compiled into the product by tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileConfig {
    /// The bits of a code.
    pub bits: u32,
    /// The units along each side of a square of four times as many results.
    pub width: usize,
    /// Whether sums become results, with bias, gate and residual, and not sums for another launch.
    pub whole: bool,
}

impl TileConfig {
    /// The vectors from row to row in shared memory: one more than a block has, so that rows begin in
    /// different banks.
    pub const PITCH: usize = 9;

    /// The units that load a row together.
    pub fn loaders(&self) -> usize {
        self.width / 4
    }

    /// The vectors of one operand in shared memory.
    pub fn cells(&self) -> usize {
        4 * self.width * Self::PITCH
    }

    /// The bytes of shared memory that a cube needs.
    pub fn shared_bytes(&self) -> usize {
        2 * self.cells() * 16
    }
}

/// What is compiled into the product by matrix units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MatrixConfig {
    /// The bits of a code.
    pub bits: u32,
    /// What a plane multiplies at once.
    pub fragment: Fragment,
    /// Whether matrix units do it.
    pub native: bool,
    /// Whether a weight is the sum of two numbers of the activations' type: one of `bf16` has 8 bits of it.
    pub split: bool,
    /// The fragments of a plane below each other, of which each meets [`Self::BESIDE`] of columns.
    pub below: usize,
    /// The planes of a cube, beside each other.
    pub planes: usize,
    /// As [`TileConfig::whole`].
    pub whole: bool,
}

impl MatrixConfig {
    /// The blocks of a row that lie in shared memory: neighbours read 32 bytes of a weight of 4 bits.
    pub const BLOCKS: usize = 2;
    /// The inputs of these.
    pub const INPUTS: usize = Self::BLOCKS * BLOCK;
    /// The vectors from row to row in shared memory: 160 bytes, so that fragments begin at multiples of 32, as CUDA
    /// wants, and rows in four different banks.
    pub const PITCH: usize = (Self::INPUTS + 16) / 4;
    /// The fragments of columns of a plane: each is loaded for all those of rows.
    pub const BESIDE: usize = 2;

    /// The units of a cube.
    pub fn units(&self) -> usize {
        self.planes * self.fragment.lanes
    }

    /// The rows of activations of a cube.
    pub fn rows(&self) -> usize {
        self.below * self.fragment.rows
    }

    /// The rows of the weight of a cube.
    pub fn columns(&self) -> usize {
        self.planes * Self::BESIDE * self.fragment.columns
    }

    /// The fragments of sums of a plane.
    pub fn fragments(&self) -> usize {
        self.below * Self::BESIDE
    }

    /// The elements of a fragment of sums that are each unit's.
    pub fn each(&self) -> usize {
        self.fragment.rows * self.fragment.columns / self.fragment.lanes
    }

    /// The elements of all of them.
    pub fn numbers(&self) -> usize {
        self.fragments() * self.each()
    }

    /// The blocks of the weight that a unit loads, one after the other.
    pub fn weight_turns(&self) -> usize {
        self.columns() * Self::BLOCKS / self.units()
    }

    /// The vectors of activations.
    pub fn value_turns(&self) -> usize {
        self.rows() * Self::INPUTS / 4 / self.units()
    }

    /// The vectors of what weights lack of their second numbers' sums, in shared memory.
    pub fn rest_cells(&self) -> usize {
        if self.split { self.columns() * Self::PITCH } else { 1 }
    }

    /// The bytes of shared memory that a cube needs: both operands, a power of two a column, a fragment a plane.
    pub fn shared_bytes(&self) -> usize {
        let a_plane = self.fragment.rows * self.fragment.columns;
        ((self.rows() + self.columns()) * Self::PITCH + self.rest_cells()) * 8
            + (self.columns() + self.planes * a_plane) * 4
    }

    /// With fragments for the most rows that are there, by the most planes that there is room for.
    pub(super) fn largest(self, m: usize, limits: &Limits) -> Option<Self> {
        let needed = m.div_ceil(self.fragment.rows).next_power_of_two();
        let sizes = [4, 2, 1].into_iter().filter(|below| *below <= needed);
        let mut configs =
            sizes.flat_map(|below| [4, 2, 1].map(|planes| Self { below, planes, ..self }));
        configs.find(|config| config.fits(limits))
    }

    /// Whether a cube's work comes out even, and the device has room for it.
    fn fits(&self, limits: &Limits) -> bool {
        let Fragment { lanes, rows, columns, inputs } = self.fragment;
        let even = |whole: usize, part: usize| whole >= part && whole.is_multiple_of(part);
        !limits.serial
            && even(Self::INPUTS, inputs)
            && even(rows * columns, lanes)
            && even(self.columns() * Self::BLOCKS, self.units())
            && even(self.rows() * Self::INPUTS / 4, self.units())
            && self.units() <= limits.units_per_cube
            && self.shared_bytes() <= limits.shared_bytes
    }
}

/// What is compiled into the transposed product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GradientConfig {
    /// The bits of a code.
    pub bits: u32,
    /// The rows of the gradient that a unit carries.
    pub rows: usize,
    /// The units of a cube.
    pub units: usize,
}

/// The kernel of a plan, and what is compiled into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// One unit a result.
    Naive {
        /// The bits of a code.
        bits: u32,
        /// The units of a cube.
        units: usize,
    },
    /// Several results a unit, from memory.
    Gemv(GemvConfig),
    /// Sixteen results a unit, from shared memory.
    Tiled(TileConfig),
    /// Fragments of results a plane, from shared memory.
    Matrix(MatrixConfig),
    /// The transposed product.
    Transposed(GradientConfig),
}

impl Algorithm {
    /// The units of a cube.
    pub fn units(&self) -> usize {
        match self {
            Self::Naive { units, .. } => *units,
            Self::Gemv(config) => config.units,
            Self::Tiled(config) => config.width * config.width,
            Self::Matrix(config) => config.units(),
            Self::Transposed(config) => config.units,
        }
    }

    /// The rows and columns of the result that a cube makes.
    pub fn reach(&self) -> [usize; 2] {
        match self {
            Self::Naive { units, .. } => [1, *units],
            Self::Gemv(config) => [config.rows, config.units / config.share * config.columns],
            Self::Tiled(config) => [4 * config.width; 2],
            Self::Matrix(config) => [config.rows(), config.columns()],
            Self::Transposed(config) => [config.rows, config.units * BLOCK / 2],
        }
    }

    /// The units that take the terms of a sum in turns.
    pub(super) fn share(&self) -> usize {
        if let Self::Gemv(config) = self { config.share } else { 1 }
    }

    /// The terms of a sum that are taken at once.
    pub(super) fn stage(&self) -> usize {
        if let Self::Matrix(_) = self { MatrixConfig::BLOCKS } else { 1 }
    }
}
