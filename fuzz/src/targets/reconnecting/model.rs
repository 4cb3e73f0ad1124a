//! The model of a request: what its caller may get, and what a daemon may receive.

use super::caller::{Answered, Caller, Kind, Part};
use running_process::broker::backend_sdk::{FrameClientError, ReconnectError, RequestOptions};
use running_process::broker::protocol::{FrameRef, PayloadEncoding, Refusal, RefusalReason, decode_payload};
use std::time::Instant;

pub(super) struct Request {
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) length: usize,
    pub(super) descriptors: usize,
    pub(super) options: RequestOptions,
    pub(super) state: State,
    /// The daemon that has received it wholly.
    pub(super) received_by: Option<usize>,
    /// The lengths of the events that the daemon has sent, and the numbers of their descriptors.
    pub(super) events: Vec<(usize, usize)>,
    pub(super) answer: Option<Answer>,
}

pub(super) enum State {
    Waiting(Caller<Answered>),
    /// Its caller has dropped it, before the daemon had an answer or after.
    Dropped {
        unanswered: bool,
    },
    TimedOut,
    /// Its caller knows that it has not run.
    NotRun,
    Done,
}

/// An answer of the daemon.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) content: Content,
    /// The moment at which its last byte was written.
    pub(super) written: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Response { length: usize, descriptors: usize },
    Refusal(RefusalReason),
}

impl Content {
    /// Returns whether a caller whose deadline has passed sees a timeout instead.
    fn is_deadline(self) -> bool {
        matches!(self, Self::Refusal(RefusalReason::DeadlinePassed))
    }
}

/// The conditions under which a caller gets an outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) now: Instant,
    /// The request may have come to a daemon that keeps to no rules.
    pub(super) is_hostile: bool,
    /// A daemon has ended its connection, or there was none.
    pub(super) has_ended: bool,
    /// A daemon has moved, and the client makes another connection by itself.
    pub(super) has_moved: bool,
}

/// Returns the payload of a request.
pub(super) fn request_payload(number: usize, length: usize) -> Vec<u8> {
    payload(number, u32::MAX, length)
}

/// Returns the payload of an event of the request.
pub(super) fn event_payload(number: usize, index: usize, length: usize) -> Vec<u8> {
    payload(number, u32::try_from(index).expect("few are sent"), length)
}

/// Returns the payload of the response to the request.
pub(super) fn response_payload(number: usize, length: usize) -> Vec<u8> {
    payload(number, u32::MAX - 1, length)
}

fn payload(number: usize, what: u32, length: usize) -> Vec<u8> {
    let number = u32::try_from(number).expect("few are sent");
    let mut payload = Vec::with_capacity(8 + length);
    payload.extend(number.to_le_bytes());
    payload.extend(what.to_le_bytes());
    payload.resize(8 + length, number.to_le_bytes()[0]);
    payload
}

/// Returns the number of the request that has this payload.
pub(super) fn number_of(payload: &[u8]) -> usize {
    let number = payload.first_chunk().expect("each payload begins with a number");
    u32::from_le_bytes(*number) as usize
}

/// Returns the payload of a request as its caller gave it.
pub(super) fn decoded(frame: &FrameRef<'_>) -> Vec<u8> {
    let encoding = PayloadEncoding::try_from(frame.payload_encoding).expect("a known encoding");
    let mut payload = Vec::new();
    decode_payload(encoding, frame.payload, 1 << 20, &mut payload).expect("the client has encoded it");
    payload
}

impl Request {
    /// Returns whether its caller takes descriptors.
    fn takes_descriptors(&self) -> bool {
        matches!(self.kind, Kind::Reply | Kind::Stream)
    }

    /// Takes note of a daemon that has received the request wholly.
    pub(super) fn receive(&mut self, daemon: usize, frame: &FrameRef<'_>, payload: &[u8]) {
        let Self { number, options, .. } = self;
        assert_eq!(self.received_by, None, "request {number} came twice, now to daemon {daemon}");
        assert!(!matches!(self.state, State::NotRun), "request {number} came, and was not to run");
        assert_eq!(payload, request_payload(*number, self.length));
        assert_eq!((frame.traceparent, frame.tracestate), (&*options.traceparent, &*options.tracestate));
        assert_eq!(frame.deadline_unix_ms != 0, options.deadline.is_some());
        let accepts = match (self.kind, options.max_descriptors) {
            (Kind::Reply, 0) => 16,
            (_, most) => most,
        };
        assert_eq!(usize::from(frame.descriptors.accepted()), accepts);
        assert_eq!(usize::from(frame.descriptors.count()), self.descriptors);
        self.received_by = Some(daemon);
    }

    /// Checks the outcome that the caller got, and ends the request.
    pub(super) fn finish(&mut self, answered: &Answered, conditions: Conditions) {
        let Conditions { now, is_hostile, has_ended, has_moved } = conditions;
        let written = self.answer.as_ref().filter(|answer| answer.written.is_some());
        if !is_hostile {
            self.check_events(&answered.events);
        }
        let has_passed = self.options.deadline.is_some_and(|deadline| deadline <= now);
        let error = match &answered.response {
            Ok(_) if is_hostile => return self.state = State::Done,
            Ok((payload, descriptors)) => {
                let Some(Answer { content: Content::Response { length, descriptors: sent }, .. }) = written
                else {
                    panic!("request {} got a response, its daemon gave {:?}", self.number, self.answer);
                };
                assert_eq!(*payload, response_payload(self.number, *length));
                assert_eq!(*descriptors, if self.takes_descriptors() { *sent } else { 0 });
                let events = if self.kind == Kind::Stream { self.events.len() } else { 0 };
                assert_eq!(answered.events.len(), events, "each event comes before the response");
                return self.state = State::Done;
            }
            Err(error) => error,
        };
        if let ReconnectError::Request(FrameClientError::Refused(refusal)) = error {
            assert!(is_hostile || self.was_refused(refusal), "{refusal:?}, but {:?}", self.answer);
            return self.state = State::Done;
        }
        if !error.may_have_run() {
            assert_eq!(self.received_by, None, "request {} came, but {error:?}", self.number);
        }
        let is_timeout = match error {
            ReconnectError::NotInTime | ReconnectError::Request(FrameClientError::TimedOut { .. }) => {
                assert!(has_passed, "{error:?} at {now:?}, of {:?}", self.options.deadline);
                let in_time = written.is_some_and(|answer| {
                    answer.written < self.options.deadline && !answer.content.is_deadline()
                });
                assert!(is_hostile || !in_time, "{error:?}, but {:?}", self.answer);
                true
            }
            ReconnectError::Request(FrameClientError::DescriptorsNotTaken { count, limit }) => {
                assert_eq!(*count, self.descriptors);
                assert!(count > limit);
                false
            }
            error => {
                let is_left = has_moved && self.kind == Kind::OnConnection;
                assert!(is_hostile || has_ended || is_left, "{error:?} of request {}", self.number);
                assert!(is_hostile || written.is_none(), "{error:?}, but {:?}", self.answer);
                false
            }
        };
        self.state = match error.may_have_run() {
            false => State::NotRun,
            true if is_timeout => State::TimedOut,
            true => State::Done,
        };
    }

    fn check_events(&self, events: &[Part]) {
        assert!(events.len() <= self.events.len());
        for (index, ((payload, came), (length, sent))) in events.iter().zip(&self.events).enumerate() {
            assert_eq!(*payload, event_payload(self.number, index, *length));
            assert_eq!(came, sent);
        }
    }

    fn was_refused(&self, refusal: &Refusal) -> bool {
        let Some(Answer { content: Content::Refusal(reason), written: Some(_) }) = &self.answer else {
            return false;
        };
        *reason == refusal.reason()
    }
}
