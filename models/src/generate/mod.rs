//! Generation: one byte after the other, always valid UTF-8.
//!
//! A [`Session`] is texts that grow. It keeps what the model has made of them so far and goes on from that
//! ([`Model::advance`]). Texts of the same length go through the model together, and the shortest are continued first,
//! so that they catch up with the others and join them: no text is padded, and each is what it is alone, to the rounding
//! of the products of matrices. Equal prompts go through the model once. Where keys are stored in 8 or 4 bits, their
//! mean over the first text is taken off them all, so there a text depends on its company as much as on the rounding.
//!
//! Prompts and texts may be of any length. Once a text is longer than the model's context, the model sees its last
//! bytes alone, as many as the context, and runs over them for every byte.

mod sampling;
mod text;
mod utf8;

pub use sampling::{BadLogits, Sampling};

use std::fmt;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{
    error::{Error, Result},
    layers::Room,
    model::{Model, Past},
};
use text::Text;

/// How many texts are continued at a time.
const TOGETHER: usize = 64;

/// The prompts in waves of 64 that grow together, each with its sampling: text `i` of all has the seed `i` above that
/// of `sampling`.
pub fn waves<'a, P: AsRef<str>>(
    prompts: &'a [P],
    sampling: &'a Sampling,
) -> impl Iterator<Item = (&'a [P], Sampling)> {
    prompts.chunks(TOGETHER).enumerate().map(|(wave, prompts)| {
        let seed = sampling.seed.wrapping_add((wave * TOGETHER) as u64);
        (prompts, Sampling { seed, ..sampling.clone() })
    })
}

/// Texts that grow byte by byte.
#[derive(Debug)]
pub struct Session {
    sampling: Sampling,
    device: Device,
    texts: Vec<Text>,
    /// Those that have not ended, the shortest last.
    groups: Vec<Group>,
    failures: Vec<Failure>,
}

/// A text that could not go on, since no byte could be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which text.
    pub text: usize,
    /// The step of the text, from 1: the byte behind its prompt that could not be drawn.
    pub step: usize,
    /// Why.
    pub cause: BadLogits,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text {} ended at step {}: {}", self.text + 1, self.step, self.cause)
    }
}

impl std::error::Error for Failure {}

/// Texts that go through the model together: of the same length, or all longer than the context.
#[derive(Debug)]
struct Group {
    /// Their indices.
    texts: Vec<usize>,
    /// As many bytes as each has, or one more than the context.
    length: usize,
    /// What the model keeps, a row for each, of all bytes but the last; nothing for texts longer than the context.
    past: Option<Past>,
}

impl Session {
    /// Texts that go on from `prompts`, which go through the model here, text `i` with the seed `i` above that of
    /// `sampling`. The model must not track gradients (`valid()`).
    ///
    /// # Errors
    ///
    /// When a number of `sampling` makes no sense, when the device does not have its cache, and those of the model.
    pub fn new(model: &Model, prompts: &[impl AsRef<str>], sampling: &Sampling) -> Result<Self> {
        sampling.validate()?;
        let device = burn::module::Module::devices(model).into_iter().next().ok_or(
            wavecube_core::Error::Unsupported {
                op: "Session::new",
                argument: "model",
                reason: "it has no parameters, so it is on no device",
            },
        )?;
        let seeds = (0..).map(|i| sampling.seed.wrapping_add(i));
        let texts =
            prompts.iter().zip(seeds).map(|(prompt, seed)| Text::new(prompt.as_ref(), seed));
        let mut session = Self {
            sampling: sampling.clone(),
            device,
            texts: texts.collect(),
            groups: Vec::new(),
            failures: Vec::new(),
        };
        if sampling.length > 0 {
            for index in 0..session.texts.len() {
                let length = session.length(index, model);
                session.join(Group { texts: vec![index], length, past: None })?;
            }
            session.read_prompts(model)?;
        }
        Ok(session)
    }

    /// Takes the model through the prompts that fit into its context, up to their last bytes; equal ones go once.
    fn read_prompts(&mut self, model: &Model) -> Result<()> {
        let Self { groups, texts, device, sampling, .. } = self;
        let context = model.context();
        let short = |group: &&mut Group| group.length <= context;
        let lengths =
            groups.iter_mut().filter(short).map(|group| (group.length, group.texts.len()));
        let (longest, count) =
            lengths.fold((0, 0), |(most, all), (length, texts)| (most.max(length), all + texts));
        if count == 0 {
            return Ok(());
        }
        let positions = longest.saturating_add(sampling.length).min(context);
        let empty = model.begin(&Room { texts: count, positions, cache: sampling.cache })?;
        for group in groups.iter_mut().filter(short) {
            let mut different = Vec::new();
            let mut rows = Vec::with_capacity(group.texts.len());
            for &index in &group.texts {
                let bytes = texts[index].bytes();
                let known =
                    different.iter().position(|&other: &usize| texts[other].bytes() == bytes);
                rows.push(known.unwrap_or(different.len()));
                if known.is_none() {
                    different.push(index);
                }
            }
            let mut past = empty.clone();
            past.select(&(0..different.len()).collect::<Vec<_>>(), device);
            if group.length > 1 {
                let seen = input(&different, texts, device, |bytes| &bytes[..bytes.len() - 1]);
                model.advance(seen, &mut past)?;
            }
            past.select(&rows, device);
            group.past = Some(past);
        }
        Ok(())
    }

    /// One more byte for the shortest texts. Returns, with the index of each, what has become certain of it, which
    /// may be nothing; or `None` after the end of all.
    ///
    /// Bytes that could not continue valid UTF-8 are never drawn, and no character is begun that the length has
    /// no room for. What may be the begin of a stop string is held back until it is known not to be.
    ///
    /// A text whose logits are no numbers ends, and is among the [`failures`](Self::failures); the others go on.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn step(&mut self, model: &Model) -> Result<Option<Vec<(usize, String)>>> {
        let Some(mut group) = self.groups.pop() else { return Ok(None) };
        let logits = self.logits(model, &mut group)?;
        let mut pieces = Vec::with_capacity(group.texts.len());
        let mut growing = Vec::new();
        let logits = logits.chunks_exact(logits.len() / group.texts.len());
        for (row, (&index, logits)) in group.texts.iter().zip(logits).enumerate() {
            let text = &mut self.texts[index];
            match text.grow(logits, &self.sampling) {
                Ok(piece) => pieces.push((index, piece)),
                Err(cause) => {
                    let step = text.drawn() + 1;
                    self.failures.push(Failure { text: index, step, cause });
                }
            }
            if !text.ended() {
                growing.push(row);
            }
        }
        if growing.is_empty() {
            return Ok(Some(pieces));
        }
        if growing.len() < group.texts.len()
            && let Some(past) = &mut group.past
        {
            past.select(&growing, &self.device);
        }
        group.texts = growing.iter().map(|&row| group.texts[row]).collect();
        group.length = self.length(group.texts[0], model);
        if group.length > model.context() {
            group.past = None;
        }
        self.join(group)?;
        Ok(Some(pieces))
    }

    /// The texts that could not go on so far.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// By what the texts of a group are alike.
    fn length(&self, text: usize, model: &Model) -> usize {
        self.texts[text].bytes().len().min(model.context() + 1)
    }

    /// Adds a group where its length belongs, or to the one that has it.
    fn join(&mut self, group: Group) -> Result<()> {
        match self.groups.binary_search_by(|other| group.length.cmp(&other.length)) {
            Ok(at) => {
                let other = &mut self.groups[at];
                if let (Some(past), Some(more)) = (&mut other.past, group.past) {
                    past.join(more)?;
                }
                other.texts.extend(group.texts);
            }
            Err(at) => self.groups.insert(at, group),
        }
        Ok(())
    }

    /// The logits of the next byte of every text, one after the other: from the state and the last byte, or from as
    /// much of the texts as the model sees.
    fn logits(&self, model: &Model, group: &mut Group) -> Result<Vec<f32>> {
        let length = if group.past.is_some() { 1 } else { group.length.min(model.context()) };
        let last =
            input(&group.texts, &self.texts, &self.device, |bytes| &bytes[bytes.len() - length..]);
        let logits = match &mut group.past {
            Some(past) => model.advance(last, past)?,
            None => model.next_logits(last)?,
        };
        let logits = logits.try_into_data_as::<f32>().map_err(Error::failed("Session::step"))?;
        Ok(logits.iter::<f32>().collect())
    }
}

/// A part of each of some texts, which are of one length.
fn input(
    indices: &[usize],
    texts: &[Text],
    device: &Device,
    part: impl Fn(&[u8]) -> &[u8],
) -> Tensor<2, Int> {
    let bytes = indices.iter().flat_map(|&index| part(texts[index].bytes()));
    let values: Vec<i32> = bytes.map(|&byte| i32::from(byte)).collect();
    let shape = [indices.len(), values.len() / indices.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Continues `prompt`; `on_text` is handed the text as soon as it is certain.
///
/// # Errors
///
/// Those of [`Session::new`] and [`Session::step`], and a [`Failure`] of the text.
pub fn generate(
    model: &Model,
    prompt: &str,
    sampling: &Sampling,
    mut on_text: impl FnMut(&str),
) -> Result<String> {
    let mut session = Session::new(model, &[prompt], sampling)?;
    let mut text = String::new();
    while let Some(pieces) = session.step(model)? {
        for (_, piece) in pieces.iter().filter(|(_, piece)| !piece.is_empty()) {
            on_text(piece);
            text.push_str(piece);
        }
    }
    match session.failures().first() {
        Some(failure) => Err((*failure).into()),
        None => Ok(text),
    }
}

/// Continues many prompts of any lengths, in [`waves`]. Text `i` is what its prompt gives alone with the seed `i`
/// above that of `sampling`.
///
/// # Errors
///
/// Those of [`Session::new`] and [`Session::step`], and the first [`Failure`] of a text.
pub fn generate_all(model: &Model, prompts: &[String], sampling: &Sampling) -> Result<Vec<String>> {
    let mut all = Vec::with_capacity(prompts.len());
    for (prompts, sampling) in waves(prompts, sampling) {
        let mut texts = vec![String::new(); prompts.len()];
        let mut session = Session::new(model, prompts, &sampling)?;
        while let Some(pieces) = session.step(model)? {
            for (index, piece) in pieces {
                texts[index].push_str(&piece);
            }
        }
        if let Some(failure) = session.failures().first() {
            return Err(Failure { text: all.len() + failure.text, ..*failure }.into());
        }
        all.extend(texts);
    }
    Ok(all)
}
