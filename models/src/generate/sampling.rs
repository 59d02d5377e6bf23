//! How the next byte is drawn.

use std::fmt;

use crate::{config::accept, error::Result, random::Random};
use wavecube_burn::CacheType;

/// How the next byte is drawn, when to stop, and what is kept meanwhile. What narrows the choice does so in the order of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Logits of bytes that the text has already are divided by this where they are above 0, and multiplied
    /// where they are below: above 1 makes repetitions less likely.
    pub repetition_penalty: f64,
    /// Divides the logits; 0 takes the likeliest byte.
    pub temperature: f64,
    /// Only this many of the likeliest bytes; 0 is all.
    pub top_k: usize,
    /// Only the likeliest bytes that together have this probability; 1 is all.
    pub top_p: f64,
    /// Only bytes of at least this part of the likeliest's probability; 0 is all.
    pub min_p: f64,
    /// The text ends before the first of these, strings or single bytes. They are not part of it.
    pub stop: Vec<Vec<u8>>,
    /// Seed of the draws.
    pub seed: u64,
    /// How many bytes to generate at most.
    pub length: usize,
    /// How keys and values are stored, where the model has any.
    pub cache: CacheType,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            temperature: 0.8,
            top_k: 40,
            top_p: 1.0,
            min_p: 0.0,
            stop: Vec::new(),
            seed: 1,
            length: 400,
            cache: CacheType::F32,
        }
    }
}

/// Logits that no byte can be drawn by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLogits {
    /// The logit of this byte is not a number, or infinite.
    Byte(u8),
    /// No byte that may come next has a probability.
    None,
}

impl fmt::Display for BadLogits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(byte) => write!(f, "the model's logit of byte {byte} is NaN or infinite"),
            Self::None => write!(f, "the model gives no byte that may come next a probability"),
        }
    }
}

impl Sampling {
    /// Checks every number.
    ///
    /// # Errors
    ///
    /// Names the first that makes no sense.
    pub fn validate(&self) -> Result<()> {
        let Self { repetition_penalty, temperature, top_p, min_p, .. } = *self;
        for (name, value, good, expected) in [
            ("the temperature", temperature, temperature >= 0.0, "at least 0"),
            ("the repetition penalty", repetition_penalty, repetition_penalty > 0.0, "above 0"),
            ("the top-p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1"),
            ("the min-p", min_p, (0.0..=1.0).contains(&min_p), "between 0 and 1"),
        ] {
            accept(name, value.is_finite() && good, expected, &value)?;
        }
        let whole = self.stop.iter().all(|stop| !stop.is_empty());
        accept("a stop string", whole, "of at least one byte", &"empty")
    }

    /// The next byte among those `allowed`, after `history`.
    ///
    /// A logit of −∞ is a probability of 0; any other that is not finite, of whatever byte, says that the model has
    /// failed.
    pub(super) fn draw(
        &self,
        logits: &[f32],
        history: &[u8],
        allowed: impl Fn(u8) -> bool,
        random: &mut Random,
    ) -> Result<u8, BadLogits> {
        let failed = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
        if let Some((byte, _)) = (0..=u8::MAX).zip(logits).find(|(_, logit)| failed(logit)) {
            return Err(BadLogits::Byte(byte));
        }
        let mut seen = [false; 256];
        for &byte in history {
            seen[usize::from(byte)] = true;
        }
        let penalised = |byte: u8, logit: f64| match seen[usize::from(byte)] {
            true if logit > 0.0 => logit / self.repetition_penalty,
            true => logit * self.repetition_penalty,
            false => logit,
        };
        let mut candidates: Vec<(u8, f64)> = (0..=u8::MAX)
            .zip(logits)
            .filter(|&(byte, _)| allowed(byte))
            .map(|(byte, &logit)| (byte, penalised(byte, f64::from(logit))))
            .collect();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        let Some(&best) = candidates.first().filter(|best| best.1 > f64::NEG_INFINITY) else {
            return Err(BadLogits::None);
        };
        if self.temperature == 0.0 {
            return Ok(best.0);
        }
        if self.top_k > 0 {
            candidates.truncate(self.top_k);
        }
        // From here on, probabilities relative to the likeliest.
        for candidate in &mut candidates {
            candidate.1 = ((candidate.1 - best.1) / self.temperature).exp();
        }
        if self.top_p < 1.0 {
            let enough = self.top_p * candidates.iter().map(|c| c.1).sum::<f64>();
            let mut together = 0.0;
            candidates.retain(|candidate| {
                let keep = together < enough;
                together += candidate.1;
                keep
            });
        }
        candidates.retain(|candidate| candidate.1 >= self.min_p);
        let total: f64 = candidates.iter().map(|c| c.1).sum();
        let mut left = random.uniform() * total;
        for &(byte, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return Ok(byte);
            }
        }
        Ok(best.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of four bytes is drawn.
    fn shares(sampling: &Sampling, history: &[u8]) -> [f64; 4] {
        let mut logits = [f32::NEG_INFINITY; 256];
        for (byte, p) in [0.4f32, 0.3, 0.2, 0.1].into_iter().enumerate() {
            logits[byte] = p.ln();
        }
        let mut random = Random::new(5);
        let mut counts = [0.0; 4];
        for _ in 0..20_000 {
            let byte = sampling.draw(&logits, history, |_| true, &mut random).unwrap();
            counts[usize::from(byte)] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn draws_have_their_probabilities() {
        let all = Sampling { temperature: 1.0, top_k: 0, ..Sampling::default() };
        for (sampling, expected) in [
            (all.clone(), [0.4, 0.3, 0.2, 0.1]),
            (Sampling { temperature: 0.0, ..all.clone() }, [1.0, 0.0, 0.0, 0.0]),
            (Sampling { top_k: 2, ..all.clone() }, [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]),
            (Sampling { top_p: 0.75, ..all.clone() }, [4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0]),
            (Sampling { min_p: 0.6, ..all.clone() }, [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]),
            (Sampling { temperature: 0.5, ..all.clone() }, [16.0, 9.0, 4.0, 1.0].map(|p| p / 30.0)),
        ] {
            let found = shares(&sampling, &[]);
            for (found, expected) in found.iter().zip(expected) {
                // Five standard deviations of 20000 draws.
                assert!((found - expected).abs() < 0.018, "{sampling:?}: {found} {expected}");
            }
        }
        // ln p is below 0, so the penalty squares p.
        let penalty = Sampling { repetition_penalty: 2.0, ..all };
        let found = shares(&penalty, &[0]);
        assert!((found[0] - 0.16 / 0.76).abs() < 0.018, "{found:?}");
    }

    /// Whatever narrows the choice, and whether or not the byte could be drawn.
    #[test]
    fn logits_of_no_probability_are_errors() {
        let all = Sampling { temperature: 1.0, top_k: 0, ..Sampling::default() };
        let samplings = [
            Sampling { temperature: 0.0, ..all.clone() },
            Sampling { temperature: 1e-300, ..all.clone() },
            Sampling { temperature: f64::MAX, ..all.clone() },
            Sampling { top_k: 1, ..all.clone() },
            Sampling { top_p: 1e-9, ..all.clone() },
            Sampling { min_p: 1.0, ..all.clone() },
            Sampling { repetition_penalty: 3.0, ..all.clone() },
            all,
        ];
        for sampling in &samplings {
            let draw = |logits: &[f32; 256]| {
                let allowed = |byte| byte < 128;
                sampling.draw(logits, b"a", allowed, &mut Random::new(2))
            };
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
                for byte in [0, b'a', 200] {
                    let mut logits = [0.0; 256];
                    logits[usize::from(byte)] = bad;
                    assert_eq!(draw(&logits), Err(BadLogits::Byte(byte)), "{sampling:?}");
                    assert_eq!(draw(&[bad; 256]), Err(BadLogits::Byte(0)), "{sampling:?}");
                }
            }
            assert_eq!(draw(&[f32::NEG_INFINITY; 256]), Err(BadLogits::None), "{sampling:?}");
            let mut logits = [f32::NEG_INFINITY; 256];
            logits[200] = 1.0;
            assert_eq!(draw(&logits), Err(BadLogits::None), "{sampling:?}");
            logits[usize::from(b'b')] = f32::MIN;
            assert_eq!(draw(&logits), Ok(b'b'), "{sampling:?}");
            logits[usize::from(b'c')] = f32::MAX;
            let drawn = draw(&logits);
            // Before the largest temperature, the least and the largest logit are as likely.
            let level = sampling.temperature == f64::MAX && drawn == Ok(b'b');
            assert!(drawn == Ok(b'c') || level, "{sampling:?}: {drawn:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = Sampling::default();
        assert!(good.validate().is_ok());
        for bad in [
            Sampling { temperature: -1.0, ..good.clone() },
            Sampling { top_p: 0.0, ..good.clone() },
            Sampling { min_p: f64::NAN, ..good.clone() },
            Sampling { repetition_penalty: 0.0, ..good.clone() },
            Sampling { stop: vec![Vec::new()], ..good },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
