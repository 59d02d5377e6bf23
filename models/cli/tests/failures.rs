//! Numbers that are not finite, and options that make no sense, as a shell sees them.

use std::{
    fs,
    process::{Command, Output},
};

use crate::broken::{EMBEDDING, fresh, overflowing, patch};

/// What a shell sees of `wavecube`.
fn wavecube(arguments: &[&str]) -> (Output, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wavecube")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn the_program_ends_with_an_error() {
    let out = tempfile::tempdir().unwrap();
    let path = overflowing(out.path());
    let checkpoint = path.to_str().unwrap();
    let generate = ["generate", "--device", "flex", "--checkpoint", checkpoint, "--length", "9"];
    let generates = |more: &[&str]| wavecube(&[&generate, more].concat());
    let (output, text, error) = generates(&["--prompt", "a ~"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text, "a ~\n");
    assert!(error.contains("step 1") && error.contains("NaN"), "{error}");

    let file = out.path().join("prompts.txt");
    fs::write(&file, "one\ntwo ~\nthree\n").unwrap();
    let (output, text, error) = generates(&["--prompts", file.to_str().unwrap(), "--top-k", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("\n\ntwo ~\n\nthree") && text.len() > 9 + 16 + 9, "{text:?}");
    assert!(error.contains("text 2 ended at step 1"), "{error}");

    patch(&path, EMBEDDING, |values| values[11] = f32::NAN);
    let (output, text, error) = generates(&["--prompt", "a"]);
    assert_eq!((output.status.code(), text.as_str()), (Some(1), ""));
    assert!(error.contains(EMBEDDING) && error.contains("[1, 3]"), "{error}");
}

#[test]
fn options_are_refused_before_anything_is_written() {
    let out = tempfile::tempdir().unwrap();
    let path = fresh(out.path());
    let checkpoint = path.to_str().unwrap();
    for (option, value, expected) in [
        ("--top-p", "1.5", "top-p"),
        ("--temperature", "-1", "temperature"),
        ("--temperature", "NaN", "temperature"),
        ("--min-p", "2", "min-p"),
        ("--repetition-penalty", "0", "repetition penalty"),
        ("--stop", "", "stop string"),
        ("--cache", "int4", "Cache"),
    ] {
        let (output, text, error) = wavecube(&[
            "generate",
            "--device",
            "flex",
            "--checkpoint",
            checkpoint,
            "--prompt",
            "a",
            option,
            value,
        ]);
        assert_eq!((output.status.code(), text.as_str()), (Some(1), ""), "{option} {value}");
        assert!(error.contains(expected), "{option} {value}: {error}");
    }
    let (_, help, _) = wavecube(&["generate", "--help"]);
    assert!(help.contains(r"--stop '\n\n'") && help.contains(r"(\n and \t are"), "{help}");
}
