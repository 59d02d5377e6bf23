//! The registry of models. A model is a module with a [`LanguageModel`] and a line below, in `models!`; training,
//! generation and checkpoints do not tell models apart.

use std::fmt;

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use serde::{Deserialize, Serialize};
use wavecube_core::{Error, Result};

use crate::{
    config::{DataConfig, TrainConfig},
    core_config::{Configuration as _, CoreConfig, HasCore as _},
    flops::Flops,
    layers::{ModelPast as _, Room},
    model::{Differentiated, LanguageModel, Statistic, WayBack},
    random::Random,
};

/// Defines what there is once for all models, from a line for each: the variant, which is also how its weights are
/// named in a checkpoint; the module, which has a `ModelConfig` too and names its field in [`Config`]; the type; the
/// name in TOML; the name for a reader. The first is what a configuration means that names no model.
macro_rules! models {
    ($($variant:ident: $module:ident::$type:ident, $toml:literal, $name:literal;)*) => {
        /// Which model: `model = "…"` in a configuration.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Architecture {
            $(
                #[doc = concat!($name, ", configured by `[", $toml, "]`.")]
                #[serde(rename = $toml)]
                $variant,
            )*
        }

        impl Architecture {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in TOML, and that of its table.
            pub fn key(self) -> &'static str {
                match self {
                    $(Self::$variant => $toml,)*
                }
            }

            /// The names of its presets, from baseline to full.
            pub(crate) fn preset_names(self) -> Vec<&'static str> {
                match self {
                    $(
                        Self::$variant => {
                            let presets = <crate::$module::$type as LanguageModel>::PRESETS;
                            presets.iter().map(|(name, _)| *name).collect()
                        }
                    )*
                }
            }
        }

        impl Default for Architecture {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl fmt::Display for Architecture {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $name,)*
                })
            }
        }

        /// One run: model, text, training.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            /// Which model; only its own table counts.
            pub model: Architecture,
            $(
                #[doc = concat!($name, ".")]
                #[serde(rename = $toml)]
                pub $module: crate::$module::ModelConfig,
            )*
            /// The text.
            pub data: DataConfig,
            /// The training.
            pub train: TrainConfig,
        }

        impl Config {
            /// What the model's configuration has in common with those of the others.
            pub fn core(&self) -> CoreConfig {
                match self.model {
                    $(Architecture::$variant => self.$module.core(),)*
                }
            }

            /// This configuration with `change` made to what the tables of all models have in common.
            #[must_use]
            pub fn with_every_core(self, change: impl Fn(CoreConfig) -> CoreConfig) -> Self {
                $(let $module = change(self.$module.core());)*
                Self { $($module: self.$module.with_core($module),)* ..self }
            }

            /// This configuration with the switches of the model's preset `name`.
            pub(crate) fn switched(mut self, name: &str) -> Self {
                match self.model {
                    $(
                        Architecture::$variant => {
                            let presets = <crate::$module::$type as LanguageModel>::PRESETS;
                            if let Some((_, switch)) = presets.iter().find(|one| one.0 == name) {
                                self.$module = switch(&self.$module);
                            }
                        }
                    )*
                }
                self
            }

            /// Checks the model's table.
            pub(crate) fn validate_model(&self) -> Result<()> {
                match self.model {
                    $(Architecture::$variant => self.$module.validate(),)*
                }
            }
        }

        /// A model of any kind: bytes in, logits of the next byte out.
        #[derive(Module, Debug)]
        pub enum Model {
            $(
                #[doc = concat!($name, ".")]
                $variant(crate::$module::$type),
            )*
        }

        /// What a model keeps of the bytes that it has seen.
        #[derive(Debug, Clone)]
        pub enum Past {
            $(
                #[doc = concat!($name, ".")]
                $variant(Box<<crate::$module::$type as LanguageModel>::Past>),
            )*
        }

        /// The method of the model at hand.
        macro_rules! of_model {
            ($model:expr, $one:ident => $result:expr) => {
                match $model {
                    $(Model::$variant($one) => $result,)*
                }
            };
        }

        /// The method of the past at hand.
        macro_rules! of_past {
            ($past:expr, $one:ident => $result:expr) => {
                match $past {
                    $(Past::$variant($one) => $result,)*
                }
            };
        }

        impl Model {
            /// A fresh model; the same `random` gives the same parameters on every device.
            ///
            /// # Errors
            ///
            /// Those of the model's configuration.
            pub fn new(config: &Config, random: &mut Random, device: &Device) -> Result<Self> {
                Ok(match config.model {
                    $(
                        Architecture::$variant => {
                            Self::$variant(LanguageModel::new(&config.$module, random, device)?)
                        }
                    )*
                })
            }

            /// An empty past of as many texts as there is room for.
            ///
            /// # Errors
            ///
            /// Those of [`LanguageModel::begin`].
            pub fn begin(&self, room: &Room) -> Result<Past> {
                Ok(match self {
                    $(Self::$variant(model) => Past::$variant(Box::new(model.begin(room)?)),)*
                })
            }

            /// Logits `[batch, 1, 256]` of the byte after `bytes` (`[batch, time]`), which follow those that `past` has
            /// seen; `past` then has seen these too.
            ///
            /// # Errors
            ///
            /// Those of [`LanguageModel::advance`]; [`Error::Unsupported`] for the past of another model.
            pub fn advance(&self, bytes: Tensor<2, Int>, past: &mut Past) -> Result<Tensor<3>> {
                match (self, past) {
                    $((Self::$variant(model), Past::$variant(past)) => model.advance(bytes, past),)*
                    _ => Err(of_another_model("Model::advance", "past")),
                }
            }
        }

        impl Past {
            /// Adds the sequences of `other`, of the same model and with as many bytes.
            pub(crate) fn join(&mut self, other: Self) -> Result<()> {
                if self.len() != other.len() {
                    return Err(Error::Unsupported {
                        op: "Past::join",
                        argument: "other",
                        reason: "it has seen more or fewer bytes",
                    });
                }
                match (self, other) {
                    $((Self::$variant(past), Self::$variant(other)) => past.join(*other),)*
                    _ => Err(of_another_model("Past::join", "other")),
                }
            }
        }
    };
}

models! {
    LctGpt: lct_gpt::LctGpt, "lct-gpt", "LCT-GPT";
    ResnetBk: resnet_bk::ResNetBk, "resnet-bk", "ResNet-BK";
    ByteSpectral: byte_spectral::ByteSpectral, "byte-spectral", "byte-spectral";
}

fn of_another_model(op: &'static str, argument: &'static str) -> Error {
    Error::Unsupported { op, argument, reason: "it is that of another model" }
}

impl Model {
    /// How many bytes it sees.
    pub fn context(&self) -> usize {
        of_model!(self, model => model.context())
    }

    /// The width of its networks, settled on for its number of parameters.
    pub fn hidden(&self) -> usize {
        of_model!(self, model => model.hidden())
    }

    /// Its operations.
    pub fn flops(&self) -> Flops {
        of_model!(self, model => model.flops())
    }

    /// Logits `[batch, time, 256]` of the byte after each position of `bytes` (`[batch, time]`).
    ///
    /// # Errors
    ///
    /// Those of [`LanguageModel::forward`].
    pub fn forward(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        of_model!(self, model => model.forward(bytes))
    }

    /// Logits `[batch, 1, 256]` of the byte after the last position.
    ///
    /// # Errors
    ///
    /// Those of [`LanguageModel::next_logits`].
    pub fn next_logits(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        of_model!(self, model => model.next_logits(bytes))
    }

    /// Mean cross-entropy in nats of `targets` (`[batch, time]`), `targets[t]` following `bytes[t]`.
    ///
    /// # Errors
    ///
    /// Those of [`LanguageModel::loss`].
    pub fn loss(&self, bytes: Tensor<2, Int>, targets: Tensor<2, Int>) -> Result<Tensor<1>> {
        of_model!(self, model => model.loss(bytes, targets))
    }

    /// The gradients of a step of training, by the way that `back` says; `random` is drawn from where training takes
    /// noise.
    ///
    /// # Errors
    ///
    /// Those of [`LanguageModel::differentiate`].
    pub fn differentiate(
        &self,
        bytes: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        random: &mut Random,
        back: WayBack,
    ) -> Result<Differentiated> {
        of_model!(self, model => model.differentiate(bytes, targets, random, back))
    }

    /// How often a transform met `|b| < epsilon` since the model was made.
    pub fn degenerate_hits(&self) -> u64 {
        of_model!(self, model => model.degenerate_hits())
    }

    /// What the parts of the model do on `bytes`, where there is something to tell.
    ///
    /// # Errors
    ///
    /// Those of [`LanguageModel::statistics`].
    pub fn statistics(&self, bytes: Tensor<2, Int>) -> Result<Vec<Statistic>> {
        of_model!(self, model => model.statistics(bytes))
    }
}

impl Past {
    /// How many bytes it has seen.
    pub fn len(&self) -> usize {
        of_past!(self, past => past.len())
    }

    /// Whether it has seen nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps these of its sequences, in this order.
    pub(crate) fn select(&mut self, sequences: &[usize], device: &Device) {
        of_past!(self, past => past.select(sequences, device));
    }
}
