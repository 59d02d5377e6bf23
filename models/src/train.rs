//! Training: the loop around Burn's `AdamW`.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    checkpoint::{self, Checkpoint, Progress},
    config::Config,
    data::{Batch, Corpus, even_starts},
    metrics::{Metrics, Record},
    model::{Losses, Model, Statistic},
    optimizer::{FlatAdamW, clip_global_norm, flat_gradients},
    quantize_aware::rounded,
    random::Random,
};

/// A model in training.
pub struct Trainer {
    config: Config,
    device: Device,
    corpus: Corpus,
    model: Model,
    optimizer: FlatAdamW,
    random: Random,
    progress: Progress,
}

/// What one step leaves on the device.
pub struct StepReport {
    /// Mean loss in nats, `[1]`, not read back yet.
    pub loss: Tensor<1>,
    /// Global norm of the gradient before clipping, `[1]`.
    pub gradient_norm: Tensor<1>,
    /// The learning rate.
    pub learning_rate: f64,
}

/// Tells the seed of the batches from that of the parameters.
const BATCHES: u64 = 0x0062_6174_6368_6573;

impl Trainer {
    /// A fresh model on `device` (without autodiff; training adds it).
    ///
    /// # Errors
    ///
    /// When the configuration is not valid or the text is shorter than the model's context.
    pub fn new(config: &Config, corpus: Corpus, device: &Device) -> Result<Self> {
        config.validate()?;
        corpus.check_context(config.context())?;
        let device = device.clone().autodiff();
        let model = Model::new(config, &mut Random::new(config.train.seed), &device)?;
        let progress =
            Progress { step: 0, random: 0, bytes: 0, seconds: 0.0, optimizer_time: [None, None] };
        Ok(Self {
            config: config.clone(),
            corpus,
            model,
            optimizer: FlatAdamW::new(&config.train),
            random: Random::new(config.train.seed ^ BATCHES),
            device,
            progress,
        })
    }

    /// Goes on where the checkpoint at `path` stopped.
    ///
    /// # Errors
    ///
    /// When the checkpoint cannot be read or belongs to another configuration.
    pub fn resume(path: &Path, config: &Config, corpus: Corpus, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::read(path)?;
        checkpoint.check_resumes(config)?;
        corpus.check_context(config.context())?;
        let device = device.clone().autodiff();
        let model = checkpoint.model(&device)?;
        let optimizer = checkpoint.optimizer(&model, &device)?;
        Ok(Self {
            config: config.clone(),
            corpus,
            model,
            optimizer,
            random: Random::new(checkpoint.progress.random),
            device,
            progress: checkpoint.progress,
        })
    }

    /// The model as it is.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Where the run stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The model as its forward pass is: what fewer bits would leave of it, where it is trained for that.
    fn seen(&self) -> Result<Model> {
        let train = &self.config.train;
        match train.quantize_aware.options(train.quantize_group)? {
            Some(options) => rounded(&self.model, &options),
            None => Ok(self.model.clone()),
        }
    }

    /// One optimiser step; `share` is how much of the run is over, from 0 to 1.
    ///
    /// # Errors
    ///
    /// When a transform parameter is no longer finite, or a weight where the model is trained for fewer bits.
    pub fn step(&mut self, share: f64) -> Result<StepReport> {
        let train = &self.config.train;
        let context = self.config.context();
        let rounds = train.accumulation;
        let mut gradients: Option<crate::optimizer::Flat> = None;
        let mut total: Option<Tensor<1>> = None;
        let seen = self.seen()?;
        for _ in 0..rounds {
            let batch = Batch::sample(
                &self.corpus.train,
                train.batch,
                context,
                &mut self.random,
                &self.device,
            );
            let losses = seen.losses(batch.bytes, batch.targets, &mut self.random)?;
            let Losses { total: loss, nats } = losses;
            let flat = flat_gradients(loss.backward(), &self.model, &self.device);
            gradients = Some(match gradients {
                None => flat,
                Some([a, b]) => {
                    let [c, d] = flat;
                    [a + c, b + d]
                }
            });
            let loss = nats.inner();
            total = Some(match total {
                None => loss,
                Some(sum) => sum + loss,
            });
        }
        let (Some(mut gradients), Some(mut loss)) = (gradients, total) else {
            anyhow::bail!("train.accumulation must be at least 1");
        };
        if rounds > 1 {
            let share = 1.0 / rounds as f64;
            gradients = gradients.map(|gradient| gradient * share);
            loss = loss * share;
        }
        let (gradients, gradient_norm) = clip_global_norm(gradients, train.clip);
        let learning_rate = train.rate(self.progress.step, share);
        let model = self.model.clone();
        self.model = self.optimizer.step(learning_rate, model, gradients, &self.device);
        self.progress.step += 1;
        self.progress.random = self.random.state();
        self.progress.bytes += (rounds * train.batch * context) as u64;
        Ok(StepReport { loss, gradient_norm, learning_rate })
    }

    /// Bits per byte on evenly spread windows of the held-out text.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn evaluate(&self, sequences: usize) -> Result<f64> {
        let device = self.device.clone().inner();
        bits_per_byte(&self.seen()?.valid(), &self.corpus.validation, sequences, &device)
    }

    /// What the parts of the model do on the first windows of the held-out text.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn statistics(&self) -> Result<Vec<Statistic>> {
        let context = self.config.context();
        let starts = even_starts(self.corpus.validation.len(), context, 8);
        let device = self.device.clone().inner();
        let batch = Batch::at(&self.corpus.validation, &starts, context, &device);
        Ok(self.seen()?.valid().statistics(batch.bytes)?)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        checkpoint::save(path, &self.config, &self.progress, &self.model, &self.optimizer)
    }
}

/// Bits per byte of `model`, which must not track gradients, on `sequences` windows spread evenly over `text`.
///
/// # Errors
///
/// When the device fails.
pub fn bits_per_byte(model: &Model, text: &[u8], sequences: usize, device: &Device) -> Result<f64> {
    let context = model.context();
    let starts = even_starts(text.len(), context, sequences);
    let mut nats = 0.0;
    for starts in starts.chunks(32) {
        let batch = Batch::at(text, starts, context, device);
        let loss = model.loss(batch.bytes, batch.targets)?;
        nats += read(loss)? * starts.len() as f64;
    }
    Ok(nats / starts.len() as f64 / std::f64::consts::LN_2)
}

fn read(value: Tensor<1>) -> Result<f64> {
    value.try_into_scalar::<f64>().context("the device failed")
}

/// How a run is driven.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Where checkpoint and metrics go.
    pub out: PathBuf,
    /// Stop after this long instead of after `train.steps`.
    pub budget: Option<Duration>,
    /// Say nothing but errors.
    pub quiet: bool,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Bits per byte on the held-out text.
    pub validation_bpb: f64,
    /// Optimiser steps taken in all.
    pub steps: usize,
    /// Bytes trained on in all.
    pub bytes: u64,
    /// Seconds of training, evaluations aside.
    pub seconds: f64,
    /// Bytes trained on in a second, over the whole run.
    pub bytes_per_second: f64,
    /// Times a transform met `|b| < epsilon`.
    pub degenerate_hits: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// The file a run leaves its checkpoint in.
pub fn checkpoint_path(out: &Path) -> PathBuf {
    out.join("checkpoint.safetensors")
}

/// Trains to the end, or until `interrupted` is set: then the checkpoint is saved all the same.
///
/// # Errors
///
/// When nothing can be written to the output's directory (before the first step), a step fails, the loss is no longer finite, or a file cannot be written.
pub fn run(
    trainer: &mut Trainer,
    options: &RunOptions,
    interrupted: &AtomicBool,
) -> Result<(Summary, Metrics)> {
    let train = trainer.config.train.clone();
    checkpoint::claim_directory(&options.out)?;
    let checkpoint = checkpoint_path(&options.out);
    let mut metrics = Metrics::open(&options.out, trainer.progress.step)?;
    let display = Display::new(options, train.steps);
    let window_bytes = (train.accumulation * train.batch * trainer.config.context()) as f64;
    let trained_before = trainer.progress.seconds;
    let mut clock = Duration::ZERO;
    let mut window = Window::default();
    let mut latest = None;
    loop {
        let step = trainer.progress.step;
        let share = match options.budget {
            Some(budget) => clock.as_secs_f64() / budget.as_secs_f64(),
            None => step as f64 / train.steps as f64,
        };
        let over = options.budget.map_or(step >= train.steps, |budget| clock >= budget);
        if over || interrupted.load(Ordering::Relaxed) {
            break;
        }
        let start = Instant::now();
        let report = trainer.step(share)?;
        window.add(&report);
        // Reading the losses waits for the device, so it happens once a log line; with a time
        // budget every step is waited for, or the clock would not see it.
        if options.budget.is_some() || window.steps >= train.log_every {
            window.settle()?;
        }
        clock += start.elapsed();
        trainer.progress.seconds = trained_before + clock.as_secs_f64();
        window.elapsed += start.elapsed();
        let step = trainer.progress.step;
        let last = options.budget.is_none() && step >= train.steps;
        if window.steps >= train.log_every || last {
            let (nats, norm) = window.settle()?;
            ensure!(
                nats.is_finite(),
                "the loss is {nats} at step {step}: take a smaller train.learning_rate or a longer \
                 train.warmup"
            );
            let evaluates =
                train.eval_every > 0 && step / train.eval_every > window.first / train.eval_every;
            let validation_bpb =
                if evaluates { Some(trainer.evaluate(train.eval_sequences)?) } else { None };
            let record = Record {
                step,
                train_bpb: nats / std::f64::consts::LN_2,
                validation_bpb,
                learning_rate: report.learning_rate,
                gradient_norm: norm,
                bytes_per_second: window.steps as f64 * window_bytes
                    / window.elapsed.as_secs_f64().max(1e-9),
                seconds: trainer.progress.seconds,
            };
            latest = validation_bpb.or(latest);
            display.show(&record, latest, share);
            metrics.push(record);
            window = Window { first: step, ..Window::default() };
        }
        if train.checkpoint_every > 0 && step.is_multiple_of(train.checkpoint_every) {
            trainer.save(&checkpoint)?;
            metrics.write()?;
        }
    }
    let validation_bpb = trainer.evaluate(train.eval_sequences)?;
    trainer.save(&checkpoint)?;
    metrics.write()?;
    let seconds = trainer.progress.seconds;
    let summary = Summary {
        validation_bpb,
        steps: trainer.progress.step,
        bytes: trainer.progress.bytes,
        seconds,
        bytes_per_second: trainer.progress.bytes as f64 / seconds.max(1e-9),
        degenerate_hits: trainer.model.degenerate_hits(),
        interrupted: interrupted.load(Ordering::Relaxed),
    };
    display.finish();
    Ok((summary, metrics))
}

/// The steps since the last log line.
#[derive(Default)]
struct Window {
    first: usize,
    steps: usize,
    elapsed: Duration,
    pending: Option<Tensor<1>>,
    norm: Option<Tensor<1>>,
    nats: f64,
    last_norm: f64,
}

impl Window {
    fn add(&mut self, report: &StepReport) {
        let loss = report.loss.clone();
        self.pending = Some(match self.pending.take() {
            None => loss,
            Some(sum) => sum + loss,
        });
        self.norm = Some(report.gradient_norm.clone());
        self.steps += 1;
    }

    /// Reads what is pending; mean loss in nats and the last gradient norm.
    fn settle(&mut self) -> Result<(f64, f64)> {
        if let Some(pending) = self.pending.take() {
            self.nats += read(pending)?;
        }
        if let Some(norm) = self.norm.take() {
            self.last_norm = read(norm)?;
        }
        Ok((self.nats / self.steps.max(1) as f64, self.last_norm))
    }
}

/// A bar on a terminal, lines elsewhere.
struct Display {
    bar: Option<ProgressBar>,
    quiet: bool,
    /// The run is measured in tenths of a second instead of steps.
    timed: Option<Duration>,
    steps: usize,
}

impl Display {
    fn new(options: &RunOptions, steps: usize) -> Self {
        let bar = (!options.quiet && std::io::stderr().is_terminal()).then(|| {
            let len = match options.budget {
                Some(budget) => budget.as_millis() as u64 / 100,
                None => steps as u64,
            };
            let bar = ProgressBar::new(len);
            if let Ok(style) =
                ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}  ETA {eta}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, quiet: options.quiet, timed: options.budget, steps }
    }

    fn show(&self, record: &Record, validation: Option<f64>, share: f64) {
        let held_out = validation.map(|bpb| format!("  held out {bpb:.3}")).unwrap_or_default();
        let line = format!(
            "step {}  loss {:.3}  {:.3} bits/byte{held_out}  {:.0} tokens/s",
            record.step,
            record.train_bpb * std::f64::consts::LN_2,
            record.train_bpb,
            record.bytes_per_second
        );
        if let Some(bar) = &self.bar {
            bar.set_position(match self.timed {
                Some(budget) => (share * budget.as_millis() as f64 / 100.0) as u64,
                None => record.step as u64,
            });
            bar.set_message(line);
        } else if !self.quiet {
            let left = if let Some(budget) = self.timed {
                (1.0 - share).max(0.0) * budget.as_secs_f64()
            } else {
                let rate = record.seconds / record.step.max(1) as f64;
                rate * self.steps.saturating_sub(record.step) as f64
            };
            println!("{line}  ETA {left:.0} s");
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
