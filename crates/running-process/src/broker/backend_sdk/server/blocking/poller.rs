//! The readiness of many sockets, asked for by one thread at a time.

use super::events::{HUNG_UP, READ_CLOSED, READABLE, WRITABLE};
use crate::transport::LocalStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The token of the waker, which is the id of no connection.
const WAKER: Token = Token(usize::MAX);

/// Edge-triggered readiness: a socket is reported once when something arrives, and not again until more does. Write
/// readiness is registered lazily, only while output waits: a peer that reads would raise an event each time otherwise.
pub(super) struct Poller {
    /// Locked by the thread that polls. A thread that takes this role over never waits for it: its predecessor is not polling.
    poll: Mutex<(Poll, Events)>,
    registry: Registry,
    waker: Waker,
}

impl Poller {
    /// Returns a poller; `None` if this system has none, and each connection has a thread of its own.
    ///
    /// # Errors
    ///
    /// The process has no more descriptors.
    pub(super) fn new() -> io::Result<Option<Self>> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKER)?;
        Ok(Some(Self { poll: Mutex::new((poll, Events::with_capacity(256))), registry, waker }))
    }

    /// Watches `stream` under `id`, for room to write as well if `after` is `Some(true)`, or no longer; `before` is the last such
    /// value. What it is ready for now is reported again.
    pub(super) fn watch(
        &self,
        stream: &LocalStream,
        id: u64,
        before: Option<bool>,
        after: Option<bool>,
    ) -> io::Result<()> {
        let fd = stream.as_fd().as_raw_fd();
        let mut source = SourceFd(&fd);
        match after {
            None => {
                // It fails only if the stream is not watched.
                let _ = self.registry.deregister(&mut source);
                Ok(())
            }
            Some(writing) if before.is_none() => {
                self.registry.register(&mut source, token(id), interest(writing))
            }
            Some(writing) => self.registry.reregister(&mut source, token(id), interest(writing)),
        }
    }

    /// Makes the thread that polls return.
    pub(super) fn wake(&self) -> io::Result<()> {
        self.waker.wake()
    }

    /// Waits until a stream is ready, [`wake`](Self::wake) is called, or `timeout` has passed, and passes the ids of the streams
    /// and their events to `ready`.
    pub(super) fn poll(&self, timeout: Option<Duration>, mut ready: impl FnMut(u64, u8)) -> io::Result<()> {
        let mut poll = self.poll.lock().unwrap_or_else(PoisonError::into_inner);
        let (poll, events) = &mut *poll;
        match poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in events.iter().filter(|event| event.token() != WAKER) {
            let is = |condition: bool, bit| if condition || event.is_error() { bit } else { 0 };
            let events = is(event.is_readable(), READABLE)
                | is(event.is_writable(), WRITABLE)
                | is(event.is_read_closed(), READ_CLOSED)
                | is(event.is_write_closed(), HUNG_UP);
            ready(event.token().0 as u64, events);
        }
        Ok(())
    }
}

fn token(id: u64) -> Token {
    // Fewer connections than the address space has bytes are made before the machine is replaced.
    Token(usize::try_from(id).unwrap_or(usize::MAX - 1))
}

fn interest(writing: bool) -> Interest {
    if writing { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
}
