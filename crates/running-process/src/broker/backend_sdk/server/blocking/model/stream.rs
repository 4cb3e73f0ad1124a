//! The server's end of a connection in memory.

use crate::broker::backend_sdk::model_check::wire::{Connection, Other, Wire};
use crate::sys::{PeerError, PeerUser};
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Instant;

/// It has no other timeouts than those that have passed already.
#[derive(Debug)]
pub struct LocalStream(Arc<Connection>);

impl LocalStream {
    pub(super) fn pair() -> (Self, Other) {
        let (connection, other) = Connection::new();
        (Self(connection), other)
    }

    pub(crate) fn read_deadline(&self, buf: &mut [u8], _: Option<Instant>) -> io::Result<usize> {
        let mut wire = self.0.wait(Wire::is_readable);
        // A frame in two reads, now and then.
        let most = buf.len().min(30);
        wire.incoming.read(&mut buf[..most])
    }

    pub(crate) fn read_onto(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<usize> {
        let mut bytes = [0; 30];
        let length = self.read_deadline(&mut bytes, deadline)?;
        buffer.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    /// No read times out.
    #[allow(clippy::unused_self, reason = "the system's is asked")]
    pub(crate) fn read_arrived(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::TimedOut.into())
    }

    /// As [`read_arrived`](Self::read_arrived).
    #[allow(clippy::unused_self, reason = "the system's is asked")]
    pub(crate) fn read_arrived_onto(&self, _: &mut Vec<u8>) -> io::Result<usize> {
        Err(io::ErrorKind::TimedOut.into())
    }

    pub(crate) fn write_vectored(
        &self,
        pieces: &[IoSlice<'_>],
        _: impl Fn() -> Option<Instant>,
    ) -> io::Result<usize> {
        self.0.change(|wire| {
            if wire.gone || wire.disconnected {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let piece = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
            // Not all of it, now and then.
            let length = piece.len().min(25);
            wire.outgoing.extend_from_slice(&piece[..length]);
            Ok(length)
        })
    }

    pub(crate) fn wait_hang_up(&self, deadline: Option<Instant>) -> io::Result<bool> {
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(self.0.wire().gone);
        }
        Ok(self.0.wait(|wire| wire.gone || wire.disconnected).gone)
    }

    pub(crate) fn disconnect(&self) {
        self.0.change(|wire| wire.disconnected = true);
    }

    pub(crate) fn interrupt_reads(&self) {
        self.0.change(|wire| wire.ended = true);
    }

    #[allow(clippy::unnecessary_wraps, reason = "the system's may fail")]
    pub(crate) fn user(&self) -> Result<PeerUser, PeerError> {
        Ok(PeerUser { pid: Some(1), uid: Some(1) })
    }

    /// # Errors
    ///
    /// Always: the model hands nothing over.
    pub fn try_clone(&self) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Drop for LocalStream {
    fn drop(&mut self) {
        self.0.change(|wire| wire.closed = true);
    }
}

impl Read for &LocalStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_deadline(buf, None)
    }
}

impl Write for &LocalStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LocalStream::write_vectored(self, &[IoSlice::new(bytes)], || None)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
