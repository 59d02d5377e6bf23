//! Diagonals of tridiagonal resolvents against the dense inverse and the serial ratio form in `f64`, their
//! gradients, identities, and what they reject.

use wavecube::{
    Complex32, Complex64, Device, Dtype, Error, Layout, Limits, Tensor, Tridiagonal,
    resolvent_diagonal, resolvent_diagonal_vjp,
};
use wavecube_kernels::tridiag::{
    Algorithm, OffDiagonals, Strategy, Task, TridiagPlan, TridiagProblem,
};
use wavecube_testing::{
    Rng, devices, has, nan_filled, read,
    reference::tridiag::{Gradients, Operator},
    tensor,
};

const I: Complex64 = Complex64::I;

fn real(v: f64) -> Complex64 {
    Complex64::new(v, 0.0)
}

/// Where operators come from. `complex` says what `a`, and `b` and `c`, are.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The model's own: `a = v − 2` with a potential of size 1, `b = c = 1`, `z = iη`.
    Model { eta: f64 },
    /// The same with `c = −1`.
    Negative { eta: f64 },
    /// Normal `a`, complex `b` and `c`.
    ComplexBeside,
    /// All complex.
    Complex,
    /// `a = ±100`, `b` and `c` normal times 10, no shift to speak of.
    Dominant,
}

impl Source {
    fn complex(self) -> [bool; 2] {
        match self {
            Self::ComplexBeside => [false, true],
            Self::Complex => [true, true],
            _ => [false, false],
        }
    }

    fn operator(self, rng: &mut Rng, n: usize) -> Operator {
        let beside = n - 1;
        let normal = rng.real(n);
        let scaled = |v: Vec<Complex64>, s: f64| v.into_iter().map(|v| v * s).collect();
        match self {
            Self::Model { eta } | Self::Negative { eta } => Operator {
                a: normal.iter().map(|v| real(v.re.clamp(-3.0, 3.0) - 2.0)).collect(),
                b: vec![real(1.0); beside],
                c: vec![
                    real(if matches!(self, Self::Negative { .. }) { -1.0 } else { 1.0 });
                    beside
                ],
                z: I * eta,
            },
            Self::ComplexBeside => Operator {
                a: normal,
                b: scaled(rng.complex(beside), 0.5),
                c: scaled(rng.complex(beside), 0.5),
                z: Complex64::new(0.3, 2.0),
            },
            Self::Complex => Operator {
                a: rng.complex(n).into_iter().map(|v| v * 0.5).collect(),
                b: scaled(rng.complex(beside), 0.5),
                c: scaled(rng.complex(beside), 0.5),
                z: Complex64::new(-0.2, 2.0),
            },
            Self::Dominant => Operator {
                a: normal.iter().map(|v| real(100.0_f64.copysign(v.re))).collect(),
                b: scaled(rng.real(beside), 10.0),
                c: scaled(rng.real(beside), 10.0),
                z: I * 0.5,
            },
        }
    }
}

/// A batch of operators on a device, and as they were rounded.
struct Batch {
    n: usize,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    z: Tensor,
    g: Tensor,
    gs: Vec<Complex64>,
    exact: Vec<Operator>,
}

impl Batch {
    fn new(
        device: &Device,
        dtype: Dtype,
        operators: &[Operator],
        complex: [bool; 2],
        rng: &mut Rng,
    ) -> Self {
        let (rows, n) = (operators.len(), operators[0].a.len());
        let all = |part: fn(&Operator) -> Vec<Complex64>| -> Vec<Complex64> {
            operators.iter().flat_map(part).collect()
        };
        let upload = |values: Vec<Complex64>, complex: bool, shape: &[usize]| {
            tensor(device, &values, dtype, complex, shape).unwrap()
        };
        let (a, a_exact) = upload(all(|o| o.a.clone()), complex[0], &[rows, n]);
        let (b, b_exact) = upload(all(|o| o.b.clone()), complex[1], &[rows, n - 1]);
        let (c, c_exact) = upload(all(|o| o.c.clone()), complex[1], &[rows, n - 1]);
        let (z, z_exact) = upload(all(|o| vec![o.z]), true, &[rows]);
        let (g, gs) = upload(rng.complex(rows * n), true, &[rows, n]);
        let exact = (0..rows)
            .map(|r| Operator {
                a: a_exact[r * n..(r + 1) * n].to_vec(),
                b: b_exact[r * (n - 1)..(r + 1) * (n - 1)].to_vec(),
                c: c_exact[r * (n - 1)..(r + 1) * (n - 1)].to_vec(),
                z: z_exact[r],
            })
            .collect();
        Self { n, a, b, c, z, g, gs, exact }
    }

    fn of(
        device: &Device,
        dtype: Dtype,
        source: Source,
        rows: usize,
        n: usize,
        rng: &mut Rng,
    ) -> Self {
        let operators: Vec<Operator> = (0..rows).map(|_| source.operator(rng, n)).collect();
        Self::new(device, dtype, &operators, source.complex(), rng)
    }

    fn tridiagonal(&self) -> Tridiagonal {
        Tridiagonal::new(&self.a, &self.b, &self.c, &self.z)
    }

    /// The truth: the diagonals, and the gradients of every sequence.
    fn truth(&self, dense: bool) -> (Vec<Complex64>, Vec<Gradients>) {
        let g = self.gs.chunks(self.n);
        if dense {
            let diagonals = self.exact.iter().flat_map(Operator::diagonal_dense).collect();
            (diagonals, self.exact.iter().zip(g).map(|(o, g)| o.gradients_dense(g)).collect())
        } else {
            let diagonals = self.exact.iter().flat_map(Operator::diagonal_serial).collect();
            (diagonals, self.exact.iter().zip(g).map(|(o, g)| o.gradients_serial(g)).collect())
        }
    }
}

/// `max |found − expected| / max |expected|`; NaN if anything is.
fn relative_max(found: &[Complex64], expected: &[Complex64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "as many values as expected");
    let worst = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0_f64, |most, v| if v.is_nan() || v > most { v } else { most })
    };
    let error = worst(&mut found.iter().zip(expected).map(|(a, b)| (a - b).norm()));
    let size = worst(&mut expected.iter().map(|v| v.norm()));
    if size == 0.0 { error } else { error / size }
}

/// The largest errors allowed: of the diagonal, of `∂a` and of `∂b` and `∂c`. `∂z` is a sum of `∂a` and is
/// compared with the sum of their sizes, by the gate of `∂a`.
type Gates = [f64; 3];

/// Four times what the recursions did in a prototype in `f32`, at `η = 1`.
const MODEL: Gates = [6e-7, 1.2e-6, 1.1e-6];
/// The same where `b_k c_k < 0`.
const NEGATIVE: Gates = [1.8e-5, 5.6e-5, 5.6e-5];
/// The same in `f64`, everywhere.
const DOUBLE: Gates = [2e-13; 3];

/// The diagonal into NaN-filled memory and the gradients, against the truth.
fn check(what: &str, batch: &Batch, operators: &Tridiagonal, dense: bool, gates: Gates) {
    let device = batch.a.device();
    let dtype = batch.a.dtype();
    let (diagonals, gradients) = batch.truth(dense);
    let mut out = nan_filled(device, dtype, true, batch.a.shape()).unwrap();
    let pivots = operators.resolvent_diagonal_into(&mut out).unwrap();
    let found = operators.resolvent_diagonal_vjp(&batch.g).unwrap();
    let kept = |values: Vec<Complex64>, complex: bool| -> Vec<Complex64> {
        values.into_iter().map(|v| if complex { v } else { real(v.re) }).collect()
    };
    let all = |part: fn(&Gradients) -> Vec<Complex64>, complex: bool| {
        kept(gradients.iter().flat_map(part).collect(), complex)
    };
    let [a_complex, b_complex] = [batch.a.is_complex(), batch.b.is_complex()];
    let z_expected: Vec<Complex64> = gradients.iter().map(|g| g.z).collect();
    let z_size = gradients.iter().map(|g| g.a.iter().map(|v| v.norm()).sum::<f64>());
    let z_size = z_size.fold(f64::MIN_POSITIVE, f64::max);
    let z_found = read(&found.z);
    let z_error =
        z_found.iter().zip(&z_expected).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max) / z_size;
    assert!(z_found.iter().all(|v| v.re.is_finite() && v.im.is_finite()), "{what}: ∂z");
    let errors = [
        ("G", relative_max(&read(&out), &diagonals), gates[0]),
        ("∂a", relative_max(&read(&found.a), &all(|g| g.a.clone(), a_complex)), gates[1]),
        ("∂b", relative_max(&read(&found.b), &all(|g| g.b.clone(), b_complex)), gates[2]),
        (
            "∂c",
            relative_max(&read(found.c.as_ref().unwrap()), &all(|g| g.c.clone(), b_complex)),
            gates[2],
        ),
        ("∂z", z_error, gates[1]),
    ];
    if std::env::var_os("WAVECUBE_PRINT").is_some() {
        let line: Vec<String> =
            errors.iter().map(|(of, e, g)| format!("{of} {e:.1e}/{g:.1e}")).collect();
        eprintln!("{what}: {}", line.join("  "));
    }
    for (of, error, gate) in errors {
        assert!(error <= gate, "{what}: {of} is off by {error:e}, more than {gate:e}");
    }
    assert!(pivots.read().unwrap().iter().all(Option::is_none), "{what}: no pivot vanishes");
}

#[test]
fn short_sequences_against_the_dense_inverse() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let sampled: Vec<usize> = (0..6).map(|_| rng.int(65, 512)).collect();
        for n in (1..=64).chain(sampled) {
            let rows = rng.int(1, 3);
            let what = format!("{device} {rows}x{n} seed {}", rng.seed);
            let batch =
                Batch::of(device, Dtype::F32, Source::Model { eta: 1.0 }, rows, n, &mut rng);
            check(&what, &batch, &batch.tridiagonal(), true, MODEL);
            if n.is_multiple_of(16) {
                check(
                    &format!("{what} serial"),
                    &batch,
                    &batch.tridiagonal().serially(),
                    true,
                    MODEL,
                );
            }
        }
    }
}

#[test]
fn every_kind_of_operand_against_the_dense_inverse() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for source in [Source::ComplexBeside, Source::Complex] {
            for n in [1, 2, 9, 40, 111] {
                let what = format!("{device} {source:?} {n} seed {}", rng.seed);
                let batch = Batch::of(device, Dtype::F32, source, 3, n, &mut rng);
                check(&what, &batch, &batch.tridiagonal(), true, NEGATIVE);
                check(&what, &batch, &batch.tridiagonal().serially(), true, NEGATIVE);
            }
        }
    }
}

#[test]
fn long_sequences_against_the_ratio_form() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (rows, n) in [(3, 4096), (2, 4097), (1, 100_000)] {
            let what = format!("{device} {rows}x{n} seed {}", rng.seed);
            let batch =
                Batch::of(device, Dtype::F32, Source::Model { eta: 1.0 }, rows, n, &mut rng);
            check(&what, &batch, &batch.tridiagonal(), false, MODEL);
            check(&format!("{what} serial"), &batch, &batch.tridiagonal().serially(), false, MODEL);
        }
    }
}

#[test]
fn distributions_far_from_the_easy_one() {
    // The error grows as 1/η: four times the prototype's at 0.01, and in proportion.
    let near = |eta: f64| [1e-4, 1.9e-4, 3e-4].map(|gate| gate * (0.01 / eta));
    let cases = [
        (Source::Model { eta: 0.1 }, near(0.1)),
        (Source::Model { eta: 0.01 }, near(0.01)),
        (Source::Model { eta: 0.001 }, near(0.001)),
        (Source::Negative { eta: 1.0 }, NEGATIVE),
        (Source::Negative { eta: 0.1 }, NEGATIVE),
        (Source::ComplexBeside, NEGATIVE),
        (Source::Complex, NEGATIVE),
        (Source::Dominant, [2.4e-6, 4.8e-6, 4.8e-6]),
    ];
    for device in devices() {
        let mut rng = Rng::fresh();
        for (source, gates) in cases {
            let batch = Batch::of(device, Dtype::F32, source, 2, 2048, &mut rng);
            let what = format!("{device} {source:?} seed {}", rng.seed);
            check(&what, &batch, &batch.tridiagonal(), false, gates);
            check(&format!("{what} serial"), &batch, &batch.tridiagonal().serially(), false, gates);
        }
    }
}

#[test]
fn double_precision() {
    for device in devices() {
        let mut rng = Rng::fresh();
        if !has(device, Dtype::F64) {
            continue;
        }
        for (source, n) in [
            (Source::Model { eta: 1.0 }, 300),
            (Source::Model { eta: 0.01 }, 2048),
            (Source::Complex, 5000),
            (Source::Dominant, 2048),
        ] {
            let what = format!("{device} {source:?} {n} seed {}", rng.seed);
            let batch = Batch::of(device, Dtype::F64, source, 2, n, &mut rng);
            check(&what, &batch, &batch.tridiagonal(), n < 500, DOUBLE);
            check(
                &format!("{what} serial"),
                &batch,
                &batch.tridiagonal().serially(),
                n < 500,
                DOUBLE,
            );
        }
    }
}

#[test]
fn a_constant_operator_in_closed_form() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let (n, d) = (40_usize, Complex64::new(-1.25, -0.75));
        let operator = Operator {
            a: vec![real(d.re); n],
            b: vec![real(1.0); n - 1],
            c: vec![real(1.0); n - 1],
            z: -I * d.im,
        };
        let batch = Batch::new(device, Dtype::F32, &[operator], [false, false], &mut rng);
        // d = 2 cosh t; the minors are sinh((k + 1)t)/sinh t.
        let t = (d * 0.5).acosh();
        let sinh = |k: usize| (t * k as f64).sinh();
        let expected: Vec<Complex64> =
            (0..n).map(|k| sinh(k + 1) * sinh(n - k) / (sinh(1) * sinh(n + 1))).collect();
        let found = batch.tridiagonal().resolvent_diagonal().unwrap();
        let error = relative_max(&read(&found.diagonal), &expected);
        assert!(error <= MODEL[0], "{device}: {error:e}");
    }
}

/// The reference's own gradients, by differences of its diagonal.
#[test]
fn the_reference_agrees_with_finite_differences() {
    let mut rng = Rng::fresh();
    let operator = Source::Complex.operator(&mut rng, 7);
    let g = rng.complex(7);
    let loss = |o: &Operator| -> f64 {
        o.diagonal_dense().iter().zip(&g).map(|(y, g)| (g.conj() * y).re).sum()
    };
    let h = 1e-5;
    let difference = |change: &dyn Fn(&mut Operator, Complex64)| -> Complex64 {
        let at = |step: Complex64| {
            let mut moved = operator.clone();
            change(&mut moved, step);
            loss(&moved)
        };
        let slope = |unit: Complex64| {
            (8.0 * (at(unit * h) - at(-unit * h)) - (at(2.0 * unit * h) - at(-2.0 * unit * h)))
                / (12.0 * h)
        };
        Complex64::new(slope(real(1.0)), slope(I))
    };
    for gradients in [operator.gradients_dense(&g), operator.gradients_serial(&g)] {
        let close = |what: &str, found: Complex64, expected: Complex64| {
            let error = (found - expected).norm();
            assert!(error < 1e-8, "{what}: {found} is not {expected}, seed {}", rng.seed);
        };
        for k in 0..7 {
            close("a", gradients.a[k], difference(&|o, step| o.a[k] += step));
        }
        for k in 0..6 {
            close("b", gradients.b[k], difference(&|o, step| o.b[k] += step));
            close("c", gradients.c[k], difference(&|o, step| o.c[k] += step));
        }
        close("z", gradients.z, difference(&|o, step| o.z += step));
    }
}

#[test]
fn shared_operands_get_the_sum_of_their_gradients() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [20, 5000] {
            let (heads, rows) = (2, 3);
            let operators: Vec<Operator> = (0..heads * rows)
                .map(|_| Source::Model { eta: 1.0 }.operator(&mut rng, n))
                .collect();
            let whole = Batch::new(device, Dtype::F32, &operators, [false, false], &mut rng);
            let reshaped = |t: &Tensor, shape: &[usize]| {
                let layout = Layout::contiguous(shape);
                Tensor::from_handle(device, t.handle().clone(), t.dtype(), t.is_complex(), layout)
                    .unwrap()
            };
            let a = reshaped(&whole.a, &[rows, heads, n]);
            let g = reshaped(&whole.g, &[rows, heads, n]);
            // b and c are ones: the products are shared by all, and the shift by all rows of a head.
            let p = reshaped(&whole.b, &[1, 1, n - 1]);
            let z = reshaped(&whole.z, &[1, heads]);
            let shared = Tridiagonal::of_products(&a, &p, &z);
            let apart = resolvent_diagonal(&whole.a, &whole.b, &whole.c, &whole.z).unwrap();
            let together = shared.resolvent_diagonal().unwrap();
            assert_eq!(together.diagonal.shape(), [rows, heads, n]);
            assert_eq!(read(&together.diagonal), read(&apart.diagonal), "{device} {n}");
            let apart = whole.tridiagonal().resolvent_diagonal_vjp(&whole.g).unwrap();
            let together = shared.resolvent_diagonal_vjp(&g).unwrap();
            assert_eq!(read(&together.a), read(&apart.a));
            let sum = |values: &[Complex64], len: usize, of: &dyn Fn(usize) -> usize| {
                let mut sums = vec![Complex64::ZERO; len];
                values.iter().enumerate().for_each(|(i, v)| sums[of(i)] += v);
                sums
            };
            // With c = 1 the gradient of b is that of the product.
            let by_p = sum(&read(&apart.b), n - 1, &|i| i % (n - 1));
            assert_eq!(together.b.shape(), [1, 1, n - 1]);
            assert!(relative_max(&read(&together.b), &by_p) < 1e-6, "{device} {n}");
            let by_z = sum(&read(&apart.z), heads, &|i| i % heads);
            assert_eq!(together.z.shape(), [1, heads]);
            let scale = read(&apart.a).iter().map(|v| v.norm()).sum::<f64>();
            let error =
                read(&together.z).iter().zip(&by_z).map(|(a, b)| (a - b).norm()).sum::<f64>();
            assert!(error < 1e-6 * scale, "{device} {n}: {error:e} of {scale:e}");
            let serially = shared.serially().resolvent_diagonal_vjp(&g).unwrap();
            assert!(relative_max(&read(&serially.b), &by_p) < 4e-6, "{device} {n}");
        }
    }
}

#[test]
fn vanishing_pivots_are_data() {
    for device in devices() {
        let mut rng = Rng::fresh();
        // Elements that do not meet: the diagonal is 1/(a − z), and only that one is affected.
        for (n, bad) in [(1, 0), (7, 3), (700, 699), (9000, 5001)] {
            let mut operators: Vec<Operator> = (0..3)
                .map(|_| Operator {
                    a: vec![real(2.0); n],
                    b: vec![real(0.0); n - 1],
                    c: vec![real(1.0); n - 1],
                    z: real(0.5),
                })
                .collect();
            operators[1].a[bad] = real(0.5);
            let batch = Batch::new(device, Dtype::F32, &operators, [false, false], &mut rng);
            for operators in [batch.tridiagonal(), batch.tridiagonal().serially()] {
                let found = operators.resolvent_diagonal().unwrap();
                let pivots = found.pivots.read().unwrap();
                assert_eq!(pivots, [None, Some(bad), None], "{device} {n}");
                let g = read(&found.diagonal);
                let fine = |row: &[Complex64]| row.iter().all(|v| (v - 1.0 / 1.5).norm() < 1e-6);
                assert!(fine(&g[..n]) && fine(&g[2 * n..]), "{device} {n}");
                assert!(!g[n + bad].is_finite(), "{device} {n}: not clamped");
            }
        }
        // [[1, 1], [1, 1]] is singular.
        let ones = vec![real(1.0); 2];
        let one = vec![real(1.0)];
        let singular = Operator { a: ones, b: one.clone(), c: one, z: real(0.0) };
        let batch = Batch::new(device, Dtype::F32, &[singular], [false, false], &mut rng);
        let found = batch.tridiagonal().resolvent_diagonal().unwrap();
        assert_eq!(found.pivots.read().unwrap(), [Some(0)], "{device}");
    }
}

#[test]
fn nan_stays_in_its_row() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [30, 600, 6000] {
            let source = Source::Model { eta: 1.0 };
            let mut operators: Vec<Operator> =
                (0..3).map(|_| source.operator(&mut rng, n)).collect();
            let clean = Batch::new(device, Dtype::F32, &operators, [false, false], &mut rng);
            operators[1].a[n / 2] = real(f64::NAN);
            let dirty = Batch::new(device, Dtype::F32, &operators, [false, false], &mut rng);
            let g = &clean.g;
            let before = clean.tridiagonal().resolvent_diagonal().unwrap();
            let after = dirty.tridiagonal().resolvent_diagonal().unwrap();
            let (x, y) = (read(&before.diagonal), read(&after.diagonal));
            assert_eq!((&x[..n], &x[2 * n..]), (&y[..n], &y[2 * n..]), "{device} {n}");
            assert!(y[n + n / 2].re.is_nan(), "{device} {n}");
            assert_eq!(after.pivots.read().unwrap(), [None, Some(n / 2), None], "{device} {n}");
            let before = clean.tridiagonal().resolvent_diagonal_vjp(g).unwrap();
            let after = dirty.tridiagonal().resolvent_diagonal_vjp(g).unwrap();
            let (x, y) = (read(&before.a), read(&after.a));
            assert_eq!((&x[..n], &x[2 * n..]), (&y[..n], &y[2 * n..]), "{device} {n}");
            assert!(y[n + n / 2].re.is_nan(), "{device} {n}");
        }
    }
}

fn values(tensors: &[&Tensor]) -> Vec<Vec<Complex64>> {
    tensors.iter().map(|t| read(t)).collect()
}

#[test]
fn translation_conjugation_and_scaling() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [13, 128, 5000] {
            let operator = Source::Complex.operator(&mut rng, n);
            let run = |operator: &Operator, rng: &mut Rng| {
                let batch =
                    Batch::new(device, Dtype::F32, std::slice::from_ref(operator), [true; 2], rng);
                read(&batch.tridiagonal().resolvent_diagonal().unwrap().diagonal)
            };
            let plain = run(&operator, &mut rng);
            let with = |change: &dyn Fn(Complex64) -> Complex64| Operator {
                a: operator.a.iter().map(|v| change(*v)).collect(),
                b: operator.b.iter().map(|v| change(*v)).collect(),
                c: operator.c.iter().map(|v| change(*v)).collect(),
                z: change(operator.z),
            };
            let what = format!("{device} {n} seed {}", rng.seed);
            let conjugate = run(&with(&|v| v.conj()), &mut rng);
            let expected: Vec<Complex64> = plain.iter().map(Complex64::conj).collect();
            assert_eq!(conjugate, expected, "{what}: conjugation is exact");
            for power in [-20, 7, 20] {
                let s = 2.0_f64.powi(power);
                let scaled = run(&with(&|v| v * s), &mut rng);
                let expected: Vec<Complex64> = plain.iter().map(|v| v / s).collect();
                assert_eq!(scaled, expected, "{what}: scaling by a power of two is exact");
            }
            let shift = Complex64::new(0.5, -0.25);
            let mut moved = operator.clone();
            moved.a.iter_mut().for_each(|v| *v += shift);
            moved.z += shift;
            let error = relative_max(&run(&moved, &mut rng), &plain);
            assert!(error < NEGATIVE[0], "{what}: translation, {error:e}");
        }
    }
}

#[test]
fn a_batch_has_the_bits_of_its_sequences() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (rows, n) in [(5, 3), (9, 37), (3, 1000), (2, 9000)] {
            let batch = Batch::of(device, Dtype::F32, Source::Complex, rows, n, &mut rng);
            for operators in [batch.tridiagonal(), batch.tridiagonal().serially()] {
                let run = || {
                    let diagonal = operators.resolvent_diagonal().unwrap().diagonal;
                    let g = operators.resolvent_diagonal_vjp(&batch.g).unwrap();
                    values(&[&diagonal, &g.a, &g.b, &g.c.unwrap(), &g.z])
                };
                assert_eq!(run(), run(), "{device} {rows}x{n}: the same bits twice");
            }
            let operators = batch.tridiagonal();
            let diagonal = operators.resolvent_diagonal().unwrap().diagonal;
            let gradients = operators.resolvent_diagonal_vjp(&batch.g).unwrap();
            let whole = values(&[
                &diagonal,
                &gradients.a,
                &gradients.b,
                gradients.c.as_ref().unwrap(),
                &gradients.z,
            ]);
            for r in 0..rows {
                let one = |t: &Tensor| t.narrowed(0, r, 1).unwrap();
                let [a, b, c, z, g] = [&batch.a, &batch.b, &batch.c, &batch.z, &batch.g].map(one);
                let diagonal = resolvent_diagonal(&a, &b, &c, &z).unwrap().diagonal;
                let found = resolvent_diagonal_vjp(&a, &b, &c, &z, &g).unwrap();
                let alone =
                    values(&[&diagonal, &found.a, &found.b, found.c.as_ref().unwrap(), &found.z]);
                for (whole, alone) in whole.iter().zip(&alone) {
                    let len = whole.len() / rows;
                    assert_eq!(
                        &whole[r * len..(r + 1) * len],
                        alone,
                        "{device} {rows}x{n}, row {r}"
                    );
                }
            }
        }
    }
}

#[test]
fn any_strides() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let (rows, n) = (4, 50);
        let batch = Batch::of(device, Dtype::F32, Source::ComplexBeside, rows, n, &mut rng);
        let expected = batch.tridiagonal().resolvent_diagonal().unwrap().diagonal;
        let turned = |t: &Tensor| {
            let (rows, len) = (t.shape()[0], t.shape()[1]);
            let old = read(t);
            let moved: Vec<Complex64> =
                (0..rows * len).map(|i| old[(i % rows) * len + i / rows]).collect();
            let (t, _) = tensor(device, &moved, Dtype::F32, t.is_complex(), &[len, rows]).unwrap();
            t.permuted(&[1, 0]).unwrap()
        };
        let [a, b, c, g] = [&batch.a, &batch.b, &batch.c, &batch.g].map(turned);
        let out = nan_filled(device, Dtype::F32, true, &[n, rows]).unwrap();
        let mut out = out.permuted(&[1, 0]).unwrap();
        let operators = Tridiagonal::new(&a, &b, &c, &batch.z);
        operators.resolvent_diagonal_into(&mut out).unwrap();
        assert_eq!(read(&out), read(&expected), "{device}");
        let expected = batch.tridiagonal().resolvent_diagonal_vjp(&batch.g).unwrap();
        let found = operators.resolvent_diagonal_vjp(&g).unwrap();
        assert_eq!(values(&[&found.a, &found.b]), values(&[&expected.a, &expected.b]), "{device}");
    }
}

#[test]
fn bad_input_is_an_error() {
    for device in devices() {
        let zeros = |shape: &[usize]| {
            let len = shape.iter().product();
            Tensor::from_slice(device, &vec![0.0_f32; len], shape).unwrap()
        };
        let shift = |shape: &[usize]| {
            let len = shape.iter().product();
            Tensor::from_slice(device, &vec![Complex32::I; len], shape).unwrap()
        };
        let (a, b, z) = (zeros(&[2, 8]), zeros(&[2, 7]), shift(&[2]));
        let run =
            |a: &Tensor, b: &Tensor, c: &Tensor, z: &Tensor| resolvent_diagonal(a, b, c, z).err();
        assert!(run(&a, &b, &b, &z).is_none());
        let shape = |found: Option<Error>, named: &str| {
            assert!(
                matches!(&found, Some(Error::Shape { argument, .. }) if *argument == named),
                "{found:?} should be about {named}"
            );
        };
        shape(run(&a, &zeros(&[2, 8]), &b, &z), "b");
        shape(run(&a, &b, &zeros(&[2, 6]), &z), "c");
        shape(run(&a, &b, &zeros(&[7]), &z), "c");
        shape(run(&a, &b, &b, &shift(&[3])), "z");
        shape(run(&a, &b, &b, &shift(&[2, 1])), "z");
        shape(run(&zeros(&[3, 8]), &b, &b, &z), "b");
        let p = zeros(&[2, 5]);
        shape(Tridiagonal::of_products(&a, &p, &z).resolvent_diagonal().err(), "p");
        let g = shift(&[2, 7]);
        shape(resolvent_diagonal_vjp(&a, &b, &b, &z, &g).err(), "g");
        assert!(matches!(
            run(&zeros(&[2, 0]), &b, &b, &z),
            Some(Error::Length { .. } | Error::Shape { .. })
        ));
        assert!(matches!(run(&zeros(&[]), &b, &b, &z), Some(Error::Axis { .. })));
        assert!(matches!(run(&a, &b, &b, &zeros(&[2])), Some(Error::Dtype { .. })));
        assert!(matches!(run(&a, &b, &shift(&[2, 7]), &z), Some(Error::Dtype { .. })));
        assert!(matches!(
            resolvent_diagonal_vjp(&a, &b, &b, &z, &zeros(&[2, 8])).err(),
            Some(Error::Dtype { .. })
        ));
        if has(device, Dtype::F16) {
            let half =
                |shape: &[usize], complex| nan_filled(device, Dtype::F16, complex, shape).unwrap();
            let (a, b, z) = (half(&[2, 8], false), half(&[2, 7], false), half(&[2], true));
            assert!(matches!(run(&a, &b, &b, &z), Some(Error::Dtype { .. })));
            assert!(matches!(run(&zeros(&[2, 8]), &b, &b, &z), Some(Error::Dtype { .. })));
        }
        // The output may not lie on an operand.
        let complex = shift(&[2, 8]);
        let mut same = complex.clone();
        let operators = Tridiagonal::new(&complex, &b, &b, &z);
        assert!(matches!(operators.resolvent_diagonal_into(&mut same), Err(Error::Overlap { .. })));
        // Nothing to do is no error.
        let empty =
            resolvent_diagonal(&zeros(&[0, 8]), &zeros(&[1, 7]), &zeros(&[0, 7]), &shift(&[0]))
                .unwrap();
        assert_eq!(empty.diagonal.shape(), [0, 8]);
        assert!(empty.pivots.read().unwrap().is_empty());
    }
}

fn problem(rows: usize, n: usize) -> TridiagProblem {
    let full = Layout::contiguous(&[rows, n]);
    TridiagProblem {
        op: "test",
        task: Task::Diagonal,
        a: full.clone(),
        off_diagonals: OffDiagonals::Product(Layout::contiguous(&[1, n.saturating_sub(1)])),
        z: Layout::contiguous(&[rows]),
        diagonal: full,
        dtype: Dtype::F32,
        complex: [false, false],
        strategy: Strategy::Auto,
    }
}

#[test]
fn plans_fit_their_device() {
    let tiny = Limits { units_per_cube: 6, shared_bytes: 1000, ..Limits::LAVAPIPE };
    for limits in [Limits::LAVAPIPE, Limits::HOPPER, tiny, Limits::cpu(4)] {
        for (rows, n) in [(1, 1), (3, 8), (1000, 9), (16, 4096), (2, 4097), (1, 1 << 20)] {
            for dtype in [Dtype::F32, Dtype::F64] {
                let plan = TridiagPlan::new(&TridiagProblem { dtype, ..problem(rows, n) }, &limits)
                    .unwrap();
                assert!(plan.units <= limits.units_per_cube, "{}", plan.describe());
                assert!(plan.carry.units <= limits.units_per_cube);
                assert!(plan.carry.shared_bytes() <= limits.shared_bytes);
                let serial = limits.serial || (limits.emulated && rows >= 16);
                assert!(plan.tiles * plan.tile.units * plan.tile.elements >= n || serial);
                if plan.algorithm == Algorithm::Chunked {
                    assert!(plan.tile.shared_bytes() <= limits.shared_bytes, "{}", plan.describe());
                }
                assert_eq!(plan.algorithm == Algorithm::Serial, serial);
            }
        }
    }
    let one_launch = TridiagPlan::new(&problem(16, 4096), &Limits::HOPPER).unwrap();
    assert!(one_launch.describe().contains("1 launch"), "{}", one_launch.describe());
    // Operands a + z + the diagonal, and one shared set of products.
    assert_eq!(one_launch.floor_bytes, 4 * (16 * 4096 * 3 + 4095 + 2 * 16));
}

#[test]
fn plans_reject_what_they_cannot_do() {
    let with = |change: &dyn Fn(&mut TridiagProblem)| {
        let mut problem = problem(4, 100);
        change(&mut problem);
        TridiagPlan::new(&problem, &Limits::LAVAPIPE).err()
    };
    assert!(with(&|_| {}).is_none());
    let zero = |p: &mut TridiagProblem| {
        p.diagonal = Layout::contiguous(&[4, 0]);
        p.a = p.diagonal.clone();
    };
    assert!(matches!(with(&zero), Some(Error::Length { .. })));
    let twice =
        |p: &mut TridiagProblem| p.diagonal = Layout::strided(&[4, 100], &[0, 1], 0).unwrap();
    assert!(matches!(with(&twice), Some(Error::Strides { .. })));
    assert!(matches!(with(&|p| p.dtype = Dtype::F16), Some(Error::Dtype { .. })));
    assert!(matches!(with(&|p| p.z = Layout::contiguous(&[5])), Some(Error::Shape { .. })));
    let huge = problem(1, 1 << 40);
    assert!(matches!(
        TridiagPlan::new(&huge, &Limits::LAVAPIPE),
        Err(Error::Limit { .. } | Error::Length { .. })
    ));
}
