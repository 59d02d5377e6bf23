//! Sequences of a batch keep to themselves, wherever their elements lie.

use wavecube::{Complex64, Dtype, Tensor, Tridiagonal, resolvent_diagonal, resolvent_diagonal_vjp};
use wavecube_testing::{Rng, devices, nan_filled, read, reference::tridiag::Operator, tensor};

use super::{Batch, Source, real};

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

fn values(tensors: &[&Tensor]) -> Vec<Vec<Complex64>> {
    tensors.iter().map(|t| read(t)).collect()
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
