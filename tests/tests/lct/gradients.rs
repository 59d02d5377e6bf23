//! The gradient of every transform by its signal is its adjoint.

use wavecube as w;
use wavecube::{
    Abcd, Complex64, ComplexAbcd, Dtype, Frame, FramedSignal, OutputGrid, Result, Tensor,
    WeilMatrix,
};
use wavecube_testing::{Rng, norm, read, real_dot, tensor};

use super::{each, line, random_matrix};

type Op<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

/// `Re⟨g, T x⟩ = Re⟨Tᴴ g, x⟩`.
fn assert_adjoint(what: &str, rng: &mut Rng, x: &Tensor, forward: Op<'_>, backward: Op<'_>) {
    let y = forward(x).unwrap();
    let g = rng.complex(y.shape().iter().product());
    let (g, gs) = tensor(x.device(), &g, x.dtype(), true, y.shape()).unwrap();
    let gx = read(&backward(&g).unwrap());
    let (xs, ys) = (read(x), read(&y));
    let difference = real_dot(&gs, &ys) - real_dot(&gx, &xs);
    let size = norm(&gs) * norm(&ys) + norm(&gx) * norm(&xs);
    let limit = if x.dtype() == Dtype::F64 { 1e-11 } else { 5e-6 };
    assert!(difference.abs() <= limit * size, "{what}: {difference:e} of {size:e}");
}

#[test]
fn every_signal_gradient_is_the_adjoint() {
    each(|device, rng, dtype, what| {
        for n in [1, 6, 23, 50] {
            let (x, _) = line(device, rng, dtype, n);
            let m = random_matrix(rng);
            let wide = Abcd::from_abc(0.75, 1.25, 0.2).unwrap();
            let complex = ComplexAbcd::from(m) * ComplexAbcd::gaussian(0.2);
            let weil = WeilMatrix::new(n, [1, 2, 3, 7]).unwrap();
            let frame = Frame::new(0.3, 1.2, 0.1).unwrap();
            let state = |v: &Tensor| FramedSignal::from_coefficients(v.clone(), frame, 0);
            let grid = OutputGrid { outputs: 9, first: 0.1, step: 0.05 };
            let a = Complex64::from_polar(1.01, 0.2);
            let q = Complex64::from_polar(0.999, -0.1);
            let ops: [(&str, Op<'_>, Op<'_>); 17] = [
                ("chirp", &|x| w::chirp_multiply(x, 0.7, 0), &|g| w::chirp_multiply_vjp(g, 0.7, 0)),
                ("fourier", &|x| w::fourier(x, true, 0), &|g| w::fourier_vjp(g, true, 0)),
                ("shear", &|x| w::lct_shear(x, &m, 0), &|g| w::lct_shear_vjp(g, &m, 0)),
                ("fresnel", &|x| w::fresnel(x, 0.7, 0), &|g| w::fresnel_vjp(g, 0.7, 0)),
                ("scaling", &|x| w::scaling(x, 1.3, 0), &|g| w::scaling_vjp(g, 1.3, 0)),
                ("frft", &|x| w::frft(x, 0.7, 0), &|g| w::frft_vjp(g, 0.7, 0)),
                ("framed", &|x| Ok(w::lct_framed(x, &m, 0)?.coefficients), &|g| {
                    w::lct_framed_vjp(g, &m, 0)
                }),
                ("applied", &|v| Ok(state(v)?.apply(&m)?.coefficients), &|g| {
                    Ok(state(&x)?.apply_vjp(&m, g, [0.0; 2])?.coefficients)
                }),
                ("samples", &|v| Ok(state(v)?.to_samples()?.0), &|g| state(&x)?.to_samples_vjp(g)),
                ("resample", &|v| state(v)?.resample(), &|g| state(&x)?.resample_vjp(g)),
                ("weil", &|x| w::lct_weil(x, &weil, 0), &|g| w::lct_weil_vjp(g, &weil, 0)),
                ("weighted", &|x| w::frft_weighted(x, 0.7, 0), &|g| {
                    w::frft_weighted_vjp(g, 0.7, 0)
                }),
                ("scaled", &|x| Ok(w::lct_scaled(x, &wide, 0.3, 0)?.0), &|g| {
                    w::lct_scaled_vjp(g, &wide, 0.3, 0)
                }),
                ("causal", &|x| w::lct_causal(x, &wide, 0.0, 0.1, 0), &|g| {
                    w::lct_causal_vjp(g, &wide, 0.0, 0.1, 0)
                }),
                ("czt", &|x| w::czt(x, 9, 0.1, 0.01, 0), &|g| w::czt_vjp(g, n, 0.1, 0.01, 0)),
                ("spiral", &|x| w::czt_spiral(x, 9, a, q, 0), &|g| {
                    w::czt_spiral_vjp(g, n, a, q, 0)
                }),
                ("lct_czt", &|x| w::lct_czt(x, &wide, 0.3, &grid, 0), &|g| {
                    w::lct_czt_vjp(g, n, &wide, 0.3, &grid, 0)
                }),
            ];
            for (name, forward, backward) in ops {
                assert_adjoint(&format!("{what} {name} {n}"), rng, &x, forward, backward);
            }
            assert_adjoint(
                &format!("{what} complex {n}"),
                rng,
                &x,
                &|x| w::lct_complex(x, &complex, 0),
                &|g| w::lct_complex_vjp(g, &complex, 0),
            );
            // Its kernel grows as exp(πn/2).
            if n < 10 {
                let (forward, backward): (Op<'_>, Op<'_>) =
                    (&|x| w::laplace(x, 0), &|g| w::laplace_vjp(g, 0));
                assert_adjoint(&format!("{what} laplace {n}"), rng, &x, forward, backward);
            }
        }
        let (x, _) = tensor(device, &rng.complex(6 * 10), dtype, true, &[6, 10]).unwrap();
        let (m1, m2) = (random_matrix(rng), random_matrix(rng));
        assert_adjoint(
            &format!("{what} lct2"),
            rng,
            &x,
            &|x| w::lct2(x, [&m1, &m2], [0, 1]),
            &|g| w::lct2_vjp(g, [&m1, &m2], [0, 1]),
        );
    });
}
