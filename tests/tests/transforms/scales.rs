//! Transforms are linear: small and large signals have the relative error of any other.

use wavecube::{Complex64, Device, Dtype};
use wavecube_testing::{Rng, assert_close, devices, read, reference::fft::bound, tensor};

use super::{DENSE, FOURIER, OTHERS, Transform, canonical, convolutions, dense, fourier, scales};

fn times(values: &[Complex64], power: i32) -> Vec<Complex64> {
    // In two steps: a power of two and its root are numbers where the power's inverse may not be.
    let half = 2f64.powi(power / 2);
    values.iter().map(|v| v * half * half).collect()
}

fn at_every_scale(
    device: &Device,
    values: &[Complex64],
    dtype: Dtype,
    largest: i32,
    of: &Transform,
) {
    let run = |values: &[Complex64]| {
        read(&(of.call)(&of.operand(device, dtype, values).unwrap(), 1).unwrap())
    };
    let clean = run(values);
    for power in [-largest, -largest / 2, largest / 2, largest] {
        let found = times(&run(&times(values, power)), -power);
        let what = format!("{device} {dtype} {} {}: 2^{power}", of.op, of.len);
        assert_close(&what, &found, &clean, bound(dtype, of.len));
    }
}

#[test]
fn no_scale_changes_the_error() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (dtype, largest) in scales(device) {
            let single = dtype == Dtype::F32;
            let fouriers = if single { &FOURIER[..] } else { &[30, 101] };
            let mut all: Vec<_> = fouriers.iter().flat_map(|&n| fourier(n)).collect();
            if single {
                all.extend(dense(DENSE));
            }
            for &n in if single { &OTHERS[..] } else { &[30] } {
                all.extend(convolutions(device, &mut rng, dtype, n).unwrap());
                all.extend(canonical(n));
            }
            for transform in &all {
                let random = transform.random(&mut rng, 2);
                at_every_scale(device, &random, dtype, largest, transform);
                // All points alike: sums are as large as they can be.
                let alike = vec![Complex64::ONE; transform.len];
                at_every_scale(device, &alike, dtype, largest, transform);
            }
        }
    }
}

#[test]
fn filters_and_their_gradients_at_every_scale() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (dtype, largest) in scales(device) {
            for n in [48, 1024] {
                let mut line = |complex| {
                    if complex { rng.complex(n) } else { rng.real(n) }
                };
                for complex in [false, true] {
                    let (x, g) = (line(complex), line(complex));
                    let run = |x: &[Complex64]| {
                        let on =
                            |values| tensor(device, values, dtype, complex, &[1, n]).unwrap().0;
                        let (x, g) = (on(x), on(&g));
                        [
                            wavecube::causal_convolution_filter_vjp(&x, &g, &[1, n], -1),
                            wavecube::causal_convolution_filter_vjp(&g, &x, &[1, n], -1),
                            wavecube::causal_convolution(&g, &x, -1),
                        ]
                        .map(|y| read(&y.unwrap()))
                    };
                    let clean = run(&x);
                    for power in [-largest, largest] {
                        for (found, clean) in run(&times(&x, power)).iter().zip(&clean) {
                            let what = format!("{device} {dtype} {n}: 2^{power}");
                            let limit = 4.0 * bound(dtype, n);
                            assert_close(&what, &times(found, -power), clean, limit);
                        }
                    }
                }
            }
        }
    }
}
