//! Complex tensors on Burn, their parts apart.

use burn::tensor::{Tensor, activation::relu};

/// What the square of a magnitude gets added, squared: the direction of a number below it fades to
/// nothing, and every gradient stays finite at zero.
pub(super) const FLOOR: f64 = 1e-4;

/// A complex tensor.
#[derive(Debug, Clone)]
pub(super) struct Complex<const D: usize> {
    pub(super) re: Tensor<D>,
    pub(super) im: Tensor<D>,
}

impl<const D: usize> Complex<D> {
    /// The parts of `x`, one behind the other along `axis`.
    pub(super) fn halves(x: Tensor<D>, axis: usize) -> Self {
        let len = x.dims()[axis] / 2;
        Self { re: x.clone().narrow(axis, 0, len), im: x.narrow(axis, len, len) }
    }

    pub(super) fn joined(self, axis: usize) -> Tensor<D> {
        Tensor::cat(vec![self.re, self.im], axis)
    }

    /// From pairs `[.., 2]`; `E` is `D + 1`.
    pub(super) fn from_pairs<const E: usize>(x: &Tensor<E>) -> Self {
        let part = |i| x.clone().narrow(D, i, 1).squeeze_dim(D);
        Self { re: part(0), im: part(1) }
    }

    pub(super) fn into_pairs<const E: usize>(self) -> Tensor<E> {
        Tensor::stack(vec![self.re, self.im], D)
    }

    /// The same done to both parts.
    pub(super) fn map<const E: usize>(self, f: impl Fn(Tensor<D>) -> Tensor<E>) -> Complex<E> {
        Complex { re: f(self.re), im: f(self.im) }
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        Self {
            re: self.re.clone() * other.re.clone() - self.im.clone() * other.im.clone(),
            im: self.re.clone() * other.im.clone() + self.im.clone() * other.re.clone(),
        }
    }

    pub(super) fn scaled(self, by: &Tensor<D>) -> Self {
        self.map(|part| part * by.clone())
    }

    /// `√(|z|² + FLOOR²)`.
    pub(super) fn magnitude(&self) -> Tensor<D> {
        let square = self.re.clone().square() + self.im.clone().square();
        square.add_scalar(FLOOR * FLOOR).sqrt()
    }

    /// `z relu(|z| + threshold)/|z|`, modReLU (Arjovsky, Shah and Bengio 2016, eq. 8).
    pub(super) fn mod_relu(self, threshold: Tensor<D>) -> Self {
        let magnitude = self.magnitude();
        let kept = relu(magnitude.clone() + threshold) / magnitude;
        self.scaled(&kept)
    }
}
