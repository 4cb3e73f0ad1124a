//! The limit of each message of a peer that is not known to be served.

use crate::common::{Detector, chain, detectors, frame, mux, wire};
use running_process::broker::backend_sdk::{Connection, ConnectionConfig, ConnectionError, ConnectionEvent};
use running_process::broker::protocol::FrameKind;
use std::sync::Arc;
use std::time::Instant;

const LIMIT: usize = 100;

fn connection(detector: Detector) -> Connection<Detector> {
    let mut config = ConnectionConfig::default();
    config.first_message_bytes = LIMIT;
    Connection::new(Arc::new(mux(detector)), config, Instant::now())
}

/// Returns a request whose frame has `length` bytes, header included.
fn request(length: usize) -> Vec<u8> {
    let of_payload = |payload| wire(&frame(FrameKind::Request, 1, &vec![7; payload]));
    (0..length).map(of_payload).find(|wire| wire.len() == length).expect("each length has a payload")
}

fn receive(connection: &mut Connection<Detector>, bytes: &[u8]) -> Result<bool, ConnectionError> {
    connection.receive(bytes, Instant::now());
    Ok(matches!(connection.next_event()?, Some(ConnectionEvent::Request(_))))
}

#[test]
fn a_message_of_the_limit_is_taken_and_one_byte_more_ends_the_connection_by_its_header() {
    let mut connection = connection(detectors::never);
    assert!(!connection.exceeds_first_message());
    connection.receive(&request(LIMIT), Instant::now());
    assert!(!connection.exceeds_first_message());
    assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::Request(_)))));

    for length in [5, LIMIT + 1] {
        let mut connection = self::connection(detectors::never);
        connection.receive(&request(LIMIT + 1)[..length], Instant::now());
        assert!(connection.exceeds_first_message());
        let error = connection.next_event().unwrap_err();
        assert!(matches!(error, ConnectionError::FirstMessageTooLarge { limit: LIMIT }), "{}", chain(&error));
        assert!(connection.is_over());
    }
}

#[test]
fn bytes_of_an_undecided_wire_count_as_they_come() {
    let mut connection =
        connection(|_| running_process::broker::backend_sdk::LegacyClassification::NeedMoreBytes);
    assert!(!receive(&mut connection, &[b'*'; LIMIT]).unwrap());
    assert!(!connection.exceeds_first_message());
    connection.receive(b"*", Instant::now());
    assert!(connection.exceeds_first_message());
    assert!(matches!(connection.next_event(), Err(ConnectionError::FirstMessageTooLarge { .. })));
}

#[test]
fn a_frame_for_the_daemon_lifts_the_limit_unless_its_peer_is_to_be_trusted_first() {
    let mut plain = connection(detectors::never);
    assert!(receive(&mut plain, &request(LIMIT)).unwrap());
    assert!(receive(&mut plain, &request(2 * LIMIT)).unwrap());

    let mut limited = connection(detectors::never);
    limited.limit_messages();
    assert!(receive(&mut limited, &request(LIMIT)).unwrap());
    limited.receive(&request(2 * LIMIT), Instant::now());
    assert!(limited.exceeds_first_message());
    assert!(matches!(limited.next_event(), Err(ConnectionError::FirstMessageTooLarge { .. })));
}

#[test]
fn a_peer_that_is_trusted_may_send_any_message() {
    let mut connection = connection(detectors::never);
    connection.limit_messages();
    connection.receive(&request(2 * LIMIT), Instant::now());
    assert!(connection.exceeds_first_message());
    connection.trust_peer();
    assert!(!connection.exceeds_first_message());
    assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::Request(_)))));
}
