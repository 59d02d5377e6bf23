//! LLVM, which cubecl's CPU runtime and its CUDA code generator link.
//!
//! Cubecl's build script downloads a prebuilt LLVM into the user's data folder. Where that
//! download is out of reach, Debian's LLVM does as well: the build script only looks for a
//! marker file and asks `bin/llvm-config` beside it, so a folder with the marker and a small
//! script that forwards to the distribution's `llvm-config` is all it takes.

use std::{
    env, fs,
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{Missing, apt};
use crate::shell::{cargo, find, has, output_of, root, run, say};

/// Where cubecl's build script downloads from.
const DOWNLOAD_HOST: &str = "github.com:443";
const MARKER: &str = ".tracel-llvm-installed";
/// LLVM releases whose C interface has everything cubecl calls, best first.
const MAJORS: [u32; 2] = [23, 22];
/// The one that Debian has, in bookworm's security updates and in trixie.
const DEBIANS: u32 = 22;

/// Makes sure that crates with LLVM build, or says why they cannot here.
pub(crate) fn provide() -> Result<(), Missing> {
    let folder = folder().map_err(|error| format!("LLVM: {error:#}"))?;
    if works(&folder) {
        say("setup", &format!("LLVM: {}", folder.display()));
        return Ok(());
    }
    if download_is_in_reach() {
        say("setup", "LLVM: cubecl's own download is in reach, letting it fetch its bundle");
        if run(&mut cargo(&["build", "--package", "tracel-llvm-bundler"])).is_ok() && works(&folder)
        {
            return Ok(());
        }
    }
    if !(cfg!(target_os = "linux") && has("apt-get")) {
        return Err("LLVM: cubecl's download is out of reach, and this system has no apt-get to \
                    take LLVM from. Everything but the CPU runtime and codegen works without."
            .into());
    }
    let config = from_distribution()?;
    write_shim(&folder, &config)
        .map_err(|error| format!("LLVM: the folder for it could not be made: {error:#}"))?;
    if !works(&folder) {
        return Err(format!("LLVM: `{}` does not answer", config.display()));
    }
    say("setup", &format!("LLVM: {} now forwards to {}", folder.display(), config.display()));
    Ok(())
}

/// The distribution's `llvm-config`, installed when it is not there yet.
fn from_distribution() -> Result<PathBuf, Missing> {
    let why = "cubecl's LLVM download is out of reach, so the distribution's LLVM is used \
               (the CPU runtime and codegen link it)";
    let offered = || MAJORS.into_iter().find(|major| apt::offers(&format!("llvm-{major}-dev")));
    let major = MAJORS
        .into_iter()
        .find(|major| find(&format!("llvm-config-{major}")).is_some())
        .or_else(offered)
        // Old lists, or none: ask again after a refresh. Where that takes root and there is none,
        // the command that is printed fetches the lists, so name what Debian has.
        .or_else(|| if apt::refresh() { offered() } else { Some(DEBIANS) })
        .ok_or_else(|| {
            format!(
                "LLVM: cubecl's download is out of reach, and this distribution offers none of \
                 LLVM {MAJORS:?}. Everything but the CPU runtime and codegen works without."
            )
        })?;
    let (dev, polly) = (format!("llvm-{major}-dev"), format!("libpolly-{major}-dev"));
    let libraries = ["libzstd-dev", "libz3-dev", "zlib1g-dev", "libxml2-dev"];
    let mut packages = vec![dev.as_str(), polly.as_str()];
    packages.extend(libraries);
    packages.retain(|package| !apt::installed(package));
    if !has("c++") {
        packages.push("g++");
    }
    if !packages.is_empty() {
        apt::install(&packages, why)?;
    }
    find(&format!("llvm-config-{major}"))
        .ok_or_else(|| format!("LLVM: {dev} is installed but brought no llvm-config-{major}"))
}

/// The folder that the build script looks in: it is named after the bundler's own version.
fn folder() -> Result<PathBuf> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock is missing")?;
    let version = locked_version(&lock, "tracel-llvm-bundler")
        .context("Cargo.lock no longer names tracel-llvm-bundler")?;
    Ok(data_folder()?.join("tracel").join(format!("tracel-llvm-{version}")))
}

/// The version of a package in a lock file.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    after.split('"').next()
}

fn data_folder() -> Result<PathBuf> {
    let home = || env::var_os("HOME").or_else(|| env::var_os("USERPROFILE")).map(PathBuf::from);
    let folder = if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else if cfg!(windows) {
        env::var_os("LOCALAPPDATA").map(PathBuf::from)
    } else {
        env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
            .or_else(|| home().map(|home| home.join(".local/share")))
    };
    folder.context("neither HOME nor a data folder is set")
}

/// Whether the marker is there and `llvm-config` answers.
fn works(folder: &Path) -> bool {
    folder.join(MARKER).exists()
        && output_of(Command::new(folder.join("bin/llvm-config")).args(["--link-static", "--libs"]))
            .is_some_and(|libraries| !libraries.is_empty())
}

/// Whether the download's host can be reached. A short wait: the answer is usually instant.
fn download_is_in_reach() -> bool {
    let Ok(addresses) = DOWNLOAD_HOST.to_socket_addrs() else { return false };
    addresses
        .take(2)
        .any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok())
}

/// Writes the folder that the build script takes for its own download.
fn write_shim(folder: &Path, config: &Path) -> Result<()> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    // The build script expects `-lz3` where Debian answers `/usr/lib/…/libz3.so`.
    let script = format!(
        "#!/bin/sh\n\
         # Written by `cargo xtask setup` of wavecube, where cubecl's own LLVM is out of reach.\n\
         # Delete this folder to go back to the download.\n\
         answer=$({} \"$@\") || exit $?\n\
         printf '%s\\n' \"$answer\" | sed -E 's#/[^ ]*/lib([^/ ]+)\\.so#-l\\1#g'\n",
        config.display()
    );
    let file = bin.join("llvm-config");
    fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", file.display()))?;
    }
    let marker = folder.join(MARKER);
    fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))
}

#[cfg(test)]
mod tests {
    use super::locked_version;

    #[test]
    fn the_version_is_the_named_packages() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \
                    \"b\"\nversion = \"23.1.0-4\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "b"), Some("23.1.0-4"));
        assert_eq!(locked_version(lock, "c"), None);
    }
}
