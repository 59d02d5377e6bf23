//! Linear canonical transforms from arbitrary parameters: NaN, infinities, determinants that are
//! not 1, `b` near 0. No panic, no NaN in a table that was accepted, errors that name the argument.

#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use wavecube_core::{
    Complex64, Error, Result,
    lct::{
        Abcd, CausalGrid, CausalTables, ComplexAbcd, CztTables, Frame, Lie, OutputGrid,
        ScaledTables, ShearFactors, ShearForm, WeilMatrix, chirp_table, rotation_phases,
        weighted_coefficients,
    },
};

/// A number: any bit pattern, or a plain value that reaches the code behind the checks.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Number {
    Bits(u64),
    Plain(i16),
    Tiny(i8),
}

impl Number {
    fn get(self) -> f64 {
        match self {
            Self::Bits(bits) => f64::from_bits(bits),
            Self::Plain(value) => f64::from(value) / 256.0,
            Self::Tiny(value) => f64::from(value) * 1e-300,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    make: Make,
    /// A matrix that may or may not have determinant 1.
    second: [Number; 4],
    n: u16,
    outputs: u8,
    spacing: Number,
    start: Number,
    step: Number,
    power: u8,
    frame: [Number; 3],
    integers: (u32, [i64; 4]),
    complex: [Number; 8],
}

/// The ways to make a matrix.
#[derive(Arbitrary, Debug)]
enum Make {
    Entries([Number; 4]),
    ThreeEntries([Number; 3]),
    Rotation(Number),
    Fresnel(Number),
    Chirp(Number),
    Scaling(Number),
    Exponential([Number; 3]),
}

impl Make {
    fn matrix(&self) -> Result<Abcd> {
        match *self {
            Self::Entries(entries) => {
                let [a, b, c, d] = entries.map(Number::get);
                Abcd::new(a, b, c, d)
            }
            Self::ThreeEntries(entries) => {
                let [a, b, c] = entries.map(Number::get);
                Abcd::from_abc(a, b, c)
            }
            Self::Rotation(angle) => Ok(Abcd::fractional_fourier(angle.get())),
            Self::Fresnel(b) => Ok(Abcd::fresnel(b.get())),
            Self::Chirp(q) => Ok(Abcd::chirp(q.get())),
            Self::Scaling(m) => Abcd::scaling(m.get()),
            Self::Exponential(p) => {
                let [p1, p2, p3] = p.map(Number::get);
                Lie::new(p1, p2, p3)?.exp()
            }
        }
    }
}

fuzz_target!(|input: Input| {
    if let Some(matrix) = accepted(input.make.matrix()) {
        transforms(&input, &matrix);
    }
    let [a, b, c, d] = input.second.map(Number::get);
    accepted(Abcd::new(a, b, c, d));
    let complex = |i: usize| Complex64::new(input.complex[i].get(), input.complex[i + 1].get());
    if let Some(matrix) = accepted(ComplexAbcd::new(complex(0), complex(2), complex(4), complex(6)))
    {
        let _ = matrix.is_bounded();
        accepted(matrix.kernel(input.start.get(), input.step.get()));
    }
    let (modulus, entries) = input.integers;
    if let Some(weil) = accepted(WeilMatrix::new(modulus as usize % 4096, entries)) {
        let _ = weil.plan();
        let _ = weil.inverse().plan();
        accepted(weil.after(&weil));
    }
    accepted(weighted_coefficients(input.start.get()));
});

/// Everything that takes the matrix of a transform.
fn transforms(input: &Input, matrix: &Abcd) {
    let n = usize::from(input.n % 1024);
    let (spacing, start, step) = (input.spacing.get(), input.start.get(), input.step.get());

    accepted(Lie::log(matrix));
    accepted(matrix.kernel(start, step));
    finite("chirp_table", accepted(chirp_table(n, matrix.c())).iter().flatten());
    if let Some(phases) = accepted(rotation_phases(n, matrix.angle(), Default::default())) {
        finite("rotation_phases", phases.iter());
    }
    if let Some(tables) = accepted(ScaledTables::new(matrix, n, spacing)) {
        finite("scaled", tables.input.iter().chain(&tables.output));
    }
    let grid = CausalGrid { n, start, spacing };
    if let Some(tables) = accepted(CausalTables::new(matrix, &grid)) {
        finite("causal", tables.input.iter().chain(&tables.filter).chain(&tables.output));
    }
    let output = OutputGrid { first: start, step, outputs: usize::from(input.outputs) };
    if let Some(tables) = accepted(CztTables::lct(matrix, n, spacing, &output)) {
        finite("lct_czt", tables.input.iter().chain(&tables.filter).chain(&tables.output));
    }
    for form in [ShearForm::ChirpMiddleConvolution, ShearForm::ConvolutionMiddleChirp] {
        if let Some(factors) = accepted(ShearFactors::pinned(matrix, input.power, form)) {
            shears(&factors);
        }
    }
    for factors in [ShearFactors::new(matrix), ShearFactors::smooth(matrix)] {
        if let Some(factors) = accepted(factors) {
            shears(&factors);
        }
    }
    let [q, m, theta] = input.frame.map(Number::get);
    if let Some(frame) = accepted(Frame::new(q, m, theta)) {
        if let Some((next, angle)) = accepted(frame.apply(matrix)) {
            assert!(angle.is_finite() && next.m() > 0.0 && next.m().is_finite(), "{next:?}");
            assert!((0.0..13.0).contains(&next.theta()), "{next:?}");
        }
        accepted(frame.apply_jacobian(matrix));
        finite("frame chirp", accepted(frame.chirp(n)).iter().flatten());
        finite("resampling", accepted(frame.resampling(n % 64)).iter().flatten());
    }
}

fn shears(factors: &ShearFactors) {
    assert!(factors.rates().iter().all(|rate| rate.is_finite()), "{factors:?}");
    assert!(factors.power() < 4 && factors.passes().before < 4, "{factors:?}");
    assert!(factors.dfts() <= 6, "{factors:?}");
    let _ = factors.rate_jacobian();
    let _ = factors.rate_jacobian_abc();
}

/// What came, if it was accepted; otherwise the error must say which argument is to blame.
fn accepted<T>(result: Result<T>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    match &error {
        Error::Value { op, argument, expected, .. }
        | Error::Length { op, argument, expected, .. } => {
            assert!(!op.is_empty() && !argument.is_empty() && !expected.is_empty(), "{error}");
        }
        Error::Unsupported { argument, reason, .. } => {
            assert!(!argument.is_empty() && !reason.is_empty(), "{error}");
        }
        other => panic!("an unexpected kind of error: {other}"),
    }
    None
}

fn finite<'a>(what: &str, mut entries: impl Iterator<Item = &'a Complex64>) {
    assert!(entries.all(|entry| entry.is_finite()), "{what} was accepted and is not finite");
}
