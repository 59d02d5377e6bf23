//! Training: the loop around `AdamW`.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use crate::{
    checkpoint::{self, Checkpoint, Progress},
    config::Config,
    data::{Batch, Corpus, even_starts},
    error::{Context as _, Error, Result, TextFault},
    memory::Watch,
    metrics::{Metrics, Record},
    model::{Differentiated, Model, Statistic},
    optimizer::{FlatAdamW, clip_global_norm, plus},
    output::claim_directory,
    quantize_aware::rounded,
    random::Random,
    threads::on_threads,
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

    /// The operations of a forward pass.
    pub fn operations(&self) -> f64 {
        let bytes = self.config.train.batch * self.config.context();
        self.model.flops().forward() * bytes as f64
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
            let Batch { bytes, targets } = batch;
            let checkpointing = train.gradient_checkpointing;
            let Differentiated { nats, gradients: found } =
                seen.differentiate(bytes, targets, &mut self.random, checkpointing)?;
            let flat = found.flat(&self.model, &self.device);
            gradients = Some(match gradients {
                None => flat,
                Some([a, b]) => {
                    let [c, d] = flat;
                    [a + c, b + d]
                }
            });
            total = Some(plus(total, nats));
        }
        let (Some(mut gradients), Some(mut loss)) = (gradients, total) else {
            return Err(Error::Value {
                name: "train.accumulation",
                expected: "at least 1",
                found: rounds.to_string(),
            });
        };
        if rounds > 1 {
            let share = 1.0 / rounds as f64;
            gradients = gradients.map(|gradient| gradient * share);
            loss = loss * share;
        }
        let [factor, gradient_norm] = clip_global_norm(&gradients, train.clip);
        let learning_rate = train.rate(self.progress.step, share);
        let model = self.model.clone();
        self.model = self.optimizer.step(learning_rate, model, gradients, &factor, &self.device)?;
        self.progress.step += 1;
        self.progress.random = self.random.state();
        self.progress.bytes += (rounds * train.batch * context) as u64;
        Ok(StepReport { loss, gradient_norm, learning_rate })
    }

    /// Bits per byte on evenly spread windows of the held-out text, or nothing where none is held out.
    ///
    /// # Errors
    ///
    /// Those of [`bits_per_byte`], and as for [`step`](Self::step).
    pub fn evaluate(&self, sequences: usize) -> Result<Option<f64>> {
        let text = &self.corpus.validation;
        if text.is_empty() {
            return Ok(None);
        }
        let device = self.device.clone().inner();
        bits_per_byte(&self.seen()?.valid(), text, sequences, &device).map(Some)
    }

    /// What the parts of the model do on the first windows of the held-out text, or of the text that is trained on
    /// where none is held out.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn statistics(&self) -> Result<Vec<Statistic>> {
        let context = self.config.context();
        let Corpus { train, validation } = &self.corpus;
        let text = if validation.is_empty() { train } else { validation };
        let starts = even_starts(text.len(), context, 8);
        let device = self.device.clone().inner();
        let batch = Batch::at(text, &starts, context, &device);
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
/// When the text is not longer than the model's context, the loss of a window is not finite, or the device fails.
pub fn bits_per_byte(model: &Model, text: &[u8], sequences: usize, device: &Device) -> Result<f64> {
    let context = model.context();
    if text.len() <= context {
        return Err(TextFault::Context { part: "evaluated", len: text.len(), context }.into());
    }
    let starts = even_starts(text.len(), context, sequences);
    let mut nats = 0.0;
    for starts in starts.chunks(32) {
        let batch = Batch::at(text, starts, context, device);
        let loss = model.loss(batch.bytes, batch.targets)?;
        let loss = loss.try_into_scalar::<f64>().map_err(Error::failed("bits_per_byte"))?;
        if !loss.is_finite() {
            let bytes = starts[0]..starts[starts.len() - 1] + context;
            return Err(Error::Evaluation { loss, bytes });
        }
        nats += loss * starts.len() as f64;
    }
    Ok(nats / starts.len() as f64 / std::f64::consts::LN_2)
}

/// How a run is driven.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Where checkpoint and metrics go.
    pub out: PathBuf,
    /// Stop after this long instead of after `train.steps`.
    pub budget: Option<Duration>,
}

/// Where a run stands at a line of its log.
#[derive(Debug, Clone, Copy)]
pub struct Milestone<'a> {
    /// The line.
    pub record: &'a Record,
    /// Bits per byte on the held-out text as last measured, in this record or an earlier one.
    pub validation_bpb: Option<f64>,
    /// How much of the run is over, from 0 to 1.
    pub share: f64,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Bits per byte on the held-out text; nothing where none is held out.
    pub validation_bpb: Option<f64>,
    /// Optimiser steps taken in all.
    pub steps: usize,
    /// Bytes trained on in all.
    pub bytes: u64,
    /// Seconds of training, evaluations aside.
    pub seconds: f64,
    /// Bytes trained on in a second, over the whole run.
    pub bytes_per_second: f64,
    /// Bytes that a step took at its peak, the most of the log, as [`memory`](crate::memory) says for the device.
    pub peak_memory: Option<u64>,
    /// Times a transform met `|b| < epsilon`; with gradient checkpointing a step's count twice.
    pub degenerate_hits: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// The file a run leaves its checkpoint in.
pub fn checkpoint_path(out: &Path) -> PathBuf {
    out.join("checkpoint.safetensors")
}

/// Trains to the end, or until `interrupted` is set: then the checkpoint is saved all the same. `on_log` sees each line
/// of the log as it is written.
///
/// A log line falls on every multiple of `train.log_every`, wherever the run began, and on the last step.
///
/// # Errors
///
/// When nothing can be written to the output's directory (before the first step), a step fails, the loss or the norm of
/// the gradient is no longer finite (the step is named, and the checkpoint from before it stays), or a file cannot be
/// written.
pub fn run(
    trainer: &mut Trainer,
    options: &RunOptions,
    interrupted: &AtomicBool,
    mut on_log: impl FnMut(&Milestone<'_>) + Send,
) -> Result<(Summary, Metrics)> {
    claim_directory(&options.out)?;
    let mut metrics = Metrics::open(&options.out, trainer.progress.step)?;
    let mut saved = None;
    let (device, operations) = (trainer.device.clone(), trainer.operations());
    let trained = on_threads(&device, operations, || {
        let mut log = Log { metrics: &mut metrics, on_log: &mut on_log };
        steps(trainer, options, interrupted, &mut log, &mut saved)
    });
    if let Err(error) = trained.flatten() {
        // The log shows the way there. If it cannot be written either, the first error says more.
        let _ = metrics.write();
        return Err(error).within(|| kept(&options.out, saved));
    }
    // What was trained is on disk before anything else can fail.
    trainer.save(&checkpoint_path(&options.out))?;
    metrics.write()?;
    let validation_bpb = trainer.evaluate(trainer.config.train.eval_sequences)?;
    let seconds = trainer.progress.seconds;
    let summary = Summary {
        validation_bpb,
        steps: trainer.progress.step,
        bytes: trainer.progress.bytes,
        seconds,
        bytes_per_second: trainer.progress.bytes as f64 / seconds.max(1e-9),
        peak_memory: metrics.records().iter().filter_map(|record| record.peak_memory).max(),
        degenerate_hits: trainer.model.degenerate_hits(),
        interrupted: interrupted.load(Ordering::Relaxed),
    };
    Ok((summary, metrics))
}

/// What is left of a run that failed.
fn kept(out: &Path, saved: Option<usize>) -> String {
    let checkpoint = checkpoint_path(out);
    match saved {
        Some(step) => {
            format!("training failed; the checkpoint of step {step} is in {}", checkpoint.display())
        }
        None if checkpoint.exists() => {
            format!("training failed; {} is as it was", checkpoint.display())
        }
        None => "training failed before its first checkpoint".to_owned(),
    }
}

/// Where the lines of a run go.
struct Log<'a> {
    metrics: &'a mut Metrics,
    on_log: &'a mut (dyn FnMut(&Milestone<'_>) + Send),
}

/// The steps of a run; `saved` is the last one that a checkpoint was written at.
fn steps(
    trainer: &mut Trainer,
    options: &RunOptions,
    interrupted: &AtomicBool,
    log: &mut Log<'_>,
    saved: &mut Option<usize>,
) -> Result<()> {
    let train = trainer.config.train.clone();
    let step_bytes = (train.accumulation * train.batch * trainer.config.context()) as f64;
    let trained_before = trainer.progress.seconds;
    let mut clock = Duration::ZERO;
    let mut window = Window::after(trainer.progress.step);
    let mut memory = Watch::new(&trainer.device);
    let mut latest = None;
    loop {
        let step = trainer.progress.step;
        let share = match options.budget {
            Some(budget) => clock.as_secs_f64() / budget.as_secs_f64(),
            None => step as f64 / train.steps as f64,
        };
        let over = options.budget.map_or(step >= train.steps, |budget| clock >= budget);
        if over || interrupted.load(Ordering::Relaxed) {
            // The end of a run that was interrupted or timed is checked like any other.
            return window.settle();
        }
        let start = Instant::now();
        memory.begin();
        let report = trainer.step(share).within(|| format!("in step {}", step + 1))?;
        memory.end();
        let step = trainer.progress.step;
        let last = options.budget.is_none() && step >= train.steps;
        let logs = step.is_multiple_of(train.log_every) || last;
        let saves = train.checkpoint_every > 0 && step.is_multiple_of(train.checkpoint_every);
        window.add(&report);
        // Reading the losses waits for the device, so it happens once in a while; with a time budget every step is
        // waited for, or the clock would not see it. No checkpoint is written before they are known to be good.
        if logs || saves || options.budget.is_some() || window.pending.len() >= UNREAD {
            window.settle()?;
        }
        clock += start.elapsed();
        trainer.progress.seconds = trained_before + clock.as_secs_f64();
        window.elapsed += start.elapsed();
        if logs {
            let peak_memory = memory.take();
            let evaluates =
                train.eval_every > 0 && step / train.eval_every > window.first / train.eval_every;
            let validation_bpb =
                if evaluates { trainer.evaluate(train.eval_sequences)? } else { None };
            let record = Record {
                step,
                train_bpb: window.nats / window.steps() as f64 / std::f64::consts::LN_2,
                validation_bpb,
                learning_rate: report.learning_rate,
                gradient_norm: window.norm,
                bytes_per_second: window.steps() as f64 * step_bytes
                    / window.elapsed.as_secs_f64().max(1e-9),
                seconds: trainer.progress.seconds,
                peak_memory,
            };
            latest = validation_bpb.or(latest);
            (log.on_log)(&Milestone { record: &record, validation_bpb: latest, share });
            log.metrics.push(record);
            window = Window::after(step);
        }
        if saves {
            trainer.save(&checkpoint_path(&options.out))?;
            *saved = Some(step);
            log.metrics.write()?;
        }
    }
}

/// So many steps may be under way before their losses are read.
const UNREAD: usize = 64;

/// The steps since the last log line.
struct Window {
    /// The step before the first of them.
    first: usize,
    elapsed: Duration,
    /// Losses and norms that are still on the device.
    pending: Vec<Tensor<1>>,
    /// The losses and norms that have been read.
    read: usize,
    /// The sum of their losses.
    nats: f64,
    /// The last norm.
    norm: f64,
}

impl Window {
    fn after(first: usize) -> Self {
        let pending = Vec::new();
        Self { first, elapsed: Duration::ZERO, pending, read: 0, nats: 0.0, norm: 0.0 }
    }

    fn steps(&self) -> usize {
        self.read + self.pending.len()
    }

    fn add(&mut self, report: &StepReport) {
        self.pending.push(Tensor::cat(vec![report.loss.clone(), report.gradient_norm.clone()], 0));
    }

    /// Reads what is pending, and names the first step that went wrong.
    fn settle(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let values = Tensor::cat(std::mem::take(&mut self.pending), 0);
        let values = values.try_into_data_as::<f64>().map_err(Error::failed("train::run"))?;
        let values: Vec<f64> = values.iter::<f64>().collect();
        for &[nats, norm] in values.as_chunks().0 {
            self.read += 1;
            let step = self.first + self.read;
            for (quantity, value) in [("loss", nats), ("norm of the gradient", norm)] {
                if !value.is_finite() {
                    return Err(Error::Diverged { quantity, value, step });
                }
            }
            self.nats += nats;
            self.norm = norm;
        }
        Ok(())
    }
}
