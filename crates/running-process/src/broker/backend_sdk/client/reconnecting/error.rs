use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::backend_sdk::{ConnectError, FrameClientError};
use crate::broker::protocol::FramingError;
use std::io;
use std::sync::Arc;

/// Why a [`ReconnectingClient`](super::ReconnectingClient) has no response.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconnectError {
    /// There is no connection to a daemon that proves itself. Nothing was sent.
    #[error("no connection to a proven daemon, last attempt of {attempts}")]
    NotConnected {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt showed.
        source: Arc<NoDaemon>,
    },
    /// The deadline passed before there was a connection. Nothing was sent.
    #[error("no connection to a proven daemon before the deadline")]
    NotInTime,
    /// The connection took the request, and it is not sent again.
    #[error("the request has no response")]
    Request(#[source] FrameClientError),
}

impl ReconnectError {
    /// Whether a daemon may have run the request. If not, it can be sent again, whatever it does.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::NotConnected { .. } | Self::NotInTime => false,
            Self::Request(error) => error.may_have_run(),
        }
    }
}

/// Why an attempt to connect failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoDaemon {
    /// There is no record: no daemon runs.
    #[error("there is no record of a daemon")]
    NoRecord,
    /// There is a record, and it is not to be trusted or cannot be read.
    #[error("the record cannot be taken")]
    Record(#[source] io::Error),
    /// The daemon of the record did not prove itself.
    #[error("the daemon of the record is not usable")]
    Probe(#[source] ProbeError),
    /// It did, and the runtime did not take the connection.
    #[error("the connection cannot be used")]
    Client(#[source] FrameClientError),
    /// It did, and ended the connection before that took the request.
    #[error("the daemon closed the connection at once")]
    Ended,
}

impl NoDaemon {
    /// Whether another attempt can go better with the same record: the daemon is ending, starting or busy.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoRecord | Self::Ended => true,
            Self::Record(_) | Self::Client(_) => false,
            Self::Probe(error) => matches!(
                error,
                ProbeError::OtherBoot { .. }
                    | ProbeError::Gone { .. }
                    | ProbeError::ReusedPid { .. }
                    | ProbeError::TimedOut
                    | ProbeError::Closed
                    | ProbeError::Framing(FramingError::UnexpectedEof { .. })
                    | ProbeError::Connect(
                        ConnectError::NotFound { .. }
                            | ConnectError::Refused { .. }
                            | ConnectError::BacklogFull { .. }
                    )
            ),
        }
    }
}
