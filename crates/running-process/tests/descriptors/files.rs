//! Answers that are files.

use super::client::Client;
use super::daemon::{Daemon, Driver, INLINE, SERVED};
use super::{assert_open, cases, open_descriptors};
use running_process::broker::backend_sdk::{
    FilePayloadError, FrameClientError, Payload, Reply, RequestOptions, ServerConfig,
};
use running_process::broker::protocol::{MAX_FRAME_BYTES, RefusalReason};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

cases! {
    an_answer_that_is_a_file_comes_as_that_file_open_for_reading_only
    an_answer_that_is_a_file_is_bytes_for_a_client_that_takes_no_descriptors
    a_file_of_any_size_is_answered_at_once_and_refused_where_it_does_not_fit_a_frame
    a_file_that_shrinks_is_read_up_to_its_end
    the_bytes_of_a_file_are_read_without_another_descriptor
    a_file_for_which_the_server_has_no_memory_is_not_read
    an_event_that_is_a_file_is_bytes_for_a_client_that_takes_no_descriptors
}

const CONTENT: &[u8] = b"the content of an artifact";

fn artifact(daemon: &Daemon) -> PathBuf {
    let path = daemon.directory.path().join("artifact");
    std::fs::write(&path, CONTENT).unwrap();
    path
}

fn ask<C: Client>(client: &mut C, protocol: u32, word: &str, path: &Path) -> Result<Reply, FrameClientError> {
    let payload = Payload::from(format!("{word} {}", path.display()));
    client.request_reply(protocol, payload, &RequestOptions::new())
}

fn an_answer_that_is_a_file_comes_as_that_file_open_for_reading_only<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let path = artifact(&daemon);
    let mut client = C::connect(&daemon.endpoint);
    daemon.wait_for_connections(1);
    let before = open_descriptors();
    for (protocol, word) in [(SERVED, "file"), (SERVED, "writable"), (INLINE, "file"), (INLINE, "writable")] {
        let reply = ask(&mut client, protocol, word, &path).unwrap();
        assert!(reply.is_file() && reply.payload().is_empty());
        assert_eq!(fcntl_getfl(&reply.descriptors()[0]).unwrap() & OFlags::RWMODE, OFlags::RDONLY);
        let mut part = [0; 7];
        assert_eq!((reply.read_at(&mut part, 4).unwrap(), &part), (7, b"content"));
        assert_eq!(reply.read_at(&mut part, 1000).unwrap(), 0);
        assert_eq!(reply.payload_length().unwrap(), CONTENT.len() as u64);
        let mut target = tempfile::tempfile().unwrap();
        assert_eq!(reply.copy_to(&target).unwrap(), CONTENT.len() as u64);
        let mut copied = vec![0; CONTENT.len()];
        target.read_exact_at(&mut copied, 0).unwrap();
        assert_eq!((copied, target.stream_position().unwrap()), (CONTENT.to_vec(), 0));
        assert_eq!(reply.into_bytes().unwrap(), CONTENT);
        let mut file = ask(&mut client, protocol, word, &path).unwrap().into_file().unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        assert_eq!(
            file.write(b"x").unwrap_err().raw_os_error(),
            Some(9),
            "EBADF: it is not open for writing"
        );
    }
    assert_open(before);
}

fn an_answer_that_is_a_file_is_bytes_for_a_client_that_takes_no_descriptors<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let path = artifact(&daemon);
    let mut client = C::connect(&daemon.endpoint);
    daemon.wait_for_connections(1);
    let before = open_descriptors();
    for protocol in [SERVED, INLINE] {
        let payload = Payload::from(format!("file {}", path.display()));
        assert_eq!(client.request(protocol, payload).unwrap().payload, CONTENT);
    }
    assert_open(before);
    // A reply of bytes is used in the same way as one of a file.
    let reply = client.ask("echo some bytes", []).unwrap();
    let mut part = [0; 50];
    assert_eq!((reply.read_at(&mut part, 5).unwrap(), &part[..5]), (5, &b"bytes"[..]));
    assert_eq!((reply.read_at(&mut part, 10).unwrap(), reply.read_at(&mut part, u64::MAX).unwrap()), (0, 0));
    assert_eq!((reply.payload_length().unwrap(), reply.is_file()), (10, false));
    let target = tempfile::tempfile().unwrap();
    assert_eq!((reply.copy_to(&target).unwrap(), super::content(&target)), (10, b"some bytes".to_vec()));
    assert_eq!(reply.into_file().unwrap_err().into_bytes().unwrap(), b"some bytes");
}

fn a_file_of_any_size_is_answered_at_once_and_refused_where_it_does_not_fit_a_frame<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let path = daemon.directory.path().join("large");
    let length = 1 << 30;
    File::create(&path).unwrap().set_len(length).unwrap();
    let mut client = C::connect(&daemon.endpoint);
    let reply = ask(&mut client, SERVED, "file", &path).unwrap();
    assert_eq!(reply.payload_length().unwrap(), length);
    let mut end = [1; 10];
    assert_eq!((reply.read_at(&mut end, length - 5).unwrap(), end), (5, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]));
    for protocol in [SERVED, INLINE] {
        let refused = client.request(protocol, format!("file {}", path.display()).into()).unwrap_err();
        let FrameClientError::Refused(refusal) = refused else { panic!("{refused}") };
        assert_eq!(refusal.reason(), RefusalReason::AnswerTooLarge);
        let text = format!(
            "frame body is {length} bytes, the cap is {MAX_FRAME_BYTES}: a client that takes descriptors gets a file of any size"
        );
        assert_eq!(refusal.message, text);
    }
    let error = client.request(SERVED, Payload::from_file(File::open(&path).unwrap()).unwrap()).unwrap_err();
    assert!(matches!(error, FrameClientError::Request(_)) && !error.may_have_run(), "{error}");
}

fn a_file_that_shrinks_is_read_up_to_its_end<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let path = artifact(&daemon);
    let mut client = C::connect(&daemon.endpoint);
    let reply = ask(&mut client, SERVED, "file", &path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(3).unwrap();
    assert_eq!((reply.payload_length().unwrap(), reply.into_bytes().unwrap()), (3, b"the".to_vec()));
}

fn the_bytes_of_a_file_are_read_without_another_descriptor<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let mut client = C::connect(&daemon.endpoint);
    assert_eq!(client.request(SERVED, "accepted".into()).unwrap().payload, b"0");
    let payload = Payload::from_file(super::file(b"echo content")).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit { current: Some(0), ..limit };
    setrlimit(Resource::Nofile, none).unwrap();
    let opened = File::open("/dev/null");
    let answered = client.request(SERVED, payload);
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(opened.unwrap_err().raw_os_error(), Some(24), "EMFILE");
    assert_eq!(answered.unwrap().payload, b"content");
}

/// Returns the number of bytes that the threads in `directory` of `/proc` have read.
pub(crate) fn bytes_read(directory: &str) -> u64 {
    let counts = std::fs::read_to_string(format!("/proc/{directory}/io")).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

const LARGE: u64 = 12 << 20;

fn large(daemon: &Daemon) -> PathBuf {
    let path = daemon.directory.path().join("large");
    File::create(&path).unwrap().set_len(LARGE).unwrap();
    path
}

fn a_file_for_which_the_server_has_no_memory_is_not_read<D: Driver, C: Client>() {
    let mut config = ServerConfig::default();
    config.memory_limit = 1 << 20;
    let daemon = Daemon::with_config::<D>(config);
    let path = large(&daemon);
    for (word, protocol) in [("file", SERVED), ("file", INLINE), ("file-event", SERVED)] {
        let mut client = C::connect(&daemon.endpoint);
        assert_eq!(client.request(protocol, "accepted".into()).unwrap().payload, b"0");
        let before = bytes_read("self");
        let error = client.request(protocol, format!("{word} {}", path.display()).into()).unwrap_err();
        let read = bytes_read("self") - before;
        assert!(read < LARGE, "{read} bytes were read for {error}");
        let told = daemon.error();
        assert!(told.contains("which the budget of 1048576 bytes does not leave"), "{told}");
        let mut other = C::connect(&daemon.endpoint);
        assert_eq!(other.request(protocol, "accepted".into()).unwrap().payload, b"0");
    }
}

fn an_event_that_is_a_file_is_bytes_for_a_client_that_takes_no_descriptors<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let path = artifact(&daemon);
    let mut client = C::connect(&daemon.endpoint);
    let request = || Payload::from(format!("file-event {}", path.display()));
    let (events, response) = client.stream(request(), &RequestOptions::new()).unwrap();
    assert_eq!(events.iter().map(Reply::payload).collect::<Vec<_>>(), [CONTENT]);
    assert_eq!(response.payload(), b"done");
    let (events, _) = client.stream(request(), &RequestOptions::new().with_max_descriptors(1)).unwrap();
    assert!(events[0].is_file());
}

#[cfg(feature = "tokio")]
#[test]
fn the_thread_of_a_runtime_reads_no_file_for_an_answer() {
    let _alone = super::alone();
    let daemon = Daemon::start::<super::daemon::OnOneThread>();
    let path = large(&daemon);
    let mut client = <running_process::FrameClient as Client>::connect(&daemon.endpoint);
    let read = |client: &mut running_process::FrameClient| {
        let answer = client.request(SERVED, "io").unwrap().payload;
        String::from_utf8(answer).unwrap().parse::<u64>().unwrap()
    };
    let before = read(&mut client);
    let payload = client.request(SERVED, format!("file {}", path.display())).unwrap().payload;
    assert_eq!(payload.len() as u64, LARGE);
    assert!(read(&mut client) - before < LARGE);
}

#[test]
fn a_file_that_has_more_bytes_than_the_system_says_is_no_payload() {
    let _alone = super::alone();
    let told = Payload::from_file(File::open("/proc/self/status").unwrap());
    assert!(matches!(told, Err(FilePayloadError::NoLength)), "{told:?}");
    let empty = Payload::from_file(super::file(b"")).unwrap();
    assert_eq!(empty.descriptor_count(), 1);
}

#[test]
fn only_a_regular_file_is_a_payload() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    // Opened for both, it waits for no other end.
    let fifo = File::options().read(true).write(true).open(&fifo).unwrap();
    for other in [File::open(directory.path()).unwrap(), File::open("/dev/null").unwrap(), fifo] {
        assert!(matches!(Payload::from_file(other), Err(FilePayloadError::NotRegular)));
    }
    let payload = Payload::from_file(super::file(b"x")).unwrap();
    assert_eq!((payload.descriptor_count(), payload.len()), (1, 0));
    assert_eq!(payload.clone().descriptor_count(), 1);
}

#[test]
fn a_daemon_that_sends_something_else_as_a_file_is_found_out_before_it_is_read() {
    use super::raw::{Raw, encoded};
    use running_process::FrameClient;
    use running_process::broker::protocol::{DescriptorFields, FrameRef};
    use std::os::unix::net::UnixStream;

    let _alone = super::alone();
    let (socket, other) = UnixStream::pair().unwrap();
    let daemon = std::thread::spawn(move || {
        let mut raw = Raw::new(other);
        let (request, _) = raw.next().unwrap();
        let request = FrameRef::decode(&request).unwrap();
        let response = FrameRef::response_to(&request, b"");
        // A read of this end waits.
        let (one, kept) = UnixStream::pair().unwrap();
        raw.send(
            &encoded(&FrameRef {
                descriptors: DescriptorFields::NONE.announcing(1).of_file(true),
                ..response
            }),
            &[one],
        );
        (raw, kept)
    });
    let mut client = <FrameClient as Client>::from_stream(socket.into());
    let reply = client.request_reply(SERVED, b"file", &RequestOptions::new()).unwrap();
    assert_eq!(reply.read_at(&mut [0], 0).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(reply.into_bytes().unwrap_err().kind(), ErrorKind::InvalidData);
    drop(daemon.join().unwrap());
}
