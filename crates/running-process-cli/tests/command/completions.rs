//! The completion scripts in their shells.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{finish, run, text};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const COMMANDS: [&str; 9] = ["demo", "serve", "probe", "call", "load", "top", "decode", "completions", "man"];

/// Writes the shell's script to a private directory; returns `None` if the shell is not installed.
fn script(shell: &str) -> Option<(TempDir, PathBuf)> {
    if Command::new(shell).arg("--version").output().is_err() {
        println!("skipped: {shell} is not installed");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    std::fs::write(&path, run(&["completions", shell]).stdout).unwrap();
    Some((directory, path))
}

/// Returns the long options of a command, as its help lists them.
fn options(command: &str) -> BTreeSet<String> {
    let help = run(&[command, "--help"]);
    let is_option = |char: char| char.is_ascii_lowercase() || char == '-';
    let options: BTreeSet<String> = (help.text().lines())
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches("-h, ").trim_start_matches("-V, ");
            let name = line.strip_prefix("--")?;
            Some(format!("--{}", name.chars().take_while(|char| is_option(*char)).collect::<String>()))
        })
        .collect();
    assert!(options.contains("--help") && options.contains("--json"), "{options:?}");
    options
}

#[track_caller]
fn assert_offered(shell: &str, command: &str, offered: &str) {
    let words: BTreeSet<&str> = offered.split_whitespace().collect();
    for option in options(command) {
        assert!(words.contains(option.as_str()), "{shell} does not offer {command} {option}: {offered}");
    }
}

/// Returns the completions that bash offers for the last of `words`.
fn bash(script: &PathBuf, words: &[&str]) -> String {
    let driver = r#"
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function=$(complete -p running-process | grep -o -- '-F [^ ]*' | cut -c4-)
        "$function" running-process "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "-c", driver, "bash"]).arg(script).args(words);
    let finished = finish(&mut command);
    assert_eq!(finished.stderr, "");
    finished.text().to_owned()
}

#[test]
fn bash_completes_every_command_option_and_value() {
    let Some((_directory, script)) = script("bash") else { return };
    let offered = bash(&script, &["running-process", ""]);
    assert!(COMMANDS.iter().all(|command| offered.lines().any(|word| word == *command)), "{offered}");
    for command in COMMANDS {
        assert_offered("bash", command, &bash(&script, &["running-process", command, "--"]));
        assert_offered("bash", command, &bash(&script, &["running-process", "--json", command, "--"]));
    }
    let values = bash(&script, &["running-process", "probe", "f.json", "--policy", ""]);
    assert_eq!(values, "default\nstrict\nlenient\n");
    assert_eq!(bash(&script, &["running-process", "completions", "el"]), "elvish\n");
}

#[test]
fn fish_completes_every_command_option_and_value() {
    let Some((directory, script)) = script("fish") else { return };
    let fish = |line: &str| {
        let mut command = Command::new("fish");
        command.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]).arg(&script).arg(line);
        let finished = finish(command.env("HOME", directory.path()));
        // A description follows each word.
        finished
            .text()
            .lines()
            .map(|line| line.split('\t').next().unwrap().to_owned() + "\n")
            .collect::<String>()
    };
    let offered = fish("running-process ");
    assert!(COMMANDS.iter().all(|command| offered.lines().any(|word| word == *command)), "{offered}");
    for command in COMMANDS {
        assert_offered("fish", command, &fish(&format!("running-process {command} --")));
    }
    assert_eq!(fish("running-process completions el"), "elvish\n");
    let values = fish("running-process probe f.json --policy ");
    assert!(["default", "strict", "lenient"].iter().all(|value| values.contains(value)), "{values}");
}

#[test]
fn zsh_completes_every_command_option_and_value() {
    let Some((directory, script)) = script("zsh") else { return };
    // The test sends the completion key to an interactive shell on a terminal. Completion functions pass their words to
    // `compadd`, which prints them here.
    let driver = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        until_mark() {
            local text line
            while zpty -r shell line; do text+=$line; [[ $line == *"<$1>"* ]] && break; done
            print -r -- "$text"
        }
        zpty -w shell "PS1= PS2= RPS1=; stty -echo; source $2/inner $1 $2; print '<''ready>'"
        until_mark ready >/dev/null
        for line in "${@:3}"; do
            zpty -w -n shell "$line"$'\C-t'
            print -r -- "=== $line"
            until_mark end
        done
        zpty -d shell"#;
    let inner = r#"
        autoload -Uz compinit; compinit -u -d $2/dump; source $1
        compadd() {
            if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
            local -a offered; builtin compadd -A offered "$@"; print -rl -- "" $offered
            builtin compadd "$@"
        }
        show() { zle complete-word; print '<end>'; BUFFER= }
        zle -N show; bindkey '^T' show"#;
    std::fs::write(directory.path().join("inner"), inner).unwrap();
    let lines: Vec<String> = COMMANDS.iter().map(|command| format!("running-process {command} --")).collect();
    let mut command = Command::new("zsh");
    command.args(["-f", "-c", driver, "zsh", text(&script), text(directory.path())]).args(&lines);
    command.args(["running-process ", "running-process probe f.json --policy "]);
    let finished = finish(command.env("HOME", directory.path()).env("TERM", "xterm"));
    let lists: Vec<&str> = finished.text().split("=== ").skip(1).collect();
    assert_eq!(lists.len(), COMMANDS.len() + 2, "{finished:?}");
    for (command, list) in COMMANDS.iter().zip(&lists) {
        assert_offered("zsh", command, list);
    }
    for command in COMMANDS {
        assert!(lists[COMMANDS.len()].split_whitespace().any(|word| word == command), "{finished:?}");
    }
    let values = lists[COMMANDS.len() + 1];
    assert!(["default", "strict", "lenient"].iter().all(|value| values.contains(value)), "{values}");
}
