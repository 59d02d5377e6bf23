//! `cargo xtask demo`: the whole system in a few minutes, ending in a page to look at.

use std::process::Command;

use anyhow::{Result, anyhow};

use crate::{
    setup,
    shell::{built, cargo, root, run, say},
};

/// What `cargo xtask demo` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Handed to `wavecube demo`: `--text FILE`, `--minutes 1`, `--device wgpu`, `--out DIR`, `--seed N`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<String>,
}

/// `cargo xtask demo`.
pub(crate) fn main(args: &Args) -> Result<()> {
    setup::vulkan::provide().map_err(|why| anyhow!(why))?;
    // The development profile: it builds three times as fast as the release one, and the time of
    // the demo itself is spent in the device's driver. `--workspace` resolves the same features
    // as `cargo xtask test`, so that the one reuses what the other built.
    say("demo", "building; the first time takes a few minutes");
    run(&mut cargo(&["build", "--workspace", "--bin", "wavecube", "--bin", "wavecube-check"]))?;
    // In the caller's folder, so that `--text FILE` means what they think it does.
    let mut demo = Command::new(built("wavecube")?);
    demo.arg("demo");
    let given = |flag: &str| args.demo.iter().any(|argument| argument.starts_with(flag));
    let folder = root().join("target/demo");
    if !given("--out") {
        demo.arg("--out").arg(&folder);
    }
    if !given("--kernels") && !given("--help") {
        say("demo", "checking every operation against its definition, a minute or two");
        let kernels = folder.join("kernels.json");
        run(Command::new(built("wavecube-check")?).arg("--json").arg(&kernels))?;
        demo.arg("--kernels").arg(kernels);
    }
    run(demo.args(&args.demo))
}
