//! Fourier transforms of Burn tensors, along the complex axis of `[.., n, 2]`.

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
use cubecl::server::Handle;
use num_complex::Complex64;
use rustfft::FftPlanner;
use wavecube_core::{
    Error, Result,
    fft::{Direction, Normalization},
};

use crate::{
    dense,
    host::{interleaved, pairs, upload},
    maps::check_pairs,
    matrix,
    operation::{Op, Operation, run},
};

/// Complex to complex, along each of `axes`. The direction is the sign of the exponent alone: the normalisation says
/// where the factor goes.
#[derive(Debug, Clone)]
pub(crate) struct Fft {
    axes: Vec<usize>,
    direction: Direction,
    normalization: Normalization,
}

impl Operation<1, 0, 1> for Fft {
    const NAME: &'static str = "fft";
    const COMPLEX: [bool; 1] = [true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn kernel(
        &self,
        [x]: [&wavecube::Tensor; 1],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        let axes: Vec<isize> = self.axes.iter().map(|axis| axis.cast_signed()).collect();
        Ok([wavecube::fftn(x, &axes, self.direction, self.normalization)?])
    }

    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let shape = x.shape();
        let mut elements = pairs::<B>(x.clone());
        for &axis in &self.axes {
            self.transform(
                &mut elements,
                shape[axis],
                shape[axis + 1..shape.rank() - 1].iter().product(),
            );
        }
        [upload::<B>(&x, interleaved(elements))]
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        let (direction, normalization) = (self.direction.reversed(), self.normalization.adjoint());
        Some(Self { axes: self.axes.clone(), direction, normalization }.into())
    }
}

impl Fft {
    /// Every line of `n` elements `stride` apart, in `f64`.
    fn transform(&self, elements: &mut [Complex64], n: usize, stride: usize) {
        let mut planner = FftPlanner::new();
        let plan = match self.direction {
            Direction::Forward => planner.plan_fft_forward(n),
            Direction::Inverse => planner.plan_fft_inverse(n),
        };
        let scale = self.normalization.scale(self.direction, n);
        let mut line = vec![Complex64::ZERO; n];
        for block in elements.chunks_exact_mut(n * stride) {
            for first in 0..stride {
                for (value, element) in line.iter_mut().zip(block[first..].iter().step_by(stride)) {
                    *value = *element;
                }
                plan.process(&mut line);
                for (value, element) in line.iter().zip(block[first..].iter_mut().step_by(stride)) {
                    *element = value * scale;
                }
            }
        }
    }
}

/// Real `[.., n]` to complex `[.., n/2 + 1, 2]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rfft(Normalization);

impl Operation<1, 0, 1> for Rfft {
    const NAME: &'static str = "rfft";
    const COMPLEX: [bool; 1] = [false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [half_spectrum_shape(x)]
    }

    fn kernel(
        &self,
        [x]: [&wavecube::Tensor; 1],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::rfft(x, -1, self.0)?])
    }

    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let shape = x.shape();
        let n = shape[shape.rank() - 1];
        let out = half_spectrum_shape(&shape);
        [dense::apply::<B>(x, rfft_table(n, self.0), [n, n / 2 * 2 + 2], false, out)]
    }

    fn vjp(&self, [x]: [&[usize]; 1]) -> Option<Op> {
        Some(RfftVjp { n: x[x.len() - 1], normalization: self.0 }.into())
    }
}

/// The adjoint of [`Rfft`]: `[.., n/2 + 1, 2]` to `[.., n]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RfftVjp {
    n: usize,
    normalization: Normalization,
}

impl Operation<1, 0, 1> for RfftVjp {
    const NAME: &'static str = "rfft_vjp";
    const COMPLEX: [bool; 1] = [true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [grad]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [signal_shape(grad, self.n)]
    }

    fn kernel(
        &self,
        [grad]: [&wavecube::Tensor; 1],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::rfft_vjp(grad, self.n, -1, self.normalization)?])
    }

    fn plain<B: Backend>(
        &self,
        [grad]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let Self { n, normalization } = *self;
        let out = signal_shape(&grad.shape(), n);
        [dense::apply::<B>(grad, rfft_table(n, normalization), [n, n / 2 * 2 + 2], true, out)]
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        Some(Rfft(self.normalization).into())
    }
}

/// Complex `[.., n/2 + 1, 2]` to real `[.., n]`. The imaginary parts at frequency 0 (and `n/2`) have no effect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Irfft {
    n: usize,
    normalization: Normalization,
}

impl Operation<1, 0, 1> for Irfft {
    const NAME: &'static str = "irfft";
    const COMPLEX: [bool; 1] = [true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [signal_shape(x, self.n)]
    }

    fn kernel(
        &self,
        [x]: [&wavecube::Tensor; 1],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::irfft(x, self.n, -1, self.normalization)?])
    }

    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let Self { n, normalization } = *self;
        let out = signal_shape(&x.shape(), n);
        [dense::apply::<B>(x, irfft_table(n, normalization), [n / 2 * 2 + 2, n], false, out)]
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        Some(IrfftVjp(self.normalization).into())
    }
}

/// The adjoint of [`Irfft`]: `[.., n]` to `[.., n/2 + 1, 2]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IrfftVjp(Normalization);

impl Operation<1, 0, 1> for IrfftVjp {
    const NAME: &'static str = "irfft_vjp";
    const COMPLEX: [bool; 1] = [false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [grad]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [half_spectrum_shape(grad)]
    }

    fn kernel(
        &self,
        [grad]: [&wavecube::Tensor; 1],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::irfft_vjp(grad, -1, self.0)?])
    }

    fn plain<B: Backend>(
        &self,
        [grad]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let shape = grad.shape();
        let n = shape[shape.rank() - 1];
        let out = half_spectrum_shape(&shape);
        [dense::apply::<B>(grad, irfft_table(n, self.0), [n / 2 * 2 + 2, n], true, out)]
    }

    fn vjp(&self, [grad]: [&[usize]; 1]) -> Option<Op> {
        Some(Irfft { n: grad[grad.len() - 1], normalization: self.0 }.into())
    }
}

/// `[.., n]` to `[.., n/2 + 1, 2]`.
fn half_spectrum_shape(signal: &[usize]) -> Vec<usize> {
    let mut shape = signal.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = *last / 2 + 1;
    }
    shape.push(2);
    shape
}

/// `[.., m, 2]` to `[.., n]`.
fn signal_shape(spectrum: &[usize], n: usize) -> Vec<usize> {
    let mut shape = spectrum.to_vec();
    shape.pop();
    if let Some(last) = shape.last_mut() {
        *last = n;
    }
    shape
}

/// Real `[n, 2m]`: row `j`, columns `(re, im)` of frequency `k`.
fn rfft_table(n: usize, normalization: Normalization) -> Vec<f64> {
    let dft = matrix::dft(n, false, normalization.scale(Direction::Forward, n));
    let mut table = Vec::with_capacity(n * (n / 2 * 2 + 2));
    for j in 0..n {
        for k in 0..=n / 2 {
            let value = dft.entry(k, j);
            table.extend([value.re, value.im]);
        }
    }
    table
}

/// Real `[2m, n]`: the half spectrum with its mirrored half counted in.
fn irfft_table(n: usize, normalization: Normalization) -> Vec<f64> {
    let dft = matrix::dft(n, true, normalization.scale(Direction::Inverse, n));
    let mut table = Vec::with_capacity(n * (n / 2 * 2 + 2));
    for k in 0..=n / 2 {
        let alone = k == 0 || 2 * k == n;
        let weight = if alone { 1.0 } else { 2.0 };
        table.extend((0..n).map(|j| weight * dft.entry(k, j).re));
        table.extend((0..n).map(|j| if alone { 0.0 } else { -weight * dft.entry(k, j).im }));
    }
    table
}

fn complex_length<const D: usize>(op: &'static str, x: &Tensor<D>) -> Result<usize> {
    let shape = x.dims();
    if D < 2 || shape[D - 1] != 2 {
        let mut expected = shape[..D.saturating_sub(1)].to_vec();
        expected.push(2);
        return Err(Error::Shape { op, argument: "x", expected, found: shape.to_vec() });
    }
    at_least_one(op, shape[D - 2])
}

fn at_least_one(op: &'static str, n: usize) -> Result<usize> {
    if n == 0 {
        return Err(Error::Length { op, argument: "x", expected: "at least 1", found: n });
    }
    Ok(n)
}

/// The discrete Fourier transform of the complex tensor `x` (`[.., n, 2]`).
///
/// # Errors
///
/// [`Error::Shape`] when the last axis is not a pair, [`Error::Length`] for `n = 0`.
pub fn fft<const D: usize>(x: Tensor<D>, normalization: Normalization) -> Result<Tensor<D>> {
    complex_length("fft", &x)?;
    transformed(x, vec![D - 2], Direction::Forward, normalization)
}

/// The inverse discrete Fourier transform of the complex tensor `x` (`[.., n, 2]`).
///
/// # Errors
///
/// As for [`fft`].
pub fn ifft<const D: usize>(x: Tensor<D>, normalization: Normalization) -> Result<Tensor<D>> {
    complex_length("ifft", &x)?;
    transformed(x, vec![D - 2], Direction::Inverse, normalization)
}

/// The discrete Fourier transform along several axes of the complex tensor `x` (`[.., 2]`), or the inverse one: one after
/// the other, where they lie. `normalization` is that of every axis.
///
/// # Errors
///
/// As for [`fft`], along the axes; [`Error::Unsupported`] unless they are at least one, and each named once;
/// [`Error::Axis`] for one that is not there.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{Direction, Normalization, fftn};
///
/// // A row of ones in a plane: one column of its spectrum.
/// let x = Tensor::<3>::from_data([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]], &Device::flex());
/// let y = fftn(x, &[0, 1], Direction::Forward, Normalization::Backward)?.into_data();
/// let column = [[[2.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]];
/// y.assert_approx_eq::<f32>(&column.into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn fftn<const D: usize>(
    x: Tensor<D>,
    axes: &[usize],
    direction: Direction,
    normalization: Normalization,
) -> Result<Tensor<D>> {
    const OP: &str = "fftn";
    check_pairs(OP, "x", &x.dims())?;
    let rank = D - 1;
    for (at, &axis) in axes.iter().enumerate() {
        if axis >= rank {
            return Err(Error::Axis { op: OP, rank, found: axis.cast_signed() });
        }
        at_least_one(OP, x.dims()[axis])?;
        if axes[..at].contains(&axis) {
            let reason = "name every axis once";
            return Err(Error::Unsupported { op: OP, argument: "axes", reason });
        }
    }
    if axes.is_empty() {
        let reason = "name at least one axis";
        return Err(Error::Unsupported { op: OP, argument: "axes", reason });
    }
    transformed(x, axes.to_vec(), direction, normalization)
}

fn transformed<const D: usize>(
    x: Tensor<D>,
    axes: Vec<usize>,
    direction: Direction,
    normalization: Normalization,
) -> Result<Tensor<D>> {
    let [y] = run(Fft { axes, direction, normalization }, [x.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

/// The transform of the real tensor `x` (`[.., n]`): the half spectrum `[.., n/2 + 1, 2]`, so `E`
/// is `D + 1`.
///
/// # Errors
///
/// [`Error::Length`] for `n = 0`; [`Error::Shape`] when `E` is not `D + 1`.
pub fn rfft<const D: usize, const E: usize>(
    x: Tensor<D>,
    normalization: Normalization,
) -> Result<Tensor<E>> {
    ranks::<E>("rfft", &x.dims(), D + 1)?;
    at_least_one("rfft", x.dims()[D - 1])?;
    let [y] = run(Rfft(normalization), [x.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

/// The real signal (`[.., n]`) of the half spectrum `x` (`[.., n/2 + 1, 2]`), so `E` is `D − 1`.
///
/// # Errors
///
/// [`Error::Shape`] when `x` does not end in `[n/2 + 1, 2]` or `E` is not `D − 1`;
/// [`Error::Length`] for `n = 0`.
pub fn irfft<const D: usize, const E: usize>(
    x: Tensor<D>,
    n: usize,
    normalization: Normalization,
) -> Result<Tensor<E>> {
    let shape = x.dims();
    ranks::<E>("irfft", &shape, D.saturating_sub(1))?;
    at_least_one("irfft", n)?;
    if D < 2 || shape[D - 2..] != [n / 2 + 1, 2] {
        return Err(Error::Shape {
            op: "irfft",
            argument: "x",
            expected: vec![n / 2 + 1, 2],
            found: shape.to_vec(),
        });
    }
    let [y] = run(Irfft { n, normalization }, [x.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

fn ranks<const E: usize>(op: &'static str, found: &[usize], expected: usize) -> Result<()> {
    if E != expected {
        return Err(Error::Shape {
            op,
            argument: "the rank of the result",
            expected: vec![expected],
            found: found.to_vec(),
        });
    }
    Ok(())
}
