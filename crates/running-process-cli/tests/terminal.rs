//! How the command behaves at a terminal, in a pipe and in a package.

mod common;

use common::{command, finish, run};
use std::process::Stdio;

#[test]
fn help_names_every_command_and_the_exit_status() {
    let help = run(&["--help"]);
    assert_eq!(help.status, 0);
    for word in ["demo", "serve", "probe", "call", "decode", "completions", "man", "could not tell"] {
        assert!(help.text().contains(word), "{word}");
    }
}

#[test]
fn wrong_arguments_are_status_two() {
    run(&[]).fails_with(2, &["Usage"]);
    run(&["prob"]).fails_with(2, &["probe"]);
    run(&["probe"]).fails_with(2, &["<FILE>"]);
    run(&["completions", "elvis"]).fails_with(2, &["bash"]);
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.status, 0);
        assert!(script.text().contains("running-process") && script.text().contains("identity"), "{shell}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let man = directory.path().join("man");
    assert_eq!(run(&["man", man.to_str().unwrap()]).status, 0);
    for page in
        ["running-process", "running-process-probe", "running-process-serve", "running-process-decode"]
    {
        let text = std::fs::read_to_string(man.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME") || text.contains(".SH Name"), "{page}");
    }
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    run(&["man", blocked.join("x").to_str().unwrap()]).fails_with(2, &["cannot be written", "hint:"]);
}

#[test]
fn nothing_is_coloured_off_a_terminal() {
    for result in [run(&["probe", "missing.json"]), run(&["demo"])] {
        assert!(!result.text().contains('\u{1b}') && !result.stderr.contains('\u{1b}'));
    }
}

#[test]
fn colour_can_be_forced_and_forbidden() {
    let forced = finish(command().args(["probe", "missing.json"]).env("CLICOLOR_FORCE", "1"));
    assert!(forced.stderr.contains('\u{1b}'));
    let forbidden =
        finish(command().args(["probe", "missing.json"]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1"));
    assert!(!forbidden.stderr.contains('\u{1b}'));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = command()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}
