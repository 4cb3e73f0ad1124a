//! A daemon behind a service manager: this test, which passes the socket by the protocol of `sd_listen_fds(3)`, and
//! systemd's own tool for that.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_sdk::LocalStream;
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::wire::{self, SHOUT};
use running_process_acceptance::{Daemon, StreamExt, TEST_TIMEOUT, connect, installed, watched};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_inherited-daemon");

/// The steps of a service manager: the shell has the pid that the daemon will have.
const AS_THE_PROTOCOL_SAYS: &str = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&2 2>&1"#;

/// Returns a command that starts the daemon by `script` with `passed` as descriptor 2, where nothing else can inherit
/// it; the scripts move it.
fn passing(script: &str, passed: impl Into<OwnedFd>, arguments: [&Path; 2]) -> Command {
    let mut shell = Command::new("sh");
    shell.env_remove("LISTEN_PID").env_remove("LISTEN_FDS");
    shell.args(["-c", script, PROGRAM]).args(arguments).stderr(Stdio::from(passed.into()));
    shell
}

/// A service manager's socket.
struct Service {
    directory: TempDir,
    path: PathBuf,
    listener: UnixListener,
}

impl Service {
    fn listen() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("service");
        Self { listener: UnixListener::bind(&path).unwrap(), path, directory }
    }

    fn start(&self) -> Daemon {
        let mut daemon = Daemon::start(|_, identity_file| {
            passing(
                AS_THE_PROTOCOL_SAYS,
                self.listener.try_clone().unwrap(),
                [&self.path, identity_file.as_ref()],
            )
        });
        self.path.to_str().unwrap().clone_into(&mut daemon.socket);
        assert_eq!(daemon.ready, "ready\n");
        daemon
    }

    /// Returns device and inode of the socket.
    fn identity(&self) -> (u64, u64) {
        let found = std::fs::symlink_metadata(&self.path).unwrap();
        (found.dev(), found.ino())
    }
}

/// Uses every wire on the daemon's socket.
fn answer_all(daemon: &Daemon) {
    assert_eq!(daemon.endpoint().path, daemon.socket);
    assert_eq!(daemon.identity().pid, daemon.child.id());
    let legacy = daemon.connect();
    speak_legacy(&legacy);
    let handle = daemon.handle();
    assert!(handle.is_alive());
    speak_legacy(&handle.connect().unwrap());
    assert_eq!(handle.into_client().request(SHOUT, b"new".to_vec()).unwrap().payload, b"NEW");
}

#[track_caller]
fn speak_legacy(connection: &LocalStream) {
    connection.send(&wire::message(b"old"));
    assert_eq!(connection.receive(wire::HEADER_BYTES + 3), wire::message(b"OLD"));
}

#[test]
fn every_wire_is_served_on_the_socket_that_was_passed() {
    let service = Service::listen();
    let mut daemon = service.start();
    answer_all(&daemon);
    assert!(daemon.stop().success());
    assert!(!daemon.identity_file.exists());
}

#[test]
fn the_socket_outlives_every_daemon_and_keeps_clients_that_wait_between_two() {
    let service = Service::listen();
    let identity = service.identity();
    for _ in 0..3 {
        // No daemon accepts now, and no client is refused.
        let early = connect(service.path.to_str().unwrap());
        early.send(&wire::message(b"old"));
        let mut daemon = service.start();
        assert_eq!(early.receive(wire::HEADER_BYTES + 3), wire::message(b"OLD"));
        answer_all(&daemon);
        assert!(daemon.stop().success());
        assert_eq!(service.identity(), identity);
        let left: Vec<_> = std::fs::read_dir(service.directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no lock, no identity file: {left:?}");
    }
}

/// Returns the error of the daemon that `script` starts and that does not get ready.
#[track_caller]
fn refused(script: &str, passed: impl Into<OwnedFd>, path: &Path) -> String {
    let identity_file = path.with_file_name("identity file");
    let mut shell = passing(script, passed, [path, &identity_file]);
    let child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    drop(shell);
    let Output { status, stdout, .. } = watched(move || child.wait_with_output().unwrap());
    let said = String::from_utf8(stdout).unwrap();
    assert!(!status.success() && !identity_file.exists(), "{said}");
    said
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn a_socket_that_was_not_announced_to_this_process_is_not_taken() {
    let service = Service::listen();
    let scripts = [
        (r#"exec "$0" "$@" 3<&2 2>&1"#, r#"Unset { variable: "LISTEN_PID" }"#),
        (r#"LISTEN_PID=$$ exec "$0" "$@" 3<&2 2>&1"#, r#"Unset { variable: "LISTEN_FDS" }"#),
        (r#"LISTEN_PID=$$ LISTEN_FDS=0 exec "$0" "$@" 3<&2 2>&1"#, r#"Malformed { variable: "LISTEN_FDS""#),
        (r#"LISTEN_PID=1 LISTEN_FDS=1 exec "$0" "$@" 3<&2 2>&1"#, "OtherProcess { listen_pid: 1, pid: "),
        // A script that starts the daemon instead of becoming it.
        (r#"LISTEN_PID=$$ LISTEN_FDS=1 "$0" "$@" 3<&2 2>&1; exit $?"#, "OtherProcess { listen_pid: "),
    ];
    for (script, reason) in scripts {
        let said = refused(script, service.listener.try_clone().unwrap(), &service.path);
        assert_says(&said, &["NotInherited {", reason]);
    }
}

#[test]
fn what_is_not_a_listening_socket_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let in_directory = |name: &str| directory.path().join(name);
    let path = in_directory("s");
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let connection = listener.accept().unwrap().0;
    let faults: [(OwnedFd, &str); 4] = [
        (File::create(in_directory("file")).unwrap().into(), "fault: NotASocket"),
        (std::net::TcpListener::bind("127.0.0.1:0").unwrap().into(), "fault: NotLocal"),
        (UnixDatagram::bind(in_directory("datagram")).unwrap().into(), "fault: NotAStream"),
        // Its name is that of the listener.
        (connection.into(), "fault: NotListening"),
    ];
    for (passed, fault) in faults {
        let said = refused(AS_THE_PROTOCOL_SAYS, passed, &path);
        assert_says(&said, &["InheritedUnusable {", "descriptor: 3", fault]);
    }
    let closed = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&- 2>&1"#;
    let said = refused(closed, listener, &path);
    assert_says(&said, &["InheritedUnusable {", "descriptor: 3", "fault: NotOpen"]);
}

#[test]
fn a_socket_at_another_path_is_not_taken_and_both_are_named() {
    let service = Service::listen();
    let asked = service.directory.path().join("asked");
    let said = refused(AS_THE_PROTOCOL_SAYS, service.listener.try_clone().unwrap(), &asked);
    let named = [format!("path: {asked:?}"), format!("passed: [{:?}]", service.path)];
    assert_says(&said, &["InheritedElsewhere {", &named[0], &named[1]]);
}

#[test]
fn of_several_sockets_the_one_at_the_path_is_taken() {
    let service = Service::listen();
    let script = r#"LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@" 4<&2 3</dev/null 2>&1"#;
    let mut daemon = Daemon::start(|_, identity_file| {
        passing(script, service.listener.try_clone().unwrap(), [&service.path, identity_file.as_ref()])
    });
    service.path.to_str().unwrap().clone_into(&mut daemon.socket);
    answer_all(&daemon);
    assert!(daemon.stop().success());
}

#[test]
fn systemd_passes_the_socket_to_the_daemon_that_the_first_client_starts() {
    const TOOL: &str = "systemd-socket-activate";
    if !installed(TOOL, &["--version"]) {
        return;
    }
    let mut daemon = Daemon::start(|socket, identity_file| {
        // The daemon prints `ready` only once a client has connected: the first line is systemd's.
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"exec "$0" "$@" 2>&1"#, TOOL, "-l"]).args([
            socket,
            PROGRAM.as_ref(),
            socket,
            identity_file,
        ]);
        shell
    });
    assert!(daemon.ready.starts_with("Listening on "), "{}", daemon.ready);
    speak_legacy(&daemon.connect());
    // The first client is served at once. Once its probe is answered, the identity file is there.
    let endpoint = Endpoint::unix_socket("acceptance", &daemon.socket).unwrap();
    probe_endpoint(&endpoint, Instant::now() + TEST_TIMEOUT).unwrap();
    answer_all(&daemon);
    assert!(daemon.stop().success());
    assert!(Path::new(&daemon.socket).exists());
}
