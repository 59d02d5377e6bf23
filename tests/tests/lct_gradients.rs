//! Gradients of linear canonical transforms: adjoints, and parameters against finite differences.

use core::f64::consts::{FRAC_PI_2, PI};

use wavecube::{
    Abcd, Complex64, ComplexAbcd, Dtype, Frame, FramedSignal, Lie, OutputGrid, Result,
    ShearFactors, ShearPasses, Tensor, WeilMatrix, ZeroPoint,
};
use wavecube_testing::{
    Rng, read,
    reference::{self, lct::Shear},
    tensor,
};

use crate::lct::{each, line, random_matrix, scaled_by, shear_reference};

/// `Re⟨g, T x⟩ = Re⟨Tᴴ g, x⟩`.
fn adjoint(
    what: &str,
    (x, xs): (&Tensor, &[Complex64]),
    rng: &mut Rng,
    forward: impl Fn(&Tensor) -> Result<Tensor>,
    backward: impl Fn(&Tensor) -> Result<Tensor>,
) {
    let y = forward(x).unwrap();
    let g = rng.complex(y.shape().iter().product());
    let (g, gs) = tensor(x.device(), &g, x.dtype(), true, y.shape()).unwrap();
    let gx = read(&backward(&g).unwrap());
    let dot = |a: &[Complex64], b: &[Complex64]| {
        a.iter().zip(b).map(|(a, b)| (a.conj() * b).re).sum::<f64>()
    };
    let norm = |v: &[Complex64]| v.iter().map(Complex64::norm_sqr).sum::<f64>().sqrt();
    let ys = read(&y);
    let difference = dot(&gs, &ys) - dot(&gx, xs);
    let size = norm(&gs) * norm(&ys) + norm(&gx) * norm(xs);
    let limit = if x.dtype() == Dtype::F64 { 1e-11 } else { 5e-6 };
    assert!(difference.abs() <= limit * size, "{what}: {difference:e} of {size:e}");
}

#[test]
fn every_signal_gradient_is_the_adjoint() {
    each(|device, rng, dtype, what| {
        for n in [1, 6, 23, 50] {
            let (x, xs) = line(device, rng, dtype, n);
            let pair = (&x, xs.as_slice());
            let m = random_matrix(rng);
            let entries = (0.75, 1.25);
            let scaled = Abcd::from_abc(entries.0, entries.1, 0.2).unwrap();
            let complex = ComplexAbcd::from(m) * ComplexAbcd::gaussian(0.2);
            let weil = WeilMatrix::new(n, [1, 2, 3, 7]).unwrap();
            let framed =
                FramedSignal::from_coefficients(x.clone(), Frame::new(0.3, 1.2, 0.1).unwrap(), 0);
            let framed = framed.unwrap();
            let reframed = |v: &Tensor| {
                FramedSignal::from_coefficients(v.clone(), Frame::new(0.3, 1.2, 0.1).unwrap(), 0)
            };
            let grid = OutputGrid { outputs: 9, first: 0.1, step: 0.05 };
            let spiral = (Complex64::from_polar(1.01, 0.2), Complex64::from_polar(0.999, -0.1));
            use wavecube as w;
            let name = |op: &str| format!("{what} {op} {n}");
            adjoint(
                &name("chirp"),
                pair,
                rng,
                |x| w::chirp_multiply(x, 0.7, 0),
                |g| w::chirp_multiply_vjp(g, 0.7, 0),
            );
            adjoint(
                &name("shear"),
                pair,
                rng,
                |x| w::lct_shear(x, &m, 0),
                |g| w::lct_shear_vjp(g, &m, 0),
            );
            adjoint(
                &name("fresnel"),
                pair,
                rng,
                |x| w::fresnel(x, 0.7, 0),
                |g| w::fresnel_vjp(g, 0.7, 0),
            );
            adjoint(&name("frft"), pair, rng, |x| w::frft(x, 0.7, 0), |g| w::frft_vjp(g, 0.7, 0));
            adjoint(
                &name("framed"),
                pair,
                rng,
                |x| Ok(w::lct_framed(x, &m, 0)?.coefficients),
                |g| w::lct_framed_vjp(g, &m, 0),
            );
            adjoint(
                &name("samples"),
                pair,
                rng,
                |x| Ok(reframed(x)?.to_samples()?.0),
                |g| framed.to_samples_vjp(g),
            );
            adjoint(
                &name("resample"),
                pair,
                rng,
                |x| reframed(x)?.resample(),
                |g| framed.resample_vjp(g),
            );
            adjoint(
                &name("fourier"),
                pair,
                rng,
                |x| w::fourier(x, true, 0),
                |g| w::fourier_vjp(g, true, 0),
            );
            adjoint(
                &name("scaling"),
                pair,
                rng,
                |x| w::scaling(x, 1.3, 0),
                |g| w::scaling_vjp(g, 1.3, 0),
            );
            // Its kernel grows as exp(πn/2).
            if n < 10 {
                adjoint(
                    &name("laplace"),
                    pair,
                    rng,
                    |x| w::laplace(x, 0),
                    |g| w::laplace_vjp(g, 0),
                );
            }
            adjoint(
                &name("weil"),
                pair,
                rng,
                |x| w::lct_weil(x, &weil, 0),
                |g| w::lct_weil_vjp(g, &weil, 0),
            );
            adjoint(
                &name("weighted"),
                pair,
                rng,
                |x| w::frft_weighted(x, 0.7, 0),
                |g| w::frft_weighted_vjp(g, 0.7, 0),
            );
            adjoint(
                &name("scaled"),
                pair,
                rng,
                |x| Ok(w::lct_scaled(x, &scaled, 0.3, 0)?.0),
                |g| w::lct_scaled_vjp(g, &scaled, 0.3, 0),
            );
            adjoint(
                &name("causal"),
                pair,
                rng,
                |x| w::lct_causal(x, &scaled, 0.0, 0.1, 0),
                |g| w::lct_causal_vjp(g, &scaled, 0.0, 0.1, 0),
            );
            adjoint(
                &name("czt"),
                pair,
                rng,
                |x| w::czt(x, 9, 0.1, 0.01, 0),
                |g| w::czt_vjp(g, n, 0.1, 0.01, 0),
            );
            adjoint(
                &name("spiral"),
                pair,
                rng,
                |x| w::czt_spiral(x, 9, spiral.0, spiral.1, 0),
                |g| w::czt_spiral_vjp(g, n, spiral.0, spiral.1, 0),
            );
            adjoint(
                &name("lct_czt"),
                pair,
                rng,
                |x| w::lct_czt(x, &scaled, 0.3, &grid, 0),
                |g| w::lct_czt_vjp(g, n, &scaled, 0.3, &grid, 0),
            );
            adjoint(
                &name("complex"),
                pair,
                rng,
                |x| w::lct_complex(x, &complex, 0),
                |g| w::lct_complex_vjp(g, &complex, 0),
            );
        }
        let (x, xs) = tensor(device, &rng.complex(6 * 10), dtype, true, &[6, 10]).unwrap();
        let (m1, m2) = (random_matrix(rng), random_matrix(rng));
        adjoint(
            &format!("{what} lct2"),
            (&x, &xs),
            rng,
            |x| wavecube::lct2(x, [&m1, &m2], [0, 1]),
            |g| wavecube::lct2_vjp(g, [&m1, &m2], [0, 1]),
        );
    });
}

/// The gradient of `Re⟨g, y(p)⟩` by central differences of a host function.
fn differences(p: &[f64], gs: &[Complex64], y: impl Fn(&[f64]) -> Vec<Complex64>) -> Vec<f64> {
    let loss = |p: &[f64]| -> f64 { y(p).iter().zip(gs).map(|(y, g)| (g.conj() * y).re).sum() };
    let h = 1e-5;
    (0..p.len())
        .map(|i| {
            let at = |shift: f64| {
                let mut moved = p.to_vec();
                moved[i] += shift;
                loss(&moved)
            };
            // Fourth order: the truncation error is far below the gate.
            (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h)
        })
        .collect()
}

/// Gradients by the entries of a matrix, as gradients by its Lie coordinates.
fn along_group(lie: &Lie, by_entries: &Tensor) -> Vec<f64> {
    let by_entries = read(by_entries);
    let rows = lie.exp_jacobian().unwrap();
    rows.iter().map(|row| row.iter().zip(&by_entries).map(|(d, g)| d * g.re).sum()).collect()
}

fn assert_gradient(what: &str, found: &Tensor, want: &[f64], dtype: Dtype) {
    let found: Vec<f64> = read(found).iter().map(|v| v.re).collect();
    assert_values(what, &found, want, dtype);
}

fn assert_values(what: &str, found: &[f64], want: &[f64], dtype: Dtype) {
    assert_eq!(found.len(), want.len(), "{what}");
    let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
    let error = found.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt() / norm;
    println!("{what}: {error:.2e}");
    let limit = if dtype == Dtype::F64 { 1e-6 } else { 1e-4 };
    assert!(error <= limit, "{what}: relative error {error:e}\nfound {found:?}\nwant {want:?}");
}

#[test]
fn every_parameter_gradient_is_that_of_the_reference() {
    use reference::lct as r;
    each(|device, rng, dtype, what| {
        let n = 24;
        let (x, xs) = line(device, rng, dtype, n);
        let (g, gs) = line(device, rng, dtype, n);
        let name = |op: &str| format!("{what} gradient of {op}");
        let want = differences(&[0.8], &gs, |p| r::chirp(n, p[0], &xs));
        assert_gradient(
            &name("chirp"),
            &wavecube::chirp_multiply_rate_vjp(&x, &g, 0.8, 0).unwrap(),
            &want,
            dtype,
        );

        for (before, forward, after) in [(0, true, 0), (1, true, 0), (2, false, 3), (3, false, 3)] {
            let passes =
                ShearPasses { before, first: 0.6, forward, middle: -0.9, last: 0.4, after };
            let want = differences(&[0.6, -0.9, 0.4], &gs, |p| {
                let f =
                    |power: u8, x: &[Complex64]| r::apply(&r::dft_power(n, usize::from(power)), x);
                let (there, back) = if forward { (1, 3) } else { (3, 1) };
                let y = r::chirp(n, p[0], &f(before, &xs));
                let y = f(back, &r::chirp(n, p[1], &f(there, &y)));
                scaled_by(Complex64::I, &f(after, &r::chirp(n, p[2], &y)))
            });
            let unit = [vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]];
            let found =
                wavecube::lct_shear_rate_vjp(&x, &g, &passes, Complex64::I, &unit, 0).unwrap();
            assert_gradient(&name("shear rates"), &found, &want, dtype);
        }
        // Along the group, by the Lie coordinates.
        let coordinates = [0.2, 0.7, -0.5];
        let lie = |p: &[f64]| Lie::new(p[0], p[1], p[2]).unwrap();
        let m = lie(&coordinates).exp().unwrap();
        let factors = ShearFactors::smooth(&m).unwrap();
        let want = differences(&coordinates, &gs, |p| {
            let m = lie(p).exp().unwrap();
            shear_reference(
                &xs,
                &ShearFactors::pinned(&m, factors.power(), factors.form()).unwrap(),
            )
        });
        let by_entries = wavecube::lct_shear_param_vjp(&x, &g, &m, 0).unwrap();
        let found = along_group(&lie(&coordinates), &by_entries);
        assert_values(&name("shear along the group"), &found, &want, dtype);

        // Both matrices of a plane, rows of 4 and columns of 6.
        let shape = [6, 4];
        let (plane, planes) = tensor(device, &rng.complex(24), dtype, true, &shape).unwrap();
        let (g2, gs2) = tensor(device, &rng.complex(24), dtype, true, &shape).unwrap();
        let both = [0.2, 0.7, -0.5, -0.3, 0.4, 0.6];
        let matrices = [lie(&both[..3]), lie(&both[3..])].map(|lie| lie.exp().unwrap());
        let chosen = matrices.map(|m| ShearFactors::smooth(&m).unwrap());
        let want = differences(&both, &gs2, |p| {
            let turned = |i: usize, x: &[Complex64]| {
                let m = lie(&p[3 * i..3 * i + 3]).exp().unwrap();
                let (power, form) = (chosen[i].power(), chosen[i].form());
                shear_reference(x, &ShearFactors::pinned(&m, power, form).unwrap())
            };
            let mut y = planes.clone();
            for column in 0..4 {
                let line: Vec<Complex64> = (0..6).map(|row| y[row * 4 + column]).collect();
                for (row, value) in turned(0, &line).into_iter().enumerate() {
                    y[row * 4 + column] = value;
                }
            }
            y.chunks(4).flat_map(|row| turned(1, row)).collect()
        });
        let [m0, m1] = &matrices;
        let by_entries = wavecube::lct2_param_vjp(&plane, &g2, [m0, m1], [0, 1]).unwrap();
        let found = [
            along_group(&lie(&both[..3]), &by_entries[0]),
            along_group(&lie(&both[3..]), &by_entries[1]),
        ];
        assert_values(&name("lct2 along the group"), &found.concat(), &want, dtype);

        let factors = ShearFactors::smooth(&Abcd::scaling(1.3).unwrap()).unwrap();
        let want = differences(&[1.3], &gs, |p| {
            let (m, power, form) = (Abcd::scaling(p[0]).unwrap(), factors.power(), factors.form());
            shear_reference(&xs, &ShearFactors::pinned(&m, power, form).unwrap())
        });
        assert_gradient(
            &name("scaling"),
            &wavecube::scaling_param_vjp(&x, &g, 1.3, 0).unwrap(),
            &want,
            dtype,
        );

        let want = differences(&[0.9], &gs, |p| r::lct_shear(n, &xs, 0, &[Shear::Fresnel(p[0])]));
        assert_gradient(
            &name("fresnel"),
            &wavecube::fresnel_param_vjp(&x, &g, 0.9, 0).unwrap(),
            &want,
            dtype,
        );

        let basis = r::hermite_basis(n);
        let want = differences(&[FRAC_PI_2], &gs, |p| r::apply(&r::frft(n, &basis, p[0]), &xs));
        assert_gradient(
            &name("frft"),
            &wavecube::frft_angle_vjp(&x, &g, FRAC_PI_2, 0).unwrap(),
            &want,
            dtype,
        );

        let want = differences(&[1.3], &gs, |p| r::apply(&r::frft_weighted(n, p[0]), &xs));
        assert_gradient(
            &name("weighted"),
            &wavecube::frft_weighted_angle_vjp(&x, &g, 1.3, 0).unwrap(),
            &want,
            dtype,
        );

        let abd = [0.8, 1.1, 0.9];
        let entries = |p: &[f64]| [p[0], p[1], (p[0] * p[2] - 1.0) / p[1], p[2]];
        let [a, b, c, d] = entries(&abd);
        let m = Abcd::new(a, b, c, d).unwrap();
        let with_c = |v: Vec<f64>| vec![v[0], v[1], 0.0, v[2]];
        let dx = 0.3;
        // The weights of the samples depend on b as well: √(dx du) in both.
        let want =
            with_c(differences(&abd, &gs, |p| r::apply(&r::lct_scaled(entries(p), n, dx), &xs)));
        assert_gradient(
            &name("scaled"),
            &wavecube::lct_scaled_param_vjp(&x, &g, &m, dx, 0).unwrap(),
            &want,
            dtype,
        );

        let want = with_c(differences(&abd, &gs, |p| {
            r::apply(&r::lct_causal(entries(p), n, -2.0, 0.1), &xs)
        }));
        assert_gradient(
            &name("causal"),
            &wavecube::lct_causal_param_vjp(&x, &g, &m, -2.0, 0.1, 0).unwrap(),
            &want,
            dtype,
        );

        let want = differences(&[0.1, 0.02], &gs, |p| {
            let turn = |t: f64| Complex64::from_polar(1.0, 2.0 * PI * t);
            r::apply(&r::czt(n, n, turn(p[0]), turn(-p[1])), &xs)
        });
        assert_gradient(
            &name("czt"),
            &wavecube::czt_param_vjp(&x, &g, 0.1, 0.02, 0).unwrap(),
            &want,
            dtype,
        );

        let outputs = 9;
        let (g9, gs9) = line(device, rng, dtype, outputs);
        let (a, w) = (Complex64::from_polar(1.01, 0.6), Complex64::from_polar(0.999, -0.13));
        let want = differences(&[a.re, a.im, w.re, w.im], &gs9, |p| {
            let (a, w) = (Complex64::new(p[0], p[1]), Complex64::new(p[2], p[3]));
            r::apply(&r::czt(n, outputs, a, w), &xs)
        });
        assert_gradient(
            &name("czt_spiral"),
            &wavecube::czt_spiral_param_vjp(&x, &g9, a, w, 0).unwrap(),
            &want,
            dtype,
        );

        let grid = OutputGrid { outputs, first: -0.4, step: 0.15 };
        let want = differences(&[abd[0], abd[1], abd[2], grid.first, grid.step], &gs9, |p| {
            r::apply(&r::lct_czt(entries(&p[..3]), (n, dx), (outputs, p[3], p[4])), &xs)
        });
        let want = [&with_c(want[..3].to_vec())[..], &want[3..]].concat();
        assert_gradient(
            &name("lct_czt"),
            &wavecube::lct_czt_param_vjp(&x, &g9, &m, dx, &grid, 0).unwrap(),
            &want,
            dtype,
        );

        // The framed state: coefficients and frame, from the closed form of the reference.
        let (frame_q, frame_m) = (0.3, 1.2);
        let (g_q, g_m) = (0.7, -0.4);
        let abc = [0.9, 0.6, -0.3];
        let by = |p: &[f64]| [p[0], p[1], p[2], (1.0 + p[1] * p[2]) / p[0]];
        let mut want = Vec::new();
        let mut gs_and_frame = gs.clone();
        gs_and_frame.extend([Complex64::from(g_q), Complex64::from(g_m)]);
        want.extend(differences(&[abc[0], abc[1], abc[2], frame_q, frame_m], &gs_and_frame, |p| {
            let (q, m, mut v) = r::lct_framed(by(p), (p[3], p[4], &xs));
            v.extend([Complex64::from(q), Complex64::from(m)]);
            v
        }));
        let frame = Frame::new(frame_q, frame_m, 0.0).unwrap();
        let state = FramedSignal::from_coefficients(x.clone(), frame, 0).unwrap();
        let state = state.with_zero_point(ZeroPoint::With);
        let [a, b, c, d] = by(&abc);
        let gradients = state.apply_vjp(&Abcd::new(a, b, c, d).unwrap(), &g, [g_q, g_m]).unwrap();
        let all: Vec<f64> = read(&gradients.parameters).iter().map(|v| v.re).collect();
        // d = (1 + bc)/a follows a, b and c.
        let found = [
            all[0] - all[3] * d / a,
            all[1] + all[3] * c / a,
            all[2] + all[3] * b / a,
            all[4],
            all[5],
        ];
        assert_values(&name("framed"), &found, &want, dtype);

        // Samples on the frame's own grid and on the fixed one, by the frame.
        let chirped = |q: f64, values: Vec<Complex64>| r::chirp(n, q, &values);
        let want = differences(&[frame_q, frame_m], &gs, |p| {
            let samples = (0..n).map(|j| (0..n).map(|k| xs[k] * basis[k * n + j]).sum()).collect();
            chirped(p[0] * p[1] * p[1], samples)
        });
        assert_gradient(&name("samples"), &state.to_samples_frame_vjp(&g).unwrap(), &want, dtype);
        let want = differences(&[frame_q, frame_m], &gs, |p| {
            let step = (n as f64).sqrt() * p[1];
            let sample = |point: &f64| {
                let terms =
                    xs.iter().enumerate().map(|(k, v)| v * r::hermite_gauss(k, point / step));
                terms.sum::<Complex64>() / step.sqrt()
            };
            chirped(p[0], r::grid(n).iter().map(sample).collect())
        });
        assert_gradient(&name("resample"), &state.resample_frame_vjp(&g).unwrap(), &want, dtype);

        let parts = |p: &[f64]| {
            [Complex64::new(p[0], p[1]), Complex64::new(p[2], p[3]), Complex64::new(p[4], p[5])]
        };
        let flat = [0.8, 0.1, 1.1, 0.3, 0.9, -0.05];
        let complex = |p: &[f64]| {
            let [a, b, d] = parts(p);
            ComplexAbcd::new(a, b, (a * d - 1.0) / b, d).unwrap()
        };
        let points: Vec<f64> = r::grid(n).iter().map(|p| p / (n as f64).sqrt()).collect();
        let want = differences(&flat, &gs, |p| {
            let m = complex(p);
            points
                .iter()
                .map(|&u| {
                    let terms = points.iter().zip(&xs).map(|(&x, v)| m.kernel(u, x).unwrap() * v);
                    terms.sum::<Complex64>() / (n as f64).sqrt()
                })
                .collect()
        });
        let all = read(&wavecube::lct_complex_param_vjp(&x, &g, &complex(&flat), 0).unwrap());
        let found = [all[0], all[1], all[2], all[3], all[6], all[7]].map(|v| v.re);
        assert_values(&name("complex"), &found, &want, dtype);
    });
}
