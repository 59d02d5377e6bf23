//! Batched Fourier and linear canonical transforms on CUDA, WGPU and the CPU.
//!
//! ```
//! use wavecube::{Complex32, Device, Normalization, Tensor, fft, ifft};
//!
//! let device = Device::best()?;
//! let signal: Vec<Complex32> = (0..4 * 60).map(|i| Complex32::new((i as f32).sin(), 0.0)).collect();
//! let x = Tensor::from_slice(&device, &signal, &[4, 60])?;
//! let spectrum = fft(&x, -1, Normalization::Ortho)?;
//! let back: Vec<Complex32> = ifft(&spectrum, -1, Normalization::Ortho)?.read()?;
//! assert!(back.iter().zip(&signal).all(|(a, b)| (a - b).norm() < 1e-5));
//! # Ok::<(), wavecube::Error>(())
//! ```
//!
//! An operation that returns `Ok` has been enqueued; a fault of the device shows on the next
//! [`Tensor::read`]. An operation that returns an error has enqueued nothing.

mod device;
mod fft;
mod tensor;

pub use device::Device;
pub use fft::{
    dft_naive, fft, fft_in_place, fft_into, fft_vjp, fftn, ifft, ifft_vjp, irfft, irfft_vjp, rfft,
    rfft_vjp,
};
pub use tensor::{Element, Tensor};
pub use wavecube_core::{
    Complex32, Complex64, DeviceFault, Dtype, Error, Layout, Limits, Result,
    fft::{Direction, Normalization},
};
pub use wavecube_kernels::fft::{FftPlan, FftProblem};
