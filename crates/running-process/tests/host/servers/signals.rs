//! A daemon in a process of its own that is asked to end by signals.

use super::Running;
use crate::support::{PATIENCE, Place, SHOUT, eventually, join, watched};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::{FrameClient, read_daemon_identity_file};
use running_process::broker::protocol::Endpoint;
use std::process::{Child, Command, Stdio};

/// Protocol whose handler sends an event when it begins, and answers once the server is stopped.
const UNTIL_STOPPED: u32 = 0xF00F;
const PATH: &str = "SIGNALLED_DAEMON";

/// A process that ends with its test.
struct Process(Child);

impl Process {
    /// Starts the daemon below at `place`, from a shell that runs `before` first.
    fn start(place: &Place, before: &str) -> Self {
        let test = concat!(module_path!(), "::daemon").split_once("::").unwrap().1;
        let script = format!("{before} exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--ignored", "--test-threads=1"]);
        command.env(PATH, &place.endpoint.path).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Self(command.spawn().unwrap());
        eventually(|| read_daemon_identity_file(&place.record()));
        process
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Reports whether the signal with this number is in the set `set` of `proc_pid_status(5)`.
    #[cfg(target_os = "linux")]
    fn has(&self, set: &str, signal: u32) -> bool {
        has(&self.0.id().to_string(), set, signal)
    }

    fn ends_well(mut self) {
        let status = watched(move || self.0.wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
fn has(pid: &str, set: &str, signal: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap() >> (signal - 1) & 1 == 1
}

#[test]
#[ignore = "started by the other tests in a process of its own"]
fn daemon() {
    let path = std::env::var(PATH).unwrap();
    let server = Running::bind(Endpoint::unix_socket("test", path.as_str()).unwrap()).unwrap();
    let server = server.identity_file(std::path::Path::new(&path).with_file_name("record.json"));
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

fn client(place: &Place) -> FrameClient {
    let mut client = FrameClient::connect(&place.endpoint).unwrap();
    client.set_timeout(Some(PATIENCE));
    client
}

#[test]
fn each_signal_ends_it_in_order_and_the_request_at_work_is_answered() {
    for signal in ["TERM", "INT", "HUP"] {
        let place = Place::new();
        let process = Process::start(&place, "");
        let mut client = client(&place);
        let id = client.send(UNTIL_STOPPED, b"build".to_vec()).unwrap();
        assert_eq!(client.next_event().unwrap().payload, b"begun");
        process.signal(signal);
        assert_eq!(client.wait(id).unwrap().payload, b"BUILD");
        process.ends_well();
        assert!(!place.record().exists() && !std::path::Path::new(&place.endpoint.path).exists());
    }
}

#[test]
fn shutdown_by_a_handle_loses_nothing() {
    let place = Place::new();
    let process = Process::start(&place, "");
    let daemon = read_daemon_identity_file(&place.record()).unwrap();
    let prove = || BackendHandle::probe_with_service("test", "1", &place.endpoint, &daemon).unwrap();
    let mut client = prove().into_client();
    client.set_timeout(Some(PATIENCE));
    let id = client.send(UNTIL_STOPPED, b"build".to_vec()).unwrap();
    assert_eq!(client.next_event().unwrap().payload, b"begun");
    let handle = prove();
    let ended = std::thread::spawn(move || handle.shutdown(PATIENCE));
    assert_eq!(client.wait(id).unwrap().payload, b"BUILD");
    // Other processes see this process's child until it was waited for.
    process.ends_well();
    join(ended).unwrap();
    assert!(!place.record().exists() && !std::path::Path::new(&place.endpoint.path).exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_stays_so() {
    let place = Place::new();
    let process = Process::start(&place, "trap '' HUP INT;");
    for (signal, number) in [("HUP", 1), ("INT", 2)] {
        assert!(process.has("SigIgn", number) && !process.has("SigCgt", number), "{signal}");
        process.signal(signal);
    }
    assert!(process.has("SigCgt", 15));
    assert_eq!(client(&place).request(SHOUT, b"still".to_vec()).unwrap().payload, b"STILL");
    process.signal("TERM");
    process.ends_well();
}
