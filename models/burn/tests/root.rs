//! Tests of the operations on Burn tensors: values, gradients, and kernels against plain bodies.

mod attention;
mod convolution;
mod elementary;
mod gradients;
mod layers;
mod mixing;
mod plans;
mod qmatmul;
mod support;
mod transforms;
mod tridiag;
