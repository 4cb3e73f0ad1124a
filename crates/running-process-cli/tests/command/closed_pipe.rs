//! Commands whose reader has closed its end: the verdict stays the same.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{Daemon, Finished, collect_unread, command, run, run_with_input, text};
use std::fs::File;
use std::io::Write;
use std::process::Stdio;

/// Runs the command with a standard output whose reader has closed its end.
fn unread(arguments: &[&str]) -> Finished {
    unread_with_input(arguments, b"")
}

fn unread_with_input(arguments: &[&str], input: &[u8]) -> Finished {
    let (reader, stdout) = std::io::pipe().unwrap();
    drop(reader);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(input).unwrap();
    let mut command = command();
    let child = command.args(arguments).stdin(File::open(file.path()).unwrap()).stdout(stdout);
    let child = child.stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    collect_unread(child)
}

#[test]
fn every_command_keeps_its_exit_status_and_prints_no_error_about_the_reader() {
    let daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let identity_file = text(&identity_file);
    let altered = daemon.identity_file_of_another_process();
    let altered = altered.as_str();
    let man = daemon.directory.path().join("man");
    let load = ["load", identity_file, "--requests", "1", "--warm-up", "0s", "--protocol"];
    let cases: [&[&str]; 13] = [
        &["probe", identity_file],
        &["probe", altered],
        &["probe", identity_file, "--policy", "strict", "--deadline", "1ns"],
        &["call", identity_file, "--protocol", "0xF0CA", "PING"],
        &["call", altered, "--protocol", "0xF0CA", "PING"],
        &[&load[..], &["0xF0CA"]].concat(),
        &[&load[..], &["0xF0CB"]].concat(),
        &["top", identity_file, "--count", "2", "--interval", "1ms"],
        &["top", altered, "--once"],
        &["completions", "bash"],
        &["man", text(&man)],
        &["--help"],
        &["probe"],
    ];
    for arguments in cases {
        for json in [false, true] {
            let arguments: Vec<&str> = arguments.iter().copied().chain(json.then_some("--json")).collect();
            let (read, unread) = (run(&arguments), unread(&arguments));
            assert_eq!(unread.status, read.status, "{arguments:?}: {unread:?}");
            assert_eq!(
                unread.stderr.lines().count(),
                read.stderr.lines().count(),
                "{arguments:?}: {unread:?}"
            );
        }
    }
}

#[test]
fn a_capture_is_decoded_to_its_end() {
    let good = b"\x01\x0e\0\0\0\x08\x01\x18\xe3\xf4\x01\x22\x04ping\x28\x01".repeat(10_000);
    let damaged = [&good[..], b"\x01\x02\0\0\0\x0f\0"].concat();
    for (input, status) in [(&good, 0), (&damaged, 1)] {
        for arguments in [&["decode"][..], &["decode", "--json"]] {
            let unread = unread_with_input(arguments, input);
            assert_eq!((unread.status, &*unread.stderr), (status, ""), "{arguments:?}");
        }
    }
    assert_eq!(run_with_input(&["decode"], &damaged).status, 1);
}

#[test]
fn the_demo_continues_and_top_ends_without_a_reader() {
    let demo = unread(&["demo"]);
    assert_eq!((demo.status, &*demo.stderr), (0, ""));
    // The command ends once its reader has closed its end.
    let daemon = Daemon::start();
    let top = unread(&["top", text(&daemon.identity_file()), "--interval", "1ms"]);
    assert_eq!((top.status, &*top.stderr), (0, ""));
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let child = command().args(["completions", "bash"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    collect_unread(child).fails_with(2, &["standard output cannot be written", "hint: free some space"]);
}
