//! Numbers that are not finite: each is an error that says where, and never text, a figure or a checkpoint.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use burn::module::Module as _;
use safetensors::SafeTensors;
use wavecube_models::{
    checkpoint::Checkpoint,
    data::Corpus,
    generate::{BadLogits, Failure, Sampling, Session, generate, generate_all},
    quantize::QuantizeOptions,
    train::{RunOptions, Trainer, bits_per_byte, run},
};

use crate::{
    broken::{EMBEDDING, config, corpus, fresh, message, overflowing, patch},
    support::flex,
};

fn options(out: &Path) -> RunOptions {
    RunOptions { out: out.to_owned(), budget: None }
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
        let result = run(&mut trainer, &options(out.path()), &AtomicBool::new(false), |_| {});
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
