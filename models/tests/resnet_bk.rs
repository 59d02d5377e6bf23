//! ResNet-BK: causality of every switch, what each switch computes, gradients, and kernels against flex.

use burn::{
    module::Module as _,
    tensor::{DType, Device, Tensor, TensorData},
};
use wavecube_burn::Sides;
use wavecube_models::{
    config::Config,
    core_config::Configuration as _,
    flops::Flops,
    layers::{Hopping, Resample, ResolventConfig, ResolventForm, ResolventMixer, blended},
    lct_gpt,
    model::{Architecture, LanguageModel as _},
    presets::Preset,
    random::Random,
    resnet_bk::{ModelConfig, ResNetBk},
    tape::Tape,
};

use crate::support::{
    by_kernels, bytes, close, devices_with_kernels, flex, gradients, read, tensor, text, values,
    weights, with_weights,
};

const CONTEXT: usize = 24;

fn small() -> ModelConfig {
    ModelConfig { context: CONTEXT, d_model: 16, layers: 5, ..ModelConfig::default() }
}

/// Every preset that is a ResNet-BK, small, and pairs of switches.
fn configurations() -> Vec<(String, ModelConfig)> {
    let base = Config { resnet_bk: small(), ..Config::default() };
    let mut all: Vec<_> = Preset::all()
        .into_iter()
        .map(|preset| (preset.to_string(), preset.of(&base)))
        .filter(|(_, config)| config.model == Architecture::ResnetBk)
        .map(|(name, config)| (name, config.resnet_bk))
        .collect();
    let [.., full] = &all[..] else { panic!("there are presets") };
    let mut blocked = full.1.clone();
    blocked.mixer.form = ResolventForm::Blocked;
    blocked.mixer.block = 3;
    blocked.experts.top_k = 2;
    // Untrained, nothing is sure: an exit at the confidence of chance is taken by some.
    blocked.exits.confidence = 0.006;
    let mut sparse = full.1.clone();
    sparse.mixer.form = ResolventForm::Blocked;
    sparse.mixer.block = 4;
    sparse.mixer.sparsity.keep = 0.4;
    let mut shallow = full.1.clone();
    shallow.scales = 1;
    shallow.exits.confidence = 0.006;
    all.extend([
        ("full, blocked".to_owned(), blocked),
        ("full, sparse".to_owned(), sparse),
        ("full, one scale".to_owned(), shallow),
    ]);
    all
}

fn model(config: &ModelConfig) -> ResNetBk {
    ResNetBk::new(config, &mut Random::new(1), &flex()).unwrap()
}

#[test]
fn changing_a_byte_changes_no_output_before_it() {
    for (name, config) in configurations() {
        let model = model(&config);
        let before = text(2, CONTEXT);
        let run = |values: &[i32]| read(model.forward(bytes(values, &flex())).unwrap());
        let expected = run(&before);
        for at in 0..CONTEXT {
            let mut changed = before.clone();
            changed[at] ^= 0x55;
            let found = run(&changed);
            assert_eq!(expected[..256 * at], found[..256 * at], "{name}: byte {at}");
            assert_ne!(
                expected[256 * at..256 * (at + 1)],
                found[256 * at..256 * (at + 1)],
                "{name}: byte {at}"
            );
        }
    }
}

#[test]
fn a_prefix_is_read_like_the_whole() {
    for (name, config) in configurations() {
        let model = model(&config);
        let whole = text(3, CONTEXT);
        let expected = read(model.forward(bytes(&whole, &flex())).unwrap());
        for time in [1, 2, 3, 7, 16, CONTEXT] {
            let found = read(model.forward(bytes(&whole[..time], &flex())).unwrap());
            close(&found, &expected[..256 * time], 1e-6);
            // The next byte alone, which may leave out blocks, is the last position of it.
            let next = read(model.next_logits(bytes(&whole[..time], &flex())).unwrap());
            assert_eq!(next.len(), 256, "{name}");
            close(&next, &expected[256 * (time - 1)..256 * time], 1e-6);
        }
    }
}

#[test]
fn the_two_sided_mixer_sees_the_future_and_the_others_do_not() {
    for (form, sees) in [
        (ResolventForm::Left, false),
        (ResolventForm::Blocked, false),
        (ResolventForm::TwoSided, true),
    ] {
        let config = ResolventConfig { form, block: 4, ..ResolventConfig::default() };
        let mixer = ResolventMixer::new(&config, 8, 1.0, &mut Random::new(4), &flex()).unwrap();
        let x = values(10 * 8, 5);
        let run =
            |x: &[f64]| read(mixer.forward(tensor(x, [1, 10, 8], DType::F32, &flex())).unwrap());
        let mut changed = x.clone();
        changed[8 * 6] += 1.0;
        assert_eq!(run(&x)[..8 * 6] != run(&changed)[..8 * 6], sees, "{form:?}");
        assert_ne!(run(&x), run(&changed), "{form:?}");
    }
    let mut config = small();
    config.mixer.form = ResolventForm::TwoSided;
    let refused = ResNetBk::new(&config, &mut Random::new(1), &flex()).unwrap_err();
    assert!(refused.to_string().contains("sees the future"), "{refused}");
}

#[test]
fn halting_repeats_a_block_as_often_as_it_says() {
    // Two layers: the second sees the scale of what the first gives on.
    let mut config = ModelConfig { layers: 2, match_parameters: false, ..small() };
    config.halting.steps = 3;
    let halting = model(&config);
    let known = weights(&halting);
    let input = || bytes(&text(4, 9), &flex());
    let steps = |model: &ResNetBk| -> Vec<f64> {
        model.statistics(input()).unwrap().iter().map(|statistic| statistic.values[0]).collect()
    };
    // A halting bias far out stops at once, or never before the last step.
    for (bias, times) in [(30.0_f32, 1), (-30.0, 3)] {
        let moved = with_weights(halting.clone(), &|path| {
            if path.ends_with("halting.bias") {
                return TensorData::new(vec![bias], [1]);
            }
            known[path].clone()
        });
        assert_eq!(steps(&moved), [times as f64; 2]);
        // The same blocks as often, one after the other.
        let config = ModelConfig { layers: 2 * times, match_parameters: false, ..small() };
        let unrolled = with_weights(model(&config), &|path| {
            let parts = path.split('.').map(|part| match part.parse::<usize>() {
                Ok(index) => (index / times).to_string(),
                Err(_) => part.to_owned(),
            });
            known[&parts.collect::<Vec<_>>().join(".")].clone()
        });
        let expected = read(unrolled.forward(input()).unwrap());
        close(&read(moved.forward(input()).unwrap()), &expected, 1e-6);
    }
    assert!(steps(&halting).iter().all(|&steps| steps > 1.0 && steps < 3.0));

    // A block that adds nothing, repeated: the weights of its states add up to one.
    let idle = |path: &str| {
        let data = known[path].clone();
        let adds = path.ends_with("mixer.out.weight") || path.ends_with("down.weight");
        if path.starts_with("blocks.0") && adds {
            return TensorData::zeros::<f32, _>(data.shape());
        }
        match path {
            "blocks.1.halting.bias" => TensorData::new(vec![30.0_f32], [1]),
            _ => data,
        }
    };
    let moved = with_weights(halting, &idle);
    assert!(steps(&moved)[0] > 1.0 && steps(&moved)[0] < 3.0);
    config.halting.steps = 1;
    let once = with_weights(model(&config), &idle);
    let expected = read(once.forward(input()).unwrap());
    close(&read(moved.forward(input()).unwrap()), &expected, 1e-6);
}

#[test]
fn exits_take_the_positions_that_are_sure() {
    let mut config = small();
    config.exits.weight = 0.3;
    let input = || bytes(&text(5, CONTEXT), &flex());
    let known = weights(&model(&config));
    let of = |confidence: f64| {
        let mut config = config.clone();
        config.exits.confidence = confidence;
        let model = with_weights(model(&config), &|path| known[path].clone());
        let shares: Vec<f64> =
            model.statistics(input()).unwrap().iter().map(|s| s.values[0]).collect();
        (read(model.forward(input()).unwrap()), shares)
    };
    // Below chance the first exit takes all; at certainty none takes any, as without exits.
    let (all_first, shares) = of(0.003);
    assert_eq!(shares, [1.0, 0.0, 0.0, 0.0]);
    let (none, shares) = of(1.0);
    assert_eq!(shares, [0.0; 4]);
    config.exits.weight = 0.0;
    let plain = with_weights(model(&config), &|path| known[path].clone());
    close(&none, &read(plain.forward(input()).unwrap()), 1e-6);
    let truncated = ModelConfig { layers: 1, match_parameters: false, ..config.matched() };
    let first = with_weights(model(&truncated), &|path| known[path].clone());
    close(&all_first, &read(first.forward(input()).unwrap()), 1e-6);
}

#[test]
fn scales_see_the_pairs_that_are_complete() {
    let resample = Resample::new(4, 1.0, &mut Random::new(6), &flex());
    for time in 1..10 {
        let x = values(time * 4, 7);
        let run = |x: &[f64]| {
            let x = tensor(x, [1, time, 4], DType::F32, &flex());
            let coarse = resample.down(x.clone(), None);
            assert_eq!(coarse.as_ref().map_or(0, |coarse| coarse.dims()[1]), time / 2);
            read(resample.up(x.zeros_like(), coarse, None))
        };
        let before = run(&x);
        for at in 0..time {
            let mut changed = x.clone();
            changed[4 * at] += 1.0;
            let after = run(&changed);
            // A pair's positions after it is complete: its second and the next.
            let second = at / 2 * 2 + 1;
            for t in 0..time {
                let differs = before[4 * t..4 * t + 4] != after[4 * t..4 * t + 4];
                assert_eq!(differs, t == second || t == second + 1, "{time}: {at} on {t}");
            }
        }
    }
}

#[test]
fn parameters_are_counted_and_matched() {
    for (name, config) in configurations() {
        for matching in [true, false] {
            let config = ModelConfig { match_parameters: matching, ..config.clone() };
            let model = model(&config);
            assert_eq!(model.num_params(), model.config().parameter_count(), "{name}");
        }
        let transformer = lct_gpt::ModelConfig {
            d_model: 64,
            layers: 5,
            placement: lct_gpt::Placement::None,
            ..lct_gpt::ModelConfig::default()
        };
        let wide = ModelConfig { d_model: 64, ..config }.matched().parameter_count() as f64;
        let target = transformer.parameter_count() as f64;
        assert!((wide / target - 1.0).abs() < 0.01, "{name}: {wide} and {target}");
    }
}

#[test]
fn a_matrix_costs_two_operations_an_entry() {
    let part = |flops: &Flops, name: &str| {
        flops.parts.iter().find(|part| part.name == name).map_or(0.0, |part| part.forward)
    };
    let config = small();
    let flops = config.flops();
    // Everything but the embedding and the vectors is a matrix that every token meets once.
    let vectors = config.layers * (2 * 16 + 2 * 16) + 16;
    let matrices = config.parameter_count() - 256 * 16 - vectors;
    assert_eq!(flops.forward() - part(&flops, "resolvent"), 2.0 * matrices as f64);
    // Half the positions at the middle scale, a quarter at the coarsest; and three steps.
    let scaled = ModelConfig { scales: 2, ..config.clone() }.flops();
    let ratio = part(&scaled, "network") / part(&flops, "network");
    assert!((ratio - (2.0 + 2.0 * 0.5 + 0.25) / 5.0).abs() < 1e-12, "{ratio}");
    let mut halting = config;
    halting.halting.steps = 3;
    assert_eq!(part(&halting.flops(), "resolvent"), 3.0 * part(&flops, "resolvent"));
    assert!(flops.step(8) > 24.0 * flops.forward() - 1.0);
}

#[test]
fn kernels_agree_with_flex() {
    for (name, config) in configurations() {
        let run = |device: &Device| {
            let device = device.clone().autodiff();
            let model = ResNetBk::new(&config, &mut Random::new(5), &device).unwrap();
            let (x, y) = (text(6, CONTEXT), text(7, CONTEXT));
            let (x, y) = (bytes(&x, &device), bytes(&y, &device));
            let losses =
                model.losses(x, y, &mut Random::new(8), &mut Tape::new(&model, false)).unwrap();
            let value = read(losses.total.clone().inner());
            (value, gradients(&model, &losses.total.backward()), model.num_params())
        };
        // A gradient passes `G²` in every block, which amplifies its rounding by up to `1/η² = 100`: a few
        // times 100 ε for every block that is run.
        let tolerance = 2e-5 * (config.layers * config.halting.steps) as f64;
        let (expected, expected_gradients, parameters) = run(&flex());
        let reached: usize = expected_gradients.values().map(Vec::len).sum();
        assert_eq!(reached, parameters, "{name}: every parameter has a gradient");
        let kernels = if config.mixer.form == ResolventForm::Blocked {
            ["resolvent_diagonal", "resolvent_diagonal_vjp"]
        } else {
            ["leading_resolvent", "leading_resolvent_vjp"]
        };
        for device in devices_with_kernels() {
            let (found, found_gradients, _) = by_kernels(&kernels, || run(&device));
            close(&found, &expected, 1e-5);
            for (path, expected) in &expected_gradients {
                let largest = expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                let difference = found_gradients[path].iter().zip(expected);
                let worst = difference.fold(0.0_f64, |m, (x, y)| m.max((x - y).abs()));
                assert!(largest.is_finite() && largest > 0.0, "{name} {path}");
                assert!(worst <= tolerance * largest + 1e-7, "{name} {path}: {worst} of {largest}");
            }
        }
    }
}

#[test]
fn the_shortcut_is_not_the_gradient() {
    // The model's own distribution: a potential of size 1, products of one, a width of 0.1 to 1.
    let (rows, n) = (8, 64);
    for (sides, eta) in [(Sides::Both, 0.3), (Sides::Both, 1.0), (Sides::Left, 0.3)] {
        let d: Vec<f64> = values(rows * n, 9).into_iter().flat_map(|v| [v - 2.0, -eta]).collect();
        let device = flex().autodiff();
        let run = |blend: f64| {
            let d = tensor(&d, [1, rows, n, 2], DType::F64, &device).require_grad();
            let p = Tensor::ones([1, rows, n - 1], (&device, DType::F64));
            let y = blended(d.clone(), p, sides, blend).unwrap();
            let g = tensor(&values(rows * n * 2, 10), [1, rows, n, 2], DType::F64, &device);
            let gradients = (y.clone() * g).sum().backward();
            // Potentials are real: the real part of the gradient is what reaches them.
            let gradient = d.grad(&gradients).unwrap().narrow(3, 0, 1);
            (read(y.inner()), read(gradient))
        };
        let (value, exact) = run(0.0);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = |g: &[f64]| dot(g, &exact) / (dot(g, g) * dot(&exact, &exact)).sqrt();
        let cosines: Vec<f64> = [0.25, 0.5, 0.75, 1.0]
            .into_iter()
            .map(|blend| {
                let (same, gradient) = run(blend);
                assert_eq!(same, value);
                cosine(&gradient)
            })
            .collect();
        println!("{sides:?}, width {eta}: cosines {cosines:.3?} at 0.25, 0.5, 0.75, 1");
        assert!(cosines.windows(2).all(|pair| pair[0] > pair[1]), "{cosines:?}");
        assert!(cosines[3] > 0.5 && cosines[3] < 0.97, "{cosines:?}");
    }
}

#[test]
fn products_of_the_tokens_are_a_switch() {
    let count = |hopping| {
        let config = ResolventConfig { hopping, ..ResolventConfig::default() };
        let mixer = ResolventMixer::new(&config, 8, 1.0, &mut Random::new(4), &flex()).unwrap();
        assert_eq!(mixer.num_params(), config.parameter_count(8));
        mixer.num_params()
    };
    assert_eq!(count(Hopping::Token) - count(Hopping::Fixed), 8 * 8);
    for config in [
        ResolventConfig { block: 0, ..ResolventConfig::default() },
        ResolventConfig { grad_blend: -0.1, ..ResolventConfig::default() },
    ] {
        assert!(ResolventMixer::new(&config, 8, 1.0, &mut Random::new(4), &flex()).is_err());
    }
}
