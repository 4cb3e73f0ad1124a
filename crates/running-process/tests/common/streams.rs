//! Strategies for frames, valid and invalid streams of them, and the reads of a stream.

use super::{PROBE, SERVED, UNSERVED, framed, wire};
use proptest::collection::vec;
use proptest::prelude::*;
use running_process::broker::protocol::Frame;

pub(crate) fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..6).prop_map(String::from_iter)
}

/// Returns any frame.
pub(crate) fn any_frame() -> impl Strategy<Value = Frame> {
    let enumeration = || prop_oneof![0..5_i32, any::<i32>()];
    let ids = (any::<u32>(), enumeration(), any::<u32>(), any::<u64>(), enumeration(), any::<u64>());
    (ids, vec(any::<u8>(), 0..200), text(), text()).prop_map(|(ids, payload, traceparent, tracestate)| {
        Frame {
            envelope_version: ids.0,
            kind: ids.1,
            payload_protocol: ids.2,
            payload,
            request_id: ids.3,
            payload_encoding: ids.4,
            deadline_unix_ms: ids.5,
            traceparent,
            tracestate,
        }
    })
}

/// Returns a frame that a daemon of [`SERVED`] accepts.
pub(crate) fn served_frame() -> impl Strategy<Value = Frame> {
    (any_frame(), 0..4).prop_map(|(frame, kind)| Frame {
        envelope_version: 1,
        kind,
        payload_protocol: SERVED,
        payload_encoding: 0,
        ..frame
    })
}

/// Returns a frame that a daemon may accept or refuse.
fn doubtful_frame() -> impl Strategy<Value = Frame> {
    let id = prop_oneof![Just(SERVED), Just(UNSERVED), Just(PROBE), Just(0x5350), any::<u32>()];
    (any_frame(), id, 0..3_u32).prop_map(|(frame, payload_protocol, envelope_version)| Frame {
        envelope_version,
        payload_protocol,
        ..frame
    })
}

fn valid_probe() -> impl Strategy<Value = Frame> {
    (any_frame(), vec(any::<u8>(), 32)).prop_map(|(frame, payload)| Frame {
        envelope_version: 1,
        kind: 0,
        payload_protocol: PROBE,
        payload,
        payload_encoding: 0,
        ..frame
    })
}

/// Returns a stream of frames that a daemon of [`SERVED`] accepts.
pub(crate) fn good_stream() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![4 => served_frame(), 1 => valid_probe()];
    vec(message.prop_map(|frame| wire(&frame)), 0..8).prop_map(|wires| wires.concat())
}

/// Returns a stream of frames, which may end with wrong, foreign or incomplete bytes.
pub(crate) fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let garbage = || vec(any::<u8>(), 0..60);
    let end = prop_oneof![
        Just(Vec::new()),
        garbage(),
        garbage().prop_map(|bytes| [&[1], &bytes[..]].concat()),
        garbage().prop_map(|bytes| framed(&bytes)),
        garbage().prop_map(|bytes| [b"*", &bytes[..]].concat()),
        Just(vec![1, 1, 0, 0, 1, 0, 0, 0, 9]),
        doubtful_frame().prop_map(|frame| wire(&frame)),
        (served_frame(), any::<prop::sample::Index>()).prop_map(|(frame, length)| {
            let wire = wire(&frame);
            wire[..length.index(wire.len())].to_vec()
        }),
        (served_frame(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(frame, at, byte)| {
            let mut wire = wire(&frame);
            let at = at.index(wire.len());
            wire[at] = byte;
            wire
        }),
    ];
    let tail = prop_oneof![1 => good_stream(), 1 => Just(Vec::new())];
    (good_stream(), end, tail).prop_map(|(good, end, tail)| [good, end, tail].concat())
}

/// Returns sizes of reads; the last read has the rest.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(0..60_usize, 0..20), vec(0..4_usize, 0..200), Just(vec![1; 2000])]
}

/// Splits `bytes` into reads of these sizes.
pub(crate) fn reads<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut reads = Vec::new();
    for size in sizes {
        let (read, rest) = bytes.split_at((*size).min(bytes.len()));
        reads.push(read);
        bytes = rest;
    }
    reads.push(bytes);
    reads
}
