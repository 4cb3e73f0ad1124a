//! Connections and listeners for tokio.

use super::accepted::Accepted;
use super::imp::{self, AsyncStream};
#[cfg(not(unix))]
use super::incoming::no_descriptors;
use super::incoming::{Incoming, append};
use super::listener::LocalListener;
use super::stream::LocalStream;
use crate::descriptor::Descriptor;
use std::io::{self, IoSlice};
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

/// Reads as [`poll_read_onto`](imp::poll_read_onto) does, and takes the descriptors that come along.
pub(crate) fn poll_read_onto_with(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
    incoming: &mut Incoming,
) -> Poll<io::Result<usize>> {
    append(buffer, |room| poll_read_with(stream, context, room, incoming))
}

/// Reads as [`read_arrived_onto`](imp::read_arrived_onto) does, and takes the descriptors that come along.
pub(crate) fn read_arrived_onto_with(
    stream: &AsyncStream,
    buffer: &mut Vec<u8>,
    incoming: &mut Incoming,
) -> io::Result<usize> {
    append(buffer, |room| read_arrived_with(stream, room, incoming))
}

/// Reads as [`poll_read`](imp::poll_read) does, and takes the descriptors that come along.
pub(super) fn poll_read_with(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buf: &mut [u8],
    incoming: &mut Incoming,
) -> Poll<io::Result<usize>> {
    #[cfg(unix)]
    return imp::poll_read_with(stream, context, buf, incoming);
    #[cfg(not(unix))]
    return no_descriptors(incoming, || imp::poll_read(stream, context, buf));
}

/// Reads as [`read_arrived`](imp::read_arrived) does, and takes the descriptors that come along.
pub(super) fn read_arrived_with(
    stream: &AsyncStream,
    buf: &mut [u8],
    incoming: &mut Incoming,
) -> io::Result<usize> {
    #[cfg(unix)]
    return imp::read_arrived_with(stream, buf, incoming);
    #[cfg(not(unix))]
    return no_descriptors(incoming, || imp::read_arrived(stream, buf));
}

/// Writes as [`poll_write`](imp::poll_write) does, and sends copies of `descriptors` with the first byte.
pub(crate) fn poll_write_with(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
    descriptors: &[Descriptor],
) -> Poll<io::Result<usize>> {
    #[cfg(unix)]
    if !descriptors.is_empty() {
        return imp::poll_write_with(stream, context, pieces, descriptors);
    }
    let _ = descriptors;
    imp::poll_write(stream, context, pieces)
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
