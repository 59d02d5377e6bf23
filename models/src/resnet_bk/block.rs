//! A block, and halting around it.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use wavecube_burn::logistic;
use wavecube_core::Result;

use super::{HaltingConfig, ModelConfig, Pass};
use crate::{
    core_config::{Configuration as _, HasCore as _},
    layers::{Experts, Linear, Mlp, Norm, ResolventMixer, linear, vector, wide},
    random::Random,
};

/// The network of a block.
#[derive(Module, Debug)]
enum Network {
    Dense(Mlp),
    Sparse(Experts),
}

/// `x + mixer(norm x)`, then `x + network(norm x)`, repeated where it halts.
#[derive(Module, Debug)]
pub(super) struct Block {
    mixer_norm: Norm,
    mixer: ResolventMixer,
    network_norm: Norm,
    network: Network,
    halting: Option<Halting>,
}

impl Block {
    pub(super) fn new(config: &ModelConfig, random: &mut Random, device: &Device) -> Result<Self> {
        let d = config.d_model;
        let gain = config.core().residual_gain();
        let norm = || Norm::new(config.norm, d, device);
        let mixer = ResolventMixer::new(&config.mixer, d, gain, random, device)?;
        let network = match config.hidden().checked_div(config.experts.count) {
            None => Network::Dense(Mlp::new(d, config.hidden(), gain, random, device)),
            Some(hidden) => {
                let sizes = [d, hidden];
                Network::Sparse(Experts::new(&config.experts, sizes, gain, random, device)?)
            }
        };
        let halting =
            (config.halting.steps > 1).then(|| Halting::new(&config.halting, d, random, device));
        Ok(Self { mixer_norm: norm(), mixer, network_norm: norm(), network, halting })
    }

    pub(super) fn forward(&self, x: Tensor<3>, pass: &mut Pass<'_>) -> Result<Tensor<3>> {
        match &self.halting {
            Some(halting) => halting.repeat(x, pass, |x, pass| self.once(x, pass)),
            None => self.once(x, pass),
        }
    }

    fn once(&self, x: Tensor<3>, pass: &mut Pass<'_>) -> Result<Tensor<3>> {
        let y = self.mixer_norm.forward(x.clone());
        let (past, noise) = pass.mixer();
        let (mixed, kept) = self.mixer.advance(y, past, noise)?;
        pass.kept.extend(kept);
        let x = x + wide(mixed);
        let y = self.network_norm.forward(x.clone());
        let y = match &self.network {
            Network::Dense(mlp) => mlp.forward(y),
            Network::Sparse(experts) => {
                let (y, routing) = experts.forward(y, pass.noise.as_deref_mut());
                pass.routings.push(routing);
                y
            }
        };
        Ok(x + wide(y))
    }
}

/// Adaptive computation: a position repeats the block until its halting probabilities add up to
/// `1 − epsilon`, `steps` times at most, and leaves with the mean of its states, weighted by them, the
/// remainder on the last.
///
/// A position that has halted keeps its state for those after it. Shapes are fixed: every step is
/// computed for every position.
#[derive(Module, Debug)]
struct Halting {
    weight: Linear,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    config: HaltingConfig,
}

impl Halting {
    fn new(config: &HaltingConfig, d_model: usize, random: &mut Random, device: &Device) -> Self {
        Self {
            weight: linear(d_model, 1, 0.1, random, device),
            // Halts after the first step with probability 0.73 at the start.
            bias: vector(std::iter::once(1.0), device),
            config: config.clone(),
        }
    }

    fn repeat(
        &self,
        mut state: Tensor<3>,
        pass: &mut Pass<'_>,
        block: impl Fn(Tensor<3>, &mut Pass<'_>) -> Result<Tensor<3>>,
    ) -> Result<Tensor<3>> {
        let [batch, time, _] = state.dims();
        let mut running = Tensor::<3>::ones([batch, time, 1], &state.device());
        let mut spent = running.zeros_like();
        let mut steps = running.zeros_like();
        let mut remainder = running.zeros_like();
        let mut out = state.zeros_like();
        for step in 1..=self.config.steps {
            let next = block(state.clone(), pass)?;
            state = state.clone() + (next - state) * running.clone();
            let logit = self.weight.forward(state.clone()) + self.bias.val().reshape([1, 1, 1]);
            let halt = logistic(logit) * running.clone();
            let halts = if step == self.config.steps {
                running.clone()
            } else {
                let full = (spent.clone() + halt.clone()).detach();
                full.greater_equal_elem(1.0 - self.config.epsilon).float() * running.clone()
            };
            let rest = spent.clone().neg().add_scalar(1.0) * halts.clone();
            let goes_on = running.clone() - halts;
            out = out + state.clone() * (rest.clone() + halt.clone() * goes_on.clone());
            steps = steps + running;
            remainder = remainder + rest;
            spent = spent + halt * goes_on.clone();
            running = goes_on;
        }
        let mean = steps.clone().mean();
        pass.ponder.push([(steps + remainder).mean(), mean]);
        Ok(out)
    }
}
