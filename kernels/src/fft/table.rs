//! Tables that points are multiplied with, and the hooks that do it.

use wavecube_core::{
    Complex64,
    fft::{
        Direction, bluestein_chirp, bluestein_filter, bluestein_wrap, rader_filter, rader_powers,
        root_of_unity, twiddles,
    },
};

/// One multiplication of a point by a table entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hook {
    /// The table.
    pub table: Table,
    /// Multiply by the conjugate instead.
    pub conjugate: bool,
    /// How far the table moves along each batch axis; empty for one table for all transforms.
    pub strides: Vec<usize>,
}

impl Hook {
    /// A hook by the same table for every transform.
    pub fn shared(table: Table) -> Self {
        Self { table, conjugate: false, strides: Vec::new() }
    }
}

/// A complex table in the compute type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// `e^{−2πi j/n}`, `j < n`.
    Twiddles {
        /// The length of the transform.
        n: usize,
    },
    /// `e^{−2πi j/n}` in two levels: `low` fine entries `j < low`, then the coarse `j = low·i`.
    Turn {
        /// The length of the whole transform.
        n: usize,
        /// The number of fine entries, a power of two.
        low: usize,
    },
    /// [`bluestein_chirp`].
    Chirp {
        /// The length of the transform.
        n: usize,
        /// Its direction.
        direction: Direction,
    },
    /// [`rader_powers`].
    RaderPowers {
        /// The length of the transform.
        n: usize,
    },
    /// [`rader_filter`].
    RaderFilter {
        /// The length of the transform.
        n: usize,
        /// Its direction.
        direction: Direction,
    },
    /// [`bluestein_filter`].
    ChirpFilter {
        /// The length of the transform.
        n: usize,
        /// The length of the convolution.
        padded: usize,
        /// The direction.
        direction: Direction,
    },
    /// [`bluestein_wrap`].
    ChirpWrap {
        /// The length of the transform.
        n: usize,
        /// The length of the convolution.
        padded: usize,
        /// The direction.
        direction: Direction,
    },
    /// A table of the caller, by its place in the bindings.
    Bound(usize),
}

impl Table {
    /// The number of entries, 0 for a table that the caller binds.
    pub fn entries(&self) -> usize {
        match *self {
            Self::Twiddles { n } | Self::Chirp { n, .. } => n,
            Self::Turn { n, low } => low + n.div_ceil(low),
            Self::RaderPowers { n } | Self::RaderFilter { n, .. } => n - 1,
            Self::ChirpFilter { padded, .. } => padded,
            Self::ChirpWrap { n, padded, .. } => n - padded / 2,
            Self::Bound(_) => 0,
        }
    }

    /// The entries, or `None` for a table that the caller binds.
    pub fn build(&self) -> Option<Vec<Complex64>> {
        match *self {
            Self::Twiddles { n } => Some(twiddles(n)),
            Self::Turn { n, low } => {
                let fine = (0..low as u64).map(|j| root_of_unity(j, n as u64));
                let coarse =
                    (0..n.div_ceil(low) as u64).map(|j| root_of_unity(j * low as u64, n as u64));
                Some(fine.chain(coarse).collect())
            }
            Self::RaderPowers { n } => Some(rader_powers(n)),
            Self::RaderFilter { n, direction } => Some(rader_filter(n, direction)),
            Self::Chirp { n, direction } => Some(bluestein_chirp(n, direction)),
            Self::ChirpFilter { n, padded, direction } => {
                Some(bluestein_filter(n, padded, direction))
            }
            Self::ChirpWrap { n, padded, direction } => Some(bluestein_wrap(n, padded, direction)),
            Self::Bound(_) => None,
        }
    }
}
