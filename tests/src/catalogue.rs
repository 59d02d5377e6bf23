//! One list of cases for tests, benches and the code-generation gate.

pub mod attention;
mod convolution;
mod fft;
mod lct;
mod lct_parameters;
mod leading;
mod lines;
mod mixing;
mod qmatmul;
pub mod tridiag;

use wavecube::{Complex64, Device, Dtype, Result, Tensor};

use crate::{Rng, devices, has, read, relative_l2};

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
    /// The largest error allowed, see [`Prepared::error`].
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
    /// The diagonal of the same operators with nothing coarser and nothing left out.
    Whole,
    /// The solution of the same equations by recursions, without interchanges of rows.
    Recursions,
    /// The same decoding from a cache that holds numbers as they are.
    Unquantised,
    /// The product with a weight of as many results from `k` inputs, by another library: in floats, and with codes
    /// of as many bits.
    Matmul {
        /// Inputs of a result.
        k: usize,
        /// Bits of a code.
        bits: u32,
    },
    /// The same product in real numbers by another library: rows, results and inputs.
    Product([usize; 3]),
    /// Attention of so many queries by another library, whose heads do not share keys.
    Attention(usize),
}

type Prepare = dyn Fn(&Device, &mut Rng) -> Result<Prepared> + Send + Sync;

/// Operands on a device, the call, and the truth.
pub struct Prepared {
    call: Box<dyn Fn() -> Result<Tensor>>,
    error: Box<dyn Fn(&[Complex64]) -> f64>,
}

impl Prepared {
    /// A call whose result has lines of `n` points; the reference makes those in `rows`, in their order.
    fn lines(
        call: impl Fn() -> Result<Tensor> + 'static,
        n: usize,
        rows: Vec<usize>,
        expected: impl Fn() -> Vec<Complex64> + 'static,
    ) -> Self {
        let error = move |found: &[Complex64]| {
            let lines = rows.iter().flat_map(|row| &found[row * n..][..n]);
            relative_l2(&lines.copied().collect::<Vec<_>>(), &expected())
        };
        Self { call: Box::new(call), error: Box::new(error) }
    }

    /// Enqueues the operation.
    ///
    /// # Errors
    /// Whatever the operation rejects.
    pub fn call(&self) -> Result<Tensor> {
        (self.call)()
    }

    /// Runs the operation and compares it with the `f64` reference: the relative L2 error of the lines
    /// that the reference covers, or of a gradient by parameters what [`crate::Slopes::error`] is. NaN if
    /// any element is not finite.
    ///
    /// # Errors
    /// Whatever the operation rejects.
    pub fn error(&self) -> Result<f64> {
        let found = read(&self.call()?);
        let finite = found.iter().all(|v| v.is_finite());
        Ok(if finite { (self.error)(&found) } else { f64::NAN })
    }
}

impl Case {
    /// `fft/forward/f32/b16_n4096`.
    pub fn id(&self) -> String {
        format!("{}/{}/b{}_n{}", self.op, self.dtype, self.rows, self.n)
    }

    /// The types that it stores and computes with.
    pub fn types(&self) -> [Dtype; 2] {
        [self.dtype, if self.op == "tridiag/mixed" { Dtype::F16 } else { self.dtype }]
    }

    /// Whether a device has its types.
    pub fn runs_on(&self, device: &Device) -> bool {
        self.types().into_iter().all(|dtype| has(device, dtype))
    }

    /// Uploads fresh random operands.
    ///
    /// # Errors
    /// [`wavecube::Error::Dtype`] if the device lacks its types.
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
    cases.extend(lct_parameters::cases());
    cases.extend(attention::cases());
    cases.extend(convolution::cases());
    cases.extend(leading::cases());
    cases.extend(mixing::cases());
    cases.extend(qmatmul::cases());
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

/// Holds every case of a family against its reference, on every device that has its types.
///
/// # Panics
/// If one is wrong or refused.
pub fn assert_right(family: &str) {
    for device in devices() {
        for case in cases().iter().filter(|case| case.op.starts_with(family)) {
            if case.runs_on(device) {
                let error = case.prepare(device).and_then(|case| case.error());
                let error = error.unwrap_or_else(|error| panic!("{device} {}: {error}", case.id()));
                assert!(error <= case.gate, "{device} {}: {error:e} > {:e}", case.id(), case.gate);
            }
        }
    }
}
