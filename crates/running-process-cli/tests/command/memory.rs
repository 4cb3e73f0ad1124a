//! Memory that a daemon can make `call` and `load` use, measured from another process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{WATCHDOG, finish, text};
use running_process::broker::backend_sdk::{Server, ServerStop};
use running_process::broker::protocol::Endpoint;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use tempfile::TempDir;

const FLOOD: u32 = 0xF00D;
const MIB: usize = 1024 * 1024;

/// Memory of the command without frames: code, runtime and stacks, in an unoptimized build.
const BESIDES: usize = 24 * MIB;

/// A daemon that sends a flood of events for every request, and then answers with 15 MiB.
struct Flooding {
    directory: TempDir,
    stop: ServerStop,
    /// Peak resident memory of each client when its events were written, in bytes.
    peaks: Receiver<usize>,
}

impl Flooding {
    fn start(events: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::unix_socket("flood", text(&directory.path().join("s"))).unwrap();
        let (tell, peaks) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let answered = AtomicUsize::new(0);
        let server = Server::bind(endpoint)
            .unwrap()
            .identity_file(directory.path().join("identity.json"))
            .on_ready(move |_| ready.send(()).unwrap())
            .serve(FLOOD, move |request| {
                // The first ones are enough: the others only answer.
                if answered.fetch_add(1, Ordering::Relaxed) < 3 {
                    let event = vec![7; MIB];
                    for _ in 0..events {
                        request.send_event(&event)?;
                    }
                    for _ in 0..5000 {
                        request.send_event(b"small")?;
                    }
                }
                tell.send(peak(request.peer().pid.unwrap()))?;
                Ok(vec![7; 15 * MIB])
            });
        let stop = server.stop_handle();
        thread::spawn(move || server.run().unwrap());
        is_ready.recv_timeout(WATCHDOG).unwrap();
        Self { directory, stop, peaks }
    }

    fn identity_file(&self) -> PathBuf {
        self.directory.path().join("identity.json")
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Returns the peak resident memory of a process, in bytes.
fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn call_keeps_none_of_the_events_that_it_does_not_show() {
    let daemon = Flooding::start(800);
    let identity_file = daemon.identity_file();
    let call = finish(crate::common::command().args([
        "call",
        text(&identity_file),
        "--protocol",
        "0xF00D",
        "--deadline",
        "50s",
        "x",
    ]));
    assert_eq!((call.status, call.stdout.len()), (0, 15 * MIB), "{}", call.stderr);
    let peak = daemon.peaks.recv_timeout(WATCHDOG).unwrap();
    println!("call: {} MiB", peak / MIB);
    assert!(peak < BESIDES + 4 * MIB, "{} MiB", peak / MIB);
}

#[test]
fn load_keeps_no_events_and_no_answer_longer_than_it_looks_at_it() {
    let daemon = Flooding::start(200);
    let identity_file = daemon.identity_file();
    let arguments = ["--protocol", "0xF00D", "--requests", "12", "--warm-up", "0s", "--timeout", "50s"];
    let load = finish(crate::common::command().arg("load").arg(&identity_file).args(arguments).args([
        "--connections",
        "1",
        "--in-flight",
        "1",
        "x",
    ]));
    assert_eq!(load.status, 0, "{load:?}");
    let peak = daemon.peaks.try_iter().max().unwrap();
    println!("load: {} MiB", peak / MIB);
    // One answer that is being read, the room to read the next one, and one answer that is being dropped.
    assert!(peak < BESIDES + 3 * 16 * MIB, "{} MiB", peak / MIB);
}
