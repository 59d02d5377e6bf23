//! Training for fewer bits: the forward pass sees the numbers that [`quantize`](crate::quantize) would leave, with
//! ranges searched for as it does, and the gradient passes straight through the rounding.
//!
//! `w + stop(fq(w) − w)`, `fq(w) = s (code(w) − z)`: its value is `fq(w)`, its derivative by `w` is 1. What is
//! trained, and what a checkpoint has, is `w`.

use burn::{
    module::{Module, Param, Reparameterization, Reparameterizer},
    tensor::{Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use wavecube_core::quant::{Bits, Group};

use crate::{
    error::{Error, Result, WeightFault},
    model::Model,
    quantize::{Precision, QuantizeOptions, pack, unpack},
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

/// What the codes of a parameter stand for, flat.
#[derive(Module, Debug)]
struct Rounded {
    numbers: Tensor<1>,
}

impl Reparameterization for Rounded {
    const NAME: &'static str = "rounded";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let rounded = self.numbers.clone().reshape(base.shape());
        base.clone() + (rounded - base).detach()
    }
}

struct Rounder<'a> {
    options: &'a QuantizeOptions,
    failure: Option<Error>,
}

impl Rounder<'_> {
    /// The numbers that a parameter's codes stand for, or nothing where it is not packed.
    fn round(&self, name: &str, data: &TensorData) -> Result<Option<Vec<f32>>> {
        let values = data
            .as_slice::<f32>()
            .map_err(|_| Error::weight(name, WeightFault::Dtype(format!("{:?}", data.dtype()))))?;
        let shape = data.shape();
        let packed = pack([(name, shape.as_slice(), values)], self.options)?;
        packed.first().map(|(name, weight)| unpack(name, weight, shape)).transpose()
    }
}

impl Reparameterizer for &mut Rounder<'_> {
    type Reparam = Rounded;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Rounded>) {
        // What is never packed is not read back.
        if !self.options.packs(path, &param.shape()) {
            return (param, None);
        }
        let base = param.base();
        let rounded = self.round(path, &base.clone().inner().into_data());
        match rounded {
            Ok(Some(numbers)) => {
                let len = numbers.len();
                let numbers = Tensor::from_data(TensorData::new(numbers, [len]), &base.device());
                (param, Some(Rounded { numbers }))
            }
            Ok(None) => (param, None),
            Err(failure) => {
                self.failure.get_or_insert(failure);
                (param, None)
            }
        }
    }
}

/// The same model, sharing its parameters, whose forward pass sees what [`pack`] would leave of them now. Weights go
/// to the host and back for it.
///
/// # Errors
///
/// When a weight is not finite.
pub fn rounded(model: &Model, options: &QuantizeOptions) -> Result<Model> {
    let mut rounder = Rounder { options, failure: None };
    let model = model.clone().apply_reparameterization(&mut rounder);
    match rounder.failure {
        Some(failure) => Err(failure),
        None => Ok(model),
    }
}
