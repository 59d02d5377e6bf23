//! Eigenvectors of a symmetric tridiagonal matrix: implicit QL with Wilkinson shifts.
//!
//! Parlett, *The Symmetric Eigenvalue Problem*, ch. 8. Orthogonality of the vectors is that of a
//! product of plane rotations, about `ε·√(sweeps)`, whatever the gaps.

/// The eigenvectors, one a row, by descending eigenvalue; row-major `[n, n]`.
///
/// `diagonal` has `n` entries, `off` the `n − 1` entries beside it.
pub(super) fn eigenvectors(mut diagonal: Vec<f64>, mut off: Vec<f64>) -> Vec<f64> {
    let n = diagonal.len();
    // Rows are eigenvectors, so that a rotation of two of them runs through contiguous memory.
    let mut rows = vec![0.0; n * n];
    for i in 0..n {
        rows[i * n + i] = 1.0;
    }
    for start in 0..n {
        while let Some(end) = unreduced_end(&diagonal, &off, start) {
            sweep(&mut diagonal, &mut off, &mut rows, start, end);
        }
    }
    let mut order = (0..n).collect::<Vec<_>>();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]));
    order.iter().flat_map(|&i| &rows[i * n..(i + 1) * n]).copied().collect()
}

/// The last row of the unreduced block that begins at `start`, if the block has more than one row.
fn unreduced_end(diagonal: &[f64], off: &[f64], start: usize) -> Option<usize> {
    let negligible = |i: usize| {
        let scale = diagonal[i].abs() + diagonal[i + 1].abs();
        off[i].abs() <= 0.5 * f64::EPSILON * scale || off[i] == 0.0
    };
    let end = (start..off.len()).find(|&i| negligible(i)).unwrap_or(off.len());
    (end > start).then_some(end)
}

/// One implicit QL step on rows `start ..= end`: it drives `off[start]` to zero.
fn sweep(diagonal: &mut [f64], off: &mut [f64], rows: &mut [f64], start: usize, end: usize) {
    let n = diagonal.len();
    // The eigenvalue of the leading 2×2 block nearer diagonal[start].
    let half_gap = 0.5 * (diagonal[start + 1] - diagonal[start]);
    let radius = half_gap.hypot(off[start]);
    let shift = diagonal[start] - off[start] * off[start] / (half_gap + radius.copysign(half_gap));

    // Rotate from the bottom up, chasing the bulge: `along` and `bulge` are the entries that the next
    // rotation has to bring onto the axis.
    let mut along = diagonal[end] - shift;
    let mut bulge = off[end - 1];
    for i in (start..end).rev() {
        let length = along.hypot(bulge);
        let (cos, sin) = if length == 0.0 { (1.0, 0.0) } else { (along / length, bulge / length) };
        if i + 1 < end {
            off[i + 1] = length;
        }
        // The 2×2 block of rows i, i + 1 under the rotation.
        let (upper, lower, side) = (diagonal[i], diagonal[i + 1], off[i]);
        let mixed = 2.0 * cos * sin * side;
        diagonal[i] = cos * cos * upper + sin * sin * lower - mixed;
        diagonal[i + 1] = sin * sin * upper + cos * cos * lower + mixed;
        off[i] = (cos - sin) * (cos + sin) * side + cos * sin * (upper - lower);
        if i > start {
            along = off[i];
            bulge = sin * off[i - 1];
            off[i - 1] *= cos;
        }
        let (head, tail) = rows.split_at_mut((i + 1) * n);
        for (low, high) in head[i * n..].iter_mut().zip(&mut tail[..n]) {
            let (x, y) = (*low, *high);
            *low = cos * x - sin * y;
            *high = sin * x + cos * y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_difference_has_sine_eigenvectors() {
        for n in [1usize, 2, 3, 50] {
            let rows = eigenvectors(vec![0.0; n], vec![1.0; n - 1]);
            for k in 0..n {
                let row = &rows[k * n..(k + 1) * n];
                let sign = row[0].signum();
                for (j, value) in row.iter().enumerate() {
                    let angle = core::f64::consts::PI * ((k + 1) * (j + 1)) as f64 / (n + 1) as f64;
                    let want = (2.0 / (n + 1) as f64).sqrt() * angle.sin();
                    // Residual ε‖T‖√sweeps over the smallest gap, 2π²/(n+1)² ≈ 0.0076 at n = 50.
                    assert!((sign * value - want).abs() < 2e-12, "n = {n}, k = {k}, j = {j}");
                }
            }
        }
    }
}
