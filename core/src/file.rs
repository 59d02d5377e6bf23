//! Files that are whole or not there.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
};

/// Writes `bytes` beside `path` and renames them over it: whoever reads `path` sees what it was, or all of the bytes.
///
/// # Errors
/// Those of the file system; `path` is then as it was, and nothing is left beside it.
///
/// ```
/// use wavecube_core::file::replace;
/// let path = std::env::temp_dir().join(format!("wavecube-{}.txt", std::process::id()));
/// replace(&path, b"whole")?;
/// assert_eq!(std::fs::read(&path)?, b"whole");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.partial", process::id()));
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // On a full disk the half that was written would stay in the way; if it cannot be removed, the
        // first error still says more.
        let _ = fs::remove_file(&beside);
    })
}
