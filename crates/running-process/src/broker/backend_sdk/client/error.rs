use super::limits::MAX_WAITING_EVENT_BYTES;
use crate::broker::backend_lifecycle::DISABLE_VARIABLE;
use crate::broker::backend_sdk::proto::client_connection::ClientConnectionError;
use crate::broker::protocol::{FramingError, Refusal};
use crate::transport::ConnectError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The reason why a request has no response.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameClientError {
    /// The environment asks for the legacy path.
    #[error("frames are switched off by {DISABLE_VARIABLE}=1")]
    Disabled,
    /// The endpoint could not be connected to.
    #[error("no connection to the daemon")]
    Connect(#[from] ConnectError),
    /// The request cannot be a frame; nothing was sent and the connection goes on.
    #[error("the request cannot be sent")]
    Request(#[source] Arc<FramingError>),
    /// The daemon says that it does not serve the request, and why; the connection goes on.
    #[error("the daemon refused the request")]
    Refused(#[source] Refusal),
    /// The connection failed.
    #[error("the connection failed")]
    Stream(#[source] Arc<io::Error>),
    /// The daemon broke the rules.
    #[error("the connection cannot be trusted any more")]
    Connection(#[from] ClientConnectionError),
    /// The daemon ended the connection; whether it has run the requests in flight is unknown.
    #[error("the daemon closed the connection before it answered")]
    Closed,
    /// Nothing came in time. The request was given up; the daemon may have run it.
    #[error("no answer within {timeout:?}")]
    TimedOut {
        /// The timeout that applied.
        timeout: Duration,
    },
    /// The request was answered already, given up, or sent by another client.
    #[error("the request is not in flight")]
    NotInFlight,
    /// Events that the caller asked for wait, as many as a client keeps, and the call would have to read on. Take them with
    /// [`FrameClient::next_event`](super::blocking::FrameClient::next_event), then wait again; the connection goes on.
    #[error("{bytes} bytes of events wait to be taken, at most {MAX_WAITING_EVENT_BYTES} are kept")]
    TooManyEvents {
        /// Number of bytes that wait.
        bytes: usize,
    },
    /// Answers to other requests wait, as many as a client keeps, and the call would have to read on. Claim some with
    /// [`FrameClient::wait`](super::blocking::FrameClient::wait), then wait again; the connection goes on.
    #[error("{bytes} bytes of answers to other requests wait to be claimed")]
    TooManyResponses {
        /// Number of bytes that wait.
        bytes: usize,
    },
    /// An earlier error ended the connection.
    #[error("the connection was ended by an earlier error")]
    Dead,
}

impl FrameClientError {
    /// Returns whether the daemon may have run the request, as far as this side can tell. A request that has certainly
    /// not run can be sent again, whatever it does.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Disabled | Self::Connect(_) | Self::Request(_) => false,
            Self::Refused(refusal) => refusal.may_have_run(),
            Self::Stream(_)
            | Self::Connection(_)
            | Self::Closed
            | Self::TimedOut { .. }
            | Self::NotInFlight
            | Self::TooManyEvents { .. }
            | Self::TooManyResponses { .. }
            | Self::Dead => true,
        }
    }
}

/// A daemon that is gone is one condition, whether it had read everything (the end of the stream), had not (a reset),
/// or was written to (a broken pipe).
pub(in super::super) fn stream_error(error: io::Error) -> FrameClientError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => FrameClientError::Closed,
        _ => FrameClientError::Stream(Arc::new(error)),
    }
}
