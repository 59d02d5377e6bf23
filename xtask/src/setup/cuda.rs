//! What the CUDA code generator needs besides LLVM: libdevice and ptxas, without the toolkit.

use std::path::PathBuf;

use super::{Missing, wheels::Wheel};

/// Bump the two together.
const VERSION: &str = "13.5.37";

const LIBDEVICE: Wheel = Wheel {
    name: "nvidia-nvvm",
    version: VERSION,
    purpose: "libdevice, CUDA's mathematics as LLVM bitcode",
    files: &[("nvvm/libdevice/libdevice.10.bc", "nvvm/libdevice/libdevice.10.bc")],
};

const PTXAS: Wheel = Wheel {
    name: "nvidia-cuda-nvcc",
    version: VERSION,
    purpose: "ptxas, the assembler that reports registers and spills",
    files: &[("bin/ptxas", "bin/ptxas")],
};

/// Where the two tools are.
pub(crate) struct Cuda {
    /// A folder laid out like a toolkit, for `CUDA_PATH`: libdevice is in it.
    pub(crate) path: PathBuf,
    /// The assembler.
    pub(crate) ptxas: PathBuf,
}

/// Makes sure that both are there.
pub(crate) fn provide() -> Result<Cuda, Missing> {
    let path = LIBDEVICE.provide()?;
    let ptxas = PTXAS.provide()?.join("bin/ptxas");
    Ok(Cuda { path, ptxas })
}
