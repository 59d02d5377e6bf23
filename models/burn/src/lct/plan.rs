//! Plans: the numbers of a transform on the host, checked, and their derivatives by what is learned.

use num_complex::Complex64;
use wavecube_core::{
    Error, Result,
    lct::{
        Abcd, ComplexAbcd, CztTables, Eigenbasis, Frame, Lie, OutputGrid, ScaledTables,
        ShearFactors, ShearForm, WeilMatrix,
    },
};

use super::transform::Transform;
use crate::matrix::{self, CausalKernel, ComplexMatrix, Framed, Rates};

/// What the learned numbers of a transform mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameters {
    /// The shear rates `(q₁, b, q₂)` of `L(q₂) U(b) L(q₁)`: every triple is a transform, none is
    /// singular.
    Shear,
    /// The Lie form `(p₁, p₂, p₃)`, see [`Lie`].
    Lie,
}

/// One transform, decided and validated on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct LctPlan {
    n: usize,
    pub(super) transform: Transform,
    pub(super) adjoint: bool,
    degenerate: bool,
    /// A row for each number of the transform, a column for each learned parameter.
    pub(super) jacobian: Vec<Vec<f64>>,
}

fn identity(numbers: usize) -> Vec<Vec<f64>> {
    let unit = |row: usize| (0..numbers).map(|column| f64::from(u8::from(row == column))).collect();
    (0..numbers).map(unit).collect()
}

fn positive(op: &'static str, n: usize) -> Result<()> {
    if n == 0 {
        return Err(Error::Length { op, argument: "x", expected: "at least 1", found: n });
    }
    Ok(())
}

fn finite(op: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(&found) => Err(Error::Value { op, argument: "parameters", expected: "finite", found }),
    }
}

/// `∂rates/∂p` from `∂rates/∂(a, b, c, d)` and `∂(a, b, c, d)/∂p`.
fn chain(by_entries: [[f64; 4]; 3], entries: [[f64; 4]; 3]) -> Vec<Vec<f64>> {
    by_entries
        .iter()
        .map(|row| {
            entries.iter().map(|column| row.iter().zip(column).map(|(x, y)| x * y).sum()).collect()
        })
        .collect()
}

impl LctPlan {
    /// The unitary shear transform along an axis of length `n`.
    ///
    /// In the Lie form the kernel's own factorisation `L U L` is taken while `|b| ≥ epsilon`; below
    /// that its rates grow without bound, so the factorisation of least stretch is taken instead and
    /// the plan is degenerate.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0`, [`Error::Value`] for parameters that are not finite or whose
    /// matrix overflows.
    pub fn shear(n: usize, values: [f64; 3], parameters: Parameters, epsilon: f64) -> Result<Self> {
        const OP: &str = "lct_shear";
        positive(OP, n)?;
        finite(OP, &values)?;
        let [p1, p2, p3] = values;
        if parameters == Parameters::Shear {
            let rates = Rates { q1: p1, b: p2, q2: p3 };
            let transform = Transform::Shear { rates, before: 0, after: 0, phase: Complex64::ONE };
            return Ok(Self::new(n, transform, false, identity(3)));
        }
        let lie = Lie::new(p1, p2, p3)?;
        let matrix = lie.exp()?;
        let degenerate = matrix.b().abs() < epsilon;
        let factors = if degenerate {
            ShearFactors::smooth(&matrix)?
        } else {
            ShearFactors::pinned(&matrix, 0, ShearForm::ChirpMiddleConvolution)?
        };
        let entries = lie.exp_jacobian()?;
        Ok(Self {
            degenerate,
            ..Self::factored(n, &factors, |by_entries| chain(by_entries, entries))
        })
    }

    /// The factors as passes; `jacobian` makes that of the plan of the rates' derivatives by the entries.
    fn factored(
        n: usize,
        factors: &ShearFactors,
        jacobian: impl FnOnce([[f64; 4]; 3]) -> Vec<Vec<f64>>,
    ) -> Self {
        let passes = factors.passes();
        let rates = Rates { q1: passes.first, b: -passes.middle, q2: passes.last };
        let (before, after, phase) = (passes.before, passes.after, factors.phase());
        // U L U is L U L between two DFTs with every rate negated.
        let sign = match factors.form() {
            ShearForm::ChirpMiddleConvolution => 1.0,
            ShearForm::ConvolutionMiddleChirp => -1.0,
        };
        let by_entries =
            factors.rate_jacobian().unwrap_or_default().map(|row| row.map(|x| sign * x));
        let transform = Transform::Shear { rates, before, after, phase };
        Self::new(n, transform, factors.degenerate(), jacobian(by_entries))
    }

    /// The unitary shear transform of the matrix `m` along an axis of length `n`, in the factorisation of least stretch
    /// among those that are smooth in the entries. The parameters are `(a, b, c, d)`, and their gradient is right for
    /// every change that keeps `ad − bc = 1`: make them of what is learned, by operations of Burn.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0`, [`Error::Value`] for entries that are not finite or whose rates overflow.
    pub fn shear_of(n: usize, m: &Abcd) -> Result<Self> {
        positive("lct_shear", n)?;
        let factors = ShearFactors::smooth(m)?;
        Ok(Self::factored(n, &factors, |by_entries| by_entries.map(Vec::from).into()))
    }

    /// Magnification `f(x) → |m|^(−1/2) f(x/m)` as shears: true inside the time-frequency window, unitary everywhere.
    /// The parameter is `m`. The factorisation is one that is smooth in it, so that `m = 1` is the identity inside the
    /// window alone.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0`, [`Error::Value`] for an `m` that is zero or not finite.
    pub fn scaling(n: usize, m: f64) -> Result<Self> {
        positive("scaling", n)?;
        let factors = ShearFactors::smooth(&Abcd::scaling(m)?)?;
        // The matrix is diag(m, 1/m).
        let by_m = |[a, _, _, d]: [f64; 4]| vec![a - d / (m * m)];
        Ok(Self::factored(n, &factors, |by_entries| by_entries.map(by_m).into()))
    }

    /// Free propagation `U(b)`, a convolution by a chirp: `F⁻¹ e^{−iπ b x²/N} F` on the centred grid of `n` points. The
    /// parameter is `b`; `U(b) U(c) = U(b + c)` on every vector.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0`, [`Error::Value`] for a `b` that is not finite.
    pub fn fresnel(n: usize, b: f64) -> Result<Self> {
        positive("fresnel", n)?;
        finite("fresnel", &[b])?;
        let rates = Rates { q1: 0.0, b, q2: 0.0 };
        let transform = Transform::Shear { rates, before: 0, after: 0, phase: Complex64::ONE };
        Ok(Self::new(n, transform, false, vec![vec![0.0], vec![1.0], vec![0.0]]))
    }

    /// The chirp `L(q)`: multiplies by `e^{iπ q x²/N}` on the centred grid of `n` points. The parameter is `q`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0`, [`Error::Value`] for a `q` that is not finite.
    pub fn chirp(n: usize, q: f64) -> Result<Self> {
        positive("chirp_multiply", n)?;
        finite("chirp_multiply", &[q])?;
        Ok(Self::of_own(n, Transform::Chirp { q }, 1))
    }

    /// The unitary DFT of the centred grid, `N^(−1/2) e^{−2πi x u/N}`, or its inverse. No parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0`.
    pub fn fourier(n: usize, inverse: bool) -> Result<Self> {
        positive("fourier", n)?;
        Ok(Self::of_own(n, Transform::Fourier { inverse }, 0))
    }

    /// The Weil representation of an integer matrix, on residues `0 … n − 1` in the order of the DFT: unitary, and for
    /// odd `n` multiplicative exactly. No parameters.
    pub fn weil(m: &WeilMatrix) -> Self {
        Self::of_own(m.length(), Transform::Weil(*m), 0)
    }

    /// The transform masked to `t ≤ u`: causal, not unitary.
    ///
    /// The first `n` points of the centred grid of `grid` points, so that a prefix of a sequence is
    /// transformed like the whole. Where `|b| < epsilon` the sampled kernel would alias, so the kernel
    /// of `U(b)`, which is smooth through `b = 0`, is masked instead, and the plan is degenerate.
    ///
    /// # Errors
    ///
    /// As for [`shear`](Self::shear); [`Error::Length`] when `n` exceeds `grid`; [`Error::Value`] when
    /// the Lie form's `b` is so small that the rates overflow.
    pub fn causal(
        n: usize,
        grid: usize,
        values: [f64; 3],
        parameters: Parameters,
        epsilon: f64,
    ) -> Result<Self> {
        const OP: &str = "lct_causal";
        positive(OP, n)?;
        finite(OP, &values)?;
        if n > grid {
            return Err(Error::Length {
                op: OP,
                argument: "x",
                expected: "at most the length of the grid",
                found: n,
            });
        }
        let [p1, p2, p3] = values;
        let (rates, jacobian) = match parameters {
            Parameters::Shear => (Rates { q1: p1, b: p2, q2: p3 }, identity(3)),
            Parameters::Lie => {
                let lie = Lie::new(p1, p2, p3)?;
                let factors =
                    ShearFactors::pinned(&lie.exp()?, 0, ShearForm::ChirpMiddleConvolution)?;
                let [q1, b, q2] = factors.rates();
                let by_entries = factors.rate_jacobian().unwrap_or_default();
                (Rates { q1, b, q2 }, chain(by_entries, lie.exp_jacobian()?))
            }
        };
        let degenerate = rates.b.abs() < epsilon || rates.b == 0.0;
        let kernel = if degenerate { CausalKernel::Spectral } else { CausalKernel::Sampled };
        Ok(Self::new(n, Transform::Causal { rates, kernel, grid }, degenerate, jacobian))
    }

    /// The fractional Fourier transform by `angle`, in the eigenbasis of the DFT: unitary, and exactly
    /// additive in the angle on every vector. One learned parameter, the angle.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0` or a length that the basis does not exist for, [`Error::Value`]
    /// for an angle that is not finite.
    pub fn fractional(n: usize, angle: f64) -> Result<Self> {
        const OP: &str = "frft";
        positive(OP, n)?;
        finite(OP, &[angle])?;
        Eigenbasis::shared(n)?;
        Ok(Self::of_own(n, Transform::Fractional { angle }, 1))
    }

    /// The weighted fractional Fourier transform `Σ_l c_l(angle) F^l` of the centred DFT (Shih, *Fractionalization of
    /// Fourier transform*, Opt. Commun. 118, 1995): unitary, additive in the angle, of period 2π. It mixes a signal, its
    /// mirror image and their spectra, and does not rotate the time-frequency plane, as [`fractional`](Self::fractional)
    /// does. The parameter is the angle.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0`, [`Error::Value`] for an angle that is not finite.
    pub fn weighted(n: usize, angle: f64) -> Result<Self> {
        positive("frft_weighted", n)?;
        finite("frft_weighted", &[4.0 * angle])?;
        Ok(Self::of_own(n, Transform::Weighted { angle }, 1))
    }

    /// The framed transform of `m`: the coefficients `e^{−iθk} Vᵀ x`, `θ = arg(a + ib)`, in the eigenbasis of the
    /// centred DFT, which together with the [`frame`](Self::frame) are the transform of the signal without loss. The
    /// parameters are `(a, b, c, d)`, whose gradient is that of the coefficients, for every change that keeps the
    /// determinant. Chains are the transform of the product of their matrices.
    ///
    /// # Errors
    ///
    /// As for [`fractional`](Self::fractional), of the entries.
    pub fn framed(n: usize, m: &Abcd) -> Result<Self> {
        Self::in_frame(n, m, Framed::Coefficients)
    }

    /// What [`framed`](Self::framed) coefficients are on the grid of their frame, whose
    /// [`spacing`](Self::output_spacing) is `√(a² + b²)/√n`: samples weighted by the square root of their spacing.
    /// Unitary. The gradient of the parameters waits for the device.
    ///
    /// # Errors
    ///
    /// As for [`framed`](Self::framed).
    pub fn framed_samples(n: usize, m: &Abcd) -> Result<Self> {
        Self::in_frame(n, m, Framed::Samples)
    }

    /// What [`framed`](Self::framed) coefficients are on the grid of the signal, of step `1/√n`, whatever the frame: what
    /// lies outside the window, or between its points, is lost, and there is no inverse. The gradient of the parameters
    /// waits for the device.
    ///
    /// # Errors
    ///
    /// As for [`framed`](Self::framed).
    pub fn framed_resampled(n: usize, m: &Abcd) -> Result<Self> {
        Self::in_frame(n, m, Framed::Resampled)
    }

    fn in_frame(n: usize, m: &Abcd, form: Framed) -> Result<Self> {
        positive("lct_framed", n)?;
        Frame::IDENTITY.apply(m)?;
        Eigenbasis::shared(n)?;
        Ok(Self::of_own(n, Transform::Framed { m: *m, form }, 4))
    }

    /// The transform of `m` from `n` samples at distance `spacing` onto the grid that comes for free, at distance
    /// `|b|/(n spacing)` ([`output_spacing`](Self::output_spacing)), both centred: one chirp, DFT, chirp (Hennelly and
    /// Sheridan, J. Opt. Soc. Am. A 22, 2005, the direct method). Unitary. The parameters are `(a, b, c, d, spacing)`,
    /// right for every change that keeps the determinant; the kernel does not contain `c`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0`; [`Error::Value`] if `b` is zero, an entry is not finite, `spacing` is not positive,
    /// or a phase overflows.
    pub fn scaled(n: usize, m: &Abcd, spacing: f64) -> Result<Self> {
        ScaledTables::new(m, n, spacing)?;
        Ok(Self::of_own(n, Transform::Scaled { m: *m, spacing }, 5))
    }

    /// The transform of a complex matrix on the centred grid of step `n^(−1/2)`: its kernel times the step, or for
    /// `b = 0`, `a = 1` the multiplication by `e^{iπ c x²/n}`, a Gaussian where `c` is imaginary.
    /// [`ComplexAbcd::laplace`] is the bilateral Laplace transform at `s = 2πu`, up to the constant `1/i`. Not unitary,
    /// and without bound where [`ComplexAbcd::is_bounded`] says so: kernels refuse an entry that leaves the element type.
    /// The parameters are the real and imaginary parts of `(a, b, c, d)`, in this order, right for every change that
    /// keeps the determinant.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0` or more than 16384, [`Error::Unsupported`] for `b = 0` with `a ≠ 1`.
    pub fn complex(n: usize, m: &ComplexAbcd) -> Result<Self> {
        const OP: &str = "lct_complex";
        positive(OP, n)?;
        if n > 1 << 14 {
            return Err(Error::Length {
                op: OP,
                argument: "x",
                expected: "at most 16384",
                found: n,
            });
        }
        let [a, b, ..] = m.entries();
        if b == Complex64::ZERO && a != Complex64::ONE {
            let reason = "b = 0 with a other than 1 is a scaling, which no grid carries";
            return Err(Error::Unsupported { op: OP, argument: "m", reason });
        }
        Ok(Self::of_own(n, Transform::Complex(*m), 8))
    }

    /// The chirp-z transform on the unit circle, `Σ_t x_t e^{−2πi t (start + k step)}` for `k < outputs`: the spectrum at
    /// any evenly spaced frequencies, in cycles a sample (Rabiner, Schafer and Rader, IEEE Trans. Audio Electroacoust.
    /// 17, 1969). `start = 0`, `step = 1/n` is the DFT. The parameters are `(start, step)`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for `n = 0` or no outputs, [`Error::Value`] for numbers that are not finite.
    pub fn czt(n: usize, outputs: usize, start: f64, step: f64) -> Result<Self> {
        CztTables::unit_circle(n, outputs, start, step)?;
        Ok(Self::of_own(n, Transform::Czt { outputs, start, step }, 2))
    }

    /// The z-transform on a spiral, `Σ_t x_t a^(−t) w^(tk)` for `k < outputs`. The parameters are the real and imaginary
    /// parts of `a`, then of `w`.
    ///
    /// # Errors
    ///
    /// As for [`czt`](Self::czt); [`Error::Value`] if `a` or `w` is zero or their powers leave `2^±500`.
    pub fn czt_spiral(n: usize, outputs: usize, a: Complex64, w: Complex64) -> Result<Self> {
        CztTables::spiral(n, outputs, a, w)?;
        Ok(Self::of_own(n, Transform::Spiral { outputs, a, w }, 4))
    }

    /// The transform of `m` from `n` centred points at distance `spacing` to any evenly spaced points, by a chirp-z
    /// transform: the rectangle rule for the integral with the kernel's own amplitude. The parameters are
    /// `(a, b, c, d, spacing, first, step)`, right for every change that keeps the determinant; the kernel does not
    /// contain `c`.
    ///
    /// # Errors
    ///
    /// As for [`czt`](Self::czt); [`Error::Value`] if `b` is zero or `spacing` not positive.
    pub fn czt_of(n: usize, m: &Abcd, spacing: f64, output: OutputGrid) -> Result<Self> {
        CztTables::lct(m, n, spacing, &output)?;
        Ok(Self::of_own(n, Transform::OntoGrid { m: *m, spacing, output }, 7))
    }

    /// A plan whose learned parameters are the numbers of the transform themselves.
    fn of_own(n: usize, transform: Transform, numbers: usize) -> Self {
        Self::new(n, transform, false, identity(numbers))
    }

    fn new(n: usize, transform: Transform, degenerate: bool, jacobian: Vec<Vec<f64>>) -> Self {
        Self { n, transform, adjoint: false, degenerate, jacobian }
    }

    /// The inverse of this transform.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a transform that is not unitary: causal, complex, resampled and chirp-z ones.
    pub fn inverse(self) -> Result<Self> {
        match self.transform {
            Transform::Complex(_)
            | Transform::Framed { form: Framed::Resampled, .. }
            | Transform::Czt { .. }
            | Transform::Spiral { .. }
            | Transform::OntoGrid { .. } => Err(Error::Unsupported {
                op: "lct",
                argument: "inverse",
                reason: "the transform is not unitary and need not have an inverse",
            }),
            Transform::Shear { .. }
            | Transform::Fractional { .. }
            | Transform::Weighted { .. }
            | Transform::Chirp { .. }
            | Transform::Fourier { .. }
            | Transform::Weil(_)
            | Transform::Scaled { .. }
            | Transform::Framed { .. } => Ok(self.adjoint()),
            Transform::Causal { .. } => Err(Error::Unsupported {
                op: "lct_causal",
                argument: "inverse",
                reason: "the causal transform is not unitary and its inverse is ill-conditioned; \
                         the inverse exists for transforms along the channels",
            }),
        }
    }

    pub(super) fn adjoint(self) -> Self {
        Self { adjoint: !self.adjoint, ..self }
    }

    /// The length of the axis that is transformed.
    pub fn n(&self) -> usize {
        if self.adjoint { self.transform.outputs(self.n) } else { self.n }
    }

    /// The length of the axis that comes of it.
    pub fn outputs(&self) -> usize {
        if self.adjoint { self.n } else { self.transform.outputs(self.n) }
    }

    /// Whether `|b|` was below the limit, so that another factorisation was taken.
    pub fn is_degenerate(&self) -> bool {
        self.degenerate
    }

    /// How many learned parameters there are.
    pub fn parameters(&self) -> usize {
        self.jacobian.first().map_or(0, Vec::len)
    }

    /// The frame of [`framed`](Self::framed) coefficients; nothing for the other transforms.
    pub fn frame(&self) -> Option<Frame> {
        match &self.transform {
            Transform::Framed { m, .. } => Some(Frame::IDENTITY.apply(m).ok()?.0),
            _ => None,
        }
    }

    /// The distance of the points of [`scaled`](Self::scaled) transforms and of [`framed_samples`](Self::framed_samples);
    /// nothing for the other transforms, which say where their points are.
    pub fn output_spacing(&self) -> Option<f64> {
        let n = self.n as f64;
        match &self.transform {
            Transform::Scaled { m, spacing } => Some(m.b().abs() / (n * spacing)),
            Transform::Framed { form: Framed::Samples, .. } => Some(self.frame()?.m() / n.sqrt()),
            _ => None,
        }
    }

    /// The derivative of the transform's own numbers (rows) by the learned parameters (columns).
    pub(crate) fn jacobian(&self) -> &[Vec<f64>] {
        &self.jacobian
    }

    pub(crate) fn turns(&self) -> (u8, u8) {
        self.transform.turns()
    }

    pub(crate) fn matrix(&self) -> ComplexMatrix {
        self.transform.matrix(self.n)
    }

    pub(crate) fn derivatives(&self) -> Vec<ComplexMatrix> {
        self.transform.derivatives(self.n)
    }

    /// By kernels, along `axis` of complex elements.
    pub(super) fn apply(&self, x: &wavecube::Tensor, axis: isize) -> Result<wavecube::Tensor> {
        if self.adjoint {
            self.transform.backward(x, self.n, axis)
        } else {
            self.transform.forward(x, axis)
        }
    }

    /// A causal transform as a chirp, a filter by the lag and another chirp, each as long as the grid; nothing for the
    /// other transforms.
    pub fn causal_factors(&self) -> Option<[Vec<Complex64>; 3]> {
        match self.transform {
            Transform::Causal { rates, kernel, grid } => {
                Some(matrix::causal_factors(grid, rates, kernel))
            }
            _ => None,
        }
    }

    pub(crate) fn is_adjoint(&self) -> bool {
        self.adjoint
    }
}
