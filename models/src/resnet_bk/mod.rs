//! ResNet-BK: a byte-level language model that mixes positions by resolvents of tridiagonal operators.
//!
//! A block is `x + mixer(norm x)`, then `x + network(norm x)`. Every addition to that is a switch of its
//! own in [`ModelConfig`]: a sparse mixture of experts for the network, halting (a block is repeated for a
//! position until it says stop), several scales, and early exits. All of them keep the model causal.
//!
//! **Scales.** With `scales = 2` and five layers, the blocks run at `N, N/2, N/4, N/2, N` positions; more
//! layers run at the coarsest scale. What a coarse scale finds is added to the finer one.
//!
//! **Early exits.** Where exits are on, the state after every block at full length but the last is read out
//! too, and its loss counts with `weight`. A position takes the first read-out whose likeliest byte has at
//! least the probability `confidence`. Generation stops there; training and evaluation run all blocks.

mod block;
mod config;
mod presets;

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, activation::softmax},
};
use wavecube_core::{DeviceFault, Error, Result};

use crate::{
    core_config::{Configuration as _, HasCore as _},
    layers::{
        self, Kept, Linear, MixerPast, Norm, Resample, ResamplePast, Room, Routing, State, linear,
        normal_matrix, rows_of, wide,
    },
    lct_gpt::VOCABULARY,
    model::{LanguageModel, Losses, Statistic, check_length, cross_entropy},
    presets::Named,
    random::Random,
    tape::{Passed, Tape},
};
use block::Block;

pub use config::{ExitConfig, HaltingConfig, ModelConfig};

const OP: &str = "resnet-bk";
/// The kinds of losses that blocks have of their own: balance, sparsity, ponder cost, exits.
const OWN_LOSSES: usize = 4;

/// How the block `index` runs at the scale `level`, by `[level, index]`.
type RunBlock<'a> = dyn FnMut(Tensor<3>, [usize; 2], &mut Pass<'_>) -> Result<Tensor<3>> + 'a;

/// What one pass through the blocks carries along and collects.
#[derive(Default)]
struct Pass<'a> {
    /// Drawn from in training.
    noise: Option<&'a mut Random>,
    /// Leave where the last position of every sequence is sure.
    leaves: bool,
    /// Whether it left.
    left: bool,
    /// Where it may leave, the sequences that were sure at some exit.
    sure: Vec<bool>,
    /// The logits of exits: of all positions, or of the last where nothing else is wanted.
    exits: Vec<Tensor<3>>,
    /// Whether the logits of the last position are all that is wanted.
    last_alone: bool,
    /// Where tokens went, a mixture of experts each.
    routings: Vec<Routing>,
    /// What sparse mixers kept.
    kept: Vec<Kept>,
    /// Ponder cost and steps, a halting block each.
    ponder: Vec<[Tensor<1>; 2]>,
    /// What layers keep; nothing where there is no past.
    past: Option<&'a mut Past>,
    /// Which of its mixers runs next.
    run: usize,
}

impl Pass<'_> {
    /// What a scale keeps.
    fn scale(&mut self, index: usize) -> Option<&mut ResamplePast> {
        match self.past.as_mut()?.states.get_mut(index)? {
            LayerPast::Scale(past) => Some(past),
            LayerPast::Mixer(_) => None,
        }
    }

    /// What the mixer that runs next keeps, and the noise of training.
    fn mixer(&mut self) -> (Option<&mut MixerPast>, Option<&mut Random>) {
        let run = self.run;
        self.run += 1;
        let past = self.past.as_mut().and_then(|past| match past.states.get_mut(run)? {
            LayerPast::Mixer(past) => Some(past),
            LayerPast::Scale(_) => None,
        });
        (past, self.noise.as_deref_mut())
    }
}

/// What the model has seen: the states of its mixers, a block's as often as it is repeated, then those between scales.
pub type Past = layers::Past<LayerPast>;

/// What a layer keeps.
#[derive(Debug, Clone)]
pub enum LayerPast {
    /// A mixer.
    Mixer(MixerPast),
    /// The way to half the positions and back.
    Scale(ResamplePast),
}

impl State for LayerPast {
    fn rows(&mut self) -> Vec<&mut Tensor<4>> {
        match self {
            Self::Mixer(past) => past.rows(),
            Self::Scale(past) => past.rows(),
        }
    }
}

/// The model: bytes in, logits of the next byte out.
#[derive(Module, Debug)]
pub struct ResNetBk {
    embedding: Param<Tensor<2>>,
    blocks: Vec<Block>,
    scales: Vec<Resample>,
    norm: Norm,
    head: Linear,
    #[module(skip)]
    config: ModelConfig,
}

impl LanguageModel for ResNetBk {
    type Config = ModelConfig;
    type Past = Past;

    const PRESETS: &'static [Named<ModelConfig>] = presets::PRESETS;

    fn new(config: &ModelConfig, random: &mut Random, device: &Device) -> Result<Self> {
        config.validate()?;
        let config = config.matched();
        let d = config.d_model;
        let gain = config.core().residual_gain();
        Ok(Self {
            embedding: normal_matrix([VOCABULARY, d], 0.1, random, device),
            blocks: (0..config.layers)
                .map(|_| Block::new(&config, random, device))
                .collect::<Result<_>>()?,
            scales: (0..config.scales).map(|_| Resample::new(d, gain, random, device)).collect(),
            norm: Norm::new(config.norm, d, device),
            head: linear(d, VOCABULARY, 0.2, random, device),
            config,
        })
    }

    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn forward(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        let mut pass = Pass::default();
        let last = self.run(bytes, &mut pass)?;
        Ok(self.first_sure(last, &pass).0)
    }

    /// Without the blocks behind the exit where the last sequence has become sure.
    fn next_logits(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        let time = bytes.dims()[1];
        let leaves = self.config.exits.weight > 0.0;
        let mut pass = Pass { leaves, last_alone: true, ..Pass::default() };
        let last = self.run(bytes, &mut pass)?;
        Ok(self.first_sure(last.narrow(1, time - 1, 1), &pass).0)
    }

    fn begin(&self, _room: &Room) -> Result<Past> {
        let mixers = std::iter::repeat_n(LayerPast::Mixer(MixerPast::default()), self.runs());
        let scales = self.scales.iter().map(|_| LayerPast::Scale(ResamplePast::default()));
        Ok(Past { states: mixers.chain(scales).collect(), len: 0 })
    }

    /// Every block runs, so that all have their past, and a sure exit is taken afterwards.
    fn advance(&self, bytes: Tensor<2, Int>, past: &mut Past) -> Result<Tensor<3>> {
        let time = bytes.dims()[1];
        check_length(OP, [past.len, time], self.config.context)?;
        past.len += time;
        let mut pass = Pass { past: Some(past), last_alone: true, ..Pass::default() };
        let last = self.run(bytes, &mut pass)?;
        Ok(self.first_sure(last.narrow(1, time - 1, 1), &pass).0)
    }

    /// With the losses that balance experts, shorten pondering and train exits.
    fn losses(
        &self,
        bytes: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        random: &mut Random,
        tape: &mut Tape<'_, Self>,
    ) -> Result<Losses> {
        check_length(OP, [0, bytes.dims()[1]], self.config.context)?;
        let mut terms: [Vec<Tensor<1>>; OWN_LOSSES] = Default::default();
        let mut run = |x, [level, index]: [usize; 2], _: &mut Pass<'_>| {
            let targets = targets.clone();
            let passed = tape.block(x, random, move |model, x, random| {
                model.trained(x, [level, index], &targets, random)
            })?;
            for (all, own) in terms.iter_mut().zip(passed.terms) {
                all.extend(own);
            }
            Ok(passed.state)
        };
        let x = rows_of(&self.embedding, bytes);
        let last = self.descend(x, 0, 0..self.config.layers, &mut Pass::default(), &mut run)?;
        let nats = cross_entropy(self.read_out(last), targets)?;
        let mut total = nats.clone();
        let config = &self.config;
        let weights = [
            config.experts.balance,
            config.mixer.sparsity.weight,
            config.halting.ponder,
            config.exits.weight,
        ];
        for (losses, weight) in terms.into_iter().zip(weights) {
            if !losses.is_empty() {
                total = total + Tensor::cat(losses, 0).mean() * weight;
            }
        }
        Ok(Losses { total, nats })
    }

    /// The load of every expert and how many count for a token, the steps of halting blocks, the share of positions
    /// that leave at each exit.
    fn statistics(&self, bytes: Tensor<2, Int>) -> Result<Vec<Statistic>> {
        let mut pass = Pass::default();
        let last = self.run(bytes, &mut pass)?;
        let shares = self.first_sure(last, &pass).1;
        let mut all = Vec::new();
        let mut add = |name: String, values: Tensor<1>| -> Result<()> {
            all.push(Statistic { name, values: to_host(values)? });
            Ok(())
        };
        for (i, routing) in pass.routings.into_iter().enumerate() {
            add(format!("mixture {i}: load of each expert"), routing.load)?;
            add(format!("mixture {i}: experts a token"), routing.active)?;
        }
        for (i, kept) in pass.kept.into_iter().enumerate() {
            add(format!("mixer {i}: share of positions kept"), kept.share)?;
        }
        for (i, [_, steps]) in pass.ponder.into_iter().enumerate() {
            add(format!("block {i}: steps a position"), steps)?;
        }
        for (i, share) in shares.into_iter().enumerate() {
            add(format!("exit {i}: share of positions"), share)?;
        }
        Ok(all)
    }
}

impl ResNetBk {
    /// How often mixers run at most.
    fn runs(&self) -> usize {
        self.config.layers * self.config.halting.steps
    }

    fn read_out(&self, state: Tensor<3>) -> Tensor<3> {
        wide(self.head.forward(self.norm.forward(state)))
    }

    /// For every position the logits of the first exit that is sure of it, or of the last block; and the
    /// share of positions that each exit takes.
    fn first_sure(&self, last: Tensor<3>, pass: &Pass<'_>) -> (Tensor<3>, Vec<Tensor<1>>) {
        // Where it left, that is the state that the last exit has read.
        let mut logits = match pass.exits.last() {
            Some(exit) if pass.left => exit.clone(),
            _ => self.read_out(last),
        };
        let [batch, time, _] = logits.dims();
        let mut open = Tensor::<3>::ones([batch, time, 1], &logits.device());
        let (mut exits, mut shares) = (Vec::new(), Vec::new());
        for early in &pass.exits {
            let sure = softmax(early.clone(), 2).max_dim(2);
            let taken =
                sure.greater_equal_elem(self.config.exits.confidence).float() * open.clone();
            open = open - taken.clone();
            shares.push(taken.clone().mean());
            exits.push((early.clone(), taken));
        }
        for (early, taken) in exits {
            logits = logits.clone() + (early - logits) * taken;
        }
        (logits, shares)
    }

    /// The state after the last block.
    fn run(&self, bytes: Tensor<2, Int>, pass: &mut Pass<'_>) -> Result<Tensor<3>> {
        check_length(OP, [0, bytes.dims()[1]], self.config.context)?;
        let x = rows_of(&self.embedding, bytes);
        let mut run = |x, at: [usize; 2], pass: &mut Pass<'_>| self.block(x, at, pass);
        self.descend(x, 0, 0..self.config.layers, pass, &mut run)
    }

    /// The blocks `blocks` at the scale `level`, as `run` runs them: the first, what is coarser, and the last.
    fn descend(
        &self,
        mut x: Tensor<3>,
        level: usize,
        blocks: std::ops::Range<usize>,
        pass: &mut Pass<'_>,
        run: &mut RunBlock<'_>,
    ) -> Result<Tensor<3>> {
        if level == self.config.scales {
            for index in blocks {
                x = run(x, [level, index], pass)?;
                if pass.left {
                    break;
                }
            }
            return Ok(x);
        }
        let (first, last) = (blocks.start, blocks.end - 1);
        x = run(x, [level, first], pass)?;
        if pass.left {
            return Ok(x);
        }
        let (scale, kept) = (&self.scales[level], self.runs() + level);
        let coarse = match scale.down(x.clone(), pass.scale(kept)) {
            Some(coarse) => Some(self.descend(coarse, level + 1, first + 1..last, pass, run)?),
            None => None,
        };
        x = scale.up(x, coarse, pass.scale(kept));
        run(x, [level, last], pass)
    }

    /// A [`block`](Self::block) in training, with the losses of its own.
    fn trained(
        &self,
        x: Tensor<3>,
        at: [usize; 2],
        targets: &Tensor<2, Int>,
        random: &mut Random,
    ) -> Result<Passed<OWN_LOSSES>> {
        let mut pass = Pass { noise: Some(random), ..Pass::default() };
        let state = self.block(x, at, &mut pass)?;
        let balance = pass.routings.into_iter().map(|routing| routing.balance).collect();
        let sparsity = pass.kept.into_iter().map(|kept| kept.loss).collect();
        let ponder = pass.ponder.into_iter().map(|[cost, _]| cost).collect();
        let exits = pass.exits.into_iter();
        let exits = exits.map(|logits| cross_entropy(logits, targets.clone()));
        Ok(Passed { state, terms: [balance, sparsity, ponder, exits.collect::<Result<_>>()?] })
    }

    /// The block `index` at the scale `level`, and the exit behind it.
    fn block(
        &self,
        x: Tensor<3>,
        [level, index]: [usize; 2],
        pass: &mut Pass<'_>,
    ) -> Result<Tensor<3>> {
        pass.run = index * self.config.halting.steps;
        let x = self.blocks[index].forward(x, pass)?;
        if level == 0 && index + 1 < self.config.layers && self.config.exits.weight > 0.0 {
            let time = x.dims()[1];
            let state = if pass.last_alone { x.clone().narrow(1, time - 1, 1) } else { x.clone() };
            let logits = self.read_out(state);
            if pass.leaves {
                let likeliest = softmax(logits.clone(), 2).max_dim(2).flatten(0, 2);
                pass.sure.resize(x.dims()[0], false);
                for (sure, likeliest) in pass.sure.iter_mut().zip(to_host(likeliest)?) {
                    *sure |= likeliest >= self.config.exits.confidence;
                }
                pass.left = pass.sure.iter().all(|&sure| sure);
            }
            pass.exits.push(logits);
        }
        Ok(x)
    }
}

fn to_host(values: Tensor<1>) -> Result<Vec<f64>> {
    let values = values.try_into_data_as::<f64>().map_err(|error| error.to_string());
    let values = values.map(|data| data.iter::<f64>().collect());
    values.map_err(|report| Error::Device { op: OP, reason: DeviceFault::Failed(report) })
}
