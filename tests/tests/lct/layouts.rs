//! Batches, axes, views, outputs that exist, and half storage.

use wavecube::{Abcd, Complex64, Error, Layout, Result, ShearFactors, Tensor, WeilMatrix};
use wavecube_testing::{
    Rng, assert_close, devices, halves, nan_filled, read, reference::lct as r, tensor,
};

use super::{bound, dense_bound, each, random_matrix};

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
fn half_precision_is_stored_and_f32_computed() {
    for (device, dtype) in devices().iter().flat_map(|d| halves(d).map(move |dtype| (d, dtype))) {
        let mut rng = Rng::fresh();
        let n = 48;
        let (x, values) = tensor(device, &rng.complex(n), dtype, true, &[n]).unwrap();
        let m = Abcd::from_abc(0.9, 0.5, -0.3).unwrap();
        let factors = ShearFactors::new(&m).unwrap();
        let y = read(&wavecube::lct_shear(&x, &m, 0).unwrap());
        // One rounding to 16 bits for each trip through memory.
        let want = r::lct_shear_factored(n, &values, &factors);
        assert_close(&format!("{dtype} shear"), &y, &want, 4.0 * dtype.epsilon());
        let y = read(&wavecube::frft(&x, 0.7, 0).unwrap());
        let basis = r::hermite_basis(n);
        let want = r::apply(&r::frft(n, &basis, 0.7), &values);
        assert_close(&format!("{dtype} frft"), &y, &want, 4.0 * dtype.epsilon());
    }
}
