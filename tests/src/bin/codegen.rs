//! Compiles every kernel that the catalogue launches for NVIDIA GPUs, assembles it, and prints what
//! it takes. Fails if one does not compile, does not assemble, or spills. `cargo xtask codegen`
//! provides what it needs and calls it.

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use wavecube::Device;
use wavecube_testing::{
    catalogue,
    codegen::{CompileOnly, Kernel, TARGETS, Target, Usage, assemble},
};

const HELP: &str = "\
usage: codegen --ptxas FILE [--table FILE] [--keep FOLDER] [PART]...

  --ptxas FILE    NVIDIA's assembler
  --table FILE    also write the table there, as Markdown
  --keep FOLDER   keep the PTX there, to be read
  PART            only cases whose name contains one of these";

#[derive(Default)]
struct Options {
    ptxas: PathBuf,
    table: Option<PathBuf>,
    keep: Option<PathBuf>,
    parts: Vec<String>,
}

/// A kernel, the case that launched it first, and what became of it.
struct Row {
    case: String,
    target: &'static Target,
    kernel: Kernel,
    usage: Result<Usage, String>,
}

impl Row {
    fn is_fine(&self) -> bool {
        self.usage.as_ref().is_ok_and(|usage| usage.spill_bytes == 0)
    }
}

fn main() -> ExitCode {
    let options = match options(env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let (rows, refused) = rows(&options);
    let table = table(&rows, &version(&options.ptxas));
    println!("{table}");
    if let Some(file) = &options.table
        && let Err(error) = write(file, &table)
    {
        eprintln!("{}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    let bad: Vec<&Row> = rows.iter().filter(|row| !row.is_fine()).collect();
    for row in &bad {
        report(row);
    }
    for case in &refused {
        eprintln!("refused: {case}");
    }
    println!("{} passed, {} failed", rows.len() - bad.len(), bad.len() + refused.len());
    if bad.is_empty() && refused.is_empty() && !rows.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut file = || {
            arguments.next().map(PathBuf::from).ok_or(format!("{argument} needs a path behind it"))
        };
        match argument.as_str() {
            "--ptxas" => options.ptxas = file()?,
            "--table" => options.table = Some(file()?),
            "--keep" => options.keep = Some(file()?),
            "--help" | "-h" => return Err("codegen: kernels for NVIDIA GPUs, without one".into()),
            part if !part.starts_with('-') => options.parts.push(part.into()),
            other => return Err(format!("what is {other}?")),
        }
    }
    if options.ptxas.is_file() {
        Ok(options)
    } else {
        Err(format!("there is no assembler at `{}`", options.ptxas.display()))
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}

/// Runs the catalogue on every target, then assembles. Also returns the cases that ops refused.
fn rows(options: &Options) -> (Vec<Row>, Vec<String>) {
    // Each device compiles on a thread of its own, so the targets go side by side.
    let (launched, refused): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let targets = TARGETS.iter().map(|target| scope.spawn(|| launch_all(options, target)));
        let targets: Vec<_> = targets.collect();
        targets.into_iter().map(|target| target.join().expect("no panic")).unzip()
    });
    (assemble_all(options, launched.concat()), refused.concat())
}

/// A case's name and a kernel that it is the first to launch on the target.
type Launch = (String, &'static Target, Kernel);

fn launch_all(options: &Options, target: &'static Target) -> (Vec<Launch>, Vec<String>) {
    let wanted = |name: &str| {
        options.parts.is_empty() || options.parts.iter().any(|part| name.contains(part))
    };
    let compiler = CompileOnly::new(target);
    let device = Device::from_client(compiler.client().clone());
    let mut launched = Vec::new();
    let mut refused = Vec::new();
    for case in catalogue::cases() {
        let name = case.id();
        if !wanted(&name) {
            continue;
        }
        if let Err(error) = case.run(&device) {
            refused.push(format!("{} {name}: {error}", target.arch));
        }
        launched.extend(compiler.take().into_iter().map(|kernel| (name.clone(), target, kernel)));
    }
    (launched, refused)
}

/// Assembles on every core, in order.
fn assemble_all(options: &Options, launched: Vec<Launch>) -> Vec<Row> {
    let scratch = options.keep.clone().unwrap_or_else(|| {
        env::temp_dir().join(format!("wavecube-codegen-{}", std::process::id()))
    });
    fs::create_dir_all(&scratch).expect("a folder for the PTX can be made");
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some((case, target, kernel)) = launched.get(i) else { return done };
            let file = format!("{}-{}-{i}.ptx", target.arch, case.replace('/', "-"));
            let usage = assemble(&options.ptxas, target, kernel, &scratch.join(file));
            done.push((i, usage));
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut usages: Vec<(usize, Result<Usage, String>)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("no panic")).collect()
    });
    usages.sort_by_key(|(i, _)| *i);
    if options.keep.is_none() {
        // Nothing depends on it: the system clears its temporary folder too.
        let _ = fs::remove_dir_all(&scratch);
    }
    launched
        .into_iter()
        .zip(usages)
        .map(|((case, target, kernel), (_, usage))| Row { case, target, kernel, usage })
        .collect()
}

/// The assembler's version, as it names itself: `V13.5.37`.
fn version(ptxas: &Path) -> String {
    let said = Command::new(ptxas).arg("--version").output().map(|output| output.stdout);
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    let version = said.split_whitespace().find(|word| word.starts_with('V') && word.contains('.'));
    version.unwrap_or("of an unknown version").to_owned()
}

/// The rows as Markdown.
fn table(rows: &[Row], version: &str) -> String {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.kernel.name.as_str()).collect();
    let mut text = format!(
        "# Generated code\n\n\
         {} variants of {} kernels, each compiled and assembled with no GPU by `cargo xtask \
         codegen` with ptxas {version}: registers, stack and spills a unit, shared memory a cube. A variant stands \
         beside the first case that launches it. Stack is local memory for arrays that found no \
         registers.\n\n\
         | GPU | case | kernel | units | registers | shared bytes | stack bytes | spilled bytes |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        rows.len(),
        names.len(),
    );
    for Row { case, target, kernel, usage } in rows {
        let shared = kernel.ptx.as_ref().map_or("–".into(), |ptx| ptx.shared_bytes.to_string());
        let figures = usage.as_ref().map_or("does not assemble | – | – | –".into(), |usage| {
            format!(
                "{} | {shared} | {} | {}",
                usage.registers, usage.stack_bytes, usage.spill_bytes
            )
        });
        let Target { arch, .. } = target;
        let Kernel { name, units, .. } = kernel;
        let _ = writeln!(text, "| {arch} | `{case}` | {name} | {units} | {figures} |");
    }
    text
}

fn report(row: &Row) {
    let what = match &row.usage {
        Ok(usage) => format!(
            "spills {} bytes: {} registers a unit, {} units a cube",
            usage.spill_bytes, usage.registers, row.kernel.units
        ),
        Err(error) => error.clone(),
    };
    eprintln!("{} {} {}: {what}", row.target.arch, row.case, row.kernel.name);
    eprintln!("  {}", row.kernel.info.replace('\n', "\n  "));
}
