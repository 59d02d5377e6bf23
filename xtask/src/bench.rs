//! `cargo xtask bench`: every op beside its peers, on the device that is here.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::{
    setup,
    shell::{cargo, run, say},
};

/// Where the benches write their records when it is set.
const JSON: &str = "WAVECUBE_BENCH_JSON";

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the records here: `{id, device, error, gate, ms, bytes, copy_fraction, peer, …}`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Bench the CPU runtime too; needs LLVM
    #[arg(long)]
    cpu: bool,
    /// Handed to `cargo bench`: a part of a bench's id such as `fft/forward`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_bench: Vec<String>,
}

/// `cargo xtask bench`.
pub(crate) fn main(args: &Args) -> Result<()> {
    setup::vulkan::provide().map_err(|why| anyhow!(why))?;
    let mut bench = cargo(&["bench", "--package", "wavecube-benches"]);
    if args.cpu {
        setup::llvm::provide().map_err(|why| anyhow!(why))?;
        bench.args(["--features", "cpu"]);
    }
    if let Some(file) = &args.json {
        let here = env::current_dir().context("the current folder is gone")?;
        let file = here.join(file);
        say("bench", &format!("records go to {}", file.display()));
        bench.env(JSON, file);
    }
    run(bench.args(&args.cargo_bench))
}
