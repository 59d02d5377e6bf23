//! Matrices entry by entry from their definitions, with the derivatives by the numbers that they are made of.

use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};

use num_complex::Complex64;
use wavecube_core::lct::{Abcd, ComplexAbcd, Eigenbasis, OutputGrid, WeilMatrix, hermite_gauss};

use super::{ComplexMatrix, centred_dft, cis, grid};

/// An entry, and its logarithmic derivatives by `P` numbers.
pub(super) type Entry<const P: usize> = (Complex64, [Complex64; P]);

/// The matrix of `[outputs, inputs]` with these entries.
pub(crate) fn value<const P: usize>(
    shape: [usize; 2],
    entry: impl Fn(usize, usize) -> Entry<P>,
) -> ComplexMatrix {
    ComplexMatrix::rectangular(shape, |u, t| entry(u, t).0)
}

/// The derivatives of [`value`].
pub(crate) fn derivatives<const P: usize>(
    shape: [usize; 2],
    entry: impl Fn(usize, usize) -> Entry<P>,
) -> Vec<ComplexMatrix> {
    let by = |number: usize| {
        ComplexMatrix::rectangular(shape, |u, t| {
            let (value, slopes) = entry(u, t);
            value * slopes[number]
        })
    };
    (0..P).map(by).collect()
}

fn imaginary(im: f64) -> Complex64 {
    Complex64::new(0.0, im)
}

/// `exp(iπ q x²/N)` on the diagonal, by `q`.
pub(crate) fn chirp(n: usize, q: f64) -> impl Fn(usize, usize) -> Entry<1> {
    move |u, t| {
        let rate = PI * grid(n, t).powi(2) / n as f64;
        let value = if u == t { cis(q * rate) } else { Complex64::ZERO };
        (value, [imaginary(rate)])
    }
}

/// `exp(−2πi t (start + u step))`, by `start` and `step`.
pub(crate) fn czt(start: f64, step: f64) -> impl Fn(usize, usize) -> Entry<2> {
    move |u, t| {
        let (u, t) = (u as f64, t as f64);
        let turns = (t * start).fract() + (t * u * step).fract();
        (cis(-TAU * turns), [imaginary(-TAU * t), imaginary(-TAU * t * u)])
    }
}

/// `a^(−t) w^(tu)`, by the real and imaginary parts of `a` and `w`.
pub(crate) fn spiral(a: Complex64, w: Complex64) -> impl Fn(usize, usize) -> Entry<4> {
    move |u, t| {
        let powers = a.ln() * -(t as f64) + w.ln() * (t * u) as f64;
        let (by_a, by_w) = (-(t as f64) / a, (t * u) as f64 / w);
        (powers.exp(), [by_a, Complex64::I * by_a, by_w, Complex64::I * by_w])
    }
}

/// The exponent `iπ (a x² − 2xu + d u²)/b` and its derivatives by `a`, `b`, `d`, `x` and `u`.
fn quadratic([a, b, d]: [Complex64; 3], x: f64, u: f64) -> (Complex64, [Complex64; 5]) {
    let over = imaginary(PI) / b;
    let form = a * (x * x) - 2.0 * x * u + d * (u * u);
    let by_x = over * (a * (2.0 * x) - 2.0 * u);
    let by_u = over * (d * (2.0 * u) - 2.0 * x);
    (over * form, [over * x * x, -over * form / b, over * u * u, by_x, by_u])
}

/// `spacing (ib)^(−1/2) exp(iπ (a x² − 2xu + d u²)/b)` from `n` centred points to those of `output`, by
/// `(a, b, c, d, spacing, first, step)`.
pub(crate) fn onto_grid(
    n: usize,
    m: &Abcd,
    spacing: f64,
    output: &OutputGrid,
) -> impl Fn(usize, usize) -> Entry<7> {
    let [a, b, _, d] = m.entries().map(Complex64::from);
    let OutputGrid { first, step, .. } = *output;
    let amplitude = spacing / (Complex64::I * b).sqrt();
    move |k, t| {
        let (point, k) = (grid(n, t), k as f64);
        let (exponent, by) = quadratic([a, b, d], point * spacing, first + k * step);
        let [by_a, by_b, by_d, by_x, by_u] = by;
        let by_b = by_b - 0.5 / b;
        let by_spacing = by_x * point + 1.0 / spacing;
        let slopes = [by_a, by_b, Complex64::ZERO, by_d, by_spacing, by_u, by_u * k];
        (amplitude * exponent.exp(), slopes)
    }
}

/// `(iN sign b)^(−1/2) exp(iπ (a x² − 2xu + d u²)/b)` from `n` centred points at distance `spacing` to as many at
/// `|b|/(n spacing)`, by `(a, b, c, d, spacing)`.
pub(crate) fn scaled(n: usize, m: &Abcd, spacing: f64) -> impl Fn(usize, usize) -> Entry<5> {
    let [a, b, _, d] = m.entries();
    let output = b.abs() / (n as f64 * spacing);
    let amplitude = Complex64::new(1.0, -b.signum()) * FRAC_1_SQRT_2 / (n as f64).sqrt();
    let complex = [a, b, d].map(Complex64::from);
    move |k, t| {
        let (from, to) = (grid(n, t), grid(n, k));
        let (exponent, by) = quadratic(complex, from * spacing, to * output);
        let [by_a, by_b, by_d, by_x, by_u] = by;
        let by_b = by_b + by_u * to * output / b;
        let by_spacing = by_x * from - by_u * to * output / spacing;
        (amplitude * exponent.exp(), [by_a, by_b, Complex64::ZERO, by_d, by_spacing])
    }
}

/// `N^(−1/2) (ib)^(−1/2) exp(iπ (a x² − 2xu + d u²)/b)` on the centred grid of step `N^(−1/2)`, or `exp(iπ c x²)` on
/// the diagonal where `b` is zero, by the real and imaginary parts of `(a, b, c, d)`.
pub(crate) fn complex(n: usize, m: &ComplexAbcd) -> impl Fn(usize, usize) -> Entry<8> {
    let [a, b, c, d] = m.entries();
    let step = 1.0 / (n as f64).sqrt();
    move |k, t| {
        let (x, u) = (grid(n, t) * step, grid(n, k) * step);
        let (value, [by_a, by_b, by_c, by_d]) = if b == Complex64::ZERO {
            let by_c = imaginary(PI * x * x);
            let value = if k == t { (c * by_c).exp() } else { Complex64::ZERO };
            (value, [Complex64::ZERO, Complex64::ZERO, by_c, Complex64::ZERO])
        } else {
            let (exponent, [by_a, by_b, by_d, ..]) = quadratic([a, b, d], x, u);
            let value = exponent.exp() * step / (Complex64::I * b).sqrt();
            (value, [by_a, by_b - 0.5 / b, Complex64::ZERO, by_d])
        };
        let i = Complex64::I;
        (value, [by_a, i * by_a, by_b, i * by_b, by_c, i * by_c, by_d, i * by_d])
    }
}

/// `Σ_l c_l F^l` with `c_l = ¼ Σ_r e^{−i angle r} i^{rl}`, the function of the centred DFT `F` that turns its `r`-th
/// eigenspace by `r` angles, or its derivative by the angle.
pub(crate) fn weighted(n: usize, angle: f64, derivative: bool) -> ComplexMatrix {
    let powers = [0, 1, 2, 3].map(|power| centred_dft(n, power));
    let weights = [0, 1, 2, 3].map(|l: u32| {
        let term = |r: u32| {
            let slope = if derivative { imaginary(-f64::from(r)) } else { Complex64::ONE };
            slope * cis(-angle * f64::from(r)) * Complex64::I.powu(r * l) / 4.0
        };
        (0..4).map(term).sum::<Complex64>()
    });
    ComplexMatrix::from_fn(n, |u, t| {
        powers.iter().zip(weights).map(|(power, weight)| power.entry(u, t) * weight).sum()
    })
}

/// What of a framed transform is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framed {
    /// The coefficients in the eigenbasis of the centred DFT.
    Coefficients,
    /// Samples on the frame's own grid.
    Samples,
    /// Samples on the grid of the signal.
    Resampled,
}

/// The coefficients `e^{−iθk} Vᵀ`, `θ = arg(a + ib)`, of the eigenbasis `V` of the centred DFT, or what `form` makes of
/// these: the matrix, and its derivatives by `(a, b, c, d)`.
///
/// An `n` that has no basis (a plan refuses it) gives zeros.
pub(crate) fn framed(n: usize, m: &Abcd, form: Framed) -> [ComplexMatrix; 5] {
    let Ok(basis) = Eigenbasis::shared(n) else {
        return [(); 5].map(|()| ComplexMatrix::from_fn(n, |_, _| Complex64::ZERO));
    };
    let v = basis.matrix();
    let [a, b, ..] = m.entries();
    let angle = b.atan2(a);
    let by_entries = [-b, a, 0.0, 0.0].map(|by| by / (a * a + b * b));
    let turned = |k: usize, t: usize| {
        let value = cis(-angle * k as f64) * v[t * n + k];
        (value, value * imaginary(-(k as f64)))
    };
    let from_coefficients = match form {
        Framed::Coefficients => None,
        Framed::Samples => Some(on_own_grid(n, &v, m)),
        Framed::Resampled => Some(on_grid(n, m)),
    };
    let entry = |u: usize, t: usize| {
        let mut sums = [Complex64::ZERO; 5];
        let mut add = |(value, by_angle): (Complex64, Complex64),
                       [own, by @ ..]: [Complex64; 5]| {
            sums[0] += own * value;
            for (number, (by, angle)) in by.into_iter().zip(by_entries).enumerate() {
                sums[number + 1] += by * value + own * by_angle * angle;
            }
        };
        match &from_coefficients {
            None => {
                let [one, zero] = [Complex64::ONE, Complex64::ZERO];
                add(turned(u, t), [one, zero, zero, zero, zero]);
            }
            Some(synthesis) => (0..n).for_each(|k| add(turned(k, t), synthesis[u * n + k])),
        }
        sums
    };
    let all: Vec<_> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
    [0, 1, 2, 3, 4].map(|of| ComplexMatrix::from_fn(n, |u, t| all[u * n + t][of]))
}

/// `e^{iπ s x²/N} V`, `s = q m² = ac + bd`: by point and order, with the derivatives by `(a, b, c, d)`.
fn on_own_grid(n: usize, v: &[f64], m: &Abcd) -> Vec<[Complex64; 5]> {
    let [a, b, c, d] = m.entries();
    let entry = |at: usize| {
        let rate = PI * grid(n, at / n).powi(2) / n as f64;
        let value = cis(rate * (a * c + b * d)) * v[at];
        let [by_a, by_b, by_c, by_d] = [c, d, a, b].map(|by| value * imaginary(rate * by));
        [value, by_a, by_b, by_c, by_d]
    };
    (0..n * n).map(entry).collect()
}

/// `N^(−1/4) m^(−1/2) e^{iπ q x²} h_k(x/m)` at the points `x` of the centred grid of step `N^(−1/2)`, with Hermite–Gauss
/// functions `h_k`, `m² = a² + b²` and `q m² = ac + bd`: by point and order, with the derivatives by `(a, b, c, d)`.
fn on_grid(n: usize, matrix: &Abcd) -> Vec<[Complex64; 5]> {
    let [a, b, c, d] = matrix.entries();
    let square = a * a + b * b;
    let (m, q) = (square.sqrt(), (a * c + b * d) / square);
    let by_m = [a / m, b / m, 0.0, 0.0];
    let by_q = [(c - 2.0 * q * a) / square, (d - 2.0 * q * b) / square, a / square, b / square];
    let step = 1.0 / (n as f64).sqrt();
    let points: Vec<f64> = (0..n).map(|j| grid(n, j) * step / m).collect();
    let Ok(h) = hermite_gauss(n + 1, &points) else { unreachable!("points of a plan are finite") };
    let entry = |at: usize| {
        let (j, k) = (at / n, at % n);
        let of = |order: usize| h[order * n + j];
        let (x, order) = (points[j], k as f64);
        let below = if k == 0 { 0.0 } else { order.sqrt() * of(k - 1) };
        let slope = PI.sqrt() * (below - (order + 1.0).sqrt() * of(k + 1));
        let rate = PI * (x * m).powi(2);
        let factor = cis(rate * q) * (step / m).sqrt();
        let along_m = -factor * (0.5 * of(k) + x * slope) / m;
        let along_q = factor * imaginary(rate) * of(k);
        let by = |number: usize| along_m * by_m[number] + along_q * by_q[number];
        [factor * of(k), by(0), by(1), by(2), by(3)]
    };
    (0..n * n).map(entry).collect()
}

/// The Weil representation of an integer matrix, column by column.
pub(crate) fn weil(m: &WeilMatrix) -> ComplexMatrix {
    let (n, plan) = (m.length(), m.plan());
    let column = |t: usize| {
        let mut unit = vec![Complex64::ZERO; n];
        unit[t] = Complex64::ONE;
        plan.apply_naive(&unit).expect("the plan is of this length")
    };
    let columns: Vec<_> = (0..n).map(column).collect();
    ComplexMatrix::from_fn(n, |u, t| columns[t][u])
}
