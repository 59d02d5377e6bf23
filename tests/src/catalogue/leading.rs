//! The causal form of tridiagonal resolvents and its gradient.

use wavecube::{Complex64, Device, Dtype, Result, Tensor};

use super::{Case, Peer, Prepared};
use crate::{Rng, tensor};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for gradient in [false, true] {
        for (rows, n) in [(16, 4096), (2048, 128), (1, 1 << 17)] {
            cases.push(case(gradient, Dtype::F32, rows, n));
        }
        cases.push(case(gradient, Dtype::F64, 16, 4096));
    }
    cases
}

/// The operators of the ResNet-BK model: potentials of size 1, a shift of `i`, products between 0 and 2.
fn case(gradient: bool, dtype: Dtype, rows: usize, n: usize) -> Case {
    // As in the tests of the family: errors shrink along a sequence, by at least the pivots.
    let f32_gate = if gradient { 1.2e-6 } else { 6e-7 };
    Case {
        op: if gradient { "leading/vjp" } else { "leading/forward" },
        dtype,
        rows,
        n,
        bytes: rows * n * dtype.size() * if gradient { 8 } else { 5 },
        gate: if dtype == Dtype::F64 { 2e-13 } else { f32_gate },
        peer: Peer::Nothing,
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            prepare(device, rng, dtype, [rows, n], gradient)
        }),
    }
}

fn prepare(
    device: &Device,
    rng: &mut Rng,
    dtype: Dtype,
    [rows, n]: [usize; 2],
    gradient: bool,
) -> Result<Prepared> {
    let d: Vec<_> = rng.real(rows * n).iter().map(|v| Complex64::new(v.re - 2.0, -1.0)).collect();
    let p: Vec<_> =
        (0..rows * (n - 1)).map(|_| Complex64::new(rng.uniform(0.0, 2.0), 0.0)).collect();
    let (d, d_exact) = tensor(device, &d, dtype, true, &[rows, n])?;
    let (p, p_exact) = tensor(device, &p, dtype, false, &[rows, n - 1])?;
    let (g, g_exact) = tensor(device, &rng.complex(rows * n), dtype, true, &[rows, n])?;
    let y: Tensor = wavecube::leading_resolvent(&d, &p)?;
    let expected = move || {
        let rows = d_exact.chunks(n).zip(g_exact.chunks(n)).enumerate();
        rows.flat_map(|(row, (d, g))| by_recursion(d, &p_exact[row * (n - 1)..], g, gradient))
            .collect()
    };
    let call: Box<dyn Fn() -> Result<Tensor>> = if gradient {
        Box::new(move || wavecube::leading_resolvent_vjp(&p, &y, &g).map(|[d, _]| d))
    } else {
        Box::new(move || wavecube::leading_resolvent(&d, &p))
    };
    Ok(Prepared::lines(call, n, (0..rows).collect(), expected))
}

/// The result, or the gradient of `d`, in `f64`.
fn by_recursion(
    d: &[Complex64],
    p: &[Complex64],
    g: &[Complex64],
    gradient: bool,
) -> Vec<Complex64> {
    let mut y = vec![d[0].inv(); d.len()];
    for k in 1..d.len() {
        y[k] = (d[k] - p[k - 1] * y[k - 1]).inv();
    }
    if !gradient {
        return y;
    }
    let mut passed = Complex64::ZERO;
    for k in (0..d.len()).rev() {
        let square = y[k] * y[k];
        let sum = g[k].conj() + passed;
        y[k] = -(square * sum).conj();
        passed = if k > 0 { p[k - 1] * square * sum } else { Complex64::ZERO };
    }
    y
}
