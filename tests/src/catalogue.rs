//! One list of cases for tests, benches and the code-generation gate.

mod convolution;
mod fft;
mod lct;
mod leading;
pub mod tridiag;

use wavecube::{Complex64, Device, Dtype, Result, Tensor};

use crate::{Rng, devices, has, read, relative_l2, tensor};

/// Points of a case, about, unless every point costs more than its trip through memory.
const POINTS: usize = 1 << 20;

/// An operation on operands of given shape and type.
pub struct Case {
    /// Family and operation: `fft/forward`.
    pub op: &'static str,
    /// Storage type.
    pub dtype: Dtype,
    /// Lines that are transformed.
    pub rows: usize,
    /// Points of a line.
    pub n: usize,
    /// Bytes that must move at least: operands read once, results written once.
    pub bytes: usize,
    /// The largest relative L2 error allowed.
    pub gate: f64,
    /// What its time is held against.
    pub peer: Peer,
    prepare: Box<Prepare>,
}

/// What the time of a case is held against, in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Nothing: no other way does the same.
    Nothing,
    /// The same transform by another library; our own power of two nearest by where there is none.
    Fft,
    /// Our own transform of as many lines of `n` points, forward and back: what an operation that is one
    /// trip through memory replaces. `real` says that one end of it is.
    RoundTrip {
        /// Points of a line, padded as the operation pads.
        n: usize,
        /// Whether the signal is real.
        real: bool,
    },
    /// The same recursion with one unit a sequence.
    Serial,
}

type Prepare = dyn Fn(&Device, &mut Rng) -> Result<Prepared> + Send + Sync;

/// Operands on a device, the call, and the truth.
pub struct Prepared {
    call: Box<dyn Fn() -> Result<Tensor>>,
    /// The lines of the result that the reference makes, in its order.
    rows: Vec<usize>,
    expected: Box<dyn Fn() -> Vec<Complex64>>,
}

impl Prepared {
    /// Enqueues the operation.
    ///
    /// # Errors
    /// Whatever the operation rejects.
    pub fn call(&self) -> Result<Tensor> {
        (self.call)()
    }

    /// Runs the operation and compares it with the `f64` reference: the relative L2 error of the lines
    /// that the reference covers. NaN if any element of any line is not finite.
    ///
    /// # Errors
    /// Whatever the operation rejects.
    pub fn error(&self) -> Result<f64> {
        let y = self.call()?;
        let found = read(&y);
        if !found.iter().all(|v| v.is_finite()) {
            return Ok(f64::NAN);
        }
        let n = y.shape().last().copied().unwrap_or(1);
        let covered: Vec<_> =
            self.rows.iter().flat_map(|row| &found[row * n..][..n]).copied().collect();
        Ok(relative_l2(&covered, &(self.expected)()))
    }
}

impl Case {
    /// `fft/forward/f32/b16_n4096`.
    pub fn id(&self) -> String {
        format!("{}/{}/b{}_n{}", self.op, self.dtype, self.rows, self.n)
    }

    /// Uploads fresh random operands.
    ///
    /// # Errors
    /// [`wavecube::Error::Dtype`] if the device lacks the type.
    pub fn prepare(&self, device: &Device) -> Result<Prepared> {
        (self.prepare)(device, &mut Rng::fresh())
    }

    /// Runs the operation once and drops its result.
    ///
    /// # Errors
    /// Whatever the operation rejects.
    pub fn run(&self, device: &Device) -> Result<()> {
        self.prepare(device)?.call().map(drop)
    }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = fft::cases();
    cases.extend(lct::cases());
    cases.extend(convolution::cases());
    cases.extend(leading::cases());
    cases.extend(tridiag::cases());
    cases
}

/// The case of each operation that is nearest `n` points, single precision first.
pub fn one_an_op(n: usize) -> Vec<Case> {
    let mut chosen = Vec::<Case>::new();
    let far = |case: &Case| (case.dtype != Dtype::F32, case.n.abs_diff(n));
    for case in cases() {
        match chosen.iter_mut().find(|other| other.op == case.op) {
            Some(other) if far(&case) < far(other) => *other = case,
            Some(_) => {}
            None => chosen.push(case),
        }
    }
    chosen
}

/// Holds every case of a family against its reference, on every device that has its type.
///
/// # Panics
/// If one is wrong or refused.
pub fn assert_right(family: &str) {
    for device in devices() {
        for case in cases().iter().filter(|case| case.op.starts_with(family)) {
            if has(device, case.dtype) {
                let error = case.prepare(device).and_then(|case| case.error());
                let error = error.unwrap_or_else(|error| panic!("{device} {}: {error}", case.id()));
                assert!(error <= case.gate, "{device} {}: {error:e} > {:e}", case.id(), case.gate);
            }
        }
    }
}

/// A transform of lines of random points.
struct Lines {
    op: &'static str,
    dtype: Dtype,
    n: usize,
    /// Points of all lines, about.
    points: usize,
    /// Points of a line that go in and that come out, and whether they are complex.
    ends: [(usize, bool); 2],
    /// The axis that the lines lie along: the last of two, or 0.
    axis: isize,
    /// How many lines the reference covers at most.
    covered: usize,
    gate: f64,
    peer: Peer,
}

impl Lines {
    /// From complex lines to complex lines of the same length.
    fn complex(op: &'static str, dtype: Dtype, n: usize, gate: f64) -> Self {
        let ends = [(n, true); 2];
        let (points, covered) = (POINTS, usize::MAX);
        Self { op, dtype, n, points, ends, axis: -1, covered, gate, peer: Peer::Nothing }
    }

    /// The case of a transform along an axis, and of the reference for lines one after the other.
    fn case(
        self,
        transform: impl Fn(&Tensor, isize) -> Result<Tensor> + Clone + Send + Sync + 'static,
        reference: impl Fn(&[Complex64]) -> Vec<Complex64> + Clone + Send + Sync + 'static,
    ) -> Case {
        let Self { op, dtype, n, points, ends, axis, covered, gate, peer } = self;
        let rows = (points / n).max(1);
        let numbers = |(len, complex): (usize, bool)| if complex { 2 * len } else { len };
        let [(len, complex), _] = ends;
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
            Ok(Prepared {
                call: Box::new(move || {
                    let y = transform(&x, axis)?;
                    if columns { y.permuted(&[1, 0]) } else { Ok(y) }
                }),
                rows: rows_covered,
                expected: Box::new(move || reference(&lines)),
            })
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

/// `count` of `rows` lines: the first, the last, and others by chance; all of them if there are no more.
fn sample(rng: &mut Rng, rows: usize, count: usize) -> Vec<usize> {
    if count >= rows {
        return (0..rows).collect();
    }
    [0, rows - 1].into_iter().chain((2..count).map(|_| rng.int(0, rows - 1))).collect()
}

/// Lines of `n` points that a dense reference covers: some tenths of a second of its work.
fn dense_lines(n: usize) -> usize {
    (1 << 25) / (n * n)
}
