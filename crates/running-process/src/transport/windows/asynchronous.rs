//! A connected named pipe for tokio.

use std::io;

use super::super::error::ConnectError;
use super::{LocalStream, stream};
use crate::sys::windows_pipe;

/// What tokio drives.
pub(crate) type AsyncStream = tokio::net::windows::named_pipe::NamedPipeClient;

/// [`LocalStream::connect`] for tokio, with the same errors. It does not wait either, so it is no async function.
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn connect_async(path: &str) -> Result<AsyncStream, ConnectError> {
    windows_pipe::asynchronous(stream::connected(path)?)
        .map_err(|source| ConnectError::Io { path: path.to_owned(), source })
}

/// The connection for tokio. A pipe belongs to one runtime at most, so clones cannot follow.
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn into_async(stream: LocalStream) -> io::Result<AsyncStream> {
    windows_pipe::asynchronous(stream.into_pipe()?)
}
