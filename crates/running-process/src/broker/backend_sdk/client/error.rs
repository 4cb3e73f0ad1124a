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
    /// There is no connection to the endpoint.
    #[error("no connection to the daemon")]
    Connect(#[from] ConnectError),
    /// The request does not fit a frame. Nothing was sent, and the connection goes on.
    #[error("the request cannot be sent")]
    Request(#[source] Arc<FramingError>),
    /// The request has more descriptors than the daemon takes with one frame: none, if it is one of a version that does not know them, or
    /// on Windows. Nothing was sent, and the connection goes on.
    #[error("the request has {count} descriptors, the daemon takes at most {limit}")]
    DescriptorsNotTaken {
        /// The number of descriptors of the request.
        count: usize,
        /// The most that the daemon takes.
        limit: usize,
    },
    /// The system does not send the descriptors of the request: this user has too many on their way, in sockets that were not read yet.
    /// Nothing was sent, and the connection goes on.
    #[error("the descriptors of the request cannot be sent")]
    DescriptorsNotSent(#[source] Arc<io::Error>),
    /// The reason why the daemon does not serve the request. The connection goes on.
    #[error("the daemon refused the request")]
    Refused(#[source] Refusal),
    /// The connection failed.
    #[error("the connection failed")]
    Stream(#[source] Arc<io::Error>),
    /// The daemon broke the rules.
    #[error("the connection cannot be trusted any more")]
    Connection(#[from] ClientConnectionError),
    /// The daemon ended the connection. It may have run the requests in flight.
    #[error("the daemon closed the connection before it answered")]
    Closed,
    /// The daemon ended the connection before the whole request was written, so it has not run it.
    #[error("the daemon closed the connection before it had received the request")]
    NotReceived,
    /// The deadline passed before the response. The request was cancelled; the daemon may have run it.
    #[error("no answer within {timeout:?}")]
    TimedOut {
        /// The timeout that applied.
        timeout: Duration,
    },
    /// The request has its response already, was cancelled, or was sent by another client.
    #[error("the request is not in flight")]
    NotInFlight,
    /// The call would have to read on, and the client keeps no more events. Take some with
    /// [`FrameClient::next_event`](super::blocking::FrameClient::next_event), then wait again. The connection goes on.
    #[error("{bytes} bytes of events wait to be taken, at most {MAX_WAITING_EVENT_BYTES} are kept")]
    TooManyEvents {
        /// The number of bytes that wait.
        bytes: usize,
    },
    /// The call would have to read on, and the client keeps no more responses to other requests. Take some with
    /// [`FrameClient::wait`](super::blocking::FrameClient::wait), then wait again. The connection goes on.
    #[error("{bytes} bytes of responses to other requests wait to be taken")]
    TooManyResponses {
        /// The number of bytes that wait.
        bytes: usize,
    },
    /// An earlier error ended the connection. Nothing was sent.
    #[error("the connection was ended by an earlier error")]
    Dead,
}

impl FrameClientError {
    /// Returns whether the daemon may have run the request, as far as this side can tell. A request that has certainly
    /// not run can be sent again, whatever it does.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Disabled
            | Self::Connect(_)
            | Self::Request(_)
            | Self::DescriptorsNotTaken { .. }
            | Self::DescriptorsNotSent(_)
            | Self::NotReceived
            | Self::Dead => false,
            Self::Refused(refusal) => refusal.may_have_run(),
            Self::Stream(_)
            | Self::Connection(_)
            | Self::Closed
            | Self::TimedOut { .. }
            | Self::NotInFlight
            | Self::TooManyEvents { .. }
            | Self::TooManyResponses { .. } => true,
        }
    }

    /// Returns the error of a request of which nothing was sent when `self` ended its connection.
    pub(super) fn of_unsent(self) -> Self {
        match self {
            Self::Closed => Self::NotReceived,
            other => other,
        }
    }
}

/// Returns the error for a failed read or write. A daemon that has closed the connection is one condition, although the system
/// tells it in several ways: end of stream, reset and broken pipe.
pub(in super::super) fn stream_error(error: io::Error) -> FrameClientError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => FrameClientError::Closed,
        _ => FrameClientError::Stream(Arc::new(error)),
    }
}
