//! Runs whose numbers are not finite, for the tests of this crate and of the program.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use safetensors::SafeTensors;
use wavecube_models::{
    config::Config,
    data::Corpus,
    layers::NormKind,
    lct_gpt::{ModelConfig, Placement},
    train::{Trainer, checkpoint_path},
};

/// A text with a single byte of its kind.
pub(crate) fn corpus() -> Corpus {
    let line = "the same words in the same order, again and again; ";
    let mut train = line.repeat(40).into_bytes();
    train[1500] = b'~';
    Corpus { train, validation: line.repeat(9).into_bytes() }
}

/// A small transformer.
pub(crate) fn config() -> Config {
    let lct_gpt = ModelConfig {
        context: 16,
        d_model: 8,
        layers: 1,
        heads: 2,
        norm: NormKind::Layer,
        placement: Placement::None,
        ..ModelConfig::default()
    };
    let mut config = Config { lct_gpt, ..Config::default() };
    config.train.batch = 4;
    config.train.steps = 500;
    config.train.eval_every = 0;
    config.train.eval_sequences = 4;
    config.train.checkpoint_every = 0;
    config
}

/// Changes the numbers of a tensor in a checkpoint.
pub(crate) fn patch(path: &Path, name: &str, change: impl FnOnce(&mut [f32])) {
    let mut bytes = fs::read(path).unwrap();
    let (at, len) = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        (data.as_ptr() as usize - bytes.as_ptr() as usize, data.len())
    };
    let data = &mut bytes[at..at + len];
    let mut values: Vec<f32> =
        data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    change(&mut values);
    data.copy_from_slice(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    fs::write(path, bytes).unwrap();
}

/// The checkpoint of a run that has taken a step.
pub(crate) fn fresh(out: &Path) -> PathBuf {
    let mut trainer = Trainer::new(&config(), corpus(), &Device::flex()).unwrap();
    trainer.step(0.0).unwrap();
    let path = checkpoint_path(out);
    trainer.save(&path).unwrap();
    path
}

/// A parameter of the model.
pub(crate) const EMBEDDING: &str = "model.LctGpt.embedding";

/// The same, of finite weights with which a norm of `~` is no number.
pub(crate) fn overflowing(out: &Path) -> PathBuf {
    let path = fresh(out);
    patch(&path, EMBEDDING, |values| {
        let row = &mut values[usize::from(b'~') * 8..][..8];
        row.fill(f32::MIN);
        row[0] = f32::MAX;
    });
    path
}

/// What an error says, with its causes.
pub(crate) fn message<T, E: fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => format!("{error:#}"),
    }
}
