//! `wavecube speed`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use wavecube_models::{
    checkpoint::write_atomically,
    speed::{self, SpeedOptions},
};

use crate::DeviceArgs;

/// Time mixers of positions beside attention as sequences grow
#[derive(Args)]
#[command(after_help = "\
Examples:
  wavecube speed --device wgpu
  wavecube speed --lengths 1024,8192 --width 256 --heads 4 --device cuda --json speed.json
All lengths are timed in one run: milliseconds, the median of the calls after one that is not counted, forward / forward
and backward, and how many times as long attention takes.")]
pub(crate) struct SpeedArgs {
    /// Positions of a sequence
    #[arg(long, value_delimiter = ',', default_value = "128,256,512,1024,2048,4096")]
    lengths: Vec<usize>,
    /// Channels
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Heads of the attention
    #[arg(long, default_value_t = 1)]
    heads: usize,
    /// Sequences
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Timed calls
    #[arg(long, default_value_t = 7)]
    calls: usize,
    /// Write the rows here too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn main(args: &SpeedArgs) -> Result<()> {
    let selected = args.device.select()?;
    let options = SpeedOptions {
        lengths: args.lengths.clone(),
        width: args.width,
        heads: args.heads,
        batch: args.batch,
        calls: args.calls,
    };
    let rows = speed::measure(&options, &selected.device, |row| {
        let times = row.times.iter().map(|time| format!("{} {:.2} ms", time.mixer, time.both));
        eprintln!("{}: {}", row.length, times.collect::<Vec<_>>().join(", "));
    })?;
    print!("{}", speed::markdown(&rows));
    if let Some(path) = &args.json {
        write_atomically(path, &serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}
