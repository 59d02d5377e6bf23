//! The `wavecube` program as a shell sees it.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use burn::tensor::Device;
use wavecube_models::{
    config::Config,
    data::Corpus,
    lct_gpt::{ModelConfig, Placement},
    train::Trainer,
};

/// A model of a few parameters that has learned nothing.
fn checkpoint(directory: &Path) -> PathBuf {
    let lct_gpt = ModelConfig {
        context: 16,
        d_model: 8,
        layers: 1,
        heads: 1,
        placement: Placement::None,
        ..ModelConfig::default()
    };
    let config = Config { lct_gpt, ..Config::default() };
    let corpus = Corpus::split(b"words and words; ".repeat(60), 0.2).unwrap();
    let path = directory.join("tiny.safetensors");
    Trainer::new(&config, corpus, &Device::flex()).unwrap().save(&path).unwrap();
    path
}

/// `wavecube generate` with texts of `length` bytes.
fn generates(checkpoint: &Path, length: usize, arguments: &[&str]) -> (Child, ChildStdout) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wavecube"))
        .args(["generate", "--device", "flex", "--length", &length.to_string()])
        .arg("--checkpoint")
        .arg(checkpoint)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    (child, out)
}

/// A text that would take hours.
const ENDLESS: usize = 100_000_000;

fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Reads on until what has been read ends as it should.
fn read_until(out: &mut ChildStdout, text: &mut Vec<u8>, enough: impl Fn(&[u8]) -> bool) {
    while !enough(text) {
        let mut byte = [0];
        out.read_exact(&mut byte).unwrap();
        text.extend(byte);
    }
}

/// The whole text, once the program has ended.
fn rest(out: &mut ChildStdout, mut text: Vec<u8>) -> String {
    out.read_to_end(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
#[cfg(unix)]
fn an_interrupted_text_stays_and_its_line_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, mut out) =
        generates(&checkpoint(directory.path()), ENDLESS, &["--prompt", "It was"]);
    let mut text = Vec::new();
    read_until(&mut out, &mut text, |text| text.len() > 30);
    interrupt(&child);
    let text = rest(&mut out, text);
    assert!(text.starts_with("It was") && text.ends_with('\n'), "{text:?}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
#[cfg(unix)]
fn an_interrupted_text_is_not_the_end_of_the_prompts() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(directory.path());
    let (mut child, mut out) = generates(&checkpoint, ENDLESS, &["--interactive"]);
    let mut prompts = child.stdin.take().unwrap();
    let names = ["the first of the prompts", "the second of the prompts"];
    let mut text = Vec::new();
    for name in names {
        writeln!(prompts, "{name}").unwrap();
        read_until(&mut out, &mut text, |text| text.ends_with(name.as_bytes()));
        let begin = text.len();
        read_until(&mut out, &mut text, |text| text.len() > begin + 9);
        interrupt(&child);
    }
    // The end of the prompts is a good end.
    drop(prompts);
    let text = rest(&mut out, text);
    assert!(text.starts_with(names[0]) && text.ends_with('\n'), "{text:?}");
    assert!(text.contains(&format!("\n{}", names[1])), "{text:?}");
    assert!(child.wait().unwrap().success());
}

/// Six hundred texts, of which sixty-four grow together: those that have ended are written, then those that were
/// growing, as far as they were.
#[test]
#[cfg(unix)]
fn interrupted_texts_of_a_file_stay() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prompts.txt");
    let prompts: Vec<String> = (0..600).map(|i| format!("the prompt of number {i}")).collect();
    std::fs::write(&file, prompts.join("\n")).unwrap();
    let arguments = ["--prompts", file.to_str().unwrap()];
    let (mut child, mut out) = generates(&checkpoint(directory.path()), 100, &arguments);
    let mut text = Vec::new();
    read_until(&mut out, &mut text, |text| text.ends_with(prompts[63].as_bytes()));
    interrupt(&child);
    let text = rest(&mut out, text);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let written = prompts.iter().take_while(|prompt| text.contains(prompt.as_str())).count();
    assert!((64..600).contains(&written) && written.is_multiple_of(64), "{written}");
    assert!(text.starts_with(&prompts[0]) && text.ends_with("\n\n"), "{text:?}");
}

#[test]
#[cfg(unix)]
fn between_texts_an_interrupt_ends_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, mut out) = generates(&checkpoint(directory.path()), 3, &["--interactive"]);
    let mut prompts = child.stdin.take().unwrap();
    writeln!(prompts, "one").unwrap();
    let mut text = Vec::new();
    read_until(&mut out, &mut text, |text| text.len() == "one".len() + 3 + 1);
    assert_eq!(text.last(), Some(&b'\n'));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// What `wavecube` prints, once it has ended well.
fn prints(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wavecube")).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A run on all of its text, and on a text that there is nothing left to learn about.
#[test]
fn a_run_says_what_it_is_measured_by() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (text, config, out) = (path("a.txt"), path("run.toml"), path("run"));
    std::fs::write(&text, "a".repeat(2000)).unwrap();
    let write = |validation: f64| {
        let toml = format!(
            "[lct-gpt]\ncontext = 8\nd_model = 8\nlayers = 1\nheads = 1\nplacement = \"none\"\n\
             [data]\nvalidation = {validation:?}\n[train]\nwarmup = 0\nlog_every = 5"
        );
        std::fs::write(&config, toml).unwrap();
    };
    let train = ["train", "--device", "flex", "--text", &text, "--config", &config, "--out", &out];
    write(0.0);
    let printed = prints(&[&train[..], &["--steps", "6"]].concat());
    assert!(printed.contains("held-out text: none"), "{printed}");
    assert!(printed.contains("done after 6 steps: nothing held out"), "{printed}");
    assert!(!printed.contains("NaN") && !printed.contains("held out 0"), "{printed}");
    let checkpoint = path("run/checkpoint.safetensors");
    let quantize = ["quantize", "--device", "flex", "--checkpoint", &checkpoint];
    let printed = prints(&quantize);
    assert!(printed.contains("no text held out") && printed.contains("times smaller"), "{printed}");
    write(0.1);
    let printed = prints(&[&train[..], &["--steps", "60", "--resume"]].concat());
    assert!(printed.contains("0.000 bits/byte by single bytes"), "{printed}");
    assert!(!printed.contains("-0.0"), "{printed}");
    let steps = printed.lines().filter_map(|line| line.strip_prefix("step ")?.split(' ').next());
    let steps: Vec<usize> = steps.map(|step| step.parse().unwrap()).collect();
    assert_eq!(steps, (2..=12).map(|i| 5 * i).collect::<Vec<_>>());
}
