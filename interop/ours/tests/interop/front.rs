//! The command `front` before daemons of the published versions, which know nothing of it.

use super::support::Program;
use super::support::front::Front;
use super::{BLAKE3, OURS, SHA256, TOKIO};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::read_daemon_identity_file;
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{Frame, encode_framed, try_decode_framed};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The payload protocol that the peers serve.
const PING: u32 = 0x7A63;
/// Far longer than any answer takes on a slow machine: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Starts a front before each published daemon.
fn fronts() -> impl Iterator<Item = (Front, Program)> {
    let published = [SHA256, BLAKE3].into_iter().filter(|program| program.is_wanted());
    published.map(|fronted| {
        (Front::start(&[fronted.path().to_str().unwrap(), "service", "SOCKET", "OWN"]), fronted)
    })
}

fn connect(front: &Front) -> UnixStream {
    let stream = UnixStream::connect(front.socket()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends a request and returns the response.
fn exchange(stream: &mut UnixStream, request: &Frame) -> Frame {
    stream.write_all(&encode_framed(request).unwrap()).unwrap();
    let mut received = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).unwrap();
        assert!(length > 0, "the connection ended after {received:?}");
        received.extend_from_slice(&chunk[..length]);
        if let Some(decoded) = try_decode_framed(&received).unwrap() {
            assert_eq!(decoded.consumed, received.len());
            return decoded.frame;
        }
    }
}

#[test]
fn legacy_bytes_pass_also_those_that_begin_like_a_frame() {
    for (front, _) in fronts() {
        // After the last ones alone the front waits for more.
        for bytes in [&b"GET / HTTP/1.1"[..], b"\x01old wire", b"\x01old"] {
            let mut client = connect(&front);
            client.write_all(bytes).unwrap();
            let mut answer = [0; 7];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"legacy\n", "{bytes:?}");
        }
    }
}

#[test]
fn a_probe_proves_the_front_and_the_daemon_behind_it() {
    for (front, fronted) in fronts() {
        let probed = front.run(&["probe", "--json"], &front.identity_file());
        assert!(probed.status.success(), "{probed:?}");
        let probed: Value = serde_json::from_slice(&probed.stdout).unwrap();
        assert_eq!(probed["identity"]["fronts"]["exe_path"], json!(fronted.path()), "{probed:#}");
        let step = probed["steps"].as_array().unwrap().last().unwrap();
        assert_eq!((&step["step"], &step["verdict"]), (&json!("fronted"), &json!("proven")), "{probed:#}");
    }
}

#[test]
fn clients_of_every_version_prove_the_front_and_are_served_by_the_daemon_behind_it() {
    for (front, _) in fronts() {
        for client in [SHA256, BLAKE3, OURS, TOKIO].into_iter().filter(|client| client.is_wanted()) {
            client.client(&front.identity_file()).assert_served();
        }
    }
}

#[test]
fn frames_reach_the_daemon_on_the_connection_that_has_proven_the_front() {
    for (front, _) in fronts() {
        let identity = read_daemon_identity_file(&front.identity_file()).unwrap();
        let handle =
            BackendHandle::probe_with_service("interop", "1.0.0", &identity.ipc_endpoint, &identity).unwrap();
        let reply = handle.into_client().request(PING, b"ping".to_vec()).unwrap();
        assert_eq!(reply.payload, b"pong:ping");
    }
}

/// A front does not look at a connection again once it belongs to the daemon behind it.
#[test]
fn a_probe_after_a_frame_is_answered_by_the_daemon_behind_the_front() {
    for (front, _) in fronts() {
        let mut client = connect(&front);
        let probe = Frame::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, vec![7; 32]).with_request_id(1);
        let names = |reply: &Frame, path: &Path| {
            let path = path.to_str().unwrap().as_bytes();
            reply.payload.windows(path.len()).any(|window| window == path)
        };
        let reply = exchange(&mut client, &probe);
        assert!(names(&reply, &front.socket()) && !names(&reply, &front.upstream()), "{reply:?}");
        let ping = Frame::request(PING, b"ping".to_vec()).with_request_id(2);
        assert_eq!(exchange(&mut client, &ping).payload, b"pong:ping");
        let reply = exchange(&mut client, &probe);
        assert!(names(&reply, &front.upstream()) && !names(&reply, &front.socket()), "{reply:?}");
    }
}

#[test]
fn the_identity_of_the_daemon_behind_the_front_does_not_prove_the_front() {
    for (front, fronted) in fronts() {
        // The daemon writes it before it answers.
        OURS.client(&front.identity_file()).assert_served();
        let own = std::fs::read(front.own_identity_file()).unwrap();
        let mut mixed: Value = serde_json::from_slice(&own).unwrap();
        mixed["ipc_endpoint"]["path"] = json!(front.socket());
        let file = front.path("mixed.json");
        std::fs::write(&file, mixed.to_string()).unwrap();
        for client in [fronted, OURS, TOKIO] {
            client.client(&front.own_identity_file()).assert_served();
            client.client(&file).assert_failed_at("probe");
        }
    }
}
