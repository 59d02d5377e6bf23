//! What the tests of this package and of `wavecube-models` share: random tensors, comparisons, the devices with kernels.

use burn::tensor::{DType, Device, DeviceType, Tensor, TensorData};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rand_distr::StandardNormal;
use wavecube_burn::counts;

/// Burn's CPU backend, the oracle.
pub(crate) fn flex() -> Device {
    Device::flex()
}

/// A device of every runtime with kernels that this build has. A build that finds none fails loudly: a test without a
/// device would prove nothing.
pub(crate) fn devices_with_kernels() -> Vec<Device> {
    let types: Vec<DeviceType> = vec![
        #[cfg(feature = "cuda")]
        DeviceType::Cuda,
        #[cfg(feature = "wgpu")]
        DeviceType::Wgpu,
        #[cfg(feature = "cpu")]
        DeviceType::Cpu,
    ];
    let first = |of: DeviceType| Device::enumerate(of).into_iter().next();
    let devices: Vec<Device> = types.into_iter().filter_map(first).collect();
    assert!(
        !devices.is_empty(),
        "no device: `cargo xtask setup` installs a software Vulkan driver"
    );
    devices
}

/// Flex and all devices with kernels.
pub(crate) fn devices() -> Vec<Device> {
    [vec![flex()], devices_with_kernels()].concat()
}

/// The operations that have no kernels.
const MADE_OF_BURNS: [&str; 13] = [
    "logistic",
    "logistic_vjp",
    "softplus",
    "softplus_vjp",
    "squared_relu",
    "squared_relu_vjp",
    "cross_entropy",
    "cross_entropy_vjp",
    "linear",
    "linear_vjp",
    "adam_w",
    "rotary",
    "rotary_vjp",
];

/// What `run` returns, if its operations, these among them, ran as their backend runs them: none fell back.
#[track_caller]
pub(crate) fn by_kernels<T>(operations: &[&str], run: impl FnOnce() -> T) -> T {
    let before = counts();
    let result = run();
    let after = counts();
    let of = |counts: &std::collections::BTreeMap<&str, wavecube_burn::Count>, name: &str| {
        counts.get(name).map_or((0, 0), |count| (count.ran, count.fell_back))
    };
    for name in operations {
        assert!(of(&after, name).0 > of(&before, name).0, "{name} did not run by a kernel");
    }
    for (name, count) in &after {
        let fell_back = count.fell_back > of(&before, name).1;
        let why = count.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(!fell_back || MADE_OF_BURNS.contains(name), "{name} fell back: {why}");
    }
    result
}

pub(crate) fn values(count: usize, seed: u64) -> Vec<f64> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count).map(|_| random.sample(StandardNormal)).collect()
}

pub(crate) fn tensor<const D: usize>(
    values: &[f64],
    shape: [usize; D],
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape).convert_dtype(dtype), (device, dtype))
}

pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data_as::<f64>().as_slice::<f64>().expect("f64 was asked for").to_vec()
}

/// `‖found − expected‖ / ‖expected‖`.
pub(crate) fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(x, y)| x - y));
    difference / norm(&mut expected.iter().copied()).max(1e-300)
}

/// A [`distance`] of at most `tolerance`, or a message with the worst place.
#[track_caller]
pub(crate) fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    let error = distance(found, expected);
    let difference = found.iter().zip(expected).map(|(x, y)| x - y);
    let worst = difference
        .map(f64::abs)
        .enumerate()
        .max_by(|x, y| x.1.total_cmp(&y.1))
        .map_or(0, |(index, _)| index);
    assert!(
        error <= tolerance,
        "relative error {error:.3e} > {tolerance:.1e}; worst at {worst}: {} instead of {}",
        found.get(worst).copied().unwrap_or_default(),
        expected.get(worst).copied().unwrap_or_default()
    );
}
