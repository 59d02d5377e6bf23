//! Training, checkpoints, generation.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use burn::module::Module as _;
use wavecube_models::{
    checkpoint::Checkpoint,
    config::Config,
    data::{Corpus, Entropy},
    generate::{Sampling, generate},
    layers::{LctConfig, ParameterForm},
    lct_gpt::ModelConfig,
    metrics::Record,
    mixed_precision::ComputeType,
    output::write_atomically,
    train::{RunOptions, Trainer, checkpoint_path, run},
};

use crate::support::{flex, preset};

fn corpus() -> Corpus {
    let line = "the same words in the same order, again and again; ";
    Corpus::split(line.repeat(60).into_bytes(), 0.2).unwrap()
}

fn config() -> Config {
    let mut config = Config {
        lct_gpt: ModelConfig {
            context: 16,
            d_model: 16,
            layers: 1,
            heads: 2,
            lct: LctConfig { learned: true, ..LctConfig::default() },
            ..ModelConfig::default()
        },
        ..Config::default()
    };
    config.train.batch = 4;
    config.train.steps = 12;
    config.train.warmup = 2;
    config.train.log_every = 1;
    config.train.eval_every = 0;
    config.train.eval_sequences = 4;
    config.train.checkpoint_every = 0;
    config
}

fn options(out: &Path) -> RunOptions {
    RunOptions { out: out.to_owned(), budget: None }
}

/// Trains `config` in `out`, from its checkpoint if `resume`, and returns the log.
fn train(config: &Config, out: &Path, resume: bool) -> Vec<Record> {
    let mut trainer = if resume {
        Trainer::resume(&checkpoint_path(out), config, corpus(), &flex()).unwrap()
    } else {
        Trainer::new(config, corpus(), &flex()).unwrap()
    };
    let (_, metrics) = run(&mut trainer, &options(out), &AtomicBool::new(false), |_| {}).unwrap();
    metrics.records().to_vec()
}

fn losses(records: &[Record]) -> Vec<f64> {
    records.iter().map(|record| record.train_bpb).collect()
}

fn steps(records: &[Record]) -> Vec<usize> {
    records.iter().map(|record| record.step).collect()
}

/// Log lines fall on multiples of the interval and evaluations with them, wherever a run goes on.
#[test]
fn a_log_keeps_its_rhythm_over_a_resumption() {
    let out = tempfile::tempdir().unwrap();
    let mut config = config();
    (config.train.log_every, config.train.eval_every) = (5, 10);
    config.train.steps = 24;
    assert_eq!(steps(&train(&config, out.path(), false)), [5, 10, 15, 20, 24]);
    config.train.steps = 36;
    let records = train(&config, out.path(), true);
    assert_eq!(steps(&records), [5, 10, 15, 20, 24, 25, 30, 35, 36]);
    let evaluated = records.iter().filter(|record| record.validation_bpb.is_some());
    assert_eq!(evaluated.map(|record| record.step).collect::<Vec<_>>(), [10, 20, 30]);
}

/// All of a text to train on: nothing is evaluated, anywhere.
#[test]
fn nothing_needs_to_be_held_out() {
    let out = tempfile::tempdir().unwrap();
    let mut config = full();
    config.data.validation = 0.0;
    config.train.eval_every = 2;
    config.validate().unwrap();
    let corpus = Corpus::split(b"all of it; ".repeat(40), 0.0).unwrap();
    assert_eq!((corpus.train.len(), corpus.validation.len()), (440, 0));
    assert!(Corpus::split(b"a".to_vec(), 0.0).is_err());
    let mut trainer = Trainer::new(&config, corpus, &flex()).unwrap();
    let never = AtomicBool::new(false);
    let (summary, metrics) = run(&mut trainer, &options(out.path()), &never, |_| {}).unwrap();
    assert_eq!(summary.validation_bpb, None);
    assert!(metrics.records().iter().all(|record| record.validation_bpb.is_none()));
    assert_eq!(trainer.evaluate(3).unwrap(), None);
    assert!(!trainer.statistics().unwrap().is_empty());
    assert!(fs::read_to_string(out.path().join("metrics.csv")).unwrap().contains(",,"));
}

/// Files that were begun and not finished.
fn halves(directory: &Path) -> usize {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".partial")).count()
}

#[test]
fn a_seed_reproduces_and_another_does_not() {
    let (a, b, c) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
    let first = losses(&train(&config(), a.unwrap().path(), false));
    assert_eq!(first, losses(&train(&config(), b.unwrap().path(), false)));
    assert!(first.last() < first.first(), "{first:?}");
    let mut other = config();
    other.train.seed = 2;
    assert_ne!(first, losses(&train(&other, c.unwrap().path(), false)));
}

/// A ResNet-BK with all switches, whose training draws noise.
fn full() -> Config {
    let mut config = config();
    config.resnet_bk.context = 16;
    config.resnet_bk.d_model = 16;
    config.resnet_bk.layers = 5;
    preset("bk-full").of(&config)
}

#[test]
fn resuming_is_going_on() {
    let mut checkpointed = full();
    checkpointed.train.gradient_checkpointing = true;
    let mut halved = full();
    halved.train.precision = ComputeType::F16;
    for config in [config(), full(), checkpointed, halved] {
        resumes(&config);
    }
}

fn resumes(config: &Config) {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let constant = |steps| {
        let mut config = config.clone();
        // The schedule depends on the number of steps; without one the two runs are the same.
        config.train.final_rate = 1.0;
        config.train.steps = steps;
        config
    };
    let uninterrupted = train(&constant(10), whole.path(), false);
    train(&constant(4), parts.path(), false);
    let resumed = train(&constant(10), parts.path(), true);
    assert_eq!(losses(&uninterrupted), losses(&resumed));

    // And the weights are the same to the last bit.
    let end = |out: &Path| {
        let checkpoint = Checkpoint::read(&checkpoint_path(out)).unwrap();
        let model = checkpoint.model(&flex()).unwrap().valid();
        let mut text = Vec::new();
        generate(&model, "the", &Sampling { length: 30, ..Sampling::default() }, |c| {
            text.push(c.to_owned());
        })
        .unwrap();
        (text, tensors(&checkpoint_path(out)), checkpoint.progress.random)
    };
    assert_eq!(end(whole.path()), end(parts.path()));
}

/// Names, shapes and bytes of all tensors of a checkpoint.
fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let all = tensors.iter();
    let mut all: Vec<_> = all
        .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_checkpoint_comes_back_to_the_last_bit() {
    let out = tempfile::tempdir().unwrap();
    train(&config(), out.path(), false);
    let path = checkpoint_path(out.path());
    let trainer = Trainer::resume(&path, &config(), corpus(), &flex()).unwrap();
    let again = out.path().join("again.safetensors");
    trainer.save(&again).unwrap();
    let (first, second) = (tensors(&path), tensors(&again));
    assert!(first.iter().any(|(name, ..)| name == "optimizer.matrices.second"));
    assert!(first.iter().any(|(name, ..)| name.ends_with("lct.learned")), "{:?}", first[0].0);
    assert_eq!(first, second);
    assert_eq!(halves(out.path()), 0);
}

#[test]
fn accumulating_is_a_larger_batch() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut accumulated = config();
    accumulated.train.batch = 2;
    accumulated.train.accumulation = 2;
    accumulated.train.steps = 4;
    let mut at_once = config();
    at_once.train.steps = 4;
    let x = losses(&train(&accumulated, a.path(), false));
    let y = losses(&train(&at_once, b.path(), false));
    crate::support::close(&x, &y, 1e-5);
}

#[test]
fn interrupting_saves_a_checkpoint() {
    let out = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(&config(), corpus(), &flex()).unwrap();
    trainer.step(0.0).unwrap();
    let (summary, _) =
        run(&mut trainer, &options(out.path()), &AtomicBool::new(true), |_| {}).unwrap();
    assert!(summary.interrupted && summary.steps == 1);
    assert_eq!(Checkpoint::read(&checkpoint_path(out.path())).unwrap().progress.step, 1);
}

#[test]
fn a_directory_that_cannot_be_written_is_known_before_the_first_step() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"in the way").unwrap();
    for out in [file.clone(), file.join("below")] {
        let mut trainer = Trainer::new(&config(), corpus(), &flex()).unwrap();
        let error = run(&mut trainer, &options(&out), &AtomicBool::new(false), |_| {}).unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains("--out") && message.contains("file"), "{message}");
        assert_eq!(trainer.progress().step, 0);
    }
    // A directory cannot be replaced by a file: nothing is left of the attempt.
    let taken = directory.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(write_atomically(&taken, b"bytes").is_err());
    assert_eq!(halves(directory.path()), 0);
}

#[test]
fn damaged_or_foreign_checkpoints_are_errors() {
    let out = tempfile::tempdir().unwrap();
    let mut short = config();
    short.train.steps = 1;
    train(&short, out.path(), false);
    let path = checkpoint_path(out.path());
    let whole = fs::read(&path).unwrap();
    let message = |path: &Path| match Checkpoint::read(path) {
        Ok(_) => panic!("a damaged checkpoint was accepted"),
        Err(error) => format!("{error:#}"),
    };
    let cut = out.path().join("cut.safetensors");
    for keep in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&cut, &whole[..keep]).unwrap();
        assert!(message(&cut).contains("cut short"), "{keep}: {}", message(&cut));
    }
    assert!(message(&out.path().join("missing")).contains("missing"));
    let foreign =
        safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView<'_>)>::new(), None)
            .unwrap();
    fs::write(&cut, foreign).unwrap();
    assert!(message(&cut).contains("not a checkpoint of wavecube"));

    let resume = |config: &Config| match Trainer::resume(&path, config, corpus(), &flex()) {
        Ok(_) => panic!("a checkpoint of another configuration was accepted"),
        Err(error) => format!("{error:#}"),
    };
    // What changes no result may differ.
    let mut other = short.clone();
    other.train.gradient_checkpointing = true;
    Trainer::resume(&path, &other, corpus(), &flex()).unwrap();
    let mut other = short.clone();
    other.lct_gpt.d_model = 32;
    assert!(resume(&other).contains("lct-gpt.d_model = 16"), "{}", resume(&other));
    let mut other = short.clone();
    other.lct_gpt.lct.parameters = ParameterForm::Lie;
    assert!(resume(&other).contains("lct-gpt.lct.parameters"), "{}", resume(&other));
    let mut other = short;
    other.train.seed = 9;
    assert!(resume(&other).contains("train.seed"), "{}", resume(&other));
}

#[test]
fn generation_is_deterministic_and_utf8() {
    let trainer = Trainer::new(&config(), corpus(), &flex()).unwrap();
    let model = trainer.model().valid();
    let run = |sampling: &Sampling, prompt: &str| {
        let mut streamed = String::new();
        let text = generate(&model, prompt, sampling, |piece| streamed.push_str(piece)).unwrap();
        assert_eq!(text, streamed);
        assert!(text.len() <= sampling.length);
        text
    };
    // An untrained model is close to uniform over bytes: without care this would not be UTF-8.
    let wild = Sampling { temperature: 2.0, top_k: 0, seed: 3, length: 120, ..Sampling::default() };
    assert_eq!(run(&wild, "héllo"), run(&wild, "héllo"));
    assert_eq!(run(&wild, "").len(), 120);
    assert_ne!(run(&wild, ""), run(&Sampling { seed: 4, ..wild.clone() }, ""));
    let greedy = Sampling { temperature: 0.0, length: 20, ..wild.clone() };
    assert_eq!(run(&greedy, "a"), run(&Sampling { top_k: 1, temperature: 1.0, ..greedy }, "a"));
    assert!(generate(&model, "", &Sampling { temperature: f64::NAN, ..wild }, |_| {}).is_err());
}

#[test]
fn entropies_are_those_of_known_texts() {
    // Every byte is followed by a certain other one: order 1 is nothing, order 0 is one bit.
    let alternating = Corpus::split("ab".repeat(500).into_bytes(), 0.5).unwrap();
    let entropy = Entropy::of(&alternating).unwrap();
    assert!((entropy.order0 - 1.0).abs() < 1e-3 && entropy.order1 < 1e-9, "{entropy:?}");
    assert!(entropy.bigram_held_out < 0.02, "{entropy:?}");
    // What the training text never showed costs more than it would by itself.
    let surprise = Corpus { train: b"ab".repeat(500), validation: b"ac".repeat(500) };
    let entropy = Entropy::of(&surprise).unwrap();
    assert!(entropy.order1 < 1e-9 && entropy.bigram_held_out > 4.0, "{entropy:?}");
    assert!(entropy.bigram_held_out.is_finite());
    // What is certain is 0, not −0, and what is not there has no entropy.
    let one = Corpus { train: vec![b'a'; 9], validation: vec![b'a'; 9] };
    let entropy = Entropy::of(&one).unwrap();
    assert!(entropy.order0.is_sign_positive() && entropy.order1.is_sign_positive());
    assert_eq!((entropy.order0, entropy.order1), (0.0, 0.0));
    assert_eq!(Entropy::of(&Corpus { validation: Vec::new(), ..one }), None);
}
