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
    problem::{FIRST, GROUP, Storage, Strategy},
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
    /// Of a quantised cache, in words of 32 bits: for every 32 numbers of keys the step between codes and the middle of
    /// the range, both in `bf16`, in the upper and the lower half of a word, the step with the sign of minus where the
    /// token is less the shift; the same of values; then blocks of [`FIRST`] keys and a shift, as the bits of `f32`,
    /// `[blocks, kv_heads, FIRST + 1, dim]`.
    pub scales: Option<Handle>,
    /// What is told of the sequences and of the heads; nothing where all sequences are as long as the tensors and no
    /// head has a slope.
    pub tables: Option<Tables>,
}

/// What is told of sequences and heads, in words of 32 bits in one buffer.
#[derive(Debug, Clone)]
pub struct Tables {
    /// How many queries each sequence has, how many keys, its pages, and the block that holds its first keys where the
    /// cache is quantised; then the slopes of all heads of queries, as the bits of `f32`.
    pub words: Handle,
    /// Whether there are sequences' lengths, and what follows them.
    pub lengths: bool,
    /// Whether there are slopes.
    pub slopes: bool,
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
        let AttentionPlan { op, dtype, table, .. } = *plan;
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
                let reason = "a quantised cache has scales and first keys";
                Error::Unsupported { op, argument: "scales", reason }
            };
            let scales = bindings.scales.as_ref().ok_or_else(missing)?;
            let block = plan.kv_heads * (FIRST + 1) * plan.tile.dim;
            let words = plan.ends[1] / GROUP + plan.ends[2] / GROUP + block;
            holds(op, "scales", scales, (Dtype::F32, 1), words)?;
        }
        let indexed = bindings.tables.as_ref().is_some_and(|tables| tables.lengths);
        if table > 0 && !indexed {
            let reason = "pages are found by an index";
            return Err(Error::Unsupported { op, argument: "tables", reason });
        }
        if let Some(tables) = &bindings.tables {
            let (lengths, slopes) = plan.table_words(tables);
            holds(op, "tables", &tables.words, (Dtype::F32, 1), lengths + slopes)?;
        }
        Ok(Self { client, bindings, plan, spare: client.create_from_slice(&[0; 16]) })
    }

    /// The sizes, with the result at `out`, `out_split` vectors from split to split, and the tables' begin at `at`.
    pub(super) fn geometry(&self, out: &Steps, out_split: usize, at: usize) -> GeometryLaunch {
        let plan = self.plan;
        let [lengths, slopes] = self
            .bindings
            .tables
            .as_ref()
            .map_or([false; 2], |tables| [tables.lengths, tables.slopes]);
        let slopes_at = at + self.table_words().0;
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
            usize::from(lengths),
            at,
            plan.split,
            plan.splits,
            plan.mask.scale,
            plan.mask.soft_cap.unwrap_or(0.0),
            reach(plan.mask.left),
            reach(plan.mask.right),
            usize::from(slopes),
            slopes_at,
            f32::NEG_INFINITY,
            f32::NAN,
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

    /// How many words of the tables are of sequences, and how many are slopes.
    pub(super) fn table_words(&self) -> (usize, usize) {
        self.bindings.tables.as_ref().map_or((0, 0), |tables| self.plan.table_words(tables))
    }

    pub(super) fn tables(&self) -> BufferArg {
        self.numbers(self.bindings.tables.as_ref().map(|tables| &tables.words))
    }

    fn stored<E: Numeric, WE: Size>(&self) -> StoredLaunch<E, WE> {
        let AttentionBindings { k, v, scales, .. } = self.bindings;
        let keys = |handle: &Handle| match self.plan.tile.storage {
            Storage::Float => self.vectors(handle, self.plan.dtype),
            _ => buffer(handle, Dtype::F32, 4),
        };
        let [of_keys, of_values] = [1, 2].map(|which| self.plan.ends[which] / GROUP);
        let scales = self.numbers(scales.as_ref());
        StoredLaunch::new(keys(k), keys(v), scales, of_keys, of_keys + of_values)
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
                self.geometry(&plan.steps[3], 0, 0),
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
        let geometry = self.geometry(steps, plan.rows() * plan.tile.vectors(), 0);
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
                    self.tables(),
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
                self.tables(),
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

impl AttentionPlan {
    /// How many words of `tables` are of sequences, and how many are slopes.
    fn table_words(&self, tables: &Tables) -> (usize, usize) {
        let blocks = usize::from(self.tile.storage != Storage::Float);
        let of_sequences = self.batch * (2 + self.table + blocks);
        (
            if tables.lengths { of_sequences } else { 0 },
            if tables.slopes { self.q_heads } else { 0 },
        )
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
            enqueue.tables(),
            enqueue.vectors(out, plan.dtype),
            enqueue.numbers(Some(lse)),
            enqueue.geometry(&plan.steps[3], 0, 0),
            plan.tile,
            elem_type(plan.dtype),
        );
    }
    Ok(())
}
