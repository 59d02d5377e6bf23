//! The diagonal of operators of which some elements are skipped, and its gradients.

use std::sync::Arc;

use cubecl::server::Handle;
use wavecube_core::{DeviceFault, Error, Layout, Result};
use wavecube_kernels::tridiag::{
    Compact, CompactPlan, KeptBindings, KeptElements, Task, TridiagGradients,
};

use super::{Resolvent, Tridiagonal, TridiagonalGradients, gradients::Apart};
use crate::{Device, Tensor};

const OP: &str = "resolvent_diagonal_kept";
const VJP: &str = "resolvent_diagonal_kept_vjp";

/// Which elements of sequences are kept, and which are skipped. The flags are the host's, since how much
/// is left to do depends on them; a mask that a device has learned has to be read first.
///
/// ```
/// use wavecube::{Device, Kept};
/// let device = Device::best()?;
/// // Two sequences of four elements.
/// let flags = [true, false, true, true, false, true, false, false];
/// assert_eq!(Kept::new(&device, &flags, 4)?.most(), 3);
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Kept {
    device: Device,
    elements: Arc<KeptElements>,
    bindings: KeptBindings,
}

impl Kept {
    /// From a flag for each of the `n` elements of every sequence, in row-major order, or of one sequence
    /// for all.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` is 0, if there are no whole sequences, or if one keeps nothing;
    /// [`Error::Limit`] if they exceed a buffer.
    pub fn new(device: &Device, keep: &[bool], n: usize) -> Result<Self> {
        let elements = KeptElements::new("Kept::new", keep, n)?;
        let upload = |values: &[u32]| {
            let bytes: &[u8] = bytemuck::cast_slice(values);
            device.limits().check_buffer("Kept::new", bytes.len() as u64)?;
            Ok(device.client().create_from_slice(bytes))
        };
        let bindings =
            KeptBindings { kept: upload(&elements.kept)?, ranks: upload(&elements.ranks)? };
        Ok(Self { device: device.clone(), elements: Arc::new(elements), bindings })
    }

    /// The most elements that a sequence keeps: the length of the recursions.
    pub fn most(&self) -> usize {
        self.elements.most
    }
}

impl Tridiagonal {
    /// The diagonal of the inverse of the compacted operators at the elements that are kept, and between
    /// them interpolated. The recursions run over the kept elements alone.
    ///
    /// A kept element keeps its `a_k`, and its link to the right, `b_k` and `c_k`, which now ends at the next
    /// kept element: a real, symmetric or Hermitian `H` stays one, and so does `b_k c_k ≥ 0`, with
    /// `|G_k| ≤ 1/Im z`. Between two kept elements the diagonal is linear in `k`; before the first and behind
    /// the last it is that of the nearest. With every element kept it is [`Tridiagonal::resolvent_diagonal`].
    /// It is not the diagonal of the inverse of the whole operator, whose skipped elements would have to be
    /// visited.
    ///
    /// # Errors
    /// As [`resolvent_diagonal`](crate::resolvent_diagonal), with [`Error::Shape`] if `kept` is not of these
    /// sequences.
    ///
    /// ```
    /// use wavecube::{Complex32, Device, Kept, Tensor, Tridiagonal};
    /// let device = Device::best()?;
    /// let a = Tensor::from_slice(&device, &[2.0f32, 9.0, 4.0], &[3])?;
    /// let p = Tensor::from_slice(&device, &[0.0f32, 1.0], &[2])?;
    /// let z = Tensor::from_slice(&device, &[Complex32::ZERO], &[])?;
    /// let kept = Kept::new(&device, &[true, false, true], 3)?;
    /// let diagonal = Tridiagonal::of_products(&a, &p, &z).resolvent_diagonal_kept(&kept)?.diagonal;
    /// // 1/2 and 1/4, and their mean.
    /// let g: Vec<Complex32> = diagonal.read()?;
    /// assert!((g[1] - 0.375).norm() < 1e-6);
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn resolvent_diagonal_kept(&self, kept: &Kept) -> Result<Resolvent> {
        let layout = Layout::contiguous(&self.shape(OP)?);
        let plan = self.compact_plan(OP, Task::Diagonal, &layout, kept)?;
        let diagonal = Tensor::empty(self.a.device(), self.a.dtype(), true, layout.shape())?;
        let (shorter, room) = self.shorter(&plan, layout.shape())?;
        let inner = Layout::contiguous(shorter.a.shape());
        shorter.plan(OP, Task::Diagonal, &inner)?;
        let bindings = self.bindings();
        let client = self.a.device().client();
        let compact = Compact { client, plan: &plan, bindings: &bindings, kept: &kept.bindings };
        compact.operands(diagonal.handle(), &room)?;
        let found = shorter.resolvent_diagonal()?;
        compact.interpolate(found.diagonal.handle(), diagonal.handle())?;
        Ok(Resolvent { diagonal, pivots: found.pivots.among(&kept.elements) })
    }

    /// The gradients of every operand from the gradient `g` of [`Tridiagonal::resolvent_diagonal_kept`], any
    /// strides: exact, and 0 for what is skipped. The flags have none.
    ///
    /// # Errors
    /// As [`Tridiagonal::resolvent_diagonal_kept`], with [`Error::Shape`] if `g` has not the shape of the
    /// diagonal.
    ///
    /// ```
    /// use wavecube::{Complex32, Device, Kept, Tensor, Tridiagonal};
    /// let device = Device::best()?;
    /// let a = Tensor::from_slice(&device, &[2.0f32, 9.0], &[2])?;
    /// let p = Tensor::from_slice(&device, &[1.0f32], &[1])?;
    /// let z = Tensor::from_slice(&device, &[Complex32::ZERO], &[])?;
    /// let kept = Kept::new(&device, &[true, false], 2)?;
    /// let g = Tensor::from_slice(&device, &[Complex32::ONE; 2], &[2])?;
    /// let gradients = Tridiagonal::of_products(&a, &p, &z).resolvent_diagonal_kept_vjp(&kept, &g)?;
    /// // Both elements are 1/a: −2/a², and nothing for the element that is skipped.
    /// assert_eq!(gradients.a.read::<f32>()?, [-0.5, 0.0]);
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn resolvent_diagonal_kept_vjp(
        &self,
        kept: &Kept,
        g: &Tensor,
    ) -> Result<TridiagonalGradients> {
        let shape = self.check_along(VJP, "g", g)?;
        let plan = self.compact_plan(VJP, Task::Vjp, g.layout(), kept)?;
        let full = Apart::new(self, &shape, &plan.whole)?;
        let (shorter, room) = self.shorter(&plan, &shape)?;
        let inner = Tensor::empty(self.a.device(), self.a.dtype(), true, shorter.a.shape())?;
        shorter.plan(VJP, Task::Vjp, inner.layout())?;
        let bindings = self.bindings();
        let client = self.a.device().client();
        let compact = Compact { client, plan: &plan, bindings: &bindings, kept: &kept.bindings };
        compact.operands(g.handle(), &room)?;
        compact.gather(g.handle(), inner.handle(), &kept.elements)?;
        let apart = shorter.diagonal_vjp_apart(&inner)?;
        compact.expand(apart.buffers(), full.buffers())?;
        let TridiagonalGradients { z, .. } = apart.summed(&shorter)?;
        // Shifts are those of the shorter operators, and so are their gradients.
        Ok(TridiagonalGradients { z, ..full.summed(self)? })
    }

    fn compact_plan(
        &self,
        op: &'static str,
        task: Task,
        diagonal: &Layout,
        kept: &Kept,
    ) -> Result<CompactPlan> {
        let device = self.a.device();
        if !device.same(&kept.device) {
            return Err(Error::Device { op, reason: DeviceFault::Mixed });
        }
        let exact = Self { mixed: false, ..self.clone() };
        CompactPlan::new(exact.plan(op, task, diagonal)?, &kept.elements, device.limits())
    }

    /// Room for operators of as many elements as are kept at most, with the same shifts, and its buffers.
    fn shorter(&self, plan: &CompactPlan, shape: &[usize]) -> Result<(Self, TridiagGradients)> {
        let most = plan.most;
        let device = self.a.device();
        let size = self.a.dtype().size();
        let [diagonal, beside] = plan.whole.gradient_numbers(most, 0).map(|numbers| {
            let bytes = numbers.max(2) * size;
            device.limits().check_buffer(plan.whole.op, bytes as u64)?;
            Ok(device.client().empty(bytes))
        });
        let room = TridiagGradients { diagonal: diagonal?, beside: beside? };
        let [_, lower] = plan.whole.gradient_places(most);
        let part = |handle: &Handle, from: usize, operand: &Tensor, len: usize| {
            let layout = Layout::contiguous(&[&shape[..shape.len() - 1], &[len]].concat());
            let complex = operand.is_complex();
            let element = size * if complex { 2 } else { 1 };
            let begin = if layout.is_empty() { 0 } else { (from * element) as u64 };
            let handle = handle.clone().offset_start(begin);
            Tensor::from_handle(device, handle, operand.dtype(), complex, layout)
        };
        let shorter = Self {
            a: part(&room.diagonal, 0, &self.a, most)?,
            b: part(&room.beside, 0, &self.b, most - 1)?,
            c: self.c.as_ref().map(|c| part(&room.beside, lower, c, most - 1)).transpose()?,
            ..self.clone()
        };
        Ok((shorter, room))
    }
}
