//! Running other programs, and saying which.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The folder this program was built into, where Cargo puts the workspace's other binaries too.
pub(crate) fn built(binary: &str) -> Result<PathBuf> {
    let me = env::current_exe().context("cannot tell where xtask itself was built")?;
    Ok(me.with_file_name(format!("{binary}{}", env::consts::EXE_SUFFIX)))
}

/// `cargo` with the given arguments, in the root of the workspace. It does not see the variables that
/// describe xtask's own package: build scripts of dependencies watch them (ring's does), so a build
/// from here and one from the command line would each start anew.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let is_ours =
            |name: &str| ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|p| name.starts_with(p));
        if name.to_str().is_some_and(is_ours) {
            command.env_remove(name);
        }
    }
    command.current_dir(root()).args(args);
    command
}

/// Prints one line of progress. `who` is the part that speaks: `setup`, `test`…
pub(crate) fn say(who: &str, what: &str) {
    eprintln!("{who:>8}  {what}");
}

/// Shows the command, runs it, and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("       $  {shown}");
    let status = command.status().with_context(|| format!("cannot start `{}`", name(command)))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command quietly and returns what it printed, or `None` when it is missing or fails.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a program of this name is on the search path.
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(format!("{program}{}", env::consts::EXE_SUFFIX)))
        .find(|file| file.is_file())
}

fn name(command: &Command) -> String {
    Path::new(command.get_program())
        .file_stem()
        .unwrap_or(command.get_program())
        .to_string_lossy()
        .into_owned()
}

fn show(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(key, value)| {
        value.map(|value| format!("{}={}", key.to_string_lossy(), quote(value)))
    });
    let arguments = command.get_args().map(quote);
    variables.chain([name(command)]).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains([' ', '"', '$', '*', '(']) {
        format!("'{word}'")
    } else {
        word.into_owned()
    }
}
