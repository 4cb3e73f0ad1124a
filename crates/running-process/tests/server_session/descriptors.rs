//! Descriptors that a driver gives to a session.

use super::{CONCURRENT, INLINE, Server, TICK, request};
use running_process::broker::protocol::{DescriptorFields, FrameRef};
use std::fs::File;
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
