//! Trained models in fewer bits: a checkpoint whose matrices are packed as [`wavecube_core::quant`] has them.
//!
//! Maps and the embedding are rounded, in groups along their inputs; vectors, filters and other parameters
//! stay as they are. The result is a checkpoint that generates; what training needs is left out.

use anyhow::{Result, ensure};
use wavecube_core::quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme};

/// How many bits a matrix gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The same everywhere.
    Uniform(Bits),
    /// 8 bits for the embedding and the head, 4 for what is between.
    Mixed,
}

/// How a model is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeOptions {
    /// How many bits a matrix gets.
    pub precision: Precision,
    /// How many neighbours along the inputs share a scale.
    pub group: Group,
    /// Whether zero is in the middle of the codes.
    pub symmetric: bool,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self { precision: Precision::Uniform(Bits::Four), group: Group::Of32, symmetric: false }
    }
}

impl QuantizeOptions {
    /// The scheme of a parameter, or nothing where it stays as it is.
    fn scheme(&self, name: &str, shape: &[usize]) -> Option<Scheme> {
        let embeds = name == "model.embedding";
        if shape.len() != 2 || !(embeds || name.ends_with(".weight")) {
            return None;
        }
        let bits = match self.precision {
            Precision::Uniform(bits) => bits,
            Precision::Mixed if embeds || name.starts_with("model.head.") => Bits::Eight,
            Precision::Mixed => Bits::Four,
        };
        let Self { group, symmetric, .. } = *self;
        Some(Scheme { bits, symmetric, group, scale: ScaleType::F16 })
    }
}

/// A matrix `[rows, columns]` by its columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values[column..].iter().step_by(columns).copied()).collect()
}

/// The parameters that are packed, by their names, of all `parameters`: names, shapes and numbers. A map
/// `[inputs, outputs]` is packed output by output.
///
/// # Errors
///
/// When a number is not finite.
pub fn pack<'a>(
    parameters: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    options: &QuantizeOptions,
) -> Result<Vec<(String, PackedWeight)>> {
    let mut packed = Vec::new();
    for (name, shape, values) in parameters {
        if let Some(scheme) = options.scheme(name, shape) {
            let rows = transposed(values, shape[1]);
            let weight = PackedWeight::quantize(&rows, [shape[1], shape[0]], scheme, Clip::Search)?;
            packed.push((name.to_owned(), weight));
        }
    }
    Ok(packed)
}

/// The numbers of a packed parameter, in the order of its `shape`.
///
/// # Errors
///
/// When it has another shape.
pub fn unpack(name: &str, weight: &PackedWeight, shape: &[usize]) -> Result<Vec<f32>> {
    let [outputs, inputs] = weight.shape();
    ensure!(
        shape == [inputs, outputs],
        "`{name}` has shape {:?}, the model needs {shape:?}",
        [inputs, outputs]
    );
    Ok(transposed(&weight.dequantize(), inputs))
}
