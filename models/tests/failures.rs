//! Numbers that are not finite: each is an error that says where, and never text, a figure or a checkpoint.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::AtomicBool,
};

use burn::module::Module as _;
use safetensors::SafeTensors;
use wavecube_models::{
    ablate::{self, Variants, ablate},
    checkpoint::Checkpoint,
    config::Config,
    data::Corpus,
    generate::{BadLogits, Failure, Sampling, Session, generate, generate_all},
    layers::NormKind,
    lct_gpt::{ModelConfig, Placement},
    quantize::QuantizeOptions,
    train::{RunOptions, Trainer, bits_per_byte, checkpoint_path, run},
};

use crate::support::flex;

/// A text with a single byte of its kind.
fn corpus() -> Corpus {
    let line = "the same words in the same order, again and again; ";
    let mut train = line.repeat(40).into_bytes();
    train[1500] = b'~';
    Corpus { train, validation: line.repeat(9).into_bytes() }
}

fn config() -> Config {
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

fn options(out: &Path) -> RunOptions {
    RunOptions { out: out.to_owned(), budget: None, quiet: true }
}

/// Changes the numbers of a tensor in a checkpoint.
fn patch(path: &Path, name: &str, change: impl FnOnce(&mut [f32])) {
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
fn fresh(out: &Path) -> PathBuf {
    let mut trainer = Trainer::new(&config(), corpus(), &flex()).unwrap();
    trainer.step(0.0).unwrap();
    let path = checkpoint_path(out);
    trainer.save(&path).unwrap();
    path
}

const EMBEDDING: &str = "model.LctGpt.embedding";

/// The same, of finite weights with which a norm of `~` is no number.
fn overflowing(out: &Path) -> PathBuf {
    let path = fresh(out);
    patch(&path, EMBEDDING, |values| {
        let row = &mut values[usize::from(b'~') * 8..][..8];
        row.fill(f32::MIN);
        row[0] = f32::MAX;
    });
    path
}

fn message<T>(result: anyhow::Result<T>) -> String {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let out = tempfile::tempdir().unwrap();
    for (name, index, place) in [
        (EMBEDDING, 8 * 97 + 3, "[97, 3]"),
        ("model.LctGpt.head.weight", 5, "[0, 5]"),
        ("model.LctGpt.blocks.0.mlp.up.weight", 0, "[0, 0]"),
        ("model.LctGpt.norm.Layer.gamma", 7, "[7]"),
    ] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let path = fresh(out.path());
            patch(&path, name, |values| values[index..].fill(bad));
            let checkpoint = Checkpoint::read(&path).unwrap();
            let small = out.path().join("small.safetensors");
            for message in [
                message(checkpoint.model(&flex())),
                message(checkpoint.quantize(&small, &QuantizeOptions::default())),
                message(Trainer::resume(&path, &config(), corpus(), &flex())),
            ] {
                let named = message.contains(name) && message.contains(place);
                assert!(named && message.contains("checkpoint.safetensors"), "{message}");
            }
            assert!(!small.exists());
        }
    }
    // What generation does not need does not stop it.
    let path = fresh(out.path());
    patch(&path, "optimizer.matrices.second", |values| values[9] = f32::NAN);
    assert!(Checkpoint::read(&path).unwrap().model(&flex()).is_ok());
    let message = message(Trainer::resume(&path, &config(), corpus(), &flex()));
    assert!(message.contains("optimizer.matrices.second") && message.contains("[9]"), "{message}");
}

/// Of a packed weight, and of a coded filter, the scales are what could be no number.
#[test]
fn quantised_checkpoints_are_looked_at_too() {
    let out = tempfile::tempdir().unwrap();
    let small = out.path().join("small.safetensors");
    let checkpoint = Checkpoint::read(&fresh(out.path())).unwrap();
    checkpoint.quantize(&small, &QuantizeOptions::default()).unwrap();
    let mut bytes = fs::read(&small).unwrap();
    let at = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let scales = tensors.tensor(&format!("{EMBEDDING}.scales")).unwrap();
        scales.data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    // The NaN of f16.
    bytes[at..at + 2].copy_from_slice(&0x7e00_u16.to_le_bytes());
    fs::write(&small, bytes).unwrap();
    assert!(Checkpoint::read(&small).unwrap().model(&flex()).is_err());
}

#[test]
fn a_repeated_key_is_named() {
    let out = tempfile::tempdir().unwrap();
    let path = fresh(out.path());
    let bytes = fs::read(&path).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = std::str::from_utf8(header).unwrap();
    let begin = header.find(&format!("\"{EMBEDDING}\"")).unwrap();
    let end = begin + header[begin..].find('}').unwrap() + 1;
    let header = format!("{{{},{}", &header[begin..end], &header[1..]);
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length, header.as_bytes(), data].concat()).unwrap();
    let message = message(Checkpoint::read(&path));
    assert!(message.contains(EMBEDDING) && message.contains("repeats"), "{message}");
}

#[test]
fn a_text_without_logits_ends_alone() {
    let out = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::read(&overflowing(out.path())).unwrap();
    let model = checkpoint.model(&flex()).unwrap().valid();
    for temperature in [0.0, 1.0] {
        let top_k = 1;
        let sampling = Sampling { temperature, top_k, length: 5, ..Sampling::default() };
        let prompts = ["good", "bad ~", "good", "fine"];
        let mut session = Session::new(&model, &prompts, &sampling).unwrap();
        let mut texts = [const { String::new() }; 4];
        while let Some(pieces) = session.step(&model).unwrap() {
            for (text, piece) in pieces {
                texts[text].push_str(&piece);
            }
        }
        let failure = Failure { text: 1, step: 1, cause: BadLogits::Byte(0) };
        assert_eq!(session.failures(), [failure]);
        assert!(texts[1].is_empty());
        for i in [0, 2, 3] {
            assert_eq!(texts[i], generate(&model, prompts[i], &sampling, |_| {}).unwrap());
            assert_eq!(texts[i].len(), 5);
        }
        let alone = message(generate(&model, "~", &sampling, |_| {}));
        assert!(alone.contains("step 1") && alone.contains("NaN"), "{alone}");
        let all = message(generate_all(&model, &prompts.map(str::to_owned), &sampling));
        assert!(all.contains("text 2") && all.contains("step 1"), "{all}");
    }
}

/// The step does not depend on when losses are read, and no checkpoint has weights from after it.
#[test]
fn a_loss_that_is_not_finite_names_its_step() {
    let mut steps = Vec::new();
    for (log_every, checkpoint_every) in [(1, 0), (7, 2), (1000, 3), (1000, 0)] {
        let out = tempfile::tempdir().unwrap();
        let path = overflowing(out.path());
        let before = fs::read(&path).unwrap();
        let mut config = config();
        config.train.log_every = log_every;
        config.train.checkpoint_every = checkpoint_every;
        let mut trainer = Trainer::resume(&path, &config, corpus(), &flex()).unwrap();
        let result = run(&mut trainer, &options(out.path()), &AtomicBool::new(false));
        let message = message(result);
        let step = message.split("at step ").nth(1).and_then(|rest| rest.split(':').next());
        let step: usize = step.unwrap_or_else(|| panic!("{message}")).parse().unwrap();
        assert!(message.contains("NaN") && message.contains("loss"), "{message}");
        steps.push(step);
        let kept = Checkpoint::read(&path).unwrap();
        assert!(kept.model(&flex()).is_ok() && kept.optimizer(trainer.model(), &flex()).is_ok());
        let saves = (step - 1).checked_div(checkpoint_every);
        let last = saves.map_or(1, |saves| saves * checkpoint_every);
        assert_eq!(kept.progress.step, last.max(1), "{message}");
        if checkpoint_every == 0 {
            assert_eq!(fs::read(&path).unwrap(), before);
        } else {
            assert!(message.contains(&format!("of step {last}")), "{message}");
        }
        // The log is that of the good steps.
        if log_every == 7 {
            let log = fs::read_to_string(out.path().join("metrics.csv")).unwrap();
            assert_eq!(log.lines().count() - 1, (step - 1) / 7, "{log}");
            assert!(!log.contains("NaN"));
        }
    }
    assert!(steps[0] > 10 && steps.iter().all(|&step| step == steps[0]), "{steps:?}");
}

#[test]
fn a_figure_of_held_out_text_is_a_number() {
    let out = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::read(&overflowing(out.path())).unwrap();
    let model = checkpoint.model(&flex()).unwrap().valid();
    let Corpus { train, validation } = corpus();
    assert!(bits_per_byte(&model, &validation, 8, &flex()).unwrap().is_finite());
    let error = message(bits_per_byte(&model, &train, 1000, &flex()));
    assert!(error.contains("NaN") && error.contains("bytes"), "{error}");
    let error = message(bits_per_byte(&model, &train[..16], 8, &flex()));
    assert!(error.contains("context of 16"), "{error}");
}

#[test]
fn a_variant_that_fails_does_not_take_the_others_along() {
    let out = tempfile::tempdir().unwrap();
    let mut good = config();
    good.train.steps = 3;
    let mut bad = good.clone();
    // Infinite in f32.
    bad.train.learning_rate = 1e300;
    let variants = |configs: &[(&str, &Config)]| Variants {
        columns: vec!["rate"],
        variants: configs
            .iter()
            .map(|(name, config)| (vec![(*name).to_owned()], (*config).clone()))
            .collect(),
    };
    let never = AtomicBool::new(false);
    let both = variants(&[("high", &bad), ("low", &good)]);
    let mut seen = Vec::new();
    let table = ablate(&both, &corpus(), &flex(), out.path(), &never, |_, _, row| {
        seen.push(row.is_ok());
    })
    .unwrap();
    assert_eq!((seen, table.rows.len()), (vec![false, true], 1));
    let reason = &table.failures[0].reason;
    assert!(reason.contains("step 2") && reason.contains("NaN"), "{reason}");
    let text = ablate::markdown(&table);
    assert!(text.contains("| high | failed |") && text.contains("high: training failed"), "{text}");
    let none = variants(&[("high", &bad)]);
    let alone = out.path().join("alone");
    let error = message(ablate(&none, &corpus(), &flex(), &alone, &never, |_, _, _| {}));
    assert!(error.contains("variant high") && error.contains("step 2"), "{error}");
    let unseen = Corpus { validation: Vec::new(), ..corpus() };
    let error = message(ablate(&both, &unseen, &flex(), out.path(), &never, |_, _, _| {}));
    assert!(error.contains("data.validation"), "{error}");
}

/// What a shell sees of `wavecube`.
fn wavecube(arguments: &[&str]) -> (Output, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wavecube")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn the_program_ends_with_an_error() {
    let out = tempfile::tempdir().unwrap();
    let path = overflowing(out.path());
    let checkpoint = path.to_str().unwrap();
    let generate = ["generate", "--device", "flex", "--checkpoint", checkpoint, "--length", "9"];
    let generates = |more: &[&str]| wavecube(&[&generate, more].concat());
    let (output, text, error) = generates(&["--prompt", "a ~"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text, "a ~\n");
    assert!(error.contains("step 1") && error.contains("NaN"), "{error}");

    let file = out.path().join("prompts.txt");
    fs::write(&file, "one\ntwo ~\nthree\n").unwrap();
    let (output, text, error) = generates(&["--prompts", file.to_str().unwrap(), "--top-k", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("\n\ntwo ~\n\nthree") && text.len() > 9 + 16 + 9, "{text:?}");
    assert!(error.contains("text 2 ended at step 1"), "{error}");

    patch(&path, EMBEDDING, |values| values[11] = f32::NAN);
    let (output, text, error) = generates(&["--prompt", "a"]);
    assert_eq!((output.status.code(), text.as_str()), (Some(1), ""));
    assert!(error.contains(EMBEDDING) && error.contains("[1, 3]"), "{error}");
}

#[test]
fn options_are_refused_before_anything_is_written() {
    let out = tempfile::tempdir().unwrap();
    let path = fresh(out.path());
    let checkpoint = path.to_str().unwrap();
    for (option, value, expected) in [
        ("--top-p", "1.5", "top-p"),
        ("--temperature", "-1", "temperature"),
        ("--temperature", "NaN", "temperature"),
        ("--min-p", "2", "min-p"),
        ("--repetition-penalty", "0", "repetition penalty"),
        ("--stop", "", "stop string"),
        ("--cache", "int4", "Cache"),
    ] {
        let (output, text, error) = wavecube(&[
            "generate",
            "--device",
            "flex",
            "--checkpoint",
            checkpoint,
            "--prompt",
            "a",
            option,
            value,
        ]);
        assert_eq!((output.status.code(), text.as_str()), (Some(1), ""), "{option} {value}");
        assert!(error.contains(expected), "{option} {value}: {error}");
    }
    let (_, help, _) = wavecube(&["generate", "--help"]);
    assert!(help.contains(r"--stop '\n\n'") && help.contains(r"(\n and \t are"), "{help}");
}
