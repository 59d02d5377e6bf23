//! What a bench leaves behind: a table to read and a JSON file to keep.

use std::{
    collections::BTreeMap,
    env, fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wavecube::Device;

/// The environment variable that names the benches' JSON file.
const FILE: &str = "WAVECUBE_BENCH_JSON";

/// One case on one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// `fft/forward/f32/b16_n4096/wgpu`.
    pub id: String,
    /// The device's name.
    pub device: String,
    /// The relative L2 error against the `f64` reference.
    pub error: f64,
    /// The largest error that passes.
    pub gate: f64,
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
    /// Further peers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Other>,
}

/// A peer beside the first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Other {
    /// Its name.
    pub peer: String,
    /// Its milliseconds.
    pub peer_ms: f64,
    /// Its time over ours.
    pub ratio: f64,
}

impl Record {
    /// Whether the error is within its gate.
    pub fn passes(&self) -> bool {
        self.error <= self.gate
    }
}

/// The table's first line.
pub fn header() -> String {
    format!(
        "{:48} {:>8} {:>8} {:>9} {:>7} {:>7} {:>9} {:>6}",
        "id", "error", "gate", "ms", "GB/s", "copy", "peer ms", "ratio"
    )
}

/// A line of the table.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.2}"));
        write!(
            f,
            "{:48} {:>8.1e} {:>8.1e} {:>9.3} {:>7.2} {:>6.1}% {:>9} {:>6}",
            self.id,
            self.error,
            self.gate,
            self.ms,
            self.bytes as f64 / self.ms / 1e6,
            100.0 * self.copy_fraction,
            number(self.peer_ms),
            number(self.ratio),
        )?;
        for Other { peer, peer_ms, ratio } in &self.others {
            write!(f, "\n  {peer:84} {peer_ms:>9.2} {ratio:>6.2}")?;
        }
        Ok(())
    }
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

/// Merges the records into the benches' JSON file, by id, if one is named.
pub(crate) fn merge(records: &[Record]) -> io::Result<()> {
    let Some(file) = env::var_os(FILE).map(PathBuf::from) else { return Ok(()) };
    let mut all: BTreeMap<String, Record> = match fs::read_to_string(&file) {
        Ok(text) => {
            let old: Vec<Record> = serde_json::from_str(&text)?;
            old.into_iter().map(|record| (record.id.clone(), record)).collect()
        }
        Err(_) => BTreeMap::new(),
    };
    all.extend(records.iter().map(|record| (record.id.clone(), record.clone())));
    write(&file, &all.into_values().collect::<Vec<_>>())
}

/// Writes the records as JSON. The file is replaced whole.
///
/// # Errors
/// If its folder cannot be made, or it cannot be written there.
pub fn write(file: &Path, records: &[Record]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let partial = file.with_extension("partial");
    fs::write(&partial, serde_json::to_string_pretty(records)? + "\n")?;
    fs::rename(&partial, file)
}
