//! Gradients of linear canonical transforms by their parameters, of which the reference is only asked for
//! values: the derivatives are finite differences.

use core::f64::consts::PI;

use wavecube::{Abcd, Complex64, ComplexAbcd, Frame, OutputGrid, Result, ShearFactors, Tensor};

use super::{
    Case,
    lct::{
        ANGLE, PASSES, RATE, SCALE, START, basis, complex_matrix, dense_gate, dual_matrix, frame,
        framed_samples, gate, matrix, output_grid, spacing, spiral, state,
    },
    lines::Parameters,
};
use crate::reference::{
    lct::{self as reference, Shear},
    transposed,
};

/// Points of a line, and where the eigenbasis has a reference.
const N: usize = 128;
const BASIS: usize = 64;

/// Of a transform to lines of the same length; `factors` as for the transform.
fn parameters(op: &'static str, at: &[f64], factors: f64) -> Parameters {
    Parameters { op, n: N, outputs: N, at: at.to_vec(), gate: gate(N, factors) }
}

/// Of a transform in the eigenbasis.
fn in_basis(op: &'static str, at: &[f64]) -> Parameters {
    Parameters { op, n: BASIS, outputs: BASIS, at: at.to_vec(), gate: dense_gate(BASIS) }
}

pub(super) fn cases() -> Vec<Case> {
    [shears(), eigenbasis(), grids(), algebraic()].into_iter().flatten().collect()
}

/// The shears of a matrix with a convolution in the middle, as functions of its entries.
fn by_convolution(p: &[f64]) -> [Shear; 3] {
    let [a, b, _, d] = entries(p);
    [Shear::Chirp((a - 1.0) / b), Shear::Fresnel(b), Shear::Chirp((d - 1.0) / b)]
}

/// With a chirp in the middle.
fn by_chirp(p: &[f64]) -> [Shear; 3] {
    let [a, _, c, d] = entries(p);
    [Shear::Fresnel((d - 1.0) / c), Shear::Chirp(c), Shear::Fresnel((a - 1.0) / c)]
}

fn entries(p: &[f64]) -> [f64; 4] {
    [p[0], p[1], p[2], p[3]]
}

fn abcd(p: &[f64]) -> Result<Abcd> {
    Abcd::new(p[0], p[1], p[2], p[3])
}

fn shears() -> Vec<Case> {
    let (at, dual) = (matrix().entries(), dual_matrix().entries());
    let passes = [PASSES.first, PASSES.middle, PASSES.last];
    vec![
        parameters("lct/chirp_multiply_rate_vjp", &[RATE], 1.0).case(
            |x, g, p| wavecube::chirp_multiply_rate_vjp(x, g, p[0], -1),
            |p, x| reference::chirp(N, p[0], x),
        ),
        parameters("lct/shear_param_vjp", &at, 6.0).case(
            |x, g, p| wavecube::lct_shear_param_vjp(x, g, &abcd(p)?, -1),
            |p, x| reference::lct_shear(N, x, 0, &by_convolution(p)),
        ),
        parameters("lct/shear_factored_param_vjp", &dual, 6.0).case(
            |x, g, p| {
                let factors = ShearFactors::smooth(&abcd(p)?)?;
                wavecube::lct_shear_factored_param_vjp(x, g, &factors, -1)
            },
            |p, x| reference::lct_shear(N, x, 0, &by_chirp(p)),
        ),
        parameters("lct/shear_rate_vjp", &passes, 6.0).case(
            |x, g, _| {
                let unit = [vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]];
                wavecube::lct_shear_rate_vjp(x, g, &PASSES, Complex64::ONE, &unit, -1)
            },
            |p, x| {
                let shears = [Shear::Chirp(p[0]), Shear::Fresnel(-p[1]), Shear::Chirp(p[2])];
                reference::lct_shear(N, x, 0, &shears)
            },
        ),
        parameters("lct/fresnel_param_vjp", &[RATE], 6.0).case(
            |x, g, p| wavecube::fresnel_param_vjp(x, g, p[0], -1),
            |p, x| reference::lct_shear(N, x, 0, &[Shear::Fresnel(p[0])]),
        ),
        parameters("lct/scaling_param_vjp", &[SCALE], 6.0).case(
            |x, g, p| wavecube::scaling_param_vjp(x, g, p[0], -1),
            |p, x| {
                let scale = |m: f64| Abcd::scaling(m).expect("a scale");
                let chosen = ShearFactors::smooth(&scale(SCALE)).expect("finite entries");
                let moved = ShearFactors::pinned(&scale(p[0]), chosen.power(), chosen.form());
                reference::lct_shear_factored(N, x, &moved.expect("finite entries"))
            },
        ),
        lct2("lct/lct2_first_param_vjp", 0),
        lct2("lct/lct2_second_param_vjp", 1),
    ]
}

/// The gradient by one of the two matrices of a plane: columns by the first, rows by the second.
fn lct2(op: &'static str, which: usize) -> Case {
    let both = [matrix(), dual_matrix()];
    parameters(op, &both[which].entries(), 12.0).case(
        move |x, g, _| {
            let [first, second] = &both;
            let gradients = wavecube::lct2_param_vjp(x, g, [first, second], [0, 1])?;
            Ok(gradients[which].clone())
        },
        move |p, x| {
            let mut entries = both.map(|m| m.entries());
            entries[which] = p.try_into().expect("four entries");
            let rows = x.len() / N;
            let columns = transposed(x, N);
            let columns = reference::lct_shear(rows, &columns, 0, &by_convolution(&entries[0]));
            reference::lct_shear(N, &transposed(&columns, rows), 0, &by_chirp(&entries[1]))
        },
    )
}

fn eigenbasis() -> Vec<Case> {
    let (q, m) = (frame().q(), frame().m());
    let framed = [&matrix().entries()[..], &[q, m]].concat();
    let state = |v: &Tensor, q: f64, m: f64| state(v, Frame::new(q, m, 0.0)?, -1);
    vec![
        in_basis("lct/frft_angle_vjp", &[ANGLE]).case(
            |x, g, p| wavecube::frft_angle_vjp(x, g, p[0], -1),
            |p, x| {
                let basis = reference::hermite_basis(BASIS);
                reference::lines(&reference::frft(BASIS, &basis, p[0]), BASIS, x)
            },
        ),
        in_basis("lct/framed_param_vjp", &framed).case(
            move |v, g, p| Ok(state(v, p[4], p[5])?.apply_vjp(&abcd(p)?, g, [0.0; 2])?.parameters),
            |p, v| {
                let line = |v: &[_]| reference::lct_framed(entries(p), (p[4], p[5], v)).2;
                v.chunks(BASIS).flat_map(line).collect()
            },
        ),
        in_basis("lct/framed_samples_frame_vjp", &[q, m]).case(
            move |v, g, p| state(v, p[0], p[1])?.to_samples_frame_vjp(g),
            |p, v| {
                let basis = basis(BASIS);
                v.chunks(BASIS).flat_map(|v| framed_samples(&basis, (p[0], p[1]), v)).collect()
            },
        ),
        in_basis("lct/framed_resample_frame_vjp", &[q, m]).case(
            move |v, g, p| state(v, p[0], p[1])?.resample_frame_vjp(g),
            |p, v| v.chunks(BASIS).flat_map(|v| reference::resample((p[0], p[1]), v)).collect(),
        ),
    ]
}

fn grids() -> Vec<Case> {
    let with = |more: &[f64]| [&matrix().entries()[..], more].concat();
    let grid = output_grid(N);
    let outputs = grid.outputs;
    let [a, w] = spiral();
    vec![
        parameters("lct/scaled_param_vjp", &with(&[spacing(N)]), 3.0).case(
            |x, g, p| wavecube::lct_scaled_param_vjp(x, g, &abcd(p)?, p[4], -1),
            |p, x| reference::lines(&reference::lct_scaled(entries(p), N, p[4]), N, x),
        ),
        parameters("lct/causal_param_vjp", &with(&[START, spacing(N)]), 12.0).case(
            |x, g, p| wavecube::lct_causal_param_vjp(x, g, &abcd(p)?, p[4], p[5], -1),
            |p, x| reference::lines(&reference::lct_causal(entries(p), N, p[4], p[5]), N, x),
        ),
        parameters("lct/causal_jacobian_vjp", &[START, spacing(N)], 12.0).case(
            |x, g, p| {
                let grid = [vec![0.0, 0.0, 0.0, 0.0, 1.0, 0.0], vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0]];
                wavecube::lct_causal_jacobian_vjp(x, g, &matrix(), p[0], p[1], &grid, -1)
            },
            |p, x| {
                let causal = reference::lct_causal(matrix().entries(), N, p[0], p[1]);
                reference::lines(&causal, N, x)
            },
        ),
        parameters("lct/czt_param_vjp", &[0.1, 0.3 / N as f64], 8.0).case(
            |x, g, p| wavecube::czt_param_vjp(x, g, p[0], p[1], -1),
            |p, x| {
                let circle = |turns: f64| Complex64::from_polar(1.0, 2.0 * PI * turns);
                reference::lines(&reference::czt(N, N, circle(p[0]), circle(-p[1])), N, x)
            },
        ),
        Parameters {
            outputs,
            ..parameters("lct/czt_spiral_param_vjp", &[a.re, a.im, w.re, w.im], 8.0)
        }
        .case(
            |x, g, p| {
                let [a, w] = [Complex64::new(p[0], p[1]), Complex64::new(p[2], p[3])];
                wavecube::czt_spiral_param_vjp(x, g, a, w, -1)
            },
            move |p, x| {
                let [a, w] = [Complex64::new(p[0], p[1]), Complex64::new(p[2], p[3])];
                reference::lines(&reference::czt(N, outputs, a, w), N, x)
            },
        ),
        Parameters {
            outputs,
            ..parameters("lct/lct_czt_param_vjp", &with(&[spacing(N), grid.first, grid.step]), 8.0)
        }
        .case(
            move |x, g, p| {
                let grid = OutputGrid { outputs, first: p[5], step: p[6] };
                wavecube::lct_czt_param_vjp(x, g, &abcd(p)?, p[4], &grid, -1)
            },
            move |p, x| {
                let matrix = reference::lct_czt(entries(p), (N, p[4]), (outputs, p[5], p[6]));
                reference::lines(&matrix, N, x)
            },
        ),
    ]
}

fn algebraic() -> Vec<Case> {
    let complex = |p: &[f64]| [0, 2, 4, 6].map(|i| Complex64::new(p[i], p[i + 1]));
    let at: Vec<f64> = complex_matrix().entries().iter().flat_map(|v| [v.re, v.im]).collect();
    vec![
        parameters("lct/frft_weighted_angle_vjp", &[ANGLE], 4.0).case(
            |x, g, p| wavecube::frft_weighted_angle_vjp(x, g, p[0], -1),
            |p, x| reference::lines(&reference::frft_weighted(N, p[0]), N, x),
        ),
        Parameters { gate: dense_gate(N), ..parameters("lct/complex_param_vjp", &at, 1.0) }.case(
            move |x, g, p| {
                let [a, b, c, d] = complex(p);
                wavecube::lct_complex_param_vjp(x, g, &ComplexAbcd::new(a, b, c, d)?, -1)
            },
            move |p, x| reference::lines(&reference::lct_complex(complex(p), N), N, x),
        ),
    ]
}
