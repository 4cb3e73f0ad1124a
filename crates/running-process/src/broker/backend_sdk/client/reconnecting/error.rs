use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::backend_sdk::{ConnectError, FrameClientError};
use crate::broker::protocol::FramingError;
use std::io;
use std::sync::Arc;

/// The reason why a [`ReconnectingClient`](super::ReconnectingClient) has no response.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconnectError {
    /// There is no connection to a daemon that proves itself. Nothing was sent.
    #[error("no connection to a proven daemon, last attempt of {attempts}")]
    NotConnected {
        /// The number of attempts.
        attempts: u32,
        /// The failure of the last attempt.
        source: Arc<ConnectFailure>,
    },
    /// The deadline passed before there was a connection. Nothing was sent.
    #[error("no connection to a proven daemon before the deadline")]
    NotInTime,
    /// The connection took the request, and it is not sent again.
    #[error("the request has no response")]
    Request(#[source] FrameClientError),
}

impl ReconnectError {
    /// Returns whether a daemon may have run the request. A request that has not run can be sent again, whatever it does.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::NotConnected { .. } | Self::NotInTime => false,
            Self::Request(error) => error.may_have_run(),
        }
    }
}

/// The reason why an attempt to connect failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// There is no identity file: no daemon runs.
    #[error("there is no identity file of a daemon")]
    NoIdentityFile,
    /// The identity file cannot be read or is not trustworthy.
    #[error("the identity file is not usable")]
    IdentityFile(#[source] io::Error),
    /// The daemon of the identity file did not prove itself.
    #[error("the daemon of the identity file is not usable")]
    Probe(#[source] ProbeError),
    /// The daemon proved itself, and the runtime did not take the connection.
    #[error("the connection cannot be used")]
    Client(#[source] FrameClientError),
    /// The service has no daemon, and none could be started. The source is an
    /// [`EnsureError`](crate::broker::service::EnsureError).
    #[error("the service has no daemon")]
    Service(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The daemon proved itself, and ended the connection before it took the request.
    #[error("the daemon closed the connection at once")]
    Ended,
}

impl ConnectFailure {
    /// Returns whether another process than the one of the identity answered.
    pub(super) fn names_another_process(&self) -> bool {
        let Self::Probe(error) = self else { return false };
        matches!(
            error,
            ProbeError::Impostor { .. }
                | ProbeError::WrongImage { .. }
                | ProbeError::OtherImage { .. }
                | ProbeError::Mismatch(_)
        )
    }

    /// Returns whether another attempt may succeed with the same identity: the daemon is ending, starting or busy.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoIdentityFile | Self::Ended => true,
            Self::IdentityFile(_) | Self::Client(_) | Self::Service(_) => false,
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
