use crate::script::Script;
use crate::stream::{Detector, append, append_body, cut, daemon, frames};
use running_process::broker::backend_lifecycle::probe::{
    EndpointProbeChallenge, endpoint_probe_request_from_frame, endpoint_probe_response_frame,
    handle_endpoint_probe,
};
use running_process::broker::backend_sdk::MuxPoll;
use running_process::broker::protocol::{Frame, FrameKind, FrameRef, try_decode_framed};
use running_process::fuzzing::ProbeExchange;
use std::io::{self, Read, Write};

/// Both sides of a probe. The daemon's blocking driver and its mux answer the same requests with the same bytes, which the client
/// takes. The client takes an answer exactly if it is one whole frame that answers its challenge, however it is cut.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    if script.flag() { request(script) } else { answer(script) }
}

fn request(mut script: Script<'_>) {
    let mut wire = Vec::new();
    let nonce = script.array::<32>();
    let (length, mutated) = (33_usize.saturating_sub(script.below(40)), script.byte());
    let frame = FrameRef {
        envelope_version: 1 + u32::from(mutated == 1),
        kind: i32::from(mutated == 2),
        payload_encoding: i32::from(mutated == 3),
        traceparent: script.text(),
        tracestate: script.text(),
        ..FrameRef::request(0xB232 + u32::from(mutated == 4), script.id(), &nonce[..length.min(32)])
    };
    append(&frame, &mut wire);
    wire.extend_from_slice(script.bytes());

    let mut stream = Duplex { input: &wire, output: Vec::new() };
    let handled = handle_endpoint_probe(&mut stream, &daemon());
    match Detector::Never.mux().poll(&wire) {
        Ok(MuxPoll::ProbeAnswered { reply, consumed }) => {
            assert!(handled.is_ok(), "{handled:?}");
            assert_eq!(stream.output, reply);
            assert_eq!(consumed, wire.len() - stream.input.len());
            let challenge = EndpointProbeChallenge::new(nonce, frame.request_id);
            let (replies, rest) = frames(&reply);
            assert!(replies.len() == 1 && rest.is_empty());
            assert_eq!(challenge.identity(&replies[0].borrowed()).ok(), Some(daemon()));
            let request = try_decode_framed(&wire).expect("it was answered").expect("it was answered");
            let request = endpoint_probe_request_from_frame(&request.frame).expect("it was answered");
            assert_eq!(endpoint_probe_response_frame(&request, &daemon()), replies[0]);
        }
        _ => assert!(handled.is_err() && stream.output.is_empty()),
    }
}

fn answer(mut script: Script<'_>) {
    let challenge = EndpointProbeChallenge::new(script.array(), script.id());
    let mut exchange = ProbeExchange::new(challenge.clone()).expect("it is small");
    let request = try_decode_framed(exchange.request()).expect("it is a frame").expect("it is whole").frame;
    let cuts = script.bytes();
    let mut wire = Vec::new();
    match script.byte() % 4 {
        0 => append_body(script.bytes(), &mut wire),
        1 => {}
        damage => {
            let nonce = if damage == 2 { &request.payload[..] } else { script.bytes() };
            let identity = if script.flag() { daemon().encode() } else { script.bytes().to_vec() };
            let kind = FrameKind::Response as i32 + i32::from(script.byte() == 1);
            let payload = [nonce, &identity].concat();
            append(&Frame { kind, ..Frame::response_to(&request, payload) }.borrowed(), &mut wire);
        }
    }
    wire.extend_from_slice(script.rest());

    let expected = match try_decode_framed(&wire) {
        Ok(Some(decoded)) if decoded.consumed == wire.len() => {
            challenge.identity(&decoded.frame.borrowed()).ok()
        }
        _ => None,
    };
    let mut taken = None;
    for piece in cut(&wire, cuts).into_iter().filter(|piece| !piece.is_empty()) {
        assert_eq!(taken, None, "bytes behind the answer belong to its last piece");
        match exchange.receive(piece) {
            Ok(identity) => taken = identity,
            Err(_) => return assert!(expected.is_none() || cut_behind(&wire, cuts)),
        }
        if taken.is_some() {
            break;
        }
    }
    if taken != expected {
        // An answer was complete before the last piece, which the client does not read.
        assert!(
            taken.is_some()
                && try_decode_framed(&wire)
                    .is_ok_and(|frame| frame.is_some_and(|it| it.consumed < wire.len()))
        );
    }
    if taken.is_none() {
        assert!(exchange.receive(&[]).is_err(), "the end of the connection");
    }
}

/// Returns whether the last piece is empty. Then nothing follows the answer.
fn cut_behind(wire: &[u8], cuts: &[u8]) -> bool {
    cut(wire, cuts).last().is_none_or(|last| last.is_empty())
}

struct Duplex<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Duplex<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Duplex<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
