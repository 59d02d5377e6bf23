//! Batched Fourier and linear canonical transforms, tridiagonal operators and attention, on CUDA, WGPU and the CPU.
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

mod attention;
mod call;
mod convolution;
mod device;
mod fft;
mod lct;
mod leading;
mod mixing;
mod process;
mod qmatmul;
mod spectral_filter;
mod sum;
mod tensor;
mod tridiag;

pub use attention::{
    Attended, Attention, AttentionGradients, KvCache, KvCacheConfig, Rotary, Step, attention,
    attention_into, attention_vjp,
};
pub use convolution::{causal_convolution, causal_convolution_filter_vjp, causal_convolution_vjp};
pub use device::Device;
pub use fft::{
    dft_naive, fft, fft_in_place, fft_into, fft_vjp, fftn, fftn_vjp, ifft, ifft_vjp, irfft,
    irfft_vjp, rfft, rfft_vjp,
};
pub use lct::{
    FramedGradients, FramedSignal, chirp_multiply, chirp_multiply_rate_vjp, chirp_multiply_vjp,
    czt, czt_param_vjp, czt_spiral, czt_spiral_param_vjp, czt_spiral_vjp, czt_vjp, fourier,
    fourier_vjp, fresnel, fresnel_param_vjp, fresnel_vjp, frft, frft_angle_vjp, frft_into,
    frft_vjp, frft_weighted, frft_weighted_angle_vjp, frft_weighted_vjp, laplace, laplace_vjp,
    lct_causal, lct_causal_jacobian_vjp, lct_causal_param_vjp, lct_causal_vjp, lct_complex,
    lct_complex_param_vjp, lct_complex_vjp, lct_czt, lct_czt_param_vjp, lct_czt_vjp, lct_framed,
    lct_framed_vjp, lct_scaled, lct_scaled_param_vjp, lct_scaled_vjp, lct_shear,
    lct_shear_factored, lct_shear_factored_param_vjp, lct_shear_factored_vjp, lct_shear_into,
    lct_shear_param_vjp, lct_shear_passes, lct_shear_passes_vjp, lct_shear_rate_vjp, lct_shear_vjp,
    lct_weil, lct_weil_vjp, lct2, lct2_param_vjp, lct2_vjp, scaling, scaling_param_vjp,
    scaling_vjp,
};
pub use leading::{leading_resolvent, leading_resolvent_vjp};
pub use mixing::{
    cardioid, cardioid_vjp, complex_linear, complex_linear_vjp, complex_rms_norm,
    complex_rms_norm_vjp, from_polar, from_polar_vjp, mod_relu, mod_relu_vjp, phase_mix,
    phase_mix_vjp, phase_rotate, phase_rotate_vjp, rms_norm, rms_norm_vjp, sigmoid_gate,
    sigmoid_gate_vjp, to_polar, to_polar_vjp,
};
pub use qmatmul::{
    Number, QmatmulOptions, QmatmulPlan, QmatmulStrategy, QuantizedComplexWeight, QuantizedWeight,
    WeightBindings, qmatmul, qmatmul_complex, qmatmul_complex_vjp, qmatmul_into, qmatmul_vjp,
    qmatmul_with,
};
pub use spectral_filter::{spectral_filter, spectral_filter_table_vjp, spectral_filter_vjp};
pub use tensor::{Element, Tensor};
pub use tridiag::{
    Kept, Pivoting, Pivots, Resolvent, Solution, SolveGradients, Tridiagonal, TridiagonalFactors,
    TridiagonalGradients, resolvent_diagonal, resolvent_diagonal_vjp,
};
pub use wavecube_core::cache::SequenceId;
/// Complex numbers in a few bits, on the host.
pub use wavecube_core::polar;
/// Quantised weights on the host.
pub use wavecube_core::quant;
pub use wavecube_core::{
    Complex32, Complex64, DeviceFault, Dtype, Error, FileFault, Fragment, Layout, Limits, Result,
    fft::{Direction, Normalization},
    lct::{
        Abcd, ComplexAbcd, Frame, Lie, OutputGrid, ShearFactors, ShearForm, ShearPasses,
        WeilMatrix, ZeroPoint,
    },
};
pub use wavecube_kernels::attention::Storage as CacheStorage;
pub use wavecube_kernels::fft::{FftPlan, FftProblem};
