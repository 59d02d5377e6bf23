//! Products with INT4 and INT8 weights. The work, and what a NaN or an infinity in each operand gives, is described in
//! [`wavecube_kernels::qmatmul`], the packed layout and its files in [`quant`](crate::quant).

mod complex;
mod product;
mod quickest;
mod weight;

pub use complex::{QuantizedComplexWeight, qmatmul_complex, qmatmul_complex_vjp};
pub use product::{QmatmulOptions, qmatmul, qmatmul_into, qmatmul_vjp, qmatmul_with};
pub(crate) use quickest::Measured;
pub use wavecube_kernels::qmatmul::{
    Number, QmatmulPlan, Strategy as QmatmulStrategy, WeightBindings,
};
pub use weight::QuantizedWeight;
