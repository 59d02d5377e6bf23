//! Generation: one byte after the other, always valid UTF-8.
//!
//! A [`Session`] is one text that grows. It keeps what the model has made of the text so far, where the model
//! can go on from that ([`Model::advance`]), and otherwise runs the model over the text again. Sessions know
//! nothing of each other: many side by side give what each gives alone.
//!
//! Prompts and texts may be of any length. Once a text is longer than the model's context, the model sees its last
//! bytes alone, as many as the context, and runs over them for every byte.

mod sampling;
mod utf8;

pub use sampling::Sampling;

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{
    model::{Model, Past},
    random::Random,
};
use utf8::Utf8;

/// A text that grows byte by byte.
#[derive(Debug)]
pub struct Session {
    sampling: Sampling,
    device: Device,
    random: Random,
    /// Prompt and text.
    bytes: Vec<u8>,
    /// Where the text begins.
    prompt: usize,
    /// How much of the text has been handed out.
    released: usize,
    /// What the model keeps, where it keeps anything.
    past: Option<Past>,
    utf8: Utf8,
    ended: bool,
}

impl Session {
    /// A text that goes on from `prompt`. The model must not track gradients (`valid()`).
    ///
    /// # Errors
    ///
    /// When a number of `sampling` makes no sense.
    pub fn new(model: &Model, prompt: &str, sampling: &Sampling) -> Result<Self> {
        sampling.validate()?;
        let device = burn::module::Module::devices(model)
            .into_iter()
            .next()
            .context("the model has no parameters")?;
        // A text begins after a line break; an empty prompt has to begin somewhere.
        let bytes = if prompt.is_empty() { b"\n".to_vec() } else { prompt.as_bytes().to_vec() };
        Ok(Self {
            random: Random::new(sampling.seed),
            sampling: sampling.clone(),
            device,
            prompt: bytes.len(),
            released: bytes.len(),
            bytes,
            past: model.begin()?,
            utf8: Utf8::default(),
            ended: false,
        })
    }

    /// One more byte; returns the text that has become certain, which may be nothing, or `None` after the end.
    ///
    /// Bytes that could not continue valid UTF-8 are never drawn, and no character is begun that the length has
    /// no room for. What may be the begin of a stop string is held back until it is known not to be.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn step(&mut self, model: &Model) -> Result<Option<String>> {
        let done = self.bytes.len() - self.prompt;
        if self.ended || done >= self.sampling.length {
            return Ok(None);
        }
        let logits = self.logits(model)?;
        let room = self.sampling.length - done;
        let allowed = |byte: u8| self.utf8.allows(byte, room);
        let byte = self.sampling.draw(&logits, &self.bytes, allowed, &mut self.random);
        self.utf8.push(byte);
        self.bytes.push(byte);
        let text = &self.bytes[self.prompt..];
        let stop =
            self.sampling.stop.iter().filter(|stop| text.ends_with(stop)).map(Vec::len).max();
        let certain = if let Some(stop) = stop {
            self.ended = true;
            self.bytes.len() - stop
        } else if room == 1 {
            self.bytes.len()
        } else {
            self.bytes.len() - self.held_back()
        };
        Ok(Some(self.release(certain)))
    }

    /// Hands out whole characters of the text up to `end`.
    fn release(&mut self, end: usize) -> String {
        let waiting = &self.bytes[self.released.min(end)..end];
        let whole = match std::str::from_utf8(waiting) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        self.released += whole;
        String::from_utf8_lossy(&waiting[..whole]).into_owned()
    }

    /// The bytes at the end of the text that may be the begin of a stop string.
    fn held_back(&self) -> usize {
        let text = &self.bytes[self.prompt..];
        let begins = |stop: &Vec<u8>| {
            (1..stop.len().min(text.len() + 1)).rev().find(|&n| text.ends_with(&stop[..n]))
        };
        self.sampling.stop.iter().filter_map(begins).max().unwrap_or(0)
    }

    /// The logits of the next byte: from the state where it can go on, otherwise from as much of the text as
    /// the model sees.
    fn logits(&mut self, model: &Model) -> Result<Vec<f32>> {
        let past = self.past.as_mut().filter(|_| self.bytes.len() <= model.context());
        let first = match &past {
            Some(past) => past.len(),
            None => self.bytes.len().saturating_sub(model.context()),
        };
        let values: Vec<i32> = self.bytes[first..].iter().map(|&byte| i32::from(byte)).collect();
        let time = values.len();
        let input = Tensor::<2, Int>::from_data(TensorData::new(values, [1, time]), &self.device);
        let logits = match past {
            Some(past) => model.advance(input, past)?,
            None => model.next_logits(input)?,
        };
        let logits = logits.try_into_data_as::<f32>().context("the device failed")?;
        let logits = logits.as_slice::<f32>().map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(logits.to_vec())
    }
}

/// Continues `prompt`; `on_text` is handed the text as soon as it is certain.
///
/// # Errors
///
/// Those of [`Session::new`] and [`Session::step`].
pub fn generate(
    model: &Model,
    prompt: &str,
    sampling: &Sampling,
    mut on_text: impl FnMut(&str),
) -> Result<String> {
    let mut session = Session::new(model, prompt, sampling)?;
    let mut text = String::new();
    while let Some(piece) = session.step(model)? {
        if !piece.is_empty() {
            on_text(&piece);
            text.push_str(&piece);
        }
    }
    Ok(text)
}

/// Continues many prompts of any lengths, a byte of each in turn. Text `i` is what its prompt gives alone with
/// the seed `i` above that of `sampling`.
///
/// # Errors
///
/// Those of [`generate`].
pub fn generate_all(model: &Model, prompts: &[String], sampling: &Sampling) -> Result<Vec<String>> {
    let mut sessions = Vec::with_capacity(prompts.len());
    for (i, prompt) in prompts.iter().enumerate() {
        let seed = sampling.seed.wrapping_add(i as u64);
        sessions.push(Session::new(model, prompt, &Sampling { seed, ..sampling.clone() })?);
    }
    let mut texts = vec![String::new(); prompts.len()];
    let mut going = true;
    while going {
        going = false;
        for (session, text) in sessions.iter_mut().zip(&mut texts) {
            if let Some(piece) = session.step(model)? {
                text.push_str(&piece);
                going = true;
            }
        }
    }
    Ok(texts)
}
