//! The mixture of experts against its definition in `f64`: every token through its experts, one by one.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{DType, Tensor},
};
use wavecube_models::{
    layers::{Experts, ExpertsConfig, Routing},
    random::Random,
};

use crate::support::{close, devices, flex, read, tensor, values};

const D_MODEL: usize = 6;
const HIDDEN: usize = 5;

/// Router, `up` and `down`, row by row.
fn matrices(experts: &Experts) -> [Vec<f64>; 3] {
    struct Visitor(Vec<Vec<f64>>);
    impl ModuleVisitor for Visitor {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(read(param.val()));
        }
    }
    let mut visitor = Visitor(Vec::new());
    experts.visit(&mut visitor);
    visitor.0.try_into().expect("three matrices")
}

/// `x W` for `W` of `columns` columns.
fn product(x: &[f64], w: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).map(|j| (0..x.len()).map(|i| x[i] * w[i * columns + j]).sum()).collect()
}

fn softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
    let top = logits.iter().fold(f64::MIN, |m, &x| m.max(x));
    let each: Vec<f64> = logits.iter().map(|x| ((x - top) / temperature).exp()).collect();
    let sum: f64 = each.iter().sum();
    each.into_iter().map(|x| x / sum).collect()
}

/// The experts of a token that count, likeliest first.
fn chosen(config: &ExpertsConfig, scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut sum = 0.0;
    let mut taken = Vec::new();
    for &expert in &order[..config.top_k] {
        if sum < config.threshold {
            taken.push(expert);
        }
        sum += scores[expert];
    }
    taken
}

fn through([_, up, down]: &[Vec<f64>; 3], expert: usize, x: &[f64]) -> Vec<f64> {
    let block = D_MODEL * HIDDEN;
    let hidden = product(x, &up[expert * block..][..block], HIDDEN);
    let hidden: Vec<f64> = hidden.into_iter().map(|h| h.max(0.0).powi(2)).collect();
    product(&hidden, &down[expert * block..][..block], D_MODEL)
}

fn experts(config: &ExpertsConfig, device: &burn::tensor::Device) -> Experts {
    let experts =
        Experts::new(config, [D_MODEL, HIDDEN], 1.0, &mut Random::new(3), device).unwrap();
    assert_eq!(experts.num_params(), config.count * (D_MODEL + 2 * D_MODEL * HIDDEN));
    experts
}

fn configurations() -> Vec<ExpertsConfig> {
    let base = ExpertsConfig { temperature: 0.1, ..ExpertsConfig::default() };
    vec![
        ExpertsConfig { count: 1, ..base.clone() },
        ExpertsConfig { count: 4, ..base.clone() },
        ExpertsConfig { count: 4, tile: 1, ..base.clone() },
        ExpertsConfig { count: 5, top_k: 3, tile: 7, ..base.clone() },
        ExpertsConfig { count: 8, top_k: 4, threshold: 0.6, tile: 4, ..base },
    ]
}

#[test]
fn every_token_goes_through_its_experts() {
    for config in configurations() {
        for device in devices() {
            let experts = experts(&config, &device);
            let matrices = matrices(&experts);
            for (tokens, alike) in [(1, false), (7, false), (70, false), (40, true)] {
                let mut x = values(tokens * D_MODEL, 11);
                if alike {
                    // All choose the same experts, and the others have nothing to do.
                    x = x[..D_MODEL].repeat(tokens);
                }
                let mut expected = Vec::new();
                let mut load = vec![0.0; config.count];
                let mut mean = vec![0.0; config.count];
                let mut active = 0.0;
                for x in x.chunks(D_MODEL) {
                    let logits = product(x, &matrices[0], config.count);
                    let scores = softmax(&logits, config.temperature);
                    let taken = chosen(&config, &scores);
                    let mut sum = vec![0.0; D_MODEL];
                    for &expert in &taken {
                        load[expert] += 1.0;
                        active += 1.0;
                        for (sum, y) in sum.iter_mut().zip(through(&matrices, expert, x)) {
                            *sum += y / taken.len() as f64;
                        }
                    }
                    for (mean, score) in mean.iter_mut().zip(scores) {
                        *mean += score / tokens as f64;
                    }
                    expected.extend(sum);
                }
                for load in &mut load {
                    *load /= active;
                }
                let input = tensor(&x, [1, tokens, D_MODEL], DType::F32, &device);
                let (found, routing) = experts.forward(input, None);
                close(&read(found), &expected, 2e-6);
                let Routing { load: found, active: number, balance } = routing;
                close(&read(found), &load, 1e-6);
                close(&read(number), &[active / tokens as f64], 1e-6);
                let expected: f64 = load.iter().zip(&mean).map(|(l, m)| l * m).sum();
                close(&read(balance), &[expected * config.count as f64], 1e-5);
            }
        }
    }
}

#[test]
fn the_router_learns_straight_through() {
    let tokens = 9;
    let x = values(tokens * D_MODEL, 12);
    let g = values(tokens * D_MODEL, 13);
    for config in configurations().into_iter().filter(|config| config.count > 1) {
        let device = flex().autodiff();
        let experts = experts(&config, &device);
        let mut matrices = matrices(&experts);
        let input = tensor(&x, [1, tokens, D_MODEL], DType::F32, &device);
        let weights = tensor(&g, [1, tokens, D_MODEL], DType::F32, &device);
        let (y, _) = experts.forward(input, None);
        let gradients = (y * weights).sum().backward();
        struct Router<'a>(&'a burn::tensor::Gradients, Option<Vec<f64>>);
        impl ModuleVisitor for Router<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let gradient = param.val().grad(self.0).expect("every matrix has a gradient");
                self.1.get_or_insert(read(gradient));
            }
        }
        let mut router = Router(&gradients, None);
        experts.visit(&mut router);

        // The slope of Σ s_j ⟨y_j, g⟩ over the experts that were taken, which stay.
        let scores = |router: &[f64], x: &[f64]| {
            softmax(&product(x, router, config.count), config.temperature)
        };
        let start = matrices[0].clone();
        let taken: Vec<_> =
            x.chunks(D_MODEL).map(|x| chosen(&config, &scores(&start, x))).collect();
        let gains: Vec<Vec<f64>> = (0..tokens)
            .map(|t| {
                let at = t * D_MODEL..(t + 1) * D_MODEL;
                let gain = |&expert: &usize| {
                    let y = through(&matrices, expert, &x[at.clone()]);
                    y.iter().zip(&g[at.clone()]).map(|(y, g)| y * g).sum()
                };
                taken[t].iter().map(gain).collect()
            })
            .collect();
        let value = |router: &[f64]| -> f64 {
            let each = x.chunks(D_MODEL).zip(taken.iter().zip(&gains));
            each.map(|(x, (taken, gains))| {
                let scores = scores(router, x);
                taken.iter().zip(gains).map(|(&expert, gain)| scores[expert] * gain).sum::<f64>()
            })
            .sum()
        };
        let slopes: Vec<f64> = (0..start.len())
            .map(|i| {
                matrices[0][i] = start[i] + 1e-6;
                let above = value(&matrices[0]);
                matrices[0][i] = start[i] - 1e-6;
                let below = value(&matrices[0]);
                matrices[0][i] = start[i];
                (above - below) / 2e-6
            })
            .collect();
        close(&router.1.expect("the router is the first"), &slopes, 1e-4);
    }
}

#[test]
fn noise_moves_choices_and_a_seed_repeats_them() {
    let config = ExpertsConfig { count: 4, ..ExpertsConfig::default() };
    let experts = experts(&config, &flex());
    let x = values(50 * D_MODEL, 14);
    let run = |seed: Option<u64>| {
        let x = tensor(&x, [5, 10, D_MODEL], DType::F32, &flex());
        read(experts.forward(x, seed.map(Random::new).as_mut()).0)
    };
    assert_eq!(run(Some(1)), run(Some(1)));
    assert_ne!(run(Some(1)), run(Some(2)));
    assert_ne!(run(Some(1)), run(None));
    // With flat logits and Gumbel noise, every expert gets its share: 4 standard deviations.
    let flat = tensor(&vec![0.0; 4000 * D_MODEL], [4, 1000, D_MODEL], DType::F32, &flex());
    let (_, routing) = experts.forward(flat, Some(&mut Random::new(5)));
    for load in read(routing.load) {
        assert!((load - 0.25).abs() < 4.0 * (0.25_f64 * 0.75 / 4000.0).sqrt(), "{load}");
    }
}

#[test]
fn experts_that_cannot_be_are_errors() {
    let base = ExpertsConfig { count: 4, ..ExpertsConfig::default() };
    for config in [
        ExpertsConfig { top_k: 0, ..base.clone() },
        ExpertsConfig { top_k: 5, ..base.clone() },
        ExpertsConfig { tile: 0, ..base.clone() },
        ExpertsConfig { threshold: 0.0, ..base.clone() },
        ExpertsConfig { temperature: f64::NAN, ..base.clone() },
        ExpertsConfig { balance: -1.0, ..base },
    ] {
        let made = Experts::new(&config, [D_MODEL, HIDDEN], 1.0, &mut Random::new(1), &flex());
        assert!(made.is_err(), "{config:?}");
    }
}
