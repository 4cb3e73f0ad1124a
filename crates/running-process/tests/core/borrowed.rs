//! The borrowed frame compared with prost's: both accept, refuse, read and write the same bytes, with the same errors.

use crate::common::protobuf::{any_fields, delimited, key, nested_groups, varint};
use crate::common::streams::any_frame;
use crate::common::{framed, wire};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use running_process::broker::protocol::{
    DescriptorFields, Frame, FrameRef, FramingError, MAX_FRAME_BYTES, encode_framed,
};

/// Returns whether prost accepts `body`, after checking that the borrowed decoder returns and reads the same.
fn taken_by_both(body: &[u8]) -> bool {
    match (FrameRef::decode(body), Frame::decode(body)) {
        (Ok(borrowed), Ok(owned)) => {
            assert_eq!(borrowed.to_frame(), owned);
            // Prost does not know the tags of these.
            let known = FrameRef { accepted_encodings: 0, descriptors: DescriptorFields::NONE, ..borrowed };
            assert_eq!(owned.borrowed(), known);
            true
        }
        (Err(borrowed), Err(owned)) => {
            assert_eq!(borrowed.to_string(), owned.to_string());
            assert_eq!(borrowed, owned);
            false
        }
        (borrowed, owned) => panic!("borrowed {borrowed:?}, prost {owned:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_judged_alike(body in vec(any::<u8>(), 0..40)) {
        taken_by_both(&body);
    }

    #[test]
    fn streams_of_fields_are_judged_alike(body in any_fields()) {
        taken_by_both(&body);
    }

    #[test]
    fn damaged_frames_are_judged_alike(
        frame in any_frame(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut body = frame.encode_to_vec();
        taken_by_both(&body[..length.index(body.len() + 1)]);
        for (at, byte) in damage {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        taken_by_both(&body);
    }

    #[test]
    fn a_later_field_replaces_an_earlier_one_as_in_prost(first in any_frame(), second in any_frame()) {
        prop_assert!(taken_by_both(&[first.encode_to_vec(), second.encode_to_vec()].concat()));
    }

    #[test]
    fn any_frame_is_written_as_prost_writes_it(frame in any_frame(), before in vec(any::<u8>(), 0..9)) {
        let expected = framed(&frame.encode_to_vec());
        prop_assert_eq!(&encode_framed(&frame).unwrap(), &expected);
        let mut out = before.clone();
        frame.borrowed().encode_framed(&mut out).unwrap();
        prop_assert_eq!(out, [&before[..], &expected].concat());
        let mut around = before.clone();
        let at = frame.borrowed().encode_around_payload(&mut around).unwrap();
        prop_assert_eq!(
            [&around[..at], &frame.payload, &around[at..]].concat(),
            [&before[..], &expected].concat()
        );
    }
}

#[test]
fn each_kind_of_field_is_taken_or_refused_as_prost_does() {
    let invalid_utf8 = [0xff, 0xfe];
    let cases: [(&str, Vec<u8>, bool); 28] = [
        ("nothing", vec![], true),
        ("a reserved tag", delimited(10, b"x"), true),
        ("the last reserved tag as a varint", [key(15, 0), varint(7, 1)].concat(), true),
        ("the largest tag", delimited((1 << 29) - 1, b"x"), true),
        ("a tag above the largest", delimited(1 << 29, b"x"), false),
        ("tag zero", delimited(0, b"x"), false),
        ("an overlong key", [varint(1 << 3, 5), varint(1, 1)].concat(), true),
        ("an overlong varint", [key(5, 0), varint(1, 10)].concat(), true),
        ("a varint of eleven bytes", [key(5, 0), varint(1, 11)].concat(), false),
        ("a varint above 64 bits", [key(5, 0), [0xff; 9].to_vec(), vec![2]].concat(), false),
        ("a varint that never ends", [key(5, 0), vec![0x80; 3]].concat(), false),
        ("64 bits for 32", [key(3, 0), varint(u64::MAX, 1)].concat(), true),
        ("64 bits for an enumeration", [key(2, 0), varint(1 << 40 | 3, 1)].concat(), true),
        ("a fixed 64 that is skipped", [key(20, 1), vec![0; 8]].concat(), true),
        ("a fixed 32 that is skipped", [key(20, 5), vec![0; 4]].concat(), true),
        ("a fixed 64 that is short", [key(20, 1), vec![0; 7]].concat(), false),
        ("a varint where bytes belong", [key(4, 0), varint(1, 1)].concat(), false),
        ("bytes where a varint belongs", delimited(1, b"x"), false),
        ("a fixed 32 where a string belongs", [key(8, 5), vec![0; 4]].concat(), false),
        ("wire type 6", [key(20, 6), vec![0; 4]].concat(), false),
        ("bytes shorter than their length", [key(4, 2), varint(9, 1), vec![0; 8]].concat(), false),
        ("a length of 2^64 - 1", [key(4, 2), varint(u64::MAX, 1)].concat(), false),
        ("a skipped length of 2^64 - 1", [key(40, 2), varint(u64::MAX, 1)].concat(), false),
        ("text that is not UTF-8", delimited(8, &invalid_utf8), false),
        ("a payload that is not UTF-8", delimited(4, &invalid_utf8), true),
        ("a string shorter than its length", [key(9, 2), varint(3, 1), vec![0xff]].concat(), false),
        ("a group that ends as another", [key(20, 3), key(21, 4)].concat(), false),
        ("a group that only ends", key(20, 4), false),
    ];
    for (name, body, taken) in cases {
        assert_eq!(taken_by_both(&body), taken, "{name}");
    }
}

#[test]
fn varints_of_every_length_are_read_as_prost_reads_them() {
    let values = (0..64).flat_map(|bit| [1 << bit, u64::MAX >> bit, (1 << bit) - 1]);
    for value in values {
        for length in 1..12 {
            let value = varint(value, length);
            for tag in 1..10 {
                let body = [&key(tag, 0)[..], &value].concat();
                let followed = [&body[..], &delimited(4, b"payload")].concat();
                assert_eq!(taken_by_both(&body), taken_by_both(&followed));
                for cut in 0..body.len() {
                    taken_by_both(&body[..cut]);
                }
            }
        }
    }
}

#[test]
fn a_known_field_is_known_by_a_longer_key_and_among_unknown_ones() {
    for tag in 1..10 {
        for wire_type in 0..8 {
            let value = [&[4][..], b"text----"].concat();
            for length in 1..12 {
                let field = [varint(tag << 3 | wire_type, length), value.clone()].concat();
                taken_by_both(&field);
                taken_by_both(&[delimited(20, b"unknown"), field, varint(5 << 3, 1), vec![9]].concat());
            }
        }
    }
    let body = [varint(4 << 3 | 2, 3), vec![4], b"ping".to_vec()].concat();
    assert_eq!(FrameRef::decode(&body).unwrap().payload, b"ping");
}

#[test]
fn what_the_sender_decodes_stands_behind_the_frame_that_prost_reads() {
    let frame = Frame { tracestate: "v=1".into(), ..Frame::request(0x7001, b"x".to_vec()) };
    let accepting = FrameRef { accepted_encodings: 0b1110, ..frame.borrowed() };
    let body = [frame.encode_to_vec(), vec![0xc0, 0x3e, 0b1110]].concat();
    let mut out = Vec::new();
    accepting.encode_framed(&mut out).unwrap();
    assert_eq!(out, framed(&body));
    assert!(taken_by_both(&body));
    assert_eq!(FrameRef::decode(&body).unwrap(), accepting);
    // The last of several values counts, with 32 bits; a value that is no varint is not ours.
    let last = [body, key(1000, 0), varint(1 << 40 | 4, 1), delimited(1000, b"x")].concat();
    assert!(taken_by_both(&last));
    assert_eq!(FrameRef::decode(&last).unwrap().accepted_encodings, 4);
}

#[test]
fn groups_are_skipped_as_deep_as_prost_skips_them() {
    let deepest = (0..200).take_while(|depth| taken_by_both(&nested_groups(20, *depth, &[]))).count();
    assert!((50..150).contains(&deepest), "{deepest}");
    for depth in deepest..deepest + 50 {
        assert!(!taken_by_both(&nested_groups(20, depth, &delimited(4, b"x"))));
    }
}

#[test]
fn a_refusal_names_the_field_as_prost_does() {
    let wrong = [key(4, 0), varint(1, 1)].concat();
    let message = FrameRef::decode(&wrong).unwrap_err().to_string();
    assert!(message.contains("Frame.payload"), "{message}");
}

#[test]
fn negative_enumerations_take_ten_bytes() {
    let frame = Frame { kind: -1, payload_encoding: i32::MIN, ..Frame::default() };
    let expected = [
        &[1, 22, 0, 0, 0][..],
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[0x30, 0x80, 0x80, 0x80, 0x80, 0xf8, 0xff, 0xff, 0xff, 0xff, 1],
    ];
    assert_eq!(encode_framed(&frame).unwrap(), expected.concat());
    assert_eq!(wire(&frame), expected.concat());
}

#[test]
fn the_largest_body_is_written_and_a_larger_one_leaves_the_output_as_it_was() {
    // One byte of key and four of length stand before the payload.
    let mut frame = Frame { payload: vec![7; MAX_FRAME_BYTES - 5], ..Frame::default() };
    assert_eq!(encode_framed(&frame).unwrap().len(), 5 + MAX_FRAME_BYTES);
    frame.payload.push(7);
    let mut out = b"before".to_vec();
    let error = frame.borrowed().encode_framed(&mut out).unwrap_err();
    assert!(matches!(error, FramingError::FrameTooLarge { body_length: 16_777_217, cap: 16_777_216 }));
    assert!(frame.borrowed().encode_around_payload(&mut out).is_err());
    assert_eq!(out, b"before");
}
