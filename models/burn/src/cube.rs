//! Every `CubeCL` backend: the kernels of the `wavecube` crate.
//!
//! Operands that the kernels do not take (an element type or a size that the device lacks, an operation that has none)
//! go to the plain body, which is slower but never wrong, and are counted. Any other error is handed on.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use burn::{backend::TensorMetadata, tensor::DType};
use burn_cubecl::{
    CubeBackend, CubeDevice,
    kernel::{cast, into_contiguous},
    tensor::CubeTensor,
};
use wavecube::{Device, Tensor};
use wavecube_core::{Dtype, Error, Layout, Result};

use crate::{
    counts,
    operation::{Bridge, Op},
    tensors::{Codes, Numbers, Outcome},
};

impl Bridge for CubeBackend {
    fn run(operands: Numbers<Self>, codes: Codes<Self>, op: Op) -> Outcome<Self> {
        let operands = operands.into_vec().into_iter().zip(op.strided());
        let operands: Vec<_> = operands
            .map(|(operand, &strided)| {
                if strided && rows_are_adjacent(&operand) {
                    operand
                } else {
                    into_contiguous(operand)
                }
            })
            .collect();
        let codes: Vec<_> = codes.into_vec().into_iter().map(into_contiguous).collect();
        match kernels(&op, &operands, &codes) {
            Ok(results) => {
                counts::ran(op.name());
                Ok(results)
            }
            Err(
                reason @ (Error::Unsupported { .. } | Error::Dtype { .. } | Error::Limit { .. }),
            ) => {
                counts::fell_back(op.name(), reason);
                Ok(op.plain::<Self>(operands, codes))
            }
            Err(error) => Err(error),
        }
        .into()
    }
}

/// Whether strides say where a tensor lies, and the numbers of its last axis are neighbours.
fn rows_are_adjacent(tensor: &CubeTensor) -> bool {
    !tensor.meta.is_tiled() && tensor.meta.strides().last() == Some(&1)
}

fn kernels(op: &Op, operands: &[CubeTensor], codes: &[CubeTensor]) -> Result<Vec<CubeTensor>> {
    let tensors = operands.iter().zip(op.complex()).map(|(operand, &complex)| {
        let shape = operand.shape().to_vec();
        if complex {
            return laid_out(
                op.name(),
                operand,
                true,
                Layout::contiguous(&shape[..shape.len() - 1]),
            );
        }
        view(op.name(), operand)
    });
    let tensors: Vec<_> = tensors.collect::<Result<_>>()?;
    let codes: Vec<_> = codes.iter().map(|codes| codes.handle.clone()).collect();
    let results = op.kernel(&tensors, &codes)?;
    // A gradient that is summed comes in the type of the sum.
    let typed = results.iter().zip(op.dtypes(operands[0].dtype)).map(|(result, dtype)| {
        let result = from_wavecube(result, &operands[0]);
        if result.dtype == dtype { result } else { cast(result, dtype) }
    });
    Ok(typed.collect())
}

/// The device of a tensor with its caches of plans and tables, which live as long as the program.
pub(crate) fn device(tensor: &CubeTensor) -> Device {
    static DEVICES: OnceLock<Mutex<HashMap<CubeDevice, Device>>> = OnceLock::new();
    let mut devices =
        DEVICES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    devices
        .entry(tensor.device.clone())
        .or_insert_with(|| Device::from_client(tensor.client.clone()))
        .clone()
}

/// The same memory where it lies, whatever the strides.
pub(crate) fn view(op: &'static str, tensor: &CubeTensor) -> Result<Tensor> {
    let shape = tensor.shape().to_vec();
    laid_out(op, tensor, false, Layout::strided(&shape, tensor.meta.strides(), 0)?)
}

/// The memory of a tensor, of which a complex one takes the last axis, the pair, into its elements.
fn laid_out(
    op: &'static str,
    tensor: &CubeTensor,
    complex: bool,
    layout: Layout,
) -> Result<Tensor> {
    let dtype = match tensor.dtype {
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::Bf16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        _ => {
            let reason = "kernels take numbers of 16, 32 and 64 bits";
            return Err(Error::Unsupported { op, argument: "operands", reason });
        }
    };
    Tensor::from_handle(&device(tensor), tensor.handle.clone(), dtype, complex, layout)
}

/// The result of an operation on `like` as a tensor of Burn.
pub(crate) fn from_wavecube(tensor: &Tensor, like: &CubeTensor) -> CubeTensor {
    let mut shape = tensor.shape().to_vec();
    if tensor.is_complex() {
        shape.push(2);
    }
    let dtype = match tensor.dtype() {
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
        Dtype::F64 => DType::F64,
        _ => DType::F32,
    };
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, shape.into(), tensor.handle().clone(), dtype)
}
