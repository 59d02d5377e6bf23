//! Trained models in fewer bits: a checkpoint whose matrices are packed as [`wavecube_core::quant`] has them.
//!
//! Maps, stacks of them and the embedding are rounded, in groups along their inputs; complex filters are coded by
//! magnitude and phase, as [`wavecube_core::polar`] has them; vectors and other parameters stay as they are. The result
//! is a checkpoint that generates; what training needs is left out.

use std::collections::HashMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Int, Tensor},
};
use wavecube_core::{
    Complex64,
    polar::{Coding, ComplexCodes},
    quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme},
};

use crate::error::{Context as _, Error, Result, WeightFault};

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
    /// The bits of a complex number of a filter, 4 to 20; 0 leaves filters as they are.
    pub filter_bits: u32,
}

/// The complex numbers of a filter that share a scale.
const FILTER_GROUP: usize = 64;

impl Default for QuantizeOptions {
    fn default() -> Self {
        let precision = Precision::Uniform(Bits::Four);
        Self { precision, group: Group::Of32, symmetric: false, filter_bits: 12 }
    }
}

impl QuantizeOptions {
    /// Whether a parameter is packed.
    pub(crate) fn packs(self, name: &str, shape: &[usize]) -> bool {
        self.scheme(name, shape).is_some()
    }

    /// The scheme of a parameter, or nothing where it stays as it is.
    fn scheme(self, name: &str, shape: &[usize]) -> Option<Scheme> {
        let embeds = name.ends_with(".embedding");
        let heads = name.ends_with(".head.weight");
        let packs = is_map(name, shape.len()) || embeds && shape.len() == 2;
        if !packs {
            return None;
        }
        let bits = match self.precision {
            Precision::Uniform(bits) => bits,
            Precision::Mixed if embeds || heads => Bits::Eight,
            Precision::Mixed => Bits::Four,
        };
        let Self { group, symmetric, .. } = self;
        Some(Scheme { bits, symmetric, group, scale: ScaleType::F16 })
    }
}

/// Whether a parameter is a linear map, or a stack of those of experts.
pub(crate) fn is_map(name: &str, rank: usize) -> bool {
    match rank {
        2 => name.ends_with(".weight"),
        rank => rank == 3,
    }
}

/// Matrices `[rows, columns]`, one after the other, each by its columns.
fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    values
        .chunks_exact(rows * columns)
        .flat_map(|matrix| {
            (0..columns).flat_map(|column| matrix[column..].iter().step_by(columns).copied())
        })
        .collect()
}

/// The rows of a packed parameter, those of all its matrices, and the inputs and outputs of each.
fn sizes(shape: &[usize]) -> [usize; 3] {
    let [.., inputs, outputs] = *shape else { return [0; 3] };
    let stack: usize = shape[..shape.len() - 2].iter().product();
    [stack * outputs, inputs, outputs]
}

/// The parameters that are packed, by their names, of all `parameters`: names, shapes and numbers. A map
/// `[inputs, outputs]` is packed output by output, and a stack `[…, inputs, outputs]` map by map.
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
            let [rows, inputs, outputs] = sizes(shape);
            let values = transposed(values, [inputs, outputs]);
            let weight = PackedWeight::quantize(&values, [rows, inputs], scheme, Clip::Search)
                .within(|| format!("in `{name}`"))?;
            packed.push((name.to_owned(), weight));
        }
    }
    Ok(packed)
}

/// What a filter's magnitudes and phases are named behind the filter's own name.
const PARTS: [&str; 2] = ["radius", "phase"];

/// The filters among `parameters`, coded by magnitude and phase, by their names: those whose magnitudes are the
/// parameter `NAME.radius` and whose phases are `NAME.phase`.
///
/// # Errors
///
/// When a number is not finite, or the bits are not between 4 and 20.
pub fn code_filters(
    parameters: &[(&str, &[usize], &[f32])],
    bits: u32,
) -> Result<Vec<(String, ComplexCodes)>> {
    let mut coded = Vec::new();
    if bits == 0 {
        return Ok(coded);
    }
    for &(name, _, radii) in parameters {
        let Some(filter) = filter_of(name, PARTS[0]) else { continue };
        let beside = |other: &str| filter_of(other, PARTS[1]) == Some(filter);
        if let Some((_, _, phases)) = parameters.iter().find(|(other, ..)| beside(other)) {
            let numbers: Vec<Complex64> = radii
                .iter()
                .zip(*phases)
                .map(|(&radius, &phase)| Complex64::from_polar(radius.into(), phase.into()))
                .collect();
            let codes = ComplexCodes::quantize(&numbers, Coding::Polar, bits, FILTER_GROUP)
                .within(|| format!("in `{filter}`"))?;
            coded.push((filter.to_owned(), codes));
        }
    }
    Ok(coded)
}

/// The name of the filter whose part is the parameter `name`.
fn filter_of<'a>(name: &'a str, part: &str) -> Option<&'a str> {
    name.strip_suffix(part)?.strip_suffix('.')
}

/// The coded filter that a parameter is a part of.
pub(crate) fn coded_filter<'a>(
    name: &str,
    filters: &'a HashMap<String, ComplexCodes>,
) -> Option<&'a ComplexCodes> {
    PARTS.iter().find_map(|part| filters.get(filter_of(name, part)?))
}

/// The magnitudes or the phases, as `name` says, of a coded filter.
///
/// # Errors
///
/// When the filter has another size than `shape`.
pub(crate) fn filter_part(name: &str, codes: &ComplexCodes, shape: &[usize]) -> Result<Vec<f32>> {
    let numbers = codes.dequantize();
    let wanted: usize = shape.iter().product();
    if numbers.len() != wanted {
        let fault = WeightFault::Shape { found: vec![numbers.len()], expected: vec![wanted] };
        return Err(Error::weight(name, fault));
    }
    let part = |z: &Complex64| if filter_of(name, PARTS[0]).is_some() { z.norm() } else { z.arg() };
    Ok(numbers.iter().map(|z| part(z) as f32).collect())
}

/// Whether a packed parameter has the rows and inputs that a shape asks for.
pub(crate) fn fits(weight: &PackedWeight, shape: &[usize]) -> bool {
    let [rows, inputs, _] = sizes(shape);
    weight.shape() == [rows, inputs]
}

/// The bytes that the parameters of a module take on its device.
pub fn parameter_bytes<M: Module>(module: &M) -> usize {
    #[derive(Default)]
    struct Visitor(usize);
    impl ModuleVisitor for Visitor {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += param.shape().num_elements() * param.dtype().size();
        }
        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            self.0 += param.shape().num_elements() * param.dtype().size();
        }
    }
    let mut visitor = Visitor::default();
    module.visit(&mut visitor);
    visitor.0
}

/// The numbers of a packed parameter, in the order of its `shape`.
///
/// # Errors
///
/// When it has another shape.
pub fn unpack(name: &str, weight: &PackedWeight, shape: &[usize]) -> Result<Vec<f32>> {
    let [rows, inputs, outputs] = sizes(shape);
    if !fits(weight, shape) {
        let (found, expected) = (weight.shape().to_vec(), vec![rows, inputs]);
        return Err(Error::weight(name, WeightFault::Shape { found, expected }));
    }
    Ok(transposed(&weight.dequantize(), [outputs, inputs]))
}
