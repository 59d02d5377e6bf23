//! Solutions and their gradients against the dense inverse and elimination in `f64`.

use wavecube::{Complex32, Complex64, Dtype, Error, Tensor, Tridiagonal};
use wavecube_testing::{
    Rng, devices, has, nan_filled, read,
    reference::tridiag::{Gradients, Operator},
    rounded, tensor,
};

use super::{
    Batch, CHUNKED, DOUBLE, Gates, MODEL, NEGATIVE, SERIAL, Source, assert_near, check_gradients,
    check_reference, check_shifts, difference, real, relative_max, sensitivity,
};

/// Four times the gates of the diagonal: `x_k = G_k (r_k + X_k + Y_k)`, of which each factor has about the
/// error of `G` and the sum a few roundings more; gradients are products of two such.
fn gates(of: Gates) -> Gates {
    of.map(|gate| 4.0 * gate)
}

/// Solves for the batch's `g` and compares the solution, its residual and its gradients with the truth.
fn check(what: &str, batch: &Batch, operators: &Tridiagonal, dense: bool, gates: Gates) {
    let (device, dtype, n) = (batch.a.device(), batch.a.dtype(), batch.n);
    let mut rng = Rng::fresh();
    let (g, gs) =
        tensor(device, &rng.complex(batch.gs.len()), dtype, true, batch.a.shape()).unwrap();
    let rights = &batch.gs;
    // What was not written would be found in memory just given back.
    drop(nan_filled(device, dtype, true, batch.a.shape()).unwrap());
    let solution = operators.solve(&batch.g).unwrap();
    let found = operators.solve_vjp(&solution.x, &g).unwrap();
    let mut x = Vec::new();
    let (mut lambda, mut gradients): (Vec<Complex64>, Vec<Gradients>) = Default::default();
    for ((operator, r), g) in batch.exact.iter().zip(rights.chunks(n)).zip(gs.chunks(n)) {
        x.extend(if dense { operator.solve_dense(r) } else { operator.solve_serial(r) });
        let (by_operator, by_r) = operator.solve_gradients(r, g, dense);
        gradients.push(by_operator);
        lambda.extend(by_r);
    }
    assert_near(&format!("{what}: x"), &read(&solution.x), &x, gates[0]);
    assert_near(&format!("{what}: ∂r"), &read(&found.r), &lambda, gates[0]);
    check_gradients(what, batch, &found.operators, &gradients, gates);
    check_shifts(what, &found.operators, &gradients, gates[1]);
    assert!(
        solution.pivots.read().unwrap().iter().all(Option::is_none),
        "{what}: no pivot vanishes"
    );
}

#[test]
fn short_sequences_against_the_dense_inverse() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in (1..=17).chain([40, 129]) {
            let rows = rng.int(1, 3);
            let what = format!("{device} {rows}x{n} seed {}", rng.seed);
            let source = if n % 2 == 0 { Source::Complex } else { Source::Model { eta: 1.0 } };
            let batch = Batch::of(device, Dtype::F32, source, rows, n, &mut rng);
            check(&what, &batch, &batch.tridiagonal(), true, gates(source.gates()));
            if n % 8 == 1 {
                let serially = batch.tridiagonal().serially();
                check(&format!("{what} serial"), &batch, &serially, true, gates(source.gates()));
            }
        }
    }
}

#[test]
fn long_sequences_against_elimination() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (rows, n) in [(3, 4096), (2, 4097), (17, 700), (1, 70_000)] {
            let what = format!("{device} {rows}x{n} seed {}", rng.seed);
            let source = Source::Model { eta: 1.0 };
            let batch = Batch::of(device, Dtype::F32, source, rows, n, &mut rng);
            check(&what, &batch, &batch.tridiagonal(), false, gates(MODEL));
            let serially = batch.tridiagonal().serially();
            check(&format!("{what} serial"), &batch, &serially, false, gates(MODEL));
        }
    }
}

#[test]
fn distributions_far_from_the_easy_one() {
    let sources = [
        Source::Model { eta: 0.1 },
        Source::Model { eta: 0.01 },
        Source::Negative { eta: 0.1 },
        Source::Complex,
        Source::Dominant,
    ];
    for device in devices() {
        let mut rng = Rng::fresh();
        for source in sources {
            let batch = Batch::of(device, Dtype::F32, source, 2, 2048, &mut rng);
            let moved = sensitivity(&batch, &mut rng, |operator, r| {
                let g: Vec<Complex64> = r.iter().rev().copied().collect();
                (operator.solve_serial(r), operator.solve_gradients(r, &g, false).0)
            });
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
        for (source, n) in
            [(Source::Model { eta: 1.0 }, 200), (Source::Complex, 5000), (Source::Dominant, 1000)]
        {
            let what = format!("{device} {source:?} {n} seed {}", rng.seed);
            let batch = Batch::of(device, Dtype::F64, source, 2, n, &mut rng);
            check(&what, &batch, &batch.tridiagonal(), n < 500, gates(DOUBLE));
            let serially = batch.tridiagonal().serially();
            check(&format!("{what} serial"), &batch, &serially, n < 500, gates(DOUBLE));
        }
    }
}

/// The residual knows no reference but the product with `T`.
#[test]
fn the_operator_takes_the_solution_to_the_right_side() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [5, 40, 6000] {
            let batch = Batch::of(device, Dtype::F32, Source::Complex, 1, n, &mut rng);
            let x = read(&batch.tridiagonal().solve(&batch.g).unwrap().x);
            let error = relative_max(&batch.exact[0].times(&x), &batch.gs);
            assert!(error < 4.0 * NEGATIVE[0], "{device} {n}: {error:e}, seed {}", rng.seed);
        }
    }
}

#[test]
fn the_reference_agrees_with_finite_differences() {
    let mut rng = Rng::fresh();
    let operator = Source::Complex.operator(&mut rng, 7);
    let (r, g) = (rng.complex(7), rng.complex(7));
    let product = |x: &[Complex64]| x.iter().zip(&g).map(|(x, g)| (g.conj() * x).re).sum::<f64>();
    for dense in [true, false] {
        let (gradients, by_r) = operator.solve_gradients(&r, &g, dense);
        let loss = |o: &Operator| product(&o.solve_dense(&r));
        check_reference(&operator, &gradients, &loss, rng.seed);
        for k in 0..7 {
            let loss = |r: &Vec<Complex64>| product(&operator.solve_dense(r));
            let expected = difference(&r, &loss, &|r, step| r[k] += step);
            assert!((by_r[k] - expected).norm() < 1e-8, "r[{k}], seed {}", rng.seed);
        }
    }
}

#[test]
fn right_sides_share_operators_and_lie_anywhere() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [40, 5000] {
            let what = format!("{device} {n} seed {}", rng.seed);
            let one = Batch::of(device, Dtype::F32, Source::ComplexBeside, 1, n, &mut rng);
            // Three right sides of one operator, element by element.
            let values = rounded(&rng.complex(3 * n), Dtype::F32);
            let turned: Vec<Complex64> = (0..3 * n).map(|i| values[i % 3 * n + i / 3]).collect();
            let (r, _) = tensor(device, &turned, Dtype::F32, true, &[n, 3]).unwrap();
            let r = r.permuted(&[1, 0]).unwrap();
            let solution = one.tridiagonal().solve(&r).unwrap();
            let expected: Vec<Complex64> =
                values.chunks(n).flat_map(|r| one.exact[0].solve_serial(r)).collect();
            assert_near(&what, &read(&solution.x), &expected, 4.0 * MODEL[0]);
            // The operator's gradients are sums over them.
            let (g, gs) = tensor(device, &rng.complex(3 * n), Dtype::F32, true, &[3, n]).unwrap();
            let found = one.tridiagonal().solve_vjp(&solution.x, &g).unwrap();
            let mut sum = vec![Complex64::ZERO; n - 1];
            for (r, g) in values.chunks(n).zip(gs.chunks(n)) {
                let (gradients, _) = one.exact[0].solve_gradients(r, g, false);
                sum.iter_mut().zip(&gradients.b).for_each(|(sum, b)| *sum += b);
            }
            assert_eq!(found.operators.b.shape(), [1, n - 1]);
            assert_near(&format!("{what}: ∂b"), &read(&found.operators.b), &sum, 8.0 * MODEL[1]);
        }
    }
}

#[test]
fn a_batch_has_the_bits_of_its_sequences() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (rows, n) in [(9, 37), (2, 6000)] {
            let batch = Batch::of(device, Dtype::F32, Source::Complex, rows, n, &mut rng);
            let run = |operators: &Tridiagonal, g: &Tensor| {
                let x = operators.solve(g).unwrap().x;
                let found = operators.solve_vjp(&x, g).unwrap();
                [&x, &found.r, &found.operators.a, &found.operators.z].map(read)
            };
            let whole = run(&batch.tridiagonal(), &batch.g);
            assert_eq!(whole, run(&batch.tridiagonal(), &batch.g), "{device}: the same bits twice");
            for row in 0..rows {
                let one = |t: &Tensor| t.narrowed(0, row, 1).unwrap();
                let [a, b, c, z, g] = [&batch.a, &batch.b, &batch.c, &batch.z, &batch.g].map(one);
                let alone = run(&Tridiagonal::new(&a, &b, &c, &z), &g);
                for (whole, alone) in whole.iter().zip(&alone) {
                    let len = alone.len();
                    assert_eq!(&whole[row * len..][..len], alone, "{device} {rows}x{n}, row {row}");
                }
            }
        }
    }
}

#[test]
fn what_breaks_down_stays_in_its_sequence() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [40, 6000] {
            let mut operators: Vec<Operator> =
                (0..3).map(|_| Source::Model { eta: 1.0 }.operator(&mut rng, n)).collect();
            let clean = Batch::new(device, Dtype::F32, &operators, [false, false], &mut rng);
            // Nothing beside element n/2, which is on the spectrum.
            let k = n / 2;
            operators[1].b[k - 1] = real(0.0);
            operators[1].b[k] = real(0.0);
            operators[1].a[k] = real(0.25);
            operators[1].z = real(0.25);
            let dirty = Batch::new(device, Dtype::F32, &operators, [false, false], &mut rng);
            let before = clean.tridiagonal().solve(&clean.g).unwrap();
            let after = dirty.tridiagonal().solve(&clean.g).unwrap();
            let (x, y) = (read(&before.x), read(&after.x));
            assert_eq!((&x[..n], &x[2 * n..]), (&y[..n], &y[2 * n..]), "{device} {n}");
            assert!(!y[n + k].is_finite(), "{device} {n}: not clamped");
            let pivots = after.pivots.read().unwrap();
            assert_eq!((pivots[0], pivots[2]), (None, None), "{device} {n}");
            assert!(pivots[1].is_some_and(|at| at <= k), "{device} {n}: {pivots:?}");
        }
    }
}

#[test]
fn bad_input_is_an_error() {
    for device in devices() {
        let ones = |shape: &[usize]| {
            let len = shape.iter().product();
            Tensor::from_slice(device, &vec![1.0_f32; len], shape).unwrap()
        };
        let complex = |shape: &[usize]| {
            let len = shape.iter().product();
            Tensor::from_slice(device, &vec![Complex32::I; len], shape).unwrap()
        };
        let (a, b, z, r) = (ones(&[2, 8]), ones(&[2, 7]), complex(&[2]), complex(&[2, 8]));
        let operators = Tridiagonal::new(&a, &b, &b, &z);
        let shape = |found: Option<Error>, named: &str| {
            assert!(
                matches!(&found, Some(Error::Shape { argument, .. }) if *argument == named),
                "{found:?} should be about {named}"
            );
        };
        assert!(operators.solve(&r).is_ok());
        shape(operators.solve(&complex(&[2, 7])).err(), "r");
        shape(operators.solve(&complex(&[8])).err(), "r");
        shape(operators.solve_vjp(&complex(&[1, 8]), &r).err(), "x");
        shape(operators.solve_vjp(&r, &complex(&[3, 8])).err(), "g");
        shape(Tridiagonal::new(&a, &ones(&[2, 8]), &b, &z).solve(&r).err(), "b");
        assert!(matches!(operators.solve(&a), Err(Error::Dtype { argument: "r", .. })));
        let products = Tridiagonal::of_products(&a, &b, &z);
        let refused = [products.solve(&r).err(), products.solve_vjp(&r, &r).err()];
        for error in refused {
            assert!(matches!(error, Some(Error::Unsupported { argument: "p", .. })), "{error:?}");
        }
        let empty =
            Tridiagonal::new(&ones(&[0, 8]), &ones(&[1, 7]), &ones(&[0, 7]), &complex(&[0]));
        assert_eq!(empty.solve(&complex(&[0, 8])).unwrap().x.shape(), [0, 8]);
        let found = empty.solve_vjp(&complex(&[0, 8]), &complex(&[0, 8])).unwrap();
        assert_eq!(found.operators.b.read::<f32>().unwrap(), [0.0; 7], "a sum of nothing");
    }
}
