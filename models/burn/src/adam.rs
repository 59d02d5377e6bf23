//! A step of `AdamW` (Loshchilov and Hutter, *Decoupled weight decay regularization*, 2019, algorithm 2).
//!
//! `m ← β₁ m + (1 − β₁) s g`, `v ← β₂ v + (1 − β₂) (s g)²` and
//! `p ← (1 − ηλ) p − η (m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε)`, with one factor `s` of all gradients, by which they are
//! clipped.

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
#[cfg(feature = "flex")]
use rayon::prelude::*;
use wavecube_core::{Error, Result};

use crate::operation::{Op, Operation, run};
#[cfg(feature = "flex")]
use crate::{
    flex::{numbers, slice, tensor},
    rows::{AdamRow, TASK, adam_row},
};

/// What a step of [`adam_w`] is by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// `η`.
    pub rate: f64,
    /// `λ`.
    pub weight_decay: f64,
    /// `β₁` and `β₂`.
    pub betas: [f64; 2],
    /// `ε`.
    pub epsilon: f64,
    /// `t`, 1 for the first step.
    pub time: usize,
}

impl AdamStep {
    /// `1/(1 − βᵗ)` of both moments.
    fn corrections(&self) -> [f64; 2] {
        self.betas.map(|beta| 1.0 / (1.0 - beta.powi(self.time as i32)))
    }
}

/// Parameters and both moments, from these, the gradients and their factor `[1]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamW(AdamStep);

impl Operation<5, 0, 3> for AdamW {
    const NAME: &'static str = "adam_w";
    const COMPLEX: [bool; 5] = [false; 5];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [p, ..]: [&[usize]; 5]) -> [Vec<usize>; 3] {
        [p.to_vec(), p.to_vec(), p.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [p, m, v, g, factor]: [FloatTensor<B>; 5],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 3] {
        let AdamStep { rate, weight_decay, betas: [first, second], epsilon, .. } = self.0;
        let [by_first, by_second] = self.0.corrections();
        let times = |x: FloatTensor<B>, factor: f64| B::float_mul_scalar(x, factor.into());
        let g = B::float_mul(g, factor);
        let square = B::float_mul(g.clone(), g.clone());
        let m = B::float_add(times(m, first), times(g, 1.0 - first));
        let v = B::float_add(times(v, second), times(square, 1.0 - second));
        let root = B::float_sqrt(times(v.clone(), by_second));
        let change = B::float_div(
            times(m.clone(), rate * by_first),
            B::float_add_scalar(root, epsilon.into()),
        );
        [B::float_sub(times(p, 1.0 - rate * weight_decay), change), m, v]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, operands: [&FlexTensor; 5], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 3]> {
        let [p, m, v, g, factor] = operands.map(numbers);
        let (p, m, v, g, factor) = (p?, m?, v?, g?, slice(&factor?)[0]);
        let AdamStep { rate, weight_decay, betas, epsilon, .. } = self.0;
        let [by_first, by_second] = self.0.corrections();
        let row = AdamRow {
            factor,
            betas: betas.map(|beta| beta as f32),
            rest: betas.map(|beta| (1.0 - beta) as f32),
            keep: (1.0 - rate * weight_decay) as f32,
            rate: (rate * by_first) as f32,
            by_second: by_second as f32,
            epsilon: epsilon as f32,
        };
        let mut out = [&p, &m, &v].map(|x| slice(x).to_vec());
        let [p_out, m_out, v_out] = &mut out;
        let moments = m_out.par_chunks_mut(TASK).zip(v_out.par_chunks_mut(TASK));
        let parts = p_out.par_chunks_mut(TASK).zip(moments).zip(slice(&g).par_chunks(TASK));
        parts.for_each(|((p, (m, v)), g)| adam_row(p, m, v, g, row));
        Some(out.map(|values| tensor(values, p.shape())))
    }

    fn vjp(&self, _: [&[usize]; 5]) -> Option<Op> {
        None
    }
}

/// One step: the parameters, and the first and second moments, from these and the gradients, which are multiplied by
/// `factor`. All but that have one shape; moments of zeros are those before the first step. It is not differentiable.
///
/// # Errors
///
/// [`Error::Shape`] when the shapes differ, [`Error::Length`] for a `time` of 0.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{AdamStep, adam_w};
///
/// let device = Device::flex();
/// let [p, g, zeros, one] =
///     [[3.0], [0.5], [0.0], [1.0]].map(|x| Tensor::<1>::from_data(x, &device));
/// let step =
///     AdamStep { rate: 0.1, weight_decay: 0.0, betas: [0.9, 0.999], epsilon: 1e-8, time: 1 };
/// let [p, ..] = adam_w(p, [zeros.clone(), zeros], g, one, step)?;
/// // The first step is as long as the rate.
/// p.into_data().assert_approx_eq::<f32>(&[2.9].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn adam_w(
    parameters: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    gradients: Tensor<1>,
    factor: Tensor<1>,
    step: AdamStep,
) -> Result<[Tensor<1>; 3]> {
    const OP: &str = "adam_w";
    let dims = parameters.dims();
    let others = [("first", &first), ("second", &second), ("gradients", &gradients)];
    for (argument, found, expected) in others
        .map(|(argument, tensor)| (argument, tensor.dims(), dims))
        .into_iter()
        .chain([("factor", factor.dims(), [1])])
    {
        if found != expected {
            let (expected, found) = (expected.to_vec(), found.to_vec());
            return Err(Error::Shape { op: OP, argument, expected, found });
        }
    }
    if step.time == 0 {
        return Err(Error::Length { op: OP, argument: "time", expected: "at least 1", found: 0 });
    }
    let operands = [parameters, first, second, gradients, factor].map(Tensor::into_dispatch);
    Ok(run(AdamW(step), operands, [])?.map(Tensor::from_dispatch))
}
