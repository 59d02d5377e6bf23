//! Lines along one axis of strided operands: the geometry that a plan works out, and how a kernel finds
//! its way with it.

use cubecl::prelude::*;
use wavecube_core::Layout;

use crate::launch::sequence;

/// Lines along one axis of operands of equal batch shape. Pure host data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinesOf {
    /// The batch axes, slowest first: the length, and the step of every operand.
    pub batch: Vec<(usize, Vec<usize>)>,
    /// Where each operand begins.
    pub offsets: Vec<usize>,
    /// The step from point to point of each operand.
    pub strides: Vec<usize>,
    /// The number of lines.
    pub rows: usize,
    /// The points of a line.
    pub n: usize,
}

impl LinesOf {
    /// The lines of `layouts` along `axis`, `n` points each. Batch axes that all operands cross in one
    /// even step become one. The caller has checked that the batch shapes are equal.
    pub fn new(layouts: &[&Layout], axis: usize, n: usize) -> Self {
        let first = layouts[0];
        let kept = (0..first.rank()).filter(|&i| i != axis);
        let along = |layout: &&Layout| layout.strides().get(axis).copied().unwrap_or(0);
        Self {
            batch: merged(
                layouts.len(),
                kept.map(|i| {
                    (first.shape()[i], layouts.iter().map(|layout| layout.strides()[i]).collect())
                }),
            ),
            offsets: layouts.iter().map(|layout| layout.offset()).collect(),
            strides: layouts.iter().map(along).collect(),
            rows: (0..first.rank()).filter(|&i| i != axis).map(|i| first.shape()[i]).product(),
            n,
        }
    }
}

/// Drops axes of length 1, joins those that all of the `operands` cross in one even step, and never returns
/// nothing.
pub(crate) fn merged(
    operands: usize,
    axes: impl Iterator<Item = (usize, Vec<usize>)>,
) -> Vec<(usize, Vec<usize>)> {
    let mut batch: Vec<(usize, Vec<usize>)> = Vec::new();
    for (len, inner) in axes.filter(|(len, _)| *len != 1) {
        match batch.last_mut() {
            Some((total, outer))
                if outer.iter().zip(&inner).all(|(&o, &i)| Some(o) == i.checked_mul(len)) =>
            {
                *total = total.saturating_mul(len);
                *outer = inner;
            }
            _ => batch.push((len, inner)),
        }
    }
    if batch.is_empty() {
        batch.push((1, vec![0; operands]));
    }
    batch
}

/// Lines of `n` points along one axis of strided operands, and the batch that they form.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Lines {
    /// The lengths of the batch axes, slowest first.
    pub(crate) batch: Sequence<usize>,
    /// The steps along the batch axes, operand by operand.
    pub(crate) steps: Sequence<usize>,
    /// Where each operand begins.
    pub(crate) offsets: Sequence<usize>,
    /// The step from point to point of each operand.
    pub(crate) strides: Sequence<usize>,
    /// The number of lines.
    pub(crate) rows: usize,
    /// The points of a line.
    pub(crate) n: usize,
}

/// Where line `row` of an operand begins.
#[cube]
pub(crate) fn line(lines: &Lines, row: usize, #[comptime] operand: usize) -> usize {
    let rank = lines.batch.len().comptime();
    let mut rest = row;
    let mut at = lines.offsets[operand];
    #[unroll]
    for d in 0..rank {
        let axis = comptime!(rank - 1 - d);
        let mut coordinate = rest;
        if comptime!(d + 1 < rank) {
            coordinate = rest % lines.batch[axis];
            rest /= lines.batch[axis];
        }
        at += coordinate * lines.steps[comptime!(operand * rank + axis)];
    }
    at
}

/// The geometry as a kernel's argument.
pub(crate) fn lines_arg(lines: &LinesOf) -> LinesLaunch {
    let operands = lines.offsets.len();
    let steps = (0..operands).flat_map(|o| lines.batch.iter().map(move |(_, steps)| steps[o]));
    LinesLaunch::new(
        sequence(lines.batch.iter().map(|(len, _)| *len)),
        sequence(steps),
        sequence(lines.offsets.iter().copied()),
        sequence(lines.strides.iter().copied()),
        lines.rows,
        lines.n,
    )
}
