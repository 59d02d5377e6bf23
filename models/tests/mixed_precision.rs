//! Products of training in 16 bits: the gradients that they give, what is trained by them, and what overflows.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use burn::{
    module::{Module as _, ModuleMapper, Param},
    tensor::{Device, FloatDType, Tensor, TensorData},
};
use safetensors::SafeTensors;
use wavecube_models::{
    checkpoint::Checkpoint,
    config::Config,
    core_config::CoreConfig,
    data::Corpus,
    mixed_precision::ComputeType,
    model::{Architecture, Model, WayBack},
    presets::Preset,
    quantize::QuantizeOptions,
    random::Random,
    train::Trainer,
    training_view::training_view,
};

use crate::support::{
    bytes, close, devices, devices_with_kernels, distance, flex, preset, read, text, weights,
};

const CONTEXT: usize = 20;

fn small() -> Config {
    Config::default().with_every_core(|core| CoreConfig {
        context: CONTEXT,
        d_model: 16,
        layers: 5,
        ..core
    })
}

/// Loss and gradients of matrices and of vectors, with products in `dtype`.
fn differentiated(model: &Model, dtype: FloatDType, back: WayBack) -> (f64, [Vec<f64>; 2]) {
    let device = model.devices().remove(0);
    let bytes =
        |seed| Tensor::from_data(TensorData::new(text(seed, 2 * CONTEXT), [2, CONTEXT]), &device);
    let seen = training_view(model, None, dtype).unwrap();
    let found = seen.differentiate(bytes(4), bytes(5), &mut Random::new(6), back).unwrap();
    (read(found.nats)[0], found.gradients.flat(model, &device).map(read))
}

fn fresh(config: &Config, device: &Device) -> Model {
    Model::new(config, &mut Random::new(3), &device.clone().autodiff()).unwrap()
}

/// The same parameters with as many digits as `dtype` has.
fn shortened(model: &Model, dtype: FloatDType) -> Model {
    struct Shortened(FloatDType);
    impl ModuleMapper for Shortened {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let short = |x: Tensor<D>| x.inner().cast(self.0).cast(FloatDType::F32);
            param.map(|x| Tensor::from_inner(short(x)).require_grad())
        }
    }
    model.clone().map(&mut Shortened(dtype))
}

/// With products in `dtype` the gradients of every preset are those of `f32`, to some times what they move by when the
/// parameters alone have as few digits.
fn close_to_32_bits(presets: &[Preset], dtype: FloatDType, device: &Device) {
    let back = WayBack { checkpointing: false, loss_scale: Some(256.0) };
    for preset in presets {
        println!("{preset} {dtype:?}");
        let config = preset.of(&small());
        let model = fresh(&config, &flex());
        let (nats, expected) = differentiated(&model, FloatDType::F32, back);
        let (_, moved) = differentiated(&shortened(&model, dtype), FloatDType::F32, back);
        let model = fresh(&config, device);
        let found = differentiated(&model, dtype, back);
        assert!(found.0 != nats, "nothing was rounded");
        for ((found, expected), moved) in found.1.iter().zip(&expected).zip(&moved) {
            close(found, expected, 8.0 * distance(moved, expected));
        }
        if device == &flex() {
            let again = differentiated(&model, dtype, WayBack { checkpointing: true, ..back });
            assert_eq!(again.0, found.0);
            for (again, found) in again.1.iter().zip(&found.1) {
                close(again, found, 1e-5);
            }
        }
    }
}

#[test]
fn gradients_are_those_of_32_bits() {
    for dtype in [FloatDType::F16, FloatDType::BF16] {
        close_to_32_bits(&Preset::all(), dtype, &flex());
    }
}

#[test]
fn kernels_take_16_bits() {
    let presets = ["lct-gpt", "bk-full", "spectral-full"].map(preset);
    for device in devices_with_kernels() {
        for dtype in [FloatDType::F16, FloatDType::BF16] {
            if device.supports_dtype(dtype) {
                close_to_32_bits(&presets, dtype, &device);
            }
        }
    }
}

/// What is seen of a weight that is trained for few bits is rounded to them first.
#[test]
fn fewer_bits_come_before_16() {
    let config = preset("bk-experts").of(&small());
    let options = QuantizeOptions::default();
    let out = tempfile::tempdir().unwrap();
    let [path, coded] = ["checkpoint", "coded"].map(|name| out.path().join(name));
    Trainer::new(&config, sentences(), &flex()).unwrap().save(&path).unwrap();
    let checkpoint = Checkpoint::read(&path).unwrap();
    checkpoint.quantize(&coded, &options).unwrap();
    let loss = |path: &Path, options: Option<&QuantizeOptions>, dtype| {
        let model = Checkpoint::read(path).unwrap().model(&flex()).unwrap();
        let seen = training_view(&model, options, dtype).unwrap();
        let text = text(7, 13);
        read(seen.loss(bytes(&text[..12], &flex()), bytes(&text[1..], &flex())).unwrap())[0]
    };
    let both = loss(&path, Some(&options), FloatDType::BF16);
    let expected = loss(&coded, None, FloatDType::BF16);
    assert!((both - expected).abs() < 1e-5, "{both} for {expected}");
    for alone in [loss(&path, None, FloatDType::BF16), loss(&coded, None, FloatDType::F32)] {
        assert!((both - alone).abs() > 1e-4, "{both} and {alone}");
    }
}

/// Sentences of words that are drawn.
fn sentences() -> Corpus {
    let mut random = Random::new(11);
    let words: Vec<String> = (0..60)
        .map(|_| {
            (0..2 + random.below(5)).map(|_| char::from(97 + random.below(26) as u8)).collect()
        })
        .collect();
    let text: Vec<&str> = (0..4000).map(|_| words[random.below(words.len())].as_str()).collect();
    Corpus::split(text.join(" ").into_bytes(), 0.2).unwrap()
}

/// Mean bits per byte of held-out text after 200 steps.
fn after_200_steps(mut config: Config, precision: ComputeType) -> f64 {
    config.train.precision = precision;
    let mut trainer = Trainer::new(&config, sentences(), &flex()).unwrap();
    for step in 0..200 {
        trainer.step(f64::from(step) / 200.0).unwrap();
    }
    trainer.evaluate(64).unwrap().unwrap()
}

#[test]
fn a_model_is_trained_as_well() {
    for model in Architecture::ALL {
        let mut config = Config { model: *model, ..Config::default() };
        config = config.with_every_core(|core| CoreConfig { context: 32, d_model: 32, ..core });
        config.train.batch = 4;
        config.train.warmup = 20;
        // At 3e-3 a rate that differs by 1e-6 of itself moves the loss by up to 2e-2 of itself, in `f32` too.
        config.train.learning_rate = 4e-4;
        let expected = after_200_steps(config.clone(), ComputeType::F32);
        for precision in [ComputeType::F16, ComputeType::Bf16] {
            let found = after_200_steps(config.clone(), precision);
            let difference = (found - expected).abs() / expected;
            println!("{model} {precision:?}: {found} for {expected}, {difference:e}");
            assert!(
                difference > 0.0 && difference <= 1.3e-3,
                "{model} {precision:?}: {difference:e}"
            );
        }
    }
}

/// A checkpoint after a step in `f16`, its loss scale replaced by `factor`.
fn begun(config: &Config, factor: f64) -> (tempfile::TempDir, PathBuf) {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("checkpoint.safetensors");
    let mut trainer = Trainer::new(config, sentences(), &flex()).unwrap();
    trainer.step(0.0).unwrap();
    trainer.save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata: HashMap<String, String> = header.metadata().clone().unwrap();
    let progress = metadata.get_mut("wavecube.progress").unwrap();
    let mut value: serde_json::Value = serde_json::from_str(progress).unwrap();
    value["loss_scale"]["factor"] = factor.into();
    *progress = value.to_string();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&path, safetensors::serialize(tensors.tensors(), Some(metadata)).unwrap()).unwrap();
    (out, path)
}

/// Where gradients overflow, the step is taken again, from the same batch and with the same noise, until they do not.
#[test]
fn a_step_recovers_from_overflow() {
    let mut config = preset("bk-full").of(&small());
    config.train.precision = ComputeType::F16;
    config.train.batch = 2;
    config.train.accumulation = 2;
    let after = |factor: f64| {
        let (_out, path) = begun(&config, factor);
        let mut trainer = Trainer::resume(&path, &config, sentences(), &flex()).unwrap();
        let report = trainer.step(0.0).unwrap();
        let scale = trainer.progress().loss_scale.factor();
        let weights = weights(trainer.model());
        (scale, trainer.progress().random, read(report.gradient_norm)[0], weights)
    };
    let (scale, random, norm, expected) = after(256.0);
    assert_eq!(scale, 256.0);
    let (scale, random_again, norm_again, found) = after(2.0_f64.powi(40));
    assert!((256.0..2.0_f64.powi(30)).contains(&scale), "{scale}");
    assert_eq!(random, random_again);
    assert!((norm / norm_again - 1.0).abs() < 1e-2, "{norm} and {norm_again}");
    for (name, expected) in expected {
        let [found, expected] =
            [&found[&name], &expected].map(|data| data.iter::<f64>().collect::<Vec<_>>());
        println!("{name}");
        close(&found, &expected, 1e-2);
    }
}

/// The type is chosen by the device, and one that it lacks is refused.
#[test]
fn a_processor_keeps_32_bits_unless_it_is_told() {
    for device in devices() {
        let hardware = device.identity().is_some_and(|one| one.physical.is_some());
        let auto = ComputeType::Auto.on(&device).unwrap();
        assert!(hardware || auto == FloatDType::F32);
        for (asked, dtype) in
            [(ComputeType::F16, FloatDType::F16), (ComputeType::Bf16, FloatDType::BF16)]
        {
            match asked.on(&device) {
                Ok(found) => assert_eq!(found, dtype),
                Err(error) => {
                    assert!(!device.supports_dtype(dtype));
                    assert!(error.to_string().contains("precision = \"auto\""), "{error}");
                }
            }
        }
    }
    let config = "[train]\nprecision = \"half\"";
    let error = format!("{:#}", Config::from_toml(config).unwrap_err());
    assert!(error.contains("`half`") && error.contains("`bf16`"), "{error}");
}
