//! A server that runs.

use super::accept::accept;
use super::alarm;
use super::conn_driver;
use super::context::ServerContext;
use super::legacy::LegacyHandler;
use super::request::AsyncHandler;
use crate::broker::backend_sdk::{
    Callback, LocalListener, PeerCredentials, Phase, RegistrationGuard, ServerBuilder, ServerError,
    ServerStop,
};
use crate::broker::runtime_clock::now;
use crate::sys::OnTermination;
use crate::transport::{AsyncListener, ServedIo};
use std::fmt;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// An [`AsyncServer`](super::AsyncServer) that was [started](super::AsyncServer::start). It ends at once when this is dropped.
pub struct RunningAsyncServer {
    context: Arc<ServerContext>,
    stop: ServerStop,
    /// Dropped before the listener.
    guard: Option<RegistrationGuard>,
    listener: Option<AsyncListener>,
    /// The path of the endpoint.
    path: String,
    registered: Registered,
    _signals: Option<OnTermination>,
}

/// The result of the registration, or its panic.
type Registered = oneshot::Receiver<thread::Result<Result<(), ServerError>>>;

impl RunningAsyncServer {
    pub(super) fn start(
        listener: Option<LocalListener>,
        mut builder: ServerBuilder<AsyncHandler>,
        legacy: Option<LegacyHandler>,
    ) -> Result<Self, ServerError> {
        let (stop, signals) = (builder.stop.clone(), builder.signals.take());
        let path = builder.endpoint.path.clone();
        let (policy, registration) = builder.start(now)?;
        let guard = registration.guard();
        let context = Arc::new(ServerContext::new(policy, legacy));
        let listener = listener.map(|mut listener| {
            listener.watch_name();
            AsyncListener::new(listener)
        });
        let listener = listener.transpose().map_err(ServerError::Accept)?;
        let (result, registered) = oneshot::channel();
        let register = {
            let (stop, context, runtime) = (stop.clone(), Arc::clone(&context), Handle::current());
            move || {
                let _runtime = runtime.enter();
                let register = || registration.run(&stop, &context.policy, || context.wake_all());
                // The receiver may be gone already.
                let _ = result.send(catch_unwind(AssertUnwindSafe(register)));
            }
        };
        // This is no job for `spawn_blocking`: a runtime that ends waits for its jobs, and it panics if it cannot spawn a
        // thread.
        let thread = thread::Builder::new().name("running-process".to_owned()).spawn(register);
        thread.map_err(ServerError::Accept)?;
        let stopped = Arc::clone(&context);
        stop.when_stopped(move || stopped.enter(Some(Phase::Draining)));
        let guard = Some(guard);
        Ok(Self { context, stop, guard, listener, path, registered, _signals: signals })
    }

    /// Serves a connection that the caller accepted and that `peer` made, until it ends. The limits, timeouts, statistics and the
    /// end of the server are those of every connection. The future does not borrow the server, so a task can have it; if it is
    /// dropped, the connection ends at once.
    ///
    /// While no slot is free for one more connection, it waits for one. Once the server is stopped, it closes the connection.
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
            if let Some(open) = context.open(peer).await {
                conn_driver::serve(open, ServedIo::new(connection)).await;
            }
        }
    }

    /// Returns a handle that stops the server from anywhere.
    #[must_use]
    pub fn stop_handle(&self) -> ServerStop {
        self.stop.clone()
    }

    /// Accepts connections, if the server has a listener, until the server is stopped. Then answers what has been received,
    /// and removes the identity file and, if it is the server's own, the socket. If the future is dropped instead, all of it ends
    /// at once.
    ///
    /// # Errors
    ///
    /// The server cannot identify this process, write its identity file or accept any more, or something was still at work
    /// [`drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout) after it was stopped:
    /// [`ServerError::DrainTimedOut`] says what. This returns within half a second after that, unless all threads of the runtime,
    /// or the task that polls this, are blocked by code of the daemon.
    pub async fn wait(mut self) -> Result<(), ServerError> {
        let accepted = match &mut self.listener {
            Some(listener) => accept(&self.context, listener, &self.path).await,
            None => self.context.until_stopped(pending()).await.map_or(Ok(()), Err),
        };
        self.guard = None;
        self.listener = None;
        self.stop.stop();
        let (begin, waited) = (now(), self.context.policy.config.drain_timeout);
        let connections = self.context.drain(begin).await;
        let mut callbacks = Vec::new();
        match alarm::before(begin.checked_add(waited), &mut self.registered).await {
            Some(Ok(Ok(registered))) => registered?,
            Some(Ok(Err(panic))) => resume_unwind(panic),
            Some(Err(_)) | None => callbacks.push(Callback::OnReady),
        }
        if connections > 0 || !callbacks.is_empty() {
            return Err(ServerError::DrainTimedOut { connections, callbacks, waited });
        }
        accepted.map_err(ServerError::Accept)
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
        formatter.debug_struct("RunningAsyncServer").field("path", &self.path).finish_non_exhaustive()
    }
}
