//! What a run reports: one record a log line, as CSV while it runs and as JSON at its end.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Attempt as _, Context as _, Result},
    output::write_atomically,
};

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Optimiser steps taken.
    pub step: usize,
    /// Bits per byte on the training text, mean over the steps since the record before.
    pub train_bpb: f64,
    /// Bits per byte on the held-out text, where it was measured.
    pub validation_bpb: Option<f64>,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Global norm of the last step's gradient, before clipping.
    pub gradient_norm: f64,
    /// Bytes trained on in a second.
    pub bytes_per_second: f64,
    /// Seconds trained for.
    pub seconds: f64,
    /// Bytes that the steps since the record before took at their peak, as [`memory`](crate::memory) says for the
    /// device; nothing where that is unknown.
    #[serde(default)]
    pub peak_memory: Option<u64>,
}

/// The records of a run and where they are written.
#[derive(Debug, Clone)]
pub struct Metrics {
    records: Vec<Record>,
    directory: PathBuf,
}

/// A number with so many decimals, and without the sign of a zero: rounding leaves a loss next to nothing on either
/// side of it.
pub fn decimals(value: f64, count: usize) -> String {
    let text = format!("{value:.count$}");
    match text.strip_prefix('-') {
        Some(zero) if !zero.contains(|digit: char| digit != '0' && digit != '.') => zero.to_owned(),
        _ => text,
    }
}

const HEADER: &str = "step,train_bpb,validation_bpb,learning_rate,gradient_norm,bytes_per_second,seconds,\
                      peak_memory_bytes\n";

impl Metrics {
    /// Records that will be written to `metrics.csv` and `metrics.json` in `directory`; those of an
    /// interrupted run up to `resumed_at` are kept.
    ///
    /// # Errors
    ///
    /// When the records of the interrupted run cannot be understood.
    pub fn open(directory: &Path, resumed_at: usize) -> Result<Self> {
        let path = directory.join("metrics.json");
        let mut records: Vec<Record> = Vec::new();
        if resumed_at > 0 && path.exists() {
            let text = std::fs::read_to_string(&path)
                .attempting(|| format!("cannot read {}", path.display()))?;
            records = serde_json::from_str(&text)
                .within(|| format!("{} is not a list of records", path.display()))?;
            records.retain(|record| record.step <= resumed_at);
        }
        Ok(Self { records, directory: directory.to_owned() })
    }

    /// All records so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Adds a record.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Writes both files.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self) -> Result<()> {
        let mut csv = HEADER.to_owned();
        for record in &self.records {
            let validation = record.validation_bpb.map(|bpb| decimals(bpb, 6)).unwrap_or_default();
            let memory = record.peak_memory.map(|bytes| bytes.to_string()).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(
                csv,
                "{},{},{validation},{:.6e},{:.6},{:.1},{:.3},{memory}",
                record.step,
                decimals(record.train_bpb, 6),
                record.learning_rate,
                record.gradient_norm,
                record.bytes_per_second,
                record.seconds
            );
        }
        write_atomically(&self.directory.join("metrics.csv"), csv.as_bytes())?;
        let json = serde_json::to_vec_pretty(&self.records)?;
        write_atomically(&self.directory.join("metrics.json"), &json)
    }
}

#[cfg(test)]
mod tests {
    use super::decimals;

    #[test]
    fn zero_has_no_sign() {
        for (value, count, expected) in [
            (-0.0, 3, "0.000"),
            (-0.000_49, 3, "0.000"),
            (-0.4, 0, "0"),
            (-0.000_51, 3, "-0.001"),
            (0.0, 2, "0.00"),
            (-10.0, 0, "-10"),
            (1.234_5, 2, "1.23"),
            (f64::NAN, 2, "NaN"),
            (f64::NEG_INFINITY, 2, "-inf"),
        ] {
            assert_eq!(decimals(value, count), expected, "{value}");
        }
    }
}
