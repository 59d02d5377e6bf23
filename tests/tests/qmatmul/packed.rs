//! Codes in words and back, and what weights and parts are refused.

use proptest::prelude::*;
use wavecube::{
    Error,
    quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme},
};
use wavecube_testing::Rng;

use super::{BITS, GROUPS, SCALES, schemes};

fn any_scheme() -> impl Strategy<Value = Scheme> {
    let parts = (prop::sample::select(&BITS[..]), any::<bool>());
    (parts, prop::sample::select(&GROUPS[..]), prop::sample::select(&SCALES[..]))
        .prop_map(|((bits, symmetric), group, scale)| Scheme { bits, symmetric, group, scale })
}

/// Codes, scales and zero points of a scheme and a shape.
fn any_parts() -> impl Strategy<Value = (Scheme, [usize; 2], Vec<u8>, Vec<f32>, Vec<u8>)> {
    (any_scheme(), 1..6usize, 1..300usize).prop_flat_map(|(scheme, n, k)| {
        let groups = n * scheme.group.count(k);
        let code = 0..=scheme.bits.largest() as u8;
        let zeros = if scheme.symmetric { 0 } else { groups };
        (
            Just(scheme),
            Just([n, k]),
            prop::collection::vec(code.clone(), n * k),
            prop::collection::vec(1e-4..1e3f32, groups),
            prop::collection::vec(code, zeros),
        )
    })
}

proptest! {
    #[test]
    fn unpacking_undoes_packing((scheme, [n, k], codes, scales, zeros) in any_parts()) {
        let weight = PackedWeight::pack(scheme, [n, k], &codes, &scales, &zeros).unwrap();
        prop_assert_eq!(weight.codes(), codes.clone());
        let parts = [weight.words(), weight.scales(), weight.zeros()].map(<[u32]>::to_vec);
        let [words, scale_words, zero_words] = parts;
        let again = PackedWeight::from_parts(scheme, [n, k], words, scale_words, zero_words);
        prop_assert_eq!(again.as_ref(), Ok(&weight));
        // The definition, with scales as they were rounded.
        let len = scheme.group.len(k);
        for (i, value) in weight.dequantize().into_iter().enumerate() {
            let group = i / k * scheme.group.count(k) + i % k / len;
            let zero = if scheme.symmetric { scheme.bits.middle() as f32 } else { zeros[group].into() };
            let scale = scheme.scale.decode(scheme.scale.encode(scales[group]));
            prop_assert_eq!(value, scale * (f32::from(codes[i]) - zero));
        }
    }
}

#[test]
fn codes_lie_where_the_layout_says() {
    let scheme =
        Scheme { bits: Bits::Four, symmetric: true, group: Group::Of32, scale: ScaleType::F32 };
    let codes: Vec<u8> = (0..32).map(|j| j % 16).collect();
    let weight = PackedWeight::pack(scheme, [1, 32], &codes, &[1.0], &[]).unwrap();
    // Word i holds i, 4 + i, 8 + i and 12 + i in its bytes, of both halves of the block.
    assert_eq!(weight.words(), [0xcc88_4400, 0xdd99_5511, 0xeeaa_6622, 0xffbb_7733]);
    let scheme = Scheme { bits: Bits::Eight, ..scheme };
    let codes: Vec<u8> = (0..32).collect();
    let weight = PackedWeight::pack(scheme, [1, 32], &codes, &[1.0], &[]).unwrap();
    assert_eq!(weight.words()[..2], [0x0c08_0400, 0x0d09_0501]);
    assert_eq!(weight.words()[4..6], [0x1c18_1410, 0x1d19_1511]);
}

/// Every weight within half a step, and a step is no larger than the range of the group asks for.
#[test]
fn weights_are_rounded_to_the_nearest_code() {
    let mut rng = Rng::fresh();
    for scheme in schemes() {
        let [n, k] = [rng.int(1, 4), rng.int(1, 300)];
        let values: Vec<f32> = rng.real(n * k).iter().map(|v| v.re as f32).collect();
        let weight = PackedWeight::quantize(&values, [n, k], scheme, Clip::None).unwrap();
        let len = scheme.group.len(k);
        let found = weight.dequantize();
        for (row, (exact, found)) in values.chunks(k).zip(found.chunks(k)).enumerate() {
            for (exact, found) in exact.chunks(len).zip(found.chunks(len)) {
                let low = exact.iter().copied().fold(0.0, f32::min);
                let high = exact.iter().copied().fold(0.0, f32::max);
                let step = if scheme.symmetric {
                    high.max(-low) / (scheme.bits.middle() - 1) as f32
                } else {
                    (high - low) / scheme.bits.largest() as f32
                };
                // Half a step, and a half more at an end that the rounded zero point moved by half a
                // step; a scale is rounded by up to 2⁻⁹ of itself, over up to 255 steps.
                let ends = if scheme.symmetric { 0.5 } else { 1.0 };
                let scale_error = match scheme.scale {
                    ScaleType::F32 => 1e-6,
                    ScaleType::F16 => 2f32.powi(-11),
                    ScaleType::Bf16 => 2f32.powi(-8),
                };
                let steps = scheme.bits.largest() as f32;
                let bound = step * (ends + scale_error * steps) + 1e-6;
                let worst = exact.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(
                    worst <= bound,
                    "{scheme}, row {row}: {worst} > {bound}, seed {}",
                    rng.seed
                );
            }
        }
    }
}

#[test]
fn extreme_weights_have_codes() {
    for scheme in schemes() {
        let zero = PackedWeight::quantize(&[0.0; 40], [1, 40], scheme, Clip::Search).unwrap();
        assert_eq!(zero.dequantize(), [0.0; 40], "{scheme}");
        let tiny = PackedWeight::quantize(&[1e-44; 40], [1, 40], scheme, Clip::Search).unwrap();
        assert!(tiny.dequantize().iter().all(|v| v.abs() < 1e-5), "{scheme}");
        let huge = PackedWeight::quantize(&[f32::MAX, -f32::MAX], [1, 2], scheme, Clip::None);
        match scheme.scale {
            ScaleType::F16 => assert!(matches!(huge, Err(Error::Value { .. })), "{scheme}"),
            _ => assert!(huge.is_ok(), "{scheme}: {huge:?}"),
        }
    }
}

#[test]
fn what_is_no_weight_is_refused() {
    const SCHEME: Scheme =
        Scheme { bits: Bits::Four, symmetric: false, group: Group::Of32, scale: ScaleType::F32 };
    fn of(values: &[f32], shape: [usize; 2], clip: Clip) -> Option<Error> {
        PackedWeight::quantize(values, shape, SCHEME, clip).err()
    }
    assert!(of(&[1.0; 6], [2, 3], Clip::None).is_none());
    assert!(matches!(of(&[1.0; 5], [2, 3], Clip::None), Some(Error::Length { .. })));
    assert!(matches!(of(&[], [0, 3], Clip::None), Some(Error::Length { .. })));
    assert!(matches!(of(&[], [3, 0], Clip::None), Some(Error::Length { .. })));
    let overflow = of(&[1.0], [usize::MAX / 2, 3], Clip::None);
    assert!(matches!(overflow, Some(Error::Limit { .. })), "{overflow:?}");
    let overflow = of(&[1.0], [1, usize::MAX], Clip::None);
    assert!(matches!(overflow, Some(Error::Limit { .. })), "{overflow:?}");
    for bad in [f32::NAN, f32::INFINITY] {
        let found = of(&[1.0, bad], [1, 2], Clip::None);
        assert!(matches!(found, Some(Error::Value { argument: "values", .. })), "{found:?}");
        let importance = [1.0, bad];
        let found = of(&[1.0; 2], [1, 2], Clip::Calibrated(&importance));
        assert!(matches!(found, Some(Error::Value { argument: "clip", .. })), "{found:?}");
        let found = PackedWeight::pack(SCHEME, [1, 2], &[1, 2], &[bad], &[3]);
        assert!(matches!(found, Err(Error::Value { argument: "scales", .. })), "{found:?}");
    }
    let found = of(&[1.0; 2], [1, 2], Clip::Calibrated(&[1.0]));
    assert!(matches!(found, Some(Error::Length { argument: "clip", .. })), "{found:?}");
    let pack = |codes: &[u8], scales: &[f32], zeros: &[u8]| {
        PackedWeight::pack(SCHEME, [1, 2], codes, scales, zeros).err()
    };
    assert!(pack(&[1, 15], &[0.5], &[15]).is_none());
    assert!(matches!(pack(&[1, 15], &[0.0], &[15]), Some(Error::Value { argument: "scales", .. })));
    assert!(matches!(pack(&[1, 15], &[-1.0], &[15]), Some(Error::Value { .. })));
    assert!(matches!(pack(&[1, 16], &[0.5], &[15]), Some(Error::Value { argument: "codes", .. })));
    assert!(matches!(pack(&[1, 15], &[0.5], &[16]), Some(Error::Value { argument: "zeros", .. })));
    assert!(matches!(pack(&[1], &[0.5], &[1]), Some(Error::Length { argument: "codes", .. })));
    assert!(matches!(pack(&[1, 2], &[], &[1]), Some(Error::Length { argument: "scales", .. })));
    assert!(matches!(pack(&[1, 2], &[0.5], &[]), Some(Error::Length { argument: "zeros", .. })));
}
