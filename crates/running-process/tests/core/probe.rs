//! The two sides of a probe: the answers to a challenge, and a daemon that serves only probes.

use crate::common::{PROBE, UNSERVED, chain, daemon, framed, probe, wire};
use proptest::collection::vec;
use proptest::prelude::*;
use running_process::broker::backend_lifecycle::probe::{
    EndpointProbeChallenge, EndpointProbeServerError, handle_endpoint_probe,
};
use running_process::broker::protocol::{Frame, FrameKind};
use std::io::{self, Read, Write};

const NONCE: [u8; 32] = [7; 32];
const ID: u64 = 99;

fn challenge() -> EndpointProbeChallenge {
    EndpointProbeChallenge::new(NONCE, ID)
}

fn answer() -> Frame {
    Frame {
        envelope_version: 1,
        kind: FrameKind::Response.into(),
        payload_protocol: PROBE,
        payload: [&NONCE[..], &daemon().encode()].concat(),
        request_id: ID,
        ..Frame::default()
    }
}

fn judged(answer: &Frame) -> String {
    match challenge().identity(&answer.borrowed()) {
        Ok(_) => "taken".into(),
        Err(error) => chain(&error),
    }
}

#[test]
fn an_answer_to_this_challenge_gives_the_identity() {
    assert_eq!(challenge().identity(&answer().borrowed()).unwrap(), daemon());
    let traced = Frame { traceparent: "00-a-b-01".into(), deadline_unix_ms: 7, ..answer() };
    assert_eq!(judged(&traced), "taken");
}

#[test]
fn an_answer_that_breaks_several_rules_is_refused_for_the_first() {
    type Break = fn(&mut Frame);
    let rules: [(Break, &str); 7] = [
        (|frame| frame.envelope_version = 0, "probe has envelope version 0, this side speaks 1"),
        (|frame| frame.kind = 2, "probe has kind 2, due is Response (1)"),
        (|frame| frame.payload_protocol = UNSERVED, "probe has payload protocol 0x7002, a probe's is 0xB232"),
        (|frame| frame.payload_encoding = 1, "probe has payload encoding 1, a probe is not encoded (0)"),
        (|frame| frame.request_id = 98, "probe response has request id 98, expected 99"),
        (|frame| frame.payload[31] = 8, "probe response does not echo the nonce"),
        (
            |frame| frame.payload.truncate(32),
            "probe response carries no usable identity: identity has no exe_hash",
        ),
    ];
    for first in 0..rules.len() {
        let mut broken = answer();
        for (break_rule, _) in &rules[first..] {
            break_rule(&mut broken);
        }
        assert_eq!(judged(&broken), rules[first].1);
        let mut broken = answer();
        rules[first].0(&mut broken);
        assert_eq!(judged(&broken), rules[first].1, "alone");
    }
}

#[test]
fn an_answer_shorter_than_the_nonce_echoes_nothing() {
    for length in 0..32 {
        let short = Frame { payload: NONCE[..length].to_vec(), ..answer() };
        assert_eq!(judged(&short), "probe response does not echo the nonce");
    }
}

#[test]
fn an_identity_that_is_not_protobuf_is_told_as_such() {
    let garbage = Frame { payload: [&NONCE[..], &[0xff]].concat(), ..answer() };
    assert_eq!(
        judged(&garbage),
        "probe response carries no usable identity: identity cannot be decoded: \
         failed to decode Protobuf message: invalid varint"
    );
}

proptest! {
    #[test]
    fn no_payload_makes_a_challenge_panic(payload in vec(any::<u8>(), 0..80)) {
        judged(&Frame { payload: [&NONCE[..], &payload].concat(), ..answer() });
        judged(&Frame { payload, ..answer() });
    }
}

/// A peer that has sent `input` and collects the output; reads return one byte at a time.
struct Peer<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.input.read(&mut buffer[..length])
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the answer to `input`, and the number of bytes that are left unread.
fn handled(input: &[u8]) -> (Result<Vec<u8>, String>, usize) {
    let mut peer = Peer { input, output: Vec::new() };
    let handled: Result<(), EndpointProbeServerError> = handle_endpoint_probe(&mut peer, &daemon());
    let left = peer.input.len();
    assert!(handled.is_ok() || peer.output.is_empty(), "a refusal is not answered");
    (handled.map(|()| peer.output).map_err(|error| chain(&error)), left)
}

#[test]
fn a_daemon_of_nothing_but_probes_answers_one_and_reads_no_further() {
    let (answered, left) = handled(&[wire(&probe(ID)), b"rest".to_vec()].concat());
    assert_eq!(answered, Ok(wire(&answer())));
    assert_eq!(left, 4);
}

#[test]
fn a_daemon_of_nothing_but_probes_refuses_the_rest_without_an_answer() {
    let cases = [
        (b"*1\r\n".to_vec(), "probe exchange failed: framing version is 42, this side speaks 1"),
        (vec![1, 1, 16, 0, 0, 9], "probe exchange failed: frame body is 4097 bytes, the cap is 4096"),
        (vec![1, 9], "probe exchange failed: the stream ended in body length header"),
        (vec![1, 9, 0, 0, 0, 8], "probe exchange failed: the stream ended in frame body"),
        (
            framed(&[0xff]),
            "probe exchange failed: frame body is not a Frame: \
             failed to decode Protobuf message: invalid varint",
        ),
        (
            wire(&Frame { payload_protocol: UNSERVED, ..probe(1) }),
            "probe has payload protocol 0x7002, a probe's is 0xB232",
        ),
        (wire(&Frame { payload: vec![0; 31], ..probe(1) }), "probe payload is 31 bytes, a nonce is 32"),
    ];
    for (input, message) in cases {
        assert_eq!(handled(&input).0, Err(message.to_owned()));
    }
    assert_eq!(handled(&[1, 1, 16, 0, 0, 9]).1, 1, "the body is not read");
}
