//! Plain data and mathematics of wavecube: no GPU, no Burn.
//!
//! Everything here runs on the host, in `f64`, and can be tested without a device: errors, element
//! types, strided layouts, the limits a plan reads, the tables that plans upload, and quantised weights.

mod dtype;
mod error;
mod layout;
mod limits;

pub mod cache;
pub mod choices;
pub mod fft;
pub mod file;
pub mod lct;
pub mod polar;
pub mod quant;

pub use dtype::Dtype;
pub use error::{DeviceFault, Error, FileFault, Result};
pub use layout::Layout;
pub use limits::{Fragment, Limits};
pub use num_complex::{Complex32, Complex64};
