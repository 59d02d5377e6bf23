//! What a plan's passes read and write, index by index: the arithmetic of the kernel, on the host. The
//! launch checks no index, so a plan has to be right about every one of them.

use std::collections::{HashMap, HashSet};

use wavecube_kernels::fft::{Algorithm, FftPlan, Hook, Load, Operand, Pass, Table};

/// Walks over every point of every pass.
///
/// `bound` are the lengths of the caller's tables.
///
/// # Errors
/// The first index that lies outside its buffer or table, the first element of the work space that is read
/// and was never written, and the first that one transform of a pass reads and another one overwrites.
pub fn check(plan: &FftPlan, bound: &[usize]) -> Result<(), String> {
    let mut written = HashSet::new();
    for (number, pass) in plan.passes.iter().enumerate() {
        walk(plan, pass, bound, &mut written)
            .map_err(|fault| format!("pass {} of\n{}\n{fault}", number + 1, plan.describe()))?;
    }
    Ok(())
}

fn walk(
    plan: &FftPlan,
    pass: &Pass,
    bound: &[usize],
    written: &mut HashSet<usize>,
) -> Result<(), String> {
    let config = &pass.config;
    let size = |operand: Operand| match operand {
        Operand::Input => plan.input_end,
        Operand::Output => plan.output_end,
        Operand::Workspace => plan.workspace,
    };
    let ends = ends(pass);
    let mut readers = HashMap::new();
    let mut writers = HashMap::new();
    for row in 0..pass.rows() {
        let at = coordinates(pass, row);
        let inner = *at.last().unwrap_or(&0);
        let begin = |offset: usize, steps: &mut dyn Iterator<Item = usize>| {
            offset + at.iter().zip(steps).map(|(a, step)| a * step).sum::<usize>()
        };
        let source = begin(pass.source_end.offset, &mut pass.batch.iter().map(|b| b.source));
        let target = begin(pass.target_end.offset, &mut pass.batch.iter().map(|b| b.target));
        let logical = |i: usize, which: usize| {
            if config.interleaved[which] { i * pass.steps[which] + inner } else { i }
        };
        let hooks = |first: usize, count: usize, point: usize| -> Result<(), String> {
            for hook in &pass.hooks[first..first + count] {
                let place = begin(0, &mut hook.strides.iter().copied()) + point;
                within(&format!("{:?}", hook.table), place, length(hook, bound))?;
            }
            Ok(())
        };
        let (loads, filters) = (config.load_hooks.len(), config.filter_hooks.len());
        for (end, begin) in [source, target].into_iter().enumerate() {
            if config.wide[end] && !begin.is_multiple_of(config.lanes) {
                return Err(format!("a wide access begins at {begin}"));
            }
        }
        for &(i, [read, write]) in &ends {
            let mut point = logical(read, 0);
            let inside = point < pass.source_end.len;
            if !inside && !config.padded {
                return Err(format!("point {point} does not exist in the source"));
            }
            if config.padded && !inside {
                point = 0;
            }
            let place = match config.load {
                Load::Hermitian { .. } if 2 * point > pass.period => pass.period - point,
                Load::Reversed => pass.period - 1 - point,
                _ => point,
            };
            let read = source + place * pass.source_end.stride;
            within("source", read, size(pass.source))?;
            if pass.source == Operand::Workspace {
                if !written.contains(&read) {
                    return Err(format!("the work space is read at {read} and was never written"));
                }
                readers.insert(read, row);
            }
            hooks(0, loads, point)?;
            if let (Some(i), Some(_)) = (i, config.filter_after) {
                for turn in 0..config.turns {
                    within("twiddles", i * turn, config.turns * config.n)?;
                    hooks(loads, filters, logical(i * config.turns + turn, 1))?;
                }
            }
            let point = logical(write, 2);
            if let Some(Table::Turn { n, low }) = pass.turn {
                let turn = write * inner;
                within("turn", config.turn_low + turn / config.turn_low, low + n.div_ceil(low))?;
            }
            if config.cropped && point >= pass.target_end.len {
                continue;
            }
            hooks(loads + filters, config.store_hooks.len(), point)?;
            let write = target + point * pass.target_end.stride;
            within("target", write, size(pass.target))?;
            if writers.insert(write, row).is_some() {
                return Err(format!("the target is written twice at {write}"));
            }
        }
    }
    if pass.target == Operand::Workspace {
        for (place, row) in &writers {
            if readers.get(place).is_some_and(|reader| reader != row) {
                return Err(format!("the work space is read and overwritten at {place}"));
            }
        }
        written.extend(writers.into_keys());
    }
    if config.algorithm == Algorithm::Naive && pass.source == pass.target {
        return Err("the definition reads what it has written".to_owned());
    }
    Ok(())
}

/// Every point that a pass reads and the one that it writes in its stead, with its place `i` in the transform,
/// where it has one: Rader's algorithm joins point 0 by the way, and a convolution that wraps around
/// the points beyond a turn.
fn ends(pass: &Pass) -> Vec<(Option<usize>, [usize; 2])> {
    match pass.powers() {
        None => {
            let n = pass.config.n;
            let beyond = match pass.wrap {
                Some(Table::ChirpWrap { n: all, .. }) => all - n,
                _ => 0,
            };
            (0..n + beyond).map(|i| ((i < n).then_some(i), [i, i])).collect()
        }
        Some(powers) => {
            let powers = powers.build().unwrap_or_default().into_iter();
            let ends = powers.map(|power| [power.re as usize; 2]);
            let ends = ends.enumerate().map(|(i, ends)| (Some(i), ends));
            core::iter::once((None, [0, 0])).chain(ends).collect()
        }
    }
}

/// The coordinates of a transform on the batch axes, the last axis fastest.
fn coordinates(pass: &Pass, mut row: usize) -> Vec<usize> {
    let mut at = vec![0; pass.batch.len()];
    for (place, axis) in at.iter_mut().zip(&pass.batch).rev() {
        *place = row % axis.len;
        row /= axis.len;
    }
    at
}

/// The entries of a hook's table.
fn length(hook: &Hook, bound: &[usize]) -> usize {
    match hook.table {
        Table::Twiddles { n } | Table::Chirp { n, .. } => n,
        Table::RaderPowers { n } | Table::RaderFilter { n, .. } => n - 1,
        Table::Turn { n, low } => low + n.div_ceil(low),
        Table::ChirpFilter { padded, .. } => padded,
        Table::ChirpWrap { n, padded, .. } => n - padded / 2,
        Table::Bound(i) => bound.get(i).copied().unwrap_or(0),
    }
}

fn within(what: &str, index: usize, end: usize) -> Result<(), String> {
    if index < end {
        Ok(())
    } else {
        Err(format!("{what}: index {index} where {end} elements are"))
    }
}
