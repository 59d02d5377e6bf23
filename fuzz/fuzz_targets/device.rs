//! Arbitrary lengths and devices, for targets on plans.

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use wavecube_core::Limits;

/// A length: mostly small enough to be planned, sometimes beyond every limit.
#[derive(Arbitrary, Debug)]
pub enum Length {
    Small(u8),
    Medium(u16),
    Any(usize),
}

impl Length {
    pub fn get(&self) -> usize {
        match *self {
            Self::Small(n) => usize::from(n),
            Self::Medium(n) => usize::from(n),
            Self::Any(n) => n,
        }
    }
}

/// A device's limits: a known one's, or odd ones.
#[derive(Arbitrary, Debug)]
pub enum Device {
    Lavapipe,
    WebGpu,
    Hopper,
    Cpu(u8),
    Odd {
        units: u16,
        cubes: [u16; 3],
        shared: u32,
        buffer: u64,
        bindings: u8,
        serial: bool,
        emulated: bool,
        f16: bool,
        bf16: bool,
        f64: bool,
    },
}

impl Device {
    /// Whatever the numbers, a device has a unit and a cube.
    pub fn limits(&self) -> Limits {
        match *self {
            Self::Lavapipe => Limits::LAVAPIPE,
            Self::WebGpu => Limits::WEBGPU,
            Self::Hopper => Limits::HOPPER,
            Self::Cpu(cores) => Limits::cpu(usize::from(cores.max(1))),
            Self::Odd { units, cubes, shared, buffer, bindings, serial, emulated, f16, bf16, f64 } => Limits {
                units_per_cube: usize::from(units.max(1)),
                cube_count: cubes.map(|count| usize::from(count.max(1))),
                shared_bytes: shared as usize,
                cache_bytes: shared as usize,
                buffer_bytes: buffer,
                bindings: usize::from(bindings),
                serial,
                emulated,
                f16,
                bf16,
                f64,
                ..Limits::HOPPER
            },
        }
    }
}
