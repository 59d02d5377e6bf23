//! NaN and infinities in activations, weights and what a result is made of: they show in the rows or columns that see
//! them, and nowhere else.

use wavecube::{
    Dtype, Number, QmatmulOptions, QmatmulStrategy, QuantizedComplexWeight, QuantizedWeight,
    WeightBindings, qmatmul, qmatmul_complex, qmatmul_complex_vjp, qmatmul_vjp, qmatmul_with,
    quant::{Bits, Group, ScaleType, Scheme},
};
use wavecube_testing::{Rng, devices, halves, read};

use super::product::{W4, packed};
use crate::poison::{Operand, POISONS, assert_shows};

/// Every strategy, and both kinds of numbers.
const WAYS: [(QmatmulStrategy, Number); 6] = [
    (QmatmulStrategy::Auto, Number::Float),
    (QmatmulStrategy::Naive, Number::Float),
    (QmatmulStrategy::Gemv, Number::Float),
    (QmatmulStrategy::Tiled, Number::Float),
    (QmatmulStrategy::Matrix, Number::Float),
    (QmatmulStrategy::Auto, Number::Integer),
];

#[test]
fn activations_show_in_their_row() {
    let mut rng = Rng::fresh();
    for device in devices() {
        for dtype in [Dtype::F32].into_iter().chain(halves(device)) {
            for (strategy, number) in WAYS {
                let options = QmatmulOptions { strategy, number, ..QmatmulOptions::default() };
                for (m, n, k) in [(3, 7, 96), (9, 19, 65), (2, 3, 700)] {
                    let weight = packed(&mut rng, [n, k], W4);
                    let weight = QuantizedWeight::upload(device, &weight).unwrap();
                    let x = Operand::random(&mut rng, dtype, false, &[m, k]);
                    // A device without the room, or a type without the units.
                    let Ok(plan) = weight.plan(&x.upload(device), &options) else { continue };
                    let of =
                        |x: &Operand| qmatmul_with(&x.upload(device), &weight, &options).unwrap();
                    let clean = of(&x);
                    for poison in POISONS {
                        let at = rng.int(0, m * k - 1);
                        let found = of(&x.with(at, poison, false));
                        let what =
                            format!("{device} {dtype} {}: {poison} at {at}", plan.describe());
                        assert_shows(&what, poison_of(number, poison), [&clean, &found], |i| {
                            i / n == at / k
                        });
                    }
                }
            }
        }
    }
}

/// A row with an infinity has no scale for whole numbers: all of it is NaN.
fn poison_of(number: Number, poison: f64) -> f64 {
    if number == Number::Integer { f64::NAN } else { poison }
}

#[test]
fn gradients_show_in_their_row() {
    let mut rng = Rng::fresh();
    for device in devices() {
        for (m, n, k) in [(1, 300, 33), (6, 41, 97)] {
            let weight = packed(&mut rng, [n, k], W4);
            let weight = QuantizedWeight::upload(device, &weight).unwrap();
            let g = Operand::random(&mut rng, Dtype::F32, false, &[m, n]);
            let of = |g: &Operand| qmatmul_vjp(&g.upload(device), &weight).unwrap();
            let clean = of(&g);
            for poison in POISONS {
                let at = rng.int(0, m * n - 1);
                let found = of(&g.with(at, poison, false));
                assert_shows(&format!("{device}: {poison}"), poison, [&clean, &found], |i| {
                    i / k == at / n
                });
            }
        }
    }
}

#[test]
fn complex_rows_show_in_both_parts() {
    let mut rng = Rng::fresh();
    for device in devices() {
        let (m, n, k) = (3, 5, 40);
        let parts = [(); 2]
            .map(|()| QuantizedWeight::upload(device, &packed(&mut rng, [n, k], W4)).unwrap());
        let weight = QuantizedComplexWeight::new(&parts[0], &parts[1]).unwrap();
        for gradient in [false, true] {
            let [inputs, results] = if gradient { [n, k] } else { [k, n] };
            let x = Operand::random(&mut rng, Dtype::F32, true, &[m, inputs]);
            let of = |x: &Operand| {
                let x = x.upload(device);
                if gradient {
                    qmatmul_complex_vjp(&x, &weight)
                } else {
                    qmatmul_complex(&x, &weight)
                }
                .unwrap()
            };
            let clean = of(&x);
            for (poison, imaginary) in POISONS.into_iter().zip([false, true, true]) {
                let at = rng.int(0, m * inputs - 1);
                let found = of(&x.with(at, poison, imaginary));
                assert_shows(&format!("{device}: {poison}"), poison, [&clean, &found], |i| {
                    i / results == at / inputs
                });
            }
        }
    }
}

/// In one launch, and with sums in parts.
#[test]
fn epilogues_show_in_what_they_touch() {
    let mut rng = Rng::fresh();
    for device in devices() {
        for (m, n, k) in [(2, 19, 64), (2, 5, 4096)] {
            let weight = packed(&mut rng, [n, k], W4);
            let weight = QuantizedWeight::upload(device, &weight).unwrap();
            let x = Operand::random(&mut rng, Dtype::F32, false, &[m, k]).upload(device);
            let parts = [vec![n], vec![m, n], vec![m, n]]
                .map(|shape| Operand::random(&mut rng, Dtype::F32, false, &shape));
            let of = |parts: &[Operand; 3]| {
                let [bias, gate, residual] = parts.each_ref().map(|part| Some(part.upload(device)));
                let options = QmatmulOptions { bias, gate, residual, ..QmatmulOptions::default() };
                qmatmul_with(&x, &weight, &options).unwrap()
            };
            let clean = of(&parts);
            for (part, name) in ["bias", "gate", "residual"].into_iter().enumerate() {
                for poison in POISONS {
                    let at = rng.int(0, parts[part].values.len() - 1);
                    let mut poisoned = parts.clone();
                    poisoned[part] = poisoned[part].with(at, poison, false);
                    let found = of(&poisoned);
                    let what = format!("{device} {m}×{n}×{k}: {poison} in the {name}");
                    if name == "gate" && poison == f64::NEG_INFINITY {
                        // The gate is shut.
                        let residual = parts[2].values[at].re as f32;
                        assert_eq!(read(&found)[at].re, f64::from(residual), "{what}");
                        continue;
                    }
                    assert_shows(&what, poison, [&clean, &found], |i| {
                        if part == 0 { i % n == at } else { i == at }
                    });
                }
            }
        }
    }
}

/// Scales that nobody checked, in memory that was there already.
#[test]
fn scales_show_in_their_row_of_the_weight() {
    let mut rng = Rng::fresh();
    for device in devices() {
        for (scale, bad) in [
            (ScaleType::F16, [0x7e00u32, 0x7c00]),
            (ScaleType::Bf16, [0x7fc0, 0x7f80]),
            (ScaleType::F32, [0x7fc0_0000, 0x7f80_0000]),
        ] {
            let scheme = Scheme { bits: Bits::Eight, symmetric: true, group: Group::Of32, scale };
            let (m, n, k) = (3, 6, 96);
            let good = packed(&mut rng, [n, k], scheme);
            let x = Operand::random(&mut rng, Dtype::F32, false, &[m, k]).upload(device);
            for (bits, poison) in bad.into_iter().zip([f64::NAN, f64::INFINITY]) {
                let row = rng.int(0, n - 1);
                let group = 3 * row + rng.int(0, 2);
                let mut scales = good.scales().to_vec();
                let a_word = 4 / scale.size();
                let shift = group % a_word * 16;
                let mask = if a_word == 1 { u32::MAX } else { 0xffff << shift };
                scales[group / a_word] = scales[group / a_word] & !mask | bits << shift;
                let part = |words: &[u32]| {
                    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    device.client().create_from_slice(&bytes)
                };
                let upload = |scales: &[u32]| {
                    let bindings = WeightBindings {
                        words: part(good.words()),
                        scales: part(scales),
                        zeros: None,
                    };
                    QuantizedWeight::from_bindings(device, scheme, [n, k], bindings)
                };
                let [clean, found] =
                    [good.scales(), &scales].map(|scales| qmatmul(&x, &upload(scales)).unwrap());
                let what = format!("{device} {scheme}: a scale of {poison}");
                assert_shows(&what, poison, [&clean, &found], |i| i % n == row);
            }
        }
    }
}
