//! The demonstration: its configuration, its report, and the table of kernels that it reads.

use std::fs;

use wavecube_cli::demo::{self, KernelRow};
use wavecube_models::config::Config;

#[test]
fn its_configuration_survives_toml() {
    let config = demo::configuration(7);
    assert_eq!(Config::from_toml(&config.to_toml().unwrap()).unwrap(), config);
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
            peak_memory: None,
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
