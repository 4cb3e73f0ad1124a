//! Text for a person: widths, styles, summaries.

use super::machine::{Machine, in_private_mounts, is_root};
use crate::common::finish;
use crate::common::service::{ends, signal};
use crate::common::terminal::Terminal;
use std::fs;

#[test]
fn a_healthy_service_is_one_line() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    machine.cache("");
    fs::create_dir(machine.services.path("mount")).unwrap();
    // In a place that is neither temporary nor a build's.
    let script = "mount -t tmpfs none /mnt; cp \"$0\" /mnt/running-process; cd /
        sed \"s|^command.*|command = ['/mnt/running-process', 'serve', '--service', '/mnt/$2.toml']|\" \"$1\" > /mnt/$2.toml
        /mnt/running-process start --file /mnt/$2.toml >&2
        /mnt/running-process doctor --file /mnt/$2.toml
        /mnt/running-process stop --file /mnt/$2.toml >&2
        /mnt/running-process doctor --file /mnt/$2.toml";
    let mut unshare = in_private_mounts(script);
    unshare.args([&machine.file(), &machine.name]).env("RUNNING_PROCESS_DIR", machine.services.root());
    let finished = finish(&mut unshare);
    assert_eq!(finished.status, 0, "{finished:?}");
    let name = &machine.name;
    let expected = format!("ok: {name} is live, nothing is wrong\nok: {name} is absent, nothing is wrong");
    // A container adds notes.
    let lines: Vec<&str> = finished.text().lines().filter(|line| line.starts_with("ok: ")).collect();
    assert_eq!(lines.join("\n").replace("1 note", "nothing is wrong"), expected, "{finished:?}");
}

#[test]
fn findings_fit_each_terminal_and_commands_can_be_copied() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    signal("KILL", pid);
    ends(pid);
    let doctor = || machine.services.command(&["doctor", "--file", &file]);
    let pipe = finish(&mut doctor());
    assert!(!pipe.text().contains('\u{1b}'), "{pipe:?}");
    let remedy = format!("running-process doctor --file {file} --fix");
    assert!(pipe.text().contains(&format!("\n    {remedy}\n")), "{pipe:?}");
    let last = pipe.text().lines().last().unwrap();
    assert_eq!(last, format!("{} is stale: 2 warnings; to mend 1 of them: {remedy}", machine.name));
    for columns in [40, 80, 200] {
        let mut terminal = Terminal::open(columns, 60);
        let child = terminal.spawn(&mut doctor());
        assert_eq!(terminal.finish(child), 1);
        assert!(terminal.written().contains(&remedy), "it is not broken");
        let plain = anstream_free(&terminal.written());
        for line in plain.lines().filter(|line| line.starts_with("  ") && !line.starts_with("    ")) {
            let is_word = line.trim().split(' ').count() == 1;
            assert!(line.chars().count() <= usize::from(columns) || is_word, "{columns}: {line:?}");
        }
    }
    let mut terminal = Terminal::open(80, 60);
    let child = {
        let mut doctor = doctor();
        let spawned =
            doctor.stdout(terminal.end()).stderr(terminal.end()).env("NO_COLOR", "1").env("TERM", "xterm");
        spawned.spawn().unwrap()
    };
    assert_eq!(terminal.finish(child), 1);
    assert!(!terminal.written().contains('\u{1b}'), "{}", terminal.written());
}

/// Returns the text without its styles and carriage returns.
fn anstream_free(text: &str) -> String {
    let mut plain = String::new();
    for piece in text.split('\u{1b}') {
        let rest =
            piece.strip_prefix('[').and_then(|rest| rest.split_once('m')).map_or(piece, |(_, rest)| rest);
        plain.push_str(rest);
    }
    plain.replace('\r', "")
}

#[test]
fn a_fix_shows_each_change_before_it_is_made() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    signal("KILL", pid);
    ends(pid);
    let fixed = machine.services.run(&["doctor", "--fix", "--file", &file]);
    let name = &machine.name;
    let place = |file| machine.place(file).display().to_string();
    let expected = format!(
        "fix {name}: write {}\nfix {name}: remove {}\nfix {name}: remove {}\n",
        place("starts.json"),
        place("identity.json"),
        place("socket")
    );
    assert!(fixed.text().starts_with(&expected), "{fixed:?}");
    assert!(fixed.text().contains("\n  Not fixed: "), "{fixed:?}");
    assert!(!fixed.text().contains("stale_files"), "{fixed:?}");
    let next = format!("\nfixed {name}; now: running-process start --file {file}\n");
    assert!(fixed.text().contains(&next), "{fixed:?}");
}

#[test]
fn without_services_nothing_is_wrong_and_an_unknown_name_is_told() {
    let machine = Machine::new();
    let all = machine.services.run(&["doctor"]);
    // Daemons of other roots, of whoever else uses the machine, are told as notes.
    let strangers = all.text().lines().filter(|line| line.ends_with(": unreachable_elsewhere")).count();
    let headings = all.text().lines().filter(|line| line.starts_with("note ")).count();
    assert_eq!((all.status, headings), (0, strangers), "{all:?}");
    if strangers == 0 {
        assert_eq!(all.text(), "ok: no service is known, nothing is wrong\n");
    }
    machine.services.run(&["doctor", "cache"]).fails_with(2, &["no service is called \"cache\""]);
    machine.services.run(&["doctor", "--file", "/missing.toml"]).fails_with(2, &["cannot be read"]);
}

#[test]
fn hostile_text_is_escaped() {
    let machine = Machine::new();
    let file = machine.script("printf 'a\\033[31mb\\n'; exit 1", "");
    machine.services.run(&["start", "--file", &file]);
    let doctor = machine.services.run(&["doctor", "--file", &file]);
    assert!(doctor.text().contains("    | a\\u{1b}[31mb\n"), "{doctor:?}");
}
