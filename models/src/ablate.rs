//! Ablation: the same run for every combination of a few choices.

use std::{fmt::Write as _, path::Path, sync::atomic::AtomicBool};

use anyhow::Result;
use burn::tensor::Device;
use serde::Serialize;

use crate::{
    checkpoint::write_atomically,
    config::Config,
    data::Corpus,
    layers::{Axis, ComplexToReal},
    lct_gpt::{Placement, Positions},
    train::{RunOptions, Trainer, run},
};

/// The choices whose combinations are trained.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Where the transform goes.
    pub placements: Vec<Placement>,
    /// Along what.
    pub axes: Vec<Axis>,
    /// Back to real numbers.
    pub to_real: Vec<ComplexToReal>,
    /// Fixed or learned.
    pub learned: Vec<bool>,
    /// How positions are told apart.
    pub positions: Vec<Positions>,
    /// Limits of `|b|`.
    pub epsilons: Vec<f64>,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Where the transform goes.
    pub placement: Placement,
    /// Along what; absent for the baseline, like the next three.
    pub axis: Option<Axis>,
    /// Back to real numbers.
    pub to_real: Option<ComplexToReal>,
    /// Fixed or learned.
    pub learned: Option<bool>,
    /// Limit of `|b|`.
    pub epsilon: Option<f64>,
    /// How positions are told apart.
    pub positions: Positions,
    /// Bits per byte on the held-out text.
    pub bits_per_byte: f64,
    /// Bytes trained on in a second.
    pub tokens_per_second: f64,
    /// Parameters of the model.
    pub parameters: usize,
    /// Times a transform met `|b| < epsilon`.
    pub degenerate_hits: u64,
}

impl Row {
    /// What was chosen, `block channels projection learned rope`.
    pub fn choices(&self) -> String {
        let transform = self.learned.map(|learned| if learned { "learned" } else { "fixed" });
        [
            name(Some(self.placement)),
            name(self.axis),
            name(self.to_real),
            name(transform),
            name(Some(self.positions)),
        ]
        .into_iter()
        .filter(|choice| choice != ABSENT)
        .collect::<Vec<_>>()
        .join(" ")
    }
}

impl Grid {
    /// Every distinct combination over `base`.
    ///
    /// The baseline has no transform, so the choices about it do not multiply it; a fixed transform
    /// does not move, so one limit of `|b|` is enough for it.
    pub fn configurations(&self, base: &Config) -> Vec<Config> {
        let mut all: Vec<Config> = Vec::new();
        for &placement in &self.placements {
            for &positions in &self.positions {
                for &axis in &self.axes {
                    for &to_real in &self.to_real {
                        for &learned in &self.learned {
                            for &epsilon in &self.epsilons {
                                let mut config = base.clone();
                                config.model.placement = placement;
                                config.model.positions = positions;
                                if placement != Placement::None {
                                    let lct = &mut config.model.lct;
                                    lct.axis = axis;
                                    lct.to_real = to_real;
                                    lct.learned = learned;
                                    lct.epsilon = if learned { epsilon } else { self.epsilons[0] };
                                }
                                if !all.contains(&config) {
                                    all.push(config);
                                }
                            }
                        }
                    }
                }
            }
        }
        all
    }
}

/// Trains every combination; `on_row` sees each line as it is ready.
///
/// # Errors
///
/// When a combination is not valid (before anything is trained) or a run fails.
pub fn ablate(
    base: &Config,
    grid: &Grid,
    corpus: &Corpus,
    device: &Device,
    out: &Path,
    interrupted: &AtomicBool,
    mut on_row: impl FnMut(usize, usize, &Row),
) -> Result<Vec<Row>> {
    let configurations = grid.configurations(base);
    for config in &configurations {
        config.validate()?;
    }
    let mut rows = Vec::new();
    for (index, config) in configurations.iter().enumerate() {
        let mut trainer = Trainer::new(config, corpus.clone(), device)?;
        let options = RunOptions {
            out: out.join(format!("run-{:03}", index + 1)),
            budget: None,
            quiet: true,
        };
        let (summary, _) = run(&mut trainer, &options, interrupted)?;
        if summary.interrupted {
            break;
        }
        let model = &config.model;
        let transformed = model.placement != Placement::None;
        let row = Row {
            placement: model.placement,
            axis: transformed.then_some(model.lct.axis),
            to_real: transformed.then_some(model.lct.to_real),
            learned: transformed.then_some(model.lct.learned),
            epsilon: (transformed && model.lct.learned).then_some(model.lct.epsilon),
            positions: model.positions,
            bits_per_byte: summary.validation_bpb,
            tokens_per_second: summary.bytes_per_second,
            parameters: trainer.model().config().parameter_count(),
            degenerate_hits: summary.degenerate_hits,
        };
        on_row(index + 1, configurations.len(), &row);
        rows.push(row);
    }
    Ok(rows)
}

/// Stands for a choice that the baseline does not have.
const ABSENT: &str = "–";

fn name<T: Serialize>(value: Option<T>) -> String {
    match value.and_then(|value| serde_json::to_value(value).ok()) {
        Some(serde_json::Value::String(name)) => name,
        Some(value) => value.to_string(),
        None => ABSENT.to_owned(),
    }
}

/// The rows as a Markdown table, best first.
pub fn markdown(rows: &[Row]) -> String {
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_by(|a, b| a.bits_per_byte.total_cmp(&b.bits_per_byte));
    let mut table = "| placement | axis | to real | transform | positions | ε | bits/byte | \
                     tokens/s | parameters | degenerate |\n|---|---|---|---|---|---|--:|--:|--:|--:|\n"
        .to_owned();
    for row in sorted {
        let transform = match row.learned {
            Some(true) => "learned",
            Some(false) => "fixed",
            None => ABSENT,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {} | {} | {} | {transform} | {} | {} | {:.4} | {:.0} | {} | {} |",
            name(Some(row.placement)),
            name(row.axis),
            name(row.to_real),
            name(Some(row.positions)),
            name(row.epsilon),
            row.bits_per_byte,
            row.tokens_per_second,
            row.parameters,
            row.degenerate_hits
        );
    }
    table
}

/// Writes `ablation.md` and `ablation.json` into `out`.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write(rows: &[Row], out: &Path) -> Result<()> {
    write_atomically(&out.join("ablation.md"), markdown(rows).as_bytes())?;
    write_atomically(&out.join("ablation.json"), &serde_json::to_vec_pretty(rows)?)
}
