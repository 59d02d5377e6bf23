//! What plans and launches need to know of a device.

use cubecl::{
    client::Client,
    ir::{ElemType, FloatKind, features::TypeUsage},
};
use wavecube_core::{Dtype, Fragment, Limits};

/// The kernel element type of a storage type.
pub fn elem_type(dtype: Dtype) -> ElemType {
    ElemType::Float(match dtype {
        Dtype::F16 => FloatKind::F16,
        Dtype::Bf16 => FloatKind::BF16,
        Dtype::F64 => FloatKind::F64,
        _ => FloatKind::F32,
    })
}

/// The largest matrices of a type that matrix units multiply, square ones rather than others: none where the number of
/// units that run in step is not always the same.
fn fragment(client: &Client, dtype: Dtype) -> Option<Fragment> {
    let hardware = &client.properties().hardware;
    let lanes = hardware.plane_size_max as usize;
    if hardware.plane_size_min != hardware.plane_size_max {
        return None;
    }
    let (elem, sums) = (elem_type(dtype), elem_type(Dtype::F32));
    let sizes = client.features().matmul.cmma.iter();
    let sizes = sizes.filter(|of| of.a_type == elem && of.b_type == elem && of.cd_type == sums);
    let sizes = sizes.map(|of| [of.m, of.n, of.k].map(|length| length as usize));
    let [rows, columns, inputs] = sizes.max_by_key(|&[m, n, k]| (m * n * k, m.min(n)))?;
    Some(Fragment { lanes, rows, columns, inputs })
}

/// The limits of the device behind `client`.
pub fn limits(client: &Client) -> Limits {
    let properties = client.properties();
    let hardware = &properties.hardware;
    // A type that can be converted may still not be stored.
    let has = |dtype| client.features().type_usage(elem_type(dtype)).contains(TypeUsage::Buffer);
    let (x, y, z) = hardware.max_cube_count;
    let serial = hardware.num_cpu_cores.is_some();
    Limits {
        units_per_cube: hardware.max_units_per_cube as usize,
        cube_count: [x as usize, y as usize, z as usize],
        shared_bytes: hardware.max_shared_memory_size,
        buffer_bytes: properties.memory.max_page_size,
        bindings: hardware.max_bindings as usize,
        serial,
        cache_bytes: if serial { Limits::cpu(1).cache_bytes } else { 0 },
        emulated: properties.identity.physical.is_none(),
        f16: has(Dtype::F16),
        // The CPU runtime rounds to bf16 by a function of the C library's that comes with GCC 13: where it is missing,
        // as with GCC 12, kernels end without a word and without their results.
        bf16: has(Dtype::Bf16) && hardware.num_cpu_cores.is_none(),
        f64: has(Dtype::F64),
        f16_fragment: fragment(client, Dtype::F16),
        bf16_fragment: fragment(client, Dtype::Bf16),
    }
}
