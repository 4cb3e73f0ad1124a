//! Every reason not to return a handle, each with a peer that causes it.

use crate::DRIVER;
use running_process::broker::backend_handle::{BackendHandleError, DaemonProcess};
use running_process::broker::backend_lifecycle::identity::ExeDigests;
use running_process::broker::backend_lifecycle::judge::CheckKind;
use running_process::broker::backend_lifecycle::probe::{
    EndpointProbeError, IdentityMismatch, ProbeEnvelopeError, ProbeError, endpoint_probe_request_from_frame,
    endpoint_probe_response_frame, handle_endpoint_probe,
};
use running_process::broker::backend_sdk::ConnectError;
use running_process::broker::protocol::{Endpoint, Frame, FrameRef, FramingError, encode_framed, read_frame};
use running_process_acceptance::wire::SHOUT;
use running_process_acceptance::{Daemon, TEST_TIMEOUT, soon, watched};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_length-prefixed-daemon");

fn daemon() -> Daemon {
    Daemon::length_prefixed(PROGRAM)
}

#[test]
fn the_endpoint_must_be_the_recorded_one() {
    let daemon = daemon();
    let identity = daemon.identity();
    let elsewhere = Endpoint::unix_socket("acceptance", "/elsewhere").unwrap();
    let other_namespace = Endpoint::unix_socket("other", &identity.ipc_endpoint.path).unwrap();
    for endpoint in [elsewhere, other_namespace] {
        let refused = DRIVER.probe_with_service("test", "1", &endpoint, &identity).unwrap_err();
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
        let refused = DRIVER.probe_deadline(&identity, soon()).unwrap_err();
        assert!(matches!(refused, ProbeError::Gone { pid: gone, .. } if gone == pid), "{refused:?}");
    }
}

#[test]
fn a_daemon_that_was_killed_is_not_usable_before_its_parent_has_noticed() {
    let mut daemon = daemon();
    let identity = daemon.identity();
    DRIVER.force_kill(&daemon.handle()).unwrap();
    let refused = DRIVER.probe_deadline(&identity, soon()).unwrap_err();
    let unusable =
        matches!(refused, ProbeError::Gone { .. } | ProbeError::Connect(ConnectError::Refused { .. }));
    assert!(unusable, "{refused:?}");
    daemon.wait();
}

/// A peer in this process, which is alive and has the expected pid: only its answer is wrong.
struct Impostor {
    expected: DaemonProcess,
    _directory: TempDir,
}

impl Impostor {
    /// Starts a peer that handles each connection by `behaviour`.
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
        // The thread ends with the process: there is no connection once the test is over.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
                behaviour(stream, &identity);
            }
        });
        Self { expected, _directory: directory }
    }

    /// Starts a peer that answers the probe with the bytes that `answer` makes of the proper response.
    fn answering(answer: impl Fn(Frame, &DaemonProcess) -> Vec<u8> + Send + 'static) -> Self {
        Self::start(move |mut stream, identity| {
            let body = read_frame(&mut stream).unwrap();
            let probe = FrameRef::decode(&body).unwrap().to_frame();
            let probe = endpoint_probe_request_from_frame(&probe).unwrap();
            let response = endpoint_probe_response_frame(&probe, identity);
            // The client may close before the end.
            let _ = stream.write_all(&answer(response, identity));
        })
    }

    /// Starts a peer that answers as a daemon of another identity would.
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
        let error = watched(move || DRIVER.probe_deadline(&expected, deadline).unwrap_err());
        assert!(began.elapsed() < within + TEST_TIMEOUT / 2, "the deadline is over everything");
        error
    }

    /// Returns the error, in a case in which the deadline plays no part.
    fn refused_at_once(&self) -> ProbeError {
        self.refused(TEST_TIMEOUT / 2)
    }
}

#[test]
fn the_impostor_without_a_fault_is_accepted() {
    let impostor = Impostor::answering(|response, _| encode_framed(&response).unwrap());
    assert!(DRIVER.probe_deadline(&impostor.expected, soon()).unwrap().is_alive());
    let impostor = Impostor::with_identity(|identity| {
        identity.started_at_unix_ms += 1;
        identity.idle_timeout_secs = Some(7);
    });
    DRIVER.probe_deadline(&impostor.expected, soon()).unwrap();
}

#[test]
fn an_endpoint_without_a_listener_is_told_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let endpoint = Endpoint::unix_socket("test", path.to_str().unwrap()).unwrap();
    let expected = DaemonProcess::current_process(endpoint, None).unwrap();
    let refused = || match DRIVER.probe_deadline(&expected, soon()) {
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
    let error = watched(move || {
        DRIVER.probe_deadline(&expected, Instant::now() + Duration::from_millis(80)).unwrap_err()
    });
    assert!(matches!(error, ProbeError::TimedOut), "{error:?}");
}

#[test]
fn a_deadline_that_has_passed_is_kept() {
    let daemon = daemon();
    let identity = daemon.identity();
    let error = watched(move || DRIVER.probe_deadline(&identity, Instant::now()).unwrap_err());
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
    // The connection stays open, so waiting for more would last until the deadline.
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
fn a_peer_that_says_more_than_the_answer_is_refused() {
    let talkative = Impostor::answering(|response, _| {
        let mut bytes = encode_framed(&response).unwrap();
        bytes.extend_from_slice(b"and more");
        bytes
    });
    let refused = DRIVER.probe_deadline(&talkative.expected, soon()).unwrap_err();
    assert!(matches!(refused, ProbeError::Unasked { bytes: 8 }), "{refused:?}");
}

#[test]
fn a_peer_that_floods_is_refused_without_reading_it_all() {
    // First with a length that an identity never has, then with one that it may have.
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
            // The interval between the bytes; nothing is waited for.
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

/// Returns the checks that an impostor with `change` fails.
fn differing(change: impl Fn(&mut DaemonProcess) + Send + 'static) -> Vec<CheckKind> {
    let impostor = Impostor::with_identity(change);
    let error = impostor.refused_at_once();
    let message = error.to_string();
    let ProbeError::Mismatch(IdentityMismatch { checks, .. }) = error else { panic!("{error:?}") };
    assert!(message.starts_with("another identity answered: "), "{message}");
    for check in &checks {
        assert_eq!(check.agrees, check.expected == check.found);
        assert_eq!(message.contains(&check.to_string()), !check.agrees, "{message}");
    }
    checks.iter().filter(|check| !check.agrees).map(|check| check.kind).collect()
}

#[test]
fn another_identity_is_a_mismatch_that_names_what_differs() {
    assert_eq!(differing(|identity| identity.pid += 1), [CheckKind::Pid]);
    assert_eq!(differing(|identity| identity.exe_path.push("x")), [CheckKind::ExePath]);
    let digests = |blake3, sha256| ExeDigests::Both { blake3, sha256 };
    assert_eq!(
        differing(move |identity| identity.exe_digests = digests([9; 32], [9; 32])),
        [CheckKind::ExeDigest]
    );
    assert_eq!(
        differing(|identity| identity.exe_digests = ExeDigests::Sha256([9; 32])),
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
    assert_eq!(hung_up.recv_timeout(TEST_TIMEOUT).unwrap(), 0, "the client sent nothing and closed");
}
