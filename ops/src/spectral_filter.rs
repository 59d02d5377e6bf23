//! Filters of the spectrum: there, through all of them, and back, in one trip while it fits.

use wavecube_core::{
    Error, Layout, Result,
    fft::{Direction, Normalization},
};
use wavecube_kernels::{
    fft::{FftPlan, Hook, Table},
    lct::{CorrelationPlan, correlate_launch},
};

use crate::{
    Tensor,
    call::{GRADIENT, SIGNAL, of_call},
    convolution::{base, check_filter, ends, layout_ends},
    fft::{enqueue, fft},
};

/// The most filters of one trip.
const FILTERS: usize = 4;

/// `F⁻¹ (h₁ h₂ … F x)` along `axis`: the frequencies of every line through up to four complex filters, such as
/// rotations, gates and weights of bands, in one trip through memory while a line fits.
///
/// `x`: complex, any strides; the filters: complex, in the compute type of `x` (`f32` for 16 bits), of the rank of `x`, with its
/// length along `axis`, 1 on every batch axis that shares one, adjacent in memory along `axis`. Frequency
/// `k` stands at index `k`, the negative ones behind the positive, as [`fft`] leaves them. No filter copies `x`.
/// Lines are circles: for filters that only look back see [`causal_convolution`](crate::causal_convolution).
///
/// # Errors
/// [`Error::Dtype`] for real operands or another type, [`Error::Axis`] if there is no such axis,
/// [`Error::Length`] if it is empty, for more than four filters or one of another length, [`Error::Shape`] if
/// a batch axis of a filter is neither 1 nor that of `x`, [`Error::Strides`] for a filter with gaps along
/// `axis`, [`Error::Limit`] if a line is longer than the device allows.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor, spectral_filter};
/// let device = Device::best()?;
/// let x: Vec<Complex32> = (0..4).map(|i| Complex32::new(i as f32, 0.0)).collect();
/// let x = Tensor::from_slice(&device, &x, &[1, 4])?;
/// // Only the mean passes, and its sign turns.
/// let mean = [Complex32::ONE, Complex32::ZERO, Complex32::ZERO, Complex32::ZERO];
/// let mean = Tensor::from_slice(&device, &mean, &[1, 4])?;
/// let minus = Tensor::from_slice(&device, &[-Complex32::ONE; 4], &[1, 4])?;
/// let y: Vec<Complex32> = spectral_filter(&x, &[&mean, &minus], -1)?.read()?;
/// assert!(y.iter().all(|y| (y + 1.5).norm() < 1e-6));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn spectral_filter(x: &Tensor, filters: &[&Tensor], axis: isize) -> Result<Tensor> {
    const OP: &str = "spectral_filter";
    filtered(OP, x, filters, axis, false).map_err(of_call(OP, &[("h", "filters")]))
}

/// The gradient of [`spectral_filter`] by `x` from the gradient `g` of its result: through the conjugate
/// filters.
///
/// # Errors
/// As [`spectral_filter`].
pub fn spectral_filter_vjp(g: &Tensor, filters: &[&Tensor], axis: isize) -> Result<Tensor> {
    const OP: &str = "spectral_filter_vjp";
    filtered(OP, g, filters, axis, true)
        .map_err(of_call(OP, GRADIENT))
        .map_err(of_call(OP, &[("h", "filters")]))
}

/// The gradient of [`spectral_filter`] by a filter of the shape `filter`, from the gradient `g` of the result
/// and the `others` that `x` also passes: `conj(h F x) F g / n`, summed over the lines that share it, one after
/// the other; in the type of `x`.
///
/// # Errors
/// As [`spectral_filter`]; [`Error::Dtype`] for 16 bits.
pub fn spectral_filter_table_vjp(
    x: &Tensor,
    g: &Tensor,
    others: &[&Tensor],
    filter: &[usize],
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "spectral_filter_table_vjp";
    check(OP, x, others, axis).map_err(of_call(OP, &[("h", "others"), ("filters", "others")]))?;
    x.check_same(OP, "g", g)?;
    g.check_complex(OP, "g", true)?;
    if x.dtype() != x.dtype().compute() {
        let expected = "f32 or f64";
        return Err(Error::Dtype { op: OP, argument: "x", expected, found: x.dtype() });
    }
    if g.shape() != x.shape() {
        let (expected, found) = (x.shape().to_vec(), g.shape().to_vec());
        return Err(Error::Shape { op: OP, argument: "g", expected, found });
    }
    let (along, n) = crate::lct::length_of(OP, x, axis)?;
    check_filter(OP, x, filter, along)
        .and_then(|()| check_length(OP, filter[along], n))
        .map_err(of_call(OP, &[("h", "filter")]))?;
    let out = Layout::contiguous(filter);
    let spectra = Layout::contiguous(x.shape());
    let limits = x.device().limits();
    let plan = CorrelationPlan::new(OP, [&spectra; 2], &out, along, x.dtype(), limits)?;
    let in_call = of_call(OP, SIGNAL);
    let passed = if others.is_empty() {
        x.clone()
    } else {
        spectral_filter(x, others, axis).map_err(&in_call)?
    };
    // A factor `1/n` in all, half of it with either transform.
    let [x, g] = [&passed, g].map(|line| fft(line, axis, Normalization::Ortho));
    let gradient = Tensor::empty(passed.device(), passed.dtype(), true, filter)?;
    let (x, g) = (x.map_err(&in_call)?, g.map_err(&in_call)?);
    correlate_launch(passed.device().client(), [x.handle(), g.handle(), gradient.handle()], &plan);
    Ok(gradient)
}

fn check_length(op: &'static str, found: usize, n: usize) -> Result<()> {
    if found == n {
        return Ok(());
    }
    Err(Error::Length { op, argument: "h", expected: "that of x along the axis", found })
}

/// The axis and its length.
fn check(op: &'static str, x: &Tensor, filters: &[&Tensor], axis: isize) -> Result<(usize, usize)> {
    x.check_complex(op, "x", true)?;
    let (along, n) = crate::lct::length_of(op, x, axis)?;
    x.device().limits().check_dtype(op, "x", x.dtype())?;
    if filters.len() > FILTERS {
        let found = filters.len();
        return Err(Error::Length { op, argument: "filters", expected: "at most four", found });
    }
    for h in filters {
        h.check_complex(op, "h", true)?;
        if !x.device().same(h.device()) {
            let reason = wavecube_core::DeviceFault::Mixed;
            return Err(Error::Device { op, reason });
        }
        if h.dtype() != x.dtype().compute() {
            let expected = "the compute type of x";
            return Err(Error::Dtype { op, argument: "h", expected, found: h.dtype() });
        }
        check_filter(op, x, h.shape(), along)?;
        check_length(op, h.shape()[along], n)?;
        if (n > 1 && h.layout().strides()[along] != 1) || h.layout().offset() != 0 {
            let expected = "be 1 along the axis, and begin with the buffer";
            let found = h.layout().strides().to_vec();
            return Err(Error::Strides { op, argument: "h", expected, found });
        }
    }
    Ok((along, n))
}

fn filtered(
    op: &'static str,
    x: &Tensor,
    filters: &[&Tensor],
    axis: isize,
    adjoint: bool,
) -> Result<Tensor> {
    let (along, n) = check(op, x, filters, axis)?;
    let hooks = filters.iter().enumerate().map(|(i, h)| {
        let steps = h.layout().strides().iter().zip(h.shape()).enumerate();
        let steps = steps.filter(|&(axis, _)| axis != along);
        let strides = steps.map(|(_, (&step, &len))| if len == 1 { 0 } else { step }).collect();
        Hook { table: Table::Bound(i), conjugate: adjoint, strides }
    });
    let target = Layout::contiguous(x.shape());
    let chain = wavecube_kernels::fft::Chain {
        round_trip: true,
        direction: Direction::Forward,
        filter_hooks: hooks.collect(),
        scale: (1.0 / n as f64).into(),
        ..base(op, n, x.dtype())
    };
    let chain = ends(chain, along, (x.layout(), n), (&target, n), [false, false]);
    let plan = FftPlan::of_chain(&chain, layout_ends(x.layout(), &target), x.device().limits())?;
    let y = Tensor::empty(x.device(), x.dtype(), true, x.shape())?;
    if x.layout().is_empty() {
        return Ok(y);
    }
    enqueue(&plan, x, &y, filters.iter().map(|h| h.handle().clone()).collect())?;
    Ok(y)
}
