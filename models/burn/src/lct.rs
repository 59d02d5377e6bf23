//! Linear canonical transforms of Burn tensors, and their relatives.
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
use wavecube_core::{Error, Result};

use crate::{
    dense,
    operation::{Kept, Op, Operation, run},
};

mod plan;
mod transform;

pub use plan::{LctPlan, Parameters};

/// The transform of `x` along `axis`; the second operand, the parameters, receives its gradient alone.
#[derive(Debug, Clone)]
pub(crate) struct Lct {
    plan: LctPlan,
    axis: usize,
}

/// `shape` with another length along `axis`.
#[cfg(feature = "fusion")]
fn with_axis(shape: &[usize], axis: usize, len: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = len;
    shape
}

impl Operation<2, 0, 1> for Lct {
    const NAME: &'static str = "lct";
    const COMPLEX: [bool; 2] = [true, false];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [with_axis(x, self.axis, self.plan.outputs())]
    }

    fn kernel(
        &self,
        [x, _]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([self.plan.apply(x, self.axis.cast_signed())?])
    }

    fn plain<B: Backend>(
        &self,
        [x, _]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [dense::lct::<B>(x, &self.plan, self.axis)]
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(LctVjp(self.clone()).into())
    }
}

/// The gradients of `x` and of the parameters, from `x` and the gradient of the result.
#[derive(Debug, Clone)]
pub(crate) struct LctVjp(Lct);

impl Operation<2, 0, 2> for LctVjp {
    const NAME: &'static str = "lct_vjp";
    const COMPLEX: [bool; 2] = [true, true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, _]: [&[usize]; 2]) -> [Vec<usize>; 2] {
        [x.to_vec(), vec![self.0.plan.parameters()]]
    }

    fn kernel(
        &self,
        [x, grad]: [&wavecube::Tensor; 2],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 2]> {
        let Lct { plan, axis } = &self.0;
        let axis = axis.cast_signed();
        let by_x = plan.clone().adjoint().apply(grad, axis)?;
        // y = Aᴴx pairs with g as x pairs with A g: the adjoint swaps the two.
        let (from, to) = if plan.adjoint { (grad, x) } else { (x, grad) };
        Ok([by_x, plan.transform.gradient(from, to, &plan.jacobian, axis)?])
    }

    fn plain<B: Backend>(
        &self,
        [x, grad]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        dense::lct_vjp::<B>(x, grad, &self.0.plan, self.0.axis).into()
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        None
    }
}

/// The same of parameters that are not learned: its gradient is the adjoint alone.
#[derive(Debug, Clone)]
pub(crate) struct LctFixed(Lct);

impl Operation<1, 0, 1> for LctFixed {
    const NAME: &'static str = "lct_fixed";
    const COMPLEX: [bool; 1] = [true];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x]: [&[usize]; 1]) -> [Vec<usize>; 1] {
        [with_axis(x, self.0.axis, self.0.plan.outputs())]
    }

    fn kernel(
        &self,
        [x]: [&wavecube::Tensor; 1],
        []: [&Handle; 0],
    ) -> Result<[wavecube::Tensor; 1]> {
        Ok([self.0.plan.apply(x, self.0.axis.cast_signed())?])
    }

    fn plain<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [dense::lct::<B>(x, &self.0.plan, self.0.axis)]
    }

    fn vjp(&self, _: [&[usize]; 1]) -> Option<Op> {
        let Lct { plan, axis } = self.0.clone();
        Some(Self(Lct { plan: plan.adjoint(), axis }).into())
    }
}

/// Accepts pairs with the plan's length along `axis`.
fn check_line(shape: &[usize], plan: &LctPlan, axis: usize) -> Result<()> {
    let fits = axis + 1 < shape.len()
        && shape[axis] == plan.n()
        && shape.last().is_some_and(|&pair| pair == 2);
    if fits {
        return Ok(());
    }
    let mut expected = shape.to_vec();
    match expected.as_mut_slice() {
        [.., last] if shape.len() > axis + 1 => {
            *last = 2;
            expected[axis] = plan.n();
        }
        _ => expected = vec![plan.n(), 2],
    }
    Err(Error::Shape { op: "lct", argument: "x", expected, found: shape.to_vec() })
}

fn learned<const D: usize>(
    x: Tensor<D>,
    parameters: Tensor<1>,
    plan: &LctPlan,
    axis: usize,
) -> Result<Tensor<D>> {
    const OP: &str = "lct";
    check_line(&x.dims(), plan, axis)?;
    if plan.parameters() == 0 {
        let reason = "it has no parameters: see `lct_fixed`";
        return Err(Error::Unsupported { op: OP, argument: "plan", reason });
    }
    if parameters.dims() != [plan.parameters()] {
        let (expected, found) = (vec![plan.parameters()], parameters.dims().to_vec());
        return Err(Error::Shape { op: OP, argument: "parameters", expected, found });
    }
    let operation = Lct { plan: plan.clone(), axis };
    let [y] = run(operation, [x.into_dispatch(), parameters.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

/// Applies `plan` to the complex tensor `x` (`[.., n, 2]`), differentiable in `x` and `parameters`.
///
/// `parameters` must hold the values the plan was made from ([`parameters_to_host`]).
///
/// # Errors
///
/// [`Error::Shape`] when `x` does not end in `[plan.n(), 2]` or `parameters` has not
/// the length of [`LctPlan::parameters`]; [`Error::Unsupported`] for a plan that has none.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{LctPlan, lct};
///
/// // One frequency of an impulse at 1, e^{−2πif}, and how the sum of its parts changes with f.
/// let device = Device::flex().autodiff();
/// let x = Tensor::<2>::from_data([[0.0, 0.0], [1.0, 0.0]], &device);
/// let frequency = Tensor::<1>::from_data([0.25, 0.0], &device).require_grad();
/// let y = lct(x, frequency.clone(), &LctPlan::czt(2, 1, 0.25, 0.0)?)?;
/// y.to_data().assert_approx_eq::<f32>(&[[0.0, -1.0]].into(), Default::default());
/// let slope = frequency.grad(&y.sum().backward()).unwrap().into_data();
/// // ∂(cos 2πf − sin 2πf)/∂f; the step has no effect on the first of the outputs.
/// slope.assert_approx_eq::<f32>(&[-2.0 * core::f32::consts::PI, 0.0].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn lct<const D: usize>(
    x: Tensor<D>,
    parameters: Tensor<1>,
    plan: &LctPlan,
) -> Result<Tensor<D>> {
    learned(x, parameters, plan, D.saturating_sub(2))
}

/// Applies `plan` to the complex tensor `x` (`[.., n, 2]`), whose parameters, if there are any, are not learned:
/// differentiable in `x`.
///
/// # Errors
///
/// [`Error::Shape`] when `x` does not end in `[plan.n(), 2]`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{LctPlan, lct_fixed};
///
/// // An impulse at the centre has a flat spectrum.
/// let x = Tensor::<2>::from_data([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0]], &Device::flex());
/// let y = lct_fixed(x, &LctPlan::fourier(3, false)?)?.into_data();
/// y.assert_approx_eq::<f32>(&[[3.0_f32.sqrt(), 0.0]; 3].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn lct_fixed<const D: usize>(x: Tensor<D>, plan: &LctPlan) -> Result<Tensor<D>> {
    let axis = D.saturating_sub(2);
    check_line(&x.dims(), plan, axis)?;
    let [y] = run(LctFixed(Lct { plan: plan.clone(), axis }), [x.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}

/// The separable transform of planes: `plans[0]` along `axes[0]`, then `plans[1]` along `axes[1]`, two axes of the complex
/// tensor `x` (`[.., 2]`), where they lie. Differentiable in `x` and the parameters of both.
///
/// # Errors
///
/// As for [`lct`], along the axes; [`Error::Unsupported`] if both are one.
pub fn lct2<const D: usize>(
    x: Tensor<D>,
    [first, second]: [Tensor<1>; 2],
    plans: [&LctPlan; 2],
    axes: [usize; 2],
) -> Result<Tensor<D>> {
    if axes[0] == axes[1] {
        let reason = "name two different axes";
        return Err(Error::Unsupported { op: "lct2", argument: "axes", reason });
    }
    check_line(&x.dims(), plans[1], axes[1])?;
    let between = learned(x, first, plans[0], axes[0])?;
    learned(between, second, plans[1], axes[1])
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
