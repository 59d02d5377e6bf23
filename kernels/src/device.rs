//! What plans and launches need to know of a device.

use cubecl::{
    client::Client,
    ir::{ElemType, FloatKind},
};
use wavecube_core::{Dtype, Limits};

/// The kernel element type of a storage type.
pub fn elem_type(dtype: Dtype) -> ElemType {
    ElemType::Float(match dtype {
        Dtype::F16 => FloatKind::F16,
        Dtype::F64 => FloatKind::F64,
        _ => FloatKind::F32,
    })
}

/// The limits of the device behind `client`.
pub fn limits(client: &Client) -> Limits {
    let properties = client.properties();
    let hardware = &properties.hardware;
    let has = |dtype| client.features().supports_type(elem_type(dtype));
    let (x, y, z) = hardware.max_cube_count;
    let serial = hardware.num_cpu_cores.is_some();
    Limits {
        units_per_cube: hardware.max_units_per_cube as usize,
        cube_count: [x as usize, y as usize, z as usize],
        shared_bytes: hardware.max_shared_memory_size,
        buffer_bytes: properties.memory.max_page_size,
        serial,
        cache_bytes: if serial { Limits::cpu(1).cache_bytes } else { 0 },
        emulated: properties.identity.physical.is_none(),
        f16: has(Dtype::F16),
        f64: has(Dtype::F64),
    }
}
