//! Complex tensors on Burn, their parts apart.

use burn::tensor::Tensor;

/// A complex tensor.
#[derive(Debug, Clone)]
pub(super) struct Complex<const D: usize> {
    pub(super) re: Tensor<D>,
    pub(super) im: Tensor<D>,
}

impl<const D: usize> Complex<D> {
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
}
