//! Causal convolutions against the sum in `f64`.

use wavecube::{
    Complex64, Dtype, Error, Tensor, causal_convolution, causal_convolution_filter_vjp,
    causal_convolution_vjp, spectral_filter, spectral_filter_table_vjp, spectral_filter_vjp,
};
use wavecube_testing::{
    Rng, assert_close, catalogue, devices, has, read, real_dot, reference::convolution::spectral,
    tensor,
};

/// Shape of the signal, and of the filter, along the last axis.
struct Case {
    batch: [usize; 2],
    filters: [usize; 2],
    n: usize,
    taps: usize,
    complex: bool,
}

impl Case {
    fn line(&self, i: usize, j: usize) -> usize {
        i.min(self.filters[0] - 1) * self.filters[1] + j.min(self.filters[1] - 1)
    }

    /// Calls `term` with the places in `h`, `x` and `y` of every product of the definition.
    fn terms(&self, mut term: impl FnMut(usize, usize, usize)) {
        for i in 0..self.batch[0] {
            for j in 0..self.batch[1] {
                let (row, filter) = (i * self.batch[1] + j, self.line(i, j));
                for t in 0..self.n {
                    for s in 0..=t {
                        if t - s < self.taps {
                            term(filter * self.taps + t - s, row * self.n + s, row * self.n + t);
                        }
                    }
                }
            }
        }
    }
}

fn check(rng: &mut Rng, dtype: Dtype, case: &Case) {
    for device in devices().iter().filter(|device| has(device, dtype)) {
        let what = format!(
            "{device} {dtype} {case:?} seed {}",
            rng.seed,
            case = (case.batch, case.filters, case.n, case.taps, case.complex)
        );
        let values =
            |rng: &mut Rng, len| if case.complex { rng.complex(len) } else { rng.real(len) };
        let shape = [case.batch[0], case.batch[1], case.n];
        let filter = [case.filters[0], case.filters[1], case.taps];
        let random = values(rng, shape.iter().product());
        let (x, xs) = tensor(device, &random, dtype, case.complex, &shape).unwrap();
        let random = values(rng, shape.iter().product());
        let (g, gs) = tensor(device, &random, dtype, case.complex, &shape).unwrap();
        let random = values(rng, filter.iter().product());
        let (h, hs) = tensor(device, &random, dtype, case.complex, &filter).unwrap();

        let mut y = vec![Complex64::ZERO; xs.len()];
        let mut gx = y.clone();
        let mut gh = vec![Complex64::ZERO; hs.len()];
        case.terms(|h, x, t| {
            y[t] += hs[h] * xs[x];
            gx[x] += hs[h].conj() * gs[t];
            gh[h] += xs[x].conj() * gs[t];
        });
        // Three transforms of up to 4n points, and one rounding to the storage type.
        let bound =
            16.0 * dtype.compute().epsilon() * (4.0 * case.n as f64).log2() + dtype.epsilon();
        let found = causal_convolution(&x, &h, -1).unwrap();
        assert_close(&format!("{what} forward"), &read(&found), &y, bound);
        let found = causal_convolution_vjp(&g, &h, -1).unwrap();
        assert_close(&format!("{what} signal"), &read(&found), &gx, bound);
        let found = causal_convolution_filter_vjp(&x, &g, &filter, 2).unwrap();
        assert_eq!(found.shape(), filter);
        assert_close(&format!("{what} filter"), &read(&found), &gh, bound);
    }
}

#[test]
fn the_catalogue_is_right() {
    catalogue::assert_right("convolution/");
}

#[test]
fn convolutions_and_gradients_are_their_sums() {
    let mut rng = Rng::fresh();
    for (filters, n, taps) in
        [([1, 1], 1, 1), ([1, 3], 17, 17), ([2, 1], 40, 9), ([2, 3], 33, 50), ([1, 3], 100, 100)]
    {
        for complex in [false, true] {
            let case = Case { batch: [2, 3], filters, n, taps, complex };
            check(&mut rng, Dtype::F32, &case);
        }
    }
    let case = Case { batch: [2, 3], filters: [1, 3], n: 48, taps: 48, complex: true };
    check(&mut rng, Dtype::F64, &case);
    check(&mut rng, Dtype::F16, &case);
    check(&mut rng, Dtype::Bf16, &case);
    check(
        &mut rng,
        Dtype::F32,
        &Case { batch: [1, 2], n: 6000, taps: 40, filters: [1, 2], ..case },
    );
}

#[test]
fn any_axis_is_as_the_last() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for complex in [false, true] {
            let mut made = |shape: &[usize]| {
                let values = rng.complex(shape.iter().product());
                tensor(device, &values, Dtype::F32, complex, shape).unwrap().0
            };
            let (x, g, h) = (made(&[30, 4, 3]), made(&[30, 4, 3]), made(&[20, 1, 3]));
            let last = |tensor: &Tensor| tensor.permuted(&[1, 2, 0]).unwrap();
            let [x_last, g_last, h_last] = [&x, &g, &h].map(last);
            for (what, found, expected) in [
                ("forward", causal_convolution(&x, &h, 0), causal_convolution(&x_last, &h_last, 2)),
                (
                    "signal",
                    causal_convolution_vjp(&g, &h, 0),
                    causal_convolution_vjp(&g_last, &h_last, 2),
                ),
                (
                    "filter",
                    causal_convolution_filter_vjp(&x, &g, &[20, 1, 3], 0),
                    causal_convolution_filter_vjp(&x_last, &g_last, &[1, 3, 20], 2),
                ),
            ] {
                let (found, expected) = (last(&found.unwrap()), expected.unwrap());
                let what = format!("{device} {what} seed {}", rng.seed);
                assert_close(&what, &read(&found), &read(&expected), 1e-6);
            }
        }
    }
}

#[test]
fn nothing_before_a_changed_sample_changes() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let n = 200;
        let (h, _) = tensor(device, &rng.real(n), Dtype::F32, false, &[n]).unwrap();
        let mut values = rng.real(n);
        let run = |values: &[Complex64]| {
            let (x, _) = tensor(device, values, Dtype::F32, false, &[n]).unwrap();
            read(&causal_convolution(&x, &h, 0).unwrap())
        };
        let before = run(&values);
        let t = rng.int(1, n - 1);
        values[t] += Complex64::from(3.0);
        let after = run(&values);
        let change =
            before.iter().zip(&after).take(t).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max);
        let size = before.iter().map(Complex64::norm_sqr).sum::<f64>().sqrt();
        assert!(change < 8.0 * f64::from(f32::EPSILON) * size, "seed {}: {change}", rng.seed);
    }
}

#[test]
fn rejects() {
    for device in devices() {
        let one = |shape: &[usize], complex| {
            let values = vec![Complex64::ONE; shape.iter().product()];
            tensor(device, &values, Dtype::F32, complex, shape).unwrap().0
        };
        let x = one(&[2, 6], false);
        assert!(matches!(causal_convolution(&x, &one(&[2, 6], true), 1), Err(Error::Dtype { .. })));
        assert!(matches!(
            causal_convolution(&x, &one(&[3, 6], false), 1),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(causal_convolution(&x, &one(&[6], false), 1), Err(Error::Shape { .. })));
        assert!(matches!(
            causal_convolution(&x, &one(&[1, 0], false), 1),
            Err(Error::Length { .. })
        ));
        assert!(matches!(causal_convolution(&x, &x, 2), Err(Error::Axis { .. })));
        assert!(matches!(
            causal_convolution(&one(&[2, 0], false), &x, 1),
            Err(Error::Length { .. })
        ));
        let empty = one(&[0, 6], false);
        assert!(causal_convolution(&empty, &one(&[1, 6], false), 1).unwrap().layout().is_empty());
        let zero = causal_convolution_filter_vjp(&empty, &empty, &[1, 6], 1).unwrap();
        assert!(read(&zero).iter().all(|v| v.norm() == 0.0));
    }
}

/// Lines along the axis in the middle, one filter a line of the last axis and others for all.
#[test]
fn filters_of_the_spectrum_are_products() {
    for device in devices() {
        for (dtype, n, count) in [
            (Dtype::F32, 1, 1),
            (Dtype::F32, 7, 0),
            (Dtype::F32, 60, 2),
            (Dtype::F32, 36, 4),
            (Dtype::F32, 6000, 1),
            (Dtype::F16, 48, 2),
            (Dtype::Bf16, 48, 2),
            (Dtype::F64, 48, 2),
        ] {
            if !has(device, dtype) {
                continue;
            }
            let mut rng = Rng::fresh();
            let what = format!("{device} {dtype} {n} by {count} seed {}", rng.seed);
            let shape = [2, n, 3];
            let (x, xs) = tensor(device, &rng.complex(6 * n), dtype, true, &shape).unwrap();
            let (g, gs) = tensor(device, &rng.complex(6 * n), dtype, true, &shape).unwrap();
            let filters: Vec<_> = (0..count)
                .map(|i| {
                    let lines = if i == 0 { 3 } else { 1 };
                    let values = rng.complex(lines * n);
                    let made =
                        tensor(device, &values, dtype.compute(), true, &[1, lines, n]).unwrap();
                    (made.0.permuted(&[0, 2, 1]).unwrap(), made.1)
                })
                .collect();
            let tensors: Vec<&Tensor> = filters.iter().map(|(tensor, _)| tensor).collect();
            let along = |values: &[Complex64], i: usize, j: usize| -> Vec<Complex64> {
                (0..n).map(|t| values[(i * n + t) * 3 + j]).collect()
            };
            let mut expected = vec![Complex64::ZERO; 6 * n];
            let mut products = vec![vec![Complex64::ONE; n]; 3];
            for (j, product) in products.iter_mut().enumerate() {
                for (i, (_, values)) in filters.iter().enumerate() {
                    let line = if i == 0 { j } else { 0 };
                    product.iter_mut().zip(&values[line * n..]).for_each(|(p, h)| *p *= h);
                }
                for i in 0..2 {
                    let y = spectral(&along(&xs, i, j), std::slice::from_ref(product));
                    (0..n).for_each(|t| expected[(i * n + t) * 3 + j] = y[t]);
                }
            }
            let epsilon = dtype.compute().epsilon();
            let bound = 16.0 * epsilon * (4.0 * n as f64).log2() + 2.0 * dtype.epsilon();
            let y = spectral_filter(&x, &tensors, 1).unwrap();
            assert_close(&what, &read(&y), &expected, bound);

            // ⟨g, A x⟩ = ⟨Aᴴ g, x⟩, and y is linear in every filter.
            let y = read(&y);
            let size = wavecube_testing::norm(&gs) * wavecube_testing::norm(&y);
            let by_x = read(&spectral_filter_vjp(&g, &tensors, 1).unwrap());
            let (one, other) = (real_dot(&gs, &y), real_dot(&by_x, &xs));
            assert!((one - other).abs() <= 4.0 * bound * size, "{what}: {one} {other}");
            if dtype.size() == 2 {
                continue;
            }
            for (i, (h, values)) in filters.iter().enumerate() {
                let others: Vec<_> =
                    (0..count).filter(|&j| j != i).map(|j| &filters[j].0).collect();
                let by_h = spectral_filter_table_vjp(&x, &g, &others, h.shape(), 1).unwrap();
                assert_eq!(by_h.shape(), h.shape());
                let by_h = read(&by_h.permuted(&[0, 2, 1]).unwrap());
                let other = real_dot(&by_h, values);
                assert!((one - other).abs() <= 4.0 * bound * size, "{what} {i}: {one} {other}");
            }
        }
    }
}

#[test]
fn spectral_filters_that_do_not_fit_are_errors() {
    for device in devices() {
        let made =
            |complex, shape: &[usize]| Tensor::empty(device, Dtype::F32, complex, shape).unwrap();
        let (x, h) = (made(true, &[3, 8]), made(true, &[1, 8]));
        let run = |x: &Tensor, h: &Tensor| spectral_filter(x, &[h], -1).map(drop);
        assert!(matches!(run(&made(false, &[3, 8]), &h), Err(Error::Dtype { .. })));
        assert!(matches!(run(&x, &made(false, &[1, 8])), Err(Error::Dtype { .. })));
        assert!(matches!(run(&x, &made(true, &[1, 7])), Err(Error::Length { .. })));
        assert!(matches!(run(&x, &made(true, &[2, 8])), Err(Error::Shape { .. })));
        assert!(matches!(run(&x, &made(true, &[8])), Err(Error::Shape { .. })));
        let gaps = made(true, &[8, 3]).permuted(&[1, 0]).unwrap();
        assert!(matches!(run(&x, &gaps), Err(Error::Strides { .. })));
        assert!(matches!(spectral_filter(&x, &[&h; 5], -1), Err(Error::Length { .. })));
        assert!(matches!(spectral_filter(&x, &[&h], 2), Err(Error::Axis { .. })));
        let empty = made(true, &[0, 8]);
        assert!(spectral_filter(&empty, &[&h], -1).unwrap().layout().is_empty());
        let zero = spectral_filter_table_vjp(&empty, &empty, &[], &[1, 8], -1).unwrap();
        assert!(read(&zero).iter().all(|v| v.norm() == 0.0));
    }
}
