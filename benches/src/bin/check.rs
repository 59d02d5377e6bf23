//! Checks every operation of the catalogue against its `f64` reference and times it, on every device:
//! one length each, a minute or two. Fails if one is wrong. `cargo xtask demo` calls it first.

use std::{env, path::PathBuf, process::ExitCode};

use wavecube_benches::{Bench, header, write};
use wavecube_testing::{catalogue::one_an_op, devices};

const HELP: &str = "\
usage: wavecube-check [--json FILE]

  --json FILE   also write the table there: [{id, device, error, gate, ms, bytes, copy_fraction, …}]";

/// The length that most operations have a case of.
const POINTS: usize = 1024;

fn main() -> ExitCode {
    let file = match file(env::args().skip(1)) {
        Ok(file) => file,
        Err(message) => {
            eprintln!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let cases = one_an_op(POINTS);
    let mut records = Vec::new();
    let mut bad = Vec::new();
    for device in devices() {
        let bench = Bench::on(device);
        println!("{} operations, each as soon as it is checked and timed:", cases.len());
        println!("{}", header());
        for case in &cases {
            match bench.check(case) {
                Ok(Some(record)) => {
                    println!("{record}");
                    if !record.passes() {
                        bad.push(format!("{} is wrong", record.id));
                    }
                    records.push(record);
                }
                Ok(None) => {
                    let [stored, computed] = case.types();
                    println!("{:48} {device} lacks {stored} or {computed}", case.id());
                }
                Err(error) => bad.push(format!("{} on {device}: {error}", case.id())),
            }
        }
    }
    if let Some(file) = file
        && let Err(error) = write(&file, &records)
    {
        bad.push(format!("{}: {error}", file.display()));
    }
    for line in &bad {
        eprintln!("{line}");
    }
    println!("{} passed, {} failed", records.iter().filter(|r| r.passes()).count(), bad.len());
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The file that `--json` names.
fn file(mut arguments: impl Iterator<Item = String>) -> Result<Option<PathBuf>, String> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(None),
        (Some("--json"), Some(file), None) => Ok(Some(file.into())),
        (Some("--json"), None, _) => Err("--json needs a path behind it".into()),
        _ => Err("wavecube-check: every operation against its reference".into()),
    }
}
