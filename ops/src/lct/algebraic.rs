//! The algebraic members of the family: integer matrices, weighted powers of the DFT, complex matrices.

use core::f64::consts::PI;

use wavecube_core::{
    Complex64, Error, Layout, Result,
    lct::{
        ComplexAbcd, WeilMatrix, centred_grid, weighted_coefficient_derivatives,
        weighted_coefficients,
    },
};
use wavecube_kernels::lct::{
    CombinePlan, Factor, Program, adjoint, combine_launch, upload_complex, weil_factors,
};

use super::{
    run::{
        Applied, Matrix, Sum, check_fits, check_pair, complex_axis, dense, gradient, kept_matrix,
        run,
    },
    shear::fourier,
};
use crate::{
    Tensor,
    call::{GRADIENT, SIGNAL, of_call},
};

/// The Weil representation of an integer matrix along `axis`, on the residues `0 … N − 1` in the DFT's own
/// order (not the centred grid).
///
/// Promises: unitary; for odd `N` the group law exactly, phase included, for all matrices modulo `N`; for
/// even `N` up to sign. One DFT where `b` is invertible, at most three. Cannot: real matrices, or a
/// continuous transform. It has no continuous parameter.
///
/// # Errors
/// As [`fourier`]; [`Error::Length`] if the matrix is of another length than the axis.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, WeilMatrix, lct_weil};
/// let device = Device::best()?;
/// let x: Vec<Complex32> = (0..7).map(|j| Complex32::new(j as f32, 1.0)).collect();
/// let doubling = WeilMatrix::new(7, [2, 0, 0, 4])?;
/// let y: Vec<Complex32> =
///     lct_weil(&Tensor::from_slice(&device, &x, &[7])?, &doubling, -1)?.read()?;
/// assert_eq!(y[2], x[1]);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_weil(x: &Tensor, m: &WeilMatrix, axis: isize) -> Result<Tensor> {
    weil("lct_weil", x, m, axis, false)
}

/// The gradient of [`lct_weil`] with respect to the signal: its adjoint and inverse.
///
/// # Errors
/// As [`lct_weil`].
pub fn lct_weil_vjp(g: &Tensor, m: &WeilMatrix, axis: isize) -> Result<Tensor> {
    weil("lct_weil_vjp", g, m, axis, true).map_err(of_call("lct_weil_vjp", GRADIENT))
}

fn weil(op: &'static str, x: &Tensor, m: &WeilMatrix, axis: isize, back: bool) -> Result<Tensor> {
    let (_, n) = complex_axis(op, x, axis)?;
    if m.length() != n {
        return Err(Error::Length {
            op,
            argument: "m",
            expected: "the length of the axis",
            found: m.length(),
        });
    }
    // Residues are below 2³², exact as f64.
    run(op, x, axis, &m.entries().map(|entry| entry as f64), |n| {
        let factors = weil_factors(&m.plan())?;
        let factors = if back { adjoint(n, &factors) } else { factors };
        Ok(Program::of_factors(n, &factors))
    })
}

/// The weighted fractional Fourier transform `Σ_l c_l(angle) F^l` of the centred DFT: a cheap mixer.
///
/// Promises: unitary; `T(θ)T(φ) = T(θ + φ)` on every vector; period 2π; `T(π/2) = F`. One DFT and one
/// pass. Cannot: rotate the time–frequency plane; a pulse becomes a weighted sum of itself, its mirror
/// image and two spectra. [`frft`](crate::frft) does.
///
/// # Errors
/// As [`fourier`]; [`Error::Value`] if `angle` is not finite.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, frft_weighted};
/// let device = Device::best()?;
/// let x: Vec<Complex32> = (0..12).map(|j| Complex32::new(j as f32, 1.0)).collect();
/// let half_turn = frft_weighted(&Tensor::from_slice(&device, &x, &[12])?, core::f64::consts::PI, -1)?;
/// let y: Vec<Complex32> = half_turn.read()?;
/// assert!(y.iter().rev().zip(&x).all(|(a, b)| (a - b).norm() < 1e-4)); // the mirror image
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn frft_weighted(x: &Tensor, angle: f64, axis: isize) -> Result<Tensor> {
    combined(x, weighted_coefficients(angle)?, axis).map_err(of_call("frft_weighted", SIGNAL))
}

fn combined(x: &Tensor, weights: [Complex64; 4], axis: isize) -> Result<Tensor> {
    const OP: &str = "frft_weighted";
    let (along, _) = complex_axis(OP, x, axis)?;
    let (device, dtype) = (x.device(), x.dtype());
    let layout = Layout::contiguous(x.shape());
    let layouts = [x.layout(), &layout, &layout];
    let plan = CombinePlan::new(OP, layouts, along, dtype, device.limits())?;
    let spectrum = fourier(x, false, axis)?;
    let y = Tensor::empty(device, dtype, true, x.shape())?;
    let weights = upload_complex(device.client(), &weights, dtype.compute());
    let handles = [x.handle(), spectrum.handle(), y.handle()];
    combine_launch(device.client(), handles, &weights, &plan)?;
    Ok(y)
}

/// The gradient of [`frft_weighted`] with respect to the signal: the transform by `−angle`.
///
/// # Errors
/// As [`frft_weighted`].
pub fn frft_weighted_vjp(g: &Tensor, angle: f64, axis: isize) -> Result<Tensor> {
    frft_weighted(g, -angle, axis).map_err(of_call("frft_weighted_vjp", GRADIENT))
}

/// The gradient of [`frft_weighted`] with respect to `angle`, a real tensor of one element.
///
/// # Errors
/// As [`frft_weighted`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn frft_weighted_angle_vjp(x: &Tensor, g: &Tensor, angle: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "frft_weighted_angle_vjp";
    let n = check_pair(OP, x, g, axis)?;
    let call = || combined(x, weighted_coefficient_derivatives(angle)?, axis);
    let slope = call().map_err(of_call(OP, SIGNAL))?;
    let weights = vec![Complex64::ONE; n];
    gradient(OP, axis, &[Sum { y: &slope, g, weights }], &[vec![1.0]])
}

/// The transform of a complex matrix on the centred grid of step `1/√N`: the dense kernel times the step,
/// `y_k = N^(−1/2) Σ_j K(u_k, x_j) x_j`; for `b = 0`, `a = 1` the multiplication by `exp(iπ c n²/N)`, a
/// Gaussian for imaginary `c`.
///
/// Promises: that sum. Cannot: be unitary or invertible in general; the kernel may grow as
/// `exp(π·const·N)` ([`ComplexAbcd::is_bounded`]) and is refused where an entry leaves the compute type.
/// `O(N²)`, lengths to 16384.
///
/// # Errors
/// As [`fourier`]; [`Error::Length`] beyond 16384; [`Error::Value`] if an entry of the kernel does not fit
/// the compute type; [`Error::Unsupported`] for `b = 0` with `a ≠ 1`; [`Error::Limit`] if the kernel exceeds
/// a buffer.
///
/// ```
/// use wavecube::{Complex32, ComplexAbcd, Device, Tensor, lct_complex};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 9], &[9])?;
/// let y: Vec<Complex32> = lct_complex(&x, &ComplexAbcd::gaussian(1.0), -1)?.read()?;
/// assert!((y[4].re - 1.0).abs() < 1e-6 && y[0].re < 0.01);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_complex(x: &Tensor, m: &ComplexAbcd, axis: isize) -> Result<Tensor> {
    complex("lct_complex", x, m, axis, false)
}

/// The gradient of [`lct_complex`] with respect to the signal: its adjoint.
///
/// # Errors
/// As [`lct_complex`].
pub fn lct_complex_vjp(g: &Tensor, m: &ComplexAbcd, axis: isize) -> Result<Tensor> {
    complex("lct_complex_vjp", g, m, axis, true).map_err(of_call("lct_complex_vjp", GRADIENT))
}

/// The bilateral Laplace transform at `s = 2πu`, up to the constant `1/i`: [`lct_complex`] of
/// [`ComplexAbcd::laplace`].
///
/// # Errors
/// As [`lct_complex`].
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, laplace};
/// let device = Device::best()?;
/// let mut impulse = [Complex32::ZERO; 5];
/// impulse[2] = Complex32::new(1.0, 0.0);
/// let y: Vec<Complex32> = laplace(&Tensor::from_slice(&device, &impulse, &[5])?, -1)?.read()?;
/// assert!(y.iter().all(|v| (v.norm() - 1.0 / 5f32.sqrt()).abs() < 1e-6)); // flat
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn laplace(x: &Tensor, axis: isize) -> Result<Tensor> {
    lct_complex(x, &ComplexAbcd::laplace(), axis).map_err(of_call("laplace", SIGNAL))
}

/// The gradient of [`laplace`] with respect to the signal: its adjoint.
///
/// # Errors
/// As [`lct_complex`].
pub fn laplace_vjp(g: &Tensor, axis: isize) -> Result<Tensor> {
    lct_complex_vjp(g, &ComplexAbcd::laplace(), axis).map_err(of_call("laplace_vjp", GRADIENT))
}

/// The gradient of [`lct_complex`] with respect to `(a, b, c, d)`: a real tensor of eight elements, real
/// and imaginary part of each entry's complex gradient `∂ℓ/∂Re + i ∂ℓ/∂Im`. For `b ≠ 0` the kernel does not
/// contain `c`; for `b = 0` only `c` has one.
///
/// # Errors
/// As [`lct_complex`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn lct_complex_param_vjp(
    x: &Tensor,
    g: &Tensor,
    m: &ComplexAbcd,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_complex_param_vjp";
    let n = check_pair(OP, x, g, axis)?;
    let y = lct_complex(x, m, axis).map_err(of_call(OP, SIGNAL))?;
    let [a, b, _, d] = m.entries();
    let squares: Vec<Complex64> =
        centred_grid(n).iter().map(|p| Complex64::from(PI * p * p / n as f64)).collect();
    let times = |factor: Complex64| squares.iter().map(|s| factor * s).collect::<Vec<_>>();
    // The derivative by a complex number p is holomorphic: dℓ = Re(s·dp) with s = Σ w conj(g) y, and the
    // gradient is conj(s). Re s and −Im s = Re(i s) are two sums each.
    let both = |y: &Tensor, g: &Tensor, weights: Vec<Complex64>| {
        let turned = weights.iter().map(|w| Complex64::I * w).collect();
        [(y.clone(), g.clone(), weights), (y.clone(), g.clone(), turned)]
    };
    let (terms, rows): (Vec<_>, [Vec<(usize, f64)>; 4]) = if b == Complex64::ZERO {
        let by_c = both(&y, g, times(Complex64::I));
        (by_c.to_vec(), [vec![], vec![], vec![(0, 1.0)], vec![]])
    } else {
        // ∂K/∂b = −K/(2b) − iπ(a x² − 2xu + d u²)K/b²: the mixed term by one more product.
        let over = b.inv();
        let gx = lct_complex_vjp(g, m, axis).map_err(of_call(OP, &[]))?;
        let points: Vec<Complex64> =
            centred_grid(n).iter().map(|p| Complex64::from(p / (n as f64).sqrt())).collect();
        let how = Applied { before: Some(&points), ..Applied::default() };
        let mixed = dense(OP, x, axis, &kernel(OP, x, m, n)?, how)?;
        let square = over * over;
        let by_mixed = points.iter().map(|u| Complex64::new(0.0, 2.0 * PI) * square * u).collect();
        let terms = [
            both(x, &gx, times(Complex64::I * over)),
            both(x, &gx, times(-Complex64::I * a * square)),
            both(&y, g, times(-Complex64::I * d * square)),
            both(&y, g, vec![-0.5 * over; n]),
            both(&mixed, g, by_mixed),
            both(&y, g, times(Complex64::I * over)),
        ];
        let by_b = (1..5).map(|term| (term, 1.0)).collect();
        (terms.concat(), [vec![(0, 1.0)], by_b, vec![], vec![(5, 1.0)]])
    };
    let sums: Vec<Sum<'_>> =
        terms.iter().map(|(y, g, weights)| Sum { y, g, weights: weights.clone() }).collect();
    let jacobian: Vec<Vec<f64>> = rows
        .iter()
        .flat_map(|row| {
            [0, 1].map(|part| {
                let mut line = vec![0.0; sums.len()];
                for &(term, factor) in row {
                    line[2 * term + part] = factor;
                }
                line
            })
        })
        .collect();
    gradient(OP, axis, &sums, &jacobian)
}

fn complex(
    op: &'static str,
    x: &Tensor,
    m: &ComplexAbcd,
    axis: isize,
    back: bool,
) -> Result<Tensor> {
    let (_, n) = complex_axis(op, x, axis)?;
    let [a, b, c, _] = m.entries();
    if b == Complex64::ZERO {
        if a != Complex64::ONE {
            return Err(Error::Unsupported {
                op,
                argument: "m",
                reason: "b = 0 with a other than 1 is a scaling, which no grid carries; give b a value",
            });
        }
        return run(op, x, axis, &[c.re, c.im], |n| {
            let exponent = |p: &f64| Complex64::new(0.0, PI * p * p / n as f64) * c;
            let values = centred_grid(n).iter().map(|p| exponent(p).exp()).collect::<Vec<_>>();
            check_fits(op, "m", x, values.iter())?;
            let factors = [Factor::Diagonal(values)];
            let factors = if back { adjoint(n, &factors) } else { factors.to_vec() };
            Ok(Program::of_factors(n, &factors))
        });
    }
    let how = Applied { transposed: back, conjugate: back, ..Applied::default() };
    dense(op, x, axis, &kernel(op, x, m, n)?, how)
}

/// The dense kernel on the tensor's device, kept there.
fn kernel(op: &'static str, x: &Tensor, m: &ComplexAbcd, n: usize) -> Result<Matrix> {
    let values: Vec<f64> = m.entries().iter().flat_map(|entry| [entry.re, entry.im]).collect();
    if n > 1 << 14 {
        return Err(Error::Length { op, argument: "x", expected: "at most 16384", found: n });
    }
    kept_matrix(op, x, ("complex kernel", &values), n, true, |client, compute| {
        let step = (n as f64).sqrt().recip();
        let points: Vec<f64> = centred_grid(n).iter().map(|p| p * step).collect();
        let mut entries = Vec::with_capacity(n * n);
        for &u in &points {
            for &x in &points {
                entries.push(m.kernel(u, x)? * step);
            }
        }
        check_fits(op, "m", x, entries.iter())?;
        Ok(upload_complex(client, &entries, compute))
    })
}
