//! The Hermite–Gauss-like eigenbasis of the centred unitary DFT, for every length.
//!
//! `F[j, l] = N^(−1/2) exp(−2πi n_j n_l/N)` on the centred grid has the eigenvalues `1, −i, −1, i` with
//! large eigenspaces; a fractional power is defined only by a choice of basis in each. The choice here
//! is the one nearest the sampled Hermite–Gauss functions: `F v_k = (−i)^k v_k`, `k = 0 … N − 1`, with
//! no order skipped for either parity of `N` (the half-integer grid of even `N` has the eigenvalues of
//! orders `0 … N − 1`; it is the integer grid of even `N` that skips `N − 1`).
//!
//! 1. `S = 2 cos(2πn/N) + T + T⁻¹` commutes with `F`: the DFT turns the shift `T` into multiplication
//!    by `exp(2πin/N)` and back. On half-integers the shift is antiperiodic, as `exp(2πi n l/N)` is. `S`
//!    commutes with the parity too, and on even and on odd vectors, described by their values at
//!    `n ≥ 0`, it is an unreduced tridiagonal matrix: simple eigenvalues, whose eigenvectors are
//!    therefore eigenvectors of `F`. By descending eigenvalue they have `0, 1, 2, …` sign changes and
//!    belong to the orders `0, 2, 4, …` (even vectors) and `1, 3, 5, …` (odd vectors).
//! 2. For `r = 0 … 3` these give `B_r`, an orthonormal basis of the eigenspace of `(−i)^r`.
//! 3. `C = B_rᵀ·[sampled h_k, k ≡ r mod 4]`, `C = QR` with positive diagonal, `V_r = B_r Q`.
//!
//! Orthogonality is that of plane rotations and reflections (4e-15 at `N` = 1024), however nearly
//! dependent the sampled functions of high order are; a QR of the projected samples themselves loses it
//! from `N` = 256. `V diag((−i)^k) Vᵀ` differs from `F` by 1.6e-13 there: `ε` over the least gap of `S`.
//! Order `k` is the sampled `h_k` to rounding (5e-14) while its disc, of radius `√((k + ½)/π)`, stays 3
//! units inside the window's edge at `√N/2`.
//!
//! Reference: Candan, Kutay, Ozaktas, *The discrete fractional Fourier transform*, IEEE Trans. Signal
//! Process. 48 (2000), for `S`, the parity split and the count of sign changes; Dickinson and Steiglitz,
//! *Eigenvectors and functions of the discrete Fourier transform*, IEEE Trans. ASSP 30 (1982); Pei, Yeh
//! and Tseng, *Discrete fractional Fourier transform based on orthogonal projections*, IEEE Trans.
//! Signal Process. 47 (1999), for the orthogonalisation against the Hermite–Gauss functions.

use core::f64::consts::{PI, SQRT_2};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use num_complex::Complex64;

use super::{hermite, tridiagonal};
use crate::{Error, Result};

/// The basis `V`, `F = V diag((−i)^k) Vᵀ`: real, orthogonal, column `k` like the Hermite–Gauss function
/// of order `k`.
///
/// Only the values at `n ≥ 0` are kept: an even and an odd block, half the memory and half the work of
/// the full matrix.
///
/// ```
/// use wavecube_core::Complex64;
/// use wavecube_core::lct::Eigenbasis;
///
/// let basis = Eigenbasis::new(5)?;
/// let v = basis.matrix();
/// // v₀ looks like a Gaussian: symmetric, positive, largest in the middle.
/// assert!(v[10] > v[5] && v[5] > 0.0 && (v[5] - v[15]).abs() < 1e-15);
/// let there = basis.rotate(0.7, &[Complex64::ONE; 5])?;
/// let back = basis.rotate(-0.7, &there)?;
/// assert!(back.iter().all(|x| (x - 1.0).norm() < 1e-14));
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Eigenbasis {
    n: usize,
    even: Vec<f64>,
    odd: Vec<f64>,
}

impl Eigenbasis {
    /// The longest basis: 2 GiB of matrix, hours of work.
    pub const MAX_LENGTH: usize = 1 << 14;

    /// The basis of length `n`, computed in `O(n³)`: about a second at 1024.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` is 0 or more than [`Self::MAX_LENGTH`].
    pub fn new(n: usize) -> Result<Self> {
        if n == 0 || n > Self::MAX_LENGTH {
            return Err(Error::Length {
                op: "frft",
                argument: "n",
                expected: "from 1 to 16384",
                found: n,
            });
        }
        let points = half_points(n);
        let weights = half_weights(n);
        let mut samples =
            hermite::table(n, &points.iter().map(|p| p / (n as f64).sqrt()).collect::<Vec<_>>());
        for row in samples.chunks_exact_mut(points.len()) {
            for (value, weight) in row.iter_mut().zip(&weights) {
                *value *= weight;
            }
        }
        Ok(Self {
            n,
            even: parity_block(n, Parity::Even, &samples),
            odd: parity_block(n, Parity::Odd, &samples),
        })
    }

    /// The basis of length `n`, computed once in the life of the process.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn shared(n: usize) -> Result<Arc<Self>> {
        static BASES: OnceLock<Mutex<HashMap<usize, Arc<Eigenbasis>>>> = OnceLock::new();
        let bases = BASES.get_or_init(Mutex::default);
        // A panic elsewhere cannot leave the map half-written: entries are whole when inserted.
        if let Some(basis) = bases.lock().unwrap_or_else(PoisonError::into_inner).get(&n) {
            return Ok(Arc::clone(basis));
        }
        // Computed outside the lock, so that other lengths are not held up.
        let basis = Arc::new(Self::new(n)?);
        let mut bases = bases.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(bases.entry(n).or_insert(basis)))
    }

    /// The length `N`.
    pub const fn length(&self) -> usize {
        self.n
    }

    /// The even block `E`, row-major `[⌈N/2⌉, ⌈N/2⌉]`: row `i` is order `2i` at the points `n ≥ 0`,
    /// scaled to an orthogonal matrix (values at `n > 0` times √2).
    pub fn even(&self) -> &[f64] {
        &self.even
    }

    /// The odd block, row-major `[⌊N/2⌋, ⌊N/2⌋]`: row `i` is order `2i + 1` at the points `n > 0`, times
    /// √2.
    pub fn odd(&self) -> &[f64] {
        &self.odd
    }

    /// `V`, row-major `[N, N]`: row `j` is the grid point, column `k` the order.
    pub fn matrix(&self) -> Vec<f64> {
        let n = self.n;
        let mut v = vec![0.0; n * n];
        for k in 0..n {
            self.write_column(k, |j, value| v[j * n + k] = value);
        }
        v
    }

    /// The coefficients `Vᵀ x` of a signal.
    ///
    /// # Errors
    /// [`Error::Length`] if `x` does not have the basis's length.
    pub fn analyse(&self, x: &[Complex64]) -> Result<Vec<Complex64>> {
        self.check("x", x)?;
        Ok((0..self.n)
            .map(|k| {
                let mut sum = Complex64::ZERO;
                self.write_column(k, |j, value| sum += x[j] * value);
                sum
            })
            .collect())
    }

    /// The signal `V v` with these coefficients.
    ///
    /// # Errors
    /// [`Error::Length`] if `v` does not have the basis's length.
    pub fn synthesise(&self, v: &[Complex64]) -> Result<Vec<Complex64>> {
        self.check("v", v)?;
        let mut x = vec![Complex64::ZERO; self.n];
        for (k, coefficient) in v.iter().enumerate() {
            self.write_column(k, |j, value| x[j] += coefficient * value);
        }
        Ok(x)
    }

    /// The fractional Fourier transform by `angle` radians, `V exp(−i angle k) Vᵀ x`.
    ///
    /// # Errors
    /// [`Error::Length`] if `x` does not have the basis's length, [`Error::Value`] if `angle` is not
    /// finite.
    pub fn rotate(&self, angle: f64, x: &[Complex64]) -> Result<Vec<Complex64>> {
        let phases = super::rotation_phases(self.n, angle, super::ZeroPoint::Without)?;
        let mut v = self.analyse(x)?;
        for (coefficient, phase) in v.iter_mut().zip(phases) {
            *coefficient *= phase;
        }
        self.synthesise(&v)
    }

    /// Hands out the values of order `k` at every grid index.
    fn write_column(&self, k: usize, mut put: impl FnMut(usize, f64)) {
        let (n, row) = (self.n, k / 2);
        let middle = n % 2;
        let half = n / 2;
        if k.is_multiple_of(2) {
            let size = n - half;
            let values = &self.even[row * size..(row + 1) * size];
            if middle == 1 {
                put(half, values[0]);
            }
            for i in 0..half {
                let value = values[middle + i] / SQRT_2;
                put(n - half + i, value);
                put(half - 1 - i, value);
            }
        } else {
            let values = &self.odd[row * half..(row + 1) * half];
            for (i, value) in values.iter().enumerate() {
                put(n - half + i, value / SQRT_2);
                put(half - 1 - i, -value / SQRT_2);
            }
        }
    }

    fn check(&self, argument: &'static str, x: &[Complex64]) -> Result<()> {
        if x.len() == self.n {
            return Ok(());
        }
        Err(Error::Length {
            op: "frft",
            argument,
            expected: "the length of the eigenbasis",
            found: x.len(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parity {
    Even,
    Odd,
}

/// The grid points `n ≥ 0`.
fn half_points(n: usize) -> Vec<f64> {
    let offset = if n % 2 == 1 { 0.0 } else { 0.5 };
    (0..n.div_ceil(2)).map(|i| i as f64 + offset).collect()
}

/// What turns values at `n ≥ 0` into coordinates of an orthonormal basis: √2 save at `n = 0`.
fn half_weights(n: usize) -> Vec<f64> {
    (0..n.div_ceil(2)).map(|i| if n % 2 == 1 && i == 0 { 1.0 } else { SQRT_2 }).collect()
}

/// `V` restricted to one parity, a row for each order; `samples` are the weighted Hermite–Gauss
/// functions, a row for each order.
fn parity_block(n: usize, parity: Parity, samples: &[f64]) -> Vec<f64> {
    let points = n.div_ceil(2);
    let skipped = usize::from(parity == Parity::Odd && n % 2 == 1);
    let size = points - skipped;
    let (diagonal, off) = commuting(n, parity);
    let eigenvectors = tridiagonal::eigenvectors(diagonal, off);

    let mut block = vec![0.0; size * size];
    for second in 0..2 {
        // Every other eigenvector belongs to the other eigenvalue of F.
        let mut rows = eigenvectors
            .chunks_exact(size.max(1))
            .skip(second)
            .step_by(2)
            .map(<[f64]>::to_vec)
            .collect::<Vec<_>>();
        let mut columns = (0..rows.len())
            .map(|i| {
                let order = 2 * (2 * i + second) + usize::from(parity == Parity::Odd);
                let sample = &samples[order * points + skipped..(order + 1) * points];
                rows.iter().map(|row| dot(row, sample)).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>();
        turn_by_qr(&mut columns, &mut rows);
        for (i, row) in rows.iter().enumerate() {
            let target = 2 * i + second;
            block[target * size..(target + 1) * size].copy_from_slice(row);
        }
    }
    block
}

/// Diagonal and off-diagonal of `S` on the vectors of one parity.
fn commuting(n: usize, parity: Parity) -> (Vec<f64>, Vec<f64>) {
    let sign = if parity == Parity::Even { 1.0 } else { -1.0 };
    let cosine = |point: f64| 2.0 * (2.0 * PI * point / n as f64).cos();
    let mut diagonal = half_points(n).into_iter().map(cosine).collect::<Vec<_>>();
    let mut off = vec![1.0; diagonal.len() - 1];
    if n % 2 == 1 {
        // The neighbour of the last point is its mirror image, periodically.
        if n > 1 {
            diagonal[n / 2] += sign;
        }
        if parity == Parity::Even {
            // The value at zero has weight 1, its neighbours √2.
            if let Some(first) = off.first_mut() {
                *first = SQRT_2;
            }
        } else {
            diagonal.remove(0);
            off.pop();
        }
    } else {
        // ½'s neighbour is −½; the last point's is its mirror image, antiperiodically.
        diagonal[0] += sign;
        diagonal[n / 2 - 1] -= sign;
    }
    (diagonal, off)
}

/// Replaces the rows `B` by `BQ`, where the columns `C = QR` and `R` has a positive diagonal:
/// Householder reflections, each applied to the remaining columns and to `B`.
fn turn_by_qr(columns: &mut [Vec<f64>], rows: &mut [Vec<f64>]) {
    for k in 0..columns.len() {
        let mut reflector = columns[k][k..].to_vec();
        let norm = dot(&reflector, &reflector).sqrt();
        if norm == 0.0 {
            continue;
        }
        let flipped = reflector[0] >= 0.0;
        reflector[0] += norm.copysign(reflector[0]);
        let beta = 2.0 / dot(&reflector, &reflector);
        for column in &mut columns[k + 1..] {
            let scale = beta * dot(&reflector, &column[k..]);
            for (value, r) in column[k..].iter_mut().zip(&reflector) {
                *value -= scale * r;
            }
        }
        let mut combination = vec![0.0; rows[k].len()];
        for (row, r) in rows[k..].iter().zip(&reflector) {
            for (sum, value) in combination.iter_mut().zip(row) {
                *sum += r * value;
            }
        }
        for (row, r) in rows[k..].iter_mut().zip(&reflector) {
            for (value, sum) in row.iter_mut().zip(&combination) {
                *value -= beta * r * sum;
            }
        }
        if flipped {
            // The reflection took the column to −norm: turn the basis vector, and R's row with it.
            for value in &mut rows[k] {
                *value = -*value;
            }
            for column in &mut columns[k + 1..] {
                column[k] = -column[k];
            }
        }
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}
