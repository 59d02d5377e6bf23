//! Caches in codes of 8 and 4 bits.

use wavecube::{CacheStorage, Complex64, Dtype, KvCacheConfig};
use wavecube_testing::{Rng, devices, read, tensor};

use super::cache::{Beside, HEADS, config};

/// The error of the result of quantised caches, for keys whose channels have means of their own: what a model of
/// the codes in `f64` gave for such keys and values before the kernels were written, and a fifth. Sixteen draws of
/// the model lay between 3.6e-5 and 4.2e-5 (the gate is 4.6e-5), and 9.6e-3 and 1.06e-2 (1.21e-2).
#[test]
fn quantised_caches() {
    for device in devices() {
        let mut rng = Rng::fresh();
        // Heads that are rotated as a whole, and by thirds.
        for (storage, dim, gate) in
            [(CacheStorage::Int8, 64, 3.8e-5 * 1.2), (CacheStorage::Int4, 96, 1.01e-2 * 1.2)]
        {
            let mut beside = Beside::new(device, KvCacheConfig { storage, ..config(dim, 40, 16) });
            let (one, other) = (beside.create(), beside.create());
            let parts = [(one, 200), (other, 111)];
            let step = beside.append(&mut rng, &parts, 1.0).unwrap();
            let what = format!("{device} {storage:?} {dim} seed {}", rng.seed);
            let nmse = beside.ask(&mut rng, &step, &parts);
            if std::env::var_os("WAVECUBE_PRINT").is_some() {
                eprintln!("{what}: {nmse:.2e}/{gate:.2e}");
            }
            assert!(nmse <= gate, "{what}: {nmse:e} > {gate:e}");
            // A fork that grows copies codes and scales.
            beside.ids.push(beside.cache.fork(beside.ids[one]).unwrap());
            beside.tokens.push(beside.tokens[one].clone());
            let parts = [(one, 1), (2, 1)];
            let step = beside.append(&mut rng, &parts, 1.0).unwrap();
            let nmse = beside.ask(&mut rng, &step, &parts);
            // Two queries instead of hundreds: the mean scatters.
            assert!(nmse <= 3.0 * gate, "{what}, forked: {nmse:e}");
        }
    }
}

/// Where a sequence has one token, its value comes back as it was stored: off by half a step, which is the range of 32
/// numbers in as many parts as there are codes less one, wherever the range lies and however small it is.
#[test]
fn codes_cover_the_range_of_every_group() {
    let (dim, sequences) = (64, 8);
    for device in devices() {
        let mut rng = Rng::fresh();
        for (storage, parts) in [(CacheStorage::Int8, 255.0), (CacheStorage::Int4, 15.0)] {
            let config = KvCacheConfig { storage, ..config(dim, sequences, 2) };
            let mut beside = Beside::new(device, config);
            let ids: Vec<_> = (0..sequences).map(|_| beside.create()).collect();
            let call: Vec<_> = ids.iter().map(|&at| (beside.ids[at], 1)).collect();
            let step = beside.cache.append(&call).unwrap();
            let mut values = rng.real(sequences * HEADS[1] * dim);
            for (i, v) in values.iter_mut().enumerate() {
                v.re = match i / 32 % 8 {
                    0 => 0.0,
                    1 => 1000.1,
                    2 => 1000.0 + v.re,
                    3 => -3e4 * v.re.abs(),
                    4 if i % 32 == 5 => 1e6,
                    5 => 1e-30 * v.re,
                    6 => 1e30 * v.re,
                    _ => v.re,
                };
            }
            let put = |values: &[Complex64], heads| {
                let shape = [sequences, heads, 1, dim];
                tensor(device, values, Dtype::F32, false, &shape).unwrap()
            };
            let (v, exact) = put(&values, HEADS[1]);
            let (k, _) = put(&rng.real(sequences * HEADS[1] * dim), HEADS[1]);
            let (q, _) = put(&rng.real(sequences * HEADS[0] * dim), HEADS[0]);
            beside.cache.write(0, &step, &k, &v, None).unwrap();
            let causal = wavecube::Attention::causal();
            let out = read(&beside.cache.attend(0, &step, &q, &causal).unwrap().out);
            let seed = rng.seed;
            for (group, exact) in exact.chunks(32).enumerate() {
                let [least, most] = [f64::min, f64::max]
                    .map(|of: fn(f64, f64) -> f64| exact.iter().map(|v| v.re).reduce(of).unwrap());
                // Both are rounded to 8 bits: the step up, the middle to the nearest.
                let largest = most.max(-least);
                let range = (most - least) + 2f64.powi(-8) * largest;
                let bound =
                    range / parts / 2.0 * (1.0 + 2f64.powi(-7)) + 4.0 * 1.2e-7 * largest + 1e-38;
                let (row, at) = (group / 2, group % 2 * 32);
                // The first of the two heads of queries that share these values.
                for (i, exact) in exact.iter().enumerate() {
                    let found = out[2 * row * dim + at + i].re;
                    let what = format!("{device} {storage:?} group {group}, {i}, seed {seed}");
                    let off = (found - exact.re).abs();
                    assert!(off <= bound, "{what}: {found} for {}, {bound:e}", exact.re);
                }
            }
        }
    }
}
