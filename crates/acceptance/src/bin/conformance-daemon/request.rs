//! Requests: the conformance protocol, and refusals.

use crate::breaks::Break;
use crate::connection::{Connection, Waiting, ended, response_to, unix_ms};
use running_process_acceptance::raw::{EVENT, Fields, Frame, RESPONSE, is_first_party};
use std::io;

const ADMIN: u32 = 0xAD01;
const MAX_EVENTS: u64 = 10_000;
const MAX_BURST: u32 = 16;
const SNAPPY: i32 = 2;

impl Connection<'_> {
    pub(crate) fn request(&mut self, request: &Frame) -> io::Result<()> {
        let protocol = request.payload_protocol;
        let takes_admin = protocol == ADMIN && self.breaks(Break::FirstPartyAnswered);
        if is_first_party(protocol) && !takes_admin {
            return Err(ended("a request of a first-party protocol"));
        }
        if protocol != self.daemon.protocol && !takes_admin && !self.breaks(Break::UnservedAnswered) {
            self.refuse(request, 4, "the payload protocol is not served")?;
            return Err(ended("a request of another protocol"));
        }
        if request.payload_encoding != 0 && !self.breaks(Break::EncodingIgnored) {
            return self.refuse(request, 5, "no encodings are known");
        }
        let mut request = request.clone();
        if self.breaks(Break::DeadlineTruncated) {
            request.deadline_unix_ms &= u64::from(u32::MAX);
        }
        if (1..=unix_ms()).contains(&request.deadline_unix_ms) && !self.breaks(Break::PastDeadline) {
            return self.refuse(&request, 2, "the deadline passed");
        }
        let is_lost = self.breaks(Break::IdZeroIgnored) && request.request_id == 0
            || self.breaks(Break::BurstCut) && self.burst >= MAX_BURST;
        if is_lost { Ok(()) } else { self.handle(&request) }
    }

    fn handle(&mut self, request: &Frame) -> io::Result<()> {
        let payload = &request.payload[..];
        let end = payload.iter().position(|byte| *byte == b' ').unwrap_or(payload.len());
        let (word, argument) = (&payload[..end], payload.get(end + 1..));
        match (word, argument) {
            (b"echo", Some(bytes)) => self.respond(request, bytes),
            (b"events", Some(count)) => {
                let count = str::from_utf8(count).ok().and_then(|count| count.parse().ok());
                match count.filter(|count| *count <= MAX_EVENTS) {
                    Some(count) => self.events(request, count),
                    None => self.fail(request, "events takes a number of at most 10000"),
                }
            }
            (b"wait", Some(name)) => {
                self.daemon.waits.begin(name);
                self.waiting.push(Waiting { request: request.clone(), name: name.to_vec() });
                Ok(())
            }
            (b"ended", Some(name)) => self.respond(request, self.daemon.waits.state(name).as_bytes()),
            (b"fail", Some(text)) => self.fail(request, &String::from_utf8_lossy(text)),
            _ => self.fail(request, "unknown"),
        }
    }

    fn events(&mut self, request: &Frame, count: u64) -> io::Result<()> {
        let late = if self.breaks(Break::EventAfterResponse) { count.saturating_sub(1) } else { count };
        for number in 0..late {
            let number = if self.breaks(Break::EventOrder) { count - 1 - number } else { number };
            self.event(request, number)?;
        }
        self.respond(request, count.to_string().as_bytes())?;
        (late..count).try_for_each(|number| self.event(request, number))
    }

    fn event(&mut self, request: &Frame, number: u64) -> io::Result<()> {
        let mut event = Frame { kind: EVENT, ..response_to(request, number.to_string().into_bytes()) };
        if self.breaks(Break::EventId) {
            event.request_id = 0;
        }
        self.write(&event, Fields::default())
    }

    fn respond(&mut self, request: &Frame, payload: &[u8]) -> io::Result<()> {
        let mut response = response_to(request, payload.to_vec());
        let mut more = Fields::default();
        match self.daemon.broken {
            Some(Break::EmptyUnanswered) if payload.is_empty() => return Ok(()),
            Some(Break::ResponseKind) => response.kind = request.kind,
            Some(Break::ResponseProtocol) => response.payload_protocol = 0,
            Some(Break::ResponseVersion) => response.envelope_version = 0,
            Some(Break::Tag1000) => more = more.number(1000, 1 << SNAPPY),
            Some(Break::AnswerEncoded) => {
                response.payload = snappy(payload);
                response.payload_encoding = SNAPPY;
            }
            Some(Break::Notice) if !self.noticed => {
                self.noticed = true;
                let moved = Fields::default().number(1000, 1).into_bytes();
                let notice = Frame { envelope_version: 1, kind: EVENT, payload: moved, ..Frame::default() };
                self.write(&notice, Fields::default())?;
            }
            _ => {}
        }
        self.write(&response, more)
    }

    fn fail(&mut self, request: &Frame, text: &str) -> io::Result<()> {
        if self.breaks(Break::FailureSilent) {
            return Ok(());
        }
        self.refuse(request, 7, text)?;
        if self.breaks(Break::FailureEnds) { Err(ended("a failure")) } else { Ok(()) }
    }

    pub(crate) fn refuse(&mut self, request: &Frame, reason: u64, message: &str) -> io::Result<()> {
        let mut refusal = Fields::default().number(1000, reason).bytes(1001, message.as_bytes());
        if self.breaks(Break::RefusalEmpty) {
            refusal = Fields::default();
        }
        let mut response = response_to(request, refusal.into_bytes());
        response.kind = RESPONSE;
        if !self.breaks(Break::RefusalProtocol) {
            response.payload_protocol = 0;
        }
        self.write(&response, Fields::default())
    }
}

/// Encodes bytes as one block of the raw format of Snappy that copies nothing: the length, then literals of up to 60 bytes.
fn snappy(payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut length = payload.len();
    while length >= 0x80 {
        block.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    block.push(length.to_le_bytes()[0]);
    for literal in payload.chunks(60) {
        block.push((literal.len() - 1).to_le_bytes()[0] << 2);
        block.extend_from_slice(literal);
    }
    block
}
