//! The launches of the gradients.

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{Dtype, Result};

use super::{
    gradient::{OperandsLaunch, RangeLaunch, by_keys, by_queries, inner_products},
    gradient_streaming::{keys_streaming, queries_streaming},
    launch::{AttentionBindings, Enqueue},
    plan::{AttentionPlan, GradientLaunch},
};
use crate::{
    elem_type,
    grid::grid,
    launch::{count, holds},
};

/// What the gradients are made from, and where they go: contiguous tensors of the operands' shapes.
#[derive(Debug, Clone)]
pub struct AttentionGradientBindings {
    /// The result.
    pub out: Handle,
    /// Its log-sum-exp, `f32`.
    pub lse: Handle,
    /// Its gradient.
    pub g: Handle,
    /// The gradient of the queries.
    pub by_q: Handle,
    /// The gradient of the keys.
    pub by_k: Handle,
    /// The gradient of the values.
    pub by_v: Handle,
}

/// Enqueues the gradients of queries, keys and values.
///
/// # Errors
/// As [`attention_launch`](super::attention_launch) and [`AttentionPlan::gradient`].
pub fn attention_vjp_launch(
    client: &Client,
    bindings: &AttentionBindings,
    gradients: &AttentionGradientBindings,
    plan: &AttentionPlan,
) -> Result<()> {
    let [of_queries, of_keys] = plan.gradient()?;
    let enqueue = Enqueue::new(client, bindings, plan)?;
    let AttentionGradientBindings { out, lse, g, by_q, by_k, by_v } = gradients;
    let (op, dtype, tile) = (plan.op, plan.dtype, plan.gradient_tile);
    let (rows, keys) = (plan.rows(), plan.batch * plan.kv_heads * plan.kv_len);
    for (argument, handle) in [("out", out), ("g", g), ("gradient of q", by_q)] {
        holds(op, argument, handle, (dtype, 1), rows * tile.dim)?;
    }
    holds(op, "lse", lse, (Dtype::F32, 1), rows)?;
    holds(op, "gradient of k", by_k, (dtype, 1), keys * tile.dim)?;
    holds(op, "gradient of v", by_v, (dtype, 1), keys * tile.dim)?;
    let (of_sequences, slopes) = enqueue.table_words();
    let words = of_sequences + slopes;
    let flat = grid(op, (rows + words).div_ceil(of_queries.units), &plan.limits)?;
    let known = client.empty(4 * (2 * rows + words).max(1));
    let launch_type = elem_type(dtype);
    let tiles = |len: usize| len.div_ceil(tile.rows);
    let units = |launch: &GradientLaunch| CubeDim::new_1d(launch.units as u32);
    if rows + words > 0 {
        // SAFETY: the lines above have compared the buffers with the rows, below which the kernel stays; `known` has room for them
        // and the tables.
        unsafe {
            inner_products::launch_unchecked(
                client,
                count(flat),
                units(&of_queries),
                tile.lanes,
                enqueue.vectors(out, dtype),
                enqueue.vectors(g, dtype),
                enqueue.numbers(Some(lse)),
                enqueue.tables(),
                enqueue.numbers(Some(&known)),
                rows,
                words,
                tile,
                launch_type,
            );
        }
    }
    if rows > 0 {
        for [first, end] in of_queries.ranges() {
            if plan.streams() {
                // SAFETY: `Enqueue::new` has compared the operands with the ends of the plan's layouts, and
                // keys stay below `kv_len`; the result is as above.
                unsafe {
                    queries_streaming::launch_unchecked(
                        client,
                        count(of_queries.cubes),
                        units(&of_queries),
                        tile.lanes,
                        enqueue.operands(g, &known),
                        enqueue.vectors(by_q, dtype),
                        enqueue.geometry(&plan.steps[3], 0, 2 * rows),
                        RangeLaunch::new(first, end),
                        tiles(of_keys.others),
                        tile,
                        launch_type,
                    );
                }
            } else {
                // SAFETY: as above, by `Enqueue::new`.
                unsafe {
                    by_queries::launch_unchecked(
                        client,
                        count(of_queries.cubes),
                        units(&of_queries),
                        tile.lanes,
                        enqueue.operands(g, &known),
                        enqueue.vectors(by_q, dtype),
                        enqueue.geometry(&plan.steps[3], 0, 2 * rows),
                        RangeLaunch::new(first, end),
                        tiles(of_keys.others),
                        tile,
                        launch_type,
                    );
                }
            }
        }
    }
    if keys == 0 {
        return Ok(());
    }
    for [first, end] in of_keys.ranges() {
        if plan.streams() {
            // SAFETY: as above, by `Enqueue::new`; keys stay below `kv_len`.
            unsafe {
                keys_streaming::launch_unchecked(
                    client,
                    count(of_keys.cubes),
                    units(&of_keys),
                    tile.lanes,
                    enqueue.operands(g, &known),
                    enqueue.vectors(by_k, dtype),
                    enqueue.vectors(by_v, dtype),
                    enqueue.geometry(&plan.steps[3], 0, 2 * rows),
                    RangeLaunch::new(first, end),
                    tiles(of_queries.others),
                    tile,
                    launch_type,
                );
            }
        } else {
            // SAFETY: as above, by `Enqueue::new`.
            unsafe {
                by_keys::launch_unchecked(
                    client,
                    count(of_keys.cubes),
                    units(&of_keys),
                    tile.lanes,
                    enqueue.operands(g, &known),
                    enqueue.vectors(by_k, dtype),
                    enqueue.vectors(by_v, dtype),
                    enqueue.geometry(&plan.steps[3], 0, 2 * rows),
                    RangeLaunch::new(first, end),
                    tiles(of_queries.others),
                    tile,
                    launch_type,
                );
            }
        }
    }
    Ok(())
}

impl Enqueue<'_> {
    fn operands<N: Float, W: Size>(&self, g: &Handle, known: &Handle) -> OperandsLaunch<N, W> {
        let vectors = |handle: &Handle| self.vectors(handle, self.plan.dtype);
        OperandsLaunch::new(
            vectors(&self.bindings.q),
            vectors(&self.bindings.k),
            vectors(&self.bindings.v),
            vectors(g),
            self.numbers(Some(known)),
        )
    }
}
