//! The strategy that is the quickest here, by measurement.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cubecl::future::block_on;
use wavecube_core::{DeviceFault, Error, Result};
use wavecube_kernels::qmatmul::{QmatmulProblem, Strategy, Task};

use super::{QmatmulOptions, QuantizedWeight, qmatmul_with};
use crate::Tensor;

const OP: &str = "QuantizedWeight::quickest";
/// Runs of which the least time counts, behind one that compiles.
const RUNS: usize = 3;

/// Choices kept for each device; beyond it the cache starts anew.
const MEASURED: usize = 512;

/// What was measured on a device, as long as it lives.
pub(crate) type Measured = Mutex<HashMap<QmatmulProblem, Strategy>>;

impl QuantizedWeight {
    /// The strategy of [`qmatmul_with`] that is the quickest for these operands on their device: every one that takes
    /// them is timed, once for each shape, and the choice is kept with the device. [`Strategy::Auto`] chooses without
    /// measuring. Results of different strategies differ by rounding, and a measurement may turn out otherwise in
    /// the next process: who needs the same bits there names a strategy, or keeps [`Strategy::Auto`].
    ///
    /// # Errors
    /// As [`qmatmul_with`], [`Error::Device`] if a kernel has failed.
    ///
    /// ```
    /// use wavecube::{Device, QmatmulOptions, QuantizedWeight, Tensor, qmatmul_with, quant::*};
    /// let device = Device::best()?;
    /// let scheme = Scheme { bits: Bits::Four, symmetric: true, group: Group::Of32, scale: ScaleType::F16 };
    /// let packed = PackedWeight::quantize(&[1.0; 64], [2, 32], scheme, Clip::None)?;
    /// let weight = QuantizedWeight::upload(&device, &packed)?;
    /// let x = Tensor::from_slice(&device, &[1.0f32; 32 * 9], &[9, 32])?;
    /// let mut options = QmatmulOptions::default();
    /// options.strategy = weight.quickest(&x, &options)?;
    /// println!("{}", weight.plan(&x, &options)?.describe());
    /// let y = qmatmul_with(&x, &weight, &options)?;
    /// # assert_eq!(y.shape(), [9, 2]);
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn quickest(&self, x: &Tensor, options: &QmatmulOptions) -> Result<Strategy> {
        let with = |strategy| QmatmulOptions { strategy, ..options.clone() };
        // What no strategy takes is refused as ever.
        self.plan(x, &with(Strategy::Auto))?;
        let key = self.problem(OP, Task::Forward(options.number), x, Strategy::Auto);
        let measured = x.device().measured();
        let known = || measured.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&strategy) = known().get(&key) {
            return Ok(strategy);
        }
        let mut best = (Duration::MAX, Strategy::Auto);
        for strategy in [Strategy::Gemv, Strategy::Tiled, Strategy::Naive] {
            let options = with(strategy);
            if self.plan(x, &options).is_ok() {
                let time = self.least_time(x, &options)?;
                best = if time < best.0 { (time, strategy) } else { best };
            }
        }
        let mut known = known();
        if known.len() >= MEASURED {
            known.clear();
        }
        known.insert(key, best.1);
        Ok(best.1)
    }

    fn least_time(&self, x: &Tensor, options: &QmatmulOptions) -> Result<Duration> {
        let mut least = Duration::MAX;
        for run in 0..=RUNS {
            let start = Instant::now();
            let y = qmatmul_with(x, self, options)?;
            let synced = block_on(x.device().client().sync_buffers([y.handle()]));
            synced.map_err(|fault| Error::Device {
                op: OP,
                reason: DeviceFault::Failed(format!("{fault:?}")),
            })?;
            if run > 0 {
                least = least.min(start.elapsed());
            }
        }
        Ok(least)
    }
}
