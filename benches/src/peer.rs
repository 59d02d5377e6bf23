//! What the same work takes otherwise: cubek's transforms, products and attention on the same device, rustfft on the same cores, our own
//! transforms where an operation replaces them, the serial recursion where a scan does.

use std::{hint::black_box, time::Instant};

use cubecl::{
    ir::{ElemType, FloatKind},
    prelude::*,
    std::tensor::TensorHandle,
    zspace::Shape,
};
use cubek_attention::forward::{
    definition::{AttentionGlobalTypes, AttentionOptions},
    launch::{
        BlueprintStrategy as AttentionBlueprint, Strategy as AttentionStrategy,
        launch_ref as launch_attention,
    },
};
use cubek_fft::{CfftBindings, FftMode, cfft_launch_any_size};
use rustfft::{FftPlanner, num_complex::Complex32};
use wavecube::{Attention, CacheStorage, Device, Dtype, Normalization, Tensor, Tridiagonal};
use wavecube_testing::{
    Rng,
    catalogue::{self, Case, Peer, tridiag::Task},
    read, relative_l2,
};

use crate::{matmul, median_seconds};

/// The peers of a case and the seconds that they take, the first the one that counts.
pub(crate) fn of(device: &Device, case: &Case) -> Vec<(String, f64)> {
    match case.peer {
        Peer::Matmul { k, bits } => matmul::seconds(device, [case.rows, case.n, k], bits),
        _ => one(device, case).into_iter().collect(),
    }
}

/// The peer of a case that has one.
fn one(device: &Device, case: &Case) -> Option<(String, f64)> {
    let Case { dtype, rows, n, peer, .. } = *case;
    match peer {
        Peer::Nothing | Peer::Matmul { .. } => None,
        Peer::Product(sizes) => matmul::float_seconds(device, sizes),
        Peer::Serial => {
            let seconds = tridiag_seconds(device, case, Task::of(case.op)?, Tridiagonal::serially);
            Some(("serial, one unit a sequence".into(), seconds))
        }
        Peer::Whole => {
            let seconds = tridiag_seconds(device, case, Task::Diagonal, Tridiagonal::clone);
            Some(("our own diagonal of all elements in f32".into(), seconds))
        }
        Peer::Unquantised => {
            let prepared = catalogue::attention::decode(dtype, CacheStorage::Float, n)
                .prepare(device)
                .expect("the case fits the device");
            let seconds = median_seconds(|| prepared.call().expect("as the case"));
            Some(("our own decoding from a cache of the same type".into(), seconds))
        }
        Peer::Attention(queries) => attention_seconds(device, case, queries),
        Peer::Fft if device.limits().serial => {
            Some(("rustfft, one core".into(), rustfft_seconds(rows, n)))
        }
        Peer::Fft if n.is_power_of_two() => {
            Some(("cubek-fft".into(), cubek_seconds(device, rows, n)))
        }
        // cubek-fft has powers of two alone: ours says what the odd length costs.
        Peer::Fft => {
            let near = 1 << (n as f64).log2().round() as u32;
            let seconds =
                own_seconds(device, &[rows * n / near, near], true, |x| wavecube::fft(x, -1, NORM));
            Some((format!("our own fft of {near}"), seconds))
        }
        Peer::RoundTrip { n, real: false } => {
            let seconds = own_seconds(device, &[rows, n], true, |x| {
                wavecube::ifft(&wavecube::fft(x, -1, NORM)?, -1, NORM)
            });
            Some((format!("our own fft and ifft of {n}"), seconds))
        }
        Peer::RoundTrip { n, real: true } => {
            let seconds = own_seconds(device, &[rows, n], false, |x| {
                wavecube::irfft(&wavecube::rfft(x, -1, NORM)?, n, -1, NORM)
            });
            Some((format!("our own rfft and irfft of {n}"), seconds))
        }
    }
}

const NORM: Normalization = Normalization::Ortho;

/// Another of our operations, on waves.
fn own_seconds(
    device: &Device,
    shape: &[usize],
    complex: bool,
    run: impl Fn(&Tensor) -> wavecube::Result<Tensor>,
) -> f64 {
    let wave = |i: usize| (i as f32 * 0.37).sin();
    let len = shape.iter().product();
    let x = if complex {
        let values: Vec<_> = (0..len).map(|i| Complex32::new(wave(i), -0.5)).collect();
        Tensor::from_slice(device, &values, shape)
    } else {
        Tensor::from_slice(device, &(0..len).map(wave).collect::<Vec<_>>(), shape)
    };
    let x = x.expect("as large as the case");
    median_seconds(|| run(&x).expect("the peer fits the device"))
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

/// cubek's attention of `queries` at the end of `n` keys, in its kernel for any device. Its heads do not share keys,
/// so every head of the queries has keys of its own.
fn attention_seconds(device: &Device, case: &Case, queries: usize) -> Option<(String, f64)> {
    let Case { dtype, rows: heads, n, .. } = *case;
    let shape = |len| [1, heads, len, catalogue::attention::DIM];
    let mut rng = Rng::fresh();
    let mut operand = |len| -> Option<Tensor> {
        let values = rng.real(shape(len).iter().product());
        Some(wavecube_testing::tensor(device, &values, dtype, false, &shape(len)).ok()?.0)
    };
    let [q, k, v] = [operand(queries)?, operand(n)?, operand(n)?];
    let out = wavecube_testing::nan_filled(device, dtype, false, &shape(queries)).ok()?;
    let element = ElemType::Float(match dtype {
        Dtype::F16 => FloatKind::F16,
        Dtype::Bf16 => FloatKind::BF16,
        _ => FloatKind::F32,
    });
    let bound = |x: &Tensor| {
        let shape = Shape::from(x.shape().to_vec());
        TensorHandle::new_contiguous(shape, x.handle().clone(), element).binding()
    };
    let client = device.client();
    let mask = AttentionGlobalTypes::mask_dtype(client);
    let types = AttentionGlobalTypes::from_single_float_dtype(element, mask);
    let launch = || {
        // A single query at the end sees all keys.
        let options = AttentionOptions { causal: queries > 1, ..AttentionOptions::default() };
        let [q, k, v, out] = [&q, &k, &v, &out].map(bound);
        let inferred = AttentionBlueprint::Inferred(());
        let strategy = AttentionStrategy::Unit(inferred);
        launch_attention(strategy, client, q, k, v, None, out, &types, options).ok()
    };
    launch()?;
    let ours = wavecube::attention(&q, &k, &v, &Attention::causal()).ok()?.out;
    let error = relative_l2(&read(&out), &read(&ours));
    if error > 1e-2 || error.is_nan() {
        println!("{}: cubek-attention is off by {error:e}, and not timed", case.id());
        return None;
    }
    let run = || {
        launch();
        out.clone()
    };
    Some(("cubek-attention, keys for every head".into(), median_seconds(run)))
}

/// Another of our recursions: one unit a sequence is what the published kernel of the model does.
fn tridiag_seconds(
    device: &Device,
    case: &Case,
    task: Task,
    by: fn(&Tridiagonal) -> Tridiagonal,
) -> f64 {
    let mut rng = Rng::fresh();
    let Case { dtype, rows, n, .. } = *case;
    let (operators, g, ..) = catalogue::tridiag::operators(device, &mut rng, dtype, rows, n)
        .expect("the case fits the device");
    let call = task.call(by(&operators), g).expect("as the case");
    median_seconds(|| call().expect("as the case"))
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
