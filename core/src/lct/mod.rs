//! The linear canonical transform on the host: parameters, factorisations and tables, all in `f64`.
//!
//! `M = [[a, b], [c, d]]`, `ad − bc = 1`, acts on signals by
//!
//! `(T f)(u) = (ib)^(−1/2) ∫ exp(iπ(a x² − 2xu + d u²)/b) f(x) dx`.
//!
//! - `x`, `u`: position before and after. Frequencies are in cycles per unit of position, and a DFT of
//!   length `N` has the grid step `1/√N` in both, on the centred grid `n_j = j − (N−1)/2` (half-integers
//!   for even `N`).
//! - Sign: `M = [[0, 1], [−1, 0]]` is the Fourier transform with `exp(−2πixu)`, rotation by `π/2`.
//! - Generators: the chirp `L(q) = [[1, 0], [q, 1]]`, `exp(iπ q x²)`; the convolution by a chirp
//!   `U(b) = [[1, b], [0, 1]] = F⁻¹ exp(−iπ b x²) F`; the magnification `D(m) = diag(m, 1/m)`; the
//!   rotation `R(θ) = [[cos θ, sin θ], [−sin θ, cos θ]]`.
//! - Normalisation: unitary, samples weighted by the square root of their spacing. The kernel's
//!   principal `(ib)^(−1/2)` makes the sign metaplectic: products of transforms are transforms of products
//!   up to [`Abcd::metaplectic_sign`].
//!
//! No fixed grid carries a transform that is unitary *and* exactly multiplicative for all real `M`:
//! SL(2, ℝ) has no non-trivial finite-dimensional unitary representation. So there are several, and
//! each says what it keeps:
//!
//! | transform | tables | unitary | group law | true to the continuous transform |
//! |---|---|---|---|---|
//! | `frft` | [`Eigenbasis`], [`rotation_phases`] | exact | rotations, every vector | below `0.4√N` |
//! | `lct_framed` | [`Frame`] as well | exact | all real `M`, every vector | on its own grid |
//! | `lct_shear` | [`ShearFactors`], [`chirp_table`] | exact | inside the window only | inside the window |
//! | `lct_weil` | [`WeilMatrix`], [`WeilPlan`] | exact | integer `M` modulo `N`, with phase | no |
//! | `frft_weighted` | [`weighted_coefficients`] | exact | exact | no |
//! | `lct_scaled` | [`ScaledTables`] | exact | grids differ | yes |
//! | `lct_causal` | [`CausalTables`] | no | no | its one-sided part |
//! | `czt`, `lct_czt` | [`CztTables`] | no | no | the rectangle rule on any grid |
//!
//! Everything here is plain data: tables are `Vec<Complex64>`, and what is wrong with an argument comes
//! back as [`Error`].
//!
//! Reference: Healy, Kutay, Ozaktas, Sheridan (eds.), *Linear Canonical Transforms*, Springer (2016);
//! Folland, *Harmonic Analysis in Phase Space*, Princeton (1989), ch. 4.

mod causal;
mod chirp;
mod complex;
mod czt;
mod dd;
mod eigenbasis;
mod framed;
mod hermite;
mod lie;
mod matrix;
mod scaled;
mod shear;
mod tridiagonal;
mod weighted;
mod weil;

use core::f64::consts::FRAC_1_SQRT_2;

use num_complex::Complex64;

use crate::{Error, Result};

pub use causal::{CausalGrid, CausalTables};
pub use chirp::{centred_grid, chirp_generator, chirp_table};
pub use complex::ComplexAbcd;
pub use czt::{CztTables, OutputGrid};
pub use eigenbasis::Eigenbasis;
pub use framed::{Frame, FrameJacobian, ZeroPoint, rotation_phase_derivatives, rotation_phases};
pub use hermite::hermite_gauss;
pub use lie::Lie;
pub use matrix::{Abcd, DETERMINANT_TOLERANCE};
pub use scaled::ScaledTables;
pub use shear::{DEGENERATE, ShearFactors, ShearForm, ShearPasses};
pub use weighted::{weighted_coefficient_derivatives, weighted_coefficients};
pub use weil::{WeilMatrix, WeilPlan, WeilStep};

/// `exp(iπ·eighths/4)`, exact but for √½.
fn eighth_root(eighths: i64) -> Complex64 {
    const DIAGONAL: f64 = FRAC_1_SQRT_2;
    match eighths.rem_euclid(8) {
        0 => Complex64::new(1.0, 0.0),
        1 => Complex64::new(DIAGONAL, DIAGONAL),
        2 => Complex64::new(0.0, 1.0),
        3 => Complex64::new(-DIAGONAL, DIAGONAL),
        4 => Complex64::new(-1.0, 0.0),
        5 => Complex64::new(-DIAGONAL, -DIAGONAL),
        6 => Complex64::new(0.0, -1.0),
        _ => Complex64::new(DIAGONAL, -DIAGONAL),
    }
}

/// Accepts the length of a table: 1 to 2³¹.
fn table_length(op: &'static str, argument: &'static str, n: usize) -> Result<()> {
    if (1..=1 << 31).contains(&n) {
        Ok(())
    } else {
        Err(Error::Length { op, argument, expected: "from 1 to 2^31", found: n })
    }
}
