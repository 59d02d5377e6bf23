//! The root-mean-square norm of rows (Zhang and Sennrich, *Root mean square layer normalization*, 2019, equation 4).
//!
//! `y = γ n` with `n = x ρ` and `ρ = (mean x² + ε)^(−1/2)`, from which `∂x = ρ (γ g − n · mean(γ g n))` and
//! `∂γ = Σ g n` over the rows. A row with a NaN or an infinity is NaN.

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, FloatDType, Tensor},
};
use cubecl::server::Handle;
#[cfg(feature = "flex")]
use rayon::prelude::*;
use wavecube_core::{Error, Result};

use crate::{
    dense::rows,
    mixing::check_epsilon,
    operation::{Kept, Op, Operation, run},
};
#[cfg(feature = "flex")]
use crate::{
    flex::{numbers, slice, tensor},
    rows::{normalised_row, normalised_row_vjp, rows_a_task},
};

/// `y` from `x` (`[…, n]`) and `γ` (`[n]`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RmsNorm {
    epsilon: f64,
}

impl Operation<2, 0, 1> for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const COMPLEX: [bool; 2] = [false; 2];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn kernel(
        &self,
        [x, gain]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([wavecube::rms_norm(x, &beside(gain, x)?, self.epsilon)?])
    }

    fn plain<B: Backend>(
        &self,
        [x, gain]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let (shape, dtype) = (x.shape(), x.dtype());
        let [x, gain] = [x, gain].map(wide::<B>);
        let (normal, _) = normalised::<B>(rows::<B>(x, gain.shape()[0]), self.epsilon);
        let y = B::float_mul(normal, row::<B>(gain));
        [B::float_cast(B::float_reshape(y, shape), dtype.into())]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x, gain]: [&FlexTensor; 2], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 1]> {
        let (x, gain) = (numbers(x)?, numbers(gain)?);
        let (n, gain) = (gain.shape()[0], slice(&gain));
        let mut y = vec![0.0; slice(&x).len()];
        let task = rows_a_task(n) * n;
        y.par_chunks_mut(task).zip(slice(&x).par_chunks(task)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
                normalised_row(x, gain, self.epsilon, y);
            }
        });
        Some([tensor(y, x.shape())])
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(RmsNormVjp(*self).into())
    }
}

/// Gains of the rank of what they multiply.
fn beside(gain: &wavecube::Tensor, x: &wavecube::Tensor) -> Result<wavecube::Tensor> {
    let mut shape = vec![1; x.shape().len()];
    shape[x.shape().len() - 1] = gain.shape()[0];
    gain.reshape(&shape)
}

/// The gradients of `x` and `γ`, from these and that of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RmsNormVjp(RmsNorm);

impl Operation<3, 0, 2> for RmsNormVjp {
    const NAME: &'static str = "rms_norm_vjp";
    const COMPLEX: [bool; 3] = [false; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, gain, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [x.to_vec(), gain.to_vec()]
    }

    fn kernel(
        &self,
        [x, gain, g]: [&wavecube::Tensor; 3],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let all = beside(gain, x)?;
        let [by_x, by_gain] = wavecube::rms_norm_vjp(x, &all, self.0.epsilon, g)?;
        Ok([by_x, by_gain.reshape(gain.shape())?])
    }

    fn plain<B: Backend>(
        &self,
        [x, gain, g]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        let (shape, dtypes) = (x.shape(), [x.dtype(), gain.dtype()]);
        let [x, gain, g] = [x, gain, g].map(wide::<B>);
        let n = gain.shape()[0];
        let (normal, root) = normalised::<B>(rows::<B>(x, n), self.0.epsilon);
        let g = rows::<B>(g, n);
        let along = B::float_mul(g.clone(), normal.clone());
        let by_gain = B::float_reshape(B::float_sum_dim(along.clone(), 0), [n].into());
        let mean = B::float_mean_dim(B::float_mul(along, row::<B>(gain.clone())), 1);
        let rest = B::float_sub(B::float_mul(g, row::<B>(gain)), B::float_mul(normal, mean));
        let by_x = B::float_reshape(B::float_mul(rest, root), shape);
        [B::float_cast(by_x, dtypes[0].into()), B::float_cast(by_gain, dtypes[1].into())]
    }

    #[cfg(feature = "flex")]
    fn flex(
        &self,
        [x, gain, g]: [&FlexTensor; 3],
        []: [&FlexTensor; 0],
    ) -> Option<[FlexTensor; 2]> {
        let (x, gain, g) = (numbers(x)?, numbers(gain)?, numbers(g)?);
        let (n, gain) = (gain.shape()[0], slice(&gain));
        let mut by_x = vec![0.0; slice(&x).len()];
        let task = rows_a_task(n) * n;
        let lines = slice(&x).par_chunks(task).zip(slice(&g).par_chunks(task));
        // Summed task by task, whatever the threads.
        let shares: Vec<Vec<f32>> = by_x
            .par_chunks_mut(task)
            .zip(lines)
            .map(|(by_x, (x, g))| {
                let mut by_gain = vec![0.0; n];
                let lines = x.chunks_exact(n).zip(g.chunks_exact(n));
                for (by_x, (x, g)) in by_x.chunks_exact_mut(n).zip(lines) {
                    normalised_row_vjp(x, gain, g, self.0.epsilon, by_x, &mut by_gain);
                }
                by_gain
            })
            .collect();
        let sum = |i: usize| shares.iter().map(|share| f64::from(share[i])).sum::<f64>() as f32;
        Some([tensor(by_x, x.shape()), tensor((0..n).map(sum).collect(), [n])])
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

/// In `f32` where the numbers have 16 bits.
fn wide<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    match x.dtype() {
        DType::F16 | DType::BF16 => B::float_cast(x, FloatDType::F32),
        _ => x,
    }
}

/// `[1, n]`.
fn row<B: Backend>(gain: FloatTensor<B>) -> FloatTensor<B> {
    let n = gain.shape()[0];
    B::float_reshape(gain, [1, n].into())
}

/// `n` and `ρ` (`[rows, 1]`) of the rows of `x` (`[rows, n]`), by way of what is left of a row beside its largest number,
/// whose squares do not overflow.
fn normalised<B: Backend>(x: FloatTensor<B>, epsilon: f64) -> (FloatTensor<B>, FloatTensor<B>) {
    let largest = B::float_max_dim(B::float_abs(x.clone()), 1);
    let shrink = B::float_recip(B::float_clamp_min(largest, 1.0.into()));
    let x = B::float_mul(x, shrink.clone());
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), 1);
    let added = B::float_mul_scalar(B::float_mul(shrink.clone(), shrink.clone()), epsilon.into());
    let root = B::float_recip(B::float_sqrt(B::float_add(mean, added)));
    (B::float_mul(x, root.clone()), B::float_mul(root, shrink))
}

/// `γ_j x_j/√(mean x² + ε)` along the last axis of `x` (`[…, n]`), with `gain` `γ` (`[n]`); differentiable in both. In
/// `f32` where `x` has 16 bits.
///
/// # Errors
///
/// [`Error::Shape`] when `gain` has not a number a channel, [`Error::Length`] for no channels, [`Error::Value`] for an
/// `epsilon` that is not a normal number above zero.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::rms_norm;
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_data([[1.0, 7.0]], &device);
/// let gain = Tensor::<1>::from_data([1.0, 2.0], &device);
/// let y = rms_norm(x, gain, 1e-6)?.into_data();
/// y.assert_approx_eq::<f32>(&[[0.2, 2.8]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn rms_norm<const D: usize>(x: Tensor<D>, gain: Tensor<1>, epsilon: f64) -> Result<Tensor<D>> {
    const OP: &str = "rms_norm";
    let n = x.dims()[D - 1];
    if gain.dims() != [n] {
        let (expected, found) = (vec![n], gain.dims().to_vec());
        return Err(Error::Shape { op: OP, argument: "gain", expected, found });
    }
    if n == 0 {
        return Err(Error::Length { op: OP, argument: "x", expected: "at least 1", found: 0 });
    }
    check_epsilon(OP, epsilon)?;
    let [y] = run(RmsNorm { epsilon }, [x.into_dispatch(), gain.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}
