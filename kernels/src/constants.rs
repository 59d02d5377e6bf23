//! Constants in full precision.

use cubecl::{ir::ConstantValue, prelude::*};

/// `value` as a constant of the kernel's type. `Float::new` would take it through `f32`.
#[cube]
#[allow(unused_variables, reason = "the body is an expansion")]
pub(crate) fn constant<F: Float>(#[comptime] value: f64) -> F {
    intrinsic!(|scope| { F::elem_type(scope).constant(ConstantValue::Float(value)).into() })
}
