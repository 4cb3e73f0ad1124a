//! Runs a connection over reads and records its events; and computes the expected events without the state machine.

use super::{Detector, PROBE, SERVED, chain, daemon, mux, wire};
use prost::Message;
use running_process::broker::backend_sdk::{
    Connection, ConnectionConfig, ConnectionEvent, LegacyClassification, Reclassify,
};
use running_process::broker::protocol::{EncodingPolicy, Frame, Refusal, RefusalReason};
use std::sync::Arc;
use std::time::Instant;

/// An event, an error or an end, owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Observed {
    Request(Frame),
    Response(Frame),
    Event(Frame),
    Cancel(Frame),
    UnknownKind(Frame),
    Refused(String),
    ProbeAnswered,
    Legacy(Vec<u8>),
    Closed,
    Failed(String),
}

impl Observed {
    fn is_last(&self) -> bool {
        matches!(self, Self::Legacy(_) | Self::Closed | Self::Failed(_))
    }
}

/// The result of a stream: events, and output. Every request is answered with its payload, twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) seen: Vec<Observed>,
    pub(crate) output: Vec<u8>,
}

fn answer(payload: &[u8]) -> Vec<u8> {
    payload.repeat(2)
}

/// A connection with everything that it received, to account for each byte.
pub(crate) struct Watched {
    pub(crate) connection: Connection<Detector>,
    pub(crate) outcome: Outcome,
    received: Vec<u8>,
    /// Number of received bytes that the events so far account for.
    accounted: usize,
    now: Instant,
}

impl Watched {
    pub(crate) fn new(detector: Detector, config: &ConnectionConfig, now: Instant) -> Self {
        let mut config = config.clone();
        config.encodings = EncodingPolicy::OFF;
        let connection = Connection::new(Arc::new(mux(detector)), config, now);
        Self { connection, outcome: Outcome::default(), received: Vec::new(), accounted: 0, now }
    }

    /// Receives bytes and takes every event. Once the wire is legacy, the bytes go to the old decoder.
    pub(crate) fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.now = now;
        match self.outcome.seen.last_mut() {
            Some(Observed::Legacy(handed_over)) => handed_over.extend_from_slice(bytes),
            Some(seen) if seen.is_last() => {}
            _ => {
                self.connection.receive(bytes, now);
                self.received.extend_from_slice(bytes);
                self.take_events();
            }
        }
    }

    pub(crate) fn receive_eof(&mut self) {
        self.connection.receive_eof();
        self.take_events();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.connection.handle_timeout(now);
        self.take_events();
    }

    fn take_events(&mut self) {
        while self.take_event() {}
        let output = self.connection.output().to_vec();
        self.connection.output_written(output.len(), self.now);
        self.outcome.output.extend(output);
    }

    fn take_event(&mut self) -> bool {
        let seen = match self.connection.next_event() {
            Ok(None) => return false,
            Ok(Some(ConnectionEvent::Request(mut request))) => {
                let seen = Observed::Request(request.frame.to_frame());
                request.respond(&answer(request.payload())).expect("a small answer fits");
                seen
            }
            Ok(Some(ConnectionEvent::Response(frame))) => Observed::Response(frame.to_frame()),
            Ok(Some(ConnectionEvent::Event(frame))) => Observed::Event(frame.to_frame()),
            Ok(Some(ConnectionEvent::Cancel(frame))) => Observed::Cancel(frame.to_frame()),
            Ok(Some(ConnectionEvent::UnknownKind(frame))) => Observed::UnknownKind(frame.to_frame()),
            Ok(Some(ConnectionEvent::Refused(violation))) => Observed::Refused(violation.to_string()),
            Ok(Some(ConnectionEvent::ProbeAnswered)) => Observed::ProbeAnswered,
            Ok(Some(ConnectionEvent::Legacy(bytes))) => Observed::Legacy(bytes),
            Ok(Some(ConnectionEvent::Closed)) => Observed::Closed,
            Ok(Some(other)) => panic!("an event that this test does not know: {other:?}"),
            Err(error) => Observed::Failed(chain(&error)),
        };
        let rest = &self.received[self.accounted..];
        self.accounted += match &seen {
            Observed::Legacy(bytes) => {
                assert_eq!(bytes, rest, "every byte that no event had is handed over");
                bytes.len()
            }
            Observed::Closed => {
                assert!(rest.is_empty(), "{} bytes are lost", rest.len());
                0
            }
            Observed::Failed(_) => 0,
            _ => 5 + u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize,
        };
        assert_eq!(self.accounted + self.connection.buffered(), self.received.len());
        assert!(!self.outcome.seen.last().is_some_and(Observed::is_last), "{seen:?} comes after the end");
        assert_eq!(self.connection.is_over(), seen.is_last());
        self.outcome.seen.push(seen);
        true
    }
}

/// Returns the result of `reads`, and of the end of the stream if `eof`.
pub(crate) fn run(detector: Detector, config: &ConnectionConfig, reads: &[&[u8]], eof: bool) -> Outcome {
    let now = Instant::now();
    let mut watched = Watched::new(detector, config, now);
    for read in reads {
        watched.receive(read, now);
    }
    if eof {
        watched.receive_eof();
    }
    watched.take_events();
    watched.outcome
}

/// Returns the expected result of `stream`, by prost and the rules alone.
pub(crate) fn expected(detector: Detector, config: &ConnectionConfig, stream: &[u8], eof: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut rest, mut framed) = (stream, false);
    while outcome.seen.last().is_none_or(|seen| !seen.is_last()) {
        if rest.is_empty() {
            outcome.seen.extend(eof.then_some(Observed::Closed));
            break;
        }
        let complete = complete_frame(rest);
        if !framed || config.reclassify == Reclassify::EveryMessage {
            let legacy = match detector(rest) {
                LegacyClassification::Legacy => true,
                LegacyClassification::NotLegacy => rest[0] != 1,
                LegacyClassification::NeedMoreBytes if !eof => break,
                LegacyClassification::NeedMoreBytes => !matches!(complete, Ok(Some(_))),
            };
            if legacy {
                outcome.seen.push(Observed::Legacy(rest.to_vec()));
                break;
            }
        }
        match complete {
            Err(message) => outcome.seen.push(Observed::Failed(refused(&message))),
            Ok(None) if eof => outcome.seen.push(Observed::Failed(format!(
                "the peer ended the connection {} bytes into a message",
                rest.len()
            ))),
            Ok(None) => break,
            Ok(Some((length, frame))) => {
                rest = &rest[length..];
                framed |= frame.payload_protocol != PROBE;
                take(frame, length - 5, config.strict, &mut outcome);
            }
        }
    }
    outcome
}

fn refused(message: &str) -> String {
    format!("the peer sent bytes that this daemon does not serve: {message}")
}

/// Returns the length of the frame at the start of `bytes` and prost's result for it, if it is complete.
fn complete_frame(bytes: &[u8]) -> Result<Option<(usize, Frame)>, String> {
    let [first, header @ ..] = bytes else { return Ok(None) };
    if *first != 1 {
        return Err(format!("not a frame: framing version is {first}, this side speaks 1"));
    }
    let [a, b, c, d, body @ ..] = header else { return Ok(None) };
    let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    if length > 16_777_216 {
        return Err(format!("not a frame: frame body is {length} bytes, the cap is 16777216"));
    }
    let Some(body) = body.get(..length) else { return Ok(None) };
    match Frame::decode(body) {
        Ok(frame) => Ok(Some((5 + length, frame))),
        Err(error) => Err(format!("not a frame: frame body is not a Frame: {error}")),
    }
}

fn take(frame: Frame, body_length: usize, strict: bool, outcome: &mut Outcome) {
    let id = frame.payload_protocol;
    let is_cancel = frame.kind == 3;
    let seen = if id == PROBE {
        match malformed(&frame, body_length) {
            Some(message) => Observed::Failed(refused(&format!("malformed identity probe: {message}"))),
            None => {
                let identity = daemon().to_proto().encode_to_vec();
                let payload = [&frame.payload[..], &identity].concat();
                outcome.output.extend(wire(&Frame::response_to(&frame, payload)));
                Observed::ProbeAnswered
            }
        }
    } else if [0, 0xAD01, 0xD0FF, 0x5350].contains(&id) && !(is_cancel && id == 0) {
        let message = format!("payload protocol 0x{id:04X} is first-party and not served by a daemon");
        Observed::Failed(refused(&message))
    } else if id != SERVED && !is_cancel {
        let message = format!("payload protocol 0x{id:04X} is not served by this daemon");
        if frame.kind == 0 {
            outcome.output.extend(refusal_of(&frame, RefusalReason::UnservedProtocol, &message));
        }
        Observed::Failed(refused(&message))
    } else if let Some(message) = violation(&frame).filter(|_| strict) {
        Observed::Failed(format!("the peer sent a frame that this daemon refuses: {message}"))
    } else if strict && frame.payload_encoding != 0 && !is_cancel {
        let message = format!("payload encoding {} is not accepted", frame.payload_encoding);
        if frame.kind == 0 {
            outcome.output.extend(refusal_of(&frame, RefusalReason::BadEncoding, &message));
        }
        Observed::Refused(message)
    } else {
        match frame.kind {
            0 => {
                let response = Frame::response_to(&frame, answer(&frame.payload));
                outcome.output.extend(wire(&response));
                Observed::Request(frame)
            }
            1 => Observed::Response(frame),
            2 => Observed::Event(frame),
            3 => Observed::Cancel(frame),
            _ => Observed::UnknownKind(frame),
        }
    };
    outcome.seen.push(seen);
}

fn refusal_of(request: &Frame, reason: RefusalReason, message: &str) -> Vec<u8> {
    let payload = Refusal::new(reason, message).encode_to_vec();
    wire(&Frame { payload_protocol: 0, ..Frame::response_to(request, payload) })
}

fn malformed(probe: &Frame, body_length: usize) -> Option<String> {
    Some(match probe {
        Frame { envelope_version: got, .. } if *got != 1 => {
            format!("probe has envelope version {got}, this side speaks 1")
        }
        Frame { kind: got, .. } if *got != 0 => format!("probe has kind {got}, due is Request (0)"),
        Frame { payload_encoding: got, .. } if *got != 0 => {
            format!("probe has payload encoding {got}, a probe is not encoded (0)")
        }
        Frame { payload, .. } if payload.len() != 32 => {
            format!("probe payload is {} bytes, a nonce is 32", payload.len())
        }
        _ if body_length > 4096 => format!("probe is {body_length} bytes, the limit is 4096"),
        _ => return None,
    })
}

fn violation(frame: &Frame) -> Option<String> {
    Some(match frame {
        Frame { envelope_version: got, .. } if *got != 1 => {
            format!("envelope version is {got}, this side speaks 1")
        }
        Frame { kind: got, .. } if !(0..=3).contains(got) => format!("frame kind {got} is unknown"),
        _ => return None,
    })
}
