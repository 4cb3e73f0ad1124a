//! The writes of a session, whatever the socket returns.

use super::{INLINE, Server, request, summary};
use running_process::broker::backend_sdk::Action;
use running_process::broker::protocol::try_decode_framed;
use std::io;
use std::time::Duration;

#[test]
fn a_write_that_is_interrupted_is_tried_again_and_one_that_would_block_waits() {
    let server = Server::with_config(|config| config.write_timeout = Duration::from_secs(5));
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, &[7; 1000]));
    let now = connection.now;
    let mut results = vec![Err(io::ErrorKind::WouldBlock), Ok(100), Err(io::ErrorKind::Interrupted)];
    let mut written = Vec::new();
    connection.session.write_output(
        || now,
        |slices| {
            let length = results.pop().expect("one that blocks is the last")?;
            written.extend(slices.iter().flat_map(|slice| slice.iter().copied()).take(length));
            Ok(length)
        },
    );
    assert!(results.is_empty() && connection.session.has_output());
    assert_eq!(connection.session.deadline(), Some(now + Duration::from_secs(5)));
    connection.session.write_output(
        || now,
        |slices| {
            written.extend(slices.iter().flat_map(|slice| slice.iter().copied()));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        },
    );
    assert!(!connection.session.has_output() && !connection.session.is_reset());
    let answer = try_decode_framed(&written).unwrap().unwrap().frame;
    assert_eq!(summary(&[answer]), [(1, Ok(vec![7; 1000]))]);
}

#[test]
fn a_write_that_fails_ends_the_connection() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b""));
    let now = connection.now;
    let mut writes = 0;
    connection.session.write_output(
        || now,
        |_| {
            writes += 1;
            Err(io::ErrorKind::BrokenPipe.into())
        },
    );
    assert!(writes == 1 && connection.session.is_reset());
    assert_eq!((connection.action(), server.errors().len()), (Action::Close, 1));
}
