//! Passes over rows of `f32` on the host, in the processor's vectors: what lies between the products of matrices where
//! the host is the device.
//!
//! Loops are written for whole vectors, without branches, and compiled for the widest that x86-64 processors of the last
//! decade have, beside the one for all. A row is always summed in the same order, whatever the number of threads.
#![expect(
    clippy::inline_always,
    reason = "a pass is compiled for the vectors of the function it is inlined into"
)]

use std::ops::Range;

/// Numbers that a task takes: so many that handing it over costs little beside them.
pub(crate) const TASK: usize = 16 * 1024;

/// The same in rows of so many numbers.
pub(crate) fn rows_a_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// The numbers that are summed and compared side by side.
const LANES: usize = 16;

/// Adding this to a number that is not too large rounds it to an integer, which then stands in its lowest bits.
const ROUNDS: f32 = 12_582_912.0;
/// Below this an exponential is next to no normal number, and counts as 0.
const LEAST: f32 = -87.0;
/// ln 2 in two parts, the first of few bits, so that a small integer times it is exact.
const LN_2: [f64; 2] = [0.693_359_375, std::f64::consts::LN_2 - 0.693_359_375];

/// `eˣ` for `x ≤ 0`, to 1.5e-7 of it; 0 below −87, and a NaN for a NaN.
#[inline(always)]
fn exponential(x: f32) -> f32 {
    let held = if x < LEAST { LEAST } else { x };
    // x = n ln 2 + r with |r| ≤ ln(2)/2, and the series of e^r to r⁷/7!: what is left out is below 6e-9.
    let shifted = held * std::f32::consts::LOG2_E + ROUNDS;
    let n = shifted - ROUNDS;
    let r = (held - n * LN_2[0] as f32) - n * LN_2[1] as f32;
    let mut series = 1.0 / 5040.0;
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0] {
        series = series * r + 1.0 / factorial;
    }
    let power = series * r * r + r + 1.0;
    // 2ⁿ by its exponent: n is in the lowest bits of the sum that rounded it.
    let exponent = shifted.to_bits().wrapping_sub(ROUNDS.to_bits()).wrapping_add(127);
    let y = power * f32::from_bits(exponent << 23);
    if x < LEAST { 0.0 } else { y }
}

/// The largest number of a row; a NaN is passed over.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, &x) in lanes.iter_mut().zip(chunk) {
            *most = if x > *most { x } else { *most };
        }
    }
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most })
}

/// Puts `e^(x − most)` in the place of every `x`, and returns their sum.
#[inline(always)]
fn exponentials(row: &mut [f32], most: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (sum, x) in lanes.iter_mut().zip(chunk) {
            *x = exponential(*x - most);
            *sum += *x;
        }
    }
    let mut sum = 0.0;
    for x in rest {
        *x = exponential(*x - most);
        sum += *x;
    }
    lanes.iter().sum::<f32>() + sum
}

/// The sum of `e^(x − most)`.
#[inline(always)]
fn sum_of_exponentials(row: &[f32], most: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, x) in lanes.iter_mut().zip(chunk) {
            *sum += exponential(*x - most);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&x| exponential(x - most)).sum::<f32>()
}

/// The inner product of two rows.
#[inline(always)]
fn inner(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (sum, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Compiles a pass twice, and takes the one that the processor has the vectors for.
macro_rules! pass {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name($($argument: $type),*) $(-> $out)? {
            #[inline(always)]
            fn body($($argument: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($argument: $type),*) $(-> $out)? {
                    body($($argument),*)
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has what the function is compiled for.
                    return unsafe { wide($($argument),*) };
                }
            }
            body($($argument),*)
        }
    };
}

pass! {
    /// The cross-entropy in nats of a row of logits: NaN for a NaN, for +∞, and for nothing but −∞.
    cross_entropy_row(logits: &[f32], target: usize) -> f64 {
        let most = largest(logits);
        let sum = sum_of_exponentials(logits, most);
        // f32 up to here: the sum has an error of a few roundings.
        let logit = logits.get(target).copied().unwrap_or(f32::NAN);
        f64::from(sum).ln() - f64::from(logit - most)
    }
}

pass! {
    /// The gradient of a row's cross-entropy, `scale` times.
    cross_entropy_row_vjp(logits: &[f32], target: usize, scale: f32, gradient: &mut [f32]) {
        gradient.copy_from_slice(logits);
        let sum = exponentials(gradient, largest(logits));
        let scale_of_all = scale / sum;
        for x in gradient.iter_mut() {
            *x *= scale_of_all;
        }
        if let Some(x) = gradient.get_mut(target) {
            *x -= scale;
        }
    }
}

/// What a query sees of a row of scores, and what is done to them.
#[derive(Debug, Clone)]
pub(crate) struct SeenRow {
    pub(crate) position: isize,
    /// So many first keys are seen, and those of `keys`, which do not follow on them.
    pub(crate) prefix: usize,
    pub(crate) keys: Range<usize>,
    /// Times the distance to the position it is taken off the scores.
    pub(crate) slope: f32,
    pub(crate) cap: Option<f32>,
    /// What multiplies the gradients of scores.
    pub(crate) scale: f32,
}

impl SeenRow {
    /// The first key that is seen.
    pub(crate) fn first(&self) -> usize {
        if self.prefix > 0 { 0 } else { self.keys.start }
    }

    /// The part from the first to the last key that is seen; zeros around it.
    #[inline(always)]
    fn live<'a>(&self, row: &'a mut [f32]) -> &'a mut [f32] {
        row[..self.first()].fill(0.0);
        row[self.keys.end..].fill(0.0);
        &mut row[self.first()..self.keys.end]
    }

    /// Takes the bias off the scores of that part, and hides what is not seen between.
    #[inline(always)]
    fn offset(&self, scores: &mut [f32]) {
        if self.slope != 0.0 {
            let first = self.first() as i32 - self.position as i32;
            for (distance, score) in (first..).zip(scores.iter_mut()) {
                *score -= self.slope * distance.abs() as f32;
            }
        }
        if self.prefix > 0 {
            scores[self.prefix..self.keys.start].fill(f32::NEG_INFINITY);
        }
    }
}

pass! {
    /// Turns the products of a query into the weights of the keys that it sees, and zeros; returns the logarithm of the
    /// sum of the exponentials.
    softmax_row(scores: &mut [f32], seen: &SeenRow) -> f32 {
        let scores = seen.live(scores);
        if scores.is_empty() {
            return f32::NEG_INFINITY;
        }
        if let Some(cap) = seen.cap {
            for score in scores.iter_mut() {
                *score = cap * (*score / cap).tanh();
            }
        }
        seen.offset(scores);
        let most = largest(scores);
        let sum = exponentials(scores, most);
        let share = 1.0 / sum;
        for weight in scores.iter_mut() {
            *weight *= share;
        }
        most + sum.ln()
    }
}

pass! {
    /// Turns the products of a query into the same weights again, from the logarithm that [`softmax_row`] returned, and
    /// the gradients of the weights into those of the products: `w (g − out·grad)`, under a cap times `1 − tanh²`.
    softmax_row_vjp(
        scores: &mut [f32],
        gradients: &mut [f32],
        seen: &SeenRow,
        log_sum: f32,
        ends: [&[f32]; 2]
    ) {
        let (scores, gradients) = (seen.live(scores), seen.live(gradients));
        let mut mean = inner(ends[0], ends[1]);
        if let Some(cap) = seen.cap {
            for (score, gradient) in scores.iter_mut().zip(gradients.iter_mut()) {
                let tanh = (*score / cap).tanh();
                *score = cap * tanh;
                *gradient = (*gradient - mean) * (1.0 - tanh * tanh);
            }
            mean = 0.0;
        }
        seen.offset(scores);
        for (score, gradient) in scores.iter_mut().zip(gradients) {
            let weight = exponential(*score - log_sum);
            *gradient = seen.scale * weight * (*gradient - mean);
            *score = weight;
        }
    }
}

pass! {
    /// The pairs of two halves of a row turned by their angles, or back.
    turned_row(x: &[f32], cos: &[f32], sin: &[f32], back: bool, y: &mut [f32]) {
        let (low, high) = x.split_at(cos.len());
        let (y_low, y_high) = y.split_at_mut(cos.len());
        let sign = if back { -1.0 } else { 1.0 };
        for ((y, (low, high)), (cos, sin)) in
            y_low.iter_mut().zip(low.iter().zip(high)).zip(cos.iter().zip(sin))
        {
            *y = low * cos - sign * high * sin;
        }
        for ((y, (low, high)), (cos, sin)) in
            y_high.iter_mut().zip(low.iter().zip(high)).zip(cos.iter().zip(sin))
        {
            *y = high * cos + sign * low * sin;
        }
    }
}

/// The numbers of a step of `AdamW`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamRow {
    /// Of all gradients.
    pub(crate) factor: f32,
    /// What is kept of the moments, and what is taken of the gradient.
    pub(crate) betas: [f32; 2],
    pub(crate) rest: [f32; 2],
    /// What is kept of the parameters.
    pub(crate) keep: f32,
    /// The rate, by the correction of the first moment; the correction of the second.
    pub(crate) rate: f32,
    pub(crate) by_second: f32,
    pub(crate) epsilon: f32,
}

pass! {
    /// A step of `AdamW`, in place.
    adam_row(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], by: AdamRow) {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * by.factor;
            *m = by.betas[0] * *m + by.rest[0] * g;
            *v = by.betas[1] * *v + by.rest[1] * (g * g);
            *p = by.keep * *p - by.rate * *m / ((*v * by.by_second).sqrt() + by.epsilon);
        }
    }
}

/// `1/√(mean x² + ε)` of a row, whose squares are summed in `f64`: NaN where a number is none or infinite.
#[inline(always)]
fn inverse_root(row: &[f32], epsilon: f64) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &x) in lanes.iter_mut().zip(chunk) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let mean = (lanes.iter().sum::<f64>() + rest) / row.len() as f64;
    // An infinite mean has no root: 0 times it is NaN.
    (1.0 / (mean + epsilon).sqrt() + mean * 0.0) as f32
}

pass! {
    /// The root-mean-square norm of a row, times its gains.
    normalised_row(x: &[f32], gain: &[f32], epsilon: f64, y: &mut [f32]) {
        let root = inverse_root(x, epsilon);
        for ((y, x), gain) in y.iter_mut().zip(x).zip(gain) {
            *y = x * root * gain;
        }
    }
}

pass! {
    /// The gradient of a row by that of its norm; what it adds to the gradient of the gains is added there.
    normalised_row_vjp(
        x: &[f32], gain: &[f32], g: &[f32], epsilon: f64, by_x: &mut [f32], by_gain: &mut [f32]
    ) {
        let root = inverse_root(x, epsilon);
        for (((by_x, x), g), by_gain) in by_x.iter_mut().zip(x).zip(g).zip(by_gain) {
            *by_x = x * root * g;
            *by_gain += *by_x;
        }
        let mean = inner(by_x, gain) / x.len() as f32;
        for (((by_x, x), g), gain) in by_x.iter_mut().zip(x).zip(g).zip(gain) {
            *by_x = root * (gain * g - x * root * mean);
        }
    }
}

pass! {
    /// `max(x, 0)²`; of a NaN, NaN.
    squared_relu_row(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = if x < 0.0 { 0.0 } else { x * x };
        }
    }
}

pass! {
    /// Its slope times the gradient of the result.
    squared_relu_row_vjp(x: &[f32], g: &[f32], by_x: &mut [f32]) {
        for ((by_x, &x), g) in by_x.iter_mut().zip(x).zip(g) {
            *by_x = if x < 0.0 { 0.0 } else { 2.0 * x * g };
        }
    }
}

pass! {
    /// Whether all numbers are finite.
    all_finite(numbers: &[f32]) -> bool {
        // Zero times anything else is NaN, and a NaN stays in a sum.
        let mut lanes = [0.0; LANES];
        let (chunks, rest) = numbers.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, x) in lanes.iter_mut().zip(chunk) {
                *sum += x * 0.0;
            }
        }
        !(lanes.iter().sum::<f32>() + rest.iter().map(|x| x * 0.0).sum::<f32>()).is_nan()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pass! {
        exponentials_of(row: &mut [f32]) {
            for x in row {
                *x = exponential(*x);
            }
        }
    }

    #[test]
    fn exponentials_are_right() {
        let mut worst: f64 = 0.0;
        for part in 0..=880 {
            let xs: Vec<f32> = (0..1000).map(|i| -(part * 1000 + i) as f32 * 1e-4).collect();
            let mut found = xs.clone();
            exponentials_of(&mut found);
            for (x, found) in xs.into_iter().zip(found) {
                let expected = f64::from(x).exp();
                if x < LEAST {
                    assert_eq!(found, 0.0, "{x}");
                } else {
                    worst = worst.max((f64::from(found) / expected - 1.0).abs());
                }
            }
        }
        assert!(worst < 1.5e-7, "{worst:e}");
        let mut odd = [f32::NAN, f32::NEG_INFINITY, 0.0, -0.0, -1e-30];
        exponentials_of(&mut odd);
        assert!(odd[0].is_nan());
        assert_eq!(odd[1..], [0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn rows_of_any_length() {
        for len in [1, 2, 15, 16, 17, 33, 256] {
            let row: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin() * 4.0).collect();
            let target = len / 2;
            let exact = |i: usize| f64::from(row[i]).exp();
            let sum: f64 = (0..len).map(exact).sum();
            let found = cross_entropy_row(&row, target);
            assert!((found - (sum / exact(target)).ln()).abs() < 1e-6, "{len}");
            let mut gradient = vec![f32::NAN; len];
            cross_entropy_row_vjp(&row, target, 3.0, &mut gradient);
            for (i, found) in gradient.into_iter().enumerate() {
                let expected = 3.0 * (exact(i) / sum - f64::from(u8::from(i == target)));
                assert!((f64::from(found) - expected).abs() < 1e-6, "{len} {i}");
            }
            let ones = vec![1.0; len];
            let plain: f32 = row.iter().sum();
            assert!((inner(&row, &ones) - plain).abs() < 1e-4);
        }
    }

    #[test]
    fn rows_without_a_distribution_are_nan() {
        for len in [3, 16, 40] {
            for (bad, everywhere) in
                [(f32::NAN, false), (f32::INFINITY, false), (f32::NEG_INFINITY, true)]
            {
                for at in 0..len {
                    let mut row = vec![if everywhere { bad } else { 0.5 }; len];
                    row[at] = bad;
                    assert!(cross_entropy_row(&row, len / 2).is_nan(), "{bad} {at}");
                    let mut gradient = vec![0.0; len];
                    cross_entropy_row_vjp(&row, len / 2, 1.0, &mut gradient);
                    assert!(gradient.iter().any(|g| g.is_nan()), "{bad} {at}");
                }
            }
        }
    }
}
