//! Transforms onto other grids: scaled, causal, chirp-z.

use core::f64::consts::{PI, TAU};

use wavecube_core::{
    Complex64, Error, Result,
    lct::{Abcd, CausalGrid, CausalTables, CztTables, OutputGrid, ScaledTables, centred_grid},
};
use wavecube_kernels::lct::{Program, adjoint, scaled_factors};

use super::run::{
    Sum, check_fits, check_gradient, check_line, check_pair, complex_axis, gradient, length_of, run,
};
use crate::{
    Tensor,
    call::{GRADIENT, SIGNAL, of_call},
};

/// The transform of `m` onto the grid that comes for free: `n` samples at distance `spacing`, result at
/// `|b|/(n·spacing)`, both centred. Returns the result and its spacing.
///
/// Promises: unitary (samples weighted by the square root of their spacing), one chirp·DFT·chirp in one
/// trip through memory, true to the continuous transform wherever the chirped input is sampled finely
/// enough. Cannot: keep the grid; two results compose only on equal grids.
///
/// # Errors
/// As [`fourier`](crate::fourier); [`Error::Value`] if `b` is zero, an entry is not finite or `spacing` not
/// positive.
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, Tensor, lct_scaled};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 64], &[64])?;
/// let (y, spacing) = lct_scaled(&x, &Abcd::fresnel(2.0), 0.125, -1)?;
/// assert_eq!((y.shape(), spacing), (&[64][..], 0.25));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_scaled(x: &Tensor, m: &Abcd, spacing: f64, axis: isize) -> Result<(Tensor, f64)> {
    const OP: &str = "lct_scaled";
    let y = run(OP, x, axis, &with_entries(m, &[spacing]), |n| {
        let tables = ScaledTables::new(m, n, spacing)?;
        Ok(Program::of_factors(n, &scaled_factors(n, &tables)))
    })?;
    let (_, n) = length_of(OP, &y, axis)?;
    Ok((y, m.b().abs() / (n as f64 * spacing)))
}

/// The gradient of [`lct_scaled`] with respect to the signal: its adjoint and inverse.
///
/// # Errors
/// As [`lct_scaled`].
pub fn lct_scaled_vjp(g: &Tensor, m: &Abcd, spacing: f64, axis: isize) -> Result<Tensor> {
    run("lct_scaled_vjp", g, axis, &with_entries(m, &[spacing]), |n| {
        let tables = ScaledTables::new(m, n, spacing)?;
        Ok(Program::of_factors(n, &adjoint(n, &scaled_factors(n, &tables))))
    })
    .map_err(of_call("lct_scaled_vjp", GRADIENT))
}

/// The gradient of the array that [`lct_scaled`] returns with respect to `(a, b, c, d, spacing)`, a real
/// tensor of five elements. The kernel does not contain `c`: its element is zero, and the others are right
/// for every change that keeps the determinant. What depends on the spacing of the result adds its own:
/// that is `|b|/(n·spacing)`, a number on the host.
///
/// # Errors
/// As [`lct_scaled`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn lct_scaled_param_vjp(
    x: &Tensor,
    g: &Tensor,
    m: &Abcd,
    spacing: f64,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_scaled_param_vjp";
    let n = check_pair(OP, x, g, axis)?;
    let (y, _) = lct_scaled(x, m, spacing, axis).map_err(of_call(OP, SIGNAL))?;
    let gx = lct_scaled_vjp(g, m, spacing, axis).map_err(of_call(OP, &[]))?;
    // Phases: π (a/b) spacing² n_j² on the input, π b d n_k²/(N spacing)² on the output.
    let squares = |scale: f64| -> Vec<Complex64> {
        centred_grid(n)
            .iter()
            .map(|p| Complex64::new(0.0, PI * (p * scale) * (p * scale)))
            .collect()
    };
    let [a, b, _, d] = m.entries();
    let sums = [
        Sum { y: x, g: &gx, weights: squares(spacing) },
        Sum { y: &y, g, weights: squares((n as f64 * spacing).recip()) },
    ];
    gradient(
        OP,
        axis,
        &sums,
        &[
            vec![b.recip(), 0.0],
            vec![-a / (b * b), d],
            vec![0.0, 0.0],
            vec![0.0, b],
            vec![2.0 * a / (b * spacing), -2.0 * b * d / spacing],
        ],
    )
}

/// The kernel of `m` masked to inputs at or before the output: `chirp · causal convolution · chirp`, on the
/// points `(start + j)·spacing`.
///
/// Promises: output `u` depends on no input after `u` (beyond rounding: one padded transform carries all
/// outputs); entry `j` does not depend on the length, so a prefix is transformed like the whole. Cannot: be
/// unitary, invertible or multiplicative. For a stream take `start = 0`; the centred grid is
/// `start = −(n−1)/2`, `spacing = 1/√n`. Beyond `spacing²(2n−1)/(2|b|) = ½` turns the kernel is aliased.
///
/// # Errors
/// As [`fourier`](crate::fourier); [`Error::Value`] if `b` is zero, an entry or `start` is not finite,
/// `spacing` is not positive, or a phase overflows.
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, Tensor, lct_causal};
/// let device = Device::best()?;
/// let mut signal = vec![Complex32::new(1.0, 0.0); 20];
/// let m = Abcd::fractional_fourier(0.9);
/// let run = |signal: &[Complex32]| -> wavecube::Result<Vec<Complex32>> {
///     lct_causal(&Tensor::from_slice(&device, signal, &[20])?, &m, 0.0, 0.2, -1)?.read()
/// };
/// let before = run(&signal)?;
/// signal[12] = Complex32::new(-5.0, 2.0);
/// let after = run(&signal)?;
/// assert!(before.iter().zip(&after).take(12).all(|(a, b)| (a - b).norm() < 1e-5));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_causal(x: &Tensor, m: &Abcd, start: f64, spacing: f64, axis: isize) -> Result<Tensor> {
    run("lct_causal", x, axis, &with_entries(m, &[start, spacing]), |n| {
        Ok(causal(CausalTables::new(m, &CausalGrid { n, start, spacing })?))
    })
}

/// The gradient of [`lct_causal`] with respect to the signal: its adjoint, which looks ahead.
///
/// # Errors
/// As [`lct_causal`].
pub fn lct_causal_vjp(
    g: &Tensor,
    m: &Abcd,
    start: f64,
    spacing: f64,
    axis: isize,
) -> Result<Tensor> {
    run("lct_causal_vjp", g, axis, &with_entries(m, &[start, spacing]), |n| {
        Ok(causal(CausalTables::new(m, &CausalGrid { n, start, spacing })?).adjoint_convolution())
    })
    .map_err(of_call("lct_causal_vjp", GRADIENT))
}

fn causal(CausalTables { input, filter, output }: CausalTables) -> Program {
    Program::convolution(input, &filter, output, 0)
}

/// The gradient of [`lct_causal`] with respect to `(a, b, c, d, start, spacing)`, a real tensor of six
/// elements; the kernel does not contain `c`.
///
/// # Errors
/// As [`lct_causal`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the signal's kind.
pub fn lct_causal_param_vjp(
    x: &Tensor,
    g: &Tensor,
    m: &Abcd,
    start: f64,
    spacing: f64,
    axis: isize,
) -> Result<Tensor> {
    let unit = |row: usize| (0..6).map(|column| f64::from(u8::from(row == column))).collect();
    let jacobian: Vec<Vec<f64>> = (0..6).map(unit).collect();
    lct_causal_jacobian_vjp(x, g, m, start, spacing, &jacobian, axis)
        .map_err(of_call("lct_causal_param_vjp", &[]))
}

/// The gradient of [`lct_causal`] with respect to parameters that `(a, b, c, d, start, spacing)` depend on:
/// `jacobian` has a row for each parameter, a column for each of the six.
///
/// # Errors
/// As [`lct_causal_param_vjp`]; [`Error::Length`] if a row of `jacobian` has not six elements.
pub fn lct_causal_jacobian_vjp(
    x: &Tensor,
    g: &Tensor,
    m: &Abcd,
    start: f64,
    spacing: f64,
    jacobian: &[Vec<f64>],
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_causal_jacobian_vjp";
    if let Some(row) = jacobian.iter().find(|row| row.len() != 6) {
        return Err(Error::Length {
            op: OP,
            argument: "jacobian",
            expected: "a column for each of a, b, c, d, start and spacing",
            found: row.len(),
        });
    }
    let n = check_pair(OP, x, g, axis)?;
    let [a, b, _, d] = m.entries();
    let y = lct_causal(x, m, start, spacing, axis).map_err(of_call(OP, SIGNAL))?;
    let gx = lct_causal_vjp(g, m, start, spacing, axis).map_err(of_call(OP, &[]))?;
    // The filter's phase is π spacing² t²/b and its amplitude |b|^(−1/2).
    let by_filter = run(OP, x, axis, &with_entries(m, &[start, spacing]), |n| {
        let mut tables = CausalTables::new(m, &CausalGrid { n, start, spacing })?;
        for (t, value) in tables.filter.iter_mut().enumerate() {
            let position = spacing * t as f64;
            *value *= Complex64::new(-0.5 / b, -PI * (position / b) * (position / b));
        }
        Ok(causal(tables))
    })?;
    // The chirps' phases are π (a−1) x²/b and π (d−1) u²/b at the positions (start + j)·spacing.
    let chirp_slopes = |slope: &dyn Fn(f64) -> f64| -> Vec<Complex64> {
        let positions = (0..n).map(|j| (start + j as f64) * spacing);
        positions.map(|position| Complex64::new(0.0, slope(position))).collect()
    };
    let by_rate = chirp_slopes(&|position| PI * position * position);
    let by_start = chirp_slopes(&|position| TAU * position * spacing);
    let sums = [
        Sum { y: x, g: &gx, weights: by_rate.clone() },
        Sum { y: &y, g, weights: by_rate },
        Sum { y: &by_filter, g, weights: vec![Complex64::ONE; n] },
        Sum { y: x, g: &gx, weights: by_start.clone() },
        Sum { y: &y, g, weights: by_start },
    ];
    let (input, output) = ((a - 1.0) / b, (d - 1.0) / b);
    // The filter is a function of spacing²/b alone, which ties its two derivatives together.
    let twice = 2.0 / spacing;
    let by_sums = [
        [b.recip(), 0.0, 0.0, 0.0, 0.0],
        [-input / b, -output / b, 1.0, 0.0, 0.0],
        [0.0; 5],
        [0.0, b.recip(), 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, input, output],
        [twice * input, twice * output, -twice * b, 0.0, 0.0],
    ];
    let chained: Vec<Vec<f64>> = jacobian
        .iter()
        .map(|row| {
            let weight =
                |sum: usize| row.iter().zip(by_sums).map(|(by, sums)| by * sums[sum]).sum();
            (0..5).map(weight).collect()
        })
        .collect();
    gradient(OP, axis, &sums, &chained)
}

/// The chirp-z transform on the unit circle: the spectrum `Σ_n x_n exp(−2πi n(start + k·step))` at
/// `outputs` frequencies, in cycles a sample. `start = 0`, `step = 1/n` is the DFT; smaller steps zoom in.
///
/// Promises: the sum itself, for any real `start` and `step`, in one padded round trip. Cannot: be unitary.
///
/// # Errors
/// As [`fourier`](crate::fourier); [`Error::Length`] if `outputs` is 0, [`Error::Value`] if `start` or
/// `step` is not finite.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, czt};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 10], &[10])?;
/// let y: Vec<Complex32> = czt(&x, 3, 0.0, 0.01, -1)?.read()?;
/// assert!((y[0] - Complex32::new(10.0, 0.0)).norm() < 1e-5);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn czt(x: &Tensor, outputs: usize, start: f64, step: f64, axis: isize) -> Result<Tensor> {
    zoom("czt", x, axis, outputs, &[start, step], "start, step", |n| {
        CztTables::unit_circle(n, outputs, start, step)
    })
}

/// The gradient of [`czt`] of a signal of length `n` with respect to it: the adjoint.
///
/// # Errors
/// As [`czt`].
pub fn czt_vjp(g: &Tensor, n: usize, start: f64, step: f64, axis: isize) -> Result<Tensor> {
    zoom_back("czt_vjp", g, axis, n, &[start, step], "start, step", |outputs| {
        CztTables::unit_circle(n, outputs, start, step)
    })
}

/// The gradient of [`czt`] with respect to `(start, step)`, a real tensor of two elements.
///
/// # Errors
/// As [`czt`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the result's kind.
pub fn czt_param_vjp(x: &Tensor, g: &Tensor, start: f64, step: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "czt_param_vjp";
    let (_, n) = complex_axis(OP, x, axis)?;
    let (_, outputs) = complex_axis(OP, g, axis)?;
    check_gradient(OP, x, g, axis, outputs)?;
    let gx = czt_vjp(g, n, start, step, axis).map_err(of_call(OP, &[]))?;
    // ∂/∂step = −2πi k·(transform of n·x).
    let moved = zoom(OP, x, axis, outputs, &[start, step], "start, step", |n| {
        Ok(weighted(CztTables::unit_circle(n, outputs, start, step)?, |j| j as f64))
    })?;
    let slopes = |len: usize| (0..len).map(|j| Complex64::new(0.0, -TAU * j as f64)).collect();
    let sums =
        [Sum { y: x, g: &gx, weights: slopes(n) }, Sum { y: &moved, g, weights: slopes(outputs) }];
    gradient(OP, axis, &sums, &[vec![1.0, 0.0], vec![0.0, 1.0]])
}

/// The chirp-z transform to `outputs` points, whose factors come from `made_from`, arguments of the call; `tables`
/// is given the length of the lines.
fn zoom(
    op: &'static str,
    x: &Tensor,
    axis: isize,
    outputs: usize,
    values: &[f64],
    made_from: &'static str,
    tables: impl FnOnce(usize) -> Result<CztTables>,
) -> Result<Tensor> {
    check_line(op, x, outputs)?;
    let values = [&[outputs as f64], values].concat();
    run(op, x, axis, &values, |n| zoomed(op, x, made_from, tables(n)?))
}

/// The adjoint of [`zoom`] of lines of length `n`; `tables` is given the number of outputs.
fn zoom_back(
    op: &'static str,
    g: &Tensor,
    axis: isize,
    n: usize,
    values: &[f64],
    made_from: &'static str,
    tables: impl FnOnce(usize) -> Result<CztTables>,
) -> Result<Tensor> {
    if n == 0 || n > 1 << 31 {
        let expected = "from 1 to 2^31";
        return Err(Error::Length { op, argument: "n", expected, found: n });
    }
    check_line(op, g, n)?;
    run(op, g, axis, &[&[n as f64], values].concat(), |outputs| {
        Ok(zoomed(op, g, made_from, tables(outputs)?)?.adjoint_convolution())
    })
    .map_err(of_call(op, GRADIENT))
}

fn zoomed(
    op: &'static str,
    x: &Tensor,
    made_from: &'static str,
    tables: CztTables,
) -> Result<Program> {
    let CztTables { input, filter, output } = tables;
    let first_lag = 1 - input.len() as isize;
    let program = Program::convolution(input, &filter, output, first_lag);
    // Powers of `a` and `w`, or the amplitude of a matrix.
    check_fits(op, made_from, x, program.tables.iter().flatten())?;
    Ok(program)
}

/// The tables of the transform of `weight(n)·x_n`.
fn weighted(mut tables: CztTables, weight: impl Fn(usize) -> f64) -> CztTables {
    for (j, value) in tables.input.iter_mut().enumerate() {
        *value *= weight(j);
    }
    tables
}

/// The z-transform at `a·w^(−k)`, `k < outputs`, for any complex `a` and `w` but zero: [`czt`] on a spiral.
///
/// # Errors
/// As [`czt`]; [`Error::Value`] if `a` or `w` is zero or not finite, or their powers leave `2^±500` (or
/// what the compute type holds).
///
/// ```
/// use wavecube::{Complex32, Complex64, Device, Tensor, czt_spiral};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, 0.0); 4], &[4])?;
/// // Inside the unit circle, at z = 1/2: 1 + 2 + 4 + 8.
/// let half = Complex64::new(0.5, 0.0);
/// let y: Vec<Complex32> = czt_spiral(&x, 1, half, Complex64::ONE, -1)?.read()?;
/// assert!((y[0] - Complex32::new(15.0, 0.0)).norm() < 1e-4);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn czt_spiral(
    x: &Tensor,
    outputs: usize,
    a: Complex64,
    w: Complex64,
    axis: isize,
) -> Result<Tensor> {
    zoom("czt_spiral", x, axis, outputs, &[a.re, a.im, w.re, w.im], "a, w", |n| {
        CztTables::spiral(n, outputs, a, w)
    })
}

/// The gradient of [`czt_spiral`] of a signal of length `n` with respect to it.
///
/// # Errors
/// As [`czt_spiral`].
pub fn czt_spiral_vjp(
    g: &Tensor,
    n: usize,
    a: Complex64,
    w: Complex64,
    axis: isize,
) -> Result<Tensor> {
    zoom_back("czt_spiral_vjp", g, axis, n, &[a.re, a.im, w.re, w.im], "a, w", |outputs| {
        CztTables::spiral(n, outputs, a, w)
    })
}

/// The gradient of [`czt_spiral`] with respect to `(a, w)`: a real tensor of four elements, real and
/// imaginary part of the complex gradients `∂ℓ/∂Re + i ∂ℓ/∂Im`.
///
/// # Errors
/// As [`czt_spiral`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the result's kind.
pub fn czt_spiral_param_vjp(
    x: &Tensor,
    g: &Tensor,
    a: Complex64,
    w: Complex64,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "czt_spiral_param_vjp";
    let (_, outputs) = complex_axis(OP, g, axis)?;
    check_gradient(OP, x, g, axis, outputs)?;
    // X_k = Σ a^(−n) w^(nk) x_n: ∂/∂a = −1/a and ∂/∂w = k/w times the transform of n·x.
    let moved = zoom(OP, x, axis, outputs, &[a.re, a.im, w.re, w.im], "a, w", |n| {
        Ok(weighted(CztTables::spiral(n, outputs, a, w)?, |j| j as f64))
    })?;
    // The derivatives are holomorphic: dℓ = Re(s·dp), and the gradient conj(s) has the parts Re s and
    // −Im s = Re(i s).
    let sum = |slope: &dyn Fn(f64) -> Complex64| Sum {
        y: &moved,
        g,
        weights: (0..outputs).map(|k| slope(k as f64)).collect(),
    };
    let (by_a, by_w) = (-a.inv(), w.inv());
    let sums = [
        sum(&|_| by_a),
        sum(&|_| Complex64::I * by_a),
        sum(&|k| by_w * k),
        sum(&|k| Complex64::I * by_w * k),
    ];
    let unit = |row: usize| (0..4).map(|column| f64::from(u8::from(row == column))).collect();
    gradient(OP, axis, &sums, &[unit(0), unit(1), unit(2), unit(3)])
}

/// The transform of `m` from `n` centred points at distance `spacing` to any evenly spaced points: the
/// rectangle rule for the integral with the kernel's own amplitude, by a chirp-z transform.
///
/// Promises: that sum, on any grid. Cannot: be unitary.
///
/// # Errors
/// As [`czt`]; [`Error::Value`] if `b` is zero, an argument is not finite, or a phase overflows.
///
/// ```
/// use wavecube::{Abcd, Complex32, Device, OutputGrid, Tensor, lct_czt};
/// let device = Device::best()?;
/// let pulse: Vec<Complex32> = (0..64)
///     .map(|j| Complex32::new((-core::f32::consts::PI * ((j as f32 - 31.5) / 8.0).powi(2)).exp(), 0.0))
///     .collect();
/// let x = Tensor::from_slice(&device, &pulse, &[64])?;
/// // The Gaussian is its own Fourier transform; here are three points of it around zero.
/// let near = OutputGrid { outputs: 3, first: -0.1, step: 0.1 };
/// let y: Vec<Complex32> = lct_czt(&x, &Abcd::FOURIER, 0.125, &near, -1)?.read()?;
/// assert!((y[1].norm() - 1.0).abs() < 1e-5 && (y[0] - y[2]).norm() < 1e-5);
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn lct_czt(
    x: &Tensor,
    m: &Abcd,
    spacing: f64,
    output: &OutputGrid,
    axis: isize,
) -> Result<Tensor> {
    zoom("lct_czt", x, axis, output.outputs, &output_entries(m, spacing, output), "m", |n| {
        CztTables::lct(m, n, spacing, output)
    })
}

/// The gradient of [`lct_czt`] of a signal of length `n` with respect to it.
///
/// # Errors
/// As [`lct_czt`].
pub fn lct_czt_vjp(
    g: &Tensor,
    n: usize,
    m: &Abcd,
    spacing: f64,
    output: &OutputGrid,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_czt_vjp";
    check_line(OP, g, output.outputs)?;
    zoom_back(OP, g, axis, n, &output_entries(m, spacing, output), "m", |_| {
        CztTables::lct(m, n, spacing, output)
    })
}

/// The gradient of [`lct_czt`] with respect to `(a, b, c, d, spacing, first, step)`: the matrix and where
/// inputs and outputs lie. A real tensor of seven elements; the kernel does not contain `c`.
///
/// # Errors
/// As [`lct_czt`]; [`Error::Shape`] or [`Error::Dtype`] if `g` is not of the result's kind.
pub fn lct_czt_param_vjp(
    x: &Tensor,
    g: &Tensor,
    m: &Abcd,
    spacing: f64,
    output: &OutputGrid,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_czt_param_vjp";
    let (_, n) = complex_axis(OP, x, axis)?;
    check_gradient(OP, x, g, axis, output.outputs)?;
    let y = lct_czt(x, m, spacing, output, axis).map_err(of_call(OP, SIGNAL))?;
    let gx = lct_czt_vjp(g, n, m, spacing, output, axis).map_err(of_call(OP, &[]))?;
    let points: Vec<f64> = centred_grid(n).iter().map(|p| p * spacing).collect();
    let moved = zoom(OP, x, axis, output.outputs, &output_entries(m, spacing, output), "m", |n| {
        Ok(weighted(CztTables::lct(m, n, spacing, output)?, |j| points[j]))
    })?;
    // The phase is π (a x² − 2xu + d u²)/b and the amplitude spacing·|b|^(−1/2).
    let places = |slope: &dyn Fn(f64, f64) -> f64| -> Vec<Complex64> {
        (0..output.outputs)
            .map(|k| k as f64)
            .map(|k| Complex64::new(0.0, slope(k, output.first + k * output.step)))
            .collect()
    };
    let squares = points.iter().map(|p| Complex64::new(0.0, PI * p * p)).collect();
    let sums = [
        Sum { y: x, g: &gx, weights: squares },
        Sum { y: &y, g, weights: places(&|_, u| PI * u * u) },
        Sum { y: &moved, g, weights: places(&|_, u| TAU * u) },
        Sum { y: &y, g, weights: vec![Complex64::ONE; output.outputs] },
        Sum { y: &y, g, weights: places(&|_, u| TAU * u) },
        Sum { y: &moved, g, weights: places(&|_, _| TAU) },
        Sum { y: &y, g, weights: places(&|k, u| TAU * u * k) },
        Sum { y: &moved, g, weights: places(&|k, _| TAU * k) },
    ];
    let [a, b, _, d] = m.entries();
    let over = b.recip();
    let square = over * over;
    gradient(
        OP,
        axis,
        &sums,
        &[
            vec![over, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            vec![-a * square, -d * square, square, -0.5 * over, 0.0, 0.0, 0.0, 0.0],
            vec![0.0; 8],
            vec![0.0, over, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            vec![2.0 * a * over / spacing, 0.0, -over / spacing, 1.0 / spacing, 0.0, 0.0, 0.0, 0.0],
            vec![0.0, 0.0, 0.0, 0.0, d * over, -over, 0.0, 0.0],
            vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, d * over, -over],
        ],
    )
}

fn output_entries(m: &Abcd, spacing: f64, output: &OutputGrid) -> Vec<f64> {
    with_entries(m, &[spacing, output.first, output.step])
}

fn with_entries(m: &Abcd, more: &[f64]) -> Vec<f64> {
    [&m.entries()[..], more].concat()
}
