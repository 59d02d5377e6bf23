//! Training: the loop around `AdamW`.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use burn::{
    module::Module,
    tensor::{Device, FloatDType, Tensor},
};

use crate::{
    checkpoint::{self, Checkpoint, Progress},
    config::Config,
    data::{Batch, Corpus, even_starts},
    error::{Context as _, Error, Result, TextFault},
    memory::Watch,
    metrics::{Metrics, Record},
    model::{Differentiated, Model, Statistic, WayBack},
    optimizer::{Flat, FlatAdamW, clip_global_norm},
    output::claim_directory,
    random::Random,
    threads::on_threads,
    training_view::training_view,
};

/// A model in training.
pub struct Trainer {
    config: Config,
    device: Device,
    /// The type of products.
    dtype: FloatDType,
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
    /// When the configuration is not valid, the text is shorter than the model's context, or the device does not
    /// compute in `train.precision`.
    pub fn new(config: &Config, corpus: Corpus, device: &Device) -> Result<Self> {
        config.validate()?;
        corpus.check_context(config.context())?;
        let dtype = config.train.precision.on(device)?;
        let device = device.clone().autodiff();
        let model = Model::new(config, &mut Random::new(config.train.seed), &device)?;
        Ok(Self {
            config: config.clone(),
            dtype,
            corpus,
            model,
            optimizer: FlatAdamW::new(&config.train),
            random: Random::new(config.train.seed ^ BATCHES),
            device,
            progress: Progress::default(),
        })
    }

    /// Goes on where the checkpoint at `path` stopped.
    ///
    /// # Errors
    ///
    /// When the checkpoint cannot be read or belongs to another configuration, and those of [`new`](Self::new).
    pub fn resume(path: &Path, config: &Config, corpus: Corpus, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::read(path)?;
        checkpoint.check_resumes(config)?;
        corpus.check_context(config.context())?;
        let dtype = config.train.precision.on(device)?;
        let device = device.clone().autodiff();
        let model = checkpoint.model(&device)?;
        let optimizer = checkpoint.optimizer(&model, &device)?;
        Ok(Self {
            config: config.clone(),
            dtype,
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

    /// The type that products have.
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }

    /// The model as its forward pass is: what fewer bits would leave of it, where it is trained for that, with products
    /// in `dtype`.
    fn seen(&self, dtype: FloatDType) -> Result<Model> {
        let train = &self.config.train;
        let options = train.quantize_aware.options(train.quantize_group)?;
        training_view(&self.model, options.as_ref(), dtype)
    }

    /// One optimiser step; `share` is how much of the run is over, from 0 to 1. In `f16` it is taken again with a
    /// smaller [`LossScale`](crate::mixed_precision::LossScale) where gradients are not finite, and reads their norm.
    ///
    /// # Errors
    ///
    /// When a transform parameter is no longer finite, or a weight where the model is trained for fewer bits.
    pub fn step(&mut self, share: f64) -> Result<StepReport> {
        let seen = self.seen(self.dtype)?;
        let before = self.random.clone();
        let (gradients, loss, factor, gradient_norm) = loop {
            let (gradients, loss) = self.gradients(&seen)?;
            let [factor, norm] = clip_global_norm(&gradients, self.config.train.clip);
            if self.settles(&loss, &norm)? {
                break (gradients, loss, factor, norm);
            }
            self.random = before.clone();
        };
        let train = &self.config.train;
        let learning_rate = train.rate(self.progress.step, share);
        let model = self.model.clone();
        self.model = self.optimizer.step(learning_rate, model, gradients, &factor, &self.device)?;
        self.progress.step += 1;
        self.progress.random = self.random.state();
        self.progress.bytes += (train.accumulation * train.batch * self.config.context()) as u64;
        Ok(StepReport { loss, gradient_norm, learning_rate })
    }

    /// The mean gradients and the mean loss of the batches of a step.
    fn gradients(&mut self, seen: &Model) -> Result<(Flat, Tensor<1>)> {
        let train = &self.config.train;
        let loss_scale = self.scales().then(|| self.progress.loss_scale.factor());
        let back = WayBack { checkpointing: train.gradient_checkpointing, loss_scale };
        let rounds = train.accumulation;
        let mut sum: Option<(Flat, Tensor<1>)> = None;
        for _ in 0..rounds {
            let Batch { bytes, targets } = Batch::sample(
                &self.corpus.train,
                train.batch,
                self.config.context(),
                &mut self.random,
                &self.device,
            );
            let Differentiated { nats, gradients } =
                seen.differentiate(bytes, targets, &mut self.random, back)?;
            let [a, b] = gradients.flat(&self.model, &self.device);
            sum = Some(match sum {
                None => ([a, b], nats),
                Some(([c, d], sum)) => ([c + a, d + b], sum + nats),
            });
        }
        let Some((mut gradients, mut loss)) = sum else {
            return Err(Error::Value {
                name: "train.accumulation",
                expected: "at least 1",
                found: rounds.to_string(),
            });
        };
        if rounds > 1 || loss_scale.is_some() {
            let share = 1.0 / rounds as f64;
            let unscaled = share / loss_scale.unwrap_or(1.0);
            gradients = gradients.map(|gradient| gradient * unscaled);
            loss = loss * share;
        }
        Ok((gradients, loss))
    }

    /// Whether the loss is scaled.
    fn scales(&self) -> bool {
        self.dtype == FloatDType::F16
    }

    /// Whether a step stands, by its loss and the norm of its gradient.
    fn settles(&mut self, loss: &Tensor<1>, norm: &Tensor<1>) -> Result<bool> {
        if !self.scales() {
            return Ok(true);
        }
        let values = to_host(Tensor::cat(vec![loss.clone(), norm.clone()], 0))?;
        Ok(self.progress.loss_scale.settles(values[0], values[1]))
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
        bits_per_byte(&self.seen(FloatDType::F32)?.valid(), text, sequences, &device).map(Some)
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
        Ok(self.seen(FloatDType::F32)?.valid().statistics(batch.bytes)?)
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
    /// Times a transform met `|b| < epsilon`; with gradient checkpointing a step's count twice, and so do those of a step
    /// that is taken again.
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
        let values = to_host(Tensor::cat(std::mem::take(&mut self.pending), 0))?;
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

/// Losses and norms, once the device has them.
fn to_host(values: Tensor<1>) -> Result<Vec<f64>> {
    let values = values.try_into_data_as::<f64>().map_err(Error::failed("train::run"))?;
    Ok(values.iter::<f64>().collect())
}
