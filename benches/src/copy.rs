//! The bandwidth that everything is measured against: one buffer copied into another.

use cubecl::prelude::*;
use wavecube::{Device, Dtype, Tensor};

use crate::turns::{Contestant, by_turns};

/// Four-byte words copied: 64 MiB each way, beyond any cache.
const WORDS: usize = 1 << 24;

#[cube(launch_unchecked)]
fn copy_words(source: &[Vector<f32, Const<4>>], target: &mut [Vector<f32, Const<4>>]) {
    if ABSOLUTE_POS < target.len() {
        target[ABSOLUTE_POS] = source[ABSOLUTE_POS];
    }
}

/// Bytes read and written a second by a plain copy on `device`.
pub(crate) fn bytes_per_second(device: &Device) -> f64 {
    let ones = vec![1.0f32; WORDS];
    let source = Tensor::from_slice(device, &ones, &[WORDS]).expect("64 MiB fit");
    let target = Tensor::empty(device, Dtype::F32, false, &[WORDS]).expect("64 MiB fit");
    let vectors = WORDS / 4;
    let units = device.limits().units_per_cube.min(256);
    let cubes = vectors.div_ceil(units);
    let [x, ..] = device.limits().cube_count;
    let count = CubeCount::Static(cubes.min(x) as u32, cubes.div_ceil(x) as u32, 1);
    let (client, last) = (device.client().clone(), target.clone());
    let copy = Contestant::new("copy", move || {
        // SAFETY: both buffers hold `vectors` vectors, and the kernel compares with the length.
        unsafe {
            copy_words::launch_unchecked(
                &client,
                count.clone(),
                CubeDim::new_1d(units as u32),
                BufferArg::from_raw_parts(source.handle().clone(), vectors),
                BufferArg::from_raw_parts(last.handle().clone(), vectors),
            );
        }
        last.clone()
    });
    let seconds = by_turns(&mut [copy])[0];
    assert_eq!(target.read::<f32>().expect("the copy ran"), ones, "the copy is a copy");
    8.0 * WORDS as f64 / seconds
}
