//! Packed weights in safetensors files.
//!
//! A weight is up to four tensors. `NAME.layout` is four `U64`: the version of the layout, 1; the bits; the
//! inputs of a group, 0 for all of them; `k`. `NAME.words`, `U32`, and `NAME.zeros`, `U8`, the latter of
//! asymmetric schemes alone, are rows of `n`, and so is `NAME.scales`, in the type that the scheme has.

use std::{fs, io, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{BLOCK, Bits, Group, PackedWeight, ScaleType, Scheme};
use crate::{Error, FileFault, Result, file};

const SAVE: &str = "quant::save";
const LOAD: &str = "quant::load";
const VERSION: u64 = 1;

/// The bytes of a safetensors file with these weights. The same weights make the same bytes.
///
/// # Errors
/// [`Error::File`] if two weights have one name.
pub fn to_bytes(weights: &[(String, PackedWeight)]) -> Result<Vec<u8>> {
    let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (i, (name, weight)) in weights.iter().enumerate() {
        if weights[..i].iter().any(|(other, _)| other == name) {
            return Err(Error::File {
                op: SAVE,
                fault: FileFault::Foreign("two weights of one name"),
            });
        }
        let Scheme { bits, group, scale, symmetric } = weight.scheme();
        let [n, k] = weight.shape();
        let group_len = if group == Group::Channel { 0 } else { group.len(k) };
        let layout = [VERSION, bits.count() as u64, group_len as u64, k as u64];
        let layout = layout.iter().flat_map(|v| v.to_le_bytes()).collect();
        parts.push((format!("{name}.layout"), Dtype::U64, vec![4], layout));
        let (words, groups) = (weight.words(), group.count(k));
        let words_a_row = words.len() / n;
        parts.push((format!("{name}.words"), Dtype::U32, vec![n, words_a_row], bytes_of(words)));
        let scale_type = match scale {
            ScaleType::F16 => Dtype::F16,
            ScaleType::Bf16 => Dtype::BF16,
            ScaleType::F32 => Dtype::F32,
        };
        // The last word may be part empty.
        let mut scales = bytes_of(weight.scales());
        scales.truncate(n * groups * scale.size());
        parts.push((format!("{name}.scales"), scale_type, vec![n, groups], scales));
        if !symmetric {
            let mut zeros = bytes_of(weight.zeros());
            zeros.truncate(n * groups);
            parts.push((format!("{name}.zeros"), Dtype::U8, vec![n, groups], zeros));
        }
    }
    let foreign = |_| Error::File { op: SAVE, fault: FileFault::Foreign("tensors of that shape") };
    let views = parts.iter().map(|(name, dtype, shape, bytes)| {
        Ok((name, TensorView::new(*dtype, shape.clone(), bytes).map_err(foreign)?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None).map_err(foreign)
}

/// The weights in the bytes of a safetensors file, in the order of their names. Other tensors are left out.
///
/// # Errors
/// [`Error::File`] for a file that is truncated, foreign, of another version, inconsistent or has a key twice,
/// [`Error::Value`] for a scale or a zero point that no scheme has.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<(String, PackedWeight)>> {
    let file = file::safetensors(LOAD, bytes)?;
    let names = file.names();
    let mut names: Vec<&str> =
        names.iter().filter_map(|name| name.strip_suffix(".layout")).collect();
    names.sort_unstable();
    if names.is_empty() {
        return Err(foreign("packed weights"));
    }
    let weight = |name: &str| Ok((name.to_owned(), read(&file, name)?));
    names.into_iter().map(weight).collect()
}

/// Writes weights to a file: beside its destination first, so that no reader sees half of one.
///
/// # Errors
/// As [`to_bytes`]; [`Error::File`] if the file cannot be written.
///
/// ```
/// use wavecube_core::quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme, load, save};
/// let scheme = Scheme { bits: Bits::Four, symmetric: false, group: Group::Of32, scale: ScaleType::Bf16 };
/// let weight = PackedWeight::quantize(&[0.5; 70], [2, 35], scheme, Clip::None)?;
/// let path = std::env::temp_dir().join(format!("wavecube-{}.safetensors", std::process::id()));
/// save(&path, &[("head".into(), weight.clone())])?;
/// assert_eq!(load(&path)?, [("head".into(), weight)]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn save(path: &Path, weights: &[(String, PackedWeight)]) -> Result<()> {
    let bytes = to_bytes(weights)?;
    file::replace(path, &bytes)
        .map_err(|error| Error::File { op: SAVE, fault: FileFault::Io(error.kind()) })
}

/// Reads the weights of a file.
///
/// # Errors
/// As [`from_bytes`]; [`Error::File`] if the file cannot be read.
pub fn load(path: &Path) -> Result<Vec<(String, PackedWeight)>> {
    let failed = |error: io::Error| Error::File { op: LOAD, fault: FileFault::Io(error.kind()) };
    from_bytes(&fs::read(path).map_err(failed)?)
}

fn foreign(expected: &'static str) -> Error {
    Error::File { op: LOAD, fault: FileFault::Foreign(expected) }
}

fn read(file: &SafeTensors, name: &str) -> Result<PackedWeight> {
    let tensor = |part: &str| file.tensor(&format!("{name}.{part}"));
    let layout = tensor("layout").map_err(|_| foreign("a layout"))?;
    let numbers: Vec<u64> =
        layout.data().as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    let (Dtype::U64, &[version, bits, group, k]) = (layout.dtype(), &numbers[..]) else {
        return Err(foreign("a layout of four U64"));
    };
    if version != VERSION {
        return Err(foreign("version 1 of the layout"));
    }
    let bits = match bits {
        4 => Bits::Four,
        8 => Bits::Eight,
        _ => return Err(foreign("4 or 8 bits")),
    };
    let group = match group {
        0 => Group::Channel,
        32 => Group::Of32,
        64 => Group::Of64,
        128 => Group::Of128,
        _ => return Err(foreign("groups of 32, 64, 128 or a whole row")),
    };
    let k = usize::try_from(k).map_err(|_| foreign("rows that fit memory"))?;
    let words = tensor("words").map_err(|_| foreign("words beside a layout"))?;
    let scales = tensor("scales").map_err(|_| foreign("scales beside a layout"))?;
    let scale = match scales.dtype() {
        Dtype::F16 => ScaleType::F16,
        Dtype::BF16 => ScaleType::Bf16,
        Dtype::F32 => ScaleType::F32,
        _ => return Err(foreign("scales of f16, bf16 or f32")),
    };
    let zeros = tensor("zeros").ok();
    let scheme = Scheme { bits, symmetric: zeros.is_none(), group, scale };
    let rows = words.shape().first().copied().unwrap_or(0);
    let words_a_row = k.div_ceil(BLOCK).saturating_mul(BLOCK * bits.count() / 32);
    let groups = [rows, group.count(k)];
    let consistent = words.dtype() == Dtype::U32
        && words.shape() == [rows, words_a_row]
        && scales.shape() == groups
        && zeros.as_ref().is_none_or(|zeros| zeros.dtype() == Dtype::U8 && zeros.shape() == groups);
    if !consistent {
        return Err(foreign("words, scales and zero points of one shape"));
    }
    let zeros = zeros.map_or_else(Vec::new, |zeros| words_of(zeros.data()));
    PackedWeight::from_parts(
        scheme,
        [rows, k],
        words_of(words.data()),
        words_of(scales.data()),
        zeros,
    )
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The words of these bytes, the last filled up with zeros.
fn words_of(bytes: &[u8]) -> Vec<u32> {
    let word = |part: &[u8]| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        u32::from_le_bytes(word)
    };
    bytes.chunks(4).map(word).collect()
}
