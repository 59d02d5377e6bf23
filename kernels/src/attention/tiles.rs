//! The sizes of tiles, from what shared memory holds.

use wavecube_core::{Error, Limits, Result};

use super::problem::Storage;

/// Rows and keys of a tile at most.
const MOST: usize = 32;
/// Rows whose products with keys one unit makes, and the keys of each: what is read once serves them all.
const BLOCK: [usize; 2] = [4, 2];
/// The same where units are emulated: their registers are a processor's cache, and every read of a tile is one read
/// for each of them.
const EMULATED_BLOCK: [usize; 2] = [8, 4];

/// Units of a cube that streams: as many as a processor's vectors have numbers.
const STREAMING_UNITS: usize = 8;
/// Rows of a streaming unit at most: what is read of a key serves them all.
const STREAMED_ROWS: usize = 8;
/// Keys that a streaming unit scores before their values are added.
const STREAMED_KEYS: usize = 8;

/// What is compiled into the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileConfig {
    /// Numbers of a head.
    pub dim: usize,
    /// Numbers that are read at once, 4 or 1.
    pub lanes: usize,
    /// Rows of a cube: queries times the heads that share keys. A power of two where they are shared.
    pub rows: usize,
    /// Keys of a tile, a power of two.
    pub keys: usize,
    /// Rows whose products one unit makes at once; its own rows where it streams.
    pub together: usize,
    /// Keys whose products with the rows of a block one unit makes at once.
    pub across: usize,
    /// How keys and values are stored.
    pub storage: Storage,
    /// Whether scores are capped.
    pub capped: bool,
}

/// The largest power of two up to `most` that `fits`, or 0.
fn largest(most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let mut size = most;
    while size > 0 && !fits(size) {
        size /= 2;
    }
    size
}

/// The rows of a block and its keys: several where enough rows share the work.
fn block([rows, keys]: [usize; 2], limits: &Limits) -> [usize; 2] {
    let emulated = limits.emulated && !limits.serial;
    let [together, across] = if emulated { EMULATED_BLOCK } else { BLOCK };
    [rows.min(together), if rows > together { keys.min(across) } else { 1 }]
}

impl TileConfig {
    /// A tile of one row and one key.
    pub(super) fn one(dim: usize, lanes: usize, storage: Storage) -> Self {
        Self { dim, lanes, rows: 1, keys: 1, together: 1, across: 1, storage, capped: false }
    }

    /// The same for `rows` rows and `keys` keys.
    fn of(self, rows: usize, keys: usize, limits: &Limits) -> Self {
        let [together, across] = block([rows, keys], limits);
        Self { rows, keys, together, across, ..self }
    }

    /// Tiles of the forward kernel for `rows` rows. The keys of a tile depend on the head and the device
    /// alone: they decide how results are rounded.
    pub(super) fn forward(self, op: &'static str, rows: usize, limits: &Limits) -> Result<Self> {
        let of = |rows: usize, keys: usize| self.of(rows, keys, limits);
        let keys = largest(MOST, |keys| of(4, keys).forward_bytes() <= limits.shared_bytes);
        let keys = if keys == 0 { 1 } else { keys };
        let rows = rows.clamp(1, MOST).next_power_of_two();
        let rows = largest(rows, |rows| of(rows, keys).forward_bytes() <= limits.shared_bytes);
        if rows == 0 {
            let (available, required) = (limits.shared_bytes, of(1, 1).forward_bytes());
            let (available, required) = (available as u64, required as u64);
            return Err(Error::Limit { op, resource: "shared bytes", available, required });
        }
        Ok(of(rows, keys))
    }

    /// Rows of units that keep queries and sums to themselves; `numbers` of each.
    pub(super) fn streaming(self, numbers: usize, limits: &Limits) -> Self {
        let together = largest(STREAMED_ROWS, |rows| rows * self.dim <= numbers).max(1);
        let units = STREAMING_UNITS.min(limits.units_per_cube);
        Self { rows: units * together, keys: STREAMED_KEYS, together, ..self }
    }

    /// Tiles of the gradient's kernels; of no rows if none fits.
    pub(super) fn gradient(self, limits: &Limits) -> Self {
        let of = |size: usize| self.of(size, size, limits);
        of(largest(MOST, |size| of(size).gradient_bytes() <= limits.shared_bytes))
    }

    /// Vectors of `lanes` numbers of a head.
    pub fn vectors(&self) -> usize {
        self.dim / self.lanes
    }

    /// Vectors from row to row of a tile that neighbouring units read by rows: one more than there are,
    /// so that they fall into different banks.
    pub fn pitch(&self) -> usize {
        self.vectors() + 1
    }

    /// Rows and keys that units share out by `together` and `across`.
    pub fn blocks(&self) -> usize {
        self.rows / self.together * self.keys / self.across
    }

    /// Units that have work, of `most`.
    pub(super) fn units(&self, most: usize) -> usize {
        let groups = self.rows / self.together;
        let work = self.blocks().max(groups * self.vectors());
        work.next_power_of_two().min(most).max(1)
    }

    /// Turns of a unit's loops for one tile of keys.
    pub(super) fn turns(&self, units: usize) -> usize {
        let each = |work: usize| work.div_ceil(units);
        let groups = self.rows / self.together;
        let loads = 2 * each(self.keys * self.vectors());
        let scores = each(self.blocks()) * (1 + self.vectors());
        let weights = each(self.rows) * (1 + 2 * self.keys);
        1 + loads + scores + weights + each(groups * self.vectors()) * (1 + self.keys)
    }

    /// The same where it streams.
    pub(super) fn streaming_turns(&self) -> usize {
        1 + 2 * self.keys
    }

    fn tile_numbers(&self) -> usize {
        self.keys * self.pitch() * self.lanes
    }

    /// Shared bytes of the forward kernel: queries, sums, keys, values, weights, ten numbers a row and three a key.
    pub fn forward_bytes(&self) -> usize {
        4 * (2 * self.rows * self.dim
            + 2 * self.tile_numbers()
            + self.rows * (self.keys + 10)
            + 3 * self.keys)
    }

    /// Shared bytes of the streaming kernel: scores.
    pub fn streaming_bytes(&self) -> usize {
        4 * self.rows * self.keys
    }

    /// Shared bytes of the gradient's larger kernel: keys, values and their gradients, queries and the
    /// results' gradients, weights and their gradients, and nine numbers a row.
    pub fn gradient_bytes(&self) -> usize {
        4 * (4 * self.rows * self.dim
            + 2 * self.tile_numbers()
            + 2 * self.rows * self.keys
            + 9 * self.rows)
    }
}
