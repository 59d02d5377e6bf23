//! The causal form of the tridiagonal resolvent: against the dense inverse of every leading block, the
//! recursion in `f64`, its gradients, causality, and what it rejects.

use wavecube::{
    Complex64, Device, Dtype, Error, Limits, Tensor, Tridiagonal, leading_resolvent,
    leading_resolvent_vjp,
};
use wavecube_kernels::tridiag::{LeadingPlan, leading_launch, leading_vjp_launch};
use wavecube_testing::{
    Rng, devices, halves, has, nan_filled, read, reference::tridiag::Operator, tensor,
};

const ZERO: Complex64 = Complex64::ZERO;
const ONE: Complex64 = Complex64::ONE;

/// Sequences on a device, and as they were rounded.
struct Batch {
    n: usize,
    d: Tensor,
    p: Tensor,
    g: Tensor,
    exact: [Vec<Complex64>; 3],
}

impl Batch {
    /// Potentials of size 1 with a shift of `eta`, products between 0 and 2, or of either sign.
    fn new(
        device: &Device,
        dtype: Dtype,
        [rows, n]: [usize; 2],
        eta: f64,
        signed: bool,
        rng: &mut Rng,
    ) -> Self {
        let d: Vec<Complex64> =
            rng.real(rows * n).iter().map(|v| Complex64::new(v.re - 0.5, -eta)).collect();
        let low = if signed { -2.0 } else { 0.0 };
        // Scaled by 2^-110, products are to be normal numbers still.
        let product = |p: f64| Complex64::new(p.abs().max(2.0_f64.powi(-12)).copysign(p), 0.0);
        let p: Vec<Complex64> =
            (0..rows * (n - 1)).map(|_| product(rng.uniform(low, 2.0))).collect();
        let (d, d_exact) = tensor(device, &d, dtype, true, &[rows, n]).unwrap();
        let (p, p_exact) = tensor(device, &p, dtype, false, &[rows, n - 1]).unwrap();
        let (g, g_exact) = tensor(device, &rng.complex(rows * n), dtype, true, &[rows, n]).unwrap();
        Self { n, d, p, g, exact: [d_exact, p_exact, g_exact] }
    }

    fn rows(&self) -> impl Iterator<Item = [&[Complex64]; 3]> {
        let [d, p, g] = &self.exact;
        let n = self.n;
        (0..d.len() / n)
            .map(move |row| [&d[row * n..][..n], &p[row * (n - 1)..][..n - 1], &g[row * n..][..n]])
    }

    /// Result and gradients of `d` and `p`, each by `of` a row. That of `p` before its real part is taken.
    fn truth(&self, of: fn([&[Complex64]; 3]) -> [Vec<Complex64>; 3]) -> [Vec<Complex64>; 3] {
        let mut all = [Vec::new(), Vec::new(), Vec::new()];
        for row in self.rows() {
            for (all, part) in all.iter_mut().zip(of(row)) {
                all.extend(part);
            }
        }
        all
    }

    /// What the kernels make of it in memory that was full of NaN.
    fn found(&self) -> [Vec<Complex64>; 3] {
        let (device, dtype) = (self.d.device(), self.d.dtype());
        let fresh = |complex, shape: &[usize]| nan_filled(device, dtype, complex, shape).unwrap();
        let rows = self.d.shape()[0];
        let plan = LeadingPlan::new("test", rows, self.n, dtype, device.limits()).unwrap();
        let y = fresh(true, self.d.shape());
        let gradients = [fresh(true, self.d.shape()), fresh(false, self.p.shape())];
        let (d, p, g) = (self.d.handle(), self.p.handle(), self.g.handle());
        leading_launch(device.client(), [d, p, y.handle()], &plan).unwrap();
        let into = [gradients[0].handle(), gradients[1].handle()];
        leading_vjp_launch(device.client(), [p, y.handle(), g], into, &plan).unwrap();
        [read(&y), read(&gradients[0]), read(&gradients[1])]
    }

    fn check(&self, what: &str, expected: &[Vec<Complex64>; 3], gates: [f64; 3]) {
        for (((name, found), expected), gate) in
            ["y", "∂d", "∂p"].iter().zip(self.found()).zip(expected).zip(gates)
        {
            assert_eq!(found.len(), expected.len(), "{what}: {name}");
            let size = expected.iter().map(|v| v.norm()).fold(f64::MIN_POSITIVE, f64::max);
            let mut worst = (0, 0.0_f64);
            for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                // The gradient of the real products is a real part, whose terms are of the complex number's size.
                let difference = if *name == "∂p" { (a.re - b.re).abs() } else { (a - b).norm() };
                let error = difference / size;
                if error.is_nan() || error > worst.1 {
                    worst = (i, if error.is_nan() { f64::INFINITY } else { error });
                }
            }
            if std::env::var_os("WAVECUBE_PRINT").is_some() {
                eprintln!("{what}: {name} {:.1e}/{gate:.1e}", worst.1);
            }
            assert!(worst.1 <= gate, "{what}: {name} is off by {:e} at {}", worst.1, worst.0);
        }
    }
}

/// From the inverse of every leading block: `∂y_k/∂T_ij = −(T_k⁻¹)_ki (T_k⁻¹)_jk`.
fn dense([d, p, g]: [&[Complex64]; 3]) -> [Vec<Complex64>; 3] {
    let n = d.len();
    let mut all = [vec![ZERO; n], vec![ZERO; n], vec![ZERO; n - 1]];
    for k in 0..n {
        let block = Operator { a: d[..=k].to_vec(), b: p[..k].to_vec(), c: vec![ONE; k], z: ZERO };
        let inverse = block.inverse();
        all[0][k] = inverse[k][k];
        for i in 0..=k {
            all[1][i] -= (g[k].conj() * inverse[k][i] * inverse[i][k]).conj();
        }
        for i in 0..k {
            all[2][i] -= g[k].conj() * inverse[k][i] * inverse[i + 1][k];
        }
    }
    all
}

/// By the recursions in `f64`.
fn serial([d, p, g]: [&[Complex64]; 3]) -> [Vec<Complex64>; 3] {
    let n = d.len();
    let mut y = vec![ONE / d[0]; n];
    for k in 1..n {
        y[k] = ONE / (d[k] - p[k - 1] * y[k - 1]);
    }
    let mut e = g[n - 1].conj();
    let mut by_d = vec![-(y[n - 1] * y[n - 1] * e).conj(); n];
    let mut by_p = vec![ZERO; n - 1];
    for k in (0..n - 1).rev() {
        let square = y[k + 1] * y[k + 1];
        by_p[k] = y[k] * square * e;
        e = g[k].conj() + p[k] * square * e;
        by_d[k] = -(y[k] * y[k] * e).conj();
    }
    [y, by_d, by_p]
}

/// A pivot is at least 1 in size, so an error shrinks by `p/|u|²` an element: a few `ε`, and twice that for
/// the gradient, which multiplies two results.
const SINGLE: [f64; 3] = [6e-7, 1.2e-6, 1.2e-6];
const DOUBLE: [f64; 3] = [4e-15; 3];

#[test]
fn leading_blocks_against_the_dense_inverse() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for n in [1, 2, 3, 7, 8, 9, 16, 17, 31, 40] {
            // One unit a sequence where units are emulated, and several.
            for rows in [rng.int(1, 3), rng.int(16, 40)] {
                let what = format!("{device} {rows}x{n} seed {}", rng.seed);
                let batch = Batch::new(device, Dtype::F32, [rows, n], 1.5, false, &mut rng);
                batch.check(&what, &batch.truth(dense), SINGLE);
                if has(device, Dtype::F64) && n % 2 == 1 {
                    let batch = Batch::new(device, Dtype::F64, [rows, n], 1.5, false, &mut rng);
                    batch.check(&what, &batch.truth(dense), DOUBLE);
                }
            }
        }
    }
}

#[test]
fn long_sequences_against_the_recursion() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for shape in [[2, 100], [17, 333], [3, 2049], [1, 4096], [20, 16385], [1, 70_001]] {
            let what = format!("{device} {shape:?} seed {}", rng.seed);
            let batch = Batch::new(device, Dtype::F32, shape, 1.5, false, &mut rng);
            batch.check(&what, &batch.truth(serial), SINGLE);
        }
        // Products of either sign: pivots may be small, so the shift is larger.
        for shape in [[3, 500], [18, 500]] {
            let what = format!("{device} signed {shape:?} seed {}", rng.seed);
            let batch = Batch::new(device, Dtype::F32, shape, 3.5, true, &mut rng);
            batch.check(&what, &batch.truth(serial), SINGLE);
        }
    }
}

#[test]
fn the_references_agree_and_have_the_slope_of_the_loss() {
    let mut rng = Rng::fresh();
    let n = 12;
    let mut d: Vec<Complex64> = rng.real(n).iter().map(|v| Complex64::new(v.re, -1.2)).collect();
    let p: Vec<Complex64> = rng.real(n - 1);
    let g = rng.complex(n);
    let [y, by_d, by_p] = dense([&d, &p, &g]);
    for (found, expected) in serial([&d, &p, &g]).iter().zip([&y, &by_d, &by_p]) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).norm() < 1e-12 * (1.0 + b.norm()), "{a} {b} seed {}", rng.seed);
        }
    }
    let loss = |d: &[Complex64]| -> f64 {
        serial([d, &p, &g])[0].iter().zip(&g).map(|(y, g)| (g.conj() * y).re).sum()
    };
    let (at, step) = (rng.int(0, n - 1), 1e-6);
    for (direction, slope) in [(ONE, by_d[at].re), (Complex64::I, by_d[at].im)] {
        let middle = d[at];
        d[at] = middle + direction * step;
        let above = loss(&d);
        d[at] = middle - direction * step;
        let difference = (above - loss(&d)) / (2.0 * step);
        d[at] = middle;
        assert!((difference - slope).abs() < 1e-6 * (1.0 + slope.abs()), "seed {}", rng.seed);
    }
}

#[test]
fn no_element_depends_on_a_later_one() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for shape @ [rows, n] in [[1, 1000], [20, 100]] {
            let batch = Batch::new(device, Dtype::F32, shape, 1.0, false, &mut rng);
            let before = read(&leading_resolvent(&batch.d, &batch.p).unwrap());
            let at = rng.int(1, n - 1);
            let mut changed = batch.exact[0].clone();
            for row in 0..rows {
                changed[row * n + at] += 1.0;
            }
            let (d, _) = tensor(device, &changed, Dtype::F32, true, &shape).unwrap();
            let after = read(&leading_resolvent(&d, &batch.p).unwrap());
            for (row, (before, after)) in before.chunks(n).zip(after.chunks(n)).enumerate() {
                assert_eq!(before[..at], after[..at], "row {row}, {at}, seed {}", rng.seed);
                assert_ne!(before[at], after[at], "row {row}, {at}, seed {}", rng.seed);
            }
        }
    }
}

#[test]
fn the_last_element_is_that_of_the_whole_inverse() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let n = 77;
        let batch = Batch::new(device, Dtype::F32, [2, n], 1.0, false, &mut rng);
        let (z, _) = tensor(device, &[ZERO; 2], Dtype::F32, true, &[2]).unwrap();
        let whole = Tridiagonal::of_products(&batch.d, &batch.p, &z).resolvent_diagonal().unwrap();
        let (whole, causal) =
            (read(&whole.diagonal), read(&leading_resolvent(&batch.d, &batch.p).unwrap()));
        for row in 0..2 {
            let (a, b) = (whole[row * n + n - 1], causal[row * n + n - 1]);
            assert!((a - b).norm() < 1e-6 * b.norm(), "{a} {b} seed {}", rng.seed);
            assert!((whole[row * n] - causal[row * n]).norm() > 1e-4, "seed {}", rng.seed);
        }
    }
}

#[test]
fn what_the_leading_form_cannot_do_is_an_error() {
    for device in devices() {
        let zeros = |complex, shape: &[usize]| {
            tensor(device, &vec![ZERO; shape.iter().product()], Dtype::F32, complex, shape)
                .unwrap()
                .0
        };
        let (d, p) = (zeros(true, &[2, 8]), zeros(false, &[2, 7]));
        let run = |d: &Tensor, p: &Tensor| leading_resolvent(d, p).err();
        assert!(run(&d, &p).is_none());
        assert!(matches!(run(&d, &zeros(false, &[2, 8])), Some(Error::Shape { .. })));
        assert!(matches!(run(&zeros(false, &[2, 8]), &p), Some(Error::Dtype { .. })));
        assert!(matches!(run(&d, &zeros(true, &[2, 7])), Some(Error::Dtype { .. })));
        let empty = (zeros(true, &[2, 0]), zeros(false, &[2, 0]));
        assert!(matches!(run(&empty.0, &empty.1), Some(Error::Length { .. })));
        let turned = zeros(true, &[8, 2]).permuted(&[1, 0]).unwrap();
        assert!(matches!(run(&turned, &p), Some(Error::Strides { .. })));
        assert!(matches!(run(&zeros(true, &[]), &p), Some(Error::Axis { .. })));
        let g = zeros(true, &[2, 7]);
        assert!(matches!(leading_resolvent_vjp(&p, &d, &g).err(), Some(Error::Shape { .. })));
        for dtype in halves(device) {
            let half =
                |complex, shape: &[usize]| nan_filled(device, dtype, complex, shape).unwrap();
            let (d, p) = (half(true, &[2, 8]), half(false, &[2, 7]));
            assert!(matches!(run(&d, &p), Some(Error::Dtype { .. })));
        }
        let nothing = leading_resolvent(&zeros(true, &[0, 8]), &zeros(false, &[0, 7])).unwrap();
        assert_eq!(nothing.shape(), [0, 8]);
        let short = LeadingPlan::new("test", 3, 8, Dtype::F32, device.limits()).unwrap();
        let handles = [d.handle(), p.handle(), d.handle()];
        let refused = leading_launch(device.client(), handles, &short);
        assert!(matches!(refused, Err(Error::Length { argument: "d", .. })));
    }
    let tiny = Limits { units_per_cube: 6, shared_bytes: 1000, ..Limits::LAVAPIPE };
    for limits in [Limits::LAVAPIPE, Limits::HOPPER, tiny, Limits::cpu(4)] {
        for (rows, n) in [(1, 1), (3, 8), (1000, 9), (16, 4096), (2, 4097), (1, 30_000)] {
            let plan = LeadingPlan::new("test", rows, n, Dtype::F64, &limits).unwrap();
            assert!(plan.tile.units * plan.tile.rows <= limits.units_per_cube, "{plan:?}");
            assert!(plan.tile.shared_bytes() <= limits.shared_bytes, "{plan:?}");
            assert!(plan.tile.units * plan.stretch >= n, "{plan:?}");
        }
    }
    let long = LeadingPlan::new("test", 1, (1 << 22) + 1, Dtype::F32, &Limits::HOPPER);
    assert!(matches!(long, Err(Error::Length { .. })));
    let narrow = LeadingPlan::new("test", 1, 1 << 20, Dtype::F32, &tiny);
    assert!(matches!(narrow, Err(Error::Limit { .. })));
}

/// Rows and columns times powers of two, `d_k` by `2^(e_k)` and `p_k` by `2^(e_k + e_{k+1})`, move the results alike.
#[test]
fn every_scale_and_graded_sequences() {
    for device in devices() {
        let mut rng = Rng::fresh();
        let power = |e: i32| 2.0_f64.powi(e);
        for (dtype, most, least) in
            [(Dtype::F32, 55, power(-126)), (Dtype::F64, 480, f64::MIN_POSITIVE)]
        {
            if !has(device, dtype) {
                continue;
            }
            // One unit a sequence, and several.
            for shape @ [rows, n] in [[2, 9], [17, 64], [1, 1000], [3, 5000]] {
                let plain = Batch::new(device, dtype, shape, 1.5, false, &mut rng);
                let even = |s: i32| move |_: usize| s;
                let graded = |from: i32, to: i32| {
                    move |k: usize| from + ((to - from) as i64 * k as i64 / n as i64) as i32
                };
                let jumps: Vec<i32> = (0..n).map(|_| rng.int(0, 40) as i32 - 20).collect();
                let cases: [(&str, Box<dyn Fn(usize) -> i32>); 6] = [
                    ("large", Box::new(even(most))),
                    ("small", Box::new(even(-most))),
                    ("50", Box::new(even(50))),
                    ("rising", Box::new(graded(-most, most))),
                    ("falling", Box::new(graded(most, -most))),
                    ("jumping", Box::new(move |k| jumps[k])),
                ];
                for (name, e) in &cases {
                    let what = format!("{device} {dtype} {shape:?} {name} seed {}", rng.seed);
                    let of = |values: &[Complex64], width: usize, e: &dyn Fn(usize) -> i32| {
                        let scaled =
                            values.iter().enumerate().map(|(i, v)| v * power(e(i % width)));
                        let scaled: Vec<_> = scaled.collect();
                        let complex = width == n;
                        let shape = [rows, width];
                        tensor(device, &scaled, dtype, complex, &shape).unwrap().0
                    };
                    let [d, p, g] = &plain.exact;
                    let link = |k: usize| e(k) + e(k + 1);
                    let scaled = Batch {
                        n,
                        d: of(d, n, e),
                        p: of(p, n - 1, &link),
                        g: of(g, n, e),
                        exact: plain.exact.clone(),
                    };
                    let exponents: [(usize, &dyn Fn(usize) -> i32); 3] =
                        [(n, e), (n, e), (n - 1, &link)];
                    let all = scaled.found().into_iter().zip(plain.found()).zip(exponents);
                    for ((found, expected), (width, e)) in all {
                        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                            // The same bits, but for what terms have lost that are no normal numbers any more.
                            let expected = *expected * power(-e(i % width));
                            let near = |x: f64, y: f64| x == y || (x - y).abs() <= 4.0 * least;
                            let same = near(found.re, expected.re) && near(found.im, expected.im);
                            assert!(same, "{what}: {found} at {i}, not {expected}");
                        }
                    }
                }
                let gates = if dtype == Dtype::F64 { DOUBLE } else { SINGLE };
                plain.check(&format!("{device} {shape:?}"), &plain.truth(serial), gates);
            }
        }
    }
}
