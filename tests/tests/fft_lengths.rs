//! Fourier transforms of every kind of length, against the definition in `f64`.

use wavecube::{Complex64, Device, Direction, Dtype, Normalization, fft, fft_into, ifft, irfft};
use wavecube_core::fft::is_prime;
use wavecube_testing::{
    Rng, assert_close, devices, halves, has, nan_filled, read,
    reference::{self, fft::bound},
    tensor,
};

const NORMS: [Normalization; 3] =
    [Normalization::Backward, Normalization::Ortho, Normalization::Forward];
const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Inverse];

/// One transform of `[rows, n]` into NaN-filled memory, against the truth.
fn check_length(device: &Device, rng: &mut Rng, dtype: Dtype, n: usize, exact: bool) {
    let direction = DIRECTIONS[rng.int(0, 1)];
    let norm = NORMS[rng.int(0, 2)];
    let rows = rng.int(1, 3);
    let what = format!("{device} {dtype} {rows}x{n} {direction:?} {norm:?} seed {}", rng.seed);
    let (x, values) = tensor(device, &rng.complex(rows * n), dtype, true, &[rows, n]).unwrap();
    let mut y = nan_filled(device, dtype, true, &[rows, n]).unwrap();
    fft_into(&x, &mut y, -1, direction, norm).expect(&what);
    let expected: Vec<Complex64> = if exact {
        values.chunks(n).flat_map(|row| reference::fft::dft(row, direction, norm)).collect()
    } else {
        reference::fft::rows(&values, n, direction, norm)
    };
    assert_close(&what, &read(&y), &expected, bound(dtype, n));
}

fn is_smooth(mut n: usize) -> bool {
    for p in [2, 3, 5, 7, 11, 13] {
        while n.is_multiple_of(p) {
            n /= p;
        }
    }
    n == 1
}

/// Most lengths compile a kernel of their own, so a run takes a fresh sample of them; with `WAVECUBE_EXHAUSTIVE` set it
/// takes them all.
fn sampled(rng: &mut Rng, lengths: Vec<usize>, sample: usize) -> Vec<usize> {
    if std::env::var_os("WAVECUBE_EXHAUSTIVE").is_some() {
        return lengths;
    }
    (0..sample).map(|_| lengths[rng.int(0, lengths.len() - 1)]).collect()
}

/// The first all, of the others a sample.
#[test]
fn lengths_to_256() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let others = sampled(&mut rng, (65..256).collect(), 48);
        for n in (1..=64).chain(others).chain([256]) {
            check_length(device, &mut rng, Dtype::F32, n, true);
        }
    }
}

#[test]
fn smooth_lengths_to_4096() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in sampled(&mut rng, (257..=4096).filter(|&n| is_smooth(n)).collect(), 16) {
            check_length(device, &mut rng, Dtype::F32, n, false);
        }
        check_length(device, &mut rng, Dtype::F32, 4096, false);
    }
}

#[test]
fn prime_lengths_to_10007() {
    for device in devices() {
        let mut rng = Rng::fresh();
        // Bluestein's lengths share kernels, each of Rader's has its own.
        let primes = (257..=10_007).filter(|&n| is_prime(n));
        let (rader, bluestein) = primes.partition(|&n| is_smooth(n - 1));
        let rader = sampled(&mut rng, rader, 8);
        for n in rader.into_iter().chain(sampled(&mut rng, bluestein, 200)) {
            check_length(device, &mut rng, Dtype::F32, n, false);
        }
    }
}

/// Bluestein's lengths a few points beyond half a power of two: where twice of them do not fit a cube, the
/// convolution wraps around. From one point beyond, where nothing is lacking, to the most that are taken.
#[test]
fn lengths_that_wrap_around() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let between = sampled(&mut rng, (4100..4223).filter(|&n| !is_smooth(n)).collect(), 4);
        for n in [4097, 4098, 4099, 4223].into_iter().chain(between) {
            check_length(device, &mut rng, Dtype::F32, n, false);
        }
        if has(device, Dtype::F64) {
            for n in [2049, 2053, 2111] {
                check_length(device, &mut rng, Dtype::F64, n, false);
            }
        }
        // Between other axes and back from the non-negative frequencies.
        let (n, norm) = (rng.int(4097, 4103), NORMS[rng.int(0, 2)]);
        let (x, values) = tensor(device, &rng.complex(3 * n), Dtype::F32, true, &[n, 3]).unwrap();
        let columns = ifft(&x, 0, norm).unwrap();
        for column in 0..3 {
            let line: Vec<_> = (0..n).map(|i| values[i * 3 + column]).collect();
            let line = reference::fft::rows(&line, n, Direction::Inverse, norm);
            let found = read(&columns.narrowed(1, column, 1).unwrap());
            let what = format!("column {column} of {n} {norm:?} seed {}", rng.seed);
            assert_close(&what, &found, &line, 2.0 * bound(Dtype::F32, n));
        }
        let bins = n / 2 + 1;
        let (x, values) = tensor(device, &rng.complex(bins), Dtype::F32, true, &[1, bins]).unwrap();
        let full = reference::fft::hermitian(&values, n);
        let full = reference::fft::rows(&full, n, Direction::Inverse, norm);
        let expected: Vec<_> = full.iter().map(|v| Complex64::new(v.re, 0.0)).collect();
        let what = format!("real {n} {norm:?} seed {}", rng.seed);
        let back = irfft(&x, n, -1, norm).unwrap();
        assert_close(&what, &read(&back), &expected, 2.0 * bound(Dtype::F32, n));
    }
}

#[test]
fn a_million_points_once() {
    for device in devices() {
        check_length(device, &mut Rng::fresh(), Dtype::F32, 1 << 20, false);
    }
}

#[test]
fn double_and_half_precision() {
    for device in devices() {
        let mut rng = Rng::fresh();
        if has(device, Dtype::F64) {
            for n in [1, 2, 13, 16, 60, 121, 127, 1000, 2048, 8192] {
                check_length(device, &mut rng, Dtype::F64, n, false);
            }
        }
        for dtype in halves(device) {
            for n in [1, 5, 64, 97, 360] {
                let (x, values) =
                    tensor(device, &rng.complex(2 * n), dtype, true, &[2, n]).unwrap();
                let y = fft(&x, -1, Normalization::Ortho).unwrap();
                let expected =
                    reference::fft::rows(&values, n, Direction::Forward, Normalization::Ortho);
                // The arithmetic is f32; storing rounds every part once, by half an ε.
                assert_close(&format!("{dtype} {n}"), &read(&y), &expected, dtype.epsilon());
            }
        }
    }
}
