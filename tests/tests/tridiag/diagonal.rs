//! Diagonals and their gradients against the dense inverse and the serial ratio form in `f64`, and
//! identities.

use wavecube::{Complex64, Dtype};
use wavecube_testing::{Rng, devices, has, read, reference::tridiag::Operator};

use super::{
    Batch, CHUNKED, DOUBLE, I, MODEL, NEGATIVE, SERIAL, Source, check, real, relative_max,
    sensitivity,
};

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
    let sources = [
        Source::Model { eta: 0.1 },
        Source::Model { eta: 0.01 },
        Source::Model { eta: 0.001 },
        Source::Negative { eta: 1.0 },
        Source::Negative { eta: 0.1 },
        Source::ComplexBeside,
        Source::Complex,
        Source::Dominant,
    ];
    for device in devices() {
        let mut rng = Rng::fresh();
        for source in sources {
            let batch = Batch::of(device, Dtype::F32, source, 2, 2048, &mut rng);
            let moved =
                sensitivity(&batch, &mut rng, |o, g| (o.diagonal_serial(), o.gradients_serial(g)));
            let what = format!("{device} {source:?} seed {}", rng.seed);
            let allowed = |factor: f64| moved.map(|moved| factor * moved);
            check(&what, &batch, &batch.tridiagonal(), false, allowed(CHUNKED));
            let serially = batch.tridiagonal().serially();
            check(&format!("{what} serial"), &batch, &serially, false, allowed(SERIAL));
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
