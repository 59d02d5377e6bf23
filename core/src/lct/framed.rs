//! Framed signals: scale and chirp as metadata, so that every real matrix acts exactly.
//!
//! A framed signal is `f = L(q) D(m) Σ v_k h_k`: coefficients `v` in the Hermite–Gauss-like basis and a
//! frame `(q, m)`. To apply `M`, factor `M·L(q)·D(m) = L(q')·D(m')·R(θ)` (Iwasawa): with
//! `G = M·L(q)·D(m)`,
//! `m'² = G_a² + G_b²`, `q' = (G_a G_c + G_b G_d)/m'²`, `θ = atan2(G_b, G_a)`,
//! and `v' = exp(−iθ(k + ½)) v`. Rotations form an exact group on every vector, the frames compose as
//! matrices, so chains equal products for all real `M`, `b = 0` included, to rounding.
//!
//! The sign: `exp(−iθ(k + ½))` is metaplectic, of period 4π, the kernel's `(ib)^(−1/2)`;
//! `exp(−iθk)` ([`ZeroPoint::Without`]) has no sign and gives the plain DFT at `θ = π/2`. Since `L(q)`
//! and `D(m)`, `m > 0`, leave the sign of `G_b` alone, the principal `θ ∈ (−π, π]` continues the
//! principal square root of `M`'s kernel, and the sum of the angles modulo 4π is the lift.
//!
//! What is not promised: samples on another grid than `x = m n/√N`. Going there is
//! [`Frame::resampling`], the one inexact step.
//!
//! Reference: Folland, *Harmonic Analysis in Phase Space* (1989), ch. 4 (the metaplectic
//! representation); Koç, Ozaktas, Candan, Kutay, *Digital computation of linear canonical transforms*,
//! IEEE Trans. Signal Process. 56 (2008), for the Iwasawa factors.

use core::f64::consts::PI;

use num_complex::Complex64;

use super::dd::Dd;
use super::matrix::{finite, finite_entries};
use super::{Abcd, centred_grid, chirp_table, hermite};
use crate::{Error, Result};

const OP: &str = "lct_framed";

/// Whether a rotation carries the zero-point phase `exp(−iθ/2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ZeroPoint {
    /// `exp(−iθk)`: no sign, the plain DFT at `θ = π/2`.
    #[default]
    Without,
    /// `exp(−iθ(k + ½))`: metaplectic, the kernel's `(ib)^(−1/2)`; `θ` matters modulo 4π.
    With,
}

impl ZeroPoint {
    const fn order(self, k: usize) -> f64 {
        match self {
            Self::Without => k as f64,
            Self::With => k as f64 + 0.5,
        }
    }
}

/// The eigenvalues of a rotation by `angle`, `exp(−i angle k)` for `k < n`, or with `k + ½`.
///
/// The product `angle·k` is kept to 106 bits before it is reduced, so each entry is within 4e-16 of
/// the exact phase of the given `angle`.
///
/// # Errors
/// [`Error::Value`] if `angle` is not finite or `angle·n` overflows.
///
/// ```
/// use wavecube_core::lct::{ZeroPoint, rotation_phases};
/// let phases = rotation_phases(2, core::f64::consts::FRAC_PI_2, ZeroPoint::Without)?;
/// assert!((phases[1] + wavecube_core::Complex64::I).norm() < 1e-15);
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn rotation_phases(n: usize, angle: f64, zero_point: ZeroPoint) -> Result<Vec<Complex64>> {
    if !(angle * (n as f64 + 1.0)).is_finite() {
        return Err(Error::Value {
            op: "frft",
            argument: "angle",
            expected: "finite",
            found: angle,
        });
    }
    Ok((0..n).map(|k| Dd::product(-angle, zero_point.order(k)).cis()).collect())
}

/// The derivative of [`rotation_phases`] by the angle, `−ik exp(−i angle k)`, or with `k + ½`.
///
/// # Errors
/// As [`rotation_phases`].
pub fn rotation_phase_derivatives(
    n: usize,
    angle: f64,
    zero_point: ZeroPoint,
) -> Result<Vec<Complex64>> {
    let mut phases = rotation_phases(n, angle, zero_point)?;
    for (k, phase) in phases.iter_mut().enumerate() {
        *phase *= Complex64::new(0.0, -zero_point.order(k));
    }
    Ok(phases)
}

/// The chirp, scale and accumulated angle of a framed signal.
///
/// ```
/// use wavecube_core::lct::{Abcd, Frame};
///
/// let (frame, angle) = Frame::IDENTITY.apply(&Abcd::chirp(0.5))?; // b = 0 is no special case
/// assert_eq!((frame.q(), frame.m(), angle), (0.5, 1.0, 0.0));
/// # Ok::<(), wavecube_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    q: f64,
    m: f64,
    theta: f64,
}

/// The exact derivatives of one [`Frame::apply`]: rows are the new `q`, the new `m`, and the angle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameJacobian {
    /// By the entries `(a, b, c, d)` of the matrix that was applied.
    pub matrix: [[f64; 4]; 3],
    /// By the `(q, m)` of the frame it was applied to.
    pub frame: [[f64; 2]; 3],
}

impl Frame {
    /// The frame of a signal on the centred grid itself.
    pub const IDENTITY: Self = Self { q: 0.0, m: 1.0, theta: 0.0 };

    /// A frame of chirp rate `q`, scale `m > 0` and metaplectic angle `theta` (taken modulo 4π).
    ///
    /// # Errors
    /// [`Error::Value`] naming the value that is not finite, or `m` if it is not positive.
    pub fn new(q: f64, m: f64, theta: f64) -> Result<Self> {
        finite(OP, "q", q)?;
        finite(OP, "theta", theta)?;
        if m.is_finite() && m > 0.0 {
            Ok(Self { q, m, theta: modulo_four_pi(theta) })
        } else {
            Err(Error::Value { op: OP, argument: "m", expected: "finite and positive", found: m })
        }
    }

    /// The rate of the chirp `exp(iπ q x²)`.
    pub const fn q(&self) -> f64 {
        self.q
    }

    /// The scale: the signal lives on the grid `x = m n/√N`.
    pub const fn m(&self) -> f64 {
        self.m
    }

    /// The sum of all rotation angles so far, in [0, 4π). Modulo 2π it is fixed by the product of the
    /// matrices; the turn it is on is the metaplectic sign.
    pub const fn theta(&self) -> f64 {
        self.theta
    }

    /// `L(q) D(m) R(theta)`: the product of all matrices applied to [`Self::IDENTITY`].
    pub fn product(&self) -> Abcd {
        let (sin, cos) = self.theta.sin_cos();
        let (a, b) = (self.m * cos, self.m * sin);
        Abcd::unchecked(a, b, self.q * a - sin / self.m, self.q * b + cos / self.m)
    }

    /// The frame after `matrix`, and the angle by which the coefficients have to be rotated:
    /// `v' = exp(−i angle (k + ½)) v`, see [`rotation_phases`].
    ///
    /// # Errors
    /// [`Error::Value`] if an entry is not finite, or the new scale or chirp leaves the range of `f64`.
    pub fn apply(&self, matrix: &Abcd) -> Result<(Self, f64)> {
        finite_entries(OP, matrix)?;
        let g = self.carried(matrix);
        let m = g.a().hypot(g.b());
        let angle = g.angle();
        // Divided twice: m² may overflow where m does not.
        let q = (g.a() / m) * (g.c() / m) + (g.b() / m) * (g.d() / m);
        finite(OP, "q", q)?;
        Ok((Self::new(q, m, self.theta + angle)?, angle))
    }

    /// The derivatives of [`Self::apply`].
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_jacobian(&self, matrix: &Abcd) -> Result<FrameJacobian> {
        let (next, _) = self.apply(matrix)?;
        let g = self.carried(matrix);
        let square = next.m * next.m;
        // By the entries of G first.
        let m_by = [g.a() / next.m, g.b() / next.m, 0.0, 0.0];
        let angle_by = [-g.b() / square, g.a() / square, 0.0, 0.0];
        let q_by = {
            let along = |i: usize| 2.0 * next.q * m_by[i] / next.m;
            [g.c() / square - along(0), g.d() / square - along(1), g.a() / square, g.b() / square]
        };
        // G_a = (a + bq)m, G_b = b/m, G_c = (c + dq)m, G_d = d/m.
        let Self { q, m, .. } = *self;
        let by_matrix = |g_by: [f64; 4]| {
            [g_by[0] * m, g_by[0] * q * m + g_by[1] / m, g_by[2] * m, g_by[2] * q * m + g_by[3] / m]
        };
        let by_frame = |g_by: [f64; 4]| {
            [
                (g_by[0] * matrix.b() + g_by[2] * matrix.d()) * m,
                (g_by[0] * g.a() - g_by[1] * g.b() + g_by[2] * g.c() - g_by[3] * g.d()) / m,
            ]
        };
        let rows = [q_by, m_by, angle_by];
        Ok(FrameJacobian { matrix: rows.map(by_matrix), frame: rows.map(by_frame) })
    }

    /// The chirp that turns `Σ v_k h_k` on the centred grid into samples of `f` on the frame's own grid
    /// `x_j = m n_j/√N` (weighted by the square root of the spacing, so that nothing changes the norm):
    /// `exp(iπ q m² n_j²/N)`.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` is 0, [`Error::Value`] if the phases overflow.
    pub fn chirp(&self, n: usize) -> Result<Vec<Complex64>> {
        chirp_table(n, self.q * self.m * self.m)
    }

    /// The matrix that takes the coefficients `v` to samples on the fixed grid `x_j = n_j/√N`,
    /// row-major `[N, N]` (point, order): `N^(−1/4) m^(−1/2) exp(iπ q n_j²/N) h_k(x_j/m)`. Its adjoint
    /// takes samples back. Neither is unitary: what lies outside the window, or between the samples,
    /// is lost.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` is 0 or more than [`super::Eigenbasis::MAX_LENGTH`], [`Error::Value`] if
    /// the phases overflow.
    pub fn resampling(&self, n: usize) -> Result<Vec<Complex64>> {
        self.resampled(n, |_, _, function, _| function)
    }

    /// The derivative of [`Self::resampling`] by the scale `m`: with `s = x_j/m`, `h_k(s)` becomes
    /// `−(h_k(s)/2 + s h_k'(s))/m`, `h_k' = √(πk) h_{k−1} − √(π(k+1)) h_{k+1}`. The one by `q` is
    /// `iπ n_j²/N` times the matrix itself.
    ///
    /// # Errors
    /// As [`Self::resampling`].
    pub fn resampling_by_scale(&self, n: usize) -> Result<Vec<Complex64>> {
        self.resampled(n, |k, s, function, [below, above]| {
            let slope = (PI * k as f64).sqrt() * below - (PI * (k as f64 + 1.0)).sqrt() * above;
            -(0.5 * function + s * slope) / self.m
        })
    }

    /// `N^(−1/4) m^(−1/2) exp(iπ q n_j²/N)` times what `of` makes of the order `k`, the point `x_j/m`,
    /// `h_k` there, and the orders below and above.
    fn resampled(
        &self,
        n: usize,
        of: impl Fn(usize, f64, f64, [f64; 2]) -> f64,
    ) -> Result<Vec<Complex64>> {
        if n > super::Eigenbasis::MAX_LENGTH {
            return Err(Error::Length {
                op: OP,
                argument: "n",
                expected: "from 1 to 16384",
                found: n,
            });
        }
        let chirp = chirp_table(n, self.q)?;
        let root = (n as f64).sqrt();
        let points = centred_grid(n).iter().map(|p| p / (root * self.m)).collect::<Vec<_>>();
        let functions = hermite::table(n + 1, &points);
        let scale = (root * self.m).sqrt().recip();
        Ok((0..n * n)
            .map(|entry| {
                let (j, k) = (entry / n, entry % n);
                let below = if k == 0 { 0.0 } else { functions[(k - 1) * n + j] };
                let around = [below, functions[(k + 1) * n + j]];
                chirp[j] * (scale * of(k, points[j], functions[k * n + j], around))
            })
            .collect())
    }

    /// `G = M·L(q)·D(m)`.
    fn carried(&self, matrix: &Abcd) -> Abcd {
        let [a, b, c, d] = matrix.entries();
        let Self { q, m, .. } = *self;
        Abcd::unchecked(b.mul_add(q, a) * m, b / m, d.mul_add(q, c) * m, d / m)
    }
}

fn modulo_four_pi(theta: f64) -> f64 {
    let reduced = theta.rem_euclid(4.0 * PI);
    // A tiny negative angle rounds up to the whole period.
    if reduced < 4.0 * PI { reduced } else { 0.0 }
}
