//! Named models, each a switch or two away from the next, for training and for comparing.

use serde::{Deserialize, Serialize};

use crate::{
    byte_spectral,
    config::Config,
    core_config::HasCore as _,
    layers::{ExpertsConfig, Hopping, ResolventForm, SpectralConfig},
    lct_gpt::Placement,
    model::Architecture,
    resnet_bk::{ExitConfig, HaltingConfig, ModelConfig},
};

/// A named model. Applying one keeps sizes, text and training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The transformer that the others are matched to.
    Attention,
    /// LCT-GPT as configured.
    LctGpt,
    /// ResNet-BK with every switch off.
    Bk,
    /// With products of one beside the diagonal.
    BkFixed,
    /// With the blocked form of the resolvent.
    BkBlocked,
    /// In blocks of 16, half of whose positions are left out.
    BkSparse,
    /// With the shortcut as gradient.
    BkShortcut,
    /// With four experts, one a token.
    BkExperts,
    /// With eight experts, one to four a token, by how sure the router is.
    BkDynamic,
    /// With halting, three steps at most.
    BkHalting,
    /// At `N, N/2, N/4, N/2, N` positions.
    BkScales,
    /// With early exits.
    BkExits,
    /// With experts, halting, scales and exits.
    BkFull,
    /// The byte-spectral model as configured.
    Spectral,
    /// Without any cure but causality.
    SpectralPlain,
    /// With phases that turn with the position.
    SpectralAnchored,
    /// With gates.
    SpectralGated,
    /// With magnitudes and phases mixed apart.
    SpectralPhase,
    /// With three bands.
    SpectralBands,
    /// With every cure.
    SpectralFull,
}

impl Preset {
    /// All, in the order from baseline to full.
    pub const ALL: [Self; 20] = [
        Self::Attention,
        Self::LctGpt,
        Self::Bk,
        Self::BkFixed,
        Self::BkBlocked,
        Self::BkSparse,
        Self::BkShortcut,
        Self::BkExperts,
        Self::BkDynamic,
        Self::BkHalting,
        Self::BkScales,
        Self::BkExits,
        Self::BkFull,
        Self::Spectral,
        Self::SpectralPlain,
        Self::SpectralAnchored,
        Self::SpectralGated,
        Self::SpectralPhase,
        Self::SpectralBands,
        Self::SpectralFull,
    ];

    /// `config` with this model: of the sizes that its table has.
    #[must_use]
    pub fn of(self, config: &Config) -> Config {
        let mut config = config.clone();
        match self {
            Self::Attention | Self::LctGpt => {
                config.model = Architecture::LctGpt;
                if self == Self::Attention {
                    config.lct_gpt.placement = Placement::None;
                }
            }
            Self::Spectral => config.model = Architecture::ByteSpectral,
            Self::SpectralPlain
            | Self::SpectralAnchored
            | Self::SpectralGated
            | Self::SpectralPhase
            | Self::SpectralBands
            | Self::SpectralFull => {
                config.model = Architecture::ByteSpectral;
                self.set_spectral(&mut config.byte_spectral);
            }
            _ => {
                config.model = Architecture::ResnetBk;
                self.set_bk(&mut config.resnet_bk);
            }
        }
        config
    }

    fn set_bk(self, bk: &mut ModelConfig) {
        *bk = ModelConfig::default().with_core(bk.core());
        match self {
            Self::BkFixed => bk.mixer.hopping = Hopping::Fixed,
            Self::BkBlocked => bk.mixer.form = ResolventForm::Blocked,
            Self::BkSparse => {
                bk.mixer.form = ResolventForm::Blocked;
                bk.mixer.block = 16;
                bk.mixer.sparsity.keep = 0.5;
            }
            Self::BkShortcut => bk.mixer.grad_blend = 1.0,
            _ => {}
        }
        if matches!(self, Self::BkExperts | Self::BkFull) {
            bk.experts.count = 4;
        }
        if self == Self::BkDynamic {
            bk.experts =
                ExpertsConfig { count: 8, top_k: 4, threshold: 0.5, ..ExpertsConfig::default() };
        }
        if matches!(self, Self::BkHalting | Self::BkFull) {
            bk.halting = HaltingConfig { steps: 3, ..HaltingConfig::default() };
        }
        if matches!(self, Self::BkScales | Self::BkFull) {
            bk.scales = 2;
        }
        if matches!(self, Self::BkExits | Self::BkFull) {
            bk.exits = ExitConfig { weight: 0.3, ..ExitConfig::default() };
        }
    }

    fn set_spectral(self, model: &mut byte_spectral::ModelConfig) {
        let (channels, taps) = (model.mixer.channels, model.mixer.taps);
        let full = SpectralConfig { channels, taps, ..SpectralConfig::full() };
        let plain = SpectralConfig { channels, taps, ..SpectralConfig::plain() };
        model.mixer = match self {
            Self::SpectralAnchored => SpectralConfig { anchored: true, ..plain },
            Self::SpectralGated => SpectralConfig { gated: true, ..plain },
            Self::SpectralPhase => SpectralConfig { phase_aware: true, ..plain },
            Self::SpectralBands => SpectralConfig { bands: full.bands, ..plain },
            Self::SpectralFull => full,
            _ => plain,
        };
    }
}
