//! LCT-GPT: a byte-level GPT with a linear canonical transform in its blocks.
//!
//! A block of the baseline is `x + attention(norm x)`, then `x + mlp(norm x)`. The transform goes
//! where [`Placement`] says; the width of the MLP can be adjusted so that every variant has the
//! baseline's number of parameters ([`ModelConfig::matched`]).

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use wavecube_burn::{Attention, Cache, CacheConfig, ROTARY_BASE, alibi_slopes, rotary_angle};
use wavecube_core::{Error, Result};

use crate::{
    core_config::{Configuration, CoreConfig, HasCore as _, model_config},
    flops::{Flops, Part},
    layers::{
        self, CausalSelfAttention, ChirpedStream, LctConfig, LctLayer, Linear, Mlp, ModelPast,
        Norm, Room, SequenceContext, linear, normal_matrix, rows_of, wide,
    },
    model::{LanguageModel, Losses, check_length, cross_entropy},
    presets::Named,
    random::Random,
    tape::{Passed, Tape},
};

/// One symbol a byte.
pub const VOCABULARY: usize = 256;

/// Where the transform goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Nowhere: the baseline.
    None,
    /// `x + attention(lct(norm x))`.
    Before,
    /// `x + lct(attention(norm x))`.
    After,
    /// A residual of its own: `x + lct(norm x)` ahead of attention.
    #[default]
    Block,
    /// Instead of attention: `x + lct(norm x)`.
    Mixer,
}

/// How positions are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Rotary embedding of queries and keys.
    #[default]
    Rope,
    /// A learned vector for each position.
    Learned,
    /// A fixed vector for each position, of sines and cosines at rates from 1 to 1/10000 (Vaswani et al., *Attention is
    /// all you need*, 2017, section 3.5), as large as the embedding.
    Sinusoidal,
    /// Scores fall with the distance, in every head at another rate ([`alibi_slopes`]).
    Alibi,
}

/// The deviation of the embedding's numbers at the start.
const EMBEDDED: f64 = 0.1;

/// The vectors `[1, positions, d]` of [`Positions::Sinusoidal`]; their numbers have the mean square of the embedding's.
fn sinusoids(positions: std::ops::Range<usize>, d: usize, device: &Device) -> Tensor<3> {
    let time = positions.len();
    let half = d.div_ceil(2);
    let values = positions.flat_map(|t| {
        (0..d).map(move |i| {
            let angle = rotary_angle(t, i % half, half, ROTARY_BASE);
            let wave = if i < half { angle.sin() } else { angle.cos() };
            (EMBEDDED * std::f64::consts::SQRT_2 * wave) as f32
        })
    });
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), [1, time, d]), device)
}

model_config! {
    /// An [`LctGpt`] in words.
    ModelConfig {
        /// Attention heads.
        heads: usize = 4,
        /// How positions are told apart.
        positions: Positions = Positions::default(),
        /// Where the transform goes.
        placement: Placement = Placement::default(),
        /// The transform.
        lct: LctConfig = LctConfig::default(),
    }
}

const OP: &str = "lct-gpt";

impl ModelConfig {
    /// The transformer of these sizes that other models are matched to.
    pub(crate) fn transformer(core: CoreConfig) -> Self {
        Self { heads: 1, placement: Placement::None, ..Self::default() }.with_core(core)
    }
}

impl Configuration for ModelConfig {
    fn validate(&self) -> Result<()> {
        self.core().validate(OP)?;
        if self.heads == 0 {
            return Err(Error::Length {
                op: OP,
                argument: "lct-gpt.heads",
                expected: "at least 1",
                found: self.heads,
            });
        }
        if !self.d_model.is_multiple_of(self.heads) {
            return Err(Error::Length {
                op: OP,
                argument: "lct-gpt.d_model",
                expected: "a multiple of lct-gpt.heads",
                found: self.d_model,
            });
        }
        if self.positions == Positions::Rope && !(self.d_model / self.heads).is_multiple_of(2) {
            return Err(Error::Length {
                op: OP,
                argument: "lct-gpt.d_model / lct-gpt.heads",
                expected: "even where positions = \"rope\"",
                found: self.d_model / self.heads,
            });
        }
        if self.placement != Placement::None {
            self.lct.validate()?;
        }
        Ok(())
    }

    /// `4 · d_model` where none is configured.
    fn hidden(&self) -> usize {
        if self.mlp_hidden == 0 { 4 * self.d_model } else { self.mlp_hidden }
    }

    fn parameter_count(&self) -> usize {
        let d = self.d_model;
        let norm = Norm::parameters(self.norm, d);
        let lct = self.lct.parameter_count(d);
        let attention = 4 * d * d;
        let mixing = match self.placement {
            Placement::None => norm + attention,
            Placement::Before | Placement::After => norm + attention + lct,
            Placement::Block => 2 * norm + attention + lct,
            Placement::Mixer => norm + lct,
        };
        let positions = match self.positions {
            Positions::Rope | Positions::Sinusoidal | Positions::Alibi => 0,
            Positions::Learned => self.context * d,
        };
        let block = mixing + norm + 2 * d * self.hidden();
        positions + 2 * VOCABULARY * d + self.layers * block + norm
    }

    /// The transformer is the same model with `placement = "none"`.
    fn matched(&self) -> Self {
        if !self.match_parameters || self.placement == Placement::None {
            return self.clone();
        }
        let baseline = Self { placement: Placement::None, ..self.clone() };
        let target = baseline.parameter_count() as f64;
        let thin = Self { mlp_hidden: 1, ..self.clone() };
        let unit = (2 * self.layers * self.d_model) as f64;
        let hidden = 1.0 + (target - thin.parameter_count() as f64) / unit;
        Self { mlp_hidden: hidden.round().max(1.0) as usize, ..self.clone() }
    }

    fn flops(&self) -> Flops {
        let (d, time) = (self.d_model as f64, self.context as f64);
        let layers = self.layers as f64;
        let mut parts = Vec::new();
        if self.placement != Placement::Mixer {
            parts.push(Part::matrices("attention maps", 4.0 * d * d).times(layers));
            // Scores and their use, masked ones too: two products of `time · d` a token.
            parts.push(Part::matrices("attention", 2.0 * time * d).times(layers));
        }
        if self.placement != Placement::None {
            // A transform is a few FFTs of `5 n log₂ n` over a line of `n`; shears take two.
            let n = if self.lct.is_causal() { time } else { d };
            let transforms = 2.0 * 5.0 * d * n.log2().max(1.0);
            parts.push(
                Part { name: "transform", forward: transforms, backward: transforms }.times(layers),
            );
            let projection = self.lct.parameter_count(self.d_model) as f64;
            parts.push(Part::matrices("projection", projection).times(layers));
        }
        parts.push(Part::matrices("network", 2.0 * d * self.hidden() as f64).times(layers));
        parts.push(Part::matrices("head", d * VOCABULARY as f64));
        Flops::new(parts, self.parameter_count())
    }
}

/// One block: mixing of positions and channels, then the MLP.
#[derive(Module, Debug)]
struct Block {
    attention_norm: Option<Norm>,
    attention: Option<CausalSelfAttention>,
    lct_norm: Option<Norm>,
    lct: Option<LctLayer>,
    mlp_norm: Norm,
    mlp: Mlp,
    #[module(skip)]
    placement: Placement,
}

impl Block {
    fn new(config: &ModelConfig, random: &mut Random, device: &Device) -> Result<Self> {
        let d = config.d_model;
        let gain = config.core().residual_gain();
        let norm = || Norm::new(config.norm, d, device);
        let attends = config.placement != Placement::Mixer;
        let transforms = config.placement != Placement::None;
        let own_norm = matches!(config.placement, Placement::Block | Placement::Mixer);
        let attention =
            attends.then(|| CausalSelfAttention::new(d, config.heads, gain, random, device));
        let lct = if transforms {
            Some(LctLayer::new(&config.lct, d, config.context, device)?)
        } else {
            None
        };
        Ok(Self {
            attention_norm: attends.then(norm),
            attention,
            lct_norm: own_norm.then(norm),
            lct,
            mlp_norm: norm(),
            mlp: Mlp::new(d, config.hidden(), gain, random, device),
            placement: config.placement,
        })
    }

    fn forward(
        &self,
        mut x: Tensor<3>,
        context: &SequenceContext,
        PastOfBlock { cache, mut stream }: PastOfBlock<'_>,
    ) -> Result<Tensor<3>> {
        if let (Some(norm), Some(lct)) = (&self.lct_norm, &self.lct) {
            x = x.clone() + wide(lct.advance(norm.forward(x), stream.as_deref_mut())?);
        }
        if let (Some(norm), Some(attention)) = (&self.attention_norm, &self.attention) {
            let mut y = norm.forward(x.clone());
            if let (Placement::Before, Some(lct)) = (self.placement, &self.lct) {
                y = lct.advance(y, stream.as_deref_mut())?;
            }
            y = attention.advance(y, context, cache)?;
            if let (Placement::After, Some(lct)) = (self.placement, &self.lct) {
                y = lct.advance(y, stream)?;
            }
            x = x + wide(y);
        }
        Ok(x.clone() + wide(self.mlp.forward(self.mlp_norm.forward(x))))
    }
}

/// What a block has seen; nothing where there is no past.
#[derive(Default)]
struct PastOfBlock<'a> {
    /// The cache, and the layer that the block is in it.
    cache: Option<(&'a mut Cache, usize)>,
    stream: Option<&'a mut ChirpedStream>,
}

/// What the model has seen: keys and values where it attends, and a stream a block where it transforms along the
/// sequence.
#[derive(Debug, Clone)]
pub struct Past {
    cache: Option<Cache>,
    streams: layers::Past<ChirpedStream>,
}

impl ModelPast for Past {
    fn len(&self) -> usize {
        self.streams.len
    }

    fn select(&mut self, texts: &[usize], device: &Device) {
        if let Some(cache) = &mut self.cache {
            cache.select(texts, device);
        }
        self.streams.select(texts, device);
    }

    fn join(&mut self, other: Self) -> Result<()> {
        if let (Some(cache), Some(other)) = (&mut self.cache, other.cache) {
            cache.join(other)?;
        }
        self.streams.join(other.streams)
    }
}

/// The model: bytes in, logits of the next byte out.
#[derive(Module, Debug)]
pub struct LctGpt {
    embedding: Param<Tensor<2>>,
    positions: Option<Param<Tensor<2>>>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    #[module(skip)]
    config: ModelConfig,
}

impl LanguageModel for LctGpt {
    type Config = ModelConfig;
    type Past = Past;

    const PRESETS: &'static [Named<ModelConfig>] = &[
        // The transformer that other models are matched to.
        ("attention", |config| ModelConfig { placement: Placement::None, ..config.clone() }),
        ("lct-gpt", ModelConfig::clone),
    ];

    fn new(config: &ModelConfig, random: &mut Random, device: &Device) -> Result<Self> {
        config.validate()?;
        let config = config.matched();
        let d = config.d_model;
        let embedding = normal_matrix([VOCABULARY, d], EMBEDDED, random, device);
        let positions = (config.positions == Positions::Learned)
            .then(|| normal_matrix([config.context, d], 0.02, random, device));
        let blocks = (0..config.layers)
            .map(|_| Block::new(&config, random, device))
            .collect::<Result<_>>()?;
        Ok(Self {
            embedding,
            positions,
            blocks,
            norm: Norm::new(config.norm, d, device),
            head: linear(d, VOCABULARY, 0.2, random, device),
            config,
        })
    }

    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn degenerate_hits(&self) -> u64 {
        self.blocks
            .iter()
            .filter_map(|block| block.lct.as_ref())
            .map(LctLayer::degenerate_hits)
            .sum()
    }

    fn forward(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        let (mut x, context) = self.embed(bytes, None)?;
        for block in &self.blocks {
            x = block.forward(x, &context, PastOfBlock::default())?;
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
        let (mut x, context) = self.embed(bytes, None)?;
        for index in 0..self.blocks.len() {
            let context = context.clone();
            let passed = tape.block(x, random, move |model, x, _| {
                let block = &model.blocks[index];
                block.forward(x, &context, PastOfBlock::default()).map(Passed::from)
            })?;
            x = passed.state;
        }
        Ok(cross_entropy(self.read_out(x), targets)?.into())
    }

    fn begin(&self, room: &Room) -> Result<Past> {
        let ModelConfig { layers, heads, d_model, .. } = self.config;
        let Room { texts, positions, cache: storage } = *room;
        let cache = (self.config.placement != Placement::Mixer).then(|| {
            let rotary = self.config.positions == Positions::Rope;
            let dim = d_model / heads;
            let config = CacheConfig { layers, heads, dim, texts, positions, rotary, storage };
            Cache::new(&config, &self.embedding.val())
        });
        let device = self.embedding.device();
        let begin = |lct: &LctLayer| lct.begin([texts, d_model], positions, &device).transpose();
        let transforms = self.blocks.iter().filter_map(|block| block.lct.as_ref());
        let states = transforms.filter_map(begin).collect::<Result<_>>()?;
        Ok(Past { cache: cache.transpose()?, streams: layers::Past { states, len: 0 } })
    }

    fn advance(&self, bytes: Tensor<2, Int>, past: &mut Past) -> Result<Tensor<3>> {
        let time = bytes.dims()[1];
        let (mut x, context) = self.embed(bytes, Some(past))?;
        if let Some(cache) = &mut past.cache {
            cache.append(time)?;
        }
        past.streams.len += time;
        for (layer, block) in self.blocks.iter().enumerate() {
            let past = PastOfBlock {
                cache: past.cache.as_mut().map(|cache| (cache, layer)),
                stream: past.streams.states.get_mut(layer),
            };
            x = block.forward(x, &context, past)?;
        }
        Ok(self.read_out(x.narrow(1, time - 1, 1)))
    }
}

impl LctGpt {
    /// What goes into the first block, and what all of them share, for bytes behind those of `past`.
    fn embed(
        &self,
        bytes: Tensor<2, Int>,
        past: Option<&Past>,
    ) -> Result<(Tensor<3>, SequenceContext)> {
        let time = bytes.dims()[1];
        let d = self.config.d_model;
        let start = past.map_or(0, ModelPast::len);
        check_length(OP, [start, time], self.config.context)?;
        let device = self.embedding.device();
        let mut x = rows_of(&self.embedding, bytes);
        if let Some(positions) = &self.positions {
            x = x + positions.val().narrow(0, start, time).unsqueeze();
        }
        let positions = start..start + time;
        if self.config.positions == Positions::Sinusoidal {
            x = x + sinusoids(positions.clone(), d, &device);
        }
        let turned = past.and_then(|past| past.cache.as_ref()).is_some_and(Cache::turns);
        let rope = self.config.positions == Positions::Rope && !turned;
        let attention = match self.config.positions {
            Positions::Alibi => Attention::causal().alibi(&alibi_slopes(self.config.heads)),
            _ => Attention::causal(),
        };
        let context = SequenceContext::at(positions, d / self.config.heads, rope, &device)?;
        Ok((x, context.attending(attention)))
    }

    fn read_out(&self, x: Tensor<3>) -> Tensor<3> {
        wide(self.head.forward(self.norm.forward(x)))
    }
}
