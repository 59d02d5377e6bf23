//! What a language model is, and the models there are behind one type.
//!
//! [`LanguageModel`] is what a model implements, in its own module. [`Model`] is any of those in the registry, which is
//! what training, generation and checkpoints are written for.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use serde::Serialize;
use wavecube_core::{Error, Result};

use crate::{
    core_config::{Configuration, HasCore as _},
    flops::Flops,
    layers::{ModelPast, Room},
    optimizer::ParameterGradients,
    presets::Named,
    random::Random,
    tape::Tape,
};

pub use crate::registry::{Architecture, Model, Past};

/// A causal language model over bytes: bytes in, logits of the next byte out.
pub trait LanguageModel: Module {
    /// Its configuration, the table of its name in TOML.
    type Config: Configuration + 'static;
    /// What it keeps of the bytes that it has seen.
    type Past: ModelPast;

    /// Names for configurations, from baseline to full.
    const PRESETS: &'static [Named<Self::Config>] = &[];

    /// A fresh model; the same `random` gives the same parameters on every device.
    ///
    /// # Errors
    ///
    /// Those of [`Configuration::validate`].
    fn new(config: &Self::Config, random: &mut Random, device: &Device) -> Result<Self>;

    /// The configuration with the width of the networks that was settled on.
    fn config(&self) -> &Self::Config;

    /// Logits `[batch, time, 256]` of the byte after each position of `bytes` (`[batch, time]`).
    ///
    /// # Errors
    ///
    /// [`Error::Length`] when `time` is 0 or exceeds the context; those of the layers.
    fn forward(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>>;

    /// An empty past of as many texts as there is room for.
    ///
    /// # Errors
    ///
    /// Those of the layers; [`Error::Unsupported`] for a cache that the device does not have.
    fn begin(&self, room: &Room) -> Result<Self::Past>;

    /// Logits `[batch, 1, 256]` of the byte after `bytes` (`[batch, time]`), which follow those that `past` has seen:
    /// what [`forward`](Self::forward) gives for all bytes together at the last position. `past` then has seen these
    /// too.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward), for all bytes together; [`Error::Limit`] beyond the room of the past.
    fn advance(&self, bytes: Tensor<2, Int>, past: &mut Self::Past) -> Result<Tensor<3>>;

    /// Logits `[batch, 1, 256]` of the byte after the last position.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward).
    fn next_logits(&self, bytes: Tensor<2, Int>) -> Result<Tensor<3>> {
        let logits = self.forward(bytes)?;
        let time = logits.dims()[1];
        Ok(logits.narrow(1, time - 1, 1))
    }

    /// Mean cross-entropy in nats of `targets` (`[batch, time]`), `targets[t]` following `bytes[t]`.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward).
    fn loss(&self, bytes: Tensor<2, Int>, targets: Tensor<2, Int>) -> Result<Tensor<1>> {
        cross_entropy(self.forward(bytes)?, targets)
    }

    /// What a step of training differentiates, with its blocks on `tape`; `random` is drawn from where training takes
    /// noise.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward).
    fn losses(
        &self,
        bytes: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        random: &mut Random,
        tape: &mut Tape<'_, Self>,
    ) -> Result<Losses>;

    /// The gradients of the [`losses`](Self::losses), by the way that `back` says.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward).
    fn differentiate(
        &self,
        bytes: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        random: &mut Random,
        back: WayBack,
    ) -> Result<Differentiated> {
        let mut tape = Tape::new(self, back.checkpointing);
        let Losses { mut total, nats } = self.losses(bytes, targets, random, &mut tape)?;
        if let Some(scale) = back.loss_scale {
            total = total * scale;
        }
        Ok(Differentiated { nats: nats.inner(), gradients: tape.backward(total)? })
    }

    /// What the parts of the model do on `bytes`, where there is something to tell.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward), and when the device cannot be read.
    fn statistics(&self, _bytes: Tensor<2, Int>) -> Result<Vec<Statistic>> {
        Ok(Vec::new())
    }

    /// How often a transform met `|b| < epsilon` since the model was made.
    fn degenerate_hits(&self) -> u64 {
        0
    }

    /// How many bytes it sees.
    fn context(&self) -> usize {
        self.config().core().context
    }

    /// The width of its networks, settled on for its number of parameters.
    fn hidden(&self) -> usize {
        self.config().hidden()
    }

    /// Its operations.
    fn flops(&self) -> Flops {
        self.config().flops()
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

impl From<Tensor<1>> for Losses {
    /// Of cross-entropy alone.
    fn from(nats: Tensor<1>) -> Self {
        Self { total: nats.clone(), nats }
    }
}

/// How gradients are found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WayBack {
    /// With [gradient checkpointing](crate::tape).
    pub checkpointing: bool,
    /// Of the loss times this.
    pub loss_scale: Option<f64>,
}

/// What a pass forward and back gives.
#[derive(Debug)]
pub struct Differentiated {
    /// Mean cross-entropy in nats, `[1]`.
    pub nats: Tensor<1>,
    /// The gradients of all that is differentiated.
    pub gradients: ParameterGradients,
}

/// A figure about what a model does, for a reader.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistic {
    /// What it is.
    pub name: String,
    /// Its values.
    pub values: Vec<f64>,
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
/// Those of [`wavecube_burn::cross_entropy`].
pub(crate) fn cross_entropy(logits: Tensor<3>, targets: Tensor<2, Int>) -> Result<Tensor<1>> {
    let [batch, time, vocabulary] = logits.dims();
    let rows = batch * time;
    wavecube_burn::cross_entropy(logits.reshape([rows, vocabulary]), targets.reshape([rows]))
}
