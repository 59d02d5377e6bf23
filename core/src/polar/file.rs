//! Coded complex numbers in safetensors files.
//!
//! Codes are four tensors. `NAME.coding` is five `U64`: the version of the layout, 1; the bits of a code; the
//! numbers of a group; the phases, 0 of a Cartesian code; how many numbers there are. `NAME.codes`, `U64`, has the
//! codes one behind the other from the lowest bit up, `NAME.scales`, `F16`, the scales of the groups, and
//! `NAME.levels`, `F32`, magnitudes or the levels of a part.

use half::f16;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::ComplexCodes;
use crate::{Error, FileFault, Result, file};

const SAVE: &str = "polar::to_bytes";
const LOAD: &str = "polar::from_bytes";
const VERSION: u64 = 1;

/// The bytes of a safetensors file with these codes. The same codes make the same bytes.
///
/// # Errors
/// [`Error::File`] if two have one name.
///
/// ```
/// use wavecube_core::{Complex64, polar::{Coding, ComplexCodes, from_bytes, to_bytes}};
/// let numbers = [Complex64::ONE, Complex64::I];
/// let codes = ComplexCodes::quantize(&numbers, Coding::Polar, 12, 64)?;
/// let bytes = to_bytes(&[("filter".into(), codes.clone())])?;
/// assert_eq!(from_bytes(&bytes)?, [("filter".into(), codes)]);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn to_bytes(codes: &[(String, ComplexCodes)]) -> Result<Vec<u8>> {
    let failed = |why| Error::File { op: SAVE, fault: FileFault::Foreign(why) };
    let mut parts: Vec<(String, Dtype, Vec<u8>)> = Vec::new();
    for (i, (name, of)) in codes.iter().enumerate() {
        if codes[..i].iter().any(|(other, _)| other == name) {
            return Err(failed("two codes of one name"));
        }
        let coding = [VERSION, of.bits.into(), of.group as u64, of.phases as u64, of.len as u64];
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let scales = of.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let levels = of.levels.iter().flat_map(|level| level.to_le_bytes()).collect();
        parts.extend([
            (format!("{name}.coding"), Dtype::U64, words(&coding)),
            (format!("{name}.codes"), Dtype::U64, words(&of.packed)),
            (format!("{name}.scales"), Dtype::F16, scales),
            (format!("{name}.levels"), Dtype::F32, levels),
        ]);
    }
    let views = parts.iter().map(|(name, dtype, bytes)| {
        let shape = vec![bytes.len() * 8 / dtype.bitsize()];
        Ok((name, TensorView::new(*dtype, shape, bytes).map_err(|_| failed("such tensors"))?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None).map_err(|_| failed("such tensors"))
}

/// The codes in the bytes of a safetensors file, in the order of their names, none if there are none. Other tensors
/// are left out.
///
/// # Errors
/// [`Error::File`] for a file that is truncated, foreign, of another version, inconsistent or has a key twice.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<(String, ComplexCodes)>> {
    let file = file::safetensors(LOAD, bytes)?;
    let names = file.names();
    let mut names: Vec<&str> =
        names.iter().filter_map(|name| name.strip_suffix(".coding")).collect();
    names.sort_unstable();
    names.into_iter().map(|name| Ok((name.to_owned(), read(&file, name)?))).collect()
}

fn foreign(expected: &'static str) -> Error {
    Error::File { op: LOAD, fault: FileFault::Foreign(expected) }
}

/// The numbers of `NAME.PART`, `N` bytes each.
fn numbers<'a, const N: usize>(
    file: &SafeTensors<'a>,
    (name, part): (&str, &str),
    dtype: Dtype,
) -> Result<&'a [[u8; N]]> {
    let tensor = file.tensor(&format!("{name}.{part}"));
    let tensor = tensor.map_err(|_| foreign("coding, codes, scales and levels"))?;
    if tensor.dtype() != dtype {
        return Err(foreign("codes of U64, scales of F16 and levels of F32"));
    }
    Ok(tensor.data().as_chunks().0)
}

fn read(file: &SafeTensors, name: &str) -> Result<ComplexCodes> {
    let words = |part: &str| -> Result<Vec<u64>> {
        let bytes = numbers(file, (name, part), Dtype::U64)?;
        Ok(bytes.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    };
    let coding = words("coding")?;
    let &[version, bits, group, phases, len] = &coding[..] else {
        return Err(foreign("a coding of five U64"));
    };
    if version != VERSION {
        return Err(foreign("version 1 of the coding"));
    }
    let size = |value: u64| usize::try_from(value).map_err(|_| foreign("sizes that fit memory"));
    let scales: &[[u8; 2]] = numbers(file, (name, "scales"), Dtype::F16)?;
    let levels: &[[u8; 4]] = numbers(file, (name, "levels"), Dtype::F32)?;
    let codes = ComplexCodes {
        len: size(len)?,
        group: size(group)?,
        bits: u32::try_from(bits).unwrap_or(u32::MAX),
        phases: size(phases)?,
        levels: levels.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        scales: scales.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect(),
        packed: words("codes")?,
    };
    check(&codes)?;
    Ok(codes)
}

/// Accepts codes that mean something, each of them.
fn check(codes: &ComplexCodes) -> Result<()> {
    let ComplexCodes { len, group, bits, phases, levels, scales, packed } = codes;
    if !(4..=20).contains(bits) || *group == 0 {
        return Err(foreign("4 to 20 bits, and groups of at least 1"));
    }
    let most = 1_usize << bits;
    let choices = if *phases == 0 { levels.len() } else { *phases };
    let used = levels.len().checked_mul(choices).filter(|used| (1..=most).contains(used));
    let used = used.ok_or(foreign("levels and phases that the bits can name"))?;
    let words = len.checked_mul(*bits as usize).map(|bits| bits.div_ceil(64));
    if words != Some(packed.len()) || scales.len() != len.div_ceil(*group) {
        return Err(foreign("as many codes and scales as there are numbers"));
    }
    let finite = levels.iter().all(|level| level.is_finite())
        && scales.iter().all(|scale| scale.is_finite() && *scale >= f16::ZERO);
    if !finite || (0..*len).any(|i| codes.get(i) >= used) {
        return Err(foreign("finite levels and scales, and codes that name them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use num_complex::Complex64;

    use super::*;
    use crate::polar::Coding;

    fn codes(coding: Coding) -> ComplexCodes {
        let numbers: Vec<_> =
            (0..100).map(|i| Complex64::from_polar(1.0 + f64::from(i), f64::from(i))).collect();
        ComplexCodes::quantize(&numbers, coding, 9, 7).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let all: Vec<_> = [Coding::Cartesian, Coding::Polar, Coding::PolarOf { magnitudes: 5 }]
            .into_iter()
            .enumerate()
            .map(|(i, coding)| (format!("layer{i}"), codes(coding)))
            .collect();
        let bytes = to_bytes(&all).unwrap();
        assert_eq!(from_bytes(&bytes).unwrap(), all);
        assert_eq!(from_bytes(&to_bytes(&[]).unwrap()).unwrap(), []);
        let twice = [all[0].clone(), all[0].clone()];
        assert!(to_bytes(&twice).unwrap_err().to_string().contains("two codes"));
    }

    #[test]
    fn files_that_are_cut_or_changed_are_refused() {
        let right = codes(Coding::PolarOf { magnitudes: 5 });
        let bytes = to_bytes(&[("a".into(), right.clone())]).unwrap();
        for len in (0..bytes.len()).step_by(7) {
            assert!(from_bytes(&bytes[..len]).is_err(), "{len}");
        }
        type Change = fn(&mut ComplexCodes);
        let changes: [Change; 9] = [
            |of| of.bits = 3,
            |of| of.bits = 40,
            |of| of.group = 0,
            |of| of.len += 64,
            |of| of.phases = 1 << 20,
            |of| of.levels.clear(),
            |of| of.levels[0] = f32::NAN,
            |of| of.scales[3] = f16::INFINITY,
            // 5 magnitudes of 102 phases: the last two codes of nine bits name nothing.
            |of| of.set(50, 511),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut wrong = right.clone();
            change(&mut wrong);
            let bytes = to_bytes(&[("a".into(), wrong)]).unwrap();
            assert!(matches!(from_bytes(&bytes), Err(Error::File { .. })), "change {i}");
        }
    }
}
