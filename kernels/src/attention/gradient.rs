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
    geometry::{
        Geometry, LEAST, Part, Place, Queries, Query, Slot, UNSEEN, is_seen, key_at, part, query,
        query_at, score, seeing_rows, seen_keys,
    },
    kernel::narrowed,
    tile::{Rows, accumulate, block, products, total, widened, zero},
    tiles::TileConfig,
};
use crate::functions::is_nan;

/// What both launches read.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Operands<N: Float, W: Size> {
    pub(super) q: Box<[Vector<N, W>]>,
    pub(super) k: Box<[Vector<N, W>]>,
    pub(super) v: Box<[Vector<N, W>]>,
    /// The gradient of the result.
    pub(super) g: Box<[Vector<N, W>]>,
    /// The log-sum-exp of every row, then the inner products of results and their gradients, both as the bits of `f32`,
    /// then the tables: every kernel binds as few buffers as can be.
    pub(super) known: Box<[u32]>,
}

/// The inner products of results and their gradients, a unit a row, and all else that is known beforehand beside them.
#[cube(launch_unchecked)]
pub(super) fn inner_products<N: Float, W: Size>(
    out: &[Vector<N, W>],
    g: &[Vector<N, W>],
    lse: &[f32],
    tables: &[u32],
    known: &mut [u32],
    rows: usize,
    words: usize,
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
        known[ABSOLUTE_POS] = u32::reinterpret(lse[ABSOLUTE_POS]);
        known[rows + ABSOLUTE_POS] = u32::reinterpret(total::<W>(sums, config));
    } else if ABSOLUTE_POS < rows + words {
        known[rows + ABSOLUTE_POS] = tables[ABSOLUTE_POS - rows];
    }
}

/// Rows of queries and of their results' gradients, or of keys and values: the first are multiplied with each other
/// for the scores, the second for the gradients of the weights.
#[derive(CubeType)]
struct Pair<W: Size> {
    scored: Rows<W>,
    valued: Rows<W>,
}

#[cube]
impl<W: Size> Pair<W> {
    /// Room for rows of `pitch` vectors.
    fn new(#[comptime] pitch: usize, #[comptime] config: TileConfig) -> Pair<W> {
        Pair::<W> {
            scored: Rows::<W>::new_slice(comptime!(config.rows * pitch)),
            valued: Rows::<W>::new_slice(comptime!(config.rows * pitch)),
        }
    }

    /// The queries that were asked, scaled, and their results' gradients; zeros where there is none, or it sees no key.
    fn load_queries<N: Float>(
        &mut self,
        operands: &Operands<N, W>,
        geometry: &Geometry,
        part: &Part,
        asked: &Queries,
        #[comptime] pitch: usize,
        #[comptime] config: TileConfig,
    ) {
        let vectors = comptime!(config.vectors());
        let place = contiguous(geometry, config);
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.vectors()) {
            let query = asked.get(geometry, item / vectors);
            let c = item % vectors;
            let mut q = zero::<W>();
            let mut g = zero::<W>();
            // Padding is not read: it may hold anything.
            if query.i < part.q_len {
                let at = query_at(&geometry.q, part, &query) + c;
                q = widened::<N, W, W>(&operands.q, at, config) * Vector::new(geometry.scale);
                let at = query_at(&place, part, &query) + c;
                g = widened::<N, W, W>(&operands.g, at, config);
            }
            self.scored[item / vectors * pitch + c] = q;
            self.valued[item / vectors * pitch + c] = g;
            item += CUBE_DIM as usize;
        }
    }

    /// Keys and values from key `first` on; zeros beside the keys from `begin` to before `end`.
    fn load_keys<N: Float>(
        &mut self,
        operands: &Operands<N, W>,
        geometry: &Geometry,
        part: &Part,
        first: usize,
        begin: usize,
        end: usize,
        #[comptime] pitch: usize,
        #[comptime] config: TileConfig,
    ) {
        let vectors = comptime!(config.vectors());
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.vectors()) {
            let slot = Slot { outer: part.batch, token: first + item / vectors };
            let c = item % vectors;
            let mut k = zero::<W>();
            let mut v = zero::<W>();
            if slot.token >= begin && slot.token < end {
                let at = key_at(&geometry.k, part, &slot) + c;
                k = widened::<N, W, W>(&operands.k, at, config);
                let at = key_at(&geometry.v, part, &slot) + c;
                v = widened::<N, W, W>(&operands.v, at, config);
            }
            self.scored[item / vectors * pitch + c] = k;
            self.valued[item / vectors * pitch + c] = v;
            item += CUBE_DIM as usize;
        }
    }
}

/// Where the gradient of `q` or what has its shape lies, contiguous.
#[cube]
pub(super) fn contiguous(geometry: &Geometry, #[comptime] config: TileConfig) -> Place {
    let vectors = comptime!(config.vectors());
    let head = geometry.q_len * vectors;
    Place { offset: 0usize, outer: geometry.q_heads * head, head, token: vectors }
}

/// A weight, and the gradient of the product it came from: what is added for a pair that is not seen is told by the
/// caller, zero or a mark.
#[derive(CubeType)]
pub(super) struct Weight {
    pub(super) weight: f32,
    pub(super) gradient: f32,
}

/// A query with what the forward pass left of it.
#[derive(CubeType)]
pub(super) struct Row {
    pub(super) query: Query,
    lse: f32,
    inner: f32,
}

#[cube]
impl Row {
    /// That of `query`; of one that does not exist whatever the first has.
    pub(super) fn new<N: Float, W: Size>(
        operands: &Operands<N, W>,
        geometry: &Geometry,
        part: &Part,
        query: Query,
    ) -> Row {
        let heads = part.batch * geometry.q_heads + query.head;
        let rows = geometry.batch * geometry.q_heads * geometry.q_len;
        let at = select(query.exists, heads * geometry.q_len + query.i, 0usize);
        let lse = f32::reinterpret(operands.known[at]);
        Row { query, lse, inner: f32::reinterpret(operands.known[rows + at]) }
    }

    /// From the products of the query with a key and of its gradient with the value; `unseen` for a key that is not
    /// seen.
    pub(super) fn weight(
        &self,
        geometry: &Geometry,
        key: usize,
        product: f32,
        by_value: f32,
        unseen: f32,
        #[comptime] config: TileConfig,
    ) -> Weight {
        let found = score(geometry, &self.query, key, product, config);
        let mut weight = unseen;
        let mut gradient = unseen;
        if is_seen(found.value) {
            let below = found.value - self.lse;
            weight = select(found.value <= f32::new(LEAST), 0.0f32, f32::exp(below));
            // Of what is no number an exponential may be infinite.
            weight = select(is_nan::<f32>(below), below, weight);
            gradient = weight * (by_value - self.inner) * found.slope;
        }
        Weight { weight, gradient }
    }
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
        self.asked.fill(geometry, &operands.known, part, first, config.rows);
        let mut row = UNIT_POS as usize;
        while row < comptime!(config.rows) {
            let query = query(geometry, &operands.known, part, first + row);
            let known = Row::new::<N, W>(operands, geometry, part, query);
            self.lse[row] = known.lse;
            self.inner[row] = known.inner;
            row += CUBE_DIM as usize;
        }
    }

    fn get(&self, geometry: &Geometry, row: usize) -> Row {
        Row { query: self.asked.get(geometry, row), lse: self.lse[row], inner: self.inner[row] }
    }
}

/// The weights of a tile's rows and columns and the gradients of the products they came from, a unit a block.
#[derive(CubeType)]
struct Weights {
    weight: Shared<[f32]>,
    gradient: Shared<[f32]>,
}

#[cube]
impl Weights {
    fn new(#[comptime] config: TileConfig) -> Weights {
        Weights {
            weight: Shared::<[f32]>::new_slice(comptime!(config.rows * config.keys)),
            gradient: Shared::<[f32]>::new_slice(comptime!(config.rows * config.keys)),
        }
    }

    /// The weight and the gradient of one pair, from its products.
    fn put(
        &mut self,
        known: &Known,
        geometry: &Geometry,
        first_key: usize,
        row: usize,
        column: usize,
        product: f32,
        by_value: f32,
        mark: f32,
        #[comptime] rows_are_keys: bool,
        #[comptime] config: TileConfig,
    ) {
        let place = row * comptime!(config.keys) + column;
        if comptime!(rows_are_keys) {
            let asked = known.get(geometry, column);
            let found = asked.weight(geometry, first_key + row, product, by_value, mark, config);
            self.weight[place] = found.weight;
            self.gradient[place] = found.gradient;
        } else {
            let asked = known.get(geometry, row);
            let found = asked.weight(geometry, first_key + column, product, by_value, mark, config);
            self.gradient[place] = found.gradient;
        }
    }

    /// Of rows that are keys from key `first_key` on and columns that are queries, or the other way round. Pairs of a
    /// mixed tile that are not seen are marked.
    fn fill<W: Size>(
        &mut self,
        rows: &Pair<W>,
        columns: &Pair<W>,
        known: &Known,
        geometry: &Geometry,
        first_key: usize,
        mixed: bool,
        #[comptime] rows_are_keys: bool,
        #[comptime] config: TileConfig,
    ) {
        let mark = select(mixed, f32::new(UNSEEN), 0.0f32);
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.blocks()) {
            let block = block(item, config);
            let product = products::<W>(&rows.scored, &columns.scored, &block, config);
            let by_value = products::<W>(&rows.valued, &columns.valued, &block, config);
            #[unroll]
            for at in 0..comptime!(config.together * config.across) {
                let row = block.first + comptime!(at % config.together);
                let column =
                    block.other + comptime!(at / config.together * config.keys / config.across);
                if comptime!(config.capped) {
                    let place = row * comptime!(config.keys) + column;
                    self.weight[place] = product[at];
                    self.gradient[place] = by_value[at];
                } else {
                    let (product, by_value) = (product[at], by_value[at]);
                    self.put(
                        known,
                        geometry,
                        first_key,
                        row,
                        column,
                        product,
                        by_value,
                        mark,
                        rows_are_keys,
                        config,
                    );
                }
            }
            // As forward, one tangent after the other.
            if comptime!(config.capped) {
                for at in 0..comptime!(config.together * config.across) {
                    let row = block.first + at % comptime!(config.together);
                    let column = block.other
                        + at / comptime!(config.together) * comptime!(config.keys / config.across);
                    let place = row * comptime!(config.keys) + column;
                    let (product, by_value) = (self.weight[place], self.gradient[place]);
                    self.put(
                        known,
                        geometry,
                        first_key,
                        row,
                        column,
                        product,
                        by_value,
                        mark,
                        rows_are_keys,
                        config,
                    );
                }
            }
            item += CUBE_DIM as usize;
        }
    }
}

/// The tiles that a launch goes over: those that begin at `first` or behind it, and before `end`. What earlier
/// launches have found stands in the result.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Range {
    pub(super) first: usize,
    pub(super) end: usize,
}

#[cube]
impl Range {
    /// `sum` with what stands at `at` of a result.
    pub(super) fn added<N: Float, W: Size>(
        &self,
        sum: Vector<f32, W>,
        result: &[Vector<N, W>],
        at: usize,
        #[comptime] config: TileConfig,
    ) -> Vector<N, W> {
        let mut total = sum;
        if self.first > 0 {
            total += widened::<N, W, W>(result, at, config);
        }
        narrowed::<N, W>(total, config)
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
    range: &Range,
    row_tiles: usize,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let vectors = comptime!(config.vectors());
    let pitch = comptime!(config.pitch());
    let width = comptime!(config.keys);
    let first_row = CUBE_POS % row_tiles * comptime!(config.rows);
    let head = CUBE_POS / row_tiles;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, &operands.known, head);
        let mut queries = Pair::<W>::new(vectors, config);
        let mut keys = Pair::<W>::new(pitch, config);
        let mut sums = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut weights = Weights::new(config);
        let ones = ones(config);
        let mut known = Known::new(config);
        known.fill::<N, W>(operands, geometry, &part, first_row, config);
        sync_cube();
        queries.load_queries::<N>(operands, geometry, &part, &known.asked, vectors, config);
        clear::<W>(&mut sums, config);
        let span = seen_keys(geometry, &part, first_row, config);
        let mut tile = max(span.first / width * width, range.first);
        let end = min(span.last, range.end);
        while tile < end {
            let (begin, last) = (span.first, span.last);
            keys.load_keys::<N>(operands, geometry, &part, tile, begin, last, pitch, config);
            sync_cube();
            let mixed = span.is_mixed(tile, tile + width);
            weights.fill::<W>(&queries, &keys, &known, geometry, tile, mixed, false, config);
            sync_cube();
            if mixed {
                accumulate::<W>(&mut sums, &ones, &weights.gradient, &keys.scored, true, config);
            } else {
                accumulate::<W>(&mut sums, &ones, &weights.gradient, &keys.scored, false, config);
            }
            sync_cube();
            tile += width;
        }
        sync_cube();
        let place = contiguous(geometry, config);
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.vectors()) {
            let query = known.asked.get(geometry, item / vectors);
            if query.exists {
                let mut value = zero::<W>();
                // Sums of padding may hold what others see, times zero.
                if query.i < part.q_len {
                    value = sums[item] * Vector::new(geometry.scale);
                }
                let at = query_at(&place, &part, &query) + item % vectors;
                gradient[at] = range.added::<N, W>(value, &*gradient, at, config);
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
    range: &Range,
    key_tiles: usize,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let vectors = comptime!(config.vectors());
    let pitch = comptime!(config.pitch());
    let width = comptime!(config.keys);
    let first_key = CUBE_POS % key_tiles * comptime!(config.rows);
    let head = CUBE_POS / key_tiles;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, &operands.known, head);
        let mut keys = Pair::<W>::new(vectors, config);
        let mut queries = Pair::<W>::new(pitch, config);
        let mut k_sums = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut v_sums = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut weights = Weights::new(config);
        let ones = ones(config);
        let end = part.kv_len;
        keys.load_keys::<N>(operands, geometry, &part, first_key, 0, end, vectors, config);
        clear::<W>(&mut k_sums, config);
        clear::<W>(&mut v_sums, config);
        let span = seeing_rows(geometry, &part, first_key, config);
        let (whole_first, whole_last) = span.whole();
        let mut tile = max(span.first / width * width, range.first);
        let end = min(span.last, range.end);
        let mut known = Known::new(config);
        known.fill::<N, W>(operands, geometry, &part, tile, config);
        sync_cube();
        while tile < end {
            queries.load_queries::<N>(operands, geometry, &part, &known.asked, pitch, config);
            sync_cube();
            // A tile's rows beside the span are loaded too, if no key is seen by them.
            let mixed = tile < whole_first || tile + width > whole_last;
            weights.fill::<W>(&keys, &queries, &known, geometry, first_key, mixed, true, config);
            sync_cube();
            known.fill::<N, W>(operands, geometry, &part, tile + width, config);
            if mixed {
                accumulate::<W>(
                    &mut k_sums,
                    &ones,
                    &weights.gradient,
                    &queries.scored,
                    true,
                    config,
                );
                accumulate::<W>(&mut v_sums, &ones, &weights.weight, &queries.valued, true, config);
            } else {
                accumulate::<W>(
                    &mut k_sums,
                    &ones,
                    &weights.gradient,
                    &queries.scored,
                    false,
                    config,
                );
                accumulate::<W>(
                    &mut v_sums,
                    &ones,
                    &weights.weight,
                    &queries.valued,
                    false,
                    config,
                );
            }
            sync_cube();
            tile += width;
        }
        sync_cube();
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.vectors()) {
            let token = first_key + item / vectors;
            if token < geometry.kv_len {
                let at = (head * geometry.kv_len + token) * vectors + item % vectors;
                let mut by_key = zero::<W>();
                let mut by_value = zero::<W>();
                // Sums of padding may hold what others are seen by, times zero.
                if token < part.kv_len {
                    by_key = k_sums[item];
                    by_value = v_sums[item];
                }
                k_gradient[at] = range.added::<N, W>(by_key, &*k_gradient, at, config);
                v_gradient[at] = range.added::<N, W>(by_value, &*v_gradient, at, config);
            }
            item += CUBE_DIM as usize;
        }
    }
}
