//! How long mixers of positions take, beside attention of the same width, as sequences grow; the same of whole models;
//! and what generation gains from a state.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Context, Result, ensure};
use burn::{
    module::Module as _,
    tensor::{Device, Distribution, Int, Tensor, TensorData},
};
use serde::Serialize;
use wavecube_burn::CacheType;
use wavecube_models::{
    config::Config,
    core_config::CoreConfig,
    data::Corpus,
    layers::{
        CausalSelfAttention, ResolventConfig, ResolventForm, ResolventMixer, Room, SequenceContext,
        SpectralConfig, SpectralMixer,
    },
    model::{Architecture, Model},
    presets::Preset,
    random::Random,
    threads::{on_threads, threads},
    train::Trainer,
};

/// What is measured.
#[derive(Debug, Clone)]
pub struct SpeedOptions {
    /// Positions of a sequence.
    pub lengths: Vec<usize>,
    /// Channels.
    pub width: usize,
    /// Blocks of whole models.
    pub layers: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Sequences.
    pub batch: usize,
    /// Timed calls, of which the median counts.
    pub calls: usize,
    /// Whether generation is also timed without a state.
    pub recompute: bool,
    /// How generation stores keys and values.
    pub cache: CacheType,
}

/// How long one mixer or model takes.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// Which.
    pub name: &'static str,
    /// Milliseconds forward.
    pub forward: f64,
    /// Milliseconds forward and backward; of a model a step of training.
    pub both: f64,
}

/// Every mixer or model at one length.
#[derive(Debug, Clone, Serialize)]
pub struct SpeedRow {
    /// Positions of a sequence.
    pub length: usize,
    /// Attention first.
    pub times: Vec<Timing>,
}

/// Generation of texts as long as a model's context, from their first byte to their last.
#[derive(Debug, Clone, Serialize)]
pub struct GenerationRow {
    /// Which model.
    pub model: String,
    /// Bytes of the text.
    pub length: usize,
    /// Bytes a second of all texts together from a state, a position a byte.
    pub kept: f64,
    /// The same where the model runs over the texts again for every byte, if that was asked for.
    pub recomputed: Option<f64>,
}

/// Training of one model.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingRow {
    /// Which model.
    pub model: String,
    /// Positions of a sequence.
    pub length: usize,
    /// Threads that it ran on, on the CPU backend.
    pub threads: usize,
    /// Positions trained on in a second, by the median of the steps.
    pub tokens_per_second: f64,
}

/// The models that [`measure_models`] times: what they are called, and their presets.
const TRAINING: [(&str, &str); 5] = [
    ("attention", "attention"),
    ("ResNet-BK", "bk"),
    ("spectral, no cure", "spectral-plain"),
    ("spectral", "spectral"),
    ("spectral, every cure", "spectral-full"),
];

impl SpeedOptions {
    fn validate(&self) -> Result<()> {
        let Self { width, heads, layers, batch, calls, .. } = *self;
        let counts = [width, heads, layers, batch, calls];
        ensure!(
            !counts.contains(&0) && width.is_multiple_of(heads),
            "width, heads, layers, batch and calls must be at least 1, and width a multiple of heads"
        );
        ensure!(!self.lengths.contains(&0), "a length must be at least 1");
        Ok(())
    }

    /// Models of every kind, of these sizes, that see so many bytes.
    fn sizes(&self, context: usize) -> Config {
        let Self { width, layers, heads, batch, .. } = *self;
        let mut config = Config::default().with_every_core(|core| CoreConfig {
            context,
            d_model: width,
            layers,
            ..core
        });
        config.lct_gpt.heads = heads;
        config.train.batch = batch;
        config
    }

    /// The model of a preset.
    fn config(&self, preset: &str, context: usize) -> Result<Config> {
        let preset = Preset::named(preset).with_context(|| format!("no preset `{preset}`"))?;
        let config = preset.of(&self.sizes(context));
        config.validate()?;
        Ok(config)
    }

    /// The transformer, and every model as it is configured without further notice.
    fn kinds(&self, context: usize) -> Result<Vec<(String, Config)>> {
        let transformer = ("attention".to_owned(), self.config("attention", context)?);
        let mut all = vec![transformer];
        for &model in Architecture::ALL {
            let config = Config { model, ..self.sizes(context) };
            config.validate()?;
            all.push((model.to_string(), config));
        }
        Ok(all)
    }
}

/// Times the generation of a batch of texts of every length, by untrained models, each length the context
/// of its models; `on_row` sees each row as it is ready. Calls are not looked at.
///
/// # Errors
///
/// As [`measure`].
pub fn measure_generation(
    options: &SpeedOptions,
    device: &Device,
    mut on_row: impl FnMut(&GenerationRow),
) -> Result<Vec<GenerationRow>> {
    options.validate()?;
    let mut rows = Vec::new();
    for &length in &options.lengths {
        for (model, config) in options.kinds(length)? {
            let again = || bytes_a_second(&config, device, None);
            let row = GenerationRow {
                model,
                length,
                kept: bytes_a_second(&config, device, Some(options.cache))?,
                recomputed: options.recompute.then(again).transpose()?,
            };
            on_row(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Times steps of training, as [`run`](wavecube_models::train::run) takes them, of the model of a preset, or of one of
/// every kind, each length the context of its models; `on_row` sees each row as it is ready.
///
/// # Errors
///
/// As [`measure`].
pub fn measure_training(
    options: &SpeedOptions,
    preset: Option<&str>,
    device: &Device,
    mut on_row: impl FnMut(&TrainingRow),
) -> Result<Vec<TrainingRow>> {
    options.validate()?;
    let mut rows = Vec::new();
    for &length in &options.lengths {
        let text: Vec<u8> = (0..4 * length + 4).map(|t| (t * t % 251) as u8).collect();
        let chosen = match preset {
            Some(name) => vec![(name.to_owned(), options.config(name, length)?)],
            None => options.kinds(length)?,
        };
        for (model, config) in chosen {
            let corpus = Corpus::split(text.clone(), 0.0)?;
            let mut trainer = Trainer::new(&config, corpus, device)?;
            let operations = trainer.operations();
            let milliseconds = on_threads(device, operations, || {
                median(options.calls, || {
                    let report = trainer.step(0.5)?;
                    report.loss.try_into_scalar::<f64>().context("the device failed")
                })
            })??;
            let row = TrainingRow {
                model,
                length,
                threads: threads(operations),
                tokens_per_second: (options.batch * length) as f64 / milliseconds * 1e3,
            };
            on_row(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Times whole models of as many parameters as the first, forward and a step of training, each length the context of
/// its models; `on_row` sees each row as it is ready.
///
/// # Errors
///
/// As [`measure`].
pub fn measure_models(
    options: &SpeedOptions,
    device: &Device,
    mut on_row: impl FnMut(&SpeedRow),
) -> Result<Vec<SpeedRow>> {
    options.validate()?;
    let mut rows = Vec::new();
    for &length in &options.lengths {
        let text: Vec<u8> = (0..4 * length + 4).map(|t| (t * t % 251) as u8).collect();
        let corpus = Corpus::split(text.clone(), 0.5)?;
        let seen: Vec<i32> = (0..options.batch)
            .flat_map(|_| text[..length].iter().map(|&byte| i32::from(byte)))
            .collect();
        let seen = TensorData::new(seen, [options.batch, length]);
        let time = |(name, preset)| {
            let config = options.config(preset, length)?;
            let mut trainer = Trainer::new(&config, corpus.clone(), device)?;
            let model = trainer.model().valid();
            let bytes = Tensor::<2, Int>::from_data(seen.clone(), device);
            let forward = median(options.calls, || {
                let logits = model.forward(bytes.clone())?;
                logits.sum().try_into_scalar::<f64>().context("the device failed")
            })?;
            let both = median(options.calls, || {
                let report = trainer.step(0.5)?;
                let loss = report.loss.try_into_scalar::<f64>().context("the device failed")?;
                let norm = report.gradient_norm.try_into_scalar::<f64>();
                Ok(loss + norm.context("the device failed")?)
            })?;
            Ok(Timing { name, forward, both })
        };
        let row =
            SpeedRow { length, times: TRAINING.into_iter().map(time).collect::<Result<_>>()? };
        on_row(&row);
        rows.push(row);
    }
    Ok(rows)
}

/// Of texts of the model's context, after their first halves have gone through once to warm up.
fn bytes_a_second(config: &Config, device: &Device, kept: Option<CacheType>) -> Result<f64> {
    let model = Model::new(config, &mut Random::new(1), device)?.valid();
    let (batch, length) = (config.train.batch, config.context());
    let text: Vec<i32> = (0..length as i32).map(|t| t * 7 % 256).collect();
    let pass = |length: usize| -> Result<f64> {
        let start = Instant::now();
        let room = |cache| Room { texts: batch, positions: config.context(), cache };
        let mut past = kept.map(|cache| model.begin(&room(cache))).transpose()?;
        for t in 0..length {
            let from = if past.is_some() { t } else { 0 };
            let seen = TensorData::new(text[from..=t].repeat(batch), [batch, t + 1 - from]);
            let seen = Tensor::<2, Int>::from_data(seen, device);
            let logits = match &mut past {
                Some(past) => model.advance(seen, past)?,
                None => model.next_logits(seen)?,
            };
            let logits = logits.try_into_data_as::<f32>().context("the device failed")?;
            ensure!(logits.iter::<f32>().all(f32::is_finite), "a logit is not finite");
        }
        Ok((batch * length) as f64 / start.elapsed().as_secs_f64())
    };
    pass(length.div_ceil(2))?;
    pass(length)
}

/// Times every length; `on_row` sees each row as it is ready.
///
/// # Errors
///
/// When a size is not valid, the device fails, or a result is not finite.
pub fn measure(
    options: &SpeedOptions,
    device: &Device,
    mut on_row: impl FnMut(&SpeedRow),
) -> Result<Vec<SpeedRow>> {
    options.validate()?;
    let SpeedOptions { width, heads, batch, calls, .. } = *options;
    let device = device.clone().autodiff();
    let mut random = Random::new(1);
    let attention = CausalSelfAttention::new(width, heads, 1.0, &mut random, &device);
    let mut mixer = |form| {
        let config = ResolventConfig { form, ..ResolventConfig::default() };
        ResolventMixer::new(&config, width, 1.0, &mut random, &device)
    };
    let (left, blocked) = (mixer(ResolventForm::Left)?, mixer(ResolventForm::Blocked)?);
    let mut rows = Vec::new();
    for &length in &options.lengths {
        let context = SequenceContext::new(length, width / heads, false, &device)?;
        // Filters as long as the sequence.
        let mut spectral = |config: SpectralConfig| {
            SpectralMixer::new(&config, [width, length], 1.0, &mut random, &device)
        };
        let (plain, full) = (spectral(SpectralConfig::plain())?, spectral(SpectralConfig::full())?);
        let x = Tensor::<3>::random([batch, length, width], Distribution::Default, &device);
        let time = |name, forward: &dyn Fn(Tensor<3>) -> Result<Tensor<3>>| {
            let [forward, both] = timed(&x, calls, forward)?;
            Ok(Timing { name, forward, both })
        };
        let times: Result<Vec<_>> = [
            time("attention", &|x| Ok(attention.forward(x, &context)?)),
            time("resolvent", &|x| Ok(left.forward(x)?)),
            time("blocked resolvent", &|x| Ok(blocked.forward(x)?)),
            time("spectral, no cure", &|x| Ok(plain.forward(x)?)),
            time("spectral, every cure", &|x| Ok(full.forward(x)?)),
        ]
        .into_iter()
        .collect();
        let row = SpeedRow { length, times: times? };
        on_row(&row);
        rows.push(row);
    }
    Ok(rows)
}

/// Median milliseconds forward, and forward and backward.
fn timed(
    x: &Tensor<3>,
    calls: usize,
    forward: &dyn Fn(Tensor<3>) -> Result<Tensor<3>>,
) -> Result<[f64; 2]> {
    let read = |value: Tensor<1>| value.try_into_scalar::<f64>().context("the device failed");
    let one_way = median(calls, || read(forward(x.clone().detach())?.sum().inner()))?;
    let both = median(calls, || {
        let x = x.clone().detach().require_grad();
        let y = forward(x.clone())?.sum();
        let gradients = y.backward();
        // Blocks as long as the sequence leave nothing to read, and no gradient.
        read(x.grad(&gradients).map_or_else(|| y.inner(), Tensor::sum))
    })?;
    Ok([one_way, both])
}

/// Median milliseconds of calls that read one number back, after one that is not counted.
fn median(calls: usize, mut call: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut times = Vec::with_capacity(calls);
    for index in 0..=calls {
        let start = Instant::now();
        let value = call()?;
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        ensure!(value.is_finite(), "a result is {value}");
        if index > 0 {
            times.push(elapsed);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// The rows as a Markdown table: milliseconds forward and, after the stroke, forward and backward, and how many
/// times as long attention takes.
pub fn markdown(rows: &[SpeedRow]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let names: Vec<_> = first.times.iter().map(|time| time.name).collect();
    let mut text = format!("| N | {} |\n|--:|{}\n", names.join(" | "), "--:|".repeat(names.len()));
    for row in rows {
        // Writing to a string cannot fail.
        let _ = write!(text, "| {} |", row.length);
        for (i, time) in row.times.iter().enumerate() {
            let _ = write!(text, " {:.2} / {:.2}", time.forward, time.both);
            if i > 0 {
                let [forward, both] =
                    [row.times[0].forward / time.forward, row.times[0].both / time.both];
                let _ = write!(text, " ({forward:.2}×, {both:.2}×)");
            }
            text.push_str(" |");
        }
        text.push('\n');
    }
    text
}

/// The rows as a Markdown table: positions trained on in a second.
pub fn training_markdown(rows: &[TrainingRow]) -> String {
    let mut text = "| N | model | threads | tokens/s |\n|--:|---|--:|--:|\n".to_owned();
    for TrainingRow { model, length, threads, tokens_per_second } in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {length} | {model} | {threads} | {tokens_per_second:.0} |");
    }
    text
}

/// The rows as a Markdown table: bytes a second, and how many times as many a state gives.
pub fn generation_markdown(rows: &[GenerationRow]) -> String {
    let mut text =
        "| bytes | model | from a state | recomputed | times |\n|--:|---|--:|--:|--:|\n".to_owned();
    for GenerationRow { model, length, kept, recomputed } in rows {
        // Writing to a string cannot fail.
        let _ = match recomputed {
            Some(again) => {
                let times = kept / again;
                writeln!(text, "| {length} | {model} | {kept:.0} | {again:.0} | {times:.1} |")
            }
            None => writeln!(text, "| {length} | {model} | {kept:.0} | | |"),
        };
    }
    text
}
