//! A connection of the legacy wire, for its handler.

use crate::broker::backend_sdk::proto::recv_buffer::recycle;
use crate::broker::backend_sdk::server::sync::LocalStream;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// The connection behind a [`LegacyConnection`].
pub(super) trait LegacyOwner: fmt::Debug + Send + Sync {
    /// Returns the socket.
    fn stream(&self) -> &LocalStream;

    /// Releases the memory of the bytes that were received before the handler began.
    fn release_legacy(self: Arc<Self>);
}

/// A connection of the legacy wire. Reading returns every byte from the first one, as if the mux had never looked at it.
///
/// The connection closes when the handler has returned and the parts of [`into_parts`](Self::into_parts) are dropped. When the
/// server is stopped, reading returns what has been received and then the end of the stream.
#[derive(Debug)]
pub struct LegacyConnection {
    buffered: Vec<u8>,
    /// The bytes before it have been read; `start <= buffered.len()`.
    start: usize,
    conn: Arc<dyn LegacyOwner>,
}

impl LegacyConnection {
    pub(super) fn new(buffered: Vec<u8>, conn: Arc<dyn LegacyOwner>) -> Self {
        Self { buffered, start: 0, conn }
    }

    /// Returns the bytes that were received before the wire was known, and have not been read yet.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buffered[self.start..]
    }

    /// Returns the bytes that are still [`buffered`](Self::buffered), and the connection behind them.
    ///
    /// # Errors
    ///
    /// The connection cannot be duplicated: the process is out of descriptors.
    pub fn into_parts(self) -> io::Result<(Vec<u8>, LocalStream)> {
        let stream = self.conn.stream().try_clone()?;
        Ok((self.buffered[self.start..].to_vec(), stream))
    }
}

impl Read for LegacyConnection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.buffered.len() {
            return self.conn.stream().read(into);
        }
        let length = self.buffered().read(into)?;
        self.start += length;
        if self.start == self.buffered.len() {
            recycle(std::mem::take(&mut self.buffered));
            self.start = 0;
            Arc::clone(&self.conn).release_legacy();
        }
        Ok(length)
    }
}

impl Write for LegacyConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.conn.stream().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.conn.stream().flush()
    }
}
