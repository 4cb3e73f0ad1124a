//! A blocking server that serves.

use super::accept;
use super::background::Background;
use super::conn::Context;
use crate::broker::backend_sdk::server::callback;
use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::error::ServerError;
use crate::broker::backend_sdk::server::idle_exit::BACKLOG_TIMEOUT;
use crate::broker::backend_sdk::server::phase::Phase;
use crate::broker::backend_sdk::server::publication::Publication;
use crate::broker::backend_sdk::server::registration::RegistrationGuard;
use crate::broker::backend_sdk::server::shutdown::Shutdown;
use crate::broker::backend_sdk::server::stop::ServerStop;
use crate::broker::backend_sdk::server::sync;
use crate::sys::OnTermination;
use crate::transport::{Accepted, LocalListener, LocalStream};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A [`Server`](super::Server) that serves, until it is [stopped](Self::stop_handle). Dropping it stops it, without waiting: a thread
/// ends the connections, within the drain timeout.
///
/// ```
/// # #[cfg(unix)] {
/// use running_process::{Endpoint, FrameClient, Server};
///
/// let directory = tempfile::tempdir()?;
/// let socket = directory.path().join("socket").into_os_string().into_string().unwrap();
/// let endpoint = Endpoint::unix_socket("shout", socket)?;
/// let server = Server::bind(endpoint.clone())?
///     .serve(0xF00D, |request| Ok(request.payload().to_ascii_uppercase()))
///     .start()?; // clients connect from now on, and this thread goes on
///
/// assert_eq!(FrameClient::connect(&endpoint)?.request(0xF00D, b"ping")?.payload, b"PING");
/// server.stop_handle().stop();
/// server.wait()?; // the connections have ended, and the socket is removed
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct RunningServer {
    pub(super) context: Arc<Context>,
    /// Dropped before the listener.
    pub(super) registration: Option<RegistrationGuard>,
    pub(super) listener: Arc<Mutex<Option<LocalListener>>>,
    pub(super) publication: Publication,
    pub(super) registering: Background<Result<(), ServerError>>,
    pub(super) accepting: Option<Background<io::Result<()>>>,
    /// The result of accepting, once that has ended.
    pub(super) accepted: Option<io::Result<()>>,
    pub(super) _signals: Option<OnTermination>,
}

impl RunningServer {
    /// Serves a connection that the caller has accepted, with the limits, the drain and the statistics of this server. Returns
    /// at once, unless all slots are taken: then it blocks until the connection has one. A server that is stopped closes
    /// the connection; one that was handed over serves it.
    ///
    /// # Errors
    ///
    /// The system does not say who made the connection.
    pub fn serve_connection(&self, stream: impl Into<LocalStream>) -> Result<(), ServeError> {
        accept::serve(&self.context, sync::shared(stream.into()), Phase::HandedOver)
    }

    /// Returns a handle that stops the server from anywhere.
    #[must_use]
    pub fn stop_handle(&self) -> ServerStop {
        self.context.stop.clone()
    }

    /// Waits until the server is stopped, or has been [idle](super::Server::idle_exit) for long enough. Then it accepts no more
    /// connections than those that wait already, answers what has been received, and removes the identity file and, if it is the
    /// server's own, the socket.
    ///
    /// After [`ServerStop::hand_over`] it serves the open connections on, and ends with the last one.
    ///
    /// # Errors
    ///
    /// The server could not identify this process, write its identity file, make its files again or accept any more, or something
    /// was still at work
    /// [`ServerConfig::drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout) after it was stopped:
    /// [`ServerError::DrainTimedOut`] says what. This returns within half a second after that, whatever code of the daemon
    /// does not. The daemon of a service first ends a handover under way, and at its end waits up to 5 s for the hook
    /// [`on_release`](super::Server::on_release) or [`on_resume`](super::Server::on_resume) if it runs.
    pub fn wait(mut self) -> Result<(), ServerError> {
        let is_idle = self.context.wait_for_end();
        if is_idle {
            // The accepting thread gives the listener back.
            self.context.signal.stop();
        }
        // Only while the socket is owned can the identity file be no other daemon's.
        self.registration.take();
        let listener = lock(&self.listener).take().map(Arc::new);
        let listener = listener.filter(|listener| self.context.policy.may_accept(listener));
        if is_idle {
            let deadline = Instant::now().checked_add(BACKLOG_TIMEOUT);
            self.serve_waiting(listener.as_ref(), deadline);
            self.accepted_until(deadline);
            self.context.wait_closed(deadline, |open| open == 0);
            self.context.stop.stop();
        }
        let (now, drain_timeout) = (Instant::now(), self.context.policy.config.drain_timeout);
        let deadline = now.checked_add(drain_timeout);
        if !is_idle {
            self.serve_waiting(listener.as_ref(), deadline);
        }
        // The thread may have a connection to serve.
        self.accepted_until(deadline);
        // The name of a server that was stopped is free for the next one while this one drains.
        let listener = listener.filter(|_| is_idle);
        let connections = self.context.shut_down(Shutdown::begin(now, drain_timeout, &self.context.stop));
        self.accepted_until(deadline);
        let registered = self.registering.wait_until(deadline);
        drop(listener);
        if connections == 0 {
            self.context.policy.ended();
        }
        ServerError::of_end(connections, registered, self.accepted.take(), drain_timeout)?;
        self.publication.end()
    }

    /// Closes the listener, and serves the connections that wait, until `deadline`.
    fn serve_waiting(&self, listener: Option<&Arc<LocalListener>>, deadline: Option<Instant>) {
        let Some(listener) = listener else { return };
        listener.close();
        let first = listener.accept_waiting();
        if matches!(first, Ok(None)) {
            return;
        }
        // The thread that waits runs none of the daemon's code.
        let (context, waiting) = (Arc::clone(&self.context), Arc::clone(listener));
        let (publication, mut first) = (self.publication.clone(), Some(first));
        let serving = Background::spawn(move || {
            let next = || first.take().unwrap_or_else(|| waiting.accept_waiting()).map(Accepted::waiting);
            accept::accept(&context, &publication, &Mutex::default(), next)
        });
        if serving.ok().and_then(|serving| serving.wait_until(deadline)).is_none() {
            listener.end();
        }
    }

    /// Waits until the accepting thread has ended, but no longer than until `deadline`.
    fn accepted_until(&mut self, deadline: Option<Instant>) {
        if self.accepted.is_none() {
            self.accepted = match &self.accepting {
                Some(accepting) => accepting.wait_until(deadline),
                None => Some(Ok(())),
            };
        }
    }
}

pub(super) fn lock(listener: &Mutex<Option<LocalListener>>) -> MutexGuard<'_, Option<LocalListener>> {
    listener.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        let context = Arc::clone(&self.context);
        context.stop.stop();
        if context.phase.get().is_none() {
            // It was waited for, and has ended.
            return;
        }
        let (now, drain_timeout) = (Instant::now(), context.policy.config.drain_timeout);
        let (accepting, shutdown) =
            (self.accepting.take(), Shutdown::begin(now, drain_timeout, &context.stop));
        let drains = move || {
            // The thread may have a connection to serve.
            let accepted =
                || accepting.and_then(|accepting| accepting.wait_until(now.checked_add(drain_timeout)));
            let _panicked = callback::run(|| drop(accepted()));
            let _late = context.shut_down(shutdown);
        };
        if self.context.pool.submit(Box::new(drains)).is_err() {
            // No thread can wait for the connections.
            self.context.end();
        }
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
