//! What others need for the same work: cubek-fft on the same device, rustfft on the same cores.

use std::{hint::black_box, time::Instant};

use cubecl::{prelude::*, std::tensor::TensorHandle, zspace::Shape};
use cubek_fft::{CfftBindings, FftMode, cfft_launch_any_size};
use rustfft::{FftPlanner, num_complex::Complex32};
use wavecube::{Device, Dtype, Tensor};
use wavecube_testing::catalogue::Case;

use crate::median_seconds;

/// The peer of a case and the seconds it takes, where there is one: complex transforms in single
/// precision.
pub(crate) fn of(device: &Device, case: &Case) -> Option<(&'static str, f64)> {
    let plain = case.op.starts_with("fft/forward")
        || case.op.starts_with("fft/smooth")
        || case.op.starts_with("fft/prime");
    if !plain || case.dtype != Dtype::F32 {
        return None;
    }
    let (rows, n) = parse(&case.size)?;
    if device.limits().serial {
        Some(("rustfft, one core", rustfft_seconds(rows, n)))
    } else if n.is_power_of_two() {
        Some(("cubek-fft", cubek_seconds(device, rows, n)))
    } else {
        None
    }
}

/// `b16_n4096` as 16 and 4096.
fn parse(size: &str) -> Option<(usize, usize)> {
    let (rows, n) = size.strip_prefix('b')?.split_once("_n")?;
    Some((rows.parse().ok()?, n.parse().ok()?))
}

/// cubek-fft keeps real and imaginary parts in tensors of their own.
fn cubek_seconds(device: &Device, rows: usize, n: usize) -> f64 {
    let client = device.client();
    let values: Vec<f32> = (0..rows * n).map(|i| (i as f32 * 0.37).sin()).collect();
    let part = |values: &[f32]| {
        let handle = client.create_from_slice(f32::as_bytes(values));
        TensorHandle::new_contiguous(Shape::from(vec![rows, n]), handle, f32::elem_type_native())
    };
    let (re, im) = (part(&values), part(&values));
    let nan = vec![f32::NAN; values.len()];
    let (out_re, out_im) = (part(&nan), part(&nan));
    let last = Tensor::from_handle(
        device,
        out_im.handle.clone(),
        Dtype::F32,
        false,
        wavecube::Layout::contiguous(&[rows, n]),
    )
    .expect("the buffer has this shape");
    let seconds = median_seconds(|| {
        let bindings = CfftBindings {
            input_re: re.clone().binding(),
            input_im: im.clone().binding(),
            output_re: out_re.clone().binding(),
            output_im: out_im.clone().binding(),
        };
        cfft_launch_any_size(client, bindings, 1, f32::elem_type_native(), FftMode::Forward)
            .expect("a power of two");
        last.clone()
    });
    let written = last.read::<f32>().expect("the peer ran");
    assert!(written.iter().all(|v| v.is_finite()), "the peer wrote every element");
    seconds
}

fn rustfft_seconds(rows: usize, n: usize) -> f64 {
    let fft = FftPlanner::<f32>::new().plan_fft_forward(n);
    let mut x = vec![Complex32::new(1.0, -0.5); rows * n];
    let mut scratch = vec![Complex32::default(); fft.get_inplace_scratch_len()];
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            x.iter_mut().enumerate().for_each(|(i, v)| *v = Complex32::new((i % 7) as f32, 1.0));
            let start = Instant::now();
            fft.process_with_scratch(black_box(&mut x), &mut scratch);
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
