//! The configuration of the byte-spectral model.

use wavecube_core::{Error, Result};

use super::OP;
use crate::{
    core_config::{Configuration, CoreConfig, HasCore as _, model_config},
    flops::{Flops, Part},
    layers::{Norm, SpectralConfig},
    lct_gpt::{self, VOCABULARY},
};

model_config! {
    /// A [`ByteSpectral`](super::ByteSpectral) in words.
    ///
    /// Its network is gated: 8/3 of `d_model` is its usual width, which has as many parameters as a plain one of four
    /// times `d_model`.
    ModelConfig {
        /// The mixer of positions, with a switch for every cure.
        mixer: SpectralConfig = SpectralConfig::default(),
    }
}

impl Configuration for ModelConfig {
    /// Refuses filters that wrap around too, which see the future.
    fn validate(&self) -> Result<()> {
        self.core().validate(OP)?;
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

    /// 8/3 of `d_model` where none is configured.
    fn hidden(&self) -> usize {
        if self.mlp_hidden == 0 { (8 * self.d_model).div_ceil(3) } else { self.mlp_hidden }
    }

    fn parameter_count(&self) -> usize {
        let d = self.d_model;
        let norm = Norm::parameters(self.norm, d);
        let mixer = self.mixer.parameter_count(d, self.context);
        let block = 2 * norm + mixer + 3 * d * self.hidden();
        2 * VOCABULARY * d + self.layers * block + norm
    }

    fn matched(&self) -> Self {
        if !self.match_parameters {
            return self.clone();
        }
        let transformer =
            lct_gpt::ModelConfig::transformer(CoreConfig { mlp_hidden: 0, ..self.core() });
        let thin = Self { mlp_hidden: 1, ..self.clone() };
        let missing = transformer.parameter_count() as f64 - thin.parameter_count() as f64;
        let unit = (3 * self.layers * self.d_model) as f64;
        Self { mlp_hidden: (1.0 + missing / unit).round().max(1.0) as usize, ..self.clone() }
    }

    fn flops(&self) -> Flops {
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
