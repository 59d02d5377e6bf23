//! The shape of a pass: its radices, and how many units and transforms share a cube.

use wavecube_core::{Dtype, Error, Limits, Result, fft::factorize};

use super::{
    chain::Chain,
    pass::{Algorithm, Exchange, points_per_unit, room, serial_room},
};

/// The shape of a pass; the fields are those of [`PassConfig`](super::PassConfig).
pub(super) struct Shape {
    pub(super) radices: Vec<usize>,
    pub(super) turns: usize,
    pub(super) units: usize,
    pub(super) lanes: usize,
    pub(super) rows: usize,
    pub(super) across: bool,
    pub(super) algorithm: Algorithm,
    pub(super) exchange: Exchange,
    pub(super) pad: usize,
}

/// Whether each unit carries transforms on its own: it is a processor core, or the only one.
pub(super) fn one_unit(limits: &Limits) -> bool {
    limits.serial || limits.units_per_cube == 1
}

/// Points a unit aims to hold, which is its largest power-of-two radix too: enough to hide latency,
/// few enough for the register file. A point of `f64` takes four registers, two of `f32`.
const fn points_aim(compute: Dtype) -> usize {
    if matches!(compute, Dtype::F64) { 8 } else { 16 }
}

/// No unit may hold more while few units suffice. With 20 or 26 points of `f32`, two butterflies of radix 10 or
/// 13, `ptxas` spills for the sake of occupancy (lengths 3000 and 1001 on `sm_90a`).
const fn points_max(compute: Dtype, limits: &Limits) -> usize {
    match (compute, limits.emulated) {
        (Dtype::F64, _) => 16,
        (_, false) => 18,
        (_, true) => 32,
    }
}

/// More units than this leave each of them fewer than 128 registers of a GPU; they hold more points
/// instead, up to twice as many as they aim at.
const UNITS_MAX: usize = 512;

fn needs_many_units(n: usize, compute: Dtype) -> bool {
    n.div_ceil(points_aim(compute)) > UNITS_MAX
}

/// Units a cube aims to have.
pub(super) const UNITS_PER_CUBE: usize = 128;
/// Neighbouring transforms that one cube should carry when they, not the points, are adjacent.
const ACROSS_ROWS: usize = 8;

/// The bytes of shared memory that a device reaches at once: one word from each of 32 banks.
const BANKS: usize = 128;

/// Units for a transform of `n` points: the fewest wasted slots, then the fewest units.
fn units_for(n: usize, radices: &[usize], lanes: usize, compute: Dtype, limits: &Limits) -> usize {
    let points =
        |units| radices.iter().map(|&r| points_per_unit(n, r, units, lanes)).max().unwrap_or(1);
    let aim = points_aim(compute);
    let most =
        points_max(compute, limits).max(if needs_many_units(n, compute) { 2 * aim } else { 0 });
    let fewest = n.div_ceil(most);
    (fewest..=n.div_ceil(aim / 2).min(UNITS_MAX.max(fewest)))
        .filter(|&units| points(units) <= most)
        .min_by_key(|&units| {
            let points = points(units);
            (units * points, points.abs_diff(aim), units)
        })
        .unwrap_or(n.div_ceil(2))
}

/// Puts an even radix first and one last, so that neighbouring butterflies touch neighbouring points
/// in every stage, and returns how many a unit takes side by side: two, where each stage has an even
/// number, two points are no more than 16 bytes and the registers of two butterflies are to be had:
/// on `sm_80` and `sm_90a` a tenth of the kernels spilled.
fn side_by_side(n: usize, radices: &mut [usize], compute: Dtype, limits: &Limits) -> usize {
    let even = |r: &usize| r.is_multiple_of(2);
    let evens = radices.iter().filter(|r| even(r)).count();
    if !limits.emulated || compute == Dtype::F64 || evens < 2 {
        return 1;
    }
    radices.sort_by_key(|r| (!even(r), core::cmp::Reverse(*r)));
    let last_even = radices.iter().rposition(even).unwrap_or(0);
    radices[last_even..].rotate_left(1);
    debug_assert!(radices.iter().all(|r| (n / r).is_multiple_of(2)));
    2
}

/// How a processor core fills vectors on its own.
struct Vectors {
    /// The neighbouring points of a transform that fill one, or 1. The last stage takes them as the points of its
    /// butterflies, and as many of those at once again, so that the square of their number divides the length. It
    /// is the last stage in any case: a batch is a loop to the bit.
    points: usize,
    /// The elements of a vector.
    lanes: usize,
    /// Whether these are neighbouring transforms: where the axis has strides, or where too few points fill one.
    apart: bool,
}

impl Vectors {
    fn of(n: usize, rows: usize, across: bool, compute: Dtype, limits: &Limits) -> Self {
        let widest = if limits.serial { VECTOR / compute.size() } else { 1 };
        let points = [widest, widest / 2].into_iter().find(|w| *w > 1 && n.is_multiple_of(w * w));
        let points = points.unwrap_or(1);
        let numbers = limits.cache_bytes / compute.size();
        let fits = |w: &usize| *w <= rows && serial_room(n).saturating_mul(*w) <= numbers;
        let halved = (0..=widest.ilog2()).map(|bits| widest >> bits);
        let transforms = halved.into_iter().find(fits).unwrap_or(1);
        let apart = transforms > 1 && (across || transforms > points);
        Self { points, lanes: if apart { transforms } else { points }, apart }
    }
}

/// The bytes of a processor's vectors: AVX2 has 32, and two of NEON's.
const VECTOR: usize = 32;

impl Chain {
    pub(super) fn shape(&self, turns: usize, limits: &Limits) -> Result<Shape> {
        let across = self.batch.last().is_some_and(|axis| {
            axis.len > 1 && axis.source < self.source.stride && axis.target < self.target.stride
        });
        self.shape_of(self.n / turns, turns, self.rows(), across, limits)
    }

    /// The shape of a pass over transforms of `n` points, or what of the device is too small for one.
    pub(super) fn shape_of(
        &self,
        n: usize,
        turns: usize,
        rows: usize,
        across: bool,
        limits: &Limits,
    ) -> Result<Shape> {
        let (op, compute) = (self.op, self.dtype.compute());
        // A round trip in which units hold many points spilled on `sm_80` with radix 16, and lavapipe compiles
        // one of 2048 points 6.4 s long with it, 2.4 s without, and runs it no faster.
        let crowded = needs_many_units(n, compute) && !limits.serial;
        let slow = limits.emulated && !limits.serial && n > 256 && n.is_power_of_two();
        let small = self.round_trip && (crowded || slow);
        let alone = one_unit(limits);
        let largest = if small || alone { 8 } else { points_aim(compute) };
        let Vectors { points, lanes, apart } = Vectors::of(n, rows, across, compute, limits);
        let mut radices = factorize(n / points, largest).ok_or(Error::Length {
            op,
            argument: "n_fft",
            expected: "a product of primes up to 13 in one pass",
            found: n,
        })?;
        if radices.is_empty() || points > 1 {
            radices.push(points);
        }
        // A single stage exchanges nothing, there and back are two.
        let single = radices.len() == 1 && !self.round_trip;
        let shared = if single { 0 } else { compute.size() };
        let holds = |numbers: usize| numbers.saturating_mul(shared) <= limits.shared_bytes;
        let too_little_memory = |numbers: usize| Error::Limit {
            op,
            resource: "bytes of shared memory in a cube",
            available: limits.shared_bytes as u64,
            required: numbers.saturating_mul(shared) as u64,
        };
        if alone {
            let numbers = serial_room(n);
            let (resource, available) = if limits.serial {
                ("bytes of a processor core's cache", limits.cache_bytes)
            } else {
                ("bytes of shared memory in a cube", limits.shared_bytes)
            };
            let required = numbers.saturating_mul(shared);
            if required > available {
                let (available, required) = (available as u64, required as u64);
                return Err(Error::Limit { op, resource, available, required });
            }
            return Ok(Shape {
                radices,
                turns,
                units: 1,
                lanes,
                rows: limits.units_per_cube.min(rows),
                across: apart,
                algorithm: Algorithm::Serial,
                exchange: Exchange::Whole,
                pad: 0,
            });
        }
        let lanes = side_by_side(n, &mut radices, compute, limits);
        let units = units_for(n, &radices, lanes, compute, limits);
        let numbers = |exchange: Exchange, pad: usize, rows: usize| {
            room(n / lanes, pad).saturating_mul(exchange.parts() * lanes).saturating_mul(rows)
        };
        let exchange = [Exchange::Whole, Exchange::InTurn]
            .into_iter()
            .find(|&exchange| holds(numbers(exchange, 0, 1)))
            .ok_or_else(|| too_little_memory(numbers(Exchange::InTurn, 0, 1)))?;
        if units > limits.units_per_cube {
            return Err(Error::Limit {
                op,
                resource: "units in a cube",
                available: limits.units_per_cube as u64,
                required: units as u64,
            });
        }
        let pad = BANKS / (exchange.parts() * lanes * compute.size());
        let pad = if holds(numbers(exchange, pad, 1)) { pad } else { 0 };
        let wanted =
            if across { ACROSS_ROWS.max(UNITS_PER_CUBE / units) } else { UNITS_PER_CUBE / units };
        let mut per_cube = 1;
        while per_cube * 2 <= wanted
            && per_cube < rows
            && per_cube * 2 * units <= limits.units_per_cube
            && holds(numbers(exchange, pad, per_cube * 2))
        {
            per_cube *= 2;
        }
        Ok(Shape {
            radices,
            turns,
            units,
            lanes,
            rows: per_cube,
            across,
            algorithm: Algorithm::Registers,
            exchange,
            pad,
        })
    }
}
