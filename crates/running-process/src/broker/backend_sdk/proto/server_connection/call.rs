use super::calls::Calls;
use crate::broker::backend_sdk::proto::connection::{append_answer, append_refusal};
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::send_buffer::Output;
#[cfg(feature = "host")]
use crate::broker::protocol::DecodeStopped;
use crate::broker::protocol::{
    DecodePayloadError, EncodingPolicy, FrameRef, FramingError, Refusal, RefusalReason,
};
use std::fmt;
use std::time::Instant;

/// What a peer's bytes, or the time, mean to the daemon.
#[derive(Debug)]
pub enum ServerEvent<'a> {
    /// A request to be served.
    Request(Call<'a>),
    /// Nobody waits for the call any more; if its peer is there, a refusal says why. The call keeps its place until it
    /// is answered or refused, which goes nowhere.
    Cancelled(CallId, CancelReason),
    /// A frame that no call waits for: an event or a response, a cancel of no call of this connection, or a frame of
    /// unknown kind if the connection is not strict.
    Unasked(FrameRef<'a>),
    /// A frame came whose payload cannot be decoded; if it was a request, a refusal that says so is in the output.
    Refused(DecodePayloadError),
    /// An identity probe came and its answer is in the output.
    ProbeAnswered,
    /// The connection speaks the legacy wire: every byte that came and belongs to it.
    Legacy(Vec<u8>),
    /// The peer sends nothing more, and nothing that it sent is left over. It may still wait for its answers.
    Closed,
}

/// Names an admitted request of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    pub(super) request_id: u64,
    /// Tells apart requests that came one after the other with one id.
    pub(super) sequence: u64,
}

/// Why nobody waits for a call any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// The peer sent a cancel.
    Requested,
    /// The deadline in the request has passed.
    DeadlinePassed,
    /// The peer is gone.
    PeerGone,
    /// The daemon ends, and its patience with calls at work has.
    ShuttingDown,
}

impl CancelReason {
    /// What the peer is told, if it is there to be told.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Requested => Some(Refusal::new(RefusalReason::Cancelled, "")),
            Self::DeadlinePassed => Some(Refusal::new(RefusalReason::DeadlinePassed, "")),
            Self::ShuttingDown => {
                Some(Refusal::new(RefusalReason::HandlerFailed, "the daemon ended before the answer"))
            }
            Self::PeerGone => None,
        }
    }
}

impl fmt::Display for CancelReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Requested => "the client cancelled the request",
            Self::DeadlinePassed => "the request's deadline has passed",
            Self::PeerGone => "the client is gone",
            Self::ShuttingDown => "the daemon is ending",
        })
    }
}

/// Why an event was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendEventError {
    /// Nobody waits for the call any more.
    #[error("nobody waits for the call")]
    Cancelled,
    /// The event does not fit a frame.
    #[error("the event cannot be sent")]
    Framing(#[from] FramingError),
}

/// A request that is looked at: [admit](Self::admit) it, or answer it on the spot. Dropped without either, it is never
/// answered.
#[derive(Debug)]
pub struct Call<'a> {
    /// The request.
    pub frame: FrameRef<'a>,
    pub(super) output: &'a mut Output,
    pub(super) calls: &'a mut Calls,
    pub(super) encodings: &'a EncodingPolicy,
    pub(super) now: Instant,
}

impl<'a> Call<'a> {
    /// What the client sent.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.frame.payload
    }

    /// When this connection was last told the time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Counts the request as in flight until it is answered or refused. Once `deadline` has passed it is cancelled: the
    /// driver converts the frame's `deadline_unix_ms`, since only it has a wall clock.
    #[must_use]
    pub fn admit(self, deadline: Option<Instant>) -> CallId {
        self.calls.admit(&self.frame, deadline)
    }

    /// The request with its payload as its sender had it: decoded into `buffer`, if it came encoded. `grant` is asked before
    /// `buffer` takes memory, with how many bytes it will have then.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn decoded<'b>(
        &self,
        buffer: &'b mut Vec<u8>,
        grant: &mut dyn FnMut(usize) -> bool,
    ) -> Result<FrameRef<'b>, DecodeStopped>
    where
        'a: 'b,
    {
        self.encodings.decode_granted(self.frame, buffer, grant)
    }

    /// Answers at once.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`]; the request was refused for it then.
    pub fn respond(self, payload: impl Into<Payload>) -> Result<(), FramingError> {
        let response = FrameRef::response_to(&self.frame, &[]);
        let answered = append_answer(&self.frame, response, payload.into(), self.encodings, self.output);
        answered.inspect_err(|error| {
            let refusal = Refusal::new(RefusalReason::AnswerTooLarge, error.to_string());
            append_refusal(&self.frame, &refusal, self.output);
        })
    }

    /// Refuses at once.
    pub fn refuse(self, refusal: &Refusal) {
        append_refusal(&self.frame, refusal, self.output);
    }
}
