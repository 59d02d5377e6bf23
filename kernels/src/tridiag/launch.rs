//! From bindings and plans to enqueued kernels.

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Error, Result};

use super::{
    gradient::{chunked_vjp, serial_vjp},
    kernel::{chunked, reduce, serial},
    operands::{ApartLaunch, GeometryLaunch, OperandsLaunch, SegmentLaunch},
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

/// Where gradients go: contiguous, of every sequence on its own, in the convention `∂ℓ/∂Re + i ∂ℓ/∂Im`
/// for complex operands.
#[derive(Debug, Clone)]
pub struct TridiagGradients {
    /// Of `a`: `rows · n`.
    pub a: Handle,
    /// Of `b`, or of the products: `rows · (n − 1)`.
    pub b: Handle,
    /// Of `c`, where it is bound.
    pub c: Option<Handle>,
    /// Of `z`: `rows · tiles` complex parts, whose sums over the tiles are the gradients.
    pub z: Handle,
}

pub(super) fn parts(complex: bool) -> usize {
    if complex { 2 } else { 1 }
}

fn geometry(plan: &TridiagPlan) -> GeometryLaunch {
    GeometryLaunch::new(lines_arg(&plan.lines), plan.tiles)
}

/// A launch's surroundings.
pub(super) struct Enqueue<'a> {
    pub(super) client: &'a Client,
    pub(super) bindings: &'a TridiagBindings,
    pub(super) plan: &'a TridiagPlan,
}

impl Enqueue<'_> {
    /// A buffer that a kernel names and does not touch, or of which it reads one element in vain.
    fn spare(&self, parts: usize) -> BufferArg {
        let bytes = parts * self.plan.dtype.size();
        buffer(&self.client.empty(bytes), self.plan.dtype, parts)
    }

    pub(super) fn numbers(&self, handle: &Handle, parts: usize) -> BufferArg {
        buffer(handle, self.plan.dtype, parts)
    }

    pub(super) fn operands<F: Float, NA: Size, NB: Size>(&self) -> OperandsLaunch<F, NA, NB> {
        let Self { bindings, plan, .. } = self;
        let [na, nb] = plan.tile.complex.map(parts);
        let beside = |handle: Option<&Handle>| match handle {
            Some(handle) if plan.lines.n > 1 => self.numbers(handle, nb),
            _ => self.spare(nb),
        };
        let c = if plan.tile.product { None } else { bindings.c.as_ref() };
        OperandsLaunch::new(
            self.numbers(&bindings.a, na),
            beside(Some(&bindings.b)),
            beside(c),
            self.numbers(&bindings.z, 2),
            geometry(plan),
        )
    }

    pub(super) fn apart<F: Float, NA: Size, NB: Size>(
        &self,
        apart: &TridiagGradients,
    ) -> ApartLaunch<F, NA, NB> {
        let [na, nb] = self.plan.tile.complex.map(parts);
        let c = apart.c.as_ref().map_or_else(|| self.spare(nb), |c| self.numbers(c, nb));
        ApartLaunch::new(
            self.numbers(&apart.a, na),
            self.numbers(&apart.b, nb),
            c,
            self.numbers(&apart.z, 2),
        )
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

    /// What enters each chunk of the recursions of `L` and `R`.
    pub(super) fn entering(&self) -> Handle {
        let [chunks, _] = self.reduced();
        self.carried(&chunks, false)
    }

    /// What enters each chunk, from what all of them do.
    pub(super) fn carried(&self, chunks: &Handle, affine: bool) -> Handle {
        let plan = self.plan;
        let entering = self.tiles();
        // SAFETY: `TridiagPlan::new` makes one cube a sequence at least, and the kernel keeps chunks
        // below `rows · tiles`, for each of which there are eight numbers.
        unsafe {
            carry::launch_unchecked(
                self.client,
                count(plan.carry_cubes),
                CubeDim::new_1d(plan.carry.units as u32),
                self.scanned_numbers(chunks),
                self.scanned_numbers(&entering),
                plan.lines.rows,
                plan.tiles,
                affine,
                plan.carry,
                elem_type(self.scanned()),
            );
        }
        entering
    }

    /// A pass of the diagonal by one unit a sequence or a chunk.
    fn walk(
        &self,
        pass: usize,
        (first, last): (usize, usize),
        [entering, left]: [&Handle; 2],
        [diagonal, pivots]: [&Handle; 2],
    ) {
        let plan = self.plan;
        let [na, nb] = plan.tile.complex.map(parts);
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, which `Enqueue::check` has
        // compared with the buffers; the kernel keeps walks below `rows · tiles`, for each of which there
        // are eight numbers of state and a pivot, and elements below `n`.
        unsafe {
            serial::launch_unchecked(
                self.client,
                count(plan.cubes),
                self.dim(),
                na,
                nb,
                self.operands(),
                self.scanned_numbers(entering),
                self.scanned_numbers(left),
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
        pass: usize,
        (first, last): (usize, usize),
        [g, entering, left, work]: [&Handle; 4],
        gradients: &TridiagGradients,
    ) {
        let plan = self.plan;
        let [na, nb] = plan.tile.complex.map(parts);
        let ng = along_parts(plan.task);
        // SAFETY: `TridiagPlan::new` bounds every element by the layouts' ends, and `tridiag_vjp_launch`
        // has compared them and the gradients' lengths with the buffers; the kernel keeps walks below
        // `rows · tiles`, for each of which there are eight numbers of state, and elements below `n`, for
        // each of which there are eight of work space.
        unsafe {
            serial_vjp::launch_unchecked(
                self.client,
                count(plan.cubes),
                self.dim(),
                na,
                nb,
                ng,
                self.operands(),
                self.numbers(g, ng),
                self.numbers(entering, 1),
                self.numbers(left, 1),
                self.numbers(work, 1),
                self.apart(gradients),
                SegmentLaunch::new(first, last),
                pass,
                plan.tile,
                elem_type(plan.dtype),
            );
        }
    }

    /// Compares a buffer of the elements below the diagonal, which a plan of products does without.
    pub(super) fn holds_lower(
        &self,
        argument: &'static str,
        c: Option<&Handle>,
        end: usize,
    ) -> Result<()> {
        let TridiagPlan { op, dtype, tile, .. } = *self.plan;
        match c {
            Some(c) => holds(op, argument, c, (dtype, parts(tile.complex[1])), end),
            None if tile.product => Ok(()),
            None => {
                let expected = "bound, where the plan is not of products";
                Err(Error::Length { op, argument, expected, found: 0 })
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
        self.holds_lower("c", bindings.c.as_ref(), plan.ends[2])?;
        holds(op, "z", &bindings.z, (dtype, 2), plan.ends[3])?;
        let Some((name, handle)) = along else { return Ok(()) };
        holds(op, name, handle, (dtype, along_parts(task)), plan.ends[4])
    }

    /// Compares the buffers of gradients with the plan.
    pub(super) fn check_gradients(&self, gradients: &TridiagGradients) -> Result<()> {
        let TridiagPlan { op, lines: LinesOf { rows, n, .. }, tiles, dtype, .. } = *self.plan;
        let [na, nb] = self.plan.tile.complex.map(parts);
        holds(op, "gradient of a", &gradients.a, (dtype, na), rows * n)?;
        holds(op, "gradient of b", &gradients.b, (dtype, nb), rows * (n - 1))?;
        self.holds_lower("gradient of c", gradients.c.as_ref(), rows * (n - 1))?;
        holds(op, "gradient of z", &gradients.z, (dtype, 2), rows * tiles)
    }
}

/// The parts of what belongs to every element.
fn along_parts(task: Task) -> usize {
    if task == Task::DeterminantVjp { 1 } else { 2 }
}

/// Enqueues the diagonal of the inverse, into `diagonal`. `pivots` takes [`TridiagPlan::pivots`] numbers of
/// 32 bits: for every tile of every sequence the first element at which a pivot vanishes, or `u32::MAX`.
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
            // What a segment leaves behind enters the next: two buffers take turns.
            let mut state = [enqueue.tiles(), enqueue.tiles()];
            let there = plan.segments().map(|segment| (0, segment));
            let back = plan.segments().rev().map(|segment| (1, segment));
            for (pass, segment) in there.chain(back) {
                enqueue.walk(pass, segment, [&state[0], &state[1]], [diagonal, pivots]);
                state.swap(0, 1);
            }
        }
        Algorithm::Streamed => {
            let entering = enqueue.entering();
            let left = client.empty(plan.dtype.size());
            for pass in [0, 1] {
                enqueue.walk(pass, (0, plan.lines.n), [&entering, &left], [diagonal, pivots]);
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
    enqueue.check_gradients(gradients)?;
    let TridiagPlan { lines: LinesOf { rows, n, .. }, dtype, .. } = *plan;
    if rows == 0 {
        return Ok(());
    }
    let work = || client.empty(rows * n * SCAN_PARTS * dtype.size());
    match plan.algorithm {
        Algorithm::Serial => {
            let work = work();
            let mut state = [enqueue.tiles(), enqueue.tiles()];
            let there = |pass| plan.segments().map(move |segment| (pass, segment));
            let last = there(3).filter(|_| !determinant);
            for (pass, segment) in there(0).chain(there(1).rev()).chain(last) {
                enqueue.walk_vjp(pass, segment, [g, &state[0], &state[1], &work], gradients);
                state.swap(0, 1);
            }
        }
        Algorithm::Streamed => {
            let (work, maps) = (work(), enqueue.tiles());
            let entering = enqueue.entering();
            for pass in [0, 1] {
                enqueue.walk_vjp(pass, (0, n), [g, &entering, &maps, &work], gradients);
            }
            if !determinant {
                let entering = enqueue.carried(&maps, true);
                for pass in [2, 3] {
                    enqueue.walk_vjp(pass, (0, n), [g, &entering, &maps, &work], gradients);
                }
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
                    enqueue.apart(gradients),
                    plan.tile,
                    elem_type(dtype),
                );
            }
        }
    }
    Ok(())
}
