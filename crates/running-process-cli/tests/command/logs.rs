//! The log of a service, printed and followed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::service::{Services, pid};
use crate::common::terminal::Terminal;
use crate::common::{WATCHDOG, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc;

/// Makes the directory of the service `cache` with this log, and returns the path of the log.
fn log(services: &Services, text: &[u8]) -> PathBuf {
    services.configure_cache("cache", "");
    let directory = services.root().join("cache");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("log"), text).unwrap();
    directory.join("log")
}

/// Begins to follow the log of `cache`.
fn follow(services: &Services, arguments: &[&str]) -> (Child, Following) {
    let mut command = services.command(&[&["logs", "cache", "-f"], arguments].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let following = Following::of(child.stdout.take().unwrap());
    (child, following)
}

/// The lines of a log that is followed.
struct Following(mpsc::Receiver<String>);

impl Following {
    fn of(stdout: ChildStdout) -> Self {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let sent = |line: std::io::Result<String>| sender.send(line.unwrap()).is_ok();
            BufReader::new(stdout).lines().all(sent);
        });
        Self(lines)
    }

    #[track_caller]
    fn expect(&self, line: &str) {
        assert_eq!(self.0.recv_timeout(WATCHDOG).unwrap(), line);
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    wait(&mut child);
}

#[test]
fn the_last_lines_of_both_files_are_printed() {
    let services = Services::new();
    let log = log(&services, b"three\nfour\n");
    fs::write(log.with_extension("1"), "one\ntwo\n").unwrap();
    let printed = |arguments: &[&str]| {
        let finished = services.run(&[&["logs", "cache"], arguments].concat());
        assert_eq!(finished.status, 0, "{finished:?}");
        finished.text().to_owned()
    };
    assert_eq!(printed(&[]), "one\ntwo\nthree\nfour\n");
    assert_eq!(printed(&["--lines", "3"]), "two\nthree\nfour\n");
    assert_eq!(printed(&["-n", "all"]), "one\ntwo\nthree\nfour\n");
    fs::write(&log, "line\n".repeat(150)).unwrap();
    assert_eq!(printed(&[]), "line\n".repeat(100));
    let lines = services.json_lines(0, &["logs", "cache", "-n", "2"]);
    assert_eq!(lines.iter().map(|line| line["line"].as_str().unwrap()).collect::<Vec<_>>(), ["line", "line"]);
}

#[test]
fn a_service_without_a_log_is_told() {
    let services = Services::new();
    services.configure_cache("cache", "");
    let hint = "hint: to start it: running-process start cache";
    for arguments in [&["logs", "cache"][..], &["logs", "cache", "-f"]] {
        services.run(arguments).fails_with(1, &["cache has no log", hint]);
    }
    services.run(&["logs", "cahce"]).fails_with(2, &["the nearest known one is \"cache\""]);
    services.run(&["logs", "cache", "-n", "ten"]).fails_with(2, &["for example 20, or all"]);
    let log = log(&services, b"");
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    services.run(&["logs", "cache"]).fails_with(2, &["the log", "cannot be read"]);
}

#[test]
fn what_is_added_is_printed_at_once_also_when_the_log_has_become_the_former_one() {
    let services = Services::new();
    let path = log(&services, b"before\n");
    let (child, following) = follow(&services, &["-n", "1"]);
    following.expect("before");
    let mut writer = fs::File::options().append(true).open(&path).unwrap();
    writer.write_all(b"added\n").unwrap();
    following.expect("added");
    for round in 0..20 {
        fs::rename(&path, path.with_extension("1")).unwrap();
        writer.write_all(format!("late {round}\n").as_bytes()).unwrap();
        fs::write(&path, format!("new {round}\n")).unwrap();
        following.expect(&format!("late {round}"));
        following.expect(&format!("new {round}"));
        writer = fs::File::options().append(true).open(&path).unwrap();
    }
    end(child);
}

#[test]
fn the_log_is_followed_over_a_restart_of_the_daemon() {
    let services = Services::new();
    services.configure_cache("cache", "");
    let first = pid(&services.json(0, &["start", "cache"]));
    let (child, following) = follow(&services, &["-n", "all"]);
    let ready = |pid: u32| {
        let line = following.0.recv_timeout(WATCHDOG).unwrap();
        assert!(line.contains(&pid.to_string()), "{line}");
    };
    ready(first);
    while following.0.try_recv().is_ok() {}
    services.json(0, &["stop", "cache"]);
    let second = pid(&services.json(0, &["start", "cache"]));
    loop {
        let line = following.0.recv_timeout(WATCHDOG).unwrap();
        if line.contains(&second.to_string()) {
            break;
        }
    }
    end(child);
}

#[test]
fn a_closed_pipe_ends_it_while_nothing_is_written() {
    let services = Services::new();
    log(&services, b"before\n");
    let mut command = services.command(&["logs", "cache", "-f"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    assert_eq!(wait(&mut child), Some(0));
}

#[test]
fn ctrl_c_ends_it_at_once() {
    let services = Services::new();
    log(&services, b"before\n");
    let (mut child, following) = follow(&services, &[]);
    following.expect("before");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(2), "the shell tells 130");
}

#[test]
fn a_directory_that_is_moved_away_ends_it_with_an_error() {
    let services = Services::new();
    let path = log(&services, b"before\n");
    let (child, following) = follow(&services, &[]);
    following.expect("before");
    fs::rename(path.parent().unwrap(), services.path("away")).unwrap();
    crate::common::collect_unread(child).fails_with(2, &["the directory of the log was removed or moved"]);
}

#[test]
fn a_terminal_gets_no_control_character_and_a_pipe_gets_every_byte() {
    let services = Services::new();
    let hostile = b"\x1b]0;title\x07 \xff \xe2\x80\xaetext\n";
    log(&services, hostile);
    assert_eq!(services.run(&["logs", "cache"]).stdout, hostile);
    let mut terminal = Terminal::open(80, 24);
    let child = terminal.spawn(&mut services.command(&["logs", "cache"]));
    assert_eq!(terminal.finish(child), 0);
    assert_eq!(terminal.screen.text(), r"\u{1b}]0;title\u{7} \xff \u{202e}text");
}
