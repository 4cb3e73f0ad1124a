//! The ids of calls, and the reasons for which they are cancelled.

use crate::broker::protocol::{FramingError, Refusal, RefusalReason};
use std::fmt;

/// The id of a call: an admitted request of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    pub(super) request_id: u64,
    /// Distinguishes requests that came one after the other with one id.
    pub(super) sequence: u64,
}

/// The reason for which the peer does not wait for a call any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// The peer sent a cancel.
    Requested,
    /// The deadline in the request has passed.
    DeadlinePassed,
    /// The peer is gone.
    PeerGone,
    /// The daemon ends, and the drain of its requests has timed out.
    ShuttingDown,
    /// The system does not send the descriptors of an event.
    NotSent,
}

/// The text of the refusal of a request whose answer or event was not sent.
pub(super) const NOT_SENT: &str = "too many descriptors are on their way";

impl CancelReason {
    /// Returns the refusal that tells the peer; `None` if it is gone.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Requested => Some(Refusal::new(RefusalReason::Cancelled, "")),
            Self::DeadlinePassed => Some(Refusal::new(RefusalReason::DeadlinePassed, "")),
            Self::ShuttingDown => {
                Some(Refusal::new(RefusalReason::HandlerFailed, "the daemon ended before the answer"))
            }
            Self::NotSent => Some(Refusal::new(RefusalReason::HandlerFailed, NOT_SENT)),
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
            Self::NotSent => "the system does not send the descriptors of an event",
        })
    }
}

/// A call that was cancelled.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cancelled<'a, T = ()> {
    /// The call.
    pub call: CallId,
    /// The reason for which it was cancelled.
    pub reason: CancelReason,
    /// The driver's data of the call.
    pub data: &'a T,
}

/// The reason for which an event was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendEventError {
    /// The peer does not wait for the call any more.
    #[error("the client does not wait for the answer any more")]
    Cancelled,
    /// The event does not fit a frame.
    #[error("the event cannot be sent")]
    Framing(#[from] FramingError),
}
