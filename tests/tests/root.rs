//! All tests of the operations, in one binary.

mod convolution;
mod fft;
mod lct;
mod lct_gradients;
mod tidy;
