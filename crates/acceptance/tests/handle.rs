//! A handle to a real daemon process, and every reason not to give one.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_handle::{BackendHandle, BackendHandleError, DaemonProcess};
use running_process::broker::backend_lifecycle::identity::ExeDigests;
use running_process::broker::backend_lifecycle::judge::{Check, CheckKind};
use running_process::broker::backend_lifecycle::probe::{
    EndpointProbeError, IdentityMismatch, ProbeEnvelopeError, ProbeError, endpoint_probe_request_from_frame,
    endpoint_probe_response_frame, handle_endpoint_probe, probe_endpoint,
};
use running_process::broker::backend_sdk::{ConnectError, LocalStream};
use running_process::broker::protocol::{Endpoint, Frame, FrameRef, FramingError, encode_framed, read_frame};
use running_process_acceptance::wire::{self, SHOUT};
use running_process_acceptance::{Daemon, PATIENCE, StreamExt, soon, watched};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_length-prefixed-daemon");

fn daemon() -> Daemon {
    Daemon::length_prefixed(PROGRAM)
}

#[test]
fn the_recorded_daemon_is_proven_and_serves_on_the_proven_connection() {
    let daemon = daemon();
    let identity = daemon.identity();
    assert_eq!(identity.pid, daemon.child.id());
    assert_eq!(identity.exe_path, PathBuf::from(PROGRAM).canonicalize().unwrap());
    let handle =
        BackendHandle::probe_with_service("cache", "1.2.0", &identity.ipc_endpoint, &identity).unwrap();
    assert_eq!((&handle.service_name[..], &handle.service_version[..]), ("cache", "1.2.0"));
    assert_eq!(handle.daemon_process, identity);
    assert!(handle.is_alive());
    let mut client = handle.into_client();
    client.set_timeout(Some(PATIENCE));
    assert_eq!(client.request(SHOUT, b"ping".to_vec()).unwrap().payload, b"PING");

    let probed = BackendHandle::probe(&identity.ipc_endpoint, &identity).unwrap();
    assert_eq!((&probed.service_name[..], &probed.service_version[..]), ("", ""));
    let probed = probe_endpoint(&identity.ipc_endpoint, soon()).unwrap();
    assert_eq!(probed.identity, identity);
}

#[test]
fn further_connections_and_the_proven_one_speak_either_wire() {
    let daemon = daemon();
    let handle = daemon.handle();
    let legacy = handle.connect().unwrap();
    let framed = handle.connect().unwrap();
    let proven = handle.into_stream();
    for connection in [legacy, proven] {
        connection.send(&wire::message(b"old"));
        assert_eq!(connection.receive(wire::HEADER_BYTES + 3), wire::message(b"OLD"));
    }
    let request = Frame::request(SHOUT, b"new".to_vec());
    framed.send(&encode_framed(&request).unwrap());
    let expected = encode_framed(&Frame::response_to(&request, b"NEW".to_vec())).unwrap();
    assert_eq!(framed.receive(expected.len()), expected);
}

#[test]
fn a_handle_knows_that_its_daemon_died_even_when_another_one_serves_the_endpoint() {
    let mut daemon = daemon();
    let handle = daemon.handle();
    assert!(handle.is_alive());
    assert!(daemon.stop().success());
    assert!(!handle.is_alive());
    let refused = handle.connect().unwrap_err();
    assert!(matches!(refused, BackendHandleError::Probe(_)), "{refused:?}");

    let mut successor = Command::new(PROGRAM);
    successor.args([daemon.socket.as_ref(), daemon.record.as_os_str()]);
    let mut successor = successor.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = successor.stdout.take().unwrap();
    watched(move || stdout.read_exact(&mut [0; 6]).unwrap());
    assert!(!handle.is_alive());
    let refused = handle.connect().unwrap_err();
    assert!(matches!(refused, BackendHandleError::Probe(_)), "{refused:?}");
    assert_eq!(daemon.handle().daemon_process.pid, successor.id());
    drop(successor.stdin.take());
    assert!(watched(move || successor.wait().unwrap()).success());
}

#[test]
fn shutdown_ends_the_daemon_and_may_be_asked_again() {
    let mut daemon = daemon();
    let handle = daemon.handle();
    handle.shutdown(PATIENCE).unwrap();
    assert!(!handle.is_alive());
    // It is a zombie until its parent has waited for it, and gone afterwards.
    handle.shutdown(Duration::ZERO).unwrap();
    daemon.wait();
    handle.shutdown(Duration::ZERO).unwrap();
    handle.force_kill().unwrap();
}

#[test]
fn a_daemon_that_ignores_the_request_to_end_is_reported_and_can_be_killed() {
    let mut daemon = Daemon::start(|socket, record| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' TERM; exec \"$0\" \"$@\"", PROGRAM]).args([socket, record]);
        shell
    });
    let handle = daemon.handle();
    let waited = Duration::from_millis(50);
    let began = Instant::now();
    match handle.shutdown(waited) {
        Err(BackendHandleError::ShutdownTimeout { pid, waited: told }) => {
            assert_eq!((pid, told), (daemon.child.id(), waited));
        }
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() >= waited);
    assert!(handle.is_alive());
    handle.force_kill().unwrap();
    assert!(!handle.is_alive());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&daemon.wait()), Some(9));
    // A daemon that was killed leaves its files, and what they say is not believed.
    let identity = daemon.identity();
    let refused = probe(&identity, soon()).unwrap_err();
    assert!(matches!(refused, ProbeError::Gone { pid } if pid == identity.pid), "{refused:?}");
}

/// Linux lets root choose the next pid.
#[cfg(target_os = "linux")]
#[test]
fn a_handle_does_not_mean_a_stranger_that_was_given_the_pid() {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    let mut daemon = daemon();
    let identity = daemon.identity();
    let handle = daemon.handle();
    assert!(daemon.stop().success());
    let mut stranger = None;
    for _ in 0..1000 {
        if let Err(error) = std::fs::write(LAST_PID, (identity.pid - 1).to_string()) {
            eprintln!("skipped: only root can choose a pid ({error})");
            return;
        }
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        if child.id() == identity.pid {
            stranger = Some(child);
            break;
        }
        // Another process was faster.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let Some(mut stranger) = stranger else {
        eprintln!("skipped: other processes took the pid every time");
        return;
    };
    assert!(!handle.is_alive());
    handle.shutdown(Duration::ZERO).unwrap();
    handle.force_kill().unwrap();
    assert!(probe(&identity, soon()).is_err());
    // Had it been signalled, it would not end by itself.
    drop(stranger.stdin.take());
    assert!(watched(move || stranger.wait().unwrap()).success());
}

#[test]
fn a_stopped_daemon_is_silent_and_usable_again_when_it_goes_on() {
    let daemon = daemon();
    let identity = daemon.identity();
    let signal = |name: &str| {
        let pid = daemon.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let refused = probe(&identity, Instant::now() + Duration::from_millis(100)).unwrap_err();
    assert!(matches!(refused, ProbeError::TimedOut), "{refused:?}");
    signal("-CONT");
    probe(&identity, soon()).unwrap();
}

/// The error beneath the handle's.
fn probe(expected: &DaemonProcess, deadline: Instant) -> Result<BackendHandle, ProbeError> {
    match BackendHandle::probe_before("test", "1", &expected.ipc_endpoint, expected, deadline) {
        Ok(handle) => Ok(handle),
        Err(BackendHandleError::Probe(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn the_endpoint_must_be_the_recorded_one() {
    let daemon = daemon();
    let identity = daemon.identity();
    let elsewhere = Endpoint::unix_socket("acceptance", "/elsewhere").unwrap();
    let other_namespace = Endpoint::unix_socket("other", &identity.ipc_endpoint.path).unwrap();
    for endpoint in [elsewhere, other_namespace] {
        let refused = BackendHandle::probe_with_service("test", "1", &endpoint, &identity).unwrap_err();
        let BackendHandleError::Probe(ProbeError::EndpointMismatch { asked, recorded }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((asked, recorded), (endpoint.path, identity.ipc_endpoint.path.clone()));
    }
}

#[test]
fn a_pid_that_no_process_has_is_gone() {
    let daemon = daemon();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    for pid in [child.id(), u32::MAX] {
        let mut identity = daemon.identity();
        identity.pid = pid;
        let refused = probe(&identity, soon()).unwrap_err();
        assert!(matches!(refused, ProbeError::Gone { pid: gone } if gone == pid), "{refused:?}");
    }
}

#[test]
fn a_daemon_that_was_killed_is_not_usable_before_its_parent_has_noticed() {
    let mut daemon = daemon();
    let identity = daemon.identity();
    daemon.handle().force_kill().unwrap();
    let refused = probe(&identity, soon()).unwrap_err();
    let unusable =
        matches!(refused, ProbeError::Gone { .. } | ProbeError::Connect(ConnectError::Refused { .. }));
    assert!(unusable, "{refused:?}");
    daemon.wait();
}

/// A peer in this process, which is alive and has the pid that is expected: only what it answers is wrong.
struct Impostor {
    expected: DaemonProcess,
    _directory: TempDir,
}

impl Impostor {
    /// Each connection is treated by `behaviour`.
    fn start(behaviour: impl FnMut(UnixStream, &DaemonProcess) + Send + 'static) -> Self {
        static THIS_PROCESS: OnceLock<DaemonProcess> = OnceLock::new();
        let directory = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::unix_socket("test", directory.path().join("s").to_str().unwrap()).unwrap();
        let this_process =
            || DaemonProcess::current_process(Endpoint::unix_socket("test", "/anywhere").unwrap(), None);
        let mut expected = THIS_PROCESS.get_or_init(|| this_process().unwrap()).clone();
        expected.ipc_endpoint = endpoint;
        let listener = UnixListener::bind(&expected.ipc_endpoint.path).unwrap();
        let identity = expected.clone();
        let mut behaviour = behaviour;
        // Ends with the process: nobody connects any more once the test is over.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                behaviour(stream, &identity);
            }
        });
        Self { expected, _directory: directory }
    }

    /// Answers the probe with whatever `answer` makes of the proper response.
    fn answering(answer: impl Fn(Frame, &DaemonProcess) -> Vec<u8> + Send + 'static) -> Self {
        Self::start(move |mut stream, identity| {
            let body = read_frame(&mut stream).unwrap();
            let probe = FrameRef::decode(&body).unwrap().to_frame();
            let probe = endpoint_probe_request_from_frame(&probe).unwrap();
            let response = endpoint_probe_response_frame(&probe, identity);
            // The client may have seen enough before the end.
            let _ = stream.write_all(&answer(response, identity));
        })
    }

    /// Answers as a daemon of another identity would.
    fn with_identity(change: impl Fn(&mut DaemonProcess) + Send + 'static) -> Self {
        Self::start(move |mut stream, identity| {
            let mut identity = identity.clone();
            change(&mut identity);
            handle_endpoint_probe(&mut stream, &identity).unwrap();
        })
    }

    fn refused(&self, within: Duration) -> ProbeError {
        let began = Instant::now();
        let deadline = began + within;
        let expected = self.expected.clone();
        let error = watched(move || probe(&expected, deadline).unwrap_err());
        assert!(began.elapsed() < within + PATIENCE / 2, "the deadline is over everything");
        error
    }

    /// The error where the deadline plays no part.
    fn refused_at_once(&self) -> ProbeError {
        self.refused(PATIENCE / 2)
    }
}

#[test]
fn the_impostor_without_a_fault_is_accepted() {
    let impostor = Impostor::answering(|response, _| encode_framed(&response).unwrap());
    assert!(probe(&impostor.expected, soon()).unwrap().is_alive());
    let impostor = Impostor::with_identity(|identity| {
        identity.started_at_unix_ms += 1;
        identity.idle_timeout_secs = Some(7);
    });
    probe(&impostor.expected, soon()).unwrap();
}

#[test]
fn nobody_at_the_endpoint_is_told_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let endpoint = Endpoint::unix_socket("test", path.to_str().unwrap()).unwrap();
    let expected = DaemonProcess::current_process(endpoint, None).unwrap();
    let refused = || match probe(&expected, soon()) {
        Err(ProbeError::Connect(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(), ConnectError::NotFound { .. }));
    std::fs::write(&path, "not a socket").unwrap();
    assert!(matches!(refused(), ConnectError::NotASocket { .. }));
    std::fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(refused(), ConnectError::Refused { .. }));
}

#[test]
fn a_silent_peer_costs_the_deadline() {
    let (keep, kept) = mpsc::channel();
    let impostor = Impostor::start(move |stream, _| keep.send(stream).unwrap());
    let error = impostor.refused(Duration::from_millis(80));
    assert!(matches!(error, ProbeError::TimedOut), "{error:?}");
    drop(kept);
}

#[test]
fn a_peer_that_never_accepts_costs_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix_socket("test", directory.path().join("s").to_str().unwrap()).unwrap();
    let expected = DaemonProcess::current_process(endpoint, None).unwrap();
    let _listener = UnixListener::bind(&expected.ipc_endpoint.path).unwrap();
    let error = watched(move || probe(&expected, Instant::now() + Duration::from_millis(80)).unwrap_err());
    assert!(matches!(error, ProbeError::TimedOut), "{error:?}");
}

#[test]
fn a_deadline_that_has_passed_is_kept() {
    let daemon = daemon();
    let identity = daemon.identity();
    let error = watched(move || probe(&identity, Instant::now()).unwrap_err());
    assert!(matches!(error, ProbeError::TimedOut), "{error:?}");
}

#[test]
fn a_peer_that_hangs_up_is_told_at_once() {
    let impostor = Impostor::start(|stream, _| drop(stream));
    let error = impostor.refused_at_once();
    assert!(matches!(error, ProbeError::Closed), "{error:?}");

    let impostor = Impostor::start(|mut stream, _| drop(read_frame(&mut stream).unwrap()));
    let error = impostor.refused_at_once();
    assert!(matches!(error, ProbeError::Closed), "{error:?}");

    let impostor = Impostor::answering(|response, _| encode_framed(&response).unwrap()[..40].to_vec());
    let error = impostor.refused_at_once();
    assert!(matches!(error, ProbeError::Framing(FramingError::UnexpectedEof { .. })), "{error:?}");
}

#[test]
fn a_peer_that_answers_with_something_else_is_told_at_once() {
    // The connection stays open: waiting for more would cost the deadline.
    let (keep, kept) = mpsc::channel();
    let impostor = Impostor::start(move |mut stream, _| {
        stream.write_all(b"-ERR unknown command\r\n").unwrap();
        keep.send(stream).unwrap();
    });
    let error = impostor.refused_at_once();
    let ProbeError::Framing(FramingError::UnsupportedFramingVersion { got: b'-', .. }) = error else {
        panic!("{error:?}")
    };
    drop(kept);

    let impostor = Impostor::answering(|_, _| vec![1, 3, 0, 0, 0, 0xff, 0xff, 0xff]);
    let error = impostor.refused_at_once();
    assert!(matches!(error, ProbeError::Framing(FramingError::Decode(_))), "{error:?}");
}

#[test]
fn a_peer_that_floods_is_refused_without_reading_it_all() {
    // Under a length that an identity never has, and then under one that it may have.
    let impostor = Impostor::start(|mut stream, _| {
        let _ = stream.write_all(&[1, 0, 0, 0, 1]);
        while stream.write_all(&[0; 4096]).is_ok() {}
    });
    let error = impostor.refused_at_once();
    assert!(matches!(error, ProbeError::Framing(FramingError::FrameTooLarge { .. })), "{error:?}");

    let impostor = Impostor::start(|mut stream, _| while stream.write_all(&[1; 4096]).is_ok() {});
    let error = impostor.refused_at_once();
    assert!(matches!(error, ProbeError::Framing(_)), "{error:?}");
}

#[test]
fn a_peer_that_drips_does_not_stretch_the_deadline() {
    let impostor = Impostor::start(|mut stream, _| {
        let (_held, never) = mpsc::channel::<()>();
        let endless = [1, 0, 0xff, 0, 0].into_iter().chain(std::iter::repeat(0));
        for byte in endless {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            // The pace of the drip, not a wait for anything.
            let _ = never.recv_timeout(Duration::from_millis(5));
        }
    });
    let error = impostor.refused(Duration::from_millis(150));
    assert!(matches!(error, ProbeError::TimedOut), "{error:?}");
}

#[test]
fn an_answer_to_another_challenge_is_not_an_answer() {
    let impostor = Impostor::answering(|mut response, _| {
        response.payload[31] ^= 1;
        encode_framed(&response).unwrap()
    });
    let error = impostor.refused_at_once();
    assert!(matches!(error, ProbeError::Response(EndpointProbeError::Nonce)), "{error:?}");

    let impostor = Impostor::answering(|response, _| {
        let other = response.request_id ^ 1;
        encode_framed(&response.with_request_id(other)).unwrap()
    });
    let error = impostor.refused_at_once();
    let ProbeError::Response(EndpointProbeError::RequestId { got, expected }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(got, expected ^ 1);
}

#[test]
fn a_frame_that_is_not_a_probe_response_is_refused_with_the_rule_that_it_breaks() {
    type Break = fn(&mut Frame);
    type Expect = fn(&EndpointProbeError) -> bool;
    let rules: [(Break, Expect); 6] = [
        (
            |frame| frame.envelope_version = 2,
            |error| {
                matches!(error, EndpointProbeError::Envelope(ProbeEnvelopeError::EnvelopeVersion { got: 2 }))
            },
        ),
        (
            |frame| frame.kind = 0,
            |error| matches!(error, EndpointProbeError::Envelope(ProbeEnvelopeError::Kind { got: 0, .. })),
        ),
        (
            |frame| frame.payload_protocol = SHOUT,
            |error| {
                matches!(
                    error,
                    EndpointProbeError::Envelope(ProbeEnvelopeError::PayloadProtocol { got: SHOUT })
                )
            },
        ),
        (
            |frame| frame.payload_encoding = 1,
            |error| {
                matches!(error, EndpointProbeError::Envelope(ProbeEnvelopeError::PayloadEncoding { got: 1 }))
            },
        ),
        (|frame| frame.payload.truncate(31), |error| matches!(error, EndpointProbeError::Nonce)),
        (|frame| frame.payload.truncate(32), |error| matches!(error, EndpointProbeError::Identity(_))),
    ];
    for (rule, (change, expect)) in rules.into_iter().enumerate() {
        let impostor = Impostor::answering(move |mut response, _| {
            change(&mut response);
            encode_framed(&response).unwrap()
        });
        let error = impostor.refused_at_once();
        assert!(matches!(&error, ProbeError::Response(error) if expect(error)), "rule {rule}: {error:?}");
    }
}

/// The checks on which an impostor with `change` fails.
fn differing(change: impl Fn(&mut DaemonProcess) + Send + 'static) -> Vec<CheckKind> {
    let impostor = Impostor::with_identity(change);
    let error = impostor.refused_at_once();
    let message = error.to_string();
    let ProbeError::Mismatch(IdentityMismatch { checks }) = error else { panic!("{error:?}") };
    assert!(message.starts_with("another process answered: "), "{message}");
    for Check { kind, expected, found, agrees } in &checks {
        assert_eq!(*agrees, expected == found);
        assert_eq!(
            message.contains(&format!("{kind} is {found}, expected {expected}")),
            !agrees,
            "{message}"
        );
    }
    checks.iter().filter(|check| !check.agrees).map(|check| check.kind).collect()
}

#[test]
fn another_identity_is_a_mismatch_that_names_what_differs() {
    assert_eq!(differing(|identity| identity.pid += 1), [CheckKind::Pid]);
    assert_eq!(differing(|identity| identity.exe_path.push("x")), [CheckKind::ExePath]);
    let digests = |blake3, sha256| ExeDigests::Both { blake3, sha256 };
    assert_eq!(
        differing(move |identity| identity.exe_digests = digests([0; 32], [0; 32])),
        [CheckKind::ExeDigest]
    );
    assert_eq!(
        differing(|identity| identity.exe_digests = ExeDigests::Sha256([0; 32])),
        [CheckKind::ExeDigest]
    );
    assert_eq!(differing(|identity| identity.boot_id.push('x')), [CheckKind::BootId]);
    assert_eq!(differing(|identity| identity.ipc_endpoint.path.push('x')), [CheckKind::Endpoint]);
    let everything = |identity: &mut DaemonProcess| {
        identity.pid += 1;
        identity.exe_path.push("x");
        identity.boot_id.push('x');
    };
    assert_eq!(differing(everything), [CheckKind::Pid, CheckKind::ExePath, CheckKind::BootId]);
}

#[test]
fn a_probe_that_is_refused_leaves_no_connection_behind() {
    let (report, hung_up) = mpsc::channel();
    let impostor = Impostor::start(move |mut stream, identity| {
        let mut other = identity.clone();
        other.pid += 1;
        handle_endpoint_probe(&mut stream, &other).unwrap();
        report.send(stream.read(&mut [0]).unwrap()).unwrap();
    });
    assert!(matches!(impostor.refused_at_once(), ProbeError::Mismatch(_)));
    assert_eq!(hung_up.recv_timeout(PATIENCE).unwrap(), 0, "the client sent nothing and closed");
}

#[test]
fn a_daemon_whose_executable_has_a_name_that_is_not_utf_8_is_served_like_any_other() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"daemon-\xff\xe9");
    let program = directory.path().canonicalize().unwrap().join(name);
    // Copied by another process: nothing that this one starts meanwhile can hold the copy open for writing.
    if !Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success() {
        eprintln!("skipped: this file system takes no such name");
        return;
    }
    let mut daemon = Daemon::start_in(directory, |socket, record| {
        let mut command = Command::new(&program);
        command.args([socket, record]);
        command
    });
    assert_eq!(daemon.identity().exe_path, program);
    let handle = daemon.handle();
    assert_eq!(handle.daemon_process.exe_path, program);
    let legacy: LocalStream = handle.connect().unwrap();
    legacy.send(&wire::message(b"old"));
    assert_eq!(legacy.receive(wire::HEADER_BYTES + 3), wire::message(b"OLD"));
    assert_eq!(handle.into_client().request(SHOUT, b"new".to_vec()).unwrap().payload, b"NEW");
    assert!(daemon.stop().success());
    assert!(!daemon.record.exists());
}
