//! The levels that numbers are rounded to.

/// The rounds of Lloyd's iteration at most, and the numbers that it looks at, about.
const ROUNDS: usize = 60;
const SAMPLES: usize = 1 << 14;
/// The bins that a density is looked at in.
const BINS: usize = 256;

/// The place of the level nearest to `x`.
pub(super) fn nearest(levels: &[f32], x: f64) -> usize {
    let after = levels.partition_point(|&level| f64::from(level) < x);
    let nearer = |a: usize, b: usize| {
        let distance = |i: usize| (f64::from(levels[i]) - x).abs();
        if distance(a) <= distance(b) { a } else { b }
    };
    match after {
        0 => 0,
        _ if after == levels.len() => after - 1,
        _ => nearer(after - 1, after),
    }
}

/// Where `count` levels are about best: as dense as the cube root of the density of `values`, which are in
/// order (Panter and Dite 1951).
fn dense_levels(values: &[f64], count: usize) -> Vec<f64> {
    let Some((&first, &last)) = values.first().zip(values.last()) else {
        return vec![0.0; count];
    };
    // Bins of equal shares: the density is the inverse of their width.
    let bins = BINS.min(values.len());
    let edge = |bin: usize| {
        if bin == bins { last } else { values[bin * values.len() / bins] }
    };
    let widths: Vec<f64> = (0..bins).map(|bin| edge(bin + 1) - edge(bin)).collect();
    let total: f64 = widths.iter().map(|width| width.powf(2.0 / 3.0)).sum();
    let mut levels = Vec::with_capacity(count);
    let (mut bin, mut before) = (0, 0.0);
    for i in 0..count {
        let wanted = (i as f64 + 0.5) / count as f64 * total;
        while bin + 1 < bins && before + widths[bin].powf(2.0 / 3.0) < wanted {
            before += widths[bin].powf(2.0 / 3.0);
            bin += 1;
        }
        let share = (wanted - before) / widths[bin].powf(2.0 / 3.0);
        levels.push(if total > 0.0 { edge(bin) + share.min(1.0) * widths[bin] } else { first });
    }
    levels
}

/// The `count` levels with the least mean square distance to `values`, which are in order, by Lloyd's
/// iteration.
pub(super) fn best_levels(values: &[f64], count: usize) -> Vec<f32> {
    let mut sums = vec![0.0];
    for value in values {
        sums.push(sums[sums.len() - 1] + value);
    }
    let mean = |from: usize, to: usize| (sums[to] - sums[from]) / (to - from) as f64;
    let mut levels = dense_levels(values, count);
    for _ in 0..ROUNDS {
        let middles: Vec<f64> =
            levels.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).collect();
        let mut from = 0;
        let mut moved = 0.0_f64;
        for (i, level) in levels.iter_mut().enumerate() {
            let to = match middles.get(i) {
                Some(middle) => values.partition_point(|value| value < middle),
                None => values.len(),
            };
            if from < to {
                let best = mean(from, to);
                moved = moved.max((best - *level).abs());
                *level = best;
            }
            from = to.max(from);
        }
        if moved < 1e-6 {
            break;
        }
    }
    levels.into_iter().map(|level| level as f32).collect()
}

/// Every so many of `values`, in order.
pub(super) fn in_order(values: impl Iterator<Item = f64>, total: usize) -> Vec<f64> {
    let mut values: Vec<f64> = values.step_by(total.div_ceil(SAMPLES).max(1)).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The mean square that the best `count` magnitudes and the `phases` leave.
fn distortion(magnitudes: &[f64], levels: &[f32], phases: usize) -> f64 {
    let step = std::f64::consts::TAU / phases as f64;
    // `|r − ρe^{iδ}|²` for `δ` even in ±step/2: `r² + ρ² − 2rρ sinc(step/2)`.
    let cosine = (0.5 * step).sin() / (0.5 * step);
    let of = |&r: &f64| {
        let level = f64::from(levels[nearest(levels, r)]);
        r * r + level * level - 2.0 * r * level * cosine
    };
    magnitudes.iter().map(of).sum::<f64>() / magnitudes.len().max(1) as f64
}

/// The magnitudes, with the phases that `bits` leave beside them, that are best.
pub(super) fn best_share(magnitudes: &[f64], bits: u32) -> (Vec<f32>, usize) {
    let codes = 1_usize << bits;
    let mut best = (vec![1.0], codes, f64::INFINITY);
    // In steps of the root of two, down to four phases.
    let mut halves = 0;
    while (1_usize << (halves / 2)) * 4 <= codes {
        let count = (2.0_f64.powf(f64::from(halves) / 2.0)).round() as usize;
        let (levels, phases) = (best_levels(magnitudes, count), codes / count);
        let left = distortion(magnitudes, &levels, phases);
        if left < best.2 {
            best = (levels, phases, left);
        }
        halves += 1;
    }
    (best.0, best.1)
}
