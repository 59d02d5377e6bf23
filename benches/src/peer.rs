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

use crate::{matmul, turns::Contestant};

/// The peers of a case, the first the one that counts.
pub(crate) fn of(device: &Device, case: &Case) -> Vec<Contestant> {
    match case.peer {
        Peer::Matmul { k, bits } => matmul::peers(device, [case.rows, case.n, k], bits),
        _ => one(device, case).into_iter().collect(),
    }
}

/// The peer of a case that has one.
fn one(device: &Device, case: &Case) -> Option<Contestant> {
    let Case { dtype, rows, n, peer, .. } = *case;
    match peer {
        Peer::Nothing | Peer::Matmul { .. } => None,
        Peer::Product(sizes) => matmul::float_peer(device, sizes),
        Peer::Serial => {
            let name = "serial, one unit a sequence";
            Some(recursion(device, case, name, Task::of(case.op)?, Tridiagonal::serially))
        }
        Peer::Whole => {
            let name = "our own diagonal of all elements in f32";
            Some(recursion(device, case, name, Task::Diagonal, Tridiagonal::clone))
        }
        Peer::Recursions => {
            let name = "our own solution by recursions, without interchanges";
            Some(recursion(device, case, name, Task::Solve, Tridiagonal::clone))
        }
        Peer::Unquantised => {
            let prepared = catalogue::attention::decode(dtype, CacheStorage::Float, n)
                .prepare(device)
                .expect("the case fits the device");
            let name = "our own decoding from a cache of the same type";
            Some(Contestant::new(name, move || prepared.call().expect("as the case")))
        }
        Peer::Attention(queries) => cubek_attention(device, case, queries),
        Peer::Fft if device.limits().serial => Some(rustfft(rows, n)),
        Peer::Fft if n.is_power_of_two() => Some(cubek_fft(device, rows, n)),
        // cubek-fft has powers of two alone: ours says what the odd length costs.
        Peer::Fft => {
            let near = 1 << (n as f64).log2().round() as u32;
            let (name, shape) = (format!("our own fft of {near}"), [rows * n / near, near]);
            Some(own(device, name, &shape, true, |x| wavecube::fft(x, -1, NORM)))
        }
        Peer::RoundTrip { n, real: false } => {
            let name = format!("our own fft and ifft of {n}");
            Some(own(device, name, &[rows, n], true, |x| {
                wavecube::ifft(&wavecube::fft(x, -1, NORM)?, -1, NORM)
            }))
        }
        Peer::RoundTrip { n, real: true } => {
            let name = format!("our own rfft and irfft of {n}");
            Some(own(device, name, &[rows, n], false, move |x| {
                wavecube::irfft(&wavecube::rfft(x, -1, NORM)?, n, -1, NORM)
            }))
        }
    }
}

const NORM: Normalization = Normalization::Ortho;

/// Another of our operations, on waves.
fn own(
    device: &Device,
    name: String,
    shape: &[usize],
    complex: bool,
    run: impl Fn(&Tensor) -> wavecube::Result<Tensor> + 'static,
) -> Contestant {
    let wave = |i: usize| (i as f32 * 0.37).sin();
    let len = shape.iter().product();
    let x = if complex {
        let values: Vec<_> = (0..len).map(|i| Complex32::new(wave(i), -0.5)).collect();
        Tensor::from_slice(device, &values, shape)
    } else {
        Tensor::from_slice(device, &(0..len).map(wave).collect::<Vec<_>>(), shape)
    };
    let x = x.expect("as large as the case");
    Contestant::new(name, move || run(&x).expect("the peer fits the device"))
}

/// cubek-fft keeps real and imaginary parts in tensors of their own.
fn cubek_fft(device: &Device, rows: usize, n: usize) -> Contestant {
    let client = device.client().clone();
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
    let written = last.clone();
    let run = move || {
        let bindings = CfftBindings {
            input_re: re.clone().binding(),
            input_im: im.clone().binding(),
            output_re: out_re.clone().binding(),
            output_im: out_im.clone().binding(),
        };
        cfft_launch_any_size(&client, bindings, 1, f32::elem_type_native(), FftMode::Forward)
            .expect("a power of two");
        last.clone()
    };
    run();
    let written = written.read::<f32>().expect("the peer ran");
    assert!(written.iter().all(|v| v.is_finite()), "the peer wrote every element");
    Contestant::new("cubek-fft", run)
}

/// cubek's attention of `queries` at the end of `n` keys, in its kernel for any device. Its heads do not share keys,
/// so every head of the queries has keys of its own.
fn cubek_attention(device: &Device, case: &Case, queries: usize) -> Option<Contestant> {
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
    let bound = move |x: &Tensor| {
        let shape = Shape::from(x.shape().to_vec());
        TensorHandle::new_contiguous(shape, x.handle().clone(), element).binding()
    };
    let client = device.client().clone();
    let mask = AttentionGlobalTypes::mask_dtype(&client);
    let types = AttentionGlobalTypes::from_single_float_dtype(element, mask);
    let ours = wavecube::attention(&q, &k, &v, &Attention::causal()).ok()?.out;
    let last = out.clone();
    let launch = move || {
        // A single query at the end sees all keys.
        let options = AttentionOptions { causal: queries > 1, ..AttentionOptions::default() };
        let [q, k, v, out] = [&q, &k, &v, &out].map(bound);
        let inferred = AttentionBlueprint::Inferred(());
        let strategy = AttentionStrategy::Unit(inferred);
        launch_attention(strategy, &client, q, k, v, None, out, &types, options).ok()
    };
    launch()?;
    let error = relative_l2(&read(&last), &read(&ours));
    if error > 1e-2 || error.is_nan() {
        println!("{}: cubek-attention is off by {error:e}, and not timed", case.id());
        return None;
    }
    Some(Contestant::new("cubek-attention, keys for every head", move || {
        launch().expect("it ran before");
        last.clone()
    }))
}

/// Another of our recursions: one unit a sequence is what the published kernel of the model does.
fn recursion(
    device: &Device,
    case: &Case,
    name: &str,
    task: Task,
    by: fn(&Tridiagonal) -> Tridiagonal,
) -> Contestant {
    let mut rng = Rng::fresh();
    let Case { dtype, rows, n, .. } = *case;
    let (operators, g, ..) = catalogue::tridiag::operators(device, &mut rng, dtype, rows, n)
        .expect("the case fits the device");
    let call = task.call(by(&operators), g).expect("as the case");
    Contestant::new(name, move || call().expect("as the case"))
}

fn rustfft(rows: usize, n: usize) -> Contestant {
    let fft = FftPlanner::<f32>::new().plan_fft_forward(n);
    let mut x = vec![Complex32::default(); rows * n];
    let mut scratch = vec![Complex32::default(); fft.get_inplace_scratch_len()];
    Contestant::timed("rustfft, one core", move || {
        x.iter_mut().enumerate().for_each(|(i, v)| *v = Complex32::new((i % 7) as f32, 1.0));
        let start = Instant::now();
        fft.process_with_scratch(black_box(&mut x), &mut scratch);
        start.elapsed().as_secs_f64()
    })
}
