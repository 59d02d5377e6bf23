//! All tests of the operations, in one binary.

mod attention;
mod convolution;
mod device;
mod fft;
mod fft_lengths;
mod fft_plan;
mod functions;
mod lct;
mod leading;
mod mixing;
mod poison;
mod qmatmul;
mod tidy;
mod transforms;
mod tridiag;
mod webgpu;
