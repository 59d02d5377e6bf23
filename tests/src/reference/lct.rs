//! The linear canonical transforms from their formulas: dense matrices in `f64`, `O(N²)` entries, no
//! table, plan or factorisation of the library.
//!
//! Matrices are row-major `[outputs, inputs]`. Signals are on the centred grid `n_j = j − (N−1)/2` with
//! step `1/√N` unless a function says otherwise. Phases are sums and quotients of rounded numbers: an
//! entry of phase `φ` is good to about `4ε|φ|`, which is the tolerance its users have to allow.

use core::f64::consts::PI;

use num_complex::Complex64;
use wavecube_core::lct::{ShearFactors, ShearForm};

/// `exp(iπ t)`.
fn half_turns(t: f64) -> Complex64 {
    Complex64::from_polar(1.0, PI * (t - 2.0 * (t / 2.0).round()))
}

/// The points of the centred grid.
pub fn grid(n: usize) -> Vec<f64> {
    (0..n).map(|j| j as f64 - (n as f64 - 1.0) / 2.0).collect()
}

/// `matrix · x` for every line of `n` points.
pub fn lines(matrix: &[Complex64], n: usize, x: &[Complex64]) -> Vec<Complex64> {
    x.chunks_exact(n).flat_map(|line| apply(matrix, line)).collect()
}

/// `matrix · x`.
pub fn apply(matrix: &[Complex64], x: &[Complex64]) -> Vec<Complex64> {
    matrix.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(m, x)| m * x).sum()).collect()
}

/// `left · right`, both `[n, n]`.
pub fn product(n: usize, left: &[Complex64], right: &[Complex64]) -> Vec<Complex64> {
    let mut out = vec![Complex64::ZERO; n * n];
    for (row, target) in left.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        for (factor, line) in row.iter().zip(right.chunks_exact(n)) {
            for (sum, value) in target.iter_mut().zip(line) {
                *sum += factor * value;
            }
        }
    }
    out
}

/// The chirp `L(q)`, `exp(iπ q n²/N)`, times every line of `n` points.
pub fn chirp(n: usize, q: f64, x: &[Complex64]) -> Vec<Complex64> {
    let values: Vec<_> = grid(n).iter().map(|p| half_turns(q * p * p / n as f64)).collect();
    x.iter().zip(values.iter().cycle()).map(|(x, chirp)| x * chirp).collect()
}

/// The centred unitary DFT, `N^(−1/2) exp(−2πi n_j n_l/N)`; its power 0 to 3.
pub fn dft_power(n: usize, power: usize) -> Vec<Complex64> {
    let points = grid(n);
    match power % 4 {
        0 => diagonal(&vec![Complex64::ONE; n]),
        2 => dense(n, n, |j, l| Complex64::from(if j + l + 1 == n { 1.0 } else { 0.0 })),
        odd => {
            let sign = if odd == 1 { -2.0 } else { 2.0 };
            // 4·n_j·n_l is an integer: reduced exactly modulo 4N.
            dense(n, n, |j, l| {
                let exact = (4.0 * points[j] * points[l]) % (4.0 * n as f64);
                half_turns(sign * exact / (4.0 * n as f64)) / (n as f64).sqrt()
            })
        }
    }
}

/// One shear of the time–frequency plane.
#[derive(Debug, Clone, Copy)]
pub enum Shear {
    /// `L(q)`: multiplication by a chirp.
    Chirp(f64),
    /// `U(b)`: convolution by a chirp.
    Fresnel(f64),
}

/// `lct_shear` of every line of `n` points: the power of the DFT, then the shears in their order.
pub fn lct_shear(n: usize, x: &[Complex64], power: usize, shears: &[Shear]) -> Vec<Complex64> {
    let (forward, inverse) = (dft_power(n, 1), dft_power(n, 3));
    let x = if power.is_multiple_of(4) { x.to_vec() } else { lines(&dft_power(n, power), n, x) };
    shears.iter().fold(x, |x, shear| match *shear {
        Shear::Chirp(q) => chirp(n, q, &x),
        Shear::Fresnel(b) => lines(&inverse, n, &chirp(n, -b, &lines(&forward, n, &x))),
    })
}

/// The shears that undo these, which is their adjoint.
pub fn undone(shears: &[Shear]) -> Vec<Shear> {
    let backward = |shear: &Shear| match *shear {
        Shear::Chirp(q) => Shear::Chirp(-q),
        Shear::Fresnel(b) => Shear::Fresnel(-b),
    };
    shears.iter().rev().map(backward).collect()
}

fn shears(factors: &ShearFactors) -> [Shear; 3] {
    let [r0, r1, r2] = factors.rates();
    match factors.form() {
        ShearForm::ChirpMiddleConvolution => {
            [Shear::Chirp(r0), Shear::Fresnel(r1), Shear::Chirp(r2)]
        }
        ShearForm::ConvolutionMiddleChirp => {
            [Shear::Fresnel(r0), Shear::Chirp(r1), Shear::Fresnel(r2)]
        }
    }
}

/// `lct_shear_factored` of every line of `n` points: the shears of a factorisation, and its phase.
pub fn lct_shear_factored(n: usize, x: &[Complex64], factors: &ShearFactors) -> Vec<Complex64> {
    let y = lct_shear(n, x, usize::from(factors.power()), &shears(factors));
    y.iter().map(|v| factors.phase() * v).collect()
}

/// The adjoint of [`lct_shear_factored`]: the shears undone, then the power of the DFT.
pub fn lct_shear_factored_adjoint(
    n: usize,
    g: &[Complex64],
    factors: &ShearFactors,
) -> Vec<Complex64> {
    let y = lct_shear(n, g, 0, &undone(&shears(factors)));
    let y = lines(&dft_power(n, 4 - usize::from(factors.power())), n, &y);
    y.iter().map(|v| factors.phase().conj() * v).collect()
}

/// The eigenvectors of the DFT nearest the Hermite–Gauss functions, row `k` the one of order `k`:
/// each sampled function is projected on its eigenspace, `¼ Σ_l i^(kl) F^l`, and made orthogonal to the
/// lower orders of the same eigenspace. For `N` up to about 100; beyond, the highest orders are too
/// nearly dependent.
pub fn hermite_basis(n: usize) -> Vec<f64> {
    let powers = [0, 1, 2, 3].map(|power| dft_power(n, power));
    let mut basis = Vec::<Vec<f64>>::new();
    for k in 0..n {
        let sample = grid(n)
            .iter()
            .map(|p| Complex64::from(hermite_gauss(k, p / (n as f64).sqrt())))
            .collect::<Vec<_>>();
        let mut v = vec![0.0; n];
        // Twice is enough, for the projection as for the orthogonalisation.
        let mut source = sample;
        for _ in 0..2 {
            let images = powers.each_ref().map(|power| apply(power, &source));
            for (j, value) in v.iter_mut().enumerate() {
                *value = (0..4)
                    .map(|l| (Complex64::I.powu((k * l % 4) as u32) * images[l][j]).re)
                    .sum::<f64>()
                    / 4.0;
            }
            for lower in basis.iter().skip(k % 4).step_by(4) {
                let dot = lower.iter().zip(&v).map(|(l, v)| l * v).sum::<f64>();
                for (value, l) in v.iter_mut().zip(lower) {
                    *value -= dot * l;
                }
            }
            let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
            for value in &mut v {
                *value /= norm;
            }
            source = v.iter().copied().map(Complex64::from).collect();
        }
        basis.push(v);
    }
    basis.concat()
}

/// `h_k(x)`, by the recurrence of the functions themselves.
pub fn hermite_gauss(k: usize, x: f64) -> f64 {
    let (mut before, mut now) = (0.0, 2f64.powf(0.25) * (-PI * x * x).exp());
    for order in 1..=k {
        let order = order as f64;
        let next = (4.0 * PI / order).sqrt() * x * now - ((order - 1.0) / order).sqrt() * before;
        (before, now) = (now, next);
    }
    now
}

/// `frft`: `Σ_k exp(−iθk) v_k v_kᵀ`, `basis` from [`hermite_basis`].
pub fn frft(n: usize, basis: &[f64], theta: f64) -> Vec<Complex64> {
    dense(n, n, |j, l| {
        (0..n)
            .map(|k| Complex64::from_polar(basis[k * n + j] * basis[k * n + l], -theta * k as f64))
            .sum()
    })
}

/// `lct_framed`: the state `(q, m, v)` of `L(q) D(m) Σ v_k h_k` after the matrix `[a, b, c, d]`, with
/// the metaplectic phase. The Iwasawa factors come from the images of the two unit vectors.
pub fn lct_framed(
    [a, b, c, d]: [f64; 4],
    (q, m, v): (f64, f64, &[Complex64]),
) -> (f64, f64, Vec<Complex64>) {
    // z ↦ (c + dz)/(a + bz) acts on the Gaussian exp(iπ z x²), z = q + i/m².
    let z = Complex64::new(q, 1.0 / (m * m));
    let moved = (c + d * z) / (a + b * z);
    let angle = (a + b * z).arg();
    let v = v
        .iter()
        .enumerate()
        .map(|(k, v)| v * Complex64::from_polar(1.0, -angle * (k as f64 + 0.5)))
        .collect();
    (moved.re, moved.im.sqrt().recip(), v)
}

/// The samples on the centred grid of the state `(q, m, v)`: `L(q) D(m) Σ v_k h_k`, times the root of the
/// step.
pub fn resample((q, m): (f64, f64), v: &[Complex64]) -> Vec<Complex64> {
    let n = v.len();
    let step = (n as f64).sqrt() * m;
    let sample = |point: &f64| {
        let terms = v.iter().enumerate().map(|(k, v)| v * hermite_gauss(k, point / step));
        terms.sum::<Complex64>() / step.sqrt()
    };
    chirp(n, q, &grid(n).iter().map(sample).collect::<Vec<_>>())
}

/// The Gaussian `exp(iπ z x²)`, `Im z > 0`, transformed in closed form: the factor `(a + bz)^(−1/2)`
/// (principal) and the new `z`.
pub fn gaussian([a, b, c, d]: [f64; 4], z: Complex64) -> (Complex64, Complex64) {
    ((a + b * z).sqrt().inv(), (c + d * z) / (a + b * z))
}

/// The kernel `(ib)^(−1/2) exp(iπ(a x² − 2xu + d u²)/b)`, `b ≠ 0`.
pub fn kernel([a, b, _, d]: [f64; 4], u: f64, x: f64) -> Complex64 {
    half_turns((a * x * x - 2.0 * x * u + d * u * u) / b) / Complex64::new(0.0, b).sqrt()
}

/// `lct_complex`: the kernel of a complex matrix `[a, b, c, d]`, `b ≠ 0`, on the centred grid of step
/// `1/√N`, times the step.
pub fn lct_complex([a, b, _, d]: [Complex64; 4], n: usize) -> Vec<Complex64> {
    let step = (n as f64).sqrt().recip();
    let points: Vec<f64> = grid(n).iter().map(|p| p * step).collect();
    let amplitude = step / (Complex64::I * b).sqrt();
    dense(n, n, |k, j| {
        let (u, x) = (points[k], points[j]);
        amplitude * (Complex64::new(0.0, PI) * (a * (x * x) - 2.0 * x * u + d * (u * u)) / b).exp()
    })
}

/// `lct_scaled`: the kernel from centred points at distance `dx` to centred points at `|b|/(N dx)`,
/// times the square roots of both distances.
pub fn lct_scaled(entries: [f64; 4], n: usize, dx: f64) -> Vec<Complex64> {
    let du = entries[1].abs() / (n as f64 * dx);
    let points = grid(n);
    dense(n, n, |k, j| kernel(entries, points[k] * du, points[j] * dx) * (dx * du).sqrt())
}

/// `lct_causal`: the kernel on the points `(start + j) dx`, times `dx`, masked to input ≤ output.
pub fn lct_causal(entries: [f64; 4], n: usize, start: f64, dx: f64) -> Vec<Complex64> {
    dense(n, n, |u, t| {
        if t > u {
            return Complex64::ZERO;
        }
        kernel(entries, (start + u as f64) * dx, (start + t as f64) * dx) * dx
    })
}

/// `lct_czt`: the kernel from `n` centred points at distance `dx` to the points `first + k·step`,
/// times `dx`.
pub fn lct_czt(
    entries: [f64; 4],
    (n, dx): (usize, f64),
    (outputs, first, step): (usize, f64, f64),
) -> Vec<Complex64> {
    let points = grid(n);
    dense(outputs, n, |k, j| kernel(entries, first + step * k as f64, points[j] * dx) * dx)
}

/// `czt`: `A^(−n) W^(nk)`.
pub fn czt(n: usize, outputs: usize, a: Complex64, w: Complex64) -> Vec<Complex64> {
    dense(outputs, n, |k, j| a.powi(-(j as i32)) * w.powi((j * k) as i32))
}

/// `frft_weighted`: the spectral definition `Σ_r e^(−iθr) P_r`, `P_r = ¼ Σ_l i^(rl) F^l` the projection
/// on the eigenspace of `(−i)^r`.
pub fn frft_weighted(n: usize, theta: f64) -> Vec<Complex64> {
    let powers = [0, 1, 2, 3].map(|power| dft_power(n, power));
    let mut out = vec![Complex64::ZERO; n * n];
    for r in 0..4 {
        for (l, power) in powers.iter().enumerate() {
            let weight = Complex64::from_polar(0.25, -theta * r as f64)
                * Complex64::I.powu((r * l % 4) as u32);
            for (sum, value) in out.iter_mut().zip(power) {
                *sum += weight * value;
            }
        }
    }
    out
}

/// `lct_weil` on the residues `0 … N − 1`, by a word in two generators found by Euclid's algorithm:
/// `exp(iπ q k²/N)` (with the inverse of 2 modulo `N` for odd `N`) for `[[1, 0], [q, 1]]`, and for
/// `[[0, 1], [−1, 0]]` the DFT times `N^(−1/2) Σ_m exp(−iπm²/N)`. Exact for odd `N`, up to sign for even
/// `N`.
pub fn lct_weil(n: usize, entries: [i64; 4]) -> Vec<Complex64> {
    let modulus = if n % 2 == 1 { n as i64 } else { 2 * n as i64 };
    let [mut a, mut b, mut c, mut d] = entries.map(|entry| entry.rem_euclid(modulus));
    // Factors are split off on the right, where they act first, until b = 0. The signs of a and b are
    // kept, so that |b| falls with every quotient.
    let mut word = dft_power(n, 0);
    while b != 0 {
        if b.abs() <= a.abs() {
            // M·L(−q) = [[a − bq, b], …].
            let q = a / b;
            a -= b * q;
            c = (c - d * q).rem_euclid(modulus);
            word = product(n, &weil_chirp(n, q), &word);
        } else {
            // M·S⁻¹ = [[b, −a], [d, −c]].
            (a, b) = (b, -a);
            (c, d) = (d, (-c).rem_euclid(modulus));
            word = product(n, &weil_fourier(n), &word);
        }
    }
    // What is left is L(c/a)·D(a), and D(a) = U(a) L(−1/a) U(a) S⁻¹ with U(a) = S⁻¹ L(−a) S.
    let Some(inverse) = (0..modulus).find(|x| (a * x - 1).rem_euclid(modulus) == 0) else {
        return Vec::new();
    };
    let fourier = weil_fourier(n);
    let backward = adjoint(n, &fourier);
    let convolution = product(n, &backward, &product(n, &weil_chirp(n, -a), &fourier));
    for factor in [
        &backward,
        &convolution,
        &weil_chirp(n, -inverse),
        &convolution,
        &weil_chirp(n, c * inverse),
    ] {
        word = product(n, factor, &word);
    }
    word
}

/// `lct_weil` for `gcd(b, N) = 1`, odd `N`, from the closed form, summed entry by entry:
/// `ε (2b/N) N^(−1/2) e(2⁻¹ b⁻¹ (a n² − 2nk + d k²))`; the symbol by counting squares, so `N` prime.
pub fn lct_weil_prime(n: usize, [a, b, _, d]: [i64; 4]) -> Vec<Complex64> {
    let p = n as i64;
    let is_square = |x: i64| (1..p).any(|y| (y * y - x).rem_euclid(p) == 0);
    let epsilon = if p % 4 == 1 { Complex64::ONE } else { -Complex64::I };
    let symbol = if is_square(2 * b) { 1.0 } else { -1.0 };
    let inverse = (1..p).find(|x| (2 * b * x - 1).rem_euclid(p) == 0).unwrap_or(0);
    dense(n, n, |k, j| {
        let (k, j) = (k as i64, j as i64);
        let exponent = ((a * j * j - 2 * j * k + d * k * k) % p * inverse).rem_euclid(p);
        epsilon * symbol * half_turns(2.0 * exponent as f64 / n as f64) / (n as f64).sqrt()
    })
}

fn weil_chirp(n: usize, q: i64) -> Vec<Complex64> {
    let odd = n % 2 == 1;
    let modulus = if odd { n as i64 } else { 2 * n as i64 };
    let rate =
        if odd { q.rem_euclid(modulus) * ((modulus + 1) / 2) } else { q }.rem_euclid(modulus);
    let entry =
        |k: i64| half_turns(2.0 * (rate * (k * k % modulus) % modulus) as f64 / modulus as f64);
    diagonal(&(0..n as i64).map(entry).collect::<Vec<_>>())
}

fn weil_fourier(n: usize) -> Vec<Complex64> {
    let sum: Complex64 = weil_chirp(n, -1).iter().sum();
    // The Gauss sum is an eighth root of 1 times √N; keep only the root.
    let eighths = (sum.arg() * 4.0 / PI).round();
    let scale = half_turns(eighths / 4.0) / (n as f64).sqrt();
    dense(n, n, |k, j| scale * half_turns(-2.0 * (j * k % n) as f64 / n as f64))
}

/// The matrix of a linear map of `n` points, from its images of the unit vectors.
pub fn of_linear(n: usize, map: impl Fn(&[Complex64]) -> Vec<Complex64>) -> Vec<Complex64> {
    let image = |j: usize| {
        let unit: Vec<_> = (0..n).map(|l| Complex64::from(f64::from(u8::from(l == j)))).collect();
        map(&unit)
    };
    let columns: Vec<_> = (0..n).map(image).collect();
    dense(columns[0].len(), n, |k, j| columns[j][k])
}

/// The conjugate transpose of a matrix of `inputs` columns.
pub fn adjoint(inputs: usize, matrix: &[Complex64]) -> Vec<Complex64> {
    dense(inputs, matrix.len() / inputs, |j, l| matrix[l * inputs + j].conj())
}

fn diagonal(values: &[Complex64]) -> Vec<Complex64> {
    let n = values.len();
    dense(n, n, |j, l| if j == l { values[j] } else { Complex64::ZERO })
}

fn dense(
    outputs: usize,
    inputs: usize,
    entry: impl Fn(usize, usize) -> Complex64,
) -> Vec<Complex64> {
    (0..outputs * inputs).map(|index| entry(index / inputs, index % inputs)).collect()
}
