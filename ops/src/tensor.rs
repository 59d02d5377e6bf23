//! Tensors on a device: a buffer, an element type and a layout.

use cubecl::server::Handle;
use half::{bf16, f16};
use num_complex::Complex;
use wavecube_core::{DeviceFault, Dtype, Error, Layout, Result};

use crate::{Device, process::check_process};

/// A type that a tensor can be filled from and read into: `f16`, `bf16`, `f32`, `f64` or a complex of them.
pub trait Element: bytemuck::Pod + sealed::Sealed {
    /// The storage type.
    const DTYPE: Dtype;
    /// Whether the element is complex.
    const COMPLEX: bool;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($($real:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $real {}
        impl sealed::Sealed for Complex<$real> {}
        impl Element for $real {
            const DTYPE: Dtype = Dtype::$dtype;
            const COMPLEX: bool = false;
        }
        impl Element for Complex<$real> {
            const DTYPE: Dtype = Dtype::$dtype;
            const COMPLEX: bool = true;
        }
    )*};
}
element!(f16 => F16, bf16 => Bf16, f32 => F32, f64 => F64);

/// A strided tensor of real or complex elements in device memory.
///
/// A complex element is two adjacent reals, real part first; shape, strides and offset count
/// complex elements. Cloning shares the memory.
///
/// ```
/// use wavecube::{Complex32, Device, Tensor};
/// let device = Device::best()?;
/// let x = Tensor::from_slice(&device, &[Complex32::new(1.0, -1.0); 6], &[2, 3])?;
/// assert_eq!(x.permuted(&[1, 0])?.shape(), [3, 2]);
/// assert_eq!(x.read::<Complex32>()?.len(), 6);
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tensor {
    device: Device,
    handle: Handle,
    dtype: Dtype,
    complex: bool,
    layout: Layout,
}

impl Tensor {
    /// Uploads `values` as a contiguous tensor of `shape`.
    ///
    /// # Errors
    /// [`Error::Length`] if there are not as many values as the shape has elements, [`Error::Dtype`]
    /// if the device lacks the type, [`Error::Limit`] if the buffer is too large for it.
    pub fn from_slice<T: Element>(device: &Device, values: &[T], shape: &[usize]) -> Result<Self> {
        check_process("Tensor::from_slice")?;
        let layout = Layout::contiguous(shape);
        if layout.checked_len() != Some(values.len()) {
            return Err(Error::Length {
                op: "Tensor::from_slice",
                argument: "values",
                expected: "the number of elements of the shape",
                found: values.len(),
            });
        }
        let bytes: &[u8] = bytemuck::cast_slice(values);
        device.limits().check_dtype("Tensor::from_slice", "values", T::DTYPE)?;
        device.limits().check_buffer("Tensor::from_slice", bytes.len() as u64)?;
        // A buffer of no bytes is not a buffer everywhere: an empty tensor keeps one unused element.
        let handle = if bytes.is_empty() {
            device.client().empty(size_of::<T>())
        } else {
            device.client().create_from_slice(bytes)
        };
        Ok(Self { device: device.clone(), handle, dtype: T::DTYPE, complex: T::COMPLEX, layout })
    }

    /// A contiguous tensor whose elements are whatever the memory held.
    ///
    /// # Errors
    /// [`Error::Dtype`] if the device lacks the type, [`Error::Limit`] if the buffer is too large.
    pub fn empty(device: &Device, dtype: Dtype, complex: bool, shape: &[usize]) -> Result<Self> {
        const OP: &str = "Tensor::empty";
        check_process(OP)?;
        device.limits().check_dtype(OP, "dtype", dtype)?;
        let layout = Layout::contiguous(shape);
        let element = dtype.size() * if complex { 2 } else { 1 };
        let bytes = layout.checked_len().and_then(|len| len.max(1).checked_mul(element));
        device.limits().check_buffer(OP, bytes.map_or(u64::MAX, |b| b as u64))?;
        let handle = device.client().empty(bytes.unwrap_or(element));
        Ok(Self { device: device.clone(), handle, dtype, complex, layout })
    }

    /// A tensor over a buffer that already is on the device, for instance another library's.
    ///
    /// # Errors
    /// [`Error::Length`] if the layout reaches beyond the buffer.
    pub fn from_handle(
        device: &Device,
        handle: Handle,
        dtype: Dtype,
        complex: bool,
        layout: Layout,
    ) -> Result<Self> {
        let element = dtype.size() * if complex { 2 } else { 1 };
        let elements = handle.size_in_used() as usize / element;
        if layout.end().is_none_or(|end| end > elements) {
            return Err(Error::Length {
                op: "Tensor::from_handle",
                argument: "handle",
                expected: "enough for every element of the layout",
                found: elements,
            });
        }
        Ok(Self { device: device.clone(), handle, dtype, complex, layout })
    }

    /// Downloads the elements in row-major order. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Dtype`] if `T` is not the tensor's element type, [`Error::Device`] if a kernel that
    /// was enqueued before has failed, or the process has forked since the device was opened.
    pub fn read<T: Element>(&self) -> Result<Vec<T>> {
        const OP: &str = "Tensor::read";
        check_process(OP)?;
        if T::DTYPE != self.dtype || T::COMPLEX != self.complex {
            return Err(Error::Dtype {
                op: OP,
                argument: "T",
                expected: if self.complex {
                    "the complex type stored"
                } else {
                    "the real type stored"
                },
                found: T::DTYPE,
            });
        }
        if self.layout.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |reason: String| Error::Device { op: OP, reason: DeviceFault::Failed(reason) };
        let bytes = self
            .device
            .client()
            .read_one(self.handle.clone())
            .map_err(|fault| failed(format!("{fault:?}")))?;
        let count = bytes.len() / size_of::<T>();
        let all: Vec<T> = bytemuck::pod_collect_to_vec(&bytes[..count * size_of::<T>()]);
        let (shape, strides) = (self.layout.shape(), self.layout.strides());
        let mut index = vec![0; shape.len()];
        let mut values = Vec::with_capacity(self.layout.len());
        for _ in 0..self.layout.len() {
            let place: usize = index.iter().zip(strides).map(|(i, s)| i * s).sum();
            values.push(all[self.layout.offset() + place]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(values)
    }

    /// The same elements with the axes in another order; no data moves.
    ///
    /// # Errors
    /// [`Error::Shape`] if `order` does not name every axis once.
    pub fn permuted(&self, order: &[usize]) -> Result<Self> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        let expected: Vec<usize> = (0..self.layout.rank()).collect();
        if sorted != expected {
            return Err(Error::Shape {
                op: "Tensor::permuted",
                argument: "order",
                expected,
                found: order.to_vec(),
            });
        }
        Ok(Self { layout: self.layout.permuted(order), ..self.clone() })
    }

    /// The same elements in row-major order under another shape; no data moves. An axis may be split, and neighbouring
    /// axes joined that follow on each other in memory, as those of a contiguous tensor do.
    ///
    /// # Errors
    /// [`Error::Length`] if the shape has another number of elements, [`Error::Strides`] if axes would have to be joined
    /// that do not follow on each other in memory: read and upload such a tensor.
    ///
    /// ```
    /// use wavecube::{Device, Tensor};
    /// let device = Device::best()?;
    /// let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[6])?;
    /// let columns = x.reshape(&[2, 3])?.permuted(&[1, 0])?;
    /// assert_eq!(columns.read::<f32>()?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    /// assert!(columns.reshape(&[6]).is_err());
    /// # Ok::<(), wavecube::Error>(())
    /// ```
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        Ok(Self { layout: self.layout.reshaped("Tensor::reshape", shape)?, ..self.clone() })
    }

    /// Elements `start .. start + len` along `axis`; no data moves.
    ///
    /// # Errors
    /// [`Error::Axis`] if there is no such axis, [`Error::Length`] if it is shorter.
    pub fn narrowed(&self, axis: isize, start: usize, len: usize) -> Result<Self> {
        const OP: &str = "Tensor::narrowed";
        let axis = self.layout.axis(OP, axis)?;
        if start.checked_add(len).is_none_or(|end| end > self.shape()[axis]) {
            return Err(Error::Length {
                op: OP,
                argument: "len",
                expected: "within the axis",
                found: len,
            });
        }
        let mut shape = self.shape().to_vec();
        shape[axis] = len;
        let strides = self.layout.strides();
        let offset = self.layout.offset() + if len == 0 { 0 } else { start * strides[axis] };
        Ok(Self { layout: Layout::strided(&shape, strides, offset)?, ..self.clone() })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The buffer.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The storage type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Whether elements are complex.
    pub fn is_complex(&self) -> bool {
        self.complex
    }

    /// Where the elements lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The axes' lengths.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// Accepts the tensor if its elements are complex, or real, as asked.
    pub(crate) fn check_complex(
        &self,
        op: &'static str,
        argument: &'static str,
        complex: bool,
    ) -> Result<()> {
        check_process(op)?;
        if self.complex == complex {
            return Ok(());
        }
        let expected =
            if complex { "complex; this one is real" } else { "real; this one is complex" };
        Err(Error::Dtype { op, argument, expected, found: self.dtype })
    }

    /// Accepts the tensor if it is contiguous from the beginning of its buffer.
    pub(crate) fn check_contiguous(&self, op: &'static str, argument: &'static str) -> Result<()> {
        check_process(op)?;
        if self.layout.is_contiguous() && self.layout.offset() == 0 {
            return Ok(());
        }
        let expected = "be those of a contiguous tensor that begins with its buffer";
        Err(Error::Strides { op, argument, expected, found: self.layout.strides().to_vec() })
    }

    /// Accepts two tensors of the same device and storage type.
    pub(crate) fn check_same(
        &self,
        op: &'static str,
        argument: &'static str,
        other: &Self,
    ) -> Result<()> {
        check_process(op)?;
        if !self.device.same(&other.device) {
            return Err(Error::Device { op, reason: DeviceFault::Mixed });
        }
        if self.dtype != other.dtype {
            let expected = "that of the other operand";
            return Err(Error::Dtype { op, argument, expected, found: other.dtype });
        }
        Ok(())
    }

    /// Whether both tensors lie in one allocation and their extents meet.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        if self.handle.memory.descriptor() != other.handle.memory.descriptor() {
            return false;
        }
        let extent = |tensor: &Self| {
            let element = (tensor.dtype.size() * if tensor.complex { 2 } else { 1 }) as u64;
            let base = tensor.handle.offset_start.unwrap_or(0);
            let end = tensor.layout.end().unwrap_or(usize::MAX) as u64;
            let start = base + tensor.layout.offset() as u64 * element;
            start..base.saturating_add(end.saturating_mul(element))
        };
        let (a, b) = (extent(self), extent(other));
        a.start < b.end && b.start < a.end
    }
}
