//! Chirps and shears.

use wavecube_core::{
    Complex64, Error, Result,
    lct::{Abcd, ShearFactors, ShearForm, ShearPasses, chirp_table},
};
use wavecube_kernels::lct::{
    Factor, Program, adjoint, centred_dft, shear_factors, shear_spectrum_factors,
};

use super::run::{
    Sum, check_output, check_pair, complex_axis, gradient, rate_weights, run, run_into,
};
use crate::{
    Tensor,
    call::{GRADIENT, SIGNAL, of_call},
};

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
    run("chirp_multiply", x, axis, &[q], |n| {
        let factors = if q == 0.0 { vec![] } else { vec![Factor::Diagonal(chirp_table(n, q)?)] };
        Ok(Program::of_factors(n, &factors))
    })
    .map_err(of_call("chirp_multiply", &[("rate", "q")]))
}

/// The gradient of [`chirp_multiply`] with respect to the signal: its adjoint, `L(−q)`.
///
/// # Errors
/// As [`chirp_multiply`].
pub fn chirp_multiply_vjp(g: &Tensor, q: f64, axis: isize) -> Result<Tensor> {
    chirp_multiply(g, -q, axis).map_err(of_call("chirp_multiply_vjp", GRADIENT))
}

/// The gradient of [`chirp_multiply`] with respect to `q`, a real tensor of one element.
///
/// # Errors
/// As [`chirp_multiply`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn chirp_multiply_rate_vjp(x: &Tensor, g: &Tensor, q: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "chirp_multiply_rate_vjp";
    let n = check_pair(OP, x, g, axis)?;
    let y = chirp_multiply(x, q, axis).map_err(of_call(OP, SIGNAL))?;
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
    run("fourier", x, axis, &[f64::from(u8::from(inverse))], |n| {
        Ok(Program::of_factors(n, &centred_dft(n, inverse)))
    })
}

/// The gradient of [`fourier`] with respect to the signal: the transform back.
///
/// # Errors
/// As [`fourier`].
pub fn fourier_vjp(g: &Tensor, inverse: bool, axis: isize) -> Result<Tensor> {
    fourier(g, !inverse, axis).map_err(of_call("fourier_vjp", GRADIENT))
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
    let call = || lct_shear_factored(x, &ShearFactors::new(m)?, axis);
    call().map_err(of_call("lct_shear", OF_MATRIX))
}

/// [`lct_shear`] into a tensor that exists: of the input's shape, any strides, apart from the input.
///
/// # Errors
/// As [`lct_shear`]; [`Error::Shape`] for another shape; [`Error::Overlap`] if the memory of both meets;
/// [`Error::Strides`] if two elements of the output share a place.
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, Dtype, Tensor, lct_shear, lct_shear_into};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 2.0); 64], &[64])?;
/// let mut y = Tensor::empty(&device, Dtype::F32, true, &[64])?;
/// let m = Abcd::fractional_fourier(0.6);
/// lct_shear_into(&x, &mut y, &m, -1)?;
/// assert_eq!(y.read::<Complex32>()?, lct_shear(&x, &m, -1)?.read::<Complex32>()?);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_shear_into(x: &Tensor, output: &mut Tensor, m: &Abcd, axis: isize) -> Result<()> {
    const OP: &str = "lct_shear_into";
    let call = || {
        check_output(OP, x, output)?;
        let factors = ShearFactors::new(m)?;
        let (passes, phase) = (factors.passes(), factors.phase());
        run_into(OP, x, output, axis, &values(&passes, phase), |n| {
            Ok(Program::of_factors(n, &shear_factors(n, &passes, phase)?))
        })?;
        count(x, &factors);
        Ok(())
    };
    call().map_err(of_call(OP, OF_MATRIX))
}

/// Names in transforms of a matrix `m`.
const OF_MATRIX: &[(&str, &str)] = &[("rate", "m"), ("factors", "m")];

fn count(x: &Tensor, factors: &ShearFactors) {
    if factors.degenerate() {
        x.device().lct().count_degenerate();
    }
}

/// The gradient of [`lct_shear`] with respect to the signal: its adjoint, which is its inverse.
///
/// # Errors
/// As [`lct_shear`].
pub fn lct_shear_vjp(g: &Tensor, m: &Abcd, axis: isize) -> Result<Tensor> {
    let call = || lct_shear_factored_vjp(g, &ShearFactors::new(m)?, axis);
    call().map_err(of_call("lct_shear_vjp", OF_MATRIX))
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
    let call = || lct_shear_factored_param_vjp(x, g, &ShearFactors::smooth(m)?, axis);
    call().map_err(of_call("lct_shear_param_vjp", OF_MATRIX))
}

/// [`lct_shear`] in a factorisation of the caller's choice: [`ShearFactors::smooth`] where the matrix is
/// trained, [`ShearFactors::pinned`] where the factorisation must not change.
///
/// # Errors
/// As [`lct_shear`].
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, ShearFactors, Tensor};
/// use wavecube::{lct_shear_factored, lct_shear_factored_param_vjp, lct_shear_factored_vjp};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 16], &[16])?;
/// let factors = ShearFactors::smooth(&Abcd::fractional_fourier(0.6))?;
/// let y = lct_shear_factored(&x, &factors, -1)?;
/// // Of the loss ½‖y‖² the gradient at y is y. The transform is unitary: it comes back as x, and no
/// // change of the matrix changes the loss.
/// let by_signal: Vec<Complex32> = lct_shear_factored_vjp(&y, &factors, -1)?.read()?;
/// assert!(by_signal.iter().all(|v| (v - Complex32::new(1.0, 0.0)).norm() < 1e-5));
/// let by_entries: Vec<f32> = lct_shear_factored_param_vjp(&x, &y, &factors, -1)?.read()?;
/// assert!(by_entries.iter().all(|v| v.abs() < 1e-3));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_shear_factored(x: &Tensor, factors: &ShearFactors, axis: isize) -> Result<Tensor> {
    let names = &[("rate", "factors")];
    let y = lct_shear_passes(x, &factors.passes(), factors.phase(), axis)
        .map_err(of_call("lct_shear_factored", names))?;
    count(x, factors);
    Ok(y)
}

/// The gradient of [`lct_shear_factored`] with respect to the signal.
///
/// # Errors
/// As [`lct_shear`].
pub fn lct_shear_factored_vjp(g: &Tensor, factors: &ShearFactors, axis: isize) -> Result<Tensor> {
    lct_shear_passes_vjp(g, &factors.passes(), factors.phase(), axis)
        .map_err(of_call("lct_shear_factored_vjp", &[("rate", "factors")]))
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
    let call = || {
        let jacobian = entry_jacobian(factors)?;
        lct_shear_rate_vjp(x, g, &factors.passes(), factors.phase(), &jacobian, axis)
    };
    call().map_err(of_call("lct_shear_factored_param_vjp", &[("rate", "factors")]))
}

/// The derivatives of the passes' rates, a row for each entry `(a, b, c, d)`.
fn entry_jacobian(factors: &ShearFactors) -> Result<[Vec<f64>; 4]> {
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
    Ok([0, 1, 2, 3]
        .map(|entry| by_entries.iter().zip(signs).map(|(row, sign)| sign * row[entry]).collect()))
}

/// The passes themselves: powers of the centred DFT around chirp, DFT, chirp, inverse DFT, chirp, times
/// `phase`. Any rates are a unitary transform, so a layer may train them directly.
///
/// # Errors
/// As [`lct_shear`].
///
/// ```
/// use wavecube::{Complex32, Complex64, Device, ShearPasses, Tensor};
/// use wavecube::{lct_shear_passes, lct_shear_rate_vjp};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 16], &[16])?;
/// let passes =
///     ShearPasses { before: 0, first: 0.3, forward: true, middle: -0.8, last: 0.1, after: 0 };
/// let y = lct_shear_passes(&x, &passes, Complex64::ONE, -1)?;
/// let unit = [vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]];
/// let by_rates = lct_shear_rate_vjp(&x, &y, &passes, Complex64::ONE, &unit, -1)?;
/// assert_eq!(by_rates.shape(), [3]);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_shear_passes(
    x: &Tensor,
    passes: &ShearPasses,
    phase: Complex64,
    axis: isize,
) -> Result<Tensor> {
    run("lct_shear_passes", x, axis, &values(passes, phase), |n| {
        Ok(Program::of_factors(n, &shear_factors(n, passes, phase)?))
    })
    .map_err(of_call("lct_shear_passes", OF_PASSES))
}

/// Names in transforms of `passes`.
const OF_PASSES: &[(&str, &str)] = &[("rate", "passes")];

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
    const OP: &str = "lct_shear_passes_vjp";
    run(OP, g, axis, &values(passes, phase), |n| {
        let there = shear_factors(n, passes, phase)?;
        Ok(Program::of_factors(n, &adjoint(n, &there)))
    })
    .map_err(of_call(OP, GRADIENT))
    .map_err(of_call(OP, OF_PASSES))
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
    let n = check_pair(OP, x, g, axis)?;
    if let Some(row) = jacobian.iter().find(|row| row.len() != 3) {
        return Err(Error::Length {
            op: OP,
            argument: "jacobian",
            expected: "3 for every row",
            found: row.len(),
        });
    }
    let y = lct_shear_passes(x, passes, phase, axis).map_err(of_call(OP, SIGNAL))?;
    let gx = lct_shear_passes_vjp(g, passes, phase, axis).map_err(of_call(OP, &[]))?;
    let turned = |x: &Tensor, power: u8| match power % 4 {
        1 => fourier(x, false, axis),
        3 => fourier(x, true, axis),
        // The weights are even: a reversal of both operands changes no sum.
        _ => Ok(x.clone()),
    };
    let spectrum = |x: &Tensor| {
        run(OP, x, axis, &values(passes, Complex64::ONE), |n| {
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

/// The numbers that the tables of the passes are made from.
fn values(passes: &ShearPasses, phase: Complex64) -> [f64; 6] {
    let ShearPasses { before, first, forward, middle, last, after } = *passes;
    let powers =
        f64::from(before % 4) + 4.0 * f64::from(after % 4) + 16.0 * f64::from(u8::from(forward));
    [powers, first, middle, last, phase.re, phase.im]
}

/// [`lct_shear`] by the matrix of free propagation, `U(b)`: a convolution by a chirp.
///
/// # Errors
/// As [`lct_shear`].
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, fresnel};
/// let device = Device::best()?;
/// let signal: Vec<Complex32> = (0..20).map(|j| Complex32::new((j % 3) as f32, 1.0)).collect();
/// let x = Tensor::from_slice(&device, &signal, &[20])?;
/// let twice: Vec<Complex32> = fresnel(&fresnel(&x, 0.5, -1)?, 0.75, -1)?.read()?;
/// let once: Vec<Complex32> = fresnel(&x, 1.25, -1)?.read()?;
/// assert!(twice.iter().zip(&once).all(|(a, b)| (a - b).norm() < 1e-5));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn fresnel(x: &Tensor, b: f64, axis: isize) -> Result<Tensor> {
    // F, chirp, F⁻¹ for every b: the group law holds on every vector.
    lct_shear_passes(x, &fresnel_passes(b), Complex64::ONE, axis)
        .map_err(of_call("fresnel", &[("passes", "b")]))
}

/// The gradient of [`fresnel`] with respect to the signal, `U(−b)`.
///
/// # Errors
/// As [`lct_shear`].
pub fn fresnel_vjp(g: &Tensor, b: f64, axis: isize) -> Result<Tensor> {
    fresnel(g, -b, axis).map_err(of_call("fresnel_vjp", GRADIENT))
}

/// The gradient of [`fresnel`] with respect to `b`, a real tensor of one element.
///
/// # Errors
/// As [`lct_shear_param_vjp`].
pub fn fresnel_param_vjp(x: &Tensor, g: &Tensor, b: f64, axis: isize) -> Result<Tensor> {
    let jacobian = [vec![0.0, -1.0, 0.0]];
    lct_shear_rate_vjp(x, g, &fresnel_passes(b), Complex64::ONE, &jacobian, axis)
        .map_err(of_call("fresnel_param_vjp", &[("passes", "b")]))
}

const fn fresnel_passes(b: f64) -> ShearPasses {
    ShearPasses { before: 0, first: 0.0, forward: true, middle: -b, last: 0.0, after: 0 }
}

/// Magnification `f(x) → |m|^(−1/2) f(x/m)` by [`lct_shear`]; true inside the window, unitary everywhere.
///
/// # Errors
/// As [`lct_shear`]; [`Error::Value`] if `m` is zero or not finite.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, scaling, scaling_vjp};
/// let device = Device::best()?;
/// let pulse: Vec<Complex32> =
///     (0..65).map(|j| Complex32::new((-((j as f32 - 32.0) / 6.0).powi(2)).exp(), 0.0)).collect();
/// let x = Tensor::from_slice(&device, &pulse, &[65])?;
/// let wide = scaling(&x, 2.0, -1)?;
/// // Twice as wide and 1/√2 as high: three samples out is where 1.5 were.
/// let y: Vec<Complex32> = wide.read()?;
/// let expected = (-(1.5f32 / 6.0).powi(2)).exp() / 2f32.sqrt();
/// assert!((y[35].norm() - expected).abs() < 1e-3);
/// let back: Vec<Complex32> = scaling_vjp(&wide, 2.0, -1)?.read()?;
/// assert!(back.iter().zip(&pulse).all(|(a, b)| (a - b).norm() < 1e-5));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn scaling(x: &Tensor, m: f64, axis: isize) -> Result<Tensor> {
    let call = || lct_shear(x, &Abcd::scaling(m)?, axis);
    call().map_err(of_call("scaling", SIGNAL))
}

/// The gradient of [`scaling`] with respect to the signal: its adjoint, which is its inverse.
///
/// # Errors
/// As [`scaling`].
pub fn scaling_vjp(g: &Tensor, m: f64, axis: isize) -> Result<Tensor> {
    let call = || lct_shear_vjp(g, &Abcd::scaling(m)?, axis);
    call().map_err(of_call("scaling_vjp", GRADIENT))
}

/// The gradient of [`scaling`] with respect to `m`, a real tensor of one element: of the transform in the factorisation
/// `ShearFactors::smooth(m)`. That is the transform itself but at `m` of 1 and −1, where it is another beyond the window.
///
/// # Errors
/// As [`scaling`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn scaling_param_vjp(x: &Tensor, g: &Tensor, m: f64, axis: isize) -> Result<Tensor> {
    let call = || {
        let factors = ShearFactors::smooth(&Abcd::scaling(m)?)?;
        let [by_a, _, _, by_d] = entry_jacobian(&factors)?;
        // The matrix is diag(m, 1/m).
        let by_m = by_a.iter().zip(&by_d).map(|(a, d)| a - d / (m * m)).collect();
        lct_shear_rate_vjp(x, g, &factors.passes(), factors.phase(), &[by_m], axis)
    };
    call().map_err(of_call("scaling_param_vjp", &[("passes", "m")]))
}

/// The separable transform of a plane: [`lct_shear`] of `m[0]` along `axes[0]` and of `m[1]` along
/// `axes[1]`.
///
/// # Errors
/// As [`lct_shear`]; [`Error::Unsupported`] if both name one axis.
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, Tensor, lct2, lct2_vjp};
/// let device = Device::best()?;
/// let image: Vec<Complex32> = (0..8 * 12).map(|j| Complex32::new((j % 5) as f32, 0.0)).collect();
/// let x = Tensor::from_slice(&device, &image, &[8, 12])?;
/// let m = [&Abcd::fractional_fourier(0.5), &Abcd::fresnel(0.3)];
/// let back: Vec<Complex32> = lct2_vjp(&lct2(&x, m, [0, 1])?, m, [0, 1])?.read()?;
/// assert!(back.iter().zip(&image).all(|(a, b)| (a - b).norm() < 1e-4));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct2(x: &Tensor, m: [&Abcd; 2], axes: [isize; 2]) -> Result<Tensor> {
    let call = || {
        check_plane(x, axes)?;
        let [first, second] = [ShearFactors::new(m[0])?, ShearFactors::new(m[1])?];
        lct_shear_factored(&lct_shear_factored(x, &first, axes[0])?, &second, axes[1])
    };
    call().map_err(of_call("lct2", OF_MATRIX))
}

/// The gradient of [`lct2`] with respect to the signal.
///
/// # Errors
/// As [`lct2`].
pub fn lct2_vjp(g: &Tensor, m: [&Abcd; 2], axes: [isize; 2]) -> Result<Tensor> {
    let call = || {
        check_plane(g, axes).map_err(of_call("lct2_vjp", GRADIENT))?;
        let [first, second] = [ShearFactors::new(m[0])?, ShearFactors::new(m[1])?];
        lct_shear_factored_vjp(&lct_shear_factored_vjp(g, &second, axes[1])?, &first, axes[0])
    };
    call().map_err(of_call("lct2_vjp", OF_MATRIX))
}

/// The gradients with respect to the entries of both matrices, each as that of [`lct_shear_param_vjp`]: of
/// the transform in the factorisations `ShearFactors::smooth(m)`.
///
/// # Errors
/// As [`lct2`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn lct2_param_vjp(
    x: &Tensor,
    g: &Tensor,
    m: [&Abcd; 2],
    axes: [isize; 2],
) -> Result<[Tensor; 2]> {
    const OP: &str = "lct2_param_vjp";
    let call = || {
        check_plane(x, axes)?;
        check_pair(OP, x, g, axes[0])?;
        let [first, second] = [ShearFactors::smooth(m[0])?, ShearFactors::smooth(m[1])?];
        // Each matrix sees the signal before it and the gradient behind it.
        let between = lct_shear_factored_vjp(g, &second, axes[1])?;
        let by_first = lct_shear_factored_param_vjp(x, &between, &first, axes[0])?;
        let between = lct_shear_factored(x, &first, axes[0])?;
        let by_second = lct_shear_factored_param_vjp(&between, g, &second, axes[1])?;
        Ok([by_first, by_second])
    };
    call().map_err(of_call(OP, OF_MATRIX))
}

fn check_plane(x: &Tensor, axes: [isize; 2]) -> Result<()> {
    let (first, _) = complex_axis("lct2", x, axes[0])?;
    let (second, _) = complex_axis("lct2", x, axes[1])?;
    if first != second {
        return Ok(());
    }
    Err(Error::Unsupported { op: "lct2", argument: "axes", reason: "name two different axes" })
}
