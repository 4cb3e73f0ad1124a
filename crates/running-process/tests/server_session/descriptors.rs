//! Descriptors that a driver gives to a session.

use super::{CONCURRENT, Connection, INLINE, Server, TICK, refusal_of, request};
use running_process::broker::backend_sdk::{Answer, CancelReason, Payload};
use running_process::broker::protocol::{
    DescriptorFields, Frame, FrameRef, RefusalReason, try_decode_framed_ref,
};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

fn opened() -> OwnedFd {
    tempfile::tempfile().unwrap().into()
}

fn asking(protocol: u32, id: u64) -> Vec<u8> {
    let mut wire = Vec::new();
    let descriptors = DescriptorFields::NONE.accepting(1);
    FrameRef { descriptors, ..FrameRef::request(protocol, id, b"") }.encode_framed(&mut wire).unwrap();
    wire
}

fn inode(descriptor: &impl AsFd) -> u64 {
    use std::os::unix::fs::MetadataExt;
    File::from(descriptor.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap().ino()
}

#[test]
fn descriptors_of_a_client_that_has_not_asked_are_closed_and_no_later_request_gets_them() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.session.accept_descriptors();
    let early = &mut vec![opened(), opened()];
    connection.session.receive_descriptors(&asking(INLINE, 1), early, false, connection.now);
    connection.process();
    assert_eq!(connection.written().len(), 1);
    let own = opened();
    let inode_of_own = inode(&own);
    let mut wire = Vec::new();
    let descriptors = DescriptorFields::NONE.announcing(1);
    FrameRef { descriptors, ..FrameRef::request(CONCURRENT, 2, b"") }.encode_framed(&mut wire).unwrap();
    connection.session.receive_descriptors(&wire, &mut vec![own], false, connection.now);
    connection.process();
    let dispatched = connection.dispatched.remove(0);
    let call = dispatched.call();
    // A panic of the handler would be caught.
    let mut came = Vec::new();
    let answer = dispatched.serve(|_, request| {
        came.extend(request.descriptors().iter().map(inode));
        Ok("".into())
    });
    assert_eq!(came, [inode_of_own]);
    connection.session.finish(call, answer, connection.now + TICK);
    assert_eq!(connection.written().len(), 1);
}

#[test]
fn descriptors_are_taken_while_a_request_waits_that_may_ask_for_them() {
    let server = Server::with_config(|config| config.connection.max_in_flight = 1);
    let mut connection = server.connect();
    connection.session.accept_descriptors();
    connection.receive(&request(CONCURRENT, 1, b""));
    assert!(!connection.session.takes_descriptors());
    connection.receive(&asking(CONCURRENT, 2));
    assert!(connection.session.takes_descriptors(), "its answer may come while a driver blocks in a read");
}

fn file(length: usize) -> Payload {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; length]).unwrap();
    Payload::from_file(file).unwrap()
}

#[test]
fn a_file_is_sent_to_a_client_that_takes_descriptors_and_read_for_any_other() {
    const LENGTH: usize = 20 * 1024;
    for takes in [true, false] {
        let server = Server::with_config(|config| {
            config.max_connections = 1;
            config.memory_limit = 600 * 1024;
        });
        let mut connection = server.connect();
        connection.session.accept_descriptors();
        connection.receive(&if takes { asking(CONCURRENT, 1) } else { request(CONCURRENT, 1, b"") });
        let call = connection.dispatched[0].call();
        connection.session.send_event_payload(call, file(LENGTH)).unwrap();
        connection.session.finish(call, Answer::Payload(file(5 * LENGTH)), connection.now);
        let mut written = Vec::new();
        let mut sent = 0;
        let now = connection.now;
        connection.session.write_output_with(
            || now,
            |slices, descriptors| {
                sent += descriptors.len();
                written.extend(slices.iter().flat_map(|slice| slice.iter().copied()));
                Ok(slices.iter().map(|slice| slice.len()).sum())
            },
        );
        assert_eq!((sent, server.errors()), (if takes { 2 } else { 0 }, Vec::new()));
        let mut rest = &written[..];
        for length in [LENGTH, 5 * LENGTH] {
            let decoded = try_decode_framed_ref(rest).unwrap().unwrap();
            assert_eq!(decoded.frame.descriptors.is_file(), takes);
            assert_eq!(decoded.frame.payload.len(), if takes { 0 } else { length });
            rest = &rest[decoded.consumed..];
        }
        assert!(rest.is_empty());
        // Releases what was reserved for the bytes of the event.
        connection.process();
        connection.wait(std::time::Duration::from_secs(1));
        assert_eq!(server.status().memory_bytes, 0);
    }
}

#[test]
fn the_bytes_of_an_event_that_was_a_file_are_charged_until_they_are_written() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.session.accept_descriptors();
    connection.receive(&request(CONCURRENT, 1, b""));
    let before = server.status().memory_bytes;
    let call = connection.dispatched[0].call();
    connection.session.send_event_payload(call, file(100 * 1024)).unwrap();
    let (memory, length) = (server.status().memory_bytes, 100 * 1024);
    assert!((before + length..before + 2 * length).contains(&memory), "{memory} bytes, {before} before");
    connection.written();
    assert!(server.status().memory_bytes < before + length);
}

/// Writes the output as a system does that sends no descriptors. Returns the frames that are sent, and the number of refused writes.
fn written_without_descriptors(connection: &mut Connection) -> (Vec<Frame>, usize) {
    let now = connection.now;
    let (mut refused, mut written) = (0, Vec::new());
    connection.session.write_output_with(
        || now,
        |slices, descriptors| {
            if !descriptors.is_empty() {
                refused += 1;
                // Too many descriptors are on their way.
                return Err(rustix::io::Errno::TOOMANYREFS.into());
            }
            written.extend(slices.iter().flat_map(|slice| slice.iter().copied()));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        },
    );
    connection.received = written;
    (connection.take_frames(), refused)
}

#[test]
fn an_answer_whose_descriptors_the_system_does_not_send_is_refused_and_the_next_is_sent() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.session.accept_descriptors();
    connection.receive(&[asking(CONCURRENT, 1), request(INLINE, 2, b"next")].concat());
    let call = connection.dispatched[0].call();
    connection.session.finish(call, Answer::Payload(file(1)), connection.now);
    let (frames, refused) = written_without_descriptors(&mut connection);
    assert!(refused == 1 && !connection.session.is_reset() && server.errors().len() == 1);
    assert_eq!((frames[0].request_id, &frames[0].payload[..]), (2, &b"next"[..]));
    assert_eq!(refusal_of(&frames[1]).reason(), RefusalReason::HandlerFailed);
}

#[test]
fn an_event_that_the_system_does_not_send_cancels_its_request() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.session.accept_descriptors();
    connection.receive(&asking(CONCURRENT, 1));
    let call = connection.dispatched[0].call();
    connection.session.send_event_payload(call, file(1)).unwrap();
    let (frames, refused) = written_without_descriptors(&mut connection);
    assert_eq!((frames, refused), (Vec::new(), 1));
    connection.process();
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::NotSent));
    assert_eq!(connection.refusal().reason(), RefusalReason::HandlerFailed);
}

#[test]
fn behind_an_event_that_the_system_does_not_send_the_answer_of_its_request_is_replaced_and_no_other_frame() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.session.accept_descriptors();
    connection.receive(&[asking(CONCURRENT, 1), request(CONCURRENT, 2, b"")].concat());
    let [first, second] = [0, 1].map(|index| connection.dispatched[index].call());
    connection.session.send_event_payload(first, file(1)).unwrap();
    connection.session.finish(second, Answer::Payload(b"other".into()), connection.now);
    connection.session.send_event(first, b"event").unwrap();
    connection.session.finish(first, Answer::Payload(b"answer".into()), connection.now);
    let (frames, refused) = written_without_descriptors(&mut connection);
    let told: Vec<_> = frames.iter().map(|frame| (frame.request_id, frame.payload.clone())).collect();
    assert_eq!((&told[..2], refused), (&[(2, b"other".to_vec()), (1, b"event".to_vec())][..], 1));
    assert_eq!((frames.len(), frames[2].request_id), (3, 1));
    assert_eq!(refusal_of(&frames[2]).reason(), RefusalReason::HandlerFailed);
}

#[test]
fn descriptors_that_wait_for_their_request_are_charged() {
    let server = Server::with_config(|config| config.connection.max_in_flight = 1);
    let mut connection = server.connect();
    connection.session.accept_descriptors();
    connection.receive(&asking(CONCURRENT, 1));
    let mut wire = Vec::new();
    let descriptors = DescriptorFields::NONE.announcing(1);
    FrameRef { descriptors, ..FrameRef::request(CONCURRENT, 2, b"") }.encode_framed(&mut wire).unwrap();
    let before = server.status().memory_bytes;
    connection.session.receive_descriptors(&wire, &mut vec![opened()], false, connection.now);
    connection.process();
    assert!(server.status().memory_bytes >= before + 16 * 1024);
}

#[test]
fn the_bytes_of_an_inline_answer_that_is_a_file_are_charged_before_they_are_read() {
    for (length, answered) in [(100 * 1024, true), (900 * 1024, false)] {
        let server = Server::configured(|builder| {
            let mut config = running_process::broker::backend_sdk::ServerConfig::default();
            (config.max_connections, config.memory_limit) = (1, 600 * 1024);
            builder.config(config).serve_inline(0x7010, move |_| Ok(file(length)))
        });
        let mut connection = server.connect();
        connection.receive(&request(0x7010, 1, b""));
        let frames = connection.written();
        assert_eq!(frames.len(), 1, "{length} bytes");
        if answered {
            assert_eq!((frames[0].payload.len(), server.errors()), (length, Vec::new()));
        } else {
            assert_eq!(refusal_of(&frames[0]).reason(), RefusalReason::HandlerFailed);
        }
    }
}

#[test]
fn an_answer_with_descriptors_for_a_client_that_takes_none_is_a_refusal_that_says_so() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    let answer = Payload::from(b"x").with_descriptors([opened()]);
    connection.session.finish(connection.dispatched[0].call(), Answer::Payload(answer), connection.now);
    assert_eq!(connection.refusal().message, "the frame has 1 descriptors, the peer takes 0");
}
