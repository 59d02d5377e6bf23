//! Training for fewer bits: what the forward pass sees, what its gradient is, what it is good for.

use std::{collections::HashMap, path::Path, sync::atomic::AtomicBool};

use burn::{
    module::{Module as _, ModuleMapper, Param},
    tensor::{FloatDType, Tensor},
};
use wavecube_models::{
    checkpoint::Checkpoint,
    config::Config,
    model::Model,
    quantize::QuantizeOptions,
    quantize_aware::QuantizeAware,
    train::{RunOptions, Trainer, checkpoint_path, run},
    training_view::training_view,
};

use crate::{
    quantize::{configured, corpus, needs, trained},
    support::{bytes, close, flex, gradients, preset, read, text},
};

/// The loss on some bytes, and its gradient by every parameter.
fn loss(model: &Model) -> (f64, HashMap<String, Vec<f64>>) {
    let device = flex().autodiff();
    let text = text(7, 13);
    let loss = model.loss(bytes(&text[..12], &device), bytes(&text[1..], &device)).unwrap();
    let by = gradients(model, &loss.backward());
    (read(Tensor::<1>::from_inner(loss.inner()))[0], by)
}

#[test]
fn the_gradient_passes_straight_through() {
    let device = flex().autodiff();
    for preset in ["attention", "bk-experts"].map(preset) {
        let out = tempfile::tempdir().unwrap();
        let mut config = configured(preset);
        config.train.steps = 5;
        let checkpoint = trained(&config, out.path());
        let options = QuantizeOptions::default();
        let path = out.path().join("small.safetensors");
        checkpoint.quantize(&path, &options).unwrap();
        let model = checkpoint.model(&device).unwrap();
        let (value, by) = loss(&training_view(&model, Some(&options), FloatDType::F32).unwrap());
        // A model of the numbers that the codes stand for: its gradient, taken by them.
        let (expected, by_codes) = loss(&Checkpoint::read(&path).unwrap().model(&device).unwrap());
        let (of_numbers, _) = loss(&model);
        assert!((value - expected).abs() < 1e-5, "{preset}: {value} instead of {expected}");
        assert!((of_numbers - expected).abs() > 1e-4, "{preset}: rounding changed nothing");
        assert_eq!(by.len(), by_codes.len());
        for (name, gradient) in &by_codes {
            println!("{preset} {name}");
            close(&by[name], gradient, 1e-4);
        }
    }
}

/// Bits per byte before and after its weights have four bits, of a model that is trained on from a checkpoint.
fn of_four_bits(mut config: Config, begun: &Path, quantize_aware: QuantizeAware) -> [f64; 2] {
    config.train.steps *= 2;
    config.train.quantize_aware = quantize_aware;
    let out = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::resume(&checkpoint_path(begun), &config, corpus(), &flex()).unwrap();
    let options = RunOptions { out: out.path().to_owned(), budget: None };
    run(&mut trainer, &options, &AtomicBool::new(false), |_| {}).unwrap();
    let checkpoint = Checkpoint::read(&checkpoint_path(out.path())).unwrap();
    let path = out.path().join("small.safetensors");
    checkpoint.quantize(&path, &QuantizeOptions::default()).unwrap();
    [needs(&checkpoint), needs(&Checkpoint::read(&path).unwrap())]
}

#[test]
fn models_trained_for_four_bits_lose_little_by_them() {
    for preset in ["attention", "bk-experts"].map(preset) {
        // In the mean of four: what one short training ends at differs by a fifth of what rounding costs.
        let mut means = [[0.0; 2]; 2];
        for seed in 1..=4 {
            let begun = tempfile::tempdir().unwrap();
            let mut config = configured(preset);
            config.train.seed = seed;
            trained(&config, begun.path());
            // The same steps from the same checkpoint, without rounding and with it.
            for (mean, quantize_aware) in
                means.iter_mut().zip([QuantizeAware::None, QuantizeAware::W4])
            {
                let found = of_four_bits(config.clone(), begun.path(), quantize_aware);
                println!("{preset} {seed}: {quantize_aware:?} {found:.4?}");
                mean.iter_mut().zip(found).for_each(|(mean, found)| *mean += found / 4.0);
            }
        }
        let [plain, aware] = means;
        println!("{preset}: before and after {plain:.4?}, trained for it {aware:.4?}");
        let cost = plain[1] - plain[0];
        assert!(aware[1] - aware[0] < cost / 4.0, "{preset}: {aware:?} against {plain:?}");
        assert!(aware[1] < plain[1] + cost / 4.0, "{preset}: {} against {}", aware[1], plain[1]);
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let mut config = configured(preset("attention"));
    config.train.steps = 1;
    let out = tempfile::tempdir().unwrap();
    let model = trained(&config, out.path()).model(&flex()).unwrap();
    struct Spoil;
    impl ModuleMapper for Spoil {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|old| old / 0.0)
        }
    }
    let (spoilt, options) = (model.map(&mut Spoil), QuantizeOptions::default());
    let refused = training_view(&spoilt, Some(&options), FloatDType::F32).unwrap_err();
    assert!(format!("{refused:#}").contains("LctGpt.embedding"), "{refused:#}");
}
