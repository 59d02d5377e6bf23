//! Attention on device tensors. See `wavecube_kernels::attention` for the formulas.

mod cache;
mod firsts;
mod gradients;
mod options;
mod rotary;

pub use cache::{KvCache, KvCacheConfig, Step};
pub use gradients::{AttentionGradients, attention_vjp};
pub use options::Attention;
pub use rotary::Rotary;

use wavecube_core::{Dtype, Error, Result};
use wavecube_kernels::attention::{AttentionBindings, AttentionPlan, Tables, attention_launch};

use crate::Tensor;

/// The result of attention.
#[derive(Debug, Clone)]
pub struct Attended {
    /// `[batch, q_heads, n_q, dim]`, of the queries' type. Zeros for a query that sees no key.
    pub out: Tensor,
    /// The logarithm of the sum of the exponentials of every query's scores, `[batch, q_heads, n_q]` in
    /// `f32`. Minus infinity for a query that sees no key.
    pub lse: Tensor,
}

/// `softmax(scale · q kᵀ + mask) v`, head by head.
///
/// `q`: `[batch, q_heads, n_q, dim]`; `k` and `v`: `[batch, kv_heads, n_k, dim]`, where `kv_heads` divides
/// `q_heads`, and neighbouring heads of queries share one of keys. All real, all `f32`, `f16` or `bf16`, on one
/// device, with the numbers of a head adjacent and any strides otherwise. Sums are in `f32`.
///
/// # Errors
/// As [`AttentionPlan::new`]; [`Error::Value`], [`Error::Length`] or [`Error::Shape`] for options that do not belong to the
/// tensors, [`Error::Device`] for tensors of several devices.
///
/// ```
/// use wavecube::{Attention, Device, Tensor, attention};
///
/// let device = Device::best()?;
/// let q = Tensor::from_slice(&device, &[0.0f32; 12], &[1, 2, 3, 2])?;
/// let k = Tensor::from_slice(&device, &[1.0f32; 6], &[1, 1, 3, 2])?;
/// let v = Tensor::from_slice(&device, &[0.0f32, 6.0, 2.0, 6.0, 7.0, 6.0], &[1, 1, 3, 2])?;
/// let attended = attention(&q, &k, &v, &Attention::causal())?;
/// // Queries of zeros see all keys alike: the mean of the values so far.
/// let out = attended.out.read::<f32>()?;
/// let expected = [0.0, 6.0, 1.0, 6.0, 3.0, 6.0];
/// assert!(out.iter().zip(expected.iter().cycle()).all(|(a, b)| (a - b).abs() < 1e-5));
/// assert!((attended.lse.read::<f32>()?[1] - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, options: &Attention) -> Result<Attended> {
    let mut out = Tensor::empty(q.device(), q.dtype(), false, q.shape())?;
    let lse = attention_into(q, k, v, options, &mut out)?;
    Ok(Attended { out, lse })
}

/// [`attention()`] into a tensor that you already have, of the shape and type of `q`; returns the
/// log-sum-exp.
///
/// # Errors
/// As [`attention()`]; [`Error::Overlap`] if `out` shares memory with an operand.
///
/// ```
/// use wavecube::{Attention, Device, Dtype, Tensor, attention_into};
///
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[1.0f32; 8], &[1, 1, 2, 4])?;
/// let mut out = Tensor::empty(&device, Dtype::F32, false, &[1, 1, 2, 4])?;
/// attention_into(&x, &x, &x, &Attention::bidirectional(), &mut out)?;
/// assert!(out.read::<f32>()?.iter().all(|v| (v - 1.0).abs() < 1e-6));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn attention_into(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &Attention,
    out: &mut Tensor,
) -> Result<Tensor> {
    const OP: &str = "attention";
    let plan = plan(OP, [q, k, v], options, out)?;
    for (name, operand) in [("q", q), ("k", k), ("v", v)] {
        if out.overlaps(operand) {
            return Err(Error::Overlap { op: OP, first: "out", second: name });
        }
    }
    let bindings = bindings(OP, [q, k, v], options, &plan)?;
    let device = q.device();
    let lse = Tensor::empty(device, Dtype::F32, false, &q.shape()[..3])?;
    attention_launch(device.client(), &bindings, out.handle(), lse.handle(), &plan)?;
    Ok(lse)
}

/// The plan for tensors beside a result of the queries' shape.
fn plan(
    op: &'static str,
    [q, k, v]: [&Tensor; 3],
    options: &Attention,
    out: &Tensor,
) -> Result<AttentionPlan> {
    for (name, operand) in [("q", q), ("k", k), ("v", v), ("out", out)] {
        operand.check_complex(op, name, false)?;
        q.check_same(op, name, operand)?;
    }
    let layouts = [q, k, v, out].map(Tensor::layout);
    AttentionPlan::new(&options.problem(op, layouts, q.dtype())?, q.device().limits())
}

fn bindings(
    op: &'static str,
    [q, k, v]: [&Tensor; 3],
    options: &Attention,
    plan: &AttentionPlan,
) -> Result<AttentionBindings> {
    let client = q.device().client();
    let lengths = options.index(op, plan)?;
    let slopes = options.slopes(op, plan)?;
    let (indexed, sloped) = (lengths.is_some(), slopes.is_some());
    let mut words = lengths.unwrap_or_default();
    words.extend(slopes.into_iter().flatten().map(|slope| slope.to_bits()));
    let some = (indexed || sloped) && !words.is_empty();
    Ok(AttentionBindings {
        q: q.handle().clone(),
        k: k.handle().clone(),
        v: v.handle().clone(),
        scales: None,
        tables: some.then(|| Tables {
            words: client.create_from_slice(bytemuck::cast_slice(&words)),
            lengths: indexed,
            slopes: sloped,
        }),
    })
}
