//! One list of cases for tests, benches and the code-generation gate.

mod fft;

use wavecube::{Complex64, Device, Dtype, Result, Tensor};

use crate::{Rng, read, relative_l2};

/// An operation on operands of given shape and type.
pub struct Case {
    /// Family and operation: `fft/forward`.
    pub op: &'static str,
    /// Storage type.
    pub dtype: Dtype,
    /// The batch and the length, for the id: `b16_n4096`.
    pub size: String,
    /// Bytes that must move at least: operands read once, results written once.
    pub bytes: usize,
    /// The largest relative L2 error allowed.
    pub gate: f64,
    prepare: Box<Prepare>,
}

type Prepare = dyn Fn(&Device, &mut Rng) -> Result<Prepared> + Send + Sync;

/// Operands on a device, the call, and the truth.
pub struct Prepared {
    call: Box<dyn Fn() -> Result<Tensor>>,
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

    /// Runs the operation and compares it with the `f64` reference: the relative L2 error.
    ///
    /// # Errors
    /// Whatever the operation rejects.
    pub fn error(&self) -> Result<f64> {
        Ok(relative_l2(&read(&self.call()?), &(self.expected)()))
    }
}

impl Case {
    /// `fft/forward/f32/b16_n4096`.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.op, self.dtype, self.size)
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
    fft::cases()
}
