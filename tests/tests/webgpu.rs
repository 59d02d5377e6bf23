//! Every operation on a device that has no more than WebGPU guarantees, family by family.
#![cfg(feature = "wgpu")]

use std::sync::LazyLock;

use wavecube::{Attention, CacheStorage, Device, Dtype, KvCache, KvCacheConfig, Limits, Tensor};
use wavecube_testing::{catalogue, webgpu};

static DEVICE: LazyLock<Device> = LazyLock::new(webgpu);

#[test]
fn its_limits_are_those_that_plans_are_tested_with() {
    let (found, guaranteed) = (*DEVICE.limits(), Limits::WEBGPU);
    assert_eq!(found.bindings, guaranteed.bindings);
    assert_eq!(found.shared_bytes, guaranteed.shared_bytes);
}

/// Holds an operation's shortest lines and long ones against their reference: transforms, scans and products take
/// other kernels for either.
fn assert_right(family: &str) {
    let mut wrong = Vec::new();
    for n in [64, 8192] {
        for case in catalogue::one_an_op(n).iter().filter(|case| case.op.starts_with(family)) {
            // The runtime reports the adapter's types; WebGPU guarantees none but this one.
            if case.dtype != Dtype::F32 {
                continue;
            }
            match case.prepare(&DEVICE).and_then(|case| case.error()) {
                Ok(error) if error <= case.gate => {}
                outcome => wrong.push(format!("{}: {outcome:?} (gate {:e})", case.id(), case.gate)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn transforms_are_right() {
    assert_right("fft");
}

#[test]
fn quantised_products_are_right() {
    assert_right("qmatmul");
}

#[test]
fn maps_norms_and_mixtures_are_right() {
    assert_right("mixing");
}

#[test]
fn attention_is_right() {
    assert_right("attention");
}

/// The catalogue's quantised caches are of a type that WebGPU does not guarantee. Values that are all alike come back.
#[test]
fn quantised_caches_are_right() {
    let (heads, n, dim) = ([4, 2], 40, 64);
    for storage in [CacheStorage::Int8, CacheStorage::Int4] {
        let (kv_heads, dtype) = (heads[1], Dtype::F32);
        let config =
            KvCacheConfig { layers: 1, kv_heads, dim, pages: 8, page_size: 8, dtype, storage };
        let mut cache = KvCache::new(&DEVICE, &config).unwrap();
        let sequence = cache.create();
        let step = cache.append(&[(sequence, n)]).unwrap();
        let put = |heads: usize, of: fn(usize) -> f32| {
            let values: Vec<f32> = (0..heads * n * dim).map(of).collect();
            Tensor::from_slice(&DEVICE, &values, &[1, heads, n, dim]).unwrap()
        };
        let waves = put(heads[0], |i| (i as f32).sin());
        let (k, v) = (put(heads[1], |i| (i as f32).cos()), put(heads[1], |_| 1.5));
        cache.write(0, &step, &k, &v, None).unwrap();
        let options = Attention::causal().alibi(&[0.5, 0.25, 0.125, 0.0625]);
        let out = cache.attend(0, &step, &waves, &options).unwrap().out.read::<f32>().unwrap();
        assert!(out.iter().all(|v| (v - 1.5).abs() < 1e-5), "{storage:?}");
    }
}
