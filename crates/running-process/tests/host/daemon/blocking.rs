//! The blocking server.

use super::{Cancelled, Daemon, Incoming, Legacy, Request, forward_to_server};
use crate::support::soon;
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use running_process::broker::backend_sdk::{
    BindError, HandlerError, InlineRequest, LegacyClassification, LegacyConnection, NotAuthorized,
    PeerCredentials, SendEventError, ServeError, Server, ServerConfig, ServerError, ServerRequest,
    ServerStats, ServerStop,
};
use running_process::broker::protocol::{Endpoint, Frame};
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) struct Blocking(Server);

impl Blocking {
    fn map(self, change: impl FnOnce(Server) -> Server) -> Self {
        Self(change(self.0))
    }

    #[cfg(unix)]
    fn try_map<E>(self, change: impl FnOnce(Server) -> Result<Server, E>) -> Result<Self, E> {
        change(self.0).map(Self)
    }

    fn server(&self) -> &Server {
        &self.0
    }
}

impl Daemon for Blocking {
    const ACCEPTS_ON_A_THREAD: bool = true;
    const SERVES_QUICK_REQUESTS_ON_THE_READER: bool = true;

    forward_to_server!();

    fn idle_exit(self, timeout: Duration) -> Self {
        self.map(|server| server.idle_exit(timeout))
    }

    fn bind(endpoint: Endpoint) -> Result<Self, BindError> {
        Server::bind(endpoint).map(Self)
    }

    fn serve_quickly(
        self,
        protocol: u32,
        handler: impl Fn(&dyn Incoming) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.map(|server| server.serve(protocol, move |request| handler(&request)))
    }

    fn serve(
        self,
        protocol: u32,
        handler: impl Fn(&dyn Request) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.map(|server| server.serve(protocol, move |request| handler(&request)))
    }

    fn legacy(
        self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(Box<dyn Legacy>) + Send + Sync + 'static,
    ) -> Self {
        self.map(|server| server.legacy(detector, move |connection| handler(Box::new(connection))))
    }

    fn run(self) -> Result<(), ServerError> {
        self.0.run()
    }
}

impl Incoming for ServerRequest {
    fn frame(&self) -> &Frame {
        ServerRequest::frame(self)
    }

    fn peer(&self) -> PeerCredentials {
        ServerRequest::peer(self)
    }

    fn deadline(&self) -> Option<Instant> {
        ServerRequest::deadline(self)
    }
}

impl Request for ServerRequest {
    fn cancelled(&self) -> Option<Cancelled> {
        ServerRequest::cancelled(self).map(Cancelled::Reason)
    }

    fn wait_cancelled(&self) -> Cancelled {
        Cancelled::Reason(self.cancellation().wait(Some(soon())).expect("the request is cancelled in time"))
    }

    fn send_event(&self, payload: &[u8]) -> Result<(), SendEventError> {
        ServerRequest::send_event(self, payload)
    }
}

impl Legacy for LegacyConnection {
    fn into_connection(self: Box<Self>) -> LegacyConnection {
        *self
    }
}
