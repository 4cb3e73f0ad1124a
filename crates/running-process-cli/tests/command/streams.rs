//! Messages of `serve` to a reader that does not read and to one that closes its end, and its response to signals.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{WATCHDOG, command, finish, run, text};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

/// A request of a protocol that is not served: the daemon ends its connection, and prints a message.
const UNSERVED: &[u8] = b"\x01\x0b\0\0\0\x08\x01\x18\xaa\xe1\x03\x22\x01x\x28\x01";

/// More messages by far than a pipe takes and the daemon keeps.
const TROUBLES: usize = 6000;

struct Serve {
    child: Child,
    directory: TempDir,
}

impl Serve {
    fn spawn(serve: &mut Command, stdout: Stdio, stderr: Stdio) -> Self {
        let directory = tempfile::tempdir().unwrap();
        serve.args(["serve", "--socket"]).arg(directory.path().join("s"));
        serve.arg("--identity").arg(directory.path().join("r.json"));
        let child = serve.stdout(stdout).stderr(stderr).spawn().unwrap();
        Self { child, directory }
    }

    /// Waits until the daemon answers, without reading its messages.
    fn wait_ready(&self) {
        let identity_file = self.directory.path().join("r.json");
        let watchdog = Instant::now() + WATCHDOG;
        while run(&["probe", text(&identity_file)]).status != 0 {
            assert!(Instant::now() < watchdog, "it does not get ready");
        }
    }

    /// Opens a connection that the daemon reports as trouble, and waits until the daemon has ended it.
    fn trouble(&self) {
        let mut stream = UnixStream::connect(self.directory.path().join("s")).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        stream.write_all(UNSERVED).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the daemon serves on");
    }

    fn signal(&self, name: &str) {
        let kill = finish(Command::new("kill").args(["-s", name, &self.child.id().to_string()]));
        assert_eq!(kill.status, 0);
    }

    /// Waits for the process and returns its exit status.
    fn ended(&mut self) -> Option<i32> {
        let watchdog = Instant::now() + WATCHDOG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < watchdog, "it does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Returns a full pipe, whose reader reads nothing.
#[cfg(target_os = "linux")]
fn full_pipe() -> (std::io::PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut writer = File::from(std::os::fd::OwnedFd::from(writer));
    let size = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    writer.write_all(&vec![b'.'; size]).unwrap();
    (reader, Stdio::from(writer))
}

#[test]
fn messages_that_nobody_reads_are_dropped_and_counted_and_the_daemon_serves_and_ends() {
    let (reader, stderr) = std::io::pipe().unwrap();
    let mut serve = Serve::spawn(&mut command(), Stdio::null(), stderr.into());
    serve.wait_ready();
    for _ in 0..TROUBLES {
        serve.trouble();
    }
    serve.signal("TERM");
    assert_eq!(serve.ended(), Some(0));
    assert!(!serve.directory.path().join("s").exists(), "it has cleaned up");
    drop(reader);
}

#[test]
fn what_was_dropped_is_told_once_somebody_reads() {
    for json in [false, true] {
        let (reader, stderr) = std::io::pipe().unwrap();
        let mut command = command();
        command.args(json.then_some("--json"));
        let mut serve = Serve::spawn(&mut command, Stdio::null(), stderr.into());
        drop(command);
        serve.wait_ready();
        for _ in 0..TROUBLES {
            serve.trouble();
        }
        let (mut told, mut dropped) = (0, 0);
        for line in BufReader::new(reader).lines() {
            let line = line.unwrap();
            let count = if json {
                let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                object["messages"].as_u64()
            } else {
                line.strip_suffix(" messages dropped, which nobody read")
                    .map(|count| count.replace(',', "").parse().unwrap())
            };
            match count {
                Some(count) => dropped += usize::try_from(count).unwrap(),
                None => told += 1,
            }
            if told + dropped >= TROUBLES {
                break;
            }
        }
        assert!(told > 0 && dropped > 0, "{told} told, {dropped} dropped");
        serve.signal("TERM");
        assert_eq!(serve.ended(), Some(0));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn streams_that_are_full_from_the_start_hold_up_nothing() {
    let ((_stdout_reader, stdout), (_stderr_reader, stderr)) = (full_pipe(), full_pipe());
    let mut serve = Serve::spawn(&mut command(), stdout, stderr);
    serve.wait_ready();
    serve.trouble();
    serve.signal("TERM");
    assert_eq!(serve.ended(), Some(0));

    // A daemon that fails to start ends, too.
    let (_reader, stderr) = full_pipe();
    let mut fails = command();
    fails.args(["serve", "--socket", "/missing/s", "--identity", "/missing/r"]);
    let mut fails = Serve {
        child: fails.stdout(Stdio::null()).stderr(stderr).spawn().unwrap(),
        directory: tempfile::tempdir().unwrap(),
    };
    assert_eq!(fails.ended(), Some(2));
}

#[test]
fn the_streams_are_left_as_they_were_given() {
    // Both processes share the open file description, and so its non-blocking flag.
    let (reader, stderr) = std::io::pipe().unwrap();
    let shared = File::from(std::os::fd::OwnedFd::from(stderr.try_clone().unwrap()));
    let mut serve = Serve::spawn(&mut command(), Stdio::null(), stderr.into());
    serve.wait_ready();
    serve.trouble();
    let flags = rustix::fs::fcntl_getfl(&shared).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    serve.signal("TERM");
    assert_eq!(serve.ended(), Some(0));
    drop(shared);
    let said = BufReader::new(reader).lines().next().unwrap().unwrap();
    assert!(said.contains("not served"), "{said}");
}

#[test]
fn readers_that_leave_end_nothing() {
    let (reader, stderr) = std::io::pipe().unwrap();
    let (ready, stdout) = std::io::pipe().unwrap();
    let mut serve = Serve::spawn(&mut command(), stdout.into(), stderr.into());
    drop((reader, ready));
    serve.wait_ready();
    (0..3).for_each(|_| serve.trouble());
    serve.signal("INT");
    assert_eq!(serve.ended(), Some(0));
}

/// Runs the command with signals ignored, as `nohup` and a script's background job do.
fn ignoring(signals: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' $0; exec \"$@\"", signals, env!("CARGO_BIN_EXE_running-process")]);
    shell.stdin(Stdio::null());
    shell
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    for signal in ["HUP", "INT"] {
        let mut serve = Serve::spawn(&mut ignoring(signal), Stdio::null(), Stdio::null());
        serve.wait_ready();
        serve.signal(signal);
        // The signal has arrived before the daemon answers this.
        serve.wait_ready();
        assert_eq!(serve.child.try_wait().unwrap(), None, "SIG{signal}");
        serve.signal("TERM");
        assert_eq!(serve.ended(), Some(0), "the others still end it");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_load_leaves_ignored_signals_ignored_too() {
    let mut serve = Serve::spawn(&mut command(), Stdio::null(), Stdio::null());
    serve.wait_ready();
    let identity_file = serve.directory.path().join("r.json");
    let answered = || {
        let top = run(&["top", text(&identity_file), "--once", "--json"]).objects().remove(0);
        top["requests_answered"].as_u64().unwrap()
    };
    for (ignored, number, end) in [("HUP", 1, "INT"), ("INT", 2, "TERM"), ("TERM", 15, "INT")] {
        let mut load = ignoring(ignored);
        load.args([
            "load",
            text(&identity_file),
            "--protocol",
            "0xF0CA",
            "--warm-up",
            "0s",
            "--duration",
            "1h",
            "--json",
        ]);
        let mut load = load.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (before, watchdog) = (answered(), Instant::now() + WATCHDOG);
        while answered() < before + 100 {
            assert!(Instant::now() < watchdog, "no load arrives");
        }
        let pid = load.id().to_string();
        let signal = |name: &str| {
            assert_eq!(finish(Command::new("kill").args(["-s", name, &pid])).status, 0);
        };
        let status = std::fs::read_to_string(format!("/proc/{}/status", load.id())).unwrap();
        let bit = |set: &str| {
            let set = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
            u64::from_str_radix(set.trim(), 16).unwrap() >> (number - 1) & 1
        };
        assert_eq!((bit("SigIgn:"), bit("SigCgt:")), (1, 0), "SIG{ignored}");
        signal(ignored);
        assert!(load.try_wait().unwrap().is_none(), "SIG{ignored}");
        signal(end);
        let report = load.wait_with_output().unwrap().stdout;
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["interrupted"], true);
    }
    serve.signal("TERM");
    assert_eq!(serve.ended(), Some(0));
}
