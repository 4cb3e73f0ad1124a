//! Messages of `serve` to slow and closed readers, and its response to signals.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{WATCHDOG, command, kill, run, text, wait};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

/// A request in a payload protocol that the daemon does not serve. The daemon prints a message and ends the connection.
const UNSERVED_REQUEST: &[u8] = b"\x01\x0b\0\0\0\x08\x01\x18\xaa\xe1\x03\x22\x01x\x28\x01";

/// Number of messages, far more than a pipe and the daemon's queue hold.
const ERRORS: usize = 6000;

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
            assert!(Instant::now() < watchdog, "the daemon is not ready in time");
        }
    }

    /// Opens a connection that the daemon reports as an error, and waits until the daemon has ended it.
    fn provoke_error(&self) {
        let mut stream = UnixStream::connect(self.directory.path().join("s")).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        stream.write_all(UNSERVED_REQUEST).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the daemon keeps serving");
    }

    fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    /// Waits for the end of the process and returns its exit status.
    fn ended(&mut self) -> Option<i32> {
        wait(&mut self.child)
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
fn a_daemon_whose_messages_are_not_read_serves_and_ends() {
    let (reader, stderr) = std::io::pipe().unwrap();
    let mut serve = Serve::spawn(&mut command(), Stdio::null(), stderr.into());
    serve.wait_ready();
    for _ in 0..ERRORS {
        serve.provoke_error();
    }
    serve.signal("TERM");
    assert_eq!(serve.ended(), Some(0));
    assert!(!serve.directory.path().join("s").exists(), "the socket is removed");
    drop(reader);
}

#[test]
fn a_reader_that_resumes_gets_the_number_of_dropped_messages() {
    for json in [false, true] {
        let (reader, stderr) = std::io::pipe().unwrap();
        let mut command = command();
        command.args(json.then_some("--json"));
        let mut serve = Serve::spawn(&mut command, Stdio::null(), stderr.into());
        drop(command);
        serve.wait_ready();
        for _ in 0..ERRORS {
            serve.provoke_error();
        }
        let (sender, lines) = mpsc::channel();
        let reading = thread::spawn(move || {
            BufReader::new(reader).lines().try_for_each(|line| sender.send(line.unwrap()))
        });
        let (mut read, mut dropped) = (0, 0);
        while read + dropped < ERRORS {
            let line = lines.recv_timeout(WATCHDOG).expect("the messages and the notice arrive");
            let count = if json {
                let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                object["messages"].as_u64()
            } else {
                line.strip_suffix(" messages dropped because the reader is too slow")
                    .map(|count| count.replace(',', "").parse().unwrap())
            };
            match count {
                Some(count) => dropped += usize::try_from(count).unwrap(),
                None => read += 1,
            }
        }
        assert!(read > 0 && dropped > 0, "{read} read, {dropped} dropped");
        serve.signal("TERM");
        assert_eq!(serve.ended(), Some(0));
        drop(lines);
        let _no_receiver = reading.join().unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_daemon_whose_streams_are_full_serves_and_ends() {
    let ((_stdout_reader, stdout), (_stderr_reader, stderr)) = (full_pipe(), full_pipe());
    let mut serve = Serve::spawn(&mut command(), stdout, stderr);
    serve.wait_ready();
    serve.provoke_error();
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
fn the_streams_keep_their_mode() {
    // Both processes share the open file description, and so its non-blocking flag.
    let (reader, stderr) = std::io::pipe().unwrap();
    let shared = File::from(std::os::fd::OwnedFd::from(stderr.try_clone().unwrap()));
    let mut serve = Serve::spawn(&mut command(), Stdio::null(), stderr.into());
    serve.wait_ready();
    serve.provoke_error();
    let flags = rustix::fs::fcntl_getfl(&shared).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    serve.signal("TERM");
    assert_eq!(serve.ended(), Some(0));
    drop(shared);
    let message = BufReader::new(reader).lines().next().unwrap().unwrap();
    assert!(message.contains("not served"), "{message}");
}

#[test]
fn a_daemon_whose_readers_close_their_ends_serves_and_ends() {
    let (reader, stderr) = std::io::pipe().unwrap();
    let (ready, stdout) = std::io::pipe().unwrap();
    let mut serve = Serve::spawn(&mut command(), stdout.into(), stderr.into());
    drop((reader, ready));
    serve.wait_ready();
    (0..3).for_each(|_| serve.provoke_error());
    serve.signal("INT");
    assert_eq!(serve.ended(), Some(0));
}

/// Returns the command with `signals` ignored, as `nohup` and a shell's background jobs have them.
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
        // The signal arrives before the daemon answers another probe.
        serve.wait_ready();
        assert_eq!(serve.child.try_wait().unwrap(), None, "SIG{signal}");
        serve.signal("TERM");
        assert_eq!(serve.ended(), Some(0), "SIGTERM still ends the daemon");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn signals_that_were_ignored_at_the_start_of_a_load_stay_ignored() {
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
            assert!(Instant::now() < watchdog, "no load arrives in time");
        }
        let pid = load.id();
        let signal = |name: &str| kill(name, pid);
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
