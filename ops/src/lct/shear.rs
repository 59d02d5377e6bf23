//! Chirps and shears.

use wavecube_core::{
    Complex64, Error, Result,
    lct::{Abcd, ShearFactors, ShearForm, ShearPasses, chirp_table},
};
use wavecube_kernels::lct::{
    Factor, Program, adjoint, centred_dft, shear_factors, shear_spectrum_factors,
};

use super::{
    cache::Key,
    run::{Sum, check_pair, complex_axis, gradient, rate_weights, run},
};
use crate::Tensor;

/// The chirp `L(q)`: multiplies by `exp(iπ q n²/N)` on the centred grid along `axis`.
///
/// Promises: unitary, exact group law `L(p)L(q) = L(p + q)` to rounding, and exact identity at `q = 0`.
/// One trip through memory, 16 bytes a point in `f32`.
///
/// # Errors
/// [`Error::Dtype`] for a real tensor, [`Error::Axis`] if there is no such axis, [`Error::Length`] if it
/// is empty, [`Error::Value`] if `q` is not finite or its phases overflow.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, chirp_multiply};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 4], &[4])?;
/// let y: Vec<Complex32> = chirp_multiply(&x, 2.0, -1)?.read()?;
/// // n₀ = −3/2: exp(iπ·2·(9/4)/4)
/// assert!((y[0] - Complex32::from_polar(1.0, 9.0 / 8.0 * core::f32::consts::PI)).norm() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn chirp_multiply(x: &Tensor, q: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "chirp_multiply";
    let (_, n) = complex_axis(OP, x, axis)?;
    run(OP, x, axis, Key::new(OP, n, &[q], x.dtype()), || {
        let factors = if q == 0.0 { vec![] } else { vec![Factor::Diagonal(chirp_table(n, q)?)] };
        Ok(Program::of_factors(n, &factors))
    })
}

/// The gradient of [`chirp_multiply`] with respect to the signal: its adjoint, `L(−q)`.
///
/// # Errors
/// As [`chirp_multiply`].
pub fn chirp_multiply_vjp(g: &Tensor, q: f64, axis: isize) -> Result<Tensor> {
    chirp_multiply(g, -q, axis)
}

/// The gradient of [`chirp_multiply`] with respect to `q`, a real tensor of one element.
///
/// # Errors
/// As [`chirp_multiply`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn chirp_multiply_rate_vjp(x: &Tensor, g: &Tensor, q: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "chirp_multiply_rate_vjp";
    let (_, n) = complex_axis(OP, x, axis)?;
    check_pair(OP, x, g)?;
    let y = chirp_multiply(x, q, axis)?;
    gradient(OP, axis, &[Sum { y: &y, g, weights: rate_weights(n) }], &[vec![1.0]])
}

/// The unitary DFT of the centred grid, `N^(−1/2) Σ exp(−2πi n_j n_l/N) x_l`, or its inverse.
///
/// # Errors
/// [`Error::Dtype`] for a real tensor, [`Error::Axis`] if there is no such axis, [`Error::Length`] if it
/// is empty, [`Error::Limit`] if it is longer than the device allows.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, fourier};
/// let device = Device::best()?;
/// let one = Complex32::new(1.0, 0.0);
/// let x = Tensor::from_slice(&device, &[Complex32::ZERO, one, Complex32::ZERO], &[3])?;
/// let y: Vec<Complex32> = fourier(&x, false, -1)?.read()?;
/// assert!(y.iter().all(|v| (v - one / 3f32.sqrt()).norm() < 1e-6));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn fourier(x: &Tensor, inverse: bool, axis: isize) -> Result<Tensor> {
    let (_, n) = complex_axis("fourier", x, axis)?;
    let recipe = if inverse { "fourier inverse" } else { "fourier" };
    run("fourier", x, axis, Key::new(recipe, n, &[], x.dtype()), || {
        Ok(Program::of_factors(n, &centred_dft(n, inverse)))
    })
}

/// The transform of `m` along `axis` as three shears: chirp, DFT, chirp, inverse DFT, chirp, in one trip
/// through memory while the length fits; a DFT before or behind where the factorisation of least stretch
/// has one (see [`ShearFactors`]). The kernel's constant phase is included.
///
/// Promises: unitary and invertible on every vector; the group law, up to the metaplectic sign, and
/// agreement with the continuous transform inside the time–frequency window. Cannot: keep the group law
/// on signals that fill the window, such as white noise. [`lct_framed`](crate::lct_framed) does. Where
/// `|b| < 1e-3` another factorisation is taken and
/// [`Device::degenerate_hits`](crate::Device::degenerate_hits) counts it.
///
/// # Errors
/// As [`fourier`]; [`Error::Value`] if an entry is not finite or the rates overflow.
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, Tensor, lct_shear, lct_shear_vjp};
/// let device = Device::best()?;
/// let pulse: Vec<Complex32> =
///     (0..64).map(|j| Complex32::new((-((j as f32 - 31.5) / 8.0).powi(2)).exp(), 0.0)).collect();
/// let x = Tensor::from_slice(&device, &pulse, &[64])?;
/// let m = Abcd::fractional_fourier(0.6);
/// let back: Vec<Complex32> = lct_shear_vjp(&lct_shear(&x, &m, -1)?, &m, -1)?.read()?;
/// assert!(back.iter().zip(&pulse).all(|(a, b)| (a - b).norm() < 1e-5));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_shear(x: &Tensor, m: &Abcd, axis: isize) -> Result<Tensor> {
    lct_shear_factored(x, &ShearFactors::new(m)?, axis)
}

/// The gradient of [`lct_shear`] with respect to the signal: its adjoint, which is its inverse.
///
/// # Errors
/// As [`lct_shear`].
pub fn lct_shear_vjp(g: &Tensor, m: &Abcd, axis: isize) -> Result<Tensor> {
    lct_shear_factored_vjp(g, &ShearFactors::new(m)?, axis)
}

/// The gradient with respect to the entries `(a, b, c, d)`, a real tensor of four elements, of
/// `lct_shear_factored` with `ShearFactors::smooth(m)`.
///
/// Only its components along the group are meaningful: it is right for every change of the entries that
/// keeps the determinant. For other parameters multiply by the derivative of the entries, as with
/// [`Lie::exp_jacobian`](wavecube_core::lct::Lie::exp_jacobian).
///
/// # Errors
/// As [`lct_shear`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn lct_shear_param_vjp(x: &Tensor, g: &Tensor, m: &Abcd, axis: isize) -> Result<Tensor> {
    lct_shear_factored_param_vjp(x, g, &ShearFactors::smooth(m)?, axis)
}

/// [`lct_shear`] in a factorisation of the caller's choice: [`ShearFactors::smooth`] where the matrix is
/// trained, [`ShearFactors::pinned`] where the factorisation must not change.
///
/// # Errors
/// As [`lct_shear`].
pub fn lct_shear_factored(x: &Tensor, factors: &ShearFactors, axis: isize) -> Result<Tensor> {
    let y = lct_shear_passes(x, &factors.passes(), factors.phase(), axis)?;
    if factors.degenerate() {
        x.device().lct().count_degenerate();
    }
    Ok(y)
}

/// The gradient of [`lct_shear_factored`] with respect to the signal.
///
/// # Errors
/// As [`lct_shear`].
pub fn lct_shear_factored_vjp(g: &Tensor, factors: &ShearFactors, axis: isize) -> Result<Tensor> {
    lct_shear_passes_vjp(g, &factors.passes(), factors.phase(), axis)
}

/// The gradient of [`lct_shear_factored`] with respect to `(a, b, c, d)`, as [`lct_shear_param_vjp`].
///
/// # Errors
/// As [`lct_shear_param_vjp`]; [`Error::Unsupported`] for the isolated factorisations of
/// [`ShearFactors::new`], which have no derivative.
pub fn lct_shear_factored_param_vjp(
    x: &Tensor,
    g: &Tensor,
    factors: &ShearFactors,
    axis: isize,
) -> Result<Tensor> {
    let Some(by_entries) = factors.rate_jacobian() else {
        return Err(Error::Unsupported {
            op: "lct_shear_param_vjp",
            argument: "factors",
            reason: "this factorisation holds at one matrix only; take ShearFactors::smooth",
        });
    };
    // The passes negate some rates, see `ShearFactors::passes`.
    let signs = match factors.form() {
        ShearForm::ChirpMiddleConvolution => [1.0, -1.0, 1.0],
        ShearForm::ConvolutionMiddleChirp => [-1.0, 1.0, -1.0],
    };
    let jacobian: Vec<Vec<f64>> = (0..4)
        .map(|entry| by_entries.iter().zip(signs).map(|(row, sign)| sign * row[entry]).collect())
        .collect();
    lct_shear_rate_vjp(x, g, &factors.passes(), factors.phase(), &jacobian, axis)
}

/// The passes themselves: powers of the centred DFT around chirp, DFT, chirp, inverse DFT, chirp, times
/// `phase`. Any rates are a unitary transform, so a layer may train them directly.
///
/// # Errors
/// As [`lct_shear`].
pub fn lct_shear_passes(
    x: &Tensor,
    passes: &ShearPasses,
    phase: Complex64,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_shear";
    let (_, n) = complex_axis(OP, x, axis)?;
    run(OP, x, axis, key(OP, n, passes, phase, x), || {
        Ok(Program::of_factors(n, &shear_factors(n, passes, phase)?))
    })
}

/// The gradient of [`lct_shear_passes`] with respect to the signal: the same factors' inverse.
///
/// # Errors
/// As [`lct_shear`].
pub fn lct_shear_passes_vjp(
    g: &Tensor,
    passes: &ShearPasses,
    phase: Complex64,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_shear_vjp";
    let (_, n) = complex_axis(OP, g, axis)?;
    run(OP, g, axis, key(OP, n, passes, phase, g), || {
        let there = shear_factors(n, passes, phase)?;
        Ok(Program::of_factors(n, &adjoint(n, &there)))
    })
}

/// The gradient of [`lct_shear_passes`] with respect to the rates `(first, middle, last)`, multiplied by
/// `jacobian`: a row for each parameter, a column for each rate; the unit matrix gives the rates' own.
///
/// A real tensor of one element a row. Costs two transforms, two to six DFTs and three reductions: each
/// rate's derivative is `Σ w_j Im(g_j* y_j)` where its chirp stands, with `w_j = −π n_j²/N`.
///
/// # Errors
/// As [`lct_shear_param_vjp`]; [`Error::Length`] if a row of `jacobian` has not three elements.
pub fn lct_shear_rate_vjp(
    x: &Tensor,
    g: &Tensor,
    passes: &ShearPasses,
    phase: Complex64,
    jacobian: &[Vec<f64>],
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_shear_rate_vjp";
    let (_, n) = complex_axis(OP, x, axis)?;
    check_pair(OP, x, g)?;
    if let Some(row) = jacobian.iter().find(|row| row.len() != 3) {
        return Err(Error::Length {
            op: OP,
            argument: "jacobian",
            expected: "3 for every row",
            found: row.len(),
        });
    }
    let y = lct_shear_passes(x, passes, phase, axis)?;
    let gx = lct_shear_passes_vjp(g, passes, phase, axis)?;
    let turned = |x: &Tensor, power: u8| match power % 4 {
        1 => fourier(x, false, axis),
        3 => fourier(x, true, axis),
        // The weights are even: a reversal of both operands changes no sum.
        _ => Ok(x.clone()),
    };
    let spectrum = |x: &Tensor| {
        run(OP, x, axis, key(OP, n, passes, Complex64::ONE, x), || {
            Ok(Program::of_factors(n, &shear_spectrum_factors(n, passes)?))
        })
    };
    let (x_first, g_first) = (turned(x, passes.before)?, turned(&gx, passes.before)?);
    let (x_middle, g_middle) = (spectrum(x)?, spectrum(&gx)?);
    let (x_last, g_last) = (turned(&y, 4 - passes.after % 4)?, turned(g, 4 - passes.after % 4)?);
    let weights = || rate_weights(n);
    gradient(
        OP,
        axis,
        &[
            Sum { y: &x_first, g: &g_first, weights: weights() },
            Sum { y: &x_middle, g: &g_middle, weights: weights() },
            Sum { y: &x_last, g: &g_last, weights: weights() },
        ],
        jacobian,
    )
}

fn key(op: &'static str, n: usize, passes: &ShearPasses, phase: Complex64, x: &Tensor) -> Key {
    let ShearPasses { before, first, forward, middle, last, after } = *passes;
    let powers =
        f64::from(before % 4) + 4.0 * f64::from(after % 4) + 16.0 * f64::from(u8::from(forward));
    Key::new(op, n, &[powers, first, middle, last, phase.re, phase.im], x.dtype())
}

/// [`lct_shear`] by the matrix of free propagation, `U(b)`: a convolution by a chirp.
///
/// # Errors
/// As [`lct_shear`].
pub fn fresnel(x: &Tensor, b: f64, axis: isize) -> Result<Tensor> {
    // F, chirp, F⁻¹ for every b: the group law holds on every vector.
    lct_shear_passes(x, &fresnel_passes(b), Complex64::ONE, axis)
}

/// The gradient of [`fresnel`] with respect to the signal, `U(−b)`.
///
/// # Errors
/// As [`lct_shear`].
pub fn fresnel_vjp(g: &Tensor, b: f64, axis: isize) -> Result<Tensor> {
    fresnel(g, -b, axis)
}

/// The gradient of [`fresnel`] with respect to `b`, a real tensor of one element.
///
/// # Errors
/// As [`lct_shear_param_vjp`].
pub fn fresnel_param_vjp(x: &Tensor, g: &Tensor, b: f64, axis: isize) -> Result<Tensor> {
    let jacobian = [vec![0.0, -1.0, 0.0]];
    lct_shear_rate_vjp(x, g, &fresnel_passes(b), Complex64::ONE, &jacobian, axis)
}

const fn fresnel_passes(b: f64) -> ShearPasses {
    ShearPasses { before: 0, first: 0.0, forward: true, middle: -b, last: 0.0, after: 0 }
}

/// Magnification `f(x) → |m|^(−1/2) f(x/m)` by [`lct_shear`]; true inside the window, unitary everywhere.
///
/// # Errors
/// As [`lct_shear`]; [`Error::Value`] if `m` is zero or not finite.
pub fn scaling(x: &Tensor, m: f64, axis: isize) -> Result<Tensor> {
    lct_shear(x, &Abcd::scaling(m)?, axis)
}

/// The separable transform of a plane: [`lct_shear`] of `m[0]` along `axes[0]` and of `m[1]` along
/// `axes[1]`.
///
/// # Errors
/// As [`lct_shear`]; [`Error::Unsupported`] if both name one axis.
pub fn lct2(x: &Tensor, m: [&Abcd; 2], axes: [isize; 2]) -> Result<Tensor> {
    let factors = plane(x, m, axes)?;
    lct_shear_factored(&lct_shear_factored(x, &factors[0], axes[0])?, &factors[1], axes[1])
}

/// The gradient of [`lct2`] with respect to the signal.
///
/// # Errors
/// As [`lct2`].
pub fn lct2_vjp(g: &Tensor, m: [&Abcd; 2], axes: [isize; 2]) -> Result<Tensor> {
    let factors = plane(g, m, axes)?;
    lct_shear_factored_vjp(&lct_shear_factored_vjp(g, &factors[1], axes[1])?, &factors[0], axes[0])
}

fn plane(x: &Tensor, m: [&Abcd; 2], axes: [isize; 2]) -> Result<[ShearFactors; 2]> {
    let (first, _) = complex_axis("lct2", x, axes[0])?;
    let (second, _) = complex_axis("lct2", x, axes[1])?;
    if first == second {
        return Err(Error::Unsupported {
            op: "lct2",
            argument: "axes",
            reason: "name two different axes",
        });
    }
    Ok([ShearFactors::new(m[0])?, ShearFactors::new(m[1])?])
}
