//! `AdamW` over all parameters at once.
//!
//! The parameters of a module are laid end to end in two vectors: matrices, which decay, and vectors
//! (scales, transform parameters), which do not. Burn's `AdamW` then updates two tensors instead of
//! dozens (on a GPU that is a few kernels a step instead of hundreds), the global norm is one sum, and
//! gradients accumulate by addition.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer},
    tensor::{Device, Gradients, Tensor, TensorData},
};

use crate::{
    config::TrainConfig,
    error::{Error, Result, WeightFault},
};

/// The two vectors: decaying, not decaying.
pub type Flat = [Tensor<1>; 2];

fn group<const D: usize>() -> usize {
    usize::from(D < 2)
}

/// The gradients of `module`, laid end to end.
pub fn flat_gradients<M: Module>(gradients: Gradients, module: &M, device: &Device) -> Flat {
    struct Visitor {
        gradients: GradientsParams,
        parts: [Vec<Tensor<1>>; 2],
    }
    impl ModuleVisitor for Visitor {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = match self.gradients.remove::<D>(param.id) {
                Some(gradient) => gradient,
                None => param.val().inner().zeros_like(),
            };
            self.parts[group::<D>()].push(gradient.flatten(0, D - 1));
        }
    }
    let gradients = GradientsParams::from_grads(gradients, module);
    let mut visitor = Visitor { gradients, parts: Default::default() };
    module.visit(&mut visitor);
    visitor.parts.map(|parts| concatenate(parts, device))
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

/// Scales the gradients so that their norm over all parameters is at most `limit`, and returns that
/// norm as it was. Nothing is read back.
pub fn clip_global_norm(gradients: Flat, limit: f64) -> (Flat, Tensor<1>) {
    let [decaying, plain] = gradients;
    let norm = (decaying.clone().square().sum() + plain.clone().square().sum()).sqrt();
    if limit <= 0.0 {
        return ([decaying, plain], norm);
    }
    let scale = norm.clone().add_scalar(1e-12).recip().mul_scalar(limit).clamp_max(1.0);
    ([decaying * scale.clone(), plain * scale], norm)
}

/// The optimiser and its moments.
#[derive(Clone)]
pub struct FlatAdamW {
    rules: [AdamW; 2],
    states: [Option<AdamWState<1>>; 2],
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
        let rule = |weight_decay: f64| {
            AdamWConfig::new()
                .with_beta_1(config.beta1 as f32)
                .with_beta_2(config.beta2 as f32)
                .with_epsilon(1e-8)
                .with_weight_decay(weight_decay as f32)
                .build()
        };
        Self { rules: [rule(config.weight_decay), rule(0.0)], states: [None, None] }
    }

    /// One step down `gradients`.
    pub fn step<M: Module>(&mut self, rate: f64, module: M, gradients: Flat, device: &Device) -> M {
        let parameters = flat_parameters(&module, device);
        let mut updated = Vec::with_capacity(2);
        for (index, (parameter, gradient)) in parameters.into_iter().zip(gradients).enumerate() {
            if parameter.dims() == [0] {
                updated.push(parameter);
                continue;
            }
            let state = self.states[index].take();
            let (parameter, state) = self.rules[index].step(rate, parameter, gradient, state);
            self.states[index] = state;
            updated.push(parameter);
        }
        let mut updated = updated.into_iter();
        let empty = || Tensor::zeros([0], &device.clone().inner());
        let flat = [updated.next().unwrap_or_else(empty), updated.next().unwrap_or_else(empty)];
        module.map(&mut Scatter { flat, at: [0; 2] })
    }

    /// The moments of both vectors; `None` where no step was taken yet.
    pub fn moments(&self) -> [Option<Moments>; 2] {
        self.states.each_ref().map(|state| {
            state.as_ref().map(|AdamWState { momentum }| Moments {
                first: momentum.moment_1.to_data(),
                second: momentum.moment_2.to_data(),
                time: momentum.time,
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
                    let momentum = AdaptiveMomentumState {
                        time,
                        moment_1: Tensor::from_data(first, &inner),
                        moment_2: Tensor::from_data(second, &inner),
                        max_moment_2: None,
                    };
                    Some(AdamWState { momentum })
                }
            };
        }
        Ok(())
    }
}
