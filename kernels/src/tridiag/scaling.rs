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

/// What is added to an exponent where it lies in a number.
#[cube]
fn bias<F: Float>() -> comptime_type!(i32) {
    let double = is_double::<F>();
    comptime!(if double { 1023 } else { 127 })
}

/// The exponent of `x ≥ 0` as it lies in the number: 0 of 0, the largest of what is not finite.
#[cube]
fn biased_exponent<F: Float>(x: F) -> i32 {
    let double = is_double::<F>();
    if comptime!(double) {
        i32::cast_from(u64::reinterpret(x) >> 52u64)
    } else {
        i32::cast_from(u32::reinterpret(f32::cast_from(x)) >> 23u32)
    }
}

/// The power of two whose exponent, as it lies in the number, is `biased`: 0 for 0.
#[cube]
fn biased_power<F: Float>(biased: i32) -> F {
    let double = is_double::<F>();
    if comptime!(double) {
        F::reinterpret(u64::cast_from(biased) << 52u64)
    } else {
        F::cast_from(f32::reinterpret(u32::cast_from(biased) << 23u32))
    }
}

/// `⌊log₂ x⌋` for `x ≥ 0`, or [`NOTHING`]; for what is not finite more than of any number.
#[cube]
pub(super) fn exponent_of<F: Float>(x: F) -> i32 {
    let bias = bias::<F>();
    let biased = biased_exponent::<F>(x);
    select(biased == 0, comptime!(NOTHING), biased - bias)
}

/// `2^e`, or the nearest power of two that is a normal number.
#[cube]
pub(super) fn power<F: Float>(e: i32) -> F {
    let bias = bias::<F>();
    biased_power::<F>(max(min(e, bias), 1 - bias) + bias)
}

/// `2^e`, which is a normal number.
#[cube]
pub(super) fn normal_power<F: Float>(e: i32) -> F {
    let bias = bias::<F>();
    biased_power::<F>(e + bias)
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
    let bias = bias::<F>();
    // Up to the exponent whose negative is one of a normal number.
    let biased = min(biased_exponent::<F>(size::<F>(x)), comptime!(2 * bias - 1));
    let number = scale::<F>(x, biased_power::<F>(2 * bias - biased));
    Wide::<F> { number, exponent: select(biased == 0, comptime!(NOTHING), biased - bias) }
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
    let bias = bias::<F>();
    // What is below the normal numbers is 0.
    let s = biased_power::<F>(max(x.exponent - e + bias, 0));
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
