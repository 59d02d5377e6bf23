//! `cargo xtask ready`: what CI runs, cheapest first and the tests last, so that their closing
//! lines end the log.

use std::{process::Command, time::Instant};

use anyhow::{Result, anyhow, bail};

use crate::{
    codegen, setup,
    shell::{cargo, root, run, say},
    test,
};

/// The features of a build that holds every line of the workspace.
const EVERYTHING: [&str; 3] =
    ["--workspace", "--features", "wavecube-testing/cpu,wavecube-testing/codegen"];

type Step = fn() -> Result<()>;

/// What `cargo xtask ready` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Everything: spelling, licences, clippy and documentation of every feature, the code
    /// generation gate and the tests on the CPU runtime too. Builds LLVM's bindings
    #[arg(long)]
    full: bool,
}

/// `cargo xtask ready`.
pub(crate) fn main(args: &Args) -> Result<()> {
    let quick: &[(&str, Step)] = &[("format", format), ("tests on wgpu", test::wgpu)];
    let full: &[(&str, Step)] = &[
        ("format", format),
        ("spelling", spelling),
        ("licences", licences),
        ("clippy", clippy),
        ("documentation", documentation),
        ("codegen", || codegen::main(&codegen::Args::default())),
        ("tests", test::strict),
    ];
    let mut failed = Vec::new();
    for &(name, step) in if args.full { full } else { quick } {
        let start = Instant::now();
        let result = step();
        let seconds = start.elapsed().as_secs();
        match result {
            Ok(()) => say("ready", &format!("{name}: fine ({seconds} s)")),
            Err(error) => {
                say("ready", &format!("{name}: FAILED ({seconds} s): {error:#}"));
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        say("ready", "ready");
        return Ok(());
    }
    bail!("not ready: {}", failed.join(", "))
}

fn format() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn spelling() -> Result<()> {
    let typos = setup::lints::typos().map_err(|why| anyhow!(why))?;
    run(Command::new(typos).current_dir(root()))
}

/// Licences, banned crates and sources. Advisories live in a database that is not on every
/// machine's network: `cargo deny check advisories` asks it.
fn licences() -> Result<()> {
    let deny = setup::lints::cargo_deny().map_err(|why| anyhow!(why))?;
    run(Command::new(deny).current_dir(root()).args([
        "--offline",
        "--workspace",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}

fn clippy() -> Result<()> {
    setup::llvm::provide().map_err(|why| anyhow!(why))?;
    run(cargo(&["clippy", "--all-targets"]).args(EVERYTHING).args(["--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    setup::llvm::provide().map_err(|why| anyhow!(why))?;
    run(cargo(&["doc", "--no-deps"]).args(EVERYTHING).env("RUSTDOCFLAGS", "-D warnings"))
}
