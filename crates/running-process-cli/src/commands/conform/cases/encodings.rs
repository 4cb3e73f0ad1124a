//! Encodings of payloads, and tags of ours.

use super::refusals::BAD_ENCODING;
use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::connection::Connection;
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::frame::RawFrame;
use crate::commands::conform::protobuf::{Field, FieldValue};
use crate::commands::conform::trial::Trial;

const ENCODINGS: &str = "Payload encodings";
const ECHO: &[Need] = &[Need::Echo];
const ACCEPTED: u64 = 1000;

/// The payload `echo hi` in each encoding: one block that is not compressed, made by hand.
const ENCODED: [(u64, &[u8]); 3] = [
    (1, b"\x28\xb5\x2f\xfd\x20\x07\x39\x00\x00echo hi"),
    (2, b"\x07\x18echo hi"),
    (3, b"\x04\x22\x4d\x18\x60\x40\x82\x07\x00\x00\x80echo hi\x00\x00\x00\x00"),
];

pub(super) static CASES: &[Case] = &[
    Case::must("encoding-not-listed", ENCODINGS, "A client that lists no encodings gets none.", |trial| {
        let mut connection = trial.connect()?;
        let payload = compressible();
        connection.send(&trial.echo(1, &payload).bytes())?;
        let response = connection.receive(&trial.response(1, payload))?;
        response.has_no_tags_of_ours()
    })
    .needs(ECHO),
    Case::must("encoding-listed", ENCODINGS, "A client gets only encodings that it lists.", |trial| {
        [1, 2, 3].into_iter().try_for_each(|encoding| {
            let response = listing(trial, FieldValue::Varint(1 << encoding))?;
            let is_listed = response.encoding == encoding && response.payload.len() < compressible().len();
            check(is_listed || is_plain(&response), "the answer plain or in the listed encoding", || {
                response.to_string()
            })
        })
    })
    .needs(ECHO),
    Case::must(
        "encoding-unknown-listed",
        ENCODINGS,
        "Unknown bits of a client's list are ignored.",
        |trial| {
            let response = listing(trial, FieldValue::Varint(0xffff_fff0))?;
            check(is_plain(&response), "the answer without encoding", || response.to_string())
        },
    )
    .needs(ECHO),
    Case::must("encoding-list-no-varint", ENCODINGS, "A list that is no varint is skipped.", |trial| {
        let response = listing(trial, FieldValue::Bytes(vec![0xff; 3]))?;
        check(is_plain(&response), "the answer without encoding", || response.to_string())
    })
    .needs(ECHO),
    Case::must(
        "encoding-of-request",
        ENCODINGS,
        "An encoded request is decoded, or refused with the reason 5.",
        |trial| {
            ENCODED.into_iter().try_for_each(|(encoding, payload)| {
                let mut connection = trial.connect()?;
                connection.send(&RawFrame { encoding, ..trial.request(1, payload) }.bytes())?;
                let frame = connection.frame("the answer `hi`, or a refusal with the reason 5")?;
                let is_refused = frame.refusal().is_some_and(|(reason, _)| reason == BAD_ENCODING);
                let is_served = frame.payload == b"hi" && frame.encoding == 0;
                let is_right = frame.id == 1 && (is_refused || is_served);
                check(
                    is_right,
                    format!("the answer `hi` to encoding {encoding}, or a refusal with the reason 5"),
                    || frame.to_string(),
                )?;
                trial.echoes(&mut connection, 2, b"goes on")
            })
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "encoding-unknown",
        ENCODINGS,
        "A request in an unknown encoding is refused with the reason 5.",
        |trial| [4, 99].into_iter().try_for_each(|encoding| refused(trial, encoding, b"echo x")),
    )
    .should()
    .needs(ECHO),
    Case::must("encoding-damaged", ENCODINGS, "A damaged payload is refused with the reason 5.", |trial| {
        ENCODED.into_iter().try_for_each(|(encoding, payload)| {
            refused(trial, encoding, &payload[..payload.len() - 1])?;
            refused(trial, encoding, b"\xff\xff\xff\xff\xff\xff\xff\xff")
        })
    })
    .should()
    .needs(ECHO),
    Case::must(
        "encoding-descriptors-asked",
        "Descriptors",
        "A client that takes descriptors is answered all the same.",
        |trial| {
            let mut connection = trial.connect()?;
            let others = vec![Field { tag: 1002, value: FieldValue::Varint(16) }];
            connection.send(&RawFrame { others, ..trial.echo(1, b"none") }.bytes())?;
            connection.expect(&trial.response(1, *b"none"))
        },
    )
    .needs(ECHO),
];

/// Returns a payload that each encoding makes shorter.
fn compressible() -> Vec<u8> {
    vec![b'z'; 32 * 1024]
}

fn is_plain(response: &RawFrame) -> bool {
    response.encoding == 0 && response.payload == compressible()
}

/// Returns the response to a request with this list of encodings.
fn listing(trial: &Trial<'_>, list: FieldValue) -> Result<RawFrame, Fault> {
    let mut connection = trial.connect()?;
    let others = vec![Field { tag: ACCEPTED, value: list }];
    connection.send(&RawFrame { others, ..trial.echo(1, &compressible()) }.bytes())?;
    let response = connection.frame("the response with the payload of the request")?;
    let is_its = response.id == 1 && response.protocol == trial.target.protocol;
    check(is_its, "the response with the payload of the request", || response.to_string())?;
    Ok(response)
}

fn refused(trial: &Trial<'_>, encoding: u64, payload: &[u8]) -> Result<(), Fault> {
    let mut connection: Connection = trial.connect()?;
    connection.send(&RawFrame { encoding, ..trial.request(1, payload) }.bytes())?;
    connection
        .refusal(1, BAD_ENCODING)
        .map_err(|fault| fault.context(format_args!("encoding {encoding}")))?;
    trial.echoes(&mut connection, 2, b"goes on")
}
