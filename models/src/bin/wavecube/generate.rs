//! `wavecube generate`

use std::{io::Write as _, path::PathBuf};

use anyhow::Result;
use burn::module::Module as _;
use clap::Args;
use wavecube_models::{
    checkpoint::Checkpoint,
    generate::{Sampling, generate},
};

use crate::DeviceArgs;

/// Generate text from a checkpoint
#[derive(Args)]
#[command(after_help = "\
Examples:
  wavecube generate --checkpoint runs/latest/checkpoint.safetensors
  wavecube generate --prompt 'pub fn ' --temperature 0.6 --top-k 20 --seed 7
  wavecube generate --temperature 0 --length 100     # always the likeliest byte")]
pub(crate) struct GenerateArgs {
    /// The checkpoint of a run
    #[arg(long, default_value = "runs/latest/checkpoint.safetensors", value_name = "FILE")]
    checkpoint: PathBuf,
    /// The text to continue
    #[arg(long, default_value = "")]
    prompt: String,
    /// Bytes to generate at most
    #[arg(long, default_value_t = 400)]
    length: usize,
    /// Higher is wilder; 0 takes the likeliest byte
    #[arg(long, default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f64,
    /// Draw from this many of the likeliest bytes; 0 is all
    #[arg(long, default_value_t = 40)]
    top_k: usize,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn main(args: &GenerateArgs) -> Result<()> {
    let checkpoint = Checkpoint::read(&args.checkpoint)?;
    let selected = args.device.select()?;
    let model = checkpoint.model(&selected.device)?.valid();
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        seed: args.seed,
        length: args.length,
    };
    let mut out = std::io::stdout().lock();
    let mut failure = write!(out, "{}", args.prompt).and_then(|()| out.flush()).err();
    generate(&model, &args.prompt, &sampling, |character| {
        if failure.is_none() {
            failure = write!(out, "{character}").and_then(|()| out.flush()).err();
        }
    })?;
    if let Some(error) = failure {
        return Err(anyhow::Error::new(error).context("cannot write the text"));
    }
    writeln!(out)?;
    Ok(())
}
