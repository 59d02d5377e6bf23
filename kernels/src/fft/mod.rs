//! Batched complex FFT.
mod butterfly;
mod chain;
mod kernel;
mod launch;
mod plan;

pub use chain::*;
pub use launch::{FftBindings, fft_launch, upload_table, upload_tables};
pub use plan::{FftPlan, FftProblem, Kind, Strategy};
