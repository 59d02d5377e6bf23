//! Operands on the host, for the bodies that compute there in `f64`.

use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{TensorData, try_read_sync},
};
use num_complex::Complex64;

pub(crate) fn numbers<B: Backend>(x: FloatTensor<B>) -> Vec<f64> {
    let data = try_read_sync(B::float_into_data(x)).and_then(std::result::Result::ok);
    data.expect("the device can be read").iter::<f64>().collect()
}

/// Integers of 32 bits, by their bits.
pub(crate) fn words<B: Backend>(x: IntTensor<B>) -> Vec<u32> {
    let data = try_read_sync(B::int_into_data(x)).and_then(std::result::Result::ok);
    data.expect("the device can be read").iter::<i64>().map(|word| word as u32).collect()
}

/// The complex numbers of `[.., 2]`.
pub(crate) fn pairs<B: Backend>(x: FloatTensor<B>) -> Vec<Complex64> {
    numbers::<B>(x).chunks_exact(2).map(|pair| Complex64::new(pair[0], pair[1])).collect()
}

/// A tensor of the shape and element type of `like`.
pub(crate) fn upload<B: Backend>(like: &FloatTensor<B>, values: Vec<f64>) -> FloatTensor<B> {
    upload_as::<B>(like, values, &like.shape())
}

/// A tensor of another shape, of the element type of `like`.
pub(crate) fn upload_as<B: Backend>(
    like: &FloatTensor<B>,
    values: Vec<f64>,
    shape: &[usize],
) -> FloatTensor<B> {
    let data = TensorData::new(values, shape.to_vec()).convert_dtype(like.dtype());
    B::float_from_data(data, &like.device())
}

pub(crate) fn interleaved(values: impl IntoIterator<Item = Complex64>) -> Vec<f64> {
    values.into_iter().flat_map(|value| [value.re, value.im]).collect()
}
