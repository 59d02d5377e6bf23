//! The tests of a selection of packages, two groups of them at a time.
//!
//! A device's kernels are compiled one after the other within a process, so one test binary keeps one core
//! busy. A group is the tests of one module of one binary: they share kernels.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, run, say};

/// The groups that run at once.
const AT_ONCE: usize = 2;

/// The tests of a module of a binary.
struct Group {
    binary: PathBuf,
    /// Where the binary expects to be run: the root of its package.
    package: PathBuf,
    module: String,
    tests: Vec<String>,
}

/// Builds and runs every test of the packages that `selection` names, documentation's last.
pub(crate) fn run_all(selection: &[&str]) -> Result<()> {
    let groups: VecDeque<Group> = groups(selection)?.into();
    let count: usize = groups.iter().map(|group| group.tests.len()).sum();
    let message = format!("{count} tests in {} groups, {AT_ONCE} at a time", groups.len());
    say("test", &message);
    let queue = Mutex::new(groups);
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        while let Some(group) = next() {
            if let Err(error) = group.run() {
                say("test", &format!("{error:#}"));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(group.name());
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let documentation = run(&mut cargo(&[&["test"], selection, &["--doc"]].concat()));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    documentation
}

/// The groups of every test binary of `selection`: those of the operations first, which compile the most
/// kernels, then those with the most tests, so that none of the long ones is left for the end.
fn groups(selection: &[&str]) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for (binary, package) in binaries(selection)? {
        let list = Command::new(&binary)
            .args(["--list", "--format", "terse"])
            .current_dir(&package)
            .output()
            .with_context(|| format!("cannot ask {} for its tests", binary.display()))?;
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let mut modules = BTreeMap::<String, Vec<String>>::new();
        for test in list.lines().filter_map(|line| line.strip_suffix(": test")) {
            let module = test.split_once("::").map_or("", |(module, _)| module);
            modules.entry(module.to_owned()).or_default().push(test.to_owned());
        }
        groups.extend(modules.into_iter().map(|(module, tests)| Group {
            binary: binary.clone(),
            package: package.clone(),
            module,
            tests,
        }));
    }
    groups.sort_by_key(|group| {
        (!group.package.ends_with("tests"), core::cmp::Reverse(group.tests.len()))
    });
    Ok(groups)
}

/// Builds the test binaries and returns them with the folders of their packages, as Cargo names them.
fn binaries(selection: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>> {
    let flags = ["--no-run", "--message-format=json-render-diagnostics"];
    let output = cargo(&[&["test"], selection, &flags].concat())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not build: cargo ended with {}", output.status);
    }
    let mut binaries = Vec::new();
    for line in output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line)?;
        let path = |key: &str| message[key].as_str().map(PathBuf::from);
        if message["profile"]["test"] == true
            && let (Some(binary), Some(manifest)) = (path("executable"), path("manifest_path"))
        {
            binaries.push((binary, manifest.parent().unwrap_or(Path::new(".")).to_owned()));
        }
    }
    Ok(binaries)
}

impl Group {
    fn name(&self) -> String {
        let binary = self.binary.file_stem().unwrap_or_default().to_string_lossy();
        let binary = binary.rsplit_once('-').map_or(&*binary, |(name, _)| name);
        if self.module.is_empty() { binary.to_owned() } else { format!("{binary} {}", self.module) }
    }

    /// Runs the tests and prints what they said when they have ended.
    fn run(&self) -> Result<()> {
        let name = self.name();
        let start = Instant::now();
        say("test", &format!("{name}: {} tests", self.tests.len()));
        let mut tests = Command::new(&self.binary);
        let output = tests
            .arg("--exact")
            .args(&self.tests)
            .current_dir(&self.package)
            .env("CARGO_MANIFEST_DIR", &self.package)
            .output()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        // One piece, so that two groups do not mix their lines.
        let mut text = output.stdout;
        if !output.status.success() {
            text.extend(output.stderr);
        }
        std::io::stdout().write_all(&text)?;
        let seconds = start.elapsed().as_secs();
        if !output.status.success() {
            bail!("{name}: FAILED ({seconds} s), {}", output.status);
        }
        say("test", &format!("{name}: passed ({seconds} s)"));
        Ok(())
    }
}
