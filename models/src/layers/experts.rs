//! A sparse mixture of experts.

use burn::{
    module::{Module, Param},
    tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use wavecube_burn::{PackedTensor, qmatmul, squared_relu};
use wavecube_core::{Error, Result};

use super::{Linear, linear, wide};
use crate::random::Random;

/// An [`Experts`] in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpertsConfig {
    /// How many there are; 0 is one dense network instead.
    pub count: usize,
    /// How many a token takes at most.
    pub top_k: usize,
    /// A token takes experts until their probabilities add up to this; 1 is always `top_k`.
    pub threshold: f64,
    /// The temperature of the router.
    pub temperature: f64,
    /// The weight of the loss that balances their loads.
    pub balance: f64,
    /// Rows of a tile of the grouped product.
    pub tile: usize,
}

impl Default for ExpertsConfig {
    fn default() -> Self {
        Self { count: 0, top_k: 1, threshold: 1.0, temperature: 1.0, balance: 0.01, tile: 32 }
    }
}

const OP: &str = "experts";

impl ExpertsConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] or [`Error::Value`] for the first that is out of range.
    pub fn validate(&self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        if self.top_k == 0 || self.top_k > self.count {
            let expected = "between 1 and experts.count";
            let (argument, found) = ("experts.top_k", self.top_k);
            return Err(Error::Length { op: OP, argument, expected, found });
        }
        if self.tile == 0 {
            let (argument, expected) = ("experts.tile", "at least 1");
            return Err(Error::Length { op: OP, argument, expected, found: 0 });
        }
        let positive =
            [("experts.threshold", self.threshold), ("experts.temperature", self.temperature)];
        for (argument, found) in positive {
            if !(found.is_finite() && found > 0.0) {
                let expected = "positive and finite";
                return Err(Error::Value { op: OP, argument, expected, found });
            }
        }
        if !(self.balance.is_finite() && self.balance >= 0.0) {
            let (argument, found) = ("experts.balance", self.balance);
            return Err(Error::Value { op: OP, argument, expected: "at least 0", found });
        }
        Ok(())
    }

    /// The tiles that hold `tokens` tokens wherever they go.
    pub fn tiles(&self, tokens: usize) -> usize {
        tokens * self.top_k / self.tile + self.count
    }
}

/// A sparse mixture of experts: every token goes through the few small networks that a router picks.
///
/// **Routing.** `s = softmax((W x + noise)/τ)`, with Gumbel noise in training and none elsewhere. A token
/// takes its likeliest experts, in order, until their `s` add up to `threshold`, at least one and at most
/// `top_k`: few where the router is sure, more where it is not. Each of its `m` experts counts `1/m`; the
/// gradient is that of `s` (straight through).
///
/// **Grouping.** Each expert's tokens are laid side by side in tiles of `tile` rows of which each belongs to
/// one expert, and one batched product multiplies every tile by its expert's matrix. `tokens · top_k / tile +
/// count` tiles are always enough, so all shapes are known on the host and nothing is read back; where each
/// token goes is counted on the device. No token is dropped. The price of the fixed shapes is that experts
/// which `threshold` saves are computed all the same and count 0.
///
/// **Packed.** Stacks of a quantised model stay packed: a few tokens, as in generation, are multiplied by all experts'
/// codes, read once, and what they did not choose is dropped; for many, where that is more work, the numbers of both
/// stacks are made for as long as the product takes.
#[derive(Module, Debug)]
pub struct Experts {
    router: Linear,
    up: Param<Tensor<3>>,
    down: Param<Tensor<3>>,
    #[module(skip)]
    config: ExpertsConfig,
}

/// Where the tokens went.
#[derive(Debug, Clone)]
pub struct Routing {
    /// The share of all choices that fell on each expert, `[count]`.
    pub load: Tensor<1>,
    /// Experts that counted, a token in the mean, `[1]`.
    pub active: Tensor<1>,
    /// `count · Σ load · mean s`: 1 where loads are even, `count` where one expert has all. `[1]`.
    pub balance: Tensor<1>,
}

impl Experts {
    /// Experts of `hidden` channels each; `residual_gain` scales the way back into the residual stream.
    ///
    /// # Errors
    ///
    /// Those of [`ExpertsConfig::validate`].
    pub fn new(
        config: &ExpertsConfig,
        [d_model, hidden]: [usize; 2],
        residual_gain: f64,
        random: &mut Random,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let mut stack = |d_in: usize, d_out: usize, gain: f64| {
            let deviation = gain / (d_in as f64).sqrt();
            let count = config.count * d_in * d_out;
            let values: Vec<f32> =
                (0..count).map(|_| (random.normal() * deviation) as f32).collect();
            Param::from_data(TensorData::new(values, [config.count, d_in, d_out]), device)
        };
        Ok(Self {
            up: stack(d_model, hidden, 1.0),
            down: stack(hidden, d_model, residual_gain),
            router: linear(d_model, config.count, 0.1, random, device),
            config: config.clone(),
        })
    }

    /// `[batch, time, d_model]` to the same shape, and where the tokens went; `noise` is drawn from in
    /// training.
    pub fn forward(&self, x: Tensor<3>, noise: Option<&mut Random>) -> (Tensor<3>, Routing) {
        let [batch, time, d_model] = x.dims();
        let ExpertsConfig { count, top_k, threshold, temperature, .. } = self.config;
        let tokens = batch * time;
        let x = x.reshape([tokens, d_model]);
        let mut logits = self.router.forward(x.clone());
        if let Some(random) = noise {
            let gumbel: Vec<f32> = (0..tokens * count).map(|_| random.gumbel() as f32).collect();
            let gumbel = TensorData::new(gumbel, [tokens, count]);
            logits = logits + Tensor::from_data(gumbel, &x.device());
        }
        let scores = burn::tensor::activation::softmax(logits / temperature, 1);

        let mut left = scores.clone().detach();
        let mut sum = left.zeros_like().narrow(1, 0, 1);
        let (mut chosen, mut active) = (Vec::new(), Vec::new());
        for _ in 0..top_k {
            let best = left.clone().argmax(1);
            // The first is taken whatever its probability.
            active.push(sum.clone().lower_elem(threshold).float());
            sum = sum + left.clone().gather(1, best.clone());
            left = left.scatter(
                1,
                best.clone(),
                Tensor::full([tokens, 1], -2.0, &x.device()),
                IndexingUpdateOp::Add,
            );
            chosen.push(best);
        }
        let chosen = Tensor::cat(chosen, 1);
        let active = Tensor::cat(active, 1);
        let number = active.clone().sum_dim(1);
        let soft = scores.clone().gather(1, chosen.clone());
        let straight = (soft.clone() - soft.detach()) * active.clone();
        let weights = active.clone() / number.clone() + straight;

        let chosen = chosen.reshape([tokens * top_k]);
        let group = Group::of(&self.config, chosen.clone(), active);
        let outputs = match self.codes(tokens) {
            Some(stacks) => self.picked(x, &chosen, stacks),
            None => {
                let each = x.unsqueeze_dim::<3>(1).repeat_dim(1, top_k);
                self.grouped(each.reshape([tokens * top_k, d_model]), &group)
            }
        };
        let outputs =
            wide(outputs).reshape([tokens, top_k, d_model]) * weights.unsqueeze_dim::<3>(2);
        let mean = scores.mean_dim(0).reshape([count]);
        let routing = Routing {
            balance: (mean * group.load.clone()).sum() * count as f64,
            load: group.load,
            active: number.mean(),
        };
        (outputs.sum_dim(1).reshape([batch, time, d_model]), routing)
    }

    /// The packed stacks, where multiplying all of them is less than tiles and unpacking: counted in rows by a matrix.
    fn codes(&self, tokens: usize) -> Option<[&PackedTensor; 2]> {
        let up = self.up.reparameterization::<PackedTensor>()?;
        let down = self.down.reparameterization::<PackedTensor>()?;
        let ExpertsConfig { count, top_k, tile, .. } = self.config;
        let unpacking = count * (up.shape()[1] + down.shape()[1]);
        let grouped = 2 * self.config.tiles(tokens) * tile + unpacking;
        ((tokens + tokens * top_k) * count <= grouped).then_some([up, down])
    }

    /// Every choice of the tokens `x` (`[tokens, d_model]`) from the products with all experts: `[choices, d_model]`.
    fn picked(
        &self,
        x: Tensor<2>,
        chosen: &Tensor<1, Int>,
        [up, down]: [&PackedTensor; 2],
    ) -> Tensor<2> {
        let ExpertsConfig { count, top_k, .. } = self.config;
        // Of the products of rows, with `each` choices a row, those with the experts chosen.
        let through = |x: Tensor<2>, stack: &PackedTensor, each: usize| {
            let (rows, width) = (x.dims()[0], stack.shape()[0] / count);
            let all = qmatmul(x, stack).expect("rows have the width of the stack");
            let first = Tensor::<1, Int>::arange(0..rows as i64, &all.device()) * count as i64;
            let first = first.unsqueeze_dim::<2>(1).repeat_dim(1, each).reshape([rows * each]);
            all.reshape([rows * count, width]).select(0, first + chosen.clone())
        };
        through(squared_relu(through(x, up, top_k)), down, 1)
    }

    /// Every row of `x` (`[rows, d_model]`) through its expert.
    fn grouped(&self, x: Tensor<2>, group: &Group) -> Tensor<2> {
        let d_model = x.dims()[1];
        let [tiles, tile] = [group.experts.dims()[0], self.config.tile];
        let slots = Tensor::zeros([tiles * tile, d_model], &x.device()).select_assign(
            0,
            group.slots.clone(),
            x,
            IndexingUpdateOp::Add,
        );
        let matrix = |stack: &Param<Tensor<3>>| stack.val().select(0, group.experts.clone());
        let up = matrix(&self.up);
        let hidden = slots.cast(up.dtype()).reshape([tiles, tile, d_model]).matmul(up);
        let outputs = squared_relu(hidden).matmul(matrix(&self.down));
        outputs.reshape([tiles * tile, d_model]).select(0, group.slots.clone())
    }
}

/// Where every choice of an expert lies among the tiles. Counted in `f32`, which is exact to 2²⁴.
struct Group {
    /// The slot of every choice.
    slots: Tensor<1, Int>,
    /// The expert of every tile.
    experts: Tensor<1, Int>,
    /// The share of the choices that count.
    load: Tensor<1>,
}

impl Group {
    /// `chosen`: the expert of every choice; `active`: 1 for each that counts, `[tokens, top_k]`.
    fn of(config: &ExpertsConfig, chosen: Tensor<1, Int>, active: Tensor<2>) -> Self {
        let choices = chosen.dims()[0];
        let (count, tile) = (config.count, config.tile);
        let tiles = config.tiles(choices / config.top_k);
        let device = chosen.device();
        let numbers =
            |end: usize| Tensor::<1, Int>::arange(0..end as i64, &device).unsqueeze::<2>();
        let hot = chosen
            .unsqueeze_dim::<2>(1)
            .expand([choices, count])
            .equal(numbers(count).expand([choices, count]))
            .float();
        let rank = counted(hot.clone()) - 1.0;
        let sizes = hot.clone().sum_dim(0);
        let rows = (sizes.add_scalar((tile - 1) as f64) / tile as f64).floor() * tile as f64;
        let ends = rows.clone().cumsum(1);
        let begins = ends.clone() - rows;
        let slots = (hot.clone() * (rank + begins)).sum_dim(1);
        let firsts = (numbers(tiles) * tile as i64).float().swap_dims(0, 1);
        let passed = firsts.expand([tiles, count]).greater_equal(ends.expand([tiles, count]));
        let experts = passed.float().sum_dim(1).clamp_max((count - 1) as f64);
        let active = active.reshape([choices, 1]);
        let load = (hot * active.clone()).sum_dim(0) / active.sum_dim(0);
        Self {
            slots: slots.add_scalar(0.5).int().reshape([choices]),
            experts: experts.add_scalar(0.5).int().reshape([tiles]),
            load: load.reshape([count]),
        }
    }
}

/// Running sums down the columns of `[rows, columns]`: within stretches and over their totals, since a
/// backend may take the square of the length for one.
fn counted(x: Tensor<2>) -> Tensor<2> {
    const STRETCH: usize = 64;
    let [rows, columns] = x.dims();
    let stretches = rows.div_ceil(STRETCH);
    let padding = stretches * STRETCH - rows;
    let x = match padding {
        0 => x,
        _ => {
            let zeros = Tensor::zeros([padding, columns], &x.device());
            Tensor::cat(vec![x, zeros], 0)
        }
    };
    let within = x.reshape([stretches, STRETCH, columns]).cumsum(1);
    let totals = within.clone().narrow(1, STRETCH - 1, 1);
    let before = totals.clone().cumsum(0) - totals;
    (within + before).reshape([stretches * STRETCH, columns]).narrow(0, 0, rows)
}
