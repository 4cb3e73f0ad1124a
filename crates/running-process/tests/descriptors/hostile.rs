//! Peers that break the rules, or do not know them.

use super::client::Client;
use super::daemon::{Daemon, Driver, SERVED, chain};
use super::raw::{Raw, encoded};
use super::{assert_open, cases, contents, descriptor, open_descriptors};
use running_process::broker::backend_sdk::{
    ClientConnectionError, DescriptorFault, FrameClientError, LocalStream, Payload, RequestOptions,
    ServerConfig,
};
use running_process::broker::protocol::{DescriptorFields, FrameKind, FrameRef};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

cases! {
    a_client_that_breaks_the_rules_of_descriptors_is_closed_and_nothing_leaks
    descriptors_on_a_connection_that_never_asked_are_dropped_by_the_system
    a_server_that_breaks_the_rules_of_descriptors_is_closed_and_nothing_leaks
    a_server_of_before_is_sent_no_descriptors_and_its_answer_is_the_payload
    a_client_that_ends_at_any_step_leaves_nothing
}

fn announcing(count: u8) -> DescriptorFields {
    DescriptorFields::NONE.announcing(count)
}

fn request(id: u64, payload: &[u8]) -> FrameRef<'_> {
    FrameRef::request(SERVED, id, payload)
}

fn files(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| descriptor(b"passed")).collect()
}

/// Returns a connection to `daemon` that takes descriptors and has been told that the daemon does.
fn negotiated(daemon: &Daemon) -> Raw {
    let mut raw = Raw::connect(&daemon.endpoint.path);
    raw.send(
        &encoded(&FrameRef { descriptors: DescriptorFields::NONE.accepting(9), ..request(1, b"close") }),
        &[] as &[OwnedFd],
    );
    let (answer, _) = raw.next().unwrap();
    assert_eq!(FrameRef::decode(&answer).unwrap().descriptors.accepted(), 4);
    raw
}

/// Bytes that are sent in turn, each with so many descriptors.
type Steps = Vec<(Vec<u8>, usize)>;

/// Returns what a client sends after it was told that the server takes four descriptors with a frame, and the fault of it.
fn broken() -> Vec<(&'static str, Steps)> {
    let plain = encoded(&request(2, b"close"));
    let with =
        |descriptors| encoded(&FrameRef { descriptors: announcing(descriptors), ..request(2, b"close") });
    let cancel = FrameRef { kind: FrameKind::Cancel.into(), descriptors: announcing(1), ..request(2, b"") };
    let probe = FrameRef { descriptors: announcing(1), ..FrameRef::request(0xB232, 2, &[7; 32]) };
    let encoding = FrameRef { payload_encoding: 3, descriptors: announcing(1), ..request(2, b"x") };
    let (start, rest) = plain.split_at(6);
    let (with_start, with_rest) = (with(2)[..6].to_vec(), with(2)[6..].to_vec());
    vec![
        ("2 descriptors came that no frame announces", vec![(plain.clone(), 2)]),
        ("1 descriptors came that no frame announces", vec![(start.to_vec(), 0), (rest.to_vec(), 1)]),
        ("a frame announces 2 descriptors, 0 came with it", vec![(with(2), 0)]),
        ("a frame announces 2 descriptors, 1 came with it", vec![(with(2), 1)]),
        ("a frame announces 2 descriptors, 3 came with it", vec![(with(2), 3)]),
        ("a frame announces 2 descriptors, 1 came with it", vec![(with_start, 1), (with_rest, 1)]),
        ("5 descriptors came, at most 4 are taken", vec![(with(5), 5)]),
        ("5 descriptors came, at most 4 are taken", vec![(start.to_vec(), 5)]),
        ("a frame announces 1 descriptors, where none are taken", vec![(encoded(&cancel), 1)]),
        ("a frame announces 1 descriptors, where none are taken", vec![(encoded(&probe), 1)]),
        ("a frame announces 1 descriptors, where none are taken", vec![(encoded(&encoding), 1)]),
        (
            "8 descriptors came, at most 6 are taken",
            vec![(vec![start[0]], 4), (vec![start[1]], 4), (start[2..].to_vec(), 0)],
        ),
    ]
}

fn a_client_that_breaks_the_rules_of_descriptors_is_closed_and_nothing_leaks<D: Driver, C: Client>() {
    let mut config = ServerConfig::default();
    (config.connection.max_frame_descriptors, config.connection.max_descriptors) = (4, 6);
    let daemon = Daemon::with_config::<D>(config);
    let before = open_descriptors();
    for (fault, steps) in broken() {
        let mut raw = negotiated(&daemon);
        for (bytes, count) in steps {
            raw.send(&bytes, &files(count));
        }
        raw.wait_closed();
        let error = daemon.error();
        assert_eq!(
            error,
            format!("a connection was ended: the peer broke the rules of descriptors: {fault}")
        );
        drop(raw);
        daemon.wait_for_connections(0);
        assert_open(before);
    }
    // More than the system returns at once: it drops the rest.
    let mut raw = negotiated(&daemon);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let few = rustix::process::Rlimit { current: Some(open_descriptors() as u64 + 4), ..limit };
    let passed = files(3);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    raw.send(&encoded(&FrameRef { descriptors: announcing(3), ..request(2, b"close") }), &passed);
    raw.wait_closed();
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    assert!(daemon.error().ends_with("the system has dropped descriptors that came"));
    drop((raw, passed));
    daemon.wait_for_connections(0);
    assert_open(before);
    // Others go on.
    assert_eq!(C::connect(&daemon.endpoint).ask("close", files(3)).unwrap().payload(), b"3");
}

fn descriptors_on_a_connection_that_never_asked_are_dropped_by_the_system<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let before = open_descriptors();
    let mut raw = Raw::connect(&daemon.endpoint.path);
    for id in 1..100 {
        raw.send(&encoded(&request(id, b"close")), &files(5));
        let (answer, came) = raw.next().unwrap();
        let answer = FrameRef::decode(&answer).unwrap();
        assert_eq!((answer.payload, came.len(), answer.descriptors), (&b"0"[..], 0, DescriptorFields::NONE));
    }
    assert_open(before + 2);
    raw.send(&encoded(&FrameRef { descriptors: announcing(1), ..request(100, b"close") }), &files(1));
    raw.wait_closed();
    assert!(daemon.error().ends_with("a frame announces 1 descriptors, where none are taken"));
    drop(raw);
    daemon.wait_for_connections(0);
    assert_open(before);
}

/// Answers the first request of a client with these bytes, each with so many descriptors, and closes the connection once the client
/// has. Returns the result of the client's request.
fn answered_with<C: Client>(
    steps: impl FnOnce(FrameRef<'_>) -> Steps + Send + 'static,
) -> Result<usize, FrameClientError> {
    let (socket, other) = UnixStream::pair().unwrap();
    let daemon = thread::spawn(move || {
        let mut raw = Raw::new(other);
        let (request, _) = raw.next().unwrap();
        let request = FrameRef::decode(&request).unwrap();
        for (bytes, count) in steps(FrameRef::response_to(&request, b"")) {
            raw.send(&bytes, &files(count));
        }
        raw.wait_closed();
    });
    let mut client = C::from_stream(LocalStream::from(socket));
    let options = RequestOptions::new().with_max_descriptors(4);
    let reply = client.request_reply(SERVED, "new".into(), &options);
    let came = reply.map(|reply| reply.descriptors().len());
    drop(client);
    daemon.join().unwrap();
    came
}

fn a_server_that_breaks_the_rules_of_descriptors_is_closed_and_nothing_leaks<D: Driver, C: Client>() {
    let before = open_descriptors();
    let fault = |came: Result<usize, FrameClientError>| match came {
        Err(FrameClientError::Connection(ClientConnectionError::Descriptors(fault))) => fault,
        other => panic!("{other:?}"),
    };
    let with = |frame: FrameRef<'_>, descriptors| {
        encoded(&FrameRef { descriptors: announcing(descriptors), ..frame })
    };
    assert_eq!(answered_with::<C>(move |frame| vec![(with(frame, 4), 4)]).unwrap(), 4);
    let came = answered_with::<C>(move |frame| vec![(with(frame, 0), 3)]);
    assert_eq!(fault(came), DescriptorFault::Unannounced { came: 3 });
    let came = answered_with::<C>(move |frame| vec![(with(frame, 2), 0)]);
    assert_eq!(fault(came), DescriptorFault::NotSent { announced: 2, came: 0 });
    let came = answered_with::<C>(move |frame| vec![(with(frame, 5), 5)]);
    assert_eq!(fault(came), DescriptorFault::TooMany { came: 5, limit: 4 });
    // Events that nobody wants, and answers to no request in flight, have descriptors that are closed.
    let came = answered_with::<C>(move |frame| {
        let event = FrameRef { kind: FrameKind::Event.into(), ..frame };
        let notice = FrameRef { request_id: 0, payload_protocol: 0, ..event };
        vec![(with(event, 2), 2), (with(notice, 1), 1), (with(frame, 3), 3)]
    });
    assert_eq!(came.unwrap(), 3);
    assert_open(before);
}

fn a_server_of_before_is_sent_no_descriptors_and_its_answer_is_the_payload<D: Driver, C: Client>() {
    let before = open_descriptors();
    let (socket, other) = UnixStream::pair().unwrap();
    let daemon = thread::spawn(move || {
        let mut raw = Raw::new(other);
        // It answers a probe and a request, and knows none of our fields.
        let mut requests = 0;
        while let Some((body, came)) = raw.next() {
            assert_eq!(came.len(), 0);
            let request = FrameRef::decode(&body).unwrap();
            raw.send(&encoded(&FrameRef::response_to(&request, request.payload)), &[] as &[OwnedFd]);
            requests += 1;
        }
        requests
    });
    let mut client = C::from_stream(LocalStream::from(socket));
    let error = client.ask("passed", files(2)).unwrap_err();
    assert!(
        matches!(error, FrameClientError::DescriptorsNotTaken { count: 2, limit: 0 }),
        "{}",
        chain(&error)
    );
    let reply = client.request_reply(SERVED, "plain".into(), &RequestOptions::new()).unwrap();
    assert_eq!((reply.payload(), reply.is_file(), reply.descriptors().len()), (&b"plain"[..], false, 0));
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, b"content").unwrap();
    let sent = client.request(SERVED, Payload::from_file(file).unwrap()).unwrap();
    assert_eq!(sent.payload, b"content", "a request that is a file is sent as bytes");
    drop(client);
    assert_eq!(daemon.join().unwrap(), 3);
    assert_open(before);
}

fn a_client_that_ends_at_any_step_leaves_nothing<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let before = open_descriptors();
    let ask = encoded(&FrameRef { descriptors: DescriptorFields::NONE.accepting(9), ..request(1, b"close") });
    let echo = encoded(&FrameRef {
        descriptors: DescriptorFields::NONE.accepting(9).announcing(3),
        ..request(2, b"echo")
    });
    for cut in 1..=echo.len() {
        let mut raw = Raw::connect(&daemon.endpoint.path);
        raw.send(&ask, &[] as &[OwnedFd]);
        raw.next().unwrap();
        raw.send(&echo[..cut], &files(3));
        if cut % 2 == 0 {
            raw.send(&echo[cut..], &[] as &[OwnedFd]);
        }
        if cut % 4 == 0 {
            assert_eq!(contents(&raw.next().unwrap().1), [b"passed"; 3]);
        }
        drop(raw);
    }
    daemon.wait_for_connections(0);
    assert_open(before);
}
