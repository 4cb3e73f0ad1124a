//! The closures of a daemon: what panics in them costs, and what the peer is told of their errors.

use super::{CONCURRENT, INLINE, Server, UNSERVED, payload, request, summary};
use running_process::broker::backend_sdk::{
    Action, Answer, CancelReason, Dispatched, HandlerError, NotAuthorized, ServerConfig, ServerSession,
};
use running_process::broker::protocol::{Refusal, RefusalReason, STATUS_PAYLOAD_PROTOCOL, ServerStatus};
use std::sync::Arc;

const FAILS: u32 = 0x7010;
const SECRET: &str = "password=hunter2";

#[test]
fn a_detector_that_panics_ends_its_connection() {
    let server = Server::configured(|builder| builder.legacy_detector(|_| panic!("intended")));
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b""));
    assert_eq!((connection.action(), connection.written()), (Action::Close, vec![]));
    assert_eq!(server.errors(), ["the detector panicked"]);
    // Later bytes do not run it again.
    connection.receive(&request(INLINE, 2, b""));
    assert_eq!(server.status().callbacks_panicked, 1);
}

#[test]
fn a_detector_that_panics_late_cancels_the_requests_in_flight() {
    let server = Server::configured(|builder| {
        let mut config = ServerConfig::default();
        config.connection.reclassify = running_process::broker::backend_sdk::Reclassify::EveryMessage;
        builder.config(config).legacy_detector(|bytes| {
            assert!(!bytes.windows(3).any(|part| part == b"now"), "intended");
            running_process::broker::backend_sdk::LegacyClassification::NotLegacy
        })
    });
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    connection.receive(&request(INLINE, 2, b"now"));
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::PeerGone));
    assert_eq!(connection.action(), Action::Wait);
    connection.serve_next();
    connection.process();
    assert_eq!(connection.action(), Action::Close);
}

#[test]
fn a_rule_that_panics_serves_nothing() {
    let server = Server::configured(|builder| builder.authorize(|_| panic!("intended")));
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b""));
    assert_eq!(connection.refusal().reason(), RefusalReason::NotAuthorized);
    assert_eq!(
        (connection.action(), server.errors()),
        (Action::Close, vec!["the rule of `authorize` panicked".to_owned()])
    );
}

#[test]
fn the_rule_is_asked_once_and_its_reason_is_told() {
    let asked = Arc::<std::sync::atomic::AtomicUsize>::default();
    let counting = Arc::clone(&asked);
    let server = Server::configured(|builder| {
        builder.authorize(move |_| {
            counting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(NotAuthorized::new("only on weekdays"))
        })
    });
    let mut connection = server.connect();
    connection.receive(&[request(INLINE, 1, b""), request(CONCURRENT, 2, b"")].concat());
    let frames = connection.written();
    for frame in &frames {
        let refusal = super::refusal_of(frame);
        assert_eq!((refusal.reason(), &*refusal.message), (RefusalReason::NotAuthorized, "only on weekdays"));
    }
    assert_eq!((frames.len(), asked.load(std::sync::atomic::Ordering::Relaxed)), (2, 1));
    assert_eq!(server.errors().len(), 1);
    let mut legacy = server.connect();
    legacy.receive(b"*legacy");
    assert_eq!(legacy.action(), Action::Close);
}

#[test]
fn an_observer_that_panics_is_counted_and_costs_nothing() {
    let server = Server::configured(|builder| {
        builder
            .observe(|_| panic!("intended"))
            .serve_inline(FAILS, |_| Err::<Vec<u8>, _>(HandlerError::from(SECRET)))
    });
    let mut connection = server.connect();
    connection.receive(&[request(FAILS, 1, b""), request(INLINE, 2, b"on")].concat());
    let answers = summary(&connection.written());
    assert_eq!(answers, [(1, Err(RefusalReason::HandlerFailed)), (2, Ok(b"on".to_vec()))]);
    assert_eq!(server.status().callbacks_panicked, 1);
}

#[test]
fn the_text_of_an_error_is_for_the_observer_and_not_for_the_peer() {
    let server = Server::configured(|builder| {
        builder.serve_inline(FAILS, |_| Err::<Vec<u8>, _>(HandlerError::from(SECRET)))
    });
    let mut connection = server.connect();
    connection.receive(&[request(FAILS, 1, b""), request(CONCURRENT, 2, b"")].concat());
    let call = connection.dispatched[0].call();
    let failed = Answer::Failed(HandlerError::Failed(SECRET.into()));
    connection.session.finish(call, failed, connection.now);
    for frame in connection.written() {
        let refusal = super::refusal_of(&frame);
        assert_eq!((refusal.reason(), &*refusal.message), (RefusalReason::HandlerFailed, ""));
        assert!(!String::from_utf8_lossy(&frame.payload).contains(SECRET));
    }
    let told = |protocol| format!("the handler of payload protocol 0x{protocol:04X} failed: {SECRET}");
    assert_eq!(server.errors(), [told(FAILS), told(CONCURRENT)]);
}

#[test]
fn a_refusal_of_a_handler_reaches_the_peer_and_not_the_observer() {
    let refusal = || Refusal::new(RefusalReason::Overloaded, "three builds wait");
    let server = Server::configured(|builder| {
        builder.serve_inline(FAILS, move |_| Err::<Vec<u8>, _>(HandlerError::from(refusal())))
    });
    let mut connection = server.connect();
    connection.receive(&request(FAILS, 1, b""));
    assert_eq!(connection.refusal(), refusal());
    connection.receive(&request(CONCURRENT, 2, b""));
    let call = connection.dispatched[0].call();
    connection.session.finish(call, Answer::Failed(HandlerError::Refused(refusal())), connection.now);
    assert_eq!(connection.refusal(), refusal());
    assert_eq!(server.errors(), <[String; 0]>::default());
}

#[test]
fn a_handler_that_panics_is_told_to_both_without_its_message() {
    let server = Server::configured(|builder| {
        builder.serve_inline(FAILS, |_| -> Result<Vec<u8>, HandlerError> { panic!("{SECRET}") })
    });
    let mut connection = server.connect();
    connection.receive(&[request(FAILS, 1, b""), request(CONCURRENT, 2, b"")].concat());
    let dispatched: Dispatched<_> = connection.dispatched.remove(0);
    let call = dispatched.call();
    let answer = dispatched.serve(|_, _| panic!("{SECRET}"));
    assert!(matches!(answer, Answer::Panicked));
    connection.session.finish(call, answer, connection.now);
    let frames = connection.written();
    assert!(frames.iter().all(|frame| super::refusal_of(frame).message == "the handler panicked"));
    assert_eq!((frames.len(), server.errors().len()), (2, 2));
}

#[test]
fn a_peer_that_waits_for_an_abandoned_request_is_refused() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    let call = connection.dispatched[0].call();
    connection.session.finish(call, Answer::Abandoned, connection.now);
    assert_eq!(connection.refusal().reason(), RefusalReason::HandlerFailed);
}

#[test]
fn an_answer_that_fits_no_frame_is_refused() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    let call = connection.dispatched[0].call();
    let large = vec![7; running_process::broker::protocol::MAX_FRAME_BYTES];
    connection.session.finish(call, payload(&large), connection.now);
    assert_eq!(connection.refusal().reason(), RefusalReason::AnswerTooLarge);
    assert_eq!((server.errors().len(), server.status().requests_answered), (1, 0));
}

#[test]
fn a_status_request_is_answered_with_the_counts_and_is_none_of_them() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b"counts"));
    connection.receive(&request(STATUS_PAYLOAD_PROTOCOL, 2, b""));
    let frames = connection.written();
    let status = ServerStatus::from_payload(&frames[1].payload).unwrap();
    assert_eq!((status.requests_received, status.requests_answered, status.connections_open), (1, 1, 1));
    assert_eq!(server.status().requests_received, 1);
}

#[test]
fn a_protocol_without_a_handler_is_refused() {
    let server = Server::with_config(|config| config.status_protocol = None);
    for protocol in [STATUS_PAYLOAD_PROTOCOL, UNSERVED] {
        let mut connection = server.connect();
        connection.receive(&request(protocol, 1, b""));
        assert_eq!(connection.refusal().reason(), RefusalReason::UnservedProtocol);
    }
    assert_eq!(server.status().requests_received, 2);
}

#[test]
fn an_error_of_the_driver_is_told_with_its_peer() {
    let peers = Arc::<std::sync::Mutex<Vec<_>>>::default();
    let told = Arc::clone(&peers);
    let server = Server::configured(|builder| {
        builder.observe_with_peer(move |error, peer| {
            told.lock().unwrap().push((error.to_string(), peer.copied()));
        })
    });
    let connection = server.connect();
    let session: &ServerSession<_> = &connection.session;
    session.report(&running_process::broker::backend_sdk::ServeError::LegacyNotServed);
    let peers = std::mem::take(&mut *peers.lock().unwrap());
    let expected = "a connection speaks the legacy wire, which this server does not".to_owned();
    assert_eq!(peers, [(expected, Some(session.peer()))]);
}
