//! Methods of a session that only the drivers of this crate call.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use super::*;
use crate::broker::backend_sdk::proto::server_connection::SendEventError;
use crate::broker::backend_sdk::server::charges::UNCHARGED;
use crate::broker::backend_sdk::server::{ServerBuilder, handler::HandlerError, request::RequestParts};
use crate::broker::protocol::{Endpoint, FrameRef};

const SERVED: u32 = 0x7001;

type Handler = dyn Fn(&RequestParts) -> Result<Payload, HandlerError> + Send + Sync;

fn session(now: Instant) -> ServerSession<Handler> {
    let endpoint = Endpoint::unix_socket("demo", "/run/demo.sock").unwrap();
    let builder = ServerBuilder::<Handler>::new(endpoint)
        .identify_with(|_, _| unreachable!("no probe comes"))
        .serve(SERVED, Arc::new(|_: &RequestParts| Ok(Payload::default())));
    let (policy, _) = builder.start(Instant::now).unwrap();
    ServerSession::new(policy, PeerCredentials::current_process(), Slot::Served, now)
}

fn request(id: u64) -> Vec<u8> {
    let mut wire = Vec::new();
    FrameRef::request(SERVED, id, b"ping").encode_framed(&mut wire).unwrap();
    wire
}

/// Receives the requests, and returns their calls.
fn admit(session: &mut ServerSession<Handler>, ids: &[u64], now: Instant) -> Vec<CallId> {
    let bytes: Vec<u8> = ids.iter().copied().flat_map(request).collect();
    session.receive(&bytes, now);
    let mut calls = Vec::new();
    session.process(|dispatched| calls.push(dispatched.call()));
    calls
}

#[test]
fn the_processing_stops_where_the_driver_wants_and_goes_on_later() {
    let now = Instant::now();
    let mut session = session(now);
    session.receive(&[request(1), request(2), request(3)].concat(), now);
    assert!(!session.is_unprocessed());
    for taken in [2, 1] {
        let mut count = 0;
        session.process_while(|_| {
            count += 1;
            count < 2
        });
        assert_eq!((count, session.is_unprocessed()), (taken, taken == 2));
        assert_eq!(session.next_action() == Action::Process, taken == 2);
    }
}

#[test]
fn what_waits_to_be_written_is_counted_in_bytes() {
    let now = Instant::now();
    let mut session = session(now);
    let call = admit(&mut session, &[1], now)[0];
    assert_eq!(session.unwritten(), 0);
    session.finish(call, Answer::Payload(b"pong".into()), now);
    let mut slices = [io::IoSlice::new(&[])];
    assert_eq!(session.output_slices(&mut slices), 1);
    assert_eq!(session.unwritten(), slices[0].len());
}

#[test]
fn memory_is_reserved_for_a_request_that_waits_until_it_is_released_or_the_request_ends() {
    let now = Instant::now();
    let mut session = session(now);
    let calls = admit(&mut session, &[1, 2, 3], now);
    let before = session.memory();
    session.reserve(calls[0], 1000).unwrap();
    session.reserve(calls[1], 500).unwrap();
    assert_eq!(session.memory(), before + 1500);
    session.unreserve(calls[0], 1000);
    assert_eq!(session.memory(), before + 500);
    let requests = session.request_memory;
    session.finish(calls[1], Answer::Abandoned, now);
    assert!(session.request_memory <= requests - 500);
    // A request that has ended, or is cancelled, takes no more.
    let left = session.request_memory;
    assert!(matches!(session.reserve(calls[1], 7), Err(SendEventError::Cancelled)));
    session.unreserve(calls[1], 7);
    session.connection.cancel_all(CancelReason::ShuttingDown);
    assert!(matches!(session.reserve(calls[0], 7), Err(SendEventError::Cancelled)));
    session.reset();
    assert!(matches!(session.reserve(calls[0], 7), Err(SendEventError::Cancelled)));
    session.close();
    assert!(matches!(session.reserve(calls[0], 7), Err(SendEventError::Cancelled)));
    assert_eq!(session.request_memory, left);
}

#[test]
fn an_event_whose_memory_is_reserved_is_sent_and_its_failure_is_told() {
    let now = Instant::now();
    let mut session = session(now);
    let call = admit(&mut session, &[1], now)[0];
    let before = session.request_memory;
    session.reserve(call, 1000).unwrap();
    session.send_reserved_event(call, Ok(vec![7; 900].into()), 1000).unwrap();
    assert!(session.unwritten() > 900 && session.request_memory == before);
    session.reserve(call, 1000).unwrap();
    let failed = session.send_reserved_event(call, Err(SendEventError::Cancelled), 1000);
    assert!(matches!(failed, Err(SendEventError::Cancelled)));
    assert_eq!(session.request_memory, before);
}

#[test]
fn an_answer_is_charged_before_it_is_queued_if_it_is_large() {
    let now = Instant::now();
    let mut session = session(now);
    for (id, length, charged) in [(1, UNCHARGED - 1, false), (2, UNCHARGED, true)] {
        let call = admit(&mut session, &[id], now)[0];
        let ended = session.connection.end(call).unwrap();
        let before = session.peer.charged;
        session.charge_answer(&ended, &vec![7; length].into()).unwrap();
        assert_eq!(session.peer.charged >= before + length, charged, "{length} bytes");
    }
}

#[cfg(any(feature = "lz4", feature = "snappy", feature = "zstd"))]
#[test]
fn the_memory_for_encoding_an_answer_is_charged_if_its_client_decodes_that() {
    use crate::broker::protocol::Encodings;
    let now = Instant::now();
    let length = 4 * UNCHARGED;
    let mut charges = Vec::new();
    for accepted in [Encodings::NONE, Encodings::SUPPORTED] {
        let mut session = session(now);
        let mut wire = Vec::new();
        let request = FrameRef { accepted_encodings: accepted.bits(), ..FrameRef::request(SERVED, 1, b"") };
        request.encode_framed(&mut wire).unwrap();
        session.receive(&wire, now);
        let mut calls = Vec::new();
        session.process(|dispatched| calls.push(dispatched.call()));
        let ended = session.connection.end(calls[0]).unwrap();
        let before = session.memory();
        session.charge_answer(&ended, &vec![7; length].into()).unwrap();
        charges.push(session.peer.charged - before);
    }
    assert!(charges[0] >= length && charges[1] >= charges[0] + length / 2, "{charges:?}");
}

#[test]
fn requests_that_have_all_ended_take_no_memory() {
    let now = Instant::now();
    let mut session = session(now);
    for call in admit(&mut session, &[1, 2, 3], now) {
        assert!(session.request_memory > 0);
        session.finish(call, Answer::Abandoned, now);
    }
    assert_eq!(session.request_memory, 0);
}

#[cfg(feature = "tokio")]
#[test]
fn a_peer_that_says_nothing_becomes_one_of_the_legacy_wire() {
    let now = Instant::now();
    let is_legacy = |session: &mut ServerSession<Handler>| {
        session.process(drop);
        session.next_action() == Action::ServeLegacy(Vec::new())
    };
    let mut spoken_to = session(now);
    spoken_to.take_silent_as_legacy();
    assert!(spoken_to.is_silent() && !is_legacy(&mut spoken_to));
    spoken_to.end_silence();
    assert!(is_legacy(&mut spoken_to) && !spoken_to.is_silent());
    // Without the first call it is too slow.
    let mut slow = session(now);
    slow.end_silence();
    assert!(!is_legacy(&mut slow));
    let mut speaks = session(now);
    admit(&mut speaks, &[1], now);
    assert!(!speaks.is_silent());
    let mut gone = session(now);
    gone.reset();
    assert!(!gone.is_silent());
}

#[test]
fn a_request_for_which_there_is_no_thread_may_be_sent_again() {
    let refusal = session(Instant::now()).policy().no_thread(io::Error::other("no more threads"));
    assert!(!refusal.may_have_run() && refusal.retry_after_ms.is_some(), "{refusal}");
}
