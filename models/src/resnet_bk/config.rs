//! The configuration of ResNet-BK: sizes, and a switch for every part.

use serde::{Deserialize, Serialize};
use wavecube_core::{Error, Result};

use super::OP;
use crate::{
    core_config::{Configuration, HasCore as _, model_config},
    flops::{Flops, Part},
    layers::{ExpertsConfig, Hopping, Norm, Resample, ResolventConfig, ResolventForm},
    lct_gpt::{self, VOCABULARY},
};

/// Adaptive computation: how often a block is repeated for a position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HaltingConfig {
    /// At most; 1 is no halting.
    pub steps: usize,
    /// The weight of the ponder cost, steps and remainder.
    pub ponder: f64,
    /// A position halts when its probabilities add up to `1 − epsilon`.
    pub epsilon: f64,
}

impl Default for HaltingConfig {
    fn default() -> Self {
        Self { steps: 1, ponder: 0.01, epsilon: 0.01 }
    }
}

/// Early exits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExitConfig {
    /// The weight of their losses; 0 is no exits.
    pub weight: f64,
    /// A position leaves where its likeliest byte has at least this probability.
    pub confidence: f64,
}

impl Default for ExitConfig {
    fn default() -> Self {
        Self { weight: 0.0, confidence: 0.9 }
    }
}

model_config! {
    /// A [`ResNetBk`](super::ResNetBk) in words.
    ModelConfig {
        /// How often the sequence is halved; needs `2 · scales + 1` layers.
        scales: usize = 0,
        /// The mixer of positions.
        mixer: ResolventConfig = ResolventConfig::default(),
        /// The mixture of experts.
        experts: ExpertsConfig = ExpertsConfig::default(),
        /// Adaptive computation.
        halting: HaltingConfig = HaltingConfig::default(),
        /// Early exits.
        exits: ExitConfig = ExitConfig::default(),
    }
}

impl Configuration for ModelConfig {
    /// Refuses the two-sided mixer too, which sees the future.
    fn validate(&self) -> Result<()> {
        self.core().validate(OP)?;
        let at_least = [
            ("resnet-bk.halting.steps", self.halting.steps, 1, "at least 1"),
            (
                "resnet-bk.layers",
                self.layers,
                self.scales.saturating_mul(2).saturating_add(1),
                "at least 2 · resnet-bk.scales + 1: a block on either side of every halving",
            ),
        ];
        for (argument, found, least, expected) in at_least {
            if found < least {
                return Err(Error::Length { op: OP, argument, expected, found });
            }
        }
        let shares = [
            ("resnet-bk.halting.epsilon", self.halting.epsilon),
            ("resnet-bk.exits.confidence", self.exits.confidence),
        ];
        for (argument, found) in shares {
            if !(found > 0.0 && found <= 1.0) {
                let expected = "above 0 and at most 1";
                return Err(Error::Value { op: OP, argument, expected, found });
            }
        }
        let weights = [
            ("resnet-bk.halting.ponder", self.halting.ponder),
            ("resnet-bk.exits.weight", self.exits.weight),
        ];
        for (argument, found) in weights {
            if !(found.is_finite() && found >= 0.0) {
                return Err(Error::Value { op: OP, argument, expected: "at least 0", found });
            }
        }
        if self.mixer.form == ResolventForm::TwoSided {
            return Err(Error::Unsupported {
                op: OP,
                argument: "resnet-bk.mixer.form",
                reason: "the diagonal of the whole resolvent sees the future, so a language model \
                         trained with it cheats; take form = \"left\" or \"blocked\"",
            });
        }
        self.mixer.validate()?;
        self.experts.validate()
    }

    /// `4 · d_model` where none is configured, a multiple of the number of experts.
    fn hidden(&self) -> usize {
        let hidden = if self.mlp_hidden == 0 { 4 * self.d_model } else { self.mlp_hidden };
        let count = self.experts.count.max(1);
        (hidden / count).max(1) * count
    }

    fn parameter_count(&self) -> usize {
        let d = self.d_model;
        let norm = Norm::parameters(self.norm, d);
        let halting = if self.halting.steps > 1 { d + 1 } else { 0 };
        let network = 2 * d * self.hidden() + d * self.experts.count;
        let block = 2 * norm + self.mixer.parameter_count(d) + network + halting;
        let scales = self.scales * Resample::parameters(d);
        2 * VOCABULARY * d + self.layers * block + scales + norm
    }

    fn matched(&self) -> Self {
        if !self.match_parameters {
            return self.clone();
        }
        let transformer = lct_gpt::ModelConfig::transformer(self.core());
        let count = self.experts.count.max(1);
        let thin = Self { mlp_hidden: count, ..self.clone() };
        let missing = transformer.parameter_count() as f64 - thin.parameter_count() as f64;
        let unit = (2 * self.layers * self.d_model * count) as f64;
        let width = (1.0 + missing / unit).round().max(1.0) as usize;
        Self { mlp_hidden: width * count, ..self.clone() }
    }

    fn flops(&self) -> Flops {
        let d = self.d_model as f64;
        let width = self.mixer.width(self.d_model) as f64;
        let maps = if self.mixer.hopping == Hopping::Token { 4.0 } else { 3.0 };
        let mut parts = Vec::new();
        for index in 0..self.layers {
            let positions = 0.5_f64.powi(self.level(index) as i32);
            let times = positions * self.halting.steps as f64;
            let mut add = |part: Part| parts.push(part.times(times));
            add(Part::matrices("mixer maps", maps * d * width));
            // One recursion forward and one backward, without a tree; see the kernels' page.
            let sparsity = &self.mixer.sparsity;
            let resolvent =
                Part { name: "resolvent", forward: 25.0 * width, backward: 35.0 * width };
            add(resolvent.times(sparsity.keep));
            if sparsity.skips() {
                add(Part::matrices("importance", d));
            }
            let experts = &self.experts;
            match self.hidden().checked_div(experts.count) {
                None => add(Part::matrices("network", 2.0 * d * self.hidden() as f64)),
                Some(hidden) => {
                    let taken = (hidden * experts.top_k) as f64;
                    add(Part::matrices("router", d * experts.count as f64));
                    add(Part::matrices("experts", 2.0 * d * taken));
                }
            }
            if self.halting.steps > 1 {
                add(Part::matrices("halting", d));
            }
        }
        for level in 1..=self.scales {
            let positions = 0.5_f64.powi(level as i32);
            parts.push(Part::matrices("scales", 4.0 * d * d).times(positions));
        }
        let head = Part::matrices("head", d * VOCABULARY as f64);
        parts.push(head);
        if self.exits.weight > 0.0 {
            let exits = (0..self.layers - 1).filter(|&index| self.level(index) == 0).count();
            parts.push(Part { name: "exits", ..head.times(exits as f64) });
        }
        Flops::new(parts, self.parameter_count())
    }
}

impl ModelConfig {
    /// The scale of block `index`: 0 is full length.
    fn level(&self, index: usize) -> usize {
        index.min(self.layers - 1 - index).min(self.scales)
    }
}
