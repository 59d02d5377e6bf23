//! Device code forward where units are emulated: a unit keeps rows of its own, and all units of a cube walk over the
//! same keys as they come from memory. Nothing is shared, so nothing waits.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    geometry::{
        Geometry, Query, Slot, UNSEEN, key_at, part, query, query_at, score, seen_keys, sequence,
    },
    kernel::{Stored, narrowed, normalised, shrunk, weight},
    tile::{total, widened, zero},
    tiles::TileConfig,
};

/// Rows of units against the keys of a split.
#[cube(launch_unchecked)]
pub(super) fn streaming<N: Float, O: Float, W: Size>(
    q: &[Vector<N, W>],
    cache: &Stored<N, W>,
    index: &[u32],
    slopes: &[f32],
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
        let part = part(geometry, index, head);
        let unit = UNIT_POS as usize;
        let mut asked = Sequence::<Query>::new();
        let mut queries = Array::<Vector<f32, W>>::new(comptime!(rows * vectors));
        let mut sums = Array::<Vector<f32, W>>::new(comptime!(rows * vectors));
        let mut most = Array::<f32>::new(rows);
        let mut weights_sum = Array::<f32>::new(rows);
        #[unroll]
        for m in 0..rows {
            let query = query(geometry, slopes, &part, first_row + unit * rows + m);
            // What is no row reads the first one, and is not written.
            let at = select(query.exists, query_at(&geometry.q, &part, &query), geometry.q.offset);
            #[unroll]
            for c in 0..vectors {
                let value = widened::<N, W, W>(q, at + c, config) * Vector::new(geometry.scale);
                queries[comptime!(m * vectors + c)] = value;
                sums[comptime!(m * vectors + c)] = zero::<W>();
            }
            most[m] = f32::new(UNSEEN);
            weights_sum[m] = f32::new(0.0);
            asked.push(query);
        }
        // Every unit has places of its own here: registers are not indexed by what is known at run time.
        let mut scores = Shared::<[f32]>::new_slice(comptime!(config.rows * config.keys));
        let (seen, end) = seen_keys(geometry, &part, first_row, config);
        let begin = split * geometry.split;
        let mut block = max(seen, begin);
        let last = min(end, begin + geometry.split);
        while block < last {
            let count = min(last - block, width);
            let first_page = block / geometry.page_size;
            let first_token = block % geometry.page_size;
            let mut larger = Array::<f32>::new(rows);
            #[unroll]
            for m in 0..rows {
                larger[m] = most[m];
            }
            let mut page = first_page;
            let mut token = first_token;
            for t in 0..count {
                let slot = Slot { outer: sequence(geometry, index, &part, page), token };
                let at = key_at(&geometry.k, &part, &slot);
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
                        products[m] += queries[comptime!(m * vectors + c)] * key;
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
                let shrink = shrunk(most[m], larger[m]);
                most[m] = larger[m];
                weights_sum[m] *= shrink;
                #[unroll]
                for c in 0..vectors {
                    sums[comptime!(m * vectors + c)] *= Vector::new(shrink);
                }
            }
            let mut page = first_page;
            let mut token = first_token;
            for t in 0..count {
                let slot = Slot { outer: sequence(geometry, index, &part, page), token };
                let at = key_at(&geometry.v, &part, &slot);
                let mut weights = Array::<f32>::new(rows);
                #[unroll]
                for m in 0..rows {
                    let found = scores[(t * rows + m) * CUBE_DIM as usize + unit];
                    weights[m] = weight(found, most[m]);
                    weights_sum[m] += weights[m];
                }
                #[unroll]
                for c in 0..vectors {
                    let value = widened::<N, W, W>(&cache.v, at + c, config);
                    #[unroll]
                    for m in 0..rows {
                        sums[comptime!(m * vectors + c)] += Vector::new(weights[m]) * value;
                    }
                }
                token += 1;
                page += select(token == geometry.page_size, 1usize, 0usize);
                token = select(token == geometry.page_size, 0usize, token);
            }
            block += width;
        }
        #[unroll]
        for m in 0..rows {
            let query = &asked[m];
            if query.exists {
                let found = normalised(geometry, &part, query, most[m], weights_sum[m]);
                let at = split * geometry.out_split + query_at(&geometry.out, &part, query);
                #[unroll]
                for c in 0..vectors {
                    let value = sums[comptime!(m * vectors + c)] * Vector::new(found.factor);
                    out[at + c] = narrowed::<O, W>(value, config);
                }
                lse[split * found.rows + found.row] = found.lse;
            }
        }
    }
}
