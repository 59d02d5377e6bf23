//! Down to half the positions and back up, both causal.
//!
//! The coarse position `i` is made of the positions `2i` and `2i + 1`, so it is known from `2i + 1` on: on
//! the way back it goes to `2i + 1` and `2i + 2`, by a map of its own for each. A last position without a
//! partner is in no pair. So a prefix of a sequence is resampled like the whole.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{Linear, linear};
use crate::random::Random;

/// The learned maps between two scales.
#[derive(Module, Debug)]
pub struct Resample {
    down: Linear,
    up: Linear,
}

impl Resample {
    /// Maps for `d_model` channels; `residual_gain` scales the way back up.
    pub fn new(d_model: usize, residual_gain: f64, random: &mut Random, device: &Device) -> Self {
        Self {
            down: linear(2 * d_model, d_model, 1.0, random, device),
            up: linear(d_model, 2 * d_model, residual_gain, random, device),
        }
    }

    /// The number of parameters.
    pub fn parameters(d_model: usize) -> usize {
        4 * d_model * d_model
    }

    /// `[batch, time, d_model]` to `[batch, time/2, d_model]`, or nothing where no pair is complete.
    pub fn down(&self, x: Tensor<3>) -> Option<Tensor<3>> {
        let [batch, time, d_model] = x.dims();
        let pairs = time / 2;
        (pairs > 0).then(|| {
            let pairs = x.narrow(1, 0, 2 * pairs).reshape([batch, pairs, 2 * d_model]);
            self.down.forward(pairs)
        })
    }

    /// `[batch, time/2, d_model]` to `[batch, time, d_model]`.
    pub fn up(&self, coarse: Tensor<3>, time: usize) -> Tensor<3> {
        let [batch, pairs, d_model] = coarse.dims();
        let fine = self.up.forward(coarse).reshape([batch, 2 * pairs, d_model]);
        let nothing = Tensor::zeros([batch, 1, d_model], &fine.device());
        Tensor::cat(vec![nothing, fine], 1).narrow(1, 0, time)
    }
}
