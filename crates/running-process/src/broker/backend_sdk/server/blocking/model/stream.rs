//! The server's end of a connection in memory.

use crate::broker::backend_sdk::model_check::wire::{Connection, Other, Wire};
use crate::broker::backend_sdk::server::sync::{MutexGuard, thread};
use crate::descriptor::Descriptor;
use crate::sys::{PeerError, PeerUser};
use crate::transport::Incoming;
use shuttle::rand::{Rng, thread_rng};
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Instant;

/// Bytes that wait for the other end, at which a write blocks.
const ROOM: usize = 40;

/// The end of a connection that the server has.
#[derive(Debug)]
pub struct LocalStream {
    connection: Arc<Connection>,
    /// A read that waits times out at any moment; otherwise it never does.
    times_out: bool,
}

impl LocalStream {
    pub(super) fn pair(times_out: bool) -> (Self, Other) {
        let (connection, other) = Connection::new();
        (Self { connection, times_out }, other)
    }

    pub(in super::super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(in super::super) fn has_room(wire: &Wire) -> bool {
        wire.outgoing.len() < ROOM || wire.gone || wire.disconnected
    }

    /// Waits until `until`, or returns [`io::ErrorKind::TimedOut`] at any moment.
    pub(in super::super) fn wait_or_time_out(
        &self,
        until: impl Fn(&Wire) -> bool,
    ) -> io::Result<MutexGuard<'_, Wire>> {
        loop {
            let wire = self.connection.wire();
            if until(&wire) {
                return Ok(wire);
            }
            drop(wire);
            if thread_rng().r#gen() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::yield_now();
        }
    }

    pub(crate) fn read_deadline(&self, buf: &mut [u8], _: Option<Instant>) -> io::Result<usize> {
        let mut wire = if self.times_out {
            self.wait_or_time_out(Wire::is_readable)?
        } else {
            self.connection.wait(Wire::is_readable)
        };
        wire.incoming.read(buf)
    }

    pub(crate) fn read_onto(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<usize> {
        let mut bytes = vec![0; buffer.capacity() - buffer.len()];
        let length = self.read_deadline(&mut bytes, deadline)?;
        buffer.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    pub(crate) fn read_arrived(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.connection.wire();
        if wire.is_readable() { wire.incoming.read(buf) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    pub(crate) fn read_arrived_onto(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut bytes = vec![0; buffer.capacity() - buffer.len()];
        let length = self.read_arrived(&mut bytes)?;
        buffer.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    pub(crate) fn read_with(
        &self,
        buf: &mut [u8],
        deadline: Option<Instant>,
        _: &mut Incoming,
    ) -> io::Result<usize> {
        self.read_deadline(buf, deadline)
    }

    pub(crate) fn read_arrived_with(&self, buf: &mut [u8], _: &mut Incoming) -> io::Result<usize> {
        self.read_arrived(buf)
    }

    pub(crate) fn write_now_with(
        &self,
        pieces: &[IoSlice<'_>],
        _: &[Descriptor],
    ) -> io::Result<Option<usize>> {
        self.write_now(pieces)
    }

    pub(crate) fn write_vectored(
        &self,
        pieces: &[IoSlice<'_>],
        _: impl Fn() -> Option<Instant>,
    ) -> io::Result<usize> {
        loop {
            drop(self.connection.wait(Self::has_room));
            if let Some(written) = self.write_now(pieces)? {
                return Ok(written);
            }
        }
    }

    pub(crate) fn write_now(&self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        self.connection.change(|wire| {
            if wire.gone || wire.disconnected {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let room = ROOM.saturating_sub(wire.outgoing.len());
            if room == 0 {
                return Ok(None);
            }
            let piece = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
            // Not all of it, now and then.
            let length = piece.len().min(25).min(room);
            wire.outgoing.extend_from_slice(&piece[..length]);
            Ok(Some(length))
        })
    }

    /// Waits for no longer than a moment.
    pub(crate) fn wait_hang_up(&self, _: Option<Instant>) -> io::Result<bool> {
        thread::yield_now();
        Ok(self.connection.wire().gone)
    }

    pub(crate) fn disconnect(&self) {
        self.connection.change(|wire| wire.disconnected = true);
    }

    pub(crate) fn interrupt_reads(&self) {
        self.connection.change(|wire| wire.ended = true);
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
        self.connection.change(|wire| wire.closed = true);
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
