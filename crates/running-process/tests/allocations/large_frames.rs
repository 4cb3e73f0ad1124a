//! A large payload is received into memory of its own, and nothing else changes by that: neither what a frame means, nor
//! what is refused in which words.

use crate::common::protobuf::{any_fields, delimited, key, varint};
use crate::common::streams::reads;
use crate::common::{SERVED, chain, frame, framed, wire};
use crate::tally::{held, tally};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use running_process::broker::backend_sdk::{ClientConnection, ClientEvent};
use running_process::broker::protocol::{Frame, FrameKind, FrameRef};
use std::fmt::Debug;

/// More than the least that is large.
const LARGE: usize = 20_000;

/// The frames that a client receives from a stream, and then perhaps an error.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    frames: Vec<Frame>,
    error: Option<String>,
    /// The result of the end of the stream.
    end: Option<String>,
}

fn frame_of<F: Debug>(event: ClientEvent<F>) -> F {
    match event {
        ClientEvent::Event(frame) | ClientEvent::Other(frame) => frame,
        event => panic!("{event:?} without a request"),
    }
}

/// Returns the results of `next` for a stream that comes in these reads.
fn outcome(
    reads: &[&[u8]],
    mut next: impl FnMut(&mut ClientConnection) -> Result<Option<Frame>, String>,
) -> Outcome {
    let mut client = ClientConnection::new();
    let mut outcome = Outcome::default();
    for read in reads {
        client.receive(read);
        while outcome.error.is_none() {
            match next(&mut client) {
                Ok(Some(frame)) => outcome.frames.push(frame),
                Ok(None) => break,
                Err(error) => outcome.error = Some(error),
            }
        }
        if outcome.error.is_some() {
            return outcome;
        }
    }
    outcome.end = client.receive_eof().err().map(|error| error.to_string());
    outcome
}

fn borrowed(reads: &[&[u8]]) -> Outcome {
    outcome(reads, |client| match client.next_event() {
        Ok(event) => Ok(event.map(|event| frame_of(event).to_frame())),
        Err(error) => Err(chain(&error)),
    })
}

fn owned(reads: &[&[u8]]) -> Outcome {
    outcome(reads, |client| match client.next_owned_event() {
        Ok(event) => Ok(event.map(frame_of)),
        Err(error) => Err(chain(&error)),
    })
}

/// The fields that everyone writes before the payload.
fn before() -> Vec<u8> {
    let event = FrameKind::Event.into();
    Frame { envelope_version: 1, kind: event, payload_protocol: 0xF00D, ..Frame::default() }.encode_to_vec()
}

fn payload(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// The payload field, perhaps with a key or a length that takes more bytes than it needs, or a wrong length.
fn payload_field() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![3 => 16_000..LARGE, 1 => 0..100_usize];
    let overlong = || prop_oneof![6 => Just(1_usize), 1 => 2..10_usize];
    let lie = prop_oneof![8 => Just(0_u64), 1 => 0..100_u64, 1 => Just(1 << 24), 1 => Just(u64::MAX)];
    (length, overlong(), overlong(), lie).prop_map(|(length, key, value, lie)| {
        let claimed = (length as u64).saturating_add(lie);
        [varint(4 << 3 | 2, key), varint(claimed, value), payload(length)].concat()
    })
}

fn behind() -> impl Strategy<Value = Vec<u8>> {
    let usual = [key(5, 0), varint(7, 1), delimited(8, b"trace"), key(1000, 0), varint(2, 1)].concat();
    prop_oneof![
        3 => Just(usual),
        3 => any_fields(),
        1 => payload_field(),
        1 => Just(delimited(4, b"")),
        1 => Just(delimited(20, &payload(3000))),
    ]
}

/// A frame with a large payload somewhere in it, as everyone writes it or not.
fn large_frame() -> impl Strategy<Value = Vec<u8>> {
    let before = prop_oneof![
        6 => Just(before()),
        1 => Just([before(), before()].concat()),
        1 => Just([before(), vec![0x08, 1, 0x08, 1]].concat()),
        2 => any_fields(),
    ];
    (before, payload_field(), behind())
        .prop_map(|(before, payload, behind)| framed(&[before, payload, behind].concat()))
}

fn small_frame() -> impl Strategy<Value = Vec<u8>> {
    (0..60_usize).prop_map(|length| framed(&[before(), delimited(4, &payload(length))].concat()))
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![0..4_usize, 0..40_usize, 0..2000_usize, 0..30_000_usize], 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn large_frames_mean_the_same_however_they_are_cut(
        frames in vec(prop_oneof![3 => large_frame(), 1 => small_frame()], 1..5),
        sizes in sizes(),
        cut_off in prop_oneof![2 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
    ) {
        let mut stream = frames.concat();
        if let Some(length) = cut_off {
            stream.truncate(length.index(stream.len()));
        }
        // In one read, no payload is received apart.
        let whole = borrowed(&[&stream]);
        prop_assert_eq!(&owned(&[&stream]), &whole);
        let reads = reads(&stream, &sizes);
        prop_assert_eq!(&borrowed(&reads), &whole);
        prop_assert_eq!(&owned(&reads), &whole);
    }
}

#[test]
fn a_large_frame_survives_every_cut_in_two() {
    let usual = [before(), delimited(4, &payload(LARGE)), [key(5, 0), varint(7, 1)].concat()].concat();
    let replaced = [usual.clone(), delimited(4, b"the last one counts")].concat();
    let emptied = [usual.clone(), delimited(4, b"")].concat();
    let broken = [usual.clone(), delimited(8, b"\xff")].concat();
    for body in [usual, replaced, emptied, broken] {
        let stream = [framed(&body), framed(&before())].concat();
        let whole = borrowed(&[&stream]);
        assert_eq!(whole.frames.first(), Frame::decode(&body[..]).ok().as_ref());
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            assert!(owned(&[first, second]) == whole, "cut at {cut}");
        }
    }
}

#[test]
fn an_owned_event_has_the_memory_that_the_payload_was_received_into() {
    let body = [before(), delimited(4, &payload(LARGE))].concat();
    let stream = framed(&body);
    let mut client = ClientConnection::new();
    for read in stream.chunks(1000) {
        client.receive(read);
    }
    let event = client.next_owned_event().unwrap().unwrap();
    let taken = frame_of(event).payload;
    assert_eq!(taken, payload(LARGE));
    assert_eq!(taken.capacity(), LARGE, "there is no room beyond the frame");
}

#[test]
fn a_large_response_is_one_allocation_of_its_size_once_the_last_one_was_alike() {
    let mut client = ClientConnection::new();
    let mut exchange = || {
        client.send_request(SERVED, b"ping").unwrap();
        let sent = FrameRef::decode(&client.output()[5..]).unwrap();
        let payload = vec![7; 1 << 20];
        let wire = wire(&FrameRef { payload: &payload, ..FrameRef::response_to(&sent, &[]) }.to_frame());
        client.output_written(client.output().len());
        tally(|| {
            for read in wire.chunks(50_000) {
                client.receive(read);
            }
            match client.next_owned_event().unwrap() {
                Some(ClientEvent::Response(_, frame)) => frame,
                event => panic!("{event:?}"),
            }
        })
    };
    drop(exchange());
    let (response, spent) = exchange();
    assert_eq!(response.payload.len(), 1 << 20);
    assert!(spent.calls == 1 && spent.bytes < response.payload.len() + 100, "{spent:?}");
}

#[test]
fn a_clients_memory_follows_what_was_received() {
    // An event with a payload of which one more byte is to come.
    let mut received = wire(&frame(FrameKind::Event, 1, &vec![7; 1 << 20]));
    received.truncate(1 << 20);
    let mut client = ClientConnection::new();
    let mut total = 0;
    let ((), spent) = tally(|| {
        let start = held();
        for read in received.chunks(4096) {
            client.receive(read);
            assert!(client.next_event().unwrap().is_none());
            total += read.len();
            let held = usize::try_from(held() - start).unwrap();
            assert!(held <= 2 * total + 128 * 1024, "{held} bytes for {total} received");
        }
    });
    assert!(spent.bytes <= 4 * received.len(), "{spent:?}");
}

#[test]
fn the_envelope_of_a_large_frame_is_judged_as_ever() {
    let encoded = [before(), delimited(4, &payload(LARGE)), vec![0x30, 9]].concat();
    let other_version = [vec![0x08, 2, 0x10, 2], delimited(4, &payload(LARGE))].concat();
    for (body, why) in [
        (encoded, "payload encoding 9 is unknown"),
        (other_version, "envelope version is 2, this side speaks 1"),
    ] {
        let stream = framed(&body);
        let message = format!("the daemon sent a frame that cannot be used: {why}");
        for cut in [1, 5, 12, 20, 1000, stream.len() - 1] {
            let (first, second) = stream.split_at(cut);
            assert_eq!(owned(&[first, second]).error.as_ref(), Some(&message), "cut at {cut}");
        }
    }
}

#[cfg(feature = "lz4")]
#[test]
fn a_large_payload_that_comes_encoded_is_decoded() {
    use running_process::broker::protocol::{PayloadEncoding, encode_payload};

    // Consecutive squares, of which no four bytes repeat each other.
    let decoded: Vec<u8> = (0..20_000_u32).flat_map(|number| (number * number).to_le_bytes()).collect();
    let mut encoded = Vec::new();
    encode_payload(PayloadEncoding::Lz4, &decoded, &mut encoded).unwrap();
    assert!(encoded.len() > LARGE);
    let stream = framed(&[before(), delimited(4, &encoded), vec![0x30, 3]].concat());
    let expected = FrameRef { payload: &decoded, ..FrameRef::decode(&before()).unwrap() }.to_frame();
    for cut in [0, 20, 1000, stream.len() - 1] {
        let (first, second) = stream.split_at(cut);
        for outcome in [borrowed(&[first, second]), owned(&[first, second])] {
            assert!(outcome.frames == [expected.clone()], "cut at {cut}: {:?}", outcome.error);
        }
    }
}
