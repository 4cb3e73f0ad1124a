//! The errors that end a server.

use super::callback::Callback;
use crate::broker::backend_lifecycle::identity::IdentityError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The reason for which a server could not start, or ended with a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The identity of this process could not be made.
    #[error("this process cannot identify itself")]
    Identity(#[from] IdentityError),
    /// The identity file could not be written.
    #[error("the identity file {} cannot be written", path.display())]
    IdentityFile {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The server was identified, and must not be published: the process that hands its endpoint over does not wait for it any
    /// more.
    #[error("the server cannot be published")]
    NotPublished(#[source] io::Error),
    /// The system gives the server no thread, no descriptor or no memory for its start.
    #[error("the system does not give the server what it needs to start")]
    Start(#[source] io::Error),
    /// Connections cannot be accepted any more.
    #[error("connections cannot be accepted")]
    Accept(#[source] io::Error),
    /// The files of a [service](crate::broker::service) were removed and could not be made again, so the daemon ended. One whose place
    /// another process has taken ends without an error.
    #[error("the files of the daemon at {path:?} cannot be made again")]
    NotRepublished {
        /// The path of the socket.
        path: String,
        /// The reason, a [`BindError`](crate::broker::backend_sdk::BindError) or an error of the system.
        source: Arc<io::Error>,
    },
    /// The server was stopped, and connections or closures of the daemon were still at work when the drain timed out. Their
    /// threads go on until the code returns or the process ends.
    #[error("still at work {} ms after the stop: {}", waited.as_millis(), Late(*connections, callbacks))]
    DrainTimedOut {
        /// Number of connections with handlers of requests or of the legacy wire that still run.
        connections: usize,
        /// Closures of the daemon that have not returned: [`Callback::OnReady`], also while this process is still being
        /// identified, and [`Callback::Observe`], if it was told of something by the thread that accepts.
        callbacks: Vec<Callback>,
        /// The time for which the server waited for them.
        waited: Duration,
    },
}

impl ServerError {
    /// Returns the result of a server that waited as long for its drain. So many `connections` were late; the registration or the
    /// accepting was if it has no result.
    pub(super) fn of_end(
        connections: usize,
        registered: Option<Result<(), Self>>,
        accepted: Option<io::Result<()>>,
        waited: Duration,
    ) -> Result<(), Self> {
        let mut callbacks = Vec::new();
        callbacks.extend(registered.is_none().then_some(Callback::OnReady));
        callbacks.extend(accepted.is_none().then_some(Callback::Observe));
        registered.unwrap_or(Ok(()))?;
        if connections > 0 || !callbacks.is_empty() {
            return Err(Self::DrainTimedOut { connections, callbacks, waited });
        }
        accepted.unwrap_or(Ok(())).map_err(Self::Accept)
    }
}

/// The connections and closures that were late, in words.
struct Late<'a>(usize, &'a [Callback]);

impl fmt::Display for Late<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(connections, callbacks) = *self;
        let connections = match connections {
            0 => None,
            1 => Some("1 connection".to_owned()),
            several => Some(format!("{several} connections")),
        };
        let late: Vec<_> = connections.into_iter().chain(callbacks.iter().map(Callback::to_string)).collect();
        formatter.write_str(&late.join(", "))
    }
}
