//! A connected Unix-domain socket for tokio.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, send};
use tokio::io::{Interest, unix::AsyncFd};

use super::super::error::ConnectError;
use super::stream::SEND;
use super::{LocalStream, stream};
use crate::sys::{self, Newest, Peer, PeerError};

/// What tokio drives.
pub(crate) type AsyncStream = tokio::net::UnixStream;

/// [`LocalStream::connect`] for tokio, with the same errors. It does not wait either, so it is no async function.
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn connect_async(path: &str) -> Result<AsyncStream, ConnectError> {
    let socket = stream::connected(path)?;
    #[cfg(target_vendor = "apple")]
    let _ = rustix::net::sockopt::set_socket_nosigpipe(&socket, true);
    AsyncStream::from_std(socket.into()).map_err(|source| ConnectError::Io { path: path.to_owned(), source })
}

/// The connection for tokio. The socket stops blocking, for clones as well, which then wait with poll(2).
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn into_async(stream: LocalStream) -> io::Result<AsyncStream> {
    let socket = UnixStream::from(stream);
    socket.set_nonblocking(true)?;
    AsyncStream::from_std(socket)
}

/// A connection that the runtime watches for a while. It stays in its mode; no call on it blocks.
pub(crate) struct Lent<'s>(AsyncFd<BorrowedFd<'s>>);

impl LocalStream {
    /// The connection for a task, until the result is dropped.
    ///
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn lend(&self) -> io::Result<Lent<'_>> {
        sys::watch(self.as_fd(), Interest::READABLE | Interest::WRITABLE).map(Lent)
    }
}

impl Lent<'_> {
    /// [`LocalStream::write_all_before`] without a deadline.
    pub(crate) async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let flags = SEND | SendFlags::DONTWAIT;
        let mut rest = bytes;
        while !rest.is_empty() {
            let write = |socket: &BorrowedFd<'_>| Ok(retry_on_intr(|| send(socket, rest, flags))?);
            let written = self.0.async_io(Interest::WRITABLE, write).await?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// [`LocalStream::read_named_before`] without a deadline, into a `buf` that is not empty.
    pub(crate) async fn read_named(
        &self,
        buf: &mut [u8],
        newest: Newest,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        let flags = RecvFlags::DONTWAIT;
        let read = |socket: &BorrowedFd<'_>| {
            Ok(retry_on_intr(|| sys::recv_named(socket.as_fd(), buf, flags, newest))?)
        };
        self.0.async_io(Interest::READABLE, read).await
    }
}
