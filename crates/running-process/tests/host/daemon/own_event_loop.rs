//! The event loop of the example `own_event_loop`.

use super::{Cancelled, Daemon, Incoming, Legacy, Request, forward_to_server};
use crate::support::soon;
use event_loop::{EventLoop, Handler, LegacyConnection, LegacyHandler, Request as LoopRequest};
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use running_process::broker::backend_sdk::{
    BindError, HandlerError, InlineRequest, LegacyClassification, LocalListener, NotAuthorized,
    PeerCredentials, SendEventError, ServeError, ServerBuilder, ServerConfig, ServerError, ServerStats,
    ServerStop,
};
use running_process::broker::protocol::{Endpoint, Frame};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "the handlers of the tests use one part of it, and the example another")]
#[path = "../../../examples/own_event_loop/event_loop/mod.rs"]
mod event_loop;

pub(crate) struct OwnEventLoop {
    listener: LocalListener,
    builder: ServerBuilder<Handler>,
    legacy: Option<Arc<LegacyHandler>>,
}

impl OwnEventLoop {
    fn map(self, change: impl FnOnce(ServerBuilder<Handler>) -> ServerBuilder<Handler>) -> Self {
        Self { builder: change(self.builder), ..self }
    }

    fn try_map<E>(
        self,
        change: impl FnOnce(ServerBuilder<Handler>) -> Result<ServerBuilder<Handler>, E>,
    ) -> Result<Self, E> {
        Ok(Self { builder: change(self.builder)?, ..self })
    }

    fn server(&self) -> &ServerBuilder<Handler> {
        &self.builder
    }
}

impl Daemon for OwnEventLoop {
    // The rule, the detector, the observer and inline handlers run on the thread of the loop.
    // poll(2) looks at every socket each time.
    const MAX_CONNECTIONS: usize = 1000;
    const INLINE_CODE_MAY_BLOCK: bool = false;
    const RUNS_WHILE_INLINE_CODE_BLOCKS: bool = false;
    const CLOSES_ITS_LISTENER: bool = false;

    forward_to_server!();

    fn idle_exit(self, _: Duration) -> Self {
        self
    }

    fn bind(endpoint: Endpoint) -> Result<Self, BindError> {
        let listener = LocalListener::bind(&endpoint.path)?;
        Ok(Self { listener, builder: ServerBuilder::new(endpoint), legacy: None })
    }

    fn serve_quickly(
        self,
        protocol: u32,
        handler: impl Fn(&dyn Incoming) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        let handler = move |request: LoopRequest| Ok(handler(&request)?.into());
        self.map(|server| server.serve(protocol, Arc::new(handler)))
    }

    fn serve(
        self,
        protocol: u32,
        handler: impl Fn(&dyn Request) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        let handler = move |request: LoopRequest| Ok(handler(&request)?.into());
        self.map(|server| server.serve(protocol, Arc::new(handler)))
    }

    fn legacy(
        self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(Box<dyn Legacy>) + Send + Sync + 'static,
    ) -> Self {
        let handler = move |connection: LegacyConnection| handler(Box::new(connection));
        let legacy: Option<Arc<LegacyHandler>> = Some(Arc::new(handler));
        Self { legacy, ..self.map(|server| server.legacy_detector(detector)) }
    }

    fn run(self) -> Result<(), ServerError> {
        EventLoop::new(self.listener, self.builder, self.legacy)?.run()
    }
}

impl Incoming for LoopRequest {
    fn frame(&self) -> &Frame {
        (**self).frame()
    }

    fn peer(&self) -> PeerCredentials {
        (**self).peer()
    }

    fn deadline(&self) -> Option<Instant> {
        (**self).deadline()
    }
}

impl Request for LoopRequest {
    fn cancelled(&self) -> Option<Cancelled> {
        (**self).cancelled().map(Cancelled::Reason)
    }

    fn wait_cancelled(&self) -> Cancelled {
        Cancelled::Reason(self.cancellation().wait(Some(soon())).expect("the request is cancelled in time"))
    }

    fn send_event(&self, payload: &[u8]) -> Result<(), SendEventError> {
        self.send_event(Cow::Borrowed(payload))
    }
}

impl Legacy for LegacyConnection {}
