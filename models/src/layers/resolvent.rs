//! The resolvent mixer.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use wavecube_burn::{Sides, exponential, resolvent, softplus};
use wavecube_core::{Error, Result};

use super::{
    Linear, State, linear,
    sparsity::{Kept, Selection, SparsityConfig},
    vector, wide,
};
use crate::random::Random;

/// What a position sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolventForm {
    /// What is on its left.
    #[default]
    Left,
    /// The block before its own.
    Blocked,
    /// Everything. Not for language models.
    TwoSided,
}

/// The products beside the diagonal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hopping {
    /// One.
    Fixed,
    /// A positive function of the token on the right: how much of the past it lets through.
    #[default]
    Token,
}

/// A [`ResolventMixer`] in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResolventConfig {
    /// Operators; `d_model` when it is 0.
    pub channels: usize,
    /// What a position sees.
    pub form: ResolventForm,
    /// The positions of a block in the blocked form.
    pub block: usize,
    /// The products beside the diagonal.
    pub hopping: Hopping,
    /// The share of the shortcut `−g G²` in the gradient of the diagonal. 0 is the exact gradient; the
    /// shortcut forgets that an element moves its neighbours.
    pub grad_blend: f64,
    /// The positions that the recursion leaves out, in the blocked form.
    pub sparsity: SparsityConfig,
}

impl Default for ResolventConfig {
    fn default() -> Self {
        Self {
            channels: 0,
            form: ResolventForm::Left,
            block: 8,
            hopping: Hopping::Token,
            grad_blend: 0.0,
            sparsity: SparsityConfig::default(),
        }
    }
}

const OP: &str = "resolvent mixer";

impl ResolventConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for blocks of no positions, [`Error::Value`] for a `grad_blend` outside 0 to 1,
    /// [`Error::Unsupported`] for a sparsity of another form than the blocked one; those of
    /// [`SparsityConfig::validate`].
    pub fn validate(&self) -> Result<()> {
        if self.block == 0 {
            let expected = "at least 1";
            return Err(Error::Length { op: OP, argument: "block", expected, found: 0 });
        }
        if !(0.0..=1.0).contains(&self.grad_blend) {
            let (expected, found) = ("between 0 and 1", self.grad_blend);
            return Err(Error::Value { op: OP, argument: "grad_blend", expected, found });
        }
        if self.sparsity.skips() && self.form != ResolventForm::Blocked {
            return Err(Error::Unsupported {
                op: OP,
                argument: "sparsity.keep",
                reason: "what is left out lies on a line between what is kept on either side, which only \
                         the blocked form may see: take form = \"blocked\"",
            });
        }
        self.sparsity.validate()
    }

    /// The number of operators.
    pub fn width(&self, d_model: usize) -> usize {
        if self.channels == 0 { d_model } else { self.channels }
    }

    /// The number of parameters.
    pub fn parameter_count(&self, d_model: usize) -> usize {
        let width = self.width(d_model);
        let maps = if self.hopping == Hopping::Token { 4 } else { 3 };
        let importance = if self.sparsity.skips() { d_model } else { 0 };
        maps * d_model * width + 2 * width + importance
    }
}

/// The resolvent mixer: tokens set the potential of a tridiagonal operator, and its resolvent mixes
/// them in `O(n)`.
///
/// Every channel has an operator of its own, `d_k = v_k − E − iη` on the diagonal and products `p_k`
/// beside it, with the potential `v` a linear map of the tokens, the energy `E` and the width `η > 0`
/// learned, and `p` one or a function of the token. Its resolvent, real and imaginary part, is mapped
/// back to the channels of the model. As `p ≥ 0`, no value exceeds `1/η`.
///
/// The diagonal of the resolvent depends on both sides of a position, so a language model that used it
/// would see the byte it is to predict. Two forms do not:
///
/// - [`ResolventForm::Left`] takes the left half of the recursion: at position `k` the last diagonal
///   element of the inverse of the leading `k + 1` rows, which is what the diagonal is when the text ends
///   there.
/// - [`ResolventForm::Blocked`] cuts the operator into blocks, takes the diagonal of each, and reads it one
///   block later: position `k` sees both sides of position `k − block`, but nothing beyond the ends of that
///   block, which is complete before `k`. With a sparsity the recursion runs over the positions alone that
///   tokens declare important, each tied to the one kept before it by its own `p`; the others lie on a line
///   between their kept neighbours.
#[derive(Module, Debug)]
pub struct ResolventMixer {
    potential: Linear,
    hopping: Option<Linear>,
    energy: Param<Tensor<1>>,
    log_width: Param<Tensor<1>>,
    out: Linear,
    importance: Option<Linear>,
    #[module(skip)]
    config: ResolventConfig,
}

/// What a mixer keeps of the positions so far; nothing at the begin.
#[derive(Debug, Clone, Default)]
pub struct MixerPast {
    /// The left form: the last value of every operator, `[batch, width, 1, 2]`. The blocked form: the results of the
    /// last block that a position has seen, `[batch, width, block, 2]`.
    values: Option<Tensor<4>>,
    /// The blocked form: the positions since then, `[batch, 1, positions, d_model]`, a block at most.
    inputs: Option<Tensor<4>>,
}

impl State for MixerPast {
    fn rows(&mut self) -> Vec<&mut Tensor<4>> {
        self.values.iter_mut().chain(&mut self.inputs).collect()
    }
}

/// Widths at the start: from a memory of about ten positions to next to none.
const WIDTHS: [f64; 2] = [0.1, 1.0];
/// `softplus` of this is 1.
const ONE: f64 = 0.541_324_854_612_918_1;

impl ResolventMixer {
    /// A mixer for `d_model` channels; `residual_gain` scales the way back into the residual stream.
    ///
    /// # Errors
    ///
    /// Those of [`ResolventConfig::validate`].
    pub fn new(
        config: &ResolventConfig,
        d_model: usize,
        residual_gain: f64,
        random: &mut Random,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let width = config.width(d_model);
        // Energies across the band of the free operator, −2 to 2, widths evenly in their logarithm.
        let share = |i: usize| (i as f64 + 0.5) / width as f64;
        let energies = (0..width).map(|i| 2.0 * (std::f64::consts::PI * share(i)).cos());
        let [low, high] = WIDTHS.map(f64::ln);
        // A stride that is prime to most widths, so that every energy meets every width.
        let widths = (0..width).map(|i| low + (high - low) * share(i * 7 % width));
        Ok(Self {
            potential: linear(d_model, width, 1.0, random, device),
            hopping: (config.hopping == Hopping::Token)
                .then(|| linear(d_model, width, 1.0, random, device)),
            energy: vector(energies, device),
            log_width: vector(widths, device),
            out: linear(2 * width, d_model, residual_gain, random, device),
            importance: (config.sparsity.skips()).then(|| linear(d_model, 1, 0.1, random, device)),
            config: config.clone(),
        })
    }

    /// `[batch, time, d_model]` to the same shape.
    ///
    /// # Errors
    ///
    /// Those of [`resolvent`].
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>> {
        Ok(self.advance(x, None, None)?.0)
    }

    /// The same for positions that follow those of `past`, which then has these too, and what was kept where the
    /// mixer leaves positions out; `noise` is drawn from in training.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward); [`Error::Unsupported`] for a past of
    /// [`ResolventForm::TwoSided`].
    pub fn advance(
        &self,
        x: Tensor<3>,
        past: Option<&mut MixerPast>,
        noise: Option<&mut Random>,
    ) -> Result<(Tensor<3>, Option<Kept>)> {
        if past.is_some() && self.config.form == ResolventForm::TwoSided {
            let reason = "what depends on all positions does not go on";
            return Err(Error::Unsupported { op: OP, argument: "past", reason });
        }
        let [batch, time, _] = x.dims();
        let width = self.energy.dims()[0];
        let (y, kept) = match self.config.form {
            ResolventForm::Blocked => self.blocks(x, past, noise)?,
            ResolventForm::Left => (self.left(x, past)?, None),
            ResolventForm::TwoSided => (self.mix(self.operators(x), Sides::Both)?, None),
        };
        let features = y.permute([0, 2, 1, 3]).reshape([batch, time, 2 * width]);
        Ok((self.out.forward(features), kept))
    }

    /// The diagonals of the operators, `[batch, width, time, 2]`, and for every position the product that ties it to the
    /// one before, `[batch, width, time]`.
    fn operators(&self, x: Tensor<3>) -> (Tensor<4>, Tensor<3>) {
        let [batch, time, _] = x.dims();
        let width = self.energy.dims()[0];
        let column = |x: &Param<Tensor<1>>| x.val().reshape([1, width, 1]);
        let rows = |linear: &Linear, x: Tensor<3>| wide(linear.forward(x)).swap_dims(1, 2);
        let re = rows(&self.potential, x.clone()) - column(&self.energy);
        let im = exponential(column(&self.log_width)).neg().expand([batch, width, time]);
        let p = match &self.hopping {
            Some(hopping) => softplus(rows(hopping, x).add_scalar(ONE)),
            None => Tensor::ones([batch, width, time], &re.device()),
        };
        (Tensor::stack(vec![re, im], 3), p)
    }

    fn left(&self, x: Tensor<3>, past: Option<&mut MixerPast>) -> Result<Tensor<4>> {
        let (mut d, p) = self.operators(x);
        let [batch, width, time, _] = d.dims();
        if let Some(MixerPast { values: Some(last), .. }) = &past {
            // The recursion's next step, `d − p y`, as if the sequence began with it.
            let tied = p.clone().narrow(2, 0, 1).unsqueeze_dim(3) * last.clone();
            let first = d.clone().narrow(2, 0, 1) - tied;
            d = d.slice_assign([0..batch, 0..width, 0..1, 0..2], first);
        }
        let y = self.mix((d, p), Sides::Left)?;
        if let Some(past) = past {
            past.values = Some(y.clone().narrow(2, time - 1, 1));
        }
        Ok(y)
    }

    /// Every position's results a block before, and what was kept. A block is computed when a position sees it; the
    /// last ones wait for that.
    fn blocks(
        &self,
        x: Tensor<3>,
        past: Option<&mut MixerPast>,
        noise: Option<&mut Random>,
    ) -> Result<(Tensor<4>, Option<Kept>)> {
        let mut nothing = MixerPast::default();
        let past = past.unwrap_or(&mut nothing);
        let ([batch, time, _], width) = (x.dims(), self.energy.dims()[0]);
        let x = match past.inputs.clone() {
            Some(inputs) => Tensor::cat(vec![inputs.squeeze_dim(1), x], 1),
            None => x,
        };
        let (block, all) = (self.config.block, x.dims()[1]);
        let seen = (all - 1) / block * block;
        let mut y = match past.values.clone() {
            Some(values) => values,
            None => Tensor::zeros([batch, width, block, 2], &x.device()),
        };
        let mut kept = None;
        if seen > 0 {
            let x = x.clone().narrow(1, 0, seen);
            let operators = self.operators(x.clone());
            let next = match &self.importance {
                Some(importance) => {
                    let (next, share) = self.mix_some(operators, importance.forward(x), noise)?;
                    kept = Some(share);
                    next
                }
                None => self.mix(operators, Sides::Both)?,
            };
            y = Tensor::cat(vec![y, next], 2);
        }
        past.inputs = Some(x.narrow(1, seen, all - seen).unsqueeze_dim(1));
        past.values = Some(y.clone().narrow(2, seen, block));
        Ok((y.narrow(2, all - time, time), kept))
    }

    /// The results of whole blocks by the positions of each that the logits `[batch, time, 1]` choose, and the share of
    /// positions that is.
    fn mix_some(
        &self,
        (d, p): (Tensor<4>, Tensor<3>),
        logits: Tensor<3>,
        noise: Option<&mut Random>,
    ) -> Result<(Tensor<4>, Kept)> {
        let [batch, _, time, _] = d.dims();
        let ResolventConfig { block, sparsity, grad_blend, .. } = &self.config;
        let block = *block;
        let logits = logits.reshape([batch * time / block, block]);
        let trains = noise.is_some();
        let chosen = Selection::new(sparsity, logits, noise);
        let d = chosen.compact(&d, block);
        let p = chosen.compact(&p.unsqueeze_dim(3), block).squeeze_dim::<3>(3);
        let p = p * chosen.ties(batch);
        let mut y = blended(d, between_neighbours(p), Sides::Both, *grad_blend)?;
        if trains {
            y = chosen.straight_through(y);
        }
        Ok((chosen.spread(&y), chosen.kept))
    }

    /// The resolvents of operators, in the blocked form of each block by itself.
    fn mix(&self, (d, p): (Tensor<4>, Tensor<3>), sides: Sides) -> Result<Tensor<4>> {
        let time = d.dims()[2];
        let block = self.config.block;
        let mut p = between_neighbours(p);
        if self.config.form == ResolventForm::Blocked && time > 1 {
            let cut = (1..time).map(|k| if k.is_multiple_of(block) { 0.0 } else { 1.0_f32 });
            let data = TensorData::new(cut.collect::<Vec<_>>(), [1, 1, time - 1]);
            p = p * Tensor::from_data(data, &d.device());
        }
        blended(d, p, sides, self.config.grad_blend)
    }
}

/// Without the product of the first position, which nothing is before: `[batch, width, time]` to `time − 1`.
fn between_neighbours(p: Tensor<3>) -> Tensor<3> {
    let [batch, width, time] = p.dims();
    match time {
        1 => Tensor::empty([batch, width, 0], &p.device()),
        _ => p.narrow(2, 1, time - 1),
    }
}

/// The resolvent `G`, with the share `blend` of the shortcut `−g G²` in the gradient of `d`.
///
/// The value is that of the resolvent, and `p` keeps its exact gradient: with `d₀` and `G₀` outside the
/// graph, `d₀ + (1 − blend)(d − d₀)` passes a share of the exact gradient on, and `−blend · G₀² (d − d₀)`,
/// which is zero, has the rest.
///
/// # Errors
///
/// Those of [`resolvent`].
pub fn blended(d: Tensor<4>, p: Tensor<3>, sides: Sides, blend: f64) -> Result<Tensor<4>> {
    if blend == 0.0 {
        return resolvent(d, p, sides);
    }
    let at = d.clone().detach();
    let moved = d - at.clone();
    let value = resolvent(at + moved.clone() * (1.0 - blend), p, sides)?;
    let fixed = value.clone().detach();
    let square = times(&fixed, &fixed);
    Ok(value - times(&square, &(moved * blend)))
}

/// The product of complex numbers, `[.., 2]`.
fn times(a: &Tensor<4>, b: &Tensor<4>) -> Tensor<4> {
    let part = |x: &Tensor<4>, i: usize| x.clone().narrow(3, i, 1);
    let re = part(a, 0) * part(b, 0) - part(a, 1) * part(b, 1);
    let im = part(a, 0) * part(b, 1) + part(a, 1) * part(b, 0);
    Tensor::cat(vec![re, im], 3)
}
