//! The completion scripts in their shells.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::service::Services;
use crate::common::{finish, run, text};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMMANDS: [&str; 16] = [
    "demo",
    "serve",
    "start",
    "stop",
    "restart",
    "status",
    "logs",
    "ps",
    "doctor",
    "probe",
    "call",
    "load",
    "top",
    "decode",
    "completions",
    "man",
];

/// The commands that take the name of a service.
const NAMED: [&str; 5] = ["start", "stop", "restart", "status", "logs"];

/// The commands that take the name of a service, or the path of a file.
const NAMED_OR_FILE: [&str; 4] = ["probe", "call", "load", "top"];

/// Writes the shell's script to a private directory with services; returns `None` if the shell is not installed.
fn script(shell: &str) -> Option<(Services, PathBuf)> {
    if Command::new(shell).arg("--version").output().is_err() {
        println!("skipped: {shell} is not installed");
        return None;
    }
    let services = Services::new();
    for label in ["cache", "build.2", "$(touch ran)", "two words"] {
        services.configure(label, "");
    }
    let path = services.path("script");
    std::fs::write(&path, run(&["completions", shell]).stdout).unwrap();
    Some((services, path))
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

/// Returns the shell, which finds the command in its `PATH`.
fn shell(name: &str, services: &Services) -> Command {
    let directory = Path::new(env!("CARGO_BIN_EXE_running-process")).parent().unwrap();
    let mut command = services.with_directories(Command::new(name));
    command.env("HOME", services.path("")).current_dir(services.path(""));
    command.env("PATH", format!("{}:{}", directory.display(), std::env::var("PATH").unwrap()));
    command
}

/// Returns the completions that bash offers for the last of `words`.
fn bash(services: &Services, script: &Path, words: &[&str]) -> String {
    let driver = r#"
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function=$(complete -p running-process | grep -o -- '-F [^ ]*' | cut -c4-)
        "$function" running-process "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = shell("bash", services);
    command.args(["--norc", "--noprofile", "-c", driver, "bash"]).arg(script).args(words);
    let finished = finish(&mut command);
    assert_eq!(finished.stderr, "");
    finished.text().to_owned()
}

#[test]
fn bash_completes_every_command_option_and_value() {
    let Some((services, script)) = script("bash") else { return };
    let bash = |words: &[&str]| bash(&services, &script, words);
    let offered = bash(&["running-process", ""]);
    assert!(COMMANDS.iter().all(|command| offered.lines().any(|word| word == *command)), "{offered}");
    for command in COMMANDS {
        assert_offered("bash", command, &bash(&["running-process", command, "--"]));
        assert_offered("bash", command, &bash(&["running-process", "--json", command, "--"]));
    }
    let values = bash(&["running-process", "probe", "f.json", "--policy", ""]);
    assert_eq!(values, "default\nstrict\nlenient\n");
    assert_eq!(bash(&["running-process", "completions", "el"]), "elvish\n");
    for command in NAMED {
        assert_eq!(bash(&["running-process", command, "b"]), "build.2\n", "{command}");
        let all = bash(&["running-process", command, ""]);
        let names: Vec<_> = all.lines().filter(|word| !word.starts_with('-')).collect();
        assert_eq!(names, ["build.2", "cache"], "{command}");
    }
    assert_eq!(bash(&["running-process", "logs", "-f", "ca"]), "cache\n");
    for command in NAMED_OR_FILE {
        assert_eq!(bash(&["running-process", command, "b"]), "build.2\n", "{command}");
    }
    // Neither a process to end nor a time is a file.
    for option in ["--end", "--deadline"] {
        assert_eq!(bash(&["running-process", "doctor", "--fix", option, ""]), "\n");
    }
    assert!(!services.path("ran").exists());
}

#[test]
fn fish_completes_every_command_option_and_value() {
    let Some((services, script)) = script("fish") else { return };
    let fish = |line: &str| {
        let mut command = shell("fish", &services);
        command.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]).arg(&script).arg(line);
        let finished = finish(&mut command);
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
    for command in NAMED {
        assert_eq!(fish(&format!("running-process {command} ")), "build.2\ncache\n", "{command}");
    }
    for command in NAMED_OR_FILE {
        let offered = fish(&format!("running-process {command} "));
        let words: BTreeSet<&str> = offered.lines().collect();
        assert!(
            ["build.2", "cache", "script"].iter().all(|word| words.contains(word)),
            "{command}: {offered}"
        );
    }
    assert_eq!(fish("running-process doctor --fix --end "), "");
    let values = fish("running-process probe f.json --policy ");
    assert!(["default", "strict", "lenient"].iter().all(|value| values.contains(value)), "{values}");
}

#[test]
fn zsh_completes_every_command_option_and_value() {
    let Some((services, script)) = script("zsh") else { return };
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
    std::fs::write(services.path("inner"), inner).unwrap();
    let lines: Vec<String> = COMMANDS.iter().map(|command| format!("running-process {command} --")).collect();
    let mut command = shell("zsh", &services);
    command.args(["-f", "-c", driver, "zsh", text(&script), text(&services.path(""))]).args(&lines);
    command.args(["running-process ", "running-process probe f.json --policy "]);
    command.args(NAMED.map(|command| format!("running-process {command} ")));
    command.args(NAMED_OR_FILE.map(|command| format!("running-process {command} ")));
    let finished = finish(command.env("TERM", "xterm"));
    let lists: Vec<&str> = finished.text().split("=== ").skip(1).collect();
    assert_eq!(lists.len(), COMMANDS.len() + 2 + NAMED.len() + NAMED_OR_FILE.len(), "{finished:?}");
    for (command, list) in COMMANDS.iter().zip(&lists) {
        assert_offered("zsh", command, list);
    }
    for command in COMMANDS {
        assert!(lists[COMMANDS.len()].split_whitespace().any(|word| word == command), "{finished:?}");
    }
    let values = lists[COMMANDS.len() + 1];
    assert!(["default", "strict", "lenient"].iter().all(|value| values.contains(value)), "{values}");
    for list in &lists[COMMANDS.len() + 2..] {
        let words: Vec<&str> = list.split_whitespace().collect();
        assert!(words.contains(&"build.2") && words.contains(&"cache"), "{finished:?}");
    }
}
