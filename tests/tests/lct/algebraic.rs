//! Weil, weighted and complex transforms.

use wavecube::{Abcd, Complex64, ComplexAbcd, Dtype, WeilMatrix};
use wavecube_testing::{assert_close, read, reference::lct as r};

use super::{bound, dense_bound, each, line, scaled_by};

#[test]
fn weil_transforms_are_exact_with_phase() {
    each(|device, rng, dtype, what| {
        for (n, entries) in [
            (7, [2, 3, 1, 2]),
            (9, [2, 3, 1, 2]),
            (15, [1, 0, 4, 1]),
            (31, [3, 5, 4, 7]),
            (31, [2, 0, 0, 16]),
            (8, [1, 2, 3, 7]),
            (12, [0, 1, -1, 0]),
        ] {
            let (x, values) = line(device, rng, dtype, n);
            let m = WeilMatrix::new(n, entries).unwrap();
            let y = wavecube::lct_weil(&x, &m, 0).unwrap();
            let back = read(&wavecube::lct_weil_vjp(&y, &m, 0).unwrap());
            assert_close(&format!("{what} {n} back"), &back, &values, bound(dtype, n, 4.0));
            let y = read(&y);
            let want = r::apply(&r::lct_weil(n, entries), &values);
            let sign = if n % 2 == 0 && (y[0] - want[0]).norm() > y[0].norm() { -1.0 } else { 1.0 };
            let want = scaled_by(Complex64::from(sign), &want);
            assert_close(&format!("{what} weil {n} {entries:?}"), &y, &want, bound(dtype, n, 4.0));
            if n % 2 == 1 {
                let m2 = WeilMatrix::new(n, [1, 2, 3, 7]).unwrap();
                let first = wavecube::lct_weil(&x, &m, 0).unwrap();
                let two = read(&wavecube::lct_weil(&first, &m2, 0).unwrap());
                let one = read(&wavecube::lct_weil(&x, &(m2 * m), 0).unwrap());
                assert_close(&format!("{what} law {n}"), &two, &one, bound(dtype, n, 8.0));
            }
        }
    });
}

#[test]
fn weighted_and_complex_transforms_are_their_definitions() {
    each(|device, rng, dtype, what| {
        for n in [1, 2, 6, 17, 40, 101] {
            let (x, values) = line(device, rng, dtype, n);
            let angle = rng.uniform(-4.0, 4.0);
            let y = wavecube::frft_weighted(&x, angle, 0).unwrap();
            let want = r::apply(&r::frft_weighted(n, angle), &values);
            let slack = if dtype == Dtype::F64 { 1e-12 } else { 0.0 };
            assert_close(
                &format!("{what} weighted {n}"),
                &read(&y),
                &want,
                bound(dtype, n, 4.0) + slack,
            );

            let b = rng.uniform(0.5, 1.5) * [1.0, -1.0][rng.int(0, 1)];
            let m = Abcd::from_abc(0.8, b, 0.4).unwrap();
            let bounded = ComplexAbcd::from(m) * ComplexAbcd::gaussian(0.3);
            let y = wavecube::lct_complex(&x, &bounded, 0).unwrap();
            let want = r::apply(&r::lct_complex(bounded.entries(), n), &values);
            assert_close(&format!("{what} complex {n}"), &read(&y), &want, dense_bound(dtype, n));
        }
        // e^{2πxu} with |x|, |u| ≤ 1.4: a grid on which the Laplace transform is small enough for f32.
        let (x, values) = line(device, rng, dtype, 8);
        let y = wavecube::laplace(&x, 0).unwrap();
        let [zero, i] = [Complex64::ZERO, Complex64::I];
        let want = r::apply(&r::lct_complex([zero, i, i, zero], 8), &values);
        assert_close(&format!("{what} laplace"), &read(&y), &want, dense_bound(dtype, 8));
    });
}
