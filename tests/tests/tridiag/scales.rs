//! Operators of every scale, graded along the chain and unbalanced beside it. Rows and columns of an operator may be
//! multiplied by powers of two, `T = 2^S T₀ 2^R`, which rounds nothing: so results are those of `T₀` times powers of
//! two, and their errors those of `T₀`.

use wavecube::{Complex64, Device, Dtype, Kept, Tensor, Tridiagonal, TridiagonalGradients};
use wavecube_testing::{
    Rng, devices, has, read,
    reference::tridiag::{Gradients, Operator},
    rounded, tensor,
};

use super::{
    DOUBLE, Gates, MODEL, NEGATIVE, Source, assert_near, assert_near_beside, largest, real,
    relative_max,
};

fn power(e: i32) -> f64 {
    2.0_f64.powi(e)
}

/// The exponents by which rows and columns are multiplied.
#[derive(Clone, Copy, Debug)]
enum Scales {
    /// All elements alike.
    Even(i32),
    /// From one end of the chain to the other, half by rows and half by columns: symmetric operators stay so.
    Graded(i32, i32),
    /// `b` large where `c` is small, and at the next link the other way round.
    Unbalanced(i32),
    /// Anything up to that much, by rows and by columns.
    Random(i32),
}

impl Scales {
    fn exponents(self, n: usize, rng: &mut Rng) -> [Vec<i32>; 2] {
        match self {
            Self::Even(s) => [vec![s; n], vec![0; n]],
            Self::Graded(from, to) => {
                let at = |k: usize| from + ((to - from) as i64 * k as i64 / n as i64) as i32;
                [(0..n).map(|k| at(k) / 2).collect(), (0..n).map(|k| at(k) - at(k) / 2).collect()]
            }
            Self::Unbalanced(t) => {
                let rows: Vec<i32> = (0..n).map(|k| if k % 2 == 1 { t } else { 0 }).collect();
                let columns = rows.iter().map(|s| -s).collect();
                [rows, columns]
            }
            Self::Random(most) => {
                let mut any =
                    || (0..n).map(|_| rng.int(0, 2 * most as usize) as i32 - most).collect();
                [any(), any()]
            }
        }
    }
}

/// An operator on a device, scaled, and in `f64` not.
struct Scaled {
    device: Device,
    dtype: Dtype,
    complex: [bool; 2],
    plain: Operator,
    /// By rows and by columns.
    by: [Vec<i32>; 2],
    operators: Tridiagonal,
    n: usize,
}

impl Scaled {
    fn new(
        device: &Device,
        dtype: Dtype,
        source: Source,
        scales: Scales,
        n: usize,
        rng: &mut Rng,
    ) -> Self {
        let operator = source.operator(rng, n);
        // The shift is one for the sequence: where the rows have scales of their own it lies in the diagonal.
        let shifted = Operator {
            a: operator.a.iter().map(|a| a - operator.z).collect(),
            z: Complex64::ZERO,
            ..operator.clone()
        };
        let even = matches!(scales, Scales::Even(_));
        let (operator, complex) = if even {
            (operator, source.complex())
        } else {
            (shifted, [true, source.complex()[1]])
        };
        Self::of(device, dtype, &operator, complex, scales, rng)
    }

    fn of(
        device: &Device,
        dtype: Dtype,
        operator: &Operator,
        complex: [bool; 2],
        scales: Scales,
        rng: &mut Rng,
    ) -> Self {
        let n = operator.a.len();
        let plain = Operator {
            a: rounded(&operator.a, dtype),
            b: rounded(&operator.b, dtype),
            c: rounded(&operator.c, dtype),
            z: rounded(&[operator.z], dtype)[0],
        };
        let by = scales.exponents(n, rng);
        let [rows, columns] = &by;
        let scaled = |values: &[Complex64], of: &dyn Fn(usize) -> i32| -> Vec<Complex64> {
            values.iter().enumerate().map(|(k, v)| v * power(of(k))).collect()
        };
        let up = |values: &[Complex64], complex: bool, shape: &[usize]| {
            tensor(device, values, dtype, complex, shape).unwrap().0
        };
        let a = up(&scaled(&plain.a, &|k| rows[k] + columns[k]), complex[0], &[n]);
        let b = up(&scaled(&plain.b, &|k| rows[k] + columns[k + 1]), complex[1], &[n - 1]);
        let c = up(&scaled(&plain.c, &|k| rows[k + 1] + columns[k]), complex[1], &[n - 1]);
        let z = up(&scaled(&[plain.z], &|_| rows[0] + columns[0]), true, &[]);
        let operators = Tridiagonal::new(&a, &b, &c, &z);
        Self { device: device.clone(), dtype, complex, plain, by, operators, n }
    }

    /// Values that belong to the elements of the diagonal, scaled, and as they were rounded.
    fn along(&self, rng: &mut Rng, of: &dyn Fn(usize) -> i32) -> (Tensor, Vec<Complex64>) {
        let values = rounded(&rng.complex(self.n), self.dtype);
        let scaled: Vec<_> = values.iter().enumerate().map(|(k, v)| v * power(of(k))).collect();
        (tensor(&self.device, &scaled, self.dtype, true, &[self.n]).unwrap().0, values)
    }

    fn node(&self, k: usize) -> i32 {
        self.by[0][k] + self.by[1][k]
    }

    fn check_gradients(
        &self,
        what: &str,
        found: &TridiagonalGradients,
        exact: &Gradients,
        gates: Gates,
    ) {
        let [rows, columns] = &self.by;
        let plain = |t: &Tensor, of: &dyn Fn(usize) -> i32| -> Vec<Complex64> {
            read(t).iter().enumerate().map(|(k, v)| v * power(of(k))).collect()
        };
        let part = |values: &[Complex64], complex: bool| -> Vec<Complex64> {
            values.iter().map(|v| if complex { *v } else { real(v.re) }).collect()
        };
        let [complex_a, complex_b] = self.complex;
        let by_a = largest(&exact.a);
        let a = plain(&found.a, &|k| rows[k] + columns[k]);
        assert_near_beside(&format!("{what}: ∂a"), by_a, &a, &part(&exact.a, complex_a), gates[1]);
        let diagonal =
            self.plain.a.iter().map(|a| (a - self.plain.z).norm()).fold(1e-300, f64::max);
        let beside = |own: &[Complex64], other: &[Complex64]| {
            largest(own).max(by_a * largest(other) / diagonal)
        };
        let b = plain(&found.b, &|k| rows[k] + columns[k + 1]);
        let size = beside(&exact.b, &self.plain.c);
        assert_near_beside(&format!("{what}: ∂b"), size, &b, &part(&exact.b, complex_b), gates[2]);
        let c = plain(found.c.as_ref().unwrap(), &|k| rows[k + 1] + columns[k]);
        let size = beside(&exact.c, &self.plain.b);
        assert_near_beside(&format!("{what}: ∂c"), size, &c, &part(&exact.c, complex_b), gates[2]);
    }

    /// The diagonal, and its gradients.
    fn check_diagonal(&self, what: &str, operators: &Tridiagonal, gates: Gates, rng: &mut Rng) {
        let found = operators.resolvent_diagonal().unwrap();
        let g: Vec<_> = read(&found.diagonal)
            .iter()
            .enumerate()
            .map(|(k, g)| g * power(self.node(k)))
            .collect();
        assert_near(&format!("{what}: G"), &g, &self.plain.diagonal_serial(), gates[0]);
        assert_eq!(found.pivots.read().unwrap(), [None], "{what}");
        let (g, gs) = self.along(rng, &|k| self.node(k));
        let found = operators.resolvent_diagonal_vjp(&g).unwrap();
        self.check_gradients(what, &found, &self.plain.gradients_serial(&gs), gates);
    }

    /// The solution, and its gradients.
    fn check_solution(&self, what: &str, operators: &Tridiagonal, gates: Gates, rng: &mut Rng) {
        let [rows, columns] = &self.by;
        let (r, rs) = self.along(rng, &|k| rows[k]);
        let (g, gs) = self.along(rng, &|k| columns[k]);
        let solution = operators.solve(&r).unwrap();
        let plain = |t: &Tensor, by: &[i32]| -> Vec<Complex64> {
            read(t).iter().zip(by).map(|(v, &e)| v * power(e)).collect()
        };
        let gates = gates.map(|gate| 4.0 * gate);
        let x = plain(&solution.x, columns);
        assert_near(&format!("{what}: x"), &x, &self.plain.solve_serial(&rs), gates[0]);
        assert_eq!(solution.pivots.read().unwrap(), [None], "{what}");
        let found = operators.solve_vjp(&solution.x, &g).unwrap();
        let (exact, lambda) = self.plain.solve_gradients(&rs, &gs, false);
        assert_near(&format!("{what}: ∂r"), &plain(&found.r, rows), &lambda, gates[0]);
        self.check_gradients(what, &found.operators, &exact, gates);
    }

    /// The determinant, and its gradients.
    fn check_determinant(&self, what: &str, operators: &Tridiagonal, gates: Gates) {
        let found = read(&operators.log_determinant().unwrap())[0].re;
        let powers: i64 = (0..self.n).map(|k| i64::from(self.node(k))).sum();
        let plain = self.plain.log_determinant_serial();
        let scales = powers as f64 * std::f64::consts::LN_2;
        let exact = plain + scales;
        // The reference rounds both of its terms, which may cancel.
        let gate = self.dtype.epsilon() * (8.0 * (self.n as f64).sqrt() + 2.0 * exact.abs())
            + f64::EPSILON * (plain.abs() + scales.abs());
        let error = (found - exact).abs();
        assert!(error <= gate, "{what}: {found} is not {exact}: {error:e} > {gate:e}");
        let (g, gs) = tensor(&self.device, &[real(0.75)], self.dtype, false, &[]).unwrap();
        let found = operators.log_determinant_vjp(&g).unwrap();
        let exact = self.plain.log_determinant_gradients_serial(gs[0].re);
        self.check_gradients(what, &found, &exact, gates);
    }

    fn check(&self, what: &str, gates: Gates, rng: &mut Rng) {
        for (name, operators) in
            [("", self.operators.clone()), (" serial", self.operators.serially())]
        {
            let what = format!("{what}{name}");
            self.check_diagonal(&what, &operators, gates, rng);
            self.check_solution(&what, &operators, gates, rng);
            self.check_determinant(&what, &operators, gates);
        }
    }
}

/// One element beyond a chunk, a tree, and chunks in memory: each further length compiles kernels for a minute.
const LENGTHS: [usize; 3] = [9, 1000, 6000];

fn check_all(dtype: Dtype, source: Source, cases: &[Scales], gates: Gates) {
    for device in devices() {
        let mut rng = Rng::fresh();
        if !has(device, dtype) {
            continue;
        }
        for &scales in cases {
            for n in LENGTHS {
                let what = format!("{device} {dtype} {source:?} {scales:?} {n} seed {}", rng.seed);
                let scaled = Scaled::new(device, dtype, source, scales, n, &mut rng);
                scaled.check(&what, gates, &mut rng);
            }
        }
    }
}

#[test]
fn every_scale() {
    let scales = [-100, -59, -40, 42, 44, 64, 100];
    check_all(Dtype::F32, Source::Complex, &scales.map(Scales::Even), NEGATIVE);
    check_all(Dtype::F32, Source::Model { eta: 1.0 }, &scales.map(Scales::Even), MODEL);
    check_all(Dtype::F64, Source::Complex, &[-900, -515, 498, 900].map(Scales::Even), DOUBLE);
}

#[test]
fn graded_chains() {
    let cases = [(-30, 30), (60, 0), (-100, 100), (100, -100)];
    let cases = cases.map(|(from, to)| Scales::Graded(from, to));
    check_all(Dtype::F32, Source::Complex, &cases, NEGATIVE);
    let cases = [(-900, 900), (400, -400)].map(|(from, to)| Scales::Graded(from, to));
    check_all(Dtype::F64, Source::Complex, &cases, DOUBLE);
}

#[test]
fn unbalanced_and_random_rows_and_columns() {
    let [first, second, third] = [60, 100, -100].map(Scales::Unbalanced);
    let cases = [first, second, third, Scales::Random(10), Scales::Random(30)];
    check_all(Dtype::F32, Source::Complex, &cases, NEGATIVE);
    let cases = [Scales::Unbalanced(900), Scales::Random(200)];
    check_all(Dtype::F64, Source::Complex, &cases, DOUBLE);
}

/// The same bits, where nothing was rounded: exponents follow the scales of rows and columns.
#[test]
fn scales_do_not_show_in_the_bits() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [9, 1000] {
            let operator = Source::Complex.operator(&mut rng, n);
            let operator = Operator {
                a: operator.a.iter().map(|a| a - operator.z).collect(),
                z: Complex64::ZERO,
                ..operator
            };
            let run = |scales: Scales, rng: &mut Rng| -> Vec<Complex64> {
                let scaled = Scaled::of(device, Dtype::F32, &operator, [true, true], scales, rng);
                let found = read(&scaled.operators.resolvent_diagonal().unwrap().diagonal);
                found.iter().enumerate().map(|(k, g)| g * power(scaled.node(k))).collect()
            };
            let plain = run(Scales::Even(0), &mut rng);
            for scales in [Scales::Even(90), Scales::Graded(-90, 90), Scales::Random(15)] {
                let what = format!("{device} {n} {scales:?} seed {}", rng.seed);
                assert_eq!(run(scales, &mut rng), plain, "{what}");
            }
        }
    }
}

/// Reported: `a = 4s`, `b = c = s`, `r = s`, all of them powers of two.
#[test]
fn a_constant_operator_of_every_scale() {
    for device in devices() {
        for (n, last) in [(9, 0.211_326), (64, 0.211_324_86), (1000, 0.211_324_86)] {
            for s in [-100, -59, -53, -40, 0, 42, 44, 50, 100] {
                let of = |value: f64, len: usize| {
                    Tensor::from_slice(device, &vec![(value * power(s)) as f32; len], &[len])
                        .unwrap()
                };
                let zero = tensor(device, &[Complex64::ZERO], Dtype::F32, true, &[]).unwrap().0;
                let (a, b) = (of(4.0, n), of(1.0, n - 1));
                let r = tensor(device, &vec![real(power(s)); n], Dtype::F32, true, &[n]).unwrap().0;
                let operators = Tridiagonal::new(&a, &b, &b, &zero);
                let found = operators.solve(&r).unwrap();
                let x = read(&found.x);
                let what = format!("{device} {n} 2^{s}");
                assert!((x[n - 1].re - last).abs() < 1e-6, "{what}: {}", x[n - 1]);
                assert_eq!(found.pivots.read().unwrap(), [None], "{what}");
                // det = s^n U_n(2), of Chebyshev's polynomials.
                let t = 2.0_f64.acosh();
                let n = n as f64;
                let exact = n * f64::from(s) * std::f64::consts::LN_2
                    + (n + 1.0) * t
                    + (-(-2.0 * (n + 1.0) * t).exp()).ln_1p()
                    - (2.0 * t.sinh()).ln();
                let logarithm = read(&operators.log_determinant().unwrap())[0].re;
                let gate = f64::from(f32::EPSILON) * (8.0 * n.sqrt() + 2.0 * exact.abs());
                assert!((logarithm - exact).abs() < gate, "{what}: {logarithm} is not {exact}");
            }
        }
    }
}

/// A grid whose steps grow geometrically from 1e-6 on: coefficients 2/(h (h + h')) from 4e14 to 1 and less.
#[test]
fn a_geometric_grid() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for (n, growth) in [(50, 1.5), (300, 1.06), (6000, 1.003)] {
            let step = |k: usize| 1e-6 * f64::powi(growth, k as i32);
            let beside = |k: usize| {
                let (h, next) = (step(k), step(k + 1));
                [2.0 / (h * (h + next)), 2.0 / (next * (h + next))]
            };
            let operator = Operator {
                // Far enough from singular for an error of a few roundings, and graded as the grid is.
                a: (0..n).map(|k| real(1.1 * beside(k).iter().sum::<f64>() + 1.0)).collect(),
                b: (0..n - 1).map(|k| real(-beside(k)[1])).collect(),
                c: (1..n).map(|k| real(-beside(k)[0])).collect(),
                z: Complex64::ZERO,
            };
            let what = format!("{device} {n} {growth}");
            let scaled = Scaled::of(
                device,
                Dtype::F32,
                &operator,
                [false, false],
                Scales::Even(0),
                &mut rng,
            );
            for (name, operators) in
                [("", scaled.operators.clone()), (" serial", scaled.operators.serially())]
            {
                let found = operators.resolvent_diagonal().unwrap();
                let exact = scaled.plain.diagonal_serial();
                for (k, (found, exact)) in read(&found.diagonal).iter().zip(&exact).enumerate() {
                    let error = (found - exact).norm() / exact.norm();
                    assert!(error < 1e-5, "{what}{name}: G[{k}] {found} is not {exact}");
                }
                assert_eq!(found.pivots.read().unwrap(), [None], "{what}{name}");
                let r = tensor(device, &vec![real(1.0); n], Dtype::F32, true, &[n]).unwrap().0;
                let x = read(&operators.solve(&r).unwrap().x);
                let exact = scaled.plain.solve_serial(&vec![real(1.0); n]);
                assert!(relative_max(&x, &exact) < 1e-5, "{what}{name}: x");
            }
        }
    }
}

/// A chain with a hopping of −2.7 eV in joules.
#[test]
fn a_chain_in_joules() {
    const EV: f64 = 1.602_176_634e-19;
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [9, 200, 5000] {
            let operator = Operator {
                a: rng.real(n).iter().map(|v| v * 0.5 * EV).collect(),
                b: vec![real(-2.7 * EV); n - 1],
                c: vec![real(-2.7 * EV); n - 1],
                z: Complex64::new(0.1, 0.05) * EV,
            };
            let scaled = Scaled::of(
                device,
                Dtype::F32,
                &operator,
                [false, false],
                Scales::Even(0),
                &mut rng,
            );
            let found = scaled.operators.resolvent_diagonal().unwrap();
            let error = relative_max(&read(&found.diagonal), &scaled.plain.diagonal_serial());
            assert!(error < 1e-4, "{device} {n}: {error:e}");
            assert_eq!(found.pivots.read().unwrap(), [None], "{device} {n}");
        }
    }
}

/// Elements of a shorter sequence's rest must not meet the shift, of whatever scale, and a coarse scan has scales too.
#[test]
fn kept_elements_and_coarse_scans() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for s in [-100, -40, 40, 100] {
            for n in [9, 200] {
                let source = Source::Model { eta: 1.0 };
                let operators: Vec<Operator> = (0..2)
                    .map(|_| {
                        let of = source.operator(&mut rng, n);
                        let z = Complex64::new(3.0, 1.0);
                        Operator { a: of.a.iter().map(|a| a + 3.0).collect(), z, ..of }
                    })
                    .collect();
                let batch = |s: i32| {
                    let scaled =
                        |values: &[Complex64]| values.iter().map(|v| v * power(s)).collect();
                    let operators: Vec<Operator> = operators
                        .iter()
                        .map(|o| Operator {
                            a: scaled(&rounded(&o.a, Dtype::F32)),
                            b: scaled(&o.b),
                            c: scaled(&o.c),
                            z: o.z * power(s),
                        })
                        .collect();
                    super::Batch::new(
                        device,
                        Dtype::F32,
                        &operators,
                        [false, false],
                        &mut Rng::fresh(),
                    )
                };
                let keep: Vec<bool> = (0..2 * n).map(|k| k % 3 == 0 && k < n + 5).collect();
                let kept = Kept::new(device, &keep, n).unwrap();
                let run = |s: i32| {
                    let of = batch(s);
                    let found = of.tridiagonal().resolvent_diagonal_kept(&kept).unwrap();
                    let pivots = found.pivots.read().unwrap();
                    assert_eq!(pivots, [None, None], "{device} {n} 2^{s} seed {}", rng.seed);
                    let mut all: Vec<_> =
                        read(&found.diagonal).iter().map(|g| g * power(s)).collect();
                    if has(device, Dtype::F16) {
                        let mixed = of.tridiagonal().mixed().resolvent_diagonal().unwrap();
                        all.extend(read(&mixed.diagonal).iter().map(|g| g * power(s)));
                    }
                    all
                };
                assert_eq!(run(s), run(0), "{device} {n} 2^{s} seed {}", rng.seed);
            }
        }
    }
}

/// Diagonals of which some are exactly 0, or as good as that.
#[test]
fn vanishing_diagonals() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [9, 64, 500, 6000] {
            for (what, tiny) in [("zero", 0.0), ("tiny", 1e-25), ("small", 1e-12)] {
                let mut operator = Source::Complex.operator(&mut rng, n);
                // Neither the first nor the last may vanish.
                for k in (1..n - 1).filter(|k| k % 3 == 1) {
                    operator.a[k] = operator.z + tiny;
                }
                let a = operator.a.iter().map(|a| a - operator.z).collect();
                let operator = Operator { a, z: Complex64::ZERO, ..operator };
                for scales in [Scales::Even(0), Scales::Even(-80), Scales::Even(80)] {
                    let scaled =
                        Scaled::of(device, Dtype::F32, &operator, [true, true], scales, &mut rng);
                    let what = format!("{device} {n} {what} {scales:?} seed {}", rng.seed);
                    let found = scaled.operators.resolvent_diagonal().unwrap();
                    let g = read(&found.diagonal);
                    let g: Vec<_> =
                        g.iter().enumerate().map(|(k, g)| g * power(scaled.node(k))).collect();
                    let exact = scaled.plain.diagonal_serial();
                    let error = relative_max(&g, &exact);
                    assert!(error < 1e-3, "{what}: {error:e}");
                }
            }
        }
    }
}

/// What is not finite says so, whatever the reason.
#[test]
fn what_is_lost_is_reported() {
    for device in devices() {
        let of = |values: &[f32]| Tensor::from_slice(device, values, &[values.len()]).unwrap();
        let zero = tensor(device, &[Complex64::ZERO], Dtype::F32, true, &[]).unwrap().0;
        for n in [3, 100, 5000] {
            // 1/d² is beyond the largest number, and so is r/d.
            let tiny = vec![2.0_f32.powi(-100); n];
            let beside = of(&vec![0.0; n - 1]);
            let mut diagonal = tiny.clone();
            diagonal[n / 2] = 2.0_f32.powi(-126);
            let operators = Tridiagonal::new(&of(&diagonal), &beside, &beside, &zero);
            for operators in [operators.clone(), operators.serially()] {
                let mut right = vec![real(power(-60)); n];
                right[n / 2] = real(8.0);
                let r = tensor(device, &right, Dtype::F32, true, &[n]).unwrap().0;
                let found = operators.solve(&r).unwrap();
                assert!(!read(&found.x)[n / 2].is_finite(), "{device} {n}");
                assert_eq!(found.pivots.read().unwrap(), [Some(n / 2)], "{device} {n}");
                let fine = operators.resolvent_diagonal().unwrap();
                assert_eq!(fine.pivots.read().unwrap(), [None], "{device} {n}");
                assert!(read(&fine.diagonal).iter().all(|g| g.is_finite()), "{device} {n}");
            }
            for bad in [f32::INFINITY, f32::NAN] {
                let mut beside = vec![1.0; n - 1];
                beside[n / 2] = bad;
                let (a, one) = (of(&vec![4.0; n]), of(&vec![1.0; n - 1]));
                for operators in [
                    Tridiagonal::new(&a, &of(&beside), &one, &zero),
                    Tridiagonal::new(&a, &one, &of(&beside), &zero),
                ] {
                    for operators in [operators.clone(), operators.serially()] {
                        let pivots = operators.resolvent_diagonal().unwrap().pivots;
                        assert_eq!(pivots.read().unwrap(), [Some(n / 2)], "{device} {n} {bad}");
                    }
                }
            }
        }
    }
}
