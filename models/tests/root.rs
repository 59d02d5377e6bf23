//! Tests of the models: operations, layers, models, training, and everything a user can get wrong.

mod attention;
mod bridge;
mod broken;
mod byte_spectral;
mod cache;
mod convolution;
mod elementary;
mod experts;
mod failures;
mod generation;
mod inputs;
mod layers;
mod model;
mod qmatmul;
mod quantize;
mod quantize_aware;
mod resnet_bk;
mod sparsity;
mod support;
mod training;
mod tridiag;
