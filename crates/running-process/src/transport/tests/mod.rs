//! Behaviour that every system shares.

#[cfg(feature = "tokio")]
mod async_borrow;
#[cfg(unix)]
mod handover;
mod instance_lock;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{BindError, ConnectError, LocalListener, LocalStream, NameError, StopSignal};
use crate::sys::{PeerError, PeerEvidence, PidfdPolicy, ProcessHandle};

/// Longer than anything here takes.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A unique name, which is cleaned up afterwards.
struct Name {
    #[cfg(unix)]
    _directory: tempfile::TempDir,
    name: String,
}

impl Name {
    fn new() -> Self {
        #[cfg(unix)]
        {
            let directory = tempfile::tempdir().unwrap();
            let name = directory.path().join("s").to_str().unwrap().to_owned();
            Self { _directory: directory, name }
        }
        #[cfg(windows)]
        {
            use std::sync::atomic::{AtomicU32, Ordering};
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            Self { name: format!("running-process-test-{}-{number}", std::process::id()) }
        }
    }
}

/// Runs `work` on a thread and fails if it hangs.
fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = done.send(work());
    });
    match finished.recv_timeout(TEST_TIMEOUT) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still running after {TEST_TIMEOUT:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

fn soon() -> Instant {
    Instant::now() + TEST_TIMEOUT
}

fn in_millis(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

/// Returns a client and the server's side of the same connection.
pub(super) fn pair() -> (LocalStream, LocalStream) {
    watched(|| {
        let name = Name::new();
        let listener = LocalListener::bind(&name.name).unwrap();
        let client = LocalStream::connect(&name.name).unwrap();
        let server = listener.accept(&StopSignal::new().unwrap()).unwrap().unwrap();
        (client, server)
    })
}

#[test]
fn bytes_go_both_ways_and_the_end_is_seen() {
    let (client, server) = pair();
    let echo = thread::spawn(move || {
        let mut buf = [0; 64];
        loop {
            match server.read_deadline(&mut buf, Some(soon())).unwrap() {
                0 => break,
                received => server.write_all_deadline(&buf[..received], Some(soon())).unwrap(),
            }
        }
    });
    for round in 0..100u8 {
        client.write_all_deadline(&[round; 5], Some(soon())).unwrap();
        let mut back = [0; 5];
        let mut filled = 0;
        while filled < back.len() {
            filled += client.read_deadline(&mut back[filled..], Some(soon())).unwrap();
        }
        assert_eq!(back, [round; 5]);
    }
    drop(client);
    watched(move || echo.join().unwrap());
}

#[test]
fn the_standard_traits_read_and_write() {
    let (mut client, server) = pair();
    let echo = thread::spawn(move || {
        let mut line = [0; 5];
        (&server).read_exact(&mut line).unwrap();
        (&server).write_all(&line).unwrap();
        (&server).flush().unwrap();
    });
    let back = watched(move || {
        client.write_all(b"hello").unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        back
    });
    assert_eq!(back, b"hello");
    watched(move || echo.join().unwrap());
}

#[test]
fn a_silent_peer_costs_the_deadline_and_no_more() {
    let (client, _server) = pair();
    for millis in [1, 150, 30, 120, 2] {
        let start = Instant::now();
        let error = client.read_deadline(&mut [0; 8], Some(in_millis(millis))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(millis), "{:?}", start.elapsed());
        assert!(start.elapsed() < TEST_TIMEOUT);
    }
}

#[test]
fn a_deadline_does_not_outlive_its_call() {
    let (client, server) = pair();
    assert_eq!(
        client.read_deadline(&mut [0; 8], Some(in_millis(1))).unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    let (started, starts) = mpsc::channel();
    let reader = thread::spawn(move || {
        started.send(()).unwrap();
        client.read_deadline(&mut [0; 8], None)
    });
    starts.recv().unwrap();
    // More time than the earlier deadline passes while nothing is written.
    assert_eq!(
        server.read_deadline(&mut [0; 8], Some(in_millis(50))).unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    server.write_all_deadline(b"x", Some(soon())).unwrap();
    assert_eq!(watched(move || reader.join().unwrap()).unwrap(), 1);
}

#[test]
fn a_deadline_in_the_past_is_over_even_if_bytes_wait() {
    let (client, server) = pair();
    server.write_all_deadline(b"x", Some(soon())).unwrap();
    let past = Some(Instant::now());
    assert_eq!(client.read_deadline(&mut [0; 8], past).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(client.write_all_deadline(b"x", past).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(client.read_deadline(&mut [0; 8], Some(soon())).unwrap(), 1);
}

#[test]
fn a_peer_that_does_not_read_costs_the_writer_the_deadline() {
    let (client, _server) = pair();
    let error =
        watched(move || client.write_all_deadline(&vec![0; 32 << 20], Some(in_millis(100))).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_large_write_meets_a_slow_reader() {
    let (client, server) = pair();
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let writer = thread::spawn({
        let sent = sent.clone();
        move || client.write_all_deadline(&sent, Some(soon())).unwrap()
    });
    let received = watched(move || {
        let (mut received, mut buf) = (Vec::new(), [0; 1021]);
        loop {
            match server.read_deadline(&mut buf, Some(soon())).unwrap() {
                0 => return received,
                length => received.extend_from_slice(&buf[..length]),
            }
        }
    });
    watched(move || writer.join().unwrap());
    assert!(received == sent);
}

#[test]
fn one_thread_reads_while_another_writes() {
    let (client, server) = pair();
    let reading = client.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let mut buf = [0; 8];
        reading.read_deadline(&mut buf, Some(soon())).map(|length| buf[..length].to_vec())
    });
    client.write_all_deadline(b"ping", None).unwrap();
    assert_eq!(server.read_deadline(&mut [0; 8], Some(soon())).unwrap(), 4);
    server.write_all_deadline(b"pong", None).unwrap();
    assert_eq!(watched(move || reader.join().unwrap()).unwrap(), b"pong");
}

#[test]
fn the_connection_closes_with_its_last_clone() {
    let (client, server) = pair();
    let clone = client.try_clone().unwrap();
    drop(client);
    assert_eq!(
        server.read_deadline(&mut [0; 1], Some(in_millis(30))).unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    drop(clone);
    assert_eq!(server.read_deadline(&mut [0; 1], Some(soon())).unwrap(), 0);
}

#[test]
fn writing_to_a_closed_connection_is_a_broken_pipe() {
    let (client, server) = pair();
    drop(server);
    let error = watched(move || {
        loop {
            if let Err(error) = client.write_all_deadline(&[0; 4096], Some(soon())) {
                break error;
            }
        }
    });
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn interrupting_wakes_a_blocked_read_and_stays() {
    let (client, _server) = pair();
    let reading = client.try_clone().unwrap();
    let (started, starts) = mpsc::channel();
    let reader = thread::spawn(move || {
        started.send(()).unwrap();
        reading.read_deadline(&mut [0; 8], None)
    });
    starts.recv().unwrap();
    client.interrupt_reads();
    assert_eq!(watched(move || reader.join().unwrap()).unwrap(), 0);
    assert_eq!(client.read_deadline(&mut [0; 8], Some(soon())).unwrap(), 0);
}

#[test]
#[cfg_attr(any(target_os = "macos", target_os = "freebsd"), ignore = "these systems drop it")]
fn what_was_received_before_the_interruption_can_be_read() {
    let (client, server) = pair();
    server.write_all_deadline(b"kept", Some(soon())).unwrap();
    client.interrupt_reads();
    let mut buf = [0; 8];
    assert_eq!(client.read_deadline(&mut buf, Some(soon())).unwrap(), 4);
    assert_eq!(&buf[..4], b"kept");
    assert_eq!(client.read_deadline(&mut buf, Some(soon())).unwrap(), 0);
}

#[test]
fn stopping_wakes_every_thread_that_accepts() {
    let name = Name::new();
    let listener = std::sync::Arc::new(LocalListener::bind(&name.name).unwrap());
    let stop = StopSignal::new().unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (listener, stop) = (listener.clone(), stop.clone());
            thread::spawn(move || listener.accept(&stop).unwrap().is_none())
        })
        .collect();
    assert!(!stop.is_stopped());
    stop.stop();
    stop.clone().stop();
    assert!(stop.is_stopped());
    assert!(watched(move || threads.into_iter().all(|thread| thread.join().unwrap())));
    // The next call ends, too, although a connection waits.
    let _client = LocalStream::connect(&name.name).unwrap();
    assert!(watched(move || listener.accept(&stop).unwrap().is_none()));
}

#[test]
fn many_clients_at_once_are_all_accepted() {
    const CLIENTS: usize = 200;
    let name = Name::new();
    let listener = LocalListener::bind(&name.name).unwrap();
    let stop = StopSignal::new().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..CLIENTS {
            let stream = listener.accept(&stop).unwrap().unwrap();
            stream.write_all_deadline(b"!", Some(soon())).unwrap();
            assert_eq!(stream.read_deadline(&mut [0; 1], Some(soon())).unwrap(), 0);
        }
    });
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let name = name.name.clone();
            thread::spawn(move || {
                let mut answers = 0;
                let give_up = Instant::now() + TEST_TIMEOUT;
                while answers < CLIENTS / 4 && Instant::now() < give_up {
                    match LocalStream::connect(&name) {
                        Ok(stream) => {
                            assert_eq!(stream.read_deadline(&mut [0; 8], Some(soon())).unwrap(), 1);
                            answers += 1;
                        }
                        Err(ConnectError::BacklogFull { .. }) => thread::yield_now(),
                        Err(error) => panic!("{error:?}"),
                    }
                }
                answers
            })
        })
        .collect();
    let answers: usize = watched(move || clients.into_iter().map(|client| client.join().unwrap()).sum());
    assert_eq!(answers, CLIENTS);
    watched(move || server.join().unwrap());
}

#[test]
fn a_name_has_one_owner() {
    let name = Name::new();
    let listener = LocalListener::bind(&name.name).unwrap();
    assert!(matches!(LocalListener::bind(&name.name), Err(BindError::InUse { .. })));
    drop(listener);
    LocalListener::bind(&name.name).unwrap();
}

#[test]
fn there_is_no_endpoint_before_and_after() {
    let name = Name::new();
    assert!(matches!(LocalStream::connect(&name.name), Err(ConnectError::NotFound { .. })));
    drop(LocalListener::bind(&name.name).unwrap());
    assert!(matches!(LocalStream::connect(&name.name), Err(ConnectError::NotFound { .. })));
}

#[test]
fn names_that_cannot_be_are_refused_before_anything_is_made() {
    let long = "x".repeat(4096);
    for name in ["", "a\0b", &long] {
        let bind = LocalListener::bind(name).unwrap_err();
        let connect = LocalStream::connect(name).unwrap_err();
        let (BindError::Name(bind), ConnectError::Name(connect)) = (bind, connect) else {
            panic!("{name:?}")
        };
        assert_eq!(bind, connect);
    }
    let Err(ConnectError::Name(NameError::TooLong { length: 4096, max })) = LocalStream::connect(&long)
    else {
        panic!("a name of 4096 characters fits");
    };
    assert!((100..300).contains(&max));
}

/// Returns how this system names the process that listens.
fn strongest() -> PeerEvidence {
    if cfg!(windows) {
        PeerEvidence::PipeServer
    } else if cfg!(target_os = "macos") {
        PeerEvidence::AuditToken
    } else if cfg!(target_os = "linux") && linux() >= (6, 5) {
        PeerEvidence::PidFd
    } else {
        PeerEvidence::Credentials
    }
}

/// Returns the version of the running kernel.
fn linux() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|sign: char| !sign.is_ascii_digit()).map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn the_peer_is_the_process_that_listens() {
    let (client, _server) = pair();
    let peer = client.peer(PidfdPolicy::Use).unwrap();
    assert_eq!((peer.process.pid(), peer.evidence), (std::process::id(), strongest()));
    assert!(!peer.process.has_exited().unwrap());
}

#[test]
#[ignore = "a part of the next test"]
fn serve_until_the_client_leaves() {
    let listener = LocalListener::bind(&std::env::var("PUPPET_PATH").unwrap()).unwrap();
    io::stderr().write_all(b"!").unwrap();
    let stream = listener.accept(&StopSignal::new().unwrap()).unwrap().unwrap();
    assert_eq!(stream.read_deadline(&mut [0], Some(soon())).unwrap(), 0);
}

#[test]
fn the_peer_in_another_process_is_named_until_it_exits() {
    use std::process::Stdio;

    let name = Name::new();
    let mut command = crate::own_process::command(serve_until_the_client_leaves);
    command.env("PUPPET_PATH", &name.name);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stderr.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let client = LocalStream::connect(&name.name).unwrap();
    let peer = client.peer(PidfdPolicy::Use).unwrap();
    let process = ProcessHandle::open(child.id()).unwrap().unwrap();
    assert!(peer.process.is_same_process(&process).unwrap());
    assert_eq!(peer.process.start_time().unwrap(), process.start_time().unwrap());
    assert_eq!(peer.evidence, strongest());
    child.kill().unwrap();
    child.wait().unwrap();
    let error = client.peer(PidfdPolicy::Use).unwrap_err();
    // These systems may report the end of the connection instead.
    let ended = cfg!(any(windows, target_os = "macos")) && matches!(error, PeerError::Io(_));
    assert!(matches!(error, PeerError::Gone { .. }) || ended, "{error:?}");
}

#[test]
fn a_system_that_does_not_name_writers_says_so() {
    let (client, server) = pair();
    let named = client.name_writers(PidfdPolicy::Use);
    server.write_all_deadline(b"x", Some(soon())).unwrap();
    let (received, writer) = client.read_named_deadline(&mut [0; 8], Some(soon()), PidfdPolicy::Use).unwrap();
    assert_eq!(received, 1);
    match (named, writer.unwrap()) {
        (Ok(evidence), Ok(writer)) => {
            assert_eq!((writer.evidence, writer.process.pid()), (evidence, std::process::id()));
        }
        (Err(error), Err(PeerError::Unsupported)) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        answers => panic!("{answers:?}"),
    }
}
