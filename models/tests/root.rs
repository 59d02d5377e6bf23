//! Tests of the models: operations, layers, models, training, and everything a user can get wrong.

mod broken;
mod byte_spectral;
mod cache;
mod experts;
mod failures;
mod generation;
mod inputs;
mod layers;
mod mixed_precision;
mod model;
mod quantize;
mod quantize_aware;
mod resnet_bk;
mod sparsity;
mod stream;
mod support;
mod tape;
mod training;
