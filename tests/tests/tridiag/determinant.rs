//! Logarithms of determinants and their gradients, against elimination with pivots, sums of logarithms and
//! closed forms in `f64`.

use wavecube::{Complex32, Complex64, Dtype, Error, Layout, Tensor, Tridiagonal};
use wavecube_testing::{Rng, devices, has, read, reference::tridiag::Operator, tensor};

use super::{
    Batch, DOUBLE, Gates, MODEL, NEGATIVE, Source, check_gradients, check_reference, check_shifts,
    real,
};

/// The largest error of a logarithm. Each of `n` steps moves the determinant by a few roundings of their
/// own, which add up as their root; the result is rounded once, and so is the product with ln 2.
fn gate(dtype: Dtype, n: usize, exact: f64) -> f64 {
    dtype.epsilon() * (8.0 * (n as f64).sqrt() + 2.0 * exact.abs())
}

fn check_logarithm(what: &str, batch: &Batch, operators: &Tridiagonal, dense: bool) {
    let found = read(&operators.log_determinant().unwrap());
    assert_eq!(found.len(), batch.exact.len(), "{what}");
    for (row, (found, operator)) in found.iter().zip(&batch.exact).enumerate() {
        let exact = if dense {
            operator.log_determinant_dense()
        } else {
            operator.log_determinant_serial()
        };
        let gate = gate(batch.a.dtype(), batch.n, exact);
        let error = (found.re - exact).abs();
        if std::env::var_os("WAVECUBE_PRINT").is_some() {
            eprintln!("{what}: ln {error:.1e}/{gate:.1e} of {exact:.1e}");
        }
        assert!(
            error <= gate,
            "{what} row {row}: {} is not {exact}: {error:e} > {gate:e}",
            found.re
        );
    }
}

/// The logarithms and their gradients against the truth.
fn check(what: &str, batch: &Batch, operators: &Tridiagonal, dense: bool, gates: Gates) {
    check_logarithm(what, batch, operators, dense);
    let rows = batch.exact.len();
    let (device, dtype) = (batch.a.device(), batch.a.dtype());
    let (g, gs) = tensor(device, &Rng::fresh().real(rows), dtype, false, &[rows]).unwrap();
    let found = operators.log_determinant_vjp(&g).unwrap();
    let expected: Vec<_> = (batch.exact.iter().zip(&gs))
        .map(|(operator, g)| {
            if dense {
                operator.log_determinant_gradients_dense(g.re)
            } else {
                operator.log_determinant_gradients_serial(g.re)
            }
        })
        .collect();
    check_gradients(what, batch, &found, &expected, gates);
    // All terms of a shift's gradient have one sign, and one unit may add them up in order.
    let in_order = 0.25 * dtype.epsilon() * (batch.n as f64).sqrt();
    check_shifts(what, &found, &expected, gates[1].max(in_order));
}

#[test]
fn short_sequences_against_elimination() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in (1..=17).chain([40, 129]) {
            let rows = rng.int(1, 3);
            let source = if n % 2 == 0 { Source::Complex } else { Source::Model { eta: 1.0 } };
            let batch = Batch::of(device, Dtype::F32, source, rows, n, &mut rng);
            let what = format!("{device} {source:?} {rows}x{n} seed {}", rng.seed);
            check(&what, &batch, &batch.tridiagonal(), true, source.gates());
            if n % 8 == 1 {
                let serially = batch.tridiagonal().serially();
                check(&format!("{what} serial"), &batch, &serially, true, source.gates());
            }
        }
    }
}

#[test]
fn long_sequences_against_sums_of_logarithms() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (rows, n, source, gates) in [
            (3, 4096, Source::Model { eta: 1.0 }, MODEL),
            (2, 4097, Source::ComplexBeside, NEGATIVE),
            (17, 700, Source::Negative { eta: 0.1 }, NEGATIVE),
            (1, 50_000, Source::Model { eta: 1.0 }, MODEL),
            (2, 2048, Source::Dominant, NEGATIVE),
        ] {
            let what = format!("{device} {source:?} {rows}x{n} seed {}", rng.seed);
            let batch = Batch::of(device, Dtype::F32, source, rows, n, &mut rng);
            check(&what, &batch, &batch.tridiagonal(), false, gates);
            let serially = batch.tridiagonal().serially();
            check(&format!("{what} serial"), &batch, &serially, false, gates);
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
            check(&what, &batch, &batch.tridiagonal(), n < 500, DOUBLE);
        }
    }
}

#[test]
fn closed_forms() {
    for device in devices() {
        let one = |dtype, operator: Operator| {
            let mut rng = Rng::fresh();
            let complex = [operator.a.iter().any(|a| a.im != 0.0), false];
            let batch = Batch::new(device, dtype, &[operator], complex, &mut rng);
            read(&batch.tridiagonal().log_determinant().unwrap())[0].re
        };
        let constant = |n: usize, d: Complex64, beside: f64| Operator {
            a: vec![d; n],
            b: vec![real(beside); n - 1],
            c: vec![real(1.0); n - 1],
            z: real(0.0),
        };
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            // Beyond the range of the type by far, and every mantissa between 1 and 2.
            for n in [1, 2, 63, 64, 65, 1000, 9000] {
                for size in [1.0, 1.25, 1.5, 1.999, 3.0e5, 1.7e-6] {
                    let exact = n as f64 * f64::ln(f64::from(size as f32));
                    let found = one(dtype, constant(n, real(f64::from(size as f32)), 0.0));
                    let error = (found - exact).abs();
                    let gate = gate(dtype, n, exact);
                    assert!(error <= gate, "{device} {dtype} {size}^{n}: {error:e} > {gate:e}");
                }
            }
            // d = 2 cosh t: the determinant is sinh((n + 1)t)/sinh t.
            let d = Complex64::new(-1.25, -0.75);
            let t = (d * 0.5).acosh();
            let exact = ((t * 31.0).sinh() / t.sinh()).norm().ln();
            let error = (one(dtype, constant(30, d, 1.0)) - exact).abs();
            assert!(error <= gate(dtype, 30, exact), "{device} {dtype}: {error:e}");
        }
    }
}

/// Where recursions end and determinants do not.
#[test]
fn vanishing_pivots_and_singular_operators() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let of = |d: [f64; 2], beside: f64| Operator {
            a: d.map(real).to_vec(),
            b: vec![real(beside)],
            c: vec![real(beside)],
            z: real(0.0),
        };
        let operators = [of([0.0, 0.0], 3.0), of([1.0, 1.0], 1.0), of([f64::NAN, 1.0], 1.0)];
        let batch = Batch::new(device, Dtype::F32, &operators, [false, false], &mut rng);
        let found = read(&batch.tridiagonal().log_determinant().unwrap());
        assert!((found[0].re - 9.0_f64.ln()).abs() < 1e-6, "{device}: {}", found[0]);
        assert_eq!(found[1].re, f64::NEG_INFINITY, "{device}");
        assert!(found[2].re.is_nan(), "{device}: {}", found[2]);
    }
}

#[test]
fn the_reference_agrees_with_finite_differences() {
    let mut rng = Rng::fresh();
    let operator = Source::Complex.operator(&mut rng, 7);
    let g = rng.uniform(-2.0, 2.0);
    let loss = |o: &Operator| g * o.log_determinant_dense();
    let dense = operator.log_determinant_gradients_dense(g);
    let serial = operator.log_determinant_gradients_serial(g);
    for gradients in [dense, serial] {
        check_reference(&operator, &gradients, &loss, rng.seed);
    }
}

#[test]
fn shared_operands_products_and_strides() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [20, 5000] {
            let batch = Batch::of(device, Dtype::F32, Source::Model { eta: 1.0 }, 4, n, &mut rng);
            // With b = c = 1 the gradient by p is that by b; and the shifts are one.
            let p = batch.b.narrowed(0, 0, 1).unwrap();
            let z = batch.z.narrowed(0, 0, 1).unwrap();
            let shared = Tridiagonal::of_products(&batch.a, &p, &z);
            assert_eq!(
                read(&shared.log_determinant().unwrap()),
                read(&batch.tridiagonal().log_determinant().unwrap()),
                "{device} {n}"
            );
            // A gradient of every second number in memory, from the second on.
            let (wide, gs) = tensor(device, &rng.real(9), Dtype::F32, false, &[9]).unwrap();
            let layout = Layout::strided(&[4], &[2], 1).unwrap();
            let handle = wide.handle().clone();
            let g = Tensor::from_handle(device, handle, Dtype::F32, false, layout).unwrap();
            let found = shared.log_determinant_vjp(&g).unwrap();
            let mut by_p = vec![Complex64::ZERO; n - 1];
            let mut by_z = Complex64::ZERO;
            for (row, operator) in batch.exact.iter().enumerate() {
                let gradients = operator.log_determinant_gradients_serial(gs[2 * row + 1].re);
                by_p.iter_mut().zip(&gradients.b).for_each(|(sum, b)| sum.re += b.re);
                by_z += gradients.z;
            }
            super::assert_near(&format!("{device} {n}"), &read(&found.b), &by_p, 4.0 * MODEL[2]);
            let error = (read(&found.z)[0] - by_z).norm();
            assert!(error < 1e-6 * 4.0 * n as f64, "{device} {n}: {error:e}");
        }
    }
}

#[test]
fn bad_input_is_an_error() {
    for device in devices() {
        let a = Tensor::from_slice(device, &[1.0_f32; 16], &[2, 8]).unwrap();
        let p = Tensor::from_slice(device, &[1.0_f32; 14], &[2, 7]).unwrap();
        let z = Tensor::from_slice(device, &[Complex32::I; 2], &[2]).unwrap();
        let g = |shape: &[usize]| {
            Tensor::from_slice(device, &vec![1.0_f32; shape.iter().product()], shape).unwrap()
        };
        let operators = Tridiagonal::of_products(&a, &p, &z);
        assert_eq!(operators.log_determinant().unwrap().shape(), [2]);
        assert!(operators.log_determinant_vjp(&g(&[2])).is_ok());
        for shape in [&[1][..], &[2, 8], &[]] {
            let found = operators.log_determinant_vjp(&g(shape)).err();
            assert!(matches!(found, Some(Error::Shape { argument: "g", .. })), "{found:?}");
        }
        let found = operators.log_determinant_vjp(&z).err();
        assert!(matches!(found, Some(Error::Dtype { argument: "g", .. })), "{found:?}");
        let found = Tridiagonal::of_products(&a, &a, &z).log_determinant().err();
        assert!(matches!(found, Some(Error::Shape { argument: "p", .. })), "{found:?}");
    }
}
