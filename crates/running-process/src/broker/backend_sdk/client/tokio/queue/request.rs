//! A request on its way to the driver, and its outcome.

use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::proto::payload::Payload;

/// The result of a request, which may have been sent unless it is [`Unsent`].
pub(in super::super::super) type Outcome = Result<Response, Unsent>;

pub(in super::super::super) type Response = Result<Reply, FrameClientError>;

/// A request of which nothing was sent, because the connection ended before.
#[derive(Debug)]
pub(in super::super::super) struct Unsent {
    pub(in super::super::super) payload: Payload,
    /// The reason why the connection ended.
    pub(in super::super::super) error: FrameClientError,
}

impl Unsent {
    /// Returns the error for the caller of the request.
    pub(in super::super::super) fn into_error(self) -> FrameClientError {
        self.error.of_unsent()
    }
}

#[derive(Debug)]
pub(in super::super) struct Request {
    pub(in super::super) payload_protocol: u32,
    pub(in super::super) payload: Payload,
    /// 0 is none.
    pub(in super::super) deadline_unix_ms: u64,
    /// The options, if they have more than a deadline.
    pub(in super::super) options: Option<Box<RequestOptions>>,
    /// The caller takes the events of the request.
    pub(in super::super) events: bool,
}

impl Request {
    pub(in super::super) fn new(
        payload_protocol: u32,
        payload: Payload,
        deadline: CallDeadline,
        options: Option<&RequestOptions>,
        events: bool,
    ) -> Self {
        let options = options.filter(|options| options.has_fields()).cloned().map(Box::new);
        Self { payload_protocol, payload, deadline_unix_ms: deadline.unix_ms(), options, events }
    }
}
