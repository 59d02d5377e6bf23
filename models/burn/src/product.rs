//! Products of rows with a matrix.
//!
//! A product of rows in a batch is one of all rows, so that the matrix is read once and its gradient is one product as
//! well, not one a batch and a sum of those.

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::Tensor,
};
use wavecube_core::{Error, Result};

use crate::{
    dense::rows,
    operation::{Kept, Op, Operation, run},
};
#[cfg(feature = "flex")]
use crate::{
    flex::{numbers, slice, tensor},
    host_product::{Matrix, product},
};

/// `x W` from `x` (`[…, inputs]`) and `W` (`[inputs, outputs]`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear;

impl Operation<2, 0, 1> for Linear {
    const NAME: &'static str = "linear";
    const COMPLEX: [bool; 2] = [false; 2];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, w]: [&[usize]; 2]) -> [Vec<usize>; 1] {
        [with_last(x, w[1])]
    }

    fn plain<B: Backend>(
        &self,
        [x, w]: [FloatTensor<B>; 2],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        let [inputs, outputs] = w.shape().dims();
        let shape = with_last(&x.shape(), outputs);
        [B::float_reshape(B::float_matmul(rows::<B>(x, inputs), w), shape.into())]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x, w]: [&FlexTensor; 2], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 1]> {
        let (x, w) = (numbers(x)?, numbers(w)?);
        let shape = with_last(&x.shape(), w.shape()[1]);
        Some([tensor(product(of(&x), of(&w)), shape)])
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[0, 1], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 2]) -> Option<Op> {
        Some(LinearVjp.into())
    }
}

/// The gradients of `x` and `W`, from these and that of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinearVjp;

impl Operation<3, 0, 2> for LinearVjp {
    const NAME: &'static str = "linear_vjp";
    const COMPLEX: [bool; 3] = [false; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, w, _]: [&[usize]; 3]) -> [Vec<usize>; 2] {
        [x.to_vec(), w.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [x, w, g]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 2] {
        let shape = x.shape();
        let [inputs, outputs] = w.shape().dims();
        let g = rows::<B>(g, outputs);
        let by_x = B::float_matmul(g.clone(), B::float_transpose(w));
        let by_w = B::float_matmul(B::float_transpose(rows::<B>(x, inputs)), g);
        [B::float_reshape(by_x, shape), by_w]
    }

    #[cfg(feature = "flex")]
    fn flex(&self, [x, w, g]: [&FlexTensor; 3], []: [&FlexTensor; 0]) -> Option<[FlexTensor; 2]> {
        let (x, w, g) = (numbers(x)?, numbers(w)?, numbers(g)?);
        let by_x = product(of(&g), of(&w).transposed());
        let by_w = product(of(&x).transposed(), of(&g));
        Some([tensor(by_x, x.shape()), tensor(by_w, w.shape())])
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

fn with_last(shape: &[usize], last: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    *shape.last_mut().expect("a line has an axis") = last;
    shape
}

/// All lines of a tensor, one below the other.
#[cfg(feature = "flex")]
fn of(x: &FlexTensor) -> Matrix<'_> {
    let shape = x.shape();
    let (columns, rows) = shape.split_last().expect("a line has an axis");
    Matrix::new(slice(x), [rows.iter().product(), *columns])
}

/// `x W` for every line of `x` (`[…, inputs]`), with `w` of `[inputs, outputs]`; differentiable in both.
///
/// # Errors
///
/// [`Error::Shape`] when the width of `x` is not the height of `w`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::linear;
///
/// let device = Device::flex();
/// let x = Tensor::<3>::from_data([[[1.0, 2.0]], [[0.0, 1.0]]], &device);
/// let w = Tensor::<2>::from_data([[1.0], [10.0]], &device);
/// let y = linear(x, w)?.into_data();
/// y.assert_approx_eq::<f32>(&[[[21.0]], [[10.0]]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn linear<const D: usize>(x: Tensor<D>, w: Tensor<2>) -> Result<Tensor<D>> {
    let [inputs, outputs] = w.dims();
    if x.dims()[D - 1] != inputs {
        let (expected, found) = (vec![x.dims()[D - 1], outputs], vec![inputs, outputs]);
        return Err(Error::Shape { op: "linear", argument: "w", expected, found });
    }
    let [y] = run(Linear, [x.into_dispatch(), w.into_dispatch()], [])?;
    Ok(Tensor::from_dispatch(y))
}
