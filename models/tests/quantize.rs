//! Checkpoints in fewer bits: what they keep, what they cost, what they refuse.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use burn::{module::Module as _, tensor::TensorData};
use num_complex::Complex64;
use wavecube_core::quant::{Bits, Clip, Group, PackedWeight, ScaleType, Scheme};
use wavecube_models::{
    checkpoint::Checkpoint,
    config::Config,
    data::Corpus,
    generate::{Sampling, generate},
    lct_gpt::ModelConfig,
    presets::Preset,
    quantize::{Precision, QuantizeOptions, pack, parameter_bytes, unpack},
    train::{RunOptions, Trainer, bits_per_byte, checkpoint_path, run},
};

use crate::support::{
    by_kernels, bytes, devices_with_kernels, flex, preset, read, text, values, weights,
};

pub(crate) fn corpus() -> Corpus {
    let line = "the same words in the same order, again and again; ";
    Corpus::split(line.repeat(80).into_bytes(), 0.2).unwrap()
}

/// A short run of a small model.
pub(crate) fn configured(preset: Preset) -> Config {
    let mut config = Config {
        lct_gpt: ModelConfig { context: 16, d_model: 32, heads: 2, ..ModelConfig::default() },
        ..Config::default()
    };
    config.resnet_bk.context = 16;
    config.resnet_bk.d_model = 32;
    config.byte_spectral.context = 16;
    config.byte_spectral.d_model = 32;
    config.train.batch = 4;
    config.train.steps = 60;
    config.train.warmup = 5;
    config.train.eval_every = 0;
    config.train.checkpoint_every = 0;
    preset.of(&config)
}

/// The checkpoint of a model that has learned a little, in `out`.
pub(crate) fn trained(config: &Config, out: &Path) -> Checkpoint {
    let mut trainer = Trainer::new(config, corpus(), &flex()).unwrap();
    let options = RunOptions { out: out.to_owned(), budget: None };
    run(&mut trainer, &options, &AtomicBool::new(false), |_| {}).unwrap();
    Checkpoint::read(&checkpoint_path(out)).unwrap()
}

/// Bits per byte.
pub(crate) fn needs(checkpoint: &Checkpoint) -> f64 {
    let model = checkpoint.model(&flex()).unwrap().valid();
    bits_per_byte(&model, &corpus().validation, 32, &flex()).unwrap()
}

#[test]
fn models_of_every_kind_in_fewer_bits() {
    for preset in ["attention", "lct-gpt", "bk-experts", "spectral-full"].map(preset) {
        let out = tempfile::tempdir().unwrap();
        let checkpoint = trained(&configured(preset), out.path());
        let before = needs(&checkpoint);
        for (precision, cost, smaller) in [
            (Precision::Uniform(Bits::Eight), 0.01, 2.4),
            (Precision::Mixed, 0.05, 2.7),
            (Precision::Uniform(Bits::Four), 0.05, 3.5),
        ] {
            let options = QuantizeOptions { precision, ..QuantizeOptions::default() };
            let path = out.path().join("small.safetensors");
            let [bytes, packed] = checkpoint.quantize(&path, &options).unwrap();
            assert_eq!(packed as u64, fs::metadata(&path).unwrap().len());
            let ratio = bytes as f64 / packed as f64;
            let small = Checkpoint::read(&path).unwrap();
            let after = needs(&small);
            let changed = after / before - 1.0;
            println!("{preset} {precision:?}: {ratio:.2} times smaller, {before:.3} {after:.3}");
            assert!(changed.abs() <= cost, "{preset} {precision:?}: {before} to {after}");
            assert!(changed != 0.0 && ratio > smaller, "{preset} {precision:?}: {ratio}");
            let model = small.model(&flex()).unwrap().valid();
            let sampling = Sampling { length: 8, ..Sampling::default() };
            assert_eq!(generate(&model, "the ", &sampling, |_| {}).unwrap().len(), 8);
        }
    }
}

#[test]
fn filters_are_coded_by_magnitude_and_phase() {
    let out = tempfile::tempdir().unwrap();
    let checkpoint = trained(&configured(preset("spectral-full")), out.path());
    let path = out.path().join("small.safetensors");
    let filters = |checkpoint: &Checkpoint| {
        let all = weights(&checkpoint.model(&flex()).unwrap().valid());
        let mut names: Vec<_> =
            all.keys().filter_map(|name| name.strip_suffix(".radius")).map(str::to_owned).collect();
        names.sort();
        assert!(!names.is_empty());
        let of = |name: &String, part: &str| {
            all[&format!("{name}.{part}")].iter::<f64>().collect::<Vec<_>>()
        };
        names
            .iter()
            .flat_map(|name| of(name, "radius").into_iter().zip(of(name, "phase")))
            .map(|(radius, phase)| Complex64::from_polar(radius, phase))
            .collect::<Vec<_>>()
    };
    let exact = filters(&checkpoint);
    let norm = |numbers: &[Complex64]| numbers.iter().map(Complex64::norm_sqr).sum::<f64>().sqrt();
    let mut sizes = Vec::new();
    // The errors of normal numbers; filters spread further, and have more of a group's magnitude in a few.
    for (filter_bits, error) in [(8, 0.11), (12, 0.03), (16, 0.008), (0, 0.0)] {
        let options = QuantizeOptions { filter_bits, ..QuantizeOptions::default() };
        let [_, bytes] = checkpoint.quantize(&path, &options).unwrap();
        sizes.push(bytes);
        let found = filters(&Checkpoint::read(&path).unwrap());
        let lost: Vec<_> = found.iter().zip(&exact).map(|(a, b)| a - b).collect();
        let lost = norm(&lost) / norm(&exact);
        println!("{filter_bits} bits: {bytes} bytes, {lost:.4}");
        assert!(
            lost <= error && (filter_bits == 0 || lost > error / 10.0),
            "{filter_bits}: {lost}"
        );
    }
    assert!(sizes.is_sorted());
    let saved = sizes[3] - sizes[1];
    // Of 8 bytes 6.5 are saved; names and levels take their part of so few numbers.
    assert!(saved > exact.len() * 4, "{sizes:?} for {} numbers", exact.len());
}

/// Maps, the experts' stacks and the embedding; of experts the few rows of generation, and the many of an evaluation.
#[test]
fn a_device_with_kernels_keeps_codes() {
    let presets = || ["attention", "bk-experts", "spectral-plain"].map(preset);
    let cases = devices_with_kernels().into_iter();
    for (device, preset) in
        cases.flat_map(|device| presets().map(|preset| (device.clone(), preset)))
    {
        let out = tempfile::tempdir().unwrap();
        let mut config = configured(preset);
        config.resnet_bk.experts.tile = 4;
        let checkpoint = trained(&config, out.path());
        let path = out.path().join("small.safetensors");
        // Filters of numbers, which differ between devices by nothing.
        let options = QuantizeOptions { filter_bits: 0, ..QuantizeOptions::default() };
        checkpoint.quantize(&path, &options).unwrap();
        let small = Checkpoint::read(&path).unwrap();
        let devices = [flex(), device];
        let models = devices.each_ref().map(|device| small.model(device).unwrap().valid());
        // What the codes stand for is exactly what flex has.
        let [expected, found] = models.clone().map(|model| weights(&model.materialize()));
        assert_eq!(found.len(), expected.len());
        for (name, values) in &expected {
            assert!(found[name] == *values, "{name}");
        }
        // Of what is packed 5.5 bits of 32 are left.
        let packed = |(name, values): (&String, &TensorData)| {
            let (name, shape) = (format!("model.{name}"), values.shape().to_vec());
            let zeros = vec![0.0; shape.iter().product()];
            let packs = pack([(name.as_str(), &shape[..], &zeros[..])], &options).unwrap();
            if packs.is_empty() { 0 } else { 4 * zeros.len() }
        };
        let packed: usize = expected.iter().map(packed).sum();
        let [before, after] = models.each_ref().map(parameter_bytes);
        println!("{preset}: {before} bytes of numbers, {after} with {packed} of them as codes");
        assert!((after - (before - packed)) * 5 < packed, "{before} {after} {packed}");
        let logits =
            |i: usize| read(models[i].next_logits(bytes(&text(7, 9), &devices[i])).unwrap());
        let [expected, found] = [logits(0), by_kernels(&["qmatmul"], || logits(1))];
        let off = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let size = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        assert!(off < 1e-4 * size, "{preset}: logits of {size} differ by {off}");
        let greedy = Sampling { length: 12, temperature: 0.0, ..Sampling::default() };
        let [text, again] =
            models.each_ref().map(|model| generate(model, "the same ", &greedy, |_| {}).unwrap());
        println!("{text:?}");
        assert_eq!(text, again);
        let [bits, again] = [0, 1]
            .map(|i| bits_per_byte(&models[i], &corpus().validation, 16, &devices[i]).unwrap());
        assert!((bits - again).abs() < 1e-3 * bits, "{preset}: {bits} and {again}");
    }
}

#[test]
fn maps_are_packed_output_by_output_and_vectors_are_not() {
    let (map, vector) = (values(40 * 24, 3), values(24, 4));
    let [map, vector] =
        [map, vector].map(|all| all.iter().map(|&v| v as f32).collect::<Vec<f32>>());
    let parameters = [
        ("model.blocks.0.mlp.up.weight", &[40, 24][..], &map[..]),
        ("model.norm.gamma", &[24], &vector),
        ("model.blocks.0.mixer.radius", &[40, 24], &map),
    ];
    let packed = pack(parameters, &QuantizeOptions::default()).unwrap();
    assert_eq!(packed.len(), 1);
    let (name, weight) = &packed[0];
    assert_eq!((name.as_str(), weight.shape()), ("model.blocks.0.mlp.up.weight", [24, 40]));
    let scheme =
        Scheme { bits: Bits::Four, symmetric: false, group: Group::Of32, scale: ScaleType::F16 };
    let rows: Vec<f32> =
        (0..24).flat_map(|o| (0..40).map(move |i| (i, o))).map(|(i, o)| map[i * 24 + o]).collect();
    let expected = PackedWeight::quantize(&rows, [24, 40], scheme, Clip::Search).unwrap();
    assert_eq!(*weight, expected);
    let back = unpack(name, weight, &[40, 24]).unwrap();
    let rounded = expected.dequantize();
    assert!((0..40 * 24).all(|at| back[at] == rounded[at % 24 * 40 + at / 24]));
    assert!(unpack(name, weight, &[24, 40]).is_err());
}

#[test]
fn quantised_checkpoints_are_for_generation() {
    let out = tempfile::tempdir().unwrap();
    let config = configured(preset("attention"));
    let checkpoint = trained(&config, out.path());
    let path = out.path().join("small.safetensors");
    checkpoint.quantize(&path, &QuantizeOptions::default()).unwrap();
    let small = Checkpoint::read(&path).unwrap();
    let refused = small.quantize(&path, &QuantizeOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("quantised already"), "{refused}");
    let Err(refused) = Trainer::resume(&path, &config, corpus(), &flex()) else {
        panic!("a quantised checkpoint resumed")
    };
    assert!(refused.to_string().contains("is quantised"), "{refused}");
    // Cut short, it is damaged and says so.
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let Err(damaged) = Checkpoint::read(&path) else { panic!("half a checkpoint was read") };
    assert!(damaged.to_string().contains("damaged"), "{damaged}");
}
