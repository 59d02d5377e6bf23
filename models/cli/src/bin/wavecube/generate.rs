//! `wavecube generate`

use std::{
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use burn::module::Module as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use wavecube_burn::CacheType;
use wavecube_models::{
    checkpoint::Checkpoint,
    generate::{Failure, Sampling, Session, waves},
    layers::Room,
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
  wavecube generate --interactive --stop '\\n\\n'      # a prompt a line, until the input ends
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

/// The prompts in a file, one a line.
fn prompts(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the prompts in {}", file.display()))?;
    let prompts: Vec<String> = text.lines().map(str::to_owned).collect();
    ensure!(!prompts.is_empty(), "{} has no prompts", file.display());
    Ok(prompts)
}

pub(crate) fn main(args: &GenerateArgs) -> Result<ExitCode> {
    // What is wrong with the options is known before anything is read, run or written.
    let sampling = args.sampling();
    sampling.validate()?;
    let prompts = args.prompts.as_deref().map(prompts).transpose()?;
    let checkpoint = Checkpoint::read(&args.checkpoint)?;
    let selected = args.device.select()?;
    let model = checkpoint.model(&selected.device)?.valid();
    model.begin(&Room { texts: 1, positions: 1, cache: sampling.cache })?;
    listen_for_interrupts()?;
    if args.interactive {
        for line in std::io::stdin().lock().lines() {
            stream(&model, &line.context("cannot read the prompt")?, &sampling)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ended = match &prompts {
        Some(prompts) => write_all(&model, prompts, &sampling)?,
        None => stream(&model, &args.prompt, &sampling)?,
    };
    Ok(if ended { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) })
}

/// Grows texts byte by byte and hands what becomes certain to `on_pieces`; returns whether they came to their end,
/// before Ctrl-C, and those that could not go on.
fn grow(
    model: &Model,
    session: &mut Session,
    mut on_pieces: impl FnMut(Vec<(usize, String)>) -> Result<()>,
) -> Result<(bool, Vec<Failure>)> {
    ENDS.store(false, Ordering::SeqCst);
    WRITING.store(true, Ordering::SeqCst);
    while !ENDS.load(Ordering::SeqCst)
        && let Some(pieces) = session.step(model)?
    {
        on_pieces(pieces)?;
    }
    WRITING.store(false, Ordering::SeqCst);
    Ok((!ENDS.load(Ordering::SeqCst), session.failures().to_vec()))
}

/// Writes a prompt and its text as it comes.
fn stream(model: &Model, prompt: &str, sampling: &Sampling) -> Result<bool> {
    let mut session = Session::new(model, &[prompt], sampling)?;
    let mut out = std::io::stdout().lock();
    let mut write = |text: &str| {
        write!(out, "{text}").and_then(|()| out.flush()).context("cannot write the text")
    };
    write(prompt)?;
    let ended =
        grow(model, &mut session, |pieces| pieces.iter().try_for_each(|(_, piece)| write(piece)));
    // An error stands on a line of its own.
    write("\n")?;
    let (ended, failures) = ended?;
    match failures.first() {
        Some(failure) => Err((*failure).into()),
        None => Ok(ended),
    }
}

/// Writes every prompt with its text, as soon as those that grow together have ended. A text that cannot go on is
/// written as far as it came, and is an error once all are.
fn write_all(model: &Model, prompts: &[String], sampling: &Sampling) -> Result<bool> {
    let style = "{bar:30} {pos}/{len} bytes {per_sec} eta {eta}";
    let bar = ProgressBar::new((prompts.len() * sampling.length) as u64)
        .with_style(ProgressStyle::with_template(style)?);
    let (mut before, mut failed) = (0, Vec::new());
    for (prompts, sampling) in waves(prompts, sampling) {
        let mut texts = prompts.to_vec();
        let mut session = Session::new(model, prompts, &sampling)?;
        let (ended, failures) = grow(model, &mut session, |pieces| {
            bar.inc(pieces.len() as u64);
            for (index, piece) in pieces {
                texts[index].push_str(&piece);
            }
            Ok(())
        })?;
        failed.extend(failures.iter().map(|one| Failure { text: before + one.text, ..*one }));
        before += prompts.len();
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
    match failed.as_slice() {
        [] => Ok(true),
        [one] => Err((*one).into()),
        [first, ..] => {
            let how_many = format!("{} of {before} texts could not go on", failed.len());
            Err(anyhow::Error::new(*first).context(how_many))
        }
    }
}
