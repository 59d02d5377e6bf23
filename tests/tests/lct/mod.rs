//! Linear canonical transforms against their formulas in `f64`, what each promises, and what it rejects.

mod algebraic;
mod eigenbasis;
mod gradients;
mod grids;
mod layouts;
mod parameters;
mod rejections;
mod shears;

use wavecube::{Abcd, Complex64, Device, Dtype, Tensor};
use wavecube_testing::{Rng, catalogue, devices, has, tensor};

/// Runs a check on every device in every type it computes with.
fn each(check: impl Fn(&Device, &mut Rng, Dtype, &str)) {
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::F64].into_iter().filter(|&dtype| has(device, dtype)) {
            let mut rng = Rng::fresh();
            let what = format!("{device} {dtype} seed {}", rng.seed);
            check(device, &mut rng, dtype, &what);
        }
    }
}

/// `c ε log₂ N`, `c` the number of DFTs and tables that a value passes through, 4 each.
fn bound(dtype: Dtype, n: usize, factors: f64) -> f64 {
    let floor = if dtype == Dtype::F64 { 4e-15 } else { 0.0 };
    4.0 * factors * dtype.epsilon() * (n as f64).log2().max(1.0) + floor * n as f64
}

/// `c ε √N` for dense products.
fn dense_bound(dtype: Dtype, n: usize) -> f64 {
    4.0 * dtype.epsilon() * (n as f64).sqrt().max(2.0)
        + if dtype == Dtype::F64 { 1e-12 } else { 0.0 }
}

/// The gate of the design: 1e-6 in `f32`, 1e-11 in `f64`.
fn gate(dtype: Dtype) -> f64 {
    if dtype == Dtype::F64 { 1e-11 } else { 1e-6 }
}

fn line(device: &Device, rng: &mut Rng, dtype: Dtype, n: usize) -> (Tensor, Vec<Complex64>) {
    tensor(device, &rng.complex(n), dtype, true, &[n]).unwrap()
}

fn random_matrix(rng: &mut Rng) -> Abcd {
    let a = rng.uniform(0.4, 1.6) * if rng.int(0, 1) == 0 { 1.0 } else { -1.0 };
    Abcd::from_abc(a, rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5)).unwrap()
}

const LENGTHS: [usize; 12] = [1, 2, 3, 4, 5, 8, 17, 31, 64, 97, 100, 210];

fn scaled_by(factor: Complex64, values: &[Complex64]) -> Vec<Complex64> {
    values.iter().map(|v| factor * v).collect()
}

#[test]
fn the_catalogue_is_right() {
    catalogue::assert_right("lct/");
}
