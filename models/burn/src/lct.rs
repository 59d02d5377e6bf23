//! Linear canonical transforms of Burn tensors.
//!
//! An [`LctPlan`] holds everything the host decides: the length, the factorisation, the numbers in
//! `f64` and the Jacobian from the learned parameters to those numbers. The parameter tensor goes
//! along with it because the gradient has to arrive there.

use burn::{
    backend::{
        Backend,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
use cubecl::server::Handle;
use num_complex::Complex64;
use wavecube::{
    frft, frft_angle_vjp, lct_causal, lct_causal_jacobian_vjp, lct_causal_vjp, lct_shear_passes,
    lct_shear_passes_vjp, lct_shear_rate_vjp,
};
use wavecube_core::{
    Error, Result,
    lct::{Abcd, Eigenbasis, Lie, ShearFactors, ShearForm, ShearPasses},
};

use crate::{
    dense,
    matrix::{self, CausalKernel, ComplexMatrix, Rates, grid},
    operation::{Kept, Op, Operation, run},
};

/// What the learned numbers of a transform mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameters {
    /// The shear rates `(q₁, b, q₂)` of `L(q₂) U(b) L(q₁)`: every triple is a transform, none is
    /// singular.
    Shear,
    /// The Lie form `(p₁, p₂, p₃)`, see [`Lie`].
    Lie,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Transform {
    /// `phase · F^after · S(rates) · F^before`.
    Shear {
        rates: Rates,
        before: u8,
        after: u8,
        phase: Complex64,
    },
    Causal {
        rates: Rates,
        kernel: CausalKernel,
        grid: usize,
    },
    Fractional {
        angle: f64,
    },
}

/// One transform, decided and validated on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct LctPlan {
    n: usize,
    transform: Transform,
    adjoint: bool,
    degenerate: bool,
    /// A row for each number of the transform, a column for each learned parameter.
    jacobian: Vec<Vec<f64>>,
}

fn identity() -> Vec<Vec<f64>> {
    (0..3).map(|row| (0..3).map(|column| f64::from(u8::from(row == column))).collect()).collect()
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
            return Ok(Self::new(n, transform, false, identity()));
        }
        let lie = Lie::new(p1, p2, p3)?;
        let matrix = lie.exp()?;
        let degenerate = matrix.b().abs() < epsilon;
        let factors = if degenerate {
            ShearFactors::smooth(&matrix)?
        } else {
            ShearFactors::pinned(&matrix, 0, ShearForm::ChirpMiddleConvolution)?
        };
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
        let jacobian = chain(by_entries, lie.exp_jacobian()?);
        let transform = Transform::Shear { rates, before, after, phase };
        Ok(Self::new(n, transform, degenerate, jacobian))
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
            Parameters::Shear => (Rates { q1: p1, b: p2, q2: p3 }, identity()),
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
        Ok(Self::new(n, Transform::Fractional { angle }, false, vec![vec![1.0]]))
    }

    fn new(n: usize, transform: Transform, degenerate: bool, jacobian: Vec<Vec<f64>>) -> Self {
        Self { n, transform, adjoint: false, degenerate, jacobian }
    }

    /// The inverse of this transform.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a causal transform: it is not unitary.
    pub fn inverse(self) -> Result<Self> {
        match self.transform {
            Transform::Shear { .. } | Transform::Fractional { .. } => {
                Ok(Self { adjoint: !self.adjoint, ..self })
            }
            Transform::Causal { .. } => Err(Error::Unsupported {
                op: "lct_causal",
                argument: "inverse",
                reason: "the causal transform is not unitary and its inverse is ill-conditioned; \
                         the inverse exists for transforms along the channels",
            }),
        }
    }

    /// The length of the transformed axis.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Whether `|b|` was below the limit, so that another factorisation was taken.
    pub fn is_degenerate(&self) -> bool {
        self.degenerate
    }

    /// How many learned parameters there are.
    pub fn parameters(&self) -> usize {
        self.jacobian.first().map_or(0, Vec::len)
    }

    pub(crate) fn transform(&self) -> &Transform {
        &self.transform
    }

    /// The derivative of the transform's own numbers (rows) by the learned parameters (columns).
    pub(crate) fn jacobian(&self) -> &[Vec<f64>] {
        &self.jacobian
    }

    /// The powers of the centred DFT before and after the part that has parameters.
    pub(crate) fn turns(&self) -> (u8, u8) {
        match self.transform {
            Transform::Shear { before, after, .. } => (before, after),
            _ => (0, 0),
        }
    }

    /// The part that has parameters.
    pub(crate) fn matrix(&self) -> ComplexMatrix {
        match self.transform {
            Transform::Shear { rates, phase, .. } => matrix::shear(self.n, rates).scaled(phase),
            Transform::Causal { rates, kernel, grid } => {
                matrix::causal(self.n, grid, rates, kernel)
            }
            Transform::Fractional { angle } => matrix::fractional(self.n, angle, false),
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

    /// The derivatives of [`matrix`](Self::matrix) by the transform's own numbers.
    pub(crate) fn derivatives(&self) -> Vec<ComplexMatrix> {
        match self.transform {
            Transform::Shear { rates, phase, .. } => matrix::shear_derivatives(self.n, rates)
                .map(|derivative| derivative.scaled(phase))
                .into(),
            Transform::Causal { rates, kernel, grid } => {
                matrix::causal_derivatives(self.n, grid, rates, kernel).into()
            }
            Transform::Fractional { angle } => vec![matrix::fractional(self.n, angle, true)],
        }
    }

    pub(crate) fn is_adjoint(&self) -> bool {
        self.adjoint
    }
}

/// The transform of `x` (`[.., n, 2]`); the second operand, the parameters, receives its gradient alone.
#[derive(Debug, Clone)]
pub(crate) struct Lct(LctPlan);

impl Operation<2, 0, 1> for Lct {
    const NAME: &'static str = "lct";
    const COMPLEX: [bool; 2] = [true, false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn kernel(
        &self,
        [x, _]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([transform(x, &self.0, self.0.adjoint)?])
    }

    fn plain<B: Backend>(
        &self,
        [x, _]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [dense::lct::<B>(x, &self.0)]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(LctVjp(self.0.clone()).into())
    }
}

/// The gradients of `x` and of the parameters, from `x` and the gradient of the result.
#[derive(Debug, Clone)]
pub(crate) struct LctVjp(LctPlan);

impl Operation<2, 0, 2> for LctVjp {
    const NAME: &'static str = "lct_vjp";
    const COMPLEX: [bool; 2] = [true, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 2] {
        [x.to_vec(), vec![self.0.parameters()]]
    }

    fn kernel(
        &self,
        [x, grad]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let plan = &self.0;
        let by_x = transform(grad, plan, !plan.adjoint)?;
        // y = Aᴴx pairs with g as x pairs with A g: the adjoint swaps the two.
        let (from, to) = if plan.adjoint { (grad, x) } else { (x, grad) };
        Ok([by_x, native_gradient(from, to, plan)?])
    }

    fn plain<B: Backend>(
        &self,
        [x, grad]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        dense::lct_vjp::<B>(x, grad, &self.0).into()
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        None
    }
}

/// No kernel for this plan.
fn none<T>() -> Result<T> {
    Err(Error::Unsupported {
        op: "lct",
        argument: "plan",
        reason: "the smooth causal kernel next to b = 0 has a plain body only",
    })
}

fn passes(rates: Rates, before: u8, after: u8) -> ShearPasses {
    let Rates { q1, b, q2 } = rates;
    ShearPasses { before, first: q1, forward: true, middle: -b, last: q2, after }
}

/// `L(q₂) U(b) L(q₁)`.
fn abcd(Rates { q1, b, q2 }: Rates) -> Result<Abcd> {
    Abcd::new(1.0 + b * q1, b, q1 + q2 + b * q1 * q2, 1.0 + b * q2)
}

/// Start and spacing of the centred grid of `length` points.
fn centred(length: usize) -> (f64, f64) {
    (grid(length, 0), 1.0 / (length as f64).sqrt())
}

fn transform(x: &wavecube::Tensor, plan: &LctPlan, adjoint: bool) -> Result<wavecube::Tensor> {
    match *plan.transform() {
        Transform::Shear { rates, before, after, phase } => {
            let op = if adjoint { lct_shear_passes_vjp } else { lct_shear_passes };
            op(x, &passes(rates, before, after), phase, -1)
        }
        Transform::Fractional { angle } => frft(x, if adjoint { -angle } else { angle }, -1),
        Transform::Causal { rates, kernel: CausalKernel::Sampled, grid } => {
            let (start, spacing) = centred(grid);
            let op = if adjoint { lct_causal_vjp } else { lct_causal };
            op(x, &abcd(rates)?, start, spacing, -1)
        }
        Transform::Causal { kernel: CausalKernel::Spectral, .. } => none(),
    }
}

/// The gradient of the forward transform of `x` by the learned parameters.
fn native_gradient(
    x: &wavecube::Tensor,
    grad: &wavecube::Tensor,
    plan: &LctPlan,
) -> Result<wavecube::Tensor> {
    match *plan.transform() {
        Transform::Shear { rates, before, after, phase } => {
            let jacobian: Vec<Vec<f64>> = (0..plan.parameters())
                .map(|parameter| {
                    // The middle chirp of the passes turns the other way.
                    let by = |rate: usize| plan.jacobian()[rate][parameter];
                    vec![by(0), -by(1), by(2)]
                })
                .collect();
            lct_shear_rate_vjp(x, grad, &passes(rates, before, after), phase, &jacobian, -1)
        }
        Transform::Fractional { angle } => frft_angle_vjp(x, grad, angle, -1),
        Transform::Causal { rates, kernel: CausalKernel::Sampled, grid } => {
            let (start, spacing) = centred(grid);
            let jacobian = causal_jacobian(rates, plan);
            lct_causal_jacobian_vjp(x, grad, &abcd(rates)?, start, spacing, &jacobian, -1)
        }
        Transform::Causal { kernel: CausalKernel::Spectral, .. } => none(),
    }
}

/// `∂(a, b, c, d, start, spacing)/∂parameters`, a row a parameter. The grid is not learned.
fn causal_jacobian(Rates { q1, b, q2 }: Rates, plan: &LctPlan) -> Vec<Vec<f64>> {
    let by_rates = [[b, q1, 0.0], [0.0, 1.0, 0.0], [0.0; 3], [0.0, q2, b], [0.0; 3], [0.0; 3]];
    let by = |entry: [f64; 3], parameter: usize| {
        entry.iter().zip(plan.jacobian()).map(|(by, rate)| by * rate[parameter]).sum()
    };
    (0..plan.parameters())
        .map(|parameter| by_rates.iter().map(|&entry| by(entry, parameter)).collect())
        .collect()
}

/// Applies `plan` to the complex tensor `x` (`[.., n, 2]`), differentiable in `x` and `parameters`.
///
/// `parameters` must hold the values the plan was made from ([`parameters_to_host`]).
///
/// # Errors
///
/// [`Error::Shape`] when `x` does not end in `[plan.n(), 2]` or `parameters` has not
/// the length of [`LctPlan::parameters`].
pub fn lct<const D: usize>(
    x: Tensor<D>,
    parameters: Tensor<1>,
    plan: &LctPlan,
) -> Result<Tensor<D>> {
    let shape = x.dims();
    if D < 2 || shape[D - 2..] != [plan.n, 2] {
        return Err(Error::Shape {
            op: "lct",
            argument: "x",
            expected: vec![plan.n, 2],
            found: shape.to_vec(),
        });
    }
    if parameters.dims() != [plan.parameters()] {
        return Err(Error::Shape {
            op: "lct",
            argument: "parameters",
            expected: vec![plan.parameters()],
            found: parameters.dims().to_vec(),
        });
    }
    let [y] = run(Lct(plan.clone()), [x.into_dispatch(), parameters.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

/// Reads learned parameters back as `f64`: one small transfer, the only wait of a call.
///
/// # Errors
///
/// [`Error::Shape`] when there are not `N`; [`Error::Device`] when the device cannot be read.
pub fn parameters_to_host<const N: usize>(parameters: &Tensor<1>) -> Result<[f64; N]> {
    let failed = |report: String| Error::Device {
        op: "lct",
        reason: wavecube_core::DeviceFault::Failed(report),
    };
    let data = parameters
        .clone()
        .detach()
        .try_into_data_as::<f64>()
        .map_err(|error| failed(format!("{error}")))?;
    let values = data.as_slice::<f64>().map_err(|error| failed(format!("{error:?}")))?;
    values.try_into().map_err(|_| Error::Shape {
        op: "lct",
        argument: "parameters",
        expected: vec![N],
        found: vec![values.len()],
    })
}
