//! `wavecube ablate`

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::de::DeserializeOwned;
use wavecube_cli::ablate::{self, Grid, Variants};
use wavecube_models::{metrics::decimals, presets::Preset};

use crate::{
    DeviceArgs,
    train::{TextArgs, interruption, preset},
};

/// Train variants side by side and print a table
#[derive(Args)]
#[command(after_help = "\
Examples:
  wavecube ablate --text book.txt --steps 300
  wavecube ablate --text book.txt --placement none,block --to-real projection,real --learned fixed
  wavecube ablate --text book.txt --placement mixer --axis sequence --learned learned --epsilon 1e-3,1e-1
  wavecube ablate --text book.txt --preset attention,lct-gpt,bk,bk-experts
Every combination of the lists, or every named model, is trained with the same seed, text and number of parameters.")]
pub(crate) struct AblateArgs {
    /// TOML file that the combinations vary
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    /// Optimiser steps of each run
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Named models instead of combinations: attention, lct-gpt, bk, bk-fixed, bk-blocked, bk-sparse, bk-shortcut,
    /// bk-experts, bk-dynamic, bk-halting, bk-scales, bk-exits, bk-full, or all
    #[arg(long, value_delimiter = ',')]
    preset: Vec<String>,
    /// none, before, after, block, mixer
    #[arg(long, value_delimiter = ',', default_value = "none,before,after,block,mixer")]
    placement: Vec<String>,
    /// channels, sequence (there the causal form)
    #[arg(long, value_delimiter = ',', default_value = "channels")]
    axis: Vec<String>,
    /// projection, magnitude, real
    #[arg(long, value_delimiter = ',', default_value = "projection,magnitude,real")]
    to_real: Vec<String>,
    /// fixed, learned
    #[arg(long, value_delimiter = ',', default_value = "fixed,learned")]
    learned: Vec<String>,
    /// on, off (learned positions instead)
    #[arg(long, value_delimiter = ',', default_value = "on")]
    rope: Vec<String>,
    /// Limits of |b| for learned transforms
    #[arg(long, value_delimiter = ',', default_value = "0.001")]
    epsilon: Vec<f64>,
    /// Directory for ablation.md, ablation.json and the runs
    #[arg(long, default_value = "runs/ablation", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

fn parse<T: DeserializeOwned>(flag: &str, names: &[String]) -> Result<Vec<T>> {
    ensure!(!names.is_empty(), "--{flag} needs at least one value");
    names
        .iter()
        .map(|name| {
            serde_json::from_value(serde_json::Value::String(name.clone()))
                .with_context(|| format!("in --{flag} {name}"))
        })
        .collect()
}

fn choices<T: Copy>(flag: &str, names: &[String], known: [(&str, T); 2]) -> Result<Vec<T>> {
    names
        .iter()
        .map(|name| match known.iter().find(|(known, _)| known == name) {
            Some(&(_, value)) => Ok(value),
            None => bail!("--{flag} {name}: expected {} or {}", known[0].0, known[1].0),
        })
        .collect()
}

pub(crate) fn main(args: &AblateArgs) -> Result<()> {
    use wavecube_models::lct_gpt::Positions::{Learned, Rope};
    let mut config = args.text.configuration(args.config.as_ref())?;
    config.train.steps = args.steps;
    config.train.eval_every = 0;
    config.train.checkpoint_every = 0;
    let grid = Grid {
        placements: parse("placement", &args.placement)?,
        axes: parse("axis", &args.axis)?,
        to_real: parse("to-real", &args.to_real)?,
        learned: choices("learned", &args.learned, [("fixed", false), ("learned", true)])?,
        positions: choices("rope", &args.rope, [("on", Rope), ("off", Learned)])?,
        epsilons: args.epsilon.clone(),
    };
    ensure!(!grid.epsilons.is_empty(), "--epsilon needs at least one value");
    let variants = match args.preset.as_slice() {
        [] => grid.variants(&config),
        [all] if all == "all" => Variants::of_presets(&config, &Preset::all()),
        names => {
            let presets: Result<Vec<_>> = names.iter().map(|name| preset(name)).collect();
            Variants::of_presets(&config, &presets?)
        }
    };
    let corpus = args.text.corpus(&config.data)?;
    let selected = args.device.select()?;
    let interrupted = interruption()?;
    eprintln!(
        "{} runs of {} steps each; a line as each ends",
        variants.variants.len(),
        config.train.steps
    );
    let table = ablate::ablate(
        &variants,
        &corpus,
        &selected.device,
        &args.out,
        &interrupted,
        |done, of, row| match row {
            Ok(row) => eprintln!(
                "{done}/{of}: {}: {} bits/byte, {:.0} tokens/s",
                row.choices(),
                decimals(row.bits_per_byte, 4),
                row.tokens_per_second
            ),
            Err(failure) => {
                eprintln!("{done}/{of}: {} failed: {}", failure.choices(), failure.reason);
            }
        },
    )?;
    ablate::write(&table, &args.out)?;
    print!("{}", ablate::markdown(&table));
    eprintln!("written to {}", args.out.join("ablation.md").display());
    match table.failures.as_slice() {
        [] => Ok(()),
        [first, ..] => bail!(
            "{} of {} variants failed, the first of them {}: {}",
            table.failures.len(),
            variants.variants.len(),
            first.choices(),
            first.reason
        ),
    }
}
