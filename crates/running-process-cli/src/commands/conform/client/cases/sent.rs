//! Checks of the frames that a client sends.

use crate::commands::conform::case::Need;
use crate::commands::conform::client::case::{ClientCase, REQUEST_PAYLOAD};
use crate::commands::conform::client::record::Record;
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::frame::{CANCEL, REQUEST, RawFrame};
use crate::commands::conform::protobuf::FieldValue;

const MAX_PROBE: usize = 4096;
/// Tags of ours that announce descriptors, which a daemon must have said that it takes.
const DESCRIPTORS: u64 = 1001;
const PAYLOAD_IS_FILE: u64 = 1003;

pub(super) static CASES: &[ClientCase] = &[
    ClientCase::sends(
        "request-fields",
        "Frame",
        "A request has its version, kind, protocol and payload.",
        |record| {
            let expected = RawFrame::request(record.protocol, 0, REQUEST_PAYLOAD);
            record.others().filter(|sent| sent.frame.kind == REQUEST).try_for_each(|sent| {
                let got = &sent.frame;
                let fields = |frame: &RawFrame| (frame.version, frame.protocol, frame.encoding);
                let is_right = fields(got) == fields(&expected) && got.payload == expected.payload;
                check(is_right, RawFrame { id: got.id, ..expected.clone() }.to_string(), || got.to_string())
            })
        },
    ),
    ClientCase::sends("request-once", "Frame", "A request is sent once.", |record| {
        let count = record.others().filter(|sent| sent.frame.kind == REQUEST).count();
        check(count == 1, "one request", || format!("{count}"))
    }),
    ClientCase::sends("request-kinds", "Frame", "A client sends requests and cancels only.", |record| {
        record.others().try_for_each(|sent| {
            let is_right = matches!(sent.frame.kind, REQUEST | CANCEL);
            check(is_right, "a request or a cancel", || sent.frame.to_string())
        })
    }),
    ClientCase::sends(
        "request-canonical",
        "Frame",
        "Fields are in ascending order, without defaults.",
        |record| {
            record.sent.iter().try_for_each(|sent| {
                let is_fixed =
                    |value: &FieldValue| matches!(value, FieldValue::Fixed32(_) | FieldValue::Fixed64(_));
                let tags: Vec<u64> = sent.frame.others.iter().map(|field| field.tag).collect();
                let is_plain = !sent.frame.others.iter().any(|field| is_fixed(&field.value));
                let is_right = is_plain && tags.is_sorted() && sent.frame.body() == sent.body;
                let with_bytes = |fault| Fault { expected_bytes: sent.frame.bytes(), ..fault };
                check(is_right, "the shortest encoding of the frame", || sent.frame.to_string())
                    .map_err(with_bytes)
            })
        },
    )
    .should(),
    ClientCase::sends("request-reserved-tags", "Frame", "Fields have no reserved tags.", |record| {
        check_tags(record, "no field with a tag from 10 to 15", |tag| !(10..=15).contains(&tag))
    }),
    ClientCase::sends(
        "request-descriptors",
        "Descriptors",
        "No descriptors go to a daemon that takes none.",
        |record| {
            check_tags(record, "no field that announces descriptors", |tag| {
                !matches!(tag, DESCRIPTORS | PAYLOAD_IS_FILE)
            })
        },
    ),
    ClientCase::sends("probe-fields", "Probe", "A probe is one by the checks of a daemon.", |record| {
        record.probes().try_for_each(|sent| {
            let probe = &sent.frame;
            let fields = (probe.version, probe.kind, probe.encoding, probe.payload.len());
            let is_right = fields == (1, REQUEST, 0, 32) && sent.body.len() <= MAX_PROBE;
            check(is_right, "a probe with a nonce of 32 bytes, not encoded", || probe.to_string())
        })
    })
    .needs(&[Need::Probe]),
    ClientCase::sends("probe-random", "Probe", "Each probe has a nonce of its own.", |record| {
        let nonces: Vec<_> = record.probes().map(|sent| &sent.frame.payload).collect();
        let is_repeated = |(index, nonce)| nonces[..index].contains(&nonce);
        let repeated = nonces.iter().copied().enumerate().any(is_repeated);
        check(!repeated, "another nonce in each probe of two runs", || "the same one twice".to_owned())
    })
    .twice()
    .needs(&[Need::Probe]),
];

fn check_tags(record: &Record, expected: &str, is_right: fn(u64) -> bool) -> Result<(), Fault> {
    record.sent.iter().flat_map(|sent| &sent.frame.others).try_for_each(|field| {
        check(is_right(field.tag), expected, || format!("one with the tag {}", field.tag))
    })
}
