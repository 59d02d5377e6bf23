//! The position-wise networks.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use wavecube_burn::{silu, squared_relu};

use super::{Linear, linear};
use crate::random::Random;

/// `W₂ relu(W₁ x)²`, without biases.
#[derive(Module, Debug)]
pub struct Mlp {
    up: Linear,
    down: Linear,
}

impl Mlp {
    /// `d_model → hidden → d_model`; `residual_gain` scales the way back into the residual stream.
    pub fn new(
        d_model: usize,
        hidden: usize,
        residual_gain: f64,
        random: &mut Random,
        device: &Device,
    ) -> Self {
        Self {
            up: linear(d_model, hidden, 1.0, random, device),
            down: linear(hidden, d_model, residual_gain, random, device),
        }
    }

    /// `[batch, time, d_model]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(squared_relu(self.up.forward(x)))
    }
}

/// `W₃ (silu(W₁ x) ⊙ W₂ x)`, without biases.
#[derive(Module, Debug)]
pub struct Glu {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Glu {
    /// `d_model → hidden → d_model`; `residual_gain` scales the way back into the residual stream.
    pub fn new(
        d_model: usize,
        hidden: usize,
        residual_gain: f64,
        random: &mut Random,
        device: &Device,
    ) -> Self {
        Self {
            gate: linear(d_model, hidden, 1.0, random, device),
            up: linear(d_model, hidden, 1.0, random, device),
            down: linear(hidden, d_model, residual_gain, random, device),
        }
    }

    /// `[batch, time, d_model]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(silu(self.gate.forward(x.clone())) * self.up.forward(x))
    }
}
