//! The strategy that is the quickest here, by measurement.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cubecl::future::block_on;
use wavecube_core::{
    DeviceFault, Error, Result,
    choices::{Choices, folder},
};
use wavecube_kernels::qmatmul::{Algorithm, Strategy, Task};

use super::{QmatmulOptions, QuantizedWeight, qmatmul_with};
use crate::{Device, Tensor};

const OP: &str = "QuantizedWeight::quickest";
/// Runs of which the least time counts, behind one that compiles.
const RUNS: usize = 3;
/// What is timed, and its name in the file.
const STRATEGIES: [(&str, Strategy); 4] = [
    ("gemv", Strategy::Gemv),
    ("tiled", Strategy::Tiled),
    ("matrix", Strategy::Matrix),
    ("naive", Strategy::Naive),
];

/// What was measured on a device; read from its file when it is first asked for.
pub(crate) type Measured = Mutex<Option<Choices>>;

/// What choices hold for. Cubecl does not tell a driver's version; a software driver's name has that of its compiler.
fn title(device: &Device) -> String {
    let client = device.client();
    let identity = &client.properties().identity;
    let version = env!("CARGO_PKG_VERSION");
    format!("wavecube {version} on {}, {}, {}", identity.name, identity.fingerprint, client.name())
}

impl QuantizedWeight {
    /// The strategy of [`qmatmul_with`] that is the quickest for these operands on their device: every one that takes
    /// them is timed, once for each shape. [`Strategy::Auto`] chooses without measuring.
    ///
    /// The choice is kept with the device and, for the next process, in a file of the folder
    /// [`choices::folder`](wavecube_core::choices::folder), one for each device and version of wavecube. A file that is
    /// damaged is replaced, a folder that cannot be written costs a measurement in every process, and
    /// `WAVECUBE_CACHE=` in the environment does without. After an update of a driver under the same name, remove the
    /// file. Results of different strategies differ by rounding, and another measurement may turn out otherwise: who
    /// needs the same bits everywhere names a strategy, or keeps [`Strategy::Auto`].
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
        // Matrix units that are written out are never the quickest.
        let fits = |strategy| match self.plan(x, &with(strategy)).map(|plan| plan.algorithm) {
            Ok(Algorithm::Matrix(config)) => config.native,
            plan => plan.is_ok(),
        };
        let key = self.problem(OP, Task::Forward(options.number), x, &with(Strategy::Auto));
        let key = format!("{key:?}");
        let measured = x.device().measured();
        let measured = || measured.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut measured = measured();
            let open = || Choices::open(folder().as_deref(), &title(x.device()));
            let kept = measured.get_or_insert_with(open).get(&key);
            // The file is a user's: it may name anything.
            let kept = STRATEGIES.into_iter().find(|(name, _)| kept == Some(name));
            if let Some((_, strategy)) = kept.filter(|(_, strategy)| fits(*strategy)) {
                return Ok(strategy);
            }
        }
        let mut best = (Duration::MAX, "", Strategy::Auto);
        for (name, strategy) in STRATEGIES.into_iter().filter(|(_, strategy)| fits(*strategy)) {
            let time = self.least_time(x, &with(strategy))?;
            best = if time < best.0 { (time, name, strategy) } else { best };
        }
        if let Some(choices) = measured().as_mut() {
            // Without a file the next process measures again.
            let _ = choices.keep(&key, best.1);
        }
        Ok(best.2)
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
