//! Fourier transforms of Burn tensors, along the complex axis of `[.., n, 2]`.

use burn::{
    backend::{Backend, Dispatch, TensorMetadata, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use rustfft::FftPlanner;
use wavecube_core::{
    Error, Result,
    fft::{Direction, Normalization},
};

use super::{
    host::{interleaved, pairs, upload},
    matrix, plain,
};

/// Fourier transforms that a backend can run. `inverse` flips the sign of the exponent only: the
/// normalisation says where the factor goes.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda", feature = "cpu")),
    Flex,
    Autodiff,
    Fusion: cfg(feature = "fusion")
)]
pub trait FftBackend: Backend {
    /// Complex to complex, `[.., n, 2]` to the same shape.
    #[cfg_attr(feature = "fusion", fusion(dtype = x, shape = x))]
    fn fft(x: FloatTensor<Self>, inverse: bool, normalization: Normalization) -> FloatTensor<Self> {
        plain_fft::<Self>(&x, inverse, normalization)
    }

    /// Real to complex, `[.., n]` to `[.., n/2 + 1, 2]`.
    #[cfg_attr(feature = "fusion", fusion(dtype = x, shape = half_spectrum_shape(x)))]
    fn rfft(x: FloatTensor<Self>, normalization: Normalization) -> FloatTensor<Self> {
        plain_rfft::<Self>(x, normalization)
    }

    /// The adjoint of [`rfft`](Self::rfft): `[.., n/2 + 1, 2]` to `[.., n]`.
    #[cfg_attr(feature = "fusion", fusion(dtype = grad, shape = signal_shape(grad, *n)))]
    fn rfft_vjp(
        grad: FloatTensor<Self>,
        n: usize,
        normalization: Normalization,
    ) -> FloatTensor<Self> {
        plain_rfft_vjp::<Self>(grad, n, normalization)
    }

    /// Complex to real, the inverse of [`rfft`](Self::rfft): `[.., n/2 + 1, 2]` to `[.., n]`.
    ///
    /// The imaginary parts at frequency 0 (and `n/2`) are ignored.
    #[cfg_attr(feature = "fusion", fusion(dtype = x, shape = signal_shape(x, *n)))]
    fn irfft(x: FloatTensor<Self>, n: usize, normalization: Normalization) -> FloatTensor<Self> {
        plain_irfft::<Self>(x, n, normalization)
    }

    /// The adjoint of [`irfft`](Self::irfft): `[.., n]` to `[.., n/2 + 1, 2]`.
    #[cfg_attr(feature = "fusion", fusion(dtype = grad, shape = half_spectrum_shape(grad)))]
    fn irfft_vjp(grad: FloatTensor<Self>, normalization: Normalization) -> FloatTensor<Self> {
        plain_irfft_vjp::<Self>(grad, normalization)
    }
}

pub(super) fn plain_fft<B: Backend>(
    x: &FloatTensor<B>,
    inverse: bool,
    normalization: Normalization,
) -> FloatTensor<B> {
    let shape = x.shape();
    let n = shape[shape.rank() - 2];
    let direction = if inverse { Direction::Inverse } else { Direction::Forward };
    let mut planner = FftPlanner::new();
    let transform = if inverse { planner.plan_fft_inverse(n) } else { planner.plan_fft_forward(n) };
    let mut lines = pairs::<B>(x.clone());
    transform.process(&mut lines);
    let scale = normalization.scale(direction, n);
    upload::<B>(x, interleaved(lines.into_iter().map(|value| value * scale)))
}

pub(super) fn plain_rfft<B: Backend>(
    x: FloatTensor<B>,
    normalization: Normalization,
) -> FloatTensor<B> {
    let shape = x.shape();
    let n = shape[shape.rank() - 1];
    let out = half_spectrum_shape(&shape).to_vec();
    plain::apply::<B>(x, rfft_table(n, normalization), [n, n / 2 * 2 + 2], false, out)
}

pub(super) fn plain_rfft_vjp<B: Backend>(
    grad: FloatTensor<B>,
    n: usize,
    normalization: Normalization,
) -> FloatTensor<B> {
    let out = signal_shape(&grad.shape(), n).to_vec();
    plain::apply::<B>(grad, rfft_table(n, normalization), [n, n / 2 * 2 + 2], true, out)
}

pub(super) fn plain_irfft<B: Backend>(
    x: FloatTensor<B>,
    n: usize,
    normalization: Normalization,
) -> FloatTensor<B> {
    let out = signal_shape(&x.shape(), n).to_vec();
    plain::apply::<B>(x, irfft_table(n, normalization), [n / 2 * 2 + 2, n], false, out)
}

pub(super) fn plain_irfft_vjp<B: Backend>(
    grad: FloatTensor<B>,
    normalization: Normalization,
) -> FloatTensor<B> {
    let shape = grad.shape();
    let n = shape[shape.rank() - 1];
    let out = half_spectrum_shape(&shape).to_vec();
    plain::apply::<B>(grad, irfft_table(n, normalization), [n / 2 * 2 + 2, n], true, out)
}

/// `[.., n]` to `[.., n/2 + 1, 2]`.
fn half_spectrum_shape(signal: &burn::tensor::Shape) -> burn::tensor::Shape {
    let mut shape = signal.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = *last / 2 + 1;
    }
    shape.push(2);
    shape.into()
}

/// `[.., m, 2]` to `[.., n]`.
fn signal_shape(spectrum: &burn::tensor::Shape, n: usize) -> burn::tensor::Shape {
    let mut shape = spectrum.to_vec();
    shape.pop();
    if let Some(last) = shape.last_mut() {
        *last = n;
    }
    shape.into()
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
    let y = <Dispatch as FftBackend>::fft(x.into_dispatch(), false, normalization);
    Ok(Tensor::from_dispatch(y))
}

/// The inverse discrete Fourier transform of the complex tensor `x` (`[.., n, 2]`).
///
/// # Errors
///
/// As for [`fft`].
pub fn ifft<const D: usize>(x: Tensor<D>, normalization: Normalization) -> Result<Tensor<D>> {
    complex_length("ifft", &x)?;
    let y = <Dispatch as FftBackend>::fft(x.into_dispatch(), true, normalization);
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
    let y = <Dispatch as FftBackend>::rfft(x.into_dispatch(), normalization);
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
    let y = <Dispatch as FftBackend>::irfft(x.into_dispatch(), n, normalization);
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
