//! Daemons whose executable is large, on both servers: they serve at once, however long it takes to read it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_sdk::{FrameClient, LocalStream};
use running_process_acceptance::crowd::ECHO;
use running_process_acceptance::wire::{self, SHOUT};
use running_process_acceptance::{StreamExt, TestEndpoint, soon};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Size that no machine reads and digests within the timeout of a test.
const ENDLESS: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Threads,
    Tokio,
}

/// A daemon that may not have its identity yet. It ends with its test.
struct Daemon {
    server: Server,
    place: TestEndpoint,
    child: Child,
}

impl Daemon {
    /// Starts a copy of the program of at least `bytes`, which is in no cache.
    fn start(server: Server, bytes: u64) -> Self {
        let program = match server {
            Server::Threads => env!("CARGO_BIN_EXE_length-prefixed-daemon"),
            Server::Tokio => env!("CARGO_BIN_EXE_crowd-daemon"),
        };
        let place = TestEndpoint::with_large_copy(program, bytes);
        let mut command = Command::new(&place.program);
        command.args([&place.socket, &place.identity_file]);
        if server == Server::Tokio {
            command.args(["10", "10000000"]);
        }
        command.env("XDG_CACHE_HOME", place.path("cache"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { server, place, child }
    }

    /// Connects as soon as the daemon listens.
    fn connect(&mut self) -> LocalStream {
        let deadline = soon();
        loop {
            match LocalStream::connect(self.place.socket.to_str().unwrap()) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}: {:?}", self.child.try_wait()),
            }
            thread::yield_now();
        }
    }

    fn request(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut client = FrameClient::from_stream(self.connect());
        client.set_timeout(Some(Duration::from_secs(20)));
        let protocol = if self.server == Server::Threads { SHOUT } else { ECHO };
        client.request(protocol, payload.to_vec()).unwrap().payload
    }

    /// Returns its peak memory, in KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Asks it to end, and waits for it.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        let deadline = soon();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert!(status.success(), "{status}");
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_daemon_serves_and_ends_although_its_executable_cannot_be_read_in_time() {
    for server in [Server::Threads, Server::Tokio] {
        let mut daemon = Daemon::start(server, ENDLESS);
        assert_eq!(daemon.request(b"PING"), b"PING");
        if server == Server::Threads {
            let legacy = daemon.connect();
            legacy.send(&wire::message(b"old"));
            assert_eq!(legacy.receive(wire::HEADER_BYTES + 3), wire::message(b"OLD"));
        }
        assert!(!daemon.place.identity_file.exists());
        daemon.end();
        assert!(!daemon.place.identity_file.exists());
        assert!(!daemon.place.socket.exists());
    }
}

#[test]
fn a_daemon_of_a_hundred_megabytes_needs_no_more_memory_to_start_than_a_small_one() {
    for server in [Server::Threads, Server::Tokio] {
        let peaks = [0_u64, 100 << 20].map(|bytes| {
            let mut daemon = Daemon::start(server, bytes);
            let mut ready = String::new();
            BufReader::new(daemon.child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
            assert_eq!(ready, "ready\n");
            assert!(daemon.place.identity_file.exists());
            daemon.peak()
        });
        println!("peak memory on {server:?}: {peaks:?} KiB");
        assert!(peaks[1] < peaks[0] + 2048, "{peaks:?}");
    }
}
