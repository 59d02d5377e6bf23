//! How long mixers of positions take, beside attention of the same width, as sequences grow.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Distribution, Tensor};
use serde::Serialize;

use crate::{
    layers::{
        CausalSelfAttention, ResolventConfig, ResolventForm, ResolventMixer, SequenceContext,
        SpectralConfig, SpectralMixer,
    },
    random::Random,
};

/// What is measured.
#[derive(Debug, Clone)]
pub struct SpeedOptions {
    /// Positions of a sequence.
    pub lengths: Vec<usize>,
    /// Channels.
    pub width: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Sequences.
    pub batch: usize,
    /// Timed calls, of which the median counts.
    pub calls: usize,
}

/// How long one mixer takes.
#[derive(Debug, Clone, Serialize)]
pub struct MixerTime {
    /// Which.
    pub mixer: &'static str,
    /// Milliseconds forward.
    pub forward: f64,
    /// Milliseconds forward and backward.
    pub both: f64,
}

/// Every mixer at one length.
#[derive(Debug, Clone, Serialize)]
pub struct SpeedRow {
    /// Positions of a sequence.
    pub length: usize,
    /// Attention first.
    pub times: Vec<MixerTime>,
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
    let SpeedOptions { width, heads, batch, calls, .. } = *options;
    ensure!(
        width > 0 && heads > 0 && width.is_multiple_of(heads) && batch > 0 && calls > 0,
        "width, heads, batch and calls must be at least 1, and width a multiple of heads"
    );
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
        ensure!(length > 0, "a length must be at least 1");
        let context = SequenceContext::new(length, width / heads, false, &device);
        // Filters as long as the sequence.
        let mut spectral = |config: SpectralConfig| {
            SpectralMixer::new(&config, [width, length], 1.0, &mut random, &device)
        };
        let (plain, full) = (spectral(SpectralConfig::plain())?, spectral(SpectralConfig::full())?);
        let x = Tensor::<3>::random([batch, length, width], Distribution::Default, &device);
        let time = |mixer, forward: &dyn Fn(Tensor<3>) -> Result<Tensor<3>>| {
            let [forward, both] = timed(&x, calls, forward)?;
            Ok(MixerTime { mixer, forward, both })
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

/// Median milliseconds forward, and forward and backward, each with one number read back, after one call
/// that is not counted.
fn timed(
    x: &Tensor<3>,
    calls: usize,
    forward: &dyn Fn(Tensor<3>) -> Result<Tensor<3>>,
) -> Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for call in 0..=calls {
        for (backward, times) in times.iter_mut().enumerate() {
            let x = if backward == 1 { x.clone().require_grad() } else { x.clone().detach() };
            let start = Instant::now();
            let y = forward(x.clone())?.sum();
            let value = if backward == 1 {
                let gradients = y.backward();
                // Blocks as long as the sequence leave nothing to read, and no gradient.
                x.grad(&gradients).map_or_else(|| y.inner(), Tensor::sum)
            } else {
                y.inner()
            };
            let value = value.try_into_scalar::<f64>().context("the device failed")?;
            let elapsed = start.elapsed().as_secs_f64() * 1e3;
            ensure!(value.is_finite(), "the sum of the results is {value}");
            if call > 0 {
                times.push(elapsed);
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

/// The rows as a Markdown table: milliseconds forward and, after the stroke, forward and backward, and how many
/// times as long attention takes.
pub fn markdown(rows: &[SpeedRow]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let names: Vec<_> = first.times.iter().map(|time| time.mixer).collect();
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
