//! The TOML configuration of a run.
//!
//! Every key has a default that works; an unknown key or a value of the wrong type is an error that
//! names it. Command-line flags override the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Attempt as _, Context as _, Error, Result},
    mixed_precision::ComputeType,
    quantize_aware::QuantizeAware,
};

pub use crate::registry::Config;

/// Where the text comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Files, or directories that are read in sorted order.
    pub text: Vec<PathBuf>,
    /// The share of the text, at its end, that is held out; 0 trains on all of it, and nothing is evaluated.
    pub validation: f64,
    /// At most this many bytes are read.
    pub max_bytes: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { text: Vec::new(), validation: 0.1, max_bytes: 64 << 20 }
    }
}

/// How the model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Sequences a forward pass.
    pub batch: usize,
    /// Forward passes a step, whose gradients are averaged.
    pub accumulation: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// The learning rate at the end, as a share of the peak.
    pub final_rate: f64,
    /// Steps of linear warm-up.
    pub warmup: usize,
    /// Decoupled weight decay of the matrices (vectors have none).
    pub weight_decay: f64,
    /// First-moment decay of `AdamW`.
    pub beta1: f64,
    /// Second-moment decay of `AdamW`.
    pub beta2: f64,
    /// Limit of the gradient's global norm; 0 is no limit.
    pub clip: f64,
    /// Seed of the parameters and of the batches.
    pub seed: u64,
    /// The bits that the model is trained for: `none`, `w4` or `w8`.
    pub quantize_aware: QuantizeAware,
    /// Neighbours that share a scale there: 32, 64, 128, or 0 for a whole channel.
    pub quantize_group: usize,
    /// The type of products: `auto`, `f32`, `f16` or `bf16`. See [`mixed_precision`](crate::mixed_precision).
    pub precision: ComputeType,
    /// Run every block again on the way back instead of keeping what its gradient needs: the memory of one block in
    /// place of all, for one more forward pass of the blocks. See [`tape`](crate::tape).
    pub gradient_checkpointing: bool,
    /// Steps between log lines.
    pub log_every: usize,
    /// Steps between evaluations on the held-out text; 0 evaluates at the end only.
    pub eval_every: usize,
    /// Sequences an evaluation.
    pub eval_sequences: usize,
    /// Steps between checkpoints; 0 saves at the end only.
    pub checkpoint_every: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 8,
            accumulation: 1,
            learning_rate: 3e-3,
            final_rate: 0.1,
            warmup: 50,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            clip: 1.0,
            seed: 1,
            quantize_aware: QuantizeAware::None,
            quantize_group: 32,
            precision: ComputeType::Auto,
            gradient_checkpointing: false,
            log_every: 10,
            eval_every: 250,
            eval_sequences: 64,
            checkpoint_every: 500,
        }
    }
}

impl Config {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not TOML, has an unknown key or a value out of range; the
    /// message names the file and the key.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .attempting(|| format!("cannot read the configuration {}", path.display()))?;
        Self::from_toml(&text).within(|| format!("in the configuration {}", path.display()))
    }

    /// Reads and checks TOML.
    ///
    /// # Errors
    ///
    /// As for [`from_file`](Self::from_file).
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| Error::Toml(Box::new(error)))?;
        config.validate()?;
        Ok(config)
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    ///
    /// When a number has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(Error::ToToml)
    }

    /// How many bytes the model sees.
    pub fn context(&self) -> usize {
        self.core().context
    }

    /// Checks every value that counts.
    ///
    /// # Errors
    ///
    /// The first value that is out of range, by its key.
    pub fn validate(&self) -> Result<()> {
        self.validate_model().within(|| format!("in [{}]", self.model.key()))?;
        let train = &self.train;
        let counts = [
            ("train.steps", train.steps),
            ("train.batch", train.batch),
            ("train.accumulation", train.accumulation),
            ("train.log_every", train.log_every),
            ("train.eval_sequences", train.eval_sequences),
            ("data.max_bytes", self.data.max_bytes),
        ];
        for (name, count) in counts {
            accept(name, count > 0, "at least 1", &count)?;
        }
        let rate = train.learning_rate;
        accept("train.learning_rate", rate.is_finite() && rate > 0.0, "positive", &rate)?;
        let not_negative = [
            ("train.weight_decay", train.weight_decay),
            ("train.clip", train.clip),
            ("train.final_rate", train.final_rate),
        ];
        for (name, value) in not_negative {
            accept(name, value.is_finite() && value >= 0.0, "at least 0", &value)?;
        }
        for (name, value) in [("train.beta1", train.beta1), ("train.beta2", train.beta2)] {
            accept(name, (0.0..1.0).contains(&value), "in [0, 1)", &value)?;
        }
        train.quantize_aware.options(train.quantize_group)?;
        let validation = self.data.validation;
        accept(
            "data.validation, the share of the text that is held out,",
            (0.0..1.0).contains(&validation),
            "in [0, 1)",
            &validation,
        )
    }
}

impl TrainConfig {
    /// The learning rate of `step` (from 0): linear warm-up, then a cosine down to the final rate.
    ///
    /// `progress` is how much of the run is over, from 0 to 1; a run that is limited by time passes
    /// its own.
    pub fn rate(&self, step: usize, progress: f64) -> f64 {
        let warm =
            if self.warmup == 0 { 1.0 } else { ((step + 1) as f64 / self.warmup as f64).min(1.0) };
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.clamp(0.0, 1.0)).cos());
        self.learning_rate * warm * (self.final_rate + (1.0 - self.final_rate) * cosine)
    }
}

/// Refuses a value that is not `good`.
pub(crate) fn accept(
    name: &'static str,
    good: bool,
    expected: &'static str,
    found: &dyn ToString,
) -> Result<()> {
    if good { Ok(()) } else { Err(Error::Value { name, expected, found: found.to_string() }) }
}
