//! The Weil representation: integer matrices modulo `N`, exactly, with phase.
//!
//! The transform acts on functions on the residues `0 … N − 1` (the DFT's own order, *not* the centred
//! grid: on the half-integers of even `N` only even chirp rates are defined). Write `Q = N` for odd `N`
//! and `Q = 2N` for even `N`, `e_Q(t) = exp(2πit/Q)` for even and `e_N(2⁻¹t)` for odd `N`: in both cases
//! "`exp(iπt/N)`" for integers `t`, the inverse of 2 taken modulo `N` if `N` is odd. Entries are integers
//! modulo `Q`, `ad − bc ≡ 1`. For `b` invertible
//!
//! `(T x)_k = γ(b) N^(−1/2) Σ_n exp(iπ b⁻¹(a n² − 2nk + d k²)/N) x_n`,
//!
//! - odd `N`: `γ(b) = ε·(2b/N)`, the Jacobi symbol, `ε = 1` if `N ≡ 1 mod 4` and `−i` if `N ≡ 3`;
//! - even `N`: `γ(b) = e^(−iπ/4)·(1 if b ≡ 1 mod 4, i if b ≡ 3)·(2N/b)`.
//!
//! `γ(b)` is `N^(−1/2) Σ_m exp(−iπ b m²/N)`, the quadratic Gauss sum of `U(b) = F⁻¹ L(−b) F`. Every
//! matrix is reached with at most three DFTs, integer chirps and a permutation:
//!
//! | case | steps |
//! |---|---|
//! | `b ≡ 0` | `L(c/a) D(a)`: no DFT |
//! | `b` invertible | `L(d/b) D(b) F L(a/b)`: one |
//! | `a` invertible | `L(c/a) D(a) U(b/a)`: two |
//! | neither | `(M U(t)) U(−t)` with the least `t` that makes `b + at` invertible: three |
//!
//! `(D(m) x)_k = γ(m)/γ(1)·x_{k/m}`. A Euclidean word in `L` and `F` would need a DFT for every quotient.
//!
//! What is promised: unitary; for odd `N` `T(M₂)T(M₁) = T(M₂M₁)` exactly, phase included, for all
//! matrices; for even `N` up to sign. What is not: a continuous transform, or real matrices.
//!
//! Reference: Gurevich and Hadani, *Quantization of symplectic vector spaces over finite fields*, J.
//! Symplectic Geom. 7 (2009); Berndt, Evans and Williams, *Gauss and Jacobi Sums* (1998), §1.5, for the
//! sums; Scheithauer, *The Weil representation of SL₂(ℤ) and some applications*, Int. Math. Res. Not.
//! (2009), for even `N`.

use core::ops::Mul;

use super::table_length;
use crate::{Error, Result};

mod plan;
mod residues;

pub use plan::{WeilPlan, WeilStep};
use residues::Residues;

const OP: &str = "lct_weil";

/// A matrix of integers modulo `N` (odd `N`) or `2N` (even `N`), of determinant 1.
///
/// ```
/// use wavecube_core::lct::{WeilMatrix, WeilStep};
///
/// let fourier = WeilMatrix::new(7, [0, 1, -1, 0])?;
/// assert_eq!(fourier.plan().dfts(), 1);
/// let doubling = WeilMatrix::new(7, [2, 0, 0, 4])?; // 2·4 ≡ 1 mod 7
/// assert_eq!(doubling.plan().steps, [WeilStep::Permute { multiplier: 4 }]);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeilMatrix {
    ring: Residues,
    entries: [u64; 4],
}

impl WeilMatrix {
    /// The longest transform.
    pub const MAX_LENGTH: usize = 1 << 31;

    /// The matrix `[a, b, c, d]` for signals of length `n`; entries are reduced modulo `n` (odd) or `2n`
    /// (even).
    ///
    /// # Errors
    /// [`Error::Length`] if `n` is 0 or more than [`Self::MAX_LENGTH`], [`Error::Value`] if the
    /// determinant is not 1 modulo `n` or `2n`.
    pub fn new(n: usize, entries: [i64; 4]) -> Result<Self> {
        table_length(OP, "n", n)?;
        let ring = Residues::of_length(n as u64);
        let entries = entries.map(|entry| entry.rem_euclid(ring.modulus as i64) as u64);
        let [a, b, c, d] = entries;
        let determinant = ring.minus(ring.times(a, d), ring.times(b, c));
        if determinant == ring.one() {
            Ok(Self { ring, entries })
        } else {
            Err(Error::Value {
                op: OP,
                argument: "a d - b c",
                expected: "1 modulo N for odd N, modulo 2N for even N",
                found: determinant as f64,
            })
        }
    }

    /// The length `N`.
    pub const fn length(&self) -> usize {
        self.ring.n as usize
    }

    /// `N` for odd `N`, `2N` for even `N`.
    pub const fn modulus(&self) -> u64 {
        self.ring.modulus
    }

    /// `[a, b, c, d]`, each less than the modulus.
    pub const fn entries(&self) -> [u64; 4] {
        self.entries
    }

    /// The matrix of the inverse transform.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let [a, b, c, d] = self.entries;
        Self { entries: [d, self.ring.minus(0, b), self.ring.minus(0, c), a], ..*self }
    }

    /// The matrix of `first` followed by `self`.
    ///
    /// # Errors
    /// [`Error::Length`] if the two act on different lengths.
    pub fn after(&self, first: &Self) -> Result<Self> {
        if self.ring == first.ring {
            return Ok(*self * *first);
        }
        Err(Error::Length {
            op: OP,
            argument: "first",
            expected: "the same for both matrices",
            found: first.length(),
        })
    }
}

impl Mul for WeilMatrix {
    type Output = Self;

    /// The matrix of `rhs` followed by `self`, both read modulo the length of `self`;
    /// [`WeilMatrix::after`] refuses different lengths.
    fn mul(self, rhs: Self) -> Self {
        let [a, b, c, d] = self.entries;
        let ring = self.ring;
        let [e, f, g, h] = rhs.entries.map(|entry| entry % ring.modulus);
        let dot = |x, y, z, w| ring.plus(ring.times(x, y), ring.times(z, w));
        Self {
            entries: [dot(a, e, b, g), dot(a, f, b, h), dot(c, e, d, g), dot(c, f, d, h)],
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Complex64;

    #[test]
    fn rejects() {
        assert!(matches!(WeilMatrix::new(0, [1, 0, 0, 1]), Err(Error::Length { .. })));
        assert!(WeilMatrix::new(WeilMatrix::MAX_LENGTH + 1, [1, 0, 0, 1]).is_err());
        assert!(matches!(
            WeilMatrix::new(8, [3, 0, 0, 3]), // 9 ≡ 1 mod 8, but not mod 16
            Err(Error::Value { argument: "a d - b c", .. })
        ));
        let (five, seven) = (WeilMatrix::new(5, [1, 1, 0, 1]), WeilMatrix::new(7, [1, 1, 0, 1]));
        let (five, seven) = (five.unwrap(), seven.unwrap());
        assert!(five.after(&seven).is_err());
        assert!(five.plan().apply_naive(&[Complex64::ZERO; 3]).is_err());
        assert!(five.plan().chirp_table(1, 0).is_err());
    }
}
