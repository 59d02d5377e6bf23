//! Device code of what goes into a cache: rotary positions, the keys' shift and rotation, quantisation and
//! the write, in one launch; the mean of the keys; copies of pages.

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
    geometry::{Geometry, Part, Place, key_at, part, slot},
    problem::{GROUP, Storage},
    rotate::{hadamard, turned},
    tile::{Rows, zero},
    tiles::TileConfig,
};

/// New keys or values, and what is done to them.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Fresh<N: Float> {
    pub(super) x: Box<[N]>,
    /// Cosines and sines of every position.
    pub(super) table: Box<[f32]>,
    /// 1 where positions are to be turned.
    pub(super) turns: usize,
    pub(super) shift: Box<[f32]>,
    pub(super) index: Box<[u32]>,
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
fn token(geometry: &Geometry, index: &[u32], row: usize) -> Token {
    let most = geometry.batch * geometry.kv_heads * geometry.q_len;
    let bounded = min(row, most - 1);
    let t = bounded % geometry.q_len;
    let part = part(geometry, index, bounded / geometry.q_len);
    let exists = row < most && t < part.q_len;
    let position = select(exists, part.kv_len + t - part.q_len, 0usize);
    let place = &geometry.q;
    let source =
        place.offset + part.batch * place.outer + part.kv_head * place.head + t * place.token;
    Token { part, position, source, exists }
}

/// The first vector of a token in the pages.
#[cube]
fn place_of(geometry: &Geometry, index: &[u32], token: &Token) -> usize {
    let slot = slot(geometry, index, &token.part, token.position);
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

/// Writes the new tokens of a layer, rows of a cube at a time. `geometry.q` is where they lie, in numbers,
/// and `geometry.k` where they go, in vectors.
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
    let mut rows = Rows::<W>::new_slice(comptime!(config.rows * config.vectors()));
    let mut item = UNIT_POS as usize;
    while item < comptime!(config.rows * config.vectors()) {
        let token = token(geometry, &fresh.index, first + item / vectors);
        let mut loaded = zero::<W>();
        if token.exists {
            #[unroll]
            for lane in 0..lanes {
                let channel = item % vectors * lanes + lane;
                let mut number = value::<N>(fresh, &token, channel, config);
                if comptime!(is_key && config.storage != Storage::Float) {
                    number -= fresh.shift[token.part.kv_head * comptime!(config.dim) + channel];
                }
                loaded.insert(lane, number);
            }
        }
        rows[item] = loaded;
        item += CUBE_DIM as usize;
    }
    sync_cube();
    if comptime!(config.storage == Storage::Float) {
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.vectors()) {
            let token = token(geometry, &fresh.index, first + item / vectors);
            if token.exists {
                let loaded = rows[item];
                let mut stored = Vector::<E, WE>::empty();
                #[unroll]
                for lane in 0..lanes {
                    stored.insert(lane, E::cast_from(loaded.extract(lane)));
                }
                let at = place_of(geometry, &fresh.index, &token);
                target[at + item % vectors] = stored;
            }
            item += CUBE_DIM as usize;
        }
    } else {
        if comptime!(is_key) {
            hadamard::<W>(&mut rows, config);
        }
        let groups = comptime!(config.dim / GROUP);
        let mut item = UNIT_POS as usize;
        while item < comptime!(config.rows * config.dim / GROUP) {
            let token = token(geometry, &fresh.index, first + item / groups);
            if token.exists {
                let at = place_of(geometry, &fresh.index, &token) * lanes + item % groups * GROUP;
                quantise::<E, W, WE>(&rows, item, target, scales, at, config);
            }
            item += CUBE_DIM as usize;
        }
    }
}

/// Group `group` of the rows as codes from number `at` of a cache on, with their step and their middle.
#[cube]
fn quantise<E: Numeric, W: Size, WE: Size>(
    rows: &Rows<W>,
    group: usize,
    target: &mut [Vector<E, WE>],
    scales: &mut [u32],
    at: usize,
    #[comptime] config: TileConfig,
) {
    let lanes = comptime!(config.lanes);
    let bits = comptime!(config.storage.bits(wavecube_core::Dtype::F32));
    let codes = comptime!(32 / bits);
    let first = group * comptime!(GROUP / config.lanes);
    let start = rows[first].extract(0usize);
    let mut least = start;
    let mut largest = start;
    for c in 0..comptime!(GROUP / config.lanes) {
        let loaded = rows[first + c];
        #[unroll]
        for lane in 0..lanes {
            least = min(least, loaded.extract(lane));
            largest = max(largest, loaded.extract(lane));
        }
    }
    // The least and the largest number are codes themselves: the step is the least that reaches both from the middle
    // as it is stored.
    let middle_bits = upper_half(least * 0.5f32 + largest * 0.5f32, 0x8000u32);
    let middle = f32::reinterpret(middle_bits);
    let half = f32::new(comptime!(config.storage.middle()));
    let step_bits = upper_half(max(largest - middle, middle - least) / half, 0xffffu32);
    let step = f32::reinterpret(step_bits);
    // A device may take what is below its normal numbers for zero.
    let some = step >= f32::new(f32::MIN_POSITIVE);
    let inverse = select(some, 1.0f32 / select(some, step, 1.0f32), 0.0f32);
    scales[at / GROUP] = step_bits | (middle_bits >> 16u32);
    for word in 0..comptime!(GROUP * bits / 32) {
        let mut packed = comptime!(0u32).runtime();
        for v in 0..comptime!(codes / config.lanes) {
            let loaded = rows[first + word * comptime!(codes / config.lanes) + v];
            #[unroll]
            for lane in 0..lanes {
                // To the even of two codes: numbers of 16 bits often lie half-way, and what always goes up adds up
                // over many keys.
                let place = (loaded.extract(lane) - middle) * inverse + half;
                let nearest = f32::floor(place + 0.5f32);
                let odd = nearest - 2.0f32 * f32::floor(nearest * 0.5f32);
                let even = select(nearest - place == 0.5f32, nearest - odd, nearest);
                let code = clamp(even, 0.0f32, half * 2.0f32);
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

/// The mean of new keys, head by head, a unit a channel.
#[cube(launch_unchecked)]
pub(super) fn mean<N: Float>(
    fresh: &Fresh<N>,
    means: &mut [f32],
    geometry: &Geometry,
    #[comptime] config: TileConfig,
    #[define(N)] _dtype: ElemType,
) {
    let dim = comptime!(config.dim);
    if ABSOLUTE_POS < geometry.kv_heads * dim {
        let head = ABSOLUTE_POS / dim;
        let mut total = f32::new(0.0);
        let mut count = f32::new(0.0);
        for row in 0..geometry.batch * geometry.q_len {
            let heads = row / geometry.q_len * geometry.kv_heads + head;
            let token =
                token(geometry, &fresh.index, heads * geometry.q_len + row % geometry.q_len);
            if token.exists {
                total += value::<N>(fresh, &token, ABSOLUTE_POS % dim, config);
                count += 1.0f32;
            }
        }
        means[ABSOLUTE_POS] = total / max(count, 1.0f32);
    }
}

/// Copies of whole pages of a pool: pairs of a page and the page it goes to.
#[cube(launch_unchecked)]
pub(super) fn copy_pages<E: Numeric>(
    pool: &mut [E],
    pairs: &[u32],
    page: usize,
    #[define(E)] _dtype: ElemType,
) {
    let copy = ABSOLUTE_POS / page;
    if copy < pairs.len() / 2 {
        let number = ABSOLUTE_POS % page;
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
