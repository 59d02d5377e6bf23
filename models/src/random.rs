//! The one source of randomness: a counter that any run can save and restore.
//!
//! Parameters, batches and samples all draw from here and never from a device, whose seed is global
//! to the process: the same seed gives the same model on every backend.

/// `SplitMix64`: 64 bits of state, passes the usual batteries, resumes from one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The number that [`new`](Self::new) continues from.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..bound`, or 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // 64 random bits against bounds of at most some GB: the bias is below 1e-9.
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Standard Gumbel: the largest of logits with this added is a draw by their softmax.
    pub fn gumbel(&mut self) -> f64 {
        // In (0, 1], and away from 1 the second logarithm is finite.
        let uniform = (1.0 - self.uniform()).min(1.0 - f64::EPSILON);
        -(-uniform.ln()).ln()
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}
