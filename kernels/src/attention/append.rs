//! Device code of what goes into a cache: rotary positions, the keys' rotation and shift, quantisation and the write;
//! the first keys of a sequence and the shift that is made of them; copies of pages.

#![allow(
    clippy::needless_pass_by_value,
    clippy::collapsible_if,
    clippy::used_underscore_binding,
    clippy::too_many_arguments,
    reason = "values and conditions known at compile time stand by themselves, the macro reads the types' argument, and \
              buffers are arguments of their own"
)]

use cubecl::prelude::*;

use super::{
    geometry::{Geometry, Part, Place, block_of, key_at, part, slot},
    problem::{FIRST, GROUP, Storage},
    rotate::{hadamard, turned},
    tile::{Rows, zero},
    tiles::TileConfig,
};
use crate::functions::is_finite;

/// New keys or values, and what is done to them.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Fresh<N: Float> {
    pub(super) x: Box<[N]>,
    /// Cosines and sines of every position.
    pub(super) table: Box<[f32]>,
    /// 1 where positions are to be turned.
    pub(super) turns: usize,
    pub(super) tables: Box<[u32]>,
    /// Where the steps and middles of these begin.
    pub(super) scales: usize,
    /// Where the blocks of first keys begin.
    pub(super) blocks: usize,
}

/// The first of the numbers of a head in the block of a sequence's first keys.
#[cube]
fn first_keys<N: Float>(
    fresh: &Fresh<N>,
    geometry: &Geometry,
    part: &Part,
    #[comptime] config: TileConfig,
) -> usize {
    let block = block_of(geometry, &fresh.tables, part) * geometry.kv_heads + part.kv_head;
    fresh.blocks + block * comptime!((FIRST + 1) * config.dim)
}

/// Where a new token comes from and where it goes.
#[derive(CubeType)]
struct Token {
    part: Part,
    /// Its place in the sequence.
    position: usize,
    /// The first number of its head.
    source: usize,
    /// Whether it exists: shorter sequences are padded.
    exists: bool,
}

#[cube]
fn token(geometry: &Geometry, tables: &[u32], row: usize) -> Token {
    let most = geometry.batch * geometry.kv_heads * geometry.q_len;
    let bounded = min(row, most - 1);
    let t = bounded % geometry.q_len;
    let part = part(geometry, tables, bounded / geometry.q_len);
    let exists = row < most && t < part.q_len;
    let position = select(exists, part.kv_len + t - part.q_len, 0usize);
    let place = &geometry.q;
    let source =
        place.offset + part.batch * place.outer + part.kv_head * place.head + t * place.token;
    Token { part, position, source, exists }
}

/// The first vector of a token in the pages.
#[cube]
fn place_of(geometry: &Geometry, tables: &[u32], token: &Token) -> usize {
    let slot = slot(geometry, tables, &token.part, token.position);
    key_at(&geometry.k, &token.part, &slot)
}

#[cube]
fn value<N: Float>(
    fresh: &Fresh<N>,
    token: &Token,
    channel: usize,
    #[comptime] config: TileConfig,
) -> f32 {
    let mut found = f32::cast_from(fresh.x[token.source + channel]);
    if comptime!(config.dim >= 2) {
        if fresh.turns == 1 {
            found = turned::<N>(
                &fresh.x,
                token.source,
                channel,
                &fresh.table,
                token.position,
                config.dim,
            );
        }
    }
    found
}

/// New tokens, rows of a cube at a time, and which of them there are.
#[cube]
fn load<N: Float, W: Size>(
    fresh: &Fresh<N>,
    geometry: &Geometry,
    first: usize,
    #[comptime] config: TileConfig,
) -> Rows<W> {
    let vectors = comptime!(config.vectors());
    let lanes = comptime!(config.lanes);
    let mut rows = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        let token = token(geometry, &fresh.tables, first + item / vectors);
        let mut loaded = zero::<W>();
        if token.exists {
            #[unroll]
            for lane in 0..lanes {
                let channel = item % vectors * lanes + lane;
                loaded.insert(lane, value::<N>(fresh, &token, channel, config));
            }
        }
        rows[item] = loaded;
        item += CUBE_DIM as usize;
    }
    sync_cube();
    rows
}

/// Writes the new tokens of a layer, rows of a cube at a time. `geometry.q` is where they lie, in numbers,
/// and `geometry.k` where they go, in vectors. The first keys of a quantised cache are left out.
#[cube(launch_unchecked)]
pub(super) fn write<N: Float, E: Numeric, W: Size, WE: Size>(
    fresh: &Fresh<N>,
    target: &mut [Vector<E, WE>],
    scales: &mut [u32],
    geometry: &Geometry,
    #[comptime] is_key: bool,
    #[comptime] config: TileConfig,
    #[define(N, E)] _dtypes: [ElemType; 2],
) {
    let vectors = comptime!(config.vectors());
    let lanes = comptime!(config.lanes);
    let first = CUBE_POS * comptime!(config.rows);
    let mut rows = load::<N, W>(fresh, geometry, first, config);
    if comptime!(config.storage == Storage::Float) {
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.vectors()) {
            let token = token(geometry, &fresh.tables, first + item / vectors);
            if token.exists {
                let loaded = rows[item];
                let mut stored = Vector::<E, WE>::empty();
                #[unroll]
                for lane in 0..lanes {
                    stored.insert(lane, E::cast_from(loaded.extract(lane)));
                }
                let at = place_of(geometry, &fresh.tables, &token);
                target[at + item % vectors] = stored;
            }
            item += CUBE_DIM as usize;
        }
    } else {
        let groups = comptime!(config.dim / GROUP);
        // Of keys, those of which a group is shifted, and the first ones are written elsewhere.
        let mut shifted = Sequence::<Shared<[u32]>>::new();
        if comptime!(is_key) {
            hadamard::<W>(&mut rows, config);
            shifted.push(shift_rows::<N, W>(&mut rows, fresh, &*scales, geometry, first, config));
        }
        let from = comptime!(if is_key { FIRST } else { 0 });
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.dim / GROUP) {
            let token = token(geometry, &fresh.tables, first + item / groups);
            if token.exists && token.position >= from {
                let place = place_of(geometry, &fresh.tables, &token);
                let at = place * lanes + item % groups * GROUP;
                let mut sign = 0u32;
                if comptime!(is_key) {
                    let of_rows = &shifted[0usize];
                    sign = of_rows[item / groups] << 31u32;
                }
                quantise::<E, W, WE>(&rows, item, target, scales, fresh.scales, at, sign, config);
            }
            item += CUBE_DIM as usize;
        }
    }
}

/// Subtracts the shift from the rows whose ranges are smaller without it; 1 for each of them. Ends in a barrier.
#[cube]
fn shift_rows<N: Float, W: Size>(
    rows: &mut Rows<W>,
    fresh: &Fresh<N>,
    scales: &[u32],
    geometry: &Geometry,
    first: usize,
    #[comptime] config: TileConfig,
) -> Shared<[u32]> {
    let vectors = comptime!(config.vectors());
    let lanes = comptime!(config.lanes);
    let groups = comptime!(config.dim / GROUP);
    let width = comptime!(GROUP / config.lanes);
    let mut shifted = Shared::<[u32]>::new_slice(comptime!(config.rows));
    // How much narrower a group is without the shift.
    let mut gains = Shared::<[f32]>::new_slice(comptime!(config.rows * config.dim / GROUP));
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.dim / GROUP) {
        let token = token(geometry, &fresh.tables, first + item / groups);
        let mut gain = f32::new(0.0);
        if token.exists && token.position >= comptime!(FIRST) {
            let shift = first_keys::<N>(fresh, geometry, &token.part, config)
                + comptime!(FIRST * config.dim)
                + item % groups * GROUP;
            let start = rows[item * width].extract(0usize);
            let moved = start - f32::reinterpret(scales[shift]);
            let mut plain = Range { least: start, largest: start };
            let mut other = Range { least: moved, largest: moved };
            for c in 0..width {
                let loaded = rows[item * width + c];
                #[unroll]
                for lane in 0..lanes {
                    let number = loaded.extract(lane);
                    plain.add(number);
                    other.add(number - f32::reinterpret(scales[shift + c * lanes + lane]));
                }
            }
            gain = (plain.largest - plain.least) - (other.largest - other.least);
        }
        gains[item] = gain;
        item += CUBE_DIM as usize;
    }
    sync_cube();
    let mut row = UNIT_POS as usize;
    while row < comptime!(config.rows) {
        let mut gain = f32::new(0.0);
        for group in 0..groups {
            gain += gains[row * groups + group];
        }
        shifted[row] = select(gain > 0.0f32, 1u32, 0u32);
        row += CUBE_DIM as usize;
    }
    sync_cube();
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        if shifted[item / vectors] == 1u32 {
            let token = token(geometry, &fresh.tables, first + item / vectors);
            let shift = first_keys::<N>(fresh, geometry, &token.part, config)
                + comptime!(FIRST * config.dim)
                + item % vectors * lanes;
            let loaded = rows[item];
            let mut moved = Vector::<f32, W>::empty();
            #[unroll]
            for lane in 0..lanes {
                moved.insert(lane, loaded.extract(lane) - f32::reinterpret(scales[shift + lane]));
            }
            rows[item] = moved;
        }
        item += CUBE_DIM as usize;
    }
    sync_cube();
    shifted
}

/// The least and the largest of some numbers.
#[derive(CubeType)]
struct Range {
    least: f32,
    largest: f32,
}

#[cube]
impl Range {
    fn add(&mut self, number: f32) {
        self.least = min(self.least, number);
        self.largest = max(self.largest, number);
    }
}

/// Group `group` of the rows as codes from number `at` of a cache on, with their step, which takes `sign`, and their
/// middle. Where one of them is no number, or infinite, none of them is one: the middle is not.
#[cube]
fn quantise<E: Numeric, W: Size, WE: Size>(
    rows: &Rows<W>,
    group: usize,
    target: &mut [Vector<E, WE>],
    scales: &mut [u32],
    scales_at: usize,
    at: usize,
    sign: u32,
    #[comptime] config: TileConfig,
) {
    let lanes = comptime!(config.lanes);
    let bits = comptime!(config.storage.bits(wavecube_core::Dtype::F32));
    let codes = comptime!(32 / bits);
    let first = group * comptime!(GROUP / config.lanes);
    let start = rows[first].extract(0usize);
    let mut range = Range { least: start, largest: start };
    // A least and a largest number pass over what is none.
    let mut finite = true;
    for c in 0..comptime!(GROUP / config.lanes) {
        let loaded = rows[first + c];
        #[unroll]
        for lane in 0..lanes {
            let number = loaded.extract(lane);
            range.add(number);
            finite = finite && is_finite(number);
        }
    }
    // The least and the largest number are codes themselves: the step is the least that reaches both from the middle
    // as it is stored.
    let centre = range.least * 0.5f32 + range.largest * 0.5f32;
    // What the largest numbers round to would be infinite.
    let rounded = upper_half(centre, 0x8000u32);
    let middle_bits =
        select(is_finite(f32::reinterpret(rounded)), rounded, upper_half(centre, 0u32));
    let middle = f32::reinterpret(middle_bits);
    let half = f32::new(comptime!(config.storage.middle()));
    let reach = max(range.largest - middle, middle - range.least);
    let step_bits = upper_half(reach / half, 0xffffu32);
    let step = f32::reinterpret(step_bits);
    // A device may take what is below its normal numbers for zero.
    let some = finite && step >= f32::new(f32::MIN_POSITIVE);
    let inverse = select(some, 1.0f32 / select(some, step, 1.0f32), 0.0f32);
    let word = select(finite, step_bits | (middle_bits >> 16u32), 0x7fc0u32);
    scales[scales_at + at / GROUP] = word | sign;
    for word in 0..comptime!(GROUP * bits / 32) {
        let mut packed = comptime!(0u32).runtime();
        for v in 0..comptime!(codes / config.lanes) {
            let loaded = rows[first + word * comptime!(codes / config.lanes) + v];
            #[unroll]
            for lane in 0..lanes {
                // To the even of two codes: numbers of 16 bits often lie half-way, and what always goes up adds up
                // over many keys.
                let number = select(finite, loaded.extract(lane), 0.0f32);
                let place = (number - middle) * inverse + half;
                let nearest = f32::floor(place + 0.5f32);
                let odd = nearest - 2.0f32 * f32::floor(nearest * 0.5f32);
                let even = select(nearest - place == 0.5f32, nearest - odd, nearest);
                let code = select(finite, clamp(even, 0.0f32, half * 2.0f32), 0.0f32);
                let shift = ((v * lanes + lane) * bits) as u32;
                packed |= u32::cast_from(code) << shift;
            }
        }
        let mut stored = Vector::<E, WE>::empty();
        stored.insert(0usize, E::cast_from(packed));
        target[at / codes + word] = stored;
    }
}

/// The upper 16 bits of a number, a `bf16`, after `more` has been added to all 32.
#[cube]
fn upper_half(value: f32, more: u32) -> u32 {
    (u32::reinterpret(value) + more) & 0xffff_0000u32
}

/// Writes the first keys of sequences into their blocks, rotated.
#[cube(launch_unchecked)]
pub(super) fn write_first<N: Float, W: Size>(
    fresh: &Fresh<N>,
    scales: &mut [u32],
    geometry: &Geometry,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let vectors = comptime!(config.vectors());
    let lanes = comptime!(config.lanes);
    let first = CUBE_POS * comptime!(config.rows);
    let mut rows = load::<N, W>(fresh, geometry, first, config);
    hadamard::<W>(&mut rows, config);
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        let token = token(geometry, &fresh.tables, first + item / vectors);
        if token.exists && token.position < comptime!(FIRST) {
            let at = first_keys::<N>(fresh, geometry, &token.part, config)
                + token.position * comptime!(config.dim)
                + item % vectors * lanes;
            let loaded = rows[item];
            #[unroll]
            for lane in 0..lanes {
                scales[at + lane] = u32::reinterpret(loaded.extract(lane));
            }
        }
        item += CUBE_DIM as usize;
    }
}

/// What is subtracted from the keys behind the first of a sequence: the mean of the middle half of the first in every
/// rotated channel, so that no single one decides it; nothing where it is no number. A unit a channel.
#[cube(launch_unchecked)]
pub(super) fn shift(
    scales: &mut [u32],
    tables: &[u32],
    geometry: &Geometry,
    blocks: usize,
    #[comptime] config: TileConfig,
) {
    let dim = comptime!(config.dim);
    let first = comptime!(FIRST);
    let head = ABSOLUTE_POS / dim;
    if head < geometry.batch * geometry.kv_heads {
        let part = part(geometry, tables, head);
        let start = part.kv_len - part.q_len;
        if start < first && part.kv_len >= first {
            let block = block_of(geometry, tables, &part) * geometry.kv_heads + part.kv_head;
            let at = blocks + block * comptime!((FIRST + 1) * config.dim) + ABSOLUTE_POS % dim;
            let mut sum = f32::new(0.0);
            for i in 0..first {
                let own = ordered(f32::reinterpret(scales[at + i * dim]));
                let mut before = comptime!(0u32).runtime();
                for j in 0..first {
                    let other = ordered(f32::reinterpret(scales[at + j * dim]));
                    let less = other < own || (other == own && j < i);
                    before += select(less, 1u32, 0u32);
                }
                let middle = before >= comptime!(FIRST as u32 / 4)
                    && before < comptime!(FIRST as u32 - FIRST as u32 / 4);
                sum += select(middle, own, 0.0f32);
            }
            let mean = sum / f32::new(comptime!((FIRST - 2 * (FIRST / 4)) as f32));
            // What came of numbers that are none, or nearly infinite, would take all others away.
            let some = is_finite(mean) && f32::abs(mean) < 1e37f32;
            scales[at + first * dim] = u32::reinterpret(select(some, mean, 0.0f32));
        }
    }
}

/// A number that has a place in an order: the largest there is instead of one that is none.
#[cube]
fn ordered(value: f32) -> f32 {
    select(is_finite(value), value, f32::new(f32::MAX))
}

/// The words of a buffer in another one.
#[cube(launch_unchecked)]
pub(super) fn copy_words(from: &[u32], to: &mut [u32], words: usize) {
    if ABSOLUTE_POS < words {
        to[ABSOLUTE_POS] = from[ABSOLUTE_POS];
    }
}

/// Copies of whole pages of a pool, which begin at `offset`: pairs of a page and the page it goes to.
#[cube(launch_unchecked)]
pub(super) fn copy_pages<E: Numeric>(
    pool: &mut [E],
    pairs: &[u32],
    page: usize,
    offset: usize,
    #[define(E)] _dtype: ElemType,
) {
    let copy = ABSOLUTE_POS / page;
    if copy < pairs.len() / 2 {
        let number = offset + ABSOLUTE_POS % page;
        pool[pairs[2 * copy + 1] as usize * page + number] =
            pool[pairs[2 * copy] as usize * page + number];
    }
}

/// Queries, or what has their shape, turned by their positions.
#[cube(launch_unchecked)]
pub(super) fn turn<N: Float>(
    x: &[N],
    table: &[f32],
    starts: &[u32],
    out: &mut [N],
    place: &Place,
    heads: usize,
    len: usize,
    rows: usize,
    #[comptime] dim: usize,
    #[define(N)] _dtype: ElemType,
) {
    let row = ABSOLUTE_POS / dim;
    if row < rows {
        let t = row % len;
        let head = row / len % heads;
        let batch = row / len / heads;
        let at = place.offset + batch * place.outer + head * place.head + t * place.token;
        let position = starts[batch] as usize + t;
        out[ABSOLUTE_POS] =
            N::cast_from(turned::<N>(x, at, ABSOLUTE_POS % dim, table, position, dim));
    }
}
