//! Linear canonical transforms against their formulas in `f64`, what each promises, and what it rejects.

use core::f64::consts::{FRAC_PI_4, PI};

use wavecube::{
    Abcd, Complex64, ComplexAbcd, Device, Dtype, Error, FramedSignal, Layout, Limits, OutputGrid,
    Result, ShearFactors, ShearForm, ShearPasses, Tensor, WeilMatrix, ZeroPoint,
};
use wavecube_kernels::lct::{LctPlan, LctProblem, Program, centred_dft};
use wavecube_testing::{
    Rng, assert_close, catalogue, devices, has, nan_filled, read, reference, relative_l2, tensor,
};

/// Runs a check on every device in every type it computes with.
pub(crate) fn each(check: impl Fn(&Device, &mut Rng, Dtype, &str)) {
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            let mut rng = Rng::fresh();
            let what = format!("{device} {dtype} seed {}", rng.seed);
            check(device, &mut rng, dtype, &what);
        }
    }
}

/// `c ε log₂ N`, `c` the number of DFTs and tables that a value passes through, 4 each.
pub(crate) fn bound(dtype: Dtype, n: usize, factors: f64) -> f64 {
    let floor = if dtype == Dtype::F64 { 4e-15 } else { 0.0 };
    4.0 * factors * dtype.epsilon() * (n as f64).log2().max(1.0) + floor * n as f64
}

/// `c ε √N` for dense products.
pub(crate) fn dense_bound(dtype: Dtype, n: usize) -> f64 {
    4.0 * dtype.epsilon() * (n as f64).sqrt().max(2.0)
        + if dtype == Dtype::F64 { 1e-12 } else { 0.0 }
}

/// The gate of the design: 1e-6 in `f32`, 1e-11 in `f64`.
pub(crate) fn gate(dtype: Dtype) -> f64 {
    if dtype == Dtype::F64 { 1e-11 } else { 1e-6 }
}

pub(crate) fn line(
    device: &Device,
    rng: &mut Rng,
    dtype: Dtype,
    n: usize,
) -> (Tensor, Vec<Complex64>) {
    tensor(device, &rng.complex(n), dtype, true, &[n]).unwrap()
}

pub(crate) fn random_matrix(rng: &mut Rng) -> Abcd {
    let a = rng.uniform(0.4, 1.6) * if rng.int(0, 1) == 0 { 1.0 } else { -1.0 };
    Abcd::from_abc(a, rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5)).unwrap()
}

pub(crate) const LENGTHS: [usize; 12] = [1, 2, 3, 4, 5, 8, 17, 31, 64, 97, 100, 210];

pub(crate) fn scaled_by(factor: Complex64, values: &[Complex64]) -> Vec<Complex64> {
    values.iter().map(|v| factor * v).collect()
}

/// The shears of a factorisation by their definition.
pub(crate) fn shear_reference(x: &[Complex64], factors: &ShearFactors) -> Vec<Complex64> {
    reference::lct::lct_shear_factored(x.len(), x, factors)
}

#[test]
fn the_catalogue_is_right() {
    catalogue::assert_right("lct/");
}

#[test]
fn chirp_and_fourier_are_their_definitions() {
    each(|device, rng, dtype, what| {
        for n in LENGTHS {
            let (x, values) = line(device, rng, dtype, n);
            let q = rng.uniform(-2.0, 2.0);
            let y = read(&wavecube::chirp_multiply(&x, q, 0).unwrap());
            let want = reference::lct::chirp(n, q, &values);
            assert_close(&format!("{what} chirp {n}"), &y, &want, bound(dtype, n, 1.0));
            for (inverse, power) in [(false, 1), (true, 3)] {
                let y = read(&wavecube::fourier(&x, inverse, -1).unwrap());
                let want = reference::lct::apply(&reference::lct::dft_power(n, power), &values);
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
                let want = shear_reference(&values, &factors);
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
            let norm = |v: &[Complex64]| v.iter().map(Complex64::norm_sqr).sum::<f64>().sqrt();
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
            let dft = reference::lct::apply(&reference::lct::dft_power(n, 1), &values);
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
fn frft_is_its_definition_and_additive_on_white_noise() {
    each(|device, rng, dtype, what| {
        for n in [1, 2, 5, 16, 33] {
            let (x, values) = line(device, rng, dtype, n);
            let angle = rng.uniform(-7.0, 7.0);
            let y = read(&wavecube::frft(&x, angle, 0).unwrap());
            let basis = reference::lct::hermite_basis(n);
            let want = reference::lct::apply(&reference::lct::frft(n, &basis, angle), &values);
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
            let want = reference::lct::apply(&reference::lct::lct_weil(n, entries), &values);
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
fn transforms_on_other_grids_are_their_definitions() {
    each(|device, rng, dtype, what| {
        for n in [1, 2, 6, 17, 40, 101] {
            let (x, values) = line(device, rng, dtype, n);
            let m = Abcd::from_abc(0.8, rng.uniform(0.5, 1.5) * [1.0, -1.0][rng.int(0, 1)], 0.4)
                .unwrap();
            let entries = m.entries();
            let dx = 0.9 / (n as f64).sqrt();
            let near = |what: &str, y: &Tensor, want: &[Complex64], factors: f64| {
                let slack = if dtype == Dtype::F64 { 1e-12 } else { 0.0 };
                assert_close(what, &read(y), want, bound(dtype, n, factors) + slack);
            };
            let (y, spacing) = wavecube::lct_scaled(&x, &m, dx, 0).unwrap();
            assert!((spacing - m.b().abs() / (n as f64 * dx)).abs() < 1e-15);
            let want = reference::lct::apply(&reference::lct::lct_scaled(entries, n, dx), &values);
            near(&format!("{what} scaled {n}"), &y, &want, 3.0);

            let y = wavecube::lct_causal(&x, &m, -3.0, dx, 0).unwrap();
            let want =
                reference::lct::apply(&reference::lct::lct_causal(entries, n, -3.0, dx), &values);
            near(&format!("{what} causal {n}"), &y, &want, 12.0);

            let (outputs, start, step) =
                (rng.int(1, 60), rng.uniform(-0.5, 0.5), rng.uniform(0.001, 0.02));
            let y = wavecube::czt(&x, outputs, start, step, 0).unwrap();
            let (a, w) = (
                Complex64::from_polar(1.0, 2.0 * PI * start),
                Complex64::from_polar(1.0, -2.0 * PI * step),
            );
            let want = reference::lct::apply(&reference::lct::czt(n, outputs, a, w), &values);
            // A few outputs may hold little of the signal's energy: errors are relative to its norm.
            let error = relative_l2(&read(&y), &want);
            let norm = |v: &[Complex64]| v.iter().map(Complex64::norm_sqr).sum::<f64>().sqrt();
            let ratio = (norm(&values) * (n.max(outputs) as f64).sqrt() / norm(&want)).max(1.0);
            assert!(
                error < (bound(dtype, n + outputs, 8.0) + 1e-12) * ratio,
                "{what} czt {n}: {error}"
            );

            let grid = OutputGrid { outputs, first: -0.4, step: 0.03 };
            let y = wavecube::lct_czt(&x, &m, dx, &grid, 0).unwrap();
            let want = reference::lct::lct_czt(entries, (n, dx), (outputs, grid.first, grid.step));
            let want = reference::lct::apply(&want, &values);
            let error = relative_l2(&read(&y), &want);
            let ratio = (norm(&values) / norm(&want)).max(1.0);
            assert!(
                error < (bound(dtype, n + outputs, 8.0) + 1e-12) * ratio,
                "{what} lct_czt {n}: {error}"
            );

            let angle = rng.uniform(-4.0, 4.0);
            let y = wavecube::frft_weighted(&x, angle, 0).unwrap();
            let want = reference::lct::apply(&reference::lct::frft_weighted(n, angle), &values);
            near(&format!("{what} weighted {n}"), &y, &want, 4.0);

            let bounded = ComplexAbcd::from(m) * ComplexAbcd::gaussian(0.3);
            let y = wavecube::lct_complex(&x, &bounded, 0).unwrap();
            let points: Vec<f64> =
                reference::lct::grid(n).iter().map(|p| p / (n as f64).sqrt()).collect();
            let want: Vec<Complex64> = points
                .iter()
                .map(|&u| {
                    let terms =
                        points.iter().zip(&values).map(|(&p, v)| bounded.kernel(u, p).unwrap() * v);
                    terms.sum::<Complex64>() / (n as f64).sqrt()
                })
                .collect();
            let slack = dense_bound(dtype, n);
            assert_close(&format!("{what} complex {n}"), &read(&y), &want, slack);
        }
        // Laplace on a grid small enough for f32: e^{2πxu} with |x|, |u| ≤ 1.4.
        let (x, _) = line(device, rng, dtype, 8);
        assert!(read(&wavecube::laplace(&x, 0).unwrap()).iter().all(|v| v.is_finite()));
    });
}

#[test]
fn nothing_before_a_changed_sample_changes() {
    each(|device, rng, dtype, what| {
        let n = 150;
        let mut values = rng.complex(n);
        let m = Abcd::fractional_fourier(1.1);
        let run = |values: &[Complex64]| {
            let (x, _) = tensor(device, values, dtype, true, &[n]).unwrap();
            read(&wavecube::lct_causal(&x, &m, 0.0, 0.1, 0).unwrap())
        };
        let before = run(&values);
        let t = rng.int(1, n - 1);
        values[t] += Complex64::new(3.0, -2.0);
        let after = run(&values);
        let change =
            before.iter().zip(&after).take(t).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max);
        let size = before.iter().map(|v| v.norm()).fold(0.0, f64::max);
        println!("{what} causality: change {:.2e} of the largest before t = {t}", change / size);
        assert!(change < 32.0 * dtype.epsilon() * size, "{what}: {change}");
        assert!((after[t] - before[t]).norm() > 1e-3);
    });
}

#[test]
fn a_batch_is_a_loop_bit_for_bit_on_any_axis() {
    each(|device, rng, dtype, what| {
        let (rows, n) = (5, 30);
        let m = random_matrix(rng);
        let (x, values) = tensor(device, &rng.complex(rows * n), dtype, true, &[rows, n]).unwrap();
        let columns: Vec<Complex64> =
            (0..n * rows).map(|i| values[(i % rows) * n + i / rows]).collect();
        let (transposed, _) = tensor(device, &columns, dtype, true, &[n, rows]).unwrap();
        let weil = WeilMatrix::new(n, [1, 2, 3, 7]).unwrap();
        let ops: [(&str, &dyn Fn(&Tensor, isize) -> Result<Tensor>); 8] = [
            ("shear", &|x, axis| wavecube::lct_shear(x, &m, axis)),
            ("chirp", &|x, axis| wavecube::chirp_multiply(x, 0.4, axis)),
            ("frft", &|x, axis| wavecube::frft(x, 0.4, axis)),
            ("weil", &|x, axis| wavecube::lct_weil(x, &weil, axis)),
            ("weighted", &|x, axis| wavecube::frft_weighted(x, 0.4, axis)),
            ("causal", &|x, axis| wavecube::lct_causal(x, &Abcd::FOURIER, 0.0, 0.1, axis)),
            ("czt", &|x, axis| wavecube::czt(x, 7, 0.1, 0.01, axis)),
            ("scaled", &|x, axis| Ok(wavecube::lct_scaled(x, &Abcd::FOURIER, 0.2, axis)?.0)),
        ];
        for (name, op) in ops {
            let batch = read(&op(&x, 1).unwrap());
            let len = batch.len() / rows;
            let mut loop_ = Vec::new();
            for row in values.chunks(n) {
                let (x, _) = tensor(device, row, dtype, true, &[n]).unwrap();
                loop_.extend(read(&op(&x, 0).unwrap()));
            }
            assert_eq!(batch, loop_, "{what} {name}: batch and loop");
            // The same elements as columns, and through a permuted view.
            let along = read(&op(&transposed, 0).unwrap());
            let back: Vec<Complex64> =
                (0..rows * len).map(|i| along[(i % len) * rows + i / len]).collect();
            let limit = dense_bound(dtype, n) + bound(dtype, n, 4.0);
            assert_close(&format!("{what} {name} columns"), &back, &batch, limit);
            let view = transposed.permuted(&[1, 0]).unwrap();
            let viewed = read(&op(&view, -1).unwrap());
            assert_close(&format!("{what} {name} view"), &viewed, &batch, limit);
        }
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
            // The same by its parts, each against its definition elsewhere in this file.
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

#[test]
fn half_precision_is_stored_and_f32_computed() {
    for device in devices().iter().filter(|device| has(device, Dtype::F16)) {
        let mut rng = Rng::fresh();
        let n = 48;
        let (x, values) = tensor(device, &rng.complex(n), Dtype::F16, true, &[n]).unwrap();
        let m = Abcd::from_abc(0.9, 0.5, -0.3).unwrap();
        let factors = ShearFactors::new(&m).unwrap();
        let y = read(&wavecube::lct_shear(&x, &m, 0).unwrap());
        // One rounding to f16 for each trip through memory.
        let want = shear_reference(&values, &factors);
        assert_close("f16 shear", &y, &want, 4.0 * Dtype::F16.epsilon());
        let y = read(&wavecube::frft(&x, 0.7, 0).unwrap());
        let basis = reference::lct::hermite_basis(n);
        let want = reference::lct::apply(&reference::lct::frft(n, &basis, 0.7), &values);
        assert_close("f16 frft", &y, &want, 4.0 * Dtype::F16.epsilon());
    }
}

#[test]
fn outputs_that_exist_are_filled_or_refused() {
    each(|device, rng, dtype, what| {
        let (rows, n) = (3, 30);
        let m = random_matrix(rng);
        let (x, _) = tensor(device, &rng.complex(rows * n), dtype, true, &[rows, n]).unwrap();
        let ops: [(&str, &dyn Fn(&Tensor, &mut Tensor) -> Result<()>, Tensor); 4] = [
            (
                "shear",
                &|x, y| wavecube::lct_shear_into(x, y, &m, 1),
                wavecube::lct_shear(&x, &m, 1).unwrap(),
            ),
            ("identity", &|x, y| wavecube::lct_shear_into(x, y, &Abcd::IDENTITY, 1), x.clone()),
            (
                "frft",
                &|x, y| wavecube::frft_into(x, y, 0.4, 1),
                wavecube::frft(&x, 0.4, 1).unwrap(),
            ),
            ("no turn", &|x, y| wavecube::frft_into(x, y, 0.0, 1), x.clone()),
        ];
        for (name, op, want) in ops {
            // Row by row, and into columns.
            let mut y = nan_filled(device, dtype, true, &[rows, n]).unwrap();
            op(&x, &mut y).unwrap();
            assert_eq!(read(&y), read(&want), "{what} {name}");
            let columns = nan_filled(device, dtype, true, &[n, rows]).unwrap();
            let mut y = columns.permuted(&[1, 0]).unwrap();
            op(&x, &mut y).unwrap();
            let limit = dense_bound(dtype, n) + bound(dtype, n, 4.0);
            assert_close(&format!("{what} {name} columns"), &read(&y), &read(&want), limit);

            let mut short = nan_filled(device, dtype, true, &[rows, n - 1]).unwrap();
            let shape = op(&x, &mut short);
            assert!(matches!(shape, Err(Error::Shape { argument: "output", .. })), "{name}");
            let mut real = nan_filled(device, dtype, false, &[rows, n]).unwrap();
            assert!(matches!(op(&x, &mut real), Err(Error::Dtype { .. })), "{name}");
            assert!(matches!(op(&x, &mut x.clone()), Err(Error::Overlap { .. })), "{name}");
            let folded = Layout::strided(&[rows, n], &[0, 1], 0).unwrap();
            let handle = columns.handle().clone();
            let mut folded = Tensor::from_handle(device, handle, dtype, true, folded).unwrap();
            assert!(matches!(op(&x, &mut folded), Err(Error::Strides { .. })), "{name}");
        }
    });
}

#[test]
fn what_a_device_lacks_is_told_by_its_limits() {
    let bare = Limits { f64: false, f16: false, ..Limits::LAVAPIPE };
    let problem = |dtype, shape: &[usize]| LctProblem {
        op: "fourier",
        stages: Program::of_factors(64, &centred_dft(64, false)).stages,
        axis: -1,
        dtype,
        input: Layout::contiguous(shape),
        output: Layout::contiguous(shape),
        real_input: false,
        real_output: false,
    };
    for dtype in [Dtype::F16, Dtype::F64] {
        let plan = LctPlan::new(&problem(dtype, &[2, 64]), &bare);
        assert!(matches!(plan, Err(Error::Dtype { op: "fourier", .. })), "{plan:?}");
    }
    let plan = LctPlan::new(&problem(Dtype::F32, &[1 << 40, 64]), &bare);
    assert!(matches!(plan, Err(Error::Limit { .. })), "{plan:?}");
    let plan = LctPlan::new(&problem(Dtype::F32, &[2, 65]), &bare);
    assert!(matches!(plan, Err(Error::Shape { .. })), "{plan:?}");
    // A matrix that belongs to no transform is none: the operations never see it.
    let determinant = Abcd::new(1.0, 1.0, 1.0, 1.0).unwrap_err();
    assert!(determinant.to_string().contains("determinant 1"), "{determinant}");
    assert!(WeilMatrix::new(7, [2, 0, 0, 2]).unwrap_err().to_string().contains("a d - b c"));
    assert!(ComplexAbcd::new(Complex64::ONE, Complex64::I, Complex64::I, Complex64::ONE).is_err());
}

#[test]
fn empty_batches_and_rejected_calls() {
    for device in devices() {
        let (x, _) = tensor(device, &[Complex64::ONE; 6], Dtype::F32, true, &[6]).unwrap();
        let (real, _) = tensor(device, &[Complex64::ONE; 6], Dtype::F32, false, &[6]).unwrap();
        let (empty, _) = tensor(device, &[], Dtype::F32, true, &[0, 6]).unwrap();
        let (none, _) = tensor(device, &[], Dtype::F32, true, &[2, 0]).unwrap();
        let (long, _) = tensor(device, &[Complex64::ONE; 7], Dtype::F32, true, &[7]).unwrap();
        let m = Abcd::from_abc(0.9, 0.5, -0.3).unwrap();
        let weil = WeilMatrix::new(6, [1, 2, 3, 7]).unwrap();
        let ops: [&dyn Fn(&Tensor, isize) -> Result<Tensor>; 12] = [
            &|x, axis| wavecube::lct_shear(x, &m, axis),
            &|x, axis| wavecube::chirp_multiply(x, 0.4, axis),
            &|x, axis| wavecube::fourier(x, false, axis),
            &|x, axis| wavecube::frft(x, 0.4, axis),
            &|x, axis| wavecube::lct_weil(x, &weil, axis),
            &|x, axis| wavecube::frft_weighted(x, 0.4, axis),
            &|x, axis| wavecube::lct_causal(x, &m, 0.0, 0.1, axis),
            &|x, axis| wavecube::czt(x, 7, 0.1, 0.01, axis),
            &|x, axis| Ok(wavecube::lct_scaled(x, &m, 0.2, axis)?.0),
            &|x, axis| Ok(wavecube::lct_framed(x, &m, axis)?.to_samples()?.0),
            &|x, axis| wavecube::lct_complex(x, &ComplexAbcd::gaussian(0.1), axis),
            &|x, axis| wavecube::fresnel(x, 0.1, axis),
        ];
        for op in ops {
            assert!(read(&op(&empty, 1).unwrap()).is_empty());
            assert!(matches!(op(&real, 0), Err(Error::Dtype { .. })));
            assert!(matches!(op(&x, 1), Err(Error::Axis { .. })));
            assert!(matches!(op(&x, isize::MIN), Err(Error::Axis { .. })));
            assert!(matches!(op(&none, 1), Err(Error::Length { .. })));
        }
        let value = |result: Result<Tensor>, name: &str| {
            assert!(matches!(result, Err(Error::Value { .. })), "{name}");
        };
        value(wavecube::chirp_multiply(&x, f64::NAN, 0), "chirp rate");
        value(wavecube::frft(&x, f64::INFINITY, 0), "angle");
        value(wavecube::frft_weighted(&x, f64::NAN, 0), "weighted angle");
        value(wavecube::lct_shear(&x, &Abcd::fractional_fourier(f64::NAN), 0), "matrix");
        value(wavecube::lct_causal(&x, &Abcd::IDENTITY, 0.0, 0.1, 0), "b = 0");
        value(wavecube::lct_causal(&x, &m, 0.0, -0.1, 0), "spacing");
        value(wavecube::lct_scaled(&x, &Abcd::chirp(1.0), 0.1, 0).map(|y| y.0), "b = 0");
        value(wavecube::czt(&x, 3, f64::NAN, 0.1, 0), "start");
        value(wavecube::czt_spiral(&x, 3, Complex64::ZERO, Complex64::ONE, 0), "a");
        value(wavecube::czt_spiral(&x, 3, Complex64::from(1e-40), Complex64::ONE, 0), "a in f32");
        value(wavecube::scaling(&x, 0.0, 0), "m");
        assert!(matches!(wavecube::czt(&x, 0, 0.0, 0.1, 0), Err(Error::Length { .. })));
        assert!(matches!(wavecube::lct_weil(&long, &weil, 0), Err(Error::Length { .. })));
        assert!(matches!(wavecube::lct2(&x, [&m, &m], [0, -1]), Err(Error::Unsupported { .. })));
        assert!(matches!(
            wavecube::lct_shear_factored_param_vjp(
                &x,
                &x,
                &ShearFactors::new(&Abcd::IDENTITY).unwrap(),
                0
            ),
            Err(Error::Unsupported { .. })
        ));
        assert!(matches!(
            wavecube::lct_shear_param_vjp(&x, &long, &m, 0),
            Err(Error::Shape { argument: "g", .. })
        ));
        assert!(matches!(wavecube::frft_angle_vjp(&x, &real, 0.1, 0), Err(Error::Dtype { .. })));
        let grid = OutputGrid { outputs: 5, first: 0.0, step: 0.1 };
        assert!(matches!(
            wavecube::lct_czt_param_vjp(&x, &long, &m, 0.3, &grid, 0),
            Err(Error::Shape { argument: "g", .. })
        ));
        assert!(matches!(
            wavecube::czt_spiral_param_vjp(&x, &real, Complex64::ONE, Complex64::ONE, 0),
            Err(Error::Dtype { .. })
        ));
        let before = device.degenerate_hits();
        wavecube::lct_shear(&x, &Abcd::chirp(0.3), 0).unwrap();
        wavecube::lct_shear(&x, &m, 0).unwrap();
        assert!(device.degenerate_hits() > before);
    }
}
