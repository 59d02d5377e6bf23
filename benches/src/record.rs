//! What a bench leaves behind: a table to read and a JSON file to keep.

use std::{collections::BTreeMap, env, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use wavecube::Device;

/// The environment variable that names the JSON file.
const FILE: &str = "WAVECUBE_BENCH_JSON";

/// One case on one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// `fft/forward/f32/b16_n4096/wgpu`.
    pub id: String,
    /// The device's name.
    pub device: String,
    /// Milliseconds of one call, the median.
    pub ms: f64,
    /// Bytes that must move at least.
    pub bytes: usize,
    /// Those bytes a second, as a fraction of the copy's.
    pub copy_fraction: f64,
    /// The peer, where there is one.
    pub peer: Option<String>,
    /// Its milliseconds.
    pub peer_ms: Option<f64>,
    /// Its time over ours: above 1 we are faster.
    pub ratio: Option<f64>,
}

/// The runtime's part of a bench id.
pub(crate) fn runtime(device: &Device) -> &'static str {
    let name = device.name();
    ["Cuda", "Hip", "Metal", "Wgpu", "Cpu"]
        .into_iter()
        .zip(["cuda", "hip", "metal", "wgpu", "cpu"])
        .find(|(prefix, _)| name.starts_with(prefix))
        .map_or("device", |(_, id)| id)
}

/// Prints the table.
pub(crate) fn print(records: &[Record]) {
    println!("{:44} {:>10} {:>7} {:>10} {:>7}", "id", "ms", "copy", "peer ms", "ratio");
    for record in records {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.2}"));
        println!(
            "{:44} {:>10.3} {:>6.1}% {:>10} {:>7}",
            record.id,
            record.ms,
            100.0 * record.copy_fraction,
            number(record.peer_ms),
            number(record.ratio),
        );
    }
}

/// Merges the records into the JSON file, by id, if one is named. The file is replaced whole.
pub(crate) fn write(records: &[Record]) -> io::Result<()> {
    let Some(file) = env::var_os(FILE).map(PathBuf::from) else { return Ok(()) };
    let mut all: BTreeMap<String, Record> = match fs::read_to_string(&file) {
        Ok(text) => {
            let old: Vec<Record> = serde_json::from_str(&text)?;
            old.into_iter().map(|record| (record.id.clone(), record)).collect()
        }
        Err(_) => BTreeMap::new(),
    };
    all.extend(records.iter().map(|record| (record.id.clone(), record.clone())));
    let text = serde_json::to_string_pretty(&all.into_values().collect::<Vec<_>>())?;
    let partial = file.with_extension("partial");
    fs::write(&partial, text + "\n")?;
    fs::rename(&partial, &file)
}
