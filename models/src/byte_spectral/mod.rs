//! The byte-spectral model: a byte-level language model that mixes positions by complex filters.
//!
//! A block is `x + mixer(norm x)`, then `x + network(norm x)`, with a gated network. The mixer filters along
//! the sequence by Fourier transforms, `O(n log n)`, and has a switch for each of the cures of what plain
//! filtering cannot tell apart: see [`SpectralMixer`]. Every
//! setting that the model takes is causal.

mod config;
mod presets;

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use wavecube_core::Result;

use crate::{
    core_config::{Configuration as _, HasCore as _},
    layers::{
        self, CausalStream, Glu, Linear, Norm, Room, SpectralMixer, linear, normal_matrix, rows_of,
        wide,
    },
    lct_gpt::VOCABULARY,
    model::{LanguageModel, Losses, check_length, cross_entropy},
    presets::Named,
    random::Random,
    tape::{Passed, Tape},
};

pub use config::ModelConfig;

const OP: &str = "byte-spectral";

/// `x + mixer(norm x)`, then `x + network(norm x)`.
#[derive(Module, Debug)]
struct Block {
    mixer_norm: Norm,
    mixer: SpectralMixer,
    network_norm: Norm,
    network: Glu,
}

impl Block {
    fn new(config: &ModelConfig, random: &mut Random, device: &Device) -> Result<Self> {
        let (d, gain) = (config.d_model, config.core().residual_gain());
        let norm = || Norm::new(config.norm, d, device);
        let sizes = [d, config.context];
        Ok(Self {
            mixer_norm: norm(),
            mixer: SpectralMixer::new(&config.mixer, sizes, gain, random, device)?,
            network_norm: norm(),
            network: Glu::new(d, config.hidden(), gain, random, device),
        })
    }

    /// With the mixer as `mix` runs it.
    fn forward(
        &self,
        x: Tensor<3>,
        mix: impl FnOnce(&SpectralMixer, Tensor<3>) -> Result<Tensor<3>>,
    ) -> Result<Tensor<3>> {
        let x = x.clone() + wide(mix(&self.mixer, self.mixer_norm.forward(x))?);
        Ok(x.clone() + wide(self.network.forward(self.network_norm.forward(x))))
    }
}

/// The model: bytes in, logits of the next byte out.
#[derive(Module, Debug)]
pub struct ByteSpectral {
    embedding: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    #[module(skip)]
    config: ModelConfig,
}

/// What the model has seen: the stream of every block.
pub type Past = layers::Past<CausalStream>;

impl LanguageModel for ByteSpectral {
    type Config = ModelConfig;
    type Past = Past;

    const PRESETS: &'static [Named<ModelConfig>] = presets::PRESETS;

    fn new(config: &ModelConfig, random: &mut Random, device: &Device) -> Result<Self> {
        config.validate()?;
        let config = config.matched();
        let d = config.d_model;
        Ok(Self {
            embedding: normal_matrix([VOCABULARY, d], 0.1, random, device),
            blocks: (0..config.layers)
                .map(|_| Block::new(&config, random, device))
                .collect::<Result<_>>()?,
            norm: Norm::new(config.norm, d, device),
            head: linear(d, VOCABULARY, 0.2, random, device),
            config,
        })
    }

    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn forward(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        let mut x = self.embed(bytes)?;
        for block in &self.blocks {
            x = block.forward(x, SpectralMixer::forward)?;
        }
        Ok(self.read_out(x))
    }

    fn losses(
        &self,
        bytes: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        random: &mut Random,
        tape: &mut Tape<'_, Self>,
    ) -> Result<Losses> {
        let mut x = self.embed(bytes)?;
        for index in 0..self.blocks.len() {
            let passed = tape.block(x, random, move |model, x, _| {
                model.blocks[index].forward(x, SpectralMixer::forward).map(Passed::from)
            })?;
            x = passed.state;
        }
        Ok(cross_entropy(self.read_out(x), targets)?.into())
    }

    fn begin(&self, room: &Room) -> Result<Past> {
        let begin = |block: &Block| block.mixer.begin(room.texts, room.positions);
        Ok(Past { states: self.blocks.iter().map(begin).collect::<Result<_>>()?, len: 0 })
    }

    /// At `O(log² n)` operations a channel and byte in place of `O(n log n)`. Where it fails, the past is as it was.
    fn advance(&self, bytes: Tensor<2, Int>, past: &mut Past) -> Result<Tensor<3>> {
        let time = bytes.dims()[1];
        check_length(OP, [past.len, time], self.config.context)?;
        let mut x = self.embed(bytes)?;
        for (block, stream) in self.blocks.iter().zip(&mut past.states) {
            x = block.forward(x, |mixer, x| mixer.advance(x, stream))?;
        }
        past.len += time;
        Ok(self.read_out(x.narrow(1, time - 1, 1)))
    }
}

impl ByteSpectral {
    fn embed(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        check_length(OP, [0, bytes.dims()[1]], self.config.context)?;
        Ok(rows_of(&self.embedding, bytes))
    }

    fn read_out(&self, x: Tensor<3>) -> Tensor<3> {
        wide(self.head.forward(self.norm.forward(x)))
    }
}
