//! Tridiagonal operators: random batches of them, and comparisons.

mod determinant;
mod diagonal;
mod factors;
mod gradients;
mod inputs;
mod kept;
mod mixed;
mod plan;
mod poison;
mod scales;
mod sequences;
mod solve;

use wavecube::{Complex64, Device, Dtype, Tensor, Tridiagonal, TridiagonalGradients};
use wavecube_testing::{
    Rng, catalogue, nan_filled, read,
    reference::tridiag::{Gradients, Operator},
    tensor,
};

const I: Complex64 = Complex64::I;

fn real(v: f64) -> Complex64 {
    Complex64::new(v, 0.0)
}

/// Where operators come from. `complex` says what `a`, and `b` and `c`, are.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The model's own: `a = v − 2` with a potential of size 1, `b = c = 1`, `z = iη`.
    Model { eta: f64 },
    /// The same with `c = −1`.
    Negative { eta: f64 },
    /// Normal `a`, complex `b` and `c`.
    ComplexBeside,
    /// All complex.
    Complex,
    /// `a = ±100`, `b` and `c` normal times 10, no shift to speak of.
    Dominant,
}

impl Source {
    fn complex(self) -> [bool; 2] {
        match self {
            Self::ComplexBeside => [false, true],
            Self::Complex => [true, true],
            _ => [false, false],
        }
    }

    /// What its operators allow at `η = 1`: complex ones may be near their spectrum.
    fn gates(self) -> Gates {
        match self {
            Self::Model { .. } | Self::ComplexBeside => MODEL,
            _ => NEGATIVE,
        }
    }

    fn operator(self, rng: &mut Rng, n: usize) -> Operator {
        let beside = n - 1;
        let normal = rng.real(n);
        let scaled = |v: Vec<Complex64>, s: f64| v.into_iter().map(|v| v * s).collect();
        match self {
            Self::Model { eta } | Self::Negative { eta } => Operator {
                a: normal.iter().map(|v| real(v.re.clamp(-3.0, 3.0) - 2.0)).collect(),
                b: vec![real(1.0); beside],
                c: vec![
                    real(if matches!(self, Self::Negative { .. }) { -1.0 } else { 1.0 });
                    beside
                ],
                z: I * eta,
            },
            Self::ComplexBeside => Operator {
                a: normal,
                b: scaled(rng.complex(beside), 0.5),
                c: scaled(rng.complex(beside), 0.5),
                z: Complex64::new(0.3, 2.0),
            },
            Self::Complex => Operator {
                a: rng.complex(n).into_iter().map(|v| v * 0.5).collect(),
                b: scaled(rng.complex(beside), 0.5),
                c: scaled(rng.complex(beside), 0.5),
                z: Complex64::new(-0.2, 2.0),
            },
            Self::Dominant => Operator {
                a: normal.iter().map(|v| real(100.0_f64.copysign(v.re))).collect(),
                b: scaled(rng.real(beside), 10.0),
                c: scaled(rng.real(beside), 10.0),
                z: I * 0.5,
            },
        }
    }
}

/// A batch of operators on a device, and as they were rounded.
struct Batch {
    n: usize,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    z: Tensor,
    g: Tensor,
    gs: Vec<Complex64>,
    exact: Vec<Operator>,
}

impl Batch {
    fn new(
        device: &Device,
        dtype: Dtype,
        operators: &[Operator],
        complex: [bool; 2],
        rng: &mut Rng,
    ) -> Self {
        let (rows, n) = (operators.len(), operators[0].a.len());
        let all = |part: fn(&Operator) -> Vec<Complex64>| -> Vec<Complex64> {
            operators.iter().flat_map(part).collect()
        };
        let upload = |values: Vec<Complex64>, complex: bool, shape: &[usize]| {
            tensor(device, &values, dtype, complex, shape).unwrap()
        };
        let (a, a_exact) = upload(all(|o| o.a.clone()), complex[0], &[rows, n]);
        let (b, b_exact) = upload(all(|o| o.b.clone()), complex[1], &[rows, n - 1]);
        let (c, c_exact) = upload(all(|o| o.c.clone()), complex[1], &[rows, n - 1]);
        let (z, z_exact) = upload(all(|o| vec![o.z]), true, &[rows]);
        let (g, gs) = upload(rng.complex(rows * n), true, &[rows, n]);
        let exact = (0..rows)
            .map(|r| Operator {
                a: a_exact[r * n..(r + 1) * n].to_vec(),
                b: b_exact[r * (n - 1)..(r + 1) * (n - 1)].to_vec(),
                c: c_exact[r * (n - 1)..(r + 1) * (n - 1)].to_vec(),
                z: z_exact[r],
            })
            .collect();
        Self { n, a, b, c, z, g, gs, exact }
    }

    fn of(
        device: &Device,
        dtype: Dtype,
        source: Source,
        rows: usize,
        n: usize,
        rng: &mut Rng,
    ) -> Self {
        let operators: Vec<Operator> = (0..rows).map(|_| source.operator(rng, n)).collect();
        Self::new(device, dtype, &operators, source.complex(), rng)
    }

    fn tridiagonal(&self) -> Tridiagonal {
        Tridiagonal::new(&self.a, &self.b, &self.c, &self.z)
    }

    /// The truth: the diagonals, and the gradients of every sequence.
    fn truth(&self, dense: bool) -> (Vec<Complex64>, Vec<Gradients>) {
        let g = self.gs.chunks(self.n);
        if dense {
            let diagonals = self.exact.iter().flat_map(Operator::diagonal_dense).collect();
            (diagonals, self.exact.iter().zip(g).map(|(o, g)| o.gradients_dense(g)).collect())
        } else {
            let diagonals = self.exact.iter().flat_map(Operator::diagonal_serial).collect();
            (diagonals, self.exact.iter().zip(g).map(|(o, g)| o.gradients_serial(g)).collect())
        }
    }
}

/// The place of the largest of some numbers, and that number; the first NaN if there is one.
fn worst(values: impl Iterator<Item = f64>) -> (usize, f64) {
    values.enumerate().fold((0, 0.0), |most: (usize, f64), (i, v)| {
        if !most.1.is_nan() && (v.is_nan() || v > most.1) { (i, v) } else { most }
    })
}

/// The largest size of some numbers.
fn largest<'a>(values: impl IntoIterator<Item = &'a Complex64>) -> f64 {
    worst(values.into_iter().map(|v| v.norm())).1
}

/// `max |found − expected| / size`; NaN if anything is.
fn relative_to(size: f64, found: &[Complex64], expected: &[Complex64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "as many values as expected");
    let (_, error) = worst(found.iter().zip(expected).map(|(a, b)| (a - b).norm()));
    if size == 0.0 { error } else { error / size }
}

/// The same beside `max |expected|`.
fn relative_max(found: &[Complex64], expected: &[Complex64]) -> f64 {
    relative_to(largest(expected), found, expected)
}

/// Asserts that error.
fn assert_near(what: &str, found: &[Complex64], expected: &[Complex64], gate: f64) {
    assert_near_beside(what, largest(expected), found, expected, gate);
}

/// Asserts the error beside a size; `WAVECUBE_PRINT` prints those that are allowed too.
fn assert_near_beside(
    what: &str,
    size: f64,
    found: &[Complex64],
    expected: &[Complex64],
    gate: f64,
) {
    let error = relative_to(size, found, expected);
    if std::env::var_os("WAVECUBE_PRINT").is_some() {
        eprintln!("{what}: {error:.1e}/{gate:.1e}");
    }
    let (at, _) = worst(found.iter().zip(expected).map(|(a, b)| (a - b).norm()));
    assert!(
        error <= gate,
        "{what} is off by {error:e}, more than {gate:e}; worst at {at}: {} is not {}",
        found[at],
        expected[at]
    );
}

/// The largest errors allowed: of the diagonal, of `∂a` and of `∂b` and `∂c`. `∂z` is a sum of `∂a` and is
/// compared with the sum of their sizes, by the gate of `∂a`.
type Gates = [f64; 3];

/// Four times what the recursions did in a prototype in `f32`, at `η = 1`.
const MODEL: Gates = [6e-7, 1.2e-6, 1.1e-6];
/// The same where `b_k c_k < 0`.
const NEGATIVE: Gates = [1.8e-5, 5.6e-5, 5.6e-5];
/// The same in `f64`, everywhere.
const DOUBLE: Gates = [2e-13; 3];

/// How far the diagonal or the solution, `∂a`, and `∂b` and `∂c` of a batch move, each beside its largest, when every
/// element is rounded differently. No constant serves operators near their spectrum: one draw in fifty has a resonance ten
/// times as sharp as usual.
fn sensitivity(
    batch: &Batch,
    rng: &mut Rng,
    truth: impl Fn(&Operator, &[Complex64]) -> (Vec<Complex64>, Gradients),
) -> Gates {
    let mut most = [0.0; 3];
    let of = |operators: &[Operator]| -> [Vec<Complex64>; 4] {
        let mut all = [const { Vec::new() }; 4];
        for (operator, g) in operators.iter().zip(batch.gs.chunks(batch.n)) {
            let (result, gradients) = truth(operator, g);
            let parts = [result, gradients.a, gradients.b, gradients.c];
            all.iter_mut().zip(parts).for_each(|(all, part)| all.extend(part));
        }
        all
    };
    let exact = of(&batch.exact);
    for _ in 0..8 {
        let rounded: Vec<Operator> = batch.exact.iter().map(|o| rounded(o, rng)).collect();
        for (k, (moved, exact)) in of(&rounded).iter().zip(&exact).enumerate() {
            let most = &mut most[k.min(2)];
            *most = f64::max(*most, relative_max(moved, exact));
        }
    }
    most
}

/// What the serial recursion is allowed beside the sensitivity: 1.3 was the largest of 60 draws.
const SERIAL: f64 = 4.0;
/// The same of chunks, which also lose what their products cancel: 12 was the largest of 80 draws, where a product
/// takes what enters a chunk nearly to nothing, and half as much is some four times as frequent.
const CHUNKED: f64 = 128.0;

/// The operator with every element of `H − z` and of what lies beside it moved by up to half an ulp of `f32`.
fn rounded(operator: &Operator, rng: &mut Rng) -> Operator {
    let mut moved = |values: &[Complex64], shift: Complex64| -> Vec<Complex64> {
        let parts = rng.complex(values.len());
        let unit = |v: Complex64| v / v.norm().max(1.0) * 2.0_f64.powi(-24);
        values.iter().zip(parts).map(|(v, p)| v + (v - shift) * unit(p)).collect()
    };
    Operator {
        a: moved(&operator.a, operator.z),
        b: moved(&operator.b, Complex64::ZERO),
        c: moved(&operator.c, Complex64::ZERO),
        z: operator.z,
    }
}

/// The gradients of every sequence against the truth, but for the shifts'.
fn check_gradients(
    what: &str,
    batch: &Batch,
    found: &TridiagonalGradients,
    expected: &[Gradients],
    gates: Gates,
) {
    let all = |part: fn(&Gradients) -> &[Complex64], complex: bool| -> Vec<Complex64> {
        let values = expected.iter().flat_map(part).copied();
        values.map(|v| if complex { v } else { real(v.re) }).collect()
    };
    let [a_complex, b_complex] = [batch.a.is_complex(), batch.b.is_complex()];
    let c = found.c.as_ref().unwrap();
    let by_a = largest(expected.iter().flat_map(|g| &g.a));
    let a = all(|g| &g.a, a_complex);
    assert_near_beside(&format!("{what}: ∂a"), by_a, &read(&found.a), &a, gates[1]);
    // The two terms of an element of `∂b` may cancel, and in a short sequence there is no other. They are those of
    // `∂a`, times `c/v` with a pivot `v` about as large as the diagonal.
    let diagonal = batch.exact.iter().flat_map(|o| o.a.iter().map(|a| (a - o.z).norm()));
    let diagonal = diagonal.fold(f64::MIN_POSITIVE, f64::max);
    let beside = |gradients: f64, other: fn(&Operator) -> &[Complex64]| {
        let other = largest(batch.exact.iter().flat_map(other));
        gradients.max(by_a * other / diagonal)
    };
    let size = beside(largest(expected.iter().flat_map(|g| &g.b)), |o| &o.c);
    let b = all(|g| &g.b, b_complex);
    assert_near_beside(&format!("{what}: ∂b"), size, &read(&found.b), &b, gates[2]);
    let size = beside(largest(expected.iter().flat_map(|g| &g.c)), |o| &o.b);
    let by_c = all(|g| &g.c, b_complex);
    assert_near_beside(&format!("{what}: ∂c"), size, &read(c), &by_c, gates[2]);
}

/// The gradients of the shifts, sums of those of `a`, beside the sum of their sizes.
fn check_shifts(what: &str, found: &TridiagonalGradients, expected: &[Gradients], gate: f64) {
    let size = expected.iter().map(|g| g.a.iter().map(|v| v.norm()).sum::<f64>());
    let size = size.fold(f64::MIN_POSITIVE, f64::max);
    let found = read(&found.z);
    assert_eq!(found.len(), expected.len(), "{what}: ∂z");
    let (at, error) = worst(found.iter().zip(expected).map(|(z, g)| (z - g.z).norm() / size));
    assert!(error <= gate, "{what}: ∂z[{at}] is off by {error:e}, more than {gate:e}");
}

/// The diagonal into NaN-filled memory and the gradients, against the truth.
fn check(what: &str, batch: &Batch, operators: &Tridiagonal, dense: bool, gates: Gates) {
    let (diagonals, gradients) = batch.truth(dense);
    let mut out = nan_filled(batch.a.device(), batch.a.dtype(), true, batch.a.shape()).unwrap();
    let pivots = operators.resolvent_diagonal_into(&mut out).unwrap();
    let found = operators.resolvent_diagonal_vjp(&batch.g).unwrap();
    assert_near(&format!("{what}: G"), &read(&out), &diagonals, gates[0]);
    check_gradients(what, batch, &found, &gradients, gates);
    check_shifts(what, &found, &gradients, gates[1]);
    assert!(pivots.read().unwrap().iter().all(Option::is_none), "{what}: no pivot vanishes");
}

/// The derivative of `loss` by a complex number, which `change` moves: `∂/∂Re + i ∂/∂Im`, by differences of
/// fourth order.
fn difference<T: Clone>(
    at: &T,
    loss: &dyn Fn(&T) -> f64,
    change: &dyn Fn(&mut T, Complex64),
) -> Complex64 {
    let h = 1e-5;
    let moved = |step: Complex64| {
        let mut moved = at.clone();
        change(&mut moved, step);
        loss(&moved)
    };
    let slope = |unit: Complex64| {
        let (near, far) = (unit * h, unit * (2.0 * h));
        (8.0 * (moved(near) - moved(-near)) - (moved(far) - moved(-far))) / (12.0 * h)
    };
    Complex64::new(slope(real(1.0)), slope(I))
}

/// The gradients of a reference against differences of `loss`.
fn check_reference(
    operator: &Operator,
    gradients: &Gradients,
    loss: &dyn Fn(&Operator) -> f64,
    seed: u64,
) {
    let close =
        |what: &str, k: usize, found: Complex64, change: &dyn Fn(&mut Operator, Complex64)| {
            let expected = difference(operator, loss, change);
            let error = (found - expected).norm();
            assert!(error < 1e-8, "{what}[{k}]: {found} is not {expected}, seed {seed}");
        };
    for k in 0..gradients.a.len() {
        close("a", k, gradients.a[k], &|o, step| o.a[k] += step);
    }
    for k in 0..gradients.b.len() {
        close("b", k, gradients.b[k], &|o, step| o.b[k] += step);
        close("c", k, gradients.c[k], &|o, step| o.c[k] += step);
    }
    close("z", 0, gradients.z, &|o, step| o.z += step);
}

#[test]
fn the_catalogue_is_right() {
    catalogue::assert_right("tridiag/");
}
