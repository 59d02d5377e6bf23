//! What attention is asked for, and which keys a query sees.

use std::ops::Range;

use wavecube_core::{Error, Result};

/// Numbers of a head that the kernels take at most.
const LONGEST_HEAD: usize = 256;

/// Which keys every query sees, and what is done to the scores: the options of [`attention()`](super::attention()).
///
/// The last query of a sequence stands at its last key, so that a causal mask is aligned at the bottom right: keys that
/// are put in front of the others are seen by all queries.
///
/// ```
/// use wavecube_burn::{Attention, alibi_slopes};
///
/// let local = Attention::causal().window(128).soft_cap(30.0).alibi(&alibi_slopes(8));
/// let padded = Attention::bidirectional().lengths(&[[7, 7], [3, 3]]);
/// # let _ = (local, padded);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    scale: Option<f32>,
    causal: bool,
    window: Option<usize>,
    prefix: usize,
    soft_cap: Option<f32>,
    alibi: Option<Vec<f32>>,
    lengths: Option<Vec<[usize; 2]>>,
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
            prefix: 0,
            soft_cap: None,
            alibi: None,
            lengths: None,
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

    /// The first `keys` of every sequence are seen by all its queries, whatever the mask and the window hide.
    ///
    /// The kernels take it where it changes nothing: without a window, and with at least as many keys in front of the
    /// first query. Elsewhere a slower body runs ([`counts()`](crate::counts())).
    #[must_use]
    pub fn prefix(self, keys: usize) -> Self {
        Self { prefix: keys, ..self }
    }

    /// Scores become `cap · tanh(score/cap)`.
    #[must_use]
    pub fn soft_cap(self, cap: f32) -> Self {
        Self { soft_cap: Some(cap), ..self }
    }

    /// Subtracts from every score the distance of query and key times the slope of the query's head;
    /// [`alibi_slopes`] has the usual ones.
    #[must_use]
    pub fn alibi(self, slopes: &[f32]) -> Self {
        Self { alibi: Some(slopes.to_vec()), ..self }
    }

    /// How many queries and keys each sequence of the batch has, where they are padded at the end. Padding is not read,
    /// and gives zeros.
    #[must_use]
    pub fn lengths(self, lengths: &[[usize; 2]]) -> Self {
        Self { lengths: Some(lengths.to_vec()), ..self }
    }

    /// Refuses what does not belong to the tensors.
    pub(super) fn check(&self, op: &'static str, sizes: &Sizes) -> Result<()> {
        if self.window == Some(0) {
            let expected = "at least 1, the own position";
            return Err(Error::Value { op, argument: "window", expected, found: 0.0 });
        }
        if let Some(scale) = self.scale.filter(|scale| !scale.is_finite()) {
            let found = f64::from(scale);
            return Err(Error::Value { op, argument: "scale", expected: "finite", found });
        }
        if let Some(cap) = self.soft_cap.filter(|cap| !(cap.is_finite() && *cap > 0.0)) {
            let (expected, found) = ("finite and above 0", f64::from(cap));
            return Err(Error::Value { op, argument: "soft_cap", expected, found });
        }
        let counted = |argument, expected: usize, found: usize| {
            let (expected_shape, found_shape) = (vec![expected], vec![found]);
            let error = Error::Shape { op, argument, expected: expected_shape, found: found_shape };
            if expected == found { Ok(()) } else { Err(error) }
        };
        if let Some(slopes) = &self.alibi {
            counted("slopes", sizes.heads, slopes.len())?;
            if let Some(&slope) = slopes.iter().find(|slope| !slope.is_finite()) {
                let found = f64::from(slope);
                return Err(Error::Value { op, argument: "slopes", expected: "finite", found });
            }
        }
        if let Some(lengths) = &self.lengths {
            counted("lengths", sizes.batch, lengths.len())?;
            for (which, most) in [sizes.n, sizes.m].into_iter().enumerate() {
                if let Some(longer) = lengths.iter().find(|pair| pair[which] > most) {
                    let (expected, found) = ("at most that of the tensor", longer[which]);
                    return Err(Error::Length { op, argument: "lengths", expected, found });
                }
            }
        }
        if self.prefix > sizes.m {
            let (expected, found) = ("at most the number of keys", self.prefix);
            return Err(Error::Length { op, argument: "prefix", expected, found });
        }
        Ok(())
    }

    /// What the kernels are asked for, by a cache that knows its own lengths.
    pub(crate) fn of_a_cache(&self, op: &'static str) -> Result<wavecube::Attention> {
        let refused = |argument| {
            let reason = "a cache keeps the lengths of its texts, and all their keys alike";
            Err(Error::Unsupported { op, argument, reason })
        };
        match self {
            Self { lengths: Some(_), .. } => refused("lengths"),
            Self { prefix: 1.., .. } => refused("prefix"),
            _ => Ok(self.without_prefix()),
        }
    }

    /// What the kernels are asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where they do not take it.
    pub(super) fn of_kernels(
        &self,
        op: &'static str,
        sizes: &Sizes,
    ) -> Result<wavecube::Attention> {
        if sizes.d > LONGEST_HEAD {
            let reason = "kernels take heads of up to 256 numbers";
            return Err(Error::Unsupported { op, argument: "q", reason });
        }
        let without = Self { prefix: 0, ..self.clone() };
        let mut queries =
            (0..sizes.batch).flat_map(|batch| (0..sizes.n).map(move |query| (batch, query)));
        let same =
            |(batch, query)| self.sight(sizes, batch, query) == without.sight(sizes, batch, query);
        if self.prefix > 0 && !queries.all(same) {
            let reason = "kernels have no keys that are seen from behind a mask";
            return Err(Error::Unsupported { op, argument: "prefix", reason });
        }
        Ok(self.without_prefix())
    }

    fn without_prefix(&self) -> wavecube::Attention {
        let mut all = if self.causal {
            wavecube::Attention::causal()
        } else {
            wavecube::Attention::bidirectional()
        };
        if let Some(scale) = self.scale {
            all = all.scale(scale);
        }
        if let Some(keys) = self.window {
            all = all.window(keys);
        }
        if let Some(cap) = self.soft_cap {
            all = all.soft_cap(cap);
        }
        if let Some(slopes) = &self.alibi {
            all = all.alibi(slopes);
        }
        if let Some(lengths) = &self.lengths {
            all = all.lengths(lengths);
        }
        all
    }

    /// What multiplies the products, for heads of `d` numbers.
    pub(super) fn factor(&self, d: usize) -> f64 {
        self.scale.map_or_else(|| 1.0 / (d as f64).sqrt(), f64::from)
    }

    pub(super) fn cap(&self) -> Option<f32> {
        self.soft_cap
    }

    pub(super) fn slopes(&self) -> Option<&[f32]> {
        self.alibi.as_deref()
    }

    /// The slope of a head; 0 where there are none.
    pub(super) fn slope(&self, head: usize) -> f32 {
        self.alibi.as_ref().map_or(0.0, |slopes| slopes[head])
    }

    /// Whether all sequences have the same masks.
    pub(super) fn alike(&self) -> bool {
        self.lengths.is_none()
    }

    /// What a query of a sequence sees.
    pub(super) fn sight(&self, sizes: &Sizes, batch: usize, query: usize) -> Sight {
        let [n, m] = self.lengths.as_ref().map_or([sizes.n, sizes.m], |all| all[batch]);
        if query >= n {
            return Sight { position: 0, prefix: 0, keys: 0..0 };
        }
        let signed = |count: usize| isize::try_from(count).unwrap_or(isize::MAX);
        let position = signed(query + m) - signed(n);
        let window = self.window.map(|keys| signed(keys - 1));
        let ahead = if self.causal { Some(0) } else { window };
        let place = |at: isize| at.clamp(0, signed(m)).cast_unsigned();
        let start = window.map_or(0, |window| place(position.saturating_sub(window)));
        let end = ahead.map_or(m, |ahead| place(position.saturating_add(ahead).saturating_add(1)));
        let prefix = self.prefix.min(m);
        let (prefix, keys) = match start < end {
            true if prefix < start => (prefix, start..end),
            true => (0, (if prefix > 0 { 0 } else { start })..end.max(prefix)),
            false => (0, 0..prefix),
        };
        Sight { position, prefix, keys }
    }
}

/// The slopes of `ALiBi`: `2^(−8h/H)` for head `h = 1 … H` (Press, Smith and Lewis, *Train short, test long*, 2022,
/// section 3).
pub fn alibi_slopes(heads: usize) -> Vec<f32> {
    let slope = |head: usize| (-8.0 * (head + 1) as f64 / heads as f64).exp2() as f32;
    (0..heads).map(slope).collect()
}

/// Where a query stands, and which keys it sees: the first `prefix`, and `keys`, which do not follow on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) position: isize,
    pub(super) prefix: usize,
    pub(super) keys: Range<usize>,
}

impl Sight {
    pub(super) fn is_nothing(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys in their order.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        (0..self.prefix).chain(self.keys.clone())
    }

    pub(super) fn distance(&self, key: usize) -> usize {
        self.position.abs_diff(key.cast_signed())
    }
}

/// `q` of `[batch, heads, n, d]`, `k` and `v` of `[batch, kv_heads, m, d]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// Queries.
    pub(super) n: usize,
    /// Keys.
    pub(super) m: usize,
    pub(super) d: usize,
}

impl Sizes {
    /// Those of the shapes of `q` and `k`.
    pub(super) fn new(q: &[usize], k: &[usize]) -> Self {
        Self { batch: q[0], heads: q[1], kv_heads: k[1], n: q[2], m: k[2], d: q[3] }
    }

    /// The shape of queries whose heads that share keys are one of more rows.
    pub(super) fn folded(&self) -> [usize; 4] {
        let rows = self.heads / self.kv_heads * self.n;
        [self.batch, self.kv_heads, rows, self.d]
    }

    pub(super) fn queries(&self) -> [usize; 4] {
        [self.batch, self.heads, self.n, self.d]
    }

    /// Sequence, head and query of a row of all.
    pub(super) fn place(&self, row: usize) -> [usize; 3] {
        let head = row / self.n;
        [head / self.heads, head % self.heads, row % self.n]
    }
}
