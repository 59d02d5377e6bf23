//! Shears: unitary always, the group law inside the window and not outside.

use core::f64::consts::PI;

use rand::Rng;
use wavecube_core::lct::{
    Abcd, DEGENERATE, Lie, ShearFactors, ShearForm, chirp_generator, chirp_table,
};
use wavecube_core::{Complex64, Error};

use crate::reference;
use crate::sampling;

/// The radius within which the unit Gaussian is above 1e-16 of its peak: exp(−π r²), r = 3.45.
const TAIL: f64 = 3.45;

const FORMS: [ShearForm; 2] =
    [ShearForm::ChirpMiddleConvolution, ShearForm::ConvolutionMiddleChirp];

/// The centred unitary DFT, forward and inverse, of one length.
struct Dfts {
    powers: [Vec<Complex64>; 4],
}

impl Dfts {
    fn new(n: usize) -> Self {
        Self { powers: [0, 1, 2, 3].map(|power| reference::dft_power(n, power)) }
    }

    fn power(&self, power: u8, x: &[Complex64]) -> Vec<Complex64> {
        if power == 0 { x.to_vec() } else { reference::apply(&self.powers[usize::from(power)], x) }
    }

    /// The passes, through the library's tables and the dense DFT.
    fn apply(&self, factors: &ShearFactors, x: &[Complex64]) -> Vec<Complex64> {
        let n = x.len();
        let chirp = |rate: f64, x: Vec<Complex64>| -> Vec<Complex64> {
            x.into_iter().zip(chirp_table(n, rate).unwrap()).map(|(x, c)| x * c).collect()
        };
        let passes = factors.passes();
        let (there, back) = if passes.forward { (1, 3) } else { (3, 1) };
        let mut x = chirp(passes.first, self.power(passes.before, x));
        x = self.power(back, &chirp(passes.middle, self.power(there, &x)));
        x = self.power(passes.after, &chirp(passes.last, x));
        x.into_iter().map(|x| factors.phase() * x).collect()
    }
}

#[test]
fn the_rates_reproduce_the_matrix() {
    let mut rng = sampling::rng("rates");
    for _ in 0..500 {
        let m = sampling::matrix(&mut rng, 5.0);
        for form in FORMS {
            for power in 0..4 {
                let Ok(factors) = ShearFactors::pinned(&m, power, form) else { continue };
                let shears = factors.rates();
                let shear = |middle: bool, rate: f64| {
                    if middle == (form == ShearForm::ChirpMiddleConvolution) {
                        Abcd::fresnel(rate)
                    } else {
                        Abcd::chirp(rate)
                    }
                };
                let mut product = Abcd::IDENTITY;
                for _ in 0..power {
                    product = Abcd::FOURIER * product;
                }
                product = shear(false, shears[0]) * product;
                product = shear(true, shears[1]) * product;
                product = shear(false, shears[2]) * product;
                // Each rate is good to 2ε, and multiplies a partial product. The entry that the form
                // does not read comes from the determinant, whose rounding it divides.
                let largest = shears.iter().fold(1.0, |largest: f64, r| largest.max(r.abs()));
                let [a, b, c, d] = m.entries();
                let entry = (1.0 + (a * d).abs() + (b * c).abs()) / shears[1].abs();
                let tolerance = 8.0 * f64::EPSILON * (largest * (1.0 + factors.stretch()) + entry);
                for (got, want) in product.entries().into_iter().zip(m.entries()) {
                    sampling::near("entry", got, want, tolerance);
                }
            }
        }
    }
}

#[test]
fn the_passes_are_the_shears() {
    // The bookkeeping of DFTs against products of dense shears, and unitarity on white noise.
    let mut rng = sampling::rng("passes");
    for n in [1, 2, 9, 16] {
        let dfts = Dfts::new(n);
        for _ in 0..10 {
            let m = sampling::matrix(&mut rng, 3.0);
            let x = sampling::noise(&mut rng, n);
            for form in FORMS {
                for power in 0..4 {
                    let Ok(factors) = ShearFactors::pinned(&m, power, form) else { continue };
                    let want = reference::lct_shear_factored(n, &x, &factors);
                    let got = dfts.apply(&factors, &x);
                    // Phases of the reference, π·rate·n/4, are rounded to ε of themselves.
                    let rates = factors.rates().iter().fold(1.0, |sum: f64, r| sum + r.abs());
                    let tolerance = 1e-14 * (1.0 + rates * n as f64 / 16.0);
                    assert!(sampling::distance(&got, &want) < tolerance, "{factors:?}");
                    sampling::near("norm", sampling::norm(&got) / sampling::norm(&x), 1.0, 1e-14);
                }
            }
        }
    }
}

#[test]
fn the_inverse_matrix_undoes_it_on_white_noise() {
    // T(M⁻¹) with the mirrored factorisation is T(M)⁻¹, for every vector: L(−r₀)U(−r₁)L(−r₂).
    let mut rng = sampling::rng("shear inverse");
    let n = 64;
    let dfts = Dfts::new(n);
    for _ in 0..20 {
        let m = sampling::matrix(&mut rng, 3.0);
        let x = sampling::noise(&mut rng, n);
        let form = ShearForm::ChirpMiddleConvolution;
        let there = ShearFactors::pinned(&m, 0, form).unwrap();
        let back = ShearFactors::pinned(&m.inverse(), 0, form).unwrap();
        let y = dfts.apply(&back, &dfts.apply(&there, &x));
        // Rates of M⁻¹ are those of M, negated and in reverse, bit for bit.
        sampling::close("there and back", &y, &x, 1e-13);
    }
}

#[test]
fn the_group_law_holds_inside_the_window() {
    let mut rng = sampling::rng("shear group law");
    let mut worst = 0.0f64;
    for n in [256, 511] {
        let dfts = Dfts::new(n);
        let half = 0.5 * (n as f64).sqrt();
        let mut tried = 0;
        while tried < 12 {
            let (m1, m2) = (sampling::matrix(&mut rng, 1.6), sampling::matrix(&mut rng, 1.6));
            let [f1, f2, f12] = [m1, m2, m2 * m1].map(|m| ShearFactors::new(&m).unwrap());
            // The signal after m1 lies within m1.stretch() times its radius.
            let reach = f1.stretch().max(f12.stretch()).max(f2.stretch() * m1.stretch());
            let radius = half / reach - TAIL;
            if radius < 0.2 {
                continue;
            }
            tried += 1;
            let x = sampling::packet(&mut rng, n, radius.min(0.15 * 2.0 * half), 6);
            let chained = dfts.apply(&f2, &dfts.apply(&f1, &x));
            let sign = m2.metaplectic_sign(&m1);
            let at_once = dfts.apply(&f12, &x);
            let want = at_once.iter().map(|y| sign * y).collect::<Vec<_>>();
            // What leaves the window is 1e-16 of a packet's peak, spread over √n samples, from six
            // packets that may cancel; rounding adds ε·√log₂n and the rounding of the rates, ε·π·n/4.
            let error = sampling::distance(&chained, &want);
            worst = worst.max(error);
            assert!(error < 2e-12, "n = {n}: {error:e} for {m2:?} after {m1:?}");
        }
    }
    println!("shear group law inside the window: {worst:.1e}");
}

#[test]
fn the_group_law_fails_on_white_noise() {
    // No fixed grid can keep it; if this ever passes, the test above tests nothing.
    let mut rng = sampling::rng("shear on white noise");
    let n = 128;
    let dfts = Dfts::new(n);
    let mut errors = (0..11)
        .map(|_| {
            let (m1, m2) = (sampling::matrix(&mut rng, 1.6), sampling::matrix(&mut rng, 1.6));
            let [f1, f2, f12] = [m1, m2, m2 * m1].map(|m| ShearFactors::new(&m).unwrap());
            let x = sampling::noise(&mut rng, n);
            let sign = m2.metaplectic_sign(&m1);
            let chained = dfts.apply(&f2, &dfts.apply(&f1, &x));
            let want = dfts.apply(&f12, &x).iter().map(|y| sign * y).collect::<Vec<_>>();
            sampling::distance(&chained, &want)
        })
        .collect::<Vec<_>>();
    errors.sort_by(f64::total_cmp);
    println!("shear group law on white noise: {:.2} … {:.2}", errors[0], errors[10]);
    assert!(errors[5] > 0.1, "median {}", errors[5]);
}

#[test]
fn gaussians_go_where_the_continuous_transform_takes_them_sign_included() {
    let mut rng = sampling::rng("shear Gaussians");
    let n = 256;
    let dfts = Dfts::new(n);
    let root = (n as f64).sqrt();
    let mut seen = [0; 8];
    let special = [
        Abcd::IDENTITY,
        Abcd::FOURIER,
        Abcd::FOURIER.inverse(),
        Abcd::FOURIER * Abcd::FOURIER,
        Abcd::chirp(-0.75),
        Abcd::chirp(0.75) * Abcd::FOURIER,
        Abcd::fresnel(1.25),
        Abcd::scaling(-1.5).unwrap(),
        Abcd::scaling(0.75).unwrap() * Abcd::chirp(0.5),
    ];
    let random = (0..40).map(|_| sampling::matrix(&mut rng, 1.6)).collect::<Vec<_>>();
    for m in special.into_iter().chain(random) {
        let z = Complex64::new(0.125, 1.0);
        let gaussian =
            |z: Complex64, p: f64| (Complex64::new(0.0, PI) * z * (p * p / (root * root))).exp();
        let x = reference::grid(n).iter().map(|&p| gaussian(z, p)).collect::<Vec<_>>();
        let (factor, moved) = reference::gaussian(m.entries(), z);
        let want =
            reference::grid(n).iter().map(|&p| factor * gaussian(moved, p)).collect::<Vec<_>>();
        for factors in [ShearFactors::new(&m).unwrap(), ShearFactors::smooth(&m).unwrap()] {
            seen[usize::from(factors.eighths())] += 1;
            // Stretches up to 2.3 of a Gaussian 3.45 wide reach the edge at 8 with 1e-16.
            assert!(factors.stretch() < 2.5, "{factors:?}");
            sampling::close(&format!("{m:?}"), &dfts.apply(&factors, &x), &want, 1e-12);
        }
    }
    println!("constant phases seen, in eighths: {seen:?}");
}

#[test]
fn special_matrices_take_no_more_work_than_they_need() {
    let factors = |m: Abcd| ShearFactors::new(&m).unwrap();
    let minus = Abcd::FOURIER * Abcd::FOURIER;
    for (m, power, dfts) in [
        (Abcd::IDENTITY, 0, 0),
        (Abcd::FOURIER, 1, 1),
        (minus, 2, 0),
        (Abcd::FOURIER.inverse(), 3, 1),
        (Abcd::chirp(3.0), 0, 0),
        (Abcd::chirp(3.0) * Abcd::FOURIER, 1, 1),
        (Abcd::fresnel(0.5), 0, 2),
    ] {
        let factors = factors(m);
        assert_eq!((factors.power(), factors.dfts()), (power, dfts), "{m:?}: {factors:?}");
        // What is trained has derivatives all the same.
        assert!(ShearFactors::smooth(&m).unwrap().rate_jacobian().is_some());
    }
    assert!(factors(Abcd::IDENTITY).rate_jacobian().is_none());
    assert!(factors(Abcd::IDENTITY).degenerate());
    assert!(!factors(Abcd::FOURIER).degenerate());
}

#[test]
fn small_b_takes_another_factorisation() {
    for b in [0.0, 1e-300, 1e-9, -0.5 * DEGENERATE] {
        let m = Abcd::from_abc(1.1, b, 0.2).unwrap();
        let factors = ShearFactors::new(&m).unwrap();
        assert!(factors.degenerate());
        assert!(factors.rates().iter().all(|rate| rate.abs() < 15.0), "{factors:?}");
        assert!(factors.stretch() < 3.0, "{factors:?}");
    }
    // Large and small together: some denominator is always large enough.
    let mut rng = sampling::rng("extremes");
    for _ in 0..2000 {
        let mut size =
            || 10f64.powf(rng.random_range(-6.0..6.0)) * [-1.0, 1.0][rng.random_range(0..2)];
        let m = Abcd::chirp(size()) * Abcd::scaling(size()).unwrap() * Abcd::fresnel(size());
        assert!(ShearFactors::new(&m).is_ok(), "{m:?}");
    }
}

#[test]
fn the_rates_have_their_jacobian() {
    let mut rng = sampling::rng("rate jacobian");
    let h = 1e-6;
    let mut worst = 0.0f64;
    for _ in 0..300 {
        let p: [f64; 3] = core::array::from_fn(|_| rng.random_range(-1.5..1.5));
        let lie = Lie::new(p[0], p[1], p[2]).unwrap();
        let m = lie.exp().unwrap();
        for form in FORMS {
            for power in 0..4 {
                let Ok(factors) = ShearFactors::pinned(&m, power, form) else { continue };
                let denominator = factors.rates()[1].abs();
                if denominator < 0.05 {
                    continue; // differences lose their digits there
                }
                let rates = |m: &Abcd| ShearFactors::pinned(m, power, form).unwrap().rates();
                let jacobian = factors.rate_jacobian().unwrap();
                let by_lie = lie.exp_jacobian().unwrap();
                let by_abc = factors.rate_jacobian_abc();
                // h² over the fourth power of the denominator, and ε/(h·denominator).
                let tolerance = 1e-9 + 2e-12 * 20.0 / denominator.powi(4);
                for i in 0..3 {
                    let along = |sign: f64| {
                        let mut q = p;
                        q[i] += sign * h;
                        rates(&Lie::new(q[0], q[1], q[2]).unwrap().exp().unwrap())
                    };
                    let (above, below) = (along(1.0), along(-1.0));
                    for rate in 0..3 {
                        let slope = (above[rate] - below[rate]) / (2.0 * h);
                        let got = (0..4).map(|e| jacobian[rate][e] * by_lie[i][e]).sum::<f64>();
                        let scale = 1.0 + slope.abs();
                        worst = worst.max((got - slope).abs() / scale);
                        sampling::near("by Lie", got, slope, tolerance * 10.0 * scale);
                    }
                    if m.a().abs() < 0.2 {
                        continue;
                    }
                    let along = |sign: f64| {
                        let mut e = m.entries();
                        e[i] += sign * h;
                        rates(&Abcd::from_abc(e[0], e[1], e[2]).unwrap())
                    };
                    let (above, below) = (along(1.0), along(-1.0));
                    for rate in 0..3 {
                        let slope = (above[rate] - below[rate]) / (2.0 * h);
                        let got = by_abc.unwrap()[rate][i];
                        let scale = 1.0 + slope.abs();
                        sampling::near("by (a, b, c)", got, slope, tolerance * 500.0 * scale);
                    }
                }
            }
        }
    }
    println!("rates' Jacobian against differences: {worst:.1e}");
}

#[test]
fn a_chirp_has_its_derivative() {
    let (n, rate, h) = (64, 0.7, 1e-6);
    let [below, at, above] = [rate - h, rate, rate + h].map(|rate| chirp_table(n, rate).unwrap());
    for (j, w) in chirp_generator(n).into_iter().enumerate() {
        let difference = (above[j] - below[j]) / (2.0 * h);
        // (h w)²w/6 with w up to 50, and ε/h.
        assert!((Complex64::I * w * at[j] - difference).norm() < 1e-7);
    }
}

#[test]
fn rejects() {
    let nan = Abcd::fractional_fourier(f64::NAN);
    assert!(matches!(ShearFactors::new(&nan), Err(Error::Value { argument: "a", .. })));
    assert!(ShearFactors::smooth(&nan).is_err());
    for (power, form, blamed) in
        [(0, ShearForm::ChirpMiddleConvolution, "b"), (2, ShearForm::ConvolutionMiddleChirp, "c")]
    {
        let result = ShearFactors::pinned(&Abcd::scaling(2.0).unwrap(), power, form);
        assert!(matches!(result, Err(Error::Value { argument, .. }) if argument == blamed));
    }
    for (power, form, blamed) in
        [(1, ShearForm::ChirpMiddleConvolution, "a"), (3, ShearForm::ConvolutionMiddleChirp, "d")]
    {
        let result = ShearFactors::pinned(&Abcd::FOURIER, power, form);
        assert!(matches!(result, Err(Error::Value { argument, .. }) if argument == blamed));
    }
}
