//! How long a mixer of positions takes, beside attention of the same width, as sequences grow.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Distribution, Tensor};
use serde::Serialize;

use crate::{
    layers::{
        CausalSelfAttention, ResolventConfig, ResolventForm, ResolventMixer, SequenceContext,
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

/// Milliseconds of one length.
#[derive(Debug, Clone, Serialize)]
pub struct SpeedRow {
    /// Positions of a sequence.
    pub length: usize,
    /// Attention, forward.
    pub attention_forward: f64,
    /// The left-going resolvent mixer, forward.
    pub left_forward: f64,
    /// The blocked one, forward.
    pub blocked_forward: f64,
    /// Attention, forward and backward.
    pub attention: f64,
    /// The left-going resolvent mixer, forward and backward.
    pub left: f64,
    /// The blocked one, forward and backward.
    pub blocked: f64,
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
        let x = Tensor::<3>::random([batch, length, width], Distribution::Default, &device);
        let time = |forward: &dyn Fn(Tensor<3>) -> Result<Tensor<3>>| timed(&x, calls, forward);
        let [attention_forward, attention] = time(&|x| Ok(attention.forward(x, &context)?))?;
        let [left_forward, left] = time(&|x| Ok(left.forward(x)?))?;
        let [blocked_forward, blocked] = time(&|x| Ok(blocked.forward(x)?))?;
        let row = SpeedRow {
            length,
            attention_forward,
            left_forward,
            blocked_forward,
            attention,
            left,
            blocked,
        };
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

/// The rows as a Markdown table.
pub fn markdown(rows: &[SpeedRow]) -> String {
    let mut text = "| N | attention | left | blocked | attention + backward | left + backward | blocked + \
                    backward | attention/left | with backward |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            row.length,
            row.attention_forward,
            row.left_forward,
            row.blocked_forward,
            row.attention,
            row.left,
            row.blocked,
            row.attention_forward / row.left_forward,
            row.attention / row.left
        );
    }
    text
}
