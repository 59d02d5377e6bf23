//! Where recursions end.

use std::sync::Arc;

use cubecl::server::Handle;
use wavecube_core::{DeviceFault, Error, Result};
use wavecube_kernels::tridiag::{KeptElements, TridiagPlan};

use crate::Device;

/// For every sequence the first element at which a pivot vanished, on the device.
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
        let handle = device.client().empty(plan.pivots().max(1) * size_of::<u32>());
        Self {
            device: device.clone(),
            handle,
            rows: plan.lines.rows,
            tiles: plan.tiles,
            kept: None,
        }
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
        let used = self.rows * self.tiles * size_of::<u32>();
        let all: Vec<u32> = bytemuck::pod_collect_to_vec(bytes.get(..used).unwrap_or_default());
        let first = |tiles: &[u32]| tiles.iter().copied().min().filter(|&k| k != u32::MAX);
        let place = |row: usize, i: usize| match &self.kept {
            Some(kept) => kept.kept[row % kept.rows * kept.most + i] as usize,
            None => i,
        };
        let sequences = all.chunks(self.tiles).enumerate();
        Ok(sequences.map(|(row, tiles)| first(tiles).map(|k| place(row, k as usize))).collect())
    }
}
