//! What is compiled into each kernel beside the chains, and the checks that their plans share.

use wavecube_core::{Dtype, Error, Layout, Limits, Result};

/// What is compiled into the pointwise kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PointConfig {
    /// Multiply by a table.
    pub multiplied: bool,
    /// Read through a table of indices.
    pub gathered: bool,
    /// The real numbers in an element of source and target.
    pub parts: [usize; 2],
}

/// Cubes that a product with a dense matrix should have before its units take several results each.
const CUBES: usize = 16;

/// What is compiled into the dense kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DenseConfig {
    /// Units along each side of a cube, or 1 for one unit an output without shared memory.
    pub tile: usize,
    /// A unit computes `side` outputs of `side` lines.
    pub side: usize,
    /// The terms of the inner sum.
    pub block: usize,
    /// The matrix is complex.
    pub complex: bool,
    /// Its transpose is applied.
    pub transposed: bool,
    /// Its conjugate is applied.
    pub conjugate: bool,
    /// A factor on the way in.
    pub before: bool,
    /// A factor on the way out.
    pub after: bool,
}

impl DenseConfig {
    /// The largest tile that the device has units and shared memory for, with as many results a unit
    /// as leave work for several cubes. The blocks of a sum do not depend on the number of lines.
    #[must_use]
    pub fn fit(self, [rows, outputs]: [usize; 2], compute: Dtype, limits: &Limits) -> Self {
        let widest = if compute == Dtype::F64 { 2 } else { 4 };
        let tile = [16, 8].into_iter().find(|&tile| {
            let shape = Self { tile, side: widest, ..self };
            tile * tile <= limits.units_per_cube
                && shape.shared_bytes(compute) <= limits.shared_bytes
        });
        let Some(tile) = tile.filter(|_| !limits.serial) else {
            return Self { tile: 1, side: 1, block: 16, ..self };
        };
        let cubes = |reach: usize| rows.div_ceil(reach).saturating_mul(outputs.div_ceil(reach));
        let side = [4, 2]
            .into_iter()
            .find(|&side| side <= widest && cubes(tile * side) >= CUBES)
            .unwrap_or(1);
        Self { tile, side, block: tile, ..self }
    }

    /// The outputs of a cube, and its lines.
    pub fn reach(&self) -> usize {
        self.tile * self.side
    }

    /// The bytes of shared memory that a cube needs: a block of the matrix and one of the lines, their
    /// rows one element longer than they must be.
    pub fn shared_bytes(&self, compute: Dtype) -> usize {
        if self.tile == 1 {
            return 0;
        }
        let block = self.tile * (self.tile + 1) * self.side;
        let imaginary = if self.complex { block } else { self.side };
        (3 * block + imaginary) * compute.size()
    }
}

/// What is compiled into the reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MomentConfig {
    /// The units of a cube, a power of two.
    pub units: usize,
}

/// A complex operand along one axis, checked.
pub(super) fn check_operand(
    op: &'static str,
    argument: &'static str,
    layout: &Layout,
    shape: &[usize],
    dtype: Dtype,
    limits: &Limits,
) -> Result<()> {
    if layout.shape() != shape {
        return Err(Error::Shape {
            op,
            argument,
            expected: shape.to_vec(),
            found: layout.shape().to_vec(),
        });
    }
    let bytes = layout
        .end()
        .and_then(|end| end.checked_mul(2 * dtype.size()))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(u64::MAX);
    limits.check_buffer(op, bytes)
}

/// An output must give every element its own place.
pub(super) fn check_output(op: &'static str, layout: &Layout) -> Result<()> {
    if layout.is_injective() {
        return Ok(());
    }
    Err(Error::Strides {
        op,
        argument: "output",
        expected: "give every element a place of its own",
        found: layout.strides().to_vec(),
    })
}
