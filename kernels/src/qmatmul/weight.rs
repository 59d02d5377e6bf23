//! Device code of the weight: its layout, scales and zero points.

#![allow(clippy::needless_pass_by_value, reason = "values known at compile time pass by value")]

use cubecl::prelude::*;

/// Four neighbours along the inputs.
pub(super) type Four<T> = Vector<T, Const<4>>;
/// Vectors of four in a block of the layout.
pub(super) const VECTORS: usize = 8;

/// A packed weight, in the layout of [`wavecube_core::quant`].
#[derive(CubeType, CubeLaunch)]
pub(super) struct Weight {
    pub(super) words: Box<[Four<u32>]>,
    pub(super) scales: Box<[u32]>,
    /// Of an asymmetric scheme.
    pub(super) zeros: ComptimeOption<Box<[u32]>>,
    pub(super) format: Format,
}

/// What the words of a weight mean. None of it is known when a kernel is compiled, only whether there are zero points:
/// each number is read once for 32 codes, and every combination would be a kernel of its own.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Format {
    /// Blocks of a row.
    pub(super) blocks: usize,
    /// Blocks of a group.
    pub(super) group_blocks: usize,
    /// Groups of a row.
    pub(super) groups: usize,
    /// The type of scales: 0 for `f32`, 1 for `f16`, 2 for `bf16`.
    pub(super) scale_type: u32,
}

/// The scale with these bits of its type, which is above zero; or, from memory that nobody checked, infinite or NaN. A
/// device need not have the type.
#[cube]
pub(super) fn decoded(bits: u32, scale_type: u32) -> f32 {
    // The largest exponent of f16 is that of what is not finite: it becomes that of f32.
    let offset = select(bits >= 0x7c00u32, 0x7000_0000u32, 0x3800_0000u32);
    let normal = f32::reinterpret((bits << 13u32) + offset);
    let subnormal = f32::cast_from(bits) * f32::new(5.960_464_5e-8);
    let half = select(bits < 0x400u32, subnormal, normal);
    let upper = f32::reinterpret(bits << 16u32);
    let short = select(scale_type == 1u32, half, upper);
    select(scale_type == 0u32, f32::reinterpret(bits), short)
}

/// The group of a block of a row.
#[cube]
pub(super) fn group_of(format: &Format, row: usize, block: usize) -> usize {
    row * format.groups + block / format.group_blocks
}

/// The scale of a group.
#[cube]
pub(super) fn scale_of(weight: &Weight, group: usize) -> f32 {
    let whole = weight.format.scale_type == 0u32;
    let word = weight.scales[select(whole, group, group / 2)];
    let short = (word >> (u32::cast_from(group % 2) * 16u32)) & 0xffffu32;
    decoded(select(whole, word, short), weight.format.scale_type)
}

/// The zero point of a group.
#[cube]
pub(super) fn zero_of(weight: &Weight, group: usize, #[comptime] bits: u32) -> u32 {
    let stored: ComptimeOption<u32> = weight
        .zeros
        .as_ref()
        .map(|zeros| (zeros[group / 4] >> (u32::cast_from(group % 4) * 8u32)) & 0xffu32);
    stored.unwrap_or(comptime!(1u32 << (bits - 1)).runtime())
}

/// The four words, 16 bytes, in which vector `v` of a block lies.
#[cube]
pub(super) fn words_of(
    weight: &Weight,
    row: usize,
    block: usize,
    v: usize,
    #[comptime] bits: u32,
) -> Four<u32> {
    let at = row * weight.format.blocks + block;
    if comptime!(bits == 4) { weight.words[at] } else { weight.words[at * 2 + v / 4] }
}

/// The bit at which the codes of vector `v` lie in their words.
#[cube]
pub(super) fn shift_of(v: usize, #[comptime] bits: u32) -> u32 {
    let byte = u32::cast_from(v % 4) * 8u32;
    if comptime!(bits == 4) { byte + u32::cast_from(v / 4) * 4u32 } else { byte }
}

/// The codes that lie at a bit of their words.
#[cube]
pub(super) fn codes_at(words: Four<u32>, shift: u32, #[comptime] bits: u32) -> Four<u32> {
    (words >> Four::<u32>::new(shift)) & Four::<u32>::new(comptime!((1u32 << bits) - 1).runtime())
}

/// The codes of half a block, four to a number, as bytes with signs: those of 8 bits count from 128.
#[cube]
pub(super) fn bytes_of(words: Four<u32>, half: usize, #[comptime] bits: u32) -> Four<i32> {
    let bytes = if comptime!(bits == 4) {
        (words >> Four::<u32>::new(u32::cast_from(half) * 4u32)) & Four::<u32>::new(0x0f0f_0f0fu32)
    } else {
        words ^ Four::<u32>::new(0x8080_8080u32)
    };
    Four::<i32>::reinterpret(bytes)
}

/// Four weights.
#[cube]
pub(super) fn weights_at(
    words: Four<u32>,
    shift: u32,
    scale: f32,
    zero: u32,
    #[comptime] bits: u32,
) -> Four<f32> {
    let codes = Four::<f32>::cast_from(codes_at(words, shift, bits));
    (codes - Four::<f32>::new(f32::cast_from(zero))) * Four::<f32>::new(scale)
}
