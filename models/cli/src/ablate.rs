//! Ablation: the same run for every combination of a few choices, or for named models.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use anyhow::{Context as _, Result, ensure};
use burn::{module::Module as _, tensor::Device};
use serde::Serialize;
use wavecube_models::{
    config::Config,
    data::Corpus,
    layers::{Axis, ComplexToReal},
    lct_gpt::{ModelConfig, Placement, Positions},
    metrics::decimals,
    model::{Architecture, Statistic},
    output::write_atomically,
    presets::Preset,
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

/// Configurations side by side: what tells them apart has a column each.
#[derive(Debug, Clone, PartialEq)]
pub struct Variants {
    /// The names of the columns.
    pub columns: Vec<&'static str>,
    /// What stands in them, and the configuration.
    pub variants: Vec<(Vec<String>, Config)>,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What tells it apart, in the order of the columns.
    pub labels: Vec<String>,
    /// Bits per byte on the held-out text.
    pub bits_per_byte: f64,
    /// Bytes trained on in a second.
    pub tokens_per_second: f64,
    /// Parameters of the model.
    pub parameters: usize,
    /// Operations of a token, forward.
    pub flop: f64,
    /// Times a transform met `|b| < epsilon`.
    pub degenerate_hits: u64,
    /// What the parts of the model did on held-out text.
    pub statistics: Vec<Statistic>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// The names of the columns of labels.
    pub columns: Vec<&'static str>,
    /// A row for each variant that was trained.
    pub rows: Vec<Row>,
    /// The variants that failed.
    pub failures: Vec<Failure>,
}

/// A variant whose training failed.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// What tells it apart, in the order of the columns.
    pub labels: Vec<String>,
    /// Why, and at which step.
    pub reason: String,
}

impl Variants {
    /// `base` with each of `presets`.
    pub fn of_presets(base: &Config, presets: &[Preset]) -> Self {
        let variant = |preset: &Preset| (vec![preset.to_string()], preset.of(base));
        Self { columns: vec!["preset"], variants: presets.iter().map(variant).collect() }
    }
}

impl Row {
    /// What was chosen: the labels that apply to the variant.
    pub fn choices(&self) -> String {
        choices(&self.labels)
    }
}

impl Failure {
    /// What was chosen: the labels that apply to the variant.
    pub fn choices(&self) -> String {
        choices(&self.labels)
    }
}

fn choices(labels: &[String]) -> String {
    let apply = labels.iter().filter(|label| *label != ABSENT).map(String::as_str);
    apply.collect::<Vec<_>>().join(" ")
}

impl Grid {
    /// Every distinct combination over `base`, an LCT-GPT.
    ///
    /// The baseline has no transform, so the choices about it do not multiply it; a fixed transform
    /// does not move, so one limit of `|b|` is enough for it.
    pub fn variants(&self, base: &Config) -> Variants {
        let mut all: Vec<Config> = Vec::new();
        for &placement in &self.placements {
            for &positions in &self.positions {
                for &axis in &self.axes {
                    for &to_real in &self.to_real {
                        for &learned in &self.learned {
                            for &epsilon in &self.epsilons {
                                let mut config = base.clone();
                                config.model = Architecture::LctGpt;
                                config.lct_gpt.placement = placement;
                                config.lct_gpt.positions = positions;
                                if placement != Placement::None {
                                    let lct = &mut config.lct_gpt.lct;
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
        Variants {
            columns: vec!["placement", "axis", "to real", "transform", "positions", "ε"],
            variants: all.into_iter().map(|config| (labels(&config.lct_gpt), config)).collect(),
        }
    }
}

fn labels(model: &ModelConfig) -> Vec<String> {
    let lct = (model.placement != Placement::None).then_some(&model.lct);
    let transform = match lct.map(|lct| lct.learned) {
        Some(true) => "learned",
        Some(false) => "fixed",
        None => "–",
    };
    vec![
        name(Some(model.placement)),
        name(lct.map(|lct| lct.axis)),
        name(lct.map(|lct| lct.to_real)),
        transform.to_owned(),
        name(Some(model.positions)),
        name(lct.filter(|lct| lct.learned).map(|lct| lct.epsilon)),
    ]
}

/// Trains every variant; `on_row` sees each line as it is ready. A variant that fails, as by a loss that is no longer
/// finite, is among the table's failures, and the others are trained all the same.
///
/// # Errors
///
/// When a variant is not valid or no text is held out to compare by (before anything is trained), or every variant
/// fails.
pub fn ablate(
    variants: &Variants,
    corpus: &Corpus,
    device: &Device,
    out: &Path,
    interrupted: &AtomicBool,
    mut on_row: impl FnMut(usize, usize, std::result::Result<&Row, &Failure>),
) -> Result<Table> {
    ensure!(
        !corpus.validation.is_empty(),
        "variants are compared by held-out text: data.validation must be above 0"
    );
    for (labels, config) in &variants.variants {
        let checked = config.validate().and_then(|()| corpus.check_context(config.context()));
        checked.with_context(|| format!("in the variant {}", choices(labels)))?;
    }
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    let all = variants.variants.len();
    for (index, (labels, config)) in variants.variants.iter().enumerate() {
        let out = out.join(format!("run-{:03}", index + 1));
        match row(labels, config, corpus, device, out, interrupted) {
            Ok(Some(row)) => {
                on_row(index + 1, all, Ok(&row));
                rows.push(row);
            }
            Ok(None) => break,
            Err(error) if rows.is_empty() && index + 1 == all => {
                return Err(error.context(format!("in the variant {}", choices(labels))));
            }
            Err(error) => {
                let failure = Failure { labels: labels.clone(), reason: format!("{error:#}") };
                on_row(index + 1, all, Err(&failure));
                failures.push(failure);
            }
        }
    }
    Ok(Table { columns: variants.columns.clone(), rows, failures })
}

/// Trains a variant; nothing where it was interrupted.
fn row(
    labels: &[String],
    config: &Config,
    corpus: &Corpus,
    device: &Device,
    out: PathBuf,
    interrupted: &AtomicBool,
) -> Result<Option<Row>> {
    let mut trainer = Trainer::new(config, corpus.clone(), device)?;
    let options = RunOptions { out, budget: None };
    let (summary, _) = run(&mut trainer, &options, interrupted, |_| {})?;
    if summary.interrupted {
        return Ok(None);
    }
    Ok(Some(Row {
        labels: labels.to_vec(),
        bits_per_byte: summary.validation_bpb.context("no text is held out")?,
        tokens_per_second: summary.bytes_per_second,
        parameters: trainer.model().num_params(),
        flop: trainer.model().flops().forward(),
        degenerate_hits: summary.degenerate_hits,
        statistics: trainer.statistics()?,
    }))
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

/// The rows as a Markdown table, best first, then the variants that failed, and why.
pub fn markdown(table: &Table) -> String {
    let mut sorted: Vec<_> = table.rows.iter().collect();
    sorted.sort_by(|a, b| a.bits_per_byte.total_cmp(&b.bits_per_byte));
    let mut text = format!(
        "| {} | bits/byte | tokens/s | parameters | kFLOP/token | degenerate |\n|{}--:|--:|--:|--:|--:|\n",
        table.columns.join(" | "),
        "---|".repeat(table.columns.len())
    );
    for row in sorted {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {} | {:.0} | {} |",
            row.labels.join(" | "),
            decimals(row.bits_per_byte, 4),
            row.tokens_per_second,
            row.parameters,
            row.flop / 1e3,
            row.degenerate_hits
        );
    }
    for failure in &table.failures {
        let _ = writeln!(text, "| {} | failed | | | | |", failure.labels.join(" | "));
    }
    for failure in &table.failures {
        let _ = write!(text, "\n{}: {}\n", failure.choices(), failure.reason);
    }
    text
}

/// Writes `ablation.md` and `ablation.json` into `out`.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write(table: &Table, out: &Path) -> Result<()> {
    write_atomically(&out.join("ablation.md"), markdown(table).as_bytes())?;
    write_atomically(&out.join("ablation.json"), &serde_json::to_vec_pretty(table)?)?;
    Ok(())
}
