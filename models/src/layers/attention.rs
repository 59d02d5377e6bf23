//! Multi-head attention of a sequence with itself.

use std::ops::Range;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use wavecube_burn::{Attention, Cache, attention};
use wavecube_core::Result;

use super::{Linear, linear};
use crate::random::Random;

/// What every block of a model shares in one pass: which positions see each other, and how they are told apart.
#[derive(Debug, Clone)]
pub struct SequenceContext {
    /// Rotary `(cos, sin)`, each `[1, 1, time, d_head]`, where the model rotates.
    rotary: Option<(Tensor<4>, Tensor<4>)>,
    attention: Attention,
}

impl SequenceContext {
    /// For sequences of `time` positions; with `rope`, tables for heads of width `d_head`.
    pub fn new(time: usize, d_head: usize, rope: bool, device: &Device) -> Self {
        Self::at(0..time, d_head, rope, device)
    }

    /// The same for some positions of longer sequences.
    pub fn at(positions: Range<usize>, d_head: usize, rope: bool, device: &Device) -> Self {
        let rotary = rope.then(|| rotary_tables(positions, d_head, device));
        Self { rotary, attention: Attention::causal() }
    }

    /// The same with other masks or scores than those of causal attention.
    #[must_use]
    pub fn attending(self, attention: Attention) -> Self {
        Self { attention, ..self }
    }
}

/// The angle of position `t` for the pair `i` of `half`: `t · 10000^(−i/half)`.
pub(crate) fn position_angle(t: usize, i: usize, half: usize) -> f64 {
    t as f64 * 10_000_f64.powf(-(i as f64) / half as f64)
}

/// Cosine and sine of every position's angles, twice over, in `f64` until they are stored.
fn rotary_tables(
    positions: Range<usize>,
    d_head: usize,
    device: &Device,
) -> (Tensor<4>, Tensor<4>) {
    let (half, time) = (d_head / 2, positions.len());
    let mut cos = Vec::with_capacity(time * d_head);
    let mut sin = Vec::with_capacity(time * d_head);
    for t in positions {
        for i in 0..2 * half {
            let (s, c) = position_angle(t, i % half, half).sin_cos();
            cos.push(c as f32);
            sin.push(s as f32);
        }
    }
    let table = |values| Tensor::from_data(TensorData::new(values, [1, 1, time, 2 * half]), device);
    (table(cos), table(sin))
}

/// Rotates the pairs `(x_i, x_{i + half})` of `[batch, head, time, d_head]`.
fn rotate(x: Tensor<4>, (cos, sin): &(Tensor<4>, Tensor<4>)) -> Tensor<4> {
    let mut halves = x.clone().chunk(2, 3);
    let upper = halves.pop();
    let lower = halves.pop();
    match (lower, upper) {
        (Some(lower), Some(upper)) => {
            let turned = Tensor::cat(vec![upper.neg(), lower], 3);
            x * cos.clone() + turned * sin.clone()
        }
        _ => x,
    }
}

/// `softmax(q kᵀ / √d_head + mask + bias) v` per head.
#[derive(Module, Debug)]
pub struct CausalSelfAttention {
    qkv: Linear,
    out: Linear,
    heads: usize,
}

impl CausalSelfAttention {
    /// `d_model` must be a multiple of `heads` (the model's configuration checks it).
    pub fn new(
        d_model: usize,
        heads: usize,
        residual_gain: f64,
        random: &mut Random,
        device: &Device,
    ) -> Self {
        Self {
            qkv: linear(d_model, 3 * d_model, 1.0, random, device),
            out: linear(d_model, d_model, residual_gain, random, device),
            heads,
        }
    }

    /// `[batch, time, d_model]` to the same shape.
    ///
    /// # Errors
    ///
    /// Those of [`attention()`], for an input without positions.
    pub fn forward(&self, x: Tensor<3>, context: &SequenceContext) -> Result<Tensor<3>> {
        self.advance(x, context, None)
    }

    /// The same for positions that have been appended to a cache, where it is given with the layer that this is in it.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward) and [`Cache::attend`].
    pub fn advance(
        &self,
        x: Tensor<3>,
        context: &SequenceContext,
        past: Option<(&mut Cache, usize)>,
    ) -> Result<Tensor<3>> {
        let [batch, time, d_model] = x.dims();
        let d_head = d_model / self.heads;
        let qkv = self.qkv.forward(x);
        let head = |index: usize| {
            qkv.clone()
                .narrow(2, index * d_model, d_model)
                .reshape([batch, time, self.heads, d_head])
                .swap_dims(1, 2)
        };
        let (mut q, mut k, v) = (head(0), head(1), head(2));
        if let Some(tables) = &context.rotary {
            q = rotate(q, tables);
            k = rotate(k, tables);
        }
        let mixed = match past {
            Some((cache, layer)) => cache.attend(layer, [q, k, v], &context.attention)?,
            None => attention(q, k, v, &context.attention)?,
        };
        Ok(self.out.forward(mixed.swap_dims(1, 2).reshape([batch, time, d_model])))
    }
}
