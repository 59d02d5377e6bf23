//! Linear canonical transforms.

use core::f64::consts::{FRAC_PI_2, PI};

use wavecube::{Abcd, Complex64, Dtype, FramedSignal, ShearFactors, Tensor, WeilMatrix, ZeroPoint};
use wavecube_core::fft::padded_len;

use super::{Case, Lines, POINTS, Peer, dense_lines};
use crate::reference::lct as reference;

/// No transform is easy at these: nothing is zero, one or a right angle.
const ANGLE: f64 = 0.9;
const WEIL: [i64; 4] = [3, 5, 4, 7];

/// Its shears are a chirp, a convolution and a chirp: two DFTs, one trip.
fn matrix() -> Abcd {
    Abcd::from_abc(0.9, 0.3, -0.5).expect("a determinant of one")
}

/// Its shears are two convolutions and a chirp between them: four DFTs.
fn dual_matrix() -> Abcd {
    Abcd::from_abc(0.9, 0.5, -0.3).expect("a determinant of one")
}

pub(super) fn cases() -> Vec<Case> {
    let fused = |n| Lines { peer: round_trip(n), ..lines("lct/shear", n, 6.0) };
    let mut cases = vec![shear(fused(256), matrix()), shear(fused(1024), matrix())];
    cases.push(shear(lines("lct/shear_dual", 1024, 6.0), dual_matrix()));
    cases.extend([fresnel(1024), fourier(1024), chirp_multiply(1024)]);
    cases.extend([frft_weighted(1024), scaled(1024), causal(1024), czt(1024)]);
    // The reference of the eigenbasis ends at about 100 points. Beyond, a right angle shows whether
    // the basis is one: every basis of eigenvectors makes it the DFT.
    cases.extend([frft(64, ANGLE), frft(256, FRAC_PI_2)]);
    cases.extend([framed(64, matrix()), framed(256, Abcd::FOURIER)]);
    cases.extend([weil(256), weil(257)]);
    cases
}

/// `factors` counts the DFTs and tables that a value passes through, 4 ε log₂ N each.
fn lines(op: &'static str, n: usize, factors: f64) -> Lines {
    let gate = 4.0 * factors * Dtype::F32.epsilon() * (n as f64).log2();
    Lines { covered: dense_lines(n), ..Lines::complex(op, Dtype::F32, n, gate) }
}

/// Two products with a dense matrix: `4 ε √N`. Fewer points than elsewhere, each costs 4N flop.
fn dense(op: &'static str, n: usize) -> Lines {
    let gate = 4.0 * Dtype::F32.epsilon() * (n as f64).sqrt();
    Lines { points: POINTS / 4, covered: dense_lines(n), ..Lines::complex(op, Dtype::F32, n, gate) }
}

/// Operations that are one round trip through `n` points.
fn round_trip(n: usize) -> Peer {
    Peer::RoundTrip { n, real: false }
}

fn shear(lines: Lines, m: Abcd) -> Case {
    let n = lines.n;
    lines.case(
        move |x, axis| wavecube::lct_shear(x, &m, axis),
        move |x| {
            let factors = ShearFactors::new(&m).expect("finite entries");
            reference::lct_shear_factored(n, x, &factors)
        },
    )
}

fn fresnel(n: usize) -> Case {
    Lines { peer: round_trip(n), ..lines("lct/fresnel", n, 6.0) }.case(
        |x, axis| wavecube::fresnel(x, 0.7, axis),
        move |x| reference::lct_shear(n, x, 0, &[reference::Shear::Fresnel(0.7)]),
    )
}

fn fourier(n: usize) -> Case {
    lines("lct/fourier", n, 2.0).case(
        |x, axis| wavecube::fourier(x, false, axis),
        move |x| reference::lines(&reference::dft_power(n, 1), n, x),
    )
}

fn chirp_multiply(n: usize) -> Case {
    lines("lct/chirp_multiply", n, 1.0).case(
        |x, axis| wavecube::chirp_multiply(x, 0.7, axis),
        move |x| reference::chirp(n, 0.7, x),
    )
}

fn frft(n: usize, angle: f64) -> Case {
    dense("lct/frft", n).case(
        move |x, axis| wavecube::frft(x, angle, axis),
        move |x| {
            let matrix = if angle == FRAC_PI_2 {
                reference::dft_power(n, 1)
            } else {
                reference::frft(n, &reference::hermite_basis(n), angle)
            };
            reference::lines(&matrix, n, x)
        },
    )
}

fn framed(n: usize, m: Abcd) -> Case {
    dense("lct/framed", n).case(
        move |x: &Tensor, axis| {
            let signal = FramedSignal::from_samples(x, axis)?.with_zero_point(ZeroPoint::With);
            Ok(signal.apply(&m)?.to_samples()?.0)
        },
        move |x| {
            if m == Abcd::FOURIER {
                let zero_point = Complex64::from_polar(1.0, -FRAC_PI_2 / 2.0);
                let spectrum = reference::lines(&reference::dft_power(n, 1), n, x);
                return spectrum.iter().map(|v| zero_point * v).collect();
            }
            // The basis has its vectors as rows: it analyses, and its transpose synthesises.
            let basis: Vec<_> =
                reference::hermite_basis(n).into_iter().map(Complex64::from).collect();
            let synthesis = reference::adjoint(n, &basis);
            x.chunks(n)
                .flat_map(|line| {
                    let v = reference::apply(&basis, line);
                    let (q, m, v) = reference::lct_framed(m.entries(), (0.0, 1.0, &v));
                    // L(q) on the frame's own grid, whose points are m times the centred ones.
                    reference::chirp(n, q * m * m, &reference::apply(&synthesis, &v))
                })
                .collect()
        },
    )
}

/// An even length has the transform up to sign; for this matrix at 256 both chose the same.
fn weil(n: usize) -> Case {
    lines("lct/weil", n, 4.0).case(
        move |x, axis| wavecube::lct_weil(x, &WeilMatrix::new(n, WEIL)?, axis),
        move |x| {
            let matrix = if n % 2 == 1 {
                reference::lct_weil_prime(n, WEIL)
            } else {
                reference::lct_weil(n, WEIL)
            };
            reference::lines(&matrix, n, x)
        },
    )
}

fn frft_weighted(n: usize) -> Case {
    lines("lct/frft_weighted", n, 4.0).case(
        |x, axis| wavecube::frft_weighted(x, ANGLE, axis),
        move |x| reference::lines(&reference::frft_weighted(n, ANGLE), n, x),
    )
}

/// Not quite the spacing of the centred grid.
fn spacing(n: usize) -> f64 {
    0.9 / (n as f64).sqrt()
}

fn scaled(n: usize) -> Case {
    lines("lct/scaled", n, 3.0).case(
        move |x, axis| Ok(wavecube::lct_scaled(x, &matrix(), spacing(n), axis)?.0),
        move |x| reference::lines(&reference::lct_scaled(matrix().entries(), n, spacing(n)), n, x),
    )
}

fn causal(n: usize) -> Case {
    let start = -3.0;
    let padded = padded_len(2 * n - 1);
    Lines { peer: round_trip(padded), ..lines("lct/causal", n, 12.0) }.case(
        move |x, axis| wavecube::lct_causal(x, &matrix(), start, spacing(n), axis),
        move |x| {
            let matrix = reference::lct_causal(matrix().entries(), n, start, spacing(n));
            reference::lines(&matrix, n, x)
        },
    )
}

/// As many frequencies as samples, from a third of the circle.
fn czt(n: usize) -> Case {
    let (start, step) = (0.1, 0.3 / n as f64);
    let padded = padded_len(2 * n - 1);
    Lines { peer: round_trip(padded), ..lines("lct/czt", n, 8.0) }.case(
        move |x, axis| wavecube::czt(x, n, start, step, axis),
        move |x| {
            let circle = |turns: f64| Complex64::from_polar(1.0, 2.0 * PI * turns);
            reference::lines(&reference::czt(n, n, circle(start), circle(-step)), n, x)
        },
    )
}
