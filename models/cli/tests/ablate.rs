//! Variants side by side: which there are, their table, and those that fail.

use std::{fs, sync::atomic::AtomicBool};

use burn::tensor::Device;
use wavecube_cli::ablate::{self, Grid, Variants, ablate};
use wavecube_models::{
    config::Config,
    data::Corpus,
    layers::{Axis, ComplexToReal},
    lct_gpt::{Placement, Positions},
    presets::Preset,
};

use crate::broken::{config, corpus, message};

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
fn named_models_are_compared_in_one_table() {
    let out = tempfile::tempdir().unwrap();
    let mut base = config();
    (base.resnet_bk.context, base.resnet_bk.d_model, base.resnet_bk.layers) = (16, 16, 5);
    base.train.steps = 2;
    let presets = ["attention", "bk-full"].map(|name| Preset::named(name).unwrap());
    let variants = Variants::of_presets(&base, &presets);
    let mut seen = Vec::new();
    let never = AtomicBool::new(false);
    let table =
        ablate(&variants, &corpus(), &Device::flex(), out.path(), &never, |done, of, row| {
            seen.push((done, of, row.unwrap().labels.join(" ")));
        })
        .unwrap();
    assert_eq!(seen, [(1, 2, "attention".to_owned()), (2, 2, "bk-full".to_owned())]);
    let names: Vec<&str> = table.rows[1].statistics.iter().map(|s| s.name.as_str()).collect();
    for part in ["load of each expert", "experts a token", "steps a position", "share of"] {
        assert!(names.iter().any(|name| name.contains(part)), "{part}: {names:?}");
    }
    assert!(table.rows[0].statistics.is_empty());
    ablate::write(&table, out.path()).unwrap();
    let text = fs::read_to_string(out.path().join("ablation.md")).unwrap();
    assert!(text.contains("| preset | bits/byte") && text.contains("| bk-full |"), "{text}");
}

#[test]
fn a_variant_that_fails_does_not_take_the_others_along() {
    let out = tempfile::tempdir().unwrap();
    let mut good = config();
    good.train.steps = 3;
    let mut bad = good.clone();
    // Infinite in f32.
    bad.train.learning_rate = 1e300;
    let variants = |configs: &[(&str, &Config)]| Variants {
        columns: vec!["rate"],
        variants: configs
            .iter()
            .map(|(name, config)| (vec![(*name).to_owned()], (*config).clone()))
            .collect(),
    };
    let never = AtomicBool::new(false);
    let both = variants(&[("high", &bad), ("low", &good)]);
    let mut seen = Vec::new();
    let table = ablate(&both, &corpus(), &Device::flex(), out.path(), &never, |_, _, row| {
        seen.push(row.is_ok());
    })
    .unwrap();
    assert_eq!((seen, table.rows.len()), (vec![false, true], 1));
    let reason = &table.failures[0].reason;
    assert!(reason.contains("step 2") && reason.contains("NaN"), "{reason}");
    let text = ablate::markdown(&table);
    assert!(text.contains("| high | failed |") && text.contains("high: training failed"), "{text}");
    let none = variants(&[("high", &bad)]);
    let alone = out.path().join("alone");
    let error = message(ablate(&none, &corpus(), &Device::flex(), &alone, &never, |_, _, _| {}));
    assert!(error.contains("variant high") && error.contains("step 2"), "{error}");
    let unseen = Corpus { validation: Vec::new(), ..corpus() };
    let error = message(ablate(&both, &unseen, &Device::flex(), out.path(), &never, |_, _, _| {}));
    assert!(error.contains("data.validation"), "{error}");
}
