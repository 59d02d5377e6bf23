//! Device code forward: tiles with an online softmax, the merge of splits, and the definition.

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
        Geometry, LEAST, Part, Queries, Query, Slots, Span, UNSEEN, block_of, is_seen, key_at,
        part, query, query_at, score, seen_keys, slot,
    },
    problem::{FIRST, GROUP, Storage},
    rotate::hadamard,
    tile::{Rows, accumulate, block, levels, products, run, total, unpack, widened, zero},
    tiles::TileConfig,
};
use crate::functions::{is_nan, ln};

/// Keys and values as they are stored. Of a quantised cache, the steps and middles of keys, then those of values, then
/// blocks of first keys, [`FIRST`] to a head and one row of what is subtracted from those behind.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Stored<E: Numeric, WE: Size> {
    pub(super) k: Box<[Vector<E, WE>]>,
    pub(super) v: Box<[Vector<E, WE>]>,
    pub(super) scales: Box<[u32]>,
    /// Where the scales of values begin.
    pub(super) v_scales: usize,
    /// Where the blocks begin.
    pub(super) blocks: usize,
}

/// Where the first keys of a sequence and head lie, as numbers among the scales; behind them the shift of the others.
#[cube]
fn first_keys<E: Numeric, WE: Size>(
    cache: &Stored<E, WE>,
    geometry: &Geometry,
    tables: &[u32],
    part: &Part,
    #[comptime] config: TileConfig,
) -> usize {
    let block = block_of(geometry, tables, part) * geometry.kv_heads + part.kv_head;
    cache.blocks + block * comptime!((FIRST + 1) * config.dim)
}

/// One number a row in shared memory.
#[derive(CubeType)]
struct RowNumbers {
    /// The largest score so far.
    most: Shared<[f32]>,
    /// The sum of weights so far.
    total: Shared<[f32]>,
    /// What the sums are multiplied by before a tile is added.
    shrink: Shared<[f32]>,
    /// What the shift of the keys adds to every product.
    shift: Shared<[f32]>,
}

/// A tile of keys and values.
#[derive(CubeType)]
struct Tile<W: Size> {
    keys: Rows<W>,
    values: Rows<W>,
    /// 1 for keys that are stored less the shift.
    shifted: Shared<[u32]>,
}

/// Rows of a cube against the keys of a split.
#[cube(launch_unchecked)]
pub(super) fn forward<N: Float, E: Numeric, O: Float, W: Size, WE: Size>(
    q: &[Vector<N, W>],
    cache: &Stored<E, WE>,
    tables: &[u32],
    out: &mut [Vector<O, W>],
    lse: &mut [f32],
    geometry: &Geometry,
    row_tiles: usize,
    #[comptime] config: TileConfig,
    #[define(N, E, O)] _dtypes: [ElemType; 3],
) {
    let rows = comptime!(config.rows);
    let vectors = comptime!(config.vectors());
    let width = comptime!(config.keys);
    let split = CUBE_POS % geometry.splits;
    let first_row = CUBE_POS / geometry.splits % row_tiles * rows;
    let head = CUBE_POS / geometry.splits / row_tiles;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, tables, head);
        let mut queries = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut sums = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
        let mut loaded = Tile::<W> {
            keys: Rows::<W>::new_slice(comptime!(config.keys * config.pitch())),
            values: Rows::<W>::new_slice(comptime!(config.keys * config.pitch())),
            shifted: Shared::<[u32]>::new_slice(comptime!(config.keys)),
        };
        let mut weights = Shared::<[f32]>::new_slice(comptime!(config.rows * config.keys));
        let mut numbers = RowNumbers {
            most: Shared::<[f32]>::new_slice(rows),
            total: Shared::<[f32]>::new_slice(rows),
            shrink: Shared::<[f32]>::new_slice(rows),
            shift: Shared::<[f32]>::new_slice(rows),
        };
        let mut asked = Queries::new(rows);
        asked.fill(geometry, tables, &part, first_row, rows);
        let span = seen_keys(geometry, &part, first_row, config);
        let begin = split * geometry.split;
        let mut tile = max(span.first / width * width, begin);
        let last = min(span.last, begin + geometry.split);
        let mut slots = Slots::new(width);
        slots.fill(geometry, tables, &part, tile, width);
        sync_cube();
        let mut item = UNIT_POS as usize;
        while item < rows * vectors {
            let query = asked.get(geometry, item / vectors);
            let mut value = zero::<W>();
            if query.exists {
                let at = query_at(&geometry.q, &part, &query) + item % vectors;
                value = widened::<N, W, W>(q, at, config) * Vector::new(geometry.scale);
            }
            queries[item] = value;
            sums[item] = zero::<W>();
            item += CUBE_DIM as usize;
        }
        sync_cube();
        let mut first_at = 0usize;
        if comptime!(config.storage != Storage::Float) {
            hadamard::<W>(&mut queries, config);
            first_at = first_keys(cache, geometry, tables, &part, config);
            // What a shorter sequence has there has not been written.
            let shifted = part.kv_len > comptime!(FIRST);
            let at = first_at + comptime!(FIRST * config.dim);
            let shift = &mut numbers.shift;
            shifted_products::<W>(&queries, shift, &cache.scales, at, shifted, config);
        }
        let mut row = UNIT_POS as usize;
        while row < rows {
            numbers.most[row] = f32::new(UNSEEN);
            numbers.total[row] = f32::new(0.0);
            row += CUBE_DIM as usize;
        }
        while tile < last {
            load::<E, W, WE>(
                &mut loaded,
                cache,
                geometry,
                &part,
                &slots,
                &span,
                tile,
                first_at,
                config,
            );
            sync_cube();
            slots.fill(geometry, tables, &part, tile + width, width);
            scores::<W>(&queries, &loaded, &mut weights, &numbers, geometry, &asked, tile, config);
            sync_cube();
            let mixed = span.is_mixed(tile, tile + width);
            weigh(&mut weights, &mut numbers, mixed, config);
            sync_cube();
            let (shrink, values) = (&numbers.shrink, &loaded.values);
            if mixed {
                accumulate::<W>(&mut sums, shrink, &weights, values, true, config);
            } else {
                accumulate::<W>(&mut sums, shrink, &weights, values, false, config);
            }
            sync_cube();
            tile += width;
        }
        store::<O, W>(out, lse, &sums, &numbers, geometry, &asked, &part, split, config);
    }
}

/// What the shift of the keys adds to the products of every row.
#[cube]
fn shifted_products<W: Size>(
    rows: &Rows<W>,
    products: &mut Shared<[f32]>,
    scales: &[u32],
    at: usize,
    shifted: bool,
    #[comptime] config: TileConfig,
) {
    let vectors = comptime!(config.vectors());
    let lanes = comptime!(config.lanes);
    let mut row = UNIT_POS as usize;
    while row < comptime!(config.rows) {
        let mut total = f32::new(0.0);
        for c in 0..vectors {
            let value = rows[row * vectors + c];
            #[unroll]
            for lane in 0..lanes {
                total += value.extract(lane) * f32::reinterpret(scales[at + c * lanes + lane]);
            }
        }
        products[row] = select(shifted, total, 0.0f32);
        row += CUBE_DIM as usize;
    }
}

/// A tile of keys and values; zeros for those that no row sees, whatever they hold.
#[cube]
fn load<E: Numeric, W: Size, WE: Size>(
    loaded: &mut Tile<W>,
    cache: &Stored<E, WE>,
    geometry: &Geometry,
    part: &Part,
    slots: &Slots,
    span: &Span,
    tile: usize,
    first_at: usize,
    #[comptime] config: TileConfig,
) {
    if comptime!(config.storage == Storage::Float) {
        let vectors = comptime!(config.vectors());
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.keys * config.vectors()) {
            let t = item / vectors;
            let c = item % vectors;
            let mut k = zero::<W>();
            let mut v = zero::<W>();
            if tile + t >= span.first && tile + t < span.last {
                let slot = slots.get(t);
                k = widened::<E, WE, W>(&cache.k, key_at(&geometry.k, part, &slot) + c, config);
                v = widened::<E, WE, W>(&cache.v, key_at(&geometry.v, part, &slot) + c, config);
            }
            loaded.keys[t * comptime!(config.pitch()) + c] = k;
            loaded.values[t * comptime!(config.pitch()) + c] = v;
            item += CUBE_DIM as usize;
        }
    } else {
        let lanes = comptime!(config.lanes);
        let vectors = comptime!(run(config.storage) / config.lanes);
        let runs = comptime!(config.dim / run(config.storage));
        let shared = comptime!(GROUP / run(config.storage));
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.keys * config.dim / run(config.storage)) {
            let t = item / runs;
            let r = item % runs;
            let mut k = Vector::<u32, WE>::new(0u32);
            let mut v = Vector::<u32, WE>::new(0u32);
            let mut k_scale = comptime!(0u32).runtime();
            let mut v_scale = comptime!(0u32).runtime();
            let some = tile + t >= span.first && tile + t < span.last;
            if some {
                let slot = slots.get(t);
                let at = key_at(&geometry.k, part, &slot) / vectors + r;
                k = Vector::cast_from(cache.k[at]);
                k_scale = cache.scales[at / shared];
                let at = key_at(&geometry.v, part, &slot) / vectors + r;
                v = Vector::cast_from(cache.v[at]);
                v_scale = cache.scales[cache.v_scales + at / shared];
            }
            let at = t * comptime!(config.pitch()) + r * vectors;
            unpack::<W, WE>(&mut loaded.values, at, v, &levels(v_scale, config), config);
            unpack::<W, WE>(&mut loaded.keys, at, k, &levels(k_scale, config), config);
            let first = tile + t < comptime!(FIRST);
            if first && some {
                let from = first_at + (tile + t) * comptime!(config.dim) + r * vectors * lanes;
                for c in 0..vectors {
                    let mut key = Vector::<f32, W>::empty();
                    #[unroll]
                    for lane in 0..lanes {
                        key.insert(lane, f32::reinterpret(cache.scales[from + c * lanes + lane]));
                    }
                    loaded.keys[at + c] = key;
                }
            }
            if r == 0 {
                loaded.shifted[t] = select(first, 0u32, k_scale >> 31u32);
            }
            item += CUBE_DIM as usize;
        }
    }
}

/// The scores of all rows and the keys of a tile.
#[cube]
fn scores<W: Size>(
    queries: &Rows<W>,
    loaded: &Tile<W>,
    weights: &mut Shared<[f32]>,
    numbers: &RowNumbers,
    geometry: &Geometry,
    asked: &Queries,
    tile: usize,
    #[comptime] config: TileConfig,
) {
    let together = comptime!(config.together);
    let width = comptime!(config.keys);
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.blocks()) {
        let block = block(item, config);
        let found = products::<W>(queries, &loaded.keys, &block, config);
        #[unroll]
        for m in 0..together {
            let row = block.first + m;
            let query = asked.get(geometry, row);
            #[unroll]
            for n in 0..comptime!(config.across) {
                let t = block.other + comptime!(n * config.keys / config.across);
                let mut product = found[comptime!(n * together + m)];
                if comptime!(config.storage != Storage::Float) {
                    let whole = product + numbers.shift[row];
                    product = select(loaded.shifted[t] == 1u32, whole, product);
                }
                weights[row * width + t] = if comptime!(config.capped) {
                    product
                } else {
                    score(geometry, &query, tile + t, product, config).value
                };
            }
        }
        // A tangent is many operations: sixteen of them side by side take SwiftShader minutes to compile.
        if comptime!(config.capped) {
            for m in 0..together {
                let row = block.first + m;
                let query = asked.get(geometry, row);
                for n in 0..comptime!(config.across) {
                    let t = block.other + n * comptime!(config.keys / config.across);
                    let product = weights[row * width + t];
                    weights[row * width + t] =
                        score(geometry, &query, tile + t, product, config).value;
                }
            }
        }
        item += CUBE_DIM as usize;
    }
}

/// Scores become weights, one unit a row. Those of a mixed tile's keys that a row does not see stay marked.
#[cube]
fn weigh(
    weights: &mut Shared<[f32]>,
    numbers: &mut RowNumbers,
    mixed: bool,
    #[comptime] config: TileConfig,
) {
    let width = comptime!(config.keys);
    let mark = select(mixed, f32::new(UNSEEN), 0.0f32);
    let mut row = UNIT_POS as usize;
    while row < comptime!(config.rows) {
        let before = numbers.most[row];
        let mut most = before;
        for t in 0..width {
            most = max(most, weights[row * width + t]);
        }
        let mut total = f32::new(0.0);
        for t in 0..width {
            let score = weights[row * width + t];
            let weight = weight(score, most);
            weights[row * width + t] = select(is_seen(score), weight, mark);
            total += weight;
        }
        let shrink = shrunk(before, most);
        numbers.most[row] = most;
        numbers.shrink[row] = shrink;
        numbers.total[row] = numbers.total[row] * shrink + total;
        row += CUBE_DIM as usize;
    }
}

/// The results of a cube's rows and their log-sum-exp; zeros and minus infinity where no key is seen.
#[cube]
fn store<O: Float, W: Size>(
    out: &mut [Vector<O, W>],
    lse: &mut [f32],
    sums: &Rows<W>,
    numbers: &RowNumbers,
    geometry: &Geometry,
    asked: &Queries,
    part: &Part,
    split: usize,
    #[comptime] config: TileConfig,
) {
    let vectors = comptime!(config.vectors());
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        let row = item / vectors;
        let c = item % vectors;
        let query = asked.get(geometry, row);
        if query.exists {
            let found = normalised(geometry, part, &query, numbers.most[row], numbers.total[row]);
            let at = split * geometry.out_split + query_at(&geometry.out, part, &query) + c;
            out[at] = narrowed::<O, W>(found.of::<W>(sums[item]), config);
            if c == 0 {
                lse[split * found.rows + found.row] = found.lse;
            }
        }
        item += CUBE_DIM as usize;
    }
}

/// What a row's sums become a result by, its log-sum-exp and where that lies among those of all rows.
#[derive(CubeType)]
pub(super) struct Normalised {
    /// Whether all weights are zero, and the sums nothing.
    dead: bool,
    /// The result of such a row, otherwise what its sums are multiplied by.
    factor: f32,
    pub(super) lse: f32,
    pub(super) row: usize,
    pub(super) rows: usize,
}

#[cube]
impl Normalised {
    pub(super) fn of<W: Size>(&self, sum: Vector<f32, W>) -> Vector<f32, W> {
        // Sums of rows that see nothing may hold what others see, times zero.
        let mut result = Vector::<f32, W>::new(self.factor);
        if !self.dead {
            result = sum * Vector::new(self.factor);
        }
        result
    }
}

/// From the largest score of a row and the sum of its weights. Where no key is seen: zero and minus infinity; where
/// the scores of all that are seen are minus infinity: not a number.
#[cube]
pub(super) fn normalised(
    geometry: &Geometry,
    part: &Part,
    query: &Query,
    most: f32,
    total: f32,
) -> Normalised {
    let dead = total == 0.0f32;
    let divisor = select(dead, 1.0f32, total);
    let seen = is_seen(most);
    // Of a split, by its largest score: others may have more.
    let whole = geometry.splits == 1;
    let hidden = select(whole, select(seen, geometry.nan, geometry.nothing), most);
    let none = select(whole && seen, geometry.nan, 0.0f32);
    let head = part.batch * geometry.q_heads + query.head;
    Normalised {
        dead,
        factor: select(dead, none, 1.0f32 / divisor),
        lse: select(dead, hidden, log_sum(most, divisor)),
        row: head * geometry.q_len + query.i,
        rows: geometry.batch * geometry.q_heads * geometry.q_len,
    }
}

/// The log-sum-exp of scores whose largest is `most`, from the sum of their weights; of what is no number a logarithm
/// may be one.
#[cube]
fn log_sum(most: f32, total: f32) -> f32 {
    select(is_nan::<f32>(total), total, most + ln(total))
}

/// The weight of a score beside the largest; 0 where the key is not seen, or the score is minus infinity. Not a number
/// where either is none: of those an exponential may be infinite.
#[cube]
pub(super) fn weight(score: f32, most: f32) -> f32 {
    let below = score - most;
    let weight = select(is_nan::<f32>(below), below, f32::exp(below));
    select(score <= f32::new(LEAST), 0.0f32, weight)
}

/// What sums are multiplied by whose largest score was `before`: exactly 1 where nothing changes, so that nothing
/// does.
#[cube]
pub(super) fn shrunk(before: f32, most: f32) -> f32 {
    select(before == most, 1.0f32, f32::exp(before - most))
}

#[cube]
pub(super) fn narrowed<O: Float, W: Size>(
    value: Vector<f32, W>,
    #[comptime] config: TileConfig,
) -> Vector<O, W> {
    let mut narrow = Vector::<O, W>::empty();
    #[unroll]
    for lane in 0..comptime!(config.lanes) {
        narrow.insert(lane, O::cast_from(value.extract(lane)));
    }
    narrow
}

/// What the splits found, joined in their order, a unit a vector of a row.
#[cube(launch_unchecked)]
pub(super) fn merge<O: Float, W: Size>(
    partial: &[Vector<f32, W>],
    partial_lse: &[f32],
    out: &mut [Vector<O, W>],
    lse: &mut [f32],
    geometry: &Geometry,
    #[comptime] config: TileConfig,
    #[define(O)] _dtype: ElemType,
) {
    let vectors = comptime!(config.vectors());
    let rows = geometry.batch * geometry.q_heads * geometry.q_len;
    if ABSOLUTE_POS < rows * vectors {
        let row = ABSOLUTE_POS / vectors;
        let c = ABSOLUTE_POS % vectors;
        let mut most = f32::new(UNSEEN);
        for split in 0..geometry.splits {
            most = max(most, partial_lse[split * rows + row]);
        }
        let mut total = f32::new(0.0);
        let mut sum = zero::<W>();
        for split in 0..geometry.splits {
            let value = partial_lse[split * rows + row];
            let weight = weight(value, most);
            total += weight;
            sum += partial[(split * rows + row) * vectors + c] * Vector::new(weight);
        }
        let dead = total == 0.0f32;
        let divisor = select(dead, 1.0f32, total);
        let seen = is_seen(most);
        let i = row % geometry.q_len;
        let head = row / geometry.q_len % geometry.q_heads;
        let batch = row / geometry.q_len / geometry.q_heads;
        let place = &geometry.out;
        let at = place.offset + batch * place.outer + head * place.head + i * place.token + c;
        let mut result = Vector::<f32, W>::new(select(seen, geometry.nan, 0.0f32));
        if !dead {
            result = sum * Vector::new(1.0f32 / divisor);
        }
        out[at] = narrowed::<O, W>(result, config);
        if c == 0 {
            let hidden = select(seen, geometry.nan, geometry.nothing);
            lse[row] = select(dead, hidden, log_sum(most, divisor));
        }
    }
}

/// The definition, a unit a vector of a row, from memory.
#[cube(launch_unchecked)]
pub(super) fn naive<N: Float, W: Size>(
    q: &[Vector<N, W>],
    cache: &Stored<N, W>,
    tables: &[u32],
    out: &mut [Vector<N, W>],
    lse: &mut [f32],
    geometry: &Geometry,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let vectors = comptime!(config.vectors());
    let group = geometry.q_heads / geometry.kv_heads;
    let rows = geometry.q_len * group;
    let row = ABSOLUTE_POS / vectors;
    let c = ABSOLUTE_POS % vectors;
    if row < geometry.batch * geometry.kv_heads * rows {
        let part = part(geometry, tables, row / rows);
        let query = query(geometry, tables, &part, row % rows);
        let at = query_at(&geometry.q, &part, &query);
        let mut most = f32::new(UNSEEN);
        let mut weights = f32::new(0.0);
        let mut sum = zero::<W>();
        for key in 0..part.kv_len {
            let slot = slot(geometry, tables, &part, key);
            let k_at = key_at(&geometry.k, &part, &slot);
            let mut products = zero::<W>();
            for other in 0..vectors {
                products += widened::<N, W, W>(q, at + other, config)
                    * widened::<N, W, W>(&cache.k, k_at + other, config);
            }
            let product = total::<W>(products, config) * geometry.scale;
            let value = score(geometry, &query, key, product, config).value;
            // What is not seen is left out, not multiplied by zero: it may be no number.
            if is_seen(value) {
                let larger = max(most, value);
                let weight = weight(value, larger);
                let shrink = shrunk(most, larger);
                let v_at = key_at(&geometry.v, &part, &slot) + c;
                let v = widened::<N, W, W>(&cache.v, v_at, config);
                sum = sum * Vector::new(shrink) + v * Vector::new(weight);
                weights = weights * shrink + weight;
                most = larger;
            }
        }
        let found = normalised(geometry, &part, &query, most, weights);
        let at = query_at(&geometry.out, &part, &query) + c;
        out[at] = narrowed::<N, W>(found.of::<W>(sum), config);
        if c == 0 {
            lse[found.row] = found.lse;
        }
    }
}
