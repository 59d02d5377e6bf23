//! Causal convolutions of sequences, by one padded transform there and back.
//!
//! | operand | NaN or an infinity in it gives |
//! |---|---|
//! | a line of `x` or `g` | NaN in that whole line, in what comes before it too: all outputs of a line come from one transform. Other lines: the bits they had |
//! | a filter | NaN in the lines that it is for, and no others |
//! | lags of a filter beyond the sequence | no effect, to the bit, and a gradient of zero |
//! | a line of `x` or `g`, for the gradient by filters | NaN in the gradient of the filter of that line, lags beyond the sequence not |
//!
//! Numbers of any normal size in one of the operands have the relative error of any other.

use wavecube_core::{
    Error, Layout, Result,
    fft::{Direction, padded_len},
};
use wavecube_kernels::{
    fft::{BatchAxis, Chain, End, FftPlan, Hook, Load, Scale, Store, Strategy, Table},
    lct::{CorrelationPlan, PointPlan, Resident, correlate_launch, pointwise_launch, upload_real},
};

use crate::{
    Device, Tensor,
    call::{GRADIENT, of_call},
    fft::enqueue,
};

/// `y_t = Σ_{s ≤ t} h_{t−s} x_s` along `axis`, for each line of `x`.
///
/// `x` and `h` are both real or both complex, of one storage type. `h` has the shape of `x` save that
/// along `axis` it may have any length (lags beyond the sequence have no effect), and length 1 on every
/// batch axis that shares a filter. A real result for real operands.
///
/// Promises: output `t` depends on no input after `t`, beyond rounding: all outputs of a line come from
/// one transform of length at least `2T − 1`, so a value may move by `ε log₂ T` of the line's norm. One
/// trip through memory for the signals while the padded length fits, one transform for the filters.
/// Storage in 16 bits is computed in `f32`; the spectrum of the filters is kept in the compute type.
///
/// # Errors
/// [`Error::Dtype`] if one is real and the other complex, or their types differ; [`Error::Axis`] if there is
/// no such axis; [`Error::Length`] if it is empty; [`Error::Shape`] if the batch axes of `h` are neither 1
/// nor those of `x`; [`Error::Limit`] if the padded length is longer than the device allows.
///
/// ```
/// use wavecube::{Device, Tensor, causal_convolution};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0], &[1, 4])?;
/// let h = Tensor::from_slice(&device, &[1.0f32, 10.0], &[1, 2])?;
/// let y: Vec<f32> = causal_convolution(&x, &h, -1)?.read()?;
/// assert!(y.iter().zip([1.0, 12.0, 23.0, 34.0]).all(|(a, b)| (a - b).abs() < 1e-4));
/// # Ok::<(), wavecube::Error>(())
/// ```
pub fn causal_convolution(x: &Tensor, h: &Tensor, axis: isize) -> Result<Tensor> {
    convolve("causal_convolution", x, h, axis, false)
}

/// The gradient of [`causal_convolution`] with respect to `x`, from the gradient `g` of its result:
/// `Σ_{t ≥ s} h_{t−s}* g_t`.
///
/// # Errors
/// As [`causal_convolution`].
pub fn causal_convolution_vjp(g: &Tensor, h: &Tensor, axis: isize) -> Result<Tensor> {
    const OP: &str = "causal_convolution_vjp";
    convolve(OP, g, h, axis, true).map_err(of_call(OP, GRADIENT))
}

/// The gradient of [`causal_convolution`] with respect to a filter of the shape `filter`: the correlation of
/// `x` and `g`, summed over the lines that share a filter, one after the other.
///
/// # Errors
/// As [`causal_convolution`].
pub fn causal_convolution_filter_vjp(
    x: &Tensor,
    g: &Tensor,
    filter: &[usize],
    axis: isize,
) -> Result<Tensor> {
    const OP: &str = "causal_convolution_filter_vjp";
    x.check_same(OP, "g", g)?;
    g.check_complex(OP, "g", x.is_complex())?;
    let (along, n) = crate::lct::length_of(OP, x, axis)?;
    if g.shape() != x.shape() {
        return Err(Error::Shape {
            op: OP,
            argument: "g",
            expected: x.shape().to_vec(),
            found: g.shape().to_vec(),
        });
    }
    check_filter(OP, x, filter, along).map_err(of_call(OP, &[("h", "filter")]))?;
    let padded = padded_len(2 * n - 1);
    let device = x.device();
    let compute = x.dtype().compute();
    let len = Layout::contiguous(filter)
        .checked_len()
        .and_then(|len| len.checked_mul(2 * compute.size()));
    device.limits().check_buffer(OP, len.map_or(u64::MAX, |bytes| bytes as u64))?;
    let back = Chain { direction: Direction::Inverse, ..base(OP, padded, compute) };
    let spectra = spectra_layout(x.shape(), along, padded);
    let sums = spectra_layout(filter, along, padded);
    let out = Layout::contiguous(filter);
    let len = filter[along].min(n);
    // One of the spectra takes the factor: a product of two whole ones could overflow where the gradient does not.
    let (forward_x, wide_x) = spectrum_plan(OP, x, along, (padded, n), 1.0 / padded as f64)?;
    let (forward_g, wide_g) = spectrum_plan(OP, g, along, (padded, n), 1.0)?;
    let correlation =
        CorrelationPlan::new(OP, [&spectra, &spectra], &sums, along, compute, device.limits())?;
    let chain = ends(back, along, (&sums, padded), (&out, len), [false, !x.is_complex()]);
    let backward = FftPlan::of_chain(&chain, layout_ends(&sums, &out), device.limits())?;
    let x_spectrum = run_spectrum(OP, x, (along, padded), &forward_x, wide_x)?;
    let g_spectrum = run_spectrum(OP, g, (along, padded), &forward_g, wide_g)?;
    let sum = placed(device, compute, &sums)?;
    correlate_launch(
        device.client(),
        [x_spectrum.handle(), g_spectrum.handle(), sum.handle()],
        &correlation,
    );
    let gradient = if filter[along] > n {
        // Lags at or beyond the sequence have no effect, and no gradient.
        let parts = if x.is_complex() { 2 } else { 1 };
        let zeros = vec![0.0; filter.iter().product::<usize>().max(1) * parts];
        let handle = upload_real(device.client(), &zeros, compute);
        Tensor::from_handle(device, handle, compute, x.is_complex(), out)?
    } else {
        Tensor::empty(device, compute, x.is_complex(), filter)?
    };
    enqueue(&backward, &sum, &gradient, Vec::new())?;
    cast(OP, &gradient, along, x.dtype(), x.is_complex())
}

/// A chain along nothing yet.
pub(crate) fn base(op: &'static str, n: usize, dtype: wavecube_core::Dtype) -> Chain {
    let nowhere = End { offset: 0, stride: 1, len: n };
    Chain {
        op,
        n,
        period: n,
        direction: Direction::Forward,
        round_trip: false,
        batch: Vec::new(),
        source: nowhere,
        target: nowhere,
        load: Load::Complex,
        store: Store::Complex,
        load_hooks: Vec::new(),
        filter_hooks: Vec::new(),
        store_hooks: Vec::new(),
        scale: Scale::ONE,
        dtype,
        strategy: Strategy::Auto,
    }
}

/// The chain from one layout to another, whose batch shapes agree.
pub(crate) fn ends(
    chain: Chain,
    axis: usize,
    (source, source_len): (&Layout, usize),
    (target, target_len): (&Layout, usize),
    [real_source, real_target]: [bool; 2],
) -> Chain {
    let end =
        |layout: &Layout, len| End { offset: layout.offset(), stride: layout.strides()[axis], len };
    Chain {
        batch: (0..source.rank())
            .filter(|&i| i != axis)
            .map(|i| BatchAxis {
                len: source.shape()[i],
                source: source.strides()[i],
                target: target.strides()[i],
            })
            .collect(),
        source: end(source, source_len),
        target: end(target, target_len),
        load: if real_source { Load::Real } else { Load::Complex },
        store: if real_target { Store::Real } else { Store::Complex },
        ..chain
    }
}

/// Where the spectra of lines of `shape` lie: one after the other, whatever axis the lines lie along, as
/// tables do.
fn spectra_layout(shape: &[usize], axis: usize, padded: usize) -> Layout {
    let mut order: Vec<usize> = (0..shape.len()).filter(|&i| i != axis).collect();
    let mut apart: Vec<usize> = order.iter().map(|&i| shape[i]).collect();
    apart.push(padded);
    order.push(axis);
    let back: Vec<usize> =
        (0..order.len()).filter_map(|i| order.iter().position(|&axis| axis == i)).collect();
    Layout::contiguous(&apart).permuted(&back)
}

/// Room for complex elements of a layout without gaps.
fn placed(device: &Device, dtype: wavecube_core::Dtype, layout: &Layout) -> Result<Tensor> {
    let room = Tensor::empty(device, dtype, true, layout.shape())?;
    Tensor::from_handle(device, room.handle().clone(), dtype, true, layout.clone())
}

pub(crate) fn layout_ends(source: &Layout, target: &Layout) -> [usize; 2] {
    [source, target].map(|layout| layout.end().unwrap_or(usize::MAX))
}

/// The plan of `scale` times the spectrum, zero-padded to `padded`, of the first `len` points of every line, and
/// whether the tensor is widened to the compute type first.
fn spectrum_plan(
    op: &'static str,
    x: &Tensor,
    axis: usize,
    (padded, len): (usize, usize),
    scale: f64,
) -> Result<(FftPlan, bool)> {
    let compute = x.dtype().compute();
    let widened = compute != x.dtype();
    let source = if widened { Layout::contiguous(x.shape()) } else { x.layout().clone() };
    let target = spectra_layout(x.shape(), axis, padded);
    let real = [!x.is_complex(), false];
    let chain = Chain { scale: scale.into(), ..base(op, padded, compute) };
    let chain = ends(chain, axis, (&source, len), (&target, padded), real);
    let bytes = target.checked_len().and_then(|len| len.checked_mul(2 * compute.size()));
    x.device().limits().check_buffer(op, bytes.map_or(u64::MAX, |bytes| bytes as u64))?;
    Ok((FftPlan::of_chain(&chain, layout_ends(&source, &target), x.device().limits())?, widened))
}

fn run_spectrum(
    op: &'static str,
    x: &Tensor,
    (axis, padded): (usize, usize),
    plan: &FftPlan,
    widened: bool,
) -> Result<Tensor> {
    let compute = x.dtype().compute();
    let y = placed(x.device(), compute, &spectra_layout(x.shape(), axis, padded))?;
    let source = if widened { cast(op, x, axis, compute, x.is_complex())? } else { x.clone() };
    enqueue(plan, &source, &y, Vec::new())?;
    Ok(y)
}

/// The tensor in another storage type, contiguous; itself if it has that type.
fn cast(
    op: &'static str,
    x: &Tensor,
    axis: usize,
    dtype: wavecube_core::Dtype,
    complex: bool,
) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    let y = Tensor::empty(x.device(), dtype, complex, x.shape())?;
    if x.layout().is_empty() {
        return Ok(y);
    }
    let parts = |tensor: &Tensor| if tensor.is_complex() { 2 } else { 1 };
    let operands = [(x.layout(), x.dtype(), parts(x)), (y.layout(), dtype, parts(&y))];
    let plan = PointPlan::new(op, operands, axis, (None, None), x.device().limits())?;
    let handles = [x.handle(), y.handle()];
    pointwise_launch(x.device().client(), op, handles, &Resident::default(), &plan)?;
    Ok(y)
}

/// A filter has the rank of the signal, and on its batch axes 1 or the signal's length.
pub(crate) fn check_filter(
    op: &'static str,
    x: &Tensor,
    filter: &[usize],
    axis: usize,
) -> Result<()> {
    let fits = filter.len() == x.shape().len()
        && filter
            .iter()
            .zip(x.shape())
            .enumerate()
            .all(|(i, (&f, &len))| i == axis || f == 1 || f == len);
    if !fits {
        return Err(Error::Shape {
            op,
            argument: "h",
            expected: x.shape().to_vec(),
            found: filter.to_vec(),
        });
    }
    if filter[axis] == 0 {
        return Err(Error::Length { op, argument: "h", expected: "at least 1", found: 0 });
    }
    Ok(())
}

fn convolve(
    op: &'static str,
    x: &Tensor,
    h: &Tensor,
    axis: isize,
    adjoint: bool,
) -> Result<Tensor> {
    x.check_same(op, "h", h)?;
    h.check_complex(op, "h", x.is_complex())?;
    let (along, n) = crate::lct::length_of(op, x, axis)?;
    check_filter(op, x, h.shape(), along)?;
    let device = x.device();
    device.limits().check_dtype(op, "x", x.dtype())?;
    let padded = padded_len(2 * n - 1);
    let kept = h.shape()[along].min(n);
    let (spectrum, widened) = spectrum_plan(op, h, along, (padded, kept), 1.0)?;

    let filter = spectra_layout(h.shape(), along, padded);
    let strides = (0..filter.rank())
        .filter(|&i| i != along)
        .map(|i| if filter.shape()[i] == 1 { 0 } else { filter.strides()[i] })
        .collect();
    let target = Layout::contiguous(x.shape());
    let chain = Chain {
        round_trip: true,
        filter_hooks: vec![Hook { table: Table::Bound(0), conjugate: adjoint, strides }],
        scale: (1.0 / padded as f64).into(),
        ..base(op, padded, x.dtype())
    };
    let real = !x.is_complex();
    let chain = ends(chain, along, (x.layout(), n), (&target, n), [real, real]);
    let plan = FftPlan::of_chain(&chain, layout_ends(x.layout(), &target), device.limits())?;

    let y = Tensor::empty(device, x.dtype(), x.is_complex(), x.shape())?;
    if x.layout().is_empty() {
        return Ok(y);
    }
    let spectrum = run_spectrum(op, h, (along, padded), &spectrum, widened)?;
    enqueue(&plan, x, &y, vec![spectrum.handle().clone()])?;
    Ok(y)
}
