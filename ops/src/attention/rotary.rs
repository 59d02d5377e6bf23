//! Rotary positions.

use wavecube_core::{Dtype, Error, Result};
use wavecube_kernels::attention::{TurnBindings, turn_launch};

use crate::{Device, Tensor};

/// The angles of rotary positions: pair `(x_i, x_{i + dim/2})` at position `p` turns by
/// `p · base^(−2i/dim)`. Cosines and sines come from `f64`.
///
/// ```
/// use wavecube::{Device, Rotary, Tensor};
///
/// let device = Device::best()?;
/// let rotary = Rotary::new(&device, 16, 2, 10_000.0)?;
/// let x = Tensor::from_slice(&device, &[1.0f32, 0.0, 1.0, 0.0], &[1, 1, 2, 2])?;
/// let turned = rotary.apply(&x, &[0])?.read::<f32>()?;
/// assert!((turned[2] - 1f32.cos()).abs() < 1e-6 && (turned[3] - 1f32.sin()).abs() < 1e-6);
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Rotary {
    table: Tensor,
    positions: usize,
    dim: usize,
}

impl Rotary {
    /// For positions below `positions` and heads of `dim` numbers. The usual base is 10000.
    ///
    /// # Errors
    /// [`Error::Length`] for an odd or empty head, [`Error::Value`] for a base that is not above 0,
    /// [`Error::Limit`] if the table is too large for a buffer.
    pub fn new(device: &Device, positions: usize, dim: usize, base: f64) -> Result<Self> {
        const OP: &str = "Rotary::new";
        if dim == 0 || !dim.is_multiple_of(2) {
            let expected = "even and at least 2";
            return Err(Error::Length { op: OP, argument: "dim", expected, found: dim });
        }
        if !(base.is_finite() && base > 0.0) {
            let expected = "finite and above 0";
            return Err(Error::Value { op: OP, argument: "base", expected, found: base });
        }
        let bytes = positions.saturating_mul(dim).saturating_mul(4);
        device.limits().check_buffer(OP, bytes as u64)?;
        let half = dim / 2;
        let table: Vec<f32> = (0..positions * half)
            .flat_map(|at| {
                let rate = base.powf(-((at % half) as f64) / half as f64);
                let (sin, cos) = ((at / half) as f64 * rate).sin_cos();
                [cos as f32, sin as f32]
            })
            .collect();
        let table = Tensor::from_slice(device, &table, &[positions, half, 2])?;
        Ok(Self { table, positions, dim })
    }

    /// How many positions there are angles for.
    pub fn positions(&self) -> usize {
        self.positions
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn table(&self) -> &Tensor {
        &self.table
    }

    /// `x` (`[batch, heads, n, dim]`) turned, where sequence `b` begins at position `starts[b]`.
    /// Contiguous.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not belong together, [`Error::Length`] for a position without
    /// angles, [`Error::Strides`] if the numbers of a head are not adjacent, [`Error::Dtype`] for complex
    /// numbers and `f64`.
    pub fn apply(&self, x: &Tensor, starts: &[usize]) -> Result<Tensor> {
        const OP: &str = "Rotary::apply";
        x.check_complex(OP, "x", false)?;
        if x.dtype() == Dtype::F64 {
            let expected = "f32, f16 or bf16";
            return Err(Error::Dtype { op: OP, argument: "x", expected, found: x.dtype() });
        }
        if x.shape().last() != Some(&self.dim) {
            let mut expected = x.shape().to_vec();
            expected.pop();
            expected.push(self.dim);
            let found = x.shape().to_vec();
            return Err(Error::Shape { op: OP, argument: "x", expected, found });
        }
        if let Some(&found) = starts.iter().find(|&&start| start > self.positions) {
            let expected = "a position with angles";
            return Err(Error::Length { op: OP, argument: "starts", expected, found });
        }
        let device = x.device();
        let out = Tensor::empty(device, x.dtype(), false, x.shape())?;
        let bindings = TurnBindings {
            x: x.handle().clone(),
            layout: x.layout().clone(),
            table: self.table.handle().clone(),
            starts: starts.iter().map(|&start| start as u32).collect(),
        };
        let call = (OP, x.dtype());
        turn_launch(device.client(), &bindings, out.handle(), call, device.limits())?;
        Ok(out)
    }
}
