//! Buffers and a plan become launches.

use cubecl::{
    client::Client,
    ir::{ElemType, UIntKind},
    prelude::*,
    server::Handle,
};
use wavecube_core::{Dtype, Error, Result};

use super::{
    geometry::{GeometryLaunch, Place},
    kernel::{StoredLaunch, forward, merge, naive},
    plan::{AttentionPlan, Steps},
    problem::{GROUP, Storage, Strategy},
    streaming::streaming,
};
use crate::{
    elem_type,
    grid::grid,
    launch::{buffer, count, holds},
};

/// An unbounded reach: no position is further away.
const FAR: i32 = 1 << 30;

/// The buffers that attention reads.
#[derive(Debug, Clone)]
pub struct AttentionBindings {
    /// Queries.
    pub q: Handle,
    /// Keys.
    pub k: Handle,
    /// Values.
    pub v: Handle,
    /// For every 32 numbers of quantised keys and values the step between codes and the middle of the range, both in
    /// `bf16`, in the upper and the lower half of a word.
    pub scales: Option<[Handle; 2]>,
    /// What was subtracted from the keys of a quantised cache, `[kv_heads, dim]` in `f32`.
    pub shift: Option<Handle>,
    /// In 32 bits: how many queries each sequence has, how many keys, and its pages; nothing where all
    /// sequences are as long as the tensors.
    pub index: Option<Handle>,
    /// A slope for every head of the queries, in `f32`.
    pub slopes: Option<Handle>,
}

/// A launch with its buffers, checked.
pub(super) struct Enqueue<'a> {
    pub(super) client: &'a Client,
    pub(super) bindings: &'a AttentionBindings,
    pub(super) plan: &'a AttentionPlan,
    /// Where there is nothing to bind.
    spare: Handle,
}

impl<'a> Enqueue<'a> {
    /// Compares the buffers with the plan.
    pub(super) fn new(
        client: &'a Client,
        bindings: &'a AttentionBindings,
        plan: &'a AttentionPlan,
    ) -> Result<Self> {
        let AttentionPlan { op, dtype, batch, table, .. } = *plan;
        holds(op, "q", &bindings.q, (dtype, 1), plan.ends[0])?;
        for (which, argument, handle) in [(1, "k", &bindings.k), (2, "v", &bindings.v)] {
            let bits = plan.tile.storage.bits(dtype);
            let bytes = plan.ends[which].saturating_mul(bits).div_ceil(8);
            if (handle.size_in_used() as usize) < bytes {
                let expected = "a buffer that holds every element of the layout";
                let found = handle.size_in_used() as usize * 8 / bits;
                return Err(Error::Length { op, argument, expected, found });
            }
        }
        if plan.tile.storage != Storage::Float {
            let missing = || {
                let reason = "a quantised cache has scales and a shift";
                Error::Unsupported { op, argument: "scales", reason }
            };
            let [k, v] = bindings.scales.as_ref().ok_or_else(missing)?;
            holds(op, "scales of k", k, (Dtype::F32, 1), plan.ends[1] / GROUP)?;
            holds(op, "scales of v", v, (Dtype::F32, 1), plan.ends[2] / GROUP)?;
            let shift = bindings.shift.as_ref().ok_or_else(missing)?;
            holds(op, "shift", shift, (Dtype::F32, 1), plan.kv_heads * plan.tile.dim)?;
        }
        match &bindings.index {
            Some(index) => holds(op, "index", index, (Dtype::F32, 1), batch * (2 + table))?,
            None if table > 0 => {
                let reason = "pages are found by an index";
                return Err(Error::Unsupported { op, argument: "index", reason });
            }
            None => {}
        }
        if let Some(slopes) = &bindings.slopes {
            holds(op, "slopes", slopes, (Dtype::F32, 1), plan.q_heads)?;
        }
        Ok(Self { client, bindings, plan, spare: client.create_from_slice(&[0; 16]) })
    }

    /// The sizes, with the result at `out` and `splits` of it.
    pub(super) fn geometry(&self, out: &Steps, out_split: usize) -> GeometryLaunch {
        let plan = self.plan;
        let [q, k, v, _] = &plan.steps;
        let reach = |reach: Option<usize>| reach.map_or(FAR, |n| n.min(FAR as usize) as i32);
        GeometryLaunch::new(
            plan.batch,
            plan.q_heads,
            plan.kv_heads,
            plan.q_len,
            plan.kv_len,
            Place::launch(q),
            Place::launch(k),
            Place::launch(v),
            Place::launch(out),
            out_split,
            plan.page_size,
            plan.table,
            usize::from(self.bindings.index.is_some()),
            plan.split,
            plan.splits,
            plan.mask.scale,
            plan.mask.soft_cap.unwrap_or(0.0),
            reach(plan.mask.left),
            reach(plan.mask.right),
            usize::from(self.bindings.slopes.is_some()),
            f32::NEG_INFINITY,
        )
    }

    pub(super) fn vectors(&self, handle: &Handle, dtype: Dtype) -> BufferArg {
        let lanes = self.plan.tile.lanes;
        // What is empty may lie in a buffer of less than a vector.
        let short = (handle.size_in_used() as usize) < lanes * dtype.size();
        buffer(if short { &self.spare } else { handle }, dtype, lanes)
    }

    pub(super) fn numbers(&self, handle: Option<&Handle>) -> BufferArg {
        buffer(handle.unwrap_or(&self.spare), Dtype::F32, 1)
    }

    pub(super) fn index(&self) -> BufferArg {
        self.numbers(self.bindings.index.as_ref())
    }

    pub(super) fn slopes(&self) -> BufferArg {
        self.numbers(self.bindings.slopes.as_ref())
    }

    fn stored<E: Numeric, WE: Size>(&self) -> StoredLaunch<E, WE> {
        let AttentionBindings { k, v, scales, shift, .. } = self.bindings;
        let keys = |handle: &Handle| match self.plan.tile.storage {
            Storage::Float => self.vectors(handle, self.plan.dtype),
            _ => buffer(handle, Dtype::F32, 4),
        };
        let scale = |which: usize| self.numbers(scales.as_ref().map(|scales| &scales[which]));
        StoredLaunch::new(keys(k), keys(v), scale(0), scale(1), self.numbers(shift.as_ref()))
    }

    /// The type that keys and values are read as, and how many of them at once.
    fn stored_type(&self) -> (ElemType, usize) {
        match self.plan.tile.storage {
            Storage::Float => (elem_type(self.plan.dtype), self.plan.tile.lanes),
            _ => (ElemType::UInt(UIntKind::U32), 4),
        }
    }

    /// The steps of a contiguous result.
    pub(super) fn contiguous(&self) -> Steps {
        let AttentionPlan { q_heads, q_len, tile, .. } = self.plan;
        let token = tile.vectors();
        Steps { offset: 0, outer: q_heads * q_len * token, head: q_len * token, token }
    }

    fn forward(&self, out: &Handle, lse: &Handle) {
        let plan = self.plan;
        if plan.splits == 1 {
            self.splits((out, plan.dtype), lse, &plan.steps[3]);
            return;
        }
        let numbers = plan.rows() * plan.tile.dim;
        let partial = self.client.empty(4 * numbers * plan.splits);
        let partial_lse = self.client.empty(4 * plan.rows() * plan.splits);
        self.splits((&partial, Dtype::F32), &partial_lse, &self.contiguous());
        let units = plan.units.max(1);
        let vectors = plan.rows() * plan.tile.vectors();
        let cubes = grid(plan.op, vectors.div_ceil(units), &plan.limits);
        // SAFETY: `Enqueue::new` and `attention_launch` have compared all buffers with the plan; the kernel
        // keeps to the vectors of the plan's rows.
        unsafe {
            merge::launch_unchecked(
                self.client,
                count(cubes.unwrap_or(plan.cubes)),
                CubeDim::new_1d(units as u32),
                plan.tile.lanes,
                self.vectors(&partial, Dtype::F32),
                self.numbers(Some(&partial_lse)),
                self.vectors(out, plan.dtype),
                self.numbers(Some(lse)),
                self.geometry(&plan.steps[3], 0),
                plan.tile,
                elem_type(plan.dtype),
            );
        }
    }

    fn splits(&self, (out, dtype): (&Handle, Dtype), lse: &Handle, steps: &Steps) {
        let plan = self.plan;
        let (stored_type, stored_lanes) = self.stored_type();
        let rows = plan.q_len * (plan.q_heads / plan.kv_heads);
        let tiles = rows.div_ceil(plan.tile.rows);
        let units = CubeDim::new_1d(plan.units as u32);
        let geometry = self.geometry(steps, plan.rows() * plan.tile.vectors());
        let q = self.vectors(&self.bindings.q, plan.dtype);
        let (out, lse) = (self.vectors(out, dtype), self.numbers(Some(lse)));
        if plan.strategy == Strategy::Streaming {
            // SAFETY: `Enqueue::new` and `attention_launch` have compared all buffers with the ends of the
            // plan's layouts, and whoever made the index keeps its lengths and pages within them; the kernel
            // keeps queries below `q_len` and keys below the lengths.
            unsafe {
                streaming::launch_unchecked(
                    self.client,
                    count(plan.cubes),
                    units,
                    plan.tile.lanes,
                    q,
                    self.stored(),
                    self.index(),
                    self.slopes(),
                    out,
                    lse,
                    geometry,
                    tiles,
                    plan.tile,
                    [elem_type(plan.dtype), elem_type(dtype)],
                );
            }
            return;
        }
        // SAFETY: as above, by `Enqueue::new` and `attention_launch`.
        unsafe {
            forward::launch_unchecked(
                self.client,
                count(plan.cubes),
                units,
                plan.tile.lanes,
                stored_lanes,
                q,
                self.stored(),
                self.index(),
                self.slopes(),
                out,
                lse,
                geometry,
                tiles,
                plan.tile,
                [elem_type(plan.dtype), stored_type, elem_type(dtype)],
            );
        }
    }
}

/// Enqueues attention: the result, and the logarithm of the sum of every query's exponentials, `f32`
/// and contiguous, `[batch, q_heads, n_q]`. `Ok` means enqueued: a fault shows on the next read.
///
/// # Errors
/// [`Error::Length`] if a buffer is shorter than the plan reaches, [`Error::Unsupported`] if one that the
/// plan needs is not bound; then nothing is enqueued.
pub fn attention_launch(
    client: &Client,
    bindings: &AttentionBindings,
    out: &Handle,
    lse: &Handle,
    plan: &AttentionPlan,
) -> Result<()> {
    let enqueue = Enqueue::new(client, bindings, plan)?;
    holds(plan.op, "out", out, (plan.dtype, 1), plan.ends[3])?;
    holds(plan.op, "lse", lse, (Dtype::F32, 1), plan.rows())?;
    if plan.rows() == 0 {
        return Ok(());
    }
    if plan.strategy != Strategy::Naive {
        enqueue.forward(out, lse);
        return Ok(());
    }
    // SAFETY: as in `Enqueue::splits`, by `Enqueue::new` and the lines above.
    unsafe {
        naive::launch_unchecked(
            client,
            count(plan.cubes),
            CubeDim::new_1d(plan.units as u32),
            plan.tile.lanes,
            enqueue.vectors(&bindings.q, plan.dtype),
            enqueue.stored(),
            enqueue.index(),
            enqueue.slopes(),
            enqueue.vectors(out, plan.dtype),
            enqueue.numbers(Some(lse)),
            enqueue.geometry(&plan.steps[3], 0),
            plan.tile,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}
