//! A device's limits as plain numbers.

use crate::{Dtype, Error, Result};

/// Small matrices that a plane, units which run in step, multiplies at once: `rows × inputs` by `inputs × columns`, with
/// sums in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Units of a plane.
    pub lanes: usize,
    /// Rows of the first operand and of the result.
    pub rows: usize,
    /// Columns of the second operand and of the result.
    pub columns: usize,
    /// Columns of the first operand and rows of the second.
    pub inputs: usize,
}

impl Fragment {
    /// The one that every GPU with matrix units for CUDA has.
    pub const SQUARE: Self = Self { lanes: 32, rows: 16, columns: 16, inputs: 16 };
}

/// What a plan has to know of a device. Plans read these and nothing else, so they are tested
/// without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Units (threads) that may share a cube. 1 means that cubes have no barrier worth using.
    pub units_per_cube: usize,
    /// Cubes along each of the three grid dimensions.
    pub cube_count: [usize; 3],
    /// Bytes of shared memory a cube may use.
    pub shared_bytes: usize,
    /// Bytes of the largest single buffer.
    pub buffer_bytes: u64,
    /// Buffers that a kernel may bind, beside the one that carries its scalars: one less than the storage buffers of
    /// a shader stage where the scalars lie in one of those, as with WGSL.
    pub bindings: usize,
    /// Whether the units of a cube run on processor cores: such a device is best served by cubes of
    /// one unit, without barriers.
    pub serial: bool,
    /// Bytes of cache that a unit of a serial device has for its work space; 0 on the others.
    pub cache_bytes: usize,
    /// Whether a driver runs the units in software: what a GPU keeps in registers then lies in a
    /// processor's cache, and a unit may hold more of it.
    pub emulated: bool,
    /// Whether buffers of [`Dtype::F16`] can be read and written.
    pub f16: bool,
    /// Whether buffers of [`Dtype::Bf16`] can be read and written.
    pub bf16: bool,
    /// Whether [`Dtype::F64`] can be stored and computed with.
    pub f64: bool,
    /// What matrix units multiply of [`Dtype::F16`].
    pub f16_fragment: Option<Fragment>,
    /// What matrix units multiply of [`Dtype::Bf16`].
    pub bf16_fragment: Option<Fragment>,
}

/// The second cache of a processor core, which runtimes do not report: 1 MiB or more in most servers.
const CORE_CACHE: usize = 1 << 20;

impl Limits {
    /// The software Vulkan driver that tests run on, for plans made without a device.
    pub const LAVAPIPE: Self = Self {
        units_per_cube: 1024,
        cube_count: [65535; 3],
        shared_bytes: 32 * 1024,
        buffer_bytes: 1 << 27,
        bindings: 31,
        serial: false,
        cache_bytes: 0,
        emulated: true,
        f16: true,
        bf16: false,
        f64: true,
        f16_fragment: None,
        bf16_fragment: None,
    };

    /// What WebGPU guarantees of every device, for plans made without one (W3C, *WebGPU*, section 3.6.2: 8 storage
    /// buffers a shader stage, 256 invocations and 16384 bytes of storage a workgroup, bindings of 128 MiB). No type
    /// but `f32` is guaranteed.
    pub const WEBGPU: Self = Self {
        units_per_cube: 256,
        cube_count: [65535; 3],
        shared_bytes: 16 * 1024,
        buffer_bytes: 1 << 27,
        bindings: 7,
        serial: false,
        cache_bytes: 0,
        emulated: false,
        f16: false,
        bf16: false,
        f64: false,
        f16_fragment: None,
        bf16_fragment: None,
    };

    /// An H100-class GPU, for plans made without a device.
    pub const HOPPER: Self = Self {
        units_per_cube: 1024,
        cube_count: [2_147_483_647, 65535, 65535],
        shared_bytes: 48 * 1024,
        buffer_bytes: 1 << 36,
        bindings: 32,
        serial: false,
        cache_bytes: 0,
        emulated: false,
        f16: true,
        bf16: true,
        f64: true,
        f16_fragment: Some(Fragment::SQUARE),
        bf16_fragment: Some(Fragment::SQUARE),
    };

    /// A CPU runtime with `cores` cores, for plans made without a device.
    pub const fn cpu(cores: usize) -> Self {
        Self {
            units_per_cube: cores,
            cube_count: [u32::MAX as usize; 3],
            shared_bytes: 512 * 1024,
            buffer_bytes: 1 << 36,
            bindings: u32::MAX as usize,
            serial: true,
            cache_bytes: CORE_CACHE,
            emulated: true,
            f16: true,
            bf16: false,
            f64: true,
            f16_fragment: None,
            bf16_fragment: None,
        }
    }

    /// What matrix units multiply of `dtype`.
    pub fn fragment(&self, dtype: Dtype) -> Option<Fragment> {
        match dtype {
            Dtype::F16 => self.f16_fragment,
            Dtype::Bf16 => self.bf16_fragment,
            Dtype::F32 | Dtype::F64 => None,
        }
    }

    /// Accepts `dtype` if the device has it.
    ///
    /// # Errors
    /// [`Error::Dtype`] naming the types the device has.
    pub fn check_dtype(
        &self,
        op: &'static str,
        argument: &'static str,
        dtype: Dtype,
    ) -> Result<()> {
        let present = match dtype {
            Dtype::F16 => self.f16,
            Dtype::Bf16 => self.bf16,
            Dtype::F32 => true,
            Dtype::F64 => self.f64,
        };
        if present {
            return Ok(());
        }
        let expected = match (self.f16, self.bf16, self.f64) {
            (true, true, _) => "f16, bf16 or f32 on this device",
            (true, false, true) => "f16, f32 or f64 on this device",
            (true, false, false) => "f16 or f32 on this device",
            (false, true, true) => "bf16, f32 or f64 on this device",
            (false, true, false) => "bf16 or f32 on this device",
            (false, false, true) => "f32 or f64 on this device",
            (false, false, false) => "f32 on this device",
        };
        Err(Error::Dtype { op, argument, expected, found: dtype })
    }

    /// Accepts a kernel that binds so many buffers.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_bindings(&self, op: &'static str, buffers: usize) -> Result<()> {
        if buffers <= self.bindings {
            return Ok(());
        }
        Err(Error::Limit {
            op,
            resource: "buffers in one kernel",
            available: self.bindings as u64,
            required: buffers as u64,
        })
    }

    /// Accepts a buffer of `bytes` if the device can hold one.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_buffer(&self, op: &'static str, bytes: u64) -> Result<()> {
        // Sizes that overflow come as `u64::MAX`, which no device has, whatever it reports.
        let available = self.buffer_bytes.min(i64::MAX as u64);
        if bytes <= available {
            return Ok(());
        }
        Err(Error::Limit { op, resource: "bytes in one buffer", available, required: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn a_size_that_overflows_fits_no_device() {
        let boundless = Limits { buffer_bytes: u64::MAX, ..Limits::HOPPER };
        assert!(boundless.check_buffer("test", 1 << 62).is_ok());
        let error = boundless.check_buffer("test", u64::MAX).expect_err("no device has as many");
        assert!(error.to_string().starts_with("test:"), "{error}");
    }
}
