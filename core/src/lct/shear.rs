//! The transform as three shears of the time–frequency plane: chirps in time and in frequency.
//!
//! With `L(q)` the chirp `exp(iπ q n²/N)` and `U(b) = F⁻¹ exp(−iπ b n²/N) F`, both unitary,
//!
//! - `M = L((d−1)/b) U(b) L((a−1)/b)`, or
//! - `M = U((a−1)/c) L(c) U((d−1)/c)`,
//!
//! preceded by a power of the DFT: `M = (one of these for M·F⁻ʲ)·Fʲ`. Eight factorisations, exactly
//! unitary all of them. They agree with each other and with the continuous transform on signals that
//! every partial product keeps inside the window: a signal within the disc of radius `ρ` of the
//! time–frequency plane (units of `1/√N` samples) needs `stretch·ρ ≤ √N/2`, where `stretch` is the
//! largest singular value of the partial products. So the factorisation is chosen by its stretch, not
//! by its rates alone; among those within 5 % of the least, the one with the fewest DFTs, then the
//! smallest rates.
//!
//! What is promised: unitarity and invertibility on every vector; the group law and agreement with the
//! continuous transform, to rounding times the stretch, inside the window. What is not: anything about
//! white noise beyond unitarity, and continuity in `M` there, since another factorisation may be
//! chosen; pin one with [`ShearFactors::pinned`] where that matters.
//!
//! Reference: Koç, Ozaktas, Candan, Kutay, *Digital computation of linear canonical transforms*, IEEE
//! Trans. Signal Process. 56 (2008), for factorisations into chirps; Paeth, *A fast algorithm for
//! general raster rotation*, Graphics Gems (1990), for rotations by three shears.

use num_complex::Complex64;

use super::matrix::finite_entries;
use super::{Abcd, Frame};
use crate::{Error, Result};

const OP: &str = "lct_shear";

/// A factorisation divides by `b` or another entry; below this it is avoided, because its rates and
/// above all their derivatives lose digits in proportion to the reciprocal.
pub const DEGENERATE: f64 = 1e-3;

/// Factorisations within this ratio of the least stretch count as equally good.
const EQUALLY_GOOD: f64 = 1.05;

/// Which shear stands in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShearForm {
    /// `L(r₂) U(r₁) L(r₀)`: chirp, convolution by a chirp, chirp. Two DFTs.
    ChirpMiddleConvolution,
    /// `U(r₂) L(r₁) U(r₀)`: convolution by a chirp, chirp, convolution by a chirp.
    ConvolutionMiddleChirp,
}

/// `M = shears · F^power`.
///
/// ```
/// use wavecube_core::lct::{Abcd, ShearFactors};
///
/// let factors = ShearFactors::new(&Abcd::fractional_fourier(0.6))?;
/// assert!(!factors.degenerate() && factors.stretch() < 1.5);
/// // The identity takes no work at all.
/// let identity = ShearFactors::new(&Abcd::IDENTITY)?;
/// assert_eq!((identity.power(), identity.rates(), identity.dfts()), (0, [0.0; 3], 0));
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShearFactors {
    power: u8,
    form: ShearForm,
    rates: [f64; 3],
    /// The matrix that the shears alone make, `M·F^(−power)`.
    rest: Abcd,
    /// Whether the factorisation holds only at this very matrix, as a chirp alone does.
    isolated: bool,
    degenerate: bool,
    stretch: f64,
    eighths: u8,
}

/// The factors written as passes over memory:
/// `F^after · chirp(last) · F^∓1 · chirp(middle) · F^±1 · chirp(first) · F^before`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShearPasses {
    /// The power of the unitary centred DFT to begin with, 0 to 3.
    pub before: u8,
    /// The rate of the first chirp, for [`super::chirp_table`].
    pub first: f64,
    /// Whether the DFT ahead of the middle chirp is the forward one (and the one behind it the
    /// inverse), or the other way round.
    pub forward: bool,
    /// The rate of the middle chirp. If it is 0, the two DFTs and the chirp may be left out.
    pub middle: f64,
    /// The rate of the last chirp.
    pub last: f64,
    /// The power of the DFT to end with, 0 to 3.
    pub after: u8,
}

impl ShearFactors {
    /// The factorisation of least stretch. Products of a chirp and a power of the DFT are recognised
    /// exactly and need no shear in the middle.
    ///
    /// # Errors
    /// [`Error::Value`] naming an entry that is not finite.
    pub fn new(matrix: &Abcd) -> Result<Self> {
        finite_entries(OP, matrix)?;
        if let Some(power) = (0..4).find(|&power| is_chirp(&without_power(matrix, power))) {
            return Ok(Self::isolated(matrix, power));
        }
        Self::smooth(matrix)
    }

    /// The factorisation of least stretch among those that are smooth functions of the entries: where
    /// the matrix is trained, [`Self::rate_jacobian`] exists.
    ///
    /// # Errors
    /// [`Error::Value`] naming an entry that is not finite.
    pub fn smooth(matrix: &Abcd) -> Result<Self> {
        finite_entries(OP, matrix)?;
        let candidates = [ShearForm::ChirpMiddleConvolution, ShearForm::ConvolutionMiddleChirp]
            .into_iter()
            .flat_map(|form| (0..4).map(move |power| (power, form)))
            .filter(|&(power, form)| {
                denominator(&without_power(matrix, power), form).abs() >= DEGENERATE
            })
            .filter_map(|(power, form)| Self::with(matrix, power, form))
            .collect::<Vec<_>>();
        let least = candidates.iter().map(|c| c.stretch).fold(f64::INFINITY, f64::min);
        candidates
            .into_iter()
            .filter(|c| c.stretch <= EQUALLY_GOOD * least)
            .min_by(|x, y| x.dfts().cmp(&y.dfts()).then(x.largest().total_cmp(&y.largest())))
            // Two entries of a row or column cannot both be below 1e-3 unless others exceed 500, and
            // those are denominators too; what is left is overflow.
            .ok_or(Error::Value {
                op: OP,
                argument: "a, b, c, d",
                expected: "small enough that the rates of the shears are finite",
                found: matrix.stretch(),
            })
    }

    /// This very factorisation, whatever its stretch: `power` DFTs (modulo 4), then `form`.
    ///
    /// # Errors
    /// [`Error::Value`] naming an entry that is not finite, or the entry this form divides by if the
    /// rates overflow.
    pub fn pinned(matrix: &Abcd, power: u8, form: ShearForm) -> Result<Self> {
        finite_entries(OP, matrix)?;
        Self::with(matrix, power % 4, form).ok_or(Error::Value {
            op: OP,
            argument: match (form, power % 2) {
                (ShearForm::ChirpMiddleConvolution, 0) => "b",
                (ShearForm::ChirpMiddleConvolution, _) => "a",
                (ShearForm::ConvolutionMiddleChirp, 0) => "c",
                (ShearForm::ConvolutionMiddleChirp, _) => "d",
            },
            expected: "not zero in the factorisation that was asked for",
            found: denominator(&without_power(matrix, power % 4), form),
        })
    }

    /// The power of the DFT that comes first, 0 to 3.
    pub const fn power(&self) -> u8 {
        self.power
    }

    /// Which shear stands in the middle.
    pub const fn form(&self) -> ShearForm {
        self.form
    }

    /// The rates `[r₀, r₁, r₂]`, in the order in which the shears act.
    pub const fn rates(&self) -> [f64; 3] {
        self.rates
    }

    /// Whether `|b| <` [`DEGENERATE`], so that the kernel's own form `L U L` was not to be had.
    pub const fn degenerate(&self) -> bool {
        self.degenerate
    }

    /// The largest stretch of a partial product: signals inside the disc of radius
    /// `√N/(2·stretch)` are transformed as in the continuum.
    pub const fn stretch(&self) -> f64 {
        self.stretch
    }

    /// The constant `exp(−iπ·eighths/4)` that makes the shears and plain DFTs equal to the kernel with
    /// its principal `(ib)^(−1/2)`: an eighth root of 1 from `F = e^(iπ/4)·(metaplectic F)`.
    pub const fn eighths(&self) -> u8 {
        self.eighths
    }

    /// [`Self::eighths`] as a number.
    pub fn phase(&self) -> Complex64 {
        super::eighth_root(-i64::from(self.eighths))
    }

    /// How many DFTs the passes need.
    pub fn dfts(&self) -> u8 {
        let ShearPasses { before, middle, after, .. } = self.passes();
        before % 2 + after % 2 + if middle == 0.0 && self.isolated { 0 } else { 2 }
    }

    /// The factors as passes over memory.
    pub fn passes(&self) -> ShearPasses {
        let [r0, r1, r2] = self.rates;
        match self.form {
            ShearForm::ChirpMiddleConvolution => ShearPasses {
                before: self.power,
                first: r0,
                forward: true,
                middle: -r1,
                last: r2,
                after: 0,
            },
            // U(r) = F⁻¹ L(−r) F; the first F joins the power in front.
            ShearForm::ConvolutionMiddleChirp => ShearPasses {
                before: (self.power + 1) % 4,
                first: -r0,
                forward: false,
                middle: r1,
                last: -r2,
                after: 3,
            },
        }
    }

    /// `∂(r₀, r₁, r₂)/∂(a, b, c, d)`, a row for each rate; nothing for the isolated factorisations
    /// that [`Self::new`] may return.
    ///
    /// Each formula uses three of the four entries and is differentiated as written, so the rows are
    /// right for every change of the matrix that keeps its determinant. For parameters `(a, b, c)` see
    /// [`Self::rate_jacobian_abc`]; for others multiply by the derivative of the entries, such as
    /// [`super::Lie::exp_jacobian`].
    pub fn rate_jacobian(&self) -> Option<[[f64; 4]; 3]> {
        if self.isolated {
            return None;
        }
        let [a, _, _, d] = self.rest.entries();
        let over = denominator(&self.rest, self.form);
        let middle = self.form.middle_entry();
        // By the entries of the rest, M·F^(−power).
        let mut by_rest = [[0.0; 4]; 3];
        let (from_a, from_d) = self.form.outer_rates();
        by_rest[from_a][0] = over.recip();
        by_rest[from_a][middle] = -(a - 1.0) / (over * over);
        by_rest[from_d][3] = over.recip();
        by_rest[from_d][middle] = -(d - 1.0) / (over * over);
        by_rest[1][middle] = 1.0;
        Some(by_rest.map(|row| {
            // One F⁻¹ takes (a, b, c, d) to (b, −a, d, −c): undo it on the derivatives.
            (0..self.power).fold(row, |[a, b, c, d], _| [-b, a, -d, c])
        }))
    }

    /// `∂(r₀, r₁, r₂)/∂(a, b, c)` with `d = (1 + bc)/a`; nothing if the factorisation is isolated or
    /// `a = 0`.
    pub fn rate_jacobian_abc(&self) -> Option<[[f64; 3]; 3]> {
        let [a, b, c, d] = (0..self.power).fold(self.rest, |m, _| m * Abcd::FOURIER).entries();
        let rows = self.rate_jacobian().filter(|_| a != 0.0)?;
        Some(rows.map(|[by_a, by_b, by_c, by_d]| {
            [by_a - by_d * d / a, by_b + by_d * c / a, by_c + by_d * b / a]
        }))
    }

    fn isolated(matrix: &Abcd, power: u8) -> Self {
        let rest = without_power(matrix, power);
        Self {
            power,
            form: ShearForm::ChirpMiddleConvolution,
            rates: [0.0, 0.0, rest.c()],
            rest,
            isolated: true,
            degenerate: matrix.b().abs() < DEGENERATE,
            stretch: matrix.stretch(),
            eighths: eighths(matrix, power, &[rest]),
        }
    }

    /// One of the eight, if its rates are finite.
    fn with(matrix: &Abcd, power: u8, form: ShearForm) -> Option<Self> {
        let rest = without_power(matrix, power);
        let over = denominator(&rest, form);
        let (from_a, from_d) = form.outer_rates();
        let mut rates = [over; 3];
        rates[from_a] = (rest.a() - 1.0) / over;
        rates[from_d] = (rest.d() - 1.0) / over;
        let shears = form.shears(rates);
        // Rotations by quarter turns stretch nothing, so the partial products are these.
        let stretch =
            [shears[0], shears[1] * shears[0], rest].iter().map(Abcd::stretch).fold(1.0, f64::max);
        (rates.iter().all(|rate| rate.is_finite()) && stretch.is_finite()).then(|| Self {
            power,
            form,
            rates,
            rest,
            isolated: false,
            degenerate: matrix.b().abs() < DEGENERATE,
            stretch,
            eighths: eighths(matrix, power, &shears),
        })
    }

    fn largest(&self) -> f64 {
        self.rates.iter().fold(0.0, |largest, rate| largest.max(rate.abs()))
    }
}

impl ShearForm {
    /// The shears with these rates, in the order in which they act.
    fn shears(self, rates: [f64; 3]) -> [Abcd; 3] {
        let [r0, r1, r2] = rates;
        match self {
            Self::ChirpMiddleConvolution => [Abcd::chirp(r0), Abcd::fresnel(r1), Abcd::chirp(r2)],
            Self::ConvolutionMiddleChirp => [Abcd::fresnel(r0), Abcd::chirp(r1), Abcd::fresnel(r2)],
        }
    }

    /// Which rates are `(a − 1)/·` and `(d − 1)/·`.
    const fn outer_rates(self) -> (usize, usize) {
        match self {
            Self::ChirpMiddleConvolution => (0, 2),
            Self::ConvolutionMiddleChirp => (2, 0),
        }
    }

    /// The entry that is the middle rate and the denominator of the others: `b` or `c`.
    const fn middle_entry(self) -> usize {
        match self {
            Self::ChirpMiddleConvolution => 1,
            Self::ConvolutionMiddleChirp => 2,
        }
    }
}

fn denominator(rest: &Abcd, form: ShearForm) -> f64 {
    rest.entries()[form.middle_entry()]
}

/// `M·F^(−power)`: exact, entries are moved and negated.
fn without_power(matrix: &Abcd, power: u8) -> Abcd {
    (0..power).fold(*matrix, |m, _| Abcd::unchecked(m.b(), -m.a(), m.d(), -m.c()))
}

fn is_chirp(rest: &Abcd) -> bool {
    rest.a() == 1.0 && rest.b() == 0.0
}

/// Follows the metaplectic angle through the DFTs and shears and compares it with the kernel's.
///
/// Each plain DFT is `e^(iπ/4)` times the metaplectic one; the lifts differ by a sign if the angles
/// differ by a turn.
fn eighths(matrix: &Abcd, power: u8, shears: &[Abcd]) -> u8 {
    let mut frame = Frame::IDENTITY;
    let fourier = core::iter::repeat_n(&Abcd::FOURIER, usize::from(power));
    for step in fourier.chain(shears) {
        // Frames that overflow belong to rates that are refused.
        let Ok((next, _)) = frame.apply(step) else { return 0 };
        frame = next;
    }
    let turns = (frame.theta() - matrix.angle()) / core::f64::consts::TAU;
    (power + if (turns.round() as i64) % 2 == 0 { 0 } else { 4 }) % 8
}
