//! The daemon's side: a server at the place of a service.

use super::for_service_error::ForServiceError;
use super::lifecycle::Daemon;
use super::place::Place;
#[cfg(feature = "tokio")]
use crate::broker::backend_sdk::AsyncServer;
use crate::broker::backend_sdk::{Lifecycle, Server, ServerBuilder};
use crate::broker::service::definition::Service;
use crate::broker::service::variables;
use crate::transport::LocalListener;
use std::ffi::OsString;
use std::sync::Arc;

/// Configures a server, of any driver, for the service at its place. `$idle` is the method that takes the idle timeout.
macro_rules! configure {
    ($server:expr, $service:expr, $identity_file:expr, $daemon:expr, $idle:ident) => {{
        let daemon: Arc<Daemon> = $daemon;
        let lifecycle: Arc<dyn Lifecycle> = daemon.clone();
        let mut server = $server.lifecycle(lifecycle).identity_file($identity_file);
        daemon.succession.stops(server.stop_handle());
        if !$service.version.is_empty() {
            server = server.version(&$service.version);
        }
        if !$service.build.is_empty() {
            server = server.build(&$service.build);
        }
        if let Some(timeout) = $service.idle_timeout {
            server = server.$idle(timeout);
        }
        server.stop_on_signals().map_err(ForServiceError::Signals)
    }};
}

impl Service {
    /// Takes the key with which a client has started this process for this service; none if it was not, or without a key. A
    /// daemon that serves one key calls it in the place of [`keyed_by`](Self::keyed_by).
    #[must_use]
    pub fn keyed_as_started(self) -> Self {
        let [started, key] = [variables::SERVICE, variables::KEY].map(std::env::var_os);
        self.keyed_for(started, key)
    }

    /// Takes the key if this is the service that was started.
    fn keyed_for(mut self, started: Option<OsString>, key: Option<OsString>) -> Self {
        let is_started = started.is_some_and(|name| name == *self.name);
        self.key = key.filter(|_| is_started);
        self
    }
}

impl Server {
    /// Makes this process the daemon of `service`: takes its lock, from the client that starts it or by itself, and listens at
    /// its socket. Once it runs, it writes the identity file and tells the starter, by the protocol of `sd_notify(3)`.
    ///
    /// It stops on SIGTERM, SIGINT and SIGHUP, and ends by itself after the service's idle timeout. It holds the lock until
    /// the last handler has returned, so no other daemon serves meanwhile. After a handover the lock is its successor's, and it
    /// serves its open connections beside that one for up to
    /// [`drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout).
    ///
    /// If a client has started this process as the successor of a daemon, it gets the lock and the socket from that daemon, which
    /// serves until this process has begun to. The daemon's [`on_release`](Self::on_release) has returned before this function does.
    ///
    /// # Errors
    ///
    /// [`ForServiceError::Runs`]: there is a daemon already. A process that was started twice by hand ends with that.
    pub fn for_service(service: &Service) -> Result<Self, ForServiceError> {
        let Place { listener, endpoint, identity_file, daemon } = Place::take(service)?;
        configure!(
            Self::from_listener(listener, endpoint),
            service,
            identity_file,
            Arc::new(daemon),
            idle_exit
        )
    }
}

/// With the feature `tokio`.
#[cfg(feature = "tokio")]
impl AsyncServer {
    /// Makes this process the daemon of `service`, as [`Server::for_service`] does.
    ///
    /// # Errors
    ///
    /// As [`Server::for_service`].
    pub fn for_service(service: &Service) -> Result<Self, ForServiceError> {
        Self::at_place(service).map(|(server, _)| server)
    }

    /// Makes this process the daemon of `service`, and returns the owner of its place as well.
    pub(in crate::broker::service) fn at_place(
        service: &Service,
    ) -> Result<(Self, Arc<Daemon>), ForServiceError> {
        let Place { listener, endpoint, identity_file, daemon } = Place::take(service)?;
        let daemon = Arc::new(daemon);
        let server = Self::from_listener(listener, endpoint);
        let server = configure!(server, service, identity_file, Arc::clone(&daemon), idle_exit)?;
        Ok((server, daemon))
    }
}

impl<H: ?Sized> ServerBuilder<H> {
    /// Makes this process the daemon of `service`, as [`Server::for_service`] does, for a driver of your own. Returns the
    /// listener to accept from, and the configuration of the server. The driver ends the server when it has been idle.
    ///
    /// # Errors
    ///
    /// As [`Server::for_service`].
    pub fn for_service(service: &Service) -> Result<(LocalListener, Self), ForServiceError> {
        let Place { listener, endpoint, identity_file, daemon } = Place::take(service)?;
        let builder = Self::new(endpoint);
        Ok((listener, configure!(builder, service, identity_file, Arc::new(daemon), announce_idle_timeout)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn the_key_is_taken_for_the_service_that_was_started_alone() {
        let key = |started: Option<&str>| {
            let service = Service::new("cache").unwrap().keyed_by("former");
            let service = service.keyed_for(started.map(OsString::from), Some("key".into()));
            service.key().map(OsStr::to_owned)
        };
        assert_eq!(key(Some("cache")), Some("key".into()));
        assert_eq!((key(Some("other")), key(None)), (None, None));
    }
}
