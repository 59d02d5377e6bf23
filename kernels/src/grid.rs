//! How many cubes a launch has along each dimension.

use wavecube_core::{Error, Limits, Result};

/// The grid for `cubes` cubes, as flat as the device allows.
pub(crate) fn grid(op: &'static str, cubes: usize, limits: &Limits) -> Result<[usize; 3]> {
    let [x, y, z] = limits.cube_count;
    let rows = cubes.div_ceil(x.max(1));
    let planes = rows.div_ceil(y.max(1));
    if planes > z {
        return Err(Error::Limit {
            op,
            resource: "cubes in a launch",
            available: (x as u64).saturating_mul(y as u64).saturating_mul(z as u64),
            required: cubes as u64,
        });
    }
    Ok([cubes.min(x), rows.min(y), planes])
}
