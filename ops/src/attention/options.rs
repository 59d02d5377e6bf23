//! What attention is asked for.

use wavecube_core::{Dtype, Error, Layout, Result};
use wavecube_kernels::attention::{AttentionPlan, AttentionProblem, Mask, Storage, Strategy};

/// Which keys every query sees, and what is done to the scores. The last query of a sequence stands at its
/// last key, so that a causal mask is aligned at the bottom right.
///
/// ```
/// use wavecube::Attention;
///
/// let local = Attention::causal().window(128).soft_cap(30.0);
/// let padded = Attention::bidirectional().lengths(&[[7, 7], [3, 3]]);
/// # let _ = (local, padded);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    scale: Option<f32>,
    causal: bool,
    window: Option<usize>,
    soft_cap: Option<f32>,
    alibi: Option<Vec<f32>>,
    lengths: Option<Vec<[usize; 2]>>,
    strategy: Strategy,
}

impl Attention {
    /// Every query sees the keys up to its own position.
    pub fn causal() -> Self {
        Self { causal: true, ..Self::bidirectional() }
    }

    /// Every query sees every key of its sequence.
    pub fn bidirectional() -> Self {
        Self {
            scale: None,
            causal: false,
            window: None,
            soft_cap: None,
            alibi: None,
            lengths: None,
            strategy: Strategy::Auto,
        }
    }

    /// What multiplies the products of queries and keys; `1/√dim` unless it is given.
    #[must_use]
    pub fn scale(self, scale: f32) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// Only keys less than `keys` positions away, the own one included.
    #[must_use]
    pub fn window(self, keys: usize) -> Self {
        Self { window: Some(keys), ..self }
    }

    /// Scores become `cap · tanh(score/cap)`.
    #[must_use]
    pub fn soft_cap(self, cap: f32) -> Self {
        Self { soft_cap: Some(cap), ..self }
    }

    /// Subtracts from every score the distance of query and key times the slope of the query's head.
    #[must_use]
    pub fn alibi(self, slopes: &[f32]) -> Self {
        Self { alibi: Some(slopes.to_vec()), ..self }
    }

    /// How many queries and keys each sequence of the batch has, where they are padded at the end.
    /// Padding is not read, and gives zeros.
    #[must_use]
    pub fn lengths(self, lengths: &[[usize; 2]]) -> Self {
        Self { lengths: Some(lengths.to_vec()), ..self }
    }

    /// One unit for a few numbers of a result, without tiles: baseline and cross-check.
    #[must_use]
    pub fn naively(self) -> Self {
        Self { strategy: Strategy::Naive, ..self }
    }

    /// Tiles in shared memory, on whatever device: what GPUs take by themselves. Emulated devices keep the rows of
    /// several queries in registers instead.
    #[must_use]
    pub fn tiled(self) -> Self {
        Self { strategy: Strategy::Tiled, ..self }
    }

    /// The problem of tensors `q`, `k`, `v` and a result.
    pub(super) fn problem(
        &self,
        op: &'static str,
        [q, k, v, out]: [&Layout; 4],
        dtype: Dtype,
    ) -> Result<AttentionProblem> {
        if self.window == Some(0) {
            let expected = "at least 1, the own position";
            return Err(Error::Value { op, argument: "window", expected, found: 0.0 });
        }
        let dim = q.shape().last().copied().unwrap_or(1);
        let window = self.window.map(|keys| keys - 1);
        Ok(AttentionProblem {
            op,
            q: q.clone(),
            k: k.clone(),
            v: v.clone(),
            out: out.clone(),
            dtype,
            storage: Storage::Float,
            paged: None,
            mask: Mask {
                scale: self.scale.unwrap_or(1.0 / (dim as f32).sqrt()),
                left: window,
                right: if self.causal { Some(0) } else { window },
                soft_cap: self.soft_cap,
            },
            strategy: self.strategy,
        })
    }

    /// The lengths in the order of the kernel, if there are any.
    pub(super) fn index(&self, op: &'static str, plan: &AttentionPlan) -> Result<Option<Vec<u32>>> {
        let Some(lengths) = &self.lengths else { return Ok(None) };
        if lengths.len() != plan.batch {
            let (expected, found) = (vec![plan.batch], vec![lengths.len()]);
            return Err(Error::Shape { op, argument: "lengths", expected, found });
        }
        for (which, most) in [plan.q_len, plan.kv_len].into_iter().enumerate() {
            if let Some(longer) = lengths.iter().find(|pair| pair[which] > most) {
                let expected = "at most that of the tensor";
                return Err(Error::Length {
                    op,
                    argument: "lengths",
                    expected,
                    found: longer[which],
                });
            }
        }
        let of = |which: usize| lengths.iter().map(move |pair| pair[which] as u32);
        Ok(Some(of(0).chain(of(1)).collect()))
    }

    /// The slopes, if there are any.
    pub(super) fn slopes(&self, op: &'static str, plan: &AttentionPlan) -> Result<Option<&[f32]>> {
        let Some(slopes) = &self.alibi else { return Ok(None) };
        if slopes.len() != plan.q_heads {
            let (expected, found) = (vec![plan.q_heads], vec![slopes.len()]);
            return Err(Error::Shape { op, argument: "slopes", expected, found });
        }
        match slopes.iter().find(|slope| !slope.is_finite()) {
            Some(&slope) => {
                let found = f64::from(slope);
                Err(Error::Value { op, argument: "slopes", expected: "finite", found })
            }
            None => Ok(Some(slopes)),
        }
    }
}
