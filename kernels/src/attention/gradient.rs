//! Device code of the gradients: tiles of queries against all keys, and tiles of keys against all queries.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values known at compile time pass by value, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    geometry::{Geometry, Part, Place, Queries, is_seen, part, query, query_at, score, seen_keys},
    kernel::narrowed,
    tile::{Rows, accumulate, block, products, widened, zero},
    tiles::TileConfig,
};

/// What both launches read.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Operands<N: Float, W: Size> {
    pub(super) q: Box<[Vector<N, W>]>,
    pub(super) k: Box<[Vector<N, W>]>,
    pub(super) v: Box<[Vector<N, W>]>,
    /// The gradient of the result.
    pub(super) g: Box<[Vector<N, W>]>,
    pub(super) lse: Box<[f32]>,
    /// The inner product of every row's result and its gradient.
    pub(super) inner: Box<[f32]>,
    pub(super) index: Box<[u32]>,
    pub(super) slopes: Box<[f32]>,
}

/// The inner products of results and their gradients, a unit a row.
#[cube(launch_unchecked)]
pub(super) fn inner_products<N: Float, W: Size>(
    out: &[Vector<N, W>],
    g: &[Vector<N, W>],
    inner: &mut [f32],
    rows: usize,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let vectors = comptime!(config.vectors());
    if ABSOLUTE_POS < rows {
        let mut sums = zero::<W>();
        for c in 0..vectors {
            let at = ABSOLUTE_POS * vectors + c;
            sums += widened::<N, W, W>(out, at, config) * widened::<N, W, W>(g, at, config);
        }
        let mut total = f32::new(0.0);
        #[unroll]
        for lane in 0..comptime!(config.lanes) {
            total += sums.extract(lane);
        }
        inner[ABSOLUTE_POS] = total;
    }
}

/// Rows of queries, scaled, or of what has their shape; zeros where there is none.
#[cube]
fn load_queries<N: Float, W: Size>(
    rows: &mut Rows<W>,
    source: &[Vector<N, W>],
    place: &Place,
    scale: f32,
    geometry: &Geometry,
    part: &Part,
    asked: &Queries,
    #[comptime] pitch: usize,
    #[comptime] config: TileConfig,
) {
    let vectors = comptime!(config.vectors());
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        let query = asked.get(geometry, item / vectors);
        let mut value = zero::<W>();
        // Padding is not read: it may hold anything.
        if query.i < part.q_len {
            let at = query_at(place, part, &query) + item % vectors;
            value = widened::<N, W, W>(source, at, config) * Vector::new(scale);
        }
        rows[item / vectors * pitch + item % vectors] = value;
        item += CUBE_DIM as usize;
    }
}

/// Rows of keys or values from key `first` on; zeros behind the last.
#[cube]
fn load_keys<N: Float, W: Size>(
    rows: &mut Rows<W>,
    source: &[Vector<N, W>],
    place: &Place,
    part: &Part,
    first: usize,
    #[comptime] pitch: usize,
    #[comptime] config: TileConfig,
) {
    let vectors = comptime!(config.vectors());
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        let key = first + item / vectors;
        let mut value = zero::<W>();
        if key < part.kv_len {
            let head = part.batch * place.outer + part.kv_head * place.head;
            let at = place.offset + head + key * place.token + item % vectors;
            value = widened::<N, W, W>(source, at, config);
        }
        rows[item / vectors * pitch + item % vectors] = value;
        item += CUBE_DIM as usize;
    }
}

/// Where the gradient of `q` or what has its shape lies, contiguous.
#[cube]
fn contiguous(
    geometry: &Geometry,
    #[comptime] of_keys: bool,
    #[comptime] config: TileConfig,
) -> Place {
    let vectors = comptime!(config.vectors());
    let len = if comptime!(of_keys) { geometry.kv_len } else { geometry.q_len };
    let heads = if comptime!(of_keys) { geometry.kv_heads } else { geometry.q_heads };
    Place { offset: 0usize, outer: heads * len * vectors, head: len * vectors, token: vectors }
}

/// A weight, and the gradient of the product it came from.
#[derive(CubeType)]
struct Weight {
    weight: f32,
    gradient: f32,
}

/// The queries of a tile, with what the forward pass left of them.
#[derive(CubeType)]
struct Known {
    asked: Queries,
    lse: Shared<[f32]>,
    inner: Shared<[f32]>,
}

#[cube]
impl Known {
    fn new(#[comptime] config: TileConfig) -> Known {
        Known {
            asked: Queries::new(config.rows),
            lse: Shared::<[f32]>::new_slice(config.rows),
            inner: Shared::<[f32]>::new_slice(config.rows),
        }
    }

    /// Rows from row `first` on, to be asked behind a barrier.
    fn fill<N: Float, W: Size>(
        &mut self,
        operands: &Operands<N, W>,
        geometry: &Geometry,
        part: &Part,
        first: usize,
        #[comptime] config: TileConfig,
    ) {
        self.asked.fill(geometry, &operands.slopes, part, first, config.rows);
        let mut row = UNIT_POS as usize;
        while row < comptime!(config.rows) {
            let query = query(geometry, &operands.slopes, part, first + row);
            if query.exists {
                let heads = part.batch * geometry.q_heads + query.head;
                let at = heads * geometry.q_len + query.i;
                self.lse[row] = operands.lse[at];
                self.inner[row] = operands.inner[at];
            }
            row += CUBE_DIM as usize;
        }
    }

    /// From the products of row `row` with a key and of its gradient with the value.
    fn weight(
        &self,
        geometry: &Geometry,
        row: usize,
        key: usize,
        product: f32,
        by_value: f32,
    ) -> Weight {
        let query = self.asked.get(geometry, row);
        let found = score(geometry, &query, key, product);
        let mut weight = f32::new(0.0);
        let mut gradient = f32::new(0.0);
        if is_seen(found.value) {
            weight = f32::exp(found.value - self.lse[row]);
            gradient = weight * (by_value - self.inner[row]) * found.slope;
        }
        Weight { weight, gradient }
    }
}

/// Ones, to add to sums without shrinking them.
#[cube]
fn ones(#[comptime] config: TileConfig) -> Shared<[f32]> {
    let mut ones = Shared::<[f32]>::new_slice(comptime!(config.rows));
    let mut row = UNIT_POS as usize;
    while row < comptime!(config.rows) {
        ones[row] = f32::new(1.0);
        row += CUBE_DIM as usize;
    }
    ones
}

#[cube]
fn clear<W: Size>(rows: &mut Rows<W>, #[comptime] config: TileConfig) {
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        rows[item] = zero::<W>();
        item += CUBE_DIM as usize;
    }
}

/// The gradient of a tile of queries.
#[cube(launch_unchecked)]
pub(super) fn by_queries<N: Float, W: Size>(
    operands: &Operands<N, W>,
    gradient: &mut [Vector<N, W>],
    geometry: &Geometry,
    row_tiles: usize,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let vectors = comptime!(config.vectors());
    let width = comptime!(config.keys);
    let first_row = CUBE_POS % row_tiles * comptime!(config.rows);
    let head = CUBE_POS / row_tiles;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, &operands.index, head);
        let mut queries = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut results = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut sums = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut keys = Rows::<W>::new_slice(comptime!(config.keys * config.pitch()));
        let mut values = Rows::<W>::new_slice(comptime!(config.keys * config.pitch()));
        let mut weights = Shared::<[f32]>::new_slice(comptime!(config.rows * config.keys));
        let ones = ones(config);
        let place = contiguous(geometry, false, config);
        let mut known = Known::new(config);
        known.fill::<N, W>(operands, geometry, &part, first_row, config);
        sync_cube();
        load_queries::<N, W>(
            &mut queries,
            &operands.q,
            &geometry.q,
            geometry.scale,
            geometry,
            &part,
            &known.asked,
            vectors,
            config,
        );
        load_queries::<N, W>(
            &mut results,
            &operands.g,
            &place,
            1.0f32,
            geometry,
            &part,
            &known.asked,
            vectors,
            config,
        );
        clear::<W>(&mut sums, config);
        let (begin, end) = seen_keys(geometry, &part, first_row, config);
        let mut tile = begin;
        while tile < end {
            load_keys::<N, W>(
                &mut keys,
                &operands.k,
                &geometry.k,
                &part,
                tile,
                comptime!(config.pitch()),
                config,
            );
            load_keys::<N, W>(
                &mut values,
                &operands.v,
                &geometry.v,
                &part,
                tile,
                comptime!(config.pitch()),
                config,
            );
            sync_cube();
            let mut item = UNIT_POS as usize;
            while item < comptime!(config.blocks()) {
                let block = block(item, config);
                let by_key = products::<W>(&queries, &keys, &block, config);
                let by_value = products::<W>(&results, &values, &block, config);
                #[unroll]
                for at in 0..comptime!(config.together() * config.across) {
                    let row = block.first + comptime!(at % config.together());
                    let t = block.other
                        + comptime!(at / config.together() * config.keys / config.across);
                    let found = known.weight(geometry, row, tile + t, by_key[at], by_value[at]);
                    weights[row * width + t] = found.gradient;
                }
                item += CUBE_DIM as usize;
            }
            sync_cube();
            accumulate::<W>(&mut sums, &ones, &weights, &keys, config);
            sync_cube();
            tile += width;
        }
        sync_cube();
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.vectors()) {
            let query = known.asked.get(geometry, item / vectors);
            if query.exists {
                let value = sums[item] * Vector::new(geometry.scale);
                let at = query_at(&place, &part, &query) + item % vectors;
                gradient[at] = narrowed::<N, W>(value, config);
            }
            item += CUBE_DIM as usize;
        }
    }
}

/// The gradients of a tile of keys and their values.
#[cube(launch_unchecked)]
pub(super) fn by_keys<N: Float, W: Size>(
    operands: &Operands<N, W>,
    k_gradient: &mut [Vector<N, W>],
    v_gradient: &mut [Vector<N, W>],
    geometry: &Geometry,
    key_tiles: usize,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let vectors = comptime!(config.vectors());
    let width = comptime!(config.keys);
    let first_key = CUBE_POS % key_tiles * comptime!(config.rows);
    let head = CUBE_POS / key_tiles;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, &operands.index, head);
        let mut keys = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut values = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut k_sums = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut v_sums = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut queries = Rows::<W>::new_slice(comptime!(config.keys * config.pitch()));
        let mut results = Rows::<W>::new_slice(comptime!(config.keys * config.pitch()));
        let mut weights = Shared::<[f32]>::new_slice(comptime!(config.rows * config.keys));
        let mut slopes = Shared::<[f32]>::new_slice(comptime!(config.rows * config.keys));
        let ones = ones(config);
        load_keys::<N, W>(&mut keys, &operands.k, &geometry.k, &part, first_key, vectors, config);
        load_keys::<N, W>(&mut values, &operands.v, &geometry.v, &part, first_key, vectors, config);
        clear::<W>(&mut k_sums, config);
        clear::<W>(&mut v_sums, config);
        let place = contiguous(geometry, false, config);
        let group = geometry.q_heads / geometry.kv_heads;
        // The queries that see any of these keys: from the first that looks back as far as it has to.
        let ahead = part.q_len as i32 - part.kv_len as i32;
        let low = ahead + first_key as i32 - geometry.right;
        let high = ahead + first_key as i32 + comptime!(config.rows as i32) + geometry.left;
        let first = max(low, 0i32) as usize * group;
        let end = min(max(high, 0i32) as usize, part.q_len) * group;
        let mut tile = first / width * width;
        let mut known = Known::new(config);
        known.fill::<N, W>(operands, geometry, &part, tile, config);
        sync_cube();
        while tile < end {
            load_queries::<N, W>(
                &mut queries,
                &operands.q,
                &geometry.q,
                geometry.scale,
                geometry,
                &part,
                &known.asked,
                comptime!(config.pitch()),
                config,
            );
            load_queries::<N, W>(
                &mut results,
                &operands.g,
                &place,
                1.0f32,
                geometry,
                &part,
                &known.asked,
                comptime!(config.pitch()),
                config,
            );
            sync_cube();
            let mut item = UNIT_POS as usize;
            while item < comptime!(config.blocks()) {
                let block = block(item, config);
                let by_key = products::<W>(&keys, &queries, &block, config);
                let by_value = products::<W>(&values, &results, &block, config);
                #[unroll]
                for at in 0..comptime!(config.together() * config.across) {
                    let row = block.first + comptime!(at % config.together());
                    let t = block.other
                        + comptime!(at / config.together() * config.keys / config.across);
                    let key = first_key + row;
                    let found = known.weight(geometry, t, key, by_key[at], by_value[at]);
                    weights[row * width + t] = found.weight;
                    slopes[row * width + t] = found.gradient;
                }
                item += CUBE_DIM as usize;
            }
            sync_cube();
            known.fill::<N, W>(operands, geometry, &part, tile + width, config);
            accumulate::<W>(&mut k_sums, &ones, &slopes, &queries, config);
            accumulate::<W>(&mut v_sums, &ones, &weights, &results, config);
            sync_cube();
            tile += width;
        }
        sync_cube();
        let place = contiguous(geometry, true, config);
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.vectors()) {
            let key = first_key + item / vectors;
            if key < geometry.kv_len {
                let head = part.batch * place.outer + part.kv_head * place.head;
                let at = head + key * place.token + item % vectors;
                k_gradient[at] = narrowed::<N, W>(k_sums[item], config);
                v_gradient[at] = narrowed::<N, W>(v_sums[item], config);
            }
            item += CUBE_DIM as usize;
        }
    }
}
