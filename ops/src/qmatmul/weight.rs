//! Packed weights on a device.

use cubecl::server::Handle;
use wavecube_core::{
    DeviceFault, Dtype, Error, Result,
    quant::{PackedWeight, Scheme},
};
use wavecube_kernels::qmatmul::{
    ConversionPlan, WeightBindings, dequantize_launch, quantize_launch,
};

use crate::{Device, Tensor};

const QUANTIZE: &str = "QuantizedWeight::quantize";

/// A quantised weight matrix `[n, k]` of `n` outputs and `k` inputs in device memory. Cloning shares the memory.
///
/// ```
/// use wavecube::{Device, QuantizedWeight, Tensor, quant::{Bits, Group, ScaleType, Scheme}};
/// let device = Device::best()?;
/// let values: Vec<f32> = (0..3 * 40).map(|i| (i as f32).sin()).collect();
/// let scheme = Scheme { bits: Bits::Eight, symmetric: true, group: Group::Of32, scale: ScaleType::F16 };
/// let weight = QuantizedWeight::quantize(&Tensor::from_slice(&device, &values, &[3, 40])?, scheme)?;
/// let back: Vec<f32> = weight.dequantize(wavecube::Dtype::F32)?.read()?;
/// assert!(back.iter().zip(&values).all(|(a, b)| (a - b).abs() < 0.005));
/// assert_eq!(weight.download()?.dequantize(), back);
/// # Ok::<(), wavecube::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct QuantizedWeight {
    device: Device,
    scheme: Scheme,
    shape: [usize; 2],
    bindings: WeightBindings,
}

impl QuantizedWeight {
    /// Uploads a packed weight: from a file, or quantised on the host, where the range of codes can be searched
    /// for and calibrated.
    ///
    /// # Errors
    /// [`Error::Limit`] if the device has no room.
    pub fn upload(device: &Device, weight: &PackedWeight) -> Result<Self> {
        const OP: &str = "QuantizedWeight::upload";
        let part = |words: &[u32]| {
            let bytes: &[u8] = bytemuck::cast_slice(words);
            device.limits().check_buffer(OP, bytes.len() as u64)?;
            Ok(device.client().create_from_slice(bytes))
        };
        let zeros = if weight.zeros().is_empty() { None } else { Some(part(weight.zeros())?) };
        let bindings =
            WeightBindings { words: part(weight.words())?, scales: part(weight.scales())?, zeros };
        let (scheme, shape) = (weight.scheme(), weight.shape());
        Ok(Self { device: device.clone(), scheme, shape, bindings })
    }

    /// A weight `[n, k]` over buffers that already are on the device, for instance another library's: words, scales
    /// and zero points in the layout of [`quant`](crate::quant). Whatever uses it refuses buffers that are too short.
    pub fn from_bindings(
        device: &Device,
        scheme: Scheme,
        shape: [usize; 2],
        bindings: WeightBindings,
    ) -> Self {
        Self { device: device.clone(), scheme, shape, bindings }
    }

    /// Quantises a real matrix `[n, k]`, contiguous, `f16`, `bf16` or `f32`, that lies on the device: every weight to the
    /// nearest code, over the whole range of its group; [`PackedWeight::quantize`] on the host searches for better
    /// ranges. Waits for the device, which tells whether the values have codes.
    ///
    /// # Errors
    /// [`Error::Dtype`] for another type, [`Error::Shape`] unless there are two axes, [`Error::Strides`] if the
    /// tensor is not contiguous, [`Error::Length`] for a matrix of nothing or more than 60000 inputs,
    /// [`Error::Limit`] if the device has no room, [`Error::Value`] for a value that is not finite or a range that the
    /// type of the scales cannot express, [`Error::Device`] if a kernel has failed.
    pub fn quantize(weight: &Tensor, scheme: Scheme) -> Result<Self> {
        weight.check_complex(QUANTIZE, "weight", false)?;
        weight.check_contiguous(QUANTIZE, "weight")?;
        let &[n, k] = weight.shape() else {
            let (expected, found) = (vec![1; 2], weight.shape().to_vec());
            return Err(Error::Shape { op: QUANTIZE, argument: "weight", expected, found });
        };
        let device = weight.device();
        let plan = ConversionPlan::new(QUANTIZE, scheme, [n, k], weight.dtype(), device.limits())?;
        let [words, scales, zeros] = plan.words().map(|words| device.client().empty(4 * words));
        let zeros = (!scheme.symmetric).then_some(zeros);
        let bindings = WeightBindings { words, scales, zeros };
        let faults = quantize_launch(device.client(), weight.handle(), &bindings, &plan)?;
        let faults = read(QUANTIZE, device, faults)?;
        // The device tells that there is one, not which.
        let (unfit, large) = (f64::NAN, f64::INFINITY);
        let expectations = [("finite", unfit), ("within the range of the scales' type", large)];
        for (fault, (expected, found)) in faults.into_iter().zip(expectations) {
            if fault != 0 {
                return Err(Error::Value { op: QUANTIZE, argument: "weight", expected, found });
            }
        }
        Ok(Self { device: device.clone(), scheme, shape: [n, k], bindings })
    }

    /// The weights that the codes stand for: `[n, k]`, `f16`, `bf16` or `f32`.
    ///
    /// # Errors
    /// [`Error::Dtype`] for another type or one that the device lacks, [`Error::Limit`] if it has no room.
    pub fn dequantize(&self, dtype: Dtype) -> Result<Tensor> {
        const OP: &str = "QuantizedWeight::dequantize";
        let plan = ConversionPlan::new(OP, self.scheme, self.shape, dtype, self.device.limits())?;
        let values = Tensor::empty(&self.device, dtype, false, &self.shape)?;
        dequantize_launch(self.device.client(), &self.bindings, values.handle(), &plan)?;
        Ok(values)
    }

    /// Downloads the packed weight. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if a kernel has failed; as [`PackedWeight::from_parts`] for a weight over buffers that hold no
    /// such weight.
    pub fn download(&self) -> Result<PackedWeight> {
        const OP: &str = "QuantizedWeight::download";
        let read = |handle: &Handle| read(OP, &self.device, handle.clone());
        let zeros = self.bindings.zeros.as_ref().map_or_else(|| Ok(Vec::new()), read)?;
        let (words, scales) = (read(&self.bindings.words)?, read(&self.bindings.scales)?);
        PackedWeight::from_parts(self.scheme, self.shape, words, scales, zeros)
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Outputs and inputs: `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    pub(super) fn bindings(&self) -> &WeightBindings {
        &self.bindings
    }
}

/// The words of a buffer. Waits for the device.
fn read(op: &'static str, device: &Device, handle: Handle) -> Result<Vec<u32>> {
    let bytes = device.client().read_one(handle);
    let bytes = bytes
        .map_err(|fault| Error::Device { op, reason: DeviceFault::Failed(format!("{fault:?}")) })?;
    Ok(bytemuck::pod_collect_to_vec(&bytes[..bytes.len() / 4 * 4]))
}
