//! Largest memory of `call` and `load`, whatever the daemon sends.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::server::TestServer;
use crate::common::{WATCHDOG, command, finish};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};

const FLOOD: u32 = 0xF00D;
const MIB: usize = 1024 * 1024;

/// Memory of the command without frames in an unoptimized build: code, runtime and stacks.
const BASE_BYTES: usize = 24 * MIB;

/// Starts a server that sends `events` large events and many small ones for a request, and then answers with 15 MiB.
///
/// The receiver gets the peak resident memory of each client when its events were written, in bytes.
fn start_flooding(events: usize) -> (TestServer, Receiver<usize>) {
    let (sender, peaks) = mpsc::channel();
    let answered = AtomicUsize::new(0);
    let server = TestServer::start(|server| {
        server.serve(FLOOD, move |request| {
            // Only the first requests get events, which is enough to fill a client's memory.
            if answered.fetch_add(1, Ordering::Relaxed) < 3 {
                let event = vec![7; MIB];
                for _ in 0..events {
                    request.send_event(&event)?;
                }
                for _ in 0..5000 {
                    request.send_event(b"small")?;
                }
            }
            sender.send(peak(request.peer().pid.unwrap()))?;
            Ok(vec![7; 15 * MIB])
        })
    });
    (server, peaks)
}

/// Returns the peak resident memory of a process, in bytes.
fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn call_keeps_no_events() {
    let (server, peaks) = start_flooding(800);
    let identity_file = server.identity_file();
    let call =
        finish(command().args(["call", &identity_file, "--protocol", "0xF00D", "--deadline", "50s", "x"]));
    assert_eq!((call.status, call.stdout.len()), (0, 15 * MIB), "{}", call.stderr);
    let peak = peaks.recv_timeout(WATCHDOG).unwrap();
    println!("call: {} MiB", peak / MIB);
    assert!(peak < BASE_BYTES + 4 * MIB, "{} MiB", peak / MIB);
}

#[test]
fn load_keeps_no_events_and_drops_each_answer_at_once() {
    let (server, peaks) = start_flooding(200);
    let identity_file = server.identity_file();
    let arguments = ["--protocol", "0xF00D", "--requests", "12", "--warm-up", "0s", "--timeout", "50s"];
    let load = finish(command().arg("load").arg(&identity_file).args(arguments).args([
        "--connections",
        "1",
        "--in-flight",
        "1",
        "x",
    ]));
    assert_eq!(load.status, 0, "{load:?}");
    let peak = peaks.try_iter().max().unwrap();
    println!("load: {} MiB", peak / MIB);
    // One answer is being read, the next one has its buffer, and one is being dropped.
    assert!(peak < BASE_BYTES + 3 * 16 * MIB, "{} MiB", peak / MIB);
}
