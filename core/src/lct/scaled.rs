//! The transform onto the grid that comes for free: chirp, DFT, chirp.
//!
//! With input spacing `dx` and output spacing `du = |b|/(N dx)`, both grids centred, the kernel's cross
//! term `exp(−2πi x u/b)` is the DFT's, forward for `b > 0` and inverse for `b < 0`:
//! `y = s · exp(iπ d u²/b) · F^{±1} · exp(iπ a x²/b) · x`, `s = e^{∓iπ/4}`, with samples weighted by the
//! square root of their spacing. Unitary, one DFT, and true to the continuous transform wherever the
//! chirped input is sampled finely enough. The grids of input and output differ: the result has to
//! carry its own.
//!
//! Reference: Hennelly and Sheridan, *Fast numerical algorithm for the linear canonical transform*,
//! J. Opt. Soc. Am. A 22 (2005), the direct method.

use num_complex::Complex64;

use super::chirp::{doubled_point, quadratic_table};
use super::dd::Dd;
use super::matrix::{finite_entries, nonzero_b, phases_overflow, positive_spacing};
use super::{Abcd, eighth_root, table_length};
use crate::{Error, Result};

const OP: &str = "lct_scaled";

/// The factors of `y = output · DFT(input · x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaledTables {
    /// The chirp on the input grid.
    pub input: Vec<Complex64>,
    /// Whether the unitary centred DFT is the inverse one (`b < 0`).
    pub inverse: bool,
    /// The chirp on the output grid, times the kernel's constant phase `e^{∓iπ/4}`.
    pub output: Vec<Complex64>,
    /// The distance of output points, `|b|/(N dx)`.
    pub output_spacing: f64,
}

impl ScaledTables {
    /// The tables for `n` samples at distance `spacing`, which is `1/√n` for the other transforms of
    /// this module.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` is 0 or more than 2³¹; [`Error::Value`] if `b` is zero, an entry is not finite, `spacing`
    /// is not positive, or a phase overflows.
    ///
    /// ```
    /// use wavecube_core::lct::{Abcd, ScaledTables};
    /// let tables = ScaledTables::new(&Abcd::fresnel(-2.0), 64, 0.125)?;
    /// assert!(tables.inverse);
    /// assert_eq!(tables.output_spacing, 0.25);
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(matrix: &Abcd, n: usize, spacing: f64) -> Result<Self> {
        finite_entries(OP, matrix)?;
        let b = nonzero_b(OP, matrix.b())?;
        table_length(OP, "n", n)?;
        positive_spacing(OP, spacing)?;
        let extent = Dd::product(n as f64, spacing);
        // x = spacing·s/2 and u = |b|·s/(2·extent) with s the doubled grid point.
        let input_rate = Dd::product(0.25 * spacing, spacing).times(Dd::new(matrix.a()));
        let output_rate = Dd::product(0.25 * b, matrix.d()).over(extent.squared());
        let table = |rate| {
            quadratic_table(rate, n, |j| doubled_point(n, j)).ok_or(phases_overflow(OP, spacing))
        };
        let output_spacing = b.abs() / (n as f64 * spacing);
        if !(output_spacing > 0.0 && output_spacing.is_finite()) {
            return Err(Error::Value {
                op: OP,
                argument: "spacing",
                expected: "such that the output's, |b|/(N spacing), is finite and positive",
                found: spacing,
            });
        }
        let constant = eighth_root(if b > 0.0 { -1 } else { 1 });
        Ok(Self {
            input: table(input_rate.over(Dd::new(b)))?,
            inverse: b < 0.0,
            output: table(output_rate)?.into_iter().map(|value| constant * value).collect(),
            output_spacing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects() {
        let ok = Abcd::FOURIER;
        assert!(matches!(
            ScaledTables::new(&Abcd::IDENTITY, 4, 0.5),
            Err(Error::Value { argument: "b", .. })
        ));
        assert!(matches!(ScaledTables::new(&ok, 0, 0.5), Err(Error::Length { .. })));
        for spacing in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                ScaledTables::new(&ok, 4, spacing),
                Err(Error::Value { argument: "spacing", .. })
            ));
        }
    }
}
