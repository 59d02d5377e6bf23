//! Products of complex rows with a complex weight: two real ones, with scales of their own.

use wavecube_core::{Error, Result};
use wavecube_kernels::qmatmul::{JoinBindings, join_launch, split_launch};

use super::{QuantizedWeight, qmatmul, qmatmul_vjp};
use crate::Tensor;

const OP: &str = "qmatmul_complex";
const VJP: &str = "qmatmul_complex_vjp";

/// A complex weight: its real and its imaginary part, each quantised on its own.
#[derive(Debug, Clone)]
pub struct QuantizedComplexWeight {
    re: QuantizedWeight,
    im: QuantizedWeight,
}

impl QuantizedComplexWeight {
    /// The weight `re + i im`. The parts may have different schemes.
    ///
    /// # Errors
    /// [`Error::Shape`] if they have different shapes.
    pub fn new(re: &QuantizedWeight, im: &QuantizedWeight) -> Result<Self> {
        if re.shape() != im.shape() {
            let (expected, found) = (re.shape().to_vec(), im.shape().to_vec());
            return Err(Error::Shape { op: OP, argument: "im", expected, found });
        }
        Ok(Self { re: re.clone(), im: im.clone() })
    }
}

/// `y = x Wᵀ` with a complex weight: `y[…, n] = Σ_k x[…, k] W[n, k]`.
///
/// `x`: `[…, k]`, complex, `f16`, `bf16` or `f32`, contiguous. The result is `[…, n]`, of its type. The error is that of
/// [`qmatmul`], of either part.
///
/// # Errors
/// As [`qmatmul`]; [`Error::Dtype`] for a real `x`, [`Error::Strides`] if it is not contiguous.
///
/// ```
/// use wavecube::{Complex32, Device, QuantizedComplexWeight, QuantizedWeight, Tensor, qmatmul_complex, quant::*};
/// let device = Device::best()?;
/// let scheme = Scheme { bits: Bits::Eight, symmetric: true, group: Group::Of32, scale: ScaleType::F32 };
/// let part = |value: f32| {
///     QuantizedWeight::upload(&device, &PackedWeight::quantize(&[value], [1, 1], scheme, Clip::None)?)
/// };
/// let weight = QuantizedComplexWeight::new(&part(2.0)?, &part(-1.0)?)?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(3.0, 4.0)], &[1, 1])?;
/// let y: Vec<Complex32> = qmatmul_complex(&x, &weight)?.read()?;
/// assert!((y[0] - Complex32::new(10.0, 5.0)).norm() < 1e-5);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn qmatmul_complex(x: &Tensor, weight: &QuantizedComplexWeight) -> Result<Tensor> {
    by_parts(OP, x, weight, false, qmatmul)
}

/// The gradient of [`qmatmul_complex`] by `x`, from that of its result, `g`: `g W*`, in the convention
/// `∂ℓ/∂Re + i ∂ℓ/∂Im`. The weight is frozen.
///
/// # Errors
/// As [`qmatmul_complex`], with `n` elements a row.
pub fn qmatmul_complex_vjp(g: &Tensor, weight: &QuantizedComplexWeight) -> Result<Tensor> {
    by_parts(VJP, g, weight, true, qmatmul_vjp)
}

/// Both parts of the rows by both parts of the weight.
fn by_parts(
    op: &'static str,
    x: &Tensor,
    weight: &QuantizedComplexWeight,
    conjugate: bool,
    product: fn(&Tensor, &QuantizedWeight) -> Result<Tensor>,
) -> Result<Tensor> {
    x.check_complex(op, "x", true)?;
    x.check_contiguous(op, "x")?;
    let (client, dtype) = (x.device().client(), x.dtype());
    let parts = Tensor::empty(x.device(), dtype, false, &[&[2], x.shape()].concat())?;
    split_launch(client, x.handle(), parts.handle(), x.layout().len(), dtype)?;
    let (by_re, by_im) = (product(&parts, &weight.re)?, product(&parts, &weight.im)?);
    let out = Tensor::empty(x.device(), dtype, true, &by_re.shape()[1..])?;
    let bindings = JoinBindings {
        by_re: by_re.handle().clone(),
        by_im: by_im.handle().clone(),
        out: out.handle().clone(),
    };
    join_launch(client, &bindings, out.layout().len(), conjugate, dtype)?;
    Ok(out)
}
