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
    kernel::{breaks_down, composite, no_pivot, scanned, store_pivot},
    launch::{Enqueue, TridiagBindings, TridiagGradients, parts},
    operands::{
        Apart, Operands, Pairs, Row, Segment, SegmentLaunch, chunk, diagonal, element,
        entering_ratio, locate, lower, pair, place, product, share, store, upper, walk,
    },
    plan::{Algorithm, SCAN_PARTS, Task, TileConfig, TridiagPlan},
    scan::{
        Complex, Values, add, choose, complex, conjugate, four, mul, real, reciprocal, scale, sub,
        times,
    },
};
use crate::{
    elem_type,
    launch::{buffer, count, holds},
    lines::{LinesOf, line},
};

/// `r_k`.
#[cube]
fn right_side<F: Float>(r: &Pairs<F>, at: usize, #[comptime] is_conjugate: bool) -> Complex<F> {
    let value = element::<F, Const<2>>(r, at, true);
    if comptime!(is_conjugate) { conjugate::<F>(value) } else { value }
}

/// `−c_k/u_k`, from `h = 1/u_k`: what takes `r_k + X_k` to `X_{k+1}`.
#[cube]
fn factor_right<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    k: usize,
    h: Complex<F>,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let below = lower::<F, NA, NB>(operands, row, k, config);
    scale::<F>(times::<F>(h, below, comptime!(config.complex[1])), F::new(-1.0))
}

/// `−b_{k−1}/v_k`, from `w = 1/v_k`: what takes `r_k + Y_k` to `Y_{k−1}`. Behind the first nothing asks.
#[cube]
fn factor_left<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    row: &Row<F>,
    k: usize,
    w: Complex<F>,
    #[comptime] config: TileConfig,
) -> Complex<F> {
    let above = upper::<F, NA, NB>(operands, row, max(k, 1usize) - 1, config);
    scale::<F>(times::<F>(w, above, comptime!(config.complex[1])), F::new(-1.0))
}

#[cube]
fn store_solution<F: Float>(
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
    let share = share(&operands.geometry, config);
    let row = locate::<F, NA, NB>(operands, share.row);
    let n = operands.geometry.lines.n;
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
        right.set(e, factor_right::<F, NA, NB>(operands, &row, k, h, config));
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
        left.set(e, factor_left::<F, NA, NB>(operands, &row, k, inverse, config));
        g.set(e, reciprocal::<F>(sub::<F>(sub::<F>(d, l.get(e)), entering)));
        let bad = breaks_down::<F>(d, chunk.p.get(e), l.get(e), entering, config);
        let at = F::cast_from((share.unit * elements + e) as u32);
        let last = flag[0usize];
        flag.insert(0usize, select(bad && inside, at, last));
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
        let at = place::<F>(&row, min(share.first + e, n - 1), &operands.geometry);
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
        let next = mul::<F>(left.get(e), add::<F>(s.get(e), y));
        moving.set(0usize, choose::<F>(inside, next, y));
    }
    // Every unit has read its leaf of the second tree.
    store_pivot::<F>(&mut cells, pivots, &share, flag[0usize], config);
}

/// The solution, one unit a sequence or a chunk. Passes 0 and 2 go right with `L` and `X`, passes 1 and 3
/// left with `R` and `Y`. Where a chunk is one of many, passes 0 and 1 leave in `left` what it does to `X`
/// and `Y`, and passes 2 and 3 find in `added` what enters it; where a unit carries a sequence there are
/// these two alone. Pass 2 leaves `r_k + X_k` and `L_k` in `work`, and pass 3 stores.
#[cube(launch_unchecked)]
fn serial_solve<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    r: &Pairs<F>,
    entering: &[F],
    added: &[F],
    left: &mut [F],
    work: &mut [F],
    x: &mut Pairs<F>,
    pivots: &mut [u32],
    segment: &Segment,
    #[comptime] pass: usize,
    #[comptime] is_conjugate: bool,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let walk = walk(segment, &operands.geometry, config);
    if walk.active {
        let row = locate::<F, NA, NB>(operands, walk.row);
        let n = operands.geometry.lines.n;
        let is_complex = comptime!(config.complex[1]);
        let carried = comptime!(config.carried);
        let back = comptime!(pass % 2 == 1);
        let maps = comptime!(pass < 2);
        let begins = if comptime!(back) { walk.last == n } else { walk.first == 0 };
        let position = ABSOLUTE_POS;
        // What goes right lies in the first half, what goes left in the second.
        let slot = position * 8 + comptime!(if back { 4usize } else { 0usize });
        let ratio = entering_ratio::<F, F>(entering, slot, begins, config);
        let zero = real::<F>(0.0f32);
        let sum = if comptime!(maps) {
            zero
        } else if comptime!(carried) {
            pair::<F, F>(added, slot)
        } else {
            choose::<F>(begins, zero, pair::<F, F>(entering, slot + 2))
        };
        let mut re = ratio.re;
        let mut im = ratio.im;
        let mut sum_re = sum.re;
        let mut sum_im = sum.im;
        let mut all_re = F::new(1.0);
        let mut all_im = F::new(0.0);
        let fresh = begins || comptime!(carried);
        let mut flag = 0xffff_ffffu32;
        if comptime!(pass == 3) {
            flag = select(fresh, flag, pivots[position]);
        }
        for i in walk.first..walk.last {
            let k = if comptime!(back) { walk.last - 1 - (i - walk.first) } else { i };
            let old_re = re;
            let old_im = im;
            let old_sum_re = sum_re;
            let old_sum_im = sum_im;
            let ratio = complex::<F>(old_re, old_im);
            let sum = complex::<F>(old_sum_re, old_sum_im);
            let d = diagonal::<F, NA, NB>(operands, &row, k, config);
            let p = product::<F, NA, NB>(operands, &row, k, config);
            let s = right_side::<F>(r, place::<F>(&row, k, &operands.geometry), is_conjugate);
            let whole = add::<F>(s, sum);
            let at = (walk.row * n + k) * 4;
            let (next, factor) = if comptime!(back) {
                let entering = times::<F>(ratio, p, is_complex);
                let inverse = reciprocal::<F>(sub::<F>(d, entering));
                if comptime!(!maps) {
                    let kept = complex::<F>(work[at], work[at + 1]);
                    let l = complex::<F>(work[at + 2], work[at + 3]);
                    let g = reciprocal::<F>(sub::<F>(sub::<F>(d, l), entering));
                    let value = mul::<F>(g, add::<F>(kept, sum));
                    store_solution::<F>(x, walk.row * n + k, value, is_conjugate);
                    if breaks_down::<F>(d, p, l, entering, config) {
                        flag = k as u32;
                    }
                }
                (inverse, factor_left::<F, NA, NB>(operands, &row, k, inverse, config))
            } else {
                let h = reciprocal::<F>(sub::<F>(d, ratio));
                if comptime!(!maps) {
                    work[at] = whole.re;
                    work[at + 1] = whole.im;
                    work[at + 2] = ratio.re;
                    work[at + 3] = ratio.im;
                }
                let factor = factor_right::<F, NA, NB>(operands, &row, k, h, config);
                (times::<F>(h, p, is_complex), factor)
            };
            re = next.re;
            im = next.im;
            let moved = mul::<F>(factor, whole);
            sum_re = moved.re;
            sum_im = moved.im;
            if comptime!(maps) {
                let all = mul::<F>(factor, complex::<F>(all_re, all_im));
                all_re = all.re;
                all_im = all.im;
            }
        }
        if comptime!(maps) {
            left[slot] = all_re;
            left[slot + 1] = all_im;
            left[slot + 2] = sum_re;
            left[slot + 3] = sum_im;
        } else if comptime!(!carried) {
            left[slot] = re;
            left[slot + 1] = im;
            left[slot + 2] = sum_re;
            left[slot + 3] = sum_im;
        }
        if comptime!(pass == 3) {
            pivots[position] = flag;
        }
    }
}

/// The gradients of the operands from the solution `x` and `λ`, the gradient of the right side: of `d_k` it
/// is `−λ_k conj(x_k)`, of `b_k` `−λ_k conj(x_{k+1})`, of `c_k` `−λ_{k+1} conj(x_k)`. A chunk a unit.
#[cube(launch_unchecked)]
fn solve_gradient<F: Float, NA: Size, NB: Size>(
    operands: &Operands<F, NA, NB>,
    x: &Pairs<F>,
    lambda: &Pairs<F>,
    mut gradients: Apart<F, NA, NB>,
    segment: &Segment,
    #[comptime] config: TileConfig,
    #[define(F)] _dtype: ElemType,
) {
    let walk = walk(segment, &operands.geometry, config);
    if walk.active {
        let n = operands.geometry.lines.n;
        let [complex_a, complex_b] = comptime!(config.complex);
        let first = line(&operands.geometry.lines, walk.row, 4usize);
        let step = operands.geometry.lines.strides[4usize];
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
                store::<F, NB>(&mut gradients.c, at, mul::<F>(after, x_here), complex_b);
            }
            z_re -= by_d.re;
            z_im -= by_d.im;
        }
        let total = complex::<F>(z_re, z_im);
        store::<F, Const<2>>(&mut gradients.z, ABSOLUTE_POS, total, true);
    }
}

impl Enqueue<'_> {
    /// A pass of the solution by one unit a sequence or a chunk.
    fn walk_solve(
        &self,
        pass: usize,
        (first, last): (usize, usize),
        [entering, added, left, work]: [&Handle; 4],
        solution: &TridiagSolution,
    ) {
        let plan = self.plan;
        let [na, nb] = plan.tile.complex.map(parts);
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, and `solve_launch` has
        // compared them and the solution's length with the buffers; the kernel keeps walks below
        // `rows · tiles`, for each of which there are eight numbers of state and a pivot, and elements
        // below `n`, for each of which there are four of work space.
        unsafe {
            serial_solve::launch_unchecked(
                self.client,
                count(plan.cubes),
                self.dim(),
                na,
                nb,
                self.operands(),
                self.numbers(&solution.r, 2),
                self.numbers(entering, 1),
                self.numbers(added, 1),
                self.numbers(left, 1),
                self.numbers(work, 1),
                self.numbers(&solution.x, 2),
                buffer(&solution.pivots, Dtype::F32, 1),
                SegmentLaunch::new(first, last),
                pass,
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
    let work = || client.empty(rows * n * SCAN_PARTS / 2 * dtype.size());
    match plan.algorithm {
        Algorithm::Serial => {
            let (work, spare) = (work(), client.empty(dtype.size()));
            let mut state = [enqueue.tiles(), enqueue.tiles()];
            let there = plan.segments().map(|segment| (2, segment));
            let back = plan.segments().rev().map(|segment| (3, segment));
            for (pass, segment) in there.chain(back) {
                let buffers = [&state[0], &spare, &state[1], &work];
                enqueue.walk_solve(pass, segment, buffers, solution);
                state.swap(0, 1);
            }
        }
        Algorithm::Streamed => {
            let (work, maps, spare) = (work(), enqueue.tiles(), client.empty(dtype.size()));
            let entering = enqueue.entering();
            for pass in [0, 1] {
                enqueue.walk_solve(pass, (0, n), [&entering, &spare, &maps, &work], solution);
            }
            let added = enqueue.carried(&maps, true);
            for pass in [2, 3] {
                enqueue.walk_solve(pass, (0, n), [&entering, &added, &spare, &work], solution);
            }
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
    enqueue.check_gradients(gradients)?;
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
            enqueue.operands(),
            enqueue.numbers(x, 2),
            enqueue.numbers(lambda, 2),
            enqueue.apart(gradients),
            SegmentLaunch::new(0, plan.lines.n),
            plan.tile,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}
