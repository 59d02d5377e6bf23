//! Diagonals of tridiagonal resolvents and their gradients, solutions and determinants.

use wavecube::{Complex64, Device, Dtype, Kept, Pivoting, Result, Tensor, Tridiagonal};

use super::{Case, Peer, Prepared};
use crate::{
    Rng,
    reference::tridiag::{Gradients, Operator},
    tensor,
};

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
    /// The solution by elimination with row interchanges.
    SolvePivoted,
    /// The same from factors that are there.
    SolveFactored,
    /// The gradients of the solution by elimination.
    SolvePivotedVjp,
    /// The logarithms of the determinants.
    LogDeterminant,
    /// The gradients of the diagonal with two elements of three skipped.
    KeptVjp,
    /// Those of the solution.
    SolveVjp,
    /// Those of the determinants' logarithms.
    LogDeterminantVjp,
}

impl Task {
    const ALL: [Self; 12] = [
        Self::Diagonal,
        Self::Vjp,
        Self::Mixed,
        Self::Kept,
        Self::Solve,
        Self::SolvePivoted,
        Self::SolveFactored,
        Self::SolvePivotedVjp,
        Self::LogDeterminant,
        Self::KeptVjp,
        Self::SolveVjp,
        Self::LogDeterminantVjp,
    ];

    /// The operation's name in a case.
    pub fn op(self) -> &'static str {
        match self {
            Self::Diagonal => "tridiag/forward",
            Self::Vjp => "tridiag/vjp",
            Self::Mixed => "tridiag/mixed",
            Self::Kept => "tridiag/kept",
            Self::Solve => "tridiag/solve",
            Self::SolvePivoted => "tridiag/solve_pivoted",
            Self::SolveFactored => "tridiag/solve_factored",
            Self::SolvePivotedVjp => "tridiag/solve_pivoted_vjp",
            Self::LogDeterminant => "tridiag/log_determinant",
            Self::KeptVjp => "tridiag/kept_vjp",
            Self::SolveVjp => "tridiag/solve_vjp",
            Self::LogDeterminantVjp => "tridiag/log_determinant_vjp",
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
                let kept = kept(&g)?;
                Box::new(move || Ok(operators.resolvent_diagonal_kept(&kept)?.diagonal))
            }
            Self::KeptVjp => {
                let kept = kept(&g)?;
                Box::new(move || Ok(operators.resolvent_diagonal_kept_vjp(&kept, &g)?.a))
            }
            Self::SolveVjp => solve_vjp(operators, g)?,
            Self::SolvePivotedVjp => solve_vjp(operators.pivoting(Pivoting::Partial), g)?,
            Self::LogDeterminantVjp => {
                let rows = g.shape()[0];
                let ones = vec![Complex64::ONE; rows];
                let (g, _) = tensor(g.device(), &ones, g.dtype(), false, &[rows])?;
                Box::new(move || Ok(operators.log_determinant_vjp(&g)?.a))
            }
            Self::Solve => Box::new(move || Ok(operators.solve(&g)?.x)),
            Self::SolvePivoted => {
                let pivoted = operators.pivoting(Pivoting::Partial);
                Box::new(move || Ok(pivoted.solve(&g)?.x))
            }
            Self::SolveFactored => {
                let factors = operators.factor()?;
                Box::new(move || Ok(factors.solve(&g)?.x))
            }
            Self::LogDeterminant => Box::new(move || operators.log_determinant()),
        })
    }

    /// The truth for one operator.
    fn expected(self, operator: &Operator, g: &[Complex64]) -> Vec<Complex64> {
        let real = |v: f64| Complex64::new(v, 0.0);
        let by_a = |gradients: Gradients| gradients.a.iter().map(|v| real(v.re)).collect();
        match self {
            Self::Diagonal | Self::Mixed => operator.diagonal_serial(),
            Self::Vjp => by_a(operator.gradients_serial(g)),
            Self::Kept => interpolated(operator),
            Self::Solve | Self::SolvePivoted | Self::SolveFactored => operator.solve_serial(g),
            Self::LogDeterminant => vec![real(operator.log_determinant_serial())],
            Self::KeptVjp => kept_gradient(operator, g).iter().map(|v| real(v.re)).collect(),
            Self::SolveVjp | Self::SolvePivotedVjp => by_a(operator.solve_gradients(g, g, false).0),
            Self::LogDeterminantVjp => by_a(operator.log_determinant_gradients_serial(1.0)),
        }
    }

    /// The largest error allowed: four times what the recursions did in a prototype, and for solutions four
    /// times that, as in the tests of the family; for the mixed mode what it is asked for.
    fn gate(self, dtype: Dtype) -> f64 {
        match self {
            _ if dtype == Dtype::F64 => 2e-13,
            Self::Diagonal | Self::Kept | Self::LogDeterminant => 6e-7,
            Self::Vjp | Self::KeptVjp | Self::LogDeterminantVjp => 1.2e-6,
            Self::Mixed => 1e-4,
            Self::Solve | Self::SolvePivoted | Self::SolveFactored => 2.4e-6,
            // A product of two solutions.
            Self::SolveVjp | Self::SolvePivotedVjp => 4.8e-6,
        }
    }

    /// The numbers an element that move at least.
    fn numbers(self) -> usize {
        match self {
            Self::Diagonal | Self::Mixed => 5,
            Self::Vjp => 8,
            Self::Solve | Self::SolvePivoted => 7,
            // Nine numbers and an interchange of factors, and two complex ones.
            Self::SolveFactored => 14,
            Self::SolveVjp | Self::SolvePivotedVjp => 12,
            Self::Kept | Self::LogDeterminant => 3,
            Self::KeptVjp | Self::LogDeterminantVjp => 6,
        }
    }

    fn peer(self) -> Peer {
        match self {
            Self::Diagonal | Self::Vjp | Self::Solve => Peer::Serial,
            Self::Mixed | Self::Kept => Peer::Whole,
            Self::SolvePivoted | Self::SolveFactored => Peer::Recursions,
            Self::LogDeterminant
            | Self::KeptVjp
            | Self::SolveVjp
            | Self::SolvePivotedVjp
            | Self::LogDeterminantVjp => Peer::Nothing,
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

fn solve_vjp(operators: Tridiagonal, g: Tensor) -> Result<Box<dyn Fn() -> Result<Tensor>>> {
    let x = operators.solve(&g)?.x;
    Ok(Box::new(move || Ok(operators.solve_vjp(&x, &g)?.operators.a)))
}

/// Every third element, of sequences as long as those of `g`.
fn kept(g: &Tensor) -> Result<Kept> {
    let n = g.shape()[1];
    let flags: Vec<bool> = (0..n).map(|k| k % STEP == 0).collect();
    Kept::new(g.device(), &flags, n)
}

/// What is left of an operator with elements skipped.
fn compacted(operator: &Operator) -> Operator {
    let every = |values: &[Complex64]| values.iter().copied().step_by(STEP).collect::<Vec<_>>();
    let a = every(&operator.a);
    let links = |values| every(values).into_iter().take(a.len() - 1).collect();
    let (b, c) = (links(&operator.b), links(&operator.c));
    Operator { a, b, c, z: operator.z }
}

/// The two of `count` kept elements between which element `k` lies, and its share of the second.
fn between(k: usize, count: usize) -> ([usize; 2], f64) {
    ([k / STEP, (k / STEP + 1).min(count - 1)], (k % STEP) as f64 / STEP as f64)
}

/// The gradient by the diagonal, zero where it is skipped.
fn kept_gradient(operator: &Operator, g: &[Complex64]) -> Vec<Complex64> {
    let compacted = compacted(operator);
    let mut shared = vec![Complex64::ZERO; compacted.a.len()];
    for (k, g) in g.iter().enumerate() {
        let ([i, j], t) = between(k, shared.len());
        shared[i] += g * (1.0 - t);
        shared[j] += g * t;
    }
    let mut gradient = vec![Complex64::ZERO; g.len()];
    for (i, value) in compacted.gradients_serial(&shared).a.into_iter().enumerate() {
        gradient[i * STEP] = value;
    }
    gradient
}

/// The diagonal of what is left of an operator with elements skipped, and between them on lines.
fn interpolated(operator: &Operator) -> Vec<Complex64> {
    let kept = compacted(operator).diagonal_serial();
    (0..operator.a.len())
        .map(|k| {
            let ([i, j], t) = between(k, kept.len());
            kept[i] * (1.0 - t) + kept[j] * t
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
    for task in [Task::SolvePivoted, Task::SolveFactored] {
        for (rows, n) in [(16, 4096), (256, 1024)] {
            cases.push(task.case(Dtype::F32, rows, n));
        }
        cases.push(task.case(Dtype::F64, 16, 4096));
    }
    for task in [Task::KeptVjp, Task::SolveVjp, Task::SolvePivotedVjp, Task::LogDeterminantVjp] {
        cases.push(task.case(Dtype::F32, 16, 4096));
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
