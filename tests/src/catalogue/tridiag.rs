//! Diagonals of tridiagonal resolvents and their gradients.

use wavecube::{Complex64, Device, Dtype, Result, Tensor, Tridiagonal};

use super::{Case, Peer, Prepared};
use crate::{Rng, reference::tridiag::Operator, tensor};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for gradient in [false, true] {
        for (rows, n) in [(16, 4096), (2048, 128), (256, 1024), (1, 1 << 20)] {
            cases.push(case(gradient, Dtype::F32, rows, n));
        }
        cases.push(case(gradient, Dtype::F64, 16, 4096));
    }
    cases
}

/// Operators of the ResNet-BK model, `a = v − 2`, `b = c = 1`, `z = i`, and a gradient of their diagonals,
/// with the operators as they were rounded.
///
/// # Errors
/// As [`Tensor::from_slice`].
pub fn operators(
    device: &Device,
    rng: &mut Rng,
    dtype: Dtype,
    rows: usize,
    n: usize,
) -> Result<(Tridiagonal, Tensor, Vec<Operator>, Vec<Complex64>)> {
    let potential =
        rng.real(rows * n).into_iter().map(|v| Complex64::new(v.re.clamp(-3.0, 3.0) - 2.0, 0.0));
    let (a, exact) = tensor(device, &potential.collect::<Vec<_>>(), dtype, false, &[rows, n])?;
    let ones = vec![Complex64::ONE; rows * (n - 1)];
    let (b, _) = tensor(device, &ones, dtype, false, &[rows, n - 1])?;
    let (c, _) = tensor(device, &ones, dtype, false, &[rows, n - 1])?;
    let (z, _) = tensor(device, &vec![Complex64::I; rows], dtype, true, &[rows])?;
    let (g, gs) = tensor(device, &rng.complex(rows * n), dtype, true, &[rows, n])?;
    let beside = vec![Complex64::ONE; n - 1];
    let operators = exact.chunks(n).map(|a| Operator {
        a: a.to_vec(),
        b: beside.clone(),
        c: beside.clone(),
        z: Complex64::I,
    });
    Ok((Tridiagonal::new(&a, &b, &c, &z), g, operators.collect(), gs))
}

/// The gradient is checked by that of the diagonal; the others come from the same launch.
fn case(gradient: bool, dtype: Dtype, rows: usize, n: usize) -> Case {
    // Four times what the recursions did in a prototype, as in the tests of the family.
    let f32_gate = if gradient { 1.2e-6 } else { 6e-7 };
    let numbers = rows * n * if gradient { 8 } else { 5 };
    Case {
        op: if gradient { "tridiag/vjp" } else { "tridiag/forward" },
        dtype,
        rows,
        n,
        bytes: numbers * dtype.size(),
        gate: if dtype == Dtype::F64 { 2e-13 } else { f32_gate },
        peer: Peer::Serial,
        prepare: Box::new(move |device: &Device, rng: &mut Rng| {
            let (operators, g, exact, gs) = operators(device, rng, dtype, rows, n)?;
            let rows = (0..rows).collect();
            Ok(if gradient {
                let call = move || Ok(operators.resolvent_diagonal_vjp(&g)?.a);
                Prepared::lines(call, n, rows, move || {
                    let each = exact.iter().zip(gs.chunks(n));
                    each.flat_map(|(o, g)| o.gradients_serial(g).a)
                        .map(|v| Complex64::new(v.re, 0.0))
                        .collect()
                })
            } else {
                let call = move || Ok(operators.resolvent_diagonal()?.diagonal);
                Prepared::lines(call, n, rows, move || {
                    exact.iter().flat_map(Operator::diagonal_serial).collect()
                })
            })
        }),
    }
}
