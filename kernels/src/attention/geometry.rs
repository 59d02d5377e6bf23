//! Device code of where things lie: which sequence, head and position a row is, which keys it sees, and
//! what becomes of its products.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

use super::tiles::TileConfig;
use crate::functions::tanh;

/// The score of a key that is not seen: what is masked is told by this alone, never by what a product is. Finite, since
/// not every device has infinities in arithmetic.
pub(super) const UNSEEN: f32 = f32::MIN;
/// The least score of a key that is seen. It and all below, minus infinity too, have a weight of zero.
pub(super) const LEAST: f32 = -3.3e38;

/// Where a tensor of four axes begins and its steps, in vectors.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Place {
    pub(super) offset: usize,
    pub(super) outer: usize,
    pub(super) head: usize,
    pub(super) token: usize,
}

/// A problem's sizes and its mask.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) q_heads: usize,
    pub(super) kv_heads: usize,
    pub(super) q_len: usize,
    pub(super) kv_len: usize,
    pub(super) q: Place,
    pub(super) k: Place,
    pub(super) v: Place,
    pub(super) out: Place,
    /// Vectors from split to split of the result.
    pub(super) out_split: usize,
    pub(super) page_size: usize,
    /// Pages of a sequence, 0 where there are none.
    pub(super) table: usize,
    /// 1 where the tables hold the lengths of every sequence, and behind them its pages.
    pub(super) indexed: usize,
    /// Where they begin.
    pub(super) index_at: usize,
    pub(super) split: usize,
    pub(super) splits: usize,
    pub(super) scale: f32,
    /// Of scores that are capped.
    pub(super) soft_cap: f32,
    pub(super) left: i32,
    pub(super) right: i32,
    /// 1 where every head has a slope.
    pub(super) sloped: usize,
    /// Where the slopes begin among the tables.
    pub(super) slopes_at: usize,
    /// Minus infinity, which is no constant of every shading language.
    pub(super) nothing: f32,
    /// What is not a number.
    pub(super) nan: f32,
}

/// The sequence and the head of keys that a cube works on, and how long the sequence is.
#[derive(CubeType)]
pub(super) struct Part {
    pub(super) batch: usize,
    pub(super) kv_head: usize,
    pub(super) q_len: usize,
    pub(super) kv_len: usize,
}

#[cube]
pub(super) fn part(geometry: &Geometry, tables: &[u32], head: usize) -> Part {
    let batch = head / geometry.kv_heads;
    let at = (geometry.index_at + batch) * geometry.indexed;
    let indexed = geometry.indexed == 1;
    Part {
        batch,
        kv_head: head % geometry.kv_heads,
        q_len: select(indexed, tables[at] as usize, geometry.q_len),
        kv_len: select(
            indexed,
            tables[at + geometry.batch * geometry.indexed] as usize,
            geometry.kv_len,
        ),
    }
}

/// A query: row `row` among those of all heads that share keys.
#[derive(CubeType)]
pub(super) struct Query {
    /// Its place in the sequence's queries.
    pub(super) i: usize,
    pub(super) head: usize,
    /// Whether there is such a query, if only as padding.
    pub(super) exists: bool,
    /// Its place among the keys.
    pub(super) position: i32,
    /// The first key it sees, and the one behind the last; none where it is padding.
    pub(super) first: i32,
    pub(super) last: i32,
    pub(super) slope: f32,
}

#[cube]
pub(super) fn query(geometry: &Geometry, tables: &[u32], part: &Part, row: usize) -> Query {
    let group = geometry.q_heads / geometry.kv_heads;
    query_of(geometry, tables, part, row / group, row % group)
}

/// Query `i` of head `of_group` among those that share keys.
#[cube]
pub(super) fn query_of(
    geometry: &Geometry,
    tables: &[u32],
    part: &Part,
    i: usize,
    of_group: usize,
) -> Query {
    let head = part.kv_head * (geometry.q_heads / geometry.kv_heads) + of_group;
    let position = part.kv_len as i32 - part.q_len as i32 + i as i32;
    let last = min(position + geometry.right + 1i32, part.kv_len as i32);
    let sloped = geometry.sloped == 1;
    let slope = f32::reinterpret(tables[(geometry.slopes_at + head) * geometry.sloped]);
    Query {
        i,
        head,
        exists: i < geometry.q_len,
        position,
        first: max(position - geometry.left, 0i32),
        last: select(i < part.q_len, last, 0i32),
        slope: select(sloped, slope, 0.0f32),
    }
}

/// The queries of a cube's rows in shared memory: made once a row, asked for every product.
#[derive(CubeType)]
pub(super) struct Queries {
    i: Shared<[u32]>,
    head: Shared<[u32]>,
    position: Shared<[i32]>,
    first: Shared<[i32]>,
    last: Shared<[i32]>,
    slope: Shared<[f32]>,
}

#[cube]
impl Queries {
    pub(super) fn new(#[comptime] rows: usize) -> Queries {
        Queries {
            i: Shared::<[u32]>::new_slice(rows),
            head: Shared::<[u32]>::new_slice(rows),
            position: Shared::<[i32]>::new_slice(rows),
            first: Shared::<[i32]>::new_slice(rows),
            last: Shared::<[i32]>::new_slice(rows),
            slope: Shared::<[f32]>::new_slice(rows),
        }
    }

    /// Makes `rows` rows from row `first` on, to be asked behind a barrier.
    pub(super) fn fill(
        &mut self,
        geometry: &Geometry,
        tables: &[u32],
        part: &Part,
        first: usize,
        #[comptime] rows: usize,
    ) {
        let mut row = UNIT_POS as usize;
        while row < rows {
            let query = query(geometry, tables, part, first + row);
            self.i[row] = query.i as u32;
            self.head[row] = query.head as u32;
            self.position[row] = query.position;
            self.first[row] = query.first;
            self.last[row] = query.last;
            self.slope[row] = query.slope;
            row += CUBE_DIM as usize;
        }
    }

    pub(super) fn get(&self, geometry: &Geometry, row: usize) -> Query {
        let i = self.i[row] as usize;
        Query {
            i,
            head: self.head[row] as usize,
            exists: i < geometry.q_len,
            position: self.position[row],
            first: self.first[row],
            last: self.last[row],
            slope: self.slope[row],
        }
    }
}

impl Place {
    /// For a launch.
    pub(super) fn launch(steps: &super::plan::Steps) -> PlaceLaunch {
        PlaceLaunch::new(steps.offset, steps.outer, steps.head, steps.token)
    }
}

/// The first vector of a query, or of what has its shape.
#[cube]
pub(super) fn query_at(place: &Place, part: &Part, query: &Query) -> usize {
    place.offset + part.batch * place.outer + query.head * place.head + query.i * place.token
}

/// Where a key and its value lie: the sequence or page, and the place in it.
#[derive(CubeType)]
pub(super) struct Slot {
    pub(super) outer: usize,
    pub(super) token: usize,
}

#[cube]
pub(super) fn slot(geometry: &Geometry, tables: &[u32], part: &Part, key: usize) -> Slot {
    Slot {
        outer: sequence(geometry, tables, part, key / geometry.page_size),
        token: key % geometry.page_size,
    }
}

/// The page of memory that is page `page` of a sequence; the sequence itself where there are no pages.
#[cube]
pub(super) fn sequence(geometry: &Geometry, tables: &[u32], part: &Part, page: usize) -> usize {
    let paged = geometry.table > 0;
    let pages = geometry.index_at + 2 * geometry.batch;
    let entry = select(paged, pages + part.batch * geometry.table + page, 0usize);
    select(paged, tables[entry] as usize, part.batch)
}

/// The block that holds the first keys of a sequence of a quantised cache.
#[cube]
pub(super) fn block_of(geometry: &Geometry, tables: &[u32], part: &Part) -> usize {
    let blocks = geometry.index_at + (2 + geometry.table) * geometry.batch;
    tables[blocks + part.batch] as usize
}

/// The first vector of a key or value.
#[cube]
pub(super) fn key_at(place: &Place, part: &Part, slot: &Slot) -> usize {
    place.offset + slot.outer * place.outer + part.kv_head * place.head + slot.token * place.token
}

/// The slots of a tile in shared memory: divided once a key, asked for every vector.
#[derive(CubeType)]
pub(super) struct Slots {
    outer: Shared<[u32]>,
    token: Shared<[u32]>,
}

#[cube]
impl Slots {
    pub(super) fn new(#[comptime] keys: usize) -> Slots {
        Slots { outer: Shared::<[u32]>::new_slice(keys), token: Shared::<[u32]>::new_slice(keys) }
    }

    /// Makes the slots from key `first` on, to be asked behind a barrier.
    pub(super) fn fill(
        &mut self,
        geometry: &Geometry,
        tables: &[u32],
        part: &Part,
        first: usize,
        #[comptime] keys: usize,
    ) {
        let mut key = UNIT_POS as usize;
        while key < keys {
            if first + key < part.kv_len {
                let slot = slot(geometry, tables, part, first + key);
                self.outer[key] = slot.outer as u32;
                self.token[key] = slot.token as u32;
            }
            key += CUBE_DIM as usize;
        }
    }

    pub(super) fn get(&self, key: usize) -> Slot {
        Slot { outer: self.outer[key] as usize, token: self.token[key] as usize }
    }
}

/// A score and how fast it changes with the product it is made of.
#[derive(CubeType)]
pub(super) struct Score {
    pub(super) value: f32,
    pub(super) slope: f32,
}

/// What becomes of the product of a query and a key: capped, biased, or unseen. Of a key that is seen it is not a number
/// where the product is none, and [`LEAST`] at least.
#[cube]
pub(super) fn score(
    geometry: &Geometry,
    query: &Query,
    key: usize,
    product: f32,
    #[comptime] config: TileConfig,
) -> Score {
    let mut value = product;
    let mut slope = 1.0f32;
    if comptime!(config.capped) {
        let (bent, steepness) = tanh(product / geometry.soft_cap);
        value = geometry.soft_cap * bent;
        slope = steepness;
    }
    let place = key as i32;
    let distance = f32::abs(f32::cast_from(query.position - place));
    let biased = value - query.slope * distance;
    // A comparison keeps what is no number, a maximum does not.
    let bounded = select(biased < f32::new(LEAST), f32::new(LEAST), biased);
    let seen = place >= query.first && place < query.last;
    Score { value: select(seen, bounded, f32::new(UNSEEN)), slope }
}

/// Whether a score is that of a key that is seen.
#[cube]
pub(super) fn is_seen(value: f32) -> bool {
    !(value == f32::new(UNSEEN))
}

/// Keys that a cube's rows see, or rows that see a cube's keys: those that any of them does, and those that all do.
#[derive(CubeType)]
pub(super) struct Span {
    pub(super) first: usize,
    pub(super) last: usize,
    all_first: usize,
    all_last: usize,
}

#[cube]
impl Span {
    /// Whether some of what lies from `first` to before `last`, within the span, is seen by some alone: there what is
    /// not seen has to be left out pair by pair, since zero times what is no number is none.
    pub(super) fn is_mixed(&self, first: usize, last: usize) -> bool {
        max(first, self.first) < self.all_first || min(last, self.last) > self.all_last
    }

    /// What lies within the span and all see: the first, and the end of the last.
    pub(super) fn whole(&self) -> (usize, usize) {
        (max(self.first, self.all_first), min(self.last, self.all_last))
    }

    /// The blocks of `width` from `begin` to before `end` that all see: the first, and the end of the last. None where
    /// both are `end`. `begin` is a multiple of the width.
    pub(super) fn seen_by_all(
        &self,
        begin: usize,
        end: usize,
        #[comptime] width: usize,
    ) -> (usize, usize) {
        let first = max(begin, (self.all_first + comptime!(width - 1)) / width * width);
        let whole = self.all_last / width * width;
        let last = select(self.all_last >= end, end, whole);
        let some = first < last;
        (select(some, first, end), select(some, last, end))
    }
}

/// The keys that a cube's rows see. What lies beside is not read.
#[cube]
pub(super) fn seen_keys(
    geometry: &Geometry,
    part: &Part,
    first_row: usize,
    #[comptime] config: TileConfig,
) -> Span {
    let group = geometry.q_heads / geometry.kv_heads;
    let ahead = part.kv_len as i32 - part.q_len as i32;
    let low = ahead + (first_row / group) as i32;
    let last_row = ((first_row + comptime!(config.rows) - 1) / group) as i32;
    let high = ahead + min(last_row, part.q_len as i32 - 1i32);
    let last = high + geometry.right + 1i32;
    let all_last = low + geometry.right + 1i32;
    Span {
        first: max(low - geometry.left, 0i32) as usize,
        last: min(max(last, 0i32) as usize, part.kv_len),
        all_first: max(high - geometry.left, 0i32) as usize,
        all_last: min(max(all_last, 0i32) as usize, part.kv_len),
    }
}

/// The rows that see a cube's keys.
#[cube]
pub(super) fn seeing_rows(
    geometry: &Geometry,
    part: &Part,
    first_key: usize,
    #[comptime] config: TileConfig,
) -> Span {
    let group = geometry.q_heads / geometry.kv_heads;
    let ahead = part.q_len as i32 - part.kv_len as i32;
    let low = ahead + first_key as i32;
    let last_key = min(first_key + comptime!(config.rows), part.kv_len) as i32 - 1i32;
    let high = ahead + last_key;
    let last = high + geometry.left + 1i32;
    let all_last = low + geometry.left + 1i32;
    Span {
        first: max(low - geometry.right, 0i32) as usize * group,
        last: min(max(last, 0i32) as usize, part.q_len) * group,
        all_first: max(high - geometry.right, 0i32) as usize * group,
        all_last: min(max(all_last, 0i32) as usize, part.q_len) * group,
    }
}
