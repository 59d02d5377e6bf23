//! Named configurations of the byte-spectral model.

use super::ModelConfig;
use crate::{layers::SpectralConfig, presets::Named};

/// As configured, then from no cure but causality to every one.
pub(super) const PRESETS: &[Named<ModelConfig>] = &[
    ("spectral", ModelConfig::clone),
    ("spectral-plain", |config| with(config, |plain| plain)),
    // With phases that turn with the position.
    ("spectral-anchored", |config| {
        with(config, |plain| SpectralConfig { anchored: true, ..plain })
    }),
    ("spectral-gated", |config| with(config, |plain| SpectralConfig { gated: true, ..plain })),
    // With magnitudes and phases mixed apart.
    ("spectral-phase", |config| {
        with(config, |plain| SpectralConfig { phase_aware: true, ..plain })
    }),
    // With three bands.
    ("spectral-bands", |config| {
        with(config, |plain| SpectralConfig { bands: SpectralConfig::full().bands, ..plain })
    }),
    ("spectral-full", |config| with(config, |_| SpectralConfig::full())),
];

/// The model with the mixer that `change` makes of one without cures, of as many channels and taps.
fn with(
    config: &ModelConfig,
    change: impl FnOnce(SpectralConfig) -> SpectralConfig,
) -> ModelConfig {
    let SpectralConfig { channels, taps, .. } = config.mixer;
    let mixer = SpectralConfig { channels, taps, ..change(SpectralConfig::plain()) };
    ModelConfig { mixer, ..config.clone() }
}
