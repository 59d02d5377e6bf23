//! Complex numbers element by element, their norm and their linear maps.

use wavecube::{Complex64, Device, Dtype, Result, Tensor};
use wavecube_kernels::mixing::Map;

use super::{Case, POINTS, Peer, Prepared, lines::sample};
use crate::{
    Rng,
    reference::mixing::{PhaseMix, gradients, linear, rms_norm, rms_norm_gradients, value},
    tensor,
};

/// Channels of a position.
const CHANNELS: usize = 64;
/// Positions that a reference covers.
const COVERED: usize = 64;
const EPSILON: f64 = 1e-6;

/// A batch of positions, real factors for the channels, and a gradient: on the device, and as rounded.
struct Operands {
    tensors: [Tensor; 3],
    z: Vec<Complex64>,
    w: Vec<f64>,
    g: Vec<Complex64>,
}

impl Operands {
    fn new(
        device: &Device,
        rng: &mut Rng,
        dtype: Dtype,
        rows: usize,
        complex: bool,
    ) -> Result<Self> {
        let mut numbers =
            || if complex { rng.complex(rows * CHANNELS) } else { rng.real(rows * CHANNELS) };
        let (z, g) = (numbers(), numbers());
        // Magnitudes away from the thresholds, which lie between -1.1 and -0.9.
        let away = |z: &Complex64| if (0.8..1.2).contains(&z.norm()) { z * 1.6 } else { *z };
        let z: Vec<_> = z.iter().map(away).collect();
        let w: Vec<_> =
            (0..CHANNELS).map(|_| Complex64::new(rng.uniform(-1.1, -0.9), 0.0)).collect();
        let (z, z_exact) = tensor(device, &z, dtype, complex, &[rows, CHANNELS])?;
        let (w, w_exact) = tensor(device, &w, dtype, false, &[1, CHANNELS])?;
        let (g, g_exact) = tensor(device, &g, dtype, complex, &[rows, CHANNELS])?;
        let w_exact = w_exact.iter().map(|w| w.re).collect();
        Ok(Self { tensors: [z, w, g], z: z_exact, w: w_exact, g: g_exact })
    }

    /// The operands of the elements of a position.
    fn elements(&self, row: usize) -> impl Iterator<Item = (Complex64, f64, Complex64)> {
        let (z, g) = (line(&self.z, row), line(&self.g, row));
        z.iter().zip(&self.w).zip(g).map(|((z, w), g)| (*z, *w, *g))
    }
}

/// The elements of a position.
fn line(of: &[Complex64], row: usize) -> &[Complex64] {
    &of[row * CHANNELS..(row + 1) * CHANNELS]
}

type Call = fn([&Tensor; 3]) -> Result<Tensor>;
type Truth = Box<dyn Fn(&Operands, usize) -> Vec<Complex64> + Send + Sync>;

/// An operation of `parts` numbers an element, its type, and what a position's channels become.
fn case(op: &'static str, dtype: Dtype, parts: usize, gate: f64, call: Call, truth: Truth) -> Case {
    case_of(op, (dtype, true), parts, gate, call, truth)
}

/// The same of elements that are complex or not.
fn case_of(
    op: &'static str,
    (dtype, complex): (Dtype, bool),
    parts: usize,
    gate: f64,
    call: Call,
    truth: Truth,
) -> Case {
    let rows = POINTS / CHANNELS;
    let truth = std::sync::Arc::new(truth);
    Case {
        op,
        dtype,
        rows,
        n: CHANNELS,
        bytes: rows * CHANNELS * parts * dtype.size(),
        gate,
        peer: Peer::Nothing,
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let operands = Operands::new(device, rng, dtype, rows, complex)?;
            let tensors = operands.tensors.clone();
            let covered = sample(rng, rows, COVERED);
            let (lines, truth) = (covered.clone(), truth.clone());
            let expected = move || lines.iter().flat_map(|&row| truth(&operands, row)).collect();
            let call = move || call([&tensors[0], &tensors[1], &tensors[2]]);
            Ok(Prepared::lines(call, CHANNELS, covered, expected))
        }),
    }
}

fn map(op: &'static str, map: Map, dtype: Dtype, call: Call) -> Case {
    let truth = move |of: &Operands, row: usize| {
        of.elements(row).map(|(z, w, _)| value(map, z, w)).collect()
    };
    case(op, dtype, 4, gate(dtype), call, Box::new(truth))
}

fn map_vjp(op: &'static str, map: Map, dtype: Dtype, call: Call) -> Case {
    let truth = move |of: &Operands, row: usize| {
        of.elements(row).map(|(z, w, g)| gradients(map, z, w, g).0).collect()
    };
    let parts = if map.is_weighted() { 7 } else { 6 };
    case(op, dtype, parts, gate(dtype), call, Box::new(truth))
}

fn norm(op: &'static str, number: (Dtype, bool), call: Call) -> Case {
    let parts = if number.1 { 4 } else { 2 };
    let truth = |of: &Operands, row: usize| rms_norm(line(&of.z, row), &of.w, EPSILON);
    case_of(op, number, parts, gate(number.0), call, Box::new(truth))
}

fn norm_vjp(op: &'static str, number: (Dtype, bool), call: Call) -> Case {
    let parts = if number.1 { 7 } else { 4 };
    let truth = |of: &Operands, row: usize| {
        let (z, g) = (line(&of.z, row), line(&of.g, row));
        rms_norm_gradients(z, &of.w, g, EPSILON).0
    };
    case_of(op, number, parts, gate(number.0), call, Box::new(truth))
}

/// A few roundings, one of the storage type and some of the compute type; in `f64` the differences that the
/// reference takes for gradients are good to some 1e-12 only.
fn gate(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => 1e-3,
        Dtype::Bf16 => 8e-3,
        Dtype::F64 => 1e-10,
        _ => 5e-7,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let f32 = Dtype::F32;
    let mut cases = vec![
        map("mixing/cardioid", Map::Cardioid, f32, |[z, ..]| wavecube::cardioid(z)),
        map("mixing/phase_rotate", Map::Rotate, f32, |[z, w, _]| wavecube::phase_rotate(z, w)),
        map("mixing/sigmoid_gate", Map::Gate, f32, |[z, w, _]| wavecube::sigmoid_gate(z, w)),
        map("mixing/to_polar", Map::Polar, f32, |[z, ..]| wavecube::to_polar(z)),
        map("mixing/from_polar", Map::Cartesian, f32, |[z, ..]| wavecube::from_polar(z)),
        map_vjp("mixing/cardioid_vjp", Map::Cardioid, f32, |[z, _, g]| {
            wavecube::cardioid_vjp(z, g)
        }),
        map_vjp("mixing/phase_rotate_vjp", Map::Rotate, f32, |[z, w, g]| {
            wavecube::phase_rotate_vjp(z, w, g).map(|[z, _]| z)
        }),
        map_vjp("mixing/sigmoid_gate_vjp", Map::Gate, f32, |[z, w, g]| {
            wavecube::sigmoid_gate_vjp(z, w, g).map(|[z, _]| z)
        }),
        map_vjp("mixing/to_polar_vjp", Map::Polar, f32, |[z, _, g]| wavecube::to_polar_vjp(z, g)),
        map_vjp("mixing/from_polar_vjp", Map::Cartesian, f32, |[z, _, g]| {
            wavecube::from_polar_vjp(z, g)
        }),
    ];
    for dtype in [Dtype::F32, Dtype::F16, Dtype::F64] {
        cases.extend([
            map("mixing/mod_relu", Map::ModRelu, dtype, |[z, w, _]| wavecube::mod_relu(z, w)),
            map_vjp("mixing/mod_relu_vjp", Map::ModRelu, dtype, |[z, w, g]| {
                wavecube::mod_relu_vjp(z, w, g).map(|[z, _]| z)
            }),
            norm("mixing/rms_norm", (dtype, true), |[z, w, _]| {
                wavecube::complex_rms_norm(z, w, EPSILON)
            }),
            norm_vjp("mixing/rms_norm_vjp", (dtype, true), |[z, w, g]| {
                wavecube::complex_rms_norm_vjp(z, w, EPSILON, g).map(|[z, _]| z)
            }),
        ]);
    }
    for dtype in [Dtype::F32, Dtype::F16] {
        cases.extend([
            norm("mixing/real_rms_norm", (dtype, false), |[z, w, _]| {
                wavecube::rms_norm(z, w, EPSILON)
            }),
            norm_vjp("mixing/real_rms_norm_vjp", (dtype, false), |[z, w, g]| {
                wavecube::rms_norm_vjp(z, w, EPSILON, g).map(|[z, _]| z)
            }),
        ]);
    }
    cases.extend([
        // The first positions are the matrix.
        product(case(
            "mixing/linear",
            f32,
            4,
            linear_gate(),
            |[z, ..]| wavecube::complex_linear(z, &z.narrowed(0, 0, CHANNELS)?),
            Box::new(|of, row| linear(line(&of.z, row), &of.z[..CHANNELS * CHANNELS], CHANNELS)),
        )),
        case(
            "mixing/linear_vjp",
            f32,
            8,
            linear_gate(),
            |[z, _, g]| {
                wavecube::complex_linear_vjp(z, &z.narrowed(0, 0, CHANNELS)?, g).map(|[x, _]| x)
            },
            Box::new(|of, row| {
                let adjoint: Vec<Complex64> = (0..CHANNELS * CHANNELS)
                    .map(|at| of.z[at % CHANNELS * CHANNELS + at / CHANNELS].conj())
                    .collect();
                linear(line(&of.g, row), &adjoint, CHANNELS)
            }),
        ),
    ]);
    cases.extend([false, true].map(phase_mix));
    cases
}

/// With the product by real and imaginary parts beside it.
fn product(case: Case) -> Case {
    Case { peer: Peer::Product([case.rows, 2 * CHANNELS, 2 * CHANNELS]), ..case }
}

/// Below which magnitudes of mixed channels fade: well above the rounding of a sum, by which directions of small
/// sums are off, and the gradient by them as often as a magnitude is larger.
const FADING: f64 = 1.0;

/// Channels mixed by magnitude and by phase, or the gradient by them.
fn phase_mix(gradient: bool) -> Case {
    let (dtype, rows) = (Dtype::F32, POINTS / CHANNELS / 16);
    let prepare = move |device: &Device, rng: &mut Rng| {
        let square = [CHANNELS, CHANNELS];
        let (z, z_exact) =
            tensor(device, &rng.complex(rows * CHANNELS), dtype, true, &[rows, CHANNELS])?;
        let (g, g_exact) =
            tensor(device, &rng.complex(rows * CHANNELS), dtype, true, &[rows, CHANNELS])?;
        let (a, a_exact) = tensor(device, &rng.real(CHANNELS * CHANNELS), dtype, false, &square)?;
        let (c, c_exact) = tensor(device, &rng.complex(CHANNELS * CHANNELS), dtype, true, &square)?;
        let of = PhaseMix {
            inputs: CHANNELS,
            magnitudes: a_exact.iter().map(|a| a.re).collect(),
            directions: c_exact,
            epsilon: FADING,
        };
        let covered = sample(rng, rows, 8);
        let lines = covered.clone();
        let expected = move || {
            let each = lines.iter().map(|&row| (line(&z_exact, row), line(&g_exact, row)));
            each.flat_map(|(z, g)| if gradient { of.by_channels(z, g) } else { of.value(z) })
                .collect()
        };
        let call = move || {
            if gradient {
                wavecube::phase_mix_vjp(&z, &a, &c, FADING, &g).map(|[z, ..]| z)
            } else {
                wavecube::phase_mix(&z, &a, &c, FADING)
            }
        };
        Ok(Prepared::lines(call, CHANNELS, covered, expected))
    };
    Case {
        op: if gradient { "mixing/phase_mix_vjp" } else { "mixing/phase_mix" },
        dtype,
        rows,
        n: CHANNELS,
        bytes: rows * CHANNELS * if gradient { 6 } else { 4 } * dtype.size(),
        // Sums that a quotient follows, whose divisor may be a tenth of its terms' size.
        gate: 2.0 * linear_gate(),
        peer: Peer::Nothing,
        prepare: Box::new(prepare),
    }
}

/// Sums of `CHANNELS` products: `4 ε √n`.
fn linear_gate() -> f64 {
    4.0 * f64::from(f32::EPSILON) * (CHANNELS as f64).sqrt()
}
