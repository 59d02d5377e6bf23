//! The truth: every family from its definition, in `f64`, without a line of the library's tables.

pub mod convolution;
pub mod fft;
pub mod lct;
pub mod tridiag;
