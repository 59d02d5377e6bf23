//! Learned sparsity: what is kept, what the others get, and what the choice learns from.

use burn::tensor::{DType, Tensor, TensorData};
use wavecube::Complex64;
use wavecube_models::{
    layers::{ResolventConfig, ResolventForm, ResolventMixer, SparsityConfig},
    random::Random,
};

use crate::support::{close, flex, gradients, read, tensor, values, weights, with_weights};

const WIDTH: usize = 2;
const D: usize = 2 * WIDTH;
const BLOCK: usize = 5;
const TIME: usize = 17;
const BATCH: usize = 3;
const SPARSITY: SparsityConfig = SparsityConfig { keep: 0.6, weight: 1.0, temperature: 0.7 };
/// Of five positions.
const ROOM: usize = 3;

/// A mixer whose features are its results, with logits that leave little to chance.
fn mixer(seed: u64) -> ResolventMixer {
    let config = ResolventConfig {
        channels: WIDTH,
        form: ResolventForm::Blocked,
        block: BLOCK,
        sparsity: SPARSITY,
        ..ResolventConfig::default()
    };
    let device = flex().autodiff();
    let mixer = ResolventMixer::new(&config, D, 1.0, &mut Random::new(seed), &device).unwrap();
    let known = weights(&mixer);
    with_weights(mixer, &|path| match path {
        "out.weight" => {
            let identity = (0..D * D).map(|at| if at % (D + 1) == 0 { 1.0_f32 } else { 0.0 });
            TensorData::new(identity.collect(), [D, D])
        }
        "importance.weight" => {
            TensorData::new(values(D, seed + 1).iter().map(|&v| v as f32).collect(), [D, 1])
        }
        _ => known[path].clone(),
    })
}

/// What a block comes to: for every position its features, and how its choice moves them.
struct Block {
    kept: Vec<usize>,
    /// The results of what is kept, by channel.
    results: Vec<[Complex64; WIDTH]>,
    /// For every position the slots on either side and how far it is from the first.
    lines: Vec<Option<(usize, usize, f64)>>,
}

/// The host's reading of the mixer, in `f64`.
struct Truth {
    of: std::collections::HashMap<String, Vec<f64>>,
    x: Vec<f64>,
    noise: Vec<f64>,
}

impl Truth {
    fn new(mixer: &ResolventMixer, x: &[f64], noise: Vec<f64>) -> Self {
        let floats = |data: &TensorData| data.iter::<f64>().collect();
        let of = weights(mixer).iter().map(|(path, data)| (path.clone(), floats(data))).collect();
        Self { of, x: x.to_vec(), noise }
    }

    fn map(&self, path: &str, at: usize, column: usize, columns: usize) -> f64 {
        let weight = &self.of[path];
        (0..D).map(|i| self.x[at * D + i] * weight[i * columns + column]).sum()
    }

    /// With the noise of the number `index` among those that chose.
    fn logit(&self, at: usize, index: usize) -> f64 {
        let offset = (SPARSITY.keep / (1.0 - SPARSITY.keep)).ln();
        self.map("importance.weight", at, 0, 1) + offset + self.noise[index]
    }

    fn block(&self, sequence: usize, block: usize) -> Block {
        let begin = sequence * TIME + block * BLOCK;
        let chooser = (sequence * ((TIME - 1) / BLOCK) + block) * BLOCK;
        let logits: Vec<f64> = (0..BLOCK).map(|t| self.logit(begin + t, chooser + t)).collect();
        let mut kept: Vec<usize> = (0..BLOCK).filter(|&t| logits[t] > 0.0).collect();
        kept.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        kept.truncate(ROOM);
        kept.sort_unstable();

        let mut results = vec![[Complex64::ZERO; WIDTH]; kept.len()];
        for channel in 0..WIDTH {
            let d = |slot: usize| {
                let potential = self.map("potential.weight", begin + kept[slot], channel, WIDTH);
                let width = self.of["log_width"][channel].exp();
                Complex64::new(potential - self.of["energy"][channel], -width)
            };
            let p = |slot: usize| {
                let shift = 0.541_324_854_612_918_1;
                let hopping = self.map("hopping.weight", begin + kept[slot], channel, WIDTH);
                (hopping + shift).exp().ln_1p()
            };
            // The inverse's diagonal by leading and trailing minors.
            let n = kept.len();
            let mut leading = vec![Complex64::ONE; n + 1];
            let mut trailing = vec![Complex64::ONE; n + 2];
            for k in 0..n {
                let before = if k > 0 { leading[k - 1] * p(k) } else { Complex64::ZERO };
                leading[k + 1] = d(k) * leading[k] - before;
            }
            for k in (0..n).rev() {
                let after = if k + 1 < n { trailing[k + 2] * p(k + 1) } else { Complex64::ZERO };
                trailing[k] = d(k) * trailing[k + 1] - after;
            }
            for (k, result) in results.iter_mut().enumerate() {
                result[channel] = leading[k] * trailing[k + 1] / leading[n];
            }
        }
        let lines = (0..BLOCK)
            .map(|t| {
                let right = kept.iter().position(|&at| at >= t);
                let left = kept.iter().rposition(|&at| at <= t);
                Some(match (left, right) {
                    (Some(left), Some(right)) if left < right => {
                        let span = (kept[right] - kept[left]) as f64;
                        (left, right, (t - kept[left]) as f64 / span)
                    }
                    (Some(one), _) | (None, Some(one)) => (one, one, 0.0),
                    (None, None) => return None,
                })
            })
            .collect();
        Block { kept, results, lines }
    }

    /// All features, `[batch, time, 2 · width]`.
    fn features(&self) -> Vec<f64> {
        let mut features = vec![0.0; BATCH * TIME * D];
        for sequence in 0..BATCH {
            for block in 0..(TIME - 1) / BLOCK {
                let of = self.block(sequence, block);
                for (t, line) in of.lines.iter().enumerate() {
                    let at = (block + 1) * BLOCK + t;
                    let Some((left, right, share)) = *line else { continue };
                    if at >= TIME {
                        continue;
                    }
                    for channel in 0..WIDTH {
                        let [low, high] = [left, right].map(|slot| of.results[slot][channel]);
                        let value = low + (high - low) * share;
                        let place = (sequence * TIME + at) * D + 2 * channel;
                        features[place..place + 2].copy_from_slice(&[value.re, value.im]);
                    }
                }
            }
        }
        features
    }
}

#[test]
fn kept_positions_mix_among_themselves_and_the_others_lie_between() {
    let mut sizes = [0; BLOCK + 1];
    for seed in 0..40 {
        let mixer = mixer(seed);
        let x = values(BATCH * TIME * D, 100 + seed);
        let truth = Truth::new(&mixer, &x, vec![0.0; BATCH * TIME]);
        let device = flex().autodiff();
        let input = || tensor(&x, [BATCH, TIME, D], DType::F32, &device);
        let (found, kept) = mixer.advance(input(), None, None).unwrap();
        // The rounding of the recursions, which divide by sums of about their terms' size.
        close(&read(found), &truth.features(), 1e-5);
        let mut count = 0;
        for (sequence, block) in
            (0..BATCH).flat_map(|s| (0..(TIME - 1) / BLOCK).map(move |b| (s, b)))
        {
            let kept = truth.block(sequence, block).kept.len();
            sizes[kept] += 1;
            count += kept;
        }
        let share = count as f64 / (BATCH * (TIME - 1) / BLOCK * BLOCK) as f64;
        let kept = kept.unwrap();
        close(&read(kept.share), &[share], 1e-6);
    }
    assert!(sizes[..=ROOM].iter().all(|&count| count > 0), "{sizes:?}");
}

#[test]
fn a_choice_learns_from_what_a_position_adds() {
    for seed in 0..4 {
        let mixer = mixer(seed);
        let x = values(BATCH * TIME * D, 200 + seed);
        let w = values(BATCH * TIME * D, 300 + seed);
        let blocks = (TIME - 1) / BLOCK;
        let mut drawn = Random::new(seed + 7);
        let noise = (0..BATCH * blocks * BLOCK).map(|_| drawn.gumbel() - drawn.gumbel()).collect();
        let truth = Truth::new(&mixer, &x, noise);
        let device = flex().autodiff();
        let of =
            |values: &[f64]| -> Tensor<3> { tensor(values, [BATCH, TIME, D], DType::F32, &device) };
        let mut random = Random::new(seed + 7);
        let (found, kept) = mixer.advance(of(&x), None, Some(&mut random)).unwrap();
        close(&read(found.clone()), &truth.features(), 1e-5);
        let found = gradients(&mixer, &(found * of(&w)).sum().backward());

        // By logits: what the loss gains from a kept position over the line between its neighbours.
        let mut expected = vec![0.0; D];
        let mut means = 0.0;
        for (sequence, block) in (0..BATCH).flat_map(|s| (0..blocks).map(move |b| (s, b))) {
            let Block { kept, results, lines } = truth.block(sequence, block);
            for (slot, &position) in kept.iter().enumerate() {
                let by_channel = |channel: usize| {
                    let mut by_slot = Complex64::ZERO;
                    for (t, line) in lines.iter().enumerate() {
                        let at = (block + 1) * BLOCK + t;
                        let Some((left, right, share)) = *line else { continue };
                        if at < TIME {
                            let place = (sequence * TIME + at) * D + 2 * channel;
                            let w = Complex64::new(w[place], w[place + 1]);
                            by_slot += w * if left == slot { 1.0 - share } else { 0.0 };
                            by_slot += w * if right == slot { share } else { 0.0 };
                        }
                    }
                    let line = match (slot.checked_sub(1), kept.get(slot + 1)) {
                        (None, None) => Complex64::ZERO,
                        (Some(one), None) => results[one][channel],
                        (None, Some(_)) => results[slot + 1][channel],
                        (Some(one), Some(&next)) => {
                            let share = (position - kept[one]) as f64 / (next - kept[one]) as f64;
                            let [low, high] = [one, slot + 1].map(|slot| results[slot][channel]);
                            low + (high - low) * share
                        }
                    };
                    let adds = results[slot][channel] - line;
                    by_slot.re * adds.re + by_slot.im * adds.im
                };
                let gain: f64 = (0..WIDTH).map(by_channel).sum();
                let at = sequence * TIME + block * BLOCK + position;
                let index = (sequence * blocks + block) * BLOCK + position;
                let probability =
                    1.0 / (1.0 + (-truth.logit(at, index) / SPARSITY.temperature).exp());
                let slope = probability * (1.0 - probability) / SPARSITY.temperature;
                for (sum, x) in expected.iter_mut().zip(&x[at * D..]) {
                    *sum += gain * slope * x;
                }
            }
            for t in 0..BLOCK {
                let at = sequence * TIME + block * BLOCK + t;
                let index = (sequence * blocks + block) * BLOCK + t;
                let logit = truth.logit(at, index) - truth.noise[index];
                means += 1.0 / (1.0 + (-logit).exp()) / (BATCH * blocks * BLOCK) as f64;
            }
        }
        close(&found["importance.weight"], &expected, 1e-4);
        close(&read(kept.unwrap().loss), &[(means - SPARSITY.keep).powi(2)], 1e-4);
    }
}

#[test]
fn sparsity_is_refused_where_it_would_see_the_future() {
    let sparse = ResolventConfig { sparsity: SPARSITY, ..ResolventConfig::default() };
    let refused = sparse.validate().unwrap_err();
    assert!(refused.to_string().contains("blocked"), "{refused}");
    for sparsity in [
        SparsityConfig { keep: 0.0, ..SPARSITY },
        SparsityConfig { keep: 1.5, ..SPARSITY },
        SparsityConfig { temperature: 0.0, ..SPARSITY },
        SparsityConfig { weight: f64::NAN, ..SPARSITY },
    ] {
        let config = ResolventConfig { form: ResolventForm::Blocked, sparsity, ..sparse.clone() };
        assert!(config.validate().is_err(), "{config:?}");
    }
}
