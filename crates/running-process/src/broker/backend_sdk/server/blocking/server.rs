//! The blocking server, before it serves.

use super::accept;
use super::adaptive::LatencyEstimate;
use super::background::Background;
use super::conn::Context;
use super::handler::{BlockingHandler, LegacyConnection, LegacyHandler, ServerRequest};
use super::poller::Poller;
use super::running::{self, RunningServer};
use crate::broker::backend_sdk::mux::LegacyClassification;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::builder::{ServerBuilder, builder_methods};
use crate::broker::backend_sdk::server::driver_methods::driver_methods;
use crate::broker::backend_sdk::server::error::ServerError;
use crate::broker::backend_sdk::server::handler::HandlerError;
use crate::broker::backend_sdk::server::stop::StopGuard;
use crate::broker::protocol::Endpoint;
use crate::transport::{Accepted, LocalListener, StopSignal};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A daemon's endpoint. It answers probes, serves requests, hands the legacy wire to its handler, and removes its files when it
/// ends.
///
/// ```no_run
/// # use running_process::broker::{protocol::Endpoint, backend_sdk::{LegacyClassification, Server}};
/// # use std::io::{Read, Write};
/// running_process::register_payload_protocol! { const SHOUT: u32 = 0xF00D; }
///
/// Server::bind(Endpoint::unix_socket("shout", "/run/user/1000/shout.sock")?)?
///     .identity_file("/run/user/1000/shout.json")
///     .serve(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
///     .legacy(
///         |_| LegacyClassification::NotLegacy, // no legacy message starts with the framing byte
///         |mut connection| {
///             let mut line = [0; 1024];
///             while let Ok(length @ 1..) = connection.read(&mut line) {
///                 if connection.write_all(&line[..length]).is_err() { break }
///             }
///         },
///     )
///     .stop_on_signals()?
///     .run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// One thread polls all connections, and runs handlers that have been quick so far. If one of them is slow, another thread takes
/// over the other connections. Handlers that have been slow run on a pool of threads.
///
/// # Platform-specific behavior
///
/// On Windows each connection has a thread.
pub struct Server {
    /// `None` if the daemon accepts by itself.
    listener: Option<LocalListener>,
    builder: ServerBuilder<BlockingHandler>,
    legacy: Option<LegacyHandler>,
}

impl Server {
    builder_methods!();
    driver_methods!(BlockingHandler);

    /// Returns a server for a daemon that keeps its own accept loop at `endpoint` and passes each connection to
    /// [`RunningServer::serve_connection`].
    #[must_use]
    pub fn without_listener(endpoint: Endpoint) -> Self {
        Self { listener: None, builder: ServerBuilder::new(endpoint), legacy: None }
    }

    /// Serves requests of `payload_protocol` by `handler`, whose result is the [`Payload`] of the response.
    ///
    /// A slow request delays no other, and answers are sent in the order in which they are ready. An error or a panic ends only
    /// its own request. The client learns that the handler failed, and the text only of a
    /// [`Refusal`](crate::broker::protocol::Refusal); the [observer](Self::observe) gets any other error.
    ///
    /// No lock is held while `handler` runs, and it may block.
    ///
    /// # Panics
    ///
    /// The protocol has a handler already, or its id is one that this library answers itself.
    #[must_use]
    pub fn serve<R: Into<Payload>>(
        mut self,
        payload_protocol: u32,
        handler: impl Fn(ServerRequest) -> Result<R, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        let serve = Box::new(move |request: ServerRequest| handler(request).map(R::into));
        let handler = BlockingHandler { serve, latency: LatencyEstimate::unknown() };
        self.builder = self.builder.serve(payload_protocol, Arc::new(handler));
        self
    }

    /// Hands connections of the legacy wire to `handler`, on a thread of its own. `detector` decides about connections that
    /// start with the framing byte; any other first byte is legacy if the detector does not need more bytes.
    ///
    /// `detector` runs under the lock of its connection and must not block. If it panics, its connection is ended; a panic of
    /// `handler` ends its connection as well. The observer is told of both.
    ///
    /// Without this, legacy connections are closed.
    #[must_use]
    pub fn legacy(
        mut self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(LegacyConnection) + Send + Sync + 'static,
    ) -> Self {
        self.builder = self.builder.legacy_detector(detector);
        self.legacy = Some(Box::new(handler));
        self
    }

    /// Serves until stopped: [starts](Self::start), and [waits](RunningServer::wait).
    ///
    /// # Errors
    ///
    /// Those of both.
    pub fn run(self) -> Result<(), ServerError> {
        self.start()?.wait()
    }

    /// Begins to serve, on threads of its own.
    ///
    /// It serves at once. Meanwhile this process is identified, for which its executable is read unless its digests are
    /// remembered. Then the identity file is written, and probes that came before are answered.
    ///
    /// # Errors
    ///
    /// The identity file cannot be written at its path, or the system gives no thread or no descriptor.
    pub fn start(self) -> Result<RunningServer, ServerError> {
        let Self { mut listener, mut builder, legacy } = self;
        let (signals, stop) = (builder.signals.take(), builder.stop.clone());
        let idle_exit = builder.idle_exit;
        let (policy, registration) = builder.start(Instant::now)?;
        let (guard, publication) = (registration.guard(), registration.publication());
        let poller = Poller::new().map_err(ServerError::Start)?;
        let signal = StopSignal::new().map_err(ServerError::Start)?;
        let context =
            Arc::new(Context::new(policy, legacy, poller, signal, stop.clone(), idle_exit, Context::relieve));
        if context.poller.is_some() {
            context.start_poller().map_err(ServerError::Start)?;
        }
        // The thread that waits runs none of the daemon's code, so none of it keeps that from its deadline.
        let registering = {
            let context = Arc::clone(&context);
            let register = move || registration.run(&context.stop, &context.policy, || context.registered());
            Background::spawn(register)
        };
        let registering = registering.inspect_err(|_| context.end()).map_err(ServerError::Start)?;
        let accepts = listener.is_some();
        if let Some(listener) = &mut listener {
            publication.watch(listener, &context.policy);
        }
        let listener = Arc::new(Mutex::new(listener));
        let accept = {
            let (context, publication) = (Arc::clone(&context), publication.clone());
            let listener = Arc::clone(&listener);
            move || {
                let stops = StopGuard::new(context.stop.clone());
                // It is locked only while this waits, which a stop ends. So it can be closed although the observer, which is
                // called in between, does not return.
                let next = || match &*running::lock(&listener) {
                    Some(listener) => listener.next(&context.signal),
                    None => Ok(Accepted::Stopped),
                };
                let is_free = running::lock(&listener)
                    .as_ref()
                    .is_some_and(|listener| context.policy.may_accept(listener));
                let accepted = if is_free || context.wait_identified() {
                    accept::accept(&context, &publication, &listener, next)
                } else {
                    Ok(())
                };
                accepted.inspect(|()| stops.disarm())
            }
        };
        let stopping = Arc::clone(&context);
        stop.when_stopped(move || {
            stopping.enter(stopping.stop.phase());
            stopping.signal.stop();
        });
        let mut running = RunningServer {
            context,
            listener,
            publication,
            registration: Some(guard),
            registering,
            accepting: None,
            accepted: None,
            _signals: signals,
        };
        if accepts {
            running.accepting = Some(Background::spawn(accept).map_err(ServerError::Start)?);
        }
        Ok(running)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Server").field(&self.builder).finish()
    }
}
