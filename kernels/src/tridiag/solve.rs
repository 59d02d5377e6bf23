//! The solution of `T x = r` for one right side a sequence, and its gradient.
//!
//! The equation of row `k`, with what lies left of it and right of it eliminated, is
//! `(d_k − L_k − R_k) x_k = r_k + X_k + Y_k`: so `x_k = G_k (r_k + X_k + Y_k)`, where
//! `X_{k+1} = −c_k (r_k + X_k)/u_k` goes right and `Y_{k−1} = −b_{k−1} (r_k + Y_k)/v_k` goes left: two
//! affine recursions beside those of `L` and `R`, and one scan for both.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Result};

use super::{
    kernel::{breaks_down, composite, flagged, is_lost, no_pivot, scanned, store_pivot},
    launch::{Enqueue, TridiagBindings, TridiagGradients, parts},
    operands::{
        Apart, Beside, Geometry, Operands, Pairs, Row, Segment, SegmentLaunch, chunk, element,
        locate, lower, only, place, share, store, store_shift, upper, walk,
    },
    plan::{Algorithm, SCAN_PARTS, Task, TileConfig, TridiagPlan},
    scaling::normal_power,
    scan::{
        Complex, Values, add, choose, complex, conjugate, four, mul, real, reciprocal, scale, sub,
        times,
    },
    solve_walks::{solve_left, solve_map, solve_right},
};
use crate::{
    elem_type,
    launch::{buffer, count, holds},
    lines::{LinesOf, line},
};

/// `r_k`.
#[cube]
pub(super) fn right_side<F: Float>(
    r: &Pairs<F>,
    at: usize,
    #[comptime] is_conjugate: bool,
) -> Complex<F> {
    let value = element::<F, Const<2>>(r, at, true);
    if comptime!(is_conjugate) { conjugate::<F>(value) } else { value }
}

/// `−c_k/u_k`, from `h = 1/u_k`: what takes `r_k + X_k` to `X_{k+1}`.
#[cube]
pub(super) fn factor_right<F: Float, NB: Size>(
    beside: &Beside<F, NB>,
    row: &Row<F>,
    k: usize,
    h: Complex<F>,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let below = lower::<F, NB>(beside, row, k, config);
    scale::<F>(times::<F>(h, below, comptime!(config.complex[1])), F::new(-1.0))
}

/// `−b_{k−1}/v_k`, from `w = 1/v_k`: what takes `r_k + Y_k` to `Y_{k−1}`. Behind the first nothing asks.
#[cube]
pub(super) fn factor_left<F: Float, NB: Size>(
    beside: &Beside<F, NB>,
    row: &Row<F>,
    k: usize,
    w: Complex<F>,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let above = upper::<F, NB>(beside, row, max(k, 1usize) - 1, config);
    scale::<F>(times::<F>(w, above, comptime!(config.complex[1])), F::new(-1.0))
}

#[cube]
pub(super) fn store_solution<F: Float>(
    x: &mut Pairs<F>,
    at: usize,
    value: Complex<F>,
    #[comptime] is_conjugate: bool,
) {
    let value = if comptime!(is_conjugate) { conjugate::<F>(value) } else { value };
    store::<F, Const<2>>(x, at, value, true);
}

/// The solution, a chunk of each sequence a unit, a sequence a tile.
#[cube(launch_unchecked)]
fn chunked_solve<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    r: &Pairs<F>,
    x: &mut Pairs<F>,
    pivots: &mut [u32],
    #[comptime] is_conjugate: bool,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let mut cells = Shared::<[F]>::new_slice(comptime!(config.cells()));
    let beside = &operands.beside;
    let geometry = &beside.geometry;
    let share = share(geometry, config);
    let row = locate::<F, NA, NB>(operands, share.row);
    let n = geometry.lines.n;
    let elements = comptime!(config.elements);
    let is_complex = comptime!(config.complex[1]);

    let chunk = chunk::<F, NA, NB>(operands, &row, share.first, config);
    let mine = composite::<F>(&chunk, share.first, n, config);
    let enters = scanned::<F>(&mut cells, &share, mine, false, config);

    // L, and the factors of X.
    let mut l = Values::<F>::new(comptime!(elements + 1));
    let mut right = Values::<F>::new(elements);
    l.set(0usize, mul::<F>(enters.a, reciprocal::<F>(enters.b)));
    #[unroll]
    for e in 0..elements {
        let k = min(share.first + e, n - 1);
        let h = reciprocal::<F>(sub::<F>(chunk.d.get(e), l.get(e)));
        l.set(comptime!(e + 1), times::<F>(h, chunk.p.get(e), is_complex));
        // The ratios are scaled; right sides and what moves along them are not.
        let exponent = chunk.e[e];
        let h = scale::<F>(h, normal_power::<F>(-exponent));
        right.set(e, factor_right::<F, NB>(beside, &row, k, h, config));
    }
    // R, the factors of Y, and the diagonal of the inverse.
    let mut left = Values::<F>::new(elements);
    let mut g = Values::<F>::new(elements);
    let mut w = Values::<F>::new(1usize);
    w.set(0usize, mul::<F>(enters.p, reciprocal::<F>(enters.q)));
    let mut flag = Sequence::<F>::new();
    flag.push(no_pivot::<F>(config));
    #[unroll]
    for i in 0..elements {
        let e = comptime!(elements - 1 - i);
        let inside = share.first + e < n;
        let k = min(share.first + e, n - 1);
        let d = chunk.d.get(e);
        let entering = times::<F>(w.get(0usize), chunk.p.get(e), is_complex);
        let inverse = reciprocal::<F>(sub::<F>(d, entering));
        w.set(0usize, choose::<F>(inside, inverse, w.get(0usize)));
        let exponent = chunk.e[e];
        let natural = normal_power::<F>(-exponent);
        let inverse = scale::<F>(inverse, natural);
        left.set(e, factor_left::<F, NB>(beside, &row, k, inverse, config));
        let value = reciprocal::<F>(sub::<F>(sub::<F>(d, l.get(e)), entering));
        g.set(e, scale::<F>(value, natural));
        let bad = breaks_down::<F>(d, only::<F>(chunk.p.get(e)), l.get(e), entering, config);
        let at = share.unit * elements + e;
        let last = flag[0usize];
        flag.insert(0usize, flagged::<F>(at, bad && inside, false, last, config));
    }

    // The chunk as an affine map of X, and of Y.
    let mut s = Values::<F>::new(elements);
    let mut xa = Values::<F>::new(1usize);
    let mut xb = Values::<F>::new(1usize);
    let mut ya = Values::<F>::new(1usize);
    let mut yb = Values::<F>::new(1usize);
    xa.set(0usize, real::<F>(1.0f32));
    ya.set(0usize, real::<F>(1.0f32));
    #[unroll]
    for e in 0..elements {
        let inside = share.first + e < n;
        let at = place::<F>(&row, min(share.first + e, n - 1), geometry);
        s.set(e, right_side::<F>(r, at, is_conjugate));
        let moved = mul::<F>(right.get(e), xa.get(0usize));
        let added = mul::<F>(right.get(e), add::<F>(s.get(e), xb.get(0usize)));
        xa.set(0usize, choose::<F>(inside, moved, xa.get(0usize)));
        xb.set(0usize, choose::<F>(inside, added, xb.get(0usize)));
    }
    #[unroll]
    for i in 0..elements {
        let e = comptime!(elements - 1 - i);
        let inside = share.first + e < n;
        let moved = mul::<F>(left.get(e), ya.get(0usize));
        let added = mul::<F>(left.get(e), add::<F>(s.get(e), yb.get(0usize)));
        ya.set(0usize, choose::<F>(inside, moved, ya.get(0usize)));
        yb.set(0usize, choose::<F>(inside, added, yb.get(0usize)));
    }
    let mine = four::<F>(xa.get(0usize), xb.get(0usize), ya.get(0usize), yb.get(0usize));
    // Every unit has read its leaf of the first tree.
    sync_cube();
    let enters = scanned::<F>(&mut cells, &share, mine, true, config);

    // r + X, and then with Y.
    let mut sums = Values::<F>::new(elements);
    let mut moving = Values::<F>::new(1usize);
    moving.set(0usize, enters.a);
    #[unroll]
    for e in 0..elements {
        sums.set(e, add::<F>(s.get(e), moving.get(0usize)));
        moving.set(0usize, mul::<F>(right.get(e), sums.get(e)));
    }
    moving.set(0usize, enters.p);
    #[unroll]
    for i in 0..elements {
        let e = comptime!(elements - 1 - i);
        let k = share.first + e;
        let inside = k < n;
        let y = moving.get(0usize);
        let value = mul::<F>(g.get(e), add::<F>(sums.get(e), y));
        if inside && share.active {
            store_solution::<F>(x, share.row * n + k, value, is_conjugate);
        }
        let lost = is_lost::<F>(value, config) && inside;
        let last = flag[0usize];
        let at = share.unit * elements + e;
        flag.insert(0usize, flagged::<F>(at, false, lost, last, config));
        let next = mul::<F>(left.get(e), add::<F>(s.get(e), y));
        moving.set(0usize, choose::<F>(inside, next, y));
    }
    // Every unit has read its leaf of the second tree.
    store_pivot::<F>(&mut cells, pivots, &share, flag[0usize], config);
}

/// The gradients of the operands from the solution `x` and `λ`, the gradient of the right side: of `d_k` it
/// is `−λ_k conj(x_k)`, of `b_k` `−λ_k conj(x_{k+1})`, of `c_k` `−λ_{k+1} conj(x_k)`. A chunk a unit.
#[cube(launch_unchecked)]
fn solve_gradient<F: Float, NA: Size, NB: Size>(
    geometry: &Geometry,
    x: &Pairs<F>,
    lambda: &Pairs<F>,
    mut gradients: Apart<F, NA, NB>,
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let walk = walk(segment, geometry, config);
    if walk.active {
        let n = geometry.lines.n;
        let [complex_a, complex_b] = comptime!(config.complex);
        let first = line(&geometry.lines, walk.row, 4usize);
        let step = geometry.lines.strides[4usize];
        let mut z_re = F::new(0.0);
        let mut z_im = F::new(0.0);
        for k in walk.first..walk.last {
            let next = min(k + 1, n - 1);
            let x_here = conjugate::<F>(element::<F, Const<2>>(x, first + k * step, true));
            let x_next = conjugate::<F>(element::<F, Const<2>>(x, first + next * step, true));
            let here = element::<F, Const<2>>(lambda, walk.row * n + k, true);
            let after = element::<F, Const<2>>(lambda, walk.row * n + next, true);
            let here = scale::<F>(here, F::new(-1.0));
            let after = scale::<F>(after, F::new(-1.0));
            let by_d = mul::<F>(here, x_here);
            store::<F, NA>(&mut gradients.a, walk.row * n + k, by_d, complex_a);
            if k + 1 < n {
                let at = walk.row * (n - 1) + k;
                store::<F, NB>(&mut gradients.b, at, mul::<F>(here, x_next), complex_b);
                let at = gradients.lower + at;
                store::<F, NB>(&mut gradients.b, at, mul::<F>(after, x_here), complex_b);
            }
            z_re -= by_d.re;
            z_im -= by_d.im;
        }
        let total = complex::<F>(z_re, z_im);
        store_shift::<F, NA, NB>(&mut gradients, ABSOLUTE_POS, total, complex_a);
    }
}

impl Enqueue<'_> {
    /// Where in the work space of solutions the state of walks begins, in numbers.
    fn solve_state(&self) -> usize {
        let TridiagPlan { lines: LinesOf { rows, n, .. }, .. } = self.plan;
        rows * n * SCAN_PARTS / 2
    }

    /// The work space of solutions: four numbers an element, and eight a sequence or a chunk.
    fn solve_work(&self) -> Handle {
        let TridiagPlan { lines: LinesOf { rows, .. }, tiles, dtype, .. } = self.plan;
        self.client.empty((self.solve_state() + rows * tiles * SCAN_PARTS) * dtype.size())
    }

    /// What every chunk does to `X` and to `Y`.
    fn solve_maps(&self, work: &Handle, r: &Handle) -> Handle {
        let plan = self.plan;
        let maps = self.tiles();
        let [na, nb] = plan.tile.complex.map(parts);
        for back in [false, true] {
            // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, and `solve_launch` has compared them
            // with the buffers; the kernel keeps walks below `rows · tiles`, for each of which there are eight numbers of
            // state and of a map, and elements below `n`.
            unsafe {
                solve_map::launch_unchecked(
                    self.client,
                    count(plan.cubes),
                    self.dim(),
                    na,
                    nb,
                    self.operands(),
                    self.numbers(r, 2),
                    self.numbers(work, 1),
                    self.numbers(&maps, 1),
                    SegmentLaunch::new(0, plan.lines.n),
                    back,
                    plan.task == Task::Solve { conjugate: true },
                    plan.tile,
                    elem_type(plan.dtype),
                );
            }
        }
        maps
    }

    /// The walk to the right, which leaves `r + X` and `L`.
    fn solve_there(&self, (first, last): (usize, usize), work: &Handle, r: &Handle) {
        let plan = self.plan;
        let [na, nb] = plan.tile.complex.map(parts);
        // SAFETY: as of `solve_maps`; there are four numbers of work space for every element.
        unsafe {
            solve_right::launch_unchecked(
                self.client,
                count(plan.cubes),
                self.dim(),
                na,
                nb,
                self.operands(),
                self.numbers(r, 2),
                self.numbers(work, 1),
                SegmentLaunch::new(first, last),
                plan.task == Task::Solve { conjugate: true },
                plan.tile,
                elem_type(plan.dtype),
            );
        }
    }

    /// The walk to the left, which stores.
    fn solve_back(&self, (first, last): (usize, usize), work: &Handle, solution: &TridiagSolution) {
        let plan = self.plan;
        let [na, nb] = plan.tile.complex.map(parts);
        // SAFETY: as of `solve_there`; there are two pivots for every walk, and `solve_launch` has compared the solution's
        // length with its buffer.
        unsafe {
            solve_left::launch_unchecked(
                self.client,
                count(plan.cubes),
                self.dim(),
                na,
                nb,
                self.numbers(&self.bindings.a, na),
                self.beside(),
                self.numbers(&solution.r, 2),
                self.numbers(work, 1),
                self.numbers(&solution.x, 2),
                buffer(&solution.pivots, Dtype::F32, 1),
                SegmentLaunch::new(first, last),
                plan.task == Task::Solve { conjugate: true },
                plan.tile,
                elem_type(plan.dtype),
            );
        }
    }
}

/// The right side and where the solution goes.
#[derive(Debug, Clone)]
pub struct TridiagSolution {
    /// The right side, by the layout of the problem's diagonal.
    pub r: Handle,
    /// The solution, `rows · n` complex numbers, contiguous.
    pub x: Handle,
    /// Where a pivot vanishes: [`TridiagPlan::pivots`] numbers of 32 bits.
    pub pivots: Handle,
}

/// Enqueues the solution. `Ok` means enqueued: a fault of the device shows on the next read.
///
/// # Errors
/// As [`tridiag_launch`](super::tridiag_launch).
pub fn solve_launch(
    client: &Client,
    bindings: &TridiagBindings,
    solution: &TridiagSolution,
    plan: &TridiagPlan,
) -> Result<()> {
    let TridiagPlan { op, task, lines: LinesOf { rows, n, .. }, dtype, .. } = *plan;
    let enqueue = Enqueue { client, bindings, plan };
    let is_conjugate = task == Task::Solve { conjugate: true };
    enqueue.check(Task::Solve { conjugate: is_conjugate }, Some(("r", &solution.r)))?;
    holds(op, "x", &solution.x, (dtype, 2), rows * n)?;
    // A pivot takes as much as an f32.
    holds(op, "pivots", &solution.pivots, (Dtype::F32, 1), plan.pivots())?;
    if rows == 0 {
        return Ok(());
    }
    let r = &solution.r;
    match plan.algorithm {
        Algorithm::Serial => {
            let work = enqueue.solve_work();
            for segment in plan.segments() {
                enqueue.solve_there(segment, &work, r);
            }
            for segment in plan.segments().rev() {
                enqueue.solve_back(segment, &work, solution);
            }
        }
        Algorithm::Streamed => {
            let (work, begin) = (enqueue.solve_work(), enqueue.solve_state());
            let [chunks, _] = enqueue.reduced();
            enqueue.carry_into(&chunks, &work, begin, false);
            let maps = enqueue.solve_maps(&work, r);
            enqueue.carry_into(&maps, &work, begin, true);
            enqueue.solve_there((0, n), &work, r);
            enqueue.solve_back((0, n), &work, solution);
        }
        Algorithm::Chunked => {
            let [na, nb] = plan.tile.complex.map(parts);
            // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, which
            // `Enqueue::check` has compared with the buffers, and the solution's length is compared
            // above; the kernel keeps elements below `n` and sequences below `rows`.
            unsafe {
                chunked_solve::launch_unchecked(
                    client,
                    count(plan.cubes),
                    enqueue.dim(),
                    na,
                    nb,
                    enqueue.operands(),
                    enqueue.numbers(&solution.r, 2),
                    enqueue.numbers(&solution.x, 2),
                    buffer(&solution.pivots, Dtype::F32, 1),
                    is_conjugate,
                    plan.tile,
                    elem_type(dtype),
                );
            }
        }
    }
    Ok(())
}

/// Enqueues the gradient of every operand from the solution, by the layout of the problem's diagonal, and
/// from the gradient of the right side, `rows · n` complex numbers, contiguous.
///
/// # Errors
/// As [`tridiag_launch`](super::tridiag_launch).
pub fn solve_vjp_launch(
    client: &Client,
    bindings: &TridiagBindings,
    [x, lambda]: [&Handle; 2],
    gradients: &TridiagGradients,
    plan: &TridiagPlan,
) -> Result<()> {
    let enqueue = Enqueue { client, bindings, plan };
    enqueue.check(Task::SolveVjp, Some(("x", x)))?;
    enqueue.check_apart(gradients, plan.lines.n, plan.tiles)?;
    holds(plan.op, "gradient of r", lambda, (plan.dtype, 2), plan.lines.rows * plan.lines.n)?;
    if plan.lines.rows == 0 {
        return Ok(());
    }
    let [na, nb] = plan.tile.complex.map(parts);
    // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, and these and the lengths of
    // the contiguous buffers are compared above; the kernel keeps walks below `rows · tiles` and elements
    // below `n`.
    unsafe {
        solve_gradient::launch_unchecked(
            client,
            count(plan.cubes),
            enqueue.dim(),
            na,
            nb,
            enqueue.geometry(),
            enqueue.numbers(x, 2),
            enqueue.numbers(lambda, 2),
            enqueue.apart(gradients, plan.lines.n),
            SegmentLaunch::new(0, plan.lines.n),
            plan.tile,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}
