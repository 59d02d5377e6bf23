//! Element types.

use core::fmt;

/// The real type that a buffer stores. A complex element is two of them, real part first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary16, storage only: kernels compute in `f32`.
    F16,
    /// The upper half of a binary32 (8 bits of exponent, 7 stored of the fraction), where the device has it; storage
    /// only: kernels compute in `f32`.
    Bf16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64, where the device has it.
    F64,
}

impl Dtype {
    /// Bytes of one real element.
    pub const fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The type in which kernels compute on this storage type.
    #[must_use]
    pub const fn compute(self) -> Self {
        match self {
            Self::F16 | Self::Bf16 | Self::F32 => Self::F32,
            Self::F64 => Self::F64,
        }
    }

    /// The distance from 1 to the next representable number.
    pub const fn epsilon(self) -> f64 {
        match self {
            Self::F16 => 9.765_625e-4,
            Self::Bf16 => 7.812_5e-3,
            Self::F32 => f32::EPSILON as f64,
            Self::F64 => f64::EPSILON,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}
