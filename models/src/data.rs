//! Text as bytes: reading, splitting, sampling, and how well simple statistics predict it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{
    config::DataConfig,
    error::{Attempt as _, Context as _, Result, TextFault, listed},
    random::Random,
};

/// A text, split into what is trained on and what is held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// The text that is trained on.
    pub train: Vec<u8>,
    /// The text that is only predicted; empty where none is held out.
    pub validation: Vec<u8>,
}

impl Corpus {
    /// Reads the files and directories of `config`, in their order, directories sorted by path.
    ///
    /// # Errors
    ///
    /// When nothing is named, something is missing or cannot be read, or all of it is empty.
    pub fn read(config: &DataConfig) -> Result<Self> {
        if config.text.is_empty() {
            return Err(TextFault::Missing.into());
        }
        let mut bytes = Vec::new();
        for path in &config.text {
            append(path, config.max_bytes, &mut bytes)?;
        }
        if bytes.is_empty() {
            return Err(TextFault::Empty(config.text.clone()).into());
        }
        Self::split(bytes, config.validation)
            .within(|| format!("in the text of {}", listed(&config.text)))
    }

    /// Holds out the last `validation` of `bytes`, a share; of 0 nothing.
    ///
    /// # Errors
    ///
    /// When there are too few bytes for both parts.
    pub fn split(mut bytes: Vec<u8>, validation: f64) -> Result<Self> {
        let len = bytes.len();
        let short = || Err(TextFault::Short { len, validation }.into());
        if validation == 0.0 {
            return if len < 2 {
                short()
            } else {
                Ok(Self { train: bytes, validation: Vec::new() })
            };
        }
        let held_out = (len as f64 * validation).round() as usize;
        let at = len.saturating_sub(held_out);
        if at < 2 || held_out < 2 {
            return short();
        }
        let validation = bytes.split_off(at);
        Ok(Self { train: bytes, validation })
    }

    /// Checks that sequences of `context` bytes and their targets fit.
    ///
    /// # Errors
    ///
    /// When either part is not longer than the context; a held-out part that there is none of is not looked at.
    pub fn check_context(&self, context: usize) -> Result<()> {
        for (part, len) in [("training", self.train.len()), ("held-out", self.validation.len())] {
            if len <= context && !(part == "held-out" && len == 0) {
                return Err(TextFault::Context { part, len, context }.into());
            }
        }
        Ok(())
    }
}

fn append(path: &Path, limit: usize, bytes: &mut Vec<u8>) -> Result<()> {
    let kind = fs::metadata(path)
        .attempting(|| format!("cannot read the text {}: is the path right?", path.display()))?;
    if kind.is_dir() {
        for entry in sorted_entries(path)? {
            if bytes.len() >= limit {
                break;
            }
            append(&entry, limit, bytes)?;
        }
    } else {
        let text =
            fs::read(path).attempting(|| format!("cannot read the text {}", path.display()))?;
        bytes.extend_from_slice(&text[..text.len().min(limit.saturating_sub(bytes.len()))]);
    }
    Ok(())
}

/// What a directory holds, sorted by path.
///
/// # Errors
///
/// When the directory cannot be listed.
pub fn sorted_entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut entries =
        list().attempting(|| format!("cannot list the directory {}", directory.display()))?;
    entries.sort();
    Ok(entries)
}

/// A batch: `bytes` and `targets`, both `[batch, context]`, `targets` one byte ahead.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What the model reads.
    pub bytes: Tensor<2, Int>,
    /// What it is to predict.
    pub targets: Tensor<2, Int>,
}

impl Batch {
    /// The sequences of `text` that start at `starts`, each of which leaves `context + 1` bytes.
    pub fn at(text: &[u8], starts: &[usize], context: usize, device: &Device) -> Self {
        let rows = |shift: usize| {
            let values: Vec<i32> = starts
                .iter()
                .flat_map(|&start| &text[start + shift..start + shift + context])
                .map(|&byte| i32::from(byte))
                .collect();
            Tensor::from_data(TensorData::new(values, [starts.len(), context]), device)
        };
        Self { bytes: rows(0), targets: rows(1) }
    }

    /// `batch` random sequences.
    pub fn sample(
        text: &[u8],
        batch: usize,
        context: usize,
        random: &mut Random,
        device: &Device,
    ) -> Self {
        let room = text.len().saturating_sub(context);
        let starts: Vec<_> = (0..batch).map(|_| random.below(room)).collect();
        Self::at(text, &starts, context, device)
    }
}

/// Starts of at most `sequences` windows spread evenly over a text of `len` bytes.
pub fn even_starts(len: usize, context: usize, sequences: usize) -> Vec<usize> {
    let room = len.saturating_sub(context + 1);
    let count = sequences.min(room / context.max(1) + 1).max(1);
    (0..count).map(|i| if count == 1 { 0 } else { i * room / (count - 1) }).collect()
}

/// How well single bytes and pairs of bytes predict a held-out text, in bits per byte.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Entropy {
    /// The empirical order-0 entropy of the held-out text itself.
    pub order0: f64,
    /// The empirical order-1 entropy `H(next | byte)` of the held-out text itself: no bigram model
    /// can do better on it, not even one that has seen it.
    pub order1: f64,
    /// The cross-entropy of the held-out text under a bigram model of the training text.
    pub bigram_held_out: f64,
}

impl Entropy {
    /// Measures the held-out text of `corpus`; nothing where none is held out.
    pub fn of(corpus: &Corpus) -> Option<Self> {
        if corpus.validation.is_empty() {
            return None;
        }
        let own = PairCounts::of(&corpus.validation);
        let train = PairCounts::of(&corpus.train);
        Some(Self {
            order0: own.order0(),
            order1: own.order1(),
            bigram_held_out: train.cross_entropy(&corpus.validation),
        })
    }
}

/// Counts of bytes and of pairs.
struct PairCounts {
    single: Vec<f64>,
    pairs: Vec<f64>,
}

impl PairCounts {
    fn of(text: &[u8]) -> Self {
        let mut single = vec![0.0; 256];
        let mut pairs = vec![0.0; 256 * 256];
        for &byte in text {
            single[usize::from(byte)] += 1.0;
        }
        for pair in text.windows(2) {
            pairs[usize::from(pair[0]) * 256 + usize::from(pair[1])] += 1.0;
        }
        Self { single, pairs }
    }

    fn order0(&self) -> f64 {
        entropy(&self.single)
    }

    fn order1(&self) -> f64 {
        let total: f64 = self.pairs.iter().sum();
        self.pairs.chunks(256).map(|row| row.iter().sum::<f64>() / total * entropy(row)).sum()
    }

    /// Bits per byte of `text` (its first byte aside) under the smoothed bigram model
    /// `p(b | a) = (n(a, b) + λ p(b)) / (n(a) + λ)` with `p(b) = (n(b) + ½) / (n + 128)`.
    ///
    /// `λ` is the count at which a context is trusted as much as the single bytes. It is chosen by
    /// leaving one out of the training counts, so the held-out text has no say in it.
    fn cross_entropy(&self, text: &[u8]) -> f64 {
        let total: f64 = self.single.iter().sum();
        let base: Vec<f64> =
            self.single.iter().map(|count| (count + 0.5) / (total + 128.0)).collect();
        let rows: Vec<f64> = self.pairs.chunks(256).map(|row| row.iter().sum()).collect();
        let left_out = |lambda: f64| -> f64 {
            let mut bits = 0.0;
            for (a, row) in self.pairs.chunks(256).enumerate() {
                for (b, &count) in row.iter().enumerate() {
                    if count > 0.0 {
                        let p = (count - 1.0 + lambda * base[b]) / (rows[a] - 1.0 + lambda);
                        bits -= count * p.log2();
                    }
                }
            }
            bits
        };
        let lambda = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
            .into_iter()
            .min_by(|&x, &y| left_out(x).total_cmp(&left_out(y)))
            .unwrap_or(1.0);
        let bits: f64 = text
            .windows(2)
            .map(|pair| {
                let (a, b) = (usize::from(pair[0]), usize::from(pair[1]));
                -((self.pairs[a * 256 + b] + lambda * base[b]) / (rows[a] + lambda)).log2()
            })
            .sum();
        bits / text.len().saturating_sub(1).max(1) as f64
    }
}

fn entropy(counts: &[f64]) -> f64 {
    let total: f64 = counts.iter().sum();
    counts
        .iter()
        .filter(|&&count| count > 0.0)
        .map(|&count| -count / total * (count / total).log2())
        .sum::<f64>()
        // What is certain adds −0, and a sum begins with it.
        .abs()
}
