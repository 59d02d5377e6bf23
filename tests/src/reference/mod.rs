//! The truth: every family from its definition, in `f64`, without a line of the library's tables.

pub mod attention;
pub mod convolution;
pub mod fft;
pub mod lct;
pub mod mixing;
pub mod qmatmul;
pub mod tridiag;

use wavecube::Complex64;

/// Lines of `n` points as columns.
pub fn transposed(x: &[Complex64], n: usize) -> Vec<Complex64> {
    (0..n).flat_map(|column| x[column..].iter().step_by(n).copied()).collect()
}
