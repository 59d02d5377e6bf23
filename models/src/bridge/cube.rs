//! Every `CubeCL` backend: where the kernels of the `wavecube` crate are wired in.

use burn_cubecl::CubeBackend;

use super::{FftBackend, LctBackend};

impl FftBackend for CubeBackend {}
impl LctBackend for CubeBackend {}
