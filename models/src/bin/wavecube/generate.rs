//! `wavecube generate`

use std::{
    io::{BufRead as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use burn::module::Module as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use wavecube_models::{
    bridge::CacheType,
    checkpoint::Checkpoint,
    generate::{Sampling, Session, waves},
    model::Model,
};

use crate::DeviceArgs;

/// Generate text from a checkpoint
#[derive(Args)]
#[command(after_help = "\
Examples:
  wavecube generate --checkpoint runs/latest/checkpoint.safetensors
  wavecube generate --prompt 'pub fn ' --temperature 0.6 --top-p 0.9 --seed 7
  wavecube generate --temperature 0 --length 100     # always the likeliest byte
  wavecube generate --prompts prompts.txt            # one prompt a line, 64 of them together
  wavecube generate --device wgpu --cache f16        # keys and values in half of the memory
  wavecube generate --interactive --stop '\n\n'      # a prompt a line, until the input ends
Ctrl-C ends the texts that are being written; the program then ends with status 130, or with --interactive waits for the
next prompt, where Ctrl-C ends it. A text longer than the model's context goes on from its last bytes.")]
pub(crate) struct GenerateArgs {
    /// The checkpoint of a run
    #[arg(long, default_value = "runs/latest/checkpoint.safetensors", value_name = "FILE")]
    checkpoint: PathBuf,
    /// The text to continue
    #[arg(long, default_value = "", conflicts_with_all = ["prompts", "interactive"])]
    prompt: String,
    /// A file with a prompt on each line
    #[arg(long, value_name = "FILE", conflicts_with = "interactive")]
    prompts: Option<PathBuf>,
    /// Read prompts from the terminal, line by line
    #[arg(long)]
    interactive: bool,
    /// Bytes to generate at most
    #[arg(long, default_value_t = 400)]
    length: usize,
    /// Higher is wilder; 0 takes the likeliest byte
    #[arg(long, default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f64,
    /// Draw from this many of the likeliest bytes; 0 is all
    #[arg(long, default_value_t = 40)]
    top_k: usize,
    /// Draw from the likeliest bytes that together have this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Draw from bytes of at least this part of the likeliest's probability
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// Above 1, bytes that the text has already are less likely
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f64,
    /// End before this text (\n and \t are understood); may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How keys and values are kept: f32, f16, int8 or int4; all but f32 need a device with kernels, and the last two
    /// heads of a multiple of 32 numbers
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    cache: CacheType,
    #[command(flatten)]
    device: DeviceArgs,
}

impl GenerateArgs {
    fn sampling(&self) -> Sampling {
        let unescaped = |stop: &String| stop.replace("\\n", "\n").replace("\\t", "\t").into_bytes();
        Sampling {
            repetition_penalty: self.repetition_penalty,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            stop: self.stop.iter().map(unescaped).collect(),
            seed: self.seed,
            length: self.length,
            cache: self.cache,
        }
    }
}

/// What a shell expects of a program that Ctrl-C has ended: 128, and the number of the signal.
const INTERRUPTED: u8 = 130;
/// Whether texts are being written, which Ctrl-C ends at the next byte.
static WRITING: AtomicBool = AtomicBool::new(false);
/// Whether they are to end.
static ENDS: AtomicBool = AtomicBool::new(false);

/// Ctrl-C while texts are written ends those; before, after, and again, the program.
fn listen_for_interrupts() -> Result<()> {
    ctrlc::set_handler(|| {
        if WRITING.load(Ordering::SeqCst) && !ENDS.swap(true, Ordering::SeqCst) {
            return;
        }
        // The terminal's cursor may stand behind a prompt. The other stream is another thread's.
        eprintln!();
        std::process::exit(i32::from(INTERRUPTED));
    })
    .context("cannot listen for Ctrl-C")
}

pub(crate) fn main(args: &GenerateArgs) -> Result<ExitCode> {
    let checkpoint = Checkpoint::read(&args.checkpoint)?;
    let selected = args.device.select()?;
    let model = checkpoint.model(&selected.device)?.valid();
    let sampling = args.sampling();
    listen_for_interrupts()?;
    if args.interactive {
        for line in std::io::stdin().lock().lines() {
            stream(&model, &line.context("cannot read the prompt")?, &sampling)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ended = match &args.prompts {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the prompts in {}", file.display()))?;
            let prompts: Vec<&str> = text.lines().collect();
            ensure!(!prompts.is_empty(), "{} has no prompts", file.display());
            write_all(&model, &prompts, &sampling)?
        }
        None => stream(&model, &args.prompt, &sampling)?,
    };
    Ok(if ended { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) })
}

/// Grows texts byte by byte and hands what becomes certain to `on_pieces`; returns whether they came to their end,
/// before Ctrl-C.
fn grow(
    model: &Model,
    prompts: &[&str],
    sampling: &Sampling,
    mut on_pieces: impl FnMut(Vec<(usize, String)>) -> Result<()>,
) -> Result<bool> {
    ENDS.store(false, Ordering::SeqCst);
    WRITING.store(true, Ordering::SeqCst);
    let mut session = Session::new(model, prompts, sampling)?;
    while !ENDS.load(Ordering::SeqCst)
        && let Some(pieces) = session.step(model)?
    {
        on_pieces(pieces)?;
    }
    WRITING.store(false, Ordering::SeqCst);
    Ok(!ENDS.load(Ordering::SeqCst))
}

/// Writes a prompt and its text as it comes.
fn stream(model: &Model, prompt: &str, sampling: &Sampling) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    let mut write = |text: &str| {
        write!(out, "{text}").and_then(|()| out.flush()).context("cannot write the text")
    };
    write(prompt)?;
    let ended = grow(model, &[prompt], sampling, |pieces| {
        pieces.iter().try_for_each(|(_, piece)| write(piece))
    });
    // An error stands on a line of its own.
    write("\n")?;
    ended
}

/// Writes every prompt with its text, as soon as those that grow together have ended.
fn write_all(model: &Model, prompts: &[&str], sampling: &Sampling) -> Result<bool> {
    let style = "{bar:30} {pos}/{len} bytes {per_sec} eta {eta}";
    let bar = ProgressBar::new((prompts.len() * sampling.length) as u64)
        .with_style(ProgressStyle::with_template(style)?);
    for (prompts, sampling) in waves(prompts, sampling) {
        let mut texts: Vec<String> = prompts.iter().map(|&prompt| prompt.to_owned()).collect();
        let ended = grow(model, prompts, &sampling, |pieces| {
            bar.inc(pieces.len() as u64);
            for (index, piece) in pieces {
                texts[index].push_str(&piece);
            }
            Ok(())
        })?;
        bar.suspend(|| {
            let mut out = std::io::stdout().lock();
            texts.iter().try_for_each(|text| writeln!(out, "{text}\n"))
        })
        .context("cannot write the texts")?;
        if !ended {
            return Ok(false);
        }
    }
    bar.finish_and_clear();
    Ok(true)
}
