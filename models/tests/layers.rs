//! The LCT layer: how it starts, its inverse, and what it refuses.

use burn::tensor::{DType, Tensor};
use wavecube_models::layers::{
    Axis, ComplexToReal, Form, LctConfig, LctLayer, ParameterForm, Start,
};

use crate::support::{close, flex, read, tensor, values};

const D_MODEL: usize = 12;
const CONTEXT: usize = 9;

fn layer(config: &LctConfig) -> LctLayer {
    LctLayer::new(config, D_MODEL, CONTEXT, &flex()).unwrap()
}

fn input(time: usize) -> Tensor<3> {
    tensor(&values(2 * time * D_MODEL, 1), [2, time, D_MODEL], DType::F32, &flex())
}

#[test]
fn projection_starts_as_the_real_part() {
    for axis in [Axis::Channels, Axis::Sequence] {
        for transform in [Start::Fft, Start::Frft, Start::Fresnel] {
            let config = LctConfig { axis, transform, ..LctConfig::default() };
            let real = LctConfig { to_real: ComplexToReal::Real, ..config.clone() };
            let projected = read(layer(&config).forward(input(CONTEXT)).unwrap());
            close(&projected, &read(layer(&real).forward(input(CONTEXT)).unwrap()), 1e-7);
        }
    }
}

#[test]
fn magnitude_of_a_fourier_transform_ignores_a_shift() {
    let config = LctConfig { to_real: ComplexToReal::Magnitude, ..LctConfig::default() };
    let shifted = input(CONTEXT).roll_dim(5, 2);
    let layer = layer(&config);
    close(
        &read(layer.forward(shifted).unwrap()),
        &read(layer.forward(input(CONTEXT)).unwrap()),
        1e-5,
    );
}

#[test]
fn inverse_undoes_the_transform() {
    for transform in [Start::Fft, Start::Frft, Start::Fresnel] {
        for (learned, parameters) in [
            (false, ParameterForm::Shear),
            (true, ParameterForm::Shear),
            (true, ParameterForm::Lie),
            (true, ParameterForm::Angle),
        ] {
            for inverse in [false, true] {
                let config =
                    LctConfig { transform, learned, parameters, inverse, ..LctConfig::default() };
                if config.validate().is_err() {
                    assert!(transform == Start::Fresnel && parameters == ParameterForm::Angle);
                    continue;
                }
                let layer = layer(&config);
                let x = values(2 * 3 * D_MODEL, 2);
                let there =
                    layer.transform(tensor(&x, [3, D_MODEL, 2], DType::F32, &flex())).unwrap();
                close(&read(layer.inverse(there).unwrap()), &x, 2e-6);
            }
        }
    }
}

#[test]
fn a_fixed_transform_is_what_learning_starts_from() {
    for (axis, transform) in [
        (Axis::Channels, Start::Fresnel),
        (Axis::Channels, Start::Frft),
        (Axis::Sequence, Start::Fft),
        (Axis::Sequence, Start::Frft),
        (Axis::Sequence, Start::Fresnel),
    ] {
        let fixed = LctConfig { axis, transform, ..LctConfig::default() };
        let parameters = match (axis, transform) {
            (Axis::Channels, Start::Frft) => ParameterForm::Angle,
            (Axis::Sequence, _) => ParameterForm::Lie,
            _ => ParameterForm::Shear,
        };
        let learned = LctConfig { learned: true, parameters, ..fixed.clone() };
        let expected = read(layer(&fixed).forward(input(CONTEXT)).unwrap());
        close(&read(layer(&learned).forward(input(CONTEXT)).unwrap()), &expected, 1e-5);
    }
}

#[test]
fn a_prefix_of_a_sequence_is_transformed_like_the_whole() {
    for transform in [Start::Fft, Start::Fresnel] {
        let config = LctConfig { axis: Axis::Sequence, transform, ..LctConfig::default() };
        let layer = layer(&config);
        let whole = layer.forward(input(CONTEXT)).unwrap().narrow(1, 0, 4);
        let prefix = layer.forward(input(CONTEXT).narrow(1, 0, 4)).unwrap();
        close(&read(prefix), &read(whole), 1e-6);
    }
}

#[test]
fn near_singular_transforms_are_counted() {
    let count = |config: LctConfig| {
        let layer = layer(&config);
        layer.forward(input(4)).unwrap();
        layer.forward(input(4)).unwrap();
        layer.degenerate_hits()
    };
    let learned = LctConfig {
        learned: true,
        parameters: ParameterForm::Lie,
        transform: Start::Frft,
        angle: 0.01,
        epsilon: 0.1,
        ..LctConfig::default()
    };
    assert_eq!(count(learned.clone()), 2);
    assert_eq!(count(LctConfig { epsilon: 1e-3, ..learned.clone() }), 0);
    let sequence =
        LctConfig { axis: Axis::Sequence, transform: Start::Fresnel, b: 0.01, ..learned };
    assert_eq!(count(sequence), 2);
}

#[test]
fn what_would_see_the_future_or_has_no_inverse_is_refused() {
    let two_sided =
        LctConfig { axis: Axis::Sequence, form: Some(Form::TwoSided), ..LctConfig::default() };
    let message = two_sided.validate().unwrap_err().to_string();
    assert!(message.contains("sees the future") && message.contains("causal"), "{message}");
    assert!(LctLayer::new(&two_sided, D_MODEL, CONTEXT, &flex()).is_err());

    let inverse = LctConfig { axis: Axis::Sequence, inverse: true, ..LctConfig::default() };
    assert!(inverse.validate().unwrap_err().to_string().contains("inverse"));
    let causal = LctConfig { axis: Axis::Sequence, ..LctConfig::default() };
    let x = tensor(&values(2 * CONTEXT, 1), [CONTEXT, 2], DType::F32, &flex());
    assert!(layer(&causal).inverse(x).is_err());

    for config in [
        LctConfig { epsilon: 0.0, ..LctConfig::default() },
        LctConfig { angle: f64::NAN, ..LctConfig::default() },
        LctConfig { b: f64::INFINITY, ..LctConfig::default() },
    ] {
        assert!(config.validate().is_err(), "{config:?}");
    }
    let still =
        LctConfig { transform: Start::Frft, angle: 0.0, learned: true, ..LctConfig::default() };
    let message = still.validate().unwrap_err().to_string();
    assert!(message.contains("angle") && message.contains("lie"), "{message}");
}
