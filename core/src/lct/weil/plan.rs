//! What a transform does, step by step.

use num_complex::Complex64;

use super::residues::{Residues, root_of_unity};
use super::{OP, WeilMatrix};
use crate::lct::eighth_root;
use crate::{Error, Result};

/// One step of a [`WeilPlan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeilStep {
    /// Multiply entry `k` by `exp(2πi·(rate k² mod modulus)/modulus)`, see [`WeilPlan::chirp_table`].
    Chirp {
        /// The integer rate, less than `modulus`.
        rate: u64,
        /// `N` for odd `N`, `2N` for even `N`.
        modulus: u64,
    },
    /// The unitary DFT over residues, `N^(−1/2) Σ exp(∓2πi nk/N)`.
    Dft {
        /// Whether the sign of the exponent is plus.
        inverse: bool,
    },
    /// Entry `k` of the result is entry `multiplier·k mod N` of the input.
    Permute {
        /// Invertible modulo `N`, less than `N`.
        multiplier: u64,
    },
    /// Multiply everything by `exp(iπ·eighths/4)`.
    Phase {
        /// From 1 to 7.
        eighths: u8,
    },
}

/// The steps of one transform, first to last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeilPlan {
    /// The length `N`.
    pub n: usize,
    /// What to do, in order.
    pub steps: Vec<WeilStep>,
}

impl WeilMatrix {
    /// The steps that carry the transform out.
    pub fn plan(&self) -> WeilPlan {
        let ring = self.ring;
        let [a, b, c, _] = self.entries;
        let mut steps = Builder { ring, steps: Vec::new(), eighths: 0 };
        if let Some(a_inverse) = ring.inverse(a).filter(|_| b == 0) {
            steps.scale(a, a_inverse);
            steps.chirp(ring.times(c, a_inverse));
        } else if let Some(b_inverse) = ring.inverse(b) {
            steps.closed_form(self, b_inverse);
        } else if let Some(a_inverse) = ring.inverse(a) {
            steps.convolve(ring.times(b, a_inverse));
            steps.scale(a, a_inverse);
            steps.chirp(ring.times(c, a_inverse));
        } else {
            // gcd(a, b, Q) = 1, so some t makes b + at invertible: any t that is 0 modulo the primes
            // that divide Q but not b, and 1 modulo those that divide b.
            let found = (1..ring.modulus).find_map(|t| {
                let sum = ring.plus(b, ring.times(a, t));
                Some((t, ring.inverse(sum)?))
            });
            if let Some((t, inverse)) = found {
                steps.convolve(ring.minus(0, t));
                let shear = Self { entries: [ring.one(), t, 0, ring.one()], ..*self };
                steps.closed_form(&(*self * shear), inverse);
            }
        }
        steps.finish()
    }
}

impl WeilPlan {
    /// How many DFTs the plan needs.
    pub fn dfts(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, WeilStep::Dft { .. })).count()
    }

    /// The table of a [`WeilStep::Chirp`] with these fields: exponents are integers, so every entry is
    /// within one rounding of the exact phase.
    ///
    /// # Errors
    /// [`Error::Value`] if `modulus` is 0 or more than 2³².
    pub fn chirp_table(&self, rate: u64, modulus: u64) -> Result<Vec<Complex64>> {
        if modulus == 0 || modulus > 1 << 32 {
            return Err(Error::Value {
                op: OP,
                argument: "modulus",
                expected: "from 1 to 2^32",
                found: modulus as f64,
            });
        }
        let rate = rate % modulus;
        Ok((0..self.n as u64)
            .map(|k| {
                let k = k % modulus;
                root_of_unity(rate * (k * k % modulus) % modulus, modulus)
            })
            .collect())
    }

    /// The transform of `x` by the definition of each step, `O(N²)`: for tests and small lengths.
    ///
    /// # Errors
    /// [`Error::Length`] if `x` does not have the plan's length.
    pub fn apply_naive(&self, x: &[Complex64]) -> Result<Vec<Complex64>> {
        if x.len() != self.n {
            return Err(Error::Length {
                op: OP,
                argument: "x",
                expected: "the length of the plan",
                found: x.len(),
            });
        }
        let mut x = x.to_vec();
        for step in &self.steps {
            x = match *step {
                WeilStep::Chirp { rate, modulus } => {
                    let table = self.chirp_table(rate, modulus)?;
                    x.iter().zip(table).map(|(x, factor)| x * factor).collect()
                }
                WeilStep::Dft { inverse } => naive_dft(&x, inverse),
                WeilStep::Permute { multiplier } => {
                    let n = self.n as u64;
                    (0..n).map(|k| x[(multiplier % n * k % n) as usize]).collect()
                }
                WeilStep::Phase { eighths } => {
                    x.iter().map(|x| x * eighth_root(i64::from(eighths))).collect()
                }
            };
        }
        Ok(x)
    }
}

/// A plan in the making; constant phases are gathered into one.
struct Builder {
    ring: Residues,
    steps: Vec<WeilStep>,
    eighths: u64,
}

impl Builder {
    /// `L(q)`.
    fn chirp(&mut self, q: u64) {
        let rate = self.ring.chirp_rate(q);
        if rate != 0 {
            self.steps.push(WeilStep::Chirp { rate, modulus: self.ring.modulus });
        }
    }

    /// `x_k ← x_{k·multiplier}`.
    fn permute(&mut self, multiplier: u64) {
        let multiplier = multiplier % self.ring.n;
        if multiplier != 1 % self.ring.n {
            self.steps.push(WeilStep::Permute { multiplier });
        }
    }

    /// `D(m)`.
    fn scale(&mut self, m: u64, m_inverse: u64) {
        self.permute(m_inverse);
        self.eighths += self.ring.gauss_eighths(m) + 8 - self.ring.gauss_eighths(1) % 8;
    }

    /// `U(b) = F⁻¹ L(−b) F`.
    fn convolve(&mut self, b: u64) {
        self.steps.push(WeilStep::Dft { inverse: false });
        self.chirp(self.ring.minus(0, b));
        self.steps.push(WeilStep::Dft { inverse: true });
    }

    /// The matrix whose `b` has this inverse: `L(d/b) D(b) F L(a/b)`, with `γ(b)`.
    fn closed_form(&mut self, matrix: &WeilMatrix, b_inverse: u64) {
        let [a, b, _, d] = matrix.entries;
        self.chirp(self.ring.times(a, b_inverse));
        self.steps.push(WeilStep::Dft { inverse: false });
        self.permute(b_inverse);
        self.chirp(self.ring.times(d, b_inverse));
        self.eighths += self.ring.gauss_eighths(b);
    }

    fn finish(mut self) -> WeilPlan {
        let eighths = (self.eighths % 8) as u8;
        if eighths != 0 {
            self.steps.push(WeilStep::Phase { eighths });
        }
        WeilPlan { n: self.ring.n as usize, steps: self.steps }
    }
}

/// The unitary DFT over residues, by its definition.
fn naive_dft(x: &[Complex64], inverse: bool) -> Vec<Complex64> {
    let n = x.len() as u64;
    let roots =
        (0..n).map(|j| root_of_unity(if inverse { j } else { (n - j) % n }, n)).collect::<Vec<_>>();
    let scale = (n as f64).sqrt().recip();
    (0..n)
        .map(|k| {
            let sum: Complex64 = (0..n).map(|j| x[j as usize] * roots[(j * k % n) as usize]).sum();
            sum * scale
        })
        .collect()
}
