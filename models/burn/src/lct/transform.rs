//! The transforms of a plan: each by its kernels, and as a matrix from its definition.

use num_complex::Complex64;
use wavecube::{
    FramedSignal, chirp_multiply, chirp_multiply_rate_vjp, chirp_multiply_vjp, czt, czt_param_vjp,
    czt_spiral, czt_spiral_param_vjp, czt_spiral_vjp, czt_vjp, fourier, fourier_vjp, frft,
    frft_angle_vjp, frft_vjp, frft_weighted, frft_weighted_angle_vjp, frft_weighted_vjp,
    lct_causal, lct_causal_jacobian_vjp, lct_causal_vjp, lct_complex, lct_complex_param_vjp,
    lct_complex_vjp, lct_czt, lct_czt_param_vjp, lct_czt_vjp, lct_framed, lct_framed_vjp,
    lct_scaled, lct_scaled_param_vjp, lct_scaled_vjp, lct_shear_passes, lct_shear_passes_vjp,
    lct_shear_rate_vjp, lct_weil, lct_weil_vjp,
};
use wavecube_core::{
    Error, Layout, Result,
    lct::{Abcd, ComplexAbcd, Frame, OutputGrid, ShearPasses, WeilMatrix},
};

use crate::matrix::{self, CausalKernel, ComplexMatrix, Framed, Rates, grid};

#[derive(Debug, Clone, PartialEq)]
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
    Weighted {
        angle: f64,
    },
    Chirp {
        q: f64,
    },
    Fourier {
        inverse: bool,
    },
    Weil(WeilMatrix),
    Complex(ComplexAbcd),
    Scaled {
        m: Abcd,
        spacing: f64,
    },
    Framed {
        m: Abcd,
        form: Framed,
    },
    Czt {
        outputs: usize,
        start: f64,
        step: f64,
    },
    Spiral {
        outputs: usize,
        a: Complex64,
        w: Complex64,
    },
    OntoGrid {
        m: Abcd,
        spacing: f64,
        output: OutputGrid,
    },
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

impl Transform {
    /// How many points the transform of `n` has.
    pub(crate) fn outputs(&self, n: usize) -> usize {
        match *self {
            Self::Czt { outputs, .. } | Self::Spiral { outputs, .. } => outputs,
            Self::OntoGrid { output, .. } => output.outputs,
            _ => n,
        }
    }

    /// By kernels, along `axis` of complex elements.
    pub(crate) fn forward(&self, x: &wavecube::Tensor, axis: isize) -> Result<wavecube::Tensor> {
        match self {
            &Self::Shear { rates, before, after, phase } => {
                lct_shear_passes(x, &passes(rates, before, after), phase, axis)
            }
            &Self::Causal { rates, kernel: CausalKernel::Sampled, grid } => {
                let (start, spacing) = centred(grid);
                lct_causal(x, &abcd(rates)?, start, spacing, axis)
            }
            Self::Causal { kernel: CausalKernel::Spectral, .. } => none(),
            &Self::Fractional { angle } => frft(x, angle, axis),
            &Self::Weighted { angle } => frft_weighted(x, angle, axis),
            &Self::Chirp { q } => chirp_multiply(x, q, axis),
            &Self::Fourier { inverse } => fourier(x, inverse, axis),
            Self::Weil(m) => lct_weil(x, m, axis),
            Self::Complex(m) => lct_complex(x, m, axis),
            Self::Scaled { m, spacing } => Ok(lct_scaled(x, m, *spacing, axis)?.0),
            Self::Framed { m, form } => {
                let signal = lct_framed(x, m, axis)?;
                match form {
                    Framed::Coefficients => Ok(signal.coefficients),
                    Framed::Samples => Ok(signal.to_samples()?.0),
                    Framed::Resampled => signal.resample(),
                }
            }
            &Self::Czt { outputs, start, step } => czt(x, outputs, start, step, axis),
            &Self::Spiral { outputs, a, w } => czt_spiral(x, outputs, a, w, axis),
            Self::OntoGrid { m, spacing, output } => lct_czt(x, m, *spacing, output, axis),
        }
    }

    /// The adjoint of [`forward`](Self::forward) of lines of `n` points.
    pub(crate) fn backward(
        &self,
        g: &wavecube::Tensor,
        n: usize,
        axis: isize,
    ) -> Result<wavecube::Tensor> {
        match self {
            &Self::Shear { rates, before, after, phase } => {
                lct_shear_passes_vjp(g, &passes(rates, before, after), phase, axis)
            }
            &Self::Causal { rates, kernel: CausalKernel::Sampled, grid } => {
                let (start, spacing) = centred(grid);
                lct_causal_vjp(g, &abcd(rates)?, start, spacing, axis)
            }
            Self::Causal { kernel: CausalKernel::Spectral, .. } => none(),
            &Self::Fractional { angle } => frft_vjp(g, angle, axis),
            &Self::Weighted { angle } => frft_weighted_vjp(g, angle, axis),
            &Self::Chirp { q } => chirp_multiply_vjp(g, q, axis),
            &Self::Fourier { inverse } => fourier_vjp(g, inverse, axis),
            Self::Weil(m) => lct_weil_vjp(g, m, axis),
            Self::Complex(m) => lct_complex_vjp(g, m, axis),
            Self::Scaled { m, spacing } => lct_scaled_vjp(g, m, *spacing, axis),
            Self::Framed { m, form } => {
                let (frame, _) = Frame::IDENTITY.apply(m)?;
                let signal = FramedSignal::from_coefficients(g.clone(), frame, axis)?;
                match form {
                    Framed::Coefficients => lct_framed_vjp(g, m, axis),
                    Framed::Samples => lct_framed_vjp(&signal.to_samples_vjp(g)?, m, axis),
                    Framed::Resampled => lct_framed_vjp(&signal.resample_vjp(g)?, m, axis),
                }
            }
            &Self::Czt { start, step, .. } => czt_vjp(g, n, start, step, axis),
            &Self::Spiral { a, w, .. } => czt_spiral_vjp(g, n, a, w, axis),
            Self::OntoGrid { m, spacing, output } => lct_czt_vjp(g, n, m, *spacing, output, axis),
        }
    }

    /// The gradient of [`forward`](Self::forward) by the learned parameters, from `x` and the gradient of the result.
    /// `jacobian` has a row for each number of the transform, a column for each parameter.
    pub(crate) fn gradient(
        &self,
        x: &wavecube::Tensor,
        g: &wavecube::Tensor,
        jacobian: &[Vec<f64>],
        axis: isize,
    ) -> Result<wavecube::Tensor> {
        match self {
            &Self::Shear { rates, before, after, phase } => {
                let columns = jacobian.first().map_or(0, Vec::len);
                // The middle chirp of the passes turns the other way.
                let row = |parameter: usize| {
                    let by = |rate: usize| jacobian[rate][parameter];
                    vec![by(0), -by(1), by(2)]
                };
                let jacobian: Vec<_> = (0..columns).map(row).collect();
                lct_shear_rate_vjp(x, g, &passes(rates, before, after), phase, &jacobian, axis)
            }
            &Self::Causal { rates, kernel: CausalKernel::Sampled, grid } => {
                let (start, spacing) = centred(grid);
                let jacobian = causal_jacobian(rates, jacobian);
                lct_causal_jacobian_vjp(x, g, &abcd(rates)?, start, spacing, &jacobian, axis)
            }
            Self::Causal { kernel: CausalKernel::Spectral, .. } => none(),
            &Self::Fractional { angle } => frft_angle_vjp(x, g, angle, axis),
            &Self::Weighted { angle } => frft_weighted_angle_vjp(x, g, angle, axis),
            &Self::Chirp { q } => chirp_multiply_rate_vjp(x, g, q, axis),
            Self::Fourier { .. } | Self::Weil(_) => Err(Error::Unsupported {
                op: "lct",
                argument: "parameters",
                reason: "this transform has none",
            }),
            Self::Complex(m) => lct_complex_param_vjp(x, g, m, axis),
            Self::Scaled { m, spacing } => lct_scaled_param_vjp(x, g, m, *spacing, axis),
            Self::Framed { m, form } => framed_gradient(x, g, m, *form, axis),
            &Self::Czt { start, step, .. } => czt_param_vjp(x, g, start, step, axis),
            &Self::Spiral { a, w, .. } => czt_spiral_param_vjp(x, g, a, w, axis),
            Self::OntoGrid { m, spacing, output } => {
                lct_czt_param_vjp(x, g, m, *spacing, output, axis)
            }
        }
    }

    /// The powers of the centred DFT before and after the part that has parameters.
    pub(crate) fn turns(&self) -> (u8, u8) {
        match *self {
            Self::Shear { before, after, .. } => (before, after),
            _ => (0, 0),
        }
    }

    /// The part that has parameters, of lines of `n` points.
    pub(crate) fn matrix(&self, n: usize) -> ComplexMatrix {
        let shape = [self.outputs(n), n];
        match self {
            &Self::Shear { rates, phase, .. } => matrix::shear(n, rates).scaled(phase),
            &Self::Causal { rates, kernel, grid } => matrix::causal(n, grid, rates, kernel),
            &Self::Fractional { angle } => matrix::fractional(n, angle, false),
            &Self::Weighted { angle } => matrix::weighted(n, angle, false),
            &Self::Chirp { q } => matrix::value(shape, matrix::chirp(n, q)),
            &Self::Fourier { inverse } => matrix::centred_dft(n, if inverse { 3 } else { 1 }),
            Self::Weil(m) => matrix::weil(m),
            Self::Complex(m) => matrix::value(shape, matrix::complex(n, m)),
            Self::Scaled { m, spacing } => matrix::value(shape, matrix::scaled(n, m, *spacing)),
            Self::Framed { m, form } => {
                let [value, ..] = matrix::framed(n, m, *form);
                value
            }
            &Self::Czt { start, step, .. } => matrix::value(shape, matrix::czt(start, step)),
            &Self::Spiral { a, w, .. } => matrix::value(shape, matrix::spiral(a, w)),
            Self::OntoGrid { m, spacing, output } => {
                matrix::value(shape, matrix::onto_grid(n, m, *spacing, output))
            }
        }
    }

    /// The derivatives of [`matrix`](Self::matrix) by the transform's own numbers.
    pub(crate) fn derivatives(&self, n: usize) -> Vec<ComplexMatrix> {
        let shape = [self.outputs(n), n];
        match self {
            &Self::Shear { rates, phase, .. } => matrix::shear_derivatives(n, rates)
                .map(|derivative| derivative.scaled(phase))
                .into(),
            &Self::Causal { rates, kernel, grid } => {
                matrix::causal_derivatives(n, grid, rates, kernel).into()
            }
            &Self::Fractional { angle } => vec![matrix::fractional(n, angle, true)],
            &Self::Weighted { angle } => vec![matrix::weighted(n, angle, true)],
            &Self::Chirp { q } => matrix::derivatives(shape, matrix::chirp(n, q)),
            Self::Fourier { .. } | Self::Weil(_) => Vec::new(),
            Self::Complex(m) => matrix::derivatives(shape, matrix::complex(n, m)),
            Self::Scaled { m, spacing } => {
                matrix::derivatives(shape, matrix::scaled(n, m, *spacing))
            }
            Self::Framed { m, form } => {
                let [_, derivatives @ ..] = matrix::framed(n, m, *form);
                derivatives.into()
            }
            &Self::Czt { start, step, .. } => matrix::derivatives(shape, matrix::czt(start, step)),
            &Self::Spiral { a, w, .. } => matrix::derivatives(shape, matrix::spiral(a, w)),
            Self::OntoGrid { m, spacing, output } => {
                matrix::derivatives(shape, matrix::onto_grid(n, m, *spacing, output))
            }
        }
    }
}

/// `∂(a, b, c, d, start, spacing)/∂parameters`, a row a parameter. The grid is not learned.
fn causal_jacobian(Rates { q1, b, q2 }: Rates, jacobian: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let by_rates = [[b, q1, 0.0], [0.0, 1.0, 0.0], [0.0; 3], [0.0, q2, b], [0.0; 3], [0.0; 3]];
    let by = |entry: [f64; 3], parameter: usize| {
        entry.iter().zip(jacobian).map(|(by, rate)| by * rate[parameter]).sum()
    };
    (0..jacobian.first().map_or(0, Vec::len))
        .map(|parameter| by_rates.iter().map(|&entry| by(entry, parameter)).collect())
        .collect()
}

/// By `(a, b, c, d)`. That of samples goes through the frame, whose two gradients are read back.
fn framed_gradient(
    x: &wavecube::Tensor,
    g: &wavecube::Tensor,
    m: &Abcd,
    form: Framed,
    axis: isize,
) -> Result<wavecube::Tensor> {
    let signal = FramedSignal::from_samples(x, axis)?;
    let there = signal.apply(m)?;
    let by = match form {
        Framed::Coefficients => signal.apply_vjp(m, g, [0.0; 2])?,
        Framed::Samples => {
            let by_frame = numbers(&there.to_samples_frame_vjp(g)?)?;
            signal.apply_vjp(m, &there.to_samples_vjp(g)?, by_frame)?
        }
        Framed::Resampled => {
            let by_frame = numbers(&there.resample_frame_vjp(g)?)?;
            signal.apply_vjp(m, &there.resample_vjp(g)?, by_frame)?
        }
    }
    .parameters;
    // Those by the frame of the identity, which is not learned, stand behind.
    let entries = Layout::contiguous(&[4]);
    wavecube::Tensor::from_handle(by.device(), by.handle().clone(), by.dtype(), false, entries)
}

/// A pair of real numbers of the device, on the host.
fn numbers(pair: &wavecube::Tensor) -> Result<[f64; 2]> {
    let numbers = match pair.dtype() {
        wavecube::Dtype::F64 => pair.read::<f64>()?,
        _ => pair.read::<f32>()?.into_iter().map(f64::from).collect(),
    };
    Ok([numbers[0], numbers[1]])
}
