//! The kernels of wavecube, written once in CubeCL. No runtime is linked here.

mod constants;
mod device;
mod launch;

pub mod fft;
pub mod lct;
pub mod qmatmul;
pub mod tridiag;

pub(crate) use constants::constant;
pub use device::{elem_type, limits};
