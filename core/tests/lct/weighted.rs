//! The weighted fractional Fourier transform.

use core::f64::consts::{FRAC_PI_2, TAU};

use rand::Rng;
use wavecube_core::Complex64;
use wavecube_core::lct::{weighted_coefficient_derivatives, weighted_coefficients};

use crate::{reference, sampling};

fn apply(angle: f64, x: &[Complex64]) -> Vec<Complex64> {
    let n = x.len();
    let mut y = vec![Complex64::ZERO; n];
    for (power, weight) in weighted_coefficients(angle).unwrap().into_iter().enumerate() {
        for (sum, value) in y.iter_mut().zip(reference::apply(&reference::dft_power(n, power), x)) {
            *sum += weight * value;
        }
    }
    y
}

#[test]
fn a_group_of_unitary_transforms_on_every_vector() {
    let mut rng = sampling::rng("weighted group law");
    for n in [1, 2, 5, 64, 129] {
        let x = sampling::noise(&mut rng, n);
        let (s, t) = (rng.random_range(-7.0..7.0), rng.random_range(-7.0..7.0));
        let there = apply(s, &x);
        // Four weights and a DFT of n terms: a few ε·√log n; the sum of the angles is rounded once.
        sampling::close("sum of angles", &apply(t, &there), &apply(s + t, &x), 2e-14);
        sampling::close("inverse", &apply(-s, &there), &x, 2e-14);
        sampling::near("norm", sampling::norm(&there) / sampling::norm(&x), 1.0, 1e-14);
        let dense = reference::apply(&reference::frft_weighted(n, s), &x);
        sampling::close("spectral definition", &there, &dense, 2e-14);
    }
}

#[test]
fn quarter_turns_are_powers_of_the_dft() {
    for power in 0..4 {
        for turns in [-1.0, 0.0, 1.0] {
            let angle = FRAC_PI_2 * power as f64 + turns * TAU;
            let weights = weighted_coefficients(angle).unwrap();
            for (l, weight) in weights.into_iter().enumerate() {
                let want = if l == power { 1.0 } else { 0.0 };
                // Three times the rounding of an angle of up to 11.
                assert!((weight - want).norm() < 6e-15, "{power}, {turns}: {weights:?}");
            }
        }
    }
}

#[test]
fn the_weights_have_their_derivatives() {
    let h = 1e-5;
    for angle in [-2.0, 0.0, 0.3, FRAC_PI_2, 5.0] {
        let slopes = weighted_coefficient_derivatives(angle).unwrap();
        let above = weighted_coefficients(angle + h).unwrap();
        let below = weighted_coefficients(angle - h).unwrap();
        for l in 0..4 {
            // h²·3³/6 and ε/h.
            assert!((slopes[l] - (above[l] - below[l]) / (2.0 * h)).norm() < 1e-9);
        }
    }
}

#[test]
fn rejects() {
    for angle in [f64::NAN, f64::INFINITY, f64::MAX] {
        assert!(weighted_coefficients(angle).is_err());
        assert!(weighted_coefficient_derivatives(angle).is_err());
    }
}
