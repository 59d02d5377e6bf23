//! Any bit pattern for an argument: an error or a finite table, and no panic.

use rand::Rng;
use rand::rngs::StdRng;
use wavecube_core::lct::{
    Abcd, CausalGrid, CausalTables, ComplexAbcd, CztTables, Eigenbasis, Frame, Lie, OutputGrid,
    ScaledTables, ShearFactors, ShearForm, WeilMatrix, ZeroPoint, chirp_table, hermite_gauss,
    rotation_phases, weighted_coefficients,
};
use wavecube_core::{Complex64, Error, Result};

use crate::sampling;

fn number(rng: &mut StdRng) -> f64 {
    match rng.random_range(0..8) {
        0 => f64::from_bits(rng.random()),
        1 => [0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::INFINITY, f64::NAN, -1.0]
            [rng.random_range(0..8)],
        2 => rng.random_range(-1.0..1.0) * 10f64.powi(rng.random_range(-320..309)),
        _ => rng.random_range(-3.0..3.0),
    }
}

fn any_matrix(rng: &mut StdRng) -> Option<Abcd> {
    let (x, y, z) = (number(rng), number(rng), number(rng));
    match rng.random_range(0..7) {
        0 => Abcd::new(x, y, z, number(rng)).ok(),
        1 => Abcd::from_abc(x, y, z).ok(),
        2 => Abcd::scaling(x).ok(),
        3 => Some(Abcd::fractional_fourier(x)),
        4 => Some(Abcd::fresnel(x) * Abcd::chirp(y)),
        5 => Lie::new(x, y, z).and_then(|lie| lie.exp()).ok(),
        _ => Some(sampling::matrix(rng, 3.0)),
    }
}

fn finite<'a>(what: &str, table: impl IntoIterator<Item = &'a Complex64>) {
    assert!(table.into_iter().all(|entry| entry.is_finite()), "{what} has entries that are not");
}

/// What was accepted; errors have to be of the kinds that name a value or a length.
fn accepted<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Value { .. } | Error::Length { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn tables_are_finite_or_refused() {
    let mut rng = sampling::rng("extremes");
    let mut matrices = 0;
    for _ in 0..20_000 {
        let Some(m) = any_matrix(&mut rng) else { continue };
        matrices += 1;
        let n = [0, 1, 2, 3, 8, 17][rng.random_range(0..6)];
        let (x, y, z) = (number(&mut rng), number(&mut rng), number(&mut rng));
        let _ = (m.stretch(), m.angle(), m.metaplectic_sign(&m), m.kernel(x, y));

        finite("chirp", accepted(chirp_table(n, x)).iter().flatten());
        finite("phases", accepted(rotation_phases(n, x, ZeroPoint::With)).iter().flatten());
        finite("weights", accepted(weighted_coefficients(x)).iter().flatten());
        if let Some(tables) = accepted(ScaledTables::new(&m, n, x)) {
            finite("scaled", tables.input.iter().chain(&tables.output));
            assert!(tables.output_spacing > 0.0 && tables.output_spacing.is_finite());
        }
        let grid = CausalGrid { n, start: y, spacing: x };
        if let Some(tables) = accepted(CausalTables::new(&m, &grid)) {
            finite("causal", tables.input.iter().chain(&tables.filter).chain(&tables.output));
        }
        let output = OutputGrid { outputs: 5, first: y, step: z };
        for tables in [
            CztTables::lct(&m, n, x, &output),
            CztTables::unit_circle(n, 5, x, y),
            CztTables::spiral(n, 5, Complex64::new(x, y), Complex64::new(z, x)),
        ] {
            if let Some(tables) = accepted(tables) {
                finite("czt", tables.input.iter().chain(&tables.filter).chain(&tables.output));
            }
        }
        if let Some(frame) = accepted(Frame::new(x, y, z)) {
            if let Some((next, angle)) = accepted(frame.apply(&m)) {
                assert!(next.m() > 0.0 && next.m().is_finite() && next.q().is_finite());
                assert!(angle.abs() <= core::f64::consts::PI);
            }
            let _ = accepted(frame.apply_jacobian(&m));
            finite("frame", accepted(frame.chirp(n)).iter().flatten());
            finite("resampling", accepted(frame.resampling(n)).iter().flatten());
        }
    }
    assert!(matrices > 10_000);
}

#[test]
fn parameters_are_usable_or_refused() {
    let mut rng = sampling::rng("extreme parameters");
    for _ in 0..20_000 {
        let (x, y, z) = (number(&mut rng), number(&mut rng), number(&mut rng));
        let Some(m) = any_matrix(&mut rng) else { continue };
        for factors in [
            ShearFactors::new(&m),
            ShearFactors::smooth(&m),
            ShearFactors::pinned(&m, rng.random(), ShearForm::ChirpMiddleConvolution),
            ShearFactors::pinned(&m, rng.random(), ShearForm::ConvolutionMiddleChirp),
        ] {
            if let Some(factors) = accepted(factors) {
                assert!(factors.rates().iter().all(|rate| rate.is_finite()), "{factors:?}");
                assert!(factors.dfts() <= 4 && factors.stretch() >= 1.0, "{factors:?}");
                let _ = (factors.rate_jacobian(), factors.rate_jacobian_abc(), factors.phase());
            }
        }
        if let Some(lie) = accepted(Lie::new(x, y, z)) {
            if let Some(m) = accepted(lie.exp()) {
                assert!(m.entries().iter().all(|entry| entry.is_finite()));
            }
            let _ = accepted(lie.exp_jacobian());
        }
        let _ = accepted(Lie::log(&m));
        let complex = Complex64::new(x, y);
        if let Some(m) = accepted(ComplexAbcd::new(complex, complex, complex.inv(), complex)) {
            let _ = (m.is_bounded(), m.kernel(x, z));
        }
        let functions = accepted(hermite_gauss(6, &[x, y, z]));
        assert!(functions.iter().flatten().all(|value| value.is_finite()));
        let entries = core::array::from_fn(|_| rng.random());
        if let Some(m) = accepted(WeilMatrix::new(rng.random_range(0..20), entries)) {
            assert!(m.plan().dfts() <= 3);
        }
    }
    assert!(Eigenbasis::new(usize::MAX).is_err());
    assert!(chirp_table(usize::MAX, 1.0).is_err());
    assert!(CztTables::unit_circle(usize::MAX, usize::MAX, 0.0, 0.1).is_err());
}
