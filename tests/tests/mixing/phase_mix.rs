//! Channels mixed by magnitude and by phase, alone and between two transforms.

use wavecube::{
    Complex64, Device, Direction, Dtype, Normalization, Tensor, fft, fft_vjp, ifft, ifft_vjp,
    phase_mix, phase_mix_vjp, phase_rotate, phase_rotate_vjp, sigmoid_gate, sigmoid_gate_vjp,
};
use wavecube_kernels::mixing::{
    Map, PhaseMixBindings, PhaseMixGradients, PhaseMixPlan, PhaseMixProblem, phase_mix_launch,
    phase_mix_vjp_launch,
};
use wavecube_testing::{
    Rng, assert_close, devices, has, nan_filled, read, real_dot,
    reference::{
        fft::dft,
        mixing::{PhaseMix, value},
    },
    tensor,
};

/// Channels, both matrices and a gradient: on the device, and as rounded.
pub(super) struct Mixed {
    y: (Tensor, Vec<Complex64>),
    g: (Tensor, Vec<Complex64>),
    pub(super) a: Tensor,
    pub(super) c: Tensor,
    reference: PhaseMix,
}

impl Mixed {
    pub(super) fn new(
        device: &Device,
        dtype: Dtype,
        [rows, inputs, outputs]: [usize; 3],
        epsilon: f64,
        rng: &mut Rng,
    ) -> Self {
        let mut made = |shape: &[usize]| {
            let values = rng.complex(shape.iter().product());
            tensor(device, &values, dtype, true, shape).unwrap()
        };
        let (y, g) = (made(&[rows, inputs]), made(&[rows, outputs]));
        let (c, directions) = made(&[outputs, inputs]);
        let shape = [outputs, inputs];
        let (a, exact) = tensor(device, &rng.real(outputs * inputs), dtype, false, &shape).unwrap();
        let magnitudes = exact.iter().map(|a| a.re).collect();
        Self { y, g, a, c, reference: PhaseMix { inputs, magnitudes, directions, epsilon } }
    }

    /// Value and gradients, from memory that was full of NaN: `z`, by `y`, and `s` beside.
    fn launched(&self, device: &Device) -> [Vec<Complex64>; 3] {
        let PhaseMix { inputs, epsilon, .. } = self.reference;
        let (dtype, rows) = (self.y.0.dtype(), self.y.0.shape()[0]);
        let outputs = self.a.shape()[0];
        let plan = |g: Option<&Tensor>| {
            let (y, g) = (self.y.0.layout().clone(), g.map(|g| g.layout().clone()));
            let problem = PhaseMixProblem { op: "test", y, g, outputs, epsilon, dtype };
            PhaseMixPlan::new(&problem, device.limits()).unwrap()
        };
        let fresh = |complex, len| nan_filled(device, dtype, complex, &[rows, len]).unwrap();
        let (z, by_y, s) = (fresh(true, outputs), fresh(true, inputs), fresh(false, inputs));
        let (sizes, turned) = (fresh(true, outputs), fresh(true, outputs));
        let bindings = PhaseMixBindings {
            y: self.y.0.handle().clone(),
            magnitudes: self.a.handle().clone(),
            directions: self.c.handle().clone(),
        };
        phase_mix_launch(device.client(), &bindings, z.handle(), &plan(None)).unwrap();
        let into = PhaseMixGradients {
            sizes: sizes.handle().clone(),
            turned: turned.handle().clone(),
            y: by_y.handle().clone(),
            s: s.handle().clone(),
        };
        let g = &self.g.0;
        phase_mix_vjp_launch(device.client(), &bindings, g.handle(), &into, &plan(Some(g)))
            .unwrap();
        [z, by_y, s].map(|tensor| read(&tensor))
    }
}

#[test]
fn magnitudes_and_phases_are_mixed_apart() {
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            for sizes in [[1, 1, 1], [5, 7, 3], [33, 70, 2], [6, 4, 19]] {
                let mut rng = Rng::fresh();
                let of = Mixed::new(device, dtype, sizes, 0.3, &mut rng);
                let what = format!("{device} {dtype} {sizes:?} seed {}", rng.seed);
                let [z, by_y, _] = of.launched(device);
                let (y, g) = (&of.y.1, &of.g.1);
                // Sums of `inputs` or `outputs` products, divided by what is above 0.3.
                let epsilon = if dtype == Dtype::F64 { f64::EPSILON } else { f32::EPSILON.into() };
                let terms = sizes[0].max(sizes[1]).max(sizes[2]) as f64;
                let bound = 16.0 * epsilon * terms.sqrt();
                assert_close(&what, &z, &of.reference.value(y), bound);
                // The differences are good to some 1e-10.
                let bound = bound.max(1e-9);
                let expected = of.reference.by_channels(y, g);
                // Terms of the size of `g` may cancel: it counts for the size of what is compared.
                let close = |by: &str, found: &[Complex64], expected: &[Complex64]| {
                    let beside = |values: &[Complex64]| [values, g].concat();
                    assert_close(
                        &format!("{what}, by {by}"),
                        &beside(found),
                        &beside(expected),
                        bound,
                    );
                };
                close("y", &by_y, &expected);
                let [again, by_a, by_c] =
                    phase_mix_vjp(&of.y.0, &of.a, &of.c, 0.3, &of.g.0).unwrap();
                assert_eq!(read(&again), by_y, "{what}: the same bits");
                let (magnitudes, directions) = of.reference.by_matrices(y, g);
                let magnitudes: Vec<_> =
                    magnitudes.iter().map(|&a| Complex64::new(a, 0.0)).collect();
                close("A", &read(&by_a), &magnitudes);
                close("C", &read(&by_c), &directions);
                assert_eq!((by_a.shape(), by_c.shape()), (of.a.shape(), of.c.shape()));
            }
        }
    }
}

#[test]
fn channels_of_no_magnitude_mix_to_nothing() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let epsilon = 1e-4;
        let mut of = Mixed::new(device, Dtype::F32, [3, 5, 4], epsilon, &mut rng);
        of.y = tensor(device, &[Complex64::ZERO; 15], Dtype::F32, true, &[3, 5]).unwrap();
        let [z, by_y, s] = of.launched(device);
        assert_eq!(z, [Complex64::ZERO; 12]);
        assert!(s.iter().all(|s| (s.re - epsilon).abs() < 1e-10), "{s:?}");
        // `∂t = m/ε g` with `m = ε Σ a`: the gradient is `Cᴴ (Σ a) g`, whatever `ε` is.
        let rows: Vec<f64> =
            of.reference.magnitudes.chunks(5).map(|row| row.iter().sum()).collect();
        let expected: Vec<Complex64> =
            of.g.1
                .chunks(4)
                .flat_map(|g| {
                    let (rows, c) = (&rows, &of.reference.directions);
                    (0..5).map(move |i| {
                        (0..4).map(|o| c[o * 5 + i].conj() * g[o] * rows[o]).sum::<Complex64>()
                    })
                })
                .collect();
        assert_close("at zero", &by_y, &expected, 2e-6);
    }
}

/// Transforms of columns by their definition.
fn columns(x: &[Complex64], n: usize, direction: Direction) -> Vec<Complex64> {
    let channels = x.len() / n;
    let column = |c: usize| x.iter().skip(c).step_by(channels).copied().collect::<Vec<_>>();
    let done: Vec<_> =
        (0..channels).map(|c| dft(&column(c), direction, Normalization::Ortho)).collect();
    (0..x.len()).map(|at| done[at % channels][at / channels]).collect()
}

#[test]
fn a_spectrum_turned_gated_mixed_and_brought_back_has_the_gradient_of_the_whole() {
    let (n, channels) = (12, 4);
    let (norm, dtype) = (Normalization::Ortho, Dtype::F32);
    for device in devices() {
        let mut rng = Rng::fresh();
        let mixed = Mixed::new(device, dtype, [n, channels, channels], 0.3, &mut rng);
        let mut made = |complex: bool| {
            let len = n * channels;
            let values = if complex { rng.complex(len) } else { rng.real(len) };
            tensor(device, &values, dtype, complex, &[n, channels]).unwrap()
        };
        let ((x, xs), (angle, angles), (gate, gates), (g, gs)) =
            (made(true), made(false), made(false), made(true));

        let spectrum = fft(&x, 0, norm).unwrap();
        let turned = phase_rotate(&spectrum, &angle).unwrap();
        let open = sigmoid_gate(&turned, &gate).unwrap();
        let z = phase_mix(&open, &mixed.a, &mixed.c, 0.3).unwrap();
        let y = ifft(&z, 0, norm).unwrap();

        let by_z = ifft_vjp(&g, 0, norm).unwrap();
        let [by_open, ..] = phase_mix_vjp(&open, &mixed.a, &mixed.c, 0.3, &by_z).unwrap();
        let [by_turned, by_gate] = sigmoid_gate_vjp(&turned, &gate, &by_open).unwrap();
        let [by_spectrum, by_angle] = phase_rotate_vjp(&spectrum, &angle, &by_turned).unwrap();
        let by_x = fft_vjp(&by_spectrum, 0, norm).unwrap();

        let whole = |[x, angles, gates]: [&[Complex64]; 3]| {
            let mut spectrum = columns(x, n, Direction::Forward);
            for ((z, angle), gate) in spectrum.iter_mut().zip(angles).zip(gates) {
                *z = value(Map::Gate, value(Map::Rotate, *z, angle.re), gate.re);
            }
            columns(&mixed.reference.value(&spectrum), n, Direction::Inverse)
        };
        let operands = [&xs[..], &angles, &gates];
        assert_close("the whole", &read(&y), &whole(operands), 5e-6);
        // Central differences: of second order, so good to some 1e-8.
        let step = 1e-4;
        let slope = |operand: usize, at: usize, unit: Complex64| {
            let loss = |h: f64| {
                let mut values = operands[operand].to_vec();
                values[at] += unit * h;
                let mut moved = operands;
                moved[operand] = &values;
                real_dot(&gs, &whole(moved))
            };
            (loss(step) - loss(-step)) / (2.0 * step)
        };
        for (operand, (what, found)) in
            [("signal", by_x), ("phases", by_angle), ("gates", by_gate)].into_iter().enumerate()
        {
            let by_imaginary =
                |at| if operand == 0 { slope(operand, at, Complex64::I) } else { 0.0 };
            let expected: Vec<_> = (0..n * channels)
                .map(|at| Complex64::new(slope(operand, at, Complex64::ONE), by_imaginary(at)))
                .collect();
            assert_close(what, &read(&found), &expected, 1e-5);
        }
    }
}
