//! What a NaN or an infinity in an operand leaves of a result: what depends on it shows it, and nothing else changes.

use wavecube::{Complex64, Device, Dtype, Tensor};
use wavecube_testing::{Rng, read, tensor};

/// NaN and both infinities.
pub(crate) const POISONS: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// An operand that can be uploaded again with one number that is none.
#[derive(Clone)]
pub(crate) struct Operand {
    pub(crate) values: Vec<Complex64>,
    pub(crate) dtype: Dtype,
    pub(crate) complex: bool,
    pub(crate) shape: Vec<usize>,
}

impl Operand {
    pub(crate) fn random(rng: &mut Rng, dtype: Dtype, complex: bool, shape: &[usize]) -> Self {
        let len = shape.iter().product();
        let values = if complex { rng.complex(len) } else { rng.real(len) };
        Self { values, dtype, complex, shape: shape.to_vec() }
    }

    pub(crate) fn upload(&self, device: &Device) -> Tensor {
        tensor(device, &self.values, self.dtype, self.complex, &self.shape).unwrap().0
    }

    /// The same with a number in either part of an element.
    pub(crate) fn with(&self, at: usize, poison: f64, imaginary: bool) -> Self {
        let mut poisoned = self.clone();
        let value = &mut poisoned.values[at];
        *(if imaginary { &mut value.im } else { &mut value.re }) = poison;
        poisoned
    }
}

/// Asserts that exactly the elements for which `depends` are not finite, NaN where NaN went in, and that the others
/// have the bits that they had.
pub(crate) fn assert_shows(
    what: &str,
    poison: f64,
    [clean, found]: [&Tensor; 2],
    depends: impl Fn(usize) -> bool,
) {
    let bits = |v: &Complex64| (v.re.to_bits(), v.im.to_bits());
    for (i, (clean, found)) in read(clean).iter().zip(&read(found)).enumerate() {
        assert!(clean.is_finite(), "{what}: {clean} at {i} before");
        if !depends(i) {
            assert!(bits(clean) == bits(found), "{what}: {found} at {i}, not {clean} as before");
        } else if poison.is_nan() {
            assert!(found.is_nan(), "{what}: {found} at {i}, not NaN");
        } else {
            assert!(!found.is_finite(), "{what}: {found} at {i} of an infinity");
        }
    }
}
