//! Down to half the positions and back up, both causal.
//!
//! The coarse position `i` is made of the positions `2i` and `2i + 1`, so it is known from `2i + 1` on: on
//! the way back it goes to `2i + 1` and `2i + 2`, by a map of its own for each. A last position without a
//! partner is in no pair. So a prefix of a sequence is resampled like the whole.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{Linear, State, linear, wide};
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

    /// The pairs that `x` (`[batch, time, d_model]`) completes, at half the rate, or nothing where it completes none.
    /// With a past the positions follow those that it has seen.
    pub fn down(&self, x: Tensor<3>, past: Option<&mut ResamplePast>) -> Option<Tensor<3>> {
        let mut nothing = ResamplePast::default();
        let past = past.unwrap_or(&mut nothing);
        let x = match past.alone.take() {
            Some(alone) => Tensor::cat(vec![alone.squeeze_dim(1), x], 1),
            None => x,
        };
        let [batch, time, d_model] = x.dims();
        let pairs = time / 2;
        if time % 2 == 1 {
            past.alone = Some(x.clone().narrow(1, time - 1, 1).unsqueeze_dim(1));
        }
        (pairs > 0).then(|| {
            let pairs = x.narrow(1, 0, 2 * pairs).reshape([batch, pairs, 2 * d_model]);
            wide(self.down.forward(pairs))
        })
    }

    /// `x` (`[batch, time, d_model]`), which went [`down`](Self::down) before, and what was made of its pairs.
    pub fn up(
        &self,
        x: Tensor<3>,
        coarse: Option<Tensor<3>>,
        past: Option<&mut ResamplePast>,
    ) -> Tensor<3> {
        let [batch, time, d_model] = x.dims();
        let mut nothing = ResamplePast::default();
        let past = past.unwrap_or(&mut nothing);
        // A pair goes to its second position and the one behind, so an even one gets what came before.
        let even = past.position.is_multiple_of(2);
        let first = even.then(|| match past.due.take() {
            Some(due) => due.squeeze_dim(1),
            None => Tensor::zeros([batch, 1, d_model], &x.device()),
        });
        let pairs = coarse.map(|coarse| {
            let pairs = coarse.dims()[1];
            wide(self.up.forward(coarse)).reshape([batch, 2 * pairs, d_model])
        });
        let fine = Tensor::cat(first.into_iter().chain(pairs).collect(), 1);
        past.position += time;
        if fine.dims()[1] > time {
            past.due = Some(fine.clone().narrow(1, time, 1).unsqueeze_dim(1));
        }
        x + fine.narrow(1, 0, time)
    }
}

/// What the way to another scale and back keeps of the positions so far.
#[derive(Debug, Clone, Default)]
pub struct ResamplePast {
    /// The last position where it has no partner yet, `[batch, 1, 1, d_model]`.
    alone: Option<Tensor<4>>,
    /// What the last pair adds to the next position, `[batch, 1, 1, d_model]`.
    due: Option<Tensor<4>>,
    /// How many positions have come back up.
    position: usize,
}

impl State for ResamplePast {
    fn rows(&mut self) -> Vec<&mut Tensor<4>> {
        self.alone.iter_mut().chain(&mut self.due).collect()
    }
}
