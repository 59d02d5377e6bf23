//! `cargo xtask gpu-pack`: what a GPU machine without Rust and without a network needs, in
//! `target/gpu`: the tests and the benches, stripped and compressed. `benches/gpu.sh` runs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::{
    setup,
    shell::{cargo, output_of, root, run, say},
};

/// What may be carried to such a machine, sources included, leaves this much for the pack.
const LIMIT: u64 = 60 << 20;

/// `cargo xtask gpu-pack`.
pub(crate) fn main() -> Result<()> {
    setup::llvm::provide().map_err(|why| anyhow!(why))?;
    let folder = root().join("target/gpu");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;

    let tests = ["test", "--release", "--package", "wavecube-testing", "--test", "root"];
    let benches = ["bench", "--package", "wavecube-benches", "--benches"];
    let mut programs = Vec::new();
    for (kind, arguments) in [("tests", &tests[..]), ("benches", &benches[..])] {
        for program in build(arguments)? {
            programs.push(strip(kind, &program, &folder)?);
        }
    }
    compress(&programs, &folder)?;
    // What the record of a run names: the machine it runs on has no history to ask.
    let commit = output_of(Command::new("git").current_dir(root()).args(["rev-parse", "HEAD"]))
        .context("git does not say which commit this is")?;
    let changed = output_of(Command::new("git").current_dir(root()).args([
        "status",
        "--porcelain",
        "--",
        "*.rs",
    ]))
    .is_some_and(|changes| !changes.is_empty());
    let commit = if changed { format!("{commit}-changed") } else { commit };
    fs::write(folder.join("commit"), commit).context("cannot write the commit's name")?;
    pack_loader(&folder)?;

    let size = size_of(&folder)?;
    say("gpu-pack", &format!("{} MiB in {}", size >> 20, folder.display()));
    ensure!(size <= LIMIT, "the pack may hold {} MiB at most", LIMIT >> 20);
    say("gpu-pack", "carry target/gpu along and run `bash benches/gpu.sh` there");
    Ok(())
}

/// Builds with CUDA and Vulkan, and returns the programs.
fn build(arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let build = || {
        let mut build = cargo(arguments);
        build.args(["--features", "cuda", "--no-run"]);
        build
    };
    run(&mut build())?;
    // Nothing is left to build: this call only lists what the first one built.
    let listing = build().output().context("cannot start cargo")?;
    let listing = String::from_utf8_lossy(&listing.stderr).into_owned();
    let programs = executables(&listing);
    if programs.is_empty() {
        bail!("cargo built no program:\n{listing}");
    }
    Ok(programs.into_iter().map(|program| root().join(program)).collect())
}

/// The paths in lines such as `  Executable benches/fft.rs (target/release/deps/fft-0123abcd)`.
fn executables(listing: &str) -> Vec<&str> {
    listing
        .lines()
        .filter(|line| line.trim_start().starts_with("Executable"))
        .filter_map(|line| line.rsplit_once('(')?.1.strip_suffix(')'))
        .collect()
}

/// Copies and strips one program: `fft-0123abcd` becomes `benches-fft`. Returns that name.
fn strip(kind: &str, program: &Path, folder: &Path) -> Result<String> {
    let name = program.file_name().context("a program without a name")?.to_string_lossy();
    let stem = name.rsplit_once('-').map_or(name.as_ref(), |(stem, _)| stem);
    let name = format!("{kind}-{stem}");
    let copy = folder.join(&name);
    fs::copy(program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
    run(Command::new("strip").arg(&copy))?;
    Ok(name)
}

/// One archive of the programs. They link the same libraries: a window that reaches from one to the
/// next makes every further one nearly free.
fn compress(programs: &[String], folder: &Path) -> Result<()> {
    run(Command::new("tar")
        .current_dir(folder)
        .env("XZ_OPT", "--lzma2=preset=6,dict=256MiB")
        .args(["--create", "--xz", "--remove-files", "--file", "programs.tar.xz"])
        .args(programs))
}

/// The Vulkan loader: a machine with a driver may still lack the library that finds it.
fn pack_loader(folder: &Path) -> Result<()> {
    let found = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
        .iter()
        .map(|libraries| Path::new(libraries).join("libvulkan.so.1"))
        .find(|library| library.exists());
    if let Some(library) = found {
        fs::copy(&library, folder.join("libvulkan.so.1"))
            .with_context(|| format!("cannot copy {}", library.display()))?;
    }
    Ok(())
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder).context("the pack is gone")? {
        size += entry.and_then(|entry| entry.metadata()).context("the pack is gone")?.len();
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::executables;

    #[test]
    fn executables_are_read_from_cargos_listing() {
        let listing = "    Finished `bench` profile [optimized] target(s) in 0.10s\n  Executable \
                       benches/fft.rs (target/release/deps/fft-61ab)\n";
        assert_eq!(executables(listing), ["target/release/deps/fft-61ab"]);
    }
}
