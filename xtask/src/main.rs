//! The chores of wavecube, so that nobody has to remember them: `cargo xtask --help`.
//!
//! One file a verb. [`setup`] finds out what a machine lacks and provides it; every other verb
//! calls the part of it that it needs first, so each command works on a bare machine.

mod bench;
mod codegen;
mod demo;
mod gpu_pack;
mod ready;
mod setup;
mod shell;
mod suite;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                        see everything work, then open target/demo/report.html
  cargo xtask demo --text notes.txt       the same, trained on your own file
  cargo xtask test                        every test, on every runtime this machine can have
  cargo xtask test fft                    only the tests whose name contains `fft`
  cargo xtask test --driver swiftshader   the operations, on a second Vulkan driver
  cargo xtask bench --json out.json fft   benches whose id contains `fft`, records into a file
  cargo xtask codegen                     compile every kernel for NVIDIA GPUs, with no GPU
  cargo xtask ready                       what CI runs: do this before you push
  cargo xtask setup                       only look for what is missing and provide it";

#[derive(Subcommand)]
enum Verb {
    /// Find out what this machine lacks and provide it; quick when nothing is missing
    Setup(setup::Args),
    /// Check every op, train a small model, write target/demo/report.html
    Demo(demo::Args),
    /// Run the whole test suite, on every runtime this machine can have
    Test(test::Args),
    /// Run the benches beside their peers
    Bench(bench::Args),
    /// Compile and assemble every kernel for NVIDIA GPUs; fails when one spills
    Codegen(codegen::Args),
    /// What CI runs: every lint and the tests on wgpu; with --full also what links LLVM, and a second driver
    Ready(ready::Args),
    /// Pack stripped binaries for a GPU machine that has no Rust and no network
    GpuPack,
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Setup(args) => setup::main(&args),
        Verb::Demo(args) => demo::main(&args),
        Verb::Test(args) => test::main(&args),
        Verb::Bench(args) => bench::main(&args),
        Verb::Codegen(args) => codegen::main(&args),
        Verb::Ready(args) => ready::main(&args),
        Verb::GpuPack => gpu_pack::main(),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    // One line, whatever RUST_BACKTRACE says: what failed has said why above.
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
