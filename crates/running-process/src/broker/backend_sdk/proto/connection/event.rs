//! Events and errors of a connection.

use super::{answering, append_answer};
use crate::broker::backend_sdk::mux::MuxError;
use crate::broker::backend_sdk::proto::descriptors::DescriptorFault;
use crate::broker::backend_sdk::proto::send_buffer::SendBuffer;
use crate::broker::protocol::{DecodePayloadError, EncodingPolicy, FrameRef, FrameViolation, FramingError};
use std::borrow::Cow;
use std::fmt;

/// The bytes that a read has returned, and the number of descriptors that came with them.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    bytes: &'a [u8],
    descriptors: usize,
    truncated: bool,
}

impl<'a> Received<'a> {
    /// Returns the bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the number of descriptors that came with the bytes.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Returns whether the system has dropped descriptors: `MSG_CTRUNC` in recvmsg(2).
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Returns the same bytes with so many descriptors. The driver has these, in order.
    #[must_use]
    pub fn with_descriptors(self, descriptors: usize, truncated: bool) -> Self {
        Self { descriptors, truncated, ..self }
    }
}

impl<'a, B: AsRef<[u8]> + ?Sized> From<&'a B> for Received<'a> {
    fn from(bytes: &'a B) -> Self {
        Self { bytes: bytes.as_ref(), descriptors: 0, truncated: false }
    }
}

/// The meaning of a peer's bytes for the daemon.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectionEvent<'a> {
    /// A request for the daemon.
    Request(ReceivedRequest<'a>),
    /// A response to a request that the daemon sent on this connection.
    Response(FrameRef<'a>),
    /// An event; no answer is expected.
    Event(FrameRef<'a>),
    /// The peer does not wait for the answer to the request of the same id any more.
    Cancel(FrameRef<'a>),
    /// A frame of a kind that this library does not know; only without
    /// [`strict`](super::ConnectionConfig::strict).
    UnknownKind(FrameRef<'a>),
    /// A frame came whose payload cannot be decoded; if it was a request, a refusal that says so is in the output.
    Refused(DecodePayloadError),
    /// An identity probe came and its answer is in the output.
    ProbeAnswered,
    /// The connection speaks the legacy wire, and these are its first bytes. Write the output first; then further bytes go
    /// to the old decoder directly.
    Legacy(Vec<u8>),
    /// The peer sends nothing more, and nothing that it sent is left over. There are no more events.
    Closed,
}

/// A request and the way to answer it.
#[derive(Debug)]
pub struct ReceivedRequest<'a> {
    /// The request.
    pub frame: FrameRef<'a>,
    pub(crate) output: &'a mut SendBuffer,
    pub(crate) encodings: &'a EncodingPolicy,
    /// The most descriptors that this side takes with one frame.
    pub(crate) accepted_descriptors: u8,
}

impl<'a> ReceivedRequest<'a> {
    /// Returns the payload that the client sent.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.frame.payload
    }

    /// Appends the response to the connection's output.
    ///
    /// To answer later, keep a copy of the frame and use [`Connection::send`](super::Connection::send).
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`]; nothing was appended then, and another response may be.
    pub fn respond(&mut self, payload: &[u8]) -> Result<(), FramingError> {
        let response = FrameRef::response_to(&self.frame, &[]);
        let response = answering(&self.frame, response, self.accepted_descriptors);
        append_answer(&self.frame, response, Cow::Borrowed(payload), self.encodings, self.output)
    }
}

/// The message that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitingFor {
    /// The first message, or enough of it to tell its wire.
    FirstMessage,
    /// The rest of a message that has begun to arrive.
    RestOfMessage,
    /// Any byte after a probe, while the wire is undecided.
    MessageAfterProbe,
    /// Any byte, between messages.
    NextMessage,
}

impl fmt::Display for WaitingFor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::FirstMessage => "the first message",
            Self::RestOfMessage => "the rest of a message",
            Self::MessageAfterProbe => "a message after a probe",
            Self::NextMessage => "the next message",
        })
    }
}

/// The reason for which a connection is dropped. Each is the peer's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The bytes are neither legacy nor a frame for this daemon.
    #[error("the peer sent bytes that this daemon does not serve")]
    Mux(#[from] MuxError),
    /// A frame breaks the strict rules.
    #[error("the peer sent a frame that this daemon refuses")]
    Refused(#[from] FrameViolation),
    /// A message is too large for a peer that is not known to be served.
    #[error(
        "the first message is larger than {limit} bytes, which is the limit for a peer that is not known to be served"
    )]
    FirstMessageTooLarge {
        /// The limit, in bytes: [`ConnectionConfig::first_message_bytes`](super::ConnectionConfig::first_message_bytes).
        limit: usize,
    },
    /// The peer was too slow.
    #[error("the peer was too slow: waited for {waiting_for}")]
    TimedOut {
        /// The message that did not come in time.
        waiting_for: WaitingFor,
    },
    /// The descriptors that the peer sent are not those that its frames announce, or too many.
    #[error("the peer broke the rules of descriptors")]
    Descriptors(#[from] DescriptorFault),
    /// The peer ended the connection inside a message.
    #[error("the peer ended the connection {buffered} bytes into a message")]
    Truncated {
        /// Number of bytes of the message that had come.
        buffered: usize,
    },
}
