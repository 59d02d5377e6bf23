//! Integer matrices modulo N: exact, with phase for odd N, up to sign for even N.

use rand::Rng;
use rand::rngs::StdRng;
use wavecube_core::Complex64;
use wavecube_core::lct::WeilMatrix;

use crate::{reference, sampling};

/// A random product of generators: every case of the plan occurs, `gcd(a, N)` and `gcd(b, N)` both
/// above 1 included where `N` has two prime factors.
fn any_matrix(rng: &mut StdRng, n: usize) -> WeilMatrix {
    let mut m = WeilMatrix::new(n, [1, 0, 0, 1]).unwrap();
    for _ in 0..rng.random_range(0..5) {
        let q = rng.random_range(-60..60);
        let chirp = WeilMatrix::new(n, [1, 0, q, 1]).unwrap();
        let fourier = WeilMatrix::new(n, [0, 1, -1, 0]).unwrap();
        m = if rng.random_bool(0.5) { chirp * m } else { fourier * chirp * m };
    }
    m
}

fn signed(m: &WeilMatrix) -> [i64; 4] {
    m.entries().map(|entry| entry as i64)
}

const LENGTHS: [usize; 24] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 20, 21, 25, 30, 33, 35, 36, 45, 64, 105, 128];

#[test]
fn products_exactly_phase_included() {
    let mut rng = sampling::rng("weil group law");
    let (mut worst, mut dfts, mut negative) = (0.0f64, [0; 4], 0);
    for n in LENGTHS {
        for _ in 0..40 {
            let (m1, m2) = (any_matrix(&mut rng, n), any_matrix(&mut rng, n));
            let x = sampling::noise(&mut rng, n);
            let [p1, p2, p12] = [m1, m2, m2.after(&m1).unwrap()].map(|m| m.plan());
            dfts[p12.dfts()] += 1;
            let chained = p2.apply_naive(&p1.apply_naive(&x).unwrap()).unwrap();
            let at_once = p12.apply_naive(&x).unwrap();
            let mut error = sampling::distance(&chained, &at_once);
            if n % 2 == 0 && error > 1.0 {
                let minus = at_once.iter().map(|y| -y).collect::<Vec<_>>();
                error = sampling::distance(&chained, &minus);
                negative += 1;
            }
            // Up to nine naive DFTs, each within a few ε·√log n.
            assert!(error < 1e-13, "n = {n}, {m2:?} after {m1:?}: {error:e}");
            worst = worst.max(error);
            sampling::near("norm", sampling::norm(&at_once) / sampling::norm(&x), 1.0, 1e-13);
        }
    }
    println!("weil group law: {worst:.1e}; plans by DFTs {dfts:?}; minus signs {negative}");
    assert!(dfts.iter().all(|&count| count > 0) && negative > 0);
}

#[test]
fn inverses_exactly() {
    let mut rng = sampling::rng("weil inverse");
    for n in LENGTHS.into_iter().filter(|n| n % 2 == 1) {
        let m = any_matrix(&mut rng, n);
        let x = sampling::noise(&mut rng, n);
        let y = m.plan().apply_naive(&x).unwrap();
        sampling::close("inverse", &m.inverse().plan().apply_naive(&y).unwrap(), &x, 1e-13);
    }
}

#[test]
fn matches_a_euclidean_word() {
    // Another factorisation altogether, in dense matrices.
    let mut rng = sampling::rng("weil word");
    for n in [1, 2, 3, 4, 6, 7, 8, 9, 10, 15, 16, 21] {
        for _ in 0..10 {
            let m = any_matrix(&mut rng, n);
            let x = sampling::noise(&mut rng, n);
            let mut want = reference::apply(&reference::lct_weil(n, signed(&m)), &x);
            let got = m.plan().apply_naive(&x).unwrap();
            if n % 2 == 0 && sampling::distance(&got, &want) > 1.0 {
                want = want.iter().map(|w| -w).collect();
            }
            // A word of up to a dozen dense factors.
            sampling::close(&format!("{m:?}"), &got, &want, 1e-13);
        }
    }
}

#[test]
fn matches_the_closed_form_for_primes() {
    let mut rng = sampling::rng("weil closed form");
    for n in [3, 5, 7, 11, 13, 31, 97] {
        for _ in 0..10 {
            let m = any_matrix(&mut rng, n);
            if m.entries()[1] == 0 {
                continue;
            }
            let x = sampling::noise(&mut rng, n);
            let want = reference::apply(&reference::lct_weil_prime(n, signed(&m)), &x);
            sampling::close("closed form", &m.plan().apply_naive(&x).unwrap(), &want, 1e-14);
        }
    }
}

#[test]
fn the_generators_are_what_they_are_called() {
    for n in [7usize, 8, 9, 12] {
        let x = (0..n).map(|j| Complex64::new(j as f64, 1.0)).collect::<Vec<_>>();
        // Multiplication by 1 at n = 0, whatever the rate.
        let chirp = WeilMatrix::new(n, [1, 0, 5, 1]).unwrap().plan();
        assert_eq!(chirp.dfts(), 0);
        assert_eq!(chirp.apply_naive(&x).unwrap()[0], x[0]);
        // Minus one reverses, up to a constant.
        let minus = WeilMatrix::new(n, [-1, 0, 0, -1]).unwrap().plan();
        assert_eq!(minus.dfts(), 0);
        let y = minus.apply_naive(&x).unwrap();
        for k in 0..n {
            assert!((y[k].norm() - x[(n - k) % n].norm()).abs() < 1e-14);
        }
    }
    // A long transform: tables have exact exponents at any length.
    let n = 1_000_003;
    let plan = WeilMatrix::new(n, [2, 1, 1, 1]).unwrap().plan();
    assert_eq!(plan.dfts(), 1);
    let table = plan.chirp_table(n as u64 - 1, n as u64).unwrap();
    let k = 999_999u64;
    let want = Complex64::from_polar(1.0, -std::f64::consts::TAU * (16.0 / n as f64));
    assert!((table[k as usize] - want).norm() < 1e-15);
}
