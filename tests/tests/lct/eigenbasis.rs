//! Transforms in the eigenbasis of the DFT keep the group law on every vector.

use core::f64::consts::FRAC_PI_4;

use wavecube::{Abcd, Complex64, Dtype, FramedSignal, Tensor, ZeroPoint};
use wavecube_testing::{assert_close, read, reference::lct as r, relative_l2};

use super::{dense_bound, each, gate, line, random_matrix, scaled_by};

#[test]
fn frft_is_its_definition_and_additive_on_white_noise() {
    each(|device, rng, dtype, what| {
        for n in [1, 2, 5, 16, 33] {
            let (x, values) = line(device, rng, dtype, n);
            let angle = rng.uniform(-7.0, 7.0);
            let y = read(&wavecube::frft(&x, angle, 0).unwrap());
            let basis = r::hermite_basis(n);
            let want = r::apply(&r::frft(n, &basis, angle), &values);
            let slack = if dtype == Dtype::F64 { 1e-9 } else { 0.0 };
            assert_close(&format!("{what} {n}"), &y, &want, dense_bound(dtype, n) + slack);
        }
        for n in [64, 255, 512] {
            let (x, values) = line(device, rng, dtype, n);
            let turned = |x: &Tensor, angle| wavecube::frft(x, angle, 0).unwrap();
            let (p, q) = (rng.uniform(-3.0, 3.0), rng.uniform(-3.0, 3.0));
            let law = relative_l2(&read(&turned(&turned(&x, p), q)), &read(&turned(&x, p + q)));
            let back = relative_l2(&read(&turned(&turned(&x, p), -p)), &values);
            let fourier = read(&wavecube::fourier(&x, false, 0).unwrap());
            let half = read(&turned(&turned(&x, FRAC_PI_4), FRAC_PI_4));
            let largest = fourier.iter().map(|v| v.norm()).fold(0.0, f64::max);
            let worst = half.iter().zip(&fourier).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max)
                / largest;
            println!("{what} frft {n}: law {law:.2e}, inverse {back:.2e}, 45° twice {worst:.2e}");
            assert!(law < gate(dtype) && back < gate(dtype) && worst < gate(dtype), "{what} {n}");
        }
    });
}

#[test]
fn framed_transforms_keep_the_group_law_on_white_noise() {
    each(|device, rng, dtype, what| {
        let n = 96;
        let (x, _) = line(device, rng, dtype, n);
        let start = FramedSignal::from_samples(&x, 0).unwrap().with_zero_point(ZeroPoint::With);
        let mut chain = start.clone();
        let mut product = Abcd::IDENTITY;
        let mut sign = 1.0;
        for i in 0..50 {
            let m = match i % 5 {
                0 => Abcd::chirp(rng.uniform(-0.5, 0.5)),
                1 => Abcd::fractional_fourier(rng.uniform(-3.0, 3.0)),
                2 => Abcd::scaling(if i % 2 == 0 { 1.25 } else { 0.8 }).unwrap(),
                3 => Abcd::fresnel(rng.uniform(-0.5, 0.5)),
                _ => Abcd::FOURIER,
            };
            chain = chain.apply(&m).unwrap();
            sign *= m.metaplectic_sign(&product);
            product = m * product;
        }
        let whole = start.apply(&product).unwrap();
        let want = scaled_by(Complex64::from(sign), &read(&whole.coefficients));
        let error = relative_l2(&read(&chain.coefficients), &want);
        println!("{what} framed chain of 50 with metaplectic sign: {error:.2e}");
        // Fifty phases of one rounding each; angles of the chain differ by the product's own rounding
        // times the order.
        let slack = product.stretch() * 50.0 * f64::EPSILON * n as f64;
        assert!(
            error < gate(dtype).max(10.0 * dtype.epsilon() * 7.0) * 2.0 + slack,
            "{what}: {error}"
        );
        let (_, spacing) = chain.to_samples().unwrap();
        assert!((spacing / whole.to_samples().unwrap().1 - 1.0).abs() < 1e-9);
        for m in [random_matrix(rng), Abcd::chirp(0.7), Abcd::scaling(-2.0).unwrap()] {
            let m2 = random_matrix(rng);
            let two = start.apply(&m).unwrap().apply(&m2).unwrap();
            let one = start.apply(&(m2 * m)).unwrap();
            let want =
                scaled_by(Complex64::from(m2.metaplectic_sign(&m)), &read(&one.coefficients));
            let error = relative_l2(&read(&two.coefficients), &want);
            assert!(error < gate(dtype), "{what}: {error}");
        }
        // Samples: Fourier is the DFT, and back again.
        let dft = wavecube::lct_framed(&x, &Abcd::FOURIER, 0).unwrap().to_samples().unwrap().0;
        let want = read(&wavecube::fourier(&x, false, 0).unwrap());
        assert_close(&format!("{what} framed Fourier"), &read(&dft), &want, dense_bound(dtype, n));
        let resampled = FramedSignal::from_samples(&x, 0).unwrap().resample().unwrap();
        assert_eq!(resampled.shape(), [n]);
    });
}
