//! Every server as one type, so that each test runs on threads and on both of tokio's runtimes.

use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_sdk::{
    BindError, CancelReason, HandlerError, InlineRequest, LegacyClassification, NotAuthorized,
    PeerCredentials, SendEventError, ServeError, ServerConfig, ServerError, ServerStats, ServerStop,
};
#[cfg(any())]
use running_process::broker::backend_sdk::{LegacyConnection, Server, ServerRequest};
use running_process::broker::protocol::{Endpoint, Frame};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

/// The server that a [`Daemon`] is made of.
pub(crate) trait Driver: 'static {
    /// True if code of the daemon that blocks delays only its own connection.
    const PREEMPTS: bool = true;
    /// True if the thread in `run` runs code of the daemon when it accepts.
    const ACCEPTS_ON_A_THREAD: bool = false;

    fn bind(endpoint: Endpoint) -> Result<Daemon, BindError>;
}

/// The blocking server.
#[cfg(any())]
pub(crate) struct Threads;

#[cfg(any())]
impl Driver for Threads {
    const ACCEPTS_ON_A_THREAD: bool = true;

    fn bind(endpoint: Endpoint) -> Result<Daemon, BindError> {
        Server::bind(endpoint).map(Daemon::Threads)
    }
}

#[allow(clippy::large_enum_variant, reason = "there is one of them at a time")]
pub(crate) enum Daemon {
    #[cfg(any())]
    Threads(Server),
    #[cfg(feature = "tokio")]
    Tokio(asynchronous::Server),
}

/// Calls a method that both servers have.
macro_rules! pass_on {
    ($self:ident . $method:ident ( $($argument:expr),* )) => {
        match $self {
            #[cfg(any())]
            Self::Threads(server) => Self::Threads(server.$method($($argument),*)),
            #[cfg(feature = "tokio")]
            Self::Tokio(server) => Self::Tokio(server.map(|server| server.$method($($argument),*))),
        }
    };
}

impl Daemon {
    /// With a handler that does not wait for anything.
    pub(crate) fn serve_quickly(
        self,
        protocol: u32,
        handler: impl Fn(&Request) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        match self {
            #[cfg(any())]
            Self::Threads(server) => {
                Self::Threads(server.serve(protocol, move |request| handler(&Request::Thread(request))))
            }
            #[cfg(feature = "tokio")]
            Self::Tokio(server) => Self::Tokio(server.serve_quickly(protocol, handler)),
        }
    }

    /// With a handler that may block.
    pub(crate) fn serve(
        self,
        protocol: u32,
        handler: impl Fn(&Request) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        match self {
            #[cfg(any())]
            Self::Threads(server) => {
                Self::Threads(server.serve(protocol, move |request| handler(&Request::Thread(request))))
            }
            #[cfg(feature = "tokio")]
            Self::Tokio(server) => Self::Tokio(server.serve(protocol, handler)),
        }
    }

    pub(crate) fn serve_inline(
        self,
        protocol: u32,
        handler: impl Fn(&InlineRequest<'_>) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        pass_on!(self.serve_inline(protocol, handler))
    }

    pub(crate) fn legacy(
        self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(Legacy) + Send + Sync + 'static,
    ) -> Self {
        match self {
            #[cfg(any())]
            Self::Threads(server) => {
                Self::Threads(server.legacy(detector, move |connection| handler(Legacy::Thread(connection))))
            }
            #[cfg(feature = "tokio")]
            Self::Tokio(server) => Self::Tokio(server.legacy(detector, handler)),
        }
    }

    pub(crate) fn authorize(
        self,
        rule: impl Fn(&PeerCredentials) -> Result<(), NotAuthorized> + Send + Sync + 'static,
    ) -> Self {
        pass_on!(self.authorize(rule))
    }

    pub(crate) fn config(self, config: ServerConfig) -> Self {
        pass_on!(self.config(config))
    }

    pub(crate) fn identity_file(self, path: impl AsRef<Path>) -> Self {
        pass_on!(self.identity_file(path.as_ref()))
    }

    pub(crate) fn on_ready(self, ready: impl FnOnce(&DaemonProcess) + Send + 'static) -> Self {
        pass_on!(self.on_ready(ready))
    }

    pub(crate) fn observe(self, observer: impl Fn(&ServeError) + Send + Sync + 'static) -> Self {
        pass_on!(self.observe(observer))
    }

    pub(crate) fn observe_with_peer(
        self,
        observer: impl Fn(&ServeError, Option<&PeerCredentials>) + Send + Sync + 'static,
    ) -> Self {
        pass_on!(self.observe_with_peer(observer))
    }

    #[cfg(unix)]
    pub(crate) fn stop_on_signals(self) -> io::Result<Self> {
        Ok(match self {
            #[cfg(any())]
            Self::Threads(server) => Self::Threads(server.stop_on_signals()?),
            #[cfg(feature = "tokio")]
            Self::Tokio(server) => Self::Tokio(server.stop_on_signals()?),
        })
    }

    pub(crate) fn stop_handle(&self) -> ServerStop {
        match self {
            #[cfg(any())]
            Self::Threads(server) => server.stop_handle(),
            #[cfg(feature = "tokio")]
            Self::Tokio(server) => server.stop_handle(),
        }
    }

    pub(crate) fn stats(&self) -> ServerStats {
        match self {
            #[cfg(any())]
            Self::Threads(server) => server.stats(),
            #[cfg(feature = "tokio")]
            Self::Tokio(server) => server.stats(),
        }
    }

    pub(crate) fn run(self) -> Result<(), ServerError> {
        match self {
            #[cfg(any())]
            Self::Threads(server) => server.run(),
            #[cfg(feature = "tokio")]
            Self::Tokio(server) => server.run(),
        }
    }
}

/// A request in a handler, which blocks.
pub(crate) enum Request {
    #[cfg(any())]
    Thread(ServerRequest),
    #[cfg(feature = "tokio")]
    Task(asynchronous::Request),
}

/// The way in which a handler was told that its client does not wait any more.
#[derive(Debug)]
pub(crate) enum Cancelled {
    #[cfg_attr(not(any()), allow(dead_code))]
    Told(CancelReason),
    /// The future was dropped, for any reason.
    #[cfg(feature = "tokio")]
    Dropped,
}

/// A method that requests have on both servers.
macro_rules! same {
    ($method:ident -> $type:ty) => {
        pub(crate) fn $method(&self) -> $type {
            match self {
                #[cfg(any())]
                Self::Thread(request) => request.$method(),
                #[cfg(feature = "tokio")]
                Self::Task(request) => request.incoming.$method(),
            }
        }
    };
}

impl Request {
    same!(payload -> &[u8]);
    same!(frame -> &Frame);
    same!(deadline -> Option<Instant>);
    same!(peer -> PeerCredentials);

    pub(crate) fn cancelled(&self) -> Option<Cancelled> {
        match self {
            #[cfg(any())]
            Self::Thread(request) => request.cancelled().map(Cancelled::Told),
            #[cfg(feature = "tokio")]
            Self::Task(request) => request.is_dropped().then_some(Cancelled::Dropped),
        }
    }

    pub(crate) fn send_event(&self, payload: &[u8]) -> Result<(), SendEventError> {
        match self {
            #[cfg(any())]
            Self::Thread(request) => request.send_event(payload),
            #[cfg(feature = "tokio")]
            Self::Task(request) => request.send_event(payload),
        }
    }
}

/// A connection of the legacy wire in its handler, which blocks.
pub(crate) enum Legacy {
    #[cfg(any())]
    Thread(LegacyConnection),
    #[cfg(feature = "tokio")]
    Task(asynchronous::Legacy),
}

impl Legacy {
    /// Returns the connection of a handler on a thread.
    #[cfg(any())]
    pub(crate) fn on_thread(self) -> LegacyConnection {
        match self {
            #[cfg(any())]
            Self::Thread(connection) => connection,
            #[cfg(feature = "tokio")]
            Self::Task(_) => panic!("the handler is a task"),
        }
    }
}

impl Read for Legacy {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(any())]
            Self::Thread(connection) => connection.read(into),
            #[cfg(feature = "tokio")]
            Self::Task(connection) => connection.read(into),
        }
    }
}

impl Write for Legacy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(any())]
            Self::Thread(connection) => connection.write(bytes),
            #[cfg(feature = "tokio")]
            Self::Task(connection) => connection.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "tokio")]
pub(crate) mod asynchronous {
    //! The asynchronous server with handlers that block, each on a thread of its own.

    use super::{Daemon, Driver};
    use running_process::broker::backend_sdk::{
        AsyncLegacyConnection, AsyncServer, AsyncServerRequest, BindError, HandlerError,
        LegacyClassification, SendEventError, ServerError, ServerStats, ServerStop,
    };
    use running_process::broker::protocol::Endpoint;
    use std::io::{self, Read, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::{Builder, Handle};

    /// Tasks on several threads.
    pub(crate) struct MultiThread;

    impl Driver for MultiThread {
        fn bind(endpoint: Endpoint) -> Result<Daemon, BindError> {
            let mut runtime = Builder::new_multi_thread();
            runtime.worker_threads(2);
            Server::bind(endpoint, runtime)
        }
    }

    /// Tasks on one thread.
    pub(crate) struct CurrentThread;

    impl Driver for CurrentThread {
        const PREEMPTS: bool = false;

        fn bind(endpoint: Endpoint) -> Result<Daemon, BindError> {
            Server::bind(endpoint, Builder::new_current_thread())
        }
    }

    pub(crate) struct Server {
        server: AsyncServer,
        runtime: Builder,
    }

    impl Server {
        fn bind(endpoint: Endpoint, mut runtime: Builder) -> Result<Daemon, BindError> {
            runtime.enable_all();
            Ok(Daemon::Tokio(Self { server: AsyncServer::bind(endpoint)?, runtime }))
        }

        pub(crate) fn map(self, change: impl FnOnce(AsyncServer) -> AsyncServer) -> Self {
            Self { server: change(self.server), ..self }
        }

        pub(crate) fn serve_quickly(
            self,
            protocol: u32,
            handler: impl Fn(&super::Request) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
        ) -> Self {
            let handler = Arc::new(handler);
            self.map(|server| {
                server.serve(protocol, move |request| {
                    let handler = Arc::clone(&handler);
                    async move {
                        let (runtime, dropped) = (Handle::current(), Arc::default());
                        handler(&super::Request::Task(Request { incoming: request, runtime, dropped }))
                    }
                })
            })
        }

        pub(crate) fn serve(
            self,
            protocol: u32,
            handler: impl Fn(&super::Request) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
        ) -> Self {
            let handler = Arc::new(handler);
            self.map(|server| {
                server.serve(protocol, move |request| {
                    let handler = Arc::clone(&handler);
                    async move {
                        let dropped = Arc::new(AtomicBool::new(false));
                        let _tells = Tells(Arc::clone(&dropped));
                        let request = Request { incoming: request, runtime: Handle::current(), dropped };
                        let request = super::Request::Task(request);
                        block(move || handler(&request)).await
                    }
                })
            })
        }

        pub(crate) fn legacy(
            self,
            detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
            handler: impl Fn(super::Legacy) + Send + Sync + 'static,
        ) -> Self {
            let handler = Arc::new(handler);
            self.map(|server| {
                server.legacy(detector, move |connection| {
                    let handler = Arc::clone(&handler);
                    async move {
                        let connection = Legacy { connection, runtime: Handle::current() };
                        block(move || handler(super::Legacy::Task(connection))).await;
                    }
                })
            })
        }

        #[cfg(unix)]
        pub(crate) fn stop_on_signals(self) -> io::Result<Self> {
            Ok(Self { server: self.server.stop_on_signals()?, ..self })
        }

        pub(crate) fn stop_handle(&self) -> ServerStop {
            self.server.stop_handle()
        }

        pub(crate) fn stats(&self) -> ServerStats {
            self.server.stats()
        }

        pub(crate) fn run(mut self) -> Result<(), ServerError> {
            let runtime = self.runtime.build().unwrap();
            let ended = runtime.block_on(self.server.run());
            // Handlers that do not heed their end may still block.
            runtime.shutdown_background();
            ended
        }
    }

    /// Runs `work`, and panics as it does.
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
    struct Tells(Arc<AtomicBool>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    pub(crate) struct Request {
        pub(super) incoming: AsyncServerRequest,
        runtime: Handle,
        dropped: Arc<AtomicBool>,
    }

    impl Request {
        pub(crate) fn is_dropped(&self) -> bool {
            self.dropped.load(Ordering::Acquire)
        }

        pub(crate) fn send_event(&self, payload: &[u8]) -> Result<(), SendEventError> {
            self.runtime.block_on(self.incoming.send_event(payload))
        }
    }

    pub(crate) struct Legacy {
        connection: AsyncLegacyConnection,
        runtime: Handle,
    }

    impl Read for Legacy {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.runtime.block_on(self.connection.read(into))
        }
    }

    impl Write for Legacy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.runtime.block_on(self.connection.write(bytes))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
