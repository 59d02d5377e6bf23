//! The group, its lift, and the exponential.

use core::f64::consts::FRAC_PI_4;

use rand::Rng;
use wavecube_core::lct::{Abcd, Lie};

use crate::sampling;

#[track_caller]
fn same(what: &str, got: &Abcd, want: &Abcd, tolerance: f64) {
    for (i, (got, want)) in got.entries().into_iter().zip(want.entries()).enumerate() {
        sampling::near(&format!("{what}, entry {i}"), got, want, tolerance);
    }
}

#[test]
fn the_metaplectic_sign_is_that_of_the_composed_kernels() {
    // ∫ K₂(u, x) K₁(x, t) dx is a Gaussian integral of rate s = b/(b₁b₂): its phase against that of the
    // composed kernel's square root.
    let mut rng = sampling::rng("metaplectic_sign");
    let mut signs = [0, 0];
    for _ in 0..2000 {
        let (m1, m2) = (sampling::matrix(&mut rng, 3.0), sampling::matrix(&mut rng, 3.0));
        let b = (m2 * m1).b();
        let eighths =
            -m1.b().signum() - m2.b().signum() + (b * m1.b() * m2.b()).signum() + b.signum();
        let want = (FRAC_PI_4 * eighths).cos().round();
        assert_eq!(m2.metaplectic_sign(&m1), want, "{m2:?} after {m1:?}");
        signs[usize::from(want > 0.0)] += 1;
    }
    assert!(signs.iter().all(|&count| count > 100), "both signs occur: {signs:?}");
}

#[test]
fn the_metaplectic_sign_is_a_cocycle_where_b_is_zero() {
    let special = [
        Abcd::IDENTITY,
        Abcd::FOURIER,
        Abcd::FOURIER.inverse(),
        Abcd::FOURIER * Abcd::FOURIER,
        Abcd::chirp(0.5),
        Abcd::scaling(-2.0).unwrap(),
        Abcd::scaling(0.5).unwrap() * Abcd::chirp(-1.0),
        Abcd::fresnel(-1.0),
    ];
    for x in &special {
        for y in &special {
            for z in &special {
                let left = z.metaplectic_sign(y) * (*z * *y).metaplectic_sign(x);
                let right = y.metaplectic_sign(x) * z.metaplectic_sign(&(*y * *x));
                assert_eq!(left, right, "{z:?} {y:?} {x:?}");
            }
        }
    }
}

#[test]
fn exponentials_add_on_a_line_and_have_determinant_1() {
    let mut rng = sampling::rng("exponentials");
    for _ in 0..500 {
        let p: [f64; 3] = core::array::from_fn(|_| rng.random_range(-2.0..2.0));
        let at = |t: f64| Lie::new(t * p[0], t * p[1], t * p[2]).unwrap().exp().unwrap();
        let (s, t) = (rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0));
        // Entries reach e^√8 ≈ 17 each: products of two have rounding 300 · a few ε.
        same("exp", &(at(s) * at(t)), &at(s + t), 1e-12);
        let [a, b, c, d] = at(1.0).entries();
        sampling::near("determinant", a * d - b * c, 1.0, 1e-12);
    }
}

#[test]
fn the_logarithm_undoes_the_exponential() {
    let mut rng = sampling::rng("logarithm");
    // Rotations by more than π have another logarithm: √(−Δ) stays below 3 here.
    for size in [1e-12, 1e-6, 1e-3, 1.0, 1.7] {
        for _ in 0..100 {
            let p: [f64; 3] = core::array::from_fn(|_| size * rng.random_range(-1.0..1.0));
            let m = Lie::new(p[0], p[1], p[2]).unwrap().exp().unwrap();
            let back = Lie::log(&m).unwrap().coordinates();
            for i in 0..3 {
                // An error ε in the entries, times the slope of the logarithm, at most 1/S(Δ) ≈ 2 here,
                // more towards a rotation by π.
                sampling::near("coordinate", back[i], p[i], 2e-14);
            }
        }
    }
}

#[test]
fn the_exponential_has_its_jacobian() {
    let mut rng = sampling::rng("exp_jacobian");
    let h = 1e-5;
    let mut worst = 0.0f64;
    for size in [1e-7, 0.3, 1.0, 3.0] {
        for _ in 0..100 {
            let p: [f64; 3] = core::array::from_fn(|_| size * rng.random_range(-1.0..1.0));
            let rows = Lie::new(p[0], p[1], p[2]).unwrap().exp_jacobian().unwrap();
            for i in 0..3 {
                let at = |sign: f64| {
                    let mut q = p;
                    q[i] += sign * h;
                    Lie::new(q[0], q[1], q[2]).unwrap().exp().unwrap().entries()
                };
                let (above, below) = (at(1.0), at(-1.0));
                for entry in 0..4 {
                    let slope = (above[entry] - below[entry]) / (2.0 * h);
                    // h²/6 of a third derivative of size e^√18 ≈ 70, plus ε·70/h: below 4e-9.
                    sampling::near("slope", rows[i][entry], slope, 1e-8);
                    worst = worst.max((rows[i][entry] - slope).abs());
                }
            }
        }
    }
    println!("exponential's Jacobian against differences: {worst:.1e}");
}
