//! Negotiation of encodings: when a client uses one, the list that it sends, and what a daemon may send it.

use crate::common::{SERVED, chain, frame, wire};
use prost::Message;
use running_process::broker::backend_sdk::{ClientConnection, ClientConnectionError, ClientEvent};
use running_process::broker::protocol::{
    DecodedFramedRef, EncodingPolicy, Encodings, Frame, FrameKind, FrameRef, PayloadEncoding, Refusal,
    encode_payload, try_decode_framed_ref,
};

/// A payload above the threshold that every encoding makes shorter.
const PAYLOAD: [u8; 10_000] = [b'x'; 10_000];

/// Sends `PAYLOAD`, and returns the request as it is on the wire.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    client.send_request(SERVED, PAYLOAD).expect("it fits a frame");
    let wire = client.output().to_vec();
    client.output_written(wire.len());
    wire
}

fn read(wire: &[u8]) -> FrameRef<'_> {
    let decoded = try_decode_framed_ref(wire).expect("the client writes frames");
    let DecodedFramedRef { frame, consumed } = decoded.expect("all of it is there");
    assert_eq!(consumed, wire.len());
    frame
}

fn receive(client: &mut ClientConnection, frame: &FrameRef<'_>) {
    let mut wire = Vec::new();
    frame.encode_framed(&mut wire).expect("it fits a frame");
    client.receive(&wire);
}

/// Returns an event of a daemon that decodes these encodings.
fn event(accepted: Encodings) -> FrameRef<'static> {
    let frame = FrameRef::request(SERVED, 0, b"event");
    FrameRef { kind: FrameKind::Event.into(), accepted_encodings: accepted.bits(), ..frame }
}

#[test]
fn a_daemon_that_says_nothing_of_encodings_never_sees_one() {
    let mut client = ClientConnection::new();
    for id in 1..4 {
        let request = sent(&mut client);
        let owned = Frame::decode(&request[5..]).unwrap();
        assert_eq!(owned, frame(FrameKind::Request, id, &PAYLOAD), "a peer reads what it always did");
        assert_eq!(read(&request).accepted_encodings, Encodings::SUPPORTED.bits());
        client.receive(&wire(&Frame { kind: 1, ..owned }));
        assert!(matches!(client.next_event(), Ok(Some(ClientEvent::Response(..)))));
    }
}

#[test]
fn a_client_without_encodings_writes_the_bytes_that_it_always_wrote() {
    let mut client = ClientConnection::new();
    client.set_encoding_policy(EncodingPolicy::OFF);
    receive(&mut client, &event(Encodings::from_bits(u32::MAX)));
    assert!(client.next_event().is_ok());
    assert_eq!(sent(&mut client), wire(&frame(FrameKind::Request, 1, &PAYLOAD)));
}

#[test]
fn whatever_the_daemon_says_it_decodes_is_used_from_then_on() {
    for encoding in [PayloadEncoding::Lz4, PayloadEncoding::Zstd, PayloadEncoding::Snappy] {
        let mut client = ClientConnection::new();
        assert_eq!(read(&sent(&mut client)).payload_encoding, 0);
        receive(&mut client, &event(Encodings::NONE.with(encoding)));
        assert!(matches!(client.next_event(), Ok(Some(ClientEvent::Event(_)))));
        // A frame without a list leaves the earlier list valid.
        receive(&mut client, &event(Encodings::NONE));
        assert!(matches!(client.next_event(), Ok(Some(ClientEvent::Event(_)))));

        let request = sent(&mut client);
        let request = read(&request);
        let supported = Encodings::SUPPORTED.contains(encoding);
        let expected = if supported { encoding } else { PayloadEncoding::None };
        assert_eq!(request.payload_encoding, i32::from(expected));
        let mut buffer = Vec::new();
        assert_eq!(EncodingPolicy::default().decode(request, &mut buffer).unwrap().payload, PAYLOAD);
    }
}

#[test]
fn what_comes_encoded_is_handed_over_decoded() {
    for encoding in Encodings::SUPPORTED.iter() {
        let mut client = ClientConnection::new();
        let request = sent(&mut client);
        let mut payload = Vec::new();
        encode_payload(encoding, b"the payload", &mut payload).unwrap();
        let encoded = |frame| FrameRef { payload: &payload, payload_encoding: encoding.into(), ..frame };
        receive(&mut client, &encoded(event(Encodings::NONE)));
        receive(&mut client, &encoded(FrameRef::response_to(&read(&request), b"")));
        for _ in 0..2 {
            let frame = match client.next_event().unwrap().unwrap() {
                ClientEvent::Response(_, frame) | ClientEvent::Event(frame) => frame,
                other => panic!("{other:?}"),
            };
            assert_eq!((frame.payload, frame.payload_encoding), (&b"the payload"[..], 0));
        }
    }
}

#[test]
fn what_the_client_does_not_accept_ends_the_connection() {
    for (encoding, name) in [(1, "Zstd"), (2, "Snappy"), (3, "Lz4")] {
        let mut client = ClientConnection::new();
        client.set_encoding_policy(EncodingPolicy::OFF);
        receive(&mut client, &FrameRef { payload_encoding: encoding, ..event(Encodings::NONE) });
        let message =
            format!("the daemon sent a frame that cannot be used: payload encoding {name} is not supported");
        assert_eq!(chain(&client.next_event().unwrap_err()), message);
        assert_eq!(client.next_event().unwrap(), None);
    }
}

#[test]
fn a_payload_that_cannot_be_decoded_ends_the_connection() {
    for encoding in Encodings::SUPPORTED.iter() {
        let mut client = ClientConnection::new();
        receive(&mut client, &FrameRef { payload_encoding: encoding.into(), ..event(Encodings::NONE) });
        assert!(matches!(client.next_event(), Err(ClientConnectionError::Payload(_))));
        assert_eq!(client.next_event().unwrap(), None);
    }
}

#[test]
fn a_refusal_is_never_encoded() {
    for encoding in Encodings::SUPPORTED.iter() {
        let request = FrameRef::request(SERVED, 1, b"");
        let refusal = FrameRef::refusal_of(&request, b"\xc0\x3e\x01");
        assert!(Refusal::from_frame(&refusal).is_some());
        let encoded = FrameRef { payload_encoding: encoding.into(), ..refusal };
        assert_eq!(Refusal::from_frame(&encoded), None);
    }
}
