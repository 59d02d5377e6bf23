//! The real parameter of the transform, a matrix of SL(2, ℝ).

use core::ops::Mul;

use num_complex::Complex64;

use crate::{Error, Result};

/// How far from 1 the determinant may be, beyond the rounding of its two products:
/// `|ad − bc − 1| ≤ 1e-9 + 8ε(|ad| + |bc|)`.
pub const DETERMINANT_TOLERANCE: f64 = 1e-9;

/// The matrix `[[a, b], [c, d]]`, `ad − bc = 1`, that takes position and frequency `(x, ξ)` to
/// `(ax + bξ, cx + dξ)`.
///
/// Products compose transforms right to left: `(m2 * m1)` applies `m1` first.
///
/// ```
/// use wavecube_core::lct::Abcd;
///
/// let quarter = Abcd::fractional_fourier(core::f64::consts::FRAC_PI_4);
/// let fourier = quarter * quarter;
/// assert!((fourier.b() - 1.0).abs() < 1e-15 && fourier.a().abs() < 1e-15);
/// assert!(Abcd::new(1.0, 1.0, 1.0, 1.0).is_err());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Abcd {
    a: f64,
    b: f64,
    c: f64,
    d: f64,
}

impl Abcd {
    /// The matrix that leaves every signal as it is.
    pub const IDENTITY: Self = Self { a: 1.0, b: 0.0, c: 0.0, d: 1.0 };

    /// The Fourier transform, `exp(−2πi x u)`: `[[0, 1], [−1, 0]]`.
    pub const FOURIER: Self = Self { a: 0.0, b: 1.0, c: -1.0, d: 0.0 };

    /// The matrix of four entries of determinant 1.
    ///
    /// # Errors
    /// [`Error::Value`] naming the entry that is not finite, or the determinant if it is further from
    /// 1 than [`DETERMINANT_TOLERANCE`] allows.
    pub fn new(a: f64, b: f64, c: f64, d: f64) -> Result<Self> {
        const OP: &str = "Abcd::new";
        for (argument, value) in [("a", a), ("b", b), ("c", c), ("d", d)] {
            finite(OP, argument, value)?;
        }
        let (ad, bc) = (a * d, b * c);
        // One fused operation, so that entries of 1e8 still have a determinant to speak of.
        let determinant = a.mul_add(d, -bc) - b.mul_add(c, -bc);
        let allowed = DETERMINANT_TOLERANCE + 8.0 * f64::EPSILON * (ad.abs() + bc.abs());
        // Written so that a determinant that overflowed to NaN is refused as well.
        if (determinant - 1.0).abs() <= allowed && allowed.is_finite() {
            Ok(Self { a, b, c, d })
        } else {
            Err(Error::Value {
                op: OP,
                argument: "a d - b c",
                expected: "1 (the matrix of a linear canonical transform has determinant 1)",
                found: determinant,
            })
        }
    }

    /// The matrix with these `a ≠ 0`, `b`, `c`, and `d = (1 + bc)/a`.
    ///
    /// # Errors
    /// [`Error::Value`] if an entry is not finite, or `a` is zero or so small that `d` overflows.
    pub fn from_abc(a: f64, b: f64, c: f64) -> Result<Self> {
        const OP: &str = "Abcd::from_abc";
        for (argument, value) in [("a", a), ("b", b), ("c", c)] {
            finite(OP, argument, value)?;
        }
        let d = b.mul_add(c, 1.0) / a;
        if d.is_finite() {
            Ok(Self { a, b, c, d })
        } else {
            Err(Error::Value {
                op: OP,
                argument: "a",
                expected: "far enough from zero that d = (1 + b c)/a is finite",
                found: a,
            })
        }
    }

    /// The fractional Fourier transform by `angle` radians, `[[cos, sin], [−sin, cos]]`: π/2 is the
    /// Fourier transform. An angle that is not finite gives entries that are not, and every operation
    /// refuses them.
    pub fn fractional_fourier(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self { a: cos, b: sin, c: -sin, d: cos }
    }

    /// Free propagation, a convolution by a chirp: `[[1, b], [0, 1]]`.
    pub const fn fresnel(b: f64) -> Self {
        Self { a: 1.0, b, c: 0.0, d: 1.0 }
    }

    /// Multiplication by the chirp `exp(iπ q x²)`: `[[1, 0], [q, 1]]`.
    pub const fn chirp(q: f64) -> Self {
        Self { a: 1.0, b: 0.0, c: q, d: 1.0 }
    }

    /// Magnification, `f(x) → |m|^(−1/2) f(x/m)`: `diag(m, 1/m)`.
    ///
    /// # Errors
    /// [`Error::Value`] if `m` is zero, not finite, or so small that `1/m` is not.
    pub fn scaling(m: f64) -> Result<Self> {
        if m.is_finite() && m.recip().is_finite() {
            Ok(Self { a: m, b: 0.0, c: 0.0, d: m.recip() })
        } else {
            Err(Error::Value {
                op: "Abcd::scaling",
                argument: "m",
                expected: "finite and not zero",
                found: m,
            })
        }
    }

    /// A matrix whose determinant is 1 by the way it was computed.
    pub(super) const fn unchecked(a: f64, b: f64, c: f64, d: f64) -> Self {
        Self { a, b, c, d }
    }

    /// Position from position.
    pub const fn a(&self) -> f64 {
        self.a
    }

    /// Position from frequency: the kernel's denominator.
    pub const fn b(&self) -> f64 {
        self.b
    }

    /// Frequency from position.
    pub const fn c(&self) -> f64 {
        self.c
    }

    /// Frequency from frequency.
    pub const fn d(&self) -> f64 {
        self.d
    }

    /// `[a, b, c, d]`.
    pub const fn entries(&self) -> [f64; 4] {
        [self.a, self.b, self.c, self.d]
    }

    /// The matrix of the inverse transform, `[[d, −b], [−c, a]]`.
    #[must_use]
    pub const fn inverse(&self) -> Self {
        Self { a: self.d, b: -self.b, c: -self.c, d: self.a }
    }

    /// The largest factor by which the transform stretches a direction of the time–frequency plane:
    /// the largest singular value, at least 1.
    ///
    /// ```
    /// # use wavecube_core::lct::Abcd;
    /// assert_eq!(Abcd::scaling(0.25)?.stretch(), 4.0);
    /// assert_eq!(Abcd::FOURIER.stretch(), 1.0);
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn stretch(&self) -> f64 {
        // ½(σ + 1/σ) and ½(σ − 1/σ) are the moduli of these two complex numbers when det = 1.
        0.5 * ((self.a + self.d).hypot(self.b - self.c) + (self.a - self.d).hypot(self.b + self.c))
    }

    /// The rotation angle of the transform in (−π, π], `atan2(b, a)`; π for `b = 0 > a`.
    ///
    /// It names the lift of the matrix to the metaplectic group that the kernel's principal square
    /// root `(ib)^(−1/2)` selects: the sign is that of `exp(−i angle/2)`.
    pub fn angle(&self) -> f64 {
        // −0 + 0 = 0: the sign of a zero must not choose between −π and π.
        (self.b + 0.0).atan2(self.a)
    }

    /// The sign `±1` by which transforms with principal square roots compose:
    /// `T(m2) T(m1) = sign · T(m2·m1)` where `m2` is `self`.
    ///
    /// ```
    /// # use wavecube_core::lct::Abcd;
    /// // Four Fourier transforms are minus the identity: (e^{−iπ/4})⁴ = −1.
    /// let square = Abcd::FOURIER * Abcd::FOURIER;
    /// assert_eq!(square.metaplectic_sign(&square), -1.0);
    /// ```
    pub fn metaplectic_sign(&self, m1: &Self) -> f64 {
        // Continue the angle of `self` along m1 = L(q) D(m) R(θ): the first two factors keep the sign
        // of b (see `Frame`), the rotation adds its angle.
        let radius = m1.a.hypot(m1.b);
        let q = (m1.a * m1.c + m1.b * m1.d) / (radius * radius);
        let carried = Self::unchecked((self.a + self.b * q) * radius, self.b / radius, 0.0, 0.0);
        let turns = (carried.angle() + m1.angle() - (*self * *m1).angle()) / core::f64::consts::TAU;
        if (turns.round() as i64).rem_euclid(2) == 0 { 1.0 } else { -1.0 }
    }

    /// The kernel `(ib)^(−1/2) exp(iπ(a x² − 2xu + d u²)/b)` with the principal square root.
    ///
    /// # Errors
    /// [`Error::Value`] if `b` is zero: the kernel is then a delta at `u = ax`.
    pub fn kernel(&self, u: f64, x: f64) -> Result<Complex64> {
        nonzero_b("Abcd::kernel", self.b)?;
        let phase = (self.a * x * x - 2.0 * x * u + self.d * u * u) / self.b;
        let eighth = -core::f64::consts::FRAC_PI_4 * self.b.signum();
        Ok(Complex64::from_polar(
            self.b.abs().sqrt().recip(),
            core::f64::consts::PI * phase + eighth,
        ))
    }
}

impl Mul for Abcd {
    type Output = Self;

    /// The matrix of `rhs` followed by `self`.
    fn mul(self, rhs: Self) -> Self {
        Self {
            a: self.a * rhs.a + self.b * rhs.c,
            b: self.a * rhs.b + self.b * rhs.d,
            c: self.c * rhs.a + self.d * rhs.c,
            d: self.c * rhs.b + self.d * rhs.d,
        }
    }
}

/// Accepts a finite value.
pub(super) fn finite(op: &'static str, argument: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Error::Value { op, argument, expected: "finite", found: value })
    }
}

/// Accepts a `b` that the kernel can be divided by.
pub(super) fn nonzero_b(op: &'static str, b: f64) -> Result<f64> {
    if b.is_finite() && b.recip().is_finite() {
        Ok(b)
    } else {
        Err(Error::Value {
            op,
            argument: "b",
            expected: "finite and not zero; `lct_framed` and `lct_shear` take b = 0",
            found: b,
        })
    }
}

/// Accepts the distance of two points.
pub(super) fn positive_spacing(op: &'static str, spacing: f64) -> Result<f64> {
    if spacing > 0.0 && spacing.is_finite() {
        Ok(spacing)
    } else {
        let expected = "finite and positive";
        Err(Error::Value { op, argument: "spacing", expected, found: spacing })
    }
}

/// What is wrong with a spacing whose squares leave the range of `f64`.
pub(super) fn phases_overflow(op: &'static str, spacing: f64) -> Error {
    let expected = "such that the chirps' phases are finite";
    Error::Value { op, argument: "spacing", expected, found: spacing }
}

/// Accepts matrices with finite entries: the infallible constructors let others through.
pub(super) fn finite_entries(op: &'static str, matrix: &Abcd) -> Result<()> {
    for (argument, value) in ["a", "b", "c", "d"].into_iter().zip(matrix.entries()) {
        finite(op, argument, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_it_rejects() {
        let argument = |result: Result<Abcd>| match result {
            Err(Error::Value { argument, .. }) => argument,
            other => panic!("{other:?}"),
        };
        assert_eq!(argument(Abcd::new(f64::NAN, 0.0, 0.0, 1.0)), "a");
        assert_eq!(argument(Abcd::new(1.0, f64::INFINITY, 0.0, 1.0)), "b");
        assert_eq!(argument(Abcd::new(1.0, 0.0, f64::NAN, 1.0)), "c");
        assert_eq!(argument(Abcd::new(1.0, 0.0, 0.0, f64::NEG_INFINITY)), "d");
        assert_eq!(argument(Abcd::new(1.0, 0.0, 0.0, 1.0 + 2e-9)), "a d - b c");
        assert_eq!(argument(Abcd::new(1e300, 1e300, 1e300, 1e300)), "a d - b c");
        assert_eq!(argument(Abcd::from_abc(0.0, 1.0, 0.0)), "a");
        assert_eq!(argument(Abcd::scaling(0.0)), "m");
        assert!(Abcd::FOURIER.kernel(0.0, 0.0).is_ok());
        assert!(Abcd::IDENTITY.kernel(0.0, 0.0).is_err());
    }

    #[test]
    fn accepts_the_rounding_of_large_entries() {
        // d rounded to f64 leaves a determinant off by ε·|ad| = 2e-4 here, which is not the caller's.
        let (a, b, c) = (1e6, 1e6 + 1.0, 1e6 - 3.0);
        let d = (1.0 + b * c) / a;
        assert!(Abcd::new(a, b, c, d).is_ok());
    }

    #[test]
    fn inverse_and_stretch() {
        let m = Abcd::from_abc(1.25, -0.5, 0.75).unwrap();
        let one = m * m.inverse();
        for (got, want) in one.entries().into_iter().zip(Abcd::IDENTITY.entries()) {
            assert!((got - want).abs() < 4e-16);
        }
        // σ of a shear by s is (s + √(s² + 4))/2.
        let shear = Abcd::fresnel(3.0).stretch();
        assert!((shear - f64::midpoint(3.0, 13f64.sqrt())).abs() < 1e-15);
    }

    #[test]
    fn a_negative_zero_b_is_zero() {
        assert_eq!(Abcd::unchecked(-1.0, -0.0, 0.0, -1.0).angle(), core::f64::consts::PI);
    }
}
