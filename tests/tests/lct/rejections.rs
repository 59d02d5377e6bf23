//! What is refused, and with which error.

use wavecube::{
    Abcd, Complex64, ComplexAbcd, Dtype, Error, Layout, Limits, OutputGrid, Result, ShearFactors,
    Tensor, WeilMatrix,
};
use wavecube_kernels::lct::{LctPlan, LctProblem, Program, centred_dft};
use wavecube_testing::{devices, read, tensor};

#[test]
fn what_a_device_lacks_is_told_by_its_limits() {
    let bare = Limits { f64: false, f16: false, bf16: false, ..Limits::LAVAPIPE };
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
    for dtype in [Dtype::F16, Dtype::Bf16, Dtype::F64] {
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
