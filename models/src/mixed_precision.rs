//! Mixed precision (Micikevicius et al., *Mixed precision training*, 2018): in training, products take numbers of 16
//! bits, and parameters keep 32.
//!
//! What has 16 bits is chosen by [`ComputeType`], from `train.precision`: maps and stacks of experts are cast for the
//! forward pass ([`training_view`](crate::training_view)), a map computes in the type of its matrix, and what comes
//! from it keeps that type to the end of its layer. The residual stream, norms, transforms, recursions, routers, logits
//! and the loss stay `f32`, and so does what a checkpoint has. Gradients are cast back on their way to the parameters.
//!
//! `f16` ends at 65504 and has nothing between 0 and 6·10⁻⁸, where many gradients are. So the loss is multiplied by a
//! [`LossScale`] there, which the gradients of parameters are divided by again. `bf16` has the range of `f32` and needs
//! none.

use burn::tensor::{Device, FloatDType};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The type that products have in training: `train.precision = "…"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeType {
    /// What the device is quick in: on a GPU `bf16` or, where there is no such thing, `f16`; `f32` where a processor
    /// computes, which would take longer for either.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, 10 of them behind the point.
    F16,
    /// 16 bits, 7 of them behind the point.
    Bf16,
}

impl ComputeType {
    /// The type on `device`.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where the device does not compute in the one that is asked for.
    pub fn on(self, device: &Device) -> Result<FloatDType> {
        let has = |dtype: FloatDType| device.supports_dtype(dtype);
        match self {
            Self::F32 => Ok(FloatDType::F32),
            Self::Auto => {
                let hardware = device.identity().is_some_and(|one| one.physical.is_some());
                let found =
                    [FloatDType::BF16, FloatDType::F16].into_iter().find(|&dtype| has(dtype));
                Ok(found.filter(|_| hardware).unwrap_or(FloatDType::F32))
            }
            Self::F16 if has(FloatDType::F16) => Ok(FloatDType::F16),
            Self::Bf16 if has(FloatDType::BF16) => Ok(FloatDType::BF16),
            Self::F16 | Self::Bf16 => Err(Error::Device {
                missing: "the device does not compute in the type of train.precision",
                advice: "take precision = \"auto\"",
            }),
        }
    }
}

/// What the loss is multiplied by, so that gradients fit `f16`.
///
/// Where a gradient is not finite, the step is taken again with half of it; after [`GROWTH`](Self::GROWTH) steps
/// without that it is doubled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    factor: f64,
    /// Steps since it was last changed.
    steps: usize,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: 65_536.0, steps: 0 }
    }
}

impl LossScale {
    /// Steps after which it is doubled.
    pub const GROWTH: usize = 2000;
    const LEAST: f64 = 1.0 / 16_777_216.0;
    const LARGEST: f64 = 16_777_216.0;

    /// The factor.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether a step stands that has come to this loss and this norm of the gradient. If not, it is to be taken again.
    /// One whose loss is not finite stands, since no scale mends that, and one at the least scale.
    pub fn settles(&mut self, loss: f64, norm: f64) -> bool {
        if loss.is_finite() && !norm.is_finite() && self.factor > Self::LEAST {
            *self = Self { factor: self.factor / 2.0, steps: 0 };
            return false;
        }
        self.steps += 1;
        if self.steps == Self::GROWTH {
            *self = Self { factor: (self.factor * 2.0).min(Self::LARGEST), steps: 0 };
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_falls_where_gradients_overflow_and_rises_again() {
        let mut scale = LossScale::default();
        assert!(!scale.settles(1.0, f64::INFINITY));
        assert!(!scale.settles(1.0, f64::NAN));
        assert_eq!(scale.factor(), 16_384.0);
        assert!((1..LossScale::GROWTH).all(|_| scale.settles(1.0, 1.0)));
        assert_eq!(scale.factor(), 16_384.0);
        assert!(scale.settles(1.0, 1.0));
        assert_eq!(scale.factor(), 32_768.0);
        assert!(scale.settles(f64::NAN, f64::NAN));
        assert_eq!(scale.factor(), 32_768.0);
        assert_eq!((0..60).filter(|_| !scale.settles(1.0, f64::NAN)).count(), 39);
        assert!((0..50 * LossScale::GROWTH).all(|_| scale.settles(1.0, 1.0)));
        assert_eq!(scale.factor(), LossScale::LARGEST);
    }
}
