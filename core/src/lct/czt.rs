//! The chirp-z transform: the z-transform on a spiral, of any spacing and start, by one convolution.
//!
//! `X_k = Σ_n x_n A^(−n) W^(nk)`, `n < N`, `k < K`. Since `nk = (n² + k² − (k − n)²)/2`,
//! `X_k = W^(k²/2) Σ_n W^(−(k−n)²/2) · (A^(−n) W^(n²/2) x_n)`: multiply, convolve, multiply (Bluestein).
//! On the unit circle `A = exp(2πi start)` and `W = exp(−2πi step)`: output `k` is the spectrum at
//! `start + k·step` cycles a sample. Neither normalised nor unitary: this is the sum itself.
//!
//! Reference: Rabiner, Schafer, Rader, *The chirp z-transform algorithm*, IEEE Trans. Audio
//! Electroacoust. 17 (1969); Bluestein, *A linear filtering approach to the computation of discrete
//! Fourier transform*, ibid. 18 (1970).

use core::f64::consts::TAU;

use num_complex::Complex64;

use super::dd::Dd;
use super::matrix::{finite, finite_entries, nonzero_b, phases_overflow, positive_spacing};
use super::{Abcd, eighth_root, table_length};
use crate::{Error, Result};

const OP: &str = "czt";

/// Magnitudes are kept within `2^±MAX_LOG2`, where products of two are still in the range of `f64`.
const MAX_LOG2: f64 = 500.0;

/// The factors of `X_k = output[k] · Σ_n filter[k − n + N − 1] · input[n] · x_n`.
#[derive(Debug, Clone, PartialEq)]
pub struct CztTables {
    /// `A^(−n) W^(n²/2)`, one for each of the `N` inputs.
    pub input: Vec<Complex64>,
    /// `W^(−m²/2)` at the lags `m = −(N−1) … K−1`: `N + K − 1` entries.
    pub filter: Vec<Complex64>,
    /// `W^(k²/2)`, one for each of the `K` outputs.
    pub output: Vec<Complex64>,
}

impl CztTables {
    /// The spectrum of `n` samples at `outputs` frequencies `start + k·step`, in cycles a sample.
    ///
    /// Phases are reduced in double-double arithmetic: each entry is within 4e-16 of the exact one for
    /// the given `start` and `step`, at any length.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` or `outputs` is 0 or more than 2³¹, [`Error::Value`] if `start` or `step` is not finite.
    ///
    /// ```
    /// use wavecube_core::lct::CztTables;
    /// // step = 1/n and start = 0 are the DFT.
    /// let tables = CztTables::unit_circle(8, 8, 0.0, 1.0 / 8.0)?;
    /// assert_eq!(tables.filter.len(), 15);
    /// assert!((tables.input[4] - 1.0).norm() < 1e-15); // exp(−iπ·16/8)
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn unit_circle(n: usize, outputs: usize, start: f64, step: f64) -> Result<Self> {
        finite(OP, "start", start)?;
        finite(OP, "step", step)?;
        Spiral { start: Dd::new(start), step: Dd::new(step), growth: 0.0, radius: 0.0 }
            .tables(n, outputs)
    }

    /// The z-transform at `A W^(−k)`, `A` and `W` any complex numbers but zero.
    ///
    /// Arguments and logarithms are rounded once, then multiplied by up to `n²/2`: the relative error of
    /// an entry is up to `ε n²`, of which [`Self::unit_circle`] is free.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` or `outputs` is 0 or more than 2³¹; [`Error::Value`] if `a` or `w` is zero or not finite,
    /// or its powers leave `2^±500`.
    pub fn spiral(n: usize, outputs: usize, a: Complex64, w: Complex64) -> Result<Self> {
        for (argument, value) in [("a", a), ("w", w)] {
            if !(value.is_finite() && value.norm().log2().is_finite()) {
                return Err(Error::Value {
                    op: OP,
                    argument,
                    expected: "finite and not zero",
                    found: value.norm(),
                });
            }
        }
        Spiral {
            start: Dd::new(a.arg() / TAU),
            step: Dd::new(-w.arg() / TAU),
            growth: w.norm().log2(),
            radius: a.norm().log2(),
        }
        .tables(n, outputs)
    }

    /// The linear canonical transform onto any grid: `n` inputs centred at distance `spacing`, outputs
    /// at `first + k·step` for `k < outputs`.
    ///
    /// `y_k = dx Σ_n K(u_k, x_n) x_n` with the kernel's own amplitude and principal square root, the
    /// rectangle rule for the integral: the two chirps and the amplitude are folded into the tables.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` or `outputs` is 0 or more than 2³¹; [`Error::Value`] if `b` is zero, an entry or argument is
    /// not finite, `spacing` is not positive, or a phase overflows.
    pub fn lct(matrix: &Abcd, n: usize, spacing: f64, output: &OutputGrid) -> Result<Self> {
        const OP: &str = "lct_czt";
        finite_entries(OP, matrix)?;
        let b = nonzero_b(OP, matrix.b())?;
        finite(OP, "first", output.first)?;
        finite(OP, "step", output.step)?;
        positive_spacing(OP, spacing)?;
        // x_n = (n − c)·dx with c = (N − 1)/2, u_k = first + k·step:
        // −2xu/b = −2n·dx·first/b − 2nk·dx·step/b + 2c·dx·u_k/b, the last part of the output chirp.
        let over_b = Dd::new(spacing).over(Dd::new(b));
        let mut tables = Spiral {
            start: over_b.times(Dd::new(output.first)),
            step: over_b.times(Dd::new(output.step)),
            growth: 0.0,
            radius: 0.0,
        }
        .tables(n, output.outputs)?;

        let centre = 0.5 * (n as f64 - 1.0);
        let amplitude = eighth_root(if b > 0.0 { -1 } else { 1 }) * (spacing / b.abs().sqrt());
        let a_rate = over_b.times(Dd::product(matrix.a(), spacing));
        let d_rate = Dd::new(matrix.d()).over(Dd::new(b));
        let from_centre = over_b.times(Dd::new(2.0 * centre));
        for (j, value) in tables.input.iter_mut().enumerate() {
            let point = j as f64 - centre;
            let phase = a_rate.times(Dd::product(point, point));
            if !phase.is_finite() {
                return Err(phases_overflow(OP, spacing));
            }
            *value *= phase.cis_pi();
        }
        for (k, value) in tables.output.iter_mut().enumerate() {
            let u = Dd::product(k as f64, output.step).plus(Dd::new(output.first));
            let phase = d_rate.times(u.squared()).plus(from_centre.times(u));
            if !phase.is_finite() {
                return Err(phases_overflow(OP, spacing));
            }
            *value *= amplitude * phase.cis_pi();
        }
        Ok(tables)
    }
}

/// The points `first + k·step`, `k < outputs`, of [`CztTables::lct`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputGrid {
    /// How many points.
    pub outputs: usize,
    /// The first.
    pub first: f64,
    /// Their distance; it may be negative.
    pub step: f64,
}

/// `A = 2^radius exp(2πi start)`, `W = 2^growth exp(−2πi step)`.
struct Spiral {
    start: Dd,
    step: Dd,
    growth: f64,
    radius: f64,
}

impl Spiral {
    fn tables(&self, n: usize, outputs: usize) -> Result<CztTables> {
        table_length(OP, "n", n)?;
        table_length(OP, "outputs", outputs)?;
        let minus_start = self.start.times(Dd::new(-2.0));
        let input = (0..n)
            .map(|j| {
                let j = j as f64;
                let phase = self.half_power(j).plus(minus_start.times(Dd::new(j)));
                entry(phase, 0.5 * self.growth * j * j - self.radius * j)
            })
            .collect::<Result<_>>()?;
        let filter = (0..n + outputs - 1)
            .map(|index| {
                let lag = index as f64 - (n as f64 - 1.0);
                let phase = self.half_power(lag).times(Dd::new(-1.0));
                entry(phase, -0.5 * self.growth * lag * lag)
            })
            .collect::<Result<_>>()?;
        let output = (0..outputs)
            .map(|k| {
                let k = k as f64;
                entry(self.half_power(k), 0.5 * self.growth * k * k)
            })
            .collect::<Result<_>>()?;
        Ok(CztTables { input, filter, output })
    }

    /// The phase of `W^(m²/2)` in half turns: `−step·m²`.
    fn half_power(&self, m: f64) -> Dd {
        self.step.times(Dd::product(-m, m))
    }
}

fn entry(phase: Dd, log2: f64) -> Result<Complex64> {
    if !phase.is_finite() {
        return Err(Error::Value {
            op: OP,
            argument: "step",
            expected: "small enough that the phases are finite",
            found: f64::INFINITY,
        });
    }
    if log2.abs() > MAX_LOG2 {
        return Err(Error::Value {
            op: OP,
            argument: "w",
            expected: "near enough to the unit circle that its powers stay within 2^±500",
            found: log2,
        });
    }
    Ok(phase.cis_pi() * log2.exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects() {
        assert!(matches!(
            CztTables::unit_circle(0, 1, 0.0, 0.1),
            Err(Error::Length { argument: "n", .. })
        ));
        assert!(matches!(
            CztTables::unit_circle(1, 0, 0.0, 0.1),
            Err(Error::Length { argument: "outputs", .. })
        ));
        assert!(matches!(
            CztTables::unit_circle(1, 1, f64::NAN, 0.1),
            Err(Error::Value { argument: "start", .. })
        ));
        let one = Complex64::ONE;
        assert!(CztTables::spiral(4, 4, Complex64::ZERO, one).is_err());
        assert!(matches!(
            CztTables::spiral(100, 4, one, 2.0 * one),
            Err(Error::Value { argument: "w", .. })
        ));
        let grid = OutputGrid { outputs: 4, first: 0.0, step: 0.1 };
        assert!(CztTables::lct(&Abcd::IDENTITY, 4, 0.5, &grid).is_err());
        assert!(CztTables::lct(&Abcd::FOURIER, 4, 0.0, &grid).is_err());
    }
}
