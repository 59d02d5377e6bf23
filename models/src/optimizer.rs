//! `AdamW` over all parameters at once.
//!
//! The parameters of a module are laid end to end in two vectors: matrices, which decay, and vectors
//! (scales, transform parameters), which do not. `AdamW` then updates two tensors instead of dozens, the global norm is
//! one sum, and gradients accumulate by addition.

use std::collections::HashMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Gradients, Tensor, TensorData},
};
use wavecube_burn::{AdamStep, adam_w};

use crate::{
    config::TrainConfig,
    error::{Error, Result, WeightFault},
};

/// What keeps a step finite where gradients are zero.
const EPSILON: f64 = 1e-8;

/// The two vectors: decaying, not decaying.
pub type Flat = [Tensor<1>; 2];

fn group<const D: usize>() -> usize {
    usize::from(D < 2)
}

/// Gradients of parameters, summed over the backward passes that found them.
#[derive(Debug, Default)]
pub struct ParameterGradients(HashMap<ParamId, Tensor<1>>);

impl ParameterGradients {
    /// Adds what a backward pass has found for the parameters of `module`.
    pub fn add<M: Module>(&mut self, gradients: &mut Gradients, module: &M) {
        struct Visitor<'a>(&'a mut HashMap<ParamId, Tensor<1>>, &'a mut Gradients);
        impl ModuleVisitor for Visitor<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                // A reparameterised value is no leaf; the parameter below it is.
                if let Some(gradient) = param.base().grad_remove(self.1) {
                    let gradient = gradient.flatten(0, D - 1);
                    let sum = plus(self.0.remove(&param.id), gradient);
                    self.0.insert(param.id, sum);
                }
            }
        }
        module.visit(&mut Visitor(&mut self.0, gradients));
    }

    /// Those of `module`, laid end to end; zeros where none was found.
    pub fn flat<M: Module>(self, module: &M, device: &Device) -> Flat {
        struct Visitor {
            gradients: HashMap<ParamId, Tensor<1>>,
            parts: [Vec<Tensor<1>>; 2],
        }
        impl ModuleVisitor for Visitor {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let gradient = self.gradients.remove(&param.id);
                let gradient =
                    gradient.unwrap_or_else(|| param.base().inner().zeros_like().flatten(0, D - 1));
                self.parts[group::<D>()].push(gradient);
            }
        }
        let mut visitor = Visitor { gradients: self.0, parts: Default::default() };
        module.visit(&mut visitor);
        visitor.parts.map(|parts| concatenate(parts, device))
    }
}

/// A sum with one term more.
pub(crate) fn plus<const D: usize>(sum: Option<Tensor<D>>, term: Tensor<D>) -> Tensor<D> {
    match sum {
        Some(sum) => sum + term,
        None => term,
    }
}

fn concatenate(parts: Vec<Tensor<1>>, device: &Device) -> Tensor<1> {
    if parts.is_empty() {
        return Tensor::zeros([0], &device.clone().inner());
    }
    Tensor::cat(parts, 0)
}

fn flat_parameters<M: Module>(module: &M, device: &Device) -> Flat {
    struct Visitor([Vec<Tensor<1>>; 2]);
    impl ModuleVisitor for Visitor {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0[group::<D>()].push(param.val().inner().flatten(0, D - 1));
        }
    }
    let mut visitor = Visitor(Default::default());
    module.visit(&mut visitor);
    visitor.0.map(|parts| concatenate(parts, device))
}

/// Puts the vectors back into the parameters they came from.
struct Scatter {
    flat: Flat,
    at: [usize; 2],
}

impl ModuleMapper for Scatter {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let group = group::<D>();
        let flat = self.flat[group].clone();
        let at = &mut self.at[group];
        param.map(|old| {
            let shape = old.shape();
            let len = shape.num_elements();
            let new = flat.narrow(0, *at, len).reshape(shape);
            *at += len;
            if old.is_autodiff() { Tensor::from_inner(new).require_grad() } else { new }
        })
    }
}

/// What all gradients are to be multiplied by so that their norm over all parameters is at most `limit`, and that norm as
/// it is. Nothing is read back.
pub fn clip_global_norm([decaying, plain]: &Flat, limit: f64) -> [Tensor<1>; 2] {
    let norm = (decaying.clone().square().sum() + plain.clone().square().sum()).sqrt();
    let factor = if limit > 0.0 {
        norm.clone().add_scalar(1e-12).recip().mul_scalar(limit).clamp_max(1.0)
    } else {
        norm.ones_like()
    };
    [factor, norm]
}

/// Moments on the device.
#[derive(Clone)]
struct State {
    moments: [Tensor<1>; 2],
    time: usize,
}

/// The optimiser and its moments.
#[derive(Clone)]
pub struct FlatAdamW {
    betas: [f64; 2],
    /// Of either vector.
    weight_decays: [f64; 2],
    states: [Option<State>; 2],
}

/// What a checkpoint keeps of one vector: both moments and the number of steps.
#[derive(Debug, Clone)]
pub struct Moments {
    /// The first moment.
    pub first: TensorData,
    /// The second moment.
    pub second: TensorData,
    /// Steps taken.
    pub time: usize,
}

impl FlatAdamW {
    /// With the decays and weight decay of `config`.
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            betas: [config.beta1, config.beta2],
            weight_decays: [config.weight_decay, 0.0],
            states: [None, None],
        }
    }

    /// One step down `gradients`, multiplied by `factor` (`[1]`).
    ///
    /// # Errors
    ///
    /// When the lengths of the gradients are not those of the parameters of `module`.
    pub fn step<M: Module>(
        &mut self,
        rate: f64,
        module: M,
        gradients: Flat,
        factor: &Tensor<1>,
        device: &Device,
    ) -> Result<M> {
        let mut flat = flat_parameters(&module, device);
        let states = self.states.iter_mut().zip(self.weight_decays);
        for ((parameters, gradients), (state, weight_decay)) in
            flat.iter_mut().zip(gradients).zip(states)
        {
            if parameters.dims() == [0] {
                continue;
            }
            let (moments, time) = match state.take() {
                Some(State { moments, time }) => (moments, time + 1),
                None => ([(); 2].map(|()| parameters.zeros_like()), 1),
            };
            let step = AdamStep { rate, weight_decay, betas: self.betas, epsilon: EPSILON, time };
            let [updated, first, second] =
                adam_w(parameters.clone(), moments, gradients, factor.clone(), step)?;
            *parameters = updated;
            *state = Some(State { moments: [first, second], time });
        }
        Ok(module.map(&mut Scatter { flat, at: [0; 2] }))
    }

    /// The moments of both vectors; `None` where no step was taken yet.
    pub fn moments(&self) -> [Option<Moments>; 2] {
        self.states.each_ref().map(|state| {
            state.as_ref().map(|State { moments: [first, second], time }| Moments {
                first: first.to_data(),
                second: second.to_data(),
                time: *time,
            })
        })
    }

    /// Takes moments up again.
    ///
    /// # Errors
    ///
    /// When their lengths are not those of the parameters of `module`.
    pub fn restore<M: Module>(
        &mut self,
        moments: [Option<Moments>; 2],
        module: &M,
        device: &Device,
    ) -> Result<()> {
        let inner = device.clone().inner();
        let parameters = flat_parameters(module, device);
        for ((state, moments), parameter) in self.states.iter_mut().zip(moments).zip(parameters) {
            *state = match moments {
                None => None,
                Some(Moments { first, second, time }) => {
                    let len = parameter.dims()[0];
                    let found = vec![first.num_elements(), second.num_elements()];
                    let expected = vec![len, len];
                    if found != expected {
                        let fault = WeightFault::Shape { found, expected };
                        return Err(Error::weight("optimizer", fault));
                    }
                    let moments = [first, second].map(|data| Tensor::from_data(data, &inner));
                    Some(State { moments, time })
                }
            };
        }
        Ok(())
    }
}
