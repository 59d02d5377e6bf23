//! Diagonals of tridiagonal resolvents and their gradients, solutions and determinants.

use wavecube::{Complex64, Device, Dtype, Kept, Result, Tensor, Tridiagonal};

use super::{Case, Peer, Prepared};
use crate::{Rng, reference::tridiag::Operator, tensor};

/// Every so many elements are kept where some are skipped.
const STEP: usize = 3;

/// What is asked of operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// The diagonal of the inverse.
    Diagonal,
    /// Its gradients.
    Vjp,
    /// The diagonal by a scan in `f16`.
    Mixed,
    /// The diagonal with two elements of three skipped.
    Kept,
    /// The solution for one right side.
    Solve,
    /// The logarithms of the determinants.
    LogDeterminant,
}

impl Task {
    const ALL: [Self; 6] =
        [Self::Diagonal, Self::Vjp, Self::Mixed, Self::Kept, Self::Solve, Self::LogDeterminant];

    /// The operation's name in a case.
    pub fn op(self) -> &'static str {
        match self {
            Self::Diagonal => "tridiag/forward",
            Self::Vjp => "tridiag/vjp",
            Self::Mixed => "tridiag/mixed",
            Self::Kept => "tridiag/kept",
            Self::Solve => "tridiag/solve",
            Self::LogDeterminant => "tridiag/log_determinant",
        }
    }

    /// The task of that name.
    pub fn of(op: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.op() == op)
    }

    /// The call, on operators and a gradient or a right side. The gradient is checked by that of the diagonal;
    /// the others come from the same launch.
    ///
    /// # Errors
    /// As [`Kept::new`].
    pub fn call(
        self,
        operators: Tridiagonal,
        g: Tensor,
    ) -> Result<Box<dyn Fn() -> Result<Tensor>>> {
        Ok(match self {
            Self::Diagonal => Box::new(move || Ok(operators.resolvent_diagonal()?.diagonal)),
            Self::Vjp => Box::new(move || Ok(operators.resolvent_diagonal_vjp(&g)?.a)),
            Self::Mixed => {
                let mixed = operators.mixed();
                Box::new(move || Ok(mixed.resolvent_diagonal()?.diagonal))
            }
            Self::Kept => {
                let n = g.shape()[1];
                let flags: Vec<bool> = (0..n).map(|k| k % STEP == 0).collect();
                let kept = Kept::new(g.device(), &flags, n)?;
                Box::new(move || Ok(operators.resolvent_diagonal_kept(&kept)?.diagonal))
            }
            Self::Solve => Box::new(move || Ok(operators.solve(&g)?.x)),
            Self::LogDeterminant => Box::new(move || operators.log_determinant()),
        })
    }

    /// The truth for one operator.
    fn expected(self, operator: &Operator, g: &[Complex64]) -> Vec<Complex64> {
        let real = |v: f64| Complex64::new(v, 0.0);
        match self {
            Self::Diagonal | Self::Mixed => operator.diagonal_serial(),
            Self::Vjp => operator.gradients_serial(g).a.iter().map(|v| real(v.re)).collect(),
            Self::Kept => interpolated(operator),
            Self::Solve => operator.solve_serial(g),
            Self::LogDeterminant => vec![real(operator.log_determinant_serial())],
        }
    }

    /// The largest error allowed: four times what the recursions did in a prototype, and for solutions four
    /// times that, as in the tests of the family; for the mixed mode what it is asked for.
    fn gate(self, dtype: Dtype) -> f64 {
        match self {
            _ if dtype == Dtype::F64 => 2e-13,
            Self::Diagonal | Self::Kept | Self::LogDeterminant => 6e-7,
            Self::Vjp => 1.2e-6,
            Self::Mixed => 1e-4,
            Self::Solve => 2.4e-6,
        }
    }

    /// The numbers an element that move at least.
    fn numbers(self) -> usize {
        match self {
            Self::Diagonal | Self::Mixed => 5,
            Self::Vjp => 8,
            Self::Solve => 7,
            Self::Kept | Self::LogDeterminant => 3,
        }
    }

    fn peer(self) -> Peer {
        match self {
            Self::Diagonal | Self::Vjp | Self::Solve => Peer::Serial,
            Self::Mixed | Self::Kept => Peer::Whole,
            Self::LogDeterminant => Peer::Nothing,
        }
    }

    fn case(self, dtype: Dtype, rows: usize, n: usize) -> Case {
        Case {
            op: self.op(),
            dtype,
            rows,
            n,
            bytes: rows * n * self.numbers() * dtype.size(),
            gate: self.gate(dtype),
            peer: self.peer(),
            prepare: Box::new(move |device: &Device, rng: &mut Rng| {
                let (operators, g, exact, gs) = operators(device, rng, dtype, rows, n)?;
                // The determinants are one line.
                let of_all = self == Self::LogDeterminant;
                let (n_out, lines) = if of_all { (rows, 1) } else { (n, rows) };
                let call = self.call(operators, g)?;
                Ok(Prepared::lines(call, n_out, (0..lines).collect(), move || {
                    let each = exact.iter().zip(gs.chunks(n));
                    each.flat_map(|(o, g)| self.expected(o, g)).collect()
                }))
            }),
        }
    }
}

/// The diagonal of what is left of an operator with elements skipped, and between them on lines.
fn interpolated(operator: &Operator) -> Vec<Complex64> {
    let every = |values: &[Complex64]| values.iter().copied().step_by(STEP).collect::<Vec<_>>();
    let a = every(&operator.a);
    let links = |values| every(values).into_iter().take(a.len() - 1).collect();
    let (b, c) = (links(&operator.b), links(&operator.c));
    let kept = Operator { a, b, c, z: operator.z }.diagonal_serial();
    (0..operator.a.len())
        .map(|k| {
            let (i, t) = (k / STEP, (k % STEP) as f64 / STEP as f64);
            kept[i] * (1.0 - t) + kept[(i + 1).min(kept.len() - 1)] * t
        })
        .collect()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for task in [Task::Diagonal, Task::Vjp] {
        for (rows, n) in [(16, 4096), (2048, 128), (256, 1024), (1, 1 << 20)] {
            cases.push(task.case(Dtype::F32, rows, n));
        }
        cases.push(task.case(Dtype::F64, 16, 4096));
    }
    for task in [Task::Mixed, Task::Kept, Task::Solve, Task::LogDeterminant] {
        for (rows, n) in [(16, 4096), (256, 1024), (1, 1 << 20)] {
            cases.push(task.case(Dtype::F32, rows, n));
        }
    }
    for task in [Task::Solve, Task::LogDeterminant] {
        cases.push(task.case(Dtype::F64, 16, 4096));
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
