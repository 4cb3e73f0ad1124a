//! Printed errors and their hints.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::server::TestServer;
use crate::common::{Daemon, finish, run, text};
use std::process::Command;
use std::sync::{Mutex, mpsc};

fn probe_in(shell: &str, identity_file: &str) -> crate::common::Finished {
    let mut command = Command::new("sh");
    command.args(["-c", shell, env!("CARGO_BIN_EXE_running-process"), "probe", identity_file]);
    finish(&mut command)
}

#[test]
fn a_plain_file_in_the_place_of_the_socket_is_reported_as_such() {
    let daemon = Daemon::start();
    std::fs::rename(daemon.socket(), daemon.directory.path().join("aside")).unwrap();
    std::fs::write(daemon.socket(), "").unwrap();
    let probe = run(&["probe", text(&daemon.identity_file())]);
    probe.fails_with(1, &["is not a stream socket", "another file has replaced the daemon's socket"]);
}

#[test]
fn a_limit_of_open_files_gives_status_two() {
    let daemon = Daemon::start();
    for limit in 4..9 {
        let probe =
            probe_in(&format!("ulimit -n {limit} && exec \"$0\" \"$@\""), text(&daemon.identity_file()));
        if probe.status != 0 {
            probe.fails_with(
                2,
                &[
                    "Too many open files",
                    "hint: this process has reached its limit of open files",
                    "ulimit -n",
                ],
            );
            return;
        }
    }
    panic!("no limit is too low");
}

#[test]
fn without_proc_the_error_names_it() {
    let daemon = Daemon::start();
    let script = "mount -t tmpfs none /proc || exit 77; exec \"$0\" \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_running-process"), "probe"]);
    let probe = finish(unshare.arg(daemon.identity_file()));
    if probe.status == 77 || probe.stderr.contains("unshare") {
        println!("skipped: mounting needs root ({})", probe.stderr.trim());
        return;
    }
    probe.fails_with(2, &["the proc file system is not mounted at /proc"]);
}

#[test]
fn an_identity_file_with_a_byte_order_mark_is_read() {
    let daemon = Daemon::start();
    let json = std::fs::read(daemon.identity_file()).unwrap();
    let marked = daemon.directory.path().join("marked.json");
    std::fs::write(&marked, [b"\xef\xbb\xbf", &*json].concat()).unwrap();
    assert_eq!(run(&["probe", text(&marked)]).status, 0);
}

#[test]
fn numbers_have_units() {
    let daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let probe = run(&["probe", text(&identity_file)]);
    assert!(probe.text().contains(" s after boot, as recorded"), "{probe:?}");
    let load = run(&[
        "load",
        text(&identity_file),
        "--protocol",
        "0xF0CA",
        "--requests",
        "1",
        "--warm-up",
        "0s",
        "P",
    ]);
    assert!(load.text().contains("1 connection x 1 in flight, 1 byte each"), "{load:?}");
    assert!(load.text().contains(", 1 request\n"), "{load:?}");
}

#[test]
fn a_timeout_is_reported_as_given() {
    let (release, is_released) = mpsc::channel::<()>();
    let is_released = Mutex::new(is_released);
    let server = TestServer::start(|server| {
        server.serve(0xF00D, move |_| {
            let _released = is_released.lock().unwrap().recv();
            Ok(Vec::new())
        })
    });
    let call = run(&["call", &server.identity_file(), "--protocol", "0xF00D", "--deadline", "1500ms", "x"]);
    drop(release);
    drop(server);
    // The daemon knows the deadline as well and may refuse the request first.
    assert!(matches!(call.status, 1 | 2), "{call:?}");
    if call.status == 2 {
        call.fails_with(2, &["no answer within 1.5s", "wait longer with --deadline"]);
    }
}
