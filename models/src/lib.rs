//! Sequence models on wavecube's kernels: layers, data, training, generation.
pub mod ablate;
pub mod bridge;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod demo;
pub mod device;
pub mod generate;
pub mod layers;
pub mod lct_gpt;
pub mod metrics;
pub mod optimizer;
pub mod random;
pub mod train;
