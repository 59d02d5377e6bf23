//! Linear maps, of numbers or packed.

use burn::{
    module::{Module, Param, Reparameterization},
    tensor::{Device, Shape, Tensor, module::linear as product},
};

use super::normal_matrix;
use crate::{
    bridge::{PackedTensor, qmatmul},
    random::Random,
};

/// `x W`, without a bias. The matrix `[d_in, d_out]` is a parameter; in a quantised model that is packed, and the
/// product reads its codes.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
}

impl Linear {
    /// The map by a matrix.
    pub(super) fn of(weight: Param<Tensor<2>>) -> Self {
        Self { weight }
    }

    /// `[…, d_in]` to `[…, d_out]`.
    ///
    /// # Panics
    ///
    /// As Burn's products do, for an input of another width.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.weight.reparameterization::<PackedTensor>() {
            Some(packed) => qmatmul(x, packed).expect("the input has the width of the map"),
            None => product(x, self.weight.val(), None),
        }
    }
}

/// A packed map takes the place of its matrix, of which nothing is left; whoever asks for numbers gets those that
/// the codes stand for.
impl Reparameterization for PackedTensor {
    const NAME: &'static str = "packed";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let [outputs, inputs] = self.shape();
        // The rows of the identity pick the columns of the matrix, exactly.
        let identity = Tensor::<2>::eye(inputs, &base.device());
        let numbers = qmatmul(identity, self).expect("the identity has the width of the map");
        numbers.reshape(Shape::from(vec![inputs, outputs]))
    }
}

/// A linear map without bias, `[d_in, d_out]`, of standard deviation `gain/√d_in`.
pub(crate) fn linear(
    d_in: usize,
    d_out: usize,
    gain: f64,
    random: &mut Random,
    device: &Device,
) -> Linear {
    let deviation = gain / (d_in as f64).sqrt();
    Linear::of(normal_matrix([d_in, d_out], deviation, random, device))
}
