//! The task that accepts, and waits for the connections in the end.

use super::alarm;
use super::conn::Link;
use super::conn_driver::{Driver, Open, serve};
use super::context::{Phase, Shared};
use crate::broker::backend_sdk::server::accept_errors::{ACCEPT_PAUSE, AcceptErrors, AfterError};
use crate::broker::backend_sdk::server::config::ServerTrouble;
use crate::broker::backend_sdk::server::over_capacity::{self, ENDING, Place, Room};
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::backend_sdk::server::policy::LAST_WORDS;
use crate::broker::runtime_clock::now;
use crate::transport::{Accepted, AcceptedStream, AsyncListener, LocalStream};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// Every connection's task; they end with this.
pub(super) struct Connections {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    next_id: u64,
    /// Was accepted, and has no place yet.
    waiting: Option<LocalStream>,
    errors: AcceptErrors,
    paused: Option<Paused>,
}

/// Nothing could be accepted, or there was no place for it, while so many connections were open.
struct Paused {
    open: usize,
    pause: Pin<Box<Sleep>>,
}

impl Connections {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let errors = AcceptErrors::default();
        Self { shared, tasks: JoinSet::new(), next_id: 0, waiting: None, errors, paused: None }
    }

    /// Accepts until the server is stopped.
    pub(super) async fn accept(&mut self, listener: &mut AsyncListener, path: &str) -> io::Result<()> {
        poll_fn(|context| {
            self.shared.acceptor.listen(context.waker());
            loop {
                if self.shared.phase() != Phase::Serving {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_room(context));
                if let Some(stream) = self.waiting.take() {
                    self.place(stream);
                    continue;
                }
                match ready!(listener.poll_accept(context)) {
                    Ok(Accepted::Connection(stream)) => {
                        self.errors.forget();
                        self.waiting = Some(stream);
                    }
                    Ok(Accepted::NameLost) => {
                        let path = path.to_owned();
                        self.shared.service.observation.trouble(&ServerTrouble::EndpointLost { path });
                    }
                    // The phase tells.
                    Ok(Accepted::Stopped) => {}
                    Err(error) => {
                        let (error, after) = match self.errors.judge(error) {
                            Ok(judged) => judged,
                            Err(broken) => return Poll::Ready(Err(broken)),
                        };
                        self.shared.service.observation.trouble(&ServerTrouble::Accept(error));
                        if after == AfterError::Pause {
                            self.pause(ACCEPT_PAUSE);
                        }
                    }
                }
            }
        })
        .await
    }

    /// Accepts nothing until a connection has ended, but for no longer than `time`.
    fn pause(&mut self, time: Duration) {
        let pause = Box::pin(tokio::time::sleep(time));
        self.paused = Some(Paused { open: self.tasks.len(), pause });
    }

    /// Takes note of connections that have ended, and waits for one, or for a while, if nothing could be accepted or placed.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(_ended)) = self.tasks.poll_join_next(context) {}
        if let Some(Paused { open, pause }) = &mut self.paused {
            if self.tasks.len() >= *open {
                ready!(pause.as_mut().poll(context));
            }
            self.paused = None;
        }
        Poll::Ready(())
    }

    /// Gives the connection a task if there is a place for it, or has it wait for one.
    fn place(&mut self, stream: LocalStream) {
        let service = &self.shared.service;
        let open = self.shared.open();
        let room = over_capacity::room(&open, service.config.max_connections, now(), |link| link.place);
        drop(open);
        let wait = match room {
            Room::Free(place) => {
                if let Err(error) = self.start(stream, place) {
                    self.shared.service.observation.trouble(&error.into());
                }
                return;
            }
            Room::After(link) => {
                link.end();
                ENDING
            }
            Room::In(wait) => wait,
        };
        self.waiting = Some(stream);
        self.pause(wait);
    }

    fn start(&mut self, stream: LocalStream, place: Place) -> io::Result<()> {
        let peer = PeerCredentials::of(stream.user())?;
        let stream = AcceptedStream::new(stream)?;
        let link = Arc::new(Link::new(Arc::clone(&self.shared), peer, place, now()));
        let open = Open::new(link, self.next_id);
        self.next_id += 1;
        if place.is_over_capacity() {
            // Before the peer is told: whoever knows of a refusal finds it counted.
            self.shared.service.observation.trouble(&self.shared.service.too_many_connections());
        }
        self.tasks.spawn(serve(Driver::new(stream), open));
        Ok(())
    }

    /// Waits until `deadline` for the connections at work. Then cancels what they work on, and tells the clients. Gives how
    /// many there were.
    pub(super) async fn drain(mut self, deadline: Option<Instant>) -> usize {
        if self.ended_before(deadline).await {
            return 0;
        }
        let connections = self.tasks.len();
        self.shared.enter(Phase::Cancelling);
        self.ended_before(now().checked_add(LAST_WORDS)).await;
        connections
    }

    /// Whether every connection has ended in time.
    async fn ended_before(&mut self, deadline: Option<Instant>) -> bool {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        alarm::before(deadline, ended).await.is_some()
    }
}
