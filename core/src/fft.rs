//! The discrete Fourier transform on the host: conventions, factorisation, tables.
//!
//! Forward: `X[k] = s · Σ_n x[n] e^{−2πi nk/N}`; inverse: `x[n] = s' · Σ_k X[k] e^{+2πi nk/N}`.
//! The scales `s`, `s'` are those of [`Normalization`].

use num_complex::Complex64;

/// Where the factor `1/N` of a transform pair goes, with NumPy's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Normalization {
    /// Forward unscaled, inverse scaled by `1/N`.
    #[default]
    Backward,
    /// Both scaled by `1/√N`: the transform is unitary.
    Ortho,
    /// Forward scaled by `1/N`, inverse unscaled.
    Forward,
}

/// The sign of the exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `e^{−2πi nk/N}`.
    Forward,
    /// `e^{+2πi nk/N}`.
    Inverse,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Forward => Self::Inverse,
            Self::Inverse => Self::Forward,
        }
    }
}

impl Normalization {
    /// The factor that a transform of length `n` in `direction` carries.
    pub fn scale(self, direction: Direction, n: usize) -> f64 {
        match (self, direction) {
            (Self::Backward, Direction::Forward) | (Self::Forward, Direction::Inverse) => 1.0,
            (Self::Backward, Direction::Inverse) | (Self::Forward, Direction::Forward) => {
                1.0 / n as f64
            }
            (Self::Ortho, _) => 1.0 / (n as f64).sqrt(),
        }
    }

    /// The normalisation under which the reversed transform is the adjoint of this one.
    ///
    /// `F` scaled by `s` has the adjoint `s · Fᴴ`, and the reversed transform carries `s` itself
    /// under the mirrored name.
    #[must_use]
    pub const fn adjoint(self) -> Self {
        match self {
            Self::Backward => Self::Forward,
            Self::Ortho => Self::Ortho,
            Self::Forward => Self::Backward,
        }
    }
}

/// `e^{−2πi·numerator/denominator}`, correct to the last bit or two: the argument is reduced to one
/// octant in integers before any rounding.
pub fn root_of_unity(numerator: u64, denominator: u64) -> Complex64 {
    let n = u128::from(numerator % denominator);
    let d = u128::from(denominator);
    // The turn n/d as `octant + rest`, with the rest mirrored into [0, 1/8].
    let octant = (8 * n / d) as u8;
    let rest = 8 * n - u128::from(octant) * d;
    let mirrored = if octant % 2 == 1 { d - rest } else { rest };
    let angle = core::f64::consts::FRAC_PI_4 * (mirrored as f64 / d as f64);
    let (sin, cos) = angle.sin_cos();
    let (re, im) = match octant {
        0 => (cos, sin),
        1 => (sin, cos),
        2 => (-sin, cos),
        3 => (-cos, sin),
        4 => (-cos, -sin),
        5 => (-sin, -cos),
        6 => (sin, -cos),
        _ => (cos, -sin),
    };
    Complex64::new(re, -im)
}

/// `e^{−2πi·j/n}` for `j = 0 … n−1`.
pub fn twiddles(n: usize) -> Vec<Complex64> {
    (0..n).map(|j| root_of_unity(j as u64, n as u64)).collect()
}

/// The largest prime that kernels have a butterfly for.
const LARGEST_PRIME: usize = 13;

/// `n` as a product of few radices, or `None` if a prime factor above 13 remains. A radix is a prime or
/// no larger than `largest`, which is 2 at least. Of all such products with the fewest radices it is the one
/// with the smallest sum, so that none is much smaller than it must be; larger radices come first.
///
/// ```
/// use wavecube_core::fft::factorize;
/// assert_eq!(factorize(4096, 16), Some(vec![16, 16, 16]));
/// assert_eq!(factorize(96, 16), Some(vec![12, 8]));
/// assert_eq!(factorize(243, 16), Some(vec![9, 9, 3]));
/// assert_eq!(factorize(1, 16), Some(vec![]));
/// assert_eq!(factorize(17, 16), None);
/// ```
pub fn factorize(n: usize, largest: usize) -> Option<Vec<usize>> {
    if n == 0 {
        return None;
    }
    let radices: Vec<usize> = (2..=largest.max(LARGEST_PRIME))
        .rev()
        .filter(|&r| if is_prime(r) { r <= LARGEST_PRIME } else { r <= largest })
        .filter(|&r| n.is_multiple_of(r))
        .collect();
    (0..=n.ilog2() as usize).find_map(|count| product(n, &radices, count))
}

/// `n` as a product of `count` of the `radices`, which fall, with the smallest sum.
fn product(n: usize, radices: &[usize], count: usize) -> Option<Vec<usize>> {
    if n == 1 && count == 0 {
        return Some(Vec::new());
    }
    let largest = *radices.first()?;
    if count == 0 || largest.checked_pow(count as u32).is_some_and(|most| most < n) {
        return None;
    }
    let with = || {
        let rest = product(n.is_multiple_of(largest).then(|| n / largest)?, radices, count - 1)?;
        Some([&[largest], &rest[..]].concat())
    };
    let without = product(n, &radices[1..], count);
    [with(), without].into_iter().flatten().min_by_key(|found| found.iter().sum::<usize>())
}

/// Whether `n` has no divisors but 1 and itself.
pub fn is_prime(n: usize) -> bool {
    n > 1 && (2..=n.isqrt()).all(|d| !n.is_multiple_of(d))
}

/// The smallest of the lengths `2^k` and `3·2^k` that is at least `n` and at least 4: the length to
/// which a convolution is padded. Never more than 3/2 of `n` and few enough to keep the number of
/// distinct kernels small.
pub fn padded_len(n: usize) -> usize {
    let two = n.max(4).next_power_of_two();
    let three = two / 4 * 3;
    if three >= n { three } else { two }
}

/// The order in which Rader's algorithm takes the points of a transform of prime length `n`: entry `i` is
/// the number `g^i` modulo `n`, with `g` a primitive root. Exact in f32 to `n = 2²⁴`.
pub fn rader_powers(n: usize) -> Vec<Complex64> {
    powers_of_root(n).into_iter().map(|power| Complex64::new(power as f64, 0.0)).collect()
}

/// The spectrum, of length `n − 1`, of the sequence with which Rader's algorithm correlates: the root
/// `e^{∓2πi/n}` to the powers `g^i`. Divided by `n − 1`, as what has gone there and back has to be, save entry 0, which is
/// −1 for a signal whose mean comes instead of its sum.
pub fn rader_filter(n: usize, direction: Direction) -> Vec<Complex64> {
    let root = |power: usize| {
        let w = root_of_unity(power as u64, n as u64);
        if direction == Direction::Forward { w } else { w.conj() }
    };
    let mut kernel: Vec<Complex64> = powers_of_root(n).into_iter().map(root).collect();
    host_fft(&mut kernel, Direction::Forward);
    let share = ((n - 1) as f64).recip();
    for value in &mut kernel {
        *value *= share;
    }
    if let Some(sum) = kernel.first_mut() {
        *sum = -Complex64::ONE;
    }
    kernel
}

/// The smallest number whose powers are all of `1 … n−1` modulo the prime `n`.
pub fn primitive_root(n: usize) -> usize {
    (1..n).find(|&g| powers(g, n).count() + 1 == n).unwrap_or(1)
}

fn powers_of_root(n: usize) -> Vec<usize> {
    powers(primitive_root(n), n).collect()
}

/// The powers `1, g, g² …` modulo `n` until they repeat.
fn powers(g: usize, n: usize) -> impl Iterator<Item = usize> {
    let next = move |power: &usize| Some(power * g % n).filter(|&power| power != 1);
    core::iter::successors(Some(1), next)
}

/// The chirp `e^{∓πi j²/n}` of Bluestein's algorithm for `j < n`, minus for a forward transform,
/// with `j²` reduced modulo `2n` in integers.
pub fn bluestein_chirp(n: usize, direction: Direction) -> Vec<Complex64> {
    let period = 2 * n as u64;
    (0..n as u64)
        .map(|j| {
            let w = root_of_unity(j * j % period, period);
            if direction == Direction::Forward { w } else { w.conj() }
        })
        .collect()
}

/// The largest of the lengths `2^k` and `3·2^k` that is below the `2n − 1` distances of Bluestein's
/// convolution, where few distances do not fit: its half lacks no more than a 32nd of `n`.
pub fn wrapped_len(n: usize) -> Option<usize> {
    let two = (2 * n).checked_sub(2)?.checked_ilog2().map(|bits| 1 << bits)?;
    let three = two / 2 * 3;
    let wrapped = if three <= 2 * n - 2 { three } else { two };
    let half = wrapped / 2;
    ((n - half) * 32 <= half).then_some(wrapped)
}

/// The spectrum, of length `padded`, of the kernel with which Bluestein's algorithm convolves: the
/// conjugate of its chirp at distances `−n < j < n`. Of two distances that fall onto the same place of
/// a [wrapped](wrapped_len) convolution it has the shorter one. Divided by `padded`, as what has gone there and back has
/// to be.
pub fn bluestein_filter(n: usize, padded: usize, direction: Direction) -> Vec<Complex64> {
    let mut kernel = vec![Complex64::new(0.0, 0.0); padded];
    let chirp = bluestein_chirp(n, direction).into_iter().take(padded / 2 + 1);
    for (j, w) in chirp.enumerate() {
        kernel[j] = w.conj();
        if j > 0 {
            kernel[padded - j] = w.conj();
        }
    }
    host_fft(&mut kernel, Direction::Forward);
    for value in &mut kernel {
        *value /= padded as f64;
    }
    kernel
}

/// What a [wrapped](wrapped_len) convolution lacks at the distances `padded/2 ≤ j < n`: the kernel there less that at
/// the distance whose place it shares, `padded − j`.
pub fn bluestein_wrap(n: usize, padded: usize, direction: Direction) -> Vec<Complex64> {
    let chirp = bluestein_chirp(n, direction);
    (padded / 2..n).map(|j| (chirp[j] - chirp[padded - j]).conj()).collect()
}

/// An unscaled transform on the host, in place, for tables.
pub fn host_fft(x: &mut [Complex64], direction: Direction) {
    let mut planner = rustfft::FftPlanner::new();
    match direction {
        Direction::Forward => planner.plan_fft_forward(x.len()).process(x),
        Direction::Inverse => planner.plan_fft_inverse(x.len()).process(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_match_the_library_to_the_last_bits() {
        for d in [1u64, 2, 3, 7, 8, 16, 60, 97, 4096, 10007, 1 << 20] {
            for n in (0..d).step_by((d as usize / 50).max(1)) {
                let exact =
                    Complex64::from_polar(1.0, -core::f64::consts::TAU * n as f64 / d as f64);
                // `from_polar` itself rounds an angle of up to 2π: 2π·2⁻⁵³ plus its own last bit.
                assert!((root_of_unity(n, d) - exact).norm() < 1.2e-15, "{n}/{d}");
            }
        }
        assert_eq!(root_of_unity(1, 4), Complex64::new(0.0, -1.0));
        assert_eq!(root_of_unity(u64::MAX, u64::MAX), Complex64::new(1.0, 0.0));
    }

    #[test]
    fn factors_multiply_back() {
        for n in 1..=5000 {
            let smooth = {
                let mut m = n;
                for p in [2, 3, 5, 7, 11, 13] {
                    while m % p == 0 {
                        m /= p;
                    }
                }
                m == 1
            };
            match factorize(n, 16) {
                Some(radices) => {
                    assert!(smooth);
                    assert_eq!(radices.iter().product::<usize>(), n);
                    assert!(radices.iter().all(|&r| r <= 16), "{radices:?}");
                    assert!(radices.is_sorted_by(|a, b| a >= b), "{radices:?}");
                }
                None => assert!(!smooth, "{n}"),
            }
        }
    }

    #[test]
    fn padded_lengths_are_minimal() {
        for n in 1..5000usize {
            let m = padded_len(n);
            assert!(m >= n && 2 * m <= 3 * n.max(3), "{n} -> {m}");
            assert!(m.is_power_of_two() || (m.is_multiple_of(3) && (m / 3).is_power_of_two()));
        }
    }

    #[test]
    fn bluestein_is_the_transform() {
        for n in [1usize, 2, 17, 60] {
            let padded = padded_len(2 * n - 1);
            let x: Vec<Complex64> =
                (0..n).map(|j| Complex64::new((j * j % 7) as f64, j as f64 - 3.0)).collect();
            let chirp = bluestein_chirp(n, Direction::Forward);
            let mut work: Vec<Complex64> = x.iter().zip(&chirp).map(|(a, b)| a * b).collect();
            work.resize(padded, Complex64::new(0.0, 0.0));
            host_fft(&mut work, Direction::Forward);
            let filter = bluestein_filter(n, padded, Direction::Forward);
            work.iter_mut().zip(&filter).for_each(|(a, b)| *a *= b);
            host_fft(&mut work, Direction::Inverse);
            for k in 0..n {
                let found = work[k] * chirp[k];
                let exact: Complex64 =
                    (0..n).map(|j| x[j] * root_of_unity((j * k) as u64, n as u64)).sum();
                assert!((found - exact).norm() < 1e-12 * n as f64 * 10.0, "{n} {k}");
            }
        }
    }

    #[test]
    fn a_wrapped_convolution_lacks_few_pairs() {
        for (n, padded) in [(33usize, 64usize), (49, 96), (66, 128), (132, 256), (197, 384)] {
            assert_eq!(wrapped_len(n), Some(padded));
            let half = padded / 2;
            let x: Vec<Complex64> =
                (0..n).map(|j| Complex64::new((j * j % 7) as f64, j as f64 - 3.0)).collect();
            let chirp = bluestein_chirp(n, Direction::Forward);
            let signal: Vec<Complex64> = x.iter().zip(&chirp).map(|(a, b)| a * b).collect();
            let mut work = signal.clone();
            work.resize(padded, Complex64::new(0.0, 0.0));
            host_fft(&mut work, Direction::Forward);
            let filter = bluestein_filter(n, padded, Direction::Forward);
            work.iter_mut().zip(&filter).for_each(|(a, b)| *a *= b);
            host_fft(&mut work, Direction::Inverse);
            let wrap = bluestein_wrap(n, padded, Direction::Forward);
            for k in 0..n {
                let lacks: Complex64 = (0..n)
                    .filter(|j| k.abs_diff(*j) > half)
                    .map(|j| signal[j] * wrap[k.abs_diff(j) - half])
                    .sum();
                let found = (work[k] + lacks) * chirp[k];
                let exact: Complex64 =
                    (0..n).map(|j| x[j] * root_of_unity((j * k) as u64, n as u64)).sum();
                assert!((found - exact).norm() < 1e-12 * n as f64 * 10.0, "{n} {k}");
            }
        }
        assert_eq!(wrapped_len(4099), Some(8192));
        assert_eq!([1, 2, 31, 36, 4096, 5000].map(wrapped_len), [None; 6]);
    }

    #[test]
    fn rader_is_the_transform() {
        for n in [3usize, 5, 17, 61, 127] {
            for direction in [Direction::Forward, Direction::Inverse] {
                let x: Vec<Complex64> =
                    (0..n).map(|j| Complex64::new((j * j % 7) as f64, j as f64 - 3.0)).collect();
                let powers = rader_powers(n);
                let mut work: Vec<Complex64> = powers.iter().map(|g| x[g.re as usize]).collect();
                host_fft(&mut work, Direction::Inverse);
                work[0] /= (n - 1) as f64;
                work.iter_mut().zip(rader_filter(n, direction)).for_each(|(a, b)| *a *= b);
                host_fft(&mut work, Direction::Inverse);
                for (power, value) in powers.iter().zip(work) {
                    let k = power.re as usize;
                    let root = |i: usize| match direction {
                        Direction::Forward => root_of_unity((i * k) as u64, n as u64),
                        Direction::Inverse => root_of_unity((i * k) as u64, n as u64).conj(),
                    };
                    let exact: Complex64 = (0..n).map(|i| x[i] * root(i)).sum();
                    let found = x[0] + value;
                    assert!((found - exact).norm() < 1e-12 * n as f64 * 10.0, "{n} {k}");
                }
            }
        }
    }

    #[test]
    fn adjoint_scales_agree() {
        for norm in [Normalization::Backward, Normalization::Ortho, Normalization::Forward] {
            for direction in [Direction::Forward, Direction::Inverse] {
                assert_eq!(norm.scale(direction, 7), norm.adjoint().scale(direction.reversed(), 7));
            }
        }
    }
}
