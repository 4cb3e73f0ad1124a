//! A connection in memory, and its end that is not under test.

use crate::broker::protocol::{Frame, try_decode_framed};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

/// Both directions, and the threads and tasks that wait for a change.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    wire: Mutex<Wire>,
    changed: Condvar,
}

/// Both directions, as the end under test sees them.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(crate) struct Wire {
    pub(crate) incoming: VecDeque<u8>,
    pub(crate) outgoing: Vec<u8>,
    /// Bytes that the other end has taken and not decoded.
    taken: Vec<u8>,
    /// The other end sends nothing more, or this one wants nothing more.
    pub(crate) ended: bool,
    /// The other end is closed.
    pub(crate) gone: bool,
    pub(crate) disconnected: bool,
    /// The end under test is closed.
    pub(crate) closed: bool,
    /// Tasks that wait for a change.
    tasks: Vec<Waker>,
    /// Called after each change by the other end.
    pub(crate) watcher: Option<Watcher>,
}

/// Takes what the other end has changed.
#[derive(Clone)]
pub(crate) struct Watcher(pub(crate) Arc<dyn Fn(Change) + Send + Sync>);

impl fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watcher")
    }
}

/// A change of a connection by the end that is not under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There is something to read.
    Arrived,
    /// There is room to write.
    Taken,
}

impl Wire {
    /// Returns whether a read returns at once.
    pub(crate) fn is_readable(&self) -> bool {
        !self.incoming.is_empty() || self.ended || self.gone || self.disconnected
    }

    fn take_frame(&mut self) -> Option<Frame> {
        self.taken.append(&mut self.outgoing);
        let decoded = try_decode_framed(&self.taken).expect("the end under test sends frames")?;
        self.taken.drain(..decoded.consumed);
        Some(decoded.frame)
    }
}

impl Connection {
    pub(crate) fn new() -> (Arc<Self>, Other) {
        let connection = Arc::new(Self::default());
        (Arc::clone(&connection), Other(connection))
    }

    pub(crate) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Wire) -> T) -> T {
        let mut wire = self.wire();
        let changed = change(&mut wire);
        let tasks = std::mem::take(&mut wire.tasks);
        drop(wire);
        tasks.into_iter().for_each(Waker::wake);
        self.changed.notify_all();
        changed
    }

    pub(crate) fn wait(&self, until: impl Fn(&Wire) -> bool) -> MutexGuard<'_, Wire> {
        let mut wire = self.wire();
        while !until(&wire) {
            wire = self.changed.wait(wire).unwrap_or_else(PoisonError::into_inner);
        }
        wire
    }

    pub(crate) fn poll(&self, context: &Context<'_>, until: impl Fn(&Wire) -> bool) -> Poll<()> {
        let mut wire = self.wire();
        if until(&wire) {
            return Poll::Ready(());
        }
        wire.tasks.push(context.waker().clone());
        Poll::Pending
    }
}

/// The end that is not under test.
pub(crate) struct Other(Arc<Connection>);

impl Other {
    fn change<T>(&self, kind: Change, change: impl FnOnce(&mut Wire) -> T) -> T {
        let (changed, watcher) = self.0.change(|wire| (change(wire), wire.watcher.clone()));
        if let Some(Watcher(watch)) = watcher {
            watch(kind);
        }
        changed
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.change(Change::Arrived, |wire| wire.incoming.extend(bytes));
    }

    /// Sends nothing more.
    pub(crate) fn end(&self) {
        self.change(Change::Arrived, |wire| wire.ended = true);
    }

    /// Closes the connection.
    pub(crate) fn go(&self) {
        self.change(Change::Arrived, |wire| wire.gone = true);
    }

    /// Returns the next frame, or `None` if the end under test is closed before one is complete.
    pub(crate) fn next(&self) -> Option<Frame> {
        loop {
            let (frame, over) = self.change(Change::Taken, |wire| (wire.take_frame(), wire.closed));
            if frame.is_some() || over {
                return frame;
            }
            drop(self.0.wait(|wire| !wire.outgoing.is_empty() || wire.closed));
        }
    }

    /// Returns the next `count` frames.
    pub(crate) fn receive(&self, count: usize) -> Vec<Frame> {
        let next =
            |received| self.next().unwrap_or_else(|| panic!("closed after {received} of {count} frames"));
        (0..count).map(next).collect()
    }

    /// Waits until the end under test is closed, and returns whether nothing was left to read.
    pub(crate) fn is_over(&self) -> bool {
        let wire = self.0.wait(|wire| wire.closed);
        wire.outgoing.is_empty() && wire.taken.is_empty()
    }
}
