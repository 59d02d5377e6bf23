//! What the operations reject.

use wavecube::{Complex32, Error, Tensor, Tridiagonal, resolvent_diagonal, resolvent_diagonal_vjp};
use wavecube_testing::{devices, halves, nan_filled};

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
        for dtype in halves(device) {
            let half =
                |shape: &[usize], complex| nan_filled(device, dtype, complex, shape).unwrap();
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
