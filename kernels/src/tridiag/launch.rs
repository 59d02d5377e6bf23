//! From bindings and plans to enqueued kernels.

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Result};

use super::{
    gradient::chunked_vjp,
    gradient_walks::{determinant_left, vjp_left, vjp_right, vjp_sources, vjp_store},
    kernel::{chunked, reduce, serial},
    operands::{ApartLaunch, BesideLaunch, GeometryLaunch, OperandsLaunch, SegmentLaunch},
    plan::{Algorithm, SCAN_PARTS, Task, TridiagPlan},
    scan::carry,
};
use crate::{
    elem_type,
    launch::{buffer, count, holds},
    lines::{LinesOf, lines_arg},
};

/// The operators of a planned problem.
#[derive(Debug, Clone)]
pub struct TridiagBindings {
    /// The diagonal of `H`.
    pub a: Handle,
    /// The elements above it, or the products.
    pub b: Handle,
    /// The elements below it; nothing where products are bound.
    pub c: Option<Handle>,
    /// The shifts.
    pub z: Handle,
}

/// Where gradients go, of every sequence on its own, in the convention `∂ℓ/∂Re + i ∂ℓ/∂Im` for complex operands. Two share
/// a buffer, each contiguous: kernels bind few.
#[derive(Debug, Clone)]
pub struct TridiagGradients {
    /// Of `a`, `rows · n`, and from the first of [`TridiagPlan::gradient_places`] on, counted in complex numbers, of `z`:
    /// `rows · tiles` complex parts, whose sums over the tiles are the gradients.
    pub diagonal: Handle,
    /// Of `b`, or of the products, `rows · (n − 1)`, and from the second of these places on of `c`, where it is bound.
    pub beside: Handle,
}

pub(super) fn parts(complex: bool) -> usize {
    if complex { 2 } else { 1 }
}

/// A launch's surroundings.
pub(super) struct Enqueue<'a> {
    pub(super) client: &'a Client,
    pub(super) bindings: &'a TridiagBindings,
    pub(super) plan: &'a TridiagPlan,
}

impl Enqueue<'_> {
    /// A buffer of which a kernel reads one element in vain, or none.
    fn spare(&self, parts: usize) -> BufferArg {
        let bytes = parts * self.plan.dtype.size();
        buffer(&self.client.empty(bytes), self.plan.dtype, parts)
    }

    pub(super) fn numbers(&self, handle: &Handle, parts: usize) -> BufferArg {
        buffer(handle, self.plan.dtype, parts)
    }

    pub(super) fn geometry(&self) -> GeometryLaunch {
        GeometryLaunch::new(lines_arg(&self.plan.lines), self.plan.tiles)
    }

    pub(super) fn beside<F: Float, NB: Size>(&self) -> BesideLaunch<F, NB> {
        let Self { bindings, plan, .. } = self;
        let nb = parts(plan.tile.complex[1]);
        let beside = |handle: Option<&Handle>| match handle {
            Some(handle) if plan.lines.n > 1 => self.numbers(handle, nb),
            _ => self.spare(nb),
        };
        let c = if plan.tile.product { None } else { bindings.c.as_ref() };
        BesideLaunch::new(beside(Some(&bindings.b)), beside(c), self.geometry())
    }

    pub(super) fn operands<F: Float, NA: Size, NB: Size>(&self) -> OperandsLaunch<F, NA, NB> {
        let na = parts(self.plan.tile.complex[0]);
        let (a, z) = (&self.bindings.a, &self.bindings.z);
        OperandsLaunch::new(self.numbers(a, na), self.numbers(z, 2), self.beside())
    }

    /// Gradients, or operands, of sequences of `len` elements.
    pub(super) fn apart<F: Float, NA: Size, NB: Size>(
        &self,
        apart: &TridiagGradients,
        len: usize,
    ) -> ApartLaunch<F, NA, NB> {
        let [na, nb] = self.plan.tile.complex.map(parts);
        let [shifts, lower] = self.plan.gradient_places(len);
        let (a, b) = (self.numbers(&apart.diagonal, na), self.numbers(&apart.beside, nb));
        ApartLaunch::new(a, b, shifts, lower)
    }

    pub(super) fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.plan.units as u32)
    }

    /// The type in which chunks are scanned.
    fn scanned(&self) -> Dtype {
        if self.plan.tile.mixed { Dtype::F16 } else { self.plan.dtype }
    }

    fn scanned_numbers(&self, handle: &Handle) -> BufferArg {
        buffer(handle, self.scanned(), 1)
    }

    /// Eight numbers a sequence, or a chunk of a long one.
    pub(super) fn tiles(&self) -> Handle {
        let TridiagPlan { lines: LinesOf { rows, .. }, tiles, .. } = self.plan;
        self.client.empty(rows * tiles * SCAN_PARTS * self.scanned().size())
    }

    /// What every chunk does to `L` and `R`, and for the determinant the powers of two it was divided by.
    pub(super) fn reduced(&self) -> [Handle; 2] {
        let plan = self.plan;
        let [na, nb] = plan.tile.complex.map(parts);
        let counted = if plan.tile.determinant { plan.lines.rows * plan.tiles } else { 1 };
        let chunks = self.tiles();
        let exponents = self.client.empty(counted * self.scanned().size());
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, which `Enqueue::check` has
        // compared with the buffers; the kernel keeps elements below `n` and chunks below `rows · tiles`,
        // for each of which there are eight numbers, and an exponent where they are kept.
        unsafe {
            reduce::launch_unchecked(
                self.client,
                count(plan.cubes),
                self.dim(),
                na,
                nb,
                self.operands(),
                self.scanned_numbers(&chunks),
                self.scanned_numbers(&exponents),
                plan.tile,
                elem_type(plan.dtype),
                elem_type(self.scanned()),
            );
        }
        [chunks, exponents]
    }

    /// What enters each chunk of the recursions of `L` and `R`, scaled.
    pub(super) fn entering(&self) -> Handle {
        let [chunks, _] = self.reduced();
        self.carried(&chunks, false)
    }

    /// What enters each chunk, from what all of them do.
    fn carried(&self, chunks: &Handle, affine: bool) -> Handle {
        let entering = self.tiles();
        self.carry_into(chunks, &entering, 0, affine);
        entering
    }

    /// The same into a buffer, from place `begin` on.
    pub(super) fn carry_into(&self, chunks: &Handle, into: &Handle, begin: usize, affine: bool) {
        let plan = self.plan;
        // SAFETY: `TridiagPlan::new` makes one cube a sequence at least, and the kernel keeps chunks
        // below `rows · tiles`, for each of which there are eight numbers behind `begin`.
        unsafe {
            carry::launch_unchecked(
                self.client,
                count(plan.carry_cubes),
                CubeDim::new_1d(plan.carry.units as u32),
                self.scanned_numbers(chunks),
                self.scanned_numbers(into),
                begin,
                plan.lines.rows,
                plan.tiles,
                affine,
                plan.carry,
                elem_type(self.scanned()),
            );
        }
    }

    /// A pass of the diagonal by one unit a sequence or a chunk.
    fn walk(
        &self,
        pass: usize,
        (first, last): (usize, usize),
        state: &Handle,
        [diagonal, pivots]: [&Handle; 2],
    ) {
        let plan = self.plan;
        let [na, nb] = plan.tile.complex.map(parts);
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, which `Enqueue::check` has
        // compared with the buffers; the kernel keeps walks below `rows · tiles`, for each of which there
        // are eight numbers of state and two pivots, and elements below `n`.
        unsafe {
            serial::launch_unchecked(
                self.client,
                count(plan.cubes),
                self.dim(),
                na,
                nb,
                self.operands(),
                self.scanned_numbers(state),
                self.numbers(diagonal, 2),
                buffer(pivots, Dtype::F32, 1),
                SegmentLaunch::new(first, last),
                pass,
                plan.tile,
                elem_type(plan.dtype),
                elem_type(self.scanned()),
            );
        }
    }

    /// A pass of the gradient by one unit a sequence or a chunk.
    fn walk_vjp(
        &self,
        pass: Pass,
        (first, last): (usize, usize),
        [g, state, work]: [&Handle; 3],
        gradients: &TridiagGradients,
    ) {
        let Self { client, plan, .. } = self;
        let [na, nb] = plan.tile.complex.map(parts);
        let (cubes, dim, dtype) = (count(plan.cubes), self.dim(), elem_type(plan.dtype));
        let segment = SegmentLaunch::new(first, last);
        let [state, work] = [state, work].map(|handle| self.numbers(handle, 1));
        let n = plan.lines.n;
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, and `tridiag_vjp_launch`
        // has compared them and the gradients' lengths with the buffers; the kernels keep walks below
        // `rows · tiles`, for each of which there are eight numbers of state, and elements below `n`, for
        // each of which there are eight of work space. `g` is real where the plan is of the determinant, alone.
        unsafe {
            match pass {
                Pass::Right => {
                    let g = self.numbers(g, 1);
                    let operands = self.operands();
                    vjp_right::launch_unchecked(
                        client, cubes, dim, na, nb, operands, g, state, work, segment, plan.tile,
                        dtype,
                    );
                }
                Pass::Left => {
                    let g = self.numbers(g, 2);
                    let operands = self.operands();
                    // SAFETY: the same, by `TridiagPlan::new`.
                    vjp_left::launch_unchecked(
                        client, cubes, dim, na, nb, operands, g, state, work, segment, plan.tile,
                        dtype,
                    );
                }
                Pass::Determinant => {
                    let a = self.numbers(&self.bindings.a, na);
                    let (beside, apart) = (self.beside(), self.apart(gradients, n));
                    determinant_left::launch_unchecked(
                        client, cubes, dim, na, nb, a, beside, state, work, apart, segment,
                        plan.tile, dtype,
                    );
                }
                Pass::Sources => {
                    let beside = self.beside();
                    vjp_sources::launch_unchecked(
                        client, cubes, dim, nb, beside, state, work, segment, plan.tile, dtype,
                    );
                }
                Pass::Store => {
                    let (beside, apart) = (self.beside(), self.apart(gradients, n));
                    // SAFETY: the same, by `TridiagPlan::new`.
                    vjp_store::launch_unchecked(
                        client, cubes, dim, na, nb, beside, state, work, apart, segment, plan.tile,
                        dtype,
                    );
                }
            }
        }
    }

    /// Compares the buffer of the elements below the diagonal, which a plan of products does without.
    fn holds_lower(&self, c: Option<&Handle>, end: usize) -> Result<()> {
        let TridiagPlan { op, dtype, tile, .. } = *self.plan;
        match c {
            Some(c) => holds(op, "c", c, (dtype, parts(tile.complex[1])), end),
            None if tile.product => Ok(()),
            None => {
                let expected = "bound, where the plan is not of products";
                Err(Error::Length { op, argument: "c", expected, found: 0 })
            }
        }
    }

    /// Compares the buffers with the plan: the operators', and that of what belongs to every element, by
    /// its name.
    pub(super) fn check(&self, task: Task, along: Option<(&'static str, &Handle)>) -> Result<()> {
        let Self { bindings, plan, .. } = self;
        let (op, dtype) = (plan.op, plan.dtype);
        if plan.task != task {
            let reason = "the plan was made for another task";
            return Err(Error::Unsupported { op, argument: "plan", reason });
        }
        let [na, nb] = plan.tile.complex.map(parts);
        holds(op, "a", &bindings.a, (dtype, na), plan.ends[0])?;
        holds(op, "b", &bindings.b, (dtype, nb), plan.ends[1])?;
        self.holds_lower(bindings.c.as_ref(), plan.ends[2])?;
        holds(op, "z", &bindings.z, (dtype, 2), plan.ends[3])?;
        let Some((name, handle)) = along else { return Ok(()) };
        holds(op, name, handle, (dtype, along_parts(task)), plan.ends[4])
    }

    /// Compares the buffers of gradients, or of operands without shifts, of sequences of `len` elements with the plan.
    pub(super) fn check_apart(
        &self,
        apart: &TridiagGradients,
        len: usize,
        tiles: usize,
    ) -> Result<()> {
        let TridiagPlan { op, dtype, .. } = *self.plan;
        let [diagonal, beside] = self.plan.gradient_numbers(len, tiles);
        holds(op, "gradients of a and z", &apart.diagonal, (dtype, 1), diagonal)?;
        holds(op, "gradients of b and c", &apart.beside, (dtype, 1), beside)
    }
}

/// The passes of a gradient by walks, in their order; of the determinant the first and the third.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Right,
    Left,
    Determinant,
    Sources,
    Store,
}

/// The parts of what belongs to every element.
fn along_parts(task: Task) -> usize {
    if task == Task::DeterminantVjp { 1 } else { 2 }
}

/// Enqueues the diagonal of the inverse, into `diagonal`. `pivots` takes [`TridiagPlan::pivots`] numbers of
/// 32 bits, two for every tile of every sequence: the first element at which a pivot vanishes, and the first of which the
/// result is not finite, or `u32::MAX`.
/// `Ok` means enqueued: a fault of the device shows on the next read.
///
/// # Errors
/// [`Error::Length`] if a buffer is shorter than the plan reaches, [`Error::Unsupported`] for a plan of
/// another task.
pub fn tridiag_launch(
    client: &Client,
    bindings: &TridiagBindings,
    diagonal: &Handle,
    pivots: &Handle,
    plan: &TridiagPlan,
) -> Result<()> {
    let enqueue = Enqueue { client, bindings, plan };
    enqueue.check(Task::Diagonal, Some(("diagonal", diagonal)))?;
    // A pivot takes as much as an f32.
    holds(plan.op, "pivots", pivots, (Dtype::F32, 1), plan.pivots())?;
    if plan.lines.rows == 0 {
        return Ok(());
    }
    match plan.algorithm {
        Algorithm::Serial => {
            let state = enqueue.tiles();
            let there = plan.segments().map(|segment| (0, segment));
            let back = plan.segments().rev().map(|segment| (1, segment));
            for (pass, segment) in there.chain(back) {
                enqueue.walk(pass, segment, &state, [diagonal, pivots]);
            }
        }
        Algorithm::Streamed => {
            let entering = enqueue.entering();
            for pass in [0, 1] {
                enqueue.walk(pass, (0, plan.lines.n), &entering, [diagonal, pivots]);
            }
        }
        Algorithm::Chunked => {
            let [na, nb] = plan.tile.complex.map(parts);
            // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, which
            // `Enqueue::check` has compared with the buffers; the kernel keeps elements below `n` and
            // sequences below `rows`, for each of which there is a pivot.
            unsafe {
                chunked::launch_unchecked(
                    client,
                    count(plan.cubes),
                    enqueue.dim(),
                    na,
                    nb,
                    enqueue.operands(),
                    enqueue.numbers(diagonal, 2),
                    buffer(pivots, Dtype::F32, 1),
                    plan.tile,
                    elem_type(plan.dtype),
                );
            }
        }
    }
    Ok(())
}

/// Enqueues the gradient of every operand from `g`, that of the diagonal or, by a plan of
/// [`Task::DeterminantVjp`], that of the logarithm of the determinant, by the layout of the problem's
/// diagonal.
///
/// # Errors
/// As [`tridiag_launch`].
pub fn tridiag_vjp_launch(
    client: &Client,
    bindings: &TridiagBindings,
    g: &Handle,
    gradients: &TridiagGradients,
    plan: &TridiagPlan,
) -> Result<()> {
    let enqueue = Enqueue { client, bindings, plan };
    let determinant = plan.task == Task::DeterminantVjp;
    let task = if determinant { plan.task } else { Task::Vjp };
    enqueue.check(task, Some(("g", g)))?;
    enqueue.check_apart(gradients, plan.lines.n, plan.tiles)?;
    let TridiagPlan { lines: LinesOf { rows, n, .. }, dtype, .. } = *plan;
    if rows == 0 {
        return Ok(());
    }
    let work = || client.empty(rows * n * SCAN_PARTS * dtype.size());
    match plan.algorithm {
        Algorithm::Serial => {
            let (work, state) = (work(), enqueue.tiles());
            let left = if determinant { Pass::Determinant } else { Pass::Left };
            let there = |pass| plan.segments().map(move |segment| (pass, segment));
            let last = there(Pass::Store).filter(|_| !determinant);
            for (pass, segment) in there(Pass::Right).chain(there(left).rev()).chain(last) {
                enqueue.walk_vjp(pass, segment, [g, &state, &work], gradients);
            }
        }
        Algorithm::Streamed => {
            let (work, state) = (work(), enqueue.entering());
            let run = |pass, state| enqueue.walk_vjp(pass, (0, n), [g, state, &work], gradients);
            run(Pass::Right, &state);
            if determinant {
                run(Pass::Determinant, &state);
            } else {
                run(Pass::Left, &state);
                let entering = enqueue.carried(&state, true);
                run(Pass::Sources, &entering);
                run(Pass::Store, &entering);
            }
        }
        Algorithm::Chunked => {
            let [na, nb] = plan.tile.complex.map(parts);
            let ng = along_parts(task);
            // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, which
            // `Enqueue::check` has compared with the buffers, and `Enqueue::check_gradients` the
            // gradients' lengths; the kernel keeps elements below `n` and sequences below `rows`.
            unsafe {
                chunked_vjp::launch_unchecked(
                    client,
                    count(plan.cubes),
                    enqueue.dim(),
                    na,
                    nb,
                    ng,
                    enqueue.operands(),
                    enqueue.numbers(g, ng),
                    enqueue.apart(gradients, n),
                    plan.tile,
                    elem_type(dtype),
                );
            }
        }
    }
    Ok(())
}
