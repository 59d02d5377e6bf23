//! The demonstration: text that is at hand, a model trained on it, a sample, and a report.

mod page;
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use burn::module::Module as _;
use serde::{Deserialize, Serialize};
use wavecube_models::{
    config::{Config, DataConfig, TrainConfig},
    data::{Corpus, Entropy},
    device::Selected,
    generate::{Sampling, generate},
    layers::{ComplexToReal, LctConfig, Start},
    lct_gpt::{ModelConfig, Placement},
    metrics::{Record, decimals},
    output::write_atomically,
    train::{RunOptions, Trainer, run},
};

use crate::display::Display;

pub use page::html;
pub use text::{cargo_sources, describe_sources};

/// One line of the kernel table, an operation against its `f64` reference: what of `wavecube-check
/// --json` the report shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelRow {
    /// Operation, storage type, batch, length and runtime: `fft/forward/f32/b1024_n1024/wgpu`.
    pub id: String,
    /// The device it ran on.
    pub device: String,
    /// Its relative error.
    pub error: f64,
    /// The largest error that passes.
    pub gate: f64,
    /// Milliseconds of one call.
    pub ms: f64,
    /// Bytes that it has to move.
    pub bytes: u64,
    /// Those bytes a second, as a share of the copy bandwidth measured in the same run.
    pub copy_fraction: f64,
}

/// Reads what `wavecube-check --json` wrote.
///
/// # Errors
///
/// When there is no such file, or something else is in it.
pub fn read_kernels(path: &Path) -> Result<Vec<KernelRow>> {
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the kernel table {}; `wavecube-check --json {}` writes it",
            path.display(),
            path.display()
        )
    })?;
    let rows: Vec<KernelRow> = serde_json::from_str(&text).with_context(|| {
        format!("{} is not a table that `wavecube-check --json` wrote", path.display())
    })?;
    ensure!(!rows.is_empty(), "the kernel table {} has no operation in it", path.display());
    Ok(rows)
}

/// What the demonstration found, as written to `report.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Day of the run, UTC.
    pub date: String,
    /// The commit of the source tree, where it is known.
    pub commit: Option<String>,
    /// The device that trained, and why it was chosen.
    pub device: String,
    /// The text.
    pub text: String,
    /// Bytes trained on and held out.
    pub bytes: [usize; 2],
    /// The statistics of the held-out text that the model has to beat.
    pub entropy: Entropy,
    /// Bits per byte on the held-out text at the end.
    pub bits_per_byte: f64,
    /// Whether that is below the order-1 entropy of the same text.
    pub beats_order1: bool,
    /// Seconds of training.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: usize,
    /// Bytes trained on in a second.
    pub tokens_per_second: f64,
    /// Parameters of the model.
    pub parameters: usize,
    /// Times a transform met `|b| < epsilon`.
    pub degenerate_hits: u64,
    /// The configuration.
    pub config: Config,
    /// The training log.
    pub records: Vec<Record>,
    /// What the model was given.
    pub prompt: String,
    /// What it made of it.
    pub sample: String,
    /// Every operation against its reference; empty where none was measured.
    pub kernels: Vec<KernelRow>,
}

/// What a demonstration is asked to do.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Where checkpoint, metrics and report go.
    pub out: PathBuf,
    /// The user's own text instead of Rust sources.
    pub text: Option<PathBuf>,
    /// Time to train for.
    pub budget: Duration,
    /// Seed of everything.
    pub seed: u64,
}

/// At most this much text: more than a demonstration can read in its few minutes.
const MAX_BYTES: usize = 6 << 20;

/// The model and the training of the demonstration.
///
/// Sized for two CPU cores and a few minutes: a transform of its own ahead of each attention, its
/// parameters learned.
pub fn configuration(seed: u64) -> Config {
    Config {
        lct_gpt: ModelConfig {
            context: 64,
            d_model: 64,
            layers: 2,
            heads: 4,
            placement: Placement::Block,
            lct: LctConfig {
                transform: Start::Frft,
                learned: true,
                to_real: ComplexToReal::Projection,
                ..LctConfig::default()
            },
            ..ModelConfig::default()
        },
        data: DataConfig { max_bytes: MAX_BYTES, ..DataConfig::default() },
        train: TrainConfig {
            batch: 8,
            learning_rate: 4e-3,
            warmup: 40,
            seed,
            log_every: 20,
            eval_every: 400,
            eval_sequences: 256,
            checkpoint_every: 0,
            ..TrainConfig::default()
        },
        ..Config::default()
    }
}

/// The demonstration's own text, Rust sources at hand, with the share `validation` held out, and a line
/// about it.
///
/// # Errors
///
/// When Cargo has no sources on this machine.
pub fn sources(validation: f64) -> Result<(Corpus, String)> {
    let sources = cargo_sources(MAX_BYTES)?;
    let text = describe_sources(&sources);
    Ok((Corpus::split(sources.bytes, validation)?, text))
}

/// Trains, generates and writes `report.json` and `report.html` into the output directory.
///
/// `kernels` becomes the report's kernel table.
///
/// # Errors
///
/// When there is no text, training fails, or a file cannot be written.
pub fn demo(
    options: &DemoOptions,
    selected: &Selected,
    interrupted: &AtomicBool,
    kernels: Vec<KernelRow>,
) -> Result<Report> {
    let mut config = configuration(options.seed);
    let (corpus, text) = if let Some(path) = &options.text {
        config.data.text = vec![path.clone()];
        (Corpus::read(&config.data)?, path.display().to_string())
    } else {
        sources(config.data.validation)?
    };
    println!("text: {text}");
    let entropy = Entropy::of(&corpus).context("no text is held out")?;
    println!(
        "held-out text: order 0 {}, order 1 {} bits/byte (a bigram model of the training text \
         reaches {})",
        decimals(entropy.order0, 3),
        decimals(entropy.order1, 3),
        decimals(entropy.bigram_held_out, 3)
    );
    let bytes = [corpus.train.len(), corpus.validation.len()];
    let mut trainer = Trainer::new(&config, corpus, &selected.device)?;
    let parameters = trainer.model().num_params();
    println!(
        "LCT-GPT: {parameters} parameters, {} s of training on {selected}",
        options.budget.as_secs()
    );
    let display = Display::new(Some(options.budget), config.train.steps);
    let run_options = RunOptions { out: options.out.clone(), budget: Some(options.budget) };
    let ran = run(&mut trainer, &run_options, interrupted, |milestone| display.show(milestone));
    display.finish();
    let (summary, metrics) = ran?;
    let bits_per_byte = summary.validation_bpb.context("no text is held out")?;
    let beats_order1 = bits_per_byte < entropy.order1;
    println!(
        "held out: {} bits/byte after {} steps in {:.0} s, {} the order-1 entropy {}",
        decimals(bits_per_byte, 3),
        summary.steps,
        summary.seconds,
        if beats_order1 { "below" } else { "NOT below" },
        decimals(entropy.order1, 3)
    );
    let prompt = "    fn ".to_owned();
    let sampling = Sampling { temperature: 0.7, length: 600, ..Sampling::default() };
    let sample = generate(&trainer.model().valid(), &prompt, &sampling, |_| {})?;
    println!("sample:\n{prompt}{sample}\n");
    let report = Report {
        date: date(),
        commit: commit(),
        device: selected.to_string(),
        text,
        bytes,
        entropy,
        bits_per_byte,
        beats_order1,
        seconds: summary.seconds,
        steps: summary.steps,
        tokens_per_second: summary.bytes_per_second,
        parameters,
        degenerate_hits: summary.degenerate_hits,
        config,
        records: metrics.records().to_vec(),
        prompt,
        sample,
        kernels,
    };
    write(&report, &options.out)?;
    Ok(report)
}

fn write(report: &Report, out: &Path) -> Result<()> {
    write_atomically(&out.join("report.json"), &serde_json::to_vec_pretty(report)?)?;
    write_atomically(&out.join("report.html"), html(report).as_bytes())?;
    Ok(())
}

/// The commit of the tree this program was built from, if it is still there.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}

/// Today in UTC, `2026-05-31`.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    // Civil date from days since 1970, counting years from March so that leap days come last.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}
