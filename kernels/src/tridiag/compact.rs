//! Sequences of which some elements are skipped: what of the operators is left, the diagonal at the
//! skipped elements, and the gradients of both.
//!
//! A kept element keeps its `a_k`, and its link to the right, `b_k` and `c_k` or `p_k`, which now ends at
//! the next kept element. The compacted operator is one like any other, only shorter: the recursions never
//! see a skipped element. Between two kept elements `i < j` the diagonal is
//! `G_k = ((j − k) G_i + (k − i) G_j)/(j − i)`, before the first and behind the last that of the nearest.
//!
//! Sequences keep different numbers of elements: all are as long as the longest, the shorter ones with
//! `a = Re z + 1`, or 0 where `Re z` is not small, and no link behind their last, which meets nothing and vanishes nowhere.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Limits, Result};

use super::{
    launch::{Enqueue, TridiagBindings, TridiagGradients, parts},
    operands::{Apart, Geometry, Operands, Pairs, Segment, SegmentLaunch, element, locate, store},
    plan::{FILL, SEGMENT, TileConfig, TridiagPlan},
    scan::{add, complex, real, scale},
};
use crate::{
    elem_type,
    grid::grid,
    launch::{buffer, count, holds},
    lines::line,
};

/// Which elements of sequences are kept. Immutable host data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeptElements {
    /// The elements of a sequence.
    pub n: usize,
    /// The sequences that are described; 1 may serve a whole batch.
    pub rows: usize,
    /// The most that a sequence keeps.
    pub most: usize,
    /// The most elements between two kept ones, or outside them.
    pub gap: usize,
    /// The kept elements of every sequence, in order, and then `u32::MAX` up to `most`.
    pub kept: Vec<u32>,
    /// For every element how many kept ones there are up to it.
    pub ranks: Vec<u32>,
}

impl KeptElements {
    /// From a flag for each of the `n` elements of one sequence or of several.
    ///
    /// # Errors
    /// [`Error::Length`] if `n` is 0 or 2³² − 1 and more, if there are no whole sequences, or if a sequence
    /// keeps nothing.
    ///
    /// ```
    /// use wavecube_kernels::tridiag::KeptElements;
    /// let elements = KeptElements::new("test", &[true, false, false, true, true], 5)?;
    /// assert_eq!((elements.kept, elements.ranks), (vec![0, 3, 4], vec![1, 1, 1, 2, 3]));
    /// # Ok::<(), wavecube_core::Error>(())
    /// ```
    pub fn new(op: &'static str, keep: &[bool], n: usize) -> Result<Self> {
        let length = |argument, expected, found| Error::Length { op, argument, expected, found };
        if n == 0 || n >= u32::MAX as usize {
            return Err(length("n", "at least 1 and below 2^32 - 1", n));
        }
        if keep.is_empty() || !keep.len().is_multiple_of(n) {
            return Err(length("keep", "a flag for every element of whole sequences", keep.len()));
        }
        let chosen = |row: &[bool]| row.iter().filter(|&&keep| keep).count();
        let most = keep.chunks(n).map(chosen).max().unwrap_or(0);
        let mut elements =
            Self { n, rows: keep.len() / n, most, gap: 0, kept: Vec::new(), ranks: Vec::new() };
        for row in keep.chunks(n) {
            let count = chosen(row);
            if count == 0 {
                return Err(length("keep", "one kept element a sequence at least", 0));
            }
            let mut rank = 0;
            let mut gap = 0;
            for (k, &keep) in row.iter().enumerate() {
                if keep {
                    rank += 1;
                    gap = 0;
                    elements.kept.push(k as u32);
                } else {
                    gap += 1;
                    elements.gap = elements.gap.max(gap);
                }
                elements.ranks.push(rank);
            }
            elements.kept.extend((count..most).map(|_| u32::MAX));
        }
        Ok(elements)
    }

    /// The segments of the sums over the elements between kept ones: nobody's loop is too long.
    fn segments(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let longest = 2 * self.gap + 1;
        (0..longest.div_ceil(SEGMENT)).map(|i| (i * SEGMENT, (i + 1) * SEGMENT))
    }
}

/// The launches around a problem of which elements are skipped. Immutable host data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CompactPlan {
    /// Of the whole problem: operands, batch and the layout of the diagonal.
    pub whole: TridiagPlan,
    /// The most elements that a sequence keeps.
    pub most: usize,
    /// The sequences for which this is described: all, or 1 for all.
    pub described: usize,
    /// Units of a cube.
    pub units: usize,
    /// The grid with a unit for every kept element, and with one for every element.
    pub cubes: [[usize; 3]; 2],
}

impl CompactPlan {
    /// Validates which elements of a planned problem are kept.
    ///
    /// # Errors
    /// [`Error::Shape`] if they are not those of its sequences, [`Error::Limit`] if the grid is too large.
    pub fn new(whole: TridiagPlan, elements: &KeptElements, limits: &Limits) -> Result<Self> {
        let op = whole.op;
        let described = elements.rows;
        if elements.n != whole.lines.n || !(described == 1 || described == whole.lines.rows) {
            let (expected, found) =
                (vec![whole.lines.rows, whole.lines.n], vec![elements.rows, elements.n]);
            return Err(Error::Shape { op, argument: "kept", expected, found });
        }
        let units = if limits.serial { 1 } else { FILL.min(limits.units_per_cube) };
        let most = elements.most;
        let cubes =
            |len: usize| grid(op, whole.lines.rows.saturating_mul(len).div_ceil(units), limits);
        let cubes = [cubes(most)?, cubes(whole.lines.n)?];
        Ok(Self { whole, most, described, units, cubes })
    }
}

/// What stands in for a missing place.
const NONE: u32 = u32::MAX;

/// How many sequences there are, of how many elements, of which how many are kept at most, and for how
/// many sequences this is described: all or one.
#[derive(CubeType, CubeLaunch)]
struct Sizes {
    rows: usize,
    n: usize,
    most: usize,
    described: usize,
}

/// The place of a unit: a sequence, an element, and the sequence that describes what is kept.
#[derive(CubeType)]
struct Place {
    row: usize,
    i: usize,
    described: usize,
}

/// The place among sequences of `len` elements.
#[cube]
fn placed(sizes: &Sizes, len: usize) -> Place {
    let row = ABSOLUTE_POS / len;
    Place { row, i: ABSOLUTE_POS % len, described: min(row, sizes.described - 1) }
}

/// Operands of the kept elements.
#[cube(launch_unchecked)]
fn compact<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    kept: &[u32],
    mut out: Apart<F, NA, NB>,
    sizes: &Sizes,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let geometry = &operands.beside.geometry;
    let most = sizes.most;
    if ABSOLUTE_POS < sizes.rows * most {
        let place = placed(sizes, most);
        let flags = place.described * most;
        let row = locate::<F, NA, NB>(operands, place.row);
        let [complex_a, complex_b] = comptime!(config.complex);
        let k = kept[flags + place.i];
        if k == NONE {
            // Not the shift, to whatever it is rounded.
            let far = row.z.re.abs() >= F::new(1.0);
            let re = select(far, F::new(0.0), row.z.re + F::new(1.0));
            let apart = complex::<F>(re, F::new(0.0));
            store::<F, NA>(&mut out.a, ABSOLUTE_POS, apart, complex_a);
        } else {
            let at = row.a + k as usize * geometry.lines.strides[0usize];
            let value = element::<F, NA>(&operands.a, at, complex_a);
            store::<F, NA>(&mut out.a, ABSOLUTE_POS, value, complex_a);
        }
        if place.i + 1 < most {
            let at = place.row * (most - 1) + place.i;
            if kept[flags + place.i + 1] == NONE {
                store::<F, NB>(&mut out.b, at, real::<F>(0.0f32), complex_b);
                if comptime!(!config.product) {
                    let at = out.lower + at;
                    store::<F, NB>(&mut out.b, at, real::<F>(0.0f32), complex_b);
                }
            } else {
                let from = row.b + k as usize * geometry.lines.strides[1usize];
                store::<F, NB>(
                    &mut out.b,
                    at,
                    element::<F, NB>(&operands.beside.b, from, complex_b),
                    complex_b,
                );
                if comptime!(!config.product) {
                    let from = row.c + k as usize * geometry.lines.strides[2usize];
                    let value = element::<F, NB>(&operands.beside.c, from, complex_b);
                    let at = out.lower + at;
                    store::<F, NB>(&mut out.b, at, value, complex_b);
                }
            }
        }
    }
}

/// The diagonal at every element from that at the kept ones.
#[cube(launch_unchecked)]
fn interpolate<F: Float>(
    geometry: &Geometry,
    kept: &[u32],
    ranks: &[u32],
    diagonal: &Pairs<F>,
    out: &mut Pairs<F>,
    sizes: &Sizes,
    #[define(F)] _dtype: ElemType,
) {
    let n = sizes.n;
    let most = sizes.most;
    if ABSOLUTE_POS < sizes.rows * n {
        let place = placed(sizes, n);
        let flags = place.described * most;
        let rank = ranks[place.described * n + place.i] as usize;
        let left = max(rank, 1usize) - 1;
        let right = min(rank, most - 1);
        let from = kept[flags + left];
        let to = kept[flags + right];
        let here = place.i as u32;
        // Before the first both are the first; behind the last the other is none, or the last again.
        let inside = to != NONE && to > from && here > from;
        let width = F::cast_from(select(inside, to - from, 1u32));
        let t = select(inside, F::cast_from(here - from) / width, F::new(0.0));
        let base = place.row * most;
        let a = element::<F, Const<2>>(diagonal, base + left, true);
        let b = element::<F, Const<2>>(diagonal, base + right, true);
        let one = F::new(1.0);
        // What is not asked for may be infinite.
        let value = add::<F>(scale::<F>(a, one - t), scale::<F>(b, t));
        let at =
            line(&geometry.lines, place.row, 4usize) + place.i * geometry.lines.strides[4usize];
        let mut stored = Vector::<F, Const<2>>::empty();
        stored.insert(0usize, select(inside, value.re, a.re));
        stored.insert(1usize, select(inside, value.im, a.im));
        out[at] = stored;
    }
}

/// The adjoint of [`interpolate`]: what every kept element has to do with the gradient at the elements
/// around it, `segment` of them a launch.
#[cube(launch_unchecked)]
fn gather<F: Float>(
    geometry: &Geometry,
    kept: &[u32],
    g: &Pairs<F>,
    out: &mut Pairs<F>,
    segment: &Segment,
    sizes: &Sizes,
    #[define(F)] _dtype: ElemType,
) {
    let n = sizes.n;
    let most = sizes.most;
    if ABSOLUTE_POS < sizes.rows * most {
        let place = placed(sizes, most);
        let flags = place.described * most;
        let own = kept[flags + place.i];
        let mut re = F::new(0.0);
        let mut im = F::new(0.0);
        if segment.first > 0 {
            let before = out[ABSOLUTE_POS];
            re = before.extract(0usize);
            im = before.extract(1usize);
        }
        if own != NONE {
            let here = own as usize;
            let is_first = place.i == 0;
            let left = kept[flags + max(place.i, 1usize) - 1] as usize;
            let next = kept[flags + min(place.i + 1, most - 1)];
            let is_last = place.i + 1 == most || next == NONE;
            let right = select(is_last, n, next as usize);
            let begin_at = select(is_first, 0usize, left + 1);
            let first = min(begin_at + segment.first, right);
            let last = min(begin_at + segment.last, right);
            let base = line(&geometry.lines, place.row, 4usize);
            let rise = select(is_first, 1usize, here - left);
            let fall = select(is_last, 1usize, right - here);
            for k in first..last {
                let up = k < here;
                let flat = (up && is_first) || (!up && is_last);
                let over = select(up, k - min(left, k), right - k);
                let under = select(up, rise, fall);
                let weight = F::cast_from(over as u32) / F::cast_from(under as u32);
                let weight = select(flat, F::new(1.0), weight);
                let value = g[base + k * geometry.lines.strides[4usize]];
                re += weight * value.extract(0usize);
                im += weight * value.extract(1usize);
            }
        }
        let mut stored = Vector::<F, Const<2>>::empty();
        stored.insert(0usize, re);
        stored.insert(1usize, im);
        out[ABSOLUTE_POS] = stored;
    }
}

/// The adjoint of [`compact`]: gradients of kept elements in their places, and nothing elsewhere.
#[cube(launch_unchecked)]
fn expand<F: Float, NA: Size, NB: Size>(
    compacted: &Apart<F, NA, NB>,
    kept: &[u32],
    ranks: &[u32],
    mut out: Apart<F, NA, NB>,
    sizes: &Sizes,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let n = sizes.n;
    let most = sizes.most;
    if ABSOLUTE_POS < sizes.rows * n {
        let place = placed(sizes, n);
        let flags = place.described * most;
        let [complex_a, complex_b] = comptime!(config.complex);
        let i = max(ranks[place.described * n + place.i] as usize, 1usize) - 1;
        let is_kept = kept[flags + i] as usize == place.i;
        let zero = real::<F>(0.0f32);
        if is_kept {
            let value = element::<F, NA>(&compacted.a, place.row * most + i, complex_a);
            store::<F, NA>(&mut out.a, ABSOLUTE_POS, value, complex_a);
        } else {
            store::<F, NA>(&mut out.a, ABSOLUTE_POS, zero, complex_a);
        }
        if place.i + 1 < n {
            let at = place.row * (n - 1) + place.i;
            let linked = is_kept && i + 1 < most && kept[flags + min(i + 1, most - 1)] != NONE;
            let below = out.lower + at;
            if linked {
                let from = place.row * (most - 1) + i;
                let value = element::<F, NB>(&compacted.b, from, complex_b);
                store::<F, NB>(&mut out.b, at, value, complex_b);
                if comptime!(!config.product) {
                    let from = compacted.lower + from;
                    let value = element::<F, NB>(&compacted.b, from, complex_b);
                    store::<F, NB>(&mut out.b, below, value, complex_b);
                }
            } else {
                store::<F, NB>(&mut out.b, at, zero, complex_b);
                if comptime!(!config.product) {
                    store::<F, NB>(&mut out.b, below, zero, complex_b);
                }
            }
        }
    }
}

/// Which elements are kept, on a device: the numbers of [`KeptElements::kept`] and
/// [`KeptElements::ranks`].
#[derive(Debug, Clone)]
pub struct KeptBindings {
    /// The kept elements.
    pub kept: Handle,
    /// The ranks of all.
    pub ranks: Handle,
}

/// A planned problem with its buffers.
#[derive(Clone)]
pub struct Compact<'a> {
    /// The device.
    pub client: &'a Client,
    /// The plan.
    pub plan: &'a CompactPlan,
    /// The operands of the whole problem.
    pub bindings: &'a TridiagBindings,
    /// Which elements are kept.
    pub kept: &'a KeptBindings,
}

impl Compact<'_> {
    fn whole(&self) -> Enqueue<'_> {
        Enqueue { client: self.client, bindings: self.bindings, plan: &self.plan.whole }
    }

    fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.plan.units as u32)
    }

    fn sizes(&self) -> SizesLaunch {
        let CompactPlan { whole, most, described, .. } = self.plan;
        SizesLaunch::new(whole.lines.rows, whole.lines.n, *most, *described)
    }

    fn flags(&self) -> [BufferArg; 2] {
        [&self.kept.kept, &self.kept.ranks].map(|handle| buffer(handle, Dtype::F32, 1))
    }

    /// Compares buffers with the plan: the whole problem's with what belongs to every element, and those of
    /// the flags, which take as much as an `f32` each.
    fn check(&self, name: &'static str, along: &Handle) -> Result<()> {
        let CompactPlan { whole, most, described, .. } = self.plan;
        self.whole().check(whole.task, Some((name, along)))?;
        holds(whole.op, "kept", &self.kept.kept, (Dtype::F32, 1), described * most)?;
        holds(whole.op, "ranks", &self.kept.ranks, (Dtype::F32, 1), described * whole.lines.n)
    }

    /// Enqueues the operands of the kept elements, contiguous, `along` being what belongs to the whole
    /// problem's elements. Of `out` the part of `z` is not used.
    ///
    /// # Errors
    /// [`Error::Length`] if a buffer is shorter than the plan reaches.
    pub fn operands(&self, along: &Handle, out: &TridiagGradients) -> Result<()> {
        self.check("diagonal", along)?;
        let CompactPlan { whole, most, cubes, .. } = self.plan;
        self.whole().check_apart(out, *most, 0)?;
        if whole.lines.rows == 0 {
            return Ok(());
        }
        let [na, nb] = whole.tile.complex.map(parts);
        let [kept, _] = self.flags();
        let enqueue = self.whole();
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, `Enqueue::check` has compared
        // them, and `Enqueue::check_apart` the outputs, with the buffers; kept elements are below `n` by
        // `KeptElements::new`, which puts nothing behind them but what the kernel asks for.
        unsafe {
            compact::launch_unchecked(
                self.client,
                count(cubes[0]),
                self.dim(),
                na,
                nb,
                enqueue.operands(),
                kept,
                enqueue.apart(out, *most),
                self.sizes(),
                whole.tile,
                elem_type(whole.dtype),
            );
        }
        Ok(())
    }

    /// Enqueues the diagonal at every element from the `rows · most` of the kept ones.
    ///
    /// # Errors
    /// As [`Compact::operands`].
    pub fn interpolate(&self, diagonal: &Handle, out: &Handle) -> Result<()> {
        self.check("diagonal", out)?;
        let CompactPlan { whole, most, cubes, .. } = self.plan;
        holds(whole.op, "kept diagonal", diagonal, (whole.dtype, 2), whole.lines.rows * most)?;
        if whole.lines.rows == 0 {
            return Ok(());
        }
        let [kept, ranks] = self.flags();
        let enqueue = self.whole();
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, which `Enqueue::check` has
        // compared with the buffers; ranks are at most `most`, by `KeptElements::new`, and the kernel keeps
        // places below it.
        unsafe {
            interpolate::launch_unchecked(
                self.client,
                count(cubes[1]),
                self.dim(),
                enqueue.geometry(),
                kept,
                ranks,
                enqueue.numbers(diagonal, 2),
                enqueue.numbers(out, 2),
                self.sizes(),
                elem_type(whole.dtype),
            );
        }
        Ok(())
    }

    /// Enqueues the gradient of the diagonal at the kept elements from `g`, that at every element.
    ///
    /// # Errors
    /// As [`Compact::operands`].
    pub fn gather(&self, g: &Handle, out: &Handle, elements: &KeptElements) -> Result<()> {
        self.check("g", g)?;
        let CompactPlan { whole, most, cubes, .. } = self.plan;
        holds(whole.op, "kept gradient", out, (whole.dtype, 2), whole.lines.rows * most)?;
        if whole.lines.rows == 0 {
            return Ok(());
        }
        let enqueue = self.whole();
        for (first, last) in elements.segments() {
            let [kept, _] = self.flags();
            // SAFETY: as of `Compact::interpolate`; the kernel keeps elements below `n`.
            unsafe {
                gather::launch_unchecked(
                    self.client,
                    count(cubes[0]),
                    self.dim(),
                    enqueue.geometry(),
                    kept,
                    enqueue.numbers(g, 2),
                    enqueue.numbers(out, 2),
                    SegmentLaunch::new(first, last),
                    self.sizes(),
                    elem_type(whole.dtype),
                );
            }
        }
        Ok(())
    }

    /// Enqueues gradients of the operands, contiguous, from those of the kept elements' operands.
    ///
    /// # Errors
    /// As [`Compact::operands`].
    pub fn expand(&self, compacted: &TridiagGradients, out: &TridiagGradients) -> Result<()> {
        let CompactPlan { whole, most, cubes, .. } = self.plan;
        self.whole().check_apart(compacted, *most, 0)?;
        self.whole().check_apart(out, whole.lines.n, 0)?;
        if whole.lines.rows == 0 {
            return Ok(());
        }
        let [na, nb] = whole.tile.complex.map(parts);
        let [kept, ranks] = self.flags();
        let enqueue = self.whole();
        // SAFETY: the buffers' lengths are compared above; ranks are at most `most` and kept elements below
        // `n`, by `KeptElements::new`, and the kernel keeps places below both.
        unsafe {
            expand::launch_unchecked(
                self.client,
                count(cubes[1]),
                self.dim(),
                na,
                nb,
                enqueue.apart(compacted, *most),
                kept,
                ranks,
                enqueue.apart(out, whole.lines.n),
                self.sizes(),
                whole.tile,
                elem_type(whole.dtype),
            );
        }
        Ok(())
    }
}
