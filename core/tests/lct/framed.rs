//! Framed signals: the group law on every vector.

use core::f64::consts::{PI, TAU};

use rand::Rng;
use rand::rngs::StdRng;
use wavecube_core::lct::{Abcd, Eigenbasis, Frame, ZeroPoint, rotation_phases};
use wavecube_core::{Complex64, Error};

use crate::{reference, sampling};

struct State {
    frame: Frame,
    v: Vec<Complex64>,
}

impl State {
    fn new(v: Vec<Complex64>) -> Self {
        Self { frame: Frame::IDENTITY, v }
    }

    fn apply(&self, m: &Abcd, zero_point: ZeroPoint) -> Self {
        let (frame, angle) = self.frame.apply(m).unwrap();
        let phases = rotation_phases(self.v.len(), angle, zero_point).unwrap();
        Self { frame, v: self.v.iter().zip(phases).map(|(v, phase)| v * phase).collect() }
    }
}

/// Random matrices and the special ones, half of them with b = 0.
fn any_matrix(rng: &mut StdRng) -> Abcd {
    match rng.random_range(0..8) {
        0 => Abcd::chirp(rng.random_range(-2.0..2.0)),
        1 => Abcd::scaling(rng.random_range(0.5..2.0)).unwrap(),
        2 => Abcd::scaling(rng.random_range(-2.0..-0.5)).unwrap(),
        3 => Abcd::FOURIER,
        4 => Abcd::fresnel(rng.random_range(-2.0..2.0)),
        _ => sampling::matrix(rng, 3.0),
    }
}

#[track_caller]
fn same_frame(got: &Frame, want: &Frame, tolerance: f64) {
    // q is a chirp rate of size up to 1/m²: what it turns is q m².
    let scale = want.m() * want.m();
    sampling::near(
        "q m²",
        got.q() * scale,
        want.q() * scale,
        tolerance * (1.0 + want.q().abs() * scale),
    );
    sampling::near("m", got.m() / want.m(), 1.0, tolerance);
}

#[test]
fn two_transforms_are_the_transform_of_the_product() {
    let mut rng = sampling::rng("framed group law");
    let mut turned = 0;
    for round in 0..300 {
        let n = [1, 2, 33, 256][round % 4];
        let (m0, m1, m2) = (any_matrix(&mut rng), any_matrix(&mut rng), any_matrix(&mut rng));
        for zero_point in [ZeroPoint::With, ZeroPoint::Without] {
            // From a frame that is not the identity.
            let start = State::new(sampling::noise(&mut rng, n)).apply(&m0, zero_point);
            let chained = start.apply(&m1, zero_point).apply(&m2, zero_point);
            let at_once = start.apply(&(m2 * m1), zero_point);
            same_frame(&chained.frame, &at_once.frame, 1e-13);
            let sign = if zero_point == ZeroPoint::With { m2.metaplectic_sign(&m1) } else { 1.0 };
            turned += usize::from(sign < 0.0);
            let want = at_once.v.iter().map(|v| sign * v).collect::<Vec<_>>();
            // Angles are good to a few ε (more where the frame is stretched, here up to 27), and order
            // k turns k times as far: 256·27·ε = 1.5e-12 at the worst, 1e-13 as a rule.
            assert!(sampling::distance(&chained.v, &want) < 1e-12, "{m2:?} {m1:?} {m0:?}");
        }
    }
    assert!(turned > 20, "both lifts occur: {turned}");
}

#[test]
fn a_chain_of_fifty_is_the_product() {
    let mut rng = sampling::rng("framed chain");
    let mut worst = 0.0f64;
    for n in [64, 255, 1024] {
        let start = State::new(sampling::noise(&mut rng, n));
        let (mut chain, mut product) =
            (State { frame: start.frame, v: start.v.clone() }, Abcd::IDENTITY);
        let mut sign = 1.0;
        for _ in 0..50 {
            // Fifty random factors would stretch by e^10 or more, and a product of stretch σ has lost σ²
            // of its digits: keep to chains that stay below 3.
            let mut m = any_matrix(&mut rng);
            while (m * product).stretch() > 3.0 {
                m = any_matrix(&mut rng);
            }
            chain = chain.apply(&m, ZeroPoint::With);
            sign *= m.metaplectic_sign(&product);
            product = m * product;
        }
        let at_once = start.apply(&product, ZeroPoint::With);
        same_frame(&chain.frame, &at_once.frame, 1e-11);
        // The accumulated angle names the sign as well.
        let turns = ((chain.frame.theta() - at_once.frame.theta()) / TAU).round();
        assert_eq!(sign, if turns.rem_euclid(2.0) == 0.0 { 1.0 } else { -1.0 });
        let want = at_once.v.iter().map(|v| sign * v).collect::<Vec<_>>();
        let error = sampling::distance(&chain.v, &want);
        println!("chain of 50 at {n}: {error:.1e}, stretch {:.1}", product.stretch());
        worst = worst.max(error);
        // √50 roundings of a few ε, σ² = 9 times as large seen from the start, in angles that order k
        // turns k times: 1e-14 n. Of 500 chains the median was 6e-16 n, the worst 3e-15 n.
        assert!(error < 1e-14 * n as f64, "n = {n}: {error:e}");
    }
    println!("chain of 50: {worst:.1e}");
}

#[test]
fn a_chain_and_its_inverse_are_nothing() {
    let mut rng = sampling::rng("framed inverse");
    let n = 256;
    let start = State::new(sampling::noise(&mut rng, n));
    let chain = (0..10).map(|_| any_matrix(&mut rng)).collect::<Vec<_>>();
    let mut state = State { frame: start.frame, v: start.v.clone() };
    let (mut product, mut stretch) = (Abcd::IDENTITY, 1.0f64);
    for m in chain.iter().copied().chain(chain.iter().rev().map(Abcd::inverse)) {
        state = state.apply(&m, ZeroPoint::Without);
        product = m * product;
        stretch = stretch.max(product.stretch());
    }
    // Twenty roundings on the way; those made where the signal is stretched by σ come back σ² as large,
    // and order k turns k times as far.
    let tolerance = 20.0 * f64::EPSILON * stretch * stretch;
    same_frame(&state.frame, &Frame::IDENTITY, 4.0 * tolerance);
    sampling::close("there and back", &state.v, &start.v, tolerance * n as f64);
    sampling::near("norm", sampling::norm(&state.v) / sampling::norm(&start.v), 1.0, 1e-14);
}

#[test]
fn gaussians_go_where_the_continuous_transform_takes_them() {
    let mut rng = sampling::rng("framed Gaussians");
    let n = 256;
    let root = (n as f64).sqrt();
    let basis = Eigenbasis::new(n).unwrap();
    for round in 0..20 {
        let m = if round % 2 == 0 { any_matrix(&mut rng) } else { sampling::matrix(&mut rng, 2.0) };
        let z = Complex64::new(rng.random_range(-0.3..0.3), rng.random_range(0.7..1.4));
        let gaussian = |z: Complex64, x: f64| (Complex64::new(0.0, PI) * z * (x * x)).exp();
        let x = reference::grid(n).iter().map(|p| gaussian(z, p / root)).collect::<Vec<_>>();
        let state = State::new(basis.analyse(&x).unwrap()).apply(&m, ZeroPoint::With);
        let (factor, moved) = reference::gaussian(m.entries(), z);

        // On the frame's own grid: one chirp, exact.
        let own = basis.synthesise(&state.v).unwrap();
        let chirp = state.frame.chirp(n).unwrap();
        let own = own.iter().zip(chirp).map(|(x, chirp)| x * chirp).collect::<Vec<_>>();
        let spacing = state.frame.m() / root;
        let want = reference::grid(n)
            .iter()
            .map(|p| factor * gaussian(moved, p * spacing) * state.frame.m().sqrt())
            .collect::<Vec<_>>();
        sampling::close("own grid", &own, &want, 1e-12);

        // On the fixed grid, where the result still fits: standard deviations up to 3 of 8.
        let fixed = reference::apply(&state.frame.resampling(n).unwrap(), &state.v);
        let want = reference::grid(n)
            .iter()
            .map(|p| factor * gaussian(moved, p / root))
            .collect::<Vec<_>>();
        // High orders are sampled beyond the window, where their coefficients are rounding errors.
        sampling::close("fixed grid", &fixed, &want, 1e-10);
    }
}

#[test]
fn the_frame_moves_as_its_reference() {
    let mut rng = sampling::rng("framed reference");
    for _ in 0..200 {
        let m = any_matrix(&mut rng);
        let frame = Frame::new(
            rng.random_range(-2.0..2.0),
            rng.random_range(0.3..3.0),
            rng.random_range(0.0..12.0),
        )
        .unwrap();
        let v = sampling::noise(&mut rng, 20);
        let (q, scale, want) = reference::lct_framed(m.entries(), (frame.q(), frame.m(), &v));
        let state = State { frame, v }.apply(&m, ZeroPoint::With);
        same_frame(&state.frame, &Frame::new(q, scale, 0.0).unwrap(), 1e-12);
        sampling::close("framed", &state.v, &want, 1e-12);
        // And the frame is the matrix: L(q) D(m) R(θ) is the product of all that was applied.
        let (got, want) = (state.frame.product(), m * frame.product());
        for (got, want) in got.entries().into_iter().zip(want.entries()) {
            sampling::near("product", got, want, 1e-12);
        }
    }
}

#[test]
fn b_zero_turns_nothing_and_minus_one_turns_by_half() {
    let (frame, angle) = Frame::IDENTITY.apply(&Abcd::chirp(1.5)).unwrap();
    assert_eq!((frame.q(), frame.m(), angle), (1.5, 1.0, 0.0));
    let minus = Abcd::FOURIER * Abcd::FOURIER;
    let (frame, angle) = Frame::IDENTITY.apply(&minus).unwrap();
    assert_eq!((frame.q(), frame.m(), angle), (0.0, 1.0, PI));
    // Twice around is minus one, four times is one.
    let (frame, _) = frame.apply(&minus).unwrap();
    sampling::near("θ", frame.theta(), TAU, 1e-15);
    let (frame, _) = frame.apply(&minus).unwrap();
    let (frame, _) = frame.apply(&minus).unwrap();
    assert!(frame.theta().min(2.0 * TAU - frame.theta()) < 4e-15);
}

#[test]
fn the_step_has_its_jacobian() {
    let mut rng = sampling::rng("frame jacobian");
    let h = 1e-6;
    let outcome = |entries: [f64; 4], q: f64, m: f64| {
        // The formulas hold for any determinant, and derivatives are taken entry by entry.
        let [a, b, c, d] = entries;
        let g = [(a + b * q) * m, b / m, (c + d * q) * m, d / m];
        let square = g[0] * g[0] + g[1] * g[1];
        [(g[0] * g[2] + g[1] * g[3]) / square, square.sqrt(), g[1].atan2(g[0])]
    };
    for _ in 0..200 {
        let matrix = sampling::matrix(&mut rng, 2.0);
        let (q, m) = (rng.random_range(-1.0..1.0), rng.random_range(0.5..2.0));
        if matrix.b().abs() < 0.05 {
            continue; // differences would step over the cut of the angle
        }
        let jacobian = Frame::new(q, m, 0.0).unwrap().apply_jacobian(&matrix).unwrap();
        for column in 0..6 {
            let at = |sign: f64| {
                let (mut entries, mut q, mut m) = (matrix.entries(), q, m);
                match column {
                    4 => q += sign * h,
                    5 => m += sign * h,
                    entry => entries[entry] += sign * h,
                }
                outcome(entries, q, m)
            };
            let (above, below) = (at(1.0), at(-1.0));
            for row in 0..3 {
                let slope = (above[row] - below[row]) / (2.0 * h);
                let got = match column {
                    4 | 5 => jacobian.frame[row][column - 4],
                    entry => jacobian.matrix[row][entry],
                };
                // h² times a third derivative of up to (stretch/m)⁶ ≈ 10⁵, and ε/h.
                sampling::near("slope", got, slope, 1e-6 * (1.0 + slope.abs()));
            }
        }
    }
}

#[test]
fn rejects() {
    let blames = |result: Result<Frame, Error>| match result {
        Err(Error::Value { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    assert_eq!(blames(Frame::new(f64::NAN, 1.0, 0.0)), "q");
    assert_eq!(blames(Frame::new(0.0, 0.0, 0.0)), "m");
    assert_eq!(blames(Frame::new(0.0, -1.0, 0.0)), "m");
    assert_eq!(blames(Frame::new(0.0, 1.0, f64::INFINITY)), "theta");
    let nan = Abcd::fractional_fourier(f64::NAN);
    assert!(Frame::IDENTITY.apply(&nan).is_err());
    let tiny = Frame::new(0.0, 1e-300, 0.0).unwrap();
    assert!(tiny.apply(&Abcd::scaling(1e-300).unwrap()).is_err());
    assert!(Frame::IDENTITY.chirp(0).is_err());
    assert!(Frame::IDENTITY.resampling(0).is_err());
    assert!(tiny.resampling(3).unwrap().iter().all(|x| x.is_finite()));
}
