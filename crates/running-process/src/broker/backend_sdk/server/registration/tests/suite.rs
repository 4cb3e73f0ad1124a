use super::super::drivers::{
    SHOUT, Verdict, WORK, identity_in, next, probe, read, read_frames, read_to_end, request, soon, write,
};
use super::Served;
use crate::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use crate::broker::backend_sdk::server::error::ServerError;
use crate::broker::backend_sdk::{ConnectError, LocalStream, read_daemon_identity_file};
use crate::broker::protocol::Frame;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Nothing is answered so far.
#[track_caller]
fn assert_waits(connection: &LocalStream) {
    let shortly = Instant::now() + Duration::from_millis(5);
    let error = connection.read_deadline(&mut [0], Some(shortly)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

fn ids(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.request_id).collect()
}

#[test]
fn requests_and_the_legacy_wire_are_served_before_the_server_knows_who_it_is() {
    let server = Served::start();
    server.assert_serves();
    let legacy = server.connect();
    write(&legacy, b"hello");
    assert_eq!(read(&legacy, 5), b"hello");
    assert!(!server.record.exists());
    assert!(server.ready.try_recv().is_err());
}

#[test]
fn a_probe_waits_for_the_identity_and_whoever_is_answered_finds_the_record() {
    let server = Served::start();
    let waits = server.connect();
    write(&waits, &probe(1));
    server.assert_serves();
    assert_waits(&waits);
    server.verdict.send(Verdict::Known).unwrap();
    let answered = identity_in(&read_frames(&waits, 1)[0]);
    assert_eq!(read_daemon_identity_file(&server.record).as_ref(), Some(&answered));
    assert_eq!(next(&server.ready), answered);
    let later = server.connect();
    write(&later, &probe(2));
    assert_eq!(identity_in(&read_frames(&later, 1)[0]), answered);
    server.stop.stop();
    let (ended, test) = server.join();
    ended.unwrap().unwrap();
    assert!(!test.record.exists());
}

#[test]
fn what_follows_a_probe_waits_with_it_and_is_answered_in_order() {
    let server = Served::start();
    let connection = server.connect();
    let shout = |id| request(SHOUT, id, b"x");
    write(&connection, &[shout(1), probe(2), shout(3), probe(4), shout(5)].concat());
    assert_eq!(ids(&read_frames(&connection, 1)), [1]);
    server.assert_serves();
    assert_waits(&connection);
    // More than a socket holds.
    let more: Vec<u8> = (6..=20_000).flat_map(shout).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| write(&connection, &more));
        server.verdict.send(Verdict::Known).unwrap();
        assert_eq!(ids(&read_frames(&connection, 19_999)), (2..=20_000).collect::<Vec<_>>());
    });
}

#[test]
fn the_legacy_wire_behind_a_probe_loses_nothing() {
    let server = Served::start();
    let connection = server.connect();
    write(&connection, &[&probe(1)[..], b"legacy"].concat());
    server.assert_serves();
    server.verdict.send(Verdict::Known).unwrap();
    identity_in(&read_frames(&connection, 1)[0]);
    assert_eq!(read(&connection, 6), b"legacy");
    write(&connection, b" and on");
    assert_eq!(read(&connection, 7), b" and on");
}

#[test]
fn who_waits_for_the_identity_is_not_too_slow() {
    let server = Served::start_with(|plan| {
        plan.config.connection.first_message_timeout = Duration::from_millis(300);
        plan.config.connection.message_timeout = Duration::from_millis(300);
    });
    let waits = server.connect();
    write(&waits, &probe(1));
    // As long as those who are too slow are ended, and longer.
    for _ in 0..3 {
        assert_eq!(read_to_end(&server.connect()), b"");
    }
    assert_waits(&waits);
    server.verdict.send(Verdict::Known).unwrap();
    identity_in(&read_frames(&waits, 1)[0]);
}

#[test]
fn calls_are_answered_while_the_probe_behind_them_waits_although_nothing_more_will_come() {
    let server = Served::start_with(|plan| plan.config.connection.max_in_flight = 1);
    let connection = server.connect();
    write(&connection, &[request(WORK, 1, b""), request(WORK, 2, b""), probe(3)].concat());
    if cfg!(unix) {
        // A pipe is not closed by halves.
        connection.shutdown_write().unwrap();
    }
    server.assert_serves();
    for call in [1, 2] {
        server.work.send(()).unwrap();
        assert_eq!(ids(&read_frames(&connection, 1)), [call]);
    }
    server.assert_serves();
    assert_waits(&connection);
    server.verdict.send(Verdict::Known).unwrap();
    identity_in(&read_frames(&connection, 1)[0]);
}

#[test]
fn a_stop_ends_the_identification_and_whoever_waits_for_it() {
    let server = Served::start();
    let waits = server.connect();
    write(&waits, &probe(1));
    let at_work = server.connect();
    write(&at_work, &[request(SHOUT, 1, b"x"), request(WORK, 2, b""), probe(3)].concat());
    assert_eq!(ids(&read_frames(&at_work, 1)), [1]);
    server.stop.stop();
    assert_eq!(read_to_end(&waits), b"");
    // What was received is answered, except for what nobody can answer.
    server.work.send(()).unwrap();
    assert_eq!(read_frames(&at_work, 1)[0].payload, b"done");
    assert_eq!(read_to_end(&at_work), b"");
    let (ended, test) = server.join();
    ended.unwrap().unwrap();
    assert!(!test.record.exists());
    assert!(test.ready.try_recv().is_err());
}

#[test]
fn a_stop_while_a_read_of_the_executable_takes_its_time_leaves_no_record() {
    let (report, is_reading) = mpsc::channel();
    let (go_on, gate) = mpsc::channel();
    let server = Served::start_with(|plan| {
        plan.identify = Box::new(move |endpoint, wanted| {
            report.send(()).unwrap();
            next(&gate);
            assert!(!wanted());
            DaemonProcess::current_process(endpoint, None)
        });
    });
    next(&is_reading);
    server.stop.stop();
    let path = &server.endpoint.path;
    let deadline = soon();
    // The socket is gone before the identification has ended.
    while !matches!(LocalStream::connect(path), Err(ConnectError::NotFound { .. })) {
        assert!(Instant::now() < deadline);
    }
    go_on.send(()).unwrap();
    let (ended, test) = server.join();
    ended.unwrap().unwrap();
    assert!(!test.record.exists());
    assert!(test.ready.try_recv().is_err());
}

#[test]
fn a_process_that_cannot_be_identified_ends_its_server() {
    let server = Served::start();
    let waits = server.connect();
    write(&waits, &probe(1));
    server.assert_serves();
    server.verdict.send(Verdict::Unknown).unwrap();
    assert_eq!(read_to_end(&waits), b"");
    let (ended, test) = server.join();
    assert!(matches!(ended.unwrap(), Err(ServerError::Identity(IdentityError::ClockBeforeEpoch))));
    assert!(!test.record.exists());
    assert!(test.ready.try_recv().is_err());
}

#[test]
fn a_record_that_cannot_be_written_ends_its_server() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("removed");
    std::fs::create_dir(&directory).unwrap();
    let nowhere = directory.join("record.json");
    let server = Served::start_with(|plan| plan.record.clone_from(&nowhere));
    let waits = server.connect();
    write(&waits, &probe(1));
    // A server that serves has looked at the place of the identity file.
    server.assert_serves();
    std::fs::remove_dir(&directory).unwrap();
    server.verdict.send(Verdict::Known).unwrap();
    assert_eq!(read_to_end(&waits), b"");
    let (ended, test) = server.join();
    assert!(matches!(ended.unwrap(), Err(ServerError::IdentityFile { path, .. }) if path == nowhere));
    assert!(test.ready.try_recv().is_err());
}

#[test]
fn a_record_that_nobody_could_write_ends_its_server_before_it_is_identified() {
    // On Windows with a drive in front.
    let nowhere = std::path::absolute("/nowhere/at/all.json").unwrap();
    let server = Served::start_with(|plan| plan.record.clone_from(&nowhere));
    let (ended, test) = server.join();
    assert!(matches!(ended.unwrap(), Err(ServerError::IdentityFile { path, .. }) if path == nowhere));
    assert!(test.ready.try_recv().is_err());
}

#[test]
fn an_identification_that_panics_ends_its_server_with_its_panic() {
    let server = Served::start_with(|plan| plan.identify = Box::new(|_, _| panic!("the identification's")));
    let (ended, test) = server.join();
    assert_eq!(ended.unwrap_err().downcast_ref(), Some(&"the identification's"));
    assert!(!test.record.exists());
}
