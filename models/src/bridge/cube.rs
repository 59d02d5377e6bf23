//! Every `CubeCL` backend: where the kernels of the `wavecube` crate are wired in.
//!
//! A call that the kernels do not take (an element type or a length that the device lacks) falls
//! back to the plain body of the trait, so it is slower but never wrong.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use burn::{
    backend::{TensorMetadata, tensor::FloatTensor},
    tensor::DType,
};
use burn_cubecl::{CubeBackend, CubeDevice, kernel::into_contiguous, tensor::CubeTensor};
use wavecube::{Device, Tensor};
use wavecube_core::{
    Dtype, Layout, Result,
    fft::{Direction, Normalization},
};

use super::{FftBackend, LctBackend, fft};

/// The device of a tensor with its caches of plans and tables, which live as long as the program.
fn device(tensor: &CubeTensor) -> Device {
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
    let dtype = match tensor.dtype {
        DType::F16 => Dtype::F16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        _ => return None,
    };
    let shape = tensor.shape().to_vec();
    let axes = shape.len() - usize::from(complex);
    let layout = Layout::contiguous(&shape[..axes]);
    Tensor::from_handle(&device(tensor), tensor.handle.clone(), dtype, complex, layout).ok()
}

/// The result of an operation on `like` as a tensor of Burn.
fn from_wavecube(tensor: &Tensor, like: &CubeTensor) -> CubeTensor {
    let mut shape = tensor.shape().to_vec();
    if tensor.is_complex() {
        shape.push(2);
    }
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, shape.into(), tensor.handle().clone(), like.dtype)
}

/// Runs a kernel on `x`, or says that there is none by giving `x` back.
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

impl FftBackend for CubeBackend {
    fn fft(x: FloatTensor<Self>, inverse: bool, norm: Normalization) -> FloatTensor<Self> {
        let direction = if inverse { Direction::Inverse } else { Direction::Forward };
        let op = |x: &Tensor| match direction {
            Direction::Forward => wavecube::fft(x, -1, norm),
            Direction::Inverse => wavecube::ifft(x, -1, norm),
        };
        run(x, true, op).unwrap_or_else(|x| fft::plain_fft::<Self>(x, inverse, norm))
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

// The plain bodies, until the transforms of `wavecube` are wired in as above.
impl LctBackend for CubeBackend {}
