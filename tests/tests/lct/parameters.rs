//! The gradient of every transform by its parameters against finite differences of the reference.

use core::f64::consts::{FRAC_PI_2, PI};

use wavecube::{
    Abcd, Complex64, ComplexAbcd, Device, Dtype, Frame, FramedSignal, Lie, OutputGrid,
    ShearFactors, ShearPasses, Tensor, ZeroPoint,
};
use wavecube_testing::{
    Rng, Slopes, read,
    reference::{
        lct::{self as r, Shear},
        transposed,
    },
    tensor,
};

use super::{each, line, scaled_by};

/// Points of a line.
const N: usize = 24;

/// A signal and the gradient of a transform of it.
struct Trial<'a> {
    x: Tensor,
    xs: Vec<Complex64>,
    g: Tensor,
    gs: Vec<Complex64>,
    what: &'a str,
}

impl<'a> Trial<'a> {
    /// From lines of [`N`] points to lines of `outputs`.
    fn new(device: &Device, rng: &mut Rng, dtype: Dtype, outputs: usize, what: &'a str) -> Self {
        let (x, xs) = line(device, rng, dtype, N);
        let (g, gs) = line(device, rng, dtype, outputs);
        Self { x, xs, g, gs, what }
    }

    /// Holds a gradient by the parameters at `p` against the slopes of `y` there.
    fn check(&self, op: &str, found: &Tensor, p: &[f64], y: impl Fn(&[f64]) -> Vec<Complex64>) {
        let found: Vec<f64> = read(found).iter().map(|v| v.re).collect();
        self.check_values(op, &found, p, y);
    }

    fn check_values(
        &self,
        op: &str,
        found: &[f64],
        p: &[f64],
        y: impl Fn(&[f64]) -> Vec<Complex64>,
    ) {
        let slopes = Slopes::of(p, y);
        let error = slopes.error(found, &self.gs);
        println!("{} gradient of {op}: {error:.2e}", self.what);
        let limit = if self.x.dtype() == Dtype::F64 { 1e-7 } else { 1e-5 };
        let want = slopes.gradient(&self.gs);
        assert!(
            error <= limit,
            "{} gradient of {op}: error {error:e}\nfound {found:?}\nwant  {want:?}",
            self.what
        );
    }
}

fn lie(p: &[f64]) -> Lie {
    Lie::new(p[0], p[1], p[2]).unwrap()
}

/// Gradients by the entries of a matrix, as gradients by its Lie coordinates.
fn along_group(p: &[f64], by_entries: &Tensor) -> Vec<f64> {
    let by_entries = read(by_entries);
    let rows = lie(p).exp_jacobian().unwrap();
    rows.iter().map(|row| row.iter().zip(&by_entries).map(|(d, g)| d * g.re).sum()).collect()
}

/// The shears of `moved` in the factorisation that `at` has.
fn sheared(x: &[Complex64], at: &Abcd, moved: &Abcd) -> Vec<Complex64> {
    let chosen = ShearFactors::smooth(at).unwrap();
    let factors = ShearFactors::pinned(moved, chosen.power(), chosen.form()).unwrap();
    r::lct_shear_factored(x.len(), x, &factors)
}

fn entries(p: &[f64]) -> [f64; 4] {
    [p[0], p[1], p[2], p[3]]
}

#[test]
fn chirps_and_shears() {
    each(|device, rng, dtype, what| {
        let trial = Trial::new(device, rng, dtype, N, what);
        let Trial { x, xs, g, .. } = &trial;
        let found = wavecube::chirp_multiply_rate_vjp(x, g, 0.8, 0).unwrap();
        trial.check("chirp", &found, &[0.8], |p| r::chirp(N, p[0], xs));

        for (before, forward, after) in [(0, true, 0), (1, true, 0), (2, false, 3), (3, false, 3)] {
            let passes =
                ShearPasses { before, first: 0.6, forward, middle: -0.9, last: 0.4, after };
            let unit = [vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]];
            let found =
                wavecube::lct_shear_rate_vjp(x, g, &passes, Complex64::I, &unit, 0).unwrap();
            trial.check("shear rates", &found, &[0.6, -0.9, 0.4], |p| {
                let f =
                    |power: u8, x: &[Complex64]| r::apply(&r::dft_power(N, usize::from(power)), x);
                let (there, back) = if forward { (1, 3) } else { (3, 1) };
                let y = r::chirp(N, p[0], &f(before, xs));
                let y = f(back, &r::chirp(N, p[1], &f(there, &y)));
                scaled_by(Complex64::I, &f(after, &r::chirp(N, p[2], &y)))
            });
        }

        let found = wavecube::scaling_param_vjp(x, g, 1.3, 0).unwrap();
        let scale = |m: f64| Abcd::scaling(m).unwrap();
        trial.check("scaling", &found, &[1.3], |p| sheared(xs, &scale(1.3), &scale(p[0])));
        let found = wavecube::fresnel_param_vjp(x, g, 0.9, 0).unwrap();
        trial.check("fresnel", &found, &[0.9], |p| r::lct_shear(N, xs, 0, &[Shear::Fresnel(p[0])]));
    });
}

#[test]
fn shears_along_the_group() {
    each(|device, rng, dtype, what| {
        let trial = Trial::new(device, rng, dtype, N, what);
        let Trial { x, xs, g, .. } = &trial;
        let at = [0.2, 0.7, -0.5];
        let matrix = |p: &[f64]| lie(p).exp().unwrap();
        let m = matrix(&at);
        let found = along_group(&at, &wavecube::lct_shear_param_vjp(x, g, &m, 0).unwrap());
        trial.check_values("shear", &found, &at, |p| sheared(xs, &m, &matrix(p)));

        // Both matrices of a plane, rows of 4 and columns of 6.
        let shape = [6, 4];
        let (x, xs) = tensor(device, &rng.complex(24), dtype, true, &shape).unwrap();
        let (g, gs) = tensor(device, &rng.complex(24), dtype, true, &shape).unwrap();
        let both = [0.2, 0.7, -0.5, -0.3, 0.4, 0.6];
        let [first, second] = [matrix(&both[..3]), matrix(&both[3..])];
        let [by_first, by_second] =
            wavecube::lct2_param_vjp(&x, &g, [&first, &second], [0, 1]).unwrap();
        let found = [along_group(&both[..3], &by_first), along_group(&both[3..], &by_second)];
        let plane = Trial { x, xs, g, gs, what };
        plane.check_values("lct2", &found.concat(), &both, |p| {
            let columns = transposed(&plane.xs, 4);
            let turned: Vec<_> = columns
                .chunks(6)
                .flat_map(|column| sheared(column, &first, &matrix(&p[..3])))
                .collect();
            transposed(&turned, 6)
                .chunks(4)
                .flat_map(|row| sheared(row, &second, &matrix(&p[3..])))
                .collect()
        });
    });
}

#[test]
fn angles() {
    each(|device, rng, dtype, what| {
        let trial = Trial::new(device, rng, dtype, N, what);
        let Trial { x, xs, g, .. } = &trial;
        let basis = r::hermite_basis(N);
        let found = wavecube::frft_angle_vjp(x, g, FRAC_PI_2, 0).unwrap();
        trial.check("frft", &found, &[FRAC_PI_2], |p| r::apply(&r::frft(N, &basis, p[0]), xs));
        let found = wavecube::frft_weighted_angle_vjp(x, g, 1.3, 0).unwrap();
        trial.check("weighted", &found, &[1.3], |p| r::apply(&r::frft_weighted(N, p[0]), xs));
    });
}

/// By the matrix and by where inputs and outputs lie. The kernels do not contain `c`.
#[test]
fn transforms_onto_other_grids() {
    each(|device, rng, dtype, what| {
        let trial = Trial::new(device, rng, dtype, N, what);
        let Trial { x, xs, g, .. } = &trial;
        for b in [1.1, -0.7] {
            let [a, d] = [0.8, 0.9];
            let m = Abcd::new(a, b, (a * d - 1.0) / b, d).unwrap();
            let with = |more: &[f64]| [&m.entries()[..], more].concat();

            let found = wavecube::lct_scaled_param_vjp(x, g, &m, 0.3, 0).unwrap();
            trial.check("scaled", &found, &with(&[0.3]), |p| {
                r::apply(&r::lct_scaled(entries(p), N, p[4]), xs)
            });
            for start in [0.0, -2.0, 7.5] {
                let found = wavecube::lct_causal_param_vjp(x, g, &m, start, 0.1, 0).unwrap();
                trial.check("causal", &found, &with(&[start, 0.1]), |p| {
                    r::apply(&r::lct_causal(entries(p), N, p[4], p[5]), xs)
                });
            }
            let nine = Trial::new(device, rng, dtype, 9, what);
            let Trial { x, xs, g, .. } = &nine;
            let grid = OutputGrid { outputs: 9, first: -0.4, step: 0.15 };
            let found = wavecube::lct_czt_param_vjp(x, g, &m, 0.3, &grid, 0).unwrap();
            nine.check("lct_czt", &found, &with(&[0.3, -0.4, 0.15]), |p| {
                r::apply(&r::lct_czt(entries(p), (N, p[4]), (9, p[5], p[6])), xs)
            });
        }
    });
}

#[test]
fn spirals() {
    each(|device, rng, dtype, what| {
        let trial = Trial::new(device, rng, dtype, N, what);
        let Trial { x, xs, g, .. } = &trial;
        let found = wavecube::czt_param_vjp(x, g, 0.1, 0.02, 0).unwrap();
        trial.check("czt", &found, &[0.1, 0.02], |p| {
            let circle = |turns: f64| Complex64::from_polar(1.0, 2.0 * PI * turns);
            r::apply(&r::czt(N, N, circle(p[0]), circle(-p[1])), xs)
        });

        let nine = Trial::new(device, rng, dtype, 9, what);
        let Trial { x, xs, g, .. } = &nine;
        let (a, w) = (Complex64::from_polar(1.01, 0.6), Complex64::from_polar(0.999, -0.13));
        let found = wavecube::czt_spiral_param_vjp(x, g, a, w, 0).unwrap();
        nine.check("czt_spiral", &found, &[a.re, a.im, w.re, w.im], |p| {
            let (a, w) = (Complex64::new(p[0], p[1]), Complex64::new(p[2], p[3]));
            r::apply(&r::czt(N, 9, a, w), xs)
        });
    });
}

/// Coefficients and frame by matrix and frame, and samples by the frame.
#[test]
fn framed_signals() {
    each(|device, rng, dtype, what| {
        let trial = Trial::new(device, rng, dtype, N, what);
        let Trial { x, xs, g, gs, .. } = &trial;
        let (frame_q, frame_m) = (0.3, 1.2);
        let frame = Frame::new(frame_q, frame_m, 0.0).unwrap();
        let state = FramedSignal::from_coefficients(x.clone(), frame, 0).unwrap();
        let state = state.with_zero_point(ZeroPoint::With);

        let m = Abcd::from_abc(0.9, 0.6, -0.3).unwrap();
        let [a, b, c, d] = m.entries();
        let (g_q, g_m) = (0.7, -0.4);
        let gradients = state.apply_vjp(&m, g, [g_q, g_m]).unwrap();
        let all: Vec<f64> = read(&gradients.parameters).iter().map(|v| v.re).collect();
        // d = (1 + bc)/a follows a, b and c.
        let by_d = all[3];
        let found =
            [all[0] - by_d * d / a, all[1] + by_d * c / a, all[2] + by_d * b / a, all[4], all[5]];
        // The frame's own gradients ride along as two more elements.
        let with_frame = |mut v: Vec<Complex64>, q: f64, m: f64| {
            v.extend([Complex64::from(q), Complex64::from(m)]);
            v
        };
        let gs = with_frame(gs.clone(), g_q, g_m);
        let whole = Trial { x: x.clone(), xs: xs.clone(), g: g.clone(), gs, what };
        whole.check_values("framed", &found, &[a, b, c, frame_q, frame_m], |p| {
            let entries = [p[0], p[1], p[2], (1.0 + p[1] * p[2]) / p[0]];
            let (q, m, v) = r::lct_framed(entries, (p[3], p[4], xs));
            with_frame(v, q, m)
        });

        let found = state.to_samples_frame_vjp(g).unwrap();
        let basis = r::hermite_basis(N);
        trial.check("samples", &found, &[frame_q, frame_m], |p| {
            let sample = |j: usize| (0..N).map(|k| xs[k] * basis[k * N + j]).sum();
            r::chirp(N, p[0] * p[1] * p[1], &(0..N).map(sample).collect::<Vec<_>>())
        });
        let found = state.resample_frame_vjp(g).unwrap();
        trial.check("resample", &found, &[frame_q, frame_m], |p| r::resample((p[0], p[1]), xs));
    });
}

#[test]
fn complex_matrices() {
    each(|device, rng, dtype, what| {
        let trial = Trial::new(device, rng, dtype, N, what);
        let Trial { x, xs, g, .. } = &trial;
        let [a, b, d] =
            [Complex64::new(0.8, 0.1), Complex64::new(1.1, 0.3), Complex64::new(0.9, -0.05)];
        let m = ComplexAbcd::new(a, b, (a * d - 1.0) / b, d).unwrap();
        let at: Vec<f64> = m.entries().iter().flat_map(|v| [v.re, v.im]).collect();
        let found = wavecube::lct_complex_param_vjp(x, g, &m, 0).unwrap();
        trial.check("complex", &found, &at, |p| {
            let entries = [0, 2, 4, 6].map(|i| Complex64::new(p[i], p[i + 1]));
            r::apply(&r::lct_complex(entries, N), xs)
        });
    });
}
