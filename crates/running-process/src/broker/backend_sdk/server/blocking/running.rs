//! A blocking server that serves.

use super::accept;
use super::background::Background;
use super::conn::Context;
use crate::broker::backend_sdk::server::callback::Callback;
use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::error::ServerError;
use crate::broker::backend_sdk::server::registration::RegistrationGuard;
use crate::broker::backend_sdk::server::shutdown::Shutdown;
use crate::broker::backend_sdk::server::stop::ServerStop;
use crate::broker::backend_sdk::server::sync;
use crate::sys::OnTermination;
use crate::transport::{LocalListener, LocalStream};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A [`Server`](super::Server) that serves, until it is [stopped](Self::stop_handle). Dropping it stops it, without waiting.
pub struct RunningServer {
    pub(super) context: Arc<Context>,
    pub(super) listener: Arc<Mutex<Option<LocalListener>>>,
    pub(super) stop: ServerStop,
    pub(super) stopped: mpsc::Receiver<()>,
    pub(super) registration: Option<RegistrationGuard>,
    pub(super) registering: Background<Result<(), ServerError>>,
    pub(super) accepting: Option<Background<io::Result<()>>>,
    pub(super) drain_timeout: Duration,
    pub(super) _signals: Option<OnTermination>,
}

impl RunningServer {
    /// Serves a connection that the caller has accepted, with the limits, the drain and the statistics of this server. Returns
    /// at once, unless all slots are taken: then it blocks until the connection has one. A server that is stopped closes
    /// the connection.
    ///
    /// # Errors
    ///
    /// The system does not say who made the connection.
    pub fn serve_connection(&self, stream: impl Into<LocalStream>) -> Result<(), ServeError> {
        accept::serve(&self.context, sync::shared(stream.into()))
    }

    /// Returns a handle that stops the server from anywhere.
    #[must_use]
    pub fn stop_handle(&self) -> ServerStop {
        self.stop.clone()
    }

    /// Waits until the server is stopped. Then it accepts no more connections, answers what has been received, and removes the
    /// identity file and, if it is the server's own, the socket.
    ///
    /// # Errors
    ///
    /// The server could not identify this process, write its identity file or accept any more, or something was still at work
    /// [`ServerConfig::drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout) after it was stopped:
    /// [`ServerError::DrainTimedOut`] says what. This returns within half a second after that, whatever code of the daemon
    /// does not.
    pub fn wait(mut self) -> Result<(), ServerError> {
        // The sender is dropped with the effect of the stop, which has happened then.
        let _ = self.stopped.recv();
        let now = Instant::now();
        let deadline = now.checked_add(self.drain_timeout);
        // Only while the socket is owned can the identity file be no other daemon's.
        self.registration.take();
        drop(self.listener.lock().unwrap_or_else(PoisonError::into_inner).take());
        let connections = self.context.shut_down(Shutdown::begin(now, self.drain_timeout));
        let accepted = match &self.accepting {
            Some(accepting) => accepting.wait_until(deadline),
            None => Some(Ok(())),
        };
        let registered = self.registering.wait_until(deadline);
        let mut callbacks = Vec::new();
        callbacks.extend(registered.is_none().then_some(Callback::OnReady));
        callbacks.extend(accepted.is_none().then_some(Callback::Observe));
        registered.unwrap_or(Ok(()))?;
        if connections > 0 || !callbacks.is_empty() {
            return Err(ServerError::DrainTimedOut { connections, callbacks, waited: self.drain_timeout });
        }
        accepted.unwrap_or(Ok(())).map_err(ServerError::Accept)
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RunningServer")
            .field("open", &self.context.table().len())
            .finish_non_exhaustive()
    }
}
