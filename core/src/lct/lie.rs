//! The Lie-algebra form of the parameter: three unconstrained numbers, determinant 1 by
//! construction.
//!
//! `M = exp(A)`, `A = p₁H + p₂X + p₃Y = [[p₁, p₂], [p₃, −p₁]]`. By Cayley–Hamilton `A² = Δ·1` with
//! `Δ = p₁² + p₂p₃`, so `M = C(Δ)·1 + S(Δ)·A` where `C = cosh √Δ` and `S = sinh √Δ/√Δ` (cosine and
//! sine for `Δ < 0`): both are entire functions of `Δ`. `C' = S/2` and `S' = (C − S)/(2Δ)`.

use super::Abcd;
use super::matrix::finite;
use crate::{Error, Result};

/// An element `p₁H + p₂X + p₃Y` of sl(2, ℝ): `H = diag(1, −1)`, `X = [[0, 1], [0, 0]]`,
/// `Y = [[0, 0], [1, 0]]`.
///
/// ```
/// use wavecube_core::lct::Lie;
///
/// // exp(θ(X − Y)) is the rotation by θ.
/// let rotation = Lie::new(0.0, 0.3, -0.3)?.exp()?;
/// assert!((rotation.b() - 0.3f64.sin()).abs() < 1e-16);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lie {
    p: [f64; 3],
}

impl Lie {
    /// The element with these coordinates.
    ///
    /// # Errors
    /// [`Error::Value`] naming the coordinate that is not finite.
    pub fn new(p1: f64, p2: f64, p3: f64) -> Result<Self> {
        for (argument, value) in [("p1", p1), ("p2", p2), ("p3", p3)] {
            finite("Lie::new", argument, value)?;
        }
        Ok(Self { p: [p1, p2, p3] })
    }

    /// `[p₁, p₂, p₃]`.
    pub const fn coordinates(&self) -> [f64; 3] {
        self.p
    }

    /// `exp(A)`, in closed form.
    ///
    /// # Errors
    /// [`Error::Value`] if an entry overflows, as for `Δ` beyond about 5·10⁵.
    pub fn exp(&self) -> Result<Abcd> {
        let [p1, p2, p3] = self.p;
        let Functions { c, s, .. } = self.functions()?;
        let matrix = Abcd::unchecked(c + s * p1, s * p2, s * p3, c - s * p1);
        // Next to the cone Δ = 0 the coordinates may be large where C and S are not.
        super::matrix::finite_entries("Lie::exp", &matrix)?;
        Ok(matrix)
    }

    /// `∂(a, b, c, d)/∂(p₁, p₂, p₃)`: row `i` is the derivative of the four entries by `pᵢ₊₁`.
    ///
    /// # Errors
    /// As [`Self::exp`].
    ///
    /// ```
    /// # use wavecube_core::lct::Lie;
    /// // At zero the derivatives are H, X and Y themselves.
    /// let rows = Lie::new(0.0, 0.0, 0.0)?.exp_jacobian()?;
    /// assert_eq!(rows, [[1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn exp_jacobian(&self) -> Result<[[f64; 4]; 3]> {
        let [p1, p2, p3] = self.p;
        let Functions { s, s_slope, .. } = self.functions()?;
        let slopes = [2.0 * p1, p3, p2];
        let basis = [[1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
        Ok(core::array::from_fn(|i| {
            let (dc, ds) = (0.5 * s * slopes[i], s_slope * slopes[i]);
            let along = [dc + ds * p1, ds * p2, ds * p3, dc - ds * p1];
            core::array::from_fn(|entry| along[entry] + s * basis[i][entry])
        }))
    }

    /// The element whose exponential is `matrix`, the one nearest zero.
    ///
    /// # Errors
    /// [`Error::Value`] if there is none: matrices of trace ≤ −2 are not exponentials, save the
    /// rotation by π, which is one in many ways.
    pub fn log(matrix: &Abcd) -> Result<Self> {
        const OP: &str = "Lie::log";
        super::matrix::finite_entries(OP, matrix)?;
        let [a, b, c, d] = matrix.entries();
        let (cosine, half) = (f64::midpoint(a, d), 0.5 * (a - d));
        // The traceless part of M is S·A, its square S²Δ: this keeps the digits that acosh(C) loses
        // next to the identity.
        let square = half.mul_add(half, b * c);
        let root = square.abs().sqrt();
        let scale = if cosine <= -1.0 {
            return Err(Error::Value {
                op: OP,
                argument: "trace",
                expected: "more than -2: the matrix is the exponential of no real matrix",
                found: a + d,
            });
        } else if root < 1e-8 && cosine > 0.0 {
            // 1/S = 1 − Δ/6 + …, Δ = square + …: exact to the last bit here.
            1.0 - square / 6.0
        } else if square > 0.0 {
            root.asinh() / root
        } else {
            root.atan2(cosine) / root
        };
        Self::new(half * scale, b * scale, c * scale)
    }

    fn functions(&self) -> Result<Functions> {
        let [p1, p2, p3] = self.p;
        let delta = p1.mul_add(p1, p2 * p3);
        let functions = Functions::at(delta);
        if functions.c.is_finite() && functions.s.is_finite() && functions.s_slope.is_finite() {
            Ok(functions)
        } else {
            Err(Error::Value {
                op: "Lie::exp",
                argument: "p1² + p2 p3",
                expected: "at most 5e5, or the exponential overflows",
                found: delta,
            })
        }
    }
}

/// `C`, `S` and `S'` at one `Δ`.
struct Functions {
    c: f64,
    s: f64,
    s_slope: f64,
}

impl Functions {
    fn at(delta: f64) -> Self {
        if delta.abs() < 1.0 {
            return Self::series(delta);
        }
        let root = delta.abs().sqrt();
        let (c, s) = if delta > 0.0 {
            (root.cosh(), root.sinh() / root)
        } else {
            (root.cos(), root.sin() / root)
        };
        Self { c, s, s_slope: (c - s) / (2.0 * delta) }
    }

    /// `C = Σ Δᵏ/(2k)!`, `S = Σ Δᵏ/(2k+1)!`, `S' = Σ (k+1) Δᵏ/(2k+3)!`. For `|Δ| < 1` the ninth term
    /// is below 1/18! < 2e-16, so ten are enough; here `(C − S)/(2Δ)` would cancel.
    fn series(delta: f64) -> Self {
        let (mut c, mut s, mut s_slope) = (0.0, 0.0, 0.0);
        let mut term = 1.0;
        for k in 0..10 {
            let k = f64::from(k);
            c += term;
            let odd = term / (2.0 * k + 1.0);
            s += odd;
            s_slope += (k + 1.0) * odd / ((2.0 * k + 2.0) * (2.0 * k + 3.0));
            term *= delta / ((2.0 * k + 1.0) * (2.0 * k + 2.0));
        }
        Self { c, s, s_slope }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_meets_the_closed_form() {
        for delta in [1.0f64, -1.0] {
            let (inner, outer) = (Functions::series(delta), Functions::at(delta));
            assert!((inner.c - outer.c).abs() < 5e-16);
            assert!((inner.s - outer.s).abs() < 5e-16);
            assert!((inner.s_slope - outer.s_slope).abs() < 5e-16);
        }
    }

    #[test]
    fn one_parameter_groups() {
        let chirp = Lie::new(0.0, 0.0, 2.5).unwrap().exp().unwrap();
        assert_eq!(chirp, Abcd::chirp(2.5));
        let fresnel = Lie::new(0.0, -1.5, 0.0).unwrap().exp().unwrap();
        assert_eq!(fresnel, Abcd::fresnel(-1.5));
        let scaling = Lie::new(2f64.ln(), 0.0, 0.0).unwrap().exp().unwrap();
        assert!((scaling.a() - 2.0).abs() < 1e-15 && (scaling.d() - 0.5).abs() < 1e-15);
    }

    #[test]
    fn rejects_overflow_and_what_is_no_exponential() {
        assert!(matches!(
            Lie::new(1e3, 0.0, 0.0).unwrap().exp(),
            Err(Error::Value { argument: "p1² + p2 p3", .. })
        ));
        assert!(matches!(Lie::new(0.0, f64::NAN, 0.0), Err(Error::Value { argument: "p2", .. })));
        let minus = Abcd::scaling(-2.0).unwrap();
        assert!(matches!(Lie::log(&minus), Err(Error::Value { argument: "trace", .. })));
    }
}
