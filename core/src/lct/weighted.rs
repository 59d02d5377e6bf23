//! The weighted fractional Fourier transform: a cheap algebraic mixer.
//!
//! `T(θ) = Σ_l c_l(θ) F^l`, `c_l(θ) = ¼ Σ_{r=0}^{3} e^{−iθr} i^{rl}`: the function of `F` that has the
//! eigenvalue `e^{−iθr}` where `F` has `(−i)^r`. Unitary, `T(θ)T(φ) = T(θ + φ)` on every vector, of
//! period 2π, `T(π/2) = F`. It mixes `f`, `Ff`, `Pf` (reversed) and `F⁻¹f`, and does *not* rotate the
//! time–frequency plane: a pulse becomes a weighted sum of itself, its mirror image and two spectra.
//!
//! Reference: Shih, *Fractionalization of Fourier transform*, Opt. Commun. 118 (1995).

use num_complex::Complex64;

use super::dd::Dd;
use super::matrix::finite;
use crate::Result;

/// `[c₀, c₁, c₂, c₃]`: the weights of `f`, `Ff`, `Pf` and `F⁻¹f`, `F` the unitary DFT (centred or not,
/// with the reversal `P = F²` that belongs to it).
///
/// # Errors
/// [`crate::Error::Value`] if `angle` is not finite.
///
/// ```
/// use wavecube_core::lct::weighted_coefficients;
/// let c = weighted_coefficients(core::f64::consts::FRAC_PI_2)?;
/// assert!((c[1] - 1.0).norm() < 1e-15 && c[0].norm() < 1e-15);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn weighted_coefficients(angle: f64) -> Result<[Complex64; 4]> {
    Ok(mix(phases(angle)?))
}

/// The derivatives of [`weighted_coefficients`] by the angle.
///
/// # Errors
/// [`crate::Error::Value`] if `angle` is not finite.
pub fn weighted_coefficient_derivatives(angle: f64) -> Result<[Complex64; 4]> {
    let mut phases = phases(angle)?;
    for (r, phase) in phases.iter_mut().enumerate() {
        *phase *= Complex64::new(0.0, -(r as f64));
    }
    Ok(mix(phases))
}

fn phases(angle: f64) -> Result<[Complex64; 4]> {
    finite("frft_weighted", "angle", 4.0 * angle)?;
    Ok([0.0, 1.0, 2.0, 3.0].map(|r| Dd::product(-angle, r).cis()))
}

/// The inverse DFT of length 4, written out.
fn mix([e0, e1, e2, e3]: [Complex64; 4]) -> [Complex64; 4] {
    let (even, even_difference) = (e0 + e2, e0 - e2);
    let (odd, odd_difference) = (e1 + e3, Complex64::I * (e1 - e3));
    [even + odd, even_difference + odd_difference, even - odd, even_difference - odd_difference]
        .map(|sum| 0.25 * sum)
}
