//! A full daemon, and one that closes connections without an answer: neither has ended.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use crate::common::{run, text};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{
    FrameClient, Server, ServerConfig, ServerError, ServerStop, write_daemon_identity_file,
};
use running_process::broker::protocol::Endpoint;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

const SHOUT: &str = "0xF00D";

/// A server in this process with a limit of one connection, which is open.
struct Full {
    identity_file: PathBuf,
    stop: ServerStop,
    server: Option<JoinHandle<Result<(), ServerError>>>,
    _holds: FrameClient,
    _directory: tempfile::TempDir,
}

impl Full {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity_file = directory.path().join("identity.json");
        let endpoint = Endpoint::unix_socket("full", text(&directory.path().join("s"))).unwrap();
        let mut config = ServerConfig::default();
        config.max_connections = 1;
        let (ready, is_ready) = mpsc::channel();
        let server = Server::bind(endpoint.clone())
            .unwrap()
            .config(config)
            .identity_file(&identity_file)
            .on_ready(move |_| ready.send(()).unwrap())
            .serve(0xF00D, |request| Ok(request.payload().to_ascii_uppercase()));
        let stop = server.stop_handle();
        let server = Some(thread::spawn(move || server.run()));
        is_ready.recv_timeout(crate::common::WATCHDOG).unwrap();
        let mut holds = FrameClient::connect(&endpoint).unwrap();
        assert_eq!(holds.request(0xF00D, b"held".to_vec()).unwrap().payload, b"HELD");
        Self { identity_file, stop, server, _holds: holds, _directory: directory }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.server.take().unwrap().join();
        assert!(thread::panicking() || ended.unwrap().is_ok());
    }
}

#[test]
fn a_full_daemon_is_proven() {
    let full = Full::start();
    let probe = run(&["probe", text(&full.identity_file)]);
    assert_eq!(probe.status, 0, "{probe:?}");
}

#[test]
fn a_request_to_a_full_daemon_is_told_when_to_come_back() {
    let full = Full::start();
    let call = run(&["call", text(&full.identity_file), "--protocol", SHOUT, "x"]);
    call.fails_with(2, &["overloaded", "1 connections are open", "try again after 50 ms"]);
    let top = run(&["top", text(&full.identity_file), "--once"]);
    top.fails_with(2, &["overloaded", "1 connections are open", "try again after 50 ms"]);
    let load =
        run(&["load", text(&full.identity_file), "--protocol", SHOUT, "--requests", "1", "--warm-up", "0s"]);
    assert_eq!(load.status, 1, "{load:?}");
    assert!(load.text().contains("try again after 50 ms"), "{load:?}");
}

#[test]
fn a_living_daemon_that_closes_at_once_is_not_told_to_be_started_again() {
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
        let asked = run(arguments);
        asked.fails_with(2, &["closed the connection", "try again later"]);
        assert!(!asked.stderr.contains("start it"), "{asked:?}");
    }
    closing.join().unwrap();
}
