//! A connection of the legacy wire, for its handler.

use crate::broker::backend_sdk::server::rewind::Rewind;
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
    rewind: Rewind,
    conn: Arc<dyn LegacyOwner>,
}

impl LegacyConnection {
    pub(super) fn new(buffered: Vec<u8>, conn: Arc<dyn LegacyOwner>) -> Self {
        Self { rewind: Rewind::new(buffered), conn }
    }

    /// Returns the bytes that were received before the wire was known, and have not been read yet.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        self.rewind.rest()
    }

    /// Returns the bytes that are still [`buffered`](Self::buffered), and the connection behind them.
    ///
    /// # Errors
    ///
    /// The connection cannot be duplicated: the process is out of descriptors.
    pub fn into_parts(self) -> io::Result<(Vec<u8>, LocalStream)> {
        let stream = self.conn.stream().try_clone()?;
        Ok((self.rewind.rest().to_vec(), stream))
    }
}

impl Read for LegacyConnection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rewind.rest().is_empty() {
            return self.conn.stream().read(into);
        }
        let length = self.rewind.read(into);
        if self.rewind.rest().is_empty() {
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
