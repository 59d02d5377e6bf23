//! Arithmetic of the residues a length defines, and its quadratic Gauss sums.

use num_complex::Complex64;

use crate::lct::dd::Dd;

/// The integers modulo `Q = N` (odd `N`) or `2N` (even `N`); `N ≤ 2³¹`, so products fit 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Residues {
    pub(super) n: u64,
    pub(super) modulus: u64,
}

impl Residues {
    pub(super) const fn of_length(n: u64) -> Self {
        Self { n, modulus: if n % 2 == 1 { n } else { 2 * n } }
    }

    /// 1, which is 0 for `N = 1`.
    pub(super) const fn one(self) -> u64 {
        1 % self.modulus
    }

    pub(super) const fn times(self, x: u64, y: u64) -> u64 {
        x * y % self.modulus
    }

    pub(super) const fn plus(self, x: u64, y: u64) -> u64 {
        (x + y) % self.modulus
    }

    pub(super) const fn minus(self, x: u64, y: u64) -> u64 {
        (x + self.modulus - y) % self.modulus
    }

    /// The inverse, by the extended Euclidean algorithm.
    pub(super) const fn inverse(self, x: u64) -> Option<u64> {
        let modulus = self.modulus as i64;
        let (mut high, mut low) = (modulus, x as i64);
        let (mut high_factor, mut low_factor) = (0i64, 1i64);
        while low != 0 {
            let quotient = high / low;
            (high, low) = (low, high - quotient * low);
            (high_factor, low_factor) = (low_factor, high_factor - quotient * low_factor);
        }
        if high == 1 { Some(high_factor.rem_euclid(modulus) as u64) } else { None }
    }

    /// The integer rate of `L(q)`: `exp(iπ q k²/N) = exp(2πi·rate k²/Q)`, half of `q` modulo odd `N`.
    pub(super) const fn chirp_rate(self, q: u64) -> u64 {
        if self.n % 2 == 1 { self.times(q, self.modulus.div_ceil(2) % self.modulus) } else { q }
    }

    /// The exponent in `γ(b) = N^(−1/2) Σ_m exp(−iπ b m²/N) = exp(iπ·eighths/4)`, `b` invertible.
    pub(super) fn gauss_eighths(self, b: u64) -> u64 {
        if self.n % 2 == 1 {
            let epsilon = if self.n % 4 == 3 { 6 } else { 0 };
            epsilon + if jacobi(self.plus(b, b), self.n) == 1 { 0 } else { 4 }
        } else {
            let class = if b % 4 == 1 { 7 } else { 1 };
            class + if jacobi(self.modulus, b) == 1 { 0 } else { 4 }
        }
    }
}

/// The Jacobi symbol `(x/n)`, `n` odd, by quadratic reciprocity.
fn jacobi(mut x: u64, mut n: u64) -> i8 {
    let mut symbol = 1;
    x %= n;
    while x != 0 {
        while x.is_multiple_of(2) {
            x /= 2;
            if matches!(n % 8, 3 | 5) {
                symbol = -symbol;
            }
        }
        (x, n) = (n, x);
        if x % 4 == 3 && n % 4 == 3 {
            symbol = -symbol;
        }
        x %= n;
    }
    if n == 1 { symbol } else { 0 }
}

/// `exp(2πi·exponent/modulus)`.
pub(super) fn root_of_unity(exponent: u64, modulus: u64) -> Complex64 {
    Dd::new(2.0 * exponent as f64).over(Dd::new(modulus as f64)).cis_pi()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lct::eighth_root;

    #[test]
    fn the_jacobi_symbol_of_a_prime_is_euler_s_criterion() {
        for p in [3u64, 5, 7, 11, 101] {
            for x in 0..p {
                let power = (0..(p - 1) / 2).fold(1, |power, _| power * x % p);
                let want = if power == p - 1 { -1 } else { power as i8 };
                assert_eq!(jacobi(x, p), want, "({x}/{p})");
            }
        }
        assert_eq!(jacobi(2, 15), 1);
        assert_eq!(jacobi(3, 15), 0);
        assert_eq!(jacobi(0, 1), 1);
    }

    #[test]
    fn gauss_sums() {
        // The closed form against the sum, with exact exponents.
        for n in 1..=24 {
            let ring = Residues::of_length(n);
            let invertible = |&b: &u64| ring.inverse(b).is_some();
            for b in (0..ring.modulus).filter(invertible) {
                let rate = ring.chirp_rate(ring.minus(0, b));
                let sum: Complex64 = (0..n)
                    .map(|m| root_of_unity(ring.times(rate, ring.times(m, m)), ring.modulus))
                    .sum();
                let got = eighth_root(ring.gauss_eighths(b) as i64);
                assert!((sum / (n as f64).sqrt() - got).norm() < 1e-14, "n = {n}, b = {b}");
            }
        }
    }
}
