//! Handles to a real daemon process, and their behaviour when it ends.

use crate::DRIVER;
use running_process::broker::backend_handle::{BackendHandle, BackendHandleError};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_sdk::LocalStream;
use running_process::broker::protocol::{Frame, encode_framed};
use running_process_acceptance::wire::{self, SHOUT};
use running_process_acceptance::{Daemon, StreamExt, TEST_TIMEOUT, soon, watched};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_length-prefixed-daemon");

fn daemon() -> Daemon {
    Daemon::length_prefixed(PROGRAM)
}

fn handle_to(daemon: &Daemon) -> BackendHandle {
    DRIVER.probe_deadline(&daemon.identity(), soon()).unwrap()
}

#[test]
fn the_recorded_daemon_is_proven_and_serves_on_the_proven_connection() {
    let daemon = daemon();
    let identity = daemon.identity();
    assert_eq!(identity.pid, daemon.child.id());
    assert_eq!(identity.exe_path, PathBuf::from(PROGRAM).canonicalize().unwrap());
    let handle = DRIVER.probe_with_service("cache", "1.2.0", &identity.ipc_endpoint, &identity).unwrap();
    assert_eq!((&handle.service_name[..], &handle.service_version[..]), ("cache", "1.2.0"));
    assert_eq!(handle.daemon_process, identity);
    assert!(handle.is_alive());
    assert_eq!(DRIVER.request(handle, SHOUT, b"ping").payload, b"PING");

    let probed = DRIVER.probe(&identity.ipc_endpoint, &identity).unwrap();
    assert_eq!((&probed.service_name[..], &probed.service_version[..]), ("", ""));
    let probed = DRIVER.probe_endpoint(&identity.ipc_endpoint).unwrap();
    assert_eq!(probed.identity, identity);
}

#[test]
fn a_handle_tells_the_memory_of_its_daemon_until_that_has_ended() {
    let mut daemon = daemon();
    let handle = handle_to(&daemon);
    let resident = handle.resident_bytes().unwrap();
    // Its executable alone, of which it has run a part, has megabytes; and it holds no cache.
    assert!((64 << 10..1 << 30).contains(&resident), "{resident}");
    assert!(daemon.stop().success());
    assert_eq!(handle.resident_bytes().unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn each_run_of_a_daemon_is_another_instance() {
    let instances: Vec<_> =
        [daemon(), daemon()].iter().map(|daemon| daemon.identity().origin.unwrap().instance_id).collect();
    assert_ne!(instances[0], instances[1]);
}

#[test]
fn further_connections_and_the_proven_one_speak_either_wire() {
    let daemon = daemon();
    let handle = handle_to(&daemon);
    let legacy = DRIVER.connect(&handle).unwrap();
    let framed = DRIVER.connect(&handle).unwrap();
    let proven = handle.into_stream();
    for connection in [legacy, proven] {
        connection.send(&wire::message(b"old"));
        assert_eq!(connection.receive(wire::HEADER_BYTES + 3), wire::message(b"OLD"));
    }
    let request = Frame::request(SHOUT, b"new".to_vec());
    framed.send(&encode_framed(&request).unwrap());
    let expected = encode_framed(&Frame::response_to(&request, b"NEW".to_vec())).unwrap();
    assert_eq!(framed.receive(expected.len()), expected);
}

#[test]
fn a_handle_knows_that_its_daemon_died_even_when_another_one_serves_the_endpoint() {
    let mut daemon = daemon();
    let handle = handle_to(&daemon);
    assert!(handle.is_alive());
    assert!(daemon.stop().success());
    assert!(!handle.is_alive());
    let refused = DRIVER.connect(&handle).unwrap_err();
    assert!(matches!(refused, BackendHandleError::Probe(_)), "{refused:?}");

    let mut successor = Command::new(PROGRAM);
    successor.args([daemon.socket.as_ref(), daemon.identity_file.as_os_str()]);
    let mut successor = successor.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = successor.stdout.take().unwrap();
    watched(move || stdout.read_exact(&mut [0; 6]).unwrap());
    assert!(!handle.is_alive());
    let refused = DRIVER.connect(&handle).unwrap_err();
    assert!(matches!(refused, BackendHandleError::Probe(_)), "{refused:?}");
    assert_eq!(handle_to(&daemon).daemon_process.pid, successor.id());
    drop(successor.stdin.take());
    assert!(watched(move || successor.wait().unwrap()).success());
}

#[test]
fn shutdown_ends_the_daemon_and_may_be_asked_again() {
    let mut daemon = daemon();
    let handle = handle_to(&daemon);
    DRIVER.shutdown(&handle, TEST_TIMEOUT).unwrap();
    assert!(!handle.is_alive());
    // It is a zombie until its parent has waited for it, and gone afterwards.
    DRIVER.shutdown(&handle, Duration::ZERO).unwrap();
    daemon.wait();
    DRIVER.shutdown(&handle, Duration::ZERO).unwrap();
    DRIVER.force_kill(&handle).unwrap();
}

#[test]
fn a_daemon_that_ignores_the_request_to_end_is_reported_and_can_be_killed() {
    let mut daemon = Daemon::start(|socket, identity_file| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' TERM; exec \"$0\" \"$@\"", PROGRAM]).args([socket, identity_file]);
        shell
    });
    let handle = handle_to(&daemon);
    let waited = Duration::from_millis(50);
    let began = Instant::now();
    match DRIVER.shutdown(&handle, waited) {
        Err(BackendHandleError::ShutdownTimeout { pid, waited: told }) => {
            assert_eq!((pid, told), (daemon.child.id(), waited));
        }
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() >= waited);
    assert!(handle.is_alive());
    DRIVER.force_kill(&handle).unwrap();
    assert!(!handle.is_alive());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&daemon.wait()), Some(9));
    // A daemon that was killed leaves its files, which prove nothing.
    let identity = daemon.identity();
    let refused = DRIVER.probe_deadline(&identity, soon()).unwrap_err();
    assert!(matches!(refused, ProbeError::Gone { pid, .. } if pid == identity.pid), "{refused:?}");
}

/// Gives the pid to another process: Linux lets root choose the next pid.
#[cfg(target_os = "linux")]
#[test]
fn a_handle_does_not_mean_a_stranger_that_was_given_the_pid() {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    let mut daemon = daemon();
    let identity = daemon.identity();
    let handle = handle_to(&daemon);
    assert!(daemon.stop().success());
    let mut stranger = None;
    for _ in 0..1000 {
        if let Err(error) = std::fs::write(LAST_PID, (identity.pid - 1).to_string()) {
            eprintln!("skipped: only root can choose a pid ({error})");
            return;
        }
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        if child.id() == identity.pid {
            stranger = Some(child);
            break;
        }
        // Another process was faster.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let Some(mut stranger) = stranger else {
        eprintln!("skipped: other processes took the pid every time");
        return;
    };
    assert!(!handle.is_alive());
    DRIVER.shutdown(&handle, Duration::ZERO).unwrap();
    DRIVER.force_kill(&handle).unwrap();
    assert!(DRIVER.probe_deadline(&identity, soon()).is_err());
    // If it had been signalled, it would not end by itself.
    drop(stranger.stdin.take());
    assert!(watched(move || stranger.wait().unwrap()).success());
}

#[test]
fn a_stopped_daemon_is_silent_and_usable_again_when_it_goes_on() {
    let daemon = daemon();
    let identity = daemon.identity();
    let signal = |name: &str| {
        let pid = daemon.child.id().to_string();
        assert!(
            Command::new("sh").args(["-c", "kill \"$0\" \"$1\"", name, &pid]).status().unwrap().success()
        );
    };
    signal("-STOP");
    let refused = DRIVER.probe_deadline(&identity, Instant::now() + Duration::from_millis(100)).unwrap_err();
    assert!(matches!(refused, ProbeError::TimedOut), "{refused:?}");
    signal("-CONT");
    DRIVER.probe_deadline(&identity, soon()).unwrap();
}

/// Checks the error behind that of the handle.
#[test]
fn a_daemon_whose_executable_has_a_name_that_is_not_utf_8_is_served_like_any_other() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"daemon-\xff\xe9");
    let program = directory.path().canonicalize().unwrap().join(name);
    // Another process copies it, so that no child that this process starts meanwhile can hold the copy open for
    // writing.
    if !Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success() {
        eprintln!("skipped: this file system takes no such name");
        return;
    }
    let mut daemon = Daemon::start_in(directory, |socket, identity_file| {
        let mut command = Command::new(&program);
        command.args([socket, identity_file]);
        command
    });
    assert_eq!(daemon.identity().exe_path, program);
    let handle = handle_to(&daemon);
    assert_eq!(handle.daemon_process.exe_path, program);
    let legacy: LocalStream = DRIVER.connect(&handle).unwrap();
    legacy.send(&wire::message(b"old"));
    assert_eq!(legacy.receive(wire::HEADER_BYTES + 3), wire::message(b"OLD"));
    assert_eq!(DRIVER.request(handle, SHOUT, b"new").payload, b"NEW");
    assert!(daemon.stop().success());
    assert!(!daemon.identity_file.exists());
}
