//! Sums of gradients over what shares their operand.

use wavecube_core::{Layout, Result};
use wavecube_kernels::sum::{SumPlan, sum_launch};

use crate::Tensor;

/// The real axes of a tensor: its own and that of the parts.
fn with_parts(shape: &[usize], complex: bool) -> Vec<usize> {
    shape.iter().copied().chain([if complex { 2 } else { 1 }]).collect()
}

/// The sum of a contiguous gradient over what shares its operand, if anything does.
pub(crate) fn sum_plan(
    op: &'static str,
    gradient: &Tensor,
    target: &[usize],
) -> Result<Option<SumPlan>> {
    if gradient.shape() == target {
        return Ok(None);
    }
    let full = with_parts(gradient.shape(), gradient.is_complex());
    let target = with_parts(target, gradient.is_complex());
    let limits = gradient.device().limits();
    SumPlan::new(op, &full, &target, gradient.dtype(), limits).map(Some)
}

/// Enqueues it: the gradient in the shape of its operand.
pub(crate) fn summed(gradient: &Tensor, plan: Option<SumPlan>, shape: &[usize]) -> Result<Tensor> {
    let device = gradient.device();
    let (dtype, complex) = (gradient.dtype(), gradient.is_complex());
    match plan {
        None => {
            let layout = Layout::contiguous(shape);
            Tensor::from_handle(device, gradient.handle().clone(), dtype, complex, layout)
        }
        Some(plan) => {
            let total = Tensor::empty(device, dtype, complex, shape)?;
            sum_launch(device.client(), gradient.handle(), total.handle(), &plan)?;
            Ok(total)
        }
    }
}
