//! What is not finite shows in its own line, in all that depends on it, and nowhere else.

use wavecube::{Complex64, Dtype, Normalization, Result, Tensor};
use wavecube_testing::{Rng, devices, has, read, tensor};

use super::{DENSE, FOURIER, OTHERS, Transform, canonical, convolutions, dense, fourier};

const ROWS: usize = 5;

/// Runs `transform` with one element of one line replaced, and compares all other lines bit by bit with the clean run.
fn poison(
    device: &wavecube::Device,
    rng: &mut Rng,
    dtype: Dtype,
    transform: &Transform,
) -> Result<()> {
    let len = transform.len;
    let values = transform.random(rng, ROWS);
    let clean = read(&(transform.call)(&transform.operand(device, dtype, &values)?, 1)?);
    let (row, at) = (rng.int(0, ROWS - 1), rng.int(0, len - 1));
    // The ends of a half spectrum have no effect by their imaginary parts: its own test.
    for bad in [f64::NAN, f64::INFINITY] {
        let mut values = values.clone();
        values[row * len + at] = Complex64::new(bad, if transform.complex { bad } else { 0.0 });
        let found = read(&(transform.call)(&transform.operand(device, dtype, &values)?, 1)?);
        let what = format!("{device} {dtype} {} {len}: {bad} at {at} of {row}", transform.op);
        let outputs = found.len() / ROWS;
        for (i, (found, clean)) in found.iter().zip(&clean).enumerate() {
            let here = i / outputs == row;
            let shows = found.re.is_nan() || found.im.is_nan();
            if !here {
                assert_eq!(found, clean, "{what}: line {} differs", i / outputs);
            } else if transform.dense && bad.is_nan() {
                assert!(shows, "{what}: {found} at {}", i % outputs);
            }
        }
        let line = &found[row * outputs..][..outputs];
        assert!(line.iter().any(|v| !v.is_finite()), "{what}: lost");
    }
    Ok(())
}

#[test]
fn what_is_not_finite_stays_in_its_line() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let mut all: Vec<_> = FOURIER.into_iter().flat_map(fourier).chain(dense(DENSE)).collect();
        for n in OTHERS {
            all.extend(convolutions(device, &mut rng, Dtype::F32, n).unwrap());
            all.extend(canonical(n));
        }
        for transform in &all {
            poison(device, &mut rng, Dtype::F32, transform).unwrap();
        }
        if has(device, Dtype::F64) {
            for transform in fourier(30).iter().chain(&canonical(30)) {
                poison(device, &mut rng, Dtype::F64, transform).unwrap();
            }
        }
    }
}

#[test]
fn the_imaginary_parts_that_a_real_signal_has_not_do_not_enter() {
    type Call = fn(&Tensor, usize, isize) -> Result<Tensor>;
    let calls: [(&str, Call); 2] = [
        ("irfft", |x, n, axis| wavecube::irfft(x, n, axis, Normalization::Backward)),
        ("rfft_vjp", |g, n, axis| wavecube::rfft_vjp(g, n, axis, Normalization::Backward)),
    ];
    for device in devices() {
        let mut rng = Rng::fresh();
        let lengths = [1, 2, 3, 4, 8, 10, 30, 101, 127, 254, 1009, 4099, 16_384, 20_011];
        for dtype in [Dtype::F16, Dtype::Bf16, Dtype::F32, Dtype::F64] {
            for n in lengths
                .into_iter()
                .filter(|&n| has(device, dtype) && (dtype == Dtype::F32 || [10, 101].contains(&n)))
            {
                let bins = n / 2 + 1;
                let with = |values: &[Complex64], im: f64| {
                    let mut values = values.to_vec();
                    for row in values.chunks_mut(bins) {
                        row[0].im = im;
                        if n.is_multiple_of(2) {
                            row[bins - 1].im = im;
                        }
                    }
                    values
                };
                let values = rng.complex(3 * bins);
                for (op, call) in calls {
                    let run = |values: &[Complex64], columns: bool| {
                        if columns {
                            let across: Vec<_> =
                                (0..3 * bins).map(|i| values[i % 3 * bins + i / 3]).collect();
                            let (x, _) = tensor(device, &across, dtype, true, &[bins, 3]).unwrap();
                            read(&call(&x, n, 0).unwrap())
                        } else {
                            let (x, _) = tensor(device, values, dtype, true, &[3, bins]).unwrap();
                            read(&call(&x, n, 1).unwrap())
                        }
                    };
                    // Columns are loads of their own, but no other arithmetic.
                    for columns in [false, true].into_iter().take(if n < 300 { 2 } else { 1 }) {
                        let clean = run(&with(&values, 0.0), columns);
                        for im in [f64::NAN, f64::INFINITY, 6e4, -1.0] {
                            let found = run(&with(&values, im), columns);
                            assert_eq!(found, clean, "{device} {dtype} {op} {n}: {im}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_spectrum_of_a_real_signal_is_real_where_it_is_its_own_mirror_image() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [2, 3].into_iter().chain(FOURIER) {
            let mut values = rng.real(2 * n);
            values[rng.int(0, n - 1)].re = f64::NAN;
            let (x, _) = tensor(device, &values, Dtype::F32, false, &[2, n]).unwrap();
            let norm = Normalization::Backward;
            for y in [wavecube::rfft(&x, -1, norm), wavecube::irfft_vjp(&x, -1, norm)] {
                for (row, line) in read(&y.unwrap()).chunks(n / 2 + 1).enumerate() {
                    let ends = [Some(0), n.is_multiple_of(2).then_some(n / 2)];
                    for bin in ends.into_iter().flatten() {
                        assert_eq!(line[bin].im, 0.0, "{device} {n}: row {row}, bin {bin}");
                        assert_eq!(line[bin].re.is_nan(), row == 0, "{device} {n}: bin {bin}");
                    }
                }
            }
        }
    }
}

#[test]
fn filters_show_in_the_lines_that_they_are_for() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let n = 48;
        let (x, _) = tensor(device, &rng.real(6 * n), Dtype::F32, false, &[2, 3, n]).unwrap();
        let (g, _) = tensor(device, &rng.real(6 * n), Dtype::F32, false, &[2, 3, n]).unwrap();
        // More taps than points: what lies beyond has no effect.
        let taps = n + 5;
        let filters = rng.real(3 * taps);
        let shape = [1, 3, taps];
        let run = |filters: &[Complex64]| {
            let (h, _) = tensor(device, filters, Dtype::F32, false, &shape).unwrap();
            [
                read(&wavecube::causal_convolution(&x, &h, -1).unwrap()),
                read(&wavecube::causal_convolution_vjp(&g, &h, -1).unwrap()),
            ]
        };
        let clean = run(&filters);
        let mut beyond = filters.clone();
        for filter in beyond.chunks_mut(taps) {
            filter[n..].fill(Complex64::from(f64::NAN));
        }
        assert_eq!(run(&beyond), clean, "{device}: lags beyond the sequence");
        let mut poisoned = filters;
        poisoned[taps + rng.int(0, n - 1)] = Complex64::from(f64::NAN);
        for (found, clean) in run(&poisoned).iter().zip(&clean) {
            for (line, (found, clean)) in found.chunks(n).zip(clean.chunks(n)).enumerate() {
                if line % 3 == 1 {
                    assert!(found.iter().all(|v| v.re.is_nan()), "{device}: line {line}");
                } else {
                    assert_eq!(found, clean, "{device}: line {line}");
                }
            }
        }

        // And the gradients of filters in those that the line has a part in.
        let gradient =
            |x: &Tensor| read(&wavecube::causal_convolution_filter_vjp(x, &g, &shape, -1).unwrap());
        let mut values = rng.real(6 * n);
        let (x, _) = tensor(device, &values, Dtype::F32, false, &[2, 3, n]).unwrap();
        let clean = gradient(&x);
        values[4 * n + rng.int(0, n - 1)] = Complex64::from(f64::NAN);
        let (x, _) = tensor(device, &values, Dtype::F32, false, &[2, 3, n]).unwrap();
        let found = gradient(&x);
        for (filter, (found, clean)) in found.chunks(taps).zip(clean.chunks(taps)).enumerate() {
            if filter == 1 {
                assert!(found[..n].iter().all(|v| v.re.is_nan()), "{device}: the filter");
                assert_eq!(found[n..], clean[n..], "{device}: no gradient beyond the sequence");
            } else {
                assert_eq!(found, clean, "{device}: filter {filter}");
            }
        }
    }
}
