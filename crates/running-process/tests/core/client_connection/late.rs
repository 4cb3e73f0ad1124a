//! Late and large frames of a daemon, and the fields of a request beside its payload.

use super::{Observed, client_with, refusal, response, sent, streaming_client, take_events};
use crate::common::{SERVED, wire};
use prost::Message;
use running_process::broker::backend_sdk::{ClientConnection, RequestHead};
use running_process::broker::protocol::{Frame, Refusal, RefusalReason};
use std::io::IoSlice;
use std::sync::Arc;

#[test]
fn late_events_of_all_requests_that_were_given_up_are_dropped() {
    let (mut client, requests) = streaming_client();
    for (id, _) in &requests {
        client.cancel(*id);
    }
    for (_, request) in &requests {
        client.receive(&wire(&Frame { kind: 2, ..response(request, b"late") }));
    }
    assert_eq!((take_events(&mut client), client.skipped_events()), (vec![], 2));
}

#[test]
fn a_refusal_that_is_large_comes_whole_however_it_is_cut() {
    let mut wires = Vec::new();
    for length in [1, 50_000] {
        let (_, requests) = client_with(1);
        let message = "x".repeat(length);
        let payload = Refusal::new(RefusalReason::Overloaded, message).encode_to_vec();
        wires.push(wire(&refusal(&requests[0].1, &payload)));
    }
    for wire in wires {
        let whole = {
            let (mut client, _) = client_with(1);
            client.receive(&wire);
            take_events(&mut client)
        };
        assert!(matches!(&whole[..], [Observed::Refused(..)]), "{whole:?}");
        let (mut client, _) = client_with(1);
        for part in wire.chunks(1000) {
            client.receive(part);
        }
        assert_eq!(take_events(&mut client), whole);
    }
}

#[test]
fn a_request_has_the_trace_context_that_its_head_has() {
    let mut client = ClientConnection::new();
    let mut head = RequestHead::default();
    (head.traceparent, head.tracestate, head.deadline_unix_ms) = ("00-a-b-01", "v=1", 7);
    client.send_request_with(SERVED, b"ping", &head).unwrap();
    assert_eq!(client.unwritten(), client.output().len());
    let [request] = &sent(&mut client)[..] else { panic!("one request was sent") };
    assert_eq!(
        (&request.traceparent[..], &request.tracestate[..], request.deadline_unix_ms),
        ("00-a-b-01", "v=1", 7)
    );
    assert_eq!(client.unwritten(), 0);
}

#[test]
fn a_large_request_is_written_from_where_it_lies() {
    let mut client = ClientConnection::new();
    let payload: Arc<[u8]> = vec![7; 50_000].into();
    client.send_request(SERVED, Arc::clone(&payload)).unwrap();
    let mut slices = [IoSlice::new(&[]); 4];
    let count = client.output_slices(&mut slices);
    assert_eq!(count, 3, "the fields around the payload, and the payload");
    assert_eq!((slices[1].as_ptr(), slices[1].len()), (payload.as_ptr(), payload.len()));
    let written: usize = slices[..count].iter().map(|slice| slice.len()).sum();
    assert_eq!(written, client.unwritten());
    client.output_written(written);
    assert_eq!((client.output_slices(&mut [IoSlice::new(&[]); 4]), client.unwritten()), (0, 0));
}

#[test]
fn an_event_under_the_id_of_a_request_that_wants_none_is_like_any_other() {
    for wanted in [true, false] {
        let (mut client, requests) = client_with(1);
        client.set_unsolicited_events(wanted);
        let event = Frame { kind: 2, ..response(&requests[0].1, b"progress") };
        client.receive(&wire(&event));
        let seen = if wanted { vec![Observed::Event(event)] } else { Vec::new() };
        assert_eq!((take_events(&mut client), client.skipped_events()), (seen, u64::from(!wanted)));
    }
}
