//! A daemon at its limit of connections, and one that closes connections at once: neither has ended.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use crate::common::server::TestServer;
use crate::common::{run, text};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{FrameClient, ServerConfig, write_daemon_identity_file};
use running_process::broker::protocol::Endpoint;
use std::os::unix::net::UnixListener;
use std::thread;

const SHOUT: &str = "0xF00D";

/// Starts a server with a limit of one connection, and opens that connection.
fn start_full() -> (TestServer, FrameClient) {
    let mut config = ServerConfig::default();
    config.max_connections = 1;
    let server = TestServer::start(|server| {
        server.config(config).serve(0xF00D, |request| Ok(request.payload().to_ascii_uppercase()))
    });
    let mut client = FrameClient::connect(&server.endpoint()).unwrap();
    assert_eq!(client.request(0xF00D, b"held".to_vec()).unwrap().payload, b"HELD");
    (server, client)
}

#[test]
fn a_daemon_at_its_limit_is_verified() {
    let (server, _client) = start_full();
    let identity_file = server.identity_file();
    let probe = run(&["probe", &identity_file]);
    assert_eq!(probe.status, 0, "{probe:?}");
}

#[test]
fn a_request_to_a_daemon_at_its_limit_is_refused_with_a_time_to_retry() {
    let (server, _client) = start_full();
    let identity_file = server.identity_file();
    let call = run(&["call", &identity_file, "--protocol", SHOUT, "x"]);
    call.fails_with(2, &["overloaded", "the limit of 1 connections is reached", "try again after 50 ms"]);
    let top = run(&["top", &identity_file, "--once"]);
    top.fails_with(2, &["overloaded", "the limit of 1 connections is reached", "try again after 50 ms"]);
    let load = run(&["load", &identity_file, "--protocol", SHOUT, "--requests", "1", "--warm-up", "0s"]);
    assert_eq!(load.status, 1, "{load:?}");
    assert!(load.text().contains("try again after 50 ms"), "{load:?}");
}

#[test]
fn a_live_daemon_that_closes_at_once_is_not_reported_as_ended() {
    let directory = tempfile::tempdir().unwrap();
    let identity_file = directory.path().join("identity.json");
    let endpoint = Endpoint::unix_socket("closes", text(&directory.path().join("s"))).unwrap();
    let listener = UnixListener::bind(&endpoint.path).unwrap();
    write_daemon_identity_file(&identity_file, &DaemonProcess::current_process(endpoint, None).unwrap())
        .unwrap();
    let closing = thread::spawn(move || {
        for _ in 0..2 {
            drop(listener.accept().unwrap());
        }
    });
    for arguments in
        [&["probe", text(&identity_file)][..], &["call", text(&identity_file), "--protocol", SHOUT, "x"]]
    {
        let finished = run(arguments);
        finished.fails_with(2, &["closed the connection", "try again later"]);
        assert!(!finished.stderr.contains("start it"), "{finished:?}");
    }
    closing.join().unwrap();
}
