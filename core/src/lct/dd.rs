//! Sums of two `f64`, for phases: a chirp at `n = 10⁶` turns 10⁶ times, and what counts is the
//! fraction of the last turn.

use core::f64::consts::PI;

use num_complex::Complex64;

/// The unevaluated sum `hi + lo`, `|lo| ≤ ulp(hi)/2`: about 106 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dd {
    hi: f64,
    lo: f64,
}

impl Dd {
    pub(super) const fn new(value: f64) -> Self {
        Self { hi: value, lo: 0.0 }
    }

    /// The exact sum of two `f64` (Knuth's two-sum).
    pub(super) fn sum(x: f64, y: f64) -> Self {
        let hi = x + y;
        let rest = hi - x;
        Self { hi, lo: (x - (hi - rest)) + (y - rest) }
    }

    /// The exact product of two `f64`. `mul_add` rounds once on every target, in software where the
    /// processor has no fused instruction.
    pub(super) fn product(x: f64, y: f64) -> Self {
        let hi = x * y;
        Self { hi, lo: x.mul_add(y, -hi) }
    }

    pub(super) fn squared(self) -> Self {
        self.times(self)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let head = Self::sum(self.hi, other.hi);
        Self::sum(head.hi, head.lo + (self.lo + other.lo))
    }

    pub(super) fn times(self, other: Self) -> Self {
        let head = Self::product(self.hi, other.hi);
        Self::sum(head.hi, head.lo + self.hi.mul_add(other.lo, self.lo * other.hi))
    }

    pub(super) fn over(self, other: Self) -> Self {
        let quotient = self.hi / other.hi;
        let back = Self::product(quotient, other.hi);
        let rest = (self.hi - back.hi) + (self.lo - back.lo) - quotient * other.lo;
        Self::sum(quotient, rest / other.hi)
    }

    pub(super) fn is_finite(self) -> bool {
        self.hi.is_finite() && self.lo.is_finite()
    }

    /// `exp(iπ·self)`. Whole turns are removed exactly, then the nearest quarter turn, so the
    /// remaining angle is at most π/4 and the error is below 3e-16 whatever the size of the phase.
    pub(super) fn cis_pi(self) -> Complex64 {
        let fraction = Self::sum(below_one_turn(self.hi), below_one_turn(self.lo));
        let hi = below_one_turn(fraction.hi);
        let quarter = (2.0 * hi).round();
        let (sin, cos) = (PI * ((hi - 0.5 * quarter) + fraction.lo)).sin_cos();
        match (quarter as i64).rem_euclid(4) {
            0 => Complex64::new(cos, sin),
            1 => Complex64::new(-sin, cos),
            2 => Complex64::new(-cos, -sin),
            _ => Complex64::new(sin, -cos),
        }
    }

    /// `exp(i·self)`, the phase in radians. The standard library reduces `hi` exactly; `lo` is below
    /// half a unit in its last place and is added by one small rotation.
    pub(super) fn cis(self) -> Complex64 {
        let (sin, cos) = self.hi.sin_cos();
        let (small_sin, small_cos) = self.lo.sin_cos();
        Complex64::new(cos, sin) * Complex64::new(small_cos, small_sin)
    }
}

/// `x` less the nearest multiple of 2, exact: both are multiples of the same power of two, and the
/// difference is at most 1.
fn below_one_turn(x: f64) -> f64 {
    x - 2.0 * (0.5 * x).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_quarter_turns_are_exact() {
        for turns in [0.0, 2.0, -4.0, 1e6, 2f64.powi(60)] {
            assert_eq!(Dd::new(turns).cis_pi(), Complex64::new(1.0, 0.0));
        }
        assert_eq!(Dd::new(0.5).cis_pi(), Complex64::new(0.0, 1.0));
        assert_eq!(Dd::new(-0.5).cis_pi(), Complex64::new(0.0, -1.0));
        assert_eq!(Dd::new(1e6 + 1.0).cis_pi(), Complex64::new(-1.0, 0.0));
        assert_eq!(Dd::sum(2f64.powi(60), 0.5).cis_pi(), Complex64::new(0.0, 1.0));
    }

    #[test]
    fn large_integer_phases_keep_their_fraction() {
        // (3/7)·n² mod 2 by integers, against the double-double product; n² up to 10¹².
        for n in [1u64, 10, 12_345, 999_983, 1_000_000] {
            let exact = (3 * n * n) % 14;
            let want = Dd::new(exact as f64).over(Dd::new(7.0)).cis_pi();
            let phase = Dd::product(n as f64, n as f64).times(Dd::new(3.0)).over(Dd::new(7.0));
            let error = (phase.cis_pi() - want).norm();
            // 106-bit relative error on 4e11 half turns: far below one rounding of the result.
            assert!(error < 4e-16, "n = {n}: {error:e}");
        }
    }
}
