//! A daemon in a process of its own, which signals ask to end.

use super::TestServer;
#[cfg(target_os = "linux")]
use crate::support::process_status;
use crate::daemon::Daemon;
use crate::support::{ChildProcess, PATIENCE, SHOUT, TempEndpoint, eventually, join, test_command, test_name};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::{FrameClient, read_daemon_identity_file};
use running_process::broker::protocol::Endpoint;
use std::process::{Command, Stdio};

/// Protocol whose handler sends an event when it begins, and answers once the server is stopped.
const UNTIL_STOPPED: u32 = 0xF00F;
const PATH: &str = "SIGNALLED_DAEMON";

/// The daemon below in a process of its own.
struct Process(ChildProcess);

impl Process {
    /// Starts the daemon at `temp`, from a shell that runs `before` first.
    fn start(temp: &TempEndpoint, before: &str) -> Self {
        let daemon = test_command(test_name!("daemon"));
        let script = format!("{before} exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(daemon.get_program()).args(daemon.get_args());
        command.env(PATH, &temp.endpoint.path).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Self(ChildProcess::spawn(&mut command));
        eventually(|| read_daemon_identity_file(&temp.identity_file()));
        process
    }

    fn signal(&self, signal: &str) {
        // The shell has `kill` in every system.
        let pid = self.0.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Reports whether the signal with this number is in the set `set` of `proc_pid_status(5)`.
    #[cfg(target_os = "linux")]
    fn has(&self, set: &str, signal: u32) -> bool {
        has(&self.0.id().to_string(), set, signal)
    }

    fn assert_ends(self) {
        let status = self.0.wait();
        assert!(status.success(), "{status}");
    }
}

#[cfg(target_os = "linux")]
fn has(pid: &str, set: &str, signal: u32) -> bool {
    u64::from_str_radix(&process_status(pid, set), 16).unwrap() >> (signal - 1) & 1 == 1
}

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn daemon() {
    let path = std::env::var(PATH).unwrap();
    let server = TestServer::bind(Endpoint::unix_socket("test", path.as_str()).unwrap()).unwrap();
    let server = server.identity_file(std::path::Path::new(&path).with_file_name("identity.json"));
    let server = server.stop_on_signals().unwrap();
    let stop = server.stop_handle();
    server
        .serve_quickly(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
        .serve(UNTIL_STOPPED, move |request| {
            request.send_event(b"begun")?;
            eventually(|| stop.is_stopped().then_some(()));
            Ok(request.payload().to_ascii_uppercase())
        })
        .run()
        .unwrap();
    #[cfg(target_os = "linux")]
    assert!(!has("self", "SigCgt", 15), "the signal has its default effect again");
}

fn client(temp: &TempEndpoint) -> FrameClient {
    let mut client = FrameClient::connect(&temp.endpoint).unwrap();
    client.set_timeout(Some(PATIENCE));
    client
}

#[test]
fn each_signal_ends_the_server_after_it_has_answered_the_request_in_flight() {
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let temp = TempEndpoint::new();
        let process = Process::start(&temp, "");
        #[cfg(target_os = "linux")]
        if process.has("SigIgn", number) {
            println!("skipped: SIG{signal} is ignored since this test was started, as by nohup");
            process.signal("KILL");
            continue;
        }
        let mut client = client(&temp);
        let id = client.send(UNTIL_STOPPED, b"build".to_vec()).unwrap();
        assert_eq!(client.next_event().unwrap().unwrap().payload, b"begun");
        println!("SIG{signal} ({number})");
        process.signal(signal);
        assert_eq!(client.wait(id).unwrap().payload, b"BUILD");
        process.assert_ends();
        assert!(!temp.identity_file().exists() && !std::path::Path::new(&temp.endpoint.path).exists());
    }
}

#[test]
fn a_shutdown_by_a_handle_loses_no_request() {
    let temp = TempEndpoint::new();
    let process = Process::start(&temp, "");
    let daemon = read_daemon_identity_file(&temp.identity_file()).unwrap();
    let prove = || BackendHandle::probe_with_service("test", "1", &temp.endpoint, &daemon).unwrap();
    let mut client = prove().into_client();
    client.set_timeout(Some(PATIENCE));
    let id = client.send(UNTIL_STOPPED, b"build".to_vec()).unwrap();
    assert_eq!(client.next_event().unwrap().unwrap().payload, b"begun");
    let handle = prove();
    let ended = std::thread::spawn(move || handle.shutdown(PATIENCE));
    assert_eq!(client.wait(id).unwrap().payload, b"BUILD");
    // Other processes see this process's child until it was waited for.
    process.assert_ends();
    join(ended).unwrap();
    assert!(!temp.identity_file().exists() && !std::path::Path::new(&temp.endpoint.path).exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let temp = TempEndpoint::new();
    let process = Process::start(&temp, "trap '' HUP INT;");
    for (signal, number) in [("HUP", 1), ("INT", 2)] {
        assert!(process.has("SigIgn", number) && !process.has("SigCgt", number), "{signal}");
        process.signal(signal);
    }
    assert!(process.has("SigCgt", 15));
    assert_eq!(client(&temp).request(SHOUT, b"still".to_vec()).unwrap().payload, b"STILL");
    process.signal("TERM");
    process.assert_ends();
}
