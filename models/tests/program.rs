//! The `wavecube` program as a shell sees it.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use wavecube_models::{
    config::Config,
    data::Corpus,
    lct_gpt::{ModelConfig, Placement},
    train::Trainer,
};

use crate::support::flex;

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
    Trainer::new(&config, corpus, &flex()).unwrap().save(&path).unwrap();
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
