//! Transforms onto other grids: scaled, causal, chirp-z.

use core::f64::consts::PI;

use wavecube::{Abcd, Complex64, Dtype, OutputGrid, Tensor};
use wavecube_testing::{assert_close, norm, read, reference::lct as r, relative_l2, tensor};

use super::{bound, each, line};

#[test]
fn transforms_on_other_grids_are_their_definitions() {
    each(|device, rng, dtype, what| {
        for n in [1, 2, 6, 17, 40, 101] {
            let (x, values) = line(device, rng, dtype, n);
            let b = rng.uniform(0.5, 1.5) * [1.0, -1.0][rng.int(0, 1)];
            let m = Abcd::from_abc(0.8, b, 0.4).unwrap();
            let (entries, dx) = (m.entries(), 0.9 / (n as f64).sqrt());
            let slack = if dtype == Dtype::F64 { 1e-12 } else { 0.0 };

            let (y, spacing) = wavecube::lct_scaled(&x, &m, dx, 0).unwrap();
            assert!((spacing - m.b().abs() / (n as f64 * dx)).abs() < 1e-15);
            let want = r::apply(&r::lct_scaled(entries, n, dx), &values);
            assert_close(
                &format!("{what} scaled {n}"),
                &read(&y),
                &want,
                bound(dtype, n, 3.0) + slack,
            );

            let y = wavecube::lct_causal(&x, &m, -3.0, dx, 0).unwrap();
            let want = r::apply(&r::lct_causal(entries, n, -3.0, dx), &values);
            assert_close(
                &format!("{what} causal {n}"),
                &read(&y),
                &want,
                bound(dtype, n, 12.0) + slack,
            );

            // A few outputs may hold little of the signal's energy: errors are relative to what all hold.
            let outputs = rng.int(1, 60);
            let near = |what: &str, y: &Tensor, want: &[Complex64], all: f64| {
                let error = relative_l2(&read(y), want);
                let ratio = (norm(&values) * all / norm(want)).max(1.0);
                assert!(
                    error < (bound(dtype, n + outputs, 8.0) + 1e-12) * ratio,
                    "{what} {n}: {error}"
                );
            };
            let (start, step) = (rng.uniform(-0.5, 0.5), rng.uniform(0.001, 0.02));
            let y = wavecube::czt(&x, outputs, start, step, 0).unwrap();
            let circle = |turns: f64| Complex64::from_polar(1.0, 2.0 * PI * turns);
            let want = r::apply(&r::czt(n, outputs, circle(start), circle(-step)), &values);
            near(&format!("{what} czt"), &y, &want, (n.max(outputs) as f64).sqrt());

            let grid = OutputGrid { outputs, first: -0.4, step: 0.03 };
            let y = wavecube::lct_czt(&x, &m, dx, &grid, 0).unwrap();
            let matrix = r::lct_czt(entries, (n, dx), (outputs, grid.first, grid.step));
            near(&format!("{what} lct_czt"), &y, &r::apply(&matrix, &values), 1.0);
        }
    });
}

#[test]
fn nothing_before_a_changed_sample_changes() {
    each(|device, rng, dtype, what| {
        let n = 150;
        let mut values = rng.complex(n);
        let m = Abcd::fractional_fourier(1.1);
        let run = |values: &[Complex64]| {
            let (x, _) = tensor(device, values, dtype, true, &[n]).unwrap();
            read(&wavecube::lct_causal(&x, &m, 0.0, 0.1, 0).unwrap())
        };
        let before = run(&values);
        let t = rng.int(1, n - 1);
        values[t] += Complex64::new(3.0, -2.0);
        let after = run(&values);
        let change =
            before.iter().zip(&after).take(t).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max);
        let size = before.iter().map(|v| v.norm()).fold(0.0, f64::max);
        println!("{what} causality: change {:.2e} of the largest before t = {t}", change / size);
        assert!(change < 32.0 * dtype.epsilon() * size, "{what}: {change}");
        assert!((after[t] - before[t]).norm() > 1e-3);
    });
}
