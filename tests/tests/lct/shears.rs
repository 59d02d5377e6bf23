//! Chirps, the Fourier transform and what is made of them.

use core::f64::consts::{FRAC_PI_4, PI};

use wavecube::{Abcd, Complex64, Dtype, ShearFactors, ShearForm, ShearPasses};
use wavecube_testing::{
    Rng, assert_close, devices, norm, read, reference::lct as r, relative_l2, tensor,
};

use super::{LENGTHS, bound, each, gate, line, random_matrix, scaled_by};

#[test]
fn chirp_and_fourier_are_their_definitions() {
    each(|device, rng, dtype, what| {
        for n in LENGTHS {
            let (x, values) = line(device, rng, dtype, n);
            let q = rng.uniform(-2.0, 2.0);
            let y = read(&wavecube::chirp_multiply(&x, q, 0).unwrap());
            let want = r::chirp(n, q, &values);
            assert_close(&format!("{what} chirp {n}"), &y, &want, bound(dtype, n, 1.0));
            for (inverse, power) in [(false, 1), (true, 3)] {
                let y = read(&wavecube::fourier(&x, inverse, -1).unwrap());
                let want = r::apply(&r::dft_power(n, power), &values);
                assert_close(&format!("{what} fourier {n}"), &y, &want, bound(dtype, n, 2.0));
            }
        }
    });
}

#[test]
fn shears_are_their_definition_in_every_factorisation() {
    each(|device, rng, dtype, what| {
        for n in LENGTHS {
            let (x, values) = line(device, rng, dtype, n);
            let m = random_matrix(rng);
            let mut all = vec![ShearFactors::new(&m).unwrap()];
            // Every factorisation compiles kernels of its own: all eight at one odd and one even length.
            if n == 5 || n == 8 {
                for power in 0..4 {
                    for form in
                        [ShearForm::ChirpMiddleConvolution, ShearForm::ConvolutionMiddleChirp]
                    {
                        all.extend(ShearFactors::pinned(&m, power, form));
                    }
                }
            }
            for factors in all {
                let rates = factors.rates().map(f64::abs);
                if rates.iter().any(|&r| r > 100.0) {
                    continue;
                }
                let y = read(&wavecube::lct_shear_factored(&x, &factors, 0).unwrap());
                let want = r::lct_shear_factored(n, &values, &factors);
                let what = format!("{what} {n} {factors:?}");
                // Reference phases of the largest rate are good to 4ε·π·rate·N/4.
                let phase = if dtype == Dtype::F64 { 1e-13 * n as f64 } else { 0.0 };
                assert_close(&what, &y, &want, bound(dtype, n, 6.0) + phase);
            }
        }
    });
}

#[test]
fn shears_are_unitary_and_invertible() {
    each(|device, rng, dtype, what| {
        for n in [rng.int(1, 64), rng.int(65, 512), rng.int(513, 1024)] {
            let (x, values) = line(device, rng, dtype, n);
            let m = random_matrix(rng);
            let y = wavecube::lct_shear(&x, &m, -1).unwrap();
            let ratio = norm(&read(&y)) / norm(&values);
            assert!((ratio - 1.0).abs() < gate(dtype), "{what} n {n}: {ratio}");
            let back = read(&wavecube::lct_shear_vjp(&y, &m, -1).unwrap());
            println!("{what} inverse {n}: {:.2e}", relative_l2(&back, &values));
            assert_close(&format!("{what} inverse {n}"), &back, &values, gate(dtype));
        }
    });
}

#[test]
fn identity_is_exact_and_fourier_is_the_oracle() {
    each(|device, rng, dtype, what| {
        for n in [1, 2, 7, 64, 101] {
            let (x, values) = line(device, rng, dtype, n);
            assert_eq!(read(&wavecube::lct_shear(&x, &Abcd::IDENTITY, 0).unwrap()), values);
            assert_eq!(read(&wavecube::frft(&x, 0.0, 0).unwrap()), values);
            assert_eq!(read(&wavecube::chirp_multiply(&x, 0.0, 0).unwrap()), values);
            let y = read(&wavecube::lct_shear(&x, &Abcd::FOURIER, 0).unwrap());
            let dft = r::apply(&r::dft_power(n, 1), &values);
            let want = scaled_by(Complex64::from_polar(1.0, -FRAC_PI_4), &dft);
            assert_close(&format!("{what} oracle {n}"), &y, &want, gate(dtype));
        }
    });
}

#[test]
fn the_shear_group_law_holds_inside_the_window_and_fails_outside() {
    each(|device, rng, dtype, what| {
        let n = 256;
        let centre = (n as f64 - 1.0) / 2.0;
        // A sum of Gaussians whose discs stay within 0.15√N: width 1, centres within 0.05√N.
        let mut signal = vec![Complex64::ZERO; n];
        for _ in 0..3 {
            let (at, tone) = (rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5));
            for (j, value) in signal.iter_mut().enumerate() {
                let x = (j as f64 - centre) / (n as f64).sqrt();
                *value +=
                    Complex64::from_polar((-PI * (x - at).powi(2)).exp(), 2.0 * PI * tone * x);
            }
        }
        let (m1, m2) = (Abcd::fractional_fourier(0.7), Abcd::from_abc(1.2, 0.4, -0.3).unwrap());
        let law = |values: &[Complex64]| {
            let (x, _) = tensor(device, values, dtype, true, &[n]).unwrap();
            let two =
                wavecube::lct_shear(&wavecube::lct_shear(&x, &m1, 0).unwrap(), &m2, 0).unwrap();
            let one = read(&wavecube::lct_shear(&x, &(m2 * m1), 0).unwrap());
            let sign = Complex64::from(m2.metaplectic_sign(&m1));
            relative_l2(&read(&two), &scaled_by(sign, &one))
        };
        let inside = law(&signal);
        let outside = law(&rng.complex(n));
        println!("{what} shear group law: inside {inside:.2e}, white noise {outside:.2}");
        assert!(inside <= if dtype == Dtype::F64 { 1e-9 } else { 2e-6 }, "{what}: {inside}");
        assert!(outside > 0.1, "{what}: white noise keeps no group law on a fixed grid, {outside}");
    });
}

#[test]
fn lengths_beyond_one_pass_and_large_primes() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [4099, 10_007, 16_384, 3 * 8192] {
            let what = format!("{device} n {n} seed {}", rng.seed);
            let (x, values) =
                tensor(device, &rng.complex(2 * n), Dtype::F32, true, &[2, n]).unwrap();
            let (q1, b, q2) = (0.3, 0.8, -0.6);
            let passes =
                ShearPasses { before: 2, first: q1, forward: true, middle: -b, last: q2, after: 0 };
            let fused = wavecube::lct_shear_passes(&x, &passes, Complex64::ONE, -1).unwrap();
            // The same by its parts, each against its definition above.
            let reversed: Vec<Complex64> =
                values.chunks(n).flat_map(|row| row.iter().rev().copied()).collect();
            let (y, _) = tensor(device, &reversed, Dtype::F32, true, &[2, n]).unwrap();
            let y = wavecube::chirp_multiply(&y, q1, -1).unwrap();
            let y = wavecube::fourier(&y, false, -1).unwrap();
            let y = wavecube::chirp_multiply(&y, -b, -1).unwrap();
            let y = wavecube::fourier(&y, true, -1).unwrap();
            let y = wavecube::chirp_multiply(&y, q2, -1).unwrap();
            assert_close(&what, &read(&fused), &read(&y), 2e-6);
            let back = wavecube::lct_shear_passes_vjp(&fused, &passes, Complex64::ONE, -1).unwrap();
            assert_close(&format!("{what} back"), &read(&back), &values, 2e-6);
        }
    }
}
