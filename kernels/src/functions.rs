//! Elementary functions in single precision, whatever a driver makes of its own.
//!
//! Drivers miss by more than a rounding: lavapipe's logarithm near 1 by 7·10⁻⁴ and its arcus tangent by 2·10⁻⁵,
//! SwiftShader's sine by 2·10⁻⁴; SwiftShader's `exp(NaN)` is infinite and its `tanh` beyond 45 is NaN, and `max`, `clamp`
//! and comparisons lose NaN on every Vulkan driver. So kernels take these: polynomials (Moshier's Cephes, single
//! precision) on ranges reduced by exact steps.
//!
//! | | error at most | a NaN gives | ∞, −∞ give |
//! |---|---|---|---|
//! | [`exp()`] | 3·10⁻⁷ of it | NaN | ∞, 0 |
//! | [`ln()`] | 3·10⁻⁷ of it | NaN; so do numbers below 0 | ∞, NaN |
//! | [`tanh()`] and its slope | 4·10⁻⁷ and 8·10⁻⁷ of it | NaN | 1, −1; slope 0 |
//! | [`silu()`] | 8·10⁻⁷ of it | NaN | ∞, 0 |
//! | [`cos_sin()`] | 3·10⁻⁷ | NaN | NaN |
//! | [`angle()`] | 4·10⁻⁷ of it | NaN | those of the limits, ±π/4 and ±3π/4 among them |
//!
//! over all normal numbers; results below the smallest normal number may be 0, and slopes below four times that.

#![allow(missing_docs, reason = "the macro makes public modules of its own beside these functions")]

use cubecl::prelude::*;

use crate::constant;

/// A NaN, made from any number: kernels have no constant for it.
#[cube]
pub fn nan<F: Float>(from: F) -> F {
    F::cast_from(f32::reinterpret(u32::reinterpret(f32::cast_from(from)) | 0x7fc0_0000u32))
}

/// Whether a number is NaN. By its bits: drivers may take for granted that none is.
#[cube]
pub fn is_nan<F: Float>(x: F) -> bool {
    (u32::reinterpret(f32::cast_from(x)) & 0x7fff_ffffu32) > 0x7f80_0000u32
}

/// Whether a number of `f32` or `f64` is infinite.
#[cube]
pub fn is_infinite<F: Float>(x: F) -> bool {
    let size = F::size().comptime();
    x.abs() > constant::<F>(comptime!(if size == 8 { f64::MAX } else { f64::from(f32::MAX) }))
}

/// Whether a number is neither infinite nor NaN.
#[cube]
pub fn is_finite(x: f32) -> bool {
    (u32::reinterpret(x) & 0x7f80_0000u32) != 0x7f80_0000u32
}

/// `2^n`, `n` from −126 to 127.
#[cube]
pub fn power_of_two(n: i32) -> f32 {
    f32::reinterpret(u32::cast_from(n + 127i32) << 23u32)
}

/// `e^x`.
#[cube]
pub fn exp(x: f32) -> f32 {
    // Beyond these it is 0 and infinite. What is no number becomes one here: its whole part would be undefined.
    let low = f32::new(-105.0);
    let bounded = min(max(select(is_nan::<f32>(x), low, x), low), f32::new(89.0));
    let n = (bounded * constant::<f32>(core::f64::consts::LOG2_E)).round();
    // `ln 2` in two parts, of which the first times `n` is exact.
    let r = bounded - n * constant::<f32>(0.693_359_375) + n * constant::<f32>(2.121_944_4e-4);
    let p = constant::<f32>(1.987_569_15e-4) * r + constant::<f32>(1.398_199_950_7e-3);
    let p = p * r + constant::<f32>(8.333_451_907_3e-3);
    let p = p * r + constant::<f32>(4.166_579_589_4e-2);
    let p = p * r + constant::<f32>(1.666_666_545_9e-1);
    let p = p * r + constant::<f32>(5.000_000_120_1e-1);
    let value = (p * r * r + r) + f32::new(1.0);
    // In two steps, so that either is a normal number.
    let whole = i32::cast_from(n);
    let half = whole >> 1i32;
    let value = value * power_of_two(half) * power_of_two(whole - half);
    select(is_nan::<f32>(x), x, value)
}

/// The natural logarithm.
#[cube]
pub fn ln(x: f32) -> f32 {
    let bits = u32::reinterpret(x);
    let exponent = i32::cast_from((bits >> 23u32) & 0xffu32) - 126i32;
    // Between ½ and 1, and then between √½ and √2.
    let m = f32::reinterpret((bits & 0x007f_ffffu32) | 0x3f00_0000u32);
    let below = m < constant::<f32>(core::f64::consts::FRAC_1_SQRT_2);
    let n = f32::cast_from(select(below, exponent - 1i32, exponent));
    let r = select(below, m + m, m) - f32::new(1.0);
    let z = r * r;
    let p = constant::<f32>(7.037_683_629_2e-2) * r - constant::<f32>(1.151_461_031e-1);
    let p = p * r + constant::<f32>(1.167_699_874e-1);
    let p = p * r - constant::<f32>(1.242_014_084_6e-1);
    let p = p * r + constant::<f32>(1.424_932_278_7e-1);
    let p = p * r - constant::<f32>(1.666_805_766_5e-1);
    let p = p * r + constant::<f32>(2.000_071_476_5e-1);
    let p = p * r - constant::<f32>(2.499_999_399_3e-1);
    let p = p * r + constant::<f32>(3.333_333_117_4e-1);
    let tail = p * r * z - n * constant::<f32>(2.121_944_4e-4) - f32::new(0.5) * z;
    let value = (r + tail) + n * constant::<f32>(0.693_359_375);
    // Of zero −∞, made of its bits: there is no constant for it.
    let empty = f32::reinterpret((bits & 0x7f80_0000u32) | 0xff80_0000u32);
    let value = select((bits & 0x7f80_0000u32) == 0u32, empty, value);
    let value = select((bits & 0x7fff_ffffu32) >= 0x7f80_0000u32, x, value);
    let negative = (bits & 0x8000_0000u32) != 0u32 && (bits & 0x7f80_0000u32) != 0u32;
    select(negative || is_nan::<f32>(x), nan::<f32>(x), value)
}

/// The hyperbolic tangent and its slope, `1 − tanh² x`.
#[cube]
pub fn tanh(x: f32) -> (f32, f32) {
    let z = x * x;
    let p = constant::<f32>(2.063_908_879_54e-2) - constant::<f32>(5.704_988_727_45e-3) * z;
    let p = p * z - constant::<f32>(5.373_971_555_31e-2);
    let p = p * z + constant::<f32>(1.333_144_220_36e-1);
    let p = p * z - constant::<f32>(3.333_328_194_22e-1);
    let near = p * z * x + x;
    let one = f32::new(1.0);
    let size = f32::abs(x);
    let e = exp(-(size + size));
    let far = (one - e) / (one + e);
    let far = select(x < f32::new(0.0), -far, far);
    let value = select(size < constant::<f32>(0.625) || is_nan::<f32>(x), near, far);
    (value, f32::new(4.0) * e / ((one + e) * (one + e)))
}

/// `1/(1 + e^{−w})` as the product of two numbers, so that what the first is multiplied by before the second may be as
/// large as the sigmoid is small.
#[cube]
pub fn sigmoid_parts(w: f32) -> (f32, f32) {
    let one = f32::new(1.0);
    let h = exp(-f32::new(0.5) * f32::abs(w));
    let first = select(w < f32::new(0.0), h, one);
    (first, first / (one + h * h))
}

/// `g/(1 + e^{−g})`, and its limit 0 at −∞.
#[cube]
pub fn silu(g: f32) -> f32 {
    let (first, second) = sigmoid_parts(g);
    let value = g * first * second;
    select(g < f32::new(-200.0), f32::new(0.0), value)
}

/// `π/2` in three parts, of which the first times a whole number to 2¹⁶ is exact.
const QUARTER: [f64; 3] = [1.570_312_5, 4.837_512_969_970_703e-4, 7.549_789_948_768_648e-8];
/// Beyond which a reduction by these parts rounds too much.
const FAR: f64 = 8192.0;
/// `1/(2π)` in binary, 32 places each.
const TURN: [u32; 6] =
    [0x28be_60db, 0x9391_054a, 0x7f09_d5f4, 0x7d4d_3770, 0x36d8_a566, 0x4f10_e410];

/// The places of `1/(2π)` from `32 (i − 1)` on; zeros before the first.
#[cube]
fn places(i: u32) -> u32 {
    let mut word = 0u32;
    #[unroll]
    for k in 0..6u32 {
        word = select(i == comptime!(k + 1), comptime!(TURN[k as usize]).runtime(), word);
    }
    word
}

/// The upper half of a product of 64 bits. Of halves: cubecl's takes 64 bits where the adapter has them, which a device
/// need not have been opened with.
#[cube]
fn upper_half(a: u32, b: u32) -> u32 {
    let (a_low, a_high) = (a & 0xffffu32, a >> 16u32);
    let (b_low, b_high) = (b & 0xffffu32, b >> 16u32);
    let first = a_high * b_low + ((a_low * b_low) >> 16u32);
    let second = a_low * b_high + (first & 0xffffu32);
    a_high * b_high + (first >> 16u32) + (second >> 16u32)
}

/// Quarter turns of an angle from [`FAR`] on, and what is left of it (Payne and Hanek 1983): the places of `x/(2π)`
/// from the second before the point on, 64 of them.
#[cube]
fn reduced(x: f32) -> (i32, f32) {
    let bits = u32::reinterpret(x);
    let mantissa = ((bits & 0x007f_ffffu32) | 0x0080_0000u32) << 8u32;
    let exponent = ((bits >> 23u32) & 0xffu32) - 126u32;
    let (i, e) = (exponent >> 5u32, exponent & 31u32);
    // A shift by 32 places is none: those of the next word are taken in two steps.
    let back = 31u32 - e;
    let (a, b) = (places(i), places(i + 1u32));
    let (c, d) = (places(i + 2u32), places(i + 3u32));
    let high = (a << e) | ((b >> 1u32) >> back);
    let middle = (b << e) | ((c >> 1u32) >> back);
    let low = (c << e) | ((d >> 1u32) >> back);
    let carried = upper_half(mantissa, low);
    let last = mantissa * middle + carried;
    let carry = u32::cast_from(last < carried);
    let first = mantissa * high + upper_half(mantissa, middle) + carry;
    // To the nearest quarter: the third place counts as a sign for the rest.
    let quarter = i32::cast_from((first >> 30u32) + ((first >> 29u32) & 1u32));
    let rest = i32::reinterpret(first << 2u32) >> 2i32;
    let part = f32::cast_from(rest) * constant::<f32>(9.313_225_746_154_785e-10)
        + f32::cast_from(last) * constant::<f32>(2.168_404_344_971_009e-19);
    let part = part * constant::<f32>(core::f64::consts::FRAC_PI_2);
    let back = x < f32::new(0.0);
    (select(back, -quarter, quarter), select(back, -part, part))
}

/// `(cos x, sin x)`, of any size.
#[cube]
pub fn cos_sin(x: f32) -> (f32, f32) {
    let finite = is_finite(x);
    let bounded = select(finite, x, f32::new(0.0));
    let near = f32::abs(bounded) < constant::<f32>(FAR);
    let close = select(near, bounded, f32::new(0.0));
    let turns = (close * constant::<f32>(core::f64::consts::FRAC_2_PI)).round();
    let [high, middle, low] = comptime!(QUARTER);
    let r = close - turns * constant::<f32>(high) - turns * constant::<f32>(middle);
    let mut r = r - turns * constant::<f32>(low);
    let mut quarter = i32::cast_from(turns);
    if !near {
        let (turns, rest) = reduced(bounded);
        quarter = turns;
        r = rest;
    }
    let z = r * r;
    let sin = constant::<f32>(8.332_160_873_6e-3) - z * constant::<f32>(1.951_529_589_1e-4);
    let sin = r + r * z * (z * sin - constant::<f32>(1.666_665_461_1e-1));
    let cos =
        constant::<f32>(1.388_731_625_493_765e-3) - z * constant::<f32>(2.443_315_711_809_948e-5);
    let cos = constant::<f32>(4.166_664_568_298_827e-2) - z * cos;
    let cos = f32::new(1.0) - f32::new(0.5) * z + z * z * cos;
    // Quarter turns: swapped where odd, cosine negative in the second and third, sine in the last two.
    let quarter = quarter & 3i32;
    let odd = (quarter & 1i32) == 1i32;
    let across = select(odd, sin, cos);
    let up = select(odd, cos, sin);
    let across = select(quarter == 1i32 || quarter == 2i32, -across, across);
    let up = select(quarter >= 2i32, -up, up);
    (select(finite, across, nan::<f32>(x)), select(finite, up, nan::<f32>(x)))
}

/// What keeps the quotients by a number within the range in which drivers divide well: their inverse of 2¹²⁷ is 0.
#[cube]
pub fn dividing_power<F: Float>(largest: F) -> F {
    let size = F::size().comptime();
    let [large, small] =
        comptime!([100, -100].map(|n| 2f64.powi(if size == 8 { 10 * n } else { n })));
    let [down, up] = comptime!([-20, 20].map(|n| 2f64.powi(n)));
    select(
        largest > constant::<F>(large),
        constant::<F>(down),
        select(largest < constant::<F>(small), constant::<F>(up), F::new(1.0)),
    )
}

/// The angle of `(x, y)` from the positive axis, in `(−π, π]`; 0 at the origin.
#[cube]
pub fn angle(x: f32, y: f32) -> f32 {
    let (zero, one) = (f32::new(0.0), f32::new(1.0));
    let across = f32::abs(x);
    let up = f32::abs(y);
    let long = max(across, up);
    let power = dividing_power::<f32>(long);
    let there = long > zero;
    let short = min(across, up) * power / select(there, long * power, one);
    // Both may be infinite.
    let ratio = select(across == up, select(there, one, zero), short);
    // Beyond an eighth of a turn's tangent, from the diagonal.
    let steep = ratio > constant::<f32>(0.414_213_562_373_095);
    let t = select(steep, (ratio - one) / (ratio + one), ratio);
    let z = t * t;
    let p = constant::<f32>(8.053_744_494_49e-2) * z - constant::<f32>(1.387_768_560_32e-1);
    let p = p * z + constant::<f32>(1.997_771_064_78e-1);
    let p = p * z - constant::<f32>(3.333_294_915_39e-1);
    let start = select(steep, constant::<f32>(core::f64::consts::FRAC_PI_4), zero);
    let arc = start + (p * z * t + t);
    let arc = select(up > across, constant::<f32>(core::f64::consts::FRAC_PI_2) - arc, arc);
    let arc = select(x < zero, constant::<f32>(core::f64::consts::PI) - arc, arc);
    let arc = select(y < zero, -arc, arc);
    select(is_nan::<f32>(x) || is_nan::<f32>(y), nan::<f32>(x), arc)
}
