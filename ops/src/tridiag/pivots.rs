//! Where recursions end.

use std::sync::Arc;

use cubecl::server::Handle;
use wavecube_core::{DeviceFault, Error, Result};
use wavecube_kernels::tridiag::{KeptElements, TridiagPlan};

use crate::Device;

/// For every sequence the first element at which a pivot vanished, on the device.
///
/// Where none vanishes and a result is not finite all the same, beyond the largest number or by an operand such as a right
/// side, it is the first element of that result.
///
/// The pivots at element `k` are the ratios of leading and of trailing minors, and `1/G_k`. One vanishes
/// where no more is left of it than rounding; an element whose operands are not finite counts too. With a
/// real `H`, `b_k c_k ≥ 0` and `Im z > 0` none does. The sequence's results are then what the divisions
/// gave: large, infinite or NaN.
#[derive(Debug, Clone)]
pub struct Pivots {
    device: Device,
    handle: Handle,
    rows: usize,
    tiles: usize,
    kept: Option<Arc<KeptElements>>,
}

impl Pivots {
    /// Room for those of a plan.
    pub(super) fn of(device: &Device, plan: &TridiagPlan) -> Self {
        Self::room(device, plan.lines.rows, plan.tiles)
    }

    /// Room for those of sequences that are not divided.
    pub(super) fn one_a_sequence(device: &Device, rows: usize) -> Self {
        Self::room(device, rows, 1)
    }

    fn room(device: &Device, rows: usize, tiles: usize) -> Self {
        let places = 2 * rows * tiles;
        let handle = device.client().empty(places.max(2) * size_of::<u32>());
        Self { device: device.clone(), handle, rows, tiles, kept: None }
    }

    /// Of operators whose elements are some of longer ones.
    pub(super) fn among(self, kept: &Arc<KeptElements>) -> Self {
        Self { kept: Some(kept.clone()), ..self }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Downloads them: one a sequence, in row-major order. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if a kernel that was enqueued before has failed.
    pub fn read(&self) -> Result<Vec<Option<usize>>> {
        if self.rows == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.device.client().read_one(self.handle.clone()).map_err(|fault| {
            let reason = DeviceFault::Failed(format!("{fault:?}"));
            Error::Device { op: "Pivots::read", reason }
        })?;
        // Of every tile the first vanishing pivot, and the first element that is lost.
        let used = 2 * self.rows * self.tiles * size_of::<u32>();
        let all: Vec<u32> = bytemuck::pod_collect_to_vec(bytes.get(..used).unwrap_or_default());
        let first = |tiles: &[u32]| {
            let least = |kind: usize| tiles.iter().skip(kind).step_by(2).min().copied();
            least(0).filter(|&k| k != u32::MAX).or_else(|| least(1).filter(|&k| k != u32::MAX))
        };
        let place = |row: usize, i: usize| match &self.kept {
            Some(kept) => kept.kept[row % kept.rows * kept.most + i] as usize,
            None => i,
        };
        let sequences = all.chunks(2 * self.tiles).enumerate();
        Ok(sequences.map(|(row, tiles)| first(tiles).map(|k| place(row, k as usize))).collect())
    }
}
