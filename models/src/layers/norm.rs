//! Normalisation over the channels.

use burn::{
    module::Module,
    nn::{LayerNorm, LayerNormConfig, RmsNorm, RmsNormConfig},
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};
use wavecube_burn::rms_norm;

/// Which normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// `x / rms(x) · γ`.
    #[default]
    Rms,
    /// `(x − mean) / deviation · γ + β`.
    Layer,
}

/// A normalisation over the last axis.
#[derive(Module, Debug)]
pub enum Norm {
    /// See [`NormKind::Rms`].
    Rms(RmsNorm),
    /// See [`NormKind::Layer`].
    Layer(LayerNorm),
}

impl Norm {
    /// The identity scale for `d_model` channels.
    pub fn new(kind: NormKind, d_model: usize, device: &Device) -> Self {
        match kind {
            NormKind::Rms => Self::Rms(RmsNormConfig::new(d_model).init(device)),
            NormKind::Layer => Self::Layer(LayerNormConfig::new(d_model).init(device)),
        }
    }

    /// How many parameters it has.
    pub fn parameters(kind: NormKind, d_model: usize) -> usize {
        match kind {
            NormKind::Rms => d_model,
            NormKind::Layer => 2 * d_model,
        }
    }

    /// Normalises `x` over its last axis.
    ///
    /// # Panics
    ///
    /// For an input of another width.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Rms(norm) => rms_norm(x, norm.gamma.val(), norm.epsilon)
                .expect("the input has the width of the norm"),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}
