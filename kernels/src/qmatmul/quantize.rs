//! Quantisation on the device: rows of activations, weights, and weights back to numbers.

#![allow(
    clippy::needless_pass_by_value,
    clippy::used_underscore_binding,
    reason = "values known at compile time pass by value, and the macro reads the types' argument"
)]

use cubecl::{client::Client, prelude::*, server::Handle};
use wavecube_core::{
    Dtype, Error, Limits, Result,
    quant::{BLOCK, ScaleType, Scheme},
};

use super::{
    kernel::{Rows, RowsLaunch, element},
    launch::{WeightBindings, flat, holds_weight, weight_arg},
    weight::{
        Four, VECTORS, Weight, decoded, group_of, scale_of, shift_of, weights_at, words_of, zero_of,
    },
};
use crate::{
    elem_type,
    functions::{is_infinite, nan},
    launch::{buffer, holds},
};

/// The most inputs of a row that are quantised on the device: lavapipe ends a unit's loops after 65535 turns,
/// and a unit walks along a group of a whole row.
const MOST_INPUTS: usize = 60_000;

/// Rows of activations as whole numbers from −127 to 127, raised by 128, and the largest magnitude of each: NaN of a
/// row with anything in it that is not finite. One cube a row.
#[cube(launch_unchecked)]
pub(super) fn quantize_rows<F: Float>(
    x: &[F],
    codes: &mut [Four<u32>],
    largest: &mut [f32],
    rows: &Rows,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let mut cells = Shared::<[u32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    let row = min(CUBE_POS, rows.m - 1);
    // By their bits, which go up with magnitudes and end in those of NaN: a maximum of numbers loses NaN.
    let mut most = 0u32;
    for k in range_stepped(unit, rows.k, units) {
        let value = f32::cast_from(element::<F>(x, rows, row, k));
        most = max(most, u32::reinterpret(value) & 0x7fff_ffffu32);
    }
    cells[unit] = most;
    for level in 0..comptime!(units.ilog2() as usize) {
        let width = comptime!(units / 2) >> level;
        sync_cube();
        if unit < width {
            let other = cells[unit + width];
            let own = cells[unit];
            cells[unit] = max(own, other);
        }
    }
    sync_cube();
    most = cells[0];
    let finite = most < 0x7f80_0000u32;
    // A power of two first, by which the largest is about 1: the inverse of a small one may be infinite.
    let exponent = min(most >> 23u32, 253u32);
    let power = f32::reinterpret((254u32 - exponent) << 23u32);
    let size = f32::reinterpret(most) * power;
    // Of a row of zeros every code is zero, whatever the scale.
    let steps = f32::new(127.0) / select(finite && size > f32::new(0.0), size, f32::new(127.0));
    if unit == 0 {
        largest[row] = select(finite, f32::reinterpret(most), nan::<f32>(steps));
    }
    for half in range_stepped(unit, 2 * rows.blocks, units) {
        let mut words = Four::<u32>::empty();
        #[unroll]
        for i in 0..4usize {
            let mut word = 0u32;
            #[unroll]
            for byte in 0..4usize {
                let k = half * 16 + comptime!(4 * byte + i);
                let value = f32::cast_from(element::<F>(x, rows, row, k)) * power;
                // What is no number has no whole part: on a processor anything may come of it.
                let value = select(finite, value, f32::new(0.0));
                let code = u32::cast_from(f32::floor(value * steps + f32::new(128.5)));
                word |= min(max(code, 1u32), 255u32) << comptime!(8 * byte as u32).runtime();
            }
            words.insert(i, word);
        }
        codes[row * rows.blocks * 2 + half] = words;
    }
}

/// The bits of a scale in its type, to the nearest.
#[cube]
fn scale_bits(scale: f32, scale_type: u32) -> u32 {
    let bits = u32::reinterpret(scale);
    let upper = (bits + 0x7fffu32 + ((bits >> 16u32) & 1u32)) >> 16u32;
    let normal = ((bits + 0xfffu32 + ((bits >> 13u32) & 1u32)) >> 13u32) - 0x1_c000u32;
    let subnormal = u32::cast_from(f32::floor(scale * f32::new(16_777_216.0) + f32::new(0.5)));
    // 2⁻¹⁴ is the smallest normal number of f16, 65504 its largest.
    let half = min(select(scale < f32::new(6.103_515_6e-5), subnormal, normal), 0x7bffu32);
    select(scale_type == 0u32, bits, select(scale_type == 1u32, half, upper))
}

/// The scale, as its bits, and the zero point of every group: one unit a group, along its weights. Whoever finds a
/// weight that is not finite, or a range beyond the type of scales, writes the same 1 into the first or second word of
/// `faults`.
#[cube(launch_unchecked)]
fn ranges<F: Float>(
    values: &[F],
    scales: &mut [u32],
    zeros: &mut [u32],
    faults: &mut [u32],
    rows: &Rows,
    groups: usize,
    group_len: usize,
    scale_type: u32,
    asymmetric: u32,
    #[comptime] bits: u32,
    #[define(F)] _dtype: ElemType,
) {
    let row = ABSOLUTE_POS / groups;
    if row < rows.m {
        let first = ABSOLUTE_POS % groups * group_len;
        let mut low = f32::new(0.0);
        let mut high = f32::new(0.0);
        // By their bits: a driver may take for granted that numbers are finite.
        let mut magnitude = 0u32;
        for k in first..min(first + group_len, rows.k) {
            let value = f32::cast_from(element::<F>(values, rows, row, k));
            low = min(low, value);
            high = max(high, value);
            magnitude = max(magnitude, u32::reinterpret(value) & 0x7fff_ffffu32);
        }
        if magnitude >= 0x7f80_0000u32 {
            faults[0] = 1u32;
        }
        let stored = asymmetric == 1u32;
        let middle = comptime!((1u32 << (bits - 1)) as f32);
        let half = f32::new(0.5);
        // Halved before the difference, which may exceed the largest number.
        let range = select(stored, half * high - half * low, max(high, -low));
        let steps = select(stored, f32::new(middle - 0.5), f32::new(middle - 1.0));
        let least =
            select(scale_type == 1u32, f32::new(5.960_464_5e-8), f32::new(f32::MIN_POSITIVE));
        let wanted = select(range > f32::new(0.0), max(range / steps, least), f32::new(1.0));
        // What rounds to infinity in the type: 65520 does in f16.
        let short = select(scale_type == 1u32, 0x477f_f000u32, 0x7f7f_8000u32);
        if u32::reinterpret(wanted) >= select(scale_type == 0u32, 0x7f80_0000u32, short) {
            faults[1] = 1u32;
        }
        let stored_scale = scale_bits(wanted, scale_type);
        scales[ABSOLUTE_POS] = stored_scale;
        let steps_below = -low / decoded(stored_scale, scale_type);
        let zero = min(f32::floor(steps_below + f32::new(0.5)), f32::new(2.0 * middle - 1.0));
        zeros[ABSOLUTE_POS] = u32::cast_from(select(stored, zero, f32::new(middle)));
    }
}

/// Numbers of a word each, `a_word` of them to a word, the first in the lowest bits.
#[cube(launch_unchecked)]
fn pack(numbers: &[u32], packed: &mut [u32], len: usize, a_word: usize) {
    if ABSOLUTE_POS < len.div_ceil(a_word) {
        let mut word = 0u32;
        for i in 0..a_word {
            let at = ABSOLUTE_POS * a_word + i;
            let number = select(at < len, numbers[min(at, len - 1)], 0u32);
            word |= number << u32::cast_from(i * (32 / a_word));
        }
        packed[ABSOLUTE_POS] = word;
    }
}

/// The codes of four words: one unit each.
#[cube(launch_unchecked)]
fn encode<F: Float>(
    values: &[F],
    weight: &Weight,
    words: &mut [Four<u32>],
    rows: &Rows,
    #[comptime] bits: u32,
    #[define(F)] _dtype: ElemType,
) {
    let a_row = rows.blocks * comptime!(bits as usize / 4);
    let row = ABSOLUTE_POS / a_row;
    if row < rows.m {
        let first_vector = ABSOLUTE_POS % a_row * comptime!(32 / bits as usize);
        let group = group_of(&weight.format, row, first_vector / VECTORS);
        let scale = scale_of(weight, group);
        let zero = f32::cast_from(zero_of(weight, group, bits));
        let lowest = f32::new(comptime!(if weight.zeros.is_some() { 0.0 } else { 1.0 }));
        let largest = f32::new(comptime!(((1u32 << bits) - 1) as f32));
        // No code for what exceeds the largest number.
        let steps = f32::floor(f32::new(f32::MAX) / scale);
        let steps = select(is_infinite::<f32>(scale * steps), steps - f32::new(1.0), steps);
        let (lowest, largest) = (max(lowest, zero - steps), min(largest, zero + steps));
        let mut four = Four::<u32>::new(0u32);
        for v in 0..comptime!(32 / bits as usize) {
            let mut codes = Four::<u32>::empty();
            #[unroll]
            for i in 0..4usize {
                let k = (first_vector + v) * 4 + i;
                let value = f32::cast_from(element::<F>(values, rows, row, k));
                let code = f32::floor(value / scale + f32::new(0.5)) + zero;
                codes.insert(i, u32::cast_from(min(max(code, lowest), largest)));
            }
            four |= codes << Four::<u32>::new(shift_of(v, bits));
        }
        words[ABSOLUTE_POS] = four;
    }
}

/// The weights that codes stand for: four a unit.
#[cube(launch_unchecked)]
fn dequantize<F: Float>(
    weight: &Weight,
    values: &mut [F],
    rows: &Rows,
    #[comptime] bits: u32,
    #[define(F)] _dtype: ElemType,
) {
    let vectors = rows.blocks * VECTORS;
    let row = ABSOLUTE_POS / vectors;
    if row < rows.m {
        let vector = ABSOLUTE_POS % vectors;
        let (block, v) = (vector / VECTORS, vector % VECTORS);
        let group = group_of(&weight.format, row, block);
        let words = words_of(weight, row, block, v, bits);
        let (scale, zero) = (scale_of(weight, group), zero_of(weight, group, bits));
        let four = weights_at(words, shift_of(v, bits), scale, zero, bits);
        #[unroll]
        for i in 0..4usize {
            let k = vector * 4 + i;
            if k < rows.k {
                values[row * rows.k + k] = F::cast_from(four.extract(i));
            }
        }
    }
}

/// A weight matrix of numbers, contiguous, and the same packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConversionPlan {
    op: &'static str,
    scheme: Scheme,
    shape: [usize; 2],
    dtype: Dtype,
}

impl ConversionPlan {
    /// Plans quantisation on the device, or the way back.
    ///
    /// # Errors
    /// [`Error::Dtype`] for `f64` or a type that the device lacks, [`Error::Length`] for a weight of nothing,
    /// [`Error::Limit`] if the device has no room.
    pub fn new(
        op: &'static str,
        scheme: Scheme,
        [n, k]: [usize; 2],
        dtype: Dtype,
        limits: &Limits,
    ) -> Result<Self> {
        if n == 0 || k == 0 {
            let expected = "at least one output and one input";
            return Err(Error::Length { op, argument: "weight", expected, found: 0 });
        }
        if dtype == Dtype::F64 {
            let expected = "f16, bf16 or f32";
            return Err(Error::Dtype { op, argument: "weight", expected, found: dtype });
        }
        limits.check_dtype(op, "weight", dtype)?;
        let elements = k.checked_next_multiple_of(BLOCK).and_then(|k| n.checked_mul(k));
        let elements = elements.unwrap_or(usize::MAX);
        if u32::try_from(elements).is_err() {
            let (available, required) = (u64::from(u32::MAX), elements as u64);
            return Err(Error::Limit { op, resource: "elements of an index", available, required });
        }
        limits.check_buffer(op, elements as u64 * dtype.size() as u64)?;
        Ok(Self { op, scheme, shape: [n, k], dtype })
    }

    /// Words of codes, of scales and of zero points; of the latter at least one.
    pub fn words(&self) -> [usize; 3] {
        let [n, k] = self.shape;
        let groups = n * self.scheme.group.count(k);
        [
            n * k.div_ceil(BLOCK) * self.scheme.bits.count(),
            groups.div_ceil(4 / self.scheme.scale.size()),
            groups.div_ceil(4),
        ]
    }

    fn bits(&self) -> u32 {
        self.scheme.bits.count() as u32
    }

    fn rows(&self) -> RowsLaunch {
        let [n, k] = self.shape;
        RowsLaunch::new(0, k, 1, n, k, k.div_ceil(BLOCK))
    }
}

/// Enqueues quantisation to the nearest of a weight that lies on the device. Two words tell afterwards whether the
/// result means anything: the first is 1 if a value was not finite, the second if a group's range was beyond what the
/// type of scales expresses.
///
/// # Errors
/// [`Error::Length`] if a buffer is too short, or a row too long for this way.
pub fn quantize_launch(
    client: &Client,
    values: &Handle,
    weight: &WeightBindings,
    plan: &ConversionPlan,
) -> Result<Handle> {
    let ConversionPlan { op, scheme, shape: [n, k], dtype } = *plan;
    if k > MOST_INPUTS {
        let expected = "at most 60000 inputs; quantise on the host beyond";
        return Err(Error::Length { op, argument: "weight", expected, found: k });
    }
    holds(op, "weight", values, (dtype, 1), n * k)?;
    holds_weight(op, weight, scheme, plan.shape)?;
    let groups = scheme.group.count(k);
    let [scales, zeros] = [(); 2].map(|()| client.empty(4 * n * groups));
    let faults = client.create_from_slice(&[0; 8]);
    let (cubes, dim) = flat(op, client, n * groups)?;
    let scale_type = match scheme.scale {
        ScaleType::F32 => 0,
        ScaleType::F16 => 1,
        ScaleType::Bf16 => 2,
    };
    // SAFETY: `holds_weight` has compared the weight's buffers with the shape that `ConversionPlan::new` bounds,
    // the others are made for it; kernels keep groups, words and elements below theirs.
    unsafe {
        ranges::launch_unchecked(
            client,
            cubes,
            dim,
            buffer(values, dtype, 1),
            buffer(&scales, Dtype::F32, 1),
            buffer(&zeros, Dtype::F32, 1),
            buffer(&faults, Dtype::F32, 1),
            plan.rows(),
            groups,
            scheme.group.len(k),
            scale_type,
            u32::from(!scheme.symmetric),
            plan.bits(),
            elem_type(dtype),
        );
    }
    let packed = [
        (&scales, Some(&weight.scales), 4 / scheme.scale.size()),
        (&zeros, weight.zeros.as_ref(), 4),
    ];
    for (numbers, target, a_word) in packed {
        let Some(target) = target else { continue };
        let (cubes, dim) = flat(op, client, (n * groups).div_ceil(a_word))?;
        // SAFETY: as above: one word a unit, of those that `holds_weight` has counted.
        unsafe {
            pack::launch_unchecked(
                client,
                cubes,
                dim,
                buffer(numbers, Dtype::F32, 1),
                buffer(target, Dtype::F32, 1),
                n * groups,
                a_word,
            );
        }
    }
    let (cubes, dim) = flat(op, client, n * k.div_ceil(BLOCK) * scheme.bits.count() / 4)?;
    // The kernel reads scales and zero points, and not the words that it writes.
    let formats = WeightBindings { words: client.empty(16), ..weight.clone() };
    // SAFETY: as above: four words a unit, of those that `holds_weight` has counted.
    unsafe {
        encode::launch_unchecked(
            client,
            cubes,
            dim,
            buffer(values, dtype, 1),
            weight_arg(&formats, scheme, k),
            buffer(&weight.words, Dtype::F32, 4),
            plan.rows(),
            plan.bits(),
            elem_type(dtype),
        );
    }
    Ok(faults)
}

/// Enqueues the way back: the weights that codes stand for, contiguous, `[n, k]`.
///
/// # Errors
/// [`Error::Length`] if a buffer is too short.
pub fn dequantize_launch(
    client: &Client,
    weight: &WeightBindings,
    values: &Handle,
    plan: &ConversionPlan,
) -> Result<()> {
    let ConversionPlan { op, scheme, shape: [n, k], dtype } = *plan;
    holds(op, "out", values, (dtype, 1), n * k)?;
    holds_weight(op, weight, scheme, plan.shape)?;
    let (cubes, dim) = flat(op, client, n * k.div_ceil(BLOCK) * VECTORS)?;
    // SAFETY: `holds_weight` and `holds` have compared the buffers with the shape that `ConversionPlan::new`
    // bounds; the kernel keeps rows and elements below it.
    unsafe {
        dequantize::launch_unchecked(
            client,
            cubes,
            dim,
            weight_arg(weight, scheme, k),
            buffer(values, dtype, 1),
            plan.rows(),
            plan.bits(),
            elem_type(dtype),
        );
    }
    Ok(())
}
