//! Named models, each a switch or two away from the next, for training and for comparing.

use std::fmt;

use crate::{config::Config, model::Architecture};

/// A name for a configuration of a model, and what it makes of one: the same sizes, with its own switches.
pub type Named<C> = (&'static str, fn(&C) -> C);

/// A named model, one of those in [`LanguageModel::PRESETS`](crate::model::LanguageModel::PRESETS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    model: Architecture,
    name: &'static str,
}

impl Preset {
    /// All, model by model, each in the order from baseline to full.
    pub fn all() -> Vec<Self> {
        let of = |&model: &Architecture| {
            model.preset_names().into_iter().map(move |name| Self { model, name })
        };
        Architecture::ALL.iter().flat_map(of).collect()
    }

    /// The one of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|preset| preset.name == name)
    }

    /// `config` with this model, of the sizes that the model's table has. Text and training stay.
    #[must_use]
    pub fn of(self, config: &Config) -> Config {
        Config { model: self.model, ..config.clone() }.switched(self.name)
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
