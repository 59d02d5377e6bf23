//! Complex numbers element by element, their norm and their linear maps.

mod phase_mix;
mod poison;
mod real;
mod scales;

use std::f64::consts::PI;

use wavecube::{
    Complex64, Device, Dtype, Error, Layout, Tensor, cardioid, complex_linear, complex_linear_vjp,
    complex_rms_norm, complex_rms_norm_vjp, from_polar, mod_relu, mod_relu_vjp, phase_mix,
    phase_mix_vjp, phase_rotate, phase_rotate_vjp, sigmoid_gate_vjp, to_polar, to_polar_vjp,
};
use wavecube_kernels::mixing::{
    Map, MapBindings, MapGradients, MapPlan, RmsNormPlan, map_launch, map_vjp_launch,
    rms_norm_launch, rms_norm_vjp_launch,
};
use wavecube_testing::{
    Rng, assert_close, catalogue, devices, halves, has, nan_filled, read, real_dot,
    reference::mixing::{gradients, linear, rms_norm, rms_norm_gradients, value},
    tensor,
};

use self::phase_mix::Mixed;

const MAPS: [Map; 6] =
    [Map::ModRelu, Map::Cardioid, Map::Rotate, Map::Gate, Map::Polar, Map::Cartesian];
const EPSILON: f64 = 1e-5;

/// Roundings of the result, and of a few operations before.
fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => 1e-3,
        Dtype::Bf16 => 8e-3,
        Dtype::F64 => 1e-11,
        _ => 6e-7,
    }
}

fn typed(map: impl Fn(&Device, Dtype)) {
    for device in devices() {
        for dtype in [Dtype::F16, Dtype::Bf16, Dtype::F32, Dtype::F64] {
            if has(device, dtype) {
                map(device, dtype);
            }
        }
    }
}

/// Whether the shapes' last axes make element `at` of `z` meet element `place` of `w`.
fn place_of(at: usize, z: &[usize], w: &[usize]) -> usize {
    let (mut rest, mut place, mut step) = (at, 0, 1);
    for (&whole, &len) in z.iter().zip(w).rev() {
        place += rest % whole % len * step;
        rest /= whole;
        step *= len;
    }
    place
}

/// Operands of `shape`, and a `w` of another, away from thresholds; and where `w` is for every element.
struct Operands {
    z: (Tensor, Vec<Complex64>),
    w: (Tensor, Vec<Complex64>),
    g: (Tensor, Vec<Complex64>),
    places: Vec<usize>,
}

impl Operands {
    fn new(device: &Device, dtype: Dtype, [z, w]: [&[usize]; 2], rng: &mut Rng) -> Self {
        let elements: usize = z.iter().product();
        let away = |z: &Complex64| if (0.4..0.6).contains(&z.norm()) { z * 2.0 } else { *z };
        let values: Vec<_> = rng.complex(elements).iter().map(away).collect();
        let weights: usize = w.iter().product();
        let weights: Vec<_> =
            (0..weights).map(|_| Complex64::new(rng.uniform(-0.55, -0.45), 0.0)).collect();
        Self {
            places: (0..elements).map(|at| place_of(at, z, w)).collect(),
            g: tensor(device, &rng.complex(elements), dtype, true, z).unwrap(),
            z: tensor(device, &values, dtype, true, z).unwrap(),
            w: tensor(device, &weights, dtype, false, w).unwrap(),
        }
    }

    /// `z`, `w` and `g` of every element.
    fn elements(&self) -> impl Iterator<Item = (Complex64, f64, Complex64)> {
        let at = |i: usize| (self.z.1[i], self.w.1[self.places[i]].re, self.g.1[i]);
        (0..self.z.1.len()).map(at)
    }
}

#[test]
fn the_catalogue_is_right() {
    catalogue::assert_right("mixing/");
}

#[test]
fn maps_and_gradients_are_those_of_the_definition() {
    let shapes: [[&[usize]; 2]; 4] =
        [[&[1], &[1]], [&[7, 33], &[1, 33]], [&[3, 1, 70], &[3, 1, 1]], [&[2, 5, 9], &[2, 5, 9]]];
    typed(|device, dtype| {
        for map in MAPS {
            if dtype == Dtype::F64 && !matches!(map, Map::ModRelu | Map::Cardioid) {
                continue;
            }
            for shape in shapes {
                let mut rng = Rng::fresh();
                let of = Operands::new(device, dtype, shape, &mut rng);
                let what = format!("{device} {map:?} {dtype} {shape:?} seed {}", rng.seed);
                check(device, dtype, map, shape[0], &of, &what);
            }
        }
    });
}

/// Launches into memory that was full of NaN.
fn check(device: &Device, dtype: Dtype, map: Map, shape: &[usize], of: &Operands, what: &str) {
    let weighted = map.is_weighted();
    let [z, w, g] = [&of.z.0, &of.w.0, &of.g.0];
    let layouts = [Some(z.layout()), weighted.then(|| w.layout()), None];
    let plan = MapPlan::new("test", map, layouts, dtype, device.limits()).unwrap();
    let bindings = MapBindings { z: z.handle().clone(), w: weighted.then(|| w.handle().clone()) };
    let y = nan_filled(device, dtype, true, shape).unwrap();
    map_launch(device.client(), &bindings, y.handle(), &plan).unwrap();
    let expected: Vec<_> = of.elements().map(|(z, w, _)| value(map, z, w)).collect();
    assert_close(what, &read(&y), &expected, tolerance(dtype));

    let layouts = [layouts[0], layouts[1], Some(g.layout())];
    let plan = MapPlan::new("test", map, layouts, dtype, device.limits()).unwrap();
    let by_z = nan_filled(device, dtype, true, shape).unwrap();
    let by_w = nan_filled(device, dtype.compute(), false, shape).unwrap();
    let into =
        MapGradients { z: by_z.handle().clone(), w: weighted.then(|| by_w.handle().clone()) };
    map_vjp_launch(device.client(), &bindings, g.handle(), &into, &plan).unwrap();
    let expected: Vec<_> = of.elements().map(|(z, w, g)| gradients(map, z, w, g)).collect();
    let (of_z, of_w): (Vec<_>, Vec<_>) =
        expected.into_iter().map(|(z, w)| (z, Complex64::new(w, 0.0))).unzip();
    // The reference's differences are good to some 1e-12 of `g`, of which a gradient may be a small part.
    let tolerance = |dtype| tolerance(dtype).max(1e-9);
    // Terms of the size of `g` may cancel: it counts for the size of what is compared.
    let beside = |values: &[Complex64]| [values, &of.g.1].concat();
    let what_z = format!("{what}, by z");
    assert_close(&what_z, &beside(&read(&by_z)), &beside(&of_z), tolerance(dtype));
    if weighted {
        // The compute type: only the operands were rounded to the storage type.
        let tolerance = tolerance(dtype.compute());
        let what = format!("{what}, by w");
        assert_close(&what, &beside(&read(&by_w)), &beside(&of_w), tolerance);
    }
}

#[test]
fn gradients_by_what_is_shared_are_sums() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let of = Operands::new(device, Dtype::F32, [&[6, 5, 40], &[1, 5, 1]], &mut rng);
        let [z, w, g] = [&of.z.0, &of.w.0, &of.g.0];
        for (map, found) in [
            (Map::ModRelu, mod_relu_vjp(z, w, g)),
            (Map::Rotate, phase_rotate_vjp(z, w, g)),
            (Map::Gate, sigmoid_gate_vjp(z, w, g)),
        ] {
            let [_, found] = found.unwrap();
            assert_eq!(found.shape(), [1, 5, 1]);
            let mut expected = vec![Complex64::ZERO; 5];
            for ((z, w, g), place) in of.elements().zip(&of.places) {
                expected[*place].re += gradients(map, z, w, g).1;
            }
            // Sums of 240 terms that may cancel: relative to the root of the sum of their squares.
            let size: f64 = of.g.1.iter().map(Complex64::norm_sqr).sum::<f64>().sqrt();
            for (found, expected) in read(&found).iter().zip(&expected) {
                assert!((found - expected).norm() <= 1e-5 * size, "{map:?}: {found} {expected}");
            }
        }
    }
}

#[test]
fn strided_operands_are_read_where_they_lie() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let (z, exact) = tensor(device, &rng.complex(60), Dtype::F32, true, &[4, 5, 3]).unwrap();
        let view = z.permuted(&[2, 0, 1]).unwrap().narrowed(1, 1, 3).unwrap();
        let expected: Vec<_> = (0..3)
            .flat_map(|c| (1..4).flat_map(move |a| (0..5).map(move |b| a * 15 + b * 3 + c)))
            .map(|at| value(Map::Cardioid, exact[at], 0.0))
            .collect();
        assert_close("strided", &read(&cardioid(&view).unwrap()), &expected, 6e-7);
        let (w, w_exact) = tensor(device, &rng.real(5), Dtype::F32, false, &[1, 1, 5]).unwrap();
        let weights: Vec<f64> = w_exact.iter().map(|w| w.re).collect();
        let lines = (0..3).flat_map(|c| (1..4).map(move |a| a * 15 + c));
        let expected: Vec<_> = lines
            .flat_map(|from| {
                let line: Vec<_> = (0..5).map(|b| exact[from + 3 * b]).collect();
                rms_norm(&line, &weights, EPSILON)
            })
            .collect();
        let found = complex_rms_norm(&view, &w, EPSILON).unwrap();
        assert_close("strided norm", &read(&found), &expected, 1e-6);
    }
}

#[test]
fn numbers_without_a_direction_and_extreme_ones() {
    for device in devices() {
        let z = [
            Complex64::ZERO,
            Complex64::new(3e30, -4e30),
            Complex64::new(-3e-30, 4e-30),
            Complex64::new(0.0, -2.0),
            Complex64::new(-1.0, 0.0),
        ];
        let (z, exact) = tensor(device, &z, Dtype::F32, true, &[5]).unwrap();
        let bias = tensor(device, &[Complex64::new(0.0, 0.0)], Dtype::F32, false, &[1]).unwrap().0;
        let each = |found: &[Complex64], expected: &[Complex64]| {
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (found - expected).norm();
                assert!(error <= 1e-6 * expected.norm(), "{device} {i}: {found} {expected}");
            }
        };
        each(&read(&mod_relu(&z, &bias).unwrap()), &exact);
        let expected: Vec<_> = exact.iter().map(|&z| value(Map::Polar, z, 0.0)).collect();
        let polar = to_polar(&z).unwrap();
        each(&read(&polar), &expected);
        each(
            &read(&cardioid(&z).unwrap())[1..4],
            &exact[1..4].iter().map(|&z| value(Map::Cardioid, z, 0.0)).collect::<Vec<_>>(),
        );

        let g = tensor(device, &[Complex64::ONE; 5], Dtype::F32, true, &[5]).unwrap().0;
        let at_zero = |found: &Tensor| read(found)[0];
        assert_eq!(at_zero(&mod_relu_vjp(&z, &bias, &g).unwrap()[0]), Complex64::ZERO);
        assert_eq!(at_zero(&to_polar_vjp(&z, &g).unwrap()), Complex64::ZERO);
        let half = wavecube::cardioid_vjp(&z, &g).unwrap();
        assert_eq!(at_zero(&half), Complex64::new(0.5, 0.0));
    }
}

#[test]
fn cardioids_keep_what_is_left_near_the_negative_axis() {
    for device in devices() {
        let near: Vec<_> =
            (1..12).map(|i| Complex64::from_polar(3.0, PI - 0.3f64.powi(i))).collect();
        let (z, exact) = tensor(device, &near, Dtype::F32, true, &[near.len()]).unwrap();
        for (found, z) in read(&cardioid(&z).unwrap()).iter().zip(&exact) {
            // `1 + cos φ` from the half angle, whose sine is that of the angle beside π.
            let expected = z * (0.5 * z.im.atan2(-z.re)).sin().powi(2);
            assert!((found - expected).norm() <= 1e-6 * expected.norm(), "{z}: {found} {expected}");
        }
    }
}

#[test]
fn phases_of_any_size() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let n = 4000;
        for reach in [3.2, 100.0, 1e4] {
            let angles: Vec<_> =
                (0..n).map(|_| Complex64::new(rng.uniform(-reach, reach), 0.0)).collect();
            let ones = vec![Complex64::ONE; n];
            let z = tensor(device, &ones, Dtype::F32, true, &[n]).unwrap().0;
            let (w, exact) = tensor(device, &angles, Dtype::F32, false, &[n]).unwrap();
            let found = read(&phase_rotate(&z, &w).unwrap());
            let worst = found
                .iter()
                .zip(&exact)
                .map(|(y, w)| (y - Complex64::from_polar(1.0, w.re)).norm())
                .fold(0.0, f64::max);
            assert!(worst <= 3e-7, "{device} to {reach}: {worst:e}, seed {}", rng.seed);
        }
        let (z, exact) = tensor(device, &rng.complex(n), Dtype::F32, true, &[n]).unwrap();
        let back = from_polar(&to_polar(&z).unwrap()).unwrap();
        assert_close("there and back", &read(&back), &exact, 5e-7);
    }
}

#[test]
fn maps_by_magnitude_turn_with_their_operand() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let of = Operands::new(device, Dtype::F32, [&[6, 20], &[1, 20]], &mut rng);
        let (z, w) = (&of.z.0, &of.w.0);
        let turn = Complex64::new(rng.uniform(-3.0, 3.0), 0.0);
        let turn = tensor(device, &[turn], Dtype::F32, false, &[1, 1]).unwrap().0;
        let rotate = |z: &Tensor| phase_rotate(z, &turn).unwrap();
        let mixed = Mixed::new(device, Dtype::F32, [6, 20, 9], 0.3, &mut rng);
        let maps: [&dyn Fn(&Tensor) -> Tensor; 3] =
            [&|z| mod_relu(z, w).unwrap(), &|z| complex_rms_norm(z, w, EPSILON).unwrap(), &|z| {
                phase_mix(z, &mixed.a, &mixed.c, 0.01).unwrap()
            }];
        for map in maps {
            let (one, other) = (map(&rotate(z)), rotate(&map(z)));
            assert_close("equivariance", &read(&one), &read(&other), 2e-6);
        }
        // The cardioid knows where the real axis is.
        let (one, other) = (cardioid(&rotate(z)).unwrap(), rotate(&cardioid(z).unwrap()));
        assert!(wavecube_testing::relative_l2(&read(&one), &read(&other)) > 1e-3);
    }
}

#[test]
fn norms_and_gradients_are_those_of_the_definition() {
    typed(|device, dtype| {
        for [rows, n] in [[1, 1], [3, 2], [5, 65], [2, 700]] {
            let mut rng = Rng::fresh();
            let of = Operands::new(device, dtype, [&[rows, n], &[1, n]], &mut rng);
            let what = format!("{device} {dtype} {rows} x {n} seed {}", rng.seed);
            let [z, w, g] = [&of.z.0, &of.w.0, &of.g.0];

            let weights: Vec<f64> = of.w.1.iter().map(|w| w.re).collect();
            let (mut values, mut of_z, mut of_w) = (Vec::new(), Vec::new(), Vec::new());
            for (z, g) in of.z.1.chunks(n).zip(of.g.1.chunks(n)) {
                values.extend(rms_norm(z, &weights, EPSILON));
                let (z, w) = rms_norm_gradients(z, &weights, g, EPSILON);
                of_z.extend(z);
                of_w.extend(w.iter().map(|&w| Complex64::new(w, 0.0)));
            }
            // A unit a line, and several, which need barriers.
            let limits = *device.limits();
            for emulated in [limits.emulated, false] {
                let limits = wavecube::Limits { emulated, ..limits };
                let plan = |g: Option<&Tensor>| {
                    let layouts = [Some(z.layout()), Some(w.layout()), g.map(Tensor::layout)];
                    RmsNormPlan::new("test", layouts, EPSILON, (dtype, 2), &limits).unwrap()
                };
                let y = nan_filled(device, dtype, true, &[rows, n]).unwrap();
                let by_z = nan_filled(device, dtype, true, &[rows, n]).unwrap();
                let by_w = nan_filled(device, dtype.compute(), false, &[rows, n]).unwrap();
                let (client, into) = (device.client(), [by_z.handle(), by_w.handle()]);
                let operands = [z.handle(), w.handle(), g.handle()];
                rms_norm_launch(client, [z.handle(), w.handle(), y.handle()], &plan(None)).unwrap();
                rms_norm_vjp_launch(client, operands, into, &plan(Some(g))).unwrap();

                let what = format!("{what}, {:?}", plan(None).config);
                // The mean is of up to 700 squares; a line of one cancels but for its phase.
                let tolerance = 4.0 * tolerance(dtype);
                assert_close(&what, &read(&y), &values, tolerance);
                // The differences of the reference, of a sum over a line, are good to some 1e-11.
                let tolerance = tolerance.max(1e-9);
                let beside = |values: &[Complex64]| [values, &of.g.1].concat();
                let close = |by: &str, found: &[Complex64], expected: &[Complex64]| {
                    assert_close(
                        &format!("{what}, by {by}"),
                        &beside(found),
                        &beside(expected),
                        tolerance,
                    );
                };
                close("z", &read(&by_z), &of_z);
                close("w", &read(&by_w), &of_w);
            }
            let again = complex_rms_norm_vjp(z, w, EPSILON, g).unwrap();
            let once_more = complex_rms_norm_vjp(z, w, EPSILON, g).unwrap();
            assert_eq!(read(&again[0]), read(&once_more[0]), "{what}: the same bits");
        }
    });
}

#[test]
fn linear_maps_and_their_adjoints() {
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            let shapes =
                [(vec![1], 1), (vec![3, 5, 7], 33), (vec![70, 20], 18), (vec![1003, 6], 5)];
            for (shape, outputs) in shapes {
                let mut rng = Rng::fresh();
                let (lines, inputs) = shape.split_at(shape.len() - 1);
                let (rows, inputs): (usize, usize) = (lines.iter().product(), inputs[0]);
                let mut made = |shape: &[usize]| {
                    let values = rng.complex(shape.iter().product());
                    tensor(device, &values, dtype, true, shape).unwrap()
                };
                let (x, xs) = made(&shape);
                let (w, ws) = made(&[outputs, inputs]);
                let (g, gs) = made(&[lines, &[outputs]].concat());
                let y = read(&complex_linear(&x, &w).unwrap());
                let epsilon = if dtype == Dtype::F64 { f64::EPSILON } else { f32::EPSILON.into() };
                let bound = 4.0 * epsilon * (inputs.max(rows) as f64).sqrt();
                let what = format!("{device} {dtype} {shape:?} to {outputs}");
                assert_close(&what, &y, &linear(&xs, &ws, inputs), bound);

                let [by_x, by_w] = complex_linear_vjp(&x, &w, &g).unwrap();
                assert_eq!((by_x.shape(), by_w.shape()), (x.shape(), w.shape()));
                let mut expected = vec![Complex64::ZERO; ws.len()];
                for (g, x) in gs.chunks(outputs).zip(xs.chunks(inputs)) {
                    for (at, sum) in expected.iter_mut().enumerate() {
                        *sum += g[at / inputs] * x[at % inputs].conj();
                    }
                }
                assert_close(&format!("{what}, by w"), &read(&by_w), &expected, bound);
                // ⟨g, W x⟩ = ⟨Wᴴ g, x⟩.
                let (one, other) = (real_dot(&gs, &y), real_dot(&read(&by_x), &xs));
                let size = wavecube_testing::norm(&gs) * wavecube_testing::norm(&y);
                assert!((one - other).abs() <= bound * size, "{what}: {one} {other}");
            }
        }
    }
}

#[test]
fn nothing_is_mapped_to_nothing() {
    for device in devices() {
        let z = Tensor::empty(device, Dtype::F32, true, &[0, 4]).unwrap();
        let w = Tensor::empty(device, Dtype::F32, false, &[1, 4]).unwrap();
        let matrix = Tensor::empty(device, Dtype::F32, true, &[2, 4]).unwrap();
        let g = Tensor::empty(device, Dtype::F32, true, &[0, 2]).unwrap();
        assert!(read(&mod_relu(&z, &w).unwrap()).is_empty());
        assert_eq!(complex_linear(&z, &matrix).unwrap().shape(), [0, 2]);
        let [by_z, by_w] = complex_rms_norm_vjp(&z, &w, EPSILON, &z).unwrap();
        assert_eq!((by_z.shape(), read(&by_w)), (&[0, 4][..], vec![Complex64::ZERO; 4]));
        let [_, by_matrix] = complex_linear_vjp(&z, &matrix, &g).unwrap();
        assert_eq!(read(&by_matrix), [Complex64::ZERO; 8]);
        let sizes = Tensor::empty(device, Dtype::F32, false, &[2, 4]).unwrap();
        let [by_y, by_sizes, _] = phase_mix_vjp(&z, &sizes, &matrix, 1e-4, &g).unwrap();
        assert_eq!((by_y.shape(), read(&by_sizes)), (&[0, 4][..], vec![Complex64::ZERO; 8]));
    }
}

#[test]
fn what_cannot_be_mapped_is_an_error() {
    for device in devices() {
        let complex = |shape: &[usize]| Tensor::empty(device, Dtype::F32, true, shape).unwrap();
        let real = |shape: &[usize]| Tensor::empty(device, Dtype::F32, false, shape).unwrap();
        let (z, w, g) = (complex(&[3, 4]), real(&[1, 4]), complex(&[3, 5]));
        let named = |error: Error, argument: &str| {
            let message = error.to_string();
            assert!(message.contains(&format!("`{argument}`")), "{message}");
        };
        named(mod_relu(&w, &w).unwrap_err(), "z");
        named(mod_relu(&z, &z).unwrap_err(), "w");
        named(mod_relu(&z, &real(&[4])).unwrap_err(), "w");
        named(mod_relu(&z, &real(&[2, 4])).unwrap_err(), "w");
        named(mod_relu_vjp(&z, &w, &g).unwrap_err(), "g");
        named(complex_rms_norm(&z, &w, 0.0).unwrap_err(), "epsilon");
        named(complex_rms_norm(&z, &w, f64::NAN).unwrap_err(), "epsilon");
        named(complex_rms_norm(&complex(&[3, 0]), &real(&[1, 1]), 1e-6).unwrap_err(), "z");
        named(complex_linear(&z, &complex(&[2, 5])).unwrap_err(), "w");
        named(complex_linear(&z, &complex(&[4])).unwrap_err(), "w");
        let transposed = complex(&[4, 2]).permuted(&[1, 0]).unwrap();
        named(complex_linear(&z, &transposed).unwrap_err(), "w");
        named(complex_linear_vjp(&z, &complex(&[2, 4]), &g).unwrap_err(), "g");
        assert!(matches!(cardioid(&complex(&[])), Err(Error::Axis { .. })));
        let (a, c) = (real(&[2, 4]), complex(&[2, 4]));
        named(phase_mix(&w, &a, &c, 1e-4).unwrap_err(), "y");
        named(phase_mix(&z, &c, &c, 1e-4).unwrap_err(), "magnitudes");
        named(phase_mix(&z, &real(&[2, 5]), &c, 1e-4).unwrap_err(), "magnitudes");
        named(phase_mix(&z, &a, &complex(&[3, 4]), 1e-4).unwrap_err(), "directions");
        named(phase_mix(&z, &a, &transposed, 1e-4).unwrap_err(), "directions");
        named(phase_mix(&z, &a, &c, 0.0).unwrap_err(), "epsilon");
        named(phase_mix(&z, &real(&[0, 4]), &complex(&[0, 4]), 1e-4).unwrap_err(), "outputs");
        named(phase_mix_vjp(&z, &a, &c, 1e-4, &g).unwrap_err(), "g");
        if has(device, Dtype::F64) {
            let double = Tensor::empty(device, Dtype::F64, true, &[3]).unwrap();
            named(to_polar(&double).unwrap_err(), "z");
        }
        for dtype in halves(device) {
            let half = Tensor::empty(device, dtype, true, &[3, 4]).unwrap();
            named(complex_linear(&half, &complex(&[2, 4])).unwrap_err(), "x");
        }
    }
    let z = Layout::contiguous(&[3, 4]);
    let plan = |map, w| {
        MapPlan::new("test", map, [Some(&z), w, None], Dtype::F32, &wavecube::Limits::HOPPER)
    };
    assert!(matches!(plan(Map::Gate, None), Err(Error::Unsupported { argument: "w", .. })));
    assert!(matches!(plan(Map::Polar, Some(&z)), Err(Error::Unsupported { argument: "w", .. })));
}
