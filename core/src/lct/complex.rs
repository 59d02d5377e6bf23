//! The complex parameter of the transform, a matrix of SL(2, ℂ).

use core::f64::consts::PI;
use core::ops::Mul;

use num_complex::Complex64;

use super::Abcd;
use super::matrix::DETERMINANT_TOLERANCE;
use crate::{Error, Result};

/// The matrix `[[a, b], [c, d]]` with complex entries, `ad − bc = 1`.
///
/// The kernel is the real one's, `(ib)^(−1/2) exp(iπ(a x² − 2xu + d u²)/b)`; it may grow without bound
/// ([`Self::is_bounded`]), and the transform is not unitary.
///
/// ```
/// use wavecube_core::lct::ComplexAbcd;
///
/// // The bilateral Laplace transform at s = 2πu: kernel exp(−2πxu), up to the constant 1/i.
/// let kernel = ComplexAbcd::laplace().kernel(0.5, 1.0)?;
/// assert!((kernel.norm() - (-core::f64::consts::PI).exp()).abs() < 1e-15);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComplexAbcd {
    a: Complex64,
    b: Complex64,
    c: Complex64,
    d: Complex64,
}

impl ComplexAbcd {
    /// The matrix of four entries of determinant 1.
    ///
    /// # Errors
    /// [`Error::Value`] naming the entry that is not finite, or the determinant if it is further from
    /// 1 than [`DETERMINANT_TOLERANCE`] allows; `found` is then the distance.
    pub fn new(a: Complex64, b: Complex64, c: Complex64, d: Complex64) -> Result<Self> {
        const OP: &str = "ComplexAbcd::new";
        for (argument, value) in [("a", a), ("b", b), ("c", c), ("d", d)] {
            if !value.is_finite() {
                let found = if value.re.is_finite() { value.im } else { value.re };
                return Err(Error::Value { op: OP, argument, expected: "finite", found });
            }
        }
        let (ad, bc) = (a * d, b * c);
        let distance = (ad - bc - 1.0).norm();
        let allowed = DETERMINANT_TOLERANCE + 16.0 * f64::EPSILON * (ad.norm() + bc.norm());
        if distance <= allowed && allowed.is_finite() {
            Ok(Self { a, b, c, d })
        } else {
            Err(Error::Value {
                op: OP,
                argument: "a d - b c - 1",
                expected: "0 (the matrix of a linear canonical transform has determinant 1)",
                found: distance,
            })
        }
    }

    /// The bilateral Laplace transform at `s = 2πu`, `[[0, i], [i, 0]]`.
    pub const fn laplace() -> Self {
        Self { a: Complex64::ZERO, b: Complex64::I, c: Complex64::I, d: Complex64::ZERO }
    }

    /// Multiplication by the Gaussian `exp(−π s x²)`: the chirp of imaginary rate `is`.
    pub const fn gaussian(s: f64) -> Self {
        Self { a: Complex64::ONE, b: Complex64::ZERO, c: Complex64::new(0.0, s), d: Complex64::ONE }
    }

    /// `[a, b, c, d]`.
    pub const fn entries(&self) -> [Complex64; 4] {
        [self.a, self.b, self.c, self.d]
    }

    /// The matrix of the inverse transform, `[[d, −b], [−c, a]]`.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { a: self.d, b: -self.b, c: -self.c, d: self.a }
    }

    /// The kernel with the principal square root.
    ///
    /// # Errors
    /// [`Error::Value`] if `b` is zero.
    pub fn kernel(&self, u: f64, x: f64) -> Result<Complex64> {
        let reciprocal = self.reciprocal_b("ComplexAbcd::kernel")?;
        let exponent = (self.a * (x * x) - 2.0 * x * u + self.d * (u * u)) * reciprocal;
        Ok((Complex64::new(0.0, PI) * exponent).exp() / (Complex64::I * self.b).sqrt())
    }

    /// Whether `|kernel|` is bounded over all positions: whether the quadratic form
    /// `Im((a x² − 2xu + d u²)/b)` is nowhere negative. With `b = 0` the transform is a scaling by `a`
    /// and a chirp, bounded if `a` is real and the chirp does not grow.
    ///
    /// ```
    /// use wavecube_core::lct::{Abcd, ComplexAbcd};
    /// assert!(ComplexAbcd::from(Abcd::FOURIER).is_bounded());
    /// assert!(ComplexAbcd::gaussian(1.0).is_bounded());
    /// assert!(!ComplexAbcd::laplace().is_bounded());
    /// ```
    pub fn is_bounded(&self) -> bool {
        let Ok(reciprocal) = self.reciprocal_b("ComplexAbcd::is_bounded") else {
            return self.a.im == 0.0 && (self.c * self.a).im >= 0.0;
        };
        let (xx, uu) = ((self.a * reciprocal).im, (self.d * reciprocal).im);
        xx >= 0.0 && uu >= 0.0 && xx * uu >= reciprocal.im * reciprocal.im
    }

    fn reciprocal_b(&self, op: &'static str) -> Result<Complex64> {
        let reciprocal = self.b.inv();
        if reciprocal.is_finite() {
            Ok(reciprocal)
        } else {
            Err(Error::Value { op, argument: "b", expected: "not zero", found: self.b.norm() })
        }
    }
}

impl From<Abcd> for ComplexAbcd {
    fn from(real: Abcd) -> Self {
        let [a, b, c, d] = real.entries().map(Complex64::from);
        Self { a, b, c, d }
    }
}

impl Mul for ComplexAbcd {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_matrices_keep_their_kernel() {
        let m = Abcd::from_abc(0.75, -1.5, 0.25).unwrap();
        let (real, complex) = (m.kernel(0.3, -1.2).unwrap(), ComplexAbcd::from(m));
        assert!((complex.kernel(0.3, -1.2).unwrap() - real).norm() < 1e-14);
        assert!(complex.is_bounded());
    }

    #[test]
    fn laplace_twice_is_minus_the_identity() {
        let minus = ComplexAbcd::laplace() * ComplexAbcd::laplace();
        assert_eq!(minus.entries(), [-1.0, 0.0, 0.0, -1.0].map(Complex64::from));
        let one = ComplexAbcd::laplace() * ComplexAbcd::laplace().inverse();
        assert_eq!(one.entries(), [1.0, 0.0, 0.0, 1.0].map(Complex64::from));
    }

    #[test]
    fn names_what_it_rejects() {
        let nan = Complex64::new(0.0, f64::NAN);
        let (zero, one) = (Complex64::ZERO, Complex64::ONE);
        assert!(matches!(
            ComplexAbcd::new(one, nan, zero, one),
            Err(Error::Value { argument: "b", .. })
        ));
        assert!(matches!(
            ComplexAbcd::new(one, one, one, one),
            Err(Error::Value { argument: "a d - b c - 1", .. })
        ));
        assert!(ComplexAbcd::gaussian(1.0).kernel(0.0, 0.0).is_err());
    }

    #[test]
    fn a_shrinking_gaussian_after_a_fourier_transform_is_bounded() {
        // exp(−πsu²)·F: kernel exp(−2πixu − πsu²), bounded for s ≥ 0 only.
        for (s, bounded) in [(0.5, true), (-0.5, false)] {
            let m = ComplexAbcd::gaussian(s) * ComplexAbcd::from(Abcd::FOURIER);
            assert_eq!(m.is_bounded(), bounded);
        }
    }
}
