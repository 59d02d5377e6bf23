//! Attention by its definition, pair by pair on the host in `f64`: what no query sees is not read.

use super::options::{Attention, Sizes};

/// A key that a query sees.
struct Seen {
    key: usize,
    weight: f64,
    /// What the gradient of the score takes to be that of the product.
    slope: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn line(of: &[f64], row: usize, d: usize) -> &[f64] {
    &of[row * d..(row + 1) * d]
}

/// Calls `with` for every query: its number among all, the keys that it sees by their numbers among all, and the
/// logarithm of the sum of its exponentials.
fn queries(
    options: &Attention,
    sizes: &Sizes,
    [q, k]: [&[f64]; 2],
    mut with: impl FnMut(usize, &[Seen], f64),
) {
    let Sizes { batch, heads, kv_heads, n, m, d } = *sizes;
    let factor = options.factor(d);
    for row in 0..batch * heads * n {
        let [sequence, head, query] = sizes.place(row);
        let first = (sequence * kv_heads + head * kv_heads / heads) * m;
        let sight = options.sight(sizes, sequence, query);
        let slope = f64::from(options.slope(head));
        let score = |key: usize| {
            let score = factor * dot(line(q, row, d), line(k, first + key, d));
            let (score, by_product) = match options.cap().map(f64::from) {
                Some(cap) => {
                    let tanh = (score / cap).tanh();
                    (cap * tanh, factor * (1.0 - tanh * tanh))
                }
                None => (score, factor),
            };
            let weight = score - slope * sight.distance(key) as f64;
            Seen { key: first + key, weight, slope: by_product }
        };
        let mut seen: Vec<Seen> = sight.all().map(score).collect();
        let most = seen.iter().map(|seen| seen.weight).fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for seen in &mut seen {
            seen.weight = (seen.weight - most).exp();
            sum += seen.weight;
        }
        for seen in &mut seen {
            seen.weight /= sum;
        }
        let log_sum = if seen.is_empty() { f64::NEG_INFINITY } else { most + sum.ln() };
        with(row, &seen, log_sum);
    }
}

/// The result, and the logarithm of the sum of every query's exponentials.
pub(super) fn attention(
    options: &Attention,
    sizes: &Sizes,
    [q, k, v]: [&[f64]; 3],
) -> [Vec<f64>; 2] {
    let d = sizes.d;
    let (mut out, mut log_sums) = (vec![0.0; q.len()], vec![0.0; q.len() / d]);
    queries(options, sizes, [q, k], |row, seen, log_sum| {
        log_sums[row] = log_sum;
        for Seen { key, weight, .. } in seen {
            let line = line(v, *key, d);
            out[row * d..][..d].iter_mut().zip(line).for_each(|(out, v)| *out += weight * v);
        }
    });
    [out, log_sums]
}

/// The gradients of `q`, `k` and `v`.
pub(super) fn attention_vjp(
    options: &Attention,
    sizes: &Sizes,
    [q, k, v, grad]: [&[f64]; 4],
) -> [Vec<f64>; 3] {
    let d = sizes.d;
    let [mut by_q, mut by_k, mut by_v] = [q, k, v].map(|of| vec![0.0; of.len()]);
    queries(options, sizes, [q, k], |row, seen, _| {
        let grad = line(grad, row, d);
        let by_weight: Vec<f64> = seen.iter().map(|seen| dot(line(v, seen.key, d), grad)).collect();
        let mean: f64 = seen.iter().zip(&by_weight).map(|(seen, by)| seen.weight * by).sum();
        for (Seen { key, weight, slope }, by_weight) in seen.iter().zip(by_weight) {
            let by_product = slope * weight * (by_weight - mean);
            for i in 0..d {
                by_q[row * d + i] += by_product * k[key * d + i];
                by_k[key * d + i] += by_product * q[row * d + i];
                by_v[key * d + i] += weight * grad[i];
            }
        }
    });
    [by_q, by_k, by_v]
}
