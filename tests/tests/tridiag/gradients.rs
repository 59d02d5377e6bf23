//! The reference's own gradients, and gradients of operands that sequences share.

use wavecube::{Complex64, Dtype, Layout, Tensor, Tridiagonal, resolvent_diagonal};
use wavecube_testing::{Rng, devices, read, reference::tridiag::Operator};

use super::{Batch, Source, check_reference, relative_max};

#[test]
fn the_reference_agrees_with_finite_differences() {
    let mut rng = Rng::fresh();
    let operator = Source::Complex.operator(&mut rng, 7);
    let g = rng.complex(7);
    let loss = |o: &Operator| -> f64 {
        o.diagonal_dense().iter().zip(&g).map(|(y, g)| (g.conj() * y).re).sum()
    };
    for gradients in [operator.gradients_dense(&g), operator.gradients_serial(&g)] {
        check_reference(&operator, &gradients, &loss, rng.seed);
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
