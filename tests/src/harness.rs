//! Devices, random data and comparisons for every test.

use std::{
    cell::Cell,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Write as _},
    panic,
    sync::{Once, OnceLock},
};

use num_complex::Complex;
use rand::{Rng as _, SeedableRng, rngs::StdRng};
use rand_distr::StandardNormal;
use wavecube::{Complex64, Device, Dtype, Element, Result, Tensor};

/// Every device that this build and this machine have, and the types each has: what a device lacks is
/// not tested on it. A build that finds none fails loudly: a test without a device would prove nothing.
///
/// # Panics
/// If there is none.
pub fn devices() -> &'static [Device] {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let devices = Device::all();
        assert!(
            !devices.is_empty(),
            "no device: `cargo xtask setup` installs a software Vulkan driver"
        );
        for device in &devices {
            let types = [Dtype::F16, Dtype::Bf16, Dtype::F32, Dtype::F64].into_iter();
            let types: Vec<_> = types.filter(|&dtype| has(device, dtype)).collect();
            let units = types.iter().filter(|&&dtype| device.limits().fragment(dtype).is_some());
            let units: Vec<_> = units.collect();
            // The test runner keeps back what `eprintln!` says in a test that passes.
            let _ = writeln!(
                io::stderr(),
                "testing on {device} with {types:?}, matrix units for {units:?}"
            );
        }
        devices
    })
}

/// Whether a device can store and compute with a type.
pub fn has(device: &Device, dtype: Dtype) -> bool {
    device.limits().check_dtype("test", "dtype", dtype).is_ok()
}

/// The types of 16 bits that a device has.
pub fn halves(device: &Device) -> impl Iterator<Item = Dtype> {
    [Dtype::F16, Dtype::Bf16].into_iter().filter(|&dtype| has(device, dtype))
}

thread_local! {
    /// What the data of this thread's test came from last.
    static LAST_SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on a panic says which seed replays the data of the test that it ends, which may outlive its source.
fn print_seeds_of_failures() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            if let Some(seed) = LAST_SEED.get() {
                eprintln!("random data: WAVECUBE_SEED={seed} replays it");
            }
        }));
    });
}

/// A seeded source of test data. The seed is fresh for every run, and printed where a test fails;
/// `WAVECUBE_SEED` replays one.
pub struct Rng {
    /// What to set `WAVECUBE_SEED` to.
    pub seed: u64,
    rng: StdRng,
}

impl Rng {
    /// A fresh seed, or the one to replay.
    ///
    /// # Panics
    /// If `WAVECUBE_SEED` is not a number.
    pub fn fresh() -> Self {
        let seed = match std::env::var("WAVECUBE_SEED") {
            Ok(text) => text.parse().expect("WAVECUBE_SEED is a number"),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        print_seeds_of_failures();
        LAST_SEED.set(Some(seed));
        Self { seed, rng: StdRng::seed_from_u64(seed) }
    }

    /// Standard normal complex values.
    pub fn complex(&mut self, len: usize) -> Vec<Complex64> {
        (0..len)
            .map(|_| {
                Complex64::new(self.rng.sample(StandardNormal), self.rng.sample(StandardNormal))
            })
            .collect()
    }

    /// Standard normal real values, as complex numbers.
    pub fn real(&mut self, len: usize) -> Vec<Complex64> {
        (0..len).map(|_| Complex64::new(self.rng.sample(StandardNormal), 0.0)).collect()
    }

    /// A whole number in `low ..= high`.
    pub fn int(&mut self, low: usize, high: usize) -> usize {
        self.rng.random_range(low..=high)
    }

    /// A real number in `low .. high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        self.rng.random_range(low..high)
    }
}

/// Values rounded to a storage type and back: what a kernel is given. The reference works on these,
/// so that rounding the input is not counted as the kernel's error.
pub fn rounded(values: &[Complex64], dtype: Dtype) -> Vec<Complex64> {
    let round = |v: f64| match dtype {
        Dtype::F16 => f64::from(half::f16::from_f64(v)),
        Dtype::Bf16 => f64::from(half::bf16::from_f64(v)),
        Dtype::F64 => v,
        _ => f64::from(v as f32),
    };
    values.iter().map(|v| Complex64::new(round(v.re), round(v.im))).collect()
}

/// Uploads values in a storage type, as complex elements or as their real parts, and returns them as
/// they were rounded.
///
/// # Errors
/// As [`Tensor::from_slice`].
pub fn tensor(
    device: &Device,
    values: &[Complex64],
    dtype: Dtype,
    complex: bool,
    shape: &[usize],
) -> Result<(Tensor, Vec<Complex64>)> {
    let tensor = match dtype {
        Dtype::F16 => upload(device, values, complex, shape, half::f16::from_f64),
        Dtype::Bf16 => upload(device, values, complex, shape, half::bf16::from_f64),
        Dtype::F64 => upload(device, values, complex, shape, |v| v),
        _ => upload(device, values, complex, shape, |v| v as f32),
    }?;
    Ok((tensor, rounded(values, dtype)))
}

fn upload<T: Element>(
    device: &Device,
    values: &[Complex64],
    complex: bool,
    shape: &[usize],
    convert: impl Fn(f64) -> T,
) -> Result<Tensor>
where
    Complex<T>: Element,
{
    if complex {
        let pairs = values.iter().map(|v| Complex::new(convert(v.re), convert(v.im)));
        Tensor::from_slice(device, &pairs.collect::<Vec<_>>(), shape)
    } else {
        let reals = values.iter().map(|v| convert(v.re));
        Tensor::from_slice(device, &reals.collect::<Vec<_>>(), shape)
    }
}

/// A tensor of NaN, for a kernel to overwrite: a place that it forgets shows.
///
/// # Errors
/// As [`Tensor::from_slice`].
pub fn nan_filled(device: &Device, dtype: Dtype, complex: bool, shape: &[usize]) -> Result<Tensor> {
    let nan = vec![Complex64::new(f64::NAN, f64::NAN); shape.iter().product()];
    Ok(tensor(device, &nan, dtype, complex, shape)?.0)
}

/// Reads a tensor of any element type as complex `f64`.
///
/// # Panics
/// If the device reports a fault: a test must not go on.
pub fn read(tensor: &Tensor) -> Vec<Complex64> {
    match tensor.dtype() {
        Dtype::F16 => download::<half::f16>(tensor),
        Dtype::Bf16 => download::<half::bf16>(tensor),
        Dtype::F64 => download::<f64>(tensor),
        _ => download::<f32>(tensor),
    }
}

fn download<T: Element + Into<f64>>(tensor: &Tensor) -> Vec<Complex64>
where
    Complex<T>: Element,
{
    let fault = "the device computes";
    if tensor.is_complex() {
        let pairs = tensor.read::<Complex<T>>().expect(fault).into_iter();
        pairs.map(|v| Complex64::new(v.re.into(), v.im.into())).collect()
    } else {
        let reals = tensor.read::<T>().expect(fault).into_iter();
        reals.map(|v| Complex64::new(v.into(), 0.0)).collect()
    }
}

/// `‖found − expected‖ / ‖expected‖`; NaN if anything is NaN.
///
/// # Panics
/// If the two have different lengths.
pub fn relative_l2(found: &[Complex64], expected: &[Complex64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "as many values as expected");
    let error: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).norm_sqr()).sum();
    let size: f64 = expected.iter().map(Complex64::norm_sqr).sum();
    if size == 0.0 { error.sqrt() } else { (error / size).sqrt() }
}

/// Asserts a relative L2 error of at most `bound`, and prints where it is worst.
///
/// # Panics
/// If the error is larger, or anything is NaN.
pub fn assert_close(what: &str, found: &[Complex64], expected: &[Complex64], bound: f64) {
    let error = relative_l2(found, expected);
    if error <= bound {
        return;
    }
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).norm())
        .enumerate()
        .max_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Greater));
    let at = worst.map_or(0, |(i, _)| i);
    panic!(
        "{what}: relative L2 error {error:.3e} exceeds {bound:.3e}; worst at {at}: found {}, \
         expected {}",
        found[at], expected[at]
    );
}
