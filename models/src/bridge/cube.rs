//! Every `CubeCL` backend: where the kernels of the `wavecube` crate are wired in.
//!
//! A call that the kernels do not take (an element type or a length that the device lacks) falls
//! back to the plain body of the trait, so it is slower but never wrong.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use burn::{
    backend::{
        TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::DType,
};
use burn_cubecl::{CubeBackend, CubeDevice, kernel::into_contiguous, tensor::CubeTensor};
use wavecube::{
    Attended, Attention, Complex32, Complex64, Device, QuantizedWeight, Tensor, Tridiagonal,
    WeightBindings, causal_convolution, causal_convolution_filter_vjp, causal_convolution_vjp,
    frft, frft_angle_vjp, lct_causal, lct_causal_param_vjp, lct_causal_vjp, lct_shear_passes,
    lct_shear_passes_vjp, lct_shear_rate_vjp, leading_resolvent, leading_resolvent_vjp,
};
use wavecube_core::{
    Dtype, Error, Layout, Result,
    fft::Normalization,
    lct::{Abcd, ShearPasses},
};

use super::{
    AttentionBackend, Bias, ConvolutionBackend, ElementaryBackend, FftBackend, LctBackend, LctPlan,
    LossBackend, PackedFormat, QmatmulBackend, Sides, TridiagBackend, attention, convolution, fft,
    lct::Transform,
    matrix::{CausalKernel, Rates, grid},
    plain, qmatmul, tridiag,
};

/// The device of a tensor with its caches of plans and tables, which live as long as the program.
pub(super) fn device(tensor: &CubeTensor) -> Device {
    static DEVICES: OnceLock<Mutex<HashMap<CubeDevice, Device>>> = OnceLock::new();
    let mut devices =
        DEVICES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    devices
        .entry(tensor.device.clone())
        .or_insert_with(|| Device::from_client(tensor.client.clone()))
        .clone()
}

/// The same memory as a tensor of `wavecube`, or nothing for an element type it does not know.
///
/// A complex one takes the last axis, the pair, into its elements.
fn to_wavecube(tensor: &CubeTensor, complex: bool) -> Option<Tensor> {
    let shape = tensor.shape().to_vec();
    let axes = shape.len() - usize::from(complex);
    laid_out(tensor, complex, Layout::contiguous(&shape[..axes]))
}

/// The same memory where it lies, whatever the strides.
#[cfg(not(feature = "fusion"))]
pub(super) fn view(tensor: &CubeTensor) -> Option<Tensor> {
    let shape = tensor.shape().to_vec();
    laid_out(tensor, false, Layout::strided(&shape, tensor.meta.strides(), 0).ok()?)
}

fn laid_out(tensor: &CubeTensor, complex: bool, layout: Layout) -> Option<Tensor> {
    let dtype = match tensor.dtype {
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::Bf16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        _ => return None,
    };
    Tensor::from_handle(&device(tensor), tensor.handle.clone(), dtype, complex, layout).ok()
}

/// The result of an operation on `like` as a tensor of Burn.
pub(super) fn from_wavecube(tensor: &Tensor, like: &CubeTensor) -> CubeTensor {
    let mut shape = tensor.shape().to_vec();
    if tensor.is_complex() {
        shape.push(2);
    }
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, shape.into(), tensor.handle().clone(), like.dtype)
}

/// Runs a kernel on `x`, or says that there is none by giving `x` back.
#[expect(clippy::result_large_err, reason = "both ways give a tensor back")]
fn run(
    x: CubeTensor,
    complex: bool,
    op: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> std::result::Result<CubeTensor, CubeTensor> {
    let x = into_contiguous(x);
    match to_wavecube(&x, complex).map(|input| op(&input)) {
        Some(Ok(output)) => Ok(from_wavecube(&output, &x)),
        Some(Err(_)) | None => Err(x),
    }
}

impl ElementaryBackend for CubeBackend {}
impl LossBackend for CubeBackend {}

impl FftBackend for CubeBackend {
    fn fft(x: FloatTensor<Self>, inverse: bool, norm: Normalization) -> FloatTensor<Self> {
        let op = if inverse { wavecube::ifft } else { wavecube::fft };
        run(x, true, |x| op(x, -1, norm))
            .unwrap_or_else(|x| fft::plain_fft::<Self>(&x, inverse, norm))
    }

    fn rfft(x: FloatTensor<Self>, norm: Normalization) -> FloatTensor<Self> {
        run(x, false, |x| wavecube::rfft(x, -1, norm))
            .unwrap_or_else(|x| fft::plain_rfft::<Self>(x, norm))
    }

    fn rfft_vjp(grad: FloatTensor<Self>, n: usize, norm: Normalization) -> FloatTensor<Self> {
        run(grad, true, |grad| wavecube::rfft_vjp(grad, n, -1, norm))
            .unwrap_or_else(|grad| fft::plain_rfft_vjp::<Self>(grad, n, norm))
    }

    fn irfft(x: FloatTensor<Self>, n: usize, norm: Normalization) -> FloatTensor<Self> {
        run(x, true, |x| wavecube::irfft(x, n, -1, norm))
            .unwrap_or_else(|x| fft::plain_irfft::<Self>(x, n, norm))
    }

    fn irfft_vjp(grad: FloatTensor<Self>, norm: Normalization) -> FloatTensor<Self> {
        run(grad, false, |grad| wavecube::irfft_vjp(grad, -1, norm))
            .unwrap_or_else(|grad| fft::plain_irfft_vjp::<Self>(grad, norm))
    }
}

impl ConvolutionBackend for CubeBackend {
    fn causal_convolution(x: FloatTensor<Self>, h: FloatTensor<Self>) -> FloatTensor<Self> {
        let [x, h] = [x, h].map(into_contiguous);
        let kernel = || {
            let (signal, filter) = (to_wavecube(&x, true)?, to_wavecube(&h, true)?);
            Some(from_wavecube(&causal_convolution(&signal, &filter, -1).ok()?, &x))
        };
        kernel().unwrap_or_else(|| convolution::plain_convolution::<Self>(&x, &h))
    }

    fn causal_convolution_vjp(
        x: FloatTensor<Self>,
        h: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [x, h, grad] = [x, h, grad].map(into_contiguous);
        let kernel = || {
            let (signal, filter) = (to_wavecube(&x, true)?, to_wavecube(&h, true)?);
            let arriving = to_wavecube(&grad, true)?;
            let by_x = causal_convolution_vjp(&arriving, &filter, -1).ok()?;
            let shape = filter.shape();
            let by_h = causal_convolution_filter_vjp(&signal, &arriving, shape, -1).ok()?;
            Some((from_wavecube(&by_x, &x), from_wavecube(&by_h, &h)))
        };
        kernel().unwrap_or_else(|| convolution::plain_convolution_vjp::<Self>(&x, &h, &grad))
    }
}

impl LctBackend for CubeBackend {
    fn lct(
        x: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        plan: LctPlan,
    ) -> FloatTensor<Self> {
        let _ = parameters;
        run(x, true, |x| transform(x, &plan, plan.is_adjoint()))
            .unwrap_or_else(|x| plain::lct::<Self>(x, &plan))
    }

    fn lct_vjp(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        plan: LctPlan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, grad) = (into_contiguous(x), into_contiguous(grad));
        let kernels = || {
            let (input, output) = (to_wavecube(&x, true)?, to_wavecube(&grad, true)?);
            let grad_x = transform(&output, &plan, !plan.is_adjoint()).ok()?;
            // y = Aᴴx pairs with g as x pairs with A g: the adjoint swaps the two.
            let (from, to) = if plan.is_adjoint() { (&output, &input) } else { (&input, &output) };
            let gradient = from_wavecube(&native_gradient(from, to, &plan).ok()?, &x);
            let gradient = match native_jacobian(&plan) {
                Some(jacobian) => plain::chain_rule::<Self>(gradient, &jacobian),
                None => gradient,
            };
            Some((from_wavecube(&grad_x, &x), gradient))
        };
        match kernels() {
            Some(gradients) => gradients,
            None => plain::lct_vjp::<Self>(x, grad, &plan),
        }
    }
}

/// No kernel for this plan.
fn none<T>() -> Result<T> {
    Err(Error::Unsupported {
        op: "lct",
        argument: "plan",
        reason: "the smooth causal kernel next to b = 0 has a plain body only",
    })
}

fn passes(rates: Rates, before: u8, after: u8) -> ShearPasses {
    let Rates { q1, b, q2 } = rates;
    ShearPasses { before, first: q1, forward: true, middle: -b, last: q2, after }
}

/// `L(q₂) U(b) L(q₁)`.
fn abcd(Rates { q1, b, q2 }: Rates) -> Result<Abcd> {
    Abcd::new(1.0 + b * q1, b, q1 + q2 + b * q1 * q2, 1.0 + b * q2)
}

/// Start and spacing of the centred grid of `length` points.
fn centred(length: usize) -> (f64, f64) {
    (grid(length, 0), 1.0 / (length as f64).sqrt())
}

fn transform(x: &Tensor, plan: &LctPlan, adjoint: bool) -> Result<Tensor> {
    match *plan.transform() {
        Transform::Shear { rates, before, after, phase } => {
            let op = if adjoint { lct_shear_passes_vjp } else { lct_shear_passes };
            op(x, &passes(rates, before, after), phase, -1)
        }
        Transform::Fractional { angle } => frft(x, if adjoint { -angle } else { angle }, -1),
        Transform::Causal { rates, kernel: CausalKernel::Sampled, grid } => {
            let (start, spacing) = centred(grid);
            let op = if adjoint { lct_causal_vjp } else { lct_causal };
            op(x, &abcd(rates)?, start, spacing, -1)
        }
        Transform::Causal { kernel: CausalKernel::Spectral, .. } => none(),
    }
}

/// The gradient of the forward transform of `x` by the learned parameters, or, for a causal plan, by
/// the entries of its matrix and its grid.
fn native_gradient(x: &Tensor, grad: &Tensor, plan: &LctPlan) -> Result<Tensor> {
    match *plan.transform() {
        Transform::Shear { rates, before, after, phase } => {
            let jacobian: Vec<Vec<f64>> = (0..plan.parameters())
                .map(|parameter| {
                    // The middle chirp of the passes turns the other way.
                    let by = |rate: usize| plan.jacobian()[rate][parameter];
                    vec![by(0), -by(1), by(2)]
                })
                .collect();
            lct_shear_rate_vjp(x, grad, &passes(rates, before, after), phase, &jacobian, -1)
        }
        Transform::Fractional { angle } => frft_angle_vjp(x, grad, angle, -1),
        Transform::Causal { rates, kernel: CausalKernel::Sampled, grid } => {
            let (start, spacing) = centred(grid);
            lct_causal_param_vjp(x, grad, &abcd(rates)?, start, spacing, -1)
        }
        Transform::Causal { kernel: CausalKernel::Spectral, .. } => none(),
    }
}

/// `∂(a, b, c, d, start, spacing)/∂parameters` for a causal plan, whose kernels know these only. Its grid
/// is not learned.
fn native_jacobian(plan: &LctPlan) -> Option<Vec<Vec<f64>>> {
    let Transform::Causal { rates: Rates { q1, b, q2 }, .. } = *plan.transform() else {
        return None;
    };
    let by_rates = [[b, q1, 0.0], [0.0, 1.0, 0.0], [0.0; 3], [0.0, q2, b], [0.0; 3], [0.0; 3]];
    let rows = by_rates.iter().map(|row| {
        (0..plan.parameters())
            .map(|parameter| {
                row.iter().zip(plan.jacobian()).map(|(by, rate)| by * rate[parameter]).sum()
            })
            .collect()
    });
    Some(rows.collect())
}

impl TridiagBackend for CubeBackend {
    fn resolvent(d: FloatTensor<Self>, p: FloatTensor<Self>, sides: Sides) -> FloatTensor<Self> {
        let (d, p) = (into_contiguous(d), into_contiguous(p));
        let kernel = || {
            let (diagonal, products) = (to_wavecube(&d, true)?, to_wavecube(&p, false)?);
            let y = match sides {
                Sides::Left => leading_resolvent(&diagonal, &products).ok()?,
                Sides::Both => unshifted(&diagonal, &products)?.resolvent_diagonal().ok()?.diagonal,
            };
            Some(from_wavecube(&y, &d))
        };
        match kernel() {
            Some(y) => y,
            None => tridiag::plain_resolvent::<Self>(&d, p, sides),
        }
    }

    fn resolvent_vjp(
        kept: FloatTensor<Self>,
        p: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        sides: Sides,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [kept, p, grad] = [kept, p, grad].map(into_contiguous);
        let kernel = || {
            let (first, products) = (to_wavecube(&kept, true)?, to_wavecube(&p, false)?);
            let grad = to_wavecube(&grad, true)?;
            let [by_d, by_p] = match sides {
                Sides::Left => leading_resolvent_vjp(&products, &first, &grad).ok()?,
                Sides::Both => {
                    let operators = unshifted(&first, &products)?;
                    let gradients = operators.resolvent_diagonal_vjp(&grad).ok()?;
                    [gradients.a, gradients.b]
                }
            };
            Some((from_wavecube(&by_d, &kept), from_wavecube(&by_p, &kept)))
        };
        match kernel() {
            Some(gradients) => gradients,
            None => tridiag::plain_resolvent_vjp::<Self>(&kept, &p, grad, sides),
        }
    }
}

/// The parts of a packed weight as one of `wavecube`.
fn packed(device: &Device, parts: &[CubeTensor; 3], format: PackedFormat) -> QuantizedWeight {
    let [words, scales, zeros] = parts.each_ref().map(|part| part.handle.clone());
    let zeros = (!format.scheme.symmetric).then_some(zeros);
    let bindings = WeightBindings { words, scales, zeros };
    QuantizedWeight::from_bindings(device, format.scheme, format.shape, bindings)
}

impl QmatmulBackend for CubeBackend {
    fn qmatmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        scales: IntTensor<Self>,
        zeros: IntTensor<Self>,
        format: PackedFormat,
    ) -> FloatTensor<Self> {
        let parts = [words, scales, zeros].map(into_contiguous);
        run(x, false, |x| wavecube::qmatmul(x, &packed(x.device(), &parts, format)))
            .unwrap_or_else(|x| qmatmul::plain_qmatmul::<Self>(x, parts, format))
    }

    fn qmatmul_vjp(
        grad: FloatTensor<Self>,
        words: IntTensor<Self>,
        scales: IntTensor<Self>,
        zeros: IntTensor<Self>,
        format: PackedFormat,
    ) -> FloatTensor<Self> {
        let parts = [words, scales, zeros].map(into_contiguous);
        run(grad, false, |grad| wavecube::qmatmul_vjp(grad, &packed(grad.device(), &parts, format)))
            .unwrap_or_else(|grad| qmatmul::plain_qmatmul_vjp::<Self>(grad, parts, format))
    }
}

/// What attention is asked for.
pub(super) fn causal(q: &CubeTensor, bias: Bias) -> Attention {
    match bias.slopes(q.shape()[1]) {
        Some(slopes) => Attention::causal().alibi(&slopes),
        None => Attention::causal(),
    }
}

impl AttentionBackend for CubeBackend {
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: Bias,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v] = [q, k, v].map(into_contiguous);
        let kernel = || {
            let [x, y, z] =
                [to_wavecube(&q, false)?, to_wavecube(&k, false)?, to_wavecube(&v, false)?];
            wavecube::attention(&x, &y, &z, &causal(&q, bias)).ok()
        };
        match kernel() {
            Some(Attended { out, lse }) => {
                let (client, device) = (q.client.clone(), q.device.clone());
                let (shape, handle) = (lse.shape().to_vec().into(), lse.handle().clone());
                let lse = CubeTensor::new_contiguous(client, device, shape, handle, DType::F32);
                (from_wavecube(&out, &q), lse)
            }
            None => attention::plain_attention::<Self>(&q, k, v, bias),
        }
    }

    fn causal_attention_vjp(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        bias: Bias,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v, out, lse, grad] = [q, k, v, out, lse, grad].map(into_contiguous);
        let kernel = || {
            let tensor = |x| to_wavecube(x, false);
            let operands = [&tensor(&q)?, &tensor(&k)?, &tensor(&v)?];
            let attended = Attended { out: tensor(&out)?, lse: tensor(&lse)? };
            let grad = tensor(&grad)?;
            wavecube::attention_vjp(operands, &causal(&q, bias), &attended, &grad).ok()
        };
        match kernel() {
            Some(by) => {
                (from_wavecube(&by.q, &q), from_wavecube(&by.k, &k), from_wavecube(&by.v, &v))
            }
            None => attention::plain_attention_vjp::<Self>([q, k, v], out, grad, bias),
        }
    }
}

/// The operators with the diagonal `d`, which has the shift in it already.
fn unshifted(d: &Tensor, p: &Tensor) -> Option<Tridiagonal> {
    let batch = d.shape().split_last()?.1;
    let rows = batch.iter().product();
    let z = match d.dtype() {
        Dtype::F64 => Tensor::from_slice(d.device(), &vec![Complex64::ZERO; rows], batch),
        _ => Tensor::from_slice(d.device(), &vec![Complex32::ZERO; rows], batch),
    };
    Some(Tridiagonal::of_products(d, p, &z.ok()?))
}
