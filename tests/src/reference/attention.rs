//! Softmax attention and its gradients by definition, in `f64`.

/// Sizes and mask of a problem; tensors are contiguous, `[batch, heads, positions, dim]`.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Sequences.
    pub batch: usize,
    /// Heads of queries, and of keys.
    pub heads: [usize; 2],
    /// Queries and keys of a sequence.
    pub len: [usize; 2],
    /// Numbers of a head.
    pub dim: usize,
    /// Multiplies products.
    pub scale: f64,
    /// How far back a query sees.
    pub left: Option<usize>,
    /// How far ahead a query sees.
    pub right: Option<usize>,
    /// `c · tanh(s/c)`.
    pub soft_cap: Option<f64>,
    /// A slope a head of queries.
    pub slopes: Option<Vec<f64>>,
    /// Queries and keys of every sequence.
    pub lengths: Option<Vec<[usize; 2]>>,
}

/// What a query makes of the keys it sees.
struct Row {
    /// Key, weight, and how fast its score changes with the product.
    weights: Vec<(usize, f64, f64)>,
    lse: f64,
}

impl Attention {
    /// Causal attention of equally long sequences.
    pub fn causal(batch: usize, heads: [usize; 2], len: [usize; 2], dim: usize) -> Self {
        Self {
            batch,
            heads,
            len,
            dim,
            scale: 1.0 / (dim as f64).sqrt(),
            left: None,
            right: Some(0),
            soft_cap: None,
            slopes: None,
            lengths: None,
        }
    }

    /// The numbers of the queries, and of the keys.
    pub fn numbers(&self) -> [usize; 2] {
        [0, 1].map(|which| self.batch * self.heads[which] * self.len[which] * self.dim)
    }

    /// Batch, head and place of every query, in order, and where it begins.
    fn queries(&self) -> impl Iterator<Item = ([usize; 3], usize)> {
        let [heads, len] = [self.heads[0], self.len[0]];
        let dim = self.dim;
        (0..self.batch * heads * len)
            .map(move |row| ([row / len / heads, row / len % heads, row % len], row * dim))
    }

    fn key_at(&self, b: usize, head: usize, key: usize) -> usize {
        let kv_head = head / (self.heads[0] / self.heads[1]);
        ((b * self.heads[1] + kv_head) * self.len[1] + key) * self.dim
    }

    fn row(&self, q: &[f64], k: &[f64], [b, head, i]: [usize; 3], at: usize) -> Row {
        let [n_q, n_k] = self.lengths.as_ref().map_or(self.len, |lengths| lengths[b]);
        let position = n_k as i64 - n_q as i64 + i as i64;
        let sees = |key: i64| {
            i < n_q
                && self.left.is_none_or(|left| key >= position - left as i64)
                && self.right.is_none_or(|right| key <= position + right as i64)
        };
        let mut scores = Vec::new();
        for key in (0..n_k).filter(|&key| sees(key as i64)) {
            let k = &k[self.key_at(b, head, key)..][..self.dim];
            let product = self.scale * dot(&q[at..][..self.dim], k);
            let (value, slope) = match self.soft_cap {
                Some(cap) => {
                    let bent = (product / cap).tanh();
                    (cap * bent, 1.0 - bent * bent)
                }
                None => (product, 1.0),
            };
            let distance = (position - key as i64).abs() as f64;
            let bias = self.slopes.as_ref().map_or(0.0, |slopes| slopes[head] * distance);
            scores.push((key, value - bias, slope));
        }
        let most = scores.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|s| (s.1 - most).exp()).sum();
        let weights = scores
            .iter()
            .map(|&(key, value, slope)| (key, (value - most).exp() / total, slope))
            .collect();
        let lse = if scores.is_empty() { f64::NEG_INFINITY } else { most + total.ln() };
        Row { weights, lse }
    }

    /// The result and its log-sum-exp.
    pub fn forward(&self, q: &[f64], k: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut out, mut all_lse) = (vec![0.0; self.numbers()[0]], Vec::new());
        for (place @ [b, head, _], at) in self.queries() {
            let Row { weights, lse } = self.row(q, k, place, at);
            for (key, weight, _) in weights {
                let v = &v[self.key_at(b, head, key)..][..self.dim];
                add(&mut out[at..][..self.dim], weight, v);
            }
            all_lse.push(lse);
        }
        (out, all_lse)
    }

    /// The gradients of queries, keys and values from that of the result.
    pub fn gradients(&self, [q, k, v, g]: [&[f64]; 4]) -> [Vec<f64>; 3] {
        let (dim, [of_q, of_k]) = (self.dim, self.numbers());
        let [mut by_q, mut by_k, mut by_v] = [vec![0.0; of_q], vec![0.0; of_k], vec![0.0; of_k]];
        for (place @ [b, head, _], at) in self.queries() {
            let weights = self.row(q, k, place, at).weights;
            let g = &g[at..][..dim];
            let by_weight: Vec<f64> = weights
                .iter()
                .map(|&(key, ..)| dot(g, &v[self.key_at(b, head, key)..][..dim]))
                .collect();
            let mean: f64 = weights.iter().zip(&by_weight).map(|(w, by)| w.1 * by).sum();
            for (&(key, weight, slope), by) in weights.iter().zip(by_weight) {
                let k_at = self.key_at(b, head, key);
                let by_product = weight * (by - mean) * slope * self.scale;
                add(&mut by_v[k_at..][..dim], weight, g);
                add(&mut by_q[at..][..dim], by_product, &k[k_at..][..dim]);
                add(&mut by_k[k_at..][..dim], by_product, &q[at..][..dim]);
            }
        }
        [by_q, by_k, by_v]
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}
