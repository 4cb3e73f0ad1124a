//! The task that accepts, and waits for the connections in the end.

use super::drive::{Driver, Open, serve};
use super::link::Link;
use super::shared::{Phase, Shared};
use crate::broker::backend_sdk::server::service::{EXHAUSTED_PAUSE, LAST_WORDS, is_exhausted};
use crate::broker::backend_sdk::server::{PeerCredentials, ServerError, ServerTrouble};
use crate::broker::runtime_clock::now;
use crate::transport::{AsyncListener, LocalStream, ServedStream};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Sleep, timeout};

/// Every connection's task; they end with this.
pub(super) struct Connections {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    next_id: u64,
    exhausted: Option<Exhausted>,
}

/// The process was out of descriptors while so many connections were open.
struct Exhausted {
    open: usize,
    pause: Pin<Box<Sleep>>,
}

impl Connections {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tasks: JoinSet::new(), next_id: 0, exhausted: None }
    }

    /// Accepts until the server is stopped.
    pub(super) async fn accept(&mut self, listener: &mut AsyncListener) -> io::Result<()> {
        poll_fn(|context| {
            self.shared.acceptor.listen(context.waker());
            loop {
                if self.shared.phase() != Phase::Serving {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_room(context));
                match ready!(listener.poll_accept(context)) {
                    Ok(stream) => {
                        if let Err(trouble) = self.start(stream) {
                            self.shared.service.observation.trouble(&trouble);
                        }
                    }
                    Err(error) if is_exhausted(&error) => {
                        self.shared.service.observation.trouble(&ServerTrouble::Accept(error));
                        let pause = Box::pin(tokio::time::sleep(EXHAUSTED_PAUSE));
                        self.exhausted = Some(Exhausted { open: self.tasks.len(), pause });
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        })
        .await
    }

    /// Takes note of connections that have ended, and waits for one if descriptors are short.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(_ended)) = self.tasks.poll_join_next(context) {}
        if let Some(Exhausted { open, pause }) = &mut self.exhausted {
            if self.tasks.len() >= *open {
                ready!(pause.as_mut().poll(context));
            }
            self.exhausted = None;
        }
        Poll::Ready(())
    }

    /// Gives the connection a task, unless there are too many.
    fn start(&mut self, stream: LocalStream) -> Result<(), ServerTrouble> {
        let max_connections = self.shared.service.config.max_connections;
        // A task goes on for a moment after its connection.
        if self.shared.open().len() >= max_connections {
            return Err(ServerTrouble::TooManyConnections { max_connections });
        }
        let peer = PeerCredentials::of(stream.user())?;
        let stream = ServedStream::new(stream)?;
        let link = Arc::new(Link::new(Arc::clone(&self.shared), peer, now()));
        let open = Open::new(link, self.next_id);
        self.next_id += 1;
        self.tasks.spawn(serve(Driver::new(stream), open));
        Ok(())
    }

    /// Waits for the connections at work, for as long as the configuration allows. Then cancels what they work on, and
    /// tells the clients.
    pub(super) async fn drain(mut self) -> Result<(), ServerError> {
        let waited = self.shared.service.config.drain;
        if self.ended_within(waited).await {
            return Ok(());
        }
        let connections = self.tasks.len();
        self.shared.enter(Phase::Cancelling);
        self.ended_within(LAST_WORDS).await;
        Err(ServerError::DrainTimedOut { connections, waited })
    }

    /// Whether every connection has ended in time.
    async fn ended_within(&mut self, time: Duration) -> bool {
        timeout(time, async { while self.tasks.join_next().await.is_some() {} }).await.is_ok()
    }
}
