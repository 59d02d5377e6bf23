//! Transforms of lines of random points, and their gradients by parameters.

use wavecube::{Complex64, Device, Dtype, Result, Tensor};

use super::{Case, POINTS, Peer, Prepared};
use crate::{Rng, Slopes, tensor};

/// A transform of lines of random points.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub(super) op: &'static str,
    pub(super) dtype: Dtype,
    pub(super) n: usize,
    /// Points of all lines, about.
    pub(super) points: usize,
    /// Points of a line that go in and that come out, and whether they are complex.
    pub(super) ends: [(usize, bool); 2],
    /// The axis that the lines lie along: the last of two, or 0.
    pub(super) axis: isize,
    /// How many lines the reference covers at most.
    pub(super) covered: usize,
    pub(super) gate: f64,
    pub(super) peer: Peer,
}

impl Lines {
    /// From complex lines to complex lines of the same length.
    pub(super) fn complex(op: &'static str, dtype: Dtype, n: usize, gate: f64) -> Self {
        let ends = [(n, true); 2];
        let (points, covered) = (POINTS, usize::MAX);
        Self { op, dtype, n, points, ends, axis: -1, covered, gate, peer: Peer::Nothing }
    }

    /// The case of a transform along an axis, and of the reference for lines one after the other.
    pub(super) fn case(
        self,
        transform: impl Fn(&Tensor, isize) -> Result<Tensor> + Clone + Send + Sync + 'static,
        reference: impl Fn(&[Complex64]) -> Vec<Complex64> + Clone + Send + Sync + 'static,
    ) -> Case {
        let Self { op, dtype, n, points, ends, axis, covered, gate, peer } = self;
        let rows = (points / n).max(1);
        let numbers = |(len, complex): (usize, bool)| if complex { 2 * len } else { len };
        let [(len, complex), (outputs, _)] = ends;
        let columns = axis == 0;
        let prepare = move |device: &Device, rng: &mut Rng| {
            let values = if complex { rng.complex(rows * len) } else { rng.real(rows * len) };
            let shape = if columns { [len, rows] } else { [rows, len] };
            let (x, exact) = tensor(device, &values, dtype, complex, &shape)?;
            let rows_covered = sample(rng, rows, covered);
            let place = move |row: usize, i: usize| {
                if columns { i * rows + row } else { row * len + i }
            };
            let lines: Vec<_> = rows_covered
                .iter()
                .flat_map(|&row| (0..len).map(move |i| place(row, i)))
                .map(|at| exact[at])
                .collect();
            let (transform, reference) = (transform.clone(), reference.clone());
            let call = move || {
                let y = transform(&x, axis)?;
                if columns { y.permuted(&[1, 0]) } else { Ok(y) }
            };
            Ok(Prepared::lines(call, outputs, rows_covered, move || reference(&lines)))
        };
        Case {
            op,
            dtype,
            rows,
            n,
            bytes: rows * dtype.size() * ends.map(numbers).iter().sum::<usize>(),
            gate,
            peer,
            prepare: Box::new(prepare),
        }
    }
}

/// The gradient by its parameters of a transform of a few lines.
pub(super) struct Parameters {
    pub(super) op: &'static str,
    /// Points of a line, and of a line of the result.
    pub(super) n: usize,
    pub(super) outputs: usize,
    /// Where the gradient is taken.
    pub(super) at: Vec<f64>,
    /// The error of the transform: that of the gradient is a small multiple of it.
    pub(super) gate: f64,
}

impl Parameters {
    /// Lines of which the gradient is the sum: each difference of the reference transforms all of them.
    const ROWS: usize = 16;

    /// The case of a gradient along the last axis from operands `x`, `g` and the parameters, and of the
    /// reference for the transform of lines one after the other.
    pub(super) fn case(
        self,
        gradient: impl Fn(&Tensor, &Tensor, &[f64]) -> Result<Tensor> + Clone + Send + Sync + 'static,
        reference: impl Fn(&[f64], &[Complex64]) -> Vec<Complex64> + Clone + Send + Sync + 'static,
    ) -> Case {
        let Self { op, n, outputs, at, gate } = self;
        let dtype = Dtype::F32;
        let prepare = move |device: &Device, rng: &mut Rng| {
            let mut operand = |len: usize| {
                tensor(device, &rng.complex(Self::ROWS * len), dtype, true, &[Self::ROWS, len])
            };
            let ((x, xs), (g, gs)) = (operand(n)?, operand(outputs)?);
            let (at, gradient, reference) = (at.clone(), gradient.clone(), reference.clone());
            let p = at.clone();
            let error = move |found: &[Complex64]| {
                let found: Vec<f64> = found.iter().map(|v| v.re).collect();
                Slopes::of(&p, |p| reference(p, &xs)).error(&found, &gs)
            };
            Ok(Prepared { call: Box::new(move || gradient(&x, &g, &at)), error: Box::new(error) })
        };
        Case {
            op,
            dtype,
            rows: Self::ROWS,
            n,
            bytes: 2 * dtype.size() * Self::ROWS * (n + outputs),
            // A slope is the sum of a few terms, each with the transform's error, which may cancel.
            gate: 4.0 * gate,
            peer: Peer::Nothing,
            prepare: Box::new(prepare),
        }
    }
}

/// `count` of `rows` lines: the first, the last, and others by chance; all of them if there are no more.
pub(super) fn sample(rng: &mut Rng, rows: usize, count: usize) -> Vec<usize> {
    if count >= rows {
        return (0..rows).collect();
    }
    [0, rows - 1].into_iter().chain((2..count).map(|_| rng.int(0, rows - 1))).collect()
}

/// Lines of `n` points that a dense reference covers: some tenths of a second of its work.
pub(super) fn dense_lines(n: usize) -> usize {
    (1 << 25) / (n * n)
}
