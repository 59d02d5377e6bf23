//! The Hermite–Gauss-like basis and the fractional Fourier transform.

use core::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI, SQRT_2};
use std::sync::Arc;

use rand::Rng;
use wavecube_core::lct::{Eigenbasis, ZeroPoint, rotation_phase_derivatives, rotation_phases};
use wavecube_core::{Complex64, Error};

use crate::{reference, sampling};

/// The DFT on even vectors (cosines) or odd ones (−i times sines), at the points `n ≥ 0` in
/// orthonormal coordinates, from the definition.
fn half_dft(n: usize, odd: bool) -> Vec<f64> {
    let size = if odd { n / 2 } else { n.div_ceil(2) };
    // Twice the grid point.
    let doubled =
        |i: usize| 2 * (i + usize::from(odd && n % 2 == 1)) + usize::from(n.is_multiple_of(2));
    let weight = |i: usize| if doubled(i) == 0 { 1.0 } else { SQRT_2 };
    (0..size * size)
        .map(|index| {
            let (i, j) = (index / size, index % size);
            let turns = (doubled(i) * doubled(j)) % (4 * n);
            let angle = PI * turns as f64 / (2 * n) as f64;
            let wave = if odd { angle.sin() } else { angle.cos() };
            weight(i) * weight(j) * wave / (n as f64).sqrt()
        })
        .collect()
}

/// `max |Σ_k λ_k block[k, i] block[k, j] − want(i, j)|`.
fn worst(block: &[f64], lambda: impl Fn(usize) -> f64, want: impl Fn(usize) -> f64) -> f64 {
    let size = block.len().isqrt();
    let mut sum = vec![0.0; size * size];
    for (k, row) in block.chunks_exact(size.max(1)).enumerate() {
        for (i, left) in row.iter().enumerate() {
            let factor = lambda(k) * left;
            for (target, right) in sum[i * size..(i + 1) * size].iter_mut().zip(row) {
                *target += factor * right;
            }
        }
    }
    sum.iter().enumerate().map(|(i, sum)| (sum - want(i)).abs()).fold(0.0, f64::max)
}

#[test]
fn orthogonal_and_diagonalises_the_dft() {
    let mut report = Vec::new();
    for n in (1..=64).chain([100, 127, 128, 255, 256, 257, 510, 1023, 1024]) {
        let basis = Eigenbasis::new(n).unwrap();
        let (mut orthogonality, mut eigen) = (0.0f64, 0.0f64);
        for (block, odd) in [(basis.even(), false), (basis.odd(), true)] {
            let size = block.len().isqrt();
            let unit = |i: usize| if size > 0 && i.is_multiple_of(size + 1) { 1.0 } else { 0.0 };
            orthogonality = orthogonality.max(worst(block, |_| 1.0, unit));
            let dft = half_dft(n, odd);
            // (−i)^k is ±1 on even vectors, −i·(±1) on odd ones.
            eigen = eigen.max(worst(block, |k| if k % 2 == 0 { 1.0 } else { -1.0 }, |i| dft[i]));
        }
        // Plane rotations and reflections, each within a few ε; the errors of n of them add up as √n.
        assert!(orthogonality < 1e-13, "n = {n}: orthogonality {orthogonality:e}");
        // Eigenvectors of neighbouring eigenvalues of S mix by ε over their gap, ≈ 4π/(n ln n).
        assert!(eigen < 1e-12, "n = {n}: V diag((−i)^k) Vᵀ − F {eigen:e}");
        if n >= 255 {
            report.push(format!("n = {n}: orthogonality {orthogonality:.1e}, DFT {eigen:.1e}"));
        }
    }
    println!("{}", report.join("\n"));
}

#[test]
fn the_matrix_is_the_two_blocks() {
    let mut rng = sampling::rng("the_matrix_is_the_two_blocks");
    for n in [1, 2, 3, 8, 17, 40] {
        let basis = Eigenbasis::new(n).unwrap();
        let v = basis.matrix();
        let x = sampling::noise(&mut rng, n);
        let by_matrix =
            (0..n).map(|k| (0..n).map(|j| x[j] * v[j * n + k]).sum()).collect::<Vec<Complex64>>();
        sampling::close("Vᵀx", &basis.analyse(&x).unwrap(), &by_matrix, 1e-14);
        sampling::close("VVᵀx", &basis.synthesise(&by_matrix).unwrap(), &x, 1e-14);
    }
}

#[test]
fn matches_the_projected_hermite_functions() {
    // The definition, by another road: projection with the DFT, Gram–Schmidt. Its highest orders are
    // conditioned like the samples, about 10⁴ at n = 40.
    for n in [1, 2, 3, 4, 5, 12, 13, 21, 40] {
        let want = reference::hermite_basis(n);
        let got = Eigenbasis::new(n).unwrap().matrix();
        let mut worst = (0.0f64, 0, 0);
        for k in 0..n {
            for j in 0..n {
                let error = (got[j * n + k] - want[k * n + j]).abs();
                if error > worst.0 {
                    worst = (error, k, j);
                }
            }
        }
        println!("n = {n}: {worst:?}");
        assert!(worst.0 < 1e-10, "n = {n}: {worst:?}");
        let theta = 0.9;
        let dense = reference::frft(n, &want, theta);
        let x =
            (0..n).map(|j| Complex64::new(1.0 / (j as f64 + 1.0), j as f64)).collect::<Vec<_>>();
        let y = Eigenbasis::new(n).unwrap().rotate(theta, &x).unwrap();
        sampling::close("frft", &y, &reference::apply(&dense, &x), 1e-10);
    }
}

#[test]
fn low_orders_are_the_sampled_functions() {
    for n in [64, 255, 256, 1024] {
        let v = Eigenbasis::new(n).unwrap().matrix();
        let root = (n as f64).sqrt();
        // Order k fills the disc of radius √((k + ½)/π); its tail must have died at √n/2.
        let radius = 0.5 * root - 3.0;
        let orders = (PI * radius * radius) as usize;
        let mut worst = 0.0f64;
        for k in 0..orders {
            for (j, point) in reference::grid(n).into_iter().enumerate() {
                let want = reference::hermite_gauss(k, point / root) / root.sqrt();
                worst = worst.max((v[j * n + k] - want).abs());
            }
        }
        println!("n = {n}: {orders} orders within {worst:.1e}");
        // The tail of the Gaussian at distance 3, exp(−9π) = 5e-13, and rounding.
        assert!(worst < 1e-11, "n = {n}: {worst:e}");
    }
}

#[test]
fn rotates_gaussians_as_the_continuous_transform_does() {
    // exp(iπ z x²) in closed form; shifted Gaussians are covered by the basis functions above.
    let mut rng = sampling::rng("rotates_gaussians");
    for n in [64, 255, 1024] {
        let basis = Eigenbasis::new(n).unwrap();
        let theta = rng.random_range(-3.0..3.0f64);
        let z = Complex64::new(rng.random_range(-0.3..0.3), rng.random_range(0.7..1.4));
        let entries = [theta.cos(), theta.sin(), -theta.sin(), theta.cos()];
        let (factor, moved) = reference::gaussian(entries, z);
        let sample = |factor: Complex64, z: Complex64| {
            reference::grid(n)
                .iter()
                .map(|p| factor * (Complex64::new(0.0, PI) * z * (p * p / n as f64)).exp())
                .collect::<Vec<_>>()
        };
        let x = sample(Complex64::ONE, z);
        // The plain convention lacks the kernel's exp(−iθ/2).
        let want = sample(factor * Complex64::from_polar(1.0, theta / 2.0), moved);
        // Window edge at n = 64: exp(−π·0.6·16) = 8e-14 of the narrowest.
        sampling::close("frft of a Gaussian", &basis.rotate(theta, &x).unwrap(), &want, 1e-12);
    }
}

#[test]
fn two_eighth_turns_are_the_dft_and_angles_add() {
    let mut rng = sampling::rng("angles_add");
    for n in [1, 2, 7, 64, 255, 1024] {
        let basis = Eigenbasis::new(n).unwrap();
        let x = sampling::noise(&mut rng, n);
        let twice = basis.rotate(FRAC_PI_4, &basis.rotate(FRAC_PI_4, &x).unwrap()).unwrap();
        let dft = reference::apply(&reference::dft_power(n, 1), &x);
        // The rounding of π/4 turns order n by ε·n/4: 6e-14 at 1024, beside that of the basis.
        sampling::close(&format!("frft(45°)² at {n}"), &twice, &dft, 1e-12);

        let (s, t) = (rng.random_range(-4.0..4.0), rng.random_range(-4.0..4.0));
        let there = basis.rotate(s, &x).unwrap();
        let both = basis.rotate(t, &there).unwrap();
        let tolerance = 1e-13 + 4.0 * f64::EPSILON * n as f64;
        sampling::close("sum of angles", &both, &basis.rotate(s + t, &x).unwrap(), tolerance);
        sampling::close("inverse", &basis.rotate(-s, &there).unwrap(), &x, 1e-13);
        sampling::near("unitarity", sampling::norm(&there) / sampling::norm(&x), 1.0, 1e-13);
    }
}

#[test]
fn the_phase_has_its_derivative() {
    let h = 1e-6;
    for zero_point in [ZeroPoint::Without, ZeroPoint::With] {
        for angle in [0.0, FRAC_PI_2, 0.7] {
            let slope = rotation_phase_derivatives(50, angle, zero_point).unwrap();
            let above = rotation_phases(50, angle + h, zero_point).unwrap();
            let below = rotation_phases(50, angle - h, zero_point).unwrap();
            for k in 0..50 {
                let difference = (above[k] - below[k]) / (2.0 * h);
                // h²k³/6 and ε/h.
                assert!((slope[k] - difference).norm() < 1e-7, "k = {k}");
            }
        }
    }
}

#[test]
fn a_phase_of_a_large_angle_is_reduced_exactly() {
    // 3·2⁴⁰·k is exact in f64 for these k, so the library's own reduction is the reference.
    let angle = 3.0 * 2f64.powi(40);
    let phases = rotation_phases(1000, angle, ZeroPoint::Without).unwrap();
    for k in [1, 999] {
        let want = Complex64::from_polar(1.0, -(angle * k as f64));
        assert!((phases[k] - want).norm() < 1e-15);
    }
}

#[test]
fn one_basis_for_all_and_lengths_that_are_refused() {
    let (first, second) = (Eigenbasis::shared(33).unwrap(), Eigenbasis::shared(33).unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    for n in [0, Eigenbasis::MAX_LENGTH + 1] {
        assert!(matches!(Eigenbasis::new(n), Err(Error::Length { argument: "n", .. })));
        assert!(Eigenbasis::shared(n).is_err());
    }
    let basis = Eigenbasis::new(4).unwrap();
    assert!(matches!(basis.analyse(&[]), Err(Error::Length { argument: "x", .. })));
    assert!(matches!(basis.synthesise(&[]), Err(Error::Length { argument: "v", .. })));
    assert!(basis.rotate(f64::NAN, &[Complex64::ZERO; 4]).is_err());
}
