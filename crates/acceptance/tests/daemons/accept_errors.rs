//! Servers whose `accept` fails: an error that belongs to one connection costs no other one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process_acceptance::{installed, watched};
use std::process::{Command, Output};

/// Sends ten requests to a server on `driver` whose calls of accept(2) with the numbers `when` fail with `error`.
/// Returns `None` if nothing can be traced here.
fn rounds(driver: &str, error: &str, when: &str) -> Option<Output> {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("strace");
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-e",
        "trace=accept4",
        "-e",
        &format!("inject=accept4:error={error}:when={when}"),
    ]);
    command.arg("-o").arg(&log).args([env!("CARGO_BIN_EXE_rounds"), driver]);
    command.arg(directory.path().join("socket")).arg("10");
    let output = watched(move || command.output().unwrap());
    let Ok(log) = std::fs::read_to_string(&log) else { panic!("{output:?}") };
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("ptrace") {
        println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    assert!(log.contains("(INJECTED)"), "nothing was injected: {log}");
    Some(output)
}

#[test]
fn an_error_that_belongs_to_a_connection_or_passes_ends_no_server() {
    if !installed("strace", &["-V"]) {
        return println!("skipped: there is no strace");
    }
    let of_connections = ["EPERM", "EACCES", "EPROTO", "ECONNABORTED", "ENETDOWN", "EHOSTUNREACH", "EINTR"];
    let of_the_process = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"];
    for driver in ["blocking", "tokio"] {
        for error in of_connections.into_iter().chain(of_the_process) {
            // Once, and three times in a row.
            for when in ["1", "1..3"] {
                let Some(output) = rounds(driver, error, when) else { return };
                assert!(output.status.success(), "{driver}, {error}, {when}: {output:?}");
            }
        }
    }
}

#[test]
fn an_error_of_the_listener_ends_its_server() {
    if !installed("strace", &["-V"]) {
        return println!("skipped: there is no strace");
    }
    for driver in ["blocking", "tokio"] {
        for error in ["EBADF", "EINVAL", "ENOTSOCK", "EOPNOTSUPP"] {
            let Some(output) = rounds(driver, error, "1") else { return };
            assert!(!output.status.success(), "{driver}, {error}: {output:?}");
        }
    }
}
