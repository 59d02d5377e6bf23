//! Sine, cosine and arcus tangent in single precision, whatever a driver makes of its own.

use cubecl::prelude::*;

use crate::constant;

/// `π/2` in three parts, of which the first times a whole number to 2¹⁶ is exact.
const QUARTER: [f64; 3] = [1.570_312_5, 4.837_512_969_970_703e-4, 7.549_789_948_768_648e-8];

/// `(cos x, sin x)`.
#[cube]
pub(super) fn cos_sin<F: Float>(x: F) -> (F, F) {
    let turns = (x * constant::<F>(core::f64::consts::FRAC_2_PI)).round();
    let [high, middle, low] = comptime!(QUARTER);
    let r = x - turns * constant::<F>(high) - turns * constant::<F>(middle);
    let r = r - turns * constant::<F>(low);
    let z = r * r;
    let sin = constant::<F>(8.332_160_873_6e-3) - z * constant::<F>(1.951_529_589_1e-4);
    let sin = r + r * z * (z * sin - constant::<F>(1.666_665_461_1e-1));
    let cos = constant::<F>(1.388_731_625_493_765e-3) - z * constant::<F>(2.443_315_711_809_948e-5);
    let cos = constant::<F>(4.166_664_568_298_827e-2) - z * cos;
    let cos = F::new(1.0) - constant::<F>(0.5) * z + z * z * cos;
    // Quarter turns: swapped where odd, cosine negative in the second and third, sine in the last two.
    let quarter = i32::cast_from(turns) & 3i32;
    let odd = (quarter & 1i32) == 1i32;
    let x = select(odd, sin, cos);
    let y = select(odd, cos, sin);
    (select(quarter == 1i32 || quarter == 2i32, -x, x), select(quarter >= 2i32, -y, y))
}

/// The angle of `(x, y)` from the positive axis, in `(−π, π]`; 0 at the origin.
#[cube]
pub(super) fn angle<F: Float>(x: F, y: F) -> F {
    let zero = F::new(0.0);
    let one = F::new(1.0);
    let across = x.abs();
    let up = y.abs();
    let long = max(across, up);
    let short = min(across, up);
    let ratio = select(long > zero, short / select(long > zero, long, one), zero);
    // Beyond an eighth of a turn's tangent, from the diagonal.
    let steep = ratio > constant::<F>(0.414_213_562_373_095);
    let t = select(steep, (ratio - one) / (ratio + one), ratio);
    let z = t * t;
    let p = constant::<F>(8.053_744_494_49e-2) * z - constant::<F>(1.387_768_560_32e-1);
    let p = p * z + constant::<F>(1.997_771_064_78e-1);
    let p = p * z - constant::<F>(3.333_294_915_39e-1);
    let start = select(steep, constant::<F>(core::f64::consts::FRAC_PI_4), zero);
    let arc = start + (p * z * t + t);
    let arc = select(up > across, constant::<F>(core::f64::consts::FRAC_PI_2) - arc, arc);
    let arc = select(x < zero, constant::<F>(core::f64::consts::PI) - arc, arc);
    select(y < zero, -arc, arc)
}
