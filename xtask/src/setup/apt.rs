//! Debian's and Ubuntu's packages.

use std::{fs, process::Command};

use super::Missing;
use crate::shell::{has, output_of, run, say};

/// Installs packages, or says why it cannot and which command would.
pub(super) fn install(packages: &[&str], why: &str) -> Result<(), Missing> {
    if !has("apt-get") {
        return Err(format!(
            "{why}, and this system has no apt-get. Please install what Debian calls `{}` with \
             your own package manager, then run the same command again.",
            packages.join(" ")
        ));
    }
    if !is_root() {
        return Err(format!(
            "{why}. Please run this one command, then the same xtask command again:\n\n  \
             sudo sh -c 'apt-get update && apt-get install --yes --no-install-recommends {}'",
            packages.join(" ")
        ));
    }
    say("setup", &format!("{why}: installing {}", packages.join(" ")));
    if lists_are_empty() {
        update()?;
    }
    let install = || run(apt_get("install").arg("--no-install-recommends").args(packages));
    // Old lists name versions that the archive no longer has: refresh them and try once more.
    install()
        .or_else(|_| update().and_then(|()| install().map_err(|e| e.to_string())))
        .map_err(|error| format!("{why}, but installing {} failed: {error}", packages.join(" ")))
}

/// Whether a package of this name can be installed from the lists this machine has.
pub(super) fn offers(package: &str) -> bool {
    output_of(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
        .is_some_and(|text| text.contains("Package: "))
}

/// Fetches the package lists, so that [`offers`] answers for today. Without root it cannot, and
/// returns whether there are any lists at all.
pub(super) fn refresh() -> bool {
    if has("apt-get") && is_root() {
        // A failure shows again, with its message, when something is installed.
        let _ = update();
    }
    !lists_are_empty()
}

/// Whether these packages are installed.
pub(super) fn installed(package: &str) -> bool {
    output_of(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_some_and(|status| status == "installed")
}

fn is_root() -> bool {
    output_of(Command::new("id").arg("-u")).is_some_and(|id| id == "0")
}

fn lists_are_empty() -> bool {
    let Ok(lists) = fs::read_dir("/var/lib/apt/lists") else { return true };
    !lists.flatten().any(|list| list.file_name().to_string_lossy().contains("_Packages"))
}

fn update() -> Result<(), Missing> {
    run(Command::new("apt-get").args(["update", "--quiet=2"]))
        .map_err(|error| format!("the package lists could not be fetched: {error}"))
}

fn apt_get(verb: &str) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        verb,
        "--yes",
        "--quiet",
        "--option",
        "DPkg::Lock::Timeout=120",
    ]);
    command
}
