//! Which whole numbers stand for a weight, and what scales them.

use core::fmt;

use half::{bf16, f16};

/// The bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// Codes from 0 to 15.
    Four,
    /// Codes from 0 to 255.
    Eight,
}

impl Bits {
    /// How many.
    pub const fn count(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The largest code.
    pub const fn largest(self) -> u32 {
        (1 << self.count()) - 1
    }

    /// The zero point of a symmetric scheme.
    pub const fn middle(self) -> u32 {
        1 << (self.count() - 1)
    }
}

/// How many neighbours along the inputs share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// 32 of them.
    Of32,
    /// 64 of them.
    Of64,
    /// 128 of them.
    Of128,
    /// All inputs of an output.
    Channel,
}

impl Group {
    /// The inputs of a group, of `k` in a row.
    pub const fn len(self, k: usize) -> usize {
        match self {
            Self::Of32 => 32,
            Self::Of64 => 64,
            Self::Of128 => 128,
            Self::Channel => k,
        }
    }

    /// The groups of a row of `k` inputs: the last is shorter where their length does not divide `k`.
    pub const fn count(self, k: usize) -> usize {
        if k == 0 { 0 } else { k.div_ceil(self.len(k)) }
    }
}

/// The storage type of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleType {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// IEEE 754 binary32.
    F32,
}

impl ScaleType {
    /// Bytes of one scale.
    pub const fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// The scale of these bits.
    pub fn decode(self, bits: u32) -> f32 {
        match self {
            Self::F16 => f16::from_bits(bits as u16).to_f32(),
            Self::Bf16 => bf16::from_bits(bits as u16).to_f32(),
            Self::F32 => f32::from_bits(bits),
        }
    }

    /// The bits of the scale that is nearest.
    pub fn encode(self, scale: f32) -> u32 {
        match self {
            Self::F16 => f16::from_f32(scale).to_bits().into(),
            Self::Bf16 => bf16::from_f32(scale).to_bits().into(),
            Self::F32 => scale.to_bits(),
        }
    }

    /// The smallest scale above zero.
    pub fn smallest(self) -> f32 {
        // A device may take what is below its normal numbers for zero.
        match self {
            Self::F16 => self.decode(1),
            Self::Bf16 | Self::F32 => f32::MIN_POSITIVE,
        }
    }

    /// What a scale has to be, for errors.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::F16 => "above zero as f16 has it, from 6e-8 to 65504",
            Self::Bf16 => "a normal number of bf16 above zero, from 1.2e-38 to 3.3e38",
            Self::F32 => "a normal number above zero, from 1.2e-38 to 3.4e38",
        }
    }

    /// Whether weights can be multiplied by it on every device.
    pub(super) fn has(self, scale: f32) -> bool {
        (self.smallest()..=self.largest()).contains(&scale)
    }

    /// The largest finite scale.
    pub fn largest(self) -> f32 {
        match self {
            Self::F16 => f16::MAX.to_f32(),
            Self::Bf16 => bf16::MAX.to_f32(),
            Self::F32 => f32::MAX,
        }
    }
}

/// How weights are quantised.
///
/// ```
/// use wavecube_core::quant::{Bits, Group, ScaleType, Scheme};
/// let scheme = Scheme { bits: Bits::Four, symmetric: true, group: Group::Of128, scale: ScaleType::F16 };
/// assert_eq!(scheme.to_string(), "int4 symmetric g128 f16");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// The bits of a code.
    pub bits: Bits,
    /// Whether zero is in the middle of the codes; otherwise every group has its own zero point.
    pub symmetric: bool,
    /// How many neighbours share a scale.
    pub group: Group,
    /// The storage type of scales.
    pub scale: ScaleType,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symmetry = if self.symmetric { "symmetric" } else { "asymmetric" };
        let group = match self.group {
            Group::Of32 => "g32",
            Group::Of64 => "g64",
            Group::Of128 => "g128",
            Group::Channel => "channel",
        };
        let scale = match self.scale {
            ScaleType::F16 => "f16",
            ScaleType::Bf16 => "bf16",
            ScaleType::F32 => "f32",
        };
        write!(f, "int{} {symmetry} {group} {scale}", self.bits.count())
    }
}
