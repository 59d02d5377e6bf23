//! How a run shows that it is under way.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use wavecube_models::{metrics::decimals, train::Milestone};

/// Bytes, a million to a megabyte.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", decimals(bytes as f64 / 1e6, 1))
}

/// A bar on a terminal, lines elsewhere.
pub struct Display {
    bar: Option<ProgressBar>,
    /// The run is measured in tenths of a second instead of steps.
    timed: Option<Duration>,
    steps: usize,
}

impl Display {
    /// For a run of so many steps, or of so much time where it has a budget.
    pub fn new(budget: Option<Duration>, steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let len = match budget {
                Some(budget) => budget.as_millis() as u64 / 100,
                None => steps as u64,
            };
            let bar = ProgressBar::new(len);
            if let Ok(style) =
                ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}  ETA {eta}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, timed: budget, steps }
    }

    /// Shows where the run stands.
    pub fn show(&self, milestone: &Milestone<'_>) {
        let Milestone { record, validation_bpb, share } = *milestone;
        let held_out = validation_bpb
            .map(|bpb| format!("  held out {}", decimals(bpb, 3)))
            .unwrap_or_default();
        let memory = record.peak_memory.map(|bytes| format!("  {}", megabytes(bytes)));
        let memory = memory.unwrap_or_default();
        let line = format!(
            "step {}  loss {}  {} bits/byte{held_out}  {:.0} tokens/s{memory}",
            record.step,
            decimals(record.train_bpb * std::f64::consts::LN_2, 3),
            decimals(record.train_bpb, 3),
            record.bytes_per_second
        );
        if let Some(bar) = &self.bar {
            bar.set_position(match self.timed {
                Some(budget) => (share * budget.as_millis() as f64 / 100.0) as u64,
                None => record.step as u64,
            });
            bar.set_message(line);
        } else {
            let left = if let Some(budget) = self.timed {
                (1.0 - share).max(0.0) * budget.as_secs_f64()
            } else {
                let rate = record.seconds / record.step.max(1) as f64;
                rate * self.steps.saturating_sub(record.step) as f64
            };
            println!("{line}  ETA {left:.0} s");
        }
    }

    /// Leaves the bar as it stands.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
