//! Device code forward where units are emulated: a unit keeps rows of its own, and all units of a cube walk over the
//! same keys as they come from memory. Nothing is shared, so nothing waits.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    clippy::collapsible_if,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    geometry::{
        Geometry, Part, Query, Slot, UNSEEN, is_seen, key_at, part, query, query_at, score,
        seen_keys, sequence,
    },
    kernel::{Stored, narrowed, normalised, shrunk, weight},
    tile::{total, widened, zero},
    tiles::TileConfig,
};

/// What a unit keeps of its rows.
#[derive(CubeType)]
struct Kept<W: Size> {
    /// All vectors of the first row, then of the next.
    queries: Array<Vector<f32, W>>,
    sums: Array<Vector<f32, W>>,
    most: Array<f32>,
    weights: Array<f32>,
}

/// Rows of units against the keys of a split.
#[cube(launch_unchecked)]
pub(super) fn streaming<N: Float, O: Float, W: Size>(
    q: &[Vector<N, W>],
    cache: &Stored<N, W>,
    tables: &[u32],
    out: &mut [Vector<O, W>],
    lse: &mut [f32],
    geometry: &Geometry,
    row_tiles: usize,
    #[comptime] config: TileConfig,
    #[define(N, O)] _dtypes: [ElemType; 2],
) {
    let rows = comptime!(config.together);
    let vectors = comptime!(config.vectors());
    let width = comptime!(config.keys);
    let split = CUBE_POS % geometry.splits;
    let first_row = CUBE_POS / geometry.splits % row_tiles * comptime!(config.rows);
    let head = CUBE_POS / geometry.splits / row_tiles;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, tables, head);
        let unit = UNIT_POS as usize;
        let mut asked = Sequence::<Query>::new();
        let mut kept = Kept::<W> {
            queries: Array::<Vector<f32, W>>::new(comptime!(rows * vectors)),
            sums: Array::<Vector<f32, W>>::new(comptime!(rows * vectors)),
            most: Array::<f32>::new(rows),
            weights: Array::<f32>::new(rows),
        };
        #[unroll]
        for m in 0..rows {
            let query = query(geometry, tables, &part, first_row + unit * rows + m);
            // What is no row reads the first one, and is not written.
            let at = select(query.exists, query_at(&geometry.q, &part, &query), geometry.q.offset);
            #[unroll]
            for c in 0..vectors {
                let value = widened::<N, W, W>(q, at + c, config) * Vector::new(geometry.scale);
                kept.queries[comptime!(m * vectors + c)] = value;
                kept.sums[comptime!(m * vectors + c)] = zero::<W>();
            }
            kept.most[m] = f32::new(UNSEEN);
            kept.weights[m] = f32::new(0.0);
            asked.push(query);
        }
        // Every unit has places of its own here: registers are not indexed by what is known at run time.
        let mut scores = Shared::<[f32]>::new_slice(comptime!(config.rows * config.keys));
        let span = seen_keys(geometry, &part, first_row, config);
        let begin = max(span.first / width * width, split * geometry.split);
        let last = min(span.last, split * geometry.split + geometry.split);
        // Blocks that all rows see, then the others: a branch within a loop would cost both of its sides.
        let (inner, outer) = span.seen_by_all(begin, last, width);
        let mut block = inner;
        while block < outer {
            let keys = min(outer - block, width);
            add::<N, W>(
                &mut kept,
                &mut scores,
                cache,
                tables,
                geometry,
                &part,
                &asked,
                block,
                keys,
                false,
                config,
            );
            block += width;
        }
        block = select(inner <= begin, outer, begin);
        while block < last {
            let keys = min(last - block, width);
            add::<N, W>(
                &mut kept,
                &mut scores,
                cache,
                tables,
                geometry,
                &part,
                &asked,
                block,
                keys,
                true,
                config,
            );
            block += width;
            block = select(block == inner, outer, block);
        }
        #[unroll]
        for m in 0..rows {
            let query = &asked[m];
            if query.exists {
                let found = normalised(geometry, &part, query, kept.most[m], kept.weights[m]);
                let at = split * geometry.out_split + query_at(&geometry.out, &part, query);
                #[unroll]
                for c in 0..vectors {
                    let value = found.of::<W>(kept.sums[comptime!(m * vectors + c)]);
                    out[at + c] = narrowed::<O, W>(value, config);
                }
                lse[split * found.rows + found.row] = found.lse;
            }
        }
    }
}

/// Adds `count` keys from key `block` on to the sums of a unit's rows; of mixed ones those that a row sees.
#[cube]
fn add<N: Float, W: Size>(
    kept: &mut Kept<W>,
    scores: &mut Shared<[f32]>,
    cache: &Stored<N, W>,
    tables: &[u32],
    geometry: &Geometry,
    part: &Part,
    asked: &Sequence<Query>,
    block: usize,
    count: usize,
    #[comptime] mixed: bool,
    #[comptime] config: TileConfig,
) {
    let rows = comptime!(config.together);
    let vectors = comptime!(config.vectors());
    let unit = UNIT_POS as usize;
    let first_page = block / geometry.page_size;
    let first_token = block % geometry.page_size;
    let mut larger = Array::<f32>::new(rows);
    #[unroll]
    for m in 0..rows {
        larger[m] = kept.most[m];
    }
    let mut page = first_page;
    let mut token = first_token;
    for t in 0..count {
        let slot = Slot { outer: sequence(geometry, tables, part, page), token };
        let at = key_at(&geometry.k, part, &slot);
        let mut products = Array::<Vector<f32, W>>::new(rows);
        #[unroll]
        for m in 0..rows {
            products[m] = zero::<W>();
        }
        #[unroll]
        for c in 0..vectors {
            let key = widened::<N, W, W>(&cache.k, at + c, config);
            #[unroll]
            for m in 0..rows {
                products[m] += kept.queries[comptime!(m * vectors + c)] * key;
            }
        }
        #[unroll]
        for m in 0..rows {
            let product = total::<W>(products[m], config);
            let found = score(geometry, &asked[m], block + t, product, config).value;
            scores[(t * rows + m) * CUBE_DIM as usize + unit] = found;
            larger[m] = max(larger[m], found);
        }
        token += 1;
        page += select(token == geometry.page_size, 1usize, 0usize);
        token = select(token == geometry.page_size, 0usize, token);
    }
    #[unroll]
    for m in 0..rows {
        let shrink = shrunk(kept.most[m], larger[m]);
        kept.most[m] = larger[m];
        kept.weights[m] *= shrink;
        #[unroll]
        for c in 0..vectors {
            kept.sums[comptime!(m * vectors + c)] *= Vector::new(shrink);
        }
    }
    let mut page = first_page;
    let mut token = first_token;
    for t in 0..count {
        let slot = Slot { outer: sequence(geometry, tables, part, page), token };
        let at = key_at(&geometry.v, part, &slot);
        let mut found = Array::<f32>::new(rows);
        let mut weights = Array::<f32>::new(rows);
        #[unroll]
        for m in 0..rows {
            found[m] = scores[(t * rows + m) * CUBE_DIM as usize + unit];
            weights[m] = weight(found[m], kept.most[m]);
            kept.weights[m] += weights[m];
        }
        #[unroll]
        for c in 0..vectors {
            let value = widened::<N, W, W>(&cache.v, at + c, config);
            #[unroll]
            for m in 0..rows {
                let added = Vector::new(weights[m]) * value;
                if comptime!(mixed) {
                    if is_seen(found[m]) {
                        kept.sums[comptime!(m * vectors + c)] += added;
                    }
                } else {
                    kept.sums[comptime!(m * vectors + c)] += added;
                }
            }
        }
        token += 1;
        page += select(token == geometry.page_size, 1usize, 0usize);
        token = select(token == geometry.page_size, 0usize, token);
    }
}
