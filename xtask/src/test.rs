//! `cargo xtask test`: the whole suite, on every runtime this machine can have.

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{
    setup::{self, Missing},
    shell::{cargo, run, say},
    suite,
};

/// What selects the CPU runtime and the code generator: the two that link LLVM, so they share
/// one build.
pub(crate) const WITH_LLVM: [&str; 5] =
    ["--package", "wavecube-testing", "--no-default-features", "--features", "cpu,codegen"];

/// What `cargo xtask test` takes.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only this runtime; every one that this machine can have when none is named
    #[arg(long)]
    runtime: Option<Runtime>,
    /// The tests of operations alone, on this Vulkan driver instead of the machine's own
    #[arg(long, conflicts_with = "runtime")]
    driver: Option<Driver>,
    /// Handed to `cargo test`: a part of a test's name, or `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_test: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Runtime {
    /// A GPU, or the software Vulkan driver
    Wgpu,
    /// Cubecl's CPU runtime
    Cpu,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Driver {
    /// Google's software driver: `f32` only, planes of 4, 256 units a cube, few buffers
    Swiftshader,
}

/// The tests of operations, with the features of the whole workspace: they are built already.
const OPERATIONS: [&str; 3] = ["--workspace", "--test", "root"];

/// What became of one part of the suite.
enum Outcome {
    Passed,
    Failed,
    NotRun(Missing),
}

/// `cargo xtask test`.
pub(crate) fn main(args: &Args) -> Result<()> {
    let parts = run_parts(args);
    let failed = parts.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed));
    if failed {
        bail!("some tests failed; their names are above");
    }
    // A person who asked for one runtime by name is owed an error when it cannot run.
    if let Some((part, Outcome::NotRun(why))) = parts.first()
        && parts.len() == 1
    {
        bail!("{part} was not tested: {why}");
    }
    Ok(())
}

/// The tests of operations on a second driver.
pub(crate) fn second_driver() -> Result<()> {
    main(&Args { driver: Some(Driver::Swiftshader), ..Args::default() })
}

/// The suite on wgpu alone, where a suite that was not run is a failure too.
pub(crate) fn wgpu() -> Result<()> {
    main(&Args { runtime: Some(Runtime::Wgpu), ..Args::default() })
}

/// The same for CI, where a part that was not run is a failure too.
pub(crate) fn strict() -> Result<()> {
    let parts = run_parts(&Args::default());
    if parts.iter().any(|(_, outcome)| !matches!(outcome, Outcome::Passed)) {
        bail!("not every part of the suite passed; see above");
    }
    Ok(())
}

fn run_parts(args: &Args) -> Vec<(&'static str, Outcome)> {
    let wanted = |runtime| args.driver.is_none() && args.runtime.is_none_or(|only| only == runtime);
    let mut parts = Vec::new();
    if wanted(Runtime::Wgpu) {
        let outcome = tested(setup::vulkan::provide(), &["--workspace"], &args.cargo_test);
        parts.push(("wgpu", outcome));
    }
    if wanted(Runtime::Cpu) {
        let outcome = tested(setup::llvm::provide(), &WITH_LLVM, &args.cargo_test);
        parts.push(("the CPU runtime", outcome));
    }
    if args.driver == Some(Driver::Swiftshader) {
        let outcome = match setup::swiftshader::provide() {
            Err(why) => Outcome::NotRun(why),
            Ok(driver) => {
                let mut tests = cargo(&["test"]);
                tests.args(OPERATIONS).args(&args.cargo_test);
                outcome(run(tests.env("VK_DRIVER_FILES", driver)))
            }
        };
        parts.push(("SwiftShader", outcome));
    }
    for (part, outcome) in &parts {
        match outcome {
            Outcome::Passed => say("test", &format!("{part}: passed")),
            Outcome::Failed => say("test", &format!("{part}: FAILED")),
            Outcome::NotRun(why) => say("test", &format!("{part}: NOT RUN. {why}")),
        }
    }
    parts
}

fn tested(ready: Result<(), Missing>, selection: &[&str], rest: &[String]) -> Outcome {
    if let Err(why) = ready {
        return Outcome::NotRun(why);
    }
    outcome(if rest.is_empty() {
        suite::run_all(selection)
    } else {
        run(cargo(&["test"]).args(selection).args(rest))
    })
}

fn outcome(result: Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => {
            say("test", &error.to_string());
            Outcome::Failed
        }
    }
}
