//! What the forward pass of training sees of the parameters: the numbers that fewer bits would leave of them, where the
//! model is [trained for that](crate::quantize_aware), in the type of [products](crate::mixed_precision). What is
//! trained, and what a checkpoint has, are the parameters below.

use burn::{
    module::{Module, Param, Reparameterization, Reparameterizer},
    tensor::{FloatDType, Tensor, TensorData},
};

use crate::{
    error::{Error, Result, WeightFault},
    model::Model,
    quantize::{QuantizeOptions, is_map, pack, unpack},
};

/// The maps that stay `f32`. On the first three a decision hangs: which expert, which positions are kept, which halt. The
/// others make operators, whose resolvents multiply what is rounded there by up to `1/η`: in 16 bits they move the loss of
/// a small ResNet-BK after 200 steps by 2.4e-3 of itself in place of 3e-4 (`f16`) and 1.2e-3 (`bf16`).
const PRECISE: [&str; 5] = [
    ".router.weight",
    ".importance.weight",
    ".halting.weight.weight",
    ".potential.weight",
    ".hopping.weight",
];

/// A parameter as products see it.
#[derive(Module, Debug)]
struct View {
    /// What its codes stand for, flat.
    rounded: Option<Tensor<1>>,
    #[module(skip)]
    dtype: FloatDType,
}

impl Reparameterization for View {
    const NAME: &'static str = "training view";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let seen = match &self.rounded {
            // `w + stop(fq(w) − w)`: its value is `fq(w)`, its derivative by `w` is 1.
            Some(rounded) => {
                let rounded = rounded.clone().reshape(base.shape());
                base.clone() + (rounded - base).detach()
            }
            None => base,
        };
        seen.cast(self.dtype)
    }
}

struct Viewer<'a> {
    options: Option<&'a QuantizeOptions>,
    dtype: FloatDType,
    failure: Option<Error>,
}

impl Viewer<'_> {
    /// The numbers that a parameter's codes stand for, or nothing where it is not packed.
    fn rounded<const D: usize>(
        &self,
        name: &str,
        param: &Param<Tensor<D>>,
    ) -> Result<Option<Tensor<1>>> {
        // What is never packed is not read back.
        let Some(options) = self.options.filter(|options| options.packs(name, &param.shape()))
        else {
            return Ok(None);
        };
        let base = param.base();
        let data = base.clone().inner().into_data();
        let values = data
            .as_slice::<f32>()
            .map_err(|_| Error::weight(name, WeightFault::Dtype(format!("{:?}", data.dtype()))))?;
        let shape = data.shape();
        let packed = pack([(name, shape.as_slice(), values)], options)?;
        let Some((name, weight)) = packed.first() else { return Ok(None) };
        let numbers = unpack(name, weight, shape)?;
        let len = numbers.len();
        Ok(Some(Tensor::from_data(TensorData::new(numbers, [len]), &base.device())))
    }

    fn dtype(&self, name: &str, rank: usize) -> FloatDType {
        let precise = PRECISE.iter().any(|end| name.ends_with(end));
        if is_map(name, rank) && !precise { self.dtype } else { FloatDType::F32 }
    }
}

impl Reparameterizer for &mut Viewer<'_> {
    type Reparam = View;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<View>) {
        let dtype = self.dtype(path, D);
        match self.rounded(path, &param) {
            Ok(None) if dtype == FloatDType::F32 => (param, None),
            Ok(rounded) => (param, Some(View { rounded, dtype })),
            Err(failure) => {
                self.failure.get_or_insert(failure);
                (param, None)
            }
        }
    }
}

/// The same model, sharing its parameters, whose forward pass sees what [`pack`] would leave of them now, where there
/// are `options`, with its products in `dtype`. Weights that are packed go to the host and back for it.
///
/// # Errors
///
/// When a weight that is packed is not finite.
pub fn training_view(
    model: &Model,
    options: Option<&QuantizeOptions>,
    dtype: FloatDType,
) -> Result<Model> {
    if options.is_none() && dtype == FloatDType::F32 {
        return Ok(model.clone());
    }
    let mut viewer = Viewer { options, dtype, failure: None };
    let model = model.clone().apply_reparameterization(&mut viewer);
    match viewer.failure {
        Some(failure) => Err(failure),
        None => Ok(model),
    }
}
