//! `wavecube train`

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use burn::{module::Module as _, tensor::DType};
use clap::Args;
use wavecube_cli::{
    demo,
    display::{Display, megabytes},
};
use wavecube_models::{
    config::{Config, DataConfig},
    data::{Corpus, Entropy},
    metrics::decimals,
    presets::Preset,
    train::{RunOptions, Trainer, checkpoint_path, run},
};

use crate::DeviceArgs;

/// Train a model on text
#[derive(Args)]
#[command(after_help = "\
Examples:
  wavecube train --text book.txt
  wavecube train --text src --text docs --steps 5000 --out runs/mine --device wgpu
  wavecube train --config run.toml            # flags override the file
  wavecube train --text book.txt --preset bk-experts
  wavecube train --config run.toml --resume   # goes on from the run's checkpoint
  wavecube train --config w4.toml --resume --steps 2000   # w4.toml: [train] quantize_aware = \"w4\"
  wavecube train --print-config               # every key with its default")]
pub(crate) struct TrainArgs {
    /// TOML file; without it every key has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    /// A named model of the configured size, instead of model and its switches; `wavecube ablate --help`
    /// lists them
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Optimiser steps, instead of train.steps
    #[arg(long)]
    steps: Option<usize>,
    /// Seed, instead of train.seed
    #[arg(long)]
    seed: Option<u64>,
    /// Directory for checkpoint.safetensors, metrics.csv and metrics.json
    #[arg(long, default_value = "runs/latest", value_name = "DIR")]
    out: PathBuf,
    /// Go on from the checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// Print the configuration as TOML and stop
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What to train on.
#[derive(Args)]
pub(crate) struct TextArgs {
    /// File or directory to train on (repeatable), instead of data.text
    #[arg(long, value_name = "PATH")]
    text: Vec<PathBuf>,
    /// Train on Rust sources in Cargo's registry, the text of the demo
    #[arg(long, conflicts_with = "text")]
    sources: bool,
}

impl TextArgs {
    /// The files and directories of the command line.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.text
    }

    /// The configuration of a file, or the default, with the text of the command line.
    pub(crate) fn configuration(&self, file: Option<&PathBuf>) -> Result<Config> {
        let mut config = match file {
            Some(file) => Config::from_file(file)?,
            None => Config::default(),
        };
        if !self.text.is_empty() {
            config.data.text.clone_from(&self.text);
        }
        Ok(config)
    }

    /// The text of a configuration, or of the demo.
    pub(crate) fn corpus(&self, data: &DataConfig) -> Result<Corpus> {
        if !self.sources {
            return Ok(Corpus::read(data)?);
        }
        let (corpus, text) = demo::sources(data.validation)?;
        eprintln!("text: {text}");
        Ok(corpus)
    }
}

/// Set by the first Ctrl-C; the second ends the program.
pub(crate) fn interruption() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step (Ctrl-C again stops at once)");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(flag)
}

/// The preset called `name`.
pub(crate) fn preset(name: &str) -> Result<Preset> {
    Preset::named(name).with_context(|| {
        let names: Vec<String> = Preset::all().iter().map(Preset::to_string).collect();
        format!("there is no preset `{name}`; there are {}", names.join(", "))
    })
}

pub(crate) fn main(args: &TrainArgs) -> Result<()> {
    let mut config = args.text.configuration(args.config.as_ref())?;
    if let Some(name) = &args.preset {
        config = preset(name)?.of(&config);
    }
    config.train.steps = args.steps.unwrap_or(config.train.steps);
    config.train.seed = args.seed.unwrap_or(config.train.seed);
    config.validate()?;
    if args.print_config {
        print!("{}", config.to_toml()?);
        return Ok(());
    }
    let corpus = args.text.corpus(&config.data)?;
    let selected = args.device.select()?;
    let checkpoint = checkpoint_path(&args.out);
    let mut trainer = if args.resume {
        ensure!(
            checkpoint.exists(),
            "there is nothing to go on from: {} does not exist; leave out --resume to start, or name \
             the run's directory with --out",
            checkpoint.display()
        );
        Trainer::resume(&checkpoint, &config, corpus.clone(), &selected.device)?
    } else {
        ensure!(
            !checkpoint.exists(),
            "{} exists: go on from it with --resume, or name another directory with --out",
            checkpoint.display()
        );
        Trainer::new(&config, corpus.clone(), &selected.device)?
    };
    let model = trainer.model();
    let parameters = model.num_params();
    println!(
        "text: {} bytes to train on, {} held out; model: {parameters} parameters, network width {}, \
         products in {}",
        corpus.train.len(),
        corpus.validation.len(),
        model.hidden(),
        DType::from(trainer.dtype()).name(),
    );
    println!("{}", model.flops().describe());
    let entropy = Entropy::of(&corpus);
    match &entropy {
        Some(entropy) => println!(
            "held-out text: {} bits/byte by single bytes, {} by pairs (order 1), {} under a bigram \
             model of the training text",
            decimals(entropy.order0, 3),
            decimals(entropy.order1, 3),
            decimals(entropy.bigram_held_out, 3)
        ),
        None => println!("held-out text: none (data.validation = 0), so nothing is evaluated"),
    }
    if trainer.progress().step >= config.train.steps {
        println!(
            "the run has its {} steps already: ask for more with --steps",
            trainer.progress().step
        );
    }
    let interrupted = interruption()?;
    let options = RunOptions { out: args.out.clone(), budget: None };
    let display = Display::new(options.budget, config.train.steps);
    let ran = run(&mut trainer, &options, &interrupted, |milestone| display.show(milestone));
    display.finish();
    let (summary, _) = ran?;
    let order1 = entropy.map(|entropy| decimals(entropy.order1, 4)).unwrap_or_default();
    let held_out = match summary.validation_bpb {
        Some(bpb) => format!("{} bits/byte held out (order 1: {order1})", decimals(bpb, 4)),
        None => "nothing held out".to_owned(),
    };
    let memory = summary.peak_memory.map(|bytes| format!(", {} at the peak", megabytes(bytes)));
    println!(
        "{} after {} steps: {held_out}, {:.0} tokens/s{}, {} degenerate hits; checkpoint in {}",
        if summary.interrupted { "interrupted" } else { "done" },
        summary.steps,
        summary.bytes_per_second,
        memory.unwrap_or_default(),
        summary.degenerate_hits,
        checkpoint.display()
    );
    for statistic in trainer.statistics()? {
        let values: Vec<String> = statistic.values.iter().map(|v| format!("{v:.3}")).collect();
        println!("{}: {}", statistic.name, values.join(" "));
    }
    Ok(())
}
