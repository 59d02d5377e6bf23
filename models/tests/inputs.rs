//! What a user can get wrong: configurations, texts, devices. Each is an error that says what to do.

use std::fs;

use wavecube_models::{
    config::{Config, DataConfig},
    core_config::CoreConfig,
    data::Corpus,
    device::{DeviceChoice, select},
    error::{Error, TextFault},
    model::{Architecture, Model},
    presets::Preset,
    random::Random,
    train::Trainer,
};

use crate::support::{flex, preset};

fn message(toml: &str) -> String {
    match Config::from_toml(toml) {
        Ok(_) => panic!("accepted: {toml}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_configuration_names_the_key_that_is_wrong() {
    for (toml, expected) in [
        ("[lct-gpt]\nd_modell = 3", "d_modell"),
        ("[modell]\n", "modell"),
        ("[train]\nsteps = 0", "train.steps"),
        ("[train]\nsteps = -1", "steps"),
        ("[train]\nlearning_rate = \"high\"", "learning_rate"),
        ("[train]\nlearning_rate = 0.0", "train.learning_rate"),
        ("[train]\nbeta2 = 1.0", "train.beta2"),
        ("[data]\nvalidation = 1.5", "data.validation"),
        ("[data]\nvalidation = 1.0", "data.validation"),
        ("[data]\nvalidation = -0.1", "data.validation"),
        ("[data]\nvalidation = nan", "data.validation"),
        ("[lct-gpt]\nplacement = \"inside\"", "inside"),
        ("[lct-gpt]\nheads = 5", "lct-gpt.heads"),
        ("[lct-gpt.lct]\naxis = \"sequence\"\nform = \"two-sided\"", "sees the future"),
        ("[lct-gpt.lct]\nepsilon = 0.0", "epsilon"),
        ("model = 3", "model"),
        ("model = \"gpt\"", "resnet-bk"),
        ("model = \"resnet-bk\"\n[resnet-bk]\nscales = 1", "2 · resnet-bk.scales + 1"),
        ("model = \"resnet-bk\"\n[resnet-bk.mixer]\nform = \"two-sided\"", "sees the future"),
        ("model = \"resnet-bk\"\n[resnet-bk.mixer]\ngrad_blend = 2.0", "grad_blend"),
        ("model = \"resnet-bk\"\n[resnet-bk.experts]\ncount = 2\ntop_k = 3", "experts.top_k"),
        ("model = \"resnet-bk\"\n[resnet-bk.halting]\nsteps = 0", "halting.steps"),
        ("model = \"resnet-bk\"\n[resnet-bk.exits]\nconfidence = 0.0", "confidence"),
        // Keys that all models have, and those that one has, are refused alike.
        ("[resnet-bk]\ncontexts = 3", "`contexts`"),
        ("[byte-spectral]\nheads = 3", "`heads`"),
        ("[byte-spectral]\nd_model = \"wide\"", "d_model"),
        ("[lct-gpt", "TOML"),
    ] {
        let message = message(toml);
        assert!(message.contains(expected), "{toml}: {message}");
    }
    let missing = Config::from_file("no/such/run.toml".as_ref()).unwrap_err();
    assert!(format!("{missing:#}").contains("no/such/run.toml"));
}

#[test]
fn every_key_has_a_default() {
    assert_eq!(Config::from_toml("").unwrap(), Config::default());
}

/// The registry: a model is named as its table is, and its sizes are those of its table.
#[test]
fn every_model_has_a_table() {
    let written = Config::default().to_toml().unwrap();
    for &model in Architecture::ALL {
        let key = model.key();
        assert!(written.contains(&format!("\n[{key}]\n")), "{key}: {written}");
        let config = Config::from_toml(&format!("model = \"{key}\"\n[{key}]\ncontext = 7"));
        let config = config.unwrap();
        assert_eq!((config.model, config.context()), (model, 7));
        let wide = config.clone().with_every_core(|core| CoreConfig { d_model: 24, ..core });
        assert_eq!(wide.core(), CoreConfig { d_model: 24, ..config.core() });
        let built = Model::new(&wide, &mut Random::new(1), &flex()).unwrap();
        assert_eq!(built.context(), 7);
        let empty = message(&format!("model = \"{key}\"\n[{key}]\nlayers = 0"));
        assert!(empty.contains(&format!("[{key}]")) && empty.contains("`layers`"), "{empty}");
    }
}

#[test]
fn presets_are_configurations() {
    let mut base = Config::default();
    base.resnet_bk.layers = 5;
    base.train.steps = 7;
    for preset in Preset::all() {
        let config = preset.of(&base);
        config.validate().unwrap();
        assert_eq!(config.train, base.train);
        assert_eq!(Config::from_toml(&config.to_toml().unwrap()).unwrap(), config);
    }
    // Each is another model than the ones before it.
    let presets = Preset::all();
    let all: Vec<_> = presets.iter().map(|preset| preset.of(&base)).collect();
    for (index, config) in all.iter().enumerate() {
        assert!(!all[..index].contains(config), "{}", presets[index]);
    }
    // Two layers have no room for a halving on either side.
    let refused = preset("bk-scales").of(&Config::default()).validate().unwrap_err();
    assert!(format!("{refused:#}").contains("scales"), "{refused:#}");
}

#[test]
fn texts_that_cannot_be_used_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let read = |text: Vec<std::path::PathBuf>| {
        Corpus::read(&DataConfig { text, ..DataConfig::default() })
            .map_err(|error| format!("{error:#}"))
    };
    assert!(read(vec![]).unwrap_err().contains("--text"));
    assert!(read(vec!["no/such/text".into()]).unwrap_err().contains("no/such/text"));
    assert!(read(vec![file("empty", b"")]).unwrap_err().contains("empty"));
    assert!(read(vec![file("tiny", b"abc")]).unwrap_err().contains("too few"));

    let nested = directory.path().join("nested");
    fs::create_dir(&nested).unwrap();
    assert!(read(vec![nested.clone()]).unwrap_err().contains("empty"));
    fs::write(nested.join("b"), [b'b'; 50]).unwrap();
    fs::write(nested.join("a"), [b'a'; 50]).unwrap();
    let corpus = read(vec![nested]).unwrap();
    assert_eq!((corpus.train.len(), corpus.validation.len()), (90, 10));
    assert!(corpus.train.starts_with(&[b'a'; 50]), "directories are read in sorted order");
    let Err(error) = Trainer::new(&Config::default(), corpus, &flex()) else {
        panic!("a text shorter than the context was accepted");
    };
    assert!(error.to_string().contains("shorter context"), "{error:#}");
}

/// What a program that links the library goes by; `{}` is the error alone, `{:#}` its causes too.
#[test]
fn errors_are_values() {
    let refused = Config::from_toml("[train]\nsteps = 0").unwrap_err();
    assert!(matches!(refused, Error::Value { name: "train.steps", .. }), "{refused:?}");
    let refused = Config::from_toml("[train]\nstep = 1").unwrap_err();
    assert!(matches!(refused, Error::Toml(_)), "{refused:?}");
    let refused = Corpus::read(&DataConfig::default()).unwrap_err();
    assert!(matches!(refused, Error::Text(TextFault::Missing)), "{refused:?}");
    let refused = Config::from_toml("[lct-gpt]\nheads = 0").unwrap_err();
    assert_eq!(refused.to_string(), "in [lct-gpt]");
    assert!(format!("{refused:#}").starts_with("in [lct-gpt]: lct-gpt: "), "{refused:#}");
    let Error::Within { cause, .. } = refused else { panic!("{refused:?}") };
    assert!(matches!(*cause, Error::Operation(wavecube_core::Error::Length { .. })), "{cause:?}");
}

#[test]
fn devices_are_named_or_refused() {
    assert!("gpu".parse::<DeviceChoice>().unwrap_err().to_string().contains("wgpu"));
    let chosen = select(DeviceChoice::Auto).unwrap();
    assert!(!chosen.name.is_empty() && !chosen.reason.is_empty());
    assert!(select(DeviceChoice::Flex).unwrap().name.starts_with("flex"));
    if !cfg!(feature = "cuda") {
        assert!(select(DeviceChoice::Cuda).unwrap_err().to_string().contains("--features cuda"));
    }
}
