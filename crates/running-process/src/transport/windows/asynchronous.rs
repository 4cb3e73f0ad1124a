//! A connected named pipe for tokio.

use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle};

use super::super::error::ConnectError;
use super::stream::{is_end, write_error};
use super::{LocalStream, stream};
use crate::sys::{Newest, Peer, PeerError, windows_async, windows_pipe};

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

/// A connection that a task uses for a while. It is bound to no runtime by that.
pub(crate) struct Lent<'s>(BorrowedHandle<'s>);

impl LocalStream {
    /// The connection for a task, until the result is dropped.
    // The portable shape has errors here.
    #[allow(clippy::unnecessary_wraps)]
    pub(crate) fn lend(&self) -> io::Result<Lent<'_>> {
        Ok(Lent(self.as_handle()))
    }
}

impl Lent<'_> {
    /// [`LocalStream::write_all_before`] without a deadline.
    pub(crate) async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = windows_async::write(self.0, rest).await.map_err(write_error)?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// [`LocalStream::read_named_before`] without a deadline, into a `buf` that is not empty.
    pub(crate) async fn read_named(
        &self,
        buf: &mut [u8],
        _newest: Newest,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        loop {
            match windows_async::read(self.0, buf.len()).await {
                // An empty write of the other side: nothing has come and nothing has ended.
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    buf[..bytes.len()].copy_from_slice(&bytes);
                    return Ok((bytes.len(), Some(Err(PeerError::Unsupported))));
                }
                Err(error) if is_end(&error) => return Ok((0, None)),
                Err(error) => return Err(error),
            }
        }
    }
}
