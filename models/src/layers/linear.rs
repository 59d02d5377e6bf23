//! Linear maps and tables of rows, of numbers or packed.

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use wavecube_burn::{PackedTensor, linear as product, qmatmul};

use super::normal_matrix;
use crate::random::Random;

/// `x W`, without a bias, in the type of the matrix. The matrix `[d_in, d_out]` is a parameter; in a quantised model that
/// is packed, and the product reads its codes.
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
            Some(packed) => qmatmul(x, packed),
            None => {
                let weight = self.weight.val();
                product(x.cast(weight.dtype()), weight)
            }
        }
        .expect("the input has the width of the map")
    }
}

impl Linear {
    /// The same in equal parts of the outputs. Each is a product of its own with its columns of the matrix, so that no
    /// gradient of a part is padded to the width of all.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward), and for outputs that do not make so many parts.
    pub fn forward_in_parts<const D: usize, const PARTS: usize>(
        &self,
        x: Tensor<D>,
    ) -> [Tensor<D>; PARTS] {
        if self.weight.reparameterization::<PackedTensor>().is_some() {
            let y = self.forward(x);
            let width = y.dims()[D - 1] / PARTS;
            return std::array::from_fn(|part| y.clone().narrow(D - 1, part * width, width));
        }
        let weight = self.weight.val();
        let x = x.cast(weight.dtype());
        let width = weight.dims()[1] / PARTS;
        std::array::from_fn(|part| {
            let columns = weight.clone().narrow(1, part * width, width);
            product(x.clone(), columns).expect("the input has the width of the map")
        })
    }
}

/// The rows of a table `[count, d]` with these numbers: `[batch, time]` to `[batch, time, d]`. Of a packed table they
/// are a product of its codes with rows of one 1 among zeros, which picks numbers exactly.
pub(crate) fn rows_of(table: &Param<Tensor<2>>, numbers: Tensor<2, Int>) -> Tensor<3> {
    let [batch, time] = numbers.dims();
    let numbers = numbers.reshape([batch * time]);
    let rows = match table.reparameterization::<PackedTensor>() {
        Some(packed) => {
            let all = [batch * time, packed.shape()[1]];
            let each = Tensor::<1, Int>::arange(0..all[1] as i64, &numbers.device());
            let picks = numbers.unsqueeze_dim::<2>(1).expand(all);
            let picks = picks.equal(each.unsqueeze::<2>().expand(all)).float();
            qmatmul(picks, packed).expect("picks are as wide as the table is long")
        }
        None => table.val().select(0, numbers),
    };
    let d = rows.dims()[1];
    rows.reshape([batch, time, d])
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
