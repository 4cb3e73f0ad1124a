//! The configuration of a server before it runs, the same for every driver.

use super::budget::Budget;
use super::config::ServerConfig;
use super::connection_table::OVER_CAPACITY_CONNECTIONS;
use super::error::ServerError;
use super::handler::{Handler, HandlerError};
use super::handover_hooks::HandoverHooks;
use super::hooks::{Authorize, Detector, Identify, Observer, ReadyHook};
use super::idle_exit::IdleTimeouts;
use super::lifecycle::Lifecycle;
use super::peer::same_user;
use super::policy::ServerPolicy;
use super::registration::Registration;
use super::request::InlineRequest;
use super::stop::ServerStop;
use super::telemetry::Telemetry;
use super::telemetry::stats::ServerStats;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::identity_file::check_daemon_identity_path;
use crate::broker::backend_sdk::mux::{BackendEndpointMux, LegacyClassification};
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::{Endpoint, registry};
use crate::sys::OnTermination;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The configuration of a server whose concurrent handlers are of the type `H`, for a driver of your own: an event loop that
/// drives a [`ServerSession`](super::ServerSession) for each connection, as the example `own_event_loop` does. [`Server`](super::Server) and `AsyncServer` have the
/// same methods and bring their drivers.
///
/// ```
/// use running_process::Endpoint;
/// use running_process::broker::backend_sdk::ServerBuilder;
/// use std::{sync::Arc, time::Instant};
///
/// type Handler = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync; // what the driver runs beside a connection
/// let endpoint = Endpoint::unix_socket("shout", "/run/user/1000/shout.sock")?;
/// let builder = ServerBuilder::<Handler>::new(endpoint)
///     .serve(0xF00D, Arc::new(|payload: &[u8]| payload.to_ascii_uppercase()))
///     .serve_inline(0xF00E, |request| Ok(request.payload().to_vec()));
/// // Each session gets a clone of the policy. The registration identifies this process, on a thread of its own.
/// let (policy, registration) = builder.start(Instant::now)?;
/// # drop((policy, registration));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct ServerBuilder<H: ?Sized> {
    pub(super) endpoint: Endpoint,
    /// A service manager made the socket.
    inherited: bool,
    pub(super) version: Option<String>,
    pub(super) build: Option<String>,
    pub(super) identify: Option<Identify>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) idle_exit: Option<IdleTimeouts>,
    identity_file: Option<PathBuf>,
    pub(super) lifecycle: Option<Arc<dyn Lifecycle>>,
    pub(super) handover_hooks: HandoverHooks,
    handlers: BTreeMap<u32, Handler<H>>,
    pub(super) detector: Detector,
    pub(super) authorize: Authorize,
    pub(super) ready: ReadyHook,
    pub(super) observer: Observer,
    pub(super) config: ServerConfig,
    pub(super) stats: ServerStats,
    pub(super) stop: ServerStop,
    /// Stops the server on signals until it is dropped.
    pub(super) signals: Option<OnTermination>,
}

/// The methods that every server has before it runs, for a type with `builder` and `builder_mut`.
macro_rules! builder_methods {
    () => {
        /// Serves requests of `payload_protocol` inline: on the thread that reads the connection, without copying them. That is
        /// several times faster, and only for handlers that never wait. The connection is locked while `handler` runs, so
        /// until it returns no deadline passes there and no cancel is read.
        ///
        /// # Panics
        ///
        /// The protocol has a handler already, or its id is one that this library answers itself.
        #[must_use]
        pub fn serve_inline<R: Into<$crate::broker::backend_sdk::Payload>>(
            mut self,
            payload_protocol: u32,
            handler: impl Fn(
                &$crate::broker::backend_sdk::InlineRequest<'_>,
            ) -> Result<R, $crate::broker::backend_sdk::HandlerError>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            self.builder_mut().add_inline(payload_protocol, move |request| handler(request).map(R::into));
            self
        }

        /// Writes the identity file at `path` once the server runs and knows its identity, and removes it when it ends. A
        /// relative path is made absolute here, so that it stays the same if the process changes its working directory.
        #[must_use]
        pub fn identity_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.builder_mut().set_identity_file(path.into());
            self
        }

        /// Announces in the identity that the daemon ends after `timeout` without work. The daemon itself measures that time and
        /// calls [`stop`](crate::broker::backend_sdk::ServerStop::stop), unless the server measures it
        /// (`idle_exit` of a server). Default: none is announced.
        #[must_use]
        pub fn announce_idle_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.builder_mut().idle_timeout = Some(timeout);
            self
        }

        /// Sets the version of the daemon, which its identity tells: at most
        /// [`MAX_VERSION_BYTES`](crate::broker::backend_lifecycle::identity::MAX_VERSION_BYTES), without control characters; another
        /// one fails the registration. An empty one is none. Default: that of the service, or none.
        #[must_use]
        pub fn version(mut self, version: impl Into<String>) -> Self {
            self.builder_mut().version = Some(version.into());
            self
        }

        /// Sets the build of the version, such as the hash of a commit, as [`version`](Self::version) sets the version.
        #[must_use]
        pub fn build(mut self, build: impl Into<String>) -> Self {
            self.builder_mut().build = Some(build.into());
            self
        }

        /// Makes the identity by `identify`, in the place of
        /// [`current_process`](crate::broker::backend_lifecycle::identity::DaemonProcess::current_process). It gets the endpoint, and a
        /// function that returns `false` once the server has ended. It runs on a thread of its own, beside serving.
        #[must_use]
        pub fn identify_with(
            mut self,
            identify: impl FnOnce(
                $crate::broker::protocol::Endpoint,
                &(dyn Fn() -> bool + Sync),
            ) -> Result<
                $crate::broker::backend_lifecycle::identity::DaemonProcess,
                $crate::broker::backend_lifecycle::identity::IdentityError,
            > + Send
            + 'static,
        ) -> Self {
            self.builder_mut().identify = Some(Box::new(identify));
            self
        }

        /// Asks `rule` about every connection before its first request, or before its legacy wire is served. Probes are always
        /// answered. Default: the daemon's own user is served and no other.
        ///
        /// `rule` runs under the lock of its connection and must not block: until it returns, nothing else happens there. If it
        /// panics, that connection is not served.
        #[must_use]
        pub fn authorize(
            mut self,
            rule: impl Fn(
                &$crate::broker::backend_sdk::PeerCredentials,
            ) -> Result<(), $crate::broker::backend_sdk::NotAuthorized>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            self.builder_mut().authorize = Box::new(rule);
            self
        }

        /// Sets the limits and timeouts.
        #[must_use]
        pub fn config(mut self, config: $crate::broker::backend_sdk::ServerConfig) -> Self {
            self.builder_mut().config = config;
            self
        }

        /// Calls `ready` once clients can find this daemon: it serves, its identity file is written and probes are answered.
        ///
        /// `ready` has a thread of its own and may block. Once the server is stopped, it has as long to return as connections
        /// have to end; then the server ends without it. If it panics, the observer is told, and the server goes on.
        #[must_use]
        pub fn on_ready(
            mut self,
            ready: impl FnOnce(&$crate::broker::backend_lifecycle::identity::DaemonProcess) + Send + 'static,
        ) -> Self {
            self.builder_mut().ready = Box::new(ready);
            self
        }

        /// Calls `release` before the daemon of a service passes its endpoint to its successor: it gives up what only one process
        /// can have, such as a database or a port. What the successor does after its `for_service` has returned happens after
        /// `release` has returned. If `release` fails or panics, this daemon goes on, and the successor is told the reason.
        ///
        /// `release` runs on the thread that hands the endpoint over. The server accepts and serves meanwhile, and until
        /// the successor has taken over or [`on_resume`](Self::on_resume) is called. A server that is stopped drains meanwhile,
        /// and waits for `release` at its end, for up to 5 s. No other daemon gets the service's lock before `release`
        /// returns or this process ends.
        ///
        /// # Platform-specific behavior
        ///
        /// Windows hands no endpoint over.
        #[must_use]
        pub fn on_release<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
            mut self,
            release: impl FnMut() -> Result<(), E> + Send + 'static,
        ) -> Self {
            self.builder_mut().handover_hooks.set_release(release);
            self
        }

        /// Calls `resume` when the successor has ended, or was ended, before it took over: this daemon goes on, and takes back
        /// what [`on_release`](Self::on_release) gave up. It runs on the same thread, once for each `release` that succeeded, unless
        /// the daemon ends.
        #[must_use]
        pub fn on_resume(mut self, resume: impl FnMut() + Send + 'static) -> Self {
            self.builder_mut().handover_hooks.set_resume(resume);
            self
        }

        /// Tells `observer` of every error of a connection or a handler. Default: errors are only counted.
        ///
        /// `observer` runs where the error occurs, often under the lock of its connection, and must not block: until it returns
        /// nothing else happens there. No connection is accepted meanwhile if the error is one of accept(2). Write to files
        /// that may be full or closed without blocking and without panicking; `eprintln!` does both. A panic is counted
        /// (`callbacks_panicked` of [`stats`](Self::stats)) and costs nothing else.
        #[must_use]
        pub fn observe(
            self,
            observer: impl Fn(&$crate::broker::backend_sdk::ServeError) + Send + Sync + 'static,
        ) -> Self {
            self.observe_with_peer(move |error, _| observer(error))
        }

        /// Tells `observer` of errors, as [`observe`](Self::observe), and of the peer that each concerns, if any. It replaces any
        /// other observer.
        #[must_use]
        pub fn observe_with_peer(
            mut self,
            observer: impl Fn(
                &$crate::broker::backend_sdk::ServeError,
                Option<&$crate::broker::backend_sdk::PeerCredentials>,
            ) + Send
            + Sync
            + 'static,
        ) -> Self {
            self.builder_mut().observer = Box::new(observer);
            self
        }

        /// Returns the counters of the server, which can be read while it runs.
        #[must_use]
        pub fn stats(&self) -> $crate::broker::backend_sdk::ServerStats {
            self.builder().stats.clone()
        }

        /// Stops the server on SIGTERM, SIGINT and SIGHUP, from now until it has ended: it drains as after
        /// [`ServerStop::stop`](crate::broker::backend_sdk::ServerStop::stop). Then, or once the server is dropped, these
        /// signals have their default effect again. While it drains, further ones do nothing;
        /// [`drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout) bounds that.
        ///
        /// A signal that this process ignores stays ignored, as under `nohup`, and one that it handles by itself is left to
        /// that handler. The signals belong to the whole process: each of its servers that asked for it is stopped.
        ///
        /// # Errors
        ///
        /// The system has no descriptor for a pipe, or no thread.
        ///
        /// # Platform-specific behavior
        ///
        /// On Windows the requests are those of the console: Ctrl-C, Ctrl-Break, closing it, logging off. A process without a
        /// console gets none. On Unix systems other than Linux, macOS and FreeBSD the error is
        /// [`Unsupported`](std::io::ErrorKind::Unsupported).
        pub fn stop_on_signals(mut self) -> std::io::Result<Self> {
            self.builder_mut().watch_signals()?;
            Ok(self)
        }

        /// Sets the owner of the server's place, which is told how far the server is.
        pub(in $crate::broker) fn lifecycle(
            mut self,
            lifecycle: std::sync::Arc<dyn $crate::broker::backend_sdk::Lifecycle>,
        ) -> Self {
            self.builder_mut().lifecycle = Some(lifecycle);
            self
        }

        /// Returns a handle that stops the server from anywhere.
        #[must_use]
        pub fn stop_handle(&self) -> $crate::broker::backend_sdk::ServerStop {
            self.builder().stop.clone()
        }
    };
}
pub(super) use builder_methods;

impl<H: ?Sized> ServerBuilder<H> {
    builder_methods!();

    /// Returns the configuration of a server at `endpoint`, with the defaults of every part.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint: endpoint.absolute(),
            inherited: false,
            version: None,
            build: None,
            identify: None,
            idle_timeout: None,
            idle_exit: None,
            identity_file: None,
            lifecycle: None,
            handover_hooks: HandoverHooks::default(),
            handlers: BTreeMap::new(),
            detector: Box::new(|_| LegacyClassification::NotLegacy),
            authorize: Box::new(same_user),
            ready: Box::new(|_| {}),
            observer: Box::new(|_, _| {}),
            config: ServerConfig::default(),
            stats: ServerStats::zero(),
            stop: ServerStop::default(),
            signals: None,
        }
    }
}

impl<H: ?Sized> ServerBuilder<H> {
    /// Serves requests of `payload_protocol` by `handler`, which the driver runs beside the connection.
    ///
    /// # Panics
    ///
    /// The protocol has a handler already, or its id is one that this library answers itself.
    #[must_use]
    pub fn serve(mut self, payload_protocol: u32, handler: Arc<H>) -> Self {
        self.add_handler(payload_protocol, Handler::Concurrent(handler));
        self
    }

    /// Decides by `detector` which connections that start with the framing byte speak the legacy wire; any other first byte is
    /// legacy. `detector` runs under the lock of its connection and must not block. If it panics, the connection is ended.
    #[must_use]
    pub fn legacy_detector(
        mut self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
    ) -> Self {
        self.detector = Box::new(detector);
        self
    }

    /// Notes that a service manager made the socket, as the identity says.
    #[must_use]
    pub fn inherited(mut self, inherited: bool) -> Self {
        self.inherited = inherited;
        self
    }

    /// Begins serving: returns the policy for the sessions, and the registration, which a thread of its own
    /// [runs](Registration::run). Latencies are measured with `clock`, by which the driver also takes the time.
    ///
    /// # Errors
    ///
    /// The identity file could not be written at its path, or names a daemon that runs.
    pub fn start(
        mut self,
        clock: fn() -> Instant,
    ) -> Result<(Arc<ServerPolicy<H>>, Registration), ServerError> {
        if let Some(path) = &self.identity_file {
            check_daemon_identity_path(path, &self.endpoint)
                .map_err(|source| ServerError::IdentityFile { path: path.clone(), source })?;
        }
        if let Some(status) = self.config.status_protocol {
            self.handlers.entry(status).or_insert(Handler::Status);
        }
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.set_handover_hooks(self.handover_hooks);
        }
        let served: Vec<u32> = self.handlers.keys().copied().collect();
        let mux = Arc::new(BackendEndpointMux::unidentified(&served, self.detector));
        let idle_timeout = self.idle_timeout;
        let identify = self.identify.unwrap_or_else(|| {
            Box::new(move |endpoint, go_on| {
                DaemonProcess::current_process_while(endpoint, idle_timeout, go_on)
            })
        });
        let registration = Registration {
            endpoint: self.endpoint,
            inherited: self.inherited,
            version: self.version,
            build: self.build,
            identify,
            identity_file: self.identity_file,
            lifecycle: self.lifecycle.clone(),
            ready: self.ready,
            mux: Arc::clone(&mux),
            state: Arc::default(),
        };
        let slots = self.config.max_connections + OVER_CAPACITY_CONNECTIONS;
        let policy = ServerPolicy {
            mux,
            handlers: self.handlers,
            authorize: self.authorize,
            telemetry: Telemetry::begin(self.stats, self.observer, clock, &served),
            budget: Budget::new(self.config.memory_limit, slots),
            config: self.config,
            _signals: self.signals,
            lifecycle: self.lifecycle,
        };
        Ok((Arc::new(policy), registration))
    }

    /// Returns the endpoint of the server, whose path is absolute.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn builder(&self) -> &Self {
        self
    }

    fn builder_mut(&mut self) -> &mut Self {
        self
    }

    pub(super) fn add_handler(&mut self, payload_protocol: u32, handler: Handler<H>) {
        assert!(
            !registry::is_first_party(payload_protocol),
            "payload protocol 0x{payload_protocol:04X} is a first-party one, whose requests this library answers itself"
        );
        let earlier = self.handlers.insert(payload_protocol, handler);
        assert!(earlier.is_none(), "payload protocol 0x{payload_protocol:04X} has a handler already");
    }

    pub(super) fn add_inline(
        &mut self,
        payload_protocol: u32,
        handler: impl Fn(&InlineRequest<'_>) -> Result<Payload, HandlerError> + Send + Sync + 'static,
    ) {
        self.add_handler(payload_protocol, Handler::Inline(Box::new(handler)));
    }

    pub(super) fn set_identity_file(&mut self, path: PathBuf) {
        // Without a working directory only an absolute path means anything; a relative one fails when it is used.
        self.identity_file = Some(std::path::absolute(&path).unwrap_or(path));
    }

    pub(super) fn watch_signals(&mut self) -> io::Result<()> {
        let stop = self.stop.clone();
        self.signals = Some(OnTermination::new(move || stop.stop())?);
        Ok(())
    }
}

impl<H: ?Sized> fmt::Debug for ServerBuilder<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerBuilder")
            .field("endpoint", &self.endpoint)
            .field("identity_file", &self.identity_file)
            .field("served", &self.handlers.keys())
            .finish_non_exhaustive()
    }
}
