//! Device code of the gradients where units are emulated: a unit keeps rows of queries, or keys, of its own, and all
//! units of a cube walk over the same others as they come from memory.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    clippy::collapsible_if,
    clippy::trivially_copy_pass_by_ref,
    reason = "values known at compile time pass by value, the macro reads the types' argument, buffers are \
              arguments of their own, and registers are no small values of the host"
)]

use cubecl::prelude::*;

use super::{
    geometry::{
        Geometry, Part, Place, Slot, UNSEEN, is_seen, key_at, part, query, query_at, query_of,
        seeing_rows, seen_keys,
    },
    gradient::{Operands, Range, Row, contiguous},
    tile::{total, widened, zero},
    tiles::TileConfig,
};

/// Rows that a unit keeps, and what is multiplied with them: all vectors of the first, then of the next.
type Kept<W> = Array<Vector<f32, W>>;

#[cube]
fn zeros<W: Size>(#[comptime] config: TileConfig) -> Kept<W> {
    let mut kept = Kept::<W>::new(comptime!(config.together * config.vectors()));
    #[unroll]
    for c in 0..comptime!(config.together * config.vectors()) {
        kept[c] = zero::<W>();
    }
    kept
}

/// The products of kept rows with one row of the others.
#[cube]
fn products<W: Size>(
    kept: &Kept<W>,
    other: &Sequence<Vector<f32, W>>,
    #[comptime] config: TileConfig,
) -> Sequence<f32> {
    let mut found = Sequence::<f32>::new();
    #[unroll]
    for m in 0..comptime!(config.together) {
        let mut sum = zero::<W>();
        #[unroll]
        for c in 0..comptime!(config.vectors()) {
            sum += kept[comptime!(m * config.vectors() + c)] * other[c];
        }
        found.push(total::<W>(sum, config));
    }
    found
}

/// A row of the others as it lies in memory.
#[cube]
fn row<N: Float, W: Size>(
    source: &[Vector<N, W>],
    at: usize,
    factor: f32,
    #[comptime] config: TileConfig,
) -> Sequence<Vector<f32, W>> {
    let mut found = Sequence::<Vector<f32, W>>::new();
    #[unroll]
    for c in 0..comptime!(config.vectors()) {
        found.push(widened::<N, W, W>(source, at + c, config) * Vector::new(factor));
    }
    found
}

/// Adds one row of the others, times a weight for every kept row, to its sums; of mixed ones without those whose weight
/// is marked as unseen.
#[cube]
fn add<W: Size>(
    sums: &mut Kept<W>,
    weights: &Sequence<f32>,
    other: &Sequence<Vector<f32, W>>,
    #[comptime] mixed: bool,
    #[comptime] config: TileConfig,
) {
    #[unroll]
    for m in 0..comptime!(config.together) {
        #[unroll]
        for c in 0..comptime!(config.vectors()) {
            let added = Vector::new(weights[m]) * other[c];
            if comptime!(mixed) {
                if is_seen(weights[m]) {
                    sums[comptime!(m * config.vectors() + c)] += added;
                }
            } else {
                sums[comptime!(m * config.vectors() + c)] += added;
            }
        }
    }
}

/// Keeps the row of memory that begins at `at` as row `m`.
#[cube]
fn keep<N: Float, W: Size>(
    kept: &mut Kept<W>,
    source: &[Vector<N, W>],
    at: usize,
    factor: f32,
    #[comptime] m: usize,
    #[comptime] config: TileConfig,
) {
    #[unroll]
    for c in 0..comptime!(config.vectors()) {
        kept[comptime!(m * config.vectors() + c)] =
            widened::<N, W, W>(source, at + c, config) * Vector::new(factor);
    }
}

/// Adds the sums of row `m`, times a factor, to what earlier launches have left from `at` on; nothing where the row is
/// padding: its sums may hold what others see, times zero.
#[cube]
fn store<N: Float, W: Size>(
    sums: &Kept<W>,
    result: &mut [Vector<N, W>],
    at: usize,
    factor: f32,
    exists: bool,
    range: &Range,
    #[comptime] m: usize,
    #[comptime] config: TileConfig,
) {
    #[unroll]
    for c in 0..comptime!(config.vectors()) {
        let mut value = zero::<W>();
        if exists {
            value = sums[comptime!(m * config.vectors() + c)] * Vector::new(factor);
        }
        result[at + c] = range.added::<N, W>(value, &*result, at + c, config);
    }
}

/// The gradient of the queries of units.
#[cube(launch_unchecked)]
pub(super) fn queries_streaming<N: Float, W: Size>(
    operands: &Operands<N, W>,
    gradient: &mut [Vector<N, W>],
    geometry: &Geometry,
    range: &Range,
    row_tiles: usize,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let together = comptime!(config.together);
    let first_row = CUBE_POS % row_tiles * comptime!(config.rows);
    let head = CUBE_POS / row_tiles;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, &operands.known, head);
        let place = contiguous(geometry, config);
        let mut asked = Sequence::<Row>::new();
        let mut queries = zeros::<W>(config);
        let mut gradients = zeros::<W>(config);
        let mut sums = zeros::<W>(config);
        #[unroll]
        for m in 0..together {
            let at = first_row + UNIT_POS as usize * together + m;
            let query = query(geometry, &operands.known, &part, at);
            // What is no row, or padding, reads the first one: it sees no key.
            let exists = query.exists && query.i < part.q_len;
            let at = select(exists, query_at(&geometry.q, &part, &query), geometry.q.offset);
            keep::<N, W>(&mut queries, &operands.q, at, geometry.scale, m, config);
            let at = select(exists, query_at(&place, &part, &query), 0usize);
            keep::<N, W>(&mut gradients, &operands.g, at, 1.0f32, m, config);
            asked.push(Row::new::<N, W>(operands, geometry, &part, query));
        }
        let span = seen_keys(geometry, &part, first_row, config);
        let (begin, end) = (max(span.first, range.first), min(span.last, range.end));
        // Keys that all rows see, then the others: a branch within a loop would cost both of its sides.
        let (inner, outer) = span.seen_by_all(begin, end, 1usize);
        for key in inner..outer {
            add_key::<N, W>(
                &mut sums, operands, geometry, &part, &asked, &queries, &gradients, key, false,
                config,
            );
        }
        let mut key = select(inner <= begin, outer, begin);
        while key < end {
            add_key::<N, W>(
                &mut sums, operands, geometry, &part, &asked, &queries, &gradients, key, true,
                config,
            );
            key += 1;
            key = select(key == inner, outer, key);
        }
        #[unroll]
        for m in 0..together {
            let known = &asked[m];
            if known.query.exists {
                let at = query_at(&place, &part, &known.query);
                let exists = known.query.i < part.q_len;
                store::<N, W>(&sums, gradient, at, geometry.scale, exists, range, m, config);
            }
        }
    }
}

/// Adds what a key gives to the gradients of a unit's queries.
#[cube]
fn add_key<N: Float, W: Size>(
    sums: &mut Kept<W>,
    operands: &Operands<N, W>,
    geometry: &Geometry,
    part: &Part,
    asked: &Sequence<Row>,
    queries: &Kept<W>,
    gradients: &Kept<W>,
    key: usize,
    #[comptime] mixed: bool,
    #[comptime] config: TileConfig,
) {
    let mark = f32::new(comptime!(if mixed { UNSEEN } else { 0.0 }));
    let slot = Slot { outer: part.batch, token: key };
    let k_at = key_at(&geometry.k, part, &slot);
    let k = row::<N, W>(&operands.k, k_at, 1.0f32, config);
    let v_at = key_at(&geometry.v, part, &slot);
    let v = row::<N, W>(&operands.v, v_at, 1.0f32, config);
    let by_key = products::<W>(queries, &k, config);
    let by_value = products::<W>(gradients, &v, config);
    let mut weights = Sequence::<f32>::new();
    #[unroll]
    for m in 0..comptime!(config.together) {
        let known = &asked[m];
        let found = known.weight(geometry, key, by_key[m], by_value[m], mark, config);
        weights.push(found.gradient);
    }
    add::<W>(sums, &weights, &k, mixed, config);
}

/// The keys of a unit with their values, and the sums of their gradients.
#[derive(CubeType)]
struct Keys<W: Size> {
    k: Kept<W>,
    v: Kept<W>,
    k_sums: Kept<W>,
    v_sums: Kept<W>,
}

/// Adds what a row gives to the gradients of a unit's keys, from key `own` on, and their values.
#[cube]
fn add_row<N: Float, W: Size>(
    unit: &mut Keys<W>,
    operands: &Operands<N, W>,
    geometry: &Geometry,
    place: &Place,
    part: &Part,
    own: usize,
    row_at: usize,
    #[comptime] mixed: bool,
    #[comptime] config: TileConfig,
) {
    let mark = f32::new(comptime!(if mixed { UNSEEN } else { 0.0 }));
    let group = geometry.q_heads / geometry.kv_heads;
    let query = query_of(geometry, &operands.known, part, row_at / group, row_at % group);
    let at = query_at(&geometry.q, part, &query);
    let q = row::<N, W>(&operands.q, at, geometry.scale, config);
    let at = query_at(place, part, &query);
    let g = row::<N, W>(&operands.g, at, 1.0f32, config);
    let by_key = products::<W>(&unit.k, &q, config);
    let by_value = products::<W>(&unit.v, &g, config);
    let asked = Row::new::<N, W>(operands, geometry, part, query);
    let mut weights = Sequence::<f32>::new();
    let mut gradients = Sequence::<f32>::new();
    #[unroll]
    for m in 0..comptime!(config.together) {
        let found = asked.weight(geometry, own + m, by_key[m], by_value[m], mark, config);
        weights.push(found.weight);
        gradients.push(found.gradient);
    }
    add::<W>(&mut unit.k_sums, &gradients, &q, mixed, config);
    add::<W>(&mut unit.v_sums, &weights, &g, mixed, config);
}

/// The gradients of the keys of units and their values.
#[cube(launch_unchecked)]
pub(super) fn keys_streaming<N: Float, W: Size>(
    operands: &Operands<N, W>,
    k_gradient: &mut [Vector<N, W>],
    v_gradient: &mut [Vector<N, W>],
    geometry: &Geometry,
    range: &Range,
    key_tiles: usize,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let together = comptime!(config.together);
    let first_key = CUBE_POS % key_tiles * comptime!(config.rows);
    let head = CUBE_POS / key_tiles;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, &operands.known, head);
        let own = first_key + UNIT_POS as usize * together;
        let mut unit = Keys::<W> {
            k: zeros::<W>(config),
            v: zeros::<W>(config),
            k_sums: zeros::<W>(config),
            v_sums: zeros::<W>(config),
        };
        #[unroll]
        for m in 0..together {
            // What is no key reads the first one: no query sees it.
            let token = select(own + m < part.kv_len, own + m, 0usize);
            let slot = Slot { outer: part.batch, token };
            let at = key_at(&geometry.k, &part, &slot);
            keep::<N, W>(&mut unit.k, &operands.k, at, 1.0f32, m, config);
            let at = key_at(&geometry.v, &part, &slot);
            keep::<N, W>(&mut unit.v, &operands.v, at, 1.0f32, m, config);
        }
        let place = contiguous(geometry, config);
        let span = seeing_rows(geometry, &part, first_key, config);
        let (begin, end) = (max(span.first, range.first), min(span.last, range.end));
        // As with queries: rows that see all keys, then the others.
        let (inner, outer) = span.seen_by_all(begin, end, 1usize);
        for at in inner..outer {
            add_row::<N, W>(&mut unit, operands, geometry, &place, &part, own, at, false, config);
        }
        let mut at = select(inner <= begin, outer, begin);
        while at < end {
            add_row::<N, W>(&mut unit, operands, geometry, &place, &part, own, at, true, config);
            at += 1;
            at = select(at == inner, outer, at);
        }
        #[unroll]
        for m in 0..together {
            let token = own + m;
            if token < geometry.kv_len {
                let at = (head * geometry.kv_len + token) * comptime!(config.vectors());
                let exists = token < part.kv_len;
                let (by_key, by_value) = (&unit.k_sums, &unit.v_sums);
                store::<N, W>(by_key, k_gradient, at, 1.0f32, exists, range, m, config);
                store::<N, W>(by_value, v_gradient, at, 1.0f32, exists, range, m, config);
            }
        }
    }
}
