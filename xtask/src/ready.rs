//! `cargo xtask ready`: what CI runs, cheapest first and the tests last, so that their closing
//! lines end the log.

use std::{process::Command, time::Instant};

use anyhow::{Result, anyhow, bail};

use crate::{
    codegen, setup,
    shell::{cargo, root, run, say},
    test,
};

/// What a build of every line of the workspace adds to the default features: all that links LLVM.
const WITH_LLVM: [&str; 2] = ["--features", "wavecube-testing/cpu,wavecube-testing/codegen"];

type Step = fn() -> Result<()>;

/// What `cargo xtask ready` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What links LLVM too: clippy and documentation of those features, the code generation gate
    /// and the tests on the CPU runtime; and those of operations on a second Vulkan driver
    #[arg(long)]
    full: bool,
}

/// `cargo xtask ready`.
pub(crate) fn main(args: &Args) -> Result<()> {
    let quick: &[(&str, Step)] = &[
        ("format", format),
        ("spelling", spelling),
        ("licences", licences),
        ("clippy", || clippy(&[])),
        ("documentation", || documentation(&[])),
        ("tests on wgpu", test::wgpu),
    ];
    let full: &[(&str, Step)] = &[
        ("format", format),
        ("spelling", spelling),
        ("licences", licences),
        ("LLVM", || setup::llvm::provide().map_err(|why| anyhow!(why))),
        ("clippy", || clippy(&WITH_LLVM)),
        ("documentation", || documentation(&WITH_LLVM)),
        ("codegen", || codegen::main(&codegen::Args::default())),
        ("tests on a second Vulkan driver", test::second_driver),
        ("tests on wgpu and the CPU runtime", test::strict),
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
    // Building fetches what this platform builds; licences are those of every platform.
    run(&mut cargo(&["fetch", "--locked"]))?;
    run(Command::new(deny).current_dir(root()).args([
        "--offline",
        "--locked",
        "--workspace",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}

/// Documentation, which comes next, reuses what this one checks of the dependencies.
fn clippy(features: &[&str]) -> Result<()> {
    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets"]);
    run(clippy.args(features).args(["--", "-D", "warnings"]))
}

fn documentation(features: &[&str]) -> Result<()> {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    run(doc.args(features).env("RUSTDOCFLAGS", "-D warnings"))
}
