//! `wavecube quantize`

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::module::Module as _;
use clap::Args;
use wavecube_core::quant::{Bits, Group};
use wavecube_models::{
    checkpoint::Checkpoint,
    metrics::decimals,
    quantize::{Precision, QuantizeOptions, parameter_bytes},
    train::bits_per_byte,
};

use crate::{DeviceArgs, train::TextArgs};

/// Pack a checkpoint's matrices into 4 or 8 bits, and say what that costs
#[derive(Args)]
#[command(after_help = "\
Examples:
  wavecube quantize --text book.txt                      # 4 bits, groups of 32
  wavecube quantize --text book.txt --bits 8 --group 128 --symmetric
  wavecube quantize --bits mixed --checkpoint runs/book/checkpoint.safetensors --out small.safetensors --sources
  wavecube generate --checkpoint small.safetensors
The held-out part of the text, where there is one, says how many bits per byte the model needs before and after.")]
pub(crate) struct QuantizeArgs {
    /// The checkpoint of a run
    #[arg(long, default_value = "runs/latest/checkpoint.safetensors", value_name = "FILE")]
    checkpoint: PathBuf,
    /// Where the quantised checkpoint goes; `quantized.safetensors` beside the checkpoint if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// 4, 8, or mixed: 8 for embedding and head, 4 between
    #[arg(long, default_value = "4")]
    bits: String,
    /// Neighbours that share a scale: 32, 64, 128, or channel
    #[arg(long, default_value = "32")]
    group: String,
    /// Zero in the middle of the codes, and no zero points
    #[arg(long)]
    symmetric: bool,
    /// Bits of a complex number of a filter, 4 to 20, by magnitude and phase; 0 leaves filters as they are
    #[arg(long, default_value_t = QuantizeOptions::default().filter_bits, value_name = "BITS")]
    filter_bits: u32,
    /// Windows of the held-out text
    #[arg(long, default_value_t = 256)]
    sequences: usize,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl QuantizeArgs {
    fn options(&self) -> Result<QuantizeOptions> {
        let precision = match self.bits.as_str() {
            "4" => Precision::Uniform(Bits::Four),
            "8" => Precision::Uniform(Bits::Eight),
            "mixed" => Precision::Mixed,
            other => bail!("--bits is 4, 8 or mixed, not {other}"),
        };
        let group = match self.group.as_str() {
            "32" => Group::Of32,
            "64" => Group::Of64,
            "128" => Group::Of128,
            "channel" => Group::Channel,
            other => bail!("--group is 32, 64, 128 or channel, not {other}"),
        };
        if !matches!(self.filter_bits, 0 | 4..=20) {
            bail!("--filter-bits is 0, or from 4 to 20, not {}", self.filter_bits);
        }
        let Self { symmetric, filter_bits, .. } = *self;
        Ok(QuantizeOptions { precision, group, symmetric, filter_bits })
    }
}

pub(crate) fn main(args: &QuantizeArgs) -> Result<()> {
    let options = args.options()?;
    let checkpoint = Checkpoint::read(&args.checkpoint)?;
    let mut data = checkpoint.config.data.clone();
    if !args.text.paths().is_empty() {
        data.text = args.text.paths().to_vec();
    }
    let corpus = args.text.corpus(&data)?;
    corpus.check_context(checkpoint.config.context())?;
    let selected = args.device.select()?;
    let out =
        args.out.clone().unwrap_or_else(|| args.checkpoint.with_file_name("quantized.safetensors"));
    // Bits per byte where text is held out, and bytes on the device.
    let needs = |checkpoint: &Checkpoint| {
        let model = checkpoint.model(&selected.device)?.valid();
        let text = &corpus.validation;
        let bits = || bits_per_byte(&model, text, args.sequences, &selected.device);
        let bits = if text.is_empty() { None } else { Some(bits()?) };
        anyhow::Ok((bits, parameter_bytes(&model)))
    };
    let (before, held) = needs(&checkpoint)?;
    let [bytes, packed] = checkpoint.quantize(&out, &options)?;
    let (after, held_packed) = needs(&Checkpoint::read(&out)?)?;
    let said = |bits: Option<f64>| match bits {
        Some(bits) => format!("{} bits per byte", decimals(bits, 4)),
        None => "no text held out to measure it by".to_owned(),
    };
    let change = match (before, after) {
        (Some(before), Some(after)) => format!(" ({:+.2} %)", 100.0 * (after / before - 1.0)),
        _ => String::new(),
    };
    println!("model      {bytes} bytes, {}", said(before));
    println!(
        "quantised  {packed} bytes ({:.2} times smaller), {}{change}: {}",
        bytes as f64 / packed as f64,
        said(after),
        out.display()
    );
    println!("on {}: {held} bytes of parameters before, {held_packed} after", selected.name);
    Ok(())
}
