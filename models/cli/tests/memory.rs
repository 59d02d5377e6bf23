//! The memory that training reports.

use std::{fs, path::Path, process::Command};

use wavecube_cli::display::megabytes;
use wavecube_models::metrics::Record;

/// The records and what was printed of two steps of a model in which states are much and parameters little.
fn trained(out: &Path, checkpointing: bool) -> (Vec<Record>, String) {
    let text = out.join("text.txt");
    fs::write(&text, "the same words in the same order; ".repeat(60)).unwrap();
    let file = out.join("run.toml");
    let config = format!(
        "model = \"byte-spectral\"\n\
         [byte-spectral]\ncontext = 128\nd_model = 16\nlayers = 10\n\
         [data]\nvalidation = 0.2\n\
         [train]\nsteps = 2\nbatch = 8\nlog_every = 1\ngradient_checkpointing = {checkpointing}"
    );
    fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wavecube"))
        .args(["train", "--device", "flex", "--config"])
        .arg(file)
        .arg("--text")
        .arg(text)
        .arg("--out")
        .arg(out.join("run"))
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let records = fs::read(out.join("run/metrics.json")).unwrap();
    (serde_json::from_slice(&records).unwrap(), printed)
}

#[test]
fn a_step_says_what_it_takes_and_takes_less_with_checkpoints() {
    let peak = |checkpointing: bool| {
        let out = tempfile::tempdir().unwrap();
        let (records, printed) = trained(out.path(), checkpointing);
        let peaks: Vec<u64> = records.iter().map(|record| record.peak_memory.unwrap()).collect();
        let largest = *peaks.iter().max().unwrap();
        // In the log, in the last line, in the table.
        assert!(printed.contains(&format!("tokens/s  {}  ETA", megabytes(peaks[0]))), "{printed}");
        assert!(printed.contains(&format!("{} at the peak", megabytes(largest))), "{printed}");
        let table = fs::read_to_string(out.path().join("run/metrics.csv")).unwrap();
        let mut lines = table.lines();
        assert!(lines.next().unwrap().ends_with(",peak_memory_bytes"), "{table}");
        assert!(lines.next().unwrap().ends_with(&format!(",{}", peaks[0])), "{table}");
        largest
    };
    let (kept, again) = (peak(false), peak(true));
    // A state of the network's width, 64 channels, at each of 8 · 128 positions of 10 blocks is 2.6 MB alone, and the
    // program holds less than a tenth of a gigabyte besides.
    assert!((2_600_000..100_000_000).contains(&kept), "{kept} bytes");
    // One block of ten is recorded at a time.
    assert!(2 * again < kept, "{again} of {kept} bytes");
}
