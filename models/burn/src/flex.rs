//! Flex, Burn's CPU backend: the host is the device.

use burn::{
    backend::{Flex, flex::FlexTensor, ops::FloatTensorOps},
    tensor::{DType, FloatDType, Shape, TensorData},
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
        let dtypes = op.dtypes(operands[0].dtype());
        // A processor computes in 32 bits what comes and goes in 16.
        let operands: Vec<_> = operands
            .into_iter()
            .map(|operand| match operand.dtype() {
                DType::F16 | DType::BF16 => Flex::float_cast(operand, FloatDType::F32),
                _ => operand,
            })
            .collect();
        let results = op.flex(&operands, &codes);
        let results = results.unwrap_or_else(|| op.plain::<Self>(operands, codes)).into_iter();
        let results =
            results.zip(dtypes).map(|(result, dtype)| Flex::float_cast(result, dtype.into()));
        Ok(results.collect()).into()
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
