//! The configuration of the byte-spectral model.

use serde::{Deserialize, Serialize};
use wavecube_core::{Error, Result};

use super::OP;
use crate::{
    flops::{Flops, Part},
    layers::{Norm, NormKind, SpectralConfig},
    lct_gpt::{self, VOCABULARY},
};

/// A [`ByteSpectral`](super::ByteSpectral) in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// How many bytes the model sees.
    pub context: usize,
    /// Channels.
    pub d_model: usize,
    /// Blocks.
    pub layers: usize,
    /// Width of the gated network; 8/3 of `d_model` when it is 0, which has as many parameters as a plain one of four
    /// times `d_model`.
    pub mlp_hidden: usize,
    /// Adjust the width of the network to the number of parameters of the transformer with as many
    /// channels and blocks.
    pub match_parameters: bool,
    /// Normalisation.
    pub norm: NormKind,
    /// The mixer of positions, with a switch for every cure.
    pub mixer: SpectralConfig,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            context: 64,
            d_model: 64,
            layers: 2,
            mlp_hidden: 0,
            match_parameters: true,
            norm: NormKind::Rms,
            mixer: SpectralConfig::default(),
        }
    }
}

impl ModelConfig {
    /// Checks every size and combination.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for a size that is zero; [`Error::Unsupported`] for filters that wrap around, which
    /// see the future; those of [`SpectralConfig::validate`].
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("byte-spectral.context", self.context),
            ("byte-spectral.d_model", self.d_model),
            ("byte-spectral.layers", self.layers),
        ];
        for (argument, found) in sizes {
            if found == 0 {
                return Err(Error::Length { op: OP, argument, expected: "at least 1", found });
            }
        }
        if !self.mixer.causal {
            return Err(Error::Unsupported {
                op: OP,
                argument: "byte-spectral.mixer.causal",
                reason: "filters that wrap around see the future, so a language model trained with them \
                         cheats; leave causal = true",
            });
        }
        self.mixer.validate()
    }

    /// The width of the network.
    pub fn hidden(&self) -> usize {
        if self.mlp_hidden == 0 { (8 * self.d_model).div_ceil(3) } else { self.mlp_hidden }
    }

    pub(super) fn residual_gain(&self) -> f64 {
        1.0 / (2.0 * self.layers as f64).sqrt()
    }

    /// The number of parameters.
    pub fn parameter_count(&self) -> usize {
        let d = self.d_model;
        let norm = Norm::parameters(self.norm, d);
        let mixer = self.mixer.parameter_count(d, self.context);
        let block = 2 * norm + mixer + 3 * d * self.hidden();
        2 * VOCABULARY * d + self.layers * block + norm
    }

    /// This configuration with the width of the network that brings the number of parameters closest to
    /// that of a transformer with as many channels and blocks.
    #[must_use]
    pub fn matched(&self) -> Self {
        if !self.match_parameters {
            return self.clone();
        }
        let sizes = [self.d_model, self.layers, 0];
        let transformer = lct_gpt::ModelConfig::transformer(sizes, self.norm);
        let thin = Self { mlp_hidden: 1, ..self.clone() };
        let missing = transformer.parameter_count() as f64 - thin.parameter_count() as f64;
        let unit = (3 * self.layers * self.d_model) as f64;
        Self { mlp_hidden: (1.0 + missing / unit).round().max(1.0) as usize, ..self.clone() }
    }

    /// The operations of a token, at the full context.
    pub fn flops(&self) -> Flops {
        let (d, time) = (self.d_model as f64, self.context as f64);
        let layers = self.layers as f64;
        let width = self.mixer.width(self.d_model) as f64;
        let bands = self.mixer.bands as f64;
        let mut parts = vec![Part::matrices("mixer maps", 4.0 * d * width)];
        // A padded transform of 2n points and its inverse, `5 n log₂ n` each; backward the signal's gradient
        // is one such pair and the filter's another.
        let pair = 2.0 * 2.0 * 5.0 * (2.0 * time).log2() * bands * width;
        parts.push(Part { name: "filters", forward: pair, backward: 2.0 * pair });
        if self.mixer.gated {
            parts.push(Part::matrices("gates", d * bands * width));
        }
        if self.mixer.phase_aware {
            // A real matrix and a complex one, which is four real products.
            parts.push(Part::matrices("phases", 5.0 * width * width));
        }
        parts.push(Part::matrices("network", 3.0 * d * self.hidden() as f64));
        let mut parts: Vec<Part> = parts.into_iter().map(|part| part.times(layers)).collect();
        parts.push(Part::matrices("head", d * VOCABULARY as f64));
        Flops::new(parts, self.parameter_count())
    }
}
