//! The listener and the writers of a connection, as the kernel names them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::super::{BindError, LocalStream, remove_stale_socket};
use super::{in_millis, soon, strongest, watched};
use crate::own_process;
use crate::sys::{Peer, PeerError, PeerEvidence, PidfdPolicy, ProcessHandle};

/// Returns both policies, each with the way in which writers and listeners are named.
fn both() -> [(PidfdPolicy, PeerEvidence); 2] {
    [(PidfdPolicy::Use, strongest()), (PidfdPolicy::Avoid, PeerEvidence::Credentials)]
}

/// A copy of this program that runs one of the ignored tests below, with `input` as its standard input.
struct Puppet(Child);

impl Puppet {
    fn start(test: impl Fn(), input: impl Into<Stdio>, environment: &[(&str, &Path)]) -> Self {
        let mut command = own_process::command(test);
        command.envs(environment.iter().copied());
        let child = command.stdin(input).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self(child)
    }

    /// Waits until the copy is ready.
    fn ready(mut self) -> Self {
        self.0.stderr.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        self
    }

    fn handle(&self) -> ProcessHandle {
        ProcessHandle::open(self.0.id()).unwrap().unwrap()
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn say_ready() {
    io::stderr().write_all(b"!").unwrap();
}

fn standard_input() -> OwnedFd {
    io::stdin().as_fd().try_clone_to_owned().unwrap()
}

/// Accepts one connection, answers its first byte and stays until it ends.
fn answer(listener: &UnixListener) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream.write_all(b"answer").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
#[ignore = "a part of other tests"]
fn puppet_that_listens() {
    let listener = UnixListener::bind(std::env::var_os("PUPPET_PATH").unwrap()).unwrap();
    say_ready();
    answer(&listener);
}

#[test]
#[ignore = "a part of other tests"]
fn puppet_that_inherits_a_listener() {
    answer(&UnixListener::from(standard_input()));
}

#[test]
#[ignore = "a part of other tests"]
fn puppet_that_writes() {
    let mut stream = UnixStream::from(standard_input());
    stream.write_all(b"puppet").unwrap();
    say_ready();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// Returns the evidence for `peer`, which must be the process `expected`.
fn evidence_of(peer: Result<Peer, PeerError>, expected: &ProcessHandle) -> PeerEvidence {
    let peer = peer.unwrap();
    assert_eq!(peer.process.pid(), expected.pid());
    assert!(peer.process.is_same_process(expected).unwrap());
    assert_eq!(peer.uid, Some(rustix::process::getuid().as_raw()));
    peer.evidence
}

fn this_process() -> ProcessHandle {
    ProcessHandle::open(std::process::id()).unwrap().unwrap()
}

/// Returns a connection within this process whose first end names its writers.
fn named_pair(pidfds: PidfdPolicy, evidence: PeerEvidence) -> (LocalStream, UnixStream) {
    let (reader, writer) = UnixStream::pair().unwrap();
    let reader = LocalStream::from(reader);
    assert_eq!(reader.name_writers(pidfds).unwrap(), evidence);
    (reader, writer)
}

fn read_named(stream: &LocalStream, pidfds: PidfdPolicy) -> (Vec<u8>, Option<Result<Peer, PeerError>>) {
    let mut buf = [0; 64];
    let (received, writer) = stream.read_named_deadline(&mut buf, Some(soon()), pidfds).unwrap();
    (buf[..received].to_vec(), writer)
}

#[test]
fn both_ends_of_a_connection_within_this_process_are_this_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let client = LocalStream::connect(path.to_str().unwrap()).unwrap();
    let server = LocalStream::from(listener.accept().unwrap().0);
    for (pidfds, evidence) in both() {
        for stream in [&client, &server] {
            assert_eq!(evidence_of(stream.peer(pidfds), &this_process()), evidence);
        }
    }
}

#[test]
fn a_child_that_listens_is_the_peer_and_the_writer_until_it_exits() {
    for (pidfds, evidence) in both() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut puppet = Puppet::start(puppet_that_listens, Stdio::null(), &[("PUPPET_PATH", &path)]).ready();
        let client = LocalStream::connect(path.to_str().unwrap()).unwrap();
        assert_eq!(evidence_of(client.peer(pidfds), &puppet.handle()), evidence);
        assert_eq!(client.name_writers(pidfds).unwrap(), evidence);
        client.write_all_deadline(b"?", Some(soon())).unwrap();
        let (bytes, writer) = read_named(&client, pidfds);
        assert_eq!(bytes, b"answer");
        assert_eq!(evidence_of(writer.unwrap(), &puppet.handle()), evidence);
        let pid = puppet.0.id();
        puppet.0.kill().unwrap();
        assert!(puppet.handle().wait_exit(Some(soon())).unwrap());
        // First a zombie, then reaped.
        for _ in 0..2 {
            assert!(matches!(client.peer(pidfds), Err(PeerError::Gone { pid: gone }) if gone == pid));
            puppet.0.wait().unwrap();
        }
        assert!(matches!(read_named(&client, pidfds), (bytes, None) if bytes.is_empty()));
    }
}

#[test]
fn a_child_that_inherits_the_listener_is_the_writer_but_not_the_peer() {
    for (pidfds, evidence) in both() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let client = LocalStream::connect(path.to_str().unwrap()).unwrap();
        let puppet = Puppet::start(puppet_that_inherits_a_listener, OwnedFd::from(listener), &[]);
        assert_eq!(evidence_of(client.peer(pidfds), &this_process()), evidence);
        client.name_writers(pidfds).unwrap();
        client.write_all_deadline(b"?", Some(soon())).unwrap();
        let (bytes, writer) = read_named(&client, pidfds);
        assert_eq!(bytes, b"answer");
        assert_eq!(evidence_of(writer.unwrap(), &puppet.handle()), evidence);
    }
}

#[test]
fn one_read_never_has_bytes_of_two_writers() {
    for (pidfds, evidence) in both() {
        let (reader, mut writer) = named_pair(pidfds, evidence);
        writer.write_all(b"before ").unwrap();
        writer.write_all(b"it").unwrap();
        let puppet =
            Puppet::start(puppet_that_writes, OwnedFd::from(writer.try_clone().unwrap()), &[]).ready();
        writer.write_all(b"after").unwrap();
        for (expected, process) in
            [("before it", this_process()), ("puppet", puppet.handle()), ("after", this_process())]
        {
            let (bytes, writer) = read_named(&reader, pidfds);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
            assert_eq!(evidence_of(writer.unwrap(), &process), evidence);
        }
        // A read that does not ask for the writer names none either.
        writer.write_all(b"plain").unwrap();
        assert_eq!(reader.read_deadline(&mut [0; 64], Some(soon())).unwrap(), 5);
    }
}

#[test]
fn a_writer_that_is_gone_is_not_another_process() {
    for (pidfds, evidence) in both() {
        let (reader, writer) = named_pair(pidfds, evidence);
        let puppet = Puppet::start(puppet_that_writes, OwnedFd::from(writer), &[]).ready();
        let process = puppet.handle();
        drop(puppet);
        let (bytes, writer) = read_named(&reader, pidfds);
        assert_eq!(bytes, b"puppet");
        match writer.unwrap() {
            Ok(writer) => {
                assert_eq!((pidfds, writer.process.pid()), (PidfdPolicy::Use, process.pid()));
                assert!(writer.process.has_exited().unwrap());
            }
            Err(error) => assert!(matches!(error, PeerError::Gone { pid } if pid == process.pid())),
        }
    }
}

#[test]
fn bytes_from_before_writers_are_named_have_no_name() {
    for (pidfds, _) in both() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let reader = LocalStream::from(reader);
        writer.write_all(b"early").unwrap();
        assert!(matches!(read_named(&reader, pidfds), (_, Some(Err(PeerError::NotNoted)))));
        writer.write_all(b"early").unwrap();
        reader.name_writers(pidfds).unwrap();
        writer.write_all(b"late").unwrap();
        assert!(
            matches!(read_named(&reader, pidfds), (early, Some(Err(PeerError::NotNoted))) if early == b"early")
        );
        assert!(matches!(read_named(&reader, pidfds), (late, Some(Ok(_))) if late == b"late"));
    }
}

#[test]
fn named_reads_keep_their_deadline_and_see_the_end() {
    let (reader, mut writer) = named_pair(PidfdPolicy::Use, strongest());
    let mut buf = [0; 8];
    for millis in [1, 60, 20] {
        let start = Instant::now();
        let error =
            reader.read_named_deadline(&mut buf, Some(in_millis(millis)), PidfdPolicy::Use).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed().as_millis() >= u128::from(millis));
    }
    assert!(matches!(reader.read_named_deadline(&mut [], None, PidfdPolicy::Use), Ok((0, None))));
    writer.write_all(b"x").unwrap();
    drop(writer);
    assert_eq!(read_named(&reader, PidfdPolicy::Use).0, b"x");
    assert!(matches!(read_named(&reader, PidfdPolicy::Use), (end, None) if end.is_empty()));
}

#[test]
fn a_stopped_reader_waits_for_a_name_no_longer() {
    let (reader, _writer) = named_pair(PidfdPolicy::Use, strongest());
    let interrupting = reader.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        reader.read_named_deadline(&mut [0; 8], None, PidfdPolicy::Use).map(|(received, _)| received)
    });
    interrupting.interrupt_reads();
    assert_eq!(watched(move || reading.join().unwrap()).unwrap(), 0);
}

/// Sends `count` descriptors along with a byte.
fn send_descriptors(writer: &UnixStream, count: usize) {
    let descriptors = vec![writer.as_fd(); count];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(writer, &[io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
}

/// Counts descriptors of the whole process, so it runs in a process of its own: see the next test.
#[test]
#[ignore = "started by the next test in a process of its own"]
fn descriptors_counted() {
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    for (pidfds, evidence) in both() {
        let (reader, mut writer) = named_pair(pidfds, evidence);
        let before = open();
        for _ in 0..1000 {
            writer.write_all(b"x").unwrap();
            assert_eq!(evidence_of(read_named(&reader, pidfds).1.unwrap(), &this_process()), evidence);
        }
        for count in [1, 2, 3, 200] {
            send_descriptors(&writer, count);
            let (bytes, named) = read_named(&reader, pidfds);
            assert_eq!(bytes, b"x");
            match named.unwrap() {
                // The buffer was large enough.
                Ok(named) => assert_eq!((named.evidence, count <= 2), (PeerEvidence::Credentials, true)),
                Err(PeerError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::InvalidData),
                Err(error) => panic!("{error:?}"),
            }
            // Nothing of it is left for the next read.
            writer.write_all(b"x").unwrap();
            assert_eq!(evidence_of(read_named(&reader, pidfds).1.unwrap(), &this_process()), evidence);
        }
        for _ in 0..100 {
            reader.peer(pidfds).unwrap();
            writer.write_all(b"x").unwrap();
            reader.read_deadline(&mut [0; 8], Some(soon())).unwrap();
        }
        assert_eq!(open(), before);
    }
}

#[test]
fn names_leave_no_descriptor_behind() {
    own_process::assert_passed(&own_process::command(descriptors_counted).output().unwrap());
}

#[test]
fn received_handles_are_not_inherited() {
    let (reader, mut writer) = named_pair(PidfdPolicy::Use, strongest());
    writer.write_all(b"x").unwrap();
    let _writer = read_named(&reader, PidfdPolicy::Use).1.unwrap().unwrap();
    let _peer = reader.peer(PidfdPolicy::Use).unwrap();
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap() {
        let path = entry.unwrap().path();
        // Descriptors of other tests come and go.
        let Ok(information) = fs::read_to_string(path) else { continue };
        if information.contains("\nNSpid:") {
            let flags = information.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            assert_ne!(i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC, 0, "{information}");
        }
    }
}

/// Connects to a listener outside of this pid namespace.
#[test]
#[ignore = "started by the next test in a pid namespace of its own"]
fn puppet_in_a_pid_namespace() {
    let path = std::env::var("PUPPET_PATH").unwrap();
    for (pidfds, _) in both() {
        let client = LocalStream::connect(&path).unwrap();
        assert!(matches!(client.peer(pidfds), Err(PeerError::OtherNamespace)));
        client.name_writers(pidfds).unwrap();
        client.write_all_deadline(b"?", Some(soon())).unwrap();
        assert!(matches!(read_named(&client, pidfds), (_, Some(Err(PeerError::OtherNamespace)))));
    }
}

#[test]
fn a_process_of_another_pid_namespace_is_never_known_by_coincidence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    // Once with a `/proc` of its own, and once with this one, in which the other process has a number.
    for arguments in [&["--mount-proc"][..], &[]] {
        let serving = std::thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || {
                for _ in both() {
                    answer(&listener);
                }
            }
        });
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork"])
            .args(arguments)
            .arg(std::env::current_exe().unwrap())
            .args(own_process::arguments(puppet_in_a_pid_namespace))
            .env("PUPPET_PATH", &path)
            .output();
        match output {
            Ok(output) if !output.stdout.is_empty() => own_process::assert_passed(&output),
            refused => return println!("no namespaces here: {refused:?}"),
        }
        watched(move || serving.join().unwrap());
    }
}

/// Leaves its socket to a child as the child's standard output. The child ends with the standard input of both.
#[test]
#[ignore = "a part of the next test"]
fn puppet_that_leaves_its_socket_to_a_child() {
    let listener = UnixListener::bind(std::env::var_os("PUPPET_PATH").unwrap()).unwrap();
    let mut child = Command::new("cat");
    child.stdin(standard_input()).stdout(OwnedFd::from(listener)).stderr(Stdio::null());
    drop(child.spawn().unwrap());
}

#[test]
fn a_socket_that_a_forked_process_keeps_is_told_apart_from_a_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (input, end) = io::pipe().unwrap();
    let mut listened =
        Puppet::start(puppet_that_leaves_its_socket_to_a_child, input, &[("PUPPET_PATH", &path)]);
    assert!(listened.0.wait().unwrap().success());
    let held = remove_stale_socket(&path).unwrap_err();
    assert!(matches!(held, BindError::HeldByChild { pid: None, .. }), "{held:?}");
    assert!(path.exists(), "it is left alone");
    drop(end);
}
