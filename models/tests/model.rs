//! LCT-GPT: causality of every configuration, parameters, and kernels against flex.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor},
};
use wavecube_models::{
    core_config::Configuration as _,
    layers::{Axis, ComplexToReal, LctConfig, NormKind, ParameterForm, Start},
    lct_gpt::{LctGpt, ModelConfig, Placement, Positions},
    model::LanguageModel as _,
    random::Random,
};

use crate::support::{by_kernels, bytes, close, devices_with_kernels, flex, read, text};

const CONTEXT: usize = 8;

fn small() -> ModelConfig {
    ModelConfig { context: CONTEXT, d_model: 16, layers: 2, heads: 2, ..ModelConfig::default() }
}

/// Every placement, axis, way back to real numbers, fixed or learned in every form, with every start,
/// positions and norm.
fn configurations() -> Vec<ModelConfig> {
    let mut all = Vec::new();
    for placement in
        [Placement::None, Placement::Before, Placement::After, Placement::Block, Placement::Mixer]
    {
        for axis in [Axis::Channels, Axis::Sequence] {
            for to_real in
                [ComplexToReal::Projection, ComplexToReal::Magnitude, ComplexToReal::Real]
            {
                for (learned, parameters) in [
                    (false, ParameterForm::Shear),
                    (true, ParameterForm::Shear),
                    (true, ParameterForm::Lie),
                    (true, ParameterForm::Angle),
                ] {
                    for transform in [Start::Fft, Start::Frft, Start::Fresnel] {
                        // Positions and norms do not multiply: they take turns.
                        let (positions, norm) = if all.len() % 2 == 0 {
                            (Positions::Rope, NormKind::Rms)
                        } else {
                            (Positions::Learned, NormKind::Layer)
                        };
                        let lct = LctConfig {
                            axis,
                            to_real,
                            learned,
                            parameters,
                            transform,
                            ..LctConfig::default()
                        };
                        let config = ModelConfig { placement, positions, norm, lct, ..small() };
                        if config.validate().is_ok() {
                            all.push(config);
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn changing_a_byte_changes_no_output_before_it() {
    let configurations = configurations();
    assert!(configurations.len() > 200, "{} configurations", configurations.len());
    for config in configurations {
        let model = LctGpt::new(&config, &mut Random::new(1), &flex()).unwrap();
        let before = text(2, CONTEXT);
        let outputs = read(model.forward(bytes(&before, &flex())).unwrap());
        // One changed byte a configuration, at a place that moves with the configuration's name.
        let name = format!("{config:?}");
        for t in [1 + name.len() % (CONTEXT - 2), CONTEXT - 1] {
            let mut after = before.clone();
            after[t] = (after[t] + 101) % 256;
            let changed = read(model.forward(bytes(&after, &flex())).unwrap());
            assert_eq!(outputs[..t * 256], changed[..t * 256], "byte {t} of {name}");
            assert_ne!(outputs[t * 256..], changed[t * 256..], "byte {t} of {name}");
        }
    }
}

#[test]
fn a_prefix_has_the_outputs_of_the_whole() {
    for placement in [Placement::Block, Placement::Mixer] {
        let lct = LctConfig { axis: Axis::Sequence, ..LctConfig::default() };
        let config = ModelConfig { placement, lct, ..small() };
        let model = LctGpt::new(&config, &mut Random::new(1), &flex()).unwrap();
        let whole = text(3, CONTEXT);
        let outputs = read(model.forward(bytes(&whole, &flex())).unwrap());
        let prefix = read(model.forward(bytes(&whole[..3], &flex())).unwrap());
        close(&prefix, &outputs[..3 * 256], 1e-6);
    }
}

#[test]
fn variants_have_the_parameters_of_the_baseline() {
    for config in configurations() {
        let wide = ModelConfig { d_model: 64, heads: 4, ..config };
        let baseline = ModelConfig { placement: Placement::None, ..wide.clone() };
        let (found, target) =
            (wide.matched().parameter_count() as f64, baseline.parameter_count() as f64);
        assert!((found / target - 1.0).abs() < 0.01, "{found} and {target}: {wide:?}");
    }
    for config in [small(), ModelConfig { match_parameters: false, ..small() }] {
        let model = LctGpt::new(&config, &mut Random::new(1), &flex()).unwrap();
        assert_eq!(model.num_params(), model.config().parameter_count());
    }
}

/// All gradients, one after the other in the order of the modules.
fn gradients(model: &LctGpt, gradients: &Gradients) -> Vec<(String, Vec<f64>)> {
    struct Visitor<'a> {
        gradients: &'a Gradients,
        found: Vec<(String, Vec<f64>)>,
        path: Vec<String>,
    }
    impl ModuleVisitor for Visitor<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient =
                param.val().grad(self.gradients).expect("every parameter has a gradient");
            self.found.push((self.path.join("."), read(gradient)));
        }
    }
    let mut visitor = Visitor { gradients, found: Vec::new(), path: Vec::new() };
    model.visit(&mut visitor);
    visitor.found
}

#[test]
fn kernels_agree_with_flex() {
    let variants = [
        (Placement::Block, Axis::Channels, ComplexToReal::Projection, ParameterForm::Shear),
        (Placement::Before, Axis::Channels, ComplexToReal::Magnitude, ParameterForm::Lie),
        (Placement::After, Axis::Channels, ComplexToReal::Real, ParameterForm::Angle),
        (Placement::Mixer, Axis::Sequence, ComplexToReal::Projection, ParameterForm::Shear),
    ];
    for (placement, axis, to_real, parameters) in variants {
        // In the place of attention there is none.
        let kernels = if placement == Placement::Mixer { 2 } else { 4 };
        let lct = LctConfig { axis, to_real, parameters, learned: true, ..LctConfig::default() };
        let config = ModelConfig { placement, lct, ..small() };
        let run = |device: &Device| {
            let device = device.clone().autodiff();
            let model = LctGpt::new(&config, &mut Random::new(5), &device).unwrap();
            let (x, y) = (text(6, CONTEXT), text(7, CONTEXT));
            let loss = model.loss(bytes(&x, &device), bytes(&y, &device)).unwrap();
            let value = read(loss.clone().inner());
            (value, gradients(&model, &loss.backward()))
        };
        let (expected, expected_gradients) = run(&flex());
        for device in devices_with_kernels() {
            let (found, found_gradients) =
                by_kernels(&["lct", "lct_vjp", "attention", "attention_vjp"][..kernels], || {
                    run(&device)
                });
            close(&found, &expected, 1e-5);
            for ((name, found), (_, expected)) in found_gradients.iter().zip(&expected_gradients) {
                let largest = expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                assert!(largest.is_finite(), "{name}");
                let worst =
                    found.iter().zip(expected).fold(0.0_f64, |m, (x, y)| m.max((x - y).abs()));
                let most = 1e-4 * largest + 1e-7;
                assert!(worst <= most, "{placement:?} {name}: {worst} of {largest}");
            }
        }
    }
}

#[test]
fn wrong_lengths_are_errors() {
    let model = LctGpt::new(&small(), &mut Random::new(1), &flex()).unwrap();
    assert!(model.forward(bytes(&text(1, CONTEXT + 1), &flex())).is_err());
    for config in [
        ModelConfig { heads: 3, ..small() },
        ModelConfig { layers: 0, ..small() },
        ModelConfig { d_model: 6, heads: 2, ..small() },
        ModelConfig { context: 0, ..small() },
    ] {
        assert!(LctGpt::new(&config, &mut Random::new(1), &flex()).is_err(), "{config:?}");
    }
}
