//! Harness, catalogue of cases and `f64` references of wavecube. Unpublished.

pub mod catalogue;
#[cfg(feature = "codegen")]
pub mod codegen;
mod harness;
pub mod reach;
pub mod reference;
mod slopes;
#[cfg(feature = "wgpu")]
mod webgpu;

pub use harness::{
    Rng, assert_close, devices, halves, has, nan_filled, read, relative_l2, rounded, tensor,
};
pub use slopes::{Slopes, norm, real_dot};
#[cfg(feature = "wgpu")]
pub use webgpu::webgpu;
