//! Multi-head attention of a sequence with itself.

use std::ops::Range;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use wavecube_burn::{Attention, Cache, ROTARY_BASE, RotaryTables, attention, rotary};
use wavecube_core::Result;

use super::{Linear, linear};
use crate::random::Random;

/// What every block of a model shares in one pass: which positions see each other, and how they are told apart.
#[derive(Debug, Clone)]
pub struct SequenceContext {
    /// Where the model rotates.
    rotary: Option<RotaryTables>,
    attention: Attention,
}

impl SequenceContext {
    /// For sequences of `time` positions; with `rope`, tables for heads of width `d_head`.
    ///
    /// # Errors
    ///
    /// Those of [`RotaryTables::new`].
    pub fn new(time: usize, d_head: usize, rope: bool, device: &Device) -> Result<Self> {
        Self::at(0..time, d_head, rope, device)
    }

    /// The same for some positions of longer sequences.
    ///
    /// # Errors
    ///
    /// Those of [`RotaryTables::new`].
    pub fn at(positions: Range<usize>, d_head: usize, rope: bool, device: &Device) -> Result<Self> {
        let tables = || RotaryTables::new(positions, d_head, ROTARY_BASE, device);
        let rotary = rope.then(tables).transpose()?;
        Ok(Self { rotary, attention: Attention::causal() })
    }

    /// The same with other masks or scores than those of causal attention.
    #[must_use]
    pub fn attending(self, attention: Attention) -> Self {
        Self { attention, ..self }
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
        let [mut q, mut k, v] = self
            .qkv
            .forward_in_parts(x)
            .map(|part: Tensor<3>| part.reshape([batch, time, self.heads, d_head]).swap_dims(1, 2));
        if let Some(tables) = &context.rotary {
            (q, k) = (rotary(q, tables)?, rotary(k, tables)?);
        }
        let mixed = match past {
            Some((cache, layer)) => cache.attend(layer, [q, k, v], &context.attention)?,
            None => attention(q, k, v, &context.attention)?,
        };
        Ok(self.out.forward(mixed.swap_dims(1, 2).reshape([batch, time, d_model])))
    }
}
