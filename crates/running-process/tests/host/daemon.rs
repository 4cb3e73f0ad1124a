//! One trait over every server, so that each test of the suite runs on each of them.
//!
//! A further driver implements [`Daemon`], says by the constants of the trait what it cannot do, and is one line in `servers.rs`,
//! `memory.rs` and `stopped.rs`.

#[cfg(feature = "tokio")]
mod asynchronous;
mod blocking;
#[cfg(unix)]
mod own_event_loop;

#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{Asynchronous, CurrentThread, MultiThread};
pub(crate) use blocking::Blocking;
#[cfg(unix)]
pub(crate) use own_event_loop::OwnEventLoop;

use running_process::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use running_process::broker::backend_sdk::{
    BindError, CancelReason, HandlerError, InlineRequest, LegacyClassification, LegacyConnection,
    NotAuthorized, PeerCredentials, SendEventError, ServeError, ServerConfig, ServerError, ServerStats,
    ServerStop,
};
use running_process::broker::protocol::{Endpoint, Frame};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

/// A server that is bound, with handlers that are plain functions.
pub(crate) trait Daemon: Sized + Send + 'static {
    /// True if inline code of the daemon that blocks delays no other connection.
    const INLINE_CODE_MAY_BLOCK: bool = true;
    /// True if the server itself goes on, and ends by its drain, while inline code of one connection blocks.
    const RUNS_WHILE_INLINE_CODE_BLOCKS: bool = true;
    /// True if the thread in `run` runs code of the daemon when it accepts.
    const ACCEPTS_ON_A_THREAD: bool = false;
    /// True if the thread that reads a lone busy connection also runs its handlers, while these are quick.
    const SERVES_QUICK_REQUESTS_ON_THE_READER: bool = false;
    /// Number of connections that the driver is made for.
    const MAX_CONNECTIONS: usize = 10_000;
    /// True if a concurrent handler sees that its request was cancelled before it creates a large answer, because only a few
    /// handlers run at a time.
    const RUNS_FEW_HANDLERS: bool = false;
    /// True if the driver ends by itself when it has no work, and loses no connection that waits when it ends.
    const CLOSES_ITS_LISTENER: bool = true;

    fn bind(endpoint: Endpoint) -> Result<Self, BindError>;

    /// Adds a concurrent handler that never waits.
    fn serve_quickly(
        self,
        protocol: u32,
        handler: impl Fn(&dyn Incoming) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self;

    /// Adds a concurrent handler that may block.
    fn serve(
        self,
        protocol: u32,
        handler: impl Fn(&dyn Request) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self;

    fn serve_inline(
        self,
        protocol: u32,
        handler: impl Fn(&InlineRequest<'_>) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self;

    fn legacy(
        self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(Box<dyn Legacy>) + Send + Sync + 'static,
    ) -> Self;

    fn authorize(
        self,
        rule: impl Fn(&PeerCredentials) -> Result<(), NotAuthorized> + Send + Sync + 'static,
    ) -> Self;

    fn config(self, config: ServerConfig) -> Self;

    fn identity_file(self, path: impl AsRef<Path>) -> Self;

    fn announce_idle_timeout(self, timeout: Duration) -> Self;

    fn version(self, version: impl Into<String>) -> Self;

    fn build(self, build: impl Into<String>) -> Self;

    /// Ends the server after `timeout` without work, if [`CLOSES_ITS_LISTENER`](Self::CLOSES_ITS_LISTENER).
    fn idle_exit(self, timeout: Duration) -> Self;

    fn identify_with(
        self,
        identify: impl FnOnce(Endpoint, &(dyn Fn() -> bool + Sync)) -> Result<DaemonProcess, IdentityError>
        + Send
        + 'static,
    ) -> Self;

    fn on_ready(self, ready: impl FnOnce(&DaemonProcess) + Send + 'static) -> Self;

    fn observe(self, observer: impl Fn(&ServeError) + Send + Sync + 'static) -> Self;

    fn observe_with_peer(
        self,
        observer: impl Fn(&ServeError, Option<&PeerCredentials>) + Send + Sync + 'static,
    ) -> Self;

    #[cfg(unix)]
    fn stop_on_signals(self) -> std::io::Result<Self>;

    fn stop_handle(&self) -> ServerStop;

    fn stats(&self) -> ServerStats;

    /// Blocks until the server has ended.
    fn run(self) -> Result<(), ServerError>;
}

/// Implements the methods that a driver passes on unchanged, by its own `map`, `try_map` and `server`.
macro_rules! forward_to_server {
    () => {
        fn serve_inline(
            self,
            protocol: u32,
            handler: impl Fn(&InlineRequest<'_>) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
        ) -> Self {
            self.map(|server| server.serve_inline(protocol, handler))
        }

        fn authorize(
            self,
            rule: impl Fn(&PeerCredentials) -> Result<(), NotAuthorized> + Send + Sync + 'static,
        ) -> Self {
            self.map(|server| server.authorize(rule))
        }

        fn config(self, config: ServerConfig) -> Self {
            self.map(|server| server.config(config))
        }

        fn identity_file(self, path: impl AsRef<Path>) -> Self {
            self.map(|server| server.identity_file(path.as_ref()))
        }

        fn announce_idle_timeout(self, timeout: std::time::Duration) -> Self {
            self.map(|server| server.announce_idle_timeout(timeout))
        }

        fn version(self, version: impl Into<String>) -> Self {
            self.map(|server| server.version(version))
        }

        fn build(self, build: impl Into<String>) -> Self {
            self.map(|server| server.build(build))
        }

        fn identify_with(
            self,
            identify: impl FnOnce(Endpoint, &(dyn Fn() -> bool + Sync)) -> Result<DaemonProcess, IdentityError>
            + Send
            + 'static,
        ) -> Self {
            self.map(|server| server.identify_with(identify))
        }

        fn on_ready(self, ready: impl FnOnce(&DaemonProcess) + Send + 'static) -> Self {
            self.map(|server| server.on_ready(ready))
        }

        fn observe(self, observer: impl Fn(&ServeError) + Send + Sync + 'static) -> Self {
            self.map(|server| server.observe(observer))
        }

        fn observe_with_peer(
            self,
            observer: impl Fn(&ServeError, Option<&PeerCredentials>) + Send + Sync + 'static,
        ) -> Self {
            self.map(|server| server.observe_with_peer(observer))
        }

        #[cfg(unix)]
        fn stop_on_signals(self) -> std::io::Result<Self> {
            self.try_map(|server| server.stop_on_signals())
        }

        fn stop_handle(&self) -> ServerStop {
            self.server().stop_handle()
        }

        fn stats(&self) -> ServerStats {
            self.server().stats()
        }
    };
}
use forward_to_server;

/// A request and its context.
pub(crate) trait Incoming {
    fn frame(&self) -> &Frame;
    fn peer(&self) -> PeerCredentials;
    fn deadline(&self) -> Option<std::time::Instant>;

    fn payload(&self) -> &[u8] {
        &self.frame().payload
    }
}

/// A request in a handler that may block.
pub(crate) trait Request: Incoming {
    /// Returns how the handler was told that no client waits for its answer, or `None` while one does.
    fn cancelled(&self) -> Option<Cancelled>;

    /// Blocks until the request is cancelled.
    fn wait_cancelled(&self) -> Cancelled;

    fn send_event(&self, payload: &[u8]) -> Result<(), SendEventError>;
}

/// The way in which a handler learned that no client waits for its answer any more.
#[derive(Debug)]
pub(crate) enum Cancelled {
    Reason(CancelReason),
    /// The future was dropped, which has no reason.
    #[cfg(feature = "tokio")]
    Dropped,
}

/// A connection of the legacy wire in its handler, which may block.
pub(crate) trait Legacy: Read + Write {
    /// Returns the connection of a blocking server.
    fn into_connection(self: Box<Self>) -> LegacyConnection {
        panic!("this driver has connections of its own")
    }
}
