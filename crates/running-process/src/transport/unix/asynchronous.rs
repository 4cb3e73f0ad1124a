//! A connected Unix-domain socket for tokio.

use std::io;
use std::os::unix::net::UnixStream;

use super::super::error::ConnectError;
use super::{LocalStream, stream};

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
