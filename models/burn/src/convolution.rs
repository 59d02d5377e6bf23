//! Causal convolutions of Burn tensors, along the complex axis of `[.., n, 2]`.

use std::sync::Arc;

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
use cubecl::server::Handle;
use num_complex::Complex64;
use rustfft::{Fft, FftPlanner};
use wavecube_core::{Error, Result, fft::padded_len};

use crate::{
    host::{interleaved, pairs, upload},
    operation::{Kept, Op, Operation, run},
};

/// `y_t = Σ_{s ≤ t} h_{t−s} x_s` for `x` (`[batch, channels, n, 2]`) and a filter `h` a channel
/// (`[1, channels, taps, 2]`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausalConvolution;

impl Operation<2, 0, 1> for CausalConvolution {
    const NAME: &'static str = "causal_convolution";
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
        Ok([wavecube::causal_convolution(x, h, -1)?])
    }

    fn plain<B: Backend>(
        &self,
        [x, h]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [plain_convolution::<B>(&x, &h)]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(CausalConvolutionVjp.into())
    }
}

/// The gradients of `x` and `h`, from these and the gradient of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausalConvolutionVjp;

impl Operation<3, 0, 2> for CausalConvolutionVjp {
    const NAME: &'static str = "causal_convolution_vjp";
    const COMPLEX: [bool; 3] = [true; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, h, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [x.to_vec(), h.to_vec()]
    }

    fn kernel(
        &self,
        [x, h, grad]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let by_x = wavecube::causal_convolution_vjp(grad, h, -1)?;
        let by_h = wavecube::causal_convolution_filter_vjp(x, grad, h.shape(), -1)?;
        Ok([by_x, by_h])
    }

    fn plain<B: Backend>(
        &self,
        [x, h, grad]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        plain_convolution_vjp::<B>(&x, &h, &grad).into()
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

/// The transforms of lines that are padded so that nothing wraps around.
struct Padded {
    len: usize,
    forward: Arc<dyn Fft<f64>>,
    inverse: Arc<dyn Fft<f64>>,
}

impl Padded {
    fn new(points: usize) -> Self {
        let len = padded_len(points);
        let mut planner = FftPlanner::new();
        Self { len, forward: planner.plan_fft_forward(len), inverse: planner.plan_fft_inverse(len) }
    }

    fn spectrum(&self, line: &[Complex64]) -> Vec<Complex64> {
        let mut padded = line.to_vec();
        padded.resize(self.len, Complex64::ZERO);
        self.forward.process(&mut padded);
        padded
    }

    /// The first `len` points of the line that has this spectrum.
    fn line(&self, mut spectrum: Vec<Complex64>, len: usize) -> Vec<Complex64> {
        self.inverse.process(&mut spectrum);
        spectrum.truncate(len);
        spectrum.iter().map(|value| value / self.len as f64).collect()
    }
}

fn products(a: &[Complex64], b: impl Iterator<Item = Complex64>) -> Vec<Complex64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

/// Channels, points and taps.
fn sizes<B: Backend>(x: &FloatTensor<B>, h: &FloatTensor<B>) -> [usize; 3] {
    let (x, h) = (x.shape(), h.shape());
    [x[1], x[2], h[2]]
}

/// The spectra of the filters, lags beyond the signal left out.
fn spectra(padded: &Padded, h: &[Complex64], taps: usize, n: usize) -> Vec<Vec<Complex64>> {
    h.chunks_exact(taps).map(|filter| padded.spectrum(&filter[..taps.min(n)])).collect()
}

fn plain_convolution<B: Backend>(x: &FloatTensor<B>, h: &FloatTensor<B>) -> FloatTensor<B> {
    let [channels, n, taps] = sizes::<B>(x, h);
    let padded = Padded::new(2 * n - 1);
    let filters = spectra(&padded, &pairs::<B>(h.clone()), taps, n);
    let lines = pairs::<B>(x.clone());
    let y = lines.chunks_exact(n).enumerate().flat_map(|(row, line)| {
        let filter = filters[row % channels].iter().copied();
        padded.line(products(&padded.spectrum(line), filter), n)
    });
    upload::<B>(x, interleaved(y))
}

fn plain_convolution_vjp<B: Backend>(
    x: &FloatTensor<B>,
    h: &FloatTensor<B>,
    grad: &FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [channels, n, taps] = sizes::<B>(x, h);
    let padded = Padded::new(2 * n - 1);
    let filters = spectra(&padded, &pairs::<B>(h.clone()), taps, n);
    let (lines, grads) = (pairs::<B>(x.clone()), pairs::<B>(grad.clone()));
    let mut by_x = Vec::with_capacity(lines.len());
    let mut sums = vec![vec![Complex64::ZERO; padded.len]; channels];
    for (row, (line, grad)) in lines.chunks_exact(n).zip(grads.chunks_exact(n)).enumerate() {
        let grad = padded.spectrum(grad);
        let filter = filters[row % channels].iter().map(Complex64::conj);
        by_x.extend(padded.line(products(&grad, filter), n));
        let line = padded.spectrum(line);
        for (sum, (grad, line)) in sums[row % channels].iter_mut().zip(grad.iter().zip(&line)) {
            *sum += grad * line.conj();
        }
    }
    let by_h = sums.into_iter().flat_map(|sum| {
        let mut gradient = padded.line(sum, taps.min(n));
        gradient.resize(taps, Complex64::ZERO);
        gradient
    });
    (upload::<B>(x, interleaved(by_x)), upload::<B>(h, interleaved(by_h)))
}

/// `y_t = Σ_{s ≤ t} h_{t−s} x_s` for every line of `x` (`[batch, channels, n, 2]`) and the filter of its
/// channel in `h` (`[channels, taps, 2]`), complex, differentiable in both. Lags beyond the line have no
/// effect.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes do not belong together, [`Error::Length`] for no points or no taps.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::causal_convolution;
///
/// let device = Device::flex();
/// let x = Tensor::<4>::from_data([[[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]]], &device);
/// let h = Tensor::<3>::from_data([[[1.0, 0.0], [0.0, 1.0]]], &device);
/// let y = causal_convolution(x, h)?.into_data();
/// y.assert_approx_eq::<f32>(&[[[[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn causal_convolution(x: Tensor<4>, h: Tensor<3>) -> Result<Tensor<4>> {
    const OP: &str = "causal_convolution";
    let [batch, channels, n, _] = x.dims();
    let taps = h.dims()[1];
    for (argument, expected, found) in [
        ("x", vec![batch, channels, n, 2], x.dims().to_vec()),
        ("h", vec![channels, taps, 2], h.dims().to_vec()),
    ] {
        if found != expected {
            return Err(Error::Shape { op: OP, argument, expected, found });
        }
    }
    for (argument, found) in [("x", n), ("h", taps)] {
        if found == 0 {
            return Err(Error::Length { op: OP, argument, expected: "at least 1", found });
        }
    }
    let h: Tensor<4> = h.unsqueeze();
    let [y] = run(CausalConvolution, [x.into_dispatch(), h.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}
