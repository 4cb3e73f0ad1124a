//! Help, colours, completions, the manual and captures, on a terminal and in a pipe.

use crate::common::{command, finish, run, run_with_input};

#[test]
fn help_names_every_command_and_the_exit_status() {
    let help = run(&["--help"]);
    assert_eq!(help.status, 0);
    for word in ["demo", "serve", "probe", "call", "load", "top", "decode", "completions", "man", "undecided"]
    {
        assert!(help.text().contains(word), "{word}");
    }
}

#[cfg(unix)]
#[test]
fn help_is_wrapped_to_the_terminal() {
    for columns in [40, 80, 200] {
        for arguments in [&["--help"][..], &["load", "--help"], &["probe", "-h"], &["completions", "-h"]] {
            let mut terminal = crate::common::terminal::Terminal::open(columns, 300);
            let child = terminal.spawn(command().args(arguments));
            assert_eq!(terminal.finish(child), 0);
            let help = terminal.written().replace('\r', "");
            let plain = anstream::adapter::strip_str(&help).to_string();
            let too_long: Vec<&str> =
                plain.lines().filter(|line| line.chars().count() > columns.into()).collect();
            assert!(too_long.is_empty(), "{columns}: {too_long:#?}");
        }
    }
}

#[test]
fn the_help_puts_each_command_into_one_group() {
    let help = run(&["--help"]);
    let groups = ["See it:", "Run it:", "Send to it:", "Explain it:", "This command:", "Options:"];
    let titles: Vec<&str> = help.text().lines().filter(|line| groups.contains(line)).collect();
    assert_eq!(titles, groups);
    assert!(help.text().starts_with("Examples:\n  running-process "), "{help:?}");
    let listed =
        |name: &str| help.text().lines().filter(|line| line.starts_with(&format!("  {name} "))).count();
    for name in
        ["ps", "status", "top", "start", "call", "load", "probe", "decode", "demo", "completions", "man"]
    {
        assert_eq!(listed(name), 1, "{name}: {}", help.text());
    }
}

#[test]
fn invalid_arguments_give_status_two() {
    run(&[]).fails_with(2, &["Usage"]);
    run(&["prob"]).fails_with(2, &["probe"]);
    run(&["probe"]).fails_with(2, &["<NAME|FILE"]);
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
        let title = |name| text.find(&format!("\n.SH {name}\n")).unwrap_or_else(|| panic!("{page}: {name}"));
        assert!(title("NAME") < title("EXAMPLES") && title("EXAMPLES") < title("\"EXIT STATUS\""), "{page}");
        assert!(text[title("EXAMPLES")..].contains("running\\-process "), "{page}");
    }
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    run(&["man", blocked.join("x").to_str().unwrap()]).fails_with(2, &["cannot be written", "hint:"]);
}

#[test]
fn output_that_is_no_terminal_has_no_colours() {
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

const REQUEST: &[u8] = b"\x01\x0e\0\0\0\x08\x01\x18\xe3\xf4\x01\x22\x04ping\x28\x01";

#[test]
fn a_capture_is_explained_from_a_file_and_from_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture");
    std::fs::write(&file, REQUEST).unwrap();
    let from_file = run(&["decode", file.to_str().unwrap()]);
    assert_eq!(from_file.status, 0);
    for words in ["payload_protocol", "0x7A63 zccache", "\"ping\"", "request_id"] {
        assert!(from_file.text().contains(words), "{words}: {}", from_file.text());
    }
    assert_eq!(run_with_input(&["decode"], REQUEST).text(), from_file.text());
    assert_eq!(run_with_input(&["decode", "-"], REQUEST).text(), from_file.text());
    let json = run_with_input(&["decode", "--json"], REQUEST).objects();
    assert_eq!((json.len(), &json[0]["event"], &json[0]["accepted"]), (2, &"frame".into(), &true.into()));
    assert_eq!((&json[1]["event"], &json[1]["length"]), (&"end".into(), &19.into()));
}

#[test]
fn a_damaged_capture_gives_status_one_and_names_the_bytes() {
    let cut = run_with_input(&["decode"], &REQUEST[..7]);
    assert_eq!(cut.status, 1);
    assert!(cut.text().contains("12 bytes are missing of 14"), "{}", cut.text());
    let legacy = run_with_input(&["decode"], b"PING\r\n");
    assert_eq!(legacy.status, 1);
    assert!(legacy.text().contains("the first byte is 0x50"), "{}", legacy.text());
    let mut damaged = REQUEST.to_vec();
    damaged[12] = 200;
    let damaged = run_with_input(&["decode"], &damaged);
    assert_eq!(damaged.status, 1);
    assert!(damaged.text().contains('^') && damaged.text().contains("error:"), "{}", damaged.text());
}

#[test]
fn an_unreadable_capture_gives_status_two() {
    run(&["decode", "missing"]).fails_with(2, &["the capture missing cannot be read", "hint:"]);
    run(&["decode", "."]).fails_with(2, &["cannot be read", "hint:"]);
    #[cfg(unix)]
    run(&["decode", "/dev/zero"]).fails_with(2, &["exceeds 67108864 bytes", "head -c"]);
}
