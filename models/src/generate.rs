//! Generation: one byte after the other, always valid UTF-8.

use anyhow::{Context, Result, ensure};
use burn::tensor::{Int, Tensor, TensorData};

use crate::{model::Model, random::Random};

/// How the next byte is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest byte.
    pub temperature: f64,
    /// Only this many of the likeliest bytes; 0 is all.
    pub top_k: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// How many bytes to generate at most.
    pub length: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 40, seed: 1, length: 400 }
    }
}

/// Continues `prompt`; `on_text` is handed each character as soon as it is complete.
///
/// Bytes that could not continue valid UTF-8 are never drawn, and no character is begun that the
/// length has no room for. The model must not track gradients (`valid()`).
///
/// # Errors
///
/// When the temperature is not a number of at least 0, or the device fails.
pub fn generate(
    model: &Model,
    prompt: &str,
    sampling: &Sampling,
    mut on_text: impl FnMut(&str),
) -> Result<String> {
    ensure!(
        sampling.temperature.is_finite() && sampling.temperature >= 0.0,
        "the temperature must be at least 0, it is {}",
        sampling.temperature
    );
    let device = burn::module::Module::devices(model)
        .into_iter()
        .next()
        .context("the model has no parameters")?;
    let context = model.context();
    let mut random = Random::new(sampling.seed);
    // A text begins after a line break; an empty prompt has to begin somewhere.
    let mut bytes = if prompt.is_empty() { b"\n".to_vec() } else { prompt.as_bytes().to_vec() };
    let mut text = String::new();
    let mut utf8 = Utf8::default();
    let mut pending = Vec::with_capacity(4);
    for done in 0..sampling.length {
        let window = &bytes[bytes.len().saturating_sub(context)..];
        let values: Vec<i32> = window.iter().map(|&byte| i32::from(byte)).collect();
        let time = values.len();
        let input = Tensor::<2, Int>::from_data(TensorData::new(values, [1, time]), &device);
        let logits = model.next_logits(input)?;
        let logits = logits
            .try_into_data_as::<f32>()
            .context("the device failed")?
            .as_slice::<f32>()
            .map_err(|error| anyhow::anyhow!("{error:?}"))?
            .to_vec();
        let room = sampling.length - done;
        let allowed = |byte: u8| utf8.allows(byte, room);
        let byte = draw(&logits, sampling, allowed, &mut random);
        utf8.push(byte);
        bytes.push(byte);
        pending.push(byte);
        if utf8.is_complete() {
            let character = String::from_utf8_lossy(&pending);
            on_text(&character);
            text.push_str(&character);
            pending.clear();
        }
    }
    Ok(text)
}

fn draw(
    logits: &[f32],
    sampling: &Sampling,
    allowed: impl Fn(u8) -> bool,
    random: &mut Random,
) -> u8 {
    let mut candidates: Vec<(u8, f64)> = (0..=u8::MAX)
        .zip(logits)
        .filter(|&(byte, _)| allowed(byte))
        .map(|(byte, &logit)| (byte, f64::from(logit)))
        .collect();
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = candidates[0];
    if sampling.temperature == 0.0 {
        return best.0;
    }
    if sampling.top_k > 0 {
        candidates.truncate(sampling.top_k);
    }
    let weight = |logit: f64| ((logit - best.1) / sampling.temperature).exp();
    let total: f64 = candidates.iter().map(|&(_, logit)| weight(logit)).sum();
    let mut left = random.uniform() * total;
    for &(byte, logit) in &candidates {
        left -= weight(logit);
        if left < 0.0 {
            return byte;
        }
    }
    best.0
}

/// Where in a character the text stands: how many bytes are missing and what the next may be.
struct Utf8 {
    missing: usize,
    next: std::ops::RangeInclusive<u8>,
}

impl Default for Utf8 {
    fn default() -> Self {
        Self { missing: 0, next: 0x80..=0xBF }
    }
}

/// The number of continuation bytes after `first` and the range of the first of them (Unicode
/// Standard, table 3-7), or `None` where no character starts with `first`.
fn character_start(first: u8) -> Option<(usize, std::ops::RangeInclusive<u8>)> {
    Some(match first {
        0x00..=0x7F => (0, 0x80..=0xBF),
        0xC2..=0xDF => (1, 0x80..=0xBF),
        0xE0 => (2, 0xA0..=0xBF),
        0xED => (2, 0x80..=0x9F),
        0xE1..=0xEF => (2, 0x80..=0xBF),
        0xF0 => (3, 0x90..=0xBF),
        0xF1..=0xF3 => (3, 0x80..=0xBF),
        0xF4 => (3, 0x80..=0x8F),
        _ => return None,
    })
}

impl Utf8 {
    fn allows(&self, byte: u8, room: usize) -> bool {
        if self.missing > 0 {
            return self.next.contains(&byte);
        }
        character_start(byte).is_some_and(|(missing, _)| missing < room)
    }

    fn push(&mut self, byte: u8) {
        if self.missing > 0 {
            self.missing -= 1;
            self.next = 0x80..=0xBF;
        } else if let Some((missing, next)) = character_start(byte) {
            *self = Self { missing, next };
        }
    }

    fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_utf8_is_ever_allowed() {
        let mut random = Random::new(3);
        for room in 1..12 {
            for _ in 0..2000 {
                let mut utf8 = Utf8::default();
                let mut bytes = Vec::new();
                for left in (1..=room).rev() {
                    let byte = loop {
                        // Continuations and long starts are likelier here than in a uniform draw.
                        let byte =
                            random.bits() as u8 | if random.below(2) == 0 { 0x80 } else { 0 };
                        if utf8.allows(byte, left) {
                            break byte;
                        }
                    };
                    utf8.push(byte);
                    bytes.push(byte);
                }
                assert!(utf8.is_complete());
                assert!(std::str::from_utf8(&bytes).is_ok(), "{bytes:?}");
            }
        }
    }
}
