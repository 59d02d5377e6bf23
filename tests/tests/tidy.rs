//! The invariants of the house, as tests. Each looks at the sources, not at a device.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The rooms at the top level.
const ROOMS: [&str; 8] = ["core", "kernels", "ops", "models", "tests", "benches", "fuzz", "xtask"];
/// The rooms whose code runs inside other people's programs.
const LIBRARY: [&str; 3] = ["core", "kernels", "ops"];
/// A file longer than this has a second thing in it.
const LINES: usize = 800;

/// Lines of library code that may panic, as `(file, part of the line)`. There are none.
const MAY_PANIC: [(&str, &str); 0] = [];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").into()
}

/// A source file: its path in the workspace, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// Code that ships: no comments, and nothing from the module of tests on, which ends a file.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines()
            .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Every Rust file of the named rooms, in order.
fn sources(rooms: &[&str]) -> Vec<Source> {
    let root = root();
    let mut folders: Vec<PathBuf> = rooms.iter().map(|room| root.join(room)).collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                let path = path.strip_prefix(&root).expect("below the root");
                let path = path.to_string_lossy().replace('\\', "/");
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!sources.is_empty(), "no sources in {rooms:?}");
    sources
}

/// Fails with every offence at once.
fn assert_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

/// The names of the packages that `package` depends on, itself left out.
fn dependencies(package: &str, more: &[&str]) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .args(more)
        // Whoever unifies features over the whole workspace still wants this package's own tree.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<String> =
        tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names.retain(|name| !name.is_empty() && name != package);
    names
}

#[test]
fn core_knows_no_gpu() {
    let found = dependencies("wavecube-core", &[]);
    let offences: Vec<String> =
        found.into_iter().filter(|name| name.contains("cubecl") || name.contains("wgpu")).collect();
    assert_none(&offences, "core is plain data and mathematics:");
}

#[test]
fn kernels_and_ops_link_no_runtime_and_no_burn() {
    const RUNTIMES: [&str; 5] =
        ["cubecl-cuda", "cubecl-wgpu", "cubecl-hip", "cubecl-cpu", "cubecl-metal"];
    for package in ["wavecube-kernels", "wavecube"] {
        let offences: Vec<String> = dependencies(package, &["--no-default-features"])
            .into_iter()
            .filter(|name| RUNTIMES.contains(&name.as_str()) || name.starts_with("burn"))
            .collect();
        assert_none(&offences, &format!("{package} without features depends on:"));
    }
}

#[test]
fn nothing_looks_back() {
    let may: [(&str, &[&str]); 6] = [
        ("wavecube-core", &[]),
        ("wavecube-kernels", &["wavecube-core"]),
        ("wavecube", &["wavecube-core", "wavecube-kernels"]),
        ("wavecube-burn", &["wavecube-core", "wavecube-kernels", "wavecube"]),
        ("wavecube-models", &["wavecube-core", "wavecube-kernels", "wavecube", "wavecube-burn"]),
        (
            "wavecube-cli",
            &["wavecube-core", "wavecube-kernels", "wavecube", "wavecube-burn", "wavecube-models"],
        ),
    ];
    for (package, allowed) in may {
        let offences: Vec<String> = dependencies(package, &[])
            .into_iter()
            .filter(|name| name.starts_with("wavecube") && !allowed.contains(&name.as_str()))
            .collect();
        assert_none(&offences, &format!("{package} looks back at:"));
    }
}

#[test]
fn models_carry_nothing_of_the_program() {
    const OF_THE_PROGRAM: [&str; 4] = ["anyhow", "clap", "ctrlc", "indicatif"];
    let offences: Vec<String> = ["wavecube-models", "wavecube-burn"]
        .into_iter()
        .flat_map(|package| dependencies(package, &["--depth", "1"]))
        .filter(|name| OF_THE_PROGRAM.contains(&name.as_str()))
        .collect();
    assert_none(&offences, "what only the `wavecube` program needs belongs to wavecube-cli:");
}

#[test]
fn names_say_what_is_inside() {
    const EMPTY_NAMES: [&str; 8] =
        ["utils", "util", "helpers", "common", "misc", "base", "v2", "components"];
    let offences: Vec<String> = sources(&ROOMS)
        .into_iter()
        .filter(|source| {
            source.path.trim_end_matches(".rs").split('/').any(|part| EMPTY_NAMES.contains(&part))
        })
        .map(|source| source.path)
        .collect();
    assert_none(&offences, "these names say nothing:");
}

#[test]
fn files_stay_short() {
    let offences: Vec<String> = sources(&ROOMS)
        .into_iter()
        .filter(|source| source.text.lines().count() > LINES)
        .map(|source| format!("{}: {} lines", source.path, source.text.lines().count()))
        .collect();
    assert_none(&offences, &format!("a file of more than {LINES} lines has two things in it:"));
}

#[test]
fn no_test_is_ignored() {
    // Spelled in two parts, so that this line is none.
    let mark = concat!("#[", "ignore");
    let offences: Vec<String> = sources(&ROOMS)
        .iter()
        .flat_map(|source| {
            source
                .lines()
                .filter(|(_, line)| line.trim_start().starts_with(mark))
                .map(|(i, _)| format!("{}:{i}", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(&offences, "a test that is ignored tests nothing:");
}

#[test]
fn library_code_returns_errors() {
    const PANICS: [&str; 9] = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "unimplemented!(",
        " assert!(",
        " assert_eq!(",
        " assert_ne!(",
    ];
    let may = |path: &str, line: &str| {
        MAY_PANIC.iter().any(|(file, part)| *file == path && line.contains(part))
    };
    let offences: Vec<String> = sources(&LIBRARY)
        .iter()
        .filter(|source| source.path.contains("/src/"))
        .flat_map(|source| {
            source
                .shipped()
                .filter(|(_, line)| PANICS.iter().any(|panic| line.contains(panic)))
                .filter(|(_, line)| !may(&source.path, line))
                .map(|(i, line)| format!("{}:{i}: {}", source.path, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(&offences, "library code never panics on input:");
}

/// A gradient is shown beside its op, or by one of the kind; every other op shows itself.
#[test]
fn every_op_has_an_example() {
    let mut offences = Vec::new();
    for source in sources(&["ops"]) {
        let mut docs = String::new();
        for (i, line) in source.lines() {
            let name = line.strip_prefix("pub fn ").and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|name| !name.ends_with("_vjp") && !docs.contains("```"))
            {
                offences.push(format!("{}:{i}: {name}", source.path));
            }
            if line.starts_with("///") { docs.push_str(line) } else { docs.clear() }
        }
    }
    assert_none(&offences, "a public op without an example that runs:");
}

/// What the catalogue has is checked against its reference on every device, timed, and compiled for GPUs
/// that are not there. A method needs a case if it is a gradient: other methods are parts of an op.
#[test]
fn every_op_has_a_case_in_the_catalogue() {
    let cases: String = sources(&["tests"])
        .into_iter()
        .filter(|source| source.path.starts_with("tests/src/catalogue/"))
        .map(|source| source.text)
        .collect();
    let mut offences = Vec::new();
    for source in sources(&["ops"]).iter().filter(|source| source.path.starts_with("ops/src/")) {
        for (i, line) in source.shipped() {
            let name = |line: &str| line.split(['(', '<']).next().unwrap_or_default().to_owned();
            let op = line.strip_prefix("pub fn ").map(name);
            let method = line.strip_prefix("    pub fn ").map(name);
            if let Some(name) = op.or(method.filter(|name| name.ends_with("_vjp")))
                && ![
                    format!("wavecube::{name}("),
                    format!("wavecube::{name},"),
                    format!(".{name}("),
                ]
                .iter()
                .any(|call| cases.contains(call))
            {
                offences.push(format!("{}:{i}: {name}", source.path));
            }
        }
    }
    assert_none(&offences, "a public op without a case in tests/src/catalogue:");
}

/// Gradients of the operations that the Burn bridge does not call, with the reason.
const NOT_BRIDGED: [(&[&str], &str); 4] = [
    (&["fft_vjp", "ifft_vjp", "fftn_vjp"], "it is `fftn` in the other direction"),
    (
        &[
            "lct_shear_vjp",
            "lct_shear_param_vjp",
            "lct_shear_factored_vjp",
            "lct_shear_factored_param_vjp",
            "fresnel_vjp",
            "fresnel_param_vjp",
            "scaling_vjp",
            "scaling_param_vjp",
            "lct2_vjp",
            "lct2_param_vjp",
        ],
        "plans of shears call `lct_shear_passes` and `lct_shear_rate_vjp`, once an axis",
    ),
    (&["lct_causal_param_vjp"], "it is `lct_causal_jacobian_vjp` of the unit matrix"),
    (&["laplace_vjp"], "a plan of `ComplexAbcd::laplace` calls `lct_complex_vjp`"),
];

/// Whoever trains with Burn has every operation that has a gradient.
#[test]
fn every_gradient_is_in_the_burn_bridge() {
    let bridge = sources(&["models/burn/src"]);
    let calls = |name: &str| {
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '"';
        bridge.iter().flat_map(Source::shipped).any(|(_, line)| {
            line.match_indices(name).any(|(at, _)| {
                !line[..at].ends_with(is_part) && !line[at + name.len()..].starts_with(is_part)
            })
        })
    };
    let mut excused: Vec<&str> =
        NOT_BRIDGED.iter().flat_map(|(names, _)| names.iter().copied()).collect();
    let mut offences = Vec::new();
    for source in sources(&["ops/src"]) {
        for (i, line) in source.shipped() {
            let Some(name) = line.trim_start().strip_prefix("pub fn ") else { continue };
            let name = name.split(['(', '<']).next().unwrap_or_default();
            let excuse = excused.iter().position(|excuse| *excuse == name);
            let excuse = excuse.map(|at| excused.swap_remove(at)).is_some();
            if name.ends_with("_vjp") && calls(name) == excuse {
                offences.push(format!("{}:{i}: {name}", source.path));
            }
        }
    }
    offences.extend(excused.into_iter().map(|name| format!("{name} is no gradient")));
    let rule = "called by models/burn, or named above with the reason why not, and not both:";
    assert_none(&offences, rule);
}

#[test]
fn unchecked_launches_say_why_they_are_safe() {
    /// How far a launch may be from the comment that covers it.
    const NEAR: usize = 16;
    let offences: Vec<String> = sources(&LIBRARY)
        .iter()
        .flat_map(|source| {
            let reasons = safety_comments(source);
            source
                .shipped()
                .filter(|(_, line)| line.contains("launch_unchecked") && !line.contains("#[cube"))
                .filter(|(_, line)| !line.trim_start().starts_with("use "))
                .filter(|(i, _)| !reasons.iter().any(|reason| i.abs_diff(*reason) <= NEAR))
                .map(|(i, line)| format!("{}:{i}: {}", source.path, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(
        &offences,
        "an unchecked launch stands under `// SAFETY:` naming, in backticks, the plan's check:",
    );
}

/// The lines that open a safety comment which names something.
fn safety_comments(source: &Source) -> Vec<usize> {
    let lines: Vec<&str> = source.text.lines().map(str::trim_start).collect();
    let opens = |i: &usize| lines[*i].starts_with("// SAFETY:");
    let names = |i: &usize| {
        lines[*i..].iter().take_while(|line| line.starts_with("//")).any(|line| line.contains('`'))
    };
    (0..lines.len()).filter(opens).filter(names).map(|i| i + 1).collect()
}

#[test]
fn every_crate_shares_lints_edition_and_licence() {
    let root = root();
    for room in ROOMS.iter().filter(|room| **room != "fuzz").chain(&["models/burn", "models/cli"]) {
        let manifest = root.join(room).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("every crate has a manifest");
        for line in ["edition.workspace = true", "license.workspace = true", "[lints]"] {
            assert!(text.contains(line), "{}: `{line}` is missing", manifest.display());
        }
    }
    for file in ["LICENSE-MIT", "LICENSE-APACHE", "CHANGELOG.md"] {
        assert!(root.join(file).exists(), "{file} is missing");
    }
}

#[test]
fn the_readme_names_every_room() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let offences: Vec<String> = ROOMS
        .iter()
        .filter(|room| !readme.contains(&format!("{room}/")))
        .map(|room| format!("{room}/"))
        .collect();
    assert_none(&offences, "the README's map leaves out:");
    let offences: Vec<String> = local_links(&readme)
        .into_iter()
        .filter(|link| !root().join(link).exists())
        .map(str::to_owned)
        .collect();
    assert_none(&offences, "the README points at files that are not there:");
}

/// The targets of Markdown links that stay in the tree, without their anchors.
fn local_links(markdown: &str) -> Vec<&str> {
    markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|link| link.split(['#', ' ']).next())
        .filter(|link| !link.is_empty() && !link.contains(':'))
        .collect()
}
