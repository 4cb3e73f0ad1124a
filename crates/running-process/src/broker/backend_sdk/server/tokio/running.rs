//! A server that runs.

use super::accept::{accept, serve_waiting};
use super::alarm;
use super::conn_driver;
use super::context::ServerContext;
use super::legacy::Legacy;
use super::request::AsyncHandler;
use crate::broker::backend_sdk::server::idle_exit::BACKLOG_TIMEOUT;
use crate::broker::backend_sdk::server::publication::Publication;
use crate::broker::backend_sdk::{
    LocalListener, PeerCredentials, Phase, RegistrationGuard, ServerBuilder, ServerError, ServerStop,
};
use crate::broker::runtime_clock::now;
use crate::sys::OnTermination;
use crate::sys::background::Background;
use crate::transport::{AsyncListener, ServedIo};
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// An [`AsyncServer`](super::AsyncServer) that was [started](super::AsyncServer::start). It ends at once when this is dropped.
///
/// ```
/// # #[cfg(unix)] {
/// use running_process::broker::backend_sdk::{AsyncFrameClient, AsyncServer};
/// use running_process::Endpoint;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let directory = tempfile::tempdir()?;
/// let socket = directory.path().join("socket").into_os_string().into_string().unwrap();
/// let endpoint = Endpoint::unix_socket("shout", socket)?;
/// let server = AsyncServer::bind(endpoint.clone())?
///     .serve(0xF00D, |request| async move { Ok(request.payload().to_ascii_uppercase()) })
///     .start()?;
/// let (stop, served) = (server.stop_handle(), tokio::spawn(server.wait())); // connections are accepted in `wait`
///
/// let client = AsyncFrameClient::connect(&endpoint).await?;
/// assert_eq!(client.request(0xF00D, b"ping").await?.payload, b"PING");
/// stop.stop();
/// served.await??;
/// # Ok::<_, Box<dyn std::error::Error>>(()) })?;
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct RunningAsyncServer {
    context: Arc<ServerContext>,
    stop: ServerStop,
    /// Dropped before the listener.
    guard: Option<RegistrationGuard>,
    listener: Option<AsyncListener>,
    /// The listener is another process's until the server is registered.
    is_handed_over: bool,
    publication: Publication,
    registered: Background<Result<(), ServerError>>,
    _signals: Option<OnTermination>,
}

impl RunningAsyncServer {
    pub(super) fn start(
        listener: Option<LocalListener>,
        mut builder: ServerBuilder<AsyncHandler>,
        legacy: Legacy,
    ) -> Result<Self, ServerError> {
        let (stop, signals) = (builder.stop.clone(), builder.signals.take());
        let idle_exit = builder.idle_exit;
        let (policy, registration) = builder.start(now)?;
        let (guard, publication) = (registration.guard(), registration.publication());
        let context = Arc::new(ServerContext::new(policy, legacy, idle_exit));
        let is_handed_over = listener.as_ref().is_some_and(LocalListener::is_handed_over);
        let listener = listener.map(|mut listener| {
            publication.watch(&mut listener, &context.policy);
            AsyncListener::new(listener)
        });
        let listener = listener.transpose().map_err(ServerError::Start)?;
        let registering = Arc::clone(&context);
        let registered = Background::spawn({
            let stop = stop.clone();
            move || registration.run(&stop, &registering.policy, || registering.registered())
        });
        let registered = registered.map_err(ServerError::Start)?;
        let (stopped, ending) = (Arc::clone(&context), stop.clone());
        stop.when_stopped(move || stopped.enter(Some(ending.phase())));
        let guard = Some(guard);
        Ok(Self {
            context,
            stop,
            guard,
            listener,
            is_handed_over,
            publication,
            registered,
            _signals: signals,
        })
    }

    /// Serves a connection that the caller accepted and that `peer` made, until it ends. The limits, timeouts, statistics and the
    /// end of the server are those of every connection. The future does not borrow the server, so a task can have it; if it is
    /// dropped, the connection ends at once.
    ///
    /// While no slot is free for one more connection, it waits for one. Once the server is stopped, it closes the connection; a
    /// server that was handed over serves it.
    /// It ends with the server, when the connection has drained.
    ///
    /// A stream of the caller's differs from a socket of the server in two ways. Its end does not show whether the peer still reads,
    /// so the requests of a peer that is gone are cancelled only once a write fails. After a stop, 50 ms without a byte count
    /// as the end of the input.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled outside a tokio runtime that drives time.
    pub fn serve_connection<T>(
        &self,
        connection: T,
        peer: PeerCredentials,
    ) -> impl Future<Output = ()> + Send + use<T>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let context = Arc::clone(&self.context);
        async move {
            if let Some(open) = context.open(peer, Phase::HandedOver).await {
                conn_driver::serve(open, ServedIo::new(connection)).await;
            }
        }
    }

    /// Returns a handle that stops the server from anywhere.
    #[must_use]
    pub fn stop_handle(&self) -> ServerStop {
        self.stop.clone()
    }

    /// Accepts connections, if the server has a listener, until the server is stopped or has been
    /// [idle](super::AsyncServer::idle_exit) for long enough. Then serves the connections that wait already, answers what has been
    /// received, and removes the identity file and, if it is the server's own, the socket. If the future is dropped instead, all
    /// of it ends at once.
    ///
    /// After [`ServerStop::hand_over`] it serves the open connections on, and ends with the last one.
    ///
    /// # Errors
    ///
    /// The server cannot identify this process, write its identity file, make its files again or accept any more, or something
    /// was still at work
    /// [`drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout) after it was stopped:
    /// [`ServerError::DrainTimedOut`] says what. This returns within half a second after that, unless all threads of the runtime,
    /// or the task that polls this, are blocked by code of the daemon. The daemon of a service first ends a handover under way, and
    /// at its end waits up to 5 s for the hook [`on_release`](super::AsyncServer::on_release) or
    /// [`on_resume`](super::AsyncServer::on_resume) if it runs.
    pub async fn wait(mut self) -> Result<(), ServerError> {
        if self.is_handed_over {
            self.context
                .until_stopped(self.context.wait_until(|context| context.policy.is_identified()))
                .await;
        }
        let accepted = match &mut self.listener {
            None => self.context.until_ended(pending()).await.map_or(Ok(None), Err),
            listener => accept(&self.context, listener, &self.publication, &self.stop).await,
        };
        let is_idle = accepted.is_ok() && !self.context.is_stopped();
        if let Some(guard) = self.guard.take() {
            self.beside(move || drop(guard)).await;
        }
        let listener = self.listener.take().and_then(AsyncListener::into_inner);
        let listener = listener.filter(|listener| self.context.policy.may_accept(listener));
        let (first, accepted) = accepted.map_or_else(|error| (None, Err(error)), |first| (first, Ok(())));
        // After an error of the listener.
        if !is_idle && self.stop.phase() == Phase::Serving {
            self.stop.stop();
        }
        let waited = self.context.policy.config.drain_timeout;
        let mut begin = now();
        let deadline = begin.checked_add(if is_idle { BACKLOG_TIMEOUT } else { waited });
        listener.iter().for_each(LocalListener::close);
        let waiting = serve_waiting(&self.context, first, listener.as_ref(), &self.publication);
        alarm::before(deadline, waiting).await;
        if is_idle {
            alarm::before(deadline, self.context.wait_until(|context| context.open_connections() == 0)).await;
            self.stop.stop();
            begin = now();
        }
        // The name of a server that was stopped is free for the next one while this one drains.
        let listener = listener.filter(|_| is_idle);
        let connections = self.context.drain(begin, &self.stop).await;
        let registered = alarm::before(begin.checked_add(waited), &mut self.registered).await;
        drop(listener);
        if connections == 0 {
            let context = Arc::clone(&self.context);
            self.beside(move || context.policy.ended()).await;
        }
        ServerError::of_end(connections, registered, Some(accepted), waited)
            .and_then(|()| self.publication.end())
    }

    /// Runs `end`, which may block if the server is the daemon of a service: then on a thread beside the runtime.
    async fn beside(&self, end: impl FnOnce() + Send + 'static) {
        if self.publication.lifecycle.is_none() {
            return end();
        }
        // Without a thread `end` is dropped here, and what it owns ends by that.
        if let Ok(ended) = Background::spawn(end) {
            let _panicked = ended.outcome().await;
        }
    }

    /// Stops the server and waits for its end.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub async fn shutdown(self) -> Result<(), ServerError> {
        self.stop.stop();
        self.wait().await
    }
}

impl Drop for RunningAsyncServer {
    fn drop(&mut self) {
        self.stop.stop();
        self.context.enter(None);
    }
}

impl fmt::Debug for RunningAsyncServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RunningAsyncServer")
            .field("path", &self.publication.path)
            .finish_non_exhaustive()
    }
}
