//! Flex, Burn's CPU backend: the host is the device.

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{DType, Shape, TensorData},
};

use crate::{
    counts,
    operation::{Bridge, Op},
    tensors::{Codes, Numbers, Outcome},
};

impl Bridge for Flex {
    fn run(operands: Numbers<Self>, codes: Codes<Self>, op: Op) -> Outcome<Self> {
        let (operands, codes) = (operands.into_vec(), codes.into_vec());
        counts::ran(op.name());
        let results = op.flex(&operands, &codes);
        Ok(results.unwrap_or_else(|| op.plain::<Self>(operands, codes))).into()
    }
}

/// The numbers of a tensor in order, where they are `f32`.
pub(crate) fn numbers(x: &FlexTensor) -> Option<FlexTensor> {
    (x.dtype() == DType::F32).then(|| x.to_contiguous())
}

/// The numbers that [`numbers`] has put in order.
pub(crate) fn slice(x: &FlexTensor) -> &[f32] {
    let start = x.layout().start_offset();
    &x.storage::<f32>()[start..start + x.layout().num_elements()]
}

/// Numbers as a tensor.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
