//! The programs in `crates/running-process/examples`, as processes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::protocol::{Frame, FrameKind, encode_framed};
use running_process_acceptance::{Daemon, StreamExt, TEST_TIMEOUT, installed, run, sibling};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

fn example(name: &str) -> Command {
    Command::new(sibling(env!("CARGO_BIN_EXE_length-prefixed-daemon"), &format!("examples/{name}")))
}

fn start(name: &str) -> Daemon {
    start_with(name, Stdio::inherit())
}

fn start_with(name: &str, stderr: Stdio) -> Daemon {
    let daemon = Daemon::start(|socket, identity_file| {
        let mut command = example(name);
        command.args([socket, identity_file]).stderr(stderr);
        command
    });
    assert_eq!(daemon.ready, format!("ready: process {}\n", daemon.child.id()));
    daemon
}

/// Sends SIGTERM to the daemon and checks that it has removed its files.
fn stop(mut daemon: Daemon) {
    daemon.handle().shutdown(TEST_TIMEOUT).unwrap();
    assert!(daemon.wait().success());
    assert!(!Path::new(&daemon.socket).exists() && !daemon.identity_file.exists());
}

/// Runs an example with the daemon's identity file and returns what it prints.
#[track_caller]
fn output_of(name: &str, daemon: &Daemon, arguments: &[&str]) -> String {
    let output = run(example(name).arg(&daemon.identity_file).args(arguments), b"");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_client_gets_events_and_a_response_from_each_daemon() {
    for name in ["blocking_daemon", "tokio_daemon"] {
        let daemon = start(name);
        let expected = "event: HELLO\nevent: WORLD\nresponse: HELLO WORLD\n";
        assert_eq!(output_of("client", &daemon, &["hello world"]), expected, "{name}");
        stop(daemon);
    }
}

#[test]
fn a_daemon_prints_why_a_connection_was_ended() {
    for name in ["blocking_daemon", "tokio_daemon", "adopt_legacy", "build_server"] {
        let mut daemon = start_with(name, Stdio::piped());
        let mut stderr = daemon.child.stderr.take().unwrap();
        let client = daemon.connect();
        client.send(b"\x01\xff\xff\xff\xff"); // the header of a frame of 4 GiB
        assert_eq!((&client).read(&mut [0]).unwrap(), 0, "{name}");
        stop(daemon);
        let mut printed = String::new();
        stderr.read_to_string(&mut printed).unwrap();
        assert!(printed.contains("frame body is 4294967295 bytes, the cap is 16777216"), "{name}: {printed}");
    }
}

#[test]
fn a_daemon_with_its_own_event_loop_serves_its_old_wire_and_frames() {
    let daemon = start("own_event_loop");
    assert_eq!(output_of("client", &daemon, &["hello"]), "response: HELLO\n");
    let old_client = daemon.connect();
    old_client.send(b"hello");
    assert_eq!(old_client.receive(5), b"hello");
    drop(old_client);
    stop(daemon);
}

#[test]
fn a_daemon_that_adopts_the_mux_serves_its_old_wire_and_frames() {
    let daemon = start("adopt_legacy");
    assert_eq!(output_of("client", &daemon, &["hello"]), "response: HELLO\n");
    let old_client = daemon.connect();
    old_client.send(b"hello\nworld\n");
    assert_eq!(old_client.receive(12), b"HELLO\nWORLD\n");
    let request = |id| encode_framed(&Frame::request(0xF00D, b"a".to_vec()).with_request_id(id)).unwrap();
    let response = |id| {
        let request = Frame::request(0xF00D, Vec::new()).with_request_id(id);
        encode_framed(&Frame::response_to(&request, b"A".to_vec())).unwrap()
    };
    let cancel = Frame { kind: FrameKind::Cancel.into(), ..Frame::request(0xF00D, Vec::new()) };
    let new_client = daemon.connect();
    let requests: Vec<u8> = (1..=100).flat_map(request).collect();
    new_client.send(&[requests, encode_framed(&cancel).unwrap()].concat());
    let responses: Vec<u8> = (1..=100).flat_map(response).collect();
    assert_eq!(new_client.receive(responses.len()), responses);
    if installed("socat", &["-V"]) {
        let mut socat = Command::new("socat");
        socat.args(["-t", "20", "-", &format!("UNIX-CONNECT:{}", daemon.socket)]);
        assert_eq!(run(&mut socat, b"hello\n").stdout, b"HELLO\n");
    }
    stop(daemon);
}

#[test]
fn a_build_server_runs_a_program_with_the_streams_and_in_the_directory_of_its_client() {
    let daemon = start("build_server");
    let directory = tempfile::tempdir().unwrap();
    let script = "cat; pwd; echo wrong >&2; exit 3";
    let mut client = example("build_server");
    client.current_dir(&directory).arg("--run").arg(&daemon.identity_file).args(["sh", "-c", script]);
    let output = run(&mut client, b"input\n");
    let place = directory.path().canonicalize().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("input\n{}\n", place.display()));
    assert_eq!((output.stderr, output.status.code()), (b"wrong\n".to_vec(), Some(3)));
    stop(daemon);
}

#[test]
fn the_proof_of_a_daemon_has_each_step() {
    let daemon = start("blocking_daemon");
    let proof = output_of("proof", &daemon, &[]);
    for line in ["proven     process ", "proven     alive ", "level: ", "alive: true\n"] {
        assert!(proof.contains(line), "{line} in {proof}");
    }
    stop(daemon);
}
