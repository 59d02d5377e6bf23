//! The `wavecube` program: train, generate, compare, demonstrate.

mod ablate;
mod demo;
mod generate;
mod speed;
mod train;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use wavecube_models::device::{self, DeviceChoice, Selected};

/// Sequence models on wavecube's kernels.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "\
Examples:
  wavecube train --text book.txt --steps 2000 --out runs/book
  wavecube train --config run.toml --resume
  wavecube generate --checkpoint runs/book/checkpoint.safetensors --prompt 'fn main'
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
    /// Train variants side by side and print a table
    Ablate(ablate::AblateArgs),
    /// Train on the Rust sources at hand, generate, and write a report
    Demo(demo::DemoArgs),
    /// Time the resolvent mixer beside attention as sequences grow
    Speed(speed::SpeedArgs),
}

#[derive(Args)]
struct DeviceArgs {
    /// auto, wgpu, cuda, cpu or flex
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

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Train(args) => train::main(&args),
        Command::Generate(args) => generate::main(&args),
        Command::Ablate(args) => ablate::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Speed(args) => speed::main(&args),
    }
}
