//! Text that every Rust machine has: the sources of the dependencies in Cargo's registry.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use wavecube_models::data::sorted_entries;

/// Rust sources, file after file.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The text.
    pub bytes: Vec<u8>,
    /// How many packages it is from.
    pub packages: usize,
}

/// No package gives more than this, so that one that is mostly generated code cannot drown the rest.
const PACKAGE_BYTES: usize = 128 << 10;

/// The directory of the packages that Cargo has unpacked on this machine.
fn registry() -> Result<PathBuf> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()
            .context("no home directory, so Cargo's registry cannot be found; give --text FILE")?
            .join(".cargo"),
    };
    Ok(home.join("registry").join("src"))
}

/// At most `limit` bytes of the Rust files under `src` of the packages in Cargo's registry.
///
/// The packages come in an order that their names alone decide and that is not alphabetical, so the
/// text that is held out at the end is not the letter z.
///
/// # Errors
///
/// When Cargo has no sources on this machine.
pub fn cargo_sources(limit: usize) -> Result<Sources> {
    let root = registry()?;
    let missing = || {
        format!(
            "there are no package sources in {}; build something with dependencies first, or give \
             --text FILE",
            root.display()
        )
    };
    let mut packages = Vec::new();
    for index in sorted_entries(&root).with_context(missing)? {
        if index.is_dir() {
            packages.extend(sorted_entries(&index)?);
        }
    }
    packages.sort_by_cached_key(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        (scramble(name.as_deref().unwrap_or_default().as_bytes()), name)
    });
    let mut bytes = Vec::new();
    let mut used = 0;
    for package in packages {
        if bytes.len() >= limit {
            break;
        }
        let before = bytes.len();
        let end = limit.min(before + PACKAGE_BYTES);
        rust_files(&package.join("src"), end, &mut bytes)?;
        used += usize::from(bytes.len() > before);
    }
    ensure!(!bytes.is_empty(), "{}", missing());
    Ok(Sources { bytes, packages: used })
}

/// FNV-1a.
fn scramble(name: &[u8]) -> u64 {
    name.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

fn rust_files(directory: &Path, end: usize, bytes: &mut Vec<u8>) -> Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    for path in sorted_entries(directory)? {
        if bytes.len() >= end {
            break;
        }
        if path.is_dir() {
            rust_files(&path, end, bytes)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            bytes.extend_from_slice(&text[..text.len().min(end - bytes.len())]);
        }
    }
    Ok(())
}

/// One line about the text.
pub fn describe_sources(sources: &Sources) -> String {
    format!(
        "{:.1} MB of Rust sources from {} packages in Cargo's registry",
        sources.bytes.len() as f64 / 1e6,
        sources.packages
    )
}
