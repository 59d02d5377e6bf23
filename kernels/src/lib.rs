//! The kernels of wavecube, written once in CubeCL. No runtime is linked here.

mod constants;
mod device;
mod grid;
mod launch;
mod lines;

pub mod attention;
pub mod fft;
pub mod functions;
pub mod lct;
pub mod mixing;
pub mod qmatmul;
pub mod sum;
pub mod tridiag;

pub(crate) use constants::constant;
pub use device::{elem_type, limits};
