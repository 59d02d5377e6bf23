//! A filter of the spectrum: there, through it, and back.

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
use wavecube_core::{Error, Result};

use crate::{
    host::{interleaved, pairs, upload},
    maps::{check_pairs, shared},
    operation::{Kept, Op, Operation, run},
};

/// `F⁻¹ h F x` along the last axis of `x` (`[.., n, 2]`), with `h` of the same rank and 1 on every batch axis that
/// shares it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpectralFilter;

/// The spectra of all lines of `n` points.
fn spectra(mut lines: Vec<Complex64>, n: usize) -> Vec<Complex64> {
    FftPlanner::new().plan_fft_forward(n).process(&mut lines);
    lines
}

/// The lines that have these spectra.
fn lines(mut spectra: Vec<Complex64>, n: usize) -> Vec<Complex64> {
    FftPlanner::new().plan_fft_inverse(n).process(&mut spectra);
    spectra.iter().map(|value| value / n as f64).collect()
}

/// `n`, and the place in the filter for every element of `x`.
fn places<B: Backend>(x: &FloatTensor<B>, h: &FloatTensor<B>) -> (usize, Vec<usize>) {
    let (x, h) = (x.shape(), h.shape());
    let axes = x.len() - 1;
    (x[axes - 1], shared(&x[..axes], &h[..axes]).collect())
}

impl Operation<2, 0, 1> for SpectralFilter {
    const NAME: &'static str = "spectral_filter";
    const COMPLEX: [bool; 2] = [true; 2];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn kernel(
        &self,
        [x, h]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::spectral_filter(x, &[h], -1)?])
    }

    fn plain<B: Backend>(
        &self,
        [x, h]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let (n, places) = places::<B>(&x, &h);
        let h = pairs::<B>(h);
        let spectrum = spectra(pairs::<B>(x.clone()), n);
        let passed = spectrum.into_iter().zip(places).map(|(value, at)| value * h[at]).collect();
        [upload::<B>(&x, interleaved(lines(passed, n)))]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(SpectralFilterVjp.into())
    }
}

/// The gradients of `x` and `h`, from these and the gradient of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpectralFilterVjp;

impl Operation<3, 0, 2> for SpectralFilterVjp {
    const NAME: &'static str = "spectral_filter_vjp";
    const COMPLEX: [bool; 3] = [true; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, h, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [x.to_vec(), h.to_vec()]
    }

    fn kernel(
        &self,
        [x, h, g]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let by_x = wavecube::spectral_filter_vjp(g, &[h], -1)?;
        Ok([by_x, wavecube::spectral_filter_table_vjp(x, g, &[], h.shape(), -1)?])
    }

    fn plain<B: Backend>(
        &self,
        [x, h, g]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        let (n, places) = places::<B>(&x, &h);
        let filter = pairs::<B>(h.clone());
        let signal = spectra(pairs::<B>(x.clone()), n);
        let arriving = spectra(pairs::<B>(g), n);
        let mut by_h = vec![Complex64::ZERO; filter.len()];
        let mut back = Vec::with_capacity(arriving.len());
        for ((x, g), at) in signal.into_iter().zip(arriving).zip(places) {
            by_h[at] += x.conj() * g / n as f64;
            back.push(g * filter[at].conj());
        }
        [upload::<B>(&x, interleaved(lines(back, n))), upload::<B>(&h, interleaved(by_h))]
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

/// `F⁻¹ h F x` along the last complex axis of `x` (`[.., n, 2]`): its frequencies through the complex filter `h`, of the
/// rank of `x`, with its length, 1 on every batch axis that shares it. Frequency `k` stands at index `k`, the negative
/// ones behind the positive. Lines are circles. Differentiable in both.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes do not belong together, [`Error::Length`] for no points.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::spectral_filter;
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_data([[1.0, 0.0], [3.0, 0.0]], &device);
/// // Only the mean passes.
/// let mean = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 0.0]], &device);
/// let y = spectral_filter(x, mean)?.into_data();
/// y.assert_approx_eq::<f32>(&[[2.0, 0.0], [2.0, 0.0]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn spectral_filter<const D: usize>(x: Tensor<D>, h: Tensor<D>) -> Result<Tensor<D>> {
    const OP: &str = "spectral_filter";
    let shape = x.dims();
    check_pairs(OP, "x", &shape)?;
    let n = shape[D - 2];
    if n == 0 {
        return Err(Error::Length { op: OP, argument: "x", expected: "at least 1", found: n });
    }
    let fits = h.dims()[D - 2..] == shape[D - 2..]
        && h.dims().iter().zip(&shape).all(|(&len, &own)| len == 1 || len == own);
    if !fits {
        let (expected, found) = (shape.to_vec(), h.dims().to_vec());
        return Err(Error::Shape { op: OP, argument: "h", expected, found });
    }
    let [y] = run(SpectralFilter, [x.into_dispatch(), h.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}
