//! A weight matrix in the packed layout.

use super::{Bits, ScaleType, Scheme};
use crate::{Error, Result};

/// The codes of a block of the layout.
pub const BLOCK: usize = 32;

const OP: &str = "PackedWeight";

/// A quantised weight matrix on the host, in the layout of [this module](super).
///
/// ```
/// use wavecube_core::quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme};
/// let scheme = Scheme { bits: Bits::Eight, symmetric: true, group: Group::Of32, scale: ScaleType::F32 };
/// let values: Vec<f32> = (0..2 * 50).map(|i| (i as f32).sin()).collect();
/// let weight = PackedWeight::quantize(&values, [2, 50], scheme, Clip::None)?;
/// let worst = weight.dequantize().iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
/// assert!(worst < 0.5 / 127.0 + 1e-6);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeight {
    scheme: Scheme,
    shape: [usize; 2],
    words: Vec<u32>,
    scales: Vec<u32>,
    zeros: Vec<u32>,
}

/// Sizes of the parts of a packed weight, which exist if all of them fit `usize`.
pub(super) struct Parts {
    pub(super) groups: usize,
    pub(super) words: usize,
    pub(super) scale_words: usize,
    pub(super) zero_words: usize,
}

impl Parts {
    pub(super) fn new(scheme: Scheme, [n, k]: [usize; 2]) -> Result<Self> {
        if n == 0 || k == 0 {
            let expected = "at least one output and one input";
            return Err(Error::Length { op: OP, argument: "shape", expected, found: 0 });
        }
        let too_many = || Error::Limit {
            op: OP,
            resource: "bytes of address space",
            available: usize::MAX as u64,
            required: u64::MAX,
        };
        // Twice the codes, so that no sum or product of the parts' sizes wraps either.
        let codes = k.checked_next_multiple_of(BLOCK).and_then(|k| n.checked_mul(k));
        codes.and_then(|codes| codes.checked_mul(8)).ok_or_else(too_many)?;
        let groups = n * scheme.group.count(k);
        Ok(Self {
            groups,
            words: n * k.div_ceil(BLOCK) * BLOCK * scheme.bits.count() / 32,
            scale_words: groups.div_ceil(4 / scheme.scale.size()),
            zero_words: if scheme.symmetric { 0 } else { groups.div_ceil(4) },
        })
    }
}

fn words_of_block(bits: Bits) -> usize {
    BLOCK * bits.count() / 32
}

/// Word and bit of a code in its block.
pub(super) fn place(bits: Bits, j: usize) -> (usize, usize) {
    let (h, b, i) = (j / 16, j % 16 / 4, j % 4);
    match bits {
        Bits::Four => (i, 8 * b + 4 * h),
        Bits::Eight => (4 * h + i, 8 * b),
    }
}

impl PackedWeight {
    /// A weight of `[n, k]` from its parts as [the layout](super) has them: words of codes, of scales, and of
    /// zero points, of which a symmetric scheme has none.
    ///
    /// # Errors
    /// [`Error::Length`] if a part has another length or there is no weight, [`Error::Value`] for a scale that
    /// is not a normal number above zero (of `f16`: finite and above zero) or a zero point that is no code,
    /// [`Error::Limit`] if sizes overflow.
    pub fn from_parts(
        scheme: Scheme,
        shape: [usize; 2],
        words: Vec<u32>,
        scales: Vec<u32>,
        zeros: Vec<u32>,
    ) -> Result<Self> {
        let parts = Parts::new(scheme, shape)?;
        let lengths = [
            ("words", words.len(), parts.words),
            ("scales", scales.len(), parts.scale_words),
            ("zeros", zeros.len(), parts.zero_words),
        ];
        for (argument, found, needed) in lengths {
            if found != needed {
                let expected = "the words that the scheme needs for the shape";
                return Err(Error::Length { op: OP, argument, expected, found });
            }
        }
        let weight = Self { scheme, shape, words, scales, zeros };
        for group in 0..parts.groups {
            let scale = weight.scale_of(group);
            check_scale(scheme, scale, scale)?;
            let zero = weight.zero_of(group);
            if zero > scheme.bits.largest() {
                let expected = "a code of the scheme";
                return Err(Error::Value {
                    op: OP,
                    argument: "zeros",
                    expected,
                    found: zero.into(),
                });
            }
        }
        Ok(weight)
    }

    /// Packs `codes`, row by row, with one scale, and one zero point where the scheme has them, a group.
    ///
    /// # Errors
    /// As [`PackedWeight::from_parts`]; [`Error::Value`] for a code that is too large. Scales are rounded to the
    /// scheme's type, where 1e-9 has no number in `f16`.
    pub fn pack(
        scheme: Scheme,
        shape: [usize; 2],
        codes: &[u8],
        scales: &[f32],
        zeros: &[u8],
    ) -> Result<Self> {
        let [n, k] = shape;
        let parts = Parts::new(scheme, shape)?;
        let lengths = [
            ("codes", codes.len(), n * k),
            ("scales", scales.len(), parts.groups),
            ("zeros", zeros.len(), if scheme.symmetric { 0 } else { parts.groups }),
        ];
        for (argument, found, needed) in lengths {
            if found != needed {
                let expected = "one a weight, and one a group";
                return Err(Error::Length { op: OP, argument, expected, found });
            }
        }
        let largest = scheme.bits.largest();
        if let Some(&code) = codes.iter().find(|&&code| u32::from(code) > largest) {
            let (expected, found) = ("a code of the scheme", code.into());
            return Err(Error::Value { op: OP, argument: "codes", expected, found });
        }
        // As it came: in its type it may be 0 or infinite.
        for &scale in scales {
            check_scale(scheme, scheme.scale.decode(scheme.scale.encode(scale)), scale)?;
        }
        let scale_words =
            packed(scales.iter().map(|&s| scheme.scale.encode(s)), scheme.scale.size());
        let zero_words = packed(zeros.iter().map(|&zero| zero.into()), 1);
        let (bits, a_row, a_block) = (scheme.bits, parts.words / n, words_of_block(scheme.bits));
        let groups_a_row = scheme.group.count(k);
        let mut words = vec![0u32; parts.words];
        for (row, (words, codes)) in words.chunks_mut(a_row).zip(codes.chunks(k)).enumerate() {
            let zero =
                zeros.get((row + 1) * groups_a_row - 1).map_or(bits.middle(), |&zero| zero.into());
            let filled = codes.iter().map(|&code| code.into()).chain(core::iter::repeat(zero));
            for (j, code) in filled.take(k.next_multiple_of(BLOCK)).enumerate() {
                let (word, bit) = place(bits, j % BLOCK);
                words[j / BLOCK * a_block + word] |= code << bit;
            }
        }
        Self::from_parts(scheme, shape, words, scale_words, zero_words)
    }

    /// The codes, row by row: what [`PackedWeight::pack`] was given.
    pub fn codes(&self) -> Vec<u8> {
        (0..self.shape[0]).flat_map(|row| self.row(row)).map(|code| code as u8).collect()
    }

    /// The weights that the codes stand for, row by row: `[n, k]`.
    pub fn dequantize(&self) -> Vec<f32> {
        let [n, k] = self.shape;
        let (len, groups) = (self.scheme.group.len(k), self.scheme.group.count(k));
        let mut values = Vec::with_capacity(n * k);
        for row in 0..n {
            let mut codes = self.row(row);
            for group in row * groups..(row + 1) * groups {
                let (scale, zero) = (self.scale_of(group), self.zero_of(group) as f32);
                values.extend(codes.by_ref().take(len).map(|code| scale * (code as f32 - zero)));
            }
        }
        values
    }

    /// The codes of a row.
    fn row(&self, row: usize) -> impl Iterator<Item = u32> {
        let (bits, a_row) = (self.scheme.bits, self.words.len() / self.shape[0]);
        let blocks = self.words[row * a_row..][..a_row].chunks(words_of_block(bits));
        let codes = blocks.flat_map(move |words| {
            (0..BLOCK).map(move |j| {
                let (word, bit) = place(bits, j);
                words[word] >> bit & bits.largest()
            })
        });
        codes.take(self.shape[1])
    }

    /// The scale of a group, counted from the first of the first row.
    pub(super) fn scale_of(&self, group: usize) -> f32 {
        match self.scheme.scale {
            ScaleType::F32 => f32::from_bits(self.scales[group]),
            half => half.decode(self.scales[group / 2] >> (group % 2 * 16) & 0xffff),
        }
    }

    fn zero_of(&self, group: usize) -> u32 {
        if self.scheme.symmetric {
            return self.scheme.bits.middle();
        }
        self.zeros[group / 4] >> (group % 4 * 8) & 0xff
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Outputs and inputs: `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The words of the codes.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The words of the scales.
    pub fn scales(&self) -> &[u32] {
        &self.scales
    }

    /// The words of the zero points: none of a symmetric scheme.
    pub fn zeros(&self) -> &[u32] {
        &self.zeros
    }

    /// Bytes of codes, scales and zero points.
    pub fn bytes(&self) -> usize {
        4 * (self.words.len() + self.scales.len() + self.zeros.len())
    }
}

/// Accepts a scale that its type can express; the error tells what it was before that.
fn check_scale(scheme: Scheme, scale: f32, given: f32) -> Result<()> {
    if scheme.scale.has(scale) {
        return Ok(());
    }
    let (expected, found) = (scheme.scale.expected(), given.into());
    Err(Error::Value { op: OP, argument: "scales", expected, found })
}

/// Numbers of `size` bytes, the first in the lowest bits of a word.
fn packed(values: impl Iterator<Item = u32>, size: usize) -> Vec<u32> {
    let a_word = 4 / size;
    let mut words = Vec::new();
    for (i, value) in values.enumerate() {
        if i % a_word == 0 {
            words.push(value);
        } else if let Some(word) = words.last_mut() {
            *word |= value << (i % a_word * 8 * size);
        }
    }
    words
}
