//! Gradient checkpointing: the same step, with less kept.

use std::collections::HashMap;

use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use wavecube_models::{
    config::Config,
    core_config::CoreConfig,
    data::Corpus,
    lct_gpt::Positions,
    memory::Watch,
    model::{Architecture, Model, WayBack},
    presets::Preset,
    quantize_aware::QuantizeAware,
    random::Random,
    train::Trainer,
};

use crate::support::{close, devices_with_kernels, flex, read, text, weights};

const CONTEXT: usize = 20;

/// Every preset, small, and what no preset has.
fn configurations() -> Vec<(String, Config)> {
    let small = Config::default().with_every_core(|core| CoreConfig {
        context: CONTEXT,
        d_model: 8,
        layers: 5,
        ..core
    });
    let named = |preset: Preset| (preset.to_string(), preset.of(&small));
    let mut all: Vec<_> = Preset::all().into_iter().map(named).collect();
    let mut learned = small;
    learned.lct_gpt.positions = Positions::Learned;
    all.push(("learned positions".to_owned(), learned));
    all
}

/// What a pass of fresh parameters gives: the loss, the gradients of matrices and of vectors, the numbers it drew.
fn differentiated(
    config: &Config,
    seed: u64,
    checkpointing: bool,
    device: &Device,
) -> (f64, [Vec<f64>; 2], u64) {
    let device = device.clone().autodiff();
    let model = Model::new(config, &mut Random::new(seed), &device).unwrap();
    let read_bytes = |seed| {
        let data = TensorData::new(text(seed, 2 * CONTEXT), [2, CONTEXT]);
        Tensor::from_data(data, &device)
    };
    let mut random = Random::new(seed + 3);
    let (x, y) = (read_bytes(seed + 1), read_bytes(seed + 2));
    let back = WayBack { checkpointing, loss_scale: None };
    let found = model.differentiate(x, y, &mut random, back).unwrap();
    let gradients = found.gradients.flat(&model, &device).map(read);
    (read(found.nats)[0], gradients, random.state())
}

#[test]
fn a_block_that_runs_again_has_the_same_gradient() {
    for (index, (name, config)) in configurations().into_iter().enumerate() {
        println!("{name}");
        let seed = 100 * index as u64;
        let (nats, expected, drawn) = differentiated(&config, seed, false, &flex());
        let found = differentiated(&config, seed, true, &flex());
        assert_eq!((nats, drawn), (found.0, found.2), "{name}: the same values, the same noise");
        let exits = config.model == Architecture::ResnetBk && config.resnet_bk.exits.weight > 0.0;
        for (found, expected) in found.1.iter().zip(&expected) {
            let reached = expected.iter().filter(|value| **value != 0.0).count();
            assert!(2 * reached > expected.len(), "{name}: {reached} of {}", expected.len());
            if exits {
                // The head's gradients are summed in another order, and so are those of a state that an exit reads.
                close(found, expected, 1e-5);
            } else {
                assert_eq!(found, expected, "{name}: to the last bit");
            }
        }
    }
}

/// And a device says what it holds.
#[test]
fn kernels_run_again_alike() {
    let mut config = configurations().pop().unwrap().1;
    config.lct_gpt.layers = 2;
    for device in devices_with_kernels() {
        let (nats, expected, drawn) = differentiated(&config, 5, false, &device);
        let found = differentiated(&config, 5, true, &device);
        assert_eq!((nats, drawn), (found.0, found.2));
        for (found, expected) in found.1.iter().zip(&expected) {
            close(found, expected, 1e-6);
        }
        let mut watch = Watch::new(&device);
        watch.begin();
        watch.end();
        // Other tests may use the device between two questions.
        let reserved = || device.memory_pool_usage().map(|usage| usage.bytes_reserved);
        let parameters = 4 * (expected[0].len() + expected[1].len()) as u64;
        assert!(reserved().unwrap() > parameters);
        assert!((0..100).any(|_| watch.take() == reserved()), "{:?}", watch.take());
    }
}

/// The weights after some steps, two batches each, of a model that is trained for eight bits.
fn trained(mut config: Config, gradient_checkpointing: bool) -> HashMap<String, TensorData> {
    config.train.gradient_checkpointing = gradient_checkpointing;
    config.train.quantize_aware = QuantizeAware::W8;
    (config.train.batch, config.train.accumulation) = (2, 2);
    let corpus = Corpus::split(b"the same words in the same order; ".repeat(20), 0.2).unwrap();
    let mut trainer = Trainer::new(&config, corpus, &flex()).unwrap();
    for step in 0..3 {
        trainer.step(f64::from(step) / 3.0).unwrap();
    }
    weights(&trainer.model().valid())
}

#[test]
fn a_step_leaves_the_same_weights() {
    for (name, config) in configurations() {
        if !["lct-gpt", "bk-halting", "spectral-full"].contains(&name.as_str()) {
            continue;
        }
        let (expected, found) = (trained(config.clone(), false), trained(config, true));
        assert_eq!(expected.len(), found.len());
        for (path, expected) in expected {
            assert_eq!(found[&path], expected, "{name}: {path}");
        }
    }
}
