//! The scan over chunks in `f16`.

use wavecube::{Dtype, Error};
use wavecube_testing::{Rng, devices, has, nan_filled, read, reference::tridiag::Operator};

use super::{Batch, I, MODEL, Source, assert_near, real, relative_max};

/// What the mixed mode is asked for.
const MIXED: f64 = 1e-4;

#[test]
fn errors_stay_within_what_is_promised() {
    for device in devices() {
        let mut rng = Rng::fresh();
        if !has(device, Dtype::F16) {
            continue;
        }
        let lengths = [1, 2, 31, 32, 33, 63, 64, 65, 95, 96, 97, 160, 161, 4096, 70_000];
        let mut cases: Vec<_> = lengths.map(|n| (2, n, Source::Model { eta: 1.0 })).to_vec();
        cases.extend([0.5, 0.3].map(|eta| (2, 5000, Source::Model { eta })));
        cases.push((2, 5000, Source::ComplexBeside));
        cases.push((2, 5000, Source::Complex));
        cases.push((20, 500, Source::Negative { eta: 1.0 }));
        for (rows, n, source) in cases {
            let batch = Batch::of(device, Dtype::F32, source, rows, n, &mut rng);
            let what = format!("{device} {source:?} {rows}x{n} seed {}", rng.seed);
            let mixed = batch.tridiagonal().mixed();
            let mut out = nan_filled(device, Dtype::F32, true, batch.a.shape()).unwrap();
            let pivots = mixed.resolvent_diagonal_into(&mut out).unwrap();
            assert_near(&what, &read(&out), &batch.truth(false).0, MIXED);
            assert!(pivots.read().unwrap().iter().all(Option::is_none), "{what}");
            if matches!(source, Source::Model { eta: 1.0 }) {
                // Half a chunk of f32 has forgotten f16 entirely.
                assert_near(&what, &read(&out), &batch.truth(false).0, 4.0 * MODEL[0]);
            }
        }
    }
}

/// Without disorder a step forgets by `e^(−η)` alone: at `η = 0.01` what enters a chunk must be seen to come
/// from `f16`, and at 0.1 it must not.
#[test]
fn the_scan_is_coarse() {
    for device in devices() {
        let mut rng = Rng::fresh();
        if !has(device, Dtype::F16) {
            continue;
        }
        let n = 5000;
        for (eta, promised) in [(1.0, 4.0 * MODEL[0]), (0.3, MIXED), (0.1, MIXED), (0.01, 3e-2)] {
            let even = Operator {
                a: vec![real(0.3); n],
                b: vec![real(1.0); n - 1],
                c: vec![real(1.0); n - 1],
                z: I * eta,
            };
            let batch = Batch::new(device, Dtype::F32, &[even], [false, false], &mut rng);
            let (truth, _) = batch.truth(false);
            let error = |operators: wavecube::Tridiagonal| {
                relative_max(&read(&operators.resolvent_diagonal().unwrap().diagonal), &truth)
            };
            let (exact, mixed) = (error(batch.tridiagonal()), error(batch.tridiagonal().mixed()));
            if std::env::var_os("WAVECUBE_PRINT").is_some() {
                eprintln!("{device} η = {eta}: {mixed:.1e}, in f32 {exact:.1e}");
            }
            assert!(mixed < promised, "{device} {eta}: {mixed:e}");
            assert!(eta > 0.01 || mixed > MIXED, "{device} {eta}: {mixed:e} is no f16");
        }
    }
}

#[test]
fn gradients_and_pivots_are_as_without() {
    for device in devices() {
        let mut rng = Rng::fresh();
        if !has(device, Dtype::F16) {
            continue;
        }
        let batch = Batch::of(device, Dtype::F32, Source::Model { eta: 1.0 }, 2, 700, &mut rng);
        let gradient = |operators: wavecube::Tridiagonal| {
            read(&operators.resolvent_diagonal_vjp(&batch.g).unwrap().a)
        };
        assert_eq!(gradient(batch.tridiagonal().mixed()), gradient(batch.tridiagonal()));
        let mut operators = batch.exact.clone();
        operators[1].a[650].re = f64::NAN;
        let dirty = Batch::new(device, Dtype::F32, &operators, [false, false], &mut rng);
        let found = dirty.tridiagonal().mixed().resolvent_diagonal().unwrap();
        assert_eq!(found.pivots.read().unwrap(), [None, Some(650)], "{device}");
    }
}

#[test]
fn other_types_are_refused() {
    for device in devices() {
        let mut rng = Rng::fresh();
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            let batch = Batch::of(device, dtype, Source::Model { eta: 1.0 }, 1, 9, &mut rng);
            let found = batch.tridiagonal().mixed().resolvent_diagonal().err();
            let fine = dtype == Dtype::F32 && has(device, Dtype::F16);
            assert_eq!(found.is_none(), fine, "{device} {dtype}: {found:?}");
            assert!(fine || matches!(found, Some(Error::Dtype { .. })), "{found:?}");
        }
    }
}
