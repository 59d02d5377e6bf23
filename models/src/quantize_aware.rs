//! Training for fewer bits: the forward pass sees the numbers that [`quantize`](crate::quantize) would leave, with
//! ranges searched for as it does, and the gradient passes straight through the rounding: see
//! [`training_view`](crate::training_view).
//!
//! `w + stop(fq(w) − w)`, `fq(w) = s (code(w) − z)`: its value is `fq(w)`, its derivative by `w` is 1. What is
//! trained, and what a checkpoint has, is `w`.

use serde::{Deserialize, Serialize};
use wavecube_core::quant::{Bits, Group};

use crate::{
    error::{Error, Result},
    quantize::{Precision, QuantizeOptions},
};

/// The bits that a model is trained for: `train.quantize_aware = "…"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuantizeAware {
    /// Numbers.
    #[default]
    None,
    /// 4 bits a weight.
    W4,
    /// 8 bits a weight.
    W8,
}

impl QuantizeAware {
    /// How the model is going to be quantised, in groups of `group` inputs, 0 for all of them: as `wavecube
    /// quantize` does with these bits and this group. Nothing where it is not.
    ///
    /// # Errors
    ///
    /// When there are no such groups.
    pub fn options(self, group: usize) -> Result<Option<QuantizeOptions>> {
        let group = match group {
            0 => Group::Channel,
            32 => Group::Of32,
            64 => Group::Of64,
            128 => Group::Of128,
            other => {
                return Err(Error::Value {
                    name: "train.quantize_group",
                    expected: "32, 64, 128, or 0 for a whole channel",
                    found: other.to_string(),
                });
            }
        };
        let bits = match self {
            Self::None => return Ok(None),
            Self::W4 => Bits::Four,
            Self::W8 => Bits::Eight,
        };
        let precision = Precision::Uniform(bits);
        Ok(Some(QuantizeOptions { precision, group, ..QuantizeOptions::default() }))
    }
}
