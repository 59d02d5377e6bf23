//! SwiftShader, a second Vulkan driver that runs in software: what passes on Mesa's and on this one stands on neither's
//! habits. It has `f32` only, planes of 4, 256 units a cube and ten storage buffers.
//!
//! Debian ships it with Chromium. Two files of that package are enough, unpacked into the cache folder: nothing is
//! installed, and no root is needed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};

use super::{
    Missing, apt,
    cache::{self, staged},
};
use crate::shell::{has, run, say};

/// The package, and the folder in it.
const PACKAGE: &str = "chromium-common";
const INSTALLED: &str = "usr/lib/chromium";
/// What the Vulkan loader reads, and the driver beside it.
const FILES: [&str; 2] = ["vk_swiftshader_icd.json", "libvk_swiftshader.so"];

/// The driver's file for the Vulkan loader's `VK_DRIVER_FILES`.
pub(crate) fn provide() -> Result<PathBuf, Missing> {
    let cached = cache::folder()
        .map(|folder| folder.join("swiftshader"))
        .map_err(|error| format!("SwiftShader: {error:#}"))?;
    let there = |folder: &Path| FILES.iter().all(|file| folder.join(file).is_file());
    for folder in [&Path::new("/").join(INSTALLED), &cached] {
        if there(folder) {
            say("setup", &format!("SwiftShader: {}", folder.display()));
            return Ok(folder.join(FILES[0]));
        }
    }
    let why = "the second Vulkan driver, SwiftShader, is missing";
    if !["apt-get", "dpkg-deb"].into_iter().all(has) {
        return Err(format!(
            "{why}, and this system has no apt-get. It comes with Chromium as {}: please put the two \
             into {}.",
            FILES.join(" and "),
            cached.display()
        ));
    }
    let offered = apt::offers(PACKAGE) || apt::refresh() && apt::offers(PACKAGE);
    if !offered {
        return Err(format!(
            "{why}, and no package {PACKAGE} is known here. On Debian please run this one command, then \
             the same xtask command again:\n\n  sudo apt-get update"
        ));
    }
    say("setup", &format!("{why}: fetching it from {PACKAGE}"));
    staged(&cached, fetch)
        .map(|()| cached.join(FILES[0]))
        .map_err(|error| format!("{why}, and {PACKAGE} could not be fetched: {error:#}"))
}

/// Downloads the package into the folder and leaves the two files there.
fn fetch(staging: &Path) -> Result<()> {
    // As root apt fetches under another user, whom the cache folder does not let in.
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", "--option", "APT::Sandbox::User=root", PACKAGE]);
    run(download.current_dir(staging))?;
    let package = fs::read_dir(staging)
        .context("the download has no folder")?
        .flatten()
        .map(|entry| entry.path())
        .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| anyhow!("apt-get downloaded no package"))?;
    let unpacked = staging.join("unpacked");
    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&unpacked))?;
    for file in FILES {
        fs::rename(unpacked.join(INSTALLED).join(file), staging.join(file))
            .with_context(|| format!("{PACKAGE} for {} holds no {file}", env::consts::ARCH))?;
    }
    fs::remove_dir_all(&unpacked).context("cannot clear what was unpacked")?;
    fs::remove_file(&package).context("cannot clear the download")
}
