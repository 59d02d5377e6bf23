//! Fourier transforms against the definition in `f64`, their identities, and what they reject.

use wavecube::{
    Complex32, Complex64, Direction, Dtype, Error, FftPlan, FftProblem, Layout, Limits,
    Normalization, Tensor, fft, fft_in_place, fft_into, fft_vjp, fftn, fftn_vjp, ifft, ifft_vjp,
    irfft, irfft_vjp, rfft, rfft_vjp,
};
use wavecube_kernels::fft::{FftBindings, fft_launch, upload_tables};
use wavecube_testing::{
    Rng, assert_close, catalogue, devices, nan_filled, read,
    reference::{self, fft::bound},
    relative_l2, tensor,
};

const NORMS: [Normalization; 3] =
    [Normalization::Backward, Normalization::Ortho, Normalization::Forward];
const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Inverse];

#[test]
fn the_catalogue_is_right() {
    catalogue::assert_right("fft/");
}

#[test]
fn any_axis_and_any_strides() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let shape = [3, 20, 6];
        let (x, values) = tensor(device, &rng.complex(360), Dtype::F32, true, &shape).unwrap();
        for axis in 0..3usize {
            let n = shape[axis];
            let mut expected = values.clone();
            let strides = Layout::contiguous(&shape).strides().to_vec();
            for start in 0..360 {
                if (start / strides[axis]).is_multiple_of(n) {
                    let line: Vec<_> = (0..n).map(|i| values[start + i * strides[axis]]).collect();
                    let line =
                        reference::fft::dft(&line, Direction::Forward, Normalization::Backward);
                    for (i, v) in line.into_iter().enumerate() {
                        expected[start + i * strides[axis]] = v;
                    }
                }
            }
            let y = fft(&x, axis as isize, Normalization::Backward).unwrap();
            assert_close("axis", &read(&y), &expected, bound(Dtype::F32, n));
            let negative = fft(&x, axis as isize - 3, Normalization::Backward).unwrap();
            assert_eq!(read(&y), read(&negative), "an axis has two names and one result");

            // The same elements, seen through a permuted and narrowed view, into a permuted output.
            let view = x.permuted(&[2, 0, 1]).unwrap().narrowed(0, 1, 4).unwrap();
            let seen = [2usize, 0, 1].iter().position(|&a| a == axis).unwrap();
            if seen != 0 {
                let target = nan_filled(device, Dtype::F32, true, &[20, 4, 3]).unwrap();
                let mut target = target.permuted(&[1, 2, 0]).unwrap();
                let (forward, backward) = (Direction::Forward, Normalization::Backward);
                fft_into(&view, &mut target, seen as isize, forward, backward).unwrap();
                let whole = y.permuted(&[2, 0, 1]).unwrap().narrowed(0, 1, 4).unwrap();
                assert_close("view", &read(&target), &read(&whole), 2.0 * bound(Dtype::F32, n));
            }
        }
    }
}

#[test]
fn in_place_equals_out_of_place() {
    for device in devices() {
        let mut rng = Rng::fresh();
        // One stage, several stages, Rader, a convolution that wraps around, several passes.
        for n in [8, 480, 101, 4099, 6400, 20_011] {
            let (mut x, _) =
                tensor(device, &rng.complex(3 * n), Dtype::F32, true, &[3, n]).unwrap();
            let y = fft(&x, -1, Normalization::Ortho).unwrap();
            fft_in_place(&mut x, -1, Direction::Forward, Normalization::Ortho).unwrap();
            assert_eq!(read(&x), read(&y), "length {n}");
        }
    }
}

#[test]
fn real_transforms_and_their_symmetry() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [1, 2, 3, 4, 7, 30, 64, 81, 100, 127, 128, 509, 5000, 16_384] {
            let norm = NORMS[rng.int(0, 2)];
            let (x, values) = tensor(device, &rng.real(3 * n), Dtype::F32, false, &[3, n]).unwrap();
            let bins = n / 2 + 1;
            let spectrum = rfft(&x, -1, norm).unwrap();
            let full = reference::fft::rows(&values, n, Direction::Forward, norm);
            let expected: Vec<_> = full.chunks(n).flat_map(|row| row[..bins].to_vec()).collect();
            assert_close(&format!("rfft {n}"), &read(&spectrum), &expected, bound(Dtype::F32, n));
            let back = irfft(&spectrum, n, -1, norm).unwrap();
            assert_close(&format!("irfft {n}"), &read(&back), &values, 2.0 * bound(Dtype::F32, n));

            // Along another axis, into the middle of nowhere.
            let (x, values) = tensor(device, &rng.real(3 * n), Dtype::F32, false, &[n, 3]).unwrap();
            let columns = rfft(&x, 0, norm).unwrap();
            for column in 0..3 {
                let line: Vec<_> = (0..n).map(|i| values[i * 3 + column]).collect();
                let line = reference::fft::fft(&line, Direction::Forward, norm);
                let found = read(&columns.narrowed(1, column, 1).unwrap());
                assert_close("rfft column", &found, &line[..bins], 2.0 * bound(Dtype::F32, n));
            }
        }
    }
}

/// `Re⟨g, A x⟩ = Re⟨Aᴴ g, x⟩` to rounding: the two sums have `len` terms of size one.
fn assert_adjoint(what: &str, g: &Tensor, y: &Tensor, adjoint: &Tensor, x: &Tensor) {
    let dot = |a: &[Complex64], b: &[Complex64]| -> (f64, f64) {
        let terms = a.iter().zip(b).map(|(a, b)| (a.conj() * b).re);
        let size: f64 = a.iter().zip(b).map(|(a, b)| a.norm() * b.norm()).sum();
        (terms.sum(), size)
    };
    let (left, left_size) = dot(&read(g), &read(y));
    let (right, right_size) = dot(&read(adjoint), &read(x));
    let size = left_size.max(right_size);
    assert!((left - right).abs() <= 1e-6 * size, "{what}: {left} against {right}");
}

#[test]
fn gradients_are_adjoints() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [1, 2, 15, 16, 101, 256, 300] {
            for norm in NORMS {
                let mut complex = |len| {
                    let shape = [2, len];
                    tensor(device, &rng.complex(2 * len), Dtype::F32, true, &shape).unwrap().0
                };
                let (x, g) = (complex(n), complex(n));
                let (half, half_g) = (complex(n / 2 + 1), complex(n / 2 + 1));
                let what = format!("length {n} {norm:?}");
                let y = fft(&x, -1, norm).unwrap();
                assert_adjoint(&what, &g, &y, &fft_vjp(&g, -1, norm).unwrap(), &x);
                let y = ifft(&x, -1, norm).unwrap();
                assert_adjoint(&what, &g, &y, &ifft_vjp(&g, -1, norm).unwrap(), &x);

                let axes = [0, 1];
                let y = fftn(&x, &axes, Direction::Forward, norm).unwrap();
                let grad = fftn_vjp(&g, &axes, Direction::Forward, norm).unwrap();
                assert_adjoint(&what, &g, &y, &grad, &x);

                let mut real =
                    || tensor(device, &rng.real(2 * n), Dtype::F32, false, &[2, n]).unwrap().0;
                let (x, g) = (real(), real());
                let y = rfft(&x, -1, norm).unwrap();
                let grad = rfft_vjp(&half_g, n, -1, norm).unwrap();
                assert_adjoint(&what, &half_g, &y, &grad, &x);
                let y = irfft(&half, n, -1, norm).unwrap();
                assert_adjoint(&what, &g, &y, &irfft_vjp(&g, -1, norm).unwrap(), &half);
            }
        }
    }
}

#[test]
fn linearity_parseval_shift_and_inverse() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [16, 100, 211, 1024, 9000] {
            let limit = bound(Dtype::F32, n);
            let (a, b) = (rng.complex(n), rng.complex(n));
            let ortho = |values: &[Complex64]| {
                let (x, exact) = tensor(device, values, Dtype::F32, true, &[n]).unwrap();
                (fft(&x, 0, Normalization::Ortho).unwrap(), exact)
            };
            let (fa, exact_a) = ortho(&a);
            let (fb, _) = ortho(&b);
            let sum: Vec<_> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            let (fsum, _) = ortho(&sum);
            let fa = read(&fa);
            let added: Vec<_> = fa.iter().zip(read(&fb)).map(|(a, b)| a + b).collect();
            assert_close("linearity", &read(&fsum), &added, 4.0 * limit);

            let energy = |v: &[Complex64]| v.iter().map(Complex64::norm_sqr).sum::<f64>();
            let drift = (energy(&fa) / energy(&exact_a) - 1.0).abs();
            assert!(drift <= 2.0 * limit, "Parseval at {n}: {drift:e}");

            let shift = rng.int(0, n - 1);
            let moved: Vec<_> = (0..n).map(|i| exact_a[(i + n - shift) % n]).collect();
            let turned: Vec<_> = (0..n)
                .map(|k| {
                    let turn = (k * shift % n) as f64 / n as f64;
                    fa[k] * Complex64::from_polar(1.0, -std::f64::consts::TAU * turn)
                })
                .collect();
            assert_close("shift", &read(&ortho(&moved).0), &turned, 2.0 * limit);

            let back = ifft(&ortho(&a).0, 0, Normalization::Ortho).unwrap();
            assert_close("inverse", &read(&back), &exact_a, 2.0 * limit);
        }
    }
}

#[test]
fn a_batch_is_a_loop_and_runs_repeat() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [12, 128, 331, 12_000] {
            let (x, _) = tensor(device, &rng.complex(5 * n), Dtype::F32, true, &[5, n]).unwrap();
            let all = read(&fft(&x, -1, Normalization::Backward).unwrap());
            let again = read(&fft(&x, -1, Normalization::Backward).unwrap());
            assert_eq!(all, again, "the same input gives the same bits");
            for row in 0..5 {
                let one = x.narrowed(0, row, 1).unwrap();
                let one = read(&fft(&one, -1, Normalization::Backward).unwrap());
                assert_eq!(one, all[row * n..(row + 1) * n], "row {row} of length {n}");
            }
        }
    }
}

#[test]
fn several_axes() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let (x, values) = tensor(device, &rng.complex(70), Dtype::F32, true, &[7, 10]).unwrap();
        let y = fftn(&x, &[0, 1], Direction::Forward, Normalization::Backward).unwrap();
        let mut expected = Vec::new();
        for k in 0..70 {
            let phase = |i: usize| {
                let turn = (k / 10 * (i / 10)) as f64 / 7.0 + (k % 10 * (i % 10)) as f64 / 10.0;
                Complex64::from_polar(1.0, -std::f64::consts::TAU * turn)
            };
            expected.push((0..70).map(|i| values[i] * phase(i)).sum::<Complex64>());
        }
        assert_close("fftn", &read(&y), &expected, 2.0 * bound(Dtype::F32, 10));
    }
}

#[test]
fn the_naive_strategy_agrees() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let (x, values) = tensor(device, &rng.complex(3 * 77), Dtype::F32, true, &[3, 77]).unwrap();
        let direction = Direction::Inverse;
        let y = wavecube::dft_naive(&x, -1, direction, Normalization::Ortho).unwrap();
        let expected = reference::fft::rows(&values, 77, direction, Normalization::Ortho);
        // A sum of N terms in one accumulator: c ε √N.
        assert_close("naive", &read(&y), &expected, 4.0 * Dtype::F32.epsilon() * 77f64.sqrt());
    }
}

/// Several passes, Bluestein in several passes, one unit a cube and the registers of a GPU, at lengths that
/// compile quickly: what another device would be given, run on this one.
#[test]
fn plans_for_other_devices_run_on_this_one() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let less = |units, shared| Limits {
            units_per_cube: device.limits().units_per_cube.min(units),
            shared_bytes: device.limits().shared_bytes.min(shared),
            ..*device.limits()
        };
        let hardware = Limits { emulated: false, ..*device.limits() };
        for limits in [less(1, 4096), less(256, 256), hardware] {
            for n in [96, 127, 256] {
                let (direction, norm) = (DIRECTIONS[rng.int(0, 1)], NORMS[rng.int(0, 2)]);
                let shape = [3, n];
                let values = rng.complex(3 * n);
                let (x, values) = tensor(device, &values, Dtype::F32, true, &shape).unwrap();
                let y = nan_filled(device, Dtype::F32, true, &shape).unwrap();
                let problem = FftProblem::c2c(&shape, -1, direction, norm);
                let plan = FftPlan::new(&problem, &limits).unwrap();
                let bindings = FftBindings {
                    input: x.handle().clone(),
                    output: y.handle().clone(),
                    tables: upload_tables(device.client(), &plan),
                    bound: Vec::new(),
                };
                fft_launch(device.client(), &bindings, &plan).unwrap();
                let what = format!("{device} seed {}\n{}", rng.seed, plan.describe());
                let expected = reference::fft::rows(&values, n, direction, norm);
                assert_close(&what, &read(&y), &expected, bound(Dtype::F32, n));
            }
        }
    }
}

#[test]
fn awkward_inputs() {
    let device = &devices()[0];
    // An empty batch is nothing to do, not an error.
    let empty = Tensor::from_slice::<Complex32>(device, &[], &[0, 8]).unwrap();
    let y = fft(&empty, -1, Normalization::Backward).unwrap();
    assert_eq!(y.shape(), [0, 8]);
    assert!(y.read::<Complex32>().unwrap().is_empty());
    // NaN and infinities stay in their row.
    let mut values = vec![Complex32::new(1.0, 0.0); 24];
    values[3] = Complex32::new(f32::NAN, f32::INFINITY);
    let x = Tensor::from_slice(device, &values, &[3, 8]).unwrap();
    let y = read(&fft(&x, -1, Normalization::Backward).unwrap());
    assert!(y[..8].iter().all(|v| !v.is_finite()));
    assert!(y[8..].iter().all(|v| v.re.is_finite()));
}

#[test]
fn every_rejected_call_says_why() {
    let device = &devices()[0];
    let zeros = |shape: &[usize]| {
        let values = vec![Complex32::new(0.0, 0.0); shape.iter().product()];
        Tensor::from_slice(device, &values, shape).unwrap()
    };
    let real = Tensor::from_slice(device, &[0f32; 8], &[8]).unwrap();
    let x = zeros(&[4, 6]);
    let norm = Normalization::Backward;

    assert!(matches!(fft(&x, 2, norm), Err(Error::Axis { rank: 2, found: 2, .. })));
    assert!(matches!(fft(&x, -3, norm), Err(Error::Axis { found: -3, .. })));
    assert!(matches!(fft(&zeros(&[4, 0]), 1, norm), Err(Error::Length { found: 0, .. })));
    assert!(matches!(fft(&real, 0, norm), Err(Error::Dtype { .. })));
    assert!(matches!(rfft(&x, 0, norm), Err(Error::Dtype { .. })));
    assert!(matches!(irfft(&x, 6, 1, norm), Err(Error::Shape { .. })));
    assert!(matches!(irfft(&x, 0, 1, norm), Err(Error::Length { .. })));
    let mut small = zeros(&[4, 5]);
    let forward = Direction::Forward;
    assert!(matches!(fft_into(&x, &mut small, 1, forward, norm), Err(Error::Shape { .. })));
    assert!(matches!(fftn(&x, &[0, -2], forward, norm), Err(Error::Unsupported { .. })));

    // Overlap without identity, and an output that writes one place twice.
    let big = zeros(&[5, 6]);
    let input = big.narrowed(0, 0, 4).unwrap();
    let mut shifted = big.narrowed(0, 1, 4).unwrap();
    assert!(matches!(fft_into(&input, &mut shifted, 1, forward, norm), Err(Error::Overlap { .. })));
    let folded = Layout::strided(&[4, 6], &[0, 1], 0).unwrap();
    let mut folded =
        Tensor::from_handle(device, zeros(&[6]).handle().clone(), Dtype::F32, true, folded)
            .unwrap();
    assert!(matches!(fft_into(&x, &mut folded, 1, forward, norm), Err(Error::Strides { .. })));
    let beyond = Layout::contiguous(&[7]);
    let handle = zeros(&[6]).handle().clone();
    assert!(matches!(
        Tensor::from_handle(device, handle, Dtype::F32, true, beyond),
        Err(Error::Length { .. })
    ));

    // What a device lacks is told by its limits, without the device.
    let bare = Limits { f64: false, f16: false, ..Limits::LAVAPIPE };
    let mut problem = FftProblem::c2c(&[2, 64], -1, forward, norm);
    problem.dtype = Dtype::F64;
    assert!(matches!(FftPlan::new(&problem, &bare), Err(Error::Dtype { found: Dtype::F64, .. })));
    let huge = FftProblem::c2c(&[1 << 20, 1 << 20], -1, forward, norm);
    assert!(matches!(FftPlan::new(&huge, &Limits::HOPPER), Err(Error::Limit { .. })));
    let overflow = FftProblem::c2c(&[usize::MAX, 4], -1, forward, norm);
    assert!(matches!(FftPlan::new(&overflow, &Limits::HOPPER), Err(Error::Limit { .. })));

    // Every message names the operation and says what to do with the numbers that came.
    let message = fft(&x, 2, norm).unwrap_err().to_string();
    assert_eq!(message, "fft: axis 2 of a tensor with 2 axes; axes run from -2 to 1");
    assert!(relative_l2(&[Complex64::new(1.0, 0.0)], &[Complex64::new(1.0, 0.0)]) == 0.0);
}

#[test]
fn plans_explain_themselves_and_fit_their_device() {
    for limits in [Limits::LAVAPIPE, Limits::HOPPER, Limits::cpu(2), Limits::cpu(16)] {
        for n in (1..3000).chain([4096, 8192, 16_384, 10_007, 1 << 20]) {
            for shape in [vec![7, n], vec![n, 7]] {
                let axis = isize::from(shape[0] != n);
                for dtype in [Dtype::F32, Dtype::F64] {
                    let forward = Direction::Forward;
                    let mut problem =
                        FftProblem::c2c(&shape, axis, forward, Normalization::Backward);
                    problem.dtype = dtype;
                    let plan = FftPlan::new(&problem, &limits).unwrap();
                    assert!(plan.describe().contains("pass 1"));
                    for pass in &plan.passes {
                        let config = &pass.config;
                        let room = if limits.serial {
                            config.rows * limits.cache_bytes
                        } else {
                            limits.shared_bytes
                        };
                        assert!(config.shared_bytes(dtype) <= room, "{n} {config:?}");
                        assert!(config.units * config.rows <= limits.units_per_cube);
                        let cubes: usize = pass.cubes.iter().product();
                        let units = cubes * config.rows;
                        assert!(
                            limits.serial || units >= pass.rows(),
                            "every transform has a unit"
                        );
                        let many = config.n > 512 * if dtype == Dtype::F64 { 8 } else { 16 };
                        let most = match (dtype, limits.emulated || many) {
                            (Dtype::F64, _) => 16,
                            (_, false) => 24,
                            (_, true) => 32,
                        };
                        assert!(limits.serial || config.registers() <= most, "{n} {config:?}");
                        let before: usize = config.stages.iter().map(|s| s.radix).product();
                        let trips = if config.filter_after.is_some() { 2 } else { 1 };
                        assert_eq!(before, config.n.pow(trips));
                    }
                }
            }
        }
    }
}
