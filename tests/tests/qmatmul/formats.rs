//! What the formats cost in accuracy: the mean square of their errors over that of the weights.

use wavecube::quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme};
use wavecube_testing::Rng;

/// Weights of a measurement, in rows of a length that every group divides.
const ROWS: usize = 1024;
const ROW: usize = 1024;
/// The degrees of freedom of Student's t, by which heavy-tailed weights have the errors of the table.
const FREEDOM: usize = 5;

fn gaussian(rng: &mut Rng, _: usize) -> f32 {
    rng.real(1)[0].re as f32
}

/// Student's t: a normal number over the root of the mean square of some others.
fn heavy_tailed(rng: &mut Rng, freedom: usize) -> f32 {
    let normal = rng.real(1 + freedom);
    let square: f64 = normal[1..].iter().map(|v| v.re * v.re).sum();
    (normal[0].re / (square / freedom as f64).sqrt()) as f32
}

fn nmse(values: &[f32], scheme: Scheme, clip: Clip) -> f64 {
    let found = PackedWeight::quantize(values, [ROWS, ROW], scheme, clip).unwrap().dequantize();
    let error: f64 = found.iter().zip(values).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    error / values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()
}

#[test]
fn errors_of_formats_are_those_of_the_table() {
    let mut rng = Rng::fresh();
    let four =
        Scheme { bits: Bits::Four, symmetric: true, group: Group::Of128, scale: ScaleType::F16 };
    let schemes = [four, Scheme { symmetric: false, ..four }, Scheme { bits: Bits::Eight, ..four }];
    let table: [(fn(&mut Rng, usize) -> f32, [f64; 3]); 2] =
        [(gaussian, [1.5e-2, 1.1e-2, 4.3e-5]), (heavy_tailed, [3.1e-2, 1.7e-2, 9.2e-5])];
    for (draw, expected) in table {
        let values: Vec<f32> = (0..ROWS * ROW).map(|_| draw(&mut rng, FREEDOM)).collect();
        let found = schemes.map(|scheme| nmse(&values, scheme, Clip::None));
        for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            let off = (found / expected - 1.0).abs();
            assert!(off < 0.1, "{}: {found:e}, not {expected:e}, seed {}", schemes[i], rng.seed);
            let clipped = nmse(&values, schemes[i], Clip::Search);
            assert!(
                clipped <= found,
                "{}: {clipped:e} after a search, {found:e} before",
                schemes[i]
            );
        }
    }
}

/// With some inputs calibrated to matter alone, their error is the least, and less than without.
#[test]
fn a_calibration_serves_the_inputs_that_matter() {
    let mut rng = Rng::fresh();
    let scheme =
        Scheme { bits: Bits::Four, symmetric: true, group: Group::Of128, scale: ScaleType::F32 };
    let values: Vec<f32> = (0..ROWS * ROW).map(|_| heavy_tailed(&mut rng, FREEDOM)).collect();
    let importance: Vec<f32> = (0..ROW).map(|j| if j % 8 == 0 { 1.0 } else { 0.0 }).collect();
    let error = |clip| {
        let weight = PackedWeight::quantize(&values, [ROWS, ROW], scheme, clip).unwrap();
        let errors = weight.dequantize().into_iter().zip(&values).step_by(8);
        errors.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let (calibrated, plain) = (error(Clip::Calibrated(&importance)), error(Clip::Search));
    assert!(calibrated < 0.8 * plain, "{calibrated} against {plain}, seed {}", rng.seed);
}
