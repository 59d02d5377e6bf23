//! Elimination with row interchanges against the dense inverse in `f64`.

use wavecube::{Complex64, Device, Dtype, Error, Pivoting, Tensor, Tridiagonal};
use wavecube_testing::{Rng, devices, has, read, reference::tridiag::Operator, rounded, tensor};

use super::{Batch, Source, assert_near, check_gradients, check_shifts, real, relative_max};

/// A backward stable solution is off by the condition times a few roundings a row.
fn gate(operator: &Operator, dtype: Dtype) -> f64 {
    let inverse = operator.inverse();
    let norm = |rows: &[Vec<Complex64>]| {
        rows.iter().map(|row| row.iter().map(|v| v.norm()).sum::<f64>()).fold(0.0, f64::max)
    };
    let n = operator.a.len();
    let rows: Vec<Vec<Complex64>> = (0..n)
        .map(|k| {
            let mut row = vec![operator.a[k] - operator.z];
            row.extend((k > 0).then(|| operator.c[k - 1]));
            row.extend((k + 1 < n).then(|| operator.b[k]));
            row
        })
        .collect();
    8.0 * dtype.epsilon() * norm(&inverse) * norm(&rows)
}

/// Operators whose leading and trailing blocks are singular here and there, which the recursions cannot do.
fn singular_blocks(rng: &mut Rng, n: usize) -> Operator {
    let mut operator = Source::Complex.operator(rng, n);
    operator.z = Complex64::ZERO;
    for k in 0..n {
        if rng.uniform(0.0, 1.0) < 0.4 {
            operator.a[k] = Complex64::ZERO;
        }
    }
    // The first and the last element vanish; of three elements that would leave none to exchange with.
    operator.a[0] = Complex64::ZERO;
    if n != 3 {
        operator.a[n - 1] = Complex64::ZERO;
    }
    operator
}

/// The reference needs an inverse; numbers near a singular one say nothing.
fn invertible(rng: &mut Rng, n: usize) -> Operator {
    loop {
        let operator = singular_blocks(rng, n);
        // Of an odd chain with little on its diagonal the determinant may be 0.
        let moved = Operator {
            a: operator.a.iter().map(|a| a + Complex64::new(1e-9, 1e-9)).collect(),
            ..operator.clone()
        };
        if gate(&moved, Dtype::F32) < 1e-2 {
            return operator;
        }
    }
}

fn check(device: &Device, dtype: Dtype, operators: &[Operator], what: &str, rng: &mut Rng) {
    let batch = Batch::new(device, dtype, operators, [true, true], rng);
    let n = batch.n;
    let gates: Vec<f64> = batch.exact.iter().map(|o| gate(o, dtype)).collect();
    let gate = gates.iter().copied().fold(0.0, f64::max);
    let pivoted = batch.tridiagonal().pivoting(Pivoting::Partial);
    let solution = pivoted.solve(&batch.g).unwrap();
    let pairs = batch.exact.iter().zip(batch.gs.chunks(n));
    let x: Vec<_> = pairs.clone().flat_map(|(o, r)| o.solve_dense(r)).collect();
    assert_near(&format!("{what}: x"), &read(&solution.x), &x, gate);
    assert!(solution.pivots.read().unwrap().iter().all(Option::is_none), "{what}");
    let (g, gs) = tensor(device, &rng.complex(x.len()), dtype, true, batch.a.shape()).unwrap();
    let exact: Vec<_> =
        pairs.zip(gs.chunks(n)).map(|((o, r), g)| o.solve_gradients(r, g, true)).collect();
    let lambda: Vec<_> = exact.iter().flat_map(|(_, r)| r.clone()).collect();
    let gradients: Vec<_> = exact.into_iter().map(|(gradients, _)| gradients).collect();
    for found in [
        pivoted.solve_vjp(&solution.x, &g).unwrap(),
        batch.tridiagonal().factor().unwrap().solve_vjp(&solution.x, &g).unwrap(),
    ] {
        assert_near(&format!("{what}: ∂r"), &read(&found.r), &lambda, gate);
        check_gradients(what, &batch, &found.operators, &gradients, [4.0 * gate; 3]);
        check_shifts(what, &found.operators, &gradients, 4.0 * gate);
    }
}

#[test]
fn singular_blocks_against_the_dense_inverse() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [2, 3, 4, 5, 8, 17, 40, 129] {
            for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
                let what = format!("{device} {dtype} {n} seed {}", rng.seed);
                let operators: Vec<_> = (0..3).map(|_| invertible(&mut rng, n)).collect();
                check(device, dtype, &operators, &what, &mut rng);
            }
        }
    }
}

#[test]
fn all_ones() {
    for device in devices() {
        for n in [1, 3, 4, 6, 7, 1000, 17_001, 33_001] {
            let ones = |len| Tensor::from_slice(device, &vec![1.0_f32; len], &[len]).unwrap();
            let zero = tensor(device, &[Complex64::ZERO], Dtype::F32, true, &[]).unwrap().0;
            let (a, b) = (ones(n), ones(n - 1));
            let operators = Tridiagonal::new(&a, &b, &b, &zero);
            let exact: Vec<_> = (0..n).map(|k| real((k % 7) as f64 - 3.0)).collect();
            let whole = Operator {
                a: vec![real(1.0); n],
                b: vec![real(1.0); n - 1],
                c: vec![real(1.0); n - 1],
                z: Complex64::ZERO,
            };
            let (r, _) = tensor(device, &whole.times(&exact), Dtype::F32, true, &[n]).unwrap();
            let found = operators.pivoting(Pivoting::Partial).solve(&r).unwrap();
            assert_eq!(found.pivots.read().unwrap(), [None], "{device} {n}");
            // All numbers on the way are small whole ones.
            assert!(relative_max(&read(&found.x), &exact) < 1e-5, "{device} {n}");
            // λ for the same right side: the operator is symmetric.
            let found = operators.factor().unwrap().solve_vjp(&r, &r).unwrap().r;
            assert!(relative_max(&read(&found), &exact) < 1e-5, "{device} {n}: transposed");
        }
        // The determinant of n ones is 0 for n = 2, 5, 8, …
        for n in [2, 5, 8, 17_000 + 3] {
            let ones = |len| Tensor::from_slice(device, &vec![1.0_f32; len], &[len]).unwrap();
            let zero = tensor(device, &[Complex64::ZERO], Dtype::F32, true, &[]).unwrap().0;
            let (a, b) = (ones(n), ones(n - 1));
            assert_eq!(n % 3, 2);
            let factors = Tridiagonal::new(&a, &b, &b, &zero).factor().unwrap();
            assert_eq!(factors.pivots().read().unwrap(), [Some(n - 1)], "{device} {n}");
        }
    }
}

#[test]
fn every_scale() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (dtype, scales) in
            [(Dtype::F32, [-100, -60, 60, 100]), (Dtype::F64, [-900, -500, 500, 900])]
        {
            if !has(device, dtype) {
                continue;
            }
            for n in [4, 40, 300] {
                let operator = invertible(&mut rng, n);
                let scaled = |values: &[Complex64], s: i32| -> Vec<Complex64> {
                    values.iter().map(|v| v * 2.0_f64.powi(s)).collect()
                };
                let right = rounded(&rng.complex(n), dtype);
                let run = |s: i32| {
                    let up = |values: &[Complex64]| {
                        let values = scaled(&rounded(values, dtype), s);
                        tensor(device, &values, dtype, true, &[values.len()]).unwrap().0
                    };
                    let zero = tensor(device, &[Complex64::ZERO], dtype, true, &[]).unwrap().0;
                    let (a, b, c) = (up(&operator.a), up(&operator.b), up(&operator.c));
                    let factors = Tridiagonal::new(&a, &b, &c, &zero).factor().unwrap();
                    read(&factors.solve(&up(&right)).unwrap().x)
                };
                let plain = run(0);
                for s in scales {
                    assert_eq!(run(s), plain, "{device} {dtype} {n} 2^{s} seed {}", rng.seed);
                }
            }
        }
    }
}

#[test]
fn one_factorisation_serves_many_right_sides() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let (rows, n) = (3, 50);
        let operators: Vec<_> = (0..rows).map(|_| invertible(&mut rng, n)).collect();
        let batch = Batch::new(device, Dtype::F32, &operators, [true, true], &mut rng);
        let one = |t: &Tensor, shape: &[usize]| {
            let layout = wavecube::Layout::contiguous(shape);
            Tensor::from_handle(device, t.handle().clone(), t.dtype(), t.is_complex(), layout)
                .unwrap()
        };
        let a = one(&batch.a, &[1, rows, n]);
        let [b, c] = [&batch.b, &batch.c].map(|t| one(t, &[1, rows, n - 1]));
        let z = one(&batch.z, &[1, rows]);
        let factors = Tridiagonal::new(&a, &b, &c, &z).factor().unwrap();
        // Two right sides of each operator, element by element in memory.
        let values = rounded(&rng.complex(2 * rows * n), Dtype::F32);
        let lines = 2 * rows;
        let turned: Vec<_> = (0..lines * n).map(|i| values[i % lines * n + i / lines]).collect();
        let (r, _) = tensor(device, &turned, Dtype::F32, true, &[n, 2, rows]).unwrap();
        let r = r.permuted(&[1, 2, 0]).unwrap();
        let x = read(&factors.solve(&r).unwrap().x);
        for (line, (x, r)) in x.chunks(n).zip(values.chunks(n)).enumerate() {
            let operator = &batch.exact[line % rows];
            let gate = gate(operator, Dtype::F32);
            let what = format!("{device} line {line} seed {}", rng.seed);
            assert_near(&what, x, &operator.solve_dense(r), gate);
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_sequence() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let n = 30;
        let mut operators: Vec<_> = (0..3).map(|_| invertible(&mut rng, n)).collect();
        let clean = Batch::new(device, Dtype::F32, &operators, [true, true], &mut rng);
        let before = clean.tridiagonal().factor().unwrap().solve(&clean.g).unwrap();
        for bad in [f64::NAN, f64::INFINITY] {
            operators[1].a[12] = real(bad);
            let dirty = Batch::new(device, Dtype::F32, &operators, [true, true], &mut rng);
            let after = dirty.tridiagonal().factor().unwrap().solve(&clean.g).unwrap();
            let (x, y) = (read(&before.x), read(&after.x));
            assert_eq!((&x[..n], &x[2 * n..]), (&y[..n], &y[2 * n..]), "{device} {bad}");
            let pivots = after.pivots.read().unwrap();
            assert_eq!((pivots[0], pivots[2]), (None, None), "{device} {bad}");
            assert!(pivots[1].is_some(), "{device} {bad}: {pivots:?}");
        }
        // A right side has no pivot, and its result is reported all the same.
        let mut right = clean.gs.clone();
        right[n + 7] = real(f64::NAN);
        let (r, _) = tensor(device, &right, Dtype::F32, true, &[3, n]).unwrap();
        let pivots = clean.tridiagonal().factor().unwrap().solve(&r).unwrap().pivots;
        let pivots = pivots.read().unwrap();
        assert_eq!((pivots[0], pivots[2]), (None, None), "{device}");
        assert!(pivots[1].is_some(), "{device}: {pivots:?}");
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
            tensor(device, &vec![Complex64::I; shape.iter().product()], Dtype::F32, true, shape)
                .unwrap()
                .0
        };
        let (a, b, z) = (ones(&[2, 8]), ones(&[2, 7]), complex(&[2]));
        let factors = Tridiagonal::new(&a, &b, &b, &z).factor().unwrap();
        let shape = |found: Option<Error>, named: &str| {
            assert!(
                matches!(&found, Some(Error::Shape { argument, .. }) if *argument == named),
                "{found:?} should be about {named}"
            );
        };
        assert!(factors.solve(&complex(&[2, 8])).is_ok());
        shape(factors.solve(&complex(&[2, 7])).err(), "r");
        shape(factors.solve(&complex(&[3, 8])).err(), "r");
        shape(factors.solve_vjp(&complex(&[1, 8]), &complex(&[2, 8])).err(), "x");
        shape(factors.solve_vjp(&complex(&[2, 8]), &complex(&[3, 8])).err(), "g");
        assert!(matches!(factors.solve(&a), Err(Error::Dtype { argument: "r", .. })));
        let products = Tridiagonal::of_products(&a, &b, &z);
        for error in [
            products.factor().err(),
            products.pivoting(Pivoting::Partial).solve(&complex(&[2, 8])).err(),
        ] {
            assert!(matches!(error, Some(Error::Unsupported { argument: "p", .. })), "{error:?}");
        }
        let none = Tridiagonal::new(&ones(&[0, 8]), &ones(&[0, 7]), &ones(&[0, 7]), &complex(&[0]));
        let factors = none.factor().unwrap();
        assert!(factors.pivots().read().unwrap().is_empty());
        assert_eq!(factors.solve(&complex(&[0, 8])).unwrap().x.shape(), [0, 8]);
    }
}
