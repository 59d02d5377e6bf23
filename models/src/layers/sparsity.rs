//! Learned sparsity: which positions of a block a recursion runs over, and what the others get.

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use wavecube_burn::logistic;
use wavecube_core::{Error, Result};

use crate::random::Random;

const OP: &str = "sparsity";

/// How many positions are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SparsityConfig {
    /// The share of a block's positions that is kept at most; 1 keeps all.
    pub keep: f64,
    /// The weight of the loss that holds the mean probability of being kept at that share.
    pub weight: f64,
    /// What the noise in training and the logits are divided by, for the gradient.
    pub temperature: f64,
}

impl Default for SparsityConfig {
    fn default() -> Self {
        Self { keep: 1.0, weight: 1.0, temperature: 1.0 }
    }
}

impl SparsityConfig {
    /// Whether anything is left out.
    pub fn skips(&self) -> bool {
        self.keep < 1.0
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] for a `keep` outside 0 to 1, a `temperature` not above 0 or a negative `weight`.
    pub fn validate(&self) -> Result<()> {
        let Self { keep, weight, temperature } = *self;
        for (argument, found, good, expected) in [
            ("keep", keep, keep > 0.0 && keep <= 1.0, "above 0 and at most 1"),
            ("temperature", temperature, temperature > 0.0, "above 0"),
            ("weight", weight, weight >= 0.0, "at least 0"),
        ] {
            if !(good && found.is_finite()) {
                return Err(Error::Value { op: OP, argument, expected, found });
            }
        }
        Ok(())
    }

    /// The positions that a block of `block` has room for.
    pub(super) fn room(&self, block: usize) -> usize {
        ((self.keep * block as f64).ceil() as usize).clamp(1, block)
    }
}

/// What is kept, in numbers.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The share of the positions, `[1]`.
    pub share: Tensor<1>,
    /// `(mean probability − keep)²`, `[1]`.
    pub loss: Tensor<1>,
}

/// The positions that are kept, in rows of blocks.
///
/// A position is kept where its logit is above 0, in training with logistic noise, the difference of two Gumbel
/// numbers (Maddison et al., *The concrete distribution*, 2017, appendix B); where more are than
/// there is room for, those with the largest logits. Shapes depend on no value, so nothing waits for the
/// device. All counts are in `f32`, which is exact to 2²⁴.
pub(super) struct Selection {
    /// The position of every slot, in order, `[rows, room]`; of slots that are not taken 0.
    positions: Tensor<2>,
    /// 1 for slots that are taken, `[rows, room]`.
    taken: Tensor<2>,
    /// The probability of being kept of the position in each slot, `[rows, room]`.
    probability: Tensor<2>,
    /// For every position the slots left and right of it, twice its own where it is kept, and twice the last
    /// one where there is none on the other side, `[rows, block]`.
    neighbours: [Tensor<2>; 2],
    pub(super) kept: Kept,
}

fn numbers(len: usize, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

/// Whole numbers as indices.
fn indices<const D: usize>(x: Tensor<D>) -> Tensor<D, Int> {
    x.add_scalar(0.5).int()
}

impl Selection {
    /// By `logits` `[rows, block]`; `noise` is drawn from in training.
    pub(super) fn new(
        config: &SparsityConfig,
        logits: Tensor<2>,
        noise: Option<&mut Random>,
    ) -> Self {
        let [rows, block] = logits.dims();
        let device = logits.device();
        let room = config.room(block);
        // Begins at the share that is wanted.
        let logits = logits.add_scalar((config.keep / (1.0 - config.keep)).ln());
        let mean = logistic(logits.clone()).mean();
        let noisy = match noise {
            Some(random) => {
                let mut logistic = || (random.gumbel() - random.gumbel()) as f32;
                let values: Vec<f32> = (0..rows * block).map(|_| logistic()).collect();
                logits + Tensor::from_data(TensorData::new(values, [rows, block]), &device)
            }
            None => logits,
        };
        let probability = logistic(noisy.clone() / config.temperature);

        let score = noisy.detach();
        let whole = [rows, block, block];
        let others = score.clone().unsqueeze_dim::<3>(1).expand(whole);
        let own = score.clone().unsqueeze_dim::<3>(2).expand(whole);
        let at = numbers(block, &device);
        let earlier = at.clone().reshape([1, 1, block]).expand(whole);
        let earlier = earlier.lower(at.clone().reshape([1, block, 1]).expand(whole)).float();
        let ahead =
            others.clone().greater(own.clone()).float() + others.equal(own).float() * earlier;
        let rank = ahead.sum_dim(2).reshape([rows, block]);
        let kept = score.greater_elem(0.0).float() * rank.lower_elem(room as f64).float();

        let count = kept.clone().sum_dim(1);
        let slot = kept.clone().cumsum(1) - 1.0;
        let slots = numbers(room, &device);
        let hot = slot
            .clone()
            .unsqueeze_dim::<3>(1)
            .expand([rows, room, block])
            .equal(slots.clone().reshape([1, room, 1]).expand([rows, room, block]))
            .float()
            * kept.clone().unsqueeze_dim::<3>(1);
        let positions = (hot * at.reshape([1, 1, block])).sum_dim(2).reshape([rows, room]);
        let taken =
            slots.reshape([1, room]).expand([rows, room]).lower(count.clone().expand([rows, room]));
        let share = kept.clone().mean();

        let last = (count - 1.0).clamp_min(0.0).expand([rows, block]);
        let before = slot.clone();
        let after = slot + (kept.neg() + 1.0);
        let left = before.clamp_min(0.0);
        let right = after.min_pair(last);
        Self {
            probability: probability.gather(1, indices(positions.clone())),
            positions,
            taken: taken.float(),
            neighbours: [left, right],
            kept: Kept { share, loss: (mean - config.keep).square() },
        }
    }

    /// What the recursion runs over: the positions of `x` (`[batch, width, blocks · block, parts]`) that are
    /// kept, `[batch, width, blocks · room, parts]`.
    pub(super) fn compact(&self, x: &Tensor<4>, block: usize) -> Tensor<4> {
        gathered(x, &self.positions, block)
    }

    /// 1 where a slot is taken and there is one before it in its block, `[batch, 1, blocks · room]`.
    pub(super) fn ties(&self, batch: usize) -> Tensor<3> {
        let [rows, room] = self.taken.dims();
        let first = Tensor::zeros([rows, 1], &self.taken.device());
        let ties = match room {
            1 => first,
            _ => Tensor::cat(vec![first, self.taken.clone().narrow(1, 1, room - 1)], 1),
        };
        ties.reshape([batch, 1, rows / batch * room])
    }

    /// Every position from the results of those that are kept: its own, or on the line between its neighbours', or
    /// that of the one neighbour; 0 in a block that keeps nothing.
    pub(super) fn spread(&self, y: &Tensor<4>) -> Tensor<4> {
        let [rows, block] = self.neighbours[0].dims();
        let at = numbers(block, &y.device()).reshape([1, block]).expand([rows, block]);
        let any = self.taken.clone().narrow(1, 0, 1).expand([rows, block]);
        let line = self.between(y, &self.neighbours, at);
        let any = like(any, &line);
        line * any
    }

    /// The results of what is kept, with a gradient for the probability of being kept: what a position adds to the
    /// line between its neighbours, which it would get otherwise.
    pub(super) fn straight_through(&self, y: Tensor<4>) -> Tensor<4> {
        let [rows, room] = self.positions.dims();
        let slots = numbers(room, &y.device()).reshape([1, room]).expand([rows, room]);
        let last = (self.taken.clone().sum_dim(1) - 1.0).clamp_min(0.0).expand([rows, room]);
        // At either end the other neighbour stands on both sides; one that is alone has none.
        let first = slots.clone().lower_elem(0.5).float();
        let end = slots.clone().greater_equal(last.clone()).float();
        let left = (slots.clone() - 1.0 + first * 2.0).min_pair(last.clone());
        let right = (slots + 1.0 - end * 2.0).clamp_min(0.0).min_pair(last.clone());
        let accompanied = last.greater_elem(0.5).float();
        let line = self.between(&y, &[left, right], self.positions.clone());
        let line = line * like(accompanied, &y);
        let moved = self.probability.clone() - self.probability.clone().detach();
        let moved = like(moved, &y);
        y.clone() + (y - line).detach() * moved
    }

    /// On the lines between the results in the slots `left` and `right`, at the positions `at`, all `[rows, points]`;
    /// beyond either end, the end.
    fn between(&self, y: &Tensor<4>, slots: &[Tensor<2>; 2], at: Tensor<2>) -> Tensor<4> {
        let room = self.positions.dims()[1];
        let [from, to] =
            slots.each_ref().map(|slots| self.positions.clone().gather(1, indices(slots.clone())));
        let share = ((at - from.clone()) / (to - from).clamp_min(1.0)).clamp(0.0, 1.0);
        let [low, high] = slots.each_ref().map(|slots| gathered(y, slots, room));
        let share = like(share, &low);
        low.clone() + (high - low) * share
    }
}

/// A number for every element of the rows `[batch · blocks, points]`, for `[batch, width, blocks · points, parts]`.
fn like(x: Tensor<2>, y: &Tensor<4>) -> Tensor<4> {
    let [batch, _, len, _] = y.dims();
    x.reshape([batch, 1, len, 1])
}

/// Elements of `x` (`[batch, width, blocks · from, parts]`) at the places `at` (`[batch · blocks, to]`) of every block.
fn gathered(x: &Tensor<4>, at: &Tensor<2>, from: usize) -> Tensor<4> {
    let [batch, width, len, parts] = x.dims();
    let [rows, to] = at.dims();
    let blocks = len / from;
    let begins = numbers(blocks, &x.device()).reshape([1, blocks, 1]) * from as f64;
    let at = at.clone().reshape([rows / blocks, blocks, to]) + begins;
    let at = indices(at.reshape([batch, 1, blocks * to, 1]));
    x.clone().gather(2, at.expand([batch, width, blocks * to, parts]))
}
