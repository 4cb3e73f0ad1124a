//! Connections and listeners for tokio.

use super::accepted::Accepted;
use super::imp::{self, AsyncStream};
use super::listener::LocalListener;
use super::stream::LocalStream;
use std::io;
use std::task::{Context, Poll};

/// Hands the connection to the runtime.
///
/// # Platform-specific behavior
///
/// On Unix the socket stops blocking, for clones as well, which then wait with poll(2). On Windows a pipe belongs to at
/// most one runtime, so its clones cannot follow.
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn into_async(stream: LocalStream) -> io::Result<AsyncStream> {
    imp::into_async(stream.0)
}

impl LocalStream {
    /// Lets a task use the connection until the result is dropped. The connection is bound to no runtime by that.
    ///
    /// # Errors
    ///
    /// The runtime does not watch the socket; none on Windows.
    ///
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn as_async(&self) -> io::Result<imp::AsyncBorrow<'_>> {
        self.0.as_async()
    }
}

/// A [`LocalListener`] for tokio.
#[derive(Debug)]
pub(crate) struct AsyncListener(imp::AsyncListener);

impl AsyncListener {
    /// Hands the listener to the runtime.
    ///
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn new(listener: LocalListener) -> io::Result<Self> {
        imp::AsyncListener::new(listener.0).map(Self)
    }

    /// Returns the listener, to change or close it. It is not driven by the runtime any more.
    pub(crate) fn into_inner(self) -> Option<LocalListener> {
        self.0.into_inner().map(LocalListener)
    }

    /// Waits for the next connection, or until the name is lost.
    ///
    /// # Errors
    ///
    /// The error of the system. The listener is as good as before then, and the connection still waits.
    pub(crate) fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Accepted<LocalStream>>> {
        self.0.poll_accept(context).map_ok(|accepted| accepted.map(LocalStream))
    }
}
