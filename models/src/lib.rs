//! Sequence models on wavecube's kernels: layers, data, training, generation.
//!
//! The library that knows [Burn](burn). The `wavecube` program has a crate of its own, `wavecube-cli`. A model is a
//! module with a [`LanguageModel`](model::LanguageModel) and a line in the registry, `src/registry.rs`. From the bottom
//! up:
//!
//! | module | what it is |
//! |---|---|
//! | [`layers`] | the linear canonical transform as a layer, the resolvent and the spectral mixer, attention, experts |
//! | [`lct_gpt`] | LCT-GPT, a byte-level GPT with a transform in its blocks |
//! | [`resnet_bk`] | ResNet-BK, a byte-level model on resolvents of tridiagonal operators |
//! | [`byte_spectral`] | the byte-spectral model, on complex filters along the sequence |
//! | [`core_config`], [`model`], [`flops`] | what all models have, the models behind one type, and what they compute |
//! | [`error`] | what can go wrong around a model |
//! | [`config`], [`presets`], [`data`], [`random`], [`device`], [`threads`] | a run's configuration, text, randomness, device, threads |
//! | [`tape`], [`optimizer`], [`train`], [`checkpoint`], [`memory`], [`metrics`], [`output`] | training that resumes to the last bit |
//! | [`quantize_aware`], [`mixed_precision`], [`training_view`] | the numbers that it computes with: fewer bits, 16 bits |
//! | [`generate`], [`quantize`] | what a trained model is for, and fewer bits for it |
//!
//! ```
//! use burn::tensor::{Device, Int, Tensor};
//! use wavecube_models::{lct_gpt::{LctGpt, ModelConfig}, model::LanguageModel, random::Random};
//!
//! let device = Device::flex();
//! let model = LctGpt::new(&ModelConfig::default(), &mut Random::new(1), &device)?;
//! let bytes = Tensor::<2, Int>::from_data([[104, 101, 108, 108, 111]], &device);
//! assert_eq!(model.forward(bytes)?.dims(), [1, 5, 256]);
//! # Ok::<(), wavecube_core::Error>(())
//! ```

pub mod byte_spectral;
pub mod checkpoint;
pub mod config;
pub mod core_config;
pub mod data;
pub mod device;
pub mod error;
pub mod flops;
pub mod generate;
pub mod layers;
pub mod lct_gpt;
pub mod memory;
pub mod metrics;
pub mod mixed_precision;
pub mod model;
pub mod optimizer;
pub mod output;
pub mod presets;
pub mod quantize;
pub mod quantize_aware;
pub mod random;
mod registry;
pub mod resnet_bk;
pub mod tape;
pub mod threads;
pub mod train;
pub mod training_view;
