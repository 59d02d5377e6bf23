//! The `wavecube` program: train, generate, compare, demonstrate.

mod ablate;
mod demo;
mod generate;
mod quantize;
mod speed;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use wavecube_models::{
    device::{self, DeviceChoice, Selected},
    memory::Counting,
};

/// Training reports the memory of its steps.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Byte-level language models on wavecube's kernels: train, generate, compare.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  wavecube train --text book.txt --steps 2000 --out runs/book
  wavecube train --config run.toml --resume
  wavecube generate --checkpoint runs/book/checkpoint.safetensors --prompt 'fn main'
  wavecube quantize --checkpoint runs/book/checkpoint.safetensors --text book.txt
  wavecube ablate --text book.txt --placement none,before,block --steps 300
  wavecube demo --out target/demo
  wavecube speed --device wgpu"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model on text
    Train(train::TrainArgs),
    /// Generate text from a checkpoint
    Generate(generate::GenerateArgs),
    /// Pack a checkpoint's matrices into 4 or 8 bits, and say what that costs
    Quantize(quantize::QuantizeArgs),
    /// Train variants side by side and print a table
    Ablate(ablate::AblateArgs),
    /// Train on the Rust sources at hand, generate, and write a report
    Demo(demo::DemoArgs),
    /// Time mixers of positions beside attention as sequences grow
    Speed(speed::SpeedArgs),
}

#[derive(Args)]
struct DeviceArgs {
    /// auto (a GPU where there is one, else flex), wgpu, cuda, cpu (CubeCL's runtime) or flex (Burn's own
    /// CPU backend, without this library's kernels)
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceChoice,
}

impl DeviceArgs {
    /// Selects the device and says which.
    fn select(&self) -> Result<Selected> {
        let selected = device::select(self.device)?;
        eprintln!("device: {selected}");
        Ok(selected)
    }
}

fn main() -> ExitCode {
    provide_runtime_directory();
    keep_memory();
    let done = |()| ExitCode::SUCCESS;
    let result = match Cli::parse().command {
        Command::Train(args) => train::main(&args).map(done),
        Command::Generate(args) => generate::main(&args),
        Command::Quantize(args) => quantize::main(&args).map(done),
        Command::Ablate(args) => ablate::main(&args).map(done),
        Command::Demo(args) => demo::main(&args).map(done),
        Command::Speed(args) => speed::main(&args).map(done),
    };
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    // What went wrong, and why; a backtrace would bury both, whatever RUST_BACKTRACE says.
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        for line in cause.to_string().trim_end().lines() {
            eprintln!("  {line}");
        }
    }
    ExitCode::FAILURE
}

/// Looking for adapters, Mesa's EGL complains once for each if this variable is missing, as it is in
/// containers.
fn provide_runtime_directory() {
    const NAME: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(NAME).is_none() {
        // SAFETY: first in `main`, this thread is the only one; nobody reads the environment meanwhile.
        unsafe { std::env::set_var(NAME, std::env::temp_dir()) };
    }
}

/// A step of training frees what the next one asks for again, tens of megabytes at a time. The C library would hand
/// them back to the system, which clears every page before it gives it out anew.
fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // `M_TRIM_THRESHOLD`, `M_MMAP_THRESHOLD` and `M_ARENA_MAX` of malloc.h: hand nothing back below a gigabyte, take
        // blocks of up to 32 MiB, the most that it allows, from the heap, and have one heap for all threads.
        for (parameter, value) in [(-1, 1 << 30), (-3, 32 << 20), (-8, 1)] {
            // SAFETY: it sets a number of the allocator, which checks it; a value that it refuses changes nothing.
            unsafe { mallopt(parameter, value) };
        }
    }
}
