//! The byte-spectral model: causality, what every cure is for, generation by state, gradients, and kernels
//! against flex.

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};
use wavecube_models::{
    byte_spectral::{ByteSpectral, ModelConfig},
    config::Config,
    core_config::Configuration as _,
    layers::{SpectralConfig, SpectralMixer},
    lct_gpt,
    model::{Architecture, LanguageModel as _, Model},
    presets::Preset,
    random::Random,
};

use crate::support::{
    by_kernels, bytes, close, devices_with_kernels, flex, gradients, read, room, tensor, text,
    values,
};

const CONTEXT: usize = 40;

fn small() -> ModelConfig {
    ModelConfig { context: CONTEXT, d_model: 16, layers: 2, ..ModelConfig::default() }
}

/// Every preset that is a byte-spectral model, small, and one of short filters.
fn configurations() -> Vec<(String, ModelConfig)> {
    let base = Config { byte_spectral: small(), ..Config::default() };
    let mut all: Vec<_> = Preset::all()
        .into_iter()
        .map(|preset| (preset.to_string(), preset.of(&base)))
        .filter(|(_, config)| config.model == Architecture::ByteSpectral)
        .map(|(name, config)| (name, config.byte_spectral))
        .collect();
    assert_eq!(all.len(), 7);
    let mut short = small();
    short.mixer = SpectralConfig { taps: 5, channels: 3, ..SpectralConfig::full() };
    all.push(("short filters".to_owned(), short));
    all
}

fn model(config: &ModelConfig, device: &Device) -> ByteSpectral {
    ByteSpectral::new(config, &mut Random::new(1), device).unwrap()
}

#[test]
fn changing_a_byte_changes_no_output_before_it() {
    for (name, config) in configurations() {
        let model = model(&config, &flex());
        let before = text(2, CONTEXT);
        let run = |values: &[i32]| read(model.forward(bytes(values, &flex())).unwrap());
        let expected = run(&before);
        for at in 0..CONTEXT {
            let mut changed = before.clone();
            changed[at] ^= 0x55;
            let found = run(&changed);
            // All outputs come from one transform, so rounding spreads.
            close(&found[..256 * at], &expected[..256 * at], 1e-6);
            let here = 256 * at..256 * (at + 1);
            assert_ne!(expected[here.clone()], found[here], "{name}: byte {at}");
        }
    }
}

#[test]
fn generation_by_state_is_the_parallel_form() {
    for (name, config) in configurations() {
        let model = model(&config, &flex());
        let whole = text(3, CONTEXT);
        let expected = read(model.forward(bytes(&whole, &flex())).unwrap());
        let step = |past: &mut _, byte: i32| model.advance(bytes(&[byte], &flex()), past).map(read);
        let mut past = model.begin(&room(1, CONTEXT)).unwrap();
        let mut changed = Vec::new();
        for (t, &byte) in whole.iter().enumerate() {
            // A past that takes another byte here has the same results before, to the last bit.
            let mut other = past.clone();
            changed.push(step(&mut other, byte ^ 0x55).unwrap());
            let logits = step(&mut past, byte).unwrap();
            close(&logits, &expected[256 * t..256 * (t + 1)], 2e-6);
            assert_ne!(logits, changed[t], "{name}");
        }
        let full = step(&mut past, 0).unwrap_err().to_string();
        assert!(full.contains("`bytes`"), "{full}");
        // Many at once, and too many, which change nothing.
        let mut past = model.begin(&room(1, CONTEXT)).unwrap();
        let many = model.advance(bytes(&whole[..25], &flex()), &mut past).map(read).unwrap();
        close(&many, &expected[256 * 24..256 * 25], 2e-6);
        assert!(model.advance(bytes(&whole[..16], &flex()), &mut past).is_err());
        let rest = model.advance(bytes(&whole[25..], &flex()), &mut past).map(read).unwrap();
        close(&rest, &expected[256 * (CONTEXT - 1)..], 2e-6);
    }
}

/// The sum over all positions of what a mixer makes of a line of tokens, and of the same tokens in another
/// order.
fn sums(config: &SpectralConfig) -> [Vec<f64>; 2] {
    let (d_model, time) = (8, 12);
    let mixer =
        SpectralMixer::new(config, [d_model, time], 1.0, &mut Random::new(4), &flex()).unwrap();
    let words = |words: [usize; 3]| -> Vec<f64> {
        words.iter().flat_map(|&word| values(4 * d_model, 10 + word as u64)).collect()
    };
    // Dog bites man, man bites dog: four tokens a word.
    [words([0, 1, 2]), words([2, 1, 0])].map(|x| {
        let x = tensor(&x, [1, time, d_model], DType::F32, &flex());
        read(mixer.forward(x).unwrap().sum_dim(1))
    })
}

#[test]
fn every_cure_tells_orders_apart_and_none_does_not() {
    let plain = SpectralConfig { causal: false, ..SpectralConfig::plain() };
    let [one, other] = sums(&plain);
    close(&one, &other, 1e-5);
    let cures = [
        SpectralConfig { anchored: true, ..plain.clone() },
        SpectralConfig { gated: true, ..plain.clone() },
        SpectralConfig { phase_aware: true, ..plain.clone() },
        SpectralConfig { bands: 3, ..plain.clone() },
        SpectralConfig { causal: true, ..plain.clone() },
    ];
    let difference = |config: &SpectralConfig| {
        let [one, other] = sums(config);
        let norm = one.iter().map(|x| x * x).sum::<f64>().sqrt();
        let apart = one.iter().zip(&other).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt();
        apart / norm
    };
    for cure in &cures {
        assert!(difference(cure) > 0.01, "{cure:?}: {}", difference(cure));
    }
}

#[test]
fn filters_that_wrap_around_are_refused() {
    let mut config = small();
    config.mixer.causal = false;
    let refused = ByteSpectral::new(&config, &mut Random::new(1), &flex()).unwrap_err();
    assert!(refused.to_string().contains("see the future"), "{refused}");
    let mixer = SpectralMixer::new(&config.mixer, [8, 8], 1.0, &mut Random::new(1), &flex());
    assert!(mixer.unwrap().begin(1, 8).is_err());
    for bands in [0, 9] {
        config.mixer = SpectralConfig { bands, ..SpectralConfig::full() };
        let refused = ByteSpectral::new(&config, &mut Random::new(1), &flex()).unwrap_err();
        assert!(refused.to_string().contains("bands"), "{refused}");
    }
}

#[test]
fn parameters_are_counted_and_matched() {
    for (name, config) in configurations() {
        for matching in [true, false] {
            let config = ModelConfig { match_parameters: matching, ..config.clone() };
            let model = model(&config, &flex());
            assert_eq!(model.num_params(), model.config().parameter_count(), "{name}");
        }
        let transformer = lct_gpt::ModelConfig {
            d_model: 64,
            placement: lct_gpt::Placement::None,
            ..lct_gpt::ModelConfig::default()
        };
        let wide = ModelConfig { d_model: 64, ..config }.matched().parameter_count() as f64;
        let target = transformer.parameter_count() as f64;
        assert!((wide / target - 1.0).abs() < 0.01, "{name}: {wide} and {target}");
    }
}

#[test]
fn kernels_agree_with_flex() {
    for (name, config) in configurations() {
        let run = |device: &Device| {
            let device = device.clone().autodiff();
            let model = Model::ByteSpectral(model(&config, &device));
            // With one sequence, axes that are swapped may lie in memory as they were.
            let two = |seed| {
                let rows = [seed, seed + 1].map(|seed| bytes(&text(seed, CONTEXT), &device));
                Tensor::cat(rows.into(), 0)
            };
            let loss = model.loss(two(6), two(8)).unwrap();
            let value = read(loss.clone().inner());
            (value, gradients(&model, &loss.backward()), model.num_params())
        };
        let (expected, expected_gradients, parameters) = run(&flex());
        let reached: usize = expected_gradients.values().map(Vec::len).sum();
        assert_eq!(reached, parameters, "{name}: every parameter has a gradient");
        for device in devices_with_kernels() {
            let (found, found_gradients, _) =
                by_kernels(&["causal_convolution", "causal_convolution_vjp"], || run(&device));
            close(&found, &expected, 1e-5);
            for (path, expected) in &expected_gradients {
                assert!(expected.iter().any(|&x| x != 0.0), "{name} {path}");
                close(&found_gradients[path], expected, 1e-4);
            }
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    // By the input: filters, gates, thresholds and mixing all lie between it and the sum.
    let (d_model, time) = (6, 7);
    let device = flex().autodiff();
    let mixer = |device: &Device| {
        let config = SpectralConfig::full();
        let mixer = SpectralMixer::new(&config, [d_model, time], 1.0, &mut Random::new(4), device);
        mixer.unwrap().to_device(device)
    };
    let x = values(time * d_model, 5);
    let weights = values(time * d_model, 6);
    let shape = [1, time, d_model];
    let loss = |x: &[f64]| -> f64 {
        let y = mixer(&flex()).forward(tensor(x, shape, DType::F32, &flex())).unwrap();
        read(y).iter().zip(&weights).map(|(y, w)| y * w).sum()
    };
    let slopes: Vec<f64> = (0..x.len())
        .map(|i| {
            let moved = |by: f64| {
                let mut moved = x.clone();
                moved[i] += by;
                loss(&moved)
            };
            (moved(1e-2) - moved(-1e-2)) / 2e-2
        })
        .collect();
    let input: Tensor<3> = tensor(&x, shape, DType::F32, &device).require_grad();
    let y = mixer(&device).forward(input.clone()).unwrap();
    let weighted = y * tensor(&weights, shape, DType::F32, &device);
    let found = read(input.grad(&weighted.sum().backward()).unwrap());
    // Steps of 1e-2: curvature costs 1e-4 of the slope, rounding in f32 some 1e-4 more.
    close(&found, &slopes, 1e-3);
}
