//! Transforms as matrices, in `f64`, on the host.
//!
//! Everything is on the centred grid `x_j = j − (N − 1)/2` with step `1/√N` (half-integer points
//! for even `N`):
//!
//! - `F[k, j] = N^(−1/2) e^{−2πi x_k x_j / N}`: the centred unitary DFT, whose square is the reversal;
//! - `L(q)` = `diag e^{iπ q x²/N}`, `U(b)` = `F⁻¹ diag(e^{−iπ b x²/N}) F`, which is a Toeplitz matrix;
//! - the shear transform `S(q₁, b, q₂) = L(q₂) U(b) L(q₁)`, unitary for every triple;
//! - the causal transform: the entries `t ≤ u` of `L(q₂) H(b) L(q₁)`, where `H(b)` is the sampled
//!   Fresnel kernel `(i b N)^(−1/2) e^{iπ (u − t)²/(b N)}`, or `U(b)` itself where `|b|` is small.
//!
//! - the fractional transform `V diag(e^{−iθk}) Vᵀ` in the eigenbasis of `F`.
//!
//! The derivatives with respect to `q₁`, `b`, `q₂` are those of the formulas above.

use std::f64::consts::PI;

use num_complex::Complex64;
use wavecube_core::lct::{Eigenbasis, ZeroPoint, rotation_phases};

mod entries;

pub(crate) use entries::{
    Framed, chirp, complex, czt, derivatives, framed, onto_grid, scaled, spiral, value, weighted,
    weil,
};

/// A complex matrix, row by row: entry `(u, t)` maps input `t` to output `u`.
#[derive(Debug, Clone, PartialEq)]
pub struct ComplexMatrix {
    outputs: usize,
    inputs: usize,
    entries: Vec<Complex64>,
}

impl ComplexMatrix {
    fn from_fn(n: usize, entry: impl Fn(usize, usize) -> Complex64) -> Self {
        Self::rectangular([n, n], entry)
    }

    fn rectangular(
        [outputs, inputs]: [usize; 2],
        entry: impl Fn(usize, usize) -> Complex64,
    ) -> Self {
        let mut entries = Vec::with_capacity(outputs * inputs);
        for u in 0..outputs {
            entries.extend((0..inputs).map(|t| entry(u, t)));
        }
        Self { outputs, inputs, entries }
    }

    /// The number of rows.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The number of columns.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The entry in row `u`, column `t`.
    pub fn entry(&self, u: usize, t: usize) -> Complex64 {
        self.entries[u * self.inputs + t]
    }

    /// Every entry times `factor`.
    #[must_use]
    pub fn scaled(mut self, factor: Complex64) -> Self {
        if factor != Complex64::ONE {
            for entry in &mut self.entries {
                *entry *= factor;
            }
        }
        self
    }

    /// `R` with `interleave(x) · R = interleave(M x)` for row vectors: `2 inputs × 2 outputs`, row by row.
    ///
    /// The interleaved form of the adjoint `Mᴴ` is the transpose of this one.
    pub fn interleaved(&self) -> Vec<f64> {
        let width = 2 * self.outputs;
        let mut out = vec![0.0; 2 * self.inputs * width];
        for u in 0..self.outputs {
            for t in 0..self.inputs {
                let m = self.entry(u, t);
                out[2 * t * width + 2 * u] = m.re;
                out[2 * t * width + 2 * u + 1] = m.im;
                out[(2 * t + 1) * width + 2 * u] = -m.im;
                out[(2 * t + 1) * width + 2 * u + 1] = m.re;
            }
        }
        out
    }
}

/// `x_j` of the centred grid of `n` points.
pub fn grid(n: usize, j: usize) -> f64 {
    j as f64 - (n as f64 - 1.0) / 2.0
}

fn cis(phase: f64) -> Complex64 {
    Complex64::new(phase.cos(), phase.sin())
}

/// `e^{2πi m / (2n)}` for `m` in `0..2n`: every root that a half-integer grid needs.
fn half_roots(n: usize) -> Vec<Complex64> {
    (0..2 * n).map(|m| cis(PI * m as f64 / n as f64)).collect()
}

/// The DFT `e^{∓2πi k j / n}` of NumPy's convention, times `scale`.
pub fn dft(n: usize, inverse: bool, scale: f64) -> ComplexMatrix {
    let sign = if inverse { 1.0 } else { -1.0 };
    let roots: Vec<_> =
        (0..n).map(|m| cis(sign * 2.0 * PI * m as f64 / n as f64) * scale).collect();
    ComplexMatrix::from_fn(n, |k, j| roots[(k * j) % n])
}

/// `F^turns`, the centred unitary DFT to an integer power.
pub fn centred_dft(n: usize, turns: u8) -> ComplexMatrix {
    match turns % 4 {
        0 => ComplexMatrix::from_fn(n, |u, t| Complex64::new(f64::from(u8::from(u == t)), 0.0)),
        2 => ComplexMatrix::from_fn(n, |u, t| {
            Complex64::new(f64::from(u8::from(u + t + 1 == n)), 0.0)
        }),
        quarter => {
            let sign = if quarter == 1 { -1.0 } else { 1.0 };
            let scale = 1.0 / (n as f64).sqrt();
            // x_k x_j = m/4 with an integer m; reduce it before the circle sees it.
            let period = 4 * n as i64;
            ComplexMatrix::from_fn(n, |k, j| {
                let (k, j) = (2 * k as i64 - (n as i64 - 1), 2 * j as i64 - (n as i64 - 1));
                cis(sign * 2.0 * PI * (k * j).rem_euclid(period) as f64 / period as f64) * scale
            })
        }
    }
}

/// The three numbers of a shear factorisation `L(q₂) U(b) L(q₁)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Rate of the chirp that is applied first.
    pub q1: f64,
    /// Rate of the free propagation in the middle.
    pub b: f64,
    /// Rate of the chirp that is applied last.
    pub q2: f64,
}

/// How the middle factor of a causal transform is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CausalKernel {
    /// The sampled Fresnel kernel, which is singular at `b = 0`.
    Sampled,
    /// The kernel of `U(b)`, smooth through `b = 0`, where it is the identity.
    Spectral,
}

/// `U(b)[u, t]` as a function of `d = u − t`, for `d` from `−(n−1)` to `n−1`, and its derivative.
fn propagation(n: usize, b: f64) -> (Vec<Complex64>, Vec<Complex64>) {
    let roots = half_roots(n);
    let spectrum: Vec<_> = (0..n)
        .map(|k| {
            let x2 = grid(n, k).powi(2);
            let value = cis(-PI * b * x2 / n as f64) / n as f64;
            (value, value * Complex64::new(0.0, -PI * x2 / n as f64))
        })
        .collect();
    let period = 2 * n as i64;
    (1 - n as i64..n as i64)
        .map(|d| {
            let mut sum = (Complex64::ZERO, Complex64::ZERO);
            for (k, (value, slope)) in spectrum.iter().enumerate() {
                let twice_x = 2 * k as i64 - (n as i64 - 1);
                let root = roots[(twice_x * d).rem_euclid(period) as usize];
                sum.0 += value * root;
                sum.1 += slope * root;
            }
            sum
        })
        .unzip()
}

/// The sampled Fresnel kernel as a function of `d = u − t ≥ 0`, in the layout of [`propagation`].
fn sampled(n: usize, b: f64) -> (Vec<Complex64>, Vec<Complex64>) {
    let amplitude = (Complex64::new(0.0, b * n as f64)).sqrt().inv();
    (1 - n as i64..n as i64)
        .map(|d| {
            let phase = PI * (d * d) as f64 / (b * n as f64);
            let value = amplitude * cis(phase);
            (value, value * Complex64::new(-0.5 / b, -phase / b))
        })
        .unzip()
}

/// A Toeplitz matrix between two chirps, and its derivatives by `q₁`, `b`, `q₂`.
struct Sandwich {
    n: usize,
    /// The length of the grid, of which the matrix covers the first `n` points.
    grid: usize,
    chirps: [Vec<Complex64>; 2],
    middle: (Vec<Complex64>, Vec<Complex64>),
    causal: bool,
}

impl Sandwich {
    fn new(n: usize, length: usize, rates: Rates, causal: Option<CausalKernel>) -> Self {
        let chirp = |q: f64| {
            (0..n)
                .map(|j| cis(PI * q * grid(length, j).powi(2) / length as f64))
                .collect::<Vec<_>>()
        };
        let middle = match causal {
            Some(CausalKernel::Sampled) => sampled(length, rates.b),
            Some(CausalKernel::Spectral) | None => propagation(length, rates.b),
        };
        Self {
            n,
            grid: length,
            chirps: [chirp(rates.q1), chirp(rates.q2)],
            middle,
            causal: causal.is_some(),
        }
    }

    fn matrix(&self, entry: impl Fn(usize, usize, usize) -> Complex64) -> ComplexMatrix {
        ComplexMatrix::from_fn(self.n, |u, t| {
            if self.causal && t > u {
                return Complex64::ZERO;
            }
            self.chirps[1][u] * entry(u, t, u + self.grid - 1 - t) * self.chirps[0][t]
        })
    }

    fn value(&self) -> ComplexMatrix {
        self.matrix(|_, _, d| self.middle.0[d])
    }

    fn derivatives(&self) -> [ComplexMatrix; 3] {
        let slope =
            |j: usize| Complex64::new(0.0, PI * grid(self.grid, j).powi(2) / self.grid as f64);
        [
            self.matrix(|_, t, d| slope(t) * self.middle.0[d]),
            self.matrix(|_, _, d| self.middle.1[d]),
            self.matrix(|u, _, d| slope(u) * self.middle.0[d]),
        ]
    }
}

/// `S(q₁, b, q₂)`.
pub fn shear(n: usize, rates: Rates) -> ComplexMatrix {
    Sandwich::new(n, n, rates, None).value()
}

/// The derivatives of [`shear`] by `q₁`, `b`, `q₂`.
pub fn shear_derivatives(n: usize, rates: Rates) -> [ComplexMatrix; 3] {
    Sandwich::new(n, n, rates, None).derivatives()
}

/// The transform on a grid of `length` points masked to `t ≤ u`, its first `n` rows and columns.
pub fn causal(n: usize, length: usize, rates: Rates, kernel: CausalKernel) -> ComplexMatrix {
    Sandwich::new(n, length, rates, Some(kernel)).value()
}

/// What [`causal`] is put together from, for its whole grid: the chirp that is applied first, the filter by the lag
/// `u − t`, and the chirp that is applied last.
pub fn causal_factors(length: usize, rates: Rates, kernel: CausalKernel) -> [Vec<Complex64>; 3] {
    let Sandwich { chirps: [first, last], middle, .. } =
        Sandwich::new(length, length, rates, Some(kernel));
    [first, middle.0[length - 1..].to_vec(), last]
}

/// The derivatives of [`causal`] by `q₁`, `b`, `q₂`.
pub fn causal_derivatives(
    n: usize,
    length: usize,
    rates: Rates,
    kernel: CausalKernel,
) -> [ComplexMatrix; 3] {
    Sandwich::new(n, length, rates, Some(kernel)).derivatives()
}

/// The fractional Fourier transform `V diag(e^{−i angle k}) Vᵀ`, or its derivative by the angle.
///
/// An `n` or `angle` that has no such matrix (a plan refuses them) gives zeros.
pub fn fractional(n: usize, angle: f64, derivative: bool) -> ComplexMatrix {
    let (Ok(basis), Ok(phases)) =
        (Eigenbasis::shared(n), rotation_phases(n, angle, ZeroPoint::Without))
    else {
        return ComplexMatrix::from_fn(n, |_, _| Complex64::ZERO);
    };
    let v = basis.matrix();
    let phases: Vec<_> = phases
        .into_iter()
        .enumerate()
        .map(|(k, phase)| if derivative { phase * Complex64::new(0.0, -(k as f64)) } else { phase })
        .collect();
    let mut entries = vec![Complex64::ZERO; n * n];
    for (u, row) in entries.chunks_exact_mut(n).enumerate() {
        for (k, phase) in phases.iter().enumerate() {
            let scaled = phase * v[u * n + k];
            for (t, entry) in row.iter_mut().enumerate() {
                *entry += scaled * v[t * n + k];
            }
        }
    }
    ComplexMatrix { outputs: n, inputs: n, entries }
}
