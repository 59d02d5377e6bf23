//! What a user can get wrong: configurations, texts, devices. Each is an error that says what to do.

use std::fs;

use wavecube_models::{
    ablate::Grid,
    config::{Config, DataConfig},
    data::Corpus,
    demo::{self, KernelRow},
    device::{DeviceChoice, select},
    layers::{Axis, ComplexToReal},
    lct_gpt::{Placement, Positions},
    presets::Preset,
    train::Trainer,
};

use crate::support::flex;

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
        ("[lct-gpt", "TOML"),
    ] {
        let message = message(toml);
        assert!(message.contains(expected), "{toml}: {message}");
    }
    let missing = Config::from_file("no/such/run.toml".as_ref()).unwrap_err();
    assert!(format!("{missing:#}").contains("no/such/run.toml"));
}

#[test]
fn a_configuration_survives_toml() {
    assert_eq!(Config::from_toml("").unwrap(), Config::default());
    let config = demo::configuration(7);
    assert_eq!(Config::from_toml(&config.to_toml().unwrap()).unwrap(), config);
}

#[test]
fn presets_are_configurations() {
    let mut base = Config::default();
    base.resnet_bk.layers = 5;
    base.train.steps = 7;
    for preset in Preset::ALL {
        let config = preset.of(&base);
        config.validate().unwrap();
        assert_eq!(config.train, base.train);
        assert_eq!(Config::from_toml(&config.to_toml().unwrap()).unwrap(), config);
    }
    // Each is another model than the ones before it.
    let all = Preset::ALL.map(|preset| preset.of(&base));
    for (index, config) in all.iter().enumerate() {
        assert!(!all[..index].contains(config), "{:?}", Preset::ALL[index]);
    }
    // Two layers have no room for a halving on either side.
    let refused = Preset::BkScales.of(&Config::default()).validate().unwrap_err();
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

#[test]
fn a_grid_has_every_distinct_combination_once() {
    let grid = Grid {
        placements: vec![Placement::None, Placement::Block],
        axes: vec![Axis::Channels, Axis::Sequence],
        to_real: vec![ComplexToReal::Projection, ComplexToReal::Real],
        learned: vec![false, true],
        positions: vec![Positions::Rope],
        epsilons: vec![1e-3, 1e-1],
    };
    // The baseline once; 2 axes × 2 ways × (fixed + learned at 2 limits).
    assert_eq!(grid.variants(&Config::default()).variants.len(), 1 + 2 * 2 * 3);
}

#[test]
fn the_report_is_one_page_without_references() {
    let mut report = demo::Report {
        date: "2000-01-01".to_owned(),
        commit: None,
        device: "flex <one>".to_owned(),
        text: "a & b".to_owned(),
        bytes: [10, 1],
        entropy: wavecube_models::data::Entropy { order0: 4.5, order1: 3.5, bigram_held_out: 3.6 },
        bits_per_byte: 2.5,
        beats_order1: true,
        seconds: 1.0,
        steps: 2,
        tokens_per_second: 3.0,
        parameters: 4,
        degenerate_hits: 0,
        config: Config::default(),
        records: vec![wavecube_models::metrics::Record {
            step: 2,
            train_bpb: 2.6,
            validation_bpb: Some(2.5),
            learning_rate: 1e-3,
            gradient_norm: 1.0,
            bytes_per_second: 3.0,
            seconds: 1.0,
        }],
        prompt: "fn ".to_owned(),
        sample: "<script>".to_owned(),
        kernels: vec![KernelRow {
            id: "fft/forward".to_owned(),
            device: "flex".to_owned(),
            error: 1e-7,
            gate: 1e-6,
            ms: 2.0,
            bytes: 3_000_000,
            copy_fraction: 0.5,
        }],
    };
    let page = demo::html(&report);
    assert!(page.contains("flex &lt;one&gt;") && page.contains("&lt;script&gt;"));
    assert!(page.contains("order 1: 3.500") && page.contains("<polyline"));
    assert!(!page.contains("http") && !page.contains("src="), "nothing is fetched");
    assert!(page.contains("1.0e-7") && page.contains("<td class=\"n\">1.50</td>"));
    report.kernels.clear();
    assert!(demo::html(&report).contains("None were measured"));
}

#[test]
fn a_kernel_table_is_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernels.json");
    let refused = || format!("{:#}", demo::read_kernels(&path).unwrap_err());
    let missing = refused();
    assert!(missing.contains("kernels.json") && missing.contains("wavecube-check"), "{missing}");
    for (text, expected) in [
        ("", "not a table"),
        ("{}", "not a table"),
        (r#"[{"id": "fft/forward", "device": "flex"}]"#, "missing field"),
        // JSON has no NaN: an error that is none becomes null.
        (
            r#"[{"id": "a", "device": "b", "error": null, "gate": 1, "ms": 1, "bytes": 1,
                "copy_fraction": 1}]"#,
            "not a table",
        ),
        ("[]", "no operation"),
    ] {
        fs::write(&path, text).unwrap();
        let message = refused();
        assert!(message.contains(expected) && message.contains("kernels.json"), "{message}");
    }
    let row = r#"[{"id": "a", "device": "b", "error": 1e-7, "gate": 1e-6, "ms": 2, "bytes": 8,
        "copy_fraction": 0.5, "peer": null, "peer_ms": null, "ratio": null}]"#;
    fs::write(&path, row).unwrap();
    assert_eq!(demo::read_kernels(&path).unwrap()[0].bytes, 8);
}
