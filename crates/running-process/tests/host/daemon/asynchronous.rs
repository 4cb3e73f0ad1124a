//! The asynchronous server on both kinds of runtime. Each handler that may block runs on a thread of its own.

use super::{Cancelled, Daemon, Incoming, Legacy, Request, forward_to_server};
use crate::support::Flag;
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use running_process::broker::backend_sdk::{
    AsyncLegacyConnection, AsyncServer, AsyncServerRequest, BindError, HandlerError, InlineRequest,
    LegacyClassification, NotAuthorized, PeerCredentials, SendEventError, ServeError, ServerConfig,
    ServerError, ServerStats, ServerStop,
};
use running_process::broker::protocol::{Endpoint, Frame};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Handle};

/// A server in a runtime of so many threads.
pub(crate) struct Asynchronous<const THREADS: usize>(AsyncServer);

pub(crate) type MultiThread = Asynchronous<2>;
pub(crate) type CurrentThread = Asynchronous<1>;

impl<const THREADS: usize> Asynchronous<THREADS> {
    pub(crate) fn map(self, change: impl FnOnce(AsyncServer) -> AsyncServer) -> Self {
        Self(change(self.0))
    }

    #[cfg(unix)]
    fn try_map<E>(self, change: impl FnOnce(AsyncServer) -> Result<AsyncServer, E>) -> Result<Self, E> {
        change(self.0).map(Self)
    }

    fn server(&self) -> &AsyncServer {
        &self.0
    }
}

impl<const THREADS: usize> Daemon for Asynchronous<THREADS> {
    /// A task that a blocked thread has woken waits for that thread.
    const INLINE_CODE_MAY_BLOCK: bool = false;
    const RUNS_WHILE_INLINE_CODE_BLOCKS: bool = THREADS > 1;
    const RUNS_FEW_HANDLERS: bool = true;

    forward_to_server!();

    fn idle_exit(self, timeout: Duration) -> Self {
        self.map(|server| server.idle_exit(timeout))
    }

    fn bind(endpoint: Endpoint) -> Result<Self, BindError> {
        AsyncServer::bind(endpoint).map(Self)
    }

    fn serve_quickly(
        self,
        protocol: u32,
        handler: impl Fn(&dyn Incoming) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        let handler = Arc::new(handler);
        self.map(|server| {
            server.serve(protocol, move |request| {
                let handler = Arc::clone(&handler);
                async move { handler(&request) }
            })
        })
    }

    fn serve(
        self,
        protocol: u32,
        handler: impl Fn(&dyn Request) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        let handler = Arc::new(handler);
        self.map(|server| {
            server.serve(protocol, move |incoming| {
                let handler = Arc::clone(&handler);
                async move {
                    let dropped = Arc::new(Flag::default());
                    let _sets = SetsOnDrop(Arc::clone(&dropped));
                    let request = BlockingRequest { incoming, runtime: Handle::current(), dropped };
                    block(move || handler(&request)).await
                }
            })
        })
    }

    fn legacy(
        self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(Box<dyn Legacy>) + Send + Sync + 'static,
    ) -> Self {
        let handler = Arc::new(handler);
        self.map(|server| {
            server.legacy(detector, move |connection| {
                let handler = Arc::clone(&handler);
                async move {
                    let connection = BlockingLegacy { connection, runtime: Handle::current() };
                    block(move || handler(Box::new(connection))).await;
                }
            })
        })
    }

    fn run(self) -> Result<(), ServerError> {
        let mut builder =
            if THREADS == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
        if THREADS > 1 {
            builder.worker_threads(THREADS);
        }
        let runtime = builder.enable_all().build().unwrap();
        let ended = runtime.block_on(self.0.run());
        // Handlers that ignore their cancellation may still block.
        runtime.shutdown_background();
        ended
    }
}

/// Returns what `work` returns on a thread that may block, or continues its panic.
async fn block<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime has ended.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Tells the handler on its thread that the future was dropped.
struct SetsOnDrop(Arc<Flag>);

impl Drop for SetsOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl Incoming for AsyncServerRequest {
    fn frame(&self) -> &Frame {
        AsyncServerRequest::frame(self)
    }

    fn peer(&self) -> PeerCredentials {
        AsyncServerRequest::peer(self)
    }

    fn deadline(&self) -> Option<Instant> {
        AsyncServerRequest::deadline(self)
    }
}

struct BlockingRequest {
    incoming: AsyncServerRequest,
    runtime: Handle,
    dropped: Arc<Flag>,
}

impl Incoming for BlockingRequest {
    fn frame(&self) -> &Frame {
        self.incoming.frame()
    }

    fn peer(&self) -> PeerCredentials {
        self.incoming.peer()
    }

    fn deadline(&self) -> Option<Instant> {
        self.incoming.deadline()
    }
}

impl Request for BlockingRequest {
    fn cancelled(&self) -> Option<Cancelled> {
        self.dropped.is_set().then_some(Cancelled::Dropped)
    }

    fn wait_cancelled(&self) -> Cancelled {
        self.dropped.wait();
        Cancelled::Dropped
    }

    fn send_event(&self, payload: &[u8]) -> Result<(), SendEventError> {
        self.runtime.block_on(self.incoming.send_event(payload))
    }
}

struct BlockingLegacy {
    connection: AsyncLegacyConnection,
    runtime: Handle,
}

impl Legacy for BlockingLegacy {}

impl Read for BlockingLegacy {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.connection.read(into))
    }
}

impl Write for BlockingLegacy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.runtime.block_on(self.connection.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
