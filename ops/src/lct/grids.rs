//! Transforms onto other grids: scaled, causal, chirp-z.

use wavecube_core::{
    Complex64, Error, Result,
    lct::{Abcd, CausalGrid, CausalTables, CztTables, OutputGrid, ScaledTables, centred_grid},
};
use wavecube_kernels::lct::{Program, adjoint, scaled_factors};

use super::{
    cache::Key,
    run::{Sum, check_pair, complex_axis, gradient, run},
};
use crate::Tensor;
use core::f64::consts::{PI, TAU};

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
    let (_, n) = complex_axis(OP, x, axis)?;
    let key = Key::new(OP, n, &with_entries(m, &[spacing]), x.dtype());
    let y = run(OP, x, axis, key, || {
        let tables = ScaledTables::new(m, n, spacing)?;
        Ok(Program::of_factors(n, &scaled_factors(n, &tables)))
    })?;
    Ok((y, m.b().abs() / (n as f64 * spacing)))
}

/// The gradient of [`lct_scaled`] with respect to the signal: its adjoint and inverse.
///
/// # Errors
/// As [`lct_scaled`].
pub fn lct_scaled_vjp(g: &Tensor, m: &Abcd, spacing: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "lct_scaled_vjp";
    let (_, n) = complex_axis(OP, g, axis)?;
    run(OP, g, axis, Key::new(OP, n, &with_entries(m, &[spacing]), g.dtype()), || {
        let tables = ScaledTables::new(m, n, spacing)?;
        Ok(Program::of_factors(n, &adjoint(n, &scaled_factors(n, &tables))))
    })
}

/// The gradient of the array that [`lct_scaled`] returns with respect to `(a, b, c, d)`, a real tensor of
/// four elements. The kernel does not contain `c`: its element is zero, and the others are right for every
/// change that keeps the determinant.
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
    let (_, n) = complex_axis(OP, x, axis)?;
    check_pair(OP, x, g)?;
    let (y, _) = lct_scaled(x, m, spacing, axis)?;
    let gx = lct_scaled_vjp(g, m, spacing, axis)?;
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
        &[vec![b.recip(), 0.0], vec![-a / (b * b), d], vec![0.0, 0.0], vec![0.0, b]],
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
    const OP: &str = "lct_causal";
    let (_, n) = complex_axis(OP, x, axis)?;
    let grid = CausalGrid { n, start, spacing };
    run(OP, x, axis, Key::new(OP, n, &with_entries(m, &[start, spacing]), x.dtype()), || {
        Ok(causal(&CausalTables::new(m, &grid)?))
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
    const OP: &str = "lct_causal_vjp";
    let (_, n) = complex_axis(OP, g, axis)?;
    let grid = CausalGrid { n, start, spacing };
    run(OP, g, axis, Key::new(OP, n, &with_entries(m, &[start, spacing]), g.dtype()), || {
        Ok(causal(&CausalTables::new(m, &grid)?).adjoint_convolution())
    })
}

fn causal(tables: &CausalTables) -> Program {
    let CausalTables { input, filter, output } = tables;
    Program::convolution(input.clone(), filter, output.clone(), 0)
}

/// The gradient of [`lct_causal`] with respect to `(a, b, c, d)`, a real tensor of four elements; the
/// kernel does not contain `c`.
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
    const OP: &str = "lct_causal_param_vjp";
    let (_, n) = complex_axis(OP, x, axis)?;
    check_pair(OP, x, g)?;
    let grid = CausalGrid { n, start, spacing };
    let [a, b, _, d] = m.entries();
    let y = lct_causal(x, m, start, spacing, axis)?;
    let gx = lct_causal_vjp(g, m, start, spacing, axis)?;
    let key = Key::new(OP, n, &with_entries(m, &[start, spacing]), x.dtype());
    // The filter's phase is π spacing² t²/b and its amplitude |b|^(−1/2).
    let by_filter = run(OP, x, axis, key, || {
        let mut tables = CausalTables::new(m, &grid)?;
        for (t, value) in tables.filter.iter_mut().enumerate() {
            let position = spacing * t as f64;
            *value *= Complex64::new(-0.5 / b, -PI * (position / b) * (position / b));
        }
        Ok(causal(&tables))
    })?;
    let squares: Vec<Complex64> = (0..n)
        .map(|j| (start + j as f64) * spacing)
        .map(|position| Complex64::new(0.0, PI * position * position))
        .collect();
    let sums = [
        Sum { y: x, g: &gx, weights: squares.clone() },
        Sum { y: &y, g, weights: squares },
        Sum { y: &by_filter, g, weights: vec![Complex64::ONE; n] },
    ];
    let over = b.recip();
    gradient(
        OP,
        axis,
        &sums,
        &[
            vec![over, 0.0, 0.0],
            vec![-(a - 1.0) * over * over, -(d - 1.0) * over * over, 1.0],
            vec![0.0; 3],
            vec![0.0, over, 0.0],
        ],
    )
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
    const OP: &str = "czt";
    let (_, n) = complex_axis(OP, x, axis)?;
    let key = Key::new(OP, n, &[outputs as f64, start, step], x.dtype());
    run(OP, x, axis, key, || Ok(zoomed(&CztTables::unit_circle(n, outputs, start, step)?)))
}

fn zoomed(tables: &CztTables) -> Program {
    let CztTables { input, filter, output } = tables;
    let first_lag = 1 - input.len() as isize;
    Program::convolution(input.clone(), filter, output.clone(), first_lag)
}

/// The gradient of [`czt`] of a signal of length `n` with respect to it: the adjoint.
///
/// # Errors
/// As [`czt`].
pub fn czt_vjp(g: &Tensor, n: usize, start: f64, step: f64, axis: isize) -> Result<Tensor> {
    const OP: &str = "czt_vjp";
    let (_, outputs) = complex_axis(OP, g, axis)?;
    let key = Key::new(OP, n, &[outputs as f64, start, step], g.dtype());
    run(OP, g, axis, key, || {
        Ok(zoomed(&CztTables::unit_circle(n, outputs, start, step)?).adjoint_convolution())
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
    let gx = czt_vjp(g, n, start, step, axis)?;
    check_pair(OP, x, &gx)?;
    let key = Key::new(OP, n, &[outputs as f64, start, step], x.dtype());
    // ∂/∂step = −2πi k·(transform of n·x).
    let moved = run(OP, x, axis, key, || {
        let mut tables = CztTables::unit_circle(n, outputs, start, step)?;
        for (j, value) in tables.input.iter_mut().enumerate() {
            *value *= j as f64;
        }
        Ok(zoomed(&tables))
    })?;
    check_pair(OP, &moved, g)?;
    let slopes = |len: usize| (0..len).map(|j| Complex64::new(0.0, -TAU * j as f64)).collect();
    let sums =
        [Sum { y: x, g: &gx, weights: slopes(n) }, Sum { y: &moved, g, weights: slopes(outputs) }];
    gradient(OP, axis, &sums, &[vec![1.0, 0.0], vec![0.0, 1.0]])
}

/// The z-transform at `a·w^(−k)`, `k < outputs`, for any complex `a` and `w` but zero: [`czt`] on a spiral.
///
/// # Errors
/// As [`czt`]; [`Error::Value`] if `a` or `w` is zero or not finite, or their powers leave `2^±500` (or
/// what the compute type holds).
pub fn czt_spiral(
    x: &Tensor,
    outputs: usize,
    a: Complex64,
    w: Complex64,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "czt_spiral";
    let (_, n) = complex_axis(OP, x, axis)?;
    let key = Key::new(OP, n, &[outputs as f64, a.re, a.im, w.re, w.im], x.dtype());
    run(OP, x, axis, key, || {
        let program = zoomed(&CztTables::spiral(n, outputs, a, w)?);
        in_range(OP, &program, x)?;
        Ok(program)
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
    const OP: &str = "czt_spiral_vjp";
    let (_, outputs) = complex_axis(OP, g, axis)?;
    let key = Key::new(OP, n, &[outputs as f64, a.re, a.im, w.re, w.im], g.dtype());
    run(OP, g, axis, key, || {
        let program = zoomed(&CztTables::spiral(n, outputs, a, w)?).adjoint_convolution();
        in_range(OP, &program, g)?;
        Ok(program)
    })
}

fn in_range(op: &'static str, program: &Program, x: &Tensor) -> Result<()> {
    let largest = match x.dtype().compute() {
        wavecube_core::Dtype::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    };
    let values = program.tables.iter().flatten().flat_map(|w| [w.re, w.im]);
    let found = values.map(f64::abs).fold(0.0, f64::max);
    if found <= largest {
        return Ok(());
    }
    Err(Error::Value {
        op,
        argument: "w",
        expected: "such that its powers fit the compute type",
        found,
    })
}

/// The transform of `m` from `n` centred points at distance `spacing` to any evenly spaced points: the
/// rectangle rule for the integral with the kernel's own amplitude, by a chirp-z transform.
///
/// Promises: that sum, on any grid. Cannot: be unitary.
///
/// # Errors
/// As [`czt`]; [`Error::Value`] if `b` is zero, an argument is not finite, or a phase overflows.
pub fn lct_czt(
    x: &Tensor,
    m: &Abcd,
    spacing: f64,
    output: &OutputGrid,
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "lct_czt";
    let (_, n) = complex_axis(OP, x, axis)?;
    run(OP, x, axis, Key::new(OP, n, &output_entries(m, spacing, output), x.dtype()), || {
        Ok(zoomed(&CztTables::lct(m, n, spacing, output)?))
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
    complex_axis(OP, g, axis)?;
    run(OP, g, axis, Key::new(OP, n, &output_entries(m, spacing, output), g.dtype()), || {
        Ok(zoomed(&CztTables::lct(m, n, spacing, output)?).adjoint_convolution())
    })
}

fn output_entries(m: &Abcd, spacing: f64, output: &OutputGrid) -> Vec<f64> {
    with_entries(m, &[spacing, output.outputs as f64, output.first, output.step])
}

fn with_entries(m: &Abcd, more: &[f64]) -> Vec<f64> {
    [&m.entries()[..], more].concat()
}
