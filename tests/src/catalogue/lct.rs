//! Linear canonical transforms and their adjoints.

use core::f64::consts::{FRAC_PI_2, PI};
use std::sync::Arc;

use wavecube::{
    Abcd, Complex64, ComplexAbcd, Dtype, Frame, FramedSignal, OutputGrid, Result, ShearFactors,
    ShearPasses, Tensor, WeilMatrix, ZeroPoint,
};
use wavecube_core::fft::padded_len;

use super::{
    Case, POINTS, Peer,
    lines::{Lines, dense_lines},
};
use crate::{
    nan_filled,
    reference::{
        lct::{self as reference, Shear},
        transposed,
    },
};

/// No transform is easy at these: nothing is zero, one or a right angle.
pub(super) const ANGLE: f64 = 0.9;
pub(super) const RATE: f64 = 0.7;
pub(super) const SCALE: f64 = 1.3;
const WEIL: [i64; 4] = [3, 5, 4, 7];
/// Of the causal transform, in samples.
pub(super) const START: f64 = -3.0;
/// `L(0.1) U(0.8) L(0.3)`, which belongs to no matrix in particular.
pub(super) const PASSES: ShearPasses =
    ShearPasses { before: 0, first: 0.3, forward: true, middle: -0.8, last: 0.1, after: 0 };

/// Its shears are a chirp, a convolution and a chirp: two DFTs, one trip.
pub(super) fn matrix() -> Abcd {
    Abcd::from_abc(0.9, 0.3, -0.5).expect("a determinant of one")
}

/// Its shears are two convolutions and a chirp between them: four DFTs.
pub(super) fn dual_matrix() -> Abcd {
    Abcd::from_abc(0.9, 0.5, -0.3).expect("a determinant of one")
}

/// A Gaussian and then [`matrix`]: its kernel is bounded.
pub(super) fn complex_matrix() -> ComplexAbcd {
    ComplexAbcd::from(matrix()) * ComplexAbcd::gaussian(0.3)
}

/// Neither the identity nor wider than the grid.
pub(super) fn frame() -> Frame {
    Frame::new(0.3, 1.2, 0.1).expect("a positive scale")
}

/// Not quite the spacing of the centred grid.
pub(super) fn spacing(n: usize) -> f64 {
    0.9 / (n as f64).sqrt()
}

/// Half as many points as samples, closer together.
pub(super) fn output_grid(n: usize) -> OutputGrid {
    let step = 0.7 / (n as f64).sqrt();
    OutputGrid { outputs: n / 2, first: -0.25 * step * n as f64, step }
}

/// A spiral whose powers stay near one for 256 steps.
pub(super) fn spiral() -> [Complex64; 2] {
    [Complex64::from_polar(1.001, 0.6), Complex64::from_polar(0.999_99, -0.013)]
}

pub(super) fn cases() -> Vec<Case> {
    [shears(), eigenbasis(), grids(), algebraic()].into_iter().flatten().collect()
}

/// `factors` counts the DFTs and tables that a value passes through, 4 ε log₂ N each.
pub(super) fn gate(n: usize, factors: f64) -> f64 {
    4.0 * factors * Dtype::F32.epsilon() * (n as f64).log2()
}

/// Two products with a dense matrix: `4 ε √N`.
pub(super) fn dense_gate(n: usize) -> f64 {
    4.0 * Dtype::F32.epsilon() * (n as f64).sqrt()
}

fn lines(op: &'static str, n: usize, factors: f64) -> Lines {
    Lines { covered: dense_lines(n), ..Lines::complex(op, Dtype::F32, n, gate(n, factors)) }
}

/// Fewer points than elsewhere, each costs 4N flop.
fn dense(op: &'static str, n: usize) -> Lines {
    let points = POINTS / 4;
    Lines { points, covered: dense_lines(n), ..Lines::complex(op, Dtype::F32, n, dense_gate(n)) }
}

/// Operations that are one round trip through `n` points.
fn round_trip(n: usize) -> Peer {
    Peer::RoundTrip { n, real: false }
}

/// What a transform of lines is.
#[derive(Clone)]
enum Truth {
    /// A matrix `[outputs, inputs]`.
    Matrix(Arc<dyn Fn() -> Vec<Complex64> + Send + Sync>),
    Shears(Vec<Shear>),
    Factors(ShearFactors),
}

impl Truth {
    fn matrix(make: impl Fn() -> Vec<Complex64> + Send + Sync + 'static) -> Self {
        Self::Matrix(Arc::new(make))
    }

    fn factors(m: &Abcd) -> Self {
        Self::Factors(ShearFactors::new(m).expect("finite entries"))
    }

    /// Of lines of `n` points.
    fn forward(&self, n: usize, x: &[Complex64]) -> Vec<Complex64> {
        match self {
            Self::Matrix(make) => reference::lines(&make(), n, x),
            Self::Shears(shears) => reference::lct_shear(n, x, 0, shears),
            Self::Factors(factors) => reference::lct_shear_factored(n, x, factors),
        }
    }

    /// The adjoint, to lines of `n` points.
    fn backward(&self, n: usize, g: &[Complex64]) -> Vec<Complex64> {
        match self {
            Self::Matrix(make) => {
                let adjoint = reference::adjoint(n, &make());
                reference::lines(&adjoint, adjoint.len() / n, g)
            }
            Self::Shears(shears) => reference::lct_shear(n, g, 0, &reference::undone(shears)),
            Self::Factors(factors) => reference::lct_shear_factored_adjoint(n, g, factors),
        }
    }
}

/// A transform of lines and its adjoint, of fewer points: its kernels are the transform's.
fn pair<F, B>(lines: Lines, vjp: &'static str, truth: &Truth, forward: F, backward: B) -> [Case; 2]
where
    F: Fn(&Tensor, isize) -> Result<Tensor> + Clone + Send + Sync + 'static,
    B: Fn(&Tensor, isize) -> Result<Tensor> + Clone + Send + Sync + 'static,
{
    let [input, output] = lines.ends;
    let (n, _) = input;
    let (there, back) = (truth.clone(), truth.clone());
    let adjoint = Lines {
        op: vjp,
        points: lines.points.min(POINTS / 16),
        ends: [output, input],
        peer: Peer::Nothing,
        ..lines
    };
    [
        lines.case(forward, move |x| there.forward(n, x)),
        adjoint.case(backward, move |g| back.backward(n, g)),
    ]
}

fn shears() -> Vec<Case> {
    let n = 1024;
    let fused = |op, n| Lines { peer: round_trip(n), ..lines(op, n, 6.0) };
    let small = |op| Lines { points: POINTS / 16, ..lines(op, 256, 6.0) };
    let (m, dual, truth) = (matrix(), dual_matrix(), Truth::factors(&matrix()));
    let mut cases = vec![
        fused("lct/shear", 256).case(
            move |x, axis| wavecube::lct_shear(x, &m, axis),
            move |x| Truth::factors(&m).forward(256, x),
        ),
        lines("lct/shear_dual", n, 6.0).case(
            move |x, axis| wavecube::lct_shear(x, &dual, axis),
            move |x| Truth::factors(&dual).forward(n, x),
        ),
        small("lct/shear_into").case(
            move |x, axis| {
                let mut y = nan_filled(x.device(), x.dtype(), true, x.shape())?;
                wavecube::lct_shear_into(x, &mut y, &m, axis)?;
                Ok(y)
            },
            move |x| Truth::factors(&m).forward(256, x),
        ),
    ];
    cases.extend(pair(
        fused("lct/shear", n),
        "lct/shear_vjp",
        &truth,
        move |x, axis| wavecube::lct_shear(x, &m, axis),
        move |g, axis| wavecube::lct_shear_vjp(g, &m, axis),
    ));
    let factors = ShearFactors::smooth(&dual).expect("finite entries");
    cases.extend(pair(
        small("lct/shear_factored"),
        "lct/shear_factored_vjp",
        &Truth::Factors(factors),
        move |x, axis| wavecube::lct_shear_factored(x, &factors, axis),
        move |g, axis| wavecube::lct_shear_factored_vjp(g, &factors, axis),
    ));
    let passes =
        [Shear::Chirp(PASSES.first), Shear::Fresnel(-PASSES.middle), Shear::Chirp(PASSES.last)];
    cases.extend(pair(
        small("lct/shear_passes"),
        "lct/shear_passes_vjp",
        &Truth::Shears(passes.to_vec()),
        |x, axis| wavecube::lct_shear_passes(x, &PASSES, Complex64::ONE, axis),
        |g, axis| wavecube::lct_shear_passes_vjp(g, &PASSES, Complex64::ONE, axis),
    ));
    cases.extend(pair(
        fused("lct/fresnel", n),
        "lct/fresnel_vjp",
        &Truth::Shears(vec![Shear::Fresnel(RATE)]),
        |x, axis| wavecube::fresnel(x, RATE, axis),
        |g, axis| wavecube::fresnel_vjp(g, RATE, axis),
    ));
    cases.extend(pair(
        small("lct/scaling"),
        "lct/scaling_vjp",
        &Truth::factors(&Abcd::scaling(SCALE).expect("a scale")),
        |x, axis| wavecube::scaling(x, SCALE, axis),
        |g, axis| wavecube::scaling_vjp(g, SCALE, axis),
    ));
    cases.extend(pair(
        lines("lct/fourier", n, 2.0),
        "lct/fourier_vjp",
        &Truth::matrix(move || reference::dft_power(n, 1)),
        |x, axis| wavecube::fourier(x, false, axis),
        |g, axis| wavecube::fourier_vjp(g, false, axis),
    ));
    cases.extend(pair(
        lines("lct/chirp_multiply", n, 1.0),
        "lct/chirp_multiply_vjp",
        &Truth::Shears(vec![Shear::Chirp(RATE)]),
        |x, axis| wavecube::chirp_multiply(x, RATE, axis),
        |g, axis| wavecube::chirp_multiply_vjp(g, RATE, axis),
    ));
    // A plane, its columns by one matrix and its rows by the other.
    let plane = |op| Lines { covered: usize::MAX, gate: gate(256, 12.0), ..small(op) };
    cases.push(plane("lct/lct2").case(
        move |x, _| wavecube::lct2(x, [&dual, &m], [0, 1]),
        move |x| {
            let columns = Truth::factors(&dual).forward(256, &transposed(x, 256));
            Truth::factors(&m).forward(256, &transposed(&columns, 256))
        },
    ));
    cases.push(plane("lct/lct2_vjp").case(
        move |g, _| wavecube::lct2_vjp(g, [&dual, &m], [0, 1]),
        move |g| {
            let columns = transposed(&Truth::factors(&m).backward(256, g), 256);
            transposed(&Truth::factors(&dual).backward(256, &columns), 256)
        },
    ));
    cases
}

/// The reference of the eigenbasis ends at about 100 points. Beyond, a right angle shows whether the basis
/// is one: every basis of eigenvectors makes it the DFT.
fn eigenbasis() -> Vec<Case> {
    const N: usize = 64;
    let m = matrix();
    let turned = || reference::frft(N, &reference::hermite_basis(N), ANGLE);
    let mut cases = vec![
        dense("lct/frft", 256).case(
            |x, axis| wavecube::frft(x, FRAC_PI_2, axis),
            |x| reference::lines(&reference::dft_power(256, 1), 256, x),
        ),
        dense("lct/frft_into", N).case(
            |x, axis| {
                let mut y = nan_filled(x.device(), x.dtype(), true, x.shape())?;
                wavecube::frft_into(x, &mut y, ANGLE, axis)?;
                Ok(y)
            },
            move |x| reference::lines(&turned(), N, x),
        ),
        dense("lct/framed", 256).case(
            |x, axis| samples_after(&Abcd::FOURIER, x, axis),
            |x| {
                let zero_point = Complex64::from_polar(1.0, -FRAC_PI_2 / 2.0);
                let spectrum = reference::lines(&reference::dft_power(256, 1), 256, x);
                spectrum.iter().map(|v| zero_point * v).collect()
            },
        ),
        dense("lct/framed", N).case(
            move |x, axis| samples_after(&m, x, axis),
            move |x| {
                let basis = basis(N);
                let line = |x: &[_]| {
                    let v = reference::apply(&basis, x);
                    let (q, scale, v) = reference::lct_framed(m.entries(), (0.0, 1.0, &v));
                    framed_samples(&basis, (q, scale), &v)
                };
                x.chunks(N).flat_map(line).collect()
            },
        ),
    ];
    cases.extend(pair(
        dense("lct/frft", N),
        "lct/frft_vjp",
        &Truth::matrix(turned),
        |x, axis| wavecube::frft(x, ANGLE, axis),
        |g, axis| wavecube::frft_vjp(g, ANGLE, axis),
    ));
    cases.extend(pair(
        dense("lct/framed_coefficients", N),
        "lct/framed_coefficients_vjp",
        // Without the zero point, order k turns k times as far as a + bi.
        &Truth::matrix(move || {
            let [a, b, ..] = m.entries();
            let turn = |k: usize| Complex64::from_polar(1.0, -b.atan2(a) * k as f64);
            basis(N).iter().enumerate().map(|(entry, v)| turn(entry / N) * v).collect()
        }),
        move |x, axis| Ok(wavecube::lct_framed(x, &m, axis)?.coefficients),
        move |g, axis| wavecube::lct_framed_vjp(g, &m, axis),
    ));
    cases.extend(pair(
        dense("lct/framed_apply", N),
        "lct/framed_apply_vjp",
        &Truth::matrix(move || {
            let state = |v: &[_]| reference::lct_framed(m.entries(), (frame().q(), frame().m(), v));
            reference::of_linear(N, |v| state(v).2)
        }),
        move |v, axis| Ok(state(v, frame(), axis)?.apply(&m)?.coefficients),
        move |g, axis| Ok(state(g, frame(), axis)?.apply_vjp(&m, g, [0.0; 2])?.coefficients),
    ));
    cases.extend(pair(
        dense("lct/framed_samples", N),
        "lct/framed_samples_vjp",
        &Truth::matrix(|| {
            let basis = basis(N);
            reference::of_linear(N, |v| framed_samples(&basis, (frame().q(), frame().m()), v))
        }),
        |v, axis| Ok(state(v, frame(), axis)?.to_samples()?.0),
        |g, axis| state(g, frame(), axis)?.to_samples_vjp(g),
    ));
    cases.extend(pair(
        dense("lct/framed_resample", N),
        "lct/framed_resample_vjp",
        &Truth::matrix(|| {
            reference::of_linear(N, |v| reference::resample((frame().q(), frame().m()), v))
        }),
        |v, axis| state(v, frame(), axis)?.resample(),
        |g, axis| state(g, frame(), axis)?.resample_vjp(g),
    ));
    cases
}

/// The eigenvectors as rows: a matrix that analyses, whose transpose synthesises.
pub(super) fn basis(n: usize) -> Vec<Complex64> {
    reference::hermite_basis(n).into_iter().map(Complex64::from).collect()
}

/// The samples of a state on its own grid, whose points are `m` times the centred ones.
pub(super) fn framed_samples(
    basis: &[Complex64],
    (q, m): (f64, f64),
    v: &[Complex64],
) -> Vec<Complex64> {
    let n = v.len();
    reference::chirp(n, q * m * m, &reference::apply(&reference::adjoint(n, basis), v))
}

fn samples_after(m: &Abcd, x: &Tensor, axis: isize) -> Result<Tensor> {
    let signal = FramedSignal::from_samples(x, axis)?.with_zero_point(ZeroPoint::With);
    Ok(signal.apply(m)?.to_samples()?.0)
}

/// Coefficients in a frame.
pub(super) fn state(v: &Tensor, frame: Frame, axis: isize) -> Result<FramedSignal> {
    let state = FramedSignal::from_coefficients(v.clone(), frame, axis)?;
    Ok(state.with_zero_point(ZeroPoint::With))
}

fn grids() -> Vec<Case> {
    let n = 1024;
    let (m, entries, dx) = (matrix(), matrix().entries(), spacing(n));
    let padded = round_trip(padded_len(2 * n - 1));
    let mut cases = Vec::new();
    cases.extend(pair(
        lines("lct/scaled", n, 3.0),
        "lct/scaled_vjp",
        &Truth::matrix(move || reference::lct_scaled(entries, n, dx)),
        move |x, axis| Ok(wavecube::lct_scaled(x, &m, dx, axis)?.0),
        move |g, axis| wavecube::lct_scaled_vjp(g, &m, dx, axis),
    ));
    cases.extend(pair(
        Lines { peer: padded, ..lines("lct/causal", n, 12.0) },
        "lct/causal_vjp",
        &Truth::matrix(move || reference::lct_causal(entries, n, START, dx)),
        move |x, axis| wavecube::lct_causal(x, &m, START, dx, axis),
        move |g, axis| wavecube::lct_causal_vjp(g, &m, START, dx, axis),
    ));
    // As many frequencies as samples, from a third of the circle.
    let (start, step) = (0.1, 0.3 / n as f64);
    cases.extend(pair(
        Lines { peer: padded, ..lines("lct/czt", n, 8.0) },
        "lct/czt_vjp",
        &Truth::matrix(move || {
            let circle = |turns: f64| Complex64::from_polar(1.0, 2.0 * PI * turns);
            reference::czt(n, n, circle(start), circle(-step))
        }),
        move |x, axis| wavecube::czt(x, n, start, step, axis),
        move |g, axis| wavecube::czt_vjp(g, n, start, step, axis),
    ));
    let n = 256;
    let (dx, grid) = (spacing(n), output_grid(n));
    let half = |op| {
        let points = POINTS / 16;
        Lines { points, ends: [(n, true), (n / 2, true)], ..lines(op, n, 8.0) }
    };
    cases.extend(pair(
        half("lct/lct_czt"),
        "lct/lct_czt_vjp",
        &Truth::matrix(move || {
            reference::lct_czt(entries, (n, dx), (grid.outputs, grid.first, grid.step))
        }),
        move |x, axis| wavecube::lct_czt(x, &m, dx, &grid, axis),
        move |g, axis| wavecube::lct_czt_vjp(g, n, &m, dx, &grid, axis),
    ));
    let [a, w] = spiral();
    cases.extend(pair(
        half("lct/czt_spiral"),
        "lct/czt_spiral_vjp",
        &Truth::matrix(move || reference::czt(n, n / 2, a, w)),
        move |x, axis| wavecube::czt_spiral(x, n / 2, a, w, axis),
        move |g, axis| wavecube::czt_spiral_vjp(g, n, a, w, axis),
    ));
    cases
}

fn algebraic() -> Vec<Case> {
    // An even length has the transform up to sign; for this matrix at 256 both chose the same.
    let mut cases = vec![lines("lct/weil", 256, 4.0).case(
        |x, axis| wavecube::lct_weil(x, &WeilMatrix::new(256, WEIL)?, axis),
        |x| reference::lines(&reference::lct_weil(256, WEIL), 256, x),
    )];
    cases.extend(pair(
        lines("lct/weil", 257, 4.0),
        "lct/weil_vjp",
        &Truth::matrix(|| reference::lct_weil_prime(257, WEIL)),
        |x, axis| wavecube::lct_weil(x, &WeilMatrix::new(257, WEIL)?, axis),
        |g, axis| wavecube::lct_weil_vjp(g, &WeilMatrix::new(257, WEIL)?, axis),
    ));
    cases.extend(pair(
        lines("lct/frft_weighted", 1024, 4.0),
        "lct/frft_weighted_vjp",
        &Truth::matrix(|| reference::frft_weighted(1024, ANGLE)),
        |x, axis| wavecube::frft_weighted(x, ANGLE, axis),
        |g, axis| wavecube::frft_weighted_vjp(g, ANGLE, axis),
    ));
    let complex = complex_matrix();
    cases.extend(pair(
        dense("lct/complex", 256),
        "lct/complex_vjp",
        &Truth::matrix(move || reference::lct_complex(complex.entries(), 256)),
        move |x, axis| wavecube::lct_complex(x, &complex, axis),
        move |g, axis| wavecube::lct_complex_vjp(g, &complex, axis),
    ));
    // Its kernel grows as exp(πN/2).
    let points = POINTS / 64;
    cases.extend(pair(
        Lines { points, ..dense("lct/laplace", 8) },
        "lct/laplace_vjp",
        &Truth::matrix(|| {
            let [zero, i] = [Complex64::ZERO, Complex64::I];
            reference::lct_complex([zero, i, i, zero], 8)
        }),
        wavecube::laplace,
        wavecube::laplace_vjp,
    ));
    cases
}
