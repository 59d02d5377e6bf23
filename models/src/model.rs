//! The models behind one type: what training, generation and checkpoints are written for.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use serde::{Deserialize, Serialize};
use wavecube_core::{Error, Result};

use crate::{
    bridge,
    byte_spectral::{self, ByteSpectral},
    config::Config,
    flops::Flops,
    layers::Room,
    lct_gpt::{self, LctGpt},
    random::Random,
    resnet_bk::{self, ResNetBk},
};

/// Which model: `model = "…"` in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// [`LctGpt`], configured by `[lct-gpt]`.
    #[default]
    LctGpt,
    /// [`ResNetBk`], configured by `[resnet-bk]`.
    ResnetBk,
    /// [`ByteSpectral`], configured by `[byte-spectral]`.
    ByteSpectral,
}

/// A model of any kind: bytes in, logits of the next byte out.
#[derive(Module, Debug)]
pub enum Model {
    /// A transformer, with or without a transform in its blocks.
    LctGpt(LctGpt),
    /// Resolvents of tridiagonal operators.
    ResnetBk(ResNetBk),
    /// Complex filters along the sequence.
    ByteSpectral(ByteSpectral),
}

/// What a model keeps of the bytes that it has seen.
#[derive(Debug, Clone)]
pub enum Past {
    /// Keys and values, and what transforms add to later positions.
    LctGpt(Box<lct_gpt::Past>),
    /// The last values of resolvents.
    ResnetBk(resnet_bk::Past),
    /// What filters add to later positions.
    ByteSpectral(byte_spectral::Past),
}

impl Past {
    /// How many bytes it has seen.
    pub fn len(&self) -> usize {
        match self {
            Self::LctGpt(past) => past.len(),
            Self::ResnetBk(past) => past.len(),
            Self::ByteSpectral(past) => past.len(),
        }
    }

    /// Whether it has seen nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps these of its sequences, in this order.
    pub(crate) fn select(&mut self, sequences: &[usize], device: &Device) {
        match self {
            Self::LctGpt(past) => past.select(sequences, device),
            Self::ResnetBk(past) => past.select(sequences, device),
            Self::ByteSpectral(past) => past.select(sequences, device),
        }
    }

    /// Adds the sequences of `other`, of the same model and with as many bytes.
    pub(crate) fn join(&mut self, other: Self) -> Result<()> {
        let refused = |reason| Error::Unsupported { op: "Past::join", argument: "other", reason };
        match (self, other) {
            (past, other) if past.len() != other.len() => {
                return Err(refused("it has seen more or fewer bytes"));
            }
            (Self::LctGpt(past), Self::LctGpt(other)) => past.join(*other)?,
            (Self::ResnetBk(past), Self::ResnetBk(other)) => past.join(other),
            (Self::ByteSpectral(past), Self::ByteSpectral(other)) => past.join(other),
            _ => return Err(refused("it is that of another model")),
        }
        Ok(())
    }
}

/// What a step trains by, and what it reports.
#[derive(Debug, Clone)]
pub struct Losses {
    /// What is differentiated: mean cross-entropy in nats and the model's own terms.
    pub total: Tensor<1>,
    /// Mean cross-entropy in nats.
    pub nats: Tensor<1>,
}

/// A figure about what a model does, for a reader.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistic {
    /// What it is.
    pub name: String,
    /// Its values.
    pub values: Vec<f64>,
}

impl Model {
    /// A fresh model; the same `random` gives the same parameters on every device.
    ///
    /// # Errors
    ///
    /// Those of the model's configuration.
    pub fn new(config: &Config, random: &mut Random, device: &Device) -> Result<Self> {
        Ok(match config.model {
            Architecture::LctGpt => Self::LctGpt(LctGpt::new(&config.lct_gpt, random, device)?),
            Architecture::ResnetBk => {
                Self::ResnetBk(ResNetBk::new(&config.resnet_bk, random, device)?)
            }
            Architecture::ByteSpectral => {
                Self::ByteSpectral(ByteSpectral::new(&config.byte_spectral, random, device)?)
            }
        })
    }

    /// How many bytes it sees.
    pub fn context(&self) -> usize {
        match self {
            Self::LctGpt(model) => model.config().context,
            Self::ResnetBk(model) => model.config().context,
            Self::ByteSpectral(model) => model.config().context,
        }
    }

    /// The width of its networks, settled on for its number of parameters.
    pub fn hidden(&self) -> usize {
        match self {
            Self::LctGpt(model) => model.config().hidden(),
            Self::ResnetBk(model) => model.config().hidden(),
            Self::ByteSpectral(model) => model.config().hidden(),
        }
    }

    /// Its operations.
    pub fn flops(&self) -> Flops {
        match self {
            Self::LctGpt(model) => model.config().flops(),
            Self::ResnetBk(model) => model.config().flops(),
            Self::ByteSpectral(model) => model.config().flops(),
        }
    }

    /// Logits `[batch, time, 256]` of the byte after each position of `bytes` (`[batch, time]`).
    ///
    /// # Errors
    ///
    /// [`Length`](wavecube_core::Error::Length) when `time` is 0 or exceeds the context; those of the
    /// model.
    pub fn forward(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        match self {
            Self::LctGpt(model) => model.forward(bytes),
            Self::ResnetBk(model) => model.forward(bytes),
            Self::ByteSpectral(model) => model.forward(bytes),
        }
    }

    /// Logits `[batch, 1, 256]` of the byte after the last position.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward).
    pub fn next_logits(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        if let Self::ResnetBk(model) = self {
            return model.next_logits(bytes);
        }
        let logits = self.forward(bytes)?;
        let time = logits.dims()[1];
        Ok(logits.narrow(1, time - 1, 1))
    }

    /// An empty past of as many texts as there is room for.
    ///
    /// # Errors
    ///
    /// Those of the model; [`Unsupported`](Error::Unsupported) for a cache that the device does not have.
    pub fn begin(&self, room: &Room) -> Result<Past> {
        Ok(match self {
            Self::LctGpt(model) => Past::LctGpt(Box::new(model.begin(room)?)),
            Self::ResnetBk(model) => Past::ResnetBk(model.begin()),
            Self::ByteSpectral(model) => Past::ByteSpectral(model.begin(room)?),
        })
    }

    /// Logits `[batch, 1, 256]` of the byte after `bytes` (`[batch, time]`), which follow those that `past` has seen;
    /// `past` then has seen these too.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward); [`Unsupported`](Error::Unsupported) for the past of another model.
    pub fn advance(&self, bytes: Tensor<2, Int>, past: &mut Past) -> Result<Tensor<3>> {
        match (self, past) {
            (Self::LctGpt(model), Past::LctGpt(past)) => model.advance(bytes, past),
            (Self::ResnetBk(model), Past::ResnetBk(past)) => model.advance(bytes, past),
            (Self::ByteSpectral(model), Past::ByteSpectral(past)) => model.advance(bytes, past),
            _ => Err(Error::Unsupported {
                op: "Model::advance",
                argument: "past",
                reason: "it is that of another model",
            }),
        }
    }

    /// Mean cross-entropy in nats of `targets` (`[batch, time]`), `targets[t]` following `bytes[t]`.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward).
    pub fn loss(&self, bytes: Tensor<2, Int>, targets: Tensor<2, Int>) -> Result<Tensor<1>> {
        cross_entropy(self.forward(bytes)?, targets)
    }

    /// What a step of training differentiates; `random` is drawn from where training takes noise.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward).
    pub fn losses(
        &self,
        bytes: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        random: &mut Random,
    ) -> Result<Losses> {
        match self {
            Self::ResnetBk(model) => model.losses(bytes, targets, random),
            Self::LctGpt(_) | Self::ByteSpectral(_) => {
                let nats = self.loss(bytes, targets)?;
                Ok(Losses { total: nats.clone(), nats })
            }
        }
    }

    /// How often a transform met `|b| < epsilon` since the model was made.
    pub fn degenerate_hits(&self) -> u64 {
        match self {
            Self::LctGpt(model) => model.degenerate_hits(),
            Self::ResnetBk(_) | Self::ByteSpectral(_) => 0,
        }
    }

    /// What the parts of the model do on `bytes`, where there is something to tell.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward), and when the device cannot be read.
    pub fn statistics(&self, bytes: Tensor<2, Int>) -> Result<Vec<Statistic>> {
        match self {
            Self::LctGpt(_) | Self::ByteSpectral(_) => Ok(Vec::new()),
            Self::ResnetBk(model) => model.statistics(bytes),
        }
    }
}

/// Accepts so many bytes `[before, time]`, those that a model has seen and those that come, in a context.
pub(crate) fn check_length(
    op: &'static str,
    [before, time]: [usize; 2],
    context: usize,
) -> Result<()> {
    let found = before + time;
    if time > 0 && found <= context {
        return Ok(());
    }
    let expected = "between 1 and the model's context";
    Err(Error::Length { op, argument: "bytes", expected, found })
}

/// Mean cross-entropy in nats of `targets` (`[batch, time]`) by `logits` (`[batch, time, 256]`).
///
/// # Errors
///
/// Those of [`bridge::cross_entropy`].
pub(crate) fn cross_entropy(logits: Tensor<3>, targets: Tensor<2, Int>) -> Result<Tensor<1>> {
    let [batch, time, vocabulary] = logits.dims();
    let rows = batch * time;
    bridge::cross_entropy(logits.reshape([rows, vocabulary]), targets.reshape([rows]))
}
