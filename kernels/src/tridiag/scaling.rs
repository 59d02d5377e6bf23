//! Device code of scales: exponents of two, numbers whose exponent lies apart, and the exponents that make the elements
//! of an operator alike.
//!
//! Rows and columns of a tridiagonal operator may be multiplied by powers of two: where element `k` of the diagonal is
//! divided by `2^(e_k)` and the product `p_k` by `2^(e_k + e_{k+1})`, the ratios `L_k` and `R_k` are divided by `2^(e_k)`,
//! and nothing is rounded. The exponents are chosen so that no scaled element is much larger than 1 and of every row one
//! is about 1. Each follows from the elements around it alone, so that neighbouring chunks agree on it.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::scan::{Complex, choose, complex, real, scale, size, times};

/// The exponent of 0: below any other, and sums of it with those of numbers are far from the ends of an integer.
pub(super) const NOTHING: i32 = -100_000;
#[cube]
pub(super) fn is_double<F: Float>() -> comptime_type!(bool) {
    let kind = elem_type_of::<F>();
    comptime!(kind.size() == 8)
}

/// `⌊log₂ x⌋` for `x ≥ 0`, or [`NOTHING`]; for what is not finite more than of any number.
#[cube]
pub(super) fn exponent_of<F: Float>(x: F) -> i32 {
    let double = is_double::<F>();
    if comptime!(double) {
        let biased = i32::cast_from(u64::reinterpret(x) >> 52u64);
        select(biased == 0, comptime!(NOTHING), biased - 1023)
    } else {
        let biased = i32::cast_from(u32::reinterpret(f32::cast_from(x)) >> 23u32);
        select(biased == 0, comptime!(NOTHING), biased - 127)
    }
}

/// `2^e`, or the nearest power of two that is a normal number.
#[cube]
pub(super) fn power<F: Float>(e: i32) -> F {
    let double = is_double::<F>();
    if comptime!(double) {
        let biased = u64::cast_from(max(min(e, 1023), -1022) + 1023);
        F::reinterpret(biased << 52u64)
    } else {
        let biased = u32::cast_from(max(min(e, 127), -126) + 127);
        F::cast_from(f32::reinterpret(biased << 23u32))
    }
}

/// `⌊x/2⌋`, also below 0.
#[cube]
fn half(x: i32) -> i32 {
    x >> 1i32
}

/// `x · 2^e`, where a power of its own need not be a number.
#[cube]
pub(super) fn raised<F: Float>(x: Complex<F>, e: i32) -> Complex<F> {
    let first = half(e);
    scale::<F>(scale::<F>(x, power::<F>(first)), power::<F>(e - first))
}

/// A number times a power of two: products of elements are beyond the range of their type where those are not.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(super) struct Wide<F: Float> {
    pub(super) number: Complex<F>,
    pub(super) exponent: i32,
}

/// With the number between 1 and 2 in size.
#[cube]
pub(super) fn wide<F: Float>(x: Complex<F>) -> Wide<F> {
    // Up to the exponent whose negative is one of a normal number.
    let double = is_double::<F>();
    let most = comptime!(if double { 1022i32 } else { 126i32 });
    let exponent = min(exponent_of::<F>(size::<F>(x)), most);
    Wide::<F> { number: scale::<F>(x, power::<F>(-exponent)), exponent }
}

#[cube]
pub(super) fn wide_product<F: Float>(
    x: Complex<F>,
    y: Complex<F>,
    #[comptime] is_complex: bool,
) -> Wide<F> {
    let (x, y) = (wide::<F>(x), wide::<F>(y));
    Wide::<F> {
        number: times::<F>(x.number, y.number, is_complex),
        exponent: x.exponent + y.exponent,
    }
}

/// `x`, or 0.
#[cube]
pub(super) fn where_wide<F: Float>(condition: bool, x: Wide<F>) -> Wide<F> {
    Wide::<F> {
        number: choose::<F>(condition, x.number, real::<F>(0.0f32)),
        exponent: select(condition, x.exponent, comptime!(NOTHING)),
    }
}

/// `x · 2^(−e)`, which is not large.
#[cube]
pub(super) fn settled<F: Float>(x: Wide<F>, e: i32) -> Complex<F> {
    let double = is_double::<F>();
    let least = comptime!(if double { -1022i32 } else { -126i32 });
    let shift = x.exponent - e;
    let s = select(shift < least, F::new(0.0), power::<F>(shift));
    complex::<F>(x.number.re * s, x.number.im * s)
}

/// What the product of two elements asks of the exponent of one of them, `own`, where the other's is `other`: those of both
/// together are at least the product's. The smaller of the two is raised first, up to the larger, then both alike, so that
/// an element of the diagonal that vanishes does not move its neighbours.
#[cube]
fn share(product: i32, own: i32, other: i32) -> i32 {
    let even = half(product);
    select(own > other, even, min(even, product - other))
}

/// The exponent `e_k` of an element of the diagonal from its own, that of those before and after it, and those of the
/// products on its left and on its right.
#[cube]
pub(super) fn node_exponent<F: Float>(
    left: i32,
    right: i32,
    before: i32,
    own: i32,
    after: i32,
) -> i32 {
    let double = is_double::<F>();
    let most = comptime!(if double { 1000i32 } else { 120i32 });
    let asked = max(share(left, own, before), share(right, own, after));
    max(min(max(own, asked), most), -most)
}
