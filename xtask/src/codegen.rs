//! `cargo xtask codegen`: every kernel that the catalogue launches, compiled and assembled for
//! NVIDIA GPUs on a machine that has none.

use std::process::Command;

use anyhow::{Result, anyhow};

use crate::{
    setup,
    shell::{built, cargo, root, run, say},
    test::WITH_LLVM,
};

/// What `cargo xtask codegen` takes.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Handed to the `codegen` program: a part of a case's name; see its `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    codegen: Vec<String>,
}

/// `cargo xtask codegen`.
pub(crate) fn main(args: &Args) -> Result<()> {
    setup::llvm::provide().map_err(|why| anyhow!(why))?;
    let cuda = setup::cuda::provide().map_err(|why| anyhow!(why))?;
    // The same build as the CPU runtime's tests, so that `ready` pays for LLVM once.
    run(cargo(&["test"]).args(WITH_LLVM).arg("--no-run"))?;
    let table = root().join("benches/results/codegen.md");
    let mut codegen = Command::new(built("codegen")?);
    codegen.env("CUDA_PATH", &cuda.path).arg("--ptxas").arg(&cuda.ptxas);
    if args.codegen.is_empty() {
        // Only a complete run may replace the committed table.
        codegen.arg("--table").arg(&table);
    }
    run(codegen.args(&args.codegen))?;
    if args.codegen.is_empty() {
        say("codegen", &format!("the table is in {}", table.display()));
    }
    Ok(())
}
