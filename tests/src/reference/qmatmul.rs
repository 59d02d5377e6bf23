//! Products with matrices from their sums.

/// `y[m, n] = Σ_k x[m, k] W[n, k]`, for `x` of rows of `k`.
pub fn product(x: &[f64], w: &[f64], k: usize) -> Vec<f64> {
    let row = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum();
    x.chunks(k).flat_map(|x| w.chunks(k).map(|w| row(x, w)).collect::<Vec<_>>()).collect()
}

/// `dx[m, k] = Σ_n g[m, n] W[n, k]`.
pub fn transposed(g: &[f64], w: &[f64], k: usize) -> Vec<f64> {
    let n = w.len() / k;
    let column = |j: usize| w[j..].iter().step_by(k).copied();
    g.chunks(n)
        .flat_map(|g| (0..k).map(|j| g.iter().zip(column(j)).map(|(g, w)| g * w).sum::<f64>()))
        .collect()
}

/// A row of activations as 255 steps between plus and minus its largest element stand for it.
pub fn in_steps(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    row.iter().map(|v| (v / step).round() * step).collect()
}
