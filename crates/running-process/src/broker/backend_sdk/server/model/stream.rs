//! A connection in memory, for the model.

use crate::broker::backend_sdk::server::sync::{Condvar, Mutex, MutexGuard};
use crate::broker::protocol::{Frame, try_decode_framed};
use crate::sys::{PeerError, PeerUser};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// The server's end. It has no other timeouts than those that have passed already.
#[derive(Debug)]
pub struct LocalStream(Arc<Shared>);

/// The client's end.
pub(super) struct Other(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wire: Mutex<Wire>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    /// The client sends nothing more, or the server wants nothing more.
    ended: bool,
    /// The client is gone.
    gone: bool,
    disconnected: bool,
    /// The server's end is closed.
    closed: bool,
}

impl Shared {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Wire)) {
        change(&mut self.wire());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Wire) -> bool) -> MutexGuard<'_, Wire> {
        let mut wire = self.wire();
        while !until(&wire) {
            wire = self.changed.wait(wire).unwrap_or_else(PoisonError::into_inner);
        }
        wire
    }
}

impl LocalStream {
    pub(super) fn pair() -> (Self, Other) {
        let shared = Arc::new(Shared::default());
        (Self(Arc::clone(&shared)), Other(shared))
    }

    pub(crate) fn read_before(&self, buf: &mut [u8], _: Option<Instant>) -> io::Result<usize> {
        let mut wire =
            self.0.wait(|wire| !wire.to_server.is_empty() || wire.ended || wire.gone || wire.disconnected);
        // A frame in two reads, now and then.
        let most = buf.len().min(30);
        wire.to_server.read(&mut buf[..most])
    }

    pub(crate) fn read_onto(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<usize> {
        let mut bytes = [0; 30];
        let length = self.read_before(&mut bytes, deadline)?;
        buffer.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    pub(crate) fn write_vectored(
        &self,
        pieces: &[IoSlice<'_>],
        _: impl Fn() -> Option<Instant>,
    ) -> io::Result<usize> {
        let mut wire = self.0.wire();
        if wire.gone || wire.disconnected {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let piece = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        // Not all of it, now and then.
        let length = piece.len().min(25);
        wire.to_client.extend_from_slice(&piece[..length]);
        drop(wire);
        self.0.changed.notify_all();
        Ok(length)
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
        self.read_before(buf, None)
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

impl Other {
    pub(super) fn send(&self, bytes: &[u8]) {
        self.0.change(|wire| wire.to_server.extend(bytes));
    }

    /// Sends nothing more.
    pub(super) fn end(&self) {
        self.0.change(|wire| wire.ended = true);
    }

    /// Closes the connection.
    pub(super) fn go(&self) {
        self.0.change(|wire| wire.gone = true);
    }

    /// The next `count` frames, and nothing behind them.
    pub(super) fn receive(&self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.len() < count {
            let complete = |wire: &Wire| {
                let next = try_decode_framed(&wire.to_client).expect("the server sends frames");
                next.is_some() || wire.closed
            };
            let mut wire = self.0.wait(complete);
            let decoded = try_decode_framed(&wire.to_client).expect("the server sends frames");
            let decoded =
                decoded.unwrap_or_else(|| panic!("closed after {} of {count} frames", frames.len()));
            wire.to_client.drain(..decoded.consumed);
            frames.push(decoded.frame);
        }
        frames
    }

    /// The server has closed its end, and nothing was left to read.
    pub(super) fn is_over(&self) -> bool {
        let wire = self.0.wait(|wire| wire.closed);
        wire.to_client.is_empty()
    }
}
