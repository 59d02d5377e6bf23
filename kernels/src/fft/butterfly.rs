//! Butterflies: small DFTs on complex values held in registers.

use core::f64::consts::TAU;

use cubecl::prelude::*;

use crate::constant;

/// What butterflies take as a real number: one number, or a vector of them for as many butterflies at once.
pub(crate) trait Real:
    CubeAdd + CubeSub + CubeMul + CubeNeg + CubePrimitive<Scalar: Float>
{
}

impl<T: CubeAdd + CubeSub + CubeMul + CubeNeg + CubePrimitive<Scalar: Float>> Real for T {}

/// `value` in full precision, in every element of a vector.
#[cube]
fn everywhere<T: Real>(#[comptime] value: f64) -> T {
    T::cast_from(constant::<T::Scalar>(value))
}

/// Complex values in registers. Every index is known at compile time, and setting a value gives a
/// new one its name: no memory for the compiler to see through, which takes it time that grows with
/// the square of a kernel's length. So a value set in a branch is not to be read behind it.
#[derive(CubeType)]
pub(crate) struct Registers<T: Real> {
    pub(crate) re: Sequence<T>,
    pub(crate) im: Sequence<T>,
}

#[cube]
impl<T: Real> Registers<T> {
    pub(crate) fn new(#[comptime] len: usize) -> Registers<T> {
        let mut re = Sequence::<T>::new();
        let mut im = Sequence::<T>::new();
        #[unroll]
        for i in 0..len {
            re.insert(i, everywhere::<T>(0.0));
            im.insert(i, everywhere::<T>(0.0));
        }
        Registers::<T> { re, im }
    }

    pub(crate) fn set(&mut self, #[comptime] i: usize, re: T, im: T) {
        self.re.insert(i, re);
        self.im.insert(i, im);
    }

    /// Adds to value `i`.
    pub(crate) fn add(&mut self, #[comptime] i: usize, re: T, im: T) {
        let x = self.re[i];
        let y = self.im[i];
        self.set(i, x + re, y + im);
    }

    /// Multiplies value `i` by `re + i·im`.
    pub(crate) fn multiply(&mut self, #[comptime] i: usize, re: T, im: T) {
        let x = self.re[i];
        let y = self.im[i];
        self.set(i, x * re - y * im, x * im + y * re);
    }

    /// Sets value `i`, the power `i` of a number whose lower powers are there, no power of two.
    pub(crate) fn product(&mut self, #[comptime] i: usize) {
        let top = comptime!(1usize << (usize::BITS - 1 - i.leading_zeros()));
        let rest = comptime!(i - top);
        self.set(i, self.re[top], self.im[top]);
        self.multiply(i, self.re[rest], self.im[rest]);
    }

    /// Multiplies value `i` by `e^{∓2πi·numerator/denominator}`, minus for a forward transform.
    pub(crate) fn rotate(
        &mut self,
        #[comptime] i: usize,
        #[comptime] numerator: usize,
        #[comptime] denominator: usize,
        #[comptime] inverse: bool,
    ) {
        let eighth = comptime!((8 * numerator) % (8 * denominator));
        let x = self.re[i];
        let y = self.im[i];
        if comptime!(eighth == 0) {
            // The factor is 1.
        } else if comptime!(eighth == 4 * denominator) {
            self.set(i, -x, -y);
        } else if comptime!(eighth == 2 * denominator) {
            if comptime!(inverse) {
                self.set(i, -y, x);
            } else {
                self.set(i, y, -x);
            }
        } else if comptime!(eighth == 6 * denominator) {
            if comptime!(inverse) {
                self.set(i, y, -x);
            } else {
                self.set(i, -y, x);
            }
        } else if comptime!(eighth == denominator) {
            let half = everywhere::<T>(core::f64::consts::FRAC_1_SQRT_2);
            if comptime!(inverse) {
                self.set(i, (x - y) * half, (x + y) * half);
            } else {
                self.set(i, (x + y) * half, (y - x) * half);
            }
        } else if comptime!(eighth == 3 * denominator) {
            let half = everywhere::<T>(core::f64::consts::FRAC_1_SQRT_2);
            if comptime!(inverse) {
                self.set(i, -(x + y) * half, (x - y) * half);
            } else {
                self.set(i, (y - x) * half, -(x + y) * half);
            }
        } else {
            let angle = comptime!(TAU * numerator as f64 / denominator as f64);
            let sign = comptime!(if inverse { 1.0 } else { -1.0 });
            let cos = everywhere::<T>(comptime!(angle.cos()));
            let sin = everywhere::<T>(comptime!(sign * angle.sin()));
            self.multiply(i, cos, sin);
        }
    }
}

/// How a composite radix splits, `radix = columns · rows`; the radices done at once have one column.
const fn split(radix: usize) -> (usize, usize) {
    match radix {
        6 | 10 | 14 => (2, radix / 2),
        8 => (2, 4),
        9 | 15 => (3, radix / 3),
        12 | 16 => (4, radix / 4),
        _ => (1, radix),
    }
}

/// The register, relative to the butterfly's first, in which [`butterfly`] leaves output `k`.
pub(crate) const fn slot(radix: usize, k: usize) -> usize {
    let (columns, rows) = split(radix);
    columns * (k % rows) + k / rows
}

/// A DFT of `radix` values, in place, from register `first` on with step `step`.
///
/// Output `k` is left in register `first + step · slot(radix, k)`. A composite radix is a column
/// step, a rotation by the inner twiddles and a row step, all on registers.
#[cube]
pub(crate) fn butterfly<T: Real>(
    x: &mut Registers<T>,
    #[comptime] first: usize,
    #[comptime] step: usize,
    #[comptime] radix: usize,
    #[comptime] inverse: bool,
) {
    let (columns, rows) = comptime!(split(radix));
    if comptime!(columns > 1) {
        #[unroll]
        for column in 0..columns {
            let base = comptime!(first + step * column);
            dft::<T>(x, base, comptime!(step * columns), rows, inverse);
            #[unroll]
            for k in 1..rows {
                let i = comptime!(base + step * columns * k);
                x.rotate(i, comptime!(column * k), radix, inverse);
            }
        }
        #[unroll]
        for k in 0..rows {
            dft::<T>(x, comptime!(first + step * columns * k), step, columns, inverse);
        }
    } else {
        dft::<T>(x, first, step, radix, inverse);
    }
}

/// A DFT of 2, 4 or an odd number of values, in place and in natural order.
#[cube]
fn dft<T: Real>(
    x: &mut Registers<T>,
    #[comptime] first: usize,
    #[comptime] step: usize,
    #[comptime] radix: usize,
    #[comptime] inverse: bool,
) {
    if comptime!(radix == 2) {
        dft2::<T>(x, first, comptime!(first + step));
    } else if comptime!(radix == 4) {
        let (i0, i1) = comptime!((first, first + step));
        let (i2, i3) = comptime!((first + 2 * step, first + 3 * step));
        dft2::<T>(x, i0, i2);
        dft2::<T>(x, i1, i3);
        x.rotate(i3, 1usize, 4usize, inverse);
        dft2::<T>(x, i0, i1);
        dft2::<T>(x, i2, i3);
        // The two outer results are in place, the two inner ones have to change places.
        let re = x.re[i1];
        let im = x.im[i1];
        x.set(i1, x.re[i2], x.im[i2]);
        x.set(i2, re, im);
    } else {
        dft_odd::<T>(x, first, step, radix, inverse);
    }
}

#[cube]
fn dft2<T: Real>(x: &mut Registers<T>, #[comptime] i: usize, #[comptime] j: usize) {
    let re = x.re[i];
    let im = x.im[i];
    let other_re = x.re[j];
    let other_im = x.im[j];
    x.set(i, re + other_re, im + other_im);
    x.set(j, re - other_re, im - other_im);
}

/// Odd radix `p`: with the sums `x_m + x_{p−m}` and differences `x_m − x_{p−m}`, outputs `k` and
/// `p−k` share their products, (p−1)²/2 real pairs in all.
#[cube]
fn dft_odd<T: Real>(
    x: &mut Registers<T>,
    #[comptime] first: usize,
    #[comptime] step: usize,
    #[comptime] p: usize,
    #[comptime] inverse: bool,
) {
    let half = comptime!((p - 1) / 2);
    let sign = comptime!(if inverse { 1.0 } else { -1.0 });
    let re = x.re[first];
    let im = x.im[first];
    let mut out = Registers::<T>::new(p);
    out.set(0usize, re, im);
    #[unroll]
    for m in 1..=half {
        let (i, j) = comptime!((first + step * m, first + step * (p - m)));
        dft2::<T>(x, i, j);
        out.add(0usize, x.re[i], x.im[i]);
    }
    #[unroll]
    for k in 1..=half {
        let mut even = Registers::<T>::new(1usize);
        let mut odd = Registers::<T>::new(1usize);
        even.set(0usize, re, im);
        #[unroll]
        for m in 1..=half {
            let (i, j) = comptime!((first + step * m, first + step * (p - m)));
            let angle = comptime!(TAU * ((k * m) % p) as f64 / p as f64);
            let cos = everywhere::<T>(comptime!(angle.cos()));
            let sin = everywhere::<T>(comptime!(sign * angle.sin()));
            even.add(0usize, x.re[i] * cos, x.im[i] * cos);
            odd.add(0usize, x.re[j] * sin, x.im[j] * sin);
        }
        // even + i·odd and even − i·odd.
        let (even_re, even_im) = (even.re[0usize], even.im[0usize]);
        let (odd_re, odd_im) = (odd.re[0usize], odd.im[0usize]);
        out.set(k, even_re - odd_im, even_im + odd_re);
        out.set(comptime!(p - k), even_re + odd_im, even_im - odd_re);
    }
    #[unroll]
    for k in 0..p {
        x.set(comptime!(first + step * k), out.re[k], out.im[k]);
    }
}
