//! The layers that models are put together from.
//!
//! Every layer is causal: output `t` depends on inputs `0..=t` (a [`ResolventMixer`] of the two-sided form
//! and a [`SpectralMixer`] that wraps around excepted, which no model here takes). Parameters are drawn on the host
//! from [`Random`], so a seed gives the same layer on every device.

mod attention;
mod complex;
mod experts;
mod lct;
mod linear;
mod mlp;
mod norm;
mod past;
mod resolvent;
mod scales;
mod sparsity;
mod spectral;
mod stream;

use burn::{
    module::Param,
    tensor::{DType, Device, Tensor, TensorData},
};

pub use attention::{CausalSelfAttention, SequenceContext};
pub use experts::{Experts, ExpertsConfig, Routing};
pub use lct::{Axis, ComplexToReal, Form, LctConfig, LctLayer, ParameterForm, Start};
pub use linear::Linear;
pub(crate) use linear::{linear, rows_of};
pub use mlp::{Glu, Mlp};
pub use norm::{Norm, NormKind};
pub use past::{ModelPast, Past, Room, State};
pub use resolvent::{Hopping, MixerPast, ResolventConfig, ResolventForm, ResolventMixer, blended};
pub use scales::{Resample, ResamplePast};
pub use sparsity::{Kept, SparsityConfig};
pub use spectral::{SpectralConfig, SpectralMixer};
pub use stream::{CausalStream, ChirpedStream};

use crate::random::Random;

/// A matrix parameter of normal numbers with the given standard deviation.
pub(crate) fn normal_matrix(
    shape: [usize; 2],
    deviation: f64,
    random: &mut Random,
    device: &Device,
) -> Param<Tensor<2>> {
    let values: Vec<f32> =
        (0..shape[0] * shape[1]).map(|_| (random.normal() * deviation) as f32).collect();
    Param::from_data(TensorData::new(values, shape), device)
}

/// What does not come in 16 bits, whatever [products](crate::mixed_precision) do.
pub(crate) fn wide<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(DType::F32)
}

/// A vector parameter.
pub(crate) fn vector(values: impl Iterator<Item = f64>, device: &Device) -> Param<Tensor<1>> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    let count = values.len();
    Param::from_data(TensorData::new(values, [count]), device)
}
