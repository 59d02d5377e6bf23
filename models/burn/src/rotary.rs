//! Rotary positions (Su et al., *`RoFormer`*, 2021, section 3.2): pairs `(x_i, x_{i + d/2})` of a head turned by the angle
//! of their position.

use std::ops::Range;

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Device, Slice, Tensor, TensorData},
};
#[cfg(feature = "flex")]
use rayon::prelude::*;
use wavecube_core::{Error, Result};

use crate::operation::{Kept, Op, Operation, run};
#[cfg(feature = "flex")]
use crate::{
    flex::{numbers, slice, tensor},
    rows::turned_row,
};

/// The usual base of rotary positions, by which a [`Cache`](crate::Cache) turns.
pub const ROTARY_BASE: f64 = 10_000.0;

/// The angle of pair `i` of `half` at position `p`: `p · base^(−i/half)`.
pub fn rotary_angle(p: usize, i: usize, half: usize, base: f64) -> f64 {
    p as f64 * base.powf(-(i as f64) / half as f64)
}

/// The cosines and sines of some positions, `[positions, d/2]` each.
#[derive(Debug, Clone)]
pub struct RotaryTables {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl RotaryTables {
    /// For heads of `dim` numbers: pairs turn by their [`rotary_angle`], computed in `f64`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] for an odd or empty head.
    pub fn new(positions: Range<usize>, dim: usize, base: f64, device: &Device) -> Result<Self> {
        if dim == 0 || !dim.is_multiple_of(2) {
            let expected = "even and at least 2";
            return Err(Error::Length { op: "rotary", argument: "dim", expected, found: dim });
        }
        let (half, shape) = (dim / 2, [positions.len(), dim / 2]);
        let angles: Vec<f64> = positions
            .flat_map(|p| (0..half).map(move |i| rotary_angle(p, i, half, base)))
            .collect();
        let device = device.clone().inner();
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| of(angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32))
        };
        Ok(Self { cos: table(f64::cos), sin: table(f64::sin) })
    }
}

/// Which way pairs turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

/// `x` (`[batch, heads, time, d]`) turned forward by the tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn;

impl Operation<3, 0, 1> for Turn {
    const NAME: &'static str = "rotary";
    const COMPLEX: [bool; 3] = [false; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [x, ..]: [&[usize]; 3]) -> [Vec<usize>; 1] {
        [x.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [x, cos, sin]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [plain_turn::<B>(&x, [cos, sin], Way::Forward)]
    }

    #[cfg(feature = "flex")]
    fn flex(
        &self,
        [x, cos, sin]: [&FlexTensor; 3],
        []: [&FlexTensor; 0],
    ) -> Option<[FlexTensor; 1]> {
        Some([turned(x, [cos, sin], Way::Forward)?])
    }

    fn kept(&self) -> Kept {
        Kept { operands: &[1, 2], results: &[] }
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        Some(TurnVjp.into())
    }
}

/// The gradient of `x` from the tables and that of the result, turned back. Tables have none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TurnVjp;

impl Operation<3, 0, 1> for TurnVjp {
    const NAME: &'static str = "rotary_vjp";
    const COMPLEX: [bool; 3] = [false; 3];

    #[cfg(feature = "fusion")]
    fn shapes(&self, [_, _, g]: [&[usize]; 3]) -> [Vec<usize>; 1] {
        [g.to_vec()]
    }

    fn plain<B: Backend>(
        &self,
        [cos, sin, g]: [FloatTensor<B>; 3],
        []: [IntTensor<B>; 0],
    ) -> [FloatTensor<B>; 1] {
        [plain_turn::<B>(&g, [cos, sin], Way::Back)]
    }

    #[cfg(feature = "flex")]
    fn flex(
        &self,
        [cos, sin, g]: [&FlexTensor; 3],
        []: [&FlexTensor; 0],
    ) -> Option<[FlexTensor; 1]> {
        Some([turned(g, [cos, sin], Way::Back)?])
    }

    fn vjp(&self, _: [&[usize]; 3]) -> Option<Op> {
        None
    }
}

fn plain_turn<B: Backend>(
    x: &FloatTensor<B>,
    tables: [FloatTensor<B>; 2],
    way: Way,
) -> FloatTensor<B> {
    let [_, _, time, dim] = x.shape().dims();
    let half = dim / 2;
    let part = |range: Range<usize>| {
        let mut slices = [Slice::full(); 4];
        slices[3] = range.into();
        B::float_slice(x.clone(), &slices)
    };
    let (low, high) = (part(0..half), part(half..dim));
    let [cos, sin] = tables.map(|table| B::float_reshape(table, [1, 1, time, half].into()));
    let sin = if way == Way::Back { B::float_neg(sin) } else { sin };
    let times = |x: &FloatTensor<B>, table: &FloatTensor<B>| B::float_mul(x.clone(), table.clone());
    let low_turned = B::float_sub(times(&low, &cos), times(&high, &sin));
    let high_turned = B::float_add(times(&high, &cos), times(&low, &sin));
    B::float_cat(vec![low_turned, high_turned], 3)
}

/// Heads read where they lie, in one pass.
#[cfg(feature = "flex")]
fn turned(x: &FlexTensor, [cos, sin]: [&FlexTensor; 2], way: Way) -> Option<FlexTensor> {
    let (cos, sin) = (numbers(cos)?, numbers(sin)?);
    let [_, heads, time, dim] = x.shape().dims();
    let adjacent = x.dtype() == DType::F32 && x.layout().strides()[3] == 1;
    let x = if adjacent { x.clone() } else { numbers(x)? };
    let (strides, start) = (x.layout().strides(), x.layout().start_offset());
    let stored = x.storage::<f32>();
    let mut y = vec![0.0; x.layout().num_elements()];
    y.par_chunks_mut((time * dim).max(1)).enumerate().for_each(|(line, y)| {
        let place = [line / heads, line % heads];
        let begin =
            start as isize + place[0] as isize * strides[0] + place[1] as isize * strides[1];
        for (t, y) in y.chunks_exact_mut(dim).enumerate() {
            let at = (begin + t as isize * strides[2]) as usize;
            let half = t * dim / 2..(t + 1) * dim / 2;
            let (cos, sin) = (&slice(&cos)[half.clone()], &slice(&sin)[half]);
            turned_row(&stored[at..at + dim], cos, sin, way == Way::Back, y);
        }
    });
    Some(tensor(y, x.shape()))
}

/// Heads `x` (`[batch, heads, time, d]`) whose row `t` stands at position `t` of the tables, each pair turned by its
/// angle; differentiable in `x`.
///
/// # Errors
///
/// [`Error::Shape`] when the tables are for other positions or other heads.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use wavecube_burn::{ROTARY_BASE, RotaryTables, rotary};
///
/// let device = Device::flex();
/// let x = Tensor::<4>::from_data([[[[1.0, 0.0], [1.0, 0.0]]]], &device);
/// let tables = RotaryTables::new(0..2, 2, ROTARY_BASE, &device)?;
/// let y = rotary(x, &tables)?.into_data();
/// y.assert_approx_eq::<f32>(&[[[[1.0, 0.0], [0.540_302, 0.841_471]]]].into(), Default::default());
/// # Ok::<(), wavecube_core::Error>(())
/// ```
pub fn rotary(x: Tensor<4>, tables: &RotaryTables) -> Result<Tensor<4>> {
    let [_, _, time, dim] = x.dims();
    let [positions, half] = tables.cos.dims();
    if [positions, 2 * half] != [time, dim] {
        let (expected, found) = (vec![time, dim], vec![positions, 2 * half]);
        return Err(Error::Shape { op: "rotary", argument: "tables", expected, found });
    }
    let [cos, sin] = [&tables.cos, &tables.sin].map(|table| {
        let table = table.clone().cast(x.dtype());
        if x.is_autodiff() { Tensor::from_inner(table) } else { table }
    });
    let operands = [x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch()];
    let [y] = run(Turn, operands, [])?;
    Ok(Tensor::from_dispatch(y))
}
