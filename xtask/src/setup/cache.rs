//! The folder for what is fetched and unpacked, never committed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// `$XDG_CACHE_HOME/wavecube` or its usual place.
pub(super) fn folder() -> Result<PathBuf> {
    let home = || env::var_os("HOME").or_else(|| env::var_os("USERPROFILE")).map(PathBuf::from);
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| home().map(|home| home.join(".cache")))
        .context("neither HOME nor XDG_CACHE_HOME is set")?;
    Ok(base.join("wavecube"))
}

/// Fills a folder of the cache: one beside it, then renamed, so that an interrupted run leaves nothing half done.
pub(super) fn staged(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = folder.parent().context("the cache folder has no parent")?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let staging = parent.join(format!(".{name}-{}", std::process::id()));
    fs::create_dir_all(&staging).with_context(|| format!("cannot make {}", staging.display()))?;
    let result = fill(&staging).and_then(|()| {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        fs::rename(&staging, folder)
            .with_context(|| format!("cannot move into {}", folder.display()))
    });
    if staging.exists() {
        // What is left of a failure; the failure itself is what the user should read.
        let _ = fs::remove_dir_all(&staging);
    }
    result
}
