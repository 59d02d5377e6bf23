//! The one-sided transform: the kernel masked to `t ≤ u`.
//!
//! `y(u) = dx Σ_{t ≤ u} (ib)^(−1/2) exp(iπ(a t² − 2tu + d u²)/b) x(t)`. Since `−2tu = (u − t)² − u² − t²`,
//! the kernel is `exp(iπ (d−1)u²/b) · h(u − t) · exp(iπ (a−1)t²/b)` with the chirp
//! `h(t) = dx (ib)^(−1/2) exp(iπ t²/b)`: chirp, causal convolution, chirp. Exact in arithmetic; output
//! `u` reads no input after `u`, so a sequence model trained with it does not see its own answers.
//!
//! What is not promised: the masked kernel is neither unitary nor invertible nor multiplicative.
//!
//! Grid: `x_j = (start + j)·spacing` for both input and output. A streaming model wants a grid that does
//! not depend on the length of the sequence: `start = 0` and a fixed spacing. The centred grid of the
//! other transforms is `start = −(n−1)/2`, `spacing = 1/√n`. Neighbouring lags turn `h` by
//! `spacing²(2j+1)/(2b)` turns; beyond half a turn it is aliased.

use num_complex::Complex64;

use super::chirp::quadratic_table;
use super::dd::Dd;
use super::matrix::{finite, finite_entries, nonzero_b, phases_overflow, positive_spacing};
use super::{Abcd, eighth_root, table_length};
use crate::Result;

const OP: &str = "lct_causal";

/// The points `(start + j)·spacing`, `j = 0 … n − 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CausalGrid {
    /// How many points.
    pub n: usize,
    /// The position of the first point, in units of `spacing`.
    pub start: f64,
    /// The distance of points.
    pub spacing: f64,
}

/// The factors of `y = output · (filter ∗ (input · x))`, `filter[j]` the response at lag `j ≥ 0`.
#[derive(Debug, Clone, PartialEq)]
pub struct CausalTables {
    /// The chirp on the input.
    pub input: Vec<Complex64>,
    /// The causal impulse response, the kernel's amplitude included.
    pub filter: Vec<Complex64>,
    /// The chirp on the output.
    pub output: Vec<Complex64>,
}

impl CausalTables {
    /// The tables of `matrix` on `grid`, each of length `grid.n`; entry `j` does not depend on
    /// `grid.n`.
    ///
    /// Rates and phases are formed in double-double arithmetic, so the product of the three factors is
    /// within 2e-15 (relative) of the kernel.
    ///
    /// # Errors
    /// [`crate::Error::Length`] if the grid is empty or has more than 2³¹ points; [`crate::Error::Value`] if `b` is zero, an entry or `start` is
    /// not finite, `spacing` is not positive, or a phase overflows.
    ///
    /// ```
    /// use wavecube_core::lct::{Abcd, CausalGrid, CausalTables};
    /// let grid = CausalGrid { n: 8, start: 0.0, spacing: 0.25 };
    /// let tables = CausalTables::new(&Abcd::FOURIER, &grid)?;
    /// // At u = t = 0 the kernel is (i)^(−1/2), times the spacing.
    /// assert!((tables.filter[0] - 0.25 * (-wavecube_core::Complex64::I).sqrt()).norm() < 1e-16);
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(matrix: &Abcd, grid: &CausalGrid) -> Result<Self> {
        let CausalGrid { n, start, spacing } = *grid;
        finite_entries(OP, matrix)?;
        let b = nonzero_b(OP, matrix.b())?;
        finite(OP, "start", start)?;
        table_length(OP, "n", n)?;
        positive_spacing(OP, spacing)?;
        let unit = Dd::product(spacing, spacing).over(Dd::new(b));
        let table = |rate: Dd, start: f64| {
            quadratic_table(rate, n, |j| start + j as f64).ok_or(phases_overflow(OP, spacing))
        };
        let amplitude = eighth_root(if b > 0.0 { -1 } else { 1 }) * (spacing / b.abs().sqrt());
        let mut filter = table(unit, 0.0)?;
        for value in &mut filter {
            *value *= amplitude;
        }
        Ok(Self {
            input: table(Dd::sum(matrix.a(), -1.0).times(unit), start)?,
            filter,
            output: table(Dd::sum(matrix.d(), -1.0).times(unit), start)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn rejects() {
        let grid = CausalGrid { n: 4, start: 0.0, spacing: 1.0 };
        let fails = |matrix, grid| CausalTables::new(&matrix, &grid).unwrap_err();
        assert!(matches!(fails(Abcd::IDENTITY, grid), Error::Value { argument: "b", .. }));
        assert!(matches!(fails(Abcd::FOURIER, CausalGrid { n: 0, ..grid }), Error::Length { .. }));
        assert!(matches!(
            fails(Abcd::FOURIER, CausalGrid { start: f64::NAN, ..grid }),
            Error::Value { argument: "start", .. }
        ));
        assert!(matches!(
            fails(Abcd::FOURIER, CausalGrid { spacing: 0.0, ..grid }),
            Error::Value { argument: "spacing", .. }
        ));
    }
}
