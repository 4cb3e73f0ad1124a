//! Frames that were received and not taken, and the bounds on them.

use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::limits::{DEFAULT_RESPONSE_LIMIT, MAX_WAITING_EVENT_BYTES};
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use crate::broker::backend_sdk::proto::id_map::ById;
use std::collections::VecDeque;

pub(super) type Response = Result<Reply, FrameClientError>;

fn response_memory(response: &Response) -> usize {
    match response {
        Ok(reply) => reply.memory(),
        Err(FrameClientError::Refused(refusal)) => size_of::<Response>() + refusal.message.len(),
        Err(_) => size_of::<Response>(),
    }
}

/// Invariant: each number of bytes is the sum over the frames beside it.
#[derive(Debug)]
pub(super) struct Inbox {
    responses: ById<RequestId, Response>,
    response_bytes: usize,
    pub(super) response_limit: usize,
    /// The events of no request.
    pub(super) events: Events,
    /// The events of the request that is streamed.
    pub(super) streamed: Events,
}

#[derive(Debug, Default)]
pub(super) struct Events {
    frames: VecDeque<Reply>,
    bytes: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            responses: ById::default(),
            response_bytes: 0,
            response_limit: DEFAULT_RESPONSE_LIMIT,
            events: Events::default(),
            streamed: Events::default(),
        }
    }
}

impl Inbox {
    pub(super) fn add_response(&mut self, request: RequestId, response: Response) {
        self.response_bytes += response_memory(&response);
        self.responses.insert(request, response);
    }

    #[inline]
    pub(super) fn take_response(&mut self, request: RequestId) -> Option<Response> {
        if self.responses.is_empty() {
            return None;
        }
        let response = self.responses.remove(&request)?;
        self.response_bytes -= response_memory(&response);
        Some(response)
    }

    pub(super) fn has_response(&self, request: RequestId) -> bool {
        self.responses.contains_key(&request)
    }

    /// Fails if the client reads nothing more until the caller takes something.
    #[inline]
    pub(super) fn check_room(&self) -> Result<(), FrameClientError> {
        if self.response_bytes >= self.response_limit {
            return Err(FrameClientError::TooManyResponses { bytes: self.response_bytes });
        }
        let bytes = self.events.bytes.max(self.streamed.bytes);
        if bytes >= MAX_WAITING_EVENT_BYTES {
            return Err(FrameClientError::TooManyEvents { bytes });
        }
        Ok(())
    }
}

impl Events {
    pub(super) fn add(&mut self, frame: Reply) {
        self.bytes += frame.memory();
        self.frames.push_back(frame);
    }

    pub(super) fn take(&mut self) -> Option<Reply> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.memory();
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
