//! Files that are written whole or not at all.

use std::{fs, io, path::Path};

use wavecube_core::file;

use crate::error::{Attempt as _, Result};

/// Writes `bytes` beside `path` and renames them over it.
///
/// # Errors
///
/// When the directory cannot be made or the file not written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let describe = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).attempting(describe)?;
    }
    file::replace(path, bytes).attempting(describe)
}

/// Makes a directory and shows that a file can be written there, before anything is spent on what will be
/// written.
///
/// # Errors
///
/// When it cannot.
pub fn claim_directory(directory: &Path) -> Result<()> {
    let attempt = || {
        if directory.exists() && !directory.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        fs::create_dir_all(directory)?;
        let probe = directory.join(".writable");
        fs::write(&probe, b"wavecube")?;
        fs::remove_file(probe)
    };
    attempt().attempting(|| {
        format!(
            "cannot write into the directory {}; name another one with --out",
            directory.display()
        )
    })
}
