//! Complex channels mixed along the last axis: linear maps, mixing by magnitude and phase, and their norm.

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
use cubecl::server::Handle;
use num_complex::Complex64;
use wavecube_core::{Error, Result};

use crate::{
    dense::{self, rows},
    host::{interleaved, numbers, pairs, upload, upload_as},
    maps::{check_pairs, check_shared, shared},
    operation::{Kept, Op, Operation, run},
};

/// `[…, inputs, 2]` with lines of another length.
pub(crate) fn with_lines(shape: &[usize], len: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    let axis = shape.len() - 2;
    shape[axis] = len;
    shape
}

/// A complex matrix `[outputs, inputs]` as the real one that takes rows of pairs to rows of pairs,
/// `[2 inputs, 2 outputs]`, or its adjoint.
fn as_real(w: &[Complex64], [outputs, inputs]: [usize; 2], adjoint: bool) -> Vec<f64> {
    let mut real = vec![0.0; 4 * outputs * inputs];
    for (at, w) in w.iter().enumerate() {
        let (output, input) = (at / inputs, at % inputs);
        let (from, to, width, im) =
            if adjoint { (output, input, inputs, -w.im) } else { (input, output, outputs, w.im) };
        let rows = [2 * from, 2 * from + 1].map(|row| row * 2 * width + 2 * to);
        (real[rows[0]], real[rows[0] + 1]) = (w.re, im);
        (real[rows[1]], real[rows[1] + 1]) = (-im, w.re);
    }
    real
}

/// `W x`, or `Wᴴ x`, for every line of `x` (`[…, inputs, 2]`).
pub(crate) fn product<B: Backend>(
    x: FloatTensor<B>,
    w: &[Complex64],
    [outputs, inputs]: [usize; 2],
    adjoint: bool,
) -> FloatTensor<B> {
    let [from, to] = if adjoint { [outputs, inputs] } else { [inputs, outputs] };
    let shape = with_lines(&x.shape(), to);
    let matrix = as_real(w, [outputs, inputs], adjoint);
    dense::apply::<B>(x, matrix, [2 * from, 2 * to], false, shape)
}

/// `Σ g xᴴ` over all lines: `[outputs, inputs]`.
fn outer<B: Backend>(
    x: FloatTensor<B>,
    g: FloatTensor<B>,
    [outputs, inputs]: [usize; 2],
) -> Vec<Complex64> {
    let (x, g) = (rows::<B>(x, 2 * inputs), rows::<B>(g, 2 * outputs));
    let sums = numbers::<B>(B::float_matmul(B::float_transpose(g), x));
    let sum = |output: usize, part: usize, input: usize, of: usize| {
        sums[(2 * output + part) * 2 * inputs + 2 * input + of]
    };
    (0..outputs * inputs)
        .map(|at| {
            let (o, i) = (at / inputs, at % inputs);
            Complex64::new(sum(o, 0, i, 0) + sum(o, 1, i, 1), sum(o, 1, i, 0) - sum(o, 0, i, 1))
        })
        .collect()
}

/// `y = W x` along the last axis of `x` (`[…, inputs, 2]`), with `w` of `[outputs, inputs, 2]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComplexLinear;

impl Operation<2, 0, 1> for ComplexLinear {
    const NAME: &'static str = "complex_linear";
    const COMPLEX: [bool; 2] = [true; 2];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, w]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [with_lines(x, w[0])]
    }

    fn kernel(
        &self,
        [x, w]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::complex_linear(x, w)?])
    }

    fn plain<B: Backend>(
        &self,
        [x, w]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let shape = [w.shape()[0], w.shape()[1]];
        [product::<B>(x, &pairs::<B>(w), shape, false)]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(ComplexLinearVjp.into())
    }
}

/// The gradients of `x` and `w`, from these and the gradient of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComplexLinearVjp;

impl Operation<3, 0, 2> for ComplexLinearVjp {
    const NAME: &'static str = "complex_linear_vjp";
    const COMPLEX: [bool; 3] = [true; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, w, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [x.to_vec(), w.to_vec()]
    }

    fn kernel(
        &self,
        [x, w, g]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        wavecube::complex_linear_vjp(x, w, g)
    }

    fn plain<B: Backend>(
        &self,
        [x, w, g]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        let shape = [w.shape()[0], w.shape()[1]];
        let by_x = product::<B>(g.clone(), &pairs::<B>(w.clone()), shape, true);
        [by_x, upload::<B>(&w, interleaved(outer::<B>(x, g, shape)))]
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

/// `√(|y|² + ε²)` of every element.
fn sizes(y: &[Complex64], epsilon: f64) -> Vec<f64> {
    y.iter().map(|y| y.norm().hypot(epsilon)).collect()
}

/// `(A s) t/√(|t|² + ε²)` with `t = C y` and `s = √(|y|² + ε²)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhaseMix {
    epsilon: f64,
}

/// What of channels that are mixed by magnitude and phase both passes need: magnitudes `s` of `[…, inputs]`, turned
/// channels `t` and mixed magnitudes `a` of `[…, outputs]`, on the host but for the first.
struct Mixed<B: Backend> {
    s: FloatTensor<B>,
    t: Vec<Complex64>,
    a: Vec<f64>,
}

impl PhaseMix {
    fn mixed<B: Backend>(
        self,
        y: &FloatTensor<B>,
        magnitudes: &[f64],
        directions: &[Complex64],
        [outputs, inputs]: [usize; 2],
    ) -> Mixed<B> {
        let shape = y.shape();
        let lines = &shape[..shape.len() - 1];
        let s = upload_as::<B>(y, sizes(&pairs::<B>(y.clone()), self.epsilon), lines);
        let t = pairs::<B>(product::<B>(y.clone(), directions, [outputs, inputs], false));
        let mut mixed = lines.to_vec();
        mixed[lines.len() - 1] = outputs;
        let matrix = magnitudes.to_vec();
        let a = dense::apply::<B>(s.clone(), matrix, [outputs, inputs], true, mixed);
        Mixed { s, t, a: numbers::<B>(a) }
    }
}

impl Operation<3, 0, 1> for PhaseMix {
    const NAME: &'static str = "phase_mix";
    const COMPLEX: [bool; 3] = [true, false, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [y, magnitudes, _]: [&[usize]; 3]) -> [Vec<usize>; 1] {
        [with_lines(y, magnitudes[0])]
    }

    fn kernel(
        &self,
        [y, magnitudes, directions]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::phase_mix(y, magnitudes, directions, self.epsilon)?])
    }

    fn plain<B: Backend>(
        &self,
        [y, magnitudes, directions]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let shape = [magnitudes.shape()[0], magnitudes.shape()[1]];
        let (magnitudes, directions) = (numbers::<B>(magnitudes), pairs::<B>(directions));
        let Mixed { t, a, .. } = self.mixed::<B>(&y, &magnitudes, &directions, shape);
        let lengths = sizes(&t, self.epsilon);
        let z = t.iter().zip(&a).zip(&lengths).map(|((t, a), length)| t * (a / length));
        let out = with_lines(&y.shape(), shape[0]);
        [upload_as::<B>(&y, interleaved(z), &out)]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1, 2], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        Some(PhaseMixVjp(*self).into())
    }
}

/// The gradients of `y` and both matrices, from these and the gradient of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhaseMixVjp(PhaseMix);

impl Operation<4, 0, 3> for PhaseMixVjp {
    const NAME: &'static str = "phase_mix_vjp";
    const COMPLEX: [bool; 4] = [true, false, true, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [y, magnitudes, directions, _]: [&[usize]; 4]) -> [Vec<usize>; 3] {
        [y, magnitudes, directions].map(<[usize]>::to_vec)
    }

    fn kernel(
        &self,
        [y, magnitudes, directions, g]: [&wavecube::Tensor; 4],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 3]> {
        wavecube::phase_mix_vjp(y, magnitudes, directions, self.0.epsilon, g)
    }

    fn plain<B: Backend>(
        &self,
        [y, magnitudes, directions, g]: [FloatTensor<B>; 4],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 3] {
        let epsilon = self.0.epsilon;
        let shape @ [outputs, inputs] = [magnitudes.shape()[0], magnitudes.shape()[1]];
        let (matrix, turns) = (numbers::<B>(magnitudes.clone()), pairs::<B>(directions.clone()));
        let Mixed { s, t, a } = self.0.mixed::<B>(&y, &matrix, &turns, shape);
        let lengths = sizes(&t, epsilon);
        let arriving = pairs::<B>(g.clone());
        let lines = g.shape();
        let lines = &lines[..lines.len() - 1];
        // z = a u with u = t/ℓ: by a it is u·g, by t (g − u (u·g)) a/ℓ.
        let (mut by_a, mut by_t) = (Vec::new(), Vec::new());
        for (((t, a), length), g) in t.iter().zip(&a).zip(&lengths).zip(&arriving) {
            let u = t / length;
            let outwards = u.re * g.re + u.im * g.im;
            by_a.push(outwards);
            by_t.push((g - u * outwards) * (a / length));
        }
        let by_a = upload_as::<B>(&g, by_a, lines);
        let by_t = upload_as::<B>(&g, interleaved(by_t), &g.shape());
        let through_t = pairs::<B>(product::<B>(by_t.clone(), &turns, shape, true));
        let mut of_s = lines.to_vec();
        of_s[lines.len() - 1] = inputs;
        let by_s = dense::apply::<B>(by_a.clone(), matrix, shape, false, of_s);
        let (by_s, s_host) = (numbers::<B>(by_s), numbers::<B>(s.clone()));
        let by_y = pairs::<B>(y.clone()).into_iter().zip(through_t).zip(by_s.iter().zip(&s_host));
        let by_y = by_y.map(|((y, through), (by_s, s))| through + y * (by_s / s));
        let by_y = upload::<B>(&y, interleaved(by_y));
        let by_magnitudes =
            B::float_matmul(B::float_transpose(rows::<B>(by_a, outputs)), rows::<B>(s, inputs));
        [by_y, by_magnitudes, upload::<B>(&directions, interleaved(outer::<B>(y, by_t, shape)))]
    }

    fn vjp(&self, _: [&[usize]; 4]) -> Option<Op> {
        None
    }
}

/// `w_j z_j/√(mean |z|² + ε)` along the last axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComplexRmsNorm {
    epsilon: f64,
}

/// `1/√(mean |z|² + ε)` of a line.
fn inverse_root(line: &[Complex64], epsilon: f64) -> f64 {
    let mean = line.iter().map(Complex64::norm_sqr).sum::<f64>() / line.len() as f64;
    1.0 / (mean + epsilon).sqrt()
}

impl Operation<2, 0, 1> for ComplexRmsNorm {
    const NAME: &'static str = "complex_rms_norm";
    const COMPLEX: [bool; 2] = [true, false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [z, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [z.to_vec()]
    }

    fn kernel(
        &self,
        [z, w]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::complex_rms_norm(z, w, self.epsilon)?])
    }

    fn plain<B: Backend>(
        &self,
        [z, w]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let (shape, small) = (z.shape(), w.shape());
        let n = shape[shape.len() - 2];
        let (elements, w) = (pairs::<B>(z.clone()), numbers::<B>(w));
        let mut places = shared(&shape[..shape.len() - 1], &small);
        let mut y = Vec::with_capacity(elements.len());
        for line in elements.chunks_exact(n) {
            let root = inverse_root(line, self.epsilon);
            y.extend(line.iter().zip(&mut places).map(|(z, at)| z * (w[at] * root)));
        }
        [upload::<B>(&z, interleaved(y))]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(ComplexRmsNormVjp(*self).into())
    }
}

/// The gradients of `z` and `w`, from these and the gradient of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComplexRmsNormVjp(ComplexRmsNorm);

impl Operation<3, 0, 2> for ComplexRmsNormVjp {
    const NAME: &'static str = "complex_rms_norm_vjp";
    const COMPLEX: [bool; 3] = [true, false, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [z, w, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [z.to_vec(), w.to_vec()]
    }

    fn kernel(
        &self,
        [z, w, g]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        wavecube::complex_rms_norm_vjp(z, w, self.0.epsilon, g)
    }

    fn plain<B: Backend>(
        &self,
        [z, w, g]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        let (shape, small) = (z.shape(), w.shape());
        let n = shape[shape.len() - 2];
        let (elements, arriving) = (pairs::<B>(z.clone()), pairs::<B>(g));
        let weights = numbers::<B>(w.clone());
        let mut places = shared(&shape[..shape.len() - 1], &small);
        let (mut by_z, mut by_w) = (Vec::with_capacity(elements.len()), vec![0.0; weights.len()]);
        for (line, g) in elements.chunks_exact(n).zip(arriving.chunks_exact(n)) {
            let root = inverse_root(line, self.0.epsilon);
            let places: Vec<usize> = places.by_ref().take(n).collect();
            let mut sum = 0.0;
            for ((z, g), &at) in line.iter().zip(g).zip(&places) {
                let along = z.re * g.re + z.im * g.im;
                by_w[at] += along * root;
                sum += weights[at] * along;
            }
            let back = root * root * root * sum / n as f64;
            let terms = line.iter().zip(g).zip(&places);
            by_z.extend(terms.map(|((z, g), &at)| g * (weights[at] * root) - z * back));
        }
        [upload::<B>(&z, interleaved(by_z)), upload::<B>(&w, by_w)]
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

fn check_matrix(
    op: &'static str,
    argument: &'static str,
    found: &[usize],
    expected: &[usize],
) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (expected.to_vec(), found.to_vec());
    Err(Error::Shape { op, argument, expected, found })
}

/// The channels of `[…, inputs, 2]`.
pub(crate) fn channels(op: &'static str, argument: &'static str, shape: &[usize]) -> Result<usize> {
    check_pairs(op, argument, shape)?;
    let found = shape[shape.len() - 2];
    if found == 0 {
        return Err(Error::Length { op, argument, expected: "at least 1", found });
    }
    Ok(found)
}

/// `W x` for every line of `x` (`[…, inputs, 2]`), with a complex `w` (`[outputs, inputs, 2]`); differentiable in both.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes do not belong together, [`Error::Length`] for no inputs.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::complex_linear;
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 2.0]], &device);
/// let w = Tensor::<3>::from_data([[[0.0, 1.0], [1.0, 0.0]]], &device);
/// // i · 1 + 1 · 2i
/// let y = complex_linear(x, w)?.into_data();
/// y.assert_approx_eq::<f32>(&[[0.0, 3.0]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn complex_linear<const D: usize>(x: Tensor<D>, w: Tensor<3>) -> Result<Tensor<D>> {
    const OP: &str = "complex_linear";
    let inputs = channels(OP, "x", &x.dims())?;
    check_matrix(OP, "w", &w.dims(), &[w.dims()[0], inputs, 2])?;
    let [y] = run(ComplexLinear, [x.into_dispatch(), w.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

/// `(A s) t/√(|t|² + ε²)` with `t = C y` and `s = √(|y|² + ε²)`, along the channels of `y` (`[…, inputs, 2]`): their
/// magnitudes mixed by the real `magnitudes`, `A` (`[outputs, inputs]`), their directions by the complex `directions`,
/// `C` (`[outputs, inputs, 2]`). `epsilon` is the magnitude below which a channel fades. Differentiable in all three.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes do not belong together, [`Error::Length`] for no inputs, [`Error::Value`] for an
/// `epsilon` that is not above zero.
pub fn phase_mix<const D: usize>(
    y: Tensor<D>,
    magnitudes: Tensor<2>,
    directions: Tensor<3>,
    epsilon: f64,
) -> Result<Tensor<D>> {
    const OP: &str = "phase_mix";
    let inputs = channels(OP, "y", &y.dims())?;
    let outputs = magnitudes.dims()[0];
    check_matrix(OP, "magnitudes", &magnitudes.dims(), &[outputs, inputs])?;
    check_matrix(OP, "directions", &directions.dims(), &[outputs, inputs, 2])?;
    check_epsilon(OP, epsilon)?;
    let operands = [y.into_dispatch(), magnitudes.into_dispatch(), directions.into_dispatch()];
    let [z] = run(PhaseMix { epsilon }, operands, [])?;
    Ok(Tensor::from_dispatch(z))
}

/// `w_j z_j/√(mean |z|² + ε)` along the channels of `z` (`[…, n, 2]`): phases stay. `w` is real, of the rank of the
/// elements and 1 on every axis that shares it. Differentiable in both.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes do not belong together, [`Error::Length`] for no channels, [`Error::Value`] for an
/// `epsilon` that is not above zero.
pub fn complex_rms_norm<const D: usize, const E: usize>(
    z: Tensor<D>,
    w: Tensor<E>,
    epsilon: f64,
) -> Result<Tensor<D>> {
    const OP: &str = "complex_rms_norm";
    channels(OP, "z", &z.dims())?;
    check_shared(OP, "w", &z.dims(), &w.dims())?;
    check_epsilon(OP, epsilon)?;
    let [y] = run(ComplexRmsNorm { epsilon }, [z.into_dispatch(), w.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

pub(crate) fn check_epsilon(op: &'static str, epsilon: f64) -> Result<()> {
    if epsilon.is_finite() && epsilon >= f64::from(f32::MIN_POSITIVE) {
        return Ok(());
    }
    let expected = "a normal number above zero";
    Err(Error::Value { op, argument: "epsilon", expected, found: epsilon })
}
