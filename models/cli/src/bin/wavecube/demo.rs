//! `wavecube demo`

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;
use wavecube_cli::demo::{DemoOptions, demo, read_kernels};

use crate::{DeviceArgs, train::interruption};

/// Train on the Rust sources at hand, generate, and write a report
#[derive(Args)]
#[command(after_help = "\
Examples:
  wavecube demo --out target/demo
  wavecube demo --out target/demo --text book.txt --minutes 1
  wavecube demo --out target/demo --device wgpu
Writes report.html (open it in a browser), report.json, metrics.csv, metrics.json and
checkpoint.safetensors, which `wavecube generate --checkpoint` reads.")]
pub(crate) struct DemoArgs {
    /// Directory for the report
    #[arg(long, default_value = "target/demo", value_name = "DIR")]
    out: PathBuf,
    /// Train on this file or directory instead of the sources in Cargo's registry
    #[arg(long, value_name = "PATH")]
    text: Option<PathBuf>,
    /// The kernel table for the report, as `wavecube-check --json FILE` writes it
    #[arg(long, value_name = "FILE")]
    kernels: Option<PathBuf>,
    /// Minutes of training
    #[arg(long, default_value_t = 2.5, allow_negative_numbers = true)]
    minutes: f64,
    /// Seed of parameters and batches
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn main(args: &DemoArgs) -> Result<()> {
    ensure!(
        args.minutes.is_finite() && args.minutes > 0.0 && args.minutes < 1e6,
        "--minutes must be positive, it is {}",
        args.minutes
    );
    // Before training: a table that cannot be read is better known now.
    let kernels = args.kernels.as_deref().map(read_kernels).transpose()?.unwrap_or_default();
    let selected = args.device.select()?;
    let options = DemoOptions {
        out: args.out.clone(),
        text: args.text.clone(),
        budget: Duration::from_secs_f64(args.minutes * 60.0),
        seed: args.seed,
    };
    let interrupted = interruption()?;
    let report = demo(&options, &selected, &interrupted, kernels)?;
    println!("report: {}", args.out.join("report.html").display());
    ensure!(
        report.beats_order1 || args.minutes < 2.0 || args.text.is_some(),
        "the model ended at {:.3} bits/byte, not below the order-1 entropy {:.3}",
        report.bits_per_byte,
        report.entropy.order1
    );
    Ok(())
}
