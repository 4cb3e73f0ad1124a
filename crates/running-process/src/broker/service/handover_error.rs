//! Reasons why a daemon is not handed over.

use crate::transport::BindError;
use std::io;

/// The reason why a process that was started as the successor of a daemon did not get its endpoint. The daemon goes on, unless it
/// has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The daemon that runs does not listen at the socket for handovers, or cannot be reached there.
    #[error("the daemon that runs takes no requests to hand its endpoint over")]
    NotReached(#[source] io::Error),
    /// Another process than the daemon in the identity file listens at the socket for handovers.
    #[error("process {found} listens for handovers, and the identity file names {}", expected.map_or_else(|| "no daemon".to_owned(), |pid| format!("process {pid}")))]
    OtherProcess {
        /// The process that listens.
        found: u32,
        /// The process in the identity file; `None` if it names none that runs.
        expected: Option<u32>,
    },
    /// The daemon keeps its endpoint.
    #[error("the daemon that runs refused: {reason}")]
    Refused {
        /// The daemon's reason.
        reason: String,
    },
    /// The daemon ended the connection, and goes on.
    #[error("the daemon that runs ended the handover")]
    Ended,
    /// The daemon has not answered within the service's start timeout.
    #[error("the daemon that runs did not hand its endpoint over in time")]
    TimedOut,
    /// The lock or the socket that the daemon passed is not that of the service.
    #[error("what the daemon that runs has passed cannot be used")]
    Endpoint(#[from] BindError),
    /// The connection to the daemon failed, or something else than a message of this protocol came.
    #[error("the connection to the daemon that runs failed")]
    Connection(#[from] io::Error),
}
