//! `wavecube speed`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use wavecube_burn::CacheType;
use wavecube_cli::speed::{self, SpeedOptions, SpeedRow};
use wavecube_models::output::write_atomically;

use crate::{DeviceArgs, train::preset};

/// Time mixers of positions beside attention as sequences grow, whole models, or generation
#[derive(Args)]
#[command(after_help = "\
Examples:
  wavecube speed --device wgpu
  wavecube speed --models --lengths 512,1024
  wavecube speed --generation --lengths 256,512,1024
  wavecube speed --training --width 256 --heads 4 --layers 4 --lengths 256 --batch 8 --preset attention
  wavecube speed --lengths 1024,8192 --width 256 --heads 4 --device cuda --json speed.json
All lengths are timed in one run: milliseconds, the median of the calls after one that is not counted, forward / forward
and backward, and how many times as long attention takes. With --models: the same of models of --layers blocks and equal numbers of
parameters, forward / a step of training. With --training: positions trained on in a second, one model of each kind. With --generation: bytes a second, from a state and by
running over the text again, of texts of these lengths; --batch of them together.")]
pub(crate) struct SpeedArgs {
    /// Positions of a sequence
    #[arg(long, value_delimiter = ',', default_value = "128,256,512,1024,2048,4096")]
    lengths: Vec<usize>,
    /// Time whole models instead
    #[arg(long, conflicts_with_all = ["generation", "training"])]
    models: bool,
    /// Time generation instead
    #[arg(long, conflicts_with = "training")]
    generation: bool,
    /// Time training instead
    #[arg(long)]
    training: bool,
    /// With --training: this named model alone; `wavecube ablate --help` lists them
    #[arg(long, value_name = "NAME", requires = "training")]
    preset: Option<String>,
    /// With --generation: from a state alone
    #[arg(long, requires = "generation")]
    state_only: bool,
    /// With --generation: how keys and values are kept, f32, f16, int8 or int4
    #[arg(long, default_value = "f32", value_name = "TYPE", requires = "generation")]
    cache: CacheType,
    /// Channels
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Heads of the attention
    #[arg(long, default_value_t = 1)]
    heads: usize,
    /// Blocks of whole models
    #[arg(long, default_value_t = 2)]
    layers: usize,
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
    // A name that there is not is better known before anything else.
    let named = args.preset.as_deref();
    named.map(preset).transpose()?;
    let selected = args.device.select()?;
    let options = SpeedOptions {
        lengths: args.lengths.clone(),
        width: args.width,
        heads: args.heads,
        layers: args.layers,
        batch: args.batch,
        calls: args.calls,
        recompute: !args.state_only,
        cache: args.cache,
    };
    if args.training {
        let rows = speed::measure_training(&options, named, &selected.device, |row| {
            eprintln!("{}: {} {:.0} tokens/s", row.length, row.model, row.tokens_per_second);
        })?;
        return args.report(&speed::training_markdown(&rows), &rows);
    }
    if args.generation {
        let rows = speed::measure_generation(&options, &selected.device, |row| {
            let (model, length) = (&row.model, row.length);
            let again = row.recomputed.map(|again| format!(" and {again:.0}")).unwrap_or_default();
            eprintln!("{length}: {model} {:.0}{again} bytes/s", row.kept);
        })?;
        return args.report(&speed::generation_markdown(&rows), &rows);
    }
    let on_row = |row: &SpeedRow| {
        let times = row.times.iter().map(|time| format!("{} {:.2} ms", time.name, time.both));
        eprintln!("{}: {}", row.length, times.collect::<Vec<_>>().join(", "));
    };
    let rows = if args.models {
        speed::measure_models(&options, &selected.device, on_row)?
    } else {
        speed::measure(&options, &selected.device, on_row)?
    };
    args.report(&speed::markdown(&rows), &rows)
}

impl SpeedArgs {
    fn report(&self, table: &str, rows: &impl Serialize) -> Result<()> {
        print!("{table}");
        if let Some(path) = &self.json {
            write_atomically(path, &serde_json::to_vec_pretty(rows)?)?;
        }
        Ok(())
    }
}
