//! How much arithmetic a model asks for, part by part, counted from its configuration.
//!
//! A product with a matrix `[m, n]` is `2mn` a token, and twice that backward. What a part computes counts,
//! needed or not: experts whose weight is 0, steps of positions that have halted. Norms, activations and
//! the embedding, a few operations a channel, are left out.

/// The operations of one part of a model, a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Floating-point operations forward.
    pub forward: f64,
    /// Floating-point operations backward.
    pub backward: f64,
}

/// The operations of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Flops {
    /// Its parts.
    pub parts: Vec<Part>,
    /// Those of the optimiser, a step: about 16 a parameter for `AdamW` and the clipped norm.
    pub optimizer: f64,
}

impl Part {
    /// Products with matrices that have `weights` entries together.
    pub fn matrices(name: &'static str, weights: f64) -> Self {
        Self { name, forward: 2.0 * weights, backward: 4.0 * weights }
    }

    /// As often as `times` a token.
    #[must_use]
    pub fn times(self, times: f64) -> Self {
        Self { forward: self.forward * times, backward: self.backward * times, ..self }
    }
}

impl Flops {
    /// Of these parts and of an optimiser for `parameters` numbers. Parts of one name are added up.
    pub fn new(all: impl IntoIterator<Item = Part>, parameters: usize) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for part in all {
            match parts.iter_mut().find(|known| known.name == part.name) {
                Some(known) => {
                    known.forward += part.forward;
                    known.backward += part.backward;
                }
                None => parts.push(part),
            }
        }
        Self { parts, optimizer: 16.0 * parameters as f64 }
    }

    /// Forward operations of a token.
    pub fn forward(&self) -> f64 {
        self.parts.iter().map(|part| part.forward).sum()
    }

    /// Operations of an optimiser step over `tokens` tokens.
    pub fn step(&self, tokens: usize) -> f64 {
        let backward: f64 = self.parts.iter().map(|part| part.backward).sum();
        (self.forward() + backward) * tokens as f64 + self.optimizer
    }

    /// One line a part: kFLOP a token, forward and backward.
    pub fn describe(&self) -> String {
        let lines = self.parts.iter().map(|part| {
            format!("{} {:.1} + {:.1}", part.name, part.forward / 1e3, part.backward / 1e3)
        });
        let lines: Vec<String> = lines.collect();
        format!(
            "kFLOP a token, forward + backward: {}; optimiser {:.1} a step",
            lines.join(", "),
            self.optimizer / 1e3
        )
    }
}
