//! What attention rejects.

use wavecube::{
    Attended, Attention, Complex32, Dtype, Error, Limits, Tensor, attention, attention_into,
    attention_vjp,
};
use wavecube_testing::{devices, has, nan_filled};

#[test]
fn bad_input_is_an_error() {
    for device in devices() {
        let zeros = |shape: &[usize]| {
            Tensor::from_slice(device, &vec![0.0f32; shape.iter().product()], shape).unwrap()
        };
        let (q, k) = (zeros(&[2, 4, 3, 8]), zeros(&[2, 2, 5, 8]));
        let run = |q: &Tensor, k: &Tensor, v: &Tensor, options: &Attention| {
            attention(q, k, v, options).err()
        };
        let causal = Attention::causal();
        assert!(run(&q, &k, &k, &causal).is_none());
        for (k, v) in [
            (&zeros(&[2, 2, 5, 7]), &k),
            (&k, &zeros(&[2, 2, 4, 8])),
            (&zeros(&[1, 2, 5, 8]), &zeros(&[1, 2, 5, 8])),
            (&zeros(&[2, 2, 40]), &k),
        ] {
            assert!(matches!(run(&q, k, v, &causal), Some(Error::Shape { .. })));
        }
        let three = zeros(&[2, 3, 5, 8]);
        assert!(matches!(
            run(&q, &three, &three, &causal),
            Some(Error::Length { argument: "k", .. })
        ));
        let wide = zeros(&[1, 1, 1, 257]);
        assert!(matches!(
            run(&wide, &wide, &wide, &causal),
            Some(Error::Length { argument: "q", .. })
        ));
        let turned = zeros(&[2, 4, 8, 3]).permuted(&[0, 1, 3, 2]).unwrap();
        assert!(matches!(
            run(&turned, &k, &k, &causal),
            Some(Error::Strides { argument: "q", .. })
        ));
        for (options, named) in [
            (causal.clone().scale(f32::NAN), "scale"),
            (causal.clone().soft_cap(0.0), "soft_cap"),
            (causal.clone().window(0), "window"),
            (causal.clone().alibi(&[0.0, 1.0, f32::INFINITY, 2.0]), "slopes"),
            (causal.clone().alibi(&[1.0; 3]), "slopes"),
            (causal.clone().lengths(&[[1, 1]]), "lengths"),
            (causal.clone().lengths(&[[3, 5], [4, 5]]), "lengths"),
        ] {
            let found = run(&q, &k, &k, &options);
            let argument = match &found {
                Some(
                    Error::Value { argument, .. }
                    | Error::Shape { argument, .. }
                    | Error::Length { argument, .. },
                ) => *argument,
                _ => "",
            };
            assert_eq!(argument, named, "{found:?}");
        }
        let mut same = q.clone();
        let found = attention_into(&q, &k, &k, &causal, &mut same);
        assert!(matches!(found, Err(Error::Overlap { .. })), "{found:?}");
        let complex = Tensor::from_slice(device, &[Complex32::I; 8], &[1, 1, 1, 8]).unwrap();
        assert!(matches!(run(&complex, &k, &k, &causal), Some(Error::Dtype { .. })));
        if has(device, Dtype::F64) {
            let double = nan_filled(device, Dtype::F64, false, &[1, 1, 1, 8]).unwrap();
            assert!(matches!(run(&double, &double, &double, &causal), Some(Error::Dtype { .. })));
        }
        let attended = attention(&q, &k, &k, &causal).unwrap();
        let g = zeros(&[2, 4, 3, 7]);
        assert!(attention_vjp([&q, &k, &k], &causal, &attended, &g).is_err());
        let wrong = Attended { lse: zeros(&[2, 4, 2]), ..attended };
        let found = attention_vjp([&q, &k, &k], &causal, &wrong, &q).err();
        assert!(matches!(found, Some(Error::Shape { argument: "lse", .. })), "{found:?}");
        // Nothing to do is no error, and no key is seen where there is none.
        let none = zeros(&[2, 4, 0, 8]);
        assert_eq!(attention(&none, &k, &k, &causal).unwrap().out.shape(), [2, 4, 0, 8]);
        let none = zeros(&[2, 2, 0, 8]);
        let found = attention(&q, &none, &none, &causal).unwrap();
        assert!(found.out.read::<f32>().unwrap().iter().all(|&v| v == 0.0));
        assert!(found.lse.read::<f32>().unwrap().iter().all(|&v| v == f32::NEG_INFINITY));
    }
}

#[test]
fn plans_fit_their_device() {
    use wavecube::Layout;
    use wavecube_kernels::attention::{AttentionPlan, AttentionProblem, Mask, Storage, Strategy};
    let tiny = Limits { units_per_cube: 6, shared_bytes: 3000, ..Limits::LAVAPIPE };
    for limits in [Limits::LAVAPIPE, Limits::HOPPER, tiny, Limits::cpu(4)] {
        for dim in [1, 3, 32, 64, 80, 111, 128, 256] {
            for len in [[1, 1], [1, 1 << 17], [512, 512], [3, 70_000]] {
                let q = Layout::contiguous(&[2, 8, len[0], dim]);
                let k = Layout::contiguous(&[2, 2, len[1].min((1 << 23) / dim / 16), dim]);
                let problem = AttentionProblem {
                    op: "test",
                    q: q.clone(),
                    k: k.clone(),
                    v: k,
                    out: q,
                    dtype: Dtype::F32,
                    storage: Storage::Float,
                    paged: None,
                    mask: Mask { scale: 1.0, left: None, right: Some(0), soft_cap: None },
                    strategy: Strategy::Auto,
                };
                match AttentionPlan::new(&problem, &limits) {
                    Ok(plan) => {
                        assert!(plan.shared_bytes() <= limits.shared_bytes, "{plan:?}");
                        assert!(plan.units <= limits.units_per_cube && plan.units >= 1);
                        assert!(plan.splits * plan.split >= plan.kv_len);
                        assert!(plan.split.is_multiple_of(plan.tile.keys) || plan.splits == 1);
                        // Where rows stay in registers the gradients share nothing.
                        let streams = plan.strategy == Strategy::Streaming;
                        let bytes = plan.gradient_tile.gradient_bytes();
                        assert!(streams || bytes <= limits.shared_bytes, "{plan:?}");
                    }
                    Err(error) => assert!(
                        matches!(error, Error::Limit { .. }) && limits == tiny,
                        "{error} {limits:?} {dim}"
                    ),
                }
            }
        }
    }
}

#[test]
fn types_that_a_device_lacks_are_refused() {
    use wavecube::{CacheStorage, KvCache, KvCacheConfig, Layout};
    use wavecube_kernels::attention::{AttentionPlan, AttentionProblem, Mask, Storage, Strategy};
    let rows = Layout::contiguous(&[1, 1, 4, 32]);
    let mask = Mask { scale: 1.0, left: None, right: Some(0), soft_cap: None };
    let plan = |dtype, limits| {
        let (q, k, v, out) = (rows.clone(), rows.clone(), rows.clone(), rows.clone());
        let (storage, paged, strategy) = (Storage::Float, None, Strategy::Auto);
        let problem =
            AttentionProblem { op: "test", q, k, v, out, dtype, storage, paged, mask, strategy };
        AttentionPlan::new(&problem, &limits).map(drop)
    };
    for half in [Dtype::F16, Dtype::Bf16] {
        assert!(plan(half, Limits::HOPPER).is_ok());
        let bare = Limits { f16: half != Dtype::F16, bf16: half != Dtype::Bf16, ..Limits::HOPPER };
        let found = plan(half, bare).unwrap_err();
        assert!(matches!(found, Error::Dtype { argument: "q", found, .. } if found == half));
        let others = if half == Dtype::F16 { "bf16" } else { "f16" };
        let says = format!("{others}, f32 or f64 on this device");
        assert!(found.to_string().contains(&says), "{found}");
    }
    for device in devices() {
        let (dtype, storage) = (Dtype::Bf16, CacheStorage::Float);
        let config = KvCacheConfig {
            layers: 1,
            kv_heads: 1,
            dim: 8,
            pages: 2,
            page_size: 2,
            dtype,
            storage,
        };
        let made = KvCache::new(device, &config);
        assert_eq!(made.is_ok(), has(device, dtype));
        assert!(made.is_ok() || matches!(made.err(), Some(Error::Dtype { argument: "dtype", .. })));
    }
}
