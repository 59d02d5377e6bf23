//! The cross-entropy of bytes, as one operation.
//!
//! `mean_i (ln Σ_c e^(x_ic) − x_i,t(i))` for rows `x_i` of logits and their targets `t(i)`, in nats. The value has an
//! error of a few roundings of 1 or of the largest difference of two logits in a row, whatever the driver's logarithm
//! is. A row with a NaN or with +∞, and one of nothing but −∞, makes it NaN, and the gradient of that row.

#[cfg(feature = "flex")]
use burn::backend::{Flex, flex::FlexTensor};
use burn::{
    backend::{
        Backend, TensorMetadata, get_or_init_device_settings,
        tensor::{BoolTensor, FloatTensor, IntTensor},
    },
    tensor::{IndexingUpdateOp, Int, Tensor, TensorData},
};
#[cfg(feature = "flex")]
use rayon::prelude::*;
use wavecube_core::{Error, Result};

use crate::operation::{Kept, Op, Operation, run};
#[cfg(feature = "flex")]
use crate::{
    flex::{numbers, slice, tensor},
    host::words,
    rows::{cross_entropy_row, cross_entropy_row_vjp, rows_a_task},
};

/// `[1]` from logits `[rows, classes]` and targets `[rows, 1]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrossEntropy;

impl Operation<1, 1, 1> for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    const COMPLEX: [bool; 1] = [false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, _: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [vec![1]]
    }

    fn plain<B: Backend>(
        &self,
        [logits]: [FloatTensor<B>; 1],
        [targets]: [IntTensor<B>; 1],
    ) -> [FloatTensor<B>; 1] {
        [plain_cross_entropy::<B>(logits, targets)]
    }

    #[cfg(feature = "flex")]
    fn flex(
        &self,
        [logits]: [&FlexTensor; 1],
        [targets]: [&FlexTensor; 1],
    ) -> Option<[FlexTensor; 1]> {
        let logits = numbers(logits)?;
        let [rows, classes] = logits.shape().dims();
        let targets = words::<Flex>(targets.clone());
        let task = rows_a_task(classes);
        // Summed in the order of the rows, whatever the threads.
        let sums: Vec<f64> = slice(&logits)
            .par_chunks(task * classes)
            .zip(targets.par_chunks(task))
            .map(|(logits, targets)| {
                let row = |(row, &target)| cross_entropy_row(row, target as usize);
                logits.chunks_exact(classes).zip(targets).map(row).sum()
            })
            .collect();
        let mean = sums.iter().sum::<f64>() / rows as f64;
        Some([tensor(vec![mean as f32], [1])])
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        Some(CrossEntropyVjp.into())
    }
}

/// The gradient of the logits, from these and that of the result, `[1]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrossEntropyVjp;

impl Operation<2, 1, 1> for CrossEntropyVjp {
    const NAME: &'static str = "cross_entropy_vjp";
    const COMPLEX: [bool; 2] = [false; 2];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [logits, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [logits.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [logits, grad]: [FloatTensor<B>; 2],
        [targets]: [IntTensor<B>; 1],
    ) -> [FloatTensor<B>; 1] {
        [plain_cross_entropy_vjp::<B>(logits, targets, grad)]
    }

    #[cfg(feature = "flex")]
    fn flex(
        &self,
        [logits, grad]: [&FlexTensor; 2],
        [targets]: [&FlexTensor; 1],
    ) -> Option<[FlexTensor; 1]> {
        let (logits, grad) = (numbers(logits)?, numbers(grad)?);
        let [rows, classes] = logits.shape().dims();
        let targets = words::<Flex>(targets.clone());
        let scale = slice(&grad)[0] / rows as f32;
        let task = rows_a_task(classes);
        let mut gradient = vec![0.0; rows * classes];
        gradient
            .par_chunks_mut(task * classes)
            .zip(slice(&logits).par_chunks(task * classes))
            .zip(targets.par_chunks(task))
            .for_each(|((gradient, logits), targets)| {
                let rows = gradient.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
                for ((gradient, logits), &target) in rows.zip(targets) {
                    cross_entropy_row_vjp(logits, target as usize, scale, gradient);
                }
            });
        Some([tensor(gradient, [rows, classes])])
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        None
    }
}

/// The rows that have no distribution: `[rows, 1]`.
fn bad_rows<B: Backend>(logits: FloatTensor<B>, most: FloatTensor<B>) -> BoolTensor<B> {
    let settings = get_or_init_device_settings::<B>(&logits.device());
    let nan = B::bool_any_dim(B::float_is_nan(logits, settings.bool_dtype), 1);
    // −∞ everywhere, or +∞ somewhere; a NaN that a driver's maximum skips is in the other.
    let infinite =
        B::float_equal_elem(B::float_abs(most), f32::INFINITY.into(), settings.bool_dtype);
    B::bool_or(nan, infinite)
}

/// `x`, and NaN in the rows of `bad`.
fn marked<B: Backend>(x: FloatTensor<B>, bad: BoolTensor<B>) -> FloatTensor<B> {
    let (shape, device) = (x.shape(), x.device());
    let data = TensorData::new(vec![f32::NAN], [1, 1]).convert_dtype(x.dtype());
    let nan = B::float_expand(B::float_from_data(data, &device), shape.clone());
    B::float_mask_where(x, B::bool_expand(bad, shape), nan)
}

/// Logits relative to the largest of their rows, their exponentials, the sums of those, and the rows without a
/// distribution.
fn parts<B: Backend>(logits: FloatTensor<B>) -> ([FloatTensor<B>; 3], BoolTensor<B>) {
    let most = B::float_max_dim(logits.clone(), 1);
    let bad = bad_rows::<B>(logits.clone(), most.clone());
    let shifted = B::float_sub(logits, most);
    let exponentials = B::float_exp(shifted.clone());
    let sums = B::float_sum_dim(exponentials.clone(), 1);
    ([shifted, exponentials, sums], bad)
}

/// The logarithm of numbers that are not below 1: the driver's, and that of what it leaves, `s e^(−y)`, which is close
/// to 1: `ln r ≈ 2 (r − 1)/(r + 1)`, with an error of `(r − 1)³/12`.
fn logarithm<B: Backend>(s: FloatTensor<B>) -> FloatTensor<B> {
    let first = B::float_log(s.clone());
    let rest = B::float_mul(s, B::float_exp(B::float_neg(first.clone())));
    let below = B::float_add_scalar(rest.clone(), 1.0.into());
    let above = B::float_mul_scalar(B::float_add_scalar(rest, (-1.0).into()), 2.0.into());
    B::float_add(first, B::float_div(above, below))
}

fn plain_cross_entropy<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
) -> FloatTensor<B> {
    let ([shifted, _, sums], bad) = parts::<B>(logits);
    let nats = B::float_sub(logarithm::<B>(sums), B::float_gather(1, shifted, targets));
    B::float_mean(marked::<B>(nats, bad))
}

fn plain_cross_entropy_vjp<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let rows = logits.shape()[0];
    let ([_, exponentials, sums], bad) = parts::<B>(logits);
    let likely = B::float_div(exponentials, sums);
    let data = TensorData::new(vec![-1.0_f32; rows], [rows, 1]).convert_dtype(likely.dtype());
    let minus = B::float_from_data(data, &likely.device());
    let by_logit = B::float_scatter(1, likely, targets, minus, IndexingUpdateOp::Add);
    let share =
        B::float_mul_scalar(B::float_reshape(grad, [1, 1].into()), (1.0 / rows as f64).into());
    marked::<B>(B::float_mul(by_logit, share), bad)
}

/// The mean cross-entropy in nats of `targets` (`[rows]`) by `logits` (`[rows, classes]`), differentiable in the
/// logits: `[1]`.
///
/// # Errors
///
/// [`Error::Length`] for no rows or no classes, or for another number of targets. Targets must be classes: that is not
/// looked at.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use wavecube_burn::cross_entropy;
///
/// let device = Device::flex();
/// let logits = Tensor::<2>::from_data([[0.0, 0.0], [3.0_f32.ln(), 0.0]], &device);
/// let targets = Tensor::<1, Int>::from_data([1, 0], &device);
/// // ln 2 and ln (4/3).
/// let nats = cross_entropy(logits, targets)?.into_data();
/// nats.assert_approx_eq::<f32>(&[0.490_414_6].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Result<Tensor<1>> {
    const OP: &str = "cross_entropy";
    let [rows, classes] = logits.dims();
    for (argument, found) in [("logits", rows), ("classes", classes)] {
        if found == 0 {
            return Err(Error::Length { op: OP, argument, expected: "at least 1", found });
        }
    }
    let found = targets.dims()[0];
    if found != rows {
        let expected = "as many as there are rows of logits";
        return Err(Error::Length { op: OP, argument: "targets", expected, found });
    }
    let targets = targets.reshape([rows, 1]).into_dispatch();
    let [nats] = run(CrossEntropy, [logits.into_dispatch()], [targets])?;
    Ok(Tensor::from_dispatch(nats))
}
