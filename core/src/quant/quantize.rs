//! From weights to codes: to the nearest, with the range of a group clipped where that lessens its error.

use super::{PackedWeight, Scheme, weight::Parts};
use crate::{Error, Result};

const OP: &str = "quantize";
/// The ranges that a search tries, from the whole one down to a little over a third of it.
const RANGES: usize = 26;
const RANGE_STEP: f32 = 0.025;

/// How the range of a group's codes is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clip<'a> {
    /// It covers every weight of the group.
    None,
    /// Of some smaller ranges, the one with the least sum of squared errors of weights.
    Search,
    /// The same with the error of every input weighted, by the mean square of that input's activations in a
    /// calibration run: `k` numbers.
    Calibrated(&'a [f32]),
}

impl PackedWeight {
    /// Quantises a weight matrix `[n, k]`, row by row: every weight to the nearest code.
    ///
    /// # Errors
    /// [`Error::Length`] if there are not `n·k` values, or not `k` numbers of a calibration; [`Error::Value`] for
    /// a value or a calibration that is not finite, a calibration below zero, or a range that the type of the
    /// scales cannot express; [`Error::Limit`] if sizes overflow.
    pub fn quantize(
        values: &[f32],
        [n, k]: [usize; 2],
        scheme: Scheme,
        clip: Clip,
    ) -> Result<Self> {
        let parts = Parts::new(scheme, [n, k])?;
        if values.len() != n * k {
            let expected = "as many as the shape has";
            return Err(Error::Length {
                op: OP,
                argument: "values",
                expected,
                found: values.len(),
            });
        }
        if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
            let (expected, found) = ("finite", value.into());
            return Err(Error::Value { op: OP, argument: "values", expected, found });
        }
        let importance = match clip {
            Clip::Calibrated(importance) => {
                check_importance(importance, k)?;
                Some(importance)
            }
            Clip::None | Clip::Search => None,
        };
        let ranges = if clip == Clip::None { 1 } else { RANGES };
        let mut codes = Vec::with_capacity(values.len());
        let mut scales = Vec::with_capacity(parts.groups);
        let mut zeros = Vec::new();
        let group_len = scheme.group.len(k);
        for row in values.chunks(k) {
            for (i, group) in row.chunks(group_len).enumerate() {
                let importance = importance.map(|all| &all[i * group_len..][..group.len()]);
                let grid = Grid::best(group, importance, ranges, scheme);
                if grid.scale > scheme.scale.largest() {
                    let most = group.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
                    let (expected, found) = ("within the range of the scales' type", most.into());
                    return Err(Error::Value { op: OP, argument: "values", expected, found });
                }
                codes.extend(group.iter().map(|&value| grid.code(value)));
                scales.push(grid.scale);
                if !scheme.symmetric {
                    zeros.push(grid.zero as u8);
                }
            }
        }
        Self::pack(scheme, [n, k], &codes, &scales, &zeros)
    }
}

fn check_importance(importance: &[f32], k: usize) -> Result<()> {
    if importance.len() != k {
        let (expected, found) = ("one number an input", importance.len());
        return Err(Error::Length { op: OP, argument: "clip", expected, found });
    }
    match importance.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
        Some(&value) => {
            let (expected, found) = ("finite and not negative", value.into());
            Err(Error::Value { op: OP, argument: "clip", expected, found })
        }
        None => Ok(()),
    }
}

/// What the codes of a group stand for.
#[derive(Clone, Copy)]
struct Grid {
    scale: f32,
    zero: f32,
    lowest: f32,
    largest: f32,
}

impl Grid {
    /// The grid over the part `share` of the range of the weights between `low ≤ 0` and `high ≥ 0`.
    fn new(low: f32, high: f32, share: f32, scheme: Scheme) -> Self {
        let largest = scheme.bits.largest() as f32;
        let middle = scheme.bits.middle() as f32;
        // Halved before the difference, which may exceed the largest number.
        let (range, steps) = if scheme.symmetric {
            (high.max(-low), middle - 1.0)
        } else {
            (0.5 * high - 0.5 * low, 0.5 * largest)
        };
        let wanted = share * (range / steps);
        // Weights that are all zero have any scale.
        let wanted = if wanted > 0.0 { wanted.max(scheme.scale.smallest()) } else { 1.0 };
        let scale = scheme.scale.decode(scheme.scale.encode(wanted));
        let zero = if scheme.symmetric {
            middle
        } else {
            (-share * low / scale).round().clamp(0.0, largest)
        };
        // A symmetric grid is as long on both sides; and none has codes for what exceeds the largest number.
        let lowest: f32 = if scheme.symmetric { 1.0 } else { 0.0 };
        let steps = match (f32::MAX / scale).floor() {
            // An infinite scale is refused by who asked for the grid.
            _ if scale.is_infinite() => largest,
            steps if (scale * steps).is_infinite() => steps - 1.0,
            steps => steps,
        };
        let (lowest, largest) = (lowest.max(zero - steps), largest.min(zero + steps));
        Self { scale, zero, lowest, largest }
    }

    fn code(&self, value: f32) -> u8 {
        ((value / self.scale).round() + self.zero).clamp(self.lowest, self.largest) as u8
    }

    /// The sum of squared errors.
    fn error(&self, group: &[f32], importance: Option<&[f32]>) -> f64 {
        let square = |value: f32| {
            let steps = f32::from(self.code(value)) - self.zero;
            f64::from(self.scale * steps - value).powi(2)
        };
        match importance {
            None => group.iter().map(|&value| square(value)).sum(),
            Some(importance) => {
                group.iter().zip(importance).map(|(&v, &w)| f64::from(w) * square(v)).sum()
            }
        }
    }

    /// The grid of least error among `ranges`, of which the first covers every weight.
    fn best(group: &[f32], importance: Option<&[f32]>, ranges: usize, scheme: Scheme) -> Self {
        let low = group.iter().copied().fold(0.0, f32::min);
        let high = group.iter().copied().fold(0.0, f32::max);
        let mut best = Self::new(low, high, 1.0, scheme);
        let mut least = best.error(group, importance);
        for step in 1..ranges {
            let grid = Self::new(low, high, 1.0 - RANGE_STEP * step as f32, scheme);
            let error = grid.error(group, importance);
            if error < least {
                (best, least) = (grid, error);
            }
        }
        best
    }
}
