//! The long run of `ci/soak.sh`, in seconds: it finds each mistake of a daemon, and none where there is none.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

#[path = "../src/bin/soak/run/judge.rs"]
#[allow(dead_code, reason = "a part of the program")]
mod judge;
#[path = "../src/bin/soak/run/sample.rs"]
#[allow(dead_code, reason = "a part of the program")]
mod sample;

use judge::{Fault, Judge};
use rustix::process::{Pid, Signal, kill_process};
use sample::{Sample, slope};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// Runs so few requests a second that several runs fit a small machine.
const RATE: &str = "200";

struct Run {
    directory: tempfile::TempDir,
    child: Child,
}

impl Run {
    fn start(words: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_soak"));
        command.args(words).args(["--rate", RATE, "--seed", "1", "--directory"]).arg(directory.path());
        command.env("XDG_CACHE_HOME", directory.path().join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), directory }
    }

    /// Waits for its end, and checks that it has left no process and no file.
    #[track_caller]
    fn end(self) -> (bool, String) {
        let Output { status, stdout, stderr } = self.child.wait_with_output().unwrap();
        let text = String::from_utf8([stderr, stdout].concat()).unwrap();
        let left = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name != "cache").collect();
        assert!(left.is_empty(), "{left:?} {text}");
        let name = self.directory.path().to_str().unwrap().as_bytes().to_vec();
        for entry in std::fs::read_dir("/proc").unwrap() {
            // Most are no processes, and one may end meanwhile.
            let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
            let names = line.windows(name.len()).any(|word| word == name);
            assert!(!names, "{} {text}", String::from_utf8_lossy(&line));
        }
        (status.success(), text)
    }
}

/// Runs daemons with a mistake until that is found, and checks that it is told as `violation`.
#[track_caller]
fn assert_found(fault: &str, violation: &str) {
    let (passed, text) = Run::start(&["600s", "--first", "--fault", fault, "--patience", "3"]).end();
    assert!(!passed, "{text}");
    let told = text.lines().any(|line| line.starts_with("VIOLATION") && line.contains(violation));
    assert!(told, "{text}");
}

#[test]
fn right_daemons_pass_and_are_replaced_and_killed_meanwhile() {
    // A handover ends connections after the drain timeout, however slow the machine is.
    let (passed, text) = Run::start(&["5s", "--patience", "120", "--drain", "120"]).end();
    assert!(passed, "{text}");
    assert!(text.contains(" lost 0 twice 0 wrong 0\n") && text.contains("violations 0\n"), "{text}");
    for lane in ["keep", "fresh", "probe", "frames", "legacy", "shared", "reconnecting"] {
        for place in ["threads", "tokio", "service"] {
            assert!(text.contains(&format!("  {place}/{lane} ")), "{place}/{lane} {text}");
        }
    }
}

#[test]
fn an_answer_that_a_daemon_drops_is_found() {
    assert_found("drop=50", "no answer");
}

#[test]
fn an_answer_with_a_wrong_byte_is_found() {
    assert_found("wrong=50", "wrong");
}

#[test]
fn an_answer_that_comes_twice_is_found() {
    assert_found("twice=5", "legacy");
}

#[test]
fn a_request_that_runs_twice_is_found() {
    assert_found("rerun=50", "a request was run again");
}

#[test]
fn a_request_that_is_refused_without_a_cause_is_found() {
    assert_found("refuse=50", "the daemon refused the request");
}

#[test]
fn a_panic_is_found() {
    assert_found("panic=50", "panicked");
}

#[test]
fn a_descriptor_that_stays_open_is_found() {
    let (passed, text) =
        Run::start(&["2s", "--fault", "descriptor=1", "--patience", "120", "--settle", "2"]).end();
    assert!(!passed && text.contains(" descriptors at the end, and had "), "{text}");
}

#[test]
fn a_run_that_is_ended_by_a_signal_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut run = Run::start(&["600s"]);
        let mut stdout = BufReader::new(run.child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("runs") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it has ended");
        }
        kill_process(Pid::from_child(&run.child), signal).unwrap();
        let rest = stdout.lines().map(Result::unwrap).collect::<Vec<_>>().join("\n");
        let (passed, text) = run.end();
        assert!(passed && rest.contains("violations 0"), "{rest} {text}");
    }
}

fn judged(lines: &[&str]) -> Judge {
    let mut judge = Judge::default();
    for line in lines {
        judge.line(line, 0);
    }
    judge.close();
    judge
}

#[test]
fn each_request_ends_once_and_is_run_once() {
    let cases: [(&[&str], [u64; 3]); 8] = [
        (
            &["ask 1 a", "run 1 9", "ok 1 9 a", "ask 2 a", "late 2", "ask 3 a", "run 3 9", "cancelled 3"],
            [0, 0, 0],
        ),
        (&["ask 1 a/probe", "ok 1 9 a/probe"], [0, 0, 0]),
        (&["ask 1 a"], [1, 0, 0]),
        (&["ask 1 a", "run 1 9"], [1, 0, 0]),
        (&["ask 1 a", "run 1 9", "run 1 8", "ok 1 8 a"], [0, 1, 0]),
        (&["ask 1 a", "run 1 9", "ok 1 9 a", "ok 1 9 a"], [0, 1, 0]),
        (&["ask 1 a", "ok 1 9 a"], [0, 0, 1]),
        (&["ask 1 a", "run 1 9", "wrong 1 a 7 bytes"], [0, 0, 1]),
    ];
    for (lines, counts) in cases {
        let judge = judged(lines);
        assert_eq!([judge.lost, judge.twice, judge.wrong], counts, "{lines:?}");
        assert_eq!(judge.violations > 0, counts != [0; 3], "{lines:?}");
    }
}

#[test]
fn a_request_of_the_service_may_fail_during_an_outage_only() {
    for (client, began, ended, pid, allowed) in [
        ("service/keep", 150, 160, 0, true),
        ("service/keep", 50, 100, 0, true),
        ("service/keep", 200, 250, 0, true),
        ("service/keep", 201, 250, 0, false),
        ("service/keep", 50, 99, 0, false),
        ("service/keep", 500, 600, 7, true),
        ("service/keep", 500, 600, 8, false),
        ("threads/keep", 150, 160, 7, false),
    ] {
        let mut judge = Judge::default();
        judge.line("start 7 service", 0);
        judge.begins(Fault::Kill, 7, 100);
        judge.mended(200);
        judge.line(&format!("ask 1 {client}"), 0);
        judge.line(&format!("fail 1 {client} {began} {ended} {pid} closed"), 0);
        assert_eq!(
            [judge.interrupted, judge.lost],
            [u64::from(allowed), u64::from(!allowed)],
            "{client} {began}"
        );
    }
}

#[test]
fn a_client_that_reconnects_does_not_fail_while_its_daemon_is_stopped() {
    for (client, lost) in [("service/keep", 0), ("service/reconnecting", 1)] {
        let mut judge = Judge::default();
        judge.line("start 7 service", 0);
        judge.begins(Fault::Stop, 7, 100);
        judge.line(&format!("fail 0 {client} 150 160 7 closed"), 0);
        assert_eq!(judge.lost, lost, "{client}");
    }
}

#[test]
fn the_slope_is_that_of_the_second_half() {
    let samples: Vec<_> = (0..100)
        .map(|second| {
            let (at, rss) =
                (f64::from(second), f64::from(if second < 50 { 1000 * second } else { 60_000 + 2 * second }));
            Sample { at, rss, ..Sample::default() }
        })
        .collect();
    assert!((slope(&samples, |sample| sample.rss) - 7200.0).abs() < 1e-6);
}
