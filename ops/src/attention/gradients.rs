//! The gradients of queries, keys and values.

use wavecube_core::{Dtype, Error, Result};
use wavecube_kernels::attention::{AttentionGradientBindings, attention_vjp_launch};

use super::{Attended, Attention, bindings, plan};
use crate::Tensor;

/// The gradients of the operands of attention, contiguous, each of its operand's shape and type.
#[derive(Debug, Clone)]
pub struct AttentionGradients {
    /// That of the queries.
    pub q: Tensor,
    /// That of the keys.
    pub k: Tensor,
    /// That of the values.
    pub v: Tensor,
}

/// The gradients of `q`, `k` and `v` from the gradient `g` of [`Attended::out`]. `attended` is what
/// [`attention()`](crate::attention()) returned for the same operands and options: the weights are made again from its
/// log-sum-exp. Sums have a fixed order.
///
/// # Errors
/// As [`attention()`](crate::attention()); [`Error::Strides`] if a tensor of the result's shape is not contiguous,
/// [`Error::Limit`] for sequences too long for the loops of a device whose units are emulated.
pub fn attention_vjp(
    [q, k, v]: [&Tensor; 3],
    options: &Attention,
    attended: &Attended,
    g: &Tensor,
) -> Result<AttentionGradients> {
    const OP: &str = "attention_vjp";
    let plan = plan(OP, [q, k, v], options, g)?;
    plan.gradient()?;
    let rows = &q.shape()[..3];
    for (argument, tensor, expected, dtype) in [
        ("g", g, q.shape(), q.dtype()),
        ("out", &attended.out, q.shape(), q.dtype()),
        ("lse", &attended.lse, rows, Dtype::F32),
    ] {
        tensor.check_complex(OP, argument, false)?;
        if !q.device().same(tensor.device()) {
            return Err(Error::Device { op: OP, reason: wavecube_core::DeviceFault::Mixed });
        }
        if tensor.dtype() != dtype {
            let (expected, found) = ("that of the attention", tensor.dtype());
            return Err(Error::Dtype { op: OP, argument, expected, found });
        }
        if tensor.shape() != expected {
            let (expected, found) = (expected.to_vec(), tensor.shape().to_vec());
            return Err(Error::Shape { op: OP, argument, expected, found });
        }
        if !tensor.layout().is_contiguous() || tensor.layout().offset() != 0 {
            let expected = "be those of a contiguous tensor that begins with its buffer";
            let found = tensor.layout().strides().to_vec();
            return Err(Error::Strides { op: OP, argument, expected, found });
        }
    }
    let bindings = bindings(OP, [q, k, v], options, &plan)?;
    let fresh = |like: &Tensor| Tensor::empty(q.device(), q.dtype(), false, like.shape());
    let gradients = AttentionGradients { q: fresh(q)?, k: fresh(k)?, v: fresh(v)? };
    attention_vjp_launch(
        q.device().client(),
        &bindings,
        &AttentionGradientBindings {
            out: attended.out.handle().clone(),
            lse: attended.lse.handle().clone(),
            g: g.handle().clone(),
            by_q: gradients.q.handle().clone(),
            by_k: gradients.k.handle().clone(),
            by_v: gradients.v.handle().clone(),
        },
        &plan,
    )?;
    Ok(gradients)
}
