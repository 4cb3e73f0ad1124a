//! Frames that have come and were not taken, and the bounds on them.

use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::protocol::{Frame, Refusal};
use std::collections::VecDeque;

/// The most bytes of events that a client keeps for its caller, for either client: payloads, trace context and
/// [`Frame`]s. While that many wait, or one event that is larger, the client reads nothing more.
pub const MAX_WAITING_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// The default of [`FrameClient::set_answer_limit`](super::FrameClient::set_answer_limit), in bytes.
pub const DEFAULT_ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Returns what it costs to keep `frame`, in bytes.
pub(in super::super) fn kept_bytes(frame: &Frame) -> usize {
    size_of::<Frame>() + frame.payload.len() + frame.traceparent.len() + frame.tracestate.len()
}

pub(super) type Answer = Result<Frame, Refusal>;

fn answer_bytes(answer: &Answer) -> usize {
    match answer {
        Ok(frame) => kept_bytes(frame),
        Err(refusal) => size_of::<Answer>() + refusal.message.len(),
    }
}

/// Invariant: each count is the sum over what is kept beside it.
#[derive(Debug)]
pub(super) struct Waiting {
    answers: ById<RequestId, Answer>,
    answer_bytes: usize,
    pub(super) answer_limit: usize,
    /// Of no request.
    pub(super) events: Events,
    /// Of the request that is streamed.
    pub(super) streamed: Events,
}

#[derive(Debug, Default)]
pub(super) struct Events {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            answers: ById::default(),
            answer_bytes: 0,
            answer_limit: DEFAULT_ANSWER_LIMIT,
            events: Events::default(),
            streamed: Events::default(),
        }
    }
}

impl Waiting {
    pub(super) fn add_answer(&mut self, request: RequestId, answer: Answer) {
        self.answer_bytes += answer_bytes(&answer);
        self.answers.insert(request, answer);
    }

    pub(super) fn take_answer(&mut self, request: RequestId) -> Option<Answer> {
        let answer = self.answers.remove(&request)?;
        self.answer_bytes -= answer_bytes(&answer);
        Some(answer)
    }

    pub(super) fn has_answer(&self, request: RequestId) -> bool {
        self.answers.contains_key(&request)
    }

    /// Fails if nothing more is to be read until something is taken.
    pub(super) fn check_room(&self) -> Result<(), FrameClientError> {
        if self.answer_bytes >= self.answer_limit {
            return Err(FrameClientError::TooManyAnswers { bytes: self.answer_bytes });
        }
        let bytes = self.events.bytes.max(self.streamed.bytes);
        if bytes >= MAX_WAITING_EVENT_BYTES {
            return Err(FrameClientError::TooManyEvents { bytes });
        }
        Ok(())
    }
}

impl Events {
    pub(super) fn add(&mut self, frame: Frame) {
        self.bytes += kept_bytes(&frame);
        self.frames.push_back(frame);
    }

    pub(super) fn take(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= kept_bytes(&frame);
        Some(frame)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
