//! A text that grows.

use super::{BadLogits, Sampling, utf8::Utf8};
use crate::random::Random;

/// A prompt and what has been drawn behind it.
#[derive(Debug)]
pub(super) struct Text {
    random: Random,
    bytes: Vec<u8>,
    /// How many bytes the prompt has.
    prompt: usize,
    /// How many bytes, from the first on, have been handed out or were the prompt.
    released: usize,
    utf8: Utf8,
    ended: bool,
}

impl Text {
    pub(super) fn new(prompt: &str, seed: u64) -> Self {
        // A text begins after a line break; an empty prompt has to begin somewhere.
        let bytes = if prompt.is_empty() { b"\n".to_vec() } else { prompt.as_bytes().to_vec() };
        Self {
            random: Random::new(seed),
            prompt: bytes.len(),
            released: bytes.len(),
            bytes,
            utf8: Utf8::default(),
            ended: false,
        }
    }

    /// Prompt and text.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it has all its bytes or came to a stop string.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// How many bytes have been drawn.
    pub(super) fn drawn(&self) -> usize {
        self.bytes.len() - self.prompt
    }

    /// Draws the next byte by its logits; returns what has become certain of the text. Where none can be drawn, the
    /// text has ended.
    pub(super) fn grow(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
    ) -> Result<String, BadLogits> {
        let room = sampling.length - self.drawn();
        let allowed = |byte: u8| self.utf8.allows(byte, room);
        let byte = sampling
            .draw(logits, &self.bytes, allowed, &mut self.random)
            .inspect_err(|_| self.ended = true)?;
        self.utf8.push(byte);
        self.bytes.push(byte);
        let text = &self.bytes[self.prompt..];
        let stop = sampling.stop.iter().filter(|stop| text.ends_with(stop)).map(Vec::len).max();
        self.ended = stop.is_some() || room == 1;
        let uncertain = match stop {
            Some(stop) => stop,
            None if self.ended => 0,
            None => held_back(text, &sampling.stop),
        };
        Ok(self.release(self.bytes.len() - uncertain))
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
}

/// How many bytes at the end of `text` may be the begin of one of the stop strings.
fn held_back(text: &[u8], stops: &[Vec<u8>]) -> usize {
    let begins = |stop: &Vec<u8>| {
        (1..stop.len().min(text.len() + 1)).rev().find(|&n| text.ends_with(&stop[..n]))
    };
    stops.iter().filter_map(begins).max().unwrap_or(0)
}
