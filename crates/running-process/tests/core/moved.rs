//! The notice that a daemon has moved, and the wish of a client to get it.

use crate::common::SERVED;
use prost::Message;
use running_process::broker::backend_lifecycle::probe::PROBE_NONCE_BYTES;
use running_process::broker::backend_sdk::{ClientConnection, ClientEvent};
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{
    EncodingPolicy, FrameRef, MAX_FRAME_BYTES, Notice, NoticeKind, try_decode_framed_ref,
};

/// Returns what the client says at tag 1000 of each request that waits to be written.
fn announced(client: &mut ClientConnection) -> Vec<u32> {
    let mut announced = Vec::new();
    while let Some(decoded) = try_decode_framed_ref(client.output()).expect("the client writes frames") {
        announced.push(decoded.frame.accepted_encodings);
        let consumed = decoded.consumed;
        client.output_written(consumed);
    }
    announced
}

#[test]
fn a_client_says_once_that_it_wants_to_know_of_a_move_and_is_told() {
    for wants in [false, true] {
        let mut client = ClientConnection::new();
        if wants {
            client.want_moved();
        }
        let too_large = client.send_request(SERVED, vec![0; MAX_FRAME_BYTES]);
        assert!(too_large.is_err(), "nothing was said");
        for _ in 0..3 {
            client.send_request(SERVED, b"x".to_vec()).unwrap();
        }
        let accepted = EncodingPolicy::default().accepted().bits();
        assert_eq!(announced(&mut client), [accepted | u32::from(wants), accepted, accepted]);
        let payload = Notice::new(NoticeKind::Moved).encode_to_vec();
        let mut wire = Vec::new();
        FrameRef::notice(&payload).encode_framed(&mut wire).unwrap();
        client.receive(&wire);
        assert_eq!(client.next_event().unwrap(), Some(ClientEvent::Moved));
        assert_eq!(client.next_event().unwrap(), None);
    }
}

#[test]
fn a_client_that_probes_first_says_so_with_the_request_behind_the_probe() {
    let mut client = ClientConnection::new();
    client.want_moved();
    client.send_request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, vec![7; PROBE_NONCE_BYTES]).unwrap();
    client.send_request(SERVED, b"x".to_vec()).unwrap();
    client.send_request(SERVED, b"x".to_vec()).unwrap();
    let accepted = EncodingPolicy::default().accepted().bits();
    assert_eq!(announced(&mut client), [accepted, accepted | 1, accepted]);
}

#[test]
fn a_notice_of_a_kind_that_is_not_known_is_an_event() {
    let mut client = ClientConnection::new();
    for payload in [&b""[..], b"\xc0\x3e\x07", b"\xff"] {
        let mut wire = Vec::new();
        FrameRef::notice(payload).encode_framed(&mut wire).unwrap();
        client.receive(&wire);
        assert_eq!(client.next_event().unwrap(), Some(ClientEvent::Event(FrameRef::notice(payload))));
    }
}
