//! NaN and infinities in every operand: they show in the elements, lines or channels that see them, and nowhere else.

use wavecube::{
    Complex64, Dtype, Tensor, cardioid, cardioid_vjp, complex_linear, complex_linear_vjp,
    complex_rms_norm, complex_rms_norm_vjp, from_polar, from_polar_vjp, mod_relu, mod_relu_vjp,
    phase_mix, phase_mix_vjp, phase_rotate, phase_rotate_vjp, sigmoid_gate, sigmoid_gate_vjp,
    to_polar, to_polar_vjp,
};
use wavecube_testing::{Rng, devices, halves, has, read, tensor};

use crate::poison::{Operand, POISONS, assert_shows};

const EPSILON: f64 = 1e-4;
/// Positions and channels, more of these than a unit of a GPU has neighbours.
const SHAPE: [usize; 2] = [5, 70];

/// Which elements of a result see element `at` of an operand.
#[derive(Clone, Copy)]
enum Sees {
    /// The same one.
    Element,
    /// Those of its line.
    Line,
    /// Those of its channel, the operand's only axis.
    Channel,
}

impl Sees {
    fn at(self, n: usize, at: usize, i: usize) -> bool {
        match self {
            Self::Element => i == at,
            Self::Line => i / n == at / n,
            Self::Channel => i % n == at,
        }
    }
}

/// Operands `z`, `w` and `g`: complex, real by channel, complex.
fn operands(rng: &mut Rng, dtype: Dtype) -> [Operand; 3] {
    let z = Operand::random(rng, dtype, true, &SHAPE);
    let g = Operand::random(rng, dtype, true, &SHAPE);
    let mut w = Operand::random(rng, dtype, false, &[1, SHAPE[1]]);
    // Above zero, so that modReLU cuts nothing.
    for w in &mut w.values {
        w.re = 0.1 + w.re.abs();
    }
    [z, w, g]
}

type Map = fn([&Tensor; 3]) -> Tensor;

#[test]
fn maps_show_what_is_no_number() {
    use Sees::{Channel, Element};
    let cases: [(&str, Map, [Option<Sees>; 3]); 12] = [
        ("mod_relu", |[z, w, _]| mod_relu(z, w).unwrap(), [Some(Element), Some(Channel), None]),
        ("cardioid", |[z, ..]| cardioid(z).unwrap(), [Some(Element), None, None]),
        ("rotate", |[z, w, _]| phase_rotate(z, w).unwrap(), [Some(Element), Some(Channel), None]),
        ("gate", |[z, w, _]| sigmoid_gate(z, w).unwrap(), [Some(Element), Some(Channel), None]),
        ("to_polar", |[z, ..]| to_polar(z).unwrap(), [Some(Element), None, None]),
        ("from_polar", |[z, ..]| from_polar(z).unwrap(), [Some(Element), None, None]),
        (
            "mod_relu_vjp",
            |[z, w, g]| mod_relu_vjp(z, w, g).unwrap()[0].clone(),
            [Some(Element), Some(Channel), Some(Element)],
        ),
        (
            "cardioid_vjp",
            |[z, _, g]| cardioid_vjp(z, g).unwrap(),
            [Some(Element), None, Some(Element)],
        ),
        (
            "rotate_vjp",
            |[z, w, g]| phase_rotate_vjp(z, w, g).unwrap()[0].clone(),
            [None, Some(Channel), Some(Element)],
        ),
        (
            "gate_vjp",
            |[z, w, g]| sigmoid_gate_vjp(z, w, g).unwrap()[0].clone(),
            [None, Some(Channel), Some(Element)],
        ),
        (
            "to_polar_vjp",
            |[z, _, g]| to_polar_vjp(z, g).unwrap(),
            [Some(Element), None, Some(Element)],
        ),
        (
            "from_polar_vjp",
            |[z, _, g]| from_polar_vjp(z, g).unwrap(),
            [Some(Element), None, Some(Element)],
        ),
    ];
    for device in devices() {
        for dtype in [Dtype::F32].into_iter().chain(halves(device)) {
            for (name, map, sees) in cases {
                // What an infinite gate or bias opens or shuts is finite; and infinite magnitudes have an angle, a
                // share of nothing.
                let limits = name.starts_with("gate") || name.starts_with("mod_relu");
                assert_operands(device, dtype, name, map, sees, |operand, poison| {
                    operand == 1 && poison.is_infinite() && limits
                });
            }
        }
        if has(device, Dtype::F64) {
            for (name, map, sees) in [cases[0], cases[1], cases[6], cases[7]] {
                assert_operands(device, Dtype::F64, name, map, sees, |operand, poison| {
                    operand == 1 && poison.is_infinite()
                });
            }
        }
    }
}

fn assert_operands(
    device: &wavecube::Device,
    dtype: Dtype,
    name: &str,
    map: impl Fn([&Tensor; 3]) -> Tensor,
    sees: [Option<Sees>; 3],
    finite: impl Fn(usize, f64) -> bool,
) {
    let mut rng = Rng::fresh();
    let of = operands(&mut rng, dtype);
    let uploaded = of.each_ref().map(|operand| operand.upload(device));
    let call = |tensors: &[Tensor; 3]| map(tensors.each_ref());
    let clean = call(&uploaded);
    for (operand, sees) in sees.into_iter().enumerate() {
        let Some(sees) = sees else { continue };
        for poison in POISONS {
            for imaginary in [false, true] {
                if imaginary && operand == 1 || finite(operand, poison) {
                    continue;
                }
                let at = rng.int(0, of[operand].values.len() - 1);
                let mut tensors = uploaded.clone();
                tensors[operand] = of[operand].with(at, poison, imaginary).upload(device);
                let what = format!("{device} {dtype} {name}: {poison} in operand {operand}");
                let found = call(&tensors);
                assert_shows(&what, poison, [&clean, &found], |i| sees.at(SHAPE[1], at, i));
            }
        }
    }
}

#[test]
fn gradients_by_what_is_shared_show_what_is_no_number() {
    use Sees::Channel;
    for device in devices() {
        let mut rng = Rng::fresh();
        let of = operands(&mut rng, Dtype::F32);
        let uploaded = of.each_ref().map(|operand| operand.upload(device));
        let maps: [(&str, Map, [bool; 3]); 4] = [
            ("mod_relu", |[z, w, g]| mod_relu_vjp(z, w, g).unwrap()[1].clone(), [true; 3]),
            ("rotate", |[z, w, g]| phase_rotate_vjp(z, w, g).unwrap()[1].clone(), [true; 3]),
            ("gate", |[z, w, g]| sigmoid_gate_vjp(z, w, g).unwrap()[1].clone(), [true; 3]),
            (
                "norm",
                |[z, w, g]| complex_rms_norm_vjp(z, w, EPSILON, g).unwrap()[1].clone(),
                [false, false, true],
            ),
        ];
        for (name, map, operands) in maps {
            let clean = map(uploaded.each_ref());
            for operand in (0..3).filter(|&operand| operands[operand]) {
                let at = rng.int(0, of[operand].values.len() - 1);
                let mut tensors = uploaded.clone();
                tensors[operand] = of[operand].with(at, f64::NAN, false).upload(device);
                let found = map(tensors.each_ref());
                let what = format!("{device} {name} by w: NaN in operand {operand}");
                let at = at % SHAPE[1];
                assert_shows(&what, f64::NAN, [&clean, &found], |i| Channel.at(SHAPE[1], at, i));
            }
        }
    }
}

#[test]
fn norms_show_what_is_no_number_in_their_line() {
    use Sees::{Channel, Element, Line};
    for device in devices() {
        for dtype in [Dtype::F16, Dtype::F32, Dtype::F64] {
            if !has(device, dtype) {
                continue;
            }
            let forward = |[z, w, _]: [&Tensor; 3]| complex_rms_norm(z, w, EPSILON).unwrap();
            // An infinity among the numbers has no norm: all of the line is NaN.
            assert_operands(
                device,
                dtype,
                "norm",
                forward,
                [Some(Line), Some(Channel), None],
                |_, _| false,
            );
            let by_z = |[z, w, g]: [&Tensor; 3]| {
                complex_rms_norm_vjp(z, w, EPSILON, g).unwrap()[0].clone()
            };
            // A factor is in the mean of its line, and every line has it.
            assert_operands(device, dtype, "by z", by_z, [Some(Line), None, Some(Line)], |_, _| {
                false
            });
        }
        let mut rng = Rng::fresh();
        let [z, w, g] = operands(&mut rng, Dtype::F32);
        let found = complex_rms_norm_vjp(
            &z.upload(device),
            &w.with(3, f64::NAN, false).upload(device),
            EPSILON,
            &g.upload(device),
        );
        assert!(read(&found.unwrap()[0]).iter().all(|v| v.is_nan()));
        assert!(!Element.at(SHAPE[1], 3, 4));
    }
}

/// What modReLU cuts has no gradient, whatever comes down; and numbers without magnitude stay zero.
#[test]
fn what_is_cut_stays_cut() {
    for device in devices() {
        let upload = |values: &[Complex64], complex| {
            tensor(device, values, Dtype::F32, complex, &[values.len()]).unwrap().0
        };
        let nan = Complex64::new(f64::NAN, 0.0);
        let z = upload(&[Complex64::ONE, Complex64::ONE, Complex64::ZERO], true);
        let w = [-2.0, f64::NEG_INFINITY, -1.0].map(|w| Complex64::new(w, 0.0));
        let w = upload(&w, false);
        assert_eq!(read(&mod_relu(&z, &w).unwrap()), [Complex64::ZERO; 3]);
        let [by_z, by_w] = mod_relu_vjp(&z, &w, &upload(&[nan; 3], true)).unwrap();
        assert_eq!(read(&by_z), [Complex64::ZERO; 3]);
        assert_eq!(read(&by_w), [Complex64::ZERO; 3]);
        // Gates at their limits.
        let z = upload(&[Complex64::new(2.0, -3.0); 2], true);
        let w = [f64::INFINITY, f64::NEG_INFINITY].map(|w| Complex64::new(w, 0.0));
        let found = read(&sigmoid_gate(&z, &upload(&w, false)).unwrap());
        assert_eq!(found, [Complex64::new(2.0, -3.0), Complex64::ZERO]);
        // An infinite number has a magnitude and, where it has one, an angle.
        let z = [(f64::INFINITY, 1.0), (-1.0, f64::NEG_INFINITY), (f64::INFINITY, f64::INFINITY)];
        let found =
            read(&to_polar(&upload(&z.map(|(re, im)| Complex64::new(re, im)), true)).unwrap());
        for (found, (re, im)) in found.iter().zip(z) {
            assert!(found.re == f64::INFINITY, "{found}");
            assert!((found.im - im.atan2(re)).abs() < 1e-6, "{found}");
        }
    }
}

/// Linear maps and mixtures: a channel shows in all results of its line, an entry of a matrix in its result of all.
#[test]
fn mixed_channels_show_what_is_no_number() {
    let [rows, inputs, outputs] = [9, 13, 6];
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            let mut rng = Rng::fresh();
            let of = [
                Operand::random(&mut rng, dtype, true, &[rows, inputs]),
                Operand::random(&mut rng, dtype, false, &[outputs, inputs]),
                Operand::random(&mut rng, dtype, true, &[outputs, inputs]),
                Operand::random(&mut rng, dtype, true, &[rows, outputs]),
            ];
            type Call = fn([&Tensor; 4]) -> Tensor;
            /// A result's columns, and for each operand whether an element of the result sees one of it: by their
            /// rows and columns.
            type Case =
                (&'static str, Call, [bool; 4], usize, fn(usize, [usize; 2], [usize; 2]) -> bool);
            let cases: [Case; 7] = [
                (
                    "linear",
                    |[y, _, c, _]| complex_linear(y, c).unwrap(),
                    [true, false, true, false],
                    outputs,
                    |of, i, at| {
                        if of == 0 { i[0] == at[0] } else { i[1] == at[0] }
                    },
                ),
                (
                    "mix",
                    |[y, a, c, _]| phase_mix(y, a, c, EPSILON).unwrap(),
                    [true, true, true, false],
                    outputs,
                    |of, i, at| {
                        if of == 0 { i[0] == at[0] } else { i[1] == at[0] }
                    },
                ),
                (
                    "linear by x",
                    |[y, _, c, g]| complex_linear_vjp(y, c, g).unwrap()[0].clone(),
                    [false, false, true, true],
                    inputs,
                    |of, i, at| {
                        if of == 3 { i[0] == at[0] } else { i[1] == at[1] }
                    },
                ),
                (
                    "linear by w",
                    |[y, _, c, g]| complex_linear_vjp(y, c, g).unwrap()[1].clone(),
                    [true, false, false, true],
                    inputs,
                    |of, i, at| {
                        if of == 0 { i[1] == at[1] } else { i[0] == at[1] }
                    },
                ),
                (
                    "mix by y",
                    |[y, a, c, g]| phase_mix_vjp(y, a, c, EPSILON, g).unwrap()[0].clone(),
                    [true, false, false, true],
                    inputs,
                    |_, i, at| i[0] == at[0],
                ),
                (
                    "mix by A",
                    |[y, a, c, g]| phase_mix_vjp(y, a, c, EPSILON, g).unwrap()[1].clone(),
                    [false, false, false, true],
                    inputs,
                    |_, i, at| i[0] == at[1],
                ),
                (
                    "mix by C",
                    |[y, a, c, g]| phase_mix_vjp(y, a, c, EPSILON, g).unwrap()[2].clone(),
                    [false, true, false, true],
                    inputs,
                    |of, i, at| {
                        if of == 1 { i[0] == at[0] } else { i[0] == at[1] }
                    },
                ),
            ];
            let uploaded = of.each_ref().map(|operand| operand.upload(device));
            for (name, call, operands, columns, sees) in cases {
                let clean = call(uploaded.each_ref());
                for operand in (0..4).filter(|&operand| operands[operand]) {
                    for poison in POISONS {
                        let at = rng.int(0, of[operand].values.len() - 1);
                        let width = of[operand].shape[1];
                        let mut tensors = uploaded.clone();
                        tensors[operand] = of[operand].with(at, poison, false).upload(device);
                        let found = call(tensors.each_ref());
                        let what =
                            format!("{device} {dtype} {name}: {poison} in operand {operand}");
                        assert_shows(&what, poison, [&clean, &found], |i| {
                            sees(operand, [i / columns, i % columns], [at / width, at % width])
                        });
                    }
                }
            }
        }
    }
}
